/* What is on the list: everything a compute program with files, threads, memory, timers, pipes and
 * sockets needs. What is not, answers EPERM: mounting, new namespaces, other processes' memory,
 * the keyring, BPF, perf, io_uring, userfaultfd, modules, clocks, reboot, raw kernel logs. Those
 * are where kernel bugs that break out of containers have been, and no job needs them.
 *
 * clone() is allowed without its namespace flags. clone3() keeps its flags behind a pointer that a
 * filter cannot read: it answers ENOSYS, and the C library falls back to clone(). */
#include "seccomp_priv.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/loader.h>

#include "file_priv.h"

/* Only the machine's own calling convention: the 32-bit one is a second, less tested door. */
#if defined(__aarch64__)
#define ARCHITECTURE "SCMP_ARCH_AARCH64"
#else
#define ARCHITECTURE "SCMP_ARCH_X86_64"
#endif

/* CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWTIME(0x80 is in the
 * signal byte of clone and thus harmless there). */
#define CLONE_NAMESPACES 0x7E020000

static const char *const allowed[] = {
    /* files */
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "close_range",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futimesat",
    "getcwd",
    "getdents",
    "getdents64",
    "getxattr",
    "inotify_add_watch",
    "inotify_init",
    "inotify_init1",
    "inotify_rm_watch",
    "lchown",
    "lgetxattr",
    "link",
    "linkat",
    "listxattr",
    "llistxattr",
    "lremovexattr",
    "lseek",
    "lsetxattr",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readlink",
    "readlinkat",
    "readv",
    "removexattr",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "setxattr",
    "splice",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "tee",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimes",
    "vmsplice",
    "write",
    "writev",
    "io_cancel",
    "io_destroy",
    "io_getevents",
    "io_pgetevents",
    "io_setup",
    "io_submit",
    "ioctl",
    "memfd_create",
    "cachestat",
    /* memory */
    "brk",
    "get_mempolicy",
    "madvise",
    "mbind",
    "membarrier",
    "mincore",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mprotect",
    "mremap",
    "mseal",
    "msync",
    "munlock",
    "munlockall",
    "munmap",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "remap_file_pages",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "map_shadow_stack",
    /* processes and threads */
    "arch_prctl",
    "capget",
    "capset",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "futex",
    "futex_requeue",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "get_robust_list",
    "get_thread_area",
    "getcpu",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getitimer",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "ioprio_get",
    "ioprio_set",
    "kill",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
    "prlimit64",
    "restart_syscall",
    "rseq",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "seccomp",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setitimer",
    "setpgid",
    "setpriority",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setrlimit",
    "setsid",
    "setuid",
    "tgkill",
    "times",
    "tkill",
    "uname",
    "vfork",
    "wait4",
    "waitid",
    /* signals, timers, waiting */
    "alarm",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_ctl_old",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "epoll_wait_old",
    "eventfd",
    "eventfd2",
    "gettimeofday",
    "nanosleep",
    "pause",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_tgsigqueueinfo",
    "select",
    "sigaltstack",
    "signalfd",
    "signalfd4",
    "sysinfo",
    "time",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_settime",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    /* sockets and System V memory, within the sandbox's own namespaces */
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "mq_getsetattr",
    "mq_notify",
    "mq_open",
    "mq_timedreceive",
    "mq_timedsend",
    "mq_unlink",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "socketpair",
};

/* socket() families: local, IPv4, IPv6, and netlink for interface lists. No packet, vsock or alg.
 */
static const int families[] = {1, 2, 10, 16};

static int
add_rule_take(json_t *rules, json_t *rule, struct syn_err *err)
{
    return syn_json_append_take(rules, rule, err);
}

static int
add_allowed(json_t *rules, struct syn_err *err)
{
    SYN_JSON(names);
    json_t *rule = NULL;
    int rc = SYN_OK;

    names = json_array();
    if (!names)
        return SYN_FAIL(err, SYN_E_NOMEM, "seccomp profile");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(allowed); i++)
        rc = syn_json_append_take(names, json_string(allowed[i]), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&rule, err, "{s:O, s:s}", "names", names, "action", "SCMP_ACT_ALLOW");
    return rc < 0 ? rc : add_rule_take(rules, rule, err);
}

static int
add_conditional(json_t *rules, struct syn_err *err)
{
    json_t *rule = NULL;
    int rc;

    for (size_t i = 0; i < SYN_LEN(families); i++) {
        rc = syn_json_pack(&rule, err, "{s:[s], s:s, s:[{s:i, s:i, s:s}]}", "names", "socket",
                           "action", "SCMP_ACT_ALLOW", "args", "index", 0, "value", families[i],
                           "op", "SCMP_CMP_EQ");
        rc = rc < 0 ? rc : add_rule_take(rules, rule, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_json_pack(&rule, err, "{s:[s], s:s, s:[{s:i, s:i, s:i, s:s}]}", "names", "clone",
                       "action", "SCMP_ACT_ALLOW", "args", "index", 0, "value", CLONE_NAMESPACES,
                       "valueTwo", 0, "op", "SCMP_CMP_MASKED_EQ");
    rc = rc < 0 ? rc : add_rule_take(rules, rule, err);
    if (rc < 0)
        return rc;
    /* Asking for the current personality (0xffffffff) or the default one. */
    for (size_t i = 0; i < 2; i++) {
        rc = syn_json_pack(&rule, err, "{s:[s], s:s, s:[{s:i, s:I, s:s}]}", "names", "personality",
                           "action", "SCMP_ACT_ALLOW", "args", "index", 0, "value",
                           (json_int_t)(i == 0 ? 0 : 0xffffffff), "op", "SCMP_CMP_EQ");
        rc = rc < 0 ? rc : add_rule_take(rules, rule, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_json_pack(&rule, err, "{s:[s], s:s, s:i}", "names", "clone3", "action",
                       "SCMP_ACT_ERRNO", "errnoRet", ENOSYS);
    return rc < 0 ? rc : add_rule_take(rules, rule, err);
}

int
syn_seccomp_json(json_t **ret, struct syn_err *err)
{
    SYN_JSON(rules);
    int rc;

    rules = json_array();
    if (!rules)
        return SYN_FAIL(err, SYN_E_NOMEM, "seccomp profile");
    rc = add_allowed(rules, err);
    if (rc == SYN_OK)
        rc = add_conditional(rules, err);
    if (rc < 0)
        return rc;
    return syn_json_pack(ret, err, "{s:s, s:i, s:[s], s:O}", "defaultAction", "SCMP_ACT_ERRNO",
                         "defaultErrnoRet", EPERM, "architectures", ARCHITECTURE, "syscalls",
                         rules);
}

/* --- as a program -------------------------------------------------------------------------------
 *
 * libseccomp is what runc makes its filters with: where runc is, it is. */

#define ACT_ALLOW        0x7fff0000U
#define ACT_ERRNO(error) (0x00050000U | (uint32_t)(error))
#define ATTR_OPTIMIZE    8 /* 2: a tree instead of a list */

enum compare { COMPARE_EQ = 4, COMPARE_MASKED_EQ = 7 }; /* of enum scmp_compare */

struct argument { /* struct scmp_arg_cmp */
    unsigned index;
    int compare;
    uint64_t a, b;
};

struct seccomp_api {
    void *(*init)(uint32_t action);
    void (*release)(void *filter);
    int (*resolve)(const char *name);
    int (*add)(void *filter, uint32_t action, int number, unsigned count,
               const struct argument *arguments);
    int (*set)(void *filter, int attribute, uint32_t value);
    int (*write)(void *filter, int fd);
};

static int
open_library(struct seccomp_api *api, struct syn_err *err)
{
    static const char *const names[] = {"libseccomp.so.2", NULL};
    static const struct syn_loader_row rows[] = {
        {"seccomp_init", offsetof(struct seccomp_api, init), false},
        {"seccomp_release", offsetof(struct seccomp_api, release), false},
        {"seccomp_syscall_resolve_name", offsetof(struct seccomp_api, resolve), false},
        {"seccomp_rule_add_array", offsetof(struct seccomp_api, add), false},
        {"seccomp_attr_set", offsetof(struct seccomp_api, set), false},
        {"seccomp_export_bpf", offsetof(struct seccomp_api, write), false},
    };

    if (syn_loader_open(NULL, names, rows, SYN_LEN(rows), api, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "libseccomp.so.2 is not here: apt-get install libseccomp2");
    return SYN_OK;
}

/* A name that this library or kernel does not know stays forbidden. */
static int
add_call(const struct seccomp_api *api, void *filter, uint32_t action, const char *name,
         const struct argument *argument, struct syn_err *err)
{
    int number = api->resolve(name);
    int rc = number < 0 ? 0 : api->add(filter, action, number, argument ? 1 : 0, argument);

    return rc < 0 ? SYN_FAIL_SYS(err, -rc, "seccomp: %s", name) : SYN_OK;
}

static int
add_calls(const struct seccomp_api *api, void *filter, struct syn_err *err)
{
    const struct argument no_namespaces = {0, COMPARE_MASKED_EQ, CLONE_NAMESPACES, 0};
    const struct argument personalities[] = {{0, COMPARE_EQ, 0, 0},
                                             {0, COMPARE_EQ, 0xffffffffU, 0}};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(allowed); i++)
        rc = add_call(api, filter, ACT_ALLOW, allowed[i], NULL, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(families); i++) {
        const struct argument family = {0, COMPARE_EQ, (uint64_t)families[i], 0};

        rc = add_call(api, filter, ACT_ALLOW, "socket", &family, err);
    }
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(personalities); i++)
        rc = add_call(api, filter, ACT_ALLOW, "personality", &personalities[i], err);
    if (rc == SYN_OK)
        rc = add_call(api, filter, ACT_ALLOW, "clone", &no_namespaces, err);
    return rc < 0 ? rc : add_call(api, filter, ACT_ERRNO(ENOSYS), "clone3", NULL, err);
}

int
syn_seccomp_program(int *ret_fd, struct syn_err *err)
{
    struct seccomp_api api = {0};
    void *filter;
    SYN_FD(fd);
    int rc = open_library(&api, err);

    if (rc < 0)
        return rc;
    filter = api.init(ACT_ERRNO(EPERM));
    fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (filter == NULL || fd < 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a seccomp filter");
    if (rc == SYN_OK)
        (void)api.set(filter, ATTR_OPTIMIZE, 2); /* before 2.5 it does not know it */
    if (rc == SYN_OK)
        rc = add_calls(&api, filter, err);
    if (rc == SYN_OK && (api.write(filter, fd) < 0 || lseek(fd, 0, SEEK_SET) < 0))
        rc = SYN_FAIL(err, SYN_E_IO, "writing a seccomp filter");
    if (filter != NULL)
        api.release(filter);
    if (rc == SYN_OK)
        *ret_fd = syn_fd_take(&fd);
    return rc;
}
