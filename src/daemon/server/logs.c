/* Routes of logs and progress: agents append, people read and follow.
 *
 * A log is the file DATA/server/logs/INSTANCE/log, byte for byte what the node's supervisor wrote;
 * the agent names the offset that it continues, so nothing is lost and nothing stands twice.
 * Followers are streams on the loop that read on when they are poked. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/runtime/runtime_ops.h>

#include "function_priv.h"

#define LOG_BYTES_MAX  (INT64_C(1) << 30)
#define LOG_READ_BYTES ((size_t)256 << 10)
#define LINES_MAX      100000
#define TEXT_BYTES_MAX ((size_t)64 << 20) /* of one answer; older lines give way */

const char *
srv_log_path(const struct syn_server *server, const char *instance, const char *file, char *out)
{
    (void)snprintf(out, SRV_PATH_MAX, "%s/server/logs/%s/%s", server->data_dir, instance, file);
    return out;
}

/* --- appending -------------------------------------------------------------------------------- */

/* One append under way. */
struct append {
    struct syn_server *server;
    int fd;
    bool first; /* bytes of the file */
    char instance[SYN_ID_MAX];
};

static void
append_drop(void *arg, int64_t received)
{
    struct append *append = arg;

    (void)received;
    (void)close(append->fd);
    syn_free(append);
}

static int
open_append(struct syn_server *server, const char *instance, const char *file, int *ret_fd,
            struct syn_err *err)
{
    char path[SRV_PATH_MAX];
    char dir[SRV_PATH_MAX];

    (void)srv_log_path(server, instance, "", dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", dir);
    *ret_fd = open(srv_log_path(server, instance, file, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    return SYN_OK;
}

/* Make the names of the first bytes' file durable: its folder's entry, and the folder's own. */
static int
sync_names(const struct append *append, struct syn_err *err)
{
    static const char *const levels[] = {"", ".."};
    char dir[SRV_PATH_MAX];

    for (size_t i = 0; i < SYN_LEN(levels); i++) {
        int fd = open(srv_log_path(append->server, append->instance, levels[i], dir),
                      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool bad = fd < 0 || fsync(fd) != 0;

        if (fd >= 0)
            (void)close(fd);
        if (bad)
            return SYN_FAIL_SYS(err, errno, "making the log of %s durable", append->instance);
    }
    return SYN_OK;
}

/* A smaller offset than what is there is a repetition: the agent asks again what it could not hear.
 */
static int
begin_append(struct syn_http_req *req, struct syn_server *server, const char *file,
             struct syn_http_upload *upload, struct syn_err *err)
{
    int64_t offset = syn_json_i64(syn_http_req_query_json(req), "offset", 0);
    struct append *append;
    struct stat st;
    SYN_JSON(instance);
    int rc = srv_instance_mine(server, req, &instance, err);

    if (rc < 0)
        return rc;
    append = syn_calloc(1, sizeof(*append));
    if (append == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an upload");
    append->server = server;
    (void)syn_str_copy(append->instance, sizeof(append->instance), syn_document_id(instance));
    rc = open_append(server, append->instance, file, &append->fd, err);
    if (rc < 0) {
        syn_free(append);
        return rc;
    }
    if (fstat(append->fd, &st) != 0) {
        append_drop(append, 0);
        return SYN_FAIL_SYS(err, errno, "looking at what %s wrote", syn_document_id(instance));
    }
    append->first = offset == 0;
    if (st.st_size != offset) {
        syn_http_error_details_take(req,
                                    json_pack("{s:I}", "received_bytes", (json_int_t)st.st_size));
        append_drop(append, 0);
        return SYN_FAIL(err, SYN_E_CONFLICT, "%lld bytes were received, the offset is %lld",
                        (long long)st.st_size, (long long)offset);
    }
    upload->fd = append->fd;
    upload->offset = offset;
    upload->bytes_max = SYN_MAX(LOG_BYTES_MAX - offset, 1);
    upload->arg = append;
    upload->drop = append_drop;
    return SYN_OK;
}

static int
begin_log(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload, struct syn_err *err)
{
    return begin_append(req, ctx, "log", upload, err);
}

static int
begin_progress(struct syn_http_req *req, void *ctx, struct syn_http_upload *upload,
               struct syn_err *err)
{
    return begin_append(req, ctx, "progress", upload, err);
}

static int
end_append(struct syn_http_req *req, const struct append *append, struct syn_err *err)
{
    struct stat st;
    SYN_JSON(answer);
    int rc = append->first ? sync_names(append, err) : SYN_OK;

    if (rc < 0)
        return rc;
    if (fdatasync(append->fd) != 0 || fstat(append->fd, &st) != 0)
        return SYN_FAIL_SYS(err, errno, "keeping what %s wrote", append->instance);
    rc = syn_json_pack(&answer, err, "{s:I}", "received_bytes", (json_int_t)st.st_size);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
end_log(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct append *append = syn_http_req_upload_arg(req);
    int rc = end_append(req, append, err);

    if (rc == SYN_OK)
        srv_follow_poke(ctx);
    return rc;
}

int
srv_log_line(struct syn_server *server, const char *log, int64_t at_ms, const char *line,
             struct syn_err *err)
{
    char at[SYN_FORMAT_MAX];
    int fd = -1;
    SYN_BUF(text);
    int rc = open_append(server, log, "log", &fd, err);

    syn_buf_addf(&text, "%s stdout F %s\n", syn_format_time(at_ms, at), line);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&text, err);
    if (rc == SYN_OK && (lseek(fd, 0, SEEK_END) > LOG_BYTES_MAX ||
                         write(fd, syn_buf_text(&text), text.len) != (ssize_t)text.len))
        rc = SYN_FAIL(err, SYN_E_IO, "writing to the log of %s", log);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* --- progress --------------------------------------------------------------------------------- */

static int
end_progress(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct append *append = syn_http_req_upload_arg(req);
    SYN_JSON(instance);
    const json_t *spec;
    int rc = srv_instance_mine(server, req, &instance, err);

    if (rc < 0)
        return rc;
    spec = syn_document_spec(instance);
    if (syn_json_i64(spec, "rank", 0) == 0)
        rc = srv_progress_read(server, append->fd, append->instance, syn_json_str(spec, "job", "?"),
                               err);
    if (rc < 0)
        return rc;
    srv_controller_poke(server->controller, syn_json_str(spec, "job", "?"));
    return end_append(req, append, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* What the reader of a log asked for. */
struct wish {
    char stream[8]; /* "" all */
    int64_t rank;   /* -1 all */
    int64_t since_ms;
};

static int
read_wish(struct syn_http_req *req, struct wish *ret, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(req);
    const char *since = syn_json_str(query, "since", NULL);

    *ret = (struct wish){.rank = syn_json_i64(query, "rank", -1)};
    (void)syn_str_copy(ret->stream, sizeof(ret->stream), syn_json_str(query, "stream", ""));
    return since == NULL ? SYN_OK : syn_parse_time(since, &ret->since_ms, err);
}

static bool
wanted(const struct wish *wish, const struct syn_log_record *record)
{
    return (wish->stream[0] == '\0' || syn_str_eq(wish->stream, record->stream)) &&
           record->time_ms >= wish->since_ms;
}

/* Call fn for each whole line of the file from *offset on, at most `budget` bytes; *offset moves.
 */
typedef int (*line_fn)(void *arg, const struct syn_log_record *record, struct syn_err *err);

static int
read_lines(const char *path, int64_t *offset, size_t budget, line_fn fn, void *arg,
           struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    SYN_BUF(chunk);
    int rc = SYN_OK;

    if (fd < 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "opening %s", path);
    while (rc == SYN_OK && budget > 0) {
        size_t want = SYN_MIN(budget, LOG_READ_BYTES);
        char *room;
        ssize_t got;
        size_t used = 0;

        syn_buf_clear(&chunk);
        room = syn_buf_reserve(&chunk, want);
        if (room == NULL) {
            rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory to read a log");
            break;
        }
        got = pread(fd, room, want, (off_t)*offset);
        if (got <= 0)
            break;
        for (;;) {
            const char *end = memchr(room + used, '\n', (size_t)got - used);
            struct syn_log_record record;

            if (end == NULL || rc < 0)
                break;
            if (syn_log_record_parse(room + used, (size_t)(end - room) - used, &record, NULL) ==
                SYN_OK)
                rc = fn(arg, &record, err);
            used = (size_t)(end - room) + 1;
        }
        *offset += (int64_t)used;
        budget -= SYN_MIN(budget, used);
        if (used == 0)
            break; /* the last line is not whole yet */
    }
    (void)close(fd);
    return rc;
}

struct text_out {
    struct wish wish;
    struct syn_buf *out;
    int64_t rank;
    bool many;
};

/* Whole lines from the front, until no more than `len` bytes are left. */
static void
drop_oldest(struct syn_buf *out, size_t len)
{
    const char *cut = memchr(out->data + out->len - len, '\n', len);

    syn_buf_consume(out, cut == NULL ? out->len - len : (size_t)(cut - out->data) + 1);
}

static int
add_text(void *arg, const struct syn_log_record *record, struct syn_err *err)
{
    const struct text_out *text = arg;

    if (!wanted(&text->wish, record))
        return SYN_OK;
    if (text->many)
        syn_buf_addf(text->out, "[%lld] ", (long long)text->rank);
    syn_buf_add(text->out, record->text, record->text_len);
    if (!record->partial)
        syn_buf_addc(text->out, '\n');
    if (text->out->len > TEXT_BYTES_MAX)
        drop_oldest(text->out, TEXT_BYTES_MAX / 2);
    return syn_buf_ok(text->out, err);
}

/* Keep only the last `lines` lines. */
static void
keep_tail(struct syn_buf *out, int64_t lines)
{
    size_t at = out->len;

    for (int64_t seen = 0; at > 0; at--) {
        if (out->data[at - 1] == '\n' && at != out->len && ++seen == lines)
            break;
    }
    syn_buf_consume(out, at);
}

static int
read_text(struct syn_server *server, const json_t *instances, const struct wish *wish,
          struct syn_buf *out, struct syn_err *err)
{
    size_t i;
    json_t *instance;
    int rc = SYN_OK;

    json_array_foreach (instances, i, instance) {
        const json_t *spec = syn_document_spec(instance);
        struct text_out text = {.wish = *wish, .out = out, .rank = syn_json_i64(spec, "rank", 0)};
        char path[SRV_PATH_MAX];
        int64_t offset = 0;

        text.many = syn_json_i64(spec, "world", 1) > 1 && wish->rank < 0;
        if (rc == SYN_OK && (wish->rank < 0 || wish->rank == text.rank))
            rc = read_lines(srv_log_path(server, syn_document_id(instance), "log", path), &offset,
                            (size_t)LOG_BYTES_MAX, add_text, &text, err);
    }
    return rc;
}

int
srv_log_tail(struct syn_server *server, const json_t *instances, size_t count, json_t **ret_lines,
             struct syn_err *err)
{
    const struct wish all = {.rank = -1};
    SYN_BUF(out);
    SYN_JSON(lines);
    int rc = read_text(server, instances, &all, &out, err);

    lines = json_array();
    if (rc == SYN_OK && lines == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a log's tail");
    keep_tail(&out, (int64_t)count);
    for (const char *at = syn_buf_text(&out); rc == SYN_OK && *at != '\0';) {
        size_t len = strcspn(at, "\n");

        rc = syn_json_append_take(lines, json_stringn(at, len), err);
        at += len;
        if (*at == '\n')
            at++;
    }
    if (rc == SYN_OK)
        *ret_lines = SYN_TAKE(lines);
    return rc;
}

/* --- following -------------------------------------------------------------------------------- */

struct follower {
    struct srv_follow *hub;
    struct syn_http_stream *http;
    char job[SYN_ID_MAX];
    struct wish wish;
    struct syn_map *offsets; /* instance id -> int64_t */
    bool done;
    struct follower *next;
};

#define FOLLOWERS_MAX   512
#define FOLLOW_BYTES    ((size_t)128 << 10) /* of one log in one turn of the loop */
#define BACKLOG_MAX     ((size_t)256 << 10) /* then a follower waits until its client has read */
#define FOLLOW_AGAIN_MS 50

struct srv_follow {
    struct syn_server *server;
    struct follower *first;
    unsigned count;
    struct syn_store_watch *watches[2]; /* jobs and services that end */
    struct syn_watch *timer;            /* while somebody is behind */
    atomic_bool poked;                  /* a letter is under way: it does for all */
};

static void advance_all(void *arg);

struct send_out {
    struct follower *follower;
    int64_t rank;
};

static int
send_line(void *arg, const struct syn_log_record *record, struct syn_err *err)
{
    const struct send_out *out = arg;
    char at[SYN_FORMAT_MAX];
    SYN_JSON(event);
    SYN_BUF(text);
    int rc;

    if (!wanted(&out->follower->wish, record))
        return SYN_OK;
    rc = syn_json_pack(&event, err, "{s:I, s:s, s:s, s:s%, s:b}", "rank", (json_int_t)out->rank,
                       "stream", record->stream, "at", syn_format_time(record->time_ms, at), "text",
                       record->text, record->text_len, "partial", record->partial ? 1 : 0);
    if (rc == SYN_E_INTERNAL)
        return SYN_OK; /* bytes that are no UTF-8: the raw log has them */
    if (rc == SYN_OK)
        rc = syn_json_write(event, &text, err);
    return rc < 0 ? rc
                  : syn_http_sse_send(out->follower->http, NULL, "log", text.data, text.len, err);
}

static int
follow_instance(struct follower *follower, const json_t *instance, bool *ret_more,
                struct syn_err *err)
{
    struct syn_server *server = follower->hub->server;
    const char *id = syn_document_id(instance);
    struct send_out out = {follower, syn_json_i64(syn_document_spec(instance), "rank", 0)};
    int64_t *offset = syn_map_find(follower->offsets, id);
    char path[SRV_PATH_MAX];
    int64_t before;
    int rc;

    if (follower->wish.rank >= 0 && follower->wish.rank != out.rank)
        return SYN_OK;
    if (offset == NULL) {
        offset = syn_calloc(1, sizeof(*offset));
        rc = syn_map_put_take(follower->offsets, id, offset, err);
        if (rc < 0 || offset == NULL)
            return rc < 0 ? rc : SYN_FAIL(err, SYN_E_NOMEM, "no memory to follow %s", id);
    }
    if (syn_http_sse_backlog(follower->http) > BACKLOG_MAX) {
        *ret_more = true;
        return SYN_OK;
    }
    before = *offset;
    rc = read_lines(srv_log_path(server, id, "log", path), offset, FOLLOW_BYTES, send_line, &out,
                    err);
    *ret_more = *ret_more || *offset - before >= (int64_t)FOLLOW_BYTES / 2;
    return rc;
}

static bool
is_service(const char *id)
{
    return syn_str_starts(id, srv_service.ids);
}

/* Whose logs a workload's are. */
static int
writers_of(struct syn_server *server, const char *id, json_t **ret_list, struct syn_err *err)
{
    return srv_is_function(id) ? srv_function_instances(server, id, ret_list, err)
                               : srv_instances_of(server, id, ret_list, err);
}

static bool
workload_ended(const json_t *doc)
{
    if (srv_is_function(syn_document_id(doc)))
        return false;
    return is_service(syn_document_id(doc)) ? syn_str_eq(syn_document_state(doc), "stopped")
                                            : srv_job_ended(doc);
}

/* Send what is new, no faster than the client reads; end the stream once the job has ended and all
 * of it is sent. Returns true when there is more. */
static bool
advance(struct follower *follower)
{
    struct syn_server *server = follower->hub->server;
    const struct srv_work *work;
    struct syn_err err = {0};
    char key[SRV_KEY_MAX];
    size_t i;
    json_t *instance;
    SYN_JSON(job);
    SYN_JSON(instances);
    bool more = false;
    int rc;

    if (follower->done)
        return false;
    work = is_service(follower->job)        ? &srv_service
           : srv_is_function(follower->job) ? &srv_function
                                            : &srv_training;
    rc = srv_load(server, srv_key(key, work->documents, follower->job, NULL), &job, NULL, &err);
    if (rc == SYN_OK)
        rc = writers_of(server, follower->job, &instances, &err);
    json_array_foreach (instances, i, instance) {
        if (rc == SYN_OK)
            rc = follow_instance(follower, instance, &more, &err);
    }
    if (rc == SYN_OK && more)
        return true;
    if (rc != SYN_OK || workload_ended(job)) {
        if (rc == SYN_OK && syn_http_sse_send(follower->http, NULL, "end", "{}", 2, &err) < 0)
            syn_log_err(SYN_LOG_DEBUG, "follow.end-unsent", &err);
        follower->done = true;
        syn_http_sse_close(follower->http);
    }
    return false;
}

static void
follower_closed(void *arg)
{
    struct follower *follower = arg;
    struct follower **slot = &follower->hub->first;

    while (*slot != NULL && *slot != follower)
        slot = &(*slot)->next;
    assert(*slot != NULL);
    *slot = follower->next;
    follower->hub->count--;
    (void)syn_map_free(follower->offsets);
    syn_free(follower);
}

static void
advance_all(void *arg)
{
    struct srv_follow *follow = arg;
    struct syn_err err = {0};
    bool more = false;

    atomic_store(&follow->poked, false);
    for (struct follower *follower = follow->first; follower != NULL; follower = follower->next)
        more = advance(follower) || more;
    if (more && follow->timer == NULL) {
        if (syn_loop_timer(follow->server->loop, FOLLOW_AGAIN_MS, FOLLOW_AGAIN_MS, advance_all,
                           follow, &follow->timer, &err) < 0)
            syn_log_err(SYN_LOG_WARN, "follow.no-timer", &err);
    } else if (!more) {
        follow->timer = syn_watch_drop(follow->timer);
    }
}

static void
poke(struct srv_follow *follow)
{
    struct syn_err err = {0};

    if (atomic_exchange(&follow->poked, true) ||
        syn_loop_post(follow->server->loop, advance_all, follow, NULL, &err) == SYN_OK)
        return;
    atomic_store(&follow->poked, false);
    syn_log_err(SYN_LOG_DEBUG, "follow.poke-lost", &err);
}

void
srv_follow_poke(struct syn_server *server)
{
    poke(server->follow);
}

static void
on_job_event(void *arg, const struct syn_store_event *event)
{
    struct srv_follow *follow = arg;

    if (event->kind != SYN_STORE_EVENT_DELETE)
        poke(follow);
}

int
srv_follow_new(struct syn_server *server, struct srv_follow **ret, struct syn_err *err)
{
    static const char *const ending[] = {"training/", "service/"};
    struct srv_follow *follow = syn_calloc(1, sizeof(*follow));
    int64_t revision;
    int rc;

    if (follow == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for log followers");
    follow->server = server;
    rc = syn_store_revision(server->store, &revision, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(ending); i++)
        rc = syn_store_watch(server->store, ending[i], revision, on_job_event, follow,
                             &follow->watches[i], err);
    if (rc < 0) {
        (void)srv_follow_free(follow);
        return rc;
    }
    *ret = follow;
    return SYN_OK;
}

struct srv_follow *
srv_follow_free(struct srv_follow *follow)
{
    if (follow == NULL)
        return NULL;
    for (size_t i = 0; i < SYN_LEN(follow->watches); i++)
        (void)syn_store_unwatch(follow->server->store, follow->watches[i]);
    follow->timer = syn_watch_drop(follow->timer);
    assert(follow->first == NULL); /* the HTTP server closed every stream before */
    syn_free(follow);
    return NULL;
}

static int
follow_logs(struct syn_http_req *req, struct syn_server *server, const char *job,
            const struct wish *wish, struct syn_err *err)
{
    struct follower *follower = NULL;
    int rc;

    if (server->follow->count < FOLLOWERS_MAX)
        follower = syn_calloc(1, sizeof(*follower));
    if (follower == NULL)
        return SYN_FAIL(err, SYN_E_LIMIT, "too many logs are being followed; try again");
    follower->hub = server->follow;
    follower->wish = *wish;
    (void)syn_str_copy(follower->job, sizeof(follower->job), job);
    rc = syn_map_new(syn_free, &follower->offsets, err);
    if (rc == SYN_OK)
        rc = syn_http_sse_open(req, follower_closed, follower, &follower->http, err);
    if (rc < 0) {
        (void)syn_map_free(follower->offsets);
        syn_free(follower);
        return rc;
    }
    follower->next = server->follow->first;
    server->follow->first = follower;
    server->follow->count++;
    advance_all(server->follow);
    return SYN_OK;
}

static int
reply_logs(struct syn_http_req *req, struct syn_server *server, const struct srv_work *work,
           struct syn_err *err)
{
    int64_t tail = syn_json_i64(syn_http_req_query_json(req), "tail", 0);
    struct wish wish;
    int64_t revision;
    SYN_BUF(out);
    SYN_JSON(job);
    SYN_JSON(instances);
    int rc = srv_work_load(server, work, req, &job, &revision, err);

    if (rc == SYN_OK)
        rc = read_wish(req, &wish, err);
    if (rc == SYN_OK)
        rc = writers_of(server, syn_document_id(job), &instances, err);
    if (rc == SYN_OK)
        rc = read_text(server, instances, &wish, &out, err);
    if (rc < 0)
        return rc;
    if (tail > 0)
        keep_tail(&out, tail);
    return syn_http_reply_bytes(req, 200, "text/plain; charset=utf-8", syn_buf_text(&out), out.len,
                                err);
}

static int
get_logs(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_logs(req, ctx, &srv_training, err);
}

static int
get_service_logs(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_logs(req, ctx, &srv_service, err);
}

static int
reply_follow(struct syn_http_req *req, struct syn_server *server, const struct srv_work *work,
             struct syn_err *err)
{
    struct wish wish;
    int64_t revision;
    SYN_JSON(job);
    int rc = srv_work_load(server, work, req, &job, &revision, err);

    if (rc == SYN_OK)
        rc = read_wish(req, &wish, err);
    return rc < 0 ? rc : follow_logs(req, server, syn_document_id(job), &wish, err);
}

static int
get_follow(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_follow(req, ctx, &srv_training, err);
}

static int
get_service_follow(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_follow(req, ctx, &srv_service, err);
}

static int
get_function_logs(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_logs(req, ctx, &srv_function, err);
}

static int
get_function_follow(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_follow(req, ctx, &srv_function, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field log_fields[] = {
    {.name = "stream",
     .kind = SYN_FIELD_STR,
     .choices = "stdout|stderr|synor",
     .help = "Only this one"},
    {.name = "rank", .kind = SYN_FIELD_I64, .min = 0, .max = 63, .help = "Only this rank's"},
    {.name = "since",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 40,
     .help = "Only lines from this time on"},
    {.name = "tail",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = LINES_MAX,
     .help = "Only so many last lines"},
};
static const struct syn_schema log_schema = SYN_SCHEMA("LogQuery", log_fields);

static const struct syn_field offset_fields[] = {
    {.name = "offset",
     .kind = SYN_FIELD_I64,
     .min = 0,
     .max = LOG_BYTES_MAX,
     .required = true,
     .help = "Must be what was received"},
};
static const struct syn_schema offset_schema = SYN_SCHEMA("OffsetQuery", offset_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/training/{id}/logs",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_logs,
     .query = &log_schema,
     .name = "training.logs",
     .summary = "What its ranks printed"},
    {.method = "GET",
     .pattern = "/v1/training/{id}/logs/follow",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_READ,
     .handler = get_follow,
     .query = &log_schema,
     .name = "training.follow",
     .summary = "The same as it comes, until the job ends"},
    {.method = "GET",
     .pattern = "/v1/services/{id}/logs",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_service_logs,
     .query = &log_schema,
     .name = "services.logs",
     .summary = "What its replicas printed"},
    {.method = "GET",
     .pattern = "/v1/services/{id}/logs/follow",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_READ,
     .handler = get_service_follow,
     .query = &log_schema,
     .name = "services.follow",
     .summary = "The same as it comes, until the service stops"},
    {.method = "GET",
     .pattern = "/v1/functions/{id}/logs",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_function_logs,
     .query = &log_schema,
     .name = "functions.logs",
     .summary = "What its calls and its instances printed"},
    {.method = "GET",
     .pattern = "/v1/functions/{id}/logs/follow",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_READ,
     .handler = get_function_follow,
     .query = &log_schema,
     .name = "functions.follow",
     .summary = "The same as it comes, until the function is gone"},
    {.method = "GET",
     .pattern = "/v1/training/{id}/metrics",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = srv_training_metrics,
     .name = "training.metrics",
     .summary = "What it reported, as series"},
    {.method = "PUT",
     .pattern = "/v1/instances/{id}/logs",
     .kind = SYN_HTTP_UPLOAD,
     .body_max = (size_t)LOG_BYTES_MAX,
     .scopes = SYN_SCOPE_NODE,
     .begin = begin_log,
     .handler = end_log,
     .query = &offset_schema,
     .name = "instances.logs",
     .summary = "An agent appends log lines"},
    {.method = "PUT",
     .pattern = "/v1/instances/{id}/progress",
     .kind = SYN_HTTP_UPLOAD,
     .body_max = (size_t)LOG_BYTES_MAX,
     .scopes = SYN_SCOPE_NODE,
     .begin = begin_progress,
     .handler = end_progress,
     .query = &offset_schema,
     .name = "instances.progress",
     .summary = "An agent appends progress lines"},
};

const struct srv_routes srv_log_routes = {rows, SYN_LEN(rows)};
