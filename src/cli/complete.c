/* Shell completion, read off the command table. Both scripts carry one case a command path; the
 * shell finds the longest path on the line and offers sub-commands, options, choices or files. */
#include "command.h"

#include <synor/base/str.h>

/* The words that may follow `path`, blank-separated: sub-commands, or nothing for a leaf. */
static void
sub_words(const struct syn_cli_table *table, const char *path, struct syn_buf *out)
{
    char word[64];

    for (size_t i = 0; i < table->group_count; i++) {
        if (syn_cli_child(path, table->groups[i].path, word, sizeof(word)))
            syn_buf_addf(out, "%s ", word);
    }
    for (size_t i = 0; i < table->command_count; i++) {
        if (!table->commands[i]->hidden &&
            syn_cli_child(path, table->commands[i]->path, word, sizeof(word)))
            syn_buf_addf(out, "%s ", word);
    }
}

static void
option_words(const struct syn_cli_option *options, size_t count, struct syn_buf *out)
{
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(out, "--%s ", options[i].name);
}

static void
value_cases(const char *path, const struct syn_cli_option *options, size_t count,
            struct syn_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct syn_cli_option *option = &options[i];

        if (option->choices != NULL) {
            syn_buf_addf(out, "        '%s --%s') offers='", path, option->name);
            for (const char *c = option->choices; *c != '\0'; c++) {
                if (*c != ':')
                    syn_buf_addc(out, (char)(*c == '|' ? ' ' : *c));
            }
            syn_buf_adds(out, "' ;;\n");
        } else if (option->kind == SYN_CLI_FILE || option->kind == SYN_CLI_DIR) {
            syn_buf_addf(out, "        '%s --%s') files=1 ;;\n", path, option->name);
        }
    }
}

/* The shell function's body that both shells share: sets `offers` and `files` from $verb and
 * $previous. */
static void
tables(const struct syn_cli_table *table, struct syn_buf *out)
{
    syn_buf_adds(out, "    local offers='' files=''\n    case \"$verb $previous\" in\n");
    for (size_t i = 0; i < table->command_count; i++) {
        const struct syn_cli_command *command = table->commands[i];

        if (!command->hidden)
            value_cases(command->path, command->options, command->option_count, out);
    }
    syn_buf_adds(out, "    *)\n        case \"$verb\" in\n");
    syn_buf_adds(out, "        '') offers='");
    sub_words(table, "", out);
    syn_buf_adds(out, "--help' ;;\n");
    for (size_t i = 0; i < table->group_count; i++) {
        syn_buf_addf(out, "        '%s') offers='", table->groups[i].path);
        sub_words(table, table->groups[i].path, out);
        syn_buf_adds(out, "--help' ;;\n");
    }
    for (size_t i = 0; i < table->command_count; i++) {
        const struct syn_cli_command *command = table->commands[i];

        if (command->hidden)
            continue;
        syn_buf_addf(out, "        '%s') offers='", command->path);
        option_words(command->options, command->option_count, out);
        for (size_t j = 0; j < table->global_count; j++) {
            if (!syn_cli_shadows(command, &table->globals[j]))
                option_words(&table->globals[j], 1, out);
        }
        syn_buf_adds(out, "--help'");
        for (size_t j = 0; j < command->operand_count; j++) {
            if (command->operands[j].kind == SYN_CLI_FILE ||
                command->operands[j].kind == SYN_CLI_DIR) {
                syn_buf_adds(out, " files=1");
                break;
            }
        }
        syn_buf_adds(out, " ;;\n");
    }
    syn_buf_adds(out, "        esac ;;\n    esac\n");
}

/* A shell pattern that matches every path of the table, for finding the longest on the line. */
static void
known_paths(const struct syn_cli_table *table, struct syn_buf *out)
{
    for (size_t i = 0; i < table->group_count; i++)
        syn_buf_addf(out, "%s'%s'", i == 0 ? "" : "|", table->groups[i].path);
    for (size_t i = 0; i < table->command_count; i++) {
        if (!table->commands[i]->hidden)
            syn_buf_addf(out, "|'%s'", table->commands[i]->path);
    }
}

void
syn_cli_complete_bash(const struct syn_cli_table *table, struct syn_buf *out)
{
    syn_buf_adds(out, "# bash completion for synor; source it, or put it into bash_completion.d\n"
                      "_synor() {\n"
                      "    local current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                      "    local previous=\"${COMP_WORDS[COMP_CWORD-1]}\" verb='' word i\n"
                      "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                      "        word=\"${verb:+$verb }${COMP_WORDS[i]}\"\n"
                      "        case \"$word\" in\n        ");
    known_paths(table, out);
    syn_buf_adds(out, ") verb=\"$word\" ;;\n        esac\n    done\n");
    tables(table, out);
    syn_buf_adds(
        out,
        "    COMPREPLY=()\n"
        "    [ -z \"$offers\" ] || mapfile -t COMPREPLY < <(compgen -W \"$offers\" -- "
        "\"$current\")\n"
        "    if [ -n \"$files\" ] && [ \"${current#-}\" = \"$current\" ]; then\n"
        "        mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$current\")\n"
        "        compopt -o filenames\n"
        "    fi\n"
        "}\n"
        "complete -F _synor synor\n");
}

void
syn_cli_complete_zsh(const struct syn_cli_table *table, struct syn_buf *out)
{
    syn_buf_adds(
        out, "#compdef synor\n"
             "# zsh completion for synor; put it into a folder of $fpath as _synor, or source it\n"
             "_synor() {\n"
             "    local previous=\"$words[CURRENT-1]\" word\n"
             "    local -a typed=(\"${(@)words[2,CURRENT-1]}\")\n"
             "    local verb=''\n"
             "    for word in $typed; do\n"
             "        case \"${verb:+$verb }$word\" in\n        ");
    known_paths(table, out);
    syn_buf_adds(out, ") verb=\"${verb:+$verb }$word\" ;;\n        esac\n    done\n"
                      "    _synor_words \"$verb\" \"$previous\"\n"
                      "}\n"
                      "_synor_words() {\n"
                      "    local verb=\"$1\" previous=\"$2\"\n");
    tables(table, out);
    syn_buf_adds(out,
                 "    [[ -z \"$offers\" ]] || compadd -- ${=offers}\n"
                 "    [[ -z \"$files\" ]] || _files\n"
                 "}\n"
                 "# loaded from $fpath this is the first completion itself; sourced it is not\n"
                 "if [[ \"${funcstack[1]}\" == _synor ]]; then _synor; "
                 "else compdef _synor synor; fi\n");
}
