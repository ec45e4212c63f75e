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
    const char *documents; /* prefix of the keys of its documents: "training" */
    const char *ids;       /* what its ids begin with: "train-" */
    /* Has it ended, with its bill written? Then nothing more follows from it. */
    bool (*over)(const json_t *doc);
    /* One look at one of them. Returns 0; SYN_STORE_CONFLICT: again. */
    int (*step)(const struct ctl_world *world, const char *id, struct ctl_outcome *ret,
                struct syn_err *err);
};

extern const struct ctl_kind ctl_training, ctl_service;

/** The meter knows better than the instance's document how far the reports have come. */
SYN_MUST int ctl_overlay_usage(struct syn_server *server, json_t *instances, struct syn_err *err);
SYN_MUST int ctl_write_instances(struct srv_txn *txn, const json_t *list, bool created,
                                 struct syn_err *err);
SYN_MUST int ctl_write_events(struct syn_server *server, struct srv_txn *txn, const char *job,
                              const json_t *events, struct syn_err *err);

#endif
