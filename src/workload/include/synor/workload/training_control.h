/* The controller of training jobs as a pure step: from what is (documents, nodes, money, the time)
 * to what must be written. The caller writes all effects of one step in one store transaction. */
#ifndef SYNOR_WORKLOAD_TRAINING_CONTROL_H
#define SYNOR_WORKLOAD_TRAINING_CONTROL_H

#include <synor/base/world.h>
#include <synor/orchestration/cluster.h>
#include <synor/workload/training_spec.h>

/** Attempts of one run that may be lost to nodes before the run fails. */
#define SYN_TRAINING_LOSSES_MAX 20
/** Instances that one run may have, all its attempts together: what one bill is made of. */
#define SYN_TRAINING_RUN_MAX 1024
/** And on so many nodes: each may be another provider's, and a bill pays only so many. */
#define SYN_TRAINING_NODES_MAX 250
/** A node silent for so long is given up when the job can go on elsewhere, or has to end. */
#define SYN_TRAINING_SILENT_MAX_MS (INT64_C(10) * 60 * 1000)
/** So long after an instance's end a bill waits for usage that its node still owes. */
#define SYN_TRAINING_USAGE_WAIT_MAX_MS (INT64_C(60) * 60 * 1000)
/** Pause before the first retry; doubled each time up to the second. */
#define SYN_TRAINING_RETRY_FIRST_MS 1000
#define SYN_TRAINING_RETRY_MAX_MS   60000
/** Ranks that must end because a peer did have nothing to save. */
#define SYN_TRAINING_PEER_GRACE_MAX_MS 5000

/** Units that a job takes, all its workers together. */
int64_t syn_training_units(const json_t *job);
/** When it is told that its units are over: notice_ms before, and no more than half a unit. */
int64_t syn_training_units_lead(const json_t *job, int64_t until_ms, int64_t unit_ms);

/** What the step looks at. Everything is borrowed for the call; documents are left unchanged. */
struct syn_training_view {
    const json_t *job;                      /* the job's document */
    const json_t *instances;                /* all its instance documents; NULL is none */
    struct syn_cluster *cluster;            /* complete: a node that is not in it is gone */
    const struct syn_quota *quota;          /* the account's; NULL is no limit */
    const struct syn_training_units *units; /* of a job that takes reserved ones, which needs it */
    int64_t spent;                          /* metered so far in this run, base units */
    int64_t rate_hour;             /* of the instances that hold something now, base units */
    const json_t *progress;        /* newest progress object, or NULL */
    const char *progress_instance; /* whose it is; only rank 0 of this attempt counts */
    const json_t *checkpoint;      /* newest checkpoint document of the job, or NULL */
    const json_t *result;          /* {cid, size_bytes} of this run, or NULL */
    int64_t now_ms;
    int64_t observing_since_ms; /* since when this server has been able to hear nodes */
    int64_t silent_max_ms;      /* 0: SYN_TRAINING_SILENT_MAX_MS */
};

/** What must be written, in one transaction. NULL and empty mean nothing. */
struct syn_training_effects {
    json_t *job;     /* the whole new document, or NULL when it did not change */
    json_t *created; /* array of new instance documents */
    json_t *changed; /* array of whole instance documents that changed */
    json_t
        *events; /* array of {type, reason, message, instance|null}; seq and at are the store's */
    bool settle; /* final: write the bill below and release the escrow */
    char bill_id[SYN_ID_MAX];
    int64_t wake_at_ms; /* step again then, even if nothing happens; SYN_DOCUMENT_NONE: never */
};

void syn_training_effects_fini(struct syn_training_effects *effects);
/** True when the step has nothing to write. */
bool syn_training_effects_none(const struct syn_training_effects *effects);

/**
 * Decide what must happen now. Stepping again with the effects applied, at the same time, gives
 * none. A job that waits asks the cluster for room, which remembers that (syn_place_ask()).
 *
 * Owner: the caller's to fini, on success. The documents must be ones that the functions here made.
 * Thread: any. Blocks: no. Returns 0; SYN_E_NOMEM; SYN_E_CORRUPT for a document nobody here made.
 */
SYN_MUST int syn_training_step(const struct syn_training_view *view,
                               struct syn_training_effects *ret, struct syn_err *err);

/** What a new job is made of. Text is borrowed for the call. */
struct syn_training_new {
    const char *id;
    const char *name; /* NULL or "": the id */
    const char *account;
    const char *source_cid;  /* "" when the spec has no source */
    const char *dataset_cid; /* likewise */
    const char *image_cid;   /* NULL or "" for the host's /usr */
    int64_t now_ms;
};

/** Make the document of a new job, pending, from a spec that syn_training_spec_check() passed.
 * Takes `spec` from the call on. */
SYN_MUST int syn_training_make_take(const struct syn_training_new *new_job, json_t *spec,
                                    json_t **ret, struct syn_err *err);
/** Note in the document that a user wants it stopped; the next step does it. `grace_ms` < 0 keeps
 * the spec's. CONFLICT when it has ended. Asking again is no error and may only shorten the grace.
 */
SYN_MUST int syn_training_request_stop(json_t *job, int64_t grace_ms, struct syn_err *err);
/** Begin a new run with `max_budget` base units (< 0 keeps the spec's); it waits from now on.
 * CONFLICT unless it failed or was stopped and its bill is written. */
SYN_MUST int syn_training_resume(json_t *job, int64_t max_budget, int64_t now_ms,
                                 struct syn_err *err);
/** CONFLICT, with the way out, unless the job has ended and its bill is written. */
SYN_MUST int syn_training_may_delete(const json_t *job, struct syn_err *err);

/** Order in which waiting jobs are stepped, and after a restart of the server ask for room, as they
 *  did before: priority, then since when each waits, then id. As for qsort(). */
int syn_training_order(const json_t *a, const json_t *b);

#endif
