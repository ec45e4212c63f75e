/* What the routes of images and the pulls that they start share. */
#ifndef SYN_SERVER_IMAGE_PRIV_H
#define SYN_SERVER_IMAGE_PRIV_H

#include <synor/infra/oci_content.h>
#include <synor/infra/oci_layout.h>

#include "server_priv.h"

#define SRV_IMAGE_TAG_MAX 256

/** An image that is wanted: from a registry, or of content that is stored; here, or there. */
struct srv_image_want {
    char account[SYN_ID_MAX];
    char name[SYN_IMAGE_REF_MAX];        /* of its document; of a push, the whole reference */
    struct syn_image_ref ref;            /* in a registry */
    bool push;                           /* into it: `source`, or the content */
    char source[SYN_IMAGE_REF_MAX];      /* the document of what is pushed */
    char cid[SYN_CID_TEXT_MAX];          /* of content; "": from a registry */
    char tag[SRV_IMAGE_TAG_MAX];         /* which of several in the content */
    char architecture[SYN_OCI_WORD_MAX]; /* and for what; "": this machine's */
    char auth[SYN_IMAGE_AUTH_MAX];
    bool any_address;
    int64_t bytes_max;
};

/** Begin, wait at most `wait_ms` for its end, and tell how it stands: {"id", "name", "state":
 *  running|done|failed, "bytes", "bytes_done", "layers", "layers_done", "image", "error"}. LIMIT.
 */
SYN_MUST int srv_pull_start(struct srv_pulls *pulls, const struct srv_image_want *want,
                            int64_t wait_ms, json_t **ret, struct syn_err *err);
/** The same of one that was begun. NOTFOUND. */
SYN_MUST int srv_pull_look(struct srv_pulls *pulls, const char *account, const char *id,
                           int64_t wait_ms, json_t **ret, struct syn_err *err);
/** Write the document of an image that has come; `image` becomes what is written. LIMIT: over the
 *  account's quota. */
SYN_MUST int srv_image_write(struct syn_server *server, const struct srv_image_want *want,
                             json_t *image, struct syn_err *err);

#endif
