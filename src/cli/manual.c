/* Man pages in scdoc's language, read off the command table. */
#include "command.h"

#include <synor/base/str.h>

/* scdoc gives meaning to _ and *; everything we print is plain text. */
static void
plain(struct syn_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("_*\\<>#|~`[]", *text) != NULL)
            syn_buf_addc(out, '\\');
        syn_buf_addc(out, *text);
    }
}

static void
choices(const char *text, struct syn_buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            syn_buf_adds(out, ", ");
        else if (*text != ':')
            syn_buf_addc(out, *text);
    }
}

static void
options_section(const struct syn_cli_option *options, size_t count, struct syn_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct syn_cli_option *option = &options[i];

        syn_buf_adds(out, "*");
        if (option->letter != 0)
            syn_buf_addf(out, "-%c*, *", option->letter);
        syn_buf_adds(out, "--");
        plain(out, option->name);
        syn_buf_adds(out, "*");
        if (option->value != NULL) {
            syn_buf_adds(out, " ");
            plain(out, option->value);
        }
        syn_buf_adds(out, "\n\t");
        plain(out, option->help);
        syn_buf_addc(out, '.');
        if (option->choices != NULL) {
            syn_buf_adds(out, " One of: ");
            choices(option->choices, out);
            syn_buf_addc(out, '.');
        }
        if (option->required)
            syn_buf_adds(out, " Needed.");
        if (option->fallback != NULL) {
            syn_buf_adds(out, " Default: ");
            plain(out, option->fallback);
            syn_buf_addc(out, '.');
        }
        syn_buf_adds(out, "\n\n");
    }
}

static void
header(struct syn_buf *out, const char *path, const char *summary)
{
    syn_buf_adds(out, "synor");
    for (const char *c = path; *c != '\0'; c++) {
        if (c == path)
            syn_buf_addc(out, '-');
        syn_buf_addc(out, (char)(*c == ' ' ? '-' : *c));
    }
    syn_buf_adds(out, "(1)\n\n# NAME\n\nsynor");
    if (path[0] != '\0')
        syn_buf_addf(out, " %s", path);
    syn_buf_adds(out, " - ");
    plain(out, summary);
    syn_buf_adds(out, "\n\n");
}

static void
exit_section(struct syn_buf *out)
{
    syn_buf_adds(out, "# EXIT STATUS\n\n0 done; 1 failed; 2 wrong usage; 3 cannot be placed; "
                      "4 over budget or insufficient funds.\n\n");
}

void
syn_cli_man_command(const struct syn_cli_table *table, const struct syn_cli_command *command,
                    struct syn_buf *out)
{
    header(out, command->path, command->summary);
    syn_buf_addf(out, "# SYNOPSIS\n\n*synor %s*", command->path);
    if (command->option_count > 0)
        syn_buf_adds(out, " \\[OPTION...\\]");
    for (size_t i = 0; i < command->operand_count; i++)
        syn_buf_addf(out, " %s%s", command->operands[i].name,
                     command->operands[i].repeat ? "..." : "");
    syn_buf_adds(out, "\n\n# DESCRIPTION\n\n");
    plain(out, command->summary);
    syn_buf_adds(out, ".\n\n");
    if (command->detail != NULL) {
        plain(out, command->detail);
        syn_buf_adds(out, "\n\n");
    }
    if (command->operand_count > 0) {
        syn_buf_adds(out, "# ARGUMENTS\n\n");
        for (size_t i = 0; i < command->operand_count; i++) {
            syn_buf_addf(out, "*%s*\n\t", command->operands[i].name);
            plain(out, command->operands[i].help);
            syn_buf_adds(out, "\n\n");
        }
    }
    syn_buf_adds(out, "# OPTIONS\n\n");
    options_section(command->options, command->option_count, out);
    for (size_t i = 0; i < table->global_count; i++) {
        if (!syn_cli_shadows(command, &table->globals[i]))
            options_section(&table->globals[i], 1, out);
    }
    if (command->examples != NULL)
        syn_buf_addf(out, "# EXAMPLES\n\n```\n%s```\n\n", command->examples);
    exit_section(out);
    syn_buf_adds(out, "# SEE ALSO\n\n*synor*(1)\n");
}

void
syn_cli_man_program(const struct syn_cli_table *table, struct syn_buf *out)
{
    header(out, "", "a priced, isolated, verifiable compute cloud from one binary");
    syn_buf_adds(out, "# SYNOPSIS\n\n*synor* COMMAND \\[OPTION...\\]\n\n# COMMANDS\n\n");
    for (size_t i = 0; i < table->command_count; i++) {
        if (table->commands[i]->hidden)
            continue;
        syn_buf_addf(out, "*synor %s*\n\t", table->commands[i]->path);
        plain(out, table->commands[i]->summary);
        syn_buf_adds(out, "\n\n");
    }
    syn_buf_adds(out, "# OPTIONS\n\n");
    options_section(table->globals, table->global_count, out);
    syn_buf_adds(out, "# ENVIRONMENT\n\n*SYNOR\\_HOME*\n\tFolder of the local platform's state "
                      "and socket. Default: ~/.synor\n\n"
                      "*SYNOR\\_SERVER*\n\tA server's URL, used instead of the local socket.\n\n"
                      "*SYNOR\\_TOKEN*\n\tThe bearer token for that server.\n\n"
                      "*SYNOR\\_FINGERPRINT*\n\tSha256 of that server's key in hexadecimal: "
                      "it is trusted then, and no authority is asked.\n\n"
                      "*NO\\_COLOR*\n\tWhen set, output carries no colours.\n\n");
    exit_section(out);
}
