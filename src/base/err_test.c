#include <synor/base/err.h>
#include <synor/base/test.h>

#include <errno.h>

#include <synor/base/str.h>

static void
test_rows(void **state)
{
    size_t count;
    const struct syn_err_info *rows = syn_err_table(&count);

    (void)state;
    assert_true(count >= 20);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rows[i].code, -(int)(i + 1));
        assert_ptr_equal(syn_err_info(rows[i].code), &rows[i]);
        assert_ptr_equal(syn_err_info_by_wire(rows[i].wire), &rows[i]);
        assert_true(syn_name_ok(rows[i].wire));
        assert_true(rows[i].text[0] != '\0' && rows[i].symbol[0] != '\0');
        assert_in_range(rows[i].http, 400, 599);
        assert_in_range(rows[i].exit, 1, 4);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rows[i].wire, rows[j].wire);
    }
    assert_int_equal(syn_err_info(SYN_E_FUNDS)->exit, 4);
    assert_int_equal(syn_err_info(SYN_E_UNPLACEABLE)->exit, 3);
    assert_int_equal(syn_err_info(SYN_E_INVALID)->exit, 2);
}

static void
test_unknown_codes_are_internal(void **state)
{
    (void)state;
    assert_string_equal(syn_err_info(-9999)->wire, "internal");
    assert_string_equal(syn_err_info(0)->wire, "internal");
    assert_string_equal(syn_err_info(5)->wire, "internal");
    assert_null(syn_err_info_by_wire("no-such-code"));
    assert_null(syn_err_info_by_wire(NULL));
}

static void
test_errno(void **state)
{
    static const struct {
        int errnum, code;
    } cases[] = {
        {ENOMEM, SYN_E_NOMEM},
        {ENOSPC, SYN_E_NOSPACE},
        {EDQUOT, SYN_E_NOSPACE},
        {ENOENT, SYN_E_NOTFOUND},
        {ESRCH, SYN_E_NOTFOUND},
        {EEXIST, SYN_E_EXISTS},
        {EACCES, SYN_E_FORBIDDEN},
        {EPERM, SYN_E_FORBIDDEN},
        {ETIMEDOUT, SYN_E_TIMEOUT},
        {ECONNREFUSED, SYN_E_UNAVAILABLE},
        {ENOSYS, SYN_E_UNSUPPORTED},
        {EFBIG, SYN_E_TOOBIG},
        {ENAMETOOLONG, SYN_E_TOOBIG},
        {EIO, SYN_E_IO},
        {EBADF, SYN_E_IO},
        {123456, SYN_E_IO},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        assert_int_equal(syn_err_from_errno(cases[i].errnum), cases[i].code);
}

static void
test_set_and_wrap(void **state)
{
    struct syn_err err = {0};
    int line = __LINE__ + 3;

    (void)state;
    assert_int_equal(SYN_FAIL(&err, SYN_E_CONFLICT, "queue full (%u)", 7U), SYN_E_CONFLICT);
    assert_int_equal(err.code, SYN_E_CONFLICT);
    assert_int_equal(err.line, line);
    assert_int_equal(err.sys, 0);
    assert_string_equal(err.file, __FILE__);
    assert_string_equal(err.msg, "queue full (7)");
    assert_int_equal(syn_err_wrap(&err, SYN_E_CONFLICT, "placing %s", "a"), SYN_E_CONFLICT);
    assert_string_equal(err.msg, "placing a: queue full (7)");
    assert_int_equal(err.line, line);
    /* A wrap that gives another code changes what the error says it is. */
    assert_int_equal(syn_err_wrap(&err, SYN_E_CORRUPT, "reading"), SYN_E_CORRUPT);
    assert_int_equal(err.code, SYN_E_CORRUPT);

    assert_int_equal(SYN_FAIL_SYS(&err, ENOSPC, "writing %s", "x"), SYN_E_NOSPACE);
    assert_int_equal(err.sys, ENOSPC);
    assert_string_equal(err.msg, "writing x: No space left on device");
    assert_int_equal(SYN_FAIL_SYS(&err, 123456, "x"), SYN_E_IO);
    assert_string_equal(err.msg, "x: unknown system error");
    assert_int_equal(SYN_FAIL(NULL, SYN_E_IO, "nobody listens"), SYN_E_IO);
    assert_int_equal(syn_err_wrap(NULL, SYN_E_IO, "nobody listens"), SYN_E_IO);
}

static void
test_long_messages_are_cut(void **state)
{
    struct syn_err err = {0};
    char text[600];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)SYN_FAIL_SYS(&err, EIO, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    (void)SYN_FAIL(&err, SYN_E_IO, "inner");
    (void)syn_err_wrap(&err, SYN_E_IO, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

/* A message is printable UTF-8 whatever a stranger put into it and wherever it was cut. */
static void
test_messages_are_printable(void **state)
{
    static const struct {
        const char *given, *want;
    } cases[] = {
        {"\xc3\xbc.", "\xc3\xbc."},
        {"\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xff", "a?"},
        {"\xc3", "?"},
        {"\xe2\x82", "??"},
        {"\xe2\x82x", "??x"},
        {"\xed\xa0\x80", "???"},
        {"a\x1b[31m\nb\x7f", "a?[31m?b?"},
    };
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "%s", cases[i].given);
        assert_string_equal(err.msg, cases[i].want);
    }
    for (size_t pad = 225; pad < sizeof(err.msg); pad++) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "%*s\xf0\x9f\x98\x80", (int)pad, "");
        assert_true(syn_utf8_ok(err.msg, strlen(err.msg)));
        (void)SYN_FAIL(&err, SYN_E_INVALID, "\xf0\x9f\x98\x80");
        (void)syn_err_wrap(&err, SYN_E_INVALID, "%*s", (int)pad - 2, "");
        assert_true(syn_utf8_ok(err.msg, strlen(err.msg)));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_unknown_codes_are_internal),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_set_and_wrap),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_messages_are_printable),
    };

    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
