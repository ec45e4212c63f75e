#include <synor/workload/function_pool.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/workload/service_spec.h>

#define CODE    "bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LAYER   "bafkreibbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PROGRAM "bafkreicccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HELPER  "bafkreidddddddddddddddddddddddddddddddddddddddddddddddddddd"

static json_t *
parse(const char *text)
{
    struct syn_err err;
    json_t *value;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static json_t *
make(const char *text, const struct syn_function_pool *pool)
{
    struct syn_err err;
    json_t *made;
    SYN_JSON(spec);

    spec = parse(text);
    assert_done(syn_function_spec_check(spec, NULL, &err), &err);
    assert_done(syn_function_service_spec(spec, pool, &made, &err), &err);
    return made;
}

static const struct syn_function_pool pool = {.id = "fn-abcdefghij",
                                              .name = "hello",
                                              .version = 3,
                                              .code_cid = CODE,
                                              .layer_cid = LAYER,
                                              .program_cid = PROGRAM,
                                              .helper_cid = HELPER};

static const char *
at(const json_t *spec, const char *dotted)
{
    const char *text = json_string_value(syn_json_at(spec, dotted));

    return text ? text : "";
}

/* Where the content is mounted, "" when it is not. */
static const char *
mounted(const json_t *spec, const char *cid)
{
    const json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount)
        if (syn_str_eq(syn_json_str(mount, "cid", ""), cid))
            return syn_json_str(mount, "path", "");
    return "";
}

static const char *
word(const json_t *spec, size_t i)
{
    const char *text = json_string_value(json_array_get(json_object_get(spec, "command"), i));

    return text ? text : "";
}

static void
test_languages(void **state)
{
    static const struct {
        const char *runtime, *language, *version, *program, *host, *layer;
    } rows[] = {
        {"python3", "python", "3", "python3", "/synor/host.py", "/synor/layer"},
        {"python311", "python", "3.11", "python3.11", "/synor/host.py", "/synor/layer"},
        {"node", "node", "", "node", "/synor/host.mjs", "/synor/node_modules"},
        {"node20", "node", "20", "node", "/synor/host.mjs", "/synor/node_modules"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char text[160];
        struct syn_service_spec read;
        struct syn_place_request request;
        SYN_JSON(spec);

        (void)snprintf(text, sizeof(text), "{\"runtime\":\"%s\",\"code\":\"synor://code\"}",
                       rows[i].runtime);
        spec = make(text, &pool);
        assert_string_equal(at(spec, "image"), "host");
        assert_string_equal(word(spec, 0), rows[i].program);
        assert_string_equal(word(spec, json_array_size(json_object_get(spec, "command")) - 1),
                            rows[i].host);
        assert_string_equal(mounted(spec, PROGRAM), rows[i].host);
        assert_string_equal(mounted(spec, CODE), "/synor/code");
        assert_string_equal(mounted(spec, LAYER), rows[i].layer);
        assert_string_equal(at(spec, "function.env.SYNOR_LAYER"), rows[i].layer);
        assert_string_equal(at(spec, "function.env.SYNOR_HANDLER"), "main.handler");
        assert_string_equal(at(spec, "function.env.SYNOR_VERSION"), "3");
        syn_service_spec_read(spec, &read);
        assert_int_equal(read.port, SYN_FUNCTION_PORT);
        assert_false(read.lb.publish);
        request = syn_service_place_request(&read);
        assert_string_equal(request.framework, rows[i].language);
        assert_string_equal(request.framework_version, rows[i].version);
    }
}

static void
test_programs_and_images(void **state)
{
    struct syn_function_pool own = pool;
    SYN_JSON(program);
    SYN_JSON(image);
    struct syn_service_spec read;

    (void)state;
    own.program_cid = own.helper_cid = own.layer_cid = "";
    program =
        make("{\"runtime\":\"go\",\"code\":\"synor://code\",\"handler\":\"bin/server\"}", &own);
    assert_string_equal(at(program, "image"), "host");
    assert_string_equal(word(program, 0), "/bin/sh");
    assert_string_equal(word(program, 3), "bin/server");
    assert_string_equal(at(program, "function.language"), "");
    assert_string_equal(at(program, "function.env.SYNOR_LAYER"), "");
    assert_int_equal(json_array_size(json_object_get(program, "mounts")), 1);
    own.code_cid = "";
    image = make("{\"runtime\":\"custom:docker.io/library/nginx:1.25\"}", &own);
    assert_string_equal(at(image, "image"), "docker.io/library/nginx:1.25");
    assert_int_equal(json_array_size(json_object_get(image, "command")), 0);
    assert_int_equal(json_array_size(json_object_get(image, "mounts")), 0);
    syn_service_spec_read(image, &read);
    assert_string_equal(read.check_path, SYN_FUNCTION_HEALTH);
}

static void
test_what_is_asked_for(void **state)
{
    SYN_JSON(spec);
    struct syn_service_spec read;

    (void)state;
    spec = make("{\"runtime\":\"python3\",\"code\":\"synor://code\",\"memory_bytes\":\"1gb\","
                "\"timeout_ms\":60000,\"concurrency\":10,\"min_instances\":2,\"max_instances\":7,"
                "\"idle_ms\":20000,\"env\":{\"A\":\"1\"},\"secrets\":{\"KEY\":\"key\"},"
                "\"region\":\"eu\",\"isolation\":\"gvisor\",\"snapstart\":true}",
                &pool);
    syn_service_spec_read(spec, &read);
    assert_string_equal(at(spec, "function.start"), "snapshot");
    assert_int_equal(read.replicas, 2);
    assert_int_equal(syn_json_i64(read.autoscale, "min", 0), 2);
    assert_int_equal(syn_json_i64(read.autoscale, "max", 0), 7);
    assert_int_equal(syn_json_i64(read.autoscale, "idle_ms", 0), 20000);
    assert_string_equal(
        syn_json_str(json_array_get(json_object_get(read.autoscale, "metrics"), 0), "target", ""),
        "8.0");
    assert_int_equal(read.amounts.memory_bytes, INT64_C(1) << 30);
    assert_int_equal(read.amounts.cpu_millicores, 500);
    assert_string_equal(at(spec, "env.A"), "1");
    assert_string_equal(at(spec, "secrets.KEY"), "key");
    assert_string_equal(read.region, "eu");
    assert_int_equal(read.isolation, SYN_ISOLATION_GVISOR);
    assert_true(read.stop_grace_ms >= 60000);
    /* A call of the longest time does not end its instance, and one that goes on does. */
    assert_true(2 * read.check_unhealthy * read.check_interval_ms > 60000);
    assert_true(2 * read.check_unhealthy * read.check_interval_ms < 120000);
}

static void
test_how_it_starts(void **state)
{
    SYN_JSON(usual);
    SYN_JSON(forked);
    struct syn_service_spec read;

    (void)state;
    usual = make("{\"runtime\":\"python3\",\"code\":\"synor://code\"}", &pool);
    assert_string_equal(at(usual, "function.start"), "cold");
    forked = make("{\"runtime\":\"python3\",\"code\":\"synor://code\",\"isolation\":\"namespace\"}",
                  &pool);
    assert_string_equal(at(forked, "function.start"), "zygote");
    syn_service_spec_read(forked, &read);
    assert_int_equal(read.isolation, SYN_ISOLATION_NAMESPACE);
}

/* What Node needs to go on from a snapshot is there for those that do. */
static void
test_what_is_beside_the_program(void **state)
{
    static const struct {
        const char *runtime, *snapstart, *path;
    } rows[] = {
        {"node", "true", "/synor/renew.node"},
        {"node20", "true", "/synor/renew.node"},
        {"node", "false", ""},
        {"python3", "true", ""},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char text[160];
        SYN_JSON(spec);

        (void)snprintf(text, sizeof(text),
                       "{\"runtime\":\"%s\",\"code\":\"synor://code\",\"snapstart\":%s}",
                       rows[i].runtime, rows[i].snapstart);
        spec = make(text, &pool);
        assert_string_equal(mounted(spec, HELPER), rows[i].path);
    }
}

/* The longest and the shortest that there may be are in the bounds of services. */
static void
test_bounds(void **state)
{
    SYN_JSON(longest);
    SYN_JSON(shortest);

    (void)state;
    longest = make("{\"runtime\":\"python3\",\"code\":\"synor://code\",\"timeout_ms\":900000,"
                   "\"concurrency\":1000,\"min_instances\":64,\"max_instances\":64,"
                   "\"idle_ms\":86400000,\"memory_bytes\":\"8GiB\"}",
                   &pool);
    shortest = make("{\"runtime\":\"node\",\"code\":\"synor://code\",\"timeout_ms\":1,"
                    "\"idle_ms\":1000,\"max_instances\":1}",
                    &pool);
    assert_non_null(longest);
    assert_non_null(shortest);
}

static void
test_refused(void **state)
{
    struct syn_err err;
    json_t *made = NULL;
    SYN_JSON(wasm);
    SYN_JSON(derived);

    (void)state;
    wasm = parse("{\"runtime\":\"wasm\",\"code\":\"synor://code\"}");
    assert_done(syn_function_spec_check(wasm, NULL, &err), &err);
    assert_int_equal(syn_function_service_spec(wasm, &pool, &made, &err), SYN_E_UNSUPPORTED);
    /* Nobody else makes such a service, and none on a node's own files. */
    derived = make("{\"runtime\":\"node\",\"code\":\"synor://code\"}", &pool);
    assert_int_equal(syn_service_spec_check(derived, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "spec.function"));
    assert_int_equal(json_object_del(derived, "function"), 0);
    assert_int_equal(syn_service_spec_check(derived, &err), SYN_E_INVALID);
    assert_non_null(strstr(err.msg, "spec.image"));
}

static void
test_gpus(void **state)
{
    struct syn_service_spec read;
    SYN_JSON(spec);

    (void)state;
    spec = make("{\"runtime\":\"python3\",\"code\":\"synor://code\",\"gpus\":2,"
                "\"gpu_model\":\"h100\"}",
                &pool);
    syn_service_spec_read(spec, &read);
    assert_int_equal(read.gpus, 2);
    assert_string_equal(read.gpu_model, "h100");
}

static void
test_embedded_programs(void **state)
{
    const struct syn_function_spec spec = {.language = {.runtime = SYN_FUNCTION_NODE},
                                           .snapstart = true};
    struct syn_function_program program;

    (void)state;
    assert_true(syn_function_helper(&spec, &program));
    assert_memory_equal(program.data, "\177ELF", 4);
    assert_true(syn_function_program(SYN_FUNCTION_PYTHON, &program));
    assert_string_equal(program.file, "host.py");
    assert_int_equal(program.size, strlen(program.data));
    assert_non_null(strstr(program.data, "SYNOR_HANDLER"));
    assert_true(syn_function_program(SYN_FUNCTION_NODE, &program));
    assert_non_null(strstr(program.data, "SYNOR_HANDLER"));
    assert_true(syn_function_program(SYN_FUNCTION_RUBY, &program));
    assert_string_equal(program.file, "host.rb");
    assert_false(syn_function_program(SYN_FUNCTION_JAVA, &program));
    assert_false(syn_function_program(SYN_FUNCTION_COMMAND, &program));
    assert_false(syn_function_program(SYN_FUNCTION_CUSTOM, &program));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_languages),
        cmocka_unit_test(test_programs_and_images),
        cmocka_unit_test(test_what_is_asked_for),
        cmocka_unit_test(test_how_it_starts),
        cmocka_unit_test(test_what_is_beside_the_program),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_gpus),
        cmocka_unit_test(test_embedded_programs),
    };

    return cmocka_run_group_tests_name("function-pool", tests, NULL, NULL);
}
