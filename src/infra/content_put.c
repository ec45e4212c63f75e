/* Putting: chunks are read, hashed, packed and appended on the workers; the feeding thread walks
 * the source and builds the tree from their CIDs in order. */
#include "content_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>

#include "pipe_priv.h"

/* One chunk on its way. It comes from `fd`, or lies in `data` already. */
struct chunk {
    uint8_t *data;
    size_t len;
    int fd; /* -1: none */
    uint64_t offset;
    bool whole;          /* the file is this chunk; the worker closes fd */
    struct syn_buf path; /* for messages */
    struct syn_cid cid;
    struct syn_unixfs_file *file; /* gets the chunk, or */
    struct syn_unixfs_link *link; /* becomes the file */
};

struct ingest {
    struct syn_content *store;
    struct syn_batch *batch;
    struct syn_pipe *pipe;
    syn_content_progress *progress;
    void *progress_arg;
    uint64_t bytes;
};

static SYN_MUST int
read_chunk(const struct chunk *chunk, struct syn_err *err)
{
    size_t want = chunk->len + (chunk->whole && chunk->len < SYN_UNIXFS_CHUNK_BYTES ? 1 : 0);
    size_t at = 0;

    while (at < want) {
        ssize_t got = pread(chunk->fd, chunk->data + at, want - at, (off_t)(chunk->offset + at));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SYN_FAIL_SYS(err, errno, "reading %s", syn_buf_text(&chunk->path));
        if (got == 0)
            break;
        at += (size_t)got;
    }
    if (at != chunk->len)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s changed while it was read",
                        syn_buf_text(&chunk->path));
    return SYN_OK;
}

static int
chunk_work(void *arg, void *job, struct syn_err *err)
{
    struct ingest *ingest = arg;
    struct chunk *chunk = job;
    int rc = SYN_OK;

    if (chunk->fd >= 0)
        rc = read_chunk(chunk, err);
    if (chunk->whole)
        (void)close(chunk->fd);
    chunk->whole = false;
    chunk->fd = -1;
    if (rc != 0)
        return rc;
    syn_cid_of(SYN_CODEC_RAW, chunk->data, chunk->len, &chunk->cid);
    return syn_batch_put(ingest->batch, &chunk->cid, chunk->data, chunk->len, err);
}

static int
chunk_collect(void *arg, void *job, struct syn_err *err)
{
    struct ingest *ingest = arg;
    struct chunk *chunk = job;

    ingest->bytes += chunk->len;
    if (ingest->progress != NULL && ingest->progress(ingest->progress_arg, ingest->bytes) != 0)
        return SYN_FAIL(err, SYN_E_CANCELED, "canceled");
    if (chunk->link != NULL) {
        chunk->link->cid = chunk->cid;
        chunk->link->tsize = chunk->len;
        chunk->link->size = chunk->len;
        return SYN_OK;
    }
    return syn_unixfs_file_add(chunk->file, &chunk->cid, chunk->len, err);
}

static void
chunk_fini(void *job)
{
    struct chunk *chunk = job;

    syn_free(chunk->data);
    syn_buf_fini(&chunk->path);
}

static const struct syn_pipe_ops chunk_ops = {
    .job_size = sizeof(struct chunk),
    .work = chunk_work,
    .collect = chunk_collect,
    .fini = chunk_fini,
};

static SYN_MUST int
ingest_init(struct ingest *ingest, struct syn_content *store, struct syn_err *err)
{
    int rc;

    *ingest = (struct ingest){.store = store};
    rc = syn_batch_new(store->blocks, &ingest->batch, err);
    if (rc == 0)
        rc = syn_pipe_new(store->pool, syn_content_jobs(store), &chunk_ops, ingest, &ingest->pipe,
                          err);
    return rc;
}

static void
ingest_fini(struct ingest *ingest)
{
    syn_pipe_free(ingest->pipe);
    syn_batch_free(ingest->batch);
    ingest->pipe = NULL;
    ingest->batch = NULL;
}

static SYN_MUST int
next_chunk(struct ingest *ingest, struct chunk **ret_chunk, struct syn_err *err)
{
    void *job = NULL;
    struct chunk *chunk;
    int rc = syn_pipe_next(ingest->pipe, &job, err);

    if (rc != 0)
        return rc;
    chunk = job;
    if (chunk->data == NULL) {
        chunk->data = syn_alloc(SYN_UNIXFS_CHUNK_BYTES);
        if (chunk->data == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a chunk");
    }
    *ret_chunk = chunk;
    return SYN_OK;
}

static int
emit(void *arg, const struct syn_cid *cid, const void *data, size_t len, struct syn_err *err)
{
    struct ingest *ingest = arg;

    return syn_batch_put(ingest->batch, cid, data, len, err);
}

/* ---- streams --------------------------------------------------------------------------------- */

struct syn_content_put {
    struct ingest ingest;
    struct syn_unixfs_file *file;
    struct chunk *chunk; /* being filled, or NULL */
    size_t filled;
    int failed;
    struct syn_err why;
};

int
syn_content_put_new(struct syn_content *store, struct syn_content_put **ret_put,
                    struct syn_err *err)
{
    struct syn_content_put *put = syn_calloc(1, sizeof(*put));
    int rc;

    if (put == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an upload");
    rc = ingest_init(&put->ingest, store, err);
    if (rc == 0)
        rc = syn_unixfs_file_new(emit, &put->ingest, NULL, &put->file, err);
    if (rc < 0) {
        syn_content_put_free(put);
        return rc;
    }
    *ret_put = put;
    return SYN_OK;
}

struct syn_content_put *
syn_content_put_free(struct syn_content_put *put)
{
    if (put != NULL) {
        ingest_fini(&put->ingest);
        syn_unixfs_file_free(put->file);
        syn_free(put);
    }
    return NULL;
}

/* Remember the first failure: what came after it is missing from the file. */
static int
put_failed(struct syn_content_put *put, int rc, struct syn_err *err)
{
    if (rc < 0 && put->failed == 0) {
        put->failed = rc;
        if (err != NULL)
            put->why = *err;
        else
            (void)SYN_FAIL(&put->why, rc, "the upload failed before");
    }
    return rc;
}

static SYN_MUST int
put_check(const struct syn_content_put *put, struct syn_err *err)
{
    if (put->failed != 0 && err != NULL)
        *err = put->why;
    return put->failed;
}

static void
put_submit(struct syn_content_put *put)
{
    put->chunk->fd = -1;
    put->chunk->len = put->filled;
    put->chunk->file = put->file;
    syn_pipe_submit(put->ingest.pipe);
    put->chunk = NULL;
    put->filled = 0;
}

int
syn_content_put_write(struct syn_content_put *put, const void *data, size_t len,
                      struct syn_err *err)
{
    const uint8_t *from = data;
    int rc = put_check(put, err);

    while (rc == 0 && len > 0) {
        size_t take;

        if (put->chunk == NULL)
            rc = next_chunk(&put->ingest, &put->chunk, err);
        if (rc != 0)
            return put_failed(put, rc, err);
        assert(put->chunk != NULL);
        take = SYN_MIN(len, SYN_UNIXFS_CHUNK_BYTES - put->filled);
        memcpy(put->chunk->data + put->filled, from, take);
        put->filled += take;
        from += take;
        len -= take;
        if (put->filled == SYN_UNIXFS_CHUNK_BYTES)
            put_submit(put);
    }
    return rc;
}

int
syn_content_put_save(struct syn_content_put *put, struct syn_buf *state, uint64_t *ret_offset,
                     struct syn_err *err)
{
    int rc = put_check(put, err);

    if (rc != 0)
        return rc;
    rc = syn_pipe_drain(put->ingest.pipe, err);
    if (rc == 0)
        rc = syn_batch_commit(put->ingest.batch, err);
    if (rc == 0)
        rc = syn_unixfs_file_save(put->file, state, err);
    if (rc != 0)
        return put_failed(put, rc, err);
    *ret_offset = syn_unixfs_file_size(put->file);
    return SYN_OK;
}

static int
hold_link(void *arg, const struct syn_cid *cid, struct syn_err *err)
{
    return syn_batch_hold(arg, cid, err);
}

int
syn_content_put_resume(struct syn_content *store, const void *state, size_t len,
                       struct syn_content_put **ret_put, struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    int rc = syn_content_put_new(store, &put, err);

    if (rc != 0)
        return rc;
    assert(put != NULL);
    rc = syn_unixfs_file_restore(put->file, state, len, err);
    if (rc == 0)
        rc = syn_unixfs_file_each_link(put->file, hold_link, put->ingest.batch, err);
    if (rc == 0 && syn_unixfs_file_size(put->file) % SYN_UNIXFS_CHUNK_BYTES != 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "upload state is damaged: begin the upload again");
    if (rc < 0) {
        syn_content_put_free(put);
        return syn_err_wrap(err, rc, "going on with an upload");
    }
    *ret_put = put;
    return SYN_OK;
}

int
syn_content_put_commit(struct syn_content_put *put, struct syn_cid *ret_cid, uint64_t *ret_size,
                       struct syn_err *err)
{
    struct syn_unixfs_link link;
    int rc = put_check(put, err);

    if (rc != 0)
        return rc;
    if (put->filled > 0)
        put_submit(put);
    rc = syn_pipe_drain(put->ingest.pipe, err);
    if (rc == 0)
        rc = syn_unixfs_file_finish(put->file, &link, err);
    if (rc == 0)
        rc = syn_batch_commit(put->ingest.batch, err);
    if (rc != 0)
        return put_failed(put, rc, err);
    (void)SYN_FAIL(&put->why, SYN_E_CONFLICT, "the upload is committed already");
    put->failed = SYN_E_CONFLICT;
    *ret_cid = link.cid;
    if (ret_size != NULL)
        *ret_size = link.size;
    return SYN_OK;
}

/* ---- paths ----------------------------------------------------------------------------------- */

struct walk {
    struct ingest ingest;
    struct syn_content_tally tally;
    struct syn_buf path; /* where the walk is, for messages */
};

/* The names of one folder; links point into `names` once all are read. */
struct listing {
    struct syn_buf names;
    struct syn_unixfs_link *links;
    size_t count;
    size_t cap;
};

static void
listing_fini(struct listing *listing)
{
    syn_buf_fini(&listing->names);
    syn_free(listing->links);
}

static SYN_MUST int
walk_failed(const struct walk *walk, int errnum, const char *doing, struct syn_err *err)
{
    return SYN_FAIL_SYS(err, errnum, "%s %s", doing, syn_buf_text(&walk->path));
}

static SYN_MUST int
add_name(struct listing *listing, const char *name, struct syn_err *err)
{
    if (listing->count >= SYN_CONTENT_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "folder with more than %zu entries",
                        SYN_CONTENT_ENTRIES_MAX);
    if (!syn_grow(&listing->links, &listing->cap, listing->count + 1, sizeof(*listing->links)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a folder");
    listing->links[listing->count++] = (struct syn_unixfs_link){.name_len = strlen(name)};
    syn_buf_add(&listing->names, name, strlen(name) + 1);
    return syn_buf_ok(&listing->names, err);
}

static SYN_MUST int
read_names(const struct walk *walk, int fd, struct listing *listing, struct syn_err *err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    const char *name;
    int rc = SYN_OK;

    if (dir == NULL) {
        rc = walk_failed(walk, errno, "listing", err);
        if (copy >= 0)
            (void)close(copy);
        return rc;
    }
    while (rc == 0) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            rc = errno == 0 ? SYN_OK : walk_failed(walk, errno, "listing", err);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = add_name(listing, entry->d_name, err);
    }
    (void)closedir(dir);
    name = listing->names.data;
    for (size_t i = 0; rc == 0 && i < listing->count; i++) {
        listing->links[i].name = name;
        name += listing->links[i].name_len + 1;
    }
    return rc;
}

static SYN_MUST int
set_chunk_path(const struct walk *walk, struct chunk *chunk, struct syn_err *err)
{
    syn_buf_clear(&chunk->path);
    syn_buf_add(&chunk->path, walk->path.data, walk->path.len);
    return syn_buf_ok(&chunk->path, err);
}

/* A file of at most one chunk becomes one job, which closes `fd`; on failure it is closed here. */
static SYN_MUST int
put_small(struct walk *walk, int fd, size_t size, struct syn_unixfs_link *link, struct syn_err *err)
{
    struct chunk *chunk = NULL;
    int rc = next_chunk(&walk->ingest, &chunk, err);

    if (rc == 0)
        rc = set_chunk_path(walk, chunk, err);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    assert(chunk != NULL);
    chunk->fd = fd;
    chunk->offset = 0;
    chunk->len = size;
    chunk->whole = true;
    chunk->file = NULL;
    chunk->link = link;
    syn_pipe_submit(walk->ingest.pipe);
    return SYN_OK;
}

static SYN_MUST int
put_chunks(struct walk *walk, int fd, uint64_t size, struct syn_unixfs_file *file,
           struct syn_err *err)
{
    int rc = SYN_OK;

    for (uint64_t at = 0; rc == 0 && at < size; at += SYN_UNIXFS_CHUNK_BYTES) {
        struct chunk *chunk = NULL;

        rc = next_chunk(&walk->ingest, &chunk, err);
        if (rc == 0)
            rc = set_chunk_path(walk, chunk, err);
        if (rc != 0)
            break;
        chunk->fd = fd;
        chunk->offset = at;
        chunk->len = (size_t)SYN_MIN(size - at, (uint64_t)SYN_UNIXFS_CHUNK_BYTES);
        chunk->file = file;
        chunk->link = NULL;
        syn_pipe_submit(walk->ingest.pipe);
    }
    return rc;
}

static SYN_MUST int
put_large(struct walk *walk, int fd, uint64_t size, struct syn_unixfs_link *link,
          struct syn_err *err)
{
    struct syn_unixfs_file *file = NULL;
    struct syn_unixfs_link built;
    int rc = syn_unixfs_file_new(emit, &walk->ingest, NULL, &file, err);

    if (rc == 0)
        rc = put_chunks(walk, fd, size, file, err);
    /* Also after a failure: running jobs use `fd` and `file`. */
    if (rc == 0)
        rc = syn_pipe_drain(walk->ingest.pipe, err);
    if (rc != 0) /* waits for the jobs that a failed one left running */
        walk->ingest.pipe = syn_pipe_free(walk->ingest.pipe);
    if (rc == 0)
        rc = syn_unixfs_file_finish(file, &built, err);
    if (rc == 0) {
        link->cid = built.cid;
        link->tsize = built.tsize;
        link->size = built.size;
    }
    syn_unixfs_file_free(file);
    return rc;
}

static SYN_MUST int
put_file_fd(struct walk *walk, int fd, uint64_t size, struct syn_unixfs_link *link,
            struct syn_err *err)
{
    int rc;

    walk->tally.files++;
    walk->tally.bytes += size;
    if (size <= SYN_UNIXFS_CHUNK_BYTES)
        return put_small(walk, fd, (size_t)size, link, err);
    rc = put_large(walk, fd, size, link, err);
    (void)close(fd);
    return rc;
}

static SYN_MUST int
put_link(struct walk *walk, int dir, const char *name, struct syn_unixfs_link *link,
         struct syn_err *err)
{
    char target[SYN_UNIXFS_TARGET_MAX + 1];
    struct syn_unixfs_link built;
    ssize_t len = readlinkat(dir, name, target, sizeof(target));
    int rc;

    if (len < 0)
        return walk_failed(walk, errno, "reading the link", err);
    rc = syn_unixfs_symlink_build(target, (size_t)len, emit, &walk->ingest, &built, err);
    if (rc != 0)
        return rc;
    walk->tally.links++;
    link->cid = built.cid;
    link->tsize = built.tsize;
    return SYN_OK;
}

static SYN_MUST int put_folder_fd(struct walk *walk, int fd, unsigned depth,
                                  struct syn_unixfs_link *link, struct syn_err *err);

static const char *
kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFSOCK:
        return "socket";
    case S_IFIFO:
        return "pipe";
    case S_IFCHR:
    case S_IFBLK:
        return "device";
    default:
        return "special file";
    }
}

/* Open and look again, so that what is read is what was looked at. */
static SYN_MUST int
put_opened(struct walk *walk, int fd, unsigned depth, struct syn_unixfs_link *link,
           struct syn_err *err)
{
    struct stat st;
    int rc;

    if (fstat(fd, &st) < 0) {
        rc = walk_failed(walk, errno, "looking at", err);
    } else if (S_ISREG(st.st_mode)) {
        return put_file_fd(walk, fd, (uint64_t)st.st_size, link, err);
    } else if (S_ISDIR(st.st_mode)) {
        rc = put_folder_fd(walk, fd, depth, link, err);
    } else {
        rc = SYN_FAIL(err, SYN_E_INVALID,
                      "%s is a %s: only files, folders and symbolic links can be stored",
                      syn_buf_text(&walk->path), kind_name(st.st_mode));
    }
    (void)close(fd);
    return rc;
}

static SYN_MUST int
put_entry(struct walk *walk, int dir, unsigned depth, struct syn_unixfs_link *link,
          struct syn_err *err)
{
    size_t len = walk->path.len;
    struct stat st;
    int fd;
    int rc;

    syn_buf_addf(&walk->path, "/%s", link->name);
    rc = syn_buf_ok(&walk->path, err);
    if (rc != 0)
        return rc;
    if (fstatat(dir, link->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = walk_failed(walk, errno, "looking at", err);
    } else if (S_ISLNK(st.st_mode)) {
        rc = put_link(walk, dir, link->name, link, err);
    } else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        rc = SYN_FAIL(err, SYN_E_INVALID,
                      "%s is a %s: only files, folders and symbolic links can be stored",
                      syn_buf_text(&walk->path), kind_name(st.st_mode));
    } else {
        fd = openat(dir, link->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        rc = fd < 0 ? walk_failed(walk, errno, "opening", err)
                    : put_opened(walk, fd, depth, link, err);
    }
    walk->path.len = len;
    walk->path.data[len] = '\0';
    return rc;
}

static int
put_folder_fd(struct walk *walk, int fd, unsigned depth, struct syn_unixfs_link *link,
              struct syn_err *err)
{
    SYN_SCOPED(listing_fini) struct listing listing = {.names = SYN_BUF_INIT};
    struct syn_unixfs_link built;
    int rc;

    if (depth >= SYN_CONTENT_DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "folders are nested more than %d deep",
                        SYN_CONTENT_DEPTH_MAX);
    walk->tally.folders++;
    rc = read_names(walk, fd, &listing, err);
    for (size_t i = 0; rc == 0 && i < listing.count; i++)
        rc = put_entry(walk, fd, depth + 1, &listing.links[i], err);
    /* Running jobs write into the listing: end them before it goes. */
    if (rc == 0)
        rc = syn_pipe_drain(walk->ingest.pipe, err);
    if (rc != 0) {
        walk->ingest.pipe = syn_pipe_free(walk->ingest.pipe);
        return rc;
    }
    rc = syn_unixfs_dir_build(listing.links, listing.count, NULL, emit, &walk->ingest, &built, err);
    if (rc != 0)
        return syn_err_wrap(err, rc, "%s", syn_buf_text(&walk->path));
    link->cid = built.cid;
    link->tsize = built.tsize;
    return SYN_OK;
}

int
syn_content_put_path(struct syn_content *store, const char *path, syn_content_progress *progress,
                     void *arg, struct syn_cid *ret_cid, struct syn_content_tally *ret_tally,
                     struct syn_err *err)
{
    struct walk walk = {.path = SYN_BUF_INIT};
    struct syn_unixfs_link link = {.name = ""};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    rc = ingest_init(&walk.ingest, store, err);
    walk.ingest.progress = progress;
    walk.ingest.progress_arg = arg;
    syn_buf_adds(&walk.path, path);
    if (rc == 0)
        rc = syn_buf_ok(&walk.path, err);
    if (rc == 0)
        rc = put_opened(&walk, fd, 0, &link, err);
    else
        (void)close(fd);
    if (rc == 0)
        rc = syn_pipe_drain(walk.ingest.pipe, err);
    if (rc == 0)
        rc = syn_batch_commit(walk.ingest.batch, err);
    ingest_fini(&walk.ingest);
    syn_buf_fini(&walk.path);
    if (rc != 0)
        return rc;
    *ret_cid = link.cid;
    if (ret_tally != NULL)
        *ret_tally = walk.tally;
    return SYN_OK;
}

/* ---- composing ------------------------------------------------------------------------------- */

static int
emit_batch(void *arg, const struct syn_cid *cid, const void *data, size_t len, struct syn_err *err)
{
    return syn_batch_put(arg, cid, data, len, err);
}

/* The bytes of all blocks at and below `cid`: what a link to it says. */
static SYN_MUST int
find_tsize(struct syn_content *store, const struct syn_cid *cid, uint64_t *ret_tsize,
           struct syn_err *err)
{
    struct syn_content_stat stat;
    struct syn_dag_node dag;
    int rc;

    if (cid->codec == SYN_CODEC_RAW) {
        rc = syn_content_stat(store, cid, &stat, err);
        if (rc == 0)
            *ret_tsize = stat.size;
        return rc;
    }
    rc = syn_dag_node_get(store, cid, &dag, err);
    if (rc != 0)
        return rc;
    *ret_tsize = dag.block.len;
    for (size_t i = 0; i < dag.node.count; i++)
        *ret_tsize += dag.node.links[i].tsize;
    syn_dag_node_fini(&dag);
    return SYN_OK;
}

static SYN_MUST int
link_entries(struct syn_content *store, struct syn_batch *batch,
             const struct syn_content_entry *entries, size_t count, struct syn_unixfs_link *links,
             struct syn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = syn_batch_hold(batch, &entries[i].cid, err);

        links[i] = (struct syn_unixfs_link){
            .cid = entries[i].cid,
            .name = entries[i].name,
            .name_len = strlen(entries[i].name),
        };
        if (rc == 0)
            rc = find_tsize(store, &entries[i].cid, &links[i].tsize, err);
        if (rc != 0)
            return syn_err_wrap(err, rc, "entry \"%.100s\"", entries[i].name);
    }
    return SYN_OK;
}

int
syn_content_put_dir(struct syn_content *store, const struct syn_content_entry *entries,
                    size_t count, struct syn_cid *ret_cid, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_unixfs_link *links = syn_calloc(count, sizeof(*links));
    struct syn_batch *batch = NULL;
    struct syn_unixfs_link built;
    int rc;

    if (links == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a folder");
    rc = syn_batch_new(store->blocks, &batch, err);
    if (rc == 0)
        rc = link_entries(store, batch, entries, count, links, err);
    if (rc == 0)
        rc = syn_unixfs_dir_build(links, count, NULL, emit_batch, batch, &built, err);
    if (rc == 0)
        rc = syn_batch_commit(batch, err);
    syn_batch_free(batch);
    if (rc == 0)
        *ret_cid = built.cid;
    return rc;
}

int
syn_content_put_symlink(struct syn_content *store, const char *target, struct syn_cid *ret_cid,
                        struct syn_err *err)
{
    struct syn_batch *batch = NULL;
    struct syn_unixfs_link built;
    int rc = syn_batch_new(store->blocks, &batch, err);

    if (rc == 0)
        rc = syn_unixfs_symlink_build(target, strlen(target), emit_batch, batch, &built, err);
    if (rc == 0)
        rc = syn_batch_commit(batch, err);
    syn_batch_free(batch);
    if (rc == 0)
        *ret_cid = built.cid;
    return rc;
}
