/* Bills: what a run, or a period of it, cost, paid in the same transaction that ends it. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/market/invoice.h>
#include <synor/orchestration/cost.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>
#include <synor/workload/service_spec.h>
#include <synor/workload/training_control.h>

#include "function_priv.h"
#include "units_priv.h"

#define RELEASED_AT_ONCE 64 /* instances that leave their nodes' lists with the settlement */

/* A run's period on its way into a bill, or looked at. */
struct closing {
    const json_t *job;
    const json_t *instances;
    const struct srv_period *period;
    struct srv_counted *counted;
    struct syn_invoice *invoice;
    int64_t now_ms; /* the end of all that the server counts by itself */
};

static void
counted_fini(struct srv_counted *counted)
{
    syn_free(counted->rows);
    syn_free(counted->spans);
    syn_free(counted->meters);
    syn_free(counted->sums);
    syn_free(counted->providers);
    syn_free(counted->leases);
    syn_free(counted->own_rows);
    json_decref(counted->own);
}

int
srv_lease_of(const json_t *instance, struct syn_lease *ret, bool *ret_is, struct syn_err *err)
{
    const json_t *lease = json_object_get(json_object_get(instance, "spec"), "lease");
    int rc = lease != NULL ? syn_lease_decode(lease, ret, err) : SYN_OK;

    *ret_is = lease != NULL && rc == SYN_OK;
    return rc < 0 ? syn_err_wrap(err, rc, "%s", syn_json_str(instance, "id", "?")) : SYN_OK;
}

int
srv_provider_of(struct syn_server *server, const json_t *instance, char *out, struct syn_err *err)
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
is_service(const json_t *job)
{
    return syn_str_starts(syn_document_id(job), srv_service.ids);
}

static bool
has_periods(const json_t *job)
{
    const char *id = syn_document_id(job);

    return is_service(job) || srv_is_volume(id) || srv_is_function(id);
}

/* What people call its kind. */
static const char *
kind_of(const json_t *job)
{
    const char *id = syn_document_id(job);

    return is_service(job)       ? "service"
           : srv_is_volume(id)   ? "volume"
           : srv_is_function(id) ? "function"
                                 : "training run";
}

static bool
in_run(const json_t *instance, int64_t run)
{
    return syn_json_i64(json_object_get(instance, "spec"), "run", 0) == run;
}

static int
counted_make(struct srv_counted *ret, size_t most, struct syn_err *err)
{
    ret->rows = syn_calloc(most + SRV_OWN_MAX, sizeof(*ret->rows));
    ret->spans = syn_calloc(most + 1, sizeof(*ret->spans));
    ret->meters = syn_calloc(most + 1, sizeof(*ret->meters));
    ret->sums = syn_calloc(most + 1, sizeof(*ret->sums));
    ret->providers = syn_calloc(most + 1, sizeof(*ret->providers));
    ret->leases = syn_calloc(most + 1, sizeof(*ret->leases));
    if (ret->rows == NULL || ret->spans == NULL || ret->meters == NULL || ret->sums == NULL ||
        ret->providers == NULL || ret->leases == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the usage of %zu instances", most);
    return SYN_OK;
}

/* What one instance used in the period: nothing, or a row. */
static int
count_instance(struct syn_server *server, const struct srv_period *period, const json_t *instance,
               struct srv_counted *ret, struct syn_err *err)
{
    size_t at = ret->meter_count++;
    struct syn_meter *meter = &ret->meters[at], before = {0};
    int64_t revision;
    bool leased = false;
    int rc = srv_meter_load(server, syn_json_str(instance, "id", ""), meter, &revision, err);

    if (rc == SYN_OK)
        rc = srv_period_after(period, meter->instance, &before, err);
    if (rc < 0 || meter->seq == before.seq)
        return rc;
    rc = syn_usage_since(&meter->usage, &before.usage, &ret->sums[at], err);
    if (rc == SYN_OK)
        rc = srv_provider_of(server, instance, ret->providers[at], err);
    if (rc == SYN_OK)
        rc = srv_lease_of(instance, &ret->leases[at], &leased, err);
    if (rc < 0)
        return rc;
    ret->spans[ret->span_count++] =
        (struct syn_invoice_span){meter->instance, before.seq, before.to_ms, meter->seq};
    ret->rows[ret->count++] = (struct syn_invoice_usage){ret->providers[at], &ret->sums[at],
                                                         leased ? &ret->leases[at] : NULL};
    return SYN_OK;
}

/* What the server counted by itself. */
static int
count_own(struct syn_server *server, const struct srv_period *period, const char *job,
          int64_t now_ms, struct srv_counted *ret, struct syn_err *err)
{
    size_t count = 0;
    int rc = srv_count_read(server, job, now_ms, &ret->own, err);

    if (rc == SYN_OK)
        rc = srv_count_usage(server, job, json_object_get(period->doc, "network"), ret->own,
                             &ret->own_rows, &count, err);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        ret->rows[ret->count++] =
            (struct syn_invoice_usage){ret->own_rows[i].provider, &ret->own_rows[i].sum, NULL};
    return rc;
}

static int64_t
run_of(const json_t *job)
{
    return syn_json_i64(json_object_get(job, "status"), "run", 1);
}

/* Everything that was used in the period until now: what nodes sent, and what the server counted.
 */
static int
count_period(struct syn_server *server, const struct closing *closing, struct syn_err *err)
{
    struct srv_counted *counted = closing->counted;
    size_t i;
    json_t *instance;
    int rc = counted_make(counted, json_array_size(closing->instances), err);

    json_array_foreach (closing->instances, i, instance)
        if (rc == SYN_OK && in_run(instance, run_of(closing->job)))
            rc = count_instance(server, closing->period, instance, counted, err);
    return rc < 0 ? rc
                  : count_own(server, closing->period, syn_document_id(closing->job),
                              closing->now_ms, counted, err);
}

/* A run that ends can be billed, and the bill paid: to the platform for the network, too. Of a
 * service's period the replicas that run are in it beside those that made it full. */
static_assert(SYN_TRAINING_RUN_MAX <= SYN_INVOICE_USAGES_MAX, "usages");
static_assert(SYN_TRAINING_NODES_MAX <= SYN_INVOICE_PROVIDERS_MAX, "nodes of a run");
static_assert(SYN_SERVICE_BILL_INSTANCES + 2 * SYN_SERVICE_REPLICAS_MAX + 1 <=
                  SYN_INVOICE_PROVIDERS_MAX,
              "replicas of a period");
static_assert(SYN_INVOICE_PROVIDERS_MAX + 3 <= SYN_LEDGER_ENTRIES_MAX, "and the escrow's");
static_assert(3 * SYN_LEDGER_ENTRIES_MAX + 4 + RELEASED_AT_ONCE + 16 <= SYN_STORE_OPS_MAX,
              "one transaction of the store");

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
srv_run_cost(struct syn_server *server, const json_t *job, const json_t *instances,
             int64_t *ret_spent, int64_t *ret_rate_hour, struct syn_err *err)
{
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    SYN_SCOPED(counted_fini) struct srv_counted counted = {0};
    SYN_JSON(live);
    int rc;

    *ret_spent = *ret_rate_hour = 0;
    if (srv_service_derived(job)) /* its calls are what is paid for */
        return SYN_OK;
    rc = srv_period_load(server, syn_document_id(job), run_of(job), &period, err);

    if (rc == SYN_OK)
        rc = count_period(
            server,
            &(struct closing){job, instances, &period, &counted, NULL, syn_wall_ms(server->world)},
            err);
    if (rc == SYN_OK)
        rc = syn_invoice_total(counted.rows, counted.count, server->prices, ret_spent, err);
    if (rc == SYN_OK)
        rc = of_run(instances, run_of(job), &live, err);
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

/* Whose samples the bill is made of, and which: what it is proved by. */
static int
set_spans(const struct srv_counted *counted, json_t *spec, struct syn_err *err)
{
    json_t *list = json_array();
    int rc = syn_json_set_take(spec, "instances", list, err);

    for (size_t i = 0; rc == SYN_OK && i < counted->span_count; i++) {
        const struct syn_invoice_span *span = &counted->spans[i];
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:I, s:I, s:I}", "instance", span->instance,
                           "after_seq", (json_int_t)span->after_seq, "after_ms",
                           (json_int_t)span->after_ms, "last_seq", (json_int_t)span->last_seq);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, row, err);
    }
    return rc;
}

/* Which part of the run it is about. */
static int
set_period(const struct closing *closing, json_t *spec, struct syn_err *err)
{
    const struct srv_period *period = closing->period;
    int64_t since_ms =
        period->since_ms > 0 ? period->since_ms : syn_document_time(closing->job, "created_at");
    char since[SYN_FORMAT_MAX], until[SYN_FORMAT_MAX];
    json_t *part = NULL;
    int rc = syn_json_pack(&part, err, "{s:I, s:s, s:s, s:O?}", "number",
                           (json_int_t)period->number, "since", syn_format_time(since_ms, since),
                           "until", syn_format_time(closing->now_ms, until), "previous",
                           json_object_get(period->doc, "previous"));

    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "period", part, err);
    if (rc == SYN_OK)
        rc = set_spans(closing->counted, spec, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&part, err, "{s:O?, s:O?}", "before",
                           json_object_get(period->doc, "network"), "until", closing->counted->own);
    return rc < 0
               ? rc
               : syn_json_set_take(spec, srv_count_key(syn_document_id(closing->job)), part, err);
}

/* The bill as people see it: the invoice's figures under `status`, what it is about under `spec`.
 */
static int
bill_document(struct syn_server *server, const struct closing *closing, json_t **ret_doc,
              struct syn_err *err)
{
    const struct syn_invoice *invoice = closing->invoice;
    const char *job = syn_document_id(closing->job);
    struct syn_document_new new_doc = {"bill", invoice->id, NULL, invoice->tenant, closing->now_ms};
    SYN_JSON(doc);
    SYN_JSON(figures);
    json_t *spec = NULL;
    int rc = syn_invoice_encode(invoice, &figures, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&spec, err, "{s:s, s:I, s:s}", "job", job, "run",
                           (json_int_t)run_of(closing->job), "ref", invoice->ref);
    if (rc == SYN_OK && has_periods(closing->job))
        rc = set_period(closing, spec, err);
    if (rc == SYN_OK && srv_is_volume(job))
        rc = syn_json_set_str(spec, "volume", syn_json_str(closing->job, "name", ""), err);
    if (rc == SYN_OK)
        rc = srv_units_bill(server, job, run_of(closing->job), spec, err);
    if (rc == SYN_OK)
        rc = syn_document_make_take(&new_doc, spec, &doc, err);
    else
        json_decref(spec);
    if (rc == SYN_OK && json_object_update(syn_document_status(doc), figures) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a bill");
    if (rc == SYN_OK)
        rc =
            syn_document_set_state(doc, "settled", "paid",
                                   srv_is_volume(job)     ? "The volume was paid from its escrow."
                                   : srv_is_function(job) ? "The function was paid from its escrow."
                                                          : "The run was paid from its escrow.",
                                   err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

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
        if (rc == SYN_OK && ahead.count == SYN_STORE_ROWS_MAX) {
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

/* Build the invoice of the period, which does not move any more, and the settlement. */
static int
close_period(struct syn_server *server, struct srv_txn *txn, struct closing *closing,
             struct syn_invoice_terms *terms, struct syn_err *err)
{
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    int rc = syn_ledger_escrow_name(closing->period->ref, escrow, err);

    terms->ref = closing->period->ref;
    terms->tenant = syn_json_str(closing->job, "account", "");
    terms->carried = closing->period->carried;
    if (rc == SYN_OK)
        rc = srv_balance(server, escrow, &terms->escrow, err);
    if (rc == SYN_OK)
        rc = freeze_meters(server, txn, terms->ref, err);
    if (rc == SYN_OK)
        rc = count_period(server, closing, err);
    return rc < 0 ? rc
                  : syn_invoice_build(terms, closing->counted->rows, closing->counted->count,
                                      server->prices, &closing->invoice, err);
}

static int
settlement_tx(const struct closing *closing, const struct srv_ledger_place *place,
              struct syn_ledger_tx *ret, struct syn_err *err)
{
    char memo[40];
    struct syn_ledger_head head = {place->id, place->seq, closing->now_ms, closing->period->ref,
                                   memo};

    (void)snprintf(memo, sizeof(memo), "settlement of a %s", kind_of(closing->job));
    return build_settlement(closing->invoice, &head, ret, err);
}

/* The bill's document and where it is found. */
static int
write_bill(struct syn_server *server, struct srv_txn *txn, const struct closing *closing,
           struct syn_err *err)
{
    const char *account = syn_json_str(closing->job, "account", "");
    const char *id = closing->invoice->id;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_txn_delete(txn, srv_key(key, "escrow-of", account, closing->period->ref), err);

    if (rc == SYN_OK)
        rc = bill_document(server, closing, &doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "bill", id, NULL), 0, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "bill-of", account, id), id, err);
    return rc < 0 ? rc
                  : srv_txn_put_text(
                        txn, srv_key(key, "bill-job", syn_document_id(closing->job), id), id, err);
}

static void
closing_fini(struct closing *closing)
{
    (void)syn_invoice_free(closing->invoice);
}

int
srv_settle(struct syn_server *server, struct srv_txn *txn, const json_t *job,
           const json_t *instances, const char *bill_id, struct syn_err *err)
{
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    SYN_SCOPED(counted_fini) struct srv_counted counted = {0};
    SYN_SCOPED(closing_fini)
    struct closing closing = {job, instances, &period, &counted, NULL, syn_wall_ms(server->world)};
    struct srv_ledger_place place;
    struct syn_ledger_tx tx;
    struct syn_invoice_terms terms = {.id = bill_id, .transaction = place.id};
    int rc;

    if (srv_service_derived(job))
        return release_instances(server, txn, instances, run_of(job), err);
    rc = srv_period_load(server, syn_document_id(job), run_of(job), &period, err);

    if (rc == SYN_OK)
        rc = srv_ledger_next(server, &place, err);
    if (rc == SYN_OK)
        rc = close_period(server, txn, &closing, &terms, err);
    if (rc == SYN_OK)
        rc = settlement_tx(&closing, &place, &tx, err);
    if (rc == SYN_OK)
        rc = srv_ledger_add(server, txn, &place, &tx, err);
    if (rc == SYN_OK)
        rc = write_bill(server, txn, &closing, err);
    if (rc == SYN_OK && period.revision > 0)
        rc = srv_txn_check(txn, period.key, period.revision, err);
    if (rc == SYN_OK && has_periods(job))
        rc = srv_count_end(server, txn, syn_document_id(job), closing.now_ms, err);
    return rc < 0 ? rc : release_instances(server, txn, instances, run_of(job), err);
}

/* Both movements of money, and nothing between them. */
static int
renewal_txs(const struct closing *closing, const struct srv_renewal *renewal,
            const struct srv_ledger_place *place, const char *ref, struct syn_ledger_tx ret[2],
            struct syn_err *err)
{
    struct srv_ledger_place after = srv_ledger_after(place);
    char memo[40];
    struct syn_ledger_head head = {after.id, after.seq, closing->now_ms, ref, memo};
    int rc = settlement_tx(closing, place, &ret[0], err);

    (void)snprintf(memo, sizeof(memo), "reserve of a %s", kind_of(closing->job));
    return rc < 0 ? rc
                  : syn_ledger_build_escrow(&head, closing->invoice->tenant, renewal->lock, &ret[1],
                                            err);
}

int
srv_renew(struct syn_server *server, struct srv_txn *txn, const json_t *job,
          const json_t *instances, const struct srv_renewal *renewal, struct syn_err *err)
{
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    SYN_SCOPED(counted_fini) struct srv_counted counted = {0};
    SYN_SCOPED(closing_fini)
    struct closing closing = {job, instances, &period, &counted, NULL, syn_wall_ms(server->world)};
    SYN_SCOPED(syn_free_scope) struct syn_ledger_tx *txs = syn_calloc(2, sizeof(*txs));
    struct srv_ledger_place place;
    struct syn_invoice_terms terms = {
        .id = renewal->bill_id, .transaction = place.id, .goes_on = true};
    char ref[SYN_LEDGER_REF_MAX], key[SRV_KEY_MAX], amount[SYN_FORMAT_MAX];
    int rc;

    if (txs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a renewal");
    rc = srv_period_load(server, syn_document_id(job), run_of(job), &period, err);
    if (rc < 0)
        return rc;
    srv_period_next_ref(&period, syn_document_id(job), run_of(job), ref);
    rc = srv_ledger_next(server, &place, err);
    if (rc == SYN_OK)
        rc = close_period(server, txn, &closing, &terms, err);
    if (rc == SYN_OK)
        rc = renewal_txs(&closing, renewal, &place, ref, txs, err);
    if (rc == SYN_OK)
        rc = srv_ledger_add_all(server, txn, &place, txs, 2, err);
    if (rc == SYN_OK)
        rc = write_bill(server, txn, &closing, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "escrow-of", syn_json_str(job, "account", ""), ref),
                              syn_format_amount(renewal->lock, amount), err);
    return rc < 0 ? rc
                  : srv_period_turn(txn, &period,
                                    &(struct srv_period_turn){ref, closing.invoice, &counted,
                                                              closing.now_ms, renewal->new_window},
                                    err);
}
