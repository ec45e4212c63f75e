/* Units in use: what was bought becomes processors for a job.
 *
 *     begin     the holder's units leave the exchange, and their seller owes so many fewer; from
 * now on they are a reservation, of one job, with one seller, for one unit's duration extend    the
 * same again when that is nearly over and the holder has more: it lasts longer end       the job
 * has ended or left: what is left of a unit lapses. Were they never used they are given back; was
 * it the seller's node that went away, the seller pays back for the time that is left
 *
 *     "reservation/ID"         the document, as all resources have one
 *     "reservation-open/JOB"   the job's, while it is in use
 *     "reservation-of/JOB/ID"  all that it had, for its bills
 *     "reservation-by/ACCOUNT/ID"  all that the account had
 *     "market-paid/ACCOUNT/CLASS"  what the account gave for the units that it holds
 *
 * A reservation is begun before the job's instances are written, under the job's name: when a
 * server dies in between, the job finds it begun. */
#include <inttypes.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/training_spec.h>

#include "market_priv.h"
#include "units_priv.h"

#define OPEN_PREFIX    "reservation-open/"
#define SWEEP_GRACE_MS INT64_C(60000) /* after its end, before somebody else ends it */

/* --- documents -------------------------------------------------------------------------------- */

static int
use_read(const json_t *doc, struct market_use *ret, struct syn_err *err)
{
    const json_t *spec = syn_document_spec(doc), *status = syn_document_status(doc);
    const struct {
        const char *text;
        char *out;
        size_t cap;
    } texts[] = {
        {syn_document_id(doc), ret->id, sizeof(ret->id)},
        {syn_json_str(doc, "account", ""), ret->account, sizeof(ret->account)},
        {syn_json_str(spec, "job", ""), ret->job, sizeof(ret->job)},
        {syn_json_str(spec, "provider", ""), ret->provider, sizeof(ret->provider)},
        {syn_json_str(spec, "class", ""), ret->class, sizeof(ret->class)},
    };

    for (size_t i = 0; i < SYN_LEN(texts); i++)
        if (texts[i].text[0] == '\0' || !syn_str_copy(texts[i].out, texts[i].cap, texts[i].text))
            return SYN_FAIL(err, SYN_E_CORRUPT, "reservation \"%.60s\" is none",
                            syn_document_id(doc));
    ret->units = syn_json_i64(spec, "units", 0);
    ret->run = syn_json_i64(spec, "run", 0);
    ret->attempt = syn_json_i64(spec, "attempt", 0);
    ret->at_ms = syn_document_time(status, "begun_at");
    ret->until_ms = syn_document_time(status, "until");
    ret->paid = syn_document_amount(status, "paid");
    if (ret->units < 1 || ret->until_ms < ret->at_ms || ret->at_ms < 0 || ret->paid < 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "reservation %s is none", ret->id);
    return SYN_OK;
}

static int
add_use(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct srv_market *market = arg;
    const char *id = json_string_value(doc);
    struct market_use *use;
    char doc_key[SRV_KEY_MAX];
    SYN_JSON(reservation);
    int rc;

    (void)revision;
    (void)key;
    rc = srv_need(market->server, srv_key(doc_key, "reservation", id != NULL ? id : "?", NULL),
                  "reservation", &reservation, NULL, err);
    if (rc < 0)
        return rc;
    use = syn_calloc(1, sizeof(*use));
    if (use == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for units in use");
    rc = use_read(reservation, use, err);
    if (rc < 0) {
        syn_free(use);
        return rc;
    }
    return syn_map_put_take(market->uses, use->job, use, err);
}

int
srv_market_uses_read(struct srv_market *market, struct syn_err *err)
{
    int rc;

    market->uses = syn_map_free(market->uses);
    rc = syn_map_new(syn_free, &market->uses, err);
    return rc < 0 ? rc : srv_each(market->server, OPEN_PREFIX, add_use, market, err);
}

static const struct {
    const char *state, *reason, *message;
} ends[] = {
    [SRV_UNITS_OVER] = {"ended", "over", "Its job ended, or its time was up."},
    [SRV_UNITS_UNUSED] = {"returned", "unused",
                          "The job did not start: the units were given back."},
    [SRV_UNITS_LOST] = {"ended", "node-lost",
                        "The seller's node was lost: the time that was left is paid back."},
};

static int
use_document(struct market_work *work, const struct market_use *use, int64_t refund, int how,
             json_t **ret, struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(work->server->world);
    const struct syn_document_new new_doc = {"reservation", use->id, use->id, use->account, now_ms};
    char key[SRV_KEY_MAX];
    json_t *spec = NULL, *status;
    SYN_JSON(doc);
    int rc = srv_load(work->server, srv_key(key, "reservation", use->id, NULL), &doc, NULL, err);

    if (rc == SRV_ABSENT) {
        rc = syn_json_pack(&spec, err, "{s:s, s:s, s:s, s:I, s:I, s:I}", "job", use->job, "class",
                           use->class, "provider", use->provider, "units", (json_int_t)use->units,
                           "run", (json_int_t)use->run, "attempt", (json_int_t)use->attempt);
        if (rc == SYN_OK)
            rc = syn_document_make_take(&new_doc, spec, &doc, err);
    }
    if (rc < 0)
        return rc;
    status = syn_document_status(doc);
    rc = how < 0
             ? syn_document_set_state(doc, "in-use", "begun", "A job has these processors.", err)
             : syn_document_set_state(doc, ends[how].state, ends[how].reason, ends[how].message,
                                      err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(status, "begun_at", use->at_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(status, "until", use->until_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(status, "ended_at", how < 0 ? SYN_DOCUMENT_NONE : now_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "paid", use->paid, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "refund", refund, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* --- what units cost their holder ------------------------------------------------------------- */

int
srv_market_paid_load(struct syn_server *server, const char *account, const char *class,
                     struct market_paid *ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "market-paid", account, class), &doc, NULL, err);

    *ret = (struct market_paid){syn_json_i64(doc, "units", 0), 0};
    if (rc == SYN_OK && ret->units > 0)
        ret->amount = SYN_MAX(syn_document_amount(doc, "paid"), 0);
    return rc < 0 ? rc : SYN_OK;
}

int
srv_market_paid_put(struct srv_txn *txn, const char *account, const char *class,
                    const struct market_paid *paid, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    (void)srv_key(key, "market-paid", account, class);
    if (paid->units <= 0)
        return srv_txn_delete(txn, key, err);
    rc = syn_json_pack(&doc, err, "{s:I}", "units", (json_int_t)paid->units);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(doc, "paid", paid->amount, err);
    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

int64_t
srv_market_paid_take(struct market_paid *paid, int64_t units)
{
    int64_t part;

    if (paid->units <= 0)
        return 0;
    units = SYN_MIN(units, paid->units);
    part = (int64_t)((syn_i128)paid->amount * units / paid->units);
    paid->units -= units;
    paid->amount -= part;
    return part;
}

static bool
same_units(const struct market_touch *a, const struct market_touch *b)
{
    return a->account == b->account && a->class == b->class;
}

/* What the account's orders of this class did together, from the first of them on. */
static int
put_paid_of(struct market_work *work, struct srv_txn *txn, const struct market_touch *touches,
            const json_t *docs, size_t count, struct syn_err *err)
{
    const char *account = syn_exchange_account_name(work->exchange, touches[0].account);
    const char *class = syn_exchange_class_name(work->exchange, touches[0].class);
    int64_t sold = 0, bought = 0;
    syn_i128 cost = 0;
    size_t first = json_array_size(docs) - count;
    struct market_paid paid;
    int rc;

    for (size_t i = 0; i < count; i++) {
        const json_t *doc = json_array_get(docs, first + i);

        if (!same_units(&touches[i], &touches[0]) || touches[i].traded == 0)
            continue;
        if (syn_str_eq(syn_json_str(syn_document_spec(doc), "side", ""), "sell")) {
            sold += touches[i].traded;
        } else {
            bought += touches[i].traded;
            cost += touches[i].paid;
        }
    }
    if (sold == 0 && bought == 0)
        return SYN_OK;
    rc = srv_market_paid_load(work->server, account, class, &paid, err);
    if (rc < 0)
        return rc;
    paid.units += bought;
    paid.amount = (int64_t)SYN_MIN((syn_i128)paid.amount + cost, (syn_i128)SYN_AMOUNT_MAX);
    (void)srv_market_paid_take(&paid, sold);
    return srv_market_paid_put(txn, account, class, &paid, err);
}

int
srv_market_put_paid(struct market_work *work, struct srv_txn *txn,
                    const struct market_touch *touches, const json_t *docs, size_t count,
                    struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        bool first = touches[i].class != MARKET_NONE;

        for (size_t j = 0; j < i && first; j++)
            first = !same_units(&touches[j], &touches[i]);
        if (first)
            rc = put_paid_of(work, txn, &touches[i], docs, count - i, err);
    }
    return rc;
}

/* --- begin, extend ---------------------------------------------------------------------------- */

int64_t
srv_market_owed(const struct srv_market *market, const char *provider, const char *class)
{
    const struct syn_exchange *exchange = market->exchange;
    struct syn_balance own =
        syn_exchange_capacity(exchange, syn_exchange_find_account(exchange, provider),
                              syn_exchange_find_class(exchange, class));

    return srv_market_issued(market, provider, class) - own.free - own.held;
}

/* Of one reservation, what changes. */
struct using
{
    struct market_use use;
    enum srv_units_end how;
    bool ends;
    bool began; /* it is new, or lasts longer */
    int64_t refund;
    struct market_paid left; /* what the account's other units cost */
};

static int
write_using(struct market_work *work, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct using *using = arg;
    const struct market_use *use = &using->use;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = use_document(work, use, using->refund, using->ends ? (int)using->how : -1, &doc, err);

    if (rc == SYN_OK)
        rc = srv_txn_put(txn, srv_key(key, "reservation", use->id, NULL), doc, err);
    if (rc == SYN_OK)
        rc = using->ends
                 ? srv_txn_delete(txn, srv_key(key, "reservation-open", use->job, NULL), err)
                 : srv_txn_put_text(txn, srv_key(key, "reservation-open", use->job, NULL), use->id,
                                    err);
    if (rc == SYN_OK && !using->ends)
        rc = srv_txn_put_text(txn, srv_key(key, "reservation-of", use->job, use->id), use->id, err);
    if (rc == SYN_OK)
        rc = srv_txn_put_text(txn, srv_key(key, "reservation-by", use->account, use->id), use->id,
                              err);
    if (rc == SYN_OK && (using->began || (using->ends && using->how == SRV_UNITS_UNUSED)))
        rc = srv_market_paid_put(txn, use->account, use->class, &using->left, err);
    return rc;
}

/* The map as the documents will be; when they are not written it is read again. */
static int
keep_use(struct srv_market *market, const struct market_use *use, struct syn_err *err)
{
    struct market_use *copy = syn_map_find(market->uses, use->job);

    if (copy != NULL) {
        *copy = *use;
        return SYN_OK;
    }
    copy = syn_alloc(sizeof(*copy));
    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for units in use");
    *copy = *use;
    return syn_map_put_take(market->uses, use->job, copy, err);
}

/* Units leave the holder, and the seller owes so many fewer. */
static int
take_units(struct market_work *work, struct using *using, struct syn_err *err)
{
    struct market_use *use = &using->use;
    const struct syn_exchange *exchange = work->exchange;
    struct syn_market_event event = {.kind = SYN_EVENT_RETIRE, .qty = use->units};
    struct syn_market_outcome outcome;
    struct market_class_name name;
    uint32_t provider = syn_exchange_find_account(exchange, use->provider);
    int rc = srv_market_class_parse(use->class, &name, err);

    if (rc < 0)
        return rc;
    event.account = syn_exchange_find_account(exchange, use->account);
    event.class = syn_exchange_find_class(exchange, use->class);
    if (syn_exchange_capacity(exchange, event.account, event.class).free < use->units)
        return SYN_FAIL(err, SYN_E_FUNDS,
                        "the account holds %" PRId64 " free %s of %s, not %" PRId64,
                        syn_exchange_capacity(exchange, event.account, event.class).free, "units",
                        use->class, use->units);
    if (srv_market_owed(work->market, use->provider, use->class) < use->units)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s owes fewer units of %s", use->provider,
                        use->class);
    rc = srv_market_paid_load(work->server, use->account, use->class, &using->left, err);
    if (rc < 0)
        return rc;
    use->paid += srv_market_paid_take(&using->left, use->units);
    use->until_ms += name.duration_ms;
    using->began = true;
    work->also = write_using;
    work->also_arg = using;
    (void)snprintf(work->memo, sizeof(work->memo), "%.60s: %" PRId64 " of %.70s", use->id,
                   use->units, use->class);
    rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK)
        rc = srv_market_look_at(work, event.account, event.class, err);
    if (rc == SYN_OK)
        rc = srv_market_reissue(work, provider, event.class, -use->units, err);
    if (rc == SYN_OK)
        rc = keep_use(work->market, use, err);
    if (rc < 0)
        work->batch.failed = true; /* applied in part: it must not be written */
    return rc;
}

static int
begin(struct market_work *work, void *arg, struct syn_err *err)
{
    struct using *using = arg;
    const struct market_use *known = syn_map_find(work->market->uses, using->use.job);

    if (known != NULL && syn_str_eq(known->provider, using->use.provider) &&
        syn_str_eq(known->class, using->use.class) && known->units == using->use.units) {
        using->use = *known; /* begun before, by a server that died then */
        return SYN_OK;
    }
    if (known != NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "%s has other units in use", known->job);
    using->use.at_ms = using->use.until_ms = syn_wall_ms(work->server->world);
    return take_units(work, using, err);
}

static int
extend(struct market_work *work, void *arg, struct syn_err *err)
{
    struct using *using = arg;
    const struct market_use *known = syn_map_find(work->market->uses, using->use.job);

    if (known == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no units in use", using->use.job);
    using->use = *known;
    return take_units(work, using, err);
}

int
srv_units_begin(struct syn_server *server, const struct srv_units_begin *wanted,
                struct syn_err *err)
{
    struct using using = {
        .use = {.units = wanted->units, .run = wanted->run, .attempt = wanted->attempt}};
    const char *dash = strchr(wanted->job, '-');

    (void)syn_str_copy(using.use.job, sizeof(using.use.job), wanted->job);
    (void)syn_str_copy(using.use.account, sizeof(using.use.account), wanted->account);
    (void)syn_str_copy(using.use.provider, sizeof(using.use.provider), wanted->provider);
    (void)syn_str_copy(using.use.class, sizeof(using.use.class), wanted->class);
    (void)snprintf(using.use.id, sizeof(using.use.id), "rsv-%.40s-%" PRId64 "-%" PRId64,
                   dash != NULL && dash[1] != '\0' ? dash + 1 : wanted->job, wanted->run,
                   wanted->attempt);
    return srv_market_run(server, NULL, begin, &using, NULL, err);
}

int
srv_units_extend(struct syn_server *server, const char *job, struct syn_err *err)
{
    struct using using = {.began = false};

    (void)syn_str_copy(using.use.job, sizeof(using.use.job), job);
    return srv_market_run(server, NULL, extend, &using, NULL, err);
}

/* --- end -------------------------------------------------------------------------------------- */

/* What the seller owes back for the time that is left, as far as it has it. */
static int
refund_of(struct market_work *work, struct using *using, struct syn_err *err)
{
    const struct market_use *use = &using->use;
    int64_t now_ms = syn_wall_ms(work->server->world), balance = 0;
    int64_t span_ms = use->until_ms - use->at_ms;
    int64_t left_ms = SYN_MIN(SYN_MAX(use->until_ms - now_ms, 0), span_ms);
    int64_t due;
    int rc = srv_balance(work->server, use->provider, &balance, err);

    if (rc < 0 || span_ms == 0)
        return rc;
    due = (int64_t)((syn_i128)use->paid * left_ms / span_ms);
    using->refund = SYN_MIN(due, SYN_MAX(balance, 0));
    if (using->refund < due)
        syn_log(SYN_LOG_WARN, "market.refund-short", "reservation=%s provider=%s due=%" PRId64,
                use->id, use->provider, due);
    work->refund.amount = using->refund;
    (void)syn_str_copy(work->refund.from, sizeof(work->refund.from), use->provider);
    (void)syn_str_copy(work->refund.to, sizeof(work->refund.to), use->account);
    (void)snprintf(work->memo, sizeof(work->memo), "%s: refund for a node that was lost", use->id);
    return SYN_OK;
}

/* The units are the holder's again, as if nothing had been. */
static int
give_back(struct market_work *work, struct using *using, struct syn_err *err)
{
    struct market_use *use = &using->use;
    struct syn_market_event event = {.kind = SYN_EVENT_GRANT, .qty = use->units};
    struct syn_market_outcome outcome;
    uint32_t provider = SYN_NO_INDEX;
    int rc = srv_market_paid_load(work->server, use->account, use->class, &using->left, err);

    if (rc == SYN_OK)
        rc = srv_market_account(work, use->account, &event.account, err);
    if (rc == SYN_OK)
        rc = srv_market_account(work, use->provider, &provider, err);
    if (rc == SYN_OK)
        rc = srv_market_class(work, use->class, &event.class, err);
    if (rc == SYN_OK)
        rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK)
        rc = srv_market_reissue(work, provider, event.class, use->units, err);
    using->left.units += use->units;
    using->left.amount += use->paid;
    if (rc < 0)
        work->batch.failed = true;
    return rc;
}

static int
end(struct market_work *work, void *arg, struct syn_err *err)
{
    struct using *using = arg;
    const struct market_use *known = syn_map_find(work->market->uses, using->use.job);
    int rc = SYN_OK;

    if (known == NULL)
        return SYN_OK;
    using->use = *known;
    using->ends = true;
    work->also = write_using;
    work->also_arg = using;
    if (using->how == SRV_UNITS_LOST)
        rc = refund_of(work, using, err);
    else if (using->how == SRV_UNITS_UNUSED)
        rc = give_back(work, using, err);
    if (rc == SYN_OK)
        (void)syn_map_remove(work->market->uses, using->use.job);
    return rc;
}

int
srv_units_end(struct syn_server *server, const char *job, enum srv_units_end how,
              struct syn_err *err)
{
    struct using using = {.how = how};

    (void)syn_str_copy(using.use.job, sizeof(using.use.job), job);
    return srv_market_run(server, NULL, end, &using, NULL, err);
}

/* A reservation whose time is long over, and whose job has gone. */
static int
find_over(struct syn_server *server, char *ret_job, struct syn_err *err)
{
    struct srv_market *market = server->market;
    int64_t now_ms = syn_wall_ms(server->world);
    size_t cursor = 0;
    void *value;
    int rc = srv_market_enter(market, err);

    ret_job[0] = '\0';
    if (rc < 0)
        return rc;
    while (rc == SYN_OK && ret_job[0] == '\0' &&
           syn_map_next(market->uses, &cursor, NULL, &value)) {
        const struct market_use *use = value;
        char key[SRV_KEY_MAX];
        SYN_JSON(job);
        int state;

        if (use->until_ms + SWEEP_GRACE_MS > now_ms)
            continue;
        rc = srv_load(server, srv_key(key, "training", use->job, NULL), &job, NULL, err);
        state = rc == SYN_OK ? syn_job_state_find(syn_document_state(job)) : -1;
        if (rc == SRV_ABSENT || (state >= 0 && syn_sm_terminal(&syn_job_life, (unsigned)state)))
            (void)syn_str_copy(ret_job, SYN_ID_MAX, use->job);
        rc = rc == SRV_ABSENT ? SYN_OK : rc;
    }
    srv_market_leave(market);
    return rc;
}

int
srv_market_uses_sweep(struct syn_server *server, struct syn_err *err)
{
    char job[SYN_ID_MAX];
    int rc = find_over(server, job, err);

    while (rc == SYN_OK && job[0] != '\0') {
        rc = srv_units_end(server, job, SRV_UNITS_OVER, err);
        if (rc == SYN_OK)
            rc = find_over(server, job, err);
    }
    return rc;
}

int64_t
srv_market_in_use(const struct srv_market *market, const char *account, const char *class)
{
    int64_t units = 0;
    size_t cursor = 0;
    void *value;

    while (syn_map_next(market->uses, &cursor, NULL, &value)) {
        const struct market_use *use = value;

        if (syn_str_eq(use->account, account) && syn_str_eq(use->class, class))
            units += use->units;
    }
    return units;
}

struct billing {
    struct syn_server *server;
    int64_t run;
    json_t *rows;
};

static int
bill_one(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct billing *billing = arg;
    char doc_key[SRV_KEY_MAX];
    const json_t *spec, *status;
    json_t *row = NULL;
    SYN_JSON(reservation);
    int rc = srv_need(billing->server, srv_key(doc_key, "reservation", strrchr(key, '/') + 1, NULL),
                      "reservation", &reservation, NULL, err);

    (void)doc;
    (void)revision;
    if (rc < 0)
        return rc;
    spec = syn_document_spec(reservation);
    status = syn_document_status(reservation);
    if (syn_json_i64(spec, "run", 0) != billing->run)
        return SYN_OK;
    rc = syn_json_pack(&row, err, "{s:s, s:s, s:I, s:s, s:s}", "reservation",
                       syn_document_id(reservation), "class", syn_json_str(spec, "class", ""),
                       "units", (json_int_t)syn_json_i64(spec, "units", 0), "paid",
                       syn_json_str(status, "paid", "0"), "refund",
                       syn_json_str(status, "refund", "0"));
    return rc < 0 ? rc : syn_json_append_take(billing->rows, row, err);
}

int
srv_units_bill(struct syn_server *server, const char *job, int64_t run, json_t *spec,
               struct syn_err *err)
{
    struct billing billing = {server, run, json_array()};
    char prefix[SRV_KEY_MAX];
    SYN_JSON(rows);
    int rc;

    rows = billing.rows;
    if (rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a bill");
    rc = srv_each(server, srv_key(prefix, "reservation-of", job, ""), bill_one, &billing, err);
    if (rc < 0 || json_array_size(rows) == 0)
        return rc;
    return syn_json_set_take(spec, "reserved", SYN_TAKE(rows), err);
}

/* --- what placement is told ------------------------------------------------------------------- */

int
srv_units_look(struct syn_server *server, const char *account, const char *class, const char *job,
               struct srv_units *ret, struct syn_err *err)
{
    struct srv_market *market = server->market;
    struct market_class_name name;
    const struct market_use *use;
    size_t cursor = 0;
    const char *key;
    int rc = srv_market_class_parse(class, &name, err);

    *ret = (struct srv_units){.until_ms = 0};
    if (rc == SYN_OK)
        rc = srv_market_enter(market, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(ret->good, sizeof(ret->good), name.triple);
    ret->unit_ms = name.duration_ms;
    ret->have = syn_exchange_capacity(market->exchange,
                                      syn_exchange_find_account(market->exchange, account),
                                      syn_exchange_find_class(market->exchange, class))
                    .free;
    while (syn_map_next(market->issued, &cursor, &key, NULL) &&
           ret->sellers_count < SYN_LEN(ret->sellers)) {
        char *seller = ret->names[ret->sellers_count];

        if (!syn_str_eq(strchr(key, '/') + 1, class))
            continue;
        (void)snprintf(seller, SYN_ID_MAX, "%.*s", (int)(strchr(key, '/') - key), key);
        if (srv_market_owed(market, seller, class) > 0)
            ret->sellers[ret->sellers_count++] = seller;
    }
    use = syn_map_find(market->uses, job);
    if (use != NULL) {
        ret->until_ms = use->until_ms;
        ret->attempt = use->attempt;
        ret->have += ret->until_ms > syn_wall_ms(server->world) ? use->units : 0;
        (void)syn_str_copy(ret->names[SRV_SELLERS_MAX], SYN_ID_MAX, use->provider);
    }
    srv_market_leave(market);
    return SYN_OK;
}

int
srv_units_view(struct syn_server *server, const char *account, const json_t *spec, const char *job,
               struct srv_units *units, struct syn_training_units *ret, struct syn_err *err)
{
    const char *class = syn_json_str(spec, "reserved", "");
    int rc;

    *ret = (struct syn_training_units){.good = NULL};
    if (*class == '\0')
        return SYN_OK;
    rc = srv_units_look(server, account, class, job, units, err);
    if (rc < 0)
        return rc;
    *ret = (struct syn_training_units){.good = units->good,
                                       .have = units->have,
                                       .unit_ms = units->unit_ms,
                                       .until_ms = units->until_ms,
                                       .sellers = units->sellers,
                                       .sellers_count = units->sellers_count};
    return SYN_OK;
}

int
srv_market_keeps(struct syn_server *server, struct syn_keep **ret, size_t *ret_count,
                 struct syn_err *err)
{
    struct srv_market *market = server->market;
    struct syn_keep *keeps = NULL;
    size_t count = 0, cursor = 0, at;
    const char *key;
    void *issued;
    int rc = srv_market_enter(market, err);

    if (rc < 0)
        return rc;
    keeps = syn_calloc(syn_map_count(market->issued) + 1, sizeof(*keeps));
    if (keeps == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for what is sold");
    while (rc == SYN_OK && syn_map_next(market->issued, &cursor, &key, &issued)) {
        struct syn_keep keep = {.units = ((const struct market_issued *)issued)->count};
        const char *class = strchr(key, '/') + 1;

        (void)snprintf(keep.provider, sizeof(keep.provider), "%.*s", (int)(class - 1 - key), key);
        if (keep.units <= 0 || (size_t)(strrchr(class, '/') - class) >= sizeof(keep.good))
            continue;
        (void)snprintf(keep.good, sizeof(keep.good), "%.*s", (int)(strrchr(class, '/') - class),
                       class);
        for (at = 0; at < count; at++)
            if (syn_str_eq(keeps[at].provider, keep.provider) &&
                syn_str_eq(keeps[at].good, keep.good))
                break;
        if (at == count)
            keeps[count++] = keep;
        else
            keeps[at].units += keep.units;
    }
    srv_market_leave(market);
    if (rc < 0)
        return rc;
    *ret = keeps;
    *ret_count = count;
    return SYN_OK;
}

void
srv_market_promise(struct syn_server *server)
{
    (void)pthread_mutex_lock(&server->market->capacity);
}

void
srv_market_promised(struct syn_server *server)
{
    (void)pthread_mutex_unlock(&server->market->capacity);
}
