/* The spot market through the API: orders, money and capacity, what is refused, what is asked. */
#include "market_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* --- tests ------------------------------------------------------------------------------------ */

static void
money_and_capacity_change_hands(void **state)
{
    char sell[MARKET_ORDER_ID_MAX], buy[MARKET_ORDER_ID_MAX], again[MARKET_ORDER_ID_MAX];
    struct fair fair;

    fair_open(&fair, *state);
    assert_int_equal(place(fair.seller, "sell", 10, "0.02", "", sell), SYN_OK);
    expect_order(fair.seller, sell, "open resting 0 10 0");
    expect_holding(fair.seller, "0 10 10 0");
    assert_int_equal(place(fair.ann, "buy", 4, "0.03", "", buy), SYN_OK);
    expect_order(fair.ann, buy, "filled traded 4 0 0.08"); /* at the price that rested */
    expect_order(fair.seller, sell, "open resting 4 6 0.08");
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 100 * SYN_SYNOR - 80 * MILLI);
    assert_int_equal(balance_of(fair.seller, "me", "balance"), 80 * MILLI);
    expect_holding(fair.ann, "4 0 0 0");
    expect_holding(fair.seller, "0 6 10 4");
    check_market(fair.house);

    /* What she holds she may sell again; what rests holds money. */
    assert_int_equal(place(fair.bob, "buy", 5, "0.01", "", buy), SYN_OK);
    assert_int_equal(balance_of(fair.bob, "me", "held"), 50 * MILLI);
    assert_int_equal(balance_of(fair.bob, "me", "balance"), 100 * SYN_SYNOR - 50 * MILLI);
    assert_int_equal(place(fair.ann, "sell", 3, "0.01", "", again), SYN_OK);
    expect_order(fair.ann, again, "filled traded 3 0 0.03");
    expect_order(fair.bob, buy, "open resting 3 2 0.03");
    assert_int_equal(balance_of(fair.bob, "me", "held"), 20 * MILLI);
    expect_holding(fair.bob, "3 0 0 0");
    check_market(fair.house);

    /* His own bid is in the way of his offer: the newer gives way. Then it is not. */
    assert_int_equal(place(fair.bob, "sell", 3, "0.001", "", again), SYN_OK);
    expect_order(fair.bob, again, "canceled own-order 0 0 0");
    cancel_orders(fair.bob);
    assert_int_equal(balance_of(fair.bob, "me", "held"), 0);
    /* A provider that buys its own back owes so much less. */
    assert_int_equal(place(fair.bob, "sell", 3, "0.001", "", NULL), SYN_OK);
    assert_int_equal(place(fair.seller, "buy", 3, "0.002", ",'type':'ioc'", again), SYN_OK);
    expect_order(fair.seller, again, "filled traded 3 0 0.003");
    expect_holding(fair.seller, "0 6 7 1");
    check_market(fair.house);
    cancel_orders(fair.seller);
    expect_holding(fair.seller, "0 0 1 1");
    check_market(fair.house);
    fair_close(&fair);
}

/* Each is refused, with this code and a message that says this, and changes nothing. */
static const struct {
    const char *body;
    int code;
    const char *says;
} refused[] = {
    {"{'class':'" CLASS "','side':'buy','qty':0,'price':'1'}", SYN_E_INVALID, "qty"},
    {"{'class':'" CLASS "','side':'buy','qty':-4,'price':'1'}", SYN_E_INVALID, "qty"},
    {"{'class':'" CLASS "','side':'buy','qty':1e9,'price':'1'}", SYN_E_INVALID, "qty"},
    {"{'class':'" CLASS "','side':'buy','qty':281474976710657,'price':'1'}", SYN_E_INVALID, "qty"},
    {"{'class':'" CLASS "','side':'buy','qty':281474976710656,'price':'4000000000'}", SYN_E_FUNDS,
     "more SYNOR than there are"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'-1'}", SYN_E_INVALID, "price"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'0'}", SYN_E_INVALID, "price"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1.0000000001'}", SYN_E_INVALID, "price"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':0.5}", SYN_E_INVALID, "price"},
    {"{'class':'" CLASS "','side':'buy','qty':1}", SYN_E_INVALID, "type limit needs one"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'market'}", SYN_E_INVALID,
     "takes none"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'stop'}", SYN_E_INVALID, "type"},
    {"{'class':'" CLASS "','side':'hold','qty':1,'price':'1'}", SYN_E_INVALID, "side"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','stp':'me'}", SYN_E_INVALID, "stp"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','until':'2001-01-01T00:00:00Z'}",
     SYN_E_INVALID, "past"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','until':'noon'}", SYN_E_INVALID,
     "until"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'ioc','ttl_ms':'1h'}",
     SYN_E_INVALID, "never rests"},
    {"{'class':'cpu/x86-avx2/fair','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "duration"},
    {"{'class':'cpu/x86-avx2/fair/year','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "year"},
    {"{'class':'CPU/any/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "class"},
    {"{'class':'cup/any/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "cup"},
    {"{'class':'cpu//fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "class"},
    {"{'class':'gpu/h100/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_NOTFOUND,
     "no node here"},
    {"{'class':'" CLASS "','side':'buy','qty':101,'price':'1'}", SYN_E_FUNDS, "1 are missing"},
    {"{'class':'" CLASS "','side':'sell','qty':1,'price':'1'}", SYN_E_FUNDS, "no node with"},
    {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','whose':'x'}", SYN_E_INVALID, "whose"},
};

static void
what_cannot_be_is_refused(void **state)
{
    struct fair fair;
    uint64_t events;

    fair_open(&fair, *state);
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        int rc = call(fair.ann, "POST", "/v1/market/orders", refused[i].body, NULL, NULL);

        if (rc != refused[i].code || strstr(message_of(fair.ann), refused[i].says) == NULL)
            fail_msg("%s: %d, %s", refused[i].body, rc, message_of(fair.ann));
    }
    events = syn_exchange_events(fair.house->server->market->exchange);
    assert_int_equal(syn_exchange_classes(fair.house->server->market->exchange), 0);
    assert_int_equal(syn_exchange_accounts(fair.house->server->market->exchange), 0);
    assert_true(events < 16); /* time passed, nothing else */
    check_market(fair.house);
    fair_close(&fair);
}

static void
a_provider_offers_no_more_than_it_has(void **state)
{
    struct fair fair;

    fair_open(&fair, *state);
    assert_int_equal(place(fair.seller, "sell", 641, "1", "", NULL), SYN_E_FUNDS);
    assert_non_null(
        strstr(message_of(fair.seller), "have 640 of cpu/x86-avx2/fair free of jobs, 0 of them"));
    assert_int_equal(place(fair.seller, "sell", 640, "1", "", NULL), SYN_OK);
    assert_int_equal(place(fair.seller, "sell", 1, "1", "", NULL), SYN_E_FUNDS);
    assert_non_null(strstr(message_of(fair.seller), "640 of them offered or sold"));
    /* One processor for a day is the same processor as one for an hour. */
    assert_int_equal(call(fair.seller, "POST", "/v1/market/orders",
                          "{'class':'cpu/x86-avx2/fair/day','side':'sell','qty':1,'price':'1'}",
                          NULL, NULL),
                     SYN_E_FUNDS);
    check_market(fair.house);
    fair_close(&fair);
}

static void
orders_of_others_are_not_there(void **state)
{
    char id[MARKET_ORDER_ID_MAX], path[96];
    struct fair fair;
    SYN_JSON(list);

    fair_open(&fair, *state);
    assert_int_equal(place(fair.ann, "buy", 2, "0.5", "", id), SYN_OK);
    (void)snprintf(path, sizeof(path), "/v1/market/orders/%s", id);
    assert_int_equal(call(fair.bob, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(fair.bob, "DELETE", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(fair.bob, "PATCH", path, "{'qty':1}", NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(fair.bob, "GET", "/v1/market/orders?all=true", NULL, NULL, NULL),
                     SYN_E_FORBIDDEN);
    must(fair.bob, "GET", "/v1/market/orders", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    assert_int_equal(call(fair.ann, "DELETE", "/v1/market/orders/7", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(call(fair.ann, "DELETE", "/v1/market/orders/-1", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(
        call(fair.ann, "DELETE", "/v1/market/orders/99999999999999999999", NULL, NULL, NULL),
        SYN_E_NOTFOUND);
    expect_order(fair.ann, id, "open resting 0 2 0");
    must(fair.house->client, "DELETE", path, NULL, NULL); /* an operator may */
    expect_order(fair.ann, id, "canceled asked 0 0 0");
    check_market(fair.house);
    fair_close(&fair);
}

static void
each_type_does_as_it_says(void **state)
{
    static const struct {
        const char *type;
        const char *price; /* NULL: none */
        int64_t qty;
        const char *want;
    } rows[] = {
        /* 3 units are asked for at 0.01 each time, and 3 at 0.02 */
        {"limit", "0.01", 5, "open resting 3 2 0.03"},
        {"ioc", "0.01", 5, "dropped immediate 3 0 0.03"},
        {"fok", "0.01", 5, "dropped not-whole 0 0 0"},
        {"fok", "0.02", 5, "filled traded 5 0 0.07"},
        {"aon", "0.01", 5, "open waiting 0 5 0"},
        {"aon", "0.02", 5, "filled traded 5 0 0.07"},
        {"market", NULL, 5, "filled traded 5 0 0.07"},
        {"market", NULL, 9, "dropped immediate 6 0 0.09"},
    };
    struct fair fair;

    fair_open(&fair, *state);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char more[32], id[MARKET_ORDER_ID_MAX];

        assert_int_equal(place(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
        assert_int_equal(place(fair.seller, "sell", 3, "0.02", "", NULL), SYN_OK);
        (void)snprintf(more, sizeof(more), ",'type':'%s'", rows[i].type);
        assert_int_equal(place(fair.ann, "buy", rows[i].qty, rows[i].price, more, id), SYN_OK);
        expect_order(fair.ann, id, rows[i].want);
        check_market(fair.house);
        cancel_orders(fair.ann);
        cancel_orders(fair.seller);
        check_market(fair.house);
    }
    fair_close(&fair);
}

static void
change(struct syn_client *client, const char *id, const char *body, int code)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "/v1/market/orders/%s", id);
    assert_int_equal(call(client, "PATCH", path, body, NULL, NULL), code);
}

static void
orders_are_changed(void **state)
{
    char first[MARKET_ORDER_ID_MAX], second[MARKET_ORDER_ID_MAX], offer[MARKET_ORDER_ID_MAX];
    struct fair fair;

    fair_open(&fair, *state);
    assert_int_equal(place(fair.ann, "buy", 5, "0.01", "", first), SYN_OK);
    assert_int_equal(place(fair.bob, "buy", 5, "0.01", "", second), SYN_OK);
    change(fair.ann, first, "{'qty':3}", SYN_OK); /* and is first still */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 30 * MILLI);
    assert_int_equal(place(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
    expect_order(fair.ann, first, "open resting 1 2 0.01");
    change(fair.ann, first, "{'qty':4}", SYN_OK); /* more: it is last now */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 40 * MILLI);
    assert_int_equal(place(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
    expect_order(fair.bob, second, "open resting 1 4 0.01");
    change(fair.ann, first, "{'price':'0.02'}", SYN_OK); /* dearer: it is first again */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 80 * MILLI);
    assert_int_equal(place(fair.seller, "sell", 6, "0.005", "", offer), SYN_OK);
    expect_order(fair.ann, first, "filled traded 5 0 0.09");
    expect_order(fair.bob, second, "open resting 3 2 0.03");
    check_market(fair.house);

    change(fair.bob, second, "{'qty':100000}", SYN_E_FUNDS);
    change(fair.bob, second, "{'price':'4000000000'}", SYN_E_FUNDS);
    change(fair.bob, second, "{'qty':2}", SYN_E_INVALID);
    change(fair.bob, second, "{}", SYN_E_INVALID);
    change(fair.bob, second, "{'qty':0}", SYN_E_INVALID);
    change(fair.bob, second, "{'qty':-1}", SYN_E_INVALID);
    change(fair.bob, second, "{'price':'0'}", SYN_E_INVALID);
    change(fair.ann, first, "{'qty':1}", SYN_E_CONFLICT);
    expect_order(fair.bob, second, "open resting 3 2 0.03");
    check_market(fair.house);

    assert_int_equal(place(fair.seller, "sell", 10, "1", "", offer), SYN_OK);
    change(fair.seller, offer, "{'qty':20}", SYN_OK);
    expect_holding(fair.seller, "0 20 28 8");
    change(fair.seller, offer, "{'qty':633}", SYN_E_FUNDS);
    change(fair.seller, offer, "{'qty':632}", SYN_OK);
    expect_holding(fair.seller, "0 632 640 8");
    change(fair.seller, offer, "{'qty':1}", SYN_OK);
    expect_holding(fair.seller, "0 1 9 8");
    check_market(fair.house);
    fair_close(&fair);
}

static void
orders_end_when_their_time_is_up(void **state)
{
    char id[MARKET_ORDER_ID_MAX];
    struct fair fair;

    fair_open(&fair, *state);
    /* Hers is the last to go; when, only the clock says: nothing is asked of it before. */
    assert_int_equal(place(fair.seller, "sell", 5, "0.5", ",'ttl_ms':1000", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 5, "0.01", ",'ttl_ms':1000", id), SYN_OK);
    for (int i = 0; i < 1500 && balance_of(fair.ann, "me", "held") != 0; i++)
        (void)usleep(20000); /* nobody asks anything of the market: its own timer ends them */
    expect_order(fair.ann, id, "expired good-till 0 0 0");
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 100 * SYN_SYNOR);
    expect_holding(fair.seller, "");
    check_market(fair.house);
    fair_close(&fair);
}

static void
one_key_places_one_order(void **state)
{
    static const char body[] = "{'class':'" CLASS "','side':'buy','qty':1,'price':'0.5'}";
    struct house *house = *state;
    struct fair fair;
    SYN_JSON(first);
    SYN_JSON(again);
    SYN_JSON(third);

    fair_open(&fair, house);
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders", body, "order-key-1", &first),
                     SYN_OK);
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders", body, "order-key-1", &again),
                     SYN_OK);
    assert_true(json_equal(first, again));
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders",
                          "{'class':'" CLASS "','side':'buy','qty':2,'price':'0.5'}", "order-key-1",
                          NULL),
                     SYN_E_CONFLICT);
    assert_int_equal(balance_of(fair.ann, "me", "held"), 500 * MILLI);
    check_market(house);
    fair_close(&fair);
    house_close(house);
    house_open(house);
    fair.ann = tenant(house, "ann", "tenant");
    await_token(fair.ann);
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders", body, "order-key-1", &third),
                     SYN_OK);
    assert_true(json_equal(first, third));
    assert_int_equal(balance_of(fair.ann, "me", "held"), 500 * MILLI);
    fair.ann = syn_client_free(fair.ann);
}

static void
a_provider_offers_what_its_nodes_have(void **state)
{
    char first[MARKET_ORDER_ID_MAX], second[MARKET_ORDER_ID_MAX], third[MARKET_ORDER_ID_MAX];
    struct fair fair;
    struct syn_err err = {0};

    fair_open(&fair, *state);
    assert_int_equal(place(fair.seller, "sell", 100, "0.03", "", first), SYN_OK);
    assert_int_equal(place(fair.seller, "sell", 100, "0.01", "", second), SYN_OK);
    assert_int_equal(place(fair.seller, "sell", 100, "0.02", "", third), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 7, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_fit(fair.house->server, &err), &err);
    expect_order(fair.seller, third, "open resting 0 100 0"); /* it fits */
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':true}", NULL);
    assert_done(srv_market_fit(fair.house->server, &err), &err);
    expect_order(fair.seller, first, "canceled capacity 0 0 0");
    expect_order(fair.seller, second, "canceled capacity 7 0 0.07");
    expect_order(fair.seller, third, "canceled capacity 0 0 0");
    expect_holding(fair.seller, "0 0 7 7"); /* what is sold stays sold */
    expect_holding(fair.ann, "7 0 0 0");
    assert_int_equal(place(fair.seller, "sell", 1, "0.03", "", NULL), SYN_E_FUNDS);
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':false}", NULL);
    assert_int_equal(place(fair.seller, "sell", 634, "0.03", "", NULL), SYN_E_FUNDS);
    assert_int_equal(place(fair.seller, "sell", 633, "0.03", "", NULL), SYN_OK);
    check_market(fair.house);
    fair_close(&fair);
}

/* "PROVIDER UNITS[ gone]" of each of whom the account's units are, into out. */
static void
sellers_of(struct fair *fair, struct syn_client *client, char *text, size_t cap)
{
    const json_t *row;
    SYN_JSON(answer);
    SYN_JSON(prov);
    size_t i, len = 0;

    text[0] = '\0';
    must(fair->seller, "GET", "/v1/accounts/me", NULL, &prov);
    must(client, "GET", "/v1/market/holdings", NULL, &answer);
    json_array_foreach (syn_json_at(json_array_get(json_object_get(answer, "items"), 0), "of"), i,
                        row) {
        bool ours = syn_str_eq(syn_json_str(row, "provider", ""), syn_document_id(prov));

        len += (size_t)snprintf(text + len, cap - len, "%s%s %lld%s", len > 0 ? ", " : "",
                                ours ? "prov" : syn_json_str(row, "provider", "?"),
                                (long long)syn_json_i64(row, "units", 0),
                                json_is_string(json_object_get(row, "gone_since")) ? " gone" : "");
    }
}

static void
expect_sellers(struct fair *fair, struct syn_client *client, const char *want)
{
    char text[256];

    sellers_of(fair, client, text, sizeof(text));
    assert_string_equal(text, want);
}

static int
make_older(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    SRV_TXN(txn);
    struct syn_server *server = arg;

    assert_done(
        syn_json_set_i64(doc, "since_ms", syn_json_i64(doc, "since_ms", 0) - MARKET_GONE_MS, err),
        err);
    assert_done(srv_txn_replace(&txn, key, revision, doc, err), err);
    return srv_txn_commit(server, &txn, NULL, err) < 0 ? SYN_E_INTERNAL : SYN_OK;
}

/* A day goes by for who is gone, until the account's units are these of these sellers. The market's
 * own clock looks, too, and may just have seen what was before. */
static void
after_a_day(struct fair *fair, struct syn_client *client, const char *want)
{
    struct syn_server *server = fair->house->server;
    struct syn_err err = {0};
    char text[256];

    for (int i = 0; i < 1000; i++) {
        assert_done(srv_market_fit(server, &err), &err);
        assert_true(srv_each(server, "market-gone/", make_older, server, &err) >= 0);
        assert_done(srv_market_fit(server, &err), &err);
        sellers_of(fair, client, text, sizeof(text));
        if (syn_str_eq(text, want))
            break;
        (void)usleep(50000);
    }
    assert_string_equal(text, want);
    check_market(fair->house);
}

/* Until the account's units are these, without a day between. */
static void
looked_at(struct fair *fair, struct syn_client *client, const char *want)
{
    struct syn_err err = {0};
    char text[256];

    for (int i = 0; i < 1000; i++) {
        assert_done(srv_market_fit(fair->house->server, &err), &err);
        sellers_of(fair, client, text, sizeof(text));
        if (syn_str_eq(text, want))
            break;
        (void)usleep(50000);
    }
    assert_string_equal(text, want);
}

static void
restart(struct fair *fair)
{
    struct house *house = fair->house;

    be_none(fair);
    house_close(house);
    house_open(house);
    be_all(fair);
}

static void
a_seller_that_left_pays_back(void **state)
{
    char offer[MARKET_ORDER_ID_MAX];
    struct fair fair;
    struct syn_err err = {0};

    fair_open(&fair, *state);
    assert_int_equal(place(fair.seller, "sell", 10, "0.01", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 7, "0.01", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "sell", 2, "0.03", "", NULL), SYN_OK);
    cancel_orders(fair.seller);
    assert_int_equal(place(fair.bob, "buy", 2, "0.03", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "sell", 4, "0.5", "", offer), SYN_OK);
    expect_sellers(&fair, fair.ann, "prov 5");
    expect_sellers(&fair, fair.bob, "prov 2"); /* whoever sold them to him */
    assert_done(srv_market_debts_write(fair.house->server, &err), &err);
    restart(&fair);
    expect_sellers(&fair, fair.bob, "prov 2");

    after_a_day(&fair, fair.ann, "prov 5"); /* it is there */
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':true}", NULL);
    looked_at(&fair, fair.ann, "prov 5 gone");
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':false}", NULL);
    looked_at(&fair, fair.ann, "prov 5"); /* it is back */
    after_a_day(&fair, fair.ann, "prov 5");
    expect_holding(fair.ann, "1 4 0 0");

    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':true}", NULL);
    looked_at(&fair, fair.ann, "prov 5 gone");
    restart(&fair);
    looked_at(&fair, fair.ann, "prov 5 gone");
    expect_holding(fair.ann, "1 4 0 0"); /* not yet */
    after_a_day(&fair, fair.ann, "");
    /* It had 0.07: enough for five at 0.01, not for one more at 0.03. */
    expect_order(fair.ann, offer, "canceled capacity 0 0 0");
    expect_holding(fair.ann, "");
    expect_holding(fair.bob, "2 0 0 0");
    expect_holding(fair.seller, "0 0 2 2");
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 100040 * MILLI); /* it sold two */
    assert_int_equal(balance_of(fair.seller, "me", "balance"), 20 * MILLI);
    expect_sellers(&fair, fair.bob, "prov 2 gone");
    must(fair.house->client, "POST", "/v1/accounts/prov/faucet", "{'amount':'0.02'}", NULL);
    after_a_day(&fair, fair.bob, "prov 1 gone"); /* one can be paid for now */
    expect_holding(fair.bob, "1 0 0 0");
    must(fair.house->client, "POST", "/v1/accounts/prov/faucet", "{'amount':'1'}", NULL);
    after_a_day(&fair, fair.bob, "");
    after_a_day(&fair, fair.bob, ""); /* and once */
    expect_holding(fair.bob, "");
    expect_holding(fair.seller, "");
    assert_int_equal(balance_of(fair.bob, "me", "balance"), 100000 * MILLI);
    assert_int_equal(balance_of(fair.seller, "me", "balance"), 980 * MILLI);
    fair_close(&fair);
}

static void
a_plan_places_nothing(void **state)
{
    static const char path[] = "/v1/market/orders?plan=true";
    struct fair fair;
    SYN_JSON(plan);
    SYN_JSON(dear);
    SYN_JSON(sale);

    fair_open(&fair, *state);
    assert_int_equal(place(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
    assert_int_equal(place(fair.seller, "sell", 3, "0.02", "", NULL), SYN_OK);
    must(fair.ann, "POST", path, "{'class':'" CLASS "','side':'buy','qty':8,'price':'0.02'}",
         &plan);
    assert_true(json_is_null(json_object_get(plan, "refused")));
    assert_int_equal(syn_json_i64(plan, "trades", 0), 6);
    assert_int_equal(syn_json_i64(plan, "rests", 0), 2);
    assert_string_equal(syn_json_str(plan, "cost", ""), "0.09");
    assert_string_equal(syn_json_str(plan, "held", ""), "0.04");
    assert_string_equal(syn_json_str(plan, "fee", ""), "0");
    assert_string_equal(syn_json_str(plan, "balance_after", ""), "99.87");
    must(fair.ann, "POST", path, "{'class':'" CLASS "','side':'buy','qty':8,'price':'20'}", &dear);
    assert_string_equal(syn_json_str(json_object_get(dear, "refused"), "code", ""),
                        "insufficient-funds");
    assert_int_equal(place(fair.ann, "buy", 8, "0.02", "", NULL), SYN_OK);
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 99870 * MILLI); /* as planned */
    must(fair.ann, "POST", path, "{'class':'" CLASS "','side':'sell','qty':2,'price':'0.01'}",
         &sale);
    assert_int_equal(syn_json_i64(sale, "trades", -1), 0); /* her own bid is no counterpart */
    check_market(fair.house);
    fair_close(&fair);
}

static void
the_market_is_asked(void **state)
{
    struct fair fair;
    SYN_JSON(classes);
    SYN_JSON(opened);
    SYN_JSON(book);
    SYN_JSON(quote);
    SYN_JSON(trades);
    SYN_JSON(index);
    SYN_JSON(offers);
    const json_t *item;

    fair_open(&fair, *state);
    must(fair.ann, "GET", "/v1/market/classes", NULL, &classes);
    assert_int_equal(json_array_size(json_object_get(classes, "items")), 4);
    assert_int_equal(call(fair.ann, "GET", "/v1/market/book?class=" CLASS, NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(call(fair.ann, "GET", "/v1/market/book?class=nonsense", NULL, NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(
        call(fair.ann, "GET", "/v1/market/quote?class=" CLASS "&qty=-1", NULL, NULL, NULL),
        SYN_E_INVALID);
    assert_int_equal(place(fair.seller, "sell", 5, "0.015", "", NULL), SYN_OK);
    assert_int_equal(place(fair.seller, "sell", 5, "0.02", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 2, "0.015", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "sell", 1, "0.03", "", NULL), SYN_OK);

    must(fair.ann, "GET", "/v1/market/classes", NULL, &opened);
    item = json_array_get(json_object_get(opened, "items"), 0);
    assert_string_equal(syn_json_str(item, "class", ""), CLASS);
    assert_string_equal(syn_json_str(item, "ask", ""), "0.015");
    assert_string_equal(syn_json_str(item, "last", ""), "0.015");
    assert_true(json_is_null(json_object_get(item, "bid")));

    must(fair.ann, "GET", "/v1/market/book?depth=2&class=" CLASS, NULL, &book);
    assert_int_equal(json_array_size(json_object_get(book, "asks")), 2);
    item = json_array_get(json_object_get(book, "asks"), 0);
    assert_int_equal(syn_json_i64(item, "qty", 0), 3);

    must(fair.ann, "GET", "/v1/market/quote?qty=20&class=" CLASS, NULL, &quote);
    assert_int_equal(syn_json_i64(quote, "available", 0), 8); /* not her own */
    assert_string_equal(syn_json_str(quote, "total", ""), "0.145");
    assert_string_equal(syn_json_str(quote, "worst_price", ""), "0.02");

    must(fair.bob, "GET", "/v1/market/trades?class=" CLASS, NULL, &trades);
    item = json_array_get(json_object_get(trades, "items"), 0);
    assert_true(json_is_null(json_object_get(item, "mine"))); /* whose it was he is not told */
    assert_null(json_object_get(item, "buyer"));
    assert_string_equal(syn_json_str(item, "price", ""), "0.015");

    must(fair.bob, "GET", "/v1/market/index?window_ms=60000&class=" CLASS, NULL, &index);
    assert_string_equal(syn_json_str(index, "basis", ""), "trades");
    assert_string_equal(syn_json_str(index, "price", ""), "0.015");
    assert_string_equal(syn_json_str(index, "list_price", ""), "0.02");
    assert_int_equal(syn_json_i64(index, "window_ms", 0), 60000);

    must(fair.bob, "GET", "/v1/market/offers", NULL, &offers);
    assert_int_equal(json_array_size(json_object_get(offers, "items")), 3);
    item = json_array_get(json_object_get(offers, "items"), 0);
    assert_true(syn_str_starts(syn_json_str(item, "provider", ""), "acct-"));
    assert_string_equal(syn_json_str(item, "provider_name", ""), "prov");
    assert_string_equal(syn_json_str(item, "list_price", ""), "0.02");
    item = json_array_get(json_object_get(offers, "items"), 2);
    assert_true(json_is_null(json_object_get(item, "provider"))); /* resale */
    fair_close(&fair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(money_and_capacity_change_hands, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_provider_offers_no_more_than_it_has, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(orders_of_others_are_not_there, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(each_type_does_as_it_says, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_are_changed, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_end_when_their_time_is_up, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(one_key_places_one_order, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_provider_offers_what_its_nodes_have, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(a_seller_that_left_pays_back, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_plan_places_nothing, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(the_market_is_asked, fresh_house, end_house),
    };

    return cmocka_run_group_tests_name("market", tests, NULL, NULL);
}
