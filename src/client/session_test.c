/* The frames of sessions: what is written is read, and nothing else is. */
#include <synor/client/session.h>

#include <synor/base/test.h>

static void
test_round_trip(void **state)
{
    static const struct {
        enum syn_frame_kind kind;
        const char *text;
    } rows[] = {{SYN_FRAME_IN, "words"}, {SYN_FRAME_IN_END, ""}, {SYN_FRAME_EXIT, "{}"}};
    SYN_BUF(out);
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_frame_write(&out, rows[i].kind, rows[i].text, strlen(rows[i].text));
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        struct syn_frame frame;
        size_t len = 4 + strlen(rows[i].text);

        for (size_t part = 0; part < len; part++)
            assert_int_equal(syn_frame_parse(out.data + at, part, &frame, &err), 0);
        assert_int_equal(syn_frame_parse(out.data + at, out.len - at, &frame, &err), len);
        assert_int_equal(frame.kind, rows[i].kind);
        assert_int_equal(frame.len, strlen(rows[i].text));
        assert_memory_equal(frame.data, rows[i].text, frame.len);
        at += len;
    }
    assert_int_equal(at, out.len);
}

static void
test_largest(void **state)
{
    static char block[SYN_FRAME_MAX];
    struct syn_frame frame;
    struct syn_err err = {0};
    SYN_BUF(out);

    (void)state;
    memset(block, 'x', sizeof(block));
    syn_frame_write(&out, SYN_FRAME_OUT, block, sizeof(block));
    assert_int_equal(syn_frame_parse(out.data, out.len, &frame, &err), out.len);
    assert_int_equal(frame.len, sizeof(block));
}

static void
test_nonsense(void **state)
{
    static const char *const rows[] = {"HTTP/1.1 400", "\x08\0\0\0", "\xff\0\0\1x",
                                       "\0\1\0\1zzzzzzzz", "\0\xff\xff\xff"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        struct syn_frame frame;

        assert_int_equal(syn_frame_parse(rows[i], 4, &frame, &err), SYN_E_CORRUPT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
