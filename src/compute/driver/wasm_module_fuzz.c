/* Modules from strangers: what is read keeps to the limits, and what is not has a reason. */
#include <stdlib.h>
#include <string.h>

#include <synor/wasm/wasmtime.h>

#include "wasm_module_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wasm_kernels kernels;
    struct syn_err err = {0};

    if (wasm_module_read(data, size, "fuzz", &kernels, &err) < 0) {
        if (err.msg[0] == '\0')
            abort();
        return 0;
    }
    if (kernels.count == 0 || kernels.count > WASM_KERNELS_MAX)
        abort();
    for (unsigned i = 0; i < kernels.count; i++) {
        const struct wasm_kernel *kernel = &kernels.list[i];

        if (strnlen(kernel->name, sizeof(kernel->name)) == sizeof(kernel->name) ||
            kernel->params > SYN_DRV_ARGS_MAX)
            abort();
        for (unsigned k = 0; k < kernel->params; k++) {
            if (kernel->kinds[k] > WT_F64)
                abort();
        }
    }
    return 0;
}
