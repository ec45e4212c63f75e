/* compute service: looking at services and steering them. Deploying and updating are in
 * cmd_service_deploy.c. */
#include <stdio.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "live_priv.h"
#include "service_priv.h"

/* --- list, get ------------------------------------------------------------------------------- */

static const struct syn_cli_option list_options[] = {
    SYN_CLI_WATCH_OPTION,
};

const struct syn_cli_command syn_cli_service_list = {.path = "compute service list",
                                                     .summary = "List services, newest first",
                                                     .detail = SYN_CLI_WATCH_DETAIL,
                                                     .options = list_options,
                                                     .option_count = SYN_LEN(list_options),
                                                     .workload = &syn_cli_service_workload,
                                                     .run = syn_cli_workload_list};

/* clang-format off */
static const struct syn_cli_option get_options[] = {
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until it is as it was asked to be; exit status 1 if it will not be"},
    SYN_CLI_WATCH_OPTION,
};
/* clang-format on */

const struct syn_cli_command syn_cli_service_get = {
    .path = "compute service get",
    .summary = "Show one service: state, replicas, addresses, cost",
    .detail = SYN_CLI_WATCH_DETAIL,
    .options = get_options,
    .option_count = SYN_LEN(get_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = syn_cli_workload_get};

/* --- scale, rollback, restart, stop ---------------------------------------------------------- */

#define WAIT_OPTION                                                           \
    {                                                                         \
        "wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,      \
            "Show progress until it is done; exit status 1 if it will not be" \
    }

static int
run_scale(struct syn_cli *cli)
{
    int64_t replicas = syn_cli_number(cli, "replicas", 0);
    char question[80];
    SYN_JSON(body);
    struct syn_err err;

    (void)snprintf(question, sizeof(question), "Bring it to %lld %s?", (long long)replicas,
                   syn_plural(replicas, "replica", "replicas"));
    if (!syn_cli_workload_confirm(cli, question))
        return 1;
    if (syn_json_pack(&body, &err, "{s:{s:I}}", "spec", "replicas", (json_int_t)replicas) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_workload_change(cli, "PATCH", "", body, "running");
}

static const struct syn_cli_option scale_options[] = {
    {"replicas", 0, "N", SYN_CLI_INT, 0, 64, true, false, NULL, NULL, "How many are to run"},
    WAIT_OPTION,
};

const struct syn_cli_command syn_cli_service_scale = {
    .path = "compute service scale",
    .summary = "Bring a service to another number of replicas",
    .options = scale_options,
    .option_count = SYN_LEN(scale_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_scale};

static int
run_rollback(struct syn_cli *cli)
{
    SYN_JSON(body);
    struct syn_err err;
    int rc = SYN_OK;

    if (!syn_cli_workload_confirm(cli, "Replace its replicas by an earlier version's?"))
        return 1;
    body = json_object();
    if (syn_cli_has(cli, "version"))
        rc = syn_json_set_i64(body, "version", syn_cli_number(cli, "version", 0), &err);
    return rc < 0 ? syn_cli_fail(cli, &err)
                  : syn_cli_workload_change(cli, "POST", "/rollback", body, "running");
}

static const struct syn_cli_option rollback_options[] = {
    {"version", 0, "N", SYN_CLI_INT, 1, INT64_MAX, false, false, NULL, "the one before",
     "Which: compute service history lists them"},
    WAIT_OPTION,
};

const struct syn_cli_command syn_cli_service_rollback = {
    .path = "compute service rollback",
    .summary = "Go back to an earlier version, as an update does",
    .options = rollback_options,
    .option_count = SYN_LEN(rollback_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_rollback};

static int
run_promote(struct syn_cli *cli)
{
    SYN_JSON(body);
    struct syn_err err;

    if (!syn_cli_workload_confirm(cli, syn_cli_has(cli, "all")
                                           ? "Let the new version replace the other?"
                                           : "Let the new version go on?"))
        return 1;
    if (syn_json_pack(&body, &err, "{s:b}", "all", syn_cli_has(cli, "all") ? 1 : 0) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_workload_change(cli, "POST", "/promote", body, "running");
}

/* clang-format off */
static const struct syn_cli_option promote_options[] = {
    {"all", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Try it no further: it replaces the other now"},
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until it is done, or waits to be promoted again"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_service_promote = {
    .path = "compute service promote",
    .summary = "Let a version that is tried go on",
    .detail = "A canary goes on to its next part of what comes, or to all; the new replicas of "
              "blue-green take over; the old ones that are kept for a rollback are let go.",
    .options = promote_options,
    .option_count = SYN_LEN(promote_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_promote};

static int
run_abort(struct syn_cli *cli)
{
    if (!syn_cli_workload_confirm(cli, "End the update and go back to the version that worked?"))
        return 1;
    return syn_cli_workload_change(cli, "POST", "/abort", NULL, SYN_CLI_SERVICE_ABORTED);
}

static int
run_restart(struct syn_cli *cli)
{
    if (!syn_cli_workload_confirm(cli, "Replace every replica, one after the other?"))
        return 1;
    return syn_cli_workload_change(cli, "POST", "/restart", NULL, "running");
}

static const struct syn_cli_option wait_options[] = {
    WAIT_OPTION,
};

const struct syn_cli_command syn_cli_service_abort = {
    .path = "compute service abort",
    .summary = "End an update that is under way: back to the version that worked",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_abort};

const struct syn_cli_command syn_cli_service_restart = {
    .path = "compute service restart",
    .summary = "Replace every replica, as an update does",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_restart};

static int
run_stop(struct syn_cli *cli)
{
    if (!syn_cli_workload_confirm(cli, "Stop every replica?"))
        return 1;
    return syn_cli_workload_change(cli, "POST", "/stop", NULL, "stopped");
}

const struct syn_cli_command syn_cli_service_stop = {
    .path = "compute service stop",
    .summary = "Stop every replica; deploying it again starts it",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_stop};

const struct syn_cli_command syn_cli_service_delete = {.path = "compute service delete",
                                                       .summary =
                                                           "Forget a service that has stopped",
                                                       .operands = syn_cli_service_operand,
                                                       .operand_count = 1,
                                                       .workload = &syn_cli_service_workload,
                                                       .run = syn_cli_workload_delete};

/* --- stats ----------------------------------------------------------------------------------- */

static void
show_stats(const struct syn_cli *cli, const json_t *stats)
{
    static const struct {
        const char *title, *key;
    } rows[] = {
        {"open", "open"},
        {"queued", "queued"},
        {"replicas up", "replicas_up"},
        {"connections that failed", "connect_errors"},
        {"answers that broke off", "response_errors"},
        {"tried again", "retries"},
        {"bytes received", "received_bytes"},
        {"bytes sent", "sent_bytes"},
        {"to connect, ms", "connect_ms"},
        {"to answer, ms", "response_ms"},
        {"as a whole, ms", "total_ms"},
    };
    const json_t *answers = json_object_get(stats, "answers");
    const char *message = syn_json_str(stats, "message", "");

    syn_cli_say(cli, "%s  %s%s%s", syn_json_str(stats, "address", ""),
                syn_json_str(stats, "state", "?"), message[0] != '\0' ? ": " : "", message);
    syn_cli_say(cli, "  %-24s %lld, of which %lld failed", "requests",
                (long long)syn_json_i64(stats, "requests", 0),
                (long long)syn_json_i64(stats, "errors", 0));
    syn_cli_say(
        cli, "  %-24s 2xx %lld, 3xx %lld, 4xx %lld, 5xx %lld", "answers",
        (long long)syn_json_i64(answers, "2xx", 0), (long long)syn_json_i64(answers, "3xx", 0),
        (long long)syn_json_i64(answers, "4xx", 0), (long long)syn_json_i64(answers, "5xx", 0));
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        syn_cli_say(cli, "  %-24s %lld", rows[i].title,
                    (long long)syn_json_i64(stats, rows[i].key, 0));
}

/* "0.42 of 2", or "-" of what is not known yet. */
static void
used_cell(struct syn_cli_table_out *rows, const json_t *replica, const char *key, const char *most,
          const char *(*format)(int64_t value, char *out))
{
    const json_t *used = json_object_get(replica, key);
    char text[SYN_FORMAT_MAX], all[SYN_FORMAT_MAX];

    (void)format(syn_json_i64(replica, most, 0), all);
    syn_cli_cell(rows, "%s of %s",
                 json_is_integer(used) ? format(json_integer_value(used), text) : "-", all);
}

/* A row for each replica: of all, or of those of which something is news. */
static int
replica_rows(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
             struct syn_err *err)
{
    const json_t *had = json_object_get(before, "replicas"), *replica;
    struct syn_cli_table_out *rows;
    size_t i;
    int rc =
        syn_cli_rows_new(">REPLICA|INSTANCE|NODE|STATE|>CPU|>MEMORY|>SENT|>RESTARTS", &rows, err);

    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(now, "replicas"), i, replica) {
        const json_t *sent = json_object_get(replica, "sent_bps");
        char text[SYN_FORMAT_MAX];

        if (!whole && json_equal(replica, json_array_get(had, i)))
            continue;
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(replica, "replica", 0));
        syn_cli_cell(rows, "%s", syn_json_str(replica, "instance", ""));
        syn_cli_cell(rows, "%s", syn_json_str(replica, "node", ""));
        syn_cli_cell(rows, "%s", syn_json_str(replica, "state", ""));
        used_cell(rows, replica, "cpu_millicores", "cpu_max", syn_format_cpus);
        used_cell(rows, replica, "memory_bytes", "memory_max", syn_format_bytes);
        syn_cli_cell(rows, "%s",
                     json_is_integer(sent) ? syn_format_rate(json_integer_value(sent), text) : "-");
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(replica, "restarts", 0));
    }
    *ret = rows;
    return SYN_OK;
}

static int
run_stats(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_cli_look look = {.cli = cli, .rows = replica_rows};
    SYN_JSON(stats);
    SYN_BUF(path);
    struct syn_err err;

    syn_cli_workload_path(cli, "/stats", &path);
    if (syn_buf_ok(&path, &err) < 0)
        return syn_cli_fail(cli, &err);
    look.path = syn_buf_text(&path);
    if (syn_cli_has(cli, "watch"))
        return syn_cli_look_on(&look);
    if (syn_cli_call(cli, "GET", look.path, NULL, &stats, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(stats));
    if (syn_json_str(stats, "address", "")[0] != '\0')
        show_stats(cli, stats);
    if (replica_rows(NULL, stats, true, &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_rows_print(cli, rows, "No replica is there.");
}

static const struct syn_cli_option stats_options[] = {
    SYN_CLI_LOOK_OPTION,
};

const struct syn_cli_command syn_cli_service_stats = {
    .path = "compute service stats",
    .summary = "Show what came to a service, and what its replicas use",
    .detail =
        "What came to its address is counted by the balancer since it has that, or since the "
        "balancer died last; times are means of the last 1024 requests. CPU and what is sent "
        "(what leaves the node) are of the last seconds; restarts are those of a replica that "
        "ended by itself, in this run of the service. " SYN_CLI_LOOK_DETAIL
        " It shows replicas alone then.",
    .options = stats_options,
    .option_count = SYN_LEN(stats_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_stats};

static int
run_ca(struct syn_cli *cli)
{
    SYN_JSON(answer);
    struct syn_err err;

    if (syn_cli_call(cli, "GET", "/v1/gateway/ca", NULL, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    (void)fputs(syn_json_str(answer, "pem", ""), stdout);
    return 0;
}

const struct syn_cli_command syn_cli_service_ca = {
    .path = "compute service ca",
    .summary = "Print the authority that services with --tls are certified by",
    .detail = "Clients that trust it can check whom they speak to.",
    .examples = "  synor compute service ca > ca.pem; curl --cacert ca.pem https://...\n",
    .run = run_ca};

/* --- history, events ------------------------------------------------------------------------- */

/* What a version is to the service now. */
static const char *
state_of(const json_t *status, int64_t number)
{
    const json_t *rollout = json_object_get(status, "rollout");

    if (number == syn_json_i64(status, "rolled_back", 0))
        return "rolled back";
    if (number == syn_json_i64(status, "target", 0))
        return number != syn_json_i64(status, "stable", 0) && rollout != NULL ? "wanted, tried"
                                                                              : "wanted";
    if (number == syn_json_i64(rollout, "from", 0))
        return syn_str_eq(syn_json_str(rollout, "stage", ""), "kept") ? "kept" : "serves";
    return "";
}

static int
run_history(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(versions);
    SYN_JSON(service);
    struct syn_err err;
    const json_t *status;
    size_t i;
    json_t *version;
    int exit_status;

    if (!syn_cli_workload_items(cli, "/versions", ">VERSION|WHEN|IMAGE|CONTENT|STATE", &versions,
                                &rows, &exit_status))
        return exit_status;
    if (syn_cli_workload_call(cli, "GET", "", NULL, &service, &err) < 0)
        return syn_cli_fail(cli, &err);
    status = json_object_get(service, "status");
    json_array_foreach (versions, i, version) {
        int64_t number = syn_json_i64(version, "version", 0);

        syn_cli_cell(rows, "%lld", (long long)number);
        syn_cli_cell(rows, "%s", syn_json_str(version, "created_at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(json_object_get(version, "spec"), "image", ""));
        syn_cli_cell(rows, "synor://%s", syn_json_str(version, "image_cid", ""));
        syn_cli_cell(rows, "%s", state_of(status, number));
    }
    return syn_cli_rows_print(cli, rows, "No versions.");
}

const struct syn_cli_command syn_cli_service_history = {.path = "compute service history",
                                                        .summary = "List the versions of a service",
                                                        .operands = syn_cli_service_operand,
                                                        .operand_count = 1,
                                                        .workload = &syn_cli_service_workload,
                                                        .run = run_history};

/* --- mesh ------------------------------------------------------------------------------------ */

static void
show_calls(struct syn_cli_table_out *rows, const json_t *calls)
{
    const json_t *call;
    size_t i;

    json_array_foreach (calls, i, call) {
        syn_cli_cell(rows, "%s", syn_json_str(call, "caller", ""));
        syn_cli_cell(rows, "%s", syn_json_str(call, "callee", ""));
        syn_cli_cell(rows, "%s", syn_json_str(call, "node", ""));
        if (syn_json_i64(call, "route", 0) > 0)
            syn_cli_cell(rows, "%lld", (long long)syn_json_i64(call, "route", 0));
        else
            syn_cli_cell(rows, "-");
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(call, "requests", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(call, "errors", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(call, "retries", 0));
        syn_cli_cell(rows, "%lld of %lld", (long long)syn_json_i64(call, "out", 0),
                     (long long)syn_json_i64(call, "servers", 0));
        syn_cli_cell(rows, "%lld ms", (long long)syn_json_i64(call, "mean_ms", 0));
    }
}

static void
show_policy(const struct syn_cli *cli, const json_t *mesh)
{
    long long percent = (long long)syn_json_i64(mesh, "retry_budget", 100);
    const json_t *route;
    size_t i;

    if (percent < 100)
        syn_cli_say(cli, "  tried again %lld%% of a caller's requests, and 3 a second, at most",
                    percent);
    json_array_foreach (json_object_get(mesh, "routes"), i, route) {
        SYN_BUF(text);

        syn_cli_service_route_say(route, &text);
        if (syn_buf_ok(&text, NULL) == SYN_OK)
            syn_cli_say(cli, "  route %-5zu %s", i + 1, syn_buf_text(&text) + 1);
    }
}

static int
run_mesh(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(mesh);
    SYN_BUF(who);
    struct syn_err err;
    const json_t *entry;
    size_t i;

    if (syn_cli_workload_call(cli, "GET", "/mesh", NULL, &mesh, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(mesh));
    json_array_foreach (json_object_get(mesh, "allow"), i, entry)
        syn_buf_addf(&who, "%s%s", i > 0 ? ", " : "", json_string_value(entry));
    if (syn_buf_ok(&who, &err) < 0 ||
        syn_cli_rows_new("CALLER|CALLEE|AT NODE|>ROUTE|>REQUESTS|>ERRORS|>RETRIES|>OUT|>MEAN",
                         &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    syn_cli_say(cli, "  address     %s", syn_json_str(mesh, "address", ""));
    syn_cli_say(cli, "  identity    %s", syn_json_str(mesh, "identity", ""));
    syn_cli_say(cli, "  callers     %s", who.len > 0 ? syn_buf_text(&who) : "none");
    show_policy(cli, mesh);
    show_calls(rows, json_object_get(mesh, "calls"));
    return syn_cli_rows_print(cli, rows, "Nobody has called it, nor has it called, lately.");
}

const struct syn_cli_command syn_cli_service_mesh = {
    .path = "compute service mesh",
    .summary = "Show who may call a service, who has, and whom it called",
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_mesh};

const struct syn_cli_command syn_cli_service_events = {.path = "compute service events",
                                                       .summary = "List what happened to a service",
                                                       .operands = syn_cli_service_operand,
                                                       .operand_count = 1,
                                                       .workload = &syn_cli_service_workload,
                                                       .run = syn_cli_workload_events};
