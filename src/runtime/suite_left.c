/* What a driver with supervisors and folders of this house may leave behind, and must not. */
#include "suite_left_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

#include "native/cgroup_priv.h"
#include "native/file_priv.h"

bool
syn_suite_kill_supervisor(const char *dir)
{
    char path[SYN_PATH_MAX];
    SYN_JSON(doc);
    struct syn_err err = {0};
    struct pollfd gone;
    SYN_FD(fd);

    (void)snprintf(path, sizeof(path), "%s/shim.json", dir);
    assert_done(syn_file_read_json(AT_FDCWD, path, &doc, &err), &err);
    fd = (int)syscall(SYS_pidfd_open, (pid_t)syn_json_i64(doc, "pid", 0), 0);
    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0), 0);
    gone = (struct pollfd){.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&gone, 1, 5000), 1);
    return true;
}

bool
syn_suite_cut_start(const char *dir)
{
    static const char record[] =
        "{\"boot\":\"\",\"pid\":4194304,\"ticks\":1}\n"; /* no such process */
    struct syn_err err = {0};
    char path[SYN_PATH_MAX];
    SYN_FD(fd);

    (void)snprintf(path, sizeof(path), "%s/shim.json", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_done(syn_fd_write_all(fd, record, strlen(record), &err), &err);
    return true;
}

static void
note(char *out, size_t cap, const char *what, const char *where)
{
    size_t len = strlen(out);

    (void)snprintf(out + len, cap - len, "%s: %s\n", what, where);
}

/* Processes whose command line names the folder: supervisors, tools, sandboxes, gofers. */
static void
find_processes(const char *dir, char *out, size_t cap)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    assert_non_null(proc);
    while ((entry = readdir(proc)) != NULL) {
        char path[64];
        SYN_BUF(text);

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
            snprintf(path, sizeof(path), "/proc/%.20s/cmdline", entry->d_name) < 0 ||
            syn_file_read(AT_FDCWD, path, 65536, &text, NULL) < 0)
            continue;
        for (size_t i = 0; i + 1 < text.len; i++) {
            if (text.data[i] == '\0')
                text.data[i] = ' ';
        }
        if (strstr(syn_buf_text(&text), dir))
            note(out, cap, "process", syn_buf_text(&text));
    }
    (void)closedir(proc);
}

/* What ended as our child (the suite is a subreaper) and nobody reaped. */
static void
find_zombies(char *out, size_t cap)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    assert_non_null(proc);
    while ((entry = readdir(proc)) != NULL) {
        char path[64], parent[32];
        const char *name_end;
        SYN_BUF(text);

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
            snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name) < 0 ||
            syn_file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
            continue;
        (void)snprintf(parent, sizeof(parent), ") Z %d ", (int)getpid());
        name_end = strrchr(syn_buf_text(&text), ')');
        if (name_end != NULL && syn_str_starts(name_end, parent))
            note(out, cap, "zombie", syn_buf_text(&text));
    }
    (void)closedir(proc);
}

static void
find_lines(const char *file, const char *what, const char *dir, char *out, size_t cap)
{
    SYN_BUF(text);

    if (syn_file_read(AT_FDCWD, file, (size_t)8 << 20, &text, NULL) == 0 &&
        strstr(syn_buf_text(&text), dir))
        note(out, cap, what, dir);
}

static void
find_cgroups(const char *dir, char *out, size_t cap)
{
    struct syn_cgroup_layout layout;
    struct syn_err err = {0};
    const char *id = strrchr(dir, '/') + 1;
    uint32_t hash = 2166136261u;

    for (const char *at = dir; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    assert_done(syn_cgroup_layout_read(&layout, &err), &err);
    for (int i = 0; i < layout.count; i++) {
        char path[SYN_PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/synor/%s-%08x", layout.mounts[i].path, id, hash);
        if (access(path, F_OK) == 0)
            note(out, cap, "cgroup", path);
    }
}

void
syn_suite_find_loops(const char *dir, char *out, size_t cap)
{
    for (int i = 0; i < 256; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/sys/block/loop%d/loop/backing_file", i);
        find_lines(path, "loop device", dir, out, cap);
    }
}

/* As the daemon: what ended below the instance and came to us is ours to reap, and nobody waits for
 * it by name. */
void
syn_suite_leftovers(const char *dir, char *out, size_t cap)
{
    (void)syn_child_reap_orphans();
    find_processes(dir, out, cap);
    find_cgroups(dir, out, cap);
    if (access(dir, F_OK) == 0)
        return; /* mounts and devices belong to the folder */
    find_zombies(out, cap);
    find_lines("/proc/self/mounts", "mount", dir, out, cap);
    syn_suite_find_loops(dir, out, cap);
}
