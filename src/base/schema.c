/* One walk over a table checks, converts and completes a document; another turns the same table
 * into its published schema. What a kind means stands once, in `kinds`. */
#include <synor/base/schema.h>

#include <math.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#define PATH_MAX_BYTES 160
#define NEAR_MISS_MAX  3
#define INLINE_MAX     8 /* schemas within schemas */

struct kind {
    const char *want; /* for messages */
    int64_t min, max; /* when the field names none */
    int (*parse)(const char *text, const char *what, int64_t *ret, struct syn_err *err);
    const char *(*format)(int64_t value, char *out);
    const char *openapi; /* what every field of the kind says */
};

static const char *
format_plain(int64_t value, char *out)
{
    (void)snprintf(out, SYN_FORMAT_MAX, "%lld", (long long)value);
    return out;
}

static const struct kind kinds[] = {
    [SYN_FIELD_STR] = {"text", 0, SYN_FIELD_STR_MAX, NULL, format_plain, "{\"type\":\"string\"}"},
    [SYN_FIELD_NAME] = {"a name", 1, 63, NULL, format_plain,
                        "{\"type\":\"string\",\"maxLength\":63,"
                        "\"pattern\":\"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$\"}"},
    [SYN_FIELD_I64] = {"a whole number", INT64_MIN, INT64_MAX, NULL, format_plain,
                       "{\"type\":\"integer\",\"format\":\"int64\"}"},
    [SYN_FIELD_REAL] = {"a number", INT64_MIN, INT64_MAX, NULL, format_plain,
                        "{\"type\":\"number\"}"},
    [SYN_FIELD_BOOL] = {"true or false", 0, 1, NULL, format_plain, "{\"type\":\"boolean\"}"},
    [SYN_FIELD_BYTES] = {"bytes", 0, INT64_MAX, syn_parse_bytes, syn_format_bytes,
                         "{\"type\":[\"integer\",\"string\"],\"x-unit\":\"bytes\","
                         "\"examples\":[\"4gb\"]}"},
    [SYN_FIELD_MS] = {"milliseconds", 0, INT64_MAX, syn_parse_duration_ms, syn_format_duration,
                      "{\"type\":[\"integer\",\"string\"],\"x-unit\":\"milliseconds\","
                      "\"examples\":[\"1h30m\"]}"},
    [SYN_FIELD_CPUS] = {"millicores", 0, INT64_MAX, syn_parse_cpus, syn_format_cpus,
                        "{\"type\":[\"integer\",\"string\"],\"x-unit\":\"millicores\","
                        "\"examples\":[\"0.5\"]}"},
    [SYN_FIELD_AMOUNT] = {"an amount as text (\"10.5\")", 0, SYN_AMOUNT_MAX, syn_parse_amount,
                          syn_format_amount,
                          "{\"type\":\"string\",\"pattern\":\"^[0-9]+(\\\\.[0-9]+)?$\","
                          "\"x-unit\":\"SYNOR\",\"examples\":[\"10.5\"]}"},
    [SYN_FIELD_OBJ] = {"an object", 0, 0, NULL, format_plain, "{\"type\":\"object\"}"},
    [SYN_FIELD_LIST] = {"a list", 0, SYN_FIELD_ITEMS_MAX, NULL, format_plain,
                        "{\"type\":\"array\"}"},
    [SYN_FIELD_MAP] = {"an object of texts", 0, SYN_FIELD_ITEMS_MAX, NULL, format_plain,
                       "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"},
    [SYN_FIELD_ANY] = {"anything", 0, 0, NULL, format_plain, "{}"},
};

/* One value under check: where it stands and what it may be. */
struct spot {
    const struct syn_field *field;
    const struct kind *kind;
    int64_t min, max;
    char path[PATH_MAX_BYTES];
};

static void
spot_init(struct spot *spot, const struct syn_field *field, const char *path)
{
    bool dotted = path != NULL && path[0] != '\0';

    spot->field = field;
    spot->kind = &kinds[field->kind];
    spot->min = spot->kind->min;
    spot->max = spot->kind->max;
    if (field->min != 0 || field->max != 0)
        spot->min = field->min;
    if (field->max != 0 || field->min < 0)
        spot->max = field->max;
    assert(spot->min <= spot->max);
    (void)snprintf(spot->path, sizeof(spot->path), "%s%s%s", dotted ? path : "", dotted ? "." : "",
                   field->name);
}

static const char *
type_name(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",
        [JSON_STRING] = "text",      [JSON_INTEGER] = "a whole number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };

    return names[json_typeof(value)];
}

static int
fail_type(const struct spot *spot, const json_t *value, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %s, got %s", spot->path, spot->kind->want,
                    type_name(value));
}

/* `noun` tells what is counted ("bytes", "items"), "" when the value itself is meant. */
static SYN_MUST int
check_range(const struct spot *spot, int64_t value, const char *noun, struct syn_err *err)
{
    char got[SYN_FORMAT_MAX], min[SYN_FORMAT_MAX], max[SYN_FORMAT_MAX];
    const char *gap = noun[0] != '\0' ? " " : "";

    if (value >= spot->min && value <= spot->max)
        return SYN_OK;
    spot->kind->format(value, got);
    spot->kind->format(spot->min, min);
    spot->kind->format(spot->max, max);
    if (spot->max == INT64_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected at least %s%s%s, got %s", spot->path, min,
                        gap, noun, got);
    return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %s..%s%s%s, got %s", spot->path, min, max,
                    gap, noun, got);
}

static SYN_MUST int
check_choice(const struct spot *spot, const char *text, struct syn_err *err)
{
    const char *choices = spot->field->choices;
    char nearest[64] = "";
    unsigned distance = NEAR_MISS_MAX;

    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        char choice[64];
        size_t len;

        at += *at == '|';
        len = strcspn(at, "|");
        assert(len < sizeof(choice));
        memcpy(choice, at, len);
        choice[len] = '\0';
        if (syn_str_eq(choice, text))
            return SYN_OK;
        if (syn_str_distance(choice, text, NEAR_MISS_MAX) < distance) {
            distance = syn_str_distance(choice, text, NEAR_MISS_MAX);
            (void)syn_str_copy(nearest, sizeof(nearest), choice);
        }
    }
    if (nearest[0] != '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "%s: got \"%.40s\", did you mean \"%s\"? (%s)",
                        spot->path, text, nearest, choices);
    return SYN_FAIL(err, SYN_E_INVALID, "%s: expected one of %s, got \"%.40s\"", spot->path,
                    choices, text);
}

static SYN_MUST int
check_text(const struct spot *spot, const json_t *value, struct syn_err *err)
{
    const char *text = json_string_value(value);
    int rc;

    if (text == NULL)
        return fail_type(spot, value, err);
    if (spot->field->kind == SYN_FIELD_NAME && !syn_name_ok(text))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: \"%.63s\" is no name: use a-z, 0-9 and inner -, at most 63",
                        spot->path, text);
    rc = check_range(spot, (int64_t)json_string_length(value), "bytes", err);
    if (rc < 0 || spot->field->choices == NULL)
        return rc;
    return check_choice(spot, text, err);
}

static SYN_MUST int
check_real(const struct spot *spot, const json_t *value, struct syn_err *err)
{
    double number = json_number_value(value);

    if (!json_is_number(value) || !isfinite(number))
        return fail_type(spot, value, err);
    if (number < (double)spot->min || number > (double)spot->max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected %lld..%lld, got %g", spot->path,
                        (long long)spot->min, (long long)spot->max, number);
    return SYN_OK;
}

/* Numbers and units: `obj` gets the value in its stored form. */
static SYN_MUST int
apply_quantity(const struct spot *spot, json_t *obj, const json_t *value, struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];
    int64_t number = json_integer_value(value);
    bool integer = json_is_integer(value) && spot->field->kind != SYN_FIELD_AMOUNT;
    int rc;

    if (!integer) {
        if (!json_is_string(value) || spot->kind->parse == NULL)
            return fail_type(spot, value, err);
        rc = spot->kind->parse(json_string_value(value), spot->path, &number, err);
        if (rc < 0)
            return rc;
    }
    rc = check_range(spot, number, "", err);
    if (rc < 0 || integer)
        return rc;
    if (spot->field->kind == SYN_FIELD_AMOUNT)
        return syn_json_set_str(obj, spot->field->name, syn_format_amount(number, text), err);
    return syn_json_set_i64(obj, spot->field->name, number, err);
}

static SYN_MUST int
apply_list(const struct spot *spot, json_t *list, struct syn_err *err)
{
    json_t *item = NULL;
    size_t i;
    int rc;

    if (!json_is_array(list))
        return fail_type(spot, list, err);
    rc = check_range(spot, (int64_t)json_array_size(list), "items", err);
    json_array_foreach (list, i, item) {
        char at[PATH_MAX_BYTES];

        if (rc < 0)
            break;
        (void)snprintf(at, sizeof(at), "%.120s[%zu]", spot->path, i);
        if (spot->field->sub != NULL)
            rc = syn_schema_apply(spot->field->sub, item, at, err);
        else if (!json_is_string(item))
            rc = SYN_FAIL(err, SYN_E_INVALID, "%s: expected text, got %s", at, type_name(item));
        else if (json_string_length(item) > SYN_FIELD_STR_MAX)
            rc = SYN_FAIL(err, SYN_E_INVALID, "%s: longer than %d bytes", at, SYN_FIELD_STR_MAX);
    }
    return rc;
}

static SYN_MUST int
check_map(const struct spot *spot, json_t *map, struct syn_err *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    int rc;

    if (!json_is_object(map))
        return fail_type(spot, map, err);
    rc = check_range(spot, (int64_t)json_object_size(map), "keys", err);
    if (rc < 0)
        return rc;
    json_object_foreach (map, key, value) {
        if (!json_is_string(value))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.%.63s: expected text, got %s", spot->path, key,
                            type_name(value));
        if (json_string_length(value) > SYN_FIELD_STR_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.%.63s: longer than %d bytes", spot->path, key,
                            SYN_FIELD_STR_MAX);
    }
    return SYN_OK;
}

static SYN_MUST int
apply_value(const struct spot *spot, json_t *obj, json_t *value, struct syn_err *err)
{
    switch (spot->field->kind) {
    case SYN_FIELD_STR:
    case SYN_FIELD_NAME:
        return check_text(spot, value, err);
    case SYN_FIELD_I64:
    case SYN_FIELD_BYTES:
    case SYN_FIELD_MS:
    case SYN_FIELD_CPUS:
    case SYN_FIELD_AMOUNT:
        return apply_quantity(spot, obj, value, err);
    case SYN_FIELD_REAL:
        return check_real(spot, value, err);
    case SYN_FIELD_BOOL:
        return json_is_boolean(value) ? SYN_OK : fail_type(spot, value, err);
    case SYN_FIELD_OBJ:
        if (spot->field->sub != NULL)
            return syn_schema_apply(spot->field->sub, value, spot->path, err);
        return json_is_object(value) ? SYN_OK : fail_type(spot, value, err);
    case SYN_FIELD_LIST:
        return apply_list(spot, value, err);
    case SYN_FIELD_MAP:
        return check_map(spot, value, err);
    case SYN_FIELD_ANY:
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INTERNAL, "%s: unknown kind of field", spot->path);
}

static SYN_MUST int
apply_field(const struct syn_field *field, json_t *obj, const char *path, struct syn_err *err)
{
    json_t *value = json_object_get(obj, field->name);
    struct spot spot;
    int rc;

    spot_init(&spot, field, path);
    if (json_is_null(value) && field->kind != SYN_FIELD_ANY) {
        (void)json_object_del(obj, field->name);
        value = NULL;
    }
    if (value == NULL) {
        json_t *fallback = NULL;

        if (field->required)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: missing, expected %s", spot.path,
                            spot.kind->want);
        if (field->fallback == NULL)
            return SYN_OK;
        rc = syn_json_parse(field->fallback, strlen(field->fallback), &fallback, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(obj, field->name, fallback, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "default of %s", spot.path);
        value = json_object_get(obj, field->name);
    }
    return apply_value(&spot, obj, value, err);
}

int
syn_schema_apply(const struct syn_schema *schema, json_t *obj, const char *path,
                 struct syn_err *err)
{
    const char *known[SYN_SCHEMA_FIELDS_MAX + 1];
    int rc;

    assert(schema->count <= SYN_SCHEMA_FIELDS_MAX);
    if (!json_is_object(obj))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected an object, got %s",
                        path != NULL ? path : schema->name, type_name(obj));
    for (size_t i = 0; i < schema->count; i++)
        known[i] = schema->fields[i].name;
    known[schema->count] = NULL;
    rc = syn_json_only_keys(obj, path, known, err);
    for (size_t i = 0; i < schema->count && rc == SYN_OK; i++)
        rc = apply_field(&schema->fields[i], obj, path, err);
    return rc;
}

static SYN_MUST int openapi_object(const struct syn_schema *schema, unsigned depth, json_t **ret,
                                   struct syn_err *err);

static SYN_MUST int
openapi_choices(const char *choices, json_t *out, struct syn_err *err)
{
    json_t *list = NULL;
    int rc = syn_json_set_take(out, "enum", json_array(), err);

    list = json_object_get(out, "enum");
    for (const char *at = choices; at != NULL && rc == SYN_OK; at = strchr(at, '|')) {
        at += *at == '|';
        rc = syn_json_append_take(list, json_stringn(at, strcspn(at, "|")), err);
    }
    return rc;
}

/* The bounds under the words that JSON Schema has for this kind. */
static SYN_MUST int
openapi_limits(const struct spot *spot, json_t *out, struct syn_err *err)
{
    static const char *const words[][2] = {
        [SYN_FIELD_STR] = {"minLength", "maxLength"},
        [SYN_FIELD_I64] = {"minimum", "maximum"},
        [SYN_FIELD_REAL] = {"minimum", "maximum"},
        [SYN_FIELD_BYTES] = {"minimum", "maximum"},
        [SYN_FIELD_MS] = {"minimum", "maximum"},
        [SYN_FIELD_CPUS] = {"minimum", "maximum"},
        [SYN_FIELD_LIST] = {"minItems", "maxItems"},
        [SYN_FIELD_MAP] = {"minProperties", "maxProperties"},
        [SYN_FIELD_ANY] = {NULL, NULL},
    };
    const char *const *word = words[spot->field->kind];
    int64_t min = spot->min;
    bool counts = spot->kind->min == 0 && spot->kind->parse == NULL; /* 0 says nothing then */
    int rc = SYN_OK;

    if (word[0] == NULL)
        return SYN_OK;
    /* We count bytes and JSON Schema characters, of up to four bytes each: stay on the lenient
     * side. */
    if (spot->field->kind == SYN_FIELD_STR)
        min = (min + 3) / 4;
    if (min != INT64_MIN && !(min == 0 && counts))
        rc = syn_json_set_i64(out, word[0], min, err);
    if (rc == SYN_OK && spot->max != INT64_MAX)
        rc = syn_json_set_i64(out, word[1], spot->max, err);
    return rc;
}

static SYN_MUST int
openapi_inner(const struct syn_field *field, unsigned depth, json_t **ret, struct syn_err *err)
{
    if (field->sub != NULL)
        return openapi_object(field->sub, depth + 1, ret, err);
    return syn_json_pack(ret, err, "{s:s}", "type", "string");
}

static SYN_MUST int
openapi_field(const struct syn_field *field, unsigned depth, json_t **ret, struct syn_err *err)
{
    SYN_JSON(out);
    json_t *part = NULL;
    struct spot spot;
    int rc;

    spot_init(&spot, field, NULL);
    if (field->kind == SYN_FIELD_OBJ && field->sub != NULL)
        rc = openapi_object(field->sub, depth + 1, &out, err);
    else
        rc = syn_json_parse(spot.kind->openapi, strlen(spot.kind->openapi), &out, err);
    if (rc == SYN_OK && field->help != NULL)
        rc = syn_json_set_str(out, "description", field->help, err);
    if (rc == SYN_OK && field->kind == SYN_FIELD_LIST) {
        rc = openapi_inner(field, depth, &part, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(out, "items", part, err);
    }
    if (rc == SYN_OK)
        rc = openapi_limits(&spot, out, err);
    if (rc == SYN_OK && field->choices != NULL)
        rc = openapi_choices(field->choices, out, err);
    if (rc == SYN_OK && field->fallback != NULL) {
        rc = syn_json_parse(field->fallback, strlen(field->fallback), &part, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(out, "default", part, err);
    }
    if (rc < 0)
        return syn_err_wrap(err, rc, "field %s", field->name);
    *ret = SYN_TAKE(out);
    return SYN_OK;
}

static SYN_MUST int
openapi_object(const struct syn_schema *schema, unsigned depth, json_t **ret, struct syn_err *err)
{
    SYN_JSON(out);
    json_t *required = NULL;
    json_t *properties = NULL;
    int rc;

    assert(depth < INLINE_MAX); /* a schema that holds itself cannot be written inline */
    rc = syn_json_pack(&out, err, "{s:s, s:s, s:b, s:[], s:{}}", "type", "object", "title",
                       schema->name, "additionalProperties", 0, "required", "properties");
    if (rc < 0)
        return rc;
    required = json_object_get(out, "required");
    properties = json_object_get(out, "properties");
    for (size_t i = 0; i < schema->count; i++) {
        const struct syn_field *field = &schema->fields[i];
        json_t *one = NULL;

        rc = openapi_field(field, depth, &one, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(properties, field->name, one, err);
        if (rc == SYN_OK && field->required)
            rc = syn_json_append_take(required, json_string(field->name), err);
        if (rc < 0)
            return rc;
    }
    *ret = SYN_TAKE(out);
    return SYN_OK;
}

int
syn_schema_openapi(const struct syn_schema *schema, json_t **ret, struct syn_err *err)
{
    return openapi_object(schema, 0, ret, err);
}
