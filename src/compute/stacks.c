#include "stacks.h"

#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/core.h>
#include <synor/base/str.h>

#define FRAMES_MAX  32
#define THREADS_MAX 64
#define TELL_MAX    1000
#define ASKING      (SIGRTMAX - 1)
#define ANSWERS_MS  2000 /* so long threads have to say where they stand */

struct stack {
    void *frames[FRAMES_MAX];
    int count;
    _Atomic bool there;
    bool told;
};

static struct stack stacks[THREADS_MAX];
static _Atomic unsigned asked, answered;

/* In the thread that is asked, wherever it is. */
static void
on_asked(int number)
{
    unsigned at = atomic_fetch_add(&asked, 1);

    (void)number;
    if (at >= THREADS_MAX)
        return;
    stacks[at].count = backtrace(stacks[at].frames, FRAMES_MAX);
    atomic_store(&stacks[at].there, true);
    (void)atomic_fetch_add(&answered, 1);
}

void
syn_stacks_ready(void)
{
    struct sigaction action = {.sa_handler = on_asked};
    void *frames[1];

    (void)backtrace(frames, 1); /* loads what it needs, which a handler must not */
    (void)sigaction(ASKING, &action, NULL);
}

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* One place; returns what it took of `room`. A return address is behind its call. */
static size_t
put_frame(char *to, size_t room, const void *frame, bool called)
{
    const char *at = (const char *)frame - (called ? 1 : 0);
    Dl_info info;
    int took;

    if (dladdr(at, &info) == 0 || info.dli_fname == NULL)
        took = snprintf(to, room, " ?");
    else if (info.dli_sname != NULL)
        took = snprintf(to, room, " %s:%s", base_name(info.dli_fname), info.dli_sname);
    else
        took = snprintf(to, room, " %s+0x%" PRIxPTR, base_name(info.dli_fname),
                        (uintptr_t)at - (uintptr_t)info.dli_fbase);
    return took < 0 ? 0 : SYN_MIN((size_t)took, room - 1);
}

/* The first `skipped` frames are the handler's. */
static void
tell(const struct stack *stack, unsigned threads, int skipped)
{
    char line[TELL_MAX];
    size_t length =
        (size_t)snprintf(line, sizeof(line), "# %u thread%s:", threads, threads == 1 ? "" : "s");

    for (int i = skipped; i < stack->count; i++)
        length += put_frame(line + length, sizeof(line) - length, stack->frames[i], i > skipped);
    line[SYN_MIN(length, sizeof(line) - 2)] = '\n';
    length = SYN_MIN(length + 1, sizeof(line) - 1);
    if (write(STDERR_FILENO, line, length) < 0)
        _exit(99);
}

void
syn_stacks_tell_own(void)
{
    struct stack stack = {0};

    stack.count = backtrace(stack.frames, FRAMES_MAX);
    tell(&stack, 1, 1);
}

/* How many were asked. */
static unsigned
ask_others(void)
{
    DIR *tasks = opendir("/proc/self/task");
    const pid_t self = (pid_t)syscall(SYS_gettid);
    unsigned count = 0;

    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        uint64_t number = 0;

        if (syn_parse_u64(task->d_name, 1, INT32_MAX, "task", &number, NULL) < 0 ||
            (pid_t)number == self)
            continue;
        count += syscall(SYS_tgkill, getpid(), (pid_t)number, ASKING) == 0;
    }
    if (tasks != NULL)
        (void)closedir(tasks);
    return count;
}

static bool
same(const struct stack *a, const struct stack *b)
{
    return a->count == b->count &&
           memcmp(a->frames, b->frames, (size_t)a->count * sizeof(a->frames[0])) == 0;
}

void
syn_stacks_tell_others(void)
{
    unsigned count = ask_others();

    count = SYN_MIN(count, THREADS_MAX);
    for (unsigned i = 0; i < ANSWERS_MS && atomic_load(&answered) < count; i++)
        (void)usleep(1000);
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        unsigned threads = 0;

        if (!atomic_load(&stacks[i].there) || stacks[i].told)
            continue;
        for (unsigned k = i; k < THREADS_MAX; k++) {
            if (!atomic_load(&stacks[k].there) || !same(&stacks[i], &stacks[k]))
                continue;
            stacks[k].told = true;
            threads++;
        }
        tell(&stacks[i], threads, 2);
    }
    if (atomic_load(&answered) < count)
        (void)fprintf(stderr, "# %u threads do not say where they are\n",
                      count - atomic_load(&answered));
}
