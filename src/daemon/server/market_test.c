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
be_none(struct fair *fair)
{
    fair->seller = syn_client_free(fair->seller);
    fair->ann = syn_client_free(fair->ann);
    fair->bob = syn_client_free(fair->bob);
}

static void
fair_close(struct fair *fair)
{
    be_none(fair);
    joiner_fini(&fair->prov);
}

/* Clients of the three, whose accounts are there. */
static void
be_all(struct fair *fair)
{
    fair->seller = tenant(fair->house, "prov", "tenant");
    fair->ann = tenant(fair->house, "ann", "tenant");
    fair->bob = tenant(fair->house, "bob", "tenant");
    await_token(fair->seller);
    await_token(fair->ann);
    await_token(fair->bob);
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

        assert_int_equal(order(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
        assert_int_equal(order(fair.seller, "sell", 3, "0.02", "", NULL), SYN_OK);
        (void)snprintf(more, sizeof(more), ",'type':'%s'", rows[i].type);
        assert_int_equal(order(fair.ann, "buy", rows[i].qty, rows[i].price, more, id), SYN_OK);
        expect_order(fair.ann, id, rows[i].want);
        check_market(fair.house);
        cancel_all(fair.ann);
        cancel_all(fair.seller);
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
    assert_int_equal(order(fair.ann, "buy", 5, "0.01", "", first), SYN_OK);
    assert_int_equal(order(fair.bob, "buy", 5, "0.01", "", second), SYN_OK);
    change(fair.ann, first, "{'qty':3}", SYN_OK); /* and is first still */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 30 * MILLI);
    assert_int_equal(order(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
    expect_order(fair.ann, first, "open resting 1 2 0.01");
    change(fair.ann, first, "{'qty':4}", SYN_OK); /* more: it is last now */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 40 * MILLI);
    assert_int_equal(order(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
    expect_order(fair.bob, second, "open resting 1 4 0.01");
    change(fair.ann, first, "{'price':'0.02'}", SYN_OK); /* dearer: it is first again */
    assert_int_equal(balance_of(fair.ann, "me", "held"), 80 * MILLI);
    assert_int_equal(order(fair.seller, "sell", 6, "0.005", "", offer), SYN_OK);
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

    assert_int_equal(order(fair.seller, "sell", 10, "1", "", offer), SYN_OK);
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
    SYN_JSON(doc);

    fair_open(&fair, *state);
    assert_int_equal(order(fair.ann, "buy", 5, "0.01", ",'ttl_ms':300", id), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 5, "0.5", ",'ttl_ms':300", NULL), SYN_OK);
    assert_int_equal(balance_of(fair.ann, "me", "held"), 50 * MILLI);
    for (int i = 0; i < 500 && balance_of(fair.ann, "me", "held") != 0; i++)
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
    assert_int_equal(order(fair.seller, "sell", 100, "0.03", "", first), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 100, "0.01", "", second), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 100, "0.02", "", third), SYN_OK);
    assert_int_equal(order(fair.ann, "buy", 7, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_fit(fair.house->server, &err), &err);
    expect_order(fair.seller, third, "open resting 0 100 0"); /* it fits */
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':true}", NULL);
    assert_done(srv_market_fit(fair.house->server, &err), &err);
    expect_order(fair.seller, first, "canceled capacity 0 0 0");
    expect_order(fair.seller, second, "canceled capacity 7 0 0.07");
    expect_order(fair.seller, third, "canceled capacity 0 0 0");
    expect_holding(fair.seller, "0 0 7 7"); /* what is sold stays sold */
    expect_holding(fair.ann, "7 0 0 0");
    assert_int_equal(order(fair.seller, "sell", 1, "0.03", "", NULL), SYN_E_FUNDS);
    must(fair.house->client, "POST", "/v1/nodes/fair/drain", "{'on':false}", NULL);
    assert_int_equal(order(fair.seller, "sell", 634, "0.03", "", NULL), SYN_E_FUNDS);
    assert_int_equal(order(fair.seller, "sell", 633, "0.03", "", NULL), SYN_OK);
    check_market(fair.house);
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
    assert_int_equal(order(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 3, "0.02", "", NULL), SYN_OK);
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
    assert_int_equal(order(fair.ann, "buy", 8, "0.02", "", NULL), SYN_OK);
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
    assert_int_equal(order(fair.seller, "sell", 5, "0.015", "", NULL), SYN_OK);
    assert_int_equal(order(fair.seller, "sell", 5, "0.02", "", NULL), SYN_OK);
    assert_int_equal(order(fair.ann, "buy", 2, "0.015", "", NULL), SYN_OK);
    assert_int_equal(order(fair.ann, "sell", 1, "0.03", "", NULL), SYN_OK);

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
    assert_string_equal(syn_json_str(item, "list_price", ""), "0.02");
    item = json_array_get(json_object_get(offers, "items"), 2);
    assert_true(json_is_null(json_object_get(item, "provider"))); /* resale */
    fair_close(&fair);
}

/* --- what breaks ------------------------------------------------------------------------------ */

/* Something at the log's key of this event. */
static void
plant(struct house *house, uint64_t event, const void *data, size_t len)
{
    char key[SRV_KEY_MAX];
    struct syn_err err;

    (void)srv_key_seq(key, "market-log", NULL, (int64_t)event);
    assert_done(syn_store_put(house->server->store, key, (struct syn_store_value){data, len, 0},
                              NULL, &err),
                &err);
}

/* An empty batch: it replays as nothing, and what should stand there cannot be written. */
static void
plant_empty(struct house *house, uint64_t event)
{
    struct syn_err err;
    SYN_BUF(batch);
    size_t begin = syn_market_batch_begin(&batch);

    assert_done(syn_market_batch_seal(&batch, begin, event, 0, &err), &err);
    plant(house, event, batch.data, batch.len);
}

static void
uproot(struct house *house, uint64_t event)
{
    char key[SRV_KEY_MAX];
    struct syn_err err;

    (void)srv_key_seq(key, "market-log", NULL, (int64_t)event);
    assert_done(syn_store_delete(house->server->store, key, NULL, &err), &err);
}

static uint64_t
events_of(struct house *house)
{
    uint64_t events;

    assert_int_equal(srv_market_enter(house->server->market, NULL), SYN_OK);
    events = syn_exchange_events(house->server->market->exchange);
    srv_market_leave(house->server->market);
    return events;
}

static void
reread(struct house *house)
{
    struct srv_market *market = house->server->market;

    (void)pthread_mutex_lock(&market->lock);
    srv_market_reread(market);
    (void)pthread_mutex_unlock(&market->lock);
}

static void
what_is_not_written_did_not_happen(void **state)
{
    static const char body[] = "{'class':'" CLASS "','side':'buy','qty':4,'price':'0.02'}";
    struct fair fair;
    uint64_t sum, at;
    SYN_JSON(doc);

    fair_open(&fair, *state);
    assert_int_equal(order(fair.seller, "sell", 10, "0.02", "", NULL), SYN_OK);
    sum = sum_of(fair.house);
    at = events_of(fair.house);
    plant_empty(fair.house, at);
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders", body, "the-same-key", NULL),
                     SYN_E_UNAVAILABLE);
    assert_int_equal(sum_of(fair.house), sum);
    assert_int_equal(balance_of(fair.ann, "me", "balance"), 100 * SYN_SYNOR);
    expect_holding(fair.seller, "0 10 10 0");
    check_market(fair.house);
    uproot(fair.house, at);
    assert_int_equal(call(fair.ann, "POST", "/v1/market/orders", body, "the-same-key", &doc),
                     SYN_OK);
    assert_string_equal(syn_document_state(doc), "filled");
    check_market(fair.house);

    /* A batch that is none: closed, with the reason, until it can be read. */
    sum = sum_of(fair.house);
    at = events_of(fair.house);
    plant(fair.house, at, "no batch", 8);
    reread(fair.house);
    assert_int_equal(call(fair.ann, "GET", "/v1/market/holdings", NULL, NULL, NULL),
                     SYN_E_UNAVAILABLE);
    assert_non_null(strstr(message_of(fair.ann), "market-log/"));
    assert_int_equal(order(fair.ann, "buy", 1, "0.02", "", NULL), SYN_E_UNAVAILABLE);
    assert_int_equal(balance_of(fair.ann, "me", "held"), 0); /* the rest of the platform goes on */
    uproot(fair.house, at);
    reread(fair.house);
    assert_int_equal(sum_of(fair.house), sum);
    check_market(fair.house);
    fair_close(&fair);
}

/* An order that meets 40 orders of two accounts, more than one transaction has room for. The log's
 * key of the last batch comes back. */
static uint64_t
meet_many(struct fair *fair)
{
    struct syn_store_page page = {0};
    const struct syn_store_range range = {.prefix = "market-log/", .limit = 1, .reverse = true};
    struct syn_err err;
    uint64_t event = 0;

    assert_int_equal(order(fair->seller, "sell", 8, "0.01", "", NULL), SYN_OK);
    assert_int_equal(order(fair->ann, "buy", 8, "0.01", "", NULL), SYN_OK);
    for (int i = 0; i < 32; i++)
        assert_int_equal(order(fair->seller, "sell", 1, "0.02", "", NULL), SYN_OK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(order(fair->ann, "sell", 1, "0.03", "", NULL), SYN_OK);
    assert_int_equal(order(fair->bob, "buy", 41, "0.04", "", NULL), SYN_OK);
    assert_done(syn_store_list(fair->house->server->store, &range, &page, &err), &err);
    assert_int_equal(page.count, 1);
    assert_done(syn_parse_u64(strrchr(page.docs[0]->key, '/') + 1 +
                                  strspn(strrchr(page.docs[0]->key, '/') + 1, "0"),
                              1, UINT64_MAX, "key", &event, &err),
                &err);
    syn_store_page_fini(&page);
    return event;
}

static void
expect_met(struct fair *fair)
{
    check_market(fair->house);
    assert_int_equal(balance_of(fair->bob, "me", "balance"), 100000 * MILLI - 920 * MILLI);
    assert_int_equal(balance_of(fair->bob, "me", "held"), 40 * MILLI);
    assert_int_equal(balance_of(fair->ann, "me", "balance"), 100000 * MILLI + 160 * MILLI);
    assert_int_equal(balance_of(fair->seller, "me", "balance"), 720 * MILLI);
    expect_holding(fair->bob, "40 0 0 0");
    expect_holding(fair->seller, "0 0 40 40");
}

static void
an_order_that_meets_many_is_written_in_parts(void **state)
{
    struct fair fair;

    fair_open(&fair, *state);
    (void)meet_many(&fair);
    expect_met(&fair);
    fair_close(&fair);
}

static void
what_was_cut_off_between_parts_is_finished(void **state)
{
    struct house *house = *state, *twin = NULL;
    struct fair fair, other;
    uint64_t last;

    /* A twin says at which event the last part begins. */
    assert_int_equal(fresh_house((void **)&twin), 0);
    fair_open(&other, twin);
    last = meet_many(&other);
    fair_close(&other);
    (void)end_house((void **)&twin);

    fair_open(&fair, house);
    plant_empty(house, last);
    (void)meet_many(&fair); /* what was asked for stands */
    assert_int_equal(call(fair.ann, "GET", "/v1/market/holdings", NULL, NULL, NULL),
                     SYN_E_UNAVAILABLE);
    uproot(house, last);
    fair_close(&fair);
    house_close(house);
    house_open(house);
    be_all(&fair);
    expect_met(&fair);
    be_none(&fair);
}

/* --- snapshots -------------------------------------------------------------------------------- */

static void
spoil(const struct house *house, const char *suffix)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/server/market.snapshot%s", house->dir, suffix);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "spoilt", 6, 9), 6);
    (void)close(fd);
}

static void
snapshots_shorten_the_log(void **state)
{
    struct house *house = *state;
    struct fair fair;
    struct syn_err err = {0};
    int64_t before = 0, after = 0;
    uint64_t sum;

    fair_open(&fair, house);
    for (int i = 0; i < 6; i++)
        assert_int_equal(order(fair.ann, "buy", 1, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(syn_store_count(house->server->store, "market-log/", &before, &err), &err);
    assert_int_equal(order(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(syn_store_count(house->server->store, "market-log/", &after, &err), &err);
    assert_true(before >= 6 && after < before && after >= 1);
    assert_int_equal(order(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
    sum = sum_of(house);
    fair_close(&fair);

    house_close(house);
    house_open(house); /* from the newest */
    assert_int_equal(sum_of(house), sum);
    check_market(house);
    spoil(house, "");
    house_close(house);
    house_open(house); /* from the one before, and more of the log */
    assert_int_equal(sum_of(house), sum);
    check_market(house);
    spoil(house, ".old");
    house_close(house);
    house_open(house);
    assert_int_equal(call(house->client, "GET", "/v1/market/offers", NULL, NULL, NULL),
                     SYN_E_UNAVAILABLE);
    assert_non_null(strstr(message_of(house->client), "market.snapshot"));
    assert_int_equal(ledger_sum(house), 0);
}

static void
what_was_lost_is_told(void **state)
{
    char path[256];
    struct house *house = *state;
    struct fair fair;
    struct syn_err err = {0};

    fair_open(&fair, house);
    assert_int_equal(order(fair.ann, "buy", 1, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(srv_market_save(house->server, &err), &err); /* the log before it is gone */
    (void)snprintf(path, sizeof(path), "%s/server/market.snapshot", house->dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/server/market.snapshot.old", house->dir);
    assert_int_equal(unlink(path), 0);
    reread(house);
    assert_int_equal(order(fair.ann, "buy", 1, "0.01", "", NULL), SYN_E_UNAVAILABLE);
    assert_non_null(strstr(message_of(fair.ann), "the ledger's system:market has 0.01"));
    fair_close(&fair);
}

/* --- chance and haste ------------------------------------------------------------------------- */

/* One random step of one of three. Refusals are as good as any: nothing may be lost by them. */
static void
random_step(struct fair *fair, uint64_t *random)
{
    struct syn_client *clients[] = {fair->seller, fair->ann, fair->bob};
    struct syn_client *client = clients[syn_test_random(random) % 3];
    static const char *const types[] = {"limit", "limit", "limit", "ioc", "fok", "aon", "market"};
    static const char *const stps[] = {"newer", "older", "both", "less"};
    unsigned type = (unsigned)(syn_test_random(random) % SYN_LEN(types));
    char price[SYN_FORMAT_MAX], more[96], path[96], body[96];

    (void)syn_format_amount((1 + (int64_t)(syn_test_random(random) % 9)) * MILLI, price);
    if (syn_test_random(random) % 4 > 0) {
        (void)snprintf(more, sizeof(more), ",'type':'%s','stp':'%s'%s", types[type],
                       stps[syn_test_random(random) % 4],
                       type < 3 && syn_test_random(random) % 3 == 0 ? ",'ttl_ms':20" : "");
        (void)order(client, syn_test_random(random) % 2 == 0 ? "buy" : "sell",
                    1 + (int64_t)(syn_test_random(random) % 12),
                    syn_str_eq(types[type], "market") ? NULL : price, more, NULL);
        return;
    }
    (void)snprintf(path, sizeof(path), "/v1/market/orders/%d",
                   1 + (int)(syn_test_random(random) % 60));
    (void)snprintf(body, sizeof(body), "{'qty':%d,'price':'%s'}",
                   1 + (int)(syn_test_random(random) % 12), price);
    (void)call(client, syn_test_random(random) % 2 == 0 ? "DELETE" : "PATCH", path,
               syn_test_random(random) % 2 == 0 ? body : "{'qty':2}", NULL, NULL);
}

/* In one go, since orders' times are up now and then. */
static void
reread_gives_the_same(struct house *house)
{
    struct srv_market *market = house->server->market;
    SYN_BUF(before);
    SYN_BUF(after);
    struct syn_err err;

    (void)pthread_mutex_lock(&market->lock);
    assert_done(syn_exchange_snapshot(market->exchange, &before, &err), &err);
    srv_market_reread(market);
    assert_non_null(market->exchange);
    assert_done(syn_exchange_snapshot(market->exchange, &after, &err), &err);
    (void)pthread_mutex_unlock(&market->lock);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
}

static void
nothing_is_lost_by_any_sequence(void **state)
{
    struct house *house = *state;
    struct fair fair;
    uint64_t random = 4;
    struct syn_err err = {0};

    fair_open(&fair, house);
    for (int i = 0; i < 120; i++) {
        random_step(&fair, &random);
        check_market(house);
        if (i % 40 == 20)
            assert_done(srv_market_save(house->server, &err), &err);
        if (i % 30 != 29)
            continue;
        reread_gives_the_same(house);
        if (i % 60 == 59) {
            be_none(&fair);
            house_close(house);
            house_open(house);
            be_all(&fair);
        }
        check_market(house);
    }
    fair_close(&fair);
}

/* Clients are of one thread each. */
struct hasty {
    struct fair own;
    pthread_t thread;
    uint64_t random;
};

static void *
hurry(void *arg)
{
    struct hasty *hasty = arg;
    struct fair *own = &hasty->own;

    for (int i = 0; i < 25; i++) {
        random_step(own, &hasty->random);
        if (i % 5 == 0)
            (void)call(own->ann, "POST", "/v1/transfers", "{'to':'bob','amount':'0.001'}", NULL,
                       NULL);
        (void)call(own->ann, "GET", "/v1/market/offers", NULL, NULL, NULL);
    }
    return NULL;
}

static void
many_at_once(void **state)
{
    struct hasty hasty[3];
    struct fair fair;

    fair_open(&fair, *state);
    for (size_t i = 0; i < SYN_LEN(hasty); i++) {
        hasty[i] = (struct hasty){.own = {.house = fair.house}, .random = 100 + i};
        be_all(&hasty[i].own);
    }
    for (size_t i = 0; i < SYN_LEN(hasty); i++) {
        assert_int_equal(pthread_create(&hasty[i].thread, NULL, hurry, &hasty[i]), 0);
    }
    for (size_t i = 0; i < SYN_LEN(hasty); i++)
        assert_int_equal(pthread_join(hasty[i].thread, NULL), 0);
    for (size_t i = 0; i < SYN_LEN(hasty); i++)
        be_none(&hasty[i].own);
    check_market(fair.house);
    fair_close(&fair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(money_and_capacity_change_hands, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_of_others_are_not_there, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_restart_keeps_everything, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(each_type_does_as_it_says, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_are_changed, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(orders_end_when_their_time_is_up, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(one_key_places_one_order, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(a_provider_offers_what_its_nodes_have, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(a_plan_places_nothing, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(the_market_is_asked, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_is_not_written_did_not_happen, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(an_order_that_meets_many_is_written_in_parts, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(what_was_cut_off_between_parts_is_finished, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(snapshots_shorten_the_log, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_was_lost_is_told, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(nothing_is_lost_by_any_sequence, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(many_at_once, fresh_house, end_house),
    };

    return cmocka_run_group_tests_name("market", tests, NULL, NULL);
}
