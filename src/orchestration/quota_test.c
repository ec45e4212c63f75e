#include <synor/orchestration/quota.h>

#include <string.h>

#include <synor/base/test.h>
#include <synor/orchestration/cluster.h>

static struct syn_err err;

static struct syn_quota
quota_of(const char *text)
{
    struct syn_quota quota;
    SYN_JSON(obj);

    assert_done(syn_json_parse(text, strlen(text), &obj, &err), &err);
    assert_done(syn_quota_read(obj, &quota, &err), &err);
    return quota;
}

static void
test_read(void **state)
{
    static const char *const bad[] = {"{\"jobs\":-1}", "{\"gpus\":\"2\"}",
                                      "{\"cpu_millicores\":1.5}", "{\"memory_bytes\":[]}",
                                      "{\"storage_bytes\":true}"};
    struct syn_quota quota = quota_of("{\"jobs\":2,\"gpus\":0,\"memory_bytes\":null}");

    (void)state;
    assert_int_equal(quota.limits[SYN_QUOTA_JOBS], 2);
    assert_int_equal(quota.limits[SYN_QUOTA_GPUS], 0);
    assert_int_equal(quota.limits[SYN_QUOTA_MEMORY], SYN_QUOTA_NONE);
    assert_int_equal(quota.limits[SYN_QUOTA_CPU], SYN_QUOTA_NONE);
    assert_true(syn_quota_any(&quota));
    assert_done(syn_quota_read(NULL, &quota, &err), &err);
    assert_false(syn_quota_any(&quota));
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        SYN_JSON(obj);

        assert_done(syn_json_parse(bad[i], strlen(bad[i]), &obj, &err), &err);
        assert_code(syn_quota_read(obj, &quota, &err), SYN_E_INVALID, &err);
    }
}

static void
test_over(void **state)
{
    static const struct {
        const char *quota;
        struct syn_holding held, ask; /* jobs, CPU, memory, GPUs, storage */
        enum syn_quota_dim over;
    } rows[] = {
        {"{}", {{9, 9, 9, 9, 9}}, {{1, 1, 1, 1, 1}}, SYN_QUOTA_COUNT},
        {"{\"jobs\":2}", {{1}}, {{1}}, SYN_QUOTA_COUNT},
        {"{\"jobs\":2}", {{2}}, {{1}}, SYN_QUOTA_JOBS},
        {"{\"jobs\":0}", {{0}}, {{1}}, SYN_QUOTA_JOBS},
        {"{\"cpu_millicores\":2000}", {{0, 1500}}, {{1, 500}}, SYN_QUOTA_COUNT},
        {"{\"cpu_millicores\":2000}", {{0, 1500}}, {{1, 501}}, SYN_QUOTA_CPU},
        {"{\"memory_bytes\":10}", {{0, 0, 10}}, {{0, 0, 1}}, SYN_QUOTA_MEMORY},
        {"{\"gpus\":0}", {{0}}, {{1, 1, 1, 0}}, SYN_QUOTA_COUNT},
        {"{\"gpus\":0}", {{0}}, {{1, 1, 1, 1}}, SYN_QUOTA_GPUS},
        {"{\"storage_bytes\":5}", {{0, 0, 0, 0, 5}}, {{0, 0, 0, 0, 1}}, SYN_QUOTA_STORAGE},
        /* The limit was lowered below what is held: what asks for none of it goes on. */
        {"{\"gpus\":1}", {{3, 0, 0, 8}}, {{1, 1, 1, 0}}, SYN_QUOTA_COUNT},
        {"{\"gpus\":1,\"jobs\":3}", {{3, 0, 0, 8}}, {{1, 1, 1, 1}}, SYN_QUOTA_JOBS},
        {"{\"memory_bytes\":9223372036854775807}",
         {{0, 0, 1}},
         {{0, 0, INT64_MAX}},
         SYN_QUOTA_MEMORY},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_quota quota = quota_of(rows[i].quota);

        if (syn_quota_over(&quota, &rows[i].held, &rows[i].ask) != rows[i].over)
            fail_msg("row %zu: %s", i, rows[i].quota);
    }
}

static void
test_explain(void **state)
{
    struct syn_quota quota = quota_of("{\"cpu_millicores\":2000,\"memory_bytes\":4294967296}");
    const struct syn_holding held = {{1, 1500, 0, 0, 0}};
    const struct syn_holding ask = {{1, 1000, INT64_C(8) << 30, 0, 0}};
    const struct syn_holding small = {{1, 1000, 0, 0, 0}};
    SYN_JSON(why);
    SYN_JSON(fix);
    SYN_JSON(soon);

    (void)state;
    why = json_array();
    fix = json_array();
    soon = json_array();
    assert_done(syn_quota_explain(&quota, &held, &ask, "bob", why, fix, &err), &err);
    assert_int_equal(json_array_size(why), 2);
    assert_string_equal(syn_json_str(json_array_get(why, 0), "dimension", ""), "quota");
    assert_string_equal(syn_json_str(json_array_get(why, 0), "message", ""),
                        "the account's quota of CPUs is 2: 1.5 held, 1 asked for");
    assert_int_equal(syn_json_i64(json_array_get(why, 0), "need", 0), 1000);
    assert_int_equal(syn_json_i64(json_array_get(why, 0), "have", 0), 500);
    assert_string_equal(syn_json_str(json_array_get(why, 1), "message", ""),
                        "the account's quota of memory is 4 GiB: 0 B held, 8 GiB asked for");
    assert_int_equal(json_array_size(fix), 3); /* waiting alone would not help */
    assert_string_equal(json_string_value(json_array_get(fix, 0)),
                        "have an operator raise it: synor account quota bob --cpus MORE");
    assert_string_equal(json_string_value(json_array_get(fix, 1)),
                        "ask for no more than 4 GiB in all: memory of all workers together");
    assert_done(syn_quota_explain(&quota, &held, &small, "bob", why, soon, &err), &err);
    assert_non_null(strstr(json_string_value(json_array_get(soon, 0)), "wait for other work"));
    assert_int_equal(json_array_size(why), 3);
    assert_done(
        syn_quota_explain(&quota, &(struct syn_holding){{0}}, &small, "bob", why, soon, &err),
        &err);
    assert_int_equal(json_array_size(why), 3);
}

/* What an account holds is what its live instances hold; a job counts once, however many ranks. */
/* Four quarters of a card are a card. */
static void
test_parts_of_gpus(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    const struct syn_quota quota = quota_of("{\"gpus\":1}");
    const struct syn_holding quarter = {.amounts = {[SYN_QUOTA_GPUS] = SYN_QUOTA_GPU / 4}};
    struct syn_holding held;
    SYN_JSON(why);
    SYN_JSON(fix);
    SYN_JSON(text);

    (void)state;
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    for (int i = 0; i < 4; i++) {
        SYN_JSON(doc);

        assert_done(syn_cluster_holding(cluster, "acct-1", &held, &err), &err);
        assert_int_equal(held.amounts[SYN_QUOTA_GPUS], i * SYN_QUOTA_GPU / 4);
        assert_int_equal(syn_quota_over(&quota, &held, &quarter), SYN_QUOTA_COUNT);
        doc = json_pack("{s:s+, s:s, s:{s:s, s:s, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:s}}, s:{s:s}}",
                        "id", "inst-", (const char *[]){"a", "b", "c", "d"}[i], "account", "acct-1",
                        "spec", "job", "train-a", "node", "node-1", "resources", "cpu_millicores",
                        500, "memory_bytes", 1024, "scratch_bytes", 10, "gpus", 1, "gpu_share", 250,
                        "gpu_permille", 250, "gpu_model", "a100", "status", "state", "running");
        assert_non_null(doc);
        assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
        assert_done(syn_cluster_holding(cluster, "acct-1", &held, &err), &err);
        json_decref(text);
        assert_done(syn_holding_encode(&held, &text, &err), &err);
        assert_true(json_number_value(json_object_get(text, "gpus")) == (i + 1) / 4.0);
    }
    assert_int_equal(syn_quota_over(&quota, &held, &quarter), SYN_QUOTA_GPUS);
    why = json_array();
    fix = json_array();
    assert_done(syn_quota_explain(&quota, &held, &quarter, "ann", why, fix, &err), &err);
    assert_non_null(strstr(syn_json_str(json_array_get(why, 0), "message", ""),
                           "quota of GPUs is 1: 1 held, 0.25 asked for"));
    assert_true(json_number_value(json_object_get(json_array_get(why, 0), "need")) == 0.25);
}

static void
test_holding_of_cluster(void **state)
{
    static const struct {
        const char *id, *account, *job, *state;
    } rows[] = {
        {"inst-a-0", "acct-1", "train-a", "running"},
        {"inst-a-1", "acct-1", "train-a", "assigned"},
        {"inst-b-0", "acct-1", "train-b", "stopping"},
        {"inst-c-0", "acct-1", "train-c", "exited"},
        {"inst-d-0", "acct-2", "train-d", "running"},
    };
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_holding holding;
    SYN_JSON(text);

    (void)state;
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_JSON(doc);

        doc = json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:i, s:i, s:i, s:i, s:s}}, s:{s:s}}", "id",
                        rows[i].id, "account", rows[i].account, "spec", "job", rows[i].job, "node",
                        "node-1", "resources", "cpu_millicores", 500, "memory_bytes", 1024,
                        "scratch_bytes", 10, "gpus", 2, "gpu_model", "a100", "status", "state",
                        rows[i].state);
        assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
    }
    assert_done(syn_cluster_holding(cluster, "acct-1", &holding, &err), &err);
    assert_int_equal(holding.amounts[SYN_QUOTA_JOBS], 2);
    assert_int_equal(holding.amounts[SYN_QUOTA_CPU], 1500);
    assert_int_equal(holding.amounts[SYN_QUOTA_MEMORY], 3072);
    assert_int_equal(holding.amounts[SYN_QUOTA_GPUS], 6 * SYN_QUOTA_GPU);
    assert_int_equal(holding.amounts[SYN_QUOTA_STORAGE], 0);
    assert_done(syn_holding_encode(&holding, &text, &err), &err);
    assert_int_equal(syn_json_i64(text, "gpus", 0), 6);
    assert_done(syn_cluster_holding(cluster, "acct-3", &holding, &err), &err);
    assert_int_equal(holding.amounts[SYN_QUOTA_JOBS], 0);
}

static int
sweep(void *arg, struct syn_err *error)
{
    const struct syn_quota *quota = arg;
    const struct syn_holding ask = {{1, 5000, 0, 0, 0}};
    SYN_JSON(why);
    SYN_JSON(fix);

    why = json_array();
    fix = json_array();
    if (why == NULL || fix == NULL)
        return SYN_FAIL(error, SYN_E_NOMEM, "no memory for a list");
    return syn_quota_explain(quota, &(struct syn_holding){{0}}, &ask, "bob", why, fix, error);
}

static void
test_explain_sweep(void **state)
{
    struct syn_quota quota = quota_of("{\"cpu_millicores\":2000}");

    (void)state;
    assert_true(syn_test_sweep_alloc(sweep, &quota) > 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_over),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_parts_of_gpus),
        cmocka_unit_test(test_holding_of_cluster),
        cmocka_unit_test(test_explain_sweep),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
