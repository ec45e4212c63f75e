/* Reading: leaves are read, decrypted, unpacked and verified on the workers; a stream gets them in
 * order, an export writes each where it belongs. */
#include "content_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "pipe_priv.h"

#define TEMP_PREFIX ".synor-"

/* ---- a file's leaves ------------------------------------------------------------------------- */

static SYN_MUST int visit_node(struct syn_content *store, const struct syn_cid *cid, uint64_t at,
                               unsigned depth, const uint64_t *expect,
                               const struct syn_dag_visit *visit, struct syn_err *err);

static SYN_MUST int
visit_links(struct syn_content *store, const struct syn_dag_node *dag, uint64_t at, unsigned depth,
            const struct syn_dag_visit *visit, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == 0 && i < dag->node.count; i++) {
        const struct syn_unixfs_link *link = &dag->node.links[i];
        uint64_t end = at + link->size;

        if (at < visit->to && end > visit->from) {
            if (link->cid.codec == SYN_CODEC_RAW)
                rc = visit->leaf(visit->arg, &link->cid, at, link->size, err);
            else
                rc = visit_node(store, &link->cid, at, depth + 1, &link->size, visit, err);
        }
        at = end;
    }
    return rc;
}

static int
visit_node(struct syn_content *store, const struct syn_cid *cid, uint64_t at, unsigned depth,
           const uint64_t *expect, const struct syn_dag_visit *visit, struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    struct syn_dag_node dag;
    int rc;

    if (depth > SYN_UNIXFS_DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "file tree of more than %d levels",
                        SYN_UNIXFS_DEPTH_MAX);
    rc = syn_dag_node_get(store, cid, &dag, err);
    if (rc != 0)
        return rc;
    if (dag.node.type != SYN_UNIXFS_FILE && dag.node.type != SYN_UNIXFS_RAW)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s is no file", syn_cid_format(cid, text));
    else if (expect != NULL && dag.node.size != *expect)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s is not as long as the file that holds it says",
                      syn_cid_format(cid, text));
    if (rc == 0 && dag.node.data_len > 0 && at < visit->to && at + dag.node.data_len > visit->from)
        rc = visit->inline_data(visit->arg, dag.node.data, dag.node.data_len, at, err);
    if (rc == 0)
        rc = visit_links(store, &dag, at + dag.node.data_len, depth, visit, err);
    syn_dag_node_fini(&dag);
    return rc;
}

int
syn_dag_visit_file(struct syn_content *store, const struct syn_cid *cid,
                   const struct syn_dag_visit *visit, struct syn_err *err)
{
    return visit_node(store, cid, 0, 0, NULL, visit, err);
}

/* ---- leaves as jobs -------------------------------------------------------------------------- */

struct leaf {
    struct syn_cid cid;
    uint64_t at;
    uint64_t size;
    struct syn_block block;
    int fd;                             /* export: where to write, or */
    int dir;                            /* the folder to make `name` in */
    char name[SYN_UNIXFS_NAME_MAX + 1]; /* "" when `fd` is meant */
};

static void
leaf_fini(void *job)
{
    struct leaf *leaf = job;

    syn_block_fini(&leaf->block);
}

static SYN_MUST int
get_leaf(struct syn_content *store, struct leaf *leaf, struct syn_err *err)
{
    char text[SYN_CID_TEXT_MAX];
    int rc = syn_blocks_get(store->blocks, &leaf->cid, &leaf->block, err);

    if (rc == 0 && leaf->block.len != leaf->size)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s is not as long as the file that holds it says",
                      syn_cid_format(&leaf->cid, text));
    return rc;
}

static SYN_MUST int
next_leaf(struct syn_pipe *pipe, const struct syn_cid *cid, uint64_t at, uint64_t size,
          struct leaf **ret_leaf, struct syn_err *err)
{
    void *job = NULL;
    struct leaf *leaf;
    int rc = syn_pipe_next(pipe, &job, err);

    if (rc != 0)
        return rc;
    leaf = job;
    leaf->cid = *cid;
    leaf->at = at;
    leaf->size = size;
    leaf->fd = -1;
    leaf->dir = -1;
    leaf->name[0] = '\0';
    *ret_leaf = leaf;
    return SYN_OK;
}

/* ---- streams --------------------------------------------------------------------------------- */

struct reading {
    struct syn_content *store;
    struct syn_pipe *pipe;
    uint64_t from;
    uint64_t to;
    syn_content_sink *sink;
    void *arg;
};

/* Give the part of [at, at + len) that was asked for. */
static SYN_MUST int
give(struct reading *reading, const void *data, size_t len, uint64_t at, struct syn_err *err)
{
    uint64_t from = SYN_MAX(at, reading->from);
    uint64_t to = SYN_MIN(at + len, reading->to);

    if (from >= to)
        return SYN_OK;
    return reading->sink(reading->arg, (const uint8_t *)data + (from - at), (size_t)(to - from),
                         err);
}

static int
read_work(void *arg, void *job, struct syn_err *err)
{
    struct reading *reading = arg;

    return get_leaf(reading->store, job, err);
}

static int
read_collect(void *arg, void *job, struct syn_err *err)
{
    struct leaf *leaf = job;

    return give(arg, leaf->block.data, leaf->block.len, leaf->at, err);
}

static const struct syn_pipe_ops read_ops = {
    .job_size = sizeof(struct leaf),
    .work = read_work,
    .collect = read_collect,
    .fini = leaf_fini,
};

static int
read_leaf(void *arg, const struct syn_cid *cid, uint64_t at, uint64_t size, struct syn_err *err)
{
    struct reading *reading = arg;
    struct leaf *leaf = NULL;
    int rc = next_leaf(reading->pipe, cid, at, size, &leaf, err);

    if (rc == 0)
        syn_pipe_submit(reading->pipe);
    return rc;
}

static int
read_inline(void *arg, const void *data, size_t len, uint64_t at, struct syn_err *err)
{
    struct reading *reading = arg;
    int rc = syn_pipe_drain(reading->pipe, err);

    return rc == 0 ? give(reading, data, len, at, err) : rc;
}

int
syn_content_read(struct syn_content *store, const struct syn_cid *cid, uint64_t offset,
                 uint64_t len, syn_content_sink *sink, void *arg, struct syn_err *err)
{
    struct reading reading = {
        .store = store,
        .from = offset,
        .to = len > UINT64_MAX - offset ? UINT64_MAX : offset + len,
        .sink = sink,
        .arg = arg,
    };
    struct syn_dag_visit visit = {
        .leaf = read_leaf,
        .inline_data = read_inline,
        .arg = &reading,
        .from = reading.from,
        .to = reading.to,
    };
    int rc =
        syn_pipe_new(store->pool, syn_content_jobs(store), &read_ops, &reading, &reading.pipe, err);

    if (rc != 0)
        return rc;
    rc = syn_dag_visit_file(store, cid, &visit, err);
    if (rc == 0)
        rc = syn_pipe_drain(reading.pipe, err);
    syn_pipe_free(reading.pipe);
    return rc;
}

static int
write_fd(void *arg, const void *data, size_t len, struct syn_err *err)
{
    const int *fd = arg;
    const char *at = data;

    while (len > 0) {
        ssize_t done = write(*fd, at, len);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return SYN_FAIL_SYS(err, errno, "writing content");
        at += done;
        len -= (size_t)done;
    }
    return SYN_OK;
}

int
syn_content_read_fd(struct syn_content *store, const struct syn_cid *cid, uint64_t offset,
                    uint64_t len, int fd, struct syn_err *err)
{
    return syn_content_read(store, cid, offset, len, write_fd, &fd, err);
}

/* ---- export ---------------------------------------------------------------------------------- */

struct export
{
    struct syn_content *store;
    struct syn_pipe *pipe;
    unsigned flags;
    syn_content_progress *progress;
    void *arg;
    uint64_t bytes;
    int fd;  /* of the large file being written */
    int dir; /* folder being filled */
    unsigned depth;
};

static SYN_MUST int
write_at(const struct export *export, int fd, const void *data, size_t len, uint64_t at,
         struct syn_err *err)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};

    while (iov.iov_len > 0) {
        ssize_t done = export->store->io->pwritev(fd, &iov, 1, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return SYN_FAIL_SYS(err, done < 0 ? errno : EIO, "writing content");
        iov.iov_base = (char *)iov.iov_base + done;
        iov.iov_len -= (size_t)done;
        at += (uint64_t)done;
    }
    return SYN_OK;
}

static SYN_MUST int
sync_fd(const struct export *export, int fd, struct syn_err *err)
{
    if ((export->flags & SYN_CONTENT_GET_SYNC) != 0 && export->store->io->fsync(fd) < 0)
        return SYN_FAIL_SYS(err, errno, "syncing content");
    return SYN_OK;
}

static SYN_MUST int
make_file(const struct export *export, int dir, const char *name, int *ret_fd, struct syn_err *err)
{
    mode_t mode = (export->flags & SYN_CONTENT_GET_EXEC) != 0 ? 0755 : 0644;
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", name);
    *ret_fd = fd;
    return SYN_OK;
}

/* A small file is made and written here. The parts of a large one are only read and verified:
 * writes to one file exclude each other in the kernel, so one thread does them. */
static int
export_work(void *arg, void *job, struct syn_err *err)
{
    const struct export *export = arg;
    struct leaf *leaf = job;
    int fd = -1;
    int rc = get_leaf(export->store, leaf, err);

    if (rc != 0 || leaf->name[0] == '\0')
        return rc;
    rc = make_file(export, leaf->dir, leaf->name, &fd, err);
    if (rc != 0)
        return rc;
    rc = write_at(export, fd, leaf->block.data, leaf->block.len, 0, err);
    if (rc == 0)
        rc = sync_fd(export, fd, err);
    if (close(fd) < 0 && rc == 0)
        rc = SYN_FAIL_SYS(err, errno, "writing %s", leaf->name);
    return rc;
}

static int
export_collect(void *arg, void *job, struct syn_err *err)
{
    struct export *export = arg;
    const struct leaf *leaf = job;
    int rc = SYN_OK;

    if (leaf->name[0] == '\0')
        rc = write_at(export, leaf->fd, leaf->block.data, leaf->block.len, leaf->at, err);
    export->bytes += leaf->block.len;
    if (rc == 0 && export->progress != NULL && export->progress(export->arg, export->bytes) != 0)
        rc = SYN_FAIL(err, SYN_E_CANCELED, "canceled");
    return rc;
}

static const struct syn_pipe_ops export_ops = {
    .job_size = sizeof(struct leaf),
    .work = export_work,
    .collect = export_collect,
    .fini = leaf_fini,
};

static int
export_leaf(void *arg, const struct syn_cid *cid, uint64_t at, uint64_t size, struct syn_err *err)
{
    struct export *export = arg;
    struct leaf *leaf = NULL;
    int rc = next_leaf(export->pipe, cid, at, size, &leaf, err);

    if (rc != 0)
        return rc;
    leaf->fd = export->fd;
    syn_pipe_submit(export->pipe);
    return SYN_OK;
}

static int
export_inline(void *arg, const void *data, size_t len, uint64_t at, struct syn_err *err)
{
    struct export *export = arg;

    return write_at(export, export->fd, data, len, at, err);
}

/* A file in more than one block. After a failure the pipe must end before `fd` is closed. */
static SYN_MUST int
export_large(struct export *export, const struct syn_cid *cid, int dir, const char *name,
             struct syn_err *err)
{
    struct syn_dag_visit visit = {
        .leaf = export_leaf,
        .inline_data = export_inline,
        .arg = export,
        .to = UINT64_MAX,
    };
    int fd = -1;
    int rc = make_file(export, dir, name, &fd, err);

    if (rc != 0)
        return rc;
    export->fd = fd;
    rc = syn_dag_visit_file(export->store, cid, &visit, err);
    if (rc == 0)
        rc = syn_pipe_drain(export->pipe, err);
    if (rc < 0)
        export->pipe = syn_pipe_free(export->pipe);
    else
        rc = sync_fd(export, fd, err);
    if (close(fd) < 0 && rc == 0)
        rc = SYN_FAIL_SYS(err, errno, "writing %s", name);
    return rc;
}

static SYN_MUST int
export_small(struct export *export, const struct syn_cid *cid, int dir, const char *name,
             struct syn_err *err)
{
    struct syn_content_stat stat;
    struct leaf *leaf = NULL;
    int rc = syn_content_stat(export->store, cid, &stat, err);

    if (rc == 0)
        rc = next_leaf(export->pipe, cid, 0, stat.size, &leaf, err);
    if (rc != 0)
        return rc;
    leaf->dir = dir;
    (void)syn_str_copy(leaf->name, sizeof(leaf->name), name);
    syn_pipe_submit(export->pipe);
    return SYN_OK;
}

static SYN_MUST int export_node(struct export *export, const struct syn_cid *cid, int dir,
                                const char *name, struct syn_err *err);

static int
export_entry(void *arg, const struct syn_unixfs_link *entry, struct syn_err *err)
{
    struct export *export = arg;
    char name[SYN_UNIXFS_NAME_MAX + 1];
    int rc;

    memcpy(name, entry->name, entry->name_len);
    name[entry->name_len] = '\0';
    rc = export_node(export, &entry->cid, export->dir, name, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%.100s", name) : SYN_OK;
}

static SYN_MUST int
export_dir(struct export *export, const struct syn_dag_node *dag, int dir, const char *name,
           struct syn_err *err)
{
    int outer = export->dir;
    int fd;
    int rc;

    if (export->depth >= SYN_CONTENT_DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "folders are nested more than %d deep",
                        SYN_CONTENT_DEPTH_MAX);
    if (mkdirat(dir, name, 0755) < 0)
        return SYN_FAIL_SYS(err, errno, "making folder %s", name);
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening folder %s", name);
    export->dir = fd;
    export->depth++;
    rc = syn_dag_visit_dir(export->store, dag, export_entry, export, err);
    if (rc == 0)
        rc = syn_pipe_drain(export->pipe, err);
    if (rc < 0)
        export->pipe = syn_pipe_free(export->pipe);
    else
        rc = sync_fd(export, fd, err);
    export->depth--;
    export->dir = outer;
    (void)close(fd);
    return rc;
}

static int
export_node(struct export *export, const struct syn_cid *cid, int dir, const char *name,
            struct syn_err *err)
{
    struct syn_dag_node dag;
    int rc;

    if (cid->codec == SYN_CODEC_RAW)
        return export_small(export, cid, dir, name, err);
    rc = syn_dag_node_get(export->store, cid, &dag, err);
    if (rc != 0)
        return rc;
    if (dag.node.type == SYN_UNIXFS_DIR || dag.node.type == SYN_UNIXFS_SHARD) {
        rc = export_dir(export, &dag, dir, name, err);
    } else if (dag.node.type == SYN_UNIXFS_SYMLINK) {
        char target[SYN_UNIXFS_TARGET_MAX + 1];

        memcpy(target, dag.node.data, dag.node.data_len);
        target[dag.node.data_len] = '\0';
        if (symlinkat(target, dir, name) < 0)
            rc = SYN_FAIL_SYS(err, errno, "making the link %s", name);
    } else {
        rc = export_large(export, cid, dir, name, err);
    }
    syn_dag_node_fini(&dag);
    return rc;
}

/* ---- into place ------------------------------------------------------------------------------ */

static void remove_tree(int dir, const char *name);

/* Names first, then removal: a folder that changes under readdir() may skip some. */
static void
remove_below(int fd)
{
    SYN_BUF(names);
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    if (dir == NULL) {
        if (copy >= 0)
            (void)close(copy);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            syn_buf_add(&names, entry->d_name, strlen(entry->d_name) + 1);
    }
    (void)closedir(dir);
    for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1)
        remove_tree(fd, names.data + at);
}

/* Best effort: what stays is a hidden folder beside the target. */
static void
remove_tree(int dir, const char *name)
{
    int fd;

    if (unlinkat(dir, name, 0) == 0 || (errno != EISDIR && errno != EPERM))
        return;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        remove_below(fd);
        (void)close(fd);
    }
    (void)unlinkat(dir, name, AT_REMOVEDIR);
}

static SYN_MUST int
place(const struct export *export, int dir, const char *temp, const char *name, struct syn_err *err)
{
    const struct syn_content_io *io = export->store->io;
    bool replace = (export->flags & SYN_CONTENT_GET_REPLACE) != 0;

    if (io->renameat2(dir, temp, dir, name, replace ? 0 : RENAME_NOREPLACE) == 0)
        return sync_fd(export, dir, err);
    if (!replace && errno == EEXIST)
        return SYN_FAIL(err, SYN_E_EXISTS, "%s exists: remove it or ask to replace it", name);
    if (!replace || (errno != EISDIR && errno != ENOTDIR && errno != ENOTEMPTY && errno != EEXIST))
        return SYN_FAIL_SYS(err, errno, "putting %s into place", name);
    if (io->renameat2(dir, temp, dir, name, RENAME_EXCHANGE) < 0)
        return SYN_FAIL_SYS(err, errno, "putting %s into place", name);
    remove_tree(dir, temp);
    return sync_fd(export, dir, err);
}

/* Split "a/b/c" into "a/b" and "c"; trailing slashes do not count. */
static SYN_MUST int
split_path(const char *path, struct syn_buf *parent, char name[static SYN_UNIXFS_NAME_MAX + 1],
           struct syn_err *err)
{
    size_t end = strlen(path);
    size_t begin;

    while (end > 0 && path[end - 1] == '/')
        end--;
    begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    if (end == begin || end - begin > SYN_UNIXFS_NAME_MAX ||
        (path[begin] == '.' && (end - begin == 1 || (end - begin == 2 && path[begin + 1] == '.'))))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%s\" does not name a file or folder to make", path);
    memcpy(name, path + begin, end - begin);
    name[end - begin] = '\0';
    if (begin == 0)
        syn_buf_adds(parent, ".");
    else
        syn_buf_add(parent, path, begin);
    return syn_buf_ok(parent, err);
}

int
syn_content_get(struct syn_content *store, const struct syn_cid *cid, const char *path,
                unsigned flags, syn_content_progress *progress, void *arg, struct syn_err *err)
{
    struct export export = {
        .store = store, .flags = flags, .progress = progress, .arg = arg, .dir = -1, .fd = -1};
    char name[SYN_UNIXFS_NAME_MAX + 1];
    char temp[SYN_ID_MAX + sizeof(TEMP_PREFIX)];
    struct stat st;
    SYN_BUF(parent);
    int dir;
    int rc = split_path(path, &parent, name, err);

    if (rc != 0)
        return rc;
    dir = open(syn_buf_text(&parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening folder %s", parent.data);
    (void)syn_make_id(syn_world_system(), TEMP_PREFIX, temp);
    if ((flags & SYN_CONTENT_GET_REPLACE) == 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = SYN_FAIL(err, SYN_E_EXISTS, "%s exists: remove it or ask to replace it", path);
    if (rc == 0)
        rc = syn_pipe_new(store->pool, syn_content_jobs(store), &export_ops, &export, &export.pipe,
                          err);
    if (rc == 0) {
        rc = export_node(&export, cid, dir, temp, err);
        if (rc == 0)
            rc = syn_pipe_drain(export.pipe, err);
        syn_pipe_free(export.pipe);
        if (rc == 0)
            rc = place(&export, dir, temp, name, err);
        if (rc < 0)
            remove_tree(dir, temp);
    }
    (void)close(dir);
    return rc;
}
