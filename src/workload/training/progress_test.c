#include <synor/workload/training_progress.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

static struct syn_progress *
fed(const char *text, int64_t at_ms)
{
    struct syn_progress *progress;
    struct syn_err err;

    assert_done(syn_progress_new(&progress, &err), &err);
    assert_done(syn_progress_feed(progress, text, strlen(text), at_ms, &err), &err);
    return progress;
}

static json_t *
object_of(const struct syn_progress *progress)
{
    struct syn_err err;
    json_t *object;

    assert_done(syn_progress_object(progress, &object, &err), &err);
    return object;
}

static void
test_the_newest_values(void **state)
{
    SYN_SCOPED(syn_progress_free_scope)
    struct syn_progress *progress = fed(
        "{\"step\": 200, \"steps_total\": 2340, \"epoch\": 0, \"epochs_total\": 5, \"loss\": 0.5}\n"
        "{\"step\": 468.0, \"epoch\": 1, \"test_accuracy\": 0.86}\r\n\n",
        1000);
    SYN_JSON(object);

    (void)state;
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "step", 0), 468);
    assert_int_equal(syn_json_i64(object, "steps_total", 0), 2340);
    assert_int_equal(syn_json_i64(object, "epoch", 0), 1);
    assert_int_equal(syn_json_i64(object, "epochs_total", 0), 5);
    assert_true(json_real_value(json_object_get(object, "loss")) == 0.5);
    assert_true(json_real_value(syn_json_at(object, "metrics.test_accuracy")) == 0.86);
    assert_true(json_is_null(json_object_get(object, "eta_ms")));
    assert_int_equal(syn_progress_lines(progress), 2);
    assert_int_equal(syn_progress_skipped(progress), 0);
}

static void
test_an_empty_file(void **state)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed("", 0);
    SYN_JSON(object);

    (void)state;
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "step", -1), 0);
    assert_true(json_is_null(json_object_get(object, "loss")));
    assert_int_equal(json_object_size(json_object_get(object, "metrics")), 0);
}

static void
test_what_is_no_progress_is_counted(void **state)
{
    static const struct {
        const char *text;
        unsigned skipped;
    } cases[] = {
        {"hello\n", 1},
        {"[1]\n", 1},
        {"{\"step\": -1}\n", 1},
        {"{\"step\": 1.5}\n", 1},
        {"{\"step\": \"9\"}\n", 1},
        {"{\"step\": 1e300}\n", 1},
        {"{\"loss\": NaN, \"step\": 9}\n", 1},
        {"{\"loss\": -Infinity, \"x\": Infinity, \"step\": 9}\n", 2},
        {"{\"note\": \"NaN \\\" NaN\", \"step\": 9}\n", 1},
        {"{\"bad name\": 1}\n", 1},
        {"{\"a\": {\"b\": 1}}\n", 1},
        {"{\"step\": 9", 0},
        {"{\"step\": 8, \"step\": 9}\n", 1},
        {"{\"step\": 9}\n\xff\xfe\n", 1},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed(cases[i].text, 0);
        SYN_JSON(object);

        object = object_of(progress);
        if (syn_progress_skipped(progress) != cases[i].skipped)
            fail_msg("%s: skipped %llu", cases[i].text,
                     (unsigned long long)syn_progress_skipped(progress));
        if (strstr(cases[i].text, "\"step\": 9}") && cases[i].skipped < 3 &&
            !strstr(cases[i].text, "8"))
            assert_int_equal(syn_json_i64(object, "step", 0), 9);
    }
}

static void
test_long_lines_and_many_metrics(void **state)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed("", 0);
    struct syn_err err;
    char name[64];
    SYN_JSON(object);

    (void)state;
    for (unsigned i = 0; i < SYN_PROGRESS_LINE_MAX + 10; i++)
        assert_done(syn_progress_feed(progress, "x", 1, 0, &err), &err);
    assert_done(syn_progress_feed(progress, "\n{\"step\":1}\n", 12, 0, &err), &err);
    assert_int_equal(syn_progress_skipped(progress), 1);
    for (unsigned i = 0; i < SYN_PROGRESS_METRICS_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), "{\"m%u\":1}\n", i);
        assert_done(syn_progress_feed(progress, name, strlen(name), 0, &err), &err);
    }
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "step", 0), 1);
    assert_int_equal(json_object_size(json_object_get(object, "metrics")),
                     SYN_PROGRESS_METRICS_MAX);
    assert_int_equal(syn_progress_skipped(progress), 6);
}

static void
test_eta_ignores_pauses(void **state)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed("", 0);
    struct syn_err err;
    int64_t now_ms = 0;
    char line[64];
    SYN_JSON(object);

    (void)state;
    for (int step = 10; step <= 300; step += 10) {
        now_ms += step % 100 == 0 ? 60000 : 1000; /* 100 ms a step; a test each 100 */
        (void)snprintf(line, sizeof(line), "{\"step\":%d,\"steps_total\":1300}\n", step);
        assert_done(syn_progress_feed(progress, line, strlen(line), now_ms, &err), &err);
    }
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "eta_ms", 0), 1000 * 100);
}

static void
test_eta_by_epochs_and_at_the_end(void **state)
{
    SYN_SCOPED(syn_progress_free_scope)
    struct syn_progress *progress = fed("{\"epoch\":1,\"epochs_total\":4}\n", 0);
    struct syn_err err;
    const char *next = "{\"epoch\":2}\n";
    SYN_JSON(object);

    (void)state;
    assert_done(syn_progress_feed(progress, next, strlen(next), 5000, &err), &err);
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "eta_ms", 0), 10000);
    json_decref(object);
    next = "{\"epoch\":4}\n";
    assert_done(syn_progress_feed(progress, next, strlen(next), 6000, &err), &err);
    object = object_of(progress);
    assert_int_equal(syn_json_i64(object, "eta_ms", -1), 0);
}

static void
test_series_stay_bounded_and_even(void **state)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed("", 0);
    struct syn_err err;
    const json_t *points;
    char line[64];
    SYN_JSON(series);

    (void)state;
    for (int step = 1; step <= 10007; step++) {
        (void)snprintf(line, sizeof(line), "{\"step\":%d,\"loss\":%d,\"other\":1}\n", step, step);
        assert_done(syn_progress_feed(progress, line, strlen(line), step, &err), &err);
    }
    assert_done(syn_progress_series(progress, "loss", &series, &err), &err);
    assert_int_equal(json_array_size(json_object_get(series, "items")), 1);
    points = json_object_get(json_array_get(json_object_get(series, "items"), 0), "points");
    assert_in_range(json_array_size(points), SYN_PROGRESS_POINTS_MAX / 2 - 1,
                    SYN_PROGRESS_POINTS_MAX);
    for (size_t i = 0; i + 1 < json_array_size(points); i++)
        assert_int_equal(json_integer_value(json_array_get(json_array_get(points, i), 0)),
                         8 * i + 1);
    points = json_array_get(points, json_array_size(points) - 1);
    assert_int_equal(json_integer_value(json_array_get(points, 0)), 10007);
    assert_int_equal(json_integer_value(json_array_get(points, 2)), 10007);
}

static void
test_cuts_do_not_matter(void **state)
{
    const char *text = "{\"step\":1,\"loss\":2}\nnoise\n{\"step\":2,\"loss\":1.5,\"a/b\":3}\n{\"st";
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *whole = fed(text, 7);
    struct syn_err err;
    SYN_JSON(want);

    (void)state;
    assert_done(syn_progress_series(whole, NULL, &want, &err), &err);
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = fed("", 0);
        SYN_JSON(got);

        assert_done(syn_progress_feed(progress, text, cut, 7, &err), &err);
        assert_done(syn_progress_feed(progress, text + cut, strlen(text) - cut, 7, &err), &err);
        assert_done(syn_progress_series(progress, NULL, &got, &err), &err);
        assert_true(json_equal(got, want));
    }
}

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = NULL;
    SYN_JSON(object);
    SYN_JSON(series);
    int rc = syn_progress_new(&progress, err);

    if (rc == SYN_OK)
        rc = syn_progress_feed(progress, arg, strlen(arg), 5, err);
    if (rc == SYN_OK)
        rc = syn_progress_object(progress, &object, err);
    return rc < 0 ? rc : syn_progress_series(progress, NULL, &series, err);
}

static void
test_shortage_of_memory(void **state)
{
    char text[] = "{\"step\":1,\"loss\":2}\n{\"acc\":1}\n";

    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, text) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_values),
        cmocka_unit_test(test_an_empty_file),
        cmocka_unit_test(test_what_is_no_progress_is_counted),
        cmocka_unit_test(test_long_lines_and_many_metrics),
        cmocka_unit_test(test_eta_ignores_pauses),
        cmocka_unit_test(test_eta_by_epochs_and_at_the_end),
        cmocka_unit_test(test_series_stay_bounded_and_even),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
