/* The system calls a program in a runc sandbox may make. */
#ifndef SYNOR_RUNTIME_SECCOMP_PRIV_H
#define SYNOR_RUNTIME_SECCOMP_PRIV_H

#include <synor/base/json.h>

/** The OCI runtime specification's linux.seccomp object. Owner: the caller's reference. */
SYN_MUST int syn_seccomp_json(json_t **ret, struct syn_err *err);

#endif
