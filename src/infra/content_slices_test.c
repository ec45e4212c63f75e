/* Content that an edit has shifted: its blocks are stored as slices of those that are there. */
#include <synor/base/test.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/content.h>

#include "block_priv.h"
#include "content_testing.h"

#define BIG (8 * MIB)

static struct syn_cid
put_data(struct syn_content *store, const uint8_t *data, size_t size)
{
    struct syn_content_put *put = NULL;
    struct syn_err err = {0};
    struct syn_cid cid;

    assert_done(syn_content_put_new(store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, size, &err), &err);
    assert_done(syn_content_put_commit(put, &cid, NULL, &err), &err);
    syn_content_put_free(put);
    return cid;
}

static void
assert_data(struct syn_content *store, const struct syn_cid *cid, const uint8_t *data, size_t size)
{
    struct syn_err err = {0};
    SYN_BUF(got);

    assert_done(syn_content_read(store, cid, 0, UINT64_MAX, collect, &got, &err), &err);
    assert_int_equal(got.len, size);
    assert_memory_equal(got.data, data, size);
}

static struct syn_content_usage
usage(struct place *place)
{
    struct syn_content_usage use;
    struct syn_err err = {0};

    assert_done(syn_content_usage(place->store, &use, &err), &err);
    return use;
}

static struct syn_content_verify
verify(struct place *place)
{
    struct syn_content_verify report;
    struct syn_err err = {0};

    assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
    return report;
}

/* `data` with `size` bytes and `more` other ones put in at `at`. */
static uint8_t *
insert(const uint8_t *data, size_t size, size_t at, size_t more, uint64_t seed)
{
    uint8_t *out = test_malloc(size + more + 1);
    uint8_t *other = make_bytes(more, seed, false);

    memcpy(out, data, at);
    memcpy(out + at, other, more);
    memcpy(out + at + more, data + at, size - at);
    test_free(other);
    return out;
}

static int
sweep_all(struct place *place, const struct syn_cid *roots, size_t count,
          struct syn_content_gc *ret)
{
    struct root_list list = {roots, count, 0};
    struct syn_err err = {0};

    (void)usleep(2000); /* puts of this very millisecond count as new */
    return syn_content_gc(place->store, 0, next_root, &list, ret, &err);
}

/* ---- what it wins ---------------------------------------------------------------------------- */

struct edit {
    size_t at;
    size_t more;
    size_t stored_max; /* what the second version may add */
};

static void
edits_are_stored_alone(void **state)
{
    static const struct edit edits[] = {
        {0, 1, 64 << 10},       {100, 10, 64 << 10},        {5 * MIB + 77, 4321, 128 << 10},
        {MIB - 1, 3, 64 << 10}, {3 * MIB, MIB, 1400 << 10}, /* whole new blocks */
        {BIG, 12345, 64 << 10},
    };
    struct place *place = *state;
    uint8_t *data = make_bytes(BIG, 1, false);
    struct syn_cid first = put_data(place->store, data, BIG);

    for (size_t i = 0; i < SYN_LEN(edits); i++) {
        uint64_t before = usage(place).stored_bytes;
        uint8_t *edited = insert(data, BIG, edits[i].at, edits[i].more, 100 + i);
        struct syn_cid cid = put_data(place->store, edited, BIG + edits[i].more);
        uint64_t added = usage(place).stored_bytes - before;

        if (added > edits[i].stored_max)
            fail_msg("edit %zu added %llu bytes", i, (unsigned long long)added);
        assert_data(place->store, &cid, edited, BIG + edits[i].more);
        test_free(edited);
    }
    assert_data(place->store, &first, data, BIG);
    assert_int_equal(verify(place).bad, 0);
    test_free(data);
}

static void
cids_do_not_tell(void **state)
{
    struct place *place = *state;
    uint8_t *data = make_bytes(BIG, 1, false);
    uint8_t *edited = insert(data, BIG, 10, 10, 2);
    struct syn_cid alone = put_data(place->store, edited, BIG + 10);
    struct syn_cid after;
    char *old = path_in(place, "store");
    char *gone = path_in(place, "gone");

    place->store = syn_content_close(place->store);
    assert_int_equal(rename(old, gone), 0);
    reopen(place, NULL, NULL);
    (void)put_data(place->store, data, BIG);
    after = put_data(place->store, edited, BIG + 10);
    assert_true(syn_cid_eq(&alone, &after));
    assert_true(usage(place).stored_bytes < BIG + MIB);
    test_free(old);
    test_free(gone);
    test_free(edited);
    test_free(data);
}

/* Both versions in one folder: the second finds blocks that are not committed yet. */
static void
versions_of_one_put_meet(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    uint8_t *data = make_bytes(BIG, 1, false);
    uint8_t *edited = insert(data, BIG, 5, 1000, 2);
    struct syn_content_put *put = NULL;
    struct syn_cid cid;

    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, BIG, &err), &err);
    assert_done(syn_content_put_write(put, edited, BIG + 1000, &err), &err);
    assert_done(syn_content_put_commit(put, &cid, NULL, &err), &err);
    syn_content_put_free(put);
    assert_true(usage(place).stored_bytes < BIG + 2 * MIB);
    reopen(place, NULL, NULL);
    assert_int_equal(verify(place).bad, 0);
    assert_int_equal(verify(place).bytes >= 2 * BIG, 1);
    test_free(edited);
    test_free(data);
}

static void
compressible_content_meets_too(void **state)
{
    struct place *place = *state;
    uint8_t *data = make_bytes(BIG, 1, true);
    uint8_t *edited = insert(data, BIG, 50, 7, 2);
    struct syn_cid first = put_data(place->store, data, BIG);
    uint64_t before = usage(place).stored_bytes;
    struct syn_cid second = put_data(place->store, edited, BIG + 7);

    assert_true(usage(place).stored_bytes - before < 64 << 10);
    assert_data(place->store, &first, data, BIG);
    assert_data(place->store, &second, edited, BIG + 7);
    test_free(edited);
    test_free(data);
}

/* Many edits in a row: every version reads back, and all together take little more than one. */
static void
versions_in_a_row(void **state)
{
    enum { VERSIONS = 12 };
    struct place *place = *state;
    size_t size = BIG;
    uint8_t *data = make_bytes(size, 1, false);
    uint64_t random = 9;
    struct syn_cid cids[VERSIONS];
    uint8_t *versions[VERSIONS];
    size_t sizes[VERSIONS];

    for (size_t i = 0; i < VERSIONS; i++) {
        size_t more = 1 + (size_t)(syn_test_random(&random) % 20000);
        uint8_t *next = insert(data, size, (size_t)(syn_test_random(&random) % size), more, i);

        cids[i] = put_data(place->store, data, size);
        versions[i] = data;
        sizes[i] = size;
        data = next;
        size += more;
    }
    assert_true(usage(place).stored_bytes < 2 * BIG);
    reopen(place, NULL, NULL);
    for (size_t i = 0; i < VERSIONS; i++) {
        assert_data(place->store, &cids[i], versions[i], sizes[i]);
        test_free(versions[i]);
    }
    test_free(data);
}

static void
sealed_content_meets_under_its_key(void **state)
{
    struct place *place = *state;
    char *key = make_key(place, "key", 1);
    uint8_t *data = make_bytes(BIG, 1, false);
    uint8_t *edited = insert(data, BIG, 50, 7, 2);
    struct syn_cid second;

    reopen(place, key, NULL);
    (void)put_data(place->store, data, BIG);
    second = put_data(place->store, edited, BIG + 7);
    assert_true(usage(place).stored_bytes < BIG + MIB);
    reopen(place, key, NULL);
    assert_data(place->store, &second, edited, BIG + 7);
    assert_int_equal(verify(place).bad, 0);
    assert_int_equal(verify(place).plain, 0);
    test_free(edited);
    test_free(data);
    test_free(key);
}

/* ---- reading and exchange -------------------------------------------------------------------- */

/* A store with both versions; the second is slices of the first. */
struct pair {
    uint8_t *data;
    uint8_t *edited;
    size_t edited_size;
    struct syn_cid first;
    struct syn_cid second;
};

static struct pair
put_pair(struct place *place)
{
    struct pair pair = {.data = make_bytes(BIG, 1, false), .edited_size = BIG + 333};
    uint64_t before;

    pair.edited = insert(pair.data, BIG, 1000, 333, 2);
    pair.first = put_data(place->store, pair.data, BIG);
    before = usage(place).stored_bytes;
    pair.second = put_data(place->store, pair.edited, pair.edited_size);
    assert_true(usage(place).stored_bytes - before < 64 << 10);
    return pair;
}

static void
pair_fini(struct pair *pair)
{
    test_free(pair->data);
    test_free(pair->edited);
}

static void
ranges_are_exact(void **state)
{
    struct place *place = *state;
    struct pair pair = put_pair(place);
    uint64_t seed = 77;

    for (int i = 0; i < 40; i++) {
        size_t from = (size_t)(syn_test_random(&seed) % pair.edited_size);
        size_t len = (size_t)(syn_test_random(&seed) % (i % 3 == 0 ? BIG : 100));
        struct syn_err err = {0};
        SYN_BUF(got);

        assert_done(syn_content_read(place->store, &pair.second, from, len, collect, &got, &err),
                    &err);
        assert_int_equal(got.len, SYN_MIN(len, pair.edited_size - from));
        if (got.len > 0)
            assert_memory_equal(got.data, pair.edited + from, got.len);
    }
    pair_fini(&pair);
}

static void
archives_hold_whole_blocks(void **state)
{
    struct place *place = *state;
    struct pair pair = put_pair(place);
    struct syn_err err = {0};
    struct syn_content_car *car = NULL;
    const struct syn_cid *roots = NULL;
    size_t count = 0;
    char *old = path_in(place, "store");
    char *gone = path_in(place, "gone");
    SYN_BUF(archive);

    assert_done(syn_content_car_export(place->store, &pair.second, 1, collect, &archive, &err),
                &err);
    place->store = syn_content_close(place->store);
    assert_int_equal(rename(old, gone), 0);
    reopen(place, NULL, NULL);
    assert_done(syn_content_car_new(place->store, &car, &err), &err);
    assert_done(syn_content_car_write(car, archive.data, archive.len, &err), &err);
    assert_done(syn_content_car_commit(car, &roots, &count, &err), &err);
    syn_content_car_free(car);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    test_free(old);
    test_free(gone);
    pair_fini(&pair);
}

/* ---- keeping --------------------------------------------------------------------------------- */

static void
gc_keeps_what_slices_are_of(void **state)
{
    struct place *place = *state;
    struct pair pair = put_pair(place);
    struct syn_content_gc result;

    assert_int_equal(sweep_all(place, &pair.second, 1, &result), 0);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_true(result.blocks_removed > 0); /* the first version's node */
    reopen(place, NULL, NULL);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(sweep_all(place, NULL, 0, &result), 0);
    assert_int_equal(result.blocks_kept, 0);
    assert_int_equal(bytes_in_packs(place), 0);
    /* What is left of anchors names nothing: the same content is stored whole again. */
    pair.second = put_data(place->store, pair.edited, pair.edited_size);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    pair_fini(&pair);
}

/* The first version goes and comes back while the second one lives on its blocks, and packs are
 * copied together on the way. */
static void
gc_copies_recipes(void **state)
{
    struct place *place = *state;
    struct pair pair;
    struct syn_content_gc result;

    place->pack_bytes_max = 3 * MIB;
    reopen(place, NULL, NULL);
    (void)put_bytes(place->store, 2 * MIB, 50, false); /* what makes packs worn */
    pair = put_pair(place);
    (void)put_bytes(place->store, 5 * MIB, 51, false);
    assert_int_equal(sweep_all(place, &pair.second, 1, &result), 0);
    assert_true(result.bytes_freed > 0);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(verify(place).bad, 0);
    drop_index(place);
    reopen(place, NULL, NULL);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    pair_fini(&pair);
}

static void
rebuilt_indexes_know_recipes(void **state)
{
    struct place *place = *state;
    struct pair pair = put_pair(place);
    struct syn_content_gc result;

    drop_index(place);
    reopen(place, NULL, NULL);
    assert_data(place->store, &pair.first, pair.data, BIG);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(sweep_all(place, &pair.second, 1, &result), 0);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    pair_fini(&pair);
}

/* A recipe whose bases were collected with it comes back with the index, as rubbish of a pack that
 * is still in use. It must not count as stored. */
static void
rebuilt_indexes_leave_out_recipes_without_bases(void **state)
{
    struct place *place = *state;
    struct pair pair;
    struct syn_content_gc result;
    struct syn_cid kept;
    struct syn_cid again;

    place->pack_bytes_max = 9 * MIB;
    reopen(place, NULL, NULL);
    pair = put_pair(place); /* first: one pack; recipes: the next one, with what is kept */
    kept = put_bytes(place->store, 2 * MIB, 60, false);
    assert_int_equal(sweep_all(place, &kept, 1, &result), 0);
    drop_index(place);
    reopen(place, NULL, NULL);
    assert_content(place->store, &kept, 2 * MIB, 60, false);
    again = put_data(place->store, pair.edited, pair.edited_size);
    assert_true(syn_cid_eq(&again, &pair.second));
    assert_data(place->store, &again, pair.edited, pair.edited_size);
    pair_fini(&pair);
}

static void
older_stores_open(void **state)
{
    struct place *place = *state;
    uint8_t *data = make_bytes(BIG, 1, false);
    struct syn_cid cid = put_data(place->store, data, BIG);
    uint8_t *edited = insert(data, BIG, 9, 9, 2);
    struct syn_cid second;

    for (int version = 3; version >= 1; version--) {
        downgrade(place, version);
        reopen(place, NULL, NULL);
        assert_data(place->store, &cid, data, BIG);
    }
    second = put_data(place->store, edited, BIG + 9); /* there are no anchors: stored whole */
    assert_data(place->store, &second, edited, BIG + 9);
    test_free(edited);
    test_free(data);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static uint64_t
damage(struct place *place, const struct syn_cid *cid)
{
    uint64_t bad = 0;
    struct syn_err err = {0};

    assert_done(syn_content_damage(place->store, cid, &bad, &err), &err);
    return bad;
}

/* A bit of a base harms what is made of it; putting either version again repairs that version. */
static void
damaged_bases_are_found_and_repaired(void **state)
{
    struct place *place = *state;
    struct pair pair;
    struct syn_err err = {0};
    struct syn_cid again;
    char *pack = path_in(place, "store/packs/00000001.pack");
    SYN_BUF(got);

    place->pack_bytes_max = 64 * MIB;
    reopen(place, NULL, NULL);
    pair = put_pair(place);
    flip_bit(pack, (off_t)(3 * MIB + MIB / 2), 2);
    assert_code(syn_content_read(place->store, &pair.second, 0, UINT64_MAX, collect, &got, &err),
                SYN_E_CORRUPT, &err);
    /* The read found the slice's block and the base itself. */
    assert_int_equal(damage(place, &pair.first), 1);
    assert_int_equal(damage(place, &pair.second), 1);
    again = put_data(place->store, pair.edited, pair.edited_size);
    assert_true(syn_cid_eq(&again, &pair.second));
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(damage(place, &pair.first), 1);
    again = put_data(place->store, pair.data, BIG);
    assert_true(syn_cid_eq(&again, &pair.first));
    assert_data(place->store, &pair.first, pair.data, BIG);
    assert_int_equal(verify(place).bad, 0);
    reopen(place, NULL, NULL);
    drop_index(place);
    reopen(place, NULL, NULL);
    assert_data(place->store, &pair.first, pair.data, BIG);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    test_free(pack);
    pair_fini(&pair);
}

/* Also by putting only the first version again. */
static void
repaired_bases_repair_what_is_made_of_them(void **state)
{
    struct place *place = *state;
    struct pair pair;
    char *pack = path_in(place, "store/packs/00000001.pack");

    place->pack_bytes_max = 64 * MIB;
    reopen(place, NULL, NULL);
    pair = put_pair(place);
    flip_bit(pack, (off_t)(3 * MIB + MIB / 2), 2);
    assert_true(verify(place).bad >= 2);
    (void)put_data(place->store, pair.data, BIG);
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(verify(place).bad, 0);
    assert_int_equal(damage(place, &pair.second), 0);
    test_free(pack);
    pair_fini(&pair);
}

static void
flipped_bits_of_recipes_are_found(void **state)
{
    struct place *place = *state;
    struct pair pair;
    char *pack = path_in(place, "store/packs/00000001.pack");
    off_t from;
    off_t end;
    unsigned flips = 0;
    unsigned found = 0;
    const size_t size = 2 * MIB; /* all of it is read again for each bit */

    place->pack_bytes_max = 64 * MIB;
    reopen(place, NULL, NULL);
    pair.data = make_bytes(size, 1, false);
    pair.edited_size = size + 333;
    pair.edited = insert(pair.data, size, 1000, 333, 2);
    pair.first = put_data(place->store, pair.data, size);
    from = file_size(pack);
    pair.second = put_data(place->store, pair.edited, pair.edited_size);
    end = file_size(pack);
    for (off_t at = from; at < end; at += 11) {
        struct syn_err err = {0};
        SYN_BUF(got);
        int rc;

        flip_bit(pack, at, (unsigned)at % 8);
        rc = syn_content_read(place->store, &pair.second, 0, UINT64_MAX, collect, &got, &err);
        flips++;
        found += rc == SYN_E_CORRUPT;
        if (rc == 0)
            assert_memory_equal(got.data, pair.edited, pair.edited_size);
        else
            assert_int_equal(rc, SYN_E_CORRUPT);
        flip_bit(pack, at, (unsigned)at % 8);
    }
    assert_true(found + 20 >= flips); /* padding, and the odd bit that nothing looks at */
    assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
    assert_int_equal(damage(place, &pair.first), 0);
    test_free(pack);
    pair_fini(&pair);
}

/* ---- anchors --------------------------------------------------------------------------------- */

static void
anchors_move_with_their_bytes(void **state)
{
    struct syn_anchor_seed seed;
    struct syn_anchor before[SYN_ANCHORS_MAX];
    struct syn_anchor after[SYN_ANCHORS_MAX];
    uint8_t *data = make_bytes(4 * MIB, 1, false);
    uint8_t *moved = insert(data, 4 * MIB - 5000, 100, 5000, 2);
    unsigned same = 0;
    size_t count;
    size_t count_after;

    (void)state;
    syn_anchor_seed_init(&seed, NULL);
    count = syn_anchors_find(&seed, data, 4 * MIB, before);
    count_after = syn_anchors_find(&seed, moved, 4 * MIB, after);
    assert_true(count >= 30 && count <= 100);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count_after; j++)
            same += before[i].hash == after[j].hash && before[i].at + 5000 == after[j].at;
        assert_true(i == 0 || before[i].at >= before[i - 1].at + (8 << 10));
    }
    assert_true(same + 2 >= count);
    test_free(data);
    test_free(moved);
}

static void
anchors_depend_on_the_key(void **state)
{
    struct syn_anchor_seed plain;
    struct syn_anchor_seed sealed;
    struct syn_anchor a[SYN_ANCHORS_MAX];
    struct syn_anchor b[SYN_ANCHORS_MAX];
    uint8_t *data = make_bytes(MIB, 1, false);
    uint8_t *key = make_bytes(SYN_KEY_BYTES, 5, false);
    size_t count;
    size_t other;

    (void)state;
    syn_anchor_seed_init(&plain, NULL);
    syn_anchor_seed_init(&sealed, key);
    count = syn_anchors_find(&plain, data, MIB, a);
    other = syn_anchors_find(&sealed, data, MIB, b);
    assert_true(count > 0 && other > 0);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < other; j++)
            assert_true(a[i].hash != b[j].hash);
    }
    test_free(data);
    test_free(key);
}

static void
dull_blocks_have_few_anchors(void **state)
{
    struct syn_anchor_seed seed;
    struct syn_anchor found[SYN_ANCHORS_MAX];
    uint8_t *data = test_calloc(1, SYN_BLOCK_BYTES_MAX);

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t key[SYN_KEY_BYTES] = {(uint8_t)i};

        syn_anchor_seed_init(&seed, key);
        assert_true(syn_anchors_find(&seed, data, SYN_BLOCK_BYTES_MAX, found) <= SYN_ANCHORS_MAX);
        assert_int_equal(syn_anchors_find(&seed, data, SYN_ANCHOR_BLOCK_MIN - 1, found), 0);
    }
    test_free(data);
}

/* The first of a hash stays. */
static void
add_twice(struct syn_anchor_table *table, uint32_t i)
{
    struct syn_anchor anchor = {i * UINT64_C(0x9e3779b97f4a7c15), i};
    struct syn_err err = {0};

    assert_done(syn_anchor_table_add(table, &anchor, i + 1, &err), &err);
    anchor.at = 9;
    assert_done(syn_anchor_table_add(table, &anchor, 9, &err), &err);
}

static void
tables_find_what_was_added(void **state)
{
    struct syn_anchor_table table = {0};
    uint64_t random = 3;

    (void)state;
    assert_null(syn_anchor_table_find(&table, 7));
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 5000; i++)
            add_twice(&table, i);
        assert_int_equal(table.count, 5000);
        for (uint32_t i = 0; i < 5000; i++) {
            const struct syn_anchor_note *note =
                syn_anchor_table_find(&table, i * UINT64_C(0x9e3779b97f4a7c15));

            assert_non_null(note);
            assert_int_equal(note->anchor.at, i);
            assert_int_equal(note->item, i + 1);
        }
        assert_null(syn_anchor_table_find(&table, syn_test_random(&random)));
        syn_anchor_table_clear(&table);
        assert_null(syn_anchor_table_find(&table, 0));
    }
    syn_anchor_table_fini(&table);
}

/* ---- recipes --------------------------------------------------------------------------------- */

static void
recipes_have_one_spelling(void **state)
{
    struct syn_recipe recipe = {
        .size = 70,
        .bases_count = 2,
        .parts_count = 4,
        .parts = {{SYN_RECIPE_LITERAL, 0, 10}, {0, 5, 20}, {1, 0, 30}, {SYN_RECIPE_LITERAL, 0, 10}},
        .literal = (const uint8_t *)"abcdefghijklmnopqrst",
        .literal_len = 20};
    struct syn_recipe got;
    struct syn_err err = {0};
    SYN_BUF(out);
    SYN_BUF(again);

    (void)state;
    memset(recipe.bases[0], 1, SYN_DIGEST_BYTES);
    memset(recipe.bases[1], 2, SYN_DIGEST_BYTES);
    assert_done(syn_recipe_encode(&recipe, &out, &err), &err);
    assert_done(syn_recipe_decode(out.data, out.len, &got, &err), &err);
    assert_int_equal(got.size, 70);
    assert_int_equal(got.parts_count, 4);
    assert_done(syn_recipe_encode(&got, &again, &err), &err);
    assert_int_equal(out.len, again.len);
    assert_memory_equal(out.data, again.data, out.len);
    for (size_t len = 0; len < out.len; len++)
        assert_code(syn_recipe_decode(out.data, len, &got, &err), SYN_E_CORRUPT, &err);
    syn_buf_addc(&out, 0);
    assert_code(syn_recipe_decode(out.data, out.len, &got, &err), SYN_E_CORRUPT, &err);
}

/* Parts that do not fit: beyond a base, bases that are not used, literals side by side. */
static void
recipes_that_do_not_fit_are_refused(void **state)
{
    static const struct syn_recipe_part odd[][2] = {
        {{SYN_RECIPE_LITERAL, 0, 5}, {SYN_RECIPE_LITERAL, 0, 5}},
        {{0, 0, 10}, {0, 0, 1}},
        {{1, 0, 5}, {0, 0, 5}},
        {{0, (uint32_t)SYN_BLOCK_BYTES_MAX - 4, 5}, {0, 0, 5}},
        {{SYN_RECIPE_LITERAL, 0, 0}, {0, 0, 10}},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(odd); i++) {
        struct syn_recipe recipe = {.size = 10,
                                    .bases_count = 1,
                                    .parts_count = 2,
                                    .parts = {odd[i][0], odd[i][1]},
                                    .literal = (const uint8_t *)"abcdefghij",
                                    .literal_len = i == 0 ? 10 : 0};
        struct syn_recipe got;
        struct syn_err err = {0};
        SYN_BUF(out);

        assert_done(syn_recipe_encode(&recipe, &out, &err), &err);
        assert_code(syn_recipe_decode(out.data, out.len, &got, &err), SYN_E_CORRUPT, &err);
    }
}

/* ---- all at once, short memory, failing disks ------------------------------------------------ */

#define THREADS 3
#define STEPS   4

struct crowd {
    struct place *place;
    const uint8_t *data;
    atomic_uint running;
    atomic_uint failures;
    unsigned number;
    pthread_t thread;
    struct crowd *all;
};

/* What nothing keeps may be gone by the time it is read, whole; else it is what was put. */
static bool
reads_back_or_is_gone(struct syn_content *store, const struct syn_cid *cid, const uint8_t *want,
                      struct syn_err *err)
{
    SYN_BUF(got);
    int rc = syn_content_read(store, cid, 0, UINT64_MAX, collect, &got, err);

    return rc == SYN_E_NOTFOUND ||
           (rc == 0 && got.len == 3 * MIB && memcmp(got.data, want, 3 * MIB) == 0);
}

static void *
put_versions(void *arg)
{
    struct crowd *self = arg;
    struct syn_content *store = self->place->store;

    for (unsigned i = 0; i < STEPS; i++) {
        const uint8_t *data = self->data + (size_t)(self->number * STEPS + i) * 1001;
        struct syn_content_put *put = NULL;
        struct syn_cid cid;
        struct syn_err err = {0};

        if (syn_content_put_new(store, &put, &err) < 0 ||
            syn_content_put_write(put, data, 3 * MIB, &err) < 0 ||
            syn_content_put_commit(put, &cid, NULL, &err) < 0 ||
            !reads_back_or_is_gone(store, &cid, data, &err)) {
            (void)fprintf(stderr, "# thread %u step %u: %s\n", self->number, i, err.msg);
            atomic_fetch_add(&self->all->failures, 1);
        }
        syn_content_put_free(put);
    }
    atomic_fetch_sub(&self->all->running, 1);
    return NULL;
}

/* Puts that lean on one another's blocks, while gc takes everything that no open put holds. */
static void
many_threads_share_bases(void **state)
{
    struct place *place = *state;
    struct crowd crowd[THREADS] = {0};
    uint8_t *data = make_bytes(4 * MIB, 1, false);
    struct syn_content_gc result;
    struct syn_err err = {0};

    atomic_store(&crowd[0].running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        crowd[i].place = place;
        crowd[i].data = data;
        crowd[i].number = i;
        crowd[i].all = crowd;
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, put_versions, &crowd[i]), 0);
    }
    while (atomic_load(&crowd[0].running) > 0) {
        struct root_list none = {0};

        assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
        assert_int_equal(verify(place).bad, 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(crowd[i].thread, NULL), 0);
    assert_int_equal(atomic_load(&crowd[0].failures), 0);
    test_free(data);
}

struct memory_scenario {
    struct place *place;
    const uint8_t *data;
    size_t skip;
};

static int
memory_run(void *arg, struct syn_err *err)
{
    struct memory_scenario *scenario = arg;
    struct syn_content_opts opts = {.dir = scenario->place->store_dir, .threads = 2};
    struct syn_content *store = NULL;
    struct syn_content_put *put = NULL;
    struct syn_cid cid;
    SYN_BUF(got);
    int rc = syn_content_open(&opts, &store, err);

    scenario->skip += 1001; /* another version every time */
    if (rc == 0)
        rc = syn_content_put_new(store, &put, err);
    if (rc == 0)
        rc = syn_content_put_write(put, scenario->data + scenario->skip, MIB, err);
    if (rc == 0)
        rc = syn_content_put_commit(put, &cid, NULL, err);
    syn_content_put_free(put);
    if (rc == 0)
        rc = syn_content_read(store, &cid, 0, UINT64_MAX, collect, &got, err);
    if (rc == 0)
        assert_memory_equal(got.data, scenario->data + scenario->skip, MIB);
    syn_content_close(store);
    return rc;
}

static void
short_memory_is_told_and_survived(void **state)
{
    struct place *place = *state;
    uint8_t *data = make_bytes(4 * MIB, 1, false);
    struct memory_scenario scenario = {.place = place, .data = data};

    (void)put_data(place->store, data, 4 * MIB);
    place->store = syn_content_close(place->store);
    assert_true(syn_test_sweep_alloc(memory_run, &scenario) > 40);
    reopen(place, NULL, NULL);
    assert_int_equal(verify(place).bad, 0);
    test_free(data);
}

static atomic_int calls_left; /* the call that makes it 0 fails; < 0: no fault */

static bool
call_fails(void)
{
    if (atomic_load(&calls_left) < 0 || atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    atomic_store(&calls_left, -1);
    errno = EIO;
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

static const struct syn_content_io faulty_io = {
    .pwritev = faulty_pwritev,
    .fdatasync = faulty_fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .renameat2 = renameat2,
};

static void
failing_disks_are_told_and_survived(void **state)
{
    struct place *place = *state;
    struct pair pair;
    unsigned failures = 0;
    int rc = -1;

    atomic_store(&calls_left, -1);
    place->io = &faulty_io;
    reopen(place, NULL, NULL);
    pair = put_pair(place);
    for (int nth = 1; rc != 0; nth++) {
        struct syn_content_put *put = NULL;
        struct syn_err err = {0};
        struct syn_cid cid;

        assert_true(nth < 50);
        assert_done(syn_content_put_new(place->store, &put, &err), &err);
        atomic_store(&calls_left, nth);
        rc = syn_content_put_write(put, pair.edited + 300, BIG, &err);
        if (rc == 0)
            rc = syn_content_put_commit(put, &cid, NULL, &err);
        atomic_store(&calls_left, -1);
        syn_content_put_free(put);
        failures += rc != 0;
        assert_true(rc == 0 || rc == SYN_E_IO);
        reopen(place, NULL, NULL);
        assert_data(place->store, &pair.second, pair.edited, pair.edited_size);
        if (rc == 0)
            assert_data(place->store, &cid, pair.edited + 300, BIG);
    }
    assert_true(failures >= 2);
    assert_int_equal(verify(place).bad, 0);
    pair_fini(&pair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(edits_are_stored_alone),
        store_test(cids_do_not_tell),
        store_test(versions_of_one_put_meet),
        store_test(compressible_content_meets_too),
        store_test(versions_in_a_row),
        store_test(sealed_content_meets_under_its_key),
        store_test(ranges_are_exact),
        store_test(archives_hold_whole_blocks),
        store_test(gc_keeps_what_slices_are_of),
        store_test(gc_copies_recipes),
        store_test(rebuilt_indexes_know_recipes),
        store_test(rebuilt_indexes_leave_out_recipes_without_bases),
        store_test(older_stores_open),
        store_test(damaged_bases_are_found_and_repaired),
        store_test(repaired_bases_repair_what_is_made_of_them),
        store_test(flipped_bits_of_recipes_are_found),
        cmocka_unit_test(anchors_move_with_their_bytes),
        cmocka_unit_test(anchors_depend_on_the_key),
        cmocka_unit_test(dull_blocks_have_few_anchors),
        cmocka_unit_test(tables_find_what_was_added),
        cmocka_unit_test(recipes_have_one_spelling),
        cmocka_unit_test(recipes_that_do_not_fit_are_refused),
        store_test(many_threads_share_bases),
        store_test(short_memory_is_told_and_survived),
        store_test(failing_disks_are_told_and_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
