/* Shapes of JSON documents as tables. One table validates input (types, ranges, choices, unknown
 * keys with a near miss), fills defaults, and yields the OpenAPI schema: facts live once. */
#ifndef SYNOR_BASE_SCHEMA_H
#define SYNOR_BASE_SCHEMA_H

#include <synor/base/json.h>

#define SYN_SCHEMA_FIELDS_MAX 64
/** Bytes of a text and items of a list or map, unless the field says otherwise. */
#define SYN_FIELD_STR_MAX   65536
#define SYN_FIELD_ITEMS_MAX 1024

enum syn_field_kind {
    SYN_FIELD_STR,  /* min..max bytes; `choices` may restrict it */
    SYN_FIELD_NAME, /* syn_name_ok() */
    SYN_FIELD_I64,  /* min..max */
    SYN_FIELD_REAL, /* any finite number; min..max are whole bounds */
    SYN_FIELD_BOOL,
    SYN_FIELD_BYTES,  /* integer bytes, or text for syn_parse_bytes(); stored as the integer */
    SYN_FIELD_MS,     /* integer ms, or text for syn_parse_duration_ms(); stored as the integer */
    SYN_FIELD_CPUS,   /* integer millicores, or text for syn_parse_cpus(); stored as the integer */
    SYN_FIELD_AMOUNT, /* text for syn_parse_amount(), never a JSON number; stored as the canonical
                         text of syn_format_amount(); min..max in base units */
    SYN_FIELD_OBJ,    /* `sub`, or any object when NULL */
    SYN_FIELD_LIST,   /* of objects shaped `sub`, or of strings when NULL; min..max items */
    SYN_FIELD_MAP,    /* object of string values; at most max keys */
    SYN_FIELD_ANY,
};

struct syn_schema;

struct syn_field {
    const char *name;
    enum syn_field_kind kind;
    bool required;
    int64_t min, max;     /* both 0: the kind's own limits; only max 0, min > 0: its own max */
    const char *fallback; /* default as JSON text, or NULL for none */
    const char *choices;  /* "a|b|c" for STR, or NULL */
    const struct syn_schema *sub;
    const char *help; /* one line; goes into the OpenAPI document */
};

struct syn_schema {
    const char *name; /* "TrainingSpec" */
    const struct syn_field *fields;
    size_t count;
};

#define SYN_SCHEMA(name_, fields_)       \
    {                                    \
        name_, fields_, SYN_LEN(fields_) \
    }

/** Check `obj` in place: converts human units to integers, fills defaults; null counts as not
 * given. INVALID names the path
 *  ("spec.workers: expected 1..64, got 0"). On failure `obj` may be half converted. */
SYN_MUST int syn_schema_apply(const struct syn_schema *schema, json_t *obj, const char *path,
                              struct syn_err *err);
/** The schema as an OpenAPI 3.1 schema object, sub-schemas inline. */
SYN_MUST int syn_schema_openapi(const struct syn_schema *schema, json_t **ret, struct syn_err *err);

#endif
