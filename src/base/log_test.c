#include <synor/base/log.h>
#include <synor/base/test.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

/* What was logged since the last call, in memory. */
static int sink = -1;
static char text[1 << 20];

static const char *
logged(void)
{
    ssize_t len = pread(sink, text, sizeof(text) - 1, 0);

    assert_true(len >= 0);
    text[len] = '\0';
    assert_int_equal(ftruncate(sink, 0), 0);
    return text;
}

/* The same line without its time, which is checked to be one. */
static const char *
logged_untimed(void)
{
    const char *line = logged();
    const char *rest = strchr(line, ' ');

    assert_true(syn_str_starts(line, "ts=2"));
    assert_non_null(rest);
    assert_int_equal(rest - line, strlen("ts=2026-11-23T19:58:57.123Z"));
    return rest + 1;
}

static int
setup(void **state)
{
    (void)state;
    sink = memfd_create("log", MFD_CLOEXEC);
    return sink < 0 || fcntl(sink, F_SETFL, O_APPEND) < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    (void)state;
    syn_log_setup(STDERR_FILENO, SYN_LOG_INFO, false);
    return close(sink);
}

static void
test_levels(void **state)
{
    (void)state;
    syn_log_setup(sink, SYN_LOG_WARN, false);
    syn_log(SYN_LOG_DEBUG, "a", "x=1");
    syn_log(SYN_LOG_INFO, "a", "x=1");
    syn_log_kv(SYN_LOG_INFO, "a", "x", "1", NULL);
    assert_string_equal(logged(), "");
    syn_log(SYN_LOG_WARN, "a", "x=1");
    assert_string_equal(logged_untimed(), "level=warn event=a x=1\n");
    syn_log(SYN_LOG_ERROR, "a", "x=1");
    assert_string_equal(logged_untimed(), "level=error event=a x=1\n");
}

static const struct {
    const char *value, *logfmt, *json;
} quoting[] = {
    {"plain", "plain", "\"plain\""},
    {"a-b/c:d", "a-b/c:d", "\"a-b/c:d\""},
    {"", "\"\"", "\"\""},
    {NULL, "\"\"", "\"\""},
    {"two words", "\"two words\"", "\"two words\""},
    {"a=b", "\"a=b\"", "\"a=b\""},
    {"say \"x\"", "\"say \\\"x\\\"\"", "\"say \\\"x\\\"\""},
    {"back\\slash", "\"back\\\\slash\"", "\"back\\\\slash\""},
    {"two\nlines\r\t", "\"two\\nlines\\r\\t\"", "\"two\\nlines\\r\\t\""},
    {"\x1b[31mred", "\"\\u001b[31mred\"", "\"\\u001b[31mred\""},
    {"del\x7f", "\"del\\u007f\"", "\"del\\u007f\""},
    {"csi\xc2\x9b", "\"csi\\u009b\"", "\"csi\\u009b\""},
    {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x99\x82", "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x99\x82\"",
     "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x99\x82\""},
    {"bad\xff\xc3", "\"bad\\ufffd\\ufffd\"", "\"bad\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"", "\"\\ufffd\\ufffd\\ufffd\""},
};

static void
test_quoting(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(quoting); i++) {
        char want[256];

        syn_log_setup(sink, SYN_LOG_INFO, false);
        syn_log_kv(SYN_LOG_INFO, "e", "k", quoting[i].value, NULL);
        (void)snprintf(want, sizeof(want), "level=info event=e k=%s\n", quoting[i].logfmt);
        assert_string_equal(logged_untimed(), want);

        syn_log_setup(sink, SYN_LOG_INFO, true);
        syn_log_kv(SYN_LOG_INFO, "e", "k", quoting[i].value, NULL);
        (void)snprintf(want, sizeof(want), ",\"level\":\"info\",\"event\":\"e\",\"k\":%s}\n",
                       quoting[i].json);
        assert_true(syn_str_ends(logged(), want));
    }
}

static const struct {
    const char *pairs, *logfmt;
} formats[] = {
    {"", ""},
    {"job=a code=7", " job=a code=7"},
    {"job=a b c code=7", " job=\"a b c\" code=7"},
    {"job=a\nlevel=fake", " job=\"a\\nlevel=fake\""},
    {"job= code=7", " job=\"\" code=7"},
    {"loose words", " text=\"loose words\""},
    {"url=/v1/x?a=b", " url=\"/v1/x?a=b\""},
    {"a=1 ", " a=\"1 \""},
};

static void
test_format(void **state)
{
    (void)state;
    syn_log_setup(sink, SYN_LOG_INFO, false);
    for (size_t i = 0; i < SYN_LEN(formats); i++) {
        char want[256];

        syn_log(SYN_LOG_INFO, "e", "%s", formats[i].pairs);
        (void)snprintf(want, sizeof(want), "level=info event=e%s\n", formats[i].logfmt);
        assert_string_equal(logged_untimed(), want);
    }
}

static void
test_err(void **state)
{
    struct syn_err err = {0};

    (void)state;
    syn_log_setup(sink, SYN_LOG_INFO, false);
    (void)syn_err_set(&err, SYN_E_NOTFOUND, 0, "x.c", 12, "no job \"%s\"", "a");
    syn_log_err(SYN_LOG_ERROR, "job.lost", &err);
    assert_string_equal(
        logged_untimed(),
        "level=error event=job.lost code=not-found message=\"no job \\\"a\\\"\" at=x.c:12\n");
}

/* Whatever bytes a value has and however long it is: one line, JSON where JSON was asked for,
 * nothing that a terminal would obey, never longer than the limit. */
static void
check_line(bool json)
{
    const char *line = logged();
    size_t len = strlen(line);
    SYN_JSON(parsed);
    struct syn_err err = {0};

    assert_true(len > 0 && len <= SYN_LOG_LINE_MAX);
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
    assert_true(syn_utf8_ok(line, len));
    for (size_t i = 0; i + 1 < len; i++)
        assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
    if (json)
        assert_done(syn_json_parse(line, len, &parsed, &err), &err);
}

static void
test_any_bytes(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        char a[6000], b[64];
        size_t a_len = round % 2 != 0 ? 3900 + syn_test_random(&seed) % 200
                                      : syn_test_random(&seed) % sizeof(a);
        size_t b_len = syn_test_random(&seed) % sizeof(b);
        unsigned base = round % 3 == 0 ? 'a' : 1;

        for (size_t i = 0; i < sizeof(a); i++)
            a[i] = (char)(base + syn_test_random(&seed) % (base == 1 ? 255 : 26));
        memcpy(b, a, sizeof(b));
        a[SYN_MIN(a_len, sizeof(a) - 1)] = '\0';
        b[b_len] = '\0';
        syn_log_setup(sink, SYN_LOG_INFO, round % 4 < 2);
        if (round % 5 == 0)
            syn_log(SYN_LOG_INFO, "e", "a=%s b=%s", a, b);
        else
            syn_log_kv(SYN_LOG_INFO, "e", "a", a, "b", b, NULL);
        check_line(round % 4 < 2);
    }
}

static void
test_cut_is_shown(void **state)
{
    char value[SYN_LOG_LINE_MAX * 2];

    (void)state;
    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    syn_log_setup(sink, SYN_LOG_INFO, false);
    syn_log_kv(SYN_LOG_INFO, "e", "long", value, "after", "1", NULL);
    assert_true(syn_str_ends(logged(), "xxx...\"\n"));
    syn_log_setup(sink, SYN_LOG_INFO, true);
    syn_log_kv(SYN_LOG_INFO, "e", "long", value, "after", "1", NULL);
    assert_true(syn_str_ends(logged(), "xxx...\"}\n"));
}

static void
test_errno_is_kept(void **state)
{
    (void)state;
    syn_log_setup(-1, SYN_LOG_INFO, false); /* the write fails */
    errno = EDOM;
    syn_log(SYN_LOG_INFO, "e", "a=1");
    assert_int_equal(errno, EDOM);
    syn_log_kv(SYN_LOG_INFO, "e", "a", "1", NULL);
    assert_int_equal(errno, EDOM);
}

#define WRITERS    4
#define LINES_EACH 250

static void *
writer_main(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        syn_log(SYN_LOG_INFO, "e", "thread=%d pad=%0200d", (int)(intptr_t)arg, i);
    return NULL;
}

static void
test_lines_do_not_mix(void **state)
{
    pthread_t threads[WRITERS];
    unsigned lines = 0;

    (void)state;
    syn_log_setup(sink, SYN_LOG_INFO, false);
    for (intptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, (void *)i), 0);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (const char *line = logged(); *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(syn_str_starts(line, "ts=2"));
        assert_int_equal(strcspn(line, "\n"),
                         strlen("ts=2026-11-23T19:58:57.123Z level=info event=e thread=0 pad=") +
                             200);
        lines++;
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_format),        cmocka_unit_test(test_err),
        cmocka_unit_test(test_any_bytes),     cmocka_unit_test(test_cut_is_shown),
        cmocka_unit_test(test_errno_is_kept), cmocka_unit_test(test_lines_do_not_mix),
    };

    return cmocka_run_group_tests_name("log", tests, setup, teardown);
}
