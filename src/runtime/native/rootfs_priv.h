/* The root an instance sees: its own few files over the image's. See rootfs.c. */
#ifndef SYNOR_RUNTIME_ROOTFS_PRIV_H
#define SYNOR_RUNTIME_ROOTFS_PRIV_H

#include "plan_priv.h"

/** The shared lower folder of `image: host`: links into /usr and a minimal /etc copied from the
 *  host's, made in `cache` when missing or outdated. */
SYN_MUST int syn_rootfs_host_image(const char *cache, char *out, size_t cap, struct syn_err *err);
/** This instance's own layer at `dir`/root: mount points, names, hosts. */
SYN_MUST int syn_rootfs_layer_create(const struct syn_instance_spec *spec,
                                     const struct syn_plan *plan, struct syn_err *err);
/** The first standard folder under which neither `dir`, the image nor a bind lies: the shim covers
 * it, in a mount namespace of its own, with the place where the root is put together. */
SYN_MUST int syn_rootfs_cover_find(const struct syn_instance_spec *spec, char *out, size_t cap,
                                   struct syn_err *err);
/** In a private mount namespace: cover plan->cover and mount the root on plan->cover/rootfs. */
SYN_MUST int syn_rootfs_mount(const char *dir, const struct syn_plan *plan, struct syn_err *err);

/** What /etc/resolv.conf says; "" where names are not asked for. */
void syn_rootfs_resolver(const struct syn_instance_spec *spec, const struct syn_plan *plan,
                         struct syn_buf *out);

#endif
