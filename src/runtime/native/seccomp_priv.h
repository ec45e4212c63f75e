/* The system calls a program in a runc sandbox, or forked from a zygote, may make. */
#ifndef SYNOR_RUNTIME_SECCOMP_PRIV_H
#define SYNOR_RUNTIME_SECCOMP_PRIV_H

#include <synor/base/json.h>

/** The OCI runtime specification's linux.seccomp object. Owner: the caller's reference. */
SYN_MUST int syn_seccomp_json(json_t **ret, struct syn_err *err);

/** The same as a program for prctl(2): a file in memory, with its struct sock_filters, read from
 * the beginning. Owner: *ret_fd is the caller's. Returns 0; UNSUPPORTED: libseccomp is not here;
 * IO. */
SYN_MUST int syn_seccomp_program(int *ret_fd, struct syn_err *err);

#endif
