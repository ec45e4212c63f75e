#include <synor/orchestration/warm_pool.h>

#include <stdbool.h>

#include <synor/base/core.h>

#define MAKE_FIRST_MS 2000 /* while it is not known */
#define MAKE_MAX_MS   30000
#define APART         10 /* a burst begins after a pause of so many times what making one takes */
#define TENTH         10 /* distances agree within that part */
#define LEAD_MS       15000 /* it takes its agent some seconds to look */

/* The time within which another one is not there yet. */
static int64_t
make_ms(const struct syn_warm_pool *pool)
{
    return pool->make_ms == 0 ? MAKE_FIRST_MS : SYN_MIN(pool->make_ms, (int64_t)MAKE_MAX_MS);
}

static size_t
known(const struct syn_warm_pool *pool)
{
    return SYN_MIN(pool->asked, (size_t)SYN_WARM_POOL_ASKED);
}

/* The i-th, newest first. */
static int64_t
asked_ms(const struct syn_warm_pool *pool, size_t i)
{
    return pool->asked_ms[(pool->asked - 1 - i) % SYN_WARM_POOL_ASKED];
}

void
syn_warm_pool_asked(struct syn_warm_pool *pool, int64_t now_ms)
{
    if (pool->asked > 0)
        now_ms = SYN_MAX(now_ms, asked_ms(pool, 0));
    pool->asked_ms[pool->asked++ % SYN_WARM_POOL_ASKED] = now_ms;
}

void
syn_warm_pool_made(struct syn_warm_pool *pool, int64_t took_ms)
{
    took_ms = SYN_MAX(took_ms, (int64_t)1);
    pool->make_ms = pool->make_ms == 0 ? took_ms : (3 * pool->make_ms + took_ms) / 4;
}

/* The most that were asked for within the time that making one takes, since `since_ms`. */
static size_t
worst(const struct syn_warm_pool *pool, int64_t since_ms)
{
    size_t most = 0, last = 0;

    for (size_t first = 0; first < known(pool) && asked_ms(pool, first) >= since_ms; first++) {
        while (asked_ms(pool, last) - asked_ms(pool, first) > make_ms(pool))
            last++;
        most = SYN_MAX(most, first - last + 1);
    }
    return most;
}

/* Newest first, at most SYN_WARM_POOL_BURSTS. The oldest may be cut off by what is remembered. */
struct burst {
    int64_t begun_ms;
    size_t size;
};

static size_t
find_bursts(const struct syn_warm_pool *pool, struct burst *out)
{
    size_t count = 0;

    for (size_t i = 0; i < known(pool); i++) {
        bool begins = i == 0 || asked_ms(pool, i - 1) - asked_ms(pool, i) > APART * make_ms(pool);

        if (begins && count == SYN_WARM_POOL_BURSTS)
            break;
        if (begins)
            out[count++] = (struct burst){.size = 0};
        out[count - 1].begun_ms = asked_ms(pool, i);
        out[count - 1].size++;
    }
    return count;
}

/* How many a burst has that comes as a clock does, and is due; 0: none is. */
static size_t
due(const struct syn_warm_pool *pool, int64_t now_ms)
{
    struct burst bursts[SYN_WARM_POOL_BURSTS];
    size_t count = find_bursts(pool, bursts), size = 0;
    int64_t mean_ms, expected_ms;

    if (count < SYN_WARM_POOL_BURSTS)
        return 0;
    mean_ms = (bursts[0].begun_ms - bursts[count - 1].begun_ms) / (int64_t)(count - 1);
    for (size_t i = 0; i < count; i++) {
        int64_t gap_ms = i + 1 < count ? bursts[i].begun_ms - bursts[i + 1].begun_ms : mean_ms;

        if (gap_ms > mean_ms + mean_ms / TENTH || gap_ms < mean_ms - mean_ms / TENTH)
            return 0;
        size = SYN_MAX(size, bursts[i].size);
    }
    expected_ms = bursts[0].begun_ms + mean_ms;
    return now_ms >= expected_ms - LEAD_MS - make_ms(pool) &&
                   now_ms <= expected_ms + mean_ms / TENTH
               ? size
               : 0;
}

size_t
syn_warm_pool_wanted(const struct syn_warm_pool *pool, int64_t now_ms, size_t max)
{
    size_t lately;

    if (pool->asked == 0)
        return 0;
    lately = worst(pool, now_ms - SYN_WARM_POOL_KEPT_MS);
    return SYN_MIN(SYN_MAX(lately, due(pool, now_ms)), max);
}
