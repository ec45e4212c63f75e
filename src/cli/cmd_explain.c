/* compute explain: why a workload is where it is, what it costs, and what would change that;
 * `compute train explain`, `service explain` and `function explain` are the same for one kind. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "function_kind_priv.h"
#include "service_priv.h"
#include "train_priv.h"

static const struct syn_cli_operand workload_operand[] = {
    {"ID", SYN_CLI_TEXT, true, false, "Id of the workload, or its name: the newest of that name"},
};

/* The rows that say more than the first line did. */
static int
show_why(const struct syn_cli *cli, const json_t *answer, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const char *message = syn_json_str(answer, "message", "");
    size_t i;
    const json_t *row;
    int rc = syn_cli_rows_new("ABOUT|NODE|WHY", &rows, err);

    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(answer, "why"), i, row) {
        if (syn_str_eq(syn_json_str(row, "message", ""), message))
            continue;
        syn_cli_cell(rows, "%s", syn_json_str(row, "dimension", "?"));
        syn_cli_cell(rows, "%s", syn_json_str(row, "node", ""));
        syn_cli_cell(rows, "%s", syn_json_str(row, "message", "?"));
    }
    if (syn_cli_rows_count(rows) == 0)
        return SYN_OK;
    syn_cli_say(cli, "%s", "");
    return syn_cli_rows_print(cli, rows, "") == 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a table");
}

static void
show_fix(const struct syn_cli *cli, const json_t *answer)
{
    const json_t *fix = json_object_get(answer, "fix");
    size_t i;
    const json_t *item;

    if (json_array_size(fix) > 0)
        syn_cli_say(cli, "\nWhat would help:");
    json_array_foreach (fix, i, item)
        syn_cli_say(cli, "  %s",
                    json_is_string(item) ? json_string_value(item)
                                         : syn_json_str(item, "message", "?"));
}

/* Its place among those that wait, where the server tells. */
static void
show_queue(const struct syn_cli *cli, const json_t *answer)
{
    int64_t position = syn_json_i64(answer, "position", 0);
    int64_t queue = syn_json_i64(answer, "queue", 0);
    int64_t start_ms = syn_json_i64(answer, "expected_start_ms", -1);
    char at[SYN_FORMAT_MAX];

    if (position > 0 && queue > 0)
        syn_cli_say(cli, "\nPlace in the queue: %lld of %lld", (long long)position,
                    (long long)queue);
    else if (position > 0)
        syn_cli_say(cli, "\nPlace in the queue: %lld", (long long)position);
    if (start_ms >= 0)
        syn_cli_say(cli, "Expected to start: %s", syn_format_time(start_ms, at));
}

/* What each instance was leased for. */
static int
show_leases(const struct syn_cli *cli, const json_t *answer, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    size_t i;
    const json_t *row;
    const char *item;
    json_t *price;
    int rc = syn_cli_rows_new(">RANK|NODE|ITEM|>SYNOR|UNIT|TERMS", &rows, err);

    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(answer, "leases"), i, row) {
        const json_t *lease = json_object_get(row, "lease");
        const json_t *terms = json_object_get(lease, "terms");

        json_object_foreach (json_object_get(lease, "price"), item, price) {
            syn_cli_cell(rows, "%lld", (long long)syn_json_i64(row, "rank", 0));
            syn_cli_cell(rows, "%s", syn_json_str(row, "node", "?"));
            syn_cli_cell(rows, "%s", item);
            syn_cli_cell(rows, "%s", syn_json_str(price, "price", "?"));
            syn_cli_cell(rows, "%s", syn_json_str(price, "unit", "?"));
            syn_cli_cell(rows, "%s", syn_json_str(terms, "kind", ""));
        }
    }
    if (syn_cli_rows_count(rows) == 0)
        return SYN_OK;
    syn_cli_say(cli, "\nLeased at:");
    return syn_cli_rows_print(cli, rows, "") == 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a table");
}

static int
run_explain(struct syn_cli *cli)
{
    SYN_JSON(answer);
    struct syn_err err;
    int rc = syn_cli_workload_call(cli, "GET", "/explain", NULL, &answer, &err);

    if (rc == SYN_OK && cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    if (rc == SYN_OK) {
        syn_cli_say(cli, "%s is %s (%s): %s", syn_json_str(answer, "id", "?"),
                    syn_json_str(answer, "state", "?"), syn_json_str(answer, "reason", "?"),
                    syn_json_str(answer, "message", ""));
        rc = show_why(cli, answer, &err);
    }
    if (rc == SYN_OK) {
        show_queue(cli, answer);
        rc = show_leases(cli, answer, &err);
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    show_fix(cli, answer);
    return 0;
}

const struct syn_cli_command syn_cli_explain = {
    .path = "compute explain",
    .summary = "Say why a workload is where it is, what it costs, and what would change that",
    .detail = "One row for each node and each thing that it lacks; the smallest changes that would "
              "place it; for what runs, the lease that it was placed under.",
    .operands = workload_operand,
    .operand_count = 1,
    .run = run_explain};

const struct syn_cli_command syn_cli_service_explain = {
    .path = "compute service explain",
    .summary = "Say why a service is where it is, and what would change that",
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_explain};

const struct syn_cli_command syn_cli_function_explain = {
    .path = "compute function explain",
    .summary = "Say why a function is as it is, and what would change that",
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_explain};

const struct syn_cli_command syn_cli_train_explain = {
    .path = "compute train explain",
    .summary = "Say why a job is where it is, and what would change that",
    .operands = syn_cli_job_operand,
    .operand_count = 1,
    .workload = &syn_cli_train_workload,
    .run = run_explain};
