/* What of root's power the daemon keeps.
 *
 * It mounts file systems, makes cgroups and namespaces, and starts runc and gVisor: that takes
 * CAP_SYS_ADMIN, and who has that can do nearly anything in the end. So this is no wall around a
 * daemon that was taken over (ADR 8 says what would be one). It is what is not needed and therefore
 * not there: loading modules, touching ports and memory, setting clocks, rebooting; a setuid
 * program that gives something back; a file or a core that others can read; a descriptor of whoever
 * started us in a tool of ours.
 *
 * The list says what is kept, each with its reason: what a future kernel adds is given up. */
#include "privilege_priv.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORDS      _LINUX_CAPABILITY_U32S_3
#define WORD_BITS  32
#define FIRST_FREE 3

/* A server reads what its operator wrote, perhaps as another user, and may listen on port 443. */
static const unsigned char server_keeps[] = {
    CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_CHOWN, CAP_FOWNER, CAP_NET_BIND_SERVICE,
};

static const unsigned char node_keeps[] = {
    CAP_NET_BIND_SERVICE, /* the server beside it */
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH, /* root folders and scratch spaces of */
    CAP_FOWNER,
    CAP_FSETID,
    CAP_MKNOD,     /* instances with ids of their own */
    CAP_SYS_ADMIN, /* mounts, namespaces, cgroups */
    CAP_SYS_CHROOT,
    CAP_SETUID,
    CAP_SETGID,
    CAP_SETPCAP, /* the tools' way into a sandbox */
    CAP_SETFCAP,
    CAP_SYS_RESOURCE, /* its id maps; its limits */
    CAP_KILL,
    CAP_SYS_PTRACE, /* ending it; gVisor's ptrace platform */
    CAP_NET_ADMIN,
    CAP_NET_RAW, /* a gang's network; gVisor's in it */
};

static bool
keeps(enum syn_privilege_role role, unsigned cap)
{
    bool node = role != SYN_PRIVILEGE_SERVER;
    const unsigned char *list = node ? node_keeps : server_keeps;
    size_t count = node ? sizeof(node_keeps) : sizeof(server_keeps);

    if (role == SYN_PRIVILEGE_NOTHING)
        return false;
    /* What holds a pod open gets it from containerd, which fails where it cannot be given. */
    if (cap == CAP_AUDIT_WRITE && role == SYN_PRIVILEGE_PODS)
        return true;

    for (size_t i = 0; i < count; i++) {
        if (list[i] == cap)
            return true;
    }
    return false;
}

/* Nobody that we start gets it back by executing something. */
static int
drop_bounds(enum syn_privilege_role role, struct syn_err *err)
{
    for (unsigned cap = 0; cap < WORDS * WORD_BITS; cap++) {
        int held = prctl(PR_CAPBSET_READ, (unsigned long)cap, 0, 0, 0);

        if (held < 0)
            return SYN_OK; /* the kernel knows no more */
        /* EPERM: without CAP_SETPCAP there is nothing that an execution could give. */
        if (held > 0 && !keeps(role, cap) &&
            prctl(PR_CAPBSET_DROP, (unsigned long)cap, 0, 0, 0) < 0 && errno != EPERM)
            return SYN_FAIL_SYS(err, errno, "giving up capability %u", cap);
    }
    return SYN_OK;
}

static int
drop_held(enum syn_privilege_role role, struct syn_err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[WORDS];

    if (syscall(SYS_capget, &header, data) < 0)
        return SYN_FAIL_SYS(err, errno, "reading capabilities");
    for (unsigned cap = 0; cap < WORDS * WORD_BITS; cap++) {
        uint32_t bit = UINT32_C(1) << cap % WORD_BITS;

        data[cap / WORD_BITS].inheritable &= ~bit;
        if (!keeps(role, cap)) {
            data[cap / WORD_BITS].permitted &= ~bit;
            data[cap / WORD_BITS].effective &= ~bit;
        }
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return SYN_FAIL_SYS(err, errno, "giving up capabilities");
    return SYN_OK;
}

int
syn_privilege_reduce(enum syn_privilege_role role, struct syn_err *err)
{
    int rc = drop_bounds(role, err);

    if (rc == SYN_OK)
        rc = drop_held(role, err);
    if (rc < 0)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "refusing new privileges");
    /* No core and no tracer of the same user may see keys and tokens. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "hiding the process's memory");
    /* What is for others to read is opened to them where it is made; a folder that instances pass
     * through must not depend on the shell that started us. */
    (void)umask(022);
    /* Also those that were left to us go no further. Kernels before 5.11 do not know this. */
    if (syscall(SYS_close_range, FIRST_FREE, ~0U, CLOSE_RANGE_CLOEXEC) < 0 && errno != EINVAL &&
        errno != ENOSYS)
        return SYN_FAIL_SYS(err, errno, "marking descriptors");
    return SYN_OK;
}
