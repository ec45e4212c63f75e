/* The controller's step in a small world: documents, nodes, agents and a clock, all in memory.
 * Every step is taken twice: the second must have nothing to do. */
#include "control_priv.h"

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/place.h>

#define NODES  3
#define NOW_MS INT64_C(1795460000000)
#define SPEC                                                                              \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":3,\"update_deadline_ms\":60000," \
    "\"cpu_millicores\":500}"

struct world {
    json_t *service, *versions, *instances, *events;
    json_t *nodes[NODES];
    struct syn_cluster *cluster;
    struct syn_quota quota;
    int64_t spent, escrow, balance, now_ms;
    unsigned settled;
    /* Of billing: */
    json_t *billed; /* {instance: sample} */
    int64_t number, since_ms, window_since_ms, window_spent;
    int64_t paid; /* by the bills of periods */
    unsigned renewed, forgotten;
};

static void
put_node(struct world *world, unsigned index, const char *state)
{
    char id[16];
    struct syn_err err;

    (void)snprintf(id, sizeof(id), "node-%u", index);
    json_decref(world->nodes[index]);
    world->nodes[index] =
        json_pack("{s:s, s:{s:s}, s:{s:s, s:{s:i, s:I, s:I}, s:[{s:s, s:s}], s:s}}", "id", id,
                  "spec", "region", "eu", "status", "state", state, "capacity", "cpu_millicores",
                  4000, "memory_bytes", (json_int_t)8 << 30, "scratch_bytes", (json_int_t)64 << 30,
                  "sandboxes", "name", "gvisor", "state", "ready", "default_isolation", "gvisor");
    assert_done(syn_document_set_time(syn_document_status(world->nodes[index]), "last_seen_at",
                                      world->now_ms, &err),
                &err);
    assert_done(syn_cluster_put_node(world->cluster, world->nodes[index], &err), &err);
}

static json_t *
spec_of(const char *text)
{
    struct syn_err err;
    json_t *spec;

    assert_done(syn_json_parse(text, strlen(text), &spec, &err), &err);
    assert_done(syn_service_spec_check(spec, &err), &err);
    return spec;
}

static struct world *
world_new(const char *text)
{
    struct world *world = syn_calloc(1, sizeof(*world));
    const struct syn_service_new made = {
        .id = "svc-abc", .name = "web", .account = "acct-1", .image_cid = "bone", .now_ms = NOW_MS};
    struct syn_err err;
    json_t *version;

    assert_non_null(world);
    world->now_ms = NOW_MS;
    world->escrow = 100 * SYN_SYNOR;
    world->balance = 100 * SYN_SYNOR;
    world->billed = json_object();
    world->number = 1;
    world->since_ms = world->window_since_ms = NOW_MS;
    world->instances = json_array();
    world->events = json_array();
    world->versions = json_array();
    assert_done(syn_cluster_new(7, &world->cluster, &err), &err);
    assert_done(syn_quota_read(NULL, &world->quota, &err), &err);
    assert_done(syn_service_make_take(&made, spec_of(text), &world->service, &version, &err), &err);
    assert_int_equal(json_array_append_new(world->versions, version), 0);
    for (unsigned i = 0; i < NODES; i++)
        put_node(world, i, "ready");
    return world;
}

static void
world_free(struct world *world)
{
    json_decref(world->service);
    json_decref(world->versions);
    json_decref(world->instances);
    json_decref(world->events);
    json_decref(world->billed);
    for (unsigned i = 0; i < NODES; i++)
        json_decref(world->nodes[i]);
    syn_cluster_free(world->cluster);
    syn_free(world);
}

static struct syn_service_view
view_of(const struct world *world)
{
    return (struct syn_service_view){
        .service = world->service,
        .versions = world->versions,
        .instances = world->instances,
        .cluster = world->cluster,
        .quota = &world->quota,
        .billed = world->billed,
        .period = {world->number, world->since_ms, world->window_since_ms, world->window_spent},
        .spent = world->spent,
        .rate_hour = SYN_SYNOR,
        .escrow = world->escrow,
        .balance = world->balance,
        .now_ms = world->now_ms,
        .observing_since_ms = NOW_MS,
    };
}

static void
put_instance(struct world *world, json_t *doc)
{
    struct syn_err err;

    assert_done(syn_cluster_put_instance(world->cluster, doc, &err), &err);
}

static void
replace(struct world *world, json_t *doc)
{
    json_t *known;
    size_t i;

    json_array_foreach (world->instances, i, known) {
        if (!syn_str_eq(syn_document_id(known), syn_document_id(doc)))
            continue;
        assert_int_equal(json_array_set(world->instances, i, doc), 0);
        put_instance(world, doc);
        return;
    }
    fail_msg("an instance changed that nobody created: %s", syn_document_id(doc));
}

/* What the server does: the bill of all that was used, and another escrow. */
static void
renew(struct world *world, const struct syn_service_effects *effects)
{
    int64_t charge = SYN_MIN(world->spent, world->escrow);
    const json_t *doc;
    size_t i;

    world->paid += charge;
    world->balance += world->escrow - charge;
    world->escrow = world->spent = 0;
    world->window_spent = effects->new_window ? 0 : world->window_spent + charge;
    world->since_ms = world->now_ms;
    if (effects->new_window)
        world->window_since_ms = world->now_ms;
    world->number++;
    world->renewed++;
    json_array_foreach (world->instances, i, doc)
        assert_int_equal(json_object_set_new(
                             world->billed, syn_document_id(doc),
                             json_incref(json_object_get(syn_document_status(doc), "usage_seq"))),
                         0);
}

static void
forget(struct world *world, const char *instance)
{
    const json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        if (!syn_str_eq(syn_document_id(doc), instance))
            continue;
        assert_true(syn_instance_ended((unsigned)syn_instance_state_find(syn_document_state(doc))));
        assert_int_equal(json_array_remove(world->instances, i), 0);
        (void)json_object_del(world->billed, instance);
        world->forgotten++;
        return;
    }
    fail_msg("%s was forgotten twice", instance);
}

static void
apply(struct world *world, const struct syn_service_effects *effects)
{
    json_t *doc;
    size_t i;

    if (effects->service) {
        json_decref(world->service);
        world->service = json_incref(effects->service);
    }
    json_array_foreach (effects->created, i, doc) {
        assert_int_equal(json_array_append(world->instances, doc), 0);
        put_instance(world, doc);
    }
    json_array_foreach (effects->changed, i, doc)
        replace(world, doc);
    assert_int_equal(json_array_extend(world->events, effects->events), 0);
    if (effects->renew)
        renew(world, effects);
    json_array_foreach (effects->forgotten, i, doc)
        forget(world, syn_json_str(doc, "instance", ""));
    world->escrow += effects->lock;
    world->balance -= effects->lock;
    assert_true(world->balance >= 0);
    world->settled += effects->settle;
}

static void
step(struct world *world)
{
    struct syn_service_effects effects;
    struct syn_service_view view;
    struct syn_err err;
    bool again = true;

    for (int i = 0; again; i++) {
        view = view_of(world);
        assert_done(syn_service_step(&view, &effects, &err), &err);
        apply(world, &effects);
        again = effects.wake_at_ms == world->now_ms && !syn_service_effects_none(&effects);
        syn_service_effects_fini(&effects);
        assert_true(i < 10);
    }
    view = view_of(world);
    assert_done(syn_service_step(&view, &effects, &err), &err);
    if (!syn_service_effects_none(&effects))
        fail_msg("a second step still writes: %s, events %s",
                 effects.service ? json_dumps(effects.service, JSON_SORT_KEYS) : "same",
                 json_dumps(effects.events, 0));
    syn_service_effects_fini(&effects);
}

static bool
ended(const json_t *doc)
{
    return syn_instance_ended((unsigned)syn_instance_state_find(syn_document_state(doc)));
}

static bool
asked(const json_t *doc)
{
    return syn_str_eq(syn_json_str(syn_document_spec(doc), "desired", ""), "stopped");
}

static int64_t
version_of(const json_t *doc)
{
    return syn_json_i64(syn_document_spec(doc), "version", 0);
}

/* What the agent of the instance reports. */
static void
report(struct world *world, json_t *doc, const char *state, const char *reason, bool ready)
{
    json_t *status = syn_document_status(doc);
    struct syn_err err;

    assert_done(syn_document_set_state(doc, state, reason, "said the agent", &err), &err);
    if (syn_document_time(status, "started_at") == SYN_DOCUMENT_NONE)
        assert_done(syn_document_set_time(status, "started_at", world->now_ms, &err), &err);
    assert_done(
        syn_json_set_take(status, "health", json_pack("{s:b}", "ready", ready ? 1 : 0), &err),
        &err);
    if (ended(doc)) {
        assert_done(syn_document_set_time(status, "ended_at", world->now_ms, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq_last", 3, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq", 3, &err), &err);
    }
    put_instance(world, doc);
}

/* Agents do what they are asked: what is to stop ends, what is of a good version becomes ready. */
static void
obey(struct world *world, int64_t bad_version)
{
    json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        if (ended(doc))
            continue;
        if (asked(doc))
            report(world, doc, "exited", "stopped", false);
        else if (version_of(doc) != bad_version)
            report(world, doc, "running", "running", true);
    }
}

static unsigned
count(const struct world *world, int64_t version, bool only_ready)
{
    const json_t *doc;
    unsigned found = 0;
    size_t i;

    json_array_foreach (world->instances, i, doc)
        found += !ended(doc) && !asked(doc) && (version == 0 || version_of(doc) == version) &&
                 (!only_ready || syn_json_bool(syn_json_at(doc, "status.health"), "ready", false));
    return found;
}

static void
expect(const struct world *world, const char *state, const char *reason)
{
    const json_t *status = syn_document_status(world->service);

    assert_string_equal(syn_json_str(status, "state", ""), state);
    assert_string_equal(syn_json_str(status, "reason", ""), reason);
}

static unsigned
events(const struct world *world, const char *type)
{
    const json_t *event;
    unsigned found = 0;
    size_t i;

    json_array_foreach (world->events, i, event)
        found += syn_str_eq(syn_json_str(event, "type", ""), type);
    return found;
}

static void
run(struct world *world, unsigned turns, int64_t bad_version)
{
    for (unsigned i = 0; i < turns; i++) {
        step(world);
        obey(world, bad_version);
        world->now_ms += 1000;
    }
    step(world);
}

static void
update(struct world *world, const char *text, const char *cid)
{
    const struct syn_service_new change = {.image_cid = cid, .now_ms = world->now_ms};
    json_t *version = NULL;
    struct syn_err err;

    assert_done(syn_service_update_take(
                    world->service,
                    service_version(world->versions,
                                    syn_json_i64(syn_document_status(world->service), "target", 0)),
                    &change, spec_of(text), false, &version, &err),
                &err);
    if (version)
        assert_int_equal(json_array_append_new(world->versions, version), 0);
}

/* ---- the tests ---- */

static void
test_comes_up_and_stays_up(void **state)
{
    struct world *world = world_new(SPEC);
    json_t *doc;

    (void)state;
    step(world);
    expect(world, "deploying", "created");
    assert_int_equal(count(world, 1, false), 3);
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_int_equal(events(world, "deployed"), 1);

    doc = json_array_get(world->instances, 1);
    report(world, doc, "running", "running", false);
    step(world);
    expect(world, "degraded", "replica-down");
    world->now_ms += SYN_SERVICE_STABLE_MS; /* it did not fail at starting: replaced at once */
    report(world, doc, "exited", "unhealthy", false);
    step(world);
    assert_int_equal(json_array_size(world->instances), 4);
    assert_int_equal(events(world, "ended"), 1);
    run(world, 1, 0);
    expect(world, "running", "ready");
    world_free(world);
}

static void
test_updates_without_a_gap(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    run(world, 2, 0);
    update(world, SPEC, "btwo");
    for (int i = 0; i < 12; i++) {
        step(world);
        assert_true(count(world, 0, true) >= 3);
        assert_true(count(world, 0, false) <= 4);
        obey(world, 0);
    }
    expect(world, "running", "ready");
    assert_int_equal(count(world, 2, true), 3);
    assert_int_equal(syn_json_i64(syn_document_status(world->service), "stable", 0), 2);
    update(world, SPEC, "btwo"); /* the same again is nothing new */
    assert_int_equal(json_array_size(world->versions), 2);
    world_free(world);
}

static void
test_rolls_back_what_does_not_become_ready(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    run(world, 2, 0);
    update(world, SPEC, "bbad");
    for (int i = 0; i < 59; i++) {
        run(world, 1, 2);
        assert_int_equal(count(world, 1, true), 3);
    }
    run(world, 4, 2);
    expect(world, "running", "rolled-back");
    assert_int_equal(events(world, "rolled-back"), 1);
    assert_int_equal(count(world, 2, false), 0);
    assert_int_equal(count(world, 1, true), 3);
    assert_int_equal(json_array_size(world->instances), 4); /* one attempt was enough */
    world_free(world);
}

static void
test_rolls_back_what_crashes_early(void **state)
{
    struct world *world = world_new(SPEC);
    size_t made;

    (void)state;
    run(world, 2, 0);
    update(world, SPEC, "bbad");
    for (int i = 0; i < 58; i++) {
        json_t *doc;
        size_t n;

        step(world);
        json_array_foreach (world->instances, n, doc)
            if (!ended(doc) && version_of(doc) == 2 && !asked(doc))
                report(world, doc, "exited", "failed", false);
        obey(world, 2);
        world->now_ms += 1000;
        assert_int_equal(count(world, 1, true), 3);
    }
    expect(world, "running", "rolled-back");
    made = json_array_size(world->instances);
    assert_true(made <= 3 + 3 * SYN_SERVICE_FAILURES_MAX);
    world_free(world);
}

static void
test_a_first_version_that_crashes_is_tried_ever_less(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    for (int i = 0; i < 600; i++) {
        json_t *doc;
        size_t n;

        step(world);
        json_array_foreach (world->instances, n, doc)
            if (!ended(doc))
                report(world, doc, "exited", "failed", false);
        world->now_ms += 1000;
    }
    expect(world, "degraded", "deploy-failed");
    assert_true(json_array_size(world->instances) <= 36); /* 3 replicas, 12 tries */
    world_free(world);
}

static void
test_scales_both_ways(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    run(world, 2, 0);
    update(world, "{\"image\":\"synor://img\",\"port\":80,\"replicas\":6,\"cpu_millicores\":500}",
           "bone");
    step(world);
    expect(world, "deploying", "scaling");
    run(world, 2, 0);
    assert_int_equal(count(world, 1, true), 6);
    assert_int_equal(json_array_size(world->versions), 1);
    update(world, "{\"image\":\"synor://img\",\"port\":80,\"replicas\":0,\"cpu_millicores\":500}",
           "bone");
    run(world, 2, 0);
    expect(world, "running", "scaled-to-zero");
    assert_int_equal(count(world, 0, false), 0);
    world_free(world);
}

static void
test_a_lost_node_is_replaced(void **state)
{
    struct world *world = world_new(SPEC);
    const char *node;
    unsigned index;

    (void)state;
    run(world, 2, 0);
    node = syn_json_str(syn_document_spec(json_array_get(world->instances, 0)), "node", "");
    index = (unsigned)(node[5] - '0');
    put_node(world, index, "silent");
    step(world);
    expect(world, "degraded", "replica-down"); /* out of traffic at once */
    assert_int_equal(json_array_size(world->instances), 3);
    world->now_ms += SYN_SERVICE_SILENT_MAX_MS;
    run(world, 2, 0);
    assert_true(events(world, "lost") >= 1);
    expect(world, "running", "ready");
    world_free(world);
}

static void
test_waits_for_room_and_says_so(void **state)
{
    struct world *world =
        world_new("{\"image\":\"synor://img\",\"port\":80,\"replicas\":4,\"cpu_millicores\":3000}");

    (void)state;
    run(world, 2, 0);
    expect(world, "degraded", "no-room");
    assert_int_equal(count(world, 1, true), 3);
    update(world, "{\"image\":\"synor://img\",\"port\":80,\"replicas\":3,\"cpu_millicores\":3000}",
           "bone");
    run(world, 1, 0);
    expect(world, "running", "ready");
    world_free(world);
}

static void
test_stops_and_is_billed_and_starts_again(void **state)
{
    struct world *world = world_new(SPEC);
    struct syn_err err;

    (void)state;
    run(world, 2, 0);
    assert_code(syn_service_may_delete(world->service, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_service_request_stop(world->service, &err), &err);
    step(world);
    expect(world, "stopping", "user");
    assert_int_equal(world->settled, 0);
    run(world, 1, 0);
    expect(world, "stopped", "user");
    assert_int_equal(world->settled, 1);
    assert_done(syn_service_may_delete(world->service, &err), &err);
    update(world, SPEC, "bone");
    assert_int_equal(syn_json_i64(syn_document_status(world->service), "run", 0), 2);
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_int_equal(world->settled, 1);
    world_free(world);
}

static void
test_money_is_topped_up_until_there_is_none(void **state)
{
    struct world *world = world_new(SPEC);
    int64_t all;

    (void)state;
    world->escrow = 10 * SYN_SYNOR;
    all = world->escrow + world->balance;
    while (syn_str_eq(syn_json_str(syn_document_status(world->service), "stop_requested", "no"),
                      "no")) {
        run(world, 1, 0);
        world->spent += SYN_SYNOR;
        assert_true(world->spent <= all + SYN_SYNOR);
    }
    assert_int_equal(world->balance, 0);
    run(world, 2, 0);
    expect(world, "stopped", "funds");
    assert_int_equal(events(world, "funds-low"), 1);
    assert_int_equal(world->settled, 1);
    world_free(world);
}

/* Half a year: a period each day, each with a bill, and the money of all of them adds up. */
static void
test_a_bill_for_each_period(void **state)
{
    struct world *world = world_new(SPEC);
    int64_t all = world->escrow + (world->balance = 10000 * SYN_SYNOR), used = 0;
    char id[SYN_ID_MAX];

    (void)state;
    run(world, 2, 0);
    for (unsigned day = 1; day <= 180; day++) {
        world->spent += 24 * SYN_SYNOR;
        used += 24 * SYN_SYNOR;
        world->now_ms += INT64_C(24) * 3600 * 1000;
        step(world);
        assert_int_equal(world->renewed, day);
        assert_int_equal(world->paid, used);
        assert_int_equal(world->escrow, 24 * SYN_SYNOR); /* locked a day at a time */
        assert_int_equal(world->balance + world->escrow + world->paid, all);
        expect(world, "running", "ready");
    }
    assert_int_equal(events(world, "billed"), 180);
    assert_string_equal(syn_json_str(syn_document_status(world->service), "last_bill", ""),
                        "bill-abc-1-000180");
    syn_service_bill_id(world->service, 1, id);
    assert_string_equal(id, "bill-abc-1");
    assert_true(json_is_null(json_object_get(syn_document_status(world->service), "bill")));
    world_free(world);
}

/* Nothing was used: there is nothing to bill, and it goes on. */
static void
test_no_bill_for_nothing(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    run(world, 2, 0);
    world->now_ms += INT64_C(90) * 24 * 3600 * 1000;
    run(world, 2, 0);
    assert_int_equal(world->renewed, 0);
    world->spent = 1;
    step(world);
    assert_int_equal(world->renewed, 1);
    assert_int_equal(world->paid, 1);
    world_free(world);
}

/* Replicas end ever again: more than one bill holds. It goes on, and what a step looks at does not
 * grow. */
static void
test_more_replicas_than_a_bill_holds(void **state)
{
    struct world *world = world_new(SPEC);
    size_t most = 0;

    (void)state;
    world->balance = 10000 * SYN_SYNOR;
    for (unsigned i = 0; i < 130; i++) {
        json_t *doc;
        size_t k;

        run(world, 1, 0);
        world->now_ms += SYN_SERVICE_STABLE_MS;
        json_array_foreach (world->instances, k, doc)
            if (!ended(doc) && !asked(doc))
                report(world, doc, "exited", "failed", false);
        world->spent += 1000;
        most = SYN_MAX(most, json_array_size(world->instances));
    }
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_true(syn_json_i64(syn_document_status(world->service), "serial", 0) > 380);
    assert_true(world->renewed >= 1); /* a full bill, long before the day is over */
    assert_true(world->forgotten > 250);
    assert_true(most <= SYN_SERVICE_BILL_INSTANCES + 2 * SYN_SERVICE_ENDED_MAX);
    world_free(world);
}

#define BUDGET_SPEC                                                               \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":1,\"max_budget\":\"5\"," \
    "\"billing_period_ms\":36000000,\"cpu_millicores\":500}"

/* A budget is a period's: it is whole again with the next one, and spent within one it ends the
 * service, also when a full bill came between. */
static void
test_a_budget_is_a_periods(void **state)
{
    struct world *world = world_new(BUDGET_SPEC);

    (void)state;
    world->escrow = 5 * SYN_SYNOR;
    run(world, 2, 0);
    for (unsigned period = 1; period <= 5; period++) {
        world->spent = 4 * SYN_SYNOR;
        step(world);
        assert_int_equal(world->renewed, period - 1);
        world->now_ms += 36000000;
        step(world);
        assert_int_equal(world->renewed, period);
        assert_int_equal(world->escrow, 5 * SYN_SYNOR);
    }
    world->window_spent = 3 * SYN_SYNOR; /* as after a full bill */
    world->escrow = 2 * SYN_SYNOR;
    world->spent = 2 * SYN_SYNOR;
    step(world);
    run(world, 2, 0);
    expect(world, "stopped", "budget");
    world_free(world);
}

/* When the account cannot pay for the next period, that is said, once, and seen; more money ends
 * it, and without any the service ends when all of it is spent. */
static void
test_low_funds_are_said_once(void **state)
{
    struct world *world = world_new(SPEC);

    (void)state;
    world->escrow = 2 * SYN_SYNOR;
    world->balance = 20 * SYN_SYNOR;
    run(world, 3, 0);
    expect(world, "running", "funds-low");
    assert_int_equal(events(world, "funds-low"), 1);
    world->balance += 100 * SYN_SYNOR;
    step(world);
    expect(world, "running", "ready");
    world->balance = 0;
    world->now_ms += INT64_C(24) * 3600 * 1000;
    world->spent = world->escrow - 1;
    step(world); /* what is left is little, but it is what there is */
    assert_int_equal(world->renewed, 1);
    assert_int_equal(world->escrow, 1);
    expect(world, "running", "funds-low");
    assert_int_equal(events(world, "funds-low"), 2);
    world->spent = 1;
    step(world);
    run(world, 2, 0);
    expect(world, "stopped", "funds");
    world_free(world);
}

static void
test_verbs_refuse_what_makes_no_sense(void **state)
{
    struct world *world = world_new(SPEC);
    const json_t *first = json_array_get(world->versions, 0);
    struct syn_err err;

    (void)state;
    run(world, 2, 0);
    assert_code(syn_service_rollback(world->service, first, world->now_ms, &err), SYN_E_CONFLICT,
                &err);
    update(world, SPEC, "btwo");
    run(world, 8, 0);
    assert_done(syn_service_rollback(world->service, first, world->now_ms, &err), &err);
    run(world, 8, 0);
    expect(world, "running", "ready");
    assert_int_equal(count(world, 1, true), 3);
    assert_done(syn_service_request_stop(world->service, &err), &err);
    assert_code(syn_service_rollback(world->service, first, world->now_ms, &err), SYN_E_CONFLICT,
                &err);
    run(world, 2, 0);
    assert_code(syn_service_request_stop(world->service, &err), SYN_E_CONFLICT, &err);
    world_free(world);
}

/* ---- anything, in any order ---- */

static uint64_t
random_below(uint64_t *random, uint64_t limit)
{
    return syn_test_random(random) % limit;
}

static void
something_happens(struct world *world, uint64_t *random)
{
    size_t size = json_array_size(world->instances);
    json_t *doc = size > 0 ? json_array_get(world->instances, random_below(random, size)) : NULL;
    char text[256];

    switch (random_below(random, 10)) {
    case 0:
        (void)snprintf(text, sizeof(text),
                       "{\"image\":\"synor://img\",\"port\":80,\"replicas\":%u,\"max_surge\":%u,"
                       "\"max_unavailable\":1,\"update_deadline_ms\":30000,\"cpu_millicores\":300}",
                       (unsigned)random_below(random, 6), (unsigned)random_below(random, 3));
        update(world, text, random_below(random, 2) ? "bone" : "btwo");
        break;
    case 1:
        put_node(world, (unsigned)random_below(random, NODES),
                 random_below(random, 2) ? "silent" : "ready");
        break;
    case 2:
    case 3:
        if (doc && !ended(doc))
            report(world, doc, "exited", asked(doc) ? "stopped" : "failed", false);
        break;
    case 4:
        if (doc && !ended(doc) && !asked(doc))
            report(world, doc, "running", "running", false);
        break;
    case 5:
        world->now_ms += (int64_t)random_below(random, 90000);
        break;
    default:
        if (doc && !ended(doc) && !asked(doc))
            report(world, doc, "running", "running", true);
        else if (doc && !ended(doc))
            report(world, doc, "exited", "stopped", false);
        break;
    }
    world->now_ms += (int64_t)random_below(random, 2000);
}

static void
test_any_history_ends_in_what_is_wanted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *world = world_new(SPEC);
        uint64_t random = seed * 77;
        int64_t want;

        for (int i = 0; i < 60; i++) {
            step(world);
            something_happens(world, &random);
        }
        for (unsigned i = 0; i < NODES; i++)
            put_node(world, i, "ready");
        world->now_ms += SYN_SERVICE_BACKOFF_MAX_MS;
        for (unsigned i = 0; i < NODES; i++)
            put_node(world, i, "ready");
        run(world, 30, 0);
        want = syn_json_i64(syn_document_spec(world->service), "replicas", -1);
        if (!syn_str_eq(syn_document_state(world->service), "running"))
            fail_msg("seed %llu: %s", (unsigned long long)seed,
                     json_dumps(syn_document_status(world->service), JSON_INDENT(1)));
        assert_int_equal(count(world, 0, true), want);
        world_free(world);
    }
}

/* ---- memory ---- */

static int
one_step(void *arg, struct syn_err *err)
{
    struct syn_service_view view = view_of(arg);
    struct syn_service_effects effects;
    int rc = syn_service_step(&view, &effects, err);

    if (rc == SYN_OK)
        syn_service_effects_fini(&effects);
    return rc;
}

static void
test_a_step_survives_without_memory(void **state)
{
    struct world *world = world_new(SPEC);
    struct syn_err err;

    (void)state;

    run(world, 2, 0);
    report(world, json_array_get(world->instances, 0), "exited", "failed", false);
    /* Without a question to the placement core, which keeps what it is asked. */
    assert_done(syn_service_request_stop(world->service, &err), &err);
    assert_true(syn_test_sweep_alloc(one_step, world) > 10);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_up_and_stays_up),
        cmocka_unit_test(test_updates_without_a_gap),
        cmocka_unit_test(test_rolls_back_what_does_not_become_ready),
        cmocka_unit_test(test_rolls_back_what_crashes_early),
        cmocka_unit_test(test_a_first_version_that_crashes_is_tried_ever_less),
        cmocka_unit_test(test_scales_both_ways),
        cmocka_unit_test(test_a_lost_node_is_replaced),
        cmocka_unit_test(test_waits_for_room_and_says_so),
        cmocka_unit_test(test_stops_and_is_billed_and_starts_again),
        cmocka_unit_test(test_money_is_topped_up_until_there_is_none),
        cmocka_unit_test(test_a_bill_for_each_period),
        cmocka_unit_test(test_no_bill_for_nothing),
        cmocka_unit_test(test_more_replicas_than_a_bill_holds),
        cmocka_unit_test(test_a_budget_is_a_periods),
        cmocka_unit_test(test_low_funds_are_said_once),
        cmocka_unit_test(test_verbs_refuse_what_makes_no_sense),
        cmocka_unit_test(test_any_history_ends_in_what_is_wanted),
        cmocka_unit_test(test_a_step_survives_without_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
