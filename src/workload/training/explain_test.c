#include "world_test_priv.h"

#include <synor/base/str.h>
#include <synor/market/pricebook.h>
#include <synor/workload/training_explain.h>
#include <synor/workload/training_plan.h>
#include <synor/workload/training_spec.h>

#define BIG                                                                                 \
    "{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\",\"gpus\":8," \
    "\"gpu_model\":\"h100\"}"

static const struct syn_training_tenant tenant = {"acct-1", NULL, NULL};

static struct syn_training_explain_view
view_of(const struct world *world)
{
    return (struct syn_training_explain_view){.job = world->job,
                                              .instances = world->instances,
                                              .cluster = world->cluster,
                                              .now_ms = world->now_ms};
}

static bool
list_says(const json_t *list, const char *text)
{
    const json_t *row;
    size_t i;

    json_array_foreach (list, i, row) {
        const char *said =
            json_is_string(row) ? json_string_value(row) : syn_json_str(row, "message", "");

        if (strstr(said, text))
            return true;
    }
    return false;
}

/* The explanation must be whole, and say these things. */
static void
check_explain(const struct syn_training_explain_view *view, const char *why, const char *fix)
{
    const json_t *row;
    struct syn_err err;
    size_t i;
    SYN_JSON(answer);

    assert_done(syn_training_explain(view, &answer, &err), &err);
    assert_string_equal(syn_json_str(answer, "id", ""), syn_document_id(view->job));
    assert_string_equal(syn_json_str(answer, "state", ""), syn_document_state(view->job));
    assert_true(json_array_size(json_object_get(answer, "why")) > 0);
    json_array_foreach (json_object_get(answer, "why"), i, row) {
        assert_true(syn_json_str(row, "dimension", "")[0]);
        assert_true(syn_json_str(row, "message", "")[0]);
        assert_true(json_object_get(row, "node") && json_object_get(row, "need") &&
                    json_object_get(row, "have"));
    }
    if (!list_says(json_object_get(answer, "why"), why))
        fail_msg("why does not say \"%s\": %s", why, json_dumps(json_object_get(answer, "why"), 0));
    if (fix && !list_says(json_object_get(answer, "fix"), fix))
        fail_msg("fix does not say \"%s\": %s", fix, json_dumps(json_object_get(answer, "fix"), 0));
}

static void
test_pending_names_what_each_node_lacks(void **state)
{
    struct world *world = world_new(BIG);
    struct syn_training_explain_view view;

    (void)state;
    world_step(world);
    world_expect(world, "pending", "no-gpu");
    view = view_of(world);
    for (unsigned i = 0; i < WORLD_NODES; i++) {
        char want[64];

        (void)snprintf(want, sizeof(want), "node-%u: 8 x h100 needed; it has no GPU", i);
        check_explain(&view, want, "--gpus 0");
    }
    check_explain(&view, "3 of 3 nodes lack the GPUs", "join a node with");
    world_free(world);
}

static void
test_from_start_to_success(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);
    struct syn_training_explain_view view;
    struct syn_err err;

    (void)state;
    view = view_of(world);
    check_explain(&view, "not been placed yet", "starts within seconds");
    world_step(world);
    view = view_of(world);
    check_explain(&view, "rank 0 on node-", NULL);
    world_report_all(world, "running", "running", -1);
    world_step(world);
    view = view_of(world);
    check_explain(&view, "10 SYNOR are left", NULL);
    world->progress =
        json_pack("{s:i, s:i, s:I}", "step", 5, "steps_total", 10, "eta_ms", INT64_C(1) << 60);
    (void)syn_str_copy(world->progress_instance, SYN_ID_MAX, "inst-abc-1-1-0");
    world_step(world);
    view = view_of(world);
    check_explain(&view, "SYNOR are left", "resume train-abc --max-budget");
    assert_done(syn_json_set_take(syn_document_status(world->job), "result",
                                  json_pack("{s:s}", "cid", "bresult"), &err),
                &err);
    world_report_all(world, "exited", "completed", 0);
    world_step(world);
    view = view_of(world);
    check_explain(&view, "all ranks completed", "synor storage get synor://bresult");
    world_free(world);
}

static void
test_failures_and_stops(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);
    struct syn_training_explain_view view;
    struct syn_err err;
    SYN_JSON(lines);

    (void)state;
    world_step(world);
    world_report_all(world, "exited", "oom-killed", 137);
    world_step(world);
    view = view_of(world);
    view.observed.memory_peak_bytes = INT64_C(3) << 30;
    check_explain(&view, "the limit is 2 GiB, the peak was 3 GiB", "--memory 4608mb");
    assert_done(syn_training_resume(world->job, -1, world->now_ms, &err), &err);
    world_step(world);
    world_report_all(world, "exited", "failed", 3);
    world_step(world);
    lines = json_pack("[s, s]", "Traceback", "ValueError: bad shape");
    view = view_of(world);
    view.last_lines = lines;
    check_explain(&view, "ValueError: bad shape", "synor compute train logs train-abc");
    check_explain(&view, "exit status 3", "synor compute train resume train-abc");
    assert_done(syn_training_resume(world->job, -1, world->now_ms, &err), &err);
    world_step(world);
    assert_done(syn_training_request_stop(world->job, -1, &err), &err);
    world_step(world);
    view = view_of(world);
    check_explain(&view, "asked to stop", NULL);
    world_report_all(world, "exited", "stopped", 143);
    world_step(world);
    view = view_of(world);
    check_explain(&view, "stopped on request", "synor compute train resume train-abc");
    world_free(world);
}

/* A CPU limit that is in the way is told in every state after the start, a little of it is not. */
static void
test_a_reached_cpu_limit_is_told(void **state)
{
    static const char *const ends[] = {"completed", "failed", "stopped"};
    static const char *const states[] = {"succeeded", "failed", "stopped"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(ends); i++) {
        struct world *world = world_new(WORLD_SPEC_SMALL);
        struct syn_training_explain_view view;
        struct syn_err err;
        SYN_JSON(answer);

        world_step(world);
        world_report_all(world, "running", "running", -1);
        world_step(world);
        view = view_of(world);
        view.observed = (struct syn_training_observed){.throttled_ms = 6000, .metered_ms = 20000};
        check_explain(&view, "its limit of 1 CPU a worker: held back for 6.0s of 20.0s",
                      "--cpus 2");
        if (i == 2)
            assert_done(syn_training_request_stop(world->job, -1, &err), &err);
        world_step(world);
        world_report_all(world, "exited", ends[i], i == 0 ? 0 : 1);
        world_step(world);
        view.job = world->job;
        assert_string_equal(syn_document_state(world->job), states[i]);
        check_explain(&view, "held back for 6.0s of 20.0s", "--cpus 2");
        view.observed.throttled_ms = 90000; /* on several processors */
        check_explain(&view, "held back for 20.0s of 20.0s", NULL);
        view.observed.throttled_ms = 1900;
        assert_done(syn_training_explain(&view, &answer, &err), &err);
        assert_false(list_says(json_object_get(answer, "why"), "held back"));
        world_free(world);
    }
}

static struct syn_pricebook *
book_read(void)
{
    static char data[SYN_PRICEBOOK_BYTES_MAX];
    FILE *file = fopen(SYN_TEST_SOURCE_ROOT "/data/pricebook.json", "r");
    struct syn_pricebook *book;
    struct syn_err err;
    size_t len;

    assert_non_null(file);
    len = fread(data, 1, sizeof(data), file);
    (void)fclose(file);
    assert_done(syn_pricebook_parse(data, len, &book, &err), &err);
    return book;
}

static void
test_quota_is_explained_and_planned(void **state)
{
    struct world *world = world_new(WORLD_SPEC_SMALL);
    struct syn_training_tenant limited = {"acct-1", &world->quota, NULL};
    struct syn_training_explain_view view;
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_err err;
    SYN_JSON(plan);

    (void)state;
    world->quota.limits[SYN_QUOTA_CPU] = 500;
    world_step(world);
    world_expect(world, "pending", "quota");
    view = view_of(world);
    view.quota = &world->quota;
    check_explain(&view, "quota of CPUs is 0.5: 0 held, 1 asked for", "ask for no more than 0.5");
    check_explain(&view, "quota of CPUs", "synor account quota acct-1 --cpus");
    assert_done(syn_training_plan(syn_document_spec(world->job), &limited, world->cluster, book,
                                  &plan, &err),
                &err);
    assert_false(syn_json_bool(plan, "placeable", true));
    assert_string_equal(syn_json_str(plan, "reason", ""), "quota");
    assert_true(list_says(json_object_get(plan, "why"), "quota of CPUs"));
    world_free(world);
}

static void
test_plans(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct world *world = world_new(
        "{\"source\":\"synor://c\",\"entry\":\"t.py\",\"max_budget\":\"10\",\"workers\":2}");
    struct syn_err err;
    SYN_JSON(plan);

    (void)state;
    assert_done(syn_training_plan(syn_document_spec(world->job), &tenant, world->cluster, book,
                                  &plan, &err),
                &err);
    assert_true(syn_json_bool(plan, "placeable", false));
    assert_int_equal(json_array_size(json_object_get(plan, "nodes")), 2);
    /* 2 * (1 * 0.02 + 2 * 0.005 + 4 * 0.001) */
    assert_string_equal(syn_json_str(plan, "rate_hour", ""), "0.068");
    assert_string_equal(syn_json_str(plan, "rate_month", ""), "49.64");
    assert_string_equal(syn_json_str(plan, "budget", ""), "10");
    assert_int_equal(syn_json_i64(plan, "budget_lasts_ms", 0) / 3600000, 147);
    assert_string_equal(syn_json_str(plan, "isolation", ""), "gvisor");
    assert_int_equal(json_array_size(json_object_get(plan, "why")), 0);
    assert_int_equal(json_array_size(json_object_get(plan, "alternatives")), 2);
    world_free(world);
    json_decref(plan);
    world = world_new(BIG);
    assert_done(syn_training_plan(syn_document_spec(world->job), &tenant, world->cluster, book,
                                  &plan, &err),
                &err);
    assert_false(syn_json_bool(plan, "placeable", true));
    assert_string_equal(syn_json_str(plan, "reason", ""), "no-gpu");
    assert_true(json_array_size(json_object_get(plan, "fix")) > 0);
    assert_string_equal(syn_json_str(plan, "rate_hour", ""), "32.034");
    world_free(world);
}

/* Node `index` asks this for a core. */
static void
world_offer(struct world *world, unsigned index, const char *cpu)
{
    struct syn_err err;

    assert_int_equal(json_object_set_new(syn_document_spec(world->nodes[index]), "offer",
                                         json_pack("{s:s}", "cpu_core_hour", cpu)),
                     0);
    assert_done(syn_cluster_put_node(world->cluster, world->nodes[index], &err), &err);
}

static const char *
rate_of(const json_t *rows, const char *node)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row)
        if (syn_str_eq(syn_json_str(row, "node", ""), node))
            return syn_json_str(row, "rate_hour", "null");
    return "not there";
}

/* Three nodes at three prices: the plan prices where it would run, and the others cheapest first;
 * under a ceiling the dear ones are left out, and where that leaves none the way out is told. */
static void
test_plans_price_each_node(void **state)
{
    static const char *const prices[] = {"0.5", "0.1", "0.3"};
    static const struct {
        const char *more;
        const char *chosen; /* NULL: any */
    } rows[] = {
        {"", NULL},
        {",\"max_price\":\"0.4\"", NULL},
        {",\"max_price\":\"0.2\"", "node-1"},
    };
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char spec[256];
        struct world *world;
        struct syn_err err;
        const json_t *others, *nodes;
        size_t count = 2 - i;
        SYN_JSON(plan);

        (void)snprintf(spec, sizeof(spec),
                       "{\"source\":\"synor://c\",\"entry\":\"t.py\",\"max_budget\":\"10\"%s}",
                       rows[i].more);
        world = world_new(spec);
        syn_cluster_prices_watch(world->cluster, book);
        for (unsigned n = 0; n < WORLD_NODES; n++)
            world_offer(world, n, prices[n]);
        assert_done(syn_training_plan(syn_document_spec(world->job), &tenant, world->cluster, book,
                                      &plan, &err),
                    &err);
        assert_true(syn_json_bool(plan, "placeable", false));
        nodes = json_object_get(plan, "nodes");
        others = json_object_get(plan, "alternatives");
        assert_int_equal(json_array_size(others), count);
        if (rows[i].chosen)
            assert_string_equal(syn_json_str(json_array_get(nodes, 0), "node", ""), rows[i].chosen);
        /* 0.5, 0.1, 0.3 and 2 * 0.005 + 4 * 0.001, each on its own node */
        for (unsigned n = 0; n < WORLD_NODES; n++) {
            char id[16], rate[16];
            const char *there;

            (void)snprintf(id, sizeof(id), "node-%u", n);
            (void)snprintf(rate, sizeof(rate), "%s14", prices[n]);
            there = rate_of(nodes, id);
            if (syn_str_eq(there, "not there"))
                there = rate_of(others, id);
            if (!syn_str_eq(there, "not there"))
                assert_string_equal(there, rate);
        }
        if (count == 2)
            assert_true(strcmp(syn_json_str(json_array_get(others, 0), "rate_hour", ""),
                               syn_json_str(json_array_get(others, 1), "rate_hour", "")) < 0);
        assert_string_equal(syn_json_str(plan, "rate_hour", ""),
                            syn_json_str(json_array_get(nodes, 0), "rate_hour", "?"));
        world_free(world);
    }
}

static void
test_prices_that_nobody_meets(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct world *world = world_new("{\"source\":\"synor://c\",\"entry\":\"t.py\","
                                    "\"max_budget\":\"10\",\"max_price\":\"0.033\"}");
    struct syn_training_explain_view view;
    struct syn_err err;
    SYN_JSON(plan);

    (void)state;
    syn_cluster_prices_watch(world->cluster, book);
    for (unsigned n = 0; n < WORLD_NODES; n++)
        world_offer(world, n, n == 1 ? "0.02" : "0.03");
    assert_done(syn_training_plan(syn_document_spec(world->job), &tenant, world->cluster, book,
                                  &plan, &err),
                &err);
    assert_false(syn_json_bool(plan, "placeable", true));
    assert_string_equal(syn_json_str(plan, "reason", ""), "too-dear");
    assert_string_equal(syn_json_str(plan, "max_price", ""), "0.033");
    world_step(world);
    world_expect(world, "pending", "too-dear");
    view = view_of(world);
    check_explain(&view, "a worker on node-1 costs 0.034 SYNOR an hour; the ceiling is 0.033",
                  "--max-price 0.034");
    world_offer(world, 2, "0.019");
    world_step(world);
    world_expect(world, "starting", "assigned");
    world_free(world);
}

/* What runs is explained with its lease, also after the offer has changed. */
static void
test_leases_are_explained(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct world *world = world_new(WORLD_SPEC_SMALL);
    struct syn_training_explain_view view;
    struct syn_err err;
    const json_t *row, *lease;
    SYN_JSON(answer);

    (void)state;
    syn_cluster_prices_watch(world->cluster, book);
    for (unsigned n = 0; n < WORLD_NODES; n++)
        world_offer(world, n, "0.01");
    world_step(world);
    for (unsigned n = 0; n < WORLD_NODES; n++)
        world_offer(world, n, "9");
    view = view_of(world);
    view.book = book;
    assert_done(syn_training_explain(&view, &answer, &err), &err);
    assert_true(
        list_says(json_object_get(answer, "why"), "costs 0.024 SYNOR an hour, on-demand since 20"));
    assert_int_equal(json_array_size(json_object_get(answer, "leases")), 1);
    row = json_array_get(json_object_get(answer, "leases"), 0);
    lease = json_object_get(row, "lease");
    assert_string_equal(syn_json_str(row, "rate_hour", ""), "0.024");
    assert_string_equal(syn_json_str(syn_json_at(lease, "price.cpu"), "price", ""), "0.01");
    assert_string_equal(syn_json_str(syn_json_at(lease, "price.memory"), "price", ""), "0.005");
    world_report_all(world, "running", "running", -1);
    world_step(world);
    world_report_all(world, "exited", "completed", 0);
    world_step(world);
    json_decref(answer);
    answer = NULL;
    view = view_of(world);
    view.book = book;
    assert_done(syn_training_explain(&view, &answer, &err), &err);
    assert_int_equal(json_array_size(json_object_get(answer, "leases")), 0);
    world_free(world);
}

struct plan_arg {
    const struct world *world;
    const struct syn_pricebook *book;
};

static int
plan_scenario(void *arg, struct syn_err *err)
{
    const struct plan_arg *with = arg;
    SYN_JSON(plan);

    return syn_training_plan(syn_document_spec(with->world->job), &tenant, with->world->cluster,
                             with->book, &plan, err);
}

static int
explain_scenario(void *arg, struct syn_err *err)
{
    struct syn_training_explain_view view = view_of(arg);
    SYN_JSON(answer);

    return syn_training_explain(&view, &answer, err);
}

static void
test_shortage_of_memory(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct world *world = world_new(BIG);
    struct plan_arg arg = {world, book};

    (void)state;
    world_step(world);
    assert_true(syn_test_sweep_alloc(explain_scenario, world) > 20);
    assert_true(syn_test_sweep_alloc(plan_scenario, &arg) > 20);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_names_what_each_node_lacks),
        cmocka_unit_test(test_quota_is_explained_and_planned),
        cmocka_unit_test(test_from_start_to_success),
        cmocka_unit_test(test_failures_and_stops),
        cmocka_unit_test(test_a_reached_cpu_limit_is_told),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_plans_price_each_node),
        cmocka_unit_test(test_prices_that_nobody_meets),
        cmocka_unit_test(test_leases_are_explained),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
