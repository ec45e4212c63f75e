/* Content for an instance: taken from the server as a CAR, verified block by block on its way into
 * the node's own content store, laid out as files once per CID and shared read-only by everybody.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"

static int
import_piece(void *arg, const void *data, size_t len, struct syn_err *err)
{
    return syn_content_car_write(arg, data, len, err);
}

static int
download(struct agt_instance *instance, const char *cid, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    struct syn_content_car *car;
    const struct syn_cid *roots;
    size_t count;
    char path[160];
    int rc = syn_content_car_new(agent->content, &car, err);

    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "/v1/content/%s/car", cid);
    rc = syn_client_read(instance->client, path, import_piece, car, err);
    if (rc == SYN_OK)
        rc = syn_content_car_commit(car, &roots, &count, err);
    (void)syn_content_car_free(car);
    return rc < 0 ? syn_err_wrap(err, rc, "fetching %s", cid) : SYN_OK;
}

/* How much content there is, by the blocks at hand or else by the server's word. */
static int
content_size(struct agt_instance *instance, const char *text, bool *ret_here, int64_t *ret_bytes,
             struct syn_err *err)
{
    struct syn_content_stat stat;
    struct syn_cid cid;
    char path[160];
    SYN_JSON(answer);
    int rc = syn_cid_parse(text, strlen(text), &cid, err);

    if (rc < 0)
        return rc;
    *ret_here = syn_content_stat(instance->agent->content, &cid, &stat, NULL) == SYN_OK;
    if (*ret_here) {
        *ret_bytes = (int64_t)stat.size;
        return SYN_OK;
    }
    (void)snprintf(path, sizeof(path), "/v1/content/%s", text);
    rc = agt_call(instance->agent, instance->client, "GET", path, NULL, &answer, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "fetching %s", text);
    *ret_bytes = syn_json_i64(answer, "size_bytes", 0);
    return SYN_OK;
}

/* Room for the files, and for the blocks on their way. Under the fetch lock. */
static int
make_room(struct agt_instance *instance, const char *cid, struct syn_err *err)
{
    char bytes[SYN_FORMAT_MAX];
    char what[160];
    int64_t size = 0;
    bool here = false;
    int rc = content_size(instance, cid, &here, &size, err);

    if (rc < 0)
        return rc;
    size = SYN_MIN(size, INT64_MAX / 4);
    (void)snprintf(what, sizeof(what), "%.64s of %s%s", cid, syn_format_bytes(size, bytes),
                   here ? "" : ", while it is unpacked,");
    return agt_cache_room(&instance->agent->cache, here ? size : 2 * size, what, err);
}

/* Lay `cid` out at `path`, downloading it first unless it is here; a damaged copy is repaired by
 * the download. Content has no modes, and a source's programs must run: every file may be executed,
 * in the sandbox. Under the fetch lock. */
static int
lay_out(struct agt_instance *instance, const char *text, const char *path, struct syn_err *err)
{
    struct syn_content *content = instance->agent->content;
    const unsigned flags = SYN_CONTENT_GET_REPLACE | SYN_CONTENT_GET_EXEC;
    struct syn_cid cid;
    int rc = syn_cid_parse(text, strlen(text), &cid, err);

    if (rc < 0)
        return rc;
    rc = syn_content_get(content, &cid, path, flags, NULL, NULL, err);
    if (rc != SYN_E_NOTFOUND && rc != SYN_E_CORRUPT)
        return rc;
    rc = download(instance, text, err);
    return rc < 0 ? rc : syn_content_get(content, &cid, path, flags, NULL, NULL, err);
}

int
agt_fetch(struct agt_instance *instance, const char *cid, char *out, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    int rc = agt_cache_path(&agent->cache, AGT_CACHE_FILES, cid, out, AGT_PATH_MAX, err);

    if (rc < 0)
        return rc;
    agt_cache_touch(&agent->cache, AGT_CACHE_FILES, cid);
    /* Complete or absent: syn_content_get() renames into place. What is there stays, because an
     * instance names it. */
    if (access(out, F_OK) == 0)
        return SYN_OK;
    rc = agt_report_preparing(instance, err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&agent->fetch_lock);
    if (access(out, F_OK) != 0) { /* somebody else may have fetched it meanwhile */
        rc = make_room(instance, cid, err);
        if (rc == SYN_OK)
            rc = lay_out(instance, cid, out, err);
    }
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    return rc;
}

static int
copy_file(int from, int to, const char *name, const struct stat *owner, struct syn_err *err)
{
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int target = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    ssize_t copied = 1;
    int rc = SYN_OK;

    while (source >= 0 && target >= 0 && copied > 0)
        copied = sendfile(target, source, NULL, (size_t)1 << 30);
    if (source < 0 || target < 0 || copied < 0 || fchown(target, owner->st_uid, owner->st_gid) != 0)
        rc = SYN_FAIL_SYS(err, errno, "copying %s of a checkpoint", name);
    if (source >= 0)
        (void)close(source);
    if (target >= 0)
        (void)close(target);
    return rc;
}

static int copy_folder(int from, int to, const char *name, const struct stat *owner, unsigned depth,
                       struct syn_err *err);

/* Copy everything below `from` into `to`, owned as `owner` says; closes `from`. */
static int
copy_tree(int from, int to, const struct stat *owner, unsigned depth, struct syn_err *err)
{
    DIR *dir = fdopendir(from);
    const struct dirent *entry;
    int rc = SYN_OK;

    if (dir == NULL) {
        (void)close(from);
        return SYN_FAIL_SYS(err, errno, "reading a checkpoint");
    }
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            rc = SYN_FAIL_SYS(err, errno, "checkpoint: %s", entry->d_name);
        else if (S_ISDIR(st.st_mode))
            rc = copy_folder(dirfd(dir), to, entry->d_name, owner, depth, err);
        else if (S_ISREG(st.st_mode))
            rc = copy_file(dirfd(dir), to, entry->d_name, owner, err);
    }
    (void)closedir(dir);
    return rc;
}

static int
copy_folder(int from, int to, const char *name, const struct stat *owner, unsigned depth,
            struct syn_err *err)
{
    int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int target;
    int rc;

    if (source < 0 || depth > 32)
        return SYN_FAIL_SYS(err, errno, "checkpoint: folder %s", name);
    if (mkdirat(to, name, 0755) != 0 && errno != EEXIST) {
        (void)close(source);
        return SYN_FAIL_SYS(err, errno, "checkpoint: making %s", name);
    }
    target = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0 || fchown(target, owner->st_uid, owner->st_gid) != 0) {
        (void)close(source);
        return SYN_FAIL_SYS(err, errno, "checkpoint: %s", name);
    }
    rc = copy_tree(source, target, owner, depth + 1, err);
    (void)close(target);
    return rc;
}

int
agt_fetch_into(struct agt_instance *instance, const char *cid, const char *path,
               struct syn_err *err)
{
    char cached[AGT_PATH_MAX];
    struct stat owner;
    int from;
    int to;
    int rc = agt_fetch(instance, cid, cached, err);

    if (rc < 0)
        return rc;
    to = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    from = open(cached, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0 || from < 0 || fstat(to, &owner) != 0) {
        rc = SYN_FAIL_SYS(err, errno, "laying checkpoint %s into %s", cid, path);
        if (from >= 0)
            (void)close(from);
    } else {
        rc = copy_tree(from, to, &owner, 0, err);
    }
    if (to >= 0)
        (void)close(to);
    return rc;
}
