#include "agent_testing.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

static struct bench *bench;
static struct agt_ship *ship;

static int
set_up(void **state)
{
    struct syn_err err = {0};

    (void)state;
    bench = bench_open();
    assert_done(agt_ship_new(&bench->instance, &ship, &err), &err);
    bench->instance.ship = ship;
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    ship = agt_ship_free(ship);
    bench_close(bench);
    return 0;
}

static void
put_text(const char *name, const char *text)
{
    bench_put(bench, name, text, strlen(text));
}

/* `count` samples of a second each, from `first` on; the last line cut short when `torn`. */
static void
put_usage(int first, int count, bool torn)
{
    SYN_BUF(text);

    for (int seq = first; seq < first + count; seq++)
        syn_buf_addf(&text,
                     "{\"seq\":%d,\"from_ms\":%d000,\"to_ms\":%d000,\"cpu_ms\":10,"
                     "\"memory_bytes\":1,\"memory_peak_bytes\":1,\"scratch_bytes\":1,\"pids\":1,"
                     "\"throttled_ms\":0,\"egress_bytes\":%d,\"received_bytes\":9}\n",
                     seq, seq, seq + 1, 100 * seq);
    assert_int_equal(syn_buf_ok(&text, NULL), SYN_OK);
    bench_put(bench, "run/usage.log", text.data, text.len - (torn ? 20 : 0));
}

static void
ship_now(void)
{
    struct syn_err err = {0};

    assert_done(agt_ship_now(ship, &err), &err);
}

static void
nothing_is_sent_before_there_is_something(void **state)
{
    (void)state;
    ship_now();
    assert_int_equal(bench->fake.requests, 0);
}

static void
each_byte_is_sent_once(void **state)
{
    (void)state;
    put_text("run/log", "one\n");
    put_text("run/scratch/progress.jsonl", "{\"step\": 1, \"epoch\": 1}\n");
    put_usage(1, 2, false);
    ship_now();
    put_text("run/log", "one\ntwo\n");
    put_text("run/scratch/progress.jsonl",
             "{\"step\": 1, \"epoch\": 1}\n{\"step\": 7, \"epoch\": 2}\n");
    put_usage(1, 5, false);
    ship_now();
    ship_now();
    assert_int_equal(bench->fake.logs_len, 8);
    assert_memory_equal(bench->fake.logs, "one\ntwo\n", 8);
    assert_int_equal(bench->fake.usage_samples, 5);
    assert_int_equal(bench->fake.egress_bytes, 1500); /* and what came in is free */
    assert_int_equal(agt_ship_usage_seq(ship), 5);
    {
        int64_t step = 0, epoch = 0;

        agt_ship_progress(ship, &step, &epoch);
        assert_int_equal(step, 7);
        assert_int_equal(epoch, 2);
    }
}

static void
what_is_being_written_waits(void **state)
{
    (void)state;
    put_usage(1, 3, true);
    ship_now();
    assert_int_equal(bench->fake.usage_samples, 2);
    put_usage(1, 3, false);
    ship_now();
    assert_int_equal(bench->fake.usage_samples, 3);
}

/* A new agent knows nothing: the server tells it where to go on. */
static void
server_is_the_bookmark(void **state)
{
    struct syn_err err = {0};

    (void)state;
    put_text("run/log", "old\n");
    put_usage(1, 3, false);
    ship_now();
    ship = agt_ship_free(ship);
    assert_done(agt_ship_new(&bench->instance, &ship, &err), &err);
    bench->instance.ship = ship;
    put_text("run/log", "old\nnew\n");
    put_usage(1, 6, false);
    ship_now();
    assert_int_equal(bench->fake.logs_len, 8);
    assert_memory_equal(bench->fake.logs, "old\nnew\n", 8);
    assert_int_equal(bench->fake.usage_samples, 6);
}

struct memory_row {
    int now, peak, sent;
};

/* The usage log of the first `count` of these, one a second. */
static void
put_memory(const struct memory_row *rows, size_t count)
{
    SYN_BUF(text);

    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&text,
                     "{\"seq\":%zu,\"from_ms\":%zu000,\"to_ms\":%zu000,\"cpu_ms\":10,"
                     "\"memory_bytes\":%d,\"memory_peak_bytes\":%d,\"scratch_bytes\":1,"
                     "\"pids\":1,\"throttled_ms\":0}\n",
                     i + 1, i + 1, i + 2, rows[i].now, rows[i].peak);
    assert_int_equal(syn_buf_ok(&text, NULL), SYN_OK);
    bench_put(bench, "run/usage.log", text.data, text.len);
}

/* Another agent takes over. */
static void
renew_ship(void)
{
    struct syn_err err = {0};

    ship = agt_ship_free(ship);
    assert_done(agt_ship_new(&bench->instance, &ship, &err), &err);
    bench->instance.ship = ship;
}

/* A sample's peak is its own span's as far as it is known: the kernel's where that rose, else what
 * is there now. A new agent goes on as the old one would have. */
static void
memory_that_is_given_back_is_seen(void **state)
{
    static const struct memory_row rows[] = {{5, 9, 9},    {4, 9, 4},  {9, 12, 12},
                                             {12, 12, 12}, {3, 12, 3}, {3, 13, 13}};

    (void)state;
    for (size_t count = 1; count <= SYN_LEN(rows); count++) {
        put_memory(rows, count);
        if (count == 4)
            renew_ship();
        ship_now();
    }
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(bench->fake.usage_peaks[i], rows[i].sent);
}

/* The program owns its folder: what it puts in the file's place is not read. */
static void
progress_is_a_plain_file_or_nothing(void **state)
{
    const char *path;

    (void)state;
    put_text("secret", "{\"step\": 99}\n");
    path = bench_path(bench, "run/scratch/progress.jsonl");
    assert_int_equal(symlink(bench_path(bench, "secret"), path), 0);
    ship_now();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    ship_now();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    ship_now();
    assert_int_equal(bench->fake.progress_len, 0);
    assert_int_equal(bench->fake.requests, 0);
}

static void
long_reports_are_cut(void **state)
{
    (void)state;
    put_usage(1, 2 * AGT_REPORT_MAX + 1, false);
    ship_now();
    assert_int_equal(bench->fake.requests, 3);
    assert_int_equal(bench->fake.usage_samples, 2 * AGT_REPORT_MAX + 1);
}

static void
settled_runs_are_let_be(void **state)
{
    (void)state;
    bench->fake.settled = 1;
    put_usage(1, 3, false);
    ship_now();
    assert_int_equal(bench->fake.usage_samples, 0);
}

static void
bad_usage_is_an_error(void **state)
{
    struct syn_err err = {0};

    (void)state;
    put_text("run/usage.log", "{\"seq\": -1}\n");
    assert_code(agt_ship_now(ship, &err), SYN_E_INVALID, &err);
}

/* Cut off the answer to each request in turn, before or after the server has taken it in: once the
 * server is back, it has everything once. */
static void
check_fault(enum fake_fault fault, int at, bool *ret_hit)
{
    struct syn_err err = {0};
    int rc;

    put_text("run/log", "first line\nsecond line\n");
    put_text("run/scratch/progress.jsonl", "{\"step\": 3}\n");
    put_usage(1, AGT_REPORT_MAX + 5, false);
    fake_fail(&bench->fake, at, fault);
    rc = agt_ship_now(ship, &err);
    *ret_hit = bench->fake.requests >= at;
    assert_int_equal(rc < 0, *ret_hit);
    if (rc < 0)
        assert_true(rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT);
    fake_fail(&bench->fake, 0, FAKE_NONE);
    ship_now();
    assert_int_equal(bench->fake.logs_len, 23);
    assert_memory_equal(bench->fake.logs, "first line\nsecond line\n", 23);
    assert_int_equal(bench->fake.progress_len, 12);
    assert_int_equal(bench->fake.usage_samples, AGT_REPORT_MAX + 5);
}

static void
lost_answers_lose_nothing(void **state)
{
    for (enum fake_fault fault = FAKE_BEFORE; fault <= FAKE_AFTER; fault++) {
        bool hit = true;
        int at;

        for (at = 1; hit; at++) {
            check_fault(fault, at, &hit);
            (void)tear_down(state);
            (void)set_up(state);
        }
        assert_true(at > 4);
    }
}

static int
new_scenario(void *arg, struct syn_err *err)
{
    struct agt_ship *made = NULL;
    int rc = agt_ship_new(arg, &made, err);

    (void)agt_ship_free(made);
    return rc;
}

static void
opening_survives_short_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(new_scenario, &bench->instance) >= 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_sent_before_there_is_something, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(each_byte_is_sent_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_being_written_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_that_is_given_back_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(server_is_the_bookmark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_is_a_plain_file_or_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_reports_are_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settled_runs_are_let_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_usage_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_answers_lose_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opening_survives_short_memory, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
