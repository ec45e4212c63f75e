#include <synor/task.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/test.h>

#include "stress_suite.h"
#include "task_priv.h"

static struct syn_runtime *
runtime_with(unsigned workers)
{
    struct syn_runtime_options options = {
        .workers = workers, .no_workers = workers == 0, .guests = workers == 0 ? 1 : 0};
    struct syn_runtime *runtime = NULL;
    struct syn_err err;

    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    return runtime;
}

/* ---- against a sequential run ----
 *
 * Cells hold numbers that depend on the order of everything that touches them; a task mixes what it
 * reads into what it writes. Run in the order of submission they give what they must give. */

#define CELLS      24
#define TASK_COUNT 3000

struct mixing {
    uint64_t *cells[SYN_USES_MAX];
    enum syn_access access[SYN_USES_MAX];
    unsigned count;
    uint64_t salt;
    _Atomic uint32_t *runs;
};

static void
mix(const struct mixing *mixing)
{
    uint64_t hash = mixing->salt;

    for (unsigned i = 0; i < mixing->count; i++) {
        if ((mixing->access[i] & SYN_READ) != 0)
            hash = (hash ^ *mixing->cells[i]) * UINT64_C(0x9e3779b97f4a7c15) + i;
    }
    for (unsigned i = 0; i < mixing->count; i++) {
        if ((mixing->access[i] & SYN_WRITE) != 0)
            *mixing->cells[i] = hash ^ (hash >> 29) ^ i;
    }
}

static int
mix_task(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct mixing *mixing = arg;

    (void)worker;
    (void)at;
    mix(mixing);
    atomic_fetch_add_explicit(mixing->runs, 1, memory_order_relaxed);
    return SYN_OK;
}

static void
make_mixing(struct mixing *ret, uint64_t *cells, uint64_t *seed, unsigned *ret_which)
{
    unsigned most = syn_test_random(seed) % 8 == 0 ? SYN_USES_MAX : 4;

    ret->count = (unsigned)(syn_test_random(seed) % most) + 1;
    ret->salt = syn_test_random(seed);
    for (unsigned i = 0; i < ret->count; i++) {
        ret_which[i] = (unsigned)(syn_test_random(seed) % CELLS);
        ret->cells[i] = &cells[ret_which[i]];
        /* Mostly readers, so that writes wait for several. */
        ret->access[i] = syn_test_random(seed) % 3 == 0
                             ? (enum syn_access)(syn_test_random(seed) % 2 + 2)
                             : SYN_READ;
    }
}

static void
random_tasks(unsigned workers, uint64_t seed)
{
    static struct mixing mixings[TASK_COUNT];
    static unsigned which[TASK_COUNT][SYN_USES_MAX];
    struct syn_runtime *runtime = runtime_with(workers);
    uint64_t cells[CELLS], want[CELLS];
    struct syn_data *data[CELLS];
    _Atomic uint32_t runs = 0;
    uint64_t random = seed;
    struct syn_err err;

    for (unsigned i = 0; i < CELLS; i++) {
        cells[i] = want[i] = i;
        assert_done(syn_data_new(runtime, &cells[i], sizeof(cells[i]), &data[i], &err), &err);
    }
    for (unsigned t = 0; t < TASK_COUNT; t++) {
        struct syn_use uses[SYN_USES_MAX];
        struct syn_task_spec spec = {.run = mix_task, .arg = &mixings[t], .uses = uses};

        mixings[t].runs = &runs;
        make_mixing(&mixings[t], cells, &random, which[t]);
        for (unsigned i = 0; i < mixings[t].count; i++)
            uses[i] = (struct syn_use){data[which[t][i]], mixings[t].access[i]};
        spec.uses_count = (uint16_t)mixings[t].count;
        spec.priority = (int)(syn_test_random(&random) % 5) - 2;
        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        if (syn_test_random(&random) % 512 == 0)
            syn_runtime_wait(runtime);
    }
    syn_runtime_wait(runtime);
    assert_int_equal(atomic_load(&runs), TASK_COUNT);
    for (unsigned t = 0; t < TASK_COUNT; t++) {
        struct mixing again = mixings[t];

        for (unsigned i = 0; i < again.count; i++)
            again.cells[i] = &want[which[t][i]];
        mix(&again);
    }
    if (memcmp(cells, want, sizeof(cells)) != 0)
        fail_msg("workers %u, seed %llu: not what a sequential run gives", workers,
                 (unsigned long long)seed);
    for (unsigned i = 0; i < CELLS; i++)
        (void)syn_data_free(data[i]);
    (void)syn_runtime_free(runtime);
}

static void
test_any_run_equals_the_sequential_one(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        random_tasks((unsigned)(seed % 4), seed * 7919);
}

/* A handle that is only ever read keeps no list of all who did. */
static void
test_readers_for_ever(void **state)
{
    struct syn_runtime *runtime = runtime_with(1);
    uint64_t cell = 0, out[4] = {0};
    struct syn_data *input, *outputs[4];
    _Atomic uint32_t runs = 0;
    struct mixing mixing = {.runs = &runs};
    int64_t live = 0;
    struct syn_err err;

    (void)state;
    assert_done(syn_data_new(runtime, &cell, sizeof(cell), &input, &err), &err);
    for (unsigned i = 0; i < 4; i++)
        assert_done(syn_data_new(runtime, &out[i], sizeof(out[i]), &outputs[i], &err), &err);
    for (unsigned t = 0; t < 40000; t++) {
        struct syn_use uses[] = {{input, SYN_READ}, {outputs[t % 4], SYN_UPDATE}};
        struct syn_task_spec spec = {
            .run = mix_task, .arg = &mixing, .uses = uses, .uses_count = 2};

        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        if (t % 64 == 0)
            syn_runtime_wait(runtime);
        if (t == 1000)
            live = syn_mem_live();
    }
    syn_runtime_wait(runtime);
    assert_true(syn_mem_live() <= live + 4); /* a slab more or less */
    (void)syn_data_free(input);
    for (unsigned i = 0; i < 4; i++)
        (void)syn_data_free(outputs[i]);
    (void)syn_runtime_free(runtime);
}

/* ---- handles, order, errors, cancellation ---- */

static int
add_one(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    ++*(int *)arg;
    return SYN_OK;
}

static int
hold_until(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    while (atomic_load((_Atomic int *)arg) == 0)
        (void)usleep(100);
    return SYN_OK;
}

static int
give_up(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    (void)arg;
    return SYN_E_IO;
}

static void
note_code(void *arg, int code)
{
    atomic_store((_Atomic int *)arg, code == 0 ? 1 : code);
}

static void
test_after_and_wait(void **state)
{
    struct syn_runtime *runtime = runtime_with(2);
    struct syn_task *tasks[100] = {NULL};
    int count = 0;
    struct syn_err err;

    (void)state;
    for (unsigned i = 0; i < SYN_LEN(tasks); i++) {
        struct syn_task_spec spec = {.run = add_one,
                                     .arg = &count,
                                     .after = i > 0 ? &tasks[i - 1] : NULL,
                                     .after_count = i > 0};

        assert_done(syn_task_submit(runtime, &spec, &tasks[i], &err), &err);
    }
    assert_done(syn_task_wait(runtime, tasks[SYN_LEN(tasks) - 1], &err), &err);
    assert_int_equal(count, SYN_LEN(tasks));
    for (unsigned i = 0; i < SYN_LEN(tasks); i++)
        assert_null(syn_task_release(tasks[i]));
    (void)syn_runtime_free(runtime);
}

/* What needs a failed task's result does not run, whatever the number of steps between. */
static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
test_errors_take_dependents_along(void **state)
{
    (void)state;
    for (unsigned workers = 0; workers <= 2; workers++) {
        struct syn_runtime *runtime = runtime_with(workers);
        struct syn_data *broken, *sound;
        struct syn_task *last = NULL;
        _Atomic int code = 0;
        int broken_count = 0, sound_count = 0;
        struct syn_err err;

        assert_done(syn_data_new(runtime, &broken_count, 4, &broken, &err), &err);
        assert_done(syn_data_new(runtime, &sound_count, 4, &sound, &err), &err);
        assert_done(
            syn_task_submit(runtime,
                            &(struct syn_task_spec){.run = give_up,
                                                    .uses = (struct syn_use[]){{broken, SYN_WRITE}},
                                                    .uses_count = 1,
                                                    .done = note_code,
                                                    .done_arg = &code},
                            NULL, &err),
            &err);
        for (unsigned i = 0; i < 20; i++) {
            struct syn_use use = {i % 2 == 0 ? broken : sound, SYN_UPDATE};
            struct syn_task_spec spec = {.run = add_one,
                                         .arg = i % 2 == 0 ? &broken_count : &sound_count,
                                         .uses = &use,
                                         .uses_count = 1};

            assert_done(syn_task_submit(runtime, &spec, i == 18 ? &last : NULL, &err), &err);
        }
        assert_code(syn_task_wait(runtime, last, &err), SYN_E_IO, &err);
        syn_runtime_wait(runtime);
        assert_int_equal(broken_count, 0);
        assert_int_equal(atomic_load(&code), SYN_E_IO);
        assert_int_equal(sound_count, 10);
        (void)syn_task_release(last);
        (void)syn_data_free(broken);
        (void)syn_data_free(sound);
        (void)syn_runtime_free(runtime);
    }
}

/* Submit a task on one piece of data and say how it ended. */
static int
code_of(struct syn_runtime *runtime, struct syn_data *data, enum syn_access access,
        syn_task_fn *run)
{
    const struct syn_use use = {data, access};
    int count = 0;
    const struct syn_task_spec spec = {.run = run, .arg = &count, .uses = &use, .uses_count = 1};
    struct syn_task *task = NULL;
    struct syn_err err;
    int code;

    assert_done(syn_task_submit(runtime, &spec, &task, &err), &err);
    code = syn_task_wait(runtime, task, &err);
    (void)syn_task_release(task);
    return code;
}

/* Who comes when a task has long failed hears of it as who waited for it does, until a wait. */
static void
test_failures_are_remembered(void **unused)
{
    (void)unused;
    for (unsigned workers = 0; workers < 3; workers++) {
        struct syn_runtime *runtime = runtime_with(workers);
        struct syn_data *data;
        int64_t content = 0;
        struct syn_err err;

        assert_done(syn_data_new(runtime, &content, 8, &data, &err), &err);
        assert_int_equal(code_of(runtime, data, SYN_WRITE, give_up), SYN_E_IO);
        assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_E_IO);
        assert_int_equal(code_of(runtime, data, SYN_COMMUTE, add_one), SYN_E_IO);
        assert_int_equal(code_of(runtime, data, SYN_UPDATE, add_one), SYN_E_IO);
        assert_int_equal(code_of(runtime, data, SYN_UPDATE, add_one), SYN_E_IO);
        /* What is written anew is good again. */
        assert_int_equal(code_of(runtime, data, SYN_WRITE, add_one), SYN_OK);
        assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_OK);
        /* So it is when one failed that only read, */
        assert_int_equal(code_of(runtime, data, SYN_READ, give_up), SYN_E_IO);
        assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_OK);
        assert_int_equal(code_of(runtime, data, SYN_UPDATE, add_one), SYN_OK);
        /* but not when one of those that commute did, whatever others did after it. */
        assert_int_equal(code_of(runtime, data, SYN_COMMUTE, give_up), SYN_E_IO);
        for (unsigned i = 0; i < 20; i++)
            assert_int_equal(code_of(runtime, data, SYN_COMMUTE, add_one), SYN_OK);
        assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_E_IO);
        syn_runtime_wait(runtime);
        assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_OK);
        (void)syn_data_free(data);
        (void)syn_runtime_free(runtime);
    }
}

/* What came before only needs to be over: a writer does not need the readers, nor what it
 * overwrites, also if it was submitted while they were still to fail. */
static void
test_order_carries_no_failure(void **unused)
{
    static const enum syn_access before[] = {SYN_READ, SYN_WRITE, SYN_COMMUTE};

    (void)unused;
    for (unsigned i = 0; i < 2 * SYN_LEN(before); i++) {
        struct syn_runtime *runtime = runtime_with(1);
        struct syn_task *gate = NULL, *writer = NULL;
        struct syn_use use = {NULL, before[i / 2]};
        struct syn_task_spec spec = {.uses = &use, .uses_count = 1, .after = &gate};
        _Atomic int open = 0;
        int count = 0;
        struct syn_err err;

        assert_done(syn_data_new(runtime, &count, 4, &use.data, &err), &err);
        assert_done(syn_task_submit(runtime,
                                    &(struct syn_task_spec){.run = hold_until, .arg = &open}, &gate,
                                    &err),
                    &err);
        spec.run = give_up;
        spec.after_count = 1;
        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        spec.run = add_one;
        spec.arg = &count;
        spec.after_count = 0;
        use.access = i % 2 == 0 ? SYN_WRITE : SYN_UPDATE;
        assert_done(syn_task_submit(runtime, &spec, &writer, &err), &err);
        atomic_store(&open, 1);
        if (use.access == SYN_WRITE || before[i / 2] == SYN_READ)
            assert_done(syn_task_wait(runtime, writer, &err), &err);
        else
            assert_code(syn_task_wait(runtime, writer, &err), SYN_E_IO, &err);
        (void)syn_task_release(writer);
        (void)syn_task_release(gate);
        (void)syn_data_free(use.data);
        (void)syn_runtime_free(runtime);
    }
}

/* More than are remembered: the last ones are. */
static void
test_failures_without_end(void **unused)
{
    struct syn_runtime *runtime = runtime_with(1);
    struct syn_task_spec spec = {.run = give_up};
    struct syn_data *data;
    int content = 0;
    struct syn_err err;

    (void)unused;
    assert_done(syn_data_new(runtime, &content, 4, &data, &err), &err);
    for (unsigned i = 0; i < 70000; i++)
        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
    assert_int_equal(code_of(runtime, data, SYN_WRITE, give_up), SYN_E_IO);
    assert_int_equal(code_of(runtime, data, SYN_READ, add_one), SYN_E_IO);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
}

static void
test_cancel_before_it_begins(void **state)
{
    struct syn_runtime *runtime = runtime_with(1);
    struct syn_task *gate = NULL, *task = NULL;
    _Atomic int open = 0;
    int count = 0;
    struct syn_err err;

    (void)state;
    assert_done(syn_task_submit(runtime, &(struct syn_task_spec){.run = hold_until, .arg = &open},
                                &gate, &err),
                &err);
    assert_done(
        syn_task_submit(runtime,
                        &(struct syn_task_spec){
                            .run = add_one, .arg = &count, .after = &gate, .after_count = 1},
                        &task, &err),
        &err);
    assert_true(syn_task_cancel(task));
    assert_false(syn_task_cancel(task));
    atomic_store(&open, 1);
    assert_code(syn_task_wait(runtime, task, &err), SYN_E_CANCELED, &err);
    assert_done(syn_task_wait(runtime, gate, &err), &err);
    assert_false(syn_task_cancel(gate));
    assert_int_equal(count, 0);
    (void)syn_task_release(task);
    (void)syn_task_release(gate);
    (void)syn_runtime_free(runtime);
}

static void
test_specs_are_checked(void **state)
{
    struct syn_runtime *runtime = runtime_with(0);
    static const struct syn_use none = {NULL, SYN_READ};
    const struct syn_task_spec bad[] = {
        {.run = NULL},
        {.run = give_up, .uses_count = SYN_USES_MAX + 1},
        {.run = give_up, .after_count = SYN_AFTER_MAX + 1},
        {.run = give_up, .uses = &none, .uses_count = 1},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_err err;

        assert_code(syn_task_submit(runtime, &bad[i], NULL, &err), SYN_E_INVALID, &err);
    }
    (void)syn_runtime_free(runtime);
}

static int
alloc_scenario(void *arg, struct syn_err *err)
{
    struct syn_runtime_options options = {.no_workers = true, .guests = 1};
    struct syn_runtime *runtime = NULL;
    struct syn_data *data = NULL;
    struct syn_task *task = NULL;
    int count = 0;
    int rc = syn_runtime_new(&options, &runtime, err);

    (void)arg;
    if (rc < 0)
        return rc;
    rc = syn_data_new(runtime, &count, sizeof(count), &data, err);
    for (int i = 0; rc == 0 && i < 600; i++) {
        struct syn_use use = {data, i % 50 == 49 ? SYN_UPDATE : SYN_READ};
        struct syn_task_spec spec = {.run = add_one, .arg = &count, .uses = &use, .uses_count = 1};

        rc = syn_task_submit(runtime, &spec, i == 599 ? &task : NULL, err);
    }
    syn_runtime_wait(runtime);
    (void)syn_task_release(task);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
    return rc;
}

static void
test_memory_may_be_short(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(alloc_scenario, NULL) > 8);
}

/* ---- commuting and reducing, against a sequential run ----
 *
 * Adding commutes, setting and looking do not: whatever order the groups run in inside, what is
 * looked at between them is known. Sums are plain variables, so that two at a time would be seen.
 */

#define SUMS  5
#define STEPS 4000

struct step {
    struct syn_data *data[2]; /* may be given back before the task runs, unless it reduces */
    int64_t *sums[2];
    enum syn_access access[2];
    int64_t amount;
    int64_t expected[2]; /* READ: what must be there; INT64_MIN: not known */
    _Atomic unsigned *wrong;
    unsigned count;
};

static int
run_step(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct step *step = arg;

    (void)at;
    for (unsigned i = 0; i < step->count; i++) {
        int64_t *sum = step->sums[i];

        if (step->access[i] == SYN_REDUCE)
            sum = syn_data_part(worker, step->data[i]);
        if (sum == NULL)
            return SYN_E_NOMEM;
        if (step->access[i] == SYN_READ)
            (void)atomic_fetch_add(step->wrong, *sum != step->expected[i]);
        else if (step->access[i] == SYN_WRITE)
            *sum = step->amount;
        else
            *sum += step->amount;
    }
    return SYN_OK;
}

static void
to_zero(void *part, size_t bytes)
{
    memset(part, 0, bytes);
}

static void
add_to(void *into, const void *part, size_t bytes)
{
    (void)bytes;
    *(int64_t *)into += *(const int64_t *)part;
}

static void
make_step(struct step *step, struct syn_data *const *data, int64_t *mine, uint64_t *random)
{
    static const enum syn_access ways[] = {SYN_READ,   SYN_COMMUTE, SYN_COMMUTE, SYN_REDUCE,
                                           SYN_REDUCE, SYN_COMMUTE, SYN_UPDATE,  SYN_WRITE};
    unsigned first;

    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407U;
    first = (unsigned)(*random >> 40) % SUMS;
    step->count = 1 + (unsigned)(*random >> 50) % 2;
    step->amount = (int64_t)(*random >> 33) % 1000;
    for (unsigned i = 0; i < step->count; i++) {
        unsigned which = (first + i) % SUMS;

        step->data[i] = data[which];
        step->sums[i] = syn_data_address(data[which]);
        step->access[i] = ways[(*random >> (20 + 4 * i)) % SYN_LEN(ways)];
        step->expected[i] = mine[which];
        if (step->access[i] == SYN_WRITE)
            mine[which] = step->amount;
        else if (step->access[i] != SYN_READ)
            mine[which] += step->amount;
    }
}

static void
commute_and_reduce(unsigned workers, uint64_t seed)
{
    struct syn_runtime *runtime = runtime_with(workers);
    static struct step steps[STEPS];
    int64_t sums[SUMS] = {0}, mine[SUMS] = {0};
    struct syn_data *data[SUMS];
    _Atomic unsigned wrong = 0;
    struct syn_err err;

    for (unsigned i = 0; i < SUMS; i++) {
        assert_done(syn_data_new(runtime, &sums[i], sizeof(sums[i]), &data[i], &err), &err);
        assert_done(syn_data_reduction(data[i], to_zero, add_to, &err), &err);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        struct syn_use uses[2];

        make_step(&steps[i], data, mine, &seed);
        steps[i].wrong = &wrong;
        for (unsigned j = 0; j < steps[i].count; j++)
            uses[j] = (struct syn_use){steps[i].data[j], steps[i].access[j]};
        assert_done(syn_task_submit(runtime,
                                    &(struct syn_task_spec){.run = run_step,
                                                            .arg = &steps[i],
                                                            .uses = uses,
                                                            .uses_count = (uint16_t)steps[i].count},
                                    NULL, &err),
                    &err);
    }
    for (unsigned i = 0; i < SUMS; i++) {
        static struct step last[SUMS];
        const struct syn_use use = {data[i], SYN_READ};

        last[i] = (struct step){.data = {data[i]},
                                .sums = {&sums[i]},
                                .access = {SYN_READ},
                                .expected = {mine[i]},
                                .count = 1};
        last[i].wrong = &wrong;
        assert_done(
            syn_task_submit(runtime,
                            &(struct syn_task_spec){
                                .run = run_step, .arg = &last[i], .uses = &use, .uses_count = 1},
                            NULL, &err),
            &err);
        data[i] = syn_data_free(data[i]); /* while it is in use */
    }
    syn_runtime_wait(runtime);
    assert_int_equal(atomic_load(&wrong), 0);
    (void)syn_runtime_free(runtime);
}

static void
test_commute_and_reduce(void **unused)
{
    (void)unused;
    for (unsigned workers = 0; workers < 4; workers++) {
        for (uint64_t seed = 1; seed < 6; seed++)
            commute_and_reduce(workers, seed * 977);
    }
}

static void
test_commute_refusals(void **unused)
{
    struct syn_runtime *runtime = runtime_with(0);
    enum { MANY = 5 }; /* one more than a task can */
    struct syn_use uses[MANY];
    struct syn_task_spec spec = {.run = run_step, .uses = uses, .uses_count = MANY};
    struct syn_data *data[MANY];
    struct syn_err err;

    (void)unused;
    for (unsigned i = 0; i < MANY; i++) {
        assert_done(syn_data_new(runtime, NULL, 8, &data[i], &err), &err);
        uses[i] = (struct syn_use){data[i], SYN_COMMUTE};
    }
    assert_code(syn_task_submit(runtime, &spec, NULL, &err), SYN_E_INVALID, &err);
    uses[0].access = SYN_REDUCE;
    spec.uses_count = 1;
    assert_code(syn_task_submit(runtime, &spec, NULL, &err), SYN_E_INVALID, &err);
    assert_done(syn_data_reduction(data[0], to_zero, add_to, &err), &err);
    assert_code(syn_data_reduction(data[0], to_zero, add_to, &err), SYN_E_EXISTS, &err);
    for (unsigned i = 0; i < MANY; i++)
        data[i] = syn_data_free(data[i]);
    (void)syn_runtime_free(runtime);
}

/* After a while, tasks cost no memory, however many there are. */
static int
run_empty(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    (void)arg;
    return SYN_OK;
}

static void
submit_empty(struct syn_runtime *runtime, struct syn_data **data, unsigned count)
{
    struct syn_err err;

    for (unsigned i = 0; i < count; i++) {
        const struct syn_use uses[] = {{data[i % CELLS], SYN_UPDATE},
                                       {data[(i + 5) % CELLS], SYN_READ},
                                       {data[(i + 11) % CELLS], SYN_READ}};
        const struct syn_task_spec spec = {.run = run_empty, .uses = uses, .uses_count = 3};

        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        if (i % 500 == 499)
            syn_runtime_wait(runtime);
    }
}

static void
test_memory_is_flat(void **unused)
{
    (void)unused;
    for (unsigned workers = 0; workers < 3; workers++) {
        struct syn_runtime *runtime = runtime_with(workers);
        struct syn_data *data[CELLS];
        struct syn_err err;
        uint64_t before;

        for (unsigned i = 0; i < CELLS; i++)
            assert_done(syn_data_new(runtime, NULL, 8, &data[i], &err), &err);
        submit_empty(runtime, data, 10000);
        before = syn_mem_fault_count();
        submit_empty(runtime, data, 50000);
        /* A slab or two more, when more tasks happened to wait at once than ever before. */
        assert_true(syn_mem_fault_count() - before <= 4);
        for (unsigned i = 0; i < CELLS; i++)
            data[i] = syn_data_free(data[i]);
        (void)syn_runtime_free(runtime);
    }
}

/* What was written long ago and is read ever since: the number by which its writer's record is
 * known comes round, and when it does so while the record is not in use, who reads must not wait
 * for that. */
static void
test_old_writers_are_over(void **unused)
{
    struct syn_runtime *runtime = runtime_with(0);
    struct syn_data *data = NULL;
    struct syn_task *record = NULL;
    struct syn_err err;
    struct syn_use use = {.access = SYN_WRITE};
    const struct syn_task_spec spec = {.run = run_empty, .uses = &use, .uses_count = 1};

    (void)unused;
    assert_done(syn_data_new(runtime, NULL, 8, &data, &err), &err);
    use.data = data;
    assert_done(syn_task_submit(runtime, &spec, &record, &err), &err);
    assert_done(syn_task_wait(runtime, record, &err), &err);
    (void)syn_task_release(record);
    /* As after many more uses of it, an even number of steps; it is used a few times more. */
    (void)atomic_fetch_add(&record->successors, (uint64_t)(UINT16_MAX - 7) << SYN_REF_SHIFT);
    use.access = SYN_READ;
    for (unsigned i = 0; i < 16 * 600; i++) {
        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        syn_runtime_wait(runtime);
    }
    data = syn_data_free(data);
    (void)syn_runtime_free(runtime);
}

/* ---- who wakes whom ----
 *
 * Each of these brought about what seldom happens: everybody who could go on is asleep, and who
 * could wake them has left, or works. */

#define PATIENCE_S 30

struct scene {
    struct syn_runtime *runtime;
    _Atomic bool worker_in, guest_in, ran, alone;
    _Atomic unsigned met;
    bool waited_for; /* by another thread, that sleeps */
    pthread_t waiter;
};

static uint64_t
parks_of(const struct scene *scene)
{
    struct syn_runtime_stats stats;

    syn_runtime_stats(scene->runtime, &stats);
    return stats.parks;
}

/* So many more have found nothing to do, and sleep or are about to. */
static void
await_parks(const struct scene *scene, uint64_t parks)
{
    for (unsigned i = 0; i < PATIENCE_S * 1000 && parks_of(scene) < parks; i++)
        (void)usleep(1000);
}

static bool
await_flag(const _Atomic bool *flag)
{
    for (unsigned i = 0; i < PATIENCE_S * 1000 && !atomic_load(flag); i++)
        (void)usleep(1000);
    return atomic_load(flag);
}

static int
hold_worker(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct scene *scene = arg;

    (void)worker;
    (void)at;
    atomic_store(&scene->worker_in, true);
    (void)await_flag(&scene->guest_in);
    return SYN_OK;
}

static void *
wait_for_all(void *arg)
{
    syn_runtime_wait(((struct scene *)arg)->runtime);
    return NULL;
}

/* On the guest: what it waits for ends meanwhile, and then everybody else sleeps. */
static int
end_last(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct scene *scene = arg;
    uint64_t parks = parks_of(scene);

    (void)worker;
    (void)at;
    atomic_store(&scene->guest_in, true);
    await_parks(scene, parks + 1);
    if (scene->waited_for && pthread_create(&scene->waiter, NULL, wait_for_all, scene) == 0)
        await_parks(scene, parks + 2);
    return SYN_OK;
}

static int
note_ran(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    atomic_store(&((struct scene *)arg)->ran, true);
    return SYN_OK;
}

/* A task is waited for that a worker runs; the guest, who helps, runs another one meanwhile. */
static void
leave_as_guest(struct scene *scene, bool with_next)
{
    struct syn_data *data = NULL;
    struct syn_task *task = NULL;
    struct syn_err err;
    struct syn_use use = {.access = SYN_UPDATE};
    struct syn_task_spec spec = {.run = hold_worker, .arg = scene};

    scene->runtime = runtime_with(1);
    assert_done(syn_data_new(scene->runtime, NULL, 8, &data, &err), &err);
    use.data = data;
    assert_done(syn_task_submit(scene->runtime, &spec, &task, &err), &err);
    assert_true(await_flag(&scene->worker_in));
    spec = (struct syn_task_spec){.run = end_last, .arg = scene, .uses = &use, .uses_count = 1};
    assert_done(syn_task_submit(scene->runtime, &spec, NULL, &err), &err);
    spec.run = note_ran;
    spec.priority = 3;
    if (with_next)
        assert_done(syn_task_submit(scene->runtime, &spec, NULL, &err), &err);
    assert_done(syn_task_wait(scene->runtime, task, &err), &err);
    task = syn_task_release(task);
    data = syn_data_free(data);
}

/* What became ready by the guest's last task is run by the worker. */
static void
test_who_leaves_wakes(void **unused)
{
    struct scene scene = {0};

    (void)unused;
    leave_as_guest(&scene, true);
    assert_true(await_flag(&scene.ran));
    (void)syn_runtime_free(scene.runtime);
}

/* That nothing is left after the guest's last task is told to who waits for that. */
static void
test_who_leaves_tells(void **unused)
{
    struct scene scene = {.waited_for = true};
    struct timespec until = {0};

    (void)unused;
    leave_as_guest(&scene, false);
    assert_int_not_equal(scene.waiter, 0);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    assert_int_equal(pthread_timedjoin_np(scene.waiter, NULL, &until), 0);
    (void)syn_runtime_free(scene.runtime);
}

static int
meet_other(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct scene *scene = arg;

    (void)worker;
    (void)at;
    atomic_store(&scene->worker_in, true);
    (void)atomic_fetch_add(&scene->met, 1);
    for (unsigned i = 0; i < PATIENCE_S * 1000 && atomic_load(&scene->met) < 2; i++)
        (void)usleep(1000);
    if (atomic_load(&scene->met) < 2)
        atomic_store(&scene->alone, true);
    return SYN_OK;
}

/* Tasks of a level run at the same time: those that one task made ready, and those that come one
 * after the other. */
static void
test_levels_are_shared(void **unused)
{
    (void)unused;
    for (unsigned way = 0; way < 2; way++) {
        struct scene scene = {.runtime = runtime_with(2)};
        struct syn_data *data = NULL;
        struct syn_err err;
        struct syn_use use = {.access = SYN_UPDATE};
        struct syn_task_spec spec = {.run = run_empty, .uses = &use, .uses_count = way == 0};

        assert_done(syn_data_new(scene.runtime, NULL, 8, &data, &err), &err);
        use.data = data;
        await_parks(&scene, 2);
        if (way == 0)
            assert_done(syn_task_submit(scene.runtime, &spec, NULL, &err), &err);
        use.access = SYN_READ;
        spec.run = meet_other;
        spec.arg = &scene;
        spec.priority = 2;
        assert_done(syn_task_submit(scene.runtime, &spec, NULL, &err), &err);
        assert_true(way == 0 || await_flag(&scene.worker_in));
        assert_done(syn_task_submit(scene.runtime, &spec, NULL, &err), &err);
        while (way == 1 && atomic_load(&scene.met) < 2 && !atomic_load(&scene.alone))
            (void)usleep(1000); /* and not as one who helps */
        syn_runtime_wait(scene.runtime);
        assert_false(atomic_load(&scene.alone));
        data = syn_data_free(data);
        (void)syn_runtime_free(scene.runtime);
    }
}

/* ---- the same with threads held up, see stress_suite.h ---- */

static void
stress_order(uint64_t seed)
{
    random_tasks((unsigned)(seed % 4), seed);
}

static void
stress_groups(uint64_t seed)
{
    commute_and_reduce((unsigned)(seed % 4), seed);
}

static const struct syn_stress_case stress[] = {
    {"order", stress_order},
    {"groups", stress_groups},
};

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_writers_are_over),
        cmocka_unit_test(test_who_leaves_wakes),
        cmocka_unit_test(test_who_leaves_tells),
        cmocka_unit_test(test_levels_are_shared),
        cmocka_unit_test(test_memory_is_flat),
        cmocka_unit_test(test_commute_and_reduce),
        cmocka_unit_test(test_commute_refusals),
        cmocka_unit_test(test_any_run_equals_the_sequential_one),
        cmocka_unit_test(test_readers_for_ever),
        cmocka_unit_test(test_after_and_wait),
        cmocka_unit_test(test_errors_take_dependents_along),
        cmocka_unit_test(test_failures_are_remembered),
        cmocka_unit_test(test_order_carries_no_failure),
        cmocka_unit_test(test_failures_without_end),
        cmocka_unit_test(test_cancel_before_it_begins),
        cmocka_unit_test(test_specs_are_checked),
        cmocka_unit_test(test_memory_may_be_short),
    };

    if (syn_stress_wanted(argc, argv))
        return syn_stress_run("task", stress, SYN_LEN(stress));
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
