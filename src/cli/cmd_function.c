/* compute function: looking at functions and steering them. Deploying is in cmd_function_deploy.c,
 * calling in cmd_function_invoke.c; explain and logs where those of other workloads are. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "commands_priv.h"
#include "function_kind_priv.h"
#include "live_priv.h"
#include "trigger.h"

#define WEIGHTS 100 /* of all versions together */
#define LOOK_MS 100

/* --- list, get, delete ----------------------------------------------------------------------- */

static const struct syn_cli_option list_options[] = {
    SYN_CLI_WATCH_OPTION,
};

const struct syn_cli_command syn_cli_function_list = {.path = "compute function list",
                                                      .summary = "List functions, newest first",
                                                      .detail = SYN_CLI_WATCH_DETAIL,
                                                      .options = list_options,
                                                      .option_count = SYN_LEN(list_options),
                                                      .workload = &syn_cli_function_workload,
                                                      .run = syn_cli_workload_list};

/* clang-format off */
static const struct syn_cli_option get_options[] = {
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until its newest version is called; exit status 1 if it will not be"},
    SYN_CLI_WATCH_OPTION,
};
/* clang-format on */

const struct syn_cli_command syn_cli_function_get = {
    .path = "compute function get",
    .summary = "Show one function: state, version, triggers, addresses, cost",
    .detail = SYN_CLI_WATCH_DETAIL,
    .options = get_options,
    .option_count = SYN_LEN(get_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = syn_cli_workload_get};

/* Until its last bill is written, and no longer than somebody would look. */
static int
await_end(struct syn_cli *cli, const char *id)
{
    SYN_BUF(path);
    struct syn_err err;
    int64_t away_since = 0;
    int rc;

    syn_buf_adds(&path, "/v1/functions/");
    syn_cli_escape(&path, id);
    rc = syn_buf_ok(&path, &err);
    while (rc == SYN_OK) {
        SYN_JSON(function);

        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &function, &err);
        if (rc == SYN_E_NOTFOUND)
            return 0;
        if ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
        if (syn_cli_interrupted()) {
            syn_cli_note(cli, "It goes on without us.");
            return SYN_CLI_INTERRUPTED;
        }
        (void)poll(NULL, 0, LOOK_MS);
    }
    return syn_cli_fail(cli, &err);
}

static int
run_delete(struct syn_cli *cli)
{
    SYN_JSON(function);
    struct syn_err err;
    const char *name = syn_cli_operand(cli, 0);
    bool waits = !syn_cli_has(cli, "no-wait");
    int status = 0;

    if (!syn_cli_workload_confirm(cli, syn_cli_function_workload.forget))
        return 1;
    if (syn_cli_workload_call(cli, "DELETE", "", NULL, &function, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (waits)
        status = await_end(cli, syn_json_str(function, "id", name));
    if (status != 0)
        return status;
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:s, s:b}", "id",
                                                      syn_json_str(function, "id", name), "deleted",
                                                      waits ? 1 : 0));
    syn_cli_say(cli, "%s is %sdeleted.", name, waits ? "" : "being ");
    return 0;
}

static const struct syn_cli_option delete_options[] = {
    {"no-wait", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Do not wait until its last bill is written"},
};

const struct syn_cli_command syn_cli_function_delete = {.path = "compute function delete",
                                                        .summary =
                                                            "Delete a function and its versions",
                                                        .options = delete_options,
                                                        .option_count = SYN_LEN(delete_options),
                                                        .operands = syn_cli_function_operand,
                                                        .operand_count = 1,
                                                        .workload = &syn_cli_function_workload,
                                                        .run = run_delete};

/* --- versions, rollback ---------------------------------------------------------------------- */

/* What a version has of what comes, in percent. */
static int64_t
weight_of(const json_t *traffic, int64_t version)
{
    const json_t *row;
    size_t i;

    json_array_foreach (traffic, i, row)
        if (syn_json_i64(row, "version", 0) == version)
            return syn_json_i64(row, "weight", 0);
    return 0;
}

static int
run_versions(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(versions);
    SYN_JSON(function);
    struct syn_err err;
    const json_t *traffic;
    size_t i;
    json_t *version;
    int exit_status;

    if (!syn_cli_workload_items(cli, "/versions",
                                ">VERSION|STATE|>TRAFFIC|RUNTIME|CODE|CREATED|MESSAGE", &versions,
                                &rows, &exit_status))
        return exit_status;
    if (syn_cli_workload_call(cli, "GET", "", NULL, &function, &err) < 0)
        return syn_cli_fail(cli, &err);
    traffic = json_object_get(json_object_get(function, "status"), "traffic");
    json_array_foreach (versions, i, version) {
        int64_t number = syn_json_i64(version, "version", 0);
        const char *code = syn_json_str(version, "code_cid", "");

        syn_cli_cell(rows, "%lld", (long long)number);
        syn_cli_cell(rows, "%s", syn_json_str(version, "state", ""));
        syn_cli_cell(rows, "%lld%%", (long long)weight_of(traffic, number));
        syn_cli_cell(rows, "%s", syn_json_str(json_object_get(version, "spec"), "runtime", ""));
        syn_cli_cell(rows, "%s%s", code[0] != '\0' ? "synor://" : "", code);
        syn_cli_cell(rows, "%s", syn_json_str(version, "created_at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(version, "message", ""));
    }
    return syn_cli_rows_print(cli, rows, "No versions.");
}

const struct syn_cli_command syn_cli_function_versions = {.path = "compute function versions",
                                                          .summary =
                                                              "List the versions of a function",
                                                          .operands = syn_cli_function_operand,
                                                          .operand_count = 1,
                                                          .workload = &syn_cli_function_workload,
                                                          .run = run_versions};

static int
run_rollback(struct syn_cli *cli)
{
    SYN_JSON(body);
    struct syn_err err;
    int rc = SYN_OK;

    if (!syn_cli_workload_confirm(cli, "Have an earlier version take all that comes?"))
        return 1;
    body = json_object();
    if (syn_cli_has(cli, "version"))
        rc = syn_json_set_i64(body, "version", syn_cli_number(cli, "version", 0), &err);
    return rc < 0 ? syn_cli_fail(cli, &err)
                  : syn_cli_workload_change(cli, "POST", "/rollback", body, "active");
}

/* clang-format off */
static const struct syn_cli_option rollback_options[] = {
    {"version", 0, "N", SYN_CLI_INT, 1, INT64_MAX, false, false, NULL, "the one before", "Which: compute function versions lists them"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_function_rollback = {
    .path = "compute function rollback",
    .summary = "Go back to an earlier version, at once",
    .options = rollback_options,
    .option_count = SYN_LEN(rollback_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_rollback};

/* --- traffic --------------------------------------------------------------------------------- */

/* "4=10" */
static int
add_weight(json_t *traffic, const char *word, struct syn_err *err)
{
    const char *equals = strchr(word, '=');
    char number[24], percent[24];
    int64_t version, weight;
    json_t *row = NULL;
    size_t len;
    int rc;

    if (equals == NULL || equals == word || equals - word >= (ptrdiff_t)sizeof(number))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.40s\" is not VERSION=PERCENT, such as 4=10", word);
    (void)snprintf(number, sizeof(number), "%.*s", (int)(equals - word), word);
    len = strcspn(equals + 1, "%");
    (void)snprintf(percent, sizeof(percent), "%.*s", (int)SYN_MIN(len, sizeof(percent) - 1),
                   equals + 1);
    rc = syn_parse_i64(number, 1, INT64_MAX, "a version", &version, err);
    if (rc == SYN_OK)
        rc = syn_parse_i64(percent, 1, WEIGHTS, "a part of what comes, in percent", &weight, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&row, err, "{s:I, s:I}", "version", (json_int_t)version, "weight",
                           (json_int_t)weight);
    return rc < 0 ? rc : syn_json_append_take(traffic, row, err);
}

/* What is not given to a version stays the active one's. */
static int
add_rest(struct syn_cli *cli, json_t *traffic, struct syn_err *err)
{
    const json_t *row;
    int64_t sum = 0, active;
    SYN_JSON(function);
    char word[64];
    size_t i;
    int rc;

    json_array_foreach (traffic, i, row)
        sum += syn_json_i64(row, "weight", 0);
    if (sum == WEIGHTS)
        return SYN_OK;
    rc = syn_cli_workload_call(cli, "GET", "", NULL, &function, err);
    if (rc < 0)
        return rc;
    active = syn_json_i64(json_object_get(function, "status"), "active", 0);
    json_array_foreach (traffic, i, row)
        if (sum > WEIGHTS || active == 0 || syn_json_i64(row, "version", 0) == active)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "the parts are %lld%% together, and must be %d%%; what is left out is "
                            "the active version's",
                            (long long)sum, WEIGHTS);
    (void)snprintf(word, sizeof(word), "%lld=%lld", (long long)active, (long long)(WEIGHTS - sum));
    return add_weight(traffic, word, err);
}

static int
show_traffic(struct syn_cli *cli, const json_t *function)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const json_t *traffic = json_object_get(json_object_get(function, "status"), "traffic");
    struct syn_err err;
    const json_t *row;
    size_t i;

    if (cli->json)
        return syn_cli_print_json_take(cli,
                                       json_pack("{s:O}", "traffic", (json_t *)(uintptr_t)traffic));
    if (syn_cli_rows_new(">VERSION|>TRAFFIC", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (traffic, i, row) {
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(row, "version", 0));
        syn_cli_cell(rows, "%lld%%", (long long)syn_json_i64(row, "weight", 0));
    }
    return syn_cli_rows_print(cli, rows, "No version is ready.");
}

static int
run_traffic(struct syn_cli *cli)
{
    SYN_JSON(function);
    SYN_JSON(body);
    struct syn_err err;
    json_t *traffic;
    int rc = syn_json_pack(&body, &err, "{s:[]}", "traffic");

    traffic = json_object_get(body, "traffic");
    for (size_t i = 1; rc == SYN_OK && syn_cli_operand(cli, i) != NULL; i++)
        rc = add_weight(traffic, syn_cli_operand(cli, i), &err);
    if (rc == SYN_OK && json_array_size(traffic) == 0)
        rc = syn_cli_workload_call(cli, "GET", "", NULL, &function, &err);
    else if (rc == SYN_OK)
        rc = add_rest(cli, traffic, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (json_array_size(traffic) == 0)
        return show_traffic(cli, function);
    if (!syn_cli_workload_confirm(cli, "Share what comes among versions so?"))
        return 1;
    if (syn_cli_workload_call(cli, "POST", "/traffic", body, &function, &err) < 0)
        return syn_cli_fail(cli, &err);
    return show_traffic(cli, function);
}

static const struct syn_cli_operand traffic_operands[] = {
    {"FUNCTION", SYN_CLI_TEXT, true, false, "Name of the function, or its id"},
    {"VERSION=PERCENT", SYN_CLI_TEXT, false, true,
     "Part of what comes that a version gets; the rest is the active one's"},
};

const struct syn_cli_command syn_cli_function_traffic = {
    .path = "compute function traffic",
    .summary = "Show what each version has of what comes, or change it",
    .detail = "Which version a call gets is drawn for each call.",
    .examples = "  synor compute function traffic hello 4=10\n"
                "  synor compute function traffic hello 4=100\n",
    .operands = traffic_operands,
    .operand_count = SYN_LEN(traffic_operands),
    .workload = &syn_cli_function_workload,
    .run = run_traffic};

/* --- triggers -------------------------------------------------------------------------------- */

static int
show_triggers(struct syn_cli *cli, const json_t *function)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const json_t *triggers = syn_json_at(function, "spec.triggers");
    struct syn_err err;
    const json_t *trigger;
    size_t i;

    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:O?, s:n}", "items", (json_t *)(uintptr_t)triggers, "next"));
    if (syn_cli_rows_new(">NUMBER|TRIGGER", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (triggers, i, trigger) {
        SYN_BUF(word);

        syn_cli_trigger_write(trigger, &word);
        if (syn_buf_ok(&word, &err) < 0)
            return syn_cli_fail(cli, &err);
        syn_cli_cell(rows, "%zu", i + 1);
        syn_cli_cell(rows, "%s", syn_buf_text(&word));
    }
    return syn_cli_rows_print(cli, rows, "No triggers: only `compute function invoke` calls it.");
}

/* Take away those that --remove names; higher numbers do not move while lower ones stay. */
static int
remove_triggers(const struct syn_cli *cli, json_t *triggers, struct syn_err *err)
{
    const struct syn_cli_value *value;
    bool gone[256] = {false};
    size_t cursor = 0, count = json_array_size(triggers);

    while ((value = syn_cli_next(cli, "remove", &cursor)) != NULL) {
        size_t number = (size_t)value->number;

        if (number == 0 || number > SYN_MIN(count, sizeof(gone)) || gone[number - 1])
            return SYN_FAIL(err, SYN_E_INVALID, "--remove: there is no trigger %s; there are %zu",
                            value->text, count);
        gone[number - 1] = true;
    }
    for (size_t i = SYN_MIN(count, sizeof(gone)); i-- > 0;)
        if (gone[i])
            (void)json_array_remove(triggers, i);
    return SYN_OK;
}

static int
run_triggers(struct syn_cli *cli)
{
    SYN_JSON(function);
    SYN_JSON(changed);
    SYN_JSON(body);
    SYN_JSON(triggers);
    struct syn_err err;
    int rc = syn_cli_workload_call(cli, "GET", "", NULL, &function, &err);

    if (rc == SYN_OK && !syn_cli_has(cli, "add") && !syn_cli_has(cli, "remove"))
        return show_triggers(cli, function);
    if (rc == SYN_OK) {
        const json_t *known = syn_json_at(function, "spec.triggers");

        triggers = known != NULL ? syn_json_deep_copy(known) : json_array();
        if (triggers == NULL)
            rc = SYN_FAIL(&err, SYN_E_NOMEM, "no memory for triggers");
    }
    if (rc == SYN_OK)
        rc = remove_triggers(cli, triggers, &err);
    if (rc == SYN_OK)
        rc = syn_cli_function_triggers(cli, "add", triggers, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:{s:O}}", "spec", "triggers", triggers);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (!syn_cli_workload_confirm(cli, "Change what calls it?"))
        return 1;
    if (syn_cli_workload_call(cli, "PATCH", "", body, &changed, &err) < 0) {
        static const struct syn_cli_spec_key key = {"add", "triggers"};

        syn_cli_spec_blame(cli, "spec.", &key, 1, &err);
        return syn_cli_fail(cli, &err);
    }
    return show_triggers(cli, changed);
}

/* clang-format off */
static const struct syn_cli_option triggers_options[] = {
    {"add", 0, "WORD", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Have this call it too, a word as --trigger of deploy takes; may be given again"},
    {"remove", 0, "NUMBER", SYN_CLI_INT, 1, 1000, false, true, NULL, NULL, "Have this call it no longer, by its number in the list; may be given again"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_function_triggers_command = {
    .path = "compute function triggers",
    .summary = "List what calls a function, or change it",
    .detail = "Triggers belong to the function and to none of its versions: a change counts at "
              "once.",
    .examples = "  synor compute function triggers hello --add 'schedule:*/5 * * * *'\n"
                "  synor compute function triggers hello --remove 2\n",
    .options = triggers_options,
    .option_count = SYN_LEN(triggers_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_triggers};

/* --- suspend, resume ------------------------------------------------------------------------- */

static int
run_suspended(struct syn_cli *cli, bool suspended)
{
    SYN_JSON(body);
    SYN_JSON(function);
    struct syn_err err;

    if (!syn_cli_workload_confirm(cli,
                                  suspended ? "Have it answer nobody?" : "Have it answer again?"))
        return 1;
    if (syn_json_pack(&body, &err, "{s:{s:b}}", "spec", "suspended", suspended ? 1 : 0) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_workload_call(cli, "PATCH", "", body, &function, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "wait"))
        return syn_cli_workload_wait(cli, syn_json_str(function, "id", "?"),
                                     suspended ? "suspended" : "active");
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(function));
    syn_cli_say(cli, "%s  is being %s", syn_json_str(function, "name", "?"),
                suspended ? "suspended" : "resumed");
    return 0;
}

static int
run_suspend(struct syn_cli *cli)
{
    return run_suspended(cli, true);
}

static int
run_resume(struct syn_cli *cli)
{
    return run_suspended(cli, false);
}

static const struct syn_cli_option wait_options[] = {
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show progress until it is done; exit status 1 if it will not be"},
};

const struct syn_cli_command syn_cli_function_suspend = {
    .path = "compute function suspend",
    .summary = "Have a function answer nobody; nothing of it runs",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_suspend};

const struct syn_cli_command syn_cli_function_resume = {
    .path = "compute function resume",
    .summary = "Have a suspended function answer again",
    .options = wait_options,
    .option_count = SYN_LEN(wait_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_resume};

/* --- events ---------------------------------------------------------------------------------- */

const struct syn_cli_command syn_cli_function_events = {.path = "compute function events",
                                                        .summary =
                                                            "List what happened to a function",
                                                        .operands = syn_cli_function_operand,
                                                        .operand_count = 1,
                                                        .workload = &syn_cli_function_workload,
                                                        .run = syn_cli_workload_events};

/* --- metrics --------------------------------------------------------------------------------- */

static void
time_cell(struct syn_cli_table_out *rows, const json_t *metrics, const char *key)
{
    int64_t us = syn_json_i64(metrics, key, -1);

    if (us < 0)
        syn_cli_cell(rows, "-");
    else if (us < 10000)
        syn_cli_cell(rows, "%lld.%02lld ms", (long long)(us / 1000), (long long)(us % 1000 / 10));
    else
        syn_cli_cell(rows, "%lld ms", (long long)(us / 1000));
}

static void
metrics_cells(struct syn_cli_table_out *rows, const char *version, const json_t *metrics)
{
    static const char *const counts[] = {"count", "errors", "throttled", "cold"};
    static const char *const times[] = {"mean_us", "p50_us", "p95_us", "p99_us"};

    syn_cli_cell(rows, "%s", version);
    for (size_t i = 0; i < SYN_LEN(counts); i++) {
        const json_t *count = json_object_get(metrics, counts[i]);

        if (json_is_integer(count))
            syn_cli_cell(rows, "%lld", (long long)json_integer_value(count));
        else
            syn_cli_cell(rows, "-");
    }
    for (size_t i = 0; i < SYN_LEN(times); i++)
        time_cell(rows, metrics, times[i]);
}

/* A row for each version and one for all: of all, or of those of which something is news. */
static int
metrics_rows(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
             struct syn_err *err)
{
    const json_t *had = json_object_get(before, "by_version"), *metrics;
    struct syn_cli_table_out *rows;
    const char *version;
    int rc =
        syn_cli_rows_new(">VERSION|>CALLS|>ERRORS|>REFUSED|>COLD|>MEAN|>P50|>P95|>P99", &rows, err);

    if (rc < 0)
        return rc;
    json_object_foreach (json_object_get(now, "by_version"), version, metrics)
        if (whole || !json_equal(metrics, json_object_get(had, version)))
            metrics_cells(rows, version, metrics);
    metrics_cells(rows, "all", now);
    *ret = rows;
    return SYN_OK;
}

/* How instances came: a row a way, and the mean of each stage. */
static int
print_starts(const struct syn_cli *cli, const json_t *metrics)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const char *const *stages = syn_cli_function_stages;
    json_t *sums;
    const char *way;
    struct syn_err err;

    if (json_object_size(json_object_get(metrics, "starts")) == 0)
        return 0;
    if (syn_cli_rows_new("WAY|>STARTS|>WAITED|>WAIT|>SCHEDULE|>FETCH|>CREATE|>RESTORE|>INITIALISE|"
                         ">FIRST BYTE",
                         &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_object_foreach (json_object_get(metrics, "starts"), way, sums) {
        syn_cli_cell(rows, "%s", way);
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(sums, "count", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(sums, "waited", 0));
        for (size_t i = 0; i < SYN_CLI_FUNCTION_STAGES; i++)
            time_cell(rows, json_object_get(json_object_get(sums, "stages"), stages[i]), "mean_us");
    }
    (void)puts("");
    return syn_cli_rows_print(cli, rows, "");
}

static int
run_metrics(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_cli_look look = {.cli = cli, .rows = metrics_rows};
    SYN_JSON(metrics);
    SYN_BUF(path);
    struct syn_err err;

    syn_cli_workload_path(cli, "/metrics", &path);
    if (syn_cli_has(cli, "minutes"))
        syn_buf_addf(&path, "?minutes=%s", syn_cli_text(cli, "minutes", ""));
    if (syn_buf_ok(&path, &err) < 0)
        return syn_cli_fail(cli, &err);
    look.path = syn_buf_text(&path);
    if (syn_cli_has(cli, "watch"))
        return syn_cli_look_on(&look);
    if (syn_cli_call(cli, "GET", look.path, NULL, &metrics, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(metrics));
    if (metrics_rows(NULL, metrics, true, &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_rows_print(cli, rows, "") != 0 ? 1 : print_starts(cli, metrics);
}

static const struct syn_cli_option metrics_options[] = {
    {"minutes", 0, "N", SYN_CLI_INT, 1, 1440, false, false, NULL, "60", "Of the last so many"},
    SYN_CLI_LOOK_OPTION,
};

const struct syn_cli_command syn_cli_function_metrics = {
    .path = "compute function metrics",
    .summary = "Show how often a function was called, and how long it took",
    .detail = "Times are those of calls, waiting included; all but the mean are read from a "
              "histogram. REFUSED are calls for which there was no room (429). "
              "COLD are those that waited for an instance to start. Below, how instances came, and "
              "what each stage took on average. " SYN_CLI_LOOK_DETAIL,
    .options = metrics_options,
    .option_count = SYN_LEN(metrics_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_metrics};
