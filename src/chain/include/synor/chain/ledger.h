/* A double-entry ledger: transactions as values, and books that apply them.
 *
 * A transaction moves base units between accounts; its entries sum to zero, so the sum of all
 * accounts is zero for ever. `system:mint` is the one account that may be negative: the supply is
 * its balance with the sign turned. `escrow:<ref>` holds a tenant's money for one job: funded by
 * `escrow` transactions and emptied exactly once, by `settle` or `refund`, which also close it.
 * Everybody else, `system:protocol` included, is never below zero. `system:market` holds what
 * stands in the orders of the spot market, all tenants' together, and moves it by transfers.
 *
 *     documents (store)          book (memory)                documents (store)
 *     account a, rev 7  --load-->  a 100                      a 60   if rev 7  \  one store
 *     account b, rev 3  --load-->  b   5  --post(tx)-->       b 45   if rev 3   > transaction
 *     tx T absent       ---------  T ?                        T      if absent /
 *
 * A book holds any part of the world: only the accounts that were loaded exist in it. An account
 * that a transaction names but nobody loaded is an error, never a zero, so a forgotten read cannot
 * wipe out a balance. A new account is loaded with balance 0 and seq 0.
 *
 * What orders transactions stands outside: today the server's store, later the chain. Both hand the
 * same transaction documents to the same syn_ledger_post(), which is the state transition.
 *
 * Pure. Thread: one book, one thread at a time. Blocks: never. */
#ifndef SYNOR_CHAIN_LEDGER_H
#define SYNOR_CHAIN_LEDGER_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/base/units.h>

#define SYN_LEDGER_ENTRIES_MAX 256
#define SYN_LEDGER_MEMO_MAX    256 /* bytes, terminator included; so are the next three */
#define SYN_LEDGER_ID_MAX      96
#define SYN_LEDGER_REF_MAX     64
#define SYN_LEDGER_ACCOUNT_MAX 80
#define SYN_LEDGER_SLICES_MAX  768               /* payees of one settlement; of 250 accounts */
#define SYN_LEDGER_BOOK_MAX    ((size_t)1 << 24) /* accounts, and transactions, in one book */

#define SYN_LEDGER_MINT          "system:mint"
#define SYN_LEDGER_PROTOCOL      "system:protocol"
#define SYN_LEDGER_MARKET        "system:market"
#define SYN_LEDGER_ESCROW_PREFIX "escrow:"

enum syn_ledger_kind {
    SYN_LEDGER_KIND_MINT,     /* mint < 0; others > 0 */
    SYN_LEDGER_KIND_TRANSFER, /* neither mint nor escrow */
    SYN_LEDGER_KIND_ESCROW,   /* escrow:<ref> > 0; others < 0 */
    SYN_LEDGER_KIND_SETTLE,   /* escrow:<ref> < 0 to exactly zero, closed; others > 0 */
    SYN_LEDGER_KIND_REFUND,   /* the same, to one account only */
};

struct syn_ledger_entry {
    char account[SYN_LEDGER_ACCOUNT_MAX];
    int64_t amount; /* never 0 */
};

/** A transaction: a plain value, valid when syn_ledger_tx_check() says so. */
struct syn_ledger_tx {
    char id[SYN_LEDGER_ID_MAX]; /* [A-Za-z0-9._:-]+, unique for ever: the idempotency key */
    int64_t seq;                /* >= 1; above that of every earlier one on the same accounts */
    enum syn_ledger_kind kind;
    char ref[SYN_LEDGER_REF_MAX]; /* what it is about ("train-x"), or ""; names the escrow */
    char memo[SYN_LEDGER_MEMO_MAX];
    int64_t at_ms; /* Unix time */
    size_t count;
    struct syn_ledger_entry entries[SYN_LEDGER_ENTRIES_MAX]; /* one an account */
};

/** An account's document. */
struct syn_ledger_account {
    char name[SYN_LEDGER_ACCOUNT_MAX];
    int64_t balance;
    int64_t seq; /* of the last transaction that changed it; 0 before the first */
    bool closed; /* an escrow that was released */
};

/** What a posted transaction changed: the account documents to write. */
struct syn_ledger_receipt {
    int64_t seq; /* the transaction's; for SYN_LEDGER_ALREADY that of the first post */
    size_t count;
    struct syn_ledger_account accounts[SYN_LEDGER_ENTRIES_MAX];
};

enum {
    SYN_LEDGER_ALREADY = 1, /* this id was posted before with the same content: nothing changed */
};

struct syn_ledger;

/* ---- names ---- */

/** "mint", "transfer", ... */
const char *syn_ledger_kind_name(enum syn_ledger_kind kind);
/** Plain accounts are [a-z0-9][a-z0-9._-]*, at most 63 bytes; then the reserved names above. */
bool syn_ledger_account_ok(const char *name);
/** True for names with a colon: nobody may open these by hand. */
bool syn_ledger_account_reserved(const char *name);
/** "escrow:" + ref into out[SYN_LEDGER_ACCOUNT_MAX]. INVALID when `ref` is not a plain name. */
SYN_MUST int syn_ledger_escrow_name(const char *ref, char *out, struct syn_err *err);

/* ---- books ---- */

SYN_MUST int syn_ledger_new(struct syn_ledger **ret_book, struct syn_err *err);
struct syn_ledger *syn_ledger_free(struct syn_ledger *book);
void syn_ledger_free_scope(struct syn_ledger **slot);

/** Put an account into the book as its document says. EXISTS when it is there; INVALID when the
 *  document breaks a rule (negative, closed with money in it); LIMIT; NOMEM. */
SYN_MUST int syn_ledger_load(struct syn_ledger *book, const struct syn_ledger_account *account,
                             struct syn_err *err);
/** Tell the book that `tx` was posted before, so that posting it again gives SYN_LEDGER_ALREADY. */
SYN_MUST int syn_ledger_load_tx(struct syn_ledger *book, const struct syn_ledger_tx *tx,
                                struct syn_err *err);
/** The account, or NULL when it was not loaded. Borrowed until the next post or free. */
const struct syn_ledger_account *syn_ledger_find(const struct syn_ledger *book, const char *name);
/** Walk all accounts in the order they were loaded: start with *cursor = 0; NULL at the end. */
const struct syn_ledger_account *syn_ledger_next(const struct syn_ledger *book, size_t *cursor);
/** Sum of all balances in the book: 0 when it holds the whole world. */
syn_i128 syn_ledger_sum(const struct syn_ledger *book);

/**
 * Apply `tx` as a whole or not at all.
 *
 * Returns 0; SYN_LEDGER_ALREADY (receipt without accounts); INVALID (malformed); NOTFOUND (an
 * account was not loaded); FUNDS (a balance would fall below zero); LIMIT (a balance would pass
 * SYN_AMOUNT_MAX); CONFLICT (id used with other content, stale seq, escrow already released or not
 * emptied); NOMEM.
 */
SYN_MUST int syn_ledger_post(struct syn_ledger *book, const struct syn_ledger_tx *tx,
                             struct syn_ledger_receipt *ret_receipt, struct syn_err *err);

/* ---- transactions ---- */

/** All rules that need no balances. INVALID names the entry and the rule. */
SYN_MUST int syn_ledger_tx_check(const struct syn_ledger_tx *tx, struct syn_err *err);
/** Same effect: kind, ref, memo and entries agree. seq and at_ms may differ: a retry is numbered
 *  anew. */
bool syn_ledger_tx_same(const struct syn_ledger_tx *a, const struct syn_ledger_tx *b);

/* Documents: amounts are decimal text in SYNOR, times RFC 3339 text. Decoders are strict (unknown
 * keys, types, ranges, rules above). Encoders of valid values fail only with NOMEM. */
SYN_MUST int syn_ledger_tx_encode(const struct syn_ledger_tx *tx, json_t **ret,
                                  struct syn_err *err);
SYN_MUST int syn_ledger_tx_decode(const json_t *doc, struct syn_ledger_tx *ret_tx,
                                  struct syn_err *err);
/** The rules of one account document by itself. INVALID. */
SYN_MUST int syn_ledger_account_check(const struct syn_ledger_account *account,
                                      struct syn_err *err);
SYN_MUST int syn_ledger_account_encode(const struct syn_ledger_account *account, json_t **ret,
                                       struct syn_err *err);
SYN_MUST int syn_ledger_account_decode(const json_t *doc, struct syn_ledger_account *ret_account,
                                       struct syn_err *err);

/* ---- builders: each gives a transaction that passes syn_ledger_tx_check() ---- */

/** What every transaction carries. `ref` and `memo` may be NULL. */
struct syn_ledger_head {
    const char *id;
    int64_t seq;
    int64_t at_ms;
    const char *ref;
    const char *memo;
};

/** One payee of a settlement. The provider gets floor(charge * provider_bps / 10000), the protocol
 *  the rest of the charge. */
struct syn_ledger_slice {
    const char *provider;
    int64_t charge;
    int64_t provider_bps; /* 0 .. 10000 */
};

struct syn_ledger_settlement {
    int64_t escrow;     /* the escrow's whole balance, > 0 */
    const char *tenant; /* gets what no slice takes */
    const struct syn_ledger_slice *slices;
    size_t count; /* 0: all goes back */
};

SYN_MUST int syn_ledger_build_mint(const struct syn_ledger_head *head, const char *to,
                                   int64_t amount, struct syn_ledger_tx *ret_tx,
                                   struct syn_err *err);
SYN_MUST int syn_ledger_build_transfer(const struct syn_ledger_head *head, const char *from,
                                       const char *to, int64_t amount, struct syn_ledger_tx *ret_tx,
                                       struct syn_err *err);
/** From `tenant` into escrow:<head->ref>. Again with the same ref: adds to it. */
/** One transfer among several: entries that sum to zero; those of one account are added up, and
 * what comes to nothing is left out. INVALID when nothing is left. */
SYN_MUST int syn_ledger_build_transfers(const struct syn_ledger_head *head,
                                        const struct syn_ledger_entry *entries, size_t count,
                                        struct syn_ledger_tx *ret_tx, struct syn_err *err);
SYN_MUST int syn_ledger_build_escrow(const struct syn_ledger_head *head, const char *tenant,
                                     int64_t amount, struct syn_ledger_tx *ret_tx,
                                     struct syn_err *err);
/** Empty escrow:<head->ref>. FUNDS when the charges exceed it. Conserves exactly; accounts that
 *  coincide (a tenant on their own node) share one entry. */
SYN_MUST int syn_ledger_build_settle(const struct syn_ledger_head *head,
                                     const struct syn_ledger_settlement *settlement,
                                     struct syn_ledger_tx *ret_tx, struct syn_err *err);
/** The whole of escrow:<head->ref>, `escrow` base units, back to `tenant`. */
SYN_MUST int syn_ledger_build_refund(const struct syn_ledger_head *head, const char *tenant,
                                     int64_t escrow, struct syn_ledger_tx *ret_tx,
                                     struct syn_err *err);

/* ---- audit ---- */

/* Replays a history from nothing and holds the account documents against it. Feed every transaction
 * in seq order, then every account document, then finish. Findings are data, not errors:
 * [{"what", "where", "message"}]; `what` is one of transaction-refused, transaction-repeated,
 * sequence, balance, account-unknown, account-repeated, account-missing, sum. */
#define SYN_LEDGER_FINDINGS_MAX 1000

struct syn_ledger_audit;

SYN_MUST int syn_ledger_audit_new(struct syn_ledger_audit **ret_audit, struct syn_err *err);
struct syn_ledger_audit *syn_ledger_audit_free(struct syn_ledger_audit *audit);
void syn_ledger_audit_free_scope(struct syn_ledger_audit **slot);
SYN_MUST int syn_ledger_audit_tx(struct syn_ledger_audit *audit, const struct syn_ledger_tx *tx,
                                 struct syn_err *err);
SYN_MUST int syn_ledger_audit_account(struct syn_ledger_audit *audit,
                                      const struct syn_ledger_account *account,
                                      struct syn_err *err);
/** Close the books: what is missing, whether the documents sum to zero. *ret_findings is the
 *  caller's; an empty array means that everything agrees. */
SYN_MUST int syn_ledger_audit_finish(struct syn_ledger_audit *audit, json_t **ret_findings,
                                     struct syn_err *err);

#endif
