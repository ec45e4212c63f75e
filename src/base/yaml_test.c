#include <synor/base/test.h>
#include <synor/base/yaml.h>

#include <synor/base/str.h>

static const struct {
    const char *yaml, *json;
} accepted[] = {
    {"", "null"},
    {"# only a comment\n", "null"},
    {"---\n...\n", "null"},
    {"a: 1\nb: [x, y]\nc: {d: true}\n", "{\"a\":1,\"b\":[\"x\",\"y\"],\"c\":{\"d\":true}}"},
    {"- 1\n- - 2\n  - 3\n", "[1,[2,3]]"},
    {"\xef\xbb\xbf"
     "a: 1\n",
     "{\"a\":1}"},
    {"%YAML 1.1\n---\na: 1\n", "{\"a\":1}"},
    /* the core schema of YAML 1.2 */
    {"[null, Null, NULL, ~, ]", "[null,null,null,null]"},
    {"a:\nb: \n", "{\"a\":null,\"b\":null}"},
    {"[true, True, TRUE, false, False, FALSE]", "[true,true,true,false,false,false]"},
    {"[yes, no, on, off, y, n, tRUE]", "[\"yes\",\"no\",\"on\",\"off\",\"y\",\"n\",\"tRUE\"]"},
    {"[0, 7, -7, +7, 007, 0o17, 0xfF]", "[0,7,-7,7,7,15,255]"},
    {"[9223372036854775807, -9223372036854775808, 0x7fffffffffffffff]",
     "[9223372036854775807,-9223372036854775808,9223372036854775807]"},
    {"[1_000, 0b1, 1:30, 0o8, 0xg, 0x, 0o, -, +, ., -0x1, 12e03x]",
     "[\"1_000\",\"0b1\",\"1:30\",\"0o8\",\"0xg\",\"0x\",\"0o\",\"-\",\"+\",\".\",\"-0x1\","
     "\"12e03x\"]"},
    {"[0.5, .5, 5., -1.5e3, +1E-2, 1e3]", "[0.5,0.5,5.0,-1500.0,0.01,1000.0]"},
    {"[1.2.3, e3, 1e, 1e+, 2026-11-23]", "[\"1.2.3\",\"e3\",\"1e\",\"1e+\",\"2026-11-23\"]"},
    {"['1', \"true\", 'null', '']", "[\"1\",\"true\",\"null\",\"\"]"},
    {"a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}"},
    {"a: \"\\u00fc\\t\\x41\"\n", "{\"a\":\"\xc3\xbc\\tA\"}"},
    {"1: a\ntrue: b\nnull: c\n", "{\"1\":\"a\",\"null\":\"c\",\"true\":\"b\"}"},
    {"'<<': a\n", "{\"<<\":\"a\"}"},
    {"{}", "{}"},
    {"[]", "[]"},
    {"just text", "\"just text\""},
};

static void
test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(accepted); i++) {
        SYN_JSON(value);
        SYN_BUF(out);
        struct syn_err err = {0};

        assert_done(syn_yaml_parse(accepted[i].yaml, strlen(accepted[i].yaml), &value, &err), &err);
        assert_done(syn_json_write(value, &out, &err), &err);
        assert_string_equal(syn_buf_text(&out), accepted[i].json);
    }
}

static const struct {
    const char *yaml, *where, *what;
} refused[] = {
    {"a: &x 1\n", "line 1, column 4:", "anchors"},
    {"a: &x [1]\n", "line 1, column 4:", "anchors"},
    {"&x {a: 1}\n", "line 1, column 1:", "anchors"},
    {"a: 1\nb: *x\n", "line 2, column 4:", "aliases"},
    {"a: !!str 1\n", "line 1, column 4:", "tags"},
    {"a: !mine {b: 1}\n", "line 1, column 4:", "tags"},
    {"! a", "line 1, column 1:", "tags"},
    {"a: 1\n---\nb: 2\n", "line 2, column 1:", "more than one document"},
    {"a: 1\nb: 2\na: 3\n", "line 3, column 1:", "duplicate key \"a\""},
    {"a: null\n'a': 3\n", "line 2, column 1:", "duplicate key \"a\""},
    {"<<: {a: 1}\n", "line 1, column 1:", "merge keys"},
    {"{{ jinja }}: 1\n", "line 1, column 1:", "key must be text"},
    {"? [a]\n: 1\n", "line 1, column 3:", "key must be text"},
    {"a: .inf\n", "line 1, column 4:", "no JSON number"},
    {"a: -.INF\n", "line 1, column 4:", "no JSON number"},
    {"a: .NaN\n", "line 1, column 4:", "no JSON number"},
    {"a: 9223372036854775808\n", "line 1, column 4:", "out of range"},
    {"a: -9223372036854775809\n", "line 1, column 4:", "out of range"},
    {"a: 0xffffffffffffffff\n", "line 1, column 4:", "out of range"},
    {"a: 0o7777777777777777777777777\n", "line 1, column 4:", "out of range"},
    {"a: 1e999\n", "line 1, column 4:", "out of range"},
    {"a: \"x\\0y\"\n", "line 1, column 4:", "NUL"},
    {"a: [1, 2\n", "line 2, column 1:", ""},
    {"a: 1\n b: 2\n", "line 2, column 3:", ""},
    {"a:\n\t- x\n", "line 2, column 1:", ""},
    {"a: ok\nb: x\xff\n", "line 2, column 5:", "UTF-8"},
    {"a: \x01\n", "line 1, column 4:", "control"},
    {"a: \"\\ud800\"\n", "line 1,", "Unicode"},
};

static void
test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        json_t *value = NULL;
        struct syn_err err = {0};
        int64_t live = syn_mem_live();

        assert_code(syn_yaml_parse(refused[i].yaml, strlen(refused[i].yaml), &value, &err),
                    SYN_E_INVALID, &err);
        assert_null(value);
        assert_int_equal(syn_mem_live(), live);
        if (!syn_str_starts(err.msg, refused[i].where) || strstr(err.msg, refused[i].what) == NULL)
            fail_msg("%s: got \"%s\", want \"%s\" and \"%s\"", refused[i].yaml, err.msg,
                     refused[i].where, refused[i].what);
    }
}

static void
test_no_input(void **state)
{
    SYN_JSON(value);
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_yaml_parse(NULL, 0, &value, &err), &err);
    assert_true(json_is_null(value));
}

static void
test_depth(void **state)
{
    char text[SYN_YAML_DEPTH_MAX * 2 + 4];
    SYN_JSON(value);
    struct syn_err err = {0};

    (void)state;
    memset(text, '[', SYN_YAML_DEPTH_MAX + 1);
    memset(text + SYN_YAML_DEPTH_MAX + 1, ']', SYN_YAML_DEPTH_MAX + 1);
    assert_done(syn_yaml_parse(text + 1, sizeof(text) - 4, &value, &err), &err);
    assert_code(syn_yaml_parse(text, sizeof(text) - 2, &value, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "line 1, column 33: nested deeper than 32"));
}

static void
test_size(void **state)
{
    char *text = malloc(SYN_YAML_BYTES_MAX + 1);
    json_t *value = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_non_null(text);
    memset(text, '#', SYN_YAML_BYTES_MAX + 1);
    assert_done(syn_yaml_parse(text, SYN_YAML_BYTES_MAX, &value, &err), &err);
    assert_code(syn_yaml_parse(text, SYN_YAML_BYTES_MAX + 1, &value, &err), SYN_E_TOOBIG, &err);
    free(text);
}

static void
test_several_documents(void **state)
{
    static const struct {
        const char *yaml, *json;
    } rows[] = {
        {"", "[]"},
        {"a: 1\n", "[{\"a\":1}]"},
        {"---\na: 1\n---\n---\n# none\n---\n[b]\n...\n---\nc\n", "[{\"a\":1},[\"b\"],\"c\"]"},
    };
    SYN_JSON(documents);
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_JSON(value);
        SYN_BUF(text);

        assert_done(syn_yaml_parse_all(rows[i].yaml, strlen(rows[i].yaml), 8, &value, &err), &err);
        assert_done(syn_json_write(value, &text, &err), &err);
        assert_string_equal(syn_buf_text(&text), rows[i].json);
    }
    assert_int_equal(syn_yaml_parse_all("a\n---\nb\n---\nc\n", 14, 2, &documents, &err),
                     SYN_E_INVALID);
    assert_string_equal(err.msg, "line 4, column 1: more than 2 documents");
    assert_int_equal(syn_yaml_parse_all("a\n---\n{b\n", 9, 2, &documents, &err), SYN_E_INVALID);
}

static int
scenario_all(void *arg, struct syn_err *err)
{
    static const char text[] = "a: 1\n---\nb: [x]\n---\n";
    SYN_JSON(value);

    (void)arg;
    return syn_yaml_parse_all(text, sizeof(text) - 1, 8, &value, err);
}

static int
scenario(void *arg, struct syn_err *err)
{
    static const char text[] = "a: 1\nb: [x, 0.5, {c: null}]\nd: {e: 'text', f: true}\n";
    SYN_JSON(value);

    (void)arg;
    return syn_yaml_parse(text, sizeof(text) - 1, &value, err);
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 10);
    assert_true(syn_test_sweep_alloc(scenario_all, NULL) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_input), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_size),     cmocka_unit_test(test_several_documents),
        cmocka_unit_test(test_sweep),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
