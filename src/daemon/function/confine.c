/* What system calls are left to a process that runs guests: a list of what it never makes, and what
 * somebody who has taken it over would want: other programs, other processes, mounts, namespaces,
 * the kernel's less known doors. Refused with EPERM, so that a library that only tries goes on. No
 * list of what is allowed: libraries of the system change what they call between releases, and a
 * gateway that dies of that is worse than what such a list adds to a process without capabilities.
 */
#include "function_priv.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH     AUDIT_ARCH_X86_64
#define X32_FROM 0x40000000U
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

static const uint16_t refused[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_setns,
    SYS_unshare,
    SYS_open_by_handle_at,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_personality,
    SYS_syslog,
#ifdef __x86_64__
    SYS_fork,
    SYS_vfork,
    SYS_iopl,
    SYS_ioperm,
    SYS_kexec_file_load,
#endif
};

#ifdef ARCH
#define FIXED 13

static struct sock_filter
load(size_t offset)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
}

static struct sock_filter
answer(uint32_t verdict)
{
    return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
}

/* The next instruction only if the number is (or, `jump` BPF_JSET, has) `value`. */
static struct sock_filter
only_if(uint16_t jump, uint32_t value)
{
    return (struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | jump | BPF_K), value, 0, 1);
}
#endif

int
fgw_confine(struct syn_err *err)
{
#ifdef ARCH
    struct sock_filter code[2 * SYN_LEN(refused) + FIXED + 3];
    unsigned short count = 0;
    struct sock_fprog program = {.filter = code};
    const uint32_t eperm = SECCOMP_RET_ERRNO | EPERM;

    code[count++] = load(offsetof(struct seccomp_data, arch));
    code[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    code[count++] = answer(SECCOMP_RET_KILL_PROCESS);
    code[count++] = load(offsetof(struct seccomp_data, nr));
#ifdef X32_FROM
    code[count++] = only_if(BPF_JGE, X32_FROM);
    code[count++] = answer(eperm);
#endif
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        code[count++] = only_if(BPF_JEQ, refused[i]);
        code[count++] = answer(eperm);
    }
    /* Threads, and no processes. What clone3() is asked for cannot be seen here: libc then takes
     * the other. */
    code[count++] = only_if(BPF_JEQ, SYS_clone3);
    code[count++] = answer(SECCOMP_RET_ERRNO | ENOSYS);
    code[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0);
    code[count++] = answer(SECCOMP_RET_ALLOW);
    code[count++] = load(offsetof(struct seccomp_data, args[0]));
    code[count++] = only_if(BPF_JSET, CLONE_THREAD);
    code[count++] = answer(SECCOMP_RET_ALLOW);
    code[count++] = answer(eperm);
    assert(count <= SYN_LEN(code));
    program.len = count;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return SYN_FAIL_SYS(err, errno, "limiting system calls");
    return SYN_OK;
#else
    (void)err;
    return SYN_OK; /* no filter is known for this processor; it has no capability all the same */
#endif
}
