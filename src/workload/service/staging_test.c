/* Updates by canary and blue-green, through the controller's step. */
#include "control_testing.h"

#include "stage_priv.h"

#define SEEDS 5 /* of histories made at random */

#define STAGED(more)                                                                      \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":4,\"update_deadline_ms\":60000," \
    "\"cpu_millicores\":300,\"rollout\":{" more "}}"
#define CANARY     "\"strategy\":\"canary\",\"weight\":\"10%,50%\",\"pause_ms\":30000"
#define BY_HAND    ",\"promote\":\"manual\""
#define BLUE_GREEN "\"strategy\":\"blue-green\",\"keep_old_ms\":60000"

static const json_t *
rollout_of(const struct world *world)
{
    return syn_json_at(world->service, "status.rollout");
}

static void
expect_stage(const struct world *world, const char *stage, int64_t percent)
{
    assert_string_equal(syn_json_str(rollout_of(world), "stage", ""), stage);
    assert_int_equal(syn_json_i64(rollout_of(world), "percent", -1), percent);
}

/* How many replicas of the version take traffic (0: of any), and by which weight each. */
static unsigned
serving(const struct world *world, int64_t version, int64_t *ret_weight)
{
    const json_t *row;
    unsigned found = 0;
    size_t i;

    json_array_foreach (syn_json_at(world->service, "status.endpoints"), i, row) {
        if (!syn_json_bool(row, "ready", false) ||
            (version != 0 && syn_json_i64(row, "version", 0) != version))
            continue;
        found++;
        if (ret_weight)
            *ret_weight = syn_json_i64(row, "weight", 0);
    }
    return found;
}

static unsigned
standing_by(const struct world *world)
{
    const json_t *row;
    unsigned found = 0;
    size_t i;

    json_array_foreach (syn_json_at(world->service, "status.endpoints"), i, row)
        found += syn_str_eq(syn_json_str(row, "state", ""), "standby");
    return found;
}

static const json_t *
version_at(const struct world *world, const char *path)
{
    return syn_document_version(world->versions,
                                syn_json_i64(syn_json_at(world->service, "status"), path, 0));
}

/* A world that runs version 1, and is told to run another. */
static struct world *
updated(const char *text)
{
    struct world *world = world_new(text);

    run(world, 3, 0);
    expect(world, "running", "ready");
    update(world, text, "btwo");
    return world;
}

/* ---- canary ---- */

static void
test_a_canary_takes_over_part_by_part(void **state)
{
    struct world *world = updated(STAGED(CANARY));
    int64_t fresh = 0, old = 0;

    (void)state;
    step(world);
    expect_stage(world, "starting", 0);
    assert_int_equal(count(world, 1, true), 4); /* all of them stay */
    assert_int_equal(count(world, 2, false), 1);
    obey(world, 0);
    step(world);
    expect(world, "deploying", "testing");
    expect_stage(world, "testing", 10);
    assert_int_equal(serving(world, 2, &fresh), 1);
    assert_int_equal(serving(world, 1, &old), 4);
    assert_int_equal(4 * old, 9 * fresh); /* 10 : 90 */
    run(world, 29, 0);
    expect_stage(world, "testing", 10);
    run(world, 4, 0);
    expect_stage(world, "testing", 50);
    assert_int_equal(serving(world, 2, &fresh), 2);
    assert_int_equal(serving(world, 1, &old), 4);
    assert_int_equal(4 * old, 2 * fresh);
    run(world, 40, 0);
    expect(world, "running", "ready");
    assert_null(rollout_of(world));
    assert_int_equal(count(world, 0, true), 4);
    assert_int_equal(count(world, 2, true), 4);
    assert_int_equal(serving(world, 2, &fresh), 4);
    assert_int_equal(fresh, 0); /* nobody is weighed any more */
    assert_int_equal(events(world, "canary"), 2);
    assert_int_equal(events(world, "promoted"), 1);
    assert_int_equal(events(world, "deployed"), 2);
    world_free(world);
}

static void
test_a_canary_is_promoted_by_hand(void **state)
{
    struct world *world = updated(STAGED(CANARY BY_HAND));
    struct syn_err err;

    (void)state;
    assert_code(syn_service_promote(world->service, false, &err), SYN_E_CONFLICT, &err);
    step(world);
    assert_code(syn_service_promote(world->service, false, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "still starting"));
    obey(world, 0);
    run(world, 2, 0);
    world->now_ms += 500000; /* the deadline is no deadline for people */
    run(world, 3, 0);
    expect(world, "deploying", "waiting");
    expect_stage(world, "testing", 10);
    assert_done(syn_service_promote(world->service, false, &err), &err);
    run(world, 5, 0);
    expect_stage(world, "testing", 50);
    assert_done(syn_service_promote(world->service, true, &err), &err);
    run(world, 12, 0);
    expect(world, "running", "ready");
    assert_int_equal(count(world, 2, true), 4);
    assert_code(syn_service_promote(world->service, true, &err), SYN_E_CONFLICT, &err);
    assert_code(syn_service_abort(world->service, version_at(world, "stable"), &err),
                SYN_E_CONFLICT, &err);
    world_free(world);
}

static void
test_a_canary_is_aborted(void **state)
{
    struct world *world = updated(STAGED(CANARY BY_HAND));
    struct syn_err err;

    (void)state;
    run(world, 3, 0);
    assert_done(syn_service_abort(world->service, version_at(world, "stable"), &err), &err);
    step(world);
    assert_int_equal(serving(world, 1, NULL), 4);
    assert_int_equal(serving(world, 2, NULL), 0);
    run(world, 2, 0);
    expect(world, "running", "rolled-back");
    assert_null(rollout_of(world));
    assert_string_equal(syn_json_str(syn_document_status(world->service), "image_cid", ""), "bone");
    assert_int_equal(count(world, 0, false), 4);
    world_free(world);
}

static void
test_a_canary_that_fails_its_checks_goes(void **state)
{
    struct world *world = updated(STAGED(CANARY));
    json_t *doc;
    size_t i;

    (void)state;
    run(world, 20, 0); /* it was ready, and for longer than a failure at the start would be */
    expect_stage(world, "testing", 10);
    json_array_foreach (world->instances, i, doc)
        if (version_of(doc) == 2)
            report(world, doc, "exited", "unhealthy", false);
    step(world);
    assert_int_equal(events(world, "rolled-back"), 1);
    assert_null(rollout_of(world));
    run(world, 2, 0);
    expect(world, "running", "rolled-back");
    assert_int_equal(count(world, 1, true), 4);
    world_free(world);
}

static void
test_a_canary_that_never_gets_ready_goes(void **state)
{
    struct world *world = updated(STAGED(CANARY));

    (void)state;
    run(world, 59, 2);
    expect_stage(world, "starting", 0);
    assert_int_equal(serving(world, 1, NULL), 4);
    run(world, 4, 2);
    expect(world, "running", "rolled-back");
    world_free(world);
}

static void
test_a_canary_that_answers_with_errors_goes(void **state)
{
    struct syn_service_answers answers[SYN_SERVICE_SIDES] = {
        [SYN_SERVICE_NEW] = {100, 1}, [SYN_SERVICE_OLD] = {900, 9}};
    struct world *world = updated(STAGED(CANARY));

    (void)state;
    run(world, 3, 0);
    world->answers = answers;
    run(world, 3, 0);
    expect_stage(world, "testing", 10); /* no worse than the other */
    answers[SYN_SERVICE_NEW] = (struct syn_service_answers){120, 21};
    step(world);
    assert_int_equal(serving(world, 2, NULL), 0); /* at once */
    run(world, 2, 0);
    expect(world, "running", "rolled-back");
    assert_non_null(strstr(syn_json_str(syn_document_status(world->service), "rolled_back_why", ""),
                           "21 of 120 requests with errors"));
    world_free(world);
}

static void
test_a_canary_is_replaced_by_another(void **state)
{
    struct world *world = updated(STAGED(CANARY BY_HAND));

    (void)state;
    run(world, 3, 0);
    expect_stage(world, "testing", 10);
    update(world, STAGED(CANARY BY_HAND), "bthree");
    step(world);
    expect_stage(world, "starting", 0);
    assert_int_equal(syn_json_i64(rollout_of(world), "from", 0), 1);
    assert_int_equal(serving(world, 2, NULL), 0); /* nobody wants it any more */
    run(world, 3, 0);
    expect_stage(world, "testing", 10);
    assert_int_equal(serving(world, 3, NULL), 1);
    assert_int_equal(serving(world, 1, NULL), 4);
    assert_int_equal(count(world, 2, false), 0);
    /* In the middle of it people want it otherwise: replica by replica. */
    update(world, STAGED("\"strategy\":\"rolling\""), "bthree");
    run(world, 12, 0);
    expect(world, "running", "ready");
    assert_int_equal(count(world, 3, true), 4);
    world_free(world);
}

static void
test_both_versions_are_scaled_and_mended(void **state)
{
    struct world *world = updated(STAGED(CANARY BY_HAND));
    struct syn_err err;
    int64_t fresh, old;

    (void)state;
    run(world, 3, 0);
    assert_done(syn_json_set_i64(syn_document_spec(world->service), "replicas", 11, &err), &err);
    assert_done(syn_document_bump(world->service, &err), &err);
    run(world, 3, 0);
    assert_int_equal(count(world, 1, true), 11);
    assert_int_equal(count(world, 2, true), 2);
    serving(world, 2, &fresh);
    serving(world, 1, &old);
    assert_int_equal(11 * (int64_t)old, 18 * (int64_t)fresh);
    put_node(world, 1, "left"); /* what was there comes elsewhere, of both */
    run(world, 3, 0);
    expect_stage(world, "testing", 10);
    assert_int_equal(serving(world, 1, NULL), 11);
    assert_int_equal(serving(world, 2, NULL), 2);
    assert_done(syn_json_set_i64(syn_document_spec(world->service), "replicas", 2, &err), &err);
    assert_done(syn_document_bump(world->service, &err), &err);
    run(world, 3, 0);
    assert_int_equal(count(world, 1, false), 2);
    assert_int_equal(count(world, 2, false), 1);
    expect_stage(world, "testing", 10);
    world_free(world);
}

/* Load scales both versions, each by its part, and neither ends the trial. */
static void
test_a_trial_is_scaled_by_load(void **state)
{
    struct world *world =
        updated(STAGED(CANARY BY_HAND "},\"autoscale\":{\"min\":2,\"max\":8,\"every_ms\":1000,"
                                      "\"metrics\":[{\"metric\":\"requests\",\"target\":\"10\"}]"));
    struct syn_err err;
    int64_t fresh, old;

    (void)state;
    world->requests = 40000;
    run(world, 5, 0);
    expect_stage(world, "testing", 10);
    assert_int_equal(serving(world, 1, NULL), 4);
    assert_int_equal(serving(world, 2, NULL), 1);
    world->requests = 80000;
    run(world, 60, 0);
    expect_stage(world, "testing", 10);
    assert_int_equal(serving(world, 1, &old), 8);
    assert_int_equal(serving(world, 2, &fresh), 1);
    assert_int_equal(8 * old, 9 * fresh);
    world->requests = 20000;
    run(world, 400, 0);
    expect_stage(world, "testing", 10);
    assert_int_equal(count(world, 1, false), 2);
    assert_int_equal(count(world, 2, false), 1);
    assert_done(syn_service_promote(world->service, false, &err), &err);
    run(world, 5, 0);
    expect_stage(world, "testing", 50);
    world->requests = 60000; /* also while one takes over from the other */
    assert_done(syn_service_promote(world->service, true, &err), &err);
    run(world, 60, 0);
    expect(world, "running", "ready");
    assert_null(rollout_of(world));
    assert_int_equal(count(world, 0, false), 6);
    assert_int_equal(count(world, 2, true), 6);
    assert_int_equal(events(world, "rolled-back"), 0);
    world_free(world);
}

/* ---- blue-green ---- */

static void
test_blue_green_switches_and_keeps(void **state)
{
    struct world *world = updated(STAGED(BLUE_GREEN));
    const json_t *version = syn_document_version(world->versions, 1);
    struct syn_err err;

    (void)state;
    step(world);
    expect_stage(world, "starting", 0);
    assert_int_equal(count(world, 2, false), 4);
    assert_int_equal(serving(world, 1, NULL), 4);
    obey(world, 0);
    step(world);
    expect_stage(world, "kept", 100);
    expect(world, "running", "ready");
    assert_int_equal(serving(world, 2, NULL), 4); /* in one step all of them, and none of the old */
    assert_int_equal(serving(world, 1, NULL), 0);
    assert_int_equal(standing_by(world), 4);
    world->now_ms += 30000;
    step(world);
    assert_int_equal(standing_by(world), 4);
    assert_done(syn_service_rollback(world->service, version, world->now_ms, &err), &err);
    step(world);
    assert_int_equal(serving(world, 1, NULL), 4); /* an instant */
    assert_int_equal(serving(world, 2, NULL), 0);
    assert_int_equal(syn_json_i64(syn_document_status(world->service), "stable", 0), 1);
    run(world, 61, 0);
    assert_null(rollout_of(world));
    assert_int_equal(count(world, 0, false), 4);
    expect(world, "running", "ready");
    assert_int_equal(events(world, "switched"), 2);
    assert_int_equal(events(world, "let-go"), 1);
    world_free(world);
}

static void
test_blue_green_waits_for_a_hand(void **state)
{
    struct world *world = updated(STAGED(BLUE_GREEN BY_HAND));
    struct syn_err err;

    (void)state;
    run(world, 3, 0);
    world->now_ms += 300000;
    run(world, 3, 0);
    expect(world, "deploying", "waiting");
    assert_int_equal(serving(world, 1, NULL), 4);
    assert_int_equal(standing_by(world), 4);
    assert_done(syn_service_promote(world->service, false, &err), &err);
    step(world);
    assert_int_equal(serving(world, 2, NULL), 4);
    assert_done(syn_service_promote(world->service, false, &err), &err); /* we are sure */
    run(world, 3, 0);
    assert_null(rollout_of(world));
    assert_int_equal(count(world, 0, false), 4);
    world_free(world);
}

/* Without room it says so, the old ones serve, and in the end it is rolled back. */
static void
test_blue_green_without_room(void **state)
{
    struct world *world = world_new(
        "{\"image\":\"synor://img\",\"port\":80,\"replicas\":4,\"update_deadline_ms\":60000,"
        "\"cpu_millicores\":2000,\"rollout\":{" BLUE_GREEN "}}");

    (void)state;
    run(world, 3, 0);
    update(world,
           "{\"image\":\"synor://img\",\"port\":80,\"replicas\":4,\"update_deadline_ms\":"
           "60000,\"cpu_millicores\":2000,\"rollout\":{" BLUE_GREEN "}}",
           "btwo");
    run(world, 30, 0);
    expect(world, "degraded", "no-room");
    assert_int_equal(serving(world, 1, NULL), 4);
    assert_int_equal(count(world, 2, true), 2); /* of 4 */
    run(world, 40, 0);
    expect(world, "running", "rolled-back");
    assert_int_equal(count(world, 0, false), 4);
    world_free(world);
}

/* The new ones die after the switch: the old ones, which are there, serve until they are back. */
static void
test_what_is_kept_helps_out(void **state)
{
    struct world *world = updated(STAGED(BLUE_GREEN));
    json_t *doc;
    size_t i;

    (void)state;
    run(world, 3, 0);
    expect_stage(world, "kept", 100);
    json_array_foreach (world->instances, i, doc)
        if (version_of(doc) == 2)
            report(world, doc, "running", "running", false);
    step(world);
    assert_int_equal(serving(world, 1, NULL), 4);
    run(world, 1, 0);
    assert_int_equal(serving(world, 2, NULL), 4);
    assert_int_equal(serving(world, 1, NULL), 0);
    world_free(world);
}

static void
test_the_first_version_needs_no_trial(void **state)
{
    struct world *world = world_new(STAGED(CANARY));
    struct syn_err err;

    (void)state;
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_null(rollout_of(world));
    /* And one that comes while nothing runs does not, either. */
    assert_done(syn_service_request_stop(world->service, &err), &err);
    run(world, 3, 0);
    expect(world, "stopped", "user");
    update(world, STAGED(CANARY), "btwo");
    run(world, 3, 0);
    expect(world, "running", "ready");
    assert_null(rollout_of(world));
    assert_int_equal(count(world, 2, true), 4);
    world_free(world);
}

/* ---- any history ---- */

static uint32_t
below(uint64_t *random, uint32_t limit)
{
    return (uint32_t)(syn_test_random(random) % limit);
}

static const char *const specs[] = {
    STAGED(CANARY),     STAGED(CANARY BY_HAND),     STAGED("\"strategy\":\"rolling\""),
    STAGED(BLUE_GREEN), STAGED(BLUE_GREEN BY_HAND),
};

/* What people do: any of it may be refused. */
static void
somebody_acts(struct world *world, uint64_t *random)
{
    const json_t *other =
        json_array_get(world->versions, below(random, (uint32_t)json_array_size(world->versions)));
    char cid[24];
    struct syn_err err;

    switch (below(random, 8)) {
    case 0:
    case 1:
        (void)snprintf(cid, sizeof(cid), "b%u", below(random, 1000));
        update(world, specs[below(random, SYN_LEN(specs))], cid);
        break;
    case 2:
        assert_done(
            syn_json_set_i64(syn_document_spec(world->service), "replicas", below(random, 7), &err),
            &err);
        assert_done(syn_document_bump(world->service, &err), &err);
        break;
    case 3:
        (void)!syn_service_abort(world->service, version_at(world, "stable"), NULL);
        break;
    case 4:
        (void)!syn_service_rollback(world->service, other, world->now_ms, NULL);
        break;
    default:
        (void)!syn_service_promote(world->service, below(random, 3) == 0, NULL);
        break;
    }
}

/* What happens by itself. */
static void
something_happens(struct world *world, uint64_t *random)
{
    unsigned node = below(random, NODES);
    json_t *doc = json_array_get(world->instances,
                                 below(random, (uint32_t)json_array_size(world->instances) + 1));

    if (below(random, 6) == 0)
        somebody_acts(world, random);
    if (below(random, 40) == 0)
        put_node(world, node, "silent");
    if (below(random, 10) == 0)
        put_node(world, node, "ready");
    if (doc && !ended(doc) && below(random, 20) == 0)
        report(world, doc, "exited", "failed", false);
    else if (doc && !ended(doc) && below(random, 10) == 0)
        report(world, doc, "running", "running", false);
    else if (below(random, 2) == 0)
        obey(world, 0);
    world->now_ms += below(random, 4000);
}

/* Of those that took traffic before, how many still could? */
static unsigned
still_well(const struct world *world)
{
    const json_t *row, *doc;
    unsigned found = 0;
    size_t i, k;

    json_array_foreach (syn_json_at(world->service, "status.endpoints"), i, row) {
        json_array_foreach (world->instances, k, doc) {
            const struct syn_node_view *node =
                syn_cluster_find(world->cluster, syn_json_str(syn_document_spec(doc), "node", ""));

            found += syn_json_bool(row, "ready", false) && !ended(doc) && !asked(doc) &&
                     syn_str_eq(syn_document_id(doc), syn_json_str(row, "instance", "")) &&
                     syn_json_bool(syn_json_at(doc, "status.health"), "ready", false) && node &&
                     node->state == SYN_NODE_READY;
        }
    }
    return found;
}

/* Where a part is asked for, weights say it. */
static void
check_share(const struct world *world)
{
    int64_t percent = syn_json_i64(rollout_of(world), "percent", 0), fresh = 0, all = 0;
    int64_t version = syn_json_i64(rollout_of(world), "version", 0);
    bool both = serving(world, version, NULL) > 0 &&
                serving(world, version, NULL) < serving(world, 0, NULL);
    const json_t *row;
    size_t i;

    assert_true(percent == 0 || percent == 10 || percent == 50 || percent == 100);
    json_array_foreach (syn_json_at(world->service, "status.endpoints"), i, row) {
        int64_t weight = syn_json_i64(row, "weight", 0);

        assert_in_range(weight, 0, ROLLOUT_WEIGHT_MAX);
        all += weight;
        fresh += syn_json_i64(row, "version", 0) == version ? weight : 0;
    }
    if (percent > 0 && percent < 100 && both)
        assert_in_range(fresh * 1000, all * (percent * 10 - 5), all * (percent * 10 + 5));
    else
        assert_int_equal(all, 0);
}

static void
step_and_check(struct world *world)
{
    struct syn_service_spec spec;
    unsigned before = still_well(world), floor;

    syn_service_spec_read(syn_document_spec(world->service), &spec);
    step(world);
    floor = spec.replicas;
    if (serving(world, 0, NULL) < SYN_MIN(before, floor))
        fail_msg("%u take traffic; before %u of %u did: %s", serving(world, 0, NULL), before, floor,
                 json_dumps(world->service, JSON_INDENT(1)));
    if (rollout_of(world))
        check_share(world);
}

/* People leave it alone but for what it waits for. */
static void
come_to_rest(struct world *world)
{
    for (int i = 0; i < 6; i++) {
        for (unsigned node = 0; node < NODES; node++)
            put_node(world, node, "ready");
        run(world, 4, 0);
        (void)!syn_service_promote(world->service, true, NULL);
        world->now_ms += SYN_SERVICE_BACKOFF_MAX_MS;
    }
    for (unsigned node = 0; node < NODES; node++)
        put_node(world, node, "ready");
    run(world, 12, 0);
}

static void
test_any_history_keeps_its_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *world = world_new(specs[seed % SYN_LEN(specs)]);
        uint64_t random = seed * 991;

        for (int i = 0; i < 60; i++) {
            step_and_check(world);
            something_happens(world, &random);
        }
        come_to_rest(world);
        if (!syn_str_eq(syn_document_state(world->service), "running") || rollout_of(world))
            fail_msg("seed %llu: %s", (unsigned long long)seed,
                     json_dumps(syn_document_status(world->service), JSON_INDENT(1)));
        assert_int_equal(count(world, 0, true),
                         syn_json_i64(syn_document_spec(world->service), "replicas", -1));
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
test_a_stage_survives_without_memory(void **state)
{
    struct world *world = updated(STAGED(BLUE_GREEN));

    (void)state;
    run(world, 2, 0);
    expect_stage(world, "kept", 100);
    world->now_ms += 60000; /* the next step goes on to another stage */
    assert_true(syn_test_sweep_alloc(one_step, world) > 10);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_canary_takes_over_part_by_part),
        cmocka_unit_test(test_a_canary_is_promoted_by_hand),
        cmocka_unit_test(test_a_canary_is_aborted),
        cmocka_unit_test(test_a_canary_that_fails_its_checks_goes),
        cmocka_unit_test(test_a_canary_that_never_gets_ready_goes),
        cmocka_unit_test(test_a_canary_that_answers_with_errors_goes),
        cmocka_unit_test(test_a_canary_is_replaced_by_another),
        cmocka_unit_test(test_both_versions_are_scaled_and_mended),
        cmocka_unit_test(test_a_trial_is_scaled_by_load),
        cmocka_unit_test(test_blue_green_switches_and_keeps),
        cmocka_unit_test(test_blue_green_waits_for_a_hand),
        cmocka_unit_test(test_blue_green_without_room),
        cmocka_unit_test(test_what_is_kept_helps_out),
        cmocka_unit_test(test_the_first_version_needs_no_trial),
        cmocka_unit_test(test_any_history_keeps_its_promises),
        cmocka_unit_test(test_a_stage_survives_without_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
