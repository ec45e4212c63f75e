/* What a container runtime is asked for, out of what runc would be: the OCI bundle. */
#ifndef SYNOR_RUNTIME_REQUEST_PRIV_H
#define SYNOR_RUNTIME_REQUEST_PRIV_H

#include <synor/base/json.h>

#include "../native/plan_priv.h"

/** Write pod.pb, container.pb and seccomp.json into the instance's folder. `image` is the name of
 *  the image of top-level links; what else is at the top of DIR/rootfs is bound from there. */
SYN_MUST int syn_request_write(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                               const json_t *bundle, const char *image, struct syn_err *err);

#endif
