/* On PoCL where it is installed: a second memory space and a real compiler. The test's environment
 * asks it for two devices. */
#include "driver_suite.h"

#include <string.h>

#include "drivers_priv.h"

int
main(void)
{
    static const char broken[] = "kernel void axpy(global float *x) { x[0] = nonsense; }";
    const struct syn_driver_case with = {
        .ops = &syn_driver_opencl,
        .source = {.format = SYN_FORMAT_OPENCL_C,
                   .name = "suite",
                   .text = syn_suite_opencl,
                   .len = strlen(syn_suite_opencl)},
        .broken = {.format = SYN_FORMAT_OPENCL_C,
                   .name = "broken",
                   .text = broken,
                   .len = sizeof(broken) - 1},
    };

    return syn_driver_suite_run(&with);
}
