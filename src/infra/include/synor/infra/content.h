/* The content store: files and folders under CIDs (UnixFS, profile `unixfs-v1-2025`), deduplicated,
 * compressed where it helps, encrypted when a key is given, verified on every read.
 *
 * Names and pins live elsewhere; what is reachable from none of them is removed by
 * syn_content_gc(). Everything that was committed survives a kill of the process or the machine at
 * any point; what was not committed leaves nothing behind. One process at a time has a store open.
 *
 * Thread: every function may be called from any thread; one put, one import belongs to one thread
 * at a time. Blocks: all of them (disk); call from a pool. */
#ifndef SYNOR_INFRA_CONTENT_H
#define SYNOR_INFRA_CONTENT_H

#include <sys/types.h>
#include <sys/uio.h>

#include <synor/base/buf.h>
#include <synor/infra/cid.h>
#include <synor/infra/unixfs.h>

struct syn_content;

/** The calls that write; tests make them fail. Each is as its namesake in libc. */
struct syn_content_io {
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*ftruncate)(int fd, off_t size);
    int (*renameat2)(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
};

struct syn_content_opts {
    const char *dir;      /* made when missing */
    const char *key_file; /* 32 raw bytes or 64 hex digits; NULL: new blocks stay plain */
    const char *const *old_key_files; /* NULL-ended, or NULL: keys of blocks written before */
    bool without_key;        /* open although a key is not given; what it seals is UNAVAILABLE */
    unsigned threads;        /* workers; 0: one a processor, at most 8 */
    uint64_t pack_bytes_max; /* 0: 256 MiB */
    const struct syn_content_io *io; /* NULL: libc's. Kept until close. */
};

/**
 * Open or make the store in `opts->dir`.
 *
 * Leftovers of a crash are removed; an index that is missing is rebuilt from the blocks, one of an
 * older version is brought up to date.
 * Returns 0; CONFLICT (another process has it open); UNAVAILABLE (blocks are sealed under a key
 * that is not given; the message has its id); UNSUPPORTED (of a newer version); CORRUPT; INVALID
 * (key file); NOSPACE; IO; NOMEM.
 */
SYN_MUST int syn_content_open(const struct syn_content_opts *opts, struct syn_content **ret_store,
                              struct syn_err *err);
/** No put, read or gc may be running. NULL is fine. Returns NULL. */
struct syn_content *syn_content_close(struct syn_content *store);

/* ---- putting --------------------------------------------------------------------------------- */

/** A file that comes as a stream. */
struct syn_content_put;

SYN_MUST int syn_content_put_new(struct syn_content *store, struct syn_content_put **ret_put,
                                 struct syn_err *err);
/** Go on with a file that syn_content_put_save() wrote down, maybe in another process. NOTFOUND
 * when its blocks were collected meanwhile. */
SYN_MUST int syn_content_put_resume(struct syn_content *store, const void *state, size_t len,
                                    struct syn_content_put **ret_put, struct syn_err *err);
/** After a failure every later call gives the same failure; free the put. */
SYN_MUST int syn_content_put_write(struct syn_content_put *put, const void *data, size_t len,
                                   struct syn_err *err);
/** Make all whole chunks so far durable and append the state to `state`; *ret_offset is where the
 *  file goes on (a multiple of 1 MiB). The put stays usable. */
SYN_MUST int syn_content_put_save(struct syn_content_put *put, struct syn_buf *state,
                                  uint64_t *ret_offset, struct syn_err *err);
/** End the file and make it durable. `ret_size` may be NULL. The put must still be freed. */
SYN_MUST int syn_content_put_commit(struct syn_content_put *put, struct syn_cid *ret_cid,
                                    uint64_t *ret_size, struct syn_err *err);
/** Without a commit: nothing of it stays. NULL is fine. Returns NULL. */
struct syn_content_put *syn_content_put_free(struct syn_content_put *put);

/** Called now and then with the bytes read so far; a result other than 0 cancels (CANCELED). */
typedef int syn_content_progress(void *arg, uint64_t bytes);

struct syn_content_tally {
    uint64_t files;
    uint64_t folders;
    uint64_t links;
    uint64_t bytes;
};

/** Put a file or a folder with everything in it. Symbolic links inside are kept as such; `path`
 *  itself is followed. INVALID names the first thing that is none of these. `ret_tally` may be
 * NULL. */
SYN_MUST int syn_content_put_path(struct syn_content *store, const char *path,
                                  syn_content_progress *progress, void *arg,
                                  struct syn_cid *ret_cid, struct syn_content_tally *ret_tally,
                                  struct syn_err *err);

struct syn_content_entry {
    const char *name;
    struct syn_cid cid;
};

/** Make a folder of things that are stored already. NOTFOUND names the entry that is not. */
SYN_MUST int syn_content_put_dir(struct syn_content *store, const struct syn_content_entry *entries,
                                 size_t count, struct syn_cid *ret_cid, struct syn_err *err);
SYN_MUST int syn_content_put_symlink(struct syn_content *store, const char *target,
                                     struct syn_cid *ret_cid, struct syn_err *err);

/* ---- looking --------------------------------------------------------------------------------- */

enum syn_content_type { SYN_CONTENT_FILE, SYN_CONTENT_DIR, SYN_CONTENT_SYMLINK };

struct syn_content_stat {
    enum syn_content_type type;
    uint64_t size;  /* content of a file, target of a link; of a folder that of all blocks below */
    uint64_t links; /* blocks directly below this one; entries of a plain folder */
    bool sharded;   /* a folder kept as a trie */
};

/** "file", "folder" or "symlink". */
const char *syn_content_type_name(enum syn_content_type type);
SYN_MUST int syn_content_stat(struct syn_content *store, const struct syn_cid *cid,
                              struct syn_content_stat *ret_stat, struct syn_err *err);
/** Walk "a/b/c" below a folder; "" is the folder itself. NOTFOUND names the part that is missing;
 *  INVALID for "..", or a file on the way. Symbolic links are not followed. */
SYN_MUST int syn_content_resolve(struct syn_content *store, const struct syn_cid *cid,
                                 const char *path, struct syn_cid *ret_cid, struct syn_err *err);

struct syn_content_item {
    const char *name; /* terminated; borrowed for the call */
    struct syn_cid cid;
    enum syn_content_type type;
    uint64_t size; /* as syn_content_stat's */
};

/** A result other than 0 ends the listing and is returned by it. */
typedef int syn_content_item_fn(void *arg, const struct syn_content_item *item);

/** Which entries to list; `more` is set when there are others after them. */
struct syn_content_page {
    uint64_t skip;
    uint64_t limit;
    bool more;
};

/** List a folder's entries in its own order (by name; by hash where it is sharded). */
SYN_MUST int syn_content_list(struct syn_content *store, const struct syn_cid *cid,
                              struct syn_content_page *page, syn_content_item_fn *item, void *arg,
                              struct syn_err *err);
/** Append the target of a symbolic link. */
SYN_MUST int syn_content_readlink(struct syn_content *store, const struct syn_cid *cid,
                                  struct syn_buf *out, struct syn_err *err);

/* ---- reading --------------------------------------------------------------------------------- */

/** Take the next bytes. < 0 ends the read and is returned by it. */
typedef int syn_content_sink(void *arg, const void *data, size_t len, struct syn_err *err);

/** Give `len` bytes of a file from `offset` (or what there is of them) to `sink`, in order, each
 *  block verified first. CORRUPT names the damaged block; NOTFOUND a missing one. */
SYN_MUST int syn_content_read(struct syn_content *store, const struct syn_cid *cid, uint64_t offset,
                              uint64_t len, syn_content_sink *sink, void *arg, struct syn_err *err);
/** The same to a file descriptor (pipe, socket, file). */
SYN_MUST int syn_content_read_fd(struct syn_content *store, const struct syn_cid *cid,
                                 uint64_t offset, uint64_t len, int fd, struct syn_err *err);

enum syn_content_get_flags {
    SYN_CONTENT_GET_REPLACE = 1, /* an existing file, link or folder of that name gives way */
    SYN_CONTENT_GET_SYNC = 2,    /* durable when done */
    SYN_CONTENT_GET_EXEC = 4,    /* files may be executed: content does not know which should */
};

/** Write a file, folder or link to `path`: complete under its name, or not at all. EXISTS unless
 *  REPLACE is set. Files are made with mode 0644 (0755 with EXEC), folders 0755, less the umask. */
SYN_MUST int syn_content_get(struct syn_content *store, const struct syn_cid *cid, const char *path,
                             unsigned flags, syn_content_progress *progress, void *arg,
                             struct syn_err *err);

/* ---- blocks and CAR -------------------------------------------------------------------------- */

/** `*ret_has` tells whether the block is there and can be read, as far as is known without reading
 * it. */
SYN_MUST int syn_content_has_block(struct syn_content *store, const struct syn_cid *cid,
                                   bool *ret_has, struct syn_err *err);
/** Append the block's bytes. NOTFOUND, CORRUPT. */
SYN_MUST int syn_content_get_block(struct syn_content *store, const struct syn_cid *cid,
                                   struct syn_buf *out, struct syn_err *err);
/** Store one block durably. INVALID when `data` is not what `cid` says, or is no UnixFS. */
SYN_MUST int syn_content_put_block(struct syn_content *store, const struct syn_cid *cid,
                                   const void *data, size_t len, struct syn_err *err);

/** Write the DAG below `roots` as a CAR version 1, each block once, parents first. */
SYN_MUST int syn_content_car_export(struct syn_content *store, const struct syn_cid *roots,
                                    size_t count, syn_content_sink *sink, void *arg,
                                    struct syn_err *err);

/** A CAR that comes as a stream. */
struct syn_content_car;

#define SYN_CONTENT_CAR_ROOTS_MAX 1024

SYN_MUST int syn_content_car_new(struct syn_content *store, struct syn_content_car **ret_car,
                                 struct syn_err *err);
SYN_MUST int syn_content_car_write(struct syn_content_car *car, const void *data, size_t len,
                                   struct syn_err *err);
/** Check that all blocks below the roots are there, and make them durable. Roots are borrowed until
 *  the import is freed. NOTFOUND when a block is missing; INVALID when the CAR ends inside a block.
 */
SYN_MUST int syn_content_car_commit(struct syn_content_car *car, const struct syn_cid **ret_roots,
                                    size_t *ret_count, struct syn_err *err);
/** Without a commit: nothing of it stays. NULL is fine. Returns NULL. */
struct syn_content_car *syn_content_car_free(struct syn_content_car *car);

/* ---- keeping --------------------------------------------------------------------------------- */

/** Give the next root: 1 and *ret_cid set, 0 at the end, < 0 to give up. */
typedef int syn_content_roots(void *arg, struct syn_cid *ret_cid, struct syn_err *err);

/** Time for a caller to name or pin what it has put; also what open puts refer to is kept. */
#define SYN_CONTENT_GRACE_MS (INT64_C(24) * 3600 * 1000)

/** For giving content a name while gc may run: open a guard, add the content or put it, write the
 * name so that gc's roots have it, free the guard. A gc that asked for its roots before spares what
 * the guard held. */
struct syn_content_guard;

SYN_MUST int syn_content_guard_new(struct syn_content *store, struct syn_content_guard **ret_guard,
                                   struct syn_err *err);
/** Keep the block and everything below it. NOTFOUND: it is not there, or no longer. */
SYN_MUST int syn_content_guard_add(struct syn_content_guard *guard, const struct syn_cid *cid,
                                   struct syn_err *err);
/** NULL is fine. Returns NULL. */
struct syn_content_guard *syn_content_guard_free(struct syn_content_guard *guard);
void syn_content_guard_free_scope(struct syn_content_guard **slot);

struct syn_content_gc {
    uint64_t blocks_kept;
    uint64_t blocks_removed;
    uint64_t bytes_freed;   /* on disk */
    uint64_t bytes_waiting; /* on disk, of removed blocks: given back with the rest of their pack */
};

/** Remove every block that no root reaches, no guard holds, and that was not put within the last
 * `grace_ms` (of a block that was stored already, give or take ten minutes). A root or block that
 * is missing or damaged ends it with NOTFOUND or CORRUPT and removes nothing.
 */
SYN_MUST int syn_content_gc(struct syn_content *store, int64_t grace_ms, syn_content_roots *roots,
                            void *arg, struct syn_content_gc *ret_result, struct syn_err *err);

struct syn_content_verify {
    uint64_t blocks;
    uint64_t bytes; /* content */
    uint64_t bad;
    uint64_t plain;     /* stored without encryption */
    uint64_t encrypted; /* under the current key or an old one */
    uint64_t old_key;   /* of these, under an old one */
};

/** One damaged block and what is wrong with it. */
typedef void syn_content_bad(void *arg, const struct syn_cid *cid, const struct syn_err *why);

/** Read and check every block. Damage is counted and told to `bad` (may be NULL), not returned. As
 * with every read, the store remembers it: putting the same content again writes those blocks anew,
 * and a block that reads well again is no longer taken as damaged. */
SYN_MUST int syn_content_verify(struct syn_content *store, syn_content_bad *bad, void *bad_arg,
                                syn_content_progress *progress, void *progress_arg,
                                struct syn_content_verify *ret_report, struct syn_err *err);

/** Count the blocks at and below `cid` that are missing, known to be damaged or without their key:
 * after a verify, what is wrong with it. Nodes are read, leaves are not. */
SYN_MUST int syn_content_damage(struct syn_content *store, const struct syn_cid *cid,
                                uint64_t *ret_bad, struct syn_err *err);

struct syn_content_usage {
    uint64_t blocks;
    uint64_t bytes;        /* of the blocks' content */
    uint64_t stored_bytes; /* of their records: compressed, or slices of others */
    uint64_t disk_bytes;   /* of the pack files: with what gc has not given back */
    uint64_t put_bytes;    /* given to the store since it was made, duplicates included */
};

SYN_MUST int syn_content_usage(struct syn_content *store, struct syn_content_usage *ret_usage,
                               struct syn_err *err);

#endif
