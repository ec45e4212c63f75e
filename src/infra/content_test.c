#include <synor/base/test.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/infra/content.h>

#include "content_testing.h"

static void
files_come_back(void **state)
{
    static const size_t sizes[] = {0, 1, 511, 512, 70000, MIB - 1, MIB, MIB + 1, 5 * MIB + 3};
    struct place *place = *state;

    for (size_t i = 0; i < SYN_LEN(sizes); i++) {
        struct syn_err err = {0};
        struct syn_cid cid = put_bytes(place->store, sizes[i], i + 1, false);
        struct syn_cid again = put_bytes(place->store, sizes[i], i + 1, false);
        struct syn_content_stat stat;

        assert_true(syn_cid_eq(&cid, &again));
        assert_done(syn_content_stat(place->store, &cid, &stat, &err), &err);
        assert_int_equal(stat.type, SYN_CONTENT_FILE);
        assert_int_equal(stat.size, sizes[i]);
        assert_content(place->store, &cid, sizes[i], i + 1, false);
    }
}

static void
compressible_files_come_back_smaller(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_usage usage;
    struct syn_cid cid = put_bytes(place->store, 4 * MIB, 7, true);

    assert_content(place->store, &cid, 4 * MIB, 7, true);
    assert_done(syn_content_usage(place->store, &usage, &err), &err);
    assert_true(usage.stored_bytes < usage.bytes / 2);
    assert_int_equal(usage.put_bytes >= 4 * MIB, 1);
}

static void
ranges_are_exact(void **state)
{
    const size_t size = 3 * MIB + 100;
    struct place *place = *state;
    struct syn_cid cid = put_bytes(place->store, size, 3, false);
    uint8_t *want = make_bytes(size, 3, false);
    uint64_t seed = 77;

    for (int i = 0; i < 60; i++) {
        size_t from = (size_t)(syn_test_random(&seed) % (size + 10));
        size_t len = (size_t)(syn_test_random(&seed) % (i % 3 == 0 ? size : 100));
        size_t there = from >= size ? 0 : SYN_MIN(len, size - from);
        struct syn_err err = {0};
        SYN_BUF(got);

        assert_done(syn_content_read(place->store, &cid, from, len, collect, &got, &err), &err);
        assert_int_equal(got.len, there);
        if (there > 0)
            assert_memory_equal(got.data, want + from, there);
    }
    test_free(want);
}

static void
sinks_can_stop_a_read(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid = put_bytes(place->store, 5 * MIB, 3, false);
    unsigned left = 2;

    assert_code(syn_content_read(place->store, &cid, 0, UINT64_MAX, stop_after, &left, &err),
                SYN_E_CANCELED, &err);
    assert_int_equal(left, 0);
}

static void
folders_come_back(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_tally tally;
    struct syn_cid cid;
    struct syn_cid streamed;
    struct syn_cid at;
    char *from = make_tree(place, "tree");
    char *to = path_in(place, "copy");

    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &cid, &tally, &err), &err);
    assert_int_equal(tally.files, 604);
    assert_int_equal(tally.folders, 4);
    assert_int_equal(tally.links, 2);
    assert_done(syn_content_get(place->store, &cid, to, SYN_CONTENT_GET_SYNC, NULL, NULL, &err),
                &err);
    assert_same_tree(from, to);
    assert_done(syn_content_resolve(place->store, &cid, "a/b//./big", &at, &err), &err);
    streamed = put_bytes(place->store, 2 * MIB + 9, 5, false);
    assert_true(syn_cid_eq(&at, &streamed));
    assert_code(syn_content_resolve(place->store, &cid, "a/nothing", &at, &err), SYN_E_NOTFOUND,
                &err);
    assert_non_null(strstr(err.msg, "nothing"));
    assert_code(syn_content_resolve(place->store, &cid, "a/../a", &at, &err), SYN_E_INVALID, &err);
    assert_code(syn_content_resolve(place->store, &cid, "a/b/big/x", &at, &err), SYN_E_INVALID,
                &err);
    test_free(from);
    test_free(to);
}

/* A folder that is over the profile's limit, so a trie. */
static void
sharded_folders_come_back(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_stat stat;
    struct syn_cid cid;
    struct syn_cid at;
    char *from = make_wide(place, "wide", 4000);
    char *to = path_in(place, "wide-copy");
    struct names names = {0};
    struct syn_content_page page = {.limit = 150, .more = true};

    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &cid, NULL, &err), &err);
    assert_done(syn_content_stat(place->store, &cid, &stat, &err), &err);
    assert_true(stat.sharded);
    for (; page.more; page.skip += page.limit)
        assert_done(syn_content_list(place->store, &cid, &page, count_name, &names, &err), &err);
    assert_int_equal(names.count, 4000);
    assert_done(syn_content_resolve(place->store, &cid, wide_name(1234), &at, &err), &err);
    assert_code(syn_content_resolve(place->store, &cid, "not there", &at, &err), SYN_E_NOTFOUND,
                &err);
    assert_done(syn_content_get(place->store, &cid, to, 0, NULL, NULL, &err), &err);
    assert_same_tree(from, to);
    test_free(from);
    test_free(to);
}

static void
composed_folders_equal_stored_ones(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_entry inner[2] = {{.name = "f"}, {.name = "l"}};
    struct syn_content_entry outer[2] = {{.name = "z"}, {.name = "dir"}};
    struct syn_cid composed;
    struct syn_cid stored;
    char *from = path_in(place, "composed");

    make_dir(from);
    make_file_at(from, "z", 2 * MIB, 1);
    make_dir_at(from, "dir");
    make_file_at(from, "dir/f", 10, 2);
    make_link_at(from, "dir/l", "../z");
    inner[0].cid = put_bytes(place->store, 10, 2, false);
    assert_done(syn_content_put_symlink(place->store, "../z", &inner[1].cid, &err), &err);
    outer[0].cid = put_bytes(place->store, 2 * MIB, 1, false);
    assert_done(syn_content_put_dir(place->store, inner, 2, &outer[1].cid, &err), &err);
    assert_done(syn_content_put_dir(place->store, outer, 2, &composed, &err), &err);
    assert_done(syn_content_put_path(place->store, from, NULL, NULL, &stored, NULL, &err), &err);
    assert_true(syn_cid_eq(&composed, &stored));
    syn_cid_of(SYN_CODEC_RAW, "never stored", 12, &outer[0].cid);
    assert_code(syn_content_put_dir(place->store, outer, 2, &composed, &err), SYN_E_NOTFOUND, &err);
    test_free(from);
}

static void
special_files_are_refused_by_name(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid;
    struct syn_content_usage before;
    struct syn_content_usage after;
    char *from = path_in(place, "special");
    char *pipe = path_in(place, "special/the-pipe");

    make_dir(from);
    make_file_at(from, "a", 10, 1);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_done(syn_content_usage(place->store, &before, &err), &err);
    assert_code(syn_content_put_path(place->store, from, NULL, NULL, &cid, NULL, &err),
                SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "the-pipe"));
    assert_non_null(strstr(err.msg, "pipe:"));
    assert_code(syn_content_put_path(place->store, "/dev/null", NULL, NULL, &cid, NULL, &err),
                SYN_E_INVALID, &err);
    assert_code(syn_content_put_path(place->store, "/nowhere", NULL, NULL, &cid, NULL, &err),
                SYN_E_NOTFOUND, &err);
    assert_done(syn_content_usage(place->store, &after, &err), &err);
    assert_int_equal(before.blocks, after.blocks);
    test_free(pipe);
    test_free(from);
}

static void
exports_are_whole_or_absent(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid file = put_bytes(place->store, 3 * MIB, 4, false);
    struct syn_cid missing;
    struct syn_content_entry entries[1] = {{.name = "in", .cid = file}};
    struct syn_cid dir;
    char *to = path_in(place, "out");
    unsigned left = 1;

    assert_done(syn_content_get(place->store, &file, to, 0, NULL, NULL, &err), &err);
    assert_file(to, 3 * MIB, 4);
    assert_code(syn_content_get(place->store, &file, to, 0, NULL, NULL, &err), SYN_E_EXISTS, &err);
    file = put_bytes(place->store, 100, 5, false);
    assert_done(syn_content_get(place->store, &file, to, SYN_CONTENT_GET_REPLACE, NULL, NULL, &err),
                &err);
    assert_file(to, 100, 5);
    assert_done(syn_content_put_dir(place->store, entries, 1, &dir, &err), &err);
    assert_done(syn_content_get(place->store, &dir, to, SYN_CONTENT_GET_REPLACE, NULL, NULL, &err),
                &err);
    assert_done(syn_content_get(place->store, &file, to, SYN_CONTENT_GET_REPLACE, NULL, NULL, &err),
                &err);
    assert_file(to, 100, 5);
    syn_cid_of(SYN_CODEC_RAW, "never stored", 12, &missing);
    assert_code(
        syn_content_get(place->store, &missing, to, SYN_CONTENT_GET_REPLACE, NULL, NULL, &err),
        SYN_E_NOTFOUND, &err);
    assert_code(syn_content_get(place->store, &entries[0].cid, to, SYN_CONTENT_GET_REPLACE,
                                cancel_after, &left, &err),
                SYN_E_CANCELED, &err);
    assert_file(to, 100, 5);
    assert_int_equal(count_files(place->dir, ".synor-"), 0);
    assert_code(syn_content_get(place->store, &file, "/", 0, NULL, NULL, &err), SYN_E_INVALID,
                &err);
    test_free(to);
}

static void
uploads_resume(void **state)
{
    const size_t size = 5 * MIB + 123;
    struct place *place = *state;
    struct syn_err err = {0};
    uint8_t *data = make_bytes(size, 11, false);
    struct syn_content_put *put = NULL;
    struct syn_cid whole = put_bytes(place->store, size, 11, false);
    struct syn_cid cid;
    uint64_t offset = 0;
    uint64_t total = 0;
    SYN_BUF(saved);

    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, 3 * MIB + 77, &err), &err);
    assert_done(syn_content_put_save(put, &saved, &offset, &err), &err);
    assert_int_equal(offset, 3 * MIB);
    syn_content_put_free(put);
    reopen(place, NULL, NULL);
    assert_done(syn_content_put_resume(place->store, saved.data, saved.len, &put, &err), &err);
    assert_done(syn_content_put_write(put, data + offset, size - offset, &err), &err);
    assert_done(syn_content_put_commit(put, &cid, &total, &err), &err);
    assert_int_equal(total, size);
    assert_true(syn_cid_eq(&cid, &whole));
    assert_code(syn_content_put_write(put, data, 1, &err), SYN_E_CONFLICT, &err);
    syn_content_put_free(put);
    assert_code(syn_content_put_resume(place->store, "junk", 4, &put, &err), SYN_E_INVALID, &err);
    test_free(data);
}

static void
abandoned_puts_leave_nothing(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content_put *put = NULL;
    uint8_t *data = make_bytes(4 * MIB, 12, false);
    uint64_t before;

    (void)put_bytes(place->store, 10, 1, false);
    before = bytes_in_packs(place);
    assert_done(syn_content_put_new(place->store, &put, &err), &err);
    assert_done(syn_content_put_write(put, data, 4 * MIB, &err), &err);
    syn_content_put_free(put);
    assert_int_equal(bytes_in_packs(place), before);
    test_free(data);
}

static void
blocks_are_checked_on_the_way_in(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_cid cid;
    bool has = true;
    SYN_BUF(got);

    syn_cid_of(SYN_CODEC_RAW, "hello", 5, &cid);
    assert_done(syn_content_has_block(place->store, &cid, &has, &err), &err);
    assert_false(has);
    assert_code(syn_content_put_block(place->store, &cid, "hellO", 5, &err), SYN_E_INVALID, &err);
    assert_done(syn_content_put_block(place->store, &cid, "hello", 5, &err), &err);
    assert_done(syn_content_get_block(place->store, &cid, &got, &err), &err);
    assert_string_equal(syn_buf_text(&got), "hello");
    syn_cid_of(SYN_CODEC_DAG_PB, "hello", 5, &cid);
    assert_code(syn_content_put_block(place->store, &cid, "hello", 5, &err), SYN_E_INVALID, &err);
}

static void
one_process_at_a_time(void **state)
{
    struct place *place = *state;
    struct syn_err err = {0};
    struct syn_content *second = NULL;
    struct syn_content_opts opts = {.dir = place->store_dir};

    assert_code(syn_content_open(&opts, &second, &err), SYN_E_CONFLICT, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(files_come_back),
        store_test(compressible_files_come_back_smaller),
        store_test(ranges_are_exact),
        store_test(sinks_can_stop_a_read),
        store_test(folders_come_back),
        store_test(sharded_folders_come_back),
        store_test(composed_folders_equal_stored_ones),
        store_test(special_files_are_refused_by_name),
        store_test(exports_are_whole_or_absent),
        store_test(uploads_resume),
        store_test(abandoned_puts_leave_nothing),
        store_test(blocks_are_checked_on_the_way_in),
        store_test(one_process_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
