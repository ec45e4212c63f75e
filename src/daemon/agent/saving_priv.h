/* Making a snapshot of a function. */
#ifndef SYN_AGENT_SAVING_PRIV_H
#define SYN_AGENT_SAVING_PRIV_H

#include "agent_priv.h"
#include "wish_priv.h"

/** One that is to be made, once the instance is ready. */
struct agt_saving {
    struct syn_agent *agent;
    struct syn_runtime runtime;
    const struct syn_runtime_info *made_by;
    json_t *doc; /* what `wish` points into */
    struct agt_wish wish;
    char key[SYN_CID_TEXT_MAX];
};

/** Keep what the instance is made of. Owner: *ret is the caller's; what was there is freed.
 *  Thread: the instance's. Blocks: as agt_wish_make(), of what is fetched already. */
SYN_MUST int agt_saving_new(struct agt_instance *instance, const json_t *doc, const char *key,
                            struct agt_saving **ret, struct syn_err *err);
/** It is of no use, and is not tried again for a while. */
void agt_saved_refuse(struct syn_agent *agent, const char *key, const char *why);

#endif
