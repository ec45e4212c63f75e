/* Images, for the commands that are about them and those that run them. */
#ifndef SYN_CLI_IMAGE_PRIV_H
#define SYN_CLI_IMAGE_PRIV_H

#include "cli_priv.h"

/** Have the server pull `ref`, with progress, with the credentials that docker's file (or
 *  --auth-file) has for its host. *ret_image is the image's document. */
SYN_MUST int syn_cli_image_pull(struct syn_cli *cli, const char *ref, json_t **ret_image,
                                struct syn_err *err);
/** POST a request for an image and see it to its end. */
SYN_MUST int syn_cli_image_fetch(struct syn_cli *cli, const char *label, const json_t *body,
                                 json_t **ret_image, struct syn_err *err);
/** When the spec's `image` is in a registry: pull it, and name it by its digest in the spec. */
SYN_MUST int syn_cli_image_ready(struct syn_cli *cli, json_t *spec, struct syn_err *err);

#endif
