/* The controller's kinds of workload: each file reads its documents, asks its pure step, and writes
 * what follows. The thread, the cluster's view and what is due are controller.c's. */
#ifndef SYN_CONTROLLER_PRIV_H
#define SYN_CONTROLLER_PRIV_H

#include "server_priv.h"

/** What a step may use. */
struct ctl_world {
    struct syn_server *server;
    struct syn_cluster *cluster;
    int64_t observing_since_ms;
};

/** What came of it. */
struct ctl_outcome {
    json_t *created;    /* instances that are new, a list; or NULL. The caller's */
    int64_t now_ms;     /* what the step took the time to be */
    int64_t wake_at_ms; /* look again then; SYN_DOCUMENT_NONE: only an event will do */
    bool gone;          /* there is nothing left to look at */
};

struct ctl_kind {
    const struct srv_work *work;
    /* One look at one of them. Returns 0; SYN_STORE_CONFLICT: again. */
    int (*step)(const struct ctl_world *world, const char *id, struct ctl_outcome *ret,
                struct syn_err *err);
};

extern const struct ctl_kind ctl_training, ctl_service, ctl_function;

/** What every kind's step reads: the workload, and its instances as far as the reports have come.
 */
struct ctl_loaded {
    json_t *doc;
    int64_t revision;
    json_t *instances;
};
void ctl_loaded_fini(struct ctl_loaded *loaded);
/** Into an empty *ret, which the caller finishes also on failure. Returns 0; SRV_ABSENT. */
SYN_MUST int ctl_load(struct syn_server *server, const struct srv_work *work, const char *id,
                      struct ctl_loaded *ret, struct syn_err *err);

/** What every kind's step may want written. */
struct ctl_writing {
    const json_t *doc;     /* the workload as it is to be; NULL: as it is */
    const json_t *created; /* instances, lists */
    const json_t *changed;
    const json_t *events;
};
/** Add it to `txn`, for the workload as it was loaded, and commit. Returns 0; SYN_STORE_CONFLICT.
 */
SYN_MUST int ctl_write(struct syn_server *server, struct srv_txn *txn, const struct srv_work *work,
                       const struct ctl_loaded *loaded, const struct ctl_writing *writing,
                       struct syn_err *err);

#endif
