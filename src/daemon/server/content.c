/* Routes of content: looking, reading, CAR, checking, collecting. A CID may be read by whoever can
 * name it; everything read is verified by the content store. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "server_priv.h"

/* The CID of the path's `{cid}` (a CID or a name) with the query's `path` walked below it. */
static int
find_cid(struct syn_server *server, struct syn_http_req *req, struct syn_cid *ret_cid,
         struct syn_err *err)
{
    const char *path = syn_json_str(syn_http_req_query_json(req), "path", "");
    char text[SYN_CID_TEXT_MAX];
    struct syn_cid root;
    int rc =
        srv_resolve(server, srv_identity(req)->account, syn_http_req_param(req, "cid"), text, err);

    if (rc == SYN_OK)
        rc = syn_cid_parse(text, strlen(text), &root, err);
    if (rc == SYN_OK)
        rc = syn_content_resolve(server->content, &root, path, ret_cid, err);
    return rc;
}

static int
get_stat(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct syn_content_stat stat;
    struct syn_cid cid;
    char text[SYN_CID_TEXT_MAX];
    SYN_JSON(answer);
    int rc = find_cid(server, req, &cid, err);

    if (rc == SYN_OK)
        rc = syn_content_stat(server->content, &cid, &stat, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:s, s:s, s:I, s:I, s:b}", "cid",
                           syn_cid_format(&cid, text), "type", syn_content_type_name(stat.type),
                           "size_bytes", (json_int_t)stat.size, "links", (json_int_t)stat.links,
                           "sharded", stat.sharded ? 1 : 0);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- listing ---------------------------------------------------------------------------------- */

#define LIST_ENTRIES_MAX 100000
#define LIST_DEPTH_MAX   64
#define CAR_BYTES_MAX    (INT64_C(1) << 42)
#define DAMAGED_MAX      1000 /* blocks that a report names */
#define AFFECTED_MAX     1000 /* names, pins and jobs that it names */

struct walk {
    struct syn_server *server;
    json_t *items;
    struct syn_err *err;
    char prefix[1024];
    unsigned depth;
    bool recursive;
};

static int list_folder(struct walk *walk, const struct syn_cid *cid);

static int
add_target(const struct walk *walk, const struct syn_content_item *item, json_t *entry)
{
    SYN_BUF(target);
    int rc;

    if (item->type != SYN_CONTENT_SYMLINK)
        return SYN_OK;
    rc = syn_content_readlink(walk->server->content, &item->cid, &target, walk->err);
    return rc < 0 ? rc : syn_json_set_str(entry, "target", syn_buf_text(&target), walk->err);
}

static int
on_item(void *arg, const struct syn_content_item *item)
{
    struct walk *walk = arg;
    char text[SYN_CID_TEXT_MAX];
    char path[sizeof(walk->prefix)];
    json_t *entry = NULL;
    int rc;

    if (json_array_size(walk->items) >= LIST_ENTRIES_MAX)
        return SYN_FAIL(walk->err, SYN_E_LIMIT, "more than %d entries: list a folder inside",
                        LIST_ENTRIES_MAX);
    if (snprintf(path, sizeof(path), "%s%s%s", walk->prefix, walk->prefix[0] == '\0' ? "" : "/",
                 item->name) >= (int)sizeof(path))
        return SYN_FAIL(walk->err, SYN_E_LIMIT, "path too long below %s", walk->prefix);
    rc = syn_json_pack(&entry, walk->err, "{s:s, s:s, s:I, s:s}", "path", path, "type",
                       syn_content_type_name(item->type), "size_bytes", (json_int_t)item->size,
                       "cid", syn_cid_format(&item->cid, text));
    if (rc == SYN_OK)
        rc = add_target(walk, item, entry);
    if (rc < 0) {
        json_decref(entry);
        return rc;
    }
    rc = syn_json_append_take(walk->items, entry, walk->err);
    if (rc == SYN_OK && walk->recursive && item->type == SYN_CONTENT_DIR) {
        size_t len = strlen(walk->prefix);

        if (walk->depth == LIST_DEPTH_MAX)
            return SYN_FAIL(walk->err, SYN_E_LIMIT, "folders nested deeper than %d",
                            LIST_DEPTH_MAX);
        (void)syn_str_copy(walk->prefix, sizeof(walk->prefix), path);
        walk->depth++;
        rc = list_folder(walk, &item->cid);
        walk->depth--;
        walk->prefix[len] = '\0';
    }
    return rc;
}

static int
list_folder(struct walk *walk, const struct syn_cid *cid)
{
    struct syn_content_page page = {.limit = LIST_ENTRIES_MAX};

    return syn_content_list(walk->server->content, cid, &page, on_item, walk, walk->err);
}

static int
get_list(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct walk walk = {.server = ctx, .err = err};
    struct syn_cid cid;
    SYN_JSON(items);
    SYN_JSON(answer);
    int rc = find_cid(ctx, req, &cid, err);

    items = json_array();
    if (items == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    walk.items = items;
    walk.recursive = syn_json_bool(syn_http_req_query_json(req), "recursive", false);
    if (rc == SYN_OK)
        rc = list_folder(&walk, &cid);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:n}", "items", items, "next");
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* A file on its way to a client, pulled piece by piece. A block is read and verified once, whatever
 * the size of the pieces. */
struct reading {
    struct syn_content *content;
    struct syn_cid cid;
    uint64_t at;
    uint64_t size;
    char *block; /* from `block_at` on */
    uint64_t block_at;
    size_t block_len;
};

static void
reading_free(void *arg)
{
    struct reading *reading = arg;

    if (reading != NULL)
        syn_free(reading->block);
    syn_free(reading);
}

static int
fill(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct reading *reading = arg;

    (void)err;
    memcpy(reading->block + reading->block_len, data, len);
    reading->block_len += len;
    return SYN_OK;
}

/* Have the block around `at`, from `at` on. */
static int
fill_block(struct reading *reading, struct syn_err *err)
{
    uint64_t end = (reading->at / SYN_UNIXFS_CHUNK_BYTES + 1) * SYN_UNIXFS_CHUNK_BYTES;

    reading->block_at = reading->at;
    reading->block_len = 0;
    return syn_content_read(reading->content, &reading->cid, reading->at, end - reading->at, fill,
                            reading, err);
}

static int
pull_file(void *arg, char *buf, size_t cap, size_t *ret_len, struct syn_err *err)
{
    struct reading *reading = arg;
    size_t skip;
    int rc;

    if (reading->at == reading->block_at + reading->block_len && reading->at < reading->size) {
        rc = fill_block(reading, err);
        if (rc < 0)
            return rc;
    }
    skip = (size_t)(reading->at - reading->block_at);
    *ret_len = SYN_MIN(cap, reading->block_len - skip);
    memcpy(buf, reading->block + skip, *ret_len);
    reading->at += *ret_len;
    return SYN_OK;
}

/* The first block is read before the answer begins: what is wrong with it can still be said. */
static int
reading_new(struct syn_content *content, const struct syn_cid *cid, uint64_t at, uint64_t size,
            struct reading **ret, struct syn_err *err)
{
    struct reading *reading = syn_calloc(1, sizeof(*reading));
    int rc;

    if (reading == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read content");
    *reading = (struct reading){.content = content, .cid = *cid, .at = at, .size = size};
    reading->block = syn_alloc(SYN_UNIXFS_CHUNK_BYTES);
    rc = reading->block == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory to read content")
                                : fill_block(reading, err);
    if (rc < 0)
        reading_free(reading);
    else
        *ret = reading;
    return rc;
}

static int
get_data(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct syn_content_stat stat;
    struct reading *reading = NULL;
    struct syn_cid cid;
    char text[SYN_CID_TEXT_MAX];
    int64_t offset = syn_json_i64(syn_http_req_query_json(req), "offset", 0);
    int rc = find_cid(server, req, &cid, err);

    if (rc == SYN_OK)
        rc = syn_content_stat(server->content, &cid, &stat, err);
    if (rc == SYN_OK && stat.type != SYN_CONTENT_FILE)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is a %s: list it, or export it as CAR",
                        syn_http_req_param(req, "cid"), syn_content_type_name(stat.type));
    if (rc == SYN_OK && (uint64_t)offset > stat.size)
        return SYN_FAIL(err, SYN_E_INVALID, "offset: the file has %llu bytes",
                        (unsigned long long)stat.size);
    if (rc == SYN_OK)
        rc = syn_http_reply_etag(req, syn_cid_format(&cid, text), err);
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    rc = reading_new(server->content, &cid, (uint64_t)offset, stat.size, &reading, err);
    if (rc < 0)
        return rc;
    syn_http_reply_pull(req, 200, "application/octet-stream",
                        (int64_t)(stat.size - (uint64_t)offset), pull_file, reading, reading_free);
    return SYN_OK;
}

/* --- CAR -------------------------------------------------------------------------------------- */

/* The exporter pushes and the server pulls: it goes through an unnamed file between them. */
static int
write_fd(void *arg, const void *data, size_t len, struct syn_err *err)
{
    const int *fd = arg;
    const char *at = data;

    while (len > 0) {
        ssize_t wrote = write(*fd, at, len);

        if (wrote < 0)
            return SYN_FAIL_SYS(err, errno, "writing a CAR");
        at += wrote;
        len -= (size_t)wrote;
    }
    return SYN_OK;
}

static int
get_car(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    char dir[SRV_PATH_MAX + 16];
    struct syn_cid cid;
    int fd;
    int rc = find_cid(server, req, &cid, err);

    if (rc == SYN_OK)
        rc = srv_disk_room(server, 0, err);
    if (rc < 0)
        return rc;
    (void)snprintf(dir, sizeof(dir), "%s/server/uploads", server->data_dir);
    fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a file for a CAR");
    rc = syn_content_car_export(server->content, &cid, 1, write_fd, &fd, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    syn_http_reply_fd_take(req, 200, "application/vnd.ipld.car", fd, 0, lseek(fd, 0, SEEK_END));
    return SYN_OK;
}

static int
sink_car(void *arg, const void *data, size_t len, struct syn_err *err)
{
    return syn_content_car_write(arg, data, len, err);
}

static void
drop_car(void *arg, int64_t received)
{
    (void)received;
    (void)syn_content_car_free(arg);
}

/* The import that runs for this request: the sink's argument is also what the handler commits. */
static int
begin_car(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct syn_content_car *car = NULL;
    int rc = srv_disk_room(server, 0, err);

    (void)req;
    if (rc == SYN_OK)
        rc = syn_content_car_new(server->content, &car, err);
    if (rc < 0)
        return rc;
    upload->fd = -1;
    upload->sink = sink_car;
    upload->arg = car;
    upload->drop = drop_car;
    upload->bytes_max = CAR_BYTES_MAX;
    return SYN_OK;
}

static int
end_car(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_content_car *car = syn_http_req_upload_arg(req);
    const struct syn_cid *roots;
    size_t count;
    json_t *list = json_array();
    SYN_JSON(answer);
    int rc = syn_content_car_commit(car, &roots, &count, err);

    (void)ctx;
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        char text[SYN_CID_TEXT_MAX];

        rc = syn_json_append_take(list, json_string(syn_cid_format(&roots[i], text)), err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O}", "roots", list);
    json_decref(list);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- keeping ---------------------------------------------------------------------------------- */

static int
get_usage(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct syn_content_usage usage;
    SYN_JSON(answer);
    int rc = syn_content_usage(server->content, &usage, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I, s:I, s:I, s:I, s:I}", "blocks",
                           (json_int_t)usage.blocks, "size_bytes", (json_int_t)usage.bytes,
                           "stored_bytes", (json_int_t)usage.stored_bytes, "disk_bytes",
                           (json_int_t)usage.disk_bytes, "put_bytes", (json_int_t)usage.put_bytes);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static void
add_bad(void *arg, const struct syn_cid *cid, const struct syn_err *why)
{
    char text[SYN_CID_TEXT_MAX];
    json_t *list = arg;

    if (json_array_size(list) < DAMAGED_MAX)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s}", "cid", syn_cid_format(cid, text), "message", why->msg));
}

/* What must stay: names, pins, and whatever jobs and checkpoints refer to; and, for gc, instances
 * whose run is not settled. */
static const char *const root_prefixes[] = {
    "name/",       "pin/",     "image/",           "training/",
    "checkpoint/", "service/", "service-version/", "function-version/"};

typedef int (*root_fn)(void *arg, const char *key, const struct syn_cid *cid, struct syn_err *err);

struct root_walk {
    root_fn fn;
    void *arg;
};

static int
give_root(const struct root_walk *walk, const char *key, const char *text, struct syn_err *err)
{
    struct syn_cid cid;

    if (text == NULL || text[0] == '\0' || syn_cid_parse(text, strlen(text), &cid, NULL) < 0)
        return SYN_OK;
    return walk->fn(walk->arg, key, &cid, err);
}

static int
give_roots(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    static const char *const places[] = {"cid",
                                         "image_cid",
                                         "code_cid",
                                         "layer_cid",
                                         "status.source_cid",
                                         "status.dataset_cid",
                                         "status.image_cid",
                                         "status.checkpoint.cid",
                                         "status.result.cid",
                                         "spec.code_cid",
                                         "spec.dataset_cid",
                                         "spec.image_cid",
                                         "spec.checkpoint_cid"};
    const json_t *mount;
    size_t m;
    int rc = SYN_OK;

    (void)revision;
    if (syn_str_starts(key, "pin/"))
        return give_root(arg, key, strrchr(key, '/') + 1, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(places); i++)
        rc = give_root(arg, key, json_string_value(syn_json_at(doc, places[i])), err);
    json_array_foreach (syn_json_at(doc, "spec.mounts"), m, mount)
        if (rc == SYN_OK)
            rc = give_root(arg, key, syn_json_str(mount, "cid", ""), err);
    return rc;
}

/* Every CID that must stay, with the key of the document that says so. */
static int
each_root(struct syn_server *server, root_fn fn, void *arg, struct syn_err *err)
{
    struct root_walk walk = {fn, arg};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(root_prefixes); i++)
        rc = srv_each(server, root_prefixes[i], give_roots, &walk, err);
    return rc;
}

struct affected {
    struct syn_server *server;
    json_t *items;
    json_t *known; /* CID -> damaged blocks */
};

static int
damage_of(struct affected *affected, const struct syn_cid *cid, const char *text,
          uint64_t *ret_blocks, struct syn_err *err)
{
    const json_t *known = json_object_get(affected->known, text);
    int rc;

    if (known != NULL) {
        *ret_blocks = (uint64_t)json_integer_value(known);
        return SYN_OK;
    }
    rc = syn_content_damage(affected->server->content, cid, ret_blocks, err);
    return rc < 0 ? rc
                  : syn_json_set_i64(affected->known, text,
                                     (int64_t)SYN_MIN(*ret_blocks, INT64_MAX), err);
}

/* "name/ACCOUNT/NAME" and "training/ID" become {"kind", "id"}. */
static int
add_affected(void *arg, const char *key, const struct syn_cid *cid, struct syn_err *err)
{
    struct affected *affected = arg;
    const char *slash = strchr(key, '/');
    char text[SYN_CID_TEXT_MAX];
    uint64_t blocks = 0;
    json_t *item = NULL;
    int rc = damage_of(affected, cid, syn_cid_format(cid, text), &blocks, err);

    if (rc < 0 || blocks == 0 || json_array_size(affected->items) >= AFFECTED_MAX)
        return rc;
    if (syn_str_starts(key, "name/") || syn_str_starts(key, "pin/") ||
        syn_str_starts(key, "image/"))
        slash = strchr(slash + 1, '/');
    rc = syn_json_pack(&item, err, "{s:s%, s:s, s:s, s:I}", "kind", key, strcspn(key, "/"), "id",
                       slash + 1, "cid", text, "blocks", (json_int_t)blocks);
    return rc < 0 ? rc : syn_json_append_take(affected->items, item, err);
}

static int
post_verify(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct syn_content_verify report;
    SYN_JSON(bad);
    SYN_JSON(items);
    SYN_JSON(known);
    SYN_JSON(answer);
    struct affected affected = {.server = server};
    int rc;

    bad = json_array();
    affected.items = items = json_array();
    affected.known = known = json_object();
    if (bad == NULL || items == NULL || known == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a report");
    rc = syn_content_verify(server->content, add_bad, bad, NULL, NULL, &report, err);
    if (rc == SYN_OK && report.bad > 0)
        rc = each_root(server, add_affected, &affected, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "blocks",
                           (json_int_t)report.blocks, "size_bytes", (json_int_t)report.bytes, "bad",
                           (json_int_t)report.bad, "plain", (json_int_t)report.plain, "encrypted",
                           (json_int_t)report.encrypted, "old_key", (json_int_t)report.old_key,
                           "damaged", bad, "affected", items);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

struct roots {
    struct syn_server *server;
    struct syn_cid *cids;
    size_t count, cap, at;
    bool read;
};

static int
add_root(void *arg, const char *key, const struct syn_cid *cid, struct syn_err *err)
{
    struct roots *roots = arg;

    (void)key;
    if (!syn_grow((void *)&roots->cids, &roots->cap, roots->count + 1, sizeof(*roots->cids)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %zu roots", roots->count + 1);
    roots->cids[roots->count++] = *cid;
    return SYN_OK;
}

/* Keep what an instance was given, though its job names other content by now: a node may have to
 * fetch it again. What is gone all the same is no reason to stop. */
static int
add_given(void *arg, const char *key, const struct syn_cid *cid, struct syn_err *err)
{
    struct roots *roots = arg;
    struct syn_content_stat stat;
    int rc = syn_content_stat(roots->server->content, cid, &stat, err);

    if (rc == SYN_E_NOTFOUND)
        return SYN_OK;
    return rc < 0 ? rc : add_root(roots, key, cid, err);
}

/* "instance-on/NODE/ID" */
static int
add_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct roots *roots = arg;
    struct root_walk walk = {add_given, roots};
    char instance_key[SRV_KEY_MAX];
    SYN_JSON(instance);
    int rc = srv_load(roots->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                      &instance, NULL, err);

    (void)doc;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    return give_roots(&walk, instance_key, instance, revision, err);
}

/* The documents are read when gc asks, and not before: what comes to be named later is kept by who
 * names it (SRV_GUARD). */
static int
next_root(void *arg, struct syn_cid *ret_cid, struct syn_err *err)
{
    struct roots *roots = arg;

    if (!roots->read) {
        int rc = each_root(roots->server, add_root, roots, err);

        if (rc == SYN_OK)
            rc = srv_each(roots->server, "instance-on/", add_instance, roots, err);
        if (rc < 0)
            return rc;
        roots->read = true;
    }
    if (roots->at == roots->count)
        return 0;
    *ret_cid = roots->cids[roots->at++];
    return 1;
}

static int
post_gc(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct roots roots = {.server = server};
    struct syn_content_gc result;
    int64_t grace_ms = syn_json_i64(syn_http_req_json(req), "grace_ms", SYN_CONTENT_GRACE_MS);
    SYN_JSON(answer);
    int rc = syn_content_gc(server->content, grace_ms, next_root, &roots, &result, err);

    syn_free(roots.cids);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I, s:I, s:I, s:I, s:I}", "roots",
                           (json_int_t)roots.count, "blocks_kept", (json_int_t)result.blocks_kept,
                           "blocks_removed", (json_int_t)result.blocks_removed, "bytes_freed",
                           (json_int_t)result.bytes_freed, "bytes_waiting",
                           (json_int_t)result.bytes_waiting);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field path_fields[] = {
    {.name = "path",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 1000,
     .fallback = "\"\"",
     .help = "Inside the folder"},
    {.name = "recursive",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "With everything below"},
    {.name = "offset",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = INT64_MAX,
     .fallback = "0",
     .help = "First byte"},
};
static const struct syn_schema path_schema = SYN_SCHEMA("ContentQuery", path_fields);

static const struct syn_field gc_fields[] = {
    {.name = "grace_ms",
     .kind = SYN_FIELD_MS,
     .min = 0,
     .max = INT64_C(31536000000),
     .help = "Keep what was put within this time"},
};
static const struct syn_schema gc_schema = SYN_SCHEMA("ContentGc", gc_fields);
static const struct syn_schema verify_schema = {"ContentVerify", NULL, 0};

#define READ(pattern_, handler_, name_, summary_)                                              \
    {                                                                                          \
        .method = "GET", .pattern = pattern_, .kind = SYN_HTTP_POOL,                           \
        .scopes = SYN_SCOPE_READ | SYN_SCOPE_NODE, .handler = handler_, .query = &path_schema, \
        .name = name_, .summary = summary_                                                     \
    }

static const struct syn_http_route rows[] = {
    READ("/v1/content/{cid}", get_stat, "content.stat", "Type and size; `{cid}` may be a name"),
    READ("/v1/content/{cid}/list", get_list, "content.list", "Entries of a folder"),
    READ("/v1/content/{cid}/data", get_data, "content.data", "Bytes of a file"),
    READ("/v1/content/{cid}/car", get_car, "content.car", "Everything below as CAR version 1"),
    {.method = "POST",
     .pattern = "/v1/content/car",
     .kind = SYN_HTTP_UPLOAD,
     .body_max = (size_t)CAR_BYTES_MAX,
     .scopes = SYN_SCOPE_TENANT,
     .begin = begin_car,
     .handler = end_car,
     .name = "content.import",
     .summary = "Take in a CAR"},
    {.method = "GET",
     .pattern = "/v1/content",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_usage,
     .name = "content.usage",
     .summary = "How much is stored"},
    {.method = "POST",
     .pattern = "/v1/content/verify",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = post_verify,
     .body = &verify_schema,
     .name = "content.verify",
     .summary = "Read and check every block"},
    {.method = "POST",
     .pattern = "/v1/content/gc",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = post_gc,
     .body = &gc_schema,
     .name = "content.gc",
     .summary = "Remove what nothing refers to"},
};

const struct srv_routes srv_content_routes = {rows, SYN_LEN(rows)};
