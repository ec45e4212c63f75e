/* References as people write them, and those that nobody may. */
#include <synor/base/test.h>

#include <string.h>

#include <synor/base/image_ref.h>
#include <synor/base/json.h>
#include <synor/base/str.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
test_complete(void **state)
{
    static const char *const rows[][2] = {
        {"nginx", "docker.io/library/nginx:latest"},
        {"nginx:1.25", "docker.io/library/nginx:1.25"},
        {"me/web", "docker.io/me/web:latest"},
        {"docker.io/nginx", "docker.io/library/nginx:latest"},
        {"index.docker.io/me/web:1", "docker.io/me/web:1"},
        {"GHCR.io/me/web", "ghcr.io/me/web:latest"},
        {"localhost/web", "localhost/web:latest"},
        {"localhost:5000/a/b/c:v1.2-x_Y", "localhost:5000/a/b/c:v1.2-x_Y"},
        {"127.0.0.1:5000/web", "127.0.0.1:5000/web:latest"},
        {"[::1]:5000/web", "[::1]:5000/web:latest"},
        {"a.b/c__d.e-f--g", "a.b/c__d.e-f--g:latest"},
        {"web@sha256:" HEX, "docker.io/library/web@sha256:" HEX},
        {"r.io/web:1@sha256:" HEX, "r.io/web:1@sha256:" HEX},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char out[SYN_IMAGE_REF_MAX];
        struct syn_image_ref ref;
        struct syn_err err = {0};

        assert_done(syn_image_ref_parse(rows[i][0], &ref, &err), &err);
        assert_string_equal(syn_image_ref_format(&ref, out), rows[i][1]);
        /* What is written out means itself. */
        assert_done(syn_image_ref_parse(out, &ref, &err), &err);
        assert_string_equal(syn_image_ref_format(&ref, out), rows[i][1]);
    }
}

static void
test_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "/",
        ":",
        "@",
        "a:",
        "a@",
        "A",
        "a/",
        "/a",
        "a//b",
        "a/../b",
        "../a",
        "a b",
        "a\nb",
        "a?b",
        "a#b",
        "a%2f",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "a.b:0/c",
        "a.b:65536/c",
        "a.b:08/c",
        "a.b:x/c",
        "-a.b/c",
        "a-.b/c",
        "a..b/c",
        ".a/b",
        "a./b",
        "u:p@h.io/x",
        "[::1/x",
        "[]/x",
        "[::1]x/y",
        "[1.2.3.4]/x",
        "a:.x",
        "a:-x",
        "a:b:c",
        "a@sha256:00",
        "https://a.b/c",
        "a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_image_ref ref;
        struct syn_err err = {0};

        if (syn_image_ref_parse(rows[i], &ref, &err) == SYN_OK)
            fail_msg("taken: %s", rows[i]);
        assert_true(err.msg[0] != '\0');
    }
}

static void
test_too_long(void **state)
{
    char text[SYN_IMAGE_REF_MAX + 64];
    struct syn_image_ref ref;
    struct syn_err err = {0};

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_code(syn_image_ref_parse(text, &ref, &err), SYN_E_LIMIT, &err);
    /* Short enough as given, too long when it is complete. */
    text[SYN_IMAGE_PATH_MAX - 4] = '\0';
    assert_code(syn_image_ref_parse(text, &ref, &err), SYN_E_LIMIT, &err);
    assert_code(syn_image_ref_parse("a@sha512:00", &ref, &err), SYN_E_UNSUPPORTED, &err);
    assert_code(syn_image_ref_parse("a@sha256:" HEX "0", &ref, &err), SYN_E_INVALID, &err);
    assert_code(syn_image_ref_parse("a@sha256:" HEX "@sha256:" HEX, &ref, &err), SYN_E_INVALID,
                &err);
}

static void
test_loopback(void **state)
{
    static const char *const yes[] = {"localhost",      "LOCALHOST:1", "127.0.0.1",
                                      "127.9.8.7:5000", "[::1]",       "[::1]:5000"};
    static const char *const no[] = {
        "localhost.evil.com", "127.0.0.1.evil.com", "127.evil.com", "127.0.1", "[::2]", "[::1",
        "10.0.0.1",           "docker.io",          "1127.0.0.1"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(yes); i++)
        assert_true(syn_image_host_loopback(yes[i]));
    for (size_t i = 0; i < SYN_LEN(no); i++)
        assert_false(syn_image_host_loopback(no[i]));
}

static void
test_credentials(void **state)
{
    static const char file[] =
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"aHViOnB3\"},"
        "\"r.io:5000\":{\"auth\":\"cjpwdw==\"},\"https://g.io/v2/\":{\"auth\":\"ZzpwdA==\"},"
        "\"bad.io\":{\"auth\":\"a\\r\\nX: y\"},\"empty.io\":{}},"
        "\"credHelpers\":{\"helped.io\":\"x\"}}";
    static const char *const rows[][2] = {{"docker.io", "aHViOnB3"}, {"r.io:5000", "cjpwdw=="},
                                          {"g.io", "ZzpwdA=="},      {"r.io", ""},
                                          {"empty.io", ""},          {"evil-g.io", ""}};
    char out[SYN_IMAGE_AUTH_MAX];
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_done(syn_image_auth_find(file, strlen(file), rows[i][0], out, &err), &err);
        assert_string_equal(out, rows[i][1]);
    }
    assert_code(syn_image_auth_find(file, strlen(file), "bad.io", out, &err), SYN_E_INVALID, &err);
    assert_null(strstr(err.msg, "X: y"));
    assert_int_equal(syn_image_auth_find(file, strlen(file), "helped.io", out, &err),
                     SYN_IMAGE_HELPER);
    assert_string_equal(out, "x");
    assert_code(syn_image_auth_find("{\"secret", 8, "r.io", out, &err), SYN_E_INVALID, &err);
    assert_null(strstr(err.msg, "secret"));
}

static void
test_helpers(void **state)
{
    static const char file[] =
        "{\"auths\":{\"own.io\":{\"auth\":\"b3du\"},\"text.io\":{\"auth\":\"dGV4dA==\"},\"all.io\":"
        "{}},\"credsStore\":\"for-all\",\"credHelpers\":{\"own.io\":\"its.own\",\"bad.io\":"
        "\"../../bin/sh\",\"worse.io\":\"a b\",\"none.io\":\"\"}}";
    static const char *const rows[][2] = {{"own.io", "its.own"},
                                          {"all.io", "for-all"},
                                          {"docker.io", "for-all"},
                                          {"none.io", "for-all"}};
    static const char *const answers[] = {"",
                                          "[]",
                                          "{}",
                                          "{\"Username\":\"\",\"Secret\":\"s3cret\"}",
                                          "{\"Username\":\"a:b\",\"Secret\":\"s3cret\"}",
                                          "{\"Username\":1,\"Secret\":\"s3cret\"}"};
    static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"s\"}";
    static const char good[] = "{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"p:w\"}";
    char out[SYN_IMAGE_AUTH_MAX], password[SYN_IMAGE_AUTH_MAX];
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_int_equal(syn_image_auth_find(file, strlen(file), rows[i][0], out, &err),
                         SYN_IMAGE_HELPER);
        assert_string_equal(out, rows[i][1]);
    }
    assert_done(syn_image_auth_find(file, strlen(file), "text.io", out, &err), &err);
    assert_string_equal(out, "dGV4dA==");
    assert_code(syn_image_auth_find(file, strlen(file), "bad.io", out, &err), SYN_E_INVALID, &err);
    assert_code(syn_image_auth_find(file, strlen(file), "worse.io", out, &err), SYN_E_INVALID,
                &err);
    for (size_t i = 0; i < SYN_LEN(answers); i++) {
        assert_code(syn_image_helper_read(answers[i], strlen(answers[i]), out, password, &err),
                    SYN_E_INVALID, &err);
        assert_null(strstr(err.msg, "s3cret"));
    }
    assert_code(syn_image_helper_read(token, strlen(token), out, password, &err), SYN_E_UNSUPPORTED,
                &err);
    assert_done(syn_image_helper_read(good, strlen(good), out, password, &err), &err);
    assert_string_equal(out, "u");
    assert_string_equal(password, "p:w");
    assert_string_equal(syn_image_helper_key("docker.io"), "https://index.docker.io/v1/");
    assert_string_equal(syn_image_helper_key("r.io:5000"), "r.io:5000");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_long),    cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_credentials), cmocka_unit_test(test_helpers),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("base/image_ref", tests, NULL, NULL);
}
