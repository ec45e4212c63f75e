/* The suite against a machine's own HIP runtime, or against the stand-in named as argument. */
#include "driver_suite.h"

#include <string.h>

#include "drivers_priv.h"

int
main(int argc, char **argv)
{
    static const char broken[] = "extern \"C\" __global__ void axpy() { nonsense; }";
    const struct syn_driver_case with = {
        .ops = &syn_driver_hip,
        .options = {.library = argc > 1 ? argv[1] : NULL},
        .source = {.format = SYN_FORMAT_HIP_C,
                   .name = "suite",
                   .text = syn_suite_cuda,
                   .len = strlen(syn_suite_cuda)},
        .broken = {.format = SYN_FORMAT_HIP_C,
                   .name = "broken",
                   .text = broken,
                   .len = sizeof(broken) - 1},
    };

    return syn_driver_suite_run(&with);
}
