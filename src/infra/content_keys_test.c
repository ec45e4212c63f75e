/* Keys of content at rest: sealing, changing a key, and starting without the right one. */
#include <synor/base/test.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/content.h>

#include "content_testing.h"

static struct syn_content_verify
verify(struct place *place)
{
    struct syn_content_verify report;
    struct syn_err err = {0};

    assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
    return report;
}

static void
keys_change_without_changing_cids(void **state)
{
    struct place *place = *state;
    char *first = make_key(place, "first", 1);
    char *second = make_key(place, "second", 2);
    const char *const old[] = {first, NULL};
    struct syn_cid plain = put_bytes(place->store, 2 * MIB + 5, 1, false);
    struct syn_cid under_first;
    struct syn_cid under_second;

    reopen(place, first, NULL);
    under_first = put_bytes(place->store, 70000, 2, true);
    assert_true(syn_cid_eq(&plain, &(struct syn_cid){plain.codec, {0}}) == false);
    assert_content(place->store, &plain, 2 * MIB + 5, 1, false);
    assert_int_equal(verify(place).plain, 4);
    assert_int_equal(verify(place).encrypted, 1);

    reopen(place, second, old);
    under_second = put_bytes(place->store, 500, 3, false);
    assert_content(place->store, &plain, 2 * MIB + 5, 1, false);
    assert_content(place->store, &under_first, 70000, 2, true);
    assert_content(place->store, &under_second, 500, 3, false);
    assert_int_equal(verify(place).old_key, 1);
    assert_int_equal(verify(place).encrypted, 2);

    test_free(first);
    test_free(second);
}

static bool
pack_contains(const struct place *place, const char *text)
{
    char *path = path_in(place, "store/packs/00000001.pack");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = (size_t)file_size(path);
    char *data = test_malloc(size);
    bool found;

    assert_int_equal(read(fd, data, size), size);
    found = memmem(data, size, text, strlen(text)) != NULL;
    assert_int_equal(close(fd), 0);
    test_free(data);
    test_free(path);
    return found;
}

static void
encrypted_content_is_not_on_disk(void **state)
{
    static const char secret[] = "the quick brown secret";
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid;
    char *key = make_key(place, "key", 1);

    syn_cid_of(SYN_CODEC_RAW, secret, sizeof(secret), &cid);
    reopen(place, key, NULL);
    assert_done(syn_content_put_block(place->store, &cid, secret, sizeof(secret), &err), &err);
    assert_false(pack_contains(place, secret));
    test_free(key);
}

static void
bad_key_files_are_refused(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content *store = NULL;
    char *path = path_in(place, "short");
    struct syn_content_opts opts = {.dir = place->store_dir, .key_file = path};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    place->store = syn_content_close(place->store);
    assert_code(syn_content_open(&opts, &store, &err), SYN_E_INVALID, &err);
    assert_int_equal(write(fd, "0011", 4), 4);
    assert_code(syn_content_open(&opts, &store, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "short"));
    assert_int_equal(
        pwrite(fd, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 65, 0),
        65);
    assert_done(syn_content_open(&opts, &store, &err), &err);
    syn_content_close(store);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    assert_code(syn_content_open(&opts, &store, &err), SYN_E_NOTFOUND, &err);
    test_free(path);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Open with these keys, or see why not. */
static int
try_open(struct place *place, const char *key, const char *const *old, bool without_key,
         struct syn_err *err)
{
    struct syn_content_opts opts = {.dir = place->store_dir,
                                    .key_file = key,
                                    .old_key_files = old,
                                    .without_key = without_key,
                                    .pack_bytes_max = place->pack_bytes_max,
                                    .threads = 2};

    place->store = syn_content_close(place->store);
    return syn_content_open(&opts, &place->store, err);
}

/* What is sealed under a key that is not given refuses the start, and says which key it is. */
static void
assert_refused(struct place *place, const char *key)
{
    struct syn_err err = {0};

    assert_code(try_open(place, key, NULL, false, &err), SYN_E_UNAVAILABLE, &err);
    assert_null(place->store);
    assert_non_null(strstr(err.msg, "sealed under key"));
}

static void
starts_without_the_key_are_refused(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    char *first = make_key(place, "first", 1);
    char *second = make_key(place, "second", 2);
    const char *const old[] = {first, NULL};
    struct syn_cid cid;

    reopen(place, first, NULL);
    cid = put_bytes(place->store, 300000, 1, false);
    assert_refused(place, NULL);
    assert_refused(place, second);
    assert_done(try_open(place, second, old, false, &err), &err);
    assert_content(place->store, &cid, 300000, 1, false);
    assert_done(try_open(place, NULL, old, false, &err), &err);
    assert_content(place->store, &cid, 300000, 1, false);
    reopen(place, first, NULL);
    assert_content(place->store, &cid, 300000, 1, false);
    test_free(first);
    test_free(second);
}

/* A key that was given and never used, or that seals nothing any more, is not asked for. */
static void
keys_that_seal_nothing_are_forgotten(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct root_list none = {0};
    struct syn_content_gc result;
    char *first = make_key(place, "first", 1);
    char *second = make_key(place, "second", 2);

    reopen(place, first, NULL);
    reopen(place, NULL, NULL);
    reopen(place, first, NULL);
    (void)put_bytes(place->store, 300000, 1, false);
    assert_refused(place, second);
    reopen(place, first, NULL);
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
    assert_int_equal(result.blocks_kept, 0);
    reopen(place, second, NULL);
    reopen(place, NULL, NULL);
    test_free(first);
    test_free(second);
}

/* gc copies worn packs together, and seals them under the current key on the way. */
static void
gc_moves_blocks_to_the_current_key(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_gc result;
    char *first = make_key(place, "first", 1);
    char *second = make_key(place, "second", 2);
    const char *const old[] = {first, NULL};
    struct syn_cid kept;
    struct root_list roots = {&kept, 1, 0};

    reopen(place, first, NULL);
    kept = put_bytes(place->store, 200000, 1, false);
    (void)put_bytes(place->store, 900000, 2, false);
    reopen(place, second, old);
    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &roots, &result, &err), &err);
    reopen(place, second, NULL);
    assert_content(place->store, &kept, 200000, 1, false);
    assert_refused(place, first);
    test_free(first);
    test_free(second);
}

static void
lost_keys_do_not_lock_the_rest_up(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    char *key = make_key(place, "key", 1);
    struct syn_cid plain = put_bytes(place->store, 70000, 1, false);
    struct syn_cid sealed;
    struct syn_cid again;
    bool has = true;
    uint64_t bad = 0;
    SYN_BUF(got);

    reopen(place, key, NULL);
    sealed = put_bytes(place->store, 2 * MIB, 2, false);
    assert_done(try_open(place, NULL, NULL, true, &err), &err);
    assert_content(place->store, &plain, 70000, 1, false);
    assert_code(syn_content_read(place->store, &sealed, 0, 10, collect, &got, &err),
                SYN_E_UNAVAILABLE, &err);
    assert_non_null(strstr(err.msg, "key"));
    assert_done(syn_content_has_block(place->store, &sealed, &has, &err), &err);
    assert_false(has);
    assert_done(syn_content_damage(place->store, &sealed, &bad, &err), &err);
    assert_int_equal(bad, 1);
    again = put_bytes(place->store, 2 * MIB, 2, false);
    assert_true(syn_cid_eq(&sealed, &again));
    assert_content(place->store, &sealed, 2 * MIB, 2, false);
    reopen(place, NULL, NULL); /* nothing is sealed any more */
    assert_content(place->store, &sealed, 2 * MIB, 2, false);
    test_free(key);
}

static void
rebuilt_indexes_know_the_keys(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);
    struct syn_cid cid;

    reopen(place, key, NULL);
    cid = put_bytes(place->store, 300000, 1, false);
    drop_index(place);
    assert_refused(place, NULL);
    reopen(place, key, NULL);
    assert_content(place->store, &cid, 300000, 1, false);
    test_free(key);
}

/* A store from before the index knew keys learns them from the records, once. */
static void
older_indexes_learn_the_keys(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);
    struct syn_cid plain = put_bytes(place->store, 1000, 1, false);
    struct syn_cid cid;

    reopen(place, key, NULL);
    cid = put_bytes(place->store, 300000, 1, false);
    for (int i = 0; i < 2; i++) {
        downgrade(place, 2);
        if (i == 0)
            assert_refused(place, NULL);
        reopen(place, key, NULL);
        assert_content(place->store, &cid, 300000, 1, false);
        assert_content(place->store, &plain, 1000, 1, false);
    }
    assert_refused(place, NULL);
    reopen(place, key, NULL);
    test_free(key);
}

struct memory_scenario {
    struct place *place;
    const char *key;
};

static int
memory_run(void *arg, struct syn_err *err)
{
    struct memory_scenario *scenario = arg;
    int rc = try_open(scenario->place, scenario->key, NULL, false, err);

    scenario->place->store = syn_content_close(scenario->place->store);
    return rc;
}

static void
short_memory_is_told_and_survived(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);
    struct memory_scenario scenario = {place, key};
    struct syn_cid cid;

    reopen(place, key, NULL);
    cid = put_bytes(place->store, 300000, 1, false);
    drop_index(place);
    assert_true(syn_test_sweep_alloc(memory_run, &scenario) > 10);
    reopen(place, key, NULL);
    assert_content(place->store, &cid, 300000, 1, false);
    test_free(key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(keys_change_without_changing_cids),
        store_test(encrypted_content_is_not_on_disk),
        store_test(bad_key_files_are_refused),
        store_test(starts_without_the_key_are_refused),
        store_test(keys_that_seal_nothing_are_forgotten),
        store_test(gc_moves_blocks_to_the_current_key),
        store_test(lost_keys_do_not_lock_the_rest_up),
        store_test(rebuilt_indexes_know_the_keys),
        store_test(older_indexes_learn_the_keys),
        store_test(short_memory_is_told_and_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
