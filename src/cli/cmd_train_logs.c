/* compute train logs, service logs, function logs: what ranks, replicas or calls printed, once or
 * as it comes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "function_kind_priv.h"
#include "service_priv.h"
#include "train_priv.h"

#define RANKS_MAX 64

/* The stream has no places to resume from, but it tells each rank's lines in the same order every
 * time: after a break, so many of them as were seen are passed over. --tail is done the same way:
 * the whole log is read first, its end is shown, and so many lines are passed over. */
struct following {
    struct syn_cli *cli;
    int64_t seen[RANKS_MAX];
    int64_t pass[RANKS_MAX];
    bool many; /* ranks: say whose line it is */
    bool ended;
    bool progressed;
};

static void
print_line(const struct following *following, int64_t rank, const json_t *line)
{
    if (following->cli->json) {
        SYN_BUF(text);
        struct syn_err err;

        if (syn_json_write(line, &text, &err) == SYN_OK)
            (void)puts(syn_buf_text(&text));
    } else {
        if (following->many)
            printf("[%lld] ", (long long)rank);
        fputs(syn_json_str(line, "text", ""), stdout);
        if (!syn_json_bool(line, "partial", false))
            putchar('\n');
    }
    (void)fflush(stdout);
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct following *following = arg;
    SYN_JSON(line);
    int64_t rank;
    int whole;
    int rc;

    following->progressed = true;
    if (syn_str_eq(event->name, "end")) {
        following->ended = true;
        return SYN_CLIENT_STOP;
    }
    if (!syn_str_eq(event->name, "log"))
        return SYN_OK;
    rc = syn_json_parse_object(event->data, event->len, &line, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "following the log");
    rank = syn_json_i64(line, "rank", 0);
    if (rank < 0 || rank >= RANKS_MAX)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server sent a line of rank %" PRId64, rank);
    whole = syn_json_bool(line, "partial", false) ? 0 : 1;
    if (following->pass[rank] > 0) {
        following->pass[rank] -= whole;
        return SYN_OK;
    }
    following->seen[rank] += whole;
    print_line(following, rank, line);
    return SYN_OK;
}

static int
to_buffer(void *arg, const void *data, size_t len, struct syn_err *err)
{
    syn_buf_add(arg, data, len);
    return syn_buf_ok(arg, err);
}

/* The rank that a line of the plain log names, when there are many. */
static int64_t
rank_of(const struct following *following, const char *line)
{
    int64_t rank = 0;

    if (!following->many || line[0] != '[')
        return 0;
    for (line++; *line >= '0' && *line <= '9' && rank < RANKS_MAX; line++)
        rank = rank * 10 + (*line - '0');
    return rank < RANKS_MAX ? rank : 0;
}

/* Show the last `tail` of the lines there are, and count all of them as seen. */
static int
show_tail(struct following *following, const char *path, int64_t tail, struct syn_err *err)
{
    struct syn_client *client;
    int64_t lines = 0;
    SYN_BUF(text);
    int rc = syn_cli_client(following->cli, &client, err);

    if (rc == SYN_OK)
        rc = syn_client_read(client, path, to_buffer, &text, err);
    if (rc < 0)
        return syn_cli_unreachable(following->cli, rc, err);
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    for (const char *at = syn_buf_text(&text), *end; (end = strchr(at, '\n')) != NULL;
         at = end + 1, lines--) {
        following->seen[rank_of(following, at)]++;
        if (lines <= tail)
            printf("%.*s\n", (int)(end - at), at);
    }
    memcpy(following->pass, following->seen, sizeof(following->pass));
    return fflush(stdout) == 0 ? SYN_OK : SYN_FAIL_SYS(err, errno, "writing to standard output");
}

/* A client that does not reconnect by itself: we have to know. */
static int
follow(struct following *following, const char *path, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    int64_t away_since = 0;
    int rc = syn_cli_connect(following->cli, 0, 0, &client, err);

    if (rc < 0)
        return rc;
    syn_cli_cancel_on_signal(client);
    while (rc == SYN_OK && !following->ended) {
        following->progressed = false;
        rc = syn_client_follow(client, path, NULL, on_event, following, err);
        if (following->progressed)
            away_since = 0;
        memcpy(following->pass, following->seen, sizeof(following->pass));
        if ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(following->cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
    }
    syn_cli_cancel_on_signal(following->cli->client);
    return rc;
}

/* Is there more than one rank to tell apart? */
static int
count_workers(struct syn_cli *cli, bool *ret_many, struct syn_err *err)
{
    SYN_JSON(job);
    int rc = syn_cli_workload_call(cli, "GET", "", NULL, &job, err);

    if (rc == SYN_OK)
        *ret_many = !syn_cli_has(cli, "rank") && !syn_cli_has(cli, "replica") &&
                    (syn_json_i64(json_object_get(job, "spec"), "workers", 1) > 1 ||
                     json_object_get(json_object_get(job, "spec"), "replicas") != NULL);
    return rc;
}

static int
run_follow(struct syn_cli *cli, const char *path, const char *once)
{
    struct following following = {.cli = cli};
    struct syn_err err;
    int rc = count_workers(cli, &following.many, &err);

    if (rc == SYN_OK && syn_cli_has(cli, "tail"))
        rc = show_tail(&following, once, syn_cli_number(cli, "tail", 0), &err);
    if (rc == SYN_OK)
        rc = follow(&following, path, &err);
    if (syn_cli_interrupted()) {
        syn_cli_note(cli, "It goes on.");
        return SYN_CLI_INTERRUPTED;
    }
    return rc < 0 ? syn_cli_fail(cli, &err) : 0;
}

static int
run_once(struct syn_cli *cli, const char *path)
{
    struct syn_client *client;
    SYN_BUF(text);
    struct syn_err err;
    int rc = syn_cli_client(cli, &client, &err);

    if (rc == SYN_OK)
        rc = cli->json ? syn_client_read(client, path, to_buffer, &text, &err)
                       : syn_client_read(client, path, syn_cli_to_stdout, NULL, &err);
    if (rc < 0) {
        (void)syn_cli_unreachable(cli, rc, &err);
        return syn_cli_fail(cli, &err);
    }
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:o}", "text", json_stringn(syn_buf_text(&text), text.len)));
    return fflush(stdout) == 0 ? 0 : 1;
}

/* "10m" is so long ago, anything else a time. */
static int
since_time(const char *text, char *out, struct syn_err *err)
{
    int64_t at_ms;

    if (syn_parse_time(text, &at_ms, NULL) < 0) {
        int64_t ago_ms;
        int rc = syn_parse_duration_ms(text, "since", &ago_ms, NULL);

        if (rc < 0)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "--since: expected 10m or 2026-01-31T12:00:00Z, got \"%.40s\"", text);
        at_ms = SYN_MAX(syn_wall_ms(syn_world_system()) - ago_ms, 0);
    }
    (void)syn_format_time(at_ms, out);
    return SYN_OK;
}

/* ROUTE?rank=..&stream=..&since=.., and tail where the server counts. */
static int
logs_path(const struct syn_cli *cli, const char *route, bool tail, struct syn_buf *out,
          struct syn_err *err)
{
    static const char *const plain[] = {"rank", "stream", "version", "tail"};
    char since[SYN_FORMAT_MAX];
    char join = '?';
    int rc = SYN_OK;

    syn_cli_workload_path(cli, route, out);
    if (syn_cli_has(cli, "replica")) {
        syn_buf_addf(out, "?rank=%s", syn_cli_text(cli, "replica", ""));
        join = '&';
    }
    for (size_t i = 0; i < SYN_LEN(plain) - (tail ? 0 : 1); i++) {
        if (!syn_cli_has(cli, plain[i]))
            continue;
        syn_buf_addf(out, "%c%s=", join, plain[i]);
        syn_cli_escape(out, syn_cli_text(cli, plain[i], ""));
        join = '&';
    }
    if (syn_cli_has(cli, "since")) {
        rc = since_time(syn_cli_text(cli, "since", ""), since, err);
        syn_buf_addf(out, "%csince=", join);
        syn_cli_escape(out, rc == SYN_OK ? since : "");
    }
    return rc < 0 ? rc : syn_buf_ok(out, err);
}

static int
run_logs(struct syn_cli *cli)
{
    bool follow_it = syn_cli_has(cli, "follow");
    SYN_BUF(once);
    SYN_BUF(stream);
    struct syn_err err;

    if (follow_it && cli->json && syn_cli_has(cli, "tail")) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "--tail does not go with --follow --json; use --since");
        return syn_cli_fail(cli, &err);
    }
    if (logs_path(cli, "/logs", !follow_it, &once, &err) < 0 ||
        logs_path(cli, "/logs/follow", false, &stream, &err) < 0)
        return syn_cli_fail(cli, &err);
    return follow_it ? run_follow(cli, syn_buf_text(&stream), syn_buf_text(&once))
                     : run_once(cli, syn_buf_text(&once));
}

/* clang-format off */
static const struct syn_cli_option logs_options[] = {
    {"follow", 'f', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Go on until the job ends"},
    {"tail", 0, "N", SYN_CLI_INT, 1, 100000, false, false, NULL, NULL, "Only so many last lines"},
    {"since", 0, "WHEN", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Only lines from then on: 10m, or 2026-01-31T12:00:00Z"},
    {"rank", 0, "N", SYN_CLI_INT, 0, RANKS_MAX - 1, false, false, NULL, NULL, "Only this rank's"},
    {"stream", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, "stdout|stderr|synor", NULL, "Only this one; synor: the supervisor's remarks"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_logs = {.path = "compute train logs",
                                                   .summary = "Show what a job printed",
                                                   .options = logs_options,
                                                   .option_count = SYN_LEN(logs_options),
                                                   .operands = syn_cli_job_operand,
                                                   .operand_count = 1,
                                                   .workload = &syn_cli_train_workload,
                                                   .run = run_logs};

/* clang-format off */
static const struct syn_cli_option service_options[] = {
    {"follow", 'f', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Go on until the service stops"},
    {"tail", 0, "N", SYN_CLI_INT, 1, 100000, false, false, NULL, NULL, "Only so many last lines"},
    {"since", 0, "WHEN", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Only lines from then on: 10m, or 2026-01-31T12:00:00Z"},
    {"replica", 0, "N", SYN_CLI_INT, 0, RANKS_MAX - 1, false, false, NULL, NULL, "Only this replica's"},
    {"stream", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, "stdout|stderr|synor", NULL, "Only this one; synor: the supervisor's remarks"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_service_logs = {.path = "compute service logs",
                                                     .summary = "Show what a service printed",
                                                     .options = service_options,
                                                     .option_count = SYN_LEN(service_options),
                                                     .operands = syn_cli_service_operand,
                                                     .operand_count = 1,
                                                     .workload = &syn_cli_service_workload,
                                                     .run = run_logs};

/* clang-format off */
static const struct syn_cli_option function_options[] = {
    {"follow", 'f', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Go on until interrupted, or the function is deleted"},
    {"tail", 0, "N", SYN_CLI_INT, 1, 100000, false, false, NULL, NULL, "Only so many last lines"},
    {"since", 0, "WHEN", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Only lines from then on: 10m, or 2026-01-31T12:00:00Z"},
    {"version", 0, "N", SYN_CLI_INT, 1, INT64_MAX, false, false, NULL, NULL, "Only this version's"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_function_logs = {.path = "compute function logs",
                                                      .summary = "Show what a function printed",
                                                      .options = function_options,
                                                      .option_count = SYN_LEN(function_options),
                                                      .operands = syn_cli_function_operand,
                                                      .operand_count = 1,
                                                      .workload = &syn_cli_function_workload,
                                                      .run = run_logs};
