/* Making and ending an engine, and what it tells of itself.
 *
 *     submit.c   a call becomes a record; the core (task.c) finds out what it waits for
 *     split.c    a large one is divided when it is ready
 *     reduce.c   calls that add to the same at the same time
 *     run.c      ready -> strategy -> a seat -> tensors there -> kernel -> over
 *     device.c   the same for a device's seat, on a thread of its own
 *     trace.c    what is recorded of it
 *     map.c      tensors in the caller's hands
 *     graph.c    calls captured, to be run again
 *     replay.c   the running again
 *     plan.c     what a strategy would do with calls, without running them
 *     platform.c what the strategy knows of the machine
 *
 * A call is a task of the core that ends later (syn_task_later): the core orders it, and hands it
 * to the engine when it is ready. The runtime's threads ask the engine for work when they have
 * nothing of their own (struct syn_source), so that the pieces of a kernel that forks come first.
 *
 * Locks: `lock` for the strategy, the model and the reports, a handful of instructions long each
 * time but for what the strategy does; each seat's for the calls granted to it; each sum's; the
 * memory manager's own. None is held while another is taken, but these: inside the memory manager's
 * `lock`, when that tells of what was lost (on_gone()), and `maps_lock`, when a tensor ends; inside
 * `maps_lock` a sum's, and the core's when it has sums put together. So nothing of the memory
 * manager is called under `lock` or `maps_lock`.
 *
 * As in the core, who submits and who runs write no lines in turns: a call's entry in the model is
 * found without a lock, its record comes from the submitters' stock, and goes back over a chain
 * that they take as a whole when the stock is empty; a tensor's handle no worker looks at.
 *
 * What has failed is the core's to remember (task.c): a call, a map and a graph's run each are a
 * task of it, that ends with the code, and whoever needs it is given that code instead of being
 * run. */
#include <errno.h>
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>

#include "engine_priv.h"

/* ---- opening ---- */

static SYN_MUST int
open_registry(struct syn_engine *engine, const struct syn_engine_options *options,
              struct syn_err *err)
{
    struct syn_registry_options registry = {0};

    if (options->registry != NULL)
        registry = *options->registry;
    if (options->modelled != NULL)
        registry.modelled = options->modelled;
    return syn_registry_open(&registry, &engine->registry, err);
}

static SYN_MUST int
open_strategy(struct syn_engine *engine, const struct syn_engine_options *options,
              struct syn_err *err)
{
    const char *name = options->strategy != NULL ? options->strategy : "heft";

    engine->ops = options->strategy_ops != NULL ? options->strategy_ops : syn_strategy_find(name);
    if (engine->ops == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "strategy: there is none called \"%s\"", name);
    if (engine->ops->version != SYN_STRATEGY_VERSION)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "strategy %s is for version %u of the interface, not %d", engine->ops->name,
                        engine->ops->version, SYN_STRATEGY_VERSION);
    engine->strategy_opts = options->strategy_opts;
    return engine->ops->open(&engine->platform, &options->strategy_opts, &engine->strategy, err);
}

static SYN_MUST int
open_model(struct syn_engine *engine, const struct syn_engine_options *options, struct syn_err *err)
{
    const char *names[SYN_CLASSES_MAX];
    int rc;

    for (unsigned i = 0; i < engine->platform.class_count; i++)
        names[i] = engine->classes[i].name;
    rc = syn_model_new(names, engine->platform.class_count, &engine->model, err);
    if (rc == SYN_OK && options->models != NULL)
        rc = syn_model_read(engine->model, options->models, options->models_len, err);
    return rc;
}

static SYN_MUST int
open_memory(struct syn_engine *engine, const struct syn_engine_options *options,
            struct syn_err *err)
{
    struct syn_dev *devs[SYN_ENGINE_WORKERS_MAX];
    struct syn_memory_options memory = {.devs = devs,
                                        .registry = engine->registry,
                                        .node_bytes = options->node_bytes,
                                        .node_bytes_count = options->node_bytes_count,
                                        .drop = syn_engine_forget,
                                        .trace = engine->trace};

    for (unsigned i = engine->cpus; i < engine->seats_count; i++)
        devs[memory.devs_count++] = engine->seats[i].dev;
    return syn_memory_open(&memory, &engine->memory, err);
}

static void
parks(void *self, unsigned index, bool begins)
{
    const struct syn_engine *engine = self;

    syn_engine_trace_park(&engine->seats[index], begins);
}

static SYN_MUST int
start_devices(struct syn_engine *engine, struct syn_err *err)
{
    for (unsigned i = engine->cpus; i < engine->seats_count; i++) {
        struct syn_engine_seat *seat = &engine->seats[i];
        int failed = pthread_create(&seat->thread, NULL, syn_engine_device_main, seat);

        if (failed != 0)
            return SYN_FAIL_SYS(err, failed, "starting the thread of %s", seat->info->id);
        seat->started = true;
    }
    engine->source = (struct syn_source){engine, syn_engine_take, syn_engine_any, parks};
    syn_runtime_set_source(engine->runtime, &engine->source);
    return SYN_OK;
}

static SYN_MUST int
init(struct syn_engine *engine, const struct syn_engine_options *options, struct syn_err *err)
{
    int rc = syn_runtime_new(&options->runtime, &engine->runtime, err);

    if (rc == SYN_OK)
        rc = open_registry(engine, options, err);
    if (rc == SYN_OK)
        rc = syn_engine_seats_open(engine, options, err);
    if (rc == SYN_OK)
        rc = open_strategy(engine, options, err);
    if (rc == SYN_OK)
        rc = open_model(engine, options, err);
    if (rc == SYN_OK)
        rc = open_memory(engine, options, err);
    if (rc == SYN_OK && engine->trace != NULL)
        rc = syn_engine_trace_open(engine, err);
    return rc == SYN_OK ? start_devices(engine, err) : rc;
}

static void
stop_devices(struct syn_engine *engine)
{
    atomic_store_explicit(&engine->closing, true, memory_order_release);
    for (unsigned i = engine->cpus; engine->seats != NULL && i < engine->seats_count; i++) {
        struct syn_engine_seat *seat = &engine->seats[i];

        if (!seat->started)
            continue;
        syn_engine_wake(seat);
        (void)pthread_join(seat->thread, NULL);
    }
}

static void
fini(struct syn_engine *engine)
{
    /* Nothing is under way after the wait; but whoever told of the last end, a device's thread or
     * the memory manager's, may still be about to wake somebody of the runtime. */
    if (engine->runtime != NULL)
        syn_runtime_wait(engine->runtime);
    stop_devices(engine);
    syn_engine_drop_left(engine);
    engine->memory = syn_memory_close(engine->memory);
    engine->runtime = syn_runtime_free(engine->runtime);
    if (engine->strategy != NULL)
        engine->ops->close(engine->strategy);
    engine->model = syn_model_free(engine->model);
    if (!syn_engine_seats_close(engine))
        engine->registry = syn_registry_close(engine->registry);
    syn_engine_records_free(engine);
    (void)pthread_mutex_destroy(&engine->maps_lock);
    syn_free(engine);
}

int
syn_engine_open(const struct syn_engine_options *options, struct syn_engine **ret_engine,
                struct syn_err *err)
{
    static const struct syn_engine_options defaults;
    struct syn_engine *engine = syn_alloc_aligned(SYN_LINE, sizeof(*engine));
    int rc;

    if (engine == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an engine");
    if (options == NULL)
        options = &defaults;
    memset(engine, 0, sizeof(*engine));
    (void)pthread_mutex_init(&engine->maps_lock, NULL);
    engine->opened_ns = syn_clock_ns();
    engine->trace = options->trace;
    engine->timeout_ns = options->device_timeout_ms * 1000000;
    rc = init(engine, options, err);
    if (rc < 0) {
        fini(engine);
        return rc;
    }
    *ret_engine = engine;
    return SYN_OK;
}

struct syn_engine *
syn_engine_close(struct syn_engine *engine)
{
    if (engine != NULL)
        fini(engine);
    return NULL;
}

/* ---- parts ---- */

struct syn_memory *
syn_engine_memory(struct syn_engine *engine)
{
    return engine->memory;
}

struct syn_runtime *
syn_engine_runtime(struct syn_engine *engine)
{
    return engine->runtime;
}

const struct syn_registry *
syn_engine_registry(const struct syn_engine *engine)
{
    return engine->registry;
}

/* ---- what it tells ---- */

/* What calls reduced on is put together before the wait ends: tensors may then be freed, or
 * divided.
 */
static SYN_MUST int
wait_for_all(struct syn_engine *engine, struct syn_err *err)
{
    bool any;
    int rc;

    syn_runtime_wait(engine->runtime);
    rc = syn_engine_settle_sums(engine, &any, err);
    if (any)
        syn_runtime_wait(engine->runtime);
    syn_engine_drop_left(engine);
    return rc;
}

int
syn_engine_wait(struct syn_engine *engine, struct syn_err *err)
{
    struct syn_err failure;
    int rc = wait_for_all(engine, err);

    syn_spin_lock(&engine->lock);
    failure = engine->failure;
    engine->failure = (struct syn_err){0};
    syn_spin_unlock(&engine->lock);
    if (failure.code == 0)
        return rc;
    if (err != NULL)
        *err = failure;
    return failure.code;
}

void
syn_engine_models(struct syn_engine *engine, struct syn_buf *out)
{
    syn_spin_lock(&engine->lock);
    syn_model_write(engine->model, out);
    syn_spin_unlock(&engine->lock);
}

unsigned
syn_engine_workers(const struct syn_engine *engine)
{
    return engine->seats_count;
}

void
syn_engine_worker(struct syn_engine *engine, unsigned index, struct syn_engine_worker *ret_worker)
{
    assert(index < engine->seats_count);
    syn_spin_lock(&engine->lock);
    *ret_worker = engine->seats[index].report;
    syn_spin_unlock(&engine->lock);
}

void
syn_engine_stats(struct syn_engine *engine, struct syn_engine_stats *ret_stats)
{
    syn_spin_lock(&engine->lock);
    *ret_stats = engine->stats;
    syn_spin_unlock(&engine->lock);
    ret_stats->submitted = atomic_load_explicit(&engine->submitted, memory_order_relaxed);
    ret_stats->elapsed_ns = (uint64_t)(syn_clock_ns() - engine->opened_ns);
}
