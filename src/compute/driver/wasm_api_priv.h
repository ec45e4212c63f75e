/* The functions of Wasmtime's C interface that kernels are run by: loaded at run time, and fewer
 * than a server of guests needs (src/wasm). */
#ifndef SYN_COMPUTE_WASM_API_PRIV_H
#define SYN_COMPUTE_WASM_API_PRIV_H

#include <synor/wasm/wasmtime.h>

struct wt_memorytype;

struct wt_limits { /* wasm_limits_t: pages of 64 KiB */
    uint32_t min, max;
};

/* X(field, symbol, result, parameters) */
#define WASM_FUNCTIONS(X)                                                                          \
    X(config_new, wasm_config_new, struct wt_config *, (void))                                     \
    X(config_signals, wasmtime_config_signals_based_traps_set, void, (struct wt_config *, bool))   \
    X(engine_new, wasm_engine_new_with_config, struct wt_engine *, (struct wt_config *))           \
    X(engine_delete, wasm_engine_delete, void, (struct wt_engine *))                               \
    X(store_new, wasmtime_store_new, struct wt_store *,                                            \
      (struct wt_engine *, void *, void (*)(void *)))                                              \
    X(store_delete, wasmtime_store_delete, void, (struct wt_store *))                              \
    X(store_context, wasmtime_store_context, struct wt_context *, (struct wt_store *))             \
    X(memorytype_new, wasm_memorytype_new, struct wt_memorytype *, (const struct wt_limits *))     \
    X(memorytype_delete, wasm_memorytype_delete, void, (struct wt_memorytype *))                   \
    X(memory_new, wasmtime_memory_new, struct wt_error *,                                          \
      (struct wt_context *, const struct wt_memorytype *, struct wt_memory *))                     \
    X(memory_data, wasmtime_memory_data, uint8_t *,                                                \
      (const struct wt_context *, const struct wt_memory *))                                       \
    X(bytes_delete, wasm_byte_vec_delete, void, (struct wt_bytes *))                               \
    X(error_delete, wasmtime_error_delete, void, (struct wt_error *))                              \
    X(error_message, wasmtime_error_message, void, (const struct wt_error *, struct wt_bytes *))   \
    X(trap_delete, wasm_trap_delete, void, (struct wt_trap *))                                     \
    X(trap_message, wasm_trap_message, void, (const struct wt_trap *, struct wt_bytes *))          \
    X(from_text, wasmtime_wat2wasm, struct wt_error *, (const char *, size_t, struct wt_bytes *))  \
    X(module_new, wasmtime_module_new, struct wt_error *,                                          \
      (struct wt_engine *, const uint8_t *, size_t, struct wt_module **))                          \
    X(module_delete, wasmtime_module_delete, void, (struct wt_module *))                           \
    X(instance_new, wasmtime_instance_new, struct wt_error *,                                      \
      (struct wt_context *, const struct wt_module *, const struct wt_extern *, size_t,            \
       struct wt_instance *, struct wt_trap **))                                                   \
    X(export_get, wasmtime_instance_export_get, bool,                                              \
      (struct wt_context *, const struct wt_instance *, const char *, size_t, struct wt_extern *)) \
    X(func_call, wasmtime_func_call_unchecked, struct wt_error *,                                  \
      (struct wt_context *, const struct wt_func *, union wt_raw *, size_t, struct wt_trap **))

#define WASM_FIELD(field, symbol, result, params) result(*field) params;
struct wasm_api {
    WASM_FUNCTIONS(WASM_FIELD)
};

#endif
