/* Damage that is found is repaired by putting the same content again. */
#include <synor/base/test.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/content.h>

#include "content_testing.h"

#define SIZE (2 * MIB + 77)

static char *
first_pack(const struct place *place)
{
    return path_in(place, "store/packs/00000001.pack");
}

static struct syn_content_verify
verify(struct place *place)
{
    struct syn_content_verify report;
    struct syn_err err = {0};

    assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
    return report;
}

static uint64_t
damage(struct place *place, const struct syn_cid *cid)
{
    uint64_t bad = 0;
    struct syn_err err = {0};

    assert_done(syn_content_damage(place->store, cid, &bad, &err), &err);
    return bad;
}

static void
assert_corrupt(struct place *place, const struct syn_cid *cid)
{
    struct syn_err err = {0};
    SYN_BUF(got);

    assert_code(syn_content_read(place->store, cid, 0, UINT64_MAX, collect, &got, &err),
                SYN_E_CORRUPT, &err);
}

/* A file with one bit flipped in the middle of its first pack. */
static struct syn_cid
put_damaged(struct place *place, bool compressible)
{
    char *pack = first_pack(place);
    struct syn_cid cid = put_bytes(place->store, SIZE, 1, compressible);

    flip_bit(pack, file_size(pack) / 2, 3);
    test_free(pack);
    return cid;
}

static void
check_repair(struct place *place, bool compressible)
{
    struct syn_cid cid = put_damaged(place, compressible);
    struct syn_cid again;

    assert_int_equal(damage(place, &cid), 0); /* nobody has looked yet */
    assert_corrupt(place, &cid);
    assert_int_equal(damage(place, &cid), 1);
    again = put_bytes(place->store, SIZE, 1, compressible);
    assert_true(syn_cid_eq(&cid, &again));
    assert_int_equal(damage(place, &cid), 0);
    assert_content(place->store, &cid, SIZE, 1, compressible);
    assert_int_equal(verify(place).bad, 0);
}

static void
puts_repair_plain_records(void **state)
{
    check_repair(*state, false);
}

static void
puts_repair_packed_records(void **state)
{
    check_repair(*state, true);
}

static void
puts_repair_encrypted_records(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);

    reopen(place, key, NULL);
    check_repair(place, true);
    test_free(key);
}

static void
known_damage_outlives_a_restart(void **state)
{
    struct place *place = *state;
    struct syn_cid cid = put_damaged(place, false);
    struct syn_cid again;

    assert_int_equal(verify(place).bad, 1);
    reopen(place, NULL, NULL);
    assert_int_equal(damage(place, &cid), 1);
    again = put_bytes(place->store, SIZE, 1, false);
    assert_true(syn_cid_eq(&cid, &again));
    reopen(place, NULL, NULL);
    assert_content(place->store, &cid, SIZE, 1, false);
}

/* A cable that was loose: what reads well again is not stored twice. */
static void
damage_that_went_away_is_forgotten(void **state)
{
    struct place *place = *state;
    char *pack = first_pack(place);
    struct syn_cid cid = put_damaged(place, false);
    uint64_t before = bytes_in_packs(place);

    assert_corrupt(place, &cid);
    flip_bit(pack, file_size(pack) / 2, 3);
    assert_int_equal(verify(place).bad, 0);
    assert_int_equal(damage(place, &cid), 0);
    (void)put_bytes(place->store, SIZE, 1, false);
    assert_int_equal(bytes_in_packs(place), before);
    test_free(pack);
}

static void
lost_packs_are_made_up_for(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    char *from = make_tree(place, "tree");
    char *to = path_in(place, "copy");
    char *pack = first_pack(place);
    struct syn_cid cid;
    struct syn_cid again;

    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &cid, NULL, &err), &err);
    place->store = syn_content_close(place->store);
    assert_int_equal(unlink(pack), 0);
    reopen(place, NULL, NULL);
    assert_true(verify(place).bad > 100);
    assert_int_equal(damage(place, &cid), 1); /* the root: what is below it cannot be told */
    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &again, NULL, &err), &err);
    assert_true(syn_cid_eq(&cid, &again));
    assert_int_equal(verify(place).bad, 0);
    assert_done(syn_content_get(place->store, &cid, to, 0, NULL, NULL, &err), &err);
    assert_same_tree(from, to);
    test_free(from);
    test_free(to);
    test_free(pack);
}

static void
imports_repair_too(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_car *car = NULL;
    const struct syn_cid *roots = NULL;
    size_t count = 0;
    char *pack = first_pack(place);
    struct syn_cid cid = put_bytes(place->store, SIZE, 1, false);
    bool has = true;
    SYN_BUF(archive);

    assert_done(syn_content_car_export(place->store, &cid, 1, collect, &archive, &err), &err);
    for (off_t at = 100; at < file_size(pack); at += (off_t)MIB / 2)
        flip_bit(pack, at, 1);
    assert_true(verify(place).bad >= 2);
    assert_done(syn_content_car_new(place->store, &car, &err), &err);
    assert_done(syn_content_car_write(car, archive.data, archive.len, &err), &err);
    assert_done(syn_content_car_commit(car, &roots, &count, &err), &err);
    syn_content_car_free(car);
    assert_content(place->store, &cid, SIZE, 1, false);
    assert_done(syn_content_has_block(place->store, &cid, &has, &err), &err);
    assert_true(has);
    test_free(pack);
}

static void
known_damage_is_not_had(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid;
    char *pack = first_pack(place);
    bool has = true;

    syn_cid_of(SYN_CODEC_RAW, "hello", 5, &cid);
    assert_done(syn_content_put_block(place->store, &cid, "hello", 5, &err), &err);
    flip_bit(pack, 73, 0);
    assert_corrupt(place, &cid);
    assert_done(syn_content_has_block(place->store, &cid, &has, &err), &err);
    assert_false(has);
    assert_done(syn_content_put_block(place->store, &cid, "hello", 5, &err), &err);
    assert_done(syn_content_has_block(place->store, &cid, &has, &err), &err);
    assert_true(has);
    test_free(pack);
}

/* The damaged record lies before the whole one, and both have sound headers. */
static void
rebuilt_indexes_take_the_repaired_record(void **state)
{
    struct place *place = *state;
    struct syn_cid cid = put_damaged(place, false);

    assert_corrupt(place, &cid);
    (void)put_bytes(place->store, SIZE, 1, false);
    drop_index(place);
    reopen(place, NULL, NULL);
    assert_content(place->store, &cid, SIZE, 1, false);
}

/* And the other way round: a later record that is damaged does not hide a whole one. */
static void
rebuilt_indexes_do_not_take_a_damaged_record(void **state)
{
    struct place *place = *state;
    char *pack = first_pack(place);
    struct syn_cid cid = put_damaged(place, false);
    off_t half = file_size(pack) / 2;
    off_t end;

    assert_corrupt(place, &cid);
    (void)put_bytes(place->store, SIZE, 1, false);
    end = file_size(pack);
    flip_bit(pack, half, 3);       /* the first one is whole again */
    flip_bit(pack, end - 1000, 3); /* the second one is not */
    drop_index(place);
    reopen(place, NULL, NULL);
    assert_content(place->store, &cid, SIZE, 1, false);
    test_free(pack);
}

static void
two_puts_repair_at_once(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid = put_damaged(place, false);
    uint8_t *data = make_bytes(SIZE, 1, false);
    struct syn_content_put *puts[2] = {NULL, NULL};
    struct root_list roots = {&cid, 1, 0};
    struct syn_content_gc result;
    struct syn_cid again;

    assert_corrupt(place, &cid);
    for (size_t i = 0; i < SYN_LEN(puts); i++) {
        assert_done(syn_content_put_new(place->store, &puts[i], &err), &err);
        assert_done(syn_content_put_write(puts[i], data, SIZE, &err), &err);
    }
    for (size_t i = 0; i < SYN_LEN(puts); i++) {
        assert_done(syn_content_put_commit(puts[i], &again, NULL, &err), &err);
        assert_true(syn_cid_eq(&cid, &again));
        assert_content(place->store, &cid, SIZE, 1, false);
        syn_content_put_free(puts[i]);
    }
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
    assert_content(place->store, &cid, SIZE, 1, false);
    test_free(data);
}

static void
damage_is_counted_where_it_is(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid damaged = put_damaged(place, false);
    struct syn_cid whole = put_bytes(place->store, SIZE, 2, false);
    struct syn_content_entry entries[2] = {{"a", damaged}, {"b", whole}};
    struct syn_cid dir;
    struct syn_cid missing;

    assert_done(syn_content_put_dir(place->store, entries, 2, &dir, &err), &err);
    assert_int_equal(verify(place).bad, 1);
    assert_int_equal(damage(place, &dir), 1);
    assert_int_equal(damage(place, &damaged), 1);
    assert_int_equal(damage(place, &whole), 0);
    syn_cid_of(SYN_CODEC_RAW, "never stored", 12, &missing);
    assert_int_equal(damage(place, &missing), 1);
}

/* ---- older stores ---------------------------------------------------------------------------- */

static void
stores_of_the_first_format_open(void **state)
{
    struct place *place = *state;
    struct syn_cid cid = put_damaged(place, false);
    struct syn_cid more;

    downgrade(place, 1);
    for (int i = 0; i < 2; i++) {
        reopen(place, NULL, NULL);
        assert_corrupt(place, &cid);
    }
    more = put_bytes(place->store, SIZE, 1, false);
    assert_true(syn_cid_eq(&cid, &more));
    assert_content(place->store, &cid, SIZE, 1, false);
}

static void
newer_stores_are_refused(void **state)
{
    struct place *place = *state;
    struct syn_content_opts opts = {.dir = place->store_dir};
    struct syn_err err = {0};

    place->store = syn_content_close(place->store);
    run_sql(place, "PRAGMA user_version = 1000");
    assert_code(syn_content_open(&opts, &place->store, &err), SYN_E_UNSUPPORTED, &err);
}

/* ---- a failing disk, short memory ------------------------------------------------------------ */

static atomic_int calls_left; /* the call that makes it 0 fails; < 0: no fault */

static bool
call_fails(void)
{
    if (atomic_load(&calls_left) < 0 || atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    atomic_store(&calls_left, -1);
    errno = ENOSPC;
    return true;
}

static ssize_t
faulty_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return call_fails() ? -1 : pwritev(fd, iov, count, offset);
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

static const struct syn_content_io faulty_io = {
    .pwritev = faulty_pwritev,
    .fdatasync = faulty_fdatasync,
    .fsync = faulty_fsync,
    .ftruncate = ftruncate,
    .renameat2 = renameat2,
};

static int
put_again(struct syn_content *store, const uint8_t *data, struct syn_cid *ret_cid,
          struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    int rc = syn_content_put_new(store, &put, err);

    if (rc == 0)
        rc = syn_content_put_write(put, data, SIZE, err);
    if (rc == 0)
        rc = syn_content_put_commit(put, ret_cid, NULL, err);
    syn_content_put_free(put);
    return rc;
}

/* A repair that fails leaves what was there: damaged and known to be so, never a wrong byte. */
static void
repairs_that_fail_change_nothing(void **state)
{
    struct place *place = *state;
    struct syn_cid cid;
    uint8_t *data = make_bytes(SIZE, 1, false);
    unsigned failures = 0;
    int rc = -1;

    atomic_store(&calls_left, -1);
    place->io = &faulty_io;
    reopen(place, NULL, NULL);
    cid = put_damaged(place, false);
    assert_corrupt(place, &cid);
    for (int nth = 1; rc != 0; nth++) {
        struct syn_err err = {0};
        struct syn_cid again;

        assert_true(nth < 50);
        atomic_store(&calls_left, nth);
        rc = put_again(place->store, data, &again, &err);
        atomic_store(&calls_left, -1);
        failures += rc != 0;
        if (rc != 0) {
            assert_int_equal(rc, SYN_E_NOSPACE);
            assert_int_equal(damage(place, &cid), 1);
            assert_corrupt(place, &cid);
        }
        reopen(place, NULL, NULL);
    }
    assert_true(failures >= 3);
    assert_content(place->store, &cid, SIZE, 1, false);
    test_free(data);
}

struct memory_scenario {
    struct place *place;
    const uint8_t *data;
    struct syn_cid cid;
};

static int
memory_run(void *arg, struct syn_err *err)
{
    struct memory_scenario *scenario = arg;
    struct syn_content_opts opts = {.dir = scenario->place->store_dir, .threads = 2};
    struct syn_content *store = NULL;
    struct syn_cid cid;
    uint64_t bad = 0;
    int rc = syn_content_open(&opts, &store, err);

    if (rc == 0)
        rc = syn_content_damage(store, &scenario->cid, &bad, err);
    if (rc == 0)
        rc = put_again(store, scenario->data, &cid, err);
    if (rc == 0)
        rc = syn_content_damage(store, &cid, &bad, err);
    if (rc == 0)
        assert_int_equal(bad, 0);
    syn_content_close(store);
    return rc;
}

static void
short_memory_is_told_and_survived(void **state)
{
    struct place *place = *state;
    uint8_t *data = make_bytes(SIZE, 1, false);
    struct memory_scenario scenario = {.place = place, .data = data};

    scenario.cid = put_damaged(place, false);
    assert_corrupt(place, &scenario.cid);
    place->store = syn_content_close(place->store);
    assert_true(syn_test_sweep_alloc(memory_run, &scenario) > 30);
    reopen(place, NULL, NULL);
    assert_content(place->store, &scenario.cid, SIZE, 1, false);
    test_free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(puts_repair_plain_records),
        store_test(puts_repair_packed_records),
        store_test(puts_repair_encrypted_records),
        store_test(known_damage_outlives_a_restart),
        store_test(damage_that_went_away_is_forgotten),
        store_test(lost_packs_are_made_up_for),
        store_test(imports_repair_too),
        store_test(known_damage_is_not_had),
        store_test(rebuilt_indexes_take_the_repaired_record),
        store_test(rebuilt_indexes_do_not_take_a_damaged_record),
        store_test(two_puts_repair_at_once),
        store_test(damage_is_counted_where_it_is),
        store_test(stores_of_the_first_format_open),
        store_test(newer_stores_are_refused),
        store_test(repairs_that_fail_change_nothing),
        store_test(short_memory_is_told_and_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
