/* The lines and documents a supervisor leaves behind; runtime_ops.h has the readers' side. */
#ifndef SYNOR_RUNTIME_RECORD_PRIV_H
#define SYNOR_RUNTIME_RECORD_PRIV_H

#include <synor/base/json.h>
#include <synor/runtime/runtime_ops.h>

/** Append one usage line, newline included. */
void syn_usage_format(const struct syn_usage_sample *usage, struct syn_buf *out);
/** exit.json, durable: the last thing that is ever written about an instance. */
SYN_MUST int syn_exit_write(int dirfd, const struct syn_instance_status *status,
                            struct syn_err *err);
/** NOTFOUND while there is none; CORRUPT. */
SYN_MUST int syn_exit_read(int dirfd, struct syn_instance_status *ret, struct syn_err *err);
/** The newest sample in usage.log; reads its last 4 KiB. NOTFOUND before the first. */
SYN_MUST int syn_usage_last(int dirfd, struct syn_usage_sample *ret, struct syn_err *err);

#endif
