/* A version's code: fetched, compiled and kept.
 *
 * Compiling takes a second a MB, so it is done once: what comes out of it is kept in modules/ and
 * mapped back by the next process. The folder is ours alone, for what is in it is run as it is. All
 * of this happens on threads of its own; the loop is told of the outcome. */
#include "function_priv.h"

#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define AGAIN_MS 1000

struct job {
    struct fgw *gateway;
    struct fgw_version *version; /* a reference; the loop's */
    char function[SYN_ID_MAX];
    int64_t number;
    char *code, *path;
    json_t *env; /* of the version */
    bool secrets;

    struct syn_wasm_module *module;
    char **environment;
    int rc;
    struct syn_err err;
};

static void
job_free(struct job *job)
{
    if (job->module != NULL)
        (void)syn_wasm_module_close(job->module);
    for (char **at = job->environment; at != NULL && *at != NULL; at++)
        syn_free(*at);
    syn_free(job->environment);
    syn_free(job->code);
    syn_free(job->path);
    json_decref(job->env);
    syn_free(job);
}

/* --- on a thread ------------------------------------------------------------------------------ */

static int
need_engine(struct fgw *gateway, struct syn_wasm **ret, struct syn_err *err)
{
    const struct syn_wasm_options options = {.library = gateway->wasm_library};
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&gateway->wasm_lock);
    if (gateway->wasm == NULL)
        rc = syn_wasm_open(&options, &gateway->wasm, err);
    *ret = gateway->wasm;
    (void)pthread_mutex_unlock(&gateway->wasm_lock);
    return rc;
}

static int
take_bytes(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct syn_buf *code = arg;

    if (code->len + len > (uint64_t)SYN_WASM_MODULE_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the module has more than %lld MiB",
                        (long long)(SYN_WASM_MODULE_MAX >> 20));
    syn_buf_add(code, data, len);
    return syn_buf_ok(code, err);
}

static int
fetch(const struct job *job, struct syn_buf *code, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    SYN_BUF(url);
    int rc = fgw_client(job->gateway, 3, &client, err);

    if (rc < 0)
        return rc;
    syn_buf_adds(&url, "/v1/content/");
    syn_client_escape(&url, job->code);
    syn_buf_adds(&url, "/data");
    if (job->path[0] != '\0') {
        syn_buf_adds(&url, "?path=");
        syn_client_escape(&url, job->path);
    }
    rc = syn_buf_ok(&url, err);
    if (rc == SYN_OK)
        rc = syn_client_read(client, syn_buf_text(&url), take_bytes, code, err);
    return rc < 0 ? syn_err_wrap(err, rc, "fetching the code") : SYN_OK;
}

/* Where the compiled module is: by the code's CID, which says all of its bytes. */
static int
file_of(const struct job *job, struct syn_buf *out, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char name[2 * 16 + 1];
    SYN_BUF(text);

    syn_buf_addf(&text, "%s/%s", job->code, job->path);
    if (syn_buf_ok(&text, err) < 0)
        return SYN_E_NOMEM;
    syn_sha256(text.data, text.len, digest);
    syn_hex_encode(digest, 16, name);
    syn_buf_addf(out, "%s/modules/%s.cwasm", job->gateway->data_dir, name);
    return syn_buf_ok(out, err);
}

static int
load_module(struct job *job, struct syn_err *err)
{
    struct syn_wasm *wasm = NULL;
    SYN_BUF(file);
    SYN_BUF(code);
    int rc = need_engine(job->gateway, &wasm, err);

    if (rc == SYN_E_NOTFOUND) /* of the library: the module is not at fault, but will not run */
        return syn_err_wrap(err, SYN_E_UNSUPPORTED, "WebAssembly is not here");
    if (rc == SYN_OK)
        rc = file_of(job, &file, err);
    if (rc < 0)
        return rc;
    if (access(syn_buf_text(&file), R_OK) == 0) {
        if (syn_wasm_load(wasm, syn_buf_text(&file), &job->module, err) == SYN_OK)
            return SYN_OK;
        syn_log_err(SYN_LOG_INFO, "gateway.module-compiled-anew", err);
        (void)unlink(syn_buf_text(&file));
    }
    rc = fetch(job, &code, err);
    if (rc == SYN_OK)
        rc = syn_wasm_compile(wasm, code.data, code.len, &job->module, err);
    if (rc == SYN_OK && syn_wasm_save(job->module, syn_buf_text(&file), err) < 0)
        syn_log_err(SYN_LOG_WARN, "gateway.module-not-kept", err); /* compiled again next time */
    return rc;
}

static int
add_variables(char **list, size_t *count, size_t cap, const json_t *from, struct syn_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)from, key, value) {
        SYN_BUF(line);
        size_t len = 0;
        int rc;

        if (!json_is_string(value) || *count == cap)
            continue;
        syn_buf_addf(&line, "%s=%s", key, json_string_value(value));
        rc = syn_buf_take(&line, &list[*count], &len, err);
        if (rc < 0)
            return rc;
        (*count)++;
    }
    return SYN_OK;
}

static int
make_environment(struct job *job, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    SYN_JSON(answer);
    SYN_BUF(url);
    const json_t *secrets = NULL;
    size_t count = 0;
    size_t cap;
    int rc = SYN_OK;

    if (job->secrets) {
        struct syn_call call = {.method = "GET"};

        syn_buf_addf(&url, "/v1/function-gateway/functions/%s/versions/%lld/secrets", job->function,
                     (long long)job->number);
        rc = syn_buf_ok(&url, err);
        call.path = syn_buf_text(&url);
        if (rc == SYN_OK)
            rc = fgw_client(job->gateway, 3, &client, err);
        if (rc == SYN_OK)
            rc = syn_client_call(client, &call, &answer, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "fetching its secrets");
        secrets = json_object_get(answer, "environment");
    }
    cap = json_object_size(job->env) + json_object_size(secrets);
    job->environment = syn_calloc(cap + 1, sizeof(char *));
    if (job->environment == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an environment");
    rc = add_variables(job->environment, &count, cap, job->env, err);
    return rc < 0 ? rc : add_variables(job->environment, &count, cap, secrets, err);
}

/* --- back on the loop ------------------------------------------------------------------------- */

static void
tell(struct fgw_version *version, enum fgw_state outcome, const char *message)
{
    version->outcome = outcome;
    version->told = true;
    version->news = true;
    (void)syn_str_copy(version->message, sizeof(version->message), message);
    fgw_report_dirty(version);
}

/* Will another attempt come out the same? */
static bool
is_final(int rc)
{
    return rc == SYN_E_INVALID || rc == SYN_E_TOOBIG || rc == SYN_E_UNSUPPORTED ||
           rc == SYN_E_NOTFOUND;
}

static void
fail_waiting(struct fgw_version *version)
{
    char text[300];

    (void)snprintf(text, sizeof(text), "version %lld cannot run: %s", (long long)version->number,
                   version->message);
    fgw_version_fail(version, text);
}

static void
loaded(void *arg)
{
    struct job *job = arg;
    struct fgw_version *version = job->version;

    version->gateway->loads_out--;
    version->loading = false;
    if (job->rc == SYN_OK) {
        version->module = SYN_TAKE(job->module);
        version->environment = SYN_TAKE(job->environment);
        tell(version, FGW_READY, "");
        fgw_version_turn(version);
    } else if (is_final(job->rc)) {
        syn_log_err(SYN_LOG_INFO, "gateway.module-failed", &job->err);
        tell(version, FGW_FAILED, job->err.msg);
        fail_waiting(version);
    } else {
        syn_log_err(SYN_LOG_WARN, "gateway.module", &job->err);
        version->load_again_ms = syn_loop_now_ms(version->gateway->loop) + AGAIN_MS;
    }
    job_free(job);
    fgw_version_unref(version);
}

static void
run(void *arg)
{
    struct job *job = arg;
    struct syn_err err;

    job->rc = atomic_load(&job->gateway->hurry)
                  ? SYN_FAIL(&job->err, SYN_E_CANCELED, "the gateway is stopping")
                  : load_module(job, &job->err);
    if (job->rc == SYN_OK)
        job->rc = make_environment(job, &job->err);
    if (job->rc < 0)
        (void)syn_err_wrap(&job->err, job->rc, "%s version %lld", job->function,
                           (long long)job->number);
    while (syn_loop_post(job->gateway->loop, loaded, job, NULL, &err) == SYN_E_LIMIT)
        (void)usleep(1000);
}

void
fgw_module_want(struct fgw_version *version)
{
    struct fgw *gateway = version->gateway;
    struct job *job;
    struct syn_err err;

    if (gateway->closing || version->loading || version->module != NULL || version->told ||
        version->load_again_ms > syn_loop_now_ms(gateway->loop))
        return;
    job = syn_calloc(1, sizeof(*job));
    if (job == NULL)
        return;
    job->gateway = gateway;
    job->version = fgw_version_ref(version);
    (void)syn_str_copy(job->function, sizeof(job->function), version->function);
    job->number = version->number;
    job->code = syn_strdup(version->code);
    job->path = syn_strdup(version->path);
    job->env = json_incref(json_object_get(version->config, "env"));
    job->secrets = json_object_size(json_object_get(version->config, "secrets")) > 0;
    version->loading = true;
    if (job->code != NULL && job->path != NULL &&
        syn_pool_run(gateway->fetchers, run, job, &err) == SYN_OK) {
        gateway->loads_out++;
        return;
    }
    version->loading = false;
    version->load_again_ms = syn_loop_now_ms(gateway->loop) + AGAIN_MS;
    fgw_version_unref(version);
    job_free(job);
}
