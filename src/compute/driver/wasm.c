/* Kernels in WebAssembly, run by Wasmtime on one of the host's cores: the one format of program
 * that is the same bytes wherever it runs, and that cannot leave its memory.
 *
 * A device is one linear memory, made at its full size, so that it never moves:
 *
 *     0 ..            the stack of whoever runs
 *     GRID ..         which group of how many this call is: u64 group[3], groups[3]
 *     VALUES ..       arguments by value that no number holds
 *     HEAP ..         buffers: blocks in the order of their addresses, the first that fits
 *
 * A program is a module, in the text or the binary format, which imports that memory, if anything,
 * and has no data of its own: data would lie where another program's does. Each function that it
 * exports is a kernel, called once a group, and a group is one item, because nothing in the format
 * lets items wait for each other. Buffers come as i32, values as the number of their size, larger
 * ones as i32 to a copy.
 *
 * Threads: a store is one thread's at a time, so launches take turns under the device's lock.
 * Copies do not: they go to the memory's bytes, beside kernels, as on other devices.
 *
 * After a trap the module is instantiated anew: its stack pointer is where the trap left it. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/loader.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "host_queue_priv.h"
#include "wasm_api_priv.h"
#include "wasm_module_priv.h"

/* scripts/embed-wasm and docs/kernels.md know the first two. */
#define STACK  UINT32_C(196608)
#define GRID   STACK
#define VALUES (GRID + 64)
#define HEAP   UINT32_C(262144)
#define ALIGN  UINT64_C(64)
#define PAGE   UINT64_C(65536)
/* What a stack that runs over its end wraps around to is not memory. */
#define BYTES_MAX     ((UINT64_C(1) << 32) - (UINT64_C(1) << 20))
#define GIVE_BACK_MIN (UINT64_C(1) << 20)

static_assert(VALUES + SYN_DRV_ARGS_MAX * SYN_DRV_VALUE_MAX <= HEAP, "every value has a place");

struct wasm_driver {
    struct syn_driver base;
    struct wasm_api api;
};

/* A part of the heap, in the order of addresses; of two neighbours at most one is free. */
struct block {
    struct block *next;
    uint64_t at, bytes;
    bool used;
};

struct wasm_dev {
    struct syn_dev base;
    const struct wasm_api *api;
    struct wt_engine *engine;
    struct wt_store *store;
    struct wt_context *context;
    struct wt_memory memory;
    uint8_t *bytes;       /* of the linear memory; never moves */
    pthread_mutex_t lock; /* guards the store, who runs, and the list */
    struct wasm_program *programs;
    pthread_mutex_t heap; /* guards the blocks */
    struct block *blocks; /* at least one */
    uint64_t free_bytes;
};

struct wasm_entry {
    struct wasm_program *program;
    const struct wasm_kernel *kernel;
    struct wt_func func;
};

/* An instance lives as long as its store, and what a queue still holds calls it: programs are freed
 * with the device. */
struct wasm_program {
    struct syn_dev_program base;
    struct wasm_program *next;
    struct wt_module *module;
    struct wasm_kernels kernels;
    struct wasm_entry entries[WASM_KERNELS_MAX];
    struct syn_native_entry rows[WASM_KERNELS_MAX]; /* the entries, as the queue ... */
    struct syn_dev_program *host;                   /* ... calls them */
};

static struct wasm_dev *
wasm_dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct wasm_dev, base);
}

/* What Wasmtime says is the message. Both are consumed, and may be NULL. */
static int
refuse_take(const struct wasm_api *api, struct wt_error *error, struct wt_trap *trap, int code,
            const char *what, struct syn_err *err)
{
    struct wt_bytes text = {0};
    const char *said = NULL;
    size_t len;
    int rc;

    if (error)
        api->error_message(error, &text);
    else if (trap)
        api->trap_message(trap, &text);
    said = text.data ? text.data : "no reason";
    len = text.data ? strnlen(text.data, text.size) : strlen(said);
    rc = SYN_FAIL(err, code, "wasm: %s: %.*s", what, (int)SYN_MIN(len, (size_t)800), said);
    api->bytes_delete(&text);
    if (error)
        api->error_delete(error);
    if (trap)
        api->trap_delete(trap);
    return rc;
}

/* Opening and describing. */

static int
wasm_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
          struct syn_err *err)
{
    static const char *const names[] = {SYN_WASM_LIBRARY_PATH, SYN_WASM_LIBRARY, NULL};
#define ROW(field, symbol, result, params) {#symbol, offsetof(struct wasm_api, field), false},
    static const struct syn_loader_row rows[] = {WASM_FUNCTIONS(ROW)};
    struct wasm_driver *driver = syn_calloc(1, sizeof(*driver));
    int rc;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "wasm driver");
    driver->base.ops = &syn_driver_wasm;
    driver->base.devices = 1;
    (void)syn_str_copy(driver->base.version, sizeof(driver->base.version),
                       "Wasmtime " SYN_WASM_MAJOR);
    rc = syn_loader_open(options->library, names, rows, SYN_LEN(rows), &driver->api, err);
    if (rc < 0) {
        syn_free(driver);
        return rc == SYN_E_NOTFOUND ? SYN_DRV_ABSENT : rc;
    }
    *ret_driver = &driver->base;
    return SYN_OK;
}

static void
wasm_close(struct syn_driver *driver)
{
    syn_free(SYN_CONTAINER(driver, struct wasm_driver, base));
}

/* Of the memory: what 32 bits address, at most half of the machine's. */
static uint64_t
memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t half = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : BYTES_MAX;

    return SYN_MAX(SYN_MIN(half, BYTES_MAX) / PAGE * PAGE, 2 * (uint64_t)HEAP);
}

static int
wasm_describe(struct syn_driver *driver, unsigned index, struct syn_device_info *ret,
              struct syn_err *err)
{
    (void)index;
    (void)err;
    *ret = (struct syn_device_info){.kind = SYN_KIND_WASM, .numa_node = -1};
    (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), "Bytecode Alliance");
    (void)syn_str_copy(ret->model, sizeof(ret->model), "Wasmtime on a host core");
    (void)syn_str_copy(ret->version, sizeof(ret->version), driver->version);
    (void)syn_str_copy(ret->features, sizeof(ret->features), "simd128");
    ret->share = SYN_SHARE_HOST;
    ret->units = 1;
    ret->memory_bytes = ret->alloc_max_bytes = memory_bytes() - HEAP;
    ret->group_max = 1;
    ret->queues_max = 64;
    ret->caps = SYN_CAP_COMPILE | SYN_CAP_TIMES | SYN_CAP_OVERLAP | SYN_CAP_NOTIFY;
    ret->dtypes = SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_FP64) | SYN_BIT(SYN_DTYPE_INT8) |
                  SYN_BIT(SYN_DTYPE_UINT8) | SYN_BIT(SYN_DTYPE_INT16) | SYN_BIT(SYN_DTYPE_INT32) |
                  SYN_BIT(SYN_DTYPE_UINT32) | SYN_BIT(SYN_DTYPE_INT64) | SYN_BIT(SYN_DTYPE_UINT64) |
                  SYN_BIT(SYN_DTYPE_C64) | SYN_BIT(SYN_DTYPE_C128);
    ret->formats = SYN_BIT(SYN_FORMAT_WASM);
    return SYN_OK;
}

static void
program_free(const struct wasm_api *api, struct wasm_program *program)
{
    if (program->host)
        syn_host_program_free(program->host);
    if (program->module)
        api->module_delete(program->module);
    syn_free(program);
}

static void
dev_free(struct wasm_dev *dev)
{
    while (dev->programs) {
        struct wasm_program *program = dev->programs;

        dev->programs = program->next;
        program_free(dev->api, program);
    }
    if (dev->store)
        dev->api->store_delete(dev->store);
    if (dev->engine)
        dev->api->engine_delete(dev->engine);
    while (dev->blocks) {
        struct block *block = dev->blocks;

        dev->blocks = block->next;
        syn_free(block);
    }
    (void)pthread_mutex_destroy(&dev->lock);
    (void)pthread_mutex_destroy(&dev->heap);
    syn_free(dev);
}

static int
make_memory(struct wasm_dev *dev, struct syn_err *err)
{
    const uint32_t pages = (uint32_t)(memory_bytes() / PAGE);
    const struct wt_limits limits = {pages, pages};
    struct wt_memorytype *type = dev->api->memorytype_new(&limits);
    struct wt_error *error = NULL;

    if (!type)
        return SYN_FAIL(err, SYN_E_NOMEM, "wasm: memory");
    error = dev->api->memory_new(dev->context, type, &dev->memory);
    dev->api->memorytype_delete(type);
    if (error)
        return refuse_take(dev->api, error, NULL, SYN_E_NOMEM, "making the memory", err);
    dev->bytes = dev->api->memory_data(dev->context, &dev->memory);
    dev->free_bytes = pages * PAGE - HEAP;
    *dev->blocks = (struct block){.at = HEAP, .bytes = dev->free_bytes};
    return SYN_OK;
}

static int
wasm_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev,
              struct syn_err *err)
{
    struct wasm_driver *driver = SYN_CONTAINER(base, struct wasm_driver, base);
    struct wasm_dev *dev = syn_calloc(1, sizeof(*dev));
    struct wt_config *config = NULL;
    int rc = SYN_OK;

    (void)index;
    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "wasm: device");
    dev->api = &driver->api;
    (void)pthread_mutex_init(&dev->lock, NULL);
    (void)pthread_mutex_init(&dev->heap, NULL);
    dev->blocks = syn_calloc(1, sizeof(*dev->blocks));
    config = driver->api.config_new();
    if (config) {
        driver->api.config_signals(config, false);    /* the program's handlers are its own */
        dev->engine = driver->api.engine_new(config); /* which consumes it */
    }
    if (dev->engine)
        dev->store = driver->api.store_new(dev->engine, NULL, NULL);
    if (dev->blocks && dev->store)
        dev->context = driver->api.store_context(dev->store);
    rc = dev->context ? make_memory(dev, err) : SYN_FAIL(err, SYN_E_NOMEM, "wasm: device");
    if (rc < 0) {
        dev_free(dev);
        return rc;
    }
    *ret_dev = &dev->base;
    return SYN_OK;
}

static void
wasm_dev_close(struct syn_dev *base)
{
    struct wasm_dev *dev = wasm_dev_of(base);

    assert(!dev->blocks->next && !dev->blocks->used); /* everything made from it is gone */
    dev_free(dev);
}

/* Memory. */

/* The first `bytes` of a free block. 0; SYN_DRV_FULL; NOMEM. The heap's lock is held. */
static int
block_take(struct wasm_dev *dev, uint64_t bytes, uint64_t *ret_at, struct syn_err *err)
{
    struct block *block = dev->blocks, *rest = NULL;

    while (block && (block->used || block->bytes < bytes))
        block = block->next;
    if (!block)
        return SYN_DRV_FULL;
    if (block->bytes > bytes) {
        rest = syn_alloc(sizeof(*rest));
        if (!rest)
            return SYN_FAIL(err, SYN_E_NOMEM, "wasm: buffer");
        *rest = (struct block){block->next, block->at + bytes, block->bytes - bytes, false};
        block->next = rest;
        block->bytes = bytes;
    }
    block->used = true;
    dev->free_bytes -= bytes;
    *ret_at = block->at;
    return SYN_OK;
}

static void
join_next(struct block *block)
{
    struct block *next = block->next;

    if (block->used || !next || next->used)
        return;
    block->bytes += next->bytes;
    block->next = next->next;
    syn_free(next);
}

/* The block that begins at `at` is free, and its pages are the machine's again. */
static void
block_give(struct wasm_dev *dev, uint64_t at)
{
    struct block *block = dev->blocks, *last = NULL;

    (void)pthread_mutex_lock(&dev->heap);
    while (block->at != at) {
        last = block;
        block = block->next;
    }
    block->used = false;
    dev->free_bytes += block->bytes;
    if (block->bytes >= GIVE_BACK_MIN) {
        uint64_t begin = (at + PAGE - 1) / PAGE * PAGE, end = (at + block->bytes) / PAGE * PAGE;

        (void)madvise(dev->bytes + begin, end - begin, MADV_DONTNEED);
    }
    join_next(block);
    if (last)
        join_next(last);
    (void)pthread_mutex_unlock(&dev->heap);
}

static int
wasm_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf, struct syn_err *err)
{
    struct wasm_dev *dev = wasm_dev_of(base);
    uint64_t at = 0;
    int rc;

    if (bytes > base->info.memory_bytes)
        return SYN_DRV_FULL;
    (void)pthread_mutex_lock(&dev->heap);
    rc = block_take(dev, (bytes + ALIGN - 1) / ALIGN * ALIGN, &at, err);
    (void)pthread_mutex_unlock(&dev->heap);
    if (rc != SYN_OK)
        return rc;
    rc = syn_host_wrap(base, dev->bytes + at, bytes, ret_buf, err);
    if (rc < 0) {
        block_give(dev, at);
        return rc;
    }
    (*ret_buf)->host = NULL; /* the device's, though the queue knows where it is */
    return SYN_OK;
}

static void
wasm_free(struct syn_dev_buf *buf)
{
    struct wasm_dev *dev = wasm_dev_of(buf->dev);

    block_give(dev, (uint64_t)((const uint8_t *)syn_host_data(buf) - dev->bytes));
    buf->wrapped = true; /* its memory is not the queue's to free */
    syn_host_free(buf);
}

static int
wasm_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                  struct syn_err *err)
{
    return syn_host_queue_create(dev, flags & ~(uint32_t)SYN_QUEUE_INLINE, NULL, ret_queue, err);
}

/* Programs. */

/* A module from either format, checked. */
static int
compile_module(struct wasm_dev *dev, const struct syn_dev_source *source,
               struct wt_module **ret_module, struct wasm_kernels *ret_kernels, struct syn_err *err)
{
    const struct wasm_api *api = dev->api;
    struct wt_bytes binary = {0};
    const uint8_t *data = (const uint8_t *)source->text;
    size_t size = source->len;
    struct wt_error *error = NULL;
    int rc = SYN_OK;

    if (size < 4 || memcmp(data, "\0asm", 4) != 0) {
        error = api->from_text(source->text, source->len, &binary);
        data = (const uint8_t *)binary.data;
        size = binary.size;
    }
    if (!error)
        rc = wasm_module_read(data, size, source->name, ret_kernels, err);
    if (!error && rc == SYN_OK)
        error = api->module_new(dev->engine, data, size, ret_module);
    if (error)
        rc = refuse_take(api, error, NULL, SYN_E_INVALID, source->name, err);
    api->bytes_delete(&binary);
    return rc;
}

/* Instantiate the module, for the first time or anew. The device's lock is held. */
static int
instantiate(struct wasm_dev *dev, struct wasm_program *program, struct syn_err *err)
{
    const struct wt_extern import = {.kind = WT_EXTERN_MEMORY, .of.memory = dev->memory};
    struct wt_instance instance;
    struct wt_trap *trap = NULL;
    struct wt_error *error = dev->api->instance_new(dev->context, program->module, &import,
                                                    program->kernels.memory, &instance, &trap);

    if (error || trap)
        return refuse_take(dev->api, error, trap, SYN_E_INVALID, "instantiating", err);
    for (unsigned i = 0; i < program->kernels.count; i++) {
        const char *name = program->kernels.list[i].name;
        struct wt_extern item = {0};

        if (!dev->api->export_get(dev->context, &instance, name, strlen(name), &item) ||
            item.kind != WT_EXTERN_FUNC)
            return SYN_FAIL(err, SYN_E_IO, "wasm: kernel %s is not there", name);
        program->entries[i] = (struct wasm_entry){program, &program->kernels.list[i], item.of.func};
    }
    return SYN_OK;
}

/* Launching. */

/* The arguments as the kernel takes them; what no number holds is copied to VALUES. The device's
 * lock is held. */
static void
place_args(struct wasm_dev *dev, const struct wasm_entry *entry, const struct syn_native_call *call,
           union wt_raw raw[])
{
    uint32_t at = VALUES;

    for (unsigned i = 0; i < entry->kernel->params; i++) {
        uint64_t offset = (uint64_t)((uintptr_t)call->args[i] - (uintptr_t)dev->bytes);
        bool wide = entry->kernel->kinds[i] == WT_I64 || entry->kernel->kinds[i] == WT_F64;

        memset(&raw[i], 0, sizeof(raw[i]));
        if (offset >= HEAP && offset < HEAP + dev->base.info.memory_bytes) {
            raw[i].u32 = (uint32_t)offset;
        } else if (call->sizes[i] == (wide ? 8 : 4)) {
            memcpy(&raw[i], call->args[i], call->sizes[i]);
        } else {
            memcpy(dev->bytes + at, call->args[i], call->sizes[i]);
            raw[i].u32 = at;
            at += (uint32_t)((call->sizes[i] + 15) / 16 * 16);
        }
    }
}

/* Every group, one after the other. The device's lock is held. */
static int
run_groups(struct wasm_dev *dev, const struct wasm_entry *entry, const struct syn_native_call *call,
           const union wt_raw raw[], struct syn_err *err)
{
    uint64_t grid[6] = {0, 0, 0, call->grid[0], call->grid[1], call->grid[2]};
    union wt_raw own[SYN_DRV_ARGS_MAX + 1];
    struct wt_trap *trap = NULL;
    struct wt_error *error = NULL;

    for (grid[2] = 0; grid[2] < grid[5]; grid[2]++) {
        for (grid[1] = 0; grid[1] < grid[4]; grid[1]++) {
            for (grid[0] = 0; grid[0] < grid[3]; grid[0]++) {
                memcpy(dev->bytes + GRID, grid, sizeof(grid));
                memcpy(own, raw,
                       entry->kernel->params * sizeof(own[0])); /* results would go there */
                error = dev->api->func_call(dev->context, &entry->func, own, SYN_LEN(own), &trap);
                if (error || trap)
                    return refuse_take(dev->api, error, trap, SYN_E_IO, entry->kernel->name, err);
            }
        }
    }
    return SYN_OK;
}

static int
run_kernel(const struct syn_native_call *call, struct syn_err *err)
{
    const struct wasm_entry *entry = call->user;
    struct wasm_program *program = entry->program;
    struct wasm_dev *dev = wasm_dev_of(program->base.dev);
    union wt_raw raw[SYN_DRV_ARGS_MAX + 1];
    int rc;

    (void)pthread_mutex_lock(&dev->lock);
    place_args(dev, entry, call, raw);
    rc = run_groups(dev, entry, call, raw, err);
    if (rc < 0 && instantiate(dev, program, NULL) < 0)
        rc = syn_err_wrap(err, SYN_E_IO, "wasm: the module does not start again");
    (void)pthread_mutex_unlock(&dev->lock);
    return rc;
}

static void
wasm_program_free(struct syn_dev_program *program)
{
    (void)program; /* see struct wasm_program */
}

/* What the queue calls. */
static int
make_host(struct syn_dev *dev, struct wasm_program *program, const char *name, struct syn_err *err)
{
    const struct syn_dev_source rows = {
        .name = name, .entries = program->rows, .entries_count = program->kernels.count};

    for (unsigned i = 0; i < program->kernels.count; i++)
        program->rows[i] = (struct syn_native_entry){program->kernels.list[i].name, run_kernel,
                                                     &program->entries[i]};
    return syn_host_compile(dev, &rows, &program->host, err);
}

static int
wasm_compile(struct syn_dev *base, const struct syn_dev_source *source,
             struct syn_dev_program **ret_program, struct syn_err *err)
{
    struct wasm_dev *dev = wasm_dev_of(base);
    struct wasm_program *program = syn_calloc(1, sizeof(*program));
    int rc;

    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    program->base.dev = base;
    rc = compile_module(dev, source, &program->module, &program->kernels, err);
    (void)pthread_mutex_lock(&dev->lock);
    rc = rc < 0 ? rc : instantiate(dev, program, err);
    rc = rc < 0 ? rc : make_host(base, program, source->name, err);
    if (rc == SYN_OK) {
        program->next = dev->programs;
        dev->programs = program;
    }
    (void)pthread_mutex_unlock(&dev->lock);
    if (rc < 0) {
        program_free(dev->api, program);
        return rc;
    }
    *ret_program = &program->base;
    return SYN_OK;
}

static const struct wasm_entry *
find_entry(const struct wasm_program *program, const char *name)
{
    for (unsigned i = 0; i < program->kernels.count; i++) {
        if (strcmp(program->kernels.list[i].name, name) == 0)
            return &program->entries[i];
    }
    return NULL;
}

/* Does a parameter of `kind` take the argument? */
static bool
takes(uint8_t kind, const struct syn_dev_arg *arg)
{
    if (arg->kind == SYN_ARG_VALUE && arg->bytes == 4)
        return kind == WT_I32 || kind == WT_F32;
    if (arg->kind == SYN_ARG_VALUE && arg->bytes == 8)
        return kind == WT_I64 || kind == WT_F64;
    return kind == WT_I32 && arg->kind != SYN_ARG_LOCAL;
}

static int
wasm_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
            const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    static const char *const kinds[] = {"i32", "i64", "f32", "f64"};
    const struct wasm_program *program = SYN_CONTAINER(launch->program, struct wasm_program, base);
    const struct wasm_entry *entry = find_entry(program, launch->kernel);
    struct syn_dev_launch own = *launch;

    if (entry && entry->kernel->params != launch->args_count)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: %s has %u parameters, not %zu", base->info.id,
                        launch->kernel, entry->kernel->params, launch->args_count);
    for (unsigned i = 0; entry && i < entry->kernel->params; i++) {
        if (!takes(entry->kernel->kinds[i], &launch->args[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: %s: argument %u is not for an %s",
                            base->info.id, launch->kernel, i, kinds[entry->kernel->kinds[i]]);
    }
    own.program = program->host;
    return syn_host_launch(base, &own, cmd, err);
}

static int
wasm_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    struct wasm_dev *dev = wasm_dev_of(base);

    (void)err;
    ret->state = SYN_DEVICE_OK;
    (void)pthread_mutex_lock(&dev->heap);
    ret->memory_free_bytes = (int64_t)dev->free_bytes;
    (void)pthread_mutex_unlock(&dev->heap);
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_wasm = {
    .version = SYN_DRIVER_VERSION,
    .name = "wasm",
    .kinds = SYN_BIT(SYN_KIND_WASM),
    .open = wasm_open,
    .close = wasm_close,
    .describe = wasm_describe,
    .dev_open = wasm_dev_open,
    .dev_close = wasm_dev_close,
    .alloc = wasm_alloc,
    .free = wasm_free,
    .queue_create = wasm_queue_create,
    .queue_destroy = syn_host_queue_destroy,
    .queue_clear = syn_host_queue_clear,
    .event_create = syn_host_event_create,
    .event_destroy = syn_host_event_destroy,
    .event_poll = syn_host_event_poll,
    .event_wait = syn_host_event_wait,
    .event_span = syn_host_event_span,
    .copy = syn_host_copy,
    .fill = syn_host_fill,
    .compile = wasm_compile,
    .program_free = wasm_program_free,
    .launch = wasm_launch,
    .health = wasm_health,
    .event_notify = syn_host_event_notify,
};
