/* One invocation of synor(1): parse, run, exit status. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "cli_priv.h"

static volatile sig_atomic_t interrupted;
static struct syn_client *_Atomic to_cancel;

/* The second one kills, should the first not be enough: the handler is installed for one time. */
static void
on_signal(int signo)
{
    struct syn_client *client = atomic_load(&to_cancel);

    (void)signo;
    interrupted = 1;
    if (client != NULL)
        syn_client_cancel(client);
}

void
syn_cli_cancel_on_signal(struct syn_client *client)
{
    atomic_store(&to_cancel, client);
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

double
syn_cli_real(const struct syn_cli *cli, const char *option, double otherwise)
{
    const struct syn_cli_value *value = last_value(cli, option);

    return value != NULL ? value->real : otherwise;
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

/* The way out of what always has the same one. */
static const char *
hint_of(const struct syn_cli *cli, int code)
{
    static const struct {
        const char *group, *hint;
    } lists[] = {{"compute train ", "what there is: synor compute train list"},
                 {"compute service ", "what there is: synor compute service list"},
                 {"account ", "what there is: synor account list"},
                 {"bill ", "what there is: synor bill list"},
                 {"node ", "what there is: synor node list"}};
    const char *path = cli->line.command != NULL ? cli->line.command->path : "";

    if (code == SYN_E_FUNDS)
        return "synor account balance shows what there is; on a development network, "
               "synor account faucet grants more";
    for (size_t i = 0; i < SYN_LEN(lists) && code == SYN_E_NOTFOUND; i++) {
        if (syn_str_starts(path, lists[i].group) && !syn_str_ends(path, " create"))
            return lists[i].hint;
    }
    return NULL;
}

int
syn_cli_fail(const struct syn_cli *cli, const struct syn_err *err)
{
    const struct syn_err_info *info = syn_err_info(err->code);
    const json_t *told = cli->client != NULL ? syn_client_error(cli->client) : NULL;
    const char *hint = hint_of(cli, err->code);

    /* The server's word on the same trouble knows more than we do. */
    if (!syn_str_eq(syn_json_str(told, "code", ""), info->wire))
        told = NULL;
    hint = syn_json_str(told, "hint", hint);
    if (cli->json) {
        json_t *details = json_object_get(told, "details");
        json_t *answer =
            json_pack("{s:s, s:s, s:s?, s:o}", "code", info->wire, "message", err->msg, "hint",
                      hint, "details", details != NULL ? json_incref(details) : json_object());

        (void)syn_cli_print_json_take(cli, answer);
    }
    fprintf(stderr, "%ssynor: %s%s\n", cli->color && cli->err_tty ? "\033[31m" : "", err->msg,
            cli->color && cli->err_tty ? "\033[0m" : "");
    if (hint != NULL)
        fprintf(stderr, "Hint: %s\n", hint);
    return info->exit;
}

int
syn_cli_print_json_take(const struct syn_cli *cli, json_t *value)
{
    SYN_SCOPED(syn_json_scope) json_t *owned = value;
    SYN_BUF(text);
    struct syn_err err;

    if (owned == NULL || (cli->json_lines ? syn_json_write(owned, &text, &err)
                                          : syn_json_write_pretty(owned, &text, &err)) < 0) {
        fputs("synor: out of memory\n", stderr);
        return 1;
    }
    (void)puts(syn_buf_text(&text));
    return fflush(stdout) == 0 ? 0 : 1;
}

void
syn_cli_say(const struct syn_cli *cli, const char *format, ...)
{
    va_list args;

    if (cli->json)
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

int
syn_cli_absolute(const char *path, char *out, size_t cap, struct syn_err *err)
{
    char cwd[1024];
    int len;

    if (path[0] == '/') {
        len = snprintf(out, cap, "%s", path);
    } else {
        if (getcwd(cwd, sizeof(cwd)) == NULL)
            return SYN_FAIL_SYS(err, errno, "cannot tell the current folder");
        len = snprintf(out, cap, "%s/%s", cwd, path);
    }
    if (len < 0 || (size_t)len >= cap)
        return SYN_FAIL(err, SYN_E_INVALID, "%.80s...: longer than %zu bytes", path, cap - 1);
    return SYN_OK;
}

int
syn_cli_read_file(const char *path, size_t most, struct syn_buf *out, struct syn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 1;
    int rc = SYN_OK;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "%s", path);
    while (got > 0 && out->len <= most) {
        char *room = syn_buf_reserve(out, 65536 + 1); /* it is a text: a zero follows */

        if (room == NULL)
            break;
        got = read(fd, room, 65536);
        if (got >= 0)
            room[got] = '\0';
        if (got > 0)
            out->len += (size_t)got;
    }
    if (got < 0)
        rc = SYN_FAIL_SYS(err, errno, "%s", path);
    else if (out->len > most)
        rc = SYN_FAIL(err, SYN_E_TOOBIG, "%s: larger than %zu bytes", path, most);
    else
        rc = syn_buf_ok(out, err);
    (void)close(fd);
    return rc;
}

static int
set_home(struct syn_cli *cli, struct syn_err *err)
{
    const char *given =
        syn_cli_text(cli, "data-dir", syn_cli_text(cli, "home", getenv("SYNOR_HOME")));
    const char *user = getenv("HOME");
    int len;

    if (given != NULL && given[0] != '\0')
        return syn_cli_absolute(given, cli->home, sizeof(cli->home), err);
    len = snprintf(cli->home, sizeof(cli->home), "%s/.synor", user != NULL ? user : "/root");
    if (len < 0 || (size_t)len >= sizeof(cli->home))
        return SYN_FAIL(err, SYN_E_INVALID, "HOME is longer than %zu bytes", sizeof(cli->home) - 1);
    return SYN_OK;
}

static int
print_help(const struct syn_cli *cli, FILE *file)
{
    SYN_BUF(out);

    if (cli->line.command != NULL)
        syn_cli_help_command(&syn_cli_program, cli->line.command, &out);
    else
        syn_cli_help_group(&syn_cli_program, cli->line.group, &out);
    fputs(syn_buf_text(&out), file);
    return fflush(file) == 0 ? 0 : 1;
}

static void
setup_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

void
syn_cli_signals_reset(void)
{
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGPIPE, SIG_DFL);
}

int
syn_cli_main(int argc, char **argv, const struct syn_cli_host *host)
{
    struct syn_cli *cli = syn_calloc(1, sizeof(*cli));
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
        syn_free(cli);
        return status;
    }
    cli->json = syn_cli_has(cli, "json");
    cli->quiet = syn_cli_has(cli, "quiet");
    cli->yes = syn_cli_has(cli, "yes");
    if (cli->line.help || cli->line.command == NULL) {
        bool usage = !cli->line.help && argc > 1; /* a group alone does nothing */

        status = print_help(cli, usage ? stderr : stdout);
        if (usage)
            status = syn_err_info(SYN_E_INVALID)->exit;
    } else if (set_home(cli, &err) < 0) {
        status = syn_cli_fail(cli, &err);
    } else {
        setup_signals();
        status = cli->line.command->run(cli);
    }
    syn_cli_cancel_on_signal(NULL);
    (void)syn_client_free(cli->client);
    syn_free(cli);
    return status;
}
