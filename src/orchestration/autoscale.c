/* A decision, from samples to a number:
 *
 *     gather    each metric's sum over the replicas that told it, and how many did not
 *     average   a level and its slope (Holt's double smoothing): sum of now, and where it goes
 *     need      up: what the level will need when a replica that is started now is there
 *               down: what the level of now needs if every replica that is silent works at its
 * target choose    the highest need of all metrics; between the two needs, and near them, all stays
 *     zero      none without demand for long; one for the first request that is held
 *     damp      windows that remember the most (or least) needed, cool-down, steps
 *     bound     min and max, which a schedule may move, hold above all
 *
 * The two needs are what Kubernetes' HPA does with missing samples (they count as nothing when it
 * goes up and as the target when it goes down), said as one interval: the count moves to the
 * nearest end of it. What HPA has not is the slope: it starts replicas for the load that will be
 * there when they are, not for the one that was there when they were asked for.
 *
 * Refused: a controller with an integral (PID) has no bound on how long it remembers, and what it
 * does is hard to explain; a forecast by the hour of the day needs weeks of history in the state.
 */
#include "autoscale_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#define THOUSAND  INT64_C(1000)
#define HOUR_MS   INT64_C(3600000)
#define DAY_MS    (24 * HOUR_MS)
#define PANIC     2 /* so many times what there is: the average is not waited for */
#define RISE_PART 4 /* a rise is believed up to a quarter of what is seen */
#define SEEN_MAX  240

static const char *const kind_names[] = {
    [SYN_AUTOSCALE_CPU] = "cpu",           [SYN_AUTOSCALE_MEMORY] = "memory",
    [SYN_AUTOSCALE_REQUESTS] = "requests", [SYN_AUTOSCALE_INFLIGHT] = "inflight",
    [SYN_AUTOSCALE_QUEUE] = "queue",       [SYN_AUTOSCALE_CUSTOM] = "custom",
};

static const char *const reason_names[] = {
    [SYN_AUTOSCALE_WAITING] = "waiting",
    [SYN_AUTOSCALE_STEADY] = "steady",
    [SYN_AUTOSCALE_LOAD] = "load",
    [SYN_AUTOSCALE_AT_MIN] = "at-min",
    [SYN_AUTOSCALE_AT_MAX] = "at-max",
    [SYN_AUTOSCALE_BOUNDS] = "bounds",
    [SYN_AUTOSCALE_HELD] = "held",
    [SYN_AUTOSCALE_IDLE] = "idle",
    [SYN_AUTOSCALE_STABILISING] = "stabilising",
    [SYN_AUTOSCALE_COOLING] = "cooling",
    [SYN_AUTOSCALE_STEPPING] = "stepping",
    [SYN_AUTOSCALE_BLIND] = "blind",
};

const char *
syn_autoscale_kind_name(unsigned kind)
{
    return kind < SYN_LEN(kind_names) ? kind_names[kind] : NULL;
}

const char *
syn_autoscale_reason_name(unsigned reason)
{
    return reason < SYN_LEN(reason_names) ? reason_names[reason] : NULL;
}

struct syn_autoscale_rule
syn_autoscale_rule_default(void)
{
    return (struct syn_autoscale_rule){
        .min = 1,
        .max = 1,
        .tolerance = 100,
        .every_ms = 5000,
        .average_ms = 5000,
        .lead_ms = 20000,
        .idle_ms = 300000,
        .up = {.period_ms = 15000, .count = 4, .percent = 100},
        .down = {.stabilise_ms = 300000, .period_ms = 15000, .count = 4, .percent = 100},
    };
}

/* ---- the rule ---- */

static int
check_pace(const struct syn_autoscale_pace *pace, const char *path, const char *which,
           struct syn_err *err)
{
    if (pace->stabilise_ms < 0 || pace->stabilise_ms > DAY_MS || pace->cool_ms < 0 ||
        pace->cool_ms > DAY_MS || pace->period_ms < 0 || pace->period_ms > DAY_MS)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: windows are of 0 s to a day", path, which);
    if (pace->period_ms > 0 && pace->count == 0 && pace->percent == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.%s: steps of neither a count nor a percentage: it could never change",
                        path, which);
    return SYN_OK;
}

/* Does the metric tell whether anybody wants anything? What runs idle uses CPU too. */
static bool
tells_demand(const struct syn_autoscale_metric *metric)
{
    return metric->kind != SYN_AUTOSCALE_CPU && metric->kind != SYN_AUTOSCALE_MEMORY;
}

static bool
any_demand(const struct syn_autoscale_rule *rule)
{
    for (size_t i = 0; i < rule->metrics_count; i++)
        if (tells_demand(&rule->metrics[i]))
            return true;
    return false;
}

static int
check_metrics(const struct syn_autoscale_rule *rule, const char *path, struct syn_err *err)
{
    for (size_t i = 0; i < rule->metrics_count; i++) {
        const struct syn_autoscale_metric *metric = &rule->metrics[i];

        if (metric->target <= 0 || metric->target > SYN_AUTOSCALE_VALUE_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.metrics[%zu]: a target of more than 0", path,
                            i);
        for (size_t k = 0; k < i; k++)
            if (rule->metrics[k].kind == metric->kind &&
                syn_str_eq(rule->metrics[k].name, metric->name))
                return SYN_FAIL(err, SYN_E_INVALID, "%s.metrics[%zu]: %s is there twice", path, i,
                                kind_names[metric->kind]);
    }
    return SYN_OK;
}

int
syn_autoscale_rule_check(const struct syn_autoscale_rule *rule, const char *path,
                         struct syn_err *err)
{
    uint32_t lowest = rule->min;
    int rc;

    if (rule->max < 1 || rule->min > rule->max || rule->max > SYN_AUTOSCALE_REPLICAS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %u to %u: expected 0 <= min <= max, max 1 to %d",
                        path, rule->min, rule->max, SYN_AUTOSCALE_REPLICAS_MAX);
    for (size_t i = 0; i < rule->windows_count; i++) {
        const struct syn_autoscale_window *window = &rule->windows[i];

        if (window->min > window->max || window->max > SYN_AUTOSCALE_REPLICAS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.schedule[%zu]: expected min <= max", path, i);
        if (window->for_ms < THOUSAND || window->for_ms > 366 * DAY_MS)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.schedule[%zu]: for 1 s to a year", path, i);
        lowest = SYN_MIN(lowest, window->min);
    }
    if (rule->metrics_count == 0 && rule->windows_count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: neither a metric nor a schedule: what by?", path);
    if (lowest == 0 && rule->metrics_count > 0 && !any_demand(rule))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: to go down to 0 it takes a metric of demand (requests, inflight, "
                        "queue or custom): CPU and memory of no replica call nobody back",
                        path);
    if (rule->tolerance < 0 || rule->tolerance >= THOUSAND || rule->every_ms < THOUSAND ||
        rule->every_ms > HOUR_MS || rule->average_ms < 0 || rule->average_ms > HOUR_MS ||
        rule->lead_ms < 0 || rule->lead_ms > HOUR_MS || rule->idle_ms < 0 ||
        rule->idle_ms > 366 * DAY_MS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: tolerance below 1, looks every 1 s to 1 h, averages and lead of at "
                        "most 1 h",
                        path);
    rc = check_metrics(rule, path, err);
    if (rc == SYN_OK)
        rc = check_pace(&rule->up, path, "up", err);
    return rc < 0 ? rc : check_pace(&rule->down, path, "down", err);
}

/* ---- bounds ---- */

struct bounds {
    uint32_t min, max;
    int64_t until_ms; /* they may be others then */
    bool window;      /* one holds */
};

static struct bounds
bounds_at(const struct syn_autoscale_rule *rule, int64_t now_ms)
{
    struct bounds bounds = {rule->min, rule->max, INT64_MAX, false};

    for (size_t i = 0; i < rule->windows_count; i++) {
        const struct syn_autoscale_window *window = &rule->windows[i];
        int64_t begin_ms, next_ms;

        if (syn_cron_next(&window->from, window->zone, now_ms, &next_ms) == SYN_OK)
            bounds.until_ms = SYN_MIN(bounds.until_ms, next_ms);
        if (syn_cron_next(&window->from, window->zone, now_ms - window->for_ms, &begin_ms) !=
                SYN_OK ||
            begin_ms > now_ms)
            continue;
        bounds.until_ms = SYN_MIN(bounds.until_ms, begin_ms + window->for_ms);
        bounds.min = bounds.window ? SYN_MAX(bounds.min, window->min) : window->min;
        bounds.max = bounds.window ? SYN_MAX(bounds.max, window->max) : window->max;
        bounds.window = true;
    }
    return bounds;
}

/* ---- one metric ---- */

/* A metric, now. */
struct sight {
    bool known;
    int64_t sum;       /* over those that told, and as much for each that is silent */
    uint32_t told;     /* 0 of a whole service's */
    uint32_t silent;   /* ready, but nothing new is known */
    uint32_t starting; /* wanted, not ready yet */
    uint32_t need_up, need_down;
    uint32_t solid; /* what the level alone needs, whatever it may become */
};

static int64_t
bounded(syn_i128 value)
{
    return (int64_t)SYN_MAX(SYN_MIN(value, (syn_i128)AUTOSCALE_SUM_MAX),
                            -(syn_i128)AUTOSCALE_SUM_MAX);
}

static uint32_t
replicas_for(int64_t sum, int64_t target)
{
    int64_t count = sum <= 0 ? 0 : sum / target + (sum % target != 0);

    return (uint32_t)SYN_MIN(count, SYN_AUTOSCALE_REPLICAS_MAX);
}

static struct sight
gather(const struct syn_autoscale_now *now, size_t metric)
{
    struct sight sight = {.known = true};
    uint32_t ready = 0;
    syn_i128 sum = 0;

    if (now->totals[metric] >= 0) {
        sight.sum = bounded(now->totals[metric]);
        return sight;
    }
    for (size_t i = 0; i < now->count; i++) {
        const struct syn_autoscale_sample *sample = &now->samples[i];
        int64_t value = sample->values[metric];

        if (!sample->ready)
            continue;
        ready++;
        if (value < 0 || now->now_ms - sample->at_ms > SYN_AUTOSCALE_FRESH_MS)
            continue;
        sight.told++;
        sum += SYN_MIN(value, SYN_AUTOSCALE_VALUE_MAX);
    }
    sight.silent = ready - sight.told;
    sight.starting = now->current > ready ? now->current - ready : 0;
    sight.known = sight.told > 0;
    if (sight.known)
        sight.sum = bounded(sum * ready / sight.told);
    return sight;
}

/* `step` of the way from one to the other, at least one unit of it. */
static int64_t
toward(int64_t from, int64_t to, int64_t part, int64_t whole)
{
    int64_t way = (int64_t)((syn_i128)(to - from) * part / whole);

    return from + (way != 0 ? way : to > from ? 1 : to < from ? -1 : 0);
}

static void
average(const struct syn_autoscale_rule *rule, const struct sight *sight, int64_t passed_ms,
        bool afresh, struct syn_autoscale_level *level)
{
    int64_t before = level->level;
    int64_t slope;

    if (afresh || !level->known || passed_ms > DAY_MS) {
        *level = (struct syn_autoscale_level){true, sight->sum, 0};
        return;
    }
    level->level = toward(before, sight->sum, passed_ms, passed_ms + rule->average_ms);
    slope = bounded((syn_i128)(level->level - before) * HOUR_MS / passed_ms);
    level->slope = toward(level->slope, slope, passed_ms, passed_ms + rule->average_ms);
}

static void
needs(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now, size_t metric,
      const struct syn_autoscale_level *level, struct sight *sight)
{
    int64_t target = rule->metrics[metric].target;
    uint32_t ready = sight->told + sight->silent;
    syn_i128 rise = level->slope > 0
                        ? (syn_i128)level->slope * (rule->lead_ms + rule->average_ms) / HOUR_MS
                        : 0;
    syn_i128 noise = (syn_i128)level->level * rule->tolerance / THOUSAND;
    syn_i128 low = level->level + SYN_MAX(rise - noise, 0);
    syn_i128 high = level->level;
    syn_i128 seen = SYN_MAX(level->level, sight->sum);
    syn_i128 have = (syn_i128)now->current * target;

    low = SYN_MIN(low, seen + seen / RISE_PART);
    if ((syn_i128)sight->sum >= PANIC * have)
        low = SYN_MAX(low, (syn_i128)sight->sum);
    if (ready > 0) {
        low = low * sight->told / ready;
        high = high * sight->told / ready + (syn_i128)(sight->silent + sight->starting) * target;
    }
    sight->solid = replicas_for(bounded(high - (syn_i128)sight->starting * target), target);
    sight->need_up = sight->need_down = now->current;
    if (low * THOUSAND > have * (THOUSAND + rule->tolerance))
        sight->need_up = SYN_MAX(replicas_for(bounded(low), target), now->current);
    if (high * THOUSAND < have * (THOUSAND - rule->tolerance))
        sight->need_down = SYN_MIN(replicas_for(bounded(high), target), now->current);
}

/* ---- several metrics ---- */

struct wish {
    uint32_t want;
    enum syn_autoscale_reason reason;
    const struct syn_autoscale_metric *metric; /* that decides; or NULL */
    struct sight sight;                        /* of it */
    uint32_t solid;                            /* what the levels alone need, of all metrics */
    int64_t window_ms;                         /* that stabilises */
    bool demand;
};

static struct wish
choose(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
       struct syn_autoscale_state *state, int64_t passed_ms)
{
    struct wish up = {.want = now->current, .reason = SYN_AUTOSCALE_STEADY};
    struct wish down = {.want = 0, .reason = SYN_AUTOSCALE_STEADY};
    bool blind = false, demand = now->held > 0;
    uint32_t solid = 0;

    for (size_t i = 0; i < rule->metrics_count; i++) {
        const struct syn_autoscale_metric *metric = &rule->metrics[i];
        struct sight sight = gather(now, i);

        if (metric->kind == SYN_AUTOSCALE_INFLIGHT && sight.known)
            sight.sum = bounded(sight.sum + (syn_i128)now->held * THOUSAND);
        if (!sight.known) {
            blind = blind || now->current > 0;
            demand = demand || (tells_demand(metric) && now->current > 0);
            continue;
        }
        average(rule, &sight, passed_ms, now->current == 0, &state->levels[i]);
        needs(rule, now, i, &state->levels[i], &sight);
        solid = SYN_MAX(solid, sight.solid);
        demand = demand || (tells_demand(metric) && sight.sum > 0);
        if (!up.metric || sight.need_up > up.want)
            up = (struct wish){
                SYN_MAX(up.want, sight.need_up), up.reason, metric, sight, 0, 0, false};
        if (!down.metric || sight.need_down > down.want)
            down = (struct wish){sight.need_down, down.reason, metric, sight, 0, 0, false};
    }
    if (up.want > now->current)
        up.reason = SYN_AUTOSCALE_LOAD;
    else if (blind)
        up.reason = SYN_AUTOSCALE_BLIND;
    else if (down.metric) {
        up = down;
        if (down.want < now->current)
            up.reason = SYN_AUTOSCALE_LOAD;
    }
    up.demand = demand;
    up.solid = blind ? SYN_MAX(solid, now->current) : solid;
    return up;
}

/* ---- zero ---- */

static void
to_and_from_zero(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
                 const struct bounds *bounds, struct syn_autoscale_state *state, struct wish *wish)
{
    uint32_t waiting = 1;

    if (wish->demand || state->busy_ms == 0)
        state->busy_ms = now->now_ms;
    for (size_t i = 0; i < rule->metrics_count; i++)
        if (rule->metrics[i].kind == SYN_AUTOSCALE_INFLIGHT)
            waiting = replicas_for(now->held * THOUSAND, rule->metrics[i].target);
    if (now->current == 0 && now->held > 0 && wish->want <= waiting) {
        wish->want = SYN_MAX(waiting, 1U);
        wish->reason = SYN_AUTOSCALE_HELD;
        return;
    }
    if (now->current == 0 && wish->demand) {
        wish->want = SYN_MAX(wish->want, 1U); /* a queue is no longer empty */
        wish->reason = SYN_AUTOSCALE_LOAD;
    }
    if (now->current == 0 || bounds->min > 0 || !any_demand(rule))
        return;
    if (now->now_ms - state->busy_ms >= rule->idle_ms && wish->reason != SYN_AUTOSCALE_BLIND) {
        wish->want = 0;
        wish->reason = SYN_AUTOSCALE_IDLE;
    } else {
        wish->want = SYN_MAX(wish->want, 1U);
    }
}

/* ---- damping ---- */

/* Remember what is needed; the most (or least) of the window. A window is cut into slots: it
 * forgets by the slot, and covers at least its length. */
static uint32_t
remember(struct syn_autoscale_past *past, int64_t window_ms, int64_t now_ms, uint32_t needed,
         bool most)
{
    int64_t slot_ms = window_ms / (SYN_AUTOSCALE_SLOTS - 1) + 1;
    int64_t slot = now_ms / slot_ms + 1;
    int64_t behind = slot - past->slot;
    uint32_t found = needed;

    if (window_ms == 0) {
        *past = (struct syn_autoscale_past){0};
        return needed;
    }
    if (past->used == 0 || behind < 0 || behind >= SYN_AUTOSCALE_SLOTS) {
        *past = (struct syn_autoscale_past){.slot = slot, .needed = {needed}, .used = 1};
        return needed;
    }
    for (; past->slot < slot; past->slot++) { /* what was needed last was until now */
        memmove(past->needed + 1, past->needed,
                (SYN_AUTOSCALE_SLOTS - 1) * sizeof(past->needed[0]));
        past->used = SYN_MIN(past->used + 1, (uint32_t)SYN_AUTOSCALE_SLOTS);
        if (past->slot + 1 == slot)
            past->needed[0] = needed;
    }
    past->needed[0] = most ? SYN_MAX(past->needed[0], needed) : SYN_MIN(past->needed[0], needed);
    for (uint32_t i = 0; i < past->used; i++)
        found = most ? SYN_MAX(found, past->needed[i]) : SYN_MIN(found, past->needed[i]);
    return found;
}

/* What the level needed counts for the whole window; what was wanted of a rise that did not come,
 * only for a moment. */
static void
stabilise(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
          struct syn_autoscale_state *state, struct wish *wish)
{
    int64_t hold_ms = SYN_MIN(rule->down.stabilise_ms, SYN_AUTOSCALE_HOLD_MS);
    bool first = state->at_ms == 0; /* what there is was wanted by somebody */
    uint32_t low =
        first && rule->up.stabilise_ms > 0 ? SYN_MIN(wish->want, now->current) : wish->want;
    uint32_t high =
        first && rule->down.stabilise_ms > 0 ? SYN_MAX(wish->solid, now->current) : wish->solid;
    uint32_t least = remember(&state->up, rule->up.stabilise_ms, now->now_ms, low, false);
    uint32_t most = remember(&state->down, rule->down.stabilise_ms, now->now_ms, high, true);
    uint32_t held = remember(&state->hold, hold_ms, now->now_ms, wish->want, true);
    uint32_t want = wish->want;

    wish->window_ms = rule->up.stabilise_ms;
    if (want > now->current && now->current > 0) {
        want = SYN_MAX(SYN_MIN(want, least), now->current);
    } else if (want < now->current && wish->reason != SYN_AUTOSCALE_IDLE) {
        wish->window_ms = most >= held ? rule->down.stabilise_ms : hold_ms;
        most = SYN_MAX(most, held);
        want = SYN_MIN(SYN_MAX(want, most), now->current);
    }
    if (want != wish->want)
        wish->reason = SYN_AUTOSCALE_STABILISING;
    wish->want = want;
}

static void
cool_down(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
          const struct syn_autoscale_state *state, struct wish *wish)
{
    int64_t cool_ms = wish->want > now->current ? rule->up.cool_ms : rule->down.cool_ms;

    if (wish->want == now->current || now->current == 0 || state->changed_ms == 0 ||
        now->now_ms - state->changed_ms >= cool_ms)
        return;
    wish->want = now->current;
    wish->reason = SYN_AUTOSCALE_COOLING;
}

/* The larger of the two steps, from where the period began. */
static void
limit_step(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
           const struct syn_autoscale_state *state, struct wish *wish)
{
    bool up = wish->want > now->current;
    const struct syn_autoscale_pace *pace = up ? &rule->up : &rule->down;
    const struct syn_autoscale_period *period = &state->period;
    bool running = period->from_ms != 0 && now->now_ms - period->from_ms < pace->period_ms &&
                   now->now_ms >= period->from_ms;
    int64_t from = running ? period->replicas : now->current;
    int64_t part = (from * pace->percent + 99) / 100;
    int64_t step = SYN_MAX((int64_t)pace->count, part);
    int64_t limit = up ? from + step : SYN_MAX(from - step, 0);

    if (pace->period_ms == 0 || wish->want == now->current || now->current == 0)
        return;
    limit = up ? SYN_MAX(limit, (int64_t)now->current) : SYN_MIN(limit, (int64_t)now->current);
    if (up ? (int64_t)wish->want <= limit : (int64_t)wish->want >= limit)
        return;
    wish->want = (uint32_t)limit;
    wish->reason = SYN_AUTOSCALE_STEPPING;
}

/* ---- words ---- */

static void
say_metric(const struct wish *wish, char out[SEEN_MAX])
{
    const struct syn_autoscale_metric *metric = wish->metric;
    const struct sight *sight = &wish->sight;
    char is[SYN_FORMAT_MAX], target[SYN_FORMAT_MAX];
    uint32_t ready = metric ? sight->told + sight->silent : 0;
    int used;

    *out = '\0';
    if (!metric)
        return;
    syn_autoscale_format(metric->kind, ready > 0 ? sight->sum / ready : sight->sum, is);
    syn_autoscale_format(metric->kind, metric->target, target);
    used = snprintf(out, SEEN_MAX, "%s %s%s%.24s, target %.24s a replica; ",
                    kind_names[metric->kind], metric->name, *metric->name ? " " : "", is, target);
    if (ready > 0 && (sight->silent > 0 || sight->starting > 0) && used > 0 && used < SEEN_MAX)
        (void)snprintf(out + used, SEEN_MAX - (size_t)used, "%u not heard of, %u starting; ",
                       sight->silent, sight->starting);
}

static void
say(const struct syn_autoscale_rule *rule, const struct wish *wish, uint32_t needed,
    struct syn_autoscale_decision *decision)
{
    char seen[SEEN_MAX], window[SYN_FORMAT_MAX];
    uint32_t n = decision->replicas;
    const char *noun = syn_plural(n, "replica", "replicas");
    char *out = decision->why;
    const size_t cap = sizeof(decision->why);

    say_metric(wish, seen);
    switch (decision->reason) {
    case SYN_AUTOSCALE_STEADY:
        (void)snprintf(out, cap, "%s%u %s: near enough", seen, n, noun);
        break;
    case SYN_AUTOSCALE_LOAD:
        (void)snprintf(out, cap, "%sthat needs %u %s", seen, n, noun);
        break;
    case SYN_AUTOSCALE_AT_MIN:
        (void)snprintf(out, cap, "%sthat needs %u; the minimum is %u", seen, needed, n);
        break;
    case SYN_AUTOSCALE_AT_MAX:
        (void)snprintf(out, cap, "%sthat needs %u; the maximum is %u", seen, needed, n);
        break;
    case SYN_AUTOSCALE_BOUNDS:
        (void)snprintf(out, cap, "bounds are %u to %u now: %u %s", decision->min, decision->max, n,
                       noun);
        break;
    case SYN_AUTOSCALE_HELD:
        (void)snprintf(out, cap, "requests wait at the door: %u %s", n, noun);
        break;
    case SYN_AUTOSCALE_IDLE:
        (void)snprintf(out, cap, "no demand for %s: no replica",
                       syn_format_duration(rule->idle_ms, window));
        break;
    case SYN_AUTOSCALE_STABILISING:
        (void)snprintf(out, cap, "%sthat needs %u, but %u %s needed within the last %s", seen,
                       needed, n, syn_plural(n, "was", "were"),
                       syn_format_duration(wish->window_ms, window));
        break;
    case SYN_AUTOSCALE_COOLING:
        (void)snprintf(out, cap, "%sthat needs %u; the last change is too near", seen, needed);
        break;
    case SYN_AUTOSCALE_STEPPING:
        (void)snprintf(out, cap, "%sthat needs %u; %u %s as far as one step goes", seen, needed, n,
                       syn_plural(n, "is", "are"));
        break;
    case SYN_AUTOSCALE_BLIND:
        (void)snprintf(out, cap, "%sa metric is not known: nothing is taken away", seen);
        break;
    case SYN_AUTOSCALE_WAITING:
    case SYN_AUTOSCALE_REASONS:
        *out = '\0';
        break;
    }
}

/* ---- the decision ---- */

static void
note_change(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
            uint32_t replicas, struct syn_autoscale_state *state)
{
    const struct syn_autoscale_pace *pace = replicas > now->current ? &rule->up : &rule->down;

    if (replicas == now->current)
        return;
    state->changed_ms = now->now_ms;
    if (state->period.from_ms == 0 || now->now_ms < state->period.from_ms ||
        now->now_ms - state->period.from_ms >= pace->period_ms)
        state->period = (struct syn_autoscale_period){now->now_ms, now->current};
}

static void
bound(const struct syn_autoscale_now *now, const struct bounds *bounds, uint32_t needed,
      const struct wish *wish, struct syn_autoscale_decision *ret)
{
    ret->replicas = SYN_MAX(SYN_MIN(wish->want, bounds->max), bounds->min);
    ret->reason = wish->reason;
    if (ret->replicas == wish->want)
        return;
    if (now->current < bounds->min || now->current > bounds->max)
        ret->reason = SYN_AUTOSCALE_BOUNDS;
    else
        ret->reason = needed > bounds->max ? SYN_AUTOSCALE_AT_MAX : SYN_AUTOSCALE_AT_MIN;
}

void
syn_autoscale_decide(const struct syn_autoscale_rule *rule, const struct syn_autoscale_now *now,
                     struct syn_autoscale_state *state, struct syn_autoscale_decision *ret)
{
    struct bounds bounds = bounds_at(rule, now->now_ms);
    int64_t passed_ms = now->now_ms - state->at_ms;
    bool out_of_bounds = now->current < bounds.min || now->current > bounds.max;
    struct wish wish;
    uint32_t needed;

    *ret = (struct syn_autoscale_decision){.replicas = now->current,
                                           .reason = SYN_AUTOSCALE_WAITING,
                                           .min = bounds.min,
                                           .max = bounds.max};
    if (state->at_ms > now->now_ms) /* the clock was set back: begin again */
        *state = (struct syn_autoscale_state){0};
    if (state->at_ms != 0 && passed_ms >= 0 && passed_ms < rule->every_ms && !out_of_bounds &&
        !(now->current == 0 && now->held > 0 && bounds.max > 0)) {
        ret->wake_at_ms = SYN_MIN(state->at_ms + rule->every_ms, bounds.until_ms);
        return;
    }
    if (rule->metrics_count == 0) { /* the schedule alone decides */
        wish = (struct wish){.want = bounds.min, .reason = SYN_AUTOSCALE_BOUNDS};
        needed = wish.want;
    } else {
        wish = choose(rule, now, state, SYN_MAX(passed_ms, 1));
        to_and_from_zero(rule, now, &bounds, state, &wish);
        needed = wish.want;
        stabilise(rule, now, state, &wish);
        cool_down(rule, now, state, &wish);
        limit_step(rule, now, state, &wish);
    }
    bound(now, &bounds, needed, &wish, ret);
    note_change(rule, now, ret->replicas, state);
    state->at_ms = now->now_ms;
    ret->wake_at_ms = SYN_MIN(now->now_ms + rule->every_ms, bounds.until_ms);
    say(rule, &wish, needed, ret);
    assert(ret->replicas >= bounds.min && ret->replicas <= bounds.max);
}
