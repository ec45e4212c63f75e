/* The controller's step of services. */
#include "control_testing.h"

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

/* The first instance, which an update to a new image is about to replace. */
static json_t *
first_of_an_update(struct world *world, const char *has)
{
    json_t *first;

    run(world, 2, 0);
    first = json_array_get(world->instances, 0);
    if (has != NULL)
        assert_int_equal(
            json_object_set_new(world->balanced, syn_document_id(first), json_string(has)), 0);
    update(world, SPEC, "btwo");
    step(world);
    obey(world, 0);
    step(world);
    return json_array_get(world->instances, 0);
}

static const json_t *
endpoint_of(const struct world *world, const json_t *doc)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(syn_document_status(world->service), "endpoints"), i, row)
        if (syn_str_eq(syn_json_str(row, "instance", ""), syn_document_id(doc)))
            return row;
    fail_msg("%s is no endpoint", syn_document_id(doc));
    return NULL;
}

/* One that goes leaves traffic, and is asked to stop when the balancer has nothing of it. */
static void
test_drains_before_it_stops(void **state)
{
    struct world *world = world_new(SPEC);
    const json_t *first = first_of_an_update(world, "serving");
    const char *id = syn_document_id(first);

    (void)state;
    assert_string_equal(syn_json_str(endpoint_of(world, first), "state", ""), "draining");
    assert_false(syn_json_bool(endpoint_of(world, first), "ready", true));
    for (int i = 0; i < 3; i++) {
        assert_false(asked(json_array_get(world->instances, 0)));
        world->now_ms += 5000; /* longer than its time to drain: the balancer is late */
        step(world);
    }
    assert_int_equal(json_object_del(world->balanced, id), 0);
    step(world);
    assert_true(asked(json_array_get(world->instances, 0)));
    assert_int_equal(
        syn_json_i64(syn_document_spec(json_array_get(world->instances, 0)), "drain_ms", -1), 0);
    assert_int_equal(events(world, "ended"), 0);
    world_free(world);
}

/* What does not end has its time to drain; a balancer that does not take it out, some more. */
static void
test_drains_for_a_limited_time(void **state)
{
    static const struct {
        const char *has;
        int64_t limit_ms;
    } cases[] = {{"busy", 10000}, {"serving", 10000 + SYN_SERVICE_BALANCER_MAX_MS}, {NULL, 10000}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct world *world = world_new(SPEC);

        if (cases[i].has == NULL) {
            json_decref(world->balanced);
            world->balanced = NULL;
        }
        (void)first_of_an_update(world, cases[i].has);
        world->now_ms += cases[i].limit_ms - 1;
        step(world);
        assert_false(asked(json_array_get(world->instances, 0)));
        world->now_ms++;
        step(world);
        assert_true(asked(json_array_get(world->instances, 0)));
        world_free(world);
    }
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

/* An instance of a function that answered already was ended by what it was asked. */
static void
test_what_served_calls_is_followed_soon(void **state)
{
    struct world *world = world_new(SPEC);
    unsigned seconds = 60;

    (void)state;
    run(world, 2, 0);
    for (unsigned i = 0; i < seconds; i++) {
        json_t *doc;
        size_t n;

        json_array_foreach (world->instances, n, doc) {
            if (ended(doc))
                continue;
            assert_int_equal(json_object_set_new(syn_document_status(doc), "start", json_object()),
                             0);
            report(world, doc, "exited", "failed", false);
        }
        world->now_ms += SYN_SERVICE_BACKOFF_FIRST_MS;
        step(world);
        obey(world, 0);
        assert_int_equal(count(world, 1, true), 3); /* a second later, as often as it happens */
    }
    step(world);
    expect(world, "running", "ready");
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

/* A plan names where else replicas would fit, and how many of them. */
static void
test_plans_name_alternatives(void **state)
{
    struct world *world = world_new(SPEC);
    const struct syn_service_tenant tenant = {.account = "acct-1"};
    const json_t *rows, *row;
    struct syn_err err;
    size_t i;
    SYN_JSON(spec);
    SYN_JSON(plan);

    (void)state;
    spec = spec_of(SPEC);
    assert_done(syn_json_set_i64(spec, "replicas", 1, &err), &err);
    assert_done(syn_service_plan(spec, &tenant, world->cluster, NULL, &plan, &err), &err);
    assert_true(syn_json_bool(plan, "placeable", false));
    rows = json_object_get(plan, "alternatives");
    assert_int_equal(json_array_size(rows), NODES - 1);
    json_array_foreach (rows, i, row) {
        assert_string_not_equal(
            syn_json_str(row, "node", ""),
            syn_json_str(json_array_get(json_object_get(plan, "nodes"), 0), "node", ""));
        assert_int_equal(syn_json_i64(row, "replicas", 0), 1);
    }
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

/* Nodes without networks for instances get none: it waits, and says why. */
static void
test_needs_networks(void **state)
{
    struct world *world = world_new(SPEC);
    struct syn_service_explain_view view = {.cluster = world->cluster};
    bool told = false;
    struct syn_err err;
    const json_t *row;
    size_t i;
    SYN_JSON(said);

    (void)state;
    for (i = 0; i < NODES; i++) {
        json_t *status = syn_document_status(world->nodes[i]);

        assert_int_equal(
            json_object_set_new(status, "networks", json_pack("{s:s}", "state", "missing")), 0);
        assert_done(syn_cluster_put_node(world->cluster, world->nodes[i], &err), &err);
    }
    run(world, 2, 0);
    assert_int_equal(count(world, 0, false), 0);
    view.service = world->service;
    view.versions = world->versions;
    view.instances = world->instances;
    view.now_ms = world->now_ms;
    assert_done(syn_service_explain(&view, &said, &err), &err);
    json_array_foreach (json_object_get(said, "why"), i, row)
        told = told || syn_str_eq(syn_json_str(row, "dimension", ""), "networks");
    assert_true(told);
    for (unsigned k = 0; k < NODES; k++)
        put_node(world, k, "ready"); /* one that does not tell is taken to have them */
    run(world, 3, 0);
    expect(world, "running", "ready");
    world_free(world);
}

/* ---- autoscaling ---- */

#define SCALED(scale, more)                                                \
    "{\"image\":\"synor://img\",\"port\":80,\"update_deadline_ms\":60000," \
    "\"cpu_millicores\":500" more ",\"autoscale\":{\"min\":2,\"max\":5,"   \
    "\"every_ms\":1000" scale "}}"
#define BY_REQUESTS ",\"metrics\":[{\"metric\":\"requests\",\"target\":\"10\"}]"

static int64_t
wanted(const struct world *world)
{
    return syn_json_i64(syn_json_at(world->service, "status.replicas"), "wanted", -1);
}

static bool
explains(const struct world *world, const char *text)
{
    const struct syn_service_explain_view view = {.service = world->service,
                                                  .versions = world->versions,
                                                  .instances = world->instances,
                                                  .cluster = world->cluster,
                                                  .now_ms = world->now_ms};
    struct syn_err err;
    const json_t *row;
    bool found = false;
    size_t i;
    SYN_JSON(said);

    assert_done(syn_service_explain(&view, &said, &err), &err);
    json_array_foreach (json_object_get(said, "why"), i, row)
        found = found || (syn_str_eq(syn_json_str(row, "dimension", ""), "autoscale") &&
                          strstr(syn_json_str(row, "message", ""), text) != NULL);
    return found;
}

static void
test_scales_by_load(void **state)
{
    struct world *world = world_new(SCALED("", ""));

    (void)state;
    run(world, 3, 0);
    expect(world, "running", "ready");
    assert_int_equal(count(world, 1, true), 2); /* the minimum, though replicas says 1 */
    assert_true(explains(world, "a metric is not known: nothing is taken away"));
    world->cpu = 700;
    run(world, 20, 0);
    assert_int_equal(wanted(world), 2);
    assert_int_equal(events(world, "scaled"), 0);

    world->cpu = 1000;
    for (int i = 0; i < 60 && wanted(world) == 2; i++) {
        world->now_ms += 1000;
        step(world);
    }
    expect(world, "deploying", "scaling"); /* that is no damage */
    assert_true(explains(world, "cpu 100%, target 70% a replica"));
    assert_true(events(world, "scaled") == 1 && wanted(world) > 2);
    run(world, 60, 0);
    expect(world, "running", "ready");
    assert_int_equal(count(world, 1, true), 5);
    assert_true(explains(world, "5 wanted (2 to 5): "));
    assert_int_equal(events(world, "deployed"), 1);

    world->cpu = 10;
    run(world, 120, 0);
    assert_int_equal(wanted(world), 5); /* what was needed within five minutes */
    world->cpu = SYN_AUTOSCALE_UNKNOWN;
    run(world, 400, 0);
    assert_int_equal(wanted(world), 5); /* nothing goes unseen */
    world->cpu = 10;
    run(world, 400, 0);
    assert_int_equal(count(world, 1, true), 2);
    expect(world, "running", "ready");
    world_free(world);
}

/* Another image keeps the number; another number is gone on from; without autoscaling the spec's
 * own number counts. */
static void
test_scaling_and_people(void **state)
{
    struct world *world = world_new(SCALED(BY_REQUESTS, ""));

    (void)state;
    world->requests = 40000;
    run(world, 60, 0);
    assert_int_equal(count(world, 1, true), 4);
    update(world, SCALED(BY_REQUESTS, ",\"env\":{\"A\":\"b\"}"), "btwo");
    run(world, 12, 0);
    assert_int_equal(count(world, 2, true), 4);
    expect(world, "running", "ready");
    update(world, SCALED(BY_REQUESTS, ",\"env\":{\"A\":\"b\"},\"replicas\":5"), "btwo");
    run(world, 3, 0);
    assert_int_equal(count(world, 2, true), 5);
    update(world, SPEC, "btwo");
    run(world, 12, 0);
    assert_int_equal(count(world, 0, true), 3);
    assert_null(syn_json_at(world->service, "status.autoscale"));
    assert_false(explains(world, ""));
    world_free(world);
}

/* What replicas are read for, if all that live are read for the same; NULL: for nothing. */
static const char *
scraped_for(const struct world *world)
{
    const char *first = NULL;
    const json_t *instance;
    bool any = false;
    size_t i;

    json_array_foreach (world->instances, i, instance) {
        const json_t *rows = syn_json_at(instance, "spec.scrape.metrics");
        const char *series = syn_json_str(json_array_get(rows, 0), "series", NULL);

        if (!syn_str_eq(syn_document_state(instance), "running"))
            continue;
        if (any)
            assert_true(syn_str_eq(first, series));
        first = series;
        any = true;
    }
    assert_true(any);
    return first;
}

#define BY_JOBS(series)                                            \
    ",\"metrics\":[{\"metric\":\"custom:jobs\",\"target\":\"10\"," \
    "\"scrape\":{\"series\":\"" series "\"}}]"

/* What is read of replicas scales, and what is to be read follows the rule without a new version.
 */
static void
test_scales_by_what_is_scraped(void **state)
{
    struct world *world = world_new(SCALED(BY_JOBS("jobs"), ""));

    (void)state;
    run(world, 5, 0);
    assert_int_equal(count(world, 1, true), 2);
    assert_string_equal(scraped_for(world), "jobs");
    assert_true(explains(world, "a metric is not known: nothing is taken away"));
    world->jobs = 20000;
    run(world, 60, 0);
    assert_int_equal(count(world, 1, true), 5);
    assert_true(explains(world, "5 wanted (2 to 5): "));
    assert_string_equal(scraped_for(world), "jobs"); /* the new ones too */
    update(world, SCALED(BY_JOBS("jobs{queue=\\\"mail\\\"}"), ""), "bone");
    run(world, 5, 0);
    assert_string_equal(scraped_for(world), "jobs{queue=\"mail\"}");
    world->jobs = 100;
    run(world, 400, 0);
    assert_int_equal(count(world, 1, true), 2);
    update(world, SPEC, "bone");
    run(world, 12, 0);
    assert_null(scraped_for(world));
    world_free(world);
}

/* A zone of our own: UTC and an hour. */
static const struct syn_zone *
find_zone(void *self, const char *name)
{
    return syn_str_eq(name, "Some/Where") ? self : NULL;
}

static void
test_scales_by_schedule(void **state)
{
    SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;
    struct syn_zone_source zones = {find_zone, NULL};
    struct world *world =
        world_new(SCALED(",\"schedule\":[{\"cron\":\"0 8 * * *\",\"zone\":\"Some/Where\","
                         "\"for_ms\":\"2h\",\"min\":4},{\"cron\":\"* * * * *\","
                         "\"zone\":\"No/Where\",\"for_ms\":\"2h\",\"min\":5}]",
                         ""));
    struct syn_err err;
    int64_t eight;

    (void)state;
    assert_done(syn_zone_rule("XST-1", &zone, &err), &err);
    zones.self = zone;
    world->zones = &zones;
    assert_done(syn_parse_time("2026-11-29T07:00:00Z", &eight, &err), &err);
    world->now_ms = eight - 3000;
    for (unsigned i = 0; i < NODES; i++)
        put_node(world, i, "ready");
    run(world, 2, 0);
    assert_int_equal(count(world, 1, true), 2);
    world->now_ms = eight;
    run(world, 6, 0);
    assert_int_equal(count(world, 1, true), 4);
    assert_true(explains(world, "4 wanted (4 to 5): "));
    world->now_ms = eight + INT64_C(7200000);
    for (unsigned i = 0; i < NODES; i++)
        put_node(world, i, "ready");
    run(world, 6, 0);
    assert_int_equal(count(world, 1, true), 2);
    assert_code(syn_service_spec_zones(syn_document_spec(world->service), &zones, &err),
                SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "schedule[1].zone"));
    world_free(world);
}

/* What will be called is there before, and what will not for long goes sooner. */
static void
test_ahead_of_calls(void **state)
{
    struct world *world = world_new(
        "{\"image\":\"synor://img\",\"port\":80,\"update_deadline_ms\":60000,"
        "\"cpu_millicores\":500,\"autoscale\":{\"min\":0,\"max\":3,\"every_ms\":1000,"
        "\"idle_ms\":60000,\"down\":{\"stabilise_ms\":0,\"period_ms\":0}" BY_REQUESTS "}}");
    struct syn_service_ahead ahead = {.idle_ms = 10000};

    (void)state;
    world->requests = 1000;
    run(world, 5, 0);
    assert_int_equal(wanted(world), 1);
    world->requests = 0;
    run(world, 20, 0);
    assert_int_equal(wanted(world), 1); /* as the spec says */
    world->ahead = &ahead;
    run(world, 2, 0);
    assert_int_equal(wanted(world), 0);
    ahead.least = 2;
    run(world, 2, 0);
    assert_int_equal(wanted(world), 2);
    run(world, 100, 0);
    assert_int_equal(wanted(world), 2); /* however long nobody calls */
    ahead.least = 9;
    run(world, 2, 0);
    assert_int_equal(wanted(world), 3); /* no more than may be */
    ahead.least = 0;
    run(world, 3, 0);
    assert_int_equal(wanted(world), 0);
    world_free(world);
}

/* ---- what ends and is not started again ---- */

#define ENDS(restart, replicas)                          \
    "{\"image\":\"synor://img\",\"replicas\":" #replicas \
    ",\"update_deadline_ms\":60000,\"cpu_millicores\":500,\"restart\":\"" restart "\"}"

static json_t *
newest(const struct world *world)
{
    return json_array_get(world->instances, json_array_size(world->instances) - 1);
}

static void
test_what_ended_well_is_not_restarted(void **state)
{
    struct world *world = world_new(ENDS("on-failure", 2));

    (void)state;
    run(world, 2, 0);
    report(world, json_array_get(world->instances, 0), "exited", "failed", false);
    world->now_ms += SYN_SERVICE_BACKOFF_FIRST_MS;
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 3);
    expect(world, "running", "ready");
    report(world, json_array_get(world->instances, 1), "exited", "completed", false);
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 3);
    expect(world, "running", "ready");
    report(world, newest(world), "exited", "completed", false);
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 3);
    expect(world, "running", "completed");
    /* A place that is new is filled, one that is done is not. */
    update(world, ENDS("on-failure", 3), "bone");
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 4);
    assert_int_equal(syn_json_i64(syn_document_spec(newest(world)), "rank", -1), 2);
    report(world, newest(world), "exited", "completed", false);
    run(world, 1, 0);
    expect(world, "running", "completed");
    /* A new version begins anew, in every place; and so it is with always. */
    update(world, ENDS("on-failure", 3), "btwo");
    run(world, 3, 0);
    assert_int_equal(count(world, 2, true), 3);
    expect(world, "running", "ready");
    report(world, newest(world), "exited", "completed", false);
    run(world, 1, 0);
    assert_int_equal(count(world, 2, false), 2);
    update(world, ENDS("always", 3), "btwo");
    assert_int_equal(json_array_size(world->versions), 2);
    run(world, 2, 0);
    assert_int_equal(count(world, 2, true), 3);
    /* What was replaced before is no place that is done. */
    update(world, ENDS("never", 3), "btwo");
    run(world, 2, 0);
    assert_int_equal(count(world, 2, true), 3);
    expect(world, "running", "ready");
    world_free(world);
}

static void
test_what_is_never_restarted_may_fail(void **state)
{
    struct world *world = world_new(ENDS("never", 1));

    (void)state;
    run(world, 2, 0);
    report(world, newest(world), "exited", "completed", false);
    run(world, 2, 0);
    expect(world, "running", "completed");
    /* A version that fails gives way to the one that did its work, which is not done again. */
    update(world, ENDS("never", 1), "btwo");
    step(world);
    report(world, newest(world), "exited", "failed", false);
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 2);
    expect(world, "running", "completed");
    assert_int_equal(events(world, "rolled-back"), 1);
    world_free(world);
    /* The first one has nothing to go back to. */
    world = world_new(ENDS("never", 1));
    step(world);
    report(world, newest(world), "exited", "failed", false);
    run(world, 2, 0);
    assert_int_equal(json_array_size(world->instances), 1);
    expect(world, "degraded", "ended");
    world_free(world);
}

/* Who ends with his node did not end by himself. */
static void
test_never_is_of_programs_not_of_nodes(void **state)
{
    struct world *world = world_new(ENDS("never", 1));
    const char *node;

    (void)state;
    run(world, 2, 0);
    node = syn_json_str(syn_document_spec(newest(world)), "node", "");
    put_node(world, (unsigned)(node[strlen("node-")] - '0'), "left");
    run(world, 3, 0);
    assert_int_equal(json_array_size(world->instances), 2);
    expect(world, "running", "ready");
    world_free(world);
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
        cmocka_unit_test(test_drains_before_it_stops),
        cmocka_unit_test(test_drains_for_a_limited_time),
        cmocka_unit_test(test_rolls_back_what_does_not_become_ready),
        cmocka_unit_test(test_rolls_back_what_crashes_early),
        cmocka_unit_test(test_a_first_version_that_crashes_is_tried_ever_less),
        cmocka_unit_test(test_what_served_calls_is_followed_soon),
        cmocka_unit_test(test_scales_both_ways),
        cmocka_unit_test(test_a_lost_node_is_replaced),
        cmocka_unit_test(test_plans_name_alternatives),
        cmocka_unit_test(test_waits_for_room_and_says_so),
        cmocka_unit_test(test_stops_and_is_billed_and_starts_again),
        cmocka_unit_test(test_money_is_topped_up_until_there_is_none),
        cmocka_unit_test(test_verbs_refuse_what_makes_no_sense),
        cmocka_unit_test(test_any_history_ends_in_what_is_wanted),
        cmocka_unit_test(test_scales_by_load),
        cmocka_unit_test(test_scaling_and_people),
        cmocka_unit_test(test_needs_networks),
        cmocka_unit_test(test_scales_by_what_is_scraped),
        cmocka_unit_test(test_scales_by_schedule),
        cmocka_unit_test(test_ahead_of_calls),
        cmocka_unit_test(test_what_ended_well_is_not_restarted),
        cmocka_unit_test(test_what_is_never_restarted_may_fail),
        cmocka_unit_test(test_never_is_of_programs_not_of_nodes),
        cmocka_unit_test(test_a_step_survives_without_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
