/* Following one job to its end. The job does not need us: a signal ends the looking, never the job.
 */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "train_priv.h"

struct wait {
    struct syn_cli *cli;
    struct syn_cli_progress progress;
    json_t *job; /* newest document */
    char phase[400];
    bool ended;
    bool deleted;
};

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
    if (eta_ms >= 0 && syn_str_eq(syn_json_str(status, "state", ""), "running"))
        syn_buf_addf(out, "  eta %s", syn_format_duration(eta_ms / 1000 * 1000, text));
}

static void
describe_cost(const json_t *status, struct syn_buf *out)
{
    const json_t *cost = json_object_get(status, "cost");

    if (cost != NULL)
        syn_buf_addf(out, "  %s/%s SYNOR", syn_json_str(cost, "spent", "0"),
                     syn_json_str(cost, "budget", "?"));
}

static bool
is_end(const char *state)
{
    return syn_str_eq(state, "succeeded") || syn_str_eq(state, "failed") ||
           syn_str_eq(state, "stopped");
}

/* One line whenever it would say something else, the bar while it runs. */
static void
show(struct wait *wait)
{
    const json_t *status = json_object_get(wait->job, "status");
    const json_t *progress = json_object_get(status, "progress");
    const char *state = syn_json_str(status, "state", "?");
    const char *message = syn_json_str(status, "message", "");
    char phase[sizeof(wait->phase)];
    SYN_BUF(detail);

    (void)snprintf(phase, sizeof(phase), "%s%s%s", state, message[0] != '\0' ? ": " : "", message);
    if (!syn_str_eq(phase, wait->phase)) {
        bool tty = wait->cli->err_tty;

        syn_cli_note(wait->cli, "%s%s", tty && wait->progress.drawn ? "\r\033[K" : "", phase);
        wait->progress.drawn = false;
        (void)syn_str_copy(wait->phase, sizeof(wait->phase), phase);
    }
    wait->ended = is_end(state);
    if (!syn_str_eq(state, "running") && !syn_str_eq(state, "stopping"))
        return;
    describe(status, &detail);
    describe_cost(status, &detail);
    wait->progress.total = syn_json_i64(progress, "steps_total", 0);
    syn_cli_progress_show(&wait->progress, syn_json_i64(progress, "step", 0),
                          syn_buf_text(&detail));
}

/* --- following ------------------------------------------------------------------------------- */

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct wait *wait = arg;
    SYN_JSON(job);
    int rc;

    if (syn_str_eq(event->name, "delete")) {
        wait->deleted = true;
        return SYN_CLIENT_STOP;
    }
    if (syn_str_eq(event->name, "compacted")) /* too far behind: look anew */
        return SYN_CLIENT_STOP;
    if (!syn_str_eq(event->name, "put"))
        return SYN_OK;
    rc = syn_json_parse_object(event->data, event->len, &job, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "watching the job");
    json_decref(wait->job);
    wait->job = SYN_TAKE(job);
    show(wait);
    return wait->ended ? SYN_CLIENT_STOP : SYN_OK;
}

static int
follow(struct wait *wait, const char *id, struct syn_err *err)
{
    struct syn_client *client;
    int64_t away_since = 0;
    SYN_BUF(path);
    int rc = syn_cli_client(wait->cli, &client, err);

    syn_buf_adds(&path, "/v1/watch?kind=training&id=");
    syn_cli_escape(&path, id);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, err);
    while (rc == SYN_OK && !wait->ended && !wait->deleted) {
        const json_t *before = wait->job;

        rc = syn_client_follow(client, syn_buf_text(&path), NULL, on_event, wait, err);
        if (wait->job != before)
            away_since = 0;
        if ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(wait->cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
    }
    return rc;
}

/* --- the end --------------------------------------------------------------------------------- */

void
syn_cli_train_show(const struct syn_cli *cli, const json_t *job)
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

/* What a person would type next. */
static void
suggest(const struct syn_cli *cli, const json_t *job)
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

int
syn_cli_train_wait(struct syn_cli *cli, const char *id, const char *wanted)
{
    struct wait wait = {.cli = cli};
    struct syn_err err = {0};
    int status = 1;
    int rc;

    syn_cli_progress_init(&wait.progress, cli, "Training", 0, false);
    rc = follow(&wait, id, &err);
    if (wait.progress.drawn && cli->err_tty)
        fputc('\n', stderr);
    if (syn_cli_interrupted()) {
        syn_cli_note(cli, "The job goes on without us. Look again: synor compute train logs -f %s",
                     id);
        syn_cli_note(cli, "Stop it: synor compute train stop %s", id);
        status = SYN_CLI_INTERRUPTED;
    } else if (rc < 0) {
        status = syn_cli_fail(cli, &err);
    } else if (wait.deleted || wait.job == NULL) {
        (void)SYN_FAIL(&err, SYN_E_NOTFOUND, "%s was deleted", id);
        status = syn_cli_fail(cli, &err);
    } else {
        status = exit_status(wait.job, wanted);
        if (cli->json) {
            (void)syn_cli_print_json_take(cli, json_incref(wait.job));
        } else {
            syn_cli_train_show(cli, wait.job);
            suggest(cli, wait.job);
        }
    }
    json_decref(wait.job);
    return status;
}
