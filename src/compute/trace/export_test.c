/* The writers of traces: stored output for data that have everything in them, properties for random
 * data, and every way in which data can be wrong.
 *
 *     trace_export_test FOLDER [--update]      FOLDER has the stored output
 *     trace_export_test --emit FOLDER SEED     write what random data give; tests/trace looks at it
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/trace.h>

#define RANDOM_EVENTS 400

typedef int writer_fn(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err);

static const struct writer {
    const char *file;
    writer_fn *write;
} writers[] = {
    {"chrome.json", syn_trace_write_chrome},    {"gantt.svg", syn_trace_write_gantt},
    {"graph.dot", syn_trace_write_dot},         {"stats.txt", syn_trace_write_stats},
    {"stats.json", syn_trace_write_stats_json},
};

static const char *folder; /* of stored output */
static bool update;
static uint64_t seed = 1;

/* Everything that a trace can have in it, and texts that try to get out of their format. */
static const struct syn_trace_worker workers[] = {
    {"worker 0", 0}, {"worker 1", 0}, {"queue <0>", 1}};
static const struct syn_trace_device devices[] = {{"cpu0", false}, {"h100 \"sxm\" & more", true}};
static const struct syn_trace_node nodes[] = {{"host", 0}, {"hbm", 80000000}};
static const char *const names[] = {
    "",        "gemm",          "a\"b\\c</title>&amp;\n\x01\x7f", "caf\xc3\xa9 \xff\xef\xbf\xbe",
    "epoch 1", "data are there"};
static const struct syn_trace_event events[] = {
    {.kind = SYN_TRACE_TASK,
     .id = 1,
     .begin_ns = 1000,
     .end_ns = 21500,
     .name = 1,
     .worker = 0,
     .device = 0,
     .energy_uj = 1500,
     .source = SYN_POWER_MEASURED},
    /* it waited for its data, and another task ran meanwhile on the same worker */
    {.kind = SYN_TRACE_TASK,
     .id = 2,
     .begin_ns = 30000,
     .end_ns = 90000,
     .wait_ns = 5000,
     .name = 2,
     .worker = 1,
     .device = 0,
     .energy_uj = SYN_TRACE_UNKNOWN,
     .state = 1},
    {.kind = SYN_TRACE_TASK,
     .id = 3,
     .begin_ns = 40000,
     .end_ns = 50000,
     .name = 1,
     .worker = 1,
     .device = 0,
     .energy_uj = 700,
     .source = SYN_POWER_MODELLED},
    {.kind = SYN_TRACE_TASK,
     .id = 4,
     .begin_ns = 25000,
     .end_ns = 60000,
     .name = 3,
     .worker = 2,
     .device = 1,
     .energy_uj = 9000000,
     .source = SYN_POWER_MODELLED},
    {.kind = SYN_TRACE_TASK,
     .id = 5,
     .begin_ns = 60000,
     .end_ns = 61000,
     .name = 1,
     .worker = 2,
     .device = 1,
     .energy_uj = SYN_TRACE_UNKNOWN,
     .code = SYN_E_IO},
    /* beyond the scene, without a name, without a length */
    {.kind = SYN_TRACE_TASK,
     .id = INT64_MAX,
     .begin_ns = 70000,
     .end_ns = 70000,
     .worker = 7,
     .device = 9,
     .energy_uj = 0},
    {.kind = SYN_TRACE_DEPENDENCY, .id = 2, .before = 1},
    {.kind = SYN_TRACE_DEPENDENCY, .id = 4, .before = 1},
    {.kind = SYN_TRACE_DEPENDENCY, .id = 5, .before = 4},
    {.kind = SYN_TRACE_DEPENDENCY, .id = 5, .before = 4},
    {.kind = SYN_TRACE_DEPENDENCY, .id = 3, .before = 99},
    {.kind = SYN_TRACE_TRANSFER,
     .begin_ns = 22000,
     .end_ns = 24000,
     .bytes = 16384,
     .from = 0,
     .to = 1},
    {.kind = SYN_TRACE_TRANSFER,
     .begin_ns = 23000,
     .end_ns = 26000,
     .bytes = 1 << 20,
     .from = 0,
     .to = 1},
    {.kind = SYN_TRACE_TRANSFER,
     .begin_ns = 62000,
     .end_ns = 62500,
     .bytes = 100,
     .from = 1,
     .to = 5},
    {.kind = SYN_TRACE_EVICTION, .begin_ns = 21000, .end_ns = 22000, .bytes = 4096, .from = 1},
    {.kind = SYN_TRACE_PARK, .begin_ns = 21500, .end_ns = 95000, .worker = 0},
    {.kind = SYN_TRACE_ENERGY,
     .begin_ns = 0,
     .end_ns = 100000,
     .energy_uj = 4000,
     .device = 0,
     .source = SYN_POWER_MEASURED},
    {.kind = SYN_TRACE_ENERGY,
     .begin_ns = 0,
     .end_ns = 100000,
     .energy_uj = 12000000,
     .device = 1,
     .source = SYN_POWER_MODELLED},
    {.kind = SYN_TRACE_ENERGY,
     .begin_ns = 50000,
     .end_ns = 60000,
     .energy_uj = SYN_TRACE_UNKNOWN,
     .device = 1},
    {.kind = SYN_TRACE_MEMORY, .begin_ns = 22000, .end_ns = 22000, .bytes = 16384, .to = 1},
    {.kind = SYN_TRACE_MEMORY, .begin_ns = 62500, .end_ns = 62500, .bytes = 0, .to = 1},
    {.kind = SYN_TRACE_MARK, .begin_ns = 500, .end_ns = 500, .name = 4, .worker = SYN_TRACE_NONE},
    {.kind = SYN_TRACE_MARK, .begin_ns = 30000, .end_ns = 30000, .name = 5, .worker = 1},
};
static const struct syn_trace_data everything = {
    .scene = {workers, devices, nodes, SYN_LEN(workers), SYN_LEN(devices), SYN_LEN(nodes)},
    .title = "Everything <at once>",
    .names = names,
    .names_count = SYN_LEN(names),
    .events = events,
    .events_count = SYN_LEN(events),
    .dropped = 3,
};

static void
read_file(const char *path, struct syn_buf *out)
{
    FILE *file = fopen(path, "rbe");
    char block[4096];
    size_t len;

    if (file == NULL)
        fail_msg("%s: %s", path, strerror(errno));
    while ((len = fread(block, 1, sizeof(block), file)) != 0)
        syn_buf_add(out, block, len);
    (void)fclose(file);
}

static int
write_file(const char *path, const struct syn_buf *text)
{
    FILE *file = fopen(path, "wbe");
    bool done = file != NULL && fwrite(text->data, 1, text->len, file) == text->len;

    if (file == NULL || (fclose(file) != 0) || !done) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

static void
test_stored(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(writers); i++) {
        SYN_BUF(fresh);
        SYN_BUF(stored);
        struct syn_err err = {0};
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", folder, writers[i].file);
        assert_done(writers[i].write(&everything, &fresh, &err), &err);
        if (update) {
            assert_int_equal(write_file(path, &fresh), 0);
            continue;
        }
        read_file(path, &stored);
        if (strcmp(syn_buf_text(&fresh), syn_buf_text(&stored)) != 0)
            fail_msg("%s differs from what is stored; --update stores:\n%s", path,
                     syn_buf_text(&fresh));
    }
}

/* Nothing recorded is a trace, too, and so is one moment. */
static void
test_little(void **state)
{
    struct syn_trace_event moment = {.kind = SYN_TRACE_MARK, .worker = SYN_TRACE_NONE};
    struct syn_trace_event end = {.kind = SYN_TRACE_TASK, .end_ns = INT64_MAX, .wait_ns = 1};
    struct syn_trace_data little[] = {{.title = NULL},
                                      {.events = &moment, .events_count = 1},
                                      {.events = &end, .events_count = 1}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(little); i++)
        for (size_t j = 0; j < SYN_LEN(writers); j++) {
            SYN_BUF(out);
            struct syn_err err = {0};

            assert_done(writers[j].write(&little[i], &out, &err), &err);
            assert_true(out.len > 0);
        }
}

static void
test_wrong(void **state)
{
    const struct {
        struct syn_trace_event event;
        const char *message;
    } rows[] = {
        {{.kind = SYN_TRACE_KINDS}, "no kind"},
        {{.kind = SYN_TRACE_TASK, .begin_ns = 2, .end_ns = 1}, "ends before"},
        {{.kind = SYN_TRACE_TASK, .name = SYN_LEN(names)}, "no name"},
        {{.kind = SYN_TRACE_TASK, .end_ns = UINT64_C(1) << 63}, "above"},
        {{.kind = SYN_TRACE_MEMORY, .bytes = SYN_TRACE_UNKNOWN}, "above"},
        {{.kind = SYN_TRACE_DEPENDENCY, .before = UINT64_C(1) << 63}, "above"},
        {{.kind = SYN_TRACE_ENERGY, .source = SYN_POWER_MODELLED + 1}, "no source"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        for (size_t j = 0; j < SYN_LEN(writers); j++) {
            struct syn_trace_data data = everything;
            struct syn_err err = {0};
            SYN_BUF(out);

            data.events = &rows[i].event;
            data.events_count = 1;
            assert_code(writers[j].write(&data, &out, &err), SYN_E_INVALID, &err);
            assert_non_null(strstr(err.msg, rows[i].message));
            assert_int_equal(out.len, 0);
            data.events_count = SYN_TRACE_EVENTS_MAX + 1;
            assert_code(writers[j].write(&data, &out, &err), SYN_E_INVALID, &err);
        }
}

static int
write_all(void *arg, struct syn_err *err)
{
    int rc = 0;

    (void)arg;
    for (size_t i = 0; i < SYN_LEN(writers) && rc == 0; i++) {
        SYN_BUF(out);

        rc = writers[i].write(&everything, &out, err);
    }
    return rc;
}

static void
test_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(write_all, NULL) >= 40);
}

/* Random data: any kind, any numbers, tasks that overlap and depend on whatever. */
static size_t
make_random(struct syn_trace_event *ret, uint64_t *random)
{
    for (size_t i = 0; i < RANDOM_EVENTS; i++) {
        uint64_t draw = syn_test_random(random), begin = draw % 100000;

        ret[i] = (struct syn_trace_event){
            .kind = (uint8_t)(draw >> 20 & 1 ? SYN_TRACE_TASK : draw >> 24 & 7),
            .id = i,
            .begin_ns = begin,
            .end_ns = begin + (draw >> 32) % 3000,
            .name = (uint32_t)(draw >> 44) % SYN_LEN(names),
            .code = draw >> 48 & 7 ? 0 : SYN_E_CANCELED,
            .wait_ns = draw >> 56 & 3 ? 0 : (draw >> 40) % 5000,
            .worker = (uint16_t)((draw >> 52) % 5),
            .device = (uint16_t)((draw >> 58) % 3),
            .bytes = draw >> 12 & 7 ? (draw >> 30) % 100000 : SYN_TRACE_UNKNOWN,
            .source = (uint8_t)((draw >> 60) % 3)};
        if (ret[i].kind == SYN_TRACE_DEPENDENCY)
            ret[i].before = (draw >> 40) % RANDOM_EVENTS;
        if (ret[i].kind != SYN_TRACE_TASK && ret[i].kind != SYN_TRACE_ENERGY)
            ret[i].bytes %= 1 << 30;
    }
    return RANDOM_EVENTS;
}

struct slice {
    int64_t pid, tid;
    double begin, end;
};

static int
by_begin(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;

    if (x->pid != y->pid || x->tid != y->tid)
        return x->pid != y->pid ? (x->pid > y->pid) - (x->pid < y->pid)
                                : (x->tid > y->tid) - (x->tid < y->tid);
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Tasks and transfers of one thread follow each other, unless it is the last of its track's lanes,
 * which takes what found no other. */
static void
check_slices(const json_t *trace)
{
    static struct slice slices[2 * RANDOM_EVENTS];
    json_t *list = json_object_get(trace, "traceEvents");
    size_t count = 0, index;
    const json_t *event;

    json_array_foreach (list, index, event) {
        const char *category = syn_json_str(event, "cat", "");

        if (strcmp(syn_json_str(event, "ph", ""), "X") != 0 || strcmp(category, "park") == 0)
            continue;
        slices[count].pid = syn_json_i64(event, "pid", -1);
        slices[count].tid = syn_json_i64(event, "tid", -1);
        slices[count].begin = json_number_value(json_object_get(event, "ts"));
        slices[count].end = slices[count].begin + json_number_value(json_object_get(event, "dur"));
        count++;
    }
    qsort(slices, count, sizeof(*slices), by_begin);
    for (size_t i = 1; i < count; i++)
        if (slices[i].pid == slices[i - 1].pid && slices[i].tid == slices[i - 1].tid &&
            slices[i].tid % 8 != 0 && slices[i].begin + 1e-6 < slices[i - 1].end)
            fail_msg("slices overlap: thread %" PRId64 ", at %f", slices[i].tid, slices[i].begin);
    assert_true(count > RANDOM_EVENTS / 4);
}

/* What a worker did with its time is all of its time, and every task is somebody's. */
static void
check_stats(const json_t *stats)
{
    int64_t span = syn_json_i64(stats, "span_ns", -1), tasks = 0, runs = 0;
    size_t index;
    const json_t *row;

    json_array_foreach (json_object_get(stats, "workers"), index, row) {
        int64_t busy = syn_json_i64(row, "busy_ns", -1), idle = syn_json_i64(row, "idle_ns", -1);

        assert_int_equal(busy + idle + syn_json_i64(row, "wait_ns", -1), span);
        tasks += syn_json_i64(row, "count", -1);
    }
    json_array_foreach (json_object_get(stats, "kernels"), index, row) {
        int64_t p50 = syn_json_i64(row, "p50_ns", 0), p95 = syn_json_i64(row, "p95_ns", 0);

        assert_true(syn_json_i64(row, "min_ns", 0) <= p50 && p50 <= p95);
        assert_true(p95 <= syn_json_i64(row, "max_ns", 0));
        runs += syn_json_i64(row, "count", -1);
    }
    assert_int_equal(tasks, syn_json_i64(stats, "tasks", -1));
    assert_int_equal(runs, tasks);
    assert_in_range(syn_json_i64(stats, "critical_ns", -1), 0, (uint64_t)span);
}

static void
check_random(uint64_t *random)
{
    static struct syn_trace_event some[RANDOM_EVENTS];
    struct syn_trace_data data = everything;

    data.events = some;
    data.events_count = make_random(some, random);
    for (size_t i = 0; i < SYN_LEN(writers); i++) {
        SYN_BUF(out);
        SYN_JSON(document);
        struct syn_err err = {0};

        assert_done(writers[i].write(&data, &out, &err), &err);
        assert_true(syn_utf8_ok(out.data, out.len));
        if (writers[i].write != syn_trace_write_chrome &&
            writers[i].write != syn_trace_write_stats_json)
            continue;
        assert_done(syn_json_parse(out.data, out.len, &document, &err), &err);
        if (writers[i].write == syn_trace_write_chrome)
            check_slices(document);
        else
            check_stats(document);
    }
}

static void
test_random(void **state)
{
    uint64_t random = seed;

    (void)state;
    print_message("# SYNOR_TEST_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < 50; i++)
        check_random(&random);
}

/* Figures that can be done by hand, for the data above. */
static void
test_figures(void **state)
{
    SYN_BUF(out);
    SYN_JSON(stats);
    struct syn_err err = {0};
    json_t *worker, *kernel, *link;

    (void)state;
    assert_done(syn_trace_write_stats_json(&everything, &out, &err), &err);
    assert_done(syn_json_parse(out.data, out.len, &stats, &err), &err);
    assert_int_equal(syn_json_i64(stats, "span_ns", 0), 100000);
    assert_int_equal(syn_json_i64(stats, "critical_ns", 0), 20500 + 60000); /* 1, then 2 */
    worker = json_array_get(json_object_get(stats, "workers"), 1);
    assert_int_equal(syn_json_i64(worker, "busy_ns", 0), 60000); /* the nested task counts once */
    assert_int_equal(syn_json_i64(worker, "wait_ns", 0), 5000);
    assert_int_equal(syn_json_i64(worker, "idle_ns", 0), 35000);
    kernel = json_array_get(json_object_get(stats, "kernels"), 1);
    assert_string_equal(syn_json_str(kernel, "name", ""), "gemm");
    assert_int_equal(syn_json_i64(kernel, "count", 0), 3);
    assert_int_equal(syn_json_i64(kernel, "failed", 0), 1);
    assert_int_equal(syn_json_i64(kernel, "mean_ns", 0), (20500 + 10000) / 2);
    assert_int_equal(syn_json_i64(kernel, "p50_ns", 0), 10000);
    assert_int_equal(syn_json_i64(kernel, "p95_ns", 0), 20500);
    assert_int_equal(json_integer_value(syn_json_at(kernel, "energy.measured_uj")), 1500);
    assert_int_equal(json_integer_value(syn_json_at(kernel, "energy.modelled_uj")), 700);
    assert_int_equal(json_integer_value(syn_json_at(kernel, "energy.unknown")), 1);
    link = json_array_get(json_object_get(stats, "transfers"), 0);
    assert_int_equal(syn_json_i64(link, "busy_ns", 0), 4000); /* two at once count once */
    assert_int_equal(syn_json_i64(link, "bytes", 0), 16384 + (1 << 20));
    assert_int_equal(json_integer_value(syn_json_at(stats, "energy_devices.measured_uj")), 4000);
    assert_int_equal(json_integer_value(syn_json_at(stats, "energy_devices.unknown")), 1);
}

/* A machine for the planner: two cores, and an accelerator behind a link. */
static const struct syn_worker_class classes[] = {
    {.name = "core", .state_count = 1, .states = {{1000, 8000}}},
    {.name = "accelerator", .kind = 1},
};
static const struct syn_worker_desc descs[] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {1, 1, 1, 1}};
static const struct syn_link_desc links[] = {{0, 1, 0, 1000, UINT64_C(10000000000)},
                                             {1, 0, 0, 1000, UINT64_C(10000000000)}};
static const struct syn_plan_rate rates[] = {
    {40e9, 1e10, 1000, 0},
    {400e9, 1e11, 1000, 1},
};
static const struct syn_plan_machine machine = {{.class_count = 2,
                                                 .worker_count = 3,
                                                 .node_count = 2,
                                                 .link_count = 2,
                                                 .classes = classes,
                                                 .workers = descs,
                                                 .links = links},
                                                rates};

static void
check_plan(const struct syn_plan_graph *graph, struct syn_plan_event *run)
{
    struct syn_plan_opts opts = {
        .machine = &machine, .graph = graph, .strategy = syn_strategy_find("eager"), .seed = 1};
    struct syn_plan_result result;
    struct syn_trace_data *data = NULL;
    uint64_t busy_ns = 0, begin_ns = UINT64_MAX, end_ns = 0;
    uint32_t tasks = syn_plan_task_count(graph);
    struct syn_err err = {0};

    assert_done(syn_plan_run(&opts, run, &result, &err), &err);
    assert_done(syn_trace_of_plan(&opts, run, &data, &err), &err);
    assert_string_equal(data->title, "Plan by eager");
    for (size_t i = 0; i < data->events_count; i++) {
        const struct syn_trace_event *event = &data->events[i];

        if (event->kind != SYN_TRACE_TASK)
            continue;
        busy_ns += event->end_ns - event->begin_ns;
        begin_ns = SYN_MIN(begin_ns, event->begin_ns);
        end_ns = SYN_MAX(end_ns, event->end_ns);
        assert_true(data->scene.devices[event->device].modelled);
        assert_int_equal(event->energy_uj == SYN_TRACE_UNKNOWN, event->device == 1);
        tasks--;
    }
    assert_int_equal(tasks, 0);
    assert_int_equal(end_ns, result.makespan_ns);
    assert_true(busy_ns <= result.busy_ns && begin_ns < end_ns);
    for (size_t i = 0; i < SYN_LEN(writers); i++) {
        SYN_BUF(out);

        assert_done(writers[i].write(data, &out, &err), &err);
        assert_non_null(strstr(out.data, "potrf"));
        assert_non_null(strstr(out.data, "modelled"));
    }
    syn_trace_data_free(data);
    run[0].worker = 3;
    assert_code(syn_trace_of_plan(&opts, run, &data, &err), SYN_E_INVALID, &err);
    run[0].worker = 2;
}

static void
test_plan(void **state)
{
    struct syn_plan_graph *graph = NULL;
    struct syn_err err = {0};
    struct syn_plan_event *run;

    (void)state;
    assert_done(syn_plan_cholesky(6, 256, &graph, &err), &err);
    run = syn_calloc(syn_plan_task_count(graph), sizeof(*run));
    assert_non_null(run);
    check_plan(graph, run);
    syn_free(run);
    syn_plan_graph_free(graph);
}

static int
emit(const char *into)
{
    static struct syn_trace_event some[RANDOM_EVENTS];
    struct syn_trace_data data = everything;
    uint64_t random = seed;

    data.events = some;
    data.events_count = make_random(some, &random);
    for (size_t i = 0; i < SYN_LEN(writers); i++) {
        SYN_BUF(out);
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", into, writers[i].file);
        if (writers[i].write(&data, &out, NULL) < 0 || write_file(path, &out) != 0)
            return 1;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored), cmocka_unit_test(test_little),
        cmocka_unit_test(test_wrong),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_random), cmocka_unit_test(test_figures),
        cmocka_unit_test(test_plan),
    };
    bool emits = argc == 4 && strcmp(argv[1], "--emit") == 0;
    const char *given = emits ? argv[3] : getenv("SYNOR_TEST_SEED");

    if (argc < 2 || (given != NULL && syn_parse_u64(given, 1, UINT64_MAX, "seed", &seed, NULL) < 0))
        return 2;
    if (emits)
        return emit(argv[2]);
    folder = argv[1];
    update = argc == 3 && strcmp(argv[2], "--update") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
