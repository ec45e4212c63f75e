#include <synor/base/str.h>
#include <synor/base/test.h>

#include <locale.h>

static void
test_compare(void **state)
{
    (void)state;
    assert_true(syn_str_eq(NULL, NULL));
    assert_false(syn_str_eq(NULL, ""));
    assert_false(syn_str_eq("", NULL));
    assert_true(syn_str_eq("a", "a"));
    assert_false(syn_str_eq("a", "A"));
    assert_true(syn_str_starts("abc", "ab") && syn_str_starts("abc", ""));
    assert_false(syn_str_starts("ab", "abc"));
    assert_true(syn_str_ends("abc", "bc") && syn_str_ends("abc", ""));
    assert_false(syn_str_ends("bc", "abc"));
    assert_false(syn_str_ends("abcd", "bc"));
}

static void
test_copy(void **state)
{
    char out[4] = "zzz";

    (void)state;
    assert_true(syn_str_copy(out, sizeof(out), "abc"));
    assert_string_equal(out, "abc");
    assert_false(syn_str_copy(out, sizeof(out), "abcd"));
    assert_string_equal(out, "abc");
    assert_true(syn_str_copy(out, sizeof(out), out + 1));
    assert_string_equal(out, "bc");
    assert_false(syn_str_copy(out, 1, "x"));
    assert_string_equal(out, "");
}

static void
test_u64(void **state)
{
    static const struct {
        const char *text;
        uint64_t min, max;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", 0, 9, true, 0},
        {"007", 0, 9, true, 7},
        {"18446744073709551615", 0, UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX, false, 0},
        {"99999999999999999999999", 0, UINT64_MAX, false, 0},
        {"10", 0, 9, false, 0},
        {"0", 1, 9, false, 0},
        {"", 0, 9, false, 0},
        {"-1", 0, 9, false, 0},
        {"+1", 0, 9, false, 0},
        {" 1", 0, 9, false, 0},
        {"1 ", 0, 9, false, 0},
        {"0x1", 0, 9, false, 0},
        {"1.0", 0, 9, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};
        uint64_t value = 77;
        int rc = syn_parse_u64(cases[i].text, cases[i].min, cases[i].max, "workers", &value, &err);

        assert_int_equal(rc, cases[i].ok ? 0 : SYN_E_INVALID);
        assert_true(value == (cases[i].ok ? cases[i].value : 77));
        assert_true(cases[i].ok || strstr(err.msg, "workers") != NULL);
    }
}

static void
test_i64(void **state)
{
    static const struct {
        const char *text;
        int64_t min, max;
        bool ok;
        int64_t value;
    } cases[] = {
        {"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
        {"-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN},
        {"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
        {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
        {"-0", INT64_MIN, INT64_MAX, true, 0},
        {"-1", 0, 5, false, 0},
        {"6", 0, 5, false, 0},
        {"5", 0, 5, true, 5},
        {"-", INT64_MIN, INT64_MAX, false, 0},
        {"--1", INT64_MIN, INT64_MAX, false, 0},
        {"", INT64_MIN, INT64_MAX, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};
        int64_t value = 77;
        int rc = syn_parse_i64(cases[i].text, cases[i].min, cases[i].max, "step", &value, &err);

        assert_int_equal(rc, cases[i].ok ? 0 : SYN_E_INVALID);
        assert_true(value == (cases[i].ok ? cases[i].value : 77));
    }
}

static void
test_double(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        double value;
    } cases[] = {
        {"0.01", true, 0.01}, {"1e-3", true, 1e-3}, {"-2", true, -2},    {".5", true, .5},
        {"5.", true, 5},      {"1E+2", true, 100},  {"", false, 0},      {".", false, 0},
        {"-", false, 0},      {"1e", false, 0},     {"1e+", false, 0},   {"nan", false, 0},
        {"inf", false, 0},    {"0x1p3", false, 0},  {"1,5", false, 0},   {"1e999", false, 0},
        {"101", false, 0},    {"-101", false, 0},   {" 1", false, 0},    {"1 ", false, 0},
        {"+1", false, 0},     {"1f", false, 0},     {"1e2.5", false, 0},
    };

    (void)state;
    /* Where there is a locale with a decimal comma, it changes nothing. */
    (void)setlocale(LC_ALL, "de_DE.UTF-8");
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_err err = {0};
        double value = 77;
        int rc = syn_parse_double(cases[i].text, -100, 100, "rate", &value, &err);

        assert_int_equal(rc, cases[i].ok ? 0 : SYN_E_INVALID);
        assert_true(value == (cases[i].ok ? cases[i].value : 77));
    }
    (void)setlocale(LC_ALL, "C");
}

static void
test_hex(void **state)
{
    struct syn_err err = {0};
    uint8_t bytes[3] = {0x00, 0xaf, 0xff};
    uint8_t out[3] = {9, 9, 9};
    char text[7];

    (void)state;
    syn_hex_encode(bytes, sizeof(bytes), text);
    assert_string_equal(text, "00afff");
    assert_done(syn_hex_decode("00AfFf", out, sizeof(out), &err), &err);
    assert_memory_equal(out, bytes, sizeof(bytes));
    memset(out, 9, sizeof(out));
    assert_code(syn_hex_decode("00afg0", out, sizeof(out), &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "character 5"));
    assert_code(syn_hex_decode("00aff", out, sizeof(out), &err), SYN_E_INVALID, &err);
    assert_code(syn_hex_decode("00afff0", out, sizeof(out), &err), SYN_E_INVALID, &err);
    assert_int_equal(out[0], 9);
    syn_hex_encode(bytes, 0, text);
    assert_string_equal(text, "");
}

static void
test_names(void **state)
{
    static const char *const good[] = {"a", "0", "a-b", "a--b", "node1"};
    static const char *const bad[] = {"", "-", "a-", "-a", "A", "a_b", "a.b", "a b", "\xc3\xbc"};
    char longest[65];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++)
        assert_true(syn_name_ok(good[i]));
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_false(syn_name_ok(bad[i]));
    memset(longest, 'a', 64);
    longest[64] = '\0';
    assert_false(syn_name_ok(longest));
    assert_true(syn_name_ok(longest + 1));
}

/* Every sequence of one to four bytes of a few that matter, against the definition of UTF-8. */
static bool
utf8_by_definition(const unsigned char *at, size_t len)
{
    while (len > 0) {
        size_t need = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
        uint32_t code = need == 1 ? at[0] : at[0] & (0x7fU >> need);
        static const uint32_t smallest[] = {0, 1, 0x80, 0x800, 0x10000};

        if (need > len || (at[0] & 0xc0) == 0x80 || at[0] >= 0xf8)
            return false;
        for (size_t i = 1; i < need; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
            code = code << 6 | (at[i] & 0x3fU);
        }
        if (code < smallest[need] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
            return false;
        at += need;
        len -= need;
    }
    return true;
}

/* The length of the first character is the one that makes a well-formed text of it. */
static void
check_utf8_len(const char *text, size_t len)
{
    size_t want = 0;

    for (size_t i = len; i > 0; i--) {
        if (utf8_by_definition((const unsigned char *)text, i))
            want = i;
    }
    assert_int_equal(syn_utf8_len(text, len), want);
}

static void
test_utf8(void **state)
{
    static const unsigned char edges[] = {
        0x00, 0x01, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
        0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff};
    const size_t n = SYN_LEN(edges);

    (void)state;
    assert_true(syn_utf8_ok("", 0));
    for (size_t i = 0; i < n * n * n * n; i++) {
        unsigned char text[4] = {edges[i % n], edges[i / n % n], edges[i / n / n % n],
                                 edges[i / n / n / n]};

        for (size_t len = 1; len <= 4; len++) {
            if (syn_utf8_ok((const char *)text, len) != utf8_by_definition(text, len))
                fail_msg("%02x %02x %02x %02x, %zu bytes", text[0], text[1], text[2], text[3], len);
            check_utf8_len((const char *)text, len);
        }
    }
}

static void
test_hex_digit(void **state)
{
    static const char digits[] = "0123456789abcdef";

    (void)state;
    for (int c = -128; c < 128; c++) {
        char lower = (char)(c >= 'A' && c <= 'F' ? c + 32 : c);
        const char *at = lower != '\0' ? strchr(digits, lower) : NULL;

        assert_int_equal(syn_hex_digit((char)c), at != NULL ? at - digits : -1);
    }
}

static void
test_distance(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned cap, want;
    } cases[] = {
        {"", "", 9, 0},
        {"a", "", 9, 1},
        {"", "abc", 9, 3},
        {"kitten", "sitting", 9, 3},
        {"epochs", "epoch", 9, 1},
        {"abc", "abc", 9, 0},
        {"abc", "xyz", 2, 2},
        {"flaw", "lawn", 9, 2},
    };
    char text[66];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        assert_int_equal(syn_str_distance(cases[i].a, cases[i].b, cases[i].cap), cases[i].want);
        assert_int_equal(syn_str_distance(cases[i].b, cases[i].a, cases[i].cap), cases[i].want);
    }
    memset(text, 'a', 65);
    text[65] = '\0';
    assert_int_equal(syn_str_distance(text, text, 5), 5);
    assert_int_equal(syn_str_distance(text + 1, text + 1, 5), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),   cmocka_unit_test(test_copy),
        cmocka_unit_test(test_u64),       cmocka_unit_test(test_i64),
        cmocka_unit_test(test_double),    cmocka_unit_test(test_hex),
        cmocka_unit_test(test_names),     cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_hex_digit), cmocka_unit_test(test_distance),
    };

    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
