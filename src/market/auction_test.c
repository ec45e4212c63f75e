#include <synor/market/auction.h>

#include <synor/base/test.h>
#include <synor/base/units.h>

#include <stdlib.h>
#include <string.h>

static struct syn_err err;

/* ---- call ---- */

#define TICKS 40

static int64_t
bid_for(const struct syn_call_order *orders, size_t count, int64_t price)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += orders[i].side == SYN_BUY && (orders[i].market || orders[i].price >= price)
                   ? orders[i].qty
                   : 0;
    return sum;
}

static int64_t
offered(const struct syn_call_order *orders, size_t count, int64_t price)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += orders[i].side == SYN_SELL && (orders[i].market || orders[i].price <= price)
                   ? orders[i].qty
                   : 0;
    return sum;
}

/* Tries every price. */
static struct syn_call_result
brute_price(const struct syn_call_order *orders, size_t count, int64_t reference)
{
    struct syn_call_result best = {0};

    /* Above the highest limit all prices are alike. */
    for (int64_t price = 1; price <= TICKS + 1; price++) {
        int64_t bid = bid_for(orders, count, price), ask = offered(orders, count, price);
        struct syn_call_result here = {price, SYN_MIN(bid, ask), bid - ask};
        bool better = here.volume > best.volume;

        if (here.volume == best.volume && here.volume > 0)
            better = llabs(here.imbalance) < llabs(best.imbalance) ||
                     (llabs(here.imbalance) == llabs(best.imbalance) &&
                      llabs(price - reference) < llabs(best.price - reference));
        if (better)
            best = here;
    }
    return best;
}

/* Who is better or came earlier trades first. */
static void
check_traded(const struct syn_call_order *orders, size_t count, const int64_t *traded,
             const struct syn_call_result *result)
{
    int64_t sums[2] = {0};

    for (size_t i = 0; i < count; i++) {
        int64_t limit = orders[i].price;
        bool may = orders[i].market ||
                   (orders[i].side == SYN_BUY ? limit >= result->price : limit <= result->price);

        assert_true(traded[i] >= 0 && traded[i] <= orders[i].qty);
        assert_true(may || traded[i] == 0);
        sums[orders[i].side] += traded[i];
        for (size_t j = 0; j < count && traded[i] < orders[i].qty; j++) {
            bool later = j > i && orders[j].market == orders[i].market &&
                         (orders[j].market || orders[j].price == limit);
            bool worse =
                !orders[j].market &&
                (orders[i].market ||
                 (orders[i].side == SYN_BUY ? orders[j].price < limit : orders[j].price > limit));

            if (orders[j].side == orders[i].side && (later || worse))
                assert_int_equal(traded[j], 0);
        }
    }
    assert_int_equal(sums[SYN_BUY], result->volume);
    assert_int_equal(sums[SYN_SELL], result->volume);
}

static void
call_as_brute_force(void **state)
{
    uint64_t random = 99;
    unsigned traded_some = 0;

    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        struct syn_call_order orders[12];
        int64_t traded[12];
        struct syn_call_result result, want;
        size_t count = syn_test_random(&random) % 13;
        int64_t reference = (int64_t)(syn_test_random(&random) % (TICKS + 1));

        for (size_t i = 0; i < count; i++) {
            uint64_t r = syn_test_random(&random);

            orders[i] = (struct syn_call_order){.price = 1 + (int64_t)(r % TICKS),
                                                .qty = 1 + (int64_t)(r >> 8) % 5,
                                                .side = (uint8_t)(r >> 16 & 1),
                                                .market = (r >> 20) % 10 == 0};
        }
        assert_done(syn_call_clear(orders, count, reference, traded, &result, &err), &err);
        want = brute_price(orders, count, reference);
        assert_int_equal(result.volume, want.volume);
        assert_int_equal(result.price, want.price);
        assert_int_equal(result.imbalance, want.imbalance);
        if (result.volume > 0)
            check_traded(orders, count, traded, &result);
        traded_some += result.volume > 0;
    }
    assert_true(traded_some > 1000);
}

/* With prices of many digits, in the same order, the same orders trade. */
static void
call_with_large_prices(void **state)
{
    uint64_t random = 3;

    (void)state;
    for (unsigned round = 0; round < 500; round++) {
        struct syn_call_order orders[64], large[64];
        int64_t traded[64], large_traded[64];
        struct syn_call_result result, large_result;
        size_t count = 2 + syn_test_random(&random) % 63;

        for (size_t i = 0; i < count; i++) {
            uint64_t r = syn_test_random(&random);

            orders[i] = (struct syn_call_order){.price = 1 + (int64_t)(r % 300),
                                                .qty = 1 + (int64_t)(r >> 20) % 50,
                                                .side = (uint8_t)(r >> 16 & 1)};
            large[i] = orders[i];
            large[i].price = (orders[i].price << (round % 54)) + (orders[i].price * 7919 & 0xFF);
            large[i].price -= round % 54 < 8 ? orders[i].price * 7919 & 0xFF : 0;
        }
        assert_done(syn_call_clear(orders, count, 0, traded, &result, &err), &err);
        assert_done(syn_call_clear(large, count, 0, large_traded, &large_result, &err), &err);
        assert_int_equal(result.volume, large_result.volume);
        assert_int_equal(result.imbalance, large_result.imbalance);
        assert_memory_equal(traded, large_traded, count * sizeof(traded[0]));
        if (result.volume > 0)
            check_traded(large, count, large_traded, &large_result);
    }
}

static void
call_table(void **state)
{
    const int64_t far = SYN_PRICE_MAX, huge = SYN_ORDER_QTY_MAX;
    const struct {
        struct syn_call_order orders[3];
        size_t count;
        int64_t reference, price, volume;
    } rows[] = {
        {{{0}}, 0, 5, 0, 0},
        {{{10, 3, SYN_BUY, false}}, 1, 5, 0, 0},
        {{{10, 3, SYN_BUY, false}, {11, 3, SYN_SELL, false}}, 2, 5, 0, 0},
        {{{10, 3, SYN_BUY, false}, {6, 3, SYN_SELL, false}}, 2, 8, 8, 3},
        {{{10, 3, SYN_BUY, false}, {6, 3, SYN_SELL, false}}, 2, 2, 6, 3},
        {{{10, 3, SYN_BUY, false}, {6, 3, SYN_SELL, false}}, 2, 20, 10, 3},
        {{{10, 3, SYN_BUY, false}, {6, 3, SYN_SELL, false}}, 2, 0, 6, 3},
        {{{0, 3, SYN_BUY, true}, {0, 2, SYN_SELL, true}}, 2, 77, 77, 2},
        {{{far, huge, SYN_BUY, false}, {1, huge, SYN_SELL, false}}, 2, far, far, huge},
        {{{far, huge, SYN_BUY, false}, {far, 1, SYN_SELL, false}}, 2, 1, far, 1},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_call_result result;

        assert_done(
            syn_call_clear(rows[i].orders, rows[i].count, rows[i].reference, NULL, &result, &err),
            &err);
        if (result.price != rows[i].price || result.volume != rows[i].volume)
            fail_msg("row %zu: %lld at %lld", i, (long long)result.volume, (long long)result.price);
    }
}

static void
call_refusals(void **state)
{
    const struct {
        struct syn_call_order order;
        const char *says;
    } rows[] = {
        {{0, 1, SYN_BUY, false}, "order 1: price"},
        {{-1, 1, SYN_BUY, false}, "order 1: price"},
        {{INT64_MAX, 1, SYN_BUY, false}, "order 1: price"},
        {{1, 0, SYN_BUY, false}, "order 1: qty"},
        {{1, INT64_MAX, SYN_BUY, false}, "order 1: qty"},
        {{1, 1, 2, false}, "order 1: side"},
    };
    struct syn_call_order orders[2] = {{1, 1, SYN_BUY, false}};
    struct syn_call_result result;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        orders[1] = rows[i].order;
        assert_code(syn_call_clear(orders, 2, 0, NULL, &result, &err), SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, rows[i].says));
    }
    assert_code(syn_call_clear(orders, 1, -1, NULL, &result, &err), SYN_E_INVALID, &err);
    assert_code(syn_call_clear(orders, (size_t)SYN_CALL_ORDERS_MAX + 1, 0, NULL, &result, &err),
                SYN_E_LIMIT, &err);
}

/* ---- tender ---- */

static void
tender_table(void **state)
{
    const struct syn_tender_bid bids[] = {
        {.price = 90, .qty = 10, .reputation = 900, .attributes = {500}},
        {.price = 80, .qty = 10, .reputation = 500, .attributes = {500}},
        {.price = 101, .qty = 99, .reputation = 999, .attributes = {999}},
        {.price = 10, .qty = 99, .reputation = 100, .attributes = {999}},
        {.price = 80, .qty = 4, .reputation = 500, .attributes = {500}},
        {.price = 70, .qty = 99, .reputation = 999, .attributes = {5}},
    };
    struct syn_tender tender = {.qty = 12,
                                .ceiling = 100,
                                .price_weight = 10,
                                .reputation_weight = 1,
                                .least = {100},
                                .least_reputation = 200};
    struct syn_tender_award awards[SYN_LEN(bids)];

    (void)state;
    /* 1 and 4 score 2000 + 500, 0 scores 1000 + 900 */
    assert_done(syn_tender_decide(&tender, bids, SYN_LEN(bids), awards, &err), &err);
    assert_true(awards[1].verdict == SYN_TENDER_WON && awards[1].qty == 10 && awards[1].rank == 0);
    assert_true(awards[4].verdict == SYN_TENDER_WON && awards[4].qty == 2 && awards[4].rank == 1);
    assert_true(awards[0].verdict == SYN_TENDER_OUTBID && awards[0].rank == 2);
    assert_true(awards[2].verdict == SYN_TENDER_DEAR && awards[2].rank == UINT32_MAX);
    assert_int_equal(awards[3].verdict, SYN_TENDER_UNFIT);
    assert_int_equal(awards[5].verdict, SYN_TENDER_UNFIT);
    /* reputation outweighs */
    tender.reputation_weight = 100;
    assert_done(syn_tender_decide(&tender, bids, SYN_LEN(bids), awards, &err), &err);
    assert_int_equal(awards[0].rank, 0);
    /* one for all */
    tender.whole = true;
    assert_code(syn_tender_decide(&tender, bids, SYN_LEN(bids), awards, &err), SYN_E_UNPLACEABLE,
                &err);
    assert_int_equal(awards[1].verdict, SYN_TENDER_TOO_FEW);
    assert_int_equal(awards[1].qty, 0);
    tender.qty = 10;
    assert_done(syn_tender_decide(&tender, bids, SYN_LEN(bids), awards, &err), &err);
    assert_true(awards[0].verdict == SYN_TENDER_WON && awards[0].qty == 10);
    assert_int_equal(awards[4].verdict, SYN_TENDER_TOO_FEW);
}

/* A winner that asks for less still wins as much. */
static void
cheaper_wins_too(const struct syn_tender *tender, struct syn_tender_bid *bids, size_t i,
                 int64_t won)
{
    struct syn_tender_award again[8];
    int64_t price = bids[i].price;

    bids[i].price = 1 + price / 2;
    assert_done(syn_tender_decide(tender, bids, 8, again, &err), &err);
    assert_true(again[i].qty >= won);
    bids[i].price = price;
}

static void
tender_properties(void **state)
{
    uint64_t random = 5;

    (void)state;
    for (unsigned round = 0; round < 500; round++) {
        struct syn_tender_bid bids[8];
        struct syn_tender_award awards[8];
        struct syn_tender tender = {.qty = 1 + (int64_t)(syn_test_random(&random) % 20),
                                    .ceiling = 50,
                                    .price_weight = 3,
                                    .weights = {2, 1}};
        int64_t sum = 0;
        int rc;

        for (size_t i = 0; i < 8; i++) {
            uint64_t r = syn_test_random(&random);

            bids[i] = (struct syn_tender_bid){.price = 1 + (int64_t)(r % 60),
                                              .qty = 1 + (int64_t)(r >> 8) % 6,
                                              .attributes = {(int32_t)(r >> 16) & 255}};
        }
        rc = syn_tender_decide(&tender, bids, 8, awards, &err);
        assert_true(rc == 0 || rc == SYN_E_UNPLACEABLE);
        for (size_t i = 0; i < 8; i++) {
            sum += awards[i].qty;
            assert_true((awards[i].verdict == SYN_TENDER_WON) == (awards[i].qty > 0));
            assert_true(awards[i].qty <= bids[i].qty);
            if (awards[i].qty > 0 && bids[i].price > 1)
                cheaper_wins_too(&tender, bids, i, awards[i].qty);
        }
        assert_int_equal(sum, rc == 0 ? tender.qty : 0);
    }
}

static void
tender_refusals(void **state)
{
    const struct syn_tender good = {.qty = 1, .ceiling = 1};
    const struct syn_tender_bid fine = {.price = 1, .qty = 1};
    struct syn_tender tender = good;
    struct syn_tender_bid bid = fine;
    struct syn_tender_award award;

    (void)state;
    tender.ceiling = 0;
    assert_code(syn_tender_decide(&tender, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    tender = good;
    tender.qty = -1;
    assert_code(syn_tender_decide(&tender, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    tender = good;
    tender.weights[3] = -1;
    assert_code(syn_tender_decide(&tender, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    bid.price = 0;
    assert_code(syn_tender_decide(&good, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "bid 0: price"));
    bid = fine;
    bid.qty = INT64_MAX;
    assert_code(syn_tender_decide(&good, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    bid = fine;
    bid.attributes[7] = 1001;
    assert_code(syn_tender_decide(&good, &bid, 1, &award, &err), SYN_E_INVALID, &err);
    assert_code(syn_tender_decide(&good, NULL, 0, &award, &err), SYN_E_UNPLACEABLE, &err);
    assert_code(syn_tender_decide(&good, &bid, SYN_TENDER_BIDS_MAX + 1, &award, &err), SYN_E_LIMIT,
                &err);
}

/* ---- bundles ---- */

#define BIDDERS 5
#define GOODS   3
#define VALUES  24

struct small_sale {
    struct syn_bundle_good goods[GOODS];
    struct syn_bundle_bid bids[BIDDERS];
    int64_t demand[BIDDERS][GOODS];
};

static void
random_sale(struct small_sale *sale, uint64_t *random)
{
    for (size_t g = 0; g < GOODS; g++) {
        uint64_t r = syn_test_random(random);

        sale->goods[g] = (struct syn_bundle_good){.supply = (int64_t)(r % 5),
                                                  .reserve = (int64_t)(r >> 8) % 3,
                                                  .weight = 1 + (int64_t)(r >> 16) % 4};
    }
    for (size_t i = 0; i < BIDDERS; i++) {
        uint64_t r = syn_test_random(random);

        for (size_t g = 0; g < GOODS; g++)
            sale->demand[i][g] = (int64_t)((r >> (8 * g)) % 3);
        sale->demand[i][r % GOODS] += 1;
        sale->bids[i] = (struct syn_bundle_bid){(int64_t)(r >> 32) % VALUES, sale->demand[i]};
    }
}

static void
sell(const struct small_sale *sale, struct syn_bundle_award *awards)
{
    assert_done(syn_bundle_sell(sale->goods, GOODS, sale->bids, BIDDERS, awards, &err), &err);
}

/* Nobody gains by any other bid; nobody pays more than it bid; no more is sold than there is. */
static void
bundles_are_truthful(void **state)
{
    uint64_t random = 11;
    unsigned wins = 0, paid = 0, lost = 0;

    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        struct small_sale sale;
        struct syn_bundle_award awards[BIDDERS], other[BIDDERS];
        int64_t sold[GOODS] = {0};

        random_sale(&sale, &random);
        sell(&sale, awards);
        for (size_t i = 0; i < BIDDERS; i++) {
            int64_t truth = sale.bids[i].value,
                    gain = awards[i].won ? truth - awards[i].payment : 0;

            assert_true(awards[i].won ? awards[i].payment <= truth : awards[i].payment == 0);
            for (size_t g = 0; g < GOODS; g++)
                sold[g] += awards[i].won ? sale.demand[i][g] : 0;
            for (int64_t lie = 0; lie < VALUES + 4; lie++) {
                sale.bids[i].value = lie;
                sell(&sale, other);
                assert_true((other[i].won ? truth - other[i].payment : 0) <= gain);
                /* the payment is the least bid that wins */
                if (awards[i].won)
                    assert_true(other[i].won == (lie >= awards[i].payment));
            }
            sale.bids[i].value = truth;
            wins += awards[i].won;
            paid += awards[i].payment > 0;
            lost += !awards[i].won;
        }
        for (size_t g = 0; g < GOODS; g++)
            assert_true(sold[g] <= sale.goods[g].supply);
    }
    assert_true(wins > 200 && paid > 100 && lost > 200);
}

static void
bundle_extremes(void **state)
{
    const struct syn_bundle_good good = {.supply = 1, .weight = SYN_BUNDLE_WEIGHT_MAX};
    const int64_t one[] = {1}, none[] = {0}, many[] = {SYN_BUNDLE_QTY_MAX}, minus[] = {-1};
    struct syn_bundle_bid bids[] = {{SYN_AMOUNT_MAX, one}, {SYN_AMOUNT_MAX - 1, one}, {5, many}};
    struct syn_bundle_award awards[3];
    struct syn_bundle_good bad = good;

    (void)state;
    assert_done(syn_bundle_sell(&good, 1, bids, 3, awards, &err), &err);
    assert_true(awards[0].won && !awards[1].won && !awards[2].won);
    assert_int_equal(awards[0].payment, SYN_AMOUNT_MAX - 1);
    bids[2].demand = none;
    assert_code(syn_bundle_sell(&good, 1, bids, 3, awards, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "bid 2: demand"));
    bids[2].demand = minus;
    assert_code(syn_bundle_sell(&good, 1, bids, 3, awards, &err), SYN_E_INVALID, &err);
    bids[0].value = -1;
    assert_code(syn_bundle_sell(&good, 1, bids, 1, awards, &err), SYN_E_INVALID, &err);
    bids[0].value = INT64_MAX;
    assert_code(syn_bundle_sell(&good, 1, bids, 1, awards, &err), SYN_E_INVALID, &err);
    bad.weight = 0;
    assert_code(syn_bundle_sell(&bad, 1, bids, 1, awards, &err), SYN_E_INVALID, &err);
    assert_code(syn_bundle_sell(&good, 0, bids, 1, awards, &err), SYN_E_LIMIT, &err);
    assert_code(syn_bundle_sell(&good, 1, bids, SYN_BUNDLE_BIDS_MAX + 1, awards, &err), SYN_E_LIMIT,
                &err);
}

/* ---- memory ---- */

static int
memory_scenario(void *arg, struct syn_err *failure)
{
    const struct syn_call_order orders[] = {{5, 1, SYN_BUY, false}, {4, 1, SYN_SELL, false}};
    const struct syn_tender tender = {.qty = 1, .ceiling = 5};
    const struct syn_tender_bid tender_bid = {.price = 1, .qty = 1};
    const struct syn_bundle_good good = {.supply = 1, .weight = 1};
    const int64_t one[] = {1};
    const struct syn_bundle_bid bid = {5, one};
    struct syn_call_result result;
    struct syn_tender_award award;
    struct syn_bundle_award bundle;
    int rc = syn_call_clear(orders, 2, 0, NULL, &result, failure);

    (void)arg;
    if (rc == 0)
        rc = syn_tender_decide(&tender, &tender_bid, 1, &award, failure);
    if (rc == 0)
        rc = syn_bundle_sell(&good, 1, &bid, 1, &bundle, failure);
    return rc;
}

static void
memory(void **state)
{
    (void)state;
    assert_int_equal(syn_test_sweep_alloc(memory_scenario, NULL), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_as_brute_force), cmocka_unit_test(call_with_large_prices),
        cmocka_unit_test(call_table),          cmocka_unit_test(call_refusals),
        cmocka_unit_test(tender_table),        cmocka_unit_test(tender_properties),
        cmocka_unit_test(tender_refusals),     cmocka_unit_test(bundles_are_truthful),
        cmocka_unit_test(bundle_extremes),     cmocka_unit_test(memory),
    };

    return cmocka_run_group_tests_name("auction", tests, NULL, NULL);
}
