/* From the content store into a registry: layers, then the configuration, and the manifest last,
 * so that a tag never leads to what is not there. */
#include "oci_assembly_priv.h"

#include <synor/base/str.h>

struct push {
    const struct syn_oci_move *move;
    struct syn_oci_registry *registry;
    struct syn_oci_progress progress;
    int64_t before; /* bytes done of the blobs before this one */
    int64_t sent_bytes;
    unsigned how[SYN_OCI_MOUNTED + 1];
};

/* The blob that is being sent. */
struct blob {
    struct push *push;
    struct syn_cid cid;
    int64_t size;
    bool counts; /* layers do */
};

static void
tell(struct push *push, int64_t bytes_done)
{
    push->progress.bytes_done = bytes_done;
    if (push->move->progress != NULL)
        push->move->progress(push->move->arg, &push->progress);
}

static int
take(void *arg, const void *data, size_t len, struct syn_err *err)
{
    syn_buf_add(arg, data, len);
    return syn_buf_ok(arg, err);
}

static int
read_part(void *arg, int64_t at, int64_t len, struct syn_buf *out, struct syn_err *err)
{
    const struct blob *blob = arg;

    return syn_content_read(blob->push->move->content, &blob->cid, (uint64_t)at, (uint64_t)len,
                            take, out, err);
}

static void
on_sent(void *arg, int64_t bytes)
{
    const struct blob *blob = arg;

    if (blob->counts)
        tell(blob->push, blob->push->before + SYN_MIN(bytes, blob->size));
}

/* `doc` is a BLOB of the image's document. */
static int
send_blob(struct push *push, const json_t *doc, bool counts, struct syn_err *err)
{
    const char *cid = syn_json_str(doc, "cid", "");
    struct blob blob = {.push = push, .size = syn_json_i64(doc, "size_bytes", 0), .counts = counts};
    const struct syn_oci_source source = {
        .size = blob.size, .read = read_part, .sent = on_sent, .arg = &blob};
    enum syn_oci_sent how = SYN_OCI_SENT;
    int rc = syn_cid_parse(cid, strlen(cid), &blob.cid, err);

    if (rc == SYN_OK)
        rc = syn_oci_registry_send(push->registry, syn_json_str(doc, "digest", ""), &source, &how,
                                   err);
    if (rc < 0 || !counts)
        return rc;
    push->how[how]++;
    push->sent_bytes += how == SYN_OCI_SENT ? blob.size : 0;
    push->before += blob.size;
    push->progress.layers_done++;
    tell(push, push->before);
    return SYN_OK;
}

/* A layer that stands twice is one blob. */
static bool
said_before(const json_t *layers, size_t number)
{
    const char *digest = syn_json_str(json_array_get(layers, number), "digest", "");

    for (size_t i = 0; i < number; i++)
        if (syn_str_eq(syn_json_str(json_array_get(layers, i), "digest", ""), digest))
            return true;
    return false;
}

static int
send_layers(struct push *push, const json_t *layers, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < json_array_size(layers); i++) {
        if (said_before(layers, i))
            continue;
        push->progress.bytes += syn_json_i64(json_array_get(layers, i), "size_bytes", 0);
        push->progress.layers++;
    }
    tell(push, 0);
    for (size_t i = 0; rc == SYN_OK && i < json_array_size(layers); i++)
        if (!said_before(layers, i))
            rc = send_blob(push, json_array_get(layers, i), true, err);
    return rc;
}

/* The manifest's bytes as they are kept in the image's layout. */
static int
read_manifest(const struct syn_oci_move *move, const json_t *image, struct syn_buf *out,
              struct syn_err *err)
{
    const char *text = syn_json_str(image, "cid", "");
    const char *digest = syn_json_str(image, "manifest", "sha256:");
    char path[sizeof("blobs/sha256/") + SYN_OCI_HEX_SIZE];
    struct syn_cid cid;
    int rc = syn_cid_parse(text, strlen(text), &cid, err);

    (void)snprintf(path, sizeof(path), "blobs/sha256/%.*s", SYN_OCI_HEX_SIZE - 1,
                   digest + strlen("sha256:"));
    if (rc == SYN_OK)
        rc = syn_content_resolve(move->content, &cid, path, &cid, err);
    return rc < 0 ? syn_err_wrap(err, rc, "manifest")
                  : syn_oci_read_bytes(move->content, &cid, out, err);
}

static int
push_all(struct push *push, const json_t *image, struct syn_err *err)
{
    const char *digest = syn_json_str(image, "manifest", "");
    SYN_BUF(manifest);
    SYN_JSON(doc);
    int rc = read_manifest(push->move, image, &manifest, err);

    if (rc == SYN_OK)
        rc = syn_json_parse_object(syn_buf_text(&manifest), manifest.len, &doc, err);
    if (rc == SYN_OK)
        rc = send_layers(push, json_object_get(image, "layers"), err);
    if (rc == SYN_OK)
        rc = send_blob(push, json_object_get(image, "config"), false, err);
    if (rc == SYN_OK)
        rc = syn_oci_registry_send_manifest(
            push->registry, &manifest,
            syn_json_str(doc, "mediaType", syn_oci_media_of(SYN_OCI_MANIFEST)), digest, err);
    return rc;
}

int
syn_oci_push(const struct syn_oci_move *move, const struct syn_oci_remote *remote,
             const struct syn_oci_target *target, const json_t *image, json_t **ret_pushed,
             struct syn_err *err)
{
    SYN_SCOPED(syn_oci_registry_close_scope) struct syn_oci_registry *registry = NULL;
    const struct syn_image_ref *ref = target->ref;
    const char *digest = syn_json_str(image, "manifest", "");
    struct push push = {.move = move};
    char text[SYN_IMAGE_REF_MAX];
    int rc = SYN_OK;

    (void)syn_image_ref_format(ref, text);
    if (!syn_image_digest_ok(digest) ||
        (ref->digest[0] != '\0' && !syn_str_eq(ref->digest, digest)))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: the image is %.80s", text, digest);
    rc = syn_oci_registry_open_push(remote, ref, target->from, &registry, err);
    push.registry = registry;
    if (rc == SYN_OK)
        rc = push_all(&push, image, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", text);
    return syn_json_pack(
        ret_pushed, err, "{s:s, s:s, s:I, s:i, s:i, s:i, s:I}", "ref", text, "digest", digest,
        "size_bytes", (json_int_t)syn_json_i64(image, "size_bytes", 0), "layers_sent",
        (int)push.how[SYN_OCI_SENT], "layers_there", (int)push.how[SYN_OCI_THERE], "layers_mounted",
        (int)push.how[SYN_OCI_MOUNTED], "bytes_sent", (json_int_t)push.sent_bytes);
}
