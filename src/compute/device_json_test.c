#include <synor/base/test.h>

#include <string.h>

#include <synor/base/str.h>
#include <synor/device_bench.h>
#include <synor/device_json.h>

static struct syn_registry *registry;

static int
open_registry(void **state)
{
    const struct syn_registry_options options = {.drivers = "cpu", .modelled = "h100-sxm,tpu-v4"};
    struct syn_err err = {0};

    (void)state;
    syn_json_init();
    return syn_registry_open(&options, &registry, &err);
}

static int
close_registry(void **state)
{
    (void)state;
    registry = syn_registry_close(registry);
    return 0;
}

static void
test_registry_document(void **state)
{
    SYN_JSON(doc);
    struct syn_err err = {0};
    const json_t *device = NULL, *link = NULL;

    (void)state;
    assert_done(syn_registry_json(registry, &doc, &err), &err);
    assert_int_equal(json_array_size(json_object_get(doc, "devices")), 3);
    assert_int_equal(json_array_size(json_object_get(doc, "nodes")), 3);
    assert_int_equal(json_array_size(json_object_get(doc, "links")), 6);
    device = json_array_get(json_object_get(doc, "devices"), 1);
    assert_string_equal(syn_json_str(device, "id", ""), "modelled0");
    assert_true(syn_json_bool(device, "modelled", false));
    assert_int_equal(syn_json_i64(device, "memory_bytes", 0), 80000000000);
    assert_null(json_object_get(device, "pci")); /* unknown is left out */
    assert_null(json_object_get(device, "numa_node"));
    device = json_array_get(json_object_get(doc, "devices"), 0);
    assert_false(syn_json_bool(device, "modelled", true));
    assert_string_equal(syn_json_str(device, "kind", ""), "cpu");
    link = json_array_get(json_object_get(doc, "links"), 0);
    assert_string_equal(syn_json_str(link, "source", ""), "rated");
}

static void
test_device_document(void **state)
{
    SYN_JSON(doc);
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_device_json(registry, 1, true, &doc, &err), &err);
    assert_string_equal(syn_json_str(doc, "state", ""), "ok");
    assert_string_equal(syn_json_str(doc, "power_source", ""), "modelled");
}

static void
test_profile_document(void **state)
{
    SYN_JSON(doc);
    const struct syn_profile *profile = syn_profiles_find(syn_profiles_builtin(), "h100-sxm");
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_profile_json(profile, &doc, &err), &err);
    assert_null(json_object_get(doc, "idle_mw"));
    assert_int_equal(syn_json_i64(json_object_get(doc, "estimates_use"), "idle_mw", 0), 140000);
    assert_int_equal(syn_json_i64(json_object_get(doc, "rates_m"), "fp8e4m3", 0), 1978900000);
    assert_int_equal(json_array_size(json_object_get(doc, "sources")), 3);
}

static int
document_scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(doc);
    SYN_JSON(topology);
    SYN_JSON(profile);
    int rc = syn_registry_json(registry, &doc, err);

    (void)arg;
    rc = rc < 0 ? rc : syn_topology_json(syn_registry_topology(registry), &topology, err);
    return rc < 0 ? rc
                  : syn_profile_json(syn_profiles_at(syn_profiles_builtin(), 0), &profile, err);
}

static void
test_short_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(document_scenario, NULL) > 50);
}

/* The host's cores, measured: every figure is there and believable by orders of magnitude. */
static void
test_bench(void **state)
{
    struct syn_bench_figure figures[SYN_BENCH_ITEMS];
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_device_bench(registry, 0, figures, &err), &err);
    for (unsigned i = 0; i < SYN_BENCH_ITEMS; i++) {
        bool less_is_better = syn_str_eq(syn_bench_unit((enum syn_bench_item)i), "ns");

        assert_true(figures[i].measured);
        assert_true(figures[i].value > 0 && figures[i].rounds >= 3);
        if (less_is_better)
            assert_true(figures[i].best <= figures[i].value);
        else
            assert_true(figures[i].best >= figures[i].value);
    }
    assert_in_range(figures[SYN_BENCH_LAUNCH].value, 100, 1000000000);
    assert_in_range(figures[SYN_BENCH_MEMORY].value, 10, 100000000);
    assert_in_range(figures[SYN_BENCH_FP32].value, 10, 1000000000);
    assert_code(syn_device_bench(registry, 1, figures, &err), SYN_E_UNSUPPORTED, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry_document),
        cmocka_unit_test(test_device_document),
        cmocka_unit_test(test_profile_document),
        cmocka_unit_test(test_short_memory),
        cmocka_unit_test(test_bench),
    };

    return cmocka_run_group_tests(tests, open_registry, close_registry);
}
