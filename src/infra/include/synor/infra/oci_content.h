/* Images in the content store. Wherever an image comes from, a registry, an archive, a layout, it
 * is kept as an OCI image layout of that one image: equal images have equal CIDs, and layers that
 * images share are there once.
 *
 * Blocks: all, for as long as an image is large. */
#ifndef SYNOR_INFRA_OCI_CONTENT_H
#define SYNOR_INFRA_OCI_CONTENT_H

#include <synor/infra/content.h>
#include <synor/infra/oci_registry.h>

#define SYN_OCI_LANES     3 /* each takes some MiB of memory, a connection and a thread */
#define SYN_OCI_BYTES_MAX ((int64_t)64 << 30) /* of all blobs of an image */

struct syn_oci_progress {
    int64_t bytes, bytes_done; /* of layers; known after the manifest */
    unsigned layers, layers_done;
};
/** From any thread, one at a time. */
typedef void syn_oci_progress_fn(void *arg, const struct syn_oci_progress *progress);

/** From where to where. Borrowed for the call. */
struct syn_oci_move {
    struct syn_content *content;
    const char *architecture;      /* NULL: this machine's */
    const json_t *known;           /* digest -> CID of blobs that the content store has, or NULL */
    syn_oci_progress_fn *progress; /* or NULL */
    void *arg;
    int64_t bytes_max;    /* 0: SYN_OCI_BYTES_MAX */
    const char *parts;    /* a folder where it is written down how far layers came, or NULL */
    unsigned lanes;       /* layers at a time; 0: SYN_OCI_LANES */
    int64_t stride_bytes; /* written down each; 0: 64 MiB. A multiple of 1 MiB */
};

/**
 * Bring the image that `ref` stands for into the content store, its layers held against their
 * digests on the way; what `known` has is not asked for again.
 *
 * *ret_image, the caller's: {"digest": what the reference stands for, "manifest": of the image for
 * this platform, "cid", "size_bytes", "platform", "platforms": all that there are, "config": BLOB,
 * "layers": [BLOB]} with BLOB
 * {"digest", "size_bytes", "cid"}.
 * Returns 0; as syn_oci_registry_manifest(); UNSUPPORTED (nothing for this platform), INVALID
 * (malformed), LIMIT (too many or too large layers), NOSPACE, IO.
 */
SYN_MUST int syn_oci_pull(const struct syn_oci_move *move, const struct syn_oci_remote *remote,
                          const struct syn_image_ref *ref, json_t **ret_image, struct syn_err *err);

/**
 * Make an image of content that is stored: a folder that is an image layout, or a tar archive of
 * one (`oci-archive`), or what `docker save` writes. `name` chooses among several: the layout's ref
 * name or the archive's tag; NULL: the only one.
 *
 * *ret_image as above; "digest" is the manifest's. Returns 0; INVALID, UNSUPPORTED, NOTFOUND,
 * CORRUPT, LIMIT, NOSPACE, IO, NOMEM.
 */
SYN_MUST int syn_oci_import(const struct syn_oci_move *move, const struct syn_cid *source,
                            const char *name, json_t **ret_image, struct syn_err *err);

/** Where an image is sent. Borrowed for the call. */
struct syn_oci_target {
    const struct syn_image_ref *ref; /* a digest in it must be the image's */
    const char *from; /* a repository of the same registry that may have its layers, or NULL */
};

/**
 * Send an image of the content store to a registry; `image` is what pull or import made. What the
 * registry has is not sent; the manifest comes last.
 *
 * *ret_pushed, the caller's: {"ref", "digest", "size_bytes", "layers_sent", "layers_there",
 * "layers_mounted", "bytes_sent"}. Returns 0; as syn_oci_registry_send().
 */
SYN_MUST int syn_oci_push(const struct syn_oci_move *move, const struct syn_oci_remote *remote,
                          const struct syn_oci_target *target, const json_t *image,
                          json_t **ret_pushed, struct syn_err *err);

#endif
