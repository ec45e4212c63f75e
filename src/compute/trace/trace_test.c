/* The recorder: what is recorded comes back, in order, and what does not fit is counted. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/test.h>
#include <synor/trace.h>

#define WRITERS 4U
#define EACH    UINT64_C(50000)

static struct syn_trace *
new_trace(size_t ring_events, size_t events_max)
{
    struct syn_trace_options options = {ring_events, events_max};
    struct syn_trace *trace = NULL;
    struct syn_err err = {0};

    assert_done(syn_trace_new(&options, &trace, &err), &err);
    return trace;
}

static struct syn_trace_event
task(uint64_t id, uint64_t begin_ns)
{
    return (struct syn_trace_event){.kind = SYN_TRACE_TASK,
                                    .id = id,
                                    .begin_ns = begin_ns,
                                    .end_ns = begin_ns + 1,
                                    .energy_uj = SYN_TRACE_UNKNOWN};
}

static void
test_switch(void **state)
{
    struct syn_trace *trace = new_trace(0, 0);

    (void)state;
    assert_false(syn_trace_on(NULL));
    assert_false(syn_trace_on(trace));
    syn_trace_switch(trace, true);
    assert_true(syn_trace_on(trace));
    syn_trace_switch(trace, false);
    assert_false(syn_trace_on(trace));
    assert_null(syn_trace_free(trace));
    assert_null(syn_trace_free(NULL));
}

static void
test_collect(void **state)
{
    static const uint64_t begins[] = {50, 10, 30, 10};
    struct syn_trace *trace = new_trace(8, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(begins); i++) {
        struct syn_trace_event event = task(i, begins[i]);

        event.end_ns += i; /* of those that begin together the last is the longest */
        assert_true(syn_trace_put(trace, &event));
    }
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, 4);
    assert_int_equal(data->events[0].id, 3);
    assert_int_equal(data->events[1].id, 1);
    assert_int_equal(data->events[2].id, 2);
    assert_int_equal(data->events[3].id, 0);
    assert_int_equal(data->dropped, 0);
    syn_trace_data_free(data);
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, 0);
    assert_null(syn_trace_data_free(data));
    syn_trace_free(trace);
}

/* A full ring keeps what came first; room comes back with a drain; each loss is told once. */
static void
test_full(void **state)
{
    struct syn_trace *trace = new_trace(5, 20); /* rounded up: 8 */
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};
    unsigned taken = 0;

    (void)state;
    for (unsigned i = 0; i < 11; i++) {
        struct syn_trace_event event = task(i, i);

        taken += syn_trace_put(trace, &event);
    }
    assert_int_equal(taken, 8);
    for (unsigned round = 0; round < 3; round++) {
        assert_done(syn_trace_drain(trace, &err), &err);
        for (unsigned i = 0; i < 8; i++) {
            struct syn_trace_event event = task(100, 100 + i);

            assert_true(syn_trace_put(trace, &event));
        }
    }
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, 20);
    assert_int_equal(data->dropped, 3 + 12); /* of the ring; beyond events_max */
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(data->events[i].id, i);
    syn_trace_data_free(data);
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->dropped, 0);
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

static void
test_names(void **state)
{
    /* Two bytes a letter: the cut must not go through one. */
    static const char letters[] =
        "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4";
    struct syn_trace *trace = new_trace(0, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};
    char text[128];
    uint32_t gemm = syn_trace_name(trace, "gemm"), odd;

    (void)state;
    (void)snprintf(text, sizeof(text), "%s%s%s%s%s", letters, letters, letters, letters, letters);
    odd = syn_trace_name(trace, text);
    assert_int_not_equal(gemm, 0);
    assert_int_not_equal(odd, gemm);
    assert_int_equal(syn_trace_name(trace, ""), 0);
    assert_int_equal(syn_trace_name(trace, "gemm"), gemm);
    assert_int_equal(syn_trace_name(trace, text), odd);
    for (unsigned i = 0; i < SYN_TRACE_NAMES_MAX; i++) {
        (void)snprintf(text, sizeof(text), "n%u", i);
        assert_int_equal(syn_trace_name(trace, text) != 0, i + 3 < SYN_TRACE_NAMES_MAX);
    }
    assert_int_equal(syn_trace_name(trace, "gemm"), gemm);
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->names_count, SYN_TRACE_NAMES_MAX);
    assert_string_equal(data->names[0], "");
    assert_string_equal(data->names[gemm], "gemm");
    assert_int_equal(strlen(data->names[odd]), 62);
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

static void
test_scene(void **state)
{
    struct syn_trace_worker worker = {"worker 0", 0};
    struct syn_trace_device device = {"cuda0", false};
    struct syn_trace_node node = {"host", 1000};
    struct syn_trace_scene scene = {&worker, &device, &node, 1, 1, 1};
    struct syn_trace *trace = new_trace(0, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_trace_set_scene(trace, &scene, &err), &err);
    memset(&device, 'x', sizeof(device)); /* it was copied */
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_string_equal(data->scene.devices[0].name, "cuda0");
    assert_int_equal(data->scene.nodes[0].bytes, 1000);
    scene.workers_count = SYN_TRACE_SCENE_MAX + 1;
    assert_code(syn_trace_set_scene(trace, &scene, &err), SYN_E_INVALID, &err);
    scene = (struct syn_trace_scene){0};
    assert_done(syn_trace_set_scene(trace, &scene, &err), &err);
    syn_trace_free(trace);
    assert_string_equal(data->scene.workers[0].name, "worker 0"); /* without the recorder */
    syn_trace_data_free(data);
}

static void
test_marks(void **state)
{
    struct syn_trace *trace = new_trace(0, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};
    uint64_t before = syn_trace_now();

    (void)state;
    syn_trace_mark(trace, "while it is off");
    syn_trace_switch(trace, true);
    syn_trace_mark(trace, "epoch 2");
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, 1);
    assert_int_equal(data->events[0].kind, SYN_TRACE_MARK);
    assert_string_equal(data->names[data->events[0].name], "epoch 2");
    assert_in_range(data->events[0].begin_ns, before, syn_trace_now());
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

static void
test_options(void **state)
{
    struct syn_trace_options ring = {SYN_TRACE_RING_MAX + 1, 0};
    struct syn_trace_options events = {0, SYN_TRACE_EVENTS_MAX + 1};
    struct syn_trace *trace = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_code(syn_trace_new(&ring, &trace, &err), SYN_E_INVALID, &err);
    assert_code(syn_trace_new(&events, &trace, &err), SYN_E_INVALID, &err);
    assert_null(trace);
    assert_done(syn_trace_new(NULL, &trace, &err), &err);
    syn_trace_free(trace);
}

/* One thread that records into more recorders than it finds at once, and into one that came in the
 * place of another. */
static void
test_many_recorders(void **state)
{
    struct syn_trace *traces[9];
    struct syn_err err = {0};

    (void)state;
    for (unsigned i = 0; i < 9; i++)
        traces[i] = new_trace(64, 0);
    for (unsigned round = 0; round < 5; round++)
        for (unsigned i = 0; i < 9; i++) {
            struct syn_trace_event event = task(i, round);

            assert_true(syn_trace_put(traces[i], &event));
        }
    syn_trace_free(traces[0]);
    traces[0] = new_trace(64, 0);
    for (unsigned round = 0; round < 5; round++) {
        struct syn_trace_event event = task(0, round);

        assert_true(syn_trace_put(traces[0], &event));
    }
    for (unsigned i = 0; i < 9; i++) {
        struct syn_trace_data *data = NULL;

        assert_done(syn_trace_collect(traces[i], &data, &err), &err);
        assert_int_equal(data->events_count, 5);
        for (unsigned j = 0; j < 5; j++)
            assert_int_equal(data->events[j].id, i);
        syn_trace_data_free(data);
        syn_trace_free(traces[i]);
    }
}

struct writer {
    struct syn_trace *trace;
    uint64_t number, taken;
    uint64_t count;
};

static void *
write_events(void *arg)
{
    struct writer *writer = arg;

    for (uint64_t i = 0; i < writer->count; i++) {
        struct syn_trace_event event = task(writer->number, i);

        event.wait_ns = i * 3; /* torn events would not fit together */
        event.name = (uint32_t)i;
        writer->taken += syn_trace_put(writer->trace, &event);
    }
    return NULL;
}

/* Threads record while another one drains: nothing torn, nothing twice, every loss counted. */
static void
test_threads(void **state)
{
    struct syn_trace *trace = new_trace(256, SYN_TRACE_EVENTS_MAX);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct syn_trace_data *data = NULL;
    uint64_t next[WRITERS] = {0}, seen[WRITERS] = {0}, taken = 0;
    struct syn_err err = {0};

    (void)state;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){trace, i, 0, EACH};
        assert_int_equal(pthread_create(&threads[i], NULL, write_events, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 200; i++)
        assert_done(syn_trace_drain(trace, &err), &err);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        taken += writers[i].taken;
    }
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, taken);
    assert_int_equal(data->dropped, WRITERS * EACH - taken);
    assert_true(taken >= UINT64_C(256) * WRITERS);
    for (size_t i = 0; i < data->events_count; i++) {
        const struct syn_trace_event *event = &data->events[i];

        assert_in_range(event->id, 0, WRITERS - 1);
        if (event->begin_ns < next[event->id] || event->wait_ns != event->begin_ns * 3 ||
            event->name != event->begin_ns || event->end_ns != event->begin_ns + 1)
            fail_msg("event %zu is torn or out of order", i);
        next[event->id] = event->begin_ns + 1;
        seen[event->id]++;
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(seen[i], writers[i].taken);
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

/* Threads that come and go one after the other are not bounded by SYN_TRACE_WRITERS_MAX as long as
 * the system gives their names again. */
static void
test_short_threads(void **state)
{
    struct syn_trace *trace = new_trace(8192, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};
    uint64_t taken = 0;

    (void)state;
    for (unsigned i = 0; i < SYN_TRACE_WRITERS_MAX + 88; i++) {
        struct writer writer = {trace, i, 0, 2};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, write_events, &writer), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        taken += writer.taken;
    }
    assert_done(syn_trace_collect(trace, &data, &err), &err);
    assert_int_equal(data->events_count, taken);
    assert_int_equal(data->events_count + data->dropped, 2 * (SYN_TRACE_WRITERS_MAX + 88));
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

static int
record(struct syn_trace *trace, struct syn_err *err)
{
    struct syn_trace_worker worker = {"worker 0", SYN_TRACE_NONE};
    struct syn_trace_scene scene = {.workers = &worker, .workers_count = 1};
    struct syn_trace_event event = task(1, 1);
    struct syn_trace_data *data = NULL;
    int rc = syn_trace_set_scene(trace, &scene, err);

    if (rc == 0 && syn_trace_name(trace, "gemm") == 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no room for a name");
    if (rc == 0 && !syn_trace_put(trace, &event))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no room for a ring");
    if (rc == 0)
        rc = syn_trace_drain(trace, err);
    if (rc == 0)
        rc = syn_trace_collect(trace, &data, err);
    if (rc == 0 && data->events_count != 1)
        rc = SYN_FAIL(err, SYN_E_INTERNAL, "%zu events", data->events_count);
    syn_trace_data_free(data);
    return rc;
}

static int
scenario(void *arg, struct syn_err *err)
{
    struct syn_trace *trace = NULL;
    int rc = syn_trace_new(NULL, &trace, err);

    (void)arg;
    if (rc == 0)
        rc = record(trace, err);
    syn_trace_free(trace);
    return rc;
}

static void
test_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) >= 12);
}

/* What a failed collection leaves is there for the next one. */
static void
test_collect_again(void **state)
{
    struct syn_trace *trace = new_trace(8, 0);
    struct syn_trace_data *data = NULL;
    struct syn_err err = {0};
    int rc = SYN_E_NOMEM;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        struct syn_trace_event event = task(i, i);

        (void)syn_trace_put(trace, &event);
    }
    for (uint64_t nth = 1; rc < 0; nth++) {
        syn_mem_fault_arm(nth, false);
        rc = syn_trace_collect(trace, &data, &err);
        syn_mem_fault_arm(0, false);
        assert_true(rc == 0 || rc == SYN_E_NOMEM);
    }
    assert_int_equal(data->events_count, 8);
    assert_int_equal(data->dropped, 2);
    syn_trace_data_free(data);
    syn_trace_free(trace);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch),  cmocka_unit_test(test_collect),
        cmocka_unit_test(test_full),    cmocka_unit_test(test_names),
        cmocka_unit_test(test_scene),   cmocka_unit_test(test_marks),
        cmocka_unit_test(test_options), cmocka_unit_test(test_many_recorders),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_short_threads),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_collect_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
