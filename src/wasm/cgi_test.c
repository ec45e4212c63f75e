#include "cgi_priv.h"

#include <string.h>

#include <synor/base/buf.h>
#include <synor/base/test.h>

static void
outputs_are_told(void **state SYN_UNUSED)
{
    static const struct {
        const char *text;
        bool ended;
        enum wasm_cgi what;
        size_t end;
    } rows[] = {
        {"", false, WASM_CGI_MORE, 0},
        {"", true, WASM_CGI_RAW, 0},
        {"Sta", false, WASM_CGI_MORE, 0},
        {"Status", false, WASM_CGI_MORE, 0},
        {"Status", true, WASM_CGI_RAW, 0},
        {"Status quo\n\n", false, WASM_CGI_RAW, 0},
        {"status: 204\n\n", false, WASM_CGI_HEAD, 13},
        {"Status: 204\n", false, WASM_CGI_MORE, 0},
        {"Status: 204\n", true, WASM_CGI_RAW, 0},
        {"Content-Type: a/b\r\nX: y\r\n\r\nbody", false, WASM_CGI_HEAD, 27},
        {"Content-Type: a/b\nno colon\n\n", false, WASM_CGI_RAW, 0},
        {"Content-Type: a/b\nbad name: x\n\n", false, WASM_CGI_RAW, 0},
        {"Location: /\n\nStatus: 200\n\n", false, WASM_CGI_HEAD, 13},
        {"X-First: 1\nContent-Type: a/b\n\n", false, WASM_CGI_RAW, 0},
        {"{\"a\":1}", false, WASM_CGI_RAW, 0},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        size_t end = 0;

        assert_int_equal(wasm_cgi_look(rows[i].text, strlen(rows[i].text), rows[i].ended, &end),
                         rows[i].what);
        assert_int_equal(end, rows[i].end);
    }
}

static void
heads_have_limits(void **state SYN_UNUSED)
{
    static char text[SYN_WASM_HEADER_BYTES_MAX + 8] = "Status: 200\nX: ";
    size_t end = 0, count;
    SYN_BUF(many);

    memset(text + strlen(text), 'x', sizeof(text) - strlen(text) - 1);
    assert_int_equal(wasm_cgi_look(text, 100, false, &end), WASM_CGI_MORE);
    assert_int_equal(wasm_cgi_look(text, sizeof(text), false, &end), WASM_CGI_RAW);
    for (count = 0; count < SYN_WASM_HEADERS_MAX; count++)
        syn_buf_adds(&many, "Status: 200\n");
    syn_buf_adds(&many, "\n");
    assert_int_equal(wasm_cgi_look(many.data, many.len, false, &end), WASM_CGI_HEAD);
    assert_int_equal(end, many.len);
    many.data[many.len - 1] = 'X';
    syn_buf_adds(&many, ": 1\n\n");
    assert_int_equal(wasm_cgi_look(many.data, many.len, false, &end), WASM_CGI_RAW);
}

static void
lines_are_taken_off(void **state SYN_UNUSED)
{
    const char *text = "Status: 404 Not Found\r\nX-A:\tb c \r\n\r\n";
    struct syn_wasm_text head = {text, strlen(text)}, name, value;

    assert_true(wasm_cgi_next(&head, &name, &value));
    assert_true(wasm_text_is(name, "STATUS"));
    assert_int_equal(wasm_cgi_status(value), 404);
    assert_true(wasm_cgi_next(&head, &name, &value));
    assert_int_equal(value.size, 3);
    assert_memory_equal(value.at, "b c", 3);
    assert_false(wasm_cgi_next(&head, &name, &value));
}

static void
a_status_is_a_number(void **state SYN_UNUSED)
{
    static const struct {
        const char *text;
        int status;
    } rows[] = {{"200", 200}, {"599 x", 599}, {"600", 0},      {"199", 0},
                {"20", 0},    {"2000", 0},    {"2x0", 0},      {"", 0},
                {"-20", 0},   {"404Not", 0},  {"404 Not", 404}};

    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(
            wasm_cgi_status((struct syn_wasm_text){rows[i].text, strlen(rows[i].text)}),
            rows[i].status);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_told),
        cmocka_unit_test(heads_have_limits),
        cmocka_unit_test(lines_are_taken_off),
        cmocka_unit_test(a_status_is_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
