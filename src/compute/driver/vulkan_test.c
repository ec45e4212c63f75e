/* The suite on whatever the machine's Vulkan loader knows: lavapipe, where that is installed. */
#include "driver_suite.h"

#include <string.h>

#include "drivers_priv.h"

int
main(void)
{
    static const char broken[] = "KERNEL axpy(float x) { x = nonsense; }";
    const struct syn_driver_case with = {
        .ops = &syn_driver_vulkan,
        .source = {.format = SYN_FORMAT_GLSL,
                   .name = "suite",
                   .text = syn_suite_glsl,
                   .len = strlen(syn_suite_glsl)},
        .broken = {.format = SYN_FORMAT_GLSL,
                   .name = "broken",
                   .text = broken,
                   .len = sizeof(broken) - 1},
        /* Three runs of a hundred ended so, in a thread of lavapipe's, whatever was locked. */
        .one_thread =
            "lavapipe (Mesa 22.3) reads what it has freed while it compiles a kernel, and "
            "dies when others take memory meanwhile",
    };

    return syn_driver_suite_run(&with);
}
