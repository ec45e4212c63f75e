/* Files, folders and symbolic links as blocks: dag-pb and UnixFS version 1, laid out by the profile
 * `unixfs-v1-2025` (IPIP-499), so that equal content has the CID that IPFS tools give it.
 *
 *   file of one chunk      the raw block itself
 *   larger file            a balanced tree: 1 MiB raw leaves, 1,024 links a node
 *   folder                 one node, links sorted by name bytes
 *   folder over 256 KiB    a hash trie (HAMT) of 256 ways on the name's murmur3-x64-64 hash
 *   symbolic link          a node whose data is the target
 *
 * Pure: blocks leave through the caller's `emit`. */
#ifndef SYNOR_INFRA_UNIXFS_H
#define SYNOR_INFRA_UNIXFS_H

#include <synor/base/buf.h>
#include <synor/infra/cid.h>

#define SYN_UNIXFS_CHUNK_BYTES  ((size_t)1 << 20)
#define SYN_UNIXFS_LINKS_MAX    1024
#define SYN_UNIXFS_SHARD_BYTES  ((size_t)256 << 10)
#define SYN_UNIXFS_SHARD_FANOUT 256
#define SYN_UNIXFS_NAME_MAX     255
#define SYN_UNIXFS_TARGET_MAX   4095
/** Levels of a file's tree or of a trie; 1,024^7 chunks are more than a uint64_t counts. */
#define SYN_UNIXFS_DEPTH_MAX 8
/** Largest block anyone here makes or takes. */
#define SYN_BLOCK_BYTES_MAX ((size_t)4 << 20)

enum syn_unixfs_type {
    SYN_UNIXFS_RAW = 0,
    SYN_UNIXFS_DIR = 1,
    SYN_UNIXFS_FILE = 2,
    SYN_UNIXFS_METADATA = 3,
    SYN_UNIXFS_SYMLINK = 4,
    SYN_UNIXFS_SHARD = 5,
};

/** A link of a node, or an entry of a folder. `name` is not terminated. */
struct syn_unixfs_link {
    struct syn_cid cid;
    const char *name;
    size_t name_len;
    uint64_t tsize; /* bytes of all blocks below, as they are encoded */
    uint64_t size;  /* of a file's link: bytes of content below */
};

/** A decoded block. Borrows the block's bytes: they must stay while the node is used. */
struct syn_unixfs_node {
    enum syn_unixfs_type type;
    const uint8_t *data; /* inline content, a link's target, or a shard's bit field */
    size_t data_len;
    uint64_t size; /* content bytes of a file; of a symbolic link its target's length */
    unsigned fanout;
    struct syn_unixfs_link *links;
    size_t count;
};

/**
 * Decode the block of a CID with that codec. A raw block is a file node with inline data.
 *
 * Owner: free with syn_unixfs_node_fini().
 * Returns 0; INVALID (not canonical dag-pb, not UnixFS, unsafe names, sizes that do not add up);
 * UNSUPPORTED (the Metadata type); NOMEM.
 */
SYN_MUST int syn_unixfs_decode(enum syn_codec codec, const void *data, size_t len,
                               struct syn_unixfs_node *ret_node, struct syn_err *err);
void syn_unixfs_node_fini(struct syn_unixfs_node *node);
/** The link whose name is `name` in a plain folder's node, or NULL. */
const struct syn_unixfs_link *syn_unixfs_find(const struct syn_unixfs_node *node, const char *name,
                                              size_t len);

/**
 * Find where `name` must be in a shard at `depth` (0 is the root).
 *
 * Sets *ret_link to the entry itself (its name still carries the shard's prefix) or to the shard to
 * go on in (*ret_deeper), or to NULL when the name is not there. LIMIT when the trie is too deep.
 */
SYN_MUST int syn_unixfs_shard_find(const struct syn_unixfs_node *node, unsigned depth,
                                   const char *name, size_t len,
                                   const struct syn_unixfs_link **ret_link, bool *ret_deeper,
                                   struct syn_err *err);
/** Hexadecimal digits before each name in a shard. */
unsigned syn_unixfs_shard_prefix(const struct syn_unixfs_node *node);

/** Could `name` be one path component: 1..255 bytes of UTF-8, no '/', not "." or ".."? */
bool syn_unixfs_name_ok(const char *name, size_t len);

/** Store a block under the CID of its bytes. `cid` is already computed. */
typedef int syn_unixfs_emit(void *arg, const struct syn_cid *cid, const void *data, size_t len,
                            struct syn_err *err);

/** The layout's measures; tests shrink them, everyone else passes NULL for the profile's. */
struct syn_unixfs_layout {
    size_t links_max;
    size_t shard_bytes;
};

/** Builds the tree of one file from its chunks, in order, holding at most one node a level. */
struct syn_unixfs_file;

/** `emit` and `layout` are kept until the file is freed. */
SYN_MUST int syn_unixfs_file_new(syn_unixfs_emit *emit, void *arg,
                                 const struct syn_unixfs_layout *layout,
                                 struct syn_unixfs_file **ret_file, struct syn_err *err);
struct syn_unixfs_file *syn_unixfs_file_free(struct syn_unixfs_file *file);
/** Append a chunk that is stored already: a raw block of `size` bytes, 1 to 1 MiB. */
SYN_MUST int syn_unixfs_file_add(struct syn_unixfs_file *file, const struct syn_cid *cid,
                                 uint64_t size, struct syn_err *err);
/** Emit the nodes still open. `ret_link` (name unset) names the file. An empty file is the empty
 * raw block, which is emitted here. The file takes no more chunks. */
SYN_MUST int syn_unixfs_file_finish(struct syn_unixfs_file *file, struct syn_unixfs_link *ret_link,
                                    struct syn_err *err);
/** Append the state between two chunks to `out`, so that an upload can go on in another process. */
SYN_MUST int syn_unixfs_file_save(const struct syn_unixfs_file *file, struct syn_buf *out,
                                  struct syn_err *err);
/** Take up a state that syn_unixfs_file_save() wrote, into a new file. INVALID when damaged. */
SYN_MUST int syn_unixfs_file_restore(struct syn_unixfs_file *file, const void *state, size_t len,
                                     struct syn_err *err);
/** Visit the links that are not yet below a node of their own. A result other than 0 ends it. */
SYN_MUST int syn_unixfs_file_each_link(const struct syn_unixfs_file *file,
                                       int (*each)(void *arg, const struct syn_cid *cid,
                                                   struct syn_err *err),
                                       void *arg, struct syn_err *err);
/** Bytes of content added so far. */
uint64_t syn_unixfs_file_size(const struct syn_unixfs_file *file);

/**
 * Emit the folder with these entries, whose blocks are stored already. Sorts `entries` in place.
 *
 * Returns 0; INVALID (a name that is unsafe or twice there); LIMIT (names whose hashes collide);
 * NOMEM; what `emit` returned.
 */
SYN_MUST int syn_unixfs_dir_build(struct syn_unixfs_link *entries, size_t count,
                                  const struct syn_unixfs_layout *layout, syn_unixfs_emit *emit,
                                  void *arg, struct syn_unixfs_link *ret_link, struct syn_err *err);
/** Emit a symbolic link. INVALID for an empty target or one over 4095 bytes. */
SYN_MUST int syn_unixfs_symlink_build(const char *target, size_t len, syn_unixfs_emit *emit,
                                      void *arg, struct syn_unixfs_link *ret_link,
                                      struct syn_err *err);

#endif
