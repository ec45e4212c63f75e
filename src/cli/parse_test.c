/* The parser of command lines: what it takes, what it refuses, and in which words. */
#include <string.h>

#include <synor/base/test.h>

#include "command_test_priv.h"

#define WORDS_MAX 12

static int
parse(const char *const *words, struct syn_cli_line *line, struct syn_err *err)
{
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "synor"};
    int argc = 1;

    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    return syn_cli_parse(&test_table, argc, argv, line, err);
}

static void
test_accepts(void **state)
{
    static const char *const words[] = {"store",    "put",   "-n5", "one", "--size=4kb",
                                        "-fv",      "--tag", "a",   "-t",  "b",
                                        "--budget", "1.5",   NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(words, &line, &err), &err);
    assert_ptr_equal(line.command, &test_put);
    assert_string_equal(line.group, "store put");
    assert_int_equal(line.operand_count, 1);
    assert_string_equal(line.operands[0], "one");
    assert_int_equal(line.value_count, 7);
    assert_int_equal(line.values[0].number, 5);
    assert_int_equal(line.values[1].number, 4096);
    assert_string_equal(line.values[2].option->name, "force");
    assert_string_equal(line.values[3].option->name, "verbose");
    assert_string_equal(line.values[5].text, "b");
    assert_int_equal(line.values[6].number, 1500000000);
}

static void
test_last_value_counts(void **state)
{
    static const char *const words[] = {"store", "put", "x",  "--budget", "1",
                                        "-n",    "2",   "-n", "3",        NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(words, &line, &err), &err);
    assert_int_equal(line.value_count, 2);
    assert_int_equal(line.values[1].number, 3);
}

static void
test_double_dash_ends_options(void **state)
{
    static const char *const words[] = {"store", "put", "--budget", "1",
                                        "--",    "-n",  "--json",   NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(words, &line, &err), &err);
    assert_int_equal(line.operand_count, 2);
    assert_string_equal(line.operands[0], "-n");
    assert_string_equal(line.operands[1], "--json");
}

/* A command's own option wins over the global one of the same name. */
static void
test_own_option_shadows(void **state)
{
    static const char *const own[] = {"store", "put", "x", "--budget", "1", "--from", "f", NULL};
    static const char *const global[] = {"store", "get", "--from", "u", NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(own, &line, &err), &err);
    assert_ptr_equal(line.values[1].option, &test_put_options[8]);
    assert_done(parse(global, &line, &err), &err);
    assert_ptr_equal(line.values[0].option, &test_globals[1]);
    assert_true(syn_cli_shadows(&test_put, &test_globals[1]));
    assert_false(syn_cli_shadows(&test_put, &test_globals[0]));
}

/* What looks like an option and is none, or stands behind '=', is a value. */
static void
test_values_with_dashes(void **state)
{
    static const char *const words[] = {"store",         "put",    "x",     "--budget", "1",
                                        "--from=--json", "--from", "--odd", NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(words, &line, &err), &err);
    assert_string_equal(line.values[line.value_count - 1].text, "--odd");
}

/* --help needs nothing else to be right, and a group alone is no error. */
static void
test_help_and_groups(void **state)
{
    static const char *const help[] = {"store", "put", "--help", NULL};
    static const char *const group[] = {"store", NULL};
    static const char *const nothing[] = {NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(help, &line, &err), &err);
    assert_true(line.help);
    assert_done(parse(group, &line, &err), &err);
    assert_null(line.command);
    assert_string_equal(line.group, "store");
    assert_done(parse(nothing, &line, &err), &err);
    assert_string_equal(line.group, "");
}

static const struct refusal {
    const char *words[WORDS_MAX];
    const char *says;
} refusals[] = {
    {{"stroe"}, "did you mean \"store\"?"},
    {{"store", "pt"}, "did you mean \"put\"?"},
    {{"frobnicate"}, "there is no command \"synor frobnicate\""},
    {{"store", "put", "x", "--budget", "1", "--cuont", "1"}, "did you mean --count?"},
    {{"store", "put", "x", "--budget", "1", "-z"}, "there is no option -z"},
    {{"store", "put", "x", "--budget"}, "--budget needs a value"},
    {{"store", "put", "x", "--budget", "1", "--from", "--help"}, "--from needs a value"},
    {{"store", "put", "x", "--budget", "1", "--from", "--json"}, "--from needs a value"},
    {{"store", "put", "x", "--budget", "1", "--from", "--size=1"}, "--from needs a value"},
    {{"store", "put", "x"}, "--budget SYNOR is needed"},
    {{"store", "put", "--budget", "1"}, "FIRST is needed"},
    {{"store", "get", "x"}, "\"x\" is one argument too many"},
    {{"store", "put", "x", "--budget", "1", "-n", "0"}, "count"},
    {{"store", "put", "x", "--budget", "1", "-n", "10"}, "count"},
    {{"store", "put", "x", "--budget", "1", "--size", "4xb"}, "size"},
    {{"store", "put", "x", "--budget", "1", "--rate", "fast"}, "rate"},
    {{"store", "put", "x", "--budget", "1", "--wait", "soon"}, "wait"},
    {{"store", "put", "x", "--budget", "1", "--cpus", "-1"}, "cpus"},
    {{"store", "put", "x", "--budget", "0.0000000001"}, "budget"},
    {{"store", "put", "x", "--budget", "1", "--kind", "round"}, "is not one of plain, framed"},
    {{"store", "put", "x", "--budget", "1", "--kind", "plain:2"}, "is not one of"},
    {{"store", "put", "x", "--budget", "1", "--kind", "framed:"}, "is not one of"},
    {{"store", "put", "x", "--budget", "1", "--force=yes"}, "--force takes no value"},
};

static void
test_refuses(void **state)
{
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(refusals); i++) {
        assert_code(parse(refusals[i].words, &line, &err), SYN_E_INVALID, &err);
        if (strstr(err.msg, refusals[i].says) == NULL)
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.msg, refusals[i].says);
    }
}

static void
test_choices_with_text(void **state)
{
    static const char *const plain[] = {"store", "put",    "x",      "--budget",
                                        "1",     "--kind", "framed", NULL};
    static const char *const more[] = {"store", "put",    "x",           "--budget",
                                       "1",     "--kind", "framed:gold", NULL};
    struct syn_cli_line line;
    struct syn_err err;

    (void)state;
    assert_done(parse(plain, &line, &err), &err);
    assert_done(parse(more, &line, &err), &err);
    assert_string_equal(line.values[1].text, "framed:gold");
}

/* A hostile command line is refused, not written past its arrays. */
static void
test_limits(void **state)
{
    static char *argv[2000];
    struct syn_cli_line line;
    struct syn_err err;
    static char word[4096];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(argv); i++)
        argv[i] = (char *)(uintptr_t) "x";
    argv[1] = (char *)(uintptr_t) "store";
    argv[2] = (char *)(uintptr_t) "put";
    assert_code(syn_cli_parse(&test_table, SYN_LEN(argv), argv, &line, &err), SYN_E_INVALID, &err);
    for (size_t i = 3; i < SYN_LEN(argv); i++)
        argv[i] = (char *)(uintptr_t) "-tx";
    assert_code(syn_cli_parse(&test_table, SYN_LEN(argv), argv, &line, &err), SYN_E_INVALID, &err);
    memset(word, 'w', sizeof(word) - 1);
    argv[1] = word;
    assert_code(syn_cli_parse(&test_table, 2, argv, &line, &err), SYN_E_INVALID, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_last_value_counts),
        cmocka_unit_test(test_double_dash_ends_options),
        cmocka_unit_test(test_own_option_shadows),
        cmocka_unit_test(test_values_with_dashes),
        cmocka_unit_test(test_help_and_groups),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_choices_with_text),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
