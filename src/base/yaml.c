/* libyaml's events become a JSON document as they come; the document's own loader is not used,
 * since it resolves aliases, and a few lines of aliases can stand for gigabytes. One frame a
 * nesting level holds the container being filled and, for mappings, the key that waits for its
 * value. */
#include <synor/base/yaml.h>

#include <float.h>
#include <limits.h>
#include <yaml.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct frame {
    json_t *container; /* owned by the frame below it, the lowest by `root` */
    char *key;         /* mappings: waits for its value; owned */
};

struct reader {
    yaml_parser_t parser;
    json_t *root;
    struct frame frames[SYN_YAML_DEPTH_MAX];
    unsigned depth;
    unsigned documents;
    unsigned most;    /* documents that may come */
    json_t *finished; /* documents before this one, or NULL where there is only one; borrowed */
};

static SYN_PRINTF(4, 5) int fail_at(struct syn_err *err, int code, yaml_mark_t mark,
                                    const char *format, ...)
{
    char text[160];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return SYN_FAIL(err, code, "line %zu, column %zu: %s", mark.line + 1, mark.column + 1, text);
}

/* The reader tells only the byte. */
static yaml_mark_t
mark_of_byte(const char *data, size_t offset)
{
    yaml_mark_t mark = {.index = offset, .line = 0, .column = 0};

    for (size_t i = 0; i < offset; i++) {
        mark.column++;
        if (data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return mark;
}

static int
fail_parser(const yaml_parser_t *parser, const char *data, size_t len, struct syn_err *err)
{
    const char *problem = parser->problem != NULL ? parser->problem : "malformed";
    yaml_mark_t mark = parser->problem_mark;

    if (parser->error == YAML_MEMORY_ERROR)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to parse YAML");
    if (parser->error == YAML_READER_ERROR)
        mark = mark_of_byte(data, SYN_MIN(parser->problem_offset, len));
    return fail_at(err, SYN_E_INVALID, mark, "%s", problem);
}

static bool
is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (syn_str_eq(text, *words))
            return true;
    return false;
}

enum number { NUMBER_NOT, NUMBER_OK, NUMBER_RANGE };

static enum number
parse_digits(const char *text, unsigned base, uint64_t limit, uint64_t *ret)
{
    uint64_t value = 0;
    bool fits = true;

    if (*text == '\0')
        return NUMBER_NOT;
    for (; *text != '\0'; text++) {
        unsigned digit = (unsigned)syn_hex_digit(*text); /* huge for what is none */

        if (digit >= base)
            return NUMBER_NOT;
        fits = fits && value <= (limit - digit) / base;
        value = value * base + digit;
    }
    *ret = value;
    return fits ? NUMBER_OK : NUMBER_RANGE;
}

/* [-+]? [0-9]+ | 0o [0-7]+ | 0x [0-9a-fA-F]+ */
static enum number
parse_integer(const char *text, int64_t *ret)
{
    bool negative = *text == '-';
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    uint64_t value = 0;
    enum number kind;

    if (syn_str_starts(text, "0x"))
        kind = parse_digits(text + 2, 16, limit, &value);
    else if (syn_str_starts(text, "0o"))
        kind = parse_digits(text + 2, 8, limit, &value);
    else
        kind = parse_digits(text + (*text == '-' || *text == '+'), 10, limit, &value);
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return kind;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool
is_real(const char *text)
{
    static const char digits[] = "0123456789";
    size_t whole, fraction = 0;

    text += *text == '-' || *text == '+';
    whole = strspn(text, digits);
    text += whole;
    if (*text == '.') {
        fraction = strspn(text + 1, digits);
        text += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        size_t exponent;

        text++;
        text += *text == '-' || *text == '+';
        exponent = strspn(text, digits);
        if (exponent == 0)
            return false;
        text += exponent;
    }
    return *text == '\0';
}

/* A plain scalar by the core schema of YAML 1.2. What JSON cannot hold is refused, not bent. */
static int
plain_value(const char *text, size_t len, yaml_mark_t mark, json_t **ret, struct syn_err *err)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const infinite[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf",
                                           "+.INF", "-.inf", "-.Inf", "-.INF", ".nan",
                                           ".NaN",  ".NAN",  NULL};
    int64_t whole = 0;
    double real;
    json_t *value = NULL;
    enum number integer = parse_integer(text, &whole);

    if (integer == NUMBER_RANGE)
        return fail_at(err, SYN_E_INVALID, mark, "integer out of range; quote it for text");
    if (is_one_of(text, infinite))
        return fail_at(err, SYN_E_INVALID, mark, "%s is no JSON number; quote it for text", text);
    if (integer == NUMBER_OK) {
        value = json_integer(whole);
    } else if (is_real(text)) {
        if (syn_parse_double(text + (*text == '+'), -DBL_MAX, DBL_MAX, "number", &real, NULL) < 0)
            return fail_at(err, SYN_E_INVALID, mark, "number out of range; quote it for text");
        value = json_real(real);
    } else if (is_one_of(text, nulls)) {
        value = json_null();
    } else if (is_one_of(text, trues)) {
        value = json_true();
    } else if (is_one_of(text, falses)) {
        value = json_false();
    } else {
        value = json_stringn(text, len);
    }
    if (value == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a YAML value");
    *ret = value;
    return SYN_OK;
}

/* Put a finished scalar or an opened container where it belongs. */
static SYN_MUST int
place_take(struct reader *reader, json_t *value, yaml_mark_t mark, struct syn_err *err)
{
    SYN_SCOPED(syn_json_scope) json_t *owned = value;
    struct frame *top = NULL;

    if (reader->depth == 0) {
        assert(reader->root == NULL);
        reader->root = SYN_TAKE(owned);
        return SYN_OK;
    }
    top = &reader->frames[reader->depth - 1];
    if (json_is_array(top->container))
        return syn_json_append_take(top->container, SYN_TAKE(owned), err);
    if (top->key == NULL)
        return fail_at(err, SYN_E_INVALID, mark, "a key must be text");
    SYN_SCOPED(syn_free_scope) char *key = SYN_TAKE(top->key);
    return syn_json_set_take(top->container, key, SYN_TAKE(owned), err);
}

static bool
wants_key(const struct reader *reader)
{
    const struct frame *top = reader->frames + reader->depth;

    return reader->depth > 0 && json_is_object(top[-1].container) && top[-1].key == NULL;
}

static SYN_MUST int
on_scalar(struct reader *reader, const yaml_event_t *event, struct syn_err *err)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *value = NULL;
    int rc;

    if (strlen(text) != len)
        return fail_at(err, SYN_E_INVALID, event->start_mark, "NUL in text");
    if (wants_key(reader)) {
        struct frame *top = &reader->frames[reader->depth - 1];

        if (plain && syn_str_eq(text, "<<"))
            return fail_at(err, SYN_E_INVALID, event->start_mark, "merge keys are not supported");
        if (json_object_get(top->container, text) != NULL)
            return fail_at(err, SYN_E_INVALID, event->start_mark, "duplicate key \"%.64s\"", text);
        top->key = syn_strndup(text, len);
        return top->key != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a YAML key");
    }
    if (plain) {
        rc = plain_value(text, len, event->start_mark, &value, err);
        if (rc < 0)
            return rc;
    } else {
        value = json_stringn(text, len);
        if (value == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a YAML value");
    }
    return place_take(reader, value, event->start_mark, err);
}

static SYN_MUST int
on_open(struct reader *reader, json_t *container, yaml_mark_t mark, struct syn_err *err)
{
    int rc;

    if (container == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a YAML value");
    if (reader->depth == SYN_YAML_DEPTH_MAX) {
        json_decref(container);
        return fail_at(err, SYN_E_INVALID, mark, "nested deeper than %d", SYN_YAML_DEPTH_MAX);
    }
    rc = place_take(reader, container, mark, err);
    if (rc < 0)
        return rc;
    reader->frames[reader->depth++] = (struct frame){.container = container, .key = NULL};
    return SYN_OK;
}

/* Anchors and tags, on any node. */
static SYN_MUST int
check_properties(const yaml_event_t *event, struct syn_err *err)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;

    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return fail_at(err, SYN_E_INVALID, event->start_mark, "anchors are not supported");
    if (tag != NULL)
        return fail_at(err, SYN_E_INVALID, event->start_mark, "tags are not supported");
    return SYN_OK;
}

/* Of several, to the others; a single one stays at the root. */
static SYN_MUST int
finish_document(struct reader *reader, struct syn_err *err)
{
    SYN_SCOPED(syn_json_scope) json_t *document = NULL;

    if (reader->finished == NULL)
        return SYN_OK;
    document = SYN_TAKE(reader->root);
    return document == NULL || json_is_null(document)
               ? SYN_OK
               : syn_json_append_take(reader->finished, SYN_TAKE(document), err);
}

static SYN_MUST int
on_event(struct reader *reader, const yaml_event_t *event, struct syn_err *err)
{
    int rc = check_properties(event, err);

    if (rc < 0)
        return rc;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event, err);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(reader, json_array(), event->start_mark, err);
    case YAML_MAPPING_START_EVENT:
        return on_open(reader, json_object(), event->start_mark, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        assert(reader->depth > 0 && reader->frames[reader->depth - 1].key == NULL);
        reader->depth--;
        return SYN_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(err, SYN_E_INVALID, event->start_mark, "aliases are not supported");
    case YAML_DOCUMENT_START_EVENT:
        if (++reader->documents <= reader->most)
            return SYN_OK;
        return fail_at(err, SYN_E_INVALID, event->start_mark,
                       reader->most == 1 ? "more than one document" : "more than %u documents",
                       reader->most);
    case YAML_DOCUMENT_END_EVENT:
        return finish_document(reader, err);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INTERNAL, "unknown YAML event %d", (int)event->type);
}

static SYN_MUST int
read_events(struct reader *reader, const char *data, size_t len, struct syn_err *err)
{
    bool more = true;
    int rc = SYN_OK;

    while (more && rc == SYN_OK) {
        yaml_event_t event;

        if (!yaml_parser_parse(&reader->parser, &event))
            return fail_parser(&reader->parser, data, len, err);
        more = event.type != YAML_STREAM_END_EVENT;
        rc = on_event(reader, &event, err);
        yaml_event_delete(&event);
    }
    return rc;
}

/* What was read of the last document stays in reader->root, also on failure. */
static SYN_MUST int
read_text(struct reader *reader, const char *data, size_t len, struct syn_err *err)
{
    int rc;

    if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        data += 3;
        len -= 3;
    }
    if (len > SYN_YAML_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "YAML of %zu bytes, at most %zu", len,
                        SYN_YAML_BYTES_MAX);
    if (!yaml_parser_initialize(&reader->parser))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to parse YAML");
    if (len == 0)
        data = ""; /* libyaml takes no NULL */
    yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)data, len);
    rc = read_events(reader, data, len, err);
    yaml_parser_delete(&reader->parser);
    for (unsigned i = 0; i < reader->depth; i++)
        syn_free(reader->frames[i].key);
    return rc;
}

int
syn_yaml_parse(const char *data, size_t len, json_t **ret, struct syn_err *err)
{
    struct reader reader = {.root = NULL, .most = 1};
    int rc = read_text(&reader, data, len, err);

    if (rc < 0) {
        json_decref(reader.root);
        return rc;
    }
    *ret = reader.root != NULL ? reader.root : json_null();
    return SYN_OK;
}

int
syn_yaml_parse_all(const char *data, size_t len, unsigned most, json_t **ret, struct syn_err *err)
{
    SYN_JSON(documents);
    struct reader reader = {.root = NULL, .most = most};
    int rc;

    documents = json_array();
    if (documents == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for YAML documents");
    reader.finished = documents;
    rc = read_text(&reader, data, len, err);
    json_decref(reader.root);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(documents);
    return rc;
}
