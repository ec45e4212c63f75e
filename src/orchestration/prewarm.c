#include <synor/orchestration/prewarm.h>

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#define WEIGHT        16   /* of one pause */
#define WEIGHTS_MAX   2048 /* then all are halved */
#define WORTH         2    /* times the owner's idle time */
#define START_COST_MS 60000
#define LEAD_MIN_MS   2000
#define LEAD_MAX_MS   INT64_C(120000)
#define LEAD_FIRST_MS 10000 /* while it is not known what a start takes */
#define BURST_MS      2000
#define REGULAR_MIN   4
#define SPANS_MAX     4
#define MINUTE_MS     INT64_C(60000)
#define CALLS_MAX     1000000000U
#define PEAK_MAX      100000U

/* Instances are ready within [from, until) of a pause. */
struct span {
    int64_t from_ms, until_ms;
};

struct spans {
    struct span rows[SPANS_MAX];
    size_t count;
    uint32_t covered; /* thousandths */
};

const char *
syn_prewarm_reason_name(unsigned reason)
{
    static const char *const names[] = {[SYN_PREWARM_UNKNOWN] = "unknown",
                                        [SYN_PREWARM_HISTOGRAM] = "histogram",
                                        [SYN_PREWARM_REGULAR] = "regular",
                                        [SYN_PREWARM_SCHEDULE] = "schedule"};

    return reason < SYN_LEN(names) ? names[reason] : NULL;
}

/* --- bins ------------------------------------------------------------------------------------- */

/* Where a bin begins: 1 s * 2^(bin/4). */
static int64_t
bin_ms(unsigned bin)
{
    static const int64_t quarters[] = {1000, 1189, 1414, 1682};

    return quarters[bin % 4] << (bin / 4);
}

static unsigned
bin_of(int64_t pause_ms)
{
    unsigned bin = 0;

    while (bin + 1 < SYN_PREWARM_BINS && pause_ms >= bin_ms(bin + 1))
        bin++;
    return bin;
}

/* --- noting ----------------------------------------------------------------------------------- */

static void
fade(uint32_t *weights, size_t count, uint32_t *sum)
{
    *sum = 0;
    for (size_t i = 0; i < count; i++) {
        weights[i] /= 2;
        *sum += weights[i];
    }
}

static void
note_pause(struct syn_prewarm_state *state, int64_t pause_ms)
{
    unsigned bin = bin_of(pause_ms);

    memmove(state->recent_ms + 1, state->recent_ms,
            (SYN_PREWARM_RECENT - 1) * sizeof(state->recent_ms[0]));
    state->recent_ms[0] = pause_ms;
    state->bins[bin] += WEIGHT;
    state->pauses += WEIGHT;
    if (state->pauses > WEIGHTS_MAX)
        fade(state->bins, SYN_PREWARM_BINS, &state->pauses);
}

/* The burst before this pause is over. */
static void
note_burst(struct syn_prewarm_state *state)
{
    uint32_t sum = 0;
    unsigned slot = 0;

    while (slot + 1 < SYN_PREWARM_BURSTS && (1U << slot) < state->burst)
        slot++;
    if (state->burst > 0)
        state->bursts[slot] += WEIGHT;
    for (size_t i = 0; i < SYN_PREWARM_BURSTS; i++)
        sum += state->bursts[i];
    if (sum > WEIGHTS_MAX)
        fade(state->bursts, SYN_PREWARM_BURSTS, &sum);
    state->burst = 0;
}

static void
note_peak(struct syn_prewarm_state *state, int64_t now_ms, uint32_t peak)
{
    int64_t minute = now_ms / MINUTE_MS, behind = minute - state->minute;

    if (behind < 0 || behind >= SYN_PREWARM_MINUTES)
        memset(state->peaks, 0, sizeof(state->peaks));
    else if (behind > 0) {
        memmove(state->peaks + behind, state->peaks,
                (size_t)(SYN_PREWARM_MINUTES - behind) * sizeof(state->peaks[0]));
        memset(state->peaks, 0, (size_t)behind * sizeof(state->peaks[0]));
    }
    state->minute = minute;
    state->peaks[0] = SYN_MAX(state->peaks[0], peak);
}

void
syn_prewarm_note(struct syn_prewarm_state *state, const struct syn_prewarm_calls *calls)
{
    uint32_t peak = SYN_MIN(SYN_MAX(calls->peak, 1U), PEAK_MAX);
    int64_t pause_ms = calls->begun_ms - state->last_ms;

    if (calls->ended_ms < state->last_ms || calls->begun_ms <= 0)
        return;
    if (state->last_ms == 0 || pause_ms >= SYN_PREWARM_PAUSE_MIN_MS) {
        state->calls = SYN_MIN(state->calls + 1, CALLS_MAX);
        state->scheduled += calls->scheduled ? 1 : 0;
        if (state->last_ms != 0 && !calls->scheduled)
            note_pause(state, pause_ms);
        note_burst(state);
        state->burst_ms = calls->begun_ms;
    }
    if (calls->ended_ms - state->burst_ms <= BURST_MS)
        state->burst = SYN_MAX(state->burst, peak);
    note_peak(state, calls->ended_ms, peak);
    state->last_ms = calls->ended_ms;
}

void
syn_prewarm_started(struct syn_prewarm_state *state, int64_t us)
{
    int64_t took = SYN_MIN(SYN_MAX(us, 1), LEAD_MAX_MS * 1000);

    state->start_us =
        state->start_us == 0 ? took : SYN_MAX(state->start_us + (took - state->start_us) / 4, 1);
}

/* --- from pauses to spans --------------------------------------------------------------------- */

/* A start takes so long, and as long again where the machine is busy. */
static int64_t
lead_ms(const struct syn_prewarm_state *state)
{
    if (state->start_us == 0)
        return LEAD_FIRST_MS;
    return SYN_MIN(SYN_MAX(2 * state->start_us / 1000 + 1000, LEAD_MIN_MS), LEAD_MAX_MS);
}

static void
add_span(struct spans *spans, int64_t from_ms, int64_t until_ms)
{
    struct span *last = spans->count > 0 ? &spans->rows[spans->count - 1] : NULL;

    if (last != NULL && from_ms <= last->until_ms)
        last->until_ms = SYN_MAX(last->until_ms, until_ms);
    else if (spans->count < SPANS_MAX)
        spans->rows[spans->count++] = (struct span){from_ms, until_ms};
}

static void
sort(int64_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t k = i; k > 0 && values[k] < values[k - 1]; k--) {
            int64_t less = values[k];

            values[k] = values[k - 1];
            values[k - 1] = less;
        }
    }
}

/* The last pauses agree: the next one ends as they did, or one call is left out and it ends at the
 * next time. */
static bool
regular_spans(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
              struct spans *ret)
{
    int64_t sorted[SYN_PREWARM_RECENT], low, high, middle, slack;
    size_t count = 0;

    while (count < SYN_PREWARM_RECENT && state->recent_ms[count] > 0) {
        sorted[count] = state->recent_ms[count];
        count++;
    }
    if (count < REGULAR_MIN)
        return false;
    sort(sorted, count);
    low = sorted[count >= 6 ? 1 : 0]; /* one that was late, and the next */
    high = sorted[count >= 6 ? count - 2 : count - 1];
    middle = sorted[count / 2];
    slack = 2000 + middle / 200;
    if (high - low > SYN_MAX(middle / 10, INT64_C(4000)) || middle < 2 * SYN_PREWARM_SETTLE_MS ||
        high - low + 2 * slack > WORTH * rule->idle_ms)
        return false;
    *ret = (struct spans){.covered = 950};
    for (int64_t nth = 1; nth < SPANS_MAX; nth++)
        add_span(ret, SYN_MAX(nth * low - slack - lead_ms(state), 0), nth * high + slack);
    return true;
}

/* What a bin is: neighbours lend each other a quarter, since few pauses are known so exactly. */
static void
smooth(const struct syn_prewarm_state *state, int64_t *ret)
{
    for (unsigned i = 0; i < SYN_PREWARM_BINS; i++)
        ret[i] = 2 * (int64_t)state->bins[i] + (i > 0 ? state->bins[i - 1] : state->bins[0]) +
                 (i + 1 < SYN_PREWARM_BINS ? state->bins[i + 1] : state->bins[i]);
}

/* Which bins have an instance ready, so that cold starts that are saved are worth most more than
 * the idle time that they cost. Backwards: what is best from a bin on, where one is ready at its
 * beginning, and where none is. */
static void
best_bins(const struct syn_prewarm_rule *rule, const int64_t *weights, bool ready[SYN_PREWARM_BINS])
{
    bool stays[SYN_PREWARM_BINS], comes[SYN_PREWARM_BINS], on = true;
    int64_t worth_ms = WORTH * rule->idle_ms, best_on = 0, best_off = 0;
    int64_t later = weights[SYN_PREWARM_BINS - 1]; /* weight of what is longer */

    for (unsigned i = SYN_PREWARM_BINS - 1; i-- > 0;) {
        int64_t width = bin_ms(i + 1) - bin_ms(i);
        int64_t gain = worth_ms * weights[i] - width / 2 * weights[i] - width * later;
        int64_t with = gain + best_on;
        int64_t start = with - START_COST_MS * (later + weights[i]);

        comes[i] = start > best_off;
        best_off = SYN_MAX(start, best_off);
        stays[i] = with > best_off;
        best_on = SYN_MAX(with, best_off);
        later += weights[i];
    }
    ready[SYN_PREWARM_BINS - 1] = false;
    for (unsigned i = 0; i + 1 < SYN_PREWARM_BINS; i++)
        on = ready[i] = on ? stays[i] : comes[i];
}

static void
histogram_spans(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
                struct spans *ret)
{
    int64_t weights[SYN_PREWARM_BINS];
    bool ready[SYN_PREWARM_BINS];
    uint64_t covered = 0;

    *ret = (struct spans){0};
    smooth(state, weights);
    best_bins(rule, weights, ready);
    for (unsigned i = 0; i + 1 < SYN_PREWARM_BINS; i++) {
        if (!ready[i])
            continue;
        add_span(ret, i == 0 ? 0 : bin_ms(i) - (i > 0 && !ready[i - 1] ? lead_ms(state) : 0),
                 bin_ms(i + 1));
        covered += state->bins[i];
    }
    ret->covered = (uint32_t)(covered * 1000 / SYN_MAX(state->pauses, 1U));
}

/* --- how many --------------------------------------------------------------------------------- */

static uint32_t
instances_for(const struct syn_prewarm_rule *rule, uint64_t calls)
{
    uint64_t a_piece = SYN_MAX(rule->concurrency, 1U);

    return (uint32_t)SYN_MIN((calls + a_piece - 1) / a_piece, (uint64_t)rule->instances_max);
}

/* As many as every other burst needs in its first moments: one that mostly stays idle is not worth
 * it. */
static uint32_t
ahead_of(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state)
{
    uint64_t sum = 0, seen = 0;
    unsigned slot = 0;

    for (unsigned i = 0; i < SYN_PREWARM_BURSTS; i++)
        sum += state->bursts[i];
    for (slot = 0; slot + 1 < SYN_PREWARM_BURSTS; slot++) {
        seen += state->bursts[slot];
        if (seen * 2 >= sum)
            break;
    }
    return SYN_MIN(SYN_MAX(instances_for(rule, UINT64_C(1) << slot), 1U),
                   (uint32_t)SYN_PREWARM_AHEAD_MAX);
}

/* While more and more come, three minutes in a row: as many as the next one needs, if it goes on
 * so.
 */
static uint32_t
trend_of(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state, int64_t now_ms)
{
    struct syn_prewarm_state now = *state;
    const uint32_t *peaks = now.peaks;

    if (state->last_ms == 0 || now_ms - state->last_ms >= MINUTE_MS)
        return 0;
    note_peak(&now, now_ms, 0);
    if (peaks[3] == 0 || peaks[3] >= peaks[2] || peaks[2] >= peaks[1])
        return 0;
    return instances_for(rule, SYN_MAX(peaks[0], peaks[1] + (peaks[1] - peaks[3]) / 2));
}

/* --- the decision ----------------------------------------------------------------------------- */

/* Of the spans, and the schedule's, those of now. */
static void
place_spans(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
            const struct spans *spans, int64_t now_ms, struct syn_prewarm_plan *ret)
{
    int64_t lead = lead_ms(state), rest_ms = START_COST_MS + 2 * lead;
    int64_t settle_ms = SYN_MIN(rule->idle_ms, SYN_PREWARM_SETTLE_MS);
    struct span fire = {rule->fire_ms - lead, rule->fire_ms + SYN_PREWARM_LATE_MS};
    bool has_fire = rule->fire_ms > 0 && state->last_ms < rule->fire_ms;

    ret->wake_at_ms = INT64_MAX;
    for (size_t i = 0; i < spans->count; i++) {
        struct span span = {state->last_ms + spans->rows[i].from_ms,
                            state->last_ms + spans->rows[i].until_ms};

        if (spans->rows[i].from_ms <= SYN_PREWARM_SETTLE_MS) {
            ret->idle_ms = SYN_MAX(spans->rows[i].until_ms, settle_ms);
            continue; /* kept from the last call on, as long as there is one */
        }
        if (span.until_ms <= now_ms)
            continue;
        if (ret->ready_ms == 0) {
            ret->ready_ms = span.from_ms;
            ret->expects_ms = span.from_ms + lead;
        }
        if (span.from_ms <= now_ms)
            ret->least = SYN_MAX(ret->least, ret->ahead);
        ret->wake_at_ms =
            SYN_MIN(ret->wake_at_ms, span.from_ms > now_ms ? span.from_ms : span.until_ms);
    }
    if (has_fire && fire.until_ms > now_ms) {
        if (ret->ready_ms == 0 || fire.from_ms < ret->ready_ms) {
            ret->ready_ms = fire.from_ms;
            ret->expects_ms = rule->fire_ms;
            ret->by_schedule = true;
        }
        if (fire.from_ms <= now_ms)
            ret->least = SYN_MAX(ret->least, ret->ahead);
        ret->wake_at_ms =
            SYN_MIN(ret->wake_at_ms, fire.from_ms > now_ms ? fire.from_ms : fire.until_ms);
        /* Not to be ended for so short a while. */
        if (state->last_ms > 0 && fire.from_ms - (state->last_ms + ret->idle_ms) < rest_ms)
            ret->idle_ms = SYN_MAX(ret->idle_ms, fire.from_ms - state->last_ms + rest_ms);
    }
}

static void
say(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
    struct syn_prewarm_plan *plan)
{
    char keep[SYN_FORMAT_MAX], at[SYN_FORMAT_MAX], every[SYN_FORMAT_MAX], next[120] = "";

    (void)syn_format_duration(plan->idle_ms, keep);
    if (plan->expects_ms > 0)
        (void)snprintf(next, sizeof(next), "; expects a call at %.19sZ (%s)",
                       syn_format_time(plan->expects_ms / 1000 * 1000, at),
                       plan->by_schedule                     ? "schedule"
                       : plan->reason == SYN_PREWARM_REGULAR ? "they come regularly"
                                                             : "by its pauses");
    switch (plan->reason) {
    case SYN_PREWARM_UNKNOWN:
        (void)snprintf(plan->why, sizeof(plan->why),
                       "keeps instances for %s: too few pauses between its calls are known yet%s",
                       keep, next);
        break;
    case SYN_PREWARM_SCHEDULE:
        (void)snprintf(plan->why, sizeof(plan->why),
                       "keeps instances for %s: only schedules call it%s", keep, next);
        break;
    case SYN_PREWARM_REGULAR:
        (void)snprintf(plan->why, sizeof(plan->why),
                       "keeps instances for %s: it is called every %s%s", keep,
                       syn_format_duration(state->recent_ms[0] / 1000 * 1000, every), next);
        break;
    case SYN_PREWARM_HISTOGRAM:
        (void)snprintf(
            plan->why, sizeof(plan->why),
            "keeps instances for %s: %u %% of its calls find one ready so, and more would "
            "cost over %s of idle time for each%s",
            keep, plan->covered / 10, syn_format_duration(WORTH * rule->idle_ms, every), next);
        break;
    }
}

void
syn_prewarm_decide(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
                   int64_t now_ms, struct syn_prewarm_plan *ret)
{
    struct spans spans = {0};
    uint32_t trend;

    *ret = (struct syn_prewarm_plan){.idle_ms = SYN_MIN(rule->idle_ms, SYN_PREWARM_SETTLE_MS)};
    ret->ahead = SYN_MIN(ahead_of(rule, state), SYN_MAX(rule->instances_max, 1U));
    if (state->pauses >= SYN_PREWARM_PAUSES_MIN * WEIGHT || state->recent_ms[REGULAR_MIN - 1] > 0) {
        ret->reason = SYN_PREWARM_REGULAR;
        if (!regular_spans(rule, state, &spans)) {
            ret->reason = SYN_PREWARM_HISTOGRAM;
            histogram_spans(rule, state, &spans);
        }
    } else if (rule->fire_ms > 0 && state->calls >= 2 && state->scheduled == state->calls) {
        ret->reason = SYN_PREWARM_SCHEDULE;
    } else {
        add_span(&spans, 0, rule->idle_ms);
    }
    if (ret->reason == SYN_PREWARM_HISTOGRAM && state->pauses < SYN_PREWARM_PAUSES_MIN * WEIGHT) {
        ret->reason = SYN_PREWARM_UNKNOWN;
        spans = (struct spans){0};
        add_span(&spans, 0, rule->idle_ms);
    }
    ret->covered = spans.covered;
    if (ret->reason == SYN_PREWARM_UNKNOWN)
        ret->idle_ms = rule->idle_ms;
    place_spans(rule, state, &spans, now_ms, ret);
    trend = trend_of(rule, state, now_ms);
    ret->least = SYN_MIN(SYN_MAX(ret->least, trend), rule->instances_max);
    if (trend > 0)
        ret->wake_at_ms = SYN_MIN(ret->wake_at_ms, state->last_ms + MINUTE_MS);
    say(rule, state, ret);
}
