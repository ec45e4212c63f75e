/* Pack files: packs/00000001.pack, ... Each is only appended to, by one pwritev a record, at
 * offsets handed out under a lock: writers of different batches interleave without waiting for one
 * another's disk. A pack that has reached its limit is never written again. Readers share
 * descriptors. */
#include "block_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>

#define NAME_LEN    13 /* "00000001.pack" */
#define NAME_FORMAT "%08x.pack"
#define OPEN_MAX    64 /* descriptors kept; those in use come on top */
/* Begin writing back early, so that the sync at the end has little left to wait for. */
#define WRITEBACK_BYTES ((uint64_t)8 << 20)

struct pack {
    struct pack *next;
    uint32_t id;
    int fd;
    unsigned refs;
    bool cached; /* in the list; the last user of one that is not closes it */
};

struct syn_packs {
    pthread_mutex_t lock;
    const struct syn_content_io *io;
    int dir;
    uint64_t bytes_max;
    struct pack *cache; /* most recently used first */
    unsigned cached;
    struct pack *current; /* being appended to, or NULL */
    uint64_t current_end;
    uint64_t written_back;
    uint32_t last_id;
    uint32_t sealed_id; /* packs up to this one take no more */
};

static void
pack_name(uint32_t id, char out[static NAME_LEN + 1])
{
    (void)snprintf(out, NAME_LEN + 1, NAME_FORMAT, id);
}

static SYN_MUST bool
parse_name(const char *name, uint32_t *ret_id)
{
    uint32_t id = 0;
    char again[NAME_LEN + 1];

    if (strlen(name) != NAME_LEN)
        return false;
    for (size_t i = 0; i < 8; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = strchr(digits, name[i]);

        if (digit == NULL || *digit == '\0')
            return false;
        id = id << 4 | (uint32_t)(digit - digits);
    }
    pack_name(id, again);
    *ret_id = id;
    return id != 0 && strcmp(again, name) == 0;
}

int
syn_packs_open(const char *dir, uint64_t bytes_max, const struct syn_content_io *io,
               struct syn_packs **ret_packs, struct syn_err *err)
{
    struct syn_packs *packs = syn_calloc(1, sizeof(*packs));

    if (packs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the packs");
    packs->io = io;
    packs->bytes_max = bytes_max;
    packs->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (packs->dir < 0) {
        int errnum = errno;

        syn_free(packs);
        return SYN_FAIL_SYS(err, errnum, "opening %s", dir);
    }
    (void)pthread_mutex_init(&packs->lock, NULL);
    *ret_packs = packs;
    return SYN_OK;
}

static void
pack_unref_locked(struct pack *pack)
{
    assert(pack->refs > 0);
    pack->refs--;
    if (pack->refs == 0 && !pack->cached) {
        (void)close(pack->fd);
        syn_free(pack);
    }
}

static void
pack_unref(struct syn_packs *packs, struct pack *pack)
{
    (void)pthread_mutex_lock(&packs->lock);
    pack_unref_locked(pack);
    (void)pthread_mutex_unlock(&packs->lock);
}

static void
uncache(struct syn_packs *packs, struct pack **slot)
{
    struct pack *pack = *slot;

    *slot = pack->next;
    packs->cached--;
    pack->cached = false;
    pack->refs++;
    pack_unref_locked(pack);
}

struct syn_packs *
syn_packs_close(struct syn_packs *packs)
{
    if (packs == NULL)
        return NULL;
    if (packs->current != NULL)
        pack_unref_locked(packs->current);
    while (packs->cache != NULL) {
        assert(packs->cache->refs == 0);
        uncache(packs, &packs->cache);
    }
    (void)close(packs->dir);
    (void)pthread_mutex_destroy(&packs->lock);
    syn_free(packs);
    return NULL;
}

/* Put a new descriptor in front of the cache, with one reference; the oldest makes room. */
static SYN_MUST int
cache_fd(struct syn_packs *packs, uint32_t id, int fd, struct pack **ret_pack, struct syn_err *err)
{
    struct pack *pack = syn_calloc(1, sizeof(*pack));

    if (pack == NULL) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a pack");
    }
    if (packs->cached >= OPEN_MAX) {
        struct pack **slot = &packs->cache;

        assert(*slot != NULL);
        while ((*slot)->next != NULL)
            slot = &(*slot)->next;
        uncache(packs, slot);
    }
    *pack = (struct pack){.next = packs->cache, .id = id, .fd = fd, .refs = 1, .cached = true};
    packs->cache = pack;
    packs->cached++;
    *ret_pack = pack;
    return SYN_OK;
}

static SYN_MUST int
pack_get(struct syn_packs *packs, uint32_t id, struct pack **ret_pack, struct syn_err *err)
{
    char name[NAME_LEN + 1];
    int fd;
    int rc;

    (void)pthread_mutex_lock(&packs->lock);
    for (struct pack **slot = &packs->cache; *slot != NULL; slot = &(*slot)->next) {
        struct pack *pack = *slot;

        if (pack->id == id) {
            *slot = pack->next;
            pack->next = packs->cache;
            packs->cache = pack;
            pack->refs++;
            (void)pthread_mutex_unlock(&packs->lock);
            *ret_pack = pack;
            return SYN_OK;
        }
    }
    pack_name(id, name);
    fd = openat(packs->dir, name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        rc = SYN_FAIL_SYS(err, errno, "opening pack %s", name);
    else
        rc = cache_fd(packs, id, fd, ret_pack, err);
    (void)pthread_mutex_unlock(&packs->lock);
    return rc;
}

/* A new current pack. Its name becomes durable with the first syn_packs_sync(). */
static SYN_MUST int
begin_pack(struct syn_packs *packs, struct syn_err *err)
{
    char name[NAME_LEN + 1];
    struct pack *pack = NULL;
    int fd;
    int rc;

    if (packs->current != NULL) {
        pack_unref_locked(packs->current);
        packs->current = NULL;
    }
    if (packs->last_id == UINT32_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the content store has used up its pack numbers");
    pack_name(packs->last_id + 1, name);
    fd = openat(packs->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making pack %s", name);
    rc = cache_fd(packs, packs->last_id + 1, fd, &pack, err);
    if (rc < 0) {
        (void)unlinkat(packs->dir, name, 0);
        return rc;
    }
    packs->last_id++;
    packs->current = pack;
    packs->current_end = 0;
    packs->written_back = 0;
    return SYN_OK;
}

/* Give out the next `len` bytes of the current pack. */
static SYN_MUST int
reserve(struct syn_packs *packs, size_t len, struct pack **ret_pack, uint64_t *ret_offset,
        uint64_t *ret_flush_from, struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&packs->lock);
    if (packs->current == NULL ||
        (packs->current_end > 0 && packs->current_end + len > packs->bytes_max))
        rc = begin_pack(packs, err);
    if (rc == 0) {
        assert(packs->current != NULL);
        *ret_pack = packs->current;
        packs->current->refs++;
        *ret_offset = packs->current_end;
        packs->current_end += len;
        *ret_flush_from = UINT64_MAX;
        if (*ret_offset - packs->written_back >= WRITEBACK_BYTES) {
            *ret_flush_from = packs->written_back;
            packs->written_back = *ret_offset;
        }
    }
    (void)pthread_mutex_unlock(&packs->lock);
    return rc;
}

static SYN_MUST int
write_all(const struct syn_packs *packs, int fd, struct iovec *iov, int count, uint64_t offset,
          struct syn_err *err)
{
    while (count > 0) {
        ssize_t done = packs->io->pwritev(fd, iov, count, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return SYN_FAIL_SYS(err, done < 0 ? errno : EIO, "writing to the content store");
        offset += (uint64_t)done;
        while (count > 0 && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count > 0) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return SYN_OK;
}

int
syn_packs_append(struct syn_packs *packs, struct iovec *iov, int count, size_t len,
                 struct syn_place *ret_place, struct syn_err *err)
{
    struct pack *pack = NULL;
    uint64_t offset = 0;
    uint64_t flush_from = 0;
    int rc;

    assert(len % SYN_RECORD_ALIGN == 0);
    rc = reserve(packs, len, &pack, &offset, &flush_from, err);
    if (rc != 0)
        return rc;
    rc = write_all(packs, pack->fd, iov, count, offset, err);
    if (rc == 0 && flush_from != UINT64_MAX)
        (void)sync_file_range(pack->fd, (off_t)flush_from, (off_t)(offset - flush_from),
                              SYNC_FILE_RANGE_WRITE);
    *ret_place = (struct syn_place){.pack = pack->id, .offset = offset};
    pack_unref(packs, pack);
    return rc;
}

int
syn_packs_read(struct syn_packs *packs, struct syn_place place, void *out, size_t len,
               struct syn_err *err)
{
    struct pack *pack = NULL;
    size_t at = 0;
    int rc = pack_get(packs, place.pack, &pack, err);

    if (rc != 0)
        return rc;
    while (rc == 0 && at < len) {
        ssize_t got = pread(pack->fd, (char *)out + at, len - at, (off_t)(place.offset + at));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = SYN_FAIL_SYS(err, errno, "reading pack " NAME_FORMAT, place.pack);
        else if (got == 0)
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "pack " NAME_FORMAT " is cut short", place.pack);
        else
            at += (size_t)got;
    }
    pack_unref(packs, pack);
    return rc;
}

int
syn_packs_sync(struct syn_packs *packs, uint32_t id, struct syn_err *err)
{
    struct pack *pack = NULL;
    int rc = pack_get(packs, id, &pack, err);

    if (rc != 0)
        return rc;
    if (packs->io->fdatasync(pack->fd) < 0 || packs->io->fsync(packs->dir) < 0)
        rc = SYN_FAIL_SYS(err, errno, "syncing pack " NAME_FORMAT, id);
    pack_unref(packs, pack);
    return rc;
}

static void
forget_locked(struct syn_packs *packs, uint32_t id)
{
    if (packs->current != NULL && packs->current->id == id) {
        pack_unref_locked(packs->current);
        packs->current = NULL;
    }
    for (struct pack **slot = &packs->cache; *slot != NULL; slot = &(*slot)->next) {
        if ((*slot)->id == id) {
            uncache(packs, slot);
            return;
        }
    }
}

/* Append the next record at `size` of a pack that was cut, if it is the one to append to. */
static void
go_on_at(struct syn_packs *packs, struct pack *pack, uint64_t size)
{
    if (packs->current == NULL && pack->id == packs->last_id && pack->id > packs->sealed_id &&
        size < packs->bytes_max) {
        packs->current = pack;
        pack->refs++;
    }
    if (packs->current == pack)
        packs->current_end = size;
}

int
syn_packs_cut(struct syn_packs *packs, uint32_t id, uint64_t size, struct syn_err *err)
{
    char name[NAME_LEN + 1];
    struct pack *pack = NULL;
    struct stat st;
    int rc;

    pack_name(id, name);
    if (size == 0) {
        (void)pthread_mutex_lock(&packs->lock);
        forget_locked(packs, id);
        rc = unlinkat(packs->dir, name, 0) < 0 && errno != ENOENT
                 ? SYN_FAIL_SYS(err, errno, "removing pack %s", name)
                 : SYN_OK;
        (void)pthread_mutex_unlock(&packs->lock);
        return rc;
    }
    rc = pack_get(packs, id, &pack, err);
    if (rc != 0)
        return rc;
    assert(pack != NULL);
    (void)pthread_mutex_lock(&packs->lock);
    if (fstat(pack->fd, &st) < 0)
        rc = SYN_FAIL_SYS(err, errno, "looking at pack %s", name);
    else if ((uint64_t)st.st_size > size && packs->io->ftruncate(pack->fd, (off_t)size) < 0)
        rc = SYN_FAIL_SYS(err, errno, "cutting pack %s", name);
    else if ((uint64_t)st.st_size >= size)
        go_on_at(packs, pack, size);
    packs->written_back = SYN_MIN(packs->written_back, size);
    pack_unref_locked(pack);
    (void)pthread_mutex_unlock(&packs->lock);
    return rc;
}

uint32_t
syn_packs_next(struct syn_packs *packs)
{
    uint32_t id;

    (void)pthread_mutex_lock(&packs->lock);
    id = packs->current != NULL ? packs->current->id : packs->last_id + 1;
    (void)pthread_mutex_unlock(&packs->lock);
    return id;
}

void
syn_packs_seal(struct syn_packs *packs)
{
    (void)pthread_mutex_lock(&packs->lock);
    if (packs->current != NULL)
        pack_unref_locked(packs->current);
    packs->current = NULL;
    packs->sealed_id = packs->last_id;
    (void)pthread_mutex_unlock(&packs->lock);
}

void
syn_packs_reserve_ids(struct syn_packs *packs, uint32_t used)
{
    (void)pthread_mutex_lock(&packs->lock);
    packs->last_id = SYN_MAX(packs->last_id, used);
    (void)pthread_mutex_unlock(&packs->lock);
}

static int
compare_ids(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

static SYN_MUST int
collect_ids(const struct syn_packs *packs, uint32_t **ids, size_t *count, struct syn_err *err)
{
    int fd = openat(packs->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    size_t cap = 0;
    uint32_t id = 0;
    int rc = SYN_OK;

    if (dir == NULL) {
        int errnum = errno;

        if (fd >= 0)
            (void)close(fd);
        return SYN_FAIL_SYS(err, errnum, "listing the packs");
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (!parse_name(entry->d_name, &id))
            continue;
        if (syn_grow(ids, &cap, *count + 1, sizeof(**ids)))
            (*ids)[(*count)++] = id;
        else
            rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory listing the packs");
    }
    (void)closedir(dir);
    return rc;
}

int
syn_packs_each(struct syn_packs *packs,
               int (*each)(void *arg, uint32_t pack, uint64_t size, struct syn_err *err), void *arg,
               struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) uint32_t *ids = NULL;
    size_t count = 0;
    int rc = collect_ids(packs, &ids, &count, err);

    if (count > 1)
        qsort(ids, count, sizeof(*ids), compare_ids);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char name[NAME_LEN + 1];
        struct stat st;

        pack_name(ids[i], name);
        if (fstatat(packs->dir, name, &st, 0) == 0)
            rc = each(arg, ids[i], (uint64_t)st.st_size, err);
        else if (errno != ENOENT)
            rc = SYN_FAIL_SYS(err, errno, "looking at pack %s", name);
    }
    return rc;
}
