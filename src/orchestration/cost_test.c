#include <synor/orchestration/cost.h>

#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/market/pricebook.h>

#define GIB (INT64_C(1) << 30)

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
test_rates_come_from_the_book(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_cost_ask ask = {{2000, 4 * GIB, 10 * GIB}, 0, "", 1, 7 * SYN_SYNOR, false, false, 0};
    struct syn_cost cost;
    struct syn_err err;

    (void)state;
    /* 2 * 0.02 + 4 * 0.005 + 10 * 0.001 = 0.07 SYNOR an hour */
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 7 * SYN_SYNOR / 100);
    assert_int_equal(cost.lasts_ms, 100 * INT64_C(3600000));
    ask.count = 3;
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 21 * SYN_SYNOR / 100);
    ask.count = 1;
    ask.gpus = 2;
    ask.gpu_model = "h100";
    assert_done(syn_cost_of(book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 7 * SYN_SYNOR / 100 + 8 * SYN_SYNOR);
    ask.gpu_model = "";
    assert_code(syn_cost_of(book, &ask, &cost, &err), SYN_COST_UNPRICED, &err);
    ask.gpu_model = "abacus";
    assert_code(syn_cost_of(book, &ask, &cost, &err), SYN_COST_UNPRICED, &err);
}

static json_t *
instance(const char *id, const char *state)
{
    return json_pack("{s:s, s:{s:s, s:{s:i, s:i, s:i}}, s:{s:s}}", "id", id, "spec", "node", "n",
                     "resources", "cpu_millicores", 1000, "memory_bytes", 0, "scratch_bytes", 0,
                     "status", "state", state);
}

static void
test_only_live_instances_cost(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_err err;
    int64_t rate;
    SYN_JSON(list);

    (void)state;
    list = json_pack("[o, o, o]", instance("a", "running"), instance("b", "assigned"),
                     instance("c", "exited"));
    assert_done(syn_cost_live(book, list, &rate, &err), &err);
    assert_int_equal(rate, 4 * SYN_SYNOR / 100);
    assert_done(syn_cost_live(book, NULL, &rate, &err), &err);
    assert_int_equal(rate, 0);
}

/* A node that asks `cpu` for a core and has two kinds of cards, one of them priced by itself. */
static struct syn_node_view
node_make(const char *cpu, const struct syn_pricebook *book)
{
    struct syn_node_view node;
    struct syn_err err;
    SYN_JSON(doc);

    doc = json_pack("{s:s, s:{s:s, s:{s:s, s:{s:s}}}, s:{s:s, s:{s:i, s:I, s:I, s:[{s:s, s:i},"
                    " {s:s, s:i}]}}}",
                    "id", "node-a", "spec", "provider", "acct-p", "offer", "cpu_core_hour", cpu,
                    "gpu_hour", "h100", "1.5", "status", "state", "ready", "capacity",
                    "cpu_millicores", 64000, "memory_bytes", (json_int_t)(64 * GIB),
                    "scratch_bytes", (json_int_t)(64 * GIB), "gpus", "model", "a100-80gb", "count",
                    1, "model", "h100", "count", 2);
    assert_done(syn_node_view_read(doc, &node, &err), &err);
    if (book)
        syn_node_view_price(&node, book);
    return node;
}

static void
test_nodes_ask_their_own_prices(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    struct syn_node_view node = node_make("0.05", NULL);
    struct syn_cost_ask ask = {
        {2000, 4 * GIB, 10 * GIB}, 0, "", 1, 13 * SYN_SYNOR, false, false, 0};
    struct syn_place_request request = {.count = 1, .amounts = ask.amounts, .gpus = 1};
    struct syn_cost cost;
    struct syn_err err;

    (void)state;
    assert_string_equal(node.provider, "acct-p");
    assert_int_equal(node.prices.memory_gib, SYN_NODE_PRICE_BOOK);
    /* 2 * 0.05 + 4 * 0.005 + 10 * 0.001 */
    assert_done(syn_cost_on(&node, book, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 13 * SYN_SYNOR / 100);
    assert_int_equal(cost.lasts_ms, 100 * INT64_C(3600000));
    assert_code(syn_cost_on(&node, NULL, &ask, &cost, &err), SYN_COST_UNPRICED, &err);
    node = node_make("0.05", book);
    assert_int_equal(node.prices.memory_gib, 5 * SYN_SYNOR / 1000);
    assert_done(syn_cost_on(&node, NULL, &ask, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 13 * SYN_SYNOR / 100);
    /* Any card will do: the h100 is offered at less than the a100 costs by the book. */
    assert_done(syn_cost_member(&node, NULL, &request, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 163 * SYN_SYNOR / 100);
    request.gpu_model = "a100-80gb";
    assert_done(syn_cost_member(&node, NULL, &request, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 213 * SYN_SYNOR / 100);
    request.gpu_model = "b200";
    assert_code(syn_cost_member(&node, NULL, &request, &cost, &err), SYN_COST_UNPRICED, &err);
}

static void
test_leases_say_what_holds(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    const struct syn_node_view node = node_make("0.05", book);
    const struct syn_lease_ask ask = {.gpu_model = "h100",
                                      .spot = true,
                                      .max_price = 2 * SYN_SYNOR,
                                      .now_ms = INT64_C(1795460000000)};
    struct syn_err err;
    int64_t rate;
    SYN_JSON(lease);
    SYN_JSON(list);

    (void)state;
    assert_done(syn_cost_lease(&node, &ask, &lease, &err), &err);
    assert_string_equal(syn_json_str(syn_json_at(lease, "price.cpu"), "price", ""), "0.05");
    assert_string_equal(syn_json_str(syn_json_at(lease, "price.memory"), "price", ""), "0.005");
    assert_string_equal(
        syn_json_str(json_object_get(json_object_get(lease, "price"), "gpu:h100"), "price", ""),
        "1.5");
    assert_string_equal(syn_json_str(syn_json_at(lease, "terms"), "max_price", ""), "2");
    assert_string_equal(syn_json_str(lease, "provider", ""), "acct-p");
    /* A live instance costs what its lease says, one without a lease what the book says. */
    list = json_pack("[o, o]", instance("a", "running"), instance("b", "running"));
    assert_int_equal(
        json_object_set(json_object_get(json_array_get(list, 0), "spec"), "lease", lease), 0);
    assert_done(syn_cost_live(book, list, &rate, &err), &err);
    assert_int_equal(rate, 7 * SYN_SYNOR / 100);
    assert_int_equal(json_object_del(lease, "terms"), 0);
    assert_code(syn_cost_live(book, list, &rate, &err), SYN_E_INVALID, &err);
}

/* A gang on nodes that ask different prices costs the exact sum, rounded once. */
static void
test_gangs_cost_the_sum_of_their_places(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = book_read();
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_placement placement = {.count = 3};
    const struct syn_cost_ask member = {{1, 0, 0}, 0, "", 1, SYN_SYNOR, false, false, 0};
    static const char *const prices[] = {"0.000000001", "0.000000002"};
    struct syn_cost cost;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    syn_cluster_prices_watch(cluster, book);
    for (size_t i = 0; i < SYN_LEN(prices); i++) {
        SYN_JSON(doc);
        char id[16];

        (void)snprintf(id, sizeof(id), "node-%zu", i);
        doc = json_pack("{s:s, s:{s:{s:s}}, s:{s:s, s:{s:i}}}", "id", id, "spec", "offer",
                        "cpu_core_hour", prices[i], "status", "state", "ready", "capacity",
                        "cpu_millicores", 4000);
        assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
        (void)snprintf(placement.slots[i].node, sizeof(placement.slots[i].node), "%s", id);
    }
    placement.slots[2] = placement.slots[1];
    /* (1 + 2 + 2) thousandths of a base unit an hour, rounded up */
    assert_done(syn_cost_placed(cluster, book, &placement, &member, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 1);
    assert_int_equal(cost.lasts_ms / 3600000, SYN_SYNOR * 200);
    (void)snprintf(placement.slots[2].node, sizeof(placement.slots[2].node), "gone");
    assert_code(syn_cost_placed(cluster, book, &placement, &member, &cost, &err), SYN_COST_UNPRICED,
                &err);
}

static void
test_bad_offers_are_errors(void **state)
{
    static const char *const bad[] = {"-1", "", "10000.000000001", "x"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_node_view node;
        struct syn_err err;
        SYN_JSON(doc);

        doc = json_pack("{s:s, s:{s:{s:s}}, s:{s:s, s:{}}}", "id", "n", "spec", "offer",
                        "cpu_core_hour", bad[i], "status", "state", "ready", "capacity");
        assert_code(syn_node_view_read(doc, &node, &err), SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, "cpu_core_hour"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_come_from_the_book),
        cmocka_unit_test(test_only_live_instances_cost),
        cmocka_unit_test(test_nodes_ask_their_own_prices),
        cmocka_unit_test(test_leases_say_what_holds),
        cmocka_unit_test(test_gangs_cost_the_sum_of_their_places),
        cmocka_unit_test(test_bad_offers_are_errors),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
