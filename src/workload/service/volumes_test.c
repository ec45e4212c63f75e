/* Services with volumes: where their replicas run, and that one that writes ends before another. */
#include "control_testing.h"

#define MOUNT(more) \
    "\"mounts\":[{\"path\":\"/data\",\"kind\":\"volume\",\"source\":\"data\"" more "}]"
#define ONE \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":1,\"cpu_millicores\":500," MOUNT("") "}"
#define THREE(more) \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":3,\"cpu_millicores\":500," MOUNT(more) "}"

static struct world *
world_with(const char *spec, const char *node, bool shared)
{
    struct world *world = world_new(spec);

    world->volumes = json_pack("{s:{s:s, s:s, s:I, s:b}}", "data", "id", "vol-1", "node", node,
                               "size_bytes", (json_int_t)1 << 30, "shared", shared ? 1 : 0);
    assert_non_null(world->volumes);
    return world;
}

static const char *
volume_node(const struct world *world)
{
    return syn_json_str(json_object_get(world->volumes, "data"), "node", "?");
}

static unsigned
living(const struct world *world)
{
    const json_t *doc;
    unsigned found = 0;
    size_t i;

    json_array_foreach (world->instances, i, doc)
        found += !ended(doc);
    return found;
}

/* All its replicas are where the volume is, and are told which that is. */
static void
assert_placed(const struct world *world)
{
    const json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        const json_t *spec = json_object_get(doc, "spec");
        const json_t *mount = json_array_get(json_object_get(spec, "mounts"), 0);

        assert_string_equal(syn_json_str(spec, "node", ""), volume_node(world));
        assert_string_equal(syn_json_str(mount, "volume", ""), "vol-1");
        assert_int_equal(syn_json_i64(mount, "size_bytes", 0), (int64_t)1 << 30);
    }
}

static void
test_one_writes_at_a_time(void **state)
{
    struct world *world = world_with(ONE, "", false);

    (void)state;
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_true(syn_str_starts(volume_node(world), "node-"));
    for (int round = 0; round < 3; round++) {
        update(world, ONE, round % 2 ? "bone" : "btwo");
        for (int i = 0; i < 6; i++) {
            world->now_ms += 1000;
            step(world);
            assert_true(living(world) <= 1);
            obey(world, 0);
        }
        expect(world, "running", "ready");
    }
    assert_int_equal(json_array_size(world->instances), 4);
    assert_placed(world);
    world_free(world);
}

static void
test_readers_are_beside_each_other(void **state)
{
    struct world *world = world_with(THREE(",\"read_only\":true"), "node-1", false);

    (void)state;
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_int_equal(living(world), 3);
    assert_placed(world);
    world_free(world);
}

static void
test_shared_ones_have_many(void **state)
{
    struct world *world = world_with(THREE(""), "", true);

    (void)state;
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_int_equal(living(world), 3);
    assert_placed(world);
    update(world, THREE(""), "btwo");
    for (int i = 0; i < 8; i++) {
        world->now_ms += 1000;
        step(world);
        assert_true(count(world, 1, true) + count(world, 2, true) >= 3);
        obey(world, 0);
    }
    expect(world, "running", "ready");
    world_free(world);
}

static const json_t *
why_of(const json_t *explained, const char *dimension)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(explained, "why"), i, row)
        if (syn_str_eq(syn_json_str(row, "dimension", ""), dimension))
            return row;
    fail_msg("nothing is said of %s: %s", dimension, json_dumps(explained, 0));
    return NULL;
}

static void
explain(const struct world *world, json_t **ret)
{
    const struct syn_service_explain_view view = {.service = world->service,
                                                  .versions = world->versions,
                                                  .instances = world->instances,
                                                  .cluster = world->cluster,
                                                  .volumes = world->volumes,
                                                  .now_ms = world->now_ms};
    struct syn_err err;

    assert_done(syn_service_explain(&view, ret, &err), &err);
}

/* Without its node there is nowhere to go; with it again, it goes on there. */
static void
test_stays_where_it_is(void **state)
{
    struct world *world = world_with(ONE, "node-2", false);
    SYN_JSON(said);

    (void)state;
    run(world, 2, 0);
    assert_placed(world);
    put_node(world, 2, "silent");
    world->now_ms += SYN_SERVICE_SILENT_MAX_MS;
    step(world);
    expect(world, "degraded", "no-room");
    assert_int_equal(living(world), 0);
    assert_non_null(strstr(syn_json_str(syn_document_status(world->service), "message", ""),
                           "its volume data is on node-2"));
    explain(world, &said);
    assert_string_equal(syn_json_str(why_of(said, "volume"), "node", ""), "node-2");
    assert_int_equal(json_array_size(json_object_get(said, "fix")), 0);
    put_node(world, 2, "ready");
    run(world, 2, 0);
    expect(world, "running", "ready");
    assert_int_equal(living(world), 1);
    assert_placed(world);
    world_free(world);
}

/* One that there is not, or that is elsewhere than another, keeps it from starting. */
static void
test_says_what_cannot_be(void **state)
{
    static const char two[] = "{\"image\":\"synor://img\",\"replicas\":1,\"mounts\":["
                              "{\"path\":\"/a\",\"kind\":\"volume\",\"source\":\"data\"},"
                              "{\"path\":\"/b\",\"kind\":\"volume\",\"source\":\"other\"}]}";
    struct world *world = world_with(two, "node-0", false);

    (void)state;
    run(world, 1, 0);
    assert_int_equal(living(world), 0);
    assert_non_null(strstr(syn_json_str(syn_document_status(world->service), "message", ""),
                           "there is no volume other"));
    assert_int_equal(
        json_object_set_new(world->volumes, "other",
                            json_pack("{s:s, s:s, s:I, s:b}", "id", "vol-2", "node", "node-1",
                                      "size_bytes", (json_int_t)1 << 30, "shared", 0)),
        0);
    run(world, 1, 0);
    assert_int_equal(living(world), 0);
    assert_non_null(strstr(syn_json_str(syn_document_status(world->service), "message", ""),
                           "are on different nodes"));
    world_free(world);
}

/* What is on no node yet needs room on the one that it gets. */
static void
test_a_fresh_one_needs_room(void **state)
{
    struct world *world = world_with(ONE, "", false);

    (void)state;
    assert_int_equal(json_object_set_new(json_object_get(world->volumes, "data"), "size_bytes",
                                         json_integer((json_int_t)1 << 40)),
                     0);
    run(world, 1, 0);
    expect(world, "degraded", "no-room");
    assert_string_equal(volume_node(world), "");
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_writes_at_a_time),
        cmocka_unit_test(test_readers_are_beside_each_other),
        cmocka_unit_test(test_shared_ones_have_many),
        cmocka_unit_test(test_stays_where_it_is),
        cmocka_unit_test(test_says_what_cannot_be),
        cmocka_unit_test(test_a_fresh_one_needs_room),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("service/volumes", tests, NULL, NULL);
}
