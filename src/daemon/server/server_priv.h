/* The server's inside: what its route files share.
 *
 * Threads: the loop parses, authenticates and streams; handlers that touch the disk run on the
 * pool; the controller has a thread of its own. They share nothing but the thread-safe store and
 * content store: every handler reads documents, computes, and writes them back in one transaction
 * that checks the revisions it read; on a conflict it starts over (srv_change()). The token book
 * and the streams are the loop's. */
#ifndef SYN_SERVER_PRIV_H
#define SYN_SERVER_PRIV_H

#include <stdatomic.h>

#include <synor/base/json.h>
#include <synor/base/map.h>
#include <synor/base/sm.h>
#include <synor/base/units.h>
#include <synor/base/world.h>
#include <synor/chain/ledger.h>
#include <synor/daemon/server.h>
#include <synor/infra/content.h>
#include <synor/infra/http_server.h>
#include <synor/infra/store.h>
#include <synor/infra/tls_cert.h>
#include <synor/infra/token.h>
#include <synor/market/pricebook.h>
#include <synor/orchestration/quota.h>

#define SRV_PATH_MAX    1024
#define SRV_DATA_MAX    128 /* a Unix socket's path must fit below it */
#define SRV_KEY_MAX     SYN_STORE_KEY_MAX
#define SRV_RETRIES_MAX 32 /* attempts of one srv_change() */
#define SRV_BODY_MAX    ((size_t)1 << 20)

struct srv_controller;
struct srv_loads;
struct srv_meshes;
struct srv_follow;   /* log followers; logs.c */
struct srv_progress; /* progress readers; progress.c */
struct srv_streams;  /* open streams; stream.c */
struct srv_sweeper;  /* what nobody fetched in time; sweep.c */
struct srv_market;   /* the spot market; market.c */
struct srv_gateway;  /* what publishes services; published.c */
struct srv_acme;     /* what gets certificates for them; acme.c */
struct syn_acme_history;
struct srv_pulls;     /* images on their way; pulls.c */
struct srv_sessions;  /* people within instances; sessions.c */
struct srv_functions; /* the gateway of functions; function_gateway.c */
struct srv_calling;   /* calls of functions that the server makes; function_calls.c */
struct srv_events;    /* what asks for such calls; function_events.c */

/** A network of IPv4, its bits as a number. */
struct srv_network {
    uint32_t base;
    unsigned prefix;
};

/** Of the gateway of functions, below the data folder. */
#define SRV_GATEWAY_SOCK "function/gateway.sock"

struct syn_server {
    const struct syn_world *world;
    struct syn_loop *loop;
    struct syn_pool *pool;
    struct syn_metrics *metrics;
    struct syn_http_server *http;
    struct syn_store *store;
    struct syn_content *content;
    struct syn_pricebook *prices;
    char *price_text; /* the price book's file, as served */
    size_t price_len;
    struct syn_token_book *tokens; /* the loop's */
    struct syn_store_watch *token_watch;
    struct syn_watch *token_timer;
    atomic_bool tokens_missed;     /* an event of the watch was not heard */
    atomic_uint tokens_generation; /* letters of an earlier reading are void */
    struct srv_controller *controller;
    struct srv_follow *follow;
    struct srv_progress *progress;
    struct srv_streams *streams;
    struct srv_sweeper *sweeper;
    struct srv_market *market;
    struct srv_loads *loads;
    struct srv_meshes *meshes;
    struct srv_trials *trials;   /* the controller's */
    struct srv_gateway *gateway; /* NULL: it publishes nothing */
    struct srv_acme *acme;       /* NULL: there is no directory */
    struct srv_pulls *pulls;
    struct srv_sessions *sessions; /* the loop's */
    struct srv_functions *functions;
    struct srv_calling *calling;
    struct srv_events *events;
    struct srv_network services; /* that their virtual addresses are of */
    json_t *openapi;
    char data_dir[SRV_DATA_MAX];
    char socket[SRV_PATH_MAX];
    char listen[128];
    char region[64];
    char fingerprint[SYN_TLS_FINGERPRINT_SIZE]; /* "" without TLS */
    char join_token[SYN_TOKEN_LEN + 1];
    char operator_id[SYN_ID_MAX];
    char provider_id[SYN_ID_MAX];
    char network[16];         /* "development" */
    char cluster[SYN_ID_MAX]; /* what this platform is called by those who sign for it */
    uint8_t challenge_key[32];
    bool fresh;
    bool webhook_private; /* destinations of functions may be in private networks */
    int64_t started_ms;
    _Atomic int64_t message_sequence; /* of queues: the last one given out */
};

/** Who is asking. Made by `authenticate`, freed with the request. */
struct srv_identity {
    char account[SYN_ID_MAX]; /* whose resources: the token's, or the one an operator acts for */
    char token[2 * SYN_SHA256_LEN + 1]; /* its digest, hexadecimal; "" on the operator's socket */
    struct syn_scopes scopes;
    int64_t expires_ms; /* the token's; 0: never */
    bool is_operator;
};

/* --- documents and transactions (txn.c) ------------------------------------------------------- */

#define SRV_ABSENT 1

/** Parse the document at `key`; its `revision` is set when it has one. Returns 0; SRV_ABSENT. */
SYN_MUST int srv_load(struct syn_server *server, const char *key, json_t **ret_doc,
                      int64_t *ret_revision, struct syn_err *err);
/** As srv_load(), but an absent document is NOTFOUND: "there is no WHAT NAME". */
SYN_MUST int srv_need(struct syn_server *server, const char *key, const char *what,
                      json_t **ret_doc, int64_t *ret_revision, struct syn_err *err);

/** Is the document at `key` still of that revision? Who takes work from a page that was read asks
 * this after marking it as its own: the page may be older than the end of the try before. */
bool srv_unchanged(struct syn_server *server, const char *key, int64_t revision);

/** One transaction in the making. Texts and values are its own. */
struct srv_txn {
    struct syn_store_op *ops;
    size_t count, cap;
    char **owned;
    size_t owned_count, owned_cap;
};

void srv_txn_init(struct srv_txn *txn);
void srv_txn_fini(struct srv_txn *txn);
#define SRV_TXN(name)                             \
    SYN_SCOPED(srv_txn_fini) struct srv_txn name; \
    srv_txn_init(&name)

/** The key must have this revision (0: be absent). */
SYN_MUST int srv_txn_check(struct srv_txn *txn, const char *key, int64_t revision,
                           struct syn_err *err);
/** Write canonical JSON; a top-level `revision` is stored as 0 (readers learn the real one). */
SYN_MUST int srv_txn_put(struct srv_txn *txn, const char *key, const json_t *doc,
                         struct syn_err *err);
/** Check and put in one. */
SYN_MUST int srv_txn_replace(struct srv_txn *txn, const char *key, int64_t revision,
                             const json_t *doc, struct syn_err *err);
/** Write a JSON string. */
SYN_MUST int srv_txn_put_text(struct srv_txn *txn, const char *key, const char *text,
                              struct syn_err *err);
/** Write bytes that are no JSON: nothing that lists documents may meet them. */
SYN_MUST int srv_txn_put_bytes(struct srv_txn *txn, const char *key, const void *data, size_t len,
                               struct syn_err *err);
SYN_MUST int srv_txn_delete(struct srv_txn *txn, const char *key, struct syn_err *err);
/** Returns 0 (ret_revision may be NULL), SYN_STORE_CONFLICT, or an error. */
SYN_MUST int srv_txn_commit(struct syn_server *server, struct srv_txn *txn, int64_t *ret_revision,
                            struct syn_err *err);

/** Rivals who start over at once meet again at once, and one of many loses every time. After a few
 *  conflicts each steps aside for a random while, measured by how long an attempt takes here and
 *  now. */
void srv_step_aside(const struct syn_server *server, int conflicts, int64_t attempt_ns);

/** One attempt at a change: read what it rests on, add checks and writes to `txn`. When somebody
 *  else changed what it read, it is called again from the beginning, with a fresh `txn` and the
 *  same `arg`. Returns 0: write it; > 0: a condition of its own, and nothing is written; an error.
 */
typedef int (*srv_attempt_fn)(struct syn_server *server, struct srv_txn *txn, void *arg,
                              struct syn_err *err);
/** Read, change and write, until no one else came between, SRV_RETRIES_MAX times at most. `what`
 *  is for the message: "the ledger". Blocks: disk.
 *  Returns 0 with the revision of what was written (ret_revision may be NULL); the attempt's
 *  condition; UNAVAILABLE when others were faster each time; the attempt's error. */
SYN_MUST int srv_change(struct syn_server *server, const char *what, srv_attempt_fn attempt,
                        void *arg, int64_t *ret_revision, struct syn_err *err);
/** What an earlier attempt left in a slot of its `arg` goes; returns the empty slot. */
static inline json_t **
srv_again(json_t **slot)
{
    json_decref(*slot);
    *slot = NULL;
    return slot;
}

/** "prefix/a/b" into out[SRV_KEY_MAX]; returns out. Parts are ids or checked names. */
const char *srv_key(char *out, const char *prefix, const char *a, const char *b);
/** "prefix/a/00000000000000000042": keys that sort by number. */
const char *srv_key_seq(char *out, const char *prefix, const char *a, int64_t seq);

/** The name that the request's path has of a `noun`, "secret". Borrowed from it. INVALID. */
SYN_MUST int srv_need_name(const struct syn_http_req *req, const char *noun, const char **ret,
                           struct syn_err *err);
/** LIMIT when `most` documents are under "prefix/account/" already: `nouns` is for the message. */
SYN_MUST int srv_need_room(struct syn_server *server, const char *prefix, const char *account,
                           int64_t most, const char *nouns, struct syn_err *err);

/** Read one page of a listing as the request's query (`limit`, `after`) asks. `fn` gets each
 * document parsed (it may take it) and appends to `items` what should be seen; without it they are
 * seen as they are. */
typedef int (*srv_item_fn)(void *arg, const char *key, json_t *doc, json_t *items,
                           struct syn_err *err);
SYN_MUST int srv_reply_list(struct syn_server *server, struct syn_http_req *req, const char *prefix,
                            bool newest_first, srv_item_fn fn, void *arg, struct syn_err *err);
/** Call fn for every document under `prefix`, in key order, in pages. */
typedef int (*srv_each_fn)(void *arg, const char *key, json_t *doc, int64_t revision,
                           struct syn_err *err);
SYN_MUST int srv_each(struct syn_server *server, const char *prefix, srv_each_fn fn, void *arg,
                      struct syn_err *err);
/** The same for those whose keys come after `after`. */
SYN_MUST int srv_each_after(struct syn_server *server, const char *prefix, const char *after,
                            srv_each_fn fn, void *arg, struct syn_err *err);

/* --- idempotency (idem.c) ----------------------------------------------------------------------
 */

#define SRV_IDEM_TTL_MS (INT64_C(24) * 3600 * 1000)

struct srv_idem {
    char key[SRV_KEY_MAX]; /* "" when the request carries none */
    char digest[65];
    int64_t revision; /* of an expired record that is overwritten; 0: there is none */
};
#define SRV_REPLAYED 1
/** Look up the request's Idempotency-Key, first in every attempt. Returns 0; SRV_REPLAYED: the
 * earlier answer is the reply; CONFLICT: the key was used for something else; INVALID. */
SYN_MUST int srv_idem_begin(struct syn_server *server, struct syn_http_req *req,
                            struct srv_idem *ret_idem, struct syn_err *err);
/** Keep the answer with the transaction. */
SYN_MUST int srv_idem_keep(struct syn_server *server, const struct srv_idem *idem,
                           struct srv_txn *txn, int status, const json_t *answer,
                           struct syn_err *err);

/* --- identity (auth.c) -------------------------------------------------------------------------
 */

int srv_authenticate(void *ctx, struct syn_http_req *req, const struct syn_http_route *route,
                     struct syn_err *err);
const struct srv_identity *srv_identity(const struct syn_http_req *req);
/** Load all tokens into the book and follow their changes. */
SYN_MUST int srv_tokens_open(struct syn_server *server, struct syn_err *err);
void srv_tokens_close(struct syn_server *server);
/** What a new token is to be. */
struct srv_token {
    const char *account;
    const char *scopes; /* "operator,tenant" */
    const char *name;   /* what it is for */
    const char *maker;  /* digest of the token it is made with, and void without; NULL: none */
    int64_t row;        /* so many tokens does it come from */
    int64_t expires_ms; /* 0: never */
};
struct srv_new_token {
    char text[SYN_TOKEN_LEN + 1]; /* the secret */
    char id[2 * SYN_SHA256_LEN + 1];
};
/** Add "token/ID" and its index entries for a new token to the transaction. */
SYN_MUST int srv_token_issue(struct syn_server *server, struct srv_txn *txn,
                             const struct srv_token *token, struct srv_new_token *ret,
                             struct syn_err *err);
/** Delete the token's document and index entries with the transaction. What was made with it is
 * void from then on. */
SYN_MUST int srv_token_forget(struct srv_txn *txn, const char *id, const json_t *doc,
                              struct syn_err *err);
/** Put what the account is called into `doc`, as "account_name"; "" when it is not known. */
SYN_MUST int srv_account_name(struct syn_server *server, const char *account, json_t *doc,
                              struct syn_err *err);
/** The node that `text` names: its id or name. NOTFOUND. */
SYN_MUST int srv_node_find(struct syn_server *server, const char *text, json_t **ret_doc,
                           int64_t *ret_revision, struct syn_err *err);
/** Apply a change to the document of the node that `text` names, write it, and answer with it. */
SYN_MUST int srv_node_change(struct syn_server *server, struct syn_http_req *req, const char *text,
                             int (*apply)(void *arg, json_t *node, struct syn_err *err), void *arg,
                             struct syn_err *err);
/** NOTFOUND unless the document belongs to the caller (or the caller is an operator). */
SYN_MUST int srv_own(const struct srv_identity *who, const json_t *doc, const char *what,
                     const char *id, struct syn_err *err);
/** FORBIDDEN unless the caller is the agent of `node` (or an operator). */
SYN_MUST int srv_own_node(const struct srv_identity *who, const char *node, struct syn_err *err);

/* --- joining (challenge.c) ---------------------------------------------------------------------
 */

#define SRV_CHALLENGE_SIZE   65 /* 64 digits of base32 */
#define SRV_CHALLENGE_TTL_MS 60000
/** A fresh challenge for who asks, into out[SRV_CHALLENGE_SIZE]. Nothing is stored. */
SYN_MUST int srv_challenge_make(struct syn_server *server, const struct srv_identity *who,
                                char *out, int64_t *ret_expires_ms, struct syn_err *err);
/** Was it made for this caller, and is it good still? INVALID, FORBIDDEN; PRECONDITION: expired. */
SYN_MUST int srv_challenge_check(struct syn_server *server, const struct srv_identity *who,
                                 const char *text, struct syn_err *err);
/** Spend it with the transaction. PRECONDITION when it is spent. */
SYN_MUST int srv_challenge_spend(struct syn_server *server, struct srv_txn *txn, const char *text,
                                 struct syn_err *err);

/* --- money (money.c) ---------------------------------------------------------------------------
 */

/** Where the next ledger transaction goes. */
struct srv_ledger_place {
    int64_t seq;
    int64_t head_revision;
    char id[SYN_LEDGER_ID_MAX];
};
SYN_MUST int srv_ledger_next(struct syn_server *server, struct srv_ledger_place *ret_place,
                             struct syn_err *err);
/** Where the one after that goes, in the same store transaction. */
struct srv_ledger_place srv_ledger_after(const struct srv_ledger_place *place);
/** Post `txs` in turn (built with the place's seq and those after it) and add everything they write
 * to `txn`. FUNDS, CONFLICT as syn_ledger_post(). Once a store transaction. */
SYN_MUST int srv_ledger_add_all(struct syn_server *server, struct srv_txn *txn,
                                const struct srv_ledger_place *place,
                                const struct syn_ledger_tx *txs, size_t count, struct syn_err *err);
/** The same for one. */
SYN_MUST int srv_ledger_add(struct syn_server *server, struct srv_txn *txn,
                            const struct srv_ledger_place *place, const struct syn_ledger_tx *tx,
                            struct syn_err *err);
/** The ledger account's balance; 0 when it was never used. */
SYN_MUST int srv_balance(struct syn_server *server, const char *account, int64_t *ret_balance,
                         struct syn_err *err);
/** Make an account's documents within `txn`. `kind`: "tenant" or "provider". */
SYN_MUST int srv_account_make(struct syn_server *server, struct srv_txn *txn, const char *id,
                              const char *name, const char *kind, json_t **ret_doc,
                              struct syn_err *err);
/** Put balance and held into an account's document, and with `usage` what of its quota is used. */
SYN_MUST int srv_account_complete(struct syn_server *server, json_t *doc, bool usage,
                                  struct syn_err *err);
/** Id of the account that `text` names: an id, a name, or "me". NOTFOUND. */
SYN_MUST int srv_account_find(struct syn_server *server, const struct srv_identity *who,
                              const char *text, char *ret_id, struct syn_err *err);

/** "JOB.RUN" into out[SYN_LEDGER_REF_MAX]: what a run's escrow is about. */
void srv_escrow_ref(const char *job, int64_t run, char *out);
/** Lock `amount` more of the account's in the escrow of `ref`, in which `held` is now. FUNDS. At
 *  most one ledger transaction a store transaction. */
struct srv_lock {
    const char *account;
    const char *ref;
    int64_t amount, held;
    const char *memo;
};
SYN_MUST int srv_escrow_lock(struct syn_server *server, struct srv_txn *txn,
                             const struct srv_lock *lock, struct syn_err *err);

/* --- quotas (quota.c) --------------------------------------------------------------------------
 */

/** The account's limits. NOTFOUND. */
SYN_MUST int srv_quota_load(struct syn_server *server, const char *account, struct syn_quota *ret,
                            struct syn_err *err);
/** What is over the account's quota by itself would wait for ever: LIMIT. What only finds no room
 * in it now is taken: the controller starts it when there is. */
SYN_MUST int srv_quota_bears(struct syn_server *server, const char *account,
                             const struct syn_holding *ask, struct syn_err *err);
#define SRV_QUOTA_HINT "ask for less, or have an operator raise it: synor account quota"
/** What the account holds now. */
SYN_MUST int srv_account_holding(struct syn_server *server, const char *account,
                                 struct syn_holding *ret, struct syn_err *err);
/** Let the account keep `cid` under `key` (a name's or pin's) as well: LIMIT when its quota of
 *  storage does not allow it. Adds to `txn` what makes two claims at once a conflict. */
SYN_MUST int srv_storage_claim(struct syn_server *server, struct srv_txn *txn, const char *account,
                               const char *key, const struct syn_cid *cid, struct syn_err *err);

/* --- instances (instances.c) --------------------------------------------------------------------
 */

struct syn_meter;
struct syn_report;
struct syn_training_observed;
/** The instance that `{id}` names, if the caller is its node's agent. */
SYN_MUST int srv_instance_mine(struct syn_server *server, struct syn_http_req *req,
                               json_t **ret_doc, struct syn_err *err);
/** What the instances of the job's present run were seen to use. */
SYN_MUST int srv_observed(struct syn_server *server, const json_t *job, const json_t *instances,
                          struct syn_training_observed *ret, struct syn_err *err);
/** The instance's meter; a fresh one (revision 0) before the first report. */
SYN_MUST int srv_meter_load(struct syn_server *server, const char *instance,
                            struct syn_meter *ret_meter, int64_t *ret_revision,
                            struct syn_err *err);
/** Does the report's signature hold with its node's key? */
SYN_MUST int srv_report_verify(struct syn_server *server, const struct syn_report *report,
                               bool *ret_ok, struct syn_err *err);

/* --- workloads (work.c) -----------------------------------------------------------------------
 */

#define SRV_WORK_PARTS_MAX 4

/** A kind of workload, as far as what its routes share goes. Its documents are "DOCUMENTS/ID";
 *  "OF/ACCOUNT/ID" lists those of an account, "NAMES/ACCOUNT/NAME" is the id that has the name. */
struct srv_work {
    const char *documents;                 /* "training" */
    const char *of;                        /* "training-of" */
    const char *names;                     /* "training-name" */
    const char *ids;                       /* what its ids begin with: "train-" */
    const char *noun;                      /* "training job" */
    const char *the;                       /* "the job" */
    const char *parts[SRV_WORK_PARTS_MAX]; /* what goes with it: "PART/ID/..." */
    const struct syn_sm *life;             /* the states that it may be in */
    /* May it be forgotten: has it ended, with its bill written? CONFLICT, with the way out. */
    int (*may_delete)(const json_t *doc, struct syn_err *err);
    /* It is being forgotten: delete what else is its own, and see to its name. */
    int (*release)(struct syn_server *server, struct srv_txn *txn, const json_t *doc,
                   struct syn_err *err);
    /* Put into one that is listed what is not stored in it; NULL: nothing. */
    int (*complete)(struct syn_server *server, json_t *doc, struct syn_err *err);
};
extern const struct srv_work srv_training, srv_service;

/** NOTFOUND: there is none of that name or id. */
SYN_MUST int srv_work_absent(const struct srv_work *work, const char *text, struct syn_err *err);
/** The key of the document that `text` names, an id or the account's name for one, into
 *  out[SRV_KEY_MAX]; whether there is one is not looked at. Returns 0; SRV_ABSENT: it is no name.
 */
SYN_MUST int srv_work_key(struct syn_server *server, const struct srv_work *work,
                          const char *account, const char *text, char *out, struct syn_err *err);
/** The document that `text` names, whoever's it is. Returns 0; SRV_ABSENT. */
SYN_MUST int srv_work_find(struct syn_server *server, const struct srv_work *work,
                           const char *account, const char *text, json_t **ret_doc,
                           int64_t *ret_revision, struct syn_err *err);
/** The document that `{id}` names, if it is the caller's. NOTFOUND. */
SYN_MUST int srv_work_load(struct syn_server *server, const struct srv_work *work,
                           struct syn_http_req *req, json_t **ret_doc, int64_t *ret_revision,
                           struct syn_err *err);
/** Nothing more follows from it: it may be forgotten. */
bool srv_work_over(const struct srv_work *work, const json_t *doc);
/** Answer with the account's, newest first; `state` not NULL: only those in it, INVALID
 *  when no such work can be in it. */
SYN_MUST int srv_work_reply_list(struct syn_server *server, const struct srv_work *work,
                                 struct syn_http_req *req, const char *state, struct syn_err *err);
/** Everything below "PART/ID/", oldest first. */
SYN_MUST int srv_work_parts(struct syn_server *server, const char *part, const char *id,
                            json_t **ret_list, struct syn_err *err);
/** Answer with that of the one that `{id}` names. */
SYN_MUST int srv_work_reply_parts(struct syn_server *server, const struct srv_work *work,
                                  struct syn_http_req *req, const char *part, struct syn_err *err);
/** All its instance documents, as a list, oldest first. */
SYN_MUST int srv_instances_of(struct syn_server *server, const char *job, json_t **ret_list,
                              struct syn_err *err);
/** What a plan says of `rc`, with which it would be refused: {"code", "message"}, or null for 0.
 *  What is no refusal but trouble of our own is returned. `err` is not NULL. */
SYN_MUST int srv_work_refusal(int rc, const struct syn_err *why, json_t **ret_refusal,
                              struct syn_err *err);
/** Lay the keys that are given over a spec; null takes one back to its default. */
SYN_MUST int srv_work_lay_over(json_t *spec, const json_t *given, struct syn_err *err);
/** What a verb does to a document, beside writing it; again from the beginning on a conflict. */
typedef int (*srv_work_apply_fn)(struct syn_server *server, struct srv_txn *txn, json_t *doc,
                                 void *arg, struct syn_err *err);
/** Apply it to the one that `{id}` names, have the controller look, and answer with the document.
 */
SYN_MUST int srv_work_change(struct syn_server *server, const struct srv_work *work,
                             struct syn_http_req *req, srv_work_apply_fn apply, void *arg,
                             struct syn_err *err);
/** The end of a change: it was written at `revision`. */
SYN_MUST int srv_work_reply_changed(struct syn_server *server, struct syn_http_req *req, int status,
                                    json_t *doc, int64_t revision, struct syn_err *err);
/** Delete it, as it was read at `revision`, with all that is its own, within `txn`; of much, some
 *  goes ahead. Bills, transactions, usage and instances stay: they are the proof of what was paid.
 *  CONFLICT. */
SYN_MUST int srv_work_delete(struct syn_server *server, struct srv_txn *txn,
                             const struct srv_work *work, const json_t *doc, int64_t revision,
                             struct syn_err *err);
/** Delete the one that `{id}` names. CONFLICT, PRECONDITION. */
SYN_MUST int srv_work_forget(struct syn_server *server, const struct srv_work *work,
                             struct syn_http_req *req, struct syn_err *err);

/* --- training (training.c), services (services.c) -----------------------------------------------
 */

/** Succeeded, failed or stopped. */
bool srv_job_ended(const json_t *job);
/** The service that an instance's id is a replica's of, into out[SYN_ID_MAX]; false: none. */
bool srv_service_of(const char *instance, char *out);
/** Its version documents, oldest first. */
SYN_MUST int srv_service_versions(struct syn_server *server, const char *id, json_t **ret_list,
                                  struct syn_err *err);

typedef int srv_uses_fn(const json_t *service, const char *name, bool *ret, struct syn_err *err);
/** The account's services of which that is so, an array. Owner: *ret is the caller's. */
SYN_MUST int srv_services_with(struct syn_server *server, const char *account, srv_uses_fn *uses,
                               const char *name, json_t **ret, struct syn_err *err);
/** A new version of each of the account's services that live and use the secret. *ret_ids is the
 *  caller's: theirs. */
SYN_MUST int srv_services_renew_secret(struct syn_server *server, struct srv_txn *txn,
                                       const char *account, const char *secret, json_t **ret_ids,
                                       struct syn_err *err);
/** The name of one of the account's services that uses it, into out[SYN_ID_MAX]; "" for none. */
SYN_MUST int srv_service_with_secret(struct syn_server *server, const char *account,
                                     const char *secret, char *out, struct syn_err *err);

/* --- mounts of services (mounts.c) --------------------------------------------------------------
 */

/** A service whose mounts are meant. */
struct srv_mounting {
    const char *account;
    const char *service; /* its name */
    json_t *spec;        /* checked */
};
/** Set what the mounts stand for now: the CIDs of content that have none yet. Content is kept until
 *  *guard is freed (NULL: it is only looked at). NOTFOUND; INVALID, CONFLICT where another one
 *  writes to a volume. */
SYN_MUST int srv_mounts_resolve(struct syn_server *server, const struct srv_mounting *mounting,
                                struct syn_content_guard **guard, struct syn_err *err);
/** The account's volumes that the spec and the versions (NULL: none) name, as {NAME: document}.
 *  Owner: *ret is the caller's. */
SYN_MUST int srv_volumes_named(struct syn_server *server, const char *account, const json_t *spec,
                               const json_t *versions, json_t **ret, struct syn_err *err);
/** Write where those are that have a node from now on, {NAME: node}, as they were read. They are
 *  charged from now on. */
SYN_MUST int srv_volumes_bind(struct syn_server *server, struct srv_txn *txn, const char *account,
                              const json_t *volumes, json_t *bound, struct syn_err *err);

/* --- secrets (secrets.c) ------------------------------------------------------------------------
 */

/** Seal a text under the server's key; `label` is sealed with it, so that none can be put in
 *  another's place. Owner: *ret_text (hexadecimal) is the caller's. */
SYN_MUST int srv_seal(struct syn_server *server, const char *label, const char *value,
                      char **ret_text, struct syn_err *err);
/** The text again, as JSON, which is the caller's. CORRUPT. */
SYN_MUST int srv_unseal(struct syn_server *server, const char *label, const char *text,
                        json_t **ret, struct syn_err *err);
/** The text of one of the account's secrets, as JSON, which is the caller's. NOTFOUND, CORRUPT. */
SYN_MUST int srv_secret_read(struct syn_server *server, const char *account, const char *name,
                             json_t **ret, struct syn_err *err);
/** Are all that a spec names there? NOTFOUND. */
SYN_MUST int srv_secrets_check(struct syn_server *server, const char *account, const json_t *spec,
                               struct syn_err *err);

/* --- certificates (certificates.c) ---------------------------------------------------------------
 */

/** The name of the certificate that a service with this `lb` uses: of one that the platform gets
 *  from its ACME directory, the host. "": the platform's own. */
const char *srv_certificate_of(const json_t *lb);
/** Is the certificate that the spec names there, or can it be had? NOTFOUND, INVALID. */
SYN_MUST int srv_certificate_check(struct syn_server *server, const char *account,
                                   const json_t *spec, struct syn_err *err);
/** The account's certificate of this name, with its key. Owner: *ret_pem is the caller's. */
SYN_MUST int srv_certificate_pem(struct syn_server *server, const char *account, const char *name,
                                 char **ret_pem, struct syn_err *err);
/** What has come of the account's certificate for this host, which the directory gives; all zero
 *  when nothing has. ret_message[SYN_ACME_REASON_MAX] (may be NULL): why it failed last. */
SYN_MUST int srv_certificate_history(struct syn_server *server, const char *account,
                                     const char *host, struct syn_acme_history *ret_history,
                                     bool *ret_asked, char *ret_message, struct syn_err *err);
/** The directory gave it: keep it, and tell those who use it. `pem` as of syn_acme_obtain(). */
SYN_MUST int srv_certificate_keep(struct syn_server *server, const char *account, const char *host,
                                  const char *pem, struct syn_err *err);
/** It did not. */
SYN_MUST int srv_certificate_fail(struct syn_server *server, const char *account, const char *host,
                                  const char *message, struct syn_err *err);
/** Say in the events of who uses them that certificates end soon, once each. */
SYN_MUST int srv_certificates_warn(struct syn_server *server, struct syn_err *err);
void srv_certificate_metrics(struct syn_server *server, struct syn_buf *out);
/** Names of the account's services that use it. Owner: *ret_services is the caller's. */
SYN_MUST int srv_services_with_certificate(struct syn_server *server, const char *account,
                                           const char *name, json_t **ret_services,
                                           struct syn_err *err);
/* --- certificates from a directory (acme.c) ------------------------------------------------------
 */

/** Read the options, and the account's key, which is made when there is none; *ret is NULL without
 *  a directory. Nothing runs before srv_acme_start(), which needs the gateway, nor after
 *  srv_acme_stop(). INVALID, naming the option. */
SYN_MUST int srv_acme_new(struct syn_server *server, const struct syn_server_options *options,
                          struct srv_acme **ret, struct syn_err *err);
SYN_MUST int srv_acme_start(struct srv_acme *acme, struct syn_err *err);
void srv_acme_stop(struct srv_acme *acme);
struct srv_acme *srv_acme_free(struct srv_acme *acme);
/** Look at what is to be done. Any thread. */
void srv_acme_poke(struct srv_acme *acme);
/** By which HAProxy answers challenges. Borrowed. */
const char *srv_acme_thumbprint(const struct srv_acme *acme);
/** Put into the explanation of the service why it has no certificate of the directory's. */
SYN_MUST int srv_acme_explain(struct syn_server *server, const json_t *service, json_t *answer,
                              struct syn_err *err);

/* --- published addresses (published.c) ----------------------------------------------------------
 */

#define SRV_GATEWAY_MESSAGE_MAX 320

/** Read the options. Nothing runs before srv_gateway_start(), which needs the controller, nor after
 *  srv_gateway_stop(). INVALID for what is no address or range. */
SYN_MUST int srv_gateway_new(struct syn_server *server, const struct syn_server_options *options,
                             struct srv_gateway **ret, struct syn_err *err);
SYN_MUST int srv_gateway_start(struct srv_gateway *gateway, struct syn_err *err);
void srv_gateway_stop(struct srv_gateway *gateway);
struct srv_gateway *srv_gateway_free(struct srv_gateway *gateway);
/** Give the service the address and the place on the shared fronts that its spec asks for, or take
 *  them back, in its document and within `txn`. No-op when it is so. CONFLICT: another service has
 *  the host and path; LIMIT: no address is left. */
SYN_MUST int srv_publish(struct syn_server *server, struct srv_txn *txn, json_t *service,
                         struct syn_err *err);
/** The service is being forgotten: what it has goes back. */
SYN_MUST int srv_unpublish(struct syn_server *server, struct srv_txn *txn, const json_t *service,
                           struct syn_err *err);
/** Put into its status how its address is, and what was counted there. */
SYN_MUST int srv_gateway_complete(struct syn_server *server, json_t *service, struct syn_err *err);
/** Put into the explanation why its address is not served. */
SYN_MUST int srv_gateway_explain(struct syn_server *server, const json_t *service, json_t *answer,
                                 struct syn_err *err);
/** All that was counted at its address. Owner: *ret is the caller's. Blocks: milliseconds. */
SYN_MUST int srv_gateway_stats(struct syn_server *server, const json_t *service, json_t **ret,
                               struct syn_err *err);
/** Append the certificate of the authority that signs those of services with TLS. */
/** What the balancer has counted: requests in all, and those that are open or wait now. False: it
 *  has nothing of the service. */
bool srv_gateway_counts(struct syn_server *server, const json_t *service, uint64_t *ret_requests,
                        uint64_t *ret_open);
/** What each of its replicas has answered. *ret is the caller's, to be freed with syn_free().
 *  NOTFOUND, UNAVAILABLE and the like: nobody can tell. */
struct syn_balancer_server_counts;
SYN_MUST int srv_gateway_servers(struct syn_server *server, const json_t *service,
                                 struct syn_balancer_server_counts **ret, size_t *ret_count,
                                 struct syn_err *err);
/** The file of key and certificate of an authority of the platform's own ("gateway"), made
 *  when there is none, into ret_path[SRV_PATH_MAX]. Blocks: disk. */
SYN_MUST int srv_authority(struct syn_server *server, const char *which, char *ret_path,
                           struct syn_err *err);
#define SRV_CERT_TAG 17
/** A certificate of the gateway's authority for these names, with its chain and key: the file
 *  server/tls/WHOSE-TAG.pem, where it is kept. Blocks: disk. */
SYN_MUST int srv_own_certificate(struct syn_server *server, const char *whose,
                                 const char *const *names, size_t count, char tag[SRV_CERT_TAG],
                                 char **ret_pem, struct syn_err *err);
SYN_MUST int srv_gateway_ca(struct syn_server *server, struct syn_buf *out, struct syn_err *err);
void srv_gateway_metrics(struct syn_server *server, struct syn_buf *out);
/** Are challenges of this host answered on the shared front? */
bool srv_gateway_challenged(struct syn_server *server, const char *host);
/** What it knows of services or their certificates is old. */
void srv_gateway_look_again(struct syn_server *server);
/** What the balancer has of the service's instances, as the step of services wants it; NULL: none
 *  serves it, and what calls it otherwise hears of it as from a table. Owner: *ret is the caller's.
 */
SYN_MUST int srv_gateway_balanced(struct syn_server *server, const json_t *service,
                                  const json_t *instances, json_t **ret, struct syn_err *err);

/* --- what nodes hear of services (endpoints.c) --------------------------------------------------
 */

#define SRV_SERVICE_TOLD "service" /* the event */

/** Call fn for every instance of the node that has not ended, until it says otherwise than 0. */
typedef int (*srv_living_fn)(void *arg, const json_t *instance, struct syn_err *err);
SYN_MUST int srv_living_on(struct syn_server *server, const char *node, srv_living_fn fn, void *arg,
                           struct syn_err *err);
/** See within `txn` that nodes find the service if accounts but its own may call it. */
SYN_MUST int srv_service_index(struct syn_server *server, struct srv_txn *txn,
                               const json_t *service, struct syn_err *err);
/** It is deleted within `txn`. */
SYN_MUST int srv_service_unindex(struct syn_server *server, struct srv_txn *txn,
                                 const json_t *service, struct syn_err *err);
/** Note within `txn` where other nodes reach the node's mesh, "HOST:PORT", or "". *ret_changed: it
 *  was elsewhere before, and what was told of its replicas is wrong. */
SYN_MUST int srv_front_set(struct syn_server *server, struct srv_txn *txn, const char *node,
                           const char *front, bool *ret_changed, struct syn_err *err);

/* --- the cluster (cluster.c) --------------------------------------------------------------------
 */

struct syn_cluster;
/** All nodes with what they hold. */
SYN_MUST int srv_cluster_read(struct syn_server *server, struct syn_cluster **ret_cluster,
                              struct syn_err *err);

/* --- content (names.c) --------------------------------------------------------------------------
 */

/** A reference (synor://NAME, synor://CID, or either bare) -> text of a CID that is stored, into
 *  ret_cid[SYN_CID_TEXT_MAX]; "" stays "". NOTFOUND, INVALID. */
SYN_MUST int srv_resolve(struct syn_server *server, const char *account, const char *reference,
                         char *ret_cid, struct syn_err *err);
/** Keeps gc away from content that a document is about to refer to; freed at the end of the scope,
 * which comes after the commit. */
#define SRV_GUARD(name) \
    SYN_SCOPED(syn_content_guard_free_scope) struct syn_content_guard *name = NULL
/** Add the content of a CID's text to the guard, which is made when it is NULL; "" is fine.
 * NOTFOUND, INVALID. */
SYN_MUST int srv_keep(struct syn_server *server, struct syn_content_guard **guard, const char *cid,
                      struct syn_err *err);

/* --- images (images.c, pulls.c) -----------------------------------------------------------------
 */

/** The CID of an image that is stored, into ret_cid[SYN_CID_TEXT_MAX]: of what was pulled or pushed
 *  under this name, else as srv_resolve(). NOTFOUND, INVALID. */
SYN_MUST int srv_image_resolve(struct syn_server *server, const char *account,
                               const char *reference, char *ret_cid, struct syn_err *err);
/** What a plan says of the image: its "pull" becomes {"image"} where that has to come from a
 *  registry first, else null. NOTFOUND, INVALID: it would be refused. */
SYN_MUST int srv_image_foresee(struct syn_server *server, const char *account,
                               const char *reference, json_t *plan, struct syn_err *err);
SYN_MUST int srv_pulls_new(struct syn_server *server, struct srv_pulls **ret, struct syn_err *err);
/** What runs ends soon, and nobody waits for it. */
void srv_pulls_quiet(struct srv_pulls *pulls);
/** Waits for what runs. */
struct srv_pulls *srv_pulls_free(struct srv_pulls *pulls);

/* --- places (places.c) ------------------------------------------------------------------------
 */

/** Set the prices of `body`'s "offer" in the document of a node that is `who`'s. INVALID names the
 *  key. */
SYN_MUST int srv_offer_take(const struct syn_server *server, const struct srv_identity *who,
                            const json_t *body, json_t *node, struct syn_err *err);
extern const struct syn_schema srv_offer_schema;
/** Check labels that are to be set: an object of texts. INVALID. */
SYN_MUST int srv_labels_check(json_t *labels, struct syn_err *err);
/** Put into the cluster what was said of round trips, and where the server is. */
SYN_MUST int srv_trips_read(struct syn_server *server, struct syn_cluster *cluster,
                            struct syn_err *err);
/** The document "rtt/A/B" is this now; NULL: it is gone. */
SYN_MUST int srv_trip_take(struct syn_cluster *cluster, const char *key, const json_t *doc,
                           struct syn_err *err);

/* --- bills (bills.c)
 * -------------------------------------------------------------------------------- */

/** What a job's current run has cost so far in its period, and costs an hour now. */
SYN_MUST int srv_run_cost(struct syn_server *server, const json_t *job, const json_t *instances,
                          int64_t *ret_spent, int64_t *ret_rate_hour, struct syn_err *err);
/** Add to `txn` what ends a run's money: the bill `bill_id`, the settlement, the index entries. */
SYN_MUST int srv_settle(struct syn_server *server, struct srv_txn *txn, const json_t *job,
                        const json_t *instances, const char *bill_id, struct syn_err *err);
/** Add to `txn` what ends a run's period and begins the next one with `lock` in its escrow. */
struct srv_renewal {
    const char *bill_id;
    int64_t lock;    /* > 0 */
    bool new_window; /* the budget is whole again */
};
SYN_MUST int srv_renew(struct syn_server *server, struct srv_txn *txn, const json_t *job,
                       const json_t *instances, const struct srv_renewal *renewal,
                       struct syn_err *err);

/** Note in `txn` that `item` of the service's network ("lb": its load balancer, "static-ip": an
 * address of its own) is on from now, or off: it is charged by the ms while it is on. The same
 * again changes nothing. */
SYN_MUST int srv_network_set(struct syn_server *server, struct srv_txn *txn, const char *service,
                             const char *item, bool on, struct syn_err *err);

/* --- queues (queues.c) ------------------------------------------------------------------------ */

#define SRV_QUEUE_BODY_MAX SYN_FIELD_STR_MAX /* bytes of a message */

/** Send a message within `txn`. NOTFOUND: the account has no such queue; LIMIT: it is full. */
SYN_MUST int srv_queue_put(struct syn_server *server, struct srv_txn *txn, const char *account,
                           const char *name, const char *body, struct syn_err *err);

/* --- names and logs
 * ----------------------------------------------------------------------------------- */

/** 1..200 bytes of [a-z0-9._/-] without empty or dot segments. */
bool srv_content_name_ok(const char *name);
/** Let `name` stand for `cid` within the transaction. NOTFOUND when it is not stored. */
SYN_MUST int srv_name_put(struct syn_server *server, struct srv_txn *txn, const char *account,
                          const char *name, const struct syn_cid *cid, json_t **ret_doc,
                          struct syn_err *err);
/** Append a line to the log that is called so; it is not on disk yet. */
SYN_MUST int srv_log_line(struct syn_server *server, const char *log, int64_t at_ms,
                          const char *line, struct syn_err *err);
/** The last `count` lines that the newest of these instances wrote, as a list of texts. */
SYN_MUST int srv_log_tail(struct syn_server *server, const json_t *instances, size_t count,
                          json_t **ret_lines, struct syn_err *err);

/* --- events (events.c)
 * ------------------------------------------------------------------------------ */

/** Append an event of a job to the transaction, numbered by the clock and a counter. */
SYN_MUST int srv_event(struct syn_server *server, struct srv_txn *txn, const char *job,
                       const json_t *event, struct syn_err *err);
/** The same of one that is its own reason and concerns no instance. */
SYN_MUST int srv_event_say(struct syn_server *server, struct srv_txn *txn, const char *job,
                           const char *type, const char *message, struct syn_err *err);
/** PRECONDITION when the request's If-Match names another revision. */
SYN_MUST int srv_if_match(struct syn_http_req *req, int64_t revision, struct syn_err *err);

/* --- streams (stream.c, watch.c, logs.c) ------------------------------------------------------
 */

#define SRV_STREAM_PREFIXES_MAX 3

/** What a stream tells of. The documents are those below prefixes[0]; each is told as event `put`
 *  or `delete`, with the revision to resume from as id, and again whenever a key below one of the
 *  prefixes changes. */
struct srv_stream_plan {
    char prefixes[SRV_STREAM_PREFIXES_MAX][SRV_KEY_MAX]; /* "": no more */
    char index[SRV_KEY_MAX]; /* "", or whose last words name the documents of the snapshot */
    /* The n-th index of the snapshot, counted from 1: those after `index`, into out[SRV_KEY_MAX].
     * False: there are no more. NULL: there is one. */
    bool (*next_index)(const void *arg, unsigned n, char *out);
    /* "", or documents that are told as well, the way they are stored, behind the others in the
     * snapshot; the id of one that is gone is all of its key behind this. Plans with `seen` have
     * none. */
    char beside[SRV_KEY_MAX];
    const char *put_event;    /* "put" */
    const char *delete_event; /* "delete" */
    bool snapshot;            /* first `snapshot`, everything that is there, `synced` */
    bool lasting;             /* the documents never go: what is not there is not told */
    bool parts; /* keys that have another as their subject are parts of it: gone, they change it */
    /* The key of the document that a change of `key` is told as, into out[SRV_KEY_MAX], "" for
     * none; NULL: it is the document itself. */
    void (*subject)(const char *key, char *out);
    /* Put into the document what is not stored in it; NULL: nothing. On the loop: be quick. */
    int (*complete)(struct syn_server *server, json_t *doc, struct syn_err *err);
    /* May it be told? `doc` is NULL for one that is gone and not known any more. NULL: all. One
     * that no longer may is told as one that is gone. */
    bool (*seen)(const void *arg, const char *key, const json_t *doc);
    void *arg; /* syn_free()d at the end */
};
/** A handler on the loop ends with this. */
SYN_MUST int srv_stream(struct syn_server *server, struct syn_http_req *req,
                        const struct srv_stream_plan *plan, struct syn_err *err);

/** End the streams that tell documents as `event` (a constant): what they told before is wrong, and
 *  who listens comes back and is told anew. Any thread. */
SYN_MUST int srv_streams_renew(struct syn_server *server, const char *event, struct syn_err *err);
/** Say something to who watches the documents below `prefix`. On the loop. Returns to how many. */
unsigned srv_stream_say(struct syn_server *server, const char *prefix, const char *event,
                        const char *data, size_t len);

SYN_MUST int srv_streams_new(struct syn_server *server, struct srv_streams **ret,
                             struct syn_err *err);
struct srv_streams *srv_streams_free(struct srv_streams *streams);

SYN_MUST int srv_follow_new(struct syn_server *server, struct srv_follow **ret,
                            struct syn_err *err);
struct srv_follow *srv_follow_free(struct srv_follow *follow);
/** Bytes were appended to some log. Any thread. */
void srv_follow_poke(struct syn_server *server);

SYN_MUST int srv_progress_new(struct srv_progress **ret, struct syn_err *err);
struct srv_progress *srv_progress_free(struct srv_progress *progress);
/** Read what is new in the instance's file `fd`; the newest state becomes that of the job. */
SYN_MUST int srv_progress_read(struct syn_server *server, int fd, const char *instance,
                               const char *job, struct syn_err *err);
int srv_training_metrics(struct syn_http_req *req, void *ctx, struct syn_err *err);
/** A file of what `instance` wrote, into out[SRV_PATH_MAX]; returns out. */
const char *srv_log_path(const struct syn_server *server, const char *instance, const char *file,
                         char *out);

/* --- sessions (sessions.c)
 * ---------------------------------------------------------------------------- */

SYN_MUST int srv_sessions_new(struct syn_server *server, struct srv_sessions **ret,
                              struct syn_err *err);
/** Who waits waits no longer, and nobody new comes. Before the HTTP server stops. */
void srv_sessions_quiet(struct srv_sessions *sessions);
/** After the HTTP server and the pool. Returns NULL. */
struct srv_sessions *srv_sessions_free(struct srv_sessions *sessions);

/* --- sweeping (sweep.c)
 * ---------------------------------------------------------------------------- */

/** Sweep once now and then every hour, on the pool: uploads that were given up, expired tokens and
 * idempotency records, orders that ended a month ago, folders of uploads that no document names,
 * the money of volumes. */
SYN_MUST int srv_sweeper_new(struct syn_server *server, struct srv_sweeper **ret,
                             struct syn_err *err);
struct srv_sweeper *srv_sweeper_free(struct srv_sweeper *sweeper);
/** One round, here and now. */
SYN_MUST int srv_sweep(struct syn_server *server, int64_t now_ms, struct syn_err *err);
/** Delete the index entries of an upload's document within `txn`; not the document itself. */
SYN_MUST int srv_upload_forget(const json_t *doc, struct srv_txn *txn, struct syn_err *err);
/** NOSPACE when the disk is so full that the platform itself could not go on, or would be with so
 * many bytes more; 0 where that is not known. */
SYN_MUST int srv_disk_room(const struct syn_server *server, int64_t more_bytes,
                           struct syn_err *err);
/** Remove the folder of an upload; an absent one is fine. */
void srv_upload_remove(const struct syn_server *server, const char *id);

/* --- the spot market (market.c) ------------------------------------------------------------------
 */

/** Read it from snapshot and log. What cannot be read is said in the log and to who asks: the rest
 *  of the platform goes on. */
SYN_MUST int srv_market_new(struct syn_server *server, struct srv_market **ret,
                            struct syn_err *err);
/** No more rounds of its timer. On the loop, before the pool goes. */
void srv_market_quiet(struct srv_market *market);
/** Call fn with what the market asks for an hour of each good that it knows ("gpu/h100/eu-west"),
 * or -1 where it has no price. Blocks: while somebody trades. Returns 0; UNAVAILABLE; NOMEM. */
typedef int (*srv_spot_fn)(void *arg, const char *good, int64_t hour, struct syn_err *err);
SYN_MUST int srv_market_spot(struct syn_server *server, srv_spot_fn fn, void *arg,
                             size_t *ret_count, struct syn_err *err);
struct srv_market *srv_market_free(struct srv_market *market);

/** While processors are promised, to a buyer or to work, nobody else promises any. Around looking
 * at what is free and writing down what becomes of it. */
void srv_market_promise(struct syn_server *server);
void srv_market_promised(struct syn_server *server);
struct syn_keep;
/** What providers keep for the market: offered, or sold and not begun. *ret is the caller's to
 *  syn_free(). Returns 0; UNAVAILABLE; NOMEM. */
SYN_MUST int srv_market_keeps(struct syn_server *server, struct syn_keep **ret, size_t *ret_count,
                              struct syn_err *err);

/* --- controller (controller.c) ------------------------------------------------------------------
 */

SYN_MUST int srv_controller_new(struct syn_server *server, struct srv_controller **ret,
                                struct syn_err *err);
struct srv_controller *srv_controller_free(struct srv_controller *controller);
/** Look at this job soon. Any thread. */
void srv_controller_poke(struct srv_controller *controller, const char *job);
/** The market has moved: spot prices are to be looked at. */
void srv_controller_market(struct srv_controller *controller);
struct syn_place_turn;
/** The job's place in the queue. Blocks: while the controller is at work. Returns 0;
 *  SYN_PLACE_NONE: it does not wait; SYN_E_NOMEM. */
SYN_MUST int srv_controller_turn(struct srv_controller *controller, const char *job,
                                 struct syn_place_turn *ret, struct syn_err *err);

/* --- routes -------------------------------------------------------------------------------------
 */

/** Each file's table; the server adds them all. */
struct srv_routes {
    const struct syn_http_route *rows;
    size_t count;
};
extern const struct srv_routes srv_account_routes, srv_training_routes, srv_instance_routes,
    srv_node_routes, srv_content_routes, srv_upload_routes, srv_name_routes, srv_bill_routes,
    srv_endpoint_routes, srv_system_routes, srv_log_routes, srv_token_routes, srv_quota_routes,
    srv_watch_routes, srv_market_order_routes, srv_market_view_routes, srv_offer_routes,
    srv_service_routes, srv_place_routes, srv_manifest_routes, srv_image_routes, srv_secret_routes,
    srv_certificate_routes, srv_session_routes, srv_identity_routes, srv_mesh_routes,
    srv_queue_routes, srv_volume_routes, srv_function_routes, srv_function_gateway_routes,
    srv_function_key_routes, srv_function_token_routes, srv_invoke_routes;
extern const struct srv_routes *const srv_all_routes[]; /* these, then NULL */

/** Metrics of nodes, as Prometheus reads them (gauges.c). Blocks: reads the nodes. */
void srv_node_metrics(struct syn_server *server, struct syn_buf *out);
/** Metrics that are read when somebody asks (gauges.c). */
SYN_MUST int srv_gauges_open(struct syn_server *server, struct syn_err *err);
SYN_MUST int srv_openapi_build(struct syn_server *server, json_t **ret_doc, struct syn_err *err);

/** Rows of a table of routes that have nothing more to say: a document is read, one is changed. */
#define SRV_READ(pattern_, handler_, query_, name_, summary_)                                  \
    {                                                                                          \
        .method = "GET", .pattern = pattern_, .kind = SYN_HTTP_POOL, .scopes = SYN_SCOPE_READ, \
        .handler = handler_, .query = query_, .name = name_, .summary = summary_               \
    }
#define SRV_WRITE(method_, pattern_, handler_, body_, name_, summary_)                             \
    {                                                                                              \
        .method = method_, .pattern = pattern_, .kind = SYN_HTTP_POOL, .scopes = SYN_SCOPE_TENANT, \
        .body_max = SRV_BODY_MAX, .handler = handler_, .body = body_, .name = name_,               \
        .summary = summary_                                                                        \
    }

/** Fields that many queries have. */
#define SRV_LIMIT_FIELD(help_)                                                            \
    {                                                                                     \
        .name = "limit", .kind = SYN_FIELD_I64, .min = 1, .max = 1000, .fallback = "100", \
        .help = (help_)                                                                   \
    }
#define SRV_AFTER_FIELD                                                           \
    {                                                                             \
        .name = "after", .kind = SYN_FIELD_STR, .min = 1, .max = SRV_KEY_MAX - 1, \
        .help = "The `next` of the page before"                                   \
    }
#define SRV_PLAN_FIELD(help_)                                                        \
    {                                                                                \
        .name = "plan", .kind = SYN_FIELD_BOOL, .fallback = "false", .help = (help_) \
    }

/** Shared query schema of lists: limit, after. */
extern const struct syn_schema srv_list_query;

#endif
