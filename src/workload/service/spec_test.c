#include <synor/workload/service_spec.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>

#define BASE              "\"image\":\"synor://images/web\""
#define MOUNT(kind, path) ",\"mounts\":[{\"kind\":\"" kind "\",\"path\":\"" path "\"}]"

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
    struct syn_service_spec read;
    struct syn_err err;
    SYN_JSON(spec);
    SYN_JSON(again);

    (void)state;
    spec = parse("{" BASE "}");
    assert_done(syn_service_spec_check(spec, &err), &err);
    syn_service_spec_read(spec, &read);
    assert_int_equal(read.replicas, 1);
    assert_int_equal(read.max_surge, 1);
    assert_int_equal(read.max_unavailable, 0);
    assert_int_equal(read.check, SYN_SERVICE_CHECK_NONE);
    assert_int_equal(read.amounts.memory_bytes, INT64_C(512) << 20);
    assert_int_equal(read.policy, syn_fleet_policy_find("spread"));
    assert_int_equal(syn_service_place_request(&read).count, 1);
    again = json_deep_copy(spec);
    assert_done(syn_service_spec_check(again, &err), &err);
    assert_true(json_equal(spec, again));
}

static void
test_the_check_follows_from_what_is_given(void **state)
{
    static const struct {
        const char *text;
        enum syn_service_check check;
        int64_t port;
    } rows[] = {
        {"{" BASE ",\"port\":80}", SYN_SERVICE_CHECK_TCP, 80},
        {"{" BASE ",\"port\":80,\"health\":{\"path\":\"/up\"}}", SYN_SERVICE_CHECK_HTTP, 80},
        {"{" BASE ",\"port\":80,\"health\":{\"path\":\"/up\",\"port\":81}}", SYN_SERVICE_CHECK_HTTP,
         81},
        {"{" BASE ",\"port\":80,\"health\":{\"kind\":\"none\"}}", SYN_SERVICE_CHECK_NONE, 80},
        {"{" BASE ",\"health\":{\"command\":[\"a\"]}}", SYN_SERVICE_CHECK_EXEC, 0},
        {"{" BASE ",\"port\":80,\"liveness\":{\"path\":\"/up\"}}", SYN_SERVICE_CHECK_TCP, 80},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_service_spec read;
        struct syn_err err;
        SYN_JSON(spec);

        spec = parse(rows[i].text);
        assert_done(syn_service_spec_check(spec, &err), &err);
        syn_service_spec_read(spec, &read);
        assert_int_equal(read.check, rows[i].check);
        assert_int_equal(read.check_port, rows[i].port);
    }
}

static void
test_the_protocol_follows_from_what_is_given(void **state)
{
    static const struct {
        const char *text;
        enum syn_service_protocol protocol;
    } rows[] = {
        {"{" BASE ",\"port\":80}", SYN_SERVICE_TCP},
        {"{" BASE ",\"port\":80,\"health\":{\"path\":\"/up\"}}", SYN_SERVICE_HTTP},
        {"{" BASE ",\"port\":80,\"lb\":{\"host\":\"*.a-1.example\"}}", SYN_SERVICE_HTTP},
        {"{" BASE ",\"port\":80,\"lb\":{\"sticky\":true}}", SYN_SERVICE_HTTP},
        {"{" BASE ",\"port\":80,\"lb\":{\"protocol\":\"grpc\"}}", SYN_SERVICE_GRPC},
        {"{" BASE ",\"port\":80,\"health\":{\"kind\":\"grpc\"}}", SYN_SERVICE_GRPC},
        {"{" BASE ",\"port\":80,\"health\":{\"kind\":\"grpc\",\"port\":81}}", SYN_SERVICE_TCP},
        {"{" BASE ",\"port\":80,\"health\":{\"path\":\"/\"},\"lb\":{\"protocol\":\"tcp\"}}",
         SYN_SERVICE_TCP},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_service_spec read;
        struct syn_err err;
        SYN_JSON(spec);

        spec = parse(rows[i].text);
        assert_done(syn_service_spec_check(spec, &err), &err);
        syn_service_spec_read(spec, &read);
        if (read.lb.protocol != rows[i].protocol)
            fail_msg("%s: %s", rows[i].text, syn_service_protocol_name(read.lb.protocol));
        assert_true(read.lb.publish);
    }
}

#define SCRAPED(min, metric, scrape)                                                     \
    ",\"autoscale\":{\"min\":" min ",\"max\":2,\"metrics\":[{\"metric\":\"" metric "\"," \
    "\"target\":\"1\",\"scrape\":{" scrape "}}]}"

static const struct {
    const char *text, *says;
} refused[] = {
    {"{}", "spec.image"},
    {"{\"image\":\"docker://busybox\"}", "HOST/PATH:TAG"},
    {"{\"image\":\"Busybox:latest\"}", "spec: image"},
    {"{\"image\":\"synor://\"}", "synor://"},
    {"{" BASE ",\"replica\":1}", "replicas"},
    {"{" BASE ",\"replicas\":65}", "spec.replicas"},
    {"{" BASE ",\"replicas\":-1}", "spec.replicas"},
    {"{" BASE ",\"port\":70000}", "spec.port"},
    {"{" BASE ",\"max_surge\":0}", "max_unavailable"},
    {"{" BASE ",\"health\":{\"path\":\"/x\"}}", "no port"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"x\"}}", "spec.health.path"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"/x y\"}}", "spec.health.path"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"/x\\r\\nHost: y\"}}", "spec.health.path"},
    {"{" BASE ",\"port\":1,\"health\":{\"kind\":\"tcp\",\"path\":\"/x\"}}", "http"},
    {"{" BASE ",\"health\":{\"kind\":\"grpc\"}}", "no port"},
    {"{" BASE ",\"port\":1,\"liveness\":{\"kind\":\"tcp\",\"service\":\"a\"}}",
     "spec.liveness.service"},
    {"{" BASE ",\"port\":1,\"health\":{\"kind\":\"grpc\",\"service\":\"a b\"}}",
     "spec.health.service"},
    {"{" BASE ",\"pre_stop\":{\"kind\":\"grpc\"}}", "spec.pre_stop.kind"},
    {"{" BASE ",\"restart\":\"sometimes\"}", "always|on-failure|never"},
    {"{" BASE ",\"restart\":\"never\",\"autoscale\":{\"min\":1,\"max\":2}}", "spec.restart"},
    {"{" BASE ",\"env\":{\"A B\":\"1\"}}", "spec.env"},
    {"{" BASE ",\"env\":{\"PORT\":\"1\"}}", "PORT"},
    {"{" BASE ",\"env\":{\"SYNOR_X\":\"1\"}}", "SYNOR_X"},
    {"{" BASE ",\"command\":[\"\"]}", "spec.command"},
    {"{" BASE ",\"command\":[1]}", "spec.command"},
    {"{" BASE ",\"max_price\":\"0\"}", "spec.max_price"},
    {"{" BASE ",\"max_budget\":\"0\"}", "spec.max_budget"},
    {"{" BASE ",\"billing_period_ms\":999}", "spec.billing_period_ms"},
    {"{" BASE ",\"secrets\":{\"A\":\"No Name\"}}", "spec.secrets.A"},
    {"{" BASE ",\"secrets\":{\"A\":\"s\"},\"env\":{\"A\":\"b\"}}", "spec.secrets.A"},
    {"{" BASE ",\"lb\":{\"tls\":true}}", "no port"},
    {"{" BASE ",\"port\":1,\"lb\":{\"publish\":false,\"tls\":true}}", "spec.lb.publish"},
    {"{" BASE ",\"port\":1,\"lb\":{\"protocol\":\"tcp\",\"sticky\":true}}", "cookie"},
    {"{" BASE ",\"port\":1,\"lb\":{\"protocol\":\"tcp\",\"host\":\"a\"}}", "host"},
    {"{" BASE ",\"port\":1,\"lb\":{\"protocol\":\"udp\"}}", "spec.lb.protocol"},
    {"{" BASE ",\"port\":1,\"lb\":{\"algorithm\":\"luck\"}}", "spec.lb.algorithm"},
    {"{" BASE ",\"port\":1,\"lb\":{\"host\":\"A.example\"}}", "spec.lb.host"},
    {"{" BASE ",\"port\":1,\"lb\":{\"host\":\"a..example\"}}", "spec.lb.host"},
    {"{" BASE ",\"port\":1,\"lb\":{\"host\":\"*.\"}}", "spec.lb.host"},
    {"{" BASE ",\"port\":1,\"lb\":{\"host\":\"a b\"}}", "spec.lb.host"},
    {"{" BASE ",\"port\":1,\"lb\":{\"path\":\"api\"}}", "spec.lb.path"},
    {"{" BASE ",\"port\":1,\"lb\":{\"path\":\"/a//b\"}}", "spec.lb.path"},
    {"{" BASE ",\"port\":1,\"lb\":{\"redirect_http\":true,\"host\":\"a\"}}", "tls"},
    {"{" BASE ",\"port\":1,\"lb\":{\"redirect_http\":true,\"tls\":true}}", "host"},
    {"{" BASE ",\"liveness\":{\"path\":\"/x\"}}", "spec.liveness: there is no port"},
    {"{" BASE ",\"startup\":{\"kind\":\"exec\"}}", "spec.startup.command"},
    {"{" BASE ",\"health\":{\"command\":[\"\"]}}", "spec.health.command"},
    {"{" BASE ",\"port\":1,\"health\":{\"kind\":\"tcp\",\"command\":[\"a\"]}}", "by exec"},
    {"{" BASE ",\"port\":1,\"health\":{\"kind\":\"tcp\",\"host\":\"a\"}}", "by http has a host"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"/\",\"host\":\"a b\"}}", "spec.health.host"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"/\",\"headers\":{\"Host\":\"a\"}}}",
     "said by host"},
    {"{" BASE ",\"port\":1,\"health\":{\"path\":\"/\",\"headers\":{\"A\":\"a\\r\\nB: c\"}}}",
     "spec.health.headers"},
    {"{" BASE ",\"liveness\":{\"healthy\":2}}", "healthy"},
    {"{" BASE ",\"user\":\"0\"}", "spec.user"},
    {"{" BASE ",\"user\":\"1000:0\"}", "nothing runs as root"},
    {"{" BASE ",\"user\":\"postgres\"}", "numbers of 1 to"},
    {"{" BASE ",\"user\":\"65536\"}", "spec.user"},
    {"{" BASE ",\"workdir\":\"app\"}", "spec.workdir"},
    {"{" BASE ",\"workdir\":\"/a/../b\"}", "spec.workdir"},
    {"{" BASE ",\"hostname\":\"a.b\"}", "spec.hostname"},
    {"{" BASE ",\"stop_signal\":\"SIGKILL\"}", "spec.stop_signal"},
    {"{" BASE MOUNT("tmpfs", "data") "}", "spec.mounts: \"data\""},
    {"{" BASE MOUNT("tmpfs", "/a//b") "}", "/a//b"},
    {"{" BASE MOUNT("tmpfs", "/a/../b") "}", "/a/../b"},
    {"{" BASE MOUNT("tmpfs", "/a\\n") "}", "expected an absolute path"},
    {"{" BASE MOUNT("tmpfs", "/proc/x") "}", "the platform's own"},
    {"{" BASE MOUNT("tmpfs", "/synor") "}", "the platform's own"},
    {"{" BASE MOUNT("tmpfs", "/etc/hosts") "}", "the platform's own"},
    {"{" BASE MOUNT("secret", "/tmp") "}", "the platform's own"},
    {"{" BASE MOUNT("secret", "/run/x") "}", "no name of a secret"},
    {"{" BASE MOUNT("content", "/x\",\"source\":\"models") "}", "expected synor://NAME"},
    {"{" BASE MOUNT("volume", "/x\",\"source\":\"No") "}", "no name of a volume"},
    {"{" BASE MOUNT("volume", "/tmp\",\"source\":\"data") "}", "platform's own"},
    {"{" BASE MOUNT("nfs", "/run/x") "}", "spec.mounts[0].kind"},
    {"{" BASE MOUNT("tmpfs", "/x\",\"source\":\"y") "}", "begins empty"},
    {"{" BASE MOUNT("tmpfs", "/x\",\"size_bytes\":\"2gb") "}", "of the replica's memory"},
    {"{" BASE MOUNT("secret", "/x\",\"source\":\"y\",\"size_bytes\":\"2gb") "}", "no size_bytes"},
    {"{" BASE ",\"mounts\":[{\"kind\":\"tmpfs\",\"path\":\"/a\"},{\"kind\":\"tmpfs\","
     "\"path\":\"/a\"}]}",
     "there are two"},
    {"{" BASE ",\"port\":1,\"lb\":{\"certificate\":\"a\"}}", "spec.lb.certificate"},
    {"{" BASE ",\"lb\":{\"hold_ms\":\"11m\"}}", "spec.lb.hold_ms"},
    {"{" BASE ",\"lb\":{\"errors_max\":1001}}", "spec.lb.errors_max"},
    {"{" BASE ",\"policy\":\"whim\"}", "spec.policy"},
    {"{" BASE ",\"memory_bytes\":\"1kb\"}", "spec.memory_bytes"},
    {"{" BASE ",\"autoscale\":{\"max\":2}}", "spec.autoscale.min"},
    {"{" BASE ",\"autoscale\":{\"min\":3,\"max\":2}}", "spec.autoscale: 3 to 2"},
    {"{" BASE ",\"autoscale\":{\"min\":0,\"max\":2}}", "a metric of demand"},
    {"{" BASE ",\"autoscale\":{\"min\":1,\"max\":65}}", "spec.autoscale.max"},
    {"{" BASE ",\"autoscale\":{\"min\":1,\"max\":2,\"metrics\":[{\"metric\":\"cpus\","
     "\"target\":\"1\"}]}}",
     "spec.autoscale.metrics[0]"},
    {"{" BASE ",\"autoscale\":{\"min\":1,\"max\":2,\"metrics\":[],\"schedule\":[]}}",
     "neither a metric nor a schedule"},
    {"{" BASE ",\"autoscale\":{\"min\":1,\"max\":2,\"schedule\":[{\"cron\":\"0 0 30 2 *\","
     "\"for_ms\":\"1h\"}]}}",
     "schedule[0]: schedule: no month"},
    {"{" BASE ",\"autoscale\":{\"min\":1,\"max\":2,\"schedule\":[{\"cron\":\"0 0 * * *\","
     "\"zone\":\"../x\",\"for_ms\":\"1h\"}]}}",
     "no name of a time zone"},
    {"{" BASE SCRAPED("1", "cpu", "\"series\":\"a\"") "}", "cpu is not scraped"},
    {"{" BASE SCRAPED("1", "custom:a", "\"port\":1") "}", "scrape.series"},
    {"{" BASE SCRAPED("1", "custom:a", "\"series\":\"a b\"") "}", "expected NAME or NAME{"},
    {"{" BASE SCRAPED("1", "custom:a", "\"series\":\"a\",\"path\":\"metrics\"") "}",
     "scrape.path: expected /PATH"},
    {"{" BASE SCRAPED("1", "custom:a", "\"series\":\"a\",\"port\":65536") "}", "scrape.port"},
    {"{" BASE SCRAPED("0", "custom:a", "\"series\":\"a\"") "}", "told while none runs"},
};

static void
test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        struct syn_err err = {0};
        SYN_JSON(spec);

        spec = parse(refused[i].text);
        assert_code(syn_service_spec_check(spec, &err), SYN_E_INVALID, &err);
        if (!strstr(err.msg, refused[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", refused[i].text, err.msg, refused[i].says);
    }
}

/* Whatever order they are given in; all secrets are found, of the environment and of files. */
static void
test_mounts_have_an_order(void **state)
{
    struct syn_err err;
    SYN_JSON(one);
    SYN_JSON(other);
    SYN_JSON(secrets);
    SYN_JSON(expected);

    (void)state;
    one = parse("{" BASE ",\"memory_bytes\":\"32mb\",\"secrets\":{\"A\":\"a\"},\"mounts\":["
                "{\"path\":\"/run/s\",\"kind\":\"secret\",\"source\":\"b\"},"
                "{\"path\":\"/run\",\"kind\":\"tmpfs\"}]}");
    other = parse("{" BASE ",\"memory_bytes\":\"32mb\",\"secrets\":{\"A\":\"a\"},\"mounts\":["
                  "{\"path\":\"/run\",\"kind\":\"tmpfs\",\"size_bytes\":\"32mb\"},"
                  "{\"path\":\"/run/s\",\"kind\":\"secret\",\"source\":\"b\"}]}");
    assert_done(syn_service_spec_check(one, &err), &err);
    assert_done(syn_service_spec_check(other, &err), &err);
    assert_true(syn_service_spec_same(one, other));
    assert_true(json_equal(one, other));
    assert_done(syn_service_secrets(one, &secrets, &err), &err);
    expected = parse("{\"A\":\"a\",\"/run/s\":\"b\"}");
    assert_true(json_equal(secrets, expected));
}

static void
test_scale_and_money_make_no_version(void **state)
{
    struct syn_err err;
    SYN_JSON(one);
    SYN_JSON(scaled);
    SYN_JSON(other);

    (void)state;
    one = parse("{" BASE "}");
    scaled = parse("{" BASE ",\"replicas\":9,\"max_budget\":\"3\",\"priority\":1,"
                   "\"lb\":{\"algorithm\":\"random\"}}");
    other = parse("{" BASE ",\"env\":{\"A\":\"1\"}}");
    assert_done(syn_service_spec_check(one, &err), &err);
    assert_done(syn_service_spec_check(scaled, &err), &err);
    assert_done(syn_service_spec_check(other, &err), &err);
    assert_true(syn_service_spec_same(one, scaled));
    assert_false(syn_service_spec_same(one, other));
    assert_done(syn_service_spec_adopt(scaled, other, &err), &err);
    assert_true(syn_service_spec_same(scaled, other));
    assert_int_equal(syn_json_i64(scaled, "replicas", 0), 9);
    assert_string_equal(syn_json_str(scaled, "max_budget", ""), "3");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_check_follows_from_what_is_given),
        cmocka_unit_test(test_the_protocol_follows_from_what_is_given),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_mounts_have_an_order),
        cmocka_unit_test(test_scale_and_money_make_no_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
