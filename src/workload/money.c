#include "money_priv.h"

#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>

#include "work_priv.h"

#define HOUR_MS (INT64_C(3600) * 1000)

/* What the budget leaves for the escrow of this period, or of the next one of the same window. */
static int64_t
budget_left(const struct money_view *view, int64_t spent)
{
    return view->max_budget > 0 ? view->max_budget - spent : SYN_AMOUNT_MAX;
}

/* Does what the account has last for another billing period at this rate? Said once: what is low
 * stays so until there is clearly enough. */
static bool
funds_low(const struct money_view *view, int64_t left, bool was)
{
    syn_i128 need = (syn_i128)view->rate_hour * view->billing_ms / HOUR_MS;

    return (syn_i128)left + view->balance < (was ? need + need / 4 : need);
}

/* The period is over, or its bill is full. False: there is nothing to begin another one with. */
static bool
renew(const struct money_view *view, int64_t left, struct money *ret)
{
    int64_t spent = ret->new_window ? 0 : view->period.window_spent + view->escrow - left;
    int64_t lock = SYN_MAX(view->reserve, 1);

    lock = SYN_MIN(lock, view->balance + left);
    lock = SYN_MIN(lock, budget_left(view, spent));
    if (lock <= 0)
        return false;
    ret->renew = true;
    ret->lock = lock;
    syn_service_bill_id(view->doc, ret->number, ret->bill_id);
    ret->number++;
    ret->since_ms = view->now_ms;
    if (ret->new_window)
        ret->until_ms = view->now_ms + view->billing_ms;
    return true;
}

void
money_decide(const struct money_view *view, struct money *ret)
{
    int64_t left = SYN_MAX(view->escrow - view->spent, 0);
    int64_t made_ms = syn_document_time(view->doc, "created_at");
    int64_t window_ms = view->period.window_since_ms > 0 ? view->period.window_since_ms : made_ms;
    int64_t more;

    *ret = (struct money){
        .number = SYN_MAX(view->period.number, 1),
        .since_ms = view->period.since_ms > 0 ? view->period.since_ms : made_ms,
        .until_ms = window_ms + view->billing_ms,
    };
    ret->low =
        funds_low(view, left, syn_json_bool(syn_json_at(view->doc, "status.cost"), "low", false));
    ret->new_window = view->now_ms >= ret->until_ms;
    if (view->spent > 0 && (ret->new_window || view->full) && renew(view, left, ret))
        return;
    ret->new_window = false;
    more = budget_left(view, view->period.window_spent + view->escrow);
    more = SYN_MIN(SYN_MIN(view->reserve, view->balance), more);
    if (view->escrow - view->spent < view->reserve / 4 && more > 0)
        ret->lock = more;
    else if (view->spent > 0 && view->spent >= view->escrow)
        ret->stop =
            budget_left(view, view->period.window_spent + view->escrow) <= 0 ? "budget" : "funds";
}

/* ---- saying so ---- */

static int tell(json_t *events, const char *type, const char *reason, struct syn_err *err,
                const char *format, ...) SYN_PRINTF(5, 6);

static int
tell(json_t *events, const char *type, const char *reason, struct syn_err *err, const char *format,
     ...)
{
    va_list args;
    int rc;

    va_start(args, format);
    rc = work_event(events, type, reason, NULL, err, format, args);
    va_end(args);
    return rc;
}

/* Which period it is in, for people. */
static int
note_period(const struct money *money, json_t *status, struct syn_err *err)
{
    SYN_JSON(period);
    int rc = syn_json_pack(&period, err, "{s:I}", "number", (json_int_t)money->number);

    if (rc == SYN_OK)
        rc = syn_document_set_time(period, "since", money->since_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(period, "until", money->until_ms, err);
    return rc < 0 ? rc : syn_json_set_take(status, "period", SYN_TAKE(period), err);
}

static int
note_renewal(const struct money *money, json_t *status, json_t *events, struct syn_err *err)
{
    int rc = syn_document_set_amount(json_object_get(status, "cost"), "spent", 0, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(status, "last_bill", money->bill_id, err);
    return rc < 0 ? rc
                  : tell(events, "billed", money->new_window ? "period" : "bill-full", err,
                         "period %lld of run %lld is billed: %s", (long long)money->number - 1,
                         (long long)syn_json_i64(status, "run", 1), money->bill_id);
}

static int
note_low(const struct money_view *view, bool low, json_t *status, json_t *events,
         struct syn_err *err)
{
    json_t *cost = json_object_get(status, "cost");
    char rate[SYN_FORMAT_MAX], has[SYN_FORMAT_MAX];
    int rc;

    if (low == syn_json_bool(cost, "low", false))
        return SYN_OK;
    rc = syn_json_set_bool(cost, "low", low, err);
    if (rc < 0 || !low)
        return rc;
    return tell(events, "funds-low", "funds-low", err,
                "the account cannot pay for the next billing period: it has %s SYNOR, and an hour "
                "costs %s",
                syn_format_amount(view->balance, has), syn_format_amount(view->rate_hour, rate));
}

int
money_note(const struct money_view *view, const struct money *money, json_t *status, json_t *events,
           struct syn_err *err)
{
    int64_t locked = (money->renew ? 0 : view->escrow) + money->lock;
    int rc = syn_document_set_amount(json_object_get(status, "cost"), "locked", locked, err);

    if (rc == SYN_OK)
        rc = note_period(money, status, err);
    if (rc == SYN_OK)
        rc = note_low(view, money->low, status, events, err);
    return rc < 0 || !money->renew ? rc : note_renewal(money, status, events, err);
}
