#include <synor/workload/training_command.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_spec.h>

#include "../work_priv.h"

/* Ranks of a gang share one small network of their own: 10.214.0.0/24 with rank r at .(r + 2). It
 * is private to the gang's network group, so every gang may use the same addresses. */
#define GROUP_ADDRESS_FORMAT "10.214.0.%u"
#define GROUP_ADDRESS_FIRST  2
#define RANK_NAME_FORMAT     "rank-%u"

struct rank {
    const json_t *job;
    const json_t *status;
    const struct syn_placement *placement;
    const struct syn_place_slot *slot;
    struct syn_training_spec spec;
    uint32_t rank;
    uint32_t local_rank;
    uint32_t local_world;
    char id[SYN_ID_MAX];
};

void
syn_training_instance_id(const json_t *job, int64_t attempt, uint32_t rank, char out[SYN_ID_MAX])
{
    int n = snprintf(out, SYN_ID_MAX, "inst-%s-%lld-%lld-%u", work_own_part(job),
                     (long long)work_run(job), (long long)attempt, rank);

    assert(n > 0 && n < SYN_ID_MAX);
}

void
syn_training_bill_id(const json_t *job, char out[SYN_ID_MAX])
{
    int n = snprintf(out, SYN_ID_MAX, "bill-%s-%lld", work_own_part(job), (long long)work_run(job));

    assert(n > 0 && n < SYN_ID_MAX);
}

static void
address_of(const struct rank *rank, uint32_t other, char *out, size_t cap)
{
    if (rank->spec.workers == 1)
        (void)snprintf(out, cap, "127.0.0.1");
    else
        (void)snprintf(out, cap, GROUP_ADDRESS_FORMAT, other + GROUP_ADDRESS_FIRST);
}

int
syn_training_hyperparameters(const json_t *spec, json_t **ret, struct syn_err *err)
{
    static const char *const named[] = {"epochs",        "batch_size", "gradient_accumulation",
                                        "learning_rate", "optimizer",  "mixed_precision"};
    int64_t interval = syn_json_i64(spec, "checkpoint_interval", 0);
    const char *distributed = syn_json_str(spec, "distributed", "none");
    int rc = SYN_OK;
    SYN_JSON(values);

    values = syn_json_deep_copy(json_object_get(spec, "hyperparameters"));
    if (!values)
        return SYN_FAIL(err, SYN_E_NOMEM, "copying hyperparameters: out of memory");
    for (size_t i = 0; i < SYN_LEN(named) && rc == SYN_OK; i++) {
        json_t *value = json_object_get(spec, named[i]);

        if (value)
            rc = syn_json_set_take(values, named[i], syn_json_deep_copy(value), err);
    }
    if (rc == SYN_OK && interval > 0)
        rc = syn_json_set_i64(values, "checkpoint_interval", interval, err);
    if (rc == SYN_OK && !syn_str_eq(distributed, "none"))
        rc = syn_json_set_str(values, "distributed", distributed, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(values);
    return SYN_OK;
}

/* ---- argv ---- */

/* An executable program runs itself. Content has no modes, so a script usually is not executable:
 * then its first line says what runs it, as the kernel would read it, and without one the shell
 * does. */
#define SHELL_RUNS                                                       \
    "test -x \"$0\" && exec \"$0\" \"$@\"; IFS= read -r first <\"$0\"; " \
    "case $first in \"#!\"*) exec ${first#??} \"$0\" \"$@\";; esac; "    \
    "exec /bin/sh \"$0\" \"$@\""

/* What stands before the program, NULL-ended. The host's python has a known place; in an image the
 * search path finds it. */
static const char *const *
prefix_of(const struct syn_training_spec *spec)
{
    static const char *const host_python[] = {"/usr/bin/python3", "-u", NULL};
    static const char *const image_python[] = {"python3", "-u", NULL};
    static const char *const shell[] = {"/bin/sh", "-c", SHELL_RUNS, NULL};
    static const char *const none[] = {NULL};

    if (syn_str_ends(spec->entry, ".py"))
        return syn_str_eq(spec->image, "host") ? host_python : image_python;
    return syn_str_ends(spec->entry, ".sh") ? shell : none;
}

static int
make_argv(const struct syn_training_spec *spec, json_t **ret, struct syn_err *err)
{
    SYN_JSON(argv);
    char entry[640];
    const json_t *arg;
    size_t i;
    int rc = SYN_OK;

    argv = json_array();
    if (!argv)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a command: out of memory");
    for (const char *const *part = prefix_of(spec); *part && rc == SYN_OK; part++)
        rc = syn_json_append_take(argv, json_string(*part), err);
    (void)snprintf(entry, sizeof(entry), "%s%s", *spec->source ? SYN_TRAINING_DIR_CODE "/" : "",
                   spec->entry);
    if (rc == SYN_OK)
        rc = syn_json_append_take(argv, json_string(entry), err);
    json_array_foreach (spec->args, i, arg) {
        if (rc == SYN_OK)
            rc = syn_json_append_take(argv, syn_json_deep_copy(arg), err);
    }
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(argv);
    return SYN_OK;
}

/* ---- environment ---- */

static int
set_number(json_t *env, const char *name, int64_t value, struct syn_err *err)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    return syn_json_set_str(env, name, text, err);
}

static int
env_torchrun(const struct rank *rank, json_t *env, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"RANK", rank->rank},
        {"LOCAL_RANK", rank->local_rank},
        {"WORLD_SIZE", rank->spec.workers},
        {"LOCAL_WORLD_SIZE", rank->local_world},
        {"MASTER_PORT", SYN_TRAINING_MASTER_PORT},
    };
    char master[64];
    int rc;

    address_of(rank, 0, master, sizeof(master));
    rc = syn_json_set_str(env, "MASTER_ADDR", master, err);
    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++)
        rc = set_number(env, numbers[i].name, numbers[i].value, err);
    return rc;
}

static int
env_platform(const struct rank *rank, json_t *env, struct syn_err *err)
{
    const char *interface = rank->spec.workers > 1 ? SYN_TRAINING_INTERFACE : NULL;
    bool host = syn_str_eq(rank->spec.image, "host");
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        {"GLOO_SOCKET_IFNAME", interface},
        {"NCCL_SOCKET_IFNAME", interface},
        {"SYNOR_JOB_ID", syn_document_id(rank->job)},
        {"SYNOR_INSTANCE_ID", rank->id},
        {"SYNOR_CODE_DIR", SYN_TRAINING_DIR_CODE},
        {"SYNOR_DATASET_DIR", SYN_TRAINING_DIR_DATASET},
        {"SYNOR_CHECKPOINT_DIR", SYN_TRAINING_DIR_CHECKPOINTS},
        {"SYNOR_OUTPUT_DIR", SYN_TRAINING_DIR_OUTPUT},
        {"SYNOR_SCRATCH_DIR", SYN_TRAINING_DIR_SCRATCH},
        {"HOME", SYN_TRAINING_DIR_SCRATCH},
        {"TMPDIR", SYN_TRAINING_DIR_SCRATCH},
        {"SYNOR_HYPERPARAMETERS", SYN_TRAINING_HYPERPARAMETERS},
        {"SYNOR_PROGRESS", SYN_TRAINING_PROGRESS},
        {"SYNOR_NOTICE", SYN_TRAINING_NOTICE},
        {"PYTHONUNBUFFERED", "1"},
        {"PATH", host ? "/usr/local/bin:/usr/bin:/bin" : NULL}, /* an image knows its own */
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(texts) && rc == SYN_OK; i++)
        if (texts[i].value)
            rc = syn_json_set_str(env, texts[i].name, texts[i].value, err);
    return rc < 0 ? rc : set_number(env, "SYNOR_STOP_GRACE_MS", rank->spec.stop_grace_ms, err);
}

static int
make_env(const struct rank *rank, json_t **ret, struct syn_err *err)
{
    SYN_JSON(env);
    int rc;

    env = syn_json_deep_copy(rank->spec.env);
    if (!env)
        return SYN_FAIL(err, SYN_E_NOMEM, "making an environment: out of memory");
    rc = env_torchrun(rank, env, err);
    if (rc == SYN_OK)
        rc = env_platform(rank, env, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(env);
    return SYN_OK;
}

/* ---- network ---- */

static int
add_host(const struct rank *rank, uint32_t other, json_t *hosts, struct syn_err *err)
{
    char name[32], address[64];
    SYN_JSON(host);
    int rc;

    (void)snprintf(name, sizeof(name), RANK_NAME_FORMAT, other);
    address_of(rank, other, address, sizeof(address));
    rc = syn_json_pack(&host, err, "{s:s, s:s}", "name", name, "address", address);
    return rc < 0 ? rc : syn_json_append_take(hosts, SYN_TAKE(host), err);
}

static int
make_network(const struct rank *rank, json_t **ret, struct syn_err *err)
{
    char group[SYN_ID_MAX], address[64], with_prefix[72];
    SYN_JSON(hosts);
    int rc = SYN_OK;

    if (rank->spec.workers == 1)
        return syn_json_pack(ret, err, "{s:s}", "mode", "none");
    hosts = json_array();
    if (!hosts)
        return SYN_FAIL(err, SYN_E_NOMEM, "making a network: out of memory");
    for (uint32_t other = 0; other < rank->spec.workers && rc == SYN_OK; other++)
        rc = add_host(rank, other, hosts, err);
    if (rc < 0)
        return rc;
    (void)snprintf(group, sizeof(group), "%s-%lld-%lld", work_own_part(rank->job),
                   (long long)work_run(rank->job),
                   (long long)syn_json_i64(rank->status, "attempt", 0));
    address_of(rank, rank->rank, address, sizeof(address));
    (void)snprintf(with_prefix, sizeof(with_prefix), "%s/24", address);
    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:O}", "mode", "group", "group", group,
                         "address", with_prefix, "hosts", hosts);
}

/* ---- the document ---- */

static void
count_locals(struct rank *rank)
{
    for (uint32_t i = 0; i < rank->placement->count; i++) {
        if (!syn_str_eq(rank->placement->slots[i].node, rank->slot->node))
            continue;
        rank->local_world++;
        rank->local_rank += i < rank->rank;
    }
}

static int
make_resources(const struct rank *rank, json_t **ret, struct syn_err *err)
{
    const struct syn_amounts *amounts = &rank->spec.amounts;
    const struct syn_place_request request = syn_training_place_request(&rank->spec, "");
    SYN_JSON(made);
    int rc = syn_json_pack(
        &made, err, "{s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:i}", "cpu_millicores",
        (json_int_t)amounts->cpu_millicores, "memory_bytes", (json_int_t)amounts->memory_bytes,
        "scratch_bytes", (json_int_t)amounts->scratch_bytes, "bandwidth_bps",
        (json_int_t)rank->spec.bandwidth_bps, "gpus", (json_int_t)rank->placement->gpus,
        "gpu_model", rank->slot->gpu_model, "gpu_vram_bytes",
        (json_int_t)rank->slot->gpu_vram_bytes, "pids", SYN_TRAINING_PIDS);

    if (rc == SYN_OK)
        rc = syn_place_resources(&request, rank->slot, rank->placement->gpus, made, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

/* What is left of the run's time; at least 1 ms, since 0 means no limit. */
static int64_t
time_left_ms(const struct rank *rank, int64_t now_ms)
{
    int64_t started_ms = syn_document_time(rank->status, "started_at");
    int64_t limit_ms = rank->spec.time_limit_ms;

    if (limit_ms == 0 || started_ms == SYN_DOCUMENT_NONE)
        return limit_ms;
    return SYN_MAX(limit_ms - (now_ms - started_ms), 1);
}

static int
spec_numbers(const struct rank *rank, int64_t now_ms, json_t *spec, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"run", work_run(rank->job)},
        {"attempt", syn_json_i64(rank->status, "attempt", 0)},
        {"rank", rank->rank},
        {"world", rank->spec.workers},
        {"local_rank", rank->local_rank},
        {"local_world", rank->local_world},
        {"stop_grace_ms", rank->spec.stop_grace_ms},
        {"time_limit_ms", time_left_ms(rank, now_ms)},
        {"priority", syn_training_priority(&rank->spec)},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++)
        rc = syn_json_set_i64(spec, numbers[i].name, numbers[i].value, err);
    return rc;
}

static int
spec_texts(const struct rank *rank, json_t *spec, struct syn_err *err)
{
    const json_t *checkpoint = json_object_get(rank->status, "checkpoint");
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        {"job", syn_document_id(rank->job)},
        {"node", rank->slot->node},
        {"isolation", syn_isolation_name(rank->slot->isolation)},
        {"image", rank->spec.image},
        {"cwd", SYN_TRAINING_DIR_CODE},
        {"code_cid", syn_json_str(rank->status, "source_cid", "")},
        {"dataset_cid", syn_json_str(rank->status, "dataset_cid", "")},
        {"image_cid", syn_json_str(rank->status, "image_cid", "")},
        {"checkpoint_cid", syn_json_str(checkpoint, "cid", "")},
        {"desired", "running"},
        {"stop_reason", ""},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(texts) && rc == SYN_OK; i++)
        rc = syn_json_set_str(spec, texts[i].name, texts[i].value, err);
    return rc;
}

static int
spec_parts(const struct rank *rank, json_t *spec, struct syn_err *err)
{
    json_t *part = NULL;
    int rc = make_argv(&rank->spec, &part, err);

    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "argv", part, err);
    if (rc == SYN_OK)
        rc = make_env(rank, &part, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "env", part, err);
    if (rc == SYN_OK)
        rc = make_resources(rank, &part, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "resources", part, err);
    if (rc == SYN_OK)
        rc = make_network(rank, &part, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(spec, "network", part, err);
    if (rc == SYN_OK)
        rc = syn_training_hyperparameters(syn_document_spec(rank->job), &part, err);
    return rc < 0 ? rc : syn_json_set_take(spec, "hyperparameters", part, err);
}

static int
status_init(json_t *doc, struct syn_err *err)
{
    static const char *const nulls[] = {"exit_code", "signal", "started_at", "ended_at",
                                        "usage_seq_last"};
    json_t *status = syn_document_status(doc);
    int rc = syn_document_set_state(doc, "assigned", "assigned", "the node has not taken it up yet",
                                    err);

    for (size_t i = 0; i < SYN_LEN(nulls) && rc == SYN_OK; i++)
        rc = syn_json_set_str(status, nulls[i], NULL, err);
    return rc < 0 ? rc : syn_json_set_i64(status, "usage_seq", 0, err);
}

int
syn_training_instance_make(const json_t *job, const struct syn_placement *placement,
                           uint32_t number, int64_t now_ms, const json_t *lease, json_t **ret,
                           struct syn_err *err)
{
    struct rank rank = {.job = job, .placement = placement, .rank = number};
    const struct syn_document_new new_doc = {.kind = "instance",
                                             .id = rank.id,
                                             .account = syn_json_str(job, "account", ""),
                                             .now_ms = now_ms};
    SYN_JSON(spec);
    SYN_JSON(doc);
    int rc;

    assert(number < placement->count);
    rank.status = syn_document_status(job);
    rank.slot = &placement->slots[number];
    syn_training_spec_read(syn_document_spec(job), &rank.spec);
    syn_training_instance_id(job, syn_json_i64(rank.status, "attempt", 0), number, rank.id);
    count_locals(&rank);
    spec = json_object();
    if (!spec)
        return SYN_FAIL(err, SYN_E_NOMEM, "making %s: out of memory", rank.id);
    rc = spec_texts(&rank, spec, err);
    if (rc == SYN_OK)
        rc = spec_numbers(&rank, now_ms, spec, err);
    if (rc == SYN_OK)
        rc = spec_parts(&rank, spec, err);
    /* Ranks share a node: one stands for all of them in the group. */
    if (rc == SYN_OK && number == 0 && *rank.spec.group)
        rc = syn_json_set_str(spec, "group", rank.spec.group, err);
    if (rc == SYN_OK && lease)
        rc = syn_json_set_take(spec, "lease", syn_json_deep_copy(lease), err);
    if (rc == SYN_OK)
        rc = syn_document_make_take(&new_doc, SYN_TAKE(spec), &doc, err);
    if (rc == SYN_OK)
        rc = status_init(doc, err);
    if (rc < 0)
        return rc;
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}
