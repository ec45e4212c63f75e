/* The suite on the strategy named on the command line, or on all. */
#include <stdio.h>
#include <string.h>

#include "strategy_suite.h"

static const struct syn_strategy_case cases[] = {
    {"heft", SYN_SUITE_PRIORITY, SYN_SUITE_FASTER, true},
    {"steal", SYN_SUITE_NEWEST, SYN_SUITE_ANY, true},
    {"eager", SYN_SUITE_PRIORITY, SYN_SUITE_ANY, true},
    {"latency", SYN_SUITE_DUE, SYN_SUITE_FASTER, true},
    {"energy", SYN_SUITE_PRIORITY, SYN_SUITE_EFFICIENT, true},
    {"cost", SYN_SUITE_PRIORITY, SYN_SUITE_CHEAPER, true},
    {"round-robin", SYN_SUITE_PRIORITY, SYN_SUITE_ANY, false},
    {"dmda", SYN_SUITE_FIFO, SYN_SUITE_FASTER, false},
    {"dmdas", SYN_SUITE_PRIORITY, SYN_SUITE_FASTER, false},
    {"heteroprio", SYN_SUITE_PRIORITY, SYN_SUITE_ANY, true},
};

int
main(int argc, char **argv)
{
    size_t strategies;
    int failed = 0;

    (void)syn_strategies(&strategies);
    if (strategies != SYN_LEN(cases)) {
        (void)fprintf(stderr, "%zu strategies, %zu of them have a case\n", strategies,
                      SYN_LEN(cases));
        return 1;
    }
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        if (argc < 2 || strcmp(argv[1], cases[i].name) == 0)
            failed += syn_strategy_suite_run(&cases[i]);
    return failed;
}
