#include "market_testing.h"

#include <stdlib.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/chain/ledger.h>
#include <synor/orchestration/document.h>

/* Each test has a house of its own, with nothing in it. */
int
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

int
end_house(void **state)
{
    struct house *house = *state;
    char *dir = (char *)(uintptr_t)house->dir;

    (void)house_teardown(state);
    free(dir);
    return 0;
}

/* --- a house with a provider of 640 cores in the region "fair", and two tenants --------------- */

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

void
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

void
be_none(struct fair *fair)
{
    fair->seller = syn_client_free(fair->seller);
    fair->ann = syn_client_free(fair->ann);
    fair->bob = syn_client_free(fair->bob);
}

void
fair_close(struct fair *fair)
{
    be_none(fair);
    joiner_fini(&fair->prov);
}

/* Clients of the three, whose accounts are there. */
void
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

/* Each unit that somebody holds is owed by somebody, and no other is. */
static void
check_debts(const struct srv_market *market, uint32_t class)
{
    uint32_t accounts = syn_exchange_accounts(market->exchange);
    int64_t *nets = calloc((size_t)accounts + 1, sizeof(*nets));
    struct syn_debt debt;
    size_t cursor = 0;

    assert_non_null(nets);
    while (market->debts != NULL && syn_debts_next(market->debts, class, &cursor, &debt)) {
        nets[debt.seller] += debt.units;
        nets[debt.holder] -= debt.units;
    }
    for (uint32_t i = 0; market->debts != NULL && i < accounts; i++)
        assert_int_equal(nets[i],
                         srv_market_owed(market, syn_exchange_account_name(market->exchange, i),
                                         syn_exchange_class_name(market->exchange, class)));
    free(nets);
}

/* Money and capacity, counted in every way that there is. */
void
check_market(struct house *house)
{
    struct srv_market *market = house->server->market;
    const struct syn_exchange *exchange;
    int64_t balance = 0, held = 0, open = 0, resting = 0;
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
    for (uint32_t class = 0; class < syn_exchange_classes(exchange); class ++)
        check_debts(market, class);
    for (uint32_t class = 0; class < syn_exchange_classes(exchange); class ++)
        resting += syn_books_resting(syn_exchange_books(exchange), class);
    assert_done(srv_each(house->server, "escrow-of/", add_held, &held, &err), &err);
    assert_int_equal(held, balance);
    assert_done(syn_store_count(house->server->store, "order-open/", &open, &err), &err);
    assert_int_equal(open, resting);
    assert_done(srv_each(house->server, "order/", check_order,
                         (void *)(uintptr_t)syn_exchange_books(exchange), &err),
                &err);
    /* Orders' times are up now and then: not between the transactions and the balances. */
    assert_int_equal(ledger_sum(house), 0);
    check_ledger(house);
    srv_market_leave(market);
}

/* The bytes of the exchange: the same events, the same bytes. */
uint64_t
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
int
place(struct syn_client *client, const char *side, int64_t qty, const char *price, const char *more,
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

const char *
message_of(struct syn_client *client)
{
    return syn_json_str(syn_client_error(client), "message", "");
}

/* "STATE REASON TRADED LEFT PAID" */
void
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
void
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

void
cancel_orders(struct syn_client *client)
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
