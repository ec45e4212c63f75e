/* Circuit breakers, as numbers alone: no clock, no thread, no HAProxy.
 *
 *     closed --so many of its answers are errors--> open --some time--> trial
 *       ^                                            ^                    |
 *       +------------ its answers are well ----------|--------------------+
 *                                                    +--- they are not ---+
 *
 * A server is a replica here or another node. Open, it gets nothing; on trial a few requests. At
 * most half of a backend's servers are out or on trial at once: when most fail it is not they. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "mesh_priv.h"

#define WINDOW       10 /* seconds */
#define ANSWERS_MIN  10 /* in it, to judge by */
#define TRIAL_MIN    5  /* the same, on trial */
#define PAUSE_MIN_MS 5000
#define PAUSE_MAX_MS 60000

enum state { CLOSED, OPEN, TRIAL };

struct sum {
    uint64_t answers, errors;
};

struct gate {
    char id[SYN_BALANCER_ID_MAX + 1];
    enum state state;
    struct sum counted; /* by HAProxy, until the last look */
    struct sum window[WINDOW], trial;
    int64_t until_ms, pause_ms; /* open until; and so long the next time */
    bool met;
};

struct circuit {
    struct gate *gates;
    size_t count, cap;
    int64_t second; /* of the last look */
    bool met;
};

struct agt_breakers {
    struct syn_map *circuits; /* backend -> struct circuit */
};

static void
circuit_free(void *value)
{
    struct circuit *circuit = value;

    if (circuit != NULL)
        syn_free(circuit->gates);
    syn_free(circuit);
}

int
agt_breakers_new(struct agt_breakers **ret, struct syn_err *err)
{
    struct agt_breakers *breakers = syn_calloc(1, sizeof(*breakers));
    int rc;

    if (breakers == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for circuit breakers");
    rc = syn_map_new(circuit_free, &breakers->circuits, err);
    if (rc < 0)
        syn_free(breakers);
    else
        *ret = breakers;
    return rc;
}

struct agt_breakers *
agt_breakers_free(struct agt_breakers *breakers)
{
    if (breakers != NULL)
        (void)syn_map_free(breakers->circuits);
    syn_free(breakers);
    return NULL;
}

/* --- counting --------------------------------------------------------------------------------- */

static void
add(struct sum *sum, const struct sum *more)
{
    sum->answers += more->answers;
    sum->errors += more->errors;
}

static bool
is_bad(const struct sum *sum, unsigned percent)
{
    return sum->errors > 0 && sum->errors * 100 >= percent * sum->answers;
}

static struct sum
in_window(const struct gate *gate)
{
    struct sum all = {0, 0};

    for (size_t i = 0; i < WINDOW; i++)
        add(&all, &gate->window[i]);
    return all;
}

static struct gate *
find_gate(const struct circuit *circuit, const char *id)
{
    for (size_t i = 0; i < circuit->count; i++)
        if (syn_str_eq(circuit->gates[i].id, id))
            return &circuit->gates[i];
    return NULL;
}

/* A server as HAProxy counts it now. Counters that are smaller than they were begin anew. */
static int
see_server(struct circuit *circuit, const struct syn_balancer_server_counts *counts,
           struct syn_err *err)
{
    struct sum now = {SYN_MAX(counts->answers, counts->errors), counts->errors}, more = {0, 0};
    struct gate *gate = find_gate(circuit, counts->server);

    if (gate == NULL) {
        if (!syn_grow((void *)&circuit->gates, &circuit->cap, circuit->count + 1,
                      sizeof(*circuit->gates)))
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for circuit breakers");
        gate = &circuit->gates[circuit->count++];
        *gate = (struct gate){.counted = now, .pause_ms = PAUSE_MIN_MS};
        (void)syn_str_copy(gate->id, sizeof(gate->id), counts->server);
    }
    if (now.answers >= gate->counted.answers && now.errors >= gate->counted.errors)
        more = (struct sum){now.answers - gate->counted.answers, now.errors - gate->counted.errors};
    gate->counted = now;
    gate->met = true;
    if (gate->state == CLOSED)
        add(&gate->window[circuit->second % WINDOW], &more);
    else if (gate->state == TRIAL)
        add(&gate->trial, &more);
    return SYN_OK;
}

static void
pass_time(struct circuit *circuit, int64_t second)
{
    int64_t passed = circuit->second == 0 ? 0 : SYN_MIN(second - circuit->second, WINDOW);

    for (size_t i = 0; i < circuit->count; i++)
        for (int64_t k = 0; k < passed; k++)
            circuit->gates[i].window[(second - k) % WINDOW] = (struct sum){0, 0};
    circuit->second = second;
}

static void
drop_gone(struct circuit *circuit)
{
    size_t kept = 0;

    for (size_t i = 0; i < circuit->count; i++)
        if (circuit->gates[i].met)
            circuit->gates[kept++] = circuit->gates[i];
    circuit->count = kept;
    for (size_t i = 0; i < kept; i++)
        circuit->gates[i].met = false;
}

/* --- judging ---------------------------------------------------------------------------------- */

static void
open_gate(struct gate *gate, int64_t now_ms)
{
    gate->state = OPEN;
    gate->until_ms = now_ms + gate->pause_ms;
    gate->pause_ms = SYN_MIN(2 * gate->pause_ms, (int64_t)PAUSE_MAX_MS);
    gate->trial = (struct sum){0, 0};
    memset(gate->window, 0, sizeof(gate->window));
}

/* Returns whether it is another than it was. */
static bool
judge(struct gate *gate, unsigned percent, int64_t now_ms)
{
    if (gate->state == OPEN && now_ms >= gate->until_ms) {
        gate->state = TRIAL;
        return true;
    }
    if (gate->state != TRIAL || gate->trial.answers < TRIAL_MIN)
        return false;
    if (is_bad(&gate->trial, percent)) {
        open_gate(gate, now_ms);
        return true;
    }
    gate->state = CLOSED;
    return true;
}

/* The worst of those that may be opened; NULL: none is bad. */
static struct gate *
worst(const struct circuit *circuit, unsigned percent)
{
    struct gate *found = NULL;
    struct sum most = {1, 0};

    for (size_t i = 0; i < circuit->count; i++) {
        struct gate *gate = &circuit->gates[i];
        struct sum sum = in_window(gate);

        if (gate->state != CLOSED || sum.answers < ANSWERS_MIN || !is_bad(&sum, percent) ||
            sum.errors * most.answers <= most.errors * sum.answers)
            continue;
        found = gate;
        most = sum;
    }
    return found;
}

static size_t
count_out(const struct circuit *circuit)
{
    size_t out = 0;

    for (size_t i = 0; i < circuit->count; i++)
        out += circuit->gates[i].state != CLOSED;
    return out;
}

static bool
judge_all(struct circuit *circuit, unsigned percent, int64_t now_ms)
{
    size_t limit = circuit->count / 2;
    bool changed = false;
    struct gate *gate;

    for (size_t i = 0; i < circuit->count; i++) {
        bool other = judge(&circuit->gates[i], percent, now_ms);

        changed = changed || other;
    }
    /* Others have gone: too many would be out. */
    for (size_t i = 0; i < circuit->count && count_out(circuit) > limit; i++) {
        changed = changed || circuit->gates[i].state != CLOSED;
        circuit->gates[i].state = CLOSED;
    }
    while (count_out(circuit) < limit && (gate = worst(circuit, percent)) != NULL) {
        open_gate(gate, now_ms);
        changed = true;
    }
    /* Who has been well for a whole window since is as good as any other. */
    for (size_t i = 0; i < circuit->count; i++)
        if (circuit->gates[i].state == CLOSED && in_window(&circuit->gates[i]).answers > 0 &&
            in_window(&circuit->gates[i]).errors == 0)
            circuit->gates[i].pause_ms = PAUSE_MIN_MS;
    return changed;
}

int
agt_breakers_see(struct agt_breakers *breakers, const char *backend, unsigned percent,
                 const struct syn_balancer_server_counts *counts, size_t count, int64_t now_ms,
                 struct syn_err *err)
{
    struct circuit *circuit = syn_map_find(breakers->circuits, backend);
    int rc = SYN_OK;

    if (circuit == NULL) {
        circuit = syn_calloc(1, sizeof(*circuit));
        if (circuit == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for circuit breakers");
        rc = syn_map_put_take(breakers->circuits, backend, circuit, err);
    }
    if (rc < 0)
        return rc;
    circuit->met = true;
    pass_time(circuit, now_ms / 1000);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = see_server(circuit, &counts[i], err);
    if (rc < 0)
        return rc;
    drop_gone(circuit);
    return judge_all(circuit, percent, now_ms) ? AGT_BREAKERS_CHANGED : SYN_OK;
}

bool
agt_breakers_keep(struct agt_breakers *breakers)
{
    size_t cursor = 0;
    const char *backend;
    bool changed = false;
    void *value;

    while (syn_map_next(breakers->circuits, &cursor, &backend, &value)) {
        struct circuit *circuit = value;

        if (circuit->met) {
            circuit->met = false;
            continue;
        }
        changed = changed || count_out(circuit) > 0;
        (void)syn_map_remove(breakers->circuits, backend);
    }
    return changed;
}

/* --- what follows ----------------------------------------------------------------------------- */

void
agt_breakers_lay(const struct agt_breakers *breakers, const char *backend,
                 struct syn_balancer_server *servers, size_t count)
{
    const struct circuit *circuit =
        breakers == NULL ? NULL : syn_map_find(breakers->circuits, backend);
    unsigned largest = 1;
    bool trial = false;

    for (size_t i = 0; circuit != NULL && i < count; i++) {
        const struct gate *gate = find_gate(circuit, servers[i].id);

        if (gate != NULL && gate->state == OPEN)
            servers[i].state = SYN_BALANCER_OFF;
        trial = trial || (gate != NULL && gate->state == TRIAL);
        largest = SYN_MAX(largest, servers[i].weight);
    }
    for (size_t i = 0; trial && i < count; i++) {
        const struct gate *gate = find_gate(circuit, servers[i].id);

        servers[i].weight = gate != NULL && gate->state == TRIAL
                                ? 1
                                : servers[i].weight * (SYN_BALANCER_WEIGHT_MAX / largest);
    }
}
