/* What the tests of the memory manager share: devices with a manager on them, and content that can
 * be told apart. */
#ifndef SYN_COMPUTE_MEMORY_SUITE_H
#define SYN_COMPUTE_MEMORY_SUITE_H

#include <synor/base/test.h>

#include <synor/compute/memory.h>

#define RIG_DEVS_MAX 8

struct mrig {
    struct syn_registry *registry; /* or */
    struct syn_driver *driver;
    struct syn_dev *devs[RIG_DEVS_MAX];
    size_t devs_count;
    unsigned nodes; /* of the manager */
    struct syn_memory *memory;
    /* One queue and event a node, for looking at content. */
    struct syn_dev_queue *queues[RIG_DEVS_MAX + 1];
    struct syn_dev_event *events[RIG_DEVS_MAX + 1];
};

/** A registry of `drivers` and `modelled`, all of its devices, and a manager with these limits. */
int mrig_init(struct mrig *rig, const char *drivers, const char *modelled,
              const uint64_t *node_bytes, size_t node_bytes_count, struct syn_err *err);
/** All devices of one driver, without a registry; its library may be a stand-in. NOTFOUND when
 * there is nothing of the kind. */
int mrig_init_driver(struct mrig *rig, const char *driver, const char *library,
                     const uint64_t *node_bytes, size_t node_bytes_count, struct syn_err *err);
void mrig_fini(struct mrig *rig);

/** Acquire and wait. */
int mrig_acquire(struct mrig *rig, unsigned node, const struct syn_memory_use *uses, size_t count,
                 struct syn_err *err);
int mrig_hold(struct mrig *rig, unsigned node, struct syn_tensor *tensor, enum syn_access access,
              struct syn_err *err);
void mrig_release(struct mrig *rig, unsigned node, struct syn_tensor *tensor,
                  enum syn_access access, bool ok);

/** Copy a held tensor's elements, in the order of its indexes (the last one fastest), from the node
 * to `to` or the other way round. Elements of whole bytes. */
int mrig_read(struct mrig *rig, unsigned node, const struct syn_tensor *tensor, void *to,
              struct syn_err *err);
int mrig_write(struct mrig *rig, unsigned node, const struct syn_tensor *tensor, const void *from,
               struct syn_err *err);

/** A task that writes, or looks: acquire, copy, release. */
int mrig_put(struct mrig *rig, unsigned node, struct syn_tensor *tensor, const void *from,
             struct syn_err *err);
int mrig_get(struct mrig *rig, unsigned node, struct syn_tensor *tensor, void *to,
             struct syn_err *err);

/** The seed in SYNOR_TEST_SEED, or a fixed one; printed. */
uint64_t mrig_seed(void);

#endif
