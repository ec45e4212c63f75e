#include "prewarm_testing.h"

#include <stdio.h>
#include <string.h>

#define INSTANCES_MAX 64
#define AFTER_MS      INT64_C(3600000) /* that what is left is looked at */

struct instance {
    int64_t ready_ms, free_ms;
};

/* The paper's histogram, and the two windows that follow from it. */
#define HYBRID_BINS   240
#define HYBRID_BIN_MS INT64_C(60000)
#define HYBRID_MIN    5 /* pauses that must be known */
struct hybrid {
    uint32_t bins[HYBRID_BINS];
    uint32_t count, longer;
    int64_t last_ms, from_ms, until_ms;
};

struct run {
    const struct calls_policy *policy;
    struct syn_prewarm_rule rule;
    struct instance instances[INSTANCES_MAX];
    size_t count;
    struct calls_result result;
    bool news;
    struct hybrid hybrid;
};

bool
calls_read(const char *path, struct calls *ret)
{
    FILE *file = fopen(path, "re");
    char line[80];

    ret->count = 0;
    while (file != NULL && ret->count < CALLS_FILE_MAX && fgets(line, sizeof(line), file) != NULL) {
        char *end;

        ret->rows[ret->count].at_ms = CALLS_BEGIN_MS + strtoll(line, &end, 10);
        ret->rows[ret->count++].took_ms = strtoll(end, NULL, 10);
    }
    if (file != NULL)
        (void)fclose(file);
    return ret->count > 0;
}

/* The one that was free last; NULL: all are busy, or starting. */
static struct instance *
find_free(struct run *run, int64_t at_ms)
{
    struct instance *found = NULL;

    for (size_t i = 0; i < run->count; i++) {
        struct instance *each = &run->instances[i];

        if (each->ready_ms <= at_ms && each->free_ms <= at_ms &&
            (found == NULL || each->free_ms > found->free_ms))
            found = each;
    }
    return found;
}

static uint32_t
busy(const struct run *run, int64_t now_ms)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < run->count; i++)
        sum += run->instances[i].free_ms > now_ms;
    return sum;
}

/* The bin that so many percent of pauses are in or before. */
static int64_t
hybrid_bin(const struct hybrid *hybrid, uint32_t percent)
{
    uint64_t seen = 0;
    int64_t bin = 0;

    for (bin = 0; bin + 1 < HYBRID_BINS; bin++) {
        seen += hybrid->bins[bin];
        if (seen * 100 >= (uint64_t)hybrid->count * percent)
            break;
    }
    return bin;
}

/* Is its coefficient of variation at least 2? */
static bool
hybrid_says(const struct hybrid *hybrid)
{
    uint64_t squares = 0, sum = hybrid->count;

    for (unsigned i = 0; i < HYBRID_BINS; i++)
        squares += (uint64_t)hybrid->bins[i] * hybrid->bins[i];
    return sum >= HYBRID_MIN && hybrid->longer <= hybrid->count &&
           squares * HYBRID_BINS >= 5 * sum * sum;
}

static void
hybrid_note(struct hybrid *hybrid, int64_t begins_ms, int64_t ends_ms)
{
    int64_t pause_ms = begins_ms - hybrid->last_ms;

    if (hybrid->last_ms != 0 && pause_ms > 0 && pause_ms / HYBRID_BIN_MS < HYBRID_BINS) {
        hybrid->bins[pause_ms / HYBRID_BIN_MS]++;
        hybrid->count++;
    } else if (hybrid->last_ms != 0 && pause_ms > 0) {
        hybrid->longer++;
    }
    hybrid->last_ms = ends_ms > hybrid->last_ms ? ends_ms : hybrid->last_ms;
    hybrid->from_ms = 0;
    hybrid->until_ms = HYBRID_BINS * HYBRID_BIN_MS;
    if (!hybrid_says(hybrid))
        return;
    hybrid->from_ms = hybrid_bin(hybrid, 5) * HYBRID_BIN_MS * 9 / 10;
    hybrid->until_ms = (hybrid_bin(hybrid, 99) + 1) * HYBRID_BIN_MS * 11 / 10;
}

static void
call(struct run *run, int64_t at_ms, int64_t took_ms)
{
    struct instance *instance = find_free(run, at_ms);
    int64_t begins_ms = at_ms;

    run->result.calls++;
    if (instance == NULL) {
        run->result.cold++;
        begins_ms = at_ms + CALLS_START_MS;
        if (run->count == INSTANCES_MAX)
            return;
        instance = &run->instances[run->count++];
        instance->ready_ms = begins_ms;
        syn_prewarm_started(&run->result.state, CALLS_START_MS * 1000);
    }
    instance->free_ms = begins_ms + took_ms;
    syn_prewarm_note(&run->result.state,
                     &(struct syn_prewarm_calls){.begun_ms = begins_ms,
                                                 .ended_ms = instance->free_ms,
                                                 .peak = busy(run, at_ms),
                                                 .scheduled = run->policy->fires != NULL});
    hybrid_note(&run->hybrid, begins_ms, instance->free_ms);
    run->news = true;
}

/* How long instances stay, and how many do anyway. */
static int64_t
kept_ms(const struct run *run, int64_t now_ms, size_t *ret_least)
{
    const struct hybrid *hybrid = &run->hybrid;
    int64_t since_ms = now_ms - hybrid->last_ms;

    *ret_least = 0;
    if (run->policy->kind == CALLS_FIXED)
        return run->policy->idle_ms;
    if (run->policy->kind == CALLS_PLAN) {
        *ret_least = run->result.plan.least;
        return run->result.plan.idle_ms;
    }
    if (hybrid->from_ms == 0)
        return hybrid->until_ms;
    *ret_least = since_ms >= hybrid->from_ms && since_ms < hybrid->until_ms;
    return 0;
}

static void
look_ahead(struct run *run, int64_t now_ms)
{
    struct syn_prewarm_plan *plan = &run->result.plan;

    if (!run->news && now_ms < plan->wake_at_ms && now_ms - run->result.state.last_ms > 61000)
        return;
    run->news = false;
    run->rule.fire_ms = 0;
    if (run->policy->fires != NULL)
        (void)syn_cron_next(run->policy->fires, syn_zone_utc(), now_ms - SYN_PREWARM_LATE_MS,
                            &run->rule.fire_ms);
    syn_prewarm_decide(&run->rule, &run->result.state, now_ms, plan);
}

/* Those that had nothing to do for long go; those that are wanted and not there come. */
static void
keep(struct run *run, int64_t now_ms)
{
    size_t least;
    int64_t idle_ms = kept_ms(run, now_ms, &least);

    for (size_t i = run->count; i-- > 0 && run->count > least;) {
        const struct instance *each = &run->instances[i];

        if (each->free_ms > now_ms || now_ms - SYN_MAX(each->free_ms, each->ready_ms) < idle_ms)
            continue;
        run->instances[i] = run->instances[--run->count];
    }
    for (; run->count < SYN_MIN(least, (size_t)INSTANCES_MAX); run->count++)
        run->instances[run->count] = (struct instance){now_ms + CALLS_START_MS, 0};
    run->result.idle_seconds += run->count - busy(run, now_ms);
}

struct calls_result
calls_run(const struct calls *calls, const struct calls_policy *policy)
{
    struct run run = {.policy = policy,
                      .rule = {.idle_ms = policy->idle_ms, .concurrency = 1, .instances_max = 32},
                      .news = true};
    int64_t end_ms = calls->rows[calls->count - 1].at_ms + AFTER_MS;
    size_t next = 0;

    for (int64_t now_ms = CALLS_BEGIN_MS; now_ms < end_ms; now_ms += 1000) {
        for (; next < calls->count && calls->rows[next].at_ms < now_ms; next++)
            call(&run, calls->rows[next].at_ms, calls->rows[next].took_ms);
        if (policy->kind == CALLS_PLAN)
            look_ahead(&run, now_ms);
        keep(&run, now_ms);
    }
    return run.result;
}
