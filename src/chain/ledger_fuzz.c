#include <synor/chain/ledger.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

/* Post into a book where every account the transaction names has money: whatever comes out, no
 * money was made. */
static void
post(const struct syn_ledger_tx *tx)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = NULL;
    struct syn_ledger_receipt receipt;
    syn_i128 before;
    int rc;

    need(syn_ledger_new(&book, NULL) == 0);
    for (size_t i = 0; i < tx->count; i++) {
        struct syn_ledger_account account = {0};

        memcpy(account.name, tx->entries[i].account, sizeof(account.name));
        if (tx->entries[i].amount < 0 && strcmp(account.name, SYN_LEDGER_MINT) != 0) {
            account.balance = -tx->entries[i].amount;
            account.seq = 1;
        }
        need(syn_ledger_load(book, &account, NULL) == 0);
    }
    before = syn_ledger_sum(book);
    rc = syn_ledger_post(book, tx, &receipt, NULL);
    need(rc == 0 || (rc == SYN_E_CONFLICT && tx->seq == 1)); /* a stale number */
    need(syn_ledger_sum(book) == before);
    if (rc == 0)
        need(syn_ledger_post(book, tx, &receipt, NULL) == SYN_LEDGER_ALREADY);
}

/* A document that is taken must come back as itself, and move money without making any. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_ledger_account account;
    struct syn_ledger_tx tx, back;
    SYN_JSON(doc);
    SYN_JSON(again);

    if (syn_json_parse((const char *)data, size, &doc, NULL) != 0)
        return 0;
    if (syn_ledger_account_decode(doc, &account, NULL) == 0)
        need(syn_ledger_account_check(&account, NULL) == 0);
    if (syn_ledger_tx_decode(doc, &tx, NULL) != 0)
        return 0;
    need(syn_ledger_tx_encode(&tx, &again, NULL) == 0);
    need(syn_ledger_tx_decode(again, &back, NULL) == 0);
    need(syn_ledger_tx_same(&tx, &back) && tx.seq == back.seq && tx.at_ms == back.at_ms);
    post(&tx);
    return 0;
}
