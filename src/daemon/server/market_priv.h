/* The spot market's inside: what market*.c share. How it all goes together is said in market.c. */
#ifndef SYN_MARKET_PRIV_H
#define SYN_MARKET_PRIV_H

#include <pthread.h>

#include <synor/market/debts.h>
#include <synor/market/exchange.h>

#include "server_priv.h"

#define MARKET_NONE       UINT32_MAX
#define MARKET_CHUNK      30 /* orders whose traces one store transaction carries */
#define MARKET_WORD_MAX   64 /* bytes of one part of a class's name, terminator included */
#define MARKET_TRIPLE_MAX (SYN_MARKET_NAME_MAX + 1)
#define MARKET_SAVE_EVERY 4096 /* events between two snapshots */
#define MARKET_TICK_MS    1000
#define MARKET_LOOK_MS    10000 /* between two looks at what nodes have */
#define MARKET_GONE_MS                                                        \
    (INT64_C(24) * 3600 * 1000) /* a seller whose nodes take no work has gone \
                                 */

/** Units of a class that a provider has issued: granted and not retired again. */
struct market_issued {
    int64_t count;
    bool dirty; /* not as its document says */
};

/** Units that a job has begun. */
struct market_use {
    char id[SYN_ID_MAX];
    char job[SYN_ID_MAX];
    char account[SYN_ID_MAX];
    char provider[SYN_ID_MAX];
    char class[SYN_MARKET_NAME_MAX + 1];
    int64_t units;
    int64_t run;     /* of the job, */
    int64_t attempt; /* and attempt, for which they were begun */
    int64_t at_ms;
    int64_t until_ms;
    int64_t paid; /* what the account gave for them, base units */
};

struct srv_market {
    struct syn_server *server;
    pthread_mutex_t capacity; /* held while processors are promised: offered, or given to work */
    pthread_mutex_t lock;
    struct syn_exchange *exchange; /* NULL: it could not be read; `why` says why */
    struct syn_err why;
    struct syn_map *issued;  /* "ACCOUNT/CLASS" -> struct market_issued */
    struct syn_map *uses;    /* job -> struct market_use */
    struct syn_debts *debts; /* whose units are whose; NULL: to be read again */
    uint64_t saved;          /* events in the newest snapshot */
    int64_t looked_ms;       /* when nodes were last looked at */
    int64_t tried_ms;        /* when it was last tried to read the exchange again */
    struct syn_watch *timer;
    atomic_bool ticking;
};

/* --- classes and capacity (market_class.c) ---------------------------------------------------- */

/** A class's name in parts. */
struct market_class_name {
    char text[MARKET_TRIPLE_MAX];   /* "gpu/h100/eu-west/hour" */
    char triple[MARKET_TRIPLE_MAX]; /* "gpu/h100/eu-west": which processors */
    char kind[MARKET_WORD_MAX];
    char model[MARKET_WORD_MAX];
    char region[MARKET_WORD_MAX];
    char duration[MARKET_WORD_MAX];
    int64_t duration_ms;
};

/** INVALID says which part is wrong, and what it may be. */
SYN_MUST int srv_market_class_parse(const char *text, struct market_class_name *ret,
                                    struct syn_err *err);
/** Durations by number, from the shortest; NULL behind the last. */
const char *srv_market_duration(size_t index);

/** What nodes have: "TRIPLE" -> how many processors, "PROVIDER/TRIPLE" -> those that it can sell.
 */
struct market_supply {
    struct syn_server *server;
    struct syn_map *counts;
    struct syn_map *there; /* "PROVIDER/TRIPLE": some node of it is heard of, and takes work */
    struct syn_map *taken; /* node -> struct syn_node_view: `used` by work that holds no units */
};
#define MARKET_SUPPLY(name) \
    SYN_SCOPED(srv_market_supply_fini) struct market_supply name = {.counts = NULL}
void srv_market_supply_fini(struct market_supply *supply);
/** Look at all nodes: those that take work. Blocks: disk. Not under the market's lock. */
SYN_MUST int srv_market_supply_read(struct syn_server *server, struct market_supply *supply,
                                    struct syn_err *err);
/** Processors of a provider, or (NULL) of all. */
int64_t srv_market_supply_of(const struct market_supply *supply, const char *provider,
                             const char *triple);
/** The price book's price of one unit of the class, rounded down, and its item. False when the book
 *  has none. */
bool srv_market_list_price(const struct syn_server *server, const struct market_class_name *class,
                           const char **ret_item, int64_t *ret_price);

/** Units of the class that the account has issued. Under the lock. */
int64_t srv_market_issued(const struct srv_market *market, const char *account, const char *class);
/** Of these, and of what jobs have begun: of all durations of these processors. */
int64_t srv_market_committed(const struct srv_market *market, const char *account,
                             const char *triple);

/* --- changes (market_work.c) ------------------------------------------------------------------ */

/** Why an order does not rest any more. */
enum market_why {
    MARKET_WHY_NONE,
    MARKET_WHY_ASKED,
    MARKET_WHY_OWN,
    MARKET_WHY_EXPIRED,
    MARKET_WHY_CAPACITY,
    MARKET_WHY_REST,  /* immediate: dropped what it could not trade */
    MARKET_WHY_WHOLE, /* all or nothing, now: nothing */
    MARKET_WHYS
};

/** What a change did to one order; id 0: to an account, and its capacity of a class, alone. */
struct market_touch {
    uint64_t id;
    int64_t traded;
    int64_t paid;       /* money, both for a buyer and for a seller */
    int64_t lost;       /* units that were taken off it */
    int64_t price, qty; /* of a replaced one, from now on */
    uint32_t account;
    uint32_t class;
    uint8_t why; /* enum market_why */
    bool replaced;
    bool actor; /* the order that the change is about */
};

/** A change under way. */
struct market_work {
    struct syn_server *server;
    struct srv_market *market;
    struct syn_exchange *exchange;
    struct syn_http_req *req; /* whose Idempotency-Key is looked at; NULL: nobody asks */
    struct srv_idem idem;
    int status; /* of the answer */
    struct syn_buf batch;
    size_t begin;
    uint64_t first; /* event of the batch */
    uint32_t count;
    struct market_touch *touches;
    size_t touch_count, touch_cap;
    struct syn_market_event placed; /* the new order, as it was taken */
    enum market_why why;            /* of a cancel */
    uint32_t payer;                 /* who deposited */
    int64_t deposit;
    bool written; /* the batch that did it all is in the log */
    char memo[160];
    json_t *order; /* document of the actor, once it is written */
    /* What else the batch writes, and money that goes with it: units that are begun, or given back.
     */
    int (*also)(struct market_work *work, struct srv_txn *txn, void *arg, struct syn_err *err);
    void *also_arg;
    struct {
        char from[SYN_ID_MAX], to[SYN_ID_MAX];
        int64_t amount;
    } refund;
};

typedef int (*market_attempt_fn)(struct market_work *work, void *arg, struct syn_err *err);

/**
 * Change the market: time first, then what `attempt` does with the calls below, then everybody's
 * free money and capacity out again; all in the log before this returns.
 *
 * Without `req` nobody is answered. An attempt that fails leaves what it applied before, which is
 * only money and capacity that go out again.
 * Owner: *ret_order (may be NULL) is the document of the order that the change was about.
 * Returns 0; SRV_REPLAYED; UNAVAILABLE; the attempt's condition (> 1) or error.
 */
SYN_MUST int srv_market_run(struct syn_server *server, struct syn_http_req *req,
                            market_attempt_fn attempt, void *arg, json_t **ret_order,
                            struct syn_err *err);
/** Apply an event, and note what it did. */
SYN_MUST int srv_market_apply(struct market_work *work, struct syn_market_event *event,
                              struct syn_market_outcome *ret_outcome, struct syn_err *err);
/** The exchange's number of an account or class, which is made when there is none. */
SYN_MUST int srv_market_account(struct market_work *work, const char *name, uint32_t *ret,
                                struct syn_err *err);
SYN_MUST int srv_market_class(struct market_work *work, const char *name, uint32_t *ret,
                              struct syn_err *err);
/** FUNDS, with what is missing, when the account's balance does not cover the amount. */
SYN_MUST int srv_market_afford(struct syn_server *server, const char *account, int64_t amount,
                               struct syn_err *err);
/** Bring money in, of the account's own. FUNDS says what is missing. Of one account a change. */
SYN_MUST int srv_market_deposit(struct market_work *work, uint32_t account, int64_t amount,
                                struct syn_err *err);
/** Issue capacity. */
SYN_MUST int srv_market_grant(struct market_work *work, uint32_t account, uint32_t class,
                              int64_t qty, struct syn_err *err);
/** Write what is left of a change that was cut off. `done` chunks are written. */
SYN_MUST int srv_market_resume(struct market_work *work, size_t done, struct syn_err *err);
/** Have an account's capacity of a class looked at, and written down. */
SYN_MUST int srv_market_look_at(struct market_work *work, uint32_t account, uint32_t class,
                                struct syn_err *err);
/** Units that a provider issued, changed by so many; what somebody else holds changed likewise. */
SYN_MUST int srv_market_reissue(struct market_work *work, uint32_t provider, uint32_t class,
                                int64_t units, struct syn_err *err);
void srv_market_work_init(struct market_work *work, struct srv_market *market);
void srv_market_work_fini(struct market_work *work);
/** Note what an event did, without applying it: for reading a log. */
SYN_MUST int srv_market_note(struct market_work *work, const struct syn_market_event *event,
                             const struct syn_market_outcome *outcome, struct syn_err *err);

/* --- orders as documents (market_doc.c) ------------------------------------------------------- */

#define MARKET_ORDER_ID_MAX 32
/** "order-0000000042" into out[MARKET_ORDER_ID_MAX]. */
const char *srv_market_order_id(uint64_t id, char *out);
/** The number that "order-0000000042", or "42", means. NOTFOUND. */
SYN_MUST int srv_market_order_number(const char *text, uint64_t *ret, struct syn_err *err);
/** The document of an order after this touch. */
SYN_MUST int srv_market_doc(struct market_work *work, const struct market_touch *touch,
                            json_t **ret_doc, struct syn_err *err);
const char *srv_market_type_name(unsigned kind);
/** -1 for other words. */
int srv_market_type_find(const char *name);
int srv_market_stp_find(const char *name);

/* --- units in use (market_use.c) -------------------------------------------------------------- */

/** Read what is in use from its documents, under the lock. */
SYN_MUST int srv_market_uses_read(struct srv_market *market, struct syn_err *err);
/** What was bought, and at what cost, or sold again: by the traces of a chunk. */
SYN_MUST int srv_market_put_paid(struct market_work *work, struct srv_txn *txn,
                                 const struct market_touch *touches, const json_t *docs,
                                 size_t count, struct syn_err *err);
/** Units of the class that the provider has sold and nobody has begun. Under the lock. */
int64_t srv_market_owed(const struct srv_market *market, const char *provider, const char *class);
/** Units of the class that the account's jobs use. Under the lock. */
int64_t srv_market_in_use(const struct srv_market *market, const char *account, const char *class);
/** End what is over and was not ended, because a server died between two steps. */
SYN_MUST int srv_market_uses_sweep(struct syn_server *server, struct syn_err *err);

/** What an account gave for units of a class that it holds. */
struct market_paid {
    int64_t units;
    int64_t amount;
};
SYN_MUST int srv_market_paid_load(struct syn_server *server, const char *account, const char *class,
                                  struct market_paid *ret, struct syn_err *err);
SYN_MUST int srv_market_paid_put(struct srv_txn *txn, const char *account, const char *class,
                                 const struct market_paid *paid, struct syn_err *err);
/** So many of them go, each at what they cost on the average. Returns what these did. */
int64_t srv_market_paid_take(struct market_paid *paid, int64_t units);

/* --- whose units are whose (market_debt.c) ---------------------------------------------------- */

/** Read it from its documents, and bring it to what the exchange and the issued units say. Under
 *  the lock. */
SYN_MUST int srv_market_debts_read(struct srv_market *market, const struct syn_exchange *exchange,
                                   struct syn_err *err);
/** What a change did to it, by its touches. Under the lock. */
void srv_market_debts_note(struct market_work *work);
/** Write down what is not written yet. */
SYN_MUST int srv_market_debts_write(struct syn_server *server, struct syn_err *err);
/** [{provider, units, gone_since}] of the account's units of the class. Under the lock. */
SYN_MUST int srv_market_sellers(struct syn_server *server, uint32_t account, uint32_t class,
                                json_t **ret, struct syn_err *err);
/** Note whose nodes take no work, and pay back what they owe when that has been so for a day. */
SYN_MUST int srv_market_gone(struct syn_server *server, const struct market_supply *supply,
                             struct syn_err *err);

/* --- keeping (market.c) ----------------------------------------------------------------------- */

/** Lock, and see that there is an exchange. UNAVAILABLE (not locked then). */
SYN_MUST int srv_market_enter(struct srv_market *market, struct syn_err *err);
void srv_market_leave(struct srv_market *market);
/** Read the exchange again from snapshot and log, under the lock: what was applied and not logged
 *  is forgotten. */
void srv_market_reread(struct srv_market *market);
/** One round of the timer, here and now. */
SYN_MUST int srv_market_tick(struct syn_server *server, struct syn_err *err);
/** Write a snapshot and cut the log. */
SYN_MUST int srv_market_save(struct syn_server *server, struct syn_err *err);
/** Cancel what providers' nodes do not have any more. */
SYN_MUST int srv_market_fit(struct syn_server *server, struct syn_err *err);

#endif
