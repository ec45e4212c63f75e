/* The engine and its modules. */
#ifndef SYN_WASM_WASM_PRIV_H
#define SYN_WASM_WASM_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <synor/wasm/wasm.h>

#include "wasmtime_priv.h"

/* What an instance's memory has of the address space. */
#define WASM_MEMORY_RESERVED (UINT64_C(4) << 30)
#define WASM_MEMORY_GUARD    (UINT64_C(32) << 20)

struct syn_wasm {
    struct wt_api api;
    struct wt_engine *engine;
    struct wt_linker *linker;
    int64_t instances_max;
    _Atomic int64_t running;

    /* The ticker: a thread that moves the engine's epoch on while guests run. */
    pthread_t ticker;
    bool ticking;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic bool asleep; /* written under `lock` */
    bool closing;        /* under `lock` */
};

struct syn_wasm_module {
    struct syn_wasm *wasm;
    struct wt_module *module;
    struct wt_pre *pre;
    bool command; /* _start, else synor_handle */
};

/** Count a call in, so that time passes for it. False: instances_max are under way. */
bool wasm_enter(struct syn_wasm *wasm);
void wasm_leave(struct syn_wasm *wasm);

#endif
