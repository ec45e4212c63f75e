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

/* Write what the receipt changed, each checked against the revision it was read at. */
static int
add_accounts(struct srv_txn *txn, const struct syn_ledger_receipt *receipt,
             const struct syn_ledger_tx *tx, const int64_t *revisions, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < receipt->count; i++) {
        const struct syn_ledger_account *account = &receipt->accounts[i];
        char key[SRV_KEY_MAX];
        int64_t revision = -1;
        SYN_JSON(doc);

        for (size_t j = 0; j < tx->count; j++) {
            if (syn_str_eq(tx->entries[j].account, account->name))
                revision = revisions[j];
        }
        assert(revision >= 0);
        rc = syn_ledger_account_encode(account, &doc, err);
        if (rc == SYN_OK)
            rc = srv_txn_replace(txn, srv_key(key, "balance", account->name, NULL), revision, doc,
                                 err);
        if (rc == SYN_OK)
            rc = srv_txn_put_text(txn, srv_key_seq(key, "tx-of", account->name, tx->seq), tx->id,
                                  err);
    }
    return rc;
}

int
srv_ledger_add(struct syn_server *server, struct srv_txn *txn, const struct srv_ledger_place *place,
               const struct syn_ledger_tx *tx, struct syn_err *err)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = NULL;
    struct syn_ledger_receipt receipt;
    int64_t revisions[SYN_LEDGER_ENTRIES_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(head);
    int rc = syn_ledger_new(&book, err);

    for (size_t i = 0; rc == SYN_OK && i < tx->count; i++) {
        struct syn_ledger_account account;

        rc = load_account(server, tx->entries[i].account, &account, &revisions[i], err);
        /* Somebody posted since `place` was taken. The head has moved with the account, so the
         * commit is a conflict, which callers know how to meet: with a new place. */
        if (rc == SYN_OK && account.seq >= tx->seq)
            return srv_txn_check(txn, "ledger/head", place->head_revision, err);
        if (rc == SYN_OK)
            rc = syn_ledger_load(book, &account, err);
    }
    if (rc == SYN_OK)
        rc = syn_ledger_post(book, tx, &receipt, err);
    if (rc < 0)
        return rc;
    assert(rc == SYN_OK); /* a fresh book knows no earlier transaction */
    rc = add_accounts(txn, &receipt, tx, revisions, err);
    if (rc == SYN_OK)
        rc = syn_ledger_tx_encode(tx, &doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key_seq(key, "tx", NULL, tx->seq), 0, doc, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&head, err, "{s:I}", "seq", (json_int_t)tx->seq);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, "ledger/head", place->head_revision, head, err);
    return rc;
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
