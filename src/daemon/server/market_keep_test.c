/* What a restart, a write that fails, a crash between two writes and a spoilt file leave of the
 * spot market; and that no sequence of anything loses money or capacity. */
#include "market_testing.h"
#include "units_priv.h"

#include <fcntl.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

static void
a_restart_keeps_everything(void **state)
{
    char buy[MARKET_ORDER_ID_MAX];
    struct house *house = *state;
    struct fair fair;
    uint64_t sum;

    fair_open(&fair, house);
    assert_int_equal(place(fair.seller, "sell", 10, "0.02", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 4, "0.02", "", NULL), SYN_OK);
    assert_int_equal(place(fair.bob, "buy", 5, "0.01", "", buy), SYN_OK);
    sum = sum_of(house);
    fair_close(&fair);
    house_close(house);
    house_open(house);
    assert_int_equal(sum_of(house), sum);
    check_market(house);
    fair.ann = tenant(house, "ann", "tenant");
    await_token(fair.ann);
    assert_int_equal(place(fair.ann, "sell", 4, "0.01", "", NULL), SYN_OK);
    expect_order(house->client, buy, "open resting 4 1 0.04");
    check_market(house);
    fair.ann = syn_client_free(fair.ann);
}

static void
old_orders_are_forgotten(void **state)
{
    const int64_t day_ms = INT64_C(24) * 3600 * 1000;
    char open[MARKET_ORDER_ID_MAX], ended[MARKET_ORDER_ID_MAX], path[96];
    struct house *house = *state;
    int64_t now_ms = syn_wall_ms(house->server->world), count = 0;
    struct fair fair;
    struct syn_err err = {0};

    fair_open(&fair, house);
    assert_int_equal(place(fair.ann, "buy", 1, "0.01", "", open), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 1, "0.01", ",'type':'ioc'", ended), SYN_OK);
    assert_done(srv_sweep(house->server, now_ms + 29 * day_ms, &err), &err);
    expect_order(fair.ann, ended, "dropped immediate 0 0 0");
    assert_done(srv_sweep(house->server, now_ms + 31 * day_ms, &err), &err);
    (void)snprintf(path, sizeof(path), "/v1/market/orders/%s", ended);
    assert_int_equal(call(fair.ann, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    expect_order(fair.ann, open, "open resting 0 1 0");
    assert_done(syn_store_count(house->server->store, "order-of/", &count, &err), &err);
    assert_int_equal(count, 1);
    check_market(house);
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
    assert_int_equal(place(fair.seller, "sell", 10, "0.02", "", NULL), SYN_OK);
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
    assert_int_equal(place(fair.ann, "buy", 1, "0.02", "", NULL), SYN_E_UNAVAILABLE);
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

    assert_int_equal(place(fair->seller, "sell", 8, "0.01", "", NULL), SYN_OK);
    assert_int_equal(place(fair->ann, "buy", 8, "0.01", "", NULL), SYN_OK);
    for (int i = 0; i < 32; i++)
        assert_int_equal(place(fair->seller, "sell", 1, "0.02", "", NULL), SYN_OK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(place(fair->ann, "sell", 1, "0.03", "", NULL), SYN_OK);
    assert_int_equal(place(fair->bob, "buy", 41, "0.04", "", NULL), SYN_OK);
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
        assert_int_equal(place(fair.ann, "buy", 1, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(syn_store_count(house->server->store, "market-log/", &before, &err), &err);
    assert_int_equal(place(fair.seller, "sell", 3, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(syn_store_count(house->server->store, "market-log/", &after, &err), &err);
    assert_true(before >= 6 && after < before && after >= 1);
    assert_int_equal(place(fair.seller, "sell", 1, "0.01", "", NULL), SYN_OK);
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
    assert_int_equal(place(fair.ann, "buy", 1, "0.01", "", NULL), SYN_OK);
    assert_done(srv_market_save(house->server, &err), &err);
    assert_done(srv_market_save(house->server, &err), &err); /* the log before it is gone */
    (void)snprintf(path, sizeof(path), "%s/server/market.snapshot", house->dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/server/market.snapshot.old", house->dir);
    assert_int_equal(unlink(path), 0);
    reread(house);
    assert_int_equal(place(fair.ann, "buy", 1, "0.01", "", NULL), SYN_E_UNAVAILABLE);
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
        (void)place(client, syn_test_random(random) % 2 == 0 ? "buy" : "sell",
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

/* --- memory ----------------------------------------------------------------------------------- */

/* Units are begun and given back: orders, holdings, debts, documents and log all change. The
 * allocation `nth` of it fails, here or in a thread beside. Returns whether it was reached. */
static bool
change_without(struct house *house, const char *ann, const char *prov, uint64_t nth)
{
    const struct srv_units_begin begin = {"train-x", ann, prov, CLASS, 3, 1, 1};
    struct syn_err err = {0};
    bool reached;
    int rc;

    syn_mem_fault_arm(nth, false);
    rc = srv_units_begin(house->server, &begin, &err);
    if (rc == SYN_OK)
        rc = srv_units_end(house->server, begin.job, SRV_UNITS_UNUSED, &err);
    reached = syn_mem_fault_count() >= nth;
    syn_mem_fault_arm(0, false);
    if (rc < 0)
        assert_true(err.msg[0] != '\0');
    return reached;
}

/* As it is after a moment, when the market's own clock has tried again. */
static void
open_again(struct house *house)
{
    struct srv_market *market = house->server->market;
    struct syn_err err = {0};

    (void)pthread_mutex_lock(&market->lock);
    if (market->exchange == NULL)
        srv_market_reread(market);
    (void)pthread_mutex_unlock(&market->lock);
    assert_done(srv_market_debts_write(house->server, &err), &err);
    assert_done(srv_units_end(house->server, "train-x", SRV_UNITS_UNUSED, &err), &err);
}

static void
nothing_is_lost_without_memory(void **state)
{
    struct house *house = *state;
    struct fair fair;
    unsigned seen = 0;
    SYN_JSON(ann);
    SYN_JSON(prov);

    fair_open(&fair, house);
    must(fair.ann, "GET", "/v1/accounts/me", NULL, &ann);
    must(fair.seller, "GET", "/v1/accounts/me", NULL, &prov);
    assert_int_equal(place(fair.seller, "sell", 5, "0.01", "", NULL), SYN_OK);
    assert_int_equal(place(fair.ann, "buy", 4, "0.01", "", NULL), SYN_OK);
    for (uint64_t nth = 1; nth < 5000; nth += nth < 40 ? 1 : 9) {
        if (!change_without(house, syn_document_id(ann), syn_document_id(prov), nth))
            break;
        seen++;
        open_again(house);
        check_market(house);
        expect_holding(fair.ann, "4 0 0 0");
        expect_holding(fair.seller, "0 1 5 4");
    }
    assert_true(seen > 60);
    fair_close(&fair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_restart_keeps_everything, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(old_orders_are_forgotten, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_is_not_written_did_not_happen, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(an_order_that_meets_many_is_written_in_parts, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(what_was_cut_off_between_parts_is_finished, fresh_house,
                                        end_house),
        cmocka_unit_test_setup_teardown(snapshots_shorten_the_log, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(what_was_lost_is_told, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(nothing_is_lost_by_any_sequence, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(many_at_once, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(nothing_is_lost_without_memory, fresh_house, end_house),
    };

    return cmocka_run_group_tests_name("market_keep", tests, NULL, NULL);
}
