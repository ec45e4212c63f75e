/* curl connects, with all that the client knows of trust and sockets; the request is written here,
 * since curl has no way to give the connection of an answered request away. */
#include <synor/client/tunnel.h>

#include <poll.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "client_priv.h"

#define HEAD_MAX ((size_t)16384)
#define BODY_MAX ((size_t)65536)

struct syn_tunnel {
    struct syn_client *client; /* borrowed */
    int fd;
    struct syn_buf early; /* what came behind the answer's head */
    size_t early_at;
};

/* --- bytes ------------------------------------------------------------------------------------ */

int
syn_tunnel_fd(const struct syn_tunnel *tunnel)
{
    return tunnel->fd;
}

static ptrdiff_t
receive(struct syn_tunnel *tunnel, void *buf, size_t cap)
{
    size_t got = 0;
    CURLcode code = curl_easy_recv(tunnel->client->easy, buf, cap, &got);

    if (code == CURLE_AGAIN)
        return SYN_TUNNEL_AGAIN;
    return code == CURLE_OK ? (ptrdiff_t)got : SYN_TUNNEL_GONE;
}

ptrdiff_t
syn_tunnel_recv(struct syn_tunnel *tunnel, void *buf, size_t cap)
{
    size_t early = SYN_MIN(cap, tunnel->early.len - tunnel->early_at);

    if (early == 0)
        return receive(tunnel, buf, cap);
    memcpy(buf, tunnel->early.data + tunnel->early_at, early);
    tunnel->early_at += early;
    if (tunnel->early_at == tunnel->early.len) {
        syn_buf_fini(&tunnel->early);
        tunnel->early_at = 0;
    }
    return (ptrdiff_t)early;
}

ptrdiff_t
syn_tunnel_send(struct syn_tunnel *tunnel, const void *data, size_t len)
{
    size_t sent = 0;
    CURLcode code = curl_easy_send(tunnel->client->easy, data, len, &sent);

    if (code == CURLE_AGAIN)
        return SYN_TUNNEL_AGAIN;
    return code == CURLE_OK ? (ptrdiff_t)sent : SYN_TUNNEL_GONE;
}

/* --- asking for it ---------------------------------------------------------------------------- */

static bool
await(const struct syn_tunnel *tunnel, short events, int64_t deadline_ms)
{
    struct pollfd ready = {.fd = tunnel->fd, .events = events};
    int64_t left = deadline_ms - syn_mono_ms(syn_world_system());

    return left > 0 && poll(&ready, 1, (int)SYN_MIN(left, (int64_t)60000)) == 1;
}

static int
send_all(struct syn_tunnel *tunnel, const struct syn_buf *request, int64_t deadline_ms,
         struct syn_err *err)
{
    size_t at = 0;

    while (at < request->len) {
        ptrdiff_t n = syn_tunnel_send(tunnel, request->data + at, request->len - at);

        if (n == SYN_TUNNEL_GONE || (n == SYN_TUNNEL_AGAIN && !await(tunnel, POLLOUT, deadline_ms)))
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s took no request", tunnel->client->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return SYN_OK;
}

/* More of the answer. */
static int
more(struct syn_tunnel *tunnel, int64_t deadline_ms, struct syn_err *err)
{
    char chunk[4096];
    ptrdiff_t n;

    while ((n = receive(tunnel, chunk, sizeof(chunk))) == SYN_TUNNEL_AGAIN) {
        if (!await(tunnel, POLLIN, deadline_ms) && syn_mono_ms(syn_world_system()) >= deadline_ms)
            return SYN_FAIL(err, SYN_E_TIMEOUT, "%s did not answer in time", tunnel->client->name);
    }
    if (n <= 0)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s ended the connection", tunnel->client->name);
    syn_buf_add(&tunnel->early, chunk, (size_t)n);
    return syn_buf_ok(&tunnel->early, err);
}

/* The answer's head; *ret_len is its length. */
static int
read_head(struct syn_tunnel *tunnel, int64_t deadline_ms, size_t *ret_len, struct syn_err *err)
{
    for (;;) {
        const char *end = tunnel->early.len >= 4
                              ? memmem(tunnel->early.data, tunnel->early.len, "\r\n\r\n", 4)
                              : NULL;
        int rc;

        if (end != NULL) {
            *ret_len = (size_t)(end - tunnel->early.data) + 4;
            return SYN_OK;
        }
        if (tunnel->early.len > HEAD_MAX)
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s answers nonsense", tunnel->client->name);
        rc = more(tunnel, deadline_ms, err);
        if (rc < 0)
            return rc;
    }
}

/* The number that begins at `text`, which is followed by something else. */
static size_t
number_at(const char *text)
{
    size_t number = 0;

    for (; *text >= '0' && *text <= '9' && number < BODY_MAX; text++)
        number = 10 * number + (size_t)(*text - '0');
    return number;
}

/* A refusal: its document is as long as the connection, which the server ends, or as it says. */
static int
refused(struct syn_tunnel *tunnel, struct syn_exchange *exchange, size_t head, int64_t deadline_ms)
{
    static const char name[] = "\r\ncontent-length: ";
    const char *at = memmem(tunnel->early.data, head, name, sizeof(name) - 1);
    size_t len = at != NULL ? SYN_MIN(number_at(at + sizeof(name) - 1), BODY_MAX) : 0;

    while (tunnel->early.len < head + len && more(tunnel, deadline_ms, NULL) == SYN_OK)
        continue;
    syn_buf_add(&exchange->text, tunnel->early.data + head, tunnel->early.len - head);
    return syn_exchange_server_failed(exchange);
}

static int
write_request(const struct syn_exchange *exchange, struct syn_buf *out, struct syn_err *err)
{
    syn_buf_addf(out,
                 "POST %s HTTP/1.1\r\nHost: synor\r\nConnection: Upgrade\r\n"
                 "Upgrade: " SYN_TUNNEL_PROTOCOL "\r\nContent-Length: %zu\r\n",
                 exchange->call->path, exchange->body_len);
    for (const struct curl_slist *header = exchange->headers; header; header = header->next)
        syn_buf_addf(out, "%s\r\n", header->data);
    syn_buf_adds(out, "\r\n");
    syn_buf_add(out, exchange->body, exchange->body_len);
    return syn_buf_ok(out, err);
}

static int
connect_curl(struct syn_tunnel *tunnel, struct syn_exchange *exchange)
{
    struct syn_client *client = tunnel->client;
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode code;

    syn_exchange_options(exchange, client->base_url);
    (void)curl_easy_setopt(client->easy, CURLOPT_CUSTOMREQUEST, NULL);
    (void)curl_easy_setopt(client->easy, CURLOPT_CONNECT_ONLY, 1L);
    code = curl_easy_perform(client->easy);
    if (code == CURLE_OK)
        code = curl_easy_getinfo(client->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (code == CURLE_OK && fd == CURL_SOCKET_BAD)
        code = CURLE_COULDNT_CONNECT;
    if (code != CURLE_OK)
        return syn_exchange_curl_failed(exchange, code);
    tunnel->fd = fd;
    return SYN_OK;
}

static int
ask(struct syn_tunnel *tunnel, struct syn_exchange *exchange)
{
    int64_t deadline_ms = syn_mono_ms(syn_world_system()) + tunnel->client->answer_ms;
    size_t head = 0;
    SYN_BUF(request);
    int rc = connect_curl(tunnel, exchange);

    if (rc == SYN_OK)
        rc = write_request(exchange, &request, exchange->err);
    if (rc == SYN_OK)
        rc = send_all(tunnel, &request, deadline_ms, exchange->err);
    if (rc == SYN_OK)
        rc = read_head(tunnel, deadline_ms, &head, exchange->err);
    if (rc < 0)
        return rc;
    if (!syn_str_starts(tunnel->early.data, "HTTP/1.1 "))
        return SYN_FAIL(exchange->err, SYN_E_CORRUPT, "%s answers nonsense", tunnel->client->name);
    exchange->status = (long)number_at(tunnel->early.data + strlen("HTTP/1.1 "));
    if (exchange->status != 101)
        return refused(tunnel, exchange, head, deadline_ms);
    tunnel->early_at = head;
    if (head == tunnel->early.len) {
        syn_buf_fini(&tunnel->early);
        tunnel->early_at = 0;
    }
    return SYN_OK;
}

int
syn_tunnel_open(struct syn_client *client, const char *path, const json_t *body,
                struct syn_tunnel **ret_tunnel, struct syn_err *err)
{
    const struct syn_call call = {.method = "POST", .path = path, .body = body};
    struct syn_exchange exchange = {.client = client, .call = &call, .err = err};
    struct syn_tunnel *tunnel = syn_calloc(1, sizeof(*tunnel));
    SYN_BUF(text);
    int rc;

    if (tunnel == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a tunnel");
    tunnel->client = client;
    tunnel->fd = -1;
    client->error = (json_decref(client->error), NULL);
    rc = syn_json_write(body, &text, err);
    exchange.body = syn_buf_text(&text);
    exchange.body_len = text.len;
    if (rc == SYN_OK)
        rc = syn_exchange_headers(&exchange, NULL, NULL);
    if (rc == SYN_OK)
        rc = ask(tunnel, &exchange);
    curl_slist_free_all(exchange.headers);
    syn_buf_fini(&exchange.text);
    if (rc < 0) {
        (void)syn_tunnel_close(tunnel);
        return rc;
    }
    *ret_tunnel = tunnel;
    return SYN_OK;
}

struct syn_tunnel *
syn_tunnel_close(struct syn_tunnel *tunnel)
{
    if (tunnel == NULL)
        return NULL;
    curl_easy_reset(tunnel->client->easy);
    curl_easy_cleanup(tunnel->client->easy); /* a kept connection would go on */
    tunnel->client->easy = curl_easy_init();
    syn_buf_fini(&tunnel->early);
    syn_free(tunnel);
    return NULL;
}
