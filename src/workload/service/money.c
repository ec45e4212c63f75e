/* What a service's money asks for: another period, more in the escrow, or the end. */
#include "control_priv.h"

#include <synor/base/units.h>
#include <synor/orchestration/document.h>

#define HOUR_MS (INT64_C(3600) * 1000)

/* What the budget leaves for the escrow of this period, or of the next one of the same window. */
static int64_t
budget_left(const struct syn_service_spec *spec, int64_t spent)
{
    return spec->max_budget > 0 ? spec->max_budget - spent : SYN_AMOUNT_MAX;
}

/* Does what the account has last for another billing period at this rate? Said once: what is low
 * stays so until there is clearly enough. */
static bool
funds_low(const struct syn_service_view *view, int64_t billing_ms, int64_t left, bool was)
{
    syn_i128 need = (syn_i128)view->rate_hour * billing_ms / HOUR_MS;

    return (syn_i128)left + view->balance < (was ? need + need / 4 : need);
}

/* The period is over, or its bill is full. False: there is nothing to begin another one with. */
static bool
renew(const struct syn_service_view *view, const struct syn_service_spec *spec, int64_t reserve,
      int64_t left, struct service_money *ret)
{
    int64_t spent = ret->new_window ? 0 : view->period.window_spent + view->escrow - left;
    int64_t lock = SYN_MAX(reserve, 1);

    lock = SYN_MIN(lock, view->balance + left);
    lock = SYN_MIN(lock, budget_left(spec, spent));
    if (lock <= 0)
        return false;
    ret->renew = true;
    ret->lock = lock;
    return true;
}

void
service_money_decide(const struct syn_service_view *view, size_t unbilled,
                     struct service_money *ret)
{
    const json_t *doc = json_object_get(view->service, "spec");
    int64_t reserve = syn_service_reserve(doc, view->rate_hour);
    int64_t left = SYN_MAX(view->escrow - view->spent, 0);
    int64_t since_ms = view->period.window_since_ms;
    struct syn_service_spec spec;
    int64_t more;

    syn_service_spec_read(doc, &spec);
    if (since_ms == 0)
        since_ms = syn_document_time(view->service, "created_at");
    *ret = (struct service_money){.until_ms = since_ms + spec.billing_ms};
    ret->low = funds_low(view, spec.billing_ms, left,
                         syn_json_bool(syn_json_at(view->service, "status.cost"), "low", false));
    ret->new_window = view->now_ms >= ret->until_ms;
    if (view->spent > 0 && (ret->new_window || unbilled >= SYN_SERVICE_BILL_INSTANCES) &&
        renew(view, &spec, reserve, left, ret))
        return;
    ret->new_window = false;
    more = budget_left(&spec, view->period.window_spent + view->escrow);
    more = SYN_MIN(SYN_MIN(reserve, view->balance), more);
    if (view->escrow - view->spent < reserve / 4 && more > 0)
        ret->lock = more;
    else if (view->spent > 0 && view->spent >= view->escrow)
        ret->stop =
            budget_left(&spec, view->period.window_spent + view->escrow) <= 0 ? "budget" : "funds";
}
