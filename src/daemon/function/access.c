/* The access log: a line of JSON for each request of a client, once it has ended. No header, no
 * query, no key is in it; of a key its name. Calls of the server's own are not: those have records.
 */
#include "function_priv.h"

#include <time.h>

#include <synor/base/log.h>
#include <synor/infra/line_log.h>

#define ROTATE_BYTES (INT64_C(64) << 20)
#define KEPT         4
#define TEXT_MAX     ((size_t)512) /* bytes of a path or host that are told */

/* What is no text of its own in JSON, and whatever is not ASCII: clients send any bytes. */
static void
add_text(struct syn_buf *out, const char *name, const char *text, size_t len)
{
    size_t plain = 0;

    syn_buf_adds(out, ",\"");
    syn_buf_adds(out, name);
    syn_buf_adds(out, "\":\"");
    len = SYN_MIN(len, TEXT_MAX);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\')
            continue;
        syn_buf_add(out, text + plain, i - plain);
        syn_buf_addf(out, "\\u%04x", (unsigned)c);
        plain = i + 1;
    }
    syn_buf_add(out, text + plain, len - plain);
    syn_buf_addc(out, '"');
}

static void
add_word(struct syn_buf *out, const char *name, const char *text)
{
    add_text(out, name, text, strlen(text));
}

static void
add_number(struct syn_buf *out, const char *name, int64_t number)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t left = number < 0 ? 0 : (uint64_t)number;

    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    syn_buf_adds(out, ",\"");
    syn_buf_adds(out, name);
    syn_buf_adds(out, "\":");
    syn_buf_add(out, digits + at, sizeof(digits) - at);
}

/* "2026-01-31T12:34:56.789Z"; all but the milliseconds is made once a second. */
static void
add_time(struct fgw *gateway, struct syn_buf *out)
{
    struct timespec now;
    struct tm tm;
    char millis[8];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != gateway->access_s && gmtime_r(&now.tv_sec, &tm) != NULL &&
        strftime(gateway->access_time, sizeof(gateway->access_time), "%Y-%m-%dT%H:%M:%S", &tm) > 0)
        gateway->access_s = now.tv_sec;
    (void)snprintf(millis, sizeof(millis), ".%03uZ", (unsigned)(now.tv_nsec / 1000000 % 1000));
    syn_buf_adds(out, "{\"time\":\"");
    syn_buf_adds(out, gateway->access_time);
    syn_buf_adds(out, millis);
    syn_buf_addc(out, '"');
}

static void
add_call(struct syn_buf *out, const struct fgw_call *call)
{
    if (call == NULL)
        return;
    if (call->version != NULL) {
        add_word(out, "function", call->version->function);
        add_number(out, "version", call->version->number);
    }
    if (call->version != NULL && call->place == FGW_ENDED && call->placed_ns != 0)
        add_word(out, "way", fgw_call_way(call));
    if (call->key[0] != '\0')
        add_word(out, "key", call->key);
}

void
fgw_access_tell(struct syn_http_req *req, const struct syn_http_done *done, void *ctx)
{
    struct fgw *gateway = ctx;
    struct syn_buf *out = &gateway->access_line;
    const struct syn_http_peer *peer = syn_http_req_peer(req);
    const char *host = syn_http_req_header(req, "host");
    const char *verb = syn_http_req_verb(req);
    size_t path = 0;
    const char *target = syn_http_req_target(req, &path);

    if (peer->is_unix)
        return;
    syn_buf_clear(out);
    add_time(gateway, out);
    add_word(out, "id", syn_http_req_id(req));
    add_word(out, "remote", peer->address);
    add_word(out, "protocol", done->protocol);
    syn_buf_adds(out, peer->secure ? ",\"tls\":true" : ",\"tls\":false");
    if (host != NULL)
        add_word(out, "host", host);
    if (verb != NULL)
        add_word(out, "method", verb);
    if (target != NULL)
        add_text(out, "path", target, path);
    add_number(out, "status", done->status);
    add_number(out, "bytes", done->sent_bytes);
    add_number(out, "duration_us", done->duration_us);
    if (done->cut)
        syn_buf_adds(out, ",\"cut\":true");
    add_call(out, syn_http_req_identity(req));
    syn_buf_adds(out, "}\n");
    if (syn_buf_ok(out, NULL) == SYN_OK)
        (void)syn_line_log_add(gateway->access, out->data, out->len);
}

int
fgw_access_open(struct fgw *gateway, const char *path, struct syn_err *err)
{
    struct syn_line_log_options options = {.path = path};
    SYN_BUF(own);
    int rc = SYN_OK;

    if (path == NULL || strcmp(path, "none") == 0)
        return SYN_OK;
    if (path[0] == '\0') { /* in its own folder: nobody else looks after that file */
        syn_buf_addf(&own, "%s/access.log", gateway->data_dir);
        rc = syn_buf_ok(&own, err);
        options.path = own.data;
        options.rotate_max = ROTATE_BYTES;
        options.kept = KEPT;
    }
    if (rc == SYN_OK)
        rc = syn_line_log_new(&options, &gateway->access, err);
    if (rc == SYN_OK)
        syn_http_server_tell(gateway->http, fgw_access_tell, gateway);
    return rc < 0 ? syn_err_wrap(err, rc, "access log") : SYN_OK;
}
