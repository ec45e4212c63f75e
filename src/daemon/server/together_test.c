/* The whole daemon in one process, under everything at once: a server with its loop, pool, store
 * and controller, an agent with its threads, which is replaced halfway, and clients that create,
 * watch, follow, stop and delete jobs while an operator turns every knob. Made for the thread
 * sanitizer; what it asserts of itself is that every job comes to its right end and every base unit
 * is there. */
#include "server_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/daemon/agent.h>
#include <synor/orchestration/document.h>

#include "pretend_testing.h"

#define DRIVERS    3
#define JOBS_EACH  6
#define WAIT_STEPS 6000 /* of 10 ms: the sanitizer is slow, and the machine may be busy */

struct stage {
    struct house *house;
    struct pretend *pretend;
    struct syn_agent *agent;
    char cid[SYN_CID_TEXT_MAX];
    atomic_bool over;
    atomic_uint ended; /* jobs, of all drivers */
};

static void
start_agent(struct stage *stage)
{
    struct syn_runtime runtime = pretend_runtime(stage->pretend);
    struct syn_agent_options options = {.data_dir = stage->house->dir,
                                        .server = syn_server_socket(stage->house->server),
                                        .token = syn_server_join_token(stage->house->server),
                                        .name = "here",
                                        .runtime = &runtime};
    struct syn_err err;

    assert_done(syn_agent_new(&options, &stage->agent, &err), &err);
    assert_done(syn_agent_start(stage->agent, &err), &err);
}

/* --- those who use it ------------------------------------------------------------------------- */

struct driver {
    struct stage *stage;
    pthread_t thread;
    unsigned number;
    unsigned failures;
};

/* Wait for the job's end and its bill; its state into out[32]. */
static bool
await_end(struct syn_client *client, const char *id, char *out)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/training/%s", id);
    for (int i = 0; i < WAIT_STEPS; i++) {
        SYN_JSON(job);

        if (call(client, "GET", path, NULL, NULL, &job) == SYN_OK && srv_job_ended(job) &&
            json_is_string(syn_json_at(job, "status.bill"))) {
            (void)syn_str_copy(out, 32, syn_document_state(job));
            return true;
        }
        (void)usleep(10000);
    }
    return false;
}

static int
end_of_log(void *arg, const struct syn_event *event, struct syn_err *err)
{
    (void)err;
    *(unsigned *)arg += syn_str_eq(event->name, "log");
    return syn_str_eq(event->name, "end") ? SYN_CLIENT_STOP : SYN_OK;
}

static int
discard(void *arg, const void *data, size_t len, struct syn_err *err)
{
    (void)arg;
    (void)data;
    (void)len;
    (void)err;
    return SYN_OK;
}

/* Every way to look at a job; none may fail. */
static unsigned
look_at(struct syn_client *client, const char *id)
{
    static const char *const views[] = {"",      "/explain", "/events",
                                        "/logs", "/metrics", "/checkpoints"};
    unsigned failures = 0;

    for (size_t i = 0; i < SYN_LEN(views); i++) {
        struct syn_err err = {0};
        char path[128];

        (void)snprintf(path, sizeof(path), "/v1/training/%s%s", id, views[i]);
        if (syn_client_read(client, path, discard, NULL, &err) < 0) {
            print_message("# %s: %s\n", path, err.msg);
            failures++;
        }
    }
    return failures;
}

/* A call that must not fail. */
static bool
done(struct syn_client *client, const char *method, const char *path, const char *body,
     json_t **ret_answer)
{
    int rc = call(client, method, path, body, NULL, ret_answer);

    if (rc < 0)
        print_message("# %s %s: %d %s\n", method, path, rc,
                      syn_json_str(syn_client_error(client), "message", ""));
    return rc == SYN_OK;
}

/* One job from creation to deletion. Even ones end by themselves, odd ones are stopped. */
static bool
one_job(struct driver *driver, struct syn_client *client, unsigned number)
{
    const char *more = number % 2 == 0 ? ",'args':['150'],'workers':2" : ",'stop_grace_ms':1000";
    const char *want = number % 2 == 0 ? "succeeded" : "stopped";
    char state[32];
    char id[SYN_ID_MAX];
    char path[160];
    char body[640];
    unsigned lines = 0;
    SYN_JSON(job);
    struct syn_err err;

    job_body(body, sizeof(body), driver->stage->cid, "job", more);
    if (!done(client, "POST", "/v1/training", body, &job))
        return false;
    (void)syn_str_copy(id, sizeof(id), syn_document_id(job));
    driver->failures += look_at(client, id);
    if (number % 2 == 1) {
        (void)usleep(number * 60000);
        (void)snprintf(path, sizeof(path), "/v1/training/%s/stop", id);
        if (!done(client, "POST", path, "{}", NULL))
            return false;
    }
    (void)snprintf(path, sizeof(path), "/v1/training/%s/logs/follow", id);
    if (syn_client_follow(client, path, NULL, end_of_log, &lines, &err) < 0) {
        print_message("# %s: %s\n", path, err.msg);
        return false;
    }
    if (!await_end(client, id, state)) {
        print_message("# %s never ended\n", id);
        return false;
    }
    driver->failures += look_at(client, id);
    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", id);
    driver->failures += !done(client, "GET", path, NULL, NULL);
    (void)snprintf(path, sizeof(path), "/v1/training/%s", id);
    driver->failures += !done(client, "DELETE", path, NULL, NULL);
    if (!syn_str_eq(state, want))
        print_message("# %s is %s\n", id, state);
    return syn_str_eq(state, want);
}

static void *
drive(void *arg)
{
    struct driver *driver = arg;
    struct syn_client *client = client_of(driver->stage->house, NULL);

    for (unsigned i = 0; i < JOBS_EACH; i++) {
        driver->failures += !one_job(driver, client, driver->number + i);
        atomic_fetch_add(&driver->stage->ended, 1);
    }
    (void)syn_client_free(client);
    return NULL;
}

/* --- those who watch -------------------------------------------------------------------------- */

struct watcher {
    struct stage *stage;
    struct syn_client *client;
    pthread_t thread;
    unsigned puts;
};

static int
on_change(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct watcher *watcher = arg;

    (void)err;
    watcher->puts += syn_str_eq(event->name, "put");
    return atomic_load(&watcher->stage->over) ? SYN_CLIENT_STOP : SYN_OK;
}

static void *
watch(void *arg)
{
    struct watcher *watcher = arg;

    (void)!syn_client_follow(watcher->client, "/v1/watch?kind=training", NULL, on_change, watcher,
                             NULL);
    return NULL;
}

/* --- the operator ----------------------------------------------------------------------------- */

static void *
operate(void *arg)
{
    struct stage *stage = arg;
    struct syn_client *client = client_of(stage->house, NULL);
    struct syn_err err = {0};

    while (!atomic_load(&stage->over)) {
        char token[SYN_TOKEN_LEN + 1];

        (void)call(client, "POST", "/v1/nodes/here/drain", "{'on':true}", NULL, NULL);
        (void)call(client, "PUT", "/v1/accounts/operator/quota", "{'jobs':2}", NULL, NULL);
        new_token(client, "operator", "read", ",'ttl_ms':60000", token);
        (void)call(client, "GET", "/v1/accounts/me", NULL, NULL, NULL);
        (void)call(client, "POST", "/v1/transfers", "{'to':'provider','amount':'0.001'}", NULL,
                   NULL);
        (void)!syn_client_read(client, "/metrics", discard, NULL, &err);
        (void)call(client, "POST", "/v1/nodes/here/drain", "{'on':false}", NULL, NULL);
        (void)call(client, "PUT", "/v1/accounts/operator/quota", "{}", NULL, NULL);
        (void)!srv_sweep(stage->house->server, syn_wall_ms(stage->house->server->world), NULL);
        (void)usleep(20000);
    }
    (void)syn_client_free(client);
    return NULL;
}

/* --- all of them ------------------------------------------------------------------------------ */

static void
await_ended(struct stage *stage, unsigned count)
{
    for (int i = 0; i < 2 * WAIT_STEPS && atomic_load(&stage->ended) < count; i++)
        (void)usleep(10000);
    assert_true(atomic_load(&stage->ended) >= count);
}

static void
everything_at_once(void **state)
{
    struct stage stage = {.house = *state, .pretend = pretend_new()};
    struct driver drivers[DRIVERS];
    struct watcher watchers[2];
    pthread_t operator;
    unsigned failures = 0;

    start_agent(&stage);
    store_source(stage.house->client, stage.cid);
    for (size_t i = 0; i < SYN_LEN(watchers); i++) {
        watchers[i] = (struct watcher){.stage = &stage, .client = client_of(stage.house, NULL)};
        assert_int_equal(pthread_create(&watchers[i].thread, NULL, watch, &watchers[i]), 0);
    }
    assert_int_equal(pthread_create(&operator, NULL, operate, &stage), 0);
    for (unsigned i = 0; i < DRIVERS; i++) {
        drivers[i] = (struct driver){.stage = &stage, .number = i};
        assert_int_equal(pthread_create(&drivers[i].thread, NULL, drive, &drivers[i]), 0);
    }
    await_ended(&stage, DRIVERS * JOBS_EACH / 3);
    stage.agent = syn_agent_free(stage.agent); /* what runs goes on without it */
    start_agent(&stage);
    for (size_t i = 0; i < DRIVERS; i++) {
        assert_int_equal(pthread_join(drivers[i].thread, NULL), 0);
        failures += drivers[i].failures;
    }
    atomic_store(&stage.over, true);
    assert_int_equal(pthread_join(operator, NULL), 0);
    for (size_t i = 0; i < SYN_LEN(watchers); i++) {
        syn_client_cancel(watchers[i].client);
        assert_int_equal(pthread_join(watchers[i].thread, NULL), 0);
        (void)syn_client_free(watchers[i].client);
        assert_true(watchers[i].puts >= DRIVERS * JOBS_EACH);
    }
    for (int i = 0; i < WAIT_STEPS && pretend_left(stage.pretend) > 0; i++)
        (void)usleep(10000);
    assert_int_equal(pretend_left(stage.pretend), 0); /* the agent clears away what it ran */
    assert_true(pretend_started(stage.pretend) >= DRIVERS * JOBS_EACH / 2);
    stage.agent = syn_agent_free(stage.agent);
    assert_int_equal(failures, 0);
    assert_int_equal(ledger_sum(stage.house), 0);
    (void)pretend_free(stage.pretend);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_at_once, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("together", tests, NULL, NULL);
}
