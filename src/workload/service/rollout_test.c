/* The arithmetic of an update against its promises, over histories made at random. */
#include "rollout_priv.h"

#include <synor/base/test.h>
#include <synor/workload/service_control.h>

#define REPLICAS_MAX 64
#define HISTORIES    300
#define TURNS        120

struct history {
    struct rollout_replica replicas[REPLICAS_MAX];
    size_t count;
    int64_t serial;
    struct rollout_pace pace;
    uint64_t random;
    bool bad; /* replicas of the wanted version never become ready */
};

static uint32_t
below(struct history *history, uint32_t limit)
{
    return (uint32_t)(syn_test_random(&history->random) % limit);
}

static uint32_t
ready_count(const struct history *history)
{
    uint32_t ready = 0;

    for (size_t i = 0; i < history->count; i++)
        ready += history->replicas[i].ready && !history->replicas[i].stopping;
    return ready;
}

static uint32_t
live_count(const struct history *history)
{
    uint32_t live = 0;

    for (size_t i = 0; i < history->count; i++)
        live += !history->replicas[i].stopping;
    return live;
}

static void
remove_at(struct history *history, size_t at)
{
    history->replicas[at] = history->replicas[--history->count];
}

/* Decide and do it. What the control does itself must keep the promise. */
static void
turn(struct history *history)
{
    const struct rollout_pace *pace = &history->pace;
    uint32_t before = ready_count(history), live = live_count(history);
    uint32_t floor = pace->want > pace->unavailable ? pace->want - pace->unavailable : 0;
    struct rollout sum = rollout_decide(history->replicas, history->count, pace);
    struct rollout again;

    for (size_t i = 0; i < history->count; i++) {
        if (history->replicas[i].stop) {
            assert_false(history->replicas[i].stopping);
            history->replicas[i].stopping = true;
            history->replicas[i].stop = false;
        }
    }
    for (uint32_t i = 0; i < sum.create; i++) {
        assert_true(history->count < REPLICAS_MAX);
        history->replicas[history->count++] =
            (struct rollout_replica){.serial = ++history->serial, .group = ROLLOUT_NEW};
    }
    assert_true(ready_count(history) >= SYN_MIN(before, floor));
    assert_true(live_count(history) <= SYN_MAX(live, pace->want + pace->surge));
    again = rollout_decide(history->replicas, history->count, pace);
    assert_int_equal(again.create, 0);
    for (size_t i = 0; i < history->count; i++)
        assert_false(history->replicas[i].stop);
}

/* Something happens: one becomes ready, ends, or a stopping one is gone. */
static void
event(struct history *history, bool calm)
{
    size_t at;

    if (history->count == 0)
        return;
    at = below(history, (uint32_t)history->count);
    if (history->replicas[at].stopping || (!calm && below(history, 12) == 0))
        remove_at(history, at);
    else if (!calm && below(history, 12) == 0)
        history->replicas[at].ready = false;
    else if (!(history->bad && history->replicas[at].group == ROLLOUT_NEW))
        history->replicas[at].ready = true;
}

/* Everything wanted is there and ready, and nothing else. */
static bool
complete(const struct history *history)
{
    for (size_t i = 0; i < history->count; i++)
        if (history->replicas[i].group != ROLLOUT_NEW || !history->replicas[i].ready)
            return false;
    return history->count == history->pace.want;
}

static void
begin(struct history *history, uint64_t seed)
{
    *history = (struct history){.random = seed};
    history->pace.want = history->pace.fresh = below(history, 12);
    history->pace.surge = below(history, 5);
    history->pace.unavailable = below(history, 5) + (history->pace.surge == 0);
}

static void
test_ends_in_what_is_wanted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct history history;

        begin(&history, seed);
        for (int i = 0; i < TURNS; i++) {
            turn(&history);
            event(&history, false);
            if (below(&history, 30) == 0) /* another version is wanted */
                for (size_t r = 0; r < history.count; r++)
                    history.replicas[r].group = below(&history, 2) ? ROLLOUT_OTHER : ROLLOUT_BASE;
            if (below(&history, 40) == 0) /* another number */
                history.pace.want = history.pace.fresh = below(&history, 12);
        }
        for (int i = 0; i < 5000 && !complete(&history); i++) {
            turn(&history);
            event(&history, true);
        }
        if (!complete(&history))
            fail_msg("seed %llu: it does not come to an end", (unsigned long long)seed);
    }
}

static void
test_a_bad_version_takes_nothing_away(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct history history;
        uint32_t floor;

        begin(&history, seed);
        for (uint32_t i = 0; i < history.pace.want; i++)
            history.replicas[history.count++] = (struct rollout_replica){
                .serial = ++history.serial, .group = ROLLOUT_OTHER, .ready = true};
        history.bad = true;
        floor = history.pace.want > history.pace.unavailable
                    ? history.pace.want - history.pace.unavailable
                    : 0;
        for (int i = 0; i < TURNS; i++) {
            turn(&history);
            event(&history, true);
            assert_true(ready_count(&history) >= floor);
            assert_true(history.serial <= history.pace.want * 2 + 1);
        }
    }
}

static void
test_pauses_grow_and_are_bounded(void **state)
{
    int64_t last = 0;

    (void)state;
    assert_int_equal(rollout_retry_at(0, 3, 100), 100);
    assert_int_equal(rollout_retry_at(1, 1, 100), 100 + SYN_SERVICE_BACKOFF_FIRST_MS);
    assert_int_equal(rollout_retry_at(3, 3, 100), 100 + SYN_SERVICE_BACKOFF_FIRST_MS);
    assert_int_equal(rollout_retry_at(4, 3, 100), 100 + 2 * SYN_SERVICE_BACKOFF_FIRST_MS);
    for (uint32_t failures = 1; failures < 1000; failures++) {
        int64_t at = rollout_retry_at(failures, 2, 0);

        assert_true(at >= last);
        last = at;
    }
    assert_int_equal(last, SYN_SERVICE_BACKOFF_MAX_MS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_in_what_is_wanted),
        cmocka_unit_test(test_a_bad_version_takes_nothing_away),
        cmocka_unit_test(test_pauses_grow_and_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
