/* What must not go wrong: flipped bits, failing disks, short memory, kills at any moment. */
#include <synor/base/test.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/content.h>

#include "content_testing.h"

/* ---- damage ---------------------------------------------------------------------------------- */

struct found {
    unsigned count;
    struct syn_cid cid;
};

static void
note_bad(void *arg, const struct syn_cid *cid, const struct syn_err *why)
{
    struct found *found = arg;

    assert_true(why->msg[0] != '\0');
    found->count++;
    found->cid = *cid;
}

/* One flipped bit: an error that names the block, or the right bytes all the same (padding, and the
 * odd bit that zstd does not look at). Returns whether it was an error. */
static bool
check_flip(struct place *place, const char *pack, const struct syn_cid *cid, const uint8_t *want,
           size_t size, off_t at)
{
    struct syn_content_verify report;
    struct found found = {0};
    struct syn_err err = {0};
    struct syn_err other = {0};
    char text[SYN_CID_TEXT_MAX];
    SYN_BUF(got);
    int rc;

    flip_bit(pack, at, (unsigned)at % 8);
    rc = syn_content_read(place->store, cid, 0, UINT64_MAX, collect, &got, &err);
    assert_done(syn_content_verify(place->store, note_bad, &found, NULL, NULL, &report, &other),
                &other);
    assert_int_equal(report.bad, rc < 0);
    if (rc == 0) {
        assert_int_equal(got.len, size);
        assert_memory_equal(got.data, want, size);
    } else {
        assert_true(rc == SYN_E_CORRUPT || rc == SYN_E_UNAVAILABLE); /* an unknown key's id */
        assert_non_null(strstr(err.msg, syn_cid_format(cid, text)));
        assert_int_equal(got.len, 0);
        assert_true(syn_cid_eq(&found.cid, cid));
    }
    flip_bit(pack, at, (unsigned)at % 8);
    return rc < 0;
}

static void
check_flips(struct place *place, size_t size, bool compressible)
{
    char *pack = path_in(place, "store/packs/00000001.pack");
    struct syn_cid cid = put_bytes(place->store, size, 1, compressible);
    uint8_t *want = make_bytes(size, 1, compressible);
    off_t end = file_size(pack);
    unsigned flips = 0;
    unsigned found = 0;

    for (off_t at = 0; at < end; at += at < 100 || at > end - 40 ? 1 : 97) {
        flips++;
        found += check_flip(place, pack, &cid, want, size, at);
    }
    assert_true(found + 9 >= flips);
    assert_content(place->store, &cid, size, 1, compressible);
    test_free(want);
    test_free(pack);
}

static void
flipped_bits_are_found_in_plain_records(void **state)
{
    check_flips(*state, 5003, false);
}

static void
flipped_bits_are_found_in_packed_records(void **state)
{
    check_flips(*state, 20001, true);
}

static void
flipped_bits_are_found_in_encrypted_records(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);

    reopen(place, key, NULL);
    check_flips(place, 20001, true);
    test_free(key);
}

static void
lost_packs_are_named(void **state)
{
    struct place *place = *state;
    char *pack = path_in(place, "store/packs/00000001.pack");
    struct syn_cid cid = put_bytes(place->store, 1000, 1, false);
    struct syn_err err = {0};
    SYN_BUF(got);

    reopen(place, NULL, NULL);
    assert_int_equal(truncate(pack, 500), 0);
    assert_code(syn_content_read(place->store, &cid, 0, UINT64_MAX, collect, &got, &err),
                SYN_E_CORRUPT, &err);
    reopen(place, NULL, NULL); /* it is not cut further, and not appended to */
    assert_int_equal(file_size(pack), 500);
    (void)put_bytes(place->store, 1001, 2, false);
    assert_int_equal(file_size(pack), 500);
    assert_int_equal(unlink(pack), 0);
    reopen(place, NULL, NULL);
    assert_code(syn_content_read(place->store, &cid, 0, UINT64_MAX, collect, &got, &err),
                SYN_E_CORRUPT, &err);
    assert_non_null(strstr(err.msg, "00000001"));
    test_free(pack);
}

static void
lost_indexes_are_rebuilt(void **state)
{
    struct place *place = *state;
    struct syn_cid cids[20];
    struct syn_content_put *put = NULL;
    struct syn_err err = {0};
    uint8_t *data = make_bytes(3 * MIB, 99, false);

    /* An abandoned put beside the others leaves a gap between records. */
    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    for (size_t i = 0; i < SYN_LEN(cids); i++) {
        cids[i] = put_bytes(place->store, i * 150000, i, i % 2 == 0);
        if (i == 5)
            assert_done(syn_content_put_write(put, data, 3 * MIB, &err), &err);
    }
    syn_content_put_free(put);
    drop_index(place);
    reopen(place, NULL, NULL);
    for (size_t i = 0; i < SYN_LEN(cids); i++)
        assert_content(place->store, &cids[i], i * 150000, i, i % 2 == 0);
    test_free(data);
}

static struct syn_content_verify
verify(struct place *place)
{
    struct syn_content_verify report;
    struct syn_err err = {0};

    assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
    return report;
}

/* ---- a failing disk -------------------------------------------------------------------------- */

static atomic_int calls_left; /* the call that makes it 0 fails; < 0: no fault */
static atomic_int fault_errno;
static atomic_int calls_sticky;

static bool
call_fails(void)
{
    int left = atomic_load(&calls_left);

    if (left < 0)
        return false;
    if (left > 0 && atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    if (atomic_load(&calls_sticky) == 0)
        atomic_store(&calls_left, -1);
    errno = atomic_load(&fault_errno);
    return true;
}

/* Half of the bytes arrive before the disk fails. */
static ssize_t
faulty_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    if (call_fails()) {
        int errnum = errno;

        (void)!pwrite(fd, iov[0].iov_base, iov[0].iov_len / 2, offset);
        errno = errnum;
        return -1;
    }
    return pwritev(fd, iov, count, offset);
}

static int
faulty_fdatasync(int fd)
{
    return call_fails() ? -1 : fdatasync(fd);
}

static int
faulty_fsync(int fd)
{
    return call_fails() ? -1 : fsync(fd);
}

static int
faulty_ftruncate(int fd, off_t size)
{
    return call_fails() ? -1 : ftruncate(fd, size);
}

static int
faulty_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return call_fails() ? -1 : renameat2(from_dir, from, to_dir, to, flags);
}

static const struct syn_content_io faulty_io = {
    .pwritev = faulty_pwritev,
    .fdatasync = faulty_fdatasync,
    .fsync = faulty_fsync,
    .ftruncate = faulty_ftruncate,
    .renameat2 = faulty_renameat2,
};

/* Put a file with its folder, take them out again, collect what went before. */
static int
disk_scenario(struct place *place, const char *from, const char *to, struct syn_err *err)
{
    struct syn_cid cid;
    struct root_list roots = {&cid, 1, 0};
    struct syn_content_gc result;
    int rc = syn_content_put_path(place->store, from, NULL, NULL, &cid, NULL, err);

    if (rc == 0)
        rc = syn_content_get(place->store, &cid, to, SYN_CONTENT_GET_REPLACE | SYN_CONTENT_GET_SYNC,
                             NULL, NULL, err);
    if (rc == 0)
        rc = syn_content_gc(place->store, 1000000, next_root, &roots, &result, err);
    return rc;
}

static void
sweep_disk(struct place *place, int errnum, int want, bool sticky)
{
    char *from = path_in(place, "from");
    char *to = path_in(place, "to");
    struct syn_cid kept = put_bytes(place->store, 100000, 1, false);
    unsigned failures = 0;
    int rc = -1;

    make_dir(from);
    make_file_at(from, "large", 2 * MIB + 1, 3);
    make_file_at(from, "small", 100, 4);
    for (int nth = 1; rc != 0; nth++) {
        struct syn_err err = {0};

        assert_true(nth < 200);
        atomic_store(&fault_errno, errnum);
        atomic_store(&calls_sticky, sticky);
        atomic_store(&calls_left, nth);
        rc = disk_scenario(place, from, to, &err);
        failures += rc != 0;
        if (rc != 0) {
            assert_int_equal(rc, want);
            assert_true(err.msg[0] != '\0');
        }
        atomic_store(&calls_left, -1);
        reopen(place, NULL, NULL);
        assert_int_equal(verify(place).bad, 0);
        assert_content(place->store, &kept, 100000, 1, false);
        assert_int_equal(count_files(place->dir, ".synor-"), 0);
        if (access(to, F_OK) == 0)
            assert_same_tree(from, to);
        place->store = syn_content_close(place->store);
        if (rc != 0) { /* start over, with what was to stay */
            char *store = path_in(place, "store");
            char command[600];

            (void)snprintf(command, sizeof(command), "%s/gone-%d-%d-%d", place->dir, errnum, nth,
                           (int)sticky);
            assert_int_equal(rename(store, command), 0);
            test_free(store);
        }
        reopen(place, NULL, NULL);
        kept = put_bytes(place->store, 100000, 1, false);
    }
    assert_true(failures >= 6);
    test_free(from);
    test_free(to);
}

static void
full_disks_are_told_and_survived(void **state)
{
    struct place *place = *state;

    atomic_store(&calls_left, -1);
    place->io = &faulty_io;
    reopen(place, NULL, NULL);
    sweep_disk(place, ENOSPC, SYN_E_NOSPACE, false);
}

static void
failing_disks_are_told_and_survived(void **state)
{
    struct place *place = *state;

    atomic_store(&calls_left, -1);
    place->io = &faulty_io;
    reopen(place, NULL, NULL);
    sweep_disk(place, EIO, SYN_E_IO, true);
}

/* The real thing: a file system of 16 MiB. Also the index cannot grow then. */
static void
a_full_file_system_loses_nothing(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cids[64];
    size_t count = 0;
    int rc = 0;

    place->store = syn_content_close(place->store);
    if (mount("none", place->store_dir, "tmpfs", 0, "size=16m") < 0) {
        print_message("needs the right to mount a tmpfs\n");
        reopen(place, NULL, NULL);
        skip();
    }
    reopen(place, NULL, NULL);
    while (rc == 0 && count < SYN_LEN(cids)) {
        uint8_t *data = make_bytes(700000, count, false);
        struct syn_content_put *put = NULL;

        assert_done(syn_content_put_new(place->store, &put, &err), &err);
        rc = syn_content_put_write(put, data, 700000, &err);
        if (rc == 0)
            rc = syn_content_put_commit(put, &cids[count], NULL, &err);
        if (rc == 0)
            count++;
        syn_content_put_free(put);
        test_free(data);
    }
    assert_int_equal(rc, SYN_E_NOSPACE);
    assert_true(count >= 10 && count < SYN_LEN(cids));
    for (size_t i = 0; i < count; i++)
        assert_content(place->store, &cids[i], 700000, i, false);
    assert_int_equal(verify(place).bad, 0);
    place->store = syn_content_close(place->store);
    reopen(place, NULL, NULL);
    assert_content(place->store, &cids[count - 1], 700000, count - 1, false);
    place->store = syn_content_close(place->store);
    assert_int_equal(umount2(place->store_dir, MNT_DETACH), 0);
}

/* ---- short memory ---------------------------------------------------------------------------- */

struct memory_scenario {
    struct place *place;
    char *from;
    char *to;
    unsigned run;
};

static int
use_store(struct syn_content *store, struct memory_scenario *scenario, struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    struct syn_content_car *car = NULL;
    struct syn_cid cid;
    struct syn_cid tree;
    struct root_list roots = {&tree, 1, 0};
    struct syn_content_gc result;
    uint8_t text[4096];
    SYN_BUF(out);
    SYN_BUF(archive);
    int rc;

    memset(text, 'a', sizeof(text));
    memcpy(text, &scenario->run, sizeof(scenario->run));
    rc = syn_content_put_new(store, &put, err);
    if (rc == 0)
        rc = syn_content_put_write(put, text, sizeof(text), err);
    if (rc == 0)
        rc = syn_content_put_commit(put, &cid, NULL, err);
    syn_content_put_free(put);
    if (rc == 0)
        rc = syn_content_put_path(store, scenario->from, NULL, NULL, &tree, NULL, err);
    if (rc == 0)
        rc = syn_content_read(store, &cid, 0, UINT64_MAX, collect, &out, err);
    if (rc == 0)
        rc = syn_content_get(store, &tree, scenario->to, SYN_CONTENT_GET_REPLACE, NULL, NULL, err);
    if (rc == 0)
        rc = syn_content_car_export(store, &tree, 1, collect, &archive, err);
    if (rc == 0)
        rc = syn_content_car_new(store, &car, err);
    if (rc == 0)
        rc = syn_content_car_write(car, archive.data, archive.len, err);
    syn_content_car_free(car);
    if (rc == 0)
        rc = syn_content_gc(store, 0, next_root, &roots, &result, err);
    return rc;
}

static int
memory_run(void *arg, struct syn_err *err)
{
    struct memory_scenario *scenario = arg;
    struct syn_content_opts opts = {.dir = scenario->place->store_dir, .threads = 2};
    struct syn_content *store = NULL;
    int rc = syn_content_open(&opts, &store, err);

    scenario->run++;
    if (rc == 0)
        rc = use_store(store, scenario, err);
    syn_content_close(store);
    return rc;
}

static void
short_memory_is_told_and_survived(void **state)
{
    struct place *place = *state;
    struct memory_scenario scenario = {
        .place = place, .from = path_in(place, "from"), .to = path_in(place, "to")};

    make_dir(scenario.from);
    make_dir_at(scenario.from, "d");
    make_file_at(scenario.from, "large", MIB + 1, 3);
    make_file_at(scenario.from, "d/small", 100, 4);
    make_link_at(scenario.from, "link", "x");
    place->store = syn_content_close(place->store);
    assert_true(syn_test_sweep_alloc(memory_run, &scenario) > 60);
    reopen(place, NULL, NULL);
    assert_int_equal(verify(place).bad, 0);
    assert_same_tree(scenario.from, scenario.to);
    test_free(scenario.from);
    test_free(scenario.to);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

#define KILL_ROUNDS 12

struct told {
    uint64_t seed;
    uint64_t size;
    struct syn_cid cid;
};

/* Put and tell, put and tell, collecting now and then, until killed. */
static void
put_until_killed(struct place *place, int out, uint64_t seed)
{
    struct syn_content_opts opts = {.dir = place->store_dir, .threads = 2, .pack_bytes_max = MIB};
    struct syn_content *store = NULL;
    struct syn_err err = {0};

    if (syn_content_open(&opts, &store, &err) < 0)
        _exit(3);
    for (;; seed++) {
        struct told told = {.seed = seed, .size = seed * 7919 % 400000};
        struct syn_content_put *put = NULL;
        uint8_t *data = make_bytes(told.size, seed, seed % 3 == 0);

        if (syn_content_put_new(store, &put, &err) < 0 ||
            syn_content_put_write(put, data, told.size, &err) < 0 ||
            syn_content_put_commit(put, &told.cid, NULL, &err) < 0 ||
            write(out, &told, sizeof(told)) != (ssize_t)sizeof(told))
            _exit(4);
        syn_content_put_free(put);
        test_free(data);
        if (seed % 5 == 0) {
            struct root_list roots = {&told.cid, 1, 0};
            struct syn_content_gc result;

            if (syn_content_gc(store, SYN_CONTENT_GRACE_MS, next_root, &roots, &result, &err) < 0)
                _exit(5);
        }
    }
}

static void
check_told(struct place *place, int in, uint64_t *next_seed)
{
    struct told told;
    unsigned count = 0;

    reopen(place, NULL, NULL);
    assert_int_equal(verify(place).bad, 0);
    while (read(in, &told, sizeof(told)) == (ssize_t)sizeof(told)) {
        assert_content(place->store, &told.cid, told.size, told.seed, told.seed % 3 == 0);
        *next_seed = told.seed + 1;
        count++;
    }
    place->store = syn_content_close(place->store);
    print_message("# %u puts before the kill\n", count);
}

static void
kills_lose_nothing_that_was_told(void **state)
{
    struct place *place = *state;
    uint64_t random = 5;
    uint64_t seed = 1;

    place->store = syn_content_close(place->store);
    for (int round = 0; round < KILL_ROUNDS; round++) {
        int fds[2];
        int status = 0;
        pid_t child;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        child = fork();
        if (child == 0) {
            (void)close(fds[0]);
            put_until_killed(place, fds[1], seed);
        }
        (void)close(fds[1]);
        (void)usleep((useconds_t)(20000 + syn_test_random(&random) % 250000));
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        check_told(place, fds[0], &seed);
        (void)close(fds[0]);
    }
    assert_true(seed > KILL_ROUNDS);
    reopen(place, NULL, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(flipped_bits_are_found_in_plain_records),
        store_test(flipped_bits_are_found_in_packed_records),
        store_test(flipped_bits_are_found_in_encrypted_records),
        store_test(lost_packs_are_named),
        store_test(lost_indexes_are_rebuilt),
        store_test(full_disks_are_told_and_survived),
        store_test(failing_disks_are_told_and_survived),
        store_test(a_full_file_system_loses_nothing),
        store_test(short_memory_is_told_and_survived),
        store_test(kills_lose_nothing_that_was_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
