/* Bytes from strangers: heads, paths, query strings, chunked bodies, and the router behind them. */
#include <stddef.h>
#include <stdint.h>

#include <synor/base/mem.h>

#include "http_parse_priv.h"
#include "http_route_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
never(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)req;
    (void)ctx;
    return SYN_FAIL(err, SYN_E_INTERNAL, "not called");
}

static const struct syn_http_route routes[] = {
    {.method = "GET", .pattern = "/v1/training", .handler = never},
    {.method = "POST", .pattern = "/v1/training", .handler = never},
    {.method = "GET", .pattern = "/v1/training/{id}", .handler = never},
    {.method = "GET", .pattern = "/v1/{kind}/{id}/logs", .handler = never},
    {.method = "PUT", .pattern = "/files/{rest*}", .handler = never},
};

static struct http_router *
router(void)
{
    static struct http_router *made;

    if (made == NULL && http_router_new(&made, NULL) == 0) {
        for (size_t i = 0; i < SYN_LEN(routes); i++) {
            int rc = http_router_add(made, &routes[i], NULL, NULL);

            assert(rc == 0);
        }
    }
    return made;
}

static void
try_target(char *target, size_t len, const char *method)
{
    char *segments[SYN_HTTP_SEGMENTS_MAX];
    struct http_pair pairs[SYN_HTTP_QUERY_MAX];
    struct http_match match;
    char allow[64];
    unsigned count = 0;
    char *query = memchr(target, '?', len);

    if (query != NULL) {
        len = (size_t)(query - target);
        *query++ = '\0';
        if (http_query_parse(query, pairs, &count, NULL) == 0)
            for (unsigned i = 0; i < count; i++)
                assert(pairs[i].name[0] != '\0' && pairs[i].value != NULL);
    }
    if (http_path_split(target, len, segments, &count, NULL) < 0)
        return;
    for (unsigned i = 0; i < count; i++)
        assert(segments[i][0] != '\0' && strchr(segments[i], '/') == NULL &&
               strcmp(segments[i], "..") != 0);
    if (http_router_find(router(), method, segments, count, &match) == 0) {
        assert(match.entry != NULL && match.param_count == match.entry->param_count);
        for (unsigned i = 0; i < match.param_count; i++)
            assert(match.params[i] < count);
    }
    http_router_allow(router(), segments, count, allow, sizeof(allow));
    (void)http_router_near(router(), segments, count);
}

static void
try_head(const uint8_t *data, size_t size)
{
    static struct http_head head;
    char *copy = syn_alloc(size + 1);
    size_t scanned = 0;
    size_t stepwise = 0;
    size_t len;

    if (copy == NULL)
        return;
    memcpy(copy, data, size);
    copy[size] = '\0';
    len = http_head_end(copy, size, &scanned);
    scanned = 0;
    for (size_t i = 1; i <= size && stepwise == 0; i++)
        stepwise = http_head_end(copy, i, &scanned);
    assert(stepwise == len);
    if (len > 0 && http_head_parse(copy, len, &head, NULL) == 0) {
        assert(head.content_length < 0 || !head.chunked);
        for (unsigned i = 0; i < head.header_count; i++)
            assert(strpbrk(head.headers[i].value, "\r\n") == NULL);
        try_target(head.target, head.target_len, head.method);
    }
    syn_free(copy);
}

/* The same content whatever the cuts. */
static void
try_chunked(const uint8_t *data, size_t size)
{
    for (size_t piece = 1; piece <= 64; piece *= 8) {
        struct http_chunked chunked = {HTTP_CHUNK_SIZE, 0, 0};
        size_t at = 0;

        while (at < size && chunked.state != HTTP_CHUNK_DONE) {
            const char *content = NULL;
            size_t used = 0;
            size_t len = 0;

            if (http_chunked_feed(&chunked, (const char *)data + at, SYN_MIN(piece, size - at),
                                  &used, &content, &len, NULL) < 0)
                return;
            assert(used > 0 && used <= piece && len <= used);
            at += used;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 16384)
        return 0;
    if (data[0] == '/') {
        char *copy = syn_alloc(size + 1);

        if (copy == NULL)
            return 0;
        memcpy(copy, data, size);
        copy[size] = '\0';
        try_target(copy, strlen(copy), "GET");
        syn_free(copy);
        return 0;
    }
    try_head(data, size);
    try_chunked(data, size);
    return 0;
}
