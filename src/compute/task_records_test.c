#include <synor/task.h>

#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/test.h>

#include "task_records_priv.h"

static struct syn_runtime *
one_seat(void)
{
    struct syn_runtime_options options = {.no_workers = true, .guests = 1};
    struct syn_runtime *runtime = NULL;
    struct syn_err err;

    assert_done(syn_runtime_new(&options, &runtime, &err), &err);
    return runtime;
}

static int
return_ok(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    (void)arg;
    return SYN_OK;
}

/* Memory for tasks is there before the first is submitted, and is written as they need it: an
 * urgent call after ten thousand plain ones once waited for 17 pages. */
static void
test_records_are_made_as_needed(void **state)
{
    struct syn_runtime *runtime = one_seat();
    const struct syn_tasks *tasks = runtime->tasks;
    size_t fresh = tasks->fresh_count;
    struct syn_err err;

    (void)state;
    assert_true(fresh > 400);
    assert_non_null(tasks->stock);
    for (unsigned i = 0; i < 300; i++) {
        struct syn_task_spec spec = {.run = return_ok};

        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
        assert_true(fresh - tasks->fresh_count <= i + 1);
    }
    assert_true(tasks->fresh_count < fresh);
    (void)syn_runtime_free(runtime);
}

/* Records that came back in any order are used again in that of their addresses. */
#define MANY 3000U

static void
test_records_come_back_in_order(void **state)
{
    struct syn_runtime *runtime = one_seat();
    struct syn_tasks *tasks = runtime->tasks;
    struct syn_task *before = NULL, *task;
    struct syn_data *data[7];
    uint32_t unused = 0, turns = 0;
    struct syn_err err;

    (void)state;
    if (!syn_single_threaded())
        skip();
    for (unsigned i = 0; i < SYN_LEN(data); i++)
        assert_done(syn_data_new(runtime, NULL, 8, &data[i], &err), &err);
    for (uint32_t i = 0; i < MANY; i++) {
        struct syn_use uses[2] = {{data[i * 5 % 7], SYN_UPDATE}, {data[i * 3 % 7], SYN_READ}};
        struct syn_task_spec spec = {.run = return_ok, .uses = uses, .uses_count = 2};

        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
    }
    syn_runtime_wait(runtime);
    for (struct syn_task *fresh = tasks->stock; fresh != NULL; fresh = fresh->next)
        unused++; /* made, but not used yet */
    assert_true(unused < 64);
    tasks->stock = NULL;
    for (uint32_t i = 0; i < MANY; i++) {
        assert_done(syn_tasks_take(tasks, &task, &err), &err);
        turns += before != NULL && task < before;
        assert_ptr_not_equal(task, before);
        before = task;
    }
    assert_true(turns <= 2); /* another slab lies where it lies */
    for (unsigned i = 0; i < SYN_LEN(data); i++)
        (void)syn_data_free(data[i]);
    (void)syn_runtime_free(runtime);
}

/* One seat, two threads: what one of them runs, the other one links to. */
#define FEEDS 30000U

struct feeding {
    struct syn_runtime *runtime;
    struct syn_data *data[4];
    _Atomic uint32_t runs;
    _Atomic bool over;
};

static int
count_run(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    atomic_fetch_add_explicit((_Atomic uint32_t *)arg, 1, memory_order_relaxed);
    return SYN_OK;
}

static void *
feed(void *arg)
{
    struct feeding *feeding = arg;
    int rc = SYN_OK;

    for (uint32_t i = 0; i < FEEDS && rc == SYN_OK; i++) {
        struct syn_use uses[2] = {{feeding->data[i % 4], SYN_UPDATE},
                                  {feeding->data[(i / 3 + 1) % 4], SYN_READ}};
        struct syn_task_spec spec = {
            .run = count_run, .arg = &feeding->runs, .uses = uses, .uses_count = 2};

        rc = syn_task_submit(feeding->runtime, &spec, NULL, NULL);
    }
    atomic_store(&feeding->over, true);
    return NULL;
}

static void
test_one_seat_and_two_threads(void **state)
{
    struct feeding feeding = {.runtime = one_seat()};
    struct syn_err err;
    pthread_t thread;

    (void)state;
    for (unsigned i = 0; i < SYN_LEN(feeding.data); i++)
        assert_done(syn_data_new(feeding.runtime, &feeding, 8, &feeding.data[i], &err), &err);
    assert_int_equal(pthread_create(&thread, NULL, feed, &feeding), 0);
    while (!atomic_load(&feeding.over))
        syn_runtime_wait(feeding.runtime);
    (void)pthread_join(thread, NULL);
    syn_runtime_wait(feeding.runtime);
    assert_int_equal(atomic_load(&feeding.runs), FEEDS);
    for (unsigned i = 0; i < SYN_LEN(feeding.data); i++)
        (void)syn_data_free(feeding.data[i]);
    (void)syn_runtime_free(feeding.runtime);
}

/* Many read what one then writes: most edges to that one lie beside its record, and what they lie
 * in is used again. */
#define READING 40U

static int
see_readers(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    assert_int_equal(atomic_exchange((_Atomic uint32_t *)arg, 0), READING);
    return SYN_OK;
}

static void
write_after_readers(struct syn_runtime *runtime, struct syn_data *data, _Atomic uint32_t *runs)
{
    struct syn_err err;

    for (unsigned i = 0; i <= READING; i++) {
        struct syn_use use = {data, i < READING ? SYN_READ : SYN_UPDATE};
        struct syn_task_spec spec = {.run = i < READING ? count_run : see_readers,
                                     .arg = runs,
                                     .uses = &use,
                                     .uses_count = 1};

        assert_done(syn_task_submit(runtime, &spec, NULL, &err), &err);
    }
}

static void
test_edges_come_back(void **state)
{
    struct syn_runtime *runtime = one_seat();
    const struct syn_tasks *tasks = runtime->tasks;
    _Atomic uint32_t runs = 0;
    size_t edges = 0;
    struct syn_data *data;
    struct syn_err err;

    (void)state;
    assert_done(syn_data_new(runtime, &runs, sizeof(runs), &data, &err), &err);
    for (unsigned round = 0; round < 100; round++) {
        write_after_readers(runtime, data, &runs);
        syn_runtime_wait(runtime);
        assert_int_equal(atomic_load(&runs), 0);
        if (round == 0)
            edges = tasks->edges_count;
    }
    if (syn_single_threaded())
        assert_int_equal(tasks->edges_count, edges); /* else some wait to be given back */
    assert_true(tasks->edges_count < 1000);
    (void)syn_data_free(data);
    (void)syn_runtime_free(runtime);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_are_made_as_needed),
        cmocka_unit_test(test_records_come_back_in_order),
        cmocka_unit_test(test_edges_come_back),
        cmocka_unit_test(test_one_seat_and_two_threads),
        {"test_edges_come_back_after_threads", test_edges_come_back, NULL, NULL, NULL},
    };

    return cmocka_run_group_tests_name("task_records", tests, NULL, NULL);
}
