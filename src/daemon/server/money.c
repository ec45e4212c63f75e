/* Accounts and the ledger as documents. The rules are chain/ledger's; this loads what a transaction
 * touches, posts it to a book, and adds every changed document to the caller's store transaction,
 * so that money moves in the same instant as the thing it pays for. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

int
srv_ledger_next(struct syn_server *server, struct srv_ledger_place *ret_place, struct syn_err *err)
{
    SYN_JSON(head);
    int rc = srv_load(server, "ledger/head", &head, &ret_place->head_revision, err);

    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT)
        ret_place->head_revision = 0;
    ret_place->seq = syn_json_i64(head, "seq", 0) + 1;
    (void)snprintf(ret_place->id, sizeof(ret_place->id), "tx-%" PRId64, ret_place->seq);
    return SYN_OK;
}

/* The account's document, or a new account's. */
static int
load_account(struct syn_server *server, const char *name, struct syn_ledger_account *ret_account,
             int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "balance", name, NULL), &doc, ret_revision, err);

    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT) {
        *ret_account = (struct syn_ledger_account){.balance = 0};
        (void)syn_str_copy(ret_account->name, sizeof(ret_account->name), name);
        *ret_revision = 0;
        return SYN_OK;
    }
    return syn_ledger_account_decode(doc, ret_account, err);
}

struct srv_ledger_place
srv_ledger_after(const struct srv_ledger_place *place)
{
    struct srv_ledger_place after = {.seq = place->seq + 1, .head_revision = place->head_revision};

    (void)snprintf(after.id, sizeof(after.id), "tx-%" PRId64, after.seq);
    return after;
}

/* Some ledger transactions on their way into one store transaction. */
struct posting {
    struct syn_server *server;
    struct srv_txn *txn;
    const struct srv_ledger_place *place;
    struct syn_ledger *book;
    bool stale; /* somebody posted since the place was taken */
};

static void
posting_fini(struct posting *posting)
{
    (void)syn_ledger_free(posting->book);
}

/* Load the accounts that it touches and that are not in the book yet, each to be written back as it
 * was read. */
static int
load_accounts(struct posting *posting, const struct syn_ledger_tx *tx, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && !posting->stale && i < tx->count; i++) {
        const char *name = tx->entries[i].account;
        struct syn_ledger_account account;
        char key[SRV_KEY_MAX];
        int64_t revision;

        if (syn_ledger_find(posting->book, name) != NULL)
            continue;
        rc = load_account(posting->server, name, &account, &revision, err);
        posting->stale = rc == SYN_OK && account.seq >= posting->place->seq;
        if (rc == SYN_OK && !posting->stale)
            rc = syn_ledger_load(posting->book, &account, err);
        if (rc == SYN_OK)
            rc = srv_txn_check(posting->txn, srv_key(key, "balance", name, NULL), revision, err);
    }
    return rc;
}

static int
post(struct posting *posting, const struct syn_ledger_tx *tx, struct syn_err *err)
{
    struct syn_ledger_receipt receipt;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = load_accounts(posting, tx, err);

    if (rc < 0 || posting->stale)
        return rc;
    rc = syn_ledger_post(posting->book, tx, &receipt, err);
    if (rc < 0)
        return rc;
    assert(rc == SYN_OK); /* a fresh book knows no earlier transaction */
    rc = syn_ledger_tx_encode(tx, &doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(posting->txn, srv_key_seq(key, "tx", NULL, tx->seq), 0, doc, err);
    for (size_t i = 0; rc == SYN_OK && i < receipt.count; i++)
        rc = srv_txn_put_text(posting->txn,
                              srv_key_seq(key, "tx-of", receipt.accounts[i].name, tx->seq), tx->id,
                              err);
    return rc;
}

/* Write what they made of the accounts together. */
static int
write_accounts(const struct posting *posting, struct syn_err *err)
{
    const struct syn_ledger_account *account;
    size_t cursor = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && (account = syn_ledger_next(posting->book, &cursor)) != NULL) {
        char key[SRV_KEY_MAX];
        SYN_JSON(doc);

        rc = syn_ledger_account_encode(account, &doc, err);
        if (rc == SYN_OK)
            rc = srv_txn_put(posting->txn, srv_key(key, "balance", account->name, NULL), doc, err);
    }
    return rc;
}

int
srv_ledger_add_all(struct syn_server *server, struct srv_txn *txn,
                   const struct srv_ledger_place *place, const struct syn_ledger_tx *txs,
                   size_t count, struct syn_err *err)
{
    SYN_SCOPED(posting_fini)
    struct posting posting = {.server = server, .txn = txn, .place = place};
    SYN_JSON(head);
    int rc = syn_ledger_new(&posting.book, err);

    for (size_t i = 0; rc == SYN_OK && !posting.stale && i < count; i++)
        rc = post(&posting, &txs[i], err);
    /* The head has moved with an account that somebody else posted to, so the commit is a conflict,
     * which callers know how to meet: with a new place. */
    if (rc < 0 || posting.stale)
        return rc < 0 ? rc : srv_txn_check(txn, "ledger/head", place->head_revision, err);
    rc = write_accounts(&posting, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&head, err, "{s:I}", "seq", (json_int_t)txs[count - 1].seq);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, "ledger/head", place->head_revision, head, err);
    return rc;
}

int
srv_ledger_add(struct syn_server *server, struct srv_txn *txn, const struct srv_ledger_place *place,
               const struct syn_ledger_tx *tx, struct syn_err *err)
{
    return srv_ledger_add_all(server, txn, place, tx, 1, err);
}

int
srv_balance(struct syn_server *server, const char *account, int64_t *ret_balance,
            struct syn_err *err)
{
    struct syn_ledger_account ledger;
    int64_t revision;
    int rc = load_account(server, account, &ledger, &revision, err);

    if (rc == SYN_OK)
        *ret_balance = ledger.balance;
    return rc;
}

int
srv_account_make(struct syn_server *server, struct srv_txn *txn, const char *id, const char *name,
                 const char *kind, json_t **ret_doc, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    struct syn_document_new new_doc = {"account", id, name, id, syn_wall_ms(server->world)};
    SYN_JSON(doc);
    int rc = syn_document_make_take(&new_doc, json_object(), &doc, err);

    if (rc == SYN_OK)
        rc = syn_document_set_state(doc, "active", "open", "The account is open.", err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(syn_document_status(doc), "kind", kind, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "account", id, NULL), 0, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, srv_key(key, "account-name", name, NULL), 0, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, key, id, err);
    if (rc == SYN_OK && ret_doc != NULL)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

int
srv_account_find(struct syn_server *server, const struct srv_identity *who, const char *text,
                 char *ret_id, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    char id[SYN_ID_MAX];
    SYN_JSON(doc);
    int rc;

    if (syn_str_eq(text, "me"))
        text = who->account;
    if (!syn_name_ok(text))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no account %.60s", text);
    rc = srv_load(server, srv_key(key, "account-name", text, NULL), &doc, NULL, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(id, sizeof(id), rc == SRV_ABSENT ? text : json_string_value(doc));
    if (rc == SRV_ABSENT) {
        rc = srv_need(server, srv_key(key, "account", id, NULL), "account", &doc, NULL, err);
        if (rc < 0)
            return rc;
    }
    if (!who->is_operator && !syn_str_eq(id, who->account))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no account %.60s", text);
    (void)syn_str_copy(ret_id, SYN_ID_MAX, id);
    return SYN_OK;
}

void
srv_escrow_ref(const char *job, int64_t run, char *out)
{
    (void)snprintf(out, SYN_LEDGER_REF_MAX, "%s.%" PRId64, job, run);
}

int
srv_escrow_lock(struct syn_server *server, struct srv_txn *txn, const struct srv_lock *lock,
                struct syn_err *err)
{
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    char amount[SYN_FORMAT_MAX];
    char key[SRV_KEY_MAX];
    int rc = srv_ledger_next(server, &place, err);

    if (rc == SYN_OK) {
        struct syn_ledger_head head = {place.id, place.seq, syn_wall_ms(server->world), lock->ref,
                                       lock->memo};

        rc = syn_ledger_build_escrow(&head, lock->account, lock->amount, &tx, err);
    }
    if (rc == SYN_OK)
        rc = srv_ledger_add(server, txn, &place, &tx, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "escrow-of", lock->account, lock->ref),
                              syn_format_amount(lock->held + lock->amount, amount), err);
    return rc;
}
