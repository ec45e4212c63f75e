#include "cache_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/base/units.h>

#define CACHE_PATH_MAX    1024
#define KEEP_FREE_BYTES   (INT64_C(256) << 20)
#define GONE_PREFIX       ".gone-"
#define CACHE_ENTRIES_MAX 100000

static const char *const kind_names[] = {
    [AGT_CACHE_FILES] = "cache",
    [AGT_CACHE_IMAGES] = "images",
    [AGT_CACHE_SNAPSHOTS] = "snapshots",
};

/* ---- folders ---- */

int
agt_cache_path(const struct agt_cache *cache, enum agt_cache_kind kind, const char *cid, char *out,
               size_t cap, struct syn_err *err)
{
    if (snprintf(out, cap, "%s/%s/%s", cache->dir, kind_names[kind], cid) >= (int)cap)
        return SYN_FAIL(err, SYN_E_INVALID, "path of %s is too long", cid);
    return SYN_OK;
}

/* ---- sweeping ---- */

/* Entries are named by their CID; an image counts once its root folder has its name, a snapshot
 * once it has its manifest. */
static bool
is_whole(enum agt_cache_kind kind, const char *folder, const char *name)
{
    static const char *const last[] = {
        [AGT_CACHE_IMAGES] = "rootfs", [AGT_CACHE_SNAPSHOTS] = AGT_CACHE_MANIFEST};
    char file[CACHE_PATH_MAX];
    struct syn_cid cid;

    if (syn_cid_parse(name, strlen(name), &cid, NULL) < 0)
        return false;
    return kind == AGT_CACHE_FILES || (snprintf(file, sizeof(file), "%s/%s/%s", folder, name,
                                                last[kind]) < (int)sizeof(file) &&
                                       access(file, F_OK) == 0);
}

static int
sweep(const struct agt_cache *cache, enum agt_cache_kind kind, struct syn_err *err)
{
    char folder[CACHE_PATH_MAX];
    const struct dirent *entry;
    DIR *dir;
    int rc = agt_cache_path(cache, kind, "", folder, sizeof(folder), err);

    if (rc < 0)
        return rc;
    if (mkdir(folder, kind == AGT_CACHE_FILES ? 0711 : 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", folder);
    dir = opendir(folder);
    if (dir == NULL)
        return SYN_FAIL_SYS(err, errno, "reading %s", folder);
    while ((entry = readdir(dir)) != NULL) {
        char path[CACHE_PATH_MAX];

        if (syn_str_eq(entry->d_name, ".") || syn_str_eq(entry->d_name, "..") ||
            is_whole(kind, folder, entry->d_name) ||
            agt_cache_path(cache, kind, entry->d_name, path, sizeof(path), NULL) < 0)
            continue;
        syn_tree_remove(path);
    }
    (void)closedir(dir);
    return SYN_OK;
}

int
agt_cache_init(struct agt_cache *cache, const char *dir, int64_t bytes_max, struct syn_err *err)
{
    struct statvfs fs;
    int rc = SYN_OK;

    *cache = (struct agt_cache){.bytes_max = bytes_max, .keep_free_bytes = KEEP_FREE_BYTES};
    if (!syn_str_copy(cache->dir, sizeof(cache->dir), dir))
        return SYN_FAIL(err, SYN_E_INVALID, "the data folder's path is too long");
    if (bytes_max == 0 && statvfs(dir, &fs) < 0)
        return SYN_FAIL_SYS(err, errno, "looking at the disk of %s", dir);
    if (bytes_max == 0)
        cache->bytes_max = (int64_t)(fs.f_blocks * fs.f_frsize) / 2;
    for (size_t kind = 0; rc == SYN_OK && kind < SYN_LEN(kind_names); kind++)
        rc = sweep(cache, (enum agt_cache_kind)kind, err);
    return rc < 0 ? rc : syn_map_new(syn_free, &cache->sizes, err);
}

void
agt_cache_fini(struct agt_cache *cache)
{
    cache->sizes = syn_map_free(cache->sizes);
}

/* ---- entries ---- */

void
agt_cache_touch(const struct agt_cache *cache, enum agt_cache_kind kind, const char *cid)
{
    char path[CACHE_PATH_MAX];

    if (agt_cache_path(cache, kind, cid, path, sizeof(path), NULL) == SYN_OK)
        (void)utimensat(AT_FDCWD, path, NULL, 0);
}

int64_t
agt_cache_bytes(struct agt_cache *cache, enum agt_cache_kind kind, const char *cid)
{
    char path[CACHE_PATH_MAX];
    const char *key;
    const int64_t *known;
    int64_t *fresh;
    int64_t bytes;

    if (agt_cache_path(cache, kind, cid, path, sizeof(path), NULL) < 0 || access(path, F_OK) != 0)
        return 0;
    key = path + strlen(cache->dir) + 1;
    known = syn_map_find(cache->sizes, key);
    if (known != NULL)
        return *known;
    bytes = syn_tree_bytes(path);
    fresh = syn_calloc(1, sizeof(*fresh));
    if (fresh != NULL) { /* else it is measured again */
        *fresh = bytes;
        (void)!syn_map_put_take(cache->sizes, key, fresh, NULL);
    }
    return bytes;
}

struct entry {
    char cid[SYN_CID_TEXT_MAX];
    enum agt_cache_kind kind;
    int64_t bytes;
    struct timespec used;
    bool held;
};

struct listing {
    struct entry *entries;
    size_t count, room;
    int64_t bytes, held_bytes;
};

static void
listing_fini(struct listing *listing)
{
    syn_free(listing->entries);
}

static int
add_entry(struct agt_cache *cache, enum agt_cache_kind kind, const char *cid,
          struct listing *listing, struct syn_err *err)
{
    char path[CACHE_PATH_MAX];
    struct entry *entry;
    struct stat st;

    if (agt_cache_path(cache, kind, cid, path, sizeof(path), NULL) < 0 || lstat(path, &st) < 0)
        return SYN_OK;
    if (listing->count == CACHE_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d things are cached", CACHE_ENTRIES_MAX);
    if (listing->count == listing->room) {
        size_t room = listing->room == 0 ? 64 : 2 * listing->room;
        struct entry *grown = syn_realloc(listing->entries, room * sizeof(*grown));

        if (grown == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "listing what is cached");
        listing->entries = grown;
        listing->room = room;
    }
    entry = &listing->entries[listing->count];
    *entry = (struct entry){.kind = kind, .used = st.st_mtim};
    if (!syn_str_copy(entry->cid, sizeof(entry->cid), cid))
        return SYN_OK;
    entry->bytes = agt_cache_bytes(cache, kind, cid);
    entry->held = cache->in_use != NULL && cache->in_use(cache->arg, cid);
    listing->bytes += entry->bytes;
    listing->held_bytes += entry->held ? entry->bytes : 0;
    listing->count++;
    return SYN_OK;
}

static int
by_use(const void *left, const void *right)
{
    const struct timespec *a = &((const struct entry *)left)->used;
    const struct timespec *b = &((const struct entry *)right)->used;

    if (a->tv_sec != b->tv_sec)
        return a->tv_sec < b->tv_sec ? -1 : 1;
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

/* All entries, what was used longest ago first. */
static int
list_entries(struct agt_cache *cache, struct listing *ret, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t kind = 0; rc == SYN_OK && kind < SYN_LEN(kind_names); kind++) {
        char folder[CACHE_PATH_MAX];
        const struct dirent *entry;
        DIR *dir;

        rc = agt_cache_path(cache, (enum agt_cache_kind)kind, "", folder, sizeof(folder), err);
        dir = rc == SYN_OK ? opendir(folder) : NULL;
        while (dir != NULL && rc == SYN_OK && (entry = readdir(dir)) != NULL) {
            if (entry->d_name[0] != '.')
                rc = add_entry(cache, (enum agt_cache_kind)kind, entry->d_name, ret, err);
        }
        if (dir != NULL)
            (void)closedir(dir);
    }
    if (rc == SYN_OK && ret->count > 0)
        qsort(ret->entries, ret->count, sizeof(*ret->entries), by_use);
    return rc;
}

/* Renamed first: a kill in the middle leaves nothing under the entry's name. */
static bool
evict(struct agt_cache *cache, const struct entry *entry)
{
    char path[CACHE_PATH_MAX], gone[CACHE_PATH_MAX], bytes[SYN_FORMAT_MAX];
    char name[SYN_CID_TEXT_MAX + sizeof(GONE_PREFIX)];

    (void)snprintf(name, sizeof(name), GONE_PREFIX "%s", entry->cid);
    if (agt_cache_path(cache, entry->kind, entry->cid, path, sizeof(path), NULL) < 0 ||
        agt_cache_path(cache, entry->kind, name, gone, sizeof(gone), NULL) < 0 ||
        rename(path, gone) < 0)
        return false;
    (void)syn_map_remove(cache->sizes, path + strlen(cache->dir) + 1);
    syn_tree_remove(gone);
    syn_log_kv(SYN_LOG_INFO, "agent.cache-evicted", "cid", entry->cid, "kind",
               kind_names[entry->kind], "size", syn_format_bytes(entry->bytes, bytes), NULL);
    return access(gone, F_OK) != 0;
}

void
agt_cache_drop(struct agt_cache *cache, enum agt_cache_kind kind, const char *cid)
{
    struct entry entry = {.kind = kind, .bytes = agt_cache_bytes(cache, kind, cid)};

    if (syn_str_copy(entry.cid, sizeof(entry.cid), cid))
        (void)evict(cache, &entry);
}

void
agt_cache_expire(struct agt_cache *cache, enum agt_cache_kind kind, int64_t age_ms, int64_t now_ms)
{
    SYN_SCOPED(listing_fini) struct listing all = {0};

    if (list_entries(cache, &all, NULL) < 0)
        return;
    for (size_t i = 0; i < all.count; i++) {
        const struct entry *entry = &all.entries[i];
        int64_t used_ms = (int64_t)entry->used.tv_sec * 1000;

        if (entry->kind == kind && now_ms - used_ms > age_ms)
            (void)evict(cache, entry);
    }
}

/* ---- room ---- */

static int64_t
content_bytes(const struct agt_cache *cache)
{
    struct syn_content_usage usage;

    if (cache->content == NULL || syn_content_usage(cache->content, &usage, NULL) < 0)
        return 0;
    return (int64_t)usage.disk_bytes;
}

static int
no_roots(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    (void)arg;
    (void)ret_cid;
    (void)err;
    return 0;
}

/* All blocks: whatever is laid out needs them no more. */
static void
collect(const struct agt_cache *cache)
{
    struct syn_content_gc result;
    struct syn_err err = {0};

    if (cache->content != NULL &&
        syn_content_gc(cache->content, 0, no_roots, NULL, &result, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.collect-failed", &err);
}

static int64_t
disk_free(const struct agt_cache *cache)
{
    struct statvfs fs;

    if (statvfs(cache->dir, &fs) < 0)
        return 0;
    return (int64_t)(fs.f_bavail * fs.f_frsize) - cache->keep_free_bytes;
}

static int
fail_room(const struct agt_cache *cache, int64_t bytes, int64_t held, const char *what,
          struct syn_err *err)
{
    char need[SYN_FORMAT_MAX], most[SYN_FORMAT_MAX], used[SYN_FORMAT_MAX], left[SYN_FORMAT_MAX];

    return SYN_FAIL(err, SYN_E_NOSPACE,
                    "%.70s needs %s: this node caches %s at most (--cache-limit), %s are in use, "
                    "and its disk has room for %s",
                    what, syn_format_bytes(bytes, need), syn_format_bytes(cache->bytes_max, most),
                    syn_format_bytes(held, used),
                    syn_format_bytes(SYN_MAX(disk_free(cache), 0), left));
}

int
agt_cache_room(struct agt_cache *cache, int64_t bytes, const char *what, struct syn_err *err)
{
    SYN_SCOPED(listing_fini) struct listing all = {0};
    int64_t blocks = content_bytes(cache);
    bool collected = blocks == 0;
    size_t next = 0;
    int rc = list_entries(cache, &all, err);

    if (rc < 0)
        return rc;
    /* Not for nothing: if all that can go were gone, would it fit? */
    if (all.held_bytes + bytes > cache->bytes_max ||
        bytes > disk_free(cache) + blocks + all.bytes - all.held_bytes)
        return fail_room(cache, bytes, all.held_bytes, what, err);
    while (all.bytes + blocks + bytes > cache->bytes_max || bytes > disk_free(cache)) {
        if (!collected) {
            collect(cache);
            blocks = content_bytes(cache);
            collected = true;
            continue;
        }
        while (next < all.count && all.entries[next].held)
            next++;
        if (next == all.count)
            return fail_room(cache, bytes, all.held_bytes, what, err);
        if (evict(cache, &all.entries[next]))
            all.bytes -= all.entries[next].bytes;
        next++;
    }
    return SYN_OK;
}
