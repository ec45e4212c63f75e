/* What a service is to the commands that every workload has. */
#include <stdio.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "service_priv.h"

const struct syn_cli_operand syn_cli_service_operand[] = {
    {"SERVICE", SYN_CLI_TEXT, true, false, "Name of the service, or its id"},
};

/* --- rows ------------------------------------------------------------------------------------ */

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

/* Where it is published, how, and what came of it. */
static void
show_address(const struct syn_cli *cli, const json_t *service, const char *address)
{
    const json_t *lb = json_object_get(json_object_get(service, "spec"), "lb");
    const json_t *gateway = json_object_get(json_object_get(service, "status"), "gateway");
    const char *route = syn_json_str(json_object_get(service, "status"), "route", "");
    const char *message = syn_json_str(gateway, "message", "");

    syn_cli_say(cli, "  address     %s%s  %s%s%s%s", address,
                syn_json_bool(lb, "tls", false) ? " (TLS)" : "",
                syn_json_str(lb, "algorithm", "round-robin"),
                syn_json_bool(lb, "sticky", false) ? ", sticky" : "", route[0] != '\0' ? ", " : "",
                route);
    if (gateway == NULL)
        return;
    if (message[0] != '\0')
        syn_cli_say(cli, "  balancer    %s: %s", syn_json_str(gateway, "state", "?"), message);
    else if (syn_str_eq(syn_json_str(gateway, "state", ""), "open"))
        syn_cli_say(cli, "  requests    %lld, of which %lld failed",
                    (long long)syn_json_i64(gateway, "requests", 0),
                    (long long)syn_json_i64(gateway, "errors", 0));
    if (syn_json_i64(gateway, "held", 0) > 0)
        syn_cli_say(cli, "  waiting     %lld requests, for a first replica",
                    (long long)syn_json_i64(gateway, "held", 0));
}

/* Where others of the platform reach it, and who may. */
static void
show_mesh(const struct syn_cli *cli, const json_t *service)
{
    const json_t *allow = syn_json_at(service, "spec.mesh.allow");
    const char *address = syn_json_str(json_object_get(service, "status"), "virtual_address", NULL);
    const char *six = syn_json_str(json_object_get(service, "status"), "virtual_address6", "");
    const json_t *entry;
    SYN_BUF(who);
    size_t i;

    if (address == NULL)
        return;
    json_array_foreach (allow, i, entry)
        syn_buf_addf(&who, "%s%s", i > 0 ? ", " : "", json_string_value(entry));
    if (allow == NULL)
        syn_buf_adds(&who, "own");
    if (syn_buf_ok(&who, NULL) == SYN_OK)
        syn_cli_say(cli, "  mesh        %s%s%s  callers: %s", address, six[0] != '\0' ? ", " : "",
                    six, who.len > 0 ? syn_buf_text(&who) : "none");
}

/* How an update that has stages goes on. */
static void
show_rollout(const struct syn_cli *cli, const json_t *rollout)
{
    const char *until = syn_json_str(rollout, "until", NULL);
    long long fresh = (long long)syn_json_i64(rollout, "version", 0);
    long long old = (long long)syn_json_i64(rollout, "from", 0);
    const char *stage = syn_json_str(rollout, "stage", "?");

    if (syn_str_eq(stage, "kept"))
        syn_cli_say(cli,
                    "  update      %s: version %lld has all that comes; version %lld is kept "
                    "until %s",
                    syn_json_str(rollout, "strategy", "?"), fresh, old, until);
    else if (json_object_get(rollout, "percent") != NULL)
        syn_cli_say(cli,
                    "  update      %s, %s: %lld%% of what comes is for version %lld, %lld%% for "
                    "version %lld%s%s%s",
                    syn_json_str(rollout, "strategy", "?"), stage,
                    (long long)syn_json_i64(rollout, "percent", 0), fresh,
                    (long long)(100 - syn_json_i64(rollout, "percent", 0)), old,
                    until != NULL ? ", until " : "", until != NULL ? until : "",
                    syn_json_bool(rollout, "waits", false) ? "; it waits to be promoted" : "");
    else
        syn_cli_say(cli, "  update      %s, %s: version %lld replaces version %lld",
                    syn_json_str(rollout, "strategy", "?"), stage, fresh, old);
}

/* What one replica has of what comes: of `all`, which is the sum of weights. */
static void
show_replica(const struct syn_cli *cli, const json_t *endpoint, int64_t all)
{
    int64_t permille = all > 0 ? syn_json_i64(endpoint, "weight", 0) * 1000 / all : 0;
    const char *isolation = syn_json_str(endpoint, "isolation", "");
    const char *runtime = syn_json_str(endpoint, "runtime", "");
    char share[48] = "";

    if (permille > 0)
        (void)snprintf(share, sizeof(share), ", %lld.%lld%% of what comes",
                       (long long)(permille / 10), (long long)(permille % 10));
    syn_cli_say(
        cli, "  replica %-3lld %s on %s%s%s, version %lld%s%s%s%s%s",
        (long long)syn_json_i64(endpoint, "replica", 0),
        syn_json_bool(endpoint, "ready", false) ? "ready" : syn_json_str(endpoint, "state", "?"),
        syn_json_str(endpoint, "node", "?"),
        syn_json_str(endpoint, "address", "")[0] != '\0' ? " at " : "",
        syn_json_str(endpoint, "address", ""), (long long)syn_json_i64(endpoint, "version", 0),
        isolation[0] ? ", in " : "", isolation, runtime[0] ? " by " : "", runtime, share);
}

static void
show_check(const struct syn_cli *cli, const json_t *spec, const char *key, const char *label)
{
    const json_t *check = json_object_get(spec, key);
    const char *kind = syn_json_str(check, "kind", "none");
    const json_t *word;
    SYN_BUF(words);
    size_t i;

    if (syn_str_eq(kind, "none"))
        return;
    syn_buf_adds(&words, syn_json_str(check, "path", ""));
    json_array_foreach (json_object_get(check, "command"), i, word)
        syn_buf_addf(&words, "%s%s", i > 0 ? " " : "", json_string_value(word));
    if (syn_buf_ok(&words, NULL) == SYN_OK)
        syn_cli_say(cli, "  %-11s %s %s", label, kind, syn_buf_text(&words));
}

/* What replicas are given, where it was said; and how they are checked. */
static void
show_given(const struct syn_cli *cli, const json_t *spec)
{
    const char *user = syn_json_str(spec, "user", NULL);
    const json_t *mount;
    size_t i;

    if (user != NULL)
        syn_cli_say(cli, "  user        %s", user);
    json_array_foreach (json_object_get(spec, "mounts"), i, mount) {
        char size[SYN_FORMAT_MAX];
        bool tmpfs = syn_str_eq(syn_json_str(mount, "kind", ""), "tmpfs");

        syn_cli_say(cli, "  mount       %s  %s %s%s", syn_json_str(mount, "path", "?"),
                    syn_json_str(mount, "kind", "?"),
                    tmpfs ? syn_format_bytes(syn_json_i64(mount, "size_bytes", 0), size)
                          : syn_json_str(mount, "source", ""),
                    syn_json_bool(mount, "read_only", false) ? ", read-only" : "");
    }
    show_check(cli, spec, "startup", "start-up");
    show_check(cli, spec, "health", "readiness");
    show_check(cli, spec, "liveness", "liveness");
    show_check(cli, spec, "pre_stop", "pre-stop");
}

static void
show(const struct syn_cli *cli, const json_t *service)
{
    const json_t *status = json_object_get(service, "status");
    const json_t *spec = json_object_get(service, "spec");
    const json_t *cost = json_object_get(status, "cost");
    const json_t *replicas = json_object_get(status, "replicas");
    const char *bill = syn_json_str(status, "bill", NULL);
    const char *address = syn_json_str(status, "address", "");
    const json_t *endpoint;
    int64_t weights = 0;
    size_t i;

    syn_cli_say(cli, "%s (%s)  %s", syn_json_str(service, "name", "?"),
                syn_json_str(service, "id", "?"), syn_json_str(status, "state", "?"));
    syn_cli_say(cli, "  reason      %s: %s", syn_json_str(status, "reason", "?"),
                syn_json_str(status, "message", ""));
    syn_cli_say(cli, "  version     %lld of %s", (long long)syn_json_i64(status, "target", 0),
                syn_json_str(spec, "image", "?"));
    syn_cli_say(cli, "  replicas    %lld wanted, %lld ready",
                (long long)syn_json_i64(replicas, "wanted", 0),
                (long long)syn_json_i64(replicas, "ready", 0));
    show_given(cli, spec);
    if (address[0] != '\0')
        show_address(cli, service, address);
    show_mesh(cli, service);
    if (json_object_get(json_object_get(status, "rollout"), "stage") != NULL)
        show_rollout(cli, json_object_get(status, "rollout"));
    json_array_foreach (json_object_get(status, "endpoints"), i, endpoint)
        weights += syn_json_i64(endpoint, "weight", 0);
    json_array_foreach (json_object_get(status, "endpoints"), i, endpoint)
        show_replica(cli, endpoint, weights);
    syn_cli_say(cli, "  cost        %s SYNOR, %s an hour; %s are locked",
                syn_json_str(cost, "spent", "0"), syn_json_str(cost, "rate_hour", "0"),
                syn_json_str(cost, "locked", "0"));
    if (syn_json_at(status, "period.until") != NULL && bill == NULL)
        syn_cli_say(cli, "  period      %lld, billed on %s",
                    (long long)syn_json_i64(json_object_get(status, "period"), "number", 1),
                    syn_json_str(json_object_get(status, "period"), "until", "?"));
    if (syn_json_str(status, "last_bill", NULL) != NULL)
        syn_cli_say(cli, "  bill        %s", syn_json_str(status, "last_bill", ""));
}

/* --- waiting --------------------------------------------------------------------------------- */

/* Does a version that is tried wait to be promoted? */
static bool
waits(const json_t *service)
{
    const json_t *status = json_object_get(service, "status");

    return syn_str_eq(syn_json_str(status, "reason", ""), "waiting") &&
           json_object_get(json_object_get(status, "rollout"), "promotion") == NULL;
}

/* Is it what was waited for, or will it never be? */
static bool
ended(const json_t *service, const char *wanted)
{
    const json_t *status = json_object_get(service, "status");
    const char *state = syn_json_str(status, "state", "");
    bool to_stop = syn_str_eq(wanted, "stopped");

    if (syn_str_eq(state, "stopped"))
        return !to_stop || json_is_string(json_object_get(status, "bill"));
    if (to_stop)
        return false;
    if (syn_str_eq(state, "running"))
        return syn_json_i64(status, "settled_generation", 0) ==
               syn_json_i64(service, "generation", 0);
    if (waits(service)) /* for somebody: for us, perhaps */
        return true;
    return syn_str_eq(syn_json_str(status, "reason", ""), "deploy-failed") ||
           syn_str_eq(syn_json_str(status, "reason", ""), "ended");
}

static int
exit_status(const json_t *service, const char *wanted)
{
    const json_t *status = json_object_get(service, "status");
    const char *state = syn_json_str(status, "state", "");

    if (syn_str_eq(wanted, "stopped"))
        return syn_str_eq(state, "stopped") ? 0 : 1;
    if (syn_str_eq(syn_json_str(status, "reason", ""), "budget"))
        return syn_err_info(SYN_E_BUDGET)->exit;
    if (syn_str_eq(syn_json_str(status, "reason", ""), "funds"))
        return syn_err_info(SYN_E_FUNDS)->exit;
    if (waits(service))
        return 0;
    return syn_str_eq(state, "running") && (syn_str_eq(wanted, SYN_CLI_SERVICE_ABORTED) ||
                                            syn_json_i64(status, "rolled_back", 0) == 0)
               ? 0
               : 1;
}

const struct syn_cli_workload syn_cli_service_workload = {
    .route = "/v1/services",
    .id_prefix = "svc-",
    .noun = "service",
    .label = "name",
    .list = &list_view,
    .one = &one_view,
    .show = show,
    .forget = "Forget the service and its versions? Its bills stay.",
    .wait_or_watch = "--wait ends, --watch does not; use one",
    .wanted = "running",
    .ended = ended,
    .exit_status = exit_status,
    .look_again = "It goes on without us. Look again: synor compute service get"};
