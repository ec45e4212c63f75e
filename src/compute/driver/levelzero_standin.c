/* For tests: the Level Zero loader with Sysman and ocloc, of a machine with two devices; see
 * standin_priv.h. It computes on the host, at once, and is stricter than the real one: calls before
 * initialisation are refused; an event that is signalled twice without a reset, a wait for one that
 * no command signals, a signal that is not of everything before it (no barrier in between), and a
 * copy that leaves the device's memory abort. A call that destroys does so also when it fails. An
 * event's first look after it was signalled finds it not ready. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "levelzero_api_priv.h"
#include "standin_priv.h"

#define PARAMETERS_MAX 8
#define TIMER_BITS     40
#define MODULES        3

struct list {
    int device;
    int dirty; /* commands since the last barrier */
};

struct event {
    struct timespec at;
    int signalled, looked;
};

struct pool {
    unsigned count;
};

struct module {
    char *text;
};

struct kernel {
    char name[64];
    uint32_t group;
    unsigned char values[PARAMETERS_MAX][8];
};

static int initialised;
static char devices[STANDIN_DEVICES], maker, broken_maker;
static char modules[STANDIN_DEVICES][MODULES]; /* of memory */

/* What is exported, by the driver's own list. */
#define X(member, parameters, symbol, optional) \
    EXPORT ze_result standin_##member parameters __asm__(symbol);
ZE_FUNCTIONS(X)
#undef X
#define X(member, parameters, symbol) EXPORT int standin_ocloc_##member parameters __asm__(symbol);
OCLOC_FUNCTIONS(X)
#undef X

static int
enter(void)
{
    int code = standin_begin();

    return code == 0 && !initialised ? ZE_UNINITIALIZED : code;
}

static int
index_of(const void *device)
{
    if (device != &devices[0] && device != &devices[1])
        standin_die("no device");
    return device == &devices[1];
}

ze_result
standin_init(uint32_t flags)
{
    int code = standin_begin();

    (void)flags;
    if (code == 0)
        initialised = 1;
    return standin_end(code);
}

ze_result
standin_driver_get(uint32_t *count, void **drivers)
{
    int code = enter(), broken = getenv("STANDIN_BROKEN_DRIVER") != NULL;

    if (code == 0 && *count < 2)
        code = ZE_INVALID_ARGUMENT;
    *count = getenv("STANDIN_NO_DRIVER") ? 0 : broken ? 2 : 1;
    drivers[0] = broken ? &broken_maker : &maker;
    drivers[1] = &maker;
    return standin_end(code);
}

ze_result
standin_driver_version(void *driver, uint32_t *version)
{
    (void)driver;
    *version = 1U << 16 | 3;
    return standin_end(enter());
}

ze_result
standin_device_get(void *driver, uint32_t *count, void **ret)
{
    int code = enter();

    if (code == 0 && driver == &broken_maker)
        code = ZE_NOT_AVAILABLE;
    if (code == 0 && (driver != &maker || *count < STANDIN_DEVICES))
        code = ZE_INVALID_ARGUMENT;
    *count = getenv("STANDIN_NO_DEVICE") ? 0 : STANDIN_DEVICES;
    for (uint32_t i = 0; code == 0 && i < *count; i++)
        ret[i] = &devices[i];
    return standin_end(code);
}

ze_result
standin_properties(void *device, struct ze_device_properties *ret)
{
    int code = enter(), second = index_of(device);

    if (code == 0 && ret->type != ZE_TYPE_DEVICE_PROPERTIES)
        code = ZE_INVALID_ARGUMENT;
    ret->device_type = ZE_DEVICE_GPU;
    ret->vendor = 0x8086;
    ret->device = second ? 0x56a0 : 0xbd5;
    ret->clock_mhz = 1600;
    ret->alloc_max = STANDIN_DEVICE_BYTES;
    ret->units_per_subslice = 8;
    ret->subslices_per_slice = 16;
    ret->slices = 4;
    ret->timer = 1000000000;
    ret->timestamp_bits = 64;
    ret->kernel_timestamp_bits = TIMER_BITS;
    memset(ret->uuid, 0x11 * (second + 1), sizeof(ret->uuid));
    (void)snprintf(ret->name, sizeof(ret->name), "%s",
                   second ? "Intel(R) Arc(TM) A770 Graphics" : "Intel(R) Data Center GPU Max 1550");
    return standin_end(code);
}

ze_result
standin_compute(void *device, struct ze_compute_properties *ret)
{
    (void)index_of(device);
    ret->group_items_max = 1024;
    ret->shared_bytes = 131072;
    return standin_end(enter());
}

ze_result
standin_modules(void *device, struct ze_module_properties *ret)
{
    ret->flags = index_of(device) ? ZE_MODULE_FP16 : ZE_MODULE_FP16 | ZE_MODULE_FP64;
    return standin_end(enter());
}

ze_result
standin_memories(void *device, uint32_t *count, struct ze_memory_properties *ret)
{
    (void)index_of(device);
    *count = 1;
    ret->bytes = STANDIN_DEVICE_BYTES;
    return standin_end(enter());
}

/* The first group copies, the second computes. */
ze_result
standin_groups(void *device, uint32_t *count, struct ze_group_properties *ret)
{
    (void)index_of(device);
    *count = 2;
    ret[0].flags = 2;
    ret[0].queues = 1;
    ret[1].flags = ZE_GROUP_COMPUTE | 2;
    ret[1].queues = 4;
    return standin_end(enter());
}

ze_result
standin_can_peer(void *device, void *peer, uint8_t *ret)
{
    int code = enter();

    *ret = index_of(device) != index_of(peer);
    return standin_end(code);
}

ze_result
standin_status(void *device)
{
    (void)index_of(device);
    return standin_end(enter());
}

ze_result
standin_pci(void *device, struct ze_pci_properties *ret)
{
    ret->bus = 0x4dU + (unsigned)index_of(device);
    return standin_end(enter());
}

/* Contexts and memory. */

ze_result
standin_context_create(void *driver, const struct ze_plain_desc *desc, void **ret)
{
    int code = enter();

    (void)driver;
    if (code == 0 && desc->type != ZE_TYPE_CONTEXT)
        code = ZE_INVALID_ARGUMENT;
    if (code == 0) {
        *ret = malloc(1);
        standin_count(1);
    }
    return standin_end(code);
}

ze_result
standin_context_destroy(void *context)
{
    int code = enter();

    free(context);
    standin_count(-1);
    return standin_end(code);
}

static int
make_block(void **ret, size_t bytes, int device)
{
    int made = standin_block_make(ret, bytes, device);

    return made == STANDIN_NOTHING ? ZE_UNSUPPORTED_SIZE
           : made == STANDIN_FULL  ? ZE_OUT_OF_DEVICE_MEMORY
                                   : 0;
}

ze_result
standin_alloc(void *context, const struct ze_device_memory_desc *desc, size_t bytes, size_t align,
              void *device, void **ret)
{
    int code = enter();

    (void)context;
    if (code == 0 && (desc->type != ZE_TYPE_DEVICE_MEMORY || align > 256))
        code = ZE_INVALID_ARGUMENT;
    return standin_end(code ? code : make_block(ret, bytes, index_of(device)));
}

ze_result
standin_host_alloc(void *context, const struct ze_plain_desc *desc, size_t bytes, size_t align,
                   void **ret)
{
    int code = enter();

    (void)context;
    if (code == 0 && (desc->type != ZE_TYPE_HOST_MEMORY || align > 256))
        code = ZE_INVALID_ARGUMENT;
    return standin_end(code ? code : make_block(ret, bytes, STANDIN_PINNED));
}

ze_result
standin_free(void *context, void *memory)
{
    int code = enter();

    (void)context;
    standin_block_drop(memory, standin_is_memory(memory, 1, 1));
    return standin_end(code);
}

/* Lists and events. */

ze_result
standin_list_create(void *context, void *device, const struct ze_queue_desc *desc, void **ret)
{
    struct list *list = NULL;
    int code = enter();

    (void)context;
    if (code == 0 && (desc->type != ZE_TYPE_QUEUE || desc->ordinal != 1 || desc->index >= 4 ||
                      desc->mode != ZE_QUEUE_ASYNC))
        code = ZE_INVALID_ARGUMENT;
    if (code == 0) {
        list = calloc(1, sizeof(*list));
        list->device = index_of(device);
        standin_count(1);
        *ret = list;
    }
    return standin_end(code);
}

ze_result
standin_list_destroy(void *list)
{
    int code = enter();

    free(list);
    standin_count(-1);
    return standin_end(code);
}

ze_result
standin_pool_create(void *context, const struct ze_event_pool_desc *desc, uint32_t count, void **of,
                    void **ret)
{
    struct pool *pool = NULL;
    int code = enter();

    (void)context;
    if (code == 0 && (desc->type != ZE_TYPE_EVENT_POOL || count != 1 ||
                      desc->flags != (ZE_POOL_HOST_VISIBLE | ZE_POOL_TIMESTAMP)))
        code = ZE_INVALID_ARGUMENT;
    (void)index_of(of[0]);
    if (code == 0) {
        pool = calloc(1, sizeof(*pool));
        pool->count = desc->count;
        standin_count(1);
        *ret = pool;
    }
    return standin_end(code);
}

ze_result
standin_pool_destroy(void *pool)
{
    int code = enter();

    free(pool);
    standin_count(-1);
    return standin_end(code);
}

ze_result
standin_event_create(void *pool, const struct ze_event_desc *desc, void **ret)
{
    int code = enter();

    if (code == 0 && (desc->type != ZE_TYPE_EVENT || desc->index >= ((struct pool *)pool)->count))
        code = ZE_INVALID_ARGUMENT;
    if (code == 0) {
        *ret = calloc(1, sizeof(struct event));
        standin_count(1);
    }
    return standin_end(code);
}

ze_result
standin_event_destroy(void *event)
{
    int code = enter();

    free(event);
    standin_count(-1);
    return standin_end(code);
}

static void
signal_event(struct event *event)
{
    if (!event)
        return;
    if (event->signalled)
        standin_die("an event is signalled twice");
    event->signalled = 1;
    event->looked = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &event->at);
}

/* What every command starts with. */
static int
begin(struct list *list, const void *signal, uint32_t waits_count, void **waits)
{
    int code = enter();

    for (uint32_t i = 0; i < waits_count; i++) {
        if (!((struct event *)waits[i])->signalled)
            standin_die("a wait for what no command signals");
    }
    if (code == 0 && signal && list->dirty)
        standin_die("a signal that is not of everything before it");
    return code;
}

static int
done(struct list *list, void *signal, int code)
{
    if (code == 0) {
        list->dirty = 1;
        signal_event(signal);
    }
    return standin_end(code);
}

ze_result
standin_barrier(void *list, void *signal, uint32_t waits_count, void **waits)
{
    struct list *mine = list;
    int code = begin(mine, NULL, waits_count, waits);

    if (code == 0) {
        mine->dirty = 0;
        signal_event(signal);
    }
    return standin_end(code);
}

ze_result
standin_event_status(void *event)
{
    struct event *mine = event;
    int code = enter();

    if (code == 0 && (!mine->signalled || !mine->looked)) {
        mine->looked = mine->signalled;
        code = ZE_NOT_READY;
    }
    return standin_end(code);
}

ze_result
standin_event_wait(void *event, uint64_t timeout_ns)
{
    struct event *mine = event;
    int code = enter();

    if (code == 0 && !mine->signalled) {
        if (timeout_ns == UINT64_MAX)
            standin_die("a wait without an end");
        code = ZE_NOT_READY;
    }
    return standin_end(code);
}

ze_result
standin_event_reset(void *event)
{
    int code = enter();

    if (code == 0)
        ((struct event *)event)->signalled = 0;
    return standin_end(code);
}

ze_result
standin_event_times(void *event, struct ze_timestamp *ret)
{
    const struct event *mine = event;
    int code = enter();

    if (code == 0 && !mine->signalled)
        code = ZE_NOT_READY;
    ret->global.end = ((uint64_t)mine->at.tv_sec * 1000000000 + (uint64_t)mine->at.tv_nsec) &
                      ((UINT64_C(1) << TIMER_BITS) - 1);
    ret->global.start = ret->global.end;
    ret->context = ret->global;
    return standin_end(code);
}

/* Commands. */

/* The host's memory, or the device's, and then within an allocation. */
static char *
any_memory(const void *at, size_t bytes)
{
    return standin_is_memory(at, 1, 1) ? standin_device_memory((uint64_t)(uintptr_t)at, bytes)
                                       : (char *)(uintptr_t)at;
}

ze_result
standin_copy(void *list, void *to, const void *from, size_t bytes, void *signal,
             uint32_t waits_count, void **waits)
{
    int code = begin(list, signal, waits_count, waits);

    if (code == 0)
        memmove(any_memory(to, bytes), any_memory(from, bytes), bytes);
    return done(list, signal, code);
}

ze_result
/* NOLINTNEXTLINE(readability-function-size): the specification's */
standin_copy_region(void *list, void *to, const struct ze_region *to_region, uint32_t to_pitch,
                    uint32_t to_slice, const void *from, const struct ze_region *from_region,
                    uint32_t from_pitch, uint32_t from_slice, void *signal, uint32_t waits_count,
                    void **waits)
{
    int code = begin(list, signal, waits_count, waits);
    size_t width = to_region->width, height = to_region->height;

    if (code == 0 && (memcmp(to_region, from_region, sizeof(*to_region)) != 0 || to_region->x ||
                      to_region->y || to_region->z || to_region->depth != 1 || to_slice ||
                      from_slice || to_pitch < width || from_pitch < width))
        code = ZE_INVALID_ARGUMENT;
    if (code == 0) {
        char *dst = any_memory(to, (height - 1) * to_pitch + width);
        const char *src = any_memory(from, (height - 1) * from_pitch + width);

        for (size_t i = 0; i < height; i++)
            memmove(dst + i * to_pitch, src + i * from_pitch, width);
    }
    return done(list, signal, code);
}

ze_result
/* NOLINTNEXTLINE(readability-function-size): the specification's */
standin_fill(void *list, void *to, const void *pattern, size_t pattern_bytes, size_t bytes,
             void *signal, uint32_t waits_count, void **waits)
{
    int code = begin(list, signal, waits_count, waits);

    if (code == 0 && pattern_bytes != 1)
        code = ZE_INVALID_ARGUMENT;
    if (code == 0)
        memset(standin_device_memory((uint64_t)(uintptr_t)to, bytes), *(const uint8_t *)pattern,
               bytes);
    return done(list, signal, code);
}

static void
run(const struct kernel *kernel, uint64_t items)
{
    uint64_t at[2];
    uint32_t n;
    int32_t first;
    float a;

    if (strcmp(kernel->name, "axpy") == 0) {
        memcpy(&a, kernel->values[0], sizeof(a));
        memcpy(&at[0], kernel->values[1], sizeof(at[0]));
        memcpy(&at[1], kernel->values[2], sizeof(at[1]));
        memcpy(&n, kernel->values[3], sizeof(n));
        standin_axpy(a, at[0], at[1], n, items);
    } else if (strcmp(kernel->name, "iota") == 0) {
        memcpy(&at[0], kernel->values[0], sizeof(at[0]));
        memcpy(&n, kernel->values[1], sizeof(n));
        memcpy(&first, kernel->values[2], sizeof(first));
        standin_iota(at[0], n, first, items);
    }
}

ze_result
standin_launch(void *list, void *kernel, const struct ze_group_count *groups, void *signal,
               uint32_t waits_count, void **waits)
{
    const struct kernel *mine = kernel;
    int code = begin(list, signal, waits_count, waits);

    if (code == 0 && (groups->y != 1 || groups->z != 1 || mine->group == 0))
        code = ZE_INVALID_ARGUMENT;
    if (code == 0)
        run(mine, (uint64_t)groups->x * mine->group);
    return done(list, signal, code);
}

/* Modules: text behind a word that says what it is. */

ze_result
standin_module_create(void *context, void *device, const struct ze_module_desc *desc, void **ret,
                      void **log)
{
    static const char *const heads[] = {[ZE_SPIRV] = "SPIRV", [ZE_NATIVE] = "ZEBIN"};
    struct module *module = NULL;
    int code = enter();

    (void)context;
    (void)index_of(device);
    if (code == 0 && (desc->bytes < 5 || memcmp(desc->input, heads[desc->format], 5) != 0)) {
        code = desc->format == ZE_SPIRV ? ZE_MODULE_BUILD_FAILURE : ZE_INVALID_NATIVE_BINARY;
        *log = malloc(1);
        standin_count(1);
    }
    if (code == 0) {
        module = malloc(sizeof(*module));
        module->text = malloc(desc->bytes + 1);
        memcpy(module->text, desc->input, desc->bytes);
        module->text[desc->bytes] = '\0';
        standin_count(1);
        *ret = module;
    }
    return standin_end(code);
}

ze_result
standin_module_destroy(void *module)
{
    int code = enter();

    free(((struct module *)module)->text);
    free(module);
    standin_count(-1);
    return standin_end(code);
}

ze_result
standin_log_text(void *log, size_t *bytes, char *ret)
{
    static const char said[] = "error: this is no SPIR-V";

    (void)log;
    *bytes = sizeof(said);
    if (ret)
        memcpy(ret, said, sizeof(said));
    return standin_end(enter());
}

ze_result
standin_log_destroy(void *log)
{
    int code = enter();

    free(log);
    standin_count(-1);
    return standin_end(code);
}

ze_result
standin_kernel_create(void *module, const struct ze_kernel_desc *desc, void **ret)
{
    struct kernel *kernel = NULL;
    char wanted[80];
    int code = enter();

    (void)snprintf(wanted, sizeof(wanted), "kernel void %.60s(", desc->name);
    if (code == 0 && !strstr(((struct module *)module)->text, wanted))
        code = ZE_INVALID_KERNEL_NAME;
    if (code == 0) {
        kernel = calloc(1, sizeof(*kernel));
        (void)snprintf(kernel->name, sizeof(kernel->name), "%s", desc->name);
        standin_count(1);
        *ret = kernel;
    }
    return standin_end(code);
}

ze_result
standin_kernel_destroy(void *kernel)
{
    int code = enter();

    free(kernel);
    standin_count(-1);
    return standin_end(code);
}

ze_result
standin_kernel_group(void *kernel, uint32_t x, uint32_t y, uint32_t z)
{
    int code = enter();

    if (code == 0 && (y != 1 || z != 1))
        code = ZE_INVALID_ARGUMENT;
    ((struct kernel *)kernel)->group = x;
    return standin_end(code);
}

ze_result
standin_kernel_argument(void *kernel, uint32_t index, size_t bytes, const void *value)
{
    struct kernel *mine = kernel;
    uint32_t takes = strcmp(mine->name, "axpy") == 0 ? 4 : 3;
    int code = enter();

    if (code == 0 && index >= takes)
        code = ZE_INVALID_ARGUMENT_INDEX;
    else if (code == 0 && (bytes > sizeof(mine->values[0]) || !value))
        code = ZE_INVALID_ARGUMENT_SIZE;
    if (code == 0)
        memcpy(mine->values[index], value, bytes);
    return standin_end(code);
}

/* Sysman: one sensor, one domain and three modules of memory; those of the second device have seen
 * errors. */

static ze_result
give_device(void *device, uint32_t *count, void **ret)
{
    (void)index_of(device);
    *count = 1;
    ret[0] = device;
    return standin_end(enter());
}

ze_result
standin_temperatures(void *device, uint32_t *count, void **ret)
{
    return give_device(device, count, ret);
}

ze_result
standin_domains(void *device, uint32_t *count, void **ret)
{
    return give_device(device, count, ret);
}

ze_result
standin_memory_modules(void *device, uint32_t *count, void **ret)
{
    int index = index_of(device), code = enter();

    if (code == 0 && *count < MODULES)
        code = ZE_INVALID_ARGUMENT;
    *count = MODULES;
    for (int i = 0; code == 0 && i < MODULES; i++)
        ret[i] = &modules[index][i];
    return standin_end(code);
}

ze_result
standin_temperature(void *sensor, double *ret)
{
    (void)sensor;
    *ret = 41.5;
    return standin_end(enter());
}

ze_result
standin_energy(void *domain, struct zes_energy *ret)
{
    (void)domain;
    ret->uj = 5000000;
    return standin_end(enter());
}

ze_result
standin_limits(void *domain, struct zes_sustained_limit *sustained, void *burst, void *peak)
{
    (void)domain;
    (void)burst;
    (void)peak;
    sustained->enabled = 1;
    sustained->mw = 600000;
    return standin_end(enter());
}

ze_result
standin_memory_state(void *memory, struct zes_memory_state *ret)
{
    static const int32_t health[STANDIN_DEVICES][MODULES] = {
        {ZES_MEMORY_OK, ZES_MEMORY_OK, 0 /* unknown */},
        {ZES_MEMORY_OK, ZES_MEMORY_CRITICAL, ZES_MEMORY_DEGRADED},
    };
    int code = enter();
    size_t at = (size_t)((char *)memory - modules[0]);
    size_t device = at / MODULES, module = at % MODULES, left = 0;

    if (device >= STANDIN_DEVICES)
        standin_die("no module of memory");
    left = STANDIN_DEVICE_BYTES - standin_used((int)device);
    ret->health = health[device][module];
    ret->free = module > 0 ? left / MODULES : left - (MODULES - 1) * (left / MODULES);
    return standin_end(code);
}

/* ocloc: a text compiles unless it says "nonsense". */

struct outputs {
    uint32_t *count;
    uint8_t ***data;
    uint64_t **sizes;
    char ***names;
};

static void
put_output(const struct outputs *out, const char *name, const char *head, const uint8_t *text,
           uint64_t bytes)
{
    size_t len = strlen(head);
    uint8_t *data = malloc(len + bytes);

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)head[i];
    memcpy(data + len, text, bytes);
    *out->count = 1;
    *out->data = malloc(sizeof(**out->data));
    *out->sizes = malloc(sizeof(**out->sizes));
    *out->names = malloc(sizeof(**out->names));
    **out->data = data;
    **out->sizes = len + bytes;
    **out->names = strdup(name);
    standin_count(1);
}

int
/* NOLINTNEXTLINE(readability-function-size): the maker's */
standin_ocloc_invoke(unsigned argc, const char **argv, uint32_t sources_count,
                     const uint8_t **sources, const uint64_t *sources_bytes,
                     const char **sources_names, uint32_t headers_count, const uint8_t **headers,
                     const uint64_t *headers_bytes, const char **headers_names,
                     uint32_t *outputs_count, uint8_t ***outputs, uint64_t **outputs_bytes,
                     char ***outputs_names)
{
    const struct outputs out = {outputs_count, outputs, outputs_bytes, outputs_names};
    static const char said[] = "error: use of undeclared identifier 'nonsense'";
    int code = standin_begin();

    (void)headers;
    (void)headers_bytes;
    (void)headers_names;
    if (code == 0 &&
        (argc != 9 || strcmp(argv[1], "compile") != 0 || strcmp(argv[3], sources_names[0]) != 0 ||
         strcmp(argv[4], "-device") != 0 ||
         (strcmp(argv[5], "0xbd5") != 0 && strcmp(argv[5], "0x56a0") != 0) ||
         strcmp(argv[6], "-spv_only") != 0 || sources_count != 1 || headers_count != 0))
        code = -5150;
    if (code == 0 && memmem(sources[0], sources_bytes[0], "nonsense", 8)) {
        put_output(&out, "stdout.log", "", (const uint8_t *)said, sizeof(said) - 1);
        code = -11;
    } else if (code == 0) {
        put_output(&out, "text_pvc.spv", "SPIRV", sources[0], sources_bytes[0]);
    }
    return standin_end(code);
}

int
standin_ocloc_free(uint32_t *outputs_count, uint8_t ***outputs, uint64_t **outputs_bytes,
                   char ***outputs_names)
{
    int code = standin_begin();

    for (uint32_t i = 0; i < *outputs_count; i++) {
        free((*outputs)[i]);
        free((*outputs_names)[i]);
    }
    free(*outputs);
    free(*outputs_bytes);
    free(*outputs_names);
    standin_count(-1);
    return standin_end(code);
}
