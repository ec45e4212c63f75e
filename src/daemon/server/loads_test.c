#include "loads_priv.h"

#include <synor/base/test.h>
#include <synor/market/meter.h>
#include <synor/orchestration/autoscale.h>

#define NOW INT64_C(1800000000000)

static struct srv_loads *loads;

static int
setup(void **state)
{
    struct syn_err err;

    (void)state;
    assert_done(srv_loads_new(&loads, &err), &err);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    loads = srv_loads_free(loads);
    return 0;
}

/* One second of an instance that used so much. */
static void
report(const char *instance, int64_t at_ms, int64_t cpu_ms, int64_t memory)
{
    struct syn_sample sample = {
        .from_ms = at_ms - 1000,
        .to_ms = at_ms,
        .egress_bytes = 125,
        .used = {.cpu_ms = cpu_ms, .memory_peak_bytes = memory},
    };
    struct syn_report one = {.samples = &sample, .count = 1};

    (void)snprintf(one.instance, sizeof(one.instance), "%s", instance);
    srv_loads_report(loads, &one, at_ms);
}

static int64_t
total(const char *metric, int64_t now_ms)
{
    struct srv_loads_view view;

    srv_loads_look(loads, "svc-a", now_ms, &view);
    return view.sight.total(view.sight.self, metric);
}

static void
test_what_replicas_use(void **state)
{
    struct syn_service_load load;
    struct srv_load_seen seen;
    struct srv_loads_view view;

    (void)state;
    srv_loads_look(loads, "svc-a", NOW, &view);
    assert_false(view.sight.of(view.sight.self, "inst-a", &load));
    for (int i = 0; i < 20; i++)
        report("inst-a", NOW + i * INT64_C(1000), i < 15 ? 900 : 100, 1000 - i);
    report("inst-b", NOW, 7, 7);
    assert_true(view.sight.of(view.sight.self, "inst-a", &load));
    assert_int_equal(load.cpu_millicores, 100); /* of the last five seconds */
    assert_int_equal(load.memory_bytes, 981);
    assert_int_equal(load.at_ms, NOW + 19000);
    /* For people the same, and what was sent, until it is old. */
    assert_true(srv_loads_seen(loads, "inst-a", NOW + 49000, &seen));
    assert_int_equal(seen.load.memory_bytes, 981);
    assert_int_equal(seen.sent_bps, 1000);
    assert_false(srv_loads_seen(loads, "inst-a", NOW + 49001, &seen));
    srv_loads_scraped(loads, "inst-c", "custom:a", 1, "", NOW);
    assert_false(srv_loads_seen(loads, "inst-c", NOW, &seen)); /* read, but not metered yet */
    assert_false(view.sight.of(view.sight.self, "inst-c", &load));
    srv_loads_forget(loads, "inst-a");
    assert_false(view.sight.of(view.sight.self, "inst-a", &load));
    assert_true(view.sight.of(view.sight.self, "inst-b", &load));
}

static void
test_what_is_told(void **state)
{
    struct srv_loads_view view;
    struct syn_err err;

    (void)state;
    assert_int_equal(total("queue", NOW), SYN_AUTOSCALE_UNKNOWN);
    assert_done(srv_loads_tell(loads, "svc-a", "queue", 5000, NOW, &err), &err);
    assert_done(srv_loads_tell(loads, "svc-a", "queue", 7000, NOW + 1000, &err), &err);
    assert_int_equal(total("queue", NOW + 31000), 7000);
    assert_int_equal(total("queue", NOW + 31001), SYN_AUTOSCALE_UNKNOWN);
    /* Sixteen at once, and room again when they count no more. */
    for (int i = 0; i < 16; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "custom:n%d", i);
        assert_done(srv_loads_tell(loads, "svc-a", name, i, NOW + 40000, &err), &err);
    }
    assert_int_equal(total("custom:n15", NOW + 40000), 15);
    assert_code(srv_loads_tell(loads, "svc-a", "queue", 1, NOW + 40000, &err), SYN_E_LIMIT, &err);
    assert_done(srv_loads_tell(loads, "svc-a", "queue", 1, NOW + 80000, &err), &err);
    assert_done(srv_loads_tell(loads, "svc-a", "held", 3000, NOW + 80000, &err), &err);
    srv_loads_look(loads, "svc-a", NOW + 80000, &view);
    assert_int_equal(view.sight.held, 3);
    assert_done(srv_loads_tell(loads, "svc-a", SRV_LOADS_MESH_HELD, 2000, NOW + 90000, &err), &err);
    srv_loads_look(loads, "svc-a", NOW + 90000, &view);
    assert_int_equal(view.sight.held, 5);
    srv_loads_look(loads, "svc-a", NOW + 115000, &view);
    assert_int_equal(view.sight.held, 2);
    srv_loads_forget_service(loads, "svc-a");
    assert_int_equal(total("queue", NOW + 80000), SYN_AUTOSCALE_UNKNOWN);
}

static int64_t
scraped(const char *instance, const char *metric, int64_t now_ms)
{
    struct srv_loads_view view;

    srv_loads_look(loads, "svc-a", now_ms, &view);
    return view.sight.scraped(view.sight.self, instance, metric);
}

static void
test_what_is_scraped(void **state)
{
    SYN_JSON(service);
    SYN_JSON(answer);
    struct syn_err err;
    char name[16];

    (void)state;
    assert_int_equal(scraped("inst-a", "custom:a", NOW), SYN_AUTOSCALE_UNKNOWN);
    srv_loads_scraped(loads, "inst-a", "custom:a", 5000, "", NOW);
    srv_loads_scraped(loads, "inst-b", "custom:a", 7000, "", NOW);
    srv_loads_scraped(loads, "inst-b", "custom:b", SYN_AUTOSCALE_UNKNOWN, "it answers 404", NOW);
    assert_int_equal(scraped("inst-a", "custom:a", NOW + 30000), 5000);
    assert_int_equal(scraped("inst-a", "custom:a", NOW + 30001), SYN_AUTOSCALE_UNKNOWN);
    assert_int_equal(scraped("inst-b", "custom:a", NOW), 7000);
    assert_int_equal(scraped("inst-b", "custom:b", NOW), SYN_AUTOSCALE_UNKNOWN);
    assert_done(syn_json_pack(&service, &err, "{s:{s:{}}, s:{s:[{s:s}, {s:s}]}}", "spec",
                              "autoscale", "status", "endpoints", "instance", "inst-a", "instance",
                              "inst-b"),
                &err);
    assert_done(syn_json_pack(&answer, &err, "{s:[]}", "why"), &err);
    assert_done(srv_loads_explain(loads, service, NOW + 30001, answer, &err), &err);
    assert_int_equal(json_array_size(json_object_get(answer, "why")), 0); /* long ago */
    assert_done(srv_loads_explain(loads, service, NOW, answer, &err), &err);
    assert_int_equal(json_array_size(json_object_get(answer, "why")), 1);
    assert_string_equal(
        syn_json_str(json_array_get(json_object_get(answer, "why"), 0), "message", ""),
        "custom:b of inst-b is not known: it answers 404");
    /* Eight at once; one more is not kept until the others are old. */
    for (int i = 0; i <= SYN_AUTOSCALE_METRICS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "custom:n%d", i);
        srv_loads_scraped(loads, "inst-c", name, i, "", NOW);
        assert_int_equal(scraped("inst-c", name, NOW),
                         i < SYN_AUTOSCALE_METRICS_MAX ? i : SYN_AUTOSCALE_UNKNOWN);
    }
    srv_loads_scraped(loads, "inst-c", name, 9, "", NOW + 31000);
    assert_int_equal(scraped("inst-c", name, NOW + 31000), 9);
    srv_loads_forget(loads, "inst-a");
    assert_int_equal(scraped("inst-a", "custom:a", NOW), SYN_AUTOSCALE_UNKNOWN);
}

static void
test_what_the_balancer_counts(void **state)
{
    (void)state;
    srv_loads_count(loads, "svc-a", 1000, 3, NOW);
    assert_int_equal(total("inflight", NOW), 3000);
    assert_int_equal(total("requests", NOW), SYN_AUTOSCALE_UNKNOWN);
    for (int i = 1; i <= 20; i++) /* ten a second, then fifty */
        srv_loads_count(loads, "svc-a", 1000 + (uint64_t)(i <= 10 ? i * 10 : 100 + (i - 10) * 50),
                        0, NOW + i * INT64_C(1000));
    assert_int_equal(total("requests", NOW + 20000), 50000);
    /* Its counter begins again: nothing is known until two looks later. */
    srv_loads_count(loads, "svc-a", 5, 0, NOW + 60000);
    assert_int_equal(total("requests", NOW + 60000), SYN_AUTOSCALE_UNKNOWN);
    srv_loads_count(loads, "svc-a", 25, 0, NOW + 62000);
    assert_int_equal(total("requests", NOW + 62000), 10000);
}

static void
test_zones(void **state)
{
    struct syn_zone_source zones = srv_loads_zones(loads);
    const struct syn_zone *berlin;

    (void)state;
    assert_ptr_equal(zones.find(zones.self, "UTC"), syn_zone_utc());
    assert_null(zones.find(zones.self, "../zoneinfo/Europe/Berlin"));
    assert_null(zones.find(zones.self, "Europe"));
    assert_null(zones.find(zones.self, "No/Where"));
    berlin = zones.find(zones.self, "Europe/Berlin");
    if (berlin == NULL) {
        print_message("# no Europe/Berlin here: package tzdata\n");
        skip();
    }
    assert_ptr_equal(zones.find(zones.self, "Europe/Berlin"), berlin);
    assert_int_equal(syn_zone_at(berlin, 1784000000).offset_s, 7200);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_replicas_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_scraped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_balancer_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zones, setup, teardown),
    };

    return cmocka_run_group_tests_name("loads", tests, NULL, NULL);
}
