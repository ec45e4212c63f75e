#include <synor/base/test.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/infra/metrics.h>

static const int64_t bounds[] = {1000000, 10000000, 100000000};
static const struct syn_metric table[] = {
    {.name = "synor_test_requests_total",
     .help = "Requests \\ seen.\nAll of them.",
     .type = SYN_METRIC_COUNTER,
     .labels = {"route", "class"}},
    {.name = "synor_test_open", .help = "Open things.", .type = SYN_METRIC_GAUGE},
    {.name = "synor_test_latency_seconds",
     .help = "Latency.",
     .type = SYN_METRIC_HISTOGRAM,
     .scale = 1e-9,
     .buckets = bounds,
     .bucket_count = SYN_LEN(bounds)},
};

static void
set_open(void *arg)
{
    syn_series_set(arg, 42);
}

static struct syn_metrics *
filled(void)
{
    struct syn_metrics *metrics = NULL;
    struct syn_series *series = NULL;
    struct syn_series *again = NULL;
    const char *labels[] = {"/v1/\"x\"", "2xx"};
    struct syn_err err;

    assert_done(syn_metrics_new(&metrics, &err), &err);
    assert_done(syn_metrics_add(metrics, table, SYN_LEN(table), &err), &err);
    assert_done(syn_metrics_series(metrics, &table[0], labels, &series, &err), &err);
    assert_done(syn_metrics_series(metrics, &table[0], labels, &again, &err), &err);
    assert_ptr_equal(series, again);
    syn_series_add(series, 7);
    assert_done(syn_metrics_series(metrics, &table[1], NULL, &series, &err), &err);
    assert_done(syn_metrics_collect(metrics, set_open, series, &err), &err);
    assert_done(syn_metrics_series(metrics, &table[2], NULL, &series, &err), &err);
    syn_series_observe(series, 500000);
    syn_series_observe(series, 10000000);
    syn_series_observe(series, 3000000000);
    return metrics;
}

static void
test_exposition(void **state)
{
    struct syn_metrics *metrics = filled();
    SYN_BUF(out);
    struct syn_err err;

    (void)state;
    assert_done(syn_metrics_write(metrics, &out, &err), &err);
    assert_string_equal(syn_buf_text(&out),
                        "# HELP synor_test_requests_total Requests \\\\ seen.\\nAll of them.\n"
                        "# TYPE synor_test_requests_total counter\n"
                        "synor_test_requests_total{route=\"/v1/\\\"x\\\"\",class=\"2xx\"} 7\n"
                        "# HELP synor_test_open Open things.\n"
                        "# TYPE synor_test_open gauge\n"
                        "synor_test_open 42\n"
                        "# HELP synor_test_latency_seconds Latency.\n"
                        "# TYPE synor_test_latency_seconds histogram\n"
                        "synor_test_latency_seconds_bucket{le=\"0.001\"} 1\n"
                        "synor_test_latency_seconds_bucket{le=\"0.01\"} 2\n"
                        "synor_test_latency_seconds_bucket{le=\"0.1\"} 2\n"
                        "synor_test_latency_seconds_bucket{le=\"+Inf\"} 3\n"
                        "synor_test_latency_seconds_sum 3.0105\n"
                        "synor_test_latency_seconds_count 3\n");
    (void)syn_metrics_free(metrics);
}

static void
test_promtool(void **state)
{
    struct syn_metrics *metrics;
    SYN_BUF(out);
    struct syn_err err;
    int pipe_fds[2];
    pid_t pid;
    int status = 0;

    (void)state;
    if (access("/usr/bin/promtool", X_OK) != 0) {
        print_message("# promtool is not installed: apt install prometheus\n");
        skip();
    }
    metrics = filled();
    assert_done(syn_metrics_write(metrics, &out, &err), &err);
    assert_int_equal(pipe(pipe_fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(pipe_fds[0], 0);
        (void)dup2(2, 1);
        (void)close(pipe_fds[1]);
        (void)execl("/usr/bin/promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(127);
    }
    (void)close(pipe_fds[0]);
    assert_int_equal(write(pipe_fds[1], out.data, out.len), out.len);
    (void)close(pipe_fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)syn_metrics_free(metrics);
}

static void
test_refuses(void **state)
{
    static const struct syn_metric bad[] = {
        {.name = "Upper", .help = "x", .type = SYN_METRIC_GAUGE},
        {.name = "a_total", .help = "x", .type = SYN_METRIC_GAUGE},
        {.name = "a", .help = "x", .type = SYN_METRIC_COUNTER},
        {.name = "a", .help = NULL, .type = SYN_METRIC_GAUGE},
        {.name = "a", .help = "x", .type = SYN_METRIC_HISTOGRAM},
        {.name = "a", .help = "x", .type = SYN_METRIC_GAUGE, .labels = {"le"}},
        {.name = "a b", .help = "x", .type = SYN_METRIC_GAUGE},
    };
    static const struct syn_metric twice[] = {
        {.name = "a", .help = "x", .type = SYN_METRIC_GAUGE},
        {.name = "a", .help = "x", .type = SYN_METRIC_GAUGE},
    };
    struct syn_metrics *metrics = NULL;
    struct syn_series *series = NULL;
    const char *utf8[] = {"\xff", "x"};
    struct syn_err err;

    (void)state;
    assert_done(syn_metrics_new(&metrics, &err), &err);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_metrics_add(metrics, &bad[i], 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_metrics_add(metrics, twice, 2, &err), SYN_E_INVALID, &err);
    assert_code(syn_metrics_series(metrics, &table[1], NULL, &series, &err), SYN_E_INVALID, &err);
    assert_done(syn_metrics_add(metrics, table, 1, &err), &err);
    assert_code(syn_metrics_add(metrics, table, 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_metrics_series(metrics, &table[0], utf8, &series, &err), SYN_E_INVALID, &err);
    (void)syn_metrics_free(metrics);
}

static void *
count_up(void *arg)
{
    for (int i = 0; i < 10000; i++)
        syn_series_add(arg, 1);
    return NULL;
}

static void
test_threads_lose_nothing(void **state)
{
    struct syn_metrics *metrics = NULL;
    struct syn_series *series = NULL;
    pthread_t threads[4];
    struct syn_err err;

    (void)state;
    assert_done(syn_metrics_new(&metrics, &err), &err);
    assert_done(syn_metrics_add(metrics, table, SYN_LEN(table), &err), &err);
    assert_done(syn_metrics_series(metrics, &table[1], NULL, &series, &err), &err);
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, series), 0);
    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(syn_series_value(series), 40000);
    (void)syn_metrics_free(metrics);
}

static int
sweep_metrics(void *arg, struct syn_err *err)
{
    struct syn_metrics *metrics = NULL;
    struct syn_series *series = NULL;
    const char *labels[] = {"/v1/x", "2xx"};
    SYN_BUF(out);
    int rc;

    (void)arg;
    rc = syn_metrics_new(&metrics, err);
    if (rc == SYN_OK)
        rc = syn_metrics_add(metrics, table, SYN_LEN(table), err);
    if (rc == SYN_OK)
        rc = syn_metrics_series(metrics, &table[0], labels, &series, err);
    if (rc == SYN_OK)
        rc = syn_metrics_series(metrics, &table[2], NULL, &series, err);
    if (rc == SYN_OK)
        rc = syn_metrics_write(metrics, &out, err);
    (void)syn_metrics_free(metrics);
    return rc;
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_metrics, NULL) >= 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exposition), cmocka_unit_test(test_promtool),
        cmocka_unit_test(test_refuses),    cmocka_unit_test(test_threads_lose_nothing),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
