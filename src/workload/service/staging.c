/* The stages of an update in the service's documents: kept in its status, so that the next step
 * goes on wherever the one before ended, whoever takes it. */
#include "step_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>

#define LOOK_MS 1000 /* between two looks at a canary's answers */

static const char *const promotions[] = {[STAGE_PROMOTED] = "step", [STAGE_PROMOTED_FULLY] = "all"};

static const char *const strategies[] = {[SYN_SERVICE_ROLLING] = "rolling",
                                         [SYN_SERVICE_CANARY] = "canary",
                                         [SYN_SERVICE_BLUE_GREEN] = "blue-green"};

static const char *
strategy(const struct step *step)
{
    return strategies[step->spec.rollout.strategy];
}

void
service_stage_read(struct step *step)
{
    const json_t *kept = json_object_get(step->status, "rollout");
    const char *said = syn_json_str(kept, "promotion", "");
    int word = stage_find(syn_json_str(kept, "stage", ""));

    step->base = syn_json_i64(kept, "from", 0);
    step->staged = word >= 0 && step->base > 0 && step->base != step->target &&
                   syn_json_i64(kept, "version", 0) == step->target &&
                   step->spec.rollout.strategy != SYN_SERVICE_ROLLING &&
                   syn_str_eq(syn_json_str(kept, "strategy", ""), strategy(step));
    step->stage = (struct stage){
        .word = step->staged ? (enum stage_word)word : STAGE_STARTING,
        .step = (uint32_t)syn_json_i64(kept, "step", 0),
        .since_ms = syn_document_time(kept, "since"),
        .promotion = syn_str_eq(said, promotions[STAGE_PROMOTED])         ? STAGE_PROMOTED
                     : syn_str_eq(said, promotions[STAGE_PROMOTED_FULLY]) ? STAGE_PROMOTED_FULLY
                                                                          : STAGE_UNSAID,
        .back = syn_json_bool(kept, "back", false),
    };
}

struct stage_plan
service_stage_plan(const struct step *step)
{
    static const struct syn_service_rollout rolling = {.strategy = SYN_SERVICE_ROLLING};

    return stage_plan(&step->stage, step->staged ? &step->spec.rollout : &rolling,
                      step->spec.replicas);
}

/* ---- traffic ---- */

/* How many of each group are well. */
static void
count_ready(const struct step *step, uint32_t ret[3])
{
    memset(ret, 0, 3 * sizeof(*ret));
    for (size_t i = 0; i < step->members_count; i++)
        ret[service_group(step, &step->members[i])] += service_ready(step, &step->members[i]);
}

/* Weights by which the new version gets its part, where there are two to divide by. */
static void
weigh(struct service_traffic *traffic, const uint32_t ready[3], uint32_t percent)
{
    uint32_t old = ready[ROLLOUT_BASE] + (traffic->idle[ROLLOUT_OTHER] ? 0 : ready[ROLLOUT_OTHER]);

    if (percent == 0 || percent >= 100 || ready[ROLLOUT_NEW] == 0 || old == 0)
        return;
    rollout_weights(percent, ready[ROLLOUT_NEW], old, &traffic->weights[ROLLOUT_NEW],
                    &traffic->weights[ROLLOUT_BASE]);
    traffic->weights[ROLLOUT_OTHER] = traffic->weights[ROLLOUT_BASE];
}

void
service_stage_traffic(struct step *step)
{
    const struct stage_plan plan = service_stage_plan(step);
    uint32_t want = step->spec.replicas, ready[3], serving = 0;
    uint32_t floor = want > step->spec.max_unavailable ? want - step->spec.max_unavailable : 0;
    enum rollout_group most = plan.percent >= 100 ? ROLLOUT_NEW : ROLLOUT_BASE;

    step->traffic = (struct service_traffic){.weights = {0}};
    if (plan.mixed)
        return;
    count_ready(step, ready);
    step->traffic.idle[ROLLOUT_NEW] = plan.percent == 0;
    step->traffic.idle[ROLLOUT_BASE] = plan.percent >= 100;
    step->traffic.idle[ROLLOUT_OTHER] = ready[most] >= floor;
    for (size_t i = 0; i < SYN_LEN(ready); i++)
        serving += step->traffic.idle[i] ? 0 : ready[i];
    if (serving == 0) { /* better another version than nobody */
        memset(step->traffic.idle, 0, sizeof(step->traffic.idle));
        return;
    }
    weigh(&step->traffic, ready, plan.percent);
}

/* ---- on and on ---- */

static void
look(const struct step *step, struct stage_sight *ret)
{
    *ret = (struct stage_sight){.want = step->spec.replicas, .now_ms = step->view->now_ms};
    for (size_t i = 0; i < step->members_count; i++) {
        const struct member *member = &step->members[i];
        enum rollout_group group = service_group(step, member);

        if (member->ended || service_going(member))
            continue;
        ret->fresh_ready += group == ROLLOUT_NEW && service_ready(step, member);
        ret->base += group == ROLLOUT_BASE;
    }
}

/* Another version is wanted than the one that works, and not replica by replica. */
static void
begin(struct step *step)
{
    struct stage_sight sight;

    step->staged = true;
    step->base = step->stable;
    step->stage = (struct stage){
        .word = STAGE_STARTING, .since_ms = step->view->now_ms, .back = step->stage.back};
    look(step, &sight);
    if (sight.base == 0) /* there is nothing to try it beside */
        step->stage.word = STAGE_FINISHING;
}

static int
tell(struct step *step, struct syn_err *err)
{
    const struct syn_service_rollout *rollout = &step->spec.rollout;
    const struct stage_plan plan = service_stage_plan(step);
    bool canary = rollout->strategy == SYN_SERVICE_CANARY;
    long long fresh = (long long)step->target, old = (long long)step->base;
    char time[SYN_FORMAT_MAX];

    switch (step->stage.word) {
    case STAGE_TESTING:
        if (canary)
            return service_step_event(step, "canary", "testing", NULL, err,
                                      "version %lld has %u%% of what comes, on %u %s", fresh,
                                      plan.percent, plan.fresh,
                                      syn_plural(plan.fresh, "replica", "replicas"));
        return !plan.by_hand || step->stage.back
                   ? SYN_OK
                   : service_step_event(step, "waiting", "testing", NULL, err,
                                        "version %lld is ready and waits to be promoted", fresh);
    case STAGE_FINISHING:
        return service_step_event(step, "promoted", "finishing", NULL, err,
                                  "version %lld replaces version %lld, replica by replica", fresh,
                                  old);
    case STAGE_KEPT:
        return service_step_event(step, "switched", "kept", NULL, err,
                                  "version %lld has all that comes; version %lld is kept until %s",
                                  fresh, old, syn_format_time(plan.until_ms, time));
    case STAGE_LEAVING:
        return service_step_event(step, "let-go", "leaving", NULL, err,
                                  "version %lld is kept no longer", old);
    case STAGE_STARTING:
        break;
    }
    return SYN_OK;
}

int
service_phase_stage(struct step *step, struct syn_err *err)
{
    struct stage_sight sight;
    struct stage_plan plan;
    int rc = SYN_OK;

    if (step->state == SYN_SERVICE_STOPPED ||
        json_is_string(json_object_get(step->status, "stop_requested")))
        return SYN_OK;
    if (!step->staged && step->target != step->stable && step->stable > 0 &&
        step->spec.rollout.strategy != SYN_SERVICE_ROLLING)
        begin(step);
    look(step, &sight);
    while (rc == SYN_OK && step->staged && stage_advance(&step->stage, &step->spec.rollout, &sight))
        rc = tell(step, err);
    service_stage_traffic(step);
    plan = service_stage_plan(step);
    if (plan.until_ms != INT64_MAX && plan.until_ms > sight.now_ms)
        service_step_wake(step, plan.until_ms);
    if (step->staged && step->view->answers && step->stage.word == STAGE_TESTING &&
        step->target != step->stable)
        service_step_wake(step, sight.now_ms + LOOK_MS);
    return rc;
}

/* ---- the status ---- */

/* Nothing is left to be done in stages. */
static bool
over(const struct step *step)
{
    return !step->staged || step->state == SYN_SERVICE_STOPPED ||
           (step->stage.word == STAGE_FINISHING && step->stable == step->target) ||
           (step->stage.word == STAGE_LEAVING && step->rollout.old == 0);
}

int
service_stage_note(struct step *step, struct syn_err *err)
{
    const struct stage_plan plan = service_stage_plan(step);
    json_t *kept = NULL;
    int rc;

    if (over(step)) {
        (void)json_object_del(step->status, "rollout");
        return SYN_OK;
    }
    rc = syn_json_pack(&kept, err, "{s:I, s:I, s:s, s:s, s:i, s:b, s:b}", "version",
                       (json_int_t)step->target, "from", (json_int_t)step->base, "strategy",
                       strategy(step), "stage", stage_name(step->stage.word), "step",
                       (int)step->stage.step, "waits", plan.by_hand && !step->stage.back ? 1 : 0,
                       "back", step->stage.back ? 1 : 0);
    if (rc == SYN_OK)
        rc = syn_json_set_take(step->status, "rollout", kept, err);
    if (rc == SYN_OK && !plan.mixed)
        rc = syn_json_set_i64(kept, "percent", plan.percent, err);
    if (rc == SYN_OK && step->stage.promotion != STAGE_UNSAID)
        rc = syn_json_set_str(kept, "promotion", promotions[step->stage.promotion], err);
    if (rc == SYN_OK && plan.until_ms != INT64_MAX)
        rc = syn_document_set_time(kept, "until", plan.until_ms, err);
    return rc < 0 ? rc : syn_document_set_time(kept, "since", step->stage.since_ms, err);
}
