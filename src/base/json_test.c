#include <synor/base/json.h>
#include <synor/base/test.h>

#include <math.h>

#include <synor/base/str.h>

static int
setup(void **state)
{
    (void)state;
    syn_json_init();
    return 0;
}

static json_t *
parsed(const char *text)
{
    struct syn_err err = {0};
    json_t *value = NULL;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

/* What is read is written the same way every time: keys sorted, no blanks, shortest escapes. */
static void
test_canonical(void **state)
{
    static const struct {
        const char *given, *want;
    } cases[] = {
        {"{}", "{}"},
        {" [ ] ", "[]"},
        {"{\"b\":1,\"a\":{\"d\":2,\"c\":3}}", "{\"a\":{\"c\":3,\"d\":2},\"b\":1}"},
        {"{\"\":1,\"A\":2,\"a\":3,\"\xc3\xbc\":4}", "{\"\":1,\"A\":2,\"a\":3,\"\xc3\xbc\":4}"},
        {"[1, -0, 1.0, 1e2, true, null]", "[1,0,1.0,100.0,true,null]"},
        {"\"\\u00fc\\/\\n\\u0001\"", "\"\xc3\xbc/\\n\\u0001\""},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"\"\"", "\"\""},
        {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        SYN_JSON(value);
        SYN_JSON(again);
        SYN_BUF(out);
        SYN_BUF(out_again);
        struct syn_err err = {0};

        value = parsed(cases[i].given);
        assert_done(syn_json_write(value, &out, &err), &err);
        assert_string_equal(syn_buf_text(&out), cases[i].want);
        again = parsed(syn_buf_text(&out));
        assert_true(json_equal(value, again));
        assert_done(syn_json_write(again, &out_again, &err), &err);
        assert_string_equal(syn_buf_text(&out_again), cases[i].want);
    }
}

static void
test_pretty(void **state)
{
    SYN_JSON(value);
    SYN_BUF(out);
    struct syn_err err = {0};

    (void)state;
    value = parsed("{\"b\":[1,2],\"a\":{}}");
    syn_buf_adds(&out, "> ");
    assert_done(syn_json_write_pretty(value, &out, &err), &err);
    assert_string_equal(syn_buf_text(&out), "> {\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}");
}

static void
test_refused(void **state)
{
    static const struct {
        const char *text;
        size_t len; /* 0: to the zero */
        const char *says;
    } cases[] = {
        {"", 0, "line 1"},
        {"{\"a\":1,\"a\":2}", 0, "duplicate"},
        {"[{\"a\":1,\"\\u0061\":2}]", 0, "duplicate"},
        {"{}x", 0, "line 1"},
        {"{} {}", 0, "line 1"},
        {"{\n\"a\":}", 0, "line 2"},
        {"\"\xff\"", 0, "line 1"},
        {"\"\xed\xa0\x80\"", 0, "line 1"},
        {"\"\xc0\xaf\"", 0, "line 1"},
        {"\"\\ud800\"", 0, "line 1"},
        {"\"a\\u0000b\"", 0, "line 1"},
        {"\"a\0b\"", 5, "line 1"},
        {"{}\0", 3, "line 1"},
        {"{\"a\\u0000\":1}", 0, "line 1"},
        {"01", 0, "line 1"},
        {"+1", 0, "line 1"},
        {"1.", 0, "line 1"},
        {"nan", 0, "line 1"},
        {"NaN", 0, "line 1"},
        {"Infinity", 0, "line 1"},
        {"1e999", 0, "line 1"},
        {"9223372036854775808", 0, "line 1"},
        {"[1,]", 0, "line 1"},
        {"{\"a\":1,}", 0, "line 1"},
        {"'a'", 0, "line 1"},
        {"{a:1}", 0, "line 1"},
        {"[1 2]", 0, "line 1"},
        {"// note\n{}", 0, "line 1"},
        {"\xef\xbb\xbf{}", 0, "line 1"},
        {"\"a", 0, "line 1"},
        {"[", 0, "line 1"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};
        json_t *value = NULL;
        size_t len = cases[i].len != 0 ? cases[i].len : strlen(cases[i].text);

        if (syn_json_parse(cases[i].text, len, &value, &err) != SYN_E_INVALID || value != NULL ||
            strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].text, err.msg);
        assert_true(syn_utf8_ok(err.msg, strlen(err.msg)));
    }
}

static void
test_depth(void **state)
{
    char text[2 * SYN_JSON_DEPTH_MAX + 3];
    struct syn_err err = {0};

    (void)state;
    for (size_t depth = SYN_JSON_DEPTH_MAX - 1; depth <= SYN_JSON_DEPTH_MAX + 1; depth++) {
        SYN_JSON(value);

        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        if (depth <= SYN_JSON_DEPTH_MAX)
            assert_done(syn_json_parse(text, 2 * depth, &value, &err), &err);
        else
            assert_code(syn_json_parse(text, 2 * depth, &value, &err), SYN_E_INVALID, &err);
    }
    assert_non_null(strstr(err.msg, "64"));
}

/* Brackets within text are no depth, also behind escaped quotes; and brackets that open without end
 * are refused before anything recurses. */
static void
test_depth_in_text(void **state)
{
    SYN_JSON(value);
    SYN_BUF(text);
    struct syn_err err = {0};

    (void)state;
    syn_buf_adds(&text, "[\"\\\\\\\"");
    for (unsigned i = 0; i < 200; i++)
        syn_buf_adds(&text, "[{");
    syn_buf_adds(&text, "\", \"\\\\\", []]");
    assert_done(syn_json_parse(text.data, text.len, &value, &err), &err);
    assert_int_equal(json_array_size(value), 3);
    syn_buf_clear(&text);
    for (unsigned i = 0; i < 1000000; i++)
        syn_buf_addc(&text, '[');
    assert_code(syn_json_parse(text.data, text.len, &value, &err), SYN_E_INVALID, &err);
}

static void
test_size(void **state)
{
    SYN_JSON(value);
    SYN_BUF(text);
    struct syn_err err = {0};
    char *room = syn_buf_reserve(&text, SYN_JSON_BYTES_MAX + 1);

    (void)state;
    assert_non_null(room);
    memset(room, ' ', SYN_JSON_BYTES_MAX + 1);
    room[0] = '7';
    assert_done(syn_json_parse(room, SYN_JSON_BYTES_MAX, &value, &err), &err);
    assert_int_equal(json_integer_value(value), 7);
    json_decref(SYN_TAKE(value));
    assert_code(syn_json_parse(room, SYN_JSON_BYTES_MAX + 1, &value, &err), SYN_E_TOOBIG, &err);
    assert_null(value);
}

static void
test_objects_only(void **state)
{
    SYN_JSON(value);
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_json_parse_object(NULL, 0, &value, &err), &err);
    assert_true(json_is_object(value) && json_object_size(value) == 0);
    json_decref(SYN_TAKE(value));
    assert_code(syn_json_parse_object("[]", 2, &value, &err), SYN_E_INVALID, &err);
    assert_string_equal(err.msg, "expected a JSON object");
    assert_code(syn_json_parse_object(" ", 1, &value, &err), SYN_E_INVALID, &err);
    assert_code(syn_json_parse_object("null", 4, &value, &err), SYN_E_INVALID, &err);
    assert_null(value);
}

/* --- getters --------------------------------------------------------------------------------- */

#define SAMPLE                                                                          \
    "{\"text\":\"abc\",\"int\":5,\"real\":1.5,\"yes\":true,\"no\":false,\"null\":null," \
    "\"obj\":{\"deep\":{\"n\":7}},\"list\":[1]}"

static void
test_getters(void **state)
{
    SYN_JSON(doc);
    struct syn_err err = {0};
    const char *text = NULL;
    int64_t number = 0;
    bool flag = false;
    json_t *child = NULL;

    (void)state;
    doc = parsed(SAMPLE);
    assert_done(syn_json_get_str(doc, NULL, "text", &text, &err), &err);
    assert_string_equal(text, "abc");
    assert_done(syn_json_get_i64(doc, NULL, "int", 5, 5, &number, &err), &err);
    assert_int_equal(number, 5);
    assert_done(syn_json_opt_bool(doc, NULL, "yes", &flag, &err), &err);
    assert_true(flag);
    assert_done(syn_json_opt_bool(doc, NULL, "no", &flag, &err), &err);
    assert_false(flag);
    assert_done(syn_json_get_obj(doc, NULL, "obj", &child, &err), &err);
    assert_done(syn_json_get_arr(doc, NULL, "list", &child, &err), &err);
    assert_int_equal(json_array_size(child), 1);

    /* Missing and null leave what the caller had. */
    text = "before";
    number = 77;
    flag = true;
    assert_done(syn_json_opt_str(doc, NULL, "nothing", &text, &err), &err);
    assert_done(syn_json_opt_str(doc, NULL, "null", &text, &err), &err);
    assert_done(syn_json_opt_i64(doc, NULL, "nothing", 0, 1, &number, &err), &err);
    assert_done(syn_json_opt_i64(doc, NULL, "null", 0, 1, &number, &err), &err);
    assert_done(syn_json_opt_bool(doc, NULL, "nothing", &flag, &err), &err);
    assert_done(syn_json_opt_bool(doc, NULL, "null", &flag, &err), &err);
    assert_string_equal(text, "before");
    assert_int_equal(number, 77);
    assert_true(flag);
}

enum getter { GET_STR, OPT_STR, GET_I64, OPT_I64, OPT_BOOL, GET_OBJ, GET_ARR };

static int
get(enum getter getter, const json_t *doc, const char *path, const char *key, struct syn_err *err)
{
    const char *text = "x";
    int64_t number = 77;
    bool flag = true;
    json_t *child = NULL;
    int rc = 0;

    switch (getter) {
    case GET_STR:
        rc = syn_json_get_str(doc, path, key, &text, err);
        break;
    case OPT_STR:
        rc = syn_json_opt_str(doc, path, key, &text, err);
        break;
    case GET_I64:
        rc = syn_json_get_i64(doc, path, key, 1, 4, &number, err);
        break;
    case OPT_I64:
        rc = syn_json_opt_i64(doc, path, key, 1, 4, &number, err);
        break;
    case OPT_BOOL:
        rc = syn_json_opt_bool(doc, path, key, &flag, err);
        break;
    case GET_OBJ:
        rc = syn_json_get_obj(doc, path, key, &child, err);
        break;
    case GET_ARR:
        rc = syn_json_get_arr(doc, path, key, &child, err);
        break;
    }
    assert_string_equal(text, "x");
    assert_true(number == 77 && flag && child == NULL);
    return rc;
}

static void
test_getter_messages(void **state)
{
    static const struct {
        enum getter getter;
        const char *path, *key, *message;
    } cases[] = {
        {GET_STR, NULL, "nothing", "nothing: missing, expected text"},
        {GET_STR, "spec", "nothing", "spec.nothing: missing, expected text"},
        {GET_STR, "spec", "int", "spec.int: expected text, got a whole number"},
        {OPT_STR, "spec", "obj", "spec.obj: expected text, got an object"},
        {GET_STR, NULL, "null", "null: expected text, got null"},
        {GET_I64, NULL, "real", "real: expected a whole number, got a number"},
        {GET_I64, "spec", "int", "spec.int: expected 1..4, got 5"},
        {OPT_I64, NULL, "int", "int: expected 1..4, got 5"},
        {OPT_I64, NULL, "text", "text: expected a whole number, got text"},
        {OPT_BOOL, NULL, "int", "int: expected true or false, got a whole number"},
        {GET_OBJ, NULL, "list", "list: expected an object, got a list"},
        {GET_OBJ, NULL, "yes", "yes: expected an object, got true"},
        {GET_ARR, "a.b", "no", "a.b.no: expected a list, got false"},
        {GET_ARR, NULL, "nothing", "nothing: missing, expected a list"},
    };
    SYN_JSON(doc);

    (void)state;
    doc = parsed(SAMPLE);
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};

        assert_code(get(cases[i].getter, doc, cases[i].path, cases[i].key, &err), SYN_E_INVALID,
                    &err);
        assert_string_equal(err.msg, cases[i].message);
    }
}

static void
test_only_keys(void **state)
{
    static const char *const known[] = {"epochs", "batch_size", "id", NULL};
    static const struct {
        const char *doc, *message; /* NULL: fine */
    } cases[] = {
        {"{}", NULL},
        {"{\"epochs\":1,\"id\":2}", NULL},
        {"{\"epoch\":1}", "spec.epoch: unknown key; did you mean \"epochs\"?"},
        {"{\"bach-size\":1}", "spec.bach-size: unknown key; did you mean \"batch_size\"?"},
        {"{\"ID\":1}", "spec.ID: unknown key"},
        {"{\"x\":1}", "spec.x: unknown key"},
        {"{\"something\":1}", "spec.something: unknown key"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        SYN_JSON(doc);
        struct syn_err err = {0};
        int rc;

        doc = parsed(cases[i].doc);
        rc = syn_json_only_keys(doc, "spec", known, &err);
        assert_int_equal(rc, cases[i].message == NULL ? 0 : SYN_E_INVALID);
        if (cases[i].message != NULL)
            assert_string_equal(err.msg, cases[i].message);
    }
}

static void
test_quiet_lookups(void **state)
{
    SYN_JSON(doc);

    (void)state;
    doc = parsed(SAMPLE);
    assert_string_equal(syn_json_str(doc, "text", "-"), "abc");
    assert_string_equal(syn_json_str(doc, "int", "-"), "-");
    assert_string_equal(syn_json_str(NULL, "text", "-"), "-");
    assert_int_equal(syn_json_i64(doc, "int", -1), 5);
    assert_int_equal(syn_json_i64(doc, "real", -1), -1);
    assert_true(syn_json_bool(doc, "yes", false));
    assert_true(syn_json_bool(doc, "int", true));
    assert_int_equal(json_integer_value(syn_json_at(doc, "obj.deep.n")), 7);
    assert_ptr_equal(syn_json_at(doc, ""), doc);
    assert_null(syn_json_at(doc, "obj.no.n"));
    assert_null(syn_json_at(doc, "text.n"));
    assert_null(syn_json_at(doc, "list.0"));
    assert_null(syn_json_at(NULL, "a"));
}

/* --- setters --------------------------------------------------------------------------------- */

static void
test_setters(void **state)
{
    SYN_JSON(doc);
    SYN_BUF(out);
    struct syn_err err = {0};

    (void)state;
    doc = json_object();
    assert_done(syn_json_set_str(doc, "s", "t", &err), &err);
    assert_done(syn_json_set_str(doc, "z", NULL, &err), &err);
    assert_done(syn_json_set_i64(doc, "n", INT64_MIN, &err), &err);
    assert_done(syn_json_set_bool(doc, "b", true, &err), &err);
    assert_done(syn_json_set_take(doc, "l", json_array(), &err), &err);
    assert_done(syn_json_append_take(json_object_get(doc, "l"), json_integer(1), &err), &err);
    assert_done(syn_json_write(doc, &out, &err), &err);
    assert_string_equal(syn_buf_text(&out),
                        "{\"b\":true,\"l\":[1],\"n\":-9223372036854775808,\"s\":\"t\",\"z\":null}");
    assert_code(syn_json_set_take(doc, "x", NULL, &err), SYN_E_NOMEM, &err);
    assert_code(syn_json_append_take(json_object_get(doc, "l"), NULL, &err), SYN_E_NOMEM, &err);
}

/* A text from outside that is no UTF-8 is the caller's mistake, not a shortage of memory. */
static void
test_setters_refuse_bad_utf8(void **state)
{
    SYN_JSON(doc);
    SYN_JSON(packed);
    struct syn_err err = {0};
    int64_t before;

    (void)state;
    doc = json_object();
    before = syn_mem_live();
    assert_code(syn_json_set_str(doc, "s", "\xff", &err), SYN_E_INVALID, &err);
    assert_code(syn_json_set_i64(doc, "\xff", 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_json_pack(&packed, &err, "{s:s}", "k", "\xff"), SYN_E_INVALID, &err);
    assert_code(syn_json_pack(&packed, &err, "{s:?}", "k", 1), SYN_E_INTERNAL, &err);
    assert_int_equal(json_object_size(doc), 0);
    assert_null(packed);
    assert_int_equal(syn_mem_live(), before);
}

/* Reads, changes and writes a document, with every allocation failing in turn. */
static int
work(void *arg, struct syn_err *err)
{
    SYN_JSON(doc);
    SYN_JSON(packed);
    SYN_BUF(out);
    int rc = syn_json_parse(arg, strlen(arg), &doc, err);

    if (rc == 0)
        rc = syn_json_set_str(doc, "new", "value", err);
    if (rc == 0)
        rc = syn_json_set_i64(doc, "number", 12, err);
    if (rc == 0)
        rc = syn_json_set_take(doc, "list", json_array(), err);
    for (int i = 0; rc == 0 && i < 20; i++)
        rc = syn_json_append_take(json_object_get(doc, "list"), json_integer(i), err);
    if (rc == 0)
        rc = syn_json_pack(&packed, err, "{s:s, s:[i,i], s:O}", "a", "b", "c", 1, 2, "doc", doc);
    if (rc == 0)
        rc = syn_json_write(packed, &out, err);
    syn_buf_clear(&out);
    return rc == 0 ? syn_json_write_pretty(packed, &out, err) : rc;
}

static void
test_sweep(void **state)
{
    char text[] = SAMPLE;

    (void)state;
    assert_true(syn_test_sweep_alloc(work, text) >= 50);
}

/* A copy is whole or none, whatever there was no memory for. */
static int
copy(void *arg, struct syn_err *err)
{
    SYN_JSON(flat);
    SYN_JSON(deep);
    SYN_JSON(filled);

    flat = syn_json_copy(arg);
    deep = syn_json_deep_copy(arg);
    filled = json_object();
    if (flat == NULL || deep == NULL || filled == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no copy");
    assert_true(json_equal(flat, arg) && json_equal(deep, arg));
    return syn_json_set_missing(filled, arg, err);
}

static void
test_copies_are_whole(void **state)
{
    char text[] = SAMPLE;
    struct syn_err err = {0};
    SYN_JSON(doc);
    SYN_JSON(filled);

    (void)state;
    assert_done(syn_json_parse(text, strlen(text), &doc, &err), &err);
    assert_true(syn_test_sweep_alloc(copy, doc) >= 30);
    filled = json_pack("{s:i}", json_object_iter_key(json_object_iter(doc)), -1);
    assert_done(syn_json_set_missing(filled, doc, &err), &err);
    assert_int_equal(json_object_size(filled), json_object_size(doc));
    assert_false(json_equal(filled, doc)); /* what there was stands */
    assert_null(syn_json_copy(NULL));
    assert_null(syn_json_deep_copy(NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_in_text),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_objects_only),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getter_messages),
        cmocka_unit_test(test_only_keys),
        cmocka_unit_test(test_quiet_lookups),
        cmocka_unit_test(test_setters),
        cmocka_unit_test(test_setters_refuse_bad_utf8),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_copies_are_whole),
    };

    return cmocka_run_group_tests_name("json", tests, setup, NULL);
}
