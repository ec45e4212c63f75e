#include <synor/base/test.h>
#include <synor/workload/function_spec.h>

#include <string.h>

#define GET  1U
#define POST 2U

static void
test_patterns(void **state)
{
    static const char *const good[] = {
        "/", "/a", "/a/b.c", "/{id}", "/a/{id}/c/{rest*}", "/{all*}", "/a%20b", "/~user:1@x,y;z=1"};
    static const char *const bad[] = {"",          "a",       "/a/",     "//",    "/a//b",  "/{}",
                                      "/{a}/{a}",  "/{a*}/b", "/a{b}",   "/{1a}", "/{a-b}", "/a b",
                                      "/a?b",      "/./a",    "/..",     "/%2",   "/%zz",   "/{a",
                                      "/\xc3\xa4", "/{*}",    "/{a}{b}", "/a#b"};
    static char long_one[SYN_FUNCTION_PATH_MAX + 2];
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++)
        assert_done(syn_function_pattern_check(good[i], &err), &err);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_function_pattern_check(bad[i], &err), SYN_E_INVALID, &err);
    memset(long_one, 'a', sizeof(long_one) - 1);
    long_one[0] = '/';
    assert_code(syn_function_pattern_check(long_one, &err), SYN_E_INVALID, &err);
    long_one[SYN_FUNCTION_PATH_MAX] = '\0';
    assert_done(syn_function_pattern_check(long_one, &err), &err);
}

static void
test_same(void **state)
{
    (void)state;
    assert_true(syn_function_pattern_same("/a/{x}", "/a/{y}"));
    assert_true(syn_function_pattern_same("/{x*}", "/{y*}"));
    assert_true(syn_function_pattern_same("/", "/"));
    assert_false(syn_function_pattern_same("/a/{x}", "/a/{x*}"));
    assert_false(syn_function_pattern_same("/a/{x}", "/a/x"));
    assert_false(syn_function_pattern_same("/a", "/a/b"));
    assert_false(syn_function_pattern_same("/", "/a"));
}

static const struct {
    const char *host, *pattern;
    uint32_t methods;
} rows[] = {
    {"", "/", GET},
    {"", "/api/{id}", GET | POST},
    {"", "/api/list", GET},
    {"", "/api/{id}/items/{item}", GET},
    {"", "/api/list/items/first", POST},
    {"", "/files/{rest*}", GET},
    {"", "/files/{a}/x", GET},
    {"own.example", "/api/{any*}", GET},
};

struct want {
    const char *host, *path;
    uint32_t method;
    int row;              /* or a code */
    const char *names[3]; /* "name=value" */
};

static void
check(const struct syn_function_routes *routes, const struct want *want)
{
    struct syn_function_match match;
    int rc = syn_function_routes_find(routes, want->host, strlen(want->host), want->path,
                                      strlen(want->path), want->method, &match);
    char text[128];
    unsigned i;

    if (want->row < 0) {
        if (rc != want->row)
            fail_msg("%s: %d", want->path, rc);
        return;
    }
    if (rc != 0)
        fail_msg("%s: %d", want->path, rc);
    if (match.target != &rows[want->row])
        fail_msg("%s: another row", want->path);
    for (i = 0; i < 3 && want->names[i] != NULL; i++) {
        assert_true(i < match.count);
        (void)snprintf(text, sizeof(text), "%.*s=%.*s", (int)match.params[i].name_size,
                       match.params[i].name, (int)match.params[i].value_size,
                       match.params[i].value);
        assert_string_equal(text, want->names[i]);
    }
    assert_int_equal(match.count, i);
}

static struct syn_function_routes *
make(void)
{
    struct syn_function_routes *routes = NULL;
    struct syn_err err;

    assert_done(syn_function_routes_new(&routes, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_done(syn_function_routes_add(routes, rows[i].host, rows[i].pattern, rows[i].methods,
                                            (void *)(uintptr_t)&rows[i], &err),
                    &err);
    return routes;
}

static void
test_find(void **state)
{
    static const struct want wants[] = {
        {"x", "/", GET, 0, {NULL}},
        {"x", "/api/7", GET, 1, {"id=7"}},
        {"x", "/api/list", GET, 2, {NULL}},
        {"x", "/api/list", POST, 1, {"id=list"}}, /* the more exact one is for GET alone */
        {"x", "/api/list/items/2", GET, 3, {"id=list", "item=2"}},
        {"x", "/api/list/items/first", GET, 3, {"id=list", "item=first"}},
        {"x", "/api/list/items/first", POST, 4, {NULL}},
        {"x", "/api/a%2Fb", GET, 1, {"id=a%2Fb"}},
        {"x", "/api/", GET, SYN_E_NOTFOUND, {NULL}},
        {"x", "/api", GET, SYN_E_NOTFOUND, {NULL}},
        {"x", "/api/7/", GET, SYN_E_NOTFOUND, {NULL}},
        {"x", "/files", GET, 5, {"rest="}},
        {"x", "/files/", GET, 5, {"rest="}},
        {"x", "/files/a/b/c", GET, 5, {"rest=a/b/c"}},
        {"x", "/files/a/x", GET, 6, {"a=a"}},
        {"x", "/files/a//x", GET, 5, {"rest=a//x"}},
        {"x", "/files/a", POST, SYN_E_UNSUPPORTED, {NULL}},
        {"OWN.example", "/api/list", GET, 7, {"any=list"}},
        {"own.example", "/api/list", POST, 1, {"id=list"}},
        {"own.example", "/", GET, 0, {NULL}},
        {"own.exampl", "/api/list", GET, 2, {NULL}},
        {"", "nothing", GET, SYN_E_NOTFOUND, {NULL}},
        {"", "", GET, SYN_E_NOTFOUND, {NULL}},
    };
    struct syn_function_routes *routes = make();
    struct syn_function_match match;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(wants); i++)
        check(routes, &wants[i]);
    assert_int_equal(syn_function_routes_find(routes, "", 0, "/files/a/x", 10, POST, &match),
                     SYN_E_UNSUPPORTED);
    assert_int_equal(match.methods, GET);
    assert_code(syn_function_routes_add(routes, "", "/api/{other}", POST, NULL, &err), SYN_E_EXISTS,
                &err);
    assert_done(syn_function_routes_add(routes, "", "/api/list", POST, NULL, &err), &err);
    assert_null(syn_function_routes_free(routes));
}

static int
build(void *arg, struct syn_err *err)
{
    struct syn_function_routes *routes = NULL;
    int rc = syn_function_routes_new(&routes, err);

    (void)arg;
    for (size_t i = 0; rc == 0 && i < SYN_LEN(rows); i++)
        rc = syn_function_routes_add(routes, rows[i].host, rows[i].pattern, rows[i].methods, NULL,
                                     err);
    (void)syn_function_routes_free(routes);
    return rc;
}

static void
test_no_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(build, NULL) > 20);
}

static void
test_billed(void **state)
{
    (void)state;
    assert_int_equal(syn_function_billed_ms(0), 1);
    assert_int_equal(syn_function_billed_ms(1), 1);
    assert_int_equal(syn_function_billed_ms(1000000), 1);
    assert_int_equal(syn_function_billed_ms(1000001), 2);
    assert_int_equal(syn_function_billed_ms(INT64_MAX), INT64_MAX / 1000000 + 1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_same),
        cmocka_unit_test(test_find),     cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_billed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
