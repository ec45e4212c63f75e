/* What the tests of the fleet share: two models of card, nodes, requests, and what came of them. */
#ifndef SYNOR_ORCHESTRATION_FLEET_TESTING_H
#define SYNOR_ORCHESTRATION_FLEET_TESTING_H

#include <synor/base/test.h>

#include "fleet_priv.h"

#define MIB 1048576

static inline struct syn_fleet *
fleet_make(void)
{
    const struct syn_fleet_options options = {.seed = 7, .learn = true};
    const struct syn_fleet_model models[] = {
        {.name = "a100",
         .vram_mib = 81920,
         .capability = 80,
         .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE),
         .geometry = SYN_FLEET_EIGHTHS,
         .idle_mw = 50000,
         .context_mw = 80000,
         .busy_mw = 400000,
         .speed = 2000},
        {.name = "t4", .vram_mib = 16384, .capability = 75, .modes = SYN_BIT(SYN_FLEET_TIME_SLICE)},
    };
    struct syn_fleet *fleet = NULL;
    struct syn_err err;
    uint32_t number;

    assert_done(syn_fleet_new(&options, &fleet, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(models); i++)
        assert_done(syn_fleet_model_add(fleet, &models[i], &number, &err), &err);
    return fleet;
}

static inline uint32_t
add(struct syn_fleet *fleet, const char *name, int64_t cores, uint32_t cards, uint8_t model)
{
    struct syn_fleet_node node = {.name = name, .cards = cards, .idle_mw = 100000};
    struct syn_err err;
    uint32_t number;

    node.capacity[SYN_FLEET_CPU] = cores * 1000;
    node.capacity[SYN_FLEET_MEMORY] = cores * 1024 * MIB;
    memset(node.models, model, sizeof(node.models));
    assert_done(syn_fleet_put_node(fleet, &node, &number, &err), &err);
    return number;
}

static inline struct syn_fleet_request
ask_cpu(uint64_t key, int64_t cores)
{
    struct syn_fleet_request request = {.key = key, .members = 1};

    request.ask.need[SYN_FLEET_CPU] = cores * 1000;
    return request;
}

static inline struct syn_fleet_request
ask_part(uint64_t key, uint32_t mode, uint32_t value)
{
    struct syn_fleet_request request = {.key = key, .members = 1};

    request.ask.mode = mode;
    request.ask.cards = mode == SYN_FLEET_CARDS ? value : 1;
    if (mode == SYN_FLEET_MIG)
        request.ask.profile = value;
    else if (mode != SYN_FLEET_CARDS)
        request.ask.share = value;
    return request;
}

/* Where a request goes at once; SYN_FLEET_NONE: nowhere. */
static inline uint32_t
try_one(struct syn_fleet *fleet, const struct syn_fleet_request *request)
{
    struct syn_fleet_slot slot;
    struct syn_err err;
    int rc = syn_fleet_try(fleet, request, &slot, &err);

    if (rc < 0)
        fail_msg("%s", err.msg);
    return rc == SYN_FLEET_FULL ? SYN_FLEET_NONE : slot.node;
}

static inline int
submit(struct syn_fleet *fleet, const struct syn_fleet_request *request)
{
    struct syn_err err;
    int rc = syn_fleet_submit(fleet, request, &err);

    if (rc < 0)
        fail_msg("%s", err.msg);
    return rc;
}

/* Count the effects of one type, for one request or (key UINT64_MAX) all; take all out. */
static inline unsigned
effects(struct syn_fleet *fleet, enum syn_fleet_effect_type type, uint64_t key)
{
    struct syn_fleet_effect effect;
    unsigned count = 0;

    while (syn_fleet_next(fleet, &effect))
        count += effect.type == type && (key == UINT64_MAX || effect.key == key);
    return count;
}

static inline void
end(struct syn_fleet *fleet, uint64_t key)
{
    struct syn_err err;

    assert_done(syn_fleet_end(fleet, key, &err), &err);
}

#endif
