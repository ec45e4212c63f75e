#include "native/record_priv.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "native/file_priv.h"
#include "native/logger_priv.h"
#include "native/plan_priv.h"

static int
open_dir(void)
{
    int fd = open(syn_test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* ---- log ---- */

static const struct {
    const char *line, *stream, *text;
    bool partial;
} log_rows[] = {
    {"2026-11-23T19:58:57.123Z stdout F hello world", "stdout", "hello world", false},
    {"2026-11-23T19:58:57.123Z stderr P half", "stderr", "half", true},
    {"2026-11-23T19:58:57.123Z synor F ", "synor", "", false},
    {"2026-11-23T19:58:57.123Z stdout X hello", NULL, NULL, false},
    {"2026-11-23T19:58:57.123Z stdout F", NULL, NULL, false},
    {"2026-11-23T19:58:57.123Z longstream F x", NULL, NULL, false},
    {"yesterday stdout F hello", NULL, NULL, false},
    {"", NULL, NULL, false},
    {" ", NULL, NULL, false},
    {"   ", NULL, NULL, false},
};

static void
assert_log_row(size_t i)
{
    struct syn_log_record record;
    struct syn_err err = {0};
    const char *line = log_rows[i].line;

    if (!log_rows[i].stream) {
        assert_code(syn_log_record_parse(line, strlen(line), &record, &err), SYN_E_INVALID, &err);
        return;
    }
    assert_done(syn_log_record_parse(line, strlen(line), &record, &err), &err);
    assert_string_equal(record.stream, log_rows[i].stream);
    assert_int_equal(record.partial, log_rows[i].partial);
    assert_int_equal(record.text_len, strlen(log_rows[i].text));
    assert_memory_equal(record.text, log_rows[i].text, record.text_len);
    assert_int_equal(record.time_ms, INT64_C(1795463937123));
}

static void
log_records_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(log_rows); i++)
        assert_log_row(i);
}

static struct syn_logger logger;

static int
logger_open(const char *name, int64_t max_bytes)
{
    char path[SYN_PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", syn_test_dir(), name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    syn_logger_init(&logger, fd, 0, max_bytes);
    return fd;
}

/* Feed text in pieces of every size: the records must not depend on where reads were cut. */
static void
logger_joins_pieces(void **state)
{
    static const char text[] = "one\n\ntwo words\nlast";

    (void)state;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        char got[512] = "";
        ssize_t len;
        int fd = logger_open("pieces", 1 << 20);

        for (size_t at = 0; at < strlen(text); at += piece)
            syn_logger_feed(&logger, SYN_LOGGER_STDOUT, text + at,
                            SYN_MIN(piece, strlen(text) - at), 0);
        syn_logger_finish(&logger, 0);
        len = pread(fd, got, sizeof(got) - 1, 0);
        (void)close(fd);
        assert_true(len > 0);
        assert_string_equal(got, "1970-01-01T00:00:00.000Z stdout F one\n"
                                 "1970-01-01T00:00:00.000Z stdout F \n"
                                 "1970-01-01T00:00:00.000Z stdout F two words\n"
                                 "1970-01-01T00:00:00.000Z stdout F last\n");
    }
}

static void
logger_splits_long_lines(void **state)
{
    static char text[SYN_INSTANCE_LOG_LINE_MAX * 2 + 11];
    struct stat st;
    int fd;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    fd = logger_open("long", 1 << 20);
    syn_logger_feed(&logger, SYN_LOGGER_STDERR, text, sizeof(text), 0);
    syn_logger_finish(&logger, 0);
    assert_int_equal(fstat(fd, &st), 0);
    (void)close(fd);
    /* Two whole parts and the rest, each with its head and newline. */
    assert_int_equal(
        st.st_size, (off_t)(sizeof(text) - 1 + 3 * strlen("1970-01-01T00:00:00.000Z stderr P \n")));
}

static void
logger_marks_its_limit_once(void **state)
{
    SYN_BUF(text);
    struct syn_err err = {0};
    char path[SYN_PATH_MAX];
    const char *mark;
    int fd;

    (void)state;
    fd = logger_open("limit", 4096);
    for (int i = 0; i < 1000; i++)
        syn_logger_feed(&logger, SYN_LOGGER_STDOUT, "a line of output\n", 17, 0);
    syn_logger_finish(&logger, 0);
    (void)close(fd);
    (void)snprintf(path, sizeof(path), "%s/limit", syn_test_dir());
    assert_done(syn_file_read(AT_FDCWD, path, 8192, &text, &err), &err);
    assert_true(text.len <= 4096 + 128);
    mark = strstr(syn_buf_text(&text), "synor F log truncated");
    assert_non_null(mark);
    assert_null(strstr(mark + 1, "a line"));
    assert_null(strstr(mark + 1, "synor F"));
}

/* ---- usage and exit ---- */

static void
usage_goes_round(void **state)
{
    struct syn_usage_sample usage = {1, 100, 1100, 250, 1 << 20, 2 << 20, 4096, 7, 12, 1, 0, 3, 4},
                            back;
    struct syn_err err = {0};
    SYN_BUF(line);

    (void)state;
    syn_usage_format(&usage, &line);
    assert_true(syn_str_ends(syn_buf_text(&line), "}\n"));
    assert_done(syn_usage_parse(line.data, line.len - 1, &back, &err), &err);
    assert_memory_equal(&usage, &back, sizeof(usage));
    /* What has no network says nothing of it. */
    assert_null(strstr(syn_buf_text(&line), "node_bytes"));
}

static void
bad_usage_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "{}",
        "[]",
        "x",
        "{\"seq\":1,\"from_ms\":2,\"to_ms\":1,\"cpu_ms\":0,\"memory_bytes\":0,"
        "\"memory_peak_bytes\":0,\"scratch_bytes\":0,\"pids\":0,\"throttled_ms\":0}",
        "{\"seq\":0,\"from_ms\":1,\"to_ms\":2,\"cpu_ms\":0,\"memory_bytes\":0,"
        "\"memory_peak_bytes\":0,\"scratch_bytes\":0,\"pids\":0,\"throttled_ms\":0}",
        "{\"seq\":1,\"from_ms\":1,\"to_ms\":2,\"cpu_ms\":-1,\"memory_bytes\":0,"
        "\"memory_peak_bytes\":0,\"scratch_bytes\":0,\"pids\":0,\"throttled_ms\":0}",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_usage_sample usage;
        struct syn_err err = {0};

        assert_code(syn_usage_parse(rows[i], strlen(rows[i]), &usage, &err), SYN_E_INVALID, &err);
    }
}

static void
last_usage_skips_a_torn_line(void **state)
{
    struct syn_usage_sample usage = {.seq = 1, .to_ms = 5}, back;
    struct syn_err err = {0};
    SYN_FD(dir);
    SYN_BUF(text);

    (void)state;
    dir = open_dir();
    assert_code(syn_usage_last(dir, &back, &err), SYN_E_NOTFOUND, &err);
    for (; usage.seq <= 100; usage.seq++)
        syn_usage_format(&usage, &text);
    syn_buf_adds(&text, "{\"seq\":101,\"fr");
    assert_done(syn_file_write(dir, SYN_FILE_USAGE, text.data, text.len, &err), &err);
    assert_done(syn_usage_last(dir, &back, &err), &err);
    assert_int_equal(back.seq, 100);
}

static void
exit_goes_round(void **state)
{
    struct syn_err err = {0};
    SYN_FD(dir);

    (void)state;
    dir = open_dir();
    for (unsigned reason = 0; reason < SYN_EXIT_REASON_COUNT; reason++) {
        struct syn_instance_status status = {.state = SYN_INSTANCE_EXITED,
                                             .started_at_ms = 1,
                                             .reason = (enum syn_exit_reason)reason,
                                             .exit_code = 137,
                                             .signal = 9,
                                             .ended_at_ms = 2,
                                             .oom_kills = 3,
                                             .pids_limit_hits = 4,
                                             .scratch_full = true,
                                             .message = "why \"quoted\""};
        struct syn_instance_status back;

        assert_done(syn_exit_write(dir, &status, &err), &err);
        assert_done(syn_exit_read(dir, &back, &err), &err);
        assert_int_equal(back.state, SYN_INSTANCE_EXITED);
        assert_int_equal(back.started_at_ms, 1);
        assert_int_equal(back.reason, reason);
        assert_int_equal(back.exit_code, 137);
        assert_int_equal(back.signal, 9);
        assert_int_equal(back.ended_at_ms, 2);
        assert_int_equal(back.oom_kills, 3);
        assert_int_equal(back.pids_limit_hits, 4);
        assert_true(back.scratch_full);
        assert_string_equal(back.message, status.message);
    }
    assert_done(syn_file_write(dir, SYN_FILE_EXIT, "{\"reason\":\"bored\"}", 18, &err), &err);
    {
        struct syn_instance_status back;

        assert_code(syn_exit_read(dir, &back, &err), SYN_E_CORRUPT, &err);
        assert_done(syn_file_write(dir, SYN_FILE_EXIT, "{", 1, &err), &err);
        assert_code(syn_exit_read(dir, &back, &err), SYN_E_CORRUPT, &err);
        assert_int_equal(unlinkat(dir, SYN_FILE_EXIT, 0), 0);
        assert_code(syn_exit_read(dir, &back, &err), SYN_E_NOTFOUND, &err);
    }
}

static int
exit_scenario(void *arg, struct syn_err *err)
{
    struct syn_instance_status status = {.state = SYN_INSTANCE_EXITED, .message = "m"}, back;
    int rc = syn_exit_write(*(const int *)arg, &status, err);

    return rc < 0 ? rc : syn_exit_read(*(const int *)arg, &back, err);
}

static void
exit_survives_short_memory(void **state)
{
    SYN_FD(dir);

    (void)state;
    dir = open_dir();
    assert_true(syn_test_sweep_alloc(exit_scenario, &dir) > 5);
}

/* ---- plan ---- */

static void
plan_goes_round(void **state)
{
    struct syn_plan plan = {.id = "a", .name = "a-1", .gvisor = true, .memory_bytes = 5}, back;
    struct syn_err err = {0};
    SYN_FD(dir);

    (void)state;
    dir = open_dir();
    assert_code(syn_plan_read(dir, &back, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_plan_write(dir, &plan, &err), &err);
    assert_done(syn_plan_read(dir, &back, &err), &err);
    assert_memory_equal(&plan, &back, sizeof(plan));
    assert_done(syn_file_write(dir, SYN_FILE_PLAN, "{\"version\":2}", 13, &err), &err);
    assert_code(syn_plan_read(dir, &back, &err), SYN_E_CORRUPT, &err);
    assert_done(syn_file_write(dir, SYN_FILE_PLAN, "{\"version\":1}", 13, &err), &err);
    assert_code(syn_plan_read(dir, &back, &err), SYN_E_CORRUPT, &err);
}

/* ---- files ---- */

static void
removal_stays_inside(void **state)
{
    struct syn_err err = {0};
    char outside[SYN_PATH_MAX], inside[SYN_PATH_MAX];
    SYN_FD(dir);

    (void)state;
    dir = open_dir();
    (void)snprintf(outside, sizeof(outside), "%s/outside", syn_test_dir());
    (void)snprintf(inside, sizeof(inside), "%s/tree/a/b/link", syn_test_dir());
    assert_done(syn_dir_make(dir, "tree/a/b", 0700, &err), &err);
    assert_done(syn_dir_make(dir, "outside", 0700, &err), &err);
    assert_done(syn_file_write(dir, "outside/kept", "x", 1, &err), &err);
    assert_int_equal(symlink(outside, inside), 0);
    assert_done(syn_dir_remove(dir, "tree", &err), &err);
    assert_int_equal(faccessat(dir, "tree", F_OK, 0), -1);
    assert_int_equal(faccessat(dir, "outside/kept", F_OK, 0), 0);
    assert_done(syn_dir_remove(dir, "tree", &err), &err);
}

static void
failed_write_keeps_the_old_content(void **state)
{
    struct rlimit old, small = {8, RLIM_INFINITY};
    struct syn_err err = {0};
    SYN_BUF(text);
    SYN_FD(dir);
    int rc;

    (void)state;
    dir = open_dir();
    assert_done(syn_file_write_atomic(dir, "doc", "old", 3, true, &err), &err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rc = syn_file_write_atomic(dir, "doc", "new and longer than the limit", 29, true, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(rc < 0);
    assert_non_null(strstr(err.msg, "doc"));
    assert_done(syn_file_read(dir, "doc", 100, &text, &err), &err);
    assert_string_equal(syn_buf_text(&text), "old");
    assert_int_equal(faccessat(dir, "doc.tmp", F_OK, 0), -1);
    syn_buf_clear(&text);
    assert_code(syn_file_read(dir, "doc", 2, &text, &err), SYN_E_TOOBIG, &err);
}

static void
locks_are_seen_by_others(void **state)
{
    SYN_FD(first);
    SYN_FD(second);
    char path[SYN_PATH_MAX];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/lock", syn_test_dir());
    first = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    second = open(path, O_RDWR | O_CLOEXEC);
    assert_false(syn_lock_held(second));
    assert_true(syn_lock_take(first));
    assert_true(syn_lock_held(second));
    assert_false(syn_lock_take(second));
    syn_fd_scope(&first);
    assert_false(syn_lock_held(second));
}

static void
processes_are_told_apart(void **state)
{
    (void)state;
    assert_true(syn_proc_start_ticks(getpid()) > 0);
    assert_int_equal(syn_proc_start_ticks(0), 0);
    assert_int_equal(syn_proc_start_ticks(4194305), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_records_are_parsed),
        cmocka_unit_test(logger_joins_pieces),
        cmocka_unit_test(logger_splits_long_lines),
        cmocka_unit_test(logger_marks_its_limit_once),
        cmocka_unit_test(usage_goes_round),
        cmocka_unit_test(bad_usage_is_refused),
        cmocka_unit_test(last_usage_skips_a_torn_line),
        cmocka_unit_test(exit_goes_round),
        cmocka_unit_test(exit_survives_short_memory),
        cmocka_unit_test(plan_goes_round),
        cmocka_unit_test(removal_stays_inside),
        cmocka_unit_test(failed_write_keeps_the_old_content),
        cmocka_unit_test(locks_are_seen_by_others),
        cmocka_unit_test(processes_are_told_apart),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
