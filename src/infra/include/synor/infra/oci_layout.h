/* Images as folders: an OCI image layout (oci-layout, index.json, blobs/sha256/...) is opened, the
 * image for this platform chosen, and its layers laid over each other as one root folder.
 *
 * The layout comes from strangers. Every byte that is used is held against the digest that leads to
 * it, no link of the layout is followed, and whatever the layers say, nothing outside the target is
 * read or written. */
#ifndef SYNOR_INFRA_OCI_LAYOUT_H
#define SYNOR_INFRA_OCI_LAYOUT_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_OCI_LAYERS_MAX    128
#define SYN_OCI_MANIFESTS_MAX 256 /* in all indexes together */
#define SYN_OCI_NESTING_MAX   4   /* indexes within indexes */
#define SYN_OCI_LIST_MAX      1024
#define SYN_OCI_WORD_MAX      64  /* of an os or architecture, its zero included */
#define SYN_OCI_REF_MAX       256 /* of a ref name, its zero included */
#define SYN_OCI_ID_MAX        65535
#define SYN_OCI_PATH_MAX      4096
#define SYN_OCI_DEPTH_MAX     128

/** An opened layout and the image chosen in it. Immutable: any thread. */
struct syn_oci_layout;

/** Which image. Zeros mean: the only one there is for this machine. */
struct syn_oci_choice {
    const char *architecture; /* "amd64"; NULL: this machine's. The system is always "linux" */
    const char *ref; /* annotation org.opencontainers.image.ref.name in index.json, or NULL */
};

/** What the image says about running it. Lists are NULL-ended and never NULL, texts never NULL. */
struct syn_oci_config {
    const char *os;
    const char *architecture;
    const char *const *entrypoint;
    const char *const *cmd;
    const char *const *env; /* "NAME=value" */
    const char *working_dir;
    const char *user;        /* "", "user", "uid", "uid:gid", ... */
    const char *stop_signal; /* "", "SIGQUIT", "3", ... */
};

/** Bounds of one unpacking. */
struct syn_oci_limits {
    int64_t bytes_max; /* of all layers uncompressed, and of all files, each */
    int64_t entries_max;
    /** Numeric owners as the layers say (needs root). Otherwise all belongs to the caller. */
    bool keep_owner;
    /** Let everybody read and enter what the owner may: instances run as users of their own, and
     *  an image keeps nothing from the job that runs it. */
    bool open_modes;
};

struct syn_oci_unpacked {
    int64_t bytes; /* in files */
    int64_t entries;
    int64_t skipped; /* devices, pipes and sockets, which are never made */
};

/** "amd64", "arm64", ...: this machine in the words of images. Static. */
const char *syn_oci_architecture(void);

/**
 * Open the layout in folder `path` and choose the image; manifest and configuration are verified.
 *
 * Owner: *ret_layout is the caller's. Blocks: reads small files.
 * Returns 0; NOTFOUND (no layout there, or no such ref), UNSUPPORTED (nothing for this platform, or
 * a format that we do not read), INVALID (malformed, or several images to choose from), CORRUPT (a
 * blob is missing or is not what its digest says), LIMIT, IO, NOMEM.
 */
SYN_MUST int syn_oci_layout_open(const char *path, const struct syn_oci_choice *choice,
                                 struct syn_oci_layout **ret_layout, struct syn_err *err);
struct syn_oci_layout *syn_oci_layout_close(struct syn_oci_layout *layout);
void syn_oci_layout_close_scope(struct syn_oci_layout **slot);
/** Borrowed until close. */
const struct syn_oci_config *syn_oci_layout_config(const struct syn_oci_layout *layout);
/** "sha256:..." of the chosen manifest. Borrowed until close. */
const char *syn_oci_layout_digest(const struct syn_oci_layout *layout);
size_t syn_oci_layout_layers(const struct syn_oci_layout *layout);

/**
 * Unpack the layers, in order, as folder `target`, which must not exist: whole or not at all.
 *
 * It is put together in the sibling TARGET.partial (what an earlier crash left there is removed)
 * and renamed; one unpacking of a target at a time. Set-user-id bits, extended attributes and
 * access lists are dropped; devices, pipes and sockets are passed over.
 * Blocks: as long as the image is large.
 * Returns 0; EXISTS, CORRUPT (damage, or an entry that would leave the target), LIMIT (over a bound
 * of `limits`), UNSUPPORTED, NOSPACE, IO, NOMEM.
 */
SYN_MUST int syn_oci_layout_unpack(const struct syn_oci_layout *layout, const char *target,
                                   const struct syn_oci_limits *limits,
                                   struct syn_oci_unpacked *ret_unpacked, struct syn_err *err);

#endif
