#include "agent_testing.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

static struct bench *bench;
static struct agt_snapshots *snapshots;

static int
set_up(void **state)
{
    struct syn_err err = {0};

    (void)state;
    bench = bench_open();
    assert_done(agt_ship_new(&bench->instance, &bench->instance.ship, &err), &err);
    assert_done(agt_snapshots_new(&bench->instance, &snapshots, &err), &err);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    snapshots = agt_snapshots_free(snapshots);
    bench->instance.ship = agt_ship_free(bench->instance.ship);
    bench_close(bench);
    return 0;
}

static void
put(const char *name, const char *text)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "run/%s", name);
    bench_put(bench, path, text, strlen(text));
}

/* Looks of a running instance are a second apart: time is made to pass. */
static int
look(bool final, struct syn_err *err)
{
    bench_pass_ms(1100);
    return agt_snapshots_look(snapshots, final, err);
}

static void
look_well(bool final)
{
    struct syn_err err = {0};

    assert_done(look(final, &err), &err);
}

static void
settled_files_become_a_checkpoint(void **state)
{
    (void)state;
    put("checkpoints/a", "aaa");
    assert_int_equal(mkdir(bench_path(bench, "run/checkpoints/sub"), 0755), 0);
    put("checkpoints/sub/b", "bbbb");
    look_well(false); /* seen for the first time: it may still be written */
    assert_int_equal(bench->fake.commits_count, 0);
    look_well(false);
    assert_int_equal(bench->fake.commits_count, 1);
    assert_string_equal(bench->fake.commits[0], "a=3 sub%2Fb=4 ");
    assert_string_equal(bench->fake.announced[0], "checkpoints");
    look_well(false);
    look_well(true);
    assert_int_equal(bench->fake.commits_count, 1); /* nothing new */
    put("checkpoints/a", "aaaaa");
    look_well(true); /* nobody writes any more: at once */
    assert_int_equal(bench->fake.commits_count, 2);
    assert_string_equal(bench->fake.commits[1], "a=5 sub%2Fb=4 ");
}

static void
what_changes_waits(void **state)
{
    (void)state;
    put("checkpoints/done", "1");
    put("checkpoints/growing", "1");
    look_well(false);
    put("checkpoints/growing", "12");
    look_well(false);
    assert_string_equal(bench->fake.commits[0], "done=1 ");
    look_well(false);
    assert_string_equal(bench->fake.commits[1], "done=1 growing=2 ");
}

static void
only_files_and_folders_are_taken(void **state)
{
    (void)state;
    bench_put(bench, "secret", "s", 1);
    put("checkpoints/file", "x");
    assert_int_equal(
        symlink(bench_path(bench, "secret"), bench_path(bench, "run/checkpoints/link")), 0);
    assert_int_equal(symlink(bench_path(bench, ""), bench_path(bench, "run/checkpoints/out")), 0);
    assert_int_equal(mkfifo(bench_path(bench, "run/checkpoints/pipe"), 0600), 0);
    look_well(true);
    assert_int_equal(bench->fake.commits_count, 1);
    assert_string_equal(bench->fake.commits[0], "file=1 ");
}

static void
resumed_content_is_not_stored_again(void **state)
{
    struct syn_err err = {0};

    (void)state;
    put("checkpoints/a", "from before");
    assert_done(agt_snapshots_known(snapshots, &err), &err);
    look_well(false);
    look_well(true);
    assert_int_equal(bench->fake.requests, 0);
    put("checkpoints/b", "new");
    look_well(true);
    assert_string_equal(bench->fake.commits[0], "a=11 b=3 ");
}

static void
results_are_stored_when_there_are_any(void **state)
{
    struct syn_err err = {0};

    (void)state;
    assert_done(agt_snapshots_result(snapshots, &err), &err);
    assert_int_equal(bench->fake.requests, 0);
    put("output/model", "weights");
    assert_done(agt_snapshots_result(snapshots, &err), &err);
    assert_string_equal(bench->fake.commits[0], "model=7 ");
    assert_string_equal(bench->fake.announced[0], "result");
}

/* The answer to each request is lost in turn: the next look makes it good, and no upload stays open
 * that the server heard of. */
static void
check_fault(enum fake_fault fault, int at, bool *ret_hit)
{
    struct syn_err err = {0};
    int rc;

    put("checkpoints/a", "aaa");
    put("checkpoints/b", "bb");
    fake_fail(&bench->fake, at, fault);
    rc = agt_snapshots_look(snapshots, true, &err);
    *ret_hit = bench->fake.requests >= at;
    assert_int_equal(rc < 0, *ret_hit);
    fake_fail(&bench->fake, 0, FAKE_NONE);
    assert_done(agt_snapshots_look(snapshots, true, &err), &err);
    assert_true(bench->fake.commits_count >= 1 && bench->fake.announced_count >= 1);
    assert_string_equal(bench->fake.commits[bench->fake.commits_count - 1], "a=3 b=2 ");
    assert_done(agt_snapshots_look(snapshots, true, &err), &err);
    assert_string_equal(bench->fake.announced[bench->fake.announced_count - 1], "checkpoints");
    /* Only an upload whose opening was not answered is left for the server's own sweep. */
    assert_true(bench->fake.uploads_open <= (fault == FAKE_AFTER && at == 1 ? 1 : 0));
}

static void
lost_answers_lose_no_checkpoint(void **state)
{
    for (enum fake_fault fault = FAKE_BEFORE; fault <= FAKE_AFTER; fault++) {
        bool hit = true;
        int at;

        for (at = 1; hit; at++) {
            check_fault(fault, at, &hit);
            (void)tear_down(state);
            (void)set_up(state);
        }
        assert_true(at > 5);
    }
}

static int
known_scenario(void *arg, struct syn_err *err)
{
    struct agt_snapshots *made = NULL;
    int rc = agt_snapshots_new(arg, &made, err);

    if (rc == SYN_OK)
        rc = agt_snapshots_known(made, err);
    (void)agt_snapshots_free(made);
    return rc;
}

static void
looking_survives_short_memory(void **state)
{
    (void)state;
    put("checkpoints/a", "aaa");
    put("checkpoints/b", "bb");
    assert_true(syn_test_sweep_alloc(known_scenario, &bench->instance) >= 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settled_files_become_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_changes_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_files_and_folders_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resumed_content_is_not_stored_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(results_are_stored_when_there_are_any, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_answers_lose_no_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(looking_survives_short_memory, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
