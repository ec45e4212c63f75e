#include "command.h"

#include <synor/base/str.h>
#include <synor/base/units.h>

const struct syn_cli_command *
syn_cli_find(const struct syn_cli_table *table, const char *path)
{
    for (size_t i = 0; i < table->command_count; i++) {
        if (syn_str_eq(table->commands[i]->path, path))
            return table->commands[i];
    }
    return NULL;
}

bool
syn_cli_is_group(const struct syn_cli_table *table, const char *path)
{
    size_t len = strlen(path);

    if (len == 0)
        return true;
    for (size_t i = 0; i < table->command_count; i++) {
        const struct syn_cli_command *command = table->commands[i];

        if (!command->hidden && syn_str_starts(command->path, path) && command->path[len] == ' ')
            return true;
    }
    return false;
}

bool
syn_cli_child(const char *group, const char *path, char *out, size_t cap)
{
    size_t len = strlen(group);
    const char *rest = path;

    if (len > 0) {
        if (!syn_str_starts(path, group) || path[len] != ' ')
            return false;
        rest = path + len + 1;
    }
    return strchr(rest, ' ') == NULL && syn_str_copy(out, cap, rest);
}

/* The nearest word that may follow `group`, or NULL when none is near. */
static const char *
nearest_word(const struct syn_cli_table *table, const char *group, const char *word, char *out,
             size_t cap)
{
    unsigned best = 3;
    size_t skip = group[0] == '\0' ? 0 : strlen(group) + 1;

    out[0] = '\0';
    for (size_t i = 0; i < table->command_count; i++) {
        const struct syn_cli_command *command = table->commands[i];
        char next[64];
        unsigned distance;

        if (command->hidden || strlen(command->path) <= skip ||
            (skip > 0 && (!syn_str_starts(command->path, group) || command->path[skip - 1] != ' ')))
            continue;
        (void)snprintf(next, sizeof(next), "%.*s", (int)strcspn(command->path + skip, " "),
                       command->path + skip);
        distance = syn_str_distance(word, next, best);
        if (distance < best) {
            best = distance;
            (void)syn_str_copy(out, cap, next);
        }
    }
    return out[0] == '\0' ? NULL : out;
}

static const struct syn_cli_option *
find_in(const struct syn_cli_option *options, size_t count, const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0)
            return &options[i];
    }
    return NULL;
}

bool
syn_cli_shadows(const struct syn_cli_command *command, const struct syn_cli_option *global)
{
    return find_in(command->options, command->option_count, global->name, strlen(global->name)) !=
           NULL;
}

static const struct syn_cli_option *
find_letter(const struct syn_cli_option *options, size_t count, char letter)
{
    for (size_t i = 0; i < count; i++) {
        if (options[i].letter == letter)
            return &options[i];
    }
    return NULL;
}

struct parser {
    const struct syn_cli_table *table;
    struct syn_cli_line *line;
    int argc;
    char *const *argv;
    int at;
};

static const char *
command_name(const struct parser *parser)
{
    return parser->line->command != NULL ? parser->line->command->path : parser->line->group;
}

static int
unknown_option(const struct parser *parser, const char *name, struct syn_err *err)
{
    const struct syn_cli_command *command = parser->line->command;
    const char *near = NULL;
    unsigned best = 4;
    size_t len = strcspn(name, "=");
    char plain[64];

    (void)snprintf(plain, sizeof(plain), "%.*s", (int)SYN_MIN(len, sizeof(plain) - 1), name);
    for (size_t i = 0; command != NULL && i < command->option_count; i++) {
        unsigned distance = syn_str_distance(plain, command->options[i].name, best);

        if (distance < best) {
            best = distance;
            near = command->options[i].name;
        }
    }
    if (near != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: there is no option --%s; did you mean --%s?",
                        command_name(parser), plain, near);
    return SYN_FAIL(err, SYN_E_INVALID, "%s: there is no option --%s", command_name(parser), plain);
}

/* "pytorch" or "pytorch:1.13" against "pytorch:|jax:|custom:"; "sgd" against "sgd|adam". */
static bool
choice_ok(const char *choices, const char *text)
{
    for (const char *at = choices; *at != '\0';) {
        size_t len = strcspn(at, "|");

        if (len > 0 && at[len - 1] == ':') {
            if (strncmp(at, text, len) == 0 && text[len] != '\0')
                return true;
            if (strlen(text) == len - 1 && strncmp(at, text, len - 1) == 0)
                return true;
        } else if (strlen(text) == len && strncmp(at, text, len) == 0) {
            return true;
        }
        at += len;
        if (*at == '|')
            at++;
    }
    return false;
}

/* "pytorch:|jax:" as "pytorch, jax". */
static const char *
show_choices(const char *choices, char *out, size_t cap)
{
    size_t len = 0;

    for (; *choices != '\0' && len + 3 < cap; choices++) {
        if (*choices == '|')
            out[len++] = ',';
        if (*choices != ':')
            out[len++] = (char)(*choices == '|' ? ' ' : *choices);
    }
    out[len] = '\0';
    return out;
}

static int
convert(const struct syn_cli_option *option, struct syn_cli_value *value, struct syn_err *err)
{
    int64_t max = option->min == 0 && option->max == 0 ? INT64_MAX : option->max;
    char choices[128], what[64];

    (void)snprintf(what, sizeof(what), "--%s", option->name);
    switch (option->kind) {
    case SYN_CLI_INT:
        return syn_parse_i64(value->text, option->min, max, what, &value->number, err);
    case SYN_CLI_REAL:
        return syn_parse_double(value->text, (double)option->min, (double)max, what, &value->real,
                                err);
    case SYN_CLI_BYTES:
        return syn_parse_bytes(value->text, what, &value->number, err);
    case SYN_CLI_CPUS:
        return syn_parse_cpus(value->text, what, &value->number, err);
    case SYN_CLI_DURATION:
        return syn_parse_duration_ms(value->text, what, &value->number, err);
    case SYN_CLI_AMOUNT:
        return syn_parse_amount(value->text, what, &value->number, err);
    case SYN_CLI_FLAG:
    case SYN_CLI_TEXT:
    case SYN_CLI_FILE:
    case SYN_CLI_DIR:
        break;
    }
    if (option->choices != NULL && !choice_ok(option->choices, value->text))
        return SYN_FAIL(err, SYN_E_INVALID, "--%s: \"%.40s\" is not one of %s", option->name,
                        value->text, show_choices(option->choices, choices, sizeof(choices)));
    return SYN_OK;
}

static const struct syn_cli_option *
find_long(const struct parser *parser, const char *name, size_t len)
{
    const struct syn_cli_command *command = parser->line->command;
    const struct syn_cli_option *option = NULL;

    if (command != NULL)
        option = find_in(command->options, command->option_count, name, len);
    return option != NULL ? option
                          : find_in(parser->table->globals, parser->table->global_count, name, len);
}

/* The next word as a value: not one that is an option itself. `up --encrypt --help` must not make a
 * key file of that name; who means it writes --encrypt=--help. */
static const char *
next_value(struct parser *parser)
{
    const char *word = parser->at + 1 < parser->argc ? parser->argv[parser->at + 1] : NULL;

    if (word == NULL || strcmp(word, "--help") == 0 ||
        (syn_str_starts(word, "--") && find_long(parser, word + 2, strcspn(word + 2, "=")) != NULL))
        return NULL;
    parser->at++;
    return word;
}

/* Record one occurrence; `inline_text` is the text after '=' (or glued to a letter), or NULL. */
static int
take_option(struct parser *parser, const struct syn_cli_option *option, const char *inline_text,
            struct syn_err *err)
{
    struct syn_cli_line *line = parser->line;
    struct syn_cli_value value = {option, NULL, 0, 0};
    int rc;

    if (option->value == NULL) {
        if (inline_text != NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: --%s takes no value", command_name(parser),
                            option->name);
        value.number = 1;
    } else {
        value.text = inline_text != NULL ? inline_text : next_value(parser);
        if (value.text == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: --%s needs a value: --%s %s",
                            command_name(parser), option->name, option->name, option->value);
        rc = convert(option, &value, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s", command_name(parser));
    }
    for (size_t i = 0; i < line->value_count && !option->repeat; i++) {
        if (line->values[i].option == option) {
            line->values[i] = value; /* the last one counts, as everywhere */
            return SYN_OK;
        }
    }
    if (line->value_count == SYN_CLI_VALUES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "more than %d options", SYN_CLI_VALUES_MAX);
    line->values[line->value_count++] = value;
    return SYN_OK;
}

static int
take_long(struct parser *parser, const char *name, struct syn_err *err)
{
    size_t len = strcspn(name, "=");
    const struct syn_cli_option *option = find_long(parser, name, len);

    if (option == NULL)
        return unknown_option(parser, name, err);
    return take_option(parser, option, name[len] == '=' ? name + len + 1 : NULL, err);
}

/* "-f", "-fy" (flags together), "-n5" (value glued). */
static int
take_letters(struct parser *parser, const char *letters, struct syn_err *err)
{
    const struct syn_cli_command *command = parser->line->command;

    for (const char *at = letters; *at != '\0'; at++) {
        const struct syn_cli_option *option = NULL;
        int rc;

        if (command != NULL)
            option = find_letter(command->options, command->option_count, *at);
        if (option == NULL)
            option = find_letter(parser->table->globals, parser->table->global_count, *at);
        if (option == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: there is no option -%c", command_name(parser),
                            *at);
        if (option->value != NULL)
            return take_option(parser, option, at[1] != '\0' ? at + 1 : NULL, err);
        rc = take_option(parser, option, NULL, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* Take the next word as part of the command's path, or as an operand. */
static int
take_word(struct parser *parser, const char *word, struct syn_err *err)
{
    struct syn_cli_line *line = parser->line;
    char path[sizeof(line->group)];
    char near[64];
    const char *suggestion;

    if (line->command != NULL) {
        size_t most = line->command->operand_count;

        if (most > 0 && line->command->operands[most - 1].repeat)
            most = SYN_CLI_OPERANDS_MAX;
        if (line->operand_count >= most)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: \"%s\" is one argument too many",
                            command_name(parser), word);
        line->operands[line->operand_count++] = word;
        return SYN_OK;
    }
    if (snprintf(path, sizeof(path), "%s%s%s", line->group, line->group[0] == '\0' ? "" : " ",
                 word) >= (int)sizeof(path))
        return SYN_FAIL(err, SYN_E_INVALID, "there is no command \"%.40s...\"", word);
    line->command = syn_cli_find(parser->table, path);
    if (line->command != NULL || syn_cli_is_group(parser->table, path)) {
        (void)syn_str_copy(line->group, sizeof(line->group), path);
        return SYN_OK;
    }
    suggestion = nearest_word(parser->table, line->group, word, near, sizeof(near));
    return SYN_FAIL(err, SYN_E_INVALID, "there is no command \"synor %s\"%s%s%s", path,
                    suggestion != NULL ? "; did you mean \"" : "",
                    suggestion != NULL ? suggestion : "", suggestion != NULL ? "\"?" : "");
}

static int
check_required(const struct syn_cli_line *line, struct syn_err *err)
{
    const struct syn_cli_command *command = line->command;

    for (size_t i = 0; i < command->option_count; i++) {
        const struct syn_cli_option *option = &command->options[i];
        bool seen = !option->required;

        for (size_t j = 0; j < line->value_count && !seen; j++)
            seen = line->values[j].option == option;
        if (!seen)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: --%s %s is needed (%s)", command->path,
                            option->name, option->value, option->help);
    }
    for (size_t i = line->operand_count; i < command->operand_count; i++) {
        if (command->operands[i].required)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: %s is needed (%s)", command->path,
                            command->operands[i].name, command->operands[i].help);
    }
    return SYN_OK;
}

int
syn_cli_parse(const struct syn_cli_table *table, int argc, char *const *argv,
              struct syn_cli_line *ret_line, struct syn_err *err)
{
    struct parser parser = {table, ret_line, argc, argv, 1};
    bool options_over = false;
    int rc = SYN_OK;

    memset(ret_line, 0, sizeof(*ret_line));
    for (; parser.at < argc && rc == SYN_OK; parser.at++) {
        const char *word = argv[parser.at];

        if (options_over || word[0] != '-' || word[1] == '\0')
            rc = take_word(&parser, word, err);
        else if (strcmp(word, "--") == 0)
            options_over = true;
        else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            ret_line->help = true;
        else if (word[1] == '-')
            rc = take_long(&parser, word + 2, err);
        else
            rc = take_letters(&parser, word + 1, err);
    }
    if (rc < 0)
        return rc;
    if (ret_line->help || ret_line->command == NULL)
        return SYN_OK;
    return check_required(ret_line, err);
}
