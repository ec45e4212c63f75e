/* Images that are made here: of one layer with one program, or of nothing but links. */
#ifndef SYNOR_RUNTIME_IMAGE_PRIV_H
#define SYNOR_RUNTIME_IMAGE_PRIV_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_POD_IMAGE_DIGEST_MAX 72 /* "sha256:" and hex */
#define SYN_POD_IMAGE_NAME_MAX   96

/** The three blobs of an OCI image. */
struct syn_pod_image {
    char name[SYN_POD_IMAGE_NAME_MAX]; /* "synor.local/KIND:the layer's digest" */
    struct syn_buf layer, config, manifest;
    char layer_digest[SYN_POD_IMAGE_DIGEST_MAX];
    char config_digest[SYN_POD_IMAGE_DIGEST_MAX];
    char manifest_digest[SYN_POD_IMAGE_DIGEST_MAX];
};

void syn_pod_image_init(struct syn_pod_image *image);
void syn_pod_image_fini(struct syn_pod_image *image);
/** One more entry of the layer; `path` without a leading slash. TOOBIG over 100 bytes. */
SYN_MUST int syn_pod_image_link(struct syn_pod_image *image, const char *path, const char *target,
                                struct syn_err *err);
SYN_MUST int syn_pod_image_program(struct syn_pod_image *image, const char *path, const void *data,
                                   size_t len, struct syn_err *err);
/** No more entries: name it and describe it. `entry` is its program, or NULL. */
SYN_MUST int syn_pod_image_close(struct syn_pod_image *image, const char *kind, const char *entry,
                                 struct syn_err *err);
/** Give it to the containerd at `address`, under its name. One that is there is announced
 *  again. Blocks: some ms. */
SYN_MUST int syn_pod_image_give(const struct syn_pod_image *image, const char *address,
                                struct syn_err *err);

#endif
