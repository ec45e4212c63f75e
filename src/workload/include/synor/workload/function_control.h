/* The controller of functions as a pure step: from what is (documents, derived services, money, the
 * time) to what must be written. The caller writes all effects of one step in one transaction.
 *
 *     deploy --> version N preparing --> ready --> all that comes goes to it; N-1 is kept
 *                       |  `--------> failed: N-1 goes on
 *                       `- a process: its derived service is made; ready with its first replica
 *                       `- a module:  the gateway says that it is compiled
 *
 * A derived service lives while its version gets a part of what comes, is being prepared, or was
 * the last that did; it sleeps at no replica where nobody calls. */
#ifndef SYNOR_WORKLOAD_FUNCTION_CONTROL_H
#define SYNOR_WORKLOAD_FUNCTION_CONTROL_H

#include <synor/base/json.h>
#include <synor/base/sm.h>
#include <synor/base/world.h>

/** Versions that are kept. */
#define SYN_FUNCTION_VERSIONS_MAX 20
/** One that is suspended for want of money is looked at again so often. */
#define SYN_FUNCTION_FUNDS_LOOK_MS INT64_C(5000)

enum syn_function_state {
    SYN_FUNCTION_DEPLOYING,
    SYN_FUNCTION_ACTIVE,
    SYN_FUNCTION_FAILED,
    SYN_FUNCTION_SUSPENDED,
    SYN_FUNCTION_DELETING,
};
extern const struct syn_sm syn_function_life;

/** The sentence of a reason, or NULL when it is none. */
const char *syn_function_reason(unsigned state, const char *word);

/** What the step looks at. Everything is borrowed; documents are left unchanged. */
struct syn_function_view {
    const json_t *function;
    const json_t *versions; /* array of its version documents, any order */
    const json_t *services; /* {id: document} of the derived services that there are */
    struct {
        int64_t number, since_ms, window_since_ms, window_spent;
    } period;
    int64_t spent;      /* of this period, base units */
    int64_t escrow;     /* locked for it */
    int64_t balance;    /* what the account has besides */
    int64_t call_price; /* of a call of the longest time */
    int64_t now_ms;
};

/** What must be written, in one transaction. NULL and empty mean nothing. */
struct syn_function_effects {
    json_t *function; /* the whole new document */
    json_t *versions; /* array of whole version documents that changed */
    json_t *dropped;  /* array of numbers of versions that are kept no longer */
    json_t *create;   /* array of {service, version}: derived services that are to be */
    json_t *start;    /* the same: that stopped, and are to run again */
    json_t *stop;     /* array of ids */
    json_t *forget;   /* array of ids: stopped, and to be deleted */
    json_t *events;   /* array of {type, reason, message, instance} */
    int64_t lock;
    bool renew, new_window;
    bool settle; /* the last bill is written, and the function itself is deleted */
    char bill_id[SYN_ID_MAX];
    int64_t wake_at_ms;
};
void syn_function_effects_fini(struct syn_function_effects *effects);
/** True when the step has nothing to write. */
bool syn_function_effects_none(const struct syn_function_effects *effects);

/**
 * Decide what must happen now. Stepping again with the effects applied, at the same time, gives
 * none.
 *
 * Owner: the caller's to fini, on success. Returns 0; SYN_E_NOMEM; SYN_E_CORRUPT for a document
 * that nobody here made.
 */
SYN_MUST int syn_function_step(const struct syn_function_view *view,
                               struct syn_function_effects *ret, struct syn_err *err);

/* --- verbs: each changes the document alone; the next step acts on it ------------------------- */

/** What a new function, or version, is made of. Text is borrowed for the call. */
struct syn_function_new {
    const char *id;
    const char *name;
    const char *account;
    const char *code_cid, *layer_cid, *image_cid; /* "": none */
    int64_t
        weight; /* percentage of what comes that a new version gets when it is ready, 0 .. 100 */
    int64_t now_ms;
};

/** Make the document of a new function and its version 1. Takes `spec`, checked. */
SYN_MUST int syn_function_make_take(const struct syn_function_new *made, json_t *spec, json_t **ret,
                                    json_t **ret_version, struct syn_err *err);
/** Give it another spec, checked, taken. *ret_version is a new version's document, or NULL when
 * what is wanted is `current`, the newest that is wanted now. CONFLICT while it is being deleted.
 */
SYN_MUST int syn_function_update_take(json_t *function, const json_t *current,
                                      const struct syn_function_new *change, json_t *spec,
                                      json_t **ret_version, struct syn_err *err);
/** Want an earlier version again. `versions` are all; 0: the one that was active before. NOTFOUND;
 *  CONFLICT when it is the active one, or never was ready. */
SYN_MUST int syn_function_rollback(json_t *function, const json_t *versions, int64_t version,
                                   struct syn_err *err);
/** Part what comes: [{version, weight}], percentages that sum to 100. INVALID, NOTFOUND, CONFLICT.
 */
SYN_MUST int syn_function_traffic(json_t *function, const json_t *versions, const json_t *traffic,
                                  struct syn_err *err);
/** It is to go. */
SYN_MUST int syn_function_delete(json_t *function, struct syn_err *err);

/** So much is locked to begin with, of what the account has: what 1,000 calls of the longest time
 *  cost, but no more than a SYNOR, and what was spent in the period before. */
int64_t syn_function_reserve(const json_t *spec, int64_t call_price, int64_t spent);

/** "svc-OWN0N", the derived service of version N of "fn-OWN". */
void syn_function_service_id(const json_t *function, int64_t version, char out[SYN_ID_MAX]);
/** The function, and its version, that a service's id is a derived one's of; false: of none. */
bool syn_function_of_service(const char *service, char out[SYN_ID_MAX], int64_t *ret_version);

#endif
