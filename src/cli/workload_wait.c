/* Following one workload until it is as it was asked to be, or will not be. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "workload_priv.h"

struct wait {
    struct syn_cli *cli;
    const struct syn_cli_workload *kind;
    const char *wanted;
    struct syn_cli_progress progress;
    json_t *workload; /* newest document */
    char phase[400];
    bool ended;
    bool deleted;
};

/* One line whenever it would say something else, and the progress of what has any. */
static void
show(struct wait *wait)
{
    const json_t *status = json_object_get(wait->workload, "status");
    const char *message = syn_json_str(status, "message", "");
    char phase[sizeof(wait->phase)];

    (void)snprintf(phase, sizeof(phase), "%s%s%s", syn_json_str(status, "state", "?"),
                   message[0] != '\0' ? ": " : "", message);
    if (!syn_str_eq(phase, wait->phase)) {
        bool tty = wait->cli->err_tty;

        syn_cli_note(wait->cli, "%s%s", tty && wait->progress.drawn ? "\r\033[K" : "", phase);
        wait->progress.drawn = false;
        (void)syn_str_copy(wait->phase, sizeof(wait->phase), phase);
    }
    wait->ended = wait->kind->ended(wait->workload, wait->wanted);
    if (wait->kind->progress != NULL)
        wait->kind->progress(&wait->progress, wait->workload);
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct wait *wait = arg;
    SYN_JSON(workload);
    int rc;

    if (syn_str_eq(event->name, "delete")) {
        wait->deleted = true;
        return SYN_CLIENT_STOP;
    }
    if (syn_str_eq(event->name, "compacted")) /* too far behind: look anew */
        return SYN_CLIENT_STOP;
    if (!syn_str_eq(event->name, "put"))
        return SYN_OK;
    rc = syn_json_parse_object(event->data, event->len, &workload, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "watching the %s", wait->kind->noun);
    json_decref(wait->workload);
    wait->workload = SYN_TAKE(workload);
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

    syn_buf_addf(&path, "/v1/watch?kind=%s&id=", wait->kind->one->kind);
    syn_cli_escape(&path, id);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, err);
    while (rc == SYN_OK && !wait->ended && !wait->deleted) {
        const json_t *before = wait->workload;

        rc = syn_client_follow(client, syn_buf_text(&path), NULL, on_event, wait, err);
        if (wait->workload != before)
            away_since = 0;
        if ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(wait->cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
    }
    return rc;
}

int
syn_cli_workload_reach(struct syn_cli *cli, const struct syn_cli_workload *kind, const char *id,
                       const char *wanted, json_t **ret)
{
    struct wait wait = {.cli = cli, .kind = kind, .wanted = wanted};
    struct syn_err err = {0};
    int status;
    int rc;

    *ret = NULL;
    syn_cli_progress_init(&wait.progress, cli, kind->going, 0, false);
    rc = follow(&wait, id, &err);
    if (wait.progress.drawn && cli->err_tty)
        fputc('\n', stderr);
    if (syn_cli_interrupted()) {
        syn_cli_note(cli, "%s %s", kind->look_again, id);
        if (kind->stop_it != NULL)
            syn_cli_note(cli, "%s %s", kind->stop_it, id);
        status = SYN_CLI_INTERRUPTED;
    } else if (rc < 0) {
        status = syn_cli_fail(cli, &err);
    } else if (wait.deleted || wait.workload == NULL) {
        (void)SYN_FAIL(&err, SYN_E_NOTFOUND, "%s was deleted", id);
        status = syn_cli_fail(cli, &err);
    } else {
        status = kind->exit_status(wait.workload, wanted);
        *ret = SYN_TAKE(wait.workload);
    }
    json_decref(wait.workload);
    return status;
}

int
syn_cli_workload_wait(struct syn_cli *cli, const char *id, const char *wanted)
{
    const struct syn_cli_workload *kind = syn_cli_workload_of(cli);
    SYN_JSON(workload);
    int status = syn_cli_workload_reach(cli, kind, id, wanted, &workload);

    if (workload == NULL)
        return status;
    if (cli->json) {
        (void)syn_cli_print_json_take(cli, SYN_TAKE(workload));
        return status;
    }
    kind->show(cli, workload);
    if (kind->next != NULL)
        kind->next(cli, workload);
    return status;
}
