/* The drivers' suite: the processor of an instance that is eager to begin. */
#include "suite_run_priv.h"

#include <poll.h>

#include <synor/base/test.h>

#define ENOUGH_MS 100 /* of a core's time, which a fiftieth of one would take seconds for */

static int64_t
throttled_so_far(const struct syn_run *run, int64_t *ret_cpu_ms)
{
    struct syn_usage_sample usage = {.seq = 0};
    struct syn_err err = {0};

    (void)!CALL(stats, run->instance, &usage, &err);
    *ret_cpu_ms = usage.cpu_ms;
    return usage.throttled_ms;
}

/* Until it settles it has a core, whatever it asked for; then what it asked for. */
void
syn_suite_eager_until_it_settles(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c", "while :; do :; done", NULL};
    struct syn_instance_spec spec = {
        .argv = argv, .cpu_millicores = 20, .eager_ms = 3600000, .grace_ms = 500};
    struct syn_err err = {0};
    struct syn_run run;
    int64_t cpu_ms = 0, throttled_ms = 0;

    (void)state;
    if (!syn_suite->kernel_shared)
        skip(); /* a sandbox's own kernel takes part of it */
    syn_run_start(&run, &spec);
    for (int i = 0; i < SYN_SUITE_END_MS / 10 && cpu_ms < ENOUGH_MS; i++) {
        (void)poll(NULL, 0, 10);
        throttled_ms = throttled_so_far(&run, &cpu_ms);
    }
    assert_true(cpu_ms >= ENOUGH_MS);
    assert_true(throttled_ms < cpu_ms);
    assert_done(CALL(settle, run.instance, &err), &err);
    /* A sample that is all of it after that waited for most of its second. */
    for (int i = 0; i < SYN_SUITE_END_MS / 10 && throttled_ms <= 4 * cpu_ms; i++) {
        (void)poll(NULL, 0, 10);
        throttled_ms = throttled_so_far(&run, &cpu_ms);
    }
    assert_true(throttled_ms > 4 * cpu_ms);
    assert_done(CALL(settle, run.instance, &err), &err); /* again is fine */
    assert_done(CALL(stop, run.instance, 0, &err), &err);
    syn_run_await(&run);
    assert_code(CALL(settle, run.instance, &err), SYN_E_CONFLICT, &err);
    syn_run_end(&run);
}
