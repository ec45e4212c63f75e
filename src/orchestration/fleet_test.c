#include "fleet_testing.h"

static void
test_invalid(void **state)
{
    static const struct {
        const char *field;
        struct syn_fleet_request request;
    } rows[] = {
        {"members", {.key = 1}},
        {"members", {.key = 1, .members = SYN_FLEET_GANG_MAX + 1}},
        {"key", {.key = UINT64_MAX, .members = 1}},
        {"runs_ms", {.key = 1, .members = 1, .runs_ms = -1}},
        {"account", {.key = 1, .members = 1, .account = 9}},
        {"need", {.key = 1, .members = 1, .ask = {.need = {-1}}}},
        {"need", {.key = 1, .members = 1, .ask = {.need = {INT64_MAX}}}},
        {"price_max", {.key = 1, .members = 1, .ask = {.price_max = -1}}},
        {"policy", {.key = 1, .members = 1, .ask = {.policy = SYN_FLEET_POLICIES}}},
        {"mode", {.key = 1, .members = 1, .ask = {.mode = SYN_FLEET_MODES}}},
        {"cards", {.key = 1, .members = 1, .ask = {.cards = 17}}},
        {"cards", {.key = 1, .members = 1, .ask = {.mode = SYN_FLEET_MIG}}},
        {"share", {.key = 1, .members = 1, .ask = {.cards = 1, .share = 5}}},
        {"share",
         {.key = 1, .members = 1, .ask = {.mode = SYN_FLEET_MPS, .cards = 1, .share = 1001}}},
        {"profile", {.key = 1, .members = 1, .ask = {.cards = 1, .profile = 1}}},
        {"models", {.key = 1, .members = 1, .ask = {.cards = 1, .models = 4}}},
        {"vram", {.key = 1, .members = 1, .ask = {.vram_mib = 1}}},
        {"scope", {.key = 1, .members = 1, .ask = {.apart_scope = 1}}},
        {"even", {.key = 1, .members = 1, .ask = {.even = 1}}},
        {"no such word", {.key = 1, .members = 1, .ask = {.region = 3}}},
        {"spot", {.key = 1, .members = 1, .ask = {.spot = 2}}},
    };
    struct syn_fleet *fleet = fleet_make();

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_err err;

        assert_code(syn_fleet_submit(fleet, &rows[i].request, &err), SYN_E_INVALID, &err);
        if (!strstr(err.msg, rows[i].field))
            fail_msg("row %zu: \"%s\" does not name %s", i, err.msg, rows[i].field);
    }
    assert_int_equal(effects(fleet, SYN_FLEET_PENDING, UINT64_MAX), 0);
    assert_int_equal(fleet->effects.cap, 0); /* no room was made for what was refused */
    syn_fleet_free(fleet);
}

static void
test_invalid_events(void **state)
{
    static const int64_t limits[SYN_FLEET_DIMS] = {-1, -1, -1, -1};
    struct syn_fleet *fleet = fleet_make();
    struct syn_err err;
    uint32_t here;

    (void)state;
    assert_done(syn_fleet_word(fleet, "here", &here, &err), &err);
    assert_done(syn_fleet_set_rtt(fleet, here, here, 1, &err), &err);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t strange = i == 0 ? 0 : i == 1 ? here + 1 : SYN_FLEET_NONE;

        assert_code(syn_fleet_set_rtt(fleet, strange, here, 1, &err), SYN_E_INVALID, &err);
        assert_code(syn_fleet_set_rtt(fleet, here, strange, 1, &err), SYN_E_INVALID, &err);
        assert_code(syn_fleet_set_rtt(fleet, strange, strange, 1, &err), SYN_E_INVALID, &err);
    }
    assert_code(syn_fleet_set_account(fleet, 0, 1, limits, INT64_MAX, &err), SYN_E_INVALID, &err);
    assert_done(syn_fleet_set_account(fleet, 0, 1, limits, SYN_FLEET_QUANTITY_MAX, &err), &err);
    syn_fleet_free(fleet);
}

static void
test_names(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    uint32_t n1 = add(fleet, "n1", 64, 8, 0);

    (void)state;
    assert_int_equal(syn_fleet_find_node(fleet, "n1"), n1);
    assert_int_equal(syn_fleet_find_node(fleet, "n2"), SYN_FLEET_NONE);
    for (int i = 0; i < SYN_FLEET_POLICIES; i++)
        assert_int_equal(syn_fleet_policy_find(syn_fleet_policy_name((enum syn_fleet_policy)i)), i);
    assert_int_equal(syn_fleet_policy_find("any"), -1);
    syn_fleet_free(fleet);
}

/* All labels that are asked for, whatever else would be better. */
static void
test_labels(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_node node = {.name = "n1", .capacity = {8000}};
    struct syn_fleet_request request = ask_cpu(1, 1);
    uint64_t ssd, lan, again;
    struct syn_err err;
    uint32_t labelled;
    char text[16];

    (void)state;
    assert_done(syn_fleet_label(fleet, "ssd", &ssd, &err), &err);
    assert_done(syn_fleet_label(fleet, "lan", &lan, &err), &err);
    assert_done(syn_fleet_label(fleet, "ssd", &again, &err), &err);
    assert_true(ssd == again && ssd != lan);
    (void)add(fleet, "plain", 8, 0, 0);
    node.labels = ssd;
    assert_done(syn_fleet_put_node(fleet, &node, &labelled, &err), &err);
    request.ask.labels = ssd;
    for (; request.key <= 8; request.key++)
        assert_int_equal(try_one(fleet, &request), labelled);
    assert_int_equal(try_one(fleet, &request), SYN_FLEET_NONE); /* plain has room */
    end(fleet, 1);
    request.ask.labels = ssd | lan;
    assert_int_equal(try_one(fleet, &request), SYN_FLEET_NONE);
    assert_code(syn_fleet_label(fleet, "", &ssd, &err), SYN_E_INVALID, &err);
    for (unsigned i = 2; i < SYN_FLEET_LABELS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "label-%u", i);
        assert_done(syn_fleet_label(fleet, text, &ssd, &err), &err);
    }
    assert_code(syn_fleet_label(fleet, "one more", &ssd, &err), SYN_E_LIMIT, &err);
    syn_fleet_free(fleet);
}

/* What syn_fleet_try() places may be what another waits for. */
static void
test_settle(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request waits = ask_cpu(1, 1), first = ask_cpu(2, 1);
    struct syn_err err;

    (void)state;
    (void)add(fleet, "n1", 8, 0, 0);
    assert_done(syn_fleet_word(fleet, "blue", &waits.ask.with, &err), &err);
    first.ask.group = waits.ask.with;
    assert_int_equal(submit(fleet, &waits), SYN_FLEET_FULL);
    assert_int_equal(try_one(fleet, &first), 0);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 0);
    assert_done(syn_fleet_settle(fleet, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 1);
    syn_fleet_free(fleet);
}

static void
test_node_changes(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_cpu(1, 6);
    struct syn_fleet_node node = {.name = "n1", .capacity = {4000}, .overcommit_permille = {2000}};
    struct syn_err err;
    uint32_t number;

    (void)state;
    assert_done(syn_fleet_put_node(fleet, &node, &number, &err), &err);
    assert_int_equal(syn_fleet_node_free(fleet, number, SYN_FLEET_CPU), 8000);
    assert_int_equal(try_one(fleet, &request), number);
    assert_code(syn_fleet_try(fleet, &request, NULL, &err), SYN_E_CONFLICT, &err);
    node.overcommit_permille[0] = 0;
    assert_code(syn_fleet_put_node(fleet, &node, &number, &err), SYN_E_CONFLICT, &err);
    node.capacity[0] = 7000;
    assert_done(syn_fleet_put_node(fleet, &node, &number, &err), &err);
    assert_int_equal(syn_fleet_node_free(fleet, number, SYN_FLEET_CPU), 1000);
    node.cards = 1;
    assert_code(syn_fleet_put_node(fleet, &node, &number, &err), SYN_E_CONFLICT, &err);
    node.models[0] = 9;
    assert_code(syn_fleet_put_node(fleet, &node, &number, &err), SYN_E_INVALID, &err);
    assert_code(syn_fleet_drain(fleet, 5, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_fleet_end(fleet, 5, &err), SYN_E_NOTFOUND, &err);
    syn_fleet_free(fleet);
}

static void
test_policies(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_cpu(1, 4);
    struct syn_fleet_node near = {.name = "near", .capacity = {64000}, .price = {.core = 9}};
    struct syn_err err;
    uint32_t plain, cards, closest, there, here;

    (void)state;
    plain = add(fleet, "plain", 16, 0, 0);
    cards = add(fleet, "cards", 64, 8, 0);
    assert_done(syn_fleet_word(fleet, "there", &there, &err), &err);
    assert_done(syn_fleet_word(fleet, "here", &here, &err), &err);
    near.region = there;
    assert_done(syn_fleet_put_node(fleet, &near, &closest, &err), &err);

    request.ask.policy = SYN_FLEET_BINPACK;
    assert_int_equal(try_one(fleet, &request), plain);
    request.key++;
    assert_int_equal(try_one(fleet, &request), plain);
    request.key++;
    request.ask.policy = SYN_FLEET_SPREAD;
    assert_int_equal(try_one(fleet, &request), closest);
    request.key++;
    request.ask.policy = SYN_FLEET_PRICE;
    assert_int_not_equal(try_one(fleet, &request), closest);
    request.key++;
    request.ask.policy = SYN_FLEET_ENERGY;
    assert_int_not_equal(try_one(fleet, &request), cards);
    request.key++;
    assert_done(syn_fleet_set_rtt(fleet, there, here, 900, &err), &err);
    request.ask.policy = SYN_FLEET_LATENCY;
    request.ask.near = here;
    assert_int_equal(try_one(fleet, &request), closest);
    request.key++;
    request.ask.rtt_max_us = 900;
    request.ask.policy = SYN_FLEET_BINPACK;
    assert_int_equal(try_one(fleet, &request), closest);
    request.key++;
    request.ask.rtt_max_us = 899;
    assert_int_equal(try_one(fleet, &request), SYN_FLEET_NONE);
    request.ask.rtt_max_us = 0;
    request.ask.price_max = 35;
    request.ask.policy = SYN_FLEET_SPREAD;
    assert_int_not_equal(try_one(fleet, &request), closest);
    syn_fleet_free(fleet);
}

/* What the A100 takes side by side, in this order. */
static void
test_partitions(void **state)
{
    static const struct {
        int profiles[8];
        bool fits;
    } rows[] = {
        {{SYN_FLEET_3G, SYN_FLEET_3G, -1}, true},
        {{SYN_FLEET_4G, SYN_FLEET_3G, -1}, true},
        {{SYN_FLEET_3G, SYN_FLEET_4G, -1}, true},
        {{SYN_FLEET_4G, SYN_FLEET_4G, -1}, false},
        {{SYN_FLEET_7G, SYN_FLEET_1G, -1}, false},
        {{SYN_FLEET_2G, SYN_FLEET_2G, SYN_FLEET_2G, SYN_FLEET_1G, -1}, true},
        {{SYN_FLEET_2G, SYN_FLEET_2G, SYN_FLEET_2G, SYN_FLEET_2G, -1}, false},
        {{SYN_FLEET_1G_PLUS, SYN_FLEET_1G_PLUS, SYN_FLEET_1G_PLUS, SYN_FLEET_1G_PLUS, -1}, true},
        {{SYN_FLEET_3G, SYN_FLEET_1G, SYN_FLEET_1G, SYN_FLEET_1G, SYN_FLEET_1G, -1}, true},
        {{0, 0, 0, 0, 0, 0, 0, -1}, true},
        {{0, 0, 0, 0, 0, 0, 0, 0}, false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_fleet *fleet = fleet_make();
        bool fits = true;

        (void)add(fleet, "n1", 64, 1, 0);
        for (unsigned p = 0; p < 8 && rows[i].profiles[p] >= 0; p++) {
            struct syn_fleet_request part =
                ask_part(p, SYN_FLEET_MIG, (uint32_t)rows[i].profiles[p]);

            fits = fits && try_one(fleet, &part) == 0;
        }
        if (fits != rows[i].fits)
            fail_msg("row %zu: fits %d", i, fits);
        syn_fleet_free(fleet);
    }
}

static void
test_shares(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request half = ask_part(1, SYN_FLEET_SHARED, 500);
    struct syn_fleet_request memory = ask_part(2, SYN_FLEET_SHARED, 100);
    struct syn_fleet_request sliced = ask_part(3, SYN_FLEET_TIME_SLICE, 100);
    struct syn_fleet_request part = ask_part(4, SYN_FLEET_MIG, SYN_FLEET_1G);
    struct syn_fleet_request whole = ask_part(5, SYN_FLEET_CARDS, 1);
    struct syn_fleet_request small = ask_part(6, SYN_FLEET_MPS, 400);

    (void)state;
    (void)add(fleet, "n1", 64, 1, 0);
    assert_int_equal(try_one(fleet, &half), 0); /* by MPS, which the model prefers */
    assert_int_equal(try_one(fleet, &sliced), SYN_FLEET_NONE);
    assert_int_equal(try_one(fleet, &part), SYN_FLEET_NONE);
    assert_int_equal(try_one(fleet, &whole), SYN_FLEET_NONE);
    memory.ask.vram_mib = 41 * 1024; /* half of it is left */
    assert_int_equal(try_one(fleet, &memory), SYN_FLEET_NONE);
    memory.ask.vram_mib = 40 * 1024;
    assert_int_equal(try_one(fleet, &memory), 0);
    small.ask.vram_mib = 1;
    assert_int_equal(try_one(fleet, &small), SYN_FLEET_NONE);
    end(fleet, 2);
    assert_int_equal(try_one(fleet, &small), 0);
    end(fleet, 1);
    end(fleet, 6);
    assert_int_equal(try_one(fleet, &part), 0);
    syn_fleet_free(fleet);
}

static void
expect_share(struct syn_fleet *fleet, uint32_t share)
{
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_SHARED, share);
    struct syn_err err;

    request.ask.policy = SYN_FLEET_FRAGMENTATION;
    assert_done(syn_fleet_expect(fleet, &request.ask, 1, &err), &err);
}

/* The part that completes a card goes there, so that two of four cards stay whole. */
static void
test_complements(void **state)
{
    struct syn_fleet *fleet = fleet_make();

    (void)state;
    (void)add(fleet, "n1", 64, 4, 1);
    expect_share(fleet, 300);
    expect_share(fleet, 700);
    for (uint64_t key = 0; key < 6; key++) {
        struct syn_fleet_request request = ask_part(key, SYN_FLEET_SHARED, key % 2 ? 700 : 300);

        if (key >= 4)
            request = ask_part(key, SYN_FLEET_CARDS, 1);
        request.ask.policy = SYN_FLEET_FRAGMENTATION;
        assert_int_equal(try_one(fleet, &request), 0);
    }
    syn_fleet_free(fleet);
}

/* Which of equal nodes is taken. */
static uint32_t
choice_of(uint64_t seed)
{
    const struct syn_fleet_options options = {.seed = seed};
    struct syn_fleet_request request = ask_cpu(1, 1);
    struct syn_fleet *fleet = NULL;
    struct syn_err err;
    uint32_t node;

    assert_done(syn_fleet_new(&options, &fleet, &err), &err);
    for (char name[] = "a"; *name < 'z'; (*name)++)
        (void)add(fleet, name, 8, 0, 0);
    node = try_one(fleet, &request);
    syn_fleet_free(fleet);
    return node;
}

/* The same events, the same effects; another seed, another choice between equals. */
static void
test_seed(void **state)
{
    unsigned others = 0;

    (void)state;
    for (uint64_t seed = 1; seed < 9; seed++) {
        assert_int_equal(choice_of(seed), choice_of(seed));
        others += choice_of(seed) != choice_of(0);
    }
    assert_true(others > 0);
}

/* More shapes than are kept, and than have a heap: those that nobody uses make room. */
static void
test_many_shapes(void **state)
{
    struct syn_fleet *fleet = fleet_make();

    (void)state;
    (void)add(fleet, "n1", 64, 0, 0);
    for (uint64_t key = 0; key < SYN_FLEET_SHAPES_MAX + 100; key++) {
        struct syn_fleet_request request = ask_cpu(key, 1);

        request.ask.need[SYN_FLEET_MEMORY] = (int64_t)key;
        assert_int_equal(try_one(fleet, &request), 0);
        end(fleet, key);
    }
    syn_fleet_free(fleet);
}

static int
scenario(void *arg, struct syn_err *err)
{
    const struct syn_fleet_options options = {.learn = true};
    const struct syn_fleet_model model = {.name = "t4", .modes = SYN_BIT(SYN_FLEET_TIME_SLICE)};
    struct syn_fleet_node node = {.name = "n1", .capacity = {8000}, .cards = 2};
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_SHARED, 600);
    SYN_SCOPED(syn_fleet_free_scope) struct syn_fleet *fleet = NULL;
    SYN_JSON(doc);
    uint32_t number;
    int rc = syn_fleet_new(&options, &fleet, err);

    (void)arg;
    if (rc == SYN_OK)
        rc = syn_fleet_model_add(fleet, &model, &number, err);
    if (rc == SYN_OK)
        rc = syn_fleet_word(fleet, "blue", &request.ask.group, err);
    if (rc == SYN_OK)
        rc = syn_fleet_put_node(fleet, &node, &number, err);
    for (; rc == SYN_OK && request.key < 4; request.key++) {
        rc = syn_fleet_submit(fleet, &request, err);
        if (rc == SYN_FLEET_FULL)
            rc = syn_fleet_explain(fleet, request.key, &doc, err);
        request.priority++;
    }
    if (rc == SYN_OK)
        rc = syn_fleet_lose(fleet, number, err);
    if (rc == SYN_OK)
        rc = syn_fleet_put_node(fleet, &node, &number, err);
    return rc == SYN_OK ? syn_fleet_end(fleet, 1, err) : rc;
}

static void
test_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invalid),  cmocka_unit_test(test_invalid_events),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_labels),
        cmocka_unit_test(test_settle),   cmocka_unit_test(test_node_changes),
        cmocka_unit_test(test_policies), cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_shares),   cmocka_unit_test(test_complements),
        cmocka_unit_test(test_seed),     cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
