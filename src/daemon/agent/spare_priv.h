/* Sandboxes that wait to be filled from a snapshot: the next instance takes one. */
#ifndef SYN_AGENT_SPARE_PRIV_H
#define SYN_AGENT_SPARE_PRIV_H

#include "saving_priv.h"

/** This sandbox is the instance's from now on, as is its handle; on failure it is gone. */
SYN_MUST bool agt_spare_give(struct agt_instance *instance, const struct agt_spare *spare);
/** End one that nobody else has. Blocks. */
void agt_spare_destroy(const struct syn_agent *agent, struct agt_spare *spare);
/** It waits now, and takes no processor time where that can be had. */
void agt_spare_freeze(struct agt_spare *spare);
/** Its id and folder (into dir[AGT_PATH_MAX]), and its name in there, in `spec`. */
void agt_spare_name(const struct syn_agent *agent, struct agt_spare *spare, char *dir,
                    struct syn_instance_spec *spec);
/** Make the instance's folder that of a sandbox that waits for the snapshot `key`; its handle is
 *  the instance's. False when there is none, or it cannot be written down whose it is. */
SYN_MUST bool agt_spare_take(struct agt_instance *instance, const char *key);
/** The instance's folder is its own again: the one that it took is gone. */
void agt_spare_forget(struct agt_instance *instance);
/** Make as many as shall wait for the snapshot of `saving`, which is in the folder `image`. Blocks:
 *  as long as sandboxes take. */
void agt_spares_fill(struct agt_saving *saving, const char *image);
/** End those that wait for the snapshot `key`, which is gone. Blocks. */
void agt_spares_drop(struct syn_agent *agent, const char *key);

#endif
