/* Keeps the gateway's process: starts it, starts it again when it ends, later each time that it did
 * not last, and sees it off. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/function_gateway.h>

#define BACKOFF_MS     100
#define BACKOFF_MAX_MS 5000
#define LASTED_MS      10000 /* it was in order: begin anew with the shortest pause */
#define GRACE_MS       2000  /* of one that was not asked to stop before */
#define POLL_MS        10

struct syn_function_keeper {
    struct syn_loop *loop;
    char *program, *data_dir, *server, *listen, *tls_listen, *access_log, *log_level;
    bool log_json;
    pid_t pid; /* 0: none */
    struct syn_watch *child, *timer;
    int64_t began_ms, pause_ms;
    bool stopping;
    void (*done)(void *arg);
    void *arg;
};

static void start_again(void *arg);

static void
ended(void *arg, pid_t pid, int status)
{
    struct syn_function_keeper *keeper = arg;
    void (*done)(void *) = SYN_TAKE(keeper->done);
    bool lasted = syn_loop_now_ms(keeper->loop) - keeper->began_ms >= LASTED_MS;

    keeper->child = NULL;
    keeper->pid = 0;
    if (keeper->stopping) {
        if (done != NULL)
            done(keeper->arg);
        return;
    }
    keeper->pause_ms = lasted || keeper->pause_ms == 0
                           ? BACKOFF_MS
                           : SYN_MIN(keeper->pause_ms * 2, BACKOFF_MAX_MS);
    syn_log(SYN_LOG_WARN, "function-gateway.ended", "pid=%d status=%d again_in_ms=%lld", (int)pid,
            status, (long long)keeper->pause_ms);
    if (syn_loop_timer(keeper->loop, keeper->pause_ms, 0, start_again, keeper, &keeper->timer,
                       NULL) < 0)
        syn_log_kv(SYN_LOG_ERROR, "function-gateway.lost", "why", "out of memory", NULL);
}

static int
start(struct syn_function_keeper *keeper, struct syn_err *err)
{
    char parent[24];
    const char *argv[20] = {"synor",    "function-gateway", "--data-dir", keeper->data_dir,
                            "--server", keeper->server,     "--parent",   parent,
                            NULL};
    const char *env[8] = {NULL};
    const char *const passed[] = {"PATH",         "TMPDIR",       "SYNOR_WASMTIME",
                                  "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};
    char texts[SYN_LEN(passed)][512];
    struct syn_child_options options = {.argv = argv,
                                        .env = env,
                                        .in = SYN_CHILD_NULL,
                                        .out = SYN_CHILD_NULL,
                                        .err = STDERR_FILENO,
                                        .passed = SYN_CHILD_NULL};
    size_t argc = 8;
    size_t envc = 0;
    int rc;

    (void)snprintf(parent, sizeof(parent), "%d", (int)getpid());
    if (keeper->listen != NULL) {
        argv[argc++] = "--listen";
        argv[argc++] = keeper->listen;
    }
    if (keeper->tls_listen != NULL) {
        argv[argc++] = "--tls-listen";
        argv[argc++] = keeper->tls_listen;
    }
    if (keeper->access_log != NULL) {
        argv[argc++] = "--access-log";
        argv[argc++] = keeper->access_log;
        if (strcmp(keeper->access_log, "-") == 0)
            options.out = STDOUT_FILENO;
    }
    if (keeper->log_level != NULL) {
        argv[argc++] = "--log-level";
        argv[argc++] = keeper->log_level;
    }
    if (keeper->log_json)
        argv[argc++] = "--log-json";
    for (size_t i = 0; i < SYN_LEN(passed); i++) {
        const char *value = getenv(passed[i]);

        if (value == NULL || snprintf(texts[envc], sizeof(texts[envc]), "%s=%s", passed[i],
                                      value) >= (int)sizeof(texts[envc]))
            continue;
        env[envc] = texts[envc];
        envc++;
    }
    rc = syn_child_spawn(keeper->program, &options, &keeper->pid, err);
    if (rc < 0) {
        keeper->pid = 0;
        return rc;
    }
    keeper->began_ms = syn_loop_now_ms(keeper->loop);
    rc = syn_loop_child(keeper->loop, keeper->pid, ended, keeper, &keeper->child, err);
    if (rc < 0) {
        (void)kill(keeper->pid, SIGKILL);
        (void)syn_child_wait(keeper->pid);
        keeper->pid = 0;
    }
    return rc;
}

static void
start_again(void *arg)
{
    struct syn_function_keeper *keeper = arg;
    struct syn_err err;

    keeper->timer = NULL;
    if (start(keeper, &err) == SYN_OK)
        return;
    syn_log_err(SYN_LOG_ERROR, "function-gateway.start", &err);
    keeper->pause_ms = BACKOFF_MAX_MS;
    if (syn_loop_timer(keeper->loop, keeper->pause_ms, 0, start_again, keeper, &keeper->timer,
                       NULL) < 0)
        syn_log_kv(SYN_LOG_ERROR, "function-gateway.lost", "why", "out of memory", NULL);
}

static bool
copy(char **to, const char *text)
{
    *to = text != NULL ? syn_strdup(text) : NULL;
    return text == NULL || *to != NULL;
}

int
syn_function_keeper_new(const struct syn_function_keeper_options *options,
                        struct syn_function_keeper **ret, struct syn_err *err)
{
    struct syn_function_keeper *keeper = syn_calloc(1, sizeof(*keeper));
    int rc = SYN_OK;

    assert(options->data_dir != NULL && options->server != NULL);
    if (keeper == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a gateway");
    keeper->loop = options->loop;
    keeper->log_json = options->log_json;
    if (!copy(&keeper->program, options->program != NULL ? options->program : "/proc/self/exe") ||
        !copy(&keeper->data_dir, options->data_dir) || !copy(&keeper->server, options->server) ||
        !copy(&keeper->listen, options->listen) ||
        !copy(&keeper->tls_listen, options->tls_listen) ||
        !copy(&keeper->access_log, options->access_log) ||
        !copy(&keeper->log_level, options->log_level))
        rc = SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a gateway");
    if (rc == SYN_OK && mkdir(options->data_dir, 0700) < 0 && errno != EEXIST)
        rc = SYN_FAIL_SYS(err, errno, "making %s", keeper->data_dir);
    if (rc == SYN_OK)
        rc = start(keeper, err);
    if (rc < 0) {
        (void)syn_function_keeper_free(keeper);
        return rc;
    }
    *ret = keeper;
    return SYN_OK;
}

pid_t
syn_function_keeper_pid(const struct syn_function_keeper *keeper)
{
    return keeper->pid;
}

void
syn_function_keeper_stop(struct syn_function_keeper *keeper, void (*done)(void *arg), void *arg)
{
    keeper->stopping = true;
    keeper->timer = syn_watch_drop(keeper->timer);
    keeper->done = done;
    keeper->arg = arg;
    if (keeper->pid > 0) {
        (void)kill(keeper->pid, SIGTERM);
        return;
    }
    keeper->done = NULL;
    done(arg);
}

struct syn_function_keeper *
syn_function_keeper_free(struct syn_function_keeper *keeper)
{
    if (keeper == NULL)
        return NULL;
    keeper->timer = syn_watch_drop(keeper->timer);
    keeper->child = syn_watch_drop(keeper->child);
    if (keeper->pid > 0) {
        const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};

        (void)kill(keeper->pid, SIGTERM);
        for (int waited = 0; waited < GRACE_MS; waited += POLL_MS) {
            siginfo_t info = {.si_pid = 0};

            if (waitid(P_PID, (id_t)keeper->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
                info.si_pid != 0)
                break;
            (void)nanosleep(&pause, NULL);
        }
        (void)kill(keeper->pid, SIGKILL);
        (void)syn_child_wait(keeper->pid);
    }
    syn_free(keeper->program);
    syn_free(keeper->data_dir);
    syn_free(keeper->server);
    syn_free(keeper->listen);
    syn_free(keeper->tls_listen);
    syn_free(keeper->access_log);
    syn_free(keeper->log_level);
    syn_free(keeper);
    return NULL;
}
