/* Checkpoints and results: folders that the program writes become content.
 *
 * A file counts as settled when two looks, a second apart, see the same size, time and inode:
 * programs that write to another name and rename are always settled, those that write in place are
 * while they do not write. The settled files of one look are one checkpoint; a new set is a new
 * one.
 *
 * A program may save several times a second and keep only its newest files: no name then lives from
 * one look to the next. So a look opens what is new to it, and the next one asks the open files,
 * not their names, whether they have settled. A checkpoint is thus the folder as it was at the look
 * before, told with the step of that time. Refused: inotify, whose "closed after writing" gVisor
 * sends when it drops its own descriptor, which may be never.
 *
 * The program owns the folder: nothing in it is followed, and what is no file or folder is left
 * out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define FILES_MAX     10000
#define DEPTH_MAX     16
#define TREE_PATH_MAX 512
#define LOOK_EVERY_MS 1000
#define HELD_MAX      64 /* files of one look held open; the others must keep their names */

struct entry {
    char path[TREE_PATH_MAX];
    int64_t size;
    int64_t mtime_ns;
    uint64_t inode;
    int fd; /* held open, or -1 */
};

struct scan {
    struct entry *entries;
    size_t count, cap;
    int64_t step, epoch; /* what progress had told by then */
};

struct agt_snapshots {
    struct agt_instance *instance;
    struct scan last;  /* of the look before */
    struct scan saved; /* what the newest checkpoint consists of */
    int64_t looked_ms;
};

static void
scan_release(struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        if (scan->entries[i].fd >= 0)
            (void)close(scan->entries[i].fd);
        scan->entries[i].fd = -1;
    }
}

static void
scan_fini(struct scan *scan)
{
    scan_release(scan);
    syn_free(scan->entries);
    *scan = (struct scan){0};
}

static void
scan_move(struct scan *to, struct scan *from)
{
    scan_fini(to);
    *to = *from;
    *from = (struct scan){0};
}

int
agt_snapshots_new(struct agt_instance *instance, struct agt_snapshots **ret, struct syn_err *err)
{
    struct agt_snapshots *snapshots = syn_calloc(1, sizeof(*snapshots));

    if (snapshots == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for checkpoints");
    snapshots->instance = instance;
    *ret = snapshots;
    return SYN_OK;
}

struct agt_snapshots *
agt_snapshots_free(struct agt_snapshots *snapshots)
{
    if (snapshots == NULL)
        return NULL;
    scan_fini(&snapshots->last);
    scan_fini(&snapshots->saved);
    syn_free(snapshots);
    return NULL;
}

/* --- looking -----------------------------------------------------------------------------------
 */

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static int64_t
mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static struct entry
entry_of(const struct stat *st)
{
    return (struct entry){
        .size = st->st_size, .mtime_ns = mtime_of(st), .inode = st->st_ino, .fd = -1};
}

static int
add_entry(struct scan *scan, const char *path, const struct stat *st, struct syn_err *err)
{
    struct entry *entry;

    if (scan->count == FILES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d files", FILES_MAX);
    if (!syn_grow((void *)&scan->entries, &scan->cap, scan->count + 1, sizeof(*scan->entries)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to look at %zu files", scan->count);
    entry = &scan->entries[scan->count++];
    *entry = entry_of(st);
    (void)syn_str_copy(entry->path, sizeof(entry->path), path);
    return SYN_OK;
}

/* By the training contract: hidden files and *.tmp are the program's own. */
static bool
unfinished(const char *name)
{
    return name[0] == '.' || syn_str_ends(name, ".tmp");
}

/* Everything below the folder `fd`, which is closed. */
static int
scan_folder(struct scan *scan, int fd, const char *prefix, unsigned depth, struct syn_err *err)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *item;
    int rc = SYN_OK;

    if (dir == NULL) {
        (void)close(fd);
        return SYN_FAIL_SYS(err, errno, "reading %s", prefix);
    }
    while (rc == SYN_OK && (item = readdir(dir)) != NULL) {
        char path[TREE_PATH_MAX];
        struct stat st;

        if (unfinished(item->d_name) ||
            snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == '\0' ? "" : "/",
                     item->d_name) >= (int)sizeof(path) ||
            fstatat(dirfd(dir), item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode)) {
            rc = add_entry(scan, path, &st, err);
        } else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            int below =
                openat(dirfd(dir), item->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            if (below >= 0)
                rc = scan_folder(scan, below, path, depth + 1, err);
        }
    }
    (void)closedir(dir);
    return rc;
}

static int
look_at(const char *folder, struct scan *ret, struct syn_err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", folder);
    rc = scan_folder(ret, fd, "", 0, err);
    if (rc == SYN_OK && ret->count > 0)
        qsort(ret->entries, ret->count, sizeof(*ret->entries), by_path);
    return rc;
}

int
agt_snapshots_known(struct agt_snapshots *snapshots, struct syn_err *err)
{
    return look_at(snapshots->instance->paths->checkpoints, &snapshots->saved, err);
}

static bool
same(const struct entry *a, const struct entry *b)
{
    return a->size == b->size && a->mtime_ns == b->mtime_ns && a->inode == b->inode;
}

static const struct entry *
find_entry(const struct scan *scan, const struct entry *like)
{
    return scan->count == 0
               ? NULL
               : bsearch(like, scan->entries, scan->count, sizeof(*scan->entries), by_path);
}

/* Is it still what `entry` says, under its name as `now` saw it or as the file that is held? */
static bool
unchanged(const struct entry *entry, const struct scan *now)
{
    const struct entry *seen = find_entry(now, entry);
    struct stat st;
    struct entry held;

    if (seen != NULL && same(seen, entry))
        return true;
    if (entry->fd < 0 || fstat(entry->fd, &st) != 0)
        return false;
    held = entry_of(&st);
    return same(&held, entry);
}

/* Keep of a look what has not changed by the look `now`. */
static void
keep_settled(struct scan *scan, const struct scan *now)
{
    size_t kept = 0;

    for (size_t i = 0; i < scan->count; i++) {
        if (unchanged(&scan->entries[i], now))
            scan->entries[kept++] = scan->entries[i];
        else if (scan->entries[i].fd >= 0)
            (void)close(scan->entries[i].fd);
    }
    scan->count = kept;
}

static bool
equal(const struct scan *a, const struct scan *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->entries[i].path, b->entries[i].path) != 0 ||
            !same(&a->entries[i], &b->entries[i]))
            return false;
    }
    return true;
}

/* --- storing -----------------------------------------------------------------------------------
 */

/* Open a file of the program's folder; no link anywhere on the way leads out of it. */
static int
open_beneath(int folder, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
}

/* Is this still the file that the scan saw? The program may write or swap it at any time; then the
 * next look takes it. */
static int
check_same(int fd, const struct entry *entry, struct syn_err *err)
{
    struct stat st;
    struct entry now;

    if (fstat(fd, &st) != 0)
        return SYN_FAIL_SYS(err, errno, "looking at %s", entry->path);
    now = entry_of(&st);
    if (!S_ISREG(st.st_mode) || !same(&now, entry))
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s changed while it was read", entry->path);
    return SYN_OK;
}

/* Hold what `scan` saw and the look before did not; what was swapped since has no luck. */
static void
hold_new(const char *folder, struct scan *scan, const struct scan *before)
{
    int dir = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    unsigned held = 0;

    for (size_t i = 0; dir >= 0 && i < scan->count && held < HELD_MAX; i++) {
        struct entry *entry = &scan->entries[i];
        const struct entry *old = find_entry(before, entry);

        if (old != NULL && same(old, entry))
            continue;
        entry->fd = open_beneath(dir, entry->path);
        if (entry->fd >= 0 && check_same(entry->fd, entry, NULL) < 0) {
            (void)close(entry->fd);
            entry->fd = -1;
        }
        held += entry->fd >= 0;
    }
    if (dir >= 0)
        (void)close(dir);
}

static int
upload_file(struct agt_instance *instance, const char *upload, int folder,
            const struct entry *entry, struct syn_err *err)
{
    int fd =
        entry->fd >= 0 ? fcntl(entry->fd, F_DUPFD_CLOEXEC, 0) : open_beneath(folder, entry->path);
    int64_t received = 0;
    SYN_BUF(path);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", entry->path);
    rc = check_same(fd, entry, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    syn_buf_addf(&path, "/v1/uploads/%s/data?offset=0&size=%" PRId64 "&path=", upload, entry->size);
    syn_client_escape(&path, entry->path);
    rc = agt_upload(instance->client, syn_buf_text(&path), fd, 0, entry->size, &received, err);
    if (rc == SYN_OK)
        rc = check_same(fd, entry, err);
    (void)close(fd);
    if (rc == SYN_OK && received != entry->size)
        return SYN_FAIL(err, SYN_E_IO, "%s: sent %lld of %lld bytes", entry->path,
                        (long long)received, (long long)entry->size);
    return rc;
}

/* The files of `scan` in `folder` as one stored folder. */
static int
store(struct agt_instance *instance, const char *folder, const struct scan *scan,
      json_t **ret_answer, struct syn_err *err)
{
    int fd = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char path[160];
    SYN_JSON(kind);
    SYN_JSON(empty);
    SYN_JSON(upload);
    const char *id = "";
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", folder);
    kind = json_pack("{s:s}", "kind", "folder");
    empty = json_object();
    rc = agt_call(instance->agent, instance->client, "POST", "/v1/uploads", kind, &upload, err);
    if (rc == SYN_OK)
        id = syn_json_str(upload, "id", "");
    for (size_t i = 0; rc == SYN_OK && i < scan->count; i++)
        rc = upload_file(instance, id, fd, &scan->entries[i], err);
    (void)close(fd);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    if (rc == SYN_OK)
        rc = agt_call(instance->agent, instance->client, "POST", path, empty, ret_answer, err);
    if (rc < 0 && id[0] != '\0') {
        (void)snprintf(path, sizeof(path), "/v1/uploads/%s", id);
        if (agt_call(instance->agent, instance->client, "DELETE", path, NULL, NULL, NULL) < 0)
            syn_log_kv(SYN_LOG_DEBUG, "upload.left", "upload", id, NULL);
    }
    return rc;
}

/* Tell the server what was stored. */
static int
announce(struct agt_instance *instance, const char *what, const struct scan *scan,
         const json_t *stored, struct syn_err *err)
{
    char path[128];
    SYN_JSON(body);
    int rc;

    rc = syn_json_pack(&body, err, "{s:s, s:I, s:I, s:I}", "cid", syn_json_str(stored, "cid", ""),
                       "step", (json_int_t)scan->step, "epoch", (json_int_t)scan->epoch,
                       "size_bytes", (json_int_t)syn_json_i64(stored, "size_bytes", 0));
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/%s", instance->id, what);
    if (rc == SYN_OK)
        rc = agt_call(instance->agent, instance->client, "POST", path, body, NULL, err);
    if (rc == SYN_E_PRECONDITION) { /* it ended for the server: told before, or given up */
        syn_log_err(SYN_LOG_INFO, "instance.stored-late", err);
        return SYN_OK;
    }
    return rc;
}

/* What `scan` holds becomes a checkpoint, unless the newest one is just that. */
static int
save(struct agt_snapshots *snapshots, struct scan *scan, struct syn_err *err)
{
    struct agt_instance *instance = snapshots->instance;
    SYN_JSON(stored);
    int rc;

    if (scan->count == 0 || equal(scan, &snapshots->saved))
        return SYN_OK;
    rc = store(instance, instance->paths->checkpoints, scan, &stored, err);
    if (rc == SYN_OK)
        rc = announce(instance, "checkpoints", scan, stored, err);
    if (rc == SYN_OK) {
        scan_release(scan);
        scan_move(&snapshots->saved, scan);
    }
    return rc;
}

int
agt_snapshots_look(struct agt_snapshots *snapshots, bool final, struct syn_err *err)
{
    struct agt_instance *instance = snapshots->instance;
    const char *folder = instance->paths->checkpoints;
    int64_t now = syn_mono_ms(instance->agent->world);
    struct scan seen = {0};
    struct scan again = {0};
    int rc;

    if (!final && now - snapshots->looked_ms < LOOK_EVERY_MS)
        return SYN_OK;
    snapshots->looked_ms = now;
    rc = look_at(folder, &seen, err);
    if (rc == SYN_OK && final)
        rc = look_at(folder, &again, err);
    if (rc < 0) {
        scan_fini(&seen);
        scan_fini(&again);
        return rc;
    }
    agt_ship_progress(instance->ship, &seen.step, &seen.epoch);
    if (final) { /* nobody writes any more: what two looks at once see is all there is */
        scan_move(&snapshots->last, &seen);
        scan_move(&seen, &again);
    } else {
        hold_new(folder, &seen, &snapshots->last);
    }
    keep_settled(&snapshots->last, &seen);
    rc = save(snapshots, &snapshots->last, err);
    scan_move(&snapshots->last, &seen);
    return rc;
}

int
agt_snapshots_result(struct agt_snapshots *snapshots, struct syn_err *err)
{
    struct agt_instance *instance = snapshots->instance;
    struct scan found = {0};
    SYN_JSON(stored);
    int rc = look_at(instance->paths->output, &found, err);

    agt_ship_progress(instance->ship, &found.step, &found.epoch);
    if (rc == SYN_OK && found.count > 0) {
        rc = store(instance, instance->paths->output, &found, &stored, err);
        if (rc == SYN_OK)
            rc = announce(instance, "result", &found, stored, err);
    }
    scan_fini(&found);
    return rc;
}
