#include "agent_testing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define STATUS_PATH "/v1/instances/inst-1/status"

static struct bench *bench;

static int
set_up(void **state)
{
    (void)state;
    bench = bench_open();
    atomic_store(&bench->agent.stop, false);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    bench_close(bench);
    return 0;
}

/* --- calls ------------------------------------------------------------------------------------ */

static int
tell(struct syn_client *client, json_t **ret, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s}", "state", "running", "reason", "running");

    return rc < 0 ? rc : agt_call(&bench->agent, client, "POST", STATUS_PATH, body, ret, err);
}

/* What the server may answer, and whether the agent asks again. */
static void
answers_decide_about_another_try(void **state)
{
    static const struct {
        const char *body;
        int status;
        int code; /* SYN_OK: it is asked again until it is well */
    } rows[] = {
        {"{\"code\":\"unavailable\",\"message\":\"as told\"}", 503, SYN_OK},
        {"<html>a proxy</html>", 503, SYN_OK},
        {"", 502, SYN_OK},
        {"{}", 504, SYN_OK},
        {"{\"code\":\"timeout\",\"message\":\"as told\"}", 504, SYN_OK},
        {"{\"code\":\"internal\",\"message\":\"as told\"}", 500, SYN_E_INTERNAL},
        {"not json", 500, SYN_E_INTERNAL},
        {"{\"code\":\"not-found\",\"message\":\"as told\"}", 404, SYN_E_NOTFOUND},
        {"{\"code\":\"conflict\",\"message\":\"as told\"}", 409, SYN_E_CONFLICT},
        {"{\"code\":\"precondition-failed\",\"message\":\"as told\"}", 412, SYN_E_PRECONDITION},
        {"{\"code\":\"unauthenticated\",\"message\":\"as told\"}", 401, SYN_E_UNAUTHENTICATED},
        {"{}", 403, SYN_E_FORBIDDEN},
        {"no json", 200, SYN_E_CORRUPT},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err = {0};
        int before = fake_requests(&bench->fake), told = bench->fake.status_count;
        SYN_JSON(answer);

        fake_refuse(&bench->fake, "status", 2, rows[i].status, rows[i].body);
        assert_code(tell(bench->instance.client, &answer, &err), rows[i].code, &err);
        assert_int_equal(fake_requests(&bench->fake) - before, rows[i].code == SYN_OK ? 3 : 1);
        assert_int_equal(bench->fake.status_count - told, rows[i].code == SYN_OK ? 1 : 0);
        assert_int_equal(answer != NULL, rows[i].code == SYN_OK);
        fake_refuse(&bench->fake, "status", 0, 0, "");
    }
}

/* An answer that comes too late, or not at all, counts as none: the call is made twice, and what
 * it leads to must bear that. */
static void
late_answers_are_asked_for_again(void **state)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *hasty = NULL;
    struct syn_err err = {0};
    int before;

    (void)state;
    bench->agent.pace.answer_ms = 100;
    assert_done(agt_client_new(&bench->agent, "token", &hasty, &err), &err);
    fake_dawdle(&bench->fake, "status", 1, 150);
    assert_done(tell(hasty, NULL, &err), &err);
    assert_true(bench->fake.status_count >= 2);
    before = bench->fake.status_count;
    fake_fail(&bench->fake, 1, FAKE_AFTER);
    assert_done(tell(bench->instance.client, NULL, &err), &err);
    assert_int_equal(bench->fake.status_count - before, 2);
}

static void *
stop_soon(void *arg)
{
    struct syn_agent *agent = arg;

    (void)usleep(50000);
    syn_agent_stop(agent);
    return NULL;
}

static void
stop_ends_the_tries(void **state)
{
    struct syn_err err = {0};
    pthread_t thread;
    int before;

    (void)state;
    fake_fail(&bench->fake, 0, FAKE_AWAY);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &bench->agent), 0);
    assert_code(tell(bench->instance.client, NULL, &err), SYN_E_UNAVAILABLE, &err);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(fake_requests(&bench->fake) > 1);
    before = fake_requests(&bench->fake);
    assert_code(tell(bench->instance.client, NULL, &err), SYN_E_UNAVAILABLE, &err);
    assert_int_equal(fake_requests(&bench->fake), before + 1); /* one that is stopping asks once */
    syn_client_cancel(bench->instance.client);
    assert_code(tell(bench->instance.client, NULL, &err), SYN_E_CANCELED, &err);
}

static int
call_scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(answer);

    return tell(arg, &answer, err);
}

static int
client_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;

    return agt_client_new(arg, "token", &client, err);
}

static void
calls_survive_short_memory(void **state)
{
    struct syn_err err = {0};

    (void)state;
    assert_done(call_scenario(bench->instance.client, &err), &err); /* the fake keeps its body */
    assert_true(syn_test_sweep_alloc(client_scenario, &bench->agent) >= 3);
    assert_true(syn_test_sweep_alloc(call_scenario, bench->instance.client) >= 3);
}

static void
bad_servers_are_told(void **state)
{
    static const char *const servers[] = {"gopher://x", "", "relative/path"};
    struct syn_client *client = NULL;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(servers); i++) {
        (void)syn_str_copy(bench->agent.server, sizeof(bench->agent.server), servers[i]);
        assert_code(agt_client_new(&bench->agent, "t", &client, &err), SYN_E_INVALID, &err);
    }
    (void)syn_str_copy(bench->agent.fingerprint, sizeof(bench->agent.fingerprint), "0123");
    (void)syn_str_copy(bench->agent.server, sizeof(bench->agent.server), "https://localhost");
    assert_code(agt_client_new(&bench->agent, "t", &client, &err), SYN_E_INVALID, &err);
    assert_null(client);
}

/* --- uploads ---------------------------------------------------------------------------------- */

static int
upload(int fd, int64_t offset, int64_t len, int64_t *ret_received, struct syn_err *err)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/instances/inst-1/logs?offset=%lld", (long long)offset);
    return agt_upload(bench->instance.client, path, fd, offset, len, ret_received, err);
}

static void
server_says_what_it_received(void **state)
{
    int64_t received = -7;
    struct syn_err err = {0};
    int fd;

    (void)state;
    bench_put(bench, "file", "0123456789", 10);
    fd = open(bench_path(bench, "file"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_done(upload(fd, 0, 4, &received, &err), &err);
    assert_int_equal(received, 4);
    /* It knows better where it is: with a gap, and with what it has already. */
    for (int64_t offset = 0; offset <= 6; offset += 6) {
        received = -7;
        assert_code(upload(fd, offset, 2, &received, &err), SYN_E_CONFLICT, &err);
        assert_int_equal(received, 4);
    }
    assert_done(upload(fd, 4, 6, &received, &err), &err);
    assert_int_equal(received, 10);
    assert_memory_equal(bench->fake.logs, "0123456789", 10);
    /* Answers that do not say it. */
    fake_refuse(&bench->fake, "logs", 1, 200, "{}");
    assert_done(upload(fd, 0, 1, &received, &err), &err);
    assert_int_equal(received, -1);
    fake_refuse(&bench->fake, "logs", 1, 409, "{\"code\":\"conflict\",\"message\":\"m\"}");
    assert_code(upload(fd, 0, 1, &received, &err), SYN_E_CONFLICT, &err);
    assert_int_equal(received, -1);
    /* Nothing is said with other errors; and nothing is tried again. */
    received = -7;
    fake_fail(&bench->fake, 1, FAKE_BEFORE);
    assert_code(upload(fd, 0, 1, &received, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(upload(fd, 9, 5, &received, &err), SYN_E_CORRUPT, &err); /* shorter than said */
    assert_int_equal(received, -7);
    (void)close(fd);
}

/* --- files ------------------------------------------------------------------------------------ */

static void
assert_content(const char *name, const char *want)
{
    SYN_BUF(text);
    struct syn_err err = {0};

    assert_done(syn_secret_file_read(bench_path(bench, name), &text, &err), &err);
    assert_string_equal(syn_buf_text(&text), want);
}

static void
files_are_old_or_new(void **state)
{
    const char *path;
    struct syn_err err = {0};
    struct stat st;

    (void)state;
    path = bench_path(bench, "kept");
    assert_done(agt_replace_file(path, "old", 3, &err), &err);
    assert_content("kept", "old");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* What a writer that was killed left does not matter, and does not stay. */
    bench_put(bench, "kept.new", "half", 4);
    path = bench_path(bench, "kept");
    assert_done(agt_replace_file(path, "new", 3, &err), &err);
    assert_content("kept", "new");
    assert_int_equal(access(bench_path(bench, "kept.new"), F_OK), -1);
}

static void
failed_writes_change_nothing(void **state)
{
    const struct rlimit none = {0, RLIM_INFINITY};
    struct rlimit before;
    struct syn_err err = {0};
    int rc;

    (void)state;
    assert_true(agt_replace_file(bench_path(bench, "no/such/folder"), "x", 1, &err) < 0);
    assert_int_equal(mkdir(bench_path(bench, "folder"), 0700), 0);
    bench_put(bench, "folder/full", "x", 1);
    assert_true(agt_replace_file(bench_path(bench, "folder"), "x", 1, &err) < 0);
    assert_non_null(strstr(err.msg, "folder"));
    /* The disk takes nothing more. */
    assert_done(agt_replace_file(bench_path(bench, "kept"), "old", 3, &err), &err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){none.rlim_cur, before.rlim_max}), 0);
    rc = agt_replace_file(bench_path(bench, "kept"), "new", 3, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(rc < 0);
    assert_content("kept", "old");
    /* No descriptor is left. */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}), 0);
    rc = agt_replace_file(bench_path(bench, "kept"), "new", 3, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(rc < 0);
    assert_content("kept", "old");
}

/* --- sleeping --------------------------------------------------------------------------------- */

static int64_t
now_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

static void *
change_soon(void *arg)
{
    struct agt_instance *instance = arg;

    (void)usleep(50000);
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->changed = true;
    (void)pthread_cond_broadcast(&instance->agent->wake);
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return NULL;
}

static void
sleep_ends_early_for_a_reason(void **state)
{
    int64_t begin = now_ms();
    pthread_t thread;

    (void)state;
    assert_true(agt_sleep(&bench->agent, NULL, 60));
    assert_true(agt_sleep(&bench->agent, NULL, 0));
    assert_true(now_ms() - begin >= 60);
    assert_int_equal(pthread_create(&thread, NULL, change_soon, &bench->instance), 0);
    assert_true(agt_sleep(&bench->agent, &bench->instance, 100000));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(agt_sleep(&bench->agent, &bench->instance, 100000)); /* not looked at yet */
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &bench->agent), 0);
    assert_false(agt_sleep(&bench->agent, NULL, 100000));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(agt_sleep(&bench->agent, &bench->instance, 100000));
    assert_true(now_ms() - begin < 50000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_decide_about_another_try, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_answers_are_asked_for_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stop_ends_the_tries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_survive_short_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_servers_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(server_says_what_it_received, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_are_old_or_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failed_writes_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sleep_ends_early_for_a_reason, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
