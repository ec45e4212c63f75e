/* What a container runtime is asked for, out of what runc would be: the OCI bundle. */
#ifndef SYNOR_RUNTIME_REQUEST_PRIV_H
#define SYNOR_RUNTIME_REQUEST_PRIV_H

#include <synor/base/json.h>

#include "../native/plan_priv.h"

/** What of a request is the runtime's matter. */
struct syn_request_where {
    const char *root;    /* the driver's folder */
    const char *handler; /* the runtime's name of the class */
    const char *image;   /* of top-level links; what else is at the top of DIR/rootfs is bound */
};

/** Write pod.pb, container.pb and seccomp.json into the instance's folder. */
SYN_MUST int syn_request_write(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                               const json_t *bundle, const struct syn_request_where *where,
                               struct syn_err *err);

#endif
