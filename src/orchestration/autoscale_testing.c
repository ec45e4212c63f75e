#include "autoscale_testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/core.h>

#define REPLICAS_MIN 2
#define REPLICAS_MAX 80

bool
load_read(const char *path, struct load *ret)
{
    FILE *file = fopen(path, "re");
    char line[1024];

    *ret = (struct load){0};
    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *at = line;
        char *end;

        if (*line == '#')
            continue;
        for (;; at = end) {
            unsigned long long rate = strtoull(at, &end, 10);

            if (end == at || ret->count == LOAD_MAX)
                break;
            ret->rates[ret->count++] = (uint32_t)rate;
        }
    }
    (void)fclose(file);
    return ret->count > 1;
}

static uint64_t
draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint32_t
root(uint64_t value)
{
    uint64_t x = value, y = (value + 1) / 2;

    while (y < x) {
        x = y;
        y = (x + value / x) / 2;
    }
    return (uint32_t)x;
}

/* Arrivals of one second at a mean rate (thousandths): nearly Poisson, by twelve uniform draws. */
static uint32_t
arrivals(uint64_t rate, uint64_t *state)
{
    int64_t sum = 0;
    int64_t value;

    for (int i = 0; i < 12; i++)
        sum += (int64_t)(draw(state) % 1001) - 500;
    value = (int64_t)rate + (int64_t)root(rate * 1000) * sum / 1000;
    return value <= 0 ? 0 : (uint32_t)((value + (int64_t)(draw(state) % 1000)) / 1000);
}

/* The service: so many replicas, some still starting. */
struct service {
    uint32_t ready;
    uint32_t starting[REPLICA_START]; /* by the seconds that are left */
    uint64_t queue;
};

static uint32_t
alive(const struct service *service)
{
    uint32_t count = service->ready;

    for (size_t i = 0; i < REPLICA_START; i++)
        count += service->starting[i];
    return count;
}

/* The newest go first. */
static void
scale(struct service *service, uint32_t want)
{
    uint32_t have = alive(service);

    if (want > have)
        service->starting[REPLICA_START - 1] += want - have;
    for (size_t i = REPLICA_START; i > 0 && have > want; i--) {
        uint32_t gone = SYN_MIN(service->starting[i - 1], have - want);

        service->starting[i - 1] -= gone;
        have -= gone;
    }
    if (have > want)
        service->ready = want;
}

static void
second(struct service *service, uint32_t arrived, uint64_t *ret_served, uint64_t *ret_late)
{
    uint64_t capacity = (uint64_t)service->ready * REPLICA_RPS;
    uint64_t before = service->queue;

    service->ready += service->starting[0];
    memmove(service->starting, service->starting + 1,
            (REPLICA_START - 1) * sizeof(service->starting[0]));
    service->starting[REPLICA_START - 1] = 0;
    *ret_served = SYN_MIN(before + arrived, capacity);
    *ret_late = SYN_MIN(before, *ret_served);
    service->queue = before + arrived - *ret_served;
}

struct load_result
load_run(const struct load *load, const struct load_scaler *scaler, uint64_t seed)
{
    struct load_result result = {0};
    struct service service = {.ready = load->rates[0] * 100 / (REPLICA_RPS * REPLICA_TARGET) + 1};
    int64_t seconds = (int64_t)(load->count - 1) * LOAD_EVERY_S;
    uint64_t served_sum = 0, capacity_sum = 0, arrived_sum = 0;

    for (int64_t t = 0; t < seconds; t++) {
        const uint32_t *rate = &load->rates[t / LOAD_EVERY_S];
        uint64_t now = (uint64_t)rate[0] * 1000 * (uint64_t)(LOAD_EVERY_S - t % LOAD_EVERY_S) +
                       (uint64_t)rate[1] * 1000 * (uint64_t)(t % LOAD_EVERY_S);
        uint64_t need = now / LOAD_EVERY_S * 100 / ((uint64_t)REPLICA_RPS * REPLICA_TARGET);
        uint32_t arrived = arrivals(now / LOAD_EVERY_S, &seed);
        uint64_t served, late;

        capacity_sum += (uint64_t)service.ready * REPLICA_RPS;
        second(&service, arrived, &served, &late);
        served_sum += served;
        arrived_sum += arrived;
        result.requests += arrived;
        result.late += late;
        result.replica_seconds += alive(&service);
        result.wanted_mseconds += need;
        if ((uint64_t)alive(&service) * 1000 > need)
            result.over_mseconds += (uint64_t)alive(&service) * 1000 - need;
        if ((t + 1) % scaler->every_s == 0) {
            struct load_seen seen = {.now_ms = INT64_C(1800000000000) + (t + 1) * 1000,
                                     .current = alive(&service),
                                     .ready = service.ready};
            uint32_t want;

            seen.cpu = capacity_sum ? (int64_t)(served_sum * 1000 / capacity_sum) : 0;
            seen.requests = (int64_t)arrived_sum * 1000 / scaler->every_s;
            want = scaler->decide(scaler->self, &seen);
            result.changes += want != seen.current;
            scale(&service, want);
            served_sum = capacity_sum = arrived_sum = 0;
        }
    }
    result.late += service.queue;
    return result;
}

uint64_t
load_over(const struct load_result *result)
{
    return result->over_mseconds * 1000 / SYN_MAX(result->wanted_mseconds, 1U);
}

uint64_t
load_late(const struct load_result *result)
{
    return result->late * 1000000 / SYN_MAX(result->requests, 1U);
}

/* ---- ours ---- */

void
load_ours_init(struct load_ours *ours, enum syn_autoscale_kind kind)
{
    *ours = (struct load_ours){.rule = syn_autoscale_rule_default()};
    ours->rule.min = REPLICAS_MIN;
    ours->rule.max = REPLICAS_MAX;
    ours->rule.metrics_count = 1;
    ours->rule.metrics[0].kind = kind;
    ours->rule.metrics[0].target =
        kind == SYN_AUTOSCALE_CPU ? REPLICA_TARGET * 10 : REPLICA_RPS * REPLICA_TARGET * 10;
}

uint32_t
load_ours_decide(void *self, const struct load_seen *seen)
{
    struct load_ours *ours = self;
    struct syn_autoscale_sample samples[REPLICAS_MAX] = {0};
    struct syn_autoscale_now now = {.now_ms = seen->now_ms,
                                    .current = seen->current,
                                    .samples = samples,
                                    .count = seen->current,
                                    .totals = {SYN_AUTOSCALE_UNKNOWN}};
    struct syn_autoscale_decision decision;

    if (ours->rule.metrics[0].kind == SYN_AUTOSCALE_REQUESTS)
        now.totals[0] = seen->requests;
    for (uint32_t i = 0; i < seen->current; i++)
        samples[i] = (struct syn_autoscale_sample){
            .ready = i < seen->ready, .at_ms = seen->now_ms, .values = {seen->cpu}};
    syn_autoscale_decide(&ours->rule, &now, &ours->state, &decision);
    return decision.replicas;
}

/* ---- Kubernetes' ---- */

void
load_hpa_init(struct load_hpa *hpa, bool by_cpu)
{
    *hpa = (struct load_hpa){.by_cpu = by_cpu, .min = REPLICAS_MIN, .max = REPLICAS_MAX};
}

static uint32_t
ceil_div(int64_t value, int64_t by)
{
    return (uint32_t)((value + by - 1) / by);
}

/* GetResourceReplicas and GetObjectPerPodMetricReplicas of its replica calculator. */
static uint32_t
hpa_needs(const struct load_hpa *hpa, const struct load_seen *seen)
{
    int64_t target = hpa->by_cpu ? REPLICA_TARGET * 10 : REPLICA_RPS * REPLICA_TARGET * 10;
    int64_t sum = hpa->by_cpu ? seen->cpu * seen->ready : seen->requests;
    int64_t pods = hpa->by_cpu ? seen->ready : seen->current;
    int64_t ratio = sum * 1000 / (target * SYN_MAX(pods, 1));

    if (hpa->by_cpu && seen->current > seen->ready && ratio > 1000) {
        pods = seen->current; /* those not ready are taken to use nothing */
        ratio = sum * 1000 / (target * pods);
        if (ratio < 1000)
            return seen->current;
    }
    if (ratio >= 900 && ratio <= 1100)
        return seen->current;
    return ceil_div(sum, target);
}

uint32_t
load_hpa_decide(void *self, const struct load_seen *seen)
{
    struct load_hpa *hpa = self;
    uint32_t needs = hpa_needs(hpa, seen);
    uint32_t want = needs, most;

    hpa->needed[hpa->next % SYN_LEN(hpa->needed)] = needs;
    hpa->at_ms[hpa->next++ % SYN_LEN(hpa->needed)] = seen->now_ms;
    for (size_t i = 0; i < SYN_LEN(hpa->needed) && want < seen->current; i++)
        if (hpa->at_ms[i] > 0 && seen->now_ms - hpa->at_ms[i] <= 300000)
            want = SYN_MAX(want, hpa->needed[i]);
    if (needs < seen->current)
        want = SYN_MIN(want, seen->current);
    most = SYN_MAX(seen->current + 4, seen->current * 2); /* it looks once a period */
    want = SYN_MIN(want, most);
    return SYN_MAX(SYN_MIN(want, hpa->max), hpa->min);
}
