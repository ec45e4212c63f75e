/* compute service deploy and update: from options to a spec, with plan and price shown first. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "image_priv.h"
#include "service_priv.h"

/* What both say of the spec; deploy has its own words for name and image. */
/* clang-format off */
#define SPEC_OPTIONS(image_required) \
    {"image", 0, "REF", SYN_CLI_TEXT, 0, 0, image_required, false, NULL, NULL, "HOST/PATH:TAG of a registry, synor://NAME or synor://CID"}, \
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json", "Credentials for the registry of --image"}, \
    {"command", 0, "WORD", SYN_CLI_TEXT, 0, 0, false, true, NULL, "the image's", "Word of the command, instead of the entry point; may be given again"}, \
    {"arg", 0, "WORD", SYN_CLI_TEXT, 0, 0, false, true, NULL, "the image's", "Argument of the program; may be given again"}, \
    {"env", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Environment variable; may be given again"}, \
    {"secret", 0, "[VAR=]NAME", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Set a variable to a secret; VAR is DB_PASSWORD of db-password; may be given again"}, \
    {"secret-file", 0, "PATH=NAME", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "A secret as a file in memory; \"none\" ends it; repeatable"}, \
    {"mount", 0, "synor://NAME:PATH", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Show what is stored there, read-only; \"none\" ends it; may be given again"}, \
    {"volume", 0, "NAME:PATH[:ro]", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Mount a volume of the account there; \"none\" ends it; may be given again"}, \
    {"tmpfs", 0, "PATH[:SIZE]", SYN_CLI_TEXT, 0, 0, false, true, NULL, "64mb each", "Mount an empty file system in its memory; \"none\" ends it; may be given again"}, \
    {"scratch-dir", 0, "PATH", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Mount an empty folder of its scratch space there; \"none\" ends it; repeatable"}, \
    {"user", 0, "UID[:GID]", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the image's", "Run as this user, never as root"}, \
    {"workdir", 0, "PATH", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the image's", "Where the program starts"}, \
    {"hostname", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "its id", "What a replica is called within"}, \
    {"port", 0, "N", SYN_CLI_INT, 1, 65535, false, false, NULL, "none", "Where the program listens; it is told as PORT"}, \
    {"health-check", 0, "CHECK", SYN_CLI_TEXT, 0, 0, false, false, NULL, "by TCP", "/PATH, :PORT/PATH, tcp[:PORT], grpc[:PORT][/SERVICE], exec:COMMAND, none"}, \
    {"readiness-check", 0, "CHECK", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "The same, for traffic alone: it never ends a replica"}, \
    {"liveness-check", 0, "CHECK", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "What ends a replica that fails it three times"}, \
    {"startup-check", 0, "CHECK", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "What must pass once before the others begin"}, \
    {"check-host", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "its address", "Host that checks by HTTP ask"}, \
    {"check-header", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Header of checks by HTTP; may be given again"}, \
    {"health-interval", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5s", "Between two checks"}, \
    {"health-timeout", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "2s", "Within which it must answer"}, \
    {"start-time", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1m", "Time to pass the start-up check, or to become ready, first"}, \
    {"replicas", 0, "N", SYN_CLI_INT, 0, 64, false, false, NULL, "1", "How many run at once"}, \
    {"restart", 0, "WHEN", SYN_CLI_TEXT, 0, 0, false, false, "always|on-failure|never", "always", "Which replicas that end by themselves are replaced"}, \
    {"autoscale", 0, "MIN-MAX", SYN_CLI_TEXT, 0, 0, false, false, NULL, "off", "Find out how many, within these, by load and time; \"off\" ends it"}, \
    {"autoscale-metric", 0, "NAME=TARGET", SYN_CLI_TEXT, 0, 0, false, true, NULL, "cpu=70%", "Of each: cpu=70%, queue=100, prometheus:PORT/PATH,SERIES,N; repeatable"}, \
    {"autoscale-schedule", 0, "WINDOW", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Bounds of a time, \"cron=0 8 * * *;for=10h;min=4\"; may be given again"}, \
    {"autoscale-window", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5m", "What was needed within it is not taken away"}, \
    {"autoscale-lead", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "20s", "How far ahead a rise is followed"}, \
    {"autoscale-idle", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5m", "With MIN 0: without demand for so long, none runs"}, \
    {"cpu", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, "1", "CPU cores a replica: 2, 0.5, 250m"}, \
    {"memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "512mb", "Memory a replica"}, \
    {"scratch", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "1gb", "Writable disk a replica"}, \
    {"gpus", 0, "N", SYN_CLI_INT, 0, 64, false, false, NULL, "0", "GPUs a replica"}, \
    {"gpu-type", 0, "MODEL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Model of the GPUs, as h100"}, \
    {"gpu-share", 0, "PART", SYN_CLI_TEXT, 0, 0, false, false, NULL, "whole ones", "Part of one GPU's time, as 0.25"}, \
    {"gpu-memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "its share", "Memory of that GPU, with --gpu-share"}, \
    {"mig", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "whole ones", "One partition (MIG) of a GPU, as 1g.10gb"}, \
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any", "Where it must run"}, \
    {"isolation", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "auto|gvisor|runc|kata", "auto", "Sandbox"}, \
    {"policy", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, "balanced|binpack|spread|fragmentation|latency|energy|price", "spread", "How a node is chosen"}, \
    {"priority", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, "500", "Who waits less when nodes are full"}, \
    {"stop-grace", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "10s", "Time to end after the stop signal"}, \
    {"pre-stop", 0, "ACTION", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "Do before the stop signal, within --stop-grace: /PATH or exec:COMMAND"}, \
    {"stop-signal", 0, "SIGNAL", SYN_CLI_TEXT, 0, 0, false, false, "SIGTERM|SIGINT|SIGQUIT|SIGHUP|SIGUSR1|SIGUSR2|SIGWINCH", "the image's", "What asks it to end"}, \
    {"drain", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "10s", "Time to end what it has, between leaving traffic and the stop signal"}, \
    {"lb", 0, "ALGORITHM", SYN_CLI_TEXT, 0, 0, false, false, "round-robin|least-connections|weighted|ip-hash|random", "round-robin", "Which replica a request goes to"}, \
    {"protocol", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, "auto|tcp|http|h2|grpc", "auto", "What clients speak; auto goes by --health-check, --host and --path"}, \
    {"sticky", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "A client comes back to its replica, by a cookie"}, \
    {"host", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "Be reached by this host on the shared front; *.NAME for one label"}, \
    {"path", 0, "PREFIX", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "Likewise by this path and what is below"}, \
    {"tls", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Clients speak TLS with the balancer"}, \
    {"tls-cert", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the platform's own", "The account's certificate for it; acme: get one for --host; \"\" goes back"}, \
    {"redirect-http", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Send plain requests on the shared front to https"}, \
    {"hold", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5s; 30s with --autoscale 0-N", "Requests wait so long for a first replica"}, \
    {"slow-start", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "off", "A new replica's share of requests grows for so long"}, \
    {"eject-after", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, "off", "So many errors in a row take a replica out until a check is well"}, \
    {"internal", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "No published address: replicas have their own"}, \
    {"allow-from", 0, "WHO", SYN_CLI_TEXT, 0, 0, false, true, NULL, "own", "Who may call it by name: own, NAME, ACCOUNT/NAME, ACCOUNT/*, *, none; repeatable"}, \
    {"mesh-timeout", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1m", "So long callers by name wait for an answer to begin; then 504"}, \
    {"mesh-retries", 0, "N", SYN_CLI_INT, 0, 10, false, false, NULL, "3", "So often a call by name that failed is tried again"}, \
    {"mesh-retry-budget", 0, "PERCENT", SYN_CLI_INT, 0, 100, false, false, NULL, "20", "Part of a caller's requests that may be tried again; 3 a second may besides"}, \
    {"mesh-route", 0, "ROUTE", SYN_CLI_TEXT, 0, 0, false, true, NULL, "none", "Requests that go elsewhere, as path=/v2,to=NAME:90,to=OTHER:10; repeatable"}, \
    {"mesh-rate", 0, "N", SYN_CLI_INT, 1, 1000000, false, false, NULL, "any", "Requests a second of each caller by name and node; beyond them 429"}, \
    {"mesh-eject-after", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, "off", "So many errors in a row take a replica out for who calls it by name"}, \
    {"mesh-break-at", 0, "PERCENT", SYN_CLI_INT, 0, 100, false, false, NULL, "off", "So many errors of its answers take a replica out for who calls it by name"}, \
    {"max-surge", 0, "N", SYN_CLI_INT, 0, 64, false, false, NULL, "1", "So many more may run during an update"}, \
    {"max-unavailable", 0, "N", SYN_CLI_INT, 0, 64, false, false, NULL, "0", "So many may be missing during an update"}, \
    {"update-deadline", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "10m", "An update that is not done by then is rolled back"}, \
    {"strategy", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, "rolling|canary|blue-green", "rolling", "How a new version takes the place of the one before"}, \
    {"promote", 0, "HOW", SYN_CLI_TEXT, 0, 0, false, false, "auto|manual", "auto", "Canary, blue-green: go on by itself, or by service promote"}, \
    {"canary-weight", 0, "PERCENT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "10%", "Part of what comes that it is tried with; several as 10%,50%"}, \
    {"canary-pause", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1m", "How long each part lasts"}, \
    {"canary-max-errors", 0, "PERCENT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "1%", "Roll back when so much more of its answers are errors (5xx)"}, \
    {"keep-old", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5m", "Blue-green: keep the old replicas so long, for a rollback"}, \
    {"max-price", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "any", "The most an hour of one replica may cost, all in"}, \
    {"max-budget", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "what the account has", "The most a billing period may cost; then it is stopped"}, \
    {"billing-period", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "24h", "So often a bill is written while it runs"}, \
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show progress until it is done; exit status 1 if it will not be"}
/* clang-format on */

static const struct syn_cli_option deploy_options[] = {
    {"name", 0, "NAME", SYN_CLI_TEXT, 0, 0, true, false, NULL, NULL, "Name of the service"},
    SPEC_OPTIONS(true),
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show nodes and price; deploy nothing"},
};

static const struct syn_cli_option update_options[] = {
    SPEC_OPTIONS(false),
};

static const struct syn_cli_spec_key numbers[] = {
    {"port", "port"},
    {"replicas", "replicas"},
    {"cpu", "cpu_millicores"},
    {"memory", "memory_bytes"},
    {"scratch", "scratch_bytes"},
    {"gpus", "gpus"},
    {"priority", "priority"},
    {"stop-grace", "stop_grace_ms"},
    {"drain", "drain_ms"},
    {"max-surge", "max_surge"},
    {"max-unavailable", "max_unavailable"},
    {"update-deadline", "update_deadline_ms"},
    {"billing-period", "billing_period_ms"},
};
static const struct syn_cli_spec_key texts[] = {
    {"image", "image"},
    {"region", "region"},
    {"isolation", "isolation"},
    {"policy", "policy"},
    {"max-price", "max_price"},
    {"max-budget", "max_budget"},
    {"gpu-type", "gpu_model"},
    {"user", "user"},
    {"workdir", "workdir"},
    {"hostname", "hostname"},
    {"stop-signal", "stop_signal"},
    {"restart", "restart"},
};
static const struct syn_cli_spec_key lb_texts[] = {
    {"lb", "algorithm"}, {"protocol", "protocol"},    {"host", "host"},
    {"path", "path"},    {"tls-cert", "certificate"},
};
static const struct syn_cli_spec_key lb_numbers[] = {
    {"hold", "hold_ms"},
    {"slow-start", "slow_start_ms"},
    {"eject-after", "errors_max"},
};
static const struct {
    const char *option, *key;
    bool value;
} lb_flags[] = {
    {"sticky", "sticky", true},
    {"tls", "tls", true},
    {"redirect-http", "redirect_http", true},
    {"internal", "publish", false},
};

static const struct syn_cli_spec_key rollout_texts[] = {
    {"strategy", "strategy"},
    {"promote", "promote"},
    {"canary-weight", "weight"},
    {"canary-max-errors", "max_errors"},
};
static const struct syn_cli_spec_key rollout_numbers[] = {
    {"canary-pause", "pause_ms"},
    {"keep-old", "keep_old_ms"},
};

static int
set_rollout(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    json_t *rollout = json_object_get(spec, "rollout");
    int rc = SYN_OK;

    if (rollout == NULL) {
        rollout = json_object();
        rc = syn_json_set_take(spec, "rollout", rollout, err);
    }
    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, rollout_texts, SYN_LEN(rollout_texts), rollout, err);
    return rc < 0
               ? rc
               : syn_cli_spec_numbers(cli, rollout_numbers, SYN_LEN(rollout_numbers), rollout, err);
}

static const struct syn_cli_spec_key mesh_lists[] = {{"allow-from", "allow"},
                                                     {"mesh-route", "routes"}};
static const struct syn_cli_spec_key mesh_numbers[] = {
    {"mesh-timeout", "timeout_ms"},        {"mesh-retries", "retries"},
    {"mesh-retry-budget", "retry_budget"}, {"mesh-rate", "rate"},
    {"mesh-eject-after", "errors_max"},    {"mesh-break-at", "break_at"},
};

/* "none" alone is a list of nobody. */
static int
set_callers(const struct syn_cli *cli, json_t *mesh, struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0, count = 0;
    bool none = false;

    for (; (value = syn_cli_next(cli, "allow-from", &cursor)) != NULL; count++)
        none = none || syn_str_eq(value->text, "none");
    if (none && count > 1)
        return SYN_FAIL(err, SYN_E_INVALID, "--allow-from: none is nobody, and stands alone");
    return none ? syn_json_set_take(mesh, "allow", json_array(), err)
                : syn_cli_spec_words(cli, "allow-from", "allow", mesh, err);
}

static int
set_mesh(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    json_t *mesh = json_object_get(spec, "mesh");
    int rc = SYN_OK;

    if (mesh == NULL) {
        mesh = json_object();
        rc = syn_json_set_take(spec, "mesh", mesh, err);
    }
    if (rc == SYN_OK)
        rc = set_callers(cli, mesh, err);
    if (rc == SYN_OK)
        rc = syn_cli_service_routes(cli, mesh, err);
    return rc < 0 ? rc : syn_cli_spec_numbers(cli, mesh_numbers, SYN_LEN(mesh_numbers), mesh, err);
}

static int
set_lb(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    json_t *lb = json_object_get(spec, "lb");
    int rc = SYN_OK;

    if (lb == NULL) {
        lb = json_object();
        rc = syn_json_set_take(spec, "lb", lb, err);
    }
    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, lb_texts, SYN_LEN(lb_texts), lb, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, lb_numbers, SYN_LEN(lb_numbers), lb, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(lb_flags); i++)
        if (syn_cli_has(cli, lb_flags[i].option))
            rc = syn_json_set_bool(lb, lb_flags[i].key, lb_flags[i].value, err);
    if (rc == SYN_OK && syn_cli_text(cli, "tls-cert", "")[0] != '\0')
        rc = syn_json_set_bool(lb, "tls", true, err);
    return rc;
}

/* Who gave an option is told of it, not of the key that it became. */
static int
fail(const struct syn_cli *cli, struct syn_err *err)
{
    syn_cli_spec_blame(cli, "spec.", numbers, SYN_LEN(numbers), err);
    syn_cli_spec_blame(cli, "spec.", texts, SYN_LEN(texts), err);
    syn_cli_spec_blame(cli, "spec.lb.", lb_texts, SYN_LEN(lb_texts), err);
    syn_cli_spec_blame(cli, "spec.lb.", lb_numbers, SYN_LEN(lb_numbers), err);
    syn_cli_spec_blame(cli, "spec.rollout.", rollout_texts, SYN_LEN(rollout_texts), err);
    syn_cli_spec_blame(cli, "spec.rollout.", rollout_numbers, SYN_LEN(rollout_numbers), err);
    syn_cli_spec_blame(cli, "spec.mesh.", mesh_lists, SYN_LEN(mesh_lists), err);
    syn_cli_spec_blame(cli, "spec.mesh.", mesh_numbers, SYN_LEN(mesh_numbers), err);
    syn_cli_service_mounts_blame(err);
    syn_cli_service_checks_blame(cli, err);
    return syn_cli_fail(cli, err);
}

/* What the options say, laid over `spec`. */
static int
build_spec(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), spec, err);

    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, texts, SYN_LEN(texts), spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_words(cli, "command", "command", spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_words(cli, "arg", "args", spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_card(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_env(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_secrets(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_service_mounts(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_service_autoscale(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_service_checks(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_rollout(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_mesh(cli, spec, err);
    return rc < 0 ? rc : set_lb(cli, spec, err);
}

/* --- the plan -------------------------------------------------------------------------------- */

static void
show_plan(const struct syn_cli *cli, const json_t *plan)
{
    const char *hour = syn_json_str(plan, "rate_hour", NULL);
    const json_t *peak = json_object_get(plan, "peak");
    size_t i;
    json_t *row;

    if (!syn_json_bool(plan, "placeable", false)) {
        syn_cli_note(cli, "Plan: there is no room for all replicas now; they would wait.");
        syn_cli_plan_why(cli, plan);
    }
    json_array_foreach (json_object_get(plan, "nodes"), i, row)
        syn_cli_note(cli, "Plan: %lld %s on %s, %s SYNOR an hour each",
                     (long long)syn_json_i64(row, "replicas", 0),
                     syn_plural(syn_json_i64(row, "replicas", 0), "replica", "replicas"),
                     syn_json_str(row, "node", "?"),
                     syn_json_str(row, "rate_hour", "no price for"));
    if (syn_json_i64(peak, "replicas", 0) > 0)
        syn_cli_note(cli,
                     "Plan: an update has up to %lld %s at once, all paid for: %s SYNOR an hour",
                     (long long)syn_json_i64(peak, "replicas", 0),
                     syn_plural(syn_json_i64(peak, "replicas", 0), "replica", "replicas"),
                     syn_json_str(peak, "rate_hour", "no price for"));
    json_array_foreach (json_object_get(plan, "alternatives"), i, row)
        syn_cli_note(cli, "Or up to %lld on %s, %s SYNOR an hour each",
                     (long long)syn_json_i64(row, "replicas", 0), syn_json_str(row, "node", "?"),
                     syn_json_str(row, "rate_hour", "no price for"));
    if (hour != NULL)
        syn_cli_note(cli, "Price: %s SYNOR an hour, %s a month; %s are locked to begin with.", hour,
                     syn_json_str(plan, "rate_month", "more than can be paid"),
                     syn_json_str(plan, "locked", "?"));
}

static const struct syn_cli_plan_view plan_view = {
    .show = show_plan, .question = "Deploy it?", .declined = "Nothing was deployed."};

/* --- deploy, update -------------------------------------------------------------------------- */

static int
finish(struct syn_cli *cli, json_t *service_take)
{
    SYN_JSON(service);
    const char *name;

    service = service_take;
    name = syn_json_str(service, "name", "?");
    if (syn_cli_has(cli, "wait"))
        return syn_cli_workload_wait(cli, syn_json_str(service, "id", "?"), "running");
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(service));
    syn_cli_say(cli, "%s  %s", name,
                syn_json_str(json_object_get(service, "status"), "state", "?"));
    syn_cli_say(cli, "\nNext:\n  synor compute service get --wait %s", name);
    syn_cli_say(cli, "  synor compute service logs -f %s", name);
    syn_cli_say(cli, "  synor compute service explain %s", name);
    return 0;
}

static int
run_deploy(struct syn_cli *cli)
{
    SYN_JSON(spec);
    SYN_JSON(body);
    SYN_JSON(plan);
    json_t *service = NULL;
    struct syn_err err;
    int status;
    int rc = syn_json_pack(&spec, &err, "{}");

    if (rc == SYN_OK)
        rc = build_spec(cli, spec, &err);
    if (rc == SYN_OK && !syn_cli_has(cli, "plan"))
        rc = syn_cli_image_ready(cli, spec, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s, s:O}", "name", syn_cli_text(cli, "name", ""), "spec",
                           spec);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/services?plan=true", body, &plan, &err);
    if (rc < 0)
        return fail(cli, &err);
    if (!syn_cli_plan_agreed(cli, &plan_view, plan, &status))
        return status;
    if (syn_cli_call(cli, "POST", "/v1/services", body, &service, &err) < 0)
        return fail(cli, &err);
    return finish(cli, service);
}

const struct syn_cli_command syn_cli_service_deploy = {
    .path = "compute service deploy",
    .summary = "Deploy a service, or bring one to what the options say",
    .detail =
        "A service keeps so many replicas of an image running: what ends is replaced, a new "
        "version "
        "replaces the old one replica by replica, and one that fails its checks is rolled back. "
        "Deploying the same again changes nothing. Plan and price are shown first; usage is "
        "metered "
        "every second and paid from what is locked, which is topped up from the account. "
        "A --mesh-route is words between commas: path=, method=, header=NAME, header=NAME=VALUE "
        "or header=NAME=START* say which requests, to=SERVICE:WEIGHT and version=N:WEIGHT where "
        "they go, mirror=SERVICE:PERCENT who gets a copy, timeout= and retries= how.",
    .examples = "  synor compute service deploy --name web --image synor://images/web \\\n"
                "    --port 8080 --replicas 3 --health-check /health --wait\n"
                "  synor compute service deploy --name web --image synor://images/web --plan\n"
                "  synor compute service deploy --name proxy --image nginx:1.25 --port 80\n",
    .options = deploy_options,
    .option_count = SYN_LEN(deploy_options),
    .workload = &syn_cli_service_workload,
    .run = run_deploy};

/* A part of the health check, of the mounts, of the balancing, of autoscaling or of how it is
 * updated is other than it was: the rest of it stays. */
static int
known_parts(struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    static const char *const parts[] = {"health",    "liveness", "startup", "lb",
                                        "autoscale", "mounts",   "rollout", "mesh"};
    SYN_JSON(service);
    int rc = syn_cli_workload_call(cli, "GET", "", NULL, &service, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(parts); i++) {
        const json_t *known = json_object_get(json_object_get(service, "spec"), parts[i]);

        if (known != NULL)
            rc = syn_json_set_take(spec, parts[i], syn_json_deep_copy(known), err);
    }
    return rc;
}

static int
run_update(struct syn_cli *cli)
{
    SYN_JSON(spec);
    SYN_JSON(body);
    json_t *service = NULL;
    struct syn_err err;
    int rc = syn_json_pack(&spec, &err, "{}");

    if (rc == SYN_OK)
        rc = known_parts(cli, spec, &err);
    if (rc == SYN_OK)
        rc = build_spec(cli, spec, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:O}", "spec", spec);
    if (rc < 0)
        return fail(cli, &err);
    if (!syn_cli_workload_confirm(cli, "Update it, replica by replica?"))
        return 1;
    if (syn_cli_image_ready(cli, spec, &err) < 0 ||
        syn_cli_workload_call(cli, "PATCH", "", body, &service, &err) < 0)
        return fail(cli, &err);
    return finish(cli, service);
}

const struct syn_cli_command syn_cli_service_update = {
    .path = "compute service update",
    .summary = "Change parts of a service; replicas are replaced one after the other",
    .detail = "What is not named stays as it is. A name of an image is looked up again: the same "
              "name with other content is a new version. An image of a registry is pulled, and "
              "stays what it was then.",
    .options = update_options,
    .option_count = SYN_LEN(update_options),
    .operands = syn_cli_service_operand,
    .operand_count = 1,
    .workload = &syn_cli_service_workload,
    .run = run_update};
