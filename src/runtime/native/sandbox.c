/* Which sandbox works here is found by running one, never by asking whether a file exists: gVisor's
 * platforms depend on kernel, build and nesting, runc on the cgroup layout and on what user
 * namespaces may do. A result is kept by the program's path, size and modification time and by the
 * kernel, so a node pays for it once. */
#include "native_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/world.h>

#include "file_priv.h"
#include "instance_priv.h"

#define TRIAL_MS      20000
#define TRIAL_VERSION 1
#define KEY_MAX       (SYN_INSTANCE_PATH_MAX + 512)

/* What must be unchanged for a kept result to count. */
static void
trial_key(const char *tool, char *out)
{
    struct utsname machine = {0};
    struct stat st = {0};

    (void)uname(&machine);
    (void)stat(tool, &st);
    (void)snprintf(out, KEY_MAX, "%d %s %lld %lld.%09ld %s %u", TRIAL_VERSION, tool,
                   (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                   machine.release, (unsigned)geteuid());
}

static bool
trial_load(const struct syn_native *native, const char *file, const char *key,
           struct syn_sandbox_trial *trial)
{
    SYN_JSON(doc);
    char path[SYN_PATH_MAX];

    if (syn_path_format(path, sizeof(path), NULL, "%s/%s", native->cache, file) < 0 ||
        syn_file_read_json(AT_FDCWD, path, &doc, NULL) < 0 ||
        !syn_str_eq(syn_json_str(doc, "key", ""), key) || !syn_json_bool(doc, "works", false))
        return false;
    trial->works = true;
    (void)syn_str_copy(trial->choice.platform, sizeof(trial->choice.platform),
                       syn_json_str(doc, "platform", ""));
    (void)syn_str_copy(trial->choice.version, sizeof(trial->choice.version),
                       syn_json_str(doc, "version", ""));
    (void)syn_str_copy(trial->detail, sizeof(trial->detail), syn_json_str(doc, "detail", ""));
    return true;
}

/* Only what works is kept: a failure may have been a moment's, and costs little to try again. */
static void
trial_save(const struct syn_native *native, const char *file, const char *key,
           const struct syn_sandbox_trial *trial)
{
    SYN_JSON(doc);
    char path[SYN_PATH_MAX];

    if (!trial->works ||
        syn_path_format(path, sizeof(path), NULL, "%s/%s", native->cache, file) < 0)
        return;
    if (syn_json_pack(&doc, NULL, "{s:s, s:b, s:s, s:s, s:s}", "key", key, "works", 1, "platform",
                      trial->choice.platform, "version", trial->choice.version, "detail",
                      trial->detail) == SYN_OK)
        (void)!syn_file_write_json(AT_FDCWD, path, doc, NULL);
}

/* The third word of the first line of `TOOL --version`: "runc version 1.1.5". */
static void
read_version(const char *tool, char *out, size_t cap)
{
    const char *const argv[] = {tool, "--version", NULL};
    const char *const env[] = {"PATH=/usr/bin", NULL};
    posix_spawn_file_actions_t actions;
    char line[256] = "", word[64] = "";
    size_t len = 0;
    ssize_t got;
    pid_t pid = -1;
    int fds[2];

    (void)syn_str_copy(out, cap, "unknown");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return;
    if (posix_spawn_file_actions_init(&actions) == 0) {
        (void)posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        if (posix_spawn(&pid, tool, &actions, NULL, (char *const *)(uintptr_t)argv,
                        (char *const *)(uintptr_t)env) != 0)
            pid = -1;
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(fds[1]);
    while (pid > 0 && len + 1 < sizeof(line) &&
           (got = read(fds[0], line + len, sizeof(line) - 1 - len)) > 0)
        len += (size_t)got;
    (void)close(fds[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (sscanf(line, "%*s version %63s", word) == 1)
        (void)syn_str_copy(out, cap, word);
}

/* Wait for the end of a started trial. */
static int
await_exit(struct syn_instance *instance, struct syn_err *err)
{
    struct syn_instance_status status;
    struct pollfd ended;
    SYN_FD(fd);
    int rc = syn_instance_exit_fd(instance, &fd, err);

    if (rc < 0)
        return rc;
    ended = (struct pollfd){.fd = fd, .events = POLLIN};
    if (poll(&ended, 1, TRIAL_MS) == 0)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "/bin/true did not end within %d s", TRIAL_MS / 1000);
    rc = syn_instance_poll(instance, &status, err);
    if (rc < 0)
        return rc;
    if (status.state != SYN_INSTANCE_EXITED || status.reason != SYN_EXIT_COMPLETED)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "/bin/true failed: %s", status.message);
    return SYN_OK;
}

static int
run_trial(const struct syn_native *native, const struct syn_sandbox_choice *choice,
          struct syn_err *err)
{
    static const char *const argv[] = {"/bin/true", NULL};
    SYN_SCOPED(syn_instance_close_scope) struct syn_instance *instance = NULL;
    char dir[SYN_PATH_MAX], id[SYN_ID_MAX];
    struct syn_instance_spec spec = {.id = id,
                                     .dir = dir,
                                     .argv = argv,
                                     .scratch_bytes = (int64_t)4 << 20,
                                     .pids_max = 256,
                                     .memory_bytes = (int64_t)512 << 20,
                                     .cpu_millicores = 1000};
    int rc;

    (void)syn_make_id(syn_world_system(), "probe", id);
    rc = syn_path_format(dir, sizeof(dir), err, "%s/%s", native->root, id);
    if (rc == SYN_OK)
        rc = syn_native_prepare_with(native, choice, &spec, &instance, err);
    if (rc < 0)
        return rc;
    rc = syn_instance_start(instance, (const char *const *)native->shim_argv, err);
    if (rc == SYN_OK)
        rc = await_exit(instance, err);
    (void)!syn_instance_destroy(dir, NULL);
    return rc;
}

void
syn_sandbox_try(const struct syn_native *native, bool gvisor, struct syn_sandbox_trial *ret)
{
    static const char *const gvisor_platforms[] = {"systrap", "ptrace", NULL};
    static const char *const runc_platforms[] = {"", NULL};
    const char *const *platforms = gvisor ? gvisor_platforms : runc_platforms;
    const char *tool = gvisor ? native->runsc : native->runc;
    const char *file = gvisor ? "trial-gvisor.json" : "trial-runc.json";
    struct syn_err err = {0};
    char key[KEY_MAX];
    int64_t begin;

    *ret = (struct syn_sandbox_trial){.choice.gvisor = gvisor};
    (void)syn_str_copy(ret->choice.tool, sizeof(ret->choice.tool), tool);
    if (tool[0] == '\0' || access(tool, X_OK) < 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail), "%s is not installed",
                       gvisor ? "runsc" : "runc");
        return;
    }
    ret->found = true;
    if (geteuid() != 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail), "must run as root");
        return;
    }
    trial_key(tool, key);
    if (trial_load(native, file, key, ret))
        return;
    read_version(tool, ret->choice.version, sizeof(ret->choice.version));
    for (; *platforms && !ret->works; platforms++) {
        (void)syn_str_copy(ret->choice.platform, sizeof(ret->choice.platform), *platforms);
        begin = syn_mono_ms(syn_world_system());
        if (run_trial(native, &ret->choice, &err) == SYN_OK) {
            ret->works = true;
            (void)snprintf(ret->detail, sizeof(ret->detail), "ran /bin/true in %lld ms",
                           (long long)(syn_mono_ms(syn_world_system()) - begin));
        } else {
            (void)snprintf(ret->detail, sizeof(ret->detail), "%s", err.msg);
        }
    }
    trial_save(native, file, key, ret);
}

static int
choose(struct syn_native *native, struct syn_err *err)
{
    struct syn_sandbox_trial gvisor = {0}, runc = {0};

    if (native->wanted != SYN_SANDBOX_RUNC) {
        syn_sandbox_try(native, true, &gvisor);
        if (gvisor.works) {
            native->choice = gvisor.choice;
            (void)snprintf(native->detail, sizeof(native->detail), "gVisor works here: %s",
                           gvisor.detail);
            return SYN_OK;
        }
    }
    if (native->wanted != SYN_SANDBOX_GVISOR) {
        syn_sandbox_try(native, false, &runc);
        if (runc.works) {
            native->choice = runc.choice;
            (void)snprintf(native->detail, sizeof(native->detail), "runc works here%s%s",
                           gvisor.detail[0] ? "; gVisor: " : ": ",
                           gvisor.detail[0] ? gvisor.detail : runc.detail);
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                    "no sandbox works here (gVisor: %s; runc: %s): apt-get install runc runsc",
                    gvisor.detail[0] ? gvisor.detail : "not asked for",
                    runc.detail[0] ? runc.detail : "not asked for");
}

int
syn_sandbox_choose(struct syn_native *native, struct syn_sandbox_choice *ret, struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&native->lock);
    if (!native->chosen) {
        rc = choose(native, err);
        native->chosen = rc == SYN_OK;
    }
    if (rc == SYN_OK)
        *ret = native->choice;
    (void)pthread_mutex_unlock(&native->lock);
    return rc;
}
