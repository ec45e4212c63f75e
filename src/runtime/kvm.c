/* Does KVM run guests? The device's existence says nothing: on nested hosts it opens and creates
 * machines whose kernels hang in early boot. So a guest runs here that does what kernels do on
 * their way up and what such hosts have been seen to fail at, and tells on a port how far it came:
 *
 *      1  64-bit mode with paging executes
 *      2  model specific registers can be read
 *      3  extended state can be enabled, saved and restored
 *      b  an exception reaches its handler
 *      4  and returns
 *
 * Even that proves only what it tries; a stock kernel booted by QEMU decides where both are
 * installed.
 *
 * Time limit: a timer aimed at this thread, with its signal blocked except inside KVM_RUN
 * (KVM_SET_SIGNAL_MASK): it ends the call with EINTR and no handler is ever run, so a process with
 * threads and signal handling of its own is not disturbed. */
#include "probe_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "native/file_priv.h"

#define CONSOLE_MAX 65536

#if defined(__x86_64__)

#define MEMORY_BYTES  (2u << 20)
#define TABLE_4       0x1000u /* page tables: one 2 MiB page, mapped to itself */
#define TABLE_3       0x2000u
#define TABLE_2       0x3000u
#define IDT           0x5000u
#define CODE          0x6000u
#define HANDLER_BREAK (CODE + 0x80u)
#define HANDLER_FAULT (CODE + 0xa0u)
#define PORT          0xe9
#define VECTORS       32
#define VECTOR_BREAK  3
#define EXITS_MAX     64
#define CPUID_MAX     128

static const uint8_t guest_code[] = {
    0xbc, 0x00, 0x00, 0x01, 0x00,       /*       mov   $0x10000, %esp */
    0xb0, '1',  0xe6, 0xe9,             /*       out   '1' */
    0xb9, 0x80, 0x00, 0x00, 0xc0,       /*       mov   $EFER, %ecx */
    0x0f, 0x32,                         /*       rdmsr */
    0xa9, 0x00, 0x04, 0x00, 0x00,       /*       test  $LMA, %eax */
    0x0f, 0x84, 0x85, 0x00, 0x00, 0x00, /*       jz    fault */
    0xb0, '2',  0xe6, 0xe9,             /*       out   '2' */
    0xb8, 0x01, 0x00, 0x00, 0x00,       /*       mov   $1, %eax */
    0x0f, 0xa2,                         /*       cpuid */
    0x0f, 0xba, 0xe1, 0x1a,             /*       bt    $XSAVE, %ecx */
    0x73, 0x27,                         /*       jnc   1f */
    0x0f, 0x20, 0xe0,                   /*       mov   %cr4, %rax */
    0x0d, 0x00, 0x06, 0x04, 0x00,       /*       or    $OSXSAVE|OSFXSR|OSXMMEXCPT, %eax */
    0x0f, 0x22, 0xe0,                   /*       mov   %rax, %cr4 */
    0x31, 0xc9,                         /*       xor   %ecx, %ecx */
    0x31, 0xd2,                         /*       xor   %edx, %edx */
    0xb8, 0x03, 0x00, 0x00, 0x00,       /*       mov   $X87|SSE, %eax */
    0x0f, 0x01, 0xd1,                   /*       xsetbv */
    0xbf, 0x00, 0x80, 0x00, 0x00,       /*       mov   $0x8000, %edi */
    0xb8, 0x03, 0x00, 0x00, 0x00,       /*       mov   $X87|SSE, %eax */
    0x0f, 0xae, 0x27,                   /*       xsave (%rdi) */
    0x0f, 0xae, 0x2f,                   /*       xrstor (%rdi) */
    0xb0, '3',  0xe6, 0xe9,             /* 1:    out   '3' */
    0xcc,                               /*       int3 */
    0xb0, '4',  0xe6, 0xe9,             /*       out   '4' */
    0xf4,                               /*       hlt */
};
static const uint8_t break_code[] = {
    0xb0, 'b',  0xe6, 0xe9, /* out 'b' */
    0x48, 0xcf,             /* iretq */
};
static const uint8_t fault_code[] = {
    0xb0, 'f', 0xe6, 0xe9, /* out 'f' */
    0xf4,                  /* hlt */
};

struct machine {
    int kvm, vm, cpu;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_bytes;
    char told[EXITS_MAX]; /* what the guest wrote */
    size_t told_len;
};

static void
put64(uint8_t *memory, uint32_t at, uint64_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static void
fill_memory(uint8_t *memory)
{
    put64(memory, TABLE_4, TABLE_3 | 3);
    put64(memory, TABLE_3, TABLE_2 | 3);
    put64(memory, TABLE_2, 0x83); /* present, writable, large */
    for (uint32_t vector = 0; vector < VECTORS; vector++) {
        uint64_t handler = vector == VECTOR_BREAK ? HANDLER_BREAK : HANDLER_FAULT;

        /* An interrupt gate: present, ring 0, code selector 8. */
        put64(memory, IDT + vector * 16,
              (handler & 0xffff) | (UINT64_C(8) << 16) | (UINT64_C(0x8e00) << 32) |
                  ((handler >> 16 & 0xffff) << 48));
    }
    memcpy(memory + CODE, guest_code, sizeof(guest_code));
    memcpy(memory + HANDLER_BREAK, break_code, sizeof(break_code));
    memcpy(memory + HANDLER_FAULT, fault_code, sizeof(fault_code));
    /* The descriptors that iretq reloads. */
    put64(memory, 0x4008, UINT64_C(0x00209a0000000000));
    put64(memory, 0x4010, UINT64_C(0x0000920000000000));
}

static int
set_registers(const struct machine *machine)
{
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = 0x10000};
    struct kvm_sregs sregs;

    if (ioctl(machine->cpu, KVM_GET_SREGS, &sregs) < 0)
        return -1;
    sregs.cr3 = TABLE_4;
    sregs.cr4 = 0x20;        /* PAE */
    sregs.cr0 = 0x80000011u; /* PG, ET, PE */
    sregs.efer = 0x500;      /* LMA, LME */
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt.base = 0x4000;
    sregs.gdt.limit = 0x17;
    sregs.idt.base = IDT;
    sregs.idt.limit = VECTORS * 16 - 1;
    if (ioctl(machine->cpu, KVM_SET_SREGS, &sregs) < 0)
        return -1;
    return ioctl(machine->cpu, KVM_SET_REGS, &regs);
}

static int
set_cpuid(const struct machine *machine)
{
    union {
        struct kvm_cpuid2 head;
        uint8_t room[sizeof(struct kvm_cpuid2) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2)];
    } cpuid = {.head = {.nent = CPUID_MAX}};

    if (ioctl(machine->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
        return -1;
    return ioctl(machine->cpu, KVM_SET_CPUID2, &cpuid);
}

static void
machine_fini(struct machine *machine)
{
    if (machine->run)
        (void)munmap(machine->run, machine->run_bytes);
    if (machine->memory)
        (void)munmap(machine->memory, MEMORY_BYTES);
    syn_fd_scope(&machine->cpu);
    syn_fd_scope(&machine->vm);
}

static int
machine_init(struct machine *machine)
{
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES};
    void *mapped =
        mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int run_bytes;

    if (mapped == MAP_FAILED)
        return -1;
    machine->memory = mapped;
    fill_memory(machine->memory);
    region.userspace_addr = (uint64_t)(uintptr_t)machine->memory;
    if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return -1;
    machine->cpu = ioctl(machine->vm, KVM_CREATE_VCPU, 0);
    run_bytes = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (machine->cpu < 0 || run_bytes < (int)sizeof(struct kvm_run))
        return -1;
    mapped = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, machine->cpu, 0);
    if (mapped == MAP_FAILED)
        return -1;
    machine->run = mapped;
    machine->run_bytes = (size_t)run_bytes;
    return set_cpuid(machine) < 0 ? -1 : set_registers(machine);
}

/* Run until the guest halts or cannot go on. Returns why it stopped, NULL for a plain halt. */
static const char *
machine_run(struct machine *machine)
{
    while (machine->told_len < EXITS_MAX - 1) {
        const struct kvm_run *run = machine->run;

        if (ioctl(machine->cpu, KVM_RUN, 0) < 0)
            return errno == EINTR ? "it hung" : "the host refused to run it";
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            if (run->io.direction != KVM_EXIT_IO_OUT || run->io.port != PORT)
                return "it touched a foreign port";
            machine->told[machine->told_len++] =
                (char)*((const uint8_t *)run + run->io.data_offset);
            break;
        case KVM_EXIT_HLT:
            return NULL;
        case KVM_EXIT_SHUTDOWN:
            return "triple fault";
        case KVM_EXIT_INTERNAL_ERROR:
            return "the host could not emulate an instruction (internal error)";
        case KVM_EXIT_FAIL_ENTRY:
            return "the processor refused to enter it";
        default:
            return "it left for an unknown reason";
        }
    }
    return "it talks without end";
}

/* Run it under the timer. */
static const char *
run_limited(struct machine *machine, int limit_ms)
{
    union {
        struct kvm_signal_mask head;
        uint8_t room[sizeof(struct kvm_signal_mask) + 8];
    } mask = {.head = {.len = 8}};
    struct itimerspec limit = {
        .it_value = {.tv_sec = limit_ms / 1000, .tv_nsec = (limit_ms % 1000) * 1000000L}};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 7};
    struct timespec at_once = {0};
    const char *stopped;
    sigset_t ours, old;
    uint64_t inside;
    timer_t timer;

    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, event.sigev_signo);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        return "no timer to limit it";
    (void)pthread_sigmask(SIG_BLOCK, &ours, &old);
    /* Inside KVM_RUN everything is blocked but the timer's signal. */
    inside = ~(UINT64_C(1) << (event.sigev_signo - 1));
    memcpy(mask.room + offsetof(struct kvm_signal_mask, sigset), &inside, sizeof(inside));
    if (ioctl(machine->cpu, KVM_SET_SIGNAL_MASK, &mask) < 0)
        stopped = "no way to limit it";
    else
        stopped = timer_settime(timer, 0, &limit, NULL) < 0 ? "no timer to limit it"
                                                            : machine_run(machine);
    (void)timer_delete(timer);
    while (sigtimedwait(&ours, NULL, &at_once) > 0)
        ;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return stopped;
}

/* What the guest was about to do when it said `told` for the last time. */
static const char *
next_step(const char *told)
{
    size_t len = strlen(told);

    switch (len > 0 ? told[len - 1] : '0') {
    case '0':
        return "entering 64-bit mode";
    case '1':
        return "reading a model specific register";
    case '2':
        return "saving and restoring extended state (XSETBV, XSAVE, XRSTOR)";
    case '3':
        return "taking a breakpoint exception (INT3)";
    case 'b':
        return "returning from an exception (IRETQ)";
    default:
        return "an instruction that raised an exception";
    }
}

static void
try_guest(struct machine *machine, int limit_ms, struct syn_kvm_result *ret)
{
    const char *stopped;

    ret->step = SYN_KVM_NO_GUEST;
    if (machine_init(machine) < 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail),
                       "creates VMs; a processor could not be set up (errno %d)", errno);
        return;
    }
    stopped = run_limited(machine, limit_ms);
    if (!stopped && syn_str_eq(machine->told, "123b4")) {
        ret->step = SYN_KVM_GUEST;
        (void)snprintf(ret->detail, sizeof(ret->detail), "creates VMs; test guest ran");
        return;
    }
    (void)snprintf(ret->detail, sizeof(ret->detail), "creates VMs; test guest stopped at %s: %s",
                   next_step(machine->told), stopped ? stopped : "it halted");
}

void
syn_kvm_try(const char *device, int limit_ms, struct syn_kvm_result *ret)
{
    struct machine machine = {.kvm = -1, .vm = -1, .cpu = -1};
    int version;

    *ret = (struct syn_kvm_result){.step = SYN_KVM_ABSENT};
    machine.kvm = open(device, O_RDWR | O_CLOEXEC);
    if (machine.kvm < 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail), "%s %s", device,
                       errno == ENOENT ? "is not there" : "cannot be opened");
        return;
    }
    version = ioctl(machine.kvm, KVM_GET_API_VERSION, 0);
    machine.vm = version == KVM_API_VERSION ? ioctl(machine.kvm, KVM_CREATE_VM, 0) : -1;
    if (machine.vm < 0) {
        ret->step = version == KVM_API_VERSION ? SYN_KVM_NO_VM : SYN_KVM_ABSENT;
        (void)snprintf(ret->detail, sizeof(ret->detail), "%s opens but creates no VM", device);
    } else {
        try_guest(&machine, limit_ms, ret);
    }
    machine_fini(&machine);
    syn_fd_scope(&machine.kvm);
}

#else

void
syn_kvm_try(const char *device, int limit_ms, struct syn_kvm_result *ret)
{
    SYN_FD(kvm);

    (void)limit_ms;
    *ret = (struct syn_kvm_result){.step = SYN_KVM_ABSENT};
    kvm = open(device, O_RDWR | O_CLOEXEC);
    (void)snprintf(ret->detail, sizeof(ret->detail), "%s %s", device,
                   kvm < 0 ? "cannot be opened" : "opens; no test guest for this processor");
    if (kvm >= 0)
        ret->step = SYN_KVM_NO_GUEST;
}

#endif

/* ---- a stock kernel ---- */

static bool
came_up(const char *console)
{
    /* Without a root file system a kernel that came all the way ends here. */
    return strstr(console, "Unable to mount root") || strstr(console, "Run /init") ||
           strstr(console, "Run /sbin/init") || strstr(console, "Freeing unused kernel");
}

/* Read the console until the kernel came up, the limit, or the end. */
static bool
watch_console(int fd, int limit_ms, char *console)
{
    int64_t deadline = syn_mono_ms(syn_world_system()) + limit_ms;
    size_t len = 0;

    while (len + 1 < CONSOLE_MAX) {
        int64_t left = deadline - syn_mono_ms(syn_world_system());
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (left <= 0 || poll(&ready, 1, (int)left) <= 0)
            return false;
        got = read(fd, console + len, CONSOLE_MAX - 1 - len);
        if (got <= 0)
            return false;
        len += (size_t)got;
        console[len] = '\0';
        if (came_up(console))
            return true;
    }
    return false;
}

bool
syn_kvm_boot(const char *qemu, const char *kernel, int limit_ms, char *detail, size_t cap)
{
    const char *const argv[] = {
        qemu,       "-nodefaults", "-no-user-config",
        "-machine", "q35",         "-accel",
        "kvm",      "-m",          "256",
        "-display", "none",        "-no-reboot",
        "-serial",  "stdio",       "-kernel",
        kernel,     "-append",     "console=ttyS0 panic=-1 earlyprintk=serial",
        NULL};
    const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    static _Thread_local char console[CONSOLE_MAX];
    struct syn_child_options options = {
        .argv = argv, .env = env, .in = SYN_CHILD_NULL, .passed = SYN_CHILD_NULL};
    bool up = false;
    pid_t pid = -1;
    int fds[2], rc;

    console[0] = '\0';
    (void)snprintf(detail, cap, "%s cannot be started", qemu);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    options.out = options.err = fds[1];
    rc = syn_child_spawn(qemu, &options, &pid, NULL);
    (void)close(fds[1]);
    if (rc == SYN_OK) {
        up = watch_console(fds[0], limit_ms, console);
        (void)kill(pid, SIGKILL);
        (void)syn_child_wait(pid);
        (void)snprintf(detail, cap, "a stock kernel (%s) %s", kernel,
                       up                                 ? "booted"
                       : strstr(console, "Linux version") ? "hung in early boot"
                                                          : "printed nothing");
    }
    (void)close(fds[0]);
    return up;
}
