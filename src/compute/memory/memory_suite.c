#include "memory_suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int
take_device(struct mrig *rig, struct syn_dev *dev, struct syn_err *err)
{
    int rc = SYN_OK;

    rig->devs[rig->devs_count++] = dev;
    rig->nodes = SYN_MAX(rig->nodes, dev->node + 1);
    if (dev->node != SYN_NODE_HOST)
        rc = syn_dev_event_create(dev, &rig->events[dev->node], err);
    return rc;
}

static int
open_memory(struct mrig *rig, const uint64_t *node_bytes, size_t node_bytes_count,
            struct syn_err *err)
{
    const struct syn_memory_options options = {.devs = rig->devs,
                                               .devs_count = rig->devs_count,
                                               .registry = rig->registry,
                                               .node_bytes = node_bytes,
                                               .node_bytes_count = node_bytes_count};

    return syn_memory_open(&options, &rig->memory, err);
}

int
mrig_init(struct mrig *rig, const char *drivers, const char *modelled, const uint64_t *node_bytes,
          size_t node_bytes_count, struct syn_err *err)
{
    const struct syn_registry_options options = {.drivers = drivers, .modelled = modelled};
    int rc = syn_registry_open(&options, &rig->registry, err);

    rig->nodes = 1;
    for (size_t i = 0; rc == SYN_OK && i < syn_registry_count(rig->registry); i++) {
        struct syn_dev *dev = NULL;

        rc = syn_dev_open(rig->registry, i, &dev, err);
        rc = rc < 0 ? rc : take_device(rig, dev, err);
    }
    return rc < 0 ? rc : open_memory(rig, node_bytes, node_bytes_count, err);
}

int
mrig_init_driver(struct mrig *rig, const char *driver, const char *library,
                 const uint64_t *node_bytes, size_t node_bytes_count, struct syn_err *err)
{
    const struct syn_driver_options options = {
        .profiles = syn_profiles_builtin(), .sysfs = "/sys", .library = library};
    size_t count = 0;
    const struct syn_driver_ops *const *table = syn_driver_table(&count);
    int rc = SYN_DRV_ABSENT;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i]->name, driver) == 0)
            rc = table[i]->open(&options, &rig->driver, err);
    }
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_FAIL(err, SYN_E_NOTFOUND, "no %s here", driver);
    rig->nodes = 1;
    for (unsigned i = 0; rc == SYN_OK && i < rig->driver->devices && i < RIG_DEVS_MAX; i++) {
        struct syn_dev *dev = NULL;

        rc = syn_dev_open_in(rig->driver, i, &dev, err);
        if (rc < 0)
            break;
        dev->node = i + 1; /* as a registry numbers them */
        rc = take_device(rig, dev, err);
    }
    return rc < 0 ? rc : open_memory(rig, node_bytes, node_bytes_count, err);
}

void
mrig_fini(struct mrig *rig)
{
    rig->memory = syn_memory_close(rig->memory);
    for (size_t n = 0; n < SYN_LEN(rig->queues); n++) {
        rig->queues[n] = syn_dev_queue_destroy(rig->queues[n]);
        rig->events[n] = syn_dev_event_destroy(rig->events[n]);
    }
    for (size_t i = 0; i < rig->devs_count; i++)
        rig->devs[i] = syn_dev_close(rig->devs[i]);
    rig->devs_count = 0;
    rig->registry = syn_registry_close(rig->registry);
    if (rig->driver)
        rig->driver->ops->close(rig->driver);
    rig->driver = NULL;
}

struct held {
    struct syn_memory_request request;
    pthread_mutex_t lock;
    pthread_cond_t done;
    int calls, code;
    struct syn_err *err;
};

static void
held_ready(struct syn_memory_request *request, int code, const struct syn_err *why)
{
    struct held *held = request->user;

    (void)pthread_mutex_lock(&held->lock);
    held->calls++;
    held->code = code;
    if (code < 0)
        *held->err = *why;
    (void)pthread_cond_signal(&held->done);
    (void)pthread_mutex_unlock(&held->lock);
}

int
mrig_acquire(struct mrig *rig, unsigned node, const struct syn_memory_use *uses, size_t count,
             struct syn_err *err)
{
    struct held held = {.request.ready = held_ready,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .done = PTHREAD_COND_INITIALIZER,
                        .err = err};
    int rc;

    held.request.user = &held;
    rc = syn_memory_acquire(rig->memory, node, uses, count, &held.request, err);
    if (rc != SYN_MEMORY_PENDING)
        return rc;
    (void)pthread_mutex_lock(&held.lock);
    while (held.calls == 0)
        (void)pthread_cond_wait(&held.done, &held.lock);
    rc = held.code;
    (void)pthread_mutex_unlock(&held.lock);
    return rc;
}

int
mrig_hold(struct mrig *rig, unsigned node, struct syn_tensor *tensor, enum syn_access access,
          struct syn_err *err)
{
    const struct syn_memory_use use = {tensor, access};

    return mrig_acquire(rig, node, &use, 1, err);
}

void
mrig_release(struct mrig *rig, unsigned node, struct syn_tensor *tensor, enum syn_access access,
             bool ok)
{
    const struct syn_memory_use use = {tensor, access};

    syn_memory_release(rig->memory, node, &use, 1, ok);
}

/* One element after the other, on the image of the memory that it lies in. */
static void
walk(const struct syn_shape *shape, char *image, char *plain, bool to_image)
{
    uint64_t at[SYN_DIMS_MAX] = {0}, bytes = syn_dtype_info(shape->dtype)->bits / 8;
    uint64_t count = syn_shape_count(shape);

    for (uint64_t i = 0; i < count; i++, plain += bytes) {
        uint64_t offset = 0;

        for (unsigned d = 0; d < shape->dims; d++)
            offset += at[d] * shape->strides[d] * bytes;
        memcpy(to_image ? image + offset : plain, to_image ? plain : image + offset, bytes);
        for (unsigned d = shape->dims; d-- > 0;) {
            if (++at[d] < shape->sizes[d])
                break;
            at[d] = 0;
        }
    }
}

/* The device that looks at `node`. */
static struct syn_dev *
device_of(const struct mrig *rig, unsigned node)
{
    for (size_t i = 0; i < rig->devs_count; i++) {
        if (rig->devs[i]->node == node)
            return rig->devs[i];
    }
    return rig->events[node]->dev; /* of a rig that shares another's manager */
}

static int
open_queue(struct mrig *rig, unsigned node, struct syn_err *err)
{
    if (rig->queues[node])
        return SYN_OK;
    return syn_dev_queue_create(device_of(rig, node), 0, &rig->queues[node], err);
}

/* What was given may still run after an error: with the queue gone it does not. */
static int
await_commands(struct mrig *rig, unsigned node, int rc, struct syn_err *err)
{
    rc = rc < 0 ? rc : syn_dev_event_wait(rig->events[node], -1, err);
    if (rc < 0)
        rig->queues[node] = syn_dev_queue_destroy(rig->queues[node]);
    return rc;
}

static int
read_image(struct mrig *rig, unsigned node, const struct syn_tensor_place *place, char *image,
           struct syn_err *err)
{
    struct syn_dev_cmd cmd = {.signal = rig->events[node]};
    int rc = open_queue(rig, node, err);

    if (rc < 0)
        return rc;
    cmd.queue = rig->queues[node];
    rc = syn_dev_read(image, place->buf, place->offset, syn_shape_span(place->shape), &cmd, err);
    return await_commands(rig, node, rc, err);
}

int
mrig_read(struct mrig *rig, unsigned node, const struct syn_tensor *tensor, void *to,
          struct syn_err *err)
{
    struct syn_tensor_place place = {0};
    char *image = NULL;
    int rc;

    syn_tensor_at(tensor, node, &place);
    if (place.host) {
        walk(place.shape, place.host, to, false);
        return SYN_OK;
    }
    image = malloc(syn_shape_span(place.shape));
    rc = read_image(rig, node, &place, image, err);
    if (rc == SYN_OK)
        walk(place.shape, image, to, false);
    free(image);
    return rc;
}

/* One run of bytes, on a new queue where that one is full, which then has been waited for. */
static int
write_run(struct mrig *rig, unsigned node, const struct syn_tensor_place *place, const char *image,
          const uint64_t run[2], struct syn_err *err)
{
    bool last = run[1] == syn_shape_span(place->shape);
    struct syn_dev_cmd cmd = {.signal = last ? rig->events[node] : NULL};
    int rc = SYN_E_LIMIT;

    for (unsigned tries = 0; tries < 2 && rc == SYN_E_LIMIT; tries++) {
        if (tries > 0)
            rig->queues[node] = syn_dev_queue_destroy(rig->queues[node]);
        rc = open_queue(rig, node, err);
        cmd.queue = rig->queues[node];
        if (rc == SYN_OK)
            rc = syn_dev_write(place->buf, place->offset + run[0], image + run[0], run[1] - run[0],
                               &cmd, err);
    }
    return rc;
}

/* The bytes that `own` marks. What lies in the gaps is others', and may be on its way there. */
static int
write_image(struct mrig *rig, unsigned node, const struct syn_tensor_place *place,
            const char *image, const char *own, struct syn_err *err)
{
    uint64_t span = syn_shape_span(place->shape), run[2] = {0};
    int rc = SYN_OK;

    while (rc == SYN_OK && run[1] < span) {
        for (run[0] = run[1]; !own[run[0]]; run[0]++)
            ;
        for (run[1] = run[0]; run[1] < span && own[run[1]]; run[1]++)
            ;
        rc = write_run(rig, node, place, image, run, err);
    }
    return await_commands(rig, node, rc, err);
}

int
mrig_write(struct mrig *rig, unsigned node, const struct syn_tensor *tensor, const void *from,
           struct syn_err *err)
{
    union {
        const void *in;
        void *out;
    } plain = {from}; /* only read */
    struct syn_tensor_place place = {0};
    char *image, *own, *marks;
    uint64_t span;
    int rc;

    syn_tensor_at(tensor, node, &place);
    if (place.host) {
        walk(place.shape, place.host, plain.out, true);
        return SYN_OK;
    }
    span = syn_shape_span(place.shape);
    image = malloc(span);
    own = calloc(span, 1);
    marks = malloc(span);
    memset(marks, 1, span); /* of its elements, of which the span has room for all */
    walk(place.shape, image, plain.out, true);
    walk(place.shape, own, marks, true);
    rc = write_image(rig, node, &place, image, own, err);
    free(image);
    free(own);
    free(marks);
    return rc;
}

int
mrig_put(struct mrig *rig, unsigned node, struct syn_tensor *tensor, const void *from,
         struct syn_err *err)
{
    int rc = mrig_hold(rig, node, tensor, SYN_WRITE, err);

    if (rc < 0)
        return rc;
    rc = mrig_write(rig, node, tensor, from, err);
    mrig_release(rig, node, tensor, SYN_WRITE, rc == SYN_OK);
    return rc;
}

int
mrig_get(struct mrig *rig, unsigned node, struct syn_tensor *tensor, void *to, struct syn_err *err)
{
    int rc = mrig_hold(rig, node, tensor, SYN_READ, err);

    if (rc < 0)
        return rc;
    rc = mrig_read(rig, node, tensor, to, err);
    mrig_release(rig, node, tensor, SYN_READ, true);
    return rc;
}

uint64_t
mrig_seed(void)
{
    const char *given = getenv("SYNOR_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 0;

    seed = seed ? seed : UINT64_C(0x5eed0fc0de);
    print_message("# seed %llu (SYNOR_TEST_SEED)\n", (unsigned long long)seed);
    return seed;
}
