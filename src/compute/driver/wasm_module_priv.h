/* What a module in WebAssembly's binary format exports, as far as the driver must know it.
 * Wasmtime's own account cannot be asked: its C interface ends the process where a type has
 * vectors. */
#ifndef SYN_COMPUTE_WASM_MODULE_PRIV_H
#define SYN_COMPUTE_WASM_MODULE_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/compute/driver_ops.h>

#define WASM_KERNELS_MAX 64
#define WASM_TYPES_MAX   1024

struct wasm_kernel {
    char name[SYN_DRV_NAME_MAX];
    unsigned params;
    uint8_t kinds[SYN_DRV_ARGS_MAX]; /* WT_I32 .. WT_F64 */
};

struct wasm_kernels {
    bool memory; /* the module imports one */
    unsigned count;
    struct wasm_kernel list[WASM_KERNELS_MAX];
};

/** Read `data`, which need not be a module at all. INVALID: it is none, or one that is no program
 * of kernels: it imports more than a memory, has data, or exports a function that is no kernel. */
SYN_MUST int wasm_module_read(const uint8_t *data, size_t size, const char *name,
                              struct wasm_kernels *ret_kernels, struct syn_err *err);

#endif
