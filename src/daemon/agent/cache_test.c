#include "cache_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)

static char dir[512];
static char cids[8][SYN_CID_TEXT_MAX];
static unsigned held; /* bit i: an instance names cids[i] */

static bool
in_use(void *arg, const char *cid)
{
    (void)arg;
    for (size_t i = 0; i < SYN_LEN(cids); i++) {
        if (syn_str_eq(cids[i], cid))
            return held & (1U << i);
    }
    return false;
}

static const char *
path_of(const char *name)
{
    static char path[2048];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static bool
there(const char *kind, unsigned i)
{
    char name[1024];

    (void)snprintf(name, sizeof(name), "%s/%s", kind, cids[i]);
    return access(path_of(name), F_OK) == 0;
}

static void
put_file(const char *name, int64_t bytes)
{
    static const char block[65536] = {1};
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    for (; bytes > 0; bytes -= (int64_t)sizeof(block))
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    assert_int_equal(fsync(fd), 0);
    (void)close(fd);
}

/* A folder of one MiB, last used `age_s` ago. */
static void
put_entry(const char *kind, unsigned i, int age_s)
{
    struct timespec times[2];
    char name[1024];

    (void)snprintf(name, sizeof(name), "%s/%s", kind, cids[i]);
    assert_int_equal(mkdir(path_of(name), 0755), 0);
    if (syn_str_eq(kind, "images")) {
        (void)snprintf(name, sizeof(name), "%s/%s/rootfs", kind, cids[i]);
        assert_int_equal(mkdir(path_of(name), 0755), 0);
    }
    (void)snprintf(name, sizeof(name), "%s/%s%s/data", kind, cids[i],
                   syn_str_eq(kind, "images") ? "/rootfs" : "");
    put_file(name, MIB);
    (void)clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= age_s;
    times[1] = times[0];
    (void)snprintf(name, sizeof(name), "%s/%s", kind, cids[i]);
    assert_int_equal(utimensat(AT_FDCWD, path_of(name), times, 0), 0);
}

/* A folder and names of its own for each test. */
static void
begin(struct agt_cache *cache, int64_t bytes_max)
{
    static unsigned number;
    struct syn_err err = {0};

    held = 0;
    (void)snprintf(dir, sizeof(dir), "%s/%u", syn_test_dir(), number++);
    assert_int_equal(mkdir(dir, 0755), 0);
    for (unsigned i = 0; i < SYN_LEN(cids); i++) {
        char text[16];
        struct syn_cid cid;

        (void)snprintf(text, sizeof(text), "content %u", i);
        syn_cid_of(SYN_CODEC_RAW, text, strlen(text), &cid);
        (void)syn_cid_format(&cid, cids[i]);
    }
    assert_done(agt_cache_init(cache, dir, bytes_max, &err), &err);
    cache->in_use = in_use;
    cache->keep_free_bytes = 0;
}

static void
oldest_go_first(void **state)
{
    struct agt_cache cache;
    struct syn_err err = {0};

    (void)state;
    begin(&cache, 4 * MIB + MIB / 2);
    put_entry("cache", 0, 10);
    put_entry("images", 1, 30);
    put_entry("cache", 2, 20);
    put_entry("cache", 3, 0);
    assert_done(agt_cache_room(&cache, 0, "nothing", &err), &err);
    for (unsigned i = 0; i < 4; i++)
        assert_true(there(i == 1 ? "images" : "cache", i));
    assert_done(agt_cache_room(&cache, MIB, "more", &err), &err);
    assert_false(there("images", 1));
    assert_true(there("cache", 2));
    agt_cache_touch(&cache, AGT_CACHE_FILES, cids[2]); /* now the youngest */
    assert_done(agt_cache_room(&cache, 2 * MIB, "more", &err), &err);
    assert_false(there("cache", 0));
    assert_true(there("cache", 2) && there("cache", 3));
    assert_done(agt_cache_room(&cache, 4 * MIB, "everything", &err), &err);
    assert_false(there("cache", 2) || there("cache", 3));
    assert_int_equal(agt_cache_bytes(&cache, AGT_CACHE_FILES, cids[2]), 0);
    agt_cache_fini(&cache);
}

static void
what_runs_stays(void **state)
{
    struct agt_cache cache;
    struct syn_err err = {0};

    (void)state;
    begin(&cache, 3 * MIB + MIB / 2);
    put_entry("cache", 0, 30);
    put_entry("images", 0, 30);
    put_entry("cache", 1, 0);
    held = 1;
    assert_done(agt_cache_room(&cache, MIB, "more", &err), &err);
    assert_true(there("cache", 0) && there("images", 0));
    assert_false(there("cache", 1));
    put_entry("cache", 1, 0);
    /* What cannot fit is refused before anything is given up for it. */
    assert_code(agt_cache_room(&cache, 2 * MIB, "a dataset", &err), SYN_E_NOSPACE, &err);
    assert_non_null(strstr(err.msg, "a dataset needs 2 MiB"));
    assert_non_null(strstr(err.msg, "--cache-limit"));
    assert_true(there("cache", 1));
    held = 0;
    assert_done(agt_cache_room(&cache, 2 * MIB, "a dataset", &err), &err);
    agt_cache_fini(&cache);
}

static void
disk_is_not_filled(void **state)
{
    struct agt_cache cache;
    struct syn_err err = {0};

    (void)state;
    begin(&cache, INT64_MAX / 2);
    put_entry("cache", 0, 30);
    assert_done(agt_cache_room(&cache, MIB, "a little", &err), &err);
    assert_true(there("cache", 0));
    cache.keep_free_bytes = INT64_MAX / 4; /* the disk is as good as full */
    assert_code(agt_cache_room(&cache, MIB, "a little", &err), SYN_E_NOSPACE, &err);
    assert_non_null(strstr(err.msg, "its disk has room for 0"));
    assert_true(there("cache", 0));
    agt_cache_fini(&cache);
}

static void
default_is_half_of_the_disk(void **state)
{
    struct agt_cache cache;

    (void)state;
    begin(&cache, 0);
    assert_true(cache.bytes_max > MIB);
    agt_cache_fini(&cache);
}

static void
blocks_go_before_files(void **state)
{
    struct agt_cache cache;
    struct syn_content_opts options = {.dir = NULL};
    struct syn_content_usage usage;
    struct syn_content *content = NULL;
    struct syn_cid cid;
    char store[600];
    struct syn_err err = {0};

    (void)state;
    begin(&cache, 8 * MIB);
    (void)snprintf(store, sizeof(store), "%s/content", dir);
    options.dir = store;
    assert_done(syn_content_open(&options, &content, &err), &err);
    cache.content = content;
    put_entry("cache", 0, 30);
    put_file("noise", 0);
    {
        char noise[65536];
        uint64_t seed = 1;
        int fd = open(path_of("noise"), O_WRONLY | O_CLOEXEC);

        for (int piece = 0; piece < 64; piece++) {
            for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = (char)(syn_test_random(&seed) >> 33);
            assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
        }
        (void)close(fd);
    }
    assert_done(syn_content_put_path(content, path_of("noise"), NULL, NULL, &cid, NULL, &err),
                &err);
    assert_done(syn_content_usage(content, &usage, &err), &err);
    assert_true(usage.stored_bytes >= 4 * MIB);
    assert_done(agt_cache_room(&cache, 4 * MIB, "more", &err), &err);
    assert_done(syn_content_usage(content, &usage, &err), &err);
    assert_int_equal(usage.blocks, 0);
    assert_true(there("cache", 0));
    agt_cache_fini(&cache);
    content = syn_content_close(content);
}

static void
leftovers_are_swept(void **state)
{
    struct agt_cache cache;
    struct syn_err err = {0};
    char name[1024];

    (void)state;
    begin(&cache, MIB);
    put_entry("cache", 0, 0);
    put_entry("images", 1, 0);
    assert_int_equal(mkdir(path_of("cache/.gone-x"), 0755), 0);
    put_file("cache/.gone-x/data", KIB);
    put_file("cache/.synor-1", KIB);
    put_file("cache/no-cid", KIB);
    (void)snprintf(name, sizeof(name), "images/%s", cids[2]); /* not unpacked to its end */
    assert_int_equal(mkdir(path_of(name), 0755), 0);
    (void)snprintf(name, sizeof(name), "images/%s/rootfs.partial", cids[2]);
    assert_int_equal(mkdir(path_of(name), 0755), 0);
    agt_cache_fini(&cache);
    assert_done(agt_cache_init(&cache, dir, MIB, &err), &err);
    assert_true(there("cache", 0) && there("images", 1));
    assert_false(there("images", 2));
    assert_int_equal(access(path_of("cache/.gone-x"), F_OK), -1);
    assert_int_equal(access(path_of("cache/.synor-1"), F_OK), -1);
    assert_int_equal(access(path_of("cache/no-cid"), F_OK), -1);
    agt_cache_fini(&cache);
    (void)snprintf(name, sizeof(name), "%s/no/such/folder", dir);
    assert_code(agt_cache_init(&cache, name, 0, &err), SYN_E_NOTFOUND, &err);
    agt_cache_fini(&cache);
}

static void
what_nobody_used_goes(void **state)
{
    struct agt_cache cache;

    (void)state;
    begin(&cache, MIB);
    put_entry("snapshots", 0, 100);
    put_entry("snapshots", 1, 10);
    put_entry("cache", 2, 100);
    agt_cache_expire(&cache, AGT_CACHE_SNAPSHOTS, 60000, (int64_t)time(NULL) * 1000);
    assert_false(there("snapshots", 0));
    assert_true(there("snapshots", 1) && there("cache", 2));
    agt_cache_drop(&cache, AGT_CACHE_SNAPSHOTS, cids[0]); /* is not there: fine */
    agt_cache_drop(&cache, AGT_CACHE_SNAPSHOTS, cids[1]);
    assert_false(there("snapshots", 1));
    agt_cache_fini(&cache);
}

/* Nothing but memory may be short: what was evicted stays evicted, and the next try goes on. */
static int
room_scenario(void *arg, struct syn_err *err)
{
    struct agt_cache cache;
    int rc = agt_cache_init(&cache, dir, 2 * MIB + MIB / 2, err);

    (void)arg;
    cache.in_use = in_use;
    cache.keep_free_bytes = 0;
    if (rc == SYN_OK)
        rc = agt_cache_room(&cache, MIB, "more", err);
    agt_cache_fini(&cache);
    return rc;
}

static void
room_survives_short_memory(void **state)
{
    struct agt_cache cache;

    (void)state;
    begin(&cache, MIB);
    agt_cache_fini(&cache);
    put_entry("cache", 0, 30);
    put_entry("cache", 1, 20);
    put_entry("cache", 2, 10);
    held = 4;
    assert_true(syn_test_sweep_alloc(room_scenario, NULL) >= 2);
    assert_false(there("cache", 0));
    assert_true(there("cache", 2));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oldest_go_first),        cmocka_unit_test(what_runs_stays),
        cmocka_unit_test(disk_is_not_filled),     cmocka_unit_test(default_is_half_of_the_disk),
        cmocka_unit_test(blocks_go_before_files), cmocka_unit_test(leftovers_are_swept),
        cmocka_unit_test(what_nobody_used_goes),  cmocka_unit_test(room_survives_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
