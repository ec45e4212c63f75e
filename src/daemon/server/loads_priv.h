/* What services were seen to use lately, and the machine's time zones: what autoscaling asks. */
#ifndef SYN_DAEMON_SERVER_LOADS_PRIV_H
#define SYN_DAEMON_SERVER_LOADS_PRIV_H

#include <synor/base/zone.h>
#include <synor/workload/service_control.h>

#include "server_priv.h"

struct syn_report;
SYN_MUST int srv_loads_new(struct srv_loads **ret, struct syn_err *err);
struct srv_loads *srv_loads_free(struct srv_loads *loads);
/** Note an accepted report. Any thread, as all here. */
void srv_loads_report(struct srv_loads *loads, const struct syn_report *report, int64_t now_ms);
/** What its node read of the instance, thousandths; or UNKNOWN, and the trouble with it. It counts
 * for half a minute. */
void srv_loads_scraped(struct srv_loads *loads, const char *instance, const char *name,
                       int64_t value, const char *trouble, int64_t now_ms);
/** Add to an explanation what of the service's replicas could not be read. */
SYN_MUST int srv_loads_explain(struct srv_loads *loads, const json_t *service, int64_t now_ms,
                               json_t *answer, struct syn_err *err);
/** What an instance used lately; false: nothing is known of it. */
struct srv_load_seen {
    struct syn_service_load load;
    int64_t sent_bps; /* left its node */
};
bool srv_loads_seen(struct srv_loads *loads, const char *instance, int64_t now_ms,
                    struct srv_load_seen *ret);
void srv_loads_forget(struct srv_loads *loads, const char *instance);
/** The gateway of functions passes nothing to it any more, and has nothing under way there. */
void srv_loads_left(struct srv_loads *loads, const char *instance, int64_t now_ms);
/** Was that so since then? */
bool srv_loads_has_left(struct srv_loads *loads, const char *instance, int64_t since_ms);
void srv_loads_forget_service(struct srv_loads *loads, const char *service);
/** A number of the whole service, thousandths; it counts for half a minute. "held" is requests that
 *  wait at the door. LIMIT; NOMEM. */
SYN_MUST int srv_loads_tell(struct srv_loads *loads, const char *service, const char *name,
                            int64_t value, int64_t now_ms, struct syn_err *err);
/** As "held", what waits for it is told at the gateway; so, what waits in the meshes of nodes. */
#define SRV_LOADS_MESH_HELD "mesh-held"
/** Tell "requests" and "inflight" from what the balancer has counted until now. */
void srv_loads_count(struct srv_loads *loads, const char *service, uint64_t requests, uint64_t open,
                     int64_t now_ms);
/** The machine's time zones. */
struct syn_zone_source srv_loads_zones(struct srv_loads *loads);

/** What a step of the service sees; points into itself, so it stays where it is. */
struct srv_loads_view {
    struct srv_loads *loads;
    const char *service;
    int64_t now_ms;
    struct syn_zone_source zones;
    struct syn_service_loads sight;
};
void srv_loads_look(struct srv_loads *loads, const char *service, int64_t now_ms,
                    struct srv_loads_view *ret);
/** Put into `stats`, as "replicas", how each replica of the service is (replicas.c). */
SYN_MUST int srv_replicas_stats(struct syn_server *server, const json_t *service, json_t *stats,
                                struct syn_err *err);
/** POST /v1/services/{id}/metrics. */
SYN_MUST int srv_loads_post(struct syn_http_req *req, void *ctx, struct syn_err *err);
/** POST /v1/instances/{id}/metrics. */
SYN_MUST int srv_loads_post_scraped(struct syn_http_req *req, void *ctx, struct syn_err *err);

#endif
