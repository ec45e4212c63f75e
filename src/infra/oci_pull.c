/* From a registry into the content store. The order is that of trust: the manifest by its digest,
 * what it says is small enough, the configuration, which must be for this platform, and only then
 * what is large. */
#include "oci_assembly_priv.h"

#include <synor/base/str.h>

struct pull {
    struct syn_oci_assembly *assembly;
    struct syn_oci_registry *registry;
    struct syn_content_put *put; /* of the blob that comes */
    int64_t before;              /* bytes done of the blobs before it */
};

/* --- blobs ------------------------------------------------------------------------------------ */

static int
begin(void *arg, struct syn_err *err)
{
    struct pull *pull = arg;

    pull->put = syn_content_put_free(pull->put);
    pull->assembly->progress.bytes_done = pull->before;
    return syn_content_put_new(pull->assembly->move->content, &pull->put, err);
}

static int
take(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct pull *pull = arg;
    int rc = syn_content_put_write(pull->put, data, len, err);

    pull->assembly->progress.bytes_done += (int64_t)len;
    syn_oci_assembly_tell(pull->assembly);
    return rc;
}

/* The blob as it was stored for another image, if it is there still. */
static bool
known(const struct pull *pull, const struct syn_oci_blob *blob, const char *digest,
      struct syn_cid *ret_cid)
{
    const struct syn_oci_move *move = pull->assembly->move;
    const char *text = syn_json_str(move->known, digest, "");
    struct syn_content_stat stat;

    return text[0] != '\0' && syn_cid_parse(text, strlen(text), ret_cid, NULL) == SYN_OK &&
           syn_content_stat(move->content, ret_cid, &stat, NULL) == SYN_OK &&
           stat.type == SYN_CONTENT_FILE && stat.size == (uint64_t)blob->size;
}

static int
blob_fetch(struct pull *pull, const struct syn_oci_blob *blob, struct syn_err *err)
{
    const struct syn_oci_sink sink = {.begin = begin, .write = take, .arg = pull};
    char digest[SYN_IMAGE_DIGEST_MAX];
    struct syn_cid cid;
    int rc = SYN_OK;

    (void)snprintf(digest, sizeof(digest), "sha256:%s", blob->hex);
    pull->before = pull->assembly->progress.bytes_done;
    if (!known(pull, blob, digest, &cid)) {
        rc = syn_oci_registry_blob(pull->registry, digest, blob->size, &sink, err);
        if (rc == SYN_OK)
            rc = syn_content_put_commit(pull->put, &cid, NULL, err);
        pull->put = syn_content_put_free(pull->put);
    }
    if (rc == SYN_OK) {
        pull->assembly->progress.bytes_done = pull->before + blob->size;
        syn_oci_assembly_add(pull->assembly, blob->hex, &cid);
    }
    return rc;
}

static int
config_fetch(struct pull *pull, struct syn_err *err)
{
    const struct syn_oci_blob *config = &pull->assembly->manifest.config;
    SYN_BUF(text);
    int rc = blob_fetch(pull, config, err);

    pull->assembly->progress.bytes_done = 0; /* layers are counted */
    if (rc == SYN_OK)
        rc = syn_oci_read_bytes(pull->assembly->move->content,
                                syn_oci_assembly_find(pull->assembly, config->hex), &text, err);
    return rc < 0 ? syn_err_wrap(err, rc, "configuration")
                  : syn_oci_assembly_config(pull->assembly, &text, err);
}

static int
layers_fetch(struct pull *pull, struct syn_err *err)
{
    const struct syn_oci_manifest *manifest = &pull->assembly->manifest;
    int rc = SYN_OK;

    syn_oci_assembly_tell(pull->assembly);
    for (size_t i = 0; rc == SYN_OK && i < manifest->count; i++) {
        if (syn_oci_assembly_find(pull->assembly, manifest->layers[i].hex) != NULL)
            continue;
        rc = blob_fetch(pull, &manifest->layers[i], err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "layer %zu", i);
        pull->assembly->progress.layers_done++;
        syn_oci_assembly_tell(pull->assembly);
    }
    return rc;
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
    return rc < 0 ? rc : syn_oci_assembly_end(pull->assembly, &manifest, digest, ret_image, err);
}

int
syn_oci_pull(const struct syn_oci_move *move, const struct syn_oci_remote *remote,
             const struct syn_image_ref *ref, json_t **ret_image, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_assembly_free_scope) struct syn_oci_assembly *assembly = NULL;
    SYN_SCOPED(syn_oci_registry_close_scope) struct syn_oci_registry *registry = NULL;
    struct pull pull = {.put = NULL};
    char text[SYN_IMAGE_REF_MAX];
    int rc = syn_oci_assembly_new(move, &assembly, err);

    if (rc == SYN_OK)
        rc = syn_oci_registry_open(remote, ref, &registry, err);
    if (rc < 0)
        return rc;
    pull.assembly = assembly;
    pull.registry = registry;
    rc = pull_all(&pull, ref, ret_image, err);
    (void)syn_content_put_free(pull.put);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", syn_image_ref_format(ref, text)) : SYN_OK;
}
