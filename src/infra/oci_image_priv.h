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
/** What a media type means to us; OTHER for what it does not. */
enum syn_oci_kind syn_oci_kind_of(const char *media_type);
/** The media type of an OCI image that means `kind`. Static. */
const char *syn_oci_media_of(enum syn_oci_kind kind);

/** Which of an index's images (oci_choose.c), and how the indexes in it are read. */
struct syn_oci_chooser {
    int (*read)(void *arg, const struct syn_oci_blob *blob, struct syn_buf *out,
                struct syn_err *err);
    void *arg;
    const char *architecture;
    const char *ref;   /* or NULL */
    bool first;        /* of several that fit, the first; else they are INVALID */
    json_t *platforms; /* those of all images are appended: "linux/amd64"; or NULL */
};

/** Returns 0; NOTFOUND, UNSUPPORTED, INVALID, LIMIT, and what `read` gives. */
SYN_MUST int syn_oci_choose(const struct syn_oci_chooser *chooser, const struct syn_buf *index,
                            struct syn_oci_blob *ret, struct syn_err *err);
/** Is it an image for linux and `architecture`, with a digest for each layer? UNSUPPORTED, INVALID.
 */
SYN_MUST int syn_oci_image_fits(const struct syn_oci_image *image,
                                const struct syn_oci_manifest *manifest, const char *architecture,
                                struct syn_err *err);

#endif
