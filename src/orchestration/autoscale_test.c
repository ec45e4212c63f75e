#include <synor/orchestration/autoscale.h>

#include <stdio.h>
#include <string.h>

#include <synor/base/test.h>
#include <synor/base/units.h>

#include "autoscale_testing.h"

#define T0     INT64_C(1800000000000)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

/* A service of one metric whose replicas all say the same. */
struct service {
    struct syn_autoscale_rule rule;
    struct syn_autoscale_state state;
    struct syn_autoscale_sample samples[64];
    struct syn_autoscale_now now;
    struct syn_autoscale_decision decision;
};

static void
service_init(struct service *service, enum syn_autoscale_kind kind, int64_t target)
{
    *service = (struct service){.rule = syn_autoscale_rule_default()};
    service->rule.min = 1;
    service->rule.max = 20;
    service->rule.metrics_count = 1;
    service->rule.metrics[0] = (struct syn_autoscale_metric){.kind = kind, .target = target};
    service->now = (struct syn_autoscale_now){
        .now_ms = T0, .current = 2, .samples = service->samples, .count = 2};
    for (size_t i = 0; i < SYN_AUTOSCALE_METRICS_MAX; i++)
        service->now.totals[i] = SYN_AUTOSCALE_UNKNOWN;
}

/* `ready` of the `current` ones say `value`; the rest is starting. */
static void
see(struct service *service, uint32_t ready, int64_t value)
{
    service->now.count = service->now.current;
    for (uint32_t i = 0; i < service->now.current; i++)
        service->samples[i] = (struct syn_autoscale_sample){
            .ready = i < ready,
            .at_ms = service->now.now_ms,
            .values = {value, SYN_AUTOSCALE_UNKNOWN, SYN_AUTOSCALE_UNKNOWN}};
}

/* Look, and do what was decided; then so much time passes. */
static uint32_t
look(struct service *service, int64_t pass_ms)
{
    assert_int_equal(syn_autoscale_rule_check(&service->rule, "r", NULL), 0);
    syn_autoscale_decide(&service->rule, &service->now, &service->state, &service->decision);
    service->now.current = service->decision.replicas;
    service->now.now_ms += pass_ms;
    return service->now.current;
}

static void
assert_why(const struct service *service, enum syn_autoscale_reason reason, const char *text)
{
    if (service->decision.reason != reason || strstr(service->decision.why, text) == NULL)
        fail_msg("%s: %s", syn_autoscale_reason_name(service->decision.reason),
                 service->decision.why);
}

/* ---- cases ---- */

static void
test_load_up_and_down(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_CPU, 700);
    see(&service, 2, 700);
    assert_int_equal(look(&service, 5 * SECOND), 2);
    assert_why(&service, SYN_AUTOSCALE_STEADY, "cpu 70%, target 70% a replica; 2 replicas");
    for (int i = 0; i < 12 && service.now.current == 2; i++) {
        see(&service, 2, 1000);
        (void)look(&service, 5 * SECOND);
    }
    assert_int_equal(service.now.current, 4); /* the way it goes, it will need them */
    assert_why(&service, SYN_AUTOSCALE_LOAD, "cpu 100%, target 70% a replica; that needs 4");
    for (int i = 0; i < 24; i++) {
        see(&service, service.now.current, 100);
        (void)look(&service, 5 * SECOND);
    }
    assert_int_equal(service.now.current, 3); /* it did not go there */
    assert_why(&service, SYN_AUTOSCALE_STABILISING,
               "that needs 1, but 3 were needed within the last 5m");
    for (int i = 0; i < 60; i++) {
        see(&service, service.now.current, 100);
        (void)look(&service, 5 * SECOND);
    }
    assert_int_equal(service.now.current, 1);
}

/* Missing ones count as nothing when it goes up, and as the target when it goes down. */
static void
test_missing_samples(void **state)
{
    static const struct {
        uint32_t current, ready, told;
        int64_t value, target;
        uint32_t replicas;
    } rows[] = {
        {4, 4, 4, 900, 500, 8},                        /* 3600: 7.2 */
        {4, 4, 2, 900, 500, 4},                        /* 1800 of 2000 are known: nothing is sure */
        {4, 4, 3, 900, 500, 6},                        /* 2700: 5.4 */
        {4, 4, 4, 200, 500, 2},                        /* 800: 1.6 */
        {4, 4, 3, 200, 500, 3},                        /* 600 + 500: 2.2 */
        {4, 4, 1, 200, 500, 4},                        /* 200 + 1500 is 3.4 of 4: 85 %; 4 */
        {4, 2, 2, 200, 500, 3},                        /* two start: 400 + 1000 is 2.8 of 4: 3 */
        {4, 2, 2, 1000, 500, 4},                       /* two start, and will have their share */
        {4, 2, 2, 1500, 500, 6}, {4, 4, 0, 0, 500, 4}, /* nothing is known */
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct service service;

        service_init(&service, SYN_AUTOSCALE_CPU, rows[i].target);
        service.rule.down.stabilise_ms = 0;
        service.now.current = rows[i].current;
        see(&service, rows[i].ready, rows[i].value);
        for (uint32_t k = rows[i].told; k < rows[i].ready; k++) {
            if (k % 2)
                service.samples[k].values[0] = SYN_AUTOSCALE_UNKNOWN;
            else
                service.samples[k].at_ms -= SYN_AUTOSCALE_FRESH_MS + 1;
        }
        /* Row 6: 85 % of the target is a reason to go, but not below what it needs. */
        if (look(&service, SECOND) != rows[i].replicas)
            fail_msg("row %zu: %u: %s", i, service.now.current, service.decision.why);
        if (rows[i].told == 0)
            assert_why(&service, SYN_AUTOSCALE_BLIND, "a metric is not known");
    }
}

/* The highest need wins; one that is not known lets nothing go, and keeps nothing from coming. */
static void
test_several_metrics(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_CPU, 500);
    service.rule.down.stabilise_ms = 0;
    service.rule.metrics_count = 2;
    service.rule.metrics[1] =
        (struct syn_autoscale_metric){.kind = SYN_AUTOSCALE_REQUESTS, .target = 10000};
    service.now.current = 4;
    see(&service, 4, 100);
    service.now.totals[1] = 30000;
    assert_int_equal(look(&service, 5 * SECOND), 3);
    assert_why(&service, SYN_AUTOSCALE_LOAD, "requests 30, target 10 a replica; that needs 3");
    service.now.totals[1] = SYN_AUTOSCALE_UNKNOWN;
    see(&service, 3, 100);
    assert_int_equal(look(&service, 5 * SECOND), 3);
    assert_why(&service, SYN_AUTOSCALE_BLIND, "a metric is not known");
    for (int i = 0; i < 4 && service.now.current == 3; i++) {
        see(&service, 3, 800);
        (void)look(&service, 5 * SECOND);
    }
    assert_in_range(service.now.current, 4, 6);
    assert_true(strstr(service.decision.why, "cpu 80%, target 50% a replica") != NULL);
}

static void
test_zero(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_INFLIGHT, 2000);
    service.rule.min = 0;
    service.rule.idle_ms = 60 * SECOND;
    service.now.totals[0] = 1000;
    service.now.current = 1;
    assert_int_equal(look(&service, 5 * SECOND), 1);
    service.now.totals[0] = 0;
    for (int i = 0; i < 11; i++)
        assert_int_equal(look(&service, 5 * SECOND), 1);
    assert_int_equal(look(&service, 5 * SECOND), 0);
    assert_why(&service, SYN_AUTOSCALE_IDLE, "no demand for 1m00s: no replica");
    for (int i = 0; i < 20; i++)
        assert_int_equal(look(&service, 5 * SECOND), 0);
    /* The first one that waits is reason enough, at once; five need three. */
    service.now.now_ms -= 4999;
    service.now.held = 1;
    assert_int_equal(look(&service, 5 * SECOND), 1);
    assert_why(&service, SYN_AUTOSCALE_HELD, "requests wait at the door: 1 replica");
    service.now.current = 0;
    service.now.held = 5;
    assert_int_equal(look(&service, 5 * SECOND), 3);
    /* What is not known may be demand. */
    service.now.held = 0;
    service.now.totals[0] = SYN_AUTOSCALE_UNKNOWN;
    for (int i = 0; i < 100; i++)
        assert_int_equal(look(&service, 5 * SECOND), 3);
}

/* A queue that fills while there is no replica. */
static void
test_queue_wakes(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_QUEUE, 100000);
    service.rule.min = 0;
    service.now.current = 0;
    service.now.totals[0] = 0;
    assert_int_equal(look(&service, 5 * SECOND), 0);
    service.now.totals[0] = 1000;
    assert_int_equal(look(&service, 5 * SECOND), 1);
    service.now.current = 0;
    service.now.totals[0] = 250000;
    assert_int_equal(look(&service, 5 * SECOND), 3);
}

static void
test_steps_and_cooling(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_REQUESTS, 1000);
    service.rule.max = 1000;
    service.rule.up.count = 3;
    service.rule.up.percent = 50;
    service.now.totals[0] = 500000;
    assert_int_equal(look(&service, 5 * SECOND), 5);
    assert_why(&service, SYN_AUTOSCALE_STEPPING, "that needs 500; 5 are as far as one step goes");
    assert_int_equal(look(&service, 5 * SECOND), 5);
    assert_int_equal(look(&service, 5 * SECOND), 5);
    assert_int_equal(look(&service, 15 * SECOND), 8);
    assert_int_equal(look(&service, 15 * SECOND), 12);
    assert_int_equal(look(&service, 15 * SECOND), 18);
    service.rule.up.cool_ms = 60 * SECOND;
    assert_int_equal(look(&service, 30 * SECOND), 18);
    assert_why(&service, SYN_AUTOSCALE_COOLING, "the last change is too near");
    assert_int_equal(look(&service, 15 * SECOND), 18);
    assert_int_equal(look(&service, 15 * SECOND), 27);
}

static void
test_upward_window(void **state)
{
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_REQUESTS, 1000);
    service.rule.up.stabilise_ms = 60 * SECOND;
    service.now.totals[0] = 2000;
    for (int i = 0; i < 5; i++)
        assert_int_equal(look(&service, 5 * SECOND), 2);
    service.now.totals[0] = 10000;
    for (int i = 0; i < 12; i++)
        assert_int_equal(look(&service, 5 * SECOND), 2);
    assert_why(&service, SYN_AUTOSCALE_STABILISING, "2 were needed within the last 1m00s");
    for (int i = 0; i < 4; i++)
        (void)look(&service, 5 * SECOND);
    assert_true(service.now.current >= 10);
}

static void
test_bounds_move(void **state)
{
    struct syn_autoscale_window windows[2] = {
        {.zone = syn_zone_utc(), .for_ms = 8 * HOUR, .min = 4, .max = 8},
        {.zone = syn_zone_utc(), .for_ms = 60 * MINUTE, .min = 6, .max = 12},
    };
    struct service service;
    int64_t eight;

    (void)state;
    assert_int_equal(syn_cron_parse("0 8 * * *", &windows[0].from, NULL), 0);
    assert_int_equal(syn_cron_parse("0 12 * * *", &windows[1].from, NULL), 0);
    assert_int_equal(syn_parse_time("2026-11-29T08:00:00Z", &eight, NULL), 0);
    service_init(&service, SYN_AUTOSCALE_CPU, 500);
    service.rule.metrics_count = 0;
    service.rule.windows = windows;
    service.rule.windows_count = 2;
    service.now.now_ms = eight - MINUTE;
    service.now.current = 1;
    assert_int_equal(look(&service, MINUTE), 1);
    assert_true(service.decision.wake_at_ms <= eight);
    assert_int_equal(look(&service, 4 * HOUR), 4);
    assert_why(&service, SYN_AUTOSCALE_BOUNDS, "bounds are 4 to 8 now: 4 replicas");
    assert_int_equal(look(&service, 60 * MINUTE), 6);
    assert_int_equal(look(&service, 3 * HOUR), 4);
    assert_int_equal(look(&service, MINUTE), 1);
    /* With a metric they bound it. */
    service_init(&service, SYN_AUTOSCALE_REQUESTS, 1000);
    service.rule.windows = windows;
    service.rule.windows_count = 2;
    service.now.now_ms = eight;
    service.now.totals[0] = 100000;
    (void)look(&service, 5 * SECOND);
    (void)look(&service, 20 * SECOND);
    assert_int_equal(look(&service, 20 * SECOND), 8);
    assert_why(&service, SYN_AUTOSCALE_AT_MAX, "the maximum is 8");
    service.now.totals[0] = 0;
    service.now.now_ms += 60 * MINUTE;
    for (int i = 0; i < 90; i++)
        (void)look(&service, 5 * SECOND);
    assert_int_equal(service.now.current, 4);
    assert_why(&service, SYN_AUTOSCALE_AT_MIN, "the minimum is 4");
}

static void
test_rules_that_cannot_be(void **state)
{
    struct syn_autoscale_window window = {.for_ms = SECOND, .min = 1, .max = 2};
    struct service good;

    (void)state;
    service_init(&good, SYN_AUTOSCALE_CPU, 700);
#define REFUSED(change, says)                                                              \
    do {                                                                                   \
        struct syn_autoscale_rule rule = good.rule;                                        \
        struct syn_err err = {0};                                                          \
        change;                                                                            \
        assert_code(syn_autoscale_rule_check(&rule, "spec.x", &err), SYN_E_INVALID, &err); \
        if (strstr(err.msg, says) == NULL)                                                 \
            fail_msg("%s", err.msg);                                                       \
    } while (0)
    REFUSED(rule.min = 21, "spec.x: 21 to 20");
    REFUSED((rule.min = 0, rule.max = 0), "max 1 to");
    REFUSED(rule.max = SYN_AUTOSCALE_REPLICAS_MAX + 1, "max 1 to");
    REFUSED(rule.min = 0, "it takes a metric of demand");
    REFUSED(rule.metrics_count = 0, "neither a metric nor a schedule");
    REFUSED(rule.metrics[0].target = 0, "metrics[0]: a target");
    REFUSED((rule.metrics_count = 2, rule.metrics[1] = rule.metrics[0]), "cpu is there twice");
    REFUSED(rule.tolerance = 1000, "tolerance");
    REFUSED(rule.every_ms = 0, "looks every");
    REFUSED((rule.up.count = 0, rule.up.percent = 0), "spec.x.up: steps of neither");
    REFUSED(rule.down.stabilise_ms = -1, "spec.x.down: windows");
    REFUSED((rule.windows = &window, rule.windows_count = 1, window.max = 0), "schedule[0]");
    REFUSED((rule.windows = &window, rule.windows_count = 1, window.max = 2, window.for_ms = 0),
            "schedule[0]: for");
#undef REFUSED
}

/* ---- properties ---- */

static int64_t
between(uint64_t *seed, int64_t from, int64_t to)
{
    return from + (int64_t)(syn_test_random(seed) % (uint64_t)(to - from + 1));
}

static void
random_pace(uint64_t *seed, struct syn_autoscale_pace *pace)
{
    pace->stabilise_ms = between(seed, 0, 2) * between(seed, 0, 400) * SECOND;
    pace->cool_ms = between(seed, 0, 2) == 0 ? between(seed, 0, 90) * SECOND : 0;
    pace->period_ms = between(seed, 0, 3) * 10 * SECOND;
    pace->count = (uint32_t)between(seed, 0, 5);
    pace->percent = (uint32_t)between(seed, 1, 200);
}

static void
random_rule(uint64_t *seed, struct syn_autoscale_rule *rule)
{
    *rule = syn_autoscale_rule_default();
    rule->max = (uint32_t)between(seed, 1, 40);
    rule->min = (uint32_t)between(seed, 0, rule->max);
    rule->metrics_count = (size_t)between(seed, 1, 3);
    rule->metrics[0].kind = SYN_AUTOSCALE_REQUESTS;
    rule->metrics[1].kind = SYN_AUTOSCALE_CPU;
    rule->metrics[2] = (struct syn_autoscale_metric){.kind = SYN_AUTOSCALE_CUSTOM, .name = "x"};
    for (size_t i = 0; i < 3; i++)
        rule->metrics[i].target = between(seed, 1, 5000);
    rule->tolerance = between(seed, 0, 300);
    rule->average_ms = between(seed, 0, 60) * SECOND;
    rule->lead_ms = between(seed, 0, 60) * SECOND;
    rule->idle_ms = between(seed, 0, 600) * SECOND;
    random_pace(seed, &rule->up);
    random_pace(seed, &rule->down);
    assert_int_equal(syn_autoscale_rule_check(rule, "r", NULL), 0);
}

static void
random_sight(uint64_t *seed, struct service *service)
{
    uint32_t ready = (uint32_t)between(seed, 0, service->now.current);

    see(service, ready, 0);
    for (uint32_t i = 0; i < service->now.current; i++)
        for (size_t k = 0; k < 3; k++)
            service->samples[i].values[k] = between(seed, -1, 6) * between(seed, 0, 2000);
    for (uint32_t i = 0; i < service->now.current; i++)
        service->samples[i].at_ms -= between(seed, 0, 40) * SECOND;
    for (size_t k = 0; k < 3; k++)
        service->now.totals[k] =
            between(seed, 0, 3) ? between(seed, -1, 100000) : SYN_AUTOSCALE_UNKNOWN;
    service->now.totals[1] = SYN_AUTOSCALE_UNKNOWN;
    service->now.held = between(seed, 0, 9) ? 0 : (uint32_t)between(seed, 0, 9);
}

/* Through its document and back. */
static void
through_document(const struct syn_autoscale_rule *rule, struct syn_autoscale_state *state,
                 json_t **ret)
{
    struct syn_err err = {0};

    assert_done(syn_autoscale_state_write(rule, state, ret, &err), &err);
    syn_autoscale_state_read(rule, *ret, state);
}

/* Whatever is seen: within the bounds, the same again, nothing more at the same time, and a state
 * that is as good when it was written and read. */
static void
test_any_inputs(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int run = 0; run < 300; run++) {
        struct service service;

        service_init(&service, SYN_AUTOSCALE_REQUESTS, 1000);
        random_rule(&seed, &service.rule);
        for (int i = 0; i < 60; i++) {
            struct syn_autoscale_state copy = service.state;
            struct syn_autoscale_decision again;
            SYN_JSON(before);
            SYN_JSON(after);

            random_sight(&seed, &service);
            syn_autoscale_decide(&service.rule, &service.now, &service.state, &service.decision);
            syn_autoscale_decide(&service.rule, &service.now, &copy, &again);
            assert_int_equal(again.replicas, service.decision.replicas);
            assert_string_equal(again.why, service.decision.why);
            assert_in_range(again.replicas, service.rule.min, service.rule.max);
            assert_true(again.reason == SYN_AUTOSCALE_WAITING || again.why[0] != '\0');
            assert_true(again.wake_at_ms > service.now.now_ms);
            through_document(&service.rule, &service.state, &before);
            service.now.current = again.replicas;
            if (again.replicas == 0)
                service.now.held = 0;
            syn_autoscale_decide(&service.rule, &service.now, &service.state, &again);
            assert_int_equal(again.replicas, service.now.current);
            assert_int_equal(again.reason, SYN_AUTOSCALE_WAITING);
            through_document(&service.rule, &service.state, &after);
            assert_true(json_equal(before, after));
            service.now.now_ms += between(&seed, 1, 30) * SECOND;
        }
    }
}

/* More load never gives fewer replicas. */
static void
test_monotone(void **state)
{
    uint64_t seed = 2;

    (void)state;
    for (int run = 0; run < 300; run++) {
        struct service service;

        service_init(&service, SYN_AUTOSCALE_REQUESTS, 1000);
        random_rule(&seed, &service.rule);
        for (int i = 0; i < 40; i++) {
            struct service more;
            int64_t by = between(&seed, 0, 3) * between(&seed, 0, 3000);

            random_sight(&seed, &service);
            more = service;
            more.now.samples = more.samples;
            for (size_t k = 0; k < 3; k++) {
                if (more.now.totals[k] >= 0)
                    more.now.totals[k] += by * 20;
                for (uint32_t r = 0; r < more.now.current; r++)
                    if (more.samples[r].values[k] >= 0)
                        more.samples[r].values[k] += by;
            }
            (void)look(&more, 0);
            (void)look(&service, between(&seed, 5, 30) * SECOND);
            if (more.now.current < service.now.current)
                fail_msg("run %d.%d: %u (%s), with more load %u (%s)", run, i, service.now.current,
                         service.decision.why, more.now.current, more.decision.why);
        }
    }
}

/* A load that stays is soon borne, by about as many as it needs, and then nothing changes. */
static void
test_constant_load(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int run = 0; run < 300; run++) {
        struct service service;
        int64_t target = between(&seed, 1, 5000);
        int64_t load = target * between(&seed, 0, 30000) / 1000;
        int64_t ends = 4 * HOUR, changed = 0;
        uint32_t ready;

        service_init(&service, run % 2 ? SYN_AUTOSCALE_CUSTOM : SYN_AUTOSCALE_REQUESTS, target);
        random_rule(&seed, &service.rule);
        service.rule.metrics_count = 1;
        service.rule.metrics[0].target = target;
        service.rule.min = 1;
        service.rule.max = 60;
        service.now.current = ready = (uint32_t)between(&seed, 1, 60);
        for (int64_t t = 0; t < ends; t += 5 * SECOND) {
            uint32_t before = service.now.current;

            ready = SYN_MIN(ready, before);
            see(&service, ready, load / SYN_MAX(ready, 1U));
            if (run % 3 == 0)
                service.now.totals[0] = load;
            if (look(&service, 5 * SECOND) != before)
                changed = t;
            ready = before; /* those that were started then are ready at the next look */
        }
        if (changed > 2 * HOUR)
            fail_msg("run %d: changed after %lld s: %s", run, (long long)(changed / SECOND),
                     service.decision.why);
        if (load * 1000 > (int64_t)service.now.current * target * (1000 + service.rule.tolerance) ||
            (service.now.current > 1 &&
             (load + target) * 1000 <
                 (int64_t)service.now.current * target * (1000 - service.rule.tolerance)))
            fail_msg("run %d: %u for %lld of %lld: %s", run, service.now.current, (long long)load,
                     (long long)target, service.decision.why);
    }
}

/* ---- documents and texts ---- */

static int
write_state(void *arg, struct syn_err *err)
{
    const struct service *service = arg;
    SYN_JSON(doc);

    return syn_autoscale_state_write(&service->rule, &service->state, &doc, err);
}

static void
test_state(void **state)
{
    static const char nines[] = "{\"levels\":{\"cpu\":[-9,9223372036854775807]},\"down\":"
                                "{\"slot\":1,\"needed\":[-1,\"x\"]}}";
    static const char *const strange[] = {
        "{}", "[]", "{\"at\":-5,\"levels\":[],\"period\":{},\"down\":7}", nines};
    struct syn_autoscale_state read;
    struct service service;

    (void)state;
    service_init(&service, SYN_AUTOSCALE_CPU, 700);
    see(&service, 2, 900);
    (void)look(&service, 5 * SECOND);
    assert_true(syn_test_sweep_alloc(write_state, &service) > 5);
    syn_autoscale_state_read(&service.rule, NULL, &read);
    assert_int_equal(read.at_ms, 0);
    for (size_t i = 0; i < SYN_LEN(strange); i++) {
        SYN_JSON(doc);

        assert_int_equal(syn_json_parse(strange[i], strlen(strange[i]), &doc, NULL), 0);
        syn_autoscale_state_read(&service.rule, doc, &service.state);
        assert_true(service.state.at_ms >= 0 && service.state.levels[0].level >= 0);
        see(&service, service.now.current, 900);
        (void)look(&service, 5 * SECOND);
    }
}

static void
test_texts(void **state)
{
    static const struct {
        const char *text;
        enum syn_autoscale_kind kind;
        const char *name;
        int64_t target;
        const char *says;
    } good[] = {
        {"cpu=70%", SYN_AUTOSCALE_CPU, "", 700, "70%"},
        {"cpu=0.705", SYN_AUTOSCALE_CPU, "", 705, "70.5%"},
        {"memory=120%", SYN_AUTOSCALE_MEMORY, "", 1200, "120%"},
        {"requests=50", SYN_AUTOSCALE_REQUESTS, "", 50000, "50"},
        {"inflight=0.5", SYN_AUTOSCALE_INFLIGHT, "", 500, "0.5"},
        {"queue=100", SYN_AUTOSCALE_QUEUE, "", 100000, "100"},
        {"custom:jobs_waiting=2.125", SYN_AUTOSCALE_CUSTOM, "jobs_waiting", 2125, "2.125"},
    };
    static const char *const bad[] = {
        "",
        "cpu",
        "cpu=",
        "cpu=0",
        "cpu=-1",
        "cpu=0.0001",
        "cpu=70.55%",
        "cpu=70%%",
        "cpu=1e3",
        "cpu=1.",
        "cpu=.",
        "cpus=70%",
        "=70%",
        "custom:=1",
        "custom=1",
        "custom:9=1",
        "custom:a b=1",
        "queue=1000000000001",
        "queue=99999999999999999999999",
        "custom:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1",
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(good); i++) {
        struct syn_autoscale_metric metric;
        char out[SYN_FORMAT_MAX];

        assert_int_equal(syn_autoscale_parse_metric(good[i].text, &metric, NULL), 0);
        assert_int_equal(metric.kind, good[i].kind);
        assert_string_equal(metric.name, good[i].name);
        assert_int_equal(metric.target, good[i].target);
        assert_string_equal(syn_autoscale_format(metric.kind, metric.target, out), good[i].says);
    }
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_autoscale_metric metric;

        if (syn_autoscale_parse_metric(bad[i], &metric, NULL) != SYN_E_INVALID)
            fail_msg("\"%s\" is a metric", bad[i]);
    }
}

static void
test_names(void **state)
{
    (void)state;
    assert_string_equal(syn_autoscale_kind_name(SYN_AUTOSCALE_CPU), "cpu");
    assert_string_equal(syn_autoscale_reason_name(SYN_AUTOSCALE_BLIND), "blind");
    assert_null(syn_autoscale_kind_name(SYN_AUTOSCALE_KINDS));
    assert_null(syn_autoscale_reason_name(SYN_AUTOSCALE_REASONS));
}

/* ---- recorded load ---- */

static struct load load;

/* Fewer requests wait than under Kubernetes' rule: by far when it looks every 15 s as it does, and
 * without more replicas when it looks as often as ours. bench/autoscale says the figures. */
static void
test_beside_kubernetes(void **state)
{
    (void)state;
    assert_true(load_read(SYN_TEST_SOURCE_ROOT "/tests/data/autoscale/load.txt", &load));
    for (int by_cpu = 0; by_cpu <= 1; by_cpu++) {
        uint64_t late[3] = {0}, over[3] = {0};

        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct load_ours ours;
            struct load_hpa hpa, quick;
            const struct load_scaler scalers[] = {
                {"ours", 5, load_ours_decide, &ours},
                {"hpa", 15, load_hpa_decide, &hpa},
                {"quick", 5, load_hpa_decide, &quick},
            };

            load_ours_init(&ours, by_cpu ? SYN_AUTOSCALE_CPU : SYN_AUTOSCALE_REQUESTS);
            load_hpa_init(&hpa, by_cpu);
            load_hpa_init(&quick, by_cpu);
            for (size_t i = 0; i < SYN_LEN(scalers); i++) {
                struct load_result result = load_run(&load, &scalers[i], seed * 104729);

                assert_true(result.requests > 2000000 && result.changes > 20);
                late[i] += load_late(&result);
                over[i] += load_over(&result);
            }
        }
        if (late[0] * 2 > late[1] || over[0] * 100 > over[1] * 115)
            fail_msg("late %llu, HPA %llu; over %llu, HPA %llu", (unsigned long long)late[0],
                     (unsigned long long)late[1], (unsigned long long)over[0],
                     (unsigned long long)over[1]);
        if (late[0] * 100 > late[2] * 105 || over[0] * 100 > over[2] * 102)
            fail_msg("late %llu, HPA every 5 s %llu; over %llu, HPA %llu",
                     (unsigned long long)late[0], (unsigned long long)late[2],
                     (unsigned long long)over[0], (unsigned long long)over[2]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_up_and_down),
        cmocka_unit_test(test_missing_samples),
        cmocka_unit_test(test_several_metrics),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_queue_wakes),
        cmocka_unit_test(test_steps_and_cooling),
        cmocka_unit_test(test_upward_window),
        cmocka_unit_test(test_bounds_move),
        cmocka_unit_test(test_rules_that_cannot_be),
        cmocka_unit_test(test_any_inputs),
        cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_constant_load),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_beside_kubernetes),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("autoscale", tests, NULL, NULL);
}
