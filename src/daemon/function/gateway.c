/* The gateway put together, and the process around it.
 *
 * The process is of little power: no capability, no way to get one, one folder, two sockets. What
 * guests could do if the engine failed them is what it can do: answer in the name of functions. */
#include "function_priv.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/line_log.h>

#include "../privilege_priv.h"

#define FETCHERS    2
#define FETCHES_MAX 65536
#define HOUSE_MS    1000
#define STOP_MS     10000

static const struct syn_http_route row = {.method = "ANY",
                                          .pattern = "*",
                                          .kind = SYN_HTTP_LOOP,
                                          .handler = fgw_call_serve,
                                          .name = "function"};

int
fgw_client(const struct fgw *gateway, unsigned retries_max, struct syn_client **ret,
           struct syn_err *err)
{
    const struct syn_client_options options = {.target = gateway->server,
                                               .retries_max = retries_max};

    return syn_client_new(&options, ret, err);
}

void
fgw_want_sweep(struct fgw *gateway)
{
    if (gateway->sweep == NULL &&
        syn_loop_timer(gateway->loop, FGW_SWEEP_MS, FGW_SWEEP_MS, fgw_calls_sweep, gateway,
                       &gateway->sweep, NULL) < 0)
        gateway->sweep = NULL; /* the next call that waits tries again */
}

/* Now and then: connections that nobody uses, modules that could not be fetched. */
static void
keep_house(void *arg)
{
    struct fgw *gateway = arg;
    const int64_t now_ms = syn_loop_now_ms(gateway->loop);
    size_t cursor = 0;
    void *value;

    while (syn_map_next(gateway->functions, &cursor, NULL, &value)) {
        const struct fgw_function *function = value;

        for (size_t i = 0; i < function->version_count; i++) {
            struct fgw_version *version = function->versions[i];
            struct fgw_instance *next;

            for (struct fgw_instance *at = version->instances; at != NULL; at = next) {
                next = at->next;
                fgw_instance_tidy(at, false);
            }
            if (version->load_again_ms != 0 && version->load_again_ms <= now_ms)
                fgw_module_want(version);
        }
    }
    fgw_certs_tick(gateway);
}

/* --- life ------------------------------------------------------------------------------------- */

static int
make_folders(const struct fgw *gateway, struct syn_err *err)
{
    SYN_BUF(modules);

    syn_buf_addf(&modules, "%s/modules", gateway->data_dir);
    if (syn_buf_ok(&modules, err) < 0)
        return SYN_E_NOMEM;
    if (mkdir(gateway->data_dir, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", gateway->data_dir);
    if (mkdir(modules.data, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", modules.data);
    return SYN_OK;
}

static int
make_parts(struct fgw *gateway, const struct syn_function_gateway_options *options,
           struct syn_err *err)
{
    struct syn_http_options http = {
        .loop = gateway->loop,
        .http2 = true,
        .limits = {.conns_max = FGW_CONNS_MAX, .bodies_max = FGW_BODIES_MAX}};
    int rc = make_folders(gateway, err);

    if (rc == SYN_OK && gateway->tls_fd >= 0)
        rc = fgw_certs_new(gateway, &gateway->certs, err);
    http.handshakes = fgw_certs_handshakes(gateway->certs);

    if (rc == SYN_OK)
        rc = syn_map_new(fgw_function_drop, &gateway->functions, err);
    if (rc == SYN_OK)
        rc = fgw_keys_new(&gateway->keys, err);
    if (rc == SYN_OK)
        rc = syn_http_server_new(&http, &gateway->http, err);
    if (rc == SYN_OK)
        rc = syn_http_server_catch(gateway->http, &row, fgw_call_head, gateway, err);
    if (rc == SYN_OK)
        rc = fgw_access_open(gateway, options->access_log, err);
    if (rc == SYN_OK)
        rc = syn_pool_new(FETCHERS, FETCHES_MAX, &gateway->fetchers, err);
    if (rc == SYN_OK)
        rc = fgw_guests_new(gateway, options->guest_threads, &gateway->guests, err);
    if (rc == SYN_OK)
        rc = syn_loop_timer(gateway->loop, HOUSE_MS, HOUSE_MS, keep_house, gateway, &gateway->house,
                            err);
    return rc;
}

static void
close_socket(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

int
fgw_new(struct syn_loop *loop, const struct syn_function_gateway_options *options,
        const struct fgw_socket *plain, const struct fgw_socket *tls, struct fgw **ret,
        struct syn_err *err)
{
    struct fgw *gateway = syn_calloc(1, sizeof(*gateway));
    int rc = SYN_OK;

    if (gateway == NULL) {
        close_socket(plain->fd);
        close_socket(tls->fd);
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a gateway");
    }
    gateway->loop = loop;
    gateway->listen_fd = plain->fd;
    gateway->tls_fd = tls->fd;
    (void)pthread_mutex_init(&gateway->wasm_lock, NULL);
    (void)syn_str_copy(gateway->listen, sizeof(gateway->listen), plain->address);
    (void)syn_str_copy(gateway->tls_listen, sizeof(gateway->tls_listen), tls->address);
    gateway->data_dir = syn_strdup(options->data_dir);
    gateway->server = syn_strdup(options->server);
    if (options->wasm_library != NULL)
        gateway->wasm_library = syn_strdup(options->wasm_library);
    if (gateway->data_dir == NULL || gateway->server == NULL ||
        (options->wasm_library != NULL && gateway->wasm_library == NULL))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a gateway");
    if (rc == SYN_OK)
        rc = make_parts(gateway, options, err);
    if (rc < 0) {
        (void)fgw_free(gateway);
        return rc;
    }
    *ret = gateway;
    return SYN_OK;
}

int
fgw_start(struct fgw *gateway, struct syn_err *err)
{
    int rc = fgw_reports_new(gateway, &gateway->reports, err);

    return rc < 0 ? rc : fgw_follower_new(gateway, &gateway->follower, err);
}

static int
take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

void
fgw_known(struct fgw *gateway)
{
    SYN_BUF(path);
    struct syn_err err;
    int rc = SYN_OK;

    if (gateway->synced)
        return;
    gateway->synced = true;
    syn_buf_addf(&path, "%s/gateway.sock", gateway->data_dir);
    rc = syn_buf_ok(&path, &err);
    if (rc == SYN_OK)
        rc = syn_http_listen_unix(gateway->http, path.data, 0600, &err);
    if (rc == SYN_OK && gateway->listen_fd >= 0)
        rc = syn_http_listen_fd_take(gateway->http, take_fd(&gateway->listen_fd), NULL, &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_ERROR, "gateway.listen", &err);
        syn_loop_stop(gateway->loop);
        return;
    }
    syn_log(SYN_LOG_INFO, "gateway.ready", "listen=%s functions=%zu",
            gateway->listen[0] != '\0' ? gateway->listen : "-", syn_map_count(gateway->functions));
    fgw_certs_tick(gateway);
    if (gateway->on_synced != NULL)
        gateway->on_synced(gateway->on_synced_arg);
}

struct stop {
    struct fgw *gateway;
    void (*done)(void *arg);
    void *arg;
};

static void
all_told(void *arg)
{
    struct stop *stop = arg;
    const struct stop copy = *stop;

    syn_free(stop);
    copy.done(copy.arg);
}

static void
all_answered(void *arg)
{
    struct stop *stop = arg;

    fgw_reports_last(stop->gateway->reports, all_told, stop);
}

void
fgw_stop(struct fgw *gateway, int64_t limit_ms, void (*done)(void *arg), void *arg)
{
    struct stop *stop = syn_calloc(1, sizeof(*stop));
    struct syn_err err;

    if (gateway->stopping)
        return;
    gateway->stopping = true;
    if (stop == NULL) {
        done(arg);
        return;
    }
    *stop = (struct stop){gateway, done, arg};
    if (syn_http_server_stop(gateway->http, limit_ms, all_answered, stop, &err) < 0)
        all_answered(stop);
}

static void
free_table(struct fgw *gateway)
{
    while (gateway->active != NULL) {
        struct fgw_version *version = gateway->active;

        gateway->active = version->active_next;
        fgw_version_unref(version);
    }
    gateway->routes = syn_function_routes_free(gateway->routes);
    gateway->functions = syn_map_free(gateway->functions);
    gateway->keys = fgw_keys_free(gateway->keys);
}

struct fgw *
fgw_free(struct fgw *gateway)
{
    if (gateway == NULL)
        return NULL;
    gateway->closing = true;
    atomic_store(&gateway->hurry, true);
    gateway->follower = fgw_follower_free(gateway->follower);
    if (gateway->fetchers != NULL)
        gateway->fetchers = syn_pool_free(gateway->fetchers);
    while (gateway->loads_out > 0 && syn_loop_turn(gateway->loop, 0, NULL) == SYN_OK)
        continue;
    gateway->guests = fgw_guests_free(gateway->guests);
    gateway->http = syn_http_server_free(gateway->http);
    gateway->certs = fgw_certs_free(gateway->certs);
    gateway->access = syn_line_log_free(gateway->access);
    syn_buf_fini(&gateway->access_line);
    gateway->reports = fgw_reports_free(gateway->reports);
    gateway->sweep = syn_watch_drop(gateway->sweep);
    gateway->house = syn_watch_drop(gateway->house);
    free_table(gateway);
    fgw_calls_free(gateway);
    if (gateway->wasm != NULL)
        (void)syn_wasm_close(gateway->wasm);
    (void)pthread_mutex_destroy(&gateway->wasm_lock);
    close_socket(gateway->listen_fd);
    close_socket(gateway->tls_fd);
    syn_free(gateway->wasm_library);
    syn_free(gateway->server);
    syn_free(gateway->data_dir);
    syn_free(gateway);
    return NULL;
}

/* --- the process ------------------------------------------------------------------------------ */

struct process {
    struct syn_loop *loop;
    struct fgw *gateway;
    int64_t stop_ms;
};

static void
stop_loop(void *arg)
{
    syn_loop_stop(arg);
}

static void
on_stop(void *arg)
{
    struct process *process = arg;

    fgw_stop(process->gateway, process->stop_ms, stop_loop, process->loop);
}

static void
on_hangup(void *arg)
{
    const struct process *process = arg;

    if (process->gateway != NULL && process->gateway->access != NULL)
        syn_line_log_reopen(process->gateway->access);
}

/* As many descriptors as there may be. */
static void
raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A port that the system chose is the one of the process before this, where that can be: who knows
 * the address still has it. `name` is of the file that has it. */
static int
bind_again(const char *data_dir, const char *name, const char *listen, int *ret_fd,
           uint16_t *ret_port, struct syn_err *err)
{
    SYN_BUF(path);
    char text[128] = "";
    FILE *file;
    int rc = SYN_E_NOTFOUND;

    if (!syn_str_ends(listen, ":0"))
        return syn_http_bind(listen, ret_fd, ret_port, err);
    syn_buf_addf(&path, "%s/%s", data_dir, name);
    file = fopen(syn_buf_text(&path), "re");
    if (file != NULL && fgets(text, sizeof(text), file) != NULL &&
        strncmp(text, listen, strlen(listen) - 1) == 0)
        rc = syn_http_bind(text, ret_fd, ret_port, err);
    if (file != NULL)
        (void)fclose(file);
    if (rc < 0)
        rc = syn_http_bind(listen, ret_fd, ret_port, err);
    if (rc < 0 || (mkdir(data_dir, 0700) < 0 && errno != EEXIST))
        return rc;
    file = fopen(syn_buf_text(&path), "we");
    if (file != NULL) {
        (void)fprintf(file, "%.*s%u", (int)strlen(listen) - 1, listen, (unsigned)*ret_port);
        (void)fclose(file);
    }
    return SYN_OK;
}

static int
open_socket(const char *data_dir, const char *name, const char *listen, struct fgw_socket *ret,
            struct syn_err *err)
{
    const char *colon = listen != NULL ? strrchr(listen, ':') : NULL;
    uint16_t port = 0;
    int rc;

    *ret = (struct fgw_socket){.fd = -1};
    if (listen == NULL || listen[0] == '\0')
        return SYN_OK;
    rc = bind_again(data_dir, name, listen, &ret->fd, &port, err);
    if (rc == SYN_OK && colon != NULL)
        (void)snprintf(ret->address, sizeof(ret->address), "%.*s:%u", (int)(colon - listen), listen,
                       (unsigned)port);
    return rc;
}

/* Bind while it may be a port below 1024, then give up what that took. */
static int
prepare(const struct syn_function_gateway_options *options, struct fgw_socket *plain,
        struct fgw_socket *tls, struct syn_err *err)
{
    int rc = open_socket(options->data_dir, "listen", options->listen, plain, err);

    if (rc == SYN_OK)
        rc = open_socket(options->data_dir, "listen-tls", options->tls_listen, tls, err);
    if (rc == SYN_OK)
        rc = syn_privilege_reduce(SYN_PRIVILEGE_NOTHING, err);
    return rc < 0 ? rc : fgw_confine(err);
}

static int
serve(const struct syn_function_gateway_options *options, struct process *process,
      struct syn_err *err)
{
    struct fgw_socket plain = {.fd = -1}, tls = {.fd = -1};
    int rc = prepare(options, &plain, &tls, err);

    if (rc == SYN_OK)
        rc = syn_loop_new(&process->loop, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGTERM, on_stop, process, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGINT, on_stop, process, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGHUP, on_hangup, process, NULL, err);
    if (rc < 0) {
        close_socket(plain.fd);
        close_socket(tls.fd);
        return rc;
    }
    rc = fgw_new(process->loop, options, &plain, &tls, &process->gateway, err);
    if (rc == SYN_OK)
        rc = fgw_start(process->gateway, err);
    return rc < 0 ? rc : syn_loop_run(process->loop, err);
}

int
syn_function_gateway_run(const struct syn_function_gateway_options *options)
{
    struct process process = {.stop_ms = options->stop_ms > 0 ? options->stop_ms : STOP_MS};
    struct syn_err err = {.code = SYN_E_INTERNAL};
    int rc;

    syn_json_init();
    syn_log_setup(STDERR_FILENO, syn_log_level_of(options->log_level), options->log_json);
    raise_limits();
    (void)mallopt(M_ARENA_MAX, 2);
    rc = serve(options, &process, &err);
    (void)fgw_free(process.gateway);
    (void)syn_loop_free(process.loop);
    if (rc < 0)
        syn_log_err(SYN_LOG_ERROR, "gateway.failed", &err);
    return rc < 0 ? syn_err_info(rc)->exit : 0;
}

static int
usage(const char *what)
{
    (void)fprintf(stderr, "synor function-gateway: %s\n", what);
    return 2;
}

int
syn_function_gateway_main(int argc, char **argv)
{
    struct syn_function_gateway_options options = {.data_dir = NULL};
    const char *parent = NULL;
    const struct {
        const char *name;
        const char **value;
    } texts[] = {{"--data-dir", &options.data_dir},     {"--server", &options.server},
                 {"--listen", &options.listen},         {"--tls-listen", &options.tls_listen},
                 {"--access-log", &options.access_log}, {"--wasm-library", &options.wasm_library},
                 {"--log-level", &options.log_level},   {"--parent", &parent}};
    uint64_t expected = 0;

    for (int i = 2; i < argc; i++) {
        size_t at = 0;

        if (strcmp(argv[i], "--log-json") == 0) {
            options.log_json = true;
            continue;
        }
        while (at < SYN_LEN(texts) && strcmp(texts[at].name, argv[i]) != 0)
            at++;
        if (at == SYN_LEN(texts) || i + 1 == argc)
            return usage("an option that is not known, or without its value");
        *texts[at].value = argv[++i];
    }
    if (options.data_dir == NULL || options.server == NULL)
        return usage("--data-dir and --server are needed");
    if (parent != NULL && syn_parse_u64(parent, 1, INT32_MAX, "--parent", &expected, NULL) < 0)
        return usage("--parent is a process id");
    /* Whoever started us is gone: so are those who could use us. Nobody tells of one that was gone
     * before we asked for the signal. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
        return usage(strerrordesc_np(errno));
    if (parent != NULL && (uint64_t)getppid() != expected)
        return 0;
    return syn_function_gateway_run(&options);
}
