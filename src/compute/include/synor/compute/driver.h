/* How the rest of the library uses devices: the operations of driver_ops.h with their arguments
 * checked, staged ways where an optional operation is missing, loss remembered, and faults injected
 * in tests. Contracts and thread rules are those of driver_ops.h.
 *
 * A call on a lost device fails with UNAVAILABLE without reaching the driver; what frees always
 * does. */
#ifndef SYNOR_COMPUTE_DRIVER_H
#define SYNOR_COMPUTE_DRIVER_H

#include <synor/compute/driver_ops.h>

/** Open device `index` of a registry; several openings of one device are different contexts or the
 * same, as the driver likes. NOTFOUND; what the driver says. Close it before the registry. */
SYN_MUST int syn_dev_open(struct syn_registry *registry, size_t index, struct syn_dev **ret_dev,
                          struct syn_err *err);
struct syn_dev *syn_dev_close(struct syn_dev *dev);
void syn_dev_close_scope(struct syn_dev **slot);

/** Open a device without a registry. */
SYN_MUST int syn_dev_open_in(struct syn_driver *driver, unsigned index, struct syn_dev **ret_dev,
                             struct syn_err *err);

/** 0, SYN_DRV_FULL, errors. */
SYN_MUST int syn_dev_alloc(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
                           struct syn_err *err);
/** UNSUPPORTED without SYN_CAP_HOST_WRAP. */
SYN_MUST int syn_dev_wrap(struct syn_dev *dev, void *host, uint64_t bytes,
                          struct syn_dev_buf **ret_buf, struct syn_err *err);
struct syn_dev_buf *syn_dev_free(struct syn_dev_buf *buf);

/** Pinned where the device has that, ordinary memory of 64 bytes' alignment otherwise. */
SYN_MUST int syn_dev_host_alloc(struct syn_dev *dev, uint64_t bytes, void **ret_host,
                                struct syn_err *err);
void syn_dev_host_free(struct syn_dev *dev, void *host);
/** Does nothing, and well, where the device has no use for it. */
SYN_MUST int syn_dev_host_register(struct syn_dev *dev, void *host, uint64_t bytes,
                                   struct syn_err *err);
void syn_dev_host_unregister(struct syn_dev *dev, void *host);

SYN_MUST int syn_dev_queue_create(struct syn_dev *dev, uint32_t flags,
                                  struct syn_dev_queue **ret_queue, struct syn_err *err);
struct syn_dev_queue *syn_dev_queue_destroy(struct syn_dev_queue *queue);
void syn_dev_queue_clear(struct syn_dev_queue *queue);

SYN_MUST int syn_dev_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event,
                                  struct syn_err *err);
struct syn_dev_event *syn_dev_event_destroy(struct syn_dev_event *event);
SYN_MUST int syn_dev_event_poll(struct syn_dev_event *event, struct syn_err *err);
SYN_MUST int syn_dev_event_wait(struct syn_dev_event *event, int64_t timeout_ns,
                                struct syn_err *err);
SYN_MUST int syn_dev_event_span(struct syn_dev_event *event, struct syn_dev_span *ret,
                                struct syn_err *err);
/** UNSUPPORTED without SYN_CAP_NOTIFY. */
SYN_MUST int syn_dev_event_notify(struct syn_dev_event *event, void (*fn)(void *arg), void *arg,
                                  struct syn_err *err);

/** A copy of any shape between the host and `dev`, within it, or, when both sides are buffers of
 * different devices, from peer to peer (UNSUPPORTED unless syn_dev_can_peer()). `dev` is the one
 * whose queue is used. INVALID when a side would leave its buffer. */
SYN_MUST int syn_dev_copy(struct syn_dev *dev, const struct syn_dev_copy *copy,
                          const struct syn_dev_cmd *cmd, struct syn_err *err);
/** A plain copy: of `bytes`. */
SYN_MUST int syn_dev_write(struct syn_dev_buf *dst, uint64_t offset, const void *src,
                           uint64_t bytes, const struct syn_dev_cmd *cmd, struct syn_err *err);
SYN_MUST int syn_dev_read(void *dst, struct syn_dev_buf *src, uint64_t offset, uint64_t bytes,
                          const struct syn_dev_cmd *cmd, struct syn_err *err);
SYN_MUST int syn_dev_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                          const struct syn_dev_cmd *cmd, struct syn_err *err);
/** Can bytes go between the two without the host's memory? */
bool syn_dev_can_peer(struct syn_dev *dev, struct syn_dev *other);

SYN_MUST int syn_dev_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                             struct syn_dev_program **ret_program, struct syn_err *err);
struct syn_dev_program *syn_dev_program_free(struct syn_dev_program *program);
SYN_MUST int syn_dev_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                            const struct syn_dev_cmd *cmd, struct syn_err *err);

SYN_MUST int syn_dev_health(struct syn_dev *dev, struct syn_device_health *ret,
                            struct syn_err *err);
SYN_MUST int syn_dev_power(struct syn_dev *dev, struct syn_device_power *ret, struct syn_err *err);
/** UNSUPPORTED without SYN_CAP_RESET. A device that was lost is one no more when this returns 0. */
SYN_MUST int syn_dev_reset(struct syn_dev *dev, struct syn_err *err);

/** The device does not answer: from now on it is lost for ever, and what would free or close
 * something of it does nothing, because whatever hangs may still use it. What it had stays
 * allocated. Its driver must not be closed either: see syn_dev_is_abandoned(). */
void syn_dev_abandon(struct syn_dev *dev);
bool syn_dev_is_abandoned(const struct syn_dev *dev);

/* Faults, for tests. */

enum syn_dev_fault {
    SYN_DEV_FAULT_IO,   /* the call fails with IO and has no effect */
    SYN_DEV_FAULT_LOST, /* the device is lost from this call on */
    SYN_DEV_FAULT_FULL, /* an allocation finds no room; other calls do not count */
};

/** Make the `nth` call of syn_dev_* from now (1 = next) that can fail go wrong. 0 disarms. Applies
 * to the process; `dev` NULL: calls on any device. */
void syn_dev_fault_arm(struct syn_dev *dev, enum syn_dev_fault fault, uint64_t nth);
/** Calls that could have failed since the last arm (with 0, none are counted: arm with UINT64_MAX
 * to count only). */
uint64_t syn_dev_fault_count(void);

/* The drivers of this build, in the order in which they are asked. */
const struct syn_driver_ops *const *syn_driver_table(size_t *ret_count);

#endif
