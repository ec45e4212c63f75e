/* Patterns of tenants and paths of strangers: a table of what passes the check, held against a
 * comparison segment by segment that knows no trie. Input: lines; "P..." is a pattern, others are
 * paths. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/workload/function_spec.h>

#define PATTERNS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Does the path fit, whatever else does? */
static bool
fits(const char *pattern, const char *path, size_t size)
{
    const char *end = path + size;

    if (size == 1)
        path = end;
    while (pattern[0] == '/' && pattern[1] != '\0') {
        size_t len = strcspn(pattern + 1, "/");
        const char *stop;

        if (pattern[1] == '{' && pattern[len - 1] == '*')
            return true;
        if (path == end)
            return false;
        stop = memchr(path + 1, '/', (size_t)(end - path - 1));
        stop = stop != NULL ? stop : end;
        if (stop == path + 1)
            return false;
        if (pattern[1] != '{' &&
            ((size_t)(stop - path - 1) != len || memcmp(pattern + 1, path + 1, len) != 0))
            return false;
        path = stop;
        pattern += 1 + len;
    }
    return path == end;
}

struct table {
    struct syn_function_routes *routes;
    char *patterns[PATTERNS_MAX];
    unsigned count;
};

static void
add(struct table *table, const char *text, size_t size)
{
    char *pattern = syn_strndup(text, size);
    bool same = false;
    int rc;

    if (pattern == NULL || table->count == PATTERNS_MAX ||
        syn_function_pattern_check(pattern, NULL) < 0) {
        syn_free(pattern);
        return;
    }
    for (unsigned i = 0; i < table->count; i++)
        same = same || syn_function_pattern_same(table->patterns[i], pattern);
    rc = syn_function_routes_add(table->routes, "", pattern, 1, pattern, NULL);
    assert(rc == (same ? SYN_E_EXISTS : SYN_OK));
    if (rc == SYN_OK)
        table->patterns[table->count++] = pattern;
    else
        syn_free(pattern);
}

static void
look(const struct table *table, const char *path, size_t size)
{
    struct syn_function_match match;
    bool any = false;
    int rc = syn_function_routes_find(table->routes, "h", 1, path, size, 1, &match);

    if (size == 0 || path[0] != '/') {
        assert(rc == SYN_E_NOTFOUND);
        return;
    }
    for (unsigned i = 0; i < table->count; i++)
        any = any || fits(table->patterns[i], path, size);
    assert(rc == (any ? SYN_OK : SYN_E_NOTFOUND));
    if (rc != SYN_OK)
        return;
    assert(fits(match.target, path, size));
    for (unsigned i = 0; i < match.count; i++)
        assert(match.params[i].value >= path &&
               match.params[i].value + match.params[i].value_size <= path + size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct table table = {NULL, {NULL}, 0};
    const char *at = (const char *)data;
    const char *end = at + size;

    if (syn_function_routes_new(&table.routes, NULL) < 0)
        return 0;
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        const char *stop = eol != NULL ? eol : end;

        if (*at == 'P')
            add(&table, at + 1, (size_t)(stop - at - 1));
        else
            look(&table, at, (size_t)(stop - at));
        at = stop < end ? stop + 1 : end;
    }
    table.routes = syn_function_routes_free(table.routes);
    for (unsigned i = 0; i < table.count; i++)
        syn_free(table.patterns[i]);
    return 0;
}
