/* A service's autoscaling: how it stands in the spec, and the step's part of it. */
#ifndef SYN_WORKLOAD_SERVICE_AUTOSCALE_PRIV_H
#define SYN_WORKLOAD_SERVICE_AUTOSCALE_PRIV_H

#include <synor/base/schema.h>
#include <synor/orchestration/autoscale.h>
#include <synor/workload/service_control.h>

extern const struct syn_schema service_autoscale_schema;

/* A rule and the windows that it points to. */
struct service_autoscale {
    struct syn_autoscale_rule rule;
    struct syn_autoscale_window windows[SYN_AUTOSCALE_WINDOWS_MAX];
    bool scraped[SYN_AUTOSCALE_METRICS_MAX]; /* by the rule's metrics: replicas tell it, each its
                                                own */
};

/* Read spec.autoscale into `ret`, which must stay where it is. A window whose zone `zones` does not
 * have is left out; without `zones` all are UTC's. INVALID says what is wrong. */
SYN_MUST int service_autoscale_read(const json_t *autoscale, const struct syn_zone_source *zones,
                                    struct service_autoscale *ret, struct syn_err *err);
/* What nodes are to read of replicas: {"every_ms", "metrics": [{"metric", "port", "path",
 * "series"}]}, or NULL. Owner: *ret is the caller's. */
SYN_MUST int service_autoscale_scrape(const json_t *autoscale, json_t **ret, struct syn_err *err);
/* How many it begins with: the spec's number within the bounds. */
uint32_t service_autoscale_begin(const json_t *autoscale, uint32_t replicas);

/* A replica that lives and stays. */
struct service_scale_replica {
    const char *id;
    bool ready;
};

/* What is looked at; all borrowed. */
struct service_scale_view {
    const json_t *autoscale;
    const struct syn_service_view *view;
    struct syn_amounts amounts; /* of one replica */
    uint32_t current;
    const struct service_scale_replica *replicas;
    size_t count;
};

/* Decide, and note the decision in status.autoscale, unless it is not time yet. */
SYN_MUST int service_autoscale_step(const struct service_scale_view *view, json_t *status,
                                    struct syn_autoscale_decision *ret, struct syn_err *err);

#endif
