#include <synor/base/test.h>
#include <synor/orchestration/fleet.h>

#define MIB 1048576

static struct syn_fleet *
fleet_make(void)
{
    const struct syn_fleet_options options = {.seed = 7, .learn = true};
    const struct syn_fleet_model models[] = {
        {.name = "a100",
         .vram_mib = 81920,
         .capability = 80,
         .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE),
         .geometry = SYN_FLEET_EIGHTHS,
         .idle_mw = 50000,
         .context_mw = 80000,
         .busy_mw = 400000,
         .speed = 2000},
        {.name = "t4", .vram_mib = 16384, .capability = 75, .modes = SYN_BIT(SYN_FLEET_TIME_SLICE)},
    };
    struct syn_fleet *fleet = NULL;
    struct syn_err err;
    uint32_t number;

    assert_done(syn_fleet_new(&options, &fleet, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(models); i++)
        assert_done(syn_fleet_model_add(fleet, &models[i], &number, &err), &err);
    return fleet;
}

static uint32_t
add(struct syn_fleet *fleet, const char *name, int64_t cores, uint32_t cards, uint8_t model)
{
    struct syn_fleet_node node = {.name = name, .cards = cards, .idle_mw = 100000};
    struct syn_err err;
    uint32_t number;

    node.capacity[SYN_FLEET_CPU] = cores * 1000;
    node.capacity[SYN_FLEET_MEMORY] = cores * 1024 * MIB;
    memset(node.models, model, sizeof(node.models));
    assert_done(syn_fleet_put_node(fleet, &node, &number, &err), &err);
    return number;
}

static struct syn_fleet_request
ask_cpu(uint64_t key, int64_t cores)
{
    struct syn_fleet_request request = {.key = key, .members = 1};

    request.ask.need[SYN_FLEET_CPU] = cores * 1000;
    return request;
}

static struct syn_fleet_request
ask_part(uint64_t key, uint32_t mode, uint32_t value)
{
    struct syn_fleet_request request = {.key = key, .members = 1};

    request.ask.mode = mode;
    request.ask.cards = mode == SYN_FLEET_CARDS ? value : 1;
    if (mode == SYN_FLEET_MIG)
        request.ask.profile = value;
    else if (mode != SYN_FLEET_CARDS)
        request.ask.share = value;
    return request;
}

/* Where a request goes at once; SYN_FLEET_NONE: nowhere. */
static uint32_t
try_one(struct syn_fleet *fleet, const struct syn_fleet_request *request)
{
    struct syn_fleet_slot slot;
    struct syn_err err;
    int rc = syn_fleet_try(fleet, request, &slot, &err);

    if (rc < 0)
        fail_msg("%s", err.msg);
    return rc == SYN_FLEET_FULL ? SYN_FLEET_NONE : slot.node;
}

static int
submit(struct syn_fleet *fleet, const struct syn_fleet_request *request)
{
    struct syn_err err;
    int rc = syn_fleet_submit(fleet, request, &err);

    if (rc < 0)
        fail_msg("%s", err.msg);
    return rc;
}

/* Count the effects of one type, for one request or (key UINT64_MAX) all; take all out. */
static unsigned
effects(struct syn_fleet *fleet, enum syn_fleet_effect_type type, uint64_t key)
{
    struct syn_fleet_effect effect;
    unsigned count = 0;

    while (syn_fleet_next(fleet, &effect))
        count += effect.type == type && (key == UINT64_MAX || effect.key == key);
    return count;
}

static void
end(struct syn_fleet *fleet, uint64_t key)
{
    struct syn_err err;

    assert_done(syn_fleet_end(fleet, key, &err), &err);
}

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
        {"spare", {.key = 1, .members = 1, .ask = {.spare = 3}}},
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
    struct syn_fleet_node near = {.name = "near", .capacity = {64000}, .price_core = 9};
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

static void
test_gang(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request gang = ask_part(1, SYN_FLEET_CARDS, 4), rest = gang;
    struct syn_fleet_totals totals;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    gang.members = 5;
    assert_int_not_equal(try_one(fleet, &rest), SYN_FLEET_NONE);
    end(fleet, 1);
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    syn_fleet_total(fleet, &totals);
    assert_int_equal(totals.milli_used, 0);
    assert_int_equal(totals.pending, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PENDING, 1), 1);
    (void)add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 5);
    syn_fleet_free(fleet);
}

/* A gang that waits keeps nodes; only what ends in time may use them. */
static void
test_reservation(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request first = ask_part(1, SYN_FLEET_CARDS, 8);
    struct syn_fleet_request gang = ask_part(2, SYN_FLEET_CARDS, 8);
    struct syn_fleet_request later = ask_part(3, SYN_FLEET_CARDS, 1);

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    first.runs_ms = 1000;
    assert_int_equal(submit(fleet, &first), SYN_OK);
    gang.members = 2;
    assert_int_equal(submit(fleet, &gang), SYN_FLEET_FULL);
    assert_int_equal(effects(fleet, SYN_FLEET_RESERVED, 2), 2);
    assert_int_equal(submit(fleet, &later), SYN_FLEET_FULL); /* could go on for ever */
    later.key = 4;
    later.runs_ms = 1001;
    assert_int_equal(submit(fleet, &later), SYN_FLEET_FULL); /* too long */
    later.key = 5;
    later.runs_ms = 1000;
    assert_int_equal(submit(fleet, &later), SYN_OK);
    syn_fleet_set_time(fleet, 1000);
    end(fleet, 5);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 0);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 2), 2);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, UINT64_MAX), 2); /* 3 and 4 */
    syn_fleet_free(fleet);
}

static void
test_preemption(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_CARDS, 4);
    struct syn_fleet_effect effect;
    uint64_t evicted = 0;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    for (uint64_t key = 1; key <= 3; key++) { /* two of four cards, and one of priority 1 */
        request = ask_part(key, SYN_FLEET_CARDS, 4);
        request.priority = key == 3;
        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    for (uint64_t key = 4; key <= 7; key++) {
        request = ask_part(key, SYN_FLEET_CARDS, 1);
        assert_int_equal(submit(fleet, &request), SYN_OK);
    }
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    request = ask_part(8, SYN_FLEET_CARDS, 4);
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL); /* an equal takes nothing */
    end(fleet, 8);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    request.priority = 5;
    assert_int_equal(submit(fleet, &request), SYN_OK);
    while (syn_fleet_next(fleet, &effect)) /* one of the large ones of priority 0, not four small */
        if (effect.type == SYN_FLEET_EVICTED) {
            assert_int_equal(effect.cause, SYN_FLEET_CAUSE_PREEMPTED);
            assert_int_equal(evicted, 0);
            evicted = effect.key;
        }
    assert_true(evicted == 1 || evicted == 2);
    end(fleet, 8);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, evicted), 1);
    syn_fleet_free(fleet);
}

static void
test_drain_and_lose(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request gang = ask_part(1, SYN_FLEET_CARDS, 4);
    struct syn_err err;
    uint32_t n3;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    gang.members = 2;
    assert_int_equal(submit(fleet, &gang), SYN_OK);
    (void)effects(fleet, SYN_FLEET_PLACED, 1);
    assert_done(syn_fleet_drain(fleet, 0, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 0); /* stays until there is room */
    (void)add(fleet, "n2", 64, 4, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 1);
    n3 = add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 1);
    assert_done(syn_fleet_lose(fleet, n3, &err), &err); /* the other member must go, too */
    assert_int_equal(effects(fleet, SYN_FLEET_EVICTED, 1), 2);
    (void)add(fleet, "n3", 64, 8, 0);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 1), 2);
    syn_fleet_free(fleet);
}

static void
test_fair_share(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    const int64_t limits[SYN_FLEET_DIMS] = {-1, -1, -1, -1};
    struct syn_fleet_request request = ask_part(1, SYN_FLEET_CARDS, 8);
    struct syn_err err;
    uint32_t greedy, modest, bound;

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 8, 0);
    assert_done(syn_fleet_word(fleet, "greedy", &greedy, &err), &err);
    assert_done(syn_fleet_word(fleet, "modest", &modest, &err), &err);
    assert_done(syn_fleet_word(fleet, "bound", &bound, &err), &err);
    assert_code(syn_fleet_set_account(fleet, greedy, 0, limits, -1, &err), SYN_E_INVALID, &err);
    assert_done(syn_fleet_set_account(fleet, bound, 1, limits, 7, &err), &err);
    request.account = greedy;
    for (request.key = 1; request.key <= 3; request.key++)
        assert_int_equal(submit(fleet, &request), request.key < 3 ? SYN_OK : SYN_FLEET_FULL);
    request.account = modest;
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL); /* 4, after 3 */
    request.account = bound;
    request.key = 5;
    assert_int_equal(submit(fleet, &request), SYN_FLEET_FULL);
    (void)effects(fleet, SYN_FLEET_PLACED, 0);
    end(fleet, 1);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 4), 1);
    end(fleet, 2);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 3), 1);
    end(fleet, 3);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 5), 0);
    assert_done(syn_fleet_set_account(fleet, bound, 1, limits, 8, &err), &err);
    assert_int_equal(effects(fleet, SYN_FLEET_PLACED, 5), 1);
    syn_fleet_free(fleet);
}

static bool
says(const json_t *list, const char *text)
{
    size_t i;
    json_t *item;

    json_array_foreach (list, i, item) {
        const char *said =
            json_is_string(item) ? json_string_value(item) : syn_json_str(item, "message", "");

        if (strstr(said, text))
            return true;
    }
    return false;
}

static void
test_explain(void **state)
{
    struct syn_fleet *fleet = fleet_make();
    struct syn_fleet_request runs = ask_part(1, SYN_FLEET_CARDS, 6);
    struct syn_fleet_request waits = ask_part(2, SYN_FLEET_CARDS, 4);
    struct syn_err err;
    json_t *why, *fix;
    SYN_JSON(doc);

    (void)state;
    (void)add(fleet, "n1", 64, 8, 0);
    (void)add(fleet, "n2", 64, 0, 0);
    runs.runs_ms = 5000;
    assert_int_equal(submit(fleet, &runs), SYN_OK);
    assert_int_equal(submit(fleet, &waits), SYN_FLEET_FULL);
    assert_code(syn_fleet_explain(fleet, 1, &doc, &err), SYN_E_NOTFOUND, &err);
    assert_done(syn_fleet_explain(fleet, 2, &doc, &err), &err);
    why = json_object_get(doc, "why");
    fix = json_object_get(doc, "fix");
    assert_true(says(why, "1 node is without enough free of its cards"));
    assert_true(says(why, "1 node is without a card that will do"));
    assert_true(says(why, "n2 is without a card"));
    assert_true(says(fix, "ask for 2 cards instead of 4"));
    assert_true(says(fix, "it fits on n1 once these have ended: 1"));
    assert_true(says(fix, "add 1 node like n1"));
    assert_int_equal(syn_json_i64(doc, "position", 0), 1);
    assert_int_equal(syn_json_i64(doc, "expected_start_ms", 0), 5000);
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
        cmocka_unit_test(test_invalid),    cmocka_unit_test(test_node_changes),
        cmocka_unit_test(test_policies),   cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_shares),     cmocka_unit_test(test_complements),
        cmocka_unit_test(test_gang),       cmocka_unit_test(test_reservation),
        cmocka_unit_test(test_preemption), cmocka_unit_test(test_drain_and_lose),
        cmocka_unit_test(test_fair_share), cmocka_unit_test(test_explain),
        cmocka_unit_test(test_seed),       cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
