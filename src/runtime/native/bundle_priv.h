/* An instance's spec as an OCI runtime bundle. */
#ifndef SYNOR_RUNTIME_BUNDLE_PRIV_H
#define SYNOR_RUNTIME_BUNDLE_PRIV_H

#include <synor/base/json.h>

#include "plan_priv.h"

#define SYN_UID_DEFAULT 1000
#define SYN_BUNDLE_IDS  65536u /* of an instance's user namespace */

/** Check every field, name the first bad one. Pure. */
SYN_MUST int syn_bundle_check(const struct syn_instance_spec *spec, struct syn_err *err);
/** The first host id of the instance's user namespace: 65,536 ids, by `name`. Pure. */
uint32_t syn_bundle_id_base(const char *name);
/** The host id that owns what user `id` of the instance writes. */
uint32_t syn_bundle_host_id(const struct syn_plan *plan, uint32_t id);
/** config.json for a checked spec. Owner: the caller's reference. */
SYN_MUST int syn_bundle_json(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                             json_t **ret, struct syn_err *err);

#endif
