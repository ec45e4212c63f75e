#include <synor/base/schema.h>
#include <synor/base/test.h>

#include <synor/base/str.h>

static const struct syn_field disk_fields[] = {
    {.name = "path", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = 16},
    {.name = "size", .kind = SYN_FIELD_BYTES, .fallback = "\"1gb\""},
};
static const struct syn_schema disk_schema = SYN_SCHEMA("Disk", disk_fields);

static const struct syn_field job_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "what the job is called"},
    {.name = "framework",
     .kind = SYN_FIELD_STR,
     .choices = "pytorch|tensorflow|jax",
     .fallback = "\"pytorch\""},
    {.name = "note", .kind = SYN_FIELD_STR, .max = 5},
    {.name = "workers", .kind = SYN_FIELD_I64, .min = 1, .max = 64, .fallback = "1"},
    {.name = "offset", .kind = SYN_FIELD_I64},
    {.name = "rate", .kind = SYN_FIELD_REAL, .min = 0, .max = 1},
    {.name = "wait", .kind = SYN_FIELD_BOOL},
    {.name = "memory", .kind = SYN_FIELD_BYTES, .min = 1 << 20, .max = 1 << 30},
    {.name = "grace", .kind = SYN_FIELD_MS, .min = 1000},
    {.name = "cpus", .kind = SYN_FIELD_CPUS, .max = 8000},
    {.name = "budget", .kind = SYN_FIELD_AMOUNT, .min = 1},
    {.name = "disk", .kind = SYN_FIELD_OBJ, .sub = &disk_schema},
    {.name = "free", .kind = SYN_FIELD_OBJ},
    {.name = "disks", .kind = SYN_FIELD_LIST, .sub = &disk_schema, .max = 2},
    {.name = "args", .kind = SYN_FIELD_LIST, .min = 1},
    {.name = "env", .kind = SYN_FIELD_MAP, .max = 2},
    {.name = "extra", .kind = SYN_FIELD_ANY},
};
static const struct syn_schema job_schema = SYN_SCHEMA("Job", job_fields);

/* Each document also holds a name and comes back with the defaults, which stand once above. */
static const struct {
    const char *given, *stored;
} accepted[] = {
    {"", ""},
    {"\"framework\":\"jax\"", "\"framework\":\"jax\""},
    {"\"framework\":null", ""},
    {"\"workers\":64", "\"workers\":64"},
    {"\"note\":\"\xc3\xbc\xc3\xbc.\"", "\"note\":\"\xc3\xbc\xc3\xbc.\""},
    {"\"note\":\"\"", "\"note\":\"\""},
    {"\"offset\":-9223372036854775808", "\"offset\":-9223372036854775808"},
    {"\"rate\":0.5", "\"rate\":0.5"},
    {"\"rate\":1", "\"rate\":1"},
    {"\"wait\":false", "\"wait\":false"},
    {"\"memory\":1048576", "\"memory\":1048576"},
    {"\"memory\":\"1.5mb\"", "\"memory\":1572864"},
    {"\"grace\":\"1m30s\"", "\"grace\":90000"},
    {"\"grace\":1000", "\"grace\":1000"},
    {"\"cpus\":\"0.5\"", "\"cpus\":500"},
    {"\"cpus\":\"250m\"", "\"cpus\":250"},
    {"\"cpus\":8000", "\"cpus\":8000"},
    {"\"budget\":\"10.50\"", "\"budget\":\"10.5\""},
    {"\"budget\":\"0.000000001\"", "\"budget\":\"0.000000001\""},
    {"\"disk\":{\"path\":\"/a\"}", "\"disk\":{\"path\":\"/a\",\"size\":1073741824}"},
    {"\"free\":{\"x\":[1]}", "\"free\":{\"x\":[1]}"},
    {"\"disks\":[]", "\"disks\":[]"},
    {"\"disks\":[{\"path\":\"a\",\"size\":\"2k\"},{\"path\":\"b\",\"size\":7}]",
     "\"disks\":[{\"path\":\"a\",\"size\":2048},{\"path\":\"b\",\"size\":7}]"},
    {"\"args\":[\"-v\",\"\"]", "\"args\":[\"-v\",\"\"]"},
    {"\"env\":{\"A\":\"1\",\"B\":\"\"}", "\"env\":{\"A\":\"1\",\"B\":\"\"}"},
    {"\"env\":{}", "\"env\":{}"},
    {"\"extra\":[null]", "\"extra\":[null]"},
    {"\"extra\":null", "\"extra\":null"},
};

/* {"name":"a", <inner>} */
static json_t *
document(const char *inner)
{
    SYN_BUF(text);
    json_t *value = NULL;
    struct syn_err err = {0};

    syn_buf_addf(&text, "{\"name\":\"a\"%s%s}", inner[0] != '\0' ? "," : "", inner);
    assert_done(syn_json_parse(text.data, text.len, &value, &err), &err);
    return value;
}

static void
test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(accepted); i++) {
        SYN_SCOPED(syn_json_scope) json_t *got = document(accepted[i].given);
        SYN_SCOPED(syn_json_scope) json_t *want = document(accepted[i].stored);
        SYN_BUF(text);
        struct syn_err err = {0};

        if (json_object_get(want, "framework") == NULL)
            assert_done(syn_json_set_str(want, "framework", "pytorch", &err), &err);
        if (json_object_get(want, "workers") == NULL)
            assert_done(syn_json_set_i64(want, "workers", 1, &err), &err);
        assert_done(syn_schema_apply(&job_schema, got, "spec", &err), &err);
        assert_done(syn_json_write(got, &text, &err), &err);
        if (!json_equal(got, want))
            fail_msg("%s became %s", accepted[i].given, syn_buf_text(&text));
        /* What is stored is stored again unchanged. */
        assert_done(syn_schema_apply(&job_schema, got, "spec", &err), &err);
        assert_true(json_equal(got, want));
    }
}

static const struct {
    const char *given, *message;
} refused[] = {
    {"\"workers\":0", "spec.workers: expected 1..64, got 0"},
    {"\"workers\":65", "spec.workers: expected 1..64, got 65"},
    {"\"workers\":1.0", "spec.workers: expected a whole number, got a number"},
    {"\"workers\":\"2\"", "spec.workers: expected a whole number, got text"},
    {"\"framework\":\"pytroch\"",
     "spec.framework: got \"pytroch\", did you mean \"pytorch\"? (pytorch|tensorflow|jax)"},
    {"\"framework\":\"caffe2000\"",
     "spec.framework: expected one of pytorch|tensorflow|jax, got \"caffe2000\""},
    {"\"framework\":\"pytorch|tensorflow\"",
     "spec.framework: expected one of pytorch|tensorflow|jax, got \"pytorch|tensorflow\""},
    {"\"framework\":7", "spec.framework: expected text, got a whole number"},
    {"\"note\":\"\xc3\xbc\xc3\xbc\xc3\xbc\"", "spec.note: expected 0..5 bytes, got 6"},
    {"\"rate\":1.5", "spec.rate: expected 0..1, got 1.5"},
    {"\"rate\":\"1\"", "spec.rate: expected a number, got text"},
    {"\"wait\":1", "spec.wait: expected true or false, got a whole number"},
    {"\"memory\":1", "spec.memory: expected 1 MiB..1 GiB, got 1 B"},
    {"\"memory\":1.5", "spec.memory: expected bytes, got a number"},
    {"\"memory\":[]", "spec.memory: expected bytes, got a list"},
    {"\"memory\":\"lots\"", "spec.memory: expected a size"},
    {"\"grace\":\"10ms\"", "spec.grace: expected at least 1.0s, got 10ms"},
    {"\"cpus\":\"9\"", "spec.cpus: expected 0..8, got 9"},
    {"\"cpus\":-1", "spec.cpus: expected 0..8, got -0.001"},
    {"\"budget\":10", "spec.budget: expected an amount as text (\"10.5\"), got a whole number"},
    {"\"budget\":10.5", "spec.budget: expected an amount as text (\"10.5\"), got a number"},
    {"\"budget\":\"0\"", "spec.budget: expected 0.000000001..4000000000, got 0"},
    {"\"budget\":\"1.0000000001\"", "spec.budget: expected an amount in SYNOR"},
    {"\"disk\":[]", "spec.disk: expected an object, got a list"},
    {"\"disk\":{}", "spec.disk.path: missing, expected text"},
    {"\"disk\":{\"path\":null}", "spec.disk.path: missing, expected text"},
    {"\"disk\":{\"path\":\"\"}", "spec.disk.path: expected 1..16 bytes, got 0"},
    {"\"disk\":{\"path\":\"a\",\"sise\":1}", "spec.disk.sise"},
    {"\"free\":1", "spec.free: expected an object, got a whole number"},
    {"\"disks\":{}", "spec.disks: expected a list, got an object"},
    {"\"disks\":[1]", "spec.disks[0]: expected an object, got a whole number"},
    {"\"disks\":[{\"path\":\"a\"},{\"path\":1}]", "spec.disks[1].path: expected text"},
    {"\"disks\":[{},{},{}]", "spec.disks: expected 0..2 items, got 3"},
    {"\"args\":[]", "spec.args: expected 1..1024 items, got 0"},
    {"\"args\":[\"a\",1]", "spec.args[1]: expected text, got a whole number"},
    {"\"env\":[]", "spec.env: expected an object of texts, got a list"},
    {"\"env\":{\"A\":1}", "spec.env.A: expected text, got a whole number"},
    {"\"env\":{\"A\":\"\",\"B\":\"\",\"C\":\"\"}", "spec.env: expected 0..2 keys, got 3"},
    {"\"workerz\":1", "spec.workerz"},
};

static void
test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        SYN_SCOPED(syn_json_scope) json_t *value = document(refused[i].given);
        struct syn_err err = {0};

        assert_code(syn_schema_apply(&job_schema, value, "spec", &err), SYN_E_INVALID, &err);
        if (!syn_str_starts(err.msg, refused[i].message))
            fail_msg("%s: got \"%s\", want \"%s\"", refused[i].given, err.msg, refused[i].message);
    }
}

static void
test_unknown_key_suggests(void **state)
{
    SYN_SCOPED(syn_json_scope) json_t *value = document("\"workerz\":1");
    struct syn_err err = {0};

    (void)state;
    assert_code(syn_schema_apply(&job_schema, value, "spec", &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "workers"));
}

static void
test_names_and_paths(void **state)
{
    SYN_SCOPED(syn_json_scope) json_t *empty = json_object();
    SYN_SCOPED(syn_json_scope) json_t *bad = json_pack("{s:s}", "name", "Upper");
    SYN_SCOPED(syn_json_scope) json_t *text = json_string("x");
    struct syn_err err = {0};

    (void)state;
    assert_code(syn_schema_apply(&job_schema, empty, NULL, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "name: missing, expected a name");
    assert_code(syn_schema_apply(&job_schema, bad, "", &err), SYN_E_INVALID, &err);
    assert_true(syn_str_starts(err.msg, "name: \"Upper\" is no name"));
    assert_code(syn_schema_apply(&job_schema, text, NULL, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "Job: expected an object, got text");
}

static void
test_long_text_in_lists(void **state)
{
    SYN_SCOPED(syn_json_scope) json_t *value = document("\"args\":[\"\"],\"env\":{\"A\":\"\"}");
    char *text = malloc(SYN_FIELD_STR_MAX + 1);
    struct syn_err err = {0};

    (void)state;
    assert_non_null(text);
    memset(text, 'x', SYN_FIELD_STR_MAX + 1);
    assert_int_equal(json_object_set_new(json_object_get(value, "env"), "A",
                                         json_stringn(text, SYN_FIELD_STR_MAX + 1)),
                     0);
    assert_code(syn_schema_apply(&job_schema, value, "spec", &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "spec.env.A: longer than 65536 bytes");
    assert_int_equal(json_array_append_new(json_object_get(value, "args"),
                                           json_stringn(text, SYN_FIELD_STR_MAX + 1)),
                     0);
    assert_code(syn_schema_apply(&job_schema, value, "spec", &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "spec.args[1]: longer than 65536 bytes");
    free(text);
}

/* --- OpenAPI --------------------------------------------------------------------------------- */

static const struct {
    const char *field, *json;
} openapi[] = {
    {"name", "{\"description\":\"what the job is called\",\"maxLength\":63,"
             "\"pattern\":\"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$\",\"type\":\"string\"}"},
    {"framework", "{\"default\":\"pytorch\",\"enum\":[\"pytorch\",\"tensorflow\",\"jax\"],"
                  "\"maxLength\":65536,\"type\":\"string\"}"},
    {"note", "{\"maxLength\":5,\"type\":\"string\"}"},
    {"workers", "{\"default\":1,\"format\":\"int64\",\"maximum\":64,\"minimum\":1,"
                "\"type\":\"integer\"}"},
    {"offset", "{\"format\":\"int64\",\"type\":\"integer\"}"},
    {"rate", "{\"maximum\":1,\"minimum\":0,\"type\":\"number\"}"},
    {"wait", "{\"type\":\"boolean\"}"},
    {"memory", "{\"examples\":[\"4gb\"],\"maximum\":1073741824,\"minimum\":1048576,"
               "\"type\":[\"integer\",\"string\"],\"x-unit\":\"bytes\"}"},
    {"grace", "{\"examples\":[\"1h30m\"],\"minimum\":1000,\"type\":[\"integer\",\"string\"],"
              "\"x-unit\":\"milliseconds\"}"},
    {"cpus", "{\"examples\":[\"0.5\"],\"maximum\":8000,\"minimum\":0,"
             "\"type\":[\"integer\",\"string\"],\"x-unit\":\"millicores\"}"},
    {"budget", "{\"examples\":[\"10.5\"],\"pattern\":\"^[0-9]+(\\\\.[0-9]+)?$\","
               "\"type\":\"string\",\"x-unit\":\"SYNOR\"}"},
    {"free", "{\"type\":\"object\"}"},
    {"args", "{\"items\":{\"type\":\"string\"},\"maxItems\":1024,\"minItems\":1,"
             "\"type\":\"array\"}"},
    {"env", "{\"additionalProperties\":{\"type\":\"string\"},\"maxProperties\":2,"
            "\"type\":\"object\"}"},
    {"extra", "{}"},
    {"disk", "{\"additionalProperties\":false,\"properties\":{"
             "\"path\":{\"maxLength\":16,\"minLength\":1,\"type\":\"string\"},"
             "\"size\":{\"default\":\"1gb\",\"examples\":[\"4gb\"],\"minimum\":0,"
             "\"type\":[\"integer\",\"string\"],\"x-unit\":\"bytes\"}},"
             "\"required\":[\"path\"],\"title\":\"Disk\",\"type\":\"object\"}"},
};

static void
test_openapi(void **state)
{
    SYN_JSON(doc);
    struct syn_err err = {0};
    json_t *properties = NULL;

    (void)state;
    assert_done(syn_schema_openapi(&job_schema, &doc, &err), &err);
    properties = json_object_get(doc, "properties");
    assert_int_equal(json_object_size(properties), SYN_LEN(job_fields));
    assert_string_equal(syn_json_str(doc, "title", ""), "Job");
    assert_true(json_is_false(json_object_get(doc, "additionalProperties")));
    assert_int_equal(json_array_size(json_object_get(doc, "required")), 1);
    for (size_t i = 0; i < SYN_LEN(openapi); i++) {
        SYN_BUF(text);

        assert_done(syn_json_write(json_object_get(properties, openapi[i].field), &text, &err),
                    &err);
        assert_string_equal(syn_buf_text(&text), openapi[i].json);
    }
    assert_true(
        json_equal(syn_json_at(properties, "disks.items"), json_object_get(properties, "disk")));
}

/* --- memory ---------------------------------------------------------------------------------- */

static int
scenario(void *arg, struct syn_err *err)
{
    static const char text[] = "{\"name\":\"a\",\"memory\":\"2mb\",\"budget\":\"1.50\",\"disk\":{"
                               "\"path\":\"a\"},\"disks\":[{\"path\":\"b\"}],\"args\":[\"x\"]}";
    SYN_JSON(value);
    SYN_JSON(doc);
    int rc = syn_json_parse(text, sizeof(text) - 1, &value, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_schema_apply(&job_schema, value, "spec", err);
    if (rc == SYN_OK)
        rc = syn_schema_openapi(&job_schema, &doc, err);
    return rc;
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_key_suggests),
        cmocka_unit_test(test_names_and_paths),
        cmocka_unit_test(test_long_text_in_lists),
        cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_sweep),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
