#include <synor/base/test.h>

#include <unistd.h>

#include <synor/infra/content.h>

#include "car_priv.h"
#include "content_testing.h"

static struct syn_cid
put_tree(struct place *place)
{
    struct syn_cid cid;
    struct syn_err err = {0};
    char *from = make_tree(place, "tree");

    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &cid, NULL, &err), &err);
    test_free(from);
    return cid;
}

/* Open a second, empty store in place of the first. */
static void
empty_store(struct place *place)
{
    struct syn_err err = {0};
    struct root_list none = {0};
    struct syn_content_gc result;

    (void)usleep(2000);
    assert_done(syn_content_gc(place->store, 0, next_root, &none, &result, &err), &err);
}

static uint64_t
count_blocks(struct place *place)
{
    struct syn_content_usage usage;
    struct syn_err err = {0};

    assert_done(syn_content_usage(place->store, &usage, &err), &err);
    return usage.blocks;
}

static int
import(struct place *place, const struct syn_buf *archive, size_t len, size_t step,
       struct syn_cid *ret_root, struct syn_err *err)
{
    struct syn_content_car *car = NULL;
    const struct syn_cid *roots = NULL;
    size_t count = 0;
    int rc = syn_content_car_new(place->store, &car, err);

    for (size_t at = 0; rc == 0 && at < len; at += step)
        rc = syn_content_car_write(car, archive->data + at, SYN_MIN(step, len - at), err);
    if (rc == 0)
        rc = syn_content_car_commit(car, &roots, &count, err);
    if (rc == 0) {
        assert_int_equal(count, 1);
        *ret_root = roots[0];
    }
    syn_content_car_free(car);
    return rc;
}

static void
folders_travel(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid root = put_tree(place);
    struct syn_cid back;
    struct syn_content_verify report;
    uint64_t blocks = count_blocks(place);
    char *from = path_in(place, "tree");
    char *to = path_in(place, "travelled");
    SYN_BUF(archive);
    SYN_BUF(again);

    assert_done(syn_content_car_export(place->store, &root, 1, collect, &archive, &err), &err);
    empty_store(place);
    assert_int_equal(count_blocks(place), 0);
    assert_done(import(place, &archive, archive.len, 65521, &back, &err), &err);
    assert_true(syn_cid_eq(&root, &back));
    assert_int_equal(count_blocks(place), blocks);
    assert_done(syn_content_verify(place->store, NULL, NULL, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.bad, 0);
    assert_done(syn_content_get(place->store, &back, to, 0, NULL, NULL, &err), &err);
    assert_same_tree(from, to);
    assert_done(syn_content_car_export(place->store, &root, 1, collect, &again, &err), &err);
    assert_int_equal(archive.len, again.len);
    assert_memory_equal(archive.data, again.data, archive.len);
    test_free(from);
    test_free(to);
}

static struct syn_cid
small_archive(struct place *place, struct syn_buf *archive)
{
    struct syn_err err = {0};
    struct syn_content_entry entries[2] = {{.name = "a"}, {.name = "b"}};
    struct syn_cid root;

    entries[0].cid = put_bytes(place->store, 100, 1, false);
    entries[1].cid = put_bytes(place->store, 50, 2, true);
    assert_done(syn_content_put_dir(place->store, entries, 2, &root, &err), &err);
    assert_done(syn_content_car_export(place->store, &root, 1, collect, archive, &err), &err);
    empty_store(place);
    return root;
}

static void
bytes_may_come_one_by_one(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid back;
    SYN_BUF(archive);
    struct syn_cid root = small_archive(place, &archive);

    assert_done(import(place, &archive, archive.len, 1, &back, &err), &err);
    assert_true(syn_cid_eq(&root, &back));
}

static void
every_cut_is_refused(void **state)
{
    struct place *place = *state;
    SYN_BUF(archive);

    (void)small_archive(place, &archive);
    for (size_t len = 0; len < archive.len; len++) {
        struct syn_err err = {0};
        struct syn_cid back;
        int rc = import(place, &archive, len, 4096, &back, &err);

        assert_true(rc == SYN_E_INVALID || rc == SYN_E_NOTFOUND);
        assert_true(err.msg[0] != '\0');
        assert_int_equal(count_blocks(place), 0);
    }
}

static void
every_flipped_byte_is_refused(void **state)
{
    struct place *place = *state;
    SYN_BUF(archive);

    (void)small_archive(place, &archive);
    for (size_t at = 0; at < archive.len; at++) {
        struct syn_err err = {0};
        struct syn_cid back;
        int rc;

        archive.data[at] ^= 0x11;
        rc = import(place, &archive, archive.len, 4096, &back, &err);
        archive.data[at] ^= 0x11;
        assert_true(rc == SYN_E_INVALID || rc == SYN_E_NOTFOUND);
        assert_int_equal(count_blocks(place), 0);
    }
}

/* What a user hands over by mistake; a CAR file that lost its end is told apart from these. */
static void
what_is_no_archive_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *said;
    } rows[] = {
        {"", 0, "empty"},
        {"hello\n", 6, "no CAR file"},              /* the length of a header that never ends */
        {"\x1f\x8b\x08\x00", 4, "no CAR file"},     /* gzip */
        {"\xff\xff\xff\xff\x7f", 5, "no CAR file"}, /* a length that no header has */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "no CAR file"},
        {"\x0a\xa1\x67version\x02", 11, "no CAR file of version 1"}, /* of version 2 */
        {"\x3a\xa2\x65ro", 5, "cut short"},
        {"\x3a", 1, "cut short"},
    };
    struct place *place = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        struct syn_cid back;
        SYN_BUF(archive);

        syn_buf_add(&archive, rows[i].bytes, rows[i].len);
        assert_int_equal(import(place, &archive, archive.len, 4096, &back, &err), SYN_E_INVALID);
        if (strstr(err.msg, rows[i].said) == NULL)
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.msg, rows[i].said);
    }
}

static void
headers_round_trip(void **state)
{
    static const size_t counts[] = {1, 2, 23, 24, 255, 256, SYN_CONTENT_CAR_ROOTS_MAX};
    static struct syn_cid roots[SYN_CONTENT_CAR_ROOTS_MAX];
    static struct syn_cid back[SYN_CONTENT_CAR_ROOTS_MAX];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(roots); i++)
        syn_cid_of(i % 2 == 0 ? SYN_CODEC_RAW : SYN_CODEC_DAG_PB, &i, sizeof(i), &roots[i]);
    for (size_t i = 0; i < SYN_LEN(counts); i++) {
        struct syn_err err = {0};
        size_t count = 0;
        SYN_BUF(header);

        assert_done(syn_car_header_encode(roots, counts[i], &header, &err), &err);
        assert_done(syn_car_header_decode(header.data, header.len, back, &count, &err), &err);
        assert_int_equal(count, counts[i]);
        for (size_t j = 0; j < count; j++)
            assert_true(syn_cid_eq(&roots[j], &back[j]));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(folders_travel),
        store_test(bytes_may_come_one_by_one),
        store_test(every_cut_is_refused),
        store_test(every_flipped_byte_is_refused),
        store_test(what_is_no_archive_is_named),
        cmocka_unit_test(headers_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
