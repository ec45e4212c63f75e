/* The name of a lease: what a node signs for with every usage report, and what a bill's
 * verification holds against the lease that the instance shows. */
#ifndef SYNOR_DAEMON_LEASE_H
#define SYNOR_DAEMON_LEASE_H

#include <synor/base/json.h>
#include <synor/market/meter.h>

/** SHA-256, in hexadecimal, of the canonical JSON of `instance`'s spec.lease; "" when it has none.
 *  Returns 0; NOMEM. */
SYN_MUST int syn_lease_digest(const json_t *instance, char ret[SYN_DIGEST_MAX],
                              struct syn_err *err);

#endif
