/* Images in registries: a client of the OCI distribution API that takes nothing on trust.
 *
 * A registry is asked over TLS; without it only on this machine's loopback addresses. What comes is
 * held against the digest that leads to it, and against the size that was said, while it streams.
 * Credentials go to the registry that they are for and to the token servers it is known to have,
 * and are nowhere in messages. Private addresses are not asked unless the caller says so: whoever
 * names an image must not reach with it what only this machine can.
 *
 * Thread: one registry, one thread. Blocks: all but close. */
#ifndef SYNOR_INFRA_OCI_REGISTRY_H
#define SYNOR_INFRA_OCI_REGISTRY_H

#include <stdatomic.h>

#include <synor/base/buf.h>
#include <synor/base/image_ref.h>
#include <synor/base/json.h>
#include <synor/infra/crypto.h>

#define SYN_OCI_BLOB_MAX    ((int64_t)32 << 30)
#define SYN_OCI_MIRRORS_MAX 8
#define SYN_OCI_MEDIA_MAX   128

/** How to ask. Borrowed until the registry is closed. Zeros are the defaults. */
struct syn_oci_remote {
    const json_t *rules;       /* what syn_oci_rules_check() took, or NULL */
    const char *auth;          /* base64 of "user:password" for the reference's host, or NULL */
    bool any_address;          /* private networks and this machine may be asked, too */
    int64_t connect_ms;        /* 10 s */
    int64_t stall_ms;          /* without a byte: 30 s */
    int64_t total_ms;          /* for everything: 2 h */
    int64_t pause_ms;          /* before the first repetition, doubled for each more: 250 ms */
    unsigned tries_max;        /* of a request in a row that brings nothing: 4 */
    int64_t piece_bytes;       /* larger blobs are sent in pieces: 32 MiB */
    const atomic_bool *cancel; /* or NULL */
};

/** Check the rules of a platform: {"registries": {HOST: {"mirrors": [HOST], "token_hosts": [HOST],
 *  "tls": true, "ca_file": PATH, "private": true}}}. INVALID names the key. */
SYN_MUST int syn_oci_rules_check(const json_t *rules, struct syn_err *err);

/** Where an image is: its registry and the mirrors before it. */
struct syn_oci_registry;

SYN_MUST int syn_oci_registry_open(const struct syn_oci_remote *remote,
                                   const struct syn_image_ref *ref,
                                   struct syn_oci_registry **ret_registry, struct syn_err *err);
/** What is asked ends with CANCELED once `stop`, which must live as long, is true. */
void syn_oci_registry_stop_watch(struct syn_oci_registry *registry, const atomic_bool *stop);
/** Another line to the same registry, signed in as `registry` is, within the same time: for another
 *  thread; with `stop` as above. */
SYN_MUST int syn_oci_registry_open_beside(const struct syn_oci_registry *registry,
                                          const atomic_bool *stop,
                                          struct syn_oci_registry **ret_registry,
                                          struct syn_err *err);
/** NULL is fine. Returns NULL. */
struct syn_oci_registry *syn_oci_registry_close(struct syn_oci_registry *registry);
void syn_oci_registry_close_scope(struct syn_oci_registry **slot);

/**
 * Append the manifest or index that `what`, a tag or a digest, stands for; its digest is written to
 * `ret_digest`, and its media type as the registry says to `ret_media`.
 *
 * Returns 0; NOTFOUND; FORBIDDEN (credentials missing, refused, or asked for by somebody who must
 * not have them; a private address; a way without TLS); CORRUPT (not what its digest says); TOOBIG;
 * TIMEOUT; UNAVAILABLE; CANCELED; UNSUPPORTED; NOMEM.
 */
SYN_MUST int syn_oci_registry_manifest(struct syn_oci_registry *registry, const char *what,
                                       struct syn_buf *out, char ret_digest[SYN_IMAGE_DIGEST_MAX],
                                       char ret_media[SYN_OCI_MEDIA_MAX], struct syn_err *err);

/** Takes a blob. `begin` may be called again: what came before was of no use. */
struct syn_oci_sink {
    int (*begin)(void *arg, struct syn_err *err);
    int (*write)(void *arg, const void *data, size_t len, struct syn_err *err);
    void *arg;
    /** Told at each multiple of `stride` bytes, with the hash of what came so far. Or NULL. */
    int (*mark)(void *arg, int64_t done, const struct syn_sha256 *hash, struct syn_err *err);
    int64_t stride;
    /** The sink has the first `from` bytes, which have this hash: `begin` is not called before the
     *  first try. Or 0. */
    int64_t from;
    struct syn_sha256 hash;
};

/** Give the blob to `sink`, from where a connection broke on when one does. 0 means that all bytes
 *  came and are what `digest` says. Returns as above, or the sink's error. */
SYN_MUST int syn_oci_registry_blob(struct syn_oci_registry *registry, const char *digest,
                                   int64_t size, const struct syn_oci_sink *sink,
                                   struct syn_err *err);

/* ---- sending (oci_upload.c) ------------------------------------------------------------------ */

/** The same for sending: the registry alone, no mirror before it. `from`: a repository of the same
 *  registry that may have the blobs, or NULL. */
SYN_MUST int syn_oci_registry_open_push(const struct syn_oci_remote *remote,
                                        const struct syn_image_ref *ref, const char *from,
                                        struct syn_oci_registry **ret_registry,
                                        struct syn_err *err);

/** Gives the bytes of a blob: any part, also again. */
struct syn_oci_source {
    int64_t size;
    /** Append the `len` bytes from `at` on. */
    int (*read)(void *arg, int64_t at, int64_t len, struct syn_buf *out, struct syn_err *err);
    void (*sent)(void *arg, int64_t bytes); /* so many are on their way; may go back. Or NULL */
    void *arg;
};

enum syn_oci_sent {
    SYN_OCI_SENT,    /* byte by byte */
    SYN_OCI_THERE,   /* the repository had it */
    SYN_OCI_MOUNTED, /* another repository of the registry had it */
};

/**
 * See to it that the repository has the blob: not at all when it has it, from `from` when that has
 * it, else in one request, or, when it is large, in pieces, from where a connection broke on.
 *
 * Returns 0; FORBIDDEN; NOTFOUND (no such repository); TOOBIG; UNSUPPORTED (a registry that takes
 * nothing); CORRUPT (it lies); TIMEOUT; UNAVAILABLE; CANCELED; NOMEM; what `source` gives.
 */
SYN_MUST int syn_oci_registry_send(struct syn_oci_registry *registry, const char *digest,
                                   const struct syn_oci_source *source, enum syn_oci_sent *ret_how,
                                   struct syn_err *err);
/** Give it the manifest under the reference's tag, or without one under its digest, once it has all
 *  blobs. CORRUPT: it says that it has something else. Returns as above. */
SYN_MUST int syn_oci_registry_send_manifest(struct syn_oci_registry *registry,
                                            const struct syn_buf *text, const char *media,
                                            const char *digest, struct syn_err *err);

#endif
