/* compute service: looking at services and steering them. Deploying and updating are in
 * cmd_service_deploy.c. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "service_priv.h"
#include "train_priv.h"

static const struct syn_cli_operand service_operand[] = {
    {"SERVICE", SYN_CLI_TEXT, true, false, "Name of the service, or its id"},
};

/* --- list, get ------------------------------------------------------------------------------- */

static void
state_cells(struct syn_cli_table_out *rows, const json_t *service)
{
    const json_t *status = json_object_get(service, "status");
    const json_t *replicas = json_object_get(status, "replicas");

    syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "reason", ""));
    syn_cli_cell(rows, "%lld/%lld", (long long)syn_json_i64(replicas, "ready", 0),
                 (long long)syn_json_i64(replicas, "wanted", 0));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(status, "target", 0));
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(status, "cost"), "rate_hour", "0"));
}

static void
list_cells(struct syn_cli_table_out *rows, const json_t *service)
{
    syn_cli_cell(rows, "%s", syn_json_str(service, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(service, "id", ""));
    state_cells(rows, service);
    syn_cli_cell(rows, "%s", syn_json_str(service, "created_at", ""));
}

static const struct syn_cli_view list_view = {
    .kind = "service",
    .titles = "NAME|ID|STATE|REASON|>READY|>VERSION|>AN HOUR|CREATED",
    .empty = "No services. Make one: synor compute service deploy --help",
    .cells = list_cells,
    .newest_first = true,
    .own = true};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_has(cli, "watch") ? syn_cli_watch(cli, &list_view, NULL, NULL)
                                     : syn_cli_show_list(cli, &list_view, "/v1/services");
}

static const struct syn_cli_option list_options[] = {
    SYN_CLI_WATCH_OPTION,
};

const struct syn_cli_command syn_cli_service_list = {.path = "compute service list",
                                                     .summary = "List services, newest first",
                                                     .detail = SYN_CLI_WATCH_DETAIL,
                                                     .options = list_options,
                                                     .option_count = SYN_LEN(list_options),
                                                     .run = run_list};

static void
one_cells(struct syn_cli_table_out *rows, const json_t *service)
{
    syn_cli_cell(rows, "%s", syn_json_str(service, "name", ""));
    state_cells(rows, service);
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(service, "status"), "message", ""));
}

static const struct syn_cli_view one_view = {
    .kind = "service",
    .titles = "NAME|STATE|REASON|>READY|>VERSION|>AN HOUR|MESSAGE",
    .empty = "It is gone.",
    .cells = one_cells};

/* GET /v1/services/SERVICE + tail. */
static int
get_below(struct syn_cli *cli, const char *tail, json_t **ret, struct syn_err *err)
{
    SYN_BUF(path);
    int rc;

    syn_cli_workload_path(cli, tail, &path);
    rc = syn_buf_ok(&path, err);
    return rc < 0 ? rc : syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, ret, err);
}

static int
run_get(struct syn_cli *cli)
{
    SYN_JSON(service);
    struct syn_err err;

    if (syn_cli_has(cli, "wait") && syn_cli_has(cli, "watch")) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "--wait ends, --watch does not; use one");
        return syn_cli_fail(cli, &err);
    }
    if (get_below(cli, "", &service, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "wait"))
        return syn_cli_service_wait(cli, syn_json_str(service, "id", "?"), false);
    if (syn_cli_has(cli, "watch"))
        return syn_cli_watch(cli, &one_view, syn_json_str(service, "id", "?"), NULL);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(service));
    syn_cli_service_show(cli, service);
    return 0;
}

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
    .operands = service_operand,
    .operand_count = 1,
    .run = run_get};

/* --- scale, rollback, restart, stop ---------------------------------------------------------- */

static int
declined(const struct syn_cli *cli)
{
    syn_cli_note(cli, "Nothing was changed.");
    return 1;
}

/* Change it; then wait, or show what it is now. */
static int
change(struct syn_cli *cli, const char *method, const char *tail, const json_t *body, bool stops)
{
    SYN_BUF(path);
    SYN_JSON(service);
    struct syn_err err;
    const json_t *status;

    syn_cli_workload_path(cli, tail, &path);
    if (syn_buf_ok(&path, &err) < 0 ||
        syn_cli_call(cli, method, syn_buf_text(&path), body, &service, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "wait"))
        return syn_cli_service_wait(cli, syn_json_str(service, "id", "?"), stops);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(service));
    status = json_object_get(service, "status");
    syn_cli_say(cli, "%s  %s: %s", syn_json_str(service, "name", "?"),
                syn_json_str(status, "state", "?"), syn_json_str(status, "message", ""));
    return 0;
}

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
    if (!syn_cli_confirm(cli, question))
        return declined(cli);
    if (syn_json_pack(&body, &err, "{s:{s:I}}", "spec", "replicas", (json_int_t)replicas) < 0)
        return syn_cli_fail(cli, &err);
    return change(cli, "PATCH", "", body, false);
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
    .operands = service_operand,
    .operand_count = 1,
    .run = run_scale};

static int
run_rollback(struct syn_cli *cli)
{
    SYN_JSON(body);
    struct syn_err err;
    int rc = SYN_OK;

    if (!syn_cli_confirm(cli, "Replace its replicas by an earlier version's?"))
        return declined(cli);
    body = json_object();
    if (syn_cli_has(cli, "version"))
        rc = syn_json_set_i64(body, "version", syn_cli_number(cli, "version", 0), &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : change(cli, "POST", "/rollback", body, false);
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
    .operands = service_operand,
    .operand_count = 1,
    .run = run_rollback};

static int
run_restart(struct syn_cli *cli)
{
    if (!syn_cli_confirm(cli, "Replace every replica, one after the other?"))
        return declined(cli);
    return change(cli, "POST", "/restart", NULL, false);
}

static const struct syn_cli_option wait_options[] = {
    WAIT_OPTION,
};

const struct syn_cli_command syn_cli_service_restart = {
    .path = "compute service restart",
    .summary = "Replace every replica, as an update does",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = service_operand,
    .operand_count = 1,
    .run = run_restart};

static int
run_stop(struct syn_cli *cli)
{
    if (!syn_cli_confirm(cli, "Stop every replica?"))
        return declined(cli);
    return change(cli, "POST", "/stop", NULL, true);
}

const struct syn_cli_command syn_cli_service_stop = {
    .path = "compute service stop",
    .summary = "Stop every replica; deploying it again starts it",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = service_operand,
    .operand_count = 1,
    .run = run_stop};

static int
run_delete(struct syn_cli *cli)
{
    SYN_BUF(path);
    struct syn_err err;

    if (!syn_cli_confirm(cli, "Forget the service and its versions? Its bills stay."))
        return declined(cli);
    syn_cli_workload_path(cli, "", &path);
    if (syn_buf_ok(&path, &err) < 0 ||
        syn_cli_call(cli, "DELETE", syn_buf_text(&path), NULL, NULL, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:b}", "id", syn_cli_operand(cli, 0), "deleted", 1));
    syn_cli_say(cli, "%s is deleted.", syn_cli_operand(cli, 0));
    return 0;
}

const struct syn_cli_command syn_cli_service_delete = {.path = "compute service delete",
                                                       .summary =
                                                           "Forget a service that has stopped",
                                                       .operands = service_operand,
                                                       .operand_count = 1,
                                                       .run = run_delete};

/* --- history, events ------------------------------------------------------------------------- */

static int
run_history(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(answer);
    SYN_JSON(service);
    struct syn_err err;
    const json_t *status;
    size_t i;
    json_t *version;

    if (get_below(cli, "/versions", &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    if (get_below(cli, "", &service, &err) < 0 ||
        syn_cli_rows_new(">VERSION|WHEN|IMAGE|CONTENT|STATE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    status = json_object_get(service, "status");
    json_array_foreach (json_object_get(answer, "items"), i, version) {
        int64_t number = syn_json_i64(version, "version", 0);

        syn_cli_cell(rows, "%lld", (long long)number);
        syn_cli_cell(rows, "%s", syn_json_str(version, "created_at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(json_object_get(version, "spec"), "image", ""));
        syn_cli_cell(rows, "synor://%s", syn_json_str(version, "image_cid", ""));
        syn_cli_cell(rows, "%s",
                     number == syn_json_i64(status, "rolled_back", 0) ? "rolled back"
                     : number == syn_json_i64(status, "target", 0)    ? "wanted"
                                                                      : "");
    }
    return syn_cli_rows_print(cli, rows, "No versions.");
}

const struct syn_cli_command syn_cli_service_history = {.path = "compute service history",
                                                        .summary = "List the versions of a service",
                                                        .operands = service_operand,
                                                        .operand_count = 1,
                                                        .run = run_history};

static int
run_events(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(answer);
    struct syn_err err;
    size_t i;
    json_t *item;

    if (get_below(cli, "/events", &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    if (syn_cli_rows_new("WHEN|EVENT|REASON|MESSAGE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (json_object_get(answer, "items"), i, item) {
        syn_cli_cell(rows, "%s", syn_json_str(item, "at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "type", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "reason", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "message", ""));
    }
    return syn_cli_rows_print(cli, rows, "No events yet.");
}

const struct syn_cli_command syn_cli_service_events = {.path = "compute service events",
                                                       .summary = "List what happened to a service",
                                                       .operands = service_operand,
                                                       .operand_count = 1,
                                                       .run = run_events};
