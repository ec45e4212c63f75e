/* What bills are made of: the periods of a run, and what was counted in one. */
#ifndef SYN_SERVER_BILLS_PRIV_H
#define SYN_SERVER_BILLS_PRIV_H

#include <synor/market/invoice.h>

#include "server_priv.h"

/** What the instance was leased for; false in *ret_is when that was before there were leases. */
SYN_MUST int srv_lease_of(const json_t *instance, struct syn_lease *ret, bool *ret_is,
                          struct syn_err *err);
/** Who provides the node that an instance ran on, into out[SYN_ID_MAX]. */
SYN_MUST int srv_provider_of(struct syn_server *server, const json_t *instance, char *out,
                             struct syn_err *err);
/** The period that a run is in. */
struct srv_period {
    char key[SRV_KEY_MAX];        /* of its document */
    int64_t revision;             /* 0: there is none yet */
    char ref[SYN_LEDGER_REF_MAX]; /* of its escrow */
    int64_t number;               /* from 1 */
    int64_t since_ms;             /* 0: the run began before there were periods */
    int64_t window_since_ms;      /* since when the budget is spent from, and how much was */
    int64_t window_spent;         /* in the periods before this one */
    struct syn_invoice_rest carried;
    json_t *doc; /* with {instance: meter} as "after", and {item: ms} as "network" */
};
void srv_period_fini(struct srv_period *period);
/** Into *ret, which the caller finishes on success. */
SYN_MUST int srv_period_load(struct syn_server *server, const char *job, int64_t run,
                             struct srv_period *ret, struct syn_err *err);
/** Write down that the run's first period begins. */
SYN_MUST int srv_period_begin(struct syn_server *server, struct srv_txn *txn, const char *job,
                              int64_t run, struct syn_err *err);
/** The instance's meter as it was when the period began. */
SYN_MUST int srv_period_after(const struct srv_period *period, const char *instance,
                              struct syn_meter *ret, struct syn_err *err);
/** {instance: number of the last sample that is billed}. Owner: *ret is the caller's. */
SYN_MUST int srv_period_billed(const struct srv_period *period, json_t **ret, struct syn_err *err);
/** The escrow of the period after it, into out[SYN_LEDGER_REF_MAX]. */
void srv_period_next_ref(const struct srv_period *period, const char *job, int64_t run, char *out);

#define SRV_OWN_MAX 64 /* providers of what the server counts by itself */

/** What the server counted by itself of what one provider did. */
struct srv_own {
    char provider[SYN_ID_MAX];
    struct syn_usage_sum sum;
};

/** All that was counted in a period. Everything belongs to it. */
struct srv_counted {
    struct syn_invoice_usage *rows; /* of meters, then of `own_rows` */
    struct syn_invoice_span *spans;
    size_t count, span_count;
    struct syn_meter *meters; /* as they are now */
    struct syn_usage_sum *sums;
    char (*providers)[SYN_ID_MAX];
    struct syn_lease *leases;
    size_t meter_count;
    struct srv_own *own_rows; /* of what the server counts by itself */
    json_t *own;              /* the counts as they are now */
};

/** What the next period begins with. */
struct srv_period_turn {
    const char *ref;
    const struct syn_invoice *invoice; /* of the one that ends */
    const struct srv_counted *counted;
    int64_t now_ms;
    bool new_window;
};
SYN_MUST int srv_period_turn(struct srv_txn *txn, const struct srv_period *period,
                             const struct srv_period_turn *turn, struct syn_err *err);

/* What the server counts by itself of a job: of a service its network, {item: ms that it has been
 * on, in all}; of a volume, {size: ms that it has been so large}; of a function, {provider: what
 * its calls used there}. */

/** Is that the id of a volume, or a function? */
bool srv_is_volume(const char *job);
bool srv_is_function(const char *job);
/** What such counts are called in a bill. */
const char *srv_count_key(const char *job);
/** As it is now. Owner: *ret is the caller's. */
SYN_MUST int srv_count_read(struct syn_server *server, const char *job, int64_t now_ms,
                            json_t **ret, struct syn_err *err);
/** What came to it between the two, by who is paid for it: at most SRV_OWN_MAX rows, *ret_count of
 * them, in *ret, which is the caller's to syn_free(). */
SYN_MUST int srv_count_usage(struct syn_server *server, const char *job, const json_t *before,
                             const json_t *now, struct srv_own **ret, size_t *ret_count,
                             struct syn_err *err);
/** Nothing is counted any more: the run is over, the volume gone. */
SYN_MUST int srv_count_end(struct syn_server *server, struct srv_txn *txn, const char *job,
                           int64_t now_ms, struct syn_err *err);

#endif
