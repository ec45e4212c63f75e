/* The spot market through the API: orders, money, capacity; what is refused; what a restart, a disk
 * that fails and a spoilt file leave of it. */
#include "server_testing.h"

#include <fcntl.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/chain/ledger.h>
#include <synor/infra/store_ops.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

#define CLASS "cpu/x86-avx2/fair/hour"
#define MILLI (SYN_SYNOR / 1000)

/* Each test has a house of its own, with nothing in it. */
static int
fresh_house(void **state)
{
    static unsigned number;
    struct house *house = calloc(1, sizeof(*house));
    char dir[192];

    assert_non_null(house);
    syn_json_init();
    (void)pthread_mutex_init(&house->lock, NULL);
    (void)pthread_cond_init(&house->changed, NULL);
    (void)snprintf(dir, sizeof(dir), "%s/%u", syn_test_dir(), number++);
    house->dir = strdup(dir);
    assert_non_null(house->dir);
    house_open(house);
    *state = house;
    return 0;
}

static int
end_house(void **state)
{
    struct house *house = *state;
    char *dir = (char *)(uintptr_t)house->dir;

    (void)house_teardown(state);
    free(dir);
    return 0;
}

/* --- a house with a provider of 640 cores in the region "fair", and two tenants --------------- */

struct fair {
    struct house *house;
    struct joiner prov;
    struct syn_client *seller, *ann, *bob;
};

static struct syn_client *
with_money(struct house *house, const char *name, const char *amount)
{
    struct syn_client *client = tenant(house, name, "tenant");
    char path[96], body[64];

    await_token(client);
    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", name);
    (void)snprintf(body, sizeof(body), "{'amount':'%s'}", amount);
    must(house->client, "POST", path, body, NULL);
    return client;
}

/* A node says what its cores are. */
static void
join_with_cores(struct fair *fair)
{
    SYN_JSON(request);
    SYN_JSON(status);
    json_t *devices;

    request = joiner_request(&fair->prov, "fair", 77);
    devices =
        json_pack("[{s:s, s:s, s:s}]", "id", "cpu0", "kind", "cpu", "profile", "cpu-x86-avx2");
    assert_int_equal(json_object_set_new(request, "devices", devices), 0);
    must(fair->house->client, "GET", "/v1/status", NULL, &status);
    joiner_sign(request, 77, syn_json_str(status, "cluster", ""), fair->prov.token);
    assert_int_equal(call_json(fair->prov.client, "POST", "/v1/nodes", request, NULL), SYN_OK);
}

static void
fair_open(struct fair *fair, struct house *house)
{
    *fair = (struct fair){.house = house};
    joiner_init(&fair->prov, house, "prov");
    join_with_cores(fair);
    fair->seller = tenant(house, "prov", "tenant");
    await_token(fair->seller);
    fair->ann = with_money(house, "ann", "100");
    fair->bob = with_money(house, "bob", "100");
}

static void
fair_close(struct fair *fair)
{
    fair->seller = syn_client_free(fair->seller);
    fair->ann = syn_client_free(fair->ann);
    fair->bob = syn_client_free(fair->bob);
    joiner_fini(&fair->prov);
}

/* --- what must always hold -------------------------------------------------------------------- */

static int
add_held(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    int64_t *sum = arg;
    int64_t amount = 0;

    (void)revision;
    if (!syn_str_ends(key, "/market"))
        return SYN_OK;
    assert_int_equal(syn_parse_amount(json_string_value(doc), key, &amount, err), SYN_OK);
    *sum += amount;
    return SYN_OK;
}

static int
audit_tx(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_ledger_tx tx;

    (void)key;
    (void)revision;
    assert_int_equal(syn_ledger_tx_decode(doc, &tx, err), SYN_OK);
    return syn_ledger_audit_tx(arg, &tx, err);
}

static int
audit_account(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct syn_ledger_account account;

    (void)key;
    (void)revision;
    assert_int_equal(syn_ledger_account_decode(doc, &account, err), SYN_OK);
    return syn_ledger_audit_account(arg, &account, err);
}

static void
check_ledger(struct house *house)
{
    SYN_SCOPED(syn_ledger_audit_free_scope) struct syn_ledger_audit *audit = NULL;
    struct syn_err err;
    SYN_JSON(findings);

    assert_done(syn_ledger_audit_new(&audit, &err), &err);
    assert_done(srv_each(house->server, "tx/", audit_tx, audit, &err), &err);
    assert_done(srv_each(house->server, "balance/", audit_account, audit, &err), &err);
    assert_done(syn_ledger_audit_finish(audit, &findings, &err), &err);
    assert_int_equal(json_array_size(findings), 0);
}

/* An order's document says of a resting order what the book says, and rests when it says so. */
static int
check_order(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct syn_books *books = arg;
    const json_t *spec = syn_document_spec(doc), *status = syn_document_status(doc);
    bool open = syn_str_eq(syn_document_state(doc), "open");
    int64_t qty = syn_json_i64(spec, "qty", -1), traded = syn_json_i64(status, "traded", -1);
    int64_t left = syn_json_i64(status, "left", -1);
    struct syn_order_view view = {0};
    uint64_t id;

    (void)revision;
    assert_int_equal(srv_market_order_number(strrchr(key, '/') + 1, &id, err), SYN_OK);
    assert_int_equal(syn_books_find(books, id, &view), open);
    assert_int_equal(view.qty, left);
    if (open) {
        assert_int_equal(view.price, syn_document_amount(spec, "price"));
        assert_int_equal(traded + left, qty);
    }
    assert_true(traded >= 0 && traded <= qty);
    assert_int_equal(syn_str_eq(syn_document_state(doc), "filled"), !open && traded == qty);
    return SYN_OK;
}

/* Money and capacity, counted in every way that there is. */
static void
check_market(struct house *house)
{
    struct srv_market *market = house->server->market;
    const struct syn_exchange *exchange;
    int64_t balance = 0, held = 0;
    struct syn_err err;

    assert_done(srv_market_enter(market, &err), &err);
    exchange = market->exchange;
    syn_exchange_check(exchange);
    assert_done(srv_balance(house->server, SYN_LEDGER_MARKET, &balance, &err), &err);
    assert_int_equal(balance, syn_exchange_money_total(exchange));
    for (uint32_t account = 0; account < syn_exchange_accounts(exchange); account++) {
        const char *name = syn_exchange_account_name(exchange, account);

        assert_int_equal(syn_exchange_money(exchange, account).free, 0);
        for (uint32_t class = 0; class < syn_exchange_classes(exchange); class ++) {
            struct syn_balance units = syn_exchange_capacity(exchange, account, class);
            int64_t issued =
                srv_market_issued(market, name, syn_exchange_class_name(exchange, class));

            assert_true(units.free == 0 || issued == 0);
        }
    }
    assert_done(srv_each(house->server, "escrow-of/", add_held, &held, &err), &err);
    assert_int_equal(held, balance);
    assert_done(srv_each(house->server, "order/", check_order,
                         (void *)(uintptr_t)syn_exchange_books(exchange), &err),
                &err);
    srv_market_leave(market);
    assert_int_equal(ledger_sum(house), 0);
    check_ledger(house);
}

/* The bytes of the exchange: the same events, the same bytes. */
static uint64_t
sum_of(struct house *house)
{
    struct syn_err err;
    SYN_BUF(data);

    assert_done(srv_market_enter(house->server->market, &err), &err);
    assert_done(syn_exchange_snapshot(house->server->market->exchange, &data, &err), &err);
    srv_market_leave(house->server->market);
    return syn_market_checksum(data.data, data.len);
}

/* --- orders ----------------------------------------------------------------------------------- */

/* Place a limit order, or what `more` makes of it. Its id into out[MARKET_ORDER_ID_MAX] (may be
 * NULL). */
static int
order(struct syn_client *client, const char *side, int64_t qty, const char *price, const char *more,
      char *out)
{
    char body[256];
    SYN_JSON(doc);
    int rc;

    (void)snprintf(body, sizeof(body), "{'class':'" CLASS "','side':'%s','qty':%lld%s%s%s%s}", side,
                   (long long)qty, price != NULL ? ",'price':'" : "", price != NULL ? price : "",
                   price != NULL ? "'" : "", more);
    rc = call(client, "POST", "/v1/market/orders", body, NULL, &doc);
    if (rc == SYN_OK && out != NULL)
        (void)syn_str_copy(out, MARKET_ORDER_ID_MAX, syn_document_id(doc));
    return rc;
}

static const char *
message_of(struct syn_client *client)
{
    return syn_json_str(syn_client_error(client), "message", "");
}

/* "STATE REASON TRADED LEFT PAID" */
static void
expect_order(struct syn_client *client, const char *id, const char *want)
{
    char path[96], text[160];
    const json_t *status;
    SYN_JSON(doc);

    (void)snprintf(path, sizeof(path), "/v1/market/orders/%s", id);
    must(client, "GET", path, NULL, &doc);
    status = syn_document_status(doc);
    (void)snprintf(text, sizeof(text), "%s %s %lld %lld %s", syn_document_state(doc),
                   syn_json_str(status, "reason", ""),
                   (long long)syn_json_i64(status, "traded", -1),
                   (long long)syn_json_i64(status, "left", -1), syn_json_str(status, "paid", "?"));
    assert_string_equal(text, want);
}

/* "FREE HELD ISSUED SOLD" of the class */
static void
expect_holding(struct syn_client *client, const char *want)
{
    char text[96] = "";
    SYN_JSON(answer);
    size_t i;
    json_t *item;

    must(client, "GET", "/v1/market/holdings", NULL, &answer);
    json_array_foreach (json_object_get(answer, "items"), i, item) {
        if (syn_str_eq(syn_json_str(item, "class", ""), CLASS))
            (void)snprintf(text, sizeof(text), "%lld %lld %lld %lld",
                           (long long)syn_json_i64(item, "free", -1),
                           (long long)syn_json_i64(item, "held", -1),
                           (long long)syn_json_i64(item, "issued", -1),
                           (long long)syn_json_i64(item, "sold", -1));
    }
    assert_string_equal(text, want);
}

static void
cancel_all(struct syn_client *client)
{
    SYN_JSON(answer);
    size_t i;
    json_t *item;

    must(client, "GET", "/v1/market/orders?state=open", NULL, &answer);
    json_array_foreach (json_object_get(answer, "items"), i, item) {
        char path[96];

        (void)snprintf(path, sizeof(path), "/v1/market/orders/%s", syn_document_id(item));
        must(client, "DELETE", path, NULL, NULL);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void
money_and_capacity_change_hands(void **state)
{
    char sell[MARKET_ORDER_ID_MAX], buy[MARKET_ORDER_ID_MAX], again[MARKET_ORDER_ID_MAX];
    struct fair fair;

    fair_open(&fair, *state);
    assert_int_equal(order(fair.seller, "sell", 10, "0.02", "", sell), SYN_OK);
    expect_order(fair.seller, sell, "open resting 0 10 0");
    expect_holding(fair.seller, "0 10 10 0");
    assert_int_equal(order(fair.ann, "buy", 4, "0.03", "", buy), SYN_OK);
    expect_order(fair.ann, buy, "filled traded 4 0 0.08"); /* at the price that rested */
    expect_order(fair.seller, sell, "open resting 4 6 0.08");
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 100 * SYN_SYNOR - 80 * MILLI);
    assert_int_equal(balance_of(fair.seller, "me", "balance"), 80 * MILLI);
    expect_holding(fair.ann, "4 0 0 0");
    expect_holding(fair.seller, "0 6 10 4");
    check_market(fair.house);

    /* What she holds she may sell again; what rests holds money. */
    assert_int_equal(order(fair.bob, "buy", 5, "0.01", "", buy), SYN_OK);
    assert_int_equal(balance_of(fair.bob, "me", "held"), 50 * MILLI);
    assert_int_equal(balance_of(fair.bob, "me", "balance"), 100 * SYN_SYNOR - 50 * MILLI);
    assert_int_equal(order(fair.ann, "sell", 3, "0.01", "", again), SYN_OK);
    expect_order(fair.ann, again, "filled traded 3 0 0.03");
    expect_order(fair.bob, buy, "open resting 3 2 0.03");
    assert_int_equal(balance_of(fair.bob, "me", "held"), 20 * MILLI);
    expect_holding(fair.bob, "3 0 0 0");
    check_market(fair.house);

    /* His own bid is in the way of his offer: the newer gives way. Then it is not. */
    assert_int_equal(order(fair.bob, "sell", 3, "0.001", "", again), SYN_OK);
    expect_order(fair.bob, again, "canceled own-order 0 0 0");
    cancel_all(fair.bob);
    assert_int_equal(balance_of(fair.bob, "me", "held"), 0);
    /* A provider that buys its own back owes so much less. */
    assert_int_equal(order(fair.bob, "sell", 3, "0.001", "", NULL), SYN_OK);
    assert_int_equal(order(fair.seller, "buy", 3, "0.002", ",'type':'ioc'", again), SYN_OK);
    expect_order(fair.seller, again, "filled traded 3 0 0.003");
    expect_holding(fair.seller, "0 6 7 1");
    check_market(fair.house);
    cancel_all(fair.seller);
    expect_holding(fair.seller, "0 0 1 1");
    check_market(fair.house);
    fair_close(&fair);
}

/* Each is refused, with this code and a message that says this, and changes nothing. */
static void
what_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *body;
        int code;
        const char *says;
    } rows[] = {
        {"{'class':'" CLASS "','side':'buy','qty':0,'price':'1'}", SYN_E_INVALID, "qty"},
        {"{'class':'" CLASS "','side':'buy','qty':-4,'price':'1'}", SYN_E_INVALID, "qty"},
        {"{'class':'" CLASS "','side':'buy','qty':1e9,'price':'1'}", SYN_E_INVALID, "qty"},
        {"{'class':'" CLASS "','side':'buy','qty':281474976710657,'price':'1'}", SYN_E_INVALID,
         "qty"},
        {"{'class':'" CLASS "','side':'buy','qty':281474976710656,'price':'4000000000'}",
         SYN_E_FUNDS, "more SYNOR than there are"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'-1'}", SYN_E_INVALID, "price"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'0'}", SYN_E_INVALID, "price"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1.0000000001'}", SYN_E_INVALID,
         "price"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':0.5}", SYN_E_INVALID, "price"},
        {"{'class':'" CLASS "','side':'buy','qty':1}", SYN_E_INVALID, "type limit needs one"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'market'}", SYN_E_INVALID,
         "takes none"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'stop'}", SYN_E_INVALID,
         "type"},
        {"{'class':'" CLASS "','side':'hold','qty':1,'price':'1'}", SYN_E_INVALID, "side"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','stp':'me'}", SYN_E_INVALID, "stp"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','until':'2001-01-01T00:00:00Z'}",
         SYN_E_INVALID, "past"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','until':'noon'}", SYN_E_INVALID,
         "until"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','type':'ioc','ttl_ms':'1h'}",
         SYN_E_INVALID, "never rests"},
        {"{'class':'cpu/x86-avx2/fair','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID,
         "duration"},
        {"{'class':'cpu/x86-avx2/fair/year','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID,
         "year"},
        {"{'class':'CPU/any/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "class"},
        {"{'class':'cup/any/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "cup"},
        {"{'class':'cpu//fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_INVALID, "class"},
        {"{'class':'gpu/h100/fair/hour','side':'buy','qty':1,'price':'1'}", SYN_E_NOTFOUND,
         "no node here"},
        {"{'class':'" CLASS "','side':'buy','qty':101,'price':'1'}", SYN_E_FUNDS, "1 are missing"},
        {"{'class':'" CLASS "','side':'sell','qty':1,'price':'1'}", SYN_E_FUNDS, "no node with"},
        {"{'class':'" CLASS "','side':'buy','qty':1,'price':'1','whose':'x'}", SYN_E_INVALID,
         "whose"},
    };
    struct fair fair;
    uint64_t events;

    fair_open(&fair, *state);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        int rc = call(fair.ann, "POST", "/v1/market/orders", rows[i].body, NULL, NULL);

        if (rc != rows[i].code || strstr(message_of(fair.ann), rows[i].says) == NULL)
            fail_msg("%s: %d, %s", rows[i].body, rc, message_of(fair.ann));
    }
    events = syn_exchange_events(fair.house->server->market->exchange);
    assert_int_equal(syn_exchange_classes(fair.house->server->market->exchange), 0);
    assert_int_equal(syn_exchange_accounts(fair.house->server->market->exchange), 0);
    assert_true(events < 16); /* time passed, nothing else */
    assert_int_equal(order(fair.seller, "sell", 641, "1", "", NULL), SYN_E_FUNDS);
    assert_non_null(strstr(message_of(fair.seller), "have 640 of cpu/x86-avx2/fair, 0 of them"));
    assert_int_equal(order(fair.seller, "sell", 640, "1", "", NULL), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 1, "1", "", NULL), SYN_E_FUNDS);
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
    assert_int_equal(order(fair.ann, "buy", 2, "0.5", "", id), SYN_OK);
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
a_restart_keeps_everything(void **state)
{
    char buy[MARKET_ORDER_ID_MAX];
    struct house *house = *state;
    struct fair fair;
    uint64_t sum;

    fair_open(&fair, house);
    assert_int_equal(order(fair.seller, "sell", 10, "0.02", "", NULL), SYN_OK);
    assert_int_equal(order(fair.ann, "buy", 4, "0.02", "", NULL), SYN_OK);
    assert_int_equal(order(fair.bob, "buy", 5, "0.01", "", buy), SYN_OK);
    sum = sum_of(house);
    fair_close(&fair);
    house_close(house);
    house_open(house);
    assert_int_equal(sum_of(house), sum);
    check_market(house);
    fair.ann = tenant(house, "ann", "tenant");
    await_token(fair.ann);
    assert_int_equal(order(fair.ann, "sell", 4, "0.01", "", NULL), SYN_OK);
    expect_order(house->client, buy, "open resting 4 1 0.04");
    check_market(house);
    fair.ann = syn_client_free(fair.ann);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(money_and_capacity_change_hands, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_of_others_are_not_there, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_restart_keeps_everything, fresh_house, end_house),
    };

    return cmocka_run_group_tests_name("market", tests, NULL, NULL);
}
