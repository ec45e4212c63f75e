/* The client over libcurl. Every request runs on one multi handle, for three reasons: the
 * connection stays open between calls, curl_multi_wakeup() lets another thread end a wait at once,
 * and the pause before a retry can be ended the same way. */
#include <synor/client.h>

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "client_priv.h"
#include "sse_priv.h"

#define CONNECT_MS   5000
#define ANSWER_MS    60000
#define ERROR_BYTES  65536
#define HEX_DIGITS   64
#define STREAM_QUIET 60 /* s; servers send a comment every 15 */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
curl_start(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* --- life ---------------------------------------------------------------------------------------
 */

/* "sha256//BASE64" of 64 hexadecimal digits, as curl wants it. */
static int
make_pin(const char *fingerprint, char **ret_pin, struct syn_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t digest[HEX_DIGITS / 2 + 1] = {0};
    char text[64] = "sha256//";
    size_t n = 8;

    if (syn_hex_decode(fingerprint, digest, HEX_DIGITS / 2, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a fingerprint has %d hexadecimal digits", HEX_DIGITS);
    for (size_t i = 0; i < HEX_DIGITS / 2 + 1; i += 3) {
        uint32_t group = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | digest[i + 2];

        for (unsigned shift = 18; shift <= 18; shift -= 6)
            text[n++] = digits[group >> shift & 63];
    }
    text[n - 1] = '='; /* 32 bytes: the last group has two */
    text[n] = '\0';
    *ret_pin = syn_strdup(text);
    return *ret_pin == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a client") : SYN_OK;
}

static int
set_target(struct syn_client *client, const char *target, struct syn_err *err)
{
    const char *path = NULL;

    if (target == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "no server was named");
    if (target[0] == '/')
        path = target;
    else if (syn_str_starts(target, "unix:/"))
        path = target + 5;
    else if (!syn_str_starts(target, "http://") && !syn_str_starts(target, "https://"))
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "server \"%s\": expected a socket's path, http://HOST:PORT or https://HOST:PORT",
            target);
    client->name = syn_strdup(target);
    client->base_url = syn_strdup(path != NULL ? "http://localhost" : target);
    client->socket_path = path != NULL ? syn_strdup(path) : NULL;
    if (client->name == NULL || client->base_url == NULL ||
        (path != NULL && client->socket_path == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a client");
    if (path == NULL && syn_str_ends(client->base_url, "/"))
        client->base_url[strlen(client->base_url) - 1] = '\0';
    return SYN_OK;
}

static int
add_header(struct curl_slist **list, const char *name, const char *value, struct syn_err *err)
{
    SYN_BUF(line);
    struct curl_slist *longer;

    for (const char *at = value; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            return SYN_FAIL(err, SYN_E_INVALID, "control character in header %s", name);
    }
    syn_buf_addf(&line, "%s: %s", name, value);
    longer = syn_buf_ok(&line, NULL) < 0 ? NULL : curl_slist_append(*list, syn_buf_text(&line));
    if (longer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a request");
    *list = longer;
    return SYN_OK;
}

static int
client_init(struct syn_client *client, const struct syn_client_options *options,
            struct syn_err *err)
{
    SYN_BUF(bearer);
    int rc = set_target(client, options->target, err);

    if (rc == SYN_OK && options->fingerprint != NULL)
        rc = make_pin(options->fingerprint, &client->pin, err);
    if (rc == SYN_OK && options->account != NULL)
        rc = add_header(&client->headers, "X-Synor-Account", options->account, err);
    if (rc == SYN_OK && options->token != NULL) {
        syn_buf_adds(&bearer, "Bearer ");
        syn_buf_adds(&bearer, options->token);
        rc = syn_buf_ok(&bearer, err);
        if (rc == SYN_OK)
            rc = add_header(&client->headers, "Authorization", syn_buf_text(&bearer), err);
    }
    if (rc < 0)
        return rc;
    if (options->ca_path != NULL)
        client->ca_path = syn_strdup(options->ca_path);
    client->multi = curl_multi_init();
    client->easy = curl_easy_init();
    if (client->multi == NULL || client->easy == NULL ||
        (options->ca_path != NULL && client->ca_path == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a client");
    client->connect_ms = options->connect_ms > 0 ? options->connect_ms : CONNECT_MS;
    client->answer_ms = options->answer_ms > 0 ? options->answer_ms : ANSWER_MS;
    client->retries_max = options->retries_max;
    return SYN_OK;
}

int
syn_client_new(const struct syn_client_options *options, struct syn_client **ret_client,
               struct syn_err *err)
{
    struct syn_client *client = syn_calloc(1, sizeof(*client));
    int rc;

    if (client == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a client");
    (void)pthread_once(&curl_once, curl_start);
    rc = client_init(client, options, err);
    if (rc < 0) {
        (void)syn_client_free(client);
        return rc;
    }
    *ret_client = client;
    return SYN_OK;
}

struct syn_client *
syn_client_free(struct syn_client *client)
{
    if (client == NULL)
        return NULL;
    curl_easy_cleanup(client->easy);
    (void)curl_multi_cleanup(client->multi);
    curl_slist_free_all(client->headers);
    json_decref(client->error);
    syn_free(client->base_url);
    syn_free(client->socket_path);
    syn_free(client->pin);
    syn_free(client->ca_path);
    syn_free(client->name);
    syn_free(client);
    return NULL;
}

void
syn_client_free_scope(struct syn_client **slot)
{
    *slot = syn_client_free(*slot);
}

void
syn_client_cancel(struct syn_client *client)
{
    atomic_store(&client->canceled, true);
    (void)curl_multi_wakeup(client->multi);
}

const json_t *
syn_client_error(const struct syn_client *client)
{
    return client->error;
}

void
syn_client_escape(struct syn_buf *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr("-._~", c) != NULL) {
            syn_buf_addc(out, (char)c);
        } else {
            syn_buf_addc(out, '%');
            syn_buf_addc(out, digits[c >> 4]);
            syn_buf_addc(out, digits[c & 15]);
        }
    }
}

/* --- one request --------------------------------------------------------------------------------
 */

static size_t
take_answer(char *data, size_t size, size_t count, void *arg)
{
    struct syn_exchange *exchange = arg;
    size_t len = size * count;

    if (exchange->status == 0)
        (void)curl_easy_getinfo(exchange->client->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    if (exchange->sink != NULL && (exchange->status < 400 || exchange->passed)) {
        exchange->sink_rc = exchange->sink(exchange->sink_arg, data, len, exchange->err);
        return exchange->sink_rc == SYN_OK ? len : CURL_WRITEFUNC_ERROR;
    }
    if (exchange->text.len + len > exchange->text_max) {
        exchange->sink_rc = SYN_FAIL(exchange->err, SYN_E_TOOBIG,
                                     "the answer has more than %zu bytes", exchange->text_max);
        return CURL_WRITEFUNC_ERROR;
    }
    syn_buf_add(&exchange->text, data, len);
    exchange->sink_rc = syn_buf_ok(&exchange->text, exchange->err);
    return exchange->sink_rc == SYN_OK ? len : CURL_WRITEFUNC_ERROR;
}

static size_t
give_upload(char *buf, size_t size, size_t count, void *arg)
{
    struct syn_exchange *exchange = arg;
    const struct syn_transfer *upload = exchange->upload;
    size_t want = (size_t)SYN_MIN((int64_t)(size * count), upload->len - exchange->sent);
    ssize_t got;

    if (want == 0)
        return 0;
    do
        got = pread(upload->fd, buf, want, upload->offset + exchange->sent);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        exchange->sink_rc = got == 0 ? SYN_FAIL(exchange->err, SYN_E_CORRUPT,
                                                "the file became shorter while it was sent")
                                     : SYN_FAIL_SYS(exchange->err, errno, "reading the file");
        return CURL_READFUNC_ABORT;
    }
    exchange->sent += got;
    if (upload->progress != NULL)
        upload->progress(upload->progress_arg, exchange->sent, upload->len);
    return (size_t)got;
}

/* A body that curl must send twice (it met a stale connection) starts again. */
static int
seek_upload(void *arg, curl_off_t offset, int origin)
{
    struct syn_exchange *exchange = arg;

    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    exchange->sent = offset;
    return CURL_SEEKFUNC_OK;
}

void
syn_exchange_options(struct syn_exchange *exchange, const char *url)
{
    struct syn_client *client = exchange->client;
    CURL *easy = client->easy;
    const char *method = exchange->call->method;

    curl_easy_reset(easy);
    client->curl_text[0] = '\0';
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, client->curl_text);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms);
    if (client->socket_path != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    if (client->pin != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_PINNEDPUBLICKEY, client->pin);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (client->ca_path != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_path);
    if (exchange->long_lived) {
        (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STREAM_QUIET);
        (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 262144L);
    } else {
        (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)client->answer_ms);
    }
    if (exchange->on_line != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, exchange->on_line);
        (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    }
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    if (exchange->upload != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
        (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)exchange->upload->len);
        (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_upload);
        (void)curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_upload);
        (void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
    } else if (exchange->body != NULL || strcmp(method, "POST") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body_len);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                               exchange->body != NULL ? exchange->body : "");
    }
    if (strcmp(method, "HEAD") == 0)
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(method, "GET") != 0 || exchange->body != NULL)
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

int
syn_exchange_curl_failed(struct syn_exchange *exchange, CURLcode code)
{
    struct syn_client *client = exchange->client;
    const char *why = client->curl_text[0] != '\0' ? client->curl_text : curl_easy_strerror(code);

    if (exchange->sink_rc != SYN_OK)
        return exchange->sink_rc;
    exchange->connected = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST;
    switch ((int)code) {
    case CURLE_OUT_OF_MEMORY:
        return SYN_FAIL(exchange->err, SYN_E_NOMEM, "out of memory in a request");
    case CURLE_OPERATION_TIMEDOUT:
        return SYN_FAIL(exchange->err, SYN_E_TIMEOUT, "%s did not answer in time", client->name);
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        return SYN_FAIL(exchange->err, SYN_E_FORBIDDEN,
                        "%s has another key than the pinned one; do not trust it", client->name);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return SYN_FAIL(exchange->err, SYN_E_FORBIDDEN, "%s: certificate not trusted: %s",
                        client->name, why);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return SYN_FAIL(exchange->err, SYN_E_INVALID, "%s: %s", client->name, why);
    default:
        return SYN_FAIL(exchange->err, SYN_E_UNAVAILABLE, "cannot reach %s: %s", client->name, why);
    }
}

/* Drive the transfer until it ends or somebody cancels. */
static int
run(struct syn_exchange *exchange)
{
    struct syn_client *client = exchange->client;
    int running = 1;
    CURLMsg *message;
    CURLcode code = CURLE_FAILED_INIT;
    int left;

    if (curl_multi_add_handle(client->multi, client->easy) != CURLM_OK)
        return SYN_FAIL(exchange->err, SYN_E_NOMEM, "out of memory for a request");
    while (running > 0 && !atomic_load(&client->canceled)) {
        if (curl_multi_perform(client->multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            (void)curl_multi_poll(client->multi, NULL, 0, 60000, NULL);
    }
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            code = message->data.result;
    }
    (void)curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    (void)curl_multi_remove_handle(client->multi, client->easy);
    if (running > 0 && atomic_load(&client->canceled))
        return SYN_FAIL(exchange->err, SYN_E_CANCELED, "canceled");
    return code == CURLE_OK ? SYN_OK : syn_exchange_curl_failed(exchange, code);
}

/* What a status says where the server gave no document (a proxy in between, most likely). */
static int
code_of_status(long status)
{
    switch (status) {
    case 502:
    case 503:
    case 504:
        return SYN_E_UNAVAILABLE;
    case 401:
        return SYN_E_UNAUTHENTICATED;
    case 403:
        return SYN_E_FORBIDDEN;
    case 404:
        return SYN_E_NOTFOUND;
    default:
        return status >= 500 ? SYN_E_INTERNAL : SYN_E_INVALID;
    }
}

int
syn_exchange_server_failed(struct syn_exchange *exchange)
{
    struct syn_client *client = exchange->client;
    const struct syn_err_info *info = NULL;
    int rc;

    exchange->connected = true;
    rc = syn_json_parse_object(syn_buf_text(&exchange->text), exchange->text.len, &client->error,
                               NULL);
    if (rc == SYN_OK)
        info = syn_err_info_by_wire(syn_json_str(client->error, "code", ""));
    if (info == NULL) {
        client->error = (json_decref(client->error), NULL);
        return SYN_FAIL(exchange->err, code_of_status(exchange->status), "%s answered %ld",
                        client->name, exchange->status);
    }
    return SYN_FAIL(exchange->err, info->code, "%s",
                    syn_json_str(client->error, "message", info->text));
}

int
syn_exchange_headers(struct syn_exchange *exchange, const char *range, const char *last_id)
{
    const struct syn_call *call = exchange->call;
    int rc = SYN_OK;

    for (struct curl_slist *at = exchange->client->headers; at != NULL; at = at->next) {
        struct curl_slist *longer = curl_slist_append(exchange->headers, at->data);

        if (longer == NULL)
            return SYN_FAIL(exchange->err, SYN_E_NOMEM, "out of memory for a request");
        exchange->headers = longer;
    }
    if (exchange->body != NULL)
        rc =
            add_header(&exchange->headers, "Content-Type",
                       exchange->content_type != NULL ? exchange->content_type : "application/json",
                       exchange->err);
    if (rc == SYN_OK && exchange->upload != NULL)
        rc = add_header(&exchange->headers, "Content-Type", "application/octet-stream",
                        exchange->err);
    if (rc == SYN_OK && call->idempotency_key != NULL)
        rc =
            add_header(&exchange->headers, "Idempotency-Key", call->idempotency_key, exchange->err);
    if (rc == SYN_OK && call->if_match != NULL) {
        SYN_BUF(quoted);

        syn_buf_addf(&quoted, "\"%s\"", call->if_match);
        rc = syn_buf_ok(&quoted, exchange->err);
        if (rc == SYN_OK)
            rc = add_header(&exchange->headers, "If-Match", syn_buf_text(&quoted), exchange->err);
    }
    if (rc == SYN_OK && range != NULL)
        rc = add_header(&exchange->headers, "Range", range, exchange->err);
    if (rc == SYN_OK && last_id != NULL && last_id[0] != '\0')
        rc = add_header(&exchange->headers, "Last-Event-ID", last_id, exchange->err);
    return rc;
}

int
syn_exchange_attempt(struct syn_exchange *exchange, const char *range, const char *last_id)
{
    struct syn_client *client = exchange->client;
    SYN_BUF(url);
    int rc;

    exchange->status = 0;
    exchange->sent = 0;
    exchange->sink_rc = SYN_OK;
    exchange->connected = false;
    syn_buf_clear(&exchange->text);
    client->error = (json_decref(client->error), NULL);
    if (atomic_load(&client->canceled))
        return SYN_FAIL(exchange->err, SYN_E_CANCELED, "canceled");
    if (exchange->call->path[0] != '/' || strlen(exchange->call->path) > SYN_CLIENT_PATH_MAX)
        return SYN_FAIL(exchange->err, SYN_E_INVALID,
                        "a path starts with / and has at most %d bytes", SYN_CLIENT_PATH_MAX);
    syn_buf_adds(&url, client->base_url);
    syn_buf_adds(&url, exchange->call->path);
    rc = syn_buf_ok(&url, exchange->err);
    if (rc == SYN_OK)
        rc = syn_exchange_headers(exchange, range, last_id);
    if (rc == SYN_OK) {
        syn_exchange_options(exchange, syn_buf_text(&url));
        rc = run(exchange);
    }
    curl_slist_free_all(SYN_TAKE(exchange->headers));
    /* An early refusal of an upload arrives while it is still being sent: the answer is what
     * counts. */
    if (exchange->status >= 400 && !exchange->passed && (rc == SYN_OK || exchange->upload != NULL))
        rc = syn_exchange_server_failed(exchange);
    return rc;
}

static void
exchange_fini(struct syn_exchange *exchange)
{
    syn_buf_fini(&exchange->text);
}

/* Wait before retry number `n`; ended at once by a cancel. A quarter of it is random, so that a
 * crowd of clients does not come back in step. */
static void
back_off(struct syn_client *client, unsigned n, int64_t at_least_ms)
{
    const struct syn_world *world = syn_world_system();
    int64_t ms = SYN_CLIENT_BACKOFF_MAX;
    int64_t until;
    uint8_t jitter = 0;

    if (n < 6)
        ms = SYN_MIN(ms, (int64_t)SYN_CLIENT_BACKOFF_MS << n);
    world->ops->random(world->self, &jitter, sizeof(jitter));
    ms = SYN_MAX(ms - ms * jitter / 1024, at_least_ms);
    until = syn_mono_ms(world) + ms;
    while (ms > 0 && !atomic_load(&client->canceled)) {
        (void)curl_multi_poll(client->multi, NULL, 0, (int)ms, NULL);
        ms = until - syn_mono_ms(world);
    }
}

static bool
repeatable(const struct syn_call *call)
{
    return strcmp(call->method, "GET") == 0 || strcmp(call->method, "PUT") == 0 ||
           strcmp(call->method, "DELETE") == 0 || call->idempotency_key != NULL;
}

int
syn_client_call(struct syn_client *client, const struct syn_call *call, json_t **ret_answer,
                struct syn_err *err)
{
    SYN_SCOPED(exchange_fini)
    struct syn_exchange exchange = {
        .client = client, .call = call, .text_max = SYN_JSON_BYTES_MAX, .err = err};
    SYN_BUF(body);
    SYN_JSON(answer);
    int rc = SYN_OK;

    if (call->body != NULL) {
        rc = syn_json_write(call->body, &body, err);
        if (rc < 0)
            return rc;
        exchange.body = syn_buf_text(&body);
        exchange.body_len = body.len;
    }
    for (unsigned n = 0;; n++) {
        rc = syn_exchange_attempt(&exchange, NULL, NULL);
        if (rc != SYN_E_UNAVAILABLE || n == client->retries_max ||
            (exchange.connected && !repeatable(call)))
            break;
        back_off(client, n, 0);
    }
    if (rc < 0)
        return rc;
    if (exchange.text.len == 0) {
        answer = json_null();
    } else {
        rc = syn_json_parse(syn_buf_text(&exchange.text), exchange.text.len, &answer, err);
        if (rc == SYN_E_NOMEM)
            return rc;
        if (rc < 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s did not answer JSON", client->name);
    }
    if (ret_answer != NULL)
        *ret_answer = SYN_TAKE(answer);
    return SYN_OK;
}

/* --- transfers ----------------------------------------------------------------------------------
 */

int
syn_client_upload(struct syn_client *client, const struct syn_transfer *transfer,
                  json_t **ret_answer, struct syn_err *err)
{
    const struct syn_call call = {.method = transfer->method != NULL ? transfer->method : "PUT",
                                  .path = transfer->path};
    SYN_SCOPED(exchange_fini)
    struct syn_exchange exchange = {.client = client,
                                    .call = &call,
                                    .long_lived = true,
                                    .upload = transfer,
                                    .text_max = SYN_JSON_BYTES_MAX,
                                    .err = err};
    SYN_JSON(answer);
    int rc = syn_exchange_attempt(&exchange, NULL, NULL);

    if (rc < 0)
        return rc;
    rc = syn_json_parse(syn_buf_text(&exchange.text), exchange.text.len, &answer, err);
    if (rc < 0)
        return rc == SYN_E_NOMEM
                   ? rc
                   : SYN_FAIL(err, SYN_E_CORRUPT, "%s did not answer JSON", client->name);
    if (ret_answer != NULL)
        *ret_answer = SYN_TAKE(answer);
    return SYN_OK;
}

struct download {
    struct syn_exchange *exchange;
    const struct syn_transfer *transfer;
    int64_t received;
};

static int
download_sink(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct download *download = arg;
    const struct syn_transfer *transfer = download->transfer;
    const char *at = data;
    curl_off_t total = -1;

    if (transfer->offset > 0 && download->exchange->status != 206)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server does not resume at byte %lld",
                        (long long)transfer->offset);
    while (len > 0) {
        ssize_t n = pwrite(transfer->fd, at, len, transfer->offset + download->received);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SYN_FAIL_SYS(err, errno, "writing the download");
        download->received += n;
        at += n;
        len -= (size_t)n;
    }
    if (transfer->progress != NULL) {
        (void)curl_easy_getinfo(download->exchange->client->easy,
                                CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &total);
        transfer->progress(transfer->progress_arg, download->received, total);
    }
    return SYN_OK;
}

int
syn_client_download(struct syn_client *client, const struct syn_transfer *transfer,
                    int64_t *ret_received, struct syn_err *err)
{
    const struct syn_call call = {.method = "GET", .path = transfer->path};
    struct download download = {NULL, transfer, 0};
    SYN_SCOPED(exchange_fini)
    struct syn_exchange exchange = {.client = client,
                                    .call = &call,
                                    .long_lived = true,
                                    .text_max = ERROR_BYTES,
                                    .sink = download_sink,
                                    .sink_arg = &download,
                                    .err = err};
    char range[64];
    int rc;

    download.exchange = &exchange;
    (void)snprintf(range, sizeof(range), "bytes=%lld-", (long long)transfer->offset);
    rc = syn_exchange_attempt(&exchange, transfer->offset > 0 ? range : NULL, NULL);
    if (ret_received != NULL)
        *ret_received = download.received;
    return rc;
}

int
syn_client_read(struct syn_client *client, const char *path,
                int (*sink)(void *arg, const void *data, size_t len, struct syn_err *err),
                void *arg, struct syn_err *err)
{
    const struct syn_call call = {.method = "GET", .path = path};
    SYN_SCOPED(exchange_fini)
    struct syn_exchange exchange = {.client = client,
                                    .call = &call,
                                    .long_lived = true,
                                    .text_max = ERROR_BYTES,
                                    .sink = sink,
                                    .sink_arg = arg,
                                    .err = err};

    return syn_exchange_attempt(&exchange, NULL, NULL);
}

/* --- streams ------------------------------------------------------------------------------------
 */

static int
stream_sink(void *arg, const void *data, size_t len, struct syn_err *err)
{
    return sse_parser_feed(arg, data, len, err);
}

struct follow {
    int (*on_event)(void *arg, const struct syn_event *event, struct syn_err *err);
    void *arg;
    bool progressed; /* since the connection was made */
};

static int
follow_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct follow *follow = arg;

    follow->progressed = true;
    return follow->on_event(follow->arg, event, err);
}

int
syn_client_follow(struct syn_client *client, const char *path, const char *last_id,
                  int (*on_event)(void *arg, const struct syn_event *event, struct syn_err *err),
                  void *arg, struct syn_err *err)
{
    const struct syn_call call = {.method = "GET", .path = path};
    struct follow follow = {on_event, arg, false};
    SYN_SCOPED(sse_parser_fini) struct sse_parser parser;
    SYN_SCOPED(exchange_fini)
    struct syn_exchange exchange = {.client = client,
                                    .call = &call,
                                    .long_lived = true,
                                    .text_max = ERROR_BYTES,
                                    .sink = stream_sink,
                                    .sink_arg = &parser,
                                    .err = err};
    unsigned failures = 0;
    int rc;

    sse_parser_init(&parser, follow_event, &follow);
    if (last_id != NULL && !syn_str_copy(parser.last_id, sizeof(parser.last_id), last_id))
        return SYN_FAIL(err, SYN_E_INVALID, "an event's id has at most %d bytes", SSE_ID_MAX);
    for (;;) {
        follow.progressed = false;
        rc = syn_exchange_attempt(&exchange, NULL, parser.last_id);
        if (exchange.sink_rc == SYN_CLIENT_STOP)
            return SYN_OK;
        if (exchange.sink_rc < 0)
            return exchange.sink_rc;
        if (rc < 0 && rc != SYN_E_UNAVAILABLE && rc != SYN_E_TIMEOUT)
            return rc;
        failures = follow.progressed ? 0 : failures + 1;
        if (failures > client->retries_max)
            return rc < 0 ? rc
                          : SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s ended the stream", client->name);
        back_off(client, failures, SYN_MAX(parser.retry_ms, (int64_t)0));
        sse_parser_restart(&parser);
    }
}
