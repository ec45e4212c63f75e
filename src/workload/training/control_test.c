#include "world_test_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/workload/training_spec.h>

#define GANG(more)                                                                                 \
    "{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\",\"workers\":2" more \
    "}"

static struct world *
running(const char *spec)
{
    struct world *world = world_new(spec);

    assert_true(world_step(world));
    world_report_all(world, "running", "running", -1);
    assert_true(world_step(world));
    world_expect(world, "running", "running");
    return world;
}

static const json_t *
status_of(const struct world *world)
{
    return syn_document_status(world->job);
}

static void
test_from_creation_to_bill(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);

    (void)state;
    world_expect(world, "pending", "waiting-for-start");
    assert_true(world_step(world));
    world_expect(world, "starting", "assigned");
    assert_string_equal(syn_document_id(world_instance(world, 0)), "inst-abc-1-1-0");
    world_report_all(world, "preparing", "preparing", -1);
    world_step(world);
    world_expect(world, "starting", "preparing");
    world_report_all(world, "running", "running", -1);
    world_step(world);
    world_expect(world, "running", "running");
    assert_true(syn_document_time(status_of(world), "started_at") == world->now_ms);
    world_report_all(world, "exited", "completed", 0);
    world_step(world);
    world_expect(world, "succeeded", "completed");
    assert_int_equal(syn_json_i64(status_of(world), "exit_code", -1), 0);
    assert_string_equal(syn_json_str(status_of(world), "bill", ""), "bill-abc-1");
    assert_int_equal(world->settled, 1);
    assert_int_equal(world_events(world, "placed"), 1);
    assert_int_equal(world_events(world, "started"), 1);
    assert_int_equal(world_events(world, "succeeded"), 1);
    assert_int_equal(world_events(world, "settled"), 1);
    assert_false(world_step(world));
    world_free(world);
}

static void
test_waits_for_room_and_then_starts(void **state)
{
    struct world *world =
        world_new("{\"source\":\"synor://"
                  "code\",\"entry\":\"train.py\",\"max_budget\":\"10\",\"cpu_millicores\":4000}");

    (void)state;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "silent");
    world_step(world);
    world_expect(world, "pending", "no-node");
    world_node(world, 1, "ready");
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_string_equal(syn_json_str(status_of(world), "node", ""), "node-1");
    world_free(world);
}

/* Somebody else's work of the same account, or of another. */
static void
hold(struct world *world, const char *id, const char *account, const char *state)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:i, s:i, s:i}}, s:{s:s}}", "id", id, "account",
                    account, "spec", "job", id, "node", "node-0", "resources", "cpu_millicores",
                    1000, "memory_bytes", 1024, "scratch_bytes", 1024, "status", "state", state);
    assert_done(syn_cluster_put_instance(world->cluster, doc, &err), &err);
}

static void
test_waits_for_quota_and_then_starts(void **state)
{
    struct world *world = world_new(GANG(",\"cpu_millicores\":1000"));

    (void)state;
    world->quota.limits[SYN_QUOTA_CPU] = 2500;
    hold(world, "inst-x", "acct-1", "running");
    hold(world, "inst-y", "acct-2", "running"); /* not ours */
    world_step(world);
    world_expect(world, "pending", "quota");
    assert_non_null(strstr(world_message(world), "quota of CPUs is 2.5: 1 held, 2 asked for"));
    assert_false(world_step(world));
    hold(world, "inst-x", "acct-1", "exited");
    world_step(world);
    world_expect(world, "starting", "assigned");
    world->quota.limits[SYN_QUOTA_CPU] = 0; /* what has started goes on */
    world_report_all(world, "running", "running", -1);
    world_step(world);
    world_expect(world, "running", "running");
    world_free(world);
}

static void
test_quota_of_jobs_counts_jobs(void **state)
{
    struct world *world = world_new(GANG(""));

    (void)state;
    world->quota.limits[SYN_QUOTA_JOBS] = 1;
    hold(world, "inst-x", "acct-1", "stopping"); /* until it has ended */
    world_step(world);
    world_expect(world, "pending", "quota");
    hold(world, "inst-x", "acct-1", "lost");
    world_step(world);
    world_expect(world, "starting", "assigned"); /* two ranks are one job */
    world_free(world);
}

/* Give node-0 sixteen cards, and let the account hold `held` of them. */
static void
put_cards(struct world *world, int held)
{
    json_t *capacity = json_object_get(syn_document_status(world->nodes[0]), "capacity");
    struct syn_err err;
    SYN_JSON(doc);

    assert_done(syn_json_set_take(capacity, "gpus",
                                  json_pack("[{s:s, s:i, s:I}]", "model", "h100", "count", 16,
                                            "vram_bytes", (json_int_t)80 << 30),
                                  &err),
                &err);
    assert_done(syn_cluster_put_node(world->cluster, world->nodes[0], &err), &err);
    doc =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:i, s:i, s:i, s:i, s:s}}, s:{s:s}}", "id", "inst-x",
                  "account", "acct-1", "spec", "job", "train-x", "node", "node-0", "resources",
                  "cpu_millicores", 100, "memory_bytes", 1024, "scratch_bytes", 1024, "gpus", held,
                  "gpu_model", held > 0 ? "h100" : "", "status", "state", "running");
    assert_done(syn_cluster_put_instance(world->cluster, doc, &err), &err);
}

/* Of the cards beyond those that it must have, a job gets what the quota leaves, each rank as many
 * as the others. */
static void
test_cards_are_cut_to_the_quota(void **state)
{
    static const struct {
        int gpus, gpus_max, workers, held;
        int64_t quota;
        int want; /* a rank; 0: it waits */
    } rows[] = {
        {1, 8, 1, 0, SYN_QUOTA_NONE, 8},
        {1, 8, 1, 0, 16, 8},
        {1, 8, 1, 0, 3, 3},
        {1, 8, 1, 2, 6, 4},
        {2, 8, 1, 4, 6, 2},
        {2, 8, 1, 5, 6, 0},
        {1, 4, 2, 0, 6, 3},
        {1, 4, 2, 0, 7, 3},
        {1, 4, 2, 1, 3, 1},
        {1, 4, 2, 2, 3, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char spec[256];
        struct world *world;
        size_t k;
        json_t *instance;

        (void)snprintf(spec, sizeof(spec),
                       "{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\","
                       "\"workers\":%d,\"gpus\":%d,\"gpus_max\":%d}",
                       rows[i].workers, rows[i].gpus, rows[i].gpus_max);
        world = world_new(spec);
        put_cards(world, rows[i].held);
        world->quota.limits[SYN_QUOTA_GPUS] =
            rows[i].quota == SYN_QUOTA_NONE ? SYN_QUOTA_NONE : rows[i].quota * SYN_QUOTA_GPU;
        world_step(world);
        world_expect(world, rows[i].want > 0 ? "starting" : "pending",
                     rows[i].want > 0 ? "assigned" : "quota");
        assert_int_equal(json_array_size(world->instances), rows[i].want > 0 ? rows[i].workers : 0);
        json_array_foreach (world->instances, k, instance)
            assert_int_equal(json_integer_value(syn_json_at(instance, "spec.resources.gpus")),
                             rows[i].want);
        world_free(world);
    }
}

static void
test_quota_and_lost_node_keep_the_reason(void **state)
{
    struct world *world = running(GANG(""));

    (void)state;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "gone");
    world_step(world);
    world_expect(world, "pending", "node-lost");
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "ready");
    world->quota.limits[SYN_QUOTA_JOBS] = 0;
    world_step(world);
    world_expect(world, "pending", "node-lost");
    assert_non_null(strstr(world_message(world), "the account's quota of running jobs is 0"));
    world_free(world);
}

static void
test_stop_while_waiting(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);
    struct syn_err err;

    (void)state;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "gone");
    world_step(world);
    assert_done(syn_training_request_stop(world->job, -1, &err), &err);
    world_step(world);
    world_expect(world, "stopped", "user");
    assert_int_equal(world->settled, 1);
    assert_code(syn_training_request_stop(world->job, -1, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_training_may_delete(world->job, &err), &err);
    world_free(world);
}

static void
test_stop_names_the_checkpoint_and_resume_starts_from_it(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    struct syn_err err;

    (void)state;
    world->checkpoint =
        json_pack("{s:s, s:i, s:i, s:i, s:s}", "cid", "bcheckpoint", "step", 400, "epoch", 2,
                  "size_bytes", 10, "created_at", "2026-11-23T10:00:00.000Z");
    assert_done(syn_training_request_stop(world->job, 1234, &err), &err);
    world_step(world);
    world_expect(world, "stopping", "user");
    assert_string_equal(syn_json_str(syn_document_spec(world_instance(world, 0)), "desired", ""),
                        "stopped");
    assert_int_equal(syn_json_i64(syn_document_spec(world_instance(world, 0)), "stop_grace_ms", 0),
                     1234);
    assert_code(syn_training_resume(world->job, -1, world->now_ms, &err), SYN_E_CONFLICT, &err);
    assert_code(syn_training_may_delete(world->job, &err), SYN_E_CONFLICT, &err);
    world_report_all(world, "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "stopped", "user");
    assert_non_null(strstr(world_message(world), "step 400 (bcheckpoint)"));
    assert_done(syn_training_resume(world->job, 20 * SYN_SYNOR, world->now_ms, &err), &err);
    world_expect(world, "pending", "waiting-for-start");
    /* It waits from now on, not from when it was made. */
    assert_int_equal(syn_document_time(status_of(world), "waiting_since"), world->now_ms);
    assert_string_equal(syn_json_str(syn_document_spec(world->job), "max_budget", ""), "20");
    world_step(world);
    assert_string_equal(syn_document_id(world_instance(world, 0)), "inst-abc-2-1-0");
    assert_string_equal(
        syn_json_str(syn_document_spec(world_instance(world, 0)), "checkpoint_cid", ""),
        "bcheckpoint");
    world_report_all(world, "exited", "completed", 0);
    world_step(world);
    assert_string_equal(syn_json_str(status_of(world), "bill", ""), "bill-abc-2");
    assert_int_equal(world->settled, 2);
    assert_code(syn_training_resume(world->job, -1, world->now_ms, &err), SYN_E_CONFLICT, &err);
    world_free(world);
}

/* One rank of two ends by itself; the other is stopped, and the cause names the first. */
static void
check_gang_failure(const char *instance_reason, int exit_code, const char *job_reason)
{
    struct world *world = running(GANG(""));

    world_report(world, world_instance(world, 1), "exited", instance_reason, exit_code);
    world_step(world);
    world_expect(world, "stopping", "peer-failed");
    assert_string_equal(
        syn_json_str(syn_document_spec(world_instance(world, 0)), "stop_reason", ""),
        "peer-failed");
    world->now_ms += 10;
    world_report(world, world_instance(world, 0), "exited", "failed", 1);
    world_step(world);
    world_expect(world, "failed", job_reason);
    assert_non_null(strstr(world_message(world), "rank 1"));
    assert_int_equal(syn_json_i64(status_of(world), "exit_code", -1), exit_code);
    assert_int_equal(world->settled, 1);
    world_free(world);
}

static void
test_a_failing_rank_is_the_cause(void **state)
{
    (void)state;
    check_gang_failure("failed", 3, "exit-nonzero");
    check_gang_failure("oom-killed", 137, "oom-killed");
    check_gang_failure("scratch-full", 1, "scratch-full");
    check_gang_failure("pids-limit", 1, "pids-limit");
    check_gang_failure("start-failed", 127, "start-failed");
    check_gang_failure("time-limit", 143, "time-limit");
}

static void
test_the_first_to_fail_is_the_cause(void **state)
{
    struct world *world = running(GANG(""));

    (void)state;
    world_report(world, world_instance(world, 1), "exited", "oom-killed", 137);
    world->now_ms += 50; /* both were gone before the server looked */
    world_report(world, world_instance(world, 0), "exited", "failed", 1);
    world_step(world);
    world_expect(world, "failed", "oom-killed");
    assert_non_null(strstr(world_message(world), "2 GiB"));
    world_free(world);
}

static void
test_retries_pause_and_run_out(void **state)
{
    struct world *world = running(GANG(",\"retries_max\":1"));

    (void)state;
    world_report_all(world, "exited", "failed", 3);
    world_step(world);
    world_expect(world, "pending", "retrying");
    assert_false(world_step(world));
    world->now_ms += SYN_TRAINING_RETRY_FIRST_MS;
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "attempt", 0), 2);
    world_report_all(world, "exited", "failed", 3);
    world_step(world);
    world_expect(world, "failed", "exit-nonzero");
    assert_int_equal(world->settled, 1);
    world_free(world);
}

static void
test_a_lost_node_restarts_from_the_checkpoint(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    const char *node = syn_json_str(status_of(world), "node", "");
    unsigned index = (unsigned)(node[strlen(node) - 1] - '0');

    (void)state;
    world->checkpoint =
        json_pack("{s:s, s:i, s:i, s:i, s:s}", "cid", "bcheckpoint", "step", 400, "epoch", 2,
                  "size_bytes", 10, "created_at", "2026-11-23T10:00:00.000Z");
    world_node(world, index, "gone");
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "attempt", 0), 2);
    assert_int_equal(syn_json_i64(status_of(world), "retries", -1), 0);
    assert_int_equal(world_events(world, "lost"), 1);
    assert_int_equal(world_events(world, "restarted"), 1);
    assert_string_equal(
        syn_json_str(syn_document_spec(world_instance(world, 0)), "checkpoint_cid", ""),
        "bcheckpoint");
    world_free(world);
}

/* Work of higher priority needs the room: saved, stopped, and gone on with later. */
static void
test_giving_way(void **state)
{
    struct world *world = running("{\"source\":\"synor://code\",\"entry\":\"train.py\","
                                  "\"max_budget\":\"10\",\"cpu_millicores\":3000}");
    const struct syn_place_who who = {
        .job = "train-urgent", .account = "acct-2", .priority = 501, .now_ms = world->now_ms};
    const struct syn_place_request request = {.count = 3, .amounts = {3000, 1024, 1024}};
    struct syn_placement placement;
    struct syn_err err;

    (void)state;
    assert_int_equal(syn_place_ask(world->cluster, &who, &request, &placement, &err),
                     SYN_PLACE_SOON);
    world_step(world);
    world_expect(world, "stopping", "preempted");
    assert_int_equal(syn_json_i64(syn_document_spec(world_instance(world, 0)), "stop_grace_ms", 0),
                     30000);
    assert_string_equal(
        syn_json_str(syn_document_spec(world_instance(world, 0)), "stop_reason", ""), "preempted");
    world_report(world, world_instance(world, 0), "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "pending", "preempted");
    assert_int_equal(world_events(world, "preempted"), 1);
    assert_int_equal(syn_json_i64(status_of(world), "retries", -1), 0);
    assert_int_equal(syn_place_ask(world->cluster, &who, &request, &placement, &err), SYN_OK);
    syn_place_withdraw(world->cluster, who.job);
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "attempt", 0), 2);
    world_free(world);
}

/* The spot price rises above what it bids, and falls again. */
static void
test_outbid(void **state)
{
    struct world *world;
    const json_t *spec, *terms;
    struct syn_err err;
    bool changed;

    (void)state;
    world = world_new("{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\","
                      "\"spot\":true,\"max_price\":\"0.01\",\"notice_ms\":60000}");
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_price(world, i, 10);
    assert_done(syn_cluster_set_spot(world->cluster, "cpu/x86/eu", 4000000, &changed, &err), &err);
    world_step(world);
    world_expect(world, "starting", "assigned");
    spec = syn_document_spec(world_instance(world, 0));
    terms = json_object_get(json_object_get(spec, "lease"), "terms");
    assert_string_equal(syn_json_str(terms, "kind", ""), "spot");
    assert_int_equal(syn_json_i64(terms, "notice_ms", 0), 60000);
    assert_string_equal(
        syn_json_str(syn_json_at(world_instance(world, 0), "spec.lease.price.cpu"), "price", ""),
        "0.004");
    assert_true(syn_json_i64(spec, "priority", 0) < 0);
    world_report_all(world, "running", "running", -1);
    world_step(world);
    world_expect(world, "running", "running");
    assert_done(syn_cluster_set_spot(world->cluster, "cpu/x86/eu", 15000000, &changed, &err), &err);
    world_step(world);
    world_expect(world, "stopping", "outbid");
    spec = syn_document_spec(world_instance(world, 0));
    assert_int_equal(syn_json_i64(spec, "stop_grace_ms", 0), 60000);
    assert_string_equal(syn_json_str(spec, "stop_reason", ""), "outbid");
    /* What was told to go goes, whatever the price does now. */
    assert_done(syn_cluster_set_spot(world->cluster, "cpu/x86/eu", 4000000, &changed, &err), &err);
    world_step(world);
    world_expect(world, "stopping", "outbid");
    assert_done(syn_cluster_set_spot(world->cluster, "cpu/x86/eu", 15000000, &changed, &err), &err);
    world_report(world, world_instance(world, 0), "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "pending", "outbid");
    assert_int_equal(world_events(world, "outbid"), 1);
    assert_done(syn_cluster_set_spot(world->cluster, "cpu/x86/eu", 5000000, &changed, &err), &err);
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "attempt", 0), 2);
    assert_int_equal(syn_json_i64(status_of(world), "retries", -1), 0);
    world_free(world);
}

/* What ends well, or was failing already, while it should give way, has ended. */
static void
test_ends_that_come_before_giving_way(void **state)
{
    static const struct {
        const char *reason, *state, *job_reason;
        int code;
    } rows[] = {{"completed", "succeeded", "completed", 0},
                {"failed", "failed", "exit-nonzero", 3}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct world *world = running("{\"source\":\"synor://code\",\"entry\":\"train.py\","
                                      "\"max_budget\":\"10\",\"cpu_millicores\":3000}");
        const struct syn_place_who who = {.job = "train-urgent", .account = "a", .priority = 501};
        const struct syn_place_request request = {.count = 3, .amounts = {3000, 1024, 1024}};
        struct syn_placement placement;
        struct syn_err err;

        assert_int_equal(syn_place_ask(world->cluster, &who, &request, &placement, &err),
                         SYN_PLACE_SOON);
        world_report(world, world_instance(world, 0), "exited", rows[i].reason, rows[i].code);
        world_step(world);
        world_expect(world, rows[i].state, rows[i].job_reason);
        world_free(world);
    }
}

static void
test_a_reboot_of_the_only_node(void **state)
{
    struct world *world = running(GANG(""));

    (void)state;
    world_report(world, world_instance(world, 0), "lost", "node-rebooted", -1);
    world_step(world);
    world_expect(world, "stopping", "node-lost");
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "silent");
    world_report(world, world_instance(world, 1), "exited", "failed", 1);
    world_step(world);
    world_expect(world, "pending", "node-lost");
    world_node(world, 0, "ready");
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "retries", -1), 0);
    world_free(world);
}

/* A node that was given up comes back, and its agent says that the rank is still running. */
static void
test_nothing_starts_beside_a_live_rank(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    json_t *old;

    (void)state;
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "gone");
    world_step(world);
    world_expect(world, "pending", "node-lost");
    old = world_instance(world, 0);
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "ready");
    world_report(world, old, "running", "running", -1);
    world_step(world);
    world_expect(world, "pending", "node-lost");
    assert_string_equal(syn_json_str(syn_document_spec(old), "desired", ""), "stopped");
    world_report(world, old, "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "starting", "assigned");
    world_free(world);
}

static void
test_losses_are_bounded(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);

    (void)state;
    for (unsigned i = 0; i < SYN_TRAINING_LOSSES_MAX; i++) {
        world_step(world);
        world_expect(world, "starting", "assigned");
        world_report_all(world, "lost", "node-rebooted", -1);
    }
    world_step(world);
    world_expect(world, "failed", "node-lost");
    world_free(world);
}

/* A run that gives way again and again ends before its bill would be too long. */
static void
test_interruptions_are_bounded(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    json_t *first = world_instance(world, 0);

    (void)state;
    world_report(world, first, "lost", "node-rebooted", -1);
    for (unsigned i = 1; i < SYN_TRAINING_RUN_MAX - 1; i++) {
        json_t *more = json_deep_copy(first);
        char id[SYN_ID_MAX];

        (void)snprintf(id, sizeof(id), "inst-abc-1-1-%u", i);
        assert_int_equal(json_object_set_new(more, "id", json_string(id)), 0);
        assert_int_equal(json_array_append_new(world->instances, more), 0);
    }
    world_step(world); /* there is room for one more */
    world_expect(world, "starting", "assigned");
    world_report_all(world, "lost", "node-rebooted", -1);
    world_step(world);
    world_expect(world, "failed", "interrupted");
    world_free(world);
}

/* Each node may be another provider's: a run ends before its bill would pay too many. */
static void
test_nodes_are_bounded(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    json_t *first = world_instance(world, 0);

    (void)state;
    world_report(world, first, "lost", "node-rebooted", -1);
    for (unsigned i = 1; i < SYN_TRAINING_NODES_MAX; i++) {
        json_t *more = json_deep_copy(first);
        char id[SYN_ID_MAX], node[SYN_ID_MAX];

        (void)snprintf(id, sizeof(id), "inst-abc-1-1-%u", i);
        (void)snprintf(node, sizeof(node), "node-far-%u", i);
        assert_int_equal(json_object_set_new(more, "id", json_string(id)), 0);
        assert_int_equal(
            json_object_set_new(json_object_get(more, "spec"), "node", json_string(node)), 0);
        assert_int_equal(json_array_append_new(world->instances, more), 0);
    }
    world_step(world);
    world_expect(world, "failed", "interrupted");
    world_free(world);
}

static void
test_a_silent_node(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    const char *node = syn_json_str(status_of(world), "node", "");
    unsigned index = (unsigned)(node[strlen(node) - 1] - '0');
    struct syn_training_effects effects;
    struct syn_training_view view;
    struct syn_err err;

    (void)state;
    world_node(world, index, "silent");
    world_step(world);
    world_expect(world, "running", "node-silent");
    view = world_view(world);
    assert_done(syn_training_step(&view, &effects, &err), &err);
    assert_true(effects.wake_at_ms == world->now_ms + SYN_TRAINING_SILENT_MAX_MS);
    syn_training_effects_fini(&effects);
    world_node(world, index, "ready");
    world_step(world);
    world_expect(world, "running", "running");
    /* Nobody else has room: it is better to wait than to throw the work away. */
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "silent");
    world->now_ms += SYN_TRAINING_SILENT_MAX_MS;
    world_step(world);
    world_expect(world, "running", "node-silent");
    world_node(world, (index + 1) % WORLD_NODES, "ready");
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(status_of(world), "attempt", 0), 2);
    world_free(world);
}

static void
test_budget(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    struct syn_err err;

    (void)state;
    world->spent = 8 * SYN_SYNOR;
    world_step(world);
    assert_int_equal(world_events(world, "budget-50"), 1);
    assert_int_equal(world_events(world, "budget-80"), 1);
    world_expect(world, "running", "running");
    world->spent = 10 * SYN_SYNOR + 1;
    world_step(world);
    world_expect(world, "stopping", "budget");
    assert_int_equal(world_events(world, "budget-100"), 1);
    world_report_all(world, "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "stopped", "budget");
    assert_string_equal(syn_json_str(json_object_get(status_of(world), "cost"), "spent", ""), "10");
    world->spent = 0;
    assert_done(syn_training_resume(world->job, 20 * SYN_SYNOR, world->now_ms, &err), &err);
    world_step(world);
    world_expect(world, "starting", "assigned");
    assert_int_equal(syn_json_i64(json_object_get(status_of(world), "cost"), "percent", -1), 0);
    world_free(world);
}

static void
test_time_limit(void **state)
{
    struct world *world =
        running("{\"source\":\"synor://"
                "code\",\"entry\":\"a\",\"max_budget\":\"1\",\"time_limit_ms\":5000}");

    (void)state;
    world->now_ms += 4999;
    assert_false(world_step(world));
    world->now_ms += 1;
    world_step(world);
    world_expect(world, "stopping", "time-limit");
    world_report_all(world, "exited", "stopped", 143);
    world_step(world);
    world_expect(world, "failed", "time-limit");
    world_free(world);
}

static void
test_a_stop_that_comes_too_late(void **state)
{
    struct world *world = running(GANG(""));
    struct syn_err err;

    (void)state;
    assert_done(syn_training_request_stop(world->job, -1, &err), &err);
    world_report_all(world, "exited", "completed", 0);
    world_step(world);
    world_expect(world, "succeeded", "completed");
    world_free(world);
}

static void
test_the_bill_waits_for_usage(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    struct syn_err err;
    json_t *instance;

    (void)state;
    world_report_all(world, "exited", "completed", 0);
    instance = world_instance(world, 0);
    assert_done(syn_json_set_i64(syn_document_status(instance), "usage_seq", 2, &err), &err);
    world_step(world);
    world_expect(world, "succeeded", "completed");
    assert_int_equal(world->settled, 0);
    assert_code(syn_training_may_delete(world->job, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_json_set_i64(syn_document_status(instance), "usage_seq", 3, &err), &err);
    world_step(world);
    assert_int_equal(world->settled, 1);
    world_free(world);
}

static void
test_the_bill_does_not_wait_for_ever(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);
    struct syn_err err;

    (void)state;
    world_report_all(world, "exited", "completed", 0);
    assert_done(
        syn_json_set_i64(syn_document_status(world_instance(world, 0)), "usage_seq", 2, &err),
        &err);
    world_step(world);
    world->now_ms += SYN_TRAINING_USAGE_WAIT_MAX_MS;
    world_step(world);
    assert_int_equal(world->settled, 1);
    world_free(world);
}

static void
test_progress_never_goes_back(void **state)
{
    struct world *world = running(WORLD_SPEC_SMALL);

    (void)state;
    world->progress = json_pack("{s:i, s:i}", "step", 25, "steps_total", 100);
    (void)syn_str_copy(world->progress_instance, SYN_ID_MAX, "inst-abc-1-1-0");
    world_step(world);
    assert_int_equal(syn_json_i64(syn_json_at(world->job, "status.progress"), "step", 0), 25);
    assert_int_equal(world_events(world, "progress"), 1);
    json_object_set_new(world->progress, "step", json_integer(20));
    world_step(world);
    assert_int_equal(syn_json_i64(syn_json_at(world->job, "status.progress"), "step", 0), 25);
    json_object_set_new(world->progress, "step", json_integer(90));
    (void)syn_str_copy(world->progress_instance, SYN_ID_MAX, "inst-abc-1-0-0");
    assert_false(world_step(world));
    world_free(world);
}

static void
test_order_of_waiting_jobs(void **state)
{
    json_t *low = json_pack("{s:s, s:{s:i}, s:s}", "id", "train-a", "spec", "priority", 1,
                            "created_at", "2026-11-23T10:00:00.000Z");
    json_t *high = json_pack("{s:s, s:{s:i}, s:s}", "id", "train-b", "spec", "priority", 2,
                             "created_at", "2026-11-23T10:00:01.000Z");
    json_t *late = json_pack("{s:s, s:{s:i}, s:s}", "id", "train-c", "spec", "priority", 1,
                             "created_at", "2026-11-23T10:00:01.000Z");

    (void)state;
    assert_true(syn_training_order(high, low) < 0);
    assert_true(syn_training_order(low, late) < 0);
    assert_true(syn_training_order(late, low) > 0);
    assert_int_equal(syn_training_order(low, low), 0);
    /* Who had room and gave it up waits behind who has waited since. */
    assert_int_equal(
        json_object_set_new(low, "status",
                            json_pack("{s:s}", "waiting_since", "2026-11-23T10:00:02.000Z")),
        0);
    assert_true(syn_training_order(low, late) > 0);
    json_decref(low);
    json_decref(high);
    json_decref(late);
}

/* With a cluster of its own: what one remembers of a job is no leak. */
static int
step_scenario(void *arg, struct syn_err *err)
{
    const struct world *world = arg;
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_training_view view = world_view(world);
    struct syn_training_effects effects;
    int rc = syn_cluster_new(7, &cluster, err);

    for (unsigned i = 0; i < WORLD_NODES && rc == SYN_OK; i++)
        rc = syn_cluster_put_node(cluster, world->nodes[i], err);
    for (size_t i = 0; i < json_array_size(world->instances) && rc == SYN_OK; i++)
        rc = syn_cluster_put_instance(cluster, json_array_get(world->instances, i), err);
    if (rc < 0)
        return rc;
    view.cluster = cluster;
    rc = syn_training_step(&view, &effects, err);
    if (rc == SYN_OK)
        syn_training_effects_fini(&effects);
    return rc;
}

static void
test_shortage_of_memory(void **state)
{
    struct world *world = world_new(GANG(",\"env\":{\"A\":\"b\"},\"epochs\":3"));

    (void)state;
    assert_true(syn_test_sweep_alloc(step_scenario, world) > 50);
    world_step(world);
    world_report_all(world, "running", "running", -1);
    world_report(world, world_instance(world, 1), "exited", "failed", 3);
    assert_true(syn_test_sweep_alloc(step_scenario, world) > 50);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_creation_to_bill),
        cmocka_unit_test(test_waits_for_room_and_then_starts),
        cmocka_unit_test(test_waits_for_quota_and_then_starts),
        cmocka_unit_test(test_quota_of_jobs_counts_jobs),
        cmocka_unit_test(test_cards_are_cut_to_the_quota),
        cmocka_unit_test(test_quota_and_lost_node_keep_the_reason),
        cmocka_unit_test(test_stop_while_waiting),
        cmocka_unit_test(test_stop_names_the_checkpoint_and_resume_starts_from_it),
        cmocka_unit_test(test_a_failing_rank_is_the_cause),
        cmocka_unit_test(test_the_first_to_fail_is_the_cause),
        cmocka_unit_test(test_retries_pause_and_run_out),
        cmocka_unit_test(test_a_lost_node_restarts_from_the_checkpoint),
        cmocka_unit_test(test_giving_way),
        cmocka_unit_test(test_ends_that_come_before_giving_way),
        cmocka_unit_test(test_outbid),
        cmocka_unit_test(test_a_reboot_of_the_only_node),
        cmocka_unit_test(test_nothing_starts_beside_a_live_rank),
        cmocka_unit_test(test_losses_are_bounded),
        cmocka_unit_test(test_interruptions_are_bounded),
        cmocka_unit_test(test_nodes_are_bounded),
        cmocka_unit_test(test_a_silent_node),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_a_stop_that_comes_too_late),
        cmocka_unit_test(test_the_bill_waits_for_usage),
        cmocka_unit_test(test_the_bill_does_not_wait_for_ever),
        cmocka_unit_test(test_progress_never_goes_back),
        cmocka_unit_test(test_order_of_waiting_jobs),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
