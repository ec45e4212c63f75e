/* Who owes whom: of which sellers the units are that an account holds.
 *
 * Units of a class are alike, and the exchange does not tell them apart. But a seller may leave,
 * and then it must be known whose units are worth nothing. So beside the exchange there is a list
 * of *debts*: so many of this holder's units are owed by that seller. It follows from nothing but
 * how many units each account owes (has issued and not got back) or holds, told after every change:
 *
 *     account   owes(+) / holds(-)            debts                 (oldest first)
 *     seller        +8                        ann    seller   5
 *     ann           -5                        bob    seller   3
 *     bob           -3
 *
 *   - A unit keeps its seller while its holder keeps it, and when it is sold again.
 *   - Who has fewer gives those first whose seller owes fewer now, then the oldest.
 *   - When a seller owes fewer and no holder gave up units of its, the oldest debts change their
 *     seller for one that owes more: whose unit somebody began, or bought back, is taken over.
 *
 * Sums are always right: each seller's debts are what it owes, each holder's what it holds. What is
 * told in part (a seller owes more, and nobody holds it yet) waits until the rest is told, too.
 *
 * Accounts and classes are small numbers, those of an exchange. Pure; one thread at a time. */
#ifndef SYNOR_MARKET_DEBTS_H
#define SYNOR_MARKET_DEBTS_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_DEBTS_ACCOUNTS_MAX ((uint32_t)1 << 24)
#define SYN_DEBTS_CLASSES_MAX  ((uint32_t)1 << 16)

struct syn_debts;

/** So many of the holder's units are owed by the seller. */
struct syn_debt {
    uint32_t holder, seller;
    int64_t units; /* > 0 */
    int64_t age;   /* >= 0; less is older */
};

SYN_MUST int syn_debts_new(struct syn_debts **ret, struct syn_err *err);
struct syn_debts *syn_debts_free(struct syn_debts *debts);
void syn_debts_free_scope(struct syn_debts **slot);

/** Put back debts as they were written down, those of a class with the oldest first, before
 * anything is told. LIMIT for a number out of range, INVALID for what no debt can be, NOMEM. */
SYN_MUST int syn_debts_restore(struct syn_debts *debts, uint32_t class, const struct syn_debt *debt,
                               struct syn_err *err);
/** The account owes so many units of the class now (> 0), or holds so many (< 0), or neither. Debts
 *  change with syn_debts_settle(). LIMIT, NOMEM. */
SYN_MUST int syn_debts_tell(struct syn_debts *debts, uint32_t class, uint32_t account, int64_t net,
                            struct syn_err *err);
/** Bring the class's debts to what was told. NOMEM: in part; the next call goes on. */
SYN_MUST int syn_debts_settle(struct syn_debts *debts, uint32_t class, struct syn_err *err);

/** Walk the debts of a class, oldest first; start with *cursor = 0. False behind the last. */
bool syn_debts_next(const struct syn_debts *debts, uint32_t class, size_t *cursor,
                    struct syn_debt *ret);
/** A holder whose debts are not as they were last written down; it counts as written from now on.
 *  False when there is none. */
bool syn_debts_changed(struct syn_debts *debts, uint32_t *ret_class, uint32_t *ret_holder);
/** It was not written after all. */
void syn_debts_change(struct syn_debts *debts, uint32_t class, uint32_t holder);

#endif
