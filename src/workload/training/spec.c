#include <synor/workload/training_spec.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/fleet.h>

#include "../work_priv.h"

#define REF_MAX           512
#define PATH_BYTES_MAX    512
#define HYPER_NAME_MAX    128
#define HYPER_TEXT_MAX    4096
#define COUNT_MAX         INT64_C(1000000000)
#define MIB               (INT64_C(1) << 20)
#define NOTICE_MAX_MS     (INT64_C(3600) * 1000)
#define RESERVED_MAX      191
#define STOP_GRACE_MAX_MS (INT64_C(3600) * 1000)
#define TIME_LIMIT_MAX_MS (INT64_C(365) * 24 * 3600 * 1000)

/* clang-format off */
static const struct syn_field tie_fields[] = {
    {.name = "group", .kind = SYN_FIELD_NAME, .required = true, .help = "a group of the account"},
    {.name = "domain", .kind = SYN_FIELD_STR, .choices = "node|rack|zone|region", .fallback = "\"node\"",
     .help = "in which"},
};
static const struct syn_schema tie_schema = SYN_SCHEMA("PlacementTie", tie_fields);

static const struct syn_field spec_fields[] = {
    {.name = "framework", .kind = SYN_FIELD_STR, .fallback = "\"pytorch\"",
     .choices = "pytorch|tensorflow|jax|onnx|custom", .help = "what the program is written with"},
    {.name = "framework_version", .kind = SYN_FIELD_STR, .min = 0, .max = 32, .fallback = "\"\"",
     .help = "version the program wants, or its beginning (1.13); \"\" any"},
    {.name = "image", .kind = SYN_FIELD_STR, .min = 1, .max = REF_MAX, .fallback = "\"host\"",
     .help = "host (the node's own /usr, read-only) or synor://CID of an OCI layout"},
    {.name = "source", .kind = SYN_FIELD_STR, .required = true, .min = 0, .max = REF_MAX,
     .help = "synor:// folder with the program, or \"\" when the image holds it"},
    {.name = "entry", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = PATH_BYTES_MAX,
     .help = "the program, relative to source; absolute when source is \"\""},
    {.name = "args", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_TRAINING_ARGS_MAX, .fallback = "[]",
     .help = "arguments of the program"},
    {.name = "dataset", .kind = SYN_FIELD_STR, .min = 0, .max = REF_MAX, .fallback = "\"\"",
     .help = "synor:// data the program reads, or \"\""},
    {.name = "hyperparameters", .kind = SYN_FIELD_OBJ, .fallback = "{}",
     .help = "flat object of scalars for the program"},
    {.name = "epochs", .kind = SYN_FIELD_I64, .min = 1, .max = COUNT_MAX, .help = "overlaid on hyperparameters"},
    {.name = "batch_size", .kind = SYN_FIELD_I64, .min = 1, .max = COUNT_MAX, .help = "overlaid on hyperparameters"},
    {.name = "gradient_accumulation", .kind = SYN_FIELD_I64, .min = 1, .max = COUNT_MAX,
     .help = "overlaid on hyperparameters"},
    {.name = "learning_rate", .kind = SYN_FIELD_REAL, .min = 0, .max = COUNT_MAX, .help = "overlaid on hyperparameters"},
    {.name = "optimizer", .kind = SYN_FIELD_STR, .min = 1, .max = 64, .help = "overlaid on hyperparameters"},
    {.name = "mixed_precision", .kind = SYN_FIELD_STR, .choices = "no|fp16|bf16",
     .help = "overlaid on hyperparameters"},
    {.name = "checkpoint_interval", .kind = SYN_FIELD_I64, .min = 0, .max = INT64_C(1000000000000), .fallback = "0",
     .help = "steps between checkpoints; 0 lets the program decide"},
    {.name = "cpu_millicores", .kind = SYN_FIELD_CPUS, .min = 10, .max = 4096000, .fallback = "1000",
     .help = "CPU per worker"},
    {.name = "memory_bytes", .kind = SYN_FIELD_BYTES, .min = 16 * MIB, .max = SYN_NODE_QUANTITY_MAX,
     .fallback = "2147483648", .help = "memory per worker"},
    {.name = "scratch_bytes", .kind = SYN_FIELD_BYTES, .min = MIB, .max = SYN_NODE_QUANTITY_MAX,
     .fallback = "4294967296", .help = "quota of the writable volume per worker"},
    {.name = "gpus", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_PLACE_GPUS_MAX, .fallback = "0",
     .help = "GPUs per worker, all of one model"},
    {.name = "gpus_max", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_PLACE_GPUS_MAX,
     .help = "take up to so many where they are free; default gpus"},
    {.name = "gpu_model", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_GPU_MODEL_MAX - 1, .fallback = "\"\"",
     .help = "model of the GPUs; \"\" any"},
    {.name = "vram_min_bytes", .kind = SYN_FIELD_BYTES, .min = 0, .max = SYN_NODE_QUANTITY_MAX, .fallback = "0",
     .help = "least memory of each GPU"},
    {.name = "gpu_capability", .kind = SYN_FIELD_STR, .min = 0, .max = 8, .fallback = "\"\"",
     .help = "least compute capability of each GPU, as 8.0; \"\" any"},
    SYN_CARD_FIELDS,
    {.name = "bandwidth_bps", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_FLEET_QUANTITY_MAX, .fallback = "0",
     .help = "bits a second per worker, of those that its node has"},
    {.name = "labels", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_PLACE_LABELS_MAX, .fallback = "[]",
     .help = "what the node's labels must be: key=value, key!=value, or key"},
    {.name = "latency_to", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_REGION_MAX - 1, .fallback = "\"\"",
     .help = "region that it should be near to: what the policy latency goes by; \"\" none"},
    {.name = "latency_max_ms", .kind = SYN_FIELD_MS, .min = 0, .max = 60000, .fallback = "0",
     .help = "longest round trip to latency_to; 0 any"},
    {.name = "group", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_ID_MAX - 1, .fallback = "\"\"",
     .help = "group of the account that the job counts in; \"\" none"},
    {.name = "affinity", .kind = SYN_FIELD_OBJ, .sub = &tie_schema, .help = "where some of this group run"},
    {.name = "anti_affinity", .kind = SYN_FIELD_OBJ, .sub = &tie_schema, .help = "where none of this group run"},
    {.name = "spread", .kind = SYN_FIELD_STR, .choices = "node|rack|zone|region",
     .help = "keep the jobs of its group even between such domains"},
    {.name = "workers", .kind = SYN_FIELD_I64, .min = 1, .max = SYN_TRAINING_WORKERS_MAX, .fallback = "1",
     .help = "ranks; all start or none"},
    {.name = "distributed", .kind = SYN_FIELD_STR,
     .choices = "none|ddp|fsdp|zero1|zero2|zero3|pipeline|model",
     .help = "told to the program; default none, ddp when workers > 1"},
    {.name = "max_budget", .kind = SYN_FIELD_AMOUNT, .required = true,
     .help = "SYNOR locked in escrow for one run"},
    {.name = "max_price", .kind = SYN_FIELD_AMOUNT,
     .help = "SYNOR an hour that one worker may cost, all in; dearer nodes are left out"},
    {.name = "spot", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "at spot prices, up to max_price; gives way, after a notice, to who pays more"},
    {.name = "reserved", .kind = SYN_FIELD_STR, .min = 0, .max = RESERVED_MAX, .fallback = "\"\"",
     .help = "class of units the account holds, which its cards are taken from; its cores without cards"},
    {.name = "notice_ms", .kind = SYN_FIELD_MS, .min = 0, .max = NOTICE_MAX_MS, .fallback = "120000",
     .help = "notice before spot work is interrupted, or reserved units end"},
    {.name = "policy", .kind = SYN_FIELD_STR, .fallback = "\"balanced\"",
     .choices = "balanced|binpack|spread|fragmentation|latency|energy|price",
     .help = "which of the nodes that can take it is chosen"},
    {.name = "priority", .kind = SYN_FIELD_I64, .min = 0, .max = 1000, .fallback = "500",
     .help = "higher is placed first"},
    {.name = "region", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_REGION_MAX - 1, .fallback = "\"\"",
     .help = "where it may run; \"\" anywhere"},
    {.name = "isolation", .kind = SYN_FIELD_STR, .choices = "auto|gvisor|runc|kata", .fallback = "\"auto\"",
     .help = "the sandbox"},
    {.name = "stop_grace_ms", .kind = SYN_FIELD_MS, .min = 0, .max = STOP_GRACE_MAX_MS, .fallback = "30000",
     .help = "time to save a checkpoint after a stop signal"},
    {.name = "time_limit_ms", .kind = SYN_FIELD_MS, .min = 0, .max = TIME_LIMIT_MAX_MS, .fallback = "0",
     .help = "longest time of a run since its first start; 0 none"},
    {.name = "retries_max", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_TRAINING_RETRIES_MAX, .fallback = "0",
     .help = "restarts after the program's own failure"},
    {.name = "env", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_TRAINING_ENV_MAX, .fallback = "{}",
     .help = "environment of the program"},
};

static const struct syn_field model_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .help = "name of the job"},
    {.name = "source", .kind = SYN_FIELD_STR, .min = 0, .max = 4096,
     .help = "folder to pack, relative to the file"},
    {.name = "entry", .kind = SYN_FIELD_STR, .min = 1, .max = PATH_BYTES_MAX, .help = "program inside source"},
    {.name = "args", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_TRAINING_ARGS_MAX, .help = "arguments of the program"},
    {.name = "hyperparameters", .kind = SYN_FIELD_OBJ, .help = "flat object of scalars"},
    {.name = "include", .kind = SYN_FIELD_LIST, .min = 0, .max = 256, .help = "patterns of files to pack; default all"},
    {.name = "exclude", .kind = SYN_FIELD_LIST, .min = 0, .max = 256, .help = "patterns of files to leave out"},
    {.name = "framework", .kind = SYN_FIELD_STR, .choices = "pytorch|tensorflow|jax|onnx|custom",
     .help = "as in the spec"},
    {.name = "framework_version", .kind = SYN_FIELD_STR, .min = 0, .max = 32, .help = "as in the spec"},
};
/* clang-format on */

const struct syn_schema syn_training_spec_schema = SYN_SCHEMA("TrainingSpec", spec_fields);
const struct syn_schema syn_training_model_schema = SYN_SCHEMA("TrainingModelFile", model_fields);

/* The platform's own words; a program must be able to trust them. */
static const char *const reserved_env[] = {
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "NODE_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "GLOO_SOCKET_IFNAME",
    "NCCL_SOCKET_IFNAME",
    "HOME",
    "TMPDIR",
    "PATH",
    "PYTHONUNBUFFERED",
};

static int
check_ref(const char *key, const char *ref, struct syn_err *err)
{
    if (!syn_str_starts(ref, "synor://") || !ref[strlen("synor://")])
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.%s: \"%s\" is no reference; expected synor://NAME or synor://CID "
                        "(synor storage put makes one)",
                        key, ref);
    return SYN_OK;
}

/* Segments separated by single slashes, none of them "." or "..". */
static bool
segments_ok(const char *path)
{
    for (const char *at = path;;) {
        size_t len = strcspn(at, "/");

        if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)at[i] < 0x20 || at[i] == 0x7f)
                return false;
        if (!at[len])
            return true;
        at += len + 1;
    }
}

static int
check_program(const struct syn_training_spec *spec, struct syn_err *err)
{
    bool absolute = spec->entry[0] == '/';

    if (!segments_ok(spec->entry + (absolute ? 1 : 0)))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.entry: \"%s\" must be a plain path without empty, \".\" or \"..\" "
                        "parts",
                        spec->entry);
    if (*spec->source && absolute)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.entry: \"%s\" is absolute; expected a path inside source, such as "
                        "train.py",
                        spec->entry);
    if (!*spec->source && !absolute)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.entry: \"%s\" is relative but source is empty; give source, or the "
                        "program's absolute path in the image",
                        spec->entry);
    if (*spec->source) {
        int rc = check_ref("source", spec->source, err);

        if (rc < 0)
            return rc;
    }
    if (*spec->dataset) {
        int rc = check_ref("dataset", spec->dataset, err);

        if (rc < 0)
            return rc;
    }
    if (!syn_str_eq(spec->image, "host"))
        return work_check_image(spec->image, err);
    return SYN_OK;
}

static int
check_args(const json_t *args, struct syn_err *err)
{
    const json_t *arg;
    size_t i;

    json_array_foreach (args, i, arg)
        if (json_string_length(arg) > SYN_TRAINING_ARG_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "spec.args[%zu]: longer than %d bytes", i,
                            SYN_TRAINING_ARG_BYTES_MAX);
    return SYN_OK;
}

static int
check_hyperparameters(json_t *values, struct syn_err *err)
{
    const char *key;
    const json_t *value;
    void *at;

    if (json_object_size(values) > SYN_TRAINING_HYPERPARAMETERS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.hyperparameters: at most %d, got %zu",
                        SYN_TRAINING_HYPERPARAMETERS_MAX, json_object_size(values));
    for (at = json_object_iter(values); at; at = json_object_iter_next(values, at)) {
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        if (!*key || strlen(key) > HYPER_NAME_MAX)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.hyperparameters: a name must have 1..%d bytes", HYPER_NAME_MAX);
        if (json_is_object(value) || json_is_array(value))
            return SYN_FAIL(
                err, SYN_E_INVALID,
                "spec.hyperparameters.%s: expected a number, text, true, false or null; "
                "put nested settings into a file of the source",
                key);
        if (json_string_length(value) > HYPER_TEXT_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "spec.hyperparameters.%s: longer than %d bytes",
                            key, HYPER_TEXT_MAX);
    }
    return SYN_OK;
}

static int
check_numbers(const json_t *obj, const struct syn_training_spec *spec, struct syn_err *err)
{
    const json_t *rate = json_object_get(obj, "learning_rate");

    if (rate && json_number_value(rate) <= 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.learning_rate: expected more than 0, got %g",
                        json_number_value(rate));
    if (spec->gpus_max < spec->gpus)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpus_max: %lld is less than gpus (%lld)",
                        (long long)spec->gpus_max, (long long)spec->gpus);
    if (spec->gpus_max == 0 && (*spec->gpu_model || spec->vram_min_bytes))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.%s: no GPU is asked for; set gpus",
                        *spec->gpu_model ? "gpu_model" : "vram_min_bytes");
    if (spec->workers > 1 && syn_str_eq(spec->distributed, "none"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.distributed: none needs workers 1, got %u; use ddp or another way of "
                        "sharing the work",
                        spec->workers);
    if (json_object_get(obj, "max_price") && spec->max_price == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.max_price: expected more than 0 SYNOR an hour; leave it out for any "
                        "price");
    if (spec->spot && spec->max_price == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.spot: needs max_price, what a worker would pay an hour at most");
    if (*spec->reserved && spec->spot)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.reserved: what is paid for is no spot work");
    if (*spec->reserved && !syn_str_starts(spec->reserved, spec->gpus > 0 ? "gpu/" : "cpu/"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.reserved: expected a class of %s, as %s/MODEL/REGION/hour; got "
                        "\"%.60s\"",
                        spec->gpus > 0 ? "cards, since gpus are asked for" : "cores",
                        spec->gpus > 0 ? "gpu" : "cpu", spec->reserved);
    if (*spec->reserved && spec->gpus_max > spec->gpus)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpus_max: units are of gpus, no more");
    if (spec->max_budget <= 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.max_budget: expected more than 0 SYNOR");
    return SYN_OK;
}

static int
check_placing(const json_t *obj, const struct syn_training_spec *spec, struct syn_err *err)
{
    const char *capability = syn_json_str(obj, "gpu_capability", "");
    const json_t *text;
    struct syn_selector selector;
    uint32_t number;
    size_t i;
    int rc = *capability ? syn_capability_parse(capability, &number, err) : SYN_OK;

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.gpu_capability");
    json_array_foreach (spec->labels, i, text) {
        rc = syn_selector_parse(json_string_value(text), &selector, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.labels[%zu]", i);
    }
    if (*capability && spec->gpus_max == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpu_capability: no GPU is asked for; set gpus");
    if (*spec->group && !syn_name_ok(spec->group))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.group: \"%s\" is no name", spec->group);
    if (spec->latency_max_ms > 0 && !*spec->latency_to)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.latency_max_ms: needs latency_to, a region");
    if (spec->policy == SYN_FLEET_LATENCY && !*spec->latency_to)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.policy: latency needs latency_to, the region to be near to");
    if (*spec->spread && !*spec->group)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.spread: needs group; the jobs of a group are spread, the workers of "
                        "one job share a node");
    return SYN_OK;
}

/* Defaults that depend on other keys. */
static int
derive(json_t *spec, struct syn_err *err)
{
    bool many = syn_json_i64(spec, "workers", 1) > 1;
    int rc = syn_card_derive(spec, err);

    if (rc == SYN_OK && !json_object_get(spec, "gpus_max"))
        rc = syn_json_set_i64(spec, "gpus_max", syn_json_i64(spec, "gpus", 0), err);
    if (rc == SYN_OK && !json_object_get(spec, "distributed"))
        rc = syn_json_set_str(spec, "distributed", many ? "ddp" : "none", err);
    return rc;
}

int
syn_training_spec_check(json_t *spec, struct syn_err *err)
{
    struct syn_training_spec read;
    int rc = syn_schema_apply(&syn_training_spec_schema, spec, "spec", err);

    if (rc == SYN_OK)
        rc = derive(spec, err);
    if (rc < 0)
        return rc;
    syn_training_spec_read(spec, &read);
    rc = check_program(&read, err);
    if (rc == SYN_OK)
        rc = check_args(read.args, err);
    if (rc == SYN_OK)
        rc = check_hyperparameters(read.hyperparameters, err);
    if (rc == SYN_OK)
        rc = work_check_env(read.env, reserved_env, SYN_LEN(reserved_env),
                            SYN_TRAINING_ENV_BYTES_MAX, err);
    if (rc == SYN_OK)
        rc = check_numbers(spec, &read, err);
    if (rc == SYN_OK)
        rc = syn_card_check(spec, read.workers, err);
    if (rc == SYN_OK)
        rc = check_placing(spec, &read, err);
    return rc;
}

static int
lay_under(json_t *spec, const char *key, json_t *value, struct syn_err *err)
{
    if (!value || json_object_get(spec, key))
        return SYN_OK;
    return syn_json_set_take(spec, key, syn_json_deep_copy(value), err);
}

int
syn_training_model_merge(json_t *model, json_t *spec, const char **ret_name, struct syn_err *err)
{
    static const char *const plain[] = {"entry", "args", "framework", "framework_version"};
    json_t *values = json_object_get(spec, "hyperparameters");
    json_t *under;
    void *at;
    int rc = syn_schema_apply(&syn_training_model_schema, model, "model", err);

    for (size_t i = 0; i < SYN_LEN(plain) && rc == SYN_OK; i++)
        rc = lay_under(spec, plain[i], json_object_get(model, plain[i]), err);
    under = json_object_get(model, "hyperparameters");
    if (rc == SYN_OK && !values)
        rc = lay_under(spec, "hyperparameters", under, err);
    else if (rc == SYN_OK && json_is_object(values))
        for (at = json_object_iter(under); at && rc == SYN_OK;
             at = json_object_iter_next(under, at))
            rc = lay_under(values, json_object_iter_key(at), json_object_iter_value(at), err);
    if (rc == SYN_OK && ret_name)
        *ret_name = syn_json_str(model, "name", NULL);
    return rc;
}

static uint32_t
capability_read(const json_t *spec)
{
    uint32_t capability = 0;

    return syn_capability_parse(syn_json_str(spec, "gpu_capability", ""), &capability, NULL) < 0
               ? 0
               : capability;
}

void
syn_training_spec_read(const json_t *spec, struct syn_training_spec *ret)
{
    int isolation = syn_isolation_find(syn_json_str(spec, "isolation", "auto"));
    int policy = syn_fleet_policy_find(syn_json_str(spec, "policy", "balanced"));

    assert(isolation >= 0 && policy >= 0);
    *ret = (struct syn_training_spec){
        .framework = syn_json_str(spec, "framework", ""),
        .framework_version = syn_json_str(spec, "framework_version", ""),
        .image = syn_json_str(spec, "image", ""),
        .source = syn_json_str(spec, "source", ""),
        .entry = syn_json_str(spec, "entry", ""),
        .args = json_object_get(spec, "args"),
        .dataset = syn_json_str(spec, "dataset", ""),
        .hyperparameters = json_object_get(spec, "hyperparameters"),
        .amounts = {syn_json_i64(spec, "cpu_millicores", 0), syn_json_i64(spec, "memory_bytes", 0),
                    syn_json_i64(spec, "scratch_bytes", 0)},
        .gpus = syn_json_i64(spec, "gpus", 0),
        .gpus_max = syn_json_i64(spec, "gpus_max", 0),
        .gpu_model = syn_json_str(spec, "gpu_model", ""),
        .vram_min_bytes = syn_json_i64(spec, "vram_min_bytes", 0),
        .card = syn_card_read(spec),
        .workers = (uint32_t)syn_json_i64(spec, "workers", 0),
        .distributed = syn_json_str(spec, "distributed", ""),
        .max_budget = syn_document_amount(spec, "max_budget"),
        .max_price = SYN_MAX(syn_document_amount(spec, "max_price"), 0),
        .spot = syn_json_bool(spec, "spot", false),
        .reserved = syn_json_str(spec, "reserved", ""),
        .notice_ms = syn_json_i64(spec, "notice_ms", 0),
        .policy = (uint32_t)policy,
        .priority = syn_json_i64(spec, "priority", 0),
        .region = syn_json_str(spec, "region", ""),
        .bandwidth_bps = syn_json_i64(spec, "bandwidth_bps", 0),
        .gpu_capability = capability_read(spec),
        .labels = json_object_get(spec, "labels"),
        .latency_to = syn_json_str(spec, "latency_to", ""),
        .latency_max_ms = syn_json_i64(spec, "latency_max_ms", 0),
        .group = syn_json_str(spec, "group", ""),
        .affinity = json_object_get(spec, "affinity"),
        .anti_affinity = json_object_get(spec, "anti_affinity"),
        .spread = syn_json_str(spec, "spread", ""),
        .isolation = (enum syn_isolation)isolation,
        .stop_grace_ms = syn_json_i64(spec, "stop_grace_ms", 0),
        .time_limit_ms = syn_json_i64(spec, "time_limit_ms", 0),
        .retries_max = syn_json_i64(spec, "retries_max", 0),
        .env = json_object_get(spec, "env"),
    };
    assert(*ret->framework && *ret->entry && ret->workers > 0 && json_is_array(ret->args));
    assert(json_is_object(ret->hyperparameters) && json_is_object(ret->env));
}

struct syn_holding
syn_training_holding(const struct syn_training_spec *spec)
{
    struct syn_holding holding = {{0}};

    holding.amounts[SYN_QUOTA_JOBS] = 1;
    holding.amounts[SYN_QUOTA_CPU] = spec->amounts.cpu_millicores * spec->workers;
    holding.amounts[SYN_QUOTA_MEMORY] = spec->amounts.memory_bytes * spec->workers;
    holding.amounts[SYN_QUOTA_GPUS] = syn_card_least(&spec->card, spec->gpus) * spec->workers;
    return holding;
}

struct syn_holding
syn_training_holding_on(const struct syn_training_spec *spec, const struct syn_cluster *cluster)
{
    const struct syn_place_request request = syn_training_place_request(spec, "");
    struct syn_holding holding = syn_training_holding(spec);

    holding.amounts[SYN_QUOTA_GPUS] = syn_place_gpu_least(cluster, &request) * spec->workers;
    return holding;
}

/* The framework's Python runs .py files; an image brings its own. */
static bool
needs_framework(const struct syn_training_spec *spec)
{
    return syn_str_eq(spec->image, "host") && syn_str_ends(spec->entry, ".py") &&
           !syn_str_eq(spec->framework, "custom");
}

/* Below all that is not spot; among spot work by what it bids, in millionths of a SYNOR an hour. */
#define SPOT_LOWEST   (-2000000000)
#define SPOT_BIDS_MAX 1000000000
#define SPOT_BID_STEP (SYN_SYNOR / 1000000)

int64_t
syn_training_priority(const struct syn_training_spec *spec)
{
    if (*spec->reserved)
        return SYN_PLACE_PRIORITY_HELD;
    if (!spec->spot)
        return spec->priority;
    return SPOT_LOWEST + SYN_MIN(spec->max_price / SPOT_BID_STEP, SPOT_BIDS_MAX);
}

/* An object of tie_schema, or NULL. */
static struct syn_place_tie
tie_of(const json_t *tie)
{
    int scope = syn_place_scope_find(syn_json_str(tie, "domain", "node"));

    return (struct syn_place_tie){.group = syn_json_str(tie, "group", NULL),
                                  .scope = (enum syn_fleet_scope)SYN_MAX(scope, 0)};
}

struct syn_place_request
syn_training_place_request(const struct syn_training_spec *spec, const char *account)
{
    int spread = syn_place_scope_find(spec->spread);
    struct syn_place_request request = {
        .count = spec->workers,
        .amounts = spec->amounts,
        .gpus = spec->gpus,
        .gpus_max = spec->gpus_max,
        .gpu_model = spec->gpu_model,
        .vram_min_bytes = spec->vram_min_bytes,
        .region = spec->region,
        .isolation = spec->isolation,
        .framework = needs_framework(spec) ? spec->framework : NULL,
        .framework_version = spec->framework_version,
        /* The ranks' group network is a bridge of one node; nodes share no overlay yet. */
        .one_node = spec->workers > 1,
        .price_max = spec->max_price,
        .spot = spec->spot,
        .policy = (enum syn_fleet_policy)spec->policy,
        .bandwidth_bps = spec->bandwidth_bps,
        .capability = spec->gpu_capability,
        .near = spec->latency_to,
        .rtt_max_us = spec->latency_max_ms * 1000,
        .account = account,
        .group = spec->group,
        .with = tie_of(spec->affinity),
        .apart = tie_of(spec->anti_affinity),
        .even = spread >= 0,
        .even_scope = (enum syn_fleet_scope)SYN_MAX(spread, 0),
    };
    const json_t *text;
    size_t i;

    syn_card_request(&spec->card, &request);
    json_array_foreach (spec->labels, i, text)
        if (i < SYN_PLACE_LABELS_MAX)
            request.labels[i] = json_string_value(text);
    return request;
}

void
syn_training_take_units(const struct syn_training_spec *spec,
                        const struct syn_training_units *units, struct syn_place_request *request)
{
    if (!*spec->reserved || !units)
        return;
    request->good = units->good;
    request->sellers = units->sellers;
    request->sellers_count = units->sellers_count;
}

int
syn_training_units_explain(const struct syn_training_spec *spec,
                           const struct syn_training_units *units, json_t *why, json_t *fix,
                           struct syn_err *err)
{
    const struct syn_place_request request = syn_training_place_request(spec, "");
    int64_t need = syn_place_units(&request), have = units ? units->have : 0;
    char text[512];
    json_t *row = NULL;
    int rc;

    if (!*spec->reserved || have >= need)
        return SYN_OK;
    (void)snprintf(text, sizeof(text), "it takes %lld %s of %s, and the account holds %lld",
                   (long long)need, syn_plural(need, "unit", "units"), spec->reserved,
                   (long long)have);
    rc = syn_json_pack(&row, err, "{s:s, s:n, s:I, s:I, s:s}", "dimension", "units", "node", "need",
                       (json_int_t)need, "have", (json_int_t)have, "message", text);
    if (rc == SYN_OK)
        rc = syn_json_append_take(why, row, err);
    (void)snprintf(text, sizeof(text), "buy %lld more: synor market buy %s %lld --price PRICE",
                   (long long)(need - have), spec->reserved, (long long)(need - have));
    return rc < 0 ? rc : syn_json_append_take(fix, json_string(text), err);
}
