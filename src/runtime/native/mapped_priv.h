/* Folders whose files belong to ids as they are within an instance. See mapped.c. */
#ifndef SYNOR_RUNTIME_MAPPED_PRIV_H
#define SYNOR_RUNTIME_MAPPED_PRIV_H

#include <synor/runtime/runtime_ops.h>

#include "plan_priv.h"

/** The volumes of an instance, from where they are bound, among all its binds. */
struct syn_mapped {
    struct syn_bind binds[SYN_INSTANCE_BINDS_MAX];
    size_t binds_count;
    char *sources[SYN_INSTANCE_MOUNTS_MAX];
    size_t sources_count;
};

/**
 * Put the volumes of a checked spec behind its binds; mounted below the instance's folder first,
 * where it has other ids than those inside.
 *
 * Owner: the caller, who zeroed *ret, finishes it, also after a failure; the mounts go with the
 * instance. Returns 0; UNSUPPORTED, NOMEM, IO.
 */
SYN_MUST int syn_mapped_make(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                             struct syn_mapped *ret, struct syn_err *err);
void syn_mapped_fini(struct syn_mapped *mapped);

#endif
