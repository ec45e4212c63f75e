/* compute train create: from options and model.yaml to a job, with plan and price shown first. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/yaml.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "train_priv.h"

static const struct syn_cli_option create_options[] = {
    {"framework", 0, "NAME[:VERSION]", SYN_CLI_TEXT, 0, 0, false, false,
     "pytorch:|tensorflow:|jax:|onnx:|custom:", "pytorch", "What runs the program"},
    {"image", 0, "REF", SYN_CLI_TEXT, 0, 0, false, false, NULL, "host",
     "Root file system: `host`, or synor://CID of an OCI layout"},
    {"model-config", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "model.yaml: source folder, entry point, hyperparameters"},
    {"dataset", 0, "REF", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "synor://NAME or synor://CID"},
    {"gpus", 0, "N", SYN_CLI_INT, 0, 1024, false, false, NULL, "0", "Processors a worker"},
    {"max-gpus", 0, "N", SYN_CLI_INT, 0, 1024, false, false, NULL, "--gpus",
     "Take up to so many where they are free"},
    {"gpu-type", 0, "MODEL", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any",
     "h100, a100-80gb, rtx-4090, ..."},
    {"min-vram", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, NULL,
     "Memory each GPU must have"},
    {"cpus", 0, "N", SYN_CLI_CPUS, 0, 0, false, false, NULL, "1",
     "CPU cores a worker: 2, 0.5, 250m"},
    {"memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "2gb", "Memory a worker"},
    {"scratch", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "4gb",
     "Writable disk a worker"},
    {"distributed", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false,
     "ddp|fsdp|zero1|zero2|zero3|pipeline|model", "ddp for several workers",
     "How workers share the work"},
    {"workers", 0, "N", SYN_CLI_INT, 1, 64, false, false, NULL, "1", "Ranks, all started together"},
    {"epochs", 0, "N", SYN_CLI_INT, 1, 1000000, false, false, NULL, NULL,
     "Passes over the dataset"},
    {"batch-size", 0, "N", SYN_CLI_INT, 1, 1000000000, false, false, NULL, NULL, "Samples a step"},
    {"learning-rate", 0, "X", SYN_CLI_REAL, 0, 0, false, false, NULL, NULL, "Step size"},
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
    {"priority", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, "500",
     "Who waits less when nodes are full"},
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "any", "Where it must run"},
    {"isolation", 0, "KIND", SYN_CLI_TEXT, 0, 0, false, false, "auto|gvisor|runc", "auto",
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

/* An option that becomes a key of the spec as it is. */
struct mapping {
    const char *option;
    const char *key;
};

static const struct mapping number_keys[] = {
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
    {"retries", "retries_max"},
};

static const struct mapping text_keys[] = {
    {"image", "image"},           {"dataset", "dataset"},
    {"gpu-type", "gpu_model"},    {"distributed", "distributed"},
    {"optimizer", "optimizer"},   {"mixed-precision", "mixed_precision"},
    {"max-budget", "max_budget"}, {"region", "region"},
    {"isolation", "isolation"},
};

static int
set_framework(const struct syn_cli *cli, const json_t *model, json_t *spec, struct syn_err *err)
{
    const char *given = syn_cli_text(cli, "framework", syn_json_str(model, "framework", "pytorch"));
    size_t len = strcspn(given, ":");
    char name[32];
    int rc;

    (void)snprintf(name, sizeof(name), "%.*s", (int)SYN_MIN(len, sizeof(name) - 1), given);
    rc = syn_json_set_str(spec, "framework", name, err);
    if (rc == SYN_OK && given[len] == ':')
        rc = syn_json_set_str(spec, "framework_version", given + len + 1, err);
    return rc;
}

static int
set_env(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *env = json_object();
    size_t cursor = 0;
    int rc = syn_json_set_take(spec, "env", env, err);

    while (rc == SYN_OK && (value = syn_cli_next(cli, "env", &cursor)) != NULL) {
        const char *equals = strchr(value->text, '=');
        char name[128];

        if (equals == NULL || equals == value->text ||
            (size_t)(equals - value->text) >= sizeof(name))
            return SYN_FAIL(err, SYN_E_INVALID, "--env: expected NAME=VALUE, got \"%s\"",
                            value->text);
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - value->text), value->text);
        rc = syn_json_set_str(env, name, equals + 1, err);
    }
    return rc;
}

/* The spec but for `source`, which needs an upload first. */
static int
build_spec(const struct syn_cli *cli, const json_t *model, json_t *spec, struct syn_err *err)
{
    static const char *const from_model[] = {"entry", "args", "hyperparameters"};
    int rc = set_framework(cli, model, spec, err);

    for (size_t i = 0; i < SYN_LEN(from_model) && rc == SYN_OK; i++) {
        json_t *value = json_object_get(model, from_model[i]);

        if (value != NULL)
            rc = syn_json_set_take(spec, from_model[i], json_incref(value), err);
    }
    for (size_t i = 0; i < SYN_LEN(number_keys) && rc == SYN_OK; i++) {
        if (syn_cli_has(cli, number_keys[i].option))
            rc = syn_json_set_i64(spec, number_keys[i].key,
                                  syn_cli_number(cli, number_keys[i].option, 0), err);
    }
    for (size_t i = 0; i < SYN_LEN(text_keys) && rc == SYN_OK; i++) {
        if (syn_cli_has(cli, text_keys[i].option))
            rc = syn_json_set_str(spec, text_keys[i].key,
                                  syn_cli_text(cli, text_keys[i].option, ""), err);
    }
    if (rc == SYN_OK && syn_cli_has(cli, "learning-rate")) {
        double rate;

        rc = syn_parse_double(syn_cli_text(cli, "learning-rate", ""), 0, 1e6, "learning-rate",
                              &rate, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(spec, "learning_rate", json_real(rate), err);
    }
    if (rc == SYN_OK)
        rc = set_env(cli, spec, err);
    return rc;
}

/* Read model.yaml and find its source folder, which is relative to the file. */
static int
read_model(const char *path, json_t **ret_model, char *source, size_t source_cap,
           struct syn_err *err)
{
    SYN_JSON(model);
    SYN_BUF(text);
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *relative;
    int rc = syn_cli_read_file(path, SYN_YAML_BYTES_MAX, &text, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "--model-config");
    rc = syn_yaml_parse(text.data == NULL ? "" : text.data, text.len, &model, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    if (!json_is_object(model))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected a mapping with source, entry and hyperparameters", path);
    (void)snprintf(folder, sizeof(folder), "%.*s",
                   slash != NULL ? (int)SYN_MAX(slash - path, 1) : 1, slash != NULL ? path : ".");
    relative = syn_json_str(model, "source", ".");
    if (snprintf(source, source_cap, "%s%s%s", relative[0] == '/' ? "" : folder,
                 relative[0] == '/' ? "" : "/", relative) >= (int)source_cap)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: source: path too long", path);
    *ret_model = SYN_TAKE(model);
    return SYN_OK;
}

static void
show_plan(const struct syn_cli *cli, const json_t *plan)
{
    size_t i;
    json_t *row;
    char lasts[SYN_FORMAT_MAX];

    if (!syn_json_bool(plan, "placeable", false)) {
        syn_cli_note(cli, "Plan: no node can take this now; it would wait as pending.");
        json_array_foreach (json_object_get(plan, "why"), i, row)
            syn_cli_note(cli, "  %s", syn_json_str(row, "message", "?"));
    } else {
        json_array_foreach (json_object_get(plan, "nodes"), i, row)
            syn_cli_note(cli, "Plan: rank %lld on %s (%s)", (long long)syn_json_i64(row, "rank", 0),
                         syn_json_str(row, "node", "?"), syn_json_str(plan, "isolation", "?"));
    }
    syn_cli_note(cli, "Price: %s SYNOR an hour; the budget of %s lasts %s.",
                 syn_json_str(plan, "rate_hour", "?"), syn_json_str(plan, "budget", "?"),
                 syn_format_duration(syn_json_i64(plan, "budget_lasts_ms", 0), lasts));
}

static int
create_and_follow(struct syn_cli *cli, json_t *spec, const char *name)
{
    SYN_JSON(body);
    SYN_JSON(job);
    struct syn_err err;
    const char *id;

    body = json_pack("{s:s, s:O}", "name", name, "spec", spec);
    if (syn_cli_call(cli, "POST", "/v1/training", body, &job, &err) < 0)
        return syn_cli_fail(cli, &err);
    id = syn_json_str(job, "id", "?");
    if (syn_cli_has(cli, "wait"))
        return syn_cli_train_wait(cli, id);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(job));
    syn_cli_say(cli, "%s  %s", id, syn_json_str(json_object_get(job, "status"), "state", "?"));
    syn_cli_say(cli, "Follow it: synor compute train logs -f %s", id);
    return 0;
}

static int
run_create(struct syn_cli *cli)
{
    SYN_JSON(model);
    SYN_JSON(spec);
    SYN_JSON(plan);
    SYN_JSON(body);
    SYN_JSON(packed);
    SYN_BUF(reference);
    struct syn_err err;
    char source[PATH_MAX];
    const char *name;
    struct syn_cli_upload upload = {.path = source};

    spec = json_object();
    if (read_model(syn_cli_text(cli, "model-config", ""), &model, source, sizeof(source), &err) <
            0 ||
        build_spec(cli, model, spec, &err) < 0 || syn_json_set_str(spec, "source", "", &err) < 0)
        return syn_cli_fail(cli, &err);
    name = syn_cli_text(cli, "name", syn_json_str(model, "name", "job"));
    body = json_pack("{s:s, s:O}", "name", name, "spec", spec);
    if (syn_cli_call(cli, "POST", "/v1/training?plan=true", body, &plan, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "plan") && cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(plan));
    show_plan(cli, plan);
    if (syn_cli_has(cli, "plan"))
        return syn_json_bool(plan, "placeable", false) ? 0 : syn_err_info(SYN_E_UNPLACEABLE)->exit;
    if (!syn_cli_confirm(cli, "Create it?")) {
        syn_cli_note(cli, "Nothing was created.");
        return 1;
    }
    upload.include = json_object_get(model, "include");
    upload.exclude = json_object_get(model, "exclude");
    if (syn_cli_upload(cli, &upload, &packed, &err) < 0)
        return syn_cli_fail(cli, &err);
    syn_buf_addf(&reference, "synor://%s", syn_json_str(packed, "cid", ""));
    if (syn_json_set_str(spec, "source", syn_buf_text(&reference), &err) < 0)
        return syn_cli_fail(cli, &err);
    return create_and_follow(cli, spec, name);
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
    .run = run_create};
