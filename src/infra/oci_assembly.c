/* The layout that an image is kept as:
 *
 *      oci-layout  index.json  blobs/sha256/{manifest, config, layers}
 *
 * index.json names the one manifest and nothing else: what an image is called is no part of it, so
 * that the same image under two names is the same folder. */
#include "oci_assembly_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define MARKER "{\"imageLayoutVersion\":\"1.0.0\"}"

int
syn_oci_assembly_new(const struct syn_oci_move *move, struct syn_oci_assembly **ret_assembly,
                     struct syn_err *err)
{
    SYN_SCOPED(syn_oci_assembly_free_scope) struct syn_oci_assembly *assembly = NULL;

    assembly = syn_calloc(1, sizeof(*assembly));
    if (assembly == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an image");
    assembly->move = move;
    assembly->architecture =
        move->architecture != NULL ? move->architecture : syn_oci_architecture();
    assembly->platforms = json_array();
    if (assembly->platforms == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an image");
    *ret_assembly = SYN_TAKE(assembly);
    return SYN_OK;
}

void
syn_oci_assembly_free_scope(struct syn_oci_assembly **slot)
{
    if (*slot == NULL)
        return;
    json_decref((*slot)->platforms);
    syn_oci_image_fini(&(*slot)->image);
    syn_free(*slot);
    *slot = NULL;
}

/* --- bytes ------------------------------------------------------------------------------------ */

int
syn_oci_put_bytes(struct syn_content *content, const void *data, size_t len,
                  struct syn_cid *ret_cid, struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    int rc = syn_content_put_new(content, &put, err);

    if (rc == SYN_OK)
        rc = syn_content_put_write(put, data, len, err);
    if (rc == SYN_OK)
        rc = syn_content_put_commit(put, ret_cid, NULL, err);
    (void)syn_content_put_free(put);
    return rc;
}

static int
take_bytes(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct syn_buf *out = arg;

    if (out->len + len > SYN_JSON_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a document of an image has more than %zu bytes",
                        SYN_JSON_BYTES_MAX);
    syn_buf_add(out, data, len);
    return syn_buf_ok(out, err);
}

int
syn_oci_read_bytes(struct syn_content *content, const struct syn_cid *cid, struct syn_buf *out,
                   struct syn_err *err)
{
    return syn_content_read(content, cid, 0, SYN_JSON_BYTES_MAX + 1, take_bytes, out, err);
}

/* --- parts ------------------------------------------------------------------------------------ */

/* A layer that stands twice is one blob. */
static bool
said_before(const struct syn_oci_manifest *manifest, size_t number)
{
    for (size_t i = 0; i < number; i++)
        if (syn_str_eq(manifest->layers[i].hex, manifest->layers[number].hex))
            return true;
    return false;
}

int
syn_oci_assembly_manifest(struct syn_oci_assembly *assembly, const struct syn_buf *text,
                          struct syn_err *err)
{
    const struct syn_oci_manifest *manifest = &assembly->manifest;
    int64_t most = assembly->move->bytes_max > 0 ? assembly->move->bytes_max : SYN_OCI_BYTES_MAX;
    int rc = syn_oci_manifest_parse(syn_buf_text(text), text->len, &assembly->manifest, err);

    if (rc == SYN_OK && manifest->config.size > (int64_t)SYN_JSON_BYTES_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "config: more than %zu bytes", SYN_JSON_BYTES_MAX);
    for (size_t i = 0; rc == SYN_OK && i < manifest->count; i++) {
        if (said_before(manifest, i))
            continue;
        if (manifest->layers[i].size > most - assembly->progress.bytes)
            return SYN_FAIL(err, SYN_E_LIMIT, "the image has more than %lld bytes",
                            (long long)most);
        assembly->progress.bytes += manifest->layers[i].size;
        assembly->progress.layers++;
    }
    return rc;
}

const struct syn_cid *
syn_oci_assembly_find(const struct syn_oci_assembly *assembly, const char *hex)
{
    for (size_t i = 0; i < assembly->count; i++)
        if (syn_str_eq(assembly->blobs[i].hex, hex))
            return &assembly->blobs[i].cid;
    return NULL;
}

void
syn_oci_assembly_add(struct syn_oci_assembly *assembly, const char *hex, const struct syn_cid *cid)
{
    if (syn_oci_assembly_find(assembly, hex) != NULL || assembly->count == SYN_OCI_BLOBS_MAX)
        return;
    (void)syn_str_copy(assembly->blobs[assembly->count].hex, SYN_OCI_HEX_SIZE, hex);
    assembly->blobs[assembly->count++].cid = *cid;
}

int
syn_oci_assembly_config(struct syn_oci_assembly *assembly, const struct syn_buf *text,
                        struct syn_err *err)
{
    int rc = syn_oci_image_parse(syn_buf_text(text), text->len, &assembly->image, err);

    return rc < 0 ? rc
                  : syn_oci_image_fits(&assembly->image, &assembly->manifest,
                                       assembly->architecture, err);
}

void
syn_oci_assembly_tell(const struct syn_oci_assembly *assembly)
{
    if (assembly->move->progress != NULL)
        assembly->move->progress(assembly->move->arg, &assembly->progress);
}

/* --- the whole -------------------------------------------------------------------------------- */

static int
put_text(struct syn_content *content, const char *name, const char *text, size_t len,
         struct syn_content_entry *ret, struct syn_err *err)
{
    ret->name = name;
    return syn_oci_put_bytes(content, text, len, &ret->cid, err);
}

static int
put_index(struct syn_oci_assembly *assembly, const struct syn_buf *manifest, const char *hex,
          struct syn_content_entry *ret, struct syn_err *err)
{
    const char *media = "";
    char digest[SYN_IMAGE_DIGEST_MAX];
    SYN_BUF(text);
    SYN_JSON(read);
    SYN_JSON(doc);
    int rc = syn_json_parse_object(syn_buf_text(manifest), manifest->len, &read, err);

    media = syn_json_str(read, "mediaType", syn_oci_media_of(SYN_OCI_MANIFEST));
    (void)snprintf(digest, sizeof(digest), "sha256:%s", hex);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:i, s:s, s:[{s:s, s:s, s:I, s:{s:s, s:s}}]}",
                           "schemaVersion", 2, "mediaType", syn_oci_media_of(SYN_OCI_INDEX),
                           "manifests", "mediaType", media, "digest", digest, "size",
                           (json_int_t)manifest->len, "platform", "os", "linux", "architecture",
                           assembly->architecture);
    if (rc == SYN_OK)
        rc = syn_json_write(doc, &text, err);
    return rc < 0 ? rc
                  : put_text(assembly->move->content, "index.json", syn_buf_text(&text), text.len,
                             ret, err);
}

static int
by_hex(const void *a, const void *b)
{
    return strcmp(((const struct syn_content_entry *)a)->name,
                  ((const struct syn_content_entry *)b)->name);
}

static int
put_layout(struct syn_oci_assembly *assembly, const struct syn_buf *manifest, const char *hex,
           struct syn_cid *ret, struct syn_err *err)
{
    struct syn_content *content = assembly->move->content;
    struct syn_content_entry files[SYN_OCI_BLOBS_MAX];
    struct syn_content_entry sha256 = {.name = "sha256"};
    struct syn_content_entry top[3] = {{.name = "blobs"}};
    int rc;

    for (size_t i = 0; i < assembly->count; i++) {
        files[i].name = assembly->blobs[i].hex;
        files[i].cid = assembly->blobs[i].cid;
    }
    qsort(files, assembly->count, sizeof(*files), by_hex);
    rc = syn_content_put_dir(content, files, assembly->count, &sha256.cid, err);
    if (rc == SYN_OK)
        rc = syn_content_put_dir(content, &sha256, 1, &top[0].cid, err);
    if (rc == SYN_OK)
        rc = put_index(assembly, manifest, hex, &top[1], err);
    if (rc == SYN_OK)
        rc = put_text(content, "oci-layout", MARKER, strlen(MARKER), &top[2], err);
    return rc < 0 ? rc : syn_content_put_dir(content, top, SYN_LEN(top), ret, err);
}

static int
blob_json(const struct syn_oci_assembly *assembly, const struct syn_oci_blob *blob, json_t **ret,
          struct syn_err *err)
{
    const struct syn_cid *cid = syn_oci_assembly_find(assembly, blob->hex);
    char digest[SYN_IMAGE_DIGEST_MAX], text[SYN_CID_TEXT_MAX];

    if (cid == NULL)
        return SYN_FAIL(err, SYN_E_INTERNAL, "blob %.12s of an image is missing", blob->hex);
    (void)snprintf(digest, sizeof(digest), "sha256:%s", blob->hex);
    return syn_json_pack(ret, err, "{s:s, s:I, s:s}", "digest", digest, "size_bytes",
                         (json_int_t)blob->size, "cid", syn_cid_format(cid, text));
}

static int
describe(const struct syn_oci_assembly *assembly, json_t *image, struct syn_err *err)
{
    const struct syn_oci_manifest *manifest = &assembly->manifest;
    json_t *layers = json_array();
    json_t *config = NULL;
    int rc = syn_json_set_take(image, "layers", layers, err);

    if (rc == SYN_OK)
        rc = blob_json(assembly, &manifest->config, &config, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(image, "config", config, err);
    for (size_t i = 0; rc == SYN_OK && i < manifest->count; i++) {
        json_t *layer = NULL;

        rc = blob_json(assembly, &manifest->layers[i], &layer, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(layers, layer, err);
    }
    return rc;
}

int
syn_oci_assembly_end(struct syn_oci_assembly *assembly, const struct syn_buf *manifest,
                     const char *digest, json_t **ret_image, struct syn_err *err)
{
    uint8_t raw[SYN_SHA256_LEN];
    char own[SYN_IMAGE_DIGEST_MAX] = "sha256:", text[SYN_CID_TEXT_MAX];
    char platform[SYN_OCI_WORD_MAX + 8];
    char *hex = own + strlen("sha256:");
    json_int_t size = assembly->progress.bytes + assembly->manifest.config.size;
    struct syn_cid cid;
    SYN_JSON(image);
    int rc;

    syn_sha256(syn_buf_text(manifest), manifest->len, raw);
    syn_hex_encode(raw, sizeof(raw), hex);
    rc = syn_oci_put_bytes(assembly->move->content, syn_buf_text(manifest), manifest->len, &cid,
                           err);
    if (rc == SYN_OK) {
        syn_oci_assembly_add(assembly, hex, &cid);
        rc = put_layout(assembly, manifest, hex, &cid, err);
    }
    (void)snprintf(platform, sizeof(platform), "linux/%s", assembly->architecture);
    if (rc == SYN_OK && json_array_size(assembly->platforms) == 0)
        rc = syn_json_append_take(assembly->platforms, json_string(platform), err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&image, err, "{s:s, s:s, s:s, s:I, s:s, s:O}", "digest",
                           digest != NULL ? digest : own, "manifest", own, "cid",
                           syn_cid_format(&cid, text), "size_bytes", size, "platform", platform,
                           "platforms", assembly->platforms);
    if (rc == SYN_OK)
        rc = describe(assembly, image, err);
    if (rc == SYN_OK)
        *ret_image = SYN_TAKE(image);
    return rc;
}
