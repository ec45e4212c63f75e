/* The functions of Wasmtime's C interface that guests are run by, loaded at run time. They are held
 * against the library by the checks of wt_load() and every test that runs a guest. */
#ifndef SYN_WASM_WASMTIME_PRIV_H
#define SYN_WASM_WASMTIME_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/wasm/wasmtime.h>

/* Arguments come in `values`, results go there. A trap ends the guest; the callee owns it. */
typedef struct wt_trap *wt_host_fn(void *env, struct wt_caller *caller, union wt_raw *values,
                                   size_t count);

/* How a wait goes on: true ends it. */
struct wt_continuation {
    bool (*callback)(void *env);
    void *env;
    void (*finalizer)(void *env);
};

/* The same for a function during which others may run. Results are to be there when it goes on. */
typedef void wt_wait_fn(void *env, struct wt_caller *caller, const struct wt_val *args,
                        size_t arg_count, struct wt_val *results, size_t result_count,
                        struct wt_trap **ret_trap, struct wt_continuation *ret_continuation);

/* One row each: field, symbol, result, parameters. yield_after returns nothing, whatever its own
 * declaration says: what is in the register then is no error. */
#define WT_FUNCTIONS(X)                                                                            \
    X(config_new, wasm_config_new, struct wt_config *, (void))                                     \
    X(config_fuel, wasmtime_config_consume_fuel_set, void, (struct wt_config *, bool))             \
    X(config_epoch, wasmtime_config_epoch_interruption_set, void, (struct wt_config *, bool))      \
    X(config_stack, wasmtime_config_max_wasm_stack_set, void, (struct wt_config *, size_t))        \
    X(config_fiber, wasmtime_config_async_stack_size_set, void, (struct wt_config *, size_t))      \
    X(config_threads, wasmtime_config_wasm_threads_set, void, (struct wt_config *, bool))          \
    X(config_memory64, wasmtime_config_wasm_memory64_set, void, (struct wt_config *, bool))        \
    X(config_cow, wasmtime_config_memory_init_cow_set, void, (struct wt_config *, bool))           \
    X(config_reserve, wasmtime_config_memory_reservation_set, void,                                \
      (struct wt_config *, uint64_t))                                                              \
    X(config_guard, wasmtime_config_memory_guard_size_set, void, (struct wt_config *, uint64_t))   \
    X(config_pool, wasmtime_pooling_allocation_strategy_set, void,                                 \
      (struct wt_config *, const struct wt_pool *))                                                \
    X(pool_new, wasmtime_pooling_allocation_config_new, struct wt_pool *, (void))                  \
    X(pool_delete, wasmtime_pooling_allocation_config_delete, void, (struct wt_pool *))            \
    X(pool_instances, wasmtime_pooling_allocation_config_total_core_instances_set, void,           \
      (struct wt_pool *, uint32_t))                                                                \
    X(pool_stacks, wasmtime_pooling_allocation_config_total_stacks_set, void,                      \
      (struct wt_pool *, uint32_t))                                                                \
    X(pool_keep_stack, wasmtime_pooling_allocation_config_async_stack_keep_resident_set, void,     \
      (struct wt_pool *, size_t))                                                                  \
    X(pool_memories, wasmtime_pooling_allocation_config_total_memories_set, void,                  \
      (struct wt_pool *, uint32_t))                                                                \
    X(pool_tables, wasmtime_pooling_allocation_config_total_tables_set, void,                      \
      (struct wt_pool *, uint32_t))                                                                \
    X(pool_memory_size, wasmtime_pooling_allocation_config_max_memory_size_set, void,              \
      (struct wt_pool *, size_t))                                                                  \
    X(pool_table_elements, wasmtime_pooling_allocation_config_table_elements_set, void,            \
      (struct wt_pool *, size_t))                                                                  \
    X(pool_instance_size, wasmtime_pooling_allocation_config_max_core_instance_size_set, void,     \
      (struct wt_pool *, size_t))                                                                  \
    X(pool_keep, wasmtime_pooling_allocation_config_linear_memory_keep_resident_set, void,         \
      (struct wt_pool *, size_t))                                                                  \
    X(pool_keep_table, wasmtime_pooling_allocation_config_table_keep_resident_set, void,           \
      (struct wt_pool *, size_t))                                                                  \
    X(engine_new, wasm_engine_new_with_config, struct wt_engine *, (struct wt_config *))           \
    X(engine_delete, wasm_engine_delete, void, (struct wt_engine *))                               \
    X(engine_tick, wasmtime_engine_increment_epoch, void, (struct wt_engine *))                    \
    X(bytes_delete, wasm_byte_vec_delete, void, (struct wt_bytes *))                               \
    X(valtype_new, wasm_valtype_new, struct wt_valtype *, (uint8_t))                               \
    X(valtypes_new, wasm_valtype_vec_new, void,                                                    \
      (struct wt_valtypes *, size_t, struct wt_valtype *const *))                                  \
    X(functype_new, wasm_functype_new, struct wt_functype *,                                       \
      (struct wt_valtypes *, struct wt_valtypes *))                                                \
    X(functype_delete, wasm_functype_delete, void, (struct wt_functype *))                         \
    X(error_delete, wasmtime_error_delete, void, (struct wt_error *))                              \
    X(error_message, wasmtime_error_message, void, (const struct wt_error *, struct wt_bytes *))   \
    X(trap_new, wasmtime_trap_new, struct wt_trap *, (const char *, size_t))                       \
    X(trap_delete, wasm_trap_delete, void, (struct wt_trap *))                                     \
    X(trap_code, wasmtime_trap_code, bool, (const struct wt_trap *, uint8_t *))                    \
    X(trap_message, wasm_trap_message, void, (const struct wt_trap *, struct wt_bytes *))          \
    X(from_text, wasmtime_wat2wasm, struct wt_error *, (const char *, size_t, struct wt_bytes *))  \
    X(module_new, wasmtime_module_new, struct wt_error *,                                          \
      (struct wt_engine *, const uint8_t *, size_t, struct wt_module **))                          \
    X(module_delete, wasmtime_module_delete, void, (struct wt_module *))                           \
    X(module_exports, wasmtime_module_exports, void,                                               \
      (const struct wt_module *, struct wt_exports *))                                             \
    X(exports_delete, wasm_exporttype_vec_delete, void, (struct wt_exports *))                     \
    X(export_name, wasm_exporttype_name, const struct wt_bytes *, (const struct wt_export *))      \
    X(export_type, wasm_exporttype_type, const struct wt_externtype *, (const struct wt_export *)) \
    X(as_functype, wasm_externtype_as_functype_const, const struct wt_functype *,                  \
      (const struct wt_externtype *))                                                              \
    X(extern_kind, wasm_externtype_kind, uint8_t, (const struct wt_externtype *))                  \
    X(module_serialize, wasmtime_module_serialize, struct wt_error *,                              \
      (struct wt_module *, struct wt_bytes *))                                                     \
    X(module_load, wasmtime_module_deserialize_file, struct wt_error *,                            \
      (struct wt_engine *, const char *, struct wt_module **))                                     \
    X(linker_new, wasmtime_linker_new, struct wt_linker *, (struct wt_engine *))                   \
    X(linker_delete, wasmtime_linker_delete, void, (struct wt_linker *))                           \
    X(linker_define, wasmtime_linker_define_func_unchecked, struct wt_error *,                     \
      (struct wt_linker *, const char *, size_t, const char *, size_t, const struct wt_functype *, \
       wt_host_fn *, void *, void (*)(void *)))                                                    \
    X(linker_define_wait, wasmtime_linker_define_async_func, struct wt_error *,                    \
      (struct wt_linker *, const char *, size_t, const char *, size_t, const struct wt_functype *, \
       wt_wait_fn *, void *, void (*)(void *)))                                                    \
    X(linker_pre, wasmtime_linker_instantiate_pre, struct wt_error *,                              \
      (const struct wt_linker *, const struct wt_module *, struct wt_pre **))                      \
    X(pre_delete, wasmtime_instance_pre_delete, void, (struct wt_pre *))                           \
    X(pre_instantiate, wasmtime_instance_pre_instantiate_async, struct wt_future *,                \
      (const struct wt_pre *, struct wt_context *, struct wt_instance *, struct wt_trap **,        \
       struct wt_error **))                                                                        \
    X(store_new, wasmtime_store_new, struct wt_store *,                                            \
      (struct wt_engine *, void *, void (*)(void *)))                                              \
    X(store_delete, wasmtime_store_delete, void, (struct wt_store *))                              \
    X(store_context, wasmtime_store_context, struct wt_context *, (struct wt_store *))             \
    X(store_limit, wasmtime_store_limiter, void,                                                   \
      (struct wt_store *, int64_t, int64_t, int64_t, int64_t, int64_t))                            \
    X(set_fuel, wasmtime_context_set_fuel, struct wt_error *, (struct wt_context *, uint64_t))     \
    X(get_fuel, wasmtime_context_get_fuel, struct wt_error *, (struct wt_context *, uint64_t *))   \
    X(set_ticks, wasmtime_context_set_epoch_deadline, void, (struct wt_context *, uint64_t))       \
    X(yield_after, wasmtime_context_epoch_deadline_async_yield_and_update, void,                   \
      (struct wt_context *, uint64_t))                                                             \
    X(get_data, wasmtime_context_get_data, void *, (const struct wt_context *))                    \
    X(export_get, wasmtime_instance_export_get, bool,                                              \
      (struct wt_context *, const struct wt_instance *, const char *, size_t, struct wt_extern *)) \
    X(caller_export, wasmtime_caller_export_get, bool,                                             \
      (struct wt_caller *, const char *, size_t, struct wt_extern *))                              \
    X(caller_context, wasmtime_caller_context, struct wt_context *, (struct wt_caller *))          \
    X(memory_data, wasmtime_memory_data, uint8_t *,                                                \
      (const struct wt_context *, const struct wt_memory *))                                       \
    X(memory_size, wasmtime_memory_data_size, size_t,                                              \
      (const struct wt_context *, const struct wt_memory *))                                       \
    X(functype_params, wasm_functype_params, const struct wt_valtypes *,                           \
      (const struct wt_functype *))                                                                \
    X(functype_results, wasm_functype_results, const struct wt_valtypes *,                         \
      (const struct wt_functype *))                                                                \
    X(valtype_kind, wasm_valtype_kind, uint8_t, (const struct wt_valtype *))                       \
    X(func_call, wasmtime_func_call_async, struct wt_future *,                                     \
      (struct wt_context *, const struct wt_func *, const struct wt_val *, size_t,                 \
       struct wt_val *, size_t, struct wt_trap **, struct wt_error **))                            \
    X(future_poll, wasmtime_call_future_poll, bool, (struct wt_future *))                          \
    X(future_delete, wasmtime_call_future_delete, void, (struct wt_future *))

#define WT_FIELD(field, symbol, result, params) result(*field) params;
struct wt_api {
    WT_FUNCTIONS(WT_FIELD)
};

/** Fill `api` from `library`, or, if NULL, from where it is looked for. NOTFOUND, UNSUPPORTED. */
SYN_MUST int wt_load(const char *library, struct wt_api *api, struct syn_err *err);
/** SYN_E_UNSUPPORTED unless `engine` is of the version that is declared here. */
SYN_MUST int wt_check_version(const struct wt_api *api, struct wt_engine *engine,
                              struct syn_err *err);
/** Fail with `code` and what `error` says; consumes it. */
SYN_MUST int wt_fail_take(const struct wt_api *api, struct wt_error *error, int code,
                          const char *what, struct syn_err *err);

#endif
