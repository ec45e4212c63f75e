/* Functions: what their routes, their controller, the gateway's routes and bills share.
 *
 *     "function/ID", "function-of/...", "function-name/..."   as of every kind of work
 *     "function-version/ID/N"     a version, and whether it is ready
 *     "function-route/HASH"       who has a host, path and method of the gateway
 *     "function-hook/ACCOUNT/ID"  what of names and the ledger calls it (function_hooks.c)
 *     "function-usage/ID"         all that its calls have used, by provider (function_usage.c)
 *     "function-minute/ID/MINUTE" what was called in a minute, for a day
 *     "function-prewarm/ID"       what is learnt of when it is called (function_prewarm.c)
 *     "invocation/ID/INVOCATION"  calls that are remembered, for a day
 *     "function-key/ACCOUNT/NAME" who may call by HTTP, and how often (function_keys.c)
 *     "function-signer/ACCOUNT", "function-issuer/ACCOUNT/NAME"
 *                                 whose signed tokens let in (function_tokens.c)
 *     "function-webhook/ACCOUNT/..."
 *                                 ends of calls that URLs are to be told (function_webhooks.c)
 *     "function-gateway"          the last report that was counted */
#ifndef SYN_SERVER_FUNCTION_PRIV_H
#define SYN_SERVER_FUNCTION_PRIV_H

#include <synor/workload/function_control.h>
#include <synor/workload/function_spec.h>

#include "bills_priv.h"

#define SRV_FUNCTION_IDS  "fn-"
#define SRV_FUNCTION_KEYS "function-key/"

extern const struct srv_work srv_function;

/* --- documents (functions.c) ------------------------------------------------------------------ */

/** Its version documents, oldest first. */
SYN_MUST int srv_function_versions(struct syn_server *server, const char *id, json_t **ret_list,
                                   struct syn_err *err);
/** {id: document} of the derived services that its versions have. */
SYN_MUST int srv_function_services(struct syn_server *server, const json_t *versions, json_t **ret,
                                   struct syn_err *err);
/** The instances of all its derived services, and before them one that stands for the gateway's
 * own log of it: what its logs are read from. */
SYN_MUST int srv_function_instances(struct syn_server *server, const char *id, json_t **ret_list,
                                    struct syn_err *err);
/** The name of one of the account's functions that uses the secret, into out[SYN_ID_MAX]; "". */
SYN_MUST int srv_function_with_secret(struct syn_server *server, const char *account,
                                      const char *secret, char *out, struct syn_err *err);

/** Add where its HTTP triggers are reached, status.urls, and of programs how many instances of the
 * versions that are called there are, status.instances {ready, live}. */
SYN_MUST int srv_function_complete(struct syn_server *server, json_t *function,
                                   struct syn_err *err);
/** GET /v1/functions/{id}/explain (function_explain.c). */
int srv_function_explain(struct syn_http_req *req, void *ctx, struct syn_err *err);

/* --- what it trusts (function_trust.c) -------------------------------------------------------- */

/** Does the spec rest on the secret, beside its variables? */
bool srv_function_trusts(const json_t *spec, const char *secret);
/** Is all there that the spec names of the account's: secrets of webhooks, queues (those of
 * `before`, which may be NULL, are not asked for)? NOTFOUND says how it is made. */
SYN_MUST int srv_function_trust_check(struct syn_server *server, const char *account,
                                      const json_t *spec, const json_t *before,
                                      struct syn_err *err);
/** The secret changes within `txn`: have the gateway told of the functions that rest on it. */
SYN_MUST int srv_functions_renew_secret(struct syn_server *server, struct srv_txn *txn,
                                        const char *account, const char *secret,
                                        struct syn_err *err);
/** Whose tokens the account takes changes within `txn`: likewise. */
SYN_MUST int srv_functions_renew_tokens(struct syn_server *server, struct srv_txn *txn,
                                        const char *account, struct syn_err *err);
/** Put into `brief`, a function's document for the gateway, the secrets that its routes name, and
 * whose tokens they take: `trust`. */
SYN_MUST int srv_function_trust_add(struct syn_server *server, const char *account, json_t *brief,
                                    struct syn_err *err);
/** [{issuer, audience?, kid, key}] of those who sign tokens for the account (function_tokens.c).
 * Owner: *ret is the caller's. */
SYN_MUST int srv_function_token_keys(struct syn_server *server, const char *account, json_t **ret,
                                     struct syn_err *err);

/* --- routes of HTTP triggers (function_routes.c) ---------------------------------------------- */

/** See within `txn` that the function has the routes that its spec asks for, and no others; NULL:
 *  none any more. CONFLICT: another function has one of them. */
SYN_MUST int srv_function_routes_put(struct syn_server *server, struct srv_txn *txn, const char *id,
                                     const char *account, const json_t *spec, struct syn_err *err);

/* --- what calls used (function_usage.c) ------------------------------------------------------- */

/** {provider: [usage items]} until now. Owner: *ret is the caller's. */
SYN_MUST int srv_calls_read(struct syn_server *server, const char *function, int64_t now_ms,
                            json_t **ret, struct syn_err *err);
/** What is used by instances that are ready, called or not: memory, {provider: bytes}, that which a
 *  version asks for always, and what a warm-up schedule does besides, until its end (0: none); and
 *  the GPUs of them all, {provider: {model: how many}}. */
struct srv_kept {
    json_t *always, *warm, *cards;
    int64_t warm_until_ms;
};
/** Note within `txn` that so much is kept from now on: it is charged by the ms. The same again
 *  changes nothing. */
SYN_MUST int srv_calls_keep(struct syn_server *server, struct srv_txn *txn, const char *function,
                            const struct srv_kept *kept, bool *ret_changed, struct syn_err *err);
/** What the GPUs of an instance cost in so long; 0: it has none. NOTFOUND: the price book does not
 *  have them. */
SYN_MUST int srv_call_cards_price(const struct syn_server *server, const json_t *spec,
                                  int64_t span_ms, int64_t *ret, struct syn_err *err);
/** Who provides the node; "" is the gateway, which is the platform's. */
SYN_MUST int srv_node_provider(struct syn_server *server, const char *node, char out[SYN_ID_MAX],
                               struct syn_err *err);
/** What came to it between the two, into rows[SRV_OWN_MAX]. */
SYN_MUST int srv_calls_usage(const json_t *before, const json_t *now, struct srv_own *rows,
                             size_t *ret_count, struct syn_err *err);
/** One row of a report's `usage`, checked. */
struct srv_calls {
    const char *function, *node, *trigger;
    int64_t version, count, errors, throttled, cold, duration_us;
    syn_u128 byte_ms;
    const json_t *histogram;
};
/** Many of them: sums by function are made in memory and written once. */
struct srv_calls_batch;
SYN_MUST int srv_calls_batch_new(struct syn_server *server, struct srv_calls_batch **ret,
                                 struct syn_err *err);
void srv_calls_batch_free_scope(struct srv_calls_batch **slot);
SYN_MUST int srv_calls_batch_add(struct srv_calls_batch *batch, const struct srv_calls *calls,
                                 struct syn_err *err);
/** Add a row of `starts`: how instances of a function came. */
SYN_MUST int srv_calls_batch_start(struct srv_calls_batch *batch, const json_t *row,
                                   struct syn_err *err);
/** Write all of it within `txn`. */
SYN_MUST int srv_calls_batch_write(struct srv_calls_batch *batch, struct srv_txn *txn,
                                   struct syn_err *err);
/** What was called in the last `minutes`: {count, errors, throttled, cold, mean_us, p50_us, p95_us,
 *  p99_us, starts, by_version}. Owner: *ret is the caller's. */
SYN_MUST int srv_calls_metrics(struct syn_server *server, const char *function, int64_t minutes,
                               json_t **ret, struct syn_err *err);
/** Delete what is older than a day: minutes, calls that are remembered, keys that have expired.
 * *removed grows. */
SYN_MUST int srv_functions_sweep(struct syn_server *server, int64_t now_ms, unsigned *removed,
                                 struct syn_err *err);
/** The price of a call of the longest time. 0: the book has none. */
int64_t srv_call_price(const struct syn_server *server, const json_t *spec);

/* --- metrics (function_metrics.c) ------------------------------------------------------------- */

SYN_MUST int srv_function_metrics_open(struct syn_server *server, struct syn_err *err);
/** Count them; a report that was counted before is not to come here. */
void srv_function_metrics_add(struct syn_server *server, const json_t *function,
                              const struct srv_calls *calls);

/* --- the gateway (function_gateway.c) --------------------------------------------------------- */

SYN_MUST int srv_functions_new(struct srv_functions **ret, struct syn_err *err);
/** Start the gateway, once the server listens. INVALID for an address that is none. */
SYN_MUST int srv_functions_start(struct syn_server *server,
                                 const struct syn_server_options *options, struct syn_err *err);
/** Have the gateway finish what runs, and tell the last of it. Turns the loop. */
void srv_functions_stop(struct syn_server *server);
struct srv_functions *srv_functions_free(struct srv_functions *functions);
/** As srv_gateway_balanced(), of what the gateway of functions passes calls to: all, until it says
 *  of one that drains that it does no more. NULL: no gateway has reported yet. */
SYN_MUST int srv_functions_balanced(struct syn_server *server, const json_t *instances,
                                    json_t **ret, struct syn_err *err);
/** Where it answers clients, "127.0.0.1:9080", into `out`; "" before it has said so. Any thread. */
void srv_function_address(const struct syn_server *server, bool tls, char *out, size_t cap);

/* --- certificates of the gateway of functions (function_certs.c) ------------------------------ */

struct srv_function_certs;
/** Read the operator's own. INVALID, naming the option. */
SYN_MUST int srv_function_certs_new(struct syn_server *server,
                                    const struct syn_server_options *options,
                                    struct srv_function_certs **ret, struct syn_err *err);
struct srv_function_certs *srv_function_certs_free(struct srv_function_certs *certs);
/** What the gateway is to serve, {digest, certificates: [{host, pem}]}, for its `question`; without
 *  certificates when they are those that it has. `certs` NULL: CONFLICT. Blocks: disk. */
SYN_MUST int srv_function_certs_answer(struct syn_server *server, struct srv_function_certs *certs,
                                       const json_t *question, json_t **ret, struct syn_err *err);

/* --- pools (function_pools.c) ----------------------------------------------------------------- */

/** The service runs a version of a function: nobody sees it, and nobody pays for it. */
bool srv_service_derived(const json_t *service);
/** CONFLICT when it is a derived service, or a part of one: what nobody pays for, people do not
 *  change. */
SYN_MUST int srv_service_mine(const json_t *service, struct syn_err *err);
/** Make the derived service `id` within `txn`. Takes `spec`, checked. */
struct srv_derived {
    const char *id, *account, *image_cid;
};
SYN_MUST int srv_service_derive(struct syn_server *server, struct srv_txn *txn,
                                const struct srv_derived *derived, json_t *spec,
                                struct syn_err *err);
/** Why it is as it is, but for what its address and its load say. Owner: *ret is the caller's. */
SYN_MUST int srv_service_explain(struct syn_server *server, const json_t *service, json_t **ret,
                                 struct syn_err *err);
/** Let a stopped one run again. */
SYN_MUST int srv_service_restart(struct syn_server *server, struct srv_txn *txn, const char *id,
                                 struct syn_err *err);
/** Ask one to stop; no-op when it does. */
SYN_MUST int srv_service_stop(struct syn_server *server, struct srv_txn *txn, const char *id,
                              struct syn_err *err);
/** Delete one that has stopped, with all that is its own. */
SYN_MUST int srv_service_forget(struct syn_server *server, struct srv_txn *txn, const char *id,
                                struct syn_err *err);

#endif
