/* From method and path segments to a route: a tree of segments, literal before parameter. */
#ifndef SYNOR_INFRA_HTTP_ROUTE_PRIV_H
#define SYNOR_INFRA_HTTP_ROUTE_PRIV_H

#include <synor/infra/http_server.h>

struct http_router;

/** What the server keeps beside a row. */
struct http_route_entry {
    const struct syn_http_route *route;
    void *ctx;
    unsigned param_count;
    char param_names[SYN_HTTP_PARAMS_MAX][32];
    struct syn_series *classes[5]; /* requests by status class; NULL without metrics */
    struct syn_series *latency;
};

struct http_match {
    struct http_route_entry *entry;
    unsigned param_count;
    unsigned params[SYN_HTTP_PARAMS_MAX]; /* index of the segment; of the first one for {rest*} */
    bool rest;                            /* the last parameter takes every segment from there */
};

#define HTTP_ROUTE_METHOD  1
#define HTTP_ROUTE_UNKNOWN 2

SYN_MUST int http_router_new(struct http_router **ret_router, struct syn_err *err);
struct http_router *http_router_free(struct http_router *router);
SYN_MUST int http_router_add(struct http_router *router, const struct syn_http_route *route,
                             void *ctx, struct syn_err *err);
/** Entry by number, or NULL. */
struct http_route_entry *http_router_at(const struct http_router *router, size_t index);
/** Returns 0; HTTP_ROUTE_METHOD: the path is there, not for this method; HTTP_ROUTE_UNKNOWN. */
SYN_MUST int http_router_find(const struct http_router *router, const char *method,
                              char *const *segments, unsigned count, struct http_match *ret);
/** "GET, HEAD, POST" of the path into out[cap]. */
void http_router_allow(const struct http_router *router, char *const *segments, unsigned count,
                       char *out, size_t cap);
/** The served pattern nearest to the path, or NULL when none is near. */
const char *http_router_near(const struct http_router *router, char *const *segments,
                             unsigned count);

#endif
