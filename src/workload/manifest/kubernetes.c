/* Deployment (apps/v1) and Service (v1) of Kubernetes, as far as a service here means the same. A
 * Service finds its Deployment in the same file, by labels; what it adds is the port. */
#include "manifest_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

bool
manifest_is_kubernetes(json_t *document)
{
    return json_is_object(document) && json_object_get(document, "apiVersion") != NULL;
}

/* --- quantities ------------------------------------------------------------------------------- */

/* "128Mi", "1G", "1048576": bytes, as text that our parser takes. 500m of a byte is nothing. */
static int
take_memory(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct {
        const char *suffix;
        int64_t factor;
    } units[] = {
        {"Ki", INT64_C(1) << 10},
        {"Mi", INT64_C(1) << 20},
        {"Gi", INT64_C(1) << 30},
        {"Ti", INT64_C(1) << 40},
        {"k", 1000},
        {"M", 1000000},
        {"G", 1000000000},
        {"T", 1000000000000},
        {"", 1},
    };
    SYN_BUF(text);
    char digits[24];
    int64_t number = 0;
    size_t len;
    int rc;

    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, "a quantity such as 128Mi");
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    len = strspn(syn_buf_text(&text), "0123456789");
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)SYN_MIN(len, sizeof(digits) - 1),
                   syn_buf_text(&text));
    for (size_t i = 0; i < SYN_LEN(units); i++) {
        if (!syn_str_eq(syn_buf_text(&text) + len, units[i].suffix))
            continue;
        rc = syn_parse_i64(digits, 1, INT64_MAX / units[i].factor, at->path, &number, err);
        return rc < 0 ? rc
                      : manifest_set_take(at, at->rule->to, json_integer(number * units[i].factor),
                                          err);
    }
    return manifest_wrong(at, err, "a quantity such as 128Mi");
}

/* Seconds, here text with its unit. */
static int
take_seconds(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    int64_t seconds = 0;
    int rc = manifest_whole(at, value, &seconds, err);

    if (rc == SYN_OK && seconds > INT64_MAX / 1000)
        rc = manifest_wrong(at, err, "fewer seconds");
    return rc < 0 ? rc : manifest_set_take(at, at->rule->to, json_integer(seconds * 1000), err);
}

/* --- the container ---------------------------------------------------------------------------- */

static int
take_env(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_JSON(env);
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    env = json_object();
    if (env == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for variables");
    if (!json_is_array(value))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (value, i, row) {
        struct manifest_at below;
        const char *name = syn_json_str(row, "name", NULL);
        SYN_BUF(text);

        manifest_below(at, NULL, i, &below);
        if (name == NULL)
            return manifest_wrong(&below, err, "name and value");
        if (json_object_get(row, "valueFrom") != NULL) {
            rc = manifest_unknown(&below, err, "%.63s: only `value` is understood", name);
        } else {
            (void)manifest_text(json_object_get(row, "value"), &text);
            rc = syn_buf_ok(&text, err);
            if (rc == SYN_OK)
                rc = syn_json_set_str(env, name, syn_buf_text(&text), err);
        }
        if (rc < 0)
            return rc;
    }
    return manifest_set_take(at, "env", SYN_TAKE(env), err);
}

/* The first port is the service's, unless a Service of the file names another. */
static int
take_container_ports(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    if (!json_is_array(value))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (value, i, row) {
        struct manifest_at below;
        int64_t port = 0;

        manifest_below(at, NULL, i, &below);
        if (!syn_str_eq(syn_json_str(row, "protocol", "TCP"), "TCP"))
            rc = manifest_unknown(&below, err, "services speak TCP");
        else
            rc = manifest_whole(&below, json_object_get(row, "containerPort"), &port, err);
        if (rc == SYN_OK && i == 0)
            rc = syn_json_set_i64(at->spec, "port", port, err);
        if (rc < 0)
            return rc;
    }
    return syn_json_set_take(at->item, "ports", syn_json_deep_copy(value), err);
}

static int
take_limits(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"cpu", manifest_take_text, "cpu_millicores", NULL},
        {"memory", take_memory, "memory_bytes", NULL},
        {"ephemeral-storage", take_memory, "scratch_bytes", NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* Limits are what a replica has; requests stand for them where there are none. */
static int
take_resources(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"limits", take_limits, NULL, NULL},
        {"requests", NULL, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    json_t *requests = json_object_get(value, "requests");
    struct manifest_at below;
    int rc = SYN_OK;

    manifest_below(at, "requests", 0, &below);
    if (requests != NULL && json_object_get(value, "limits") == NULL)
        rc = take_limits(&below, requests, err);
    else if (requests != NULL)
        rc = manifest_note(&below, err, "a replica has what `limits` says, all of it reserved");
    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

/* A number, or the name of one of the container's ports. */
static int
resolve_port(const struct manifest_at *at, json_t *value, int64_t *ret, struct syn_err *err)
{
    json_t *row;
    size_t i;

    if (!json_is_string(value))
        return manifest_whole(at, value, ret, err);
    json_array_foreach (json_object_get(at->item, "ports"), i, row)
        if (syn_str_eq(syn_json_str(row, "name", NULL), json_string_value(value)))
            return manifest_whole(at, json_object_get(row, "containerPort"), ret, err);
    return SYN_FAIL(err, SYN_E_INVALID, "%s: no port of the container is called \"%.40s\"",
                    at->path, json_string_value(value));
}

/* A threshold that is 1 whatever is said. */
static int
take_if_one(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    int64_t number = 0;
    int rc = manifest_whole(at, value, &number, err);

    return rc < 0 || number == 1 ? rc : manifest_unknown(at, err, "is always 1 here");
}

/* Of a probe, at->spec is the check that it becomes. */
static int
take_probe_port(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    int64_t port = 0;
    int rc = resolve_port(at, value, &port, err);

    return rc < 0 ? rc : manifest_set_take(at, "port", json_integer(port), err);
}

static int
take_headers(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    json_t *headers = json_object(), *row;
    size_t i;
    int rc = manifest_set_take(at, "headers", headers, err);

    if (rc == SYN_OK && !json_is_array(value))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (value, i, row) {
        const char *name = syn_json_str(row, "name", ""), *text = syn_json_str(row, "value", "");

        if (rc == SYN_OK && strcasecmp(name, "Host") == 0)
            rc = manifest_set_take(at, "host", json_string(text), err);
        else if (rc == SYN_OK)
            rc = syn_json_set_str(headers, name, text, err);
    }
    return rc;
}

static int
take_http(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"path", manifest_take_text, "path", NULL},
        {"port", take_probe_port, NULL, NULL},
        {"scheme", NULL, NULL, "checks speak plain HTTP"},
        {"host", NULL, NULL, "the replica itself is asked; httpHeaders may say Host"},
        {"httpHeaders", take_headers, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = manifest_set_take(at, "kind", json_string("http"), err);

    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

static int
take_tcp(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"port", take_probe_port, NULL, NULL},
        {"host", NULL, NULL, "the replica itself is asked"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = manifest_set_take(at, "kind", json_string("tcp"), err);

    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

static int
take_exec(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {{"command", manifest_take_words, "command", NULL}};
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = manifest_set_take(at, "kind", json_string("exec"), err);

    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

static int
take_grpc(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"port", manifest_take_whole, "port", NULL},
        {"service", manifest_take_text, "service", NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = manifest_set_take(at, "kind", json_string("grpc"), err);

    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

#define PROBE_RULES                                                                           \
    {"httpGet", take_http, NULL, NULL}, {"tcpSocket", take_tcp, NULL, NULL},                  \
        {"exec", take_exec, NULL, NULL}, {"grpc", take_grpc, NULL, NULL},                     \
        {"periodSeconds", take_seconds, "interval_ms", NULL},                                 \
        {"timeoutSeconds", take_seconds, "timeout_ms", NULL},                                 \
        {"initialDelaySeconds", NULL, NULL, NULL}, /* it is asked from its start, may fail */ \
    {                                                                                         \
        "terminationGracePeriodSeconds", NULL, NULL, "see that of the pod"                    \
    }

/* A probe as the check `key` of the spec. */
static int
take_probe(const struct manifest_at *at, const struct manifest_rules *rules, const char *key,
           json_t *value, struct syn_err *err)
{
    struct manifest_at probe = *at;
    int rc;

    probe.spec = json_object();
    rc = manifest_set_take(at, key, probe.spec, err);
    return rc < 0 ? rc : manifest_walk(&probe, rules, value, err);
}

/* It takes a replica out of traffic, no more. */
static int
take_readiness(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        PROBE_RULES,
        {"successThreshold", manifest_take_whole, "healthy", NULL},
        {"failureThreshold", manifest_take_whole, "unhealthy", NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = take_probe(at, &rules, "health", value, err);

    return rc < 0 ? rc : manifest_set_take(at, "health.ends", json_false(), err);
}

static int
take_liveness(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        PROBE_RULES,
        {"successThreshold", take_if_one, NULL, NULL},
        {"failureThreshold", manifest_take_whole, "unhealthy", NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return take_probe(at, &rules, "liveness", value, err);
}

/* So many periods are the time that it has. */
static int
take_startup(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        PROBE_RULES,
        {"successThreshold", take_if_one, NULL, NULL},
        {"failureThreshold", NULL, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int64_t period = 10, failures = 3;
    int rc = take_probe(at, &rules, "startup", value, err);

    if (rc == SYN_OK && json_object_get(value, "periodSeconds") != NULL)
        rc = manifest_whole(at, json_object_get(value, "periodSeconds"), &period, err);
    if (rc == SYN_OK && json_object_get(value, "failureThreshold") != NULL)
        rc = manifest_whole(at, json_object_get(value, "failureThreshold"), &failures, err);
    if (rc == SYN_OK && (period > 3600 || failures > 3600))
        rc = manifest_wrong(at, err, "fewer, or shorter, periods");
    return rc < 0 ? rc
                  : manifest_set_take(at, "health.start_ms", json_integer(period * failures * 1000),
                                      err);
}

/* --- security and volumes --------------------------------------------------------------------- */

/* Only this value, which is so anyway. */
static int
take_so(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_BUF(text);

    (void)manifest_text(value, &text);
    if (syn_buf_ok(&text, err) < 0)
        return SYN_E_NOMEM;
    return syn_str_eq(syn_buf_text(&text), at->rule->to)
               ? SYN_OK
               : manifest_unknown(at, err, "is always %s here", at->rule->to);
}

/* Which user, of runAsUser and runAsGroup, which stand beside each other. */
static int
take_run_as(const struct manifest_at *at, json_t *context, struct syn_err *err)
{
    json_t *user = json_object_get(context, "runAsUser");
    json_t *group = json_object_get(context, "runAsGroup");
    int64_t uid = 0, gid = 0;
    struct manifest_at below;
    SYN_JSON(text);
    int rc = SYN_OK;

    manifest_below(at, "runAsUser", 0, &below);
    if (user != NULL)
        rc = manifest_whole(&below, user, &uid, err);
    if (rc == SYN_OK && group != NULL)
        rc = manifest_whole(&below, group, &gid, err);
    if (rc < 0 || (user == NULL && group == NULL))
        return rc;
    if (user == NULL)
        return manifest_unknown(at, err, "runAsGroup is understood beside runAsUser");
    text = group != NULL ? json_sprintf("%lld:%lld", (long long)uid, (long long)gid)
                         : json_sprintf("%lld", (long long)uid);
    if (text == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a user");
    return manifest_take_user(&below, text, err);
}

static int
take_capabilities(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"drop", NULL, NULL, NULL}, /* a replica has none */
        {"add", NULL, NULL, "a replica has no capabilities"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_seccomp(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {{"type", take_so, "RuntimeDefault", NULL}};
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* Of the pod and of the container, whose word counts. */
static int
take_security(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"runAsUser", NULL, NULL, NULL}, /* taken together, below */
        {"runAsGroup", NULL, NULL, NULL},
        {"runAsNonRoot", take_so, "true", NULL},
        {"readOnlyRootFilesystem", take_so, "true", NULL},
        {"allowPrivilegeEscalation", take_so, "false", NULL},
        {"privileged", take_so, "false", NULL},
        {"capabilities", take_capabilities, NULL, NULL},
        {"seccompProfile", take_seccomp, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    int rc = manifest_walk(at, &rules, value, err);

    return rc < 0 ? rc : take_run_as(at, value, err);
}

/* The volume of a name, from those that the pod has. */
static json_t *
find_volume(const struct manifest_at *at, const char *name)
{
    json_t *row;
    size_t i;

    json_array_foreach (json_object_get(at->item, "volumes"), i, row)
        if (syn_str_eq(syn_json_str(row, "name", NULL), name))
            return row;
    return NULL;
}

/* An empty folder, in memory or on the disk. */
static int
take_empty(const struct manifest_at *at, const char *path, json_t *empty, struct syn_err *err)
{
    static const struct manifest_rule size = {"sizeLimit", take_memory, "size_bytes", NULL};
    const char *medium = syn_json_str(empty, "medium", "");
    json_t *limit = json_object_get(empty, "sizeLimit"), *mount = NULL;
    struct manifest_at below;
    int rc;

    manifest_below(at, "sizeLimit", 0, &below);
    if (*medium == '\0') {
        rc = manifest_mount(at, "scratch", path, &mount, err);
        return rc < 0 || limit == NULL
                   ? rc
                   : manifest_note(&below, err,
                                   "its limit is that of all scratch space, ephemeral-storage");
    }
    if (!syn_str_eq(medium, "Memory"))
        return manifest_unknown(at, err, "emptyDir.medium %.40s: Memory is understood, or none",
                                medium);
    rc = manifest_mount(at, "tmpfs", path, &mount, err);
    if (rc < 0 || limit == NULL)
        return rc;
    below.spec = mount;
    below.rule = &size;
    return take_memory(&below, limit, err);
}

/* An empty folder, or a volume of the account. */
static int
take_volume_mount(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *name = syn_json_str(value, "name", ""),
               *path = syn_json_str(value, "mountPath", "");
    json_t *volume = find_volume(at, name), *empty = json_object_get(volume, "emptyDir");
    const json_t *claim = json_object_get(volume, "persistentVolumeClaim");

    if (volume == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: no volume of the pod is called \"%.63s\"",
                        at->path, name);
    if (claim != NULL)
        return manifest_volume(at, syn_json_str(claim, "claimName", ""), path,
                               json_is_true(json_object_get(claim, "readOnly")) ||
                                   json_is_true(json_object_get(value, "readOnly")),
                               err);
    return empty != NULL
               ? take_empty(at, path, empty, err)
               : manifest_unknown(at, err,
                                  "%.63s: persistentVolumeClaim and emptyDir are understood; see "
                                  "--secret-file of service deploy for secrets",
                                  name);
}

static int
take_volume_mounts(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return manifest_each(at, value, take_volume_mount, err);
}

static int
take_pull_policy(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    (void)value;
    return manifest_note(at, err, "a version's image is pinned when it is deployed");
}

static int
take_pre_stop(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"httpGet", take_http, NULL, NULL},
        {"exec", take_exec, NULL, NULL},
        {"sleep", NULL, NULL, "see --drain of service deploy"},
        {"tcpSocket", NULL, NULL, "httpGet and exec are understood"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return take_probe(at, &rules, "pre_stop", value, err);
}

static int
take_lifecycle(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"preStop", take_pre_stop, NULL, NULL},
        {"postStart", NULL, NULL, "the program may do it itself"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_container(const struct manifest_at *at, json_t *container, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"name", NULL, NULL, NULL},
        {"image", manifest_take_text, "image", NULL},
        {"command", manifest_take_words, "command", NULL},
        {"args", manifest_take_words, "args", NULL},
        {"env", take_env, NULL, NULL},
        {"envFrom", NULL, NULL, "write the variables under env"},
        {"ports", take_container_ports, NULL, NULL},
        {"resources", take_resources, NULL, NULL},
        {"readinessProbe", take_readiness, NULL, NULL},
        {"livenessProbe", take_liveness, NULL, NULL},
        {"startupProbe", NULL, NULL, NULL}, /* after the others, below */
        {"imagePullPolicy", take_pull_policy, NULL, NULL},
        {"workingDir", manifest_take_text, "workdir", NULL},
        {"volumeMounts", take_volume_mounts, NULL, NULL},
        {"securityContext", take_security, NULL, NULL},
        {"lifecycle", take_lifecycle, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    json_t *ports = json_object_get(container, "ports");
    json_t *startup = json_object_get(container, "startupProbe");
    struct manifest_at below;
    int rc = SYN_OK;

    manifest_below(at, "ports", 0, &below); /* probes name them */
    if (ports != NULL)
        rc = take_container_ports(&below, ports, err);
    if (rc == SYN_OK)
        rc = manifest_walk(at, &rules, container, err);
    manifest_below(at, "startupProbe", 0, &below); /* its time is the readiness probe's, too */
    if (rc == SYN_OK && startup != NULL)
        rc = take_startup(&below, startup, err);
    /* Without a readiness probe it is ready once it runs. */
    if (rc == SYN_OK && json_object_get(container, "readinessProbe") == NULL &&
        (startup != NULL || json_object_get(container, "livenessProbe") != NULL))
        rc = manifest_set_take(at, "health.kind", json_string("none"), err);
    return rc;
}

static int
take_containers(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    struct manifest_at below;

    manifest_below(at, NULL, 0, &below);
    if (json_array_size(value) != 1)
        return manifest_wrong(at, err, "one container: a replica here is one");
    return take_container(&below, json_array_get(value, 0), err);
}

/* --- Deployment ------------------------------------------------------------------------------- */

static int
take_restart(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return syn_str_eq(json_string_value(value), "Always")
               ? SYN_OK
               : manifest_unknown(at, err,
                                  "a Deployment's are always started again, in Kubernetes, too");
}

static int
take_pod(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"containers", take_containers, NULL, NULL},
        {"initContainers", NULL, NULL, "a replica is one container"},
        {"volumes", NULL, NULL, NULL},         /* those that are mounted say what they are */
        {"securityContext", NULL, NULL, NULL}, /* looked at first, below */
        {"hostname", manifest_take_text, "hostname", NULL},
        {"restartPolicy", take_restart, NULL, NULL},
        {"terminationGracePeriodSeconds", take_seconds, "stop_grace_ms", NULL},
        {"nodeSelector", NULL, NULL, "see --region of service deploy"},
        {"affinity", NULL, NULL, "replicas are spread; see --policy of service deploy"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    json_t *volumes = json_object_get(value, "volumes");
    json_t *security = json_object_get(value, "securityContext");
    struct manifest_at below;
    int rc = SYN_OK;

    manifest_below(at, "securityContext", 0, &below); /* the container's own counts more */
    if (volumes != NULL)
        rc = syn_json_set_take(at->item, "volumes", json_incref(volumes), err);
    if (rc == SYN_OK && security != NULL)
        rc = take_security(&below, security, err);
    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

static int
take_labels(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return syn_json_set_take(at->item, "labels", syn_json_deep_copy(value), err);
}

static int
take_template_metadata(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"labels", take_labels, NULL, NULL},
        {"annotations", NULL, NULL, "nobody here reads them"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_template(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"metadata", take_template_metadata, NULL, NULL},
        {"spec", take_pod, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* A number, or a percentage of the replicas: rounded up for the surge, down for the rest. */
static int
take_part(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *text = json_string_value(value);
    bool surge = syn_str_eq(at->rule->to, "max_surge");
    int64_t replicas = syn_json_i64(at->spec, "replicas", 1), part = 0;
    char digits[8];
    int rc;

    if (text == NULL || !syn_str_ends(text, "%"))
        return manifest_take_whole(at, value, err);
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)SYN_MIN(strlen(text) - 1, (size_t)7), text);
    rc = syn_parse_i64(digits, 0, 100, at->path, &part, err);
    if (rc < 0)
        return rc;
    if (replicas > INT64_MAX / 100 - 1)
        return manifest_wrong(at, err, "fewer replicas");
    return manifest_set_take(at, at->rule->to,
                             json_integer((replicas * part + (surge ? 99 : 0)) / 100), err);
}

static int
take_rolling(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"maxSurge", take_part, "max_surge", NULL},
        {"maxUnavailable", take_part, "max_unavailable", NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_strategy_type(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return syn_str_eq(json_string_value(value), "RollingUpdate")
               ? SYN_OK
               : manifest_unknown(at, err, "services are updated by RollingUpdate");
}

static int
take_strategy(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"type", take_strategy_type, NULL, NULL},
        {"rollingUpdate", take_rolling, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_deployment_spec(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"replicas", manifest_take_whole, "replicas", NULL},
        {"selector", NULL, NULL, NULL}, /* it is the template's own labels */
        {"template", take_template, NULL, NULL},
        {"strategy", take_strategy, NULL, NULL},
        {"progressDeadlineSeconds", take_seconds, "update_deadline_ms", NULL},
        {"minReadySeconds", NULL, NULL, "see --health-check of service deploy"},
        {"revisionHistoryLimit", NULL, NULL, NULL}, /* 20 versions are kept */
        {"paused", NULL, NULL, "an update runs, or is rolled back"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    struct manifest_at below;
    int rc = SYN_OK;

    manifest_below(at, "replicas", 0, &below); /* percentages are of them */
    below.rule = &rows[0];
    if (json_object_get(value, "replicas") != NULL)
        rc = manifest_take_whole(&below, json_object_get(value, "replicas"), err);
    return rc < 0 ? rc : manifest_walk(at, &rules, value, err);
}

static int
take_deployment(const struct manifest_at *at, json_t *document, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"apiVersion", NULL, NULL, NULL}, {"kind", NULL, NULL, NULL},
        {"metadata", NULL, NULL, NULL},   {"spec", take_deployment_spec, NULL, NULL},
        {"status", NULL, NULL, NULL}, /* of a document that was read from a cluster */
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    struct manifest_at made;
    int rc = manifest_item(
        at, "service", syn_json_str(json_object_get(document, "metadata"), "name", ""), &made, err);

    if (rc == SYN_OK)
        rc = manifest_walk(&made, &rules, document, err);
    if (rc == SYN_OK && json_object_get(made.spec, "image") == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: has no image", at->path);
    return rc;
}

/* --- Service ---------------------------------------------------------------------------------- */

static int
take_type(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *type = json_string_value(value);

    return syn_str_eq(type, "ClusterIP") || syn_str_eq(type, "LoadBalancer")
               ? SYN_OK
               : manifest_unknown(at, err, "the platform gives the address");
}

static bool
selects(json_t *selector, json_t *item)
{
    const char *key;
    json_t *value;

    json_object_foreach (selector, key, value)
        if (!json_equal(json_object_get(json_object_get(item, "labels"), key), value))
            return false;
    return json_object_size(selector) > 0;
}

/* Its one port becomes the service's. */
static int
join_ports(const struct manifest_at *at, json_t *ports, struct syn_err *err)
{
    json_t *port = json_array_get(ports, 0), *target;
    int64_t number = 0;
    int rc;

    if (json_array_size(ports) != 1)
        return manifest_unknown(at, err, "a service has one port");
    if (!syn_str_eq(syn_json_str(port, "protocol", "TCP"), "TCP"))
        return manifest_unknown(at, err, "services speak TCP");
    target = json_object_get(port, "targetPort");
    rc = resolve_port(at, target != NULL ? target : json_object_get(port, "port"), &number, err);
    return rc < 0 ? rc : syn_json_set_i64(at->spec, "port", number, err);
}

static int
join_service(struct manifest *file, json_t *document, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"selector", NULL, NULL, NULL},
        {"ports", NULL, NULL, NULL},
        {"type", take_type, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    json_t *spec = json_object_get(document, "spec");
    struct manifest_at at = {.file = file};
    const char *name = syn_json_str(json_object_get(document, "metadata"), "name", "?");
    json_t *item;
    size_t i;
    int rc;

    (void)snprintf(at.path, sizeof(at.path), "Service %.63s", name);
    rc = manifest_walk(&at, &rules, spec, err);
    if (rc < 0)
        return rc;
    json_array_foreach (file->items, i, item) {
        if (!selects(json_object_get(spec, "selector"), item))
            continue;
        at.item = item;
        at.spec = json_object_get(item, "spec");
        if (!syn_str_eq(name, syn_json_str(item, "name", "")))
            rc = manifest_note(&at, err, "is called %s here, as its Deployment",
                               syn_json_str(item, "name", ""));
        return rc < 0 ? rc : join_ports(&at, json_object_get(spec, "ports"), err);
    }
    return manifest_unknown(&at, err, "selects no Deployment of this file");
}

int
manifest_kubernetes_join(struct manifest *file, struct syn_err *err)
{
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (file->ports, i, row)
        if (rc == SYN_OK)
            rc = join_service(file, row, err);
    json_array_foreach (file->items, i, row) { /* what only the joining needed */
        (void)json_object_del(row, "labels");
        (void)json_object_del(row, "ports");
        (void)json_object_del(row, "volumes");
    }
    return rc;
}

int
manifest_kubernetes(const struct manifest_at *at, json_t *document, struct syn_err *err)
{
    const char *kind = syn_json_str(document, "kind", "");
    const char *version = syn_json_str(document, "apiVersion", "");

    if (syn_str_eq(kind, "Deployment") && syn_str_eq(version, "apps/v1"))
        return take_deployment(at, document, err);
    if (syn_str_eq(kind, "Service") && syn_str_eq(version, "v1"))
        return syn_json_append_take(at->file->ports, json_incref(document), err);
    return manifest_unknown(at, err, "%.40s of %.40s: Deployment and Service are understood", kind,
                            version);
}
