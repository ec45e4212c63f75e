/* The private network of one group of instances on this node. See group.c. */
#ifndef SYNOR_RUNTIME_GROUP_PRIV_H
#define SYNOR_RUNTIME_GROUP_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#include "../net/prefix_priv.h"

/** Make the group's folder and count `member` in. Idempotent. */
SYN_MUST int syn_group_join(const char *group_dir, const char *member, struct syn_err *err);
/** Count `member` out; the last one takes the network and the folder with it. Idempotent. */
SYN_MUST int syn_group_leave(const char *group_dir, const char *member, struct syn_err *err);
/** Move the calling (single-threaded) process into a fresh network namespace whose eth0 has
 * `address`
 *  ("10.1.2.3/24") and is plugged into the group's bridge, which is made when missing. */
SYN_MUST int syn_group_enter(const char *group_dir, const char *address, struct syn_err *err);
/** Parse "a.b.c.d/len". Pure. */
SYN_MUST int syn_group_address(const char *text, struct syn_prefix *ret, struct syn_err *err);

#endif
