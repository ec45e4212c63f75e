/* Calls of functions that the server makes: asked for over the API, and by events. */
#ifndef SYN_SERVER_FUNCTION_CALLS_PRIV_H
#define SYN_SERVER_FUNCTION_CALLS_PRIV_H

#include <synor/base/buf.h>

#include "function_priv.h"

#define SRV_CALL_ID_SIZE     32
#define SRV_CALL_HEADERS_MAX 64
#define SRV_CALL_PAYLOAD_MAX SYN_FUNCTION_PAYLOAD_MAX_BYTES

/** A fresh invocation's id: they sort by time. */
void srv_call_id(const struct syn_server *server, char out[SRV_CALL_ID_SIZE]);

/** What is called, and how. Borrowed for the call. */
struct srv_call {
    const char *function;       /* id */
    int64_t version;            /* 0: as traffic is parted */
    const char *method;         /* "POST" */
    const char *path;           /* with its query; "/" */
    const char *trigger;        /* "invoke", "schedule", "queue" */
    const char *invocation;     /* its id */
    const char *type;           /* of the body */
    const char *const *headers; /* more: name, value, ..., at most SRV_CALL_HEADERS_MAX, NULL */
    const void *body;
    size_t body_len;
};

/** What came of it. */
struct srv_called {
    int status;
    char type[128];
    char error[128]; /* x-synor-error: the handler raised it; "" */
    char way[16];    /* how what answered came: "wasm", "warm", "cold", ... */
    struct syn_buf body;
};
void srv_called_fini(struct srv_called *called);

/* --- threads for it (function_calls.c) -------------------------------------------------------- */

struct srv_calling;
SYN_MUST int srv_calling_new(struct syn_server *server, struct srv_calling **ret,
                             struct syn_err *err);
/** Nobody new is called, and calls under way are given up: those of events are made again after
 *  the next start. Before the HTTP server stops. */
void srv_calling_quiet(struct srv_calling *calling);
struct srv_calling *srv_calling_free(struct srv_calling *calling);
/** Have a thread run fn(arg), soon. LIMIT: many wait already; CANCELED. Any thread. */
SYN_MUST int srv_calling_run(struct srv_calling *calling, void (*fn)(void *arg), void *arg,
                             struct syn_err *err);

/**
 * Call and wait, up to the function's time limit. On such a thread.
 *
 * Returns 0 whatever the function answered; UNAVAILABLE: there is no gateway, or it broke off;
 * CANCELED, NOMEM.
 */
SYN_MUST int srv_call(struct syn_server *server, const struct srv_call *call,
                      struct srv_called *ret, struct syn_err *err);
/** A call of our own API for an account, likewise: it ends with srv_calling_quiet(). */
SYN_MUST int srv_call_own(struct syn_server *server, const char *account, const char *path,
                          const json_t *body, json_t **ret, struct syn_err *err);

/* --- events (function_events.c) --------------------------------------------------------------- */

/** A key "PREFIX/READY-SEQ" that nobody has had: they sort by when they are due. */
void srv_due_key(struct syn_server *server, const char *prefix, int64_t ready_ms,
                 char out[SRV_KEY_MAX]);

struct srv_events;
SYN_MUST int srv_events_new(struct syn_server *server, struct srv_events **ret,
                            struct syn_err *err);
/** No more begin. Before srv_calling_quiet(). */
void srv_events_quiet(struct srv_events *events);
struct srv_events *srv_events_free(struct srv_events *events);
/** There may be something to do. Any thread. */
void srv_events_poke(struct srv_events *events);

/** A call that nobody waits for: kept until its function has taken it. */
struct srv_event_call {
    const char *function, *account;
    int64_t version;
    const char *trigger, *invocation, *type;
    const void *body;
    size_t body_len; /* at most SRV_CALL_PAYLOAD_MAX */
};
/** Keep it, and the record of its invocation, within `txn`; srv_events_poke() has it called. */
SYN_MUST int srv_event_call_put(struct syn_server *server, struct srv_txn *txn,
                                const struct srv_event_call *event, struct syn_err *err);

/** The call whose record this is has come to its end: tell it within `txn` where its function's
 *  spec wants it told (function_destinations.c). The record says where, and why not. */
SYN_MUST int srv_destination_tell(struct syn_server *server, struct srv_txn *txn, json_t *record,
                                  struct syn_err *err);

/* --- webhooks out (function_webhooks.c) ------------------------------------------------------- */

#define SRV_QUEUE_WORD "queue:" /* of a destination; others are URLs */

struct srv_webhooks;
SYN_MUST int srv_webhooks_new(struct syn_server *server, struct srv_webhooks **ret,
                              struct syn_err *err);
/** No more are sent, and what is on its way is given up until the next start. */
void srv_webhooks_quiet(struct srv_webhooks *webhooks);
struct srv_webhooks *srv_webhooks_free(struct srv_webhooks *webhooks);

/** Within `txn` keep `body` for the URL that `record`, an invocation that has ended, has as its
 *  destination; the record says how it goes from then on. LIMIT: the account has too many that
 *  wait. */
SYN_MUST int srv_webhook_put(struct syn_server *server, struct srv_txn *txn, const json_t *function,
                             json_t *record, const char *body, struct syn_err *err);

/** After `made` attempts, of which the last came to `rc` and `status`: the ms until the next;
 *  -1: there is none, since it was taken or is given up. */
int64_t srv_webhook_wait(int64_t made, int rc, int status, int64_t after_ms);

/* --- events of storage and the ledger (function_hooks.c) -------------------------------------- */

/** See within `txn` that the function listens to what its spec asks for, and nothing else; NULL:
 *  to nothing any more. LIMIT: too many of the account's functions listen. */
SYN_MUST int srv_function_hooks_put(struct syn_server *server, struct srv_txn *txn, const char *id,
                                    const char *account, const json_t *spec, struct syn_err *err);
/** Within `txn` the account's name is put, or deleted, which stood for `cid`: keep the calls of the
 *  functions that listen. The transaction is a conflict when they change meanwhile. */
SYN_MUST int srv_name_happened(struct syn_server *server, struct srv_txn *txn, const char *account,
                               const char *name, const char *cid, bool put, struct syn_err *err);

/** How far the ledger was gone through. Begins as zeros; one thread's. */
struct srv_ledger_walk {
    bool begun;
    int64_t seq;     /* transactions up to it are done */
    size_t entry;    /* of the next: entries that are done */
    int64_t written; /* as far as is on disk */
};
/** Go on, not for too long: keep calls for what happened to accounts whose functions listen. */
SYN_MUST int srv_ledger_walk(struct syn_server *server, struct srv_ledger_walk *walk,
                             struct syn_err *err);

#endif
