/* Devices, profiles and whole registries as JSON documents: what `synor compute devices --json`
 * prints and a node reports. Unknown values are left out, never 0. */
#ifndef SYNOR_DEVICE_JSON_H
#define SYNOR_DEVICE_JSON_H

#include <synor/base/json.h>
#include <synor/device.h>

/** One profile with its sources, and with `assumed` what an estimate takes for the rest. */
SYN_API SYN_MUST int syn_profile_json(const struct syn_profile *profile, json_t **ret,
                                      struct syn_err *err);
/** One device of a registry. With `ask`, also its health and power now: opens the device. */
SYN_API SYN_MUST int syn_device_json(struct syn_registry *registry, size_t index, bool ask,
                                     json_t **ret, struct syn_err *err);
/** {"devices": [], "drivers": [], "nodes": [], "links": []}. */
SYN_API SYN_MUST int syn_registry_json(struct syn_registry *registry, json_t **ret,
                                       struct syn_err *err);
/** {"cpus", "cores", "packages", "numa": [], "caches": [], "pci": []}. */
SYN_API SYN_MUST int syn_topology_json(const struct syn_topology *topology, json_t **ret,
                                       struct syn_err *err);

#endif
