/* What there is to know of a container runtime, and of one that was there before us: by asking. */
#ifndef SYNOR_RUNTIME_FOREIGN_PRIV_H
#define SYNOR_RUNTIME_FOREIGN_PRIV_H

#include <cri.pb-c.h>

#include <synor/base/buf.h>
#include <synor/runtime/container.h>

/** The classes of isolation, by what containerd starts for each. */
enum syn_pod_class { SYN_POD_RUNC, SYN_POD_GVISOR, SYN_POD_KATA, SYN_POD_CLASSES };

#define SYN_POD_HANDLER_MAX  64
#define SYN_FOREIGN_NETWORKS "containerd/cni/conf" /* within the driver's folder */
#define SYN_FOREIGN_PLUGIN   "containerd/cni/bin/synor"

struct syn_pod_kind {
    const char *name, *shim, *type; /* "gvisor", its program, containerd's runtime_type */
};

extern const struct syn_pod_kind syn_pod_kinds[SYN_POD_CLASSES];

struct syn_cri_facts {
    char version[64];                                    /* "1.6.20" */
    char state[SYN_INSTANCE_PATH_MAX];                   /* its folder of what runs now */
    char runc[SYN_INSTANCE_PATH_MAX];                    /* runc's state */
    char plugins[SYN_INSTANCE_PATH_MAX];                 /* its folder of CNI plugins */
    char handlers[SYN_POD_CLASSES][SYN_POD_HANDLER_MAX]; /* of each class; "": it has none for us */
    bool loopback;                                       /* it asks a plugin of that name */
    bool loaded; /* it has read our network's configuration */
};

/** What `status`, of a runtime of this name and version, has for a node whose network's
 *  configuration is in `networks`. `address` is for messages.
 *  Returns 0; UNSUPPORTED with what is amiss. */
SYN_MUST int syn_foreign_read(const char *address, const Cri__VersionResponse *version,
                              const Cri__StatusResponse *status, const char *networks,
                              struct syn_cri_facts *ret, struct syn_err *err);
/** Ask it, and look whether its folder of plugins has ours. Blocks: ms, or 10 s.
 *  Returns 0; UNAVAILABLE when nobody answers; UNSUPPORTED with what is amiss. */
SYN_MUST int syn_foreign_look(const char *address, const char *networks, struct syn_cri_facts *ret,
                              struct syn_err *err);

#endif
