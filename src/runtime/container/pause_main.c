/* What holds a pod open: it waits to be told to end, and takes the status of orphans. It is the
 * whole of its image, so it needs no library and no file: system calls are made here. */
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>

#define SET_BYTES 8 /* of the kernel's signal sets */

void _start(void);

#if defined(__x86_64__)
static long
call(long number, long a, long b, long c, long d)
{
    register long fourth __asm__("r10") = d;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static long
call(long number, long a, long b, long c, long d)
{
    register long eighth __asm__("x8") = number;
    register long first __asm__("x0") = a;
    register long second __asm__("x1") = b;
    register long third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;

    __asm__ volatile("svc 0"
                     : "+r"(first)
                     : "r"(eighth), "r"(second), "r"(third), "r"(fourth)
                     : "memory");
    return first;
}
#else
#error "pause_main.c knows no system calls of this machine"
#endif

static uint64_t
bit(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

void
_start(void)
{
    const uint64_t set = bit(SIGTERM) | bit(SIGINT) | bit(SIGCHLD);

    (void)call(SYS_rt_sigprocmask, SIG_BLOCK, (long)(intptr_t)&set, 0, SET_BYTES);
    for (;;) {
        long signo = call(SYS_rt_sigtimedwait, (long)(intptr_t)&set, 0, 0, SET_BYTES);

        if (signo == SIGTERM || signo == SIGINT)
            (void)call(SYS_exit_group, 0, 0, 0, 0);
        while (call(SYS_wait4, -1, 0, 1 /* WNOHANG */, 0) > 0)
            ;
    }
}
