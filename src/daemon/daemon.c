/* Processes: logging, the pid file, signals, and the order in which things start and stop.
 *
 * `synor up` is one process with two sides that speak over the Unix socket as they would over a
 * network: the server on the main thread's loop, and the agent on threads of its own. The agent
 * starts once the loop runs, because joining is a call to it. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/daemon/agent.h>
#include <synor/daemon/daemon.h>
#include <synor/daemon/server.h>
#include <synor/runtime/container.h>

#include "privilege_priv.h"

#define PATH_MAX_BYTES 1024
#define AGENT_RETRY_S  2
#define TRIM_MS        20000
#define TRIM_BYTES     ((size_t)2 << 20)

struct process {
    const struct syn_daemon_options *options;
    struct syn_loop *loop;
    struct syn_server *server;
    struct syn_agent *agent;
    pthread_t starter;
    bool starting;
    bool stopping;          /* under `lock` */
    struct syn_err gave_up; /* why the agent will never start; under `lock`, code 0 unless so */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int pid_fd;
    size_t trimmed; /* free bytes of the allocator that the system has back */
};

static void
tell(const struct syn_daemon_options *options, const char *text, const char *more)
{
    if (options->ready_fd >= 0) {
        (void)dprintf(options->ready_fd, "%s%s\n", text, more);
        (void)close(options->ready_fd);
    }
}

/* One process a folder. The file stays locked as long as we live; its text is for people and
 * `down`. */
static int
take_pid_file(struct process *process, const char *file, struct syn_err *err)
{
    char path[PATH_MAX_BYTES];
    char text[32];
    int len;

    if (mkdir(process->options->data_dir, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", process->options->data_dir);
    (void)snprintf(path, sizeof(path), "%s/%s", process->options->data_dir, file);
    process->pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (process->pid_fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    if (flock(process->pid_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t got = pread(process->pid_fd, text, sizeof(text) - 1, 0);

        text[got > 0 ? got : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return SYN_FAIL(err, SYN_E_CONFLICT, "already running as process %s (%s)", text, path);
    }
    len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(process->pid_fd, 0) != 0 || pwrite(process->pid_fd, text, (size_t)len, 0) != len)
        return SYN_FAIL_SYS(err, errno, "writing %s", path);
    return SYN_OK;
}

static void
on_stop_signal(void *arg)
{
    syn_loop_stop(arg);
}

/* Whatever ended below an instance and lost its parent is a child of this process. */
static void
on_child_signal(void *arg)
{
    (void)arg;
    (void)syn_child_reap_orphans();
}

/* Signals before any thread, so that every thread inherits them blocked. */
/* Give memory that a burst of work left free back to the system. What the allocator calls free
 * includes what was given back before, so it is the growth since then that counts. */
static void
trim_memory(void *arg)
{
    struct process *process = arg;
    size_t idle = mallinfo2().fordblks;

    if (idle > process->trimmed + TRIM_BYTES) {
        (void)malloc_trim(0);
        process->trimmed = idle;
    } else if (idle < process->trimmed) {
        process->trimmed = idle;
    }
}

static int
open_loop(struct process *process, struct syn_err *err)
{
    int rc = syn_loop_new(&process->loop, err);

    if (rc == SYN_OK)
        rc = syn_loop_timer(process->loop, TRIM_MS, TRIM_MS, trim_memory, process, NULL, err);

    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGTERM, on_stop_signal, process->loop, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGINT, on_stop_signal, process->loop, NULL, err);
    if (rc == SYN_OK)
        rc = syn_loop_signal(process->loop, SIGCHLD, on_child_signal, NULL, NULL, err);
    (void)signal(SIGPIPE, SIG_IGN);
    return rc;
}

/* --- the agent within --------------------------------------------------------------------------
 */

/* Wait, unless the process ends meanwhile. */
static bool
pause_start(struct process *process)
{
    struct timespec until;
    bool go_on;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AGENT_RETRY_S;
    (void)pthread_mutex_lock(&process->lock);
    if (!process->stopping)
        (void)pthread_cond_timedwait(&process->wake, &process->lock, &until);
    go_on = !process->stopping;
    (void)pthread_mutex_unlock(&process->lock);
    return go_on;
}

/* One try. The agent is published before it starts, so that end_agent() can cut its calls short:
 * a server of this process does not answer any more by then. */
static int
try_agent(struct process *process, const struct syn_agent_options *options, struct syn_err *err)
{
    struct syn_agent *agent;
    int rc = syn_agent_new(options, &agent, err);

    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&process->lock);
    process->agent = agent;
    if (process->stopping)
        syn_agent_stop(agent);
    (void)pthread_mutex_unlock(&process->lock);
    rc = syn_agent_start(agent, err);
    if (rc < 0) {
        (void)pthread_mutex_lock(&process->lock);
        process->agent = NULL;
        (void)pthread_mutex_unlock(&process->lock);
        (void)syn_agent_free(agent);
    }
    return rc;
}

static void
stop_loop(void *arg)
{
    syn_loop_stop(arg);
}

/* An agent alone that can never start has no reason to stay; a server beside it has. */
static void
give_up(struct process *process, const struct syn_err *why)
{
    (void)pthread_mutex_lock(&process->lock);
    process->gave_up = *why;
    (void)pthread_mutex_unlock(&process->lock);
    if (process->server == NULL &&
        syn_loop_post(process->loop, stop_loop, process->loop, NULL, NULL) < 0)
        syn_log_kv(SYN_LOG_ERROR, "agent.stays", NULL);
}

static void *
start_agent(void *arg)
{
    struct process *process = arg;
    const struct syn_daemon_options *given = process->options;
    static const char *const devices_argv[] = {"/proc/self/exe", "compute", "devices",
                                               "list",           "--json",  NULL};
    char containerd[PATH_MAX_BYTES] = "";
    struct syn_agent_options options = {.data_dir = given->data_dir,
                                        .region = given->region,
                                        .labels = given->labels,
                                        .bandwidth_bps = given->bandwidth_bps,
                                        .offer = given->offer,
                                        .namespace_sandbox = given->namespace_sandbox,
                                        .nothing_ahead = given->nothing_ahead,
                                        .gpu_sharing = given->gpu_sharing,
                                        .mps_pipes = given->mps_pipes,
                                        .driver = given->runtime,
                                        .containerd = given->containerd != NULL ? containerd : NULL,
                                        .dns = given->dns,
                                        .mesh = given->mesh,
                                        .name = given->name,
                                        .cache_bytes_max = given->cache_bytes_max,
                                        .devices_argv = devices_argv};
    struct syn_err err = {0};

    if (given->containerd != NULL &&
        syn_container_parse(given->containerd, containerd, sizeof(containerd), &err) < 0) {
        give_up(process, &err);
        return NULL;
    }
    options.server = process->server != NULL ? syn_server_socket(process->server) : given->server;
    options.token = process->server != NULL ? syn_server_join_token(process->server) : given->token;
    options.fingerprint = process->server != NULL ? NULL : given->fingerprint;
    while (try_agent(process, &options, &err) < 0) {
        if (err.code == SYN_E_CANCELED)
            return NULL;
        syn_log_err(SYN_LOG_ERROR, "agent.start-failed", &err);
        if (err.code == SYN_E_INVALID || err.code == SYN_E_UNAUTHENTICATED) {
            give_up(process, &err);
            return NULL;
        }
        if (!pause_start(process))
            return NULL;
    }
    return NULL;
}

static int
launch_agent(struct process *process, struct syn_err *err)
{
    if (pthread_create(&process->starter, NULL, start_agent, process) != 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start the agent's thread");
    process->starting = true;
    return SYN_OK;
}

static void
end_agent(struct process *process)
{
    (void)pthread_mutex_lock(&process->lock);
    process->stopping = true;
    if (process->agent != NULL)
        syn_agent_stop(process->agent);
    (void)pthread_cond_broadcast(&process->wake);
    (void)pthread_mutex_unlock(&process->lock);
    if (process->starting)
        (void)pthread_join(process->starter, NULL);
    process->agent = syn_agent_free(process->agent);
}

/* --- running -----------------------------------------------------------------------------------
 */

static int
fail(const struct syn_daemon_options *options, const struct syn_err *err)
{
    char line[sizeof(err->msg) + 64];

    (void)snprintf(line, sizeof(line), "%s %s", syn_err_info(err->code)->wire, err->msg);
    tell(options, "error: ", line);
    if (options->ready_fd < 0)
        fprintf(stderr, "synor: %s\n", err->msg);
    return syn_err_info(err->code)->exit;
}

static int
begin(struct process *process, const struct syn_daemon_options *options,
      enum syn_privilege_role role, struct syn_err *err)
{
    *process = (struct process){.options = options, .pid_fd = -1};
    (void)pthread_mutex_init(&process->lock, NULL);
    (void)pthread_cond_init(&process->wake, NULL);
    syn_json_init();
    syn_log_setup(STDERR_FILENO, syn_log_level_of(options->log_level), options->log_json);
    (void)mallopt(M_ARENA_MAX, 2); /* few busy threads: arenas would only keep memory */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    return syn_privilege_reduce(role, err);
}

static void
end(struct process *process)
{
    process->loop = syn_loop_free(process->loop);
    if (process->pid_fd >= 0)
        (void)close(process->pid_fd);
    (void)pthread_cond_destroy(&process->wake);
    (void)pthread_mutex_destroy(&process->lock);
}

static enum syn_privilege_role
node_role(const struct syn_daemon_options *options)
{
    return syn_str_eq(options->runtime != NULL ? options->runtime : "", "container")
               ? SYN_PRIVILEGE_PODS
               : SYN_PRIVILEGE_NODE;
}

int
syn_daemon_up(const struct syn_daemon_options *options)
{
    struct process process;
    struct syn_err err = {0};
    bool ready;
    int rc;

    rc = begin(&process, options, options->with_agent ? node_role(options) : SYN_PRIVILEGE_SERVER,
               &err);
    if (rc == SYN_OK)
        rc = take_pid_file(&process, "synor.pid", &err);
    if (rc == SYN_OK)
        rc = open_loop(&process, &err);
    if (rc == SYN_OK) {
        struct syn_server_options server = {.loop = process.loop,
                                            .data_dir = options->data_dir,
                                            .listen = options->listen,
                                            .key_file = options->key_file,
                                            .old_key_files = options->old_key_files,
                                            .without_key = options->without_key,
                                            .price_book = options->price_book,
                                            .region = options->region,
                                            .publish = options->publish,
                                            .http_port = options->http_port,
                                            .https_port = options->https_port,
                                            .function_program = "/proc/self/exe",
                                            .function_listen = options->function_listen,
                                            .function_access_log = options->function_access_log,
                                            .function_tls_listen = options->function_tls_listen,
                                            .function_tls_certs = options->function_tls_certs,
                                            .log_level = options->log_level,
                                            .log_json = options->log_json,
                                            .webhook_private = options->webhook_private,
                                            .acme_directory = options->acme_directory,
                                            .acme_contact = options->acme_contact,
                                            .acme_ca = options->acme_ca,
                                            .service_network = options->service_network,
                                            .insecure = options->insecure};

        rc = syn_server_new(&server, &process.server, &err);
    }
    if (rc == SYN_OK && options->with_agent)
        rc = launch_agent(&process, &err);
    ready = rc == SYN_OK;
    if (ready) {
        syn_log_kv(SYN_LOG_INFO, "server.ready", "socket", syn_server_socket(process.server),
                   "listen", syn_server_listen(process.server), NULL);
        tell(options, "ready ", syn_server_fresh(process.server) ? "fresh" : "again");
        rc = syn_loop_run(process.loop, &err);
    }
    end_agent(&process);
    process.server = syn_server_free(process.server);
    end(&process);
    /* Told last: who hears of it may start another at once. */
    if (!ready)
        return fail(options, &err);
    return rc < 0 ? 1 : rc;
}

int
syn_daemon_agent(const struct syn_daemon_options *options)
{
    struct process process;
    struct syn_err err = {0};
    bool ready;
    int rc;

    rc = begin(&process, options, node_role(options), &err);
    if (rc == SYN_OK)
        rc = take_pid_file(&process, "agent.pid", &err);
    if (rc == SYN_OK)
        rc = open_loop(&process, &err);
    if (rc == SYN_OK)
        rc = launch_agent(&process, &err);
    ready = rc == SYN_OK;
    if (ready) {
        tell(options, "ready", "");
        rc = syn_loop_run(process.loop, &err);
    }
    end_agent(&process);
    if (rc == SYN_OK && process.gave_up.code != 0)
        rc = syn_err_info(process.gave_up.code)->exit;
    end(&process);
    if (!ready)
        return fail(options, &err);
    return rc < 0 ? 1 : rc;
}

int
syn_daemon_runtime_config(const char *data_dir, const char *config, struct syn_buf *out,
                          struct syn_err *err)
{
    char root[PATH_MAX_BYTES + 16];

    (void)snprintf(root, sizeof(root), "%s/agent/runtime", data_dir);
    return syn_container_config(root, config, out, err);
}
