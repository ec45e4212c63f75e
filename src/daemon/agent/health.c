/* One machine for a check:
 *
 *     starting --healthy passes--> ready --unhealthy failures--> not ready --more, to `lost`-->
 * lost |                           ^________healthy passes________|
 *        `--start_ms over--> lost
 *
 * A replica has one of them, which tells of its start, its readiness and its life: what does not
 * answer is first spared (no requests), then replaced. Who asks different questions has up to three
 * (care.c), each with the part of the rules that is its own. */
#include "health_priv.h"

#define START_PART 16

void
agt_health_init(struct agt_health *health, const struct agt_health_rules *rules, int64_t now_ms)
{
    /* Where failures count from the first on, they come no faster than it was said. */
    bool counts = rules->lost > 0 && rules->start_ms == 0;

    *health = (struct agt_health){
        .rules = *rules,
        .since_ms = now_ms,
        .due_ms = now_ms,
        .pause_ms = counts ? rules->interval_ms : SYN_MIN(AGT_HEALTH_FIRST_MS, rules->interval_ms)};
    health->ready = health->began = !rules->checked;
}

bool
agt_health_due(const struct agt_health *health, int64_t now_ms)
{
    return health->rules.checked && now_ms >= health->due_ms;
}

bool
agt_health_take(struct agt_health *health, bool passed, int64_t now_ms)
{
    bool before = health->ready;

    health->passed = passed ? health->passed + 1 : 0;
    health->failed = passed ? 0 : health->failed + 1;
    if (health->passed >= health->rules.healthy)
        health->ready = health->began = true;
    if (health->failed >= health->rules.unhealthy)
        health->ready = false;
    health->due_ms = now_ms + (health->began ? health->rules.interval_ms : health->pause_ms);
    /* What starts is asked in good time: it waits a small part of the time that it took. */
    if (!health->began && !passed)
        health->pause_ms =
            SYN_MIN(SYN_MAX(health->pause_ms, (now_ms - health->since_ms) / START_PART),
                    health->rules.interval_ms);
    return health->ready != before;
}

bool
agt_health_lost(const struct agt_health *health, int64_t now_ms)
{
    if (!health->rules.checked)
        return false;
    if (!health->began && health->rules.start_ms > 0)
        return now_ms - health->since_ms >= health->rules.start_ms;
    return health->rules.lost > 0 && health->failed >= health->rules.lost;
}
