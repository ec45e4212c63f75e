/* A file or folder on this machine as a list of what is to be uploaded. Symbolic links are entries
 * of their own and never followed, so nothing outside the folder is ever read. */
#ifndef SYN_CLI_TREE_H
#define SYN_CLI_TREE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>

#define SYN_CLI_TREE_PATH_MAX    1000 /* what the server takes */
#define SYN_CLI_TREE_DEPTH_MAX   32
#define SYN_CLI_TREE_ENTRIES_MAX 1000000
#define SYN_CLI_TREE_KEY_MAX     48

struct syn_cli_tree_entry {
    char *path;   /* inside the folder; "" for a single file */
    char *target; /* of a symbolic link, or NULL */
    bool folder;  /* one that holds nothing: others come with what they hold */
    int64_t size_bytes;
    int64_t mtime_ns;
};

/** Embedded; zero-initialise, then syn_cli_tree_read(), then syn_cli_tree_fini(). */
struct syn_cli_tree {
    int fd;                             /* the folder, or the file */
    bool folder;                        /* a folder, not a single file */
    struct syn_cli_tree_entry *entries; /* by path */
    size_t count;
    size_t cap;
    int64_t size_bytes;             /* of all files */
    size_t skipped;                 /* sockets, devices, pipes */
    char key[SYN_CLI_TREE_KEY_MAX]; /* the same paths, sizes and times give the same key */
};

/**
 * List what is below `path`, which itself may be a link.
 *
 * `include` and `exclude` are lists of globs, or NULL; one with a slash is held against the whole
 * path, one without against every name. A folder that is excluded is not looked into; one that
 * holds nothing is only listed where everything is included. Owner: *ret is the caller's to fini,
 * also after a failure. Blocks: disk. Returns 0; NOTFOUND, IO, INVALID (a glob that is no text; a
 * `path` that is a device, pipe or socket; a file that says it is empty and is not), LIMIT, NOMEM.
 */
SYN_MUST int syn_cli_tree_read(const char *path, const json_t *include, const json_t *exclude,
                               struct syn_cli_tree *ret, struct syn_err *err);
void syn_cli_tree_fini(struct syn_cli_tree *tree);

#define SYN_CLI_HASH_BEGIN (((syn_u128)0x6c62272e07bb0142 << 64) | 0x62b821756295c58d)
/** FNV-1a of 128 bits: it need not resist anybody, only tell things of one account apart. */
void syn_cli_hash(syn_u128 *state, const void *data, size_t len);

#endif
