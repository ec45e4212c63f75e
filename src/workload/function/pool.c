/* From a version of a process function to the service that runs it. Its replicas are scaled by what
 * the gateway tells: "inflight" are calls that run, "held" those that wait.
 *
 * An instance is well while it answers its check. A handler that computes may keep it from that for
 * as long as a call may take, and only then is it ended. */
#include <synor/workload/function_pool.h>

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

#define LAYER        "/synor/layer"
#define LAYER_NODE   "/synor/node_modules" /* import looks nowhere else */
#define START_MS     120000                /* large libraries take their time */
#define BESIDE_MS    2000                  /* more than a call takes */
#define INTERVAL_MIN 500
#define INTERVAL_MAX 15000
#define CHECKS_MAX   60
#define BUSY_PERCENT 80 /* of an instance's calls at a time, where it has many */

extern const char syn_function_host_py[], syn_function_host_mjs[], syn_function_host_rb[];
extern const size_t syn_function_host_py_len, syn_function_host_mjs_len, syn_function_host_rb_len;
extern const char syn_function_renew[];
extern const size_t syn_function_renew_len;

bool
syn_function_program(enum syn_function_runtime runtime, struct syn_function_program *ret)
{
    *ret = (struct syn_function_program){"", "", 0};
    if (runtime == SYN_FUNCTION_PYTHON)
        *ret = (struct syn_function_program){"host.py", syn_function_host_py,
                                             syn_function_host_py_len};
    if (runtime == SYN_FUNCTION_NODE)
        *ret = (struct syn_function_program){"host.mjs", syn_function_host_mjs,
                                             syn_function_host_mjs_len};
    if (runtime == SYN_FUNCTION_RUBY)
        *ret = (struct syn_function_program){"host.rb", syn_function_host_rb,
                                             syn_function_host_rb_len};
    return *ret->file != '\0';
}

bool
syn_function_helper(const struct syn_function_spec *spec, struct syn_function_program *ret)
{
    bool needed = spec->snapstart && spec->language.runtime == SYN_FUNCTION_NODE;

    *ret = needed ? (struct syn_function_program){"renew.node", syn_function_renew,
                                                  syn_function_renew_len}
                  : (struct syn_function_program){"", "", 0};
    return needed;
}

/* A service in the making. */
struct making {
    const struct syn_function_pool *pool;
    struct syn_function_spec spec;
    struct syn_function_program program, helper;
    bool has_program, has_helper;
    const char *layer; /* where it is */
    json_t *service;
};

/* "", "20", "3.11": what a node's version has to begin with. */
static const char *
language_version(const struct making *making, char out[32])
{
    const struct syn_function_language *language = &making->spec.language;

    out[0] = '\0';
    if (language->minor > 0)
        (void)snprintf(out, 32, "%u.%u", language->major, language->minor);
    else if (language->major > 0)
        (void)snprintf(out, 32, "%u", language->major);
    return out;
}

static int
make_env(const struct making *making, json_t **ret, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"SYNOR_VERSION", making->pool->version},
        {"SYNOR_MEMORY_BYTES", making->spec.memory_bytes},
        {"SYNOR_CONCURRENCY", making->spec.concurrency},
        {"SYNOR_TIMEOUT_MS", making->spec.timeout_ms},
    };
    bool image = making->spec.language.runtime == SYN_FUNCTION_CUSTOM;
    SYN_JSON(env);
    int rc = syn_json_pack(&env, err, "{s:s, s:s, s:s, s:s}", "SYNOR_FUNCTION", making->pool->name,
                           "SYNOR_HANDLER", making->spec.handler, "SYNOR_CODE",
                           image ? "" : SYN_FUNCTION_CODE, "SYNOR_LAYER",
                           *making->pool->layer_cid ? making->layer : "");

    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%lld", (long long)numbers[i].value);
        rc = syn_json_set_str(env, numbers[i].name, text, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(env);
    return rc;
}

/* How its instances are started where their node can. */
static const char *
start_way(const struct making *making)
{
    if (making->spec.isolation == SYN_ISOLATION_NAMESPACE)
        return "zygote";
    return making->spec.snapstart ? "snapshot" : "cold";
}

static int
set_function(const struct making *making, struct syn_err *err)
{
    json_t *env = NULL, *function = NULL;
    char version[32];
    int rc = make_env(making, &env, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&function, err, "{s:s, s:I, s:s, s:s, s:s, s:o}", "id", making->pool->id,
                           "version", (json_int_t)making->pool->version, "language",
                           making->spec.language.name, "language_version",
                           language_version(making, version), "start", start_way(making), "env",
                           env);
    return rc < 0 ? rc : syn_json_set_take(making->service, "function", function, err);
}

static int
add_content(json_t *mounts, const char *path, const char *cid, struct syn_err *err)
{
    char source[sizeof("synor://") + SYN_SERVICE_CID_MAX];
    json_t *mount = NULL;
    int rc;

    if (!*cid)
        return SYN_OK;
    (void)snprintf(source, sizeof(source), "synor://%.*s", SYN_SERVICE_CID_MAX, cid);
    rc = syn_json_pack(&mount, err, "{s:s, s:s, s:s, s:s}", "path", path, "kind", "content",
                       "source", source, "cid", cid);
    return rc < 0 ? rc : syn_json_append_take(mounts, mount, err);
}

static const char *
program_path(const struct syn_function_program *program, char out[64])
{
    (void)snprintf(out, 64, "/synor/%.32s", program->file);
    return out;
}

static int
set_mounts(const struct making *making, struct syn_err *err)
{
    const struct syn_function_pool *pool = making->pool;
    json_t *mounts = json_array();
    char path[64];
    int rc = syn_json_set_take(making->service, "mounts", mounts, err);

    if (rc == SYN_OK && making->has_program)
        rc = add_content(mounts, program_path(&making->program, path), pool->program_cid, err);
    if (rc == SYN_OK && making->has_helper)
        rc = add_content(mounts, program_path(&making->helper, path), pool->helper_cid, err);
    if (rc == SYN_OK)
        rc = add_content(mounts, SYN_FUNCTION_CODE, pool->code_cid, err);
    return rc < 0 ? rc : add_content(mounts, making->layer, pool->layer_cid, err);
}

/* A compiled program is a file of the code; one that is alone there may be called anything. */
static const char start_program[] =
    "[ -d " SYN_FUNCTION_CODE " ] || exec " SYN_FUNCTION_CODE "\n"
    "cd " SYN_FUNCTION_CODE " || exit 1\n"
    "[ ! -e \"./$0\" ] || exec \"./$0\"\n"
    "set -- *\n"
    "[ $# -ne 1 ] || exec \"./$1\"\n"
    "echo \"handler: \\\"$0\\\": the code has no such file; it has: $*\" >&2\n"
    "exit 1\n";

/* Classes, jars, or both; of the memory half is the heap's, since a JVM needs as much besides. */
static const char start_java[] =
    "set -- -XX:+UseSerialGC -Xss512k \"-Xmx$((SYNOR_MEMORY_BYTES / 2048))k\"\n"
    "[ -d " SYN_FUNCTION_CODE " ] || exec java \"$@\" -jar " SYN_FUNCTION_CODE "\n"
    "cd " SYN_FUNCTION_CODE " || exit 1\n"
    "[ ! -f \"./$0\" ] || exec java \"$@\" -jar \"./$0\"\n"
    "exec java \"$@\" -cp '.:./*:./lib/*' \"$0\"\n";

/* What is run. An image has its own. */
static int
set_command(const struct making *making, struct syn_err *err)
{
    const struct syn_function_language *language = &making->spec.language;
    char path[64], program[32];
    json_t *command = NULL;
    int rc;

    if (language->runtime == SYN_FUNCTION_CUSTOM)
        return SYN_OK;
    (void)snprintf(program, sizeof(program), "%s", language->program);
    if (language->runtime == SYN_FUNCTION_PYTHON && language->minor > 0)
        (void)snprintf(program, sizeof(program), "python%u.%u", language->major, language->minor);
    if (making->has_program)
        rc = language->runtime == SYN_FUNCTION_PYTHON
                 ? syn_json_pack(&command, err, "[s, s, s]", program, "-B",
                                 program_path(&making->program, path))
                 : syn_json_pack(&command, err, "[s, s]", program,
                                 program_path(&making->program, path));
    else
        rc = syn_json_pack(&command, err, "[s, s, s, s]", "/bin/sh", "-c",
                           language->runtime == SYN_FUNCTION_JAVA ? start_java : start_program,
                           making->spec.handler);
    return rc < 0 ? rc : syn_json_set_take(making->service, "command", command, err);
}

static int
set_check(const struct making *making, struct syn_err *err)
{
    int64_t longest_ms = making->spec.timeout_ms + BESIDE_MS;
    int64_t interval_ms =
        SYN_MAX(SYN_MIN(longest_ms / CHECKS_MAX, (int64_t)INTERVAL_MAX), (int64_t)INTERVAL_MIN);
    /* As many again end it: half as many are a call's time. */
    int64_t unhealthy = SYN_MAX(longest_ms / interval_ms / 2 + 1, (int64_t)3);
    json_t *health = NULL;
    int rc = syn_json_pack(&health, err, "{s:s, s:s, s:I, s:I, s:I, s:I}", "kind", "http", "path",
                           SYN_FUNCTION_HEALTH, "interval_ms", (json_int_t)interval_ms,
                           "timeout_ms", (json_int_t)INTERVAL_MIN, "unhealthy",
                           (json_int_t)unhealthy, "start_ms", (json_int_t)START_MS);

    return rc < 0 ? rc : syn_json_set_take(making->service, "health", health, err);
}

/* Up as fast as calls come, a few at a time; down when none of what there is was needed for long.
 */
static int
set_scale(const struct making *making, struct syn_err *err)
{
    const struct syn_function_spec *spec = &making->spec;
    int64_t permille =
        spec->concurrency < 4 ? spec->concurrency * 1000 : spec->concurrency * BUSY_PERCENT * 10;
    char target[32];
    json_t *scale = NULL;
    int rc;

    (void)snprintf(target, sizeof(target), "%lld.%lld", (long long)(permille / 1000),
                   (long long)(permille % 1000 / 100));
    rc = syn_json_pack(
        &scale, err,
        "{s:I, s:I, s:[{s:s, s:s}], s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}}",
        "min", (json_int_t)spec->min_instances, "max",
        (json_int_t)SYN_MAX(spec->max_instances, spec->min_instances), "metrics", "metric",
        "inflight", "target", target, "every_ms", (json_int_t)1000, "average_ms", (json_int_t)1000,
        "lead_ms", (json_int_t)2000, "idle_ms", (json_int_t)spec->idle_ms, "up", "period_ms",
        (json_int_t)1000, "count", (json_int_t)4, "percent", (json_int_t)100, "down",
        "stabilise_ms", (json_int_t)spec->idle_ms, "period_ms", (json_int_t)0, "count",
        (json_int_t)SYN_FUNCTION_INSTANCES_MAX);
    return rc < 0 ? rc : syn_json_set_take(making->service, "autoscale", scale, err);
}

static int
set_room(const struct making *making, struct syn_err *err)
{
    const struct syn_function_spec *spec = &making->spec;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"cpu_millicores", spec->cpu_millicores},
        {"memory_bytes", spec->memory_bytes},
        {"scratch_bytes", spec->scratch_bytes},
        {"gpus", spec->gpus},
        {"port", SYN_FUNCTION_PORT},
        /* One has to start: whether the code is of any use is known then. */
        {"replicas", SYN_MAX(spec->min_instances, (int64_t)1)},
        /* It leaves the gateway's table within that; then it ends what it has, and itself. */
        {"drain_ms", 1000},
        {"stop_grace_ms", spec->timeout_ms + BESIDE_MS},
    };
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(numbers) && rc == SYN_OK; i++)
        rc = syn_json_set_i64(making->service, numbers[i].name, numbers[i].value, err);
    return rc;
}

static int
set_texts(const struct making *making, struct syn_err *err)
{
    const struct syn_function_spec *spec = &making->spec;
    bool image = spec->language.runtime == SYN_FUNCTION_CUSTOM;
    int rc = syn_json_set_str(making->service, "image",
                              image ? spec->image : SYN_SERVICE_HOST_IMAGE, err);

    if (rc == SYN_OK)
        rc = syn_json_set_str(making->service, "region", spec->region, err);
    if (rc == SYN_OK && spec->gpus > 0)
        rc = syn_json_set_str(making->service, "gpu_model", spec->gpu_model, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(making->service, "isolation", syn_isolation_name(spec->isolation),
                              err);
    if (rc == SYN_OK && spec->env)
        rc = syn_json_set_take(making->service, "env", syn_json_deep_copy(spec->env), err);
    if (rc == SYN_OK && spec->secrets)
        rc = syn_json_set_take(making->service, "secrets", syn_json_deep_copy(spec->secrets), err);
    return rc;
}

int
syn_function_service_spec(const json_t *function_spec, const struct syn_function_pool *pool,
                          json_t **ret, struct syn_err *err)
{
    static int (*const parts[])(const struct making *, struct syn_err *) = {
        set_texts, set_room, set_function, set_mounts, set_command, set_check, set_scale};
    struct making making = {.pool = pool, .layer = LAYER};
    SYN_JSON(service);
    int rc;

    syn_function_spec_read(function_spec, &making.spec);
    if (making.spec.language.runtime == SYN_FUNCTION_WASM)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "a module of WebAssembly runs within the gateway");
    making.has_program = syn_function_program(making.spec.language.runtime, &making.program);
    making.has_helper = syn_function_helper(&making.spec, &making.helper);
    if (making.spec.language.runtime == SYN_FUNCTION_NODE)
        making.layer = LAYER_NODE;
    /* Calls come by the gateway alone, which counts them. */
    rc = syn_json_pack(&service, err, "{s:{s:b}, s:{s:[]}}", "lb", "publish", 0, "mesh", "allow");
    making.service = service;
    for (size_t i = 0; i < SYN_LEN(parts) && rc == SYN_OK; i++)
        rc = parts[i](&making, err);
    if (rc == SYN_OK)
        rc = syn_service_spec_check_derived(service, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(service);
    return rc;
}
