/* Billing periods: what runs on is billed a piece at a time.
 *
 *     run "svc-x.1":   |--- period 1, escrow svc-x.1 ---|--- period 2, svc-x.1.2 ---|--- ...
 *                       samples 1..k of each instance    samples k+1..              the rest of a
 *                       bill-x-1                         bill-x-1-000002            base unit goes
 * on
 *
 * A period's document says where it began: for each instance the meter as it then was. What is
 * metered in it is the difference, so nothing has to be cut: the samples that the server has had
 * when the bill is written are in it, those that come later are the next one's. The bill, both
 * movements of money and the next period's document are one store transaction.
 *
 * Beside the samples that nodes sign there is what the server counts by itself: for how long a
 * service had a load balancer, and an address; for how long a volume had which size. Such a meter
 * is a sum of ms and when it was turned on; a period's document says where that stood, too. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>

#include "bills_priv.h"
#include "function_priv.h"
#include "volumes_priv.h"

void
srv_period_fini(struct srv_period *period)
{
    json_decref(period->doc);
    period->doc = NULL;
}

/* As it is where no document says otherwise: the first one of the run. */
static int
first_period(const char *run_ref, int64_t since_ms, json_t **ret, struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:s, s:i, s:I, s:I, s:s, s:s, s:n, s:{}, s:{}}", "ref",
                         run_ref, "number", 1, "since_ms", (json_int_t)since_ms, "window_since_ms",
                         (json_int_t)since_ms, "window_spent", "0", "carried", "0/1", "previous",
                         "after", "network");
}

int
srv_period_load(struct syn_server *server, const char *job, int64_t run, struct srv_period *ret,
                struct syn_err *err)
{
    char run_ref[SYN_LEDGER_REF_MAX];
    struct srv_period period = {.number = 1};
    SYN_JSON(doc);
    int rc;

    srv_escrow_ref(job, run, run_ref);
    rc =
        srv_load(server, srv_key(period.key, "period", run_ref, NULL), &doc, &period.revision, err);
    if (rc == SRV_ABSENT) {
        period.revision = 0;
        rc = first_period(run_ref, 0, &doc, err);
    }
    if (rc < 0)
        return rc;
    if (!syn_str_copy(period.ref, sizeof(period.ref), syn_json_str(doc, "ref", "")) ||
        period.ref[0] == '\0')
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s is no period", period.key);
    period.number = syn_json_i64(doc, "number", 1);
    period.since_ms = syn_json_i64(doc, "since_ms", 0);
    period.window_since_ms = syn_json_i64(doc, "window_since_ms", 0);
    period.window_spent = SYN_MAX(syn_document_amount(doc, "window_spent"), 0);
    rc = syn_invoice_rest_parse(syn_json_str(doc, "carried", "0/1"), "carried", &period.carried,
                                err);
    if (rc < 0)
        return syn_err_wrap(err, SYN_E_CORRUPT, "%s", period.key);
    period.doc = SYN_TAKE(doc);
    *ret = period;
    return SYN_OK;
}

int
srv_period_begin(struct syn_server *server, struct srv_txn *txn, const char *job, int64_t run,
                 struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(server->world);
    char run_ref[SYN_LEDGER_REF_MAX];
    char key[SRV_KEY_MAX];
    json_t *network = NULL; /* what it was before is another run's, or nobody's */
    SYN_JSON(doc);
    int rc;

    srv_escrow_ref(job, run, run_ref);
    rc = first_period(run_ref, now_ms, &doc, err);
    if (rc == SYN_OK)
        rc = srv_count_read(server, job, now_ms, &network, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "network", network, err);
    return rc < 0 ? rc : srv_txn_replace(txn, srv_key(key, "period", run_ref, NULL), 0, doc, err);
}

int
srv_period_after(const struct srv_period *period, const char *instance, struct syn_meter *ret,
                 struct syn_err *err)
{
    const json_t *doc = json_object_get(json_object_get(period->doc, "after"), instance);

    return doc != NULL ? syn_meter_decode(doc, ret, err) : syn_meter_init(ret, instance, err);
}

int
srv_period_billed(const struct srv_period *period, json_t **ret, struct syn_err *err)
{
    const char *instance;
    json_t *meter;
    SYN_JSON(billed);
    int rc = SYN_OK;

    billed = json_object();
    if (billed == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what is billed");
    json_object_foreach (json_object_get(period->doc, "after"), instance, meter)
        if (rc == SYN_OK)
            rc = syn_json_set_i64(billed, instance, syn_json_i64(meter, "seq", 0), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(billed);
    return rc;
}

/* --- what follows ----------------------------------------------------------------------------- */

void
srv_period_next_ref(const struct srv_period *period, const char *job, int64_t run, char *out)
{
    char run_ref[SYN_LEDGER_REF_MAX];

    srv_escrow_ref(job, run, run_ref);
    (void)snprintf(out, SYN_LEDGER_REF_MAX, "%.40s.%lld", run_ref, (long long)period->number + 1);
}

static int
add_after(json_t *after, const struct srv_counted *counted, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < counted->meter_count; i++) {
        json_t *meter = NULL;

        if (counted->meters[i].seq == 0)
            continue;
        rc = syn_meter_encode(&counted->meters[i], &meter, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(after, counted->meters[i].instance, meter, err);
    }
    return rc;
}

int
srv_period_turn(struct srv_txn *txn, const struct srv_period *period,
                const struct srv_period_turn *turn, struct syn_err *err)
{
    int64_t since_ms = turn->new_window ? turn->now_ms : period->window_since_ms;
    int64_t spent = turn->new_window ? 0 : period->window_spent + turn->invoice->charge;
    char rest[SYN_INVOICE_REST_MAX];
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:s, s:I, s:I, s:I, s:s, s:s, s:{}, s:O}", "ref", turn->ref,
                           "number", (json_int_t)period->number + 1, "since_ms",
                           (json_int_t)turn->now_ms, "window_since_ms", (json_int_t)since_ms,
                           "carried", syn_invoice_rest_format(&turn->invoice->rest, rest),
                           "previous", turn->invoice->id, "after", "network", turn->counted->own);

    if (rc == SYN_OK)
        rc = syn_document_set_amount(doc, "window_spent", spent, err);
    if (rc == SYN_OK)
        rc = add_after(json_object_get(doc, "after"), turn->counted, err);
    return rc < 0 ? rc : srv_txn_replace(txn, period->key, period->revision, doc, err);
}

/* --- what the server counts ------------------------------------------------------------------- */

/* What a service's network is charged for. */
static const char *const network_items[] = {"lb", "static-ip"};

static int64_t
network_ms(const json_t *meter, int64_t now_ms)
{
    int64_t since_ms = syn_json_i64(meter, "since_ms", 0);

    return syn_json_i64(meter, "total_ms", 0) + (since_ms > 0 ? SYN_MAX(now_ms - since_ms, 0) : 0);
}

static int
network_load(struct syn_server *server, const char *service, char *key, json_t **ret,
             int64_t *ret_revision, struct syn_err *err)
{
    int rc = srv_load(server, srv_key(key, "network", service, NULL), ret, ret_revision, err);

    if (rc != SRV_ABSENT)
        return rc;
    *ret_revision = 0;
    return syn_json_pack(ret, err, "{}");
}

/* Turn one meter on or off; false in *ret_changed when it was so. */
static int
network_turn(json_t *doc, const char *item, bool on, int64_t now_ms, bool *ret_changed,
             struct syn_err *err)
{
    const json_t *meter = json_object_get(doc, item);
    json_t *turned = NULL;
    int rc;

    *ret_changed = on != (syn_json_i64(meter, "since_ms", 0) > 0);
    if (!*ret_changed)
        return SYN_OK;
    rc =
        syn_json_pack(&turned, err, "{s:I, s:I}", "total_ms", (json_int_t)network_ms(meter, now_ms),
                      "since_ms", (json_int_t)(on ? now_ms : 0));
    return rc < 0 ? rc : syn_json_set_take(doc, item, turned, err);
}

int
srv_network_set(struct syn_server *server, struct srv_txn *txn, const char *service,
                const char *item, bool on, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    bool changed = false;
    SYN_JSON(doc);
    int rc = network_load(server, service, key, &doc, &revision, err);

    assert(syn_str_eq(item, network_items[0]) || syn_str_eq(item, network_items[1]));
    if (rc == SYN_OK)
        rc = network_turn(doc, item, on, syn_wall_ms(server->world), &changed, err);
    if (rc < 0)
        return rc;
    return changed ? srv_txn_replace(txn, key, revision, doc, err)
                   : srv_txn_check(txn, key, revision, err);
}

static int
network_end(struct syn_server *server, struct srv_txn *txn, const char *service, int64_t now_ms,
            struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    bool any = false;
    SYN_JSON(doc);
    int rc = network_load(server, service, key, &doc, &revision, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(network_items); i++) {
        bool changed = false;

        rc = network_turn(doc, network_items[i], false, now_ms, &changed, err);
        any = any || changed;
    }
    if (rc < 0)
        return rc;
    return any ? srv_txn_replace(txn, key, revision, doc, err)
               : srv_txn_check(txn, key, revision, err);
}

/* {item: ms that it has been on, in all}. */
static int
network_read(struct syn_server *server, const char *service, int64_t now_ms, json_t **ret,
             struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(doc);
    SYN_JSON(totals);
    int rc = network_load(server, service, key, &doc, &revision, err);

    totals = json_object();
    if (rc == SYN_OK && totals == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what a network is charged for");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(network_items); i++) {
        int64_t ms = network_ms(json_object_get(doc, network_items[i]), now_ms);

        if (ms > 0)
            rc = syn_json_set_i64(totals, network_items[i], ms, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(totals);
    return rc;
}

static int
network_usage(const json_t *before, const json_t *now, struct syn_usage_sum *ret,
              struct syn_err *err)
{
    int rc = SYN_OK;

    *ret = (struct syn_usage_sum){0};
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(network_items); i++) {
        int64_t ms =
            syn_json_i64(now, network_items[i], 0) - syn_json_i64(before, network_items[i], 0);

        if (ms > 0) /* a clock that was set back counts nothing twice */
            rc = syn_usage_add(ret, network_items[i], SYN_MEASURE_MS, (syn_u128)ms, err);
    }
    return rc;
}

/* --- either ----------------------------------------------------------------------------------- */

bool
srv_is_volume(const char *job)
{
    return syn_str_starts(job, SRV_VOLUME_IDS);
}

bool
srv_is_function(const char *job)
{
    return syn_str_starts(job, SRV_FUNCTION_IDS);
}

const char *
srv_count_key(const char *job)
{
    return srv_is_volume(job) ? "stored" : srv_is_function(job) ? "calls" : "network";
}

int
srv_count_read(struct syn_server *server, const char *job, int64_t now_ms, json_t **ret,
               struct syn_err *err)
{
    return srv_is_volume(job)     ? srv_volume_meter_read(server, job, now_ms, ret, NULL, err)
           : srv_is_function(job) ? srv_calls_read(server, job, now_ms, ret, err)
                                  : network_read(server, job, now_ms, ret, err);
}

/* One row, of who is paid for it: of what the server counts of a network, the platform. */
static int
usage_of_one(struct syn_server *server, const char *job, const json_t *before, const json_t *now,
             struct srv_own *ret, struct syn_err *err)
{
    SYN_JSON(meter);
    int rc;

    if (!srv_is_volume(job)) {
        (void)syn_str_copy(ret->provider, SYN_ID_MAX, server->provider_id);
        return network_usage(before, now, &ret->sum, err);
    }
    rc = srv_volume_meter_read(server, job, syn_wall_ms(server->world), &meter, ret->provider, err);
    return rc < 0 ? rc : srv_volume_usage(server, before, now, &ret->sum, err);
}

int
srv_count_usage(struct syn_server *server, const char *job, const json_t *before, const json_t *now,
                struct srv_own **ret, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct srv_own *rows = syn_calloc(SRV_OWN_MAX, sizeof(*rows));
    int rc;

    if (rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what was counted");
    if (srv_is_function(job)) {
        rc = srv_calls_usage(before, now, rows, ret_count, err);
    } else {
        rc = usage_of_one(server, job, before, now, &rows[0], err);
        *ret_count = rows[0].sum.count > 0;
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(rows);
    return rc;
}

int
srv_count_end(struct syn_server *server, struct srv_txn *txn, const char *job, int64_t now_ms,
              struct syn_err *err)
{
    return srv_is_volume(job)     ? srv_volume_meter_end(server, txn, job, now_ms, err)
           : srv_is_function(job) ? SYN_OK /* nothing of it is kept ready by then */
                                  : network_end(server, txn, job, now_ms, err);
}
