#include "driver_suite.h"

#include "drivers_priv.h"

int
main(void)
{
    const struct syn_driver_case with = {
        .ops = &syn_driver_cpu,
        .source = {.format = SYN_FORMAT_NATIVE,
                   .name = "suite",
                   .entries = syn_suite_entries,
                   .entries_count = syn_suite_entries_count},
        .broken = {.format = SYN_FORMAT_NATIVE, .name = "broken", .entries = syn_suite_entries},
        .fails = SYN_E_CORRUPT,
    };

    return syn_driver_suite_run(&with);
}
