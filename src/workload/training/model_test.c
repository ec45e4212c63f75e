/* The controller against a random world: agents, nodes, users and money do what they like in any
 * order, and after every step the promises must hold. A failure prints the seed of its history. */
#include "world_test_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/workload/training_spec.h>

#define HISTORIES     120
#define EVENTS        80
#define QUIET_MAX     60
#define LIVE_RUNS_MAX 16

struct history {
    struct world *world;
    uint64_t seed;
    unsigned billed[LIVE_RUNS_MAX]; /* bills of each run */
    int64_t step_seen;              /* highest progress of the attempt */
    int64_t attempt_seen;
    int64_t run_seen;
};

static uint64_t
pick(struct history *history, uint64_t bound)
{
    return syn_test_random(&history->seed) % bound;
}

static const json_t *
status_of(const struct history *history)
{
    return syn_document_status(history->world->job);
}

static bool
ended(const json_t *instance)
{
    return syn_instance_ended((unsigned)syn_instance_state_find(syn_document_state(instance)));
}

/* ---- promises ---- */

static void
check_live_attempts(const struct history *history)
{
    int64_t run = -1, attempt = -1;
    const json_t *instance;
    size_t i;

    json_array_foreach (history->world->instances, i, instance) {
        const json_t *spec = syn_document_spec(instance);

        if (ended(instance))
            continue;
        if (run >= 0) {
            assert_int_equal(syn_json_i64(spec, "run", 0), run);
            assert_int_equal(syn_json_i64(spec, "attempt", 0), attempt);
        }
        run = syn_json_i64(spec, "run", 0);
        attempt = syn_json_i64(spec, "attempt", 0);
    }
}

static void
check_state(const struct history *history)
{
    const char *reason = syn_json_str(status_of(history), "reason", "");
    int state = syn_job_state_find(syn_document_state(history->world->job));

    assert_true(state >= 0);
    assert_non_null(syn_job_reason((unsigned)state, reason));
    assert_true(world_message(history->world)[0]);
    assert_int_equal(syn_sm_terminal(&syn_job_life, (unsigned)state),
                     syn_document_time(status_of(history), "ended_at") != SYN_DOCUMENT_NONE);
    if (json_is_string(json_object_get(status_of(history), "bill")))
        assert_true(syn_sm_terminal(&syn_job_life, (unsigned)state));
}

static void
check_bills(struct history *history, unsigned before)
{
    int64_t run = syn_json_i64(status_of(history), "run", 0);
    const json_t *instance;
    size_t i;

    assert_in_range(run, 1, LIVE_RUNS_MAX - 1);
    history->billed[run] += history->world->settled - before;
    assert_in_range(history->billed[run], 0, 1);
    assert_int_equal(history->billed[run],
                     json_is_string(json_object_get(status_of(history), "bill")));
    if (history->billed[run])
        json_array_foreach (history->world->instances, i, instance)
            assert_true(ended(instance));
}

static void
check_progress(struct history *history)
{
    int64_t step = syn_json_i64(json_object_get(status_of(history), "progress"), "step", 0);
    int64_t attempt = syn_json_i64(status_of(history), "attempt", 0);
    int64_t run = syn_json_i64(status_of(history), "run", 0);

    if (run == history->run_seen && attempt == history->attempt_seen)
        assert_true(step >= history->step_seen);
    history->run_seen = run;
    history->attempt_seen = attempt;
    history->step_seen = step;
}

static void
check_nodes(const struct history *history)
{
    for (size_t i = 0; i < syn_cluster_count(history->world->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(history->world->cluster, i);

        assert_true(node->used.cpu_millicores <= node->capacity.cpu_millicores);
        assert_true(node->used.memory_bytes <= node->capacity.memory_bytes);
        assert_true(node->used.scratch_bytes <= node->capacity.scratch_bytes);
    }
}

static void
step(struct history *history)
{
    unsigned before = history->world->settled;

    world_step(history->world);
    check_state(history);
    check_live_attempts(history);
    check_bills(history, before);
    check_progress(history);
    check_nodes(history);
}

/* ---- events ---- */

static const char *
random_end(struct history *history)
{
    static const char *const ends[] = {"completed",    "completed",    "completed",
                                       "failed",       "oom-killed",   "time-limit",
                                       "start-failed", "scratch-full", "stopped"};

    return ends[pick(history, SYN_LEN(ends))];
}

/* An agent moves its instance on; it obeys a stop sooner or later, and usage may come late. */
static void
agent_event(struct history *history, json_t *instance)
{
    const char *state = syn_document_state(instance);
    bool stop = syn_str_eq(syn_json_str(syn_document_spec(instance), "desired", ""), "stopped");
    struct syn_err err;

    if (ended(instance))
        return;
    if (stop && pick(history, 2)) {
        world_report(history->world, instance, "exited",
                     pick(history, 4) ? "stopped" : random_end(history), 1);
    } else if (stop && !syn_str_eq(state, "stopping")) {
        world_report(history->world, instance, "stopping", "stopping", -1);
    } else if (syn_str_eq(state, "assigned")) {
        world_report(history->world, instance, "preparing", "preparing", -1);
    } else if (syn_str_eq(state, "preparing")) {
        world_report(history->world, instance, "running", "running", -1);
    } else if (pick(history, 4) == 0) {
        world_report(history->world, instance, "exited", random_end(history), 1);
    }
    if (ended(instance) && pick(history, 2))
        assert_done(syn_json_set_i64(syn_document_status(instance), "usage_seq", 1, &err), &err);
}

static void
any_agent(struct history *history)
{
    size_t count = json_array_size(history->world->instances);

    if (count > 0)
        agent_event(history, json_array_get(history->world->instances, pick(history, count)));
}

static void
usage_arrives(struct history *history)
{
    json_t *instance;
    size_t i;
    struct syn_err err;

    json_array_foreach (history->world->instances, i, instance)
        if (ended(instance) &&
            json_is_integer(json_object_get(syn_document_status(instance), "usage_seq_last")))
            assert_done(syn_json_set_i64(syn_document_status(instance), "usage_seq", 3, &err),
                        &err);
}

static void
reboot(struct history *history)
{
    unsigned node = (unsigned)pick(history, WORLD_NODES);
    json_t *instance;
    size_t i;

    json_array_foreach (history->world->instances, i, instance)
        if (!ended(instance) && syn_str_eq(syn_json_str(syn_document_spec(instance), "node", ""),
                                           syn_document_id(history->world->nodes[node])))
            world_report(history->world, instance, "lost", "node-rebooted", -1);
}

static void
any_node(struct history *history)
{
    static const char *const states[] = {"ready", "ready", "silent", "silent", "gone"};

    world_node(history->world, (unsigned)pick(history, WORLD_NODES),
               states[pick(history, SYN_LEN(states))]);
}

static void
user(struct history *history)
{
    struct world *world = history->world;
    struct syn_err err;
    int rc;

    if (pick(history, 4) == 0) {
        rc = syn_training_request_stop(world->job, (int64_t)pick(history, 2000) - 1000, &err);
        assert_true(rc == SYN_OK || rc == SYN_E_CONFLICT);
        return;
    }
    if (syn_json_i64(status_of(history), "run", 0) >= LIVE_RUNS_MAX - 1)
        return;
    rc = syn_training_resume(world->job, pick(history, 2) ? -1 : 30 * SYN_SYNOR, world->now_ms,
                             &err);
    assert_true(rc == SYN_OK || rc == SYN_E_CONFLICT);
    if (rc == SYN_OK)
        world->spent = 0;
}

static void
program(struct history *history)
{
    struct world *world = history->world;
    size_t count = json_array_size(world->instances);
    const json_t *instance;

    if (count == 0)
        return;
    instance = json_array_get(world->instances, pick(history, count));
    (void)syn_str_copy(world->progress_instance, SYN_ID_MAX, syn_document_id(instance));
    json_decref(world->progress);
    world->progress = json_pack("{s:i, s:i}", "step", (int)pick(history, 100), "steps_total", 100);
}

static void
event(struct history *history)
{
    struct world *world = history->world;

    switch (pick(history, 12)) {
    case 0:
        any_node(history);
        break;
    case 1:
        user(history);
        break;
    case 2:
        world->now_ms += (int64_t)pick(history, 400000);
        break;
    case 3:
        world->spent += (int64_t)pick(history, 2) * SYN_SYNOR;
        break;
    case 4:
        program(history);
        break;
    case 5:
        if (pick(history, 3) == 0)
            reboot(history);
        break;
    case 6:
        usage_arrives(history);
        break;
    default:
        any_agent(history);
        break;
    }
}

/* ---- every run ends ---- */

/* From here on nothing fails any more: nodes are back, programs complete, usage arrives. */
static void
come_to_rest(struct history *history)
{
    struct world *world = history->world;
    json_t *instance;
    size_t i;

    for (unsigned node = 0; node < WORLD_NODES; node++)
        world_node(world, node, "ready");
    for (unsigned round = 0; round < QUIET_MAX; round++) {
        if (json_is_string(json_object_get(status_of(history), "bill")))
            return;
        json_array_foreach (world->instances, i, instance)
            if (!ended(instance))
                world_report(
                    world, instance, "exited",
                    syn_str_eq(syn_json_str(syn_document_spec(instance), "desired", ""), "stopped")
                        ? "stopped"
                        : "completed",
                    0);
        usage_arrives(history);
        world->now_ms += SYN_TRAINING_RETRY_MAX_MS;
        step(history);
    }
    fail_msg("the run did not end: %s", json_dumps(status_of(history), JSON_SORT_KEYS));
}

static void
random_spec(struct history *history, char *out, size_t cap)
{
    (void)snprintf(out, cap,
                   "{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\","
                   "\"workers\":%u,\"retries_max\":%u,\"time_limit_ms\":%u,\"cpu_millicores\":%u}",
                   (unsigned)(1 + pick(history, 3)), (unsigned)pick(history, 3),
                   pick(history, 3) ? 0U : 900000U, (unsigned)(500 + 500 * pick(history, 2)));
}

static void
test_promises_hold_in_any_history(void **state)
{
    unsigned bills = 0;

    (void)state;
    for (unsigned i = 0; i < HISTORIES; i++) {
        struct history history = {.seed = UINT64_C(1000003) * (i + 1)};
        char spec[300];

        print_message("# history %u\n", i); /* a failure is the last one named */
        random_spec(&history, spec, sizeof(spec));
        history.world = world_new(spec);
        for (unsigned n = 0; n < EVENTS; n++) {
            event(&history);
            if (pick(&history, 2))
                step(&history);
        }
        come_to_rest(&history);
        bills += history.world->settled;
        world_free(history.world);
    }
    assert_true(bills >= HISTORIES);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises_hold_in_any_history),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
