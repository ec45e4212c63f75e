/* A small program for the tests of the command table's readers. */
#ifndef SYN_CLI_COMMAND_TEST_PRIV_H
#define SYN_CLI_COMMAND_TEST_PRIV_H

#include "command.h"

/* clang-format off */
static const struct syn_cli_option test_put_options[] = {
    {"count", 'n', "N", SYN_CLI_INT, 1, 9, false, false, NULL, "1", "How many"},
    {"size", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, NULL, "How large"},
    {"rate", 0, "X", SYN_CLI_REAL, 0, 0, false, false, NULL, NULL, "How fast"},
    {"kind", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "plain|framed:", NULL, "Which"},
    {"tag", 't', "TAG", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "May be given again"},
    {"force", 'f', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Even so"},
    {"verbose", 'v', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Say more"},
    {"budget", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, true, false, NULL, NULL, "The most"},
    {"from", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL, "A file"},
    {"wait", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, NULL, "How long"},
    {"cpus", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, NULL, "How many cores"},
};
static const struct syn_cli_operand test_put_operands[] = {
    {"FIRST", SYN_CLI_TEXT, true, false, "The first"},
    {"REST", SYN_CLI_FILE, false, true, "The others"},
};
static const struct syn_cli_option test_globals[] = {
    {"json", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "As JSON"},
    {"from", 0, "URL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Another meaning"},
};
/* clang-format on */
static const struct syn_cli_command test_put = {.path = "store put",
                                                .summary = "Put something",
                                                .detail =
                                                    "More about it, with *stars* and under_scores.",
                                                .examples = "  synor store put x --budget 1\n",
                                                .options = test_put_options,
                                                .option_count = SYN_LEN(test_put_options),
                                                .operands = test_put_operands,
                                                .operand_count = SYN_LEN(test_put_operands)};
static const struct syn_cli_command test_get = {.path = "store get", .summary = "Get it back"};
static const struct syn_cli_command test_stop = {.path = "stop", .summary = "Stop"};
static const struct syn_cli_command test_secret = {
    .path = "secret", .summary = "Not shown", .hidden = true};
static const struct syn_cli_command *const test_commands[] = {&test_put, &test_get, &test_stop,
                                                              &test_secret};
static const struct syn_cli_group test_groups[] = {{"store", "Things that are kept"}};
static const struct syn_cli_table test_table = {
    test_commands,        SYN_LEN(test_commands), test_groups,
    SYN_LEN(test_groups), test_globals,           SYN_LEN(test_globals),
};

#endif
