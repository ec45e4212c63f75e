#include <synor/compute/driver.h>

#include <stdatomic.h>
#include <stdio.h>

#include "host_queue_priv.h"

/* The armed fault. Tests only; a relaxed load is all that an ordinary call pays. */
static struct {
    _Atomic bool on;
    _Atomic uint64_t left;  /* calls until it strikes; 0: not armed */
    _Atomic uint64_t count; /* calls since the last arm */
    struct syn_dev *_Atomic dev;
    _Atomic int fault;
} armed;

void
syn_dev_fault_arm(struct syn_dev *dev, enum syn_dev_fault fault, uint64_t nth)
{
    atomic_store(&armed.left, 0);
    atomic_store(&armed.count, 0);
    atomic_store(&armed.dev, dev);
    atomic_store(&armed.fault, (int)fault);
    atomic_store(&armed.left, nth);
    atomic_store(&armed.on, nth > 0);
}

uint64_t
syn_dev_fault_count(void)
{
    return atomic_load(&armed.count);
}

/* Does the armed fault strike this call? */
static bool
struck(struct syn_dev *dev)
{
    uint64_t left;
    struct syn_dev *only;

    if (!atomic_load_explicit(&armed.on, memory_order_relaxed))
        return false;
    only = atomic_load(&armed.dev);
    if (only && only != dev)
        return false;
    left = atomic_load(&armed.left);
    (void)atomic_fetch_add(&armed.count, 1);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&armed.left, &left, left - 1))
            return left == 1;
    }
    return false;
}

/* What every call that can fail starts with: a lost device takes no calls. */
static int
enter(struct syn_dev *dev, const char *what, struct syn_err *err)
{
    int fault = atomic_load_explicit(&armed.fault, memory_order_relaxed);

    SYN_PERTURB();
    if (fault != SYN_DEV_FAULT_FULL && struck(dev)) {
        if (fault == SYN_DEV_FAULT_IO)
            return SYN_FAIL(err, SYN_E_IO, "%s: %s: injected fault", dev->info.id, what);
        atomic_store(&dev->lost, true);
    }
    if (atomic_load_explicit(&dev->lost, memory_order_acquire))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s is lost: %s", dev->info.id, what);
    return SYN_OK;
}

static int
enter_alloc(struct syn_dev *dev, const char *what, struct syn_err *err)
{
    int rc = enter(dev, what, err);

    if (rc == SYN_OK && atomic_load(&armed.fault) == SYN_DEV_FAULT_FULL && struck(dev))
        return SYN_DRV_FULL;
    return rc;
}

/* What every such call ends with: the loss of a device is remembered. */
static int
leave(struct syn_dev *dev, int rc)
{
    if (rc == SYN_E_UNAVAILABLE)
        atomic_store(&dev->lost, true);
    return rc;
}

int
syn_dev_open_in(struct syn_driver *driver, unsigned index, struct syn_dev **ret_dev,
                struct syn_err *err)
{
    const struct syn_driver_ops *ops = driver->ops;
    struct syn_device_info info = {.numa_node = -1};
    struct syn_dev *dev = NULL;
    int rc;

    if (index >= driver->devices)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has %u devices, no number %u", ops->name,
                        driver->devices, index);
    rc = ops->describe(driver, index, &info, err);
    if (rc == SYN_OK)
        rc = ops->dev_open(driver, index, &dev, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "opening %s%u", ops->name, index);
    assert(dev != NULL);
    dev->ops = ops;
    dev->driver = driver;
    dev->info = info;
    dev->info.index = index;
    (void)snprintf(dev->info.driver, sizeof(dev->info.driver), "%s", ops->name);
    (void)snprintf(dev->info.id, sizeof(dev->info.id), "%s%u", ops->name, index);
    *ret_dev = dev;
    return SYN_OK;
}

struct syn_dev *
syn_dev_close(struct syn_dev *dev)
{
    if (dev && !syn_dev_is_abandoned(dev))
        dev->ops->dev_close(dev);
    return NULL;
}

void
syn_dev_abandon(struct syn_dev *dev)
{
    atomic_store(&dev->lost, true);
    atomic_store(&dev->abandoned, true);
}

bool
syn_dev_is_abandoned(const struct syn_dev *dev)
{
    return atomic_load_explicit(&dev->abandoned, memory_order_acquire);
}

void
syn_dev_close_scope(struct syn_dev **slot)
{
    *slot = syn_dev_close(*slot);
}

int
syn_dev_alloc(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
              struct syn_err *err)
{
    struct syn_dev_buf *buf = NULL;
    int rc;

    if (bytes == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a buffer of 0 bytes", dev->info.id);
    rc = enter_alloc(dev, "alloc", err);
    if (rc == SYN_OK && bytes > INT64_MAX)
        rc = SYN_DRV_FULL;
    if (rc == SYN_OK && dev->info.alloc_max_bytes > 0 && bytes > dev->info.alloc_max_bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a buffer has at most %llu bytes, not %llu",
                        dev->info.id, (unsigned long long)dev->info.alloc_max_bytes,
                        (unsigned long long)bytes);
    if (rc == SYN_OK)
        rc = leave(dev, dev->ops->alloc(dev, bytes, &buf, err));
    if (rc != SYN_OK)
        return rc;
    buf->dev = dev;
    buf->bytes = bytes;
    *ret_buf = buf;
    return SYN_OK;
}

int
syn_dev_wrap(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_dev_buf **ret_buf,
             struct syn_err *err)
{
    struct syn_dev_buf *buf = NULL;
    int rc;

    if (!(dev->info.caps & SYN_CAP_HOST_WRAP))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s cannot use host memory in place", dev->info.id);
    if (bytes == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a buffer of 0 bytes", dev->info.id);
    rc = enter(dev, "wrap", err);
    if (rc == SYN_OK)
        rc = leave(dev, dev->ops->host_wrap(dev, host, bytes, &buf, err));
    if (rc != SYN_OK)
        return rc;
    buf->dev = dev;
    buf->bytes = bytes;
    buf->wrapped = true;
    *ret_buf = buf;
    return SYN_OK;
}

struct syn_dev_buf *
syn_dev_free(struct syn_dev_buf *buf)
{
    if (buf && !syn_dev_is_abandoned(buf->dev))
        buf->dev->ops->free(buf);
    return NULL;
}

int
syn_dev_host_alloc(struct syn_dev *dev, uint64_t bytes, void **ret_host, struct syn_err *err)
{
    void *host = NULL;
    int rc = enter_alloc(dev, "host_alloc", err);

    if (rc != SYN_OK)
        return rc;
    if (dev->info.caps & SYN_CAP_HOST_PINNED) {
        rc = leave(dev, dev->ops->host_alloc(dev, bytes, &host, err));
        if (rc != SYN_OK)
            return rc;
    } else {
        host = syn_host_block(bytes);
        if (!host)
            return SYN_FAIL(err, SYN_E_NOMEM, "%s: %llu bytes of host memory", dev->info.id,
                            (unsigned long long)bytes);
    }
    *ret_host = host;
    return SYN_OK;
}

void
syn_dev_host_free(struct syn_dev *dev, void *host)
{
    if (syn_dev_is_abandoned(dev))
        return;
    if (host && dev->info.caps & SYN_CAP_HOST_PINNED)
        dev->ops->host_free(dev, host);
    else
        syn_host_block_free(host);
}

int
syn_dev_host_register(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_err *err)
{
    int rc = enter(dev, "host_register", err);

    if (rc == SYN_OK && dev->info.caps & SYN_CAP_HOST_REGISTER)
        rc = leave(dev, dev->ops->host_register(dev, host, bytes, err));
    return rc;
}

void
syn_dev_host_unregister(struct syn_dev *dev, void *host)
{
    if (dev->info.caps & SYN_CAP_HOST_REGISTER && !syn_dev_is_abandoned(dev))
        dev->ops->host_unregister(dev, host);
}

int
syn_dev_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                     struct syn_err *err)
{
    struct syn_dev_queue *queue = NULL;
    int rc = enter(dev, "queue_create", err);

    if (rc == SYN_OK)
        rc = leave(dev, dev->ops->queue_create(dev, flags, &queue, err));
    if (rc != SYN_OK)
        return rc;
    queue->dev = dev;
    *ret_queue = queue;
    return SYN_OK;
}

struct syn_dev_queue *
syn_dev_queue_destroy(struct syn_dev_queue *queue)
{
    if (queue && !syn_dev_is_abandoned(queue->dev))
        queue->dev->ops->queue_destroy(queue);
    return NULL;
}

void
syn_dev_queue_clear(struct syn_dev_queue *queue)
{
    queue->dev->ops->queue_clear(queue);
}

int
syn_dev_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event, struct syn_err *err)
{
    struct syn_dev_event *event = NULL;
    int rc = enter(dev, "event_create", err);

    if (rc == SYN_OK)
        rc = leave(dev, dev->ops->event_create(dev, &event, err));
    if (rc != SYN_OK)
        return rc;
    event->dev = dev;
    *ret_event = event;
    return SYN_OK;
}

struct syn_dev_event *
syn_dev_event_destroy(struct syn_dev_event *event)
{
    if (event && !syn_dev_is_abandoned(event->dev))
        event->dev->ops->event_destroy(event);
    return NULL;
}

int
syn_dev_event_poll(struct syn_dev_event *event, struct syn_err *err)
{
    int rc = enter(event->dev, "event_poll", err);

    return rc < 0 ? rc : leave(event->dev, event->dev->ops->event_poll(event, err));
}

int
syn_dev_event_wait(struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err)
{
    int rc = enter(event->dev, "event_wait", err);

    return rc < 0 ? rc : leave(event->dev, event->dev->ops->event_wait(event, timeout_ns, err));
}

int
syn_dev_event_span(struct syn_dev_event *event, struct syn_dev_span *ret, struct syn_err *err)
{
    int rc = enter(event->dev, "event_span", err);

    if (rc == SYN_OK && !(event->dev->info.caps & SYN_CAP_TIMES))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s does not time its commands",
                        event->dev->info.id);
    return rc < 0 ? rc : leave(event->dev, event->dev->ops->event_span(event, ret, err));
}

int
syn_dev_event_notify(struct syn_dev_event *event, void (*fn)(void *arg), void *arg,
                     struct syn_err *err)
{
    int rc = enter(event->dev, "event_notify", err);

    if (rc == SYN_OK && !(event->dev->info.caps & SYN_CAP_NOTIFY))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s does not call back", event->dev->info.id);
    return rc < 0 ? rc : leave(event->dev, event->dev->ops->event_notify(event, fn, arg, err));
}

static int
check_cmd(const struct syn_dev *dev, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    assert(cmd->queue && (cmd->waits || cmd->waits_count == 0));
    if (cmd->waits_count > SYN_DRV_WAITS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: a command waits for at most %d events, not %zu",
                        dev->info.id, SYN_DRV_WAITS_MAX, cmd->waits_count);
    return SYN_OK;
}

/* The bytes from `offset` to the end of a box of the copy's shape fit into the buffer. */
static int
check_place(const struct syn_dev *dev, const struct syn_dev_place *place,
            const struct syn_dev_copy *copy, const char *side, struct syn_err *err)
{
    syn_u128 end = copy->row_bytes;

    if (copy->rows > 1 && place->row_pitch < copy->row_bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: copy: the rows of its %s overlap", dev->info.id,
                        side);
    if (copy->slices > 1 && (syn_u128)place->slice_pitch <
                                (syn_u128)place->row_pitch * (copy->rows - 1) + copy->row_bytes)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: copy: the slices of its %s overlap", dev->info.id,
                        side);
    end += place->offset;
    end += (syn_u128)(copy->rows - 1) * (copy->rows > 1 ? place->row_pitch : 0);
    end += (syn_u128)(copy->slices - 1) * (copy->slices > 1 ? place->slice_pitch : 0);
    if (place->buf ? end > place->buf->bytes : !place->host || end > INT64_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: copy: its %s leaves the buffer", dev->info.id,
                        side);
    return SYN_OK;
}

bool
syn_dev_can_peer(struct syn_dev *dev, struct syn_dev *other)
{
    return dev->ops == other->ops && dev->info.caps & SYN_CAP_PEER_COPY &&
           other->info.caps & SYN_CAP_PEER_COPY && dev->ops->can_peer(dev, other);
}

int
syn_dev_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
             struct syn_err *err)
{
    struct syn_dev_copy plain = *copy;
    bool peer = copy->dst.buf && copy->src.buf && copy->dst.buf->dev != copy->src.buf->dev;
    int rc;

    if (copy->row_bytes == 0 || copy->rows == 0 || copy->slices == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a copy of nothing", dev->info.id);
    if (!copy->dst.buf && !copy->src.buf)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a copy without the device", dev->info.id);
    rc = check_place(dev, &copy->dst, copy, "destination", err);
    rc = rc < 0 ? rc : check_place(dev, &copy->src, copy, "source", err);
    rc = rc < 0 ? rc : check_cmd(dev, cmd, err);
    rc = rc < 0 ? rc : enter(dev, "copy", err);
    if (rc < 0)
        return rc;
    /* Drivers never see pitches that do not matter. */
    if (copy->rows == 1)
        plain.dst.row_pitch = plain.src.row_pitch = copy->row_bytes;
    if (copy->slices == 1) {
        plain.dst.slice_pitch = plain.dst.row_pitch * copy->rows;
        plain.src.slice_pitch = plain.src.row_pitch * copy->rows;
    }
    if (!peer)
        return leave(dev, dev->ops->copy(dev, &plain, cmd, err));
    if (!syn_dev_can_peer(copy->dst.buf->dev, copy->src.buf->dev))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s and %s cannot copy to each other",
                        copy->src.buf->dev->info.id, copy->dst.buf->dev->info.id);
    return leave(dev, dev->ops->peer_copy(&plain, cmd, err));
}

int
syn_dev_write(struct syn_dev_buf *dst, uint64_t offset, const void *src, uint64_t bytes,
              const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct syn_dev_copy copy = {.row_bytes = bytes, .rows = 1, .slices = 1};
    union {
        const void *from;
        void *to;
    } host = {src}; /* a source is only read */

    copy.dst = (struct syn_dev_place){.buf = dst, .offset = offset};
    copy.src = (struct syn_dev_place){.host = host.to};
    return syn_dev_copy(dst->dev, &copy, cmd, err);
}

int
syn_dev_read(void *dst, struct syn_dev_buf *src, uint64_t offset, uint64_t bytes,
             const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct syn_dev_copy copy = {.row_bytes = bytes, .rows = 1, .slices = 1};

    copy.dst = (struct syn_dev_place){.host = dst};
    copy.src = (struct syn_dev_place){.buf = src, .offset = offset};
    return syn_dev_copy(src->dev, &copy, cmd, err);
}

int
syn_dev_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
             const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct syn_dev *dev = buf->dev;
    int rc;

    if (bytes == 0 || offset > buf->bytes || bytes > buf->bytes - offset)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a fill leaves the buffer", dev->info.id);
    rc = check_cmd(dev, cmd, err);
    rc = rc < 0 ? rc : enter(dev, "fill", err);
    return rc < 0 ? rc : leave(dev, dev->ops->fill(buf, offset, bytes, value, cmd, err));
}

int
syn_dev_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                struct syn_dev_program **ret_program, struct syn_err *err)
{
    struct syn_dev_program *program = NULL;
    int rc;

    if (!(dev->info.formats & SYN_BIT(source->format)))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s takes no %s", dev->info.id,
                        syn_format_name(source->format));
    if (source->len > SYN_DRV_SOURCE_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%s: %s: a program has at most %zu bytes", dev->info.id,
                        source->name, SYN_DRV_SOURCE_MAX);
    rc = enter(dev, "compile", err);
    if (rc == SYN_OK)
        rc = leave(dev, dev->ops->compile(dev, source, &program, err));
    if (rc != SYN_OK)
        return rc;
    program->dev = dev;
    *ret_program = program;
    return SYN_OK;
}

struct syn_dev_program *
syn_dev_program_free(struct syn_dev_program *program)
{
    if (program && !syn_dev_is_abandoned(program->dev))
        program->dev->ops->program_free(program);
    return NULL;
}

static int
check_arg(const struct syn_dev *dev, const struct syn_dev_launch *launch, size_t index,
          struct syn_err *err)
{
    const struct syn_dev_arg *arg = &launch->args[index];
    bool ok = false;

    switch (arg->kind) {
    case SYN_ARG_BUF:
        ok = arg->buf && arg->offset < arg->buf->bytes;
        break;
    case SYN_ARG_VALUE:
        ok = arg->value && arg->bytes > 0 && arg->bytes <= SYN_DRV_VALUE_MAX;
        break;
    case SYN_ARG_LOCAL:
        ok = arg->bytes > 0 && (dev->info.local_bytes == 0 || arg->bytes <= dev->info.local_bytes);
        break;
    }
    if (!ok)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %s: argument %zu is out of its limits",
                        dev->info.id, launch->kernel, index);
    return SYN_OK;
}

static int
check_launch(const struct syn_dev *dev, const struct syn_dev_launch *launch, struct syn_err *err)
{
    uint64_t items = 1;
    int rc = SYN_OK;

    if (launch->args_count > SYN_DRV_ARGS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: %s: at most %d arguments, not %zu", dev->info.id,
                        launch->kernel, SYN_DRV_ARGS_MAX, launch->args_count);
    for (int i = 0; i < 3; i++) {
        if (launch->groups[i] == 0 || launch->groups[i] > UINT32_MAX || launch->group[i] == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: %s: the grid has no items in direction %d",
                            dev->info.id, launch->kernel, i);
        items *= launch->group[i]; /* each is below 2^32: checked against the limit as it grows */
        if (items > (dev->info.group_max > 0 ? dev->info.group_max : UINT32_MAX))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: %s: a group has at most %u items",
                            dev->info.id, launch->kernel, dev->info.group_max);
    }
    for (size_t i = 0; rc == SYN_OK && i < launch->args_count; i++)
        rc = check_arg(dev, launch, i, err);
    return rc;
}

int
syn_dev_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
               const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    int rc = check_launch(dev, launch, err);

    assert(launch->program->dev == dev);
    rc = rc < 0 ? rc : check_cmd(dev, cmd, err);
    rc = rc < 0 ? rc : enter(dev, "launch", err);
    return rc < 0 ? rc : leave(dev, dev->ops->launch(dev, launch, cmd, err));
}

int
syn_dev_health(struct syn_dev *dev, struct syn_device_health *ret, struct syn_err *err)
{
    struct syn_device_health health = {
        .memory_free_bytes = -1, .temperature_c = -1, .load_permille = -1};
    int rc = enter(dev, "health", err);

    rc = rc < 0 ? rc : leave(dev, dev->ops->health(dev, &health, err));
    if (rc < 0)
        return rc;
    if (health.state == SYN_DEVICE_LOST)
        atomic_store(&dev->lost, true);
    *ret = health;
    return SYN_OK;
}

int
syn_dev_power(struct syn_dev *dev, struct syn_device_power *ret, struct syn_err *err)
{
    struct syn_device_power power = {.now_mw = -1, .total_uj = -1, .limit_mw = -1};
    int rc;

    if (!(dev->info.caps & SYN_CAP_POWER))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "nobody knows the power of %s", dev->info.id);
    rc = enter(dev, "power", err);
    rc = rc < 0 ? rc : leave(dev, dev->ops->power(dev, &power, err));
    if (rc == SYN_OK)
        *ret = power;
    return rc;
}

int
syn_dev_reset(struct syn_dev *dev, struct syn_err *err)
{
    int rc;

    if (!(dev->info.caps & SYN_CAP_RESET))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s cannot be reset", dev->info.id);
    if (syn_dev_is_abandoned(dev))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s does not answer", dev->info.id);
    rc = dev->ops->reset(dev, err);
    if (rc == SYN_OK)
        atomic_store(&dev->lost, false);
    return rc;
}
