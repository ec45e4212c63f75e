#include <synor/workload/training_spec.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/orchestration/fleet.h>

#define BASE "\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\""

static json_t *
parse(const char *text)
{
    struct syn_err err;
    json_t *value;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static void
test_defaults(void **state)
{
    struct syn_training_spec read;
    struct syn_err err;
    SYN_JSON(spec);

    (void)state;
    spec = parse("{" BASE
                 ",\"memory_bytes\":\"4gb\",\"cpu_millicores\":\"2\",\"stop_grace_ms\":\"10s\"}");
    assert_done(syn_training_spec_check(spec, &err), &err);
    syn_training_spec_read(spec, &read);
    assert_string_equal(read.framework, "pytorch");
    assert_string_equal(read.image, "host");
    assert_string_equal(read.distributed, "none");
    assert_int_equal(read.amounts.cpu_millicores, 2000);
    assert_int_equal(read.amounts.memory_bytes, INT64_C(4) << 30);
    assert_int_equal(read.amounts.scratch_bytes, INT64_C(4) << 30);
    assert_int_equal(read.stop_grace_ms, 10000);
    assert_int_equal(read.max_budget, 10 * SYN_SYNOR);
    assert_int_equal(read.priority, 500);
    assert_int_equal(read.workers, 1);
    assert_false(syn_training_place_request(&read, "acct-1").one_node);
    assert_int_equal(read.max_price, 0);
    assert_int_equal(syn_training_place_request(&read, "acct-1").price_max, 0);
    assert_int_equal(read.policy, syn_fleet_policy_find("balanced"));
}

static void
test_where_it_may_go(void **state)
{
    static const char *const bad[] = {
        "\"labels\":[\"a b\"]",
        "\"labels\":[\"\"]",
        "\"labels\":[1]",
        "\"gpu_capability\":\"8.0\"",
        "\"gpus\":1,\"gpu_capability\":\"8\"",
        "\"gpus\":1,\"gpu_capability\":\"new\"",
        "\"bandwidth_bps\":-1",
        "\"latency_max_ms\":5",
        "\"policy\":\"latency\"",
        "\"group\":\"A B\"",
        "\"spread\":\"zone\"",
        "\"spread\":\"street\",\"group\":\"g\"",
        "\"affinity\":{}",
        "\"affinity\":{\"group\":\"g\",\"domain\":\"street\"}",
        "\"anti_affinity\":{\"group\":\"\"}",
    };
    struct syn_training_spec read;
    struct syn_place_request request;
    struct syn_err err;
    SYN_JSON(spec);

    (void)state;
    spec = parse("{" BASE ",\"labels\":[\"disk=ssd\",\"tier\"],\"gpus\":1,"
                 "\"gpu_capability\":\"8.6\",\"bandwidth_bps\":1000,\"latency_to\":\"eu\","
                 "\"latency_max_ms\":20,\"group\":\"g\",\"affinity\":{\"group\":\"h\"},"
                 "\"anti_affinity\":{\"group\":\"g\",\"domain\":\"rack\"},"
                 "\"spread\":\"zone\"}");
    assert_done(syn_training_spec_check(spec, &err), &err);
    syn_training_spec_read(spec, &read);
    request = syn_training_place_request(&read, "acct-1");
    assert_string_equal(request.labels[0], "disk=ssd");
    assert_string_equal(request.labels[1], "tier");
    assert_null(request.labels[2]);
    assert_int_equal(request.capability, 86);
    assert_int_equal(request.bandwidth_bps, 1000);
    assert_string_equal(request.near, "eu");
    assert_int_equal(request.rtt_max_us, 20000);
    assert_string_equal(request.account, "acct-1");
    assert_string_equal(request.group, "g");
    assert_string_equal(request.with.group, "h");
    assert_int_equal(request.with.scope, SYN_FLEET_NODE);
    assert_string_equal(request.apart.group, "g");
    assert_int_equal(request.apart.scope, SYN_FLEET_RACK);
    assert_int_equal(request.even, 1);
    assert_int_equal(request.even_scope, SYN_FLEET_ZONE);
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        char text[256];
        SYN_JSON(one);

        (void)snprintf(text, sizeof(text), "{" BASE ",%s}", bad[i]);
        one = parse(text);
        if (syn_training_spec_check(one, &err) != SYN_E_INVALID)
            fail_msg("%s is taken", bad[i]);
    }
}

static void
test_price_and_policy(void **state)
{
    static const char *const bad[] = {"\"max_price\":\"0\"", "\"max_price\":\"-1\"",
                                      "\"max_price\":1",     "\"max_price\":\"4000000001\"",
                                      "\"policy\":\"whim\"", "\"policy\":\"\""};
    struct syn_training_spec read;
    struct syn_err err;
    SYN_JSON(spec);

    (void)state;
    spec = parse("{" BASE ",\"max_price\":\"0.50\",\"policy\":\"spread\"}");
    assert_done(syn_training_spec_check(spec, &err), &err);
    assert_string_equal(syn_json_str(spec, "max_price", ""), "0.5");
    syn_training_spec_read(spec, &read);
    assert_int_equal(read.max_price, SYN_SYNOR / 2);
    assert_int_equal(read.policy, syn_fleet_policy_find("spread"));
    assert_int_equal(syn_training_place_request(&read, "acct-1").price_max, SYN_SYNOR / 2);
    /* The schema's words are the placement core's. */
    for (unsigned policy = 0; policy < SYN_FLEET_POLICIES; policy++) {
        char text[256];
        SYN_JSON(one);

        (void)snprintf(text, sizeof(text), "{" BASE ",\"policy\":\"%s\",\"latency_to\":\"eu\"}",
                       syn_fleet_policy_name((enum syn_fleet_policy)policy));
        one = parse(text);
        assert_done(syn_training_spec_check(one, &err), &err);
        syn_training_spec_read(one, &read);
        assert_int_equal(read.policy, policy);
    }
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        char text[256];
        SYN_JSON(one);

        (void)snprintf(text, sizeof(text), "{" BASE ",%s}", bad[i]);
        one = parse(text);
        assert_code(syn_training_spec_check(one, &err), SYN_E_INVALID, &err);
    }
}

static void
test_a_checked_spec_passes_unchanged(void **state)
{
    struct syn_training_spec read;
    struct syn_err err;
    SYN_JSON(spec);
    SYN_JSON(copy);

    (void)state;
    spec = parse("{" BASE ",\"workers\":3,\"gpus\":1,\"gpu_model\":\"h100\",\"learning_rate\":0.01,"
                 "\"hyperparameters\":{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":0.5,\"e\":null},"
                 "\"env\":{\"A_1\":\"b\"},\"args\":[\"--fast\"]}");
    assert_done(syn_training_spec_check(spec, &err), &err);
    copy = json_deep_copy(spec);
    assert_done(syn_training_spec_check(spec, &err), &err);
    assert_true(json_equal(spec, copy));
    syn_training_spec_read(spec, &read);
    assert_string_equal(read.distributed, "ddp");
    assert_int_equal(read.gpus_max, 1);
    assert_true(syn_training_place_request(&read, "acct-1").one_node);
}

static void
test_a_part_of_a_gpu(void **state)
{
    struct syn_training_spec read;
    struct syn_place_request request;
    struct syn_err err;
    SYN_JSON(share);
    SYN_JSON(mig);

    (void)state;
    share = parse("{" BASE ",\"gpu_share\":0.25,\"gpu_memory_bytes\":\"10gb\"}");
    assert_done(syn_training_spec_check(share, &err), &err);
    syn_training_spec_read(share, &read);
    request = syn_training_place_request(&read, "acct-1");
    assert_int_equal(request.gpus, 1);
    assert_int_equal(request.gpus_max, 1);
    assert_int_equal(request.gpu_share, 250);
    assert_int_equal(request.gpu_share_bytes, INT64_C(10) << 30);
    assert_done(syn_training_spec_check(share, &err), &err); /* once more */
    mig = parse("{" BASE ",\"gpu_mig\":\"1g.10gb\",\"gpu_model\":\"h100\"}");
    assert_done(syn_training_spec_check(mig, &err), &err);
    syn_training_spec_read(mig, &read);
    request = syn_training_place_request(&read, "acct-1");
    assert_string_equal(request.mig, "1g.10gb");
    assert_int_equal(request.gpus, 1);
    assert_int_equal(request.gpu_share, 0);
}

static void
test_bad_specs_are_named(void **state)
{
    static const struct {
        const char *spec;
        const char *says;
    } cases[] = {
        {"{}", "spec.source"},
        {"{" BASE ",\"epoch\":1}", "epochs"},
        {"{" BASE ",\"workers\":65}", "spec.workers"},
        {"{" BASE ",\"workers\":2,\"distributed\":\"none\"}", "spec.distributed"},
        {"{" BASE ",\"gpus\":2,\"gpus_max\":1}", "spec.gpus_max"},
        {"{" BASE ",\"gpu_model\":\"h100\"}", "spec.gpu_model"},
        {"{" BASE ",\"vram_min_bytes\":1}", "spec.vram_min_bytes"},
        {"{" BASE ",\"learning_rate\":0}", "spec.learning_rate"},
        {"{" BASE ",\"gpu_share\":0}", "spec.gpu_share"},
        {"{" BASE ",\"gpu_share\":0.0001}", "spec.gpu_share"},
        {"{" BASE ",\"gpu_share\":2}", "spec.gpu_share"},
        {"{" BASE ",\"gpu_memory_bytes\":\"1gb\"}", "spec.gpu_memory_bytes"},
        {"{" BASE ",\"gpu_mig\":\"half\"}", "spec.gpu_mig"},
        {"{" BASE ",\"gpu_mig\":\"1g.10gb\",\"gpu_share\":0.5}", "spec.gpu_mig"},
        {"{" BASE ",\"gpu_share\":0.5,\"gpus\":2}", "spec.gpus"},
        {"{" BASE ",\"gpu_share\":0.5,\"gpus_max\":2}", "spec.gpus"},
        {"{" BASE ",\"gpu_share\":0.5,\"workers\":2}", "spec.workers"},
        {"{" BASE ",\"gpu_share\":0.5,\"reserved\":\"gpu/h100/eu/hour\"}", "spec.reserved"},
        {"{" BASE ",\"hyperparameters\":{\"a\":{}}}", "spec.hyperparameters.a"},
        {"{" BASE ",\"hyperparameters\":{\"a\":[1]}}", "spec.hyperparameters.a"},
        {"{" BASE ",\"hyperparameters\":{\"\":1}}", "spec.hyperparameters"},
        {"{" BASE ",\"env\":{\"1A\":\"x\"}}", "spec.env: \"1A\""},
        {"{" BASE ",\"env\":{\"A-B\":\"x\"}}", "spec.env: \"A-B\""},
        {"{" BASE ",\"env\":{\"RANK\":\"0\"}}", "spec.env: RANK"},
        {"{" BASE ",\"env\":{\"PATH\":\"/\"}}", "spec.env: PATH"},
        {"{" BASE ",\"env\":{\"SYNOR_X\":\"0\"}}", "spec.env: SYNOR_X"},
        {"{" BASE ",\"dataset\":\"/data\"}", "spec.dataset"},
        {"{" BASE ",\"dataset\":\"synor://\"}", "spec.dataset"},
        {"{" BASE ",\"image\":\"ubuntu:\"}", "spec: image"},
        {"{" BASE ",\"framework\":\"caffe\"}", "spec.framework"},
        {"{" BASE ",\"mixed_precision\":\"fp8\"}", "spec.mixed_precision"},
        {"{" BASE ",\"isolation\":\"vm\"}", "spec.isolation"},
        {"{\"source\":\"synor://c\",\"entry\":\"a\",\"max_budget\":\"0\"}", "spec.max_budget"},
        {"{\"source\":\"synor://c\",\"entry\":\"../a\",\"max_budget\":\"1\"}", "spec.entry"},
        {"{\"source\":\"synor://c\",\"entry\":\"a//b\",\"max_budget\":\"1\"}", "spec.entry"},
        {"{\"source\":\"synor://c\",\"entry\":\"a/./b\",\"max_budget\":\"1\"}", "spec.entry"},
        {"{\"source\":\"synor://c\",\"entry\":\"/a\",\"max_budget\":\"1\"}", "spec.entry"},
        {"{\"source\":\"\",\"entry\":\"a\",\"max_budget\":\"1\"}", "spec.entry"},
        {"{\"source\":\"code\",\"entry\":\"a\",\"max_budget\":\"1\"}", "spec.source"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};
        SYN_JSON(spec);

        spec = parse(cases[i].spec);
        assert_code(syn_training_spec_check(spec, &err), SYN_E_INVALID, &err);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].spec, err.msg, cases[i].says);
    }
}

static void
test_long_arguments(void **state)
{
    struct syn_err err = {0};
    SYN_JSON(spec);
    char *arg = syn_calloc(1, SYN_TRAINING_ARG_BYTES_MAX + 2);

    (void)state;
    assert_non_null(arg);
    memset(arg, 'a', SYN_TRAINING_ARG_BYTES_MAX + 1);
    spec = parse("{" BASE ",\"args\":[]}");
    json_array_append_new(json_object_get(spec, "args"), json_string(arg));
    assert_code(syn_training_spec_check(spec, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "spec.args[0]"));
    syn_free(arg);
}

static void
test_the_model_file_lies_under_the_spec(void **state)
{
    struct syn_err err;
    const char *name = NULL;
    SYN_JSON(model);
    SYN_JSON(spec);

    (void)state;
    model = parse("{\"name\":\"cnn\",\"source\":\".\",\"entry\":\"train.py\",\"args\":[\"-v\"],"
                  "\"hyperparameters\":{\"epochs\":5,\"seed\":1},\"exclude\":[\"*.pyc\"]}");
    spec = parse("{\"source\":\"synor://c\",\"entry\":\"other.py\",\"max_budget\":\"1\","
                 "\"hyperparameters\":{\"seed\":2}}");
    assert_done(syn_training_model_merge(model, spec, &name, &err), &err);
    assert_string_equal(name, "cnn");
    assert_string_equal(syn_json_str(spec, "entry", ""), "other.py");
    assert_int_equal(json_array_size(json_object_get(spec, "args")), 1);
    assert_int_equal(syn_json_i64(syn_json_at(spec, "hyperparameters"), "seed", 0), 2);
    assert_int_equal(syn_json_i64(syn_json_at(spec, "hyperparameters"), "epochs", 0), 5);
    assert_done(syn_training_spec_check(spec, &err), &err);
    json_decref(model);
    model = parse("{\"entri\":\"train.py\"}");
    assert_code(syn_training_model_merge(model, spec, NULL, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "entry"));
}

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(spec);

    spec = json_deep_copy(arg);
    if (!spec)
        return SYN_FAIL(err, SYN_E_NOMEM, "copying: out of memory");
    return syn_training_spec_check(spec, err);
}

static void
test_shortage_of_memory(void **state)
{
    SYN_JSON(spec);

    (void)state;
    spec = parse("{" BASE ",\"workers\":2,\"memory_bytes\":\"4gb\"}");
    assert_true(syn_test_sweep_alloc(scenario, spec) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_where_it_may_go),
        cmocka_unit_test(test_price_and_policy),
        cmocka_unit_test(test_a_checked_spec_passes_unchanged),
        cmocka_unit_test(test_a_part_of_a_gpu),
        cmocka_unit_test(test_bad_specs_are_named),
        cmocka_unit_test(test_long_arguments),
        cmocka_unit_test(test_the_model_file_lies_under_the_spec),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
