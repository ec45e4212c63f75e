/* The step in a small world: its effects are applied as the server would, until there are none. */
#include <synor/workload/function_control.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/orchestration/document.h>
#include <synor/workload/function_spec.h>

#define STEPS_MAX 20
#define T0        INT64_C(1700000000000)

struct world {
    json_t *function, *versions, *services;
    int64_t now_ms, spent, escrow, balance, billed;
    int bills;
    bool gone;
};

static json_t *
parse(const char *text)
{
    struct syn_err err;
    json_t *value;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static json_t *
spec_of(const char *runtime, const char *more)
{
    char text[256];
    struct syn_err err;
    json_t *spec;

    (void)snprintf(text, sizeof(text), "{\"runtime\":\"%s\",\"code\":\"synor://c\"%s}", runtime,
                   more);
    spec = parse(text);
    assert_done(syn_function_spec_check(spec, NULL, &err), &err);
    return spec;
}

static void
world_init(struct world *world, const char *runtime, const char *more)
{
    const struct syn_function_new made = {.id = "fn-abcdefghij",
                                          .name = "f",
                                          .account = "acct-a",
                                          .code_cid = "cid1",
                                          .layer_cid = "",
                                          .image_cid = "",
                                          .now_ms = T0};
    struct syn_err err;
    json_t *version;

    *world = (struct world){.now_ms = T0, .balance = 100 * SYN_SYNOR};
    assert_done(
        syn_function_make_take(&made, spec_of(runtime, more), &world->function, &version, &err),
        &err);
    world->versions = json_array();
    world->services = json_object();
    assert_int_equal(json_array_append_new(world->versions, version), 0);
}

static void
world_fini(struct world *world)
{
    json_decref(world->function);
    json_decref(world->versions);
    json_decref(world->services);
}

static json_t *
version(const struct world *world, int64_t number)
{
    json_t *found;
    size_t i;

    json_array_foreach (world->versions, i, found)
        if (syn_json_i64(found, "version", 0) == number)
            return found;
    return NULL;
}

static void
put_service(struct world *world, const char *id, const char *state, const char *reason, int ready)
{
    struct syn_err err;
    json_t *doc = NULL;

    assert_done(syn_json_pack(&doc, &err, "{s:s, s:s, s:{}, s:{s:s, s:s, s:s, s:n, s:{s:i, s:i}}}",
                              "id", id, "name", id, "spec", "status", "state", state, "reason",
                              reason, "message", "why", "bill", "replicas", "ready", ready, "live",
                              ready),
                &err);
    if (syn_str_eq(state, "stopped"))
        assert_done(syn_json_set_str(json_object_get(doc, "status"), "bill", "b", &err), &err);
    assert_int_equal(json_object_set_new(world->services, id, doc), 0);
}

static void
apply_pools(struct world *world, const struct syn_function_effects *effects)
{
    const json_t *row;
    size_t i;

    json_array_foreach (effects->create, i, row)
        put_service(world, syn_json_str(row, "service", ""), "deploying", "created", 0);
    json_array_foreach (effects->start, i, row)
        put_service(world, syn_json_str(row, "service", ""), "deploying", "created", 0);
    json_array_foreach (effects->stop, i, row)
        put_service(world, json_string_value(row), "stopped", "user", 0);
    json_array_foreach (effects->forget, i, row)
        assert_int_equal(json_object_del(world->services, json_string_value(row)), 0);
}

static void
apply(struct world *world, const struct syn_function_effects *effects)
{
    const json_t *row;
    size_t i, k;

    if (effects->function) {
        json_decref(world->function);
        world->function = json_incref(effects->function);
    }
    json_array_foreach (effects->versions, i, row)
        for (k = 0; k < json_array_size(world->versions); k++)
            if (syn_json_i64(json_array_get(world->versions, k), "version", 0) ==
                syn_json_i64(row, "version", -1))
                assert_int_equal(json_array_set_new(world->versions, k, json_deep_copy(row)), 0);
    json_array_foreach (effects->dropped, i, row)
        for (k = 0; k < json_array_size(world->versions); k++)
            if (syn_json_i64(json_array_get(world->versions, k), "version", 0) ==
                json_integer_value(row))
                assert_int_equal(json_array_remove(world->versions, k), 0);
    apply_pools(world, effects);
    if (effects->renew || effects->settle) {
        world->balance += world->escrow - SYN_MIN(world->spent, world->escrow);
        world->billed += SYN_MIN(world->spent, world->escrow);
        world->escrow = world->spent = 0;
        world->bills++;
    }
    world->escrow += effects->lock;
    world->balance -= effects->lock;
    assert_true(world->balance >= 0);
    world->gone = effects->settle;
}

/* Until there is nothing more to do. */
static void
settle_down(struct world *world)
{
    for (int i = 0; i < STEPS_MAX && !world->gone; i++) {
        const struct syn_function_view view = {.function = world->function,
                                               .versions = world->versions,
                                               .services = world->services,
                                               .spent = world->spent,
                                               .escrow = world->escrow,
                                               .balance = world->balance,
                                               .call_price = 5000,
                                               .now_ms = world->now_ms};
        struct syn_function_effects effects;
        struct syn_err err;
        bool none;

        assert_done(syn_function_step(&view, &effects, &err), &err);
        none = syn_function_effects_none(&effects);
        apply(world, &effects);
        syn_function_effects_fini(&effects);
        if (none)
            return;
    }
    if (!world->gone)
        fail_msg("it never comes to rest");
}

static void
expect_state(const struct world *world, const char *state, const char *reason)
{
    assert_string_equal(syn_document_state(world->function), state);
    assert_string_equal(syn_json_str(syn_document_status(world->function), "reason", ""), reason);
}

static int64_t
weight(const struct world *world, int64_t number)
{
    const json_t *row;
    size_t i;

    json_array_foreach (syn_json_at(world->function, "status.traffic"), i, row)
        if (syn_json_i64(row, "version", 0) == number)
            return syn_json_i64(row, "weight", 0);
    return 0;
}

static void
becomes(struct world *world, int64_t number, const char *state)
{
    struct syn_err err;

    assert_done(syn_json_set_str(version(world, number), "state", state, &err), &err);
    settle_down(world);
}

static void
update(struct world *world, const char *cid, int64_t percent)
{
    const struct syn_function_new change = {
        .code_cid = cid, .layer_cid = "", .image_cid = "", .weight = percent, .now_ms = T0};
    int64_t target = syn_json_i64(syn_document_status(world->function), "target", 0);
    struct syn_err err;
    json_t *made = NULL;

    assert_done(syn_function_update_take(world->function, version(world, target), &change,
                                         json_deep_copy(syn_document_spec(world->function)), &made,
                                         &err),
                &err);
    if (made)
        assert_int_equal(json_array_append_new(world->versions, made), 0);
    settle_down(world);
}

static void
test_a_module_is_ready_when_the_gateway_says_so(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, "wasm", "");
    settle_down(&world);
    expect_state(&world, "deploying", "created");
    assert_int_equal(json_object_size(world.services), 0);
    assert_true(world.escrow > 0);
    becomes(&world, 1, "ready");
    expect_state(&world, "active", "ready");
    assert_int_equal(weight(&world, 1), 100);
    update(&world, "cid1", 100); /* the same: no version */
    assert_int_equal(json_array_size(world.versions), 1);
    world_fini(&world);
}

static void
test_a_process_is_ready_with_its_first_replica(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, "python3", "");
    settle_down(&world);
    assert_non_null(json_object_get(world.services, "svc-abcdefghij01"));
    expect_state(&world, "deploying", "created");
    put_service(&world, "svc-abcdefghij01", "running", "ready", 1);
    settle_down(&world);
    expect_state(&world, "active", "ready");
    assert_int_equal(syn_json_i64(syn_document_status(world.function), "instances", -1), 1);
    put_service(&world, "svc-abcdefghij01", "running", "scaled-to-zero", 0);
    settle_down(&world);
    assert_int_equal(syn_json_i64(syn_document_status(world.function), "instances", -1), 0);
    expect_state(&world, "active", "ready");
    world_fini(&world);
}

static void
test_a_version_that_fails_changes_nothing(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, "python3", "");
    settle_down(&world);
    put_service(&world, "svc-abcdefghij01", "degraded", "crash-loop", 0);
    settle_down(&world);
    expect_state(&world, "failed", "version-failed");
    /* Its pool is put away: a failure costs nothing. */
    assert_string_equal(
        syn_json_str(syn_json_at(json_object_get(world.services, "svc-abcdefghij01"), "status"),
                     "state", ""),
        "stopped");
    update(&world, "cid2", 100);
    expect_state(&world, "deploying", "updating");
    put_service(&world, "svc-abcdefghij02", "running", "ready", 1);
    settle_down(&world);
    expect_state(&world, "active", "ready");
    update(&world, "cid3", 100);
    expect_state(&world, "active", "updating");
    put_service(&world, "svc-abcdefghij03", "degraded", "deploy-failed", 0);
    settle_down(&world);
    expect_state(&world, "active", "version-failed");
    assert_int_equal(weight(&world, 2), 100);
    world_fini(&world);
}

static void
test_a_canary_and_a_rollback(void **state)
{
    struct world world;
    struct syn_err err;
    SYN_JSON(half);
    SYN_JSON(short_of);

    (void)state;
    world_init(&world, "wasm", "");
    becomes(&world, 1, "ready");
    update(&world, "cid2", 10);
    becomes(&world, 2, "ready");
    assert_int_equal(weight(&world, 1), 90);
    assert_int_equal(weight(&world, 2), 10);
    expect_state(&world, "active", "parted");
    assert_done(syn_function_rollback(world.function, world.versions, 0, &err), &err);
    settle_down(&world);
    assert_int_equal(weight(&world, 1), 100);
    half = parse("[{\"version\":1,\"weight\":50},{\"version\":2,\"weight\":50}]");
    short_of = parse("[{\"version\":1,\"weight\":50}]");
    assert_int_equal(syn_function_traffic(world.function, world.versions, short_of, &err),
                     SYN_E_INVALID);
    assert_done(syn_function_traffic(world.function, world.versions, half, &err), &err);
    settle_down(&world);
    assert_int_equal(weight(&world, 2), 50);
    assert_done(syn_function_rollback(world.function, world.versions, 2, &err), &err);
    settle_down(&world);
    assert_int_equal(weight(&world, 2), 100);
    assert_done(syn_function_rollback(world.function, world.versions, 0, &err), &err);
    settle_down(&world);
    assert_int_equal(weight(&world, 1), 100);
    assert_int_equal(syn_function_rollback(world.function, world.versions, 1, &err),
                     SYN_E_CONFLICT);
    assert_int_equal(syn_function_rollback(world.function, world.versions, 9, &err),
                     SYN_E_NOTFOUND);
    world_fini(&world);
}

/* What was left does not come back with a change of something else. */
static void
test_a_rollback_takes_the_spec_back(void **state)
{
    const struct syn_function_new change = {
        .code_cid = "cid1", .layer_cid = "", .image_cid = "", .weight = 100, .now_ms = T0};
    struct world world;
    struct syn_err err;
    json_t *made = NULL, *spec;

    (void)state;
    world_init(&world, "wasm", "");
    becomes(&world, 1, "ready");
    spec = json_deep_copy(syn_document_spec(world.function));
    assert_int_equal(json_object_set_new(spec, "memory_bytes", json_integer(268435456)), 0);
    assert_int_equal(json_object_set_new(spec, "max_budget", json_string("7")), 0);
    assert_done(
        syn_function_update_take(world.function, version(&world, 1), &change, spec, &made, &err),
        &err);
    assert_non_null(made);
    assert_int_equal(json_array_append_new(world.versions, made), 0);
    settle_down(&world);
    becomes(&world, 2, "ready");
    assert_done(syn_function_rollback(world.function, world.versions, 0, &err), &err);
    settle_down(&world);
    assert_int_equal(syn_json_i64(syn_document_spec(world.function), "memory_bytes", 0), 134217728);
    assert_string_equal(syn_json_str(syn_document_spec(world.function), "max_budget", ""), "7");
    spec = json_deep_copy(syn_document_spec(world.function));
    assert_int_equal(json_object_set_new(spec, "max_budget", json_string("8")), 0);
    assert_done(
        syn_function_update_take(world.function, version(&world, 1), &change, spec, &made, &err),
        &err);
    assert_null(made);
    world_fini(&world);
}

static void
test_money_ends_and_comes_again(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, "wasm", "");
    world.balance = 3000;
    becomes(&world, 1, "ready");
    assert_int_equal(world.escrow, 3000);
    world.spent = 3000;
    settle_down(&world);
    expect_state(&world, "suspended", "funds");
    world.balance = 10 * SYN_SYNOR;
    settle_down(&world);
    expect_state(&world, "active", "ready");
    world.now_ms += INT64_C(24) * 3600 * 1000;
    settle_down(&world);
    assert_int_equal(world.bills, 1);
    assert_int_equal(world.billed, 3000);
    world_fini(&world);
}

static void
test_old_versions_go_and_so_do_their_pools(void **state)
{
    struct world world;
    char id[SYN_ID_MAX];

    (void)state;
    world_init(&world, "python3", "");
    settle_down(&world);
    for (int64_t i = 1; i <= SYN_FUNCTION_VERSIONS_MAX + 3; i++) {
        char cid[16];

        (void)snprintf(cid, sizeof(cid), "cid%lld", (long long)i + 1);
        syn_function_service_id(world.function, i, id);
        put_service(&world, id, "running", "ready", 1);
        settle_down(&world);
        assert_int_equal(weight(&world, i), 100);
        update(&world, cid, 100);
    }
    assert_int_equal(json_array_size(world.versions), SYN_FUNCTION_VERSIONS_MAX);
    assert_null(json_object_get(world.services, "svc-abcdefghij01"));
    world_fini(&world);
}

static void
test_deleting_puts_everything_away_and_bills(void **state)
{
    struct world world;
    struct syn_err err;

    (void)state;
    world_init(&world, "python3", "");
    settle_down(&world);
    put_service(&world, "svc-abcdefghij01", "running", "ready", 1);
    settle_down(&world);
    world.spent = 10;
    assert_done(syn_function_delete(world.function, &err), &err);
    settle_down(&world);
    assert_true(world.gone);
    assert_int_equal(json_object_size(world.services), 0);
    assert_int_equal(world.billed, 10);
    assert_int_equal(world.balance, 100 * SYN_SYNOR - 10);
    world_fini(&world);
}

static void
test_ids_of_pools(void **state)
{
    char function[SYN_ID_MAX];
    int64_t version;

    (void)state;
    assert_true(syn_function_of_service("svc-abcdefghij012", function, &version));
    assert_string_equal(function, "fn-abcdefghij");
    assert_int_equal(version, 12);
    assert_false(syn_function_of_service("svc-abcdefghij", function, &version));
    assert_false(syn_function_of_service("svc-abcdefghij0", function, &version));
    assert_false(syn_function_of_service("svc-abcdefghijk1", function, &version));
    assert_false(syn_function_of_service("train-abcdefghij01", function, &version));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_module_is_ready_when_the_gateway_says_so),
        cmocka_unit_test(test_a_process_is_ready_with_its_first_replica),
        cmocka_unit_test(test_a_version_that_fails_changes_nothing),
        cmocka_unit_test(test_a_canary_and_a_rollback),
        cmocka_unit_test(test_a_rollback_takes_the_spec_back),
        cmocka_unit_test(test_money_ends_and_comes_again),
        cmocka_unit_test(test_old_versions_go_and_so_do_their_pools),
        cmocka_unit_test(test_deleting_puts_everything_away_and_bills),
        cmocka_unit_test(test_ids_of_pools),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
