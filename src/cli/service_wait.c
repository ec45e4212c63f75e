/* Following one service until it is as it was asked to be. It does not need us: a signal ends the
 * looking, never the service. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "service_priv.h"

struct wait {
    struct syn_cli *cli;
    json_t *service; /* newest document */
    char phase[400];
    bool stopped; /* is what is waited for */
    bool ended;
    bool deleted;
};

void
syn_cli_service_show(const struct syn_cli *cli, const json_t *service)
{
    const json_t *status = json_object_get(service, "status");
    const json_t *spec = json_object_get(service, "spec");
    const json_t *cost = json_object_get(status, "cost");
    const json_t *replicas = json_object_get(status, "replicas");
    const char *bill = syn_json_str(status, "bill", NULL);
    const char *address = syn_json_str(status, "address", "");
    size_t i;
    const json_t *endpoint;

    syn_cli_say(cli, "%s (%s)  %s", syn_json_str(service, "name", "?"),
                syn_json_str(service, "id", "?"), syn_json_str(status, "state", "?"));
    syn_cli_say(cli, "  reason      %s: %s", syn_json_str(status, "reason", "?"),
                syn_json_str(status, "message", ""));
    syn_cli_say(cli, "  version     %lld of %s", (long long)syn_json_i64(status, "target", 0),
                syn_json_str(spec, "image", "?"));
    syn_cli_say(cli, "  replicas    %lld wanted, %lld ready",
                (long long)syn_json_i64(replicas, "wanted", 0),
                (long long)syn_json_i64(replicas, "ready", 0));
    if (address[0] != '\0')
        syn_cli_say(cli, "  address     %s", address);
    json_array_foreach (json_object_get(status, "endpoints"), i, endpoint)
        syn_cli_say(cli, "  replica %-3lld %s on %s%s%s, version %lld",
                    (long long)syn_json_i64(endpoint, "replica", 0),
                    syn_json_bool(endpoint, "ready", false) ? "ready"
                                                            : syn_json_str(endpoint, "state", "?"),
                    syn_json_str(endpoint, "node", "?"),
                    syn_json_str(endpoint, "address", "")[0] != '\0' ? " at " : "",
                    syn_json_str(endpoint, "address", ""),
                    (long long)syn_json_i64(endpoint, "version", 0));
    syn_cli_say(cli, "  cost        %s SYNOR, %s an hour; %s are locked",
                syn_json_str(cost, "spent", "0"), syn_json_str(cost, "rate_hour", "0"),
                syn_json_str(cost, "locked", "0"));
    if (bill != NULL)
        syn_cli_say(cli, "  bill        %s", bill);
}

/* Is it what was waited for, or will it never be? */
static bool
is_end(const struct wait *wait)
{
    const json_t *status = json_object_get(wait->service, "status");
    const char *state = syn_json_str(status, "state", "");

    if (syn_str_eq(state, "stopped"))
        return !wait->stopped || json_is_string(json_object_get(status, "bill"));
    if (wait->stopped)
        return false;
    if (syn_str_eq(state, "running"))
        return syn_json_i64(status, "settled_generation", 0) ==
               syn_json_i64(wait->service, "generation", 0);
    return syn_str_eq(syn_json_str(status, "reason", ""), "deploy-failed");
}

/* One line whenever it would say something else. */
static void
show(struct wait *wait)
{
    const json_t *status = json_object_get(wait->service, "status");
    char phase[sizeof(wait->phase)];

    (void)snprintf(phase, sizeof(phase), "%s: %s", syn_json_str(status, "state", "?"),
                   syn_json_str(status, "message", ""));
    if (!syn_str_eq(phase, wait->phase)) {
        syn_cli_note(wait->cli, "%s", phase);
        (void)syn_str_copy(wait->phase, sizeof(wait->phase), phase);
    }
    wait->ended = is_end(wait);
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct wait *wait = arg;
    SYN_JSON(service);
    int rc;

    if (syn_str_eq(event->name, "delete")) {
        wait->deleted = true;
        return SYN_CLIENT_STOP;
    }
    if (syn_str_eq(event->name, "compacted")) /* too far behind: look anew */
        return SYN_CLIENT_STOP;
    if (!syn_str_eq(event->name, "put"))
        return SYN_OK;
    rc = syn_json_parse_object(event->data, event->len, &service, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "watching the service");
    json_decref(wait->service);
    wait->service = SYN_TAKE(service);
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

    syn_buf_adds(&path, "/v1/watch?kind=service&id=");
    syn_cli_escape(&path, id);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, err);
    while (rc == SYN_OK && !wait->ended && !wait->deleted) {
        const json_t *before = wait->service;

        rc = syn_client_follow(client, syn_buf_text(&path), NULL, on_event, wait, err);
        if (wait->service != before)
            away_since = 0;
        if ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(wait->cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
    }
    return rc;
}

static int
exit_status(const struct wait *wait)
{
    const json_t *status = json_object_get(wait->service, "status");
    const char *state = syn_json_str(status, "state", "");

    if (wait->stopped)
        return syn_str_eq(state, "stopped") ? 0 : 1;
    if (syn_str_eq(syn_json_str(status, "reason", ""), "budget"))
        return syn_err_info(SYN_E_BUDGET)->exit;
    return syn_str_eq(state, "running") && syn_json_i64(status, "rolled_back", 0) == 0 ? 0 : 1;
}

int
syn_cli_service_wait(struct syn_cli *cli, const char *id, bool stopped)
{
    struct wait wait = {.cli = cli, .stopped = stopped};
    struct syn_err err = {0};
    int status = 1;
    int rc = follow(&wait, id, &err);

    if (syn_cli_interrupted()) {
        syn_cli_note(cli, "It goes on without us. Look again: synor compute service get %s", id);
        status = SYN_CLI_INTERRUPTED;
    } else if (rc < 0) {
        status = syn_cli_fail(cli, &err);
    } else if (wait.deleted || wait.service == NULL) {
        (void)SYN_FAIL(&err, SYN_E_NOTFOUND, "%s was deleted", id);
        status = syn_cli_fail(cli, &err);
    } else {
        status = exit_status(&wait);
        if (cli->json)
            (void)syn_cli_print_json_take(cli, json_incref(wait.service));
        else
            syn_cli_service_show(cli, wait.service);
    }
    json_decref(wait.service);
    return status;
}
