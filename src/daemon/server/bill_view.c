/* Bills as people see them, and the proof: everything that a bill is recomputed from. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/market/invoice.h>
#include <synor/orchestration/document.h>

#include "bills_priv.h"

/* --- routes ----------------------------------------------------------------------------------- */

/* Is the bill "bill-OWN-RUN[-PERIOD]" of a later run, or period of the same run? `own` is how far
 * both are the same. */
static bool
newer(const char *id, const char *than, size_t own)
{
    size_t run = strcspn(id + own, "-"), other = strcspn(than + own, "-");

    return run != other ? run > other : strcmp(id + own, than + own) > 0;
}

struct newest {
    size_t own; /* bytes of "bill-OWN-" */
    char id[SYN_ID_MAX];
};

static int
newest_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct newest *newest = arg;
    const char *id = strrchr(key, '/') + 1;

    (void)doc;
    (void)revision;
    (void)err;
    if (newest->id[0] == '\0' || (strlen(id) > newest->own && newer(id, newest->id, newest->own)))
        (void)syn_str_copy(newest->id, sizeof(newest->id), id);
    return SYN_OK;
}

/* What is billed, by kind. */
static const struct srv_work *const kinds[] = {&srv_training, &srv_service};

/* The id of the account's workload, or else volume, that is called `text`; where there is none, it
 * may be an id itself. */
static int
find_job(struct syn_server *server, const char *account, const char *text, char *ret_id,
         struct syn_err *err)
{
    int rc = SRV_ABSENT;

    (void)syn_str_copy(ret_id, SYN_ID_MAX, text);
    for (size_t i = 0; rc == SRV_ABSENT && i < SYN_LEN(kinds); i++) {
        char key[SRV_KEY_MAX];
        SYN_JSON(id);

        rc = srv_load(server, srv_key(key, kinds[i]->names, account, text), &id, NULL, err);
        if (rc == SYN_OK)
            (void)syn_str_copy(ret_id, SYN_ID_MAX, json_string_value(id));
    }
    if (rc == SRV_ABSENT) {
        char key[SRV_KEY_MAX];
        SYN_JSON(volume);

        rc = srv_load(server, srv_key(key, "volume", account, text), &volume, NULL, err);
        if (rc == SYN_OK)
            (void)syn_str_copy(ret_id, SYN_ID_MAX, syn_json_str(volume, "id", text));
    }
    return rc < 0 ? rc : SYN_OK;
}

/* Why there is no bill: the run of the caller's workload `id` has not ended, or there is none. */
static int
no_bill(struct syn_server *server, struct syn_http_req *req, const char *id, const char *text,
        struct syn_err *err)
{
    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        char key[SRV_KEY_MAX];
        SYN_JSON(job);
        int rc = srv_load(server, srv_key(key, kinds[i]->documents, id, NULL), &job, NULL, err);

        if (rc < 0)
            return rc;
        if (rc == SYN_OK && srv_own(srv_identity(req), job, "job", id, NULL) == SYN_OK)
            return SYN_FAIL(err, SYN_E_NOTFOUND,
                            "there is no bill for %.60s yet: it is written when %s", text,
                            kinds[i] == &srv_service ? "its billing period ends, or it is stopped"
                                                     : "the run ends");
    }
    if (srv_is_volume(id) && !syn_str_eq(id, text))
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "there is no bill for %.60s yet: it is written when the volume's billing "
                        "period ends, or it is removed",
                        text);
    return SYN_FAIL(err, SYN_E_NOTFOUND,
                    "there is no bill %.60s, and no job, service or volume of that name", text);
}

/* The newest bill of the workload that `text` names. */
static int
bill_of_job(struct syn_server *server, struct syn_http_req *req, const char *text, char *ret_id,
            struct syn_err *err)
{
    struct newest newest = {.id = ""};
    char key[SRV_KEY_MAX], id[SYN_ID_MAX];
    int rc = find_job(server, srv_identity(req)->account, text, id, err);

    if (rc < 0)
        return rc;
    newest.own = strlen("bill-") + strlen(id + strcspn(id, "-"));
    rc = srv_each(server, srv_key(key, "bill-job", id, ""), newest_key, &newest, err);
    if (rc == SYN_OK && newest.id[0] == '\0')
        return no_bill(server, req, id, text, err);
    memcpy(ret_id, newest.id, sizeof(newest.id));
    return rc;
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
    const char *job = syn_json_str(syn_http_req_query_json(req), "job", NULL);
    char prefix[SRV_KEY_MAX], id[SYN_ID_MAX];
    struct listing listing = {ctx, job != NULL ? id : NULL};

    if (job != NULL) {
        int rc = syn_name_ok(job)
                     ? find_job(ctx, srv_identity(req)->account, job, id, err)
                     : SYN_FAIL(err, SYN_E_INVALID, "job: \"%.60s\" is no id or name", job);

        if (rc < 0)
            return rc;
    }
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
    struct syn_invoice_span *spans; /* where samples of a period begin and end; borrows the bill */
    size_t span_count;
    const struct syn_invoice_span *span; /* of the instance that is being read; NULL: all of it */
    struct srv_own *own;                 /* what the server counted by itself */
    struct syn_invoice_usage others[SRV_OWN_MAX]; /* of that */
    size_t other_count;
};

static void
evidence_fini(struct evidence *evidence)
{
    for (size_t i = 0; i < evidence->count; i++)
        (void)syn_report_free((struct syn_report *)(uintptr_t)evidence->reports[i].report);
    syn_free(evidence->reports);
    syn_free(evidence->own);
    (void)syn_map_free(evidence->providers);
    json_decref(evidence->documents);
    json_decref(evidence->lease_documents);
    syn_free(evidence->leases);
    syn_free(evidence->lease_rows);
    syn_free(evidence->spans);
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

/* Does the report, which is named by its first sample, belong to a later period? */
static bool
past_span(const struct evidence *evidence, const char *key)
{
    const struct syn_invoice_span *span = evidence->span;
    char last[SRV_KEY_MAX];

    return span != NULL &&
           strcmp(key, srv_key_seq(last, "usage", span->instance, span->last_seq)) > 0;
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
    if (past_span(evidence, key))
        return SYN_OK;
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
    int rc = srv_lease_of(instance, &evidence->leases[evidence->lease_count].lease, &leased, err);

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
    const char *id = syn_json_str(instance, "id", "");
    char key[SRV_KEY_MAX], after[SRV_KEY_MAX];
    int rc = srv_provider_of(evidence->server, instance, evidence->provider, err);

    if (rc == SYN_OK)
        rc = add_lease(evidence, instance, err);
    return rc < 0 ? rc
                  : srv_each_after(evidence->server, srv_key(key, "usage", id, ""),
                                   srv_key_seq(after, "usage", id,
                                               evidence->span ? evidence->span->after_seq : 0),
                                   add_report, evidence, err);
}

static int
evidence_room(struct evidence *ret, size_t most, struct syn_err *err)
{
    ret->leases = syn_calloc(most + 1, sizeof(*ret->leases));
    ret->lease_rows = syn_calloc(most + 1, sizeof(*ret->lease_rows));
    ret->spans = syn_calloc(most + 1, sizeof(*ret->spans));
    if (ret->leases == NULL || ret->lease_rows == NULL || ret->spans == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for evidence");
    return SYN_OK;
}

/* The bill of a whole run: everything that its instances ever reported. */
static int
load_run(struct evidence *ret, const json_t *spec, struct syn_err *err)
{
    size_t i;
    json_t *instance;
    SYN_JSON(instances);
    int rc = srv_instances_of(ret->server, syn_json_str(spec, "job", ""), &instances, err);

    if (rc == SYN_OK)
        rc = evidence_room(ret, json_array_size(instances), err);
    json_array_foreach (instances, i, instance)
        if (rc == SYN_OK &&
            syn_json_i64(syn_document_spec(instance), "run", 0) == syn_json_i64(spec, "run", 1))
            rc = add_instance(ret, instance, err);
    return rc;
}

/* The bill of a period names its instances, and which of their samples are in it. */
static int
load_period(struct evidence *ret, const json_t *spec, struct syn_err *err)
{
    const json_t *rows = json_object_get(spec, "instances"), *row;
    const char *job = syn_json_str(spec, "job", "");
    const json_t *own = json_object_get(spec, srv_count_key(job));
    size_t i;
    int rc = evidence_room(ret, json_array_size(rows), err);

    json_array_foreach (rows, i, row) {
        struct syn_invoice_span *span = &ret->spans[ret->span_count];
        char key[SRV_KEY_MAX];
        SYN_JSON(instance);

        if (rc < 0)
            break;
        *span = (struct syn_invoice_span){
            syn_json_str(row, "instance", "?"), syn_json_i64(row, "after_seq", 0),
            syn_json_i64(row, "after_ms", 0), syn_json_i64(row, "last_seq", 0)};
        ret->span = span;
        ret->span_count++;
        rc = srv_need(ret->server, srv_key(key, "instance", span->instance, NULL), "instance",
                      &instance, NULL, err);
        if (rc == SYN_OK)
            rc = add_instance(ret, instance, err);
    }
    if (rc == SYN_OK)
        rc = srv_count_usage(ret->server, job, json_object_get(own, "before"),
                             json_object_get(own, "until"), &ret->own, &ret->other_count, err);
    for (i = 0; rc == SYN_OK && i < ret->other_count; i++)
        ret->others[i] = (struct syn_invoice_usage){ret->own[i].provider, &ret->own[i].sum, NULL};
    return rc;
}

static int
evidence_load(struct syn_server *server, const json_t *bill, struct evidence *ret,
              struct syn_err *err)
{
    const json_t *spec = syn_document_spec(bill);
    int rc;

    ret->server = server;
    ret->documents = json_array();
    ret->lease_documents = json_object();
    if (ret->documents == NULL || ret->lease_documents == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for evidence");
    rc = syn_map_new(syn_free, &ret->providers, err);
    if (rc < 0)
        return rc;
    return json_is_array(json_object_get(spec, "instances")) ? load_period(ret, spec, err)
                                                             : load_run(ret, spec, err);
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

    figures = syn_json_copy(syn_document_status(bill));
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
                                       .lease_count = evidence->lease_count,
                                       .spans = evidence->spans,
                                       .span_count = evidence->span_count,
                                       .others = evidence->others,
                                       .other_count = evidence->other_count};
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
differ(json_t *answer, const char *field, const json_t *found, const json_t *expected,
       const char *message, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:s, s:O?, s:O?, s:s}", "field", field, "found", found,
                           "expected", expected, "message", message);

    if (rc == SYN_OK)
        rc = syn_json_append_take(json_object_get(answer, "differences"), row, err);
    return rc < 0 ? rc : syn_json_set_bool(answer, "agrees", false, err);
}

/* Does every instance of the period before go on where it was left there? */
static int
check_seam(const json_t *before, const json_t *spec, json_t *answer, struct syn_err *err)
{
    const json_t *rows = json_object_get(spec, "instances"), *row, *old;
    size_t i, k;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(before, "instances"), k, old) {
        json_array_foreach (rows, i, row) {
            const char *id = syn_json_str(row, "instance", "");
            char field[160];

            if (rc < 0 || !syn_str_eq(id, syn_json_str(old, "instance", "")) ||
                json_equal(json_object_get(row, "after_seq"), json_object_get(old, "last_seq")))
                continue;
            (void)snprintf(field, sizeof(field), "samples.%s", id);
            rc = differ(answer, field, json_object_get(row, "after_seq"),
                        json_object_get(old, "last_seq"),
                        "it does not go on where the period before ended", err);
        }
    }
    return rc;
}

/* What a period takes over from the one before: a rest of money, the samples, the network's time.
 */
static int
check_previous(struct syn_server *server, const json_t *bill, json_t *answer, struct syn_err *err)
{
    const json_t *spec = syn_document_spec(bill);
    const char *id = syn_json_str(json_object_get(spec, "period"), "previous", NULL);
    const json_t *carried = json_object_get(syn_document_status(bill), "carried");
    const json_t *from, *until;
    char key[SRV_KEY_MAX];
    SYN_JSON(before);
    const char *rest, *counts;
    int rc;

    if (id == NULL)
        return carried == NULL
                   ? SYN_OK
                   : differ(answer, "carried", carried, NULL, "there is no period before it", err);
    rc = srv_need(server, srv_key(key, "bill", id, NULL), "bill", &before, NULL, err);
    if (rc < 0)
        return rc;
    rest = syn_json_str(syn_document_status(before), "rest", "0/1");
    if (!syn_str_eq(rest, carried != NULL ? json_string_value(carried) : "0/1"))
        rc =
            differ(answer, "carried", carried, json_object_get(syn_document_status(before), "rest"),
                   "it is not what the period before left", err);
    counts = srv_count_key(syn_json_str(spec, "job", ""));
    from = json_object_get(json_object_get(spec, counts), "before");
    until = json_object_get(json_object_get(syn_document_spec(before), counts), "until");
    if (rc == SYN_OK && !json_equal(from, until))
        rc = differ(answer, counts, from, until, "it does not go on where the period before ended",
                    err);
    return rc < 0 ? rc : check_seam(syn_document_spec(before), spec, answer, err);
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
        rc = check_previous(ctx, bill, answer, err);
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
    SRV_READ("/v1/bills/{id}", get_bill, NULL, "bills.get",
             "One bill, by its id, or the newest of a job, service or volume"),
    SRV_READ("/v1/bills/{id}/verify", verify_bill, NULL, "bills.verify",
             "Recompute it from the signed samples and the ledger"),
    SRV_READ("/v1/bills/{id}/evidence", get_evidence, NULL, "bills.evidence",
             "The signed reports and the leases it was made from"),
};

const struct srv_routes srv_bill_routes = {rows, SYN_LEN(rows)};
