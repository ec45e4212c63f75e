/* How a service is called by others of its platform, as it stands in the spec. */
#ifndef SYN_WORKLOAD_SERVICE_MESH_PRIV_H
#define SYN_WORKLOAD_SERVICE_MESH_PRIV_H

#include <synor/base/schema.h>

extern const struct syn_schema service_mesh_schema;
extern const struct syn_schema service_route_schema;

/* Check spec.mesh. `tcp`: it speaks no HTTP. INVALID names the entry. */
SYN_MUST int service_mesh_check(const json_t *spec, bool tcp, struct syn_err *err);
/* The part of it that is spec.mesh.routes. */
SYN_MUST int service_routes_check(const json_t *routes, bool tcp, struct syn_err *err);

#endif
