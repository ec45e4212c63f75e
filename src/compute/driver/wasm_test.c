/* Kernels in WebAssembly on the installed Wasmtime: the suite of all drivers, and what only this
 * one refuses or can do. */
#include "driver_suite.h"

#include <string.h>

#include "drivers_priv.h"

int
main(void)
{
    static const char broken[] = "(module (func (export \"axpy\") (i32.nonsense)))";
    const struct syn_driver_case with = {
        .ops = &syn_driver_wasm,
        .source = {.format = SYN_FORMAT_WASM,
                   .name = "suite",
                   .text = syn_suite_wasm,
                   .len = strlen(syn_suite_wasm)},
        .broken = {.format = SYN_FORMAT_WASM,
                   .name = "broken",
                   .text = broken,
                   .len = sizeof(broken) - 1},
        .fails = SYN_E_IO,
    };

    return syn_driver_suite_run(&with);
}
