/* The audit: replay the history into a fresh book, then hold the documents against it. */
#include <synor/chain/ledger.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

struct syn_ledger_audit {
    struct syn_ledger *book;
    struct syn_map *seen; /* account documents given so far, by name; the values mean nothing */
    json_t *findings;
    int64_t seq_last;
    syn_i128 sum; /* of the account documents */
};

int
syn_ledger_audit_new(struct syn_ledger_audit **ret_audit, struct syn_err *err)
{
    SYN_SCOPED(syn_ledger_audit_free_scope)
    struct syn_ledger_audit *audit = syn_calloc(1, sizeof(*audit));
    int rc;

    if (!audit)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an audit");
    audit->findings = json_array();
    if (!audit->findings)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an audit");
    rc = syn_ledger_new(&audit->book, err);
    if (rc == 0)
        rc = syn_map_new(NULL, &audit->seen, err);
    if (rc < 0)
        return rc;
    *ret_audit = SYN_TAKE(audit);
    return SYN_OK;
}

struct syn_ledger_audit *
syn_ledger_audit_free(struct syn_ledger_audit *audit)
{
    if (!audit)
        return NULL;
    syn_ledger_free(audit->book);
    syn_map_free(audit->seen);
    json_decref(audit->findings);
    syn_free(audit);
    return NULL;
}

void
syn_ledger_audit_free_scope(struct syn_ledger_audit **slot)
{
    *slot = syn_ledger_audit_free(*slot);
}

static int
found(struct syn_ledger_audit *audit, const char *what, const char *where, const char *message,
      struct syn_err *err)
{
    json_t *finding = NULL;
    int rc;

    if (json_array_size(audit->findings) >= SYN_LEDGER_FINDINGS_MAX)
        return SYN_OK;
    rc = syn_json_pack(&finding, err, "{s:s, s:s, s:s}", "what", what, "where", where, "message",
                       message);
    return rc < 0 ? rc : syn_json_append_take(audit->findings, finding, err);
}

/* Every account begins at zero. */
static int
open_accounts(struct syn_ledger_audit *audit, const struct syn_ledger_tx *tx, struct syn_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < tx->count; i++) {
        struct syn_ledger_account account = {0};

        if (syn_ledger_find(audit->book, tx->entries[i].account))
            continue;
        memcpy(account.name, tx->entries[i].account, sizeof(account.name));
        rc = syn_ledger_load(audit->book, &account, err);
    }
    return rc;
}

int
syn_ledger_audit_tx(struct syn_ledger_audit *audit, const struct syn_ledger_tx *tx,
                    struct syn_err *err)
{
    struct syn_ledger_receipt receipt;
    struct syn_err why = {0};
    int rc = syn_ledger_tx_check(tx, &why);

    if (rc < 0)
        return found(audit, "transaction-refused", tx->id, why.msg, err);
    if (tx->seq <= audit->seq_last) {
        rc = found(audit, "sequence", tx->id, "the transactions are not in the order of seq", err);
        if (rc < 0)
            return rc;
    }
    audit->seq_last = SYN_MAX(audit->seq_last, tx->seq);
    rc = open_accounts(audit, tx, err);
    if (rc < 0)
        return rc;
    rc = syn_ledger_post(audit->book, tx, &receipt, &why);
    if (rc == SYN_LEDGER_ALREADY)
        return found(audit, "transaction-repeated", tx->id, "the id stands in the history twice",
                     err);
    if (rc == SYN_E_NOMEM)
        return syn_err_set(err, rc, 0, why.file, why.line, "%s", why.msg);
    return rc < 0 ? found(audit, "transaction-refused", tx->id, why.msg, err) : SYN_OK;
}

static int
compare(struct syn_ledger_audit *audit, const struct syn_ledger_account *document,
        struct syn_err *err)
{
    const struct syn_ledger_account *replayed = syn_ledger_find(audit->book, document->name);
    char says[SYN_FORMAT_MAX], gives[SYN_FORMAT_MAX], message[200];

    if (!replayed) {
        if (document->seq == 0 && document->balance == 0)
            return SYN_OK;
        return found(audit, "account-unknown", document->name,
                     "no transaction explains this account", err);
    }
    if (document->balance == replayed->balance && document->seq == replayed->seq &&
        document->closed == replayed->closed)
        return SYN_OK;
    (void)snprintf(message, sizeof(message),
                   "the document says %s at seq %lld%s, the transactions give %s at seq %lld%s",
                   syn_format_amount(document->balance, says), (long long)document->seq,
                   document->closed ? " (closed)" : "", syn_format_amount(replayed->balance, gives),
                   (long long)replayed->seq, replayed->closed ? " (closed)" : "");
    return found(audit, "balance", document->name, message, err);
}

int
syn_ledger_audit_account(struct syn_ledger_audit *audit, const struct syn_ledger_account *account,
                         struct syn_err *err)
{
    int rc;

    if (syn_map_find(audit->seen, account->name))
        return found(audit, "account-repeated", account->name, "two documents of one account", err);
    rc = syn_map_put_take(audit->seen, account->name, audit, err);
    if (rc < 0)
        return rc;
    audit->sum += account->balance;
    return compare(audit, account, err);
}

int
syn_ledger_audit_finish(struct syn_ledger_audit *audit, json_t **ret_findings, struct syn_err *err)
{
    const struct syn_ledger_account *account;
    size_t cursor = 0;
    int rc = 0;

    while (rc == 0 && (account = syn_ledger_next(audit->book, &cursor)) != NULL) {
        if (!syn_map_find(audit->seen, account->name))
            rc = found(audit, "account-missing", account->name,
                       "transactions name this account, but it has no document", err);
    }
    if (rc == 0 && audit->sum != 0)
        rc = found(audit, "sum", "accounts", "the account documents do not sum to zero", err);
    if (rc < 0)
        return rc;
    *ret_findings = json_incref(audit->findings);
    return SYN_OK;
}
