#include <synor/workload/service_spec.h>

#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/orchestration/autoscale.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/fleet.h>

#include "../work_priv.h"
#include "autoscale_priv.h"
#include "checks_priv.h"
#include "mesh_priv.h"
#include "mounts_priv.h"
#include "stage_priv.h"

#define REF_MAX           512
#define MIB               (INT64_C(1) << 20)
#define STOP_GRACE_MAX_MS (INT64_C(3600) * 1000)
#define SLOW_START_MAX_MS (INT64_C(3600) * 1000)
#define HOLD_MAX_MS       (INT64_C(600) * 1000)
#define HOLD_MS           5000
#define HOLD_ZERO_MS      30000 /* where a replica has to be started first */
#define DEADLINE_MAX_MS   (INT64_C(24) * 3600 * 1000)
#define BILLING_MIN_MS    1000
#define BILLING_MAX_MS    (INT64_C(31) * 24 * 3600 * 1000)
#define BILLING_MS        (INT64_C(24) * 3600 * 1000) /* of specs of before there was such a key */

/* What the platform sets, besides SYNOR_*. */
static const char *const reserved_env[] = {"PORT"};

/* clang-format off */
static const struct syn_field lb_fields[] = {
    {.name = "publish", .kind = SYN_FIELD_BOOL, .fallback = "true",
     .help = "a service with a port gets a lasting address of the platform's balancer"},
    {.name = "protocol", .kind = SYN_FIELD_STR, .choices = "auto|tcp|http|h2|grpc", .fallback = "\"auto\"",
     .help = "what clients speak; auto: grpc or http with a check by it, http with a host or a path, else tcp"},
    {.name = "algorithm", .kind = SYN_FIELD_STR, .fallback = "\"round-robin\"",
     .choices = "round-robin|least-connections|weighted|ip-hash|random",
     .help = "which replica a request goes to; weighted: in proportion to their CPU"},
    {.name = "sticky", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "a client comes back to its replica, by a cookie"},
    {.name = "host", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_HOST_MAX, .fallback = "\"\"",
     .help = "requests for this host on the shared front are its own; *.NAME stands for one label"},
    {.name = "path", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_SERVICE_PREFIX_MAX, .fallback = "\"\"",
     .help = "of those, what is at or below this path"},
    {.name = "tls", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "clients speak TLS, which ends at the balancer"},
    {.name = "certificate", .kind = SYN_FIELD_STR, .min = 0, .max = 63, .fallback = "\"\"",
     .help = "with tls: the account's certificate of this name; acme: one of the platform's ACME directory for the host; \"\": the platform's own"},
    {.name = "redirect_http", .kind = SYN_FIELD_BOOL, .fallback = "false",
     .help = "requests in plain text on the shared front are sent to https"},
    {.name = "hold_ms", .kind = SYN_FIELD_MS, .min = 0, .max = HOLD_MAX_MS,
     .help = "requests wait so long for a first replica; default 30s where none may run, else 5s"},
    {.name = "slow_start_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SLOW_START_MAX_MS, .fallback = "0",
     .help = "a new replica's share of requests grows for so long"},
    {.name = "errors_max", .kind = SYN_FIELD_I64, .min = 0, .max = 1000, .fallback = "0",
     .help = "so many errors of requests in a row take a replica out until it answers a check; 0: never"},
};
static const struct syn_schema lb_schema = SYN_SCHEMA("ServiceBalancing", lb_fields);

static const struct syn_field rollout_fields[] = {
    {.name = "strategy", .kind = SYN_FIELD_STR, .choices = "rolling|canary|blue-green", .fallback = "\"rolling\"",
     .help = "replica by replica; a part of what comes first; beside the old ones and then all at once"},
    {.name = "promote", .kind = SYN_FIELD_STR, .choices = "auto|manual", .fallback = "\"auto\"",
     .help = "canary, blue-green: whether it goes on by itself, or when services.promote says so"},
    {.name = "weight", .kind = SYN_FIELD_STR, .min = 2, .max = 79, .fallback = "\"10%\"",
     .help = "canary: parts of what comes that the new version gets, one after the other: 10%,50%"},
    {.name = "pause_ms", .kind = SYN_FIELD_MS, .min = 0, .max = DEADLINE_MAX_MS, .fallback = "60000",
     .help = "canary: how long each part lasts"},
    {.name = "max_errors", .kind = SYN_FIELD_STR, .min = 2, .max = 8, .fallback = "\"1%\"",
     .help = "canary: so much larger a part of its answers may be errors than of the old version's"},
    {.name = "keep_old_ms", .kind = SYN_FIELD_MS, .min = 0, .max = DEADLINE_MAX_MS, .fallback = "300000",
     .help = "blue-green: so long the old replicas stay, for a rollback in an instant"},
};
static const struct syn_schema rollout_schema = SYN_SCHEMA("ServiceRollout", rollout_fields);

static const struct syn_field function_fields[] = {
    {.name = "id", .kind = SYN_FIELD_NAME, .required = true, .help = "of the function"},
    {.name = "version", .kind = SYN_FIELD_I64, .required = true, .min = 1, .max = INT64_MAX,
     .help = "of it"},
    {.name = "language", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_FRAMEWORK_MAX - 1, .fallback = "\"\"",
     .help = "that its node must have; \"\" none"},
    {.name = "language_version", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_VERSION_MAX - 1,
     .fallback = "\"\"", .help = "what its version begins with; \"\" any"},
    {.name = "env", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_SERVICE_ENV_MAX, .fallback = "{}",
     .help = "variables of the platform's own"},
    {.name = "start", .kind = SYN_FIELD_STR, .choices = "cold|zygote|snapshot", .fallback = "\"cold\"",
     .help = "how its instances may be started; one that its node cannot start so starts cold"},
};
static const struct syn_schema function_schema = SYN_SCHEMA("ServiceFunction", function_fields);

static const struct syn_field spec_fields[] = {
    {.name = "image", .kind = SYN_FIELD_STR, .required = true, .min = 1, .max = REF_MAX,
     .help = "synor://NAME or synor://CID of an OCI layout; what a name stands for is kept at deployment"},
    {.name = "command", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_SERVICE_ARGS_MAX, .fallback = "[]",
     .help = "instead of the image's entry point"},
    {.name = "args", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_SERVICE_ARGS_MAX, .fallback = "[]",
     .help = "instead of the image's own arguments"},
    {.name = "env", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_SERVICE_ENV_MAX, .fallback = "{}",
     .help = "environment of the program"},
    {.name = "secrets", .kind = SYN_FIELD_MAP, .min = 0, .max = SYN_SERVICE_SECRETS_MAX, .fallback = "{}",
     .help = "variables of the environment that are set to secrets of the account: {VARIABLE: NAME}"},
    {.name = "user", .kind = SYN_FIELD_STR, .min = 1, .max = 32,
     .help = "UID[:GID] that the program runs as, never 0; default the image's, else 1000"},
    {.name = "workdir", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_SERVICE_MOUNT_PATH_MAX,
     .help = "where the program starts; default the image's"},
    {.name = "hostname", .kind = SYN_FIELD_NAME, .help = "what a replica is called within; default its id"},
    {.name = "mounts", .kind = SYN_FIELD_LIST, .sub = &service_mount_schema, .min = 0, .max = SYN_SERVICE_MOUNTS_MAX,
     .help = "what is mounted over the image, which is read-only"},
    {.name = "stop_signal", .kind = SYN_FIELD_STR,
     .choices = "SIGTERM|SIGINT|SIGQUIT|SIGHUP|SIGUSR1|SIGUSR2|SIGWINCH",
     .help = "what asks the program to end; default the image's, else SIGTERM"},
    {.name = "port", .kind = SYN_FIELD_I64, .min = 0, .max = 65535, .fallback = "0",
     .help = "where the program listens; 0: nowhere"},
    {.name = "health", .kind = SYN_FIELD_OBJ, .sub = &service_health_schema, .fallback = "{}",
     .help = "how it is found out that a replica is well"},
    {.name = "liveness", .kind = SYN_FIELD_OBJ, .sub = &service_check_schema,
     .help = "how it is found out that it must be ended, if that is another question"},
    {.name = "startup", .kind = SYN_FIELD_OBJ, .sub = &service_check_schema,
     .help = "what must be well once before the other checks begin"},
    {.name = "pre_stop", .kind = SYN_FIELD_OBJ, .sub = &service_hook_schema,
     .help = "what is asked of it before its stop signal, within stop_grace_ms"},
    {.name = "lb", .kind = SYN_FIELD_OBJ, .sub = &lb_schema, .fallback = "{}",
     .help = "how clients reach it through the platform's balancer"},
    {.name = "mesh", .kind = SYN_FIELD_OBJ, .sub = &service_mesh_schema, .fallback = "{}",
     .help = "how what runs on the platform reaches it, by its name"},
    {.name = "cpu_millicores", .kind = SYN_FIELD_CPUS, .min = 10, .max = 4096000, .fallback = "1000",
     .help = "CPU of a replica"},
    {.name = "memory_bytes", .kind = SYN_FIELD_BYTES, .min = 16 * MIB, .max = SYN_NODE_QUANTITY_MAX,
     .fallback = "536870912", .help = "memory of a replica"},
    {.name = "scratch_bytes", .kind = SYN_FIELD_BYTES, .min = MIB, .max = SYN_NODE_QUANTITY_MAX,
     .fallback = "1073741824", .help = "quota of a replica's writable volume"},
    {.name = "gpus", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_PLACE_GPUS_MAX,
     .help = "GPUs of a replica, all of one model"},
    {.name = "gpu_model", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_GPU_MODEL_MAX - 1,
     .help = "model of the GPUs; \"\" any"},
    SYN_CARD_FIELDS,
    {.name = "region", .kind = SYN_FIELD_STR, .min = 0, .max = SYN_NODE_REGION_MAX - 1, .fallback = "\"\"",
     .help = "where it may run; \"\" anywhere"},
    {.name = "isolation", .kind = SYN_FIELD_STR, .choices = "auto|gvisor|runc|kata|namespace", .fallback = "\"auto\"",
     .help = "the sandbox; namespace: of functions alone"},
    {.name = "stop_grace_ms", .kind = SYN_FIELD_MS, .min = 0, .max = STOP_GRACE_MAX_MS, .fallback = "10000",
     .help = "time to end after a stop signal"},
    {.name = "drain_ms", .kind = SYN_FIELD_MS, .min = 0, .max = STOP_GRACE_MAX_MS, .fallback = "10000",
     .help = "time to end what it has, between leaving traffic and the stop signal"},
    {.name = "replicas", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX, .fallback = "1",
     .help = "how many run at once; with autoscale, to begin with"},
    {.name = "restart", .kind = SYN_FIELD_STR, .choices = "always|on-failure|never", .fallback = "\"always\"",
     .help = "which replicas that end by themselves are replaced: all, those that fail, or none"},
    {.name = "autoscale", .kind = SYN_FIELD_OBJ, .sub = &service_autoscale_schema,
     .help = "how many run at once is found out by load and time"},
    {.name = "max_surge", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX, .fallback = "1",
     .help = "so many more may run during an update"},
    {.name = "max_unavailable", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_SERVICE_REPLICAS_MAX, .fallback = "0",
     .help = "so many may be missing during an update"},
    {.name = "update_deadline_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = DEADLINE_MAX_MS, .fallback = "600000",
     .help = "an update that is not done by then is rolled back"},
    {.name = "rollout", .kind = SYN_FIELD_OBJ, .sub = &rollout_schema, .fallback = "{}",
     .help = "how a new version takes the place of the one before"},
    {.name = "policy", .kind = SYN_FIELD_STR, .fallback = "\"spread\"",
     .choices = "balanced|binpack|spread|fragmentation|latency|energy|price",
     .help = "which of the nodes that can take it is chosen"},
    {.name = "priority", .kind = SYN_FIELD_I64, .min = 0, .max = 1000, .fallback = "500",
     .help = "higher is placed first"},
    {.name = "max_price", .kind = SYN_FIELD_AMOUNT, .help = "SYNOR an hour that one replica may cost, all in"},
    {.name = "max_budget", .kind = SYN_FIELD_AMOUNT,
     .help = "SYNOR that a billing period may cost before it is stopped; without it, what the account has"},
    {.name = "billing_period_ms", .kind = SYN_FIELD_MS, .min = BILLING_MIN_MS, .max = BILLING_MAX_MS,
     .fallback = "86400000", .help = "so often a bill is written while it runs"},
    {.name = "app", .kind = SYN_FIELD_STR, .min = 0, .max = 63, .fallback = "\"\"",
     .help = "the file that it is kept in, by which what is in it no more is found; \"\" none"},
    {.name = "function", .kind = SYN_FIELD_OBJ, .sub = &function_schema,
     .help = "the function whose calls it runs: the platform sets it"},
};
/* clang-format on */

const struct syn_schema syn_service_spec_schema = SYN_SCHEMA("ServiceSpec", spec_fields);

/* What replicas are not made of: a change of these makes no new version. */
static const char *const kept[] = {"replicas",
                                   "autoscale",
                                   "max_surge",
                                   "max_unavailable",
                                   "policy",
                                   "priority",
                                   "update_deadline_ms",
                                   "max_price",
                                   "max_budget",
                                   "lb",
                                   "billing_period_ms",
                                   "app",
                                   "rollout",
                                   "mesh",
                                   "restart"};

static bool
is_kept(const char *key)
{
    for (size_t i = 0; i < SYN_LEN(kept); i++)
        if (syn_str_eq(kept[i], key))
            return true;
    return false;
}

bool
syn_service_spec_same(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < SYN_LEN(spec_fields); i++) {
        const json_t *x = json_object_get(a, spec_fields[i].name);
        const json_t *y = json_object_get(b, spec_fields[i].name);

        if (!is_kept(spec_fields[i].name) && !(x == y || (x && y && json_equal(x, y))))
            return false;
    }
    return true;
}

int
syn_service_spec_adopt(json_t *spec, const json_t *from, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(spec_fields) && rc == SYN_OK; i++) {
        json_t *value = json_object_get(from, spec_fields[i].name);

        if (value && !is_kept(spec_fields[i].name))
            rc = syn_json_set_take(spec, spec_fields[i].name, syn_json_deep_copy(value), err);
    }
    return rc;
}

/* ---- rules between keys ---- */

static int
check_words(const json_t *words, const char *key, struct syn_err *err)
{
    const json_t *word;
    size_t i;

    json_array_foreach (words, i, word)
        if (json_string_length(word) > SYN_SERVICE_ARG_BYTES_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "spec.%s[%zu]: longer than %d bytes", key, i,
                            SYN_SERVICE_ARG_BYTES_MAX);
    if (json_array_size(words) > 0 && json_string_length(json_array_get(words, 0)) == 0 &&
        syn_str_eq(key, "command"))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.command[0]: expected a program");
    return SYN_OK;
}

/* Letters, digits, hyphens and dots; no part is empty. The balancer's configuration gets it. */
static bool
host_ok(const char *host)
{
    const char *rest = syn_str_starts(host, "*.") ? host + 2 : host;

    for (const char *at = rest; *at; at++) {
        bool word = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-';

        if (!word && (*at != '.' || at == rest || at[1] == '\0' || at[1] == '.'))
            return false;
    }
    return *rest != '\0';
}

static bool
prefix_ok(const char *path)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "/-._~%!$&*+,=:@";

    return *path == '/' && path[strspn(path, good)] == '\0' && !strstr(path, "//");
}

static int
check_lb(const struct syn_service_spec *spec, struct syn_err *err)
{
    const struct syn_service_lb *lb = &spec->lb;
    bool http = lb->protocol != SYN_SERVICE_TCP;
    bool shared = *lb->host || *lb->path;

    if (spec->port == 0 && (lb->sticky || lb->tls || shared))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.lb: there is no port to balance; set port");
    if (!lb->publish && (lb->tls || shared))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.lb.publish: false leaves nothing to reach by "
                        "host, path or TLS");
    if (!http && (lb->sticky || shared))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.lb.protocol: tcp knows no %s; set http, h2 or grpc",
                        lb->sticky ? "cookie to be sticky by" : "host or path");
    if (*lb->host && !host_ok(lb->host))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.lb.host: \"%s\": expected a host in small letters such as "
                        "api.example or *.example",
                        lb->host);
    if (*lb->path && !prefix_ok(lb->path))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.lb.path: \"%s\": expected a path such as /api",
                        lb->path);
    if (*lb->certificate && !lb->tls)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.lb.certificate: needs tls");
    if (lb->redirect_http && !(lb->tls && shared))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.lb.redirect_http: needs tls, and a host or path: its own address "
                        "speaks TLS alone");
    return SYN_OK;
}

/* "10%,50%,100%": percentages that grow. False: it is none. */
static bool
read_weights(const char *text, struct syn_service_rollout *ret)
{
    uint32_t last = 0;

    for (ret->steps = 0; ret->steps < SYN_SERVICE_STEPS_MAX; text++) {
        uint32_t percent = 0;

        for (; *text >= '0' && *text <= '9' && percent <= 100; text++)
            percent = percent * 10 + (uint32_t)(*text - '0');
        if (percent <= last || percent > 100 || *text++ != '%')
            return false;
        ret->weights[ret->steps++] = last = percent;
        if (*text == '\0')
            return true;
        if (*text != ',')
            return false;
    }
    return false;
}

/* "1%", "0.5%" in thousandths. */
static bool
read_errors(const char *text, struct syn_service_rollout *ret)
{
    int64_t permille = 0;

    if (!strchr(text, '%') || syn_autoscale_parse_target(text, "", &permille, NULL) < 0 ||
        permille > 1000)
        return false;
    ret->max_errors_permille = (uint32_t)permille;
    return true;
}

static int
check_rollout(const json_t *rollout, struct syn_err *err)
{
    const char *weight = syn_json_str(rollout, "weight", "");
    const char *errors = syn_json_str(rollout, "max_errors", "");
    struct syn_service_rollout read;

    if (!read_weights(weight, &read))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.rollout.weight: \"%s\": expected at most %d whole percentages of 1%% "
                        "to 100%% that grow, such as 10%%,50%%",
                        weight, SYN_SERVICE_STEPS_MAX);
    if (!read_errors(errors, &read))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.rollout.max_errors: \"%s\": expected 0.1%% to 100%%", errors);
    return SYN_OK;
}

int
syn_service_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid, struct syn_err *err)
{
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    char digits[16] = "";
    uint64_t uid = 0, gid = 0;

    (void)snprintf(digits, sizeof(digits), "%.*s", (int)SYN_MIN(len, sizeof(digits) - 1), text);
    if (syn_parse_u64(digits, 1, SYN_SERVICE_ID_MAX, "uid", &uid, NULL) < 0 ||
        (colon && syn_parse_u64(colon + 1, 1, SYN_SERVICE_ID_MAX, "gid", &gid, NULL) < 0))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.40s\": expected UID[:GID], numbers of 1 to %d: nothing runs as root",
                        text, SYN_SERVICE_ID_MAX);
    *ret_uid = (uint32_t)uid;
    *ret_gid = (uint32_t)(colon ? gid : uid);
    return SYN_OK;
}

static int
check_image(const char *image, struct syn_err *err)
{
    if (syn_str_eq(image, SYN_SERVICE_HOST_IMAGE))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.image: \"%s\" means the node's own files, which services do not run "
                        "on; an image of that name is called docker.io/library/%s",
                        image, image);
    return work_check_image(image, err);
}

/* Whose the process is, and where it begins. */
static int
check_process(const json_t *spec, struct syn_err *err)
{
    const char *user = syn_json_str(spec, "user", NULL), *cwd = syn_json_str(spec, "workdir", "/");
    uint32_t uid, gid;
    int rc = user ? syn_service_user(user, &uid, &gid, err) : SYN_OK;

    if (rc < 0)
        return syn_err_wrap(err, rc, "spec.user");
    if (!service_path_plain(cwd) && !syn_str_eq(cwd, "/"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.workdir: \"%.100s\": expected an absolute path such as /app", cwd);
    return SYN_OK;
}

static int
check_numbers(const json_t *obj, const struct syn_service_spec *spec, struct syn_err *err)
{
    if (spec->gpus == 0 && *spec->gpu_model)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpu_model: no GPU is asked for; set gpus");
    if (spec->gpus > 0 && !*spec->gpu_model)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_model: expected a model: what is locked to begin with goes by "
                        "its price");
    if (spec->max_surge + spec->max_unavailable == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.max_surge: 0 needs max_unavailable of 1 or more: an update could not "
                        "begin");
    if (spec->autoscale && spec->restart != SYN_SERVICE_RESTART_ALWAYS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.restart: %s: how many run is found out by load (autoscale), which "
                        "needs always",
                        syn_json_str(obj, "restart", ""));
    if (json_object_get(obj, "max_price") && spec->max_price == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.max_price: expected more than 0 SYNOR an hour; leave it out for any "
                        "price");
    if (json_object_get(obj, "max_budget") && spec->max_budget == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.max_budget: expected more than 0 SYNOR");
    return SYN_OK;
}

/* By CPU, unless something else is said. */
static int
derive_metrics(json_t *autoscale, struct syn_err *err)
{
    json_t *metrics = NULL;
    int rc;

    if (!autoscale || json_object_get(autoscale, "metrics"))
        return SYN_OK;
    if (json_array_size(json_object_get(autoscale, "schedule")) > 0)
        return syn_json_set_take(autoscale, "metrics", json_array(), err);
    rc = syn_json_pack(&metrics, err, "[{s:s, s:s}]", "metric", "cpu", "target", "70%");
    return rc < 0 ? rc : syn_json_set_take(autoscale, "metrics", metrics, err);
}

/* Defaults that depend on other keys. */
static int
derive(json_t *spec, struct syn_err *err)
{
    int rc = syn_card_derive(spec, err);

    if (rc == SYN_OK)
        rc = service_checks_derive(spec, err);
    return rc < 0 ? rc : derive_metrics(json_object_get(spec, "autoscale"), err);
}

/* `derived`: of a function. Such a one may run on what its node has. */
static int
check_spec(json_t *spec, bool derived, struct syn_err *err)
{
    struct syn_service_spec read;
    int rc = syn_schema_apply(&syn_service_spec_schema, spec, "spec", err);

    if (rc == SYN_OK)
        rc = derive(spec, err);
    if (rc < 0)
        return rc;
    syn_service_spec_read(spec, &read);
    if (json_object_get(spec, "function") && !derived)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.function: the platform makes services of functions; use synor "
                        "compute function deploy");
    if (read.isolation == SYN_ISOLATION_NAMESPACE && !derived)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.isolation: namespace is for functions: expected auto, gvisor, runc "
                        "or kata");
    if (!derived || !syn_str_eq(read.image, SYN_SERVICE_HOST_IMAGE))
        rc = check_image(read.image, err);
    if (rc == SYN_OK)
        rc = check_words(read.command, "command", err);
    if (rc == SYN_OK)
        rc = check_words(read.args, "args", err);
    if (rc == SYN_OK)
        rc = work_check_env(json_object_get(spec, "env"), reserved_env, SYN_LEN(reserved_env),
                            SYN_SERVICE_ENV_BYTES_MAX, err);
    if (rc == SYN_OK)
        rc =
            work_check_secrets(json_object_get(spec, "secrets"), json_object_get(spec, "env"),
                               reserved_env, SYN_LEN(reserved_env), SYN_SERVICE_ENV_BYTES_MAX, err);
    if (rc == SYN_OK)
        rc = check_process(spec, err);
    if (rc == SYN_OK)
        rc = service_mounts_check(spec, err);
    if (rc == SYN_OK)
        rc = service_checks_check(spec, err);
    if (rc == SYN_OK)
        rc = syn_card_check(spec, 1, err);
    if (rc == SYN_OK && read.autoscale)
        rc = service_autoscale_read(read.autoscale, NULL, &(struct service_autoscale){0}, err);
    if (rc == SYN_OK)
        rc = check_lb(&read, err);
    if (rc == SYN_OK)
        rc = service_mesh_check(spec, read.lb.protocol == SYN_SERVICE_TCP, err);
    if (rc == SYN_OK)
        rc = check_rollout(json_object_get(spec, "rollout"), err);
    return rc < 0 ? rc : check_numbers(spec, &read, err);
}

int
syn_service_spec_check(json_t *spec, struct syn_err *err)
{
    return check_spec(spec, false, err);
}

int
syn_service_spec_check_derived(json_t *spec, struct syn_err *err)
{
    return check_spec(spec, true, err);
}

/* ---- reading ---- */

static enum syn_service_check
check_kind(const char *word)
{
    return syn_str_eq(word, "http")   ? SYN_SERVICE_CHECK_HTTP
           : syn_str_eq(word, "tcp")  ? SYN_SERVICE_CHECK_TCP
           : syn_str_eq(word, "exec") ? SYN_SERVICE_CHECK_EXEC
           : syn_str_eq(word, "grpc") ? SYN_SERVICE_CHECK_GRPC
                                      : SYN_SERVICE_CHECK_NONE;
}

/* The place of a word in its field's choices. */
static unsigned
choice(const char *const *words, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (syn_str_eq(words[i], word))
            return (unsigned)i;
    return 0;
}

static const char *const protocols[] = {[SYN_SERVICE_TCP] = "tcp",
                                        [SYN_SERVICE_HTTP] = "http",
                                        [SYN_SERVICE_H2] = "h2",
                                        [SYN_SERVICE_GRPC] = "grpc"};
static const char *const algorithms[] = {[SYN_SERVICE_ROUND_ROBIN] = "round-robin",
                                         [SYN_SERVICE_LEAST_CONNECTIONS] = "least-connections",
                                         [SYN_SERVICE_WEIGHTED] = "weighted",
                                         [SYN_SERVICE_IP_HASH] = "ip-hash",
                                         [SYN_SERVICE_RANDOM] = "random"};

/* Does the port that is served answer by gRPC? */
static bool
checked_by_grpc(const json_t *spec)
{
    const json_t *health = json_object_get(spec, "health");

    return syn_str_eq(syn_json_str(health, "kind", ""), "grpc") &&
           service_check_port(spec, health) == syn_json_i64(spec, "port", 0);
}

static struct syn_service_lb
read_lb(const json_t *spec)
{
    const json_t *lb = json_object_get(spec, "lb"); /* older ones have none */
    const char *protocol = syn_json_str(lb, "protocol", "auto");
    const json_t *autoscale = json_object_get(spec, "autoscale");
    bool none = autoscale && syn_json_i64(autoscale, "min", 1) == 0;
    struct syn_service_lb read = {
        .publish = syn_json_bool(lb, "publish", true),
        .protocol = (enum syn_service_protocol)choice(protocols, SYN_LEN(protocols), protocol),
        .algorithm = (enum syn_service_algorithm)choice(
            algorithms, SYN_LEN(algorithms), syn_json_str(lb, "algorithm", "round-robin")),
        .sticky = syn_json_bool(lb, "sticky", false),
        .host = syn_json_str(lb, "host", ""),
        .path = syn_json_str(lb, "path", ""),
        .tls = syn_json_bool(lb, "tls", false),
        .certificate = syn_json_str(lb, "certificate", ""),
        .redirect_http = syn_json_bool(lb, "redirect_http", false),
        .hold_ms = syn_json_i64(lb, "hold_ms", none ? HOLD_ZERO_MS : HOLD_MS),
        .slow_start_ms = syn_json_i64(lb, "slow_start_ms", 0),
        .errors_max = (uint32_t)syn_json_i64(lb, "errors_max", 0),
    };

    if (syn_str_eq(protocol, "auto") &&
        (*read.host || *read.path || read.sticky ||
         syn_str_eq(syn_json_str(json_object_get(spec, "health"), "kind", ""), "http")))
        read.protocol = SYN_SERVICE_HTTP;
    if (syn_str_eq(protocol, "auto") && checked_by_grpc(spec))
        read.protocol = SYN_SERVICE_GRPC;
    return read;
}

static const char *const restarts[] = {[SYN_SERVICE_RESTART_ALWAYS] = "always",
                                       [SYN_SERVICE_RESTART_ON_FAILURE] = "on-failure",
                                       [SYN_SERVICE_RESTART_NEVER] = "never"};

static struct syn_service_rollout
read_rollout(const json_t *rollout) /* older ones have none */
{
    static const char *const strategies[] = {[SYN_SERVICE_ROLLING] = "rolling",
                                             [SYN_SERVICE_CANARY] = "canary",
                                             [SYN_SERVICE_BLUE_GREEN] = "blue-green"};
    struct syn_service_rollout read = {
        .strategy = (enum syn_service_strategy)choice(strategies, SYN_LEN(strategies),
                                                      syn_json_str(rollout, "strategy", "rolling")),
        .by_hand = syn_str_eq(syn_json_str(rollout, "promote", "auto"), "manual"),
        .pause_ms = syn_json_i64(rollout, "pause_ms", 0),
        .keep_old_ms = syn_json_i64(rollout, "keep_old_ms", 0),
    };

    if (!read_weights(syn_json_str(rollout, "weight", ""), &read))
        read.steps = 0; /* what is being checked may be anything */
    (void)read_errors(syn_json_str(rollout, "max_errors", ""), &read);
    return read;
}

const char *
syn_service_protocol_name(enum syn_service_protocol protocol)
{
    return protocols[protocol];
}

void
syn_service_spec_read(const json_t *spec, struct syn_service_spec *ret)
{
    const json_t *health = json_object_get(spec, "health");
    int isolation = syn_isolation_find(syn_json_str(spec, "isolation", "auto"));
    int policy = syn_fleet_policy_find(syn_json_str(spec, "policy", "spread"));

    assert(isolation >= 0 && policy >= 0);
    *ret = (struct syn_service_spec){
        .image = syn_json_str(spec, "image", ""),
        .command = json_object_get(spec, "command"),
        .args = json_object_get(spec, "args"),
        .env = json_object_get(spec, "env"),
        .port = syn_json_i64(spec, "port", 0),
        .check = check_kind(syn_json_str(health, "kind", "none")),
        .check_path = syn_json_str(health, "path", ""),
        .check_port = service_check_port(spec, health),
        .check_interval_ms = syn_json_i64(health, "interval_ms", 5000),
        .check_timeout_ms = syn_json_i64(health, "timeout_ms", 2000),
        .check_healthy = syn_json_i64(health, "healthy", 1),
        .check_unhealthy = syn_json_i64(health, "unhealthy", 3),
        .check_start_ms = syn_json_i64(health, "start_ms", 60000),
        .replicas = (uint32_t)syn_json_i64(spec, "replicas", 0),
        .restart = (enum syn_service_restart)choice(restarts, SYN_LEN(restarts),
                                                    syn_json_str(spec, "restart", "always")),
        .autoscale = json_object_get(spec, "autoscale"),
        .max_surge = (uint32_t)syn_json_i64(spec, "max_surge", 0),
        .max_unavailable = (uint32_t)syn_json_i64(spec, "max_unavailable", 0),
        .update_deadline_ms = syn_json_i64(spec, "update_deadline_ms", 0),
        .amounts = {syn_json_i64(spec, "cpu_millicores", 0), syn_json_i64(spec, "memory_bytes", 0),
                    syn_json_i64(spec, "scratch_bytes", 0)},
        .gpus = syn_json_i64(spec, "gpus", 0),
        .gpu_model = syn_json_str(spec, "gpu_model", ""),
        .card = syn_card_read(spec),
        .region = syn_json_str(spec, "region", ""),
        .isolation = (enum syn_isolation)isolation,
        .policy = (enum syn_fleet_policy)policy,
        .priority = syn_json_i64(spec, "priority", 0),
        .max_price = SYN_MAX(syn_document_amount(spec, "max_price"), 0),
        .max_budget = SYN_MAX(syn_document_amount(spec, "max_budget"), 0),
        .billing_ms = syn_json_i64(spec, "billing_period_ms", BILLING_MS),
        .stop_grace_ms = syn_json_i64(spec, "stop_grace_ms", 0),
        .drain_ms = syn_json_i64(spec, "drain_ms", 0),
        .lb = read_lb(spec),
        .rollout = read_rollout(json_object_get(spec, "rollout")),
        .function = json_object_get(spec, "function"),
    };
    ret->replicas = service_autoscale_begin(ret->autoscale, ret->replicas);
    assert(*ret->image && json_is_array(ret->command) && json_is_object(ret->env));
}

uint32_t
syn_service_peak(const struct syn_service_spec *spec)
{
    const struct syn_service_rollout *rollout = &spec->rollout;
    uint32_t surge = SYN_MIN(spec->max_surge, spec->replicas), besides = 0;

    if (rollout->strategy == SYN_SERVICE_BLUE_GREEN)
        return 2 * spec->replicas;
    for (uint32_t i = 0; rollout->strategy == SYN_SERVICE_CANARY && i < rollout->steps; i++)
        if (rollout->weights[i] < 100)
            besides = stage_replicas(spec->replicas, rollout->weights[i]);
    return spec->replicas + SYN_MAX(surge, besides);
}

struct syn_holding
syn_service_holding(const struct syn_service_spec *spec)
{
    int64_t count = syn_service_peak(spec);
    struct syn_holding holding = {{0}};

    holding.amounts[SYN_QUOTA_JOBS] = 1;
    holding.amounts[SYN_QUOTA_CPU] = spec->amounts.cpu_millicores * count;
    holding.amounts[SYN_QUOTA_MEMORY] = spec->amounts.memory_bytes * count;
    holding.amounts[SYN_QUOTA_GPUS] = syn_card_least(&spec->card, spec->gpus) * count;
    return holding;
}

struct syn_cost_ask
syn_service_cost_ask(const struct syn_service_spec *spec)
{
    return (struct syn_cost_ask){.amounts = spec->amounts,
                                 .gpus = spec->gpus,
                                 .gpu_permille = spec->card.share,
                                 .gpu_model = spec->gpu_model,
                                 .count = SYN_MAX(spec->replicas, 1U)};
}

struct syn_place_request
syn_service_place_request(const struct syn_service_spec *spec)
{
    struct syn_place_request request = {
        .count = 1,
        .amounts = spec->amounts,
        .gpus = spec->gpus,
        .gpus_max = spec->gpus,
        .gpu_model = spec->gpu_model,
        .region = spec->region,
        .isolation = spec->isolation,
        .networks = true, /* each replica is on its account's */
        .price_max = spec->max_price,
        .policy = spec->policy,
        .framework = syn_json_str(spec->function, "language", ""),
        .framework_version = syn_json_str(spec->function, "language_version", ""),
    };

    syn_card_request(&spec->card, &request);
    return request;
}
