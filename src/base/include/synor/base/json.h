/* JSON over jansson: strict parsing with limits, getters whose errors name the path, and one
 * canonical writer. Documents are json_t with jansson's own reference counting. */
#ifndef SYNOR_BASE_JSON_H
#define SYNOR_BASE_JSON_H

#include <jansson.h>

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

/** Largest document a parser takes unless it says otherwise. */
#define SYN_JSON_BYTES_MAX ((size_t)4 << 20)
#define SYN_JSON_DEPTH_MAX 64

/** For SYN_SCOPED: json_decref. */
void syn_json_scope(json_t **slot);
#define SYN_JSON(name) SYN_SCOPED(syn_json_scope) json_t *name = NULL

/** Route jansson's allocations through mem.h. Called once, first thing in main() and in tests. */
void syn_json_init(void);

/** Parse one value: duplicates, trailing bytes, bad UTF-8, NUL in strings, depth or size over the
 *  limit are INVALID (TOOBIG for size), with line and column. */
SYN_MUST int syn_json_parse(const char *data, size_t len, json_t **ret, struct syn_err *err);
/** As syn_json_parse but the value must be an object; an empty input is an empty object. */
SYN_MUST int syn_json_parse_object(const char *data, size_t len, json_t **ret, struct syn_err *err);
/** Append compact JSON, keys sorted: the same document always gives the same bytes. */
SYN_MUST int syn_json_write(const json_t *value, struct syn_buf *out, struct syn_err *err);
/** The same, indented by two spaces, in insertion order: for people. */
SYN_MUST int syn_json_write_pretty(const json_t *value, struct syn_buf *out, struct syn_err *err);

/* Getters. `path` is the object's own name for messages ("spec"), or NULL. `*ret` is borrowed from
 * the object. Required ones give INVALID when the key is missing; _opt ones leave *ret untouched.
 */
SYN_MUST int syn_json_get_str(const json_t *obj, const char *path, const char *key,
                              const char **ret, struct syn_err *err);
SYN_MUST int syn_json_opt_str(const json_t *obj, const char *path, const char *key,
                              const char **ret, struct syn_err *err);
SYN_MUST int syn_json_get_i64(const json_t *obj, const char *path, const char *key, int64_t min,
                              int64_t max, int64_t *ret, struct syn_err *err);
SYN_MUST int syn_json_opt_i64(const json_t *obj, const char *path, const char *key, int64_t min,
                              int64_t max, int64_t *ret, struct syn_err *err);
SYN_MUST int syn_json_opt_bool(const json_t *obj, const char *path, const char *key, bool *ret,
                               struct syn_err *err);
SYN_MUST int syn_json_get_obj(const json_t *obj, const char *path, const char *key, json_t **ret,
                              struct syn_err *err);
SYN_MUST int syn_json_get_arr(const json_t *obj, const char *path, const char *key, json_t **ret,
                              struct syn_err *err);
/** INVALID naming the first key that is not among the NULL-ended `known`, with a near miss
 * suggested. */
SYN_MUST int syn_json_only_keys(const json_t *obj, const char *path, const char *const *known,
                                struct syn_err *err);

/* Quiet lookups for documents we wrote ourselves: a missing or ill-typed value gives the default.
 */
const char *syn_json_str(const json_t *obj, const char *key, const char *otherwise);
int64_t syn_json_i64(const json_t *obj, const char *key, int64_t otherwise);
bool syn_json_bool(const json_t *obj, const char *key, bool otherwise);
/** Walk "status.progress.step"; NULL when any part is missing. Borrowed. */
json_t *syn_json_at(const json_t *obj, const char *dotted);

/** jansson's copies, which leave out what there was no memory for, whole or not at all: NULL when
 *  something could not be copied (and of NULL). The shallow one shares its members. */
json_t *syn_json_copy(const json_t *value);
json_t *syn_json_deep_copy(const json_t *value);

/* Setters: like json_object_set_new, but NOMEM is an error, and so is a key or text that is not
 * UTF-8 (INVALID). NULL text sets null. */
SYN_MUST int syn_json_set_str(json_t *obj, const char *key, const char *text, struct syn_err *err);
SYN_MUST int syn_json_set_i64(json_t *obj, const char *key, int64_t value, struct syn_err *err);
SYN_MUST int syn_json_set_bool(json_t *obj, const char *key, bool value, struct syn_err *err);
/** Owns `value` from the call on; NULL means "could not be made" and gives NOMEM. */
SYN_MUST int syn_json_set_take(json_t *obj, const char *key, json_t *value, struct syn_err *err);
/** Set what `obj` has not and `more` has; NOMEM leaves out the rest. */
SYN_MUST int syn_json_set_missing(json_t *obj, const json_t *more, struct syn_err *err);
SYN_MUST int syn_json_append_take(json_t *array, json_t *value, struct syn_err *err);
/** json_pack; NOMEM, INVALID (a text that is not UTF-8) or INTERNAL (a wrong format) is the error.
 */
SYN_MUST int syn_json_pack(json_t **ret, struct syn_err *err, const char *format, ...);

#endif
