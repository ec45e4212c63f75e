/* What a function is to the commands that every workload has. */
#include <stdio.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "function_kind_priv.h"
#include "trigger.h"

const struct syn_cli_operand syn_cli_function_operand[] = {
    {"FUNCTION", SYN_CLI_TEXT, true, false, "Name of the function, or its id"},
};

const char *const syn_cli_function_stages[] = {"wait",    "schedule",   "fetch",     "create",
                                               "restore", "initialise", "first_byte"};

/* --- rows ------------------------------------------------------------------------------------ */

/* The version that is called, and the one that is to be. */
static void
version_cell(struct syn_cli_table_out *rows, const json_t *status)
{
    long long active = (long long)syn_json_i64(status, "active", 0);
    long long target = (long long)syn_json_i64(status, "target", 0);

    if (active == target)
        syn_cli_cell(rows, "%lld", active);
    else
        syn_cli_cell(rows, "%lld>%lld", active, target);
}

static void
state_cells(struct syn_cli_table_out *rows, const json_t *function)
{
    const json_t *status = json_object_get(function, "status");

    syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "reason", ""));
    version_cell(rows, status);
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(function, "spec"), "runtime", ""));
}

/* Ready, and of how many where others are starting or ending; a module has none. */
static void
instances_cell(struct syn_cli_table_out *rows, const json_t *status)
{
    const json_t *counts = json_object_get(status, "instances");
    long long ready = (long long)syn_json_i64(counts, "ready", 0);
    long long live = (long long)syn_json_i64(counts, "live", 0);

    if (counts == NULL)
        syn_cli_cell(rows, "-");
    else if (ready == live)
        syn_cli_cell(rows, "%lld", ready);
    else
        syn_cli_cell(rows, "%lld/%lld", ready, live);
}

static void
list_cells(struct syn_cli_table_out *rows, const json_t *function)
{
    syn_cli_cell(rows, "%s", syn_json_str(function, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(function, "id", ""));
    state_cells(rows, function);
    instances_cell(rows, json_object_get(function, "status"));
    syn_cli_cell(rows, "%s", syn_json_str(function, "created_at", ""));
}

static const struct syn_cli_view list_view = {
    .kind = "function",
    .titles = "NAME|ID|STATE|REASON|>VERSION|RUNTIME|>INSTANCES|CREATED",
    .empty = "No functions. Make one: synor compute function deploy --help",
    .cells = list_cells,
    .newest_first = true,
    .own = true};

static void
one_cells(struct syn_cli_table_out *rows, const json_t *function)
{
    syn_cli_cell(rows, "%s", syn_json_str(function, "name", ""));
    state_cells(rows, function);
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(function, "status"), "message", ""));
}

static const struct syn_cli_view one_view = {.kind = "function",
                                             .titles = "NAME|STATE|REASON|>VERSION|RUNTIME|MESSAGE",
                                             .empty = "It is gone.",
                                             .cells = one_cells};

/* --- showing --------------------------------------------------------------------------------- */

/* "version 4 has 90%, version 5 has 10% of what comes" */
static void
show_traffic(const struct syn_cli *cli, const json_t *status)
{
    const json_t *row;
    SYN_BUF(parts);
    size_t i;

    json_array_foreach (json_object_get(status, "traffic"), i, row)
        if (syn_json_i64(row, "weight", 0) > 0)
            syn_buf_addf(&parts, "%s%lld%% to version %lld", parts.len > 0 ? ", " : "",
                         (long long)syn_json_i64(row, "weight", 0),
                         (long long)syn_json_i64(row, "version", 0));
    if (syn_buf_ok(&parts, NULL) == SYN_OK)
        syn_cli_say(cli, "  traffic     %s",
                    parts.len > 0 ? syn_buf_text(&parts) : "none: no version is ready");
}

static void
show_limits(const struct syn_cli *cli, const json_t *spec)
{
    char memory[SYN_FORMAT_MAX], cpus[SYN_FORMAT_MAX], time[SYN_FORMAT_MAX];
    int64_t least = syn_json_i64(spec, "min_instances", 0);

    syn_cli_say(cli, "  limits      %s, %s CPU, %s a call",
                syn_format_bytes(syn_json_i64(spec, "memory_bytes", 0), memory),
                syn_format_cpus(syn_json_i64(spec, "cpu_millicores", 0), cpus),
                syn_format_duration(syn_json_i64(spec, "timeout_ms", 0), time));
    syn_cli_say(cli, "  instances   %lld to %lld, %lld %s each at a time", (long long)least,
                (long long)syn_json_i64(spec, "max_instances", 0),
                (long long)syn_json_i64(spec, "concurrency", 1),
                syn_plural(syn_json_i64(spec, "concurrency", 1), "call", "calls"));
}

static void
show(const struct syn_cli *cli, const json_t *function)
{
    const json_t *status = json_object_get(function, "status");
    const json_t *spec = json_object_get(function, "spec");
    const json_t *cost = json_object_get(status, "cost");
    const char *handler = syn_json_str(spec, "handler", "");
    const json_t *item;
    size_t i;

    syn_cli_say(cli, "%s (%s)  %s", syn_json_str(function, "name", "?"),
                syn_json_str(function, "id", "?"), syn_json_str(status, "state", "?"));
    syn_cli_say(cli, "  reason      %s: %s", syn_json_str(status, "reason", "?"),
                syn_json_str(status, "message", ""));
    syn_cli_say(cli, "  version     %lld", (long long)syn_json_i64(status, "target", 0));
    syn_cli_say(cli, "  runtime     %s%s%s", syn_json_str(spec, "runtime", "?"),
                handler[0] != '\0' ? ", " : "", handler);
    show_limits(cli, spec);
    show_traffic(cli, status);
    json_array_foreach (json_object_get(spec, "warmup"), i, item) {
        SYN_BUF(word);

        syn_cli_warmup_write(item, &word);
        if (syn_buf_ok(&word, NULL) == SYN_OK)
            syn_cli_say(cli, "  warm-up     %s", syn_buf_text(&word));
    }
    if (json_object_get(status, "prewarm") != NULL)
        syn_cli_say(cli, "  ready       %s",
                    syn_json_str(json_object_get(status, "prewarm"), "message", "?"));
    json_array_foreach (json_object_get(spec, "triggers"), i, item) {
        SYN_BUF(word);

        syn_cli_trigger_write(item, &word);
        if (syn_buf_ok(&word, NULL) == SYN_OK)
            syn_cli_say(cli, "  trigger     %s", syn_buf_text(&word));
    }
    json_array_foreach (json_object_get(status, "urls"), i, item)
        syn_cli_say(cli, "  address     %s", json_string_value(item));
    if (cost != NULL)
        syn_cli_say(cli, "  cost        %s SYNOR; %s are locked", syn_json_str(cost, "spent", "0"),
                    syn_json_str(cost, "locked", "0"));
}

/* --- waiting --------------------------------------------------------------------------------- */

/* Does what comes, or the part that is meant for it, go to the version that is wanted? */
static bool
is_active(const json_t *status)
{
    return syn_str_eq(syn_json_str(status, "state", ""), "active") &&
           syn_json_i64(status, "routed", 0) == syn_json_i64(status, "target", -1);
}

static bool
ended(const json_t *function, const char *wanted)
{
    const json_t *status = json_object_get(function, "status");
    const char *state = syn_json_str(status, "state", "");
    const char *reason = syn_json_str(status, "reason", "");

    if (syn_str_eq(wanted, "suspended"))
        return syn_str_eq(state, wanted);
    if (syn_str_eq(state, "suspended")) /* or is about to be resumed */
        return !syn_str_eq(reason, "user") ||
               syn_json_bool(json_object_get(function, "spec"), "suspended", false);
    return is_active(status) || syn_str_eq(state, "deleting") ||
           syn_str_eq(reason, "version-failed");
}

static int
exit_status(const json_t *function, const char *wanted)
{
    const json_t *status = json_object_get(function, "status");
    const char *reason = syn_json_str(status, "reason", "");

    if (syn_str_eq(wanted, "suspended"))
        return syn_str_eq(syn_json_str(status, "state", ""), wanted) ? 0 : 1;
    if (is_active(status))
        return 0;
    if (syn_str_eq(reason, "budget"))
        return syn_err_info(SYN_E_BUDGET)->exit;
    if (syn_str_eq(reason, "funds"))
        return syn_err_info(SYN_E_FUNDS)->exit;
    return 1;
}

const struct syn_cli_workload syn_cli_function_workload = {
    .route = "/v1/functions",
    .id_prefix = "fn-",
    .noun = "function",
    .label = "name",
    .list = &list_view,
    .one = &one_view,
    .show = show,
    .forget = "Delete the function, its versions and what they log? Its bills stay.",
    .wait_or_watch = "--wait ends, --watch does not; use one",
    .wanted = "active",
    .ended = ended,
    .exit_status = exit_status,
    .look_again = "It goes on without us. Look again: synor compute function get"};
