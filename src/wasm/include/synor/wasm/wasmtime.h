/* The types of Wasmtime's C interface, as far as they are used: declared here, since its headers
 * are not packaged, for whoever loads the library at run time. Names without their prefixes; they
 * are those of wasm.h and wasmtime.h of version 48. Layouts only, no code: libsynor's driver of
 * WebAssembly uses them without the rest of this layer. */
#ifndef SYNOR_WASM_WASMTIME_H
#define SYNOR_WASM_WASMTIME_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYN_WASM_MAJOR "48" /* of Wasmtime; its interface is what is declared here */
/** Where scripts/wasmtime puts the library, and how it is called elsewhere. */
#define SYN_WASM_LIBRARY_PATH "/usr/local/lib/synor/" SYN_WASM_LIBRARY
#define SYN_WASM_LIBRARY      "libwasmtime.so." SYN_WASM_MAJOR

struct wt_config;
struct wt_pool;
struct wt_engine;
struct wt_store;
struct wt_context;
struct wt_module;
struct wt_linker;
struct wt_pre;
struct wt_caller;
struct wt_trap;
struct wt_error;
struct wt_valtype;
struct wt_functype;
struct wt_externtype;
struct wt_export;
struct wt_future;

struct wt_bytes { /* wasm_byte_vec_t */
    size_t size;
    char *data;
};

struct wt_exports { /* wasm_exporttype_vec_t */
    size_t size;
    struct wt_export **data;
};

struct wt_valtypes { /* wasm_valtype_vec_t */
    size_t size;
    struct wt_valtype **data;
};

enum { WT_I32, WT_I64, WT_F32, WT_F64 };                                      /* wasm_valkind_t */
enum { WT_EXTERN_FUNC, WT_EXTERN_GLOBAL, WT_EXTERN_TABLE, WT_EXTERN_MEMORY }; /* both kinds */
enum { WT_TRAP_STACK = 0, WT_TRAP_INTERRUPT = 10, WT_TRAP_FUEL = 11 }; /* wasmtime_trap_code_t */

struct wt_func {
    uint64_t store_id;
    void *priv;
};

struct wt_memory {
    struct {
        uint64_t store_id;
        uint32_t priv;
    } outer;
    uint32_t priv;
};

struct wt_instance {
    uint64_t store_id;
    size_t priv;
};

struct wt_extern {
    uint8_t kind;
    union {
        struct wt_func func;
        struct wt_memory memory;
        struct {
            uint64_t store_id;
            uint32_t priv[3];
        } global;
    } of;
};

struct wt_val { /* wasmtime_val_t */
    uint8_t kind;
    union {
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
        struct {
            uint64_t store_id;
            uint32_t priv[2];
            void *more;
        } ref;
    } of;
};

/* wasmtime_val_raw_t: an argument or result as the guest's code passes it, little-endian */
union wt_raw {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    uint8_t v128[16];
};

static_assert(sizeof(union wt_raw) == 16, "wasmtime_val_raw_t");
static_assert(sizeof(struct wt_val) == 32, "wasmtime_val_t");
static_assert(sizeof(struct wt_func) == 16, "wasmtime_func_t");
static_assert(sizeof(struct wt_memory) == 24, "wasmtime_memory_t");
static_assert(sizeof(struct wt_extern) == 32, "wasmtime_extern_t");

#endif
