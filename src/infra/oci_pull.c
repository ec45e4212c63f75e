/* From a registry into the content store. The order is that of trust: the manifest by its digest,
 * what it says is small enough, the configuration, which must be for this platform, and only then
 * what is large: layers beside each other, each on a line of its own, so that one that is slow, or
 * far away, keeps no other waiting. */
#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/str.h>

#include "oci_assembly_priv.h"
#include "oci_part_priv.h"

#define STRIDE_BYTES (INT64_C(64) << 20)

struct pull {
    struct syn_oci_assembly *assembly; /* its parts under the lock while there are lanes */
    struct syn_oci_registry *registry;
    pthread_mutex_t lock;
    const struct syn_oci_blob *wanted[SYN_OCI_LAYERS_MAX];
    size_t count, next;
    atomic_bool stop; /* one lane has failed */
    int rc;
    struct syn_err err; /* of the first that did */
};

/* One layer after another, beside other lanes. */
struct lane {
    struct pull *pull;
    struct syn_oci_registry *registry;
    struct syn_content_put *put; /* of the blob that comes */
    const struct syn_oci_blob *blob;
    bool counts; /* layers do */
    int64_t done;
    pthread_t thread;
};

/* --- blobs ------------------------------------------------------------------------------------ */

static void
count_bytes(struct lane *lane, int64_t more)
{
    struct syn_oci_assembly *assembly = lane->pull->assembly;

    lane->done += more;
    if (!lane->counts)
        return;
    (void)pthread_mutex_lock(&lane->pull->lock);
    assembly->progress.bytes_done += more;
    syn_oci_assembly_tell(assembly);
    (void)pthread_mutex_unlock(&lane->pull->lock);
}

static int
begin(void *arg, struct syn_err *err)
{
    struct lane *lane = arg;

    lane->put = syn_content_put_free(lane->put);
    count_bytes(lane, -lane->done);
    return syn_content_put_new(lane->pull->assembly->move->content, &lane->put, err);
}

static int
take(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct lane *lane = arg;
    int rc = syn_content_put_write(lane->put, data, len, err);

    count_bytes(lane, (int64_t)len);
    return rc;
}

/* Write down that so much is here. */
static int
mark(void *arg, int64_t done, const struct syn_sha256 *hash, struct syn_err *err)
{
    const struct lane *lane = arg;
    SYN_SCOPED(syn_oci_part_fini) struct syn_oci_part part = {.done = done, .hash = *hash};
    uint64_t offset = 0;
    int rc = syn_content_put_save(lane->put, &part.state, &offset, err);

    if (rc == SYN_OK && offset == (uint64_t)done)
        syn_oci_part_write(lane->pull->assembly->move->parts, lane->blob->hex, &part);
    return rc;
}

static bool
is_stored(const struct pull *pull, const struct syn_oci_blob *blob, const char *text,
          struct syn_cid *ret_cid)
{
    struct syn_content_stat stat;

    return text[0] != '\0' && syn_cid_parse(text, strlen(text), ret_cid, NULL) == SYN_OK &&
           syn_content_stat(pull->assembly->move->content, ret_cid, &stat, NULL) == SYN_OK &&
           stat.type == SYN_CONTENT_FILE && stat.size == (uint64_t)blob->size;
}

/* What another process left of the blob: all of it (true, *ret_cid), or some, where `sink` goes on.
 */
static bool
go_on(struct lane *lane, struct syn_oci_sink *sink, struct syn_cid *ret_cid)
{
    const struct syn_oci_move *move = lane->pull->assembly->move;
    SYN_SCOPED(syn_oci_part_fini) struct syn_oci_part part = {.done = 0};

    if (move->parts == NULL || !syn_oci_part_read(move->parts, lane->blob->hex, &part))
        return false;
    if (part.whole)
        return is_stored(lane->pull, lane->blob, syn_buf_text(&part.state), ret_cid);
    if (part.done > lane->blob->size || part.done == 0 ||
        syn_content_put_resume(move->content, syn_buf_text(&part.state), part.state.len, &lane->put,
                               NULL) < 0)
        return false;
    sink->from = part.done;
    sink->hash = part.hash;
    count_bytes(lane, part.done);
    return false;
}

static int
blob_ask(struct lane *lane, const char *digest, bool fresh, struct syn_cid *ret_cid,
         struct syn_err *err)
{
    const struct syn_oci_move *move = lane->pull->assembly->move;
    struct syn_oci_sink sink = {.begin = begin, .write = take, .arg = lane};
    int rc;

    if (move->parts != NULL) {
        sink.mark = mark;
        sink.stride = move->stride_bytes > 0 ? move->stride_bytes : STRIDE_BYTES;
    }
    if (!fresh && go_on(lane, &sink, ret_cid))
        return SYN_OK;
    rc = syn_oci_registry_blob(lane->registry, digest, lane->blob->size, &sink, err);
    if (rc == SYN_OK)
        rc = syn_content_put_commit(lane->put, ret_cid, NULL, err);
    lane->put = syn_content_put_free(lane->put);
    if (rc == SYN_E_CORRUPT && move->parts != NULL)
        syn_oci_part_remove(move->parts, lane->blob->hex);
    /* What was here may have been what is damaged. */
    return rc == SYN_E_CORRUPT && sink.from > 0 ? blob_ask(lane, digest, true, ret_cid, err) : rc;
}

/* It is whole, and in no image yet. */
static void
keep_whole(const struct lane *lane, const struct syn_cid *cid)
{
    const char *parts = lane->pull->assembly->move->parts;
    SYN_SCOPED(syn_oci_part_fini) struct syn_oci_part part = {.whole = true};
    char text[SYN_CID_TEXT_MAX];

    if (parts == NULL)
        return;
    syn_buf_adds(&part.state, syn_cid_format(cid, text));
    syn_oci_part_write(parts, lane->blob->hex, &part);
}

static int
blob_fetch(struct lane *lane, const struct syn_oci_blob *blob, struct syn_err *err)
{
    struct pull *pull = lane->pull;
    char digest[SYN_IMAGE_DIGEST_MAX];
    struct syn_cid cid;
    int rc = SYN_OK;

    (void)snprintf(digest, sizeof(digest), "sha256:%s", blob->hex);
    lane->blob = blob;
    lane->done = 0;
    if (!is_stored(pull, blob, syn_json_str(pull->assembly->move->known, digest, ""), &cid)) {
        rc = blob_ask(lane, digest, false, &cid, err);
        if (rc == SYN_OK && lane->counts)
            keep_whole(lane, &cid);
    }
    if (rc < 0)
        return rc;
    count_bytes(lane, blob->size - lane->done);
    (void)pthread_mutex_lock(&pull->lock);
    syn_oci_assembly_add(pull->assembly, blob->hex, &cid);
    pull->assembly->progress.layers_done += lane->counts;
    if (lane->counts)
        syn_oci_assembly_tell(pull->assembly);
    (void)pthread_mutex_unlock(&pull->lock);
    return SYN_OK;
}

static int
config_fetch(struct pull *pull, struct syn_err *err)
{
    const struct syn_oci_blob *config = &pull->assembly->manifest.config;
    struct lane lane = {.pull = pull, .registry = pull->registry};
    SYN_BUF(text);
    int rc = blob_fetch(&lane, config, err);

    if (rc == SYN_OK)
        rc = syn_oci_read_bytes(pull->assembly->move->content,
                                syn_oci_assembly_find(pull->assembly, config->hex), &text, err);
    return rc < 0 ? syn_err_wrap(err, rc, "configuration")
                  : syn_oci_assembly_config(pull->assembly, &text, err);
}

/* --- lanes ------------------------------------------------------------------------------------ */

static const struct syn_oci_blob *
next_layer(struct pull *pull)
{
    const struct syn_oci_blob *blob = NULL;

    (void)pthread_mutex_lock(&pull->lock);
    if (pull->rc == SYN_OK && pull->next < pull->count)
        blob = pull->wanted[pull->next++];
    (void)pthread_mutex_unlock(&pull->lock);
    return blob;
}

static void
fail_all(struct pull *pull, int rc, const struct syn_err *err)
{
    (void)pthread_mutex_lock(&pull->lock);
    if (pull->rc == SYN_OK) {
        pull->rc = rc;
        pull->err = *err;
    }
    atomic_store(&pull->stop, true);
    (void)pthread_mutex_unlock(&pull->lock);
}

static void *
lane_main(void *arg)
{
    struct lane *lane = arg;
    const struct syn_oci_blob *blob;
    struct syn_err err = {0};
    int rc = SYN_OK;

    while (rc == SYN_OK && (blob = next_layer(lane->pull)) != NULL) {
        rc = blob_fetch(lane, blob, &err);
        if (rc < 0)
            fail_all(
                lane->pull,
                syn_err_wrap(&err, rc, "layer %td", blob - lane->pull->assembly->manifest.layers),
                &err);
    }
    return NULL;
}

/* Each layer that is not here, once. */
static void
want_layers(struct pull *pull)
{
    const struct syn_oci_manifest *manifest = &pull->assembly->manifest;

    for (size_t i = 0; i < manifest->count; i++) {
        bool here = syn_oci_assembly_find(pull->assembly, manifest->layers[i].hex) != NULL;

        for (size_t k = 0; k < pull->count && !here; k++)
            here = syn_str_eq(pull->wanted[k]->hex, manifest->layers[i].hex);
        if (!here)
            pull->wanted[pull->count++] = &manifest->layers[i];
    }
}

/* As many lanes as there is work for, the first on this thread. One that cannot be opened is one
 * less. */
static int
layers_fetch(struct pull *pull, struct syn_err *err)
{
    unsigned most = pull->assembly->move->lanes;
    struct lane lanes[SYN_OCI_LANES] = {0};
    size_t count = 1;

    want_layers(pull);
    syn_oci_assembly_tell(pull->assembly);
    most = SYN_MIN(most > 0 ? most : SYN_OCI_LANES, SYN_OCI_LANES);
    lanes[0] = (struct lane){.pull = pull, .registry = pull->registry, .counts = true};
    syn_oci_registry_stop_watch(pull->registry, &pull->stop);
    while (count < SYN_MIN(most, pull->count)) {
        struct lane *lane = &lanes[count];

        *lane = (struct lane){.pull = pull, .counts = true};
        if (syn_oci_registry_open_beside(pull->registry, &pull->stop, &lane->registry, NULL) < 0)
            break;
        if (pthread_create(&lane->thread, NULL, lane_main, lane) != 0) {
            lane->registry = syn_oci_registry_close(lane->registry);
            break;
        }
        count++;
    }
    (void)lane_main(&lanes[0]);
    for (size_t i = 1; i < count; i++) {
        (void)pthread_join(lanes[i].thread, NULL);
        (void)syn_oci_registry_close(lanes[i].registry);
    }
    if (pull->rc < 0 && err != NULL)
        *err = pull->err;
    return pull->rc;
}

/* They are in an image now. */
static void
forget_parts(const struct pull *pull)
{
    const char *parts = pull->assembly->move->parts;

    for (size_t i = 0; parts != NULL && i < pull->count; i++)
        syn_oci_part_remove(parts, pull->wanted[i]->hex);
}

/* --- manifests -------------------------------------------------------------------------------- */

/* What a document is: it says so itself, or the registry does, and they may not differ. */
static int
kind_read(const struct syn_buf *text, const char *media, enum syn_oci_kind *ret,
          struct syn_err *err)
{
    const char *own;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(syn_buf_text(text), text->len, &doc, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "manifest");
    own = syn_json_str(doc, "mediaType", media);
    *ret = syn_oci_kind_of(own);
    if (*ret != SYN_OCI_INDEX && *ret != SYN_OCI_MANIFEST)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "this is no image that we can read, but %.100s",
                        own[0] != '\0' ? own : "something without a media type");
    if (json_object_get(doc, *ret == SYN_OCI_INDEX ? "layers" : "manifests") != NULL ||
        (syn_oci_kind_of(media) != SYN_OCI_OTHER && syn_oci_kind_of(media) != *ret))
        return SYN_FAIL(err, SYN_E_INVALID, "the manifest is an image and an index at once");
    return SYN_OK;
}

static int
manifest_fetch(void *arg, const struct syn_oci_blob *blob, struct syn_buf *out, struct syn_err *err)
{
    struct pull *pull = arg;
    char digest[SYN_IMAGE_DIGEST_MAX], own[SYN_IMAGE_DIGEST_MAX], media[SYN_OCI_MEDIA_MAX];
    enum syn_oci_kind kind = SYN_OCI_OTHER;
    int rc;

    (void)snprintf(digest, sizeof(digest), "sha256:%s", blob->hex);
    rc = syn_oci_registry_manifest(pull->registry, digest, out, own, media, err);
    if (rc == SYN_OK && (int64_t)out->len != blob->size)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "manifest %.19s has %zu bytes, its index says %lld",
                      digest, out->len, (long long)blob->size);
    if (rc == SYN_OK)
        rc = kind_read(out, media, &kind, err);
    if (rc == SYN_OK && kind != blob->kind)
        rc = SYN_FAIL(err, SYN_E_INVALID, "manifest %.19s is not what its index says", digest);
    return rc;
}

/* The manifest of the one image for this platform; `digest` is of what the reference names. */
static int
manifest_find(struct pull *pull, const struct syn_image_ref *ref, struct syn_buf *out,
              char digest[SYN_IMAGE_DIGEST_MAX], struct syn_err *err)
{
    const struct syn_oci_chooser chooser = {.read = manifest_fetch,
                                            .arg = pull,
                                            .architecture = pull->assembly->architecture,
                                            .platforms = pull->assembly->platforms,
                                            .first = true};
    char media[SYN_OCI_MEDIA_MAX];
    enum syn_oci_kind kind = SYN_OCI_OTHER;
    struct syn_oci_blob found;
    SYN_BUF(index);
    int rc = syn_oci_registry_manifest(
        pull->registry, ref->digest[0] != '\0' ? ref->digest : ref->tag, out, digest, media, err);

    if (rc == SYN_OK)
        rc = kind_read(out, media, &kind, err);
    if (rc < 0 || kind == SYN_OCI_MANIFEST)
        return rc;
    index = *out;
    *out = (struct syn_buf)SYN_BUF_INIT;
    rc = syn_oci_choose(&chooser, &index, &found, err);
    return rc < 0 ? rc : manifest_fetch(pull, &found, out, err);
}

static int
pull_all(struct pull *pull, const struct syn_image_ref *ref, json_t **ret_image,
         struct syn_err *err)
{
    char digest[SYN_IMAGE_DIGEST_MAX];
    SYN_BUF(manifest);
    int rc = manifest_find(pull, ref, &manifest, digest, err);

    if (rc == SYN_OK)
        rc = syn_oci_assembly_manifest(pull->assembly, &manifest, err);
    if (rc == SYN_OK)
        rc = config_fetch(pull, err);
    if (rc == SYN_OK)
        rc = layers_fetch(pull, err);
    if (rc == SYN_OK)
        rc = syn_oci_assembly_end(pull->assembly, &manifest, digest, ret_image, err);
    if (rc == SYN_OK)
        forget_parts(pull);
    return rc;
}

int
syn_oci_pull(const struct syn_oci_move *move, const struct syn_oci_remote *remote,
             const struct syn_image_ref *ref, json_t **ret_image, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_assembly_free_scope) struct syn_oci_assembly *assembly = NULL;
    SYN_SCOPED(syn_oci_registry_close_scope) struct syn_oci_registry *registry = NULL;
    struct pull pull = {.rc = SYN_OK};
    char text[SYN_IMAGE_REF_MAX];
    int rc = syn_oci_assembly_new(move, &assembly, err);

    if (rc == SYN_OK)
        rc = syn_oci_registry_open(remote, ref, &registry, err);
    if (rc < 0)
        return rc;
    pull.assembly = assembly;
    pull.registry = registry;
    (void)pthread_mutex_init(&pull.lock, NULL);
    rc = pull_all(&pull, ref, ret_image, err);
    (void)pthread_mutex_destroy(&pull.lock);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", syn_image_ref_format(ref, text)) : SYN_OK;
}
