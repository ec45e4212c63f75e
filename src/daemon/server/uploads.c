/* Routes of uploads: files and folders come in pieces, survive a broken connection and a restart,
 * and become content in one commit.
 *
 * An upload is a folder DATA/server/uploads/ID: `tree/` holds the files as they arrive (a file
 * upload holds one, named `file`), and the document upload/ID says whose it is. What was received
 * is the size of the file on disk: no second book to disagree with it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>

#include "server_priv.h"

#define UPLOAD_PATH_MAX  1000
#define UPLOAD_DEPTH_MAX 32
#define UPLOAD_FILE_MAX  (INT64_C(1) << 42)
#define UPLOAD_KEY_MAX   128
#define UPLOADS_MAX      1000   /* unfinished, of one account */
#define UPLOAD_LIST_MAX  200000 /* files in an answer */
#define DISK_KEPT_SHARE  20     /* a twentieth of the disk stays free: the store has to write */

/* --- paths ------------------------------------------------------------------------------------ */

/* A relative path without empty, "." or ".." parts. */
static bool
path_ok(const char *path)
{
    unsigned depth = 0;

    if (strlen(path) > UPLOAD_PATH_MAX || !syn_utf8_ok(path, strlen(path)))
        return false;
    for (const char *at = path;; at++) {
        size_t part = strcspn(at, "/");

        if (part == 0 || part > 255 || ++depth > UPLOAD_DEPTH_MAX || (part == 1 && at[0] == '.') ||
            (part == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += part;
        if (*at == '\0')
            return true;
    }
}

static const char *
upload_dir(const struct syn_server *server, const char *id, char *out)
{
    (void)snprintf(out, SRV_PATH_MAX, "%s/server/uploads/%s", server->data_dir, id);
    return out;
}

/* Open the folder `tree` of an upload; every step below it refuses symbolic links. */
static int
open_tree(const struct syn_server *server, const char *id, int *ret_fd, struct syn_err *err)
{
    char dir[SRV_PATH_MAX];
    char path[SRV_PATH_MAX + 8];

    (void)snprintf(path, sizeof(path), "%s/tree", upload_dir(server, id, dir));
    *ret_fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*ret_fd < 0)
        return SYN_FAIL_SYS(err, errno, "upload %s", id);
    return SYN_OK;
}

/* Walk to the folder of `path`, making what is missing; *ret_name points at its last part. */
static int
open_parent(const struct syn_server *server, const char *id, const char *path, int *ret_fd,
            const char **ret_name, struct syn_err *err)
{
    int fd;
    int rc = open_tree(server, id, &fd, err);

    for (const char *at = path; rc == SYN_OK;) {
        size_t len = strcspn(at, "/");
        char part[256];
        int next;

        if (at[len] == '\0') {
            *ret_fd = fd;
            *ret_name = at;
            return SYN_OK;
        }
        (void)snprintf(part, sizeof(part), "%.*s", (int)len, at);
        if (mkdirat(fd, part, 0755) != 0 && errno != EEXIST) {
            rc = SYN_FAIL_SYS(err, errno, "upload %s: making folder %s", id, part);
        } else {
            next = openat(fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (next < 0)
                rc = SYN_FAIL_SYS(err, errno, "upload %s: %s", id, part);
            (void)close(fd);
            fd = next;
        }
        at += len + 1;
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

void
srv_upload_remove(const struct syn_server *server, const char *id)
{
    char dir[SRV_PATH_MAX];

    syn_tree_remove(upload_dir(server, id, dir));
}

/* --- the document ----------------------------------------------------------------------------- */

static int
load_any(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
         int64_t *ret_revision, struct syn_err *err)
{
    const char *id = syn_http_req_param(req, "id");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no upload %.60s", id);
    rc = srv_need(server, srv_key(key, "upload", id, NULL), "upload", &doc, ret_revision, err);
    if (rc == SYN_OK && !syn_str_eq(syn_json_str(doc, "account", ""), srv_identity(req)->account))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no upload %s", id);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

/* The same, of one that is not committed yet. */
static int
load_upload(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
            struct syn_err *err)
{
    int64_t revision;
    SYN_JSON(doc);
    int rc = load_any(server, req, &doc, &revision, err);

    if (rc == SYN_OK && json_object_get(doc, "answer") != NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "upload %s is committed", syn_json_str(doc, "id", ""));
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

/* nftw() has no argument, so the walk for the answer is our own: bounded depth, no links followed.
 */
static int
add_files(int dir_fd, const char *prefix, unsigned depth, json_t *files, struct syn_err *err)
{
    DIR *dir = fdopendir(dir_fd);
    const struct dirent *entry;
    int rc = SYN_OK;

    if (dir == NULL) {
        (void)close(dir_fd);
        return SYN_FAIL_SYS(err, errno, "listing an upload");
    }
    while (rc == SYN_OK && (entry = readdir(dir)) != NULL) {
        char path[UPLOAD_PATH_MAX + 2];
        struct stat st;
        json_t *file = NULL;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (json_array_size(files) >= UPLOAD_LIST_MAX)
            rc = SYN_FAIL(err, SYN_E_LIMIT, "an upload of more than %d files cannot be looked at",
                          UPLOAD_LIST_MAX);
        (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == '\0' ? "" : "/",
                       entry->d_name);
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < UPLOAD_DEPTH_MAX) {
            int fd =
                openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            if (fd >= 0)
                rc = add_files(fd, path, depth + 1, files, err);
            continue;
        }
        if (rc == SYN_OK)
            rc = syn_json_pack(&file, err, "{s:s, s:I}", "path", path, "received_bytes",
                               (json_int_t)(S_ISREG(st.st_mode) ? st.st_size : 0));
        if (rc == SYN_OK)
            rc = syn_json_append_take(files, file, err);
    }
    (void)closedir(dir);
    return rc;
}

static int
reply_upload(struct syn_server *server, struct syn_http_req *req, int status, json_t *doc,
             struct syn_err *err)
{
    const char *id = syn_json_str(doc, "id", "");
    json_t *files = json_array();
    char dir[SRV_PATH_MAX];
    char path[SRV_PATH_MAX + 8];
    int fd;
    int rc = syn_json_set_take(doc, "files", files, err);

    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "%s/tree", upload_dir(server, id, dir));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "upload %s", id);
    rc = add_files(fd, "", 0, files, err);
    return rc < 0 ? rc : syn_http_reply_json(req, status, doc, err);
}

static int
make_dirs(const struct syn_server *server, const char *id, struct syn_err *err)
{
    char dir[SRV_PATH_MAX];
    char tree[SRV_PATH_MAX + 8];

    (void)upload_dir(server, id, dir);
    (void)snprintf(tree, sizeof(tree), "%s/tree", dir);
    if (mkdir(dir, 0700) != 0 || mkdir(tree, 0700) != 0)
        return SYN_FAIL_SYS(err, errno, "making %s", tree);
    return SYN_OK;
}

/* The unfinished upload that the client's own key names, or NULL. */
static int
find_by_key(struct syn_server *server, const char *account, const char *key_text, json_t **ret_doc,
            char *key, struct syn_err *err)
{
    char upload_key[SRV_KEY_MAX];
    SYN_JSON(id);
    int rc = srv_load(server, srv_key(key, "upload-key", account, key_text), &id, NULL, err);

    *ret_doc = NULL;
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    rc = srv_load(server, srv_key(upload_key, "upload", json_string_value(id), NULL), ret_doc, NULL,
                  err);
    return rc < 0 ? rc : SYN_OK;
}

static int
create_upload(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const char *account = srv_identity(req)->account;
    const json_t *body = syn_http_req_json(req);
    const char *key_text = syn_json_str(body, "key", "");
    char by_key[SRV_KEY_MAX] = "";
    char key[SRV_KEY_MAX];
    char id[SYN_ID_MAX];
    char at[SYN_FORMAT_MAX];
    int64_t count = 0;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = SYN_OK;

    if (key_text[0] != '\0' && !syn_name_ok(key_text))
        return SYN_FAIL(err, SYN_E_INVALID, "key: expected lower-case letters, digits and dashes");
    if (key_text[0] != '\0')
        rc = find_by_key(server, account, key_text, &doc, by_key, err);
    if (rc < 0 || doc != NULL)
        return rc < 0 ? rc : reply_upload(server, req, 200, doc, err);
    rc = syn_store_count(server->store, srv_key(key, "upload-of", account, ""), &count, err);
    if (rc == SYN_OK && count >= UPLOADS_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "%d uploads are unfinished: commit or delete some",
                      UPLOADS_MAX);
    if (rc < 0)
        return rc;
    rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:s, s:s}", "id",
                       syn_make_id(server->world, "up", id), "account", account, "kind",
                       syn_json_str(body, "kind", "file"), "key", key_text, "created_at",
                       syn_format_time(syn_wall_ms(server->world), at));
    if (rc == SYN_OK)
        rc = make_dirs(server, id, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(&txn, srv_key(key, "upload", id, NULL), 0, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(&txn, srv_key(key, "upload-of", account, id), id, err);
    if (rc == SYN_OK && by_key[0] != '\0')
        rc = srv_txn_check(&txn, by_key, 0, err);
    if (rc == SYN_OK && by_key[0] != '\0')
        rc = srv_txn_put_text(&txn, by_key, id, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(server, &txn, NULL, err);
    if (rc == SYN_STORE_CONFLICT)
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "another upload with the key %s begins right now",
                      key_text);
    if (rc < 0)
        srv_upload_remove(server, id);
    return rc < 0 ? rc : reply_upload(server, req, 201, doc, err);
}

static int
get_upload(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = load_upload(ctx, req, &doc, err);

    return rc < 0 ? rc : reply_upload(ctx, req, 200, doc, err);
}

int
srv_upload_forget(const json_t *doc, struct srv_txn *txn, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    const char *account = syn_json_str(doc, "account", "?");
    const char *key_text = syn_json_str(doc, "key", "");
    int rc =
        srv_txn_delete(txn, srv_key(key, "upload-of", account, syn_json_str(doc, "id", "?")), err);

    /* The key of a committed upload may name a new one by now. */
    if (rc == SYN_OK && key_text[0] != '\0' && json_object_get(doc, "answer") == NULL)
        rc = srv_txn_delete(txn, srv_key(key, "upload-key", account, key_text), err);
    return rc;
}

static int
delete_documents(struct syn_server *server, const json_t *doc, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SRV_TXN(txn);
    int rc = srv_upload_forget(doc, &txn, err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, srv_key(key, "upload", syn_json_str(doc, "id", "?"), NULL), err);
    return rc < 0 ? rc : srv_txn_commit(server, &txn, NULL, err);
}

static int
delete_upload(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_JSON(doc);
    int rc = load_upload(server, req, &doc, err);
    const char *id = syn_json_str(doc, "id", "?");

    if (rc < 0)
        return rc;
    rc = delete_documents(server, doc, err);
    if (rc == SYN_E_NOSPACE) { /* what it leaves behind is the room to say so */
        srv_upload_remove(server, id);
        rc = delete_documents(server, doc, err);
    }
    if (rc == SYN_OK)
        srv_upload_remove(server, id);
    return rc < 0 ? rc : SYN_OK;
}

/* --- data ------------------------------------------------------------------------------------- */

/* The path that this upload's kind and the query ask for. */
static int
data_path(struct syn_http_req *req, const json_t *doc, const char **ret_path, struct syn_err *err)
{
    const char *path = syn_json_str(syn_http_req_query_json(req), "path", "");

    if (syn_str_eq(syn_json_str(doc, "kind", ""), "file")) {
        if (path[0] != '\0')
            return SYN_FAIL(err, SYN_E_INVALID, "path: an upload of one file takes none");
        path = "file";
    } else if (!path_ok(path)) {
        return SYN_FAIL(err, SYN_E_INVALID,
                        "path: expected a relative path without \"..\", got \"%.80s\"", path);
    }
    *ret_path = path;
    return SYN_OK;
}

int
srv_disk_room(const struct syn_server *server, int64_t more_bytes, struct syn_err *err)
{
    struct statvfs fs;
    uint64_t kept, more;

    if (statvfs(server->data_dir, &fs) != 0)
        return SYN_FAIL_SYS(err, errno, "looking at the disk of %s", server->data_dir);
    kept = fs.f_blocks / DISK_KEPT_SHARE;
    more = (uint64_t)SYN_MAX(more_bytes, 0) / fs.f_frsize;
    if (fs.f_bavail < kept)
        return SYN_FAIL(err, SYN_E_NOSPACE,
                        "the platform's disk is nearly full: collect with `synor storage gc`");
    if (fs.f_bavail - kept < more)
        return SYN_FAIL(err, SYN_E_NOSPACE,
                        "the platform's disk has no room for %lld bytes more: collect with"
                        " `synor storage gc`",
                        (long long)more_bytes);
    return SYN_OK;
}

/* So much is to come, as far as it is said. */
static int64_t
announced(struct syn_http_req *req, int64_t offset)
{
    const char *length = syn_http_req_header(req, "content-length");
    int64_t size = syn_json_i64(syn_http_req_query_json(req), "size", 0), bytes = 0;

    if (length == NULL || syn_parse_i64(length, 0, UPLOAD_FILE_MAX, "", &bytes, NULL) < 0)
        bytes = 0;
    return SYN_MAX(bytes, size - offset);
}

static void
close_upload(void *arg, int64_t received)
{
    int fd = (int)(intptr_t)arg;

    (void)received;
    (void)close(fd);
}

static int
begin_data(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload, struct syn_err *err)
{
    int64_t offset = syn_json_i64(syn_http_req_query_json(req), "offset", 0);
    const char *path = "";
    const char *name = "";
    struct stat st;
    int parent = -1;
    int fd;
    SYN_JSON(doc);
    int rc = load_upload(ctx, req, &doc, err);

    if (rc == SYN_OK)
        rc = srv_disk_room(ctx, announced(req, offset), err);
    if (rc == SYN_OK)
        rc = data_path(req, doc, &path, err);
    if (rc == SYN_OK)
        rc = open_parent(ctx, syn_json_str(doc, "id", "?"), path, &parent, &name, err);
    if (rc < 0)
        return rc;
    fd = openat(parent, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    (void)close(parent);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = SYN_FAIL_SYS(err, errno, "upload: %s", path);
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    if (st.st_size != offset) {
        (void)close(fd);
        syn_http_error_details_take(req,
                                    json_pack("{s:I}", "received_bytes", (json_int_t)st.st_size));
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s: %lld bytes were received, the offset is %lld",
                        path, (long long)st.st_size, (long long)offset);
    }
    upload->fd = fd;
    upload->offset = offset;
    upload->bytes_max =
        SYN_MAX(syn_json_i64(syn_http_req_query_json(req), "size", UPLOAD_FILE_MAX) - offset, 1);
    upload->arg = (void *)(intptr_t)fd;
    upload->drop = close_upload;
    return SYN_OK;
}

static int
end_data(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    int64_t offset = syn_json_i64(syn_http_req_query_json(req), "offset", 0);
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:I}", "received_bytes",
                           (json_int_t)offset + (json_int_t)syn_http_req_received(req));

    (void)ctx;
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
put_link(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *target = syn_json_str(syn_http_req_json(req), "target", "");
    const char *path = "";
    const char *name = "";
    int parent = -1;
    SYN_JSON(doc);
    int rc = load_upload(ctx, req, &doc, err);

    /* The commit follows the path it is given: a file upload must never be a link. */
    if (rc == SYN_OK && syn_str_eq(syn_json_str(doc, "kind", ""), "file"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a link stands in a folder: begin an upload of kind \"folder\"");
    if (rc == SYN_OK)
        rc = data_path(req, doc, &path, err);
    if (rc == SYN_OK)
        rc = open_parent(ctx, syn_json_str(doc, "id", "?"), path, &parent, &name, err);
    if (rc < 0)
        return rc;
    if (symlinkat(target, parent, name) != 0 && errno != EEXIST)
        rc = SYN_FAIL_SYS(err, errno, "upload: link %s", path);
    (void)close(parent);
    return rc;
}

/* One that holds files comes with them; this is for one that holds nothing. */
static int
put_folder(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *path = "";
    const char *name = "";
    struct stat st;
    int parent = -1;
    SYN_JSON(doc);
    int rc = load_upload(ctx, req, &doc, err);

    if (rc == SYN_OK && syn_str_eq(syn_json_str(doc, "kind", ""), "file"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a folder stands in a folder: begin an upload of kind \"folder\"");
    if (rc == SYN_OK)
        rc = data_path(req, doc, &path, err);
    if (rc == SYN_OK)
        rc = open_parent(ctx, syn_json_str(doc, "id", "?"), path, &parent, &name, err);
    if (rc < 0)
        return rc;
    if (mkdirat(parent, name, 0755) != 0 && errno != EEXIST)
        rc = SYN_FAIL_SYS(err, errno, "upload: folder %s", path);
    else if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
        rc = SYN_FAIL(err, SYN_E_CONFLICT, "%s is no folder in this upload", path);
    (void)close(parent);
    return rc;
}

/* --- commit ----------------------------------------------------------------------------------- */

/* An upload whose content is stored: what is left is to write so. */
struct committing {
    struct syn_http_req *req;
    json_t *doc; /* the upload's, with the answer in it */
    int64_t revision;
    struct syn_cid cid;
};

static int
keep_pin(struct syn_server *server, struct srv_txn *txn, const struct committing *committing,
         struct syn_err *err)
{
    const char *account = srv_identity(committing->req)->account;
    char text[SYN_CID_TEXT_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(pin);
    int rc;

    (void)srv_key(key, "pin", account, syn_cid_format(&committing->cid, text));
    rc = srv_storage_claim(server, txn, account, key, &committing->cid, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&pin, err, "{s:s, s:O}", "cid", text, "created_at",
                           json_object_get(committing->doc, "created_at"));
    return rc < 0 ? rc : srv_txn_put(txn, key, pin, err);
}

/* Is the upload what it was when its content was read? */
static int
check_unchanged(struct syn_server *server, const char *key, int64_t revision, struct syn_err *err)
{
    int64_t now = 0;
    SYN_JSON(doc);
    int rc = srv_load(server, key, &doc, &now, err);

    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT || now != revision)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the upload was committed or deleted meanwhile");
    return SYN_OK;
}

/* Name and pin it as the request asks, and keep the answer in the upload's document: a commit whose
 * answer got lost is asked for again. */
static int
commit_documents(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct committing *committing = arg;
    const json_t *body = syn_http_req_json(committing->req);
    const char *name = syn_json_str(body, "name", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(before);
    int rc;

    (void)srv_key(key, "upload", syn_json_str(committing->doc, "id", "?"), NULL);
    rc = check_unchanged(server, key, committing->revision, err);
    if (rc == SYN_OK && name[0] != '\0')
        rc = srv_name_put(server, txn, srv_identity(committing->req)->account, name,
                          &committing->cid, NULL, err);
    if (rc == SYN_OK && syn_json_bool(body, "pin", false))
        rc = keep_pin(server, txn, committing, err);
    if (rc < 0)
        return rc;
    before = json_copy(committing->doc);
    if (before == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an upload");
    (void)json_object_del(before, "answer");
    rc = srv_upload_forget(before, txn, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, committing->revision, committing->doc, err);
}

static int
commit_upload(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const char *name = syn_json_str(syn_http_req_json(req), "name", "");
    char path[SRV_PATH_MAX + 16];
    char dir[SRV_PATH_MAX];
    char text[SYN_CID_TEXT_MAX];
    struct syn_content_tally tally = {0};
    struct committing committing = {.req = req};
    json_t *answer = NULL;
    SRV_GUARD(guard); /* from before the content is there until a document names it */
    SYN_JSON(doc);
    int rc = load_any(server, req, &doc, &committing.revision, err);

    if (rc == SYN_OK && name[0] != '\0' && !srv_content_name_ok(name))
        return SYN_FAIL(err, SYN_E_INVALID, "name: \"%.60s\" is no name", name);
    if (rc < 0)
        return rc;
    if (json_object_get(doc, "answer") != NULL)
        return syn_http_reply_json(req, 200, json_object_get(doc, "answer"), err);
    (void)snprintf(path, sizeof(path), "%s/tree%s",
                   upload_dir(server, syn_json_str(doc, "id", "?"), dir),
                   syn_str_eq(syn_json_str(doc, "kind", ""), "file") ? "/file" : "");
    rc = syn_content_guard_new(server->content, &guard, err);
    if (rc == SYN_OK)
        rc = syn_content_put_path(server->content, path, NULL, NULL, &committing.cid, &tally, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:s, s:I, s:I, s:s?}", "cid",
                           syn_cid_format(&committing.cid, text), "size_bytes",
                           (json_int_t)tally.bytes, "files", (json_int_t)tally.files, "name",
                           name[0] != '\0' ? name : NULL);
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "answer", answer, err);
    committing.doc = doc;
    if (rc == SYN_OK)
        rc = srv_change(server, "what the account keeps", commit_documents, &committing, NULL, err);
    if (rc < 0)
        return rc;
    srv_upload_remove(server, syn_json_str(doc, "id", "?"));
    return syn_http_reply_json(req, 200, json_object_get(doc, "answer"), err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field create_fields[] = {
    {.name = "kind",
     .kind = SYN_FIELD_STR,
     .choices = "file|folder",
     .required = true,
     .help = "What comes"},
    {.name = "key",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = UPLOAD_KEY_MAX,
     .fallback = "\"\"",
     .help = "The client's own name for it: finds the unfinished upload again"},
};
static const struct syn_schema create_schema = SYN_SCHEMA("UploadCreate", create_fields);

static const struct syn_field data_fields[] = {
    {.name = "path",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = UPLOAD_PATH_MAX,
     .fallback = "\"\"",
     .help = "Inside the folder"},
    {.name = "offset",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = UPLOAD_FILE_MAX,
     .fallback = "0",
     .help = "Must be what was received"},
    {.name = "size",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = UPLOAD_FILE_MAX,
     .help = "Of the whole file, when it is known: more is refused"},
};
static const struct syn_schema data_schema = SYN_SCHEMA("UploadData", data_fields);

static const struct syn_field link_fields[] = {
    {.name = "target",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 4095,
     .required = true,
     .help = "Of the symbolic link"},
};
static const struct syn_schema link_schema = SYN_SCHEMA("UploadLink", link_fields);

static const struct syn_field commit_fields[] = {
    {.name = "name",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 200,
     .fallback = "\"\"",
     .help = "Name for it"},
    {.name = "pin", .kind = SYN_FIELD_BOOL, .fallback = "false", .help = "Keep it without a name"},
};
static const struct syn_schema commit_schema = SYN_SCHEMA("UploadCommit", commit_fields);

#define SCOPES (SYN_SCOPE_TENANT | SYN_SCOPE_NODE)

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/uploads",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .body_max = SRV_BODY_MAX,
     .handler = create_upload,
     .body = &create_schema,
     .name = "uploads.create",
     .summary = "Begin an upload, or find an unfinished one"},
    {.method = "GET",
     .pattern = "/v1/uploads/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .handler = get_upload,
     .name = "uploads.get",
     .summary = "What has been received"},
    {.method = "DELETE",
     .pattern = "/v1/uploads/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .handler = delete_upload,
     .name = "uploads.delete",
     .summary = "Give it up"},
    {.method = "PUT",
     .pattern = "/v1/uploads/{id}/data",
     .kind = SYN_HTTP_UPLOAD,
     .body_max = (size_t)UPLOAD_FILE_MAX,
     .scopes = SCOPES,
     .begin = begin_data,
     .handler = end_data,
     .query = &data_schema,
     .name = "uploads.data",
     .summary = "Append bytes to a file"},
    {.method = "PUT",
     .pattern = "/v1/uploads/{id}/link",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .body_max = SRV_BODY_MAX,
     .handler = put_link,
     .query = &data_schema,
     .body = &link_schema,
     .name = "uploads.link",
     .summary = "Make a symbolic link"},
    {.method = "PUT",
     .pattern = "/v1/uploads/{id}/folder",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .handler = put_folder,
     .query = &data_schema,
     .name = "uploads.folder",
     .summary = "Make a folder that holds nothing"},
    {.method = "POST",
     .pattern = "/v1/uploads/{id}/commit",
     .kind = SYN_HTTP_POOL,
     .scopes = SCOPES,
     .body_max = SRV_BODY_MAX,
     .handler = commit_upload,
     .body = &commit_schema,
     .name = "uploads.commit",
     .summary = "Make it content; durable when answered"},
};

const struct srv_routes srv_upload_routes = {rows, SYN_LEN(rows)};
