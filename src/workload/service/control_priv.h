/* One step in the making: working copies of the documents, and what has been decided so far. */
#ifndef SYN_WORKLOAD_SERVICE_CONTROL_PRIV_H
#define SYN_WORKLOAD_SERVICE_CONTROL_PRIV_H

#include <synor/workload/service_control.h>
#include <synor/workload/service_spec.h>

#include "../member_priv.h"

#define CONTROL_MESSAGE_MAX 400

struct syn_place_slot;

/* What a new replica is made of; all borrowed. */
struct service_replica_new {
    const json_t *service;
    const json_t *version;
    const struct syn_place_slot *slot; /* where it was placed */
    const json_t *lease;               /* or NULL */
    int64_t serial;                    /* of the instance in its run */
    int64_t number;                    /* of the replica, from 0; reused */
    int64_t now_ms;
};

/* Make its instance document, assigned, desired running. Owner: *ret is the caller's. */
SYN_MUST int service_instance_make(const struct service_replica_new *made, json_t **ret,
                                   struct syn_err *err);

/* What the service knows of one of its replicas. */
struct service_endpoint {
    bool ready;      /* it takes traffic */
    bool standby;    /* it is well, and takes none: it is kept, or not to have any yet */
    uint32_t weight; /* by which it gets its part; 0: nothing is said */
};

/* Append what clients need to know of an instance to the service's endpoints. */
SYN_MUST int service_endpoint_add(const json_t *doc, const struct service_endpoint *endpoint,
                                  json_t *list, struct syn_err *err);

/* Want the version again that works, instead of the one that is wanted now: what becomes of that is
 * said by `why`. */
SYN_MUST int service_go_back(json_t *service, const json_t *version, const char *why,
                             struct syn_err *err);

#endif
