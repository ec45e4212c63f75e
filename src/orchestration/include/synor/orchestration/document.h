/* The envelope that every resource has: kind, id, name, account, spec, status, generation,
 * revision, created_at. Times in documents are RFC 3339 text, amounts decimal text in SYNOR; these
 * helpers keep it so and keep the rule that a state never stands without a reason. */
#ifndef SYNOR_ORCHESTRATION_DOCUMENT_H
#define SYNOR_ORCHESTRATION_DOCUMENT_H

#include <synor/base/json.h>

/** What a time or amount that is not there reads as. */
#define SYN_DOCUMENT_NONE INT64_C(-1)

/** Who a new document is. Text is borrowed for the call. */
struct syn_document_new {
    const char *kind;
    const char *id;
    const char *name; /* NULL or "": the id */
    const char *account;
    int64_t now_ms;
};

/**
 * Make a document with generation 1, revision 0 (the store sets it) and an empty status.
 *
 * Owner: takes `spec` from the call on, also on failure; NULL means it could not be made. The
 * caller owns *ret. Returns 0; SYN_E_NOMEM.
 */
SYN_MUST int syn_document_make_take(const struct syn_document_new *new_doc, json_t *spec,
                                    json_t **ret, struct syn_err *err);
/** Count one change of the spec. */
SYN_MUST int syn_document_bump(json_t *doc, struct syn_err *err);
/** Set status.state, status.reason, status.message; asserts that none of them is empty. */
SYN_MUST int syn_document_set_state(json_t *doc, const char *state, const char *reason,
                                    const char *message, struct syn_err *err);

/** The id, kind; asserts that they are there. Borrowed from `doc`. */
const char *syn_document_id(const json_t *doc);
/** Its spec and status objects; asserts that they are there. Borrowed from `doc`. */
json_t *syn_document_spec(const json_t *doc);
json_t *syn_document_status(const json_t *doc);
/** status.state; "" when there is none yet. */
const char *syn_document_state(const json_t *doc);

/** The one of that number in a list of version documents, or NULL. Borrowed from it. */
const json_t *syn_document_version(const json_t *versions, int64_t number);

/** A time key; SYN_DOCUMENT_NONE writes null. */
SYN_MUST int syn_document_set_time(json_t *obj, const char *key, int64_t unix_ms,
                                   struct syn_err *err);
/** The time in ms, or SYN_DOCUMENT_NONE when the key is missing, null or no time. */
int64_t syn_document_time(const json_t *obj, const char *key);
/** An amount key as decimal text. */
SYN_MUST int syn_document_set_amount(json_t *obj, const char *key, int64_t amount,
                                     struct syn_err *err);
/** The amount in base units, or SYN_DOCUMENT_NONE when the key is missing or no amount. */
int64_t syn_document_amount(const json_t *obj, const char *key);

#endif
