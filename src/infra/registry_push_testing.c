/* Sessions as the distribution API has them: POST opens one, PATCH and PUT bring bodies, GET tells
 * how far it came. */
#include "registry_push_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

/* The body of a request, at most `most` bytes of it, appended. */
static void
take_body(int fd, const struct fake_request *request, size_t most, struct syn_buf *out)
{
    char text[32], bytes[16384];
    uint64_t length = 0;
    size_t got = SYN_MIN(request->body_len, most);

    fake_header_of(request->head, "\nContent-Length", text, sizeof(text));
    (void)!syn_parse_u64(text, 0, UINT32_MAX, "length", &length, NULL);
    length = SYN_MIN(length, most);
    syn_buf_add(out, request->body, got);
    while (got < length) {
        ssize_t n = recv(fd, bytes, SYN_MIN(sizeof(bytes), length - got), 0);

        if (n <= 0)
            return;
        syn_buf_add(out, bytes, (size_t)n);
        got += (size_t)n;
    }
}

static size_t
body_length(const struct fake_request *request)
{
    char text[32];
    uint64_t length = 0;

    fake_header_of(request->head, "\nContent-Length", text, sizeof(text));
    (void)!syn_parse_u64(text, 0, UINT32_MAX, "length", &length, NULL);
    return (size_t)length;
}

static bool
fails(struct fake *fake, int fd)
{
    if (fake->push_status == 0)
        return false;
    fake_head(fd, fake->push_status, 0, "Retry-After: 0\r\n");
    if (fake->push_fail_first > 0 && --fake->push_fail_first == 0)
        fake->push_status = 0;
    return true;
}

/* A value of the query, "" without one. */
static void
query_of(const char *path, const char *key, char *out, size_t cap)
{
    const char *at = strstr(path, key);

    out[0] = '\0';
    if (at != NULL)
        (void)snprintf(out, cap, "%.*s", (int)strcspn(at + strlen(key), "&"), at + strlen(key));
}

static void
tell(struct fake *fake, int fd, int status, size_t number)
{
    size_t len = fake->uploads[number].body.len;
    SYN_BUF(more);

    syn_buf_addf(&more, "Location: %s/up/%zu?state=%zu\r\n",
                 fake->push_deed == FAKE_PUSH_AWAY ? fake->away : "", number, len);
    if (fake->push_deed == FAKE_PUSH_NOWHERE)
        syn_buf_clear(&more);
    if (fake->push_deed == FAKE_PUSH_MORE)
        len += 1000;
    syn_buf_addf(&more, "Range: 0-%zu\r\n", len > 0 ? len - 1 : 0);
    fake_head(fd, status, 0, syn_buf_text(&more));
}

static void
begin(struct fake *fake, int fd, const char *path)
{
    char digest[SYN_IMAGE_DIGEST_MAX], from[256], name[256] = "", at[512];
    const struct fake_resource *there = NULL;
    struct fake_upload *upload;

    (void)snprintf(name, sizeof(name), "%.*s", (int)(strstr(path, "/blobs/") - path - 4), path + 4);
    query_of(path, "mount=", digest, sizeof(digest));
    query_of(path, "from=", from, sizeof(from));
    (void)snprintf(at, sizeof(at), "/v2/%s/blobs/%s", from, digest);
    if (digest[0] != '\0' && fake->push_deed == FAKE_PUSH_NO_MOUNT) {
        fake_head(fd, 403, 0, "");
        return;
    }
    if (digest[0] != '\0')
        there = fake_find_locked(fake, at, strlen(at));
    if (there != NULL) {
        (void)snprintf(at, sizeof(at), "/v2/%s/blobs/%s", name, digest);
        (void)fake_add_locked(fake, at, there->body, there->len);
        fake_head(fd, 201, 0, "");
        return;
    }
    if (fails(fake, fd))
        return;
    assert_true(fake->upload_count < FAKE_UPLOADS_MAX);
    upload = &fake->uploads[fake->upload_count++];
    (void)syn_str_copy(upload->name, sizeof(upload->name), name);
    tell(fake, fd, 202, fake->upload_count - 1);
}

static void
end(struct fake *fake, int fd, struct fake_upload *upload, const char *path)
{
    char digest[SYN_IMAGE_DIGEST_MAX], own[SYN_IMAGE_DIGEST_MAX], at[512];

    query_of(path, "digest=", digest, sizeof(digest));
    if (!syn_str_eq(digest, fake_digest(syn_buf_text(&upload->body), upload->body.len, own))) {
        fake_head(fd, 400, 0, "");
        return;
    }
    (void)snprintf(at, sizeof(at), "/v2/%s/blobs/%s", upload->name, digest);
    (void)fake_add_locked(fake, at, syn_buf_text(&upload->body), upload->body.len);
    upload->gone = true;
    fake_head(fd, 201, 0, "");
}

static void
go_on(struct fake *fake, int fd, const struct fake_request *request)
{
    struct fake_upload *upload = NULL;
    char text[16];
    uint64_t number = 0;
    bool first = fake->push_bodies == 0;
    bool breaks = first && (fake->push_deed == FAKE_PUSH_BREAK_ONCE ||
                            fake->push_deed == FAKE_PUSH_FORGET_ONCE);
    size_t length = body_length(request);

    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(request->path + 4, "?"),
                   request->path + 4); /* behind "/up/" */
    if (syn_parse_u64(text, 0, FAKE_UPLOADS_MAX, "session", &number, NULL) == SYN_OK &&
        number < fake->upload_count)
        upload = &fake->uploads[number];
    if (upload == NULL || upload->gone) {
        fake_head(fd, 404, 0, "");
        return;
    }
    if (syn_str_eq(request->method, "GET")) {
        tell(fake, fd, 204, number);
        return;
    }
    take_body(fd, request, breaks ? length / 2 : length, &upload->body);
    fake->push_bodies++;
    if (fake->push_deed == FAKE_PUSH_STALL) {
        fake_wait_gone(fake, fd);
        return;
    }
    if (fake->push_deed == FAKE_PUSH_LOSE)
        syn_buf_clear(&upload->body);
    if (breaks) {
        upload->gone = fake->push_deed == FAKE_PUSH_FORGET_ONCE;
        return;
    }
    if (fails(fake, fd))
        return;
    if (syn_str_eq(request->method, "PUT"))
        end(fake, fd, upload, request->path);
    else
        tell(fake, fd, 202, number);
}

static void
take_manifest(struct fake *fake, int fd, const struct fake_request *request)
{
    char more[128], digest[SYN_IMAGE_DIGEST_MAX];
    SYN_BUF(body);

    take_body(fd, request, body_length(request), &body);
    if (fails(fake, fd))
        return;
    if (fake->push_deed == FAKE_PUSH_LIE)
        syn_buf_addc(&body, ' ');
    (void)snprintf(more, sizeof(more), "Docker-Content-Digest: %s\r\n",
                   fake_digest(syn_buf_text(&body), body.len, digest));
    (void)fake_add_locked(fake, request->path, syn_buf_text(&body), body.len);
    fake_head(fd, 201, 0, more);
}

bool
fake_push(struct fake *fake, int fd, const struct fake_request *request)
{
    const char *path = request->path;

    if (syn_str_eq(request->method, "HEAD")) {
        const struct fake_resource *there = fake_find_locked(fake, path, strlen(path));

        fake_head(fd, there != NULL ? 200 : 404, there != NULL ? (int64_t)there->len : 0, "");
    } else if (syn_str_eq(request->method, "POST") && strstr(path, "/blobs/uploads/") != NULL) {
        begin(fake, fd, path);
    } else if (syn_str_starts(path, "/up/")) {
        go_on(fake, fd, request);
    } else if (syn_str_eq(request->method, "PUT") && strstr(path, "/manifests/") != NULL) {
        take_manifest(fake, fd, request);
    } else {
        return false;
    }
    return true;
}
