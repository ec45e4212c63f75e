/* One request to a registry, and what a registry says of how to be asked. */
#ifndef SYN_OCI_REGISTRY_PRIV_H
#define SYN_OCI_REGISTRY_PRIV_H

#include <curl/curl.h>
#include <sys/socket.h>

#include <synor/base/buf.h>
#include <synor/infra/oci_registry.h>

#define SYN_OCI_URL_MAX   4096
#define SYN_OCI_TOKEN_MAX 16384

/* --- the challenge (oci_challenge.c) ---------------------------------------------------------- */

struct syn_oci_challenge {
    bool bearer; /* else Basic */
    char realm[1024];
    char service[256];
};

/** A WWW-Authenticate header. INVALID; UNSUPPORTED: another scheme. */
SYN_MUST int syn_oci_challenge_parse(const char *text, struct syn_oci_challenge *ret,
                                     struct syn_err *err);
/** The token of a token server's answer, fit for a header, appended to `out`. INVALID. */
SYN_MUST int syn_oci_token_parse(const char *data, size_t len, struct syn_buf *out,
                                 struct syn_err *err);
/** May `address` be asked? Those of this machine, of private and of special networks may not. */
bool syn_oci_address_public(const struct sockaddr *address);
bool syn_oci_address_loopback(const struct sockaddr *address);

/* --- one exchange (oci_exchange.c) ------------------------------------------------------------ */

/** A connection that is kept between exchanges, and the bounds of all of them. */
struct syn_oci_line {
    CURL *easy;
    const struct syn_oci_remote *remote;
    const atomic_bool *stop; /* or NULL: besides the remote's */
    int64_t deadline_ns;
};

struct syn_oci_exchange {
    /* asked */
    const char *method; /* NULL: GET */
    char url[SYN_OCI_URL_MAX];
    bool foreign;                      /* not the registry's own host: without its credentials */
    const struct syn_oci_source *body; /* or NULL; of it `body_len` bytes from `body_from` on */
    int64_t body_from, body_len;
    const char *content_type;  /* or NULL */
    const char *content_range; /* or NULL */
    const char *accept;        /* or NULL */
    const char *authorization; /* header value, or NULL */
    const char *ca_file;       /* or NULL: the system's */
    bool private_ok;           /* of this host's addresses */
    int64_t from;              /* first byte */
    int (*write)(void *arg, const void *data, size_t len, struct syn_err *err); /* of 200, 206 */
    void *arg;
    /* answered */
    long status;
    int64_t length;     /* -1: not said */
    int64_t range_from; /* of 206; -1: not said */
    int64_t range_end;  /* of an upload: so many bytes are there; -1: not said */
    int64_t chunk_min;  /* of an upload: pieces are at least so large; 0: not said */
    int64_t retry_after_ms;
    char media[SYN_OCI_MEDIA_MAX];
    char digest[SYN_IMAGE_DIGEST_MAX];
    char challenge[2048];
    char location[SYN_OCI_URL_MAX];
    /* private */
    int rc;
    bool refused; /* an address that must not be asked */
    bool plain;
    int64_t seen_bytes, moved_ns, junk_bytes;
    int64_t body_done, piece_from;
    struct syn_buf piece; /* of the body: [piece_from, + len) */
    const struct syn_oci_line *line;
    struct syn_err *err;
};

SYN_MUST int syn_oci_line_init(struct syn_oci_line *line, const struct syn_oci_remote *remote,
                               struct syn_err *err);
void syn_oci_line_fini(struct syn_oci_line *line);
/** Ask once. 0: there is an answer, of whatever status. UNAVAILABLE and TIMEOUT may be worth
 * another try; FORBIDDEN, CANCELED, NOMEM and what `write` gives are not. */
SYN_MUST int syn_oci_ask(struct syn_oci_line *line, struct syn_oci_exchange *exchange,
                         struct syn_err *err);
/** Replace url by where `location` leads. `*ret_same` tells whether that is the same host.
 * FORBIDDEN: a place that must not be asked. */
SYN_MUST int syn_oci_follow(struct syn_oci_exchange *exchange, bool *ret_same, struct syn_err *err);
/** "host" or "host:port" of a URL that may be asked, lower case. FORBIDDEN: not over TLS and not on
 *  this machine either. */
SYN_MUST int syn_oci_url_host(const char *url, char out[SYN_IMAGE_HOST_MAX], bool *ret_plain,
                              struct syn_err *err);
/** Wait; CANCELED, TIMEOUT (over the deadline). */
SYN_MUST int syn_oci_pause(const struct syn_oci_line *line, int64_t ms, struct syn_err *err);

/* --- the registry (oci_registry.c) ------------------------------------------------------------ */

struct syn_oci_endpoint {
    char host[SYN_IMAGE_HOST_MAX]; /* as references name it */
    const json_t *rule;
    bool mirror;
    char *authorization; /* header value, or NULL: not asked for yet */
};

struct syn_oci_registry {
    struct syn_oci_line line;
    struct syn_image_ref ref;
    bool push;
    char from[SYN_IMAGE_PATH_MAX]; /* of the same registry; "": none */
    struct syn_oci_endpoint endpoints[SYN_OCI_MIRRORS_MAX + 1];
    size_t count;
};

/** "https://HOST/v2/PATH/KIND/WHAT" */
void syn_oci_endpoint_url(const struct syn_oci_registry *registry,
                          const struct syn_oci_endpoint *endpoint, const char *kind,
                          const char *what, char out[SYN_OCI_URL_MAX]);
/** Ask until there is an answer that is neither a redirection nor a challenge. As syn_oci_ask(). */
SYN_MUST int syn_oci_endpoint_ask(struct syn_oci_registry *registry,
                                  struct syn_oci_endpoint *endpoint,
                                  struct syn_oci_exchange *exchange, struct syn_err *err);
/** How long to wait before try `n` + 1, or -1: it is not worth another. `rc` is ask()'s. */
int64_t syn_oci_again_ms(const struct syn_oci_registry *registry,
                         const struct syn_oci_exchange *exchange, int rc, unsigned n);

#endif
