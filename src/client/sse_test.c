#include <synor/base/test.h>

#include "sse_priv.h"

/* Events as "id|name|data;" in one text. */
static int
note(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct syn_buf *seen = arg;

    if (strcmp(event->name, "stop") == 0)
        return SYN_CLIENT_STOP;
    if (strcmp(event->name, "fail") == 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "as asked");
    assert_int_equal(strlen(event->data), event->len);
    syn_buf_addf(seen, "%s|%s|%s;", event->id, event->name, event->data);
    return SYN_OK;
}

static const struct {
    const char *stream;
    const char *want;
    int rc;
} rows[] = {
    {"data: a\n\n", "|message|a;", 0},
    {"data:a\ndata: b\n\n", "|message|a\nb;", 0},
    {"id: 7\nevent: log\ndata: x\n\ndata: y\n\n", "7|log|x;7|message|y;", 0},
    {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", "|message|a;|message|b;|message|c;", 0},
    {": comment\n\nevent: log\n\ndata: a\n\n", "|message|a;", 0},
    {"data\n\n", "|message|;", 0},
    {"data:  two\n\n", "|message| two;", 0},
    {"unknown: x\nretry: 50\ndata: a\n\n", "|message|a;", 0},
    {"\xEF\xBB\xBF"
     "data: a\n\n",
     "|message|a;", 0},
    {"data: unfinished\n", "", 0},
    {"id: 1\ndata: a\n\nid\ndata: b\n\n", "1|message|a;|message|b;", 0},
    {"event: stop\ndata: x\n\ndata: more\n\n", "", SYN_CLIENT_STOP},
    {"event: fail\ndata: x\n\n", "", SYN_E_CONFLICT},
};

static void
read_in_pieces(const char *stream, size_t piece, const char *want, int want_rc)
{
    SYN_BUF(seen);
    SYN_SCOPED(sse_parser_fini) struct sse_parser parser;
    struct syn_err err = {0};
    int rc = 0;

    sse_parser_init(&parser, note, &seen);
    while (*stream != '\0' && rc == 0) {
        size_t len = SYN_MIN(piece, strlen(stream));

        rc = sse_parser_feed(&parser, stream, len, &err);
        stream += len;
    }
    assert_code(rc, want_rc, &err);
    assert_string_equal(syn_buf_text(&seen), want);
}

/* In pieces of every size: cuts must not matter. */
static void
test_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        for (size_t piece = 1; piece <= strlen(rows[i].stream); piece++)
            read_in_pieces(rows[i].stream, piece, rows[i].want, rows[i].rc);
    }
}

static void
test_limits(void **state)
{
    SYN_BUF(seen);
    SYN_SCOPED(sse_parser_fini) struct sse_parser parser;
    static char block[1 << 20];
    struct syn_err err;
    int rc;

    (void)state;
    memset(block, 'x', sizeof(block));
    sse_parser_init(&parser, note, &seen);
    assert_done(sse_parser_feed(&parser, "data: ", 6, &err), &err);
    do
        rc = sse_parser_feed(&parser, block, sizeof(block), &err);
    while (rc == 0);
    assert_code(rc, SYN_E_TOOBIG, &err);
    sse_parser_restart(&parser);
    do {
        rc = sse_parser_feed(&parser, "data: ", 6, &err);
        if (rc == 0)
            rc = sse_parser_feed(&parser, block, sizeof(block), &err);
        if (rc == 0)
            rc = sse_parser_feed(&parser, "\n", 1, &err);
    } while (rc == 0);
    assert_code(rc, SYN_E_TOOBIG, &err);
}

static int
sweep(void *arg, struct syn_err *err)
{
    static const char stream[] = "id: 1\nevent: log\ndata: a\ndata: b\n\n";
    SYN_BUF(seen);
    SYN_SCOPED(sse_parser_fini) struct sse_parser parser;
    int rc;

    (void)arg;
    sse_parser_init(&parser, note, &seen);
    rc = sse_parser_feed(&parser, stream, sizeof(stream) - 1, err);
    return rc < 0 ? rc : syn_buf_ok(&seen, err);
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep, NULL) >= 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
