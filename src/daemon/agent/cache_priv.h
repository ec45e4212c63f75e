/* What the agent keeps on disk so as not to fetch it again, within a limit. */
#ifndef SYN_AGENT_CACHE_PRIV_H
#define SYN_AGENT_CACHE_PRIV_H

#include <synor/base/map.h>
#include <synor/infra/content.h>

/* Four folders of DATA/agent count together:
 *
 *      content/            blocks on their way: needed only until they are laid out
 *      cache/CID           datasets, code, checkpoints, image layouts, as files
 *      images/CID/rootfs   unpacked images
 *      snapshots/CID       of functions, named by all that they depend on: see saved.c
 *
 * Each entry is complete or absent under its name. Room is made by giving up blocks first, then
 * what was used longest ago; what an instance of this node names stays. Nothing is remembered but
 * what the disk tells: the time of the last use is the entry's own modification time.
 *
 * Thread: one at a time; the agent's fetch lock. */
struct agt_cache {
    char dir[512]; /* DATA/agent */
    int64_t bytes_max;
    int64_t keep_free_bytes; /* of the disk, whatever the limit allows */
    struct syn_content *content;
    bool (*in_use)(void *arg, const char *cid);
    void *arg;
    struct syn_map *sizes; /* of entries that were measured: "cache/CID" -> int64_t */
};

#define AGT_CACHE_MANIFEST "manifest.json"

enum agt_cache_kind { AGT_CACHE_FILES, AGT_CACHE_IMAGES, AGT_CACHE_SNAPSHOTS };

/** `bytes_max` 0: half of the file system. Removes what a kill left half made or half removed.
 *  `content` and `arg` must outlive the cache. Returns 0; IO, NOMEM. */
SYN_MUST int agt_cache_init(struct agt_cache *cache, const char *dir, int64_t bytes_max,
                            struct syn_err *err);
void agt_cache_fini(struct agt_cache *cache);
/** The entry's path, there or not, into out[cap]. */
SYN_MUST int agt_cache_path(const struct agt_cache *cache, enum agt_cache_kind kind,
                            const char *cid, char *out, size_t cap, struct syn_err *err);
/** The entry was used just now. */
void agt_cache_touch(const struct agt_cache *cache, enum agt_cache_kind kind, const char *cid);
/** Remove the entry, if it is there. */
void agt_cache_drop(struct agt_cache *cache, enum agt_cache_kind kind, const char *cid);
/** Remove what nobody used for `age_ms`, by the wall clock. */
void agt_cache_expire(struct agt_cache *cache, enum agt_cache_kind kind, int64_t age_ms,
                      int64_t now_ms);
/** What the entry takes on disk; 0 when it is not there. Blocks: walks it the first time. */
int64_t agt_cache_bytes(struct agt_cache *cache, enum agt_cache_kind kind, const char *cid);
/** Give up as much as it takes for `bytes` more, which `what` is about to need. NOSPACE when that
 *  cannot be had; then all that can be given up is gone only if it would have been enough. */
SYN_MUST int agt_cache_room(struct agt_cache *cache, int64_t bytes, const char *what,
                            struct syn_err *err);

#endif
