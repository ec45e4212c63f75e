#include <synor/workload/training_command.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_control.h>
#include <synor/workload/training_spec.h>

#define NOW_MS INT64_C(1795460000000)

static json_t *
job_make(const char *more)
{
    struct syn_training_new new_job = {.id = "train-abc",
                                       .account = "acct-1",
                                       .source_cid = "bcode",
                                       .dataset_cid = "bdata",
                                       .image_cid = "bimage",
                                       .now_ms = NOW_MS};
    struct syn_err err;
    char text[1000];
    json_t *spec, *job;

    (void)snprintf(
        text, sizeof(text),
        "{\"source\":\"synor://code\",\"max_budget\":\"10\",\"dataset\":\"synor://d\"%s}", more);
    assert_done(syn_json_parse(text, strlen(text), &spec, &err), &err);
    assert_done(syn_training_spec_check(spec, &err), &err);
    assert_done(syn_training_make_take(&new_job, spec, &job, &err), &err);
    assert_done(syn_json_set_i64(syn_document_status(job), "attempt", 1, &err), &err);
    return job;
}

static struct syn_placement
placement_make(uint32_t count)
{
    struct syn_placement placement = {.count = count};

    for (uint32_t i = 0; i < count; i++) {
        placement.slots[i].isolation = SYN_ISOLATION_GVISOR;
        (void)syn_str_copy(placement.slots[i].node, SYN_ID_MAX, i < 2 ? "node-a" : "node-b");
    }
    return placement;
}

static json_t *
instance_make(const char *more, uint32_t count, uint32_t rank)
{
    struct syn_placement placement = placement_make(count);
    struct syn_err err;
    json_t *instance;
    SYN_JSON(job);

    job = job_make(more);
    assert_done(syn_training_instance_make(job, &placement, rank, NOW_MS, NULL, &instance, &err),
                &err);
    return instance;
}

static void
check_text(const json_t *obj, const char *key, const char *want)
{
    if (!syn_str_eq(syn_json_str(obj, key, NULL), want))
        fail_msg("%s is \"%s\", not \"%s\"", key, syn_json_str(obj, key, "(missing)"),
                 want ? want : "(missing)");
}

static void
test_one_worker(void **state)
{
    const json_t *spec, *env;
    SYN_JSON(argv);
    SYN_JSON(doc);

    (void)state;
    doc = instance_make(",\"entry\":\"train.py\",\"args\":[\"--x\"],\"env\":{\"A\":\"b\"}", 1, 0);
    check_text(doc, "id", "inst-abc-1-1-0");
    check_text(doc, "account", "acct-1");
    assert_string_equal(syn_document_state(doc), "assigned");
    spec = syn_document_spec(doc);
    env = json_object_get(spec, "env");
    argv = json_pack("[s, s, s, s]", "/usr/bin/python3", "-u", "/synor/code/train.py", "--x");
    assert_true(json_equal(json_object_get(spec, "argv"), argv));
    check_text(spec, "cwd", "/synor/code");
    check_text(spec, "code_cid", "bcode");
    check_text(spec, "dataset_cid", "bdata");
    check_text(spec, "image_cid", "bimage");
    check_text(spec, "checkpoint_cid", "");
    check_text(spec, "isolation", "gvisor");
    check_text(spec, "desired", "running");
    check_text(json_object_get(spec, "network"), "mode", "none");
    check_text(env, "A", "b");
    check_text(env, "PATH", "/usr/local/bin:/usr/bin:/bin");
    check_text(env, "RANK", "0");
    check_text(env, "WORLD_SIZE", "1");
    check_text(env, "MASTER_ADDR", "127.0.0.1");
    check_text(env, "GLOO_SOCKET_IFNAME", NULL);
    check_text(env, "SYNOR_HYPERPARAMETERS", "/synor/config/hyperparameters.json");
    check_text(env, "SYNOR_PROGRESS", "/synor/scratch/progress.jsonl");
    check_text(env, "SYNOR_STOP_GRACE_MS", "30000");
    check_text(env, "HOME", "/synor/scratch");
}

static void
test_a_gang(void **state)
{
    const json_t *spec, *env, *network;
    SYN_JSON(doc);

    (void)state;
    doc = instance_make(",\"entry\":\"train.py\",\"workers\":3", 3, 1);
    spec = syn_document_spec(doc);
    env = json_object_get(spec, "env");
    network = json_object_get(spec, "network");
    check_text(env, "RANK", "1");
    check_text(env, "WORLD_SIZE", "3");
    check_text(env, "LOCAL_RANK", "1");
    check_text(env, "LOCAL_WORLD_SIZE", "2");
    check_text(env, "MASTER_ADDR", "10.214.0.2");
    check_text(env, "MASTER_PORT", "29500");
    check_text(env, "GLOO_SOCKET_IFNAME", "eth0");
    check_text(network, "mode", "group");
    check_text(network, "group", "abc-1-1");
    check_text(network, "address", "10.214.0.3/24");
    assert_int_equal(json_array_size(json_object_get(network, "hosts")), 3);
    check_text(json_array_get(json_object_get(network, "hosts"), 2), "name", "rank-2");
    check_text(json_array_get(json_object_get(network, "hosts"), 2), "address", "10.214.0.4");
    check_text(json_object_get(spec, "hyperparameters"), "distributed", "ddp");
}

static void
test_programs(void **state)
{
    static const struct {
        const char *more;
        const char *first;
        const char *last;
    } cases[] = {
        {",\"entry\":\"a/t.py\"", "/usr/bin/python3", "/synor/code/a/t.py"},
        {",\"entry\":\"t.py\",\"image\":\"synor://i\"", "python3", "/synor/code/t.py"},
        {",\"entry\":\"t.py\",\"framework\":\"custom\"", "/usr/bin/python3", "/synor/code/t.py"},
        {",\"entry\":\"run.sh\",\"framework\":\"custom\"", "/bin/sh", "/synor/code/run.sh"},
        {",\"entry\":\"bin/train\"", "/synor/code/bin/train", "/synor/code/bin/train"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        const json_t *argv;
        SYN_JSON(doc);

        doc = instance_make(cases[i].more, 1, 0);
        argv = json_object_get(syn_document_spec(doc), "argv");
        assert_string_equal(json_string_value(json_array_get(argv, 0)), cases[i].first);
        /* An image brings its own search path. */
        assert_true((syn_json_at(syn_document_spec(doc), "env.PATH") == NULL) ==
                    (strstr(cases[i].more, "synor://i") != NULL));
        assert_string_equal(json_string_value(json_array_get(argv, json_array_size(argv) - 1)),
                            cases[i].last);
    }
}

static void
test_named_options_win_over_hyperparameters(void **state)
{
    const json_t *values;
    SYN_JSON(doc);

    (void)state;
    doc = instance_make(",\"entry\":\"t.py\",\"epochs\":7,\"learning_rate\":0.5,"
                        "\"checkpoint_interval\":9,\"hyperparameters\":{\"epochs\":1,\"seed\":4}",
                        1, 0);
    values = json_object_get(syn_document_spec(doc), "hyperparameters");
    assert_int_equal(syn_json_i64(values, "epochs", 0), 7);
    assert_int_equal(syn_json_i64(values, "seed", 0), 4);
    assert_int_equal(syn_json_i64(values, "checkpoint_interval", 0), 9);
    assert_true(json_real_value(json_object_get(values, "learning_rate")) > 0.49);
    assert_null(json_object_get(values, "distributed"));
    assert_null(json_object_get(values, "batch_size"));
}

static void
test_time_that_is_left(void **state)
{
    struct syn_placement placement = placement_make(1);
    struct syn_err err;
    SYN_JSON(job);
    SYN_JSON(doc);

    (void)state;
    job = job_make(",\"entry\":\"t.py\",\"time_limit_ms\":10000");
    assert_done(syn_document_set_time(syn_document_status(job), "started_at", NOW_MS - 4000, &err),
                &err);
    assert_done(syn_training_instance_make(job, &placement, 0, NOW_MS, NULL, &doc, &err), &err);
    assert_int_equal(syn_json_i64(syn_document_spec(doc), "time_limit_ms", 0), 6000);
}

static void
test_the_lease_is_kept_as_it_is(void **state)
{
    struct syn_placement placement = placement_make(1);
    struct syn_err err;
    SYN_JSON(job);
    SYN_JSON(lease);
    SYN_JSON(with);
    SYN_JSON(without);

    (void)state;
    job = job_make(",\"entry\":\"train.py\"");
    lease = json_pack("{s:s, s:{}}", "provider", "p", "price");
    assert_done(syn_training_instance_make(job, &placement, 0, NOW_MS, lease, &with, &err), &err);
    assert_true(json_equal(json_object_get(syn_document_spec(with), "lease"), lease));
    assert_done(syn_training_instance_make(job, &placement, 0, NOW_MS, NULL, &without, &err), &err);
    assert_null(json_object_get(syn_document_spec(without), "lease"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_lease_is_kept_as_it_is),
        cmocka_unit_test(test_one_worker),
        cmocka_unit_test(test_a_gang),
        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_named_options_win_over_hyperparameters),
        cmocka_unit_test(test_time_that_is_left),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
