/* Pulls from registries that are kind, broken, and hostile. */
#include "oci_testing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/oci_layout.h>

#include "oci_part_priv.h"
#include "oci_registry_priv.h"

#define MEDIA "application/vnd.oci.image."
#define STALL 300

static void
test_pull(void **state)
{
    struct oci_world *world = *state;
    struct syn_oci_layout *layout = NULL;
    const struct syn_oci_choice choice = {0};
    char path[256], digest[SYN_IMAGE_DIGEST_MAX + 8];
    struct syn_cid cid;
    const char *text;

    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_string_equal(syn_json_str(world->made, "digest", ""), world->image.manifest);
    assert_string_equal(syn_json_str(world->made, "manifest", ""), world->image.manifest);
    assert_int_equal(json_array_size(json_object_get(world->made, "layers")), 2);
    assert_int_equal(world->last.bytes, 2 * OCI_LAYER_BYTES);
    assert_int_equal(world->last.bytes_done, 2 * OCI_LAYER_BYTES);
    assert_int_equal(world->last.layers_done, 2);
    assert_true(world->told > 3);
    /* It is an image layout, as nodes get it. */
    text = syn_json_str(world->made, "cid", "");
    assert_done(syn_cid_parse(text, strlen(text), &cid, &world->err), &world->err);
    (void)snprintf(path, sizeof(path), "%s/layout", syn_test_dir());
    assert_done(syn_content_get(world->content, &cid, path, 0, NULL, NULL, &world->err),
                &world->err);
    assert_done(syn_oci_layout_open(path, &choice, &layout, &world->err), &world->err);
    (void)snprintf(digest, sizeof(digest), "%s", syn_oci_layout_digest(layout));
    assert_string_equal(digest, world->image.manifest);
    layout = syn_oci_layout_close(layout);
}

/* The same by its digest is the same folder; layers that are known do not come again. */
static void
test_again(void **state)
{
    struct oci_world *world = *state;
    char rest[128], first[SYN_CID_TEXT_MAX];
    SYN_JSON(known);
    const json_t *layer;
    size_t i;

    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    (void)syn_str_copy(first, sizeof(first), syn_json_str(world->made, "cid", ""));
    known = json_object();
    json_array_foreach (json_object_get(world->made, "layers"), i, layer)
        json_object_set(known, syn_json_str(layer, "digest", ""), json_object_get(layer, "cid"));
    world->move.known = known;
    (void)snprintf(rest, sizeof(rest), "a/b@%s", world->image.manifest);
    assert_done(oci_world_pull(world, rest), &world->err);
    assert_string_equal(syn_json_str(world->made, "cid", ""), first);
    assert_int_equal(world->image.blobs[0]->asked, 1);
    assert_int_equal(world->image.blobs[1]->asked, 1);
    assert_int_equal(world->image.config->asked, 2);
    assert_int_equal(world->last.bytes_done, 2 * OCI_LAYER_BYTES);
}

/* --- short memory ----------------------------------------------------------------------------- */

/* The registry in a process of its own, whose memory is not short: it ends with ours. */
static pid_t
fork_registry(char host[SYN_IMAGE_HOST_MAX], int *ret_fd)
{
    int fds[2];
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fake *fake = fake_new();
        struct fake_image image;
        char end;

        (void)close(fds[0]);
        fake_image(fake, "a/b", 1, 1000, syn_oci_architecture(), &image);
        (void)!write(fds[1], fake->host, sizeof(fake->host));
        (void)!read(fds[1], &end, 1);
        _exit(0);
    }
    (void)close(fds[1]);
    assert_int_equal(read(fds[0], host, SYN_IMAGE_HOST_MAX), SYN_IMAGE_HOST_MAX);
    *ret_fd = fds[0];
    return pid;
}

struct sweep {
    struct oci_world world;
    struct syn_image_ref ref;
};

static int
sweep_pull(void *arg, struct syn_err *err)
{
    const struct sweep *sweep = arg;
    json_t *image = NULL;
    int rc = syn_oci_pull(&sweep->world.move, &sweep->world.remote, &sweep->ref, &image, err);

    assert_true((rc == 0) == (image != NULL));
    json_decref(image);
    return rc;
}

static void
test_short_memory(void **state)
{
    char host[SYN_IMAGE_HOST_MAX], text[SYN_IMAGE_REF_MAX];
    struct sweep sweep = {.world = {.content = NULL}};
    struct syn_err err = {0};
    int fd;
    pid_t pid;

    (void)state;
#if defined(__SANITIZE_THREAD__) /* which does not take to threads after a fork */
    skip();
#endif
    pid = fork_registry(host, &fd);
    oci_world_init(&sweep.world);
    sweep.world.move.lanes = 1; /* so that runs are alike */
    sweep.world.remote = (struct syn_oci_remote){
        .any_address = true, .stall_ms = OCI_PATIENT_MS, .pause_ms = 1, .tries_max = 3};
    (void)snprintf(text, sizeof(text), "%s/a/b:1", host);
    assert_done(syn_image_ref_parse(text, &sweep.ref, &err), &err);
    assert_done(sweep_pull(&sweep, &err), &err); /* what is remembered is so from here on */
    assert_true(syn_test_sweep_alloc(sweep_pull, &sweep) > 60);
    oci_world_fini(&sweep.world);
    (void)close(fd);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- layers beside each other, and after each other ------------------------------------------- */

/* One layer comes only once the other is asked for as well. */
static void
test_side_by_side(void **state)
{
    struct oci_world *world = *state;

    world->image.blobs[0]->deed = world->image.blobs[1]->deed = FAKE_TOGETHER;
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(world->last.bytes_done, 2 * OCI_LAYER_BYTES);
    assert_int_equal(world->last.layers_done, 2);
    world->fake->met = false;
    world->move.lanes = 1;
    world->remote.stall_ms = STALL;
    world->remote.tries_max = 1;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_TIMEOUT, &world->err);
}

/* One that fails ends those beside it, and is what is told. */
static void
test_one_fails(void **state)
{
    struct oci_world *world = *state;

    world->image.blobs[1]->deed = FAKE_LIE_LENGTH;
    world->image.blobs[0]->deed = FAKE_BREAK_ONCE;
    world->remote.pause_ms = OCI_PATIENT_MS;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CORRUPT, &world->err);
    assert_non_null(strstr(world->err.msg, "layer 1"));
}

#define LARGE ((size_t)3 << 20)
#define MARK  ((int64_t)1 << 20)

/* A pull that is cut off in the second of two layers, with a folder for parts. */
static void
cut_off(struct oci_world *world, struct fake_image *image)
{
    static char parts[256];

    (void)snprintf(parts, sizeof(parts), "%s/parts", syn_test_dir());
    (void)mkdir(parts, 0700);
    if (image->tag == NULL)
        fake_image(world->fake, "large", 2, LARGE, syn_oci_architecture(), image);
    world->move.parts = parts;
    world->move.stride_bytes = MARK;
    world->move.lanes = 1;
    world->remote.tries_max = 1;
    image->blobs[1]->deed = FAKE_SHORT;
    assert_code(oci_world_pull(world, "large:1"), SYN_E_UNAVAILABLE, &world->err);
    image->blobs[1]->deed = FAKE_GIVE;
    image->blobs[1]->asked = 0;
}

/* What another process had is not asked for again. */
static void
test_goes_on_after_an_end(void **state)
{
    struct oci_world *world = *state;
    struct fake_image image = {.tag = NULL};
    char path[512];

    cut_off(world, &image);
    assert_done(oci_world_pull(world, "large:1"), &world->err);
    assert_int_equal(image.blobs[0]->asked, 1);
    assert_int_equal(image.blobs[1]->asked, 1);
    assert_int_equal(image.blobs[1]->from, MARK);
    assert_int_equal(world->last.bytes_done, 2 * LARGE);
    for (size_t i = 0; i < 2; i++) { /* it is in an image now */
        (void)snprintf(path, sizeof(path), "%s/%s", world->move.parts, image.layers[i] + 7);
        assert_int_equal(access(path, F_OK), -1);
    }
}

/* What stands there may be damaged, or lead to something else: then it comes from its beginning. */
static void
test_bad_parts(void **state)
{
    struct oci_world *world = *state;
    struct fake_image image = {.tag = NULL};
    struct syn_oci_part part = {.done = 0};
    const char *hex;

    cut_off(world, &image);
    hex = image.layers[1] + strlen("sha256:");
    assert_true(syn_oci_part_read(world->move.parts, hex, &part));
    assert_int_equal(part.done, MARK);
    part.hash.opaque[3] ^= 1;
    syn_oci_part_write(world->move.parts, hex, &part);
    assert_done(oci_world_pull(world, "large:1"), &world->err);
    assert_int_equal(image.blobs[1]->asked, 2);
    assert_int_equal(image.blobs[1]->from, 0);
    cut_off(world, &image);
    part.done = MARK + 1;
    syn_buf_addc(&part.state, 'x');
    syn_oci_part_write(world->move.parts, hex, &part);
    assert_done(oci_world_pull(world, "large:1"), &world->err);
    assert_int_equal(image.blobs[1]->from, 0);
    syn_oci_part_fini(&part);
}

/* --- what breaks ------------------------------------------------------------------------------ */

static void
test_goes_on_where_it_broke(void **state)
{
    struct oci_world *world = *state;

    world->image.blobs[0]->deed = FAKE_BREAK_ONCE;
    world->image.blobs[1]->deed = FAKE_BREAK_MORE;
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(world->image.blobs[0]->asked, 2);
    assert_int_equal(world->image.blobs[1]->asked, 2);
}

static void
test_another_part(void **state)
{
    struct oci_world *world = *state;

    world->image.blobs[0]->deed = FAKE_WRONG_PART;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CORRUPT, &world->err);
}

static void
test_busy(void **state)
{
    struct oci_world *world = *state;

    world->image.tag->status = 503;
    world->image.tag->fail_first = 1;
    world->image.blobs[0]->status = 429;
    world->image.blobs[0]->fail_first = 2;
    (void)syn_str_copy(world->image.blobs[0]->headers, FAKE_TEXT_MAX, "Retry-After: 0\r\n");
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    world->image.tag->fail_first = 0;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_UNAVAILABLE, &world->err);
    assert_int_equal(world->image.tag->asked, 2 + 3); /* and no more */
}

static void
test_stalls(void **state)
{
    struct oci_world *world = *state;

    world->remote.stall_ms = STALL;
    world->remote.tries_max = 1;
    world->image.blobs[1]->deed = FAKE_STALL;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_TIMEOUT, &world->err);
    world->image.tag->deed = FAKE_SILENT;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_TIMEOUT, &world->err);
    /* Bytes now and then are no progress for ever. */
    world->remote.stall_ms = OCI_PATIENT_MS;
    world->remote.total_ms = STALL;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_TIMEOUT, &world->err);
}

static void
test_canceled(void **state)
{
    struct oci_world *world = *state;
    atomic_bool cancel = true;

    world->remote.cancel = &cancel;
    world->image.tag->deed = FAKE_SILENT;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CANCELED, &world->err);
}

/* --- what lies -------------------------------------------------------------------------------- */

static void
test_lies(void **state)
{
    static const struct {
        enum fake_deed deed;
        int code;
    } rows[] = {
        {FAKE_SHORT, SYN_E_UNAVAILABLE},
        {FAKE_ENDLESS, SYN_E_CORRUPT},
        {FAKE_LIE_LENGTH, SYN_E_CORRUPT},
    };
    struct oci_world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        world->image.blobs[1]->deed = rows[i].deed;
        assert_code(oci_world_pull(world, "a/b:1"), rows[i].code, &world->err);
    }
    world->image.blobs[1]->deed = FAKE_GIVE;
    world->image.blobs[1]->body[OCI_LAYER_BYTES - 1] ^= 1;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CORRUPT, &world->err);
    world->image.blobs[1]->body[OCI_LAYER_BYTES - 1] ^= 1;
    world->image.config->body[1] ^= 1;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CORRUPT, &world->err);
    world->image.config->body[1] ^= 1;
    (void)snprintf(world->image.tag->headers, FAKE_TEXT_MAX, "Docker-Content-Digest: %s\r\n",
                   world->image.layers[0]);
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_CORRUPT, &world->err);
}

static void
test_wrong_manifest(void **state)
{
    struct oci_world *world = *state;
    char rest[128];

    world->image.by_digest->body[1] ^= 1;
    (void)snprintf(rest, sizeof(rest), "a/b@%s", world->image.manifest);
    assert_code(oci_world_pull(world, rest), SYN_E_CORRUPT, &world->err);
}

static void
manifest(struct oci_world *world, const char *name, const char *text)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "/v2/%s/manifests/1", name);
    (void)fake_add(world->fake, path, text, strlen(text));
}

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CONFIG                                                                         \
    "\"config\":{\"mediaType\":\"" MEDIA "config.v1+json\",\"digest\":\"" DIGEST "\"," \
    "\"size\":2}"
#define TYPE "\"schemaVersion\":2,\"mediaType\":\"" MEDIA "manifest.v1+json\","
#define A_LAYER(size_) \
    "{\"mediaType\":\"" MEDIA "layer.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":" size_ "}"

static void
test_bad_manifests(void **state)
{
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"", SYN_E_UNSUPPORTED},
        {"[]", SYN_E_INVALID},
        {"{", SYN_E_INVALID},
        {"{\"schemaVersion\":1,\"name\":\"x\"}", SYN_E_UNSUPPORTED},
        {"{" TYPE CONFIG ",\"layers\":[],\"layers\":[]}", SYN_E_INVALID},
        {"{" TYPE CONFIG ",\"layers\":[],\"manifests\":[]}", SYN_E_INVALID},
        {"{" TYPE CONFIG ",\"layers\":[" A_LAYER("-1") "]}", SYN_E_INVALID},
        {"{" TYPE CONFIG ",\"layers\":[" A_LAYER("99999999999999") "]}", SYN_E_LIMIT},
        {"{" TYPE CONFIG ",\"layers\":[{\"mediaType\":\"" MEDIA "layer.v1.tar\",\"size\":1,"
         "\"digest\":\"sha256:../../../etc/passwd\"}]}",
         SYN_E_INVALID},
        {"{" TYPE "\"config\":{\"mediaType\":\"x\",\"digest\":\"" DIGEST "\",\"size\":2},"
         "\"layers\":[]}",
         SYN_E_UNSUPPORTED},
    };
    struct oci_world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char name[32], rest[48];

        (void)snprintf(name, sizeof(name), "bad/m%zu", i);
        manifest(world, name, rows[i].text);
        (void)snprintf(rest, sizeof(rest), "%s:1", name);
        assert_code(oci_world_pull(world, rest), rows[i].code, &world->err);
    }
    assert_int_equal(fake_seen(world->fake, "/blobs/"), 0);
}

static void
test_too_large(void **state)
{
    struct oci_world *world = *state;
    SYN_BUF(text);

    world->move.bytes_max = 2 * OCI_LAYER_BYTES - 1;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_LIMIT, &world->err);
    assert_int_equal(fake_seen(world->fake, "/blobs/"), 0);
    syn_buf_adds(&text, "{" TYPE CONFIG ",\"layers\":[" A_LAYER("1"));
    for (int i = 0; i < SYN_OCI_LAYERS_MAX; i++)
        syn_buf_adds(&text, "," A_LAYER("1"));
    syn_buf_adds(&text, "]}");
    manifest(world, "many", syn_buf_text(&text));
    assert_code(oci_world_pull(world, "many:1"), SYN_E_LIMIT, &world->err);
    syn_buf_clear(&text);
    syn_buf_adds(&text, "{");
    while (text.len <= SYN_JSON_BYTES_MAX)
        syn_buf_adds(&text, "                                                                ");
    manifest(world, "huge", syn_buf_text(&text));
    assert_code(oci_world_pull(world, "huge:1"), SYN_E_TOOBIG, &world->err);
}

/* --- indexes ---------------------------------------------------------------------------------- */

static void
add_entry(struct syn_buf *text, const char *kind, const struct fake_resource *of,
          const char *architecture)
{
    char digest[SYN_IMAGE_DIGEST_MAX];

    syn_buf_addf(text,
                 "%s{\"mediaType\":\"" MEDIA "%s.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
                 "\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}",
                 strchr(text->data, '}') != NULL ? "," : "", kind,
                 fake_digest(of->body, of->len, digest), of->len, architecture);
}

static void
begin_index(struct syn_buf *text)
{
    syn_buf_clear(text);
    syn_buf_adds(text,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA "index.v1+json\",\"manifests\":[");
}

/* Serve a document under the tag and its digest. */
static struct fake_resource *
serve_index(struct oci_world *world, const char *name, struct syn_buf *text)
{
    char path[256], digest[SYN_IMAGE_DIGEST_MAX];

    syn_buf_adds(text, "]}");
    manifest(world, name, syn_buf_text(text));
    (void)snprintf(path, sizeof(path), "/v2/%s/manifests/%s", name,
                   fake_digest(text->data, text->len, digest));
    return fake_add(world->fake, path, text->data, text->len);
}

static void
test_index(void **state)
{
    struct oci_world *world = *state;
    struct fake_resource *index;
    char digest[SYN_IMAGE_DIGEST_MAX];
    struct fake_image mine;
    SYN_BUF(text);

    fake_image(world->fake, "multi", 1, 1000, syn_oci_architecture(), &mine);
    mine.tag->path[strlen(mine.tag->path) - 1] = '0'; /* the tag is the index's */
    begin_index(&text);
    add_entry(&text, "manifest", world->image.by_digest, "s390y");
    add_entry(&text, "manifest", mine.by_digest, syn_oci_architecture());
    index = serve_index(world, "multi", &text);
    assert_done(oci_world_pull(world, "multi:1"), &world->err);
    assert_string_equal(syn_json_str(world->made, "manifest", ""), mine.manifest);
    assert_string_equal(syn_json_str(world->made, "digest", ""),
                        fake_digest(index->body, index->len, digest));
    /* None for this platform. */
    begin_index(&text);
    add_entry(&text, "manifest", mine.by_digest, "s390y");
    (void)serve_index(world, "none", &text);
    assert_code(oci_world_pull(world, "none:1"), SYN_E_UNSUPPORTED, &world->err);
    /* It says that it is for this platform, and its configuration that it is not. */
    fake_image(world->fake, "liar", 1, 1000, "s390y", &mine);
    assert_code(oci_world_pull(world, "liar:1"), SYN_E_UNSUPPORTED, &world->err);
}

/* All that there are are named, and another than this machine's may be chosen. */
static void
test_platforms(void **state)
{
    struct oci_world *world = *state;
    struct fake_image images[2];
    const char *const names[] = {syn_oci_architecture(), "s390y"};
    char want[64];
    const json_t *platforms;
    SYN_BUF(text);

    begin_index(&text);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        fake_image(world->fake, "both", 1, 1000 + i, names[i], &images[i]);
        images[i].tag->path[strlen(images[i].tag->path) - 1] = '0'; /* the tag is the index's */
        add_entry(&text, "manifest", images[i].by_digest, names[i]);
    }
    add_entry(&text, "manifest", images[0].by_digest, names[0]); /* the same once more */
    (void)serve_index(world, "both", &text);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        world->move.architecture = names[i];
        assert_done(oci_world_pull(world, "both:1"), &world->err);
        assert_string_equal(syn_json_str(world->made, "manifest", ""), images[i].manifest);
        (void)snprintf(want, sizeof(want), "linux/%s", names[i]);
        assert_string_equal(syn_json_str(world->made, "platform", ""), want);
        platforms = json_object_get(world->made, "platforms");
        assert_int_equal(json_array_size(platforms), 2);
        assert_string_equal(json_string_value(json_array_get(platforms, i)), want);
    }
    world->move.architecture = "z80";
    assert_code(oci_world_pull(world, "both:1"), SYN_E_UNSUPPORTED, &world->err);
    assert_non_null(strstr(world->err.msg, "linux/s390y"));
}

static void
test_index_bombs(void **state)
{
    struct oci_world *world = *state;
    struct fake_resource *inner = world->image.by_digest;
    char path[256];
    SYN_BUF(text);

    /* Index in index in index... */
    for (int i = 0; i < SYN_OCI_NESTING_MAX + 2; i++) {
        begin_index(&text);
        add_entry(&text, i == 0 ? "manifest" : "index", inner, syn_oci_architecture());
        (void)snprintf(path, sizeof(path), "deep%d", i);
        inner = serve_index(world, path, &text);
        (void)memcpy(inner->path, "/v2/deep5/", 10); /* all under one name */
    }
    assert_code(oci_world_pull(world, "deep5:1"), SYN_E_LIMIT, &world->err);
    /* And a wide one. */
    begin_index(&text);
    for (int i = 0; i <= SYN_OCI_MANIFESTS_MAX; i++)
        add_entry(&text, "index", inner, syn_oci_architecture());
    (void)serve_index(world, "wide", &text);
    assert_code(oci_world_pull(world, "wide:1"), SYN_E_LIMIT, &world->err);
}

/* --- where it leads --------------------------------------------------------------------------- */

static void
leads(struct fake_resource *resource, const char *where)
{
    resource->status = 307;
    (void)snprintf(resource->headers, FAKE_TEXT_MAX, "Location: %s\r\n", where);
}

static void
test_redirected(void **state)
{
    static const char *const rows[] = {
        "http://example.com/blob",   "file:///etc/passwd",  "ftp://127.0.0.1/x",
        "http://user:pw@127.0.0.1/", "gopher://127.0.0.1/", "http://127.0.0.1.example.com/",
    };
    struct oci_world *world = *state;
    struct fake_resource *elsewhere;
    char where[600];

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        leads(world->image.blobs[0], rows[i]);
        assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    }
    leads(world->image.blobs[0], world->image.blobs[0]->path);
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_true(fake_seen(world->fake, world->image.layers[0]) < 20);
    /* To a store elsewhere, as registries do: without what they let us in with. */
    elsewhere = fake_add(world->other, "/store", world->image.blobs[0]->body, OCI_LAYER_BYTES);
    (void)snprintf(where, sizeof(where), "http://%s/store", world->other->host);
    leads(world->image.blobs[0], where);
    world->image.blobs[0]->needs_auth = true;
    world->remote.auth = "dTpw";
    (void)syn_str_copy(world->fake->challenge, FAKE_TEXT_MAX, "Basic realm=\"r\"");
    (void)syn_str_copy(world->fake->wants, FAKE_TEXT_MAX, "Basic dTpw");
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(elsewhere->asked, 1);
    assert_int_equal(fake_seen(world->other, "/store|\n"), 1);
}

static void
test_away_from_tls(void **state)
{
    struct syn_oci_exchange exchange = {.url = "https://r.example.com/v2/"};
    struct syn_err err = {0};
    bool same;

    (void)state;
    (void)syn_str_copy(exchange.location, SYN_OCI_URL_MAX, "http://127.0.0.1:80/x");
    assert_code(syn_oci_follow(&exchange, &same, &err), SYN_E_FORBIDDEN, &err);
    (void)syn_str_copy(exchange.location, SYN_OCI_URL_MAX, "/other");
    assert_done(syn_oci_follow(&exchange, &same, &err), &err);
    assert_true(same);
    assert_string_equal(exchange.url, "https://r.example.com/other");
    (void)syn_str_copy(exchange.location, SYN_OCI_URL_MAX, "//R.EXAMPLE.com:444/x");
    assert_done(syn_oci_follow(&exchange, &same, &err), &err);
    assert_false(same);
}

static void
test_private_addresses(void **state)
{
    struct oci_world *world = *state;
    static const char *const hosts[] = {"10.0.0.1",       "169.254.169.254",   "192.168.1.1:5000",
                                        "[fd00::1]:5000", "[::ffff:10.0.0.1]", "0.0.0.0"};

    world->remote.any_address = false;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_int_equal(fake_seen(world->fake, "/"), 0);
    for (size_t i = 0; i < SYN_LEN(hosts); i++) {
        struct syn_image_ref ref;
        char text[64];

        (void)snprintf(text, sizeof(text), "%s/x:1", hosts[i]);
        assert_done(syn_image_ref_parse(text, &ref, &world->err), &world->err);
        assert_code(syn_oci_pull(&world->move, &world->remote, &ref, &world->made, &world->err),
                    SYN_E_FORBIDDEN, &world->err);
    }
}

/* --- signing in ------------------------------------------------------------------------------- */

static void
lock(struct oci_world *world, const char *realm_host)
{
    for (size_t i = 0; i < world->fake->count; i++)
        world->fake->resources[i].needs_auth = true;
    (void)snprintf(world->fake->challenge, FAKE_TEXT_MAX,
                   "Bearer realm=\"http://%s/token\",service=\"the registry\",scope=\"all:*\"",
                   realm_host);
    (void)syn_str_copy(world->fake->wants, FAKE_TEXT_MAX, "Bearer t0ken");
}

static void
test_token(void **state)
{
    struct oci_world *world = *state;

    lock(world, world->fake->host);
    (void)fake_add(world->fake, "/token", "{\"token\":\"t0ken\"}", 17);
    world->remote.auth = "dTpw";
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    /* Once for all, with our own scope, and the credentials nowhere else. */
    assert_int_equal(fake_seen(world->fake, "/token?service=the%20registry&scope=repository%3Aa%2Fb"
                                            "%3Apull|Basic dTpw\n"),
                     1);
    assert_int_equal(fake_seen(world->fake, "dTpw"), 1);
}

static void
test_token_elsewhere(void **state)
{
    struct oci_world *world = *state;

    lock(world, world->other->host);
    (void)fake_add(world->other, "/token", "{\"access_token\":\"t0ken\"}", 24);
    world->remote.auth = "dTpw";
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(fake_seen(world->other, "/token"), 1);
    assert_int_equal(fake_seen(world->other, "dTpw"), 0);
    /* It wants to see them: it does not. */
    world->other->resources[0].status = 401;
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_non_null(strstr(world->err.msg, "token_hosts"));
    assert_int_equal(fake_seen(world->other, "dTpw"), 0);
    /* The platform says that it is the registry's own. */
    world->other->resources[0].status = 0;
    oci_world_rules(world, "token_hosts", world->fake->host, world->other->host);
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(fake_seen(world->other, "|Basic dTpw\n"), 1);
    /* Without TLS elsewhere: not even asked. */
    lock(world, "auth.example.com");
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_null(strstr(world->err.msg, "dTpw"));
}

static void
test_refused(void **state)
{
    struct oci_world *world = *state;

    lock(world, world->fake->host);
    (void)fake_add(world->fake, "/token", "{\"token\":\"no\"}", 14);
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_int_equal(fake_seen(world->fake, "/v2/"), 2);
    (void)syn_str_copy(world->fake->challenge, FAKE_TEXT_MAX, "Basic realm=\"x\"");
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_FORBIDDEN, &world->err);
    assert_code(oci_world_pull(world, "no/thing:1"), SYN_E_NOTFOUND, &world->err);
    (void)syn_str_copy(world->fake->challenge, FAKE_TEXT_MAX, "Negotiate");
    assert_code(oci_world_pull(world, "a/b:1"), SYN_E_UNSUPPORTED, &world->err);
}

/* A header must not be made of what a token server says. */
static void
test_token_texts(void **state)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"token\":\"a\\r\\nX: y\"}",
                                      "{\"token\":\"a b\"}",
                                      "{\"token\":1}",
                                      "{\"token\":\"\"}",
                                      "{\"token\":\"a\",\"token\":\"b\"}"};
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        SYN_BUF(out);

        assert_code(syn_oci_token_parse(bad[i], strlen(bad[i]), &out, &err), SYN_E_INVALID, &err);
    }
}

/* --- mirrors ---------------------------------------------------------------------------------- */

static void
test_mirror(void **state)
{
    struct oci_world *world = *state;
    struct fake_image copy;

    world->remote.auth = "dTpw";
    oci_world_rules(world, "mirrors", world->fake->host, world->other->host);
    assert_done(oci_world_pull(world, "a/b:1"), &world->err); /* it has nothing */
    assert_int_equal(fake_seen(world->other, "/v2/a/b/manifests/1"), 1);
    fake_image(world->other, "a/b", 2, OCI_LAYER_BYTES, syn_oci_architecture(), &copy);
    assert_string_equal(copy.manifest, world->image.manifest);
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(world->image.blobs[0]->asked, 1);
    assert_int_equal(copy.blobs[0]->asked, 1);
    /* It lies: the registry is asked. */
    copy.blobs[0]->body[7] ^= 1;
    copy.blobs[1]->deed = FAKE_SHORT;
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(world->image.blobs[0]->asked, 2);
    assert_int_equal(world->last.bytes_done, 2 * OCI_LAYER_BYTES);
    /* It asks for credentials: they are not its. */
    for (size_t i = 0; i < world->other->count; i++)
        world->other->resources[i].needs_auth = true;
    (void)syn_str_copy(world->other->challenge, FAKE_TEXT_MAX, "Basic realm=\"r\"");
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    assert_int_equal(fake_seen(world->other, "dTpw"), 0);
}

static void
test_rules(void **state)
{
    static const char *const bad[] = {
        "{\"registry\":{}}",
        "{\"registries\":[]}",
        "{\"registries\":{\"a b\":{}}}",
        "{\"registries\":{\"r.io\":1}}",
        "{\"registries\":{\"r.io\":{\"mirror\":[]}}}",
        "{\"registries\":{\"r.io\":{\"mirrors\":[\"http://x\"]}}}",
        "{\"registries\":{\"r.io\":{\"mirrors\":\"x\"}}}",
        "{\"registries\":{\"r.io\":{\"tls\":false}}}",
        "{\"registries\":{\"r.io\":{\"ca_file\":\"x\"}}}",
        "{\"registries\":{\"r.io\":{\"private\":1}}}",
    };
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        SYN_JSON(doc);

        assert_done(syn_json_parse(bad[i], strlen(bad[i]), &doc, &err), &err);
        assert_code(syn_oci_rules_check(doc, &err), SYN_E_INVALID, &err);
    }
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, oci_world_setup, oci_world_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_memory), /* first: it forks */
        TEST(test_pull),
        TEST(test_again),
        TEST(test_side_by_side),
        TEST(test_one_fails),
        TEST(test_goes_on_after_an_end),
        TEST(test_bad_parts),
        TEST(test_goes_on_where_it_broke),
        TEST(test_another_part),
        TEST(test_busy),
        TEST(test_stalls),
        TEST(test_canceled),
        TEST(test_lies),
        TEST(test_wrong_manifest),
        TEST(test_bad_manifests),
        TEST(test_too_large),
        TEST(test_index),
        TEST(test_platforms),
        TEST(test_index_bombs),
        TEST(test_redirected),
        cmocka_unit_test(test_away_from_tls),
        TEST(test_private_addresses),
        TEST(test_token),
        TEST(test_token_elsewhere),
        TEST(test_refused),
        cmocka_unit_test(test_token_texts),
        TEST(test_mirror),
        cmocka_unit_test(test_rules),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("infra/oci_pull", tests, NULL, NULL);
}
