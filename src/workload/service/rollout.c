/* Old replicas leave as new ones become ready:
 *
 *     may be started:  while there are fewer new ones than wanted, and fewer in all than
 *                      want + surge
 *     may leave:       any old one that is not ready; a ready one while more are ready than
 *                      want - unavailable
 *
 * New replicas that never become ready hold the surge and nothing else: the update stands, and the
 * old ones serve on, until it is rolled back. Without old ones the same rules scale up and down. */
#include "rollout_priv.h"

#include <synor/workload/service_control.h>

static struct rollout
count_up(const struct rollout_replica *replicas, size_t count)
{
    struct rollout sum = {0};

    for (size_t i = 0; i < count; i++) {
        const struct rollout_replica *replica = &replicas[i];

        if (replica->stopping) {
            sum.stopping++;
            continue;
        }
        sum.current += replica->current;
        sum.old += !replica->current;
        sum.ready += replica->ready;
        sum.updated += replica->ready && replica->current;
    }
    return sum;
}

/* The first to go of those of the kind: the oldest of the old, the newest of the current. */
static struct rollout_replica *
first_to_go(struct rollout_replica *replicas, size_t count, bool current, bool ready)
{
    struct rollout_replica *found = NULL;

    for (size_t i = 0; i < count; i++) {
        struct rollout_replica *replica = &replicas[i];

        if (replica->stopping || replica->stop || replica->current != current ||
            replica->ready != ready)
            continue;
        if (!found || (current ? replica->serial > found->serial : replica->serial < found->serial))
            found = replica;
    }
    return found;
}

static void
let_go(struct rollout *sum, struct rollout_replica *one)
{
    one->stop = true;
    sum->stopping++;
    sum->ready -= one->ready;
    sum->updated -= one->ready && one->current;
    sum->current -= one->current;
    sum->old -= !one->current;
}

struct rollout
rollout_decide(struct rollout_replica *replicas, size_t count, const struct rollout_pace *pace)
{
    struct rollout sum = count_up(replicas, count);
    uint32_t floor = pace->want > pace->unavailable ? pace->want - pace->unavailable : 0;
    struct rollout_replica *one;

    while (sum.current > pace->want) {
        one = first_to_go(replicas, count, true, false);
        if (!one && sum.ready > floor)
            one = first_to_go(replicas, count, true, true);
        if (!one)
            break;
        let_go(&sum, one);
    }
    while ((one = first_to_go(replicas, count, false, false)) != NULL)
        let_go(&sum, one);
    while (sum.ready > floor && (one = first_to_go(replicas, count, false, true)) != NULL)
        let_go(&sum, one);
    while (sum.current + sum.create < pace->want &&
           sum.current + sum.create + sum.old < pace->want + pace->surge)
        sum.create++;
    return sum;
}

int64_t
rollout_retry_at(uint32_t failures, uint32_t want, int64_t last_ms)
{
    uint32_t each = want > 0 ? (failures + want - 1) / want : failures;
    int64_t pause_ms = SYN_SERVICE_BACKOFF_FIRST_MS;

    if (failures == 0)
        return last_ms;
    for (uint32_t i = 1; i < each && pause_ms < SYN_SERVICE_BACKOFF_MAX_MS; i++)
        pause_ms *= 2;
    return last_ms + SYN_MIN(pause_ms, SYN_SERVICE_BACKOFF_MAX_MS);
}
