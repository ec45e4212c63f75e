/* Route patterns, which are also the paths of the OpenAPI document, and what they serve.
 *
 * Each line of the input but the last is a pattern. What the router takes must be found again under
 * a path made from it, and taken once only. The last line is a path that anybody may send. */
#include <stddef.h>
#include <stdint.h>

#include <synor/base/mem.h>

#include "http_parse_priv.h"
#include "http_route_priv.h"

#define ROUTES_MAX 16
#define INPUT_MAX  2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
never(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    (void)req;
    (void)ctx;
    return SYN_FAIL(err, SYN_E_INTERNAL, "not called");
}

/* The path that a pattern serves: every parameter is "p". Cuts `text` at its slashes. */
static unsigned
segments_of(char *text, char **segments)
{
    static char parameter[] = "p";
    unsigned count = 0;

    while (*text == '/' && text[1] != '\0') {
        size_t len = strcspn(text + 1, "/");
        char *next = text + 1 + len;

        assert(count < SYN_HTTP_SEGMENTS_MAX);
        segments[count++] = text[1] == '{' ? parameter : text + 1;
        *text = '\0';
        text = next;
    }
    *text = '\0';
    return count;
}

static void
try_pattern(struct http_router *router, struct syn_http_route *route, char *copy)
{
    char *segments[SYN_HTTP_SEGMENTS_MAX];
    struct http_match match;
    unsigned count;
    int rc = http_router_add(router, route, NULL, NULL);

    assert(rc <= 0);
    if (rc < 0)
        return;
    assert(http_router_add(router, route, NULL, NULL) == SYN_E_EXISTS);
    count = segments_of(copy, segments);
    rc = http_router_find(router, "GET", segments, count, &match);
    assert(rc == 0);
    assert(match.param_count == match.entry->param_count);
    for (unsigned i = 0; i < match.param_count; i++)
        assert(match.params[i] < count && match.entry->param_names[i][0] != '\0');
}

static void
try_path(const struct http_router *router, char *path)
{
    char *segments[SYN_HTTP_SEGMENTS_MAX];
    struct http_match match;
    char allow[64];
    unsigned count = 0;
    bool served;

    if (path[0] != '/' || http_path_split(path, strlen(path), segments, &count, NULL) < 0)
        return;
    served = http_router_find(router, "HEAD", segments, count, &match) == 0;
    http_router_allow(router, segments, count, allow, sizeof(allow));
    assert(served == (strstr(allow, "GET") != NULL));
    (void)http_router_near(router, segments, count);
}

/* A line for the route and one to cut up: rows are only borrowed by the router. */
static void
try_lines(struct http_router *router, char *text, char *copy)
{
    struct syn_http_route routes[ROUTES_MAX];
    unsigned count = 0;

    for (char *end; count < ROUTES_MAX && (end = strchr(text, '\n')) != NULL; count++) {
        size_t len = (size_t)(end - text);

        *end = '\0';
        copy[len] = '\0';
        routes[count] = (struct syn_http_route){.method = "GET", .pattern = text, .handler = never};
        try_pattern(router, &routes[count], copy);
        text += len + 1;
        copy += len + 1;
    }
    try_path(router, text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_router *router = NULL;
    char *text;
    char *copy;

    if (size > INPUT_MAX || http_router_new(&router, NULL) < 0)
        return 0;
    text = syn_alloc(size + 1);
    copy = syn_alloc(size + 1);
    if (text != NULL && copy != NULL) {
        memcpy(text, data, size);
        text[size] = '\0';
        memcpy(copy, text, size + 1);
        try_lines(router, text, copy);
    }
    (void)http_router_free(router);
    syn_free(text);
    syn_free(copy);
    return 0;
}
