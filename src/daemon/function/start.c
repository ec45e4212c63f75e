/* How instances came to be: what the server tells of each is put into the record of the first call
 * that it serves, and summed for the version. */
#include "function_priv.h"

#include <synor/base/clock.h>
#include <synor/base/str.h>

static const char *const ways[FGW_WAYS] = {
    [FGW_COLD] = "cold", [FGW_POOL] = "pool", [FGW_ZYGOTE] = "zygote", [FGW_SNAPSHOT] = "snapshot"};

/* In the order that a call sees them. */
static const char *const stages[FGW_STAGES] = {[FGW_STAGE_WAIT] = "wait",
                                               [FGW_STAGE_SCHEDULE] = "schedule",
                                               [FGW_STAGE_FETCH] = "fetch",
                                               [FGW_STAGE_CREATE] = "create",
                                               [FGW_STAGE_RESTORE] = "restore",
                                               [FGW_STAGE_INITIALISE] = "initialise",
                                               [FGW_STAGE_FIRST_BYTE] = "first_byte"};

static bool
is_measured(unsigned stage)
{
    return stage == FGW_STAGE_WAIT || stage == FGW_STAGE_FIRST_BYTE;
}

void
fgw_start_read(struct fgw_instance *instance, const json_t *doc)
{
    const char *way = syn_json_str(doc, "way", "");
    const json_t *us = json_object_get(doc, "stages_us");
    struct fgw_start *start = &instance->start;

    instance->known_ns = syn_clock_ns();
    /* One that was there before us has served, as far as we know. */
    instance->served = !instance->version->gateway->synced;
    for (unsigned i = 0; i < FGW_WAYS; i++) {
        if (syn_str_eq(way, ways[i])) {
            start->way = (enum fgw_way)i;
            start->known = true;
        }
    }
    for (unsigned i = 0; i < FGW_STAGES; i++)
        start->stages_us[i] = is_measured(i) ? -1 : syn_json_i64(us, stages[i], -1);
}

void
fgw_start_heard(struct fgw_call *call, int64_t create_us, int64_t init_us)
{
    struct fgw_instance *instance = call->instance;

    if (instance->start.known)
        return;
    instance->start.known = true;
    instance->start.way = FGW_COLD;
    instance->start.stages_us[FGW_STAGE_CREATE] = create_us;
    instance->start.stages_us[FGW_STAGE_INITIALISE] = init_us;
    call->first = true;
    call->cold = instance->known_ns > call->arrived_ns;
}

void
fgw_start_placed(struct fgw_call *call)
{
    struct fgw_instance *instance = call->instance;

    if (instance->served)
        return;
    instance->served = true;
    call->first = instance->start.known;
    call->cold = call->first && instance->known_ns > call->arrived_ns;
}

void
fgw_start_back(struct fgw_call *call)
{
    if (call->first && call->instance != NULL)
        call->instance->served = false;
    call->first = call->cold = false;
}

const char *
fgw_start_way(const struct fgw_call *call)
{
    return call->first && call->instance != NULL ? ways[call->instance->start.way] : "warm";
}

/* -1: it did not go through it. */
static int64_t
stage_us(const struct fgw_call *call, unsigned stage)
{
    const int64_t placed_ns = call->placed_ns != 0 ? call->placed_ns : call->ended_ns;

    if (stage == FGW_STAGE_WAIT)
        return (placed_ns - call->arrived_ns) / 1000;
    if (stage == FGW_STAGE_FIRST_BYTE)
        return call->first_ns != 0 ? (call->first_ns - placed_ns) / 1000 : 0;
    if (call->version->wasm)
        return stage == FGW_STAGE_CREATE ? call->create_us : -1;
    return call->first && call->instance != NULL ? call->instance->start.stages_us[stage] : -1;
}

int
fgw_start_stages(const struct fgw_call *call, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = syn_json_pack(&list, err, "{}");

    for (unsigned i = 0; i < FGW_STAGES && rc == SYN_OK; i++)
        if (stage_us(call, i) >= 0)
            rc = syn_json_set_i64(list, stages[i], stage_us(call, i), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

void
fgw_start_count(const struct fgw_call *call)
{
    struct fgw_starts *sums;

    if (!call->first || call->instance == NULL)
        return;
    sums = &call->version->starts[call->instance->start.way];
    sums->count++;
    sums->waited += call->cold ? 1 : 0;
    for (unsigned i = 0; i < FGW_STAGES; i++) {
        if (stage_us(call, i) < 0)
            continue;
        sums->stages[i].count++;
        sums->stages[i].us += stage_us(call, i);
    }
}

static int
add_stages(json_t *row, const struct fgw_starts *sums, struct syn_err *err)
{
    json_t *list = json_object();
    int rc = syn_json_set_take(row, "stages", list, err);

    for (unsigned i = 0; i < FGW_STAGES && rc == SYN_OK; i++) {
        json_t *sum = NULL;

        if (sums->stages[i].count == 0)
            continue;
        rc = syn_json_pack(&sum, err, "{s:I, s:I}", "count", (json_int_t)sums->stages[i].count,
                           "us", (json_int_t)sums->stages[i].us);
        if (rc == SYN_OK)
            rc = syn_json_set_take(list, stages[i], sum, err);
    }
    return rc;
}

int
fgw_starts_tell(const struct fgw_version *version, json_t *list, struct syn_err *err)
{
    for (unsigned i = 0; i < FGW_WAYS; i++) {
        const struct fgw_starts *sums = &version->starts[i];
        SYN_JSON(row);
        int rc;

        if (sums->count == 0)
            continue;
        rc = syn_json_pack(&row, err, "{s:s, s:I, s:s, s:I, s:I}", "function", version->function,
                           "version", (json_int_t)version->number, "way", ways[i], "count",
                           (json_int_t)sums->count, "waited", (json_int_t)sums->waited);
        if (rc == SYN_OK)
            rc = add_stages(row, sums, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, SYN_TAKE(row), err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}
