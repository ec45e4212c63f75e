/* Devices made from capability profiles. Kernels and copies are done by the host, at once; what a
 * command would have taken on the device is worked out from the profile and put on a timeline of
 * the driver's own, which begins at 0 and only moves with work:
 *
 *     start = latest of: the queue's last end, the ends of what it waited for,
 *                        when the engine it needs is free
 *     end   = start + modelled duration
 *
 * A device has one engine for kernels and one for copies in each direction, as most cards do, so
 * that copies overlap with kernels and two queues do not get twice the arithmetic. Commands take an
 * engine in the order in which they really finish, which for independent queues is not repeatable:
 * planning that must be uses synor/plan.h, which needs no device at all. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "host_queue_priv.h"

enum engine { ENGINE_KERNEL, ENGINE_TO_DEVICE, ENGINE_FROM_DEVICE, ENGINES };

struct modelled_driver {
    struct syn_driver base;
    const struct syn_profile *rated[SYN_DEVICES_MAX]; /* borrowed from the profiles */
};

struct modelled_dev {
    struct syn_dev base;
    struct syn_profile profile; /* without holes */
    pthread_mutex_t lock;       /* guards what follows */
    uint64_t used_bytes;
    int64_t free_ns[ENGINES];
    int64_t busy_ns; /* of the kernel engine */
    int64_t last_ns;
    int64_t total_uj;
};

static struct modelled_dev *
dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct modelled_dev, base);
}

char *
syn_list_next(char **cursor)
{
    char *part = NULL;

    while ((part = strsep(cursor, ","))) {
        part += strspn(part, " ");
        part[strcspn(part, " ")] = '\0';
        if (*part != '\0')
            return part;
    }
    return NULL;
}

static int
take_list(struct modelled_driver *driver, const struct syn_driver_options *options,
          struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *list = syn_strdup(options->modelled);
    char *cursor = list;
    const char *name = NULL;

    if (!list)
        return SYN_FAIL(err, SYN_E_NOMEM, "modelled devices");
    while ((name = syn_list_next(&cursor))) {
        const struct syn_profile *profile = syn_profiles_find(options->profiles, name);

        if (!profile)
            return SYN_FAIL(err, SYN_E_INVALID, "no capability profile is called %s", name);
        if (driver->base.devices == SYN_DEVICES_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %d modelled devices", SYN_DEVICES_MAX);
        driver->rated[driver->base.devices++] = profile;
    }
    return SYN_OK;
}

static int
modelled_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
              struct syn_err *err)
{
    struct modelled_driver *driver = NULL;
    int rc;

    if (!options->modelled || options->modelled[0] == '\0') {
        (void)SYN_FAIL(err, SYN_E_NOTFOUND, "no modelled devices were asked for");
        return SYN_DRV_ABSENT;
    }
    driver = syn_calloc(1, sizeof(*driver));
    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "modelled driver");
    driver->base.ops = &syn_driver_modelled;
    (void)snprintf(driver->base.version, sizeof(driver->base.version), "synor " SYN_VERSION);
    rc = take_list(driver, options, err);
    if (rc < 0)
        syn_free(driver);
    else
        *ret_driver = &driver->base;
    return rc;
}

static void
modelled_close(struct syn_driver *driver)
{
    syn_free(SYN_CONTAINER(driver, struct modelled_driver, base));
}

static int
modelled_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
                  struct syn_err *err)
{
    const struct modelled_driver *driver = SYN_CONTAINER(base, struct modelled_driver, base);
    const struct syn_profile *rated = driver->rated[index];
    struct syn_profile whole;

    (void)err;
    (void)syn_profile_assume(rated, &whole);
    *ret = (struct syn_device_info){
        .kind = rated->kind,
        .modelled = true,
        .numa_node = -1,
        .units = rated->units,
        .clock_mhz = rated->clock_mhz,
        .memory_bytes = whole.memory_bytes,
        .memory_mb_s = whole.memory_mb_s,
        .alloc_max_bytes = rated->alloc_max_bytes,
        .local_bytes = rated->local_bytes,
        .group_max = rated->group_max > 0 ? rated->group_max : 1024,
        .queues_max = rated->queues_max > 0 ? rated->queues_max : 128,
        .caps = SYN_CAP_PEER_COPY | SYN_CAP_TIMES | SYN_CAP_POWER | SYN_CAP_RESET |
                SYN_CAP_OVERLAP | SYN_CAP_NOTIFY,
        .dtypes = rated->dtypes,
        .formats = SYN_BIT(SYN_FORMAT_NATIVE),
    };
    (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), rated->vendor);
    (void)syn_str_copy(ret->model, sizeof(ret->model), rated->title);
    (void)syn_str_copy(ret->version, sizeof(ret->version), base->version);
    (void)syn_str_copy(ret->profile, sizeof(ret->profile), rated->name);
    return SYN_OK;
}

static int
modelled_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev,
                  struct syn_err *err)
{
    const struct modelled_driver *driver = SYN_CONTAINER(base, struct modelled_driver, base);
    struct modelled_dev *dev = syn_calloc(1, sizeof(*dev));

    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    (void)syn_profile_assume(driver->rated[index], &dev->profile);
    (void)pthread_mutex_init(&dev->lock, NULL);
    *ret_dev = &dev->base;
    return SYN_OK;
}

static void
modelled_dev_close(struct syn_dev *base)
{
    struct modelled_dev *dev = dev_of(base);

    assert(dev->used_bytes == 0); /* everything made from it is gone */
    (void)pthread_mutex_destroy(&dev->lock);
    syn_free(dev);
}

static int
modelled_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf,
               struct syn_err *err)
{
    struct modelled_dev *dev = dev_of(base);
    bool room;
    int rc;

    (void)pthread_mutex_lock(&dev->lock);
    room = bytes <= dev->profile.memory_bytes - dev->used_bytes;
    if (room)
        dev->used_bytes += bytes;
    (void)pthread_mutex_unlock(&dev->lock);
    if (!room)
        return SYN_DRV_FULL;
    rc = syn_host_alloc(base, bytes, ret_buf, err);
    if (rc == SYN_OK) {
        (*ret_buf)->host = NULL; /* a device's memory, which the CPU does not reach */
        return SYN_OK;
    }
    (void)pthread_mutex_lock(&dev->lock);
    dev->used_bytes -= bytes;
    (void)pthread_mutex_unlock(&dev->lock);
    return rc;
}

static void
modelled_free(struct syn_dev_buf *buf)
{
    struct modelled_dev *dev = dev_of(buf->dev);

    (void)pthread_mutex_lock(&dev->lock);
    dev->used_bytes -= buf->bytes;
    (void)pthread_mutex_unlock(&dev->lock);
    syn_host_free(buf);
}

/* A copy within a device is bound by its memory, each byte read and written. */
static int64_t
copy_ns(const struct modelled_dev *dev, const struct syn_dev_copy *copy, enum engine *ret_engine)
{
    uint64_t bytes = copy->row_bytes * copy->rows * copy->slices;
    const struct syn_dev_buf *dst = copy->dst.buf, *src = copy->src.buf;
    const struct syn_work within = {.read_bytes = bytes, .written_bytes = bytes};

    *ret_engine = dst && dst->dev == &dev->base ? ENGINE_TO_DEVICE : ENGINE_FROM_DEVICE;
    if (!dst || !src)
        return syn_profile_link_ns(&dev->profile.host, bytes);
    if (dst->dev == src->dev) {
        *ret_engine = ENGINE_KERNEL;
        return syn_profile_work_ns(&dev->profile, &within);
    }
    /* Between devices the slower of the two links counts. */
    return SYN_MAX(syn_profile_link_ns(&dev_of(dst->dev)->profile.peer, bytes),
                   syn_profile_link_ns(&dev_of(src->dev)->profile.peer, bytes));
}

static int64_t
add_saturated(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* Put a command on the timeline. */
static void
charge(const struct syn_host_ran *ran, struct syn_dev_span *span)
{
    struct modelled_dev *dev = dev_of(ran->dev);
    enum engine engine = ENGINE_KERNEL;
    struct syn_work work = {0};
    int64_t ns = 0, uj = 0;

    if (ran->op == SYN_HOST_LAUNCH)
        work = *ran->work;
    if (ran->op == SYN_HOST_LAUNCH && work.flops == 0 && work.read_bytes + work.written_bytes == 0)
        work.read_bytes = ran->args_bytes;
    if (ran->op == SYN_HOST_FILL)
        work.written_bytes = ran->fill_bytes;
    if (ran->done && ran->op == SYN_HOST_COPY)
        ns = copy_ns(dev, ran->copy, &engine);
    else if (ran->done)
        ns = syn_profile_work_ns(&dev->profile, &work);
    uj = syn_profile_work_uj(&dev->profile, &work, ns);
    (void)pthread_mutex_lock(&dev->lock);
    span->start_ns = SYN_MAX(ran->after_ns, ran->done ? dev->free_ns[engine] : 0);
    span->end_ns = add_saturated(span->start_ns, ns);
    span->energy_uj = uj;
    span->modelled = true;
    if (ran->done)
        dev->free_ns[engine] = span->end_ns;
    if (engine == ENGINE_KERNEL)
        dev->busy_ns = add_saturated(dev->busy_ns, ns);
    dev->last_ns = SYN_MAX(dev->last_ns, span->end_ns);
    dev->total_uj = add_saturated(dev->total_uj, uj);
    (void)pthread_mutex_unlock(&dev->lock);
}

static int
modelled_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                      struct syn_err *err)
{
    return syn_host_queue_create(dev, flags, charge, ret_queue, err);
}

static int
modelled_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
                const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct modelled_dev *dev = dev_of(base);

    if (launch->work.flops > 0 && dev->profile.flops_m[launch->work.dtype] == 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s (%s) does not compute with %s", base->info.id,
                        dev->profile.name, syn_dtype_name(launch->work.dtype));
    return syn_host_launch(base, launch, cmd, err);
}

static bool
modelled_can_peer(struct syn_dev *dev, struct syn_dev *other)
{
    const struct syn_profile *a = &dev_of(dev)->profile, *b = &dev_of(other)->profile;

    return dev != other && a->peer.name[0] != '\0' && strcmp(a->peer.name, b->peer.name) == 0;
}

static int
modelled_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    struct modelled_dev *dev = dev_of(base);

    (void)err;
    (void)pthread_mutex_lock(&dev->lock);
    ret->state = SYN_DEVICE_OK;
    ret->memory_free_bytes = (int64_t)(dev->profile.memory_bytes - dev->used_bytes);
    (void)pthread_mutex_unlock(&dev->lock);
    return SYN_OK;
}

/* Mean power over the timeline so far. */
static int
modelled_power(struct syn_dev *base, struct syn_device_power *ret, struct syn_err *err)
{
    struct modelled_dev *dev = dev_of(base);
    unsigned load = 0;

    (void)err;
    (void)pthread_mutex_lock(&dev->lock);
    if (dev->last_ns > 0)
        load = (unsigned)((syn_i128)SYN_MIN(dev->busy_ns, dev->last_ns) * 1000 / dev->last_ns);
    ret->source = SYN_POWER_MODELLED;
    ret->now_mw = syn_profile_power_mw(&dev->profile, load);
    ret->total_uj = dev->total_uj;
    ret->limit_mw = (int64_t)dev->profile.tdp_mw;
    (void)pthread_mutex_unlock(&dev->lock);
    return SYN_OK;
}

static int
modelled_reset(struct syn_dev *dev, struct syn_err *err)
{
    (void)dev;
    (void)err;
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_modelled = {
    .version = SYN_DRIVER_VERSION,
    .name = "modelled",
    .kinds = (UINT32_C(1) << SYN_KINDS) - 1,
    .open = modelled_open,
    .close = modelled_close,
    .describe = modelled_describe,
    .dev_open = modelled_dev_open,
    .dev_close = modelled_dev_close,
    .alloc = modelled_alloc,
    .free = modelled_free,
    .queue_create = modelled_queue_create,
    .queue_destroy = syn_host_queue_destroy,
    .queue_clear = syn_host_queue_clear,
    .event_create = syn_host_event_create,
    .event_destroy = syn_host_event_destroy,
    .event_poll = syn_host_event_poll,
    .event_wait = syn_host_event_wait,
    .event_span = syn_host_event_span,
    .copy = syn_host_copy,
    .fill = syn_host_fill,
    .compile = syn_host_compile,
    .program_free = syn_host_program_free,
    .launch = modelled_launch,
    .health = modelled_health,
    .can_peer = modelled_can_peer,
    .peer_copy = syn_host_peer_copy,
    .event_notify = syn_host_event_notify,
    .power = modelled_power,
    .reset = modelled_reset,
};
