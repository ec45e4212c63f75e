/* What follows from the money of a workload that runs on: another period, more in the escrow, or
 * the end. */
#ifndef SYN_WORKLOAD_MONEY_PRIV_H
#define SYN_WORKLOAD_MONEY_PRIV_H

#include <synor/base/json.h>
#include <synor/base/world.h>

/* What is known of it. Borrowed for the call. */
struct money_view {
    const json_t *doc; /* whose it is */
    struct {
        int64_t number;          /* of the billing period; 0: the first */
        int64_t since_ms;        /* 0: since it was made */
        int64_t window_since_ms; /* since when the budget is spent from; likewise */
        int64_t window_spent;    /* billed of it */
    } period;
    int64_t spent;     /* metered so far in this period, base units */
    int64_t rate_hour; /* what it costs an hour now */
    int64_t reserve;   /* what is to be in the escrow */
    int64_t escrow;    /* locked for this period */
    int64_t balance;   /* what the account has besides */
    int64_t billing_ms;
    int64_t max_budget; /* of a window; 0: none */
    bool full;          /* the period's bill can take no more */
    int64_t now_ms;
};

/* What follows. */
struct money {
    int64_t lock;                       /* into the escrow; of the next period when it renews */
    bool renew;                         /* the period is billed now */
    bool new_window;                    /* with it the budget is whole again */
    bool low;                           /* the account cannot pay for the next period */
    const char *stop;                   /* why it cannot go on: "funds", "budget"; or NULL */
    int64_t number, since_ms, until_ms; /* of the period that it is in then */
    char bill_id[SYN_ID_MAX];           /* when it renews */
};

void money_decide(const struct money_view *view, struct money *ret);
/* Put it into our copy of the status, and what is to be told into the events. */
SYN_MUST int money_note(const struct money_view *view, const struct money *money, json_t *status,
                        json_t *events, struct syn_err *err);

#endif
