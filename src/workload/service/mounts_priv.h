/* What is mounted into a replica, as it stands in the spec. */
#ifndef SYN_WORKLOAD_SERVICE_MOUNTS_PRIV_H
#define SYN_WORKLOAD_SERVICE_MOUNTS_PRIV_H

#include <synor/base/schema.h>
#include <synor/workload/service_spec.h>

extern const struct syn_schema service_mount_schema;

/* Absolute, without empty, "." and ".." parts, and without what a log could be led astray by. */
bool service_path_plain(const char *path);
/* Check spec.mounts in place, defaults included, and put them in the order of their paths.
 * INVALID names the path. */
SYN_MUST int service_mounts_check(json_t *spec, struct syn_err *err);

#endif
