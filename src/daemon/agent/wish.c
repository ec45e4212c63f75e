/* From a document to what prepare() of a runtime driver is given. */
#include "wish_priv.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

#include "names_priv.h"

void
agt_wish_fini(struct agt_wish *wish)
{
    for (size_t i = 0; i < wish->env_count; i++)
        syn_free(wish->env[i]);
    syn_free((void *)wish->env);
    syn_free((void *)wish->argv);
    for (size_t i = 0; i < wish->shown_count; i++)
        syn_free(wish->shown[i]);
    json_decref(wish->secrets);
    wish->image = syn_oci_layout_close(wish->image);
    wish->gpus = syn_gpu_grant_free(wish->gpus);
}

static int
wish_argv(struct agt_wish *wish, const json_t *list, struct syn_err *err)
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

/* A service says what is other than the image's own entry point and arguments. */
static int
wish_command(struct agt_wish *wish, const json_t *spec, struct syn_err *err)
{
    static const char *const none[] = {NULL};
    const struct syn_oci_config *config =
        wish->image != NULL ? syn_oci_layout_config(wish->image) : NULL;
    const json_t *command = json_object_get(spec, "command");
    const json_t *args = json_object_get(spec, "args");
    const char *const *entry = config != NULL && config->entrypoint ? config->entrypoint : none;
    const char *const *cmd = config != NULL && config->cmd ? config->cmd : none;
    size_t room = json_array_size(command) + json_array_size(args) + 1, count = 0;
    json_t *word;
    size_t i;

    for (i = 0; entry[i] != NULL; i++)
        room++;
    for (i = 0; cmd[i] != NULL; i++)
        room++;
    wish->argv = syn_calloc(room, sizeof(*wish->argv));
    if (wish->argv == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a command line");
    json_array_foreach (command, i, word)
        wish->argv[count++] = json_string_value(word);
    for (i = 0; json_array_size(command) == 0 && entry[i] != NULL; i++)
        wish->argv[count++] = entry[i];
    json_array_foreach (args, i, word)
        wish->argv[count++] = json_string_value(word);
    for (i = 0; json_array_size(command) + json_array_size(args) == 0 && cmd[i] != NULL; i++)
        wish->argv[count++] = cmd[i];
    wish->spec.argv = wish->argv;
    if (count == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "the image has no entry point; say what to run with --command");
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
add_env_take(struct agt_wish *wish, char *pair, struct syn_err *err)
{
    if (pair == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    wish->env[wish->env_count++] = pair;
    return SYN_OK;
}

/* What the image sets and nobody who comes before it does. */
static int
wish_image_env(struct agt_wish *wish, const char *const *pairs, struct syn_err *err)
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
add_pairs(struct agt_wish *wish, json_t *env, const char *const *before, struct syn_err *err)
{
    const char *name;
    json_t *value;
    int rc = SYN_OK;

    json_object_foreach (env, name, value) {
        SYN_BUF(text);
        char *pair = NULL;

        if (rc < 0 || env_has(before, name))
            continue;
        syn_buf_addf(&text, "%s=%s", name, json_string_value(value));
        rc = syn_buf_take(&text, &pair, NULL, err);
        if (rc == SYN_OK)
            rc = add_env_take(wish, pair, err);
    }
    return rc;
}

static int
wish_env(struct agt_wish *wish, json_t *env, struct syn_err *err)
{
    static const char *const none[] = {NULL};
    const char *const *image = wish->image != NULL ? syn_oci_layout_config(wish->image)->env : none;
    const char *const *node = wish->gpus != NULL ? wish->gpus->env : none;
    size_t room =
        json_object_size(env) + json_object_size(json_object_get(wish->secrets, "env")) + 1;
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
    if (rc == SYN_OK)
        rc = add_pairs(wish, env, node, err);
    if (rc == SYN_OK)
        rc = add_pairs(wish, json_object_get(wish->secrets, "env"), node, err);
    wish->spec.env = (const char *const *)wish->env;
    return rc < 0 ? rc : wish_image_env(wish, image, err);
}

/* Secrets that are files, for which the driver has a place that no disk is under. */
static int
wish_files(struct agt_wish *wish, struct syn_err *err)
{
    const char *path;
    json_t *value;

    json_object_foreach (json_object_get(wish->secrets, "files"), path, value) {
        if (wish->spec.secrets_count == SYN_INSTANCE_MOUNTS_MAX || !json_is_string(value))
            return SYN_FAIL(err, SYN_E_INTERNAL, "secrets: more, or other, than are understood");
        wish->files[wish->spec.secrets_count++] =
            (struct syn_secret_file){path, json_string_value(value), json_string_length(value)};
    }
    wish->spec.secrets = wish->files;
    return SYN_OK;
}

/* The secrets that the server has for this instance: nobody else is told. Those of the environment
 * stand in the sandbox's own files alone. */
static int
wish_secrets(struct agt_instance *instance, struct agt_wish *wish, const json_t *spec,
             struct syn_err *err)
{
    char path[128];
    SYN_JSON(named);
    int rc = syn_service_secrets(spec, &named, err);

    if (rc < 0 || json_object_size(named) == 0)
        return rc;
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/secrets", instance->id);
    rc = agt_call(instance->agent, instance->client, "GET", path, NULL, &wish->secrets, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "secrets");
    return json_is_object(json_object_get(wish->secrets, "env"))
               ? wish_files(wish, err)
               : SYN_FAIL(err, SYN_E_INTERNAL, "secrets: the server did not give any");
}

/* The number of "SIGQUIT", "QUIT" or "3"; 0: it is none. */
static int
signal_number(const char *name)
{
    uint64_t number = 0;

    if (syn_parse_u64(name, 1, 64, "signal", &number, NULL) == SYN_OK)
        return (int)number;
    if (syn_str_starts(name, "SIG"))
        name += strlen("SIG");
    for (int signo = 1; signo < SIGRTMIN; signo++)
        if (sigabbrev_np(signo) != NULL && syn_str_eq(sigabbrev_np(signo), name))
            return signo;
    return 0;
}

static void
add_bind(struct agt_wish *wish, struct syn_bind bind)
{
    assert(wish->spec.binds_count < AGT_WISH_BINDS_MAX);
    wish->binds[wish->spec.binds_count++] = bind;
    wish->spec.binds = wish->binds;
}

bool
agt_wish_mounts(const json_t *spec, const char *cid)
{
    const json_t *mount;
    size_t i;

    json_array_foreach (json_object_get(spec, "mounts"), i, mount)
        if (syn_str_eq(syn_json_str(mount, "cid", ""), cid))
            return true;
    return false;
}

/* What is stored, fetched once for all that name it, or a volume, shown where it is wanted. */
static int
wish_folder(struct agt_instance *instance, struct agt_wish *wish, const json_t *mount, bool volume,
            struct syn_err *err)
{
    const char *inside = syn_json_str(mount, "path", "");
    char path[AGT_PATH_MAX];
    char *kept;
    int rc = volume ? agt_volume_take(instance, mount, path, err)
                    : agt_fetch(instance, syn_json_str(mount, "cid", ""), path, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", inside);
    kept = syn_strdup(path);
    if (kept == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a mount");
    wish->shown[wish->shown_count++] = kept;
    if (!volume) {
        add_bind(wish, (struct syn_bind){kept, inside, true});
        return SYN_OK;
    }
    wish->volumes[wish->spec.volumes_count++] =
        (struct syn_bind){kept, inside, syn_json_bool(mount, "read_only", false)};
    wish->spec.volumes = wish->volumes;
    return SYN_OK;
}

static int
wish_mount(struct agt_instance *instance, struct agt_wish *wish, const json_t *mount,
           struct syn_err *err)
{
    const char *kind = syn_json_str(mount, "kind", "");

    if (wish->spec.tmpfs_count == SYN_INSTANCE_MOUNTS_MAX ||
        wish->spec.empties_count == SYN_INSTANCE_MOUNTS_MAX ||
        wish->shown_count == SYN_INSTANCE_MOUNTS_MAX)
        return SYN_FAIL(err, SYN_E_INTERNAL, "mounts: more than are understood");
    if (syn_str_eq(kind, "content") || syn_str_eq(kind, "volume"))
        return wish_folder(instance, wish, mount, syn_str_eq(kind, "volume"), err);
    if (syn_str_eq(kind, "scratch")) {
        wish->empties[wish->spec.empties_count++] = syn_json_str(mount, "path", "");
        wish->spec.empties = wish->empties;
    }
    if (!syn_str_eq(kind, "tmpfs"))
        return SYN_OK;
    wish->tmpfs[wish->spec.tmpfs_count++] =
        (struct syn_tmpfs){syn_json_str(mount, "path", ""), syn_json_i64(mount, "size_bytes", 0)};
    wish->spec.tmpfs = wish->tmpfs;
    return SYN_OK;
}

/* What a service says of its process and its mounts, over what the image says. */
static int
wish_service(struct agt_instance *instance, struct agt_wish *wish, const json_t *spec,
             struct syn_err *err)
{
    const char *user = syn_json_str(spec, "user", NULL);
    const char *image = wish->image != NULL ? syn_oci_layout_config(wish->image)->stop_signal : "";
    json_t *mount;
    size_t i;
    int rc = user != NULL ? syn_service_user(user, &wish->spec.uid, &wish->spec.gid, err) : SYN_OK;

    wish->spec.cwd = syn_json_str(spec, "workdir", wish->spec.cwd);
    wish->spec.hostname = syn_json_str(spec, "hostname", NULL);
    wish->spec.stop_signal = signal_number(syn_json_str(spec, "stop_signal", image));
    json_array_foreach (json_object_get(spec, "mounts"), i, mount)
        if (rc == SYN_OK)
            rc = wish_mount(instance, wish, mount, err);
    return rc;
}

/* The root file system, and what the image says where the job says nothing. */
static int
wish_image(struct agt_instance *instance, struct agt_wish *wish, const json_t *spec,
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
write_config(struct agt_instance *instance, struct agt_wish *wish, const json_t *parameters,
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
    add_bind(wish, (struct syn_bind){wish->config, "/synor/config", true});
    return SYN_OK;
}

static int
wish_content(struct agt_instance *instance, struct agt_wish *wish, const json_t *spec,
             struct syn_err *err)
{
    const char *code = syn_json_str(spec, "code_cid", "");
    const char *dataset = syn_json_str(spec, "dataset_cid", "");
    int rc = SYN_OK;

    if (code[0] != '\0') {
        rc = agt_fetch(instance, code, wish->code, err);
        add_bind(wish, (struct syn_bind){wish->code, "/synor/code", true});
    }
    if (rc == SYN_OK)
        rc = dataset[0] != '\0' ? agt_fetch(instance, dataset, wish->dataset, err)
                                : make_folder(instance, "dataset", wish->dataset, err);
    if (rc == SYN_OK)
        add_bind(wish, (struct syn_bind){wish->dataset, "/synor/dataset", true});
    return rc < 0 ? rc
                  : write_config(instance, wish, json_object_get(spec, "hyperparameters"), err);
}

static void
wish_network(const struct agt_instance *instance, struct agt_wish *wish, const json_t *doc)
{
    const char *name = syn_json_str(doc, "account_name", "");
    const json_t *network = json_object_get(json_object_get(doc, "spec"), "network");
    size_t i;
    json_t *host;

    if (syn_str_eq(syn_json_str(network, "mode", "none"), "account")) {
        wish->spec.network = SYN_NETWORK_ACCOUNT;
        wish->spec.net.account = syn_json_str(doc, "account", "");
        /* Calls of a function come by the gateway, which counts them. */
        wish->spec.net.guarded = agt_start_wanted(doc)[0] != '\0';
        wish->spec.dns_gateway = instance->agent->resolver != NULL;
        (void)snprintf(wish->search, sizeof(wish->search), "%.63s." AGT_NAMES_ZONE, name);
        if (wish->spec.dns_gateway && syn_name_ok(name))
            wish->spec.dns_search = wish->search;
    }
    if (!syn_str_eq(syn_json_str(network, "mode", "none"), "group"))
        return;
    wish->spec.network = SYN_NETWORK_GROUP;
    wish->spec.group = syn_json_str(network, "group", NULL);
    wish->spec.address = syn_json_str(network, "address", NULL);
    json_array_foreach (json_object_get(network, "hosts"), i, host) {
        if (i < AGT_WISH_HOSTS_MAX)
            wish->hosts[wish->spec.hosts_count++] = (struct syn_host_entry){
                syn_json_str(host, "name", ""), syn_json_str(host, "address", "")};
    }
    wish->spec.hosts = wish->hosts;
}

/* The instance's own cards, and what it needs to use them. */
static int
wish_gpus(struct agt_instance *instance, struct agt_wish *wish, const json_t *doc,
          struct syn_err *err)
{
    struct syn_gpu gpus[SYN_GPUS_MAX];
    struct syn_gpu_use use;
    size_t count = 0;
    int rc = agt_gpus_claim(instance, doc, gpus, &count, &use, err);

    if (rc < 0 || count == 0)
        return rc;
    rc = syn_gpu_grant_new(gpus, count, use.part || use.permille > 0 ? &use : NULL, "",
                           wish->spec.rootfs, &wish->gpus, err);
    if (rc < 0)
        return rc;
    wish->spec.devices = wish->gpus->devices;
    wish->spec.drivers = wish->gpus->libraries;
    wish->spec.drivers_count = wish->gpus->libraries_count;
    if (wish->gpus->mps != NULL)
        add_bind(wish, *wish->gpus->mps);
    return SYN_OK;
}

int
agt_wish_make(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
              struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");
    const json_t *resources = json_object_get(spec, "resources");
    bool service = syn_str_eq(syn_json_str(spec, "workload", ""), "service");
    int rc;

    wish->spec.id = instance->id;
    wish->spec.dir = agt_run_path(instance, wish->dir);
    wish->spec.dns = instance->agent->dns;
    wish->spec.cwd = syn_json_str(spec, "cwd", NULL);
    wish->spec.scratch_bytes = syn_json_i64(resources, "scratch_bytes", 0);
    wish->spec.cpu_millicores = syn_json_i64(resources, "cpu_millicores", 0);
    wish->spec.memory_bytes = syn_json_i64(resources, "memory_bytes", 0);
    wish->spec.pids_max = syn_json_i64(resources, "pids", 0);
    wish->spec.eager_ms = syn_json_i64(spec, "eager_ms", 0);
    wish->spec.wall_ms = syn_json_i64(spec, "time_limit_ms", 0);
    wish->spec.grace_ms = syn_json_i64(spec, "stop_grace_ms", 0);
    wish_network(instance, wish, doc);
    rc = wish_image(instance, wish, spec, err);
    if (rc == SYN_OK && service)
        rc = wish_service(instance, wish, spec, err);
    if (rc == SYN_OK)
        rc = wish_gpus(instance, wish, doc, err);
    if (rc == SYN_OK)
        rc = service ? wish_command(wish, spec, err)
                     : wish_argv(wish, json_object_get(spec, "argv"), err);
    if (rc == SYN_OK)
        rc = wish_secrets(instance, wish, spec, err);
    if (rc == SYN_OK)
        rc = wish_env(wish, json_object_get(spec, "env"), err);
    return rc < 0 || service ? rc : wish_content(instance, wish, spec, err);
}
