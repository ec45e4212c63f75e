/* Old replicas leave as new ones become ready:
 *
 *     may be started:  while there are fewer new ones than wanted, and fewer in all than
 *                      want + surge
 *     may leave:       any old one that is not ready; a ready one while more are ready than
 *                      want - unavailable
 *
 * New replicas that never become ready hold the surge and nothing else: the update stands, and the
 * old ones serve on, until it is rolled back. Without old ones the same rules scale up and down.
 *
 * A new version that is tried first (stage.c) comes beside a base that stays whole, or is kept
 * after the new one has taken over: then the rules for old ones hold for those that are neither. */
#include "rollout_priv.h"

#include <synor/workload/service_control.h>

static bool
serves(const struct rollout_replica *replica)
{
    return replica->ready && !replica->idle;
}

/* Does it count as one that goes when it can be spared? */
static bool
goes(const struct rollout_replica *replica, const struct rollout_pace *pace)
{
    return replica->group == ROLLOUT_OTHER ||
           (replica->group == ROLLOUT_BASE && pace->base == ROLLOUT_GOES);
}

static void
count(struct rollout *sum, const struct rollout_replica *replica, const struct rollout_pace *pace,
      uint32_t by)
{
    bool fresh = replica->group == ROLLOUT_NEW, old = goes(replica, pace);

    sum->current += fresh ? by : 0;
    sum->old += old ? by : 0;
    sum->base += !fresh && !old ? by : 0;
    sum->ready += serves(replica) ? by : 0;
    sum->updated += fresh && replica->ready ? by : 0;
}

static struct rollout
count_up(const struct rollout_replica *replicas, size_t replicas_count,
         const struct rollout_pace *pace)
{
    struct rollout sum = {0};

    for (size_t i = 0; i < replicas_count; i++) {
        sum.stopping += replicas[i].stopping;
        if (!replicas[i].stopping)
            count(&sum, &replicas[i], pace, 1);
    }
    return sum;
}

enum kind { THE_NEW, THE_BASE, THE_OLD };

/* The first to go of those of the kind: the oldest of the old, the newest of the others. */
static struct rollout_replica *
first_to_go(struct rollout_replica *replicas, size_t replicas_count,
            const struct rollout_pace *pace, enum kind kind, bool serving)
{
    struct rollout_replica *found = NULL;

    for (size_t i = 0; i < replicas_count; i++) {
        struct rollout_replica *one = &replicas[i];
        enum kind its = one->group == ROLLOUT_NEW ? THE_NEW : goes(one, pace) ? THE_OLD : THE_BASE;

        if (one->stopping || one->stop || its != kind || serves(one) != serving)
            continue;
        if (!found || (kind == THE_OLD ? one->serial < found->serial : one->serial > found->serial))
            found = one;
    }
    return found;
}

static void
let_go(struct rollout *sum, struct rollout_replica *one, const struct rollout_pace *pace)
{
    one->stop = true;
    sum->stopping++;
    count(sum, one, pace, UINT32_MAX); /* one less: unsigned numbers wrap */
}

/* So many must take traffic. */
static uint32_t
least_ready(const struct rollout_pace *pace)
{
    uint32_t spared = pace->unavailable + pace->done_well;

    return pace->want > spared ? pace->want - spared : 0;
}

/* There are more of the kind than wanted. */
static void
thin_out(struct rollout *sum, struct rollout_replica *replicas, size_t replicas_count,
         const struct rollout_pace *pace, enum kind kind)
{
    const uint32_t *have = kind == THE_NEW ? &sum->current : &sum->base;
    uint32_t most = kind == THE_NEW ? pace->fresh : pace->want;
    uint32_t floor = least_ready(pace);

    while (*have > most) {
        struct rollout_replica *one = first_to_go(replicas, replicas_count, pace, kind, false);

        if (!one && sum->ready > floor)
            one = first_to_go(replicas, replicas_count, pace, kind, true);
        if (!one)
            return;
        let_go(sum, one, pace);
    }
}

struct rollout
rollout_decide(struct rollout_replica *replicas, size_t replicas_count,
               const struct rollout_pace *pace)
{
    struct rollout sum = count_up(replicas, replicas_count, pace);
    uint32_t floor = least_ready(pace);
    struct rollout_replica *one;

    thin_out(&sum, replicas, replicas_count, pace, THE_NEW);
    if (pace->base == ROLLOUT_WHOLE)
        thin_out(&sum, replicas, replicas_count, pace, THE_BASE);
    while ((one = first_to_go(replicas, replicas_count, pace, THE_OLD, false)) != NULL)
        let_go(&sum, one, pace);
    while (sum.ready > floor &&
           (one = first_to_go(replicas, replicas_count, pace, THE_OLD, true)) != NULL)
        let_go(&sum, one, pace);
    if (pace->base == ROLLOUT_WHOLE && sum.base < pace->want)
        sum.create_base = pace->want - sum.base;
    while (sum.current + sum.create + pace->done < pace->fresh &&
           (pace->base != ROLLOUT_GOES ||
            sum.current + sum.create + sum.old < pace->want + pace->surge))
        sum.create++;
    return sum;
}

/* How far part/whole is from a percentage, times 100 * whole. */
static uint64_t
off_by(uint64_t part, uint64_t whole, uint32_t percent)
{
    uint64_t has = part * 100, wants = whole * percent;

    return has > wants ? has - wants : wants - has;
}

void
rollout_weights(uint32_t percent, uint32_t fresh, uint32_t old, uint32_t *ret_fresh,
                uint32_t *ret_old)
{
    uint64_t best = UINT64_MAX, best_whole = 1;

    assert(percent > 0 && percent < 100 && fresh > 0 && old > 0);
    *ret_fresh = *ret_old = 1;
    for (uint32_t a = 1; a <= ROLLOUT_WEIGHT_MAX; a++) {
        /* The other weight for this one: a * fresh : b * old = percent : 100 - percent. */
        uint64_t above = (uint64_t)a * fresh * (100 - percent), below = (uint64_t)old * percent;
        uint64_t near = SYN_MIN(SYN_MAX(above / below, (uint64_t)1), (uint64_t)ROLLOUT_WEIGHT_MAX);

        for (uint64_t b = near; b <= SYN_MIN(near + 1, (uint64_t)ROLLOUT_WEIGHT_MAX); b++) {
            uint64_t part = (uint64_t)a * fresh, whole = part + b * old;
            uint64_t off = off_by(part, whole, percent);

            if (best != UINT64_MAX && off * best_whole >= best * whole)
                continue; /* off / whole is no less than best / best_whole */
            best = off;
            best_whole = whole;
            *ret_fresh = a;
            *ret_old = (uint32_t)b;
        }
    }
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
