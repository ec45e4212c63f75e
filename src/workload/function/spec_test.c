#include <synor/workload/function_spec.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>

#define PYTHON "\"runtime\":\"python3\",\"code\":\"synor://code\""
#define WASM   "\"runtime\":\"wasm\",\"code\":\"synor://code\""

static json_t *
parse(const char *text)
{
    struct syn_err err;
    json_t *value;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static void
test_defaults_and_again_unchanged(void **state)
{
    struct syn_function_spec read;
    struct syn_err err;
    SYN_JSON(spec);
    SYN_JSON(again);

    (void)state;
    spec = parse("{" PYTHON ",\"memory_bytes\":\"1gb\",\"triggers\":["
                 "{\"type\":\"http\",\"path\":\"/api/{id}\",\"cors\":{}},"
                 "{\"type\":\"schedule\",\"cron\":\"0 4 * * *\"},"
                 "{\"type\":\"queue\",\"queue\":\"mail\"},"
                 "{\"type\":\"storage\",\"prefix\":\"\"},"
                 "{\"type\":\"storage\",\"prefix\":\"a/\",\"events\":[\"put\"]},"
                 "{\"type\":\"ledger\"}],\"destinations\":{\"failure\":\"queue:lost\"}}");
    assert_done(syn_function_spec_check(spec, NULL, &err), &err);
    syn_function_spec_read(spec, &read);
    assert_string_equal(read.handler, "main.handler");
    assert_int_equal(read.language.runtime, SYN_FUNCTION_PYTHON);
    assert_int_equal(read.cpu_millicores, 500); /* a core for 2 GiB */
    assert_int_equal(read.timeout_ms, 30000);
    assert_int_equal(read.concurrency, 1);
    assert_string_equal(syn_json_str(json_array_get(read.triggers, 1), "zone", ""), "UTC");
    assert_string_equal(syn_json_str(json_array_get(read.triggers, 1), "missed", ""), "once");
    assert_int_equal(syn_json_i64(json_array_get(read.triggers, 2), "batch", 0), 1);
    for (size_t i = 3; i < 6; i++) {
        static const size_t events[] = {2, 1, 5};

        assert_int_equal(
            json_array_size(json_object_get(json_array_get(read.triggers, i), "events")),
            events[i - 3]);
    }
    again = json_deep_copy(spec);
    assert_done(syn_function_spec_check(again, NULL, &err), &err);
    assert_true(json_equal(spec, again));
}

static void
test_runtimes(void **state)
{
    static const struct {
        const char *name;
        enum syn_function_runtime runtime;
        unsigned major, minor;
    } rows[] = {
        {"wasm", SYN_FUNCTION_WASM, 0, 0},    {"python311", SYN_FUNCTION_PYTHON, 3, 11},
        {"node20", SYN_FUNCTION_NODE, 20, 0}, {"node", SYN_FUNCTION_NODE, 0, 0},
        {"ruby31", SYN_FUNCTION_RUBY, 3, 1},  {"java21", SYN_FUNCTION_JAVA, 21, 0},
        {"rust", SYN_FUNCTION_COMMAND, 0, 0}, {"custom:nginx:1.25", SYN_FUNCTION_CUSTOM, 0, 0},
    };
    struct syn_function_language language;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_done(syn_function_language(rows[i].name, &language, &err), &err);
        assert_int_equal(language.runtime, rows[i].runtime);
        assert_int_equal(language.major, rows[i].major);
        assert_int_equal(language.minor, rows[i].minor);
    }
    assert_int_equal(syn_function_language("dotnet8", &language, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "custom:IMAGE"));
    assert_int_equal(syn_function_language("java8", &language, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "java17"));
    assert_int_equal(syn_function_language("cobol", &language, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "python311"));
}

/* A spec, and what is said of it. */
struct refusal {
    const char *text;
    const char *says;
};

static void
assert_refused(const struct refusal *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct syn_err err = {0};
        SYN_JSON(spec);

        spec = parse(rows[i].text);
        assert_int_equal(syn_function_spec_check(spec, NULL, &err), SYN_E_INVALID);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("%s\nsays: %s", rows[i].text, err.msg);
    }
}

static void
test_what_is_refused_says_where(void **state)
{
    static const struct refusal rows[] = {
        {"{\"runtime\":\"wasm\"}", "spec.code"},
        {"{\"code\":\"synor://a\"}", "spec.runtime"},
        {"{" PYTHON ",\"handler\":\"main\"}", "spec.handler"},
        {"{" PYTHON ",\"handler\":\"../main.f\"}", "spec.handler"},
        {"{" WASM ",\"handler\":\"main.f\"}", "spec.handler"},
        {"{" PYTHON ",\"memory_bytes\":1}", "spec.memory_bytes"},
        {"{" PYTHON ",\"timeout_ms\":\"16m\"}", "spec.timeout_ms"},
        {"{" PYTHON ",\"fuel\":5}", "spec.fuel"},
        {"{" WASM ",\"isolation\":\"namespace\"}", "spec.isolation"},
        {"{\"runtime\":\"node\",\"code\":\"synor://a\",\"isolation\":\"namespace\"}",
         "spec.isolation"},
        {"{" WASM ",\"min_instances\":1}", "spec.min_instances"},
        {"{" PYTHON ",\"min_instances\":3,\"max_instances\":2}", "spec.min_instances"},
        {"{\"runtime\":\"ruby\",\"code\":\"synor://a\",\"snapstart\":true}", "spec.snapstart"},
        {"{" PYTHON ",\"snapstart\":true,\"isolation\":\"runc\"}", "not runc"},
        {"{" PYTHON ",\"env\":{\"PORT\":\"1\"}}", "PORT"},
        {"{" PYTHON ",\"env\":{\"A\":\"1\"},\"secrets\":{\"A\":\"b\"}}", "spec.secrets.A"},
        {"{\"runtime\":\"custom:a/b\",\"code\":\"synor://a\"}", "spec.code"},
        {"{" WASM ",\"layer\":\"synor://a\"}", "spec.layer"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\"}]}", "spec.triggers[0].path"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"api\"}]}", "spec.triggers[0].path"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"cron\":\"* * * * *\"}]}",
         "spec.triggers[0].cron"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"methods\":[\"get\"]}]}",
         "spec.triggers[0].methods[0]"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"host\":\"A b\"}]}",
         "spec.triggers[0].host"},
        {"{" WASM
         ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"cors\":{\"credentials\":true}}]"
         "}",
         "spec.triggers[0].cors.credentials"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"auth\":\"basic\"}]}",
         "spec.triggers[0].auth"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{}}]}",
         "spec.triggers[0].hmac.secret"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{\"secret\":\"a\","
         "\"scheme\":\"md5\"}}]}",
         "spec.triggers[0].hmac.scheme"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{\"secret\":\"a\","
         "\"tolerance_s\":9}}]}",
         "spec.triggers[0].hmac.tolerance_s: is of no use to the scheme body"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{\"secret\":\"a\","
         "\"scheme\":\"standard\",\"header\":\"x-a\"}}]}",
         "spec.triggers[0].hmac.header: is of no use to the scheme standard"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{\"secret\":\"a\","
         "\"header\":\"X-Sign\"}}]}",
         "spec.triggers[0].hmac.header: \"X-Sign\": expected a header in small letters"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/\",\"hmac\":{\"secret\":\"a\","
         "\"prefix\":\"a b\"}}]}",
         "spec.triggers[0].hmac.prefix: blanks"},
        {"{" WASM ",\"triggers\":[{\"type\":\"queue\",\"queue\":\"a\",\"auth\":\"key\"}]}",
         "spec.triggers[0].auth: is of no use"},
        {"{" WASM ",\"triggers\":[{\"type\":\"schedule\",\"cron\":\"61 * * * *\"}]}",
         "spec.triggers[0].cron"},
        {"{" WASM ",\"triggers\":[{\"type\":\"queue\",\"queue\":\"a\"},{\"type\":\"queue\","
         "\"queue\":\"a\"}]}",
         "spec.triggers[1]"},
        {"{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/a/{x}\"},{\"type\":\"http\","
         "\"path\":\"/a/{y}\",\"methods\":[\"GET\"]}]}",
         "spec.triggers[1]"},
    };

    (void)state;
    assert_refused(rows, SYN_LEN(rows));
}

static void
test_events_and_destinations_are_checked(void **state)
{
    static const struct refusal rows[] = {
        {"{" WASM ",\"triggers\":[{\"type\":\"storage\"}]}", "spec.triggers[0].prefix"},
        {"{" WASM ",\"triggers\":[{\"type\":\"storage\",\"prefix\":\"/a\"}]}",
         "spec.triggers[0].prefix"},
        {"{" WASM ",\"triggers\":[{\"type\":\"storage\",\"prefix\":\"a\",\"batch\":2}]}",
         "spec.triggers[0].batch"},
        {"{" WASM ",\"triggers\":[{\"type\":\"storage\",\"prefix\":\"a\",\"events\":"
         "[\"put\",\"transfer\"]}]}",
         "spec.triggers[0].events[1]: \"transfer\" is not one of put, delete"},
        {"{" WASM ",\"triggers\":[{\"type\":\"storage\",\"prefix\":\"a\"},"
         "{\"type\":\"storage\",\"prefix\":\"a\",\"events\":[\"put\"]}]}",
         "spec.triggers[1]"},
        {"{" WASM ",\"triggers\":[{\"type\":\"ledger\",\"events\":[\"slash\"]}]}",
         "spec.triggers[0].events[0]: \"slash\" is not one of mint, transfer, escrow, settle, "},
        {"{" WASM ",\"triggers\":[{\"type\":\"ledger\"},{\"type\":\"ledger\"}]}",
         "spec.triggers[1]"},
        {"{" WASM ",\"triggers\":[{\"type\":\"ledger\",\"prefix\":\"a\"}]}",
         "spec.triggers[0].prefix"},
        {"{" WASM ",\"destinations\":{\"success\":\"topic:a\"}}", "spec.destinations.success"},
        {"{" WASM ",\"destinations\":{\"failure\":\"queue:A b\"}}", "spec.destinations.failure"},
        {"{" WASM ",\"destinations\":{\"always\":\"queue:a\"}}", "spec.destinations.always"},
        {"{" WASM ",\"destinations\":{\"success\":\"https://a b\"}}", "spec.destinations.success"},
        {"{" WASM ",\"destinations\":{\"success\":\"queue:a\",\"secret\":\"s\"}}",
         "spec.destinations.secret: only what URLs"},
    };

    (void)state;
    assert_refused(rows, SYN_LEN(rows));
}

#define WARM(more) "{" PYTHON ",\"max_instances\":4,\"warmup\":[{\"cron\":" more "}]}"

static void
test_warmups_are_checked(void **state)
{
    static const struct refusal rows[] = {
        {WARM("\"never\""), "spec.warmup[0].cron"},
        {WARM("\"@daily\",\"for_ms\":\"25h\""), "spec.warmup[0].for_ms"},
        {WARM("\"@daily\",\"instances\":0"), "spec.warmup[0].instances"},
        {WARM("\"@daily\",\"instances\":5"),
         "spec.warmup[0].instances: 5 is more than max_instances, 4"},
        {WARM("\"@daily\",\"min\":1"), "spec.warmup[0].min"},
        {"{" WASM ",\"warmup\":[{\"cron\":\"@daily\"}]}", "spec.warmup: a module"},
        {"{" PYTHON ",\"prewarm\":\"on\"}", "spec.prewarm"},
        {"{" PYTHON ",\"gpus\":1}", "spec.gpu_model: expected a model"},
        {"{" PYTHON ",\"gpu_model\":\"h100\"}", "spec.gpu_model: no GPU is asked for"},
        {"{" PYTHON ",\"gpus\":-1}", "spec.gpus"},
        {"{" WASM ",\"gpus\":1,\"gpu_model\":\"h100\"}", "spec.gpus: a module"},
    };

    (void)state;
    assert_refused(rows, SYN_LEN(rows));
}

static const struct syn_zone *
find_utc(void *self, const char *name)
{
    (void)self;
    return syn_str_eq(name, "UTC") ? syn_zone_utc() : NULL;
}

#define HOUR_MS INT64_C(3600000)

/* From eight to nine two, from half past eight to ten three, and at ten it is called. */
static void
test_what_schedules_say(void **state)
{
    static const struct {
        int64_t minute, instances, until;
    } rows[] = {{0, 0, 480},   {479, 0, 480}, {480, 2, 510},  {509, 2, 510},
                {510, 3, 540}, {599, 3, 600}, {600, 0, 1920}, {1930, 2, 1950}};
    const struct syn_zone_source zones = {find_utc, NULL};
    const int64_t day = INT64_C(20000) * 24 * HOUR_MS;
    int64_t until;
    struct syn_err err;
    SYN_JSON(spec);

    (void)state;
    spec = parse("{" PYTHON ",\"warmup\":[{\"cron\":\"0 8 * * *\",\"for_ms\":\"1h\","
                 "\"instances\":2},{\"cron\":\"30 8 * * *\",\"for_ms\":\"90m\",\"instances\":3}],"
                 "\"triggers\":[{\"type\":\"http\",\"path\":\"/\"},{\"type\":\"schedule\","
                 "\"cron\":\"0 12 * * *\"},{\"type\":\"schedule\",\"cron\":\"0 10 * * *\"}]}");
    assert_int_equal(syn_function_spec_check(spec, NULL, &err), SYN_OK);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_int_equal(syn_function_warmup_at(spec, &zones, day + rows[i].minute * 60000, &until),
                         rows[i].instances);
        assert_int_equal((until - day) / 60000, rows[i].until);
    }
    assert_int_equal(syn_function_fire(spec, &zones, day), day + 10 * HOUR_MS);
    assert_int_equal(syn_function_fire(spec, &zones, day + 10 * HOUR_MS), day + 12 * HOUR_MS);
    assert_done(syn_json_set_take(spec, "triggers", json_array(), &err), &err);
    assert_int_equal(syn_function_fire(spec, &zones, day), 0);
    assert_done(syn_json_set_take(spec, "warmup", json_array(), &err), &err);
    assert_int_equal(syn_function_warmup_at(spec, &zones, day, &until), 0);
    assert_true(until == INT64_MAX);
}

static void
test_methods_part_routes(void **state)
{
    struct syn_err err;
    SYN_JSON(spec);

    (void)state;
    spec =
        parse("{" WASM ",\"triggers\":[{\"type\":\"http\",\"path\":\"/a\",\"methods\":[\"GET\"]},"
              "{\"type\":\"http\",\"path\":\"/a\",\"methods\":[\"POST\"]},"
              "{\"type\":\"http\",\"path\":\"/a\",\"host\":\"b.example\"}]}");
    assert_done(syn_function_spec_check(spec, NULL, &err), &err);
}

static void
test_what_makes_a_version(void **state)
{
    struct syn_err err;
    SYN_JSON(a);
    SYN_JSON(b);

    (void)state;
    a = parse("{" PYTHON "}");
    assert_done(syn_function_spec_check(a, NULL, &err), &err);
    b = json_deep_copy(a);
    assert_true(syn_function_spec_same(a, b));
    assert_done(syn_json_set_bool(b, "suspended", true, &err), &err);
    assert_true(syn_function_spec_same(a, b));
    assert_done(syn_json_set_take(b, "destinations", json_object(), &err), &err);
    assert_true(syn_function_spec_same(a, b));
    assert_done(syn_json_set_str(b, "prewarm", "off", &err), &err);
    assert_done(syn_json_set_take(b, "warmup", json_pack("[{}]"), &err), &err);
    assert_true(syn_function_spec_same(a, b));
    assert_done(syn_json_set_i64(b, "timeout_ms", 5, &err), &err);
    assert_false(syn_function_spec_same(a, b));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_again_unchanged),
        cmocka_unit_test(test_runtimes),
        cmocka_unit_test(test_what_is_refused_says_where),
        cmocka_unit_test(test_events_and_destinations_are_checked),
        cmocka_unit_test(test_warmups_are_checked),
        cmocka_unit_test(test_what_schedules_say),
        cmocka_unit_test(test_methods_part_routes),
        cmocka_unit_test(test_what_makes_a_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
