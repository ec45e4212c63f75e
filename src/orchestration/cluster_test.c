#include <synor/orchestration/cluster.h>

#include <synor/base/test.h>
#include <synor/orchestration/document.h>

static json_t *
node_doc(const char *id, const char *state, int cpus)
{
    return json_pack(
        "{s:s, s:{s:s, s:b}, s:{s:s, s:{s:i, s:i, s:i, s:[{s:s, s:i, s:i}]}, s:[{s:s, s:s},"
        " {s:s, s:s}], s:s, s:s}}",
        "id", id, "spec", "region", "eu", "unschedulable", 0, "status", "state", state, "capacity",
        "cpu_millicores", cpus, "memory_bytes", 4096, "scratch_bytes", 8192, "gpus", "model",
        "a100", "count", 4, "vram_bytes", 100, "sandboxes", "name", "gvisor", "state", "ready",
        "name", "runc", "state", "missing", "default_isolation", "runc", "last_seen_at",
        "2026-11-23T10:00:00.000Z");
}

static json_t *
instance_doc(const char *id, const char *node, const char *state)
{
    return json_pack("{s:s, s:{s:s, s:{s:i, s:i, s:i, s:i, s:s}}, s:{s:s}}", "id", id, "spec",
                     "node", node, "resources", "cpu_millicores", 500, "memory_bytes", 1024,
                     "scratch_bytes", 10, "gpus", 2, "gpu_model", "a100", "status", "state", state);
}

static void
put_node(struct syn_cluster *cluster, const char *id, const char *state, int cpus)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = node_doc(id, state, cpus);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
}

static void
put_instance(struct syn_cluster *cluster, const char *id, const char *node, const char *state)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = instance_doc(id, node, state);
    assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
}

static void
test_node_view(void **state)
{
    struct syn_node_view view;
    struct syn_err err;
    SYN_JSON(doc);

    (void)state;
    doc = node_doc("node-1", "silent", 2000);
    assert_done(syn_node_view_read(doc, &view, &err), &err);
    assert_int_equal(view.state, SYN_NODE_SILENT);
    assert_int_equal(view.capacity.cpu_millicores, 2000);
    assert_int_equal(view.gpus_count, 1);
    assert_int_equal(view.gpus[0].count, 4);
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_AUTO, false), SYN_ISOLATION_GVISOR);
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_RUNC, false), SYN_ISOLATION_AUTO);
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_AUTO, true), SYN_ISOLATION_GVISOR);
    view.sandboxes = SYN_BIT(SYN_ISOLATION_GVISOR) | SYN_BIT(SYN_ISOLATION_RUNC);
    view.gpu_sandboxes = SYN_BIT(SYN_ISOLATION_RUNC); /* an old gVisor */
    view.default_isolation = SYN_ISOLATION_GVISOR;
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_AUTO, false), SYN_ISOLATION_GVISOR);
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_AUTO, true), SYN_ISOLATION_RUNC);
    assert_int_equal(syn_node_view_sandbox(&view, SYN_ISOLATION_GVISOR, true), SYN_ISOLATION_AUTO);
    assert_false(syn_node_view_open(&view));
    assert_int_equal(syn_node_view_silent_ms(&view, 0, view.last_seen_ms + 5), 5);
    assert_int_equal(syn_node_view_silent_ms(&view, view.last_seen_ms + 3, view.last_seen_ms + 5),
                     2);
    view.state = SYN_NODE_READY;
    assert_true(syn_node_view_open(&view));
    assert_int_equal(syn_node_view_silent_ms(&view, 0, view.last_seen_ms + 5), 0);
}

static void
test_bad_nodes_are_refused(void **state)
{
    struct syn_node_view view;
    struct syn_err err;
    SYN_JSON(doc);

    (void)state;
    doc = node_doc("node-1", "tired", 2000);
    assert_code(syn_node_view_read(doc, &view, &err), SYN_E_INVALID, &err);
    json_decref(doc);
    doc = node_doc("node-1", "ready", -1);
    assert_code(syn_node_view_read(doc, &view, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "cpu_millicores"));
    json_decref(doc);
    doc = json_object();
    assert_code(syn_node_view_read(doc, &view, &err), SYN_E_INVALID, &err);
}

static void
test_holdings_follow_documents(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    const struct syn_node_view *node;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    put_instance(cluster, "inst-early", "node-2", "running");
    put_node(cluster, "node-2", "ready", 2000);
    put_node(cluster, "node-1", "ready", 2000);
    put_node(cluster, "node-3", "left", 2000);
    assert_int_equal(syn_cluster_count(cluster), 3);
    assert_string_equal(syn_cluster_at(cluster, 0)->id, "node-1");
    assert_string_equal(syn_cluster_at(cluster, 2)->id, "node-3");
    node = syn_cluster_find(cluster, "node-2");
    assert_int_equal(node->used.cpu_millicores, 500);
    assert_int_equal(node->gpus[0].used, 2);
    put_instance(cluster, "inst-b", "node-2", "assigned");
    put_instance(cluster, "inst-b", "node-2", "running");
    assert_int_equal(node->used.memory_bytes, 2048);
    put_instance(cluster, "inst-b", "node-1", "running");
    assert_int_equal(node->used.memory_bytes, 1024);
    assert_int_equal(syn_cluster_find(cluster, "node-1")->used.memory_bytes, 1024);
    put_node(cluster, "node-2", "silent", 3000);
    assert_int_equal(node->used.cpu_millicores, 500);
    assert_int_equal(node->capacity.cpu_millicores, 3000);
    put_instance(cluster, "inst-early", "node-2", "exited");
    assert_int_equal(node->used.cpu_millicores, 0);
    assert_int_equal(node->gpus[0].used, 0);
    assert_false(syn_cluster_remove_instance(cluster, "inst-early"));
    assert_true(syn_cluster_remove_instance(cluster, "inst-b"));
    assert_int_equal(syn_cluster_find(cluster, "node-1")->used.memory_bytes, 0);
    assert_true(syn_cluster_remove_node(cluster, "node-1"));
    assert_false(syn_cluster_remove_node(cluster, "node-1"));
    assert_int_equal(syn_cluster_count(cluster), 2);
    assert_null(syn_cluster_find(cluster, "node-1"));
}

static json_t *
priced_doc(int floor_percent)
{
    json_t *doc = node_doc("node-1", "ready", 2000);
    json_t *offer =
        json_pack("{s:s, s:s, s:{s:s}, s:i}", "cpu_core_hour", "0.02", "memory_gib_hour", "0.01",
                  "gpu_hour", "a100", "2", "spot_floor_percent", floor_percent);
    json_t *devices = json_pack("[{s:s, s:s}, {s:s, s:s}]", "kind", "gpu", "profile", "a100",
                                "kind", "cpu", "profile", "cpu-x86-avx2");

    assert_int_equal(json_object_set_new(json_object_get(doc, "spec"), "offer", offer), 0);
    assert_int_equal(json_object_set_new(json_object_get(doc, "status"), "devices", devices), 0);
    return doc;
}

/* Spot work pays what the market asks, between the provider's floor and what everybody pays. */
static void
test_spot_prices(void **state)
{
    static const struct {
        int64_t market; /* < 0: it has no price */
        int64_t cores, cards;
    } rows[] = {{-1, 5000000, 500000000},
                {1, 5000000, 500000000},
                {7000000, 7000000, 500000000},
                {900000000, 20000000, 900000000},
                {INT64_C(9000000000), 20000000, INT64_C(2000000000)}};
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    const struct syn_node_view *node;
    char good[SYN_GOOD_MAX];
    struct syn_err err;
    bool changed;
    SYN_JSON(doc);

    (void)state;
    doc = priced_doc(25);
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
    node = syn_cluster_find(cluster, "node-1");
    assert_true(syn_node_view_good(node, NULL, good));
    assert_string_equal(good, "cpu/x86-avx2/eu");
    assert_true(syn_node_view_good(node, "a100", good));
    assert_string_equal(good, "gpu/a100/eu");
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_done(
            syn_cluster_set_spot(cluster, "cpu/x86-avx2/eu", rows[i].market, &changed, &err), &err);
        assert_int_equal(changed, i > 0);
        assert_done(syn_cluster_set_spot(cluster, good, rows[i].market, &changed, &err), &err);
        assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
        assert_int_equal(node->spot.cpu_core, rows[i].cores);
        assert_int_equal(node->spot.memory_gib, 10000000);
        assert_int_equal(node->gpus[0].spot_hour, rows[i].cards);
        assert_int_equal(node->prices.cpu_core, 20000000);
        assert_int_equal(node->gpus[0].price_hour, INT64_C(2000000000));
    }
    assert_done(syn_cluster_set_spot(cluster, good, -1, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(node->gpus[0].spot_hour, 500000000);
    json_decref(doc);
    doc = priced_doc(100); /* a provider that lets nothing go below its price */
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
    assert_int_equal(node->spot.cpu_core, 20000000);
    json_decref(doc);
    doc = priced_doc(101);
    assert_code(syn_cluster_put_node(cluster, doc, &err), SYN_E_INVALID, &err);
}

struct docs {
    json_t *node;
    json_t *instance;
};

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    const struct docs *docs = arg;
    int rc = syn_cluster_new(0, &cluster, err);

    if (rc == SYN_OK)
        rc = syn_cluster_put_instance(cluster, docs->instance, err);
    if (rc == SYN_OK)
        rc = syn_cluster_put_node(cluster, docs->node, err);
    return rc;
}

static void
test_shortage_of_memory(void **state)
{
    struct docs docs = {node_doc("node-1", "ready", 1),
                        instance_doc("inst-1", "node-1", "running")};

    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, &docs) > 3);
    json_decref(docs.node);
    json_decref(docs.instance);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_view),
        cmocka_unit_test(test_bad_nodes_are_refused),
        cmocka_unit_test(test_holdings_follow_documents),
        cmocka_unit_test(test_spot_prices),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
