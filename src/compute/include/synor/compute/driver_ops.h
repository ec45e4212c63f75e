/* How a kind of device is reached: the ops table that drivers implement, and the objects that go
 * through it. Who uses devices calls synor/compute/driver.h, which checks arguments, injects faults
 * in tests, and knows what to do where an optional operation is missing.
 *
 *     driver  -- a loaded library ("cuda"), one an open registry
 *       dev     -- one open device
 *         buf     -- memory of the device, or host memory it uses in place
 *         queue   -- commands run in order; different queues run side by side if they can
 *         event   -- when a command of a queue is done, and how it went
 *         program -- compiled or loaded code: named kernels
 *
 * Copies, fills and launches are asynchronous: they put a command on a queue and return. A command
 * starts after all commands before it on its queue and after its `waits`, and signals its event.
 * A failure of the command itself is the event's result; commands that wait for a failed event,
 * and later commands of the same queue up to the next syn_dev_queue_clear(), do not run and fail
 * with CANCELED (a driver whose interface cannot do that lets them run; their results are void
 * anyway).
 *
 * Threads: a driver's and a device's calls may be made from any thread, at the same time. A queue
 * takes commands from one thread at a time: its user sees to that. An event may be polled and
 * waited for by any number of threads while no command that signals it is being given. Objects are
 * destroyed when nobody uses them; destroying a queue waits for its commands. Nothing but
 * `compile`, `event_wait`, `queue_destroy`, `reset` and the openings waits for a device or for
 * more than microseconds of driver work (an allocation may take what the vendor's does).
 *
 * Errors: LIMIT: a queue is full; UNAVAILABLE: the device is lost, now or earlier; NOMEM is host
 * memory; a device without room is the condition SYN_DRV_FULL; INVALID: the argument is beyond the
 * device's limits or the program does not compile (the message has the start of the log);
 * UNSUPPORTED; IO: the vendor's library refused, its own code and name are in the message. A driver
 * never asserts on an answer of a vendor's library. */
#ifndef SYNOR_COMPUTE_DRIVER_OPS_H
#define SYNOR_COMPUTE_DRIVER_OPS_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/device.h>
#include <synor/profile.h>

#define SYN_DRIVER_VERSION 1

/* Conditions: positive results. */
#define SYN_DRV_PENDING 1 /* of event_poll, event_wait: not done yet */
#define SYN_DRV_FULL    2 /* of alloc, host_alloc: the device has no room for that now */
#define SYN_DRV_ABSENT  3 /* of probe: nothing of this kind here; `err` says what was missing */

#define SYN_DRV_ARGS_MAX   32 /* arguments of a launch */
#define SYN_DRV_WAITS_MAX  32 /* events that one command waits for */
#define SYN_DRV_SOURCE_MAX ((size_t)16 << 20)
#define SYN_DRV_VALUE_MAX  256 /* bytes of one by-value argument */
#define SYN_DRV_NAME_MAX   128 /* of a kernel, its zero included */

struct syn_driver_ops;

/* What all drivers share of their objects. A driver embeds these first in its own. Users read the
 * fields and never write them. */

struct syn_driver {
    const struct syn_driver_ops *ops;
    char version[SYN_DEVICE_TEXT_MAX];
    unsigned devices; /* how many there are: 0 .. devices-1 can be described and opened */
};

struct syn_dev {
    const struct syn_driver_ops *ops;
    struct syn_driver *driver;
    struct syn_device_info info;
    unsigned node;          /* memory node; set by whoever opened the device through a registry */
    _Atomic bool abandoned; /* it does not answer: nothing of it is freed, see syn_dev_abandon() */
    _Atomic bool lost;      /* set once a call said UNAVAILABLE; cleared by reset */
};

struct syn_dev_buf {
    struct syn_dev *dev;
    uint64_t bytes;
    void *host;   /* where the CPU reaches it too, all the time; or NULL */
    bool wrapped; /* memory of the caller's: freed by him, after this */
};

struct syn_dev_queue {
    struct syn_dev *dev;
};

struct syn_dev_event {
    struct syn_dev *dev;
};

struct syn_dev_program {
    struct syn_dev *dev;
};

/** When a command ran, on the device's own clock (zero is some fixed moment). */
struct syn_dev_span {
    int64_t start_ns;
    int64_t end_ns;
    int64_t energy_uj; /* -1: unknown */
    bool modelled;     /* times and energy come from a profile */
};

/** How a command joins its queue. */
struct syn_dev_cmd {
    struct syn_dev_queue *queue;
    struct syn_dev_event *const *waits; /* of any queue of the same driver; each was given to a
                                           command before; may be NULL */
    size_t waits_count;                 /* 0 .. SYN_DRV_WAITS_MAX */
    struct syn_dev_event *signal;       /* may be NULL; not in use by another command */
};

/** One side of a copy: a buffer, or the host's memory. */
struct syn_dev_place {
    struct syn_dev_buf *buf; /* NULL: `host` */
    void *host;              /* valid until the command is done */
    uint64_t offset;         /* bytes from the start of either */
    uint64_t row_pitch;      /* bytes from a row to the next one */
    uint64_t slice_pitch;    /* bytes from a slice to the next one */
};

/** rows of `row_bytes`, `rows` a slice, `slices` of them: a box of a tensor. A plain copy has one
 * row and one slice, and its pitches do not matter. */
struct syn_dev_copy {
    struct syn_dev_place dst, src;
    uint64_t row_bytes;
    uint64_t rows;
    uint64_t slices;
};

/** A kernel as the CPU runs it: buffers arrive as pointers, values as pointers to their bytes. */
struct syn_native_call {
    void *const *args;
    const uint64_t *sizes; /* bytes behind args[i] */
    size_t args_count;
    uint64_t grid[3]; /* work items */
    const void *user; /* of struct syn_native_entry */
};

/** Returns 0 or an error, which becomes the event's. Thread: the queue's or the caller's. */
typedef int (*syn_native_fn)(const struct syn_native_call *call, struct syn_err *err);

struct syn_native_entry {
    const char *name; /* static, as is the table */
    syn_native_fn fn;
    const void *user;
};

/** What to compile. For SYN_FORMAT_NATIVE `entries` instead of `text`. */
struct syn_dev_source {
    enum syn_format format;
    const char *name; /* for messages */
    const char *text;
    size_t len;
    const char *options; /* the compiler's own; NULL: none */
    const struct syn_native_entry *entries;
    size_t entries_count;
};

enum syn_dev_arg_kind {
    SYN_ARG_BUF,   /* `buf` from `offset` on */
    SYN_ARG_VALUE, /* `bytes` at `value`, copied before the call returns */
    SYN_ARG_LOCAL, /* `bytes` of memory that a group shares */
};

struct syn_dev_arg {
    enum syn_dev_arg_kind kind;
    struct syn_dev_buf *buf;
    uint64_t offset;
    const void *value;
    uint64_t bytes;
};

struct syn_dev_launch {
    struct syn_dev_program *program;
    const char *kernel; /* the name in the program */
    uint64_t groups[3]; /* each at least 1 */
    unsigned group[3];  /* work items of one; each at least 1 */
    const struct syn_dev_arg *args;
    size_t args_count;
    struct syn_work work; /* what it costs; zero where unknown: a modelled device then charges the
                             bytes of its buffers */
};

/* What opening a driver needs to know. */
struct syn_driver_options {
    const char *modelled;                /* of syn_registry_options */
    const struct syn_profiles *profiles; /* never NULL */
    const char *sysfs;                   /* never NULL */
    const char *library;                 /* NULL: the vendor's; tests name a stand-in */
};

enum syn_queue_flag {
    SYN_QUEUE_INLINE = 1 << 0, /* CPU: run commands in the calling thread before returning; others
                                  ignore it */
    SYN_QUEUE_URGENT = 1 << 1, /* a hint: before others of this device */
};

/** A driver. Required operations first; optional ones may be NULL, and the device's caps say so. */
struct syn_driver_ops {
    uint32_t version; /* SYN_DRIVER_VERSION */
    const char *name; /* "cuda" */
    uint32_t kinds;   /* SYN_BIT(SYN_KIND_x) it can answer with */

    /** Load the vendor's library and count devices. 0; SYN_DRV_ABSENT (`err` set, driver not);
     * errors: it is there and does not work. May block for as long as the vendor's does: the
     * registry calls it from a thread that it can do without. */
    int (*open)(const struct syn_driver_options *options, struct syn_driver **ret_driver,
                struct syn_err *err);
    void (*close)(struct syn_driver *driver);
    /** Describe device `index` without opening it: everything but `id` and `profile`. */
    int (*describe)(struct syn_driver *driver, unsigned index, struct syn_device_info *ret,
                    struct syn_err *err);

    int (*dev_open)(struct syn_driver *driver, unsigned index, struct syn_dev **ret_dev,
                    struct syn_err *err);
    /** Everything made from it is gone by then. */
    void (*dev_close)(struct syn_dev *dev);

    /** 0, SYN_DRV_FULL, errors. `bytes` > 0. The content is undefined. Aligned to 64 bytes. */
    int (*alloc)(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
                 struct syn_err *err);
    /** Commands that use it are done. Also of a lost device; cannot fail for the caller. */
    void (*free)(struct syn_dev_buf *buf);

    int (*queue_create)(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                        struct syn_err *err);
    /** Waits for its commands; on a lost device only for those that still run. */
    void (*queue_destroy)(struct syn_dev_queue *queue);
    /** Forget an earlier failure: later commands run again. */
    void (*queue_clear)(struct syn_dev_queue *queue);

    int (*event_create)(struct syn_dev *dev, struct syn_dev_event **ret_event, struct syn_err *err);
    void (*event_destroy)(struct syn_dev_event *event);
    /** 0: done well; SYN_DRV_PENDING; the command's error. An event never given to a command is
     * done. */
    int (*event_poll)(struct syn_dev_event *event, struct syn_err *err);
    /** The same, waiting up to timeout_ns (0: as poll; < 0: for ever). */
    int (*event_wait)(struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err);
    /** Of an event that is done. UNSUPPORTED where caps lack SYN_CAP_TIMES. */
    int (*event_span)(struct syn_dev_event *event, struct syn_dev_span *ret, struct syn_err *err);

    /** Between the host and this device, or within it. */
    int (*copy)(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                struct syn_err *err);
    /** Set `bytes` from `offset` on to the byte `value`. */
    int (*fill)(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                const struct syn_dev_cmd *cmd, struct syn_err *err);

    /** Source or binary to program. Blocks for the compiler. */
    int (*compile)(struct syn_dev *dev, const struct syn_dev_source *source,
                   struct syn_dev_program **ret_program, struct syn_err *err);
    void (*program_free)(struct syn_dev_program *program);
    int (*launch)(struct syn_dev *dev, const struct syn_dev_launch *launch,
                  const struct syn_dev_cmd *cmd, struct syn_err *err);

    int (*health)(struct syn_dev *dev, struct syn_device_health *ret, struct syn_err *err);

    /* Optional from here on. */

    /** SYN_CAP_PEER_COPY: between this device and another one of the driver, `can_peer` said yes.
     * The queue is of either. */
    bool (*can_peer)(struct syn_dev *dev, struct syn_dev *other);
    int (*peer_copy)(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                     struct syn_err *err);

    /** SYN_CAP_HOST_PINNED: 0, SYN_DRV_FULL, errors. */
    int (*host_alloc)(struct syn_dev *dev, uint64_t bytes, void **ret_host, struct syn_err *err);
    void (*host_free)(struct syn_dev *dev, void *host);
    /** SYN_CAP_HOST_REGISTER: pin and unpin memory of the caller's; the whole range at once. */
    int (*host_register)(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_err *err);
    void (*host_unregister)(struct syn_dev *dev, void *host);
    /** SYN_CAP_HOST_WRAP: a buffer over memory of the caller's, which must outlive it. */
    int (*host_wrap)(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_dev_buf **ret_buf,
                     struct syn_err *err);

    /** SYN_CAP_NOTIFY: call fn(arg) from some thread once the event is done (at once, from this
     * thread, when it is already). `fn` is short and makes no call of the driver. */
    int (*event_notify)(struct syn_dev_event *event, void (*fn)(void *arg), void *arg,
                        struct syn_err *err);

    /** SYN_CAP_POWER. */
    int (*power)(struct syn_dev *dev, struct syn_device_power *ret, struct syn_err *err);
    /** SYN_CAP_RESET: everything made from the device is void and only good for being freed. */
    int (*reset)(struct syn_dev *dev, struct syn_err *err);
};

#endif
