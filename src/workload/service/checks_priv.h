/* How it is found out that a replica has started, is ready and lives, as it stands in the spec. */
#ifndef SYN_WORKLOAD_SERVICE_CHECKS_PRIV_H
#define SYN_WORKLOAD_SERVICE_CHECKS_PRIV_H

#include <synor/base/schema.h>

/* Of spec.health, and of spec.liveness and spec.startup. */
extern const struct syn_schema service_health_schema;
extern const struct syn_schema service_check_schema;
extern const struct syn_schema service_hook_schema;

/* What follows from what is given: the kind of each. */
SYN_MUST int service_checks_derive(json_t *spec, struct syn_err *err);
/* INVALID says which check, which key, and what is expected. */
SYN_MUST int service_checks_check(const json_t *spec, struct syn_err *err);
/* May it be asked for, in a request line as it is? */
bool service_check_path_ok(const char *path);
/* Where a check asks: the service's own port unless another is said, also when it changes. */
int64_t service_check_port(const json_t *spec, const json_t *check);

#endif
