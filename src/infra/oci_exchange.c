/* One request over libcurl, with the bounds that a stranger's server needs: whose address may be
 * asked, how long it may say nothing, how much it may say that nobody wants. Redirections are not
 * curl's: each is looked at before it is followed. */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>

#include "oci_registry_priv.h"

#define CONNECT_MS INT64_C(10000)
#define STALL_MS   INT64_C(30000)
#define TOTAL_MS   (INT64_C(2) * 3600 * 1000)
#define NS_PER_MS  INT64_C(1000000)
#define SLICE_MS   INT64_C(50)
#define JUNK_MAX   (INT64_C(1) << 20) /* of an answer that is no success */
#define AFTER_MAX  INT64_C(3600)
#define PIECE      INT64_C(1048576) /* of a body, in memory */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
curl_start(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
syn_oci_line_init(struct syn_oci_line *line, const struct syn_oci_remote *remote,
                  struct syn_err *err)
{
    int64_t total_ms = remote->total_ms > 0 ? remote->total_ms : TOTAL_MS;

    (void)pthread_once(&curl_once, curl_start);
    line->remote = remote;
    line->stop = NULL;
    line->deadline_ns = syn_clock_ns() + total_ms * NS_PER_MS;
    line->easy = curl_easy_init();
    return line->easy != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a registry");
}

void
syn_oci_line_fini(struct syn_oci_line *line)
{
    if (line->easy != NULL)
        curl_easy_cleanup(line->easy);
    line->easy = NULL;
}

/* CANCELED and TIMEOUT, or 0 to go on. */
static int
line_check(const struct syn_oci_line *line, struct syn_err *err)
{
    if ((line->remote->cancel != NULL && atomic_load(line->remote->cancel)) ||
        (line->stop != NULL && atomic_load(line->stop)))
        return SYN_FAIL(err, SYN_E_CANCELED, "canceled");
    if (syn_clock_ns() > line->deadline_ns)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "it took longer than is allowed in all");
    return SYN_OK;
}

int
syn_oci_pause(const struct syn_oci_line *line, int64_t ms, struct syn_err *err)
{
    int64_t until_ns = syn_clock_ns() + ms * NS_PER_MS;
    int rc = line_check(line, err);

    while (rc == SYN_OK && syn_clock_ns() < until_ns) {
        const struct timespec slice = {0, SYN_MIN(SLICE_MS, ms) * NS_PER_MS};

        (void)nanosleep(&slice, NULL);
        rc = line_check(line, err);
    }
    return rc;
}

/* --- callbacks -------------------------------------------------------------------------------- */

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct syn_oci_exchange *exchange = arg;
    bool loopback = syn_oci_address_loopback(&address->addr);
    bool ok = exchange->plain ? loopback
                              : exchange->private_ok || exchange->line->remote->any_address ||
                                    syn_oci_address_public(&address->addr);

    (void)purpose;
    /* Whoever may not ask this machine may not without TLS either. */
    if (exchange->plain && !exchange->private_ok && !exchange->line->remote->any_address)
        ok = false;
    if (!ok) {
        exchange->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool
header_is(const char *line, size_t len, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    const char *value = line + name_len + 1;
    const char *end = line + len;

    if (len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
        return false;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (unsigned char)end[-1] <= ' ')
        end--;
    if ((size_t)(end - value) >= cap || memchr(value, '\0', (size_t)(end - value)) != NULL)
        return false;
    memcpy(out, value, (size_t)(end - value));
    out[end - value] = '\0';
    return true;
}

/* "Range: 0-N": so much of an upload is there. Some say "0-0" of nothing, too. */
static void
read_range(struct syn_oci_exchange *exchange, char *text)
{
    const char *end = strchr(text, '-');
    int64_t last = 0;

    if (end != NULL && syn_parse_i64(end + 1, 0, INT64_MAX - 1, "range", &last, NULL) == SYN_OK)
        exchange->range_end = last > 0 ? last + 1 : 0;
}

static size_t
on_header(char *line, size_t size, size_t count, void *arg)
{
    struct syn_oci_exchange *exchange = arg;
    size_t len = size * count;
    char text[64];

    if (header_is(line, len, "Range", text, sizeof(text)))
        read_range(exchange, text);
    else if (header_is(line, len, "OCI-Chunk-Min-Length", text, sizeof(text)))
        (void)!syn_parse_i64(text, 0, INT64_MAX, "length", &exchange->chunk_min, NULL);
    else if (header_is(line, len, "Content-Type", exchange->media, sizeof(exchange->media)))
        exchange->media[strcspn(exchange->media, "; \t")] = '\0';
    else if (header_is(line, len, "Content-Length", text, sizeof(text)))
        (void)!syn_parse_i64(text, 0, INT64_MAX, "length", &exchange->length, NULL);
    else if (header_is(line, len, "Retry-After", text, sizeof(text)) &&
             syn_parse_i64(text, 0, AFTER_MAX, "seconds", &exchange->retry_after_ms, NULL) ==
                 SYN_OK)
        exchange->retry_after_ms *= 1000;
    else if (header_is(line, len, "Content-Range", text, sizeof(text)) &&
             syn_str_starts(text, "bytes ")) {
        text[6 + strcspn(text + 6, "-")] = '\0';
        (void)!syn_parse_i64(text + 6, 0, INT64_MAX, "range", &exchange->range_from, NULL);
    } else if (!header_is(line, len, "Docker-Content-Digest", exchange->digest,
                          sizeof(exchange->digest)) &&
               !header_is(line, len, "Location", exchange->location, sizeof(exchange->location)) &&
               exchange->challenge[0] == '\0')
        (void)header_is(line, len, "WWW-Authenticate", exchange->challenge,
                        sizeof(exchange->challenge));
    return len;
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
    struct syn_oci_exchange *exchange = arg;
    size_t len = size * count;

    if (exchange->status == 0)
        (void)curl_easy_getinfo(exchange->line->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    if (exchange->write != NULL && (exchange->status == 200 || exchange->status == 206)) {
        exchange->rc = exchange->write(exchange->arg, data, len, exchange->err);
        return exchange->rc == SYN_OK ? len : CURL_WRITEFUNC_ERROR;
    }
    exchange->junk_bytes += (int64_t)len;
    return exchange->junk_bytes <= JUNK_MAX ? len : CURL_WRITEFUNC_ERROR;
}

static size_t
on_read(char *out, size_t size, size_t count, void *arg)
{
    struct syn_oci_exchange *exchange = arg;
    int64_t at = exchange->body_from + exchange->body_done;
    int64_t left = exchange->body_len - exchange->body_done;
    int64_t skip = at - exchange->piece_from;
    size_t len;

    if (left == 0)
        return 0;
    if (skip < 0 || skip >= (int64_t)exchange->piece.len) {
        syn_buf_clear(&exchange->piece);
        exchange->piece_from = at;
        skip = 0;
        exchange->rc = exchange->body->read(exchange->body->arg, at, SYN_MIN(left, PIECE),
                                            &exchange->piece, exchange->err);
        if (exchange->rc == SYN_OK && exchange->piece.len == 0)
            exchange->rc = SYN_FAIL(exchange->err, SYN_E_CORRUPT, "what is to be sent ends early");
    }
    if (exchange->rc < 0)
        return CURL_READFUNC_ABORT;
    len = SYN_MIN(exchange->piece.len - (size_t)skip, size * count);
    len = SYN_MIN(len, (size_t)left);
    memcpy(out, syn_buf_text(&exchange->piece) + skip, len);
    exchange->body_done += (int64_t)len;
    return len;
}

/* A connection that was kept, and had ended: what was read for it is sent again. */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
    struct syn_oci_exchange *exchange = arg;

    if (origin != SEEK_SET || offset < 0 || offset > exchange->body_len)
        return CURL_SEEKFUNC_FAIL;
    exchange->body_done = offset;
    return CURL_SEEKFUNC_OK;
}

static int
on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    struct syn_oci_exchange *exchange = arg;
    const struct syn_oci_remote *remote = exchange->line->remote;
    int64_t stall_ms = remote->stall_ms > 0 ? remote->stall_ms : STALL_MS;
    int64_t now_ns = syn_clock_ns();

    (void)total;
    (void)up_total;
    if (now + up != exchange->seen_bytes) {
        exchange->seen_bytes = now + up;
        exchange->moved_ns = now_ns;
        if (exchange->body != NULL && exchange->body->sent != NULL)
            exchange->body->sent(exchange->body->arg, exchange->body_from + up);
    }
    if (exchange->rc == SYN_OK)
        exchange->rc = line_check(exchange->line, exchange->err);
    if (exchange->rc == SYN_OK && now_ns - exchange->moved_ns > stall_ms * NS_PER_MS)
        exchange->rc = SYN_FAIL(exchange->err, SYN_E_TIMEOUT, "not a byte moved for %lld ms",
                                (long long)stall_ms);
    return exchange->rc != SYN_OK;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int
add_header(struct curl_slist **list, const char *name, const char *value, struct syn_err *err)
{
    struct curl_slist *longer;
    SYN_BUF(line);
    int rc = SYN_OK;

    if (value == NULL)
        return SYN_OK;
    syn_buf_addf(&line, "%s: %s", name, value);
    rc = syn_buf_ok(&line, err);
    if (rc < 0)
        return rc;
    longer = curl_slist_append(*list, syn_buf_text(&line));
    if (longer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a request");
    *list = longer;
    return SYN_OK;
}

static void
set_method(struct syn_oci_exchange *exchange)
{
    CURL *easy = exchange->line->easy;

    if (exchange->method == NULL)
        return;
    if (syn_str_eq(exchange->method, "HEAD")) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, exchange->method);
    (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)exchange->body_len);
    (void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
    (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    (void)curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    (void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
}

static void
set_options(struct syn_oci_exchange *exchange, struct curl_slist *headers)
{
    const struct syn_oci_remote *remote = exchange->line->remote;
    CURL *easy = exchange->line->easy;
    char range[32];

    curl_easy_reset(easy);
    (void)curl_easy_setopt(easy, CURLOPT_URL, exchange->url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, exchange->plain ? "http" : "https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "synor/" SYN_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 262144L);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(remote->connect_ms > 0 ? remote->connect_ms : CONNECT_MS));
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, exchange);
    set_method(exchange);
    if (exchange->ca_file != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, exchange->ca_file);
    if (exchange->from > 0) { /* a server that gives no rest gives all, and says 200 */
        (void)snprintf(range, sizeof(range), "%lld-", (long long)exchange->from);
        (void)curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
}

static int
ask_failed(const struct syn_oci_exchange *exchange, CURLcode code, const char *host,
           struct syn_err *err)
{
    if (exchange->rc != SYN_OK)
        return exchange->rc;
    if (exchange->refused)
        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "%s has a private address, which only an operator, or a registry that the "
                        "platform's rules call private, may be asked at",
                        host);
    switch ((int)code) {
    case CURLE_OUT_OF_MEMORY:
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a request");
    case CURLE_OPERATION_TIMEDOUT:
        return SYN_FAIL(err, SYN_E_TIMEOUT, "%s does not answer", host);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "%s: its certificate is not trusted", host);
    default:
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: %s", host, curl_easy_strerror(code));
    }
}

/* Nothing is answered yet. */
static void
begin(struct syn_oci_line *line, struct syn_oci_exchange *exchange, struct syn_err *err)
{
    exchange->line = line;
    exchange->err = err;
    exchange->rc = SYN_OK;
    exchange->refused = false;
    exchange->status = 0;
    exchange->length = exchange->range_from = exchange->range_end = -1;
    exchange->retry_after_ms = exchange->seen_bytes = exchange->junk_bytes = 0;
    exchange->chunk_min = exchange->body_done = 0;
    exchange->media[0] = exchange->digest[0] = '\0';
    exchange->challenge[0] = exchange->location[0] = '\0';
    exchange->moved_ns = syn_clock_ns();
}

static int
make_headers(const struct syn_oci_exchange *exchange, struct curl_slist **headers,
             struct syn_err *err)
{
    const struct {
        const char *name, *value;
    } rows[] = {{"Accept", exchange->accept},
                {"Authorization", exchange->authorization},
                {"Content-Type", exchange->content_type},
                {"Content-Range", exchange->content_range},
                {"Expect", exchange->method != NULL ? "" : NULL}}; /* an empty one: curl's goes */
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(rows); i++)
        rc = add_header(headers, rows[i].name, rows[i].value, err);
    return rc;
}

int
syn_oci_ask(struct syn_oci_line *line, struct syn_oci_exchange *exchange, struct syn_err *err)
{
    struct curl_slist *headers = NULL;
    char host[SYN_IMAGE_HOST_MAX];
    CURLcode code = CURLE_OK;
    int rc = syn_oci_url_host(exchange->url, host, &exchange->plain, err);

    if (rc == SYN_OK)
        rc = line_check(line, err);
    begin(line, exchange, err);
    if (rc == SYN_OK)
        rc = make_headers(exchange, &headers, err);
    if (rc == SYN_OK) {
        set_options(exchange, headers);
        code = curl_easy_perform(line->easy);
    }
    curl_slist_free_all(headers);
    syn_buf_fini(&exchange->piece);
    if (rc < 0)
        return rc;
    (void)curl_easy_getinfo(line->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    return code == CURLE_OK ? SYN_OK : ask_failed(exchange, code, host, err);
}

/* --- URLs ------------------------------------------------------------------------------------- */

static int
bad_url(CURLUcode code, struct syn_err *err)
{
    return code == CURLUE_OUT_OF_MEMORY
               ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for a URL")
               : SYN_FAIL(err, SYN_E_FORBIDDEN, "the registry names a place that cannot be asked");
}

static void
url_scope(CURLU **slot)
{
    curl_url_cleanup(*slot);
}

static int
host_of(CURLU *url, char *out, bool *ret_plain, struct syn_err *err)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLUcode code = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
    int rc = SYN_OK;

    if (code == CURLUE_OK)
        code = curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (code == CURLUE_OK) {
        code = curl_url_get(url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
        code = code == CURLUE_NO_PORT ? CURLUE_OK : code;
    }
    if (code != CURLUE_OK) {
        rc = bad_url(code, err);
    } else {
        if (snprintf(out, SYN_IMAGE_HOST_MAX, "%s%s%s", host, port != NULL ? ":" : "",
                     port != NULL ? port : "") >= SYN_IMAGE_HOST_MAX ||
            !syn_image_host_ok(out))
            rc = bad_url(CURLUE_BAD_HOSTNAME, err);
        for (char *at = out; rc == SYN_OK && *at != '\0'; at++)
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
        *ret_plain = syn_str_eq(scheme, "http");
    }
    if (rc == SYN_OK && !syn_str_eq(scheme, "https") &&
        !(*ret_plain && syn_image_host_loopback(out)))
        rc = SYN_FAIL(err, SYN_E_FORBIDDEN, "%s would be asked without TLS", out);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return rc;
}

int
syn_oci_url_host(const char *url, char out[SYN_IMAGE_HOST_MAX], bool *ret_plain,
                 struct syn_err *err)
{
    SYN_SCOPED(url_scope) CURLU *parsed = curl_url();
    CURLUcode code;

    if (parsed == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a URL");
    code = curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    return code != CURLUE_OK ? bad_url(code, err) : host_of(parsed, out, ret_plain, err);
}

int
syn_oci_follow(struct syn_oci_exchange *exchange, bool *ret_same, struct syn_err *err)
{
    SYN_SCOPED(url_scope) CURLU *url = curl_url();
    char before[SYN_IMAGE_HOST_MAX], after[SYN_IMAGE_HOST_MAX];
    bool plain = false, plain_after = false;
    char *text = NULL;
    CURLUcode code;
    int rc = SYN_OK;

    if (url == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a URL");
    code = curl_url_set(url, CURLUPART_URL, exchange->url, 0);
    if (code == CURLUE_OK)
        rc = host_of(url, before, &plain, err);
    if (rc == SYN_OK && code == CURLUE_OK)
        code = curl_url_set(url, CURLUPART_URL, exchange->location, CURLU_DISALLOW_USER);
    if (rc == SYN_OK && code == CURLUE_OK)
        rc = host_of(url, after, &plain_after, err);
    if (rc == SYN_OK && code == CURLUE_OK)
        code = curl_url_get(url, CURLUPART_URL, &text, 0);
    if (rc == SYN_OK && code != CURLUE_OK)
        rc = bad_url(code, err);
    if (rc == SYN_OK && plain_after && !plain)
        rc = SYN_FAIL(err, SYN_E_FORBIDDEN, "%s leads from TLS to none", before);
    if (rc == SYN_OK && !syn_str_copy(exchange->url, sizeof(exchange->url), text))
        rc = SYN_FAIL(err, SYN_E_LIMIT, "%s leads to a URL that is too long", before);
    curl_free(text);
    if (rc == SYN_OK)
        *ret_same = plain == plain_after && syn_str_eq(before, after);
    return rc;
}
