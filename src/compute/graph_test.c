#include <synor/graph.h>

#include <stdatomic.h>
#include <string.h>

#include <synor/base/test.h>

#include "stress_suite.h"

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

/* ---- against a sequential run ---- */

#define CELLS 16
#define TASKS 1500

struct step {
    uint64_t *cells;
    unsigned reads[3], write;
    uint64_t salt;
};

static void
step_do(const struct step *step, uint64_t *cells)
{
    uint64_t hash = step->salt;

    for (unsigned i = 0; i < 3; i++)
        hash = (hash ^ cells[step->reads[i]]) * UINT64_C(0x9e3779b97f4a7c15);
    cells[step->write] ^= hash >> 7;
}

static int
step_task(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct step *step = arg;

    (void)worker;
    (void)at;
    step_do(step, step->cells);
    return SYN_OK;
}

static void
/* NOLINTNEXTLINE(readability-function-size): loops of cases, and assertions nest */
captured_runs(unsigned workers, uint64_t seed)
{
    static struct step steps[TASKS];
    struct syn_runtime *runtime = runtime_with(workers);
    uint64_t cells[CELLS] = {1}, want[CELLS] = {1};
    struct syn_data *data[CELLS];
    struct syn_graph *graph = NULL;
    struct syn_err err;

    assert_done(syn_graph_new(runtime, &graph, &err), &err);
    for (unsigned i = 0; i < CELLS; i++)
        assert_done(syn_data_new(runtime, &cells[i], 8, &data[i], &err), &err);
    for (unsigned t = 0; t < TASKS; t++) {
        struct step *step = &steps[t];
        struct syn_use uses[4];

        *step = (struct step){.cells = cells, .salt = syn_test_random(&seed)};
        for (unsigned i = 0; i < 3; i++) {
            step->reads[i] = (unsigned)(syn_test_random(&seed) % CELLS);
            uses[i] = (struct syn_use){data[step->reads[i]], SYN_READ};
        }
        step->write = (unsigned)(syn_test_random(&seed) % CELLS);
        uses[3] = (struct syn_use){data[step->write], SYN_UPDATE};
        assert_done(syn_graph_add(graph,
                                  &(struct syn_task_spec){.run = step_task,
                                                          .arg = step,
                                                          .uses = uses,
                                                          .uses_count = 4,
                                                          .priority = t % 97 == 0},
                                  &err),
                    &err);
        if (t == TASKS / 2 || t == TASKS - 1) {
            for (unsigned run = 0; run < 6; run++) {
                assert_done(syn_graph_run(graph, &err), &err);
                for (unsigned i = 0; i <= t; i++)
                    step_do(&steps[i], want);
                assert_memory_equal(cells, want, sizeof(cells));
            }
        }
    }
    assert_int_equal(syn_graph_count(graph), TASKS);
    syn_runtime_wait(runtime);
    (void)syn_graph_free(graph);
    for (unsigned i = 0; i < CELLS; i++)
        (void)syn_data_free(data[i]);
    (void)syn_runtime_free(runtime);
}

static void
test_every_run_equals_the_sequential_one(void **state)
{
    (void)state;
    for (unsigned workers = 0; workers <= 3; workers++)
        captured_runs(workers, 77 + workers);
}

/* ---- what a run of short tasks looks at between them ---- */

struct counting {
    struct syn_runtime *runtime;
    unsigned ran, urgent_at;
};

static void
note_where(void *arg)
{
    struct counting *counting = arg;

    counting->urgent_at = counting->ran;
}

static int
count_and_press(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct counting *counting = arg;

    (void)worker;
    (void)at;
    if (++counting->ran % 1000 == 500)
        return syn_submit_urgent(counting->runtime, note_where, counting, 1, NULL);
    return SYN_OK;
}

static void
test_urgent_calls_pass_captured_tasks(void **state)
{
    struct syn_runtime *runtime = runtime_with(0);
    struct counting counting = {.runtime = runtime};
    struct syn_graph *graph = NULL;
    struct syn_data *data = NULL;
    struct syn_err err;

    (void)state;
    assert_done(syn_graph_new(runtime, &graph, &err), &err);
    assert_done(syn_data_new(runtime, &counting, sizeof(counting), &data, &err), &err);
    assert_done(syn_graph_seal(graph, &err), &err);
    for (unsigned i = 0; i < 1000; i++) {
        struct syn_use use = {data, SYN_UPDATE};
        struct syn_task_spec spec = {
            .run = count_and_press, .arg = &counting, .uses = &use, .uses_count = i % 3 != 0};

        assert_done(syn_graph_add(graph, &spec, &err), &err);
    }
    assert_done(syn_graph_seal(graph, &err), &err);
    assert_done(syn_graph_seal(graph, &err), &err);
    for (unsigned run = 1; run <= 20; run++) {
        assert_done(syn_graph_run(graph, &err), &err);
        assert_int_equal(counting.ran, run * 1000);
        assert_int_equal(counting.urgent_at, run * 1000 - 500);
    }
    syn_runtime_wait(runtime);
    (void)syn_graph_free(graph);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
}

/* ---- failures ---- */

struct chain {
    int *count;
    int code;
};

static int
chain_task(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct chain *chain = arg;

    (void)worker;
    (void)at;
    ++*chain->count;
    return chain->code;
}

static void
test_failure_skips_dependents_and_next_run_is_whole(void **state)
{
    struct syn_runtime *runtime = runtime_with(2);
    struct chain links[5];
    struct syn_graph *graph = NULL;
    struct syn_data *data = NULL;
    int count = 0;
    struct syn_err err;

    (void)state;
    assert_done(syn_graph_new(runtime, &graph, &err), &err);
    assert_done(syn_data_new(runtime, &count, sizeof(count), &data, &err), &err);
    assert_done(syn_graph_run(graph, &err), &err); /* an empty graph is done at once */
    for (unsigned i = 0; i < SYN_LEN(links); i++) {
        struct syn_use use = {data, SYN_UPDATE};

        links[i] = (struct chain){&count, i == 2 ? SYN_E_IO : SYN_OK};
        assert_done(
            syn_graph_add(graph,
                          &(struct syn_task_spec){
                              .run = chain_task, .arg = &links[i], .uses = &use, .uses_count = 1},
                          &err),
            &err);
    }
    for (int run = 0; run < 3; run++) {
        count = 0;
        assert_code(syn_graph_run(graph, &err), SYN_E_IO, &err);
        assert_int_equal(count, 3);
    }
    links[2].code = SYN_OK;
    count = 0;
    assert_done(syn_graph_run(graph, &err), &err);
    assert_int_equal(count, 5);
    (void)syn_graph_free(graph);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
}

static void
note(void *arg, int code)
{
    (void)arg;
    (void)code;
}

static void
test_what_cannot_be_captured(void **state)
{
    struct syn_runtime *runtime = runtime_with(0);
    struct syn_graph *graph = NULL;
    struct syn_err err;

    (void)state;
    assert_done(syn_graph_new(runtime, &graph, &err), &err);
    assert_code(syn_graph_add(graph, &(struct syn_task_spec){0}, &err), SYN_E_INVALID, &err);
    assert_code(
        syn_graph_add(graph, &(struct syn_task_spec){.run = chain_task, .done = note}, &err),
        SYN_E_INVALID, &err);
    assert_int_equal(syn_graph_count(graph), 0);
    (void)syn_graph_free(graph);
    (void)syn_runtime_free(runtime);
}

static int
alloc_scenario(void *arg, struct syn_err *err)
{
    struct syn_runtime_options options = {.no_workers = true, .guests = 1};
    struct syn_runtime *runtime = NULL;
    struct syn_graph *graph = NULL;
    struct syn_data *data = NULL;
    int count = 0;
    struct chain link = {&count, SYN_OK};
    int rc = syn_runtime_new(&options, &runtime, err);

    (void)arg;
    if (rc < 0)
        return rc;
    rc = syn_data_new(runtime, &count, sizeof(count), &data, err);
    if (rc == 0)
        rc = syn_graph_new(runtime, &graph, err);
    for (int i = 0; rc == 0 && i < 300; i++) {
        struct syn_use use = {data, i % 20 == 19 ? SYN_UPDATE : SYN_READ};

        rc = syn_graph_add(
            graph,
            &(struct syn_task_spec){.run = chain_task, .arg = &link, .uses = &use, .uses_count = 1},
            err);
    }
    if (rc == 0)
        rc = syn_graph_run(graph, err);
    (void)syn_graph_free(graph);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
    return rc;
}

static void
test_memory_may_be_short(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(alloc_scenario, NULL) > 10);
}

static void
stress_captured(uint64_t seed)
{
    captured_runs((unsigned)(seed % 4), seed);
}

static const struct syn_stress_case stress[] = {
    {"captured", stress_captured},
};

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_run_equals_the_sequential_one),
        cmocka_unit_test(test_urgent_calls_pass_captured_tasks),
        cmocka_unit_test(test_failure_skips_dependents_and_next_run_is_whole),
        cmocka_unit_test(test_what_cannot_be_captured),
        cmocka_unit_test(test_memory_may_be_short),
    };

    if (syn_stress_wanted(argc, argv))
        return syn_stress_run("graph", stress, SYN_LEN(stress));
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
