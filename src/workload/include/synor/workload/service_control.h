/* The controller of services as a pure step: from what is (documents, nodes, money, the time) to
 * what must be written. The caller writes all effects of one step in one store transaction. */
#ifndef SYNOR_WORKLOAD_SERVICE_CONTROL_H
#define SYNOR_WORKLOAD_SERVICE_CONTROL_H

#include <synor/base/sm.h>
#include <synor/base/world.h>
#include <synor/orchestration/cluster.h>
#include <synor/orchestration/cost.h>

/** A period of a run is billed before its time when its bill has so many instances. */
#define SYN_SERVICE_BILL_INSTANCES 120
/** More replicas than that are not kept in the lists once they are over and billed; of fewer, those
 * that ended long ago are not. */
#define SYN_SERVICE_ENDED_MAX 32
/** A replica that the balancer does not let go is stopped so long after its time to drain. */
#define SYN_SERVICE_BALANCER_MAX_MS INT64_C(10000)
/** Versions that are kept. */
#define SYN_SERVICE_VERSIONS_MAX 20
/** A node silent for so long is given up when its replica finds room elsewhere. */
#define SYN_SERVICE_SILENT_MAX_MS (INT64_C(60) * 1000)
/** A replica that lived for so long did not fail at starting: its successor comes at once. */
#define SYN_SERVICE_STABLE_MS INT64_C(10000)
/** Pause after the first failure; doubled each time up to the second. */
#define SYN_SERVICE_BACKOFF_FIRST_MS INT64_C(1000)
#define SYN_SERVICE_BACKOFF_MAX_MS   (INT64_C(300) * 1000)
/** Failures longer ago than this do not count. */
#define SYN_SERVICE_BACKOFF_WINDOW_MS (INT64_C(600) * 1000)
/** A new version that failed so often, for each replica wanted, is rolled back at once. */
#define SYN_SERVICE_FAILURES_MAX 3
/** Fewer errors than that among a canary's answers are no verdict. */
#define SYN_SERVICE_CANARY_ERRORS_MIN 5
/** Money is locked for so many hours at a time, and again when a quarter of that is left. */
#define SYN_SERVICE_RESERVE_HOURS 24

/** States of a service. Reasons are in syn_service_reasons(). */
enum syn_service_state {
    SYN_SERVICE_DEPLOYING,
    SYN_SERVICE_RUNNING,
    SYN_SERVICE_DEGRADED,
    SYN_SERVICE_STOPPING,
    SYN_SERVICE_STOPPED,
};
extern const struct syn_sm syn_service_life;

/** The sentence of a reason of a service, or NULL when it is none (those of placement are
 *  syn_job_reason()'s). */
const char *syn_service_reason(unsigned state, const char *word);

/** What a replica used lately. */
struct syn_service_load {
    int64_t at_ms;
    int64_t cpu_millicores;
    int64_t memory_bytes;
};

/** What is known of a service's load now. */
struct syn_service_loads {
    /** False: nothing of that instance. */
    bool (*of)(void *self, const char *instance, struct syn_service_load *ret);
    /** Of the whole service, thousandths: "requests", "inflight", "queue", "custom:NAME";
     *  SYN_AUTOSCALE_UNKNOWN where nobody says it. */
    int64_t (*total)(void *self, const char *metric);
    /** What an instance told of such a metric, where that is scraped; likewise. May be NULL. */
    int64_t (*scraped)(void *self, const char *instance, const char *metric);
    uint32_t held; /* requests that wait at the door */
    void *self;
};

/** What is known of its calls besides its load: it is not called yet, but will be. */
struct syn_service_ahead {
    uint32_t least;  /* replicas, also where the spec asks for fewer; but not above its most */
    int64_t idle_ms; /* instead of the spec's; 0: as that has it */
};

/** What the balancer saw of the answers of one version's replicas. */
struct syn_service_answers {
    uint64_t answers; /* TCP: connections */
    uint64_t errors;  /* of them; 5xx, and what broke off */
};
enum { SYN_SERVICE_NEW, SYN_SERVICE_OLD, SYN_SERVICE_SIDES };

/** What the step looks at. Everything is borrowed for the call; documents are left unchanged. */
struct syn_service_view {
    const json_t *service;
    const json_t *versions;        /* array of its version documents, any order */
    const json_t *instances;       /* all its instance documents; NULL is none */
    struct syn_cluster *cluster;   /* complete: a node that is not in it is gone */
    const struct syn_quota *quota; /* the account's; NULL is no limit */
    const json_t *billed;          /* {instance: its last sample that is billed}; NULL is none */
    struct {
        int64_t number;          /* of the billing period; 0: the first */
        int64_t since_ms;        /* 0: since the service was made */
        int64_t window_since_ms; /* since when the budget is spent from; likewise */
        int64_t window_spent;    /* billed of it */
    } period;
    int64_t spent;     /* metered so far in this period, base units */
    int64_t rate_hour; /* of the instances that hold something now */
    int64_t escrow;    /* locked for this period */
    int64_t balance;   /* what the account has besides */
    int64_t now_ms;
    int64_t observing_since_ms; /* since when this server has been able to hear nodes */
    /** What the balancer has of its replicas: {INSTANCE: "serving" (gets requests) | "busy" (ends
     *  those it has)}; one that is not in it has none. NULL: there is no balancer. */
    const json_t *balanced;
    /** Of the version that is tried and of the one that works, since they have shared what comes as
     *  they do; by SYN_SERVICE_NEW and OLD. NULL: nothing is known. */
    const struct syn_service_answers *answers;
    /** Volumes that its versions name: {NAME: {id, node, size_bytes, shared}}. NULL: none. */
    const json_t *volumes;
    const struct syn_zone_source *zones;   /* of schedules; NULL: none is known */
    const struct syn_service_loads *loads; /* NULL: nothing is known */
    const struct syn_service_ahead *ahead; /* where it is autoscaled; NULL: nothing is */
};

/** What must be written, in one transaction. NULL and empty mean nothing. */
struct syn_service_effects {
    json_t *service; /* the whole new document, or NULL when it did not change */
    json_t *created; /* array of new instance documents */
    json_t *changed; /* array of whole instance documents that changed */
    json_t *events;  /* array of {type, reason, message, instance|null} */
    json_t *bound;   /* {volume: node}: where those are from now on that were on none */
    int64_t lock;    /* so much more goes into the run's escrow; 0: nothing */
    bool settle;     /* final: write the bill below and release the escrow */
    bool renew;      /* bill the period; `lock` is the next one's escrow */
    bool new_window; /* with it the budget is whole again */
    char bill_id[SYN_ID_MAX];
    json_t *forgotten;  /* array of {instance, node}: over, billed, and no longer listed */
    int64_t wake_at_ms; /* step again then, even if nothing happens; SYN_DOCUMENT_NONE: never */
};
void syn_service_effects_fini(struct syn_service_effects *effects);
/** True when the step has nothing to write. */
bool syn_service_effects_none(const struct syn_service_effects *effects);

/**
 * Decide what must happen now. Stepping again with the effects applied, at the same time, gives
 * none, unless it asks to be woken at once. Replicas ask the cluster for room one by one, each
 * under its own id.
 *
 * Owner: the caller's to fini, on success. The documents must be ones that the functions here made.
 * Returns 0; SYN_E_NOMEM; SYN_E_CORRUPT for a document nobody here made.
 */
SYN_MUST int syn_service_step(const struct syn_service_view *view, struct syn_service_effects *ret,
                              struct syn_err *err);

/* --- verbs: each changes the document alone; the next step acts on it ------------------------- */

/** What a new service, or version, is made of. Text is borrowed for the call. */
struct syn_service_new {
    const char *id;
    const char *name; /* syn_name_ok() */
    const char *account;
    const char *image_cid; /* what the spec's image stands for now */
    int64_t now_ms;
};

/** Make the document of a new service and its version 1. Takes `spec`, checked, from the call on.
 */
SYN_MUST int syn_service_make_take(const struct syn_service_new *new_service, json_t *spec,
                                   json_t **ret, json_t **ret_version, struct syn_err *err);
/**
 * Give it another spec, checked, taken from the call on. *ret_version is a new version's document,
 * or NULL when its replicas stay as they are. A stopped one begins a new run.
 *
 * `fresh`: a new version even of the same (restart). Returns 0; CONFLICT while it stops or its bill
 * is not written; NOMEM.
 */
SYN_MUST int syn_service_update_take(json_t *service, const json_t *current_version,
                                     const struct syn_service_new *change, json_t *spec, bool fresh,
                                     json_t **ret_version, struct syn_err *err);
/** Go back to the version, which its document describes: no new one is made. CONFLICT when it is
 *  the one it has, or stops. */
SYN_MUST int syn_service_rollback(json_t *service, const json_t *version, int64_t now_ms,
                                  struct syn_err *err);
/** Let the version that is tried go on: to its next part of what comes, or (`fully`) without
 *  further trial; where the old one is kept after that, let it go. CONFLICT when there is nothing
 * to promote, or it is not ready yet. */
SYN_MUST int syn_service_promote(json_t *service, bool fully, struct syn_err *err);
/** End an update that is under way: the version that worked, `stable_version`, is wanted again.
 *  CONFLICT when none is. */
SYN_MUST int syn_service_abort(json_t *service, const json_t *stable_version, struct syn_err *err);
/** Note that a user wants it stopped. CONFLICT when it has stopped. */
SYN_MUST int syn_service_request_stop(json_t *service, struct syn_err *err);
/** CONFLICT, with the way out, unless it has stopped and its bill is written. */
SYN_MUST int syn_service_may_delete(const json_t *service, struct syn_err *err);
/** Locked at the beginning of a run for what the spec asks at `rate_hour`, base units. */
int64_t syn_service_reserve(const json_t *spec, int64_t rate_hour);

/** "inst-SERVICE-RUN-SERIAL", "bill-SERVICE-RUN" and, from the second period of a run on,
 * "bill-SERVICE-RUN-PERIOD": the same facts always give the same id. */
void syn_service_instance_id(const json_t *service, int64_t serial, char out[SYN_ID_MAX]);
/** The id that the service has of whose kind an instance with this id could be; false: of none. */
bool syn_service_of_instance(const char *instance, char out[SYN_ID_MAX]);
void syn_service_bill_id(const json_t *service, int64_t period, char out[SYN_ID_MAX]);

struct syn_place_turn;
/** What there is to explain from. Borrowed for the call. */
struct syn_service_explain_view {
    const json_t *service;
    const json_t *versions;
    const json_t *instances;
    const json_t *last_lines; /* array of text: the end of the newest failure's log; or NULL */
    struct syn_cluster *cluster;
    const struct syn_quota *quota;
    const json_t *volumes; /* as of a step */
    int64_t now_ms;
};
/** Explain: {id, state, reason, message, why[{dimension,node,need,have,message}], fix[text]}. `why`
 *  is never empty. Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_service_explain(const struct syn_service_explain_view *view, json_t **ret,
                                 struct syn_err *err);

/** Whose service it would be. Borrowed for the call. */
struct syn_service_tenant {
    const char *account;
    const struct syn_quota *quota; /* NULL is no limit */
    const json_t *volumes;         /* as of a step */
};
/** Plan a checked spec: {placeable, reason, message, why[], fix[], replicas, nodes[{node,replicas,
 *  region,rate_hour|null}], rate_hour|null, rate_month|null, locked|null, alternatives[{node,
 *  replicas,region,rate_hour|null,rate_month|null}]}: other nodes where some would fit, the
 *  cheapest first, at most 16. Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM, SYN_E_INVALID.
 */
SYN_MUST int syn_service_plan(const json_t *spec, const struct syn_service_tenant *tenant,
                              struct syn_cluster *cluster, const struct syn_pricebook *book,
                              json_t **ret, struct syn_err *err);

#endif
