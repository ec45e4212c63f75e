/* Interpreters that were started for nobody yet, one sandbox each: the next cold start of a
 * function of their language takes one. See pool.c. */
#ifndef SYN_AGENT_POOL_PRIV_H
#define SYN_AGENT_POOL_PRIV_H

#include <synor/orchestration/warm_pool.h>

#include "saved_priv.h"

#define AGT_POOL_MAX   4 /* that wait, some 60 MB each; of them as many as the memory allows */
#define AGT_POOL_KINDS 8
#define AGT_POOL_WORDS 4  /* of a command line */
#define AGT_POOL_TAKEN 64 /* at a time: each has a network of its own, of the node's 256 */

/** How one is made: what is the same for all functions that can take it. No pointers into anything
 *  of an account. */
struct agt_pool_kind {
    char key[SYN_CID_TEXT_MAX];
    char words[AGT_POOL_WORDS][64];
    size_t words_count;
    char host[1024], inside[64]; /* the host program, and where it is shown */
    char cwd[64];                /* "": the driver's own */
    uint32_t uid, gid;
    int64_t memory_bytes, scratch_bytes;
    bool dns_gateway;
    struct syn_runtime runtime;
    const struct syn_runtime_info *made_by;
    struct syn_warm_pool asked; /* when */
    int64_t not_before_ms;      /* none could be made, or one did not go on: not tried before */
};

/** Under the agent's lock. */
struct agt_pool {
    struct agt_pool_kind kinds[AGT_POOL_KINDS];
    size_t kinds_count;
    struct agt_spare spares[AGT_POOL_MAX];
    size_t spares_count;
    bool busy; /* a thread makes some, or ends some */
};

/**
 * Start the instance in an interpreter that waits, or see to it that one waits for the next such
 * function. Returns 0; AGT_START_CANNOT, and nothing left of the try; < 0.
 */
SYN_MUST int agt_pool_start(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
                            struct syn_err *err);
/** Have as many wait as should, by a thread of its own. */
void agt_pool_look(struct syn_agent *agent);
/** Say in a heartbeat what waits: "pool": {waiting: {"python3": 1}, bytes}. */
SYN_MUST int agt_pool_report(struct syn_agent *agent, json_t *report, struct syn_err *err);
/** End all that wait; nobody makes any more. Blocks. */
void agt_pool_end(struct syn_agent *agent);

/** What of a wish is the same for all functions of its language. False where it cannot be started
 *  before it is known whose it is. Pure. */
bool agt_pool_kind_of(const struct agt_wish *wish, const struct syn_runtime_info *made_by,
                      struct agt_pool_kind *ret);
/** How many may wait in all, of the memory that is available. Pure. */
size_t agt_pool_room(int64_t available_bytes);

#endif
