/* References to images in registries: HOST/PATH:TAG@DIGEST, as docker and everybody after it reads
 * them, and the credentials that docker's configuration file has for a host. Text in, values out.
 */
#ifndef SYNOR_BASE_IMAGE_REF_H
#define SYNOR_BASE_IMAGE_REF_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_IMAGE_HOST_MAX   200 /* with its port and zero */
#define SYN_IMAGE_PATH_MAX   256
#define SYN_IMAGE_TAG_MAX    129
#define SYN_IMAGE_DIGEST_MAX 72  /* "sha256:", 64 digits, zero */
#define SYN_IMAGE_REF_MAX    384 /* of the whole, as it is written out */
#define SYN_IMAGE_AUTH_MAX   4096

/** What a reference says, complete: "nginx" is docker.io, library/nginx, latest. */
struct syn_image_ref {
    char host[SYN_IMAGE_HOST_MAX]; /* "docker.io", "127.0.0.1:5000", "[::1]:5000"; lower case */
    char path[SYN_IMAGE_PATH_MAX];
    char tag[SYN_IMAGE_TAG_MAX];       /* "" with a digest alone */
    char digest[SYN_IMAGE_DIGEST_MAX]; /* "sha256:...", or "" */
};

/** INVALID says what is wrong with it; UNSUPPORTED: a digest of another kind; LIMIT: too long. */
SYN_MUST int syn_image_ref_parse(const char *text, struct syn_image_ref *ret, struct syn_err *err);
/** "docker.io/library/nginx:latest": one text for each image. Returns out. */
const char *syn_image_ref_format(const struct syn_image_ref *ref, char out[SYN_IMAGE_REF_MAX]);
/** "sha256:" and 64 lower-case digits. */
bool syn_image_digest_ok(const char *text);
/** HOST[:PORT] as references have it: a name, an IPv4 address, or an IPv6 address in brackets. */
bool syn_image_host_ok(const char *text);
/** localhost, 127.0.0.0/8 or [::1], with any port: the one place that is asked without TLS. */
bool syn_image_host_loopback(const char *host);

#define SYN_IMAGE_HELPER 1 /* a program keeps the credentials */

/**
 * What docker's configuration file (`~/.docker/config.json`) has for `host`: the base64 text of
 * "user:password", into out[SYN_IMAGE_AUTH_MAX]; "" when it has nothing.
 *
 * Returns 0; SYN_IMAGE_HELPER, and `out` is X of the program docker-credential-X that is to be
 * asked (the host's own before the file's text, the one for all hosts after it); INVALID: no such
 * file. Messages have nothing of what is in it.
 */
SYN_MUST int syn_image_auth_find(const char *data, size_t len, const char *host, char *out,
                                 struct syn_err *err);
/** What such a program is to read for `host`. */
const char *syn_image_helper_key(const char *host);
/** Take its answer apart: user and password, each into text[SYN_IMAGE_AUTH_MAX]. INVALID;
 *  UNSUPPORTED: a token that only docker's own registry takes. Messages have nothing of it. */
SYN_MUST int syn_image_helper_read(const char *data, size_t len, char *ret_user, char *ret_password,
                                   struct syn_err *err);

#endif
