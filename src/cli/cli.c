/* One invocation of synor(1): parse, run, exit status. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "cli_priv.h"

static volatile sig_atomic_t interrupted;

static void
on_signal(int signo)
{
    (void)signo;
    interrupted = 1;
}

bool
syn_cli_interrupted(void)
{
    return interrupted != 0;
}

/* --- values ---------------------------------------------------------------------------------- */

static const struct syn_cli_value *
last_value(const struct syn_cli *cli, const char *option)
{
    const struct syn_cli_value *found = NULL;

    for (size_t i = 0; i < cli->line.value_count; i++) {
        if (syn_str_eq(cli->line.values[i].option->name, option))
            found = &cli->line.values[i];
    }
    return found;
}

bool
syn_cli_has(const struct syn_cli *cli, const char *option)
{
    return last_value(cli, option) != NULL;
}

const char *
syn_cli_text(const struct syn_cli *cli, const char *option, const char *otherwise)
{
    const struct syn_cli_value *value = last_value(cli, option);

    return value != NULL ? value->text : otherwise;
}

int64_t
syn_cli_number(const struct syn_cli *cli, const char *option, int64_t otherwise)
{
    const struct syn_cli_value *value = last_value(cli, option);

    return value != NULL ? value->number : otherwise;
}

const struct syn_cli_value *
syn_cli_next(const struct syn_cli *cli, const char *option, size_t *cursor)
{
    while (*cursor < cli->line.value_count) {
        const struct syn_cli_value *value = &cli->line.values[(*cursor)++];

        if (syn_str_eq(value->option->name, option))
            return value;
    }
    return NULL;
}

const char *
syn_cli_operand(const struct syn_cli *cli, size_t index)
{
    return index < cli->line.operand_count ? cli->line.operands[index] : NULL;
}

/* --- results --------------------------------------------------------------------------------- */

int
syn_cli_fail(const struct syn_cli *cli, const struct syn_err *err)
{
    const struct syn_err_info *info = syn_err_info(err->code);

    if (cli->json) {
        json_t *answer = json_pack("{s:s, s:s}", "code", info->wire, "message", err->msg);

        (void)syn_cli_print_json_take(cli, answer);
    }
    fprintf(stderr, "%ssynor: %s%s\n", cli->color && cli->err_tty ? "\033[31m" : "", err->msg,
            cli->color && cli->err_tty ? "\033[0m" : "");
    return info->exit;
}

int
syn_cli_print_json_take(const struct syn_cli *cli, json_t *value)
{
    SYN_JSON(owned);
    SYN_BUF(text);
    struct syn_err err;

    owned = value;
    if (value == NULL || syn_json_write_pretty(value, &text, &err) < 0) {
        fputs("synor: out of memory\n", stderr);
        return 1;
    }
    syn_buf_addc(&text, '\n');
    fputs(syn_buf_text(&text), stdout);
    (void)cli;
    return fflush(stdout) == 0 ? 0 : 1;
}

void
syn_cli_say(const struct syn_cli *cli, const char *format, ...)
{
    va_list args;

    if (cli->json || cli->quiet)
        return;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void
syn_cli_note(const struct syn_cli *cli, const char *format, ...)
{
    va_list args;

    if (cli->quiet)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

bool
syn_cli_confirm(const struct syn_cli *cli, const char *question)
{
    char answer[16];

    if (cli->yes || cli->json || !isatty(STDIN_FILENO) || !cli->err_tty)
        return true;
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof(answer), stdin) == NULL)
        return false;
    return answer[0] == 'y' || answer[0] == 'Y';
}

/* --- running --------------------------------------------------------------------------------- */

static int
set_home(struct syn_cli *cli, struct syn_err *err)
{
    const char *given = syn_cli_text(cli, "home", getenv("SYNOR_HOME"));
    const char *user = getenv("HOME");
    char cwd[256];
    int len;

    if (given != NULL && given[0] == '/') {
        len = snprintf(cli->home, sizeof(cli->home), "%s", given);
    } else if (given != NULL && given[0] != '\0') {
        if (getcwd(cwd, sizeof(cwd)) == NULL)
            return SYN_FAIL_SYS(err, errno, "cannot tell the current folder");
        len = snprintf(cli->home, sizeof(cli->home), "%s/%s", cwd, given);
    } else {
        len = snprintf(cli->home, sizeof(cli->home), "%s/.synor", user != NULL ? user : "/root");
    }
    if (len < 0 || (size_t)len >= sizeof(cli->home))
        return SYN_FAIL(err, SYN_E_INVALID, "SYNOR_HOME is longer than %zu bytes",
                        sizeof(cli->home) - 1);
    return SYN_OK;
}

static int
print_help(const struct syn_cli *cli)
{
    SYN_BUF(out);

    if (cli->line.command != NULL)
        syn_cli_help_command(&syn_cli_program, cli->line.command, &out);
    else
        syn_cli_help_group(&syn_cli_program, cli->line.group, &out);
    fputs(syn_buf_text(&out), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

static void
setup_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

int
syn_cli_main(int argc, char **argv, const struct syn_cli_host *host)
{
    struct syn_cli *cli = calloc(1, sizeof(*cli));
    struct syn_err err = {0};
    int status;

    if (cli == NULL)
        return 1;
    cli->host = host;
    cli->argc = argc;
    cli->argv = argv;
    cli->out_tty = isatty(STDOUT_FILENO) != 0;
    cli->err_tty = isatty(STDERR_FILENO) != 0;
    cli->color = getenv("NO_COLOR") == NULL;
    if (syn_cli_parse(&syn_cli_program, argc, argv, &cli->line, &err) < 0) {
        for (int i = 1; i < argc; i++)
            cli->json = cli->json || strcmp(argv[i], "--json") == 0;
        status = syn_cli_fail(cli, &err);
        fprintf(stderr, "Try: synor %s%s--help\n", cli->line.group,
                cli->line.group[0] == '\0' ? "" : " ");
        free(cli);
        return status;
    }
    cli->json = syn_cli_has(cli, "json");
    cli->quiet = syn_cli_has(cli, "quiet");
    cli->yes = syn_cli_has(cli, "yes");
    if (cli->line.help || cli->line.command == NULL) {
        status = print_help(cli);
        if (!cli->line.help && argc > 1)
            status = 2; /* a group alone does nothing */
    } else if (set_home(cli, &err) < 0) {
        status = syn_cli_fail(cli, &err);
    } else {
        setup_signals();
        status = cli->line.command->run(cli);
    }
    syn_client_free(cli->client);
    free(cli);
    return status;
}
