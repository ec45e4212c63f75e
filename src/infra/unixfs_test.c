/* Holds our layout against CIDs that the npm package ipfs-unixfs-importer gave to the same inputs
 * (tests/content/make-vectors.mjs wrote them), and the decoder against damage. */
#include <synor/base/test.h>

#include <stdio.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/infra/unixfs.h>

#include "unixfs_priv.h"

#define MIB ((size_t)1 << 20)

static json_t *vectors;

/* ---- the generator's inputs ------------------------------------------------------------------ */

/* As bytes() in make-vectors.mjs. */
static uint8_t *
make_bytes(size_t size, uint64_t seed)
{
    size_t block = SYN_MIN(size, (size_t)65536);
    uint8_t *out = test_malloc(size + 1);
    uint64_t state = seed;

    for (size_t i = 0; i < block; i++) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out[i] = (uint8_t)((state * UINT64_C(0x2545F4914F6CDD1D)) >> 56);
    }
    for (size_t at = block; block > 0 && at < size; at += block)
        memcpy(out + at, out, SYN_MIN(block, size - at));
    for (size_t at = 0, n = 0; at < size; at += block, n++) {
        out[at] = (uint8_t)n;
        if (at + 1 < size)
            out[at + 1] = (uint8_t)(n >> 8);
    }
    return out;
}

struct tally {
    size_t blocks;
    uint64_t bytes;
    size_t nodes_max;
    uint64_t fail_after;
};

/* Every block that is emitted must decode again, and a node's CID must be its hash. */
static int
take_block(void *arg, const struct syn_cid *cid, const void *data, size_t len, struct syn_err *err)
{
    struct tally *tally = arg;
    struct syn_unixfs_node node;
    struct syn_cid again;
    int rc;

    if (tally->fail_after != 0 && tally->blocks + 1 >= tally->fail_after)
        return SYN_FAIL(err, SYN_E_IO, "the test's store is broken");
    syn_cid_of(cid->codec, data, len, &again);
    assert_true(syn_cid_eq(cid, &again));
    rc = syn_unixfs_decode(cid->codec, data, len, &node, err);
    if (rc < 0)
        return rc;
    syn_unixfs_node_fini(&node);
    tally->blocks++;
    tally->bytes += len;
    tally->nodes_max = SYN_MAX(tally->nodes_max, len);
    return SYN_OK;
}

static int
build_file(size_t size, uint64_t seed, size_t chunk, const struct syn_unixfs_layout *layout,
           struct tally *tally, struct syn_unixfs_link *ret_link, struct syn_err *err)
{
    uint8_t *data = make_bytes(size, seed);
    struct syn_unixfs_file *file = NULL;
    int rc = syn_unixfs_file_new(take_block, tally, layout, &file, err);

    for (size_t at = 0; rc == 0 && at < size; at += chunk) {
        size_t len = SYN_MIN(chunk, size - at);
        struct syn_cid cid;

        syn_cid_of(SYN_CODEC_RAW, data + at, len, &cid);
        rc = syn_unixfs_file_add(file, &cid, len, err);
    }
    if (rc == 0)
        rc = syn_unixfs_file_finish(file, ret_link, err);
    syn_unixfs_file_free(file);
    test_free(data);
    return rc;
}

static void
assert_vector(const struct syn_unixfs_link *link, const json_t *vector, const char *what)
{
    char text[SYN_CID_TEXT_MAX];

    (void)syn_cid_format(&link->cid, text);
    if (!syn_str_eq(text, syn_json_str(vector, "cid", "")))
        fail_msg("%s: %s, the importer says %s", what, text, syn_json_str(vector, "cid", ""));
    assert_int_equal(link->tsize, syn_json_i64(vector, "tsize", -1));
}

static const json_t *
find_folder(const char *name)
{
    size_t i;
    json_t *folder;

    json_array_foreach (json_object_get(vectors, "folders"), i, folder) {
        if (syn_str_eq(syn_json_str(folder, "name", ""), name))
            return folder;
    }
    fail_msg("no vector for folder %s", name);
    return NULL;
}

/* ---- the tests --------------------------------------------------------------------------------
 */

static void
files_have_the_importers_cids(void **state)
{
    size_t i;
    json_t *vector;

    (void)state;
    assert_true(json_array_size(json_object_get(vectors, "files")) >= 50);
    json_array_foreach (json_object_get(vectors, "files"), i, vector) {
        struct syn_err err = {0};
        struct tally tally = {0};
        struct syn_unixfs_link link;
        size_t size = (size_t)syn_json_i64(vector, "size", -1);
        size_t chunk = (size_t)syn_json_i64(vector, "chunk", (int64_t)MIB);
        struct syn_unixfs_layout layout = {
            .links_max = (size_t)syn_json_i64(vector, "links", SYN_UNIXFS_LINKS_MAX),
            .shard_bytes = SYN_UNIXFS_SHARD_BYTES,
        };
        char what[64];

        (void)snprintf(what, sizeof(what), "file of %zu bytes in %zu", size, chunk);
        assert_done(build_file(size, (uint64_t)syn_json_i64(vector, "seed", 0), chunk, &layout,
                               &tally, &link, &err),
                    &err);
        assert_vector(&link, vector, what);
        assert_int_equal(link.size, size);
    }
}

static void
names_hash_as_murmur3(void **state)
{
    static const struct {
        const char *text;
        uint64_t hash;
    } known[] = {
        {"", 0},
        {"hello", UINT64_C(0xcbd8a7b341bd9b02)},
        {"The quick brown fox jumps over the lazy dog", UINT64_C(0xe34bbc7bbc071b6c)},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(known); i++)
        assert_true(syn_murmur3_x64_64(known[i].text, strlen(known[i].text)) == known[i].hash);
}

struct entries {
    struct syn_unixfs_link links[6100];
    char names[6100][128];
    size_t count;
    struct tally tally;
};

static void
add_link(struct entries *entries, const char *name, const struct syn_unixfs_link *link)
{
    char *copy = entries->names[entries->count];

    assert_true(syn_str_copy(copy, sizeof(entries->names[0]), name));
    entries->links[entries->count] = *link;
    entries->links[entries->count].name = copy;
    entries->links[entries->count].name_len = strlen(copy);
    entries->count++;
}

static void
add_file(struct entries *entries, const char *name, size_t size, uint64_t seed)
{
    struct syn_unixfs_link link;
    struct syn_err err = {0};

    assert_done(build_file(size, seed, MIB, NULL, &entries->tally, &link, &err), &err);
    add_link(entries, name, &link);
}

static struct syn_unixfs_link
build_dir(struct entries *entries)
{
    struct syn_unixfs_link link;
    struct syn_err err = {0};

    assert_done(syn_unixfs_dir_build(entries->links, entries->count, NULL, take_block,
                                     &entries->tally, &link, &err),
                &err);
    entries->count = 0;
    return link;
}

static void
small_folders_have_the_importers_cids(void **state)
{
    static const char *const order[] = {"b", "a", "B", "ab", "a.b", "a-b", "Z", "_"};
    static const char *const unicode[] = {
        "ä", "z", "é", "日本語", "😀 smile", "a b", "Ωmega", "\xf4\x8f\xbf\xbf", "\xef\xbf\xae"};
    struct entries *entries = *state;
    struct syn_unixfs_link link;

    add_file(entries, "a", 3, 1);
    link = build_dir(entries);
    assert_vector(&link, find_folder("one"), "one");
    for (size_t i = 0; i < SYN_LEN(order); i++)
        add_file(entries, order[i], i, i + 1);
    link = build_dir(entries);
    assert_vector(&link, find_folder("order"), "order");
    for (size_t i = 0; i < SYN_LEN(unicode); i++)
        add_file(entries, unicode[i], 10 + i, i + 1);
    link = build_dir(entries);
    assert_vector(&link, find_folder("unicode"), "unicode");
}

static void
nested_folders_have_the_importers_cids(void **state)
{
    struct entries *entries = *state;
    struct syn_unixfs_link none = build_dir(entries);
    struct syn_unixfs_link link;
    struct syn_err err = {0};

    add_file(entries, "d", 5, 1);
    link = build_dir(entries); /* a/b/c */
    add_link(entries, "c", &link);
    add_file(entries, "e", 0, 1);
    link = build_dir(entries); /* a/b */
    add_link(entries, "b", &link);
    add_file(entries, "f", 70000, 3);
    link = build_dir(entries); /* a */
    add_link(entries, "a", &link);
    add_file(entries, "big", 2 * MIB + 5, 4);
    add_link(entries, "none", &none);
    assert_done(syn_unixfs_symlink_build("a/b", 3, take_block, &entries->tally, &link, &err), &err);
    add_link(entries, "link", &link);
    link = build_dir(entries);
    assert_vector(&link, find_folder("nested"), "nested");
}

static struct syn_unixfs_link
build_threshold(struct entries *entries, size_t over)
{
    char name[128];

    for (unsigned i = 0; i < 2787; i++) {
        char number[16];
        int len = snprintf(number, sizeof(number), "%u", i);

        memset(name, 'n', 50);
        memcpy(name + 50 - len, number, (size_t)len + 1);
        add_file(entries, name, 1, 1);
    }
    memset(name, 'z', 117 + over);
    name[117 + over] = '\0';
    add_file(entries, name, 1, 1);
    return build_dir(entries);
}

static void
large_folders_are_sharded_as_the_importer_does(void **state)
{
    struct entries *entries = *state;
    struct syn_unixfs_link link = build_threshold(entries, 0);
    char name[32];

    assert_vector(&link, find_folder("at-threshold"), "at-threshold");
    link = build_threshold(entries, 1);
    assert_vector(&link, find_folder("over-threshold"), "over-threshold");
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "file-%u.txt", i);
        add_file(entries, name, i % 7, i + 1);
    }
    link = build_dir(entries);
    assert_vector(&link, find_folder("sharded-5000"), "sharded-5000");
    for (unsigned i = 0; i < 6000; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        add_file(entries, name, i % 7, i + 1);
    }
    link = build_dir(entries); /* deep/er */
    add_link(entries, "er", &link);
    link = build_dir(entries); /* deep */
    add_link(entries, "deep", &link);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "side-%u", i);
        add_file(entries, name, i % 7, i + 1);
    }
    link = build_dir(entries);
    assert_vector(&link, find_folder("sharded-nested"), "sharded-nested");
}

static void
refuses_unsafe_and_double_names(void **state)
{
    static const char *const unsafe[] = {"", ".", "..", "a/b", "/", "\xff\xfe", "\xc0\xaf"};
    struct entries *entries = *state;
    struct syn_unixfs_link link;

    for (size_t i = 0; i < SYN_LEN(unsafe); i++) {
        struct syn_err err = {0};

        add_file(entries, unsafe[i], 1, 1);
        assert_code(
            syn_unixfs_dir_build(entries->links, 1, NULL, take_block, &entries->tally, &link, &err),
            SYN_E_INVALID, &err);
        entries->count = 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct syn_err err = {0};

        add_file(entries, "same", 1, 1);
        add_file(entries, "other", 1, 1);
        if (i == 1)
            assert_code(syn_unixfs_dir_build(entries->links, 4, NULL, take_block, &entries->tally,
                                             &link, &err),
                        SYN_E_INVALID, &err);
    }
    entries->count = 0;
}

/* Save a file's state and go on with it in a new one. */
static struct syn_unixfs_file *
move_state(struct syn_unixfs_file *file, struct tally *tally,
           const struct syn_unixfs_layout *layout)
{
    struct syn_unixfs_file *moved = NULL;
    struct syn_err err = {0};
    SYN_BUF(saved);

    assert_done(syn_unixfs_file_save(file, &saved, &err), &err);
    syn_unixfs_file_free(file);
    assert_done(syn_unixfs_file_new(take_block, tally, layout, &moved, &err), &err);
    assert_done(syn_unixfs_file_restore(moved, saved.data, saved.len, &err), &err);
    return moved;
}

/* Build 400 bytes in chunks of 10, through a saved state before chunk `stop`. */
static struct syn_unixfs_link
build_interrupted(const uint8_t *data, size_t stop, const struct syn_unixfs_layout *layout)
{
    struct syn_err err = {0};
    struct tally tally = {0};
    struct syn_unixfs_link link;
    struct syn_unixfs_file *file = NULL;

    assert_done(syn_unixfs_file_new(take_block, &tally, layout, &file, &err), &err);
    for (size_t i = 0; i < 40; i++) {
        struct syn_cid cid;

        if (i == stop)
            file = move_state(file, &tally, layout);
        assert_int_equal(syn_unixfs_file_size(file), i * 10);
        syn_cid_of(SYN_CODEC_RAW, data + i * 10, 10, &cid);
        assert_done(syn_unixfs_file_add(file, &cid, 10, &err), &err);
    }
    assert_done(syn_unixfs_file_finish(file, &link, &err), &err);
    syn_unixfs_file_free(file);
    return link;
}

static void
saved_state_goes_on_elsewhere(void **state)
{
    struct syn_unixfs_layout layout = {.links_max = 3, .shard_bytes = SYN_UNIXFS_SHARD_BYTES};
    uint8_t *data = make_bytes(400, 9);
    struct syn_unixfs_link whole;
    struct tally tally = {0};
    struct syn_err err = {0};

    (void)state;
    assert_done(build_file(400, 9, 10, &layout, &tally, &whole, &err), &err);
    for (size_t stop = 0; stop < 40; stop++) {
        struct syn_unixfs_link link = build_interrupted(data, stop, &layout);

        assert_true(syn_cid_eq(&whole.cid, &link.cid));
    }
    test_free(data);
}

static void
damaged_state_is_refused(void **state)
{
    struct syn_err err = {0};
    struct tally tally = {0};
    struct syn_unixfs_file *file = NULL;
    struct syn_cid cid;
    SYN_BUF(saved);

    (void)state;
    syn_cid_of(SYN_CODEC_RAW, "x", 1, &cid);
    assert_done(syn_unixfs_file_new(take_block, &tally, NULL, &file, &err), &err);
    assert_done(syn_unixfs_file_add(file, &cid, 1, &err), &err);
    assert_done(syn_unixfs_file_save(file, &saved, &err), &err);
    syn_unixfs_file_free(file);
    for (size_t cut = 0; cut < saved.len; cut++) {
        assert_done(syn_unixfs_file_new(take_block, &tally, NULL, &file, &err), &err);
        assert_code(syn_unixfs_file_restore(file, saved.data, cut, &err), SYN_E_INVALID, &err);
        syn_unixfs_file_free(file);
    }
}

/* Keep the last block emitted, for the decoder's tests. */
struct last {
    uint8_t block[4096];
    size_t len;
};

static int
keep_block(void *arg, const struct syn_cid *cid, const void *data, size_t len, struct syn_err *err)
{
    struct last *last = arg;

    (void)cid;
    (void)err;
    assert_true(len <= sizeof(last->block));
    memcpy(last->block, data, len);
    last->len = len;
    return SYN_OK;
}

static void
decodes_what_it_builds(void **state)
{
    struct syn_err err = {0};
    struct syn_unixfs_link links[3] = {
        {.name = "b", .name_len = 1, .tsize = 7},
        {.name = "a", .name_len = 1, .tsize = 300},
        {.name = "c", .name_len = 1, .tsize = 0},
    };
    struct syn_unixfs_link link;
    struct syn_unixfs_node node;
    struct last last;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(links); i++)
        syn_cid_of(SYN_CODEC_RAW, links[i].name, 1, &links[i].cid);
    assert_done(syn_unixfs_dir_build(links, 3, NULL, keep_block, &last, &link, &err), &err);
    assert_done(syn_unixfs_decode(SYN_CODEC_DAG_PB, last.block, last.len, &node, &err), &err);
    assert_int_equal(node.type, SYN_UNIXFS_DIR);
    assert_int_equal(node.count, 3);
    assert_int_equal(syn_unixfs_find(&node, "a", 1)->tsize, 300);
    assert_null(syn_unixfs_find(&node, "d", 1));
    assert_null(syn_unixfs_find(&node, "", 0));
    syn_unixfs_node_fini(&node);
    for (size_t cut = 0; cut < last.len; cut++)
        assert_code(syn_unixfs_decode(SYN_CODEC_DAG_PB, last.block, cut, &node, &err),
                    SYN_E_INVALID, &err);
    assert_done(syn_unixfs_symlink_build("t", 1, keep_block, &last, &link, &err), &err);
    assert_done(syn_unixfs_decode(SYN_CODEC_DAG_PB, last.block, last.len, &node, &err), &err);
    assert_int_equal(node.type, SYN_UNIXFS_SYMLINK);
    assert_memory_equal(node.data, "t", 1);
    syn_unixfs_node_fini(&node);
}

static void
finds_names_in_shards(void **state)
{
    struct syn_err err = {0};
    struct syn_unixfs_layout layout = {.links_max = 4, .shard_bytes = 10};
    struct syn_unixfs_link links[8];
    struct syn_unixfs_link link;
    struct syn_unixfs_node node;
    struct last last;
    char names[8][8];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(links); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "n%zu", i);
        links[i] = (struct syn_unixfs_link){.name = names[i], .name_len = 2, .tsize = i};
        syn_cid_of(SYN_CODEC_RAW, names[i], 2, &links[i].cid);
    }
    assert_done(syn_unixfs_dir_build(links, 8, &layout, keep_block, &last, &link, &err), &err);
    assert_done(syn_unixfs_decode(SYN_CODEC_DAG_PB, last.block, last.len, &node, &err), &err);
    assert_int_equal(node.type, SYN_UNIXFS_SHARD);
    assert_int_equal(syn_unixfs_shard_prefix(&node), 2);
    for (size_t i = 0; i < SYN_LEN(links); i++) {
        const struct syn_unixfs_link *found = NULL;
        bool deeper = false;

        assert_done(syn_unixfs_shard_find(&node, 0, names[i], 2, &found, &deeper, &err), &err);
        assert_non_null(found);
        assert_true(deeper || found->tsize == i);
    }
    syn_unixfs_node_fini(&node);
}

static int
sweep_scenario(void *arg, struct syn_err *err)
{
    struct syn_unixfs_layout layout = {.links_max = 2, .shard_bytes = 100};
    struct syn_unixfs_link links[4];
    struct syn_unixfs_link link;
    struct tally tally = {0};
    int rc;

    (void)arg;
    for (size_t i = 0; i < SYN_LEN(links); i++) {
        rc = build_file(100, i + 1, 20, &layout, &tally, &links[i], err);
        if (rc < 0)
            return rc;
        links[i].name = &"abcd"[i];
        links[i].name_len = 1;
    }
    rc = syn_unixfs_dir_build(links, 4, &layout, take_block, &tally, &link, err);
    if (rc < 0)
        return rc;
    return syn_unixfs_symlink_build("x", 1, take_block, &tally, &link, err);
}

static void
survives_allocation_failures(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_scenario, NULL) > 20);
}

static void
passes_on_the_stores_error(void **state)
{
    struct syn_unixfs_layout layout = {.links_max = 2, .shard_bytes = 100};
    int rc = SYN_E_IO;

    (void)state;
    for (uint64_t nth = 1; rc != 0; nth++) {
        struct tally tally = {.fail_after = nth};
        struct syn_err err = {0};
        struct syn_unixfs_link link;

        rc = build_file(1000, 1, 100, &layout, &tally, &link, &err);
        assert_true(rc == 0 || rc == SYN_E_IO);
        assert_true(nth < 50);
    }
}

static int
load_vectors(void **state)
{
    const char *path = getenv("SYN_CID_VECTORS");
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    struct syn_err err = {0};
    SYN_BUF(text);

    syn_json_init();
    if (file == NULL)
        return -1;
    for (;;) {
        char *room = syn_buf_reserve(&text, 65536);
        size_t got = room == NULL ? 0 : fread(room, 1, 65536, file);

        if (got == 0)
            break;
        text.len += got;
    }
    (void)fclose(file);
    *state = calloc(1, sizeof(struct entries));
    return syn_json_parse(text.data, text.len, &vectors, &err);
}

static int
free_vectors(void **state)
{
    free(*state);
    json_decref(vectors);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_hash_as_murmur3),
        cmocka_unit_test(files_have_the_importers_cids),
        cmocka_unit_test(small_folders_have_the_importers_cids),
        cmocka_unit_test(nested_folders_have_the_importers_cids),
        cmocka_unit_test(large_folders_are_sharded_as_the_importer_does),
        cmocka_unit_test(refuses_unsafe_and_double_names),
        cmocka_unit_test(saved_state_goes_on_elsewhere),
        cmocka_unit_test(damaged_state_is_refused),
        cmocka_unit_test(decodes_what_it_builds),
        cmocka_unit_test(finds_names_in_shards),
        cmocka_unit_test(survives_allocation_failures),
        cmocka_unit_test(passes_on_the_stores_error),
    };

    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
