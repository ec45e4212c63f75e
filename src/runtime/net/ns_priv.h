/* Network namespaces that have a name in a folder. */
#ifndef SYNOR_RUNTIME_NS_PRIV_H
#define SYNOR_RUNTIME_NS_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** Make `dir` a mount point whose mounts come and go in every mount namespace that was copied from
 *  this one, so that no supervisor of an instance keeps another's network. Idempotent. */
SYN_MUST int syn_ns_folder_open(const char *dir, struct syn_err *err);
/** Undo it. It has to be empty. */
SYN_MUST int syn_ns_folder_close(const char *dir, struct syn_err *err);

/** Is there a namespace at `path`? */
bool syn_ns_exists(const char *path);
/** The namespace at `path`, made when it is missing (*ret_fresh), with settings for instances.
 *  Owner: *ret_ns (for setns) and *ret_route (a NETLINK_ROUTE socket in it) are the caller's. */
SYN_MUST int syn_ns_create(const char *path, bool *ret_fresh, int *ret_ns, int *ret_route,
                           struct syn_err *err);
/** Its name away; it goes with what runs in it. Nothing there is fine. */
SYN_MUST int syn_ns_destroy(const char *path, struct syn_err *err);

/** Write /proc/sys/net/NAME of the calling thread's network namespace. Returns 0; NOTFOUND when the
 *  kernel has no such setting; IO. */
SYN_MUST int syn_ns_set(const char *name, const char *value, struct syn_err *err);
/** Read one into out[cap], without its newline. False when there is none. */
bool syn_ns_get(const char *name, char *out, size_t cap);

#endif
