/* Images that come as files: layouts and archives, good ones and those of an enemy. */
#include "oci_testing.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include <synor/base/str.h>
#include <synor/infra/oci_layout.h>

#include "oci_archive_priv.h"

#define TAR_MAX ((size_t)1 << 20)

struct world {
    struct oci_world oci;
    struct archive *tar;
    char *bytes;
    size_t len;
    char layer[2048]; /* a tar of its own, of nothing */
    char layer_digest[SYN_IMAGE_DIGEST_MAX];
    char config[512];
    char config_digest[SYN_IMAGE_DIGEST_MAX];
};

static void
make_parts(struct world *world)
{
    (void)fake_digest(world->layer, sizeof(world->layer), world->layer_digest);
    (void)snprintf(world->config, sizeof(world->config),
                   "{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"type\":\"layers\","
                   "\"diff_ids\":[\"%s\"]}}",
                   syn_oci_architecture(), world->layer_digest);
    (void)fake_digest(world->config, strlen(world->config), world->config_digest);
}

static int
setup(void **state)
{
    struct world *world = syn_calloc(1, sizeof(*world));

    oci_world_init(&world->oci);
    world->bytes = syn_alloc(TAR_MAX);
    make_parts(world);
    *state = world;
    return 0;
}

static int
teardown(void **state)
{
    struct world *world = *state;

    oci_world_fini(&world->oci);
    syn_free(world->bytes);
    syn_free(world);
    return 0;
}

/* --- archives --------------------------------------------------------------------------------- */

static void
tar_begin(struct world *world, bool gzip)
{
    world->tar = archive_write_new();
    assert_int_equal(archive_write_set_format_pax_restricted(world->tar), ARCHIVE_OK);
    if (gzip)
        assert_int_equal(archive_write_add_filter_gzip(world->tar), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(world->tar, world->bytes, TAR_MAX, &world->len),
                     ARCHIVE_OK);
}

static void
tar_add(struct world *world, const char *path, const void *data, size_t len)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)len);
    assert_int_equal(archive_write_header(world->tar, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(world->tar, data, len), (la_ssize_t)len);
    archive_entry_free(entry);
}

static void
tar_text(struct world *world, const char *path, const char *text)
{
    tar_add(world, path, text, strlen(text));
}

static void
tar_link(struct world *world, const char *path, const char *target, bool hard)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, hard ? AE_IFREG : AE_IFLNK);
    if (hard)
        archive_entry_set_hardlink(entry, target);
    else
        archive_entry_set_symlink(entry, target);
    assert_int_equal(archive_write_header(world->tar, entry), ARCHIVE_OK);
    archive_entry_free(entry);
}

static void
put(struct world *world, const void *data, size_t len, struct syn_cid *ret)
{
    assert_done(syn_oci_put_bytes(world->oci.content, data, len, ret, &world->oci.err),
                &world->oci.err);
}

static int
import(struct world *world, const char *name)
{
    struct syn_cid cid;

    assert_int_equal(archive_write_close(world->tar), ARCHIVE_OK);
    (void)archive_write_free(world->tar);
    put(world, world->bytes, world->len, &cid);
    json_decref(world->oci.made);
    world->oci.made = NULL;
    world->oci.err = (struct syn_err){0};
    return syn_oci_import(&world->oci.move, &cid, name, &world->oci.made, &world->oci.err);
}

/* What `docker save` wrote: the layer, under whatever path `manifest` names. */
static void
docker_begin(struct world *world, const char *manifest)
{
    tar_begin(world, false);
    tar_text(world, "manifest.json", manifest);
    tar_text(world, "config.json", world->config);
}

#define ROW(layer_) \
    "[{\"Config\":\"config.json\",\"RepoTags\":[\"web:1\"],\"Layers\":[\"" layer_ "\"]}]"

static void
test_docker(void **state)
{
    struct world *world = *state;
    char first[SYN_CID_TEXT_MAX];
    const json_t *layer;

    docker_begin(world, ROW("x/layer.tar"));
    tar_add(world, "x/layer.tar", world->layer, sizeof(world->layer));
    assert_done(import(world, NULL), &world->oci.err);
    layer = json_array_get(json_object_get(world->oci.made, "layers"), 0);
    assert_string_equal(syn_json_str(layer, "digest", ""), world->layer_digest);
    (void)syn_str_copy(first, sizeof(first), syn_json_str(world->oci.made, "cid", ""));
    /* The same by its tag, with the layer behind links, and packed. */
    tar_begin(world, true);
    tar_text(world, "./manifest.json", ROW("x/layer.tar"));
    tar_link(world, "x/layer.tar", "../y/layer.tar", false);
    tar_link(world, "y/layer.tar", "z.tar", true);
    tar_add(world, "z.tar", world->layer, sizeof(world->layer));
    tar_text(world, "config.json", world->config);
    assert_done(import(world, "web:1"), &world->oci.err);
    assert_string_equal(syn_json_str(world->oci.made, "cid", ""), first);
    docker_begin(world, ROW("x/layer.tar"));
    assert_code(import(world, "web:2"), SYN_E_NOTFOUND, &world->oci.err);
}

static void
test_docker_hostile(void **state)
{
    static const struct {
        const char *manifest;
        int code;
    } rows[] = {
        {ROW("../../etc/passwd"), SYN_E_INVALID},
        {ROW("/etc/passwd"), SYN_E_INVALID},
        {ROW("absent"), SYN_E_NOTFOUND},
        {ROW("loop"), SYN_E_NOTFOUND},
        {"[]", SYN_E_INVALID},
        {"{}", SYN_E_INVALID},
        {"[1]", SYN_E_INVALID},
        {"[{\"Config\":1}]", SYN_E_INVALID},
        {"[{},{}]", SYN_E_INVALID},
        {"[{\"Config\":\"config.json\",\"Layers\":[1]}]", SYN_E_INVALID},
        {"[{\"Config\":\"config.json\",\"Config\":\"x\",\"Layers\":[]}]", SYN_E_INVALID},
        {"[{\"Config\":\"manifest.json\",\"Layers\":[]}]", SYN_E_INVALID},
    };
    struct world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        docker_begin(world, rows[i].manifest);
        tar_link(world, "loop", "loop2", false);
        tar_link(world, "loop2", "loop", false);
        assert_code(import(world, NULL), rows[i].code, &world->oci.err);
    }
}

/* Paths and links that lead out: nothing of the machine is read, nothing written. */
static void
test_paths_out(void **state)
{
    static const char *const paths[] = {"../x", "/x", "a/../../x", ".."};
    static const char *const targets[] = {"../../etc/passwd", "/etc/passwd"};
    struct world *world = *state;

    for (size_t i = 0; i < SYN_LEN(paths); i++) {
        docker_begin(world, ROW("x/layer.tar"));
        tar_text(world, paths[i], "x");
        assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
    }
    for (size_t i = 0; i < SYN_LEN(targets); i++) {
        docker_begin(world, ROW("x/layer.tar"));
        tar_link(world, "x/layer.tar", targets[i], false);
        assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
        docker_begin(world, ROW("layer.tar"));
        tar_link(world, "layer.tar", targets[i], true);
        assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
    }
}

static void
test_no_image(void **state)
{
    struct world *world = *state;
    struct syn_cid cid;

    put(world, "this is no archive, but some text that is long enough", 50, &cid);
    assert_code(syn_oci_import(&world->oci.move, &cid, NULL, &world->oci.made, &world->oci.err),
                SYN_E_INVALID, &world->oci.err);
    tar_begin(world, false);
    tar_text(world, "readme", "hello");
    assert_code(import(world, NULL), SYN_E_INVALID, &world->oci.err);
}

static void
test_too_much(void **state)
{
    struct world *world = *state;
    char name[32];

    /* A bomb: far more comes out of it than went in. */
    world->oci.move.bytes_max = 4096;
    tar_begin(world, true);
    for (int i = 0; i < 3; i++)
        tar_add(world, "zeros", world->layer, sizeof(world->layer));
    assert_code(import(world, NULL), SYN_E_LIMIT, &world->oci.err);
    assert_true(world->len < 2048);
    world->oci.move.bytes_max = 0;
    tar_begin(world, true);
    for (int i = 0; i <= SYN_OCI_ARCHIVE_FILES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        tar_link(world, name, "x", false);
    }
    assert_code(import(world, NULL), SYN_E_LIMIT, &world->oci.err);
}

/* --- short memory ----------------------------------------------------------------------------- */

struct sweep {
    const struct syn_oci_move *move;
    struct syn_cid cid;
};

static int
sweep_import(void *arg, struct syn_err *err)
{
    const struct sweep *sweep = arg;
    json_t *image = NULL;
    int rc = syn_oci_import(sweep->move, &sweep->cid, NULL, &image, err);

    assert_true((rc == 0) == (image != NULL));
    json_decref(image);
    return rc;
}

static void
test_short_memory(void **state)
{
    struct world *world = *state;
    struct sweep sweep = {.move = &world->oci.move};

    docker_begin(world, ROW("x/layer.tar"));
    tar_link(world, "x/layer.tar", "../y", false);
    tar_add(world, "y", world->layer, sizeof(world->layer));
    assert_done(import(world, NULL), &world->oci.err); /* what is remembered is so from here on */
    put(world, world->bytes, world->len, &sweep.cid);
    assert_true(syn_test_sweep_alloc(sweep_import, &sweep) > 60);
}

/* --- layouts ---------------------------------------------------------------------------------- */

struct layout {
    char manifest[1024];
    char manifest_digest[SYN_IMAGE_DIGEST_MAX];
    char index[1024];
};

static void
make_layout(const struct world *world, struct layout *layout)
{
    (void)snprintf(layout->manifest, sizeof(layout->manifest),
                   "{\"schemaVersion\":2,\"config\":{\"mediaType\":"
                   "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},"
                   "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\","
                   "\"digest\":\"%s\",\"size\":%zu}]}",
                   world->config_digest, strlen(world->config), world->layer_digest,
                   sizeof(world->layer));
    (void)fake_digest(layout->manifest, strlen(layout->manifest), layout->manifest_digest);
    (void)snprintf(layout->index, sizeof(layout->index),
                   "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
                   "\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
                   "\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}}]}",
                   layout->manifest_digest, strlen(layout->manifest));
}

static void
tar_blob(struct world *world, const char *digest, const void *data, size_t len)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", digest + strlen("sha256:"));
    tar_add(world, path, data, len);
}

static void
tar_layout(struct world *world, const struct layout *layout, bool with_layer)
{
    tar_begin(world, false);
    tar_blob(world, layout->manifest_digest, layout->manifest, strlen(layout->manifest));
    tar_text(world, "index.json", layout->index);
    tar_blob(world, world->config_digest, world->config, strlen(world->config));
    if (with_layer)
        tar_blob(world, world->layer_digest, world->layer, sizeof(world->layer));
    tar_text(world, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
}

static void
test_oci_archive(void **state)
{
    struct world *world = *state;
    struct layout layout;
    char path[256], first[SYN_CID_TEXT_MAX];
    struct syn_cid cid;

    make_layout(world, &layout);
    tar_layout(world, &layout, true);
    assert_done(import(world, "v1"), &world->oci.err);
    assert_string_equal(syn_json_str(world->oci.made, "digest", ""), layout.manifest_digest);
    (void)syn_str_copy(first, sizeof(first), syn_json_str(world->oci.made, "cid", ""));
    tar_layout(world, &layout, true);
    assert_code(import(world, "v2"), SYN_E_NOTFOUND, &world->oci.err);
    /* The layout that it was made into is one that can be taken in: the same. */
    assert_done(syn_cid_parse(first, strlen(first), &cid, &world->oci.err), &world->oci.err);
    assert_done(syn_oci_import(&world->oci.move, &cid, NULL, &world->oci.made, &world->oci.err),
                &world->oci.err);
    assert_string_equal(syn_json_str(world->oci.made, "cid", ""), first);
    (void)snprintf(path, sizeof(path), "%s/out", syn_test_dir());
    assert_done(syn_content_get(world->oci.content, &cid, path, 0, NULL, NULL, &world->oci.err),
                &world->oci.err);
}

static void
test_layout_damaged(void **state)
{
    struct world *world = *state;
    struct layout layout;

    make_layout(world, &layout);
    tar_layout(world, &layout, false);
    assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
    tar_layout(world, &layout, false);
    tar_blob(world, world->layer_digest, world->layer, sizeof(world->layer) - 1);
    assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
    world->layer[5] = 1;
    tar_layout(world, &layout, true);
    assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
    layout.manifest[0] = ' ';
    tar_layout(world, &layout, true);
    assert_code(import(world, NULL), SYN_E_CORRUPT, &world->oci.err);
}

/* A layout as a folder, whose blob is another's bytes under its name. */
static void
test_folder_lies(void **state)
{
    struct world *world = *state;
    struct syn_content_entry top[2] = {{.name = "index.json"}, {.name = "oci-layout"}};
    struct layout layout;
    struct syn_cid cid;

    make_layout(world, &layout);
    put(world, layout.index, strlen(layout.index), &top[0].cid);
    put(world, "{\"imageLayoutVersion\":\"1.0.0\"}", 30, &top[1].cid);
    assert_done(syn_content_put_dir(world->oci.content, top, 2, &cid, &world->oci.err),
                &world->oci.err);
    assert_code(syn_oci_import(&world->oci.move, &cid, NULL, &world->oci.made, &world->oci.err),
                SYN_E_CORRUPT, &world->oci.err);
    assert_done(syn_content_put_symlink(world->oci.content, "/etc", &cid, &world->oci.err),
                &world->oci.err);
    assert_code(syn_oci_import(&world->oci.move, &cid, NULL, &world->oci.made, &world->oci.err),
                SYN_E_INVALID, &world->oci.err);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_docker),      TEST(test_docker_hostile), TEST(test_paths_out),
        TEST(test_no_image),    TEST(test_too_much),       TEST(test_short_memory),
        TEST(test_oci_archive), TEST(test_layout_damaged), TEST(test_folder_lies),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("infra/oci_import", tests, NULL, NULL);
}
