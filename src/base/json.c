#include <synor/base/json.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

void
syn_json_scope(json_t **slot)
{
    json_decref(*slot);
    *slot = NULL;
}

/* jansson reports a shortage of memory as whatever it meets next: a bad token, a NULL value, or
 * nothing at all. So we note it where it happens. */
static _Thread_local bool short_of_memory;

static void *
alloc_noting(size_t size)
{
    void *block = syn_alloc(size);

    if (block == NULL)
        short_of_memory = true;
    return block;
}

void
syn_json_init(void)
{
    json_set_alloc_funcs(alloc_noting, syn_free);
}

/* jansson parses recursively down to 2048 levels and says so only by a build constant; we bound the
 * depth before it starts. Brackets inside strings do not count. */
static bool
too_deep(const char *data, size_t len)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        char c = data[i];

        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > SYN_JSON_DEPTH_MAX)
                return true;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return false;
}

int
syn_json_parse(const char *data, size_t len, json_t **ret, struct syn_err *err)
{
    json_error_t why;
    json_t *value;

    if (len > SYN_JSON_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "JSON of %zu bytes, at most %zu are taken", len,
                        SYN_JSON_BYTES_MAX);
    if (too_deep(data, len))
        return SYN_FAIL(err, SYN_E_INVALID, "JSON nested deeper than %d levels",
                        SYN_JSON_DEPTH_MAX);
    short_of_memory = false;
    value = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (short_of_memory) { /* even a value may lack a part then */
        json_decref(value);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to parse %zu bytes of JSON", len);
    }
    if (value == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "JSON line %d column %d: %.120s", why.line, why.column,
                        why.text);
    *ret = value;
    return SYN_OK;
}

int
syn_json_parse_object(const char *data, size_t len, json_t **ret, struct syn_err *err)
{
    SYN_JSON(value);
    int rc;

    if (len == 0) {
        value = json_object();
        if (value == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a JSON object");
    } else {
        rc = syn_json_parse(data, len, &value, err);
        if (rc < 0)
            return rc;
    }
    if (!json_is_object(value))
        return SYN_FAIL(err, SYN_E_INVALID, "expected a JSON object");
    *ret = SYN_TAKE(value);
    return SYN_OK;
}

static int
add_bytes(const char *data, size_t len, void *out)
{
    struct syn_buf *buf = out;

    syn_buf_add(buf, data, len);
    return buf->failed ? -1 : 0;
}

static int
write_with(const json_t *value, size_t flags, struct syn_buf *out, struct syn_err *err)
{
    if (json_dump_callback(value, add_bytes, out, flags | JSON_ENCODE_ANY) != 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to write JSON");
    return syn_buf_ok(out, err);
}

int
syn_json_write(const json_t *value, struct syn_buf *out, struct syn_err *err)
{
    return write_with(value, JSON_COMPACT | JSON_SORT_KEYS, out, err);
}

int
syn_json_write_pretty(const json_t *value, struct syn_buf *out, struct syn_err *err)
{
    return write_with(value, JSON_INDENT(2), out, err);
}

/* --- getters --------------------------------------------------------------------------------- */

static int
wrong(const json_t *got, const char *path, const char *key, const char *want, struct syn_err *err)
{
    static const char *const kinds[] = {"an object", "a list", "text",  "a whole number",
                                        "a number",  "true",   "false", "null"};
    const char *dot = path != NULL ? "." : "";

    path = path != NULL ? path : "";
    if (got == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s%s%s: missing, expected %s", path, dot, key, want);
    return SYN_FAIL(err, SYN_E_INVALID, "%s%s%s: expected %s, got %s", path, dot, key, want,
                    kinds[json_typeof(got)]);
}

int
syn_json_get_str(const json_t *obj, const char *path, const char *key, const char **ret,
                 struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);

    if (!json_is_string(value))
        return wrong(value, path, key, "text", err);
    *ret = json_string_value(value);
    return SYN_OK;
}

int
syn_json_opt_str(const json_t *obj, const char *path, const char *key, const char **ret,
                 struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);

    if (value == NULL || json_is_null(value))
        return SYN_OK;
    return syn_json_get_str(obj, path, key, ret, err);
}

int
syn_json_get_i64(const json_t *obj, const char *path, const char *key, int64_t min, int64_t max,
                 int64_t *ret, struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);
    json_int_t number;

    if (!json_is_integer(value))
        return wrong(value, path, key, "a whole number", err);
    number = json_integer_value(value);
    if (number < min || number > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s%s%s: expected %lld..%lld, got %lld",
                        path != NULL ? path : "", path != NULL ? "." : "", key, (long long)min,
                        (long long)max, (long long)number);
    *ret = number;
    return SYN_OK;
}

int
syn_json_opt_i64(const json_t *obj, const char *path, const char *key, int64_t min, int64_t max,
                 int64_t *ret, struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);

    if (value == NULL || json_is_null(value))
        return SYN_OK;
    return syn_json_get_i64(obj, path, key, min, max, ret, err);
}

int
syn_json_opt_bool(const json_t *obj, const char *path, const char *key, bool *ret,
                  struct syn_err *err)
{
    const json_t *value = json_object_get(obj, key);

    if (value == NULL || json_is_null(value))
        return SYN_OK;
    if (!json_is_boolean(value))
        return wrong(value, path, key, "true or false", err);
    *ret = json_is_true(value);
    return SYN_OK;
}

int
syn_json_get_obj(const json_t *obj, const char *path, const char *key, json_t **ret,
                 struct syn_err *err)
{
    json_t *value = json_object_get(obj, key);

    if (!json_is_object(value))
        return wrong(value, path, key, "an object", err);
    *ret = value;
    return SYN_OK;
}

int
syn_json_get_arr(const json_t *obj, const char *path, const char *key, json_t **ret,
                 struct syn_err *err)
{
    json_t *value = json_object_get(obj, key);

    if (!json_is_array(value))
        return wrong(value, path, key, "a list", err);
    *ret = value;
    return SYN_OK;
}

int
syn_json_only_keys(const json_t *obj, const char *path, const char *const *known,
                   struct syn_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)obj, key, value) {
        const char *near = NULL;
        unsigned best = (unsigned)SYN_MIN(4, strlen(key) / 2 + 1); /* "x" is no misspelt "id" */
        bool found = false;

        for (const char *const *name = known; *name != NULL && !found; name++) {
            unsigned distance = syn_str_distance(key, *name, best);

            found = strcmp(key, *name) == 0;
            if (distance < best) {
                best = distance;
                near = *name;
            }
        }
        if (!found)
            return SYN_FAIL(err, SYN_E_INVALID, "%s%s%.60s: unknown key%s%s%s",
                            path != NULL ? path : "", path != NULL ? "." : "", key,
                            near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                            near != NULL ? "\"?" : "");
    }
    return SYN_OK;
}

const char *
syn_json_str(const json_t *obj, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(obj, key));

    return text != NULL ? text : otherwise;
}

int64_t
syn_json_i64(const json_t *obj, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(obj, key);

    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

bool
syn_json_bool(const json_t *obj, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(obj, key);

    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

json_t *
syn_json_at(const json_t *obj, const char *dotted)
{
    const json_t *at = obj;

    while (at != NULL && *dotted != '\0') {
        size_t len = strcspn(dotted, ".");
        char key[128];

        if (len >= sizeof(key))
            return NULL;
        memcpy(key, dotted, len);
        key[len] = '\0';
        at = json_object_get(at, key);
        dotted += len;
        if (*dotted == '.')
            dotted++;
    }
    return (json_t *)(uintptr_t)at;
}

/* --- copies ---------------------------------------------------------------------------------- */

static json_t *
whole_take(json_t *copy)
{
    if (!short_of_memory)
        return copy;
    json_decref(copy);
    return NULL;
}

json_t *
syn_json_copy(const json_t *value)
{
    short_of_memory = false;
    return whole_take(json_copy((json_t *)(uintptr_t)value));
}

json_t *
syn_json_deep_copy(const json_t *value)
{
    short_of_memory = false;
    return whole_take(json_deep_copy(value));
}

/* --- setters --------------------------------------------------------------------------------- */

int
syn_json_set_take(json_t *obj, const char *key, json_t *value, struct syn_err *err)
{
    if (value == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to set %s", key);
    if (!syn_utf8_ok(key, strlen(key))) {
        json_decref(value);
        return SYN_FAIL(err, SYN_E_INVALID, "the key \"%.60s\" is not UTF-8", key);
    }
    if (json_object_set_new(obj, key, value) != 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to set %s", key);
    return SYN_OK;
}

int
syn_json_set_str(json_t *obj, const char *key, const char *text, struct syn_err *err)
{
    if (text != NULL && !syn_utf8_ok(text, strlen(text)))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: the text is not UTF-8", key);
    return syn_json_set_take(obj, key, text == NULL ? json_null() : json_string(text), err);
}

int
syn_json_set_i64(json_t *obj, const char *key, int64_t value, struct syn_err *err)
{
    return syn_json_set_take(obj, key, json_integer(value), err);
}

int
syn_json_set_bool(json_t *obj, const char *key, bool value, struct syn_err *err)
{
    return syn_json_set_take(obj, key, json_boolean(value), err);
}

int
syn_json_set_missing(json_t *obj, const json_t *more, struct syn_err *err)
{
    const char *key;
    json_t *value;
    int rc = SYN_OK;

    json_object_foreach ((json_t *)(uintptr_t)more, key, value)
        if (rc == SYN_OK && json_object_get(obj, key) == NULL)
            rc = syn_json_set_take(obj, key, json_incref(value), err);
    return rc;
}

int
syn_json_append_take(json_t *array, json_t *value, struct syn_err *err)
{
    if (value == NULL || json_array_append_new(array, value) != 0)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to append to a list");
    return SYN_OK;
}

int
syn_json_pack(json_t **ret, struct syn_err *err, const char *format, ...)
{
    json_error_t why;
    va_list args;
    json_t *value;

    va_start(args, format);
    short_of_memory = false;
    value = json_vpack_ex(&why, 0, format, args);
    va_end(args);
    if (value == NULL && short_of_memory)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to build a document");
    if (value == NULL && json_error_code(&why) == json_error_invalid_utf8)
        return SYN_FAIL(err, SYN_E_INVALID, "building a document: a text is not UTF-8");
    if (value == NULL)
        return SYN_FAIL(err, SYN_E_INTERNAL, "building a document: %.120s", why.text);
    *ret = value;
    return SYN_OK;
}
