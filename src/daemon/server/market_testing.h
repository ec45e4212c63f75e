/* What tests of the spot market share: a house with a provider and two tenants, orders in a line,
 * and everything that must always hold. Whatever goes wrong here fails the test. */
#ifndef SYN_MARKET_TESTING_H
#define SYN_MARKET_TESTING_H

#include "market_priv.h"
#include "server_testing.h"

#define CLASS "cpu/x86-avx2/fair/hour"
#define MILLI (SYN_SYNOR / 1000)

/** A house with a provider, "prov", of 640 cores in the region "fair", and two tenants of 100 SYNOR
 *  each. */
struct fair {
    struct house *house;
    struct joiner prov;
    struct syn_client *seller, *ann, *bob;
};

/** Each test has a house of its own, with nothing in it. */
int fresh_house(void **state);
int end_house(void **state);

void fair_open(struct fair *fair, struct house *house);
void fair_close(struct fair *fair);
/** Clients of the three, whose accounts are there: after a restart, or for another thread. */
void be_all(struct fair *fair);
void be_none(struct fair *fair);

/** Money and capacity, counted in every way that there is; documents, held against the book. */
void check_market(struct house *house);
/** Of the exchange's bytes: the same events, the same sum. */
uint64_t sum_of(struct house *house);

/** Place a limit order, or what `more` makes of it. Its id into out[MARKET_ORDER_ID_MAX] (may be
 *  NULL). Returns the code. */
int place(struct syn_client *client, const char *side, int64_t qty, const char *price,
          const char *more, char *out);
void cancel_orders(struct syn_client *client);
/** Of the client's last error. */
const char *message_of(struct syn_client *client);
/** "STATE REASON TRADED LEFT PAID" */
void expect_order(struct syn_client *client, const char *id, const char *want);
/** "FREE HELD ISSUED SOLD" of the class; "" when there is nothing of it. */
void expect_holding(struct syn_client *client, const char *want);

#endif
