/* down: stop the platform. Jobs go on by themselves unless --stop-jobs stops them first. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "platform_priv.h"

#define DOWN_WITHIN_MS 30000
#define JOBS_WITHIN_MS (INT64_C(10) * 60 * 1000)
#define JOBS_PAUSE_MS  500
#define PID_FILE_BYTES 32

/* The process that DATA/synor.pid names, or 0. */
static int
read_pid(const struct syn_cli *cli, int64_t *ret_pid, struct syn_err *err)
{
    char path[sizeof(cli->home) + 16];
    SYN_BUF(text);
    int rc;

    *ret_pid = 0;
    (void)snprintf(path, sizeof(path), "%s/synor.pid", cli->home);
    rc = syn_cli_read_file(path, PID_FILE_BYTES, &text, err);
    if (rc == SYN_E_NOTFOUND)
        return SYN_OK;
    if (rc < 0)
        return rc;
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    return text.len == 0 ? SYN_OK
                         : syn_parse_i64(syn_buf_text(&text), 1, INT32_MAX, path, ret_pid, err);
}

/* --- jobs ------------------------------------------------------------------------------------ */

static bool
has_ended(const json_t *job)
{
    const char *state = syn_json_str(json_object_get(job, "status"), "state", "");

    return syn_str_eq(state, "succeeded") || syn_str_eq(state, "failed") ||
           syn_str_eq(state, "stopped");
}

/* What has not ended, by kind; of functions, those that have instances. */
struct going {
    size_t jobs, services, functions;
};

static size_t
all_of(const struct going *going)
{
    return going->jobs + going->services + going->functions;
}

/* How many of those at `route` have not ended; with `stop`, each of them is asked to. */
static int
count_at(struct syn_cli *cli, const char *route, bool stop, size_t *count, struct syn_err *err)
{
    SYN_JSON(jobs);
    SYN_JSON(body);
    size_t i;
    json_t *job;
    int rc = syn_cli_list(cli, route, &jobs, err);

    body = json_object();
    json_array_foreach (jobs, i, job) {
        SYN_BUF(path);

        if (rc < 0 || has_ended(job))
            continue;
        (*count)++;
        if (!stop)
            continue;
        syn_buf_addf(&path, "%s/%s/stop", route, syn_json_str(job, "id", "?"));
        rc = syn_buf_ok(&path, err);
        if (rc == SYN_OK)
            rc = syn_cli_call(cli, "POST", syn_buf_text(&path), body, NULL, err);
        if (rc == SYN_E_CONFLICT) /* it ended meanwhile */
            rc = SYN_OK;
    }
    return rc;
}

/* A function is asked to stop by suspending it: its instances end, and it is there still. */
static int
count_functions(struct syn_cli *cli, bool stop, size_t *count, struct syn_err *err)
{
    SYN_JSON(functions);
    SYN_JSON(body);
    size_t i;
    json_t *function;
    int rc = syn_cli_list(cli, "/v1/functions", &functions, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&body, err, "{s:{s:b}}", "spec", "suspended", 1);
    json_array_foreach (functions, i, function) {
        SYN_BUF(path);

        if (rc < 0 || syn_json_i64(json_object_get(function, "status"), "instances", 0) == 0)
            continue;
        (*count)++;
        if (!stop)
            continue;
        syn_buf_addf(&path, "/v1/functions/%s", syn_json_str(function, "id", "?"));
        rc = syn_buf_ok(&path, err);
        if (rc == SYN_OK)
            rc = syn_cli_call(cli, "PATCH", syn_buf_text(&path), body, NULL, err);
        if (rc == SYN_E_CONFLICT) /* it is being deleted */
            rc = SYN_OK;
    }
    return rc;
}

/* Those of every account: the platform is everybody's. An account that has nothing going leaves
 * `accounts`; *ret counts what is left. */
static int
count_going(struct syn_cli *cli, json_t *accounts, bool stop, struct going *ret,
            struct syn_err *err)
{
    int rc = SYN_OK;

    *ret = (struct going){0};
    for (size_t i = json_array_size(accounts); rc == SYN_OK && i > 0; i--) {
        size_t before = all_of(ret);

        syn_cli_act_for(cli, syn_json_str(json_array_get(accounts, i - 1), "id", "?"));
        rc = count_at(cli, "/v1/training", stop, &ret->jobs, err);
        if (rc == SYN_OK)
            rc = count_at(cli, "/v1/services", stop, &ret->services, err);
        if (rc == SYN_OK)
            rc = count_functions(cli, stop, &ret->functions, err);
        syn_cli_act_for(cli, NULL);
        if (rc == SYN_OK && all_of(ret) == before)
            (void)json_array_remove(accounts, i - 1);
    }
    return rc;
}

static int
stop_jobs(struct syn_cli *cli, json_t *accounts, struct syn_err *err)
{
    int64_t until = syn_mono_ms(syn_world_system()) + JOBS_WITHIN_MS;
    struct syn_cli_progress progress;
    struct going going = {0};
    size_t left;
    size_t total;
    int rc = count_going(cli, accounts, true, &going, err);

    left = total = all_of(&going);
    syn_cli_progress_init(&progress, cli, "Stopping jobs, services and functions", (int64_t)total,
                          false);
    while (rc == SYN_OK && left > 0) {
        if (syn_cli_interrupted())
            return SYN_FAIL(err, SYN_E_CANCELED, "interrupted; the platform still runs");
        if (syn_mono_ms(syn_world_system()) > until)
            return SYN_FAIL(
                err, SYN_E_TIMEOUT,
                "%zu jobs, services and functions have not stopped within %d minutes; the "
                "platform still runs",
                left, (int)(JOBS_WITHIN_MS / 60000));
        (void)poll(NULL, 0, JOBS_PAUSE_MS);
        rc = count_going(cli, accounts, false, &going, err);
        left = all_of(&going);
        syn_cli_progress_show(&progress, (int64_t)(total - SYN_MIN(left, total)), NULL);
    }
    if (rc == SYN_OK && total > 0)
        syn_cli_progress_done(&progress, (int64_t)total, NULL);
    return rc;
}

/* --- the daemon ------------------------------------------------------------------------------ */

/* Through a descriptor of the process, which cannot come to mean another one. */
static int
end_process(int pid_fd, int64_t pid, struct syn_err *err)
{
    struct pollfd poll_fd = {.fd = pid_fd, .events = POLLIN};
    int64_t until = syn_mono_ms(syn_world_system()) + DOWN_WITHIN_MS;
    int64_t left;

    if (syscall(SYS_pidfd_send_signal, pid_fd, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
        return SYN_FAIL_SYS(err, errno, "stopping process %lld", (long long)pid);
    while ((left = until - syn_mono_ms(syn_world_system())) > 0) {
        int ready = poll(&poll_fd, 1, (int)left);

        if (ready > 0)
            return SYN_OK;
        if (ready < 0 && syn_cli_interrupted())
            return SYN_FAIL(err, SYN_E_CANCELED, "interrupted; process %lld is stopping",
                            (long long)pid);
    }
    return SYN_FAIL(err, SYN_E_TIMEOUT, "process %lld has not ended within %d s", (long long)pid,
                    DOWN_WITHIN_MS / 1000);
}

/* Also true of one that nobody has waited for yet. */
static bool
has_exited(int pid_fd)
{
    struct pollfd poll_fd = {.fd = pid_fd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) > 0;
}

/* Open the process of the pid file and make sure that it is the one behind the socket. */
static int
open_daemon(struct syn_cli *cli, int64_t *ret_pid, int *ret_fd, struct syn_err *err)
{
    SYN_JSON(status);
    int64_t pid = 0;
    int64_t answered;
    long fd;
    int rc = read_pid(cli, &pid, err);

    *ret_fd = -1;
    *ret_pid = pid;
    if (rc < 0 || pid == 0)
        return rc;
    fd = syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (fd < 0 && errno == ESRCH)
        return SYN_OK; /* it died and left its file */
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "process %lld", (long long)pid);
    if (has_exited((int)fd)) {
        (void)close((int)fd);
        return SYN_OK;
    }
    rc = syn_cli_probe_home(cli, &status, err);
    answered = rc == SYN_OK ? syn_json_i64(status, "pid", 0) : 0;
    if (answered == pid) {
        *ret_fd = (int)fd;
        return SYN_OK;
    }
    (void)close((int)fd);
    if (rc == SYN_E_UNAVAILABLE)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s/synor.pid names process %lld, but nothing answers on the socket: "
                        "look at it, and end it by hand",
                        cli->home, (long long)pid);
    if (rc < 0)
        return rc;
    return SYN_FAIL(err, SYN_E_CONFLICT,
                    "%s/synor.pid names process %lld, the socket answers as %lld", cli->home,
                    (long long)pid, (long long)answered);
}

/* "2 jobs, 1 service, 1 function" */
static const char *
going_text(const struct going *going, char *out, size_t cap)
{
    const struct {
        const char *noun;
        size_t count;
    } kinds[] = {
        {"job", going->jobs}, {"service", going->services}, {"function", going->functions}};
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < SYN_LEN(kinds) && len < cap; i++)
        if (kinds[i].count > 0)
            len += (size_t)snprintf(out + len, cap - len, "%s%zu %s%s", len > 0 ? ", " : "",
                                    kinds[i].count, kinds[i].noun, kinds[i].count == 1 ? "" : "s");
    return out;
}

static int
say_down(const struct syn_cli *cli, bool was_running, const struct going *going)
{
    char text[120];

    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:b, s:I, s:I, s:I, s:s}", "was_running", was_running ? 1 : 0,
                           "jobs_running", (json_int_t)going->jobs, "services_running",
                           (json_int_t)going->services, "functions_running",
                           (json_int_t)going->functions, "data_dir", cli->home));
    if (!was_running)
        syn_cli_say(cli, "Nothing runs in %s.", cli->home);
    else if (all_of(going) == 0)
        syn_cli_say(cli, "Stopped. No job, service or function was running.");
    else
        syn_cli_say(cli, "Stopped. What goes on (%s) is adopted by the next `synor up`.",
                    going_text(going, text, sizeof(text)));
    return 0;
}

static int
run_down(struct syn_cli *cli)
{
    struct syn_err err;
    struct going going = {0};
    int64_t pid;
    int pid_fd;
    SYN_JSON(accounts);
    int rc = open_daemon(cli, &pid, &pid_fd, &err);

    if (rc == SYN_OK && pid_fd < 0)
        return say_down(cli, false, &going);
    cli->at_home = true;
    if (rc == SYN_OK)
        rc = syn_cli_list(cli, "/v1/accounts", &accounts, &err);
    if (rc == SYN_OK && syn_cli_has(cli, "stop-jobs"))
        rc = stop_jobs(cli, accounts, &err);
    if (rc == SYN_OK)
        rc = count_going(cli, accounts, false, &going, &err);
    if (rc == SYN_OK)
        rc = end_process(pid_fd, pid, &err);
    if (pid_fd >= 0)
        (void)close(pid_fd);
    return rc < 0 ? syn_cli_fail(cli, &err) : say_down(cli, true, &going);
}

/* clang-format off */
static const struct syn_cli_option down_options[] = {
    {"data-dir", 0, "DIR", SYN_CLI_DIR, 0, 0, false, false, NULL, "--home", "Where its state is kept"},
    {"stop-jobs", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "First ask all jobs and services to stop, suspend functions, and wait"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_down_command = {
    .path = "down",
    .summary = "Stop the platform; what runs on it goes on and is adopted by the next start",
    .options = down_options,
    .option_count = SYN_LEN(down_options),
    .run = run_down};
