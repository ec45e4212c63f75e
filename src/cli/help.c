/* --help: read off the command table, 80 columns, to be printed on standard output. */
#include "command.h"

#include <synor/base/str.h>

#define COLUMNS_MAX 80
#define HELP_COLUMN 30

/* Append `text` wrapped at 80 columns, each line after `indent` blanks; the first line continues at
 * `column`. */
static void
wrap(struct syn_buf *out, const char *text, size_t indent, size_t column)
{
    while (*text != '\0') {
        size_t len = strcspn(text, " \n");

        if (column > indent && column + len + (column > indent ? 1 : 0) > COLUMNS_MAX - 1) {
            syn_buf_addc(out, '\n');
            column = 0;
        }
        if (column < indent) {
            syn_buf_addf(out, "%*s", (int)(indent - column), "");
            column = indent;
        } else if (column > indent) {
            syn_buf_addc(out, ' ');
            column++;
        }
        syn_buf_add(out, text, len);
        column += len;
        text += len;
        if (*text == '\n') {
            syn_buf_addc(out, '\n');
            column = 0;
            text++;
        }
        while (*text == ' ')
            text++;
    }
    syn_buf_addc(out, '\n');
}

/* "  name            help", the help wrapped in its own column. */
static void
row(struct syn_buf *out, const char *name, const char *help)
{
    size_t len = strlen(name) + 2;

    syn_buf_addf(out, "  %s", name);
    if (len + 2 > HELP_COLUMN) {
        syn_buf_addc(out, '\n');
        len = 0;
    }
    syn_buf_addf(out, "%*s", (int)(HELP_COLUMN - len), "");
    wrap(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void
option_rows(struct syn_buf *out, const struct syn_cli_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct syn_cli_option *option = &options[i];
        char name[96];
        SYN_BUF(help);

        (void)snprintf(name, sizeof(name), "%c%c%s--%s%s%s", option->letter != 0 ? '-' : ' ',
                       option->letter != 0 ? option->letter : ' ',
                       option->letter != 0 ? ", " : "  ", option->name,
                       option->value != NULL ? " " : "",
                       option->value != NULL ? option->value : "");
        syn_buf_adds(&help, option->help);
        if (option->choices != NULL) {
            syn_buf_adds(&help, " (");
            for (const char *c = option->choices; *c != '\0'; c++) {
                if (*c == '|')
                    syn_buf_adds(&help, ", ");
                else if (*c != ':')
                    syn_buf_addc(&help, *c);
            }
            syn_buf_addc(&help, ')');
        }
        if (option->required)
            syn_buf_adds(&help, " [needed]");
        if (option->fallback != NULL)
            syn_buf_addf(&help, " [%s]", option->fallback);
        row(out, name, syn_buf_text(&help));
    }
}

/* Those that the command has not taken for itself; NULL: all. */
static void
global_rows(struct syn_buf *out, const struct syn_cli_table *table,
            const struct syn_cli_command *command)
{
    syn_buf_adds(out, "\nOptions of every command:\n");
    for (size_t i = 0; i < table->global_count; i++) {
        if (command == NULL || !syn_cli_shadows(command, &table->globals[i]))
            option_rows(out, &table->globals[i], 1);
    }
}

static void
usage_line(struct syn_buf *out, const struct syn_cli_command *command)
{
    SYN_BUF(line);

    syn_buf_addf(&line, "synor %s", command->path);
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].required)
            syn_buf_addf(&line, " --%s %s", command->options[i].name, command->options[i].value);
    }
    if (command->option_count > 0)
        syn_buf_adds(&line, " [OPTION...]");
    for (size_t i = 0; i < command->operand_count; i++) {
        const struct syn_cli_operand *operand = &command->operands[i];

        syn_buf_addf(&line, operand->required ? " %s%s" : " [%s%s]", operand->name,
                     operand->repeat ? "..." : "");
    }
    syn_buf_adds(out, "Usage: ");
    wrap(out, syn_buf_text(&line), 7, 7);
}

void
syn_cli_help_command(const struct syn_cli_table *table, const struct syn_cli_command *command,
                     struct syn_buf *out)
{
    usage_line(out, command);
    syn_buf_addc(out, '\n');
    wrap(out, command->summary, 0, 0);
    if (command->detail != NULL) {
        syn_buf_addc(out, '\n');
        wrap(out, command->detail, 0, 0);
    }
    if (command->operand_count > 0) {
        syn_buf_adds(out, "\nArguments:\n");
        for (size_t i = 0; i < command->operand_count; i++)
            row(out, command->operands[i].name, command->operands[i].help);
    }
    if (command->option_count > 0) {
        syn_buf_adds(out, "\nOptions:\n");
        option_rows(out, command->options, command->option_count);
    }
    global_rows(out, table, command);
    if (command->examples != NULL)
        syn_buf_addf(out, "\nExamples:\n%s", command->examples);
}

static void
group_rows(const struct syn_cli_table *table, const char *group, struct syn_buf *out)
{
    char word[64];

    for (size_t i = 0; i < table->group_count; i++) {
        if (syn_cli_child(group, table->groups[i].path, word, sizeof(word)))
            row(out, word, table->groups[i].summary);
    }
    for (size_t i = 0; i < table->command_count; i++) {
        const struct syn_cli_command *command = table->commands[i];

        if (!command->hidden && syn_cli_child(group, command->path, word, sizeof(word)))
            row(out, word, command->summary);
    }
}

void
syn_cli_help_group(const struct syn_cli_table *table, const char *group, struct syn_buf *out)
{
    const char *summary = "A priced, isolated, verifiable compute cloud from one binary.";

    for (size_t i = 0; i < table->group_count; i++) {
        if (syn_str_eq(table->groups[i].path, group))
            summary = table->groups[i].summary;
    }
    syn_buf_addf(out, "Usage: synor %s%sCOMMAND ...\n\n%s\n\nCommands:\n", group,
                 group[0] == '\0' ? "" : " ", summary);
    group_rows(table, group, out);
    global_rows(out, table, NULL);
    syn_buf_addf(out, "\nSee `synor %s%sCOMMAND --help` for one command.\n", group,
                 group[0] == '\0' ? "" : " ");
}
