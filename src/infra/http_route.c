#include "http_route_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define METHODS_MAX 6
#define NEAR_MAX    64 /* longer segments are not compared: the distance is quadratic */

struct node {
    char *text;         /* literal segment; NULL for a parameter */
    struct node *next;  /* sibling */
    struct node *child; /* literals first, a parameter last */
    struct http_route_entry *entries[METHODS_MAX];
    struct http_route_entry *rest[METHODS_MAX]; /* patterns that end in {rest*} here */
};

struct http_router {
    struct node root;
    struct http_route_entry **entries;
    size_t count, cap;
};

static const char *const methods[METHODS_MAX] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};

static int
method_index(const char *method)
{
    for (int i = 0; i < METHODS_MAX; i++) {
        if (strcmp(methods[i], method) == 0)
            return strcmp(method, "HEAD") == 0 ? 0 : i;
    }
    return -1;
}

int
http_router_new(struct http_router **ret_router, struct syn_err *err)
{
    struct http_router *router = syn_calloc(1, sizeof(*router));

    if (router == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a router");
    *ret_router = router;
    return SYN_OK;
}

static void
node_free(struct node *node)
{
    while (node != NULL) {
        struct node *next = node->next;

        node_free(node->child);
        syn_free(node->text);
        syn_free(node);
        node = next;
    }
}

struct http_router *
http_router_free(struct http_router *router)
{
    if (router == NULL)
        return NULL;
    node_free(router->root.child);
    for (size_t i = 0; i < router->count; i++)
        syn_free(router->entries[i]);
    syn_free(router->entries);
    syn_free(router);
    return NULL;
}

struct http_route_entry *
http_router_at(const struct http_router *router, size_t index)
{
    return index < router->count ? router->entries[index] : NULL;
}

/* The child for a literal (or for a parameter, text NULL), made when missing. */
static struct node *
node_child(struct node *node, const char *text, size_t len)
{
    struct node **at = &node->child;
    struct node *child;

    for (; *at != NULL; at = &(*at)->next) {
        const char *have = (*at)->text;

        if (text == NULL ? have == NULL
                         : have != NULL && strlen(have) == len && memcmp(have, text, len) == 0)
            return *at;
    }
    child = syn_calloc(1, sizeof(*child));
    if (child == NULL)
        return NULL;
    if (text == NULL) {
        *at = child; /* last: literals win */
        return child;
    }
    child->text = syn_strndup(text, len);
    if (child->text == NULL) {
        syn_free(child);
        return NULL;
    }
    child->next = node->child;
    node->child = child;
    return child;
}

static bool
param_name_ok(const char *name, size_t len)
{
    if (len == 0 || len >= 32)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!((name[i] >= 'a' && name[i] <= 'z') || name[i] == '_'))
            return false;
    }
    return true;
}

/* Walk the pattern, making nodes; *ret_rest says that it ends in {name*}. */
static int
pattern_walk(struct http_router *router, struct http_route_entry *entry, struct node **ret_node,
             bool *ret_rest, struct syn_err *err)
{
    const char *pattern = entry->route->pattern;
    struct node *node = &router->root;
    unsigned segments = 0;

    *ret_rest = false;
    for (const char *at = pattern; at[0] == '/' && at[1] != '\0';) {
        const char *text = at + 1;
        size_t len = strcspn(text, "/");
        size_t name_len;

        if (len == 0 || *ret_rest || ++segments > SYN_HTTP_SEGMENTS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "bad route pattern %s", pattern);
        at = text + len;
        if (text[0] != '{') {
            node = node_child(node, text, len);
            if (node == NULL)
                return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for route %s", pattern);
            continue;
        }
        *ret_rest = len > 3 && text[len - 2] == '*';
        name_len = len - 2 - (*ret_rest ? 1 : 0);
        if (len < 3 || text[len - 1] != '}' || !param_name_ok(text + 1, name_len) ||
            entry->param_count == SYN_HTTP_PARAMS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "bad route pattern %s", pattern);
        memcpy(entry->param_names[entry->param_count], text + 1, name_len);
        entry->param_names[entry->param_count++][name_len] = '\0';
        if (*ret_rest)
            continue;
        node = node_child(node, NULL, 0);
        if (node == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for route %s", pattern);
    }
    *ret_node = node;
    return SYN_OK;
}

static int
route_check(const struct syn_http_route *route, struct syn_err *err)
{
    bool upload = route->kind == SYN_HTTP_UPLOAD;

    if (route->pattern == NULL || route->pattern[0] != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "a route's pattern starts with /");
    if (route->method == NULL || method_index(route->method) < 0 ||
        strcmp(route->method, "HEAD") == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "route %s: bad method", route->pattern);
    if (route->handler == NULL || upload != (route->begin != NULL))
        return SYN_FAIL(err, SYN_E_INVALID, "route %s: handlers do not fit its kind",
                        route->pattern);
    if (route->body != NULL && (route->body_max == 0 || upload))
        return SYN_FAIL(err, SYN_E_INVALID, "route %s: a body schema without a body",
                        route->pattern);
    return SYN_OK;
}

int
http_router_add(struct http_router *router, const struct syn_http_route *route, void *ctx,
                struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct http_route_entry *entry = NULL;
    struct http_route_entry **slot;
    struct node *node = NULL;
    bool rest = false;
    int rc = route_check(route, err);

    if (rc < 0)
        return rc;
    if (router->count == SYN_HTTP_ROUTES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d routes", SYN_HTTP_ROUTES_MAX);
    entry = syn_calloc(1, sizeof(*entry));
    if (entry == NULL || !syn_grow(&router->entries, &router->cap, router->count + 1,
                                   sizeof(struct http_route_entry *)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for route %s", route->pattern);
    entry->route = route;
    entry->ctx = ctx;
    rc = pattern_walk(router, entry, &node, &rest, err);
    if (rc < 0)
        return rc;
    assert(node != NULL);
    slot = &(rest ? node->rest : node->entries)[method_index(route->method)];
    if (*slot != NULL)
        return SYN_FAIL(err, SYN_E_EXISTS, "route %s %s is there already", route->method,
                        route->pattern);
    *slot = entry;
    router->entries[router->count++] = SYN_TAKE(entry);
    return SYN_OK;
}

/* Which of a node's entries serve the path; NULL when the path ends in the middle. A literal may
 * lead into a dead end that a parameter does not: go back and try. At most two branches a level. */
struct walk {
    char *const *segments;
    unsigned count;
    struct http_match match;
};

static bool
has_any(struct http_route_entry *const *entries)
{
    for (int i = 0; i < METHODS_MAX; i++) {
        if (entries[i] != NULL)
            return true;
    }
    return false;
}

static struct http_route_entry *const *
walk_node(struct walk *walk, const struct node *node, unsigned depth)
{
    unsigned params = walk->match.param_count;

    if (depth == walk->count && has_any(node->entries))
        return node->entries;
    for (const struct node *child = node->child; depth < walk->count && child != NULL;
         child = child->next) {
        struct http_route_entry *const *found;

        if (child->text != NULL && strcmp(child->text, walk->segments[depth]) != 0)
            continue;
        if (child->text == NULL)
            walk->match.params[walk->match.param_count++] = depth;
        found = walk_node(walk, child, depth + 1);
        if (found != NULL)
            return found;
        walk->match.param_count = params;
    }
    if (depth < walk->count && has_any(node->rest)) {
        walk->match.params[walk->match.param_count++] = depth;
        walk->match.rest = true;
        return node->rest;
    }
    return NULL;
}

int
http_router_find(const struct http_router *router, const char *method, char *const *segments,
                 unsigned count, struct http_match *ret)
{
    struct walk walk = {segments, count, {NULL, 0, {0}, false}};
    struct http_route_entry *const *entries = walk_node(&walk, &router->root, 0);
    int index = method_index(method);

    if (entries == NULL)
        return HTTP_ROUTE_UNKNOWN;
    if (index < 0 || entries[index] == NULL)
        return HTTP_ROUTE_METHOD;
    *ret = walk.match;
    ret->entry = entries[index];
    return SYN_OK;
}

void
http_router_allow(const struct http_router *router, char *const *segments, unsigned count,
                  char *out, size_t cap)
{
    struct walk walk = {segments, count, {NULL, 0, {0}, false}};
    struct http_route_entry *const *entries = walk_node(&walk, &router->root, 0);
    size_t n = 0;

    out[0] = '\0';
    for (int i = 0; entries != NULL && i < METHODS_MAX && n < cap; i++) {
        if (entries[i] != NULL)
            n += (size_t)snprintf(out + n, cap - n, "%s%s%s", n > 0 ? ", " : "", methods[i],
                                  i == 0 ? ", HEAD" : "");
    }
}

/* How far the segments are from a pattern of as many; parameters cost nothing. */
static unsigned
pattern_distance(const char *pattern, char *const *segments, unsigned count, unsigned cap)
{
    unsigned distance = 0;
    unsigned i = 0;

    for (const char *at = pattern; at[0] == '/' && at[1] != '\0'; i++) {
        size_t len = strcspn(at + 1, "/");
        char literal[NEAR_MAX];

        if (i == count || len >= sizeof(literal))
            return cap;
        memcpy(literal, at + 1, len);
        literal[len] = '\0';
        at += 1 + len;
        if (literal[0] != '{' && strlen(segments[i]) < NEAR_MAX)
            distance += syn_str_distance(segments[i], literal, cap);
        if (distance >= cap)
            return cap;
    }
    return i == count ? distance : cap;
}

const char *
http_router_near(const struct http_router *router, char *const *segments, unsigned count)
{
    const char *best = NULL;
    unsigned best_distance = 4;

    for (size_t i = 0; i < router->count; i++) {
        const char *pattern = router->entries[i]->route->pattern;
        unsigned distance = pattern_distance(pattern, segments, count, best_distance);

        if (distance < best_distance) {
            best = pattern;
            best_distance = distance;
        }
    }
    return best;
}
