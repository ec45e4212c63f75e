/* One thread that sleeps on a futex and nothing else, in the harness for task runtimes: what the
 * harness's loop itself burns between two tasks on this machine. */
#include "bench.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define END UINT32_MAX

static uint32_t count; /* of what was submitted; END: stop */
static pthread_t sleeper;

static void
sleeps(uint32_t seen)
{
    (void)syscall(SYS_futex, &count, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void
wake(void)
{
    (void)syscall(SYS_futex, &count, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *
run(void *arg)
{
    uint32_t seen = 0, now;

    (void)arg;
    for (;;) {
        while ((now = __atomic_load_n(&count, __ATOMIC_ACQUIRE)) == seen)
            sleeps(seen);
        if (now == END)
            return NULL;
        seen = now;
        bench_poke_body();
    }
}

static void
start(int workers)
{
    (void)workers;
    if (pthread_create(&sleeper, NULL, run, NULL) != 0)
        exit(1);
}

static void
stop(void)
{
    __atomic_store_n(&count, END, __ATOMIC_RELEASE);
    wake();
    (void)pthread_join(sleeper, NULL);
}

static void
submit(void)
{
    __atomic_fetch_add(&count, 1, __ATOMIC_RELEASE);
    wake();
}

static void
latency(int times, uint64_t gap_ns, uint64_t *out)
{
    BENCH_LATENCY_LOOP(times, gap_ns, out, submit());
}

const struct peer peer = {.name = "futex", .start = start, .stop = stop, .latency = latency};
