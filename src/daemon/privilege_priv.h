/* What a daemon's process gives up before it opens anything. */
#ifndef SYN_DAEMON_PRIVILEGE_PRIV_H
#define SYN_DAEMON_PRIVILEGE_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

enum syn_privilege_role {
    SYN_PRIVILEGE_SERVER,  /* a control plane alone */
    SYN_PRIVILEGE_NODE,    /* what makes sandboxes */
    SYN_PRIVILEGE_NOTHING, /* what runs others' code itself: no capability */
    SYN_PRIVILEGE_PODS,    /* the same with a containerd of its own */
};

/**
 * Give up, for this process and all that it will start, what the role has no use for.
 *
 * Thread: the only one. Who never had it has nothing to give up: that is no failure.
 * Returns 0; FORBIDDEN, IO when the kernel keeps something that it should take.
 */
SYN_MUST int syn_privilege_reduce(enum syn_privilege_role role, struct syn_err *err);

#endif
