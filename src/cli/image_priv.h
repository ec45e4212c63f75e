/* Images, for the commands that are about them and those that run them. */
#ifndef SYN_CLI_IMAGE_PRIV_H
#define SYN_CLI_IMAGE_PRIV_H

#include "cli_priv.h"

/** Have the server pull `ref`, with progress, with the credentials that docker's file (or
 *  --auth-file) has for its host. *ret_image is the image's document. */
SYN_MUST int syn_cli_image_pull(struct syn_cli *cli, const char *ref, json_t **ret_image,
                                struct syn_err *err);
/** Have the server send `image` (a name, or a CID) to `ref`, in the same way; `tag`, or NULL, says
 *  which of several. *ret_pushed tells what it took. */
SYN_MUST int syn_cli_image_send(struct syn_cli *cli, const char *image, const char *tag,
                                const char *ref, json_t **ret_pushed, struct syn_err *err);
/** Put into `body` what docker's file (or --auth-file), or a program that it names, has for the
 * host of `ref`, if anything. */
SYN_MUST int syn_cli_image_credentials(struct syn_cli *cli, const char *ref, json_t *body,
                                       struct syn_err *err);
/** POST a request for an image to `route` and see it to its end. */
struct syn_cli_image_work {
    const char *route;
    const char *label; /* of the progress bar */
    const json_t *body;
};
SYN_MUST int syn_cli_image_work(struct syn_cli *cli, const struct syn_cli_image_work *work,
                                json_t **ret_image, struct syn_err *err);
/** When the spec's `image` is in a registry: pull it, and name it by its digest in the spec. */
SYN_MUST int syn_cli_image_ready(struct syn_cli *cli, json_t *spec, struct syn_err *err);

#endif
