/* An image that is being put together in the content store; see oci_assembly.c. */
#ifndef SYN_OCI_ASSEMBLY_PRIV_H
#define SYN_OCI_ASSEMBLY_PRIV_H

#include <synor/infra/oci_content.h>

#include "oci_image_priv.h"

#define SYN_OCI_BLOBS_MAX (SYN_OCI_LAYERS_MAX + 2)

struct syn_oci_assembly {
    const struct syn_oci_move *move;
    const char *architecture;
    struct syn_oci_manifest manifest;
    struct syn_oci_image image;
    struct {
        char hex[SYN_OCI_HEX_SIZE];
        struct syn_cid cid;
    } blobs[SYN_OCI_BLOBS_MAX];
    size_t count;
    json_t *platforms; /* of all images that there are to choose from */
    struct syn_oci_progress progress;
};

/** Heap memory: it is large. */
SYN_MUST int syn_oci_assembly_new(const struct syn_oci_move *move,
                                  struct syn_oci_assembly **ret_assembly, struct syn_err *err);
void syn_oci_assembly_free_scope(struct syn_oci_assembly **slot);

/** Take in the manifest. INVALID, LIMIT (the whole is too large). */
SYN_MUST int syn_oci_assembly_manifest(struct syn_oci_assembly *assembly,
                                       const struct syn_buf *text, struct syn_err *err);
/** Where the blob is, when it is here already; NULL. */
const struct syn_cid *syn_oci_assembly_find(const struct syn_oci_assembly *assembly,
                                            const char *hex);
/** The blob is at `cid`. */
void syn_oci_assembly_add(struct syn_oci_assembly *assembly, const char *hex,
                          const struct syn_cid *cid);
/** Take in the configuration, which must be for the platform. */
SYN_MUST int syn_oci_assembly_config(struct syn_oci_assembly *assembly, const struct syn_buf *text,
                                     struct syn_err *err);
void syn_oci_assembly_tell(const struct syn_oci_assembly *assembly);
/** All blobs are there: make the layout. `digest` is what the image was asked for by. */
SYN_MUST int syn_oci_assembly_end(struct syn_oci_assembly *assembly, const struct syn_buf *manifest,
                                  const char *digest, json_t **ret_image, struct syn_err *err);

/** Put some bytes as a file. */
SYN_MUST int syn_oci_put_bytes(struct syn_content *content, const void *data, size_t len,
                               struct syn_cid *ret_cid, struct syn_err *err);
/** Append a small file. TOOBIG. */
SYN_MUST int syn_oci_read_bytes(struct syn_content *content, const struct syn_cid *cid,
                                struct syn_buf *out, struct syn_err *err);

#endif
