/* compute train: looking at jobs and steering them. Creating one is in cmd_train_create.c. */
#include <stdio.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "train_priv.h"

/* --- list, get ------------------------------------------------------------------------------- */

/* clang-format off */
static const struct syn_cli_option list_options[] = {
    {"state", 0, "STATE", SYN_CLI_TEXT, 0, 0, false, false, "pending|starting|running|stopping|succeeded|failed|stopped", NULL, "Only jobs in this state"},
    SYN_CLI_WATCH_OPTION,
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_list = {
    .path = "compute train list",
    .summary = "List training jobs, newest first",
    .detail = SYN_CLI_WATCH_DETAIL " With --state, a job that leaves that state is told once more.",
    .options = list_options,
    .option_count = SYN_LEN(list_options),
    .workload = &syn_cli_train_workload,
    .run = syn_cli_workload_list};

/* clang-format off */
static const struct syn_cli_option get_options[] = {
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until it ends; exit status 1 unless it succeeded"},
    SYN_CLI_WATCH_OPTION,
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_get = {.path = "compute train get",
                                                  .summary =
                                                      "Show one job: state, progress, result, cost",
                                                  .detail = SYN_CLI_WATCH_DETAIL,
                                                  .options = get_options,
                                                  .option_count = SYN_LEN(get_options),
                                                  .operands = syn_cli_job_operand,
                                                  .operand_count = 1,
                                                  .workload = &syn_cli_train_workload,
                                                  .run = syn_cli_workload_get};

/* --- stop, resume, delete -------------------------------------------------------------------- */

static int
run_stop(struct syn_cli *cli)
{
    SYN_JSON(body);
    struct syn_err err;
    int rc = SYN_OK;

    if (!syn_cli_workload_confirm(cli, "Ask it to save and stop?"))
        return 1;
    body = json_object();
    if (syn_cli_has(cli, "grace"))
        rc = syn_json_set_i64(body, "grace_ms", syn_cli_number(cli, "grace", 0), &err);
    return rc < 0 ? syn_cli_fail(cli, &err)
                  : syn_cli_workload_change(cli, "POST", "/stop", body, "stopped");
}

/* clang-format off */
static const struct syn_cli_option stop_options[] = {
    {"grace", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "the job's own", "Time to save before it is killed"},
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Wait until it has stopped"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_stop = {
    .path = "compute train stop",
    .summary = "Ask a job to save and stop; resume goes on from there",
    .options = stop_options,
    .option_count = SYN_LEN(stop_options),
    .operands = syn_cli_job_operand,
    .operand_count = 1,
    .workload = &syn_cli_train_workload,
    .run = run_stop};

static int
run_resume(struct syn_cli *cli)
{
    const char *budget = syn_cli_text(cli, "max-budget", NULL);
    char question[160];
    SYN_JSON(body);
    struct syn_err err;
    int rc = SYN_OK;

    (void)snprintf(question, sizeof(question), "Resume it, locking %.60s%s?",
                   budget != NULL ? budget : "the last run's budget",
                   budget != NULL ? " SYNOR" : "");
    if (!syn_cli_workload_confirm(cli, question))
        return 1;
    body = json_object();
    if (budget != NULL)
        rc = syn_json_set_str(body, "max_budget", budget, &err);
    return rc < 0 ? syn_cli_fail(cli, &err)
                  : syn_cli_workload_change(cli, "POST", "/resume", body, "succeeded");
}

/* clang-format off */
static const struct syn_cli_option resume_options[] = {
    {"max-budget", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "the last run's", "The most the new run may cost"},
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until it ends; exit status 1 unless it succeeded"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_resume = {
    .path = "compute train resume",
    .summary = "Go on from the last checkpoint, as a new run with a bill of its own",
    .options = resume_options,
    .option_count = SYN_LEN(resume_options),
    .operands = syn_cli_job_operand,
    .operand_count = 1,
    .workload = &syn_cli_train_workload,
    .run = run_resume};

const struct syn_cli_command syn_cli_train_delete = {.path = "compute train delete",
                                                     .summary = "Forget a job that has ended",
                                                     .operands = syn_cli_job_operand,
                                                     .operand_count = 1,
                                                     .workload = &syn_cli_train_workload,
                                                     .run = syn_cli_workload_delete};

/* --- checkpoints, metrics, events ------------------------------------------------------------ */

static int
run_checkpoints(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    char size[SYN_FORMAT_MAX];
    size_t i;
    json_t *item;
    int status;

    if (!syn_cli_workload_items(cli, "/checkpoints", ">STEP|>EPOCH|>RUN|>SIZE|WHEN|CONTENT", &items,
                                &rows, &status))
        return status;
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "step", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "epoch", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "run", 1));
        syn_cli_cell(rows, "%s", syn_format_bytes(syn_json_i64(item, "size_bytes", 0), size));
        syn_cli_cell(rows, "%s", syn_json_str(item, "created_at", ""));
        syn_cli_cell(rows, "synor://%s", syn_json_str(item, "cid", ""));
    }
    return syn_cli_rows_print(cli, rows, "No checkpoints yet.");
}

const struct syn_cli_command syn_cli_train_checkpoints = {.path = "compute train checkpoints",
                                                          .summary =
                                                              "List the checkpoints of a job",
                                                          .operands = syn_cli_job_operand,
                                                          .operand_count = 1,
                                                          .workload = &syn_cli_train_workload,
                                                          .run = run_checkpoints};

const struct syn_cli_command syn_cli_train_events = {.path = "compute train events",
                                                     .summary = "List what happened to a job",
                                                     .operands = syn_cli_job_operand,
                                                     .operand_count = 1,
                                                     .workload = &syn_cli_train_workload,
                                                     .run = syn_cli_workload_events};

/* First, last, lowest and highest value of one metric. */
static void
metric_row(struct syn_cli_table_out *rows, const json_t *metric)
{
    const json_t *points = json_object_get(metric, "points");
    size_t count = json_array_size(points);
    double low = 0;
    double high = 0;
    double first = 0;
    double value = 0;
    size_t i;
    json_t *point;

    json_array_foreach (points, i, point) {
        value = json_number_value(json_array_get(point, 1));
        first = i == 0 ? value : first;
        low = i == 0 || value < low ? value : low;
        high = i == 0 || value > high ? value : high;
    }
    syn_cli_cell(rows, "%s", syn_json_str(metric, "name", ""));
    syn_cli_cell(rows, "%zu", count);
    syn_cli_cell(rows, "%.6g", first);
    syn_cli_cell(rows, "%.6g", value);
    syn_cli_cell(rows, "%.6g", low);
    syn_cli_cell(rows, "%.6g", high);
}

static int
print_points(struct syn_cli *cli, const json_t *items, const char *name)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char at[SYN_FORMAT_MAX];
    struct syn_err err;
    size_t i;
    size_t j;
    json_t *metric;
    json_t *point;

    if (syn_cli_rows_new(">STEP|>VALUE|WHEN", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (items, i, metric) {
        if (!syn_str_eq(syn_json_str(metric, "name", ""), name))
            continue;
        json_array_foreach (json_object_get(metric, "points"), j, point) {
            syn_cli_cell(rows, "%lld", (long long)json_integer_value(json_array_get(point, 0)));
            syn_cli_cell(rows, "%.9g", json_number_value(json_array_get(point, 1)));
            syn_cli_cell(rows, "%s",
                         syn_format_time(json_integer_value(json_array_get(point, 2)), at));
        }
    }
    return syn_cli_rows_print(cli, rows, "No such metric; without --metric all are listed.");
}

static int
run_metrics(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    size_t i;
    json_t *metric;
    int status;

    if (!syn_cli_workload_items(cli, "/metrics", "METRIC|>POINTS|>FIRST|>LAST|>LOWEST|>HIGHEST",
                                &items, &rows, &status))
        return status;
    if (syn_cli_has(cli, "metric"))
        return print_points(cli, items, syn_cli_text(cli, "metric", ""));
    json_array_foreach (items, i, metric)
        metric_row(rows, metric);
    return syn_cli_rows_print(cli, rows, "The program has reported nothing yet.");
}

/* clang-format off */
static const struct syn_cli_option metrics_options[] = {
    {"metric", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Every point of this one"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_train_metrics = {
    .path = "compute train metrics",
    .summary = "Show what the program reported: loss and every other metric",
    .options = metrics_options,
    .option_count = SYN_LEN(metrics_options),
    .operands = syn_cli_job_operand,
    .operand_count = 1,
    .workload = &syn_cli_train_workload,
    .run = run_metrics};
