/* version, completion, manual: what the program can say of itself. */
#include <sys/utsname.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

static int
run_version(struct syn_cli *cli)
{
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:s}", "version", SYN_VERSION, "api", "v1"));
    syn_cli_say(cli, "synor %s", SYN_VERSION);
    return 0;
}

const struct syn_cli_command syn_cli_version_command = {
    .path = "version", .summary = "Print the version", .run = run_version};

static int
run_completion(struct syn_cli *cli)
{
    const char *shell = syn_cli_operand(cli, 0);
    struct syn_err err;
    SYN_BUF(out);

    if (syn_str_eq(shell, "bash")) {
        syn_cli_complete_bash(&syn_cli_program, &out);
    } else if (syn_str_eq(shell, "zsh")) {
        syn_cli_complete_zsh(&syn_cli_program, &out);
    } else {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "completion: \"%s\" is not one of bash, zsh", shell);
        return syn_cli_fail(cli, &err);
    }
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:s}", "shell", shell, "script", syn_buf_text(&out)));
    fputs(syn_buf_text(&out), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

static const struct syn_cli_operand completion_operands[] = {
    {"SHELL", SYN_CLI_TEXT, true, false, "bash or zsh"},
};

const struct syn_cli_command syn_cli_completion_command = {
    .path = "completion",
    .summary = "Print the completion script of a shell",
    .examples = "  source <(synor completion bash)\n",
    .operands = completion_operands,
    .operand_count = SYN_LEN(completion_operands),
    .run = run_completion};

/* Without a command: one path a line, for the script that makes all pages. */
static int
run_manual(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_BUF(out);
    const struct syn_cli_command *command;

    for (size_t i = 0; i < cli->line.operand_count; i++)
        syn_buf_addf(&path, "%s%s", i == 0 ? "" : " ", syn_cli_operand(cli, i));
    if (cli->line.operand_count == 0) {
        for (size_t i = 0; i < syn_cli_program.command_count; i++) {
            if (!syn_cli_program.commands[i]->hidden)
                printf("%s\n", syn_cli_program.commands[i]->path);
        }
        return 0;
    }
    command = syn_cli_find(&syn_cli_program, syn_buf_text(&path));
    if (command != NULL) {
        syn_cli_man_command(&syn_cli_program, command, &out);
    } else if (syn_str_eq(syn_buf_text(&path), "synor")) {
        syn_cli_man_program(&syn_cli_program, &out);
    } else {
        fprintf(stderr, "synor: manual: there is no command \"%s\"\n", syn_buf_text(&path));
        return 2;
    }
    fputs(syn_buf_text(&out), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

static const struct syn_cli_operand manual_operands[] = {
    {"WORD", SYN_CLI_TEXT, false, true, "words of the command's path, or `synor`"},
};

const struct syn_cli_command syn_cli_manual_command = {
    .path = "manual",
    .summary = "Print a man page's source, or the list of commands",
    .operands = manual_operands,
    .operand_count = SYN_LEN(manual_operands),
    .run = run_manual,
    .hidden = true};
