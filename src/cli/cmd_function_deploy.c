/* compute function deploy: from a folder and options to a version that is called, with plan and
 * price shown first. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "function_kind_priv.h"
#include "trigger.h"

#define LOG_LINES     20 /* of a version that failed */
#define LOOK_AGAIN_MS 100
#define NOT_PULLED    "has not been pulled" /* as the server says it of an image */

/* clang-format off */
static const struct syn_cli_option deploy_options[] = {
    {"name", 0, "NAME", SYN_CLI_TEXT, 0, 0, true, false, NULL, NULL, "Name of the function"},
    {"runtime", 0, "NAME", SYN_CLI_TEXT, 0, 0, true, false, NULL, NULL, "wasm, python3, node, ruby, java, c, rust, go, custom:IMAGE; python311 for a version"},
    {"handler", 0, "FILE.FUNCTION", SYN_CLI_TEXT, 0, 0, false, false, NULL, "main.handler", "What is called; of a compiled program its file, main"},
    {"code", 0, "DIR|FILE|synor://REF", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL, "Where the code is; a folder goes without what .synorignore lists"},
    {"dependencies", 0, "FILE|synor://REF", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL, "requirements.txt, package.json, Gemfile: installed here, once, into a layer"},
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json", "Credentials for the registry of custom:IMAGE"},
    {"memory", 0, "MB", SYN_CLI_TEXT, 0, 0, false, false, NULL, "128", "Memory of an instance, 128 to 8192, or with a unit: 1gb"},
    {"cpu", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, "a core for 2 GB of memory", "CPU cores of an instance: 2, 0.5, 250m"},
    {"gpu", 0, "N", SYN_CLI_INT, 0, 64, false, false, NULL, "0", "GPUs of an instance, paid for as long as it is ready"},
    {"gpu-type", 0, "MODEL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Model of the GPUs, as h100"},
    {"ephemeral-storage", 0, "MB", SYN_CLI_TEXT, 0, 0, false, false, NULL, "512", "What an instance may write, or with a unit: 1gb"},
    {"env", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Environment variable; may be given again"},
    {"env-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, true, NULL, NULL, "The same from a file, a line each; --env has the last word"},
    {"secret", 0, "[VAR=]NAME", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Set a variable to a secret; VAR is DB_PASSWORD of db-password; may be given again"},
    {"timeout", 0, "MS", SYN_CLI_TEXT, 0, 0, false, false, NULL, "30000", "A call takes no longer, waiting included; or with a unit: 30s, up to 15m"},
    {"concurrency", 0, "N", SYN_CLI_INT, 0, 1000000, false, false, NULL, "1", "Calls of one instance at a time"},
    {"min-instances", 0, "N", SYN_CLI_INT, 0, 1000000, false, false, NULL, "0", "Ready though nobody calls: they are paid for"},
    {"provisioned-concurrency", 0, "N", SYN_CLI_INT, 0, 1000000, false, false, NULL, NULL, "The same as --min-instances"},
    {"max-instances", 0, "N", SYN_CLI_INT, 0, 1000000, false, false, NULL, "10", "So many at most; of wasm: calls at a time, times --concurrency"},
    {"idle", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5m", "An instance that had nothing to do for so long ends"},
    {"prewarm", 0, "auto|off", SYN_CLI_TEXT, 0, 0, false, false, "auto|off", "auto", "Keep and start instances by when it was called (auto), or by --idle alone"},
    {"warmup-schedule", 0, "CRON", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Then some are ready, and paid for: CRON,zone=UTC,for=10m,instances=1; may come again"},
    {"max-waiting", 0, "N", SYN_CLI_INT, 0, 1000000, false, false, NULL, "2000", "Calls that wait for an instance; more are refused with 429"},
    {"max-request", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "6mb", "Most of a request's body"},
    {"max-response", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "6mb", "Most of an answer's body"},
    {"fuel", 0, "N", SYN_CLI_INT, 0, 0, false, false, NULL, "0", "wasm: instructions of a call, about; 0: as many as the time allows"},
    {"isolation", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "auto|gvisor|runc|kata|namespace", "auto", "Sandbox of instances; wasm has its own"},
    {"snapstart", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "python, node in gVisor: start instances from a snapshot of one that has loaded"},
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any", "Where instances must run"},
    {"trigger", 0, "WORD", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "What calls it: http:/x, schedule:CRON, queue:NAME, storage:PREFIX, ledger; may be given again"},
    {"on-success", 0, "queue:NAME|URL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Tell this queue or URL what came of calls nobody waited for and that went well"},
    {"on-failure", 0, "queue:NAME|URL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "And this one of those that were given up"},
    {"destination-secret", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Sign what a URL is told with this secret of the account"},
    {"canary", 0, "PERCENT", SYN_CLI_INT, 1, 100, false, false, NULL, "100", "Part of what comes that a new version gets when it is ready; see function traffic"},
    {"max-budget", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "what the account has", "The most a billing period may cost; then it is suspended"},
    {"billing-period", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "24h", "So often a bill is written"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show price and what would change; deploy nothing"},
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Wait until the version is ready, as it does anyway"},
    {"no-wait", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Do not wait for that"},
};
/* clang-format on */

/* Who gave an option is told of it, not of the key that it became. */
static int
fail(const struct syn_cli *cli, struct syn_err *err)
{
    syn_cli_function_blame(cli, err);
    return syn_cli_fail(cli, err);
}

/* --- the plan -------------------------------------------------------------------------------- */

/* In what the function would be other than it is. Code that is not sent yet is not looked at. */
static void
show_changes(struct syn_cli *cli, const json_t *plan)
{
    const json_t *spec = json_object_get(plan, "spec"), *known;
    const char *key;
    json_t *value;
    SYN_JSON(function);
    SYN_BUF(keys);
    SYN_BUF(path);
    int rc;

    syn_buf_adds(&path, "/v1/functions/");
    syn_cli_escape(&path, syn_cli_text(cli, "name", ""));
    rc = syn_buf_ok(&path, NULL);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &function, NULL);
    if (rc == SYN_E_NOTFOUND)
        syn_cli_note(cli, "Plan: a new function.");
    if (rc < 0)
        return;
    known = json_object_get(function, "spec");
    json_object_foreach ((json_t *)(uintptr_t)spec, key, value)
        if (!syn_str_eq(key, "code") && !json_equal(value, json_object_get(known, key)))
            syn_buf_addf(&keys, "%s%s", keys.len > 0 ? ", " : "", key);
    if (syn_buf_ok(&keys, NULL) < 0)
        return;
    if (keys.len > 0)
        syn_cli_note(cli, "Plan: it is there already, and changes in %s.", syn_buf_text(&keys));
    else
        syn_cli_note(cli, "Plan: it is there already; only other code would change it.");
}

static void
show_price(const struct syn_cli *cli, const json_t *plan)
{
    const json_t *price = json_object_get(plan, "price");

    if (syn_json_str(price, "million_calls", NULL) == NULL)
        syn_cli_note(cli, "Price: the price book has none for functions.");
    else
        syn_cli_note(cli,
                     "Price: %s SYNOR a million calls, %s a GB-second, by the millisecond; a call "
                     "of the longest time costs %s.",
                     syn_json_str(price, "million_calls", "?"),
                     syn_json_str(price, "gb_second", "?"),
                     syn_json_str(plan, "longest_call", "?"));
    if (syn_json_str(price, "gpu_hour", NULL) != NULL)
        syn_cli_note(cli, "Price: %s SYNOR an hour for the GPUs of each instance that is ready.",
                     syn_json_str(price, "gpu_hour", "?"));
    if (syn_json_str(plan, "locked", NULL) != NULL)
        syn_cli_note(cli, "Price: %s SYNOR are locked to begin with.",
                     syn_json_str(plan, "locked", "?"));
}

/* What each warm-up costs, and when the next one is. */
static void
show_warmups(const struct syn_cli *cli, const json_t *plan)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(plan, "warmups"), i, row) {
        const char *cost = syn_json_str(row, "cost", NULL);
        SYN_BUF(word);

        syn_cli_warmup_write(row, &word);
        if (syn_buf_ok(&word, NULL) < 0)
            return;
        syn_cli_note(cli, "Warm-up: %s: next at %s; %s%s", syn_buf_text(&word),
                     syn_json_str(row, "next_at", "no time at all"),
                     cost != NULL ? cost : "the price book has no price for it",
                     cost != NULL ? " SYNOR each time." : ".");
    }
}

static void
show_plan(const struct syn_cli *cli, const json_t *plan)
{
    if (!syn_json_bool(plan, "placeable", true)) {
        syn_cli_note(cli, "Plan: no node can take an instance now; calls would wait.");
        syn_cli_plan_why(cli, plan);
    }
    show_price(cli, plan);
    show_warmups(cli, plan);
}

static const struct syn_cli_plan_view plan_view = {
    .show = show_plan, .question = "Deploy it?", .declined = "Nothing was deployed."};

/* --- afterwards ------------------------------------------------------------------------------ */

static int
to_stderr(void *arg, const void *data, size_t len, struct syn_err *err)
{
    (void)arg;
    (void)err;
    (void)fwrite(data, 1, len, stderr);
    return SYN_OK;
}

/* Why it is not ready is most often what it printed. */
static void
show_last_lines(struct syn_cli *cli, const char *id)
{
    struct syn_client *client;
    SYN_BUF(path);

    if (cli->quiet || syn_cli_client(cli, &client, NULL) < 0)
        return;
    syn_buf_adds(&path, "/v1/functions/");
    syn_cli_escape(&path, id);
    syn_buf_addf(&path, "/logs?tail=%d", LOG_LINES);
    if (syn_buf_ok(&path, NULL) < 0 ||
        syn_client_read(client, syn_buf_text(&path), to_stderr, NULL, NULL) < 0)
        syn_cli_note(cli, "What it logged cannot be read: synor compute function logs %s", id);
}

/* Is its newest version still being prepared? Then what is said of an older one is no answer. */
static bool
is_preparing(struct syn_cli *cli, const json_t *function)
{
    int64_t target = syn_json_i64(json_object_get(function, "status"), "target", 0);
    const json_t *version;
    SYN_JSON(versions);
    SYN_BUF(path);
    size_t i;

    syn_buf_adds(&path, "/v1/functions/");
    syn_cli_escape(&path, syn_json_str(function, "id", "?"));
    syn_buf_adds(&path, "/versions");
    if (syn_buf_ok(&path, NULL) < 0 || syn_cli_list(cli, syn_buf_text(&path), &versions, NULL) < 0)
        return false;
    json_array_foreach (versions, i, version)
        if (syn_json_i64(version, "version", 0) == target)
            return syn_str_eq(syn_json_str(version, "state", ""), "preparing");
    return false;
}

/* Wait until it is ready, or will not be; *ret is NULL when an error was told. */
static int
reach(struct syn_cli *cli, const char *id, json_t **ret)
{
    for (;;) {
        int code = syn_cli_workload_reach(cli, &syn_cli_function_workload, id, "active", ret);

        if (*ret == NULL ||
            !syn_str_eq(syn_json_str(json_object_get(*ret, "status"), "reason", ""),
                        "version-failed") ||
            !is_preparing(cli, *ret))
            return code;
        json_decref(*ret);
        *ret = NULL;
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
}

static void
show_active(const struct syn_cli *cli, const json_t *function)
{
    const json_t *status = json_object_get(function, "status");
    const char *name = syn_json_str(function, "name", "?");
    const json_t *item;
    size_t i;

    if (json_array_size(json_object_get(status, "traffic")) > 1)
        json_array_foreach (json_object_get(status, "traffic"), i, item)
            syn_cli_say(cli, "%s  version %lld gets %lld%% of what comes", name,
                        (long long)syn_json_i64(item, "version", 0),
                        (long long)syn_json_i64(item, "weight", 0));
    else
        syn_cli_say(cli, "%s  version %lld is active", name,
                    (long long)syn_json_i64(status, "active", 0));
    json_array_foreach (json_object_get(status, "urls"), i, item)
        syn_cli_say(cli, "  %s", json_string_value(item));
    syn_cli_say(cli, "\nNext:\n  synor compute function invoke %s --data '{}'", name);
    syn_cli_say(cli, "  synor compute function logs -f %s", name);
}

/* Wait until it is ready, or say why it will not be. */
static int
await(struct syn_cli *cli, const char *id)
{
    SYN_JSON(function);
    const json_t *status;
    int code = reach(cli, id, &function);

    if (function == NULL)
        return code;
    status = json_object_get(function, "status");
    if (code != 0)
        show_last_lines(cli, id);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_incref(function)) != 0 ? 1 : code;
    if (code == 0)
        show_active(cli, function);
    else
        syn_cli_say(cli, "%s  %s: %s", syn_json_str(function, "name", "?"),
                    syn_json_str(status, "state", "?"),
                    syn_json_str(status, "message", syn_json_str(status, "reason", "?")));
    return code;
}

static int
finish(struct syn_cli *cli, json_t *function_take)
{
    SYN_JSON(function);

    function = function_take;
    if (!syn_cli_has(cli, "no-wait"))
        return await(cli, syn_json_str(function, "id", "?"));
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(function));
    syn_cli_say(cli, "%s  %s", syn_json_str(function, "name", "?"),
                syn_json_str(json_object_get(function, "status"), "state", "?"));
    syn_cli_say(cli, "\nNext:\n  synor compute function get --wait %s",
                syn_json_str(function, "name", "?"));
    return 0;
}

/* --- deploy ---------------------------------------------------------------------------------- */

/* What the plan is asked with: the code is not sent for one. */
static int
placeholder(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *code = syn_cli_text(cli, "code", NULL);

    if (code == NULL)
        return SYN_OK;
    return syn_json_set_str(spec, "code",
                            syn_str_starts(code, "synor://") ? code : "synor://source", err);
}

/* What a plan would be refused with speaks of options, too; an image that is not here would be
 * pulled. */
static int
blame_plan(const struct syn_cli *cli, json_t *plan, struct syn_err *err)
{
    json_t *refused = json_object_get(plan, "refused");
    struct syn_err why;

    if (!json_is_object(refused))
        return SYN_OK;
    if (strstr(syn_json_str(refused, "message", ""), NOT_PULLED) != NULL) {
        syn_cli_note(cli, "Plan: the image is not here; it would be pulled first.");
        return syn_json_set_take(plan, "refused", json_null(), err);
    }
    (void)SYN_FAIL(&why, SYN_E_INVALID, "%s", syn_json_str(refused, "message", ""));
    syn_cli_function_blame(cli, &why);
    return syn_json_set_str(refused, "message", why.msg, err);
}

static int
check(const struct syn_cli *cli, struct syn_err *err)
{
    if (syn_cli_has(cli, "wait") && syn_cli_has(cli, "no-wait"))
        return SYN_FAIL(err, SYN_E_INVALID, "--no-wait: does not go with --wait; give one");
    return syn_cli_function_code_check(cli, err);
}

static int
run_deploy(struct syn_cli *cli)
{
    SYN_JSON(spec);
    SYN_JSON(body);
    SYN_JSON(plan);
    json_t *function = NULL;
    struct syn_err err;
    int status;
    int rc = syn_json_pack(&spec, &err, "{}");

    if (rc == SYN_OK)
        rc = syn_cli_function_spec(cli, spec, &err);
    if (rc == SYN_OK)
        rc = check(cli, &err);
    if (rc == SYN_OK && !syn_cli_has(cli, "plan"))
        rc = syn_cli_function_image(cli, spec, &err);
    if (rc == SYN_OK)
        rc = placeholder(cli, spec, &err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{s:s, s:O, s:I}", "name", syn_cli_text(cli, "name", ""),
                           "spec", spec, "weight", (json_int_t)syn_cli_number(cli, "canary", 100));
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/functions?plan=true", body, &plan, &err);
    if (rc == SYN_OK)
        rc = blame_plan(cli, plan, &err);
    if (rc < 0)
        return fail(cli, &err);
    if (!cli->json)
        show_changes(cli, plan);
    if (!syn_cli_plan_agreed(cli, &plan_view, plan, &status))
        return status;
    rc = syn_cli_function_code(cli, spec, &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/functions", body, &function, &err);
    return rc < 0 ? fail(cli, &err) : finish(cli, function);
}

const struct syn_cli_command syn_cli_function_deploy = {
    .path = "compute function deploy",
    .summary = "Deploy a function, or bring one to what the options say",
    .detail =
        "Code that is called by HTTP, on a schedule or by events, and paid by the call and the "
        "millisecond; nothing runs while nobody calls. Other code or settings are a new version, "
        "which takes over once it is ready; if it never is, the one before stays. Deploying the "
        "same again changes nothing. "
        "A trigger is http:[METHOD,...:][HOST]/PATH with ,cors=ORIGIN ,cors-header=NAME "
        ",cors-credentials=true ,cors-age=DURATION; schedule:CRON with ,zone=ZONE "
        ",missed=skip|once ,payload=JSON; queue:NAME with ,batch=N; storage:PREFIX, names of the "
        "account that begin so, with ,events=put|delete; or ledger, the account's own entries, "
        "ledger:transfer,settle some of them.",
    .examples = "  synor compute function deploy --name hello --runtime python3 --code ./hello \\\n"
                "    --trigger http:/hello\n"
                "  synor compute function deploy --name add --runtime wasm --code add.wasm \\\n"
                "    --trigger 'http:POST:/add,cors=*'\n"
                "  synor compute function deploy --name tidy --runtime node20 --code ./tidy \\\n"
                "    --trigger 'schedule:0 3 * * *,zone=Europe/Berlin'\n",
    .options = deploy_options,
    .option_count = SYN_LEN(deploy_options),
    .workload = &syn_cli_function_workload,
    .run = run_deploy};
