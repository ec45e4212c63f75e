/* What a training job is to the commands that every workload has. */
#include <synor/base/str.h>

#include "train_priv.h"

const struct syn_cli_operand syn_cli_job_operand[] = {
    {"JOB", SYN_CLI_TEXT, true, false, "Id of the job, or its name: the newest of that name"},
};

/* --- rows ------------------------------------------------------------------------------------ */

static void
state_cells(struct syn_cli_table_out *rows, const json_t *status)
{
    syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "reason", ""));
    syn_cli_cell(rows, "%lld", (long long)json_integer_value(syn_json_at(status, "progress.step")));
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(status, "cost"), "spent", "0"));
}

static void
list_cells(struct syn_cli_table_out *rows, const json_t *job)
{
    syn_cli_cell(rows, "%s", syn_json_str(job, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(job, "id", ""));
    state_cells(rows, json_object_get(job, "status"));
    syn_cli_cell(rows, "%s", syn_json_str(job, "created_at", ""));
}

static const struct syn_cli_view list_view = {
    .kind = "training",
    .titles = "NAME|ID|STATE|REASON|>STEP|>SPENT|CREATED",
    .empty = "No training jobs. Make one: synor compute train create --help",
    .cells = list_cells,
    .newest_first = true,
    .own = true};

static void
one_cells(struct syn_cli_table_out *rows, const json_t *job)
{
    const json_t *status = json_object_get(job, "status");

    syn_cli_cell(rows, "%s", syn_json_str(job, "name", ""));
    state_cells(rows, status);
    syn_cli_cell(rows, "%s", syn_json_str(status, "message", ""));
}

static const struct syn_cli_view one_view = {.kind = "training",
                                             .titles = "NAME|STATE|REASON|>STEP|>SPENT|MESSAGE",
                                             .empty = "It is gone.",
                                             .cells = one_cells};

/* --- showing --------------------------------------------------------------------------------- */

static void
add_metric(struct syn_buf *out, const char *name, const json_t *value)
{
    if (json_is_number(value))
        syn_buf_addf(out, "  %s %.4g", name, json_number_value(value));
}

/* "step 120/2345  epoch 1/5  loss 0.3123  eta 2m10s" */
static void
describe(const json_t *status, struct syn_buf *out)
{
    const json_t *progress = json_object_get(status, "progress");
    int64_t steps = syn_json_i64(progress, "steps_total", 0);
    int64_t epochs = syn_json_i64(progress, "epochs_total", 0);
    int64_t eta_ms = syn_json_i64(progress, "eta_ms", -1);
    char text[SYN_FORMAT_MAX];

    syn_buf_addf(out, "step %lld", (long long)syn_json_i64(progress, "step", 0));
    if (steps > 0)
        syn_buf_addf(out, "/%lld", (long long)steps);
    if (epochs > 0)
        syn_buf_addf(out, "  epoch %lld/%lld", (long long)syn_json_i64(progress, "epoch", 0),
                     (long long)epochs);
    add_metric(out, "loss", json_object_get(progress, "loss"));
    if (eta_ms < 1000 || !syn_str_eq(syn_json_str(status, "state", ""), "running"))
        return;
    if (eta_ms < 60000) /* a guess needs no tenths */
        syn_buf_addf(out, "  eta %llds", (long long)(eta_ms / 1000));
    else
        syn_buf_addf(out, "  eta %s", syn_format_duration(eta_ms, text));
}

static void
show(const struct syn_cli *cli, const json_t *job)
{
    const json_t *status = json_object_get(job, "status");
    const json_t *cost = json_object_get(status, "cost");
    const json_t *result = json_object_get(status, "result");
    const json_t *checkpoint = json_object_get(status, "checkpoint");
    const char *bill = syn_json_str(status, "bill", NULL);
    char size[SYN_FORMAT_MAX];
    SYN_BUF(progress);

    syn_cli_say(cli, "%s (%s)  %s", syn_json_str(job, "name", "?"), syn_json_str(job, "id", "?"),
                syn_json_str(status, "state", "?"));
    syn_cli_say(cli, "  reason      %s%s%s", syn_json_str(status, "reason", "?"),
                syn_json_str(status, "message", "")[0] != '\0' ? ": " : "",
                syn_json_str(status, "message", ""));
    if (syn_json_str(status, "node", "")[0] != '\0')
        syn_cli_say(cli, "  node        %s, %s", syn_json_str(status, "node", ""),
                    syn_json_str(status, "isolation", "?"));
    describe(status, &progress);
    syn_cli_say(cli, "  progress    %s", syn_buf_text(&progress));
    if (json_is_object(checkpoint))
        syn_cli_say(cli, "  checkpoint  synor://%s  step %lld, %s",
                    syn_json_str(checkpoint, "cid", "?"),
                    (long long)syn_json_i64(checkpoint, "step", 0),
                    syn_format_bytes(syn_json_i64(checkpoint, "size_bytes", 0), size));
    if (json_is_object(result))
        syn_cli_say(cli, "  result      synor://%s  %s", syn_json_str(result, "cid", "?"),
                    syn_format_bytes(syn_json_i64(result, "size_bytes", 0), size));
    if (json_is_object(cost))
        syn_cli_say(cli, "  cost        %s of %s SYNOR", syn_json_str(cost, "spent", "0"),
                    syn_json_str(cost, "budget", "?"));
    if (bill != NULL)
        syn_cli_say(cli, "  bill        %s", bill);
}

/* --- waiting --------------------------------------------------------------------------------- */

static void
describe_cost(const json_t *status, struct syn_buf *out)
{
    const json_t *cost = json_object_get(status, "cost");

    if (cost != NULL)
        syn_buf_addf(out, "  %s/%s SYNOR", syn_json_str(cost, "spent", "0"),
                     syn_json_str(cost, "budget", "?"));
}

/* The bar while it runs. */
static void
show_progress(struct syn_cli_progress *progress, const json_t *job)
{
    const json_t *status = json_object_get(job, "status");
    const json_t *steps = json_object_get(status, "progress");
    const char *state = syn_json_str(status, "state", "?");
    SYN_BUF(detail);

    if (!syn_str_eq(state, "running") && !syn_str_eq(state, "stopping"))
        return;
    describe(status, &detail);
    describe_cost(status, &detail);
    progress->total = syn_json_i64(steps, "steps_total", 0);
    syn_cli_progress_show(progress, syn_json_i64(steps, "step", 0), syn_buf_text(&detail));
}

/* Whatever is waited for, the end of a run is the end. */
static bool
ended(const json_t *job, const char *wanted)
{
    const char *state = syn_json_str(json_object_get(job, "status"), "state", "?");

    (void)wanted;
    return syn_str_eq(state, "succeeded") || syn_str_eq(state, "failed") ||
           syn_str_eq(state, "stopped");
}

static int
exit_status(const json_t *job, const char *wanted)
{
    const json_t *status = json_object_get(job, "status");
    const char *state = syn_json_str(status, "state", "");

    if (syn_str_eq(state, "succeeded") || syn_str_eq(state, wanted))
        return 0;
    if (syn_str_eq(state, "stopped") && syn_str_eq(syn_json_str(status, "reason", ""), "budget"))
        return syn_err_info(SYN_E_BUDGET)->exit;
    return 1;
}

/* What a person would type next. */
static void
next(const struct syn_cli *cli, const json_t *job)
{
    const json_t *status = json_object_get(job, "status");
    const json_t *result = json_object_get(status, "result");
    const char *id = syn_json_str(job, "id", "?");
    const char *bill = syn_json_str(status, "bill", NULL);

    syn_cli_say(cli, "\nNext:");
    if (json_is_object(result))
        syn_cli_say(cli, "  synor storage get synor://%s ./trained",
                    syn_json_str(result, "cid", "?"));
    if (!syn_str_eq(syn_json_str(status, "state", ""), "succeeded")) {
        syn_cli_say(cli, "  synor compute train explain %s", id);
        syn_cli_say(cli, "  synor compute train resume %s", id);
    }
    syn_cli_say(cli, "  synor compute train checkpoints %s", id);
    if (bill != NULL)
        syn_cli_say(cli, "  synor bill show %s", bill);
}

const struct syn_cli_workload syn_cli_train_workload = {
    .route = "/v1/training",
    .noun = "job",
    .label = "id",
    .list = &list_view,
    .one = &one_view,
    .show = show,
    .forget = "Forget the job and its checkpoints? Its bills stay.",
    .wait_or_watch = "--wait ends with the job, --watch does not; use one",
    .wanted = "succeeded",
    .ended = ended,
    .exit_status = exit_status,
    .going = "Training",
    .progress = show_progress,
    .next = next,
    .look_again = "The job goes on without us. Look again: synor compute train logs -f",
    .stop_it = "Stop it: synor compute train stop"};
