/* Of the images that instances run in, containerd needs to know next to nothing: what is in them
 * lies unpacked on the node already, and is bound into the container from there, read-only. What a
 * bind cannot be is a link at the top (/bin -> usr/bin); so an image is made here of those alone,
 * a few hundred bytes, the same for all roots that have the same ones. Nothing is stored twice, and
 * the node's one cache of images is the only one. */
#include "image_priv.h"

#include <string.h>

#include <synor/base/json.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/grpc.h>

#include <containerd.pb-c.h>

#include "message_priv.h"

#define BLOCK       ((size_t)512)
#define TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define TYPE_LAYER  "application/vnd.oci.image.layer.v1.tar"
#define TYPE_IMAGE  "application/vnd.oci.image.manifest.v1+json"
#define IMAGES      "/containerd.services.images.v1.Images/"
#define GIVE_MS     30000
#define LABELS_MAX  2

#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#else
#error "image.c does not know this machine's name"
#endif

void
syn_pod_image_init(struct syn_pod_image *image)
{
    *image = (struct syn_pod_image){
        .layer = SYN_BUF_INIT, .config = SYN_BUF_INIT, .manifest = SYN_BUF_INIT};
}

void
syn_pod_image_fini(struct syn_pod_image *image)
{
    syn_buf_fini(&image->layer);
    syn_buf_fini(&image->config);
    syn_buf_fini(&image->manifest);
}

/* --- the layer -------------------------------------------------------------------------------- */

/* A header of the POSIX tar format. Times and owners are zero: the same entries, the same digest.
 */
static int
add_head(struct syn_buf *out, const char *path, char type, unsigned mode, size_t size,
         const char *target, struct syn_err *err)
{
    char head[BLOCK] = {0};
    unsigned sum = 0;

    if (strlen(path) >= 100 || strlen(target) >= 100)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%s: a name of over 99 bytes at the top of an image",
                        path);
    (void)syn_str_copy(head, 100, path);
    (void)snprintf(head + 100, 8, "%07o", mode);
    (void)snprintf(head + 108, 8, "%07o", 0U);
    (void)snprintf(head + 116, 8, "%07o", 0U);
    (void)snprintf(head + 124, 12, "%011zo", size);
    (void)snprintf(head + 136, 12, "%011o", 0U);
    memset(head + 148, ' ', 8);
    head[156] = type;
    (void)syn_str_copy(head + 157, 100, target);
    (void)syn_str_copy(head + 257, 6, "ustar");
    head[263] = head[264] = '0';
    for (size_t i = 0; i < sizeof(head); i++)
        sum += (unsigned char)head[i];
    (void)snprintf(head + 148, 8, "%06o", sum);
    syn_buf_add(out, head, sizeof(head));
    return syn_buf_ok(out, err);
}

int
syn_pod_image_link(struct syn_pod_image *image, const char *path, const char *target,
                   struct syn_err *err)
{
    return add_head(&image->layer, path, '2', 0777, 0, target, err);
}

int
syn_pod_image_program(struct syn_pod_image *image, const char *path, const void *data, size_t len,
                      struct syn_err *err)
{
    static const char zeros[BLOCK];
    int rc = add_head(&image->layer, path, '0', 0755, len, "", err);

    if (rc < 0)
        return rc;
    syn_buf_add(&image->layer, data, len);
    syn_buf_add(&image->layer, zeros, (BLOCK - len % BLOCK) % BLOCK);
    return syn_buf_ok(&image->layer, err);
}

/* --- what describes it ------------------------------------------------------------------------ */

static void
digest(const struct syn_buf *blob, char ret[SYN_POD_IMAGE_DIGEST_MAX])
{
    uint8_t hash[SYN_SHA256_LEN];

    syn_sha256(syn_buf_text(blob), blob->len, hash);
    (void)syn_str_copy(ret, SYN_POD_IMAGE_DIGEST_MAX, "sha256:");
    syn_hex_encode(hash, sizeof(hash), ret + 7);
}

static int
describe(struct syn_pod_image *image, const char *entry, struct syn_err *err)
{
    SYN_JSON(config);
    SYN_JSON(manifest);
    int rc = syn_json_pack(&config, err, "{s:s, s:s, s:{}, s:{s:s, s:[s]}}", "os", "linux",
                           "architecture", ARCHITECTURE, "config", "rootfs", "type", "layers",
                           "diff_ids", image->layer_digest);

    if (rc == SYN_OK && entry) {
        json_t *words = NULL;

        rc = syn_json_pack(&words, err, "[s]", entry);
        if (rc == SYN_OK)
            rc = syn_json_set_take(json_object_get(config, "config"), "Entrypoint", words, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_write(config, &image->config, err);
    if (rc < 0)
        return rc;
    digest(&image->config, image->config_digest);
    rc = syn_json_pack(&manifest, err, "{s:i, s:s, s:{s:s, s:s, s:I}, s:[{s:s, s:s, s:I}]}",
                       "schemaVersion", 2, "mediaType", TYPE_IMAGE, "config", "mediaType",
                       TYPE_CONFIG, "digest", image->config_digest, "size",
                       (json_int_t)image->config.len, "layers", "mediaType", TYPE_LAYER, "digest",
                       image->layer_digest, "size", (json_int_t)image->layer.len);
    if (rc == SYN_OK)
        rc = syn_json_write(manifest, &image->manifest, err);
    if (rc == SYN_OK)
        digest(&image->manifest, image->manifest_digest);
    return rc;
}

int
syn_pod_image_close(struct syn_pod_image *image, const char *kind, const char *entry,
                    struct syn_err *err)
{
    static const char zeros[2 * BLOCK];
    int rc;

    syn_buf_add(&image->layer, zeros, sizeof(zeros));
    rc = syn_buf_ok(&image->layer, err);
    if (rc < 0)
        return rc;
    digest(&image->layer, image->layer_digest);
    (void)snprintf(image->name, sizeof(image->name), "synor.local/%s:%.32s", kind,
                   image->layer_digest + 7);
    return describe(image, entry, err);
}

/* --- to containerd ---------------------------------------------------------------------------- */

static Containerd__Label
label(const char *key, const char *value)
{
    SYN_MESSAGE(Containerd__Label, containerd__label, made);

    made.key = syn_message_text(key);
    made.value = syn_message_text(value);
    return made;
}

/* One blob, in one message: they are small. */
static int
give_blob(struct syn_grpc *grpc, const struct syn_buf *blob, const char *name,
          Containerd__Label **labels, size_t labels_count, struct syn_err *err)
{
    SYN_MESSAGE(Containerd__WriteContentRequest, containerd__write_content_request, request);
    struct syn_grpc_call *call = NULL;
    union {
        const char *given;
        uint8_t *wanted;
    } data = {.given = syn_buf_text(blob)};
    char ref[SYN_POD_IMAGE_DIGEST_MAX + 16];
    SYN_BUF(out);
    SYN_BUF(in);
    int rc;

    (void)snprintf(ref, sizeof(ref), "synor-%s", name);
    request.action = CONTAINERD__WRITE_CONTENT_REQUEST__ACTION__COMMIT;
    request.ref = ref;
    request.total = (int64_t)blob->len;
    request.expected = syn_message_text(name);
    request.data.data = data.wanted;
    request.data.len = blob->len;
    request.labels = labels;
    request.n_labels = labels_count;
    syn_message_pack(&request, &out);
    rc = syn_buf_ok(&out, err);
    if (rc == SYN_OK)
        rc = syn_grpc_begin(grpc, "/containerd.services.content.v1.Content/Write", &out, GIVE_MS,
                            &call, err);
    while (rc == SYN_OK) {
        syn_buf_clear(&in);
        rc = syn_grpc_next(call, -1, &in, err);
    }
    call = syn_grpc_end(call);
    return rc == SYN_GRPC_END || rc == SYN_E_EXISTS ? SYN_OK : rc;
}

static int
give_name(struct syn_grpc *grpc, const struct syn_pod_image *image, struct syn_err *err)
{
    SYN_MESSAGE(Containerd__ImageRequest, containerd__image_request, request);
    SYN_MESSAGE(Containerd__Image, containerd__image, named);
    SYN_MESSAGE(Containerd__Descriptor, containerd__descriptor, target);
    SYN_BUF(out);
    SYN_BUF(in);
    int rc;

    target.media_type = syn_message_text(TYPE_IMAGE);
    target.digest = syn_message_text(image->manifest_digest);
    target.size = (int64_t)image->manifest.len;
    named.name = syn_message_text(image->name);
    named.target = &target;
    request.image = &named;
    syn_message_pack(&request, &out);
    rc = syn_buf_ok(&out, err);
    if (rc == SYN_OK)
        rc = syn_grpc_ask(grpc, IMAGES "Create", &out, GIVE_MS, &in, err);
    /* Once more, for the sake of who had not begun to listen. */
    return rc == SYN_E_EXISTS ? syn_grpc_ask(grpc, IMAGES "Update", &out, GIVE_MS, &in, err) : rc;
}

int
syn_pod_image_give(const struct syn_pod_image *image, const char *address, struct syn_err *err)
{
    static const struct syn_grpc_header namespace[] = {{"containerd-namespace", "k8s.io"}};
    const struct syn_grpc_options options = {
        .address = address, .headers = namespace, .headers_count = 1};
    /* Blobs that nobody points to are collected: these are kept until the manifest does. */
    Containerd__Label root = label("containerd.io/gc.root", "synor");
    Containerd__Label refs[] = {label("containerd.io/gc.ref.content.config", image->config_digest),
                                label("containerd.io/gc.ref.content.l.0", image->layer_digest)};
    Containerd__Label *roots[] = {&root}, *both[] = {&refs[0], &refs[1]};
    struct syn_grpc *grpc = NULL;
    int rc = syn_grpc_new(&options, &grpc, err);

    if (rc == SYN_OK)
        rc = give_blob(grpc, &image->layer, image->layer_digest, roots, 1, err);
    if (rc == SYN_OK)
        rc = give_blob(grpc, &image->config, image->config_digest, roots, 1, err);
    if (rc == SYN_OK)
        rc = give_blob(grpc, &image->manifest, image->manifest_digest, both, LABELS_MAX, err);
    if (rc == SYN_OK)
        rc = give_name(grpc, image, err);
    grpc = syn_grpc_free(grpc);
    return rc < 0 ? syn_err_wrap(err, rc, "giving %s to containerd", image->name) : SYN_OK;
}
