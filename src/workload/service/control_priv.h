/* One step in the making: working copies of the documents, and what has been decided so far. */
#ifndef SYN_WORKLOAD_SERVICE_CONTROL_PRIV_H
#define SYN_WORKLOAD_SERVICE_CONTROL_PRIV_H

#include <synor/workload/service_control.h>
#include <synor/workload/service_spec.h>

#include "../member_priv.h"

#define CONTROL_MESSAGE_MAX 400

struct syn_place_slot;

/* "svc-k3j5h2a9b1" -> "k3j5h2a9b1". */
const char *service_own_part(const json_t *service);
/* The version's document, or NULL. */
const json_t *service_version(const json_t *versions, int64_t number);

/* Make the instance document of a new replica, assigned, desired running. `lease` is borrowed.
 * Owner: *ret is the caller's. */
SYN_MUST int service_instance_make(const json_t *service, const json_t *version, int64_t serial,
                                   int64_t replica, const struct syn_place_slot *slot,
                                   const json_t *lease, int64_t now_ms, json_t **ret,
                                   struct syn_err *err);

#endif
