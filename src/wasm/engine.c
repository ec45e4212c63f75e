/* The engine: Wasmtime, what guests may import, and the thread that lets time pass for them.
 *
 * Wasmtime interrupts a guest by epochs: code looks at a counter at each loop and call, and ends
 * when it is beyond what its store was given. Somebody has to count. The ticker does so every
 * SYN_WASM_TICK_NS while guests run, and for a while after, since waking it costs a call more than
 * the ticks do; then it sleeps, and an idle engine costs nothing. */
#include "wasm_priv.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <synor/base/mem.h>

#include "call_priv.h"

#define TABLE_ELEMENTS_MAX 1000000
#define INSTANCE_BYTES_MAX (1 << 20)
#define KEPT_BYTES         (256 << 10)
#define KEPT_TABLE_BYTES   (16 << 10)
#define KEPT_STACK_BYTES   (32 << 10)
#define SIGNATURE_MAX      16
#define IDLE_TICKS         200

static struct wt_functype *
functype(const struct wt_api *api, const char *signature)
{
    struct wt_valtype *types[SIGNATURE_MAX];
    struct wt_valtypes sides[2] = {{0}};
    size_t count = 0, side = 0;

    for (const char *c = signature;; c++) {
        if (*c == 'i' || *c == 'I') {
            assert(count < SIGNATURE_MAX);
            types[count++] = api->valtype_new(*c == 'i' ? WT_I32 : WT_I64);
            continue;
        }
        api->valtypes_new(&sides[side++], count, types);
        count = 0;
        if (!*c)
            break;
    }
    assert(side == 2);
    return api->functype_new(&sides[0], &sides[1]);
}

static int
define(struct syn_wasm *wasm, const char *module, const struct wasm_host_row *rows, size_t count,
       struct syn_err *err)
{
    const struct wt_api *api = &wasm->api;

    for (const struct wasm_host_row *row = rows; row < rows + count; row++) {
        struct wt_functype *type = functype(api, row->signature);
        size_t outer = strlen(module), inner = strlen(row->name);
        struct wt_error *error =
            row->wait ? api->linker_define_wait(wasm->linker, module, outer, row->name, inner, type,
                                                row->wait, &wasm->api, NULL)
                      : api->linker_define(wasm->linker, module, outer, row->name, inner, type,
                                           row->fn, &wasm->api, NULL);

        api->functype_delete(type);
        if (error)
            return wt_fail_take(api, error, SYN_E_UNSUPPORTED, row->name, err);
    }
    return SYN_OK;
}

/* Wasmtime ends the process when it cannot reserve its addresses, so it is tried before. */
static int
try_addresses(uint64_t size, struct syn_err *err)
{
    void *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%llu GiB of addresses cannot be reserved: fewer instances, or more of "
                        "ulimit -v",
                        (unsigned long long)(size >> 30));
    (void)munmap(at, size);
    return SYN_OK;
}

static void
set_pool(const struct wt_api *api, struct wt_config *config, struct wt_pool *pool, uint32_t count)
{
    api->pool_instances(pool, count);
    api->pool_stacks(pool, count);
    api->pool_keep_stack(pool, KEPT_STACK_BYTES);
    api->pool_memories(pool, count);
    api->pool_tables(pool, count);
    api->pool_memory_size(pool, WASM_MEMORY_RESERVED);
    api->pool_table_elements(pool, TABLE_ELEMENTS_MAX);
    api->pool_instance_size(pool, INSTANCE_BYTES_MAX);
    api->pool_keep(pool, KEPT_BYTES);
    api->pool_keep_table(pool, KEPT_TABLE_BYTES);
    api->config_pool(config, pool);
}

static int
make_engine(struct syn_wasm *wasm, uint32_t count, struct syn_err *err)
{
    const struct wt_api *api = &wasm->api;
    struct wt_config *config;
    struct wt_pool *pool;
    int rc = try_addresses((WASM_MEMORY_RESERVED + WASM_MEMORY_GUARD) * (count + 1), err);

    if (rc < 0)
        return rc;
    config = api->config_new();
    pool = api->pool_new();
    api->config_fuel(config, true);
    api->config_epoch(config, true);
    api->config_stack(config, SYN_WASM_STACK_BYTES);
    api->config_fiber(config, SYN_WASM_STACK_BYTES + SYN_WASM_HOST_STACK_BYTES);
    api->config_threads(config, false);
    api->config_memory64(config, false);
    api->config_cow(config, true);
    api->config_reserve(config, WASM_MEMORY_RESERVED);
    api->config_guard(config, WASM_MEMORY_GUARD);
    set_pool(api, config, pool, count);
    api->pool_delete(pool);
    wasm->engine = api->engine_new(config);
    return wt_check_version(api, wasm->engine, err);
}

static void *
tick(void *arg)
{
    struct syn_wasm *wasm = arg;
    const struct timespec step = {0, SYN_WASM_TICK_NS};
    int idle = 0;

    (void)pthread_mutex_lock(&wasm->lock);
    while (!wasm->closing) {
        if (atomic_load(&wasm->running)) {
            idle = 0;
        } else if (++idle > IDLE_TICKS) {
            /* Who enters counts itself first and looks then; we say so first and look then. */
            atomic_store(&wasm->asleep, true);
            while (!wasm->closing && !atomic_load(&wasm->running))
                (void)pthread_cond_wait(&wasm->wake, &wasm->lock);
            atomic_store(&wasm->asleep, false);
            idle = 0;
        }
        (void)pthread_mutex_unlock(&wasm->lock);
        (void)nanosleep(&step, NULL);
        wasm->api.engine_tick(wasm->engine);
        (void)pthread_mutex_lock(&wasm->lock);
    }
    (void)pthread_mutex_unlock(&wasm->lock);
    return NULL;
}

bool
wasm_enter(struct syn_wasm *wasm)
{
    if (atomic_fetch_add(&wasm->running, 1) >= wasm->instances_max) {
        (void)atomic_fetch_sub(&wasm->running, 1);
        return false;
    }
    if (atomic_load(&wasm->asleep)) {
        (void)pthread_mutex_lock(&wasm->lock);
        (void)pthread_cond_signal(&wasm->wake);
        (void)pthread_mutex_unlock(&wasm->lock);
    }
    return true;
}

void
wasm_leave(struct syn_wasm *wasm)
{
    (void)atomic_fetch_sub(&wasm->running, 1);
}

/* The process's signals are for other threads. */
static int
start_ticker(struct syn_wasm *wasm, struct syn_err *err)
{
    sigset_t all, before;
    int error;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&wasm->ticker, NULL, tick, wasm);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return SYN_FAIL_SYS(err, error, "starting the clock of guests");
    wasm->ticking = true;
    return SYN_OK;
}

static void
close_scope(struct syn_wasm **slot)
{
    *slot = syn_wasm_close(*slot);
}

int
syn_wasm_open(const struct syn_wasm_options *options, struct syn_wasm **ret_wasm,
              struct syn_err *err)
{
    uint32_t count = options->instances_max ? options->instances_max : SYN_WASM_INSTANCES;
    SYN_SCOPED(close_scope) struct syn_wasm *wasm = syn_calloc(1, sizeof(*wasm));
    int rc;

    if (!wasm)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory");
    (void)pthread_mutex_init(&wasm->lock, NULL);
    (void)pthread_cond_init(&wasm->wake, NULL);
    if (count > SYN_WASM_INSTANCES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "at most %d instances at a time",
                        SYN_WASM_INSTANCES_MAX);
    wasm->instances_max = count;
    rc = wt_load(options->library, &wasm->api, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "loading Wasmtime");
    rc = make_engine(wasm, count, err);
    if (rc < 0)
        return rc;
    wasm->linker = wasm->api.linker_new(wasm->engine);
    rc = define(wasm, "synor", wasm_own_rows, wasm_own_row_count, err);
    if (rc == SYN_OK)
        rc = define(wasm, "wasi_snapshot_preview1", wasm_wasi_rows, wasm_wasi_row_count, err);
    if (rc == SYN_OK)
        rc = start_ticker(wasm, err);
    if (rc == SYN_OK)
        *ret_wasm = SYN_TAKE(wasm);
    return rc;
}

struct syn_wasm *
syn_wasm_close(struct syn_wasm *wasm)
{
    if (!wasm)
        return NULL;
    assert(atomic_load(&wasm->running) == 0);
    if (wasm->ticking) {
        (void)pthread_mutex_lock(&wasm->lock);
        wasm->closing = true;
        (void)pthread_cond_signal(&wasm->wake);
        (void)pthread_mutex_unlock(&wasm->lock);
        (void)pthread_join(wasm->ticker, NULL);
    }
    if (wasm->linker)
        wasm->api.linker_delete(wasm->linker);
    if (wasm->engine)
        wasm->api.engine_delete(wasm->engine);
    (void)pthread_cond_destroy(&wasm->wake);
    (void)pthread_mutex_destroy(&wasm->lock);
    syn_free(wasm);
    return NULL;
}
