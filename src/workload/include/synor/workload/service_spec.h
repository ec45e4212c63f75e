/* What a tenant asks for when deploying a service: the shape of the spec, its defaults, its
 * cross-field rules, and a quick way to read a spec that passed them. */
#ifndef SYNOR_WORKLOAD_SERVICE_SPEC_H
#define SYNOR_WORKLOAD_SERVICE_SPEC_H

#include <synor/base/schema.h>
#include <synor/base/zone.h>
#include <synor/orchestration/cost.h>
#include <synor/workload/card.h>

#define SYN_SERVICE_REPLICAS_MAX           64
#define SYN_SERVICE_ARGS_MAX               256
#define SYN_SERVICE_ARG_BYTES_MAX          4096
#define SYN_SERVICE_ENV_MAX                256
#define SYN_SERVICE_ENV_BYTES_MAX          65536
#define SYN_SERVICE_SECRETS_MAX            64
#define SYN_SERVICE_PATH_MAX               512 /* of an HTTP check */
#define SYN_SERVICE_CHECK_HEADERS_MAX      16
#define SYN_SERVICE_CHECK_HEADER_BYTES_MAX 1024
#define SYN_SERVICE_GRPC_NAME_MAX          255 /* of a service in gRPC's health protocol */
#define SYN_SERVICE_PIDS                   4096
#define SYN_SERVICE_HOST_MAX               253
#define SYN_SERVICE_MOUNTS_MAX             32
#define SYN_SERVICE_MOUNT_PATH_MAX         1000
#define SYN_SERVICE_CID_MAX                128
#define SYN_SERVICE_ID_MAX                 65535 /* of a user or group inside */
#define SYN_SERVICE_PREFIX_MAX             255   /* of a path on the shared front */
/** The node's own /usr instead of an image: of services that the platform makes. */
#define SYN_SERVICE_HOST_IMAGE "host"

/** The spec of POST /v1/services; amounts are decimal text in documents. */
extern const struct syn_schema syn_service_spec_schema;

/** How it is found out that a replica is well. */
enum syn_service_check {
    SYN_SERVICE_CHECK_NONE, /* it runs: that is all there is to know */
    SYN_SERVICE_CHECK_TCP,
    SYN_SERVICE_CHECK_HTTP,
    SYN_SERVICE_CHECK_EXEC,
    SYN_SERVICE_CHECK_GRPC,
};

/** What clients speak with the balancer, and it with replicas. */
enum syn_service_protocol {
    SYN_SERVICE_TCP,
    SYN_SERVICE_HTTP, /* 1.1 to replicas */
    SYN_SERVICE_H2,   /* 2 to replicas, in plain text */
    SYN_SERVICE_GRPC, /* is HTTP/2 */
};

enum syn_service_algorithm {
    SYN_SERVICE_ROUND_ROBIN,
    SYN_SERVICE_LEAST_CONNECTIONS,
    SYN_SERVICE_WEIGHTED, /* round robin in proportion to their CPU */
    SYN_SERVICE_IP_HASH,
    SYN_SERVICE_RANDOM,
};

/** How a new version takes the place of the one before. */
enum syn_service_strategy {
    SYN_SERVICE_ROLLING,    /* replica by replica */
    SYN_SERVICE_CANARY,     /* a part of what comes first */
    SYN_SERVICE_BLUE_GREEN, /* beside it, and then all at once */
};

/** Which replicas that end by themselves get a successor. Not in a version, either. */
enum syn_service_restart {
    SYN_SERVICE_RESTART_ALWAYS,
    SYN_SERVICE_RESTART_ON_FAILURE, /* not those that ended with exit status 0 */
    SYN_SERVICE_RESTART_NEVER,
};

#define SYN_SERVICE_STEPS_MAX 16

/** Nothing of it is in a version: a change counts at once, also in an update that is under way. */
struct syn_service_rollout {
    enum syn_service_strategy strategy;
    bool by_hand;                            /* each stage waits to be promoted */
    uint32_t weights[SYN_SERVICE_STEPS_MAX]; /* canary: percentages, growing, 1 .. 100 */
    uint32_t steps;                          /* of them */
    int64_t pause_ms;                        /* of each */
    uint32_t max_errors_permille;            /* so many more of its answers may be errors */
    int64_t keep_old_ms;                     /* blue-green: the old replicas stay so long */
};

/** How clients reach it through the balancer. Nothing of it is in a version: it changes at once. */
struct syn_service_lb {
    bool publish; /* false: only by its replicas' own addresses */
    enum syn_service_protocol protocol;
    enum syn_service_algorithm algorithm;
    bool sticky;
    const char *host; /* on the shared front; "": any */
    const char *path; /* "": all */
    bool tls;
    const char *certificate;    /* the account's of this name; "": the platform's own; or: */
#define SYN_SERVICE_ACME "acme" /* one for its host, of the platform's ACME directory */
    bool redirect_http;
    int64_t hold_ms;       /* requests wait so long for a first replica */
    int64_t slow_start_ms; /* a replica's share of them grows for so long */
    uint32_t errors_max;   /* so many in a row take a replica out; 0: off */
};

/**
 * Check a spec in place: units become integers, defaults are filled in, amounts become decimal
 * text. What passed passes again unchanged. `synor://` references are only checked for their form.
 *
 * Returns 0; SYN_E_INVALID naming the key, the value and what is allowed; SYN_E_NOMEM. On failure
 * `spec` may be half converted.
 */
SYN_MUST int syn_service_spec_check(json_t *spec, struct syn_err *err);
/** The same of a service that the platform makes for a function: `function` may be there, and the
 * image may be SYN_SERVICE_HOST_IMAGE. */
SYN_MUST int syn_service_spec_check_derived(json_t *spec, struct syn_err *err);
/** Are all time zones of a checked spec known here? INVALID names the first that is not. */
SYN_MUST int syn_service_spec_zones(const json_t *spec, const struct syn_zone_source *zones,
                                    struct syn_err *err);

/** All secrets that a checked spec, or an instance's, names: {VARIABLE or /PATH: NAME}.
 *  Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_service_secrets(const json_t *spec, json_t **ret, struct syn_err *err);
/** Take "UID[:GID]" apart, 1 to SYN_SERVICE_ID_MAX each; without one the group has the user's
 *  number. INVALID says what is wrong. */
SYN_MUST int syn_service_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid,
                              struct syn_err *err);

/** A checked spec, read. All pointers are borrowed from the JSON. */
struct syn_service_spec {
    const char *image;
    const json_t *command;
    const json_t *args;
    const json_t *env;
    int64_t port; /* 0: it listens nowhere */
    enum syn_service_check check;
    const char *check_path;
    int64_t check_port;
    int64_t check_interval_ms;
    int64_t check_timeout_ms;
    int64_t check_healthy;   /* so many answers in a row, and it is ready */
    int64_t check_unhealthy; /* so many failures in a row, and it is not; as many more: restarted */
    int64_t check_start_ms;  /* until then it must have been ready once */
    uint32_t replicas;       /* with autoscaling: to begin with */
    enum syn_service_restart restart;
    const json_t *autoscale; /* or NULL */
    uint32_t max_surge;
    uint32_t max_unavailable;
    int64_t update_deadline_ms;
    struct syn_amounts amounts; /* of one replica */
    int64_t gpus;
    const char *gpu_model; /* "": any */
    struct syn_card card;  /* the part of one that it has */
    const char *region;
    enum syn_isolation isolation;
    enum syn_fleet_policy policy;
    int64_t priority;
    int64_t max_price;
    int64_t max_budget; /* of a billing period; 0: as much as the account has */
    int64_t billing_ms; /* how long such a period is */
    int64_t stop_grace_ms;
    int64_t drain_ms; /* at most between leaving traffic and the stop signal */
    struct syn_service_lb lb;
    struct syn_service_rollout rollout;
    const json_t *function; /* whose calls it runs; or NULL */
};

void syn_service_spec_read(const json_t *spec, struct syn_service_spec *ret);
/** "tcp", "http", "h2", "grpc". */
const char *syn_service_protocol_name(enum syn_service_protocol protocol);
/** Would replicas of the one be replicas of the other? Scale, pace and money are not in them. */
bool syn_service_spec_same(const json_t *a, const json_t *b);
/** Give `spec` everything that replicas are made of from `from`; how many, how fast and for how
 *  much stays. Both are checked specs. */
SYN_MUST int syn_service_spec_adopt(json_t *spec, const json_t *from, struct syn_err *err);

/** So many replicas may live at once during an update. */
uint32_t syn_service_peak(const struct syn_service_spec *spec);
/** What the account holds with all replicas, and the surge of an update. */
struct syn_holding syn_service_holding(const struct syn_service_spec *spec);
/** What all replicas cost by the book; a partition counts as its card, of which it is a part. */
struct syn_cost_ask syn_service_cost_ask(const struct syn_service_spec *spec);
/** What one replica asks of the placement. */
struct syn_place_request syn_service_place_request(const struct syn_service_spec *spec);

#endif
