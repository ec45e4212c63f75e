/* The registry's inside, shared by its files and its tests. */
#ifndef SYN_COMPUTE_REGISTRY_PRIV_H
#define SYN_COMPUTE_REGISTRY_PRIV_H

#include <pthread.h>

#include <synor/compute/driver.h>

/* One driver being asked, or its answer. The asking thread and the registry both hold it: whoever
 * is the last to let go frees it, so that a driver that never answers can be left behind. */
struct syn_registry_slot {
    const struct syn_driver_ops *ops;
    struct syn_driver_options options; /* its texts are owned */
    pthread_mutex_t lock;              /* guards what follows, until `answered` */
    pthread_cond_t wake;
    unsigned holders;
    bool answered, abandoned;
    struct syn_driver *driver;     /* NULL unless ready */
    struct syn_device_info *infos; /* `driver->devices` of them */
    struct syn_driver_report report;
};

struct syn_registry_device {
    struct syn_registry_slot *slot;
    struct syn_device_info info;
    const struct syn_profile *profile; /* borrowed from the profiles, or NULL */
    unsigned node;
    struct syn_dev *dev; /* kept for health and power, opened on first use */
};

/* What was measured of one direction between two nodes. */
struct syn_registry_fit {
    uint64_t latency_ns, mb_s; /* 0: not yet */
};

struct syn_registry {
    const struct syn_profiles *profiles;
    struct syn_registry_slot *slots[SYN_DRIVERS_MAX];
    size_t slots_count;
    struct syn_registry_device *devices;
    size_t devices_count;
    struct syn_memory_node *nodes;
    size_t nodes_count;
    int *node_device;              /* index of a device of the node; -1 for the host */
    pthread_mutex_t lock;          /* guards `dev` of the devices and the fits */
    struct syn_registry_fit *fits; /* nodes_count * nodes_count */
    struct syn_topology topology;
};

/** As syn_registry_open(), of these drivers. */
SYN_MUST int syn_registry_open_of(const struct syn_driver_ops *const *table, size_t count,
                                  const struct syn_registry_options *options,
                                  struct syn_registry **ret_registry, struct syn_err *err);

#endif
