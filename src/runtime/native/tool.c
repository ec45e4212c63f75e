#include "tool_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "file_priv.h"

#define LOG_BYTES_MAX ((size_t)1 << 20)

void
syn_tool_add(struct syn_tool_args *args, const char *word)
{
    assert(args->count + 1 < SYN_TOOL_ARGS_MAX);
    args->argv[args->count++] = word;
    args->argv[args->count] = NULL;
}

void
syn_tool_add_path(struct syn_tool_args *args, const char *prefix, const char *dir, const char *file)
{
    char *slot = args->paths[args->paths_count++];

    assert(args->paths_count <= SYN_LEN(args->paths));
    (void)snprintf(slot, sizeof(args->paths[0]), "%s%s/%s", prefix, dir, file);
    syn_tool_add(args, slot);
}

void
syn_tool_begin(struct syn_tool_args *args, const char *dir, const struct syn_plan *plan)
{
    args->count = 0;
    args->paths_count = 0;
    args->in = -1;
    args->commands = false;
    syn_tool_add(args, plan->tool);
    syn_tool_add_path(args, "--root=", dir, SYN_DIR_TOOL);
    syn_tool_add_path(args, "--log=", dir, SYN_FILE_RUNTIME);
    syn_tool_add(args, "--log-format=json");
    if (!plan->gvisor)
        return;
    syn_tool_add(args, syn_str_eq(plan->platform, "systrap") ? "--platform=systrap"
                                                             : "--platform=ptrace");
    syn_tool_add(args, syn_plan_networked(plan) ? "--network=sandbox" : "--network=none");
    syn_tool_add(args, "--overlay2=none");
    if (plan->devices)
        syn_tool_add(args, "--nvproxy=true");
}

/* runsc registers for membarrier(2) when it begins, as a sandbox has to. In a program of several
 * threads, as Go's are, the kernel waits for all processors then: 15 ms of the 22 that a command
 * takes. One that is told that there is no such call goes on without. A sandbox must not be, so who
 * starts one is not told this; nor is it an error where it cannot be said. */
static void
hide_membarrier(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog whole = {.len = SYN_LEN(program), .filter = program};

    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole);
}

/* In the child, after fork: only calls that are safe there. */
static void
become_tool(const struct syn_tool_args *args, int out, int log)
{
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    sigset_t none;
    int null = open("/dev/null", O_RDWR);

    /* A start that lost its supervisor must not go on and leave a container nobody watches. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (null < 0 || dup2(args->in >= 0 ? args->in : null, 0) < 0 ||
        dup2(out >= 0 ? out : null, 1) < 0 || dup2(log >= 0 ? log : null, 2) < 0)
        return;
    if (args->commands)
        hide_membarrier();
    (void)execve(args->argv[0], (char *const *)(uintptr_t)args->argv,
                 (char *const *)(uintptr_t)env);
}

int
syn_tool_spawn(const struct syn_tool_args *args, int out, int log, pid_t *ret_pid,
               struct syn_err *err)
{
    pid_t pid = fork();

    if (pid < 0)
        return SYN_FAIL_SYS(err, errno, "starting %s", args->argv[0]);
    if (pid == 0) {
        become_tool(args, out, log);
        _exit(127);
    }
    *ret_pid = pid;
    return SYN_OK;
}

void
syn_tool_message(int dirfd, char *out, size_t cap)
{
    syn_tool_words(dirfd, SYN_FILE_RUNTIME, out, cap);
}

void
syn_tool_words(int dirfd, const char *file, char *out, size_t cap)
{
    SYN_BUF(text);
    const char *line;

    out[0] = '\0';
    if (syn_file_read(dirfd, file, LOG_BYTES_MAX, &text, NULL) < 0)
        return;
    line = syn_buf_text(&text);
    while (line && *line != '\0') {
        SYN_JSON(doc);
        size_t len = strcspn(line, "\n");
        const char *level;

        if (syn_json_parse_object(line, len, &doc, NULL) == SYN_OK) {
            level = syn_json_str(doc, "level", "error");
            if (syn_str_eq(level, "error") || syn_str_eq(level, "fatal") ||
                syn_str_eq(level, "warning"))
                (void)syn_str_copy(out, cap, syn_json_str(doc, "msg", ""));
        }
        line += len + (line[len] == '\n');
    }
}
