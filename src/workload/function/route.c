/* From host, method and path to a function: a trie of segments a host.
 *
 * A lookup goes down literal, then `{name}`, then `{name*}`, and back up where that leads nowhere:
 * each node is looked at once at most, so it costs no more than the patterns that begin as the path
 * does. What fits but is for other methods is remembered for "405". Nothing is written, so threads
 * share a table. */
#include <synor/workload/function_spec.h>

#include <string.h>
#include <strings.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define PARAMS_MAX SYN_LEN(((struct syn_function_match *)NULL)->params)
#define NAME_MAX_  32

/* One pattern that ends at a node. */
struct route {
    uint32_t methods;
    void *target;
    char *pattern; /* names point into it */
    unsigned count;
    struct {
        uint16_t at, size;
    } names[PARAMS_MAX];
    struct route *next;
};

struct node {
    char *text; /* literal; NULL for a parameter */
    size_t size;
    struct node **literals; /* sorted by size, then bytes */
    size_t count, cap;
    struct node *param;
    struct route *here; /* patterns that end here */
    struct route *rest; /* those that end in {name*} below */
};

struct host {
    char *name;
    struct node root;
};

struct syn_function_routes {
    struct node any;
    struct host **hosts; /* sorted */
    size_t count, cap;
};

/* --- patterns --------------------------------------------------------------------------------- */

enum segment_kind { LITERAL, PARAM, REST };

struct segment {
    enum segment_kind kind;
    const char *at; /* literal, or name */
    size_t size;
};

/* The segment behind the slash at *at, of a pattern that was checked, or is being so. False at the
 * end. */
static bool
next_segment(const char **at, struct segment *ret)
{
    const char *text = *at;
    size_t len;

    if (text[0] != '/' || text[1] == '\0')
        return false;
    text++;
    len = strcspn(text, "/");
    *at = text + len;
    *ret = (struct segment){LITERAL, text, len};
    if (len >= 3 && text[0] == '{' && text[len - 1] == '}') {
        ret->kind = text[len - 2] == '*' ? REST : PARAM;
        ret->at = text + 1;
        ret->size = len - (ret->kind == REST ? 3 : 2);
    }
    return true;
}

static bool
name_ok(const char *name, size_t size)
{
    if (size == 0 || size > NAME_MAX_ || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return true;
}

/* What a path may hold as it is sent. */
static bool
literal_ok(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c <= 0x20 || c >= 0x7F || strchr("{}?#\"<>\\^`|", c) != NULL)
            return false;
        if (c == '%' &&
            (size - i < 3 || syn_hex_digit(text[i + 1]) < 0 || syn_hex_digit(text[i + 2]) < 0))
            return false;
    }
    return !(size == 1 && text[0] == '.') && !(size == 2 && memcmp(text, "..", 2) == 0);
}

static int
check_segment(const char *pattern, const struct segment *segment, struct syn_err *err)
{
    int size = (int)segment->size;

    if (segment->kind == LITERAL && segment->size == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "path %.80s: an empty segment; leave out the second slash, or that at the "
                        "end",
                        pattern);
    if (segment->kind == LITERAL && !literal_ok(segment->at, segment->size))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "path %.80s: segment \"%.*s\" is neither text as a path has it, nor {name}",
                        pattern, SYN_MIN(size, 60), segment->at);
    if (segment->kind != LITERAL && !name_ok(segment->at, segment->size))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "path %.80s: \"%.*s\" is no name: letters, digits and _, at most %d",
                        pattern, SYN_MIN(size, 60), segment->at, NAME_MAX_);
    return SYN_OK;
}

int
syn_function_pattern_check(const char *pattern, struct syn_err *err)
{
    struct segment seen[PARAMS_MAX];
    struct segment segment;
    const char *at = pattern;
    unsigned count = 0;
    bool rest = false;
    size_t len = strlen(pattern);

    if (pattern[0] != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "path \"%.80s\" does not begin with /", pattern);
    if (len > SYN_FUNCTION_PATH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "path %.40s... has %zu bytes; %d are allowed", pattern,
                        len, SYN_FUNCTION_PATH_MAX);
    if (len > 1 && pattern[len - 1] == '/')
        return SYN_FAIL(err, SYN_E_INVALID, "path %.80s: leave out the slash at the end", pattern);
    while (next_segment(&at, &segment)) {
        int rc = check_segment(pattern, &segment, err);

        if (rc < 0)
            return rc;
        if (rest)
            return SYN_FAIL(err, SYN_E_INVALID, "path %.80s: nothing may follow {name*}", pattern);
        rest = segment.kind == REST;
        if (segment.kind == LITERAL)
            continue;
        if (count == PARAMS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "path %.80s: more than %zu names", pattern,
                            PARAMS_MAX);
        for (unsigned i = 0; i < count; i++) {
            if (seen[i].size == segment.size && memcmp(seen[i].at, segment.at, segment.size) == 0)
                return SYN_FAIL(err, SYN_E_INVALID, "path %.80s: name %.*s is there twice", pattern,
                                (int)segment.size, segment.at);
        }
        seen[count++] = segment;
    }
    return SYN_OK;
}

bool
syn_function_pattern_same(const char *a, const char *b)
{
    struct segment left, right;

    for (;;) {
        bool more = next_segment(&a, &left);

        if (more != next_segment(&b, &right))
            return false;
        if (!more)
            return true;
        if (left.kind != right.kind ||
            (left.kind == LITERAL &&
             (left.size != right.size || memcmp(left.at, right.at, left.size) != 0)))
            return false;
    }
}

/* --- the table -------------------------------------------------------------------------------- */

int
syn_function_routes_new(struct syn_function_routes **ret, struct syn_err *err)
{
    *ret = syn_calloc(1, sizeof(**ret));
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "out of memory for routes");
}

static void
route_free(struct route *route)
{
    while (route != NULL) {
        struct route *next = route->next;

        syn_free(route->pattern);
        syn_free(route);
        route = next;
    }
}

/* As deep as a pattern has segments. */
static void
node_fini(struct node *node) /* NOLINT(misc-no-recursion) */
{
    for (size_t i = 0; i < node->count; i++) {
        node_fini(node->literals[i]);
        syn_free(node->literals[i]);
    }
    if (node->param != NULL)
        node_fini(node->param);
    syn_free(node->param);
    syn_free(node->literals);
    syn_free(node->text);
    route_free(node->here);
    route_free(node->rest);
}

struct syn_function_routes *
syn_function_routes_free(struct syn_function_routes *routes)
{
    if (routes == NULL)
        return NULL;
    for (size_t i = 0; i < routes->count; i++) {
        node_fini(&routes->hosts[i]->root);
        syn_free(routes->hosts[i]->name);
        syn_free(routes->hosts[i]);
    }
    node_fini(&routes->any);
    syn_free(routes->hosts);
    syn_free(routes);
    return NULL;
}

/* Where the literal is, or (false) would be. */
static bool
literal_at(const struct node *node, const char *text, size_t size, size_t *ret_at)
{
    size_t low = 0, high = node->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct node *there = node->literals[middle];
        int order =
            there->size != size ? (there->size < size ? -1 : 1) : memcmp(there->text, text, size);

        if (order == 0) {
            *ret_at = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return false;
}

static struct node *
child(struct node *node, const struct segment *segment)
{
    struct node *made;
    size_t at;

    if (segment->kind == PARAM) {
        if (node->param == NULL)
            node->param = syn_calloc(1, sizeof(*node->param));
        return node->param;
    }
    if (literal_at(node, segment->at, segment->size, &at))
        return node->literals[at];
    if (!syn_grow(&node->literals, &node->cap, node->count + 1, sizeof(struct node *)))
        return NULL;
    made = syn_calloc(1, sizeof(*made));
    if (made == NULL)
        return NULL;
    made->text = syn_strndup(segment->at, segment->size);
    made->size = segment->size;
    if (made->text == NULL) {
        syn_free(made);
        return NULL;
    }
    memmove(node->literals + at + 1, node->literals + at,
            (node->count - at) * sizeof(struct node *));
    node->literals[at] = made;
    node->count++;
    return made;
}

static bool
host_at(const struct syn_function_routes *routes, const char *host, size_t size, size_t *ret_at)
{
    size_t low = 0, high = routes->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *there = routes->hosts[middle]->name;
        int order = strncasecmp(there, host, size);

        if (order == 0 && there[size] == '\0') {
            *ret_at = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return false;
}

static struct node *
host_root(struct syn_function_routes *routes, const char *name)
{
    struct host *host;
    size_t at;

    if (name[0] == '\0')
        return &routes->any;
    if (host_at(routes, name, strlen(name), &at))
        return &routes->hosts[at]->root;
    if (!syn_grow(&routes->hosts, &routes->cap, routes->count + 1, sizeof(struct host *)))
        return NULL;
    host = syn_calloc(1, sizeof(*host));
    if (host == NULL)
        return NULL;
    host->name = syn_strdup(name);
    if (host->name == NULL) {
        syn_free(host);
        return NULL;
    }
    memmove(routes->hosts + at + 1, routes->hosts + at,
            (routes->count - at) * sizeof(struct host *));
    routes->hosts[at] = host;
    routes->count++;
    return &host->root;
}

/* Go down to where the pattern ends, making what is missing; its names into `route`. */
static struct node *
descend(struct node *node, struct route *route, bool *ret_rest)
{
    const char *at = route->pattern;
    struct segment segment;

    *ret_rest = false;
    while (node != NULL && next_segment(&at, &segment)) {
        if (segment.kind != LITERAL) {
            assert(route->count < PARAMS_MAX);
            route->names[route->count].at = (uint16_t)(segment.at - route->pattern);
            route->names[route->count++].size = (uint16_t)segment.size;
        }
        *ret_rest = segment.kind == REST;
        if (!*ret_rest)
            node = child(node, &segment);
    }
    return node;
}

int
syn_function_routes_add(struct syn_function_routes *routes, const char *host, const char *pattern,
                        uint32_t methods, void *target, struct syn_err *err)
{
    struct route *route = syn_calloc(1, sizeof(*route));
    struct node *node = NULL;
    struct route **list;
    bool rest = false;

    if (route == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a route");
    route->methods = methods;
    route->target = target;
    route->pattern = syn_strdup(pattern);
    if (route->pattern != NULL)
        node = descend(host_root(routes, host), route, &rest);
    if (node == NULL) {
        route_free(route);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a route");
    }
    list = rest ? &node->rest : &node->here;
    for (const struct route *there = *list; there != NULL; there = there->next) {
        if ((there->methods & methods) != 0) {
            route_free(route);
            return SYN_FAIL(err, SYN_E_EXISTS, "path %.100s%s%.60s is served already", pattern,
                            host[0] != '\0' ? " of host " : "", host);
        }
    }
    route->next = *list;
    *list = route;
    return SYN_OK;
}

/* --- lookup ----------------------------------------------------------------------------------- */

struct walk {
    const char *end;
    uint32_t method;
    uint32_t others; /* methods of what fits besides */
    unsigned count;
    struct {
        const char *at;
        size_t size;
    } values[PARAMS_MAX];
};

static const struct route *
pick(struct walk *walk, const struct route *route)
{
    for (; route != NULL; route = route->next) {
        if ((route->methods & walk->method) != 0)
            return route;
        walk->others |= route->methods;
    }
    return NULL;
}

/* `at` is the slash before the next segment, or the end. As deep as a pattern has segments. */
static const struct route *
find(struct walk *walk, const struct node *node, const char *at) /* NOLINT(misc-no-recursion) */
{
    const unsigned count = walk->count;
    const struct route *found = NULL;
    size_t index;

    if (at == walk->end) {
        found = pick(walk, node->here);
    } else {
        const char *text = at + 1;
        const char *slash = memchr(text, '/', (size_t)(walk->end - text));
        const char *stop = slash != NULL ? slash : walk->end;
        size_t size = (size_t)(stop - text);

        if (size > 0 && literal_at(node, text, size, &index))
            found = find(walk, node->literals[index], stop);
        if (found == NULL && size > 0 && node->param != NULL) {
            assert(count < PARAMS_MAX);
            walk->values[count].at = text;
            walk->values[count].size = size;
            walk->count = count + 1;
            found = find(walk, node->param, stop);
        }
    }
    if (found != NULL)
        return found;
    walk->count = count;
    found = pick(walk, node->rest);
    if (found != NULL) {
        const char *rest = at < walk->end ? at + 1 : at;

        assert(count < PARAMS_MAX);
        walk->values[count].at = rest;
        walk->values[count].size = (size_t)(walk->end - rest);
        walk->count = count + 1;
    }
    return found;
}

int
syn_function_routes_find(const struct syn_function_routes *routes, const char *host,
                         size_t host_size, const char *path, size_t path_size, uint32_t method,
                         struct syn_function_match *ret)
{
    struct walk walk = {.end = path + path_size, .method = method};
    const struct route *found = NULL;
    size_t index;

    if (path_size == 0 || path[0] != '/')
        return SYN_E_NOTFOUND;
    if (path_size == 1)
        path = walk.end; /* "/" has no segments */
    if (host_size > 0 && host_at(routes, host, host_size, &index))
        found = find(&walk, &routes->hosts[index]->root, path);
    if (found == NULL)
        found = find(&walk, &routes->any, path);
    if (found == NULL) {
        ret->methods = walk.others;
        return walk.others != 0 ? SYN_E_UNSUPPORTED : SYN_E_NOTFOUND;
    }
    assert(walk.count == found->count);
    ret->target = found->target;
    ret->count = found->count;
    for (unsigned i = 0; i < found->count; i++) {
        ret->params[i].name = found->pattern + found->names[i].at;
        ret->params[i].name_size = found->names[i].size;
        ret->params[i].value = walk.values[i].at;
        ret->params[i].value_size = walk.values[i].size;
    }
    return SYN_OK;
}
