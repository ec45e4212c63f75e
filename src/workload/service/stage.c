/* How an update by canary or blue-green goes on.
 *
 *     canary:      starting(10%) -> testing(10%) -> starting(50%) -> testing(50%) -> finishing
 *     blue-green:  starting -> testing -> kept -> leaving
 *
 *     starting     the new version's replicas come beside the old ones, which all stay; what comes
 *                  is shared as in the step before (at first: the old ones have all of it)
 *     testing      canary: the new version has its part until the pause is over or somebody
 *                  promotes it. Blue-green: all is ready and waits for somebody, if it is to
 *     finishing    as in a rolling update
 *     kept         the new version has all; the old replicas stay, idle, so that a rollback is an
 *                  instant; leaving: no longer
 *
 * What goes wrong (checks, errors) is not decided here: then the old version is wanted again, and
 * there is no stage any more. */
#include "stage_priv.h"

#include <synor/base/str.h>

static const char *const names[] = {[STAGE_STARTING] = "starting",
                                    [STAGE_TESTING] = "testing",
                                    [STAGE_FINISHING] = "finishing",
                                    [STAGE_KEPT] = "kept",
                                    [STAGE_LEAVING] = "leaving"};

const char *
stage_name(enum stage_word word)
{
    return names[word];
}

int
stage_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(names); i++)
        if (syn_str_eq(names[i], name))
            return (int)i;
    return -1;
}

uint32_t
stage_replicas(uint32_t want, uint32_t percent)
{
    return (uint32_t)(((uint64_t)want * percent + 99) / 100);
}

/* The part of the canary's step; 100 when its steps are over. */
static uint32_t
weight_at(const struct syn_service_rollout *rollout, uint32_t step)
{
    return step < rollout->steps ? rollout->weights[step] : 100;
}

static bool
go(struct stage *stage, enum stage_word word, const struct stage_sight *sight)
{
    stage->word = word;
    stage->since_ms = sight->now_ms;
    if (stage->promotion == STAGE_PROMOTED || word == STAGE_FINISHING || word == STAGE_KEPT)
        stage->promotion = STAGE_UNSAID;
    return true;
}

/* Is what is there to go on? */
static bool
goes_on(const struct stage *stage, const struct syn_service_rollout *rollout,
        const struct stage_sight *sight)
{
    return stage->promotion != STAGE_UNSAID ||
           sight->now_ms >= stage_plan(stage, rollout, sight->want).until_ms;
}

static bool
advance_canary(struct stage *stage, const struct syn_service_rollout *rollout,
               const struct stage_sight *sight)
{
    bool ready = sight->fresh_ready >= stage_plan(stage, rollout, sight->want).fresh;

    if (stage->word == STAGE_FINISHING)
        return false;
    if (sight->want == 0 || stage->back || stage->promotion == STAGE_PROMOTED_FULLY ||
        weight_at(rollout, stage->step) >= 100)
        return go(stage, STAGE_FINISHING, sight);
    if (stage->word == STAGE_STARTING)
        return ready && go(stage, STAGE_TESTING, sight);
    if (!ready || !goes_on(stage, rollout, sight))
        return false;
    stage->step++;
    return go(stage, STAGE_STARTING, sight);
}

static bool
advance_blue_green(struct stage *stage, const struct syn_service_rollout *rollout,
                   const struct stage_sight *sight)
{
    bool ready = sight->fresh_ready >= sight->want;

    switch (stage->word) {
    case STAGE_STARTING:
        if (sight->want == 0)
            return go(stage, STAGE_FINISHING, sight);
        return ready && go(stage, STAGE_TESTING, sight);
    case STAGE_TESTING:
        return ready && (stage->back || goes_on(stage, rollout, sight)) &&
               go(stage, STAGE_KEPT, sight);
    case STAGE_KEPT:
        return (sight->base == 0 || goes_on(stage, rollout, sight)) &&
               go(stage, STAGE_LEAVING, sight);
    case STAGE_FINISHING:
    case STAGE_LEAVING:
        break;
    }
    return false;
}

bool
stage_advance(struct stage *stage, const struct syn_service_rollout *rollout,
              const struct stage_sight *sight)
{
    return rollout->strategy == SYN_SERVICE_CANARY ? advance_canary(stage, rollout, sight)
                                                   : advance_blue_green(stage, rollout, sight);
}

static struct stage_plan
plan_canary(const struct stage *stage, const struct syn_service_rollout *rollout, uint32_t want)
{
    uint32_t weight = weight_at(rollout, stage->step);
    struct stage_plan plan = {.fresh = stage_replicas(want, weight),
                              .base = ROLLOUT_WHOLE,
                              .percent = weight,
                              .until_ms = INT64_MAX};

    if (stage->word == STAGE_STARTING)
        plan.percent = stage->step > 0 ? weight_at(rollout, stage->step - 1) : 0;
    if (stage->word == STAGE_TESTING) {
        plan.by_hand = rollout->by_hand;
        plan.until_ms = rollout->by_hand ? INT64_MAX : stage->since_ms + rollout->pause_ms;
    }
    return plan;
}

static struct stage_plan
plan_blue_green(const struct stage *stage, const struct syn_service_rollout *rollout, uint32_t want)
{
    bool over = stage->word == STAGE_KEPT || stage->word == STAGE_LEAVING;
    struct stage_plan plan = {
        .fresh = want, .base = ROLLOUT_WHOLE, .percent = over ? 100 : 0, .until_ms = INT64_MAX};

    if (stage->word == STAGE_KEPT) {
        plan.base = ROLLOUT_STAYS;
        plan.until_ms = stage->since_ms + rollout->keep_old_ms;
    } else if (stage->word == STAGE_LEAVING) {
        plan.base = ROLLOUT_GOES;
    } else if (stage->word == STAGE_TESTING) {
        plan.by_hand = rollout->by_hand;
        plan.until_ms = rollout->by_hand ? INT64_MAX : stage->since_ms;
    }
    return plan;
}

struct stage_plan
stage_plan(const struct stage *stage, const struct syn_service_rollout *rollout, uint32_t want)
{
    if (stage->word == STAGE_FINISHING || rollout->strategy == SYN_SERVICE_ROLLING)
        return (struct stage_plan){
            .fresh = want, .base = ROLLOUT_GOES, .mixed = true, .until_ms = INT64_MAX};
    return rollout->strategy == SYN_SERVICE_CANARY ? plan_canary(stage, rollout, want)
                                                   : plan_blue_green(stage, rollout, want);
}

bool
stage_errs(const struct syn_service_answers *fresh, const struct syn_service_answers *old,
           uint32_t max_permille)
{
    syn_u128 fresh_all = SYN_MAX(fresh->answers, UINT64_C(1)),
             old_all = SYN_MAX(old->answers, UINT64_C(1));

    if (fresh->errors < SYN_SERVICE_CANARY_ERRORS_MIN)
        return false;
    /* fresh.errors / fresh.answers > old.errors / old.answers + max / 1000 */
    return (syn_u128)fresh->errors * old_all * 1000 >
           (syn_u128)old->errors * fresh_all * 1000 + fresh_all * old_all * max_permille;
}
