/* Images that come as files. An image layout is taken as it is, less what is not of the chosen
 * image; of what `docker save` wrote before it wrote layouts a manifest is made:
 *
 *      manifest.json: [{Config, RepoTags, Layers}]  -->  OCI manifest over the same files */
#include "oci_archive_priv.h"

#include <synor/base/str.h>

struct import {
    struct syn_oci_assembly *assembly;
    struct syn_oci_archive *archive;
};

static int
read_file(const struct import *import, const char *path, struct syn_buf *out, struct syn_err *err)
{
    struct syn_oci_file file;
    int rc = syn_oci_archive_find(import->archive, path, false, &file, err);

    return rc < 0 ? rc : syn_oci_read_bytes(import->assembly->move->content, &file.cid, out, err);
}

/* --- layouts ---------------------------------------------------------------------------------- */

static int
blob_find(const struct import *import, const struct syn_oci_blob *blob, struct syn_oci_file *ret,
          struct syn_err *err)
{
    char path[sizeof("blobs/sha256/") + SYN_OCI_HEX_SIZE];
    int rc;

    (void)snprintf(path, sizeof(path), "blobs/sha256/%s", blob->hex);
    rc = syn_oci_archive_find(import->archive, path, true, ret, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, SYN_E_CORRUPT, "image layout: %s is missing", path);
    if (rc == SYN_OK && (ret->size != blob->size || !syn_str_eq(ret->hex, blob->hex)))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "image layout: %s is not what its digest says", path);
    return rc;
}

static int
read_blob(void *arg, const struct syn_oci_blob *blob, struct syn_buf *out, struct syn_err *err)
{
    const struct import *import = arg;
    struct syn_oci_file file;
    int rc = blob_find(import, blob, &file, err);

    return rc < 0 ? rc : syn_oci_read_bytes(import->assembly->move->content, &file.cid, out, err);
}

static int
take_blob(const struct import *import, const struct syn_oci_blob *blob, struct syn_err *err)
{
    struct syn_oci_file file;
    int rc = blob_find(import, blob, &file, err);

    if (rc == SYN_OK)
        syn_oci_assembly_add(import->assembly, blob->hex, &file.cid);
    return rc;
}

static int
from_layout(struct import *import, const char *name, struct syn_buf *manifest, struct syn_err *err)
{
    const struct syn_oci_chooser chooser = {.read = read_blob,
                                            .arg = import,
                                            .architecture = import->assembly->architecture,
                                            .platforms = import->assembly->platforms,
                                            .ref = name};
    struct syn_oci_blob found;
    SYN_BUF(text);
    int rc = read_file(import, "oci-layout", &text, err);

    if (rc == SYN_OK)
        rc = syn_oci_marker_parse(syn_buf_text(&text), text.len, err);
    syn_buf_clear(&text);
    if (rc == SYN_OK)
        rc = read_file(import, "index.json", &text, err);
    if (rc == SYN_OK)
        rc = syn_oci_choose(&chooser, &text, &found, err);
    return rc < 0 ? rc : read_blob(import, &found, manifest, err);
}

/* --- docker's archives ------------------------------------------------------------------------ */

static bool
has_tag(const json_t *row, const char *name)
{
    const json_t *tag;
    size_t i;

    json_array_foreach (json_object_get(row, "RepoTags"), i, tag)
        if (syn_str_eq(json_string_value(tag), name))
            return true;
    return false;
}

static int
choose_row(const json_t *rows, const char *name, const json_t **ret, struct syn_err *err)
{
    const json_t *row;
    size_t i;

    if (name == NULL && json_array_size(rows) == 1) {
        *ret = json_array_get(rows, 0);
        return SYN_OK;
    }
    if (name == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "the archive has %zu images: say which (--tag)",
                        json_array_size(rows));
    json_array_foreach (rows, i, row) {
        if (has_tag(row, name)) {
            *ret = row;
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_NOTFOUND, "the archive has no image tagged %.80s", name);
}

static int
take_head(void *arg, const void *data, size_t len, struct syn_err *err)
{
    syn_buf_add(arg, data, len);
    return syn_buf_ok(arg, err);
}

/* What packs a layer is told by its first bytes. */
static int
layer_kind(const struct import *import, const struct syn_oci_file *file, enum syn_oci_kind *ret,
           struct syn_err *err)
{
    static const char gzip[] = "\x1f\x8b", zstd[] = "\x28\xb5\x2f\xfd";
    SYN_BUF(head);
    int rc =
        syn_content_read(import->assembly->move->content, &file->cid, 0, 4, take_head, &head, err);

    *ret = SYN_OCI_TAR;
    if (head.len >= 2 && memcmp(syn_buf_text(&head), gzip, 2) == 0)
        *ret = SYN_OCI_TAR_GZIP;
    if (head.len >= 4 && memcmp(syn_buf_text(&head), zstd, 4) == 0)
        *ret = SYN_OCI_TAR_ZSTD;
    return rc;
}

/* A descriptor of the file at `path`, which becomes a blob. */
static int
describe(const struct import *import, const char *path, bool layer, json_t **ret,
         struct syn_err *err)
{
    enum syn_oci_kind kind = SYN_OCI_CONFIG;
    char digest[SYN_IMAGE_DIGEST_MAX];
    struct syn_oci_file file;
    int rc = syn_oci_archive_find(import->archive, path, true, &file, err);

    if (rc == SYN_OK && layer)
        rc = layer_kind(import, &file, &kind, err);
    if (rc < 0)
        return rc;
    syn_oci_assembly_add(import->assembly, file.hex, &file.cid);
    (void)snprintf(digest, sizeof(digest), "sha256:%s", file.hex);
    return syn_json_pack(ret, err, "{s:s, s:s, s:I}", "mediaType", syn_oci_media_of(kind), "digest",
                         digest, "size", (json_int_t)file.size);
}

static int
manifest_of(const struct import *import, const json_t *row, json_t *doc, struct syn_err *err)
{
    json_t *list = NULL, *item = NULL;
    json_t *layers = json_array();
    const char *config = "";
    int rc = syn_json_set_take(doc, "layers", layers, err);

    if (rc == SYN_OK && !json_is_object(row))
        rc = SYN_FAIL(err, SYN_E_INVALID, "manifest.json: expected a list of objects");
    if (rc == SYN_OK)
        rc = syn_json_get_str(row, "manifest.json", "Config", &config, err);
    if (rc == SYN_OK)
        rc = syn_json_get_arr(row, "manifest.json", "Layers", &list, err);
    if (rc == SYN_OK && json_array_size(list) > SYN_OCI_LAYERS_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "manifest.json: more than %d layers", SYN_OCI_LAYERS_MAX);
    if (rc == SYN_OK)
        rc = describe(import, config, false, &item, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "config", item, err);
    for (size_t i = 0; rc == SYN_OK && i < json_array_size(list); i++) {
        const char *path = json_string_value(json_array_get(list, i));

        rc = path == NULL ? SYN_FAIL(err, SYN_E_INVALID, "manifest.json: Layers[%zu] is no path", i)
                          : describe(import, path, true, &item, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(layers, item, err);
    }
    return rc;
}

static int
from_docker(struct import *import, const char *name, struct syn_buf *manifest, struct syn_err *err)
{
    const json_t *row = NULL;
    SYN_BUF(text);
    SYN_JSON(rows);
    SYN_JSON(doc);
    int rc = read_file(import, "manifest.json", &text, err);

    if (rc == SYN_E_NOTFOUND)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "this is no image: it has neither oci-layout nor manifest.json");
    if (rc == SYN_OK)
        rc = syn_json_parse(syn_buf_text(&text), text.len, &rows, err);
    if (rc == SYN_OK && !json_is_array(rows))
        rc = SYN_FAIL(err, SYN_E_INVALID, "manifest.json: expected a list");
    if (rc == SYN_OK)
        rc = choose_row(rows, name, &row, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:i, s:s}", "schemaVersion", 2, "mediaType",
                           syn_oci_media_of(SYN_OCI_MANIFEST));
    if (rc == SYN_OK)
        rc = manifest_of(import, row, doc, err);
    return rc < 0 ? rc : syn_json_write(doc, manifest, err);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* The configuration, and of a layout the layers; those of docker's are there. */
static int
take_parts(struct import *import, struct syn_err *err)
{
    struct syn_oci_assembly *assembly = import->assembly;
    const struct syn_oci_manifest *manifest = &assembly->manifest;
    SYN_BUF(text);
    int rc = SYN_OK;

    if (syn_oci_assembly_find(assembly, manifest->config.hex) == NULL)
        rc = take_blob(import, &manifest->config, err);
    if (rc == SYN_OK)
        rc = syn_oci_read_bytes(assembly->move->content,
                                syn_oci_assembly_find(assembly, manifest->config.hex), &text, err);
    if (rc == SYN_OK)
        rc = syn_oci_assembly_config(assembly, &text, err);
    for (size_t i = 0; rc == SYN_OK && i < manifest->count; i++) {
        if (syn_oci_assembly_find(assembly, manifest->layers[i].hex) == NULL)
            rc = take_blob(import, &manifest->layers[i], err);
        assembly->progress.layers_done++;
        assembly->progress.bytes_done += manifest->layers[i].size;
        syn_oci_assembly_tell(assembly);
    }
    return rc;
}

int
syn_oci_import(const struct syn_oci_move *move, const struct syn_cid *source, const char *name,
               json_t **ret_image, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_assembly_free_scope) struct syn_oci_assembly *assembly = NULL;
    SYN_SCOPED(syn_oci_archive_close_scope) struct syn_oci_archive *archive = NULL;
    struct syn_oci_file marker;
    struct import import;
    SYN_BUF(manifest);
    int rc = syn_oci_assembly_new(move, &assembly, err);

    if (rc == SYN_OK)
        rc = syn_oci_archive_open(move, source, &archive, err);
    if (rc < 0)
        return rc;
    import = (struct import){assembly, archive};
    rc = syn_oci_archive_find(archive, "oci-layout", false, &marker, err);
    if (rc == SYN_OK)
        rc = from_layout(&import, name, &manifest, err);
    else if (rc == SYN_E_NOTFOUND)
        rc = from_docker(&import, name, &manifest, err);
    if (rc == SYN_OK)
        rc = syn_oci_assembly_manifest(assembly, &manifest, err);
    if (rc == SYN_OK)
        rc = take_parts(&import, err);
    return rc < 0 ? rc : syn_oci_assembly_end(assembly, &manifest, NULL, ret_image, err);
}
