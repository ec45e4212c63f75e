/* What a tenant asks for when deploying a service: the shape of the spec, its defaults, its
 * cross-field rules, and a quick way to read a spec that passed them. */
#ifndef SYNOR_WORKLOAD_SERVICE_SPEC_H
#define SYNOR_WORKLOAD_SERVICE_SPEC_H

#include <synor/base/schema.h>
#include <synor/orchestration/cost.h>
#include <synor/workload/card.h>

#define SYN_SERVICE_REPLICAS_MAX  64
#define SYN_SERVICE_ARGS_MAX      256
#define SYN_SERVICE_ARG_BYTES_MAX 4096
#define SYN_SERVICE_ENV_MAX       256
#define SYN_SERVICE_ENV_BYTES_MAX 65536
#define SYN_SERVICE_PATH_MAX      512 /* of an HTTP check */
#define SYN_SERVICE_PIDS          4096

/** The spec of POST /v1/services; amounts are decimal text in documents. */
extern const struct syn_schema syn_service_spec_schema;

/** How it is found out that a replica is well. */
enum syn_service_check {
    SYN_SERVICE_CHECK_NONE, /* it runs: that is all there is to know */
    SYN_SERVICE_CHECK_TCP,
    SYN_SERVICE_CHECK_HTTP,
};

/**
 * Check a spec in place: units become integers, defaults are filled in, amounts become decimal
 * text. What passed passes again unchanged. `synor://` references are only checked for their form.
 *
 * Returns 0; SYN_E_INVALID naming the key, the value and what is allowed; SYN_E_NOMEM. On failure
 * `spec` may be half converted.
 */
SYN_MUST int syn_service_spec_check(json_t *spec, struct syn_err *err);

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
    uint32_t replicas;
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
    int64_t max_budget; /* 0: as much as the account has */
    int64_t stop_grace_ms;
    int64_t drain_ms; /* between leaving traffic and the stop signal */
};

void syn_service_spec_read(const json_t *spec, struct syn_service_spec *ret);
/** Would replicas of the one be replicas of the other? Scale, pace and money are not in them. */
bool syn_service_spec_same(const json_t *a, const json_t *b);
/** Give `spec` everything that replicas are made of from `from`; how many, how fast and for how
 *  much stays. Both are checked specs. */
SYN_MUST int syn_service_spec_adopt(json_t *spec, const json_t *from, struct syn_err *err);

/** What the account holds with all replicas, and the surge of an update. */
struct syn_holding syn_service_holding(const struct syn_service_spec *spec);
/** What all replicas cost by the book; a partition counts as its card, of which it is a part. */
struct syn_cost_ask syn_service_cost_ask(const struct syn_service_spec *spec);
/** What one replica asks of the placement. */
struct syn_place_request syn_service_place_request(const struct syn_service_spec *spec);

#endif
