/* Who runs instances on this node. What people ask for is a class of sandbox (`--isolation`); how
 * the node makes it is a driver's business. A slot is a class by a driver, and slots stand in the
 * order in which they are taken:
 *
 *     --runtime native        gvisor, runc
 *     --runtime container     gvisor, runc, kata of containerd, as far as it has them;
 *                             then gvisor, runc natively, for what containerd has not
 *
 * and behind them, where its provider allows it (--allow-namespace-sandbox), namespace, which forks
 * Python functions from zygotes: for who asks for it by name, and nobody else.
 *
 * So gVisor without containerd's shim, and GPUs, which containerd is not trusted with, go to the
 * native driver, by the same names. What was brought up stays with the driver that did, whatever
 * the node was told later: its folder says which. */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/runtime/shim.h>

#include "agent_priv.h"

#define NATIVE    "native"
#define CONTAINER "container"
#define ZYGOTE    "zygote"
#define MIB       (INT64_C(1) << 20)

static const char *const container_classes[] = {"gvisor", "runc", "kata"};

/* --- opening ------------------------------------------------------------------------------------
 */

static void
add_slot(struct syn_agent *agent, struct syn_runtime runtime, const char *driver,
         const char *sandbox)
{
    assert(agent->slots < AGT_RUNTIMES);
    agent->runtimes[agent->slots] = runtime;
    agent->infos[agent->slots] = (struct syn_runtime_info){
        .driver = driver, .sandbox = sandbox, .version = "", .platform = "", .detail = ""};
    agent->slots++;
}

static int
make_native(struct syn_agent *agent, size_t which, const char *root, struct syn_err *err)
{
    static const enum syn_sandbox kinds[] = {SYN_SANDBOX_GVISOR, SYN_SANDBOX_RUNC};
    static const char *const names[] = {"gvisor", "runc"};
    struct syn_native_options options = {.root = root,
                                         .shim_image = syn_shim_image,
                                         .shim_image_len = syn_shim_image_len,
                                         .sandbox = kinds[which],
                                         .net = agent->net};
    struct syn_err swept = {0};
    int rc = syn_native_new(&options, &agent->natives[which], err);

    if (rc < 0)
        return rc;
    if (which == 0 && syn_native_sweep(agent->natives[which], &swept) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.sweep-failed", &swept);
    add_slot(agent, syn_native_runtime(agent->natives[which]), NATIVE, names[which]);
    return SYN_OK;
}

/* Did an agent before this one bring anything up by this driver? */
static bool
has_some(const struct syn_agent *agent, const char *driver)
{
    char path[AGT_PATH_MAX];
    const struct dirent *entry;
    bool found = false;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/instances", agent->data_dir);
    dir = opendir(path);
    while (!found && dir != NULL && (entry = readdir(dir)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/instances/%.200s", agent->data_dir, entry->d_name);
        found = syn_name_ok(entry->d_name) && syn_str_eq(syn_runtime_driver_of(path), driver);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return found;
}

static int
make_container(struct syn_agent *agent, const char *root, struct syn_err *err)
{
    struct syn_container_options options = {
        .root = root,
        .address = agent->containerd[0] != '\0' ? agent->containerd : NULL,
        .pod_program = syn_pod_program,
        .pod_program_len = syn_pod_program_len,
        .pause_program = syn_pause_program,
        .pause_program_len = syn_pause_program_len,
        .net = agent->net};
    struct syn_container_report report;
    struct syn_err swept = {0};
    int rc = syn_container_new(&options, &agent->container, err);

    if (rc < 0)
        return rc;
    if (syn_container_sweep(agent->container, &swept) < 0)
        syn_log_err(SYN_LOG_WARN, "agent.sweep-failed", &swept);
    syn_container_classes(agent->container, &report);
    for (size_t i = 0; i < SYN_LEN(container_classes); i++) {
        if (syn_container_has_class(&report, container_classes[i]))
            add_slot(agent, syn_container_runtime(agent->container), CONTAINER,
                     container_classes[i]);
    }
    return SYN_OK;
}

/* Without its containerd a node that is to use it says so, rather than to run things otherwise. */
static int
check_container(const struct syn_agent *agent, struct syn_err *err)
{
    struct syn_container_report report;

    if (agent->containerd[0] != '\0')
        return geteuid() == 0 ? SYN_OK
                              : SYN_FAIL(err, SYN_E_UNSUPPORTED, "--containerd: needs root");
    syn_container_look(&report);
    return report.found ? SYN_OK
                        : SYN_FAIL(err, SYN_E_UNSUPPORTED,
                                   "--runtime container: %.120s: apt-get install containerd runc",
                                   report.detail);
}

/* Also where it is not allowed any more: what an agent before this one forked is to be removed. */
static int
make_forked(struct syn_agent *agent, const char *root, struct syn_err *err)
{
    char path[AGT_PATH_MAX + 32];
    const struct syn_forked_options options = {.root = path, .net = agent->net};
    int rc;

    (void)snprintf(path, sizeof(path), "%s/forked", root);
    rc = syn_forked_new(&options, &agent->forked, err);
    if (rc == SYN_OK)
        add_slot(agent, syn_forked_runtime(agent->forked), ZYGOTE, AGT_NAMESPACE);
    return rc;
}

static int
make_all(struct syn_agent *agent, struct syn_err *err)
{
    char root[AGT_PATH_MAX + 16];
    int rc = agent->wants_container ? check_container(agent, err) : SYN_OK;

    (void)snprintf(root, sizeof(root), "%s/runtime", agent->data_dir);
    if (rc == SYN_OK && agent->wants_container)
        rc = make_container(agent, root, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(agent->natives); i++)
        rc = make_native(agent, i, root, err);
    /* To look after what there is, and to remove it. */
    if (rc == SYN_OK && !agent->wants_container && has_some(agent, CONTAINER))
        rc = make_container(agent, root, err);
    if (rc == SYN_OK && (agent->namespace_sandbox || has_some(agent, ZYGOTE)))
        rc = make_forked(agent, root, err);
    return rc;
}

/* Find out whether the slot works. A class of containerd's keeps its own name. */
static void
try_slot(struct syn_agent *agent, size_t slot, struct syn_err *why)
{
    const struct syn_runtime *runtime = &agent->runtimes[slot];
    struct syn_runtime_info *info = &agent->infos[slot];
    struct syn_runtime_info found;

    if ((syn_str_eq(info->driver, CONTAINER) && !agent->wants_container) ||
        (syn_str_eq(info->driver, ZYGOTE) && !agent->namespace_sandbox))
        return;
    agent->works[slot] = runtime->ops->probe(runtime->self, &found, why) == SYN_OK;
    if (!agent->works[slot]) {
        syn_log_err(SYN_LOG_INFO, "agent.sandbox-missing", why);
        if (syn_str_eq(info->driver, ZYGOTE))
            (void)syn_str_copy(agent->namespace_missing, sizeof(agent->namespace_missing),
                               why->msg);
        return;
    }
    if (syn_str_eq(info->driver, CONTAINER))
        found.sandbox = info->sandbox;
    *info = found;
}

int
agt_runtimes_open(struct syn_agent *agent, struct syn_err *err)
{
    struct syn_err why[AGT_RUNTIMES] = {{0}};
    bool any = false;
    int rc;

    if (agent->runtimes[0].ops != NULL) {
        agent->slots = 1;
    } else {
        agt_network_open(agent);
        rc = make_all(agent, err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < agent->slots; i++) {
        try_slot(agent, i, &why[i]);
        any = any || (agent->works[i] && !syn_str_eq(agent->infos[i].sandbox, AGT_NAMESPACE));
        if (agent->wants_container && !agent->works[0]) {
            (void)SYN_FAIL(err, SYN_E_UNSUPPORTED, "--runtime container: %.200s", why[0].msg);
            return SYN_E_UNSUPPORTED;
        }
    }
    if (!any)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "no sandbox works here: %.90s; %.90s", why[0].msg,
                        why[1].msg);
    return SYN_OK;
}

void
agt_runtimes_close(struct syn_agent *agent)
{
    for (size_t i = 0; i < SYN_LEN(agent->natives); i++)
        agent->natives[i] = syn_native_free(agent->natives[i]);
    agent->container = syn_container_free(agent->container);
    agent->forked = syn_forked_free(agent->forked);
    agt_network_close(agent);
}

/* Who does not say what holds an instance gets no weaker sandbox than the usual ones. */
static bool
is_asked_for(const struct syn_runtime_info *info, const char *wanted)
{
    return syn_str_eq(wanted, info->sandbox) ||
           (syn_str_eq(wanted, "auto") && !syn_str_eq(info->sandbox, AGT_NAMESPACE));
}

/* --- choosing -----------------------------------------------------------------------------------
 */

static void
take_slot(struct agt_instance *instance, size_t slot)
{
    instance->runtime = instance->agent->runtimes[slot];
    instance->made_by = &instance->agent->infos[slot];
}

int
agt_runtime_choose(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    const struct syn_agent *agent = instance->agent;
    const char *wanted = syn_json_str(json_object_get(doc, "spec"), "isolation", "auto");
    bool gpus = json_integer_value(syn_json_at(doc, "spec.resources.gpus")) > 0;

    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->works[i] && (!gpus || agent->infos[i].gpus) &&
            is_asked_for(&agent->infos[i], wanted)) {
            take_slot(instance, i);
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the sandbox %s does not work on this node%s", wanted,
                    gpus ? ", or cannot pass GPUs on" : "");
}

void
agt_runtime_of_folder(struct agt_instance *instance, const json_t *doc)
{
    const struct syn_agent *agent = instance->agent;
    char path[AGT_PATH_MAX];
    const char *driver = syn_runtime_driver_of(agt_run_path(instance, path));
    size_t slot = AGT_RUNTIMES;

    if (agt_runtime_choose(instance, doc, NULL) == SYN_OK &&
        (driver[0] == '\0' || syn_str_eq(instance->made_by->driver, driver)))
        return;
    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->runtimes[i].ops == NULL)
            continue;
        if (slot == AGT_RUNTIMES || (driver[0] != '\0' && agent->infos[i].driver != NULL &&
                                     syn_str_eq(agent->infos[i].driver, driver) &&
                                     !syn_str_eq(agent->infos[slot].driver, driver)))
            slot = i;
    }
    if (slot < AGT_RUNTIMES)
        take_slot(instance, slot);
}

/* --- telling ------------------------------------------------------------------------------------
 */

const char *
agt_sandbox_default(const struct syn_agent *agent)
{
    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->works[i] && is_asked_for(&agent->infos[i], "auto"))
            return agent->infos[i].sandbox;
    }
    return "none";
}

/* Has a slot before this one the same class? */
static bool
told_before(const struct syn_agent *agent, size_t slot)
{
    for (size_t i = 0; i < slot; i++) {
        if (agent->works[i] && syn_str_eq(agent->infos[i].sandbox, agent->infos[slot].sandbox))
            return true;
    }
    return false;
}

/* What an allowed sandbox lacks, and what its zygotes take. */
static int
tell_namespace(const struct syn_agent *agent, json_t *list, struct syn_err *err)
{
    struct syn_forked_state state;
    json_t *row = NULL;
    int rc = SYN_OK;

    if (!agent->namespace_sandbox || agent->forked == NULL)
        return SYN_OK;
    if (agent->namespace_missing[0] != '\0') {
        rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s}", "name", AGT_NAMESPACE, "state",
                           "missing", "message", agent->namespace_missing, "runtime", ZYGOTE);
        return rc < 0 ? rc : syn_json_append_take(list, row, err);
    }
    syn_forked_look(agent->forked, &state);
    row = json_array_get(list, json_array_size(list) - 1); /* its slot is the last */
    rc = syn_json_set_i64(row, "zygotes", state.zygotes, err);
    /* In whole MiB: a page more or less is no news to a server that hears this every few seconds.
     */
    return rc < 0 ? rc
                  : syn_json_set_i64(row, "zygote_bytes",
                                     (state.zygote_bytes + MIB - 1) / MIB * MIB, err);
}

/* Can any slot of this class pass GPUs on? */
static bool
class_has_gpus(const struct syn_agent *agent, const char *sandbox)
{
    for (size_t i = 0; i < AGT_RUNTIMES; i++) {
        if (agent->works[i] && agent->infos[i].gpus && syn_str_eq(agent->infos[i].sandbox, sandbox))
            return true;
    }
    return false;
}

/* A containerd that is not ours may go and come back: said once each time. */
static bool
containerd_away(struct syn_agent *agent)
{
    struct syn_err why = {0};
    bool away = agent->container != NULL && agent->wants_container &&
                syn_container_away(agent->container, &why);

    if (away && !agent->container_away)
        syn_log_err(SYN_LOG_WARN, "agent.containerd-away", &why);
    else if (!away && agent->container_away)
        syn_log_kv(SYN_LOG_INFO, "agent.containerd-back", NULL);
    agent->container_away = away;
    return away;
}

int
agt_sandboxes(struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    bool away = containerd_away(agent);
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory");
    for (size_t i = 0; rc == SYN_OK && i < AGT_RUNTIMES; i++) {
        const struct syn_runtime_info *info = &agent->infos[i];
        json_t *row = NULL;

        if (!agent->works[i] || told_before(agent, i))
            continue;
        rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "name", info->sandbox,
                           "version", info->version, "platform", info->platform, "state",
                           away && syn_str_eq(info->driver, CONTAINER) ? "away" : "ready", "gpus",
                           class_has_gpus(agent, info->sandbox) ? 1 : 0, "runtime", info->driver,
                           "snapshots", info->snapshots != NULL ? info->snapshots : "");
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, row, err);
    }
    if (rc == SYN_OK)
        rc = tell_namespace(agent, list, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}
