#include "registry_push_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define REQUEST_MAX 16384
#define MEDIA       "application/vnd.oci.image."
#define LOOK_MS     20

/* --- talking ---------------------------------------------------------------------------------- */

static void
send_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        at += sent;
        len -= (size_t)sent;
    }
}

/* Until the client has gone, or the test is over. */
void
fake_wait_gone(struct fake *fake, int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};

    while (!atomic_load(&fake->stop) && poll(&look, 1, LOOK_MS) == 0)
        continue;
}

static void
wait_for_another(struct fake *fake, int fd)
{
    struct pollfd look[2] = {{.fd = fake->listener, .events = POLLIN},
                             {.fd = fd, .events = POLLIN}};

    while (!atomic_load(&fake->stop) && poll(look, 2, LOOK_MS) == 0)
        continue;
}

static bool
read_request(int fd, char *out, size_t *ret_len)
{
    size_t len = 0;

    while (len < REQUEST_MAX - 1) {
        ssize_t got = recv(fd, out + len, REQUEST_MAX - 1 - len, 0);

        if (got <= 0)
            return false;
        len += (size_t)got;
        out[len] = '\0';
        *ret_len = len;
        if (strstr(out, "\r\n\r\n") != NULL)
            return true;
    }
    return false;
}

/* The value of a header into out, "" without one. */
void
fake_header_of(const char *request, const char *name, char *out, size_t cap)
{
    const char *at = strcasestr(request, name);

    out[0] = '\0';
    if (at == NULL)
        return;
    at += strlen(name);
    at += strspn(at, ": ");
    (void)snprintf(out, cap, "%.*s", (int)strcspn(at, "\r\n"), at);
}

void
fake_head(int fd, int status, int64_t length, const char *more)
{
    SYN_BUF(text);

    syn_buf_addf(&text, "HTTP/1.1 %d Whatever\r\nConnection: close\r\n", status);
    if (length >= 0)
        syn_buf_addf(&text, "Content-Length: %lld\r\n", (long long)length);
    syn_buf_addf(&text, "%s\r\n", more);
    send_all(fd, syn_buf_text(&text), text.len);
}

/* What is wrong with it, if anything, is in `deed`; the bytes asked for begin at `from`. */
static void
give(struct fake *fake, int fd, struct fake_resource *resource, size_t from)
{
    enum fake_deed deed = resource->deed;
    bool again = resource->asked > 1;
    size_t half = resource->len / 2;
    SYN_BUF(more);

    if ((deed == FAKE_BREAK_ONCE || deed == FAKE_BREAK_MORE || deed == FAKE_WRONG_PART) && !again)
        deed = FAKE_SHORT;
    if (deed == FAKE_BREAK_MORE)
        from = 0;
    if (deed == FAKE_WRONG_PART)
        from = 1;
    syn_buf_adds(&more, resource->headers);
    if (from > 0)
        syn_buf_addf(&more, "Content-Range: bytes %zu-%zu/%zu\r\n", from, resource->len - 1,
                     resource->len);
    if (deed == FAKE_SILENT) {
        fake_wait_gone(fake, fd);
        return;
    }
    if (deed == FAKE_TOGETHER && !fake->met) {
        fake->met = true;
        wait_for_another(fake, fd);
    }
    fake_head(fd, from > 0 ? 206 : 200,
              deed == FAKE_ENDLESS ? -1
                                   : (int64_t)(resource->len - from) + (deed == FAKE_LIE_LENGTH),
              syn_buf_text(&more));
    if (deed == FAKE_STALL || deed == FAKE_SHORT) {
        if (from < half)
            send_all(fd, resource->body + from, half - from);
        if (deed == FAKE_STALL)
            fake_wait_gone(fake, fd);
        return;
    }
    send_all(fd, resource->body + from, resource->len - from);
    if (deed == FAKE_ENDLESS)
        send_all(fd, resource->body, resource->len);
}

static void
deny(struct fake *fake, int fd)
{
    char more[FAKE_TEXT_MAX + 32];

    (void)snprintf(more, sizeof(more), "WWW-Authenticate: %s\r\n", fake->challenge);
    fake_head(fd, 401, 0, more);
}

static void
answer(struct fake *fake, int fd, const char *request, size_t request_len)
{
    struct fake_request parsed = {.head = request};
    char auth[FAKE_TEXT_MAX], range[64];
    struct fake_resource *resource = NULL;
    const char *path = parsed.path;
    uint64_t from = 0;

    (void)sscanf(request, "%7s %1023s", parsed.method, parsed.path);
    parsed.body = strstr(request, "\r\n\r\n") + 4;
    parsed.body_len = request_len - (size_t)(parsed.body - request);
    fake_header_of(request, "\nAuthorization", auth, sizeof(auth));
    fake_header_of(request, "\nRange: bytes=", range, sizeof(range));
    range[strcspn(range, "-")] = '\0';
    (void)!syn_parse_u64(range, 0, UINT32_MAX, "range", &from, NULL);
    syn_buf_addf(&fake->seen, "%s|%s\n", path, auth);
    if (fake->push_auth && strstr(path, "/token") == NULL && !syn_str_eq(auth, fake->wants)) {
        deny(fake, fd);
        return;
    }
    if (fake_push(fake, fd, &parsed))
        return;
    resource = fake_find_locked(fake, path, strcspn(path, "?"));
    if (resource == NULL) {
        fake_head(fd, 404, 0, "");
    } else if (resource->needs_auth && !syn_str_eq(auth, fake->wants)) {
        deny(fake, fd);
    } else if (resource->status != 0 &&
               (resource->fail_first == 0 || (int)resource->asked < resource->fail_first)) {
        resource->asked++;
        fake_head(fd, resource->status, 0, resource->headers);
    } else {
        resource->asked++;
        resource->from = from;
        give(fake, fd, resource, (size_t)from);
    }
}

static void *
fake_main(void *arg)
{
    struct fake *fake = arg;
    char request[REQUEST_MAX];
    size_t len = 0;

    while (!atomic_load(&fake->stop)) {
        struct pollfd look = {.fd = fake->listener, .events = POLLIN};
        int fd;

        if (poll(&look, 1, LOOK_MS) <= 0)
            continue;
        fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        if (read_request(fd, request, &len)) {
            (void)pthread_mutex_lock(&fake->lock);
            answer(fake, fd, request, len);
            (void)pthread_mutex_unlock(&fake->lock);
        }
        (void)shutdown(fd, SHUT_WR);
        (void)close(fd);
    }
    return NULL;
}

/* --- the table -------------------------------------------------------------------------------- */

struct fake *
fake_new(void)
{
    struct fake *fake = syn_calloc(1, sizeof(*fake));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    assert_non_null(fake);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 64), 0);
    assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(fake->host, sizeof(fake->host), "127.0.0.1:%u", ntohs(address.sin_port));
    (void)pthread_mutex_init(&fake->lock, NULL);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
    return fake;
}

struct fake *
fake_free(struct fake *fake)
{
    if (fake == NULL)
        return NULL;
    atomic_store(&fake->stop, true);
    (void)pthread_join(fake->thread, NULL);
    (void)close(fake->listener);
    for (size_t i = 0; i < fake->count; i++)
        syn_free(fake->resources[i].body);
    for (size_t i = 0; i < fake->upload_count; i++)
        syn_buf_fini(&fake->uploads[i].body);
    syn_buf_fini(&fake->seen);
    (void)pthread_mutex_destroy(&fake->lock);
    syn_free(fake);
    return NULL;
}

struct fake_resource *
fake_find_locked(struct fake *fake, const char *path, size_t len)
{
    for (size_t i = 0; i < fake->count; i++)
        if (strlen(fake->resources[i].path) == len &&
            strncmp(fake->resources[i].path, path, len) == 0)
            return &fake->resources[i];
    return NULL;
}

struct fake_resource *
fake_find(struct fake *fake, const char *path)
{
    struct fake_resource *found;

    (void)pthread_mutex_lock(&fake->lock);
    found = fake_find_locked(fake, path, strlen(path));
    (void)pthread_mutex_unlock(&fake->lock);
    return found;
}

struct fake_resource *
fake_add_locked(struct fake *fake, const char *path, const void *body, size_t len)
{
    struct fake_resource *resource;

    assert_true(fake->count < FAKE_RESOURCES_MAX);
    resource = &fake->resources[fake->count++];
    (void)syn_str_copy(resource->path, sizeof(resource->path), path);
    resource->body = syn_alloc(len + 1);
    assert_non_null(resource->body);
    if (len > 0)
        memcpy(resource->body, body, len);
    resource->len = len;
    return resource;
}

struct fake_resource *
fake_add(struct fake *fake, const char *path, const void *body, size_t len)
{
    struct fake_resource *resource;

    (void)pthread_mutex_lock(&fake->lock);
    resource = fake_add_locked(fake, path, body, len);
    (void)pthread_mutex_unlock(&fake->lock);
    return resource;
}

void
fake_settle(struct fake *fake)
{
    (void)pthread_mutex_lock(&fake->lock);
    (void)pthread_mutex_unlock(&fake->lock);
}

unsigned
fake_seen(struct fake *fake, const char *text)
{
    unsigned count = 0;
    const char *at;

    (void)pthread_mutex_lock(&fake->lock);
    for (at = syn_buf_text(&fake->seen); (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    (void)pthread_mutex_unlock(&fake->lock);
    return count;
}

const char *
fake_digest(const void *data, size_t len, char out[SYN_IMAGE_DIGEST_MAX])
{
    uint8_t raw[SYN_SHA256_LEN];

    syn_sha256(data, len, raw);
    (void)strncpy(out, "sha256:", SYN_IMAGE_DIGEST_MAX);
    syn_hex_encode(raw, sizeof(raw), out + 7);
    return out;
}

static struct fake_resource *
add_blob(struct fake *fake, const char *name, const void *data, size_t len, char *digest)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "/v2/%s/blobs/%s", name, fake_digest(data, len, digest));
    return fake_add(fake, path, data, len);
}

void
fake_image(struct fake *fake, const char *name, unsigned layers, size_t size,
           const char *architecture, struct fake_image *ret)
{
    char digest[SYN_IMAGE_DIGEST_MAX], path[512];
    uint64_t seed = size + layers + 1;
    char *bytes = syn_alloc(size + 1);
    SYN_BUF(config);
    SYN_BUF(list);
    SYN_BUF(manifest);

    assert_non_null(bytes);
    syn_buf_addf(&config,
                 "{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"type\":\"layers\","
                 "\"diff_ids\":[",
                 architecture);
    for (unsigned i = 0; i < layers; i++) {
        for (size_t k = 0; k < size; k++)
            bytes[k] = (char)(syn_test_random(&seed) >> 32);
        ret->blobs[i] = add_blob(fake, name, bytes, size, ret->layers[i]);
        syn_buf_addf(&config, "%s\"%s\"", i > 0 ? "," : "", ret->layers[i]);
        syn_buf_addf(&list,
                     "%s{\"mediaType\":\"" MEDIA "layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu}",
                     i > 0 ? "," : "", ret->layers[i], size);
    }
    syn_buf_adds(&config, "]}}");
    ret->config = add_blob(fake, name, syn_buf_text(&config), config.len, digest);
    syn_buf_addf(&manifest,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA "manifest.v1+json\",\"config\":{"
                 "\"mediaType\":\"" MEDIA "config.v1+json\",\"digest\":\"%s\",\"size\":%zu},"
                 "\"layers\":[%s]}",
                 digest, config.len, syn_buf_text(&list));
    (void)snprintf(path, sizeof(path), "/v2/%s/manifests/1", name);
    ret->tag = fake_add(fake, path, syn_buf_text(&manifest), manifest.len);
    (void)snprintf(path, sizeof(path), "/v2/%s/manifests/%s", name,
                   fake_digest(syn_buf_text(&manifest), manifest.len, ret->manifest));
    ret->by_digest = fake_add(fake, path, syn_buf_text(&manifest), manifest.len);
    syn_free(bytes);
}
