/* The JSON documents of an OCI image: bytes in, checked values out; no files. See oci_image.c. */
#ifndef SYN_OCI_IMAGE_PRIV_H
#define SYN_OCI_IMAGE_PRIV_H

#include <synor/base/json.h>
#include <synor/infra/crypto.h>
#include <synor/infra/oci_layout.h>

#define SYN_OCI_HEX_SIZE (2 * SYN_SHA256_LEN + 1)

/** What a descriptor's media type means to us. */
enum syn_oci_kind {
    SYN_OCI_OTHER, /* to be ignored, as the specification asks */
    SYN_OCI_INDEX,
    SYN_OCI_MANIFEST,
    SYN_OCI_CONFIG,
    SYN_OCI_TAR,
    SYN_OCI_TAR_GZIP,
    SYN_OCI_TAR_ZSTD,
};

struct syn_oci_blob {
    enum syn_oci_kind kind;
    int64_t size;
    char hex[SYN_OCI_HEX_SIZE]; /* of its SHA-256 */
};

/** One line of an index. Empty texts: not said. */
struct syn_oci_entry {
    struct syn_oci_blob blob;
    char os[SYN_OCI_WORD_MAX];
    char architecture[SYN_OCI_WORD_MAX];
    char ref[SYN_OCI_REF_MAX];
};

struct syn_oci_index {
    struct syn_oci_entry *entries;
    size_t count;
};

struct syn_oci_manifest {
    struct syn_oci_blob config;
    struct syn_oci_blob layers[SYN_OCI_LAYERS_MAX];
    size_t count;
};

/** A configuration with what its pointers point into. */
struct syn_oci_image {
    struct syn_oci_config config;
    json_t *doc;
    const char **lists[3];
    uint8_t diff_ids[SYN_OCI_LAYERS_MAX][SYN_SHA256_LEN];
    size_t count;
};

/** The file `oci-layout`. INVALID; UNSUPPORTED for another major version. */
SYN_MUST int syn_oci_marker_parse(const char *data, size_t len, struct syn_err *err);
/** `index.json`, or an index among the blobs. INVALID, TOOBIG, LIMIT, UNSUPPORTED, NOMEM. */
SYN_MUST int syn_oci_index_parse(const char *data, size_t len, struct syn_oci_index *ret,
                                 struct syn_err *err);
void syn_oci_index_fini(struct syn_oci_index *index);
SYN_MUST int syn_oci_manifest_parse(const char *data, size_t len, struct syn_oci_manifest *ret,
                                    struct syn_err *err);
SYN_MUST int syn_oci_image_parse(const char *data, size_t len, struct syn_oci_image *ret,
                                 struct syn_err *err);
void syn_oci_image_fini(struct syn_oci_image *image);

#endif
