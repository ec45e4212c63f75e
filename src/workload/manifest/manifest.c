/* Files of every format: their documents, the walk, our own format, and the order of the items. */
#include "manifest_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/yaml.h>

/* --- places ----------------------------------------------------------------------------------- */

void
manifest_below(const struct manifest_at *at, const char *key, size_t i, struct manifest_at *ret)
{
    struct manifest_at below = *at;
    size_t used = strlen(below.path);

    if (key != NULL)
        (void)snprintf(below.path + used, sizeof(below.path) - used, "%s%.100s",
                       used > 0 ? "." : "", key);
    else
        (void)snprintf(below.path + used, sizeof(below.path) - used, "[%zu]", i);
    *ret = below;
}

int
manifest_each(const struct manifest_at *at, json_t *list,
              int (*take)(const struct manifest_at *at, json_t *value, struct syn_err *err),
              struct syn_err *err)
{
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    if (!json_is_array(list))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (list, i, row) {
        struct manifest_at below;

        manifest_below(at, NULL, i, &below);
        if (rc == SYN_OK)
            rc = take(&below, row, err);
    }
    return rc;
}

int
manifest_wrong(const struct manifest_at *at, struct syn_err *err, const char *expected)
{
    return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %s", at->path, expected);
}

SYN_PRINTF(4, 0)
static int
say(json_t *list, const struct manifest_at *at, struct syn_err *err, const char *format,
    va_list args)
{
    char message[400];
    json_t *row;
    int rc;

    (void)vsnprintf(message, sizeof(message), format, args);
    rc = syn_json_pack(&row, err, "{s:s, s:s}", "path", at->path, "message", message);
    return rc < 0 ? rc : syn_json_append_take(list, row, err);
}

int
manifest_unknown(const struct manifest_at *at, struct syn_err *err, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = say(at->file->unknown, at, err, format, args);
    va_end(args);
    return rc;
}

int
manifest_note(const struct manifest_at *at, struct syn_err *err, const char *format, ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = say(at->file->notes, at, err, format, args);
    va_end(args);
    return rc;
}

/* --- the walk --------------------------------------------------------------------------------- */

static const struct manifest_rule *
find_rule(const struct manifest_rules *rules, const char *key)
{
    for (size_t i = 0; i < rules->count; i++)
        if (syn_str_eq(rules->rows[i].key, key))
            return &rules->rows[i];
    return NULL;
}

/* "is not understood", with what may have been meant. */
static int
unknown_key(const struct manifest_at *at, const struct manifest_rules *rules, const char *key,
            struct syn_err *err)
{
    const char *near = NULL;
    unsigned least = 3;

    for (size_t i = 0; i < rules->count; i++) {
        unsigned distance = syn_str_distance(key, rules->rows[i].key, least);

        if (distance < least) {
            least = distance;
            near = rules->rows[i].key;
        }
    }
    return near == NULL ? manifest_unknown(at, err, "is not understood")
                        : manifest_unknown(at, err, "is not understood; %s is", near);
}

int
manifest_walk(const struct manifest_at *at, const struct manifest_rules *rules, json_t *object,
              struct syn_err *err)
{
    const char *key;
    json_t *value;
    int rc = SYN_OK;

    if (!json_is_object(object))
        return manifest_wrong(at, err, "an object");
    json_object_foreach (object, key, value) {
        struct manifest_at below;

        manifest_below(at, key, 0, &below);
        below.rule = find_rule(rules, key);
        if (below.rule == NULL)
            rc = unknown_key(&below, rules, key, err);
        else if (json_is_null(value))
            continue;
        else if (below.rule->why != NULL)
            rc = manifest_unknown(&below, err, "%s", below.rule->why);
        else if (below.rule->take != NULL)
            rc = below.rule->take(&below, value, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

int
manifest_item(const struct manifest_at *at, const char *kind, const char *name,
              struct manifest_at *ret, struct syn_err *err)
{
    json_t *item;
    int rc;

    if (!syn_name_ok(name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: \"%.63s\" is no name; use a-z, 0-9 and -, at most 63", at->path, name);
    if (json_array_size(at->file->items) == SYN_MANIFEST_ITEMS_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "more than %d things in one file",
                        SYN_MANIFEST_ITEMS_MAX);
    rc = syn_json_pack(&item, err, "{s:s, s:s, s:{}, s:s, s:[]}", "kind", kind, "name", name,
                       "spec", "from", at->path, "after");
    if (rc == SYN_OK)
        rc = syn_json_append_take(at->file->items, item, err);
    if (rc < 0)
        return rc;
    *ret = *at;
    ret->item = item;
    ret->spec = json_object_get(item, "spec");
    return SYN_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

bool
manifest_text(json_t *value, struct syn_buf *out)
{
    if (json_is_string(value))
        syn_buf_adds(out, json_string_value(value));
    else if (json_is_integer(value))
        syn_buf_addf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        syn_buf_addf(out, "%.9g", json_real_value(value));
    else if (json_is_boolean(value))
        syn_buf_adds(out, json_is_true(value) ? "true" : "false");
    else
        return false;
    return true;
}

int
manifest_whole(const struct manifest_at *at, json_t *value, int64_t *ret, struct syn_err *err)
{
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return SYN_OK;
    }
    if (json_is_string(value))
        return syn_parse_i64(json_string_value(value), 0, INT64_MAX, at->path, ret, err);
    return manifest_wrong(at, err, "a whole number");
}

int
manifest_set_take(const struct manifest_at *at, const char *to, json_t *value, struct syn_err *err)
{
    SYN_SCOPED(syn_json_scope) json_t *owned = value;
    const char *dot = strchr(to, '.');
    char first[64];
    json_t *sub;
    int rc;

    if (dot == NULL)
        return syn_json_set_take(at->spec, to, SYN_TAKE(owned), err);
    (void)snprintf(first, sizeof(first), "%.*s", (int)(dot - to), to);
    sub = json_object_get(at->spec, first);
    if (sub == NULL) {
        sub = json_object();
        rc = syn_json_set_take(at->spec, first, sub, err);
        if (rc < 0)
            return rc;
    }
    return syn_json_set_take(sub, dot + 1, SYN_TAKE(owned), err);
}

static int
text_of(const struct manifest_at *at, json_t *value, json_t **ret, struct syn_err *err)
{
    SYN_BUF(text);
    int rc;

    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, "text");
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    *ret = json_string(syn_buf_text(&text));
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a text");
}

int
manifest_take_text(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    json_t *text = NULL;
    int rc = text_of(at, value, &text, err);

    return rc < 0 ? rc : manifest_set_take(at, at->rule->to, text, err);
}

int
manifest_take_whole(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    int64_t number = 0;
    int rc = manifest_whole(at, value, &number, err);

    return rc < 0 ? rc : manifest_set_take(at, at->rule->to, json_integer(number), err);
}

/* One word from *cursor, as a shell takes it: quotes, and a backslash outside single ones. False:
 * there is none. *ret_open: a quote that does not end. */
static bool
next_word(const char **cursor, struct syn_buf *word, bool *ret_open)
{
    const char *at = *cursor + strspn(*cursor, " \t\r\n");
    char quote = 0;

    *ret_open = false;
    if (*at == '\0')
        return false;
    for (; *at != '\0' && (quote != 0 || strchr(" \t\r\n", *at) == NULL); at++) {
        if (quote == 0 && (*at == '\'' || *at == '"'))
            quote = *at;
        else if (quote != 0 && *at == quote)
            quote = 0;
        else if (*at == '\\' && quote != '\'' && at[1] != '\0')
            syn_buf_add(word, ++at, 1);
        else
            syn_buf_add(word, at, 1);
    }
    *ret_open = quote != 0;
    *cursor = at;
    return true;
}

static int
split_words(const struct manifest_at *at, const char *text, json_t *words, struct syn_err *err)
{
    bool more = true, open = false;
    int rc = SYN_OK;

    while (more && rc == SYN_OK) {
        SYN_BUF(word);

        more = next_word(&text, &word, &open);
        if (open)
            return manifest_wrong(at, err, "a quote to end");
        rc = syn_buf_ok(&word, err);
        if (more && rc == SYN_OK)
            rc = syn_json_append_take(words, json_stringn(word.len > 0 ? word.data : "", word.len),
                                      err);
    }
    return rc;
}

int
manifest_take_words(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_JSON(words);
    json_t *word;
    size_t i;
    int rc = SYN_OK;

    words = json_array();
    if (words == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a command");
    if (json_is_string(value)) {
        rc = split_words(at, json_string_value(value), words, err);
    } else if (json_is_array(value)) {
        json_array_foreach (value, i, word) {
            struct manifest_at below;
            json_t *text = NULL;

            manifest_below(at, NULL, i, &below);
            if (rc == SYN_OK)
                rc = text_of(&below, word, &text, err);
            if (rc == SYN_OK)
                rc = syn_json_append_take(words, text, err);
        }
    } else {
        return manifest_wrong(at, err, "text or a list of words");
    }
    return rc < 0 ? rc : manifest_set_take(at, at->rule->to, SYN_TAKE(words), err);
}

/* --- our own documents ------------------------------------------------------------------------ */

static const char own_shape[] = "kind, name and spec of ours, `services` of docker-compose, or "
                                "apiVersion and kind of Kubernetes";

static int
read_own(const struct manifest_at *at, json_t *document, struct syn_err *err)
{
    static const char *const known[] = {"kind", "name", "app", "after", "spec", NULL};
    json_t *spec = json_object_get(document, "spec");
    json_t *app = json_object_get(document, "app");
    const char *kind = NULL, *name = NULL;
    struct manifest_at made;
    int rc = syn_json_only_keys(document, at->path, known, err);

    if (rc == SYN_OK)
        rc = syn_json_get_str(document, at->path, "kind", &kind, err);
    if (rc == SYN_OK)
        rc = syn_json_get_str(document, at->path, "name", &name, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(spec))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.spec: expected an object", at->path);
    if (app != NULL && at->file->app == NULL)
        at->file->app = json_incref(app);
    else if (app != NULL && !json_equal(app, at->file->app))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.app: the documents of a file are of one app",
                        at->path);
    rc = manifest_item(at, kind, name, &made, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(made.item, "spec", syn_json_deep_copy(spec), err);
    return rc;
}

/* "after" of ours: names. */
static int
read_after(const struct manifest_at *at, json_t *document, struct syn_err *err)
{
    json_t *item = json_array_get(at->file->items, json_array_size(at->file->items) - 1);
    json_t *after = json_object_get(document, "after"), *name;
    size_t i;
    int rc = SYN_OK;

    if (after != NULL && !json_is_array(after))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.after: expected a list of names", at->path);
    json_array_foreach (after, i, name) {
        json_t *row = NULL;

        if (!json_is_string(name))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.after[%zu]: expected a name", at->path, i);
        rc = syn_json_pack(&row, err, "{s:O, s:b}", "name", name, "ready", 1);
        if (rc == SYN_OK)
            rc = syn_json_append_take(json_object_get(item, "after"), row, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
read_document(struct manifest *file, json_t *document, size_t i, struct syn_err *err)
{
    struct manifest_at at = {.file = file};
    int rc;

    (void)snprintf(at.path, sizeof(at.path), "document %zu", i + 1);
    if (manifest_is_compose(document))
        return manifest_compose(file, document, err);
    if (manifest_is_kubernetes(document))
        return manifest_kubernetes(&at, document, err);
    if (!json_is_object(document) || json_object_get(document, "kind") == NULL)
        return manifest_wrong(&at, err, own_shape);
    rc = read_own(&at, document, err);
    return rc < 0 ? rc : read_after(&at, document, err);
}

/* --- order ------------------------------------------------------------------------------------ */

static json_t *
find_item(json_t *items, const char *name)
{
    json_t *item;
    size_t i;

    json_array_foreach (items, i, item)
        if (syn_str_eq(syn_json_str(item, "name", ""), name))
            return item;
    return NULL;
}

static int
check_names(json_t *items, struct syn_err *err)
{
    json_t *item, *after;
    size_t i, k;

    json_array_foreach (items, i, item) {
        const char *name = syn_json_str(item, "name", "");

        if (find_item(items, name) != item)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: %s is in the file twice",
                            syn_json_str(item, "from", "?"), name);
        json_array_foreach (json_object_get(item, "after"), k, after)
            if (find_item(items, syn_json_str(after, "name", "")) == NULL)
                return SYN_FAIL(err, SYN_E_INVALID, "%s: %s comes after %s, which is not there",
                                syn_json_str(item, "from", "?"), name,
                                syn_json_str(after, "name", "?"));
    }
    return SYN_OK;
}

static bool
may_come(json_t *sorted, json_t *item)
{
    json_t *after;
    size_t i;

    json_array_foreach (json_object_get(item, "after"), i, after)
        if (find_item(sorted, syn_json_str(after, "name", "")) == NULL)
            return false;
    return true;
}

/* The order of the file, but each after those that it names. */
static int
sort_items(struct manifest *file, struct syn_err *err)
{
    SYN_JSON(sorted);
    size_t count = json_array_size(file->items);
    int rc = check_names(file->items, err);

    if (rc < 0)
        return rc;
    sorted = json_array();
    if (sorted == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    while (json_array_size(sorted) < count) {
        json_t *next = NULL;
        size_t i;

        for (i = 0; i < json_array_size(file->items) && next == NULL; i++)
            if (may_come(sorted, json_array_get(file->items, i)))
                next = json_array_get(file->items, i);
        if (next == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: what comes after what goes round in a circle",
                            syn_json_str(json_array_get(file->items, 0), "from", "?"));
        rc = syn_json_append_take(sorted, json_incref(next), err);
        if (rc < 0)
            return rc;
        (void)json_array_remove(file->items, i - 1);
    }
    json_decref(file->items);
    file->items = SYN_TAKE(sorted);
    return SYN_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int
read_documents(struct manifest *file, const char *text, size_t len, struct syn_err *err)
{
    SYN_JSON(documents);
    json_t *document;
    size_t i;
    int rc = syn_yaml_parse_all(text, len, SYN_MANIFEST_ITEMS_MAX, &documents, err);

    json_array_foreach (documents, i, document)
        if (rc == SYN_OK)
            rc = read_document(file, document, i, err);
    if (rc == SYN_OK)
        rc = manifest_kubernetes_join(file, err);
    if (rc == SYN_OK && json_array_size(file->items) == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "there is nothing in the file");
    return rc < 0 ? rc : sort_items(file, err);
}

int
syn_manifest_read(const char *text, size_t len, const json_t *variables, json_t **ret,
                  struct syn_err *err)
{
    struct manifest file = {.items = json_array(),
                            .unknown = json_array(),
                            .notes = json_array(),
                            .ports = json_array(),
                            .variables = variables};
    int rc;

    if (len > SYN_MANIFEST_BYTES_MAX)
        rc = SYN_FAIL(err, SYN_E_TOOBIG, "a file of %zu bytes, at most %zu", len,
                      SYN_MANIFEST_BYTES_MAX);
    else if (!file.items || !file.unknown || !file.notes || !file.ports)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a file");
    else
        rc = read_documents(&file, text, len, err);
    if (rc == SYN_OK && file.app != NULL && !syn_name_ok(json_string_value(file.app)))
        rc = SYN_FAIL(err, SYN_E_INVALID, "the name of the app: expected a-z, 0-9 and -");
    if (rc == SYN_OK)
        rc = syn_json_pack(ret, err, "{s:O?, s:O, s:O, s:O}", "app", file.app, "items", file.items,
                           "unknown", file.unknown, "notes", file.notes);
    json_decref(file.items);
    json_decref(file.unknown);
    json_decref(file.notes);
    json_decref(file.ports);
    json_decref(file.app);
    return rc;
}

/* --- what is other ---------------------------------------------------------------------------- */

static int diff_at(const char *path, json_t *before, json_t *now, json_t *rows,
                   struct syn_err *err);

/* The keys of both, each once. */
static int
diff_keys(const char *path, json_t *before, json_t *now, json_t *rows, struct syn_err *err)
{
    SYN_JSON(keys);
    const char *key;
    json_t *value;
    int rc = SYN_OK;

    keys = json_object();
    if (keys == NULL || (before != NULL && json_object_update(keys, before) != 0) ||
        (now != NULL && json_object_update(keys, now) != 0))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a comparison");
    json_object_foreach (keys, key, value) {
        char below[MANIFEST_PATH_MAX];

        (void)snprintf(below, sizeof(below), "%s%s%.100s", path, *path ? "." : "", key);
        rc = diff_at(below, json_object_get(before, key), json_object_get(now, key), rows, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int
diff_at(const char *path, json_t *before, json_t *now, json_t *rows, struct syn_err *err)
{
    json_t *row = NULL;
    int rc;

    if (before == now || (before != NULL && now != NULL && json_equal(before, now)))
        return SYN_OK;
    if ((before == NULL || json_is_object(before)) && (now == NULL || json_is_object(now)))
        return diff_keys(path, before, now, rows, err);
    rc = syn_json_pack(&row, err, "{s:s, s:O?, s:O?}", "path", path, "from", before, "to", now);
    return rc < 0 ? rc : syn_json_append_take(rows, row, err);
}

int
syn_manifest_diff(json_t *before, json_t *now, json_t **ret, struct syn_err *err)
{
    SYN_JSON(none);
    SYN_JSON(rows);
    int rc;

    rows = json_array();
    none = json_object();
    if (rows == NULL || none == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a comparison");
    rc = diff_at("", before != NULL ? before : none, now, rows, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(rows);
    return rc;
}
