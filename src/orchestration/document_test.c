#include <synor/orchestration/document.h>

#include <synor/base/test.h>
#include <synor/base/units.h>

#define NOW_MS INT64_C(1795460000123)

static const struct syn_document_new new_doc = {
    .kind = "training", .id = "train-1", .name = "", .account = "acct-1", .now_ms = NOW_MS};

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_document_make_take(&new_doc, json_pack("{s:i}", "a", 1), &doc, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_document_bump(doc, err);
    if (rc == SYN_OK)
        rc = syn_document_set_state(doc, "pending", "no-node", "no node is ready", err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(syn_document_status(doc), "ended_at", NOW_MS, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(syn_document_status(doc), "spent", SYN_SYNOR / 2, err);
    return rc;
}

static void
test_envelope(void **state)
{
    SYN_JSON(doc);
    struct syn_err err;
    json_t *status;

    (void)state;
    assert_done(syn_document_make_take(&new_doc, json_object(), &doc, &err), &err);
    assert_string_equal(syn_json_str(doc, "name", NULL), "train-1");
    assert_int_equal(syn_json_i64(doc, "generation", -1), 1);
    assert_int_equal(syn_document_time(doc, "created_at"), NOW_MS);
    assert_string_equal(syn_document_state(doc), "");
    assert_done(syn_document_set_state(doc, "failed", "oom-killed", "too much", &err), &err);
    assert_string_equal(syn_document_state(doc), "failed");
    assert_done(syn_document_bump(doc, &err), &err);
    assert_int_equal(syn_json_i64(doc, "generation", -1), 2);
    status = syn_document_status(doc);
    assert_done(syn_document_set_time(status, "ended_at", SYN_DOCUMENT_NONE, &err), &err);
    assert_true(json_is_null(json_object_get(status, "ended_at")));
    assert_int_equal(syn_document_time(status, "ended_at"), SYN_DOCUMENT_NONE);
    assert_done(syn_document_set_amount(status, "spent", 1, &err), &err);
    assert_string_equal(syn_json_str(status, "spent", NULL), "0.000000001");
    assert_int_equal(syn_document_amount(status, "spent"), 1);
    assert_int_equal(syn_document_amount(status, "missing"), SYN_DOCUMENT_NONE);
}

static void
test_shortage_of_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
