#include <synor/chain/ledger.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

/* What is kept of a posted transaction: enough to know a repetition from a clash of ids. */
struct posted {
    int64_t seq;
    enum syn_ledger_kind kind;
    char ref[SYN_LEDGER_REF_MAX];
    char memo[SYN_LEDGER_MEMO_MAX];
    size_t count;
    struct syn_ledger_entry entries[];
};

struct syn_ledger {
    struct syn_map *accounts; /* name -> struct syn_ledger_account */
    struct syn_map *posted;   /* transaction id -> struct posted */
};

static bool
is_escrow(const char *name)
{
    return syn_str_starts(name, SYN_LEDGER_ESCROW_PREFIX);
}

static bool
is_mint(const char *name)
{
    return syn_str_eq(name, SYN_LEDGER_MINT);
}

int
syn_ledger_new(struct syn_ledger **ret_book, struct syn_err *err)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = syn_calloc(1, sizeof(*book));
    int rc;

    if (!book)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a ledger book");
    rc = syn_map_new(syn_free, &book->accounts, err);
    if (rc == 0)
        rc = syn_map_new(syn_free, &book->posted, err);
    if (rc < 0)
        return rc;
    *ret_book = SYN_TAKE(book);
    return SYN_OK;
}

struct syn_ledger *
syn_ledger_free(struct syn_ledger *book)
{
    if (!book)
        return NULL;
    syn_map_free(book->accounts);
    syn_map_free(book->posted);
    syn_free(book);
    return NULL;
}

void
syn_ledger_free_scope(struct syn_ledger **slot)
{
    *slot = syn_ledger_free(*slot);
}

/* ---- accounts ---- */

int
syn_ledger_account_check(const struct syn_ledger_account *account, struct syn_err *err)
{
    int64_t low = is_mint(account->name) ? -SYN_AMOUNT_MAX : 0;
    int64_t high = is_mint(account->name) ? 0 : SYN_AMOUNT_MAX;
    char text[SYN_FORMAT_MAX];

    if (!syn_ledger_account_ok(account->name))
        return SYN_FAIL(err, SYN_E_INVALID, "'%.80s' is not an account name", account->name);
    if (account->balance < low || account->balance > high)
        return SYN_FAIL(err, SYN_E_INVALID, "account %s: a balance of %s cannot be", account->name,
                        syn_format_amount(account->balance, text));
    if (account->seq < 0 || (account->seq == 0 && account->balance != 0))
        return SYN_FAIL(err, SYN_E_INVALID, "account %s: seq %lld does not explain its balance",
                        account->name, (long long)account->seq);
    if (account->closed && (!is_escrow(account->name) || account->balance != 0))
        return SYN_FAIL(err, SYN_E_INVALID, "account %s: only an emptied escrow can be closed",
                        account->name);
    return SYN_OK;
}

int
syn_ledger_load(struct syn_ledger *book, const struct syn_ledger_account *account,
                struct syn_err *err)
{
    struct syn_ledger_account *copy;
    int rc = syn_ledger_account_check(account, err);

    if (rc < 0)
        return rc;
    if (syn_map_find(book->accounts, account->name))
        return SYN_FAIL(err, SYN_E_EXISTS, "account %s is in the book already", account->name);
    if (syn_map_count(book->accounts) >= SYN_LEDGER_BOOK_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the book is full: %zu accounts", SYN_LEDGER_BOOK_MAX);
    copy = syn_alloc(sizeof(*copy));
    if (!copy)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for account %s", account->name);
    *copy = *account;
    return syn_map_put_take(book->accounts, account->name, copy, err);
}

const struct syn_ledger_account *
syn_ledger_find(const struct syn_ledger *book, const char *name)
{
    return syn_map_find(book->accounts, name);
}

const struct syn_ledger_account *
syn_ledger_next(const struct syn_ledger *book, size_t *cursor)
{
    const char *name;
    void *account;

    return syn_map_next(book->accounts, cursor, &name, &account) ? account : NULL;
}

syn_i128
syn_ledger_sum(const struct syn_ledger *book)
{
    const struct syn_ledger_account *account;
    syn_i128 sum = 0;
    size_t cursor = 0;

    while ((account = syn_ledger_next(book, &cursor)) != NULL)
        sum += account->balance;
    return sum;
}

/* ---- repetition ---- */

static bool
same_as_posted(const struct posted *old, const struct syn_ledger_tx *tx)
{
    struct syn_ledger_tx before = {.kind = old->kind, .count = old->count};

    memcpy(before.ref, old->ref, sizeof(before.ref));
    memcpy(before.memo, old->memo, sizeof(before.memo));
    memcpy(before.entries, old->entries, old->count * sizeof(old->entries[0]));
    return syn_ledger_tx_same(&before, tx);
}

/* 0: never seen; SYN_LEDGER_ALREADY: seen with this content; CONFLICT: with other content. */
static int
check_repetition(const struct syn_ledger *book, const struct syn_ledger_tx *tx, int64_t *ret_seq,
                 struct syn_err *err)
{
    const struct posted *old = syn_map_find(book->posted, tx->id);

    if (!old)
        return SYN_OK;
    if (!same_as_posted(old, tx))
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "transaction %s was posted before with other content; use a new id",
                        tx->id);
    *ret_seq = old->seq;
    return SYN_LEDGER_ALREADY;
}

static int
remember(struct syn_ledger *book, const struct syn_ledger_tx *tx, struct syn_err *err)
{
    struct posted *posted;

    if (syn_map_count(book->posted) >= SYN_LEDGER_BOOK_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the book is full: %zu transactions",
                        SYN_LEDGER_BOOK_MAX);
    posted = syn_calloc(1, sizeof(*posted) + tx->count * sizeof(tx->entries[0]));
    if (!posted)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for transaction %s", tx->id);
    posted->seq = tx->seq;
    posted->kind = tx->kind;
    posted->count = tx->count;
    memcpy(posted->ref, tx->ref, sizeof(posted->ref));
    memcpy(posted->memo, tx->memo, sizeof(posted->memo));
    memcpy(posted->entries, tx->entries, tx->count * sizeof(tx->entries[0]));
    return syn_map_put_take(book->posted, tx->id, posted, err);
}

int
syn_ledger_load_tx(struct syn_ledger *book, const struct syn_ledger_tx *tx, struct syn_err *err)
{
    int64_t seq;
    int rc = syn_ledger_tx_check(tx, err);

    if (rc == 0)
        rc = check_repetition(book, tx, &seq, err);
    if (rc == SYN_LEDGER_ALREADY)
        return SYN_OK;
    return rc < 0 ? rc : remember(book, tx, err);
}

/* ---- posting ---- */

static int
check_release(const struct syn_ledger_tx *tx, const struct syn_ledger_account *before,
              int64_t after, struct syn_err *err)
{
    char holds[SYN_FORMAT_MAX], takes[SYN_FORMAT_MAX];

    if (after == 0)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_CONFLICT,
                    "transaction %s: %s holds %s and must be released whole, not by %s", tx->id,
                    before->name, syn_format_amount(before->balance, holds),
                    syn_format_amount(before->balance - after, takes));
}

static int
check_balance(const struct syn_ledger_tx *tx, const struct syn_ledger_account *before,
              int64_t after, struct syn_err *err)
{
    char has[SYN_FORMAT_MAX], takes[SYN_FORMAT_MAX];

    if (after < 0 && !is_mint(before->name))
        return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR, %s is needed", before->name,
                        syn_format_amount(before->balance, has),
                        syn_format_amount(before->balance - after, takes));
    if (after > SYN_AMOUNT_MAX || after < -SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "transaction %s: %s would pass the largest amount",
                        tx->id, before->name);
    return SYN_OK;
}

/* The account as `entry` leaves it, or why it may not. */
static int
plan_entry(const struct syn_ledger *book, const struct syn_ledger_tx *tx,
           const struct syn_ledger_entry *entry, struct syn_ledger_account *ret_after,
           struct syn_err *err)
{
    const struct syn_ledger_account *before = syn_ledger_find(book, entry->account);
    bool release = is_escrow(entry->account) && entry->amount < 0;
    int64_t balance;
    int rc;

    if (!before)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "transaction %s: account %s is not in the book",
                        tx->id, entry->account);
    if (before->closed)
        return SYN_FAIL(err, SYN_E_CONFLICT, "transaction %s: %s was already released", tx->id,
                        before->name);
    if (tx->seq <= before->seq)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "transaction %s: seq %lld is stale, %s is at %lld; take a new one", tx->id,
                        (long long)tx->seq, before->name, (long long)before->seq);
    balance = before->balance + entry->amount; /* both within SYN_AMOUNT_MAX: no overflow */
    rc =
        release ? check_release(tx, before, balance, err) : check_balance(tx, before, balance, err);
    if (rc < 0)
        return rc;
    *ret_after = *before;
    ret_after->balance = balance;
    ret_after->seq = tx->seq;
    ret_after->closed = release;
    return SYN_OK;
}

int
syn_ledger_post(struct syn_ledger *book, const struct syn_ledger_tx *tx,
                struct syn_ledger_receipt *ret_receipt, struct syn_err *err)
{
    struct syn_ledger_receipt receipt = {.seq = tx->seq};
    int rc = syn_ledger_tx_check(tx, err);

    static_assert(SYN_AMOUNT_MAX <= INT64_MAX - SYN_AMOUNT_MAX, "a balance and an entry add up");
    if (rc == 0)
        rc = check_repetition(book, tx, &receipt.seq, err);
    if (rc != 0) {
        if (rc == SYN_LEDGER_ALREADY)
            *ret_receipt = receipt;
        return rc;
    }
    for (size_t i = 0; i < tx->count; i++) {
        rc = plan_entry(book, tx, &tx->entries[i], &receipt.accounts[i], err);
        if (rc < 0)
            return rc;
    }
    rc = remember(book, tx, err);
    if (rc < 0)
        return rc;
    /* Nothing fails from here on. */
    for (size_t i = 0; i < tx->count; i++) {
        struct syn_ledger_account *account = syn_map_find(book->accounts, tx->entries[i].account);

        assert(account != NULL);
        *account = receipt.accounts[i];
    }
    receipt.count = tx->count;
    *ret_receipt = receipt;
    return SYN_OK;
}
