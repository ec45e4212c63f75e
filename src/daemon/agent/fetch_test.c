#include "agent_testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#define MIB (INT64_C(1) << 20)

static struct bench *bench;
static struct syn_content *theirs; /* the server's store */
static char cid[SYN_CID_TEXT_MAX];

/* Put what is below `name` into the server's store. */
static void
offer(const char *name, char *ret_cid)
{
    struct syn_err err = {0};
    struct syn_cid made;

    assert_done(
        syn_content_put_path(theirs, bench_path(bench, name), NULL, NULL, &made, NULL, &err), &err);
    (void)syn_cid_format(&made, ret_cid);
}

static int
set_up(void **state)
{
    struct syn_content_opts options = {.dir = NULL};
    struct syn_err err = {0};

    (void)state;
    bench = bench_open();
    options.dir = bench_path(bench, "theirs");
    assert_done(syn_content_open(&options, &theirs, &err), &err);
    bench->fake.content = theirs;
    bench->instance.preparing_told = true;
    assert_int_equal(mkdir(bench_path(bench, "data"), 0755), 0);
    assert_int_equal(mkdir(bench_path(bench, "data/sub"), 0755), 0);
    bench_put(bench, "data/a", "alpha", 5);
    bench_put(bench, "data/sub/b", "beta", 4);
    assert_int_equal(symlink("a", bench_path(bench, "data/link")), 0);
    offer("data", cid);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    bench_close(bench);
    theirs = syn_content_close(theirs);
    return 0;
}

static void
assert_file(const char *folder, const char *name, const char *want)
{
    char path[2 * AGT_PATH_MAX], text[64] = "";
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof(text) - 1) >= 0);
    (void)close(fd);
    assert_string_equal(text, want);
}

static void
content_is_fetched_once(void **state)
{
    char out[AGT_PATH_MAX];
    struct syn_err err = {0};
    int requests;

    (void)state;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    assert_file(out, "a", "alpha");
    assert_file(out, "sub/b", "beta");
    requests = bench->fake.requests;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    assert_int_equal(bench->fake.requests, requests);
}

static void
start_is_told_when_it_takes_a_while(void **state)
{
    char out[AGT_PATH_MAX];
    struct syn_err err = {0};

    (void)state;
    bench->instance.preparing_told = false;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    assert_int_equal(bench->fake.status_count, 1);
    assert_string_equal(syn_json_str(bench->fake.status, "state", ""), "preparing");
    bench->instance.preparing_told = false;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    assert_int_equal(bench->fake.status_count, 1); /* at hand: not worth a report */
}

static void
what_is_not_there_is_named(void **state)
{
    struct syn_cid other;
    char out[AGT_PATH_MAX], text[SYN_CID_TEXT_MAX];
    struct syn_err err = {0};

    (void)state;
    syn_cid_of(SYN_CODEC_RAW, "x", 1, &other);
    (void)syn_cid_format(&other, text);
    assert_code(agt_fetch(&bench->instance, text, out, &err), SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, text));
    assert_true(agt_fetch(&bench->instance, "no-cid", out, &err) < 0);
    assert_true(agt_fetch(&bench->instance, "../../etc", out, &err) < 0);
}

/* A CAR that ends too early leaves nothing, and the next try gets all. */
static void
cut_content_is_refused(void **state)
{
    static const int64_t cuts[] = {1, 20, 100, 200, 300};
    char out[AGT_PATH_MAX];
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cuts); i++) {
        bench->fake.car_cut = cuts[i];
        assert_true(agt_fetch(&bench->instance, cid, out, &err) < 0);
        assert_int_equal(access(out, F_OK), -1);
    }
    bench->fake.car_cut = 0;
    assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
    assert_file(out, "sub/b", "beta");
}

static void
lost_answers_leave_nothing_half(void **state)
{
    bool hit = true;
    int at;

    for (at = 1; hit; at++) {
        char out[AGT_PATH_MAX];
        struct syn_err err = {0};
        int rc;

        fake_fail(&bench->fake, at, FAKE_BEFORE);
        rc = agt_fetch(&bench->instance, cid, out, &err);
        hit = bench->fake.requests >= at;
        assert_int_equal(rc < 0, hit);
        assert_int_equal(access(out, F_OK), rc < 0 ? -1 : 0);
        fake_fail(&bench->fake, 0, FAKE_NONE);
        assert_done(agt_fetch(&bench->instance, cid, out, &err), &err);
        assert_file(out, "a", "alpha");
        (void)tear_down(state);
        (void)set_up(state);
    }
    assert_int_equal(at, 4); /* its size, its blocks, and the try that nothing was wrong with */
}

static void
checkpoints_are_copied_for_the_instance(void **state)
{
    struct syn_err err = {0};
    struct stat st;
    const char *to;

    (void)state;
    to = bench_path(bench, "run/checkpoints");
    if (geteuid() == 0)
        assert_int_equal(chown(to, 4321, 1234), 0);
    assert_done(agt_fetch_into(&bench->instance, cid, to, &err), &err);
    to = bench_path(bench, "run/checkpoints");
    assert_file(to, "a", "alpha");
    assert_file(to, "sub/b", "beta");
    assert_int_equal(lstat(bench_path(bench, "run/checkpoints/link"), &st), -1);
    assert_int_equal(stat(bench_path(bench, "run/checkpoints/sub/b"), &st), 0);
    if (geteuid() == 0) {
        assert_int_equal(st.st_uid, 4321);
        assert_int_equal(st.st_gid, 1234);
    }
    /* It does not write over what is there. */
    assert_true(agt_fetch_into(&bench->instance, cid, bench_path(bench, "run/checkpoints"), &err) <
                0);
}

static void
room_is_made_before_a_fetch(void **state)
{
    static char block[MIB];
    struct agt_cache *cache = &bench->agent.cache;
    char other[SYN_CID_TEXT_MAX], out[AGT_PATH_MAX], first[AGT_PATH_MAX];
    uint64_t seed = 7;
    struct syn_err err = {0};

    (void)state;
    cache->keep_free_bytes = 0;
    assert_int_equal(mkdir(bench_path(bench, "large"), 0755), 0);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(syn_test_random(&seed) >> 33);
    bench_put(bench, "large/data", block, sizeof(block));
    offer("large", other);
    assert_done(agt_fetch(&bench->instance, cid, first, &err), &err);
    cache->bytes_max = MIB; /* twice its size does not fit */
    assert_code(agt_fetch(&bench->instance, other, out, &err), SYN_E_NOSPACE, &err);
    assert_non_null(strstr(err.msg, "--cache-limit"));
    assert_int_equal(access(first, F_OK), 0); /* and costs nobody anything */
    cache->bytes_max = 2 * MIB + MIB / 128;
    assert_done(agt_fetch(&bench->instance, other, out, &err), &err);
    assert_int_equal(access(first, F_OK), -1);
    assert_int_equal(access(out, F_OK), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(content_is_fetched_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(start_is_told_when_it_takes_a_while, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_content_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_answers_leave_nothing_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_are_copied_for_the_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(room_is_made_before_a_fetch, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
