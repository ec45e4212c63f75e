/* What volumes cost, and who pays: see volumes_priv.h.
 *
 *     made, or given its node     a period's worth of its owner's money is locked
 *     every hour (sweep.c)        less than a quarter of that is left: more is locked
 *     every 24 hours              the period is billed, and the next one begins
 *     removed                     the last bill
 *
 * Where the account has nothing left, the volume is *unpaid*: it is counted on, and what it owes is
 * paid first when money comes. After seven days it goes, unless a service that runs uses it; then
 * its bill is what was locked, and the rest is its provider's loss. */
#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>

#include "bills_priv.h"
#include "volumes_priv.h"

#define ITEM   "volume"
#define AGAIN  4 /* looks in a row: begin, pay what is owed, bill */
#define NO_JOB 1

int64_t
srv_volume_cost(const struct syn_server *server, int64_t bytes, int64_t ms)
{
    const struct syn_price *price = syn_pricebook_find(server->prices, ITEM);
    syn_u128 exact, per;

    if (price == NULL || price->unit->measure != SYN_MEASURE_BYTE_MS)
        return 0;
    exact = (syn_u128)bytes * (syn_u128)ms * (syn_u128)price->price;
    per = (syn_u128)price->unit->per;
    exact = exact / per + (exact % per != 0 ? 1U : 0U);
    return (int64_t)SYN_MIN(exact, (syn_u128)SYN_AMOUNT_MAX);
}

/* --- the meter -------------------------------------------------------------------------------- */

static int
meter_load(struct syn_server *server, const char *volume, char *key, json_t **ret,
           int64_t *ret_revision, struct syn_err *err)
{
    return srv_load(server, srv_key(key, "volume-meter", volume, NULL), ret, ret_revision, err);
}

/* {SIZE: ms} until now. */
static int
sizes_until(const json_t *meter, int64_t now_ms, json_t **ret, struct syn_err *err)
{
    int64_t since_ms = syn_json_i64(meter, "since_ms", 0);
    char size[SYN_FORMAT_MAX];
    SYN_JSON(sizes);
    int rc = SYN_OK;

    sizes = syn_json_deep_copy(json_object_get(meter, "sizes"));
    if (sizes == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what a volume is charged for");
    (void)snprintf(size, sizeof(size), "%lld", (long long)syn_json_i64(meter, "size_bytes", 0));
    if (since_ms > 0 && now_ms > since_ms)
        rc = syn_json_set_i64(sizes, size, syn_json_i64(sizes, size, 0) + now_ms - since_ms, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(sizes);
    return rc;
}

int
srv_volume_meter_begin(struct syn_server *server, struct srv_txn *txn, const json_t *volume,
                       const char *node, struct syn_err *err)
{
    const char *id = syn_json_str(volume, "id", "");
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(meter);
    int rc = srv_need(server, srv_key(key, "node", node, NULL), "node", &doc, NULL, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&meter, err, "{s:s, s:s, s:I, s:I, s:{}}", "provider",
                           syn_json_str(syn_document_spec(doc), "provider", ""), "node", node,
                           "size_bytes", (json_int_t)syn_json_i64(volume, "size_bytes", 0),
                           "since_ms", (json_int_t)syn_wall_ms(server->world), "sizes");
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, srv_key(key, "volume-meter", id, NULL), 0, meter, err);
    return rc < 0 ? rc : srv_period_begin(server, txn, id, 1, err);
}

/* Close what was counted so far; `bytes` 0: nothing follows. */
static int
meter_turn(struct syn_server *server, struct srv_txn *txn, const char *volume, int64_t bytes,
           int64_t now_ms, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    json_t *sizes = NULL;
    SYN_JSON(meter);
    int rc = meter_load(server, volume, key, &meter, &revision, err);

    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? srv_txn_check(txn, key, 0, err) : rc;
    rc = sizes_until(meter, now_ms, &sizes, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(meter, "sizes", sizes, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(meter, "since_ms", bytes > 0 ? now_ms : 0, err);
    if (rc == SYN_OK && bytes > 0)
        rc = syn_json_set_i64(meter, "size_bytes", bytes, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, meter, err);
}

int
srv_volume_meter_end(struct syn_server *server, struct srv_txn *txn, const char *volume,
                     int64_t now_ms, struct syn_err *err)
{
    return meter_turn(server, txn, volume, 0, now_ms, err);
}

int
srv_volume_meter_read(struct syn_server *server, const char *volume, int64_t now_ms, json_t **ret,
                      char *ret_provider, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(meter);
    int rc = meter_load(server, volume, key, &meter, &revision, err);

    if (rc < 0)
        return rc;
    if (ret_provider != NULL)
        (void)syn_str_copy(ret_provider, SYN_ID_MAX, syn_json_str(meter, "provider", ""));
    return rc == SRV_ABSENT ? syn_json_pack(ret, err, "{}") : sizes_until(meter, now_ms, ret, err);
}

int
srv_volume_usage(const struct syn_server *server, const json_t *before, const json_t *now,
                 struct syn_usage_sum *ret, struct syn_err *err)
{
    const struct syn_price *price = syn_pricebook_find(server->prices, ITEM);
    const char *size;
    json_t *ms;
    int rc = SYN_OK;

    *ret = (struct syn_usage_sum){0};
    if (price == NULL || price->unit->measure != SYN_MEASURE_BYTE_MS)
        return SYN_OK;
    json_object_foreach ((json_t *)(uintptr_t)now, size, ms) {
        int64_t more = json_integer_value(ms) - syn_json_i64(before, size, 0), bytes = 0;

        if (rc == SYN_OK)
            rc = syn_parse_i64(size, 0, INT64_MAX, "size of a volume", &bytes, err);
        if (rc == SYN_OK && more > 0) /* a clock that was set back counts nothing twice */
            rc = syn_usage_add(ret, ITEM, SYN_MEASURE_BYTE_MS, (syn_u128)bytes * (syn_u128)more,
                               err);
    }
    return rc;
}

/* --- its money -------------------------------------------------------------------------------- */

static int
as_job(const char *account, const json_t *volume, json_t **ret, struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s, s:{s:i}}", "id",
                         syn_json_str(volume, "id", ""), "name", syn_json_str(volume, "name", ""),
                         "account", account, "created_at", syn_json_str(volume, "created_at", ""),
                         "status", "run", 1);
}

/* What is known of it. */
struct sight {
    json_t *job;
    struct srv_period period;
    int64_t spent, escrow, balance, reserve;
};

static void
sight_fini(struct sight *sight)
{
    json_decref(sight->job);
    srv_period_fini(&sight->period);
}

static int
look(struct syn_server *server, const char *account, const json_t *volume, struct sight *ret,
     struct syn_err *err)
{
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    int64_t rate_hour;
    int rc = as_job(account, volume, &ret->job, err);

    ret->reserve =
        srv_volume_cost(server, syn_json_i64(volume, "size_bytes", 0), SRV_VOLUME_PERIOD_MS);
    if (rc == SYN_OK)
        rc = srv_period_load(server, syn_json_str(volume, "id", ""), 1, &ret->period, err);
    if (rc == SYN_OK)
        rc = syn_ledger_escrow_name(ret->period.ref, escrow, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, escrow, &ret->escrow, err);
    if (rc == SYN_OK)
        rc = srv_balance(server, account, &ret->balance, err);
    return rc < 0 ? rc : srv_run_cost(server, ret->job, NULL, &ret->spent, &rate_hour, err);
}

static int
lock_more(struct syn_server *server, struct srv_txn *txn, const char *account, const char *ref,
          int64_t amount, int64_t held, struct syn_err *err)
{
    const struct srv_lock lock = {account, ref, amount, held, "reserve of a volume"};

    return srv_escrow_lock(server, txn, &lock, err);
}

static int
has_no_money(struct syn_err *err, const char *account, int64_t has, int64_t needs)
{
    char money[SYN_FORMAT_MAX], cost[SYN_FORMAT_MAX];

    return SYN_FAIL(err, SYN_E_FUNDS, "%s has %s SYNOR, an hour of the volume costs %s", account,
                    syn_format_amount(has, money), syn_format_amount(needs, cost));
}

int
srv_volume_reserve(struct syn_server *server, struct srv_txn *txn, const char *account,
                   const json_t *volume, int64_t *ret_locked, struct syn_err *err)
{
    int64_t bytes = syn_json_i64(volume, "size_bytes", 0), balance = 0;
    int64_t hour = srv_volume_cost(server, bytes, SYN_HOUR_MS);
    char ref[SYN_LEDGER_REF_MAX];
    int rc = srv_balance(server, account, &balance, err);

    *ret_locked = 0;
    if (rc == SYN_OK && balance < hour)
        return has_no_money(err, account, balance, hour);
    if (rc < 0 || *syn_json_str(volume, "node", "") == '\0' || hour == 0)
        return rc;
    *ret_locked = SYN_MIN(srv_volume_cost(server, bytes, SRV_VOLUME_PERIOD_MS), balance);
    srv_escrow_ref(syn_json_str(volume, "id", ""), 1, ref);
    return lock_more(server, txn, account, ref, *ret_locked, 0, err);
}

int
srv_volume_resized(struct syn_server *server, struct srv_txn *txn, const char *account,
                   const json_t *volume, struct syn_err *err)
{
    int64_t bytes = syn_json_i64(volume, "size_bytes", 0);
    int64_t hour = srv_volume_cost(server, bytes, SYN_HOUR_MS);
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    int rc = look(server, account, volume, &sight, err);

    if (rc == SYN_OK && sight.balance + sight.escrow - sight.spent < hour)
        return has_no_money(err, account, sight.balance, hour);
    return rc < 0 ? rc
                  : meter_turn(server, txn, syn_json_str(volume, "id", ""), bytes,
                               syn_wall_ms(server->world), err);
}

int
srv_volume_add_cost(struct syn_server *server, const char *account, json_t *volume,
                    struct syn_err *err)
{
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    int64_t bytes = syn_json_i64(volume, "size_bytes", 0);
    int64_t unpaid_ms = syn_document_time(volume, "unpaid_since");
    bool counted = *syn_json_str(volume, "node", "") != '\0';
    SYN_JSON(cost);
    int rc = syn_json_pack(&cost, err, "{}");

    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "rate_hour", srv_volume_cost(server, bytes, SYN_HOUR_MS),
                                     err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "rate_month",
                                     srv_volume_cost(server, bytes, SYN_MONTH_MS), err);
    if (rc == SYN_OK && counted)
        rc = look(server, account, volume, &sight, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "spent", sight.spent, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(cost, "locked", sight.escrow, err);
    if (rc == SYN_OK && unpaid_ms != SYN_DOCUMENT_NONE)
        rc = syn_document_set_time(cost, "removed_at", unpaid_ms + SRV_VOLUME_KEPT_MS, err);
    return rc < 0 ? rc : syn_json_set_take(volume, "cost", SYN_TAKE(cost), err);
}

int
srv_volume_settle(struct syn_server *server, struct srv_txn *txn, const char *account,
                  const json_t *volume, struct syn_err *err)
{
    const char *id = syn_json_str(volume, "id", "");
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    char bill[SYN_ID_MAX];
    int rc = look(server, account, volume, &sight, err);

    if (rc < 0)
        return rc;
    if (sight.escrow == 0) /* free, or never paid for */
        return srv_volume_meter_end(server, txn, id, syn_wall_ms(server->world), err);
    syn_service_bill_id(sight.job, sight.period.number, bill);
    return srv_settle(server, txn, sight.job, NULL, bill, err);
}

/* --- seeing to it ----------------------------------------------------------------------------- */

struct paying {
    const char *account, *name;
    int64_t now_ms;
    bool again; /* there is more to do */
};

/* Say it to the services that use it. */
static int
tell(struct syn_server *server, struct srv_txn *txn, const struct paying *paying,
     const char *message, struct syn_err *err)
{
    const json_t *service;
    size_t i;
    SYN_JSON(services);
    int rc = srv_services_with_volume(server, paying->account, paying->name, &services, err);

    json_array_foreach (services, i, service)
        if (rc == SYN_OK)
            rc =
                srv_event_say(server, txn, syn_document_id(service), "volume-unpaid", message, err);
    return rc;
}

/* Note in its document since when it is not paid for, or that it is. */
static int
note_unpaid(struct syn_server *server, struct srv_txn *txn, const struct paying *paying,
            const char *key, json_t *volume, bool unpaid, struct syn_err *err)
{
    int64_t revision = syn_json_i64(volume, "revision", 0);
    char message[200], until[SYN_FORMAT_MAX];
    int rc;

    if (unpaid == (json_object_get(volume, "unpaid_since") != NULL))
        return srv_txn_check(txn, key, revision, err);
    if (!unpaid) {
        (void)json_object_del(volume, "unpaid_since");
        return srv_txn_replace(txn, key, revision, volume, err);
    }
    (void)snprintf(message, sizeof(message),
                   "The account cannot pay for the volume %.63s: it is kept until %s.",
                   paying->name, syn_format_time(paying->now_ms + SRV_VOLUME_KEPT_MS, until));
    rc = syn_document_set_time(volume, "unpaid_since", paying->now_ms, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, revision, volume, err);
    return rc < 0 ? rc : tell(server, txn, paying, message, err);
}

static int
is_in_use(struct syn_server *server, const struct paying *paying, bool *ret, struct syn_err *err)
{
    const json_t *service;
    size_t i;
    SYN_JSON(services);
    int rc = srv_services_with_volume(server, paying->account, paying->name, &services, err);

    *ret = false;
    json_array_foreach (services, i, service)
        *ret = *ret || !syn_str_eq(syn_document_state(service), "stopped");
    return rc;
}

/* Nobody paid for it for too long? SYN_OK: it goes with `txn`; NO_JOB: it stays. */
static int
give_up(struct syn_server *server, struct srv_txn *txn, const struct paying *paying,
        const json_t *volume, struct syn_err *err)
{
    int64_t unpaid_ms = syn_document_time(volume, "unpaid_since");
    char message[120];
    bool used = true;
    int rc;

    if (unpaid_ms == SYN_DOCUMENT_NONE || unpaid_ms + SRV_VOLUME_KEPT_MS > paying->now_ms)
        return NO_JOB;
    rc = is_in_use(server, paying, &used, err);
    if (rc < 0 || used)
        return rc < 0 ? rc : NO_JOB;
    (void)snprintf(message, sizeof(message), "The volume %.63s was not paid for, and is removed.",
                   paying->name);
    rc = srv_volume_remove(server, txn, paying->account, volume, err);
    if (rc == SYN_OK)
        rc = tell(server, txn, paying, message, err);
    if (rc == SYN_OK)
        syn_log(SYN_LOG_WARN, "volume.unpaid-removed", "account=%s volume=%s", paying->account,
                paying->name);
    return rc;
}

/* Bill the period. SYN_OK: `txn` does; NO_JOB: there is nothing to begin another one with. */
static int
renew(struct syn_server *server, struct srv_txn *txn, const struct sight *sight,
      struct syn_err *err)
{
    char bill[SYN_ID_MAX];
    const struct srv_renewal renewal = {
        .bill_id = bill,
        .lock = SYN_MIN(sight->reserve, sight->balance + sight->escrow - sight->spent),
        .new_window = true};

    if (renewal.lock <= 0)
        return NO_JOB;
    syn_service_bill_id(sight->job, sight->period.number, bill);
    return srv_renew(server, txn, sight->job, NULL, &renewal, err);
}

static int
pay_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct paying *paying = arg;
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    char key[SRV_KEY_MAX], meter_key[SRV_KEY_MAX];
    int64_t lock = 0, revision;
    bool due;
    SYN_JSON(volume);
    SYN_JSON(meter);
    int rc =
        srv_load(server, srv_key(key, "volume", paying->account, paying->name), &volume, NULL, err);

    paying->again = false;
    if (rc != SYN_OK || *syn_json_str(volume, "node", "") == '\0')
        return rc < 0 ? rc : NO_JOB;
    rc = meter_load(server, syn_json_str(volume, "id", ""), meter_key, &meter, &revision, err);
    paying->again = rc == SRV_ABSENT; /* of a time when volumes had no price */
    if (paying->again)
        return srv_volume_meter_begin(server, txn, volume, syn_json_str(volume, "node", ""), err);
    if (rc == SYN_OK)
        rc = look(server, paying->account, volume, &sight, err);
    if (rc < 0)
        return rc;
    due = sight.spent > 0 && paying->now_ms >= sight.period.window_since_ms + SRV_VOLUME_PERIOD_MS;
    rc = due && sight.spent <= sight.escrow ? renew(server, txn, &sight, err) : NO_JOB;
    if (rc == NO_JOB && sight.escrow - sight.spent < sight.reserve / 4)
        lock = SYN_MIN(sight.reserve + sight.spent - sight.escrow, sight.balance);
    if (rc == NO_JOB && lock <= 0) {
        rc = give_up(server, txn, paying, volume, err);
        if (rc != NO_JOB)
            return rc;
    }
    if (rc == NO_JOB)
        rc = srv_txn_check(txn, sight.period.key, sight.period.revision, err);
    if (rc == SYN_OK && lock > 0)
        rc = lock_more(server, txn, paying->account, sight.period.ref, lock, sight.escrow, err);
    paying->again = due && lock > 0;
    return rc < 0 ? rc
                  : note_unpaid(server, txn, paying, key, volume,
                                sight.spent > 0 && sight.spent >= sight.escrow + lock, err);
}

int
srv_volume_pay(struct syn_server *server, const char *account, const char *name, int64_t now_ms,
               struct syn_err *err)
{
    struct paying paying = {account, name, now_ms, true};
    int rc = SYN_OK;

    for (int i = 0; rc == SYN_OK && paying.again && i < AGAIN; i++)
        rc = srv_change(server, "the volume", pay_attempt, &paying, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}
