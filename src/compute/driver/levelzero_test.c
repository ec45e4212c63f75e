/* The suite against a machine's own Level Zero, or against the stand-in named as argument. */
#include "driver_suite.h"

#include <string.h>

#include "drivers_priv.h"

int
main(int argc, char **argv)
{
    static const char broken[] = "kernel void axpy() { nonsense; }";
    const struct syn_driver_case with = {
        .ops = &syn_driver_levelzero,
        .options = {.library = argc > 1 ? argv[1] : NULL},
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
