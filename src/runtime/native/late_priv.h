/* What comes to an instance whose program was started before anybody knew whose it would be. */
#ifndef SYNOR_RUNTIME_LATE_PRIV_H
#define SYNOR_RUNTIME_LATE_PRIV_H

#include "instance_priv.h"

/** Make its scratch space, which is mounted, and its resolv.conf such that both can be filled while
 *  it runs. Before its bundle is written. */
SYN_MUST int syn_late_open(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                           struct syn_err *err);
/** Show it spec->binds, read-only, and tell it where names are looked for. Returns 0; INVALID for
 *  what is not below /synor; IO, UNSUPPORTED. */
SYN_MUST int syn_late_show(const struct syn_instance *instance,
                           const struct syn_instance_spec *spec, struct syn_err *err);

#endif
