/* Bills: what a run cost, paid in the same transaction that ends it, and the proof of it
 * afterwards. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/infra/crypto.h>
#include <synor/market/invoice.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_control.h>

#include "server_priv.h"

/* The meters of a run's instances, the accounts that provided them, and at what prices. */
struct usages {
    struct syn_invoice_usage *rows;
    struct syn_meter *meters;
    char (*providers)[SYN_ID_MAX];
    struct syn_lease *leases;
    size_t count;
};

static void
usages_fini(struct usages *usages)
{
    syn_free(usages->rows);
    syn_free(usages->meters);
    syn_free(usages->providers);
    syn_free(usages->leases);
}

/* What the instance was leased for; false in *ret_is when that was before there were leases. */
static int
lease_of(const json_t *instance, struct syn_lease *ret, bool *ret_is, struct syn_err *err)
{
    const json_t *lease = json_object_get(json_object_get(instance, "spec"), "lease");
    int rc = lease != NULL ? syn_lease_decode(lease, ret, err) : SYN_OK;

    *ret_is = lease != NULL && rc == SYN_OK;
    return rc < 0 ? syn_err_wrap(err, rc, "%s", syn_json_str(instance, "id", "?")) : SYN_OK;
}

/* Who provides the node that an instance ran on. */
static int
provider_of(struct syn_server *server, const json_t *instance, char *out, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(node);
    int rc = srv_need(
        server,
        srv_key(key, "node", syn_json_str(json_object_get(instance, "spec"), "node", "?"), NULL),
        "node", &node, NULL, err);

    if (rc == SYN_OK)
        (void)syn_str_copy(out, SYN_ID_MAX,
                           syn_json_str(json_object_get(node, "spec"), "provider", ""));
    return rc;
}

static bool
in_run(const json_t *instance, int64_t run)
{
    return syn_json_i64(json_object_get(instance, "spec"), "run", 0) == run;
}

static int
usages_load(struct syn_server *server, const json_t *instances, int64_t run, struct usages *ret,
            struct syn_err *err)
{
    size_t most = json_array_size(instances) + 1;
    size_t i;
    json_t *instance;
    int rc = SYN_OK;

    ret->rows = syn_calloc(most, sizeof(*ret->rows));
    ret->meters = syn_calloc(most, sizeof(*ret->meters));
    ret->providers = syn_calloc(most, sizeof(*ret->providers));
    ret->leases = syn_calloc(most, sizeof(*ret->leases));
    if (ret->rows == NULL || ret->meters == NULL || ret->providers == NULL || ret->leases == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the usage of %zu instances", most);
    json_array_foreach (instances, i, instance) {
        struct syn_meter *meter = &ret->meters[ret->count];
        int64_t revision;
        bool leased = false;

        if (!in_run(instance, run))
            continue;
        rc = srv_meter_load(server, syn_json_str(instance, "id", ""), meter, &revision, err);
        if (rc == SYN_OK)
            rc = provider_of(server, instance, ret->providers[ret->count], err);
        if (rc == SYN_OK)
            rc = lease_of(instance, &ret->leases[ret->count], &leased, err);
        if (rc < 0)
            return rc;
        ret->rows[ret->count].provider = ret->providers[ret->count];
        ret->rows[ret->count].usage = &meter->usage;
        ret->rows[ret->count].lease = leased ? &ret->leases[ret->count] : NULL;
        ret->count++;
    }
    return rc;
}

static_assert(SYN_TRAINING_RUN_MAX <= SYN_INVOICE_USAGES_MAX, "a run that ends can be billed");

/* --- cost while running ----------------------------------------------------------------------- */

/* The run's instances among all of the job's. */
static int
of_run(const json_t *instances, int64_t run, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    size_t i;
    json_t *instance;
    int rc = SYN_OK;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a run's instances");
    json_array_foreach (instances, i, instance) {
        if (rc == SYN_OK && in_run(instance, run))
            rc = syn_json_append_take(list, json_incref(instance), err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

int
srv_run_cost(struct syn_server *server, const json_t *instances, int64_t run, int64_t *ret_spent,
             int64_t *ret_rate_hour, struct syn_err *err)
{
    SYN_SCOPED(usages_fini) struct usages usages = {0};
    SYN_JSON(live);
    int rc = usages_load(server, instances, run, &usages, err);

    if (rc == SYN_OK)
        rc = syn_invoice_total(usages.rows, usages.count, server->prices, ret_spent, err);
    if (rc == SYN_OK)
        rc = of_run(instances, run, &live, err);
    return rc < 0 ? rc : syn_cost_live(server->prices, live, ret_rate_hour, err);
}

/* --- settling --------------------------------------------------------------------------------- */

static int
build_settlement(const struct syn_invoice *invoice, const struct syn_ledger_head *head,
                 struct syn_ledger_tx *ret_tx, struct syn_err *err)
{
    struct syn_ledger_slice slices[SYN_LEDGER_SLICES_MAX];
    struct syn_ledger_settlement settlement = {
        .escrow = invoice->escrow, .tenant = invoice->tenant, .slices = slices};

    for (size_t i = 0; i < invoice->payee_count; i++) {
        if (invoice->payees[i].charge == 0)
            continue;
        if (settlement.count == SYN_LEN(slices))
            return SYN_FAIL(err, SYN_E_LIMIT, "bill %s pays more than %zu providers", invoice->id,
                            SYN_LEN(slices));
        slices[settlement.count++] =
            (struct syn_ledger_slice){invoice->payees[i].provider, invoice->payees[i].charge,
                                      invoice->payees[i].provider_bps};
    }
    return syn_ledger_build_settle(head, &settlement, ret_tx, err);
}

/* The bill as people see it: the invoice's figures under `status`, what it is about under `spec`.
 */
static int
bill_document(struct syn_server *server, const struct syn_invoice *invoice, const json_t *job,
              int64_t run, json_t **ret_doc, struct syn_err *err)
{
    struct syn_document_new new_doc = {"bill", invoice->id, NULL, invoice->tenant,
                                       syn_wall_ms(server->world)};
    SYN_JSON(doc);
    SYN_JSON(figures);
    json_t *spec = NULL;
    int rc = syn_invoice_encode(invoice, &figures, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&spec, err, "{s:s, s:I, s:s}", "job", syn_document_id(job), "run",
                           (json_int_t)run, "ref", invoice->ref);
    if (rc == SYN_OK)
        rc = srv_units_bill(server, syn_document_id(job), run, spec, err);
    if (rc == SYN_OK)
        rc = syn_document_make_take(&new_doc, spec, &doc, err);
    if (rc == SYN_OK && json_object_update(syn_document_status(doc), figures) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a bill");
    if (rc == SYN_OK)
        rc = syn_document_set_state(doc, "settled", "paid", "The run was paid from its escrow.",
                                    err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

#define RELEASED_AT_ONCE 64

/* Take the run's instances off their nodes' lists: the agents may forget them now. A run of many
 * attempts has more of them than one transaction holds; the first ones go ahead of the settlement,
 * which changes nothing: their usage is in, or given up. */
static int
release_instances(struct syn_server *server, struct srv_txn *txn, const json_t *instances,
                  int64_t run, struct syn_err *err)
{
    SRV_TXN(ahead);
    SYN_JSON(mine);
    size_t i;
    json_t *instance;
    int rc = of_run(instances, run, &mine, err);

    json_array_foreach (mine, i, instance) {
        bool first = json_array_size(mine) - i > RELEASED_AT_ONCE;
        char key[SRV_KEY_MAX];

        if (rc == SYN_OK)
            rc =
                srv_txn_delete(first ? &ahead : txn,
                               srv_key(key, "instance-on",
                                       syn_json_str(json_object_get(instance, "spec"), "node", "?"),
                                       syn_json_str(instance, "id", "?")),
                               err);
        if (rc == SYN_OK && ahead.count == SYN_STORE_OPS_MAX) {
            rc = srv_txn_commit(server, &ahead, NULL, err);
            srv_txn_fini(&ahead);
        }
    }
    if (rc == SYN_OK && ahead.count > 0)
        rc = srv_txn_commit(server, &ahead, NULL, err);
    return rc;
}

/* The meters that are read after this must not move until the transaction is written. */
static int
freeze_meters(struct syn_server *server, struct srv_txn *txn, const char *ref, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(mark);
    int rc = srv_load(server, srv_key(key, "metered", ref, NULL), &mark, &revision, err);

    if (rc == SRV_ABSENT)
        return srv_txn_check(txn, key, 0, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    return rc < 0 ? rc : srv_txn_delete(txn, key, err);
}

int
srv_settle(struct syn_server *server, struct srv_txn *txn, const json_t *job,
           const json_t *instances, const char *bill_id, struct syn_err *err)
{
    SYN_SCOPED(usages_fini) struct usages usages = {0};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    const char *account = syn_json_str(job, "account", "");
    int64_t run = syn_json_i64(json_object_get(job, "status"), "run", 1);
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    char ref[SYN_LEDGER_REF_MAX];
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    struct syn_invoice_terms terms = {.id = bill_id, .ref = ref, .tenant = account};
    int rc;

    srv_escrow_ref(syn_document_id(job), run, ref);
    rc = syn_ledger_escrow_name(ref, escrow, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, escrow, &terms.escrow, err);
    if (rc == SYN_OK)
        rc = srv_ledger_next(server, &place, err);
    if (rc == SYN_OK)
        rc = freeze_meters(server, txn, ref, err);
    if (rc == SYN_OK)
        rc = usages_load(server, instances, run, &usages, err);
    if (rc < 0)
        return rc;
    terms.transaction = place.id;
    rc = syn_invoice_build(&terms, usages.rows, usages.count, server->prices, &invoice, err);
    if (rc == SYN_OK) {
        struct syn_ledger_head head = {place.id, place.seq, syn_wall_ms(server->world), ref,
                                       syn_str_starts(syn_document_id(job), srv_service.ids)
                                           ? "settlement of a service"
                                           : "settlement of a training run"};

        rc = build_settlement(invoice, &head, &tx, err);
    }
    if (rc == SYN_OK)
        rc = srv_ledger_add(server, txn, &place, &tx, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, "escrow-of", account, ref), err);
    if (rc == SYN_OK)
        rc = bill_document(server, invoice, job, run, &doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "bill", bill_id, NULL), 0, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "bill-of", account, bill_id), bill_id, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "bill-job", syn_document_id(job), bill_id), bill_id,
                              err);
    return rc < 0 ? rc : release_instances(server, txn, instances, run, err);
}

/* --- routes ----------------------------------------------------------------------------------- */

static int
last_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)doc;
    (void)revision;
    (void)err;
    (void)syn_str_copy(arg, SYN_ID_MAX, strrchr(key, '/') + 1);
    return SYN_OK;
}

/* Why there is no bill: the run of the caller's job `id` has not ended, or there is no such job. */
static int
no_bill(struct syn_server *server, struct syn_http_req *req, const char *id, const char *text,
        struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(job);
    int rc = srv_load(server, srv_key(key, "training", id, NULL), &job, NULL, err);

    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT || srv_own(srv_identity(req), job, "job", id, NULL) < 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no bill %.60s, and no job of that name",
                        text);
    return SYN_FAIL(err, SYN_E_NOTFOUND,
                    "there is no bill for %.60s yet: it is written when the run ends", text);
}

/* The newest bill of the job that `text` names. */
static int
bill_of_job(struct syn_server *server, struct syn_http_req *req, const char *text, char *ret_id,
            struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(job);
    const char *id = text;
    int rc = srv_load(server, srv_key(key, "training-name", srv_identity(req)->account, text), &job,
                      NULL, err);

    if (rc < 0)
        return rc;
    if (rc == SYN_OK)
        id = json_string_value(job);
    ret_id[0] = '\0';
    rc = srv_each(server, srv_key(key, "bill-job", id, ""), last_key, ret_id, err);
    return rc == SYN_OK && ret_id[0] == '\0' ? no_bill(server, req, id, text, err) : rc;
}

/* The bill that `{id}` names: its own id, or the newest of a job. */
static int
load_bill(struct syn_server *server, struct syn_http_req *req, json_t **ret_doc,
          struct syn_err *err)
{
    const char *text = syn_http_req_param(req, "id");
    char id[SYN_ID_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = SYN_OK;

    if (!syn_name_ok(text))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no bill %.60s", text);
    (void)syn_str_copy(id, sizeof(id), text);
    if (!syn_str_starts(text, "bill-"))
        rc = bill_of_job(server, req, text, id, err);
    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "bill", id, NULL), "bill", &doc, NULL, err);
    if (rc == SYN_OK)
        rc = srv_own(srv_identity(req), doc, "bill", text, err); /* not the id behind a job */
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

static int
get_bill(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = load_bill(ctx, req, &doc, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct listing {
    struct syn_server *server;
    const char *job;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    char bill_key[SRV_KEY_MAX];
    SYN_JSON(bill);
    int rc;

    (void)doc;
    rc = srv_need(listing->server, srv_key(bill_key, "bill", strrchr(key, '/') + 1, NULL), "bill",
                  &bill, NULL, err);
    if (rc < 0)
        return rc;
    if (listing->job != NULL &&
        !syn_str_eq(syn_json_str(syn_document_spec(bill), "job", ""), listing->job))
        return SYN_OK;
    return syn_json_append_take(items, SYN_TAKE(bill), err);
}

static int
list_bills(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct listing listing = {ctx, syn_json_str(syn_http_req_query_json(req), "job", NULL)};
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "bill-of", srv_identity(req)->account, ""),
                          true, list_item, &listing, err);
}

/* --- proof ------------------------------------------------------------------------------------ */

/* Everything that a run's bill is recomputed from. */
struct evidence {
    struct syn_server *server;
    struct syn_invoice_report *reports;
    size_t count, cap;
    char provider[SYN_ID_MAX];
    struct syn_map *providers; /* interned names */
    json_t *documents;       /* the reports as they were signed, for who wants to check elsewhere */
    json_t *lease_documents; /* instance -> its lease */
    struct {
        char instance[SYN_ID_MAX];
        char digest[SYN_DIGEST_MAX];
        struct syn_lease lease;
    } * leases;
    struct syn_invoice_lease *lease_rows; /* into `leases` */
    size_t lease_count;
};

static void
evidence_fini(struct evidence *evidence)
{
    for (size_t i = 0; i < evidence->count; i++)
        (void)syn_report_free((struct syn_report *)(uintptr_t)evidence->reports[i].report);
    syn_free(evidence->reports);
    (void)syn_map_free(evidence->providers);
    json_decref(evidence->documents);
    json_decref(evidence->lease_documents);
    syn_free(evidence->leases);
    syn_free(evidence->lease_rows);
}

static int
intern(struct evidence *evidence, const char **ret_name, struct syn_err *err)
{
    char *name = syn_map_find(evidence->providers, evidence->provider);

    if (name == NULL) {
        int rc;

        name = syn_strdup(evidence->provider);
        if (name == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a name");
        rc = syn_map_put_take(evidence->providers, evidence->provider, name, err);
        if (rc < 0)
            return rc;
    }
    *ret_name = name;
    return SYN_OK;
}

static int
add_report(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct evidence *evidence = arg;
    struct syn_invoice_report *row;
    struct syn_report *report;
    bool ok;
    int rc;

    (void)revision;
    if (!syn_grow((void *)&evidence->reports, &evidence->cap, evidence->count + 1,
                  sizeof(*evidence->reports)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for reports");
    rc = syn_report_decode(doc, &report, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", key);
    row = &evidence->reports[evidence->count++];
    *row = (struct syn_invoice_report){.report = report};
    rc = srv_report_verify(evidence->server, report, &ok, err);
    if (rc == SYN_OK)
        rc = intern(evidence, &row->provider, err);
    if (rc == SYN_OK)
        rc = syn_json_append_take(evidence->documents, json_incref(doc), err);
    row->signature_ok = rc == SYN_OK && ok;
    return rc;
}

/* What the instance was leased for, and the name of that: what its reports must be signed for. */
static int
add_lease(struct evidence *evidence, const json_t *instance, struct syn_err *err)
{
    json_t *lease = json_object_get(json_object_get(instance, "spec"), "lease");
    const char *id = syn_json_str(instance, "id", "");
    struct syn_invoice_lease *row = &evidence->lease_rows[evidence->lease_count];
    bool leased;
    int rc = lease_of(instance, &evidence->leases[evidence->lease_count].lease, &leased, err);

    if (rc < 0 || !leased)
        return rc;
    rc = syn_lease_digest(instance, evidence->leases[evidence->lease_count].digest, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(evidence->lease_documents, id, json_incref(lease), err);
    (void)syn_str_copy(evidence->leases[evidence->lease_count].instance, SYN_ID_MAX, id);
    row->instance = evidence->leases[evidence->lease_count].instance;
    row->digest = evidence->leases[evidence->lease_count].digest;
    row->lease = &evidence->leases[evidence->lease_count].lease;
    evidence->lease_count++;
    return rc;
}

/* Reports and lease of one instance. */
static int
add_instance(struct evidence *evidence, const json_t *instance, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = provider_of(evidence->server, instance, evidence->provider, err);

    if (rc == SYN_OK)
        rc = add_lease(evidence, instance, err);
    return rc < 0 ? rc
                  : srv_each(evidence->server,
                             srv_key(key, "usage", syn_json_str(instance, "id", ""), ""),
                             add_report, evidence, err);
}

static int
evidence_load(struct syn_server *server, const json_t *bill, struct evidence *ret,
              struct syn_err *err)
{
    const json_t *spec = syn_document_spec(bill);
    size_t i, most;
    json_t *instance;
    SYN_JSON(instances);
    int rc;

    ret->server = server;
    ret->documents = json_array();
    ret->lease_documents = json_object();
    if (ret->documents == NULL || ret->lease_documents == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for evidence");
    rc = syn_map_new(syn_free, &ret->providers, err);
    if (rc == SYN_OK)
        rc = srv_instances_of(server, syn_json_str(spec, "job", ""), &instances, err);
    if (rc < 0)
        return rc;
    most = json_array_size(instances) + 1;
    ret->leases = syn_calloc(most, sizeof(*ret->leases));
    ret->lease_rows = syn_calloc(most, sizeof(*ret->lease_rows));
    if (ret->leases == NULL || ret->lease_rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for evidence");
    json_array_foreach (instances, i, instance) {
        if (!in_run(instance, syn_json_i64(spec, "run", 1)))
            continue;
        rc = add_instance(ret, instance, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* The ledger's transaction that the bill names, or an absent one. */
static int
load_settlement(struct syn_server *server, const struct syn_invoice *invoice,
                struct syn_ledger_tx *ret_tx, bool *ret_found, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t seq;
    SYN_JSON(doc);
    int rc;

    *ret_found = false;
    if (!syn_str_starts(invoice->transaction, "tx-") ||
        syn_parse_i64(invoice->transaction + 3, 1, INT64_MAX, "transaction", &seq, NULL) < 0)
        return SYN_OK;
    rc = srv_load(server, srv_key_seq(key, "tx", NULL, seq), &doc, NULL, err);
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    rc = syn_ledger_tx_decode(doc, ret_tx, err);
    *ret_found = rc == SYN_OK;
    return rc;
}

/* The invoice inside the bill: its status without what every resource has. */
static int
read_invoice(const json_t *bill, struct syn_invoice **ret_invoice, struct syn_err *err)
{
    static const char *const envelope[] = {"state", "reason", "message"};
    SYN_JSON(figures);

    figures = json_copy(syn_document_status(bill));
    if (figures == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a bill");
    for (size_t i = 0; i < SYN_LEN(envelope); i++)
        (void)json_object_del(figures, envelope[i]);
    return syn_invoice_decode(figures, ret_invoice, err);
}

static int
verify(struct syn_server *server, const json_t *bill, const struct evidence *evidence,
       json_t **ret_answer, struct syn_err *err)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    struct syn_invoice_entry entries[SYN_LEDGER_ENTRIES_MAX];
    struct syn_ledger_tx tx;
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    bool found = false;
    struct syn_invoice_settlement settlement = {
        .entries = entries, .escrow_account = escrow, .protocol_account = SYN_LEDGER_PROTOCOL};
    struct syn_invoice_evidence all = {.reports = evidence->reports,
                                       .report_count = evidence->count,
                                       .leases = evidence->lease_rows,
                                       .lease_count = evidence->lease_count};
    int rc = read_invoice(bill, &invoice, err);

    if (rc == SYN_OK)
        rc = syn_ledger_escrow_name(invoice->ref, escrow, err);
    if (rc == SYN_OK)
        rc = load_settlement(server, invoice, &tx, &found, err);
    if (rc < 0)
        return rc;
    if (found) {
        for (size_t i = 0; i < tx.count; i++)
            entries[i] = (struct syn_invoice_entry){tx.entries[i].account, tx.entries[i].amount};
        settlement.id = tx.id;
        settlement.ref = tx.ref;
        settlement.kind = syn_ledger_kind_name(tx.kind);
        settlement.count = tx.count;
        all.settlement = &settlement;
    }
    return syn_invoice_verify(invoice, &all, server->prices, ret_answer, err);
}

static int
verify_bill(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(evidence_fini) struct evidence evidence = {0};
    SYN_JSON(bill);
    SYN_JSON(answer);
    int rc = load_bill(ctx, req, &bill, err);

    if (rc == SYN_OK)
        rc = evidence_load(ctx, bill, &evidence, err);
    if (rc == SYN_OK)
        rc = verify(ctx, bill, &evidence, &answer, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(answer, "bill", syn_document_id(bill), err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static int
get_evidence(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    SYN_SCOPED(evidence_fini) struct evidence evidence = {0};
    SYN_JSON(bill);
    SYN_JSON(answer);
    int rc = load_bill(ctx, req, &bill, err);

    if (rc == SYN_OK)
        rc = evidence_load(ctx, bill, &evidence, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:O, s:O}", "bill", bill, "reports",
                           evidence.documents, "leases", evidence.lease_documents);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/bills", list_bills, &srv_list_query, "bills.list", "List bills, newest first"),
    SRV_READ("/v1/bills/{id}", get_bill, NULL, "bills.get", "One bill, by its id or its job's"),
    SRV_READ("/v1/bills/{id}/verify", verify_bill, NULL, "bills.verify",
             "Recompute it from the signed samples and the ledger"),
    SRV_READ("/v1/bills/{id}/evidence", get_evidence, NULL, "bills.evidence",
             "The signed reports and the leases it was made from"),
};

const struct srv_routes srv_bill_routes = {rows, SYN_LEN(rows)};
