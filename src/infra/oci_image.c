#include "oci_image_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define OCI_PREFIX "application/vnd.oci."

static const struct {
    const char *media_type;
    enum syn_oci_kind kind;
} media_types[] = {
    {"application/vnd.oci.image.index.v1+json", SYN_OCI_INDEX},
    {"application/vnd.docker.distribution.manifest.list.v2+json", SYN_OCI_INDEX},
    {"application/vnd.oci.image.manifest.v1+json", SYN_OCI_MANIFEST},
    {"application/vnd.docker.distribution.manifest.v2+json", SYN_OCI_MANIFEST},
    {"application/vnd.oci.image.config.v1+json", SYN_OCI_CONFIG},
    {"application/vnd.docker.container.image.v1+json", SYN_OCI_CONFIG},
    {"application/vnd.oci.image.layer.v1.tar", SYN_OCI_TAR},
    {"application/vnd.oci.image.layer.v1.tar+gzip", SYN_OCI_TAR_GZIP},
    {"application/vnd.oci.image.layer.v1.tar+zstd", SYN_OCI_TAR_ZSTD},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", SYN_OCI_TAR},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", SYN_OCI_TAR_GZIP},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", SYN_OCI_TAR_ZSTD},
    {"application/vnd.docker.image.rootfs.diff.tar", SYN_OCI_TAR},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", SYN_OCI_TAR_GZIP},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", SYN_OCI_TAR_ZSTD},
};

enum syn_oci_kind
syn_oci_kind_of(const char *media_type)
{
    for (size_t i = 0; i < SYN_LEN(media_types); i++) {
        if (syn_str_eq(media_type, media_types[i].media_type))
            return media_types[i].kind;
    }
    return SYN_OCI_OTHER;
}

const char *
syn_oci_media_of(enum syn_oci_kind kind)
{
    for (size_t i = 0; i < SYN_LEN(media_types); i++) {
        if (media_types[i].kind == kind && syn_str_starts(media_types[i].media_type, OCI_PREFIX))
            return media_types[i].media_type;
    }
    return "application/octet-stream";
}

/* "sha256:" and 64 lower-case digits; the hexadecimal part is borrowed from `digest`. */
static int
digest_parse(const char *digest, uint8_t raw[SYN_SHA256_LEN], const char **ret_hex,
             struct syn_err *err)
{
    static const char prefix[] = "sha256:";
    const char *hex = digest + sizeof(prefix) - 1;

    if (!syn_str_starts(digest, prefix))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "digest %.80s: only sha256 is known", digest);
    if (strlen(hex) != SYN_OCI_HEX_SIZE - 1 || strspn(hex, "0123456789abcdef") != strlen(hex))
        return SYN_FAIL(err, SYN_E_INVALID, "digest %.80s: expected 64 lower-case digits", digest);
    *ret_hex = hex;
    return syn_hex_decode(hex, raw, SYN_SHA256_LEN, err);
}

static int
blob_read(const json_t *descriptor, const char *path, struct syn_oci_blob *ret, struct syn_err *err)
{
    uint8_t raw[SYN_SHA256_LEN];
    const char *media_type = "", *digest = "", *hex = "";
    int rc;

    if (!json_is_object(descriptor))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a descriptor", path);
    rc = syn_json_get_str(descriptor, path, "mediaType", &media_type, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(descriptor, path, "digest", &digest, err);
    if (rc == SYN_OK)
        rc = syn_json_get_i64(descriptor, path, "size", 0, (int64_t)1 << 50, &ret->size, err);
    if (rc < 0)
        return rc;
    ret->kind = syn_oci_kind_of(media_type);
    rc = digest_parse(digest, raw, &hex, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    (void)syn_str_copy(ret->hex, sizeof(ret->hex), hex);
    return SYN_OK;
}

/* An optional text that must fit its place. */
static int
word_read(const json_t *obj, const char *path, const char *key, size_t cap, char *out,
          struct syn_err *err)
{
    const char *text = "";
    int rc = syn_json_opt_str(obj, path, key, &text, err);

    if (rc == SYN_OK && !syn_str_copy(out, cap, text))
        return SYN_FAIL(err, SYN_E_LIMIT, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return rc;
}

/* The object at `key`, or NULL when there is none. */
static int
object_read(const json_t *obj, const char *path, const char *key, json_t **ret, struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);

    *ret = NULL;
    return value == NULL || json_is_null(value) ? SYN_OK
                                                : syn_json_get_obj(obj, path, key, ret, err);
}

static int
check_version(const json_t *doc, struct syn_err *err)
{
    int64_t version;

    return syn_json_get_i64(doc, NULL, "schemaVersion", 2, 2, &version, err);
}

int
syn_oci_marker_parse(const char *data, size_t len, struct syn_err *err)
{
    const char *version = "";
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, err);

    if (rc == SYN_OK)
        rc = syn_json_get_str(doc, NULL, "imageLayoutVersion", &version, err);
    if (rc == SYN_OK && !syn_str_starts(version, "1."))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "image layout version %.40s: only version 1 is known", version);
    return rc;
}

static int
entry_read(const json_t *descriptor, size_t number, struct syn_oci_entry *ret, struct syn_err *err)
{
    char path[48];
    json_t *platform = NULL, *annotations = NULL;
    int rc;

    (void)snprintf(path, sizeof(path), "manifests[%zu]", number);
    rc = blob_read(descriptor, path, &ret->blob, err);
    if (rc == SYN_OK)
        rc = object_read(descriptor, path, "platform", &platform, err);
    if (rc == SYN_OK)
        rc = object_read(descriptor, path, "annotations", &annotations, err);
    if (rc == SYN_OK && platform != NULL) {
        rc = word_read(platform, path, "os", sizeof(ret->os), ret->os, err);
        if (rc == SYN_OK)
            rc = word_read(platform, path, "architecture", sizeof(ret->architecture),
                           ret->architecture, err);
    }
    if (rc == SYN_OK && annotations != NULL)
        rc = word_read(annotations, path, "org.opencontainers.image.ref.name", sizeof(ret->ref),
                       ret->ref, err);
    return rc;
}

int
syn_oci_index_parse(const char *data, size_t len, struct syn_oci_index *ret, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_index_fini) struct syn_oci_index index = {0};
    json_t *manifests = NULL;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, err);

    if (rc == SYN_OK)
        rc = check_version(doc, err);
    if (rc == SYN_OK)
        rc = syn_json_get_arr(doc, NULL, "manifests", &manifests, err);
    if (rc < 0)
        return rc;
    if (json_array_size(manifests) > SYN_OCI_MANIFESTS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "manifests: more than %d", SYN_OCI_MANIFESTS_MAX);
    index.entries = syn_calloc(json_array_size(manifests) + 1, sizeof(*index.entries));
    if (index.entries == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an index");
    for (; rc == SYN_OK && index.count < json_array_size(manifests); index.count++)
        rc = entry_read(json_array_get(manifests, index.count), index.count,
                        &index.entries[index.count], err);
    if (rc < 0)
        return rc;
    *ret = index;
    index.entries = NULL;
    return SYN_OK;
}

void
syn_oci_index_fini(struct syn_oci_index *index)
{
    syn_free(index->entries);
    index->entries = NULL;
}

int
syn_oci_manifest_parse(const char *data, size_t len, struct syn_oci_manifest *ret,
                       struct syn_err *err)
{
    json_t *config = NULL, *layers = NULL;
    SYN_JSON(doc);
    int rc = syn_json_parse_object(data, len, &doc, err);

    if (rc == SYN_OK)
        rc = check_version(doc, err);
    if (rc == SYN_OK)
        rc = syn_json_get_obj(doc, NULL, "config", &config, err);
    if (rc == SYN_OK)
        rc = blob_read(config, "config", &ret->config, err);
    if (rc == SYN_OK)
        rc = syn_json_get_arr(doc, NULL, "layers", &layers, err);
    if (rc < 0)
        return rc;
    if (ret->config.kind != SYN_OCI_CONFIG)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "config: this is no container image");
    if (json_array_size(layers) > SYN_OCI_LAYERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "layers: more than %d", SYN_OCI_LAYERS_MAX);
    ret->count = json_array_size(layers);
    for (size_t i = 0; rc == SYN_OK && i < ret->count; i++) {
        char path[48];

        (void)snprintf(path, sizeof(path), "layers[%zu]", i);
        rc = blob_read(json_array_get(layers, i), path, &ret->layers[i], err);
        if (rc == SYN_OK && ret->layers[i].kind < SYN_OCI_TAR)
            rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s: expected tar, tar+gzip or tar+zstd, got %s",
                          path, syn_json_str(json_array_get(layers, i), "mediaType", "nothing"));
    }
    return rc;
}

/* An optional list of texts, borrowed from `obj`, as a NULL-ended array in *ret_list. */
static int
list_read(const json_t *obj, const char *key, const char ***ret_list, struct syn_err *err)
{
    const json_t *list = json_object_get(obj, key);
    const json_t *item;
    const char **texts;
    size_t i;

    if (json_is_null(list))
        list = NULL;
    if (list != NULL && !json_is_array(list))
        return SYN_FAIL(err, SYN_E_INVALID, "config.%s: expected a list of texts", key);
    if (json_array_size(list) > SYN_OCI_LIST_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "config.%s: more than %d", key, SYN_OCI_LIST_MAX);
    texts = syn_calloc(json_array_size(list) + 1, sizeof(*texts));
    if (texts == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for config.%s", key);
    *ret_list = texts;
    json_array_foreach (list, i, item) {
        texts[i] = json_string_value(item);
        if (texts[i] == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "config.%s[%zu]: expected a text", key, i);
    }
    return SYN_OK;
}

static int
config_read(struct syn_oci_image *image, struct syn_err *err)
{
    struct syn_oci_config *config = &image->config;
    json_t *run = NULL;
    int rc = syn_json_get_str(image->doc, NULL, "os", &config->os, err);

    config->working_dir = "";
    config->user = "";
    config->stop_signal = "";
    if (rc == SYN_OK)
        rc = syn_json_get_str(image->doc, NULL, "architecture", &config->architecture, err);
    if (rc == SYN_OK)
        rc = object_read(image->doc, NULL, "config", &run, err);
    if (rc == SYN_OK)
        rc = list_read(run, "Entrypoint", &image->lists[0], err);
    if (rc == SYN_OK)
        rc = list_read(run, "Cmd", &image->lists[1], err);
    if (rc == SYN_OK)
        rc = list_read(run, "Env", &image->lists[2], err);
    if (rc == SYN_OK)
        rc = syn_json_opt_str(run, "config", "WorkingDir", &config->working_dir, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_str(run, "config", "User", &config->user, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_str(run, "config", "StopSignal", &config->stop_signal, err);
    for (size_t i = 0; rc == SYN_OK && image->lists[2][i] != NULL; i++) {
        const char *equals = strchr(image->lists[2][i], '=');

        if (equals == NULL || equals == image->lists[2][i])
            rc = SYN_FAIL(err, SYN_E_INVALID, "config.Env[%zu]: expected NAME=value", i);
    }
    config->entrypoint = image->lists[0];
    config->cmd = image->lists[1];
    config->env = image->lists[2];
    return rc;
}

static int
diff_ids_read(struct syn_oci_image *image, struct syn_err *err)
{
    json_t *rootfs = NULL, *list = NULL;
    int rc = syn_json_get_obj(image->doc, NULL, "rootfs", &rootfs, err);

    if (rc == SYN_OK)
        rc = syn_json_get_arr(rootfs, "rootfs", "diff_ids", &list, err);
    if (rc < 0)
        return rc;
    image->count = json_array_size(list);
    if (image->count > SYN_OCI_LAYERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "rootfs.diff_ids: more than %d", SYN_OCI_LAYERS_MAX);
    for (size_t i = 0; rc == SYN_OK && i < image->count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        const char *hex;

        rc = digest_parse(text != NULL ? text : "", image->diff_ids[i], &hex, err);
    }
    return rc < 0 ? syn_err_wrap(err, rc, "rootfs.diff_ids") : SYN_OK;
}

int
syn_oci_image_parse(const char *data, size_t len, struct syn_oci_image *ret, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_image_fini) struct syn_oci_image image = {0};
    int rc = syn_json_parse_object(data, len, &image.doc, err);

    if (rc == SYN_OK)
        rc = config_read(&image, err);
    if (rc == SYN_OK)
        rc = diff_ids_read(&image, err);
    if (rc < 0)
        return rc;
    *ret = image;
    image = (struct syn_oci_image){0};
    return SYN_OK;
}

void
syn_oci_image_fini(struct syn_oci_image *image)
{
    for (size_t i = 0; i < SYN_LEN(image->lists); i++)
        syn_free((void *)image->lists[i]);
    json_decref(image->doc);
    *image = (struct syn_oci_image){0};
}
