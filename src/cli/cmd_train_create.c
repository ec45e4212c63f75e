/* compute train create: from options and model.yaml to a job, with plan and price shown first. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/yaml.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "image_priv.h"
#include "train_priv.h"

static const struct syn_cli_option create_options[] = {
    {"framework", 0, "NAME[:VERSION]", SYN_CLI_TEXT, 0, 0, false, false,
     "pytorch:|tensorflow:|jax:|onnx:|custom:", "pytorch", "What runs the program"},
    {"image", 0, "REF", SYN_CLI_TEXT, 0, 0, false, false, NULL, "host",
     "Root file system: `host`, HOST/PATH:TAG of a registry, synor://NAME or synor://CID"},
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json",
     "Credentials for the registry of --image"},
    {"model-config", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "model.yaml: source folder, entry point, hyperparameters"},
    {"dataset", 0, "REF", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "synor://NAME or synor://CID"},
    {"gpus", 0, "N", SYN_CLI_INT, 0, 1024, false, false, NULL, "0", "Processors a worker"},
    {"max-gpus", 0, "N", SYN_CLI_INT, 0, 1024, false, false, NULL, "--gpus",
     "Take up to so many where they are free"},
    {"gpu-type", 0, "MODEL", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any",
     "Its model, as h100, a100-80gb or rtx-4090"},
    {"min-vram", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, NULL,
     "Memory each GPU must have"},
    {"gpu-share", 0, "PART", SYN_CLI_TEXT, 0, 0, false, false, NULL, "whole ones",
     "Part of one processor's time, as 0.25"},
    {"gpu-memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "its share",
     "Memory of that processor, with --gpu-share"},
    {"mig", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "whole ones",
     "One partition (MIG) of a processor, as 1g.10gb"},
    {"gpu-capability", 0, "X.Y", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any",
     "Least compute capability of each GPU, as 8.0"},
    {"cpus", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, "1",
     "CPU cores a worker: 2, 0.5, 250m"},
    {"memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "2gb", "Memory a worker"},
    {"scratch", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "4gb",
     "Writable disk a worker"},
    {"bandwidth", 0, "RATE", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Of its node's way out a worker, as 100mbit"},
    {"distributed", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false,
     "ddp|fsdp|zero1|zero2|zero3|pipeline|model", "ddp for several workers",
     "How workers share the work"},
    {"workers", 0, "N", SYN_CLI_INT, 1, 64, false, false, NULL, "1", "Ranks, all started together"},
    {"epochs", 0, "N", SYN_CLI_INT, 1, 1000000, false, false, NULL, NULL,
     "Passes over the dataset"},
    {"batch-size", 0, "N", SYN_CLI_INT, 1, 1000000000, false, false, NULL, NULL, "Samples a step"},
    {"learning-rate", 0, "X", SYN_CLI_REAL, 0, 1000000, false, false, NULL, NULL, "Step size"},
    {"optimizer", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "What the program knows: sgd, adam, adamw"},
    {"mixed-precision", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "no|fp16|bf16", NULL,
     "Number format of the forward pass"},
    {"gradient-accumulation", 0, "N", SYN_CLI_INT, 1, 1000000, false, false, NULL, NULL,
     "Steps gathered before an update"},
    {"checkpoint-interval", 0, "STEPS", SYN_CLI_INT, 0, 1000000000, false, false, NULL,
     "the program's own", "Steps between checkpoints"},
    {"max-budget", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, true, false, NULL, NULL,
     "The most it may cost; locked in escrow, the rest comes back"},
    {"max-price", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, "any",
     "The most an hour of one worker may cost, all in; dearer nodes are left out"},
    {"spot", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "At spot prices up to --max-price: it gives way to who pays more, and goes on later"},
    {"reserved", 0, "CLASS", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Take the GPUs (without GPUs the CPUs) from units of the account: synor market holdings"},
    {"notice", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "2m",
     "Notice before spot work is interrupted, or reserved units end: time to save"},
    {"policy", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false,
     "balanced|binpack|spread|fragmentation|latency|energy|price", "balanced",
     "Which of the nodes that can take it is chosen"},
    {"priority", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, "500",
     "Who waits less when nodes are full"},
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any", "Where it must run"},
    {"label", 0, "SELECTOR", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL,
     "What the node's labels must be: KEY=VALUE, KEY!=VALUE or KEY; may be given again"},
    {"latency-to", 0, "REGION[:MS]", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Near to this region, no further than so many milliseconds there and back"},
    {"group", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Group of the account that it counts in"},
    {"affinity", 0, "group=NAME[:DOMAIN]", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "On a node, or in a rack, zone or region, where some of this group run"},
    {"anti-affinity", 0, "group=NAME[:DOMAIN]", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Where none of this group run"},
    {"spread", 0, "DOMAIN", SYN_CLI_TEXT, 0, 0, false, false, "node|rack|zone|region", NULL,
     "Keep the jobs of its group even between nodes, racks, zones or regions"},
    {"isolation", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "auto|gvisor|runc|kata", "auto",
     "Sandbox"},
    {"time-limit", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "none",
     "Stop after this long"},
    {"stop-grace", 0, "DURATION", SYN_CLI_DURATION, 0, 0, false, false, NULL, "30s",
     "Time to save after the stop signal"},
    {"retries", 0, "N", SYN_CLI_INT, 0, 10, false, false, NULL, "0",
     "Restarts after the program's own failure"},
    {"env", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL,
     "Environment variable; may be given again"},
    {"name", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "from model.yaml",
     "Name of the job"},
    {"wait", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show progress until it ends; exit status 1 unless it succeeded"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show node and price; create nothing"},
};

static const struct syn_cli_spec_key number_keys[] = {
    {"gpus", "gpus"},
    {"max-gpus", "gpus_max"},
    {"min-vram", "vram_min_bytes"},
    {"cpus", "cpu_millicores"},
    {"memory", "memory_bytes"},
    {"scratch", "scratch_bytes"},
    {"workers", "workers"},
    {"epochs", "epochs"},
    {"batch-size", "batch_size"},
    {"gradient-accumulation", "gradient_accumulation"},
    {"checkpoint-interval", "checkpoint_interval"},
    {"priority", "priority"},
    {"time-limit", "time_limit_ms"},
    {"stop-grace", "stop_grace_ms"},
    {"notice", "notice_ms"},
    {"retries", "retries_max"},
};

static const struct syn_cli_spec_key text_keys[] = {
    {"image", "image"},           {"dataset", "dataset"},
    {"gpu-type", "gpu_model"},    {"distributed", "distributed"},
    {"optimizer", "optimizer"},   {"mixed-precision", "mixed_precision"},
    {"max-budget", "max_budget"}, {"region", "region"},
    {"isolation", "isolation"},   {"max-price", "max_price"},
    {"policy", "policy"},         {"gpu-capability", "gpu_capability"},
    {"reserved", "reserved"},     {"group", "group"},
    {"spread", "spread"},
};

static int
set_framework(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *given = syn_cli_text(cli, "framework", NULL);
    char name[32];
    size_t len;
    int rc;

    if (given == NULL) /* the model file's counts */
        return SYN_OK;
    len = strcspn(given, ":");
    (void)snprintf(name, sizeof(name), "%.*s", (int)SYN_MIN(len, sizeof(name) - 1), given);
    rc = syn_json_set_str(spec, "framework", name, err);
    if (rc == SYN_OK && given[len] == ':')
        rc = syn_json_set_str(spec, "framework_version", given + len + 1, err);
    return rc;
}

/* "group=NAME[:DOMAIN]" */
static int
set_tie(const struct syn_cli *cli, const char *option, const char *key, json_t *spec,
        struct syn_err *err)
{
    static const char prefix[] = "group=";
    const char *text = syn_cli_text(cli, option, NULL);
    char name[SYN_ID_MAX];
    SYN_JSON(tie);
    size_t len;
    int rc;

    if (text == NULL)
        return SYN_OK;
    if (!syn_str_starts(text, prefix))
        return SYN_FAIL(err, SYN_E_INVALID, "--%s: expected group=NAME[:DOMAIN], got \"%.80s\"",
                        option, text);
    text += sizeof(prefix) - 1;
    len = strcspn(text, ":");
    (void)snprintf(name, sizeof(name), "%.*s", (int)SYN_MIN(len, sizeof(name) - 1), text);
    rc = syn_json_pack(&tie, err, "{s:s, s:s*}", "group", name, "domain",
                       text[len] ? text + len + 1 : NULL);
    return rc < 0 ? rc : syn_json_set_take(spec, key, SYN_TAKE(tie), err);
}

/* "REGION[:MS]" */
static int
set_latency(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *text = syn_cli_text(cli, "latency-to", NULL);
    char region[SYN_ID_MAX];
    size_t len;
    int64_t ms;
    int rc;

    if (text == NULL)
        return SYN_OK;
    len = strcspn(text, ":");
    (void)snprintf(region, sizeof(region), "%.*s", (int)SYN_MIN(len, sizeof(region) - 1), text);
    rc = syn_json_set_str(spec, "latency_to", region, err);
    if (rc < 0 || text[len] == '\0')
        return rc;
    rc = syn_parse_i64(text + len + 1, 1, 60000, "--latency-to", &ms, err);
    return rc < 0 ? rc : syn_json_set_i64(spec, "latency_max_ms", ms, err);
}

/* What it asks of where it goes. */
static int
set_places(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int64_t bps;
    int rc = set_tie(cli, "affinity", "affinity", spec, err);

    if (rc == SYN_OK)
        rc = set_tie(cli, "anti-affinity", "anti_affinity", spec, err);
    if (rc == SYN_OK)
        rc = set_latency(cli, spec, err);
    if (rc == SYN_OK && syn_cli_has(cli, "bandwidth")) {
        rc = syn_parse_rate(syn_cli_text(cli, "bandwidth", ""), "--bandwidth", &bps, err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(spec, "bandwidth_bps", bps, err);
    }
    return rc < 0 ? rc : syn_cli_spec_words(cli, "label", "labels", spec, err);
}

/* What the options say; the server lays the model file under it. */
static int
build_spec(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int rc = set_framework(cli, spec, err);

    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, number_keys, SYN_LEN(number_keys), spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, text_keys, SYN_LEN(text_keys), spec, err);
    if (rc == SYN_OK && syn_cli_has(cli, "learning-rate"))
        rc = syn_json_set_take(spec, "learning_rate",
                               json_real(syn_cli_real(cli, "learning-rate", 0)), err);
    if (rc == SYN_OK && syn_cli_has(cli, "notice") && !syn_cli_has(cli, "spot") &&
        !syn_cli_has(cli, "reserved"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--notice: only spot work has one, and what is --reserved; add either");
    if (rc == SYN_OK && syn_cli_has(cli, "spot"))
        rc = syn_json_set_bool(spec, "spot", true, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_card(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_places(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_env(cli, spec, err);
    return rc;
}

/* One job to be: the model file, what the options say, and where the program is. */
#define STARTING_MS       5000 /* a node has joined by then */
#define STARTING_PAUSE_MS 100

struct request {
    json_t *model;
    json_t *spec;
    char source[PATH_MAX]; /* folder on this machine */
    bool has_source;       /* false: the program's path is absolute, in the image */
};

/* Read the model file and find its source folder, which is relative to the file. */
static int
read_model(const struct syn_cli *cli, struct request *request, struct syn_err *err)
{
    const char *path = syn_cli_text(cli, "model-config", "");
    const char *slash = strrchr(path, '/');
    const char *relative;
    SYN_BUF(text);
    int rc = syn_cli_read_file(path, SYN_YAML_BYTES_MAX, &text, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "--model-config");
    rc = syn_yaml_parse(syn_buf_text(&text), text.len, &request->model, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    if (!json_is_object(request->model))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected a mapping with source, entry and hyperparameters", path);
    request->has_source = syn_json_str(request->model, "entry", "")[0] != '/';
    relative = syn_json_str(request->model, "source", ".");
    if (relative[0] == '/' || slash == NULL)
        rc = snprintf(request->source, sizeof(request->source), "%s", relative);
    else
        rc = snprintf(request->source, sizeof(request->source), "%.*s/%s", (int)(slash - path),
                      path, relative);
    if (rc < 0 || (size_t)rc >= sizeof(request->source))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: source: path too long", path);
    return SYN_OK;
}

/* The nodes of a plan, the chosen one(s) first: one row a node, prices are for one worker. */
static void
plan_cells(struct syn_cli_table_out *rows, const char *choice, const json_t *row, int64_t workers)
{
    syn_cli_cell(rows, "%s", choice);
    syn_cli_cell(rows, "%s", syn_json_str(row, "node", "?"));
    syn_cli_cell(rows, "%s", syn_json_str(row, "region", ""));
    syn_cli_cell(rows, "%lld", (long long)workers);
    syn_cli_cell(rows, "%s", syn_json_str(row, "rate_hour", "no price"));
    syn_cli_cell(rows, "%s", syn_json_str(row, "rate_month", "no price"));
}

/* Ranks of one node stand next to each other. */
static void
chosen_rows(struct syn_cli_table_out *rows, const json_t *nodes)
{
    size_t count = json_array_size(nodes);

    for (size_t i = 0, first = 0; i < count; i++) {
        const json_t *row = json_array_get(nodes, i);
        const char *next = syn_json_str(json_array_get(nodes, i + 1), "node", "");

        if (syn_str_eq(syn_json_str(row, "node", "?"), next))
            continue;
        plan_cells(rows, "chosen", row, (int64_t)(i + 1 - first));
        first = i + 1;
    }
}

static int
show_nodes(const struct syn_cli *cli, const json_t *plan, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    size_t widths[SYN_CLI_COLUMNS_MAX] = {0};
    size_t i;
    const json_t *row;
    int rc = syn_cli_rows_new("PLAN|NODE|REGION|>WORKERS|>AN HOUR|>A MONTH", &rows, err);

    if (rc < 0)
        return rc;
    chosen_rows(rows, json_object_get(plan, "nodes"));
    json_array_foreach (json_object_get(plan, "alternatives"), i, row)
        plan_cells(rows, "instead", row, syn_json_i64(row, "workers", 0));
    if (syn_cli_rows_failed(rows))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a plan");
    syn_cli_rows_fit(rows, widths);
    for (i = 0; i <= syn_cli_rows_count(rows); i++) {
        SYN_BUF(line);

        syn_cli_rows_line(rows, i == 0 ? SIZE_MAX : i - 1, widths, &line);
        syn_cli_note(cli, "%s", syn_buf_text(&line));
    }
    return SYN_OK;
}

/* Where it would cost less than where it would go: alternatives come cheapest first. */
static void
show_cheaper(const struct syn_cli *cli, const json_t *plan)
{
    const json_t *other = json_array_get(json_object_get(plan, "alternatives"), 0);
    const char *there = syn_json_str(other, "rate_hour", NULL);
    int64_t less;
    int64_t dearest = 0;
    int64_t rate;
    size_t i;
    const json_t *row;

    json_array_foreach (json_object_get(plan, "nodes"), i, row) {
        if (syn_parse_amount(syn_json_str(row, "rate_hour", ""), "rate", &rate, NULL) < 0)
            return;
        dearest = SYN_MAX(dearest, rate);
    }
    if (there == NULL || syn_parse_amount(there, "rate", &less, NULL) < 0 || less >= dearest)
        return;
    syn_cli_note(cli, "A worker costs less on %s: --max-price %s", syn_json_str(other, "node", "?"),
                 there);
}

static void
show_price(const struct syn_cli *cli, const json_t *plan)
{
    const char *hour = syn_json_str(plan, "rate_hour", NULL);
    const char *month = syn_json_str(plan, "rate_month", NULL);
    const char *budget = syn_json_str(plan, "budget", "?");
    const char *book = syn_json_bool(plan, "placeable", false) ? "" : "by the price book ";
    int64_t lasts_ms = syn_json_i64(plan, "budget_lasts_ms", -1);
    char lasts[SYN_FORMAT_MAX];

    if (hour == NULL)
        syn_cli_note(cli,
                     "Price: no price; what it costs an hour is known once it is placed. The "
                     "budget is %s SYNOR.",
                     budget);
    else
        syn_cli_note(cli, "Price: %s%s SYNOR an hour, %s a month; the budget of %s lasts %s.", book,
                     hour, month != NULL ? month : "more than can be paid", budget,
                     lasts_ms >= 0 ? syn_format_duration(lasts_ms, lasts) : "for ever");
    if (syn_json_bool(plan, "spot", false))
        syn_cli_note(
            cli,
            "Spot: it gives way, with notice, when an hour of a worker would cost more than "
            "%s SYNOR, and to who comes before it.",
            syn_json_str(plan, "max_price", "?"));
}

static void
show_plan(const struct syn_cli *cli, const json_t *plan)
{
    struct syn_err err;
    size_t i;
    json_t *row;

    if (!syn_json_bool(plan, "placeable", false)) {
        syn_cli_note(cli, "Plan: no node can take this now; it would wait as pending.");
        syn_cli_plan_why(cli, plan);
    } else {
        json_array_foreach (json_object_get(plan, "nodes"), i, row)
            syn_cli_note(cli, "Plan: rank %lld on %s (%s)", (long long)syn_json_i64(row, "rank", 0),
                         syn_json_str(row, "node", "?"), syn_json_str(plan, "isolation", "?"));
        if (show_nodes(cli, plan, &err) < 0)
            syn_cli_note(cli, "%s", err.msg);
        show_cheaper(cli, plan);
    }
    json_array_foreach (json_object_get(plan, "assumed"), i, row)
        syn_cli_note(cli, "Assumed: %s.", json_string_value(row));
    show_price(cli, plan);
}

/* POST /v1/training; `source` is what the spec says of it. */
static int
post_job(struct syn_cli *cli, const struct request *request, const char *route, const char *source,
         json_t **ret, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_set_str(request->spec, "source", source, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&body, err, "{s:s*, s:O, s:O}", "name", syn_cli_text(cli, "name", NULL),
                           "spec", request->spec, "model", request->model);
    return rc < 0 ? rc : syn_cli_call(cli, "POST", route, body, ret, err);
}

/* Who gave an option is told of it, not of the key that it became. */
static int
fail(const struct syn_cli *cli, struct syn_err *err)
{
    syn_cli_spec_blame(cli, "spec.", number_keys, SYN_LEN(number_keys), err);
    syn_cli_spec_blame(cli, "spec.", text_keys, SYN_LEN(text_keys), err);
    return syn_cli_fail(cli, err);
}

static int
create_and_follow(struct syn_cli *cli, const struct request *request, const char *source)
{
    SYN_JSON(job);
    struct syn_err err;
    const char *id;

    if (post_job(cli, request, "/v1/training", source, &job, &err) < 0)
        return fail(cli, &err);
    id = syn_json_str(job, "id", "?");
    if (syn_cli_has(cli, "wait")) {
        syn_cli_note(cli, "%s (%s)", syn_json_str(job, "name", "?"), id);
        return syn_cli_workload_wait(cli, id, "succeeded");
    }
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(job));
    syn_cli_say(cli, "%s  %s", id, syn_json_str(json_object_get(job, "status"), "state", "?"));
    syn_cli_say(cli, "\nNext:\n  synor compute train logs -f %s", id);
    syn_cli_say(cli, "  synor compute train get --wait %s", id);
    syn_cli_say(cli, "  synor compute train explain %s", id);
    return 0;
}

/* A folder without the program needs no upload to be refused. */
static int
check_entry(const struct request *request, struct syn_err *err)
{
    const char *entry = syn_json_str(request->model, "entry", "");
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", request->source, entry) >= (int)sizeof(path) ||
        access(path, F_OK) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "entry: there is no %.100s in %.100s", entry,
                        request->source);
    return SYN_OK;
}

/* Upload the source folder; "" when the program is in the image. */
static int
upload_source(struct syn_cli *cli, const struct request *request, struct syn_buf *out,
              struct syn_err *err)
{
    const struct syn_cli_upload upload = {.path = request->source,
                                          .include = json_object_get(request->model, "include"),
                                          .exclude = json_object_get(request->model, "exclude")};
    SYN_JSON(packed);
    int rc;

    if (!request->has_source)
        return SYN_OK;
    rc = check_entry(request, err);
    if (rc < 0)
        return rc;
    rc = syn_cli_upload(cli, &upload, &packed, err);
    if (rc < 0)
        return rc;
    syn_buf_addf(out, "synor://%s", syn_json_str(packed, "cid", ""));
    return syn_buf_ok(out, err);
}

/* Was the platform started just now, so that its own node has not joined yet? */
static bool
still_starting(struct syn_cli *cli)
{
    SYN_JSON(status);
    struct syn_err err;

    return syn_cli_call(cli, "GET", "/v1/status", NULL, &status, &err) == SYN_OK &&
           syn_json_i64(json_object_get(status, "nodes"), "total", 1) == 0 &&
           syn_json_i64(status, "uptime_ms", STARTING_MS) < STARTING_MS;
}

/* The plan. One that no node can take yet, only because none has joined since the platform was
 * started, would frighten for nothing: ask again. */
static int
ask_plan(struct syn_cli *cli, const struct request *request, json_t **ret, struct syn_err *err)
{
    /* A plan does not look into the source, so it need not be uploaded for one. */
    const char *source = request->has_source ? "synor://source" : "";

    for (;;) {
        SYN_JSON(plan);
        int rc = post_job(cli, request, "/v1/training?plan=true", source, &plan, err);

        if (rc < 0)
            return rc;
        if (syn_json_bool(plan, "placeable", false) || syn_cli_interrupted() ||
            !still_starting(cli)) {
            *ret = SYN_TAKE(plan);
            return SYN_OK;
        }
        (void)poll(NULL, 0, STARTING_PAUSE_MS);
    }
}

static const struct syn_cli_plan_view plan_view = {
    .show = show_plan, .question = "Create it?", .declined = "Nothing was created."};

static int
create(struct syn_cli *cli, struct request *request)
{
    SYN_BUF(reference);
    SYN_JSON(plan);
    struct syn_err err;
    int status;
    int rc = syn_json_pack(&request->spec, &err, "{}");

    if (rc == SYN_OK)
        rc = read_model(cli, request, &err);
    if (rc == SYN_OK)
        rc = build_spec(cli, request->spec, &err);
    if (rc == SYN_OK && !syn_cli_has(cli, "plan"))
        rc = syn_cli_image_ready(cli, request->spec, &err);
    if (rc == SYN_OK)
        rc = ask_plan(cli, request, &plan, &err);
    if (rc < 0)
        return fail(cli, &err);
    if (!syn_cli_plan_agreed(cli, &plan_view, plan, &status))
        return status;
    if (upload_source(cli, request, &reference, &err) < 0)
        return syn_cli_fail(cli, &err);
    return create_and_follow(cli, request, syn_buf_text(&reference));
}

static int
run_create(struct syn_cli *cli)
{
    struct request request = {0};
    int status = create(cli, &request);

    json_decref(request.model);
    json_decref(request.spec);
    return status;
}

const struct syn_cli_command syn_cli_train_create = {
    .path = "compute train create",
    .summary = "Create a training job",
    .detail =
        "The folder that model.yaml names as source is packed into the content store, so the job "
        "can be run again from its record alone. Plan and price are shown first; the budget is "
        "locked in escrow, usage is metered every second, and what is left is refunded.",
    .examples = "  synor compute train create --model-config model.yaml --max-budget 10 \\\n"
                "    --dataset synor://datasets/fashion-mnist --epochs 5 --wait\n"
                "  synor compute train create --model-config model.yaml --max-budget 10 --plan\n",
    .options = create_options,
    .option_count = SYN_LEN(create_options),
    .workload = &syn_cli_train_workload,
    .run = run_create};
