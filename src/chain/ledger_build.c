/* Builders: the everyday transactions. */
#include <synor/chain/ledger.h>

#include <synor/base/str.h>

static int
copy_text(char *dst, size_t cap, const char *text, const char *what, struct syn_err *err)
{
    if (!syn_str_copy(dst, cap, text ? text : ""))
        return SYN_FAIL(err, SYN_E_INVALID, "the %s '%.40s...' is longer than %zu bytes", what,
                        text, cap - 1);
    return SYN_OK;
}

static int
start(const struct syn_ledger_head *head, enum syn_ledger_kind kind, struct syn_ledger_tx *tx,
      struct syn_err *err)
{
    int rc;

    memset(tx, 0, sizeof(*tx));
    tx->seq = head->seq;
    tx->kind = kind;
    tx->at_ms = head->at_ms;
    rc = copy_text(tx->id, sizeof(tx->id), head->id, "transaction id", err);
    if (rc == 0)
        rc = copy_text(tx->ref, sizeof(tx->ref), head->ref, "reference", err);
    if (rc == 0)
        rc = copy_text(tx->memo, sizeof(tx->memo), head->memo, "memo", err);
    return rc;
}

/* Add an entry, or add to the one the account has. */
static int
add(struct syn_ledger_tx *tx, const char *account, int64_t amount, struct syn_err *err)
{
    struct syn_ledger_entry *entry = tx->entries;
    const struct syn_ledger_entry *end = entry + tx->count;

    while (entry < end && !syn_str_eq(entry->account, account))
        entry++;
    if (entry < end) {
        if (__builtin_add_overflow(entry->amount, amount, &entry->amount))
            return SYN_FAIL(err, SYN_E_LIMIT, "transaction %s: the entry of %s overflows", tx->id,
                            account);
        return SYN_OK;
    }
    if (amount == 0)
        return SYN_OK;
    if (tx->count == SYN_LEDGER_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "transaction %s: more than %d accounts", tx->id,
                        SYN_LEDGER_ENTRIES_MAX);
    tx->count++;
    entry->amount = amount;
    return copy_text(entry->account, sizeof(entry->account), account, "account", err);
}

static int
finish(const struct syn_ledger_tx *tx, struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    int rc = syn_ledger_tx_check(tx, err);

    if (rc == 0)
        *ret_tx = *tx;
    return rc;
}

static int
check_amount(int64_t amount, const char *what, struct syn_err *err)
{
    if (amount <= 0 || amount > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected more than 0 and at most %lld base units, "
                        "got %lld",
                        what, (long long)SYN_AMOUNT_MAX, (long long)amount);
    return SYN_OK;
}

static int
build_move(const struct syn_ledger_head *head, enum syn_ledger_kind kind, const char *from,
           const char *to, int64_t amount, struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    struct syn_ledger_tx tx;
    int rc = check_amount(amount, syn_ledger_kind_name(kind), err);

    if (rc == 0 && syn_str_eq(from, to))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s cannot pay itself", from);
    if (rc == 0)
        rc = start(head, kind, &tx, err);
    if (rc == 0)
        rc = add(&tx, from, -amount, err);
    if (rc == 0)
        rc = add(&tx, to, amount, err);
    return rc < 0 ? rc : finish(&tx, ret_tx, err);
}

int
syn_ledger_build_mint(const struct syn_ledger_head *head, const char *to, int64_t amount,
                      struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    return build_move(head, SYN_LEDGER_KIND_MINT, SYN_LEDGER_MINT, to, amount, ret_tx, err);
}

int
syn_ledger_build_transfer(const struct syn_ledger_head *head, const char *from, const char *to,
                          int64_t amount, struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    return build_move(head, SYN_LEDGER_KIND_TRANSFER, from, to, amount, ret_tx, err);
}

int
syn_ledger_build_transfers(const struct syn_ledger_head *head,
                           const struct syn_ledger_entry *entries, size_t count,
                           struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    struct syn_ledger_tx tx;
    size_t kept = 0;
    int rc = start(head, SYN_LEDGER_KIND_TRANSFER, &tx, err);

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add(&tx, entries[i].account, entries[i].amount, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < tx.count; i++) {
        if (tx.entries[i].amount != 0)
            tx.entries[kept++] = tx.entries[i];
    }
    memset(&tx.entries[kept], 0, (tx.count - kept) * sizeof(*tx.entries));
    tx.count = kept;
    return finish(&tx, ret_tx, err);
}

int
syn_ledger_build_escrow(const struct syn_ledger_head *head, const char *tenant, int64_t amount,
                        struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    int rc = syn_ledger_escrow_name(head->ref ? head->ref : "", escrow, err);

    if (rc < 0)
        return rc;
    return build_move(head, SYN_LEDGER_KIND_ESCROW, tenant, escrow, amount, ret_tx, err);
}

int
syn_ledger_build_refund(const struct syn_ledger_head *head, const char *tenant, int64_t escrow,
                        struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    char name[SYN_LEDGER_ACCOUNT_MAX];
    int rc = syn_ledger_escrow_name(head->ref ? head->ref : "", name, err);

    if (rc < 0)
        return rc;
    return build_move(head, SYN_LEDGER_KIND_REFUND, name, tenant, escrow, ret_tx, err);
}

/* ---- settlement ---- */

static int
check_settlement(const struct syn_ledger_head *head, const struct syn_ledger_settlement *settlement,
                 int64_t *ret_charged, struct syn_err *err)
{
    char charge[SYN_FORMAT_MAX], escrow[SYN_FORMAT_MAX];
    int64_t charged = 0;
    int rc = check_amount(settlement->escrow, "settle: the escrow", err);

    if (rc < 0)
        return rc;
    if (settlement->count > SYN_LEDGER_SLICES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "settle %s: %zu payees, at most %d", head->id,
                        settlement->count, SYN_LEDGER_SLICES_MAX);
    for (size_t i = 0; i < settlement->count; i++) {
        const struct syn_ledger_slice *slice = &settlement->slices[i];

        if (slice->charge < 0 || slice->provider_bps < 0 || slice->provider_bps > 10000)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "settle %s: slice %zu: charge %lld, provider share %lld of 10000",
                            head->id, i, (long long)slice->charge, (long long)slice->provider_bps);
        if (slice->charge > settlement->escrow - charged)
            return SYN_FAIL(err, SYN_E_FUNDS,
                            "settle %s: the charges pass the escrow of %s at %s more", head->id,
                            syn_format_amount(settlement->escrow, escrow),
                            syn_format_amount(slice->charge, charge));
        charged += slice->charge;
    }
    *ret_charged = charged;
    return SYN_OK;
}

int
syn_ledger_build_settle(const struct syn_ledger_head *head,
                        const struct syn_ledger_settlement *settlement,
                        struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    struct syn_ledger_tx tx;
    int64_t charged = 0, protocol = 0;
    int rc;

    rc = syn_ledger_escrow_name(head->ref ? head->ref : "", escrow, err);
    if (rc == 0)
        rc = check_settlement(head, settlement, &charged, err);
    if (rc == 0)
        rc = start(head, SYN_LEDGER_KIND_SETTLE, &tx, err);
    if (rc == 0)
        rc = add(&tx, escrow, -settlement->escrow, err);
    for (size_t i = 0; rc == 0 && i < settlement->count; i++) {
        const struct syn_ledger_slice *slice = &settlement->slices[i];
        int64_t provider = syn_amount_share(slice->charge, slice->provider_bps);

        protocol += slice->charge - provider;
        rc = add(&tx, slice->provider, provider, err);
    }
    if (rc == 0)
        rc = add(&tx, SYN_LEDGER_PROTOCOL, protocol, err);
    if (rc == 0)
        rc = add(&tx, settlement->tenant, settlement->escrow - charged, err);
    return rc < 0 ? rc : finish(&tx, ret_tx, err);
}
