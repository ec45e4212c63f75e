/* What handlers call, and how an answer is put together. */
#include "http_priv.h"

#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define INLINE_BYTES_MAX 16384 /* static bodies up to this go out with the head in one write */

/* --- asking -------------------------------------------------------------------------------------
 */

const char *
syn_http_req_method(const struct syn_http_req *req)
{
    return req->is_head ? "GET" : req->head.method;
}

const struct syn_http_route *
syn_http_req_route(const struct syn_http_req *req)
{
    return req->match.entry->route;
}

const struct syn_http_peer *
syn_http_req_peer(const struct syn_http_req *req)
{
    return &req->conn->peer;
}

const char *
syn_http_req_id(struct syn_http_req *req)
{
    if (req->id[0] == '\0')
        (void)snprintf(req->id, sizeof(req->id), "%s-%08llx", req->conn->server->id_prefix,
                       (unsigned long long)req->seq);
    return req->id;
}

const char *
syn_http_req_param(const struct syn_http_req *req, const char *name)
{
    const struct http_route_entry *entry = req->match.entry;

    for (unsigned i = 0; i < entry->param_count; i++) {
        if (strcmp(entry->param_names[i], name) != 0)
            continue;
        if (req->match.rest && i + 1 == entry->param_count)
            return req->rest;
        return req->segments[req->match.params[i]];
    }
    assert(!"the pattern has this parameter");
    return "";
}

const char *
syn_http_req_query(const struct syn_http_req *req, const char *name)
{
    for (unsigned i = 0; i < req->query_count; i++) {
        if (strcmp(req->query[i].name, name) == 0)
            return req->query[i].value;
    }
    return NULL;
}

const json_t *
syn_http_req_query_json(const struct syn_http_req *req)
{
    return req->query_json;
}

const char *
syn_http_req_header(const struct syn_http_req *req, const char *name)
{
    return http_head_find(&req->head, name);
}

const char *
syn_http_req_bearer(const struct syn_http_req *req)
{
    const char *value = http_head_find(&req->head, "authorization");

    return value != NULL && strncasecmp(value, "Bearer ", 7) == 0 ? value + 7 : NULL;
}

const char *
syn_http_req_body(const struct syn_http_req *req, size_t *ret_len)
{
    *ret_len = req->body.len;
    return syn_buf_text(&req->body);
}

json_t *
syn_http_req_json(const struct syn_http_req *req)
{
    return req->body_json;
}

int64_t
syn_http_req_received(const struct syn_http_req *req)
{
    return req->received;
}

void *
syn_http_req_upload_arg(const struct syn_http_req *req)
{
    return req->upload.arg;
}

bool
syn_http_req_gone(const struct syn_http_req *req)
{
    return atomic_load_explicit(&req->conn->gone, memory_order_relaxed);
}

void
syn_http_req_set_identity(struct syn_http_req *req, void *identity, void (*drop)(void *))
{
    assert(req->identity == NULL);
    req->identity = identity;
    req->identity_drop = drop;
}

void *
syn_http_req_identity(const struct syn_http_req *req)
{
    return req->identity;
}

int
http_req_join_rest(struct syn_http_req *req, struct syn_err *err)
{
    SYN_BUF(out);
    size_t len;

    if (!req->match.rest)
        return SYN_OK;
    for (unsigned i = req->match.params[req->match.param_count - 1]; i < req->segment_count; i++) {
        if (out.len > 0)
            syn_buf_addc(&out, '/');
        syn_buf_adds(&out, req->segments[i]);
    }
    return syn_buf_take(&out, &req->rest, &len, err);
}

/* --- schemas ------------------------------------------------------------------------------------
 */

/* A parameter's text as the JSON value that the field's kind wants; what does not look like one
 * stays text, and the schema says what is wrong with it. */
static json_t *
query_value(const struct syn_field *field, const char *text)
{
    int64_t number = 0;
    double real = 0;

    if (field != NULL && field->kind == SYN_FIELD_I64 &&
        syn_parse_i64(text, INT64_MIN, INT64_MAX, field->name, &number, NULL) == 0)
        return json_integer(number);
    if (field != NULL && field->kind == SYN_FIELD_REAL &&
        syn_parse_double(text, -1e300, 1e300, field->name, &real, NULL) == 0)
        return json_real(real);
    if (field != NULL && field->kind == SYN_FIELD_BOOL &&
        (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return json_boolean(text[0] == 't');
    return json_string(text);
}

static const struct syn_field *
field_find(const struct syn_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->count; i++) {
        if (strcmp(schema->fields[i].name, name) == 0)
            return &schema->fields[i];
    }
    return NULL;
}

static int
check_query(struct syn_http_req *req, const struct syn_http_route *route, struct syn_err *err)
{
    if (route->query == NULL) {
        if (req->query_count > 0 && (route->flags & SYN_HTTP_ANY_QUERY) == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "%s takes no query parameter, got %s",
                            route->pattern, req->query[0].name);
        return SYN_OK;
    }
    req->query_json = json_object();
    if (req->query_json == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for query parameters");
    for (unsigned i = 0; i < req->query_count; i++) {
        const struct syn_field *field = field_find(route->query, req->query[i].name);
        int rc = syn_json_set_take(req->query_json, req->query[i].name,
                                   query_value(field, req->query[i].value), err);

        if (rc < 0)
            return rc;
    }
    return syn_schema_apply(route->query, req->query_json, "query", err);
}

int
http_req_check(struct syn_http_req *req, struct syn_err *err)
{
    const struct syn_http_route *route = req->match.entry->route;
    int rc = check_query(req, route, err);

    if (rc < 0 || route->body == NULL)
        return rc;
    rc = syn_json_parse_object(syn_buf_text(&req->body), req->body.len, &req->body_json, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "body");
    return syn_schema_apply(route->body, req->body_json, "body", err);
}

/* --- replying -----------------------------------------------------------------------------------
 */

static void
reply_drop_source(struct http_reply *reply)
{
    if (reply->fd >= 0)
        (void)close(reply->fd);
    if (reply->pull_drop != NULL)
        reply->pull_drop(reply->pull_arg);
    reply->fd = -1;
    reply->pull_drop = NULL;
    reply->source = HTTP_SOURCE_NONE;
    reply->len = 0;
    syn_buf_clear(&reply->body);
}

void
http_reply_clear(struct http_reply *reply)
{
    reply_drop_source(reply);
    syn_buf_clear(&reply->extra);
    reply->status = 0;
    reply->type = NULL;
    reply->stored = false;
    reply->bare = false;
    reply->dated = false;
}

int
http_req_count_body(struct syn_http_req *req, struct syn_err *err)
{
    struct syn_http_server *server = req->conn->server;
    const int64_t more = (int64_t)req->body.len - req->counted;

    if (server->limits.bodies_max == 0 || req->upload_open)
        return SYN_OK;
    if (server->body_bytes + more > server->limits.bodies_max)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "too many large requests at a time");
    server->body_bytes += more;
    req->counted += more;
    return SYN_OK;
}

void
http_req_reset(struct syn_http_req *req)
{
    if (req->under_way && req->conn->server->tell != NULL)
        http_pass_tell(req);
    req->under_way = false;
    req->replied = false;
    req->head.method = NULL; /* of the next one nothing is known yet */
    req->head.target = NULL;
    req->head.target_len = 0;
    req->head.header_count = 0;
    if (req->upload_open && req->upload.drop != NULL)
        req->upload.drop(req->upload.arg, req->received);
    if (req->identity_drop != NULL)
        req->identity_drop(req->identity);
    req->conn->server->body_bytes -= req->counted;
    req->counted = 0;
    req->upload_open = false;
    req->identity = NULL;
    req->identity_drop = NULL;
    req->on_gone = NULL;
    req->error_status = 0;
    req->query_count = 0;
    req->segment_count = 0;
    req->received = 0;
    req->id[0] = '\0';
    req->match.entry = NULL;
    req->match.rest = false;
    req->is_head = false;
    json_decref(SYN_TAKE(req->body_json));
    json_decref(SYN_TAKE(req->query_json));
    json_decref(SYN_TAKE(req->details));
    syn_free(SYN_TAKE(req->rest));
    syn_free(SYN_TAKE(req->hint));
    if (req->body.cap > INLINE_BYTES_MAX)
        syn_buf_fini(&req->body);
    syn_buf_clear(&req->body);
    http_reply_clear(&req->reply);
}

static struct http_reply *
reply_new(struct syn_http_req *req, int status, const char *type)
{
    reply_drop_source(&req->reply);
    req->reply.status = status;
    req->reply.type = type;
    req->reply.bare = false;
    return &req->reply;
}

void
syn_http_reply(struct syn_http_req *req, int status)
{
    (void)reply_new(req, status, NULL);
}

static int
reply_own_bytes(struct http_reply *reply, struct syn_err *err)
{
    int rc = syn_buf_ok(&reply->body, err);

    reply->source = HTTP_SOURCE_MEMORY;
    reply->memory = syn_buf_text(&reply->body);
    reply->len = (int64_t)reply->body.len;
    return rc;
}

int
syn_http_reply_json(struct syn_http_req *req, int status, const json_t *doc, struct syn_err *err)
{
    struct http_reply *reply = reply_new(req, status, "application/json");
    int rc = syn_json_write(doc, &reply->body, err);

    return rc < 0 ? rc : reply_own_bytes(reply, err);
}

int
syn_http_reply_json_take(struct syn_http_req *req, int status, json_t *doc, struct syn_err *err)
{
    SYN_SCOPED(syn_json_scope) json_t *owned = doc;

    if (owned == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an answer");
    return syn_http_reply_json(req, status, owned, err);
}

int
syn_http_reply_bytes(struct syn_http_req *req, int status, const char *type, const void *data,
                     size_t len, struct syn_err *err)
{
    struct http_reply *reply = reply_new(req, status, type);

    syn_buf_add(&reply->body, data, len);
    return reply_own_bytes(reply, err);
}

void
syn_http_reply_static(struct syn_http_req *req, int status, const char *type, const void *data,
                      size_t len)
{
    struct http_reply *reply = reply_new(req, status, type);

    reply->source = HTTP_SOURCE_MEMORY;
    reply->memory = data;
    reply->len = (int64_t)len;
}

void
syn_http_reply_fd_take(struct syn_http_req *req, int status, const char *type, int fd,
                       int64_t offset, int64_t len)
{
    struct http_reply *reply = reply_new(req, status, type);

    assert(fd >= 0 && offset >= 0 && len >= 0);
    reply->source = HTTP_SOURCE_FD;
    reply->fd = fd;
    reply->offset = offset;
    reply->len = len;
}

void
syn_http_reply_pull(struct syn_http_req *req, int status, const char *type, int64_t len,
                    syn_http_pull_fn pull, void *arg, void (*drop)(void *arg))
{
    struct http_reply *reply = reply_new(req, status, type);

    reply->source = HTTP_SOURCE_PULL;
    reply->len = len;
    reply->pull = pull;
    reply->pull_arg = arg;
    reply->pull_drop = drop;
}

int
syn_http_reply_header(struct syn_http_req *req, const char *name, const char *value,
                      struct syn_err *err)
{
    struct syn_buf *extra = &req->reply.extra;

    for (const char *at = value; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            return SYN_FAIL(err, SYN_E_INVALID, "control character in the value of header %s",
                            name);
    }
    syn_buf_adds(extra, name);
    syn_buf_adds(extra, ": ");
    syn_buf_adds(extra, value);
    syn_buf_adds(extra, "\r\n");
    if (strcmp(name, "date") == 0)
        req->reply.dated = true;
    return syn_buf_ok(extra, err);
}

/* Weak comparison: `W/"x"` and `"x"` are the same for If-None-Match. */
static bool
etag_listed(const char *list, const char *quoted)
{
    return strcmp(list, "*") == 0 || strstr(list, quoted) != NULL;
}

int
syn_http_reply_etag(struct syn_http_req *req, const char *tag, struct syn_err *err)
{
    const char *asked = http_head_find(&req->head, "if-none-match");
    char quoted[96];
    int rc;

    if (strpbrk(tag, "\" ,") != NULL ||
        snprintf(quoted, sizeof(quoted), "\"%s\"", tag) >= (int)sizeof(quoted))
        return SYN_FAIL(err, SYN_E_INVALID, "unfit for an ETag: %s", tag);
    rc = syn_http_reply_header(req, "etag", quoted, err);
    if (rc < 0)
        return rc;
    req->reply.stored = true;
    if (asked == NULL || !etag_listed(asked, quoted))
        return SYN_OK;
    syn_http_reply(req, 304);
    return SYN_HTTP_NOT_MODIFIED;
}

void
syn_http_error_hint(struct syn_http_req *req, const char *hint)
{
    syn_free(req->hint);
    req->hint = syn_strdup(hint); /* without memory there is no hint */
}

void
syn_http_error_details_take(struct syn_http_req *req, json_t *details)
{
    json_decref(req->details);
    req->details = details;
}

static int
error_document(struct syn_http_req *req, const struct syn_err_info *info, const struct syn_err *err,
               json_t **ret, struct syn_err *why)
{
    json_t *doc = json_object();
    json_t *details = req->details != NULL ? json_incref(req->details) : json_object();
    int rc = doc == NULL ? SYN_E_NOMEM : SYN_OK;

    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "code", info->wire, why);
    if (rc == SYN_OK)
        rc = syn_json_set_take(
            doc, "message", json_string(err != NULL && err->msg[0] != '\0' ? err->msg : info->text),
            why);
    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "hint", req->hint, why);
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "details", SYN_TAKE(details), why);
    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "request_id", syn_http_req_id(req), why);
    json_decref(details);
    if (rc < 0)
        json_decref(doc);
    else
        *ret = doc;
    return rc;
}

void
http_reply_error(struct syn_http_req *req, int rc, const struct syn_err *err, int status)
{
    static const char last_resort[] = "{\"code\":\"out-of-memory\",\"details\":{},\"hint\":null,"
                                      "\"message\":\"the server has no memory\"}\n";
    const struct syn_err_info *info = syn_err_info(rc);
    struct http_conn *conn = req->conn;
    struct syn_err why;
    SYN_JSON(doc);

    if (status == 0)
        status = req->error_status != 0 ? req->error_status : info->http;
    if (conn->stream != NULL)
        http_sse_ended(conn);
    if (conn->tunnel != NULL)
        http_tunnel_ended(conn);
    if (req->reply.stored)
        syn_buf_clear(&req->reply.extra);
    req->reply.stored = false;
    if ((status == 401 && syn_http_reply_header(req, "www-authenticate", "Bearer", &why) < 0) ||
        ((status == 503 || status == 429) &&
         syn_http_reply_header(req, "retry-after", "1", &why) < 0))
        syn_buf_clear(&req->reply.extra);
    if (error_document(req, info, err, &doc, &why) == SYN_OK &&
        syn_http_reply_json(req, status, doc, &why) == SYN_OK)
        return;
    syn_buf_clear(&req->reply.extra);
    syn_http_reply_static(req, 503, "application/json", last_resort, sizeof(last_resort) - 1);
}

/* --- the answer's head --------------------------------------------------------------------------
 */

static const struct {
    int status;
    const char *line;
} status_lines[] = {
    {101, "HTTP/1.1 101 Switching Protocols\r\n"},
    {200, "HTTP/1.1 200 OK\r\n"},
    {201, "HTTP/1.1 201 Created\r\n"},
    {202, "HTTP/1.1 202 Accepted\r\n"},
    {204, "HTTP/1.1 204 No Content\r\n"},
    {206, "HTTP/1.1 206 Partial Content\r\n"},
    {301, "HTTP/1.1 301 Moved Permanently\r\n"},
    {302, "HTTP/1.1 302 Found\r\n"},
    {304, "HTTP/1.1 304 Not Modified\r\n"},
    {400, "HTTP/1.1 400 Bad Request\r\n"},
    {401, "HTTP/1.1 401 Unauthorized\r\n"},
    {402, "HTTP/1.1 402 Payment Required\r\n"},
    {403, "HTTP/1.1 403 Forbidden\r\n"},
    {404, "HTTP/1.1 404 Not Found\r\n"},
    {405, "HTTP/1.1 405 Method Not Allowed\r\n"},
    {408, "HTTP/1.1 408 Request Timeout\r\n"},
    {409, "HTTP/1.1 409 Conflict\r\n"},
    {411, "HTTP/1.1 411 Length Required\r\n"},
    {412, "HTTP/1.1 412 Precondition Failed\r\n"},
    {413, "HTTP/1.1 413 Content Too Large\r\n"},
    {414, "HTTP/1.1 414 URI Too Long\r\n"},
    {416, "HTTP/1.1 416 Range Not Satisfiable\r\n"},
    {429, "HTTP/1.1 429 Too Many Requests\r\n"},
    {431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"},
    {500, "HTTP/1.1 500 Internal Server Error\r\n"},
    {501, "HTTP/1.1 501 Not Implemented\r\n"},
    {502, "HTTP/1.1 502 Bad Gateway\r\n"},
    {503, "HTTP/1.1 503 Service Unavailable\r\n"},
    {504, "HTTP/1.1 504 Gateway Timeout\r\n"},
    {507, "HTTP/1.1 507 Insufficient Storage\r\n"},
};

static void
add_status_line(struct syn_buf *out, int status)
{
    for (size_t i = 0; i < SYN_LEN(status_lines); i++) {
        if (status_lines[i].status == status) {
            syn_buf_adds(out, status_lines[i].line);
            return;
        }
    }
    syn_buf_addf(out, "HTTP/1.1 %03d Status\r\n", status);
}

static void
add_number(struct syn_buf *out, int64_t number)
{
    char digits[24];
    size_t at = sizeof(digits);

    assert(number >= 0);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    syn_buf_add(out, digits + at, sizeof(digits) - at);
}

void
http_add_chunk_size(struct syn_buf *out, size_t len)
{
    char digits[16];
    size_t at = sizeof(digits);

    do {
        digits[--at] = "0123456789abcdef"[len & 15];
        len >>= 4;
    } while (len > 0);
    syn_buf_add(out, digits + at, sizeof(digits) - at);
    syn_buf_add(out, "\r\n", 2);
}

/* "bytes=A-B", "bytes=A-" or "bytes=-N" against `len` bytes. 1: *first and *last are set; 0: no or
 * unreadable range, send all; -1: nothing of it exists. */
static int
parse_range(const char *text, int64_t len, int64_t *ret_first, int64_t *ret_last)
{
    char number[24];
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    const char *dash;
    size_t digits;

    if (strncmp(text, "bytes=", 6) != 0)
        return 0;
    text += 6;
    dash = strchr(text, '-');
    digits = dash == NULL ? sizeof(number) : (size_t)(dash - text);
    if (digits >= sizeof(number))
        return 0;
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (dash[1] != '\0' && syn_parse_u64(dash + 1, 0, INT64_MAX, "range", &last, NULL) < 0)
        return 0;
    if (digits == 0) {
        if (dash[1] == '\0')
            return 0;
        if (last == 0 || len == 0)
            return -1;
        *ret_first = len - SYN_MIN((int64_t)last, len);
        *ret_last = len - 1;
        return 1;
    }
    if (syn_parse_u64(number, 0, INT64_MAX, "range", &first, NULL) < 0 || first > last)
        return 0;
    if ((int64_t)first >= len)
        return -1;
    *ret_first = (int64_t)first;
    *ret_last = (int64_t)SYN_MIN(last, (uint64_t)len - 1);
    return 1;
}

static void
apply_range(struct syn_http_req *req)
{
    struct http_reply *reply = &req->reply;
    const char *asked = http_head_find(&req->head, "range");
    int64_t total = reply->len;
    int64_t first = 0;
    int64_t last = 0;
    int found;

    syn_buf_adds(&reply->extra, "accept-ranges: bytes\r\n");
    /* If-Range needs a validator that we cannot compare here: the whole is always right. */
    if (asked == NULL || http_head_find(&req->head, "if-range") != NULL)
        return;
    found = parse_range(asked, total, &first, &last);
    if (found == 0)
        return;
    if (found < 0) {
        syn_http_reply(req, 416);
        syn_buf_addf(&reply->extra, "content-range: bytes */%lld\r\n", (long long)total);
        return;
    }
    reply->status = 206;
    reply->offset += first;
    reply->len = last - first + 1;
    syn_buf_addf(&reply->extra, "content-range: bytes %lld-%lld/%lld\r\n", (long long)first,
                 (long long)last, (long long)total);
}

static void
add_framing(struct syn_http_req *req, struct syn_buf *out)
{
    const struct http_reply *reply = &req->reply;
    bool bodyless = reply->status == 204 || reply->status == 304;

    if (req->conn->tunnel != NULL) {
        syn_buf_adds(out, "connection: upgrade\r\n");
        return;
    }
    if (req->conn->stream != NULL) {
        syn_buf_adds(out, "cache-control: no-cache\r\nx-accel-buffering: no\r\n");
        req->keep_alive = false;
    } else if (reply->len < 0 && req->head.minor_zero) {
        req->keep_alive = false; /* the end of the connection is the end of the body */
    } else if (reply->len < 0 && req->conn->h2.id == 0) {
        syn_buf_adds(out, "transfer-encoding: chunked\r\n");
    } else if (reply->len >= 0 && !bodyless) {
        syn_buf_adds(out, "content-length: ");
        add_number(out, reply->len);
        syn_buf_adds(out, "\r\n");
    }
    if (!reply->stored && !reply->bare && req->conn->stream == NULL)
        syn_buf_adds(out, "cache-control: no-store\r\n");
    if (req->conn->h2.id != 0)
        return;
    if (!req->keep_alive)
        syn_buf_adds(out, "connection: close\r\n");
    else if (req->head.minor_zero)
        syn_buf_adds(out, "connection: keep-alive\r\n");
}

int
http_reply_start(struct syn_http_req *req, struct syn_err *err)
{
    struct http_conn *conn = req->conn;
    struct http_reply *reply = &req->reply;
    struct syn_buf *out = &conn->out;

    if (reply->source == HTTP_SOURCE_FD && reply->status == 200)
        apply_range(req);
    add_status_line(out, reply->status);
    if (!reply->dated) {
        syn_buf_adds(out, "date: ");
        syn_buf_adds(out, http_date(conn->server));
        syn_buf_adds(out, "\r\n");
    }
    if (conn->server->all.route != NULL) {
        syn_buf_adds(out, "x-request-id: ");
        syn_buf_adds(out, syn_http_req_id(req));
        syn_buf_adds(out, "\r\n");
    }
    if (reply->type != NULL) {
        syn_buf_adds(out, "content-type: ");
        syn_buf_adds(out, reply->type);
        syn_buf_adds(out, "\r\nx-content-type-options: nosniff\r\n");
    }
    add_framing(req, out);
    syn_buf_add(out, reply->extra.data, reply->extra.len);
    syn_buf_adds(out, "\r\n");
    if (req->is_head)
        reply_drop_source(reply);
    conn->source_left = reply->source == HTTP_SOURCE_PUSH ? 0 : SYN_MAX(reply->len, 0);
    if (reply->source == HTTP_SOURCE_MEMORY && reply->len <= INLINE_BYTES_MAX && conn->h2.id == 0) {
        syn_buf_add(out, reply->memory, (size_t)reply->len);
        conn->source_left = 0;
    }
    return syn_buf_ok(out, err);
}
