/* Layers as files: the part of oci_layout.h that writes. See oci_unpack.c. */
#ifndef SYN_OCI_UNPACK_PRIV_H
#define SYN_OCI_UNPACK_PRIV_H

#include "oci_image_priv.h"

/** One layer: its blob, opened, and the digest of what is in it uncompressed. */
struct syn_oci_layer {
    const struct syn_oci_blob *blob;
    const uint8_t *diff_id;
    int fd; /* at its start; borrowed */
};

/** A tree that layers are laid into. */
struct syn_oci_tree {
    int root; /* the folder that is everything; borrowed */
    const struct syn_oci_limits *limits;
    int64_t read; /* uncompressed bytes of layers so far */
    struct syn_oci_unpacked done;
};

/** Remove from the tree what the layer's whiteouts name. Verifies the layer. */
SYN_MUST int syn_oci_whiteout(struct syn_oci_tree *tree, const struct syn_oci_layer *layer,
                              struct syn_err *err);
/** Add what the layer holds. Verifies the layer. */
SYN_MUST int syn_oci_apply(struct syn_oci_tree *tree, const struct syn_oci_layer *layer,
                           struct syn_err *err);
/** Empty the folder `dir`, however deep, with a bounded number of descriptors. */
SYN_MUST int syn_oci_clear(int dir, struct syn_err *err);

#endif
