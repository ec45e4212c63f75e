/* One instance's life over a runtime driver that does as it is told, against a server that answers
 * as it is told. The threads are the real ones. */
#include "agent_testing.h"
#include "stage_testing.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define PATIENCE_MS 60000
#define RUN         "instances/inst-1"
#define NO_JSON     "<html>not ours</html>"

/* --- the bench -------------------------------------------------------------------------------- */

static struct bench *bench;
static int64_t live; /* blocks before there was a bench */

static int
set_up(void **state)
{
    struct syn_agent *agent;

    (void)state;
    live = syn_mem_live();
    bench = bench_open();
    agent = &bench->agent;
    atomic_store(&agent->stop, false);
    agent->runtimes[1] = (struct syn_runtime){&stage_ops, NULL};
    agent->infos[1] = (struct syn_runtime_info){.driver = "stage", .sandbox = "runc"};
    agent->works[1] = true;
    stage_open(&bench->paths);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    syn_agent_stop(&bench->agent);
    agt_table_free(&bench->agent);
    bench_close(bench);
    stage_close();
    assert_int_equal(syn_mem_live(), live);
    return 0;
}

static void
anew(void)
{
    (void)tear_down(NULL);
    (void)set_up(NULL);
}

/* Look until it is so. */
#define await(condition)                                                                   \
    do {                                                                                   \
        int waited_ = 0;                                                                   \
        while (!(condition) && waited_++ < PATIENCE_MS)                                    \
            (void)usleep(1000);                                                            \
        if (!(condition))                                                                  \
            fail_msg("%s did not come; told: %s; calls: %s", #condition, bench->fake.told, \
                     stage.calls);                                                         \
    } while (0)

/* The usual document with these members changed. */
static json_t *
document(const char *changes)
{
    json_t *doc = json_pack(
        "{s:s, s:{s:[s,s], s:{s:s}, s:s, s:s, s:s, s:i, s:{s:i}, s:{s:i, s:i, s:i}}, s:{}}", "id",
        "inst-1", "spec", "argv", "/bin/true", "x", "env", "A", "1", "image", "host", "isolation",
        "auto", "desired", "running", "rank", 0, "hyperparameters", "lr", 3, "resources",
        "cpu_millicores", 1000, "memory_bytes", 1 << 20, "scratch_bytes", 1 << 20, "status");
    json_t *more = json_loads(changes, 0, NULL);

    assert_non_null(doc);
    assert_non_null(more);
    assert_int_equal(json_object_update_recursive(doc, more), 0);
    json_decref(more);
    return doc;
}

/* What the server's stream says. */
static int
say(const char *changes, struct syn_err *err)
{
    json_t *doc = document(changes);
    int rc = agt_table_take(&bench->agent, doc, err);

    json_decref(doc);
    return rc;
}

static void
begin(const char *changes)
{
    struct syn_err err = {0};

    assert_done(say(changes, &err), &err);
}

static bool
was_told(const char *what)
{
    bool found;

    (void)pthread_mutex_lock(&bench->fake.lock);
    found = strstr(bench->fake.told, what) != NULL;
    (void)pthread_mutex_unlock(&bench->fake.lock);
    return found;
}

static size_t
known(void)
{
    size_t count;

    agt_table_reap(&bench->agent);
    (void)pthread_mutex_lock(&bench->agent.lock);
    count = syn_map_count(bench->agent.instances);
    (void)pthread_mutex_unlock(&bench->agent.lock);
    return count;
}

/* The server needs it no more: nothing of it stays. */
static void
end(void)
{
    agt_table_let_go(&bench->agent, "inst-1");
    await(known() == 0);
    assert_int_equal(access(bench_path(bench, RUN), F_OK), -1);
    assert_int_equal(access(bench_path(bench, "jobs/inst-1"), F_OK), -1);
    assert_int_equal(stage.handles, 0);
}

/* The agent stops, as by SIGTERM, and another one finds what it left. */
static void
stop_agent(void)
{
    struct syn_agent *agent = &bench->agent;
    struct agt_instance *instance;
    struct syn_err err = {0};

    syn_agent_stop(agent);
    (void)pthread_mutex_lock(&agent->lock);
    instance = syn_map_find(agent->instances, "inst-1");
    if (instance != NULL && instance->client != NULL)
        syn_client_cancel(instance->client);
    (void)pthread_mutex_unlock(&agent->lock);
    agt_table_free(agent);
    assert_int_equal(stage.handles, 0);
    assert_done(syn_map_new(NULL, &agent->instances, &err), &err);
    atomic_store(&agent->stop, false);
}

static void
assert_status(const char *name, const char *want)
{
    assert_string_equal(syn_json_str(bench->fake.status, name, "(none)"), want);
}

/* --- how it begins ---------------------------------------------------------------------------- */

struct beginning {
    const char *doc;
    const char *left; /* by an earlier agent: "", or the state of what it left */
    const char *troubles;
    const char *told, *calls; /* until it is let go; all */
    const char *message;
};

#define UNBORN "exited/start-failed "
#define LIFE   "running/running exited/completed "
#define WAITED "preparing/preparing "
#define FULL   "prepare start destroy "
#define DONE   "exited with status 0"

static const struct beginning beginnings[] = {
    {"{}", "", "", LIFE, FULL, DONE},
    {"{}", "", "prepare:1:no-space", UNBORN, "prepare destroy ", "prepare failed as told"},
    {"{}", "", "start:1:invalid", UNBORN, FULL, "start failed as told"},
    {"{}", "", "start:1:timeout destroy:2:io-error", UNBORN, FULL, "start failed as told"},
    {"{\"spec\": {\"isolation\": \"runc\"}}", "", "", LIFE, FULL, DONE},
    {"{\"spec\": {\"isolation\": \"gvisor\"}}", "", "", UNBORN, "", "gvisor does not work"},
    {"{\"spec\": {\"resources\": {\"gpus\": 1}}}", "", "", UNBORN, "", "cannot pass GPUs on"},
    {"{\"spec\": {\"desired\": \"stopped\"}}", "", "", UNBORN, "", "stopped before it was started"},
    {"{\"spec\": {\"image\": \"synor://x\", \"image_cid\": \"no-cid\"}}", "", "", WAITED UNBORN,
     "destroy ", "image"},
    {"{\"spec\": {\"code_cid\": \"no-cid\"}}", "", "", WAITED UNBORN, "destroy ", "CID"},
    {"{\"spec\": {\"checkpoint_cid\": \"no-cid\"}}", "", "", WAITED UNBORN, "prepare destroy ",
     "CID"},
    /* What an earlier agent left: */
    {"{}", "running", "", LIFE, "adopt destroy ", DONE},
    {"{}", "exited", "", "exited/completed ", "adopt destroy ", DONE},
    {"{}", "prepared", "", LIFE, "adopt destroy " FULL, DONE},
    {"{\"spec\": {\"desired\": \"stopped\"}}", "prepared", "", UNBORN, "adopt destroy ",
     "stopped before it was started"},
    {"{}", "running", "adopt:1:corrupt", LIFE, "adopt destroy " FULL, DONE},
    {"{}", "running", "adopt:1:corrupt destroy:1:io-error", UNBORN, "adopt destroy ",
     "destroy failed as told"},
    /* What passes does not cost a running program's life; what does not pass does. */
    {"{}", "running", "adopt:4:out-of-memory", LIFE, "adopt destroy ", DONE},
    {"{}", "running", "adopt:5:io-error", LIFE, "adopt destroy " FULL, DONE},
    /* It runs in a sandbox that does not work any more. */
    {"{\"spec\": {\"isolation\": \"gvisor\"}}", "running", "", LIFE, "adopt destroy ", DONE},
    /* The server knows its end. */
    {"{\"status\": {\"state\": \"exited\"}}", "exited", "", "", "destroy ", ""},
    {"{\"status\": {\"state\": \"lost\"}}", "running", "destroy:2:io-error", "", "destroy ", ""},
    {"{\"status\": {\"state\": \"exited\"}}", "", "", "", "", ""},
};

static void
check_beginning(const struct beginning *row)
{
    stage_suffer(row->troubles);
    stage.status = stage.end;
    stage.status.state = syn_str_eq(row->left, "running")    ? SYN_INSTANCE_RUNNING
                         : syn_str_eq(row->left, "prepared") ? SYN_INSTANCE_PREPARED
                                                             : SYN_INSTANCE_EXITED;
    if (row->left[0] != '\0')
        assert_int_equal(mkdir(bench_path(bench, RUN), 0700), 0);
    begin(row->doc);
    if (strstr(row->told, "running/")) {
        await(was_told("running/running "));
        stage_end();
    }
    if (row->told[0] != '\0')
        await(was_told("exited/"));
    end();
    assert_string_equal(bench->fake.told, row->told);
    assert_string_equal(stage.calls, row->calls);
    if (row->message[0] != '\0')
        assert_non_null(strstr(syn_json_str(bench->fake.status, "message", ""), row->message));
}

static void
every_beginning_is_told_as_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(beginnings); i++) {
        print_message("# beginning %zu: %s\n", i, beginnings[i].doc);
        check_beginning(&beginnings[i]);
        anew();
    }
}

/* Where a file should be there is something else, so that one write after the other fails. */
static void
disk_trouble_is_told(void **state)
{
    static const struct {
        const char *block; /* a folder, or with '!' a file, is in its place */
        const char *doc;
        const char *message, *calls;
    } rows[] = {
        {"jobs/inst-1/doc.json.tmp", "{}", "doc.json", ""},
        {"jobs/inst-1/doc.json", "{}", "doc.json", ""},
        {"jobs/inst-1/config/hyperparameters.json", "{}", "hyperparameters.json", "destroy "},
        {"!jobs/inst-1/config", "{}", "hyperparameters.json", "destroy "},
        {"jobs/inst-1/boot_id.tmp", "{}", "boot_id", "prepare destroy "},
        {"!run/checkpoints/taken", "{}", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const char *name = rows[i].block + (rows[i].block[0] == '!');

        if (syn_str_starts(name, "jobs/inst-1/config/"))
            assert_int_equal(mkdir(bench_path(bench, "jobs/inst-1/config"), 0700), 0);
        if (name == rows[i].block)
            assert_int_equal(mkdir(bench_path(bench, name), 0700), 0);
        else
            bench_put(bench, name, "", 0);
        if (syn_str_eq(name, "jobs/inst-1/doc.json"))
            bench_put(bench, "jobs/inst-1/doc.json/x", "", 0);
        stage.ends_at_once = true;
        begin(rows[i].doc);
        await(was_told("exited/"));
        if (rows[i].message != NULL) {
            assert_string_equal(bench->fake.told, UNBORN);
            assert_non_null(
                strstr(syn_json_str(bench->fake.status, "message", ""), rows[i].message));
        }
        agt_table_let_go(&bench->agent, "inst-1");
        await(known() == 0);
        if (rows[i].calls != NULL)
            assert_string_equal(stage.calls, rows[i].calls);
        anew();
    }
}

/* The disk may be full when an agent comes back: what runs goes on under the document it has. */
static void
full_disk_does_not_end_what_runs(void **state)
{
    (void)state;
    assert_int_equal(mkdir(bench_path(bench, RUN), 0700), 0);
    assert_int_equal(mkdir(bench_path(bench, "jobs/inst-1/doc.json.tmp"), 0700), 0);
    stage.status = (struct syn_instance_status){.state = SYN_INSTANCE_RUNNING};
    begin("{}");
    await(was_told("running/running "));
    stage_end();
    await(was_told("exited/"));
    assert_string_equal(bench->fake.told, LIFE);
    assert_int_equal(rmdir(bench_path(bench, "jobs/inst-1/doc.json.tmp")), 0);
    end();
}

static json_t *
kept_doc(void)
{
    struct syn_err err = {0};
    json_t *doc = NULL;
    SYN_BUF(text);

    assert_done(syn_secret_file_read(bench_path(bench, "jobs/inst-1/doc.json"), &text, &err), &err);
    assert_done(syn_json_parse_object(text.data, text.len, &doc, &err), &err);
    return doc;
}

/* The server may want to know of it for a month: what it ran in is not kept until then. */
static void
what_has_ended_gives_its_space_back(void **state)
{
    struct syn_err err = {0};
    SYN_JSON(kept);

    (void)state;
    assert_int_equal(mkdir(bench_path(bench, RUN), 0700), 0);
    stage.status = (struct syn_instance_status){.state = SYN_INSTANCE_RUNNING};
    begin("{}");
    await(was_told("running/running "));
    stage_end();
    await(was_told("exited/completed "));
    await(access(bench_path(bench, RUN), F_OK) < 0);
    assert_int_equal(known(), 1);
    /* Nor is it run again by an agent that comes back before the server can be asked. */
    stop_agent();
    kept = kept_doc();
    assert_string_equal(syn_json_str(json_object_get(kept, "status"), "state", ""), "exited");
    assert_done(agt_table_take(&bench->agent, kept, &err), &err);
    assert_int_equal(known(), 1);
    end();
    assert_string_equal(stage.calls, "adopt destroy ");
    assert_string_equal(bench->fake.told, LIFE);
}

/* Nor of what never began: others wait for the volumes that it was to have. */
static void
what_never_began_gives_its_space_back(void **state)
{
    struct syn_err err = {0};
    SYN_JSON(kept);

    (void)state;
    stage_suffer("start:1:invalid");
    begin("{}");
    await(was_told(UNBORN));
    await(stage_was_asked(FULL));
    await(access(bench_path(bench, RUN), F_OK) < 0);
    assert_int_equal(known(), 1);
    stop_agent();
    kept = kept_doc();
    assert_string_equal(syn_json_str(json_object_get(kept, "status"), "state", ""), "exited");
    assert_done(agt_table_take(&bench->agent, kept, &err), &err);
    assert_int_equal(known(), 1);
    end();
    assert_string_equal(stage.calls, FULL);
    assert_string_equal(bench->fake.told, UNBORN);
}

/* --- how it ends ------------------------------------------------------------------------------ */

static const struct ending {
    struct syn_instance_status end;
    const char *told, *message;
    bool rebooted;
} endings[] = {
    {{.reason = SYN_EXIT_COMPLETED, .message = "fine"}, "exited/completed ", "fine", false},
    {{.reason = SYN_EXIT_COMPLETED}, "exited/completed ", "The program has ended.", false},
    {{.reason = SYN_EXIT_FAILED, .exit_code = 3, .message = "m"}, "exited/failed ", "m", false},
    {{.reason = SYN_EXIT_FAILED, .exit_code = 137, .signal = 9},
     "exited/failed ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_FAILED, .scratch_full = true},
     "exited/scratch-full ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_FAILED, .pids_limit_hits = 4},
     "exited/pids-limit ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_COMPLETED, .scratch_full = true, .pids_limit_hits = 4},
     "exited/completed ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_OOM, .oom_kills = 2},
     "exited/oom-killed ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_TIME}, "exited/time-limit ", "The program has ended.", false},
    {{.reason = SYN_EXIT_STOPPED}, "exited/stopped ", "The program has ended.", false},
    {{.reason = SYN_EXIT_START, .exit_code = 127},
     "exited/start-failed ",
     "The program has ended.",
     false},
    {{.reason = SYN_EXIT_LOST, .message = "m"}, "lost/lost ", "m", false},
    {{.reason = SYN_EXIT_LOST, .message = "m"},
     "lost/node-rebooted ",
     "The node was restarted while it ran.",
     true},
};

static void
every_end_is_told_as_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(endings); i++) {
        const struct syn_instance_status *want = &endings[i].end;
        const json_t *detail;

        stage.end = *want;
        stage.end.state = SYN_INSTANCE_EXITED;
        stage.end.ended_at_ms = 5000;
        bench_put(bench, "run/output/result", "r", 1);
        begin("{}");
        await(was_told("running/"));
        if (endings[i].rebooted)
            bench_put(bench, "jobs/inst-1/boot_id", "another", 7);
        stage_end();
        await(was_told(endings[i].told));
        assert_status("message", endings[i].message);
        assert_status("isolation", "runc");
        assert_status("ended_at", "1970-01-01T00:00:05.000Z");
        assert_int_equal(syn_json_i64(bench->fake.status, "exit_code", -1), want->exit_code);
        assert_int_equal(syn_json_i64(bench->fake.status, "signal", -1), want->signal);
        detail = json_object_get(bench->fake.status, "detail");
        assert_int_equal(syn_json_i64(detail, "oom_kills", -1), want->oom_kills);
        assert_int_equal(syn_json_i64(detail, "pids_limit_hits", -1), want->pids_limit_hits);
        assert_int_equal(syn_json_bool(detail, "scratch_full", !want->scratch_full),
                         want->scratch_full);
        /* Only what completed has a result; of what is lost nobody knows whether it is whole. */
        assert_int_equal(bench->fake.commits_count, want->reason == SYN_EXIT_COMPLETED);
        end();
        anew();
    }
}

/* `doc` NULL: the server has forgotten it. */
static void
check_stop(const char *doc, int64_t grace_ms)
{
    stage.end.reason = SYN_EXIT_STOPPED;
    stage.ends_if_asked = true;
    stage_suffer("stop:2:conflict"); /* and are asked for until they work */
    stage.grace_ms = -77;
    begin("{}");
    await(was_told("running/"));
    begin("{}"); /* the same again is no news */
    (void)usleep(30000);
    assert_false(stage_was_asked("stop"));
    if (doc != NULL) {
        begin(doc);
        await(was_told("exited/stopped "));
    }
    end();
    assert_int_equal(stage.grace_ms, grace_ms);
    assert_string_equal(stage.calls, "prepare start stop destroy ");
}

static void
stops_carry_their_grace(void **state)
{
    static const struct {
        const char *doc;
        int64_t grace_ms;
    } rows[] = {
        {"{\"spec\": {\"desired\": \"stopped\", \"stop_grace_ms\": 700}}", 700},
        {"{\"spec\": {\"desired\": \"stopped\", \"stop_grace_ms\": 0}}", 0},
        {"{\"spec\": {\"desired\": \"stopped\"}}", -1},
        {"{\"spec\": {\"desired\": \"deleted\"}}", -1},
        {NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        check_stop(rows[i].doc, rows[i].grace_ms);
        anew();
    }
}

/* The driver's own trouble is logged and passes. */
static void
trouble_while_it_runs_passes(void **state)
{
    (void)state;
    stage_suffer("poll:3:io-error exit_fd:1:conflict");
    begin("{}");
    await(stage_was_asked("start"));
    stage_end();
    await(was_told("exited/completed "));
    end();
}

static void
put_usage(int count)
{
    SYN_BUF(text);

    for (int seq = 1; seq <= count; seq++)
        syn_buf_addf(&text,
                     "{\"seq\":%d,\"from_ms\":%d000,\"to_ms\":%d000,\"cpu_ms\":10,"
                     "\"memory_bytes\":1,\"memory_peak_bytes\":1,\"scratch_bytes\":1,\"pids\":1,"
                     "\"throttled_ms\":0}\n",
                     seq, seq, seq + 1);
    assert_int_equal(syn_buf_ok(&text, NULL), SYN_OK);
    bench_put(bench, "run/usage.log", text.data, text.len);
}

/* --- the server ------------------------------------------------------------------------------- */

static void
answers_do_not_change_what_happened(void **state)
{
    static const struct {
        const char *last;
        int times, status;
        const char *body;
        const char *told;
    } rows[] = {
        {"status", 3, 503, "{\"code\":\"unavailable\",\"message\":\"m\"}", LIFE},
        {"status", 3, 502, NO_JSON, LIFE},
        /* It knows more already. */
        {"status", 1, 409, "{\"code\":\"conflict\",\"message\":\"m\"}", "exited/completed "},
        /* "It runs" is told once; how it ended until it is heard. */
        {"status", 1, 500, NO_JSON, "exited/completed "},
        {"status", 4, 500, NO_JSON, "exited/completed "},
        {"status", 4, 404, "{}", "exited/completed "},
        {"status", 4, 200, NO_JSON, "exited/completed "},
        /* What cannot be shipped must not keep the end from being told. */
        {"logs", 1000, 400, "{\"code\":\"invalid\",\"message\":\"m\"}", LIFE},
        {"logs", 1000, 500, NO_JSON, LIFE},
        {"logs", 4, 503, NO_JSON, LIFE},
        {"usage", 1000, 412, "{\"code\":\"precondition-failed\",\"message\":\"m\"}", LIFE},
        {"usage", 1000, 500, NO_JSON, LIFE},
        {"uploads", 1000, 413, "{\"code\":\"too-large\",\"message\":\"m\"}", LIFE},
        {"uploads", 3, 503, NO_JSON, LIFE},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        print_message("# %s: %d times %d %s\n", rows[i].last, rows[i].times, rows[i].status,
                      rows[i].body);
        bench_put(bench, "run/log", "line\n", 5);
        bench_put(bench, "run/output/result", "r", 1);
        put_usage(1);
        fake_refuse(&bench->fake, rows[i].last, rows[i].times, rows[i].status, rows[i].body);
        begin("{}");
        if (syn_str_eq(rows[i].told, LIFE))
            await(was_told("running/running "));
        else
            await(fake_requests(&bench->fake) > 0); /* what was said of it is refused by then */
        stage_end();
        await(was_told("exited/"));
        assert_string_equal(bench->fake.told, rows[i].told);
        end();
        anew();
    }
}

/* Away from the first word to the last: when it comes back it hears everything, once. */
static void
server_may_be_away_the_whole_time(void **state)
{
    (void)state;
    bench_put(bench, "run/log", "line\n", 5);
    fake_fail(&bench->fake, 0, FAKE_AWAY);
    begin("{}");
    await(stage_was_asked("start"));
    stage_end();
    await(fake_requests(&bench->fake) > 3);
    fake_fail(&bench->fake, 0, FAKE_NONE);
    await(was_told("exited/completed "));
    end();
    assert_int_equal(bench->fake.logs_len, 5);
}

/* One that is forgotten while the server is away is not waited for: it is stopped and removed. */
static void
forgotten_is_ended_whatever_is_heard(void **state)
{
    static const char *const last[] = {"status", "logs"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(last); i++) {
        bench_put(bench, "run/log", "line\n", 5);
        fake_refuse(&bench->fake, last[i], 1 << 30, 500, NO_JSON);
        stage.ends_if_asked = true;
        begin("{}");
        await(stage_was_asked("start"));
        end();
        assert_string_equal(stage.calls, "prepare start stop destroy ");
        anew();
    }
    fake_refuse(&bench->fake, "status", 1 << 30, 500, NO_JSON);
    begin("{\"spec\": {\"isolation\": \"gvisor\"}}"); /* never born, and nobody hears of it */
    await(fake_requests(&bench->fake) > 2);
    end();
}

/* --- another agent ---------------------------------------------------------------------------- */

/* Nothing that runs is ended with the agent, at whatever point it stops. */
static void
agents_come_and_go(void **state)
{
    static const char *const waits[] = {"", "status", "logs"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(waits); i++) {
        bench_put(bench, "run/log", "line\n", 5);
        if (waits[i][0] != '\0')
            fake_refuse(&bench->fake, waits[i], 1 << 30, 503, NO_JSON);
        begin("{}");
        await(stage_was_asked("start"));
        for (int turns = 0; turns < 3; turns++) {
            (void)usleep((useconds_t)turns * 10000);
            stop_agent();
            assert_int_equal(access(bench_path(bench, RUN), F_OK), 0);
            assert_int_equal(access(bench_path(bench, "jobs/inst-1/doc.json"), F_OK), 0);
            begin("{}");
        }
        fake_refuse(&bench->fake, "", 0, 0, "");
        await(was_told("running/"));
        stage_end();
        await(was_told("exited/completed "));
        stop_agent(); /* the end was told, and the next one waits to be let go */
        begin("{\"status\": {\"state\": \"exited\"}}");
        end();
        assert_null(strstr(stage.calls, "stop"));
        assert_null(strstr(strstr(stage.calls, "prepare") + 1, "prepare"));
        assert_int_equal(bench->fake.logs_len, 5);
        anew();
    }
}

/* The first agent ships a part; the connection breaks at one request, before or after the server
 * took it in, and the agent ends there; the second ships the rest. */
static void
check_handover(enum fake_fault fault, int at)
{
    const int first = AGT_REPORT_MAX + 30, all = 2 * AGT_REPORT_MAX + 7;

    put_usage(first);
    bench_put(bench, "run/log", "one\n", 4);
    fake_fail(&bench->fake, at, fault);
    begin("{}");
    await(stage_was_asked("start"));
    await(fake_requests(&bench->fake) >= at);
    stop_agent();
    fake_fail(&bench->fake, 0, FAKE_NONE);
    put_usage(all);
    bench_put(bench, "run/log", "one\ntwo\n", 8);
    begin("{}");
    stage_end();
    await(was_told("exited/completed "));
    assert_int_equal(bench->fake.usage_samples, all);
    assert_int_equal(bench->fake.usage_seq, all);
    assert_int_equal(syn_json_i64(bench->fake.status, "usage_seq_last", -1), all);
    assert_int_equal(bench->fake.logs_len, 8);
    assert_memory_equal(bench->fake.logs, "one\ntwo\n", 8);
    end();
}

static void
usage_is_neither_lost_nor_doubled(void **state)
{
    (void)state;
    for (enum fake_fault fault = FAKE_BEFORE; fault <= FAKE_AFTER; fault++) {
        for (int at = 1; at <= 4; at++) {
            check_handover(fault, at);
            anew();
        }
    }
}

/* --- the table -------------------------------------------------------------------------------- */

static void
table_knows_whom_it_keeps(void **state)
{
    struct syn_map *named = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_code(say("{\"id\": \"../x\"}", &err), SYN_E_CORRUPT, &err);
    assert_code(say("{\"id\": \"\"}", &err), SYN_E_CORRUPT, &err);
    agt_table_let_go(&bench->agent, "nobody");
    stage.ends_at_once = true;
    begin("{}");
    begin("{\"id\": \"inst-2\", \"spec\": {\"isolation\": \"gvisor\"}}");
    assert_int_equal(known(), 2);
    assert_done(syn_map_new(NULL, &named, &err), &err);
    assert_done(syn_map_put_take(named, "inst-1", bench, &err), &err);
    agt_table_keep(&bench->agent, named);
    await(known() == 1);
    assert_non_null(syn_map_find(bench->agent.instances, "inst-1"));
    assert_null(syn_map_free(named));
    end();
}

/* Of this process. */
static int
threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = -2; /* . and .. */

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static int
times_told(const char *what)
{
    int times = 0;

    (void)pthread_mutex_lock(&bench->fake.lock);
    for (const char *at = bench->fake.told; (at = strstr(at, what)) != NULL; at += strlen(what))
        times++;
    (void)pthread_mutex_unlock(&bench->fake.lock);
    return times;
}

#define MANY       8
#define SHARED_MAX 5 /* threads: the watch and its workers for turns */

static void
those_that_run_have_no_threads(void **state)
{
    const int before = threads();
    char text[128];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof(text), "{\"id\": \"n-%d\", \"spec\": {\"rank\": 1}}", i);
        begin(text);
        await(times_told("running/running ") == i + 1);
    }
    await(threads() <= before + SHARED_MAX);
    assert_int_equal(stage.handles, MANY);
    stage_end();
    await(times_told("exited/completed ") == MANY);
    await(threads() <= before + SHARED_MAX);
    assert_int_equal(known(), MANY);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof(text), "n-%d", i);
        agt_table_let_go(&bench->agent, text);
    }
    await(known() == 0);
}

static void
table_is_limited(void **state)
{
    const int before = threads();
    struct syn_err err = {0};
    char doc[128];

    (void)state;
    for (int i = 0; i < AGT_INSTANCES_MAX; i++) {
        (void)snprintf(doc, sizeof(doc),
                       "{\"id\": \"n-%d\", \"spec\": {\"isolation\": \"gvisor\"}}", i);
        begin(doc);
    }
    assert_code(say("{}", &err), SYN_E_LIMIT, &err);
    begin(doc); /* news of one that is known */
    await(threads() <= before + SHARED_MAX);
}

/* --- short of memory -------------------------------------------------------------------------- */

/* That, once or more: an answer that there was no memory for is asked for again. */
static bool
told_nothing_but(const char *what)
{
    const char *at = bench->fake.told;

    while (syn_str_starts(at, what))
        at += strlen(what);
    return at != bench->fake.told && at[0] == '\0';
}

/* One life with allocation `nth` failing; whether it was reached. Whatever fails, a program that
 * ran is told to have run, and one that never ran is told so. */
static bool
check_short_life(uint64_t nth, bool adopted)
{
    json_t *doc = document("{}");
    struct syn_err err = {0};
    bool reached;
    int rc;

    stage.ends_at_once = true;
    if (adopted) {
        assert_int_equal(mkdir(bench_path(bench, RUN), 0700), 0);
        stage_end();
    }
    syn_mem_fault_arm(nth, false);
    rc = agt_table_take(&bench->agent, doc, &err);
    if (rc < 0) {
        assert_int_equal(rc, SYN_E_NOMEM);
        assert_int_equal(syn_map_count(bench->agent.instances), 0);
        rc = agt_table_take(&bench->agent, doc, &err); /* the stream brings it again */
    }
    assert_done(rc, &err);
    json_decref(doc);
    await(was_told("exited/"));
    reached = syn_mem_fault_count() >= nth;
    syn_mem_fault_arm(0, false);
    end();
    if (was_told(UNBORN))
        assert_false(adopted || stage.status.state == SYN_INSTANCE_EXITED);
    assert_true(told_nothing_but(was_told(UNBORN) ? UNBORN : "exited/completed "));
    return reached;
}

static void
short_memory_changes_no_truth(void **state)
{
    (void)state;
    for (int adopted = 0; adopted <= 1; adopted++) {
        uint64_t nth = 1;

        while (check_short_life(nth, adopted)) {
            nth++;
            stage_close();
            stage_open(&bench->paths);
            bench->fake.told[0] = '\0';
        }
        print_message("# %" PRIu64 " allocations failed\n", nth - 1);
        assert_true(nth > 20);
        anew();
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_beginning_is_told_as_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disk_trouble_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_ended_gives_its_space_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_never_began_gives_its_space_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk_does_not_end_what_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_end_is_told_as_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_carry_their_grace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trouble_while_it_runs_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_do_not_change_what_happened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(server_may_be_away_the_whole_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgotten_is_ended_whatever_is_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agents_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(usage_is_neither_lost_nor_doubled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(table_knows_whom_it_keeps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(those_that_run_have_no_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(table_is_limited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(short_memory_changes_no_truth, set_up, tear_down),
    };

    syn_log_setup(STDERR_FILENO, SYN_LOG_ERROR, false); /* all this trouble is told otherwise */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
