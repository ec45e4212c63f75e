/* A containerd that somebody else runs. What it was told to do for others must stay as it is, so we
 * ask for a runtime class of our own in its configuration: containerd 1.6 and later give each class
 * a folder of network configurations (`cni_conf_dir`), and ours names our plugin. By that folder
 * our classes are found, whatever they are called; two platforms beside each other have two. Other
 * pods' networks are not touched, and none of ours ever comes to theirs.
 *
 * Refused: a pod in the node's network (nothing would be left of its isolation); our plugin in the
 * chain of everybody's network (each of their pods would wait for it, and an error in it be
 * theirs); a kubelet's containerd (it ends every pod that the cluster does not know). */
#include "containerd_priv.h"

#include <string.h>
#include <unistd.h>

#include <synor/base/json.h>
#include <synor/base/str.h>

#include "../native/file_priv.h"
#include "cri_priv.h"
#include "message_priv.h"

#define MAJOR 1 /* the first with a folder of networks a class */
#define MINOR 6

const struct syn_pod_kind syn_pod_kinds[SYN_POD_CLASSES] = {
    [SYN_POD_RUNC] = {"runc", "containerd-shim-runc-v2", "io.containerd.runc.v2"},
    [SYN_POD_GVISOR] = {"gvisor", "containerd-shim-runsc-v1", "io.containerd.runsc.v1"},
    [SYN_POD_KATA] = {"kata", "containerd-shim-kata-v2", "io.containerd.kata.v2"},
};

int
syn_container_parse(const char *text, char *out, size_t cap, struct syn_err *err)
{
    const char *path = text;

    if (syn_str_starts(path, "unix:"))
        path += strlen("unix:");
    if (syn_str_starts(path, "//"))
        path += strlen("//");
    if (path[0] != '/' || path[1] == '\0' || path[1] == '/')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--containerd: expected unix:///PATH or a socket's absolute path, got "
                        "\"%.80s\"",
                        text);
    return syn_path_format(out, cap, err, "unix:%s", path);
}

/* --- what it tells ---------------------------------------------------------------------------- */

static unsigned
take_number(const char **at)
{
    unsigned number = 0;

    for (; **at >= '0' && **at <= '9' && number < 10000; (*at)++)
        number = 10 * number + (unsigned)(**at - '0');
    return number;
}

/* "1.6.20", "v2.0.0-rc.1" */
static bool
new_enough(const char *version)
{
    const char *at = version + (version[0] == 'v');
    unsigned major = take_number(&at), minor;

    if (*at != '.')
        return false;
    at++;
    minor = take_number(&at);
    return major > MAJOR || (major == MAJOR && minor >= MINOR);
}

static int
check_version(const char *address, const Cri__VersionResponse *version, struct syn_cri_facts *ret,
              struct syn_err *err)
{
    if (!syn_str_eq(version->runtime_name, "containerd"))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%.80s is %.32s, not containerd: networks a runtime class and images "
                        "without a registry are containerd's own",
                        address, version->runtime_name);
    (void)snprintf(ret->version, sizeof(ret->version), "%.*s",
                   (int)SYN_MIN(strcspn(version->runtime_version, " ~+"), 60U),
                   version->runtime_version);
    if (!new_enough(version->runtime_version))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%.80s is containerd %.32s: 1.6 or newer is needed",
                        address, ret->version);
    return SYN_OK;
}

/* Take one runtime class if it is of ours. */
static int
take_handler(struct syn_cri_facts *ret, const char *name, const json_t *runtime,
             struct syn_err *err)
{
    const json_t *options = json_object_get(runtime, "options");
    const char *type = syn_json_str(runtime, "runtimeType", "");
    const char *root = syn_json_str(options, "Root", "");

    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        if (!syn_str_eq(type, syn_pod_kinds[i].type) || ret->handlers[i][0] != '\0')
            continue;
        if (syn_json_bool(options, "SystemdCgroup", false))
            return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                            "containerd's runtime class %.60s: SystemdCgroup must be false, as "
                            "limits are set on cgroups that the node makes itself",
                            name);
        if (!syn_str_copy(ret->handlers[i], sizeof(ret->handlers[i]), name))
            return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                            "containerd's runtime class %.60s: its name has over %zu bytes", name,
                            sizeof(ret->handlers[i]) - 1);
        if (i == SYN_POD_RUNC)
            return syn_path_format(ret->runc, sizeof(ret->runc), err, "%s",
                                   root[0] == '/' ? root : "/run/containerd/runc");
        return SYN_OK;
    }
    return SYN_OK;
}

static int
take_handlers(const json_t *config, const Cri__StatusResponse *status, const char *networks,
              struct syn_cri_facts *ret, struct syn_err *err)
{
    json_t *runtimes = json_object_get(json_object_get(config, "containerd"), "runtimes");
    const char *name;
    const json_t *runtime;
    bool any = false;
    int rc = SYN_OK;

    json_object_foreach (runtimes, name, runtime) {
        char key[128];

        if (!syn_str_eq(syn_json_str(runtime, "cniConfDir", ""), networks))
            continue;
        if (rc == SYN_OK)
            rc = take_handler(ret, name, runtime, err);
        (void)snprintf(key, sizeof(key), "lastCNILoadStatus.%.90s", name);
        /* Not told of a class: by the first pod it is known. */
        ret->loaded = !any || ret->loaded;
        if (!syn_str_eq(syn_cri_entry(status->info, status->n_info, key), "OK") &&
            syn_cri_entry(status->info, status->n_info, key)[0] != '\0')
            ret->loaded = false;
        any = true;
    }
    return rc;
}

int
syn_foreign_read(const char *address, const Cri__VersionResponse *version,
                 const Cri__StatusResponse *status, const char *networks, struct syn_cri_facts *ret,
                 struct syn_err *err)
{
    const char *text = syn_cri_entry(status->info, status->n_info, "config");
    const char *state;
    SYN_JSON(config);
    size_t count = 0;
    int rc;

    *ret = (struct syn_cri_facts){.loopback = true};
    rc = check_version(address, version, ret, err);
    if (rc < 0)
        return rc;
    if (syn_json_parse_object(text, strlen(text), &config, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%.80s: containerd %.32s does not tell how it is configured", address,
                        ret->version);
    /* "STATE/io.containerd.grpc.v1.cri" */
    state = syn_json_str(config, "stateDir", "");
    (void)snprintf(ret->state, sizeof(ret->state), "%.*s",
                   strrchr(state, '/') ? (int)(strrchr(state, '/') - state) : 0, state);
    if (ret->state[0] != '/')
        (void)syn_str_copy(ret->state, sizeof(ret->state), "/run/containerd");
    (void)syn_str_copy(ret->runc, sizeof(ret->runc), "/run/containerd/runc");
    ret->loopback = !syn_json_bool(config, "useInternalLoopback", false);
    (void)syn_str_copy(ret->plugins, sizeof(ret->plugins),
                       syn_json_str(json_object_get(config, "cni"), "binDir", ""));
    rc = take_handlers(config, status, networks, ret, err);
    for (size_t i = 0; i < SYN_POD_CLASSES; i++)
        count += ret->handlers[i][0] != '\0';
    if (rc == SYN_OK && count == 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%.80s has no runtime class with this node's networks: `synor runtime "
                        "config containerd` prints what its configuration lacks",
                        address);
    return rc;
}

/* --- asking it -------------------------------------------------------------------------------- */

static int
check_kubelet(struct syn_cri *cri, const char *address, struct syn_err *err)
{
    size_t count = 0;
    int rc = syn_cri_count_kubelets(cri, &count, err);

    return rc == SYN_OK && count > 0
               ? SYN_FAIL(err, SYN_E_UNSUPPORTED,
                          "%.80s has %zu pods of a kubelet, which ends all pods that its cluster "
                          "does not know: leave out --containerd, and the node has its own",
                          address, count)
               : rc;
}

static int
check_plugin(const struct syn_cri_facts *facts, const char *name, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/%s", facts->plugins, name);

    if (rc == SYN_OK && access(path, X_OK) < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%.120s is no program: `synor runtime config containerd` prints the link "
                        "that it lacks",
                        path);
    return rc;
}

int
syn_foreign_look(const char *address, const char *networks, struct syn_cri_facts *ret,
                 struct syn_err *err)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    SYN_SCOPED(syn_message_scope) Cri__VersionResponse *version = NULL;
    SYN_SCOPED(syn_message_scope) Cri__StatusResponse *status = NULL;
    int rc = syn_cri_open(address, &cri, err);

    if (rc == SYN_OK)
        rc = syn_cri_ask_version(cri, &version, err);
    if (rc == SYN_E_UNSUPPORTED || rc == SYN_E_CORRUPT)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%.80s does not speak CRI v1: its `cri` plugin is disabled, or it is "
                        "older than 1.6",
                        address);
    if (rc == SYN_OK)
        rc = syn_cri_info(cri, &status, err);
    if (rc == SYN_OK)
        rc = syn_foreign_read(address, version, status, networks, ret, err);
    if (rc == SYN_OK)
        rc = check_kubelet(cri, address, err);
    if (rc == SYN_OK)
        rc = check_plugin(ret, "synor", err);
    if (rc == SYN_OK && ret->loopback)
        rc = check_plugin(ret, "loopback", err);
    return rc;
}

/* --- what it needs ---------------------------------------------------------------------------- */

/* What matters here of a configuration of containerd. */
struct given {
    int version;       /* 0: it does not say */
    bool any, classes; /* anything is said; runtime classes are */
    char plugins[SYN_INSTANCE_PATH_MAX];
};

static void
take_line(struct given *given, const char *line, size_t len)
{
    static const char key[] = "version", plugins[] = "bin_dir";
    size_t indent = 0, word;
    const char *value;

    while (indent < len && (line[indent] == ' ' || line[indent] == '\t'))
        indent++;
    line += indent;
    len -= indent;
    if (len == 0 || line[0] == '#')
        return;
    given->any = true;
    given->classes =
        given->classes || (line[0] == '[' && memmem(line, len, ".containerd.runtimes.", 21));
    word = strcspn(line, " =\t\n");
    value = memchr(line, '=', len);
    if (!value)
        return;
    value += 1 + strspn(value + 1, " \t");
    if (word == strlen(key) && strncmp(line, key, word) == 0)
        given->version = (int)take_number(&value);
    else if (word == strlen(plugins) && strncmp(line, plugins, word) == 0 && *value == '"')
        (void)snprintf(given->plugins, sizeof(given->plugins), "%.*s",
                       (int)strcspn(value + 1, "\"\n"), value + 1);
}

static void
take_config(struct given *given, const char *text)
{
    *given = (struct given){.plugins = "/opt/cni/bin"};
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        take_line(given, text, len);
        text += len + (text[len] == '\n');
    }
}

static void
add_head(const char *root, const struct given *given, struct syn_buf *out)
{
    syn_buf_addf(out,
                 "# To be added to containerd's configuration, for a node of Synor that uses it:\n"
                 "#     synor agent --runtime container --containerd SOCKET ...\n"
                 "# Pods of others, and their networks, stay as they are. Then, once:\n"
                 "#     ln -s %s/" SYN_FOREIGN_PLUGIN " %s/synor\n"
                 "# (the same as %s/loopback, if there is none) and\n"
                 "#     systemctl restart containerd\n",
                 root, given->plugins, given->plugins);
    if (!given->any)
        syn_buf_addf(out, "version = 2\n");
}

int
syn_container_config(const char *root, const char *config, struct syn_buf *out, struct syn_err *err)
{
    const char *plugin;
    char path[SYN_PATH_MAX];
    struct given given;

    take_config(&given, config);
    if (given.any && given.version != 2 && given.version != 3)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "--config: containerd's configuration is of version %d; it must be 2 or 3 "
                        "(`containerd config default` shows one)",
                        given.version > 0 ? given.version : 1);
    plugin = given.version == 3 ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri";
    add_head(root, &given, out);
    /* One that names no class has runc; one that names any has those alone. */
    if (!given.classes)
        syn_buf_addf(out,
                     "\n# Without it the pods of others would have no class any more.\n"
                     "[plugins.\"%s\".containerd.runtimes.runc]\n"
                     "  runtime_type = \"%s\"\n",
                     plugin, syn_pod_kinds[SYN_POD_RUNC].type);
    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        const struct syn_pod_kind *kind = &syn_pod_kinds[i];

        if (i != SYN_POD_RUNC && !syn_container_find(kind->shim, path, sizeof(path))) {
            syn_buf_addf(out, "\n# No class %s: %s is not installed here.\n", kind->name,
                         kind->shim);
            continue;
        }
        syn_buf_addf(out,
                     "\n[plugins.\"%s\".containerd.runtimes.synor-%s]\n"
                     "  runtime_type = \"%s\"\n"
                     "  cni_conf_dir = \"%s/" SYN_FOREIGN_NETWORKS "\"\n",
                     plugin, kind->name, kind->type, root);
    }
    return syn_buf_ok(out, err);
}
