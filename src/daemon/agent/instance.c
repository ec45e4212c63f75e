/* The life of one instance on this node, told straight through. Every step may be interrupted by a
 * crash: the next agent begins at the top and finds, in the instance's folder and at the server,
 * how far it came. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#include "agent_priv.h"

#define BINDS_MAX 8
#define HOSTS_MAX 64

const char *
agt_job_path(const struct syn_agent *agent, const char *id, const char *name, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/jobs/%s%s%s", agent->data_dir, id,
                   name[0] == '\0' ? "" : "/", name);
    return out;
}

static const char *
run_path(const struct agt_instance *instance, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/instances/%s", instance->agent->data_dir, instance->id);
    return out;
}

/* --- the document ------------------------------------------------------------------------------
 */

struct agt_doc *
agt_doc_new(const json_t *json)
{
    struct agt_doc *doc = syn_calloc(1, sizeof(*doc));

    if (doc == NULL)
        return NULL;
    atomic_init(&doc->refs, 1);
    doc->json = json_deep_copy(json);
    return doc->json != NULL ? doc : agt_doc_unref(doc);
}

struct agt_doc *
agt_doc_ref(struct agt_doc *doc)
{
    atomic_fetch_add(&doc->refs, 1);
    return doc;
}

struct agt_doc *
agt_doc_unref(struct agt_doc *doc)
{
    if (doc != NULL && atomic_fetch_sub(&doc->refs, 1) == 1) {
        json_decref(doc->json);
        syn_free(doc);
    }
    return NULL;
}

static void
doc_scope(struct agt_doc **slot)
{
    *slot = agt_doc_unref(*slot);
}

/* A reference to the newest document, and whether the server still wants the instance. */
static struct agt_doc *
newest_doc(struct agt_instance *instance, bool *ret_gone)
{
    struct agt_doc *doc;

    (void)pthread_mutex_lock(&instance->agent->lock);
    doc = agt_doc_ref(instance->doc);
    *ret_gone = instance->gone;
    instance->changed = false;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return doc;
}

/* Write a file of the instance, whole at any moment. It need not survive a power cut, since nothing
 * runs after one that only this file knows of: so nobody waits for the disk on the way to the
 * program's start. */
int
agt_keep_file(const struct agt_instance *instance, const char *name, const char *data, size_t len,
              struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    char temp[AGT_PATH_MAX + 8];
    FILE *file;
    bool bad;
    int fd;
    int rc;

    (void)snprintf(temp, sizeof(temp), "%s.tmp",
                   agt_job_path(instance->agent, instance->id, name, path));
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL) {
        rc = SYN_FAIL_SYS(err, errno, "creating %s", temp);
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    bad = fwrite(data, 1, len, file) != len;
    bad = fclose(file) != 0 || bad;
    if (!bad && rename(temp, path) == 0)
        return SYN_OK;
    rc = SYN_FAIL_SYS(err, errno, "writing %s", path);
    (void)unlink(temp);
    return rc;
}

/* Keep the document beside the instance, for an agent that starts while the server is away. */
static int
keep_doc(const struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(text);
    int rc = syn_json_write(doc, &text, err);

    if (rc < 0)
        return rc;
    if (mkdir(agt_job_path(instance->agent, instance->id, "", path), 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return agt_keep_file(instance, "doc.json", text.data, text.len, err);
}

/* Keep which boot of the machine the instance started in. */
static int
keep_boot(const struct agt_instance *instance, struct syn_err *err)
{
    char boot[AGT_BOOT_MAX];

    agt_boot_id(boot, sizeof(boot));
    return agt_keep_file(instance, "boot_id", boot, strlen(boot), err);
}

/* Has the machine been started anew since? */
static bool
rebooted_since(const struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];
    char boot[AGT_BOOT_MAX];
    SYN_BUF(kept);

    agt_boot_id(boot, sizeof(boot));
    return syn_secret_file_read(agt_job_path(instance->agent, instance->id, "boot_id", path), &kept,
                                NULL) == SYN_OK &&
           kept.len > 0 && !syn_str_eq(syn_buf_text(&kept), boot);
}

/* --- reporting ---------------------------------------------------------------------------------
 */

static int
report(struct agt_instance *instance, json_t *status_take, struct syn_err *err)
{
    char path[128];
    SYN_JSON(status);
    int rc;

    status = status_take;
    if (status == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a report");
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/status", instance->id);
    rc = agt_call(instance->agent, instance->client, "POST", path, status, NULL, err);
    if (rc == SYN_E_CONFLICT) {
        syn_log_err(SYN_LOG_DEBUG, "instance.report-refused",
                    err); /* the server knows more already */
        return SYN_OK;
    }
    return rc;
}

static const char *
sandbox_name(const struct agt_instance *instance)
{
    const struct syn_agent *agent = instance->agent;

    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->works[i] && agent->runtimes[i].self == instance->runtime.self)
            return agent->infos[i].sandbox;
    }
    return "";
}

static int
report_running(struct agt_instance *instance, const struct syn_instance_status *status,
               struct syn_err *err)
{
    char at[SYN_FORMAT_MAX];

    return report(instance,
                  json_pack("{s:s, s:s, s:s, s:s, s:s}", "state", "running", "reason", "running",
                            "message", "The program runs.", "started_at",
                            syn_format_time(status->started_at_ms, at), "isolation",
                            sandbox_name(instance)),
                  err);
}

int
agt_report_preparing(struct agt_instance *instance, struct syn_err *err)
{
    if (instance->preparing_told)
        return SYN_OK;
    instance->preparing_told = true;
    return report(instance,
                  json_pack("{s:s, s:s, s:s}", "state", "preparing", "reason", "preparing",
                            "message", "The node fetches content and makes the sandbox."),
                  err);
}

/* The reason word of the API: the runtime's, made more exact by what else it saw. */
static const char *
exit_reason(const struct syn_instance_status *status)
{
    if (status->reason == SYN_EXIT_FAILED && status->scratch_full)
        return "scratch-full";
    if (status->reason == SYN_EXIT_FAILED && status->pids_limit_hits > 0)
        return "pids-limit";
    return syn_exit_reason_name(status->reason);
}

static int
report_exit(struct agt_instance *instance, const struct syn_instance_status *status,
            struct syn_err *err)
{
    bool lost = status->reason == SYN_EXIT_LOST;
    bool rebooted = lost && rebooted_since(instance);
    char started[SYN_FORMAT_MAX];
    char ended[SYN_FORMAT_MAX];
    const char *reason = rebooted ? "node-rebooted" : lost ? "lost" : exit_reason(status);
    const char *message = rebooted                     ? "The node was restarted while it ran."
                          : status->message[0] != '\0' ? status->message
                                                       : "The program has ended.";
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:s?, s:s, s:s, s:I, s:{s:I, s:I, s:b}}", "state",
        lost ? "lost" : "exited", "reason", reason, "message", message, "exit_code",
        status->exit_code, "signal", status->signal, "started_at",
        status->started_at_ms > 0 ? syn_format_time(status->started_at_ms, started) : NULL,
        "ended_at", syn_format_time(status->ended_at_ms, ended), "isolation",
        sandbox_name(instance), "usage_seq_last",
        (json_int_t)(instance->ship != NULL ? agt_ship_usage_seq(instance->ship) : 0), "detail",
        "oom_kills", (json_int_t)status->oom_kills, "pids_limit_hits",
        (json_int_t)status->pids_limit_hits, "scratch_full", status->scratch_full ? 1 : 0);

    return report(instance, body, err);
}

/* It never came to life: say why, as an exit. */
static int
report_unborn(struct agt_instance *instance, const struct syn_err *why, struct syn_err *err)
{
    struct syn_instance_status status = {
        .state = SYN_INSTANCE_EXITED, .reason = SYN_EXIT_START, .exit_code = 127};

    status.ended_at_ms = syn_wall_ms(instance->agent->world);
    (void)syn_str_copy(status.message, sizeof(status.message), why->msg);
    return report_exit(instance, &status, err);
}

/* --- preparing ---------------------------------------------------------------------------------
 */

/* Everything that a syn_instance_spec points at. */
struct wish {
    struct syn_instance_spec spec;
    const char **argv;
    char **env;
    size_t env_count;
    struct syn_bind binds[BINDS_MAX];
    struct syn_host_entry hosts[HOSTS_MAX];
    char dir[AGT_PATH_MAX];
    char code[AGT_PATH_MAX];
    char dataset[AGT_PATH_MAX];
    char config[AGT_PATH_MAX];
    char rootfs[AGT_PATH_MAX];
    struct syn_oci_layout *image; /* NULL: the host's /usr */
    struct syn_gpu_grant *gpus;   /* NULL: it has none */
};

static void
wish_fini(struct wish *wish)
{
    for (size_t i = 0; i < wish->env_count; i++)
        syn_free(wish->env[i]);
    syn_free((void *)wish->env);
    syn_free((void *)wish->argv);
    wish->image = syn_oci_layout_close(wish->image);
    wish->gpus = syn_gpu_grant_free(wish->gpus);
}

static int
wish_argv(struct wish *wish, const json_t *list, struct syn_err *err)
{
    size_t i;
    json_t *word;

    wish->argv = syn_calloc(json_array_size(list) + 1, sizeof(*wish->argv));
    if (wish->argv == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a command line");
    json_array_foreach (list, i, word)
        wish->argv[i] = json_string_value(word);
    wish->spec.argv = wish->argv;
    return SYN_OK;
}

/* Is `name` in a list of "NAME=value"? */
static bool
env_has(const char *const *pairs, const char *name)
{
    size_t len = strlen(name);

    for (; *pairs != NULL; pairs++) {
        if (strncmp(*pairs, name, len) == 0 && (*pairs)[len] == '=')
            return true;
    }
    return false;
}

static int
add_env_take(struct wish *wish, char *pair, struct syn_err *err)
{
    if (pair == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    wish->env[wish->env_count++] = pair;
    return SYN_OK;
}

/* What the image sets and nobody who comes before it does. */
static int
wish_image_env(struct wish *wish, const char *const *pairs, struct syn_err *err)
{
    int rc = SYN_OK;

    for (; rc == SYN_OK && *pairs != NULL; pairs++) {
        SYN_SCOPED(syn_free_scope) char *name = syn_strndup(*pairs, strcspn(*pairs, "="));

        if (name == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
        if (!env_has((const char *const *)wish->env, name))
            rc = add_env_take(wish, syn_strdup(*pairs), err);
    }
    return rc;
}

/* In this order, the first one wins: what the node gives, the job, the image. */
static int
wish_env(struct wish *wish, json_t *env, struct syn_err *err)
{
    static const char *const none[] = {NULL};
    const char *const *image = wish->image != NULL ? syn_oci_layout_config(wish->image)->env : none;
    const char *const *node = wish->gpus != NULL ? wish->gpus->env : none;
    size_t room = json_object_size(env) + 1;
    const char *name;
    json_t *value;
    int rc = SYN_OK;

    for (size_t i = 0; image[i] != NULL; i++)
        room++;
    for (size_t i = 0; node[i] != NULL; i++)
        room++;
    wish->env = syn_calloc(room, sizeof(*wish->env));
    if (wish->env == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    for (size_t i = 0; rc == SYN_OK && node[i] != NULL; i++)
        rc = add_env_take(wish, syn_strdup(node[i]), err);
    json_object_foreach (env, name, value) {
        SYN_BUF(text);
        char *pair = NULL;

        if (rc < 0 || env_has(node, name))
            continue;
        syn_buf_addf(&text, "%s=%s", name, json_string_value(value));
        rc = syn_buf_take(&text, &pair, NULL, err);
        if (rc == SYN_OK)
            rc = add_env_take(wish, pair, err);
    }
    wish->spec.env = (const char *const *)wish->env;
    return rc < 0 ? rc : wish_image_env(wish, image, err);
}

/* The root file system, and what the image says where the job says nothing. */
static int
wish_image(struct agt_instance *instance, struct wish *wish, const json_t *spec,
           struct syn_err *err)
{
    const struct syn_oci_config *config;
    char inside[2 * AGT_PATH_MAX];
    int rc;

    if (syn_str_eq(syn_json_str(spec, "image", "host"), "host"))
        return SYN_OK;
    rc = agt_image(instance, syn_json_str(spec, "image_cid", ""), &wish->image, wish->rootfs, err);
    if (rc < 0)
        return rc;
    config = syn_oci_layout_config(wish->image);
    wish->spec.rootfs = wish->rootfs;
    agt_image_user(config, &wish->spec.uid, &wish->spec.gid);
    if (syn_json_str(spec, "code_cid", "")[0] != '\0')
        return SYN_OK;
    /* Without code there is no folder of code to start in. */
    (void)snprintf(inside, sizeof(inside), "%s%.1000s", wish->rootfs, config->working_dir);
    wish->spec.cwd =
        config->working_dir[0] == '/' && access(inside, F_OK) == 0 ? config->working_dir : NULL;
    return SYN_OK;
}

static void
add_bind(struct wish *wish, const char *host, const char *container)
{
    assert(wish->spec.binds_count < BINDS_MAX);
    wish->binds[wish->spec.binds_count++] = (struct syn_bind){host, container, true};
    wish->spec.binds = wish->binds;
}

/* A folder beside the instance that its program may read. */
static int
make_folder(const struct agt_instance *instance, const char *name, char *out, struct syn_err *err)
{
    (void)agt_job_path(instance->agent, instance->id, name, out);
    if (mkdir(out, 0755) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", out);
    (void)chmod(out, 0755);
    return SYN_OK;
}

/* hyperparameters.json, in a folder that is bound read-only to /synor/config. */
static int
write_config(struct agt_instance *instance, struct wish *wish, const json_t *parameters,
             struct syn_err *err)
{
    char path[AGT_PATH_MAX + 32];
    SYN_BUF(text);
    FILE *file;
    int rc = syn_json_write_pretty(parameters, &text, err);
    bool bad;

    if (rc < 0)
        return rc;
    rc = make_folder(instance, "config", wish->config, err);
    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "%s/hyperparameters.json", wish->config);
    file = fopen(path, "we");
    bad = file == NULL || fwrite(text.data, 1, text.len, file) != text.len;
    if (file != NULL && fclose(file) != 0)
        bad = true;
    if (bad)
        return SYN_FAIL_SYS(err, errno, "writing %s", path);
    (void)chmod(path, 0644);
    add_bind(wish, wish->config, "/synor/config");
    return SYN_OK;
}

static int
wish_content(struct agt_instance *instance, struct wish *wish, const json_t *spec,
             struct syn_err *err)
{
    const char *code = syn_json_str(spec, "code_cid", "");
    const char *dataset = syn_json_str(spec, "dataset_cid", "");
    int rc = SYN_OK;

    if (code[0] != '\0') {
        rc = agt_fetch(instance, code, wish->code, err);
        add_bind(wish, wish->code, "/synor/code");
    }
    if (rc == SYN_OK)
        rc = dataset[0] != '\0' ? agt_fetch(instance, dataset, wish->dataset, err)
                                : make_folder(instance, "dataset", wish->dataset, err);
    if (rc == SYN_OK)
        add_bind(wish, wish->dataset, "/synor/dataset");
    return rc < 0 ? rc
                  : write_config(instance, wish, json_object_get(spec, "hyperparameters"), err);
}

static void
wish_network(struct wish *wish, const json_t *network)
{
    size_t i;
    json_t *host;

    if (!syn_str_eq(syn_json_str(network, "mode", "none"), "group"))
        return;
    wish->spec.network = SYN_NETWORK_GROUP;
    wish->spec.group = syn_json_str(network, "group", NULL);
    wish->spec.address = syn_json_str(network, "address", NULL);
    json_array_foreach (json_object_get(network, "hosts"), i, host) {
        if (i < HOSTS_MAX)
            wish->hosts[wish->spec.hosts_count++] = (struct syn_host_entry){
                syn_json_str(host, "name", ""), syn_json_str(host, "address", "")};
    }
    wish->spec.hosts = wish->hosts;
}

/* The instance's own cards, and what it needs to use them. */
static int
wish_gpus(struct agt_instance *instance, struct wish *wish, const json_t *doc, struct syn_err *err)
{
    struct syn_gpu gpus[SYN_GPUS_MAX];
    size_t count = 0;
    int rc = agt_gpus_claim(instance, doc, gpus, &count, err);

    if (rc < 0 || count == 0)
        return rc;
    rc = syn_gpu_grant_new(gpus, count, "", wish->spec.rootfs, &wish->gpus, err);
    if (rc < 0)
        return rc;
    wish->spec.devices = wish->gpus->devices;
    wish->spec.drivers = wish->gpus->libraries;
    wish->spec.drivers_count = wish->gpus->libraries_count;
    return SYN_OK;
}

static int
make_wish(struct agt_instance *instance, const json_t *doc, struct wish *wish, struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");
    const json_t *resources = json_object_get(spec, "resources");
    int rc;

    wish->spec.id = instance->id;
    wish->spec.dir = run_path(instance, wish->dir);
    wish->spec.cwd = syn_json_str(spec, "cwd", NULL);
    wish->spec.scratch_bytes = syn_json_i64(resources, "scratch_bytes", 0);
    wish->spec.cpu_millicores = syn_json_i64(resources, "cpu_millicores", 0);
    wish->spec.memory_bytes = syn_json_i64(resources, "memory_bytes", 0);
    wish->spec.pids_max = syn_json_i64(resources, "pids", 0);
    wish->spec.wall_ms = syn_json_i64(spec, "time_limit_ms", 0);
    wish->spec.grace_ms = syn_json_i64(spec, "stop_grace_ms", 0);
    wish_network(wish, json_object_get(spec, "network"));
    rc = wish_image(instance, wish, spec, err);
    if (rc == SYN_OK)
        rc = wish_gpus(instance, wish, doc, err);
    if (rc == SYN_OK)
        rc = wish_argv(wish, json_object_get(spec, "argv"), err);
    if (rc == SYN_OK)
        rc = wish_env(wish, json_object_get(spec, "env"), err);
    return rc < 0 ? rc : wish_content(instance, wish, spec, err);
}

/* The driver that the document's isolation means here. */
static int
choose_runtime(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    const char *wanted = syn_json_str(json_object_get(doc, "spec"), "isolation", "auto");
    bool gpus = json_integer_value(syn_json_at(doc, "spec.resources.gpus")) > 0;

    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->works[i] && (!gpus || agent->infos[i].gpus) &&
            (syn_str_eq(wanted, "auto") || syn_str_eq(wanted, agent->infos[i].sandbox))) {
            instance->runtime = agent->runtimes[i];
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the sandbox %s does not work on this node%s", wanted,
                    gpus ? ", or cannot pass GPUs on" : "");
}

/* Rank 0's folder is the checkpoint. */
static int
open_snapshots(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    if (instance->snapshots != NULL || syn_json_i64(json_object_get(doc, "spec"), "rank", 0) != 0)
        return SYN_OK;
    return agt_snapshots_new(instance, &instance->snapshots, err);
}

static int
prepare(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    SYN_SCOPED(wish_fini) struct wish wish = {0};
    const char *checkpoint = syn_json_str(json_object_get(doc, "spec"), "checkpoint_cid", "");
    int rc = make_wish(instance, doc, &wish, err);

    if (rc == SYN_OK)
        rc = instance->runtime.ops->prepare(instance->runtime.self, &wish.spec, &instance->handle,
                                            err);
    if (rc < 0)
        return rc;
    instance->paths = instance->runtime.ops->paths(instance->handle);
    rc = keep_boot(instance, err);
    if (rc == SYN_OK && checkpoint[0] != '\0')
        rc = agt_fetch_into(instance, checkpoint, instance->paths->checkpoints, err);
    if (rc == SYN_OK)
        rc = open_snapshots(instance, doc, err);
    if (rc == SYN_OK && instance->snapshots != NULL)
        rc = agt_snapshots_known(instance->snapshots, err);
    return rc < 0 ? rc
                  : instance->runtime.ops->start(instance->runtime.self, instance->handle, err);
}

/* --- running -----------------------------------------------------------------------------------
 */

/* Ask it to stop if the server wants that. */
static int
heed(struct agt_instance *instance, const json_t *doc, bool gone, struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");

    if (!gone && syn_str_eq(syn_json_str(spec, "desired", "running"), "running"))
        return SYN_OK;
    return instance->runtime.ops->stop(instance->runtime.self, instance->handle,
                                       gone ? 0 : syn_json_i64(spec, "stop_grace_ms", -1), err);
}

/* One turn: what the server wants, what the instance produced. Trouble is logged and tried again.
 */
static void
turn(struct agt_instance *instance)
{
    struct syn_err err = {0};
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);

    if (heed(instance, doc->json, gone, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.stop-failed", &err);
    if (agt_ship_now(instance->ship, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.ship-failed", &err);
    if (instance->snapshots != NULL && agt_snapshots_look(instance->snapshots, false, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.checkpoint-failed", &err);
}

/* Until it has exited; false when the agent stops first. */
static bool
watch(struct agt_instance *instance, struct syn_instance_status *ret_status)
{
    struct syn_err err = {0};
    int exit_fd = -1;
    bool ended = false;

    if (instance->runtime.ops->exit_fd(instance->runtime.self, instance->handle, &exit_fd, &err) <
        0)
        exit_fd = -1; /* it may have ended already: poll() knows */
    while (!ended && !atomic_load(&instance->agent->stop)) {
        struct pollfd ready = {exit_fd, POLLIN, 0};

        if (instance->runtime.ops->poll(instance->runtime.self, instance->handle, ret_status,
                                        &err) < 0)
            syn_log_err(SYN_LOG_WARN, "instance.poll-failed", &err);
        else
            ended = ret_status->state == SYN_INSTANCE_EXITED;
        if (ended)
            break;
        turn(instance);
        for (int64_t waited = 0; waited < AGT_SHIP_MS; waited += 100) {
            if (poll(&ready, exit_fd >= 0 ? 1 : 0, 100) > 0 || instance->changed ||
                atomic_load(&instance->agent->stop))
                break;
        }
    }
    if (exit_fd >= 0)
        (void)close(exit_fd);
    return ended;
}

/* --- ending ------------------------------------------------------------------------------------
 */

#define FINISH_TRIES_MAX 5 /* of what fails for another reason than that the server is away */

/* May the same succeed later by itself? */
static bool
passing(int rc)
{
    return rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT;
}

/* Everything it left behind, in the order that makes the final report true. What cannot be stored
 * or sent (more files than a checkpoint may have, a run that is settled already) must not keep the
 * end from being told: after some tries it is left out, and the log of the agent says so. */
static int
finish(struct agt_instance *instance, const struct syn_instance_status *status, unsigned tries,
       struct syn_err *err)
{
    bool stored = instance->snapshots != NULL;
    int rc = agt_ship_now(instance->ship, err);

    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    if (rc == SYN_OK && stored && status->reason != SYN_EXIT_LOST)
        rc = agt_snapshots_look(instance->snapshots, true, err);
    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    if (rc == SYN_OK && stored && status->reason == SYN_EXIT_COMPLETED)
        rc = agt_snapshots_result(instance->snapshots, err);
    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    return rc < 0 ? rc : report_exit(instance, status, err);
}

/* Does the server still want to hear of it? */
static bool
let_go(struct agt_instance *instance)
{
    bool gone;

    (void)pthread_mutex_lock(&instance->agent->lock);
    gone = instance->gone;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return gone;
}

/* Wait for the server's word, then remove every trace. */
static void
bury(struct agt_instance *instance)
{
    struct syn_agent *agent = instance->agent;
    struct syn_err err = {0};
    char path[AGT_PATH_MAX];
    bool gone = false;

    while (!gone) {
        (void)agt_doc_unref(newest_doc(instance, &gone));
        if (!gone && !agt_sleep(agent, instance, (int64_t)3600 * 1000))
            return;
    }
    instance->handle =
        instance->runtime.ops != NULL ? instance->runtime.ops->close(instance->handle) : NULL;
    while (instance->runtime.ops != NULL &&
           instance->runtime.ops->destroy(instance->runtime.self, run_path(instance, path), &err) <
               0) {
        syn_log_err(SYN_LOG_WARN, "instance.destroy-failed", &err);
        if (!agt_sleep(agent, NULL, AGT_RETRY_MS))
            return;
    }
    (void)unlink(agt_job_path(agent, instance->id, "config/hyperparameters.json", path));
    (void)rmdir(agt_job_path(agent, instance->id, "config", path));
    (void)rmdir(agt_job_path(agent, instance->id, "dataset", path));
    (void)unlink(agt_job_path(agent, instance->id, "gpus.json", path));
    (void)unlink(agt_job_path(agent, instance->id, "gpus.json.tmp", path));
    (void)unlink(agt_job_path(agent, instance->id, "boot_id", path));
    (void)unlink(agt_job_path(agent, instance->id, "boot_id.tmp", path));
    (void)unlink(agt_job_path(agent, instance->id, "doc.json.tmp", path));
    (void)unlink(agt_job_path(agent, instance->id, "doc.json", path));
    (void)rmdir(agt_job_path(agent, instance->id, "", path));
}

static int
open_helpers(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    int rc = agt_ship_new(instance, &instance->ship, err);

    return rc < 0 ? rc : open_snapshots(instance, doc, err);
}

/* Bring it up, or take over what an earlier agent brought up. Returns 0, or why it never lived. */
static int
bring_up(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    struct syn_instance_status status = {0};
    char path[AGT_PATH_MAX];
    int rc = choose_runtime(instance, doc, err);

    if (rc < 0)
        return rc;
    if (access(run_path(instance, path), F_OK) == 0) {
        rc = instance->runtime.ops->adopt(instance->runtime.self, path, &instance->handle, &status,
                                          err);
        if (rc == SYN_OK && status.state != SYN_INSTANCE_PREPARED) {
            instance->paths = instance->runtime.ops->paths(instance->handle);
            return SYN_OK;
        }
        instance->handle =
            instance->runtime.ops->close(instance->handle); /* half made: begin again */
        rc = instance->runtime.ops->destroy(instance->runtime.self, path, err);
        if (rc < 0)
            return rc;
    }
    if (!syn_str_eq(syn_json_str(json_object_get(doc, "spec"), "desired", "running"), "running"))
        return SYN_FAIL(err, SYN_E_CANCELED, "stopped before it was started");
    return prepare(instance, doc, err);
}

static bool
already_ended(const json_t *doc)
{
    const char *state = syn_json_str(json_object_get(doc, "status"), "state", "");

    return syn_str_eq(state, "exited") || syn_str_eq(state, "lost");
}

static void
live(struct agt_instance *instance)
{
    struct syn_instance_status status = {0};
    struct syn_err err = {0};
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);
    int rc = keep_doc(instance, doc->json, &err);

    if (already_ended(doc->json)) {
        agt_gpus_release(instance);
        (void)choose_runtime(instance, doc->json, &err);
        return;
    }
    if (rc == SYN_OK) /* without its document nobody would find it again after a crash */
        rc = bring_up(instance, doc->json, &err);
    if (rc == SYN_OK)
        rc = open_helpers(instance, doc->json, &err);
    if (rc < 0) {
        struct syn_err why = err;

        syn_log_err(SYN_LOG_WARN, "instance.start-failed", &why);
        agt_gpus_release(instance);
        while (report_unborn(instance, &why, &err) < 0 && !let_go(instance) &&
               agt_sleep(instance->agent, NULL, AGT_RETRY_MS))
            continue;
        return;
    }
    if (instance->runtime.ops->poll(instance->runtime.self, instance->handle, &status, &err) ==
            SYN_OK &&
        status.state == SYN_INSTANCE_RUNNING && report_running(instance, &status, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.report-failed", &err);
    if (status.state == SYN_INSTANCE_RUNNING && instance->runtime.ops->warm != NULL)
        instance->runtime.ops->warm(instance->runtime.self); /* for the one after this */
    if (!watch(instance, &status))
        return;
    agt_gpus_release(instance);
    for (unsigned tries = 0; finish(instance, &status, tries, &err) < 0 && !let_go(instance);
         tries++) {
        syn_log_err(SYN_LOG_WARN, "instance.finish-failed", &err);
        if (!agt_sleep(instance->agent, NULL, AGT_RETRY_MS))
            return;
    }
}

/* Other threads cancel its client at the end: it comes and goes under the lock. */
static void
set_client(struct agt_instance *instance, struct syn_client *client)
{
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->client = client;
    if (client != NULL && atomic_load(&instance->agent->stop))
        syn_client_cancel(client);
    (void)pthread_mutex_unlock(&instance->agent->lock);
}

static void *
thread_main(void *arg)
{
    struct agt_instance *instance = arg;
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct syn_err err = {0};

    if (agt_client_new(instance->agent, instance->agent->node_token, &client, &err) < 0) {
        syn_log_err(SYN_LOG_ERROR, "instance.no-client", &err);
    } else {
        set_client(instance, client);
        live(instance);
        bury(instance);
        set_client(instance, NULL);
    }
    instance->snapshots = agt_snapshots_free(instance->snapshots);
    instance->ship = agt_ship_free(instance->ship);
    if (instance->handle != NULL)
        instance->handle = instance->runtime.ops->close(instance->handle);
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->over = true;
    (void)pthread_cond_broadcast(&instance->agent->wake);
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return NULL;
}

int
agt_instance_new(struct syn_agent *agent, const json_t *doc, struct agt_instance **ret,
                 struct syn_err *err)
{
    struct agt_instance *instance = syn_calloc(1, sizeof(*instance));

    if (instance == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an instance");
    instance->agent = agent;
    (void)syn_str_copy(instance->id, sizeof(instance->id), syn_json_str(doc, "id", "?"));
    instance->doc = agt_doc_new(doc);
    agt_gpus_recall(instance);
    if (instance->doc == NULL ||
        pthread_create(&instance->thread, NULL, thread_main, instance) != 0) {
        (void)agt_doc_unref(instance->doc);
        syn_free(instance);
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for %s",
                        syn_json_str(doc, "id", "?"));
    }
    *ret = instance;
    return SYN_OK;
}

struct agt_instance *
agt_instance_free(struct agt_instance *instance)
{
    if (instance == NULL)
        return NULL;
    (void)pthread_join(instance->thread, NULL);
    (void)agt_doc_unref(instance->doc);
    syn_free(instance);
    return NULL;
}
