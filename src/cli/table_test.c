/* What is read off the command table (help, man pages, completion), and the program's own table. */
#include <ctype.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/strategy.h>

#include "command_test_priv.h"

static void
assert_says(const struct syn_buf *out, const char *text)
{
    if (strstr(syn_buf_text(out), text) == NULL)
        fail_msg("\"%s\" is missing in:\n%s", text, syn_buf_text(out));
}

static void
assert_silent(const struct syn_buf *out, const char *text)
{
    if (strstr(syn_buf_text(out), text) != NULL)
        fail_msg("\"%s\" stands in:\n%s", text, syn_buf_text(out));
}

static void
test_help(void **state)
{
    SYN_BUF(command);
    SYN_BUF(group);

    (void)state;
    syn_cli_help_command(&test_table, &test_put, &command);
    assert_says(&command, "Usage: synor store put --budget SYNOR [OPTION...] FIRST [REST...]\n");
    assert_says(&command, "\n  -n, --count N               How many [1]\n");
    assert_says(&command, "Which (plain, framed)");
    assert_says(&command, "The most [needed]");
    assert_says(&command, "  synor store put x --budget 1\n");
    assert_says(&command, "--json");
    assert_silent(&command, "Another meaning");
    syn_cli_help_group(&test_table, "", &group);
    assert_says(&group, "  store                       Things that are kept\n");
    assert_says(&group, "  stop ");
    assert_silent(&group, "secret");
    assert_silent(&group, "  get ");
}

static void
test_manual(void **state)
{
    SYN_BUF(command);
    SYN_BUF(program);

    (void)state;
    syn_cli_man_command(&test_table, &test_put, &command);
    assert_int_equal(strncmp(syn_buf_text(&command), "synor-store-put(1)\n", 19), 0);
    assert_says(&command, "with \\*stars\\* and under\\_scores");
    assert_says(&command, "# EXAMPLES");
    syn_cli_man_program(&test_table, &program);
    assert_says(&program, "*synor store put*\n\tPut something");
    assert_silent(&program, "secret");
}

static void
test_completion(void **state)
{
    SYN_BUF(bash);
    SYN_BUF(zsh);

    (void)state;
    syn_cli_complete_bash(&test_table, &bash);
    assert_says(&bash, "'') offers='store stop --help'");
    assert_says(&bash, "'store') offers='put get --help'");
    assert_says(&bash, "'store put --kind') offers='plain framed'");
    assert_says(&bash, "'store put --from') files=1");
    assert_silent(&bash, "secret");
    syn_cli_complete_zsh(&test_table, &zsh);
    assert_int_equal(strncmp(syn_buf_text(&zsh), "#compdef synor\n", 15), 0);
    assert_says(&zsh, "'store') offers='put get --help'");
}

/* --- the program's own table ----------------------------------------------------------------- */

static void
check_options(const char *where, const struct syn_cli_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct syn_cli_option *option = &options[i];

        if ((option->value == NULL) != (option->kind == SYN_CLI_FLAG))
            fail_msg("%s --%s: a flag has no value, everything else has one", where, option->name);
        if (option->help == NULL || syn_str_ends(option->help, "."))
            fail_msg("%s --%s: help is missing, or ends with a full stop", where, option->name);
        if (option->choices != NULL && option->kind != SYN_CLI_TEXT)
            fail_msg("%s --%s: only text has choices", where, option->name);
        for (size_t j = 0; j < i; j++) {
            if (syn_str_eq(options[j].name, option->name) ||
                (option->letter != 0 && options[j].letter == option->letter))
                fail_msg("%s --%s: name or letter is there twice", where, option->name);
        }
    }
}

static void
check_command(const struct syn_cli_command *command)
{
    assert_non_null(command->run);
    assert_non_null(command->summary);
    if (syn_str_ends(command->summary, "."))
        fail_msg("%s: the summary ends with a full stop", command->path);
    if (!isupper((unsigned char)command->summary[0]))
        fail_msg("%s: the summary begins small", command->path);
    check_options(command->path, command->options, command->option_count);
    for (size_t i = 0; i + 1 < command->operand_count; i++) {
        if (command->operands[i].repeat ||
            (!command->operands[i].required && command->operands[i + 1].required))
            fail_msg("%s: only the last arguments may be optional or repeat", command->path);
    }
}

static void
test_program(void **state)
{
    const struct syn_cli_table *program = &syn_cli_program;

    (void)state;
    check_options("global", program->globals, program->global_count);
    for (size_t i = 0; i < program->command_count; i++) {
        const struct syn_cli_command *command = program->commands[i];

        check_command(command);
        assert_ptr_equal(syn_cli_find(program, command->path), command); /* no path twice */
    }
    for (size_t i = 0; i < program->group_count; i++)
        assert_true(syn_cli_is_group(program, program->groups[i].path));
}

/* What run-graph offers are the library's strategies, and the default is the library's. */
static void
test_strategies(void **state)
{
    const struct syn_cli_command *command = syn_cli_find(&syn_cli_program, "compute run-graph");
    const struct syn_strategy_ops *const *known;
    const struct syn_cli_option *option;
    SYN_BUF(choices);
    size_t count = 0;

    (void)state;
    assert_non_null(command);
    option = command->options;
    while (!syn_str_eq(option->name, "strategy"))
        option++;
    known = syn_strategies(&count);
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&choices, "%s%s", i > 0 ? "|" : "", known[i]->name);
    assert_string_equal(option->choices, syn_buf_text(&choices));
    assert_non_null(syn_strategy_find(option->fallback));
}

/* Help of everything there is fits a terminal. */
static void
test_columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < syn_cli_program.command_count; i++) {
        SYN_BUF(out);
        size_t column = 0;

        syn_cli_help_command(&syn_cli_program, syn_cli_program.commands[i], &out);
        for (const char *at = syn_buf_text(&out); *at != '\0'; at++) {
            column = *at == '\n' ? 0 : column + 1;
            if (column > 80)
                fail_msg("%s --help: a line is longer than 80 columns",
                         syn_cli_program.commands[i]->path);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),       cmocka_unit_test(test_manual),
        cmocka_unit_test(test_completion), cmocka_unit_test(test_program),
        cmocka_unit_test(test_strategies), cmocka_unit_test(test_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
