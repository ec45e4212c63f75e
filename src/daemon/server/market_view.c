/* Routes that ask the market: classes, books, quotes, trades, index, offers, holdings. Each takes
 * the lock, writes down what it sees, and lets go. */
#include <inttypes.h>
#include <stdlib.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

#define OFFERS_MAX 10000

static const struct syn_exchange *
exchange_of(const struct syn_server *server)
{
    return server->market->exchange;
}

static uint32_t
caller(const struct syn_server *server, struct syn_http_req *req)
{
    return syn_exchange_find_account(exchange_of(server), srv_identity(req)->account);
}

/* A price that may not be there. */
static int
set_price(json_t *doc, const char *key, bool there, int64_t price, struct syn_err *err)
{
    return there ? syn_document_set_amount(doc, key, price, err)
                 : syn_json_set_take(doc, key, json_null(), err);
}

/* The class that the query names. Under the lock. */
static int
query_class(const struct syn_server *server, struct syn_http_req *req,
            struct market_class_name *ret_name, uint32_t *ret_class, struct syn_err *err)
{
    const char *text = syn_json_str(syn_http_req_query_json(req), "class", "");
    int rc = srv_market_class_parse(text, ret_name, err);

    if (rc < 0)
        return rc;
    *ret_class = syn_exchange_find_class(exchange_of(server), text);
    if (*ret_class != SYN_NO_INDEX)
        return SYN_OK;
    syn_http_error_hint(req, "synor market classes names what is traded; the first order in a "
                             "class opens it");
    return SYN_FAIL(err, SYN_E_NOTFOUND, "nothing has been offered or asked for in %s yet", text);
}

/* A handler's work under the lock. */
typedef int (*view_fn)(struct syn_server *server, struct syn_http_req *req, json_t **ret_answer,
                       struct syn_err *err);

static int
reply_view(struct syn_server *server, struct syn_http_req *req, view_fn view, struct syn_err *err)
{
    SYN_JSON(answer);
    int rc = srv_market_enter(server->market, err);

    if (rc < 0)
        return rc;
    rc = view(server, req, &answer, err);
    srv_market_leave(server->market);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* {"items": list, "next": null} */
static int
wrap_list_take(json_t *list, json_t **ret, struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:o, s:n}", "items", list, "next");
}

/* --- classes ---------------------------------------------------------------------------------- */

static int
class_row(const struct syn_server *server, uint32_t class, json_t **ret_row, struct syn_err *err)
{
    const struct syn_exchange *exchange = exchange_of(server);
    const struct syn_books *books = syn_exchange_books(exchange);
    const char *text = syn_exchange_class_name(exchange, class);
    struct syn_market_trade last = {0};
    struct market_class_name name;
    struct syn_book_level bid = {0}, ask = {0};
    bool bids = syn_books_depth(books, class, SYN_BUY, &bid, 1) > 0;
    bool asks = syn_books_depth(books, class, SYN_SELL, &ask, 1) > 0;
    bool traded = syn_exchange_history(exchange, class, &last, 1) > 0;
    SYN_JSON(row);
    int rc = srv_market_class_parse(text, &name, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "class",
                           text, "kind", name.kind, "model", name.model, "region", name.region,
                           "duration", name.duration, "open", 1, "orders",
                           (json_int_t)syn_books_resting(books, class), "bid_qty",
                           (json_int_t)bid.qty, "ask_qty", (json_int_t)ask.qty, "units",
                           (json_int_t)syn_exchange_capacity_total(exchange, class));
    if (rc == SYN_OK)
        rc = set_price(row, "bid", bids, bid.price, err);
    if (rc == SYN_OK)
        rc = set_price(row, "ask", asks, ask.price, err);
    if (rc == SYN_OK)
        rc = set_price(row, "last", traded, last.price, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(row, "last_at", traded ? last.at_ms : SYN_DOCUMENT_NONE, err);
    if (rc == SYN_OK)
        *ret_row = SYN_TAKE(row);
    return rc;
}

/* Classes that nodes here could serve and nobody has opened. */
static int
add_possible(const struct syn_server *server, const struct market_supply *supply, json_t *rows,
             struct syn_err *err)
{
    size_t cursor = 0;
    const char *triple;
    int rc = SYN_OK;

    while (syn_map_next(supply->counts, &cursor, &triple, NULL)) {
        struct market_class_name name;
        char text[MARKET_TRIPLE_MAX + 16];

        for (size_t i = 0; srv_market_duration(i) != NULL; i++) {
            json_t *row = NULL;

            (void)snprintf(text, sizeof(text), "%s/%s", triple, srv_market_duration(i));
            /* What is not of three parts is a provider's share of one that is. */
            if (srv_market_class_parse(text, &name, NULL) < 0 ||
                syn_exchange_find_class(exchange_of(server), text) != SYN_NO_INDEX)
                continue;
            rc = syn_json_pack(
                &row, err, "{s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:n, s:n, s:n, s:n}",
                "class", text, "kind", name.kind, "model", name.model, "region", name.region,
                "duration", name.duration, "open", 0, "orders", 0, "bid_qty", 0, "ask_qty", 0,
                "units", 0, "bid", "ask", "last", "last_at");
            if (rc == SYN_OK)
                rc = syn_json_append_take(rows, row, err);
            if (rc < 0)
                return rc;
        }
    }
    return rc;
}

static int
get_classes(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    MARKET_SUPPLY(supply);
    SYN_JSON(rows);
    SYN_JSON(answer);
    int rc = srv_market_supply_read(server, &supply, err);

    rows = json_array();
    if (rc == SYN_OK && rows == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    if (rc == SYN_OK)
        rc = srv_market_enter(server->market, err);
    if (rc < 0)
        return rc;
    for (uint32_t class = 0; rc == SYN_OK && class < syn_exchange_classes(exchange_of(server));
         class ++) {
        json_t *row = NULL;

        rc = class_row(server, class, &row, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, row, err);
    }
    if (rc == SYN_OK)
        rc = add_possible(server, &supply, rows, err);
    srv_market_leave(server->market);
    if (rc == SYN_OK)
        rc = wrap_list_take(SYN_TAKE(rows), &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- books and quotes ------------------------------------------------------------------------- */

static int
levels_of(const struct syn_exchange *exchange, uint32_t class, enum syn_side side, size_t depth,
          json_t **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_book_level *levels = syn_calloc(depth, sizeof(*levels));
    SYN_JSON(rows);
    size_t count;
    int rc = SYN_OK;

    rows = json_array();
    if (rows == NULL || levels == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a book");
    count = syn_books_depth(syn_exchange_books(exchange), class, side, levels, depth);
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        char price[SYN_FORMAT_MAX];
        json_t *row = NULL;

        rc = syn_json_pack(&row, err, "{s:s, s:I, s:I}", "price",
                           syn_format_amount(levels[i].price, price), "qty",
                           (json_int_t)levels[i].qty, "orders", (json_int_t)levels[i].orders);
        if (rc == SYN_OK)
            rc = syn_json_append_take(rows, row, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(rows);
    return rc;
}

static int
view_book(struct syn_server *server, struct syn_http_req *req, json_t **ret, struct syn_err *err)
{
    size_t depth = (size_t)syn_json_i64(syn_http_req_query_json(req), "depth", 10);
    struct market_class_name name;
    char at[SYN_FORMAT_MAX];
    json_t *bids = NULL, *asks = NULL;
    uint32_t class = 0;
    int rc = query_class(server, req, &name, &class, err);

    if (rc == SYN_OK)
        rc = levels_of(exchange_of(server), class, SYN_BUY, depth, &bids, err);
    if (rc == SYN_OK)
        rc = levels_of(exchange_of(server), class, SYN_SELL, depth, &asks, err);
    if (rc < 0) {
        json_decref(bids);
        return rc;
    }
    return syn_json_pack(ret, err, "{s:s, s:o, s:o, s:s}", "class", name.text, "bids", bids, "asks",
                         asks, "at", syn_format_time(syn_wall_ms(server->world), at));
}

static int
get_book(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_view(ctx, req, view_book, err);
}

static int
view_quote(struct syn_server *server, struct syn_http_req *req, json_t **ret, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(req);
    bool buy = syn_str_eq(syn_json_str(query, "side", ""), "buy");
    struct syn_market_ask ask = {syn_json_i64(query, "qty", 1), 0};
    struct syn_market_quote quote;
    struct market_class_name name;
    json_t *answer = NULL;
    uint32_t class = 0;
    int64_t total;
    int rc = query_class(server, req, &name, &class, err);

    if (rc < 0)
        return rc;
    quote = syn_exchange_quote(exchange_of(server), caller(server, req), class,
                               buy ? SYN_BUY : SYN_SELL, ask);
    if (quote.cost > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "so many units take more SYNOR than there are");
    total = (int64_t)quote.cost;
    rc = syn_json_pack(&answer, err, "{s:s, s:s, s:I, s:I}", "class", name.text, "side",
                       buy ? "buy" : "sell", "qty", (json_int_t)ask.qty, "available",
                       (json_int_t)quote.qty);
    if (rc == SYN_OK)
        rc = set_price(answer, "worst_price", quote.qty > 0, quote.worst, err);
    if (rc == SYN_OK)
        rc = set_price(answer, "average_price", quote.qty > 0,
                       quote.qty > 0 ? total / quote.qty : 0, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(answer, "total", total, err);
    if (rc < 0)
        json_decref(answer);
    else
        *ret = answer;
    return rc;
}

static int
get_quote(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_view(ctx, req, view_quote, err);
}

/* --- trades and the index --------------------------------------------------------------------- */

struct trade_row {
    struct syn_market_trade trade;
    uint32_t class;
};

static int
newer(const void *a, const void *b)
{
    const struct trade_row *left = a, *right = b;

    if (left->trade.at_ms != right->trade.at_ms)
        return left->trade.at_ms > right->trade.at_ms ? -1 : 1;
    if (left->class != right->class)
        return left->class < right->class ? -1 : 1;
    return left->trade.number > right->trade.number ? -1 : 1;
}

/* Who traded is nobody else's business: a trade says only what it was to who asks. */
static int
add_trade(const struct syn_exchange *exchange, const struct trade_row *row, uint32_t me,
          json_t *items, struct syn_err *err)
{
    const struct syn_market_trade *trade = &row->trade;
    const char *mine = trade->buyer == me ? "buy" : trade->seller == me ? "sell" : NULL;
    char price[SYN_FORMAT_MAX], at[SYN_FORMAT_MAX];
    json_t *item = NULL;
    int rc =
        syn_json_pack(&item, err, "{s:s, s:I, s:s, s:s, s:I, s:s, s:s?}", "class",
                      syn_exchange_class_name(exchange, row->class), "number",
                      (json_int_t)trade->number, "at", syn_format_time(trade->at_ms, at), "price",
                      syn_format_amount(trade->price, price), "qty", (json_int_t)trade->qty,
                      "taker", trade->taker_side == SYN_BUY ? "buy" : "sell", "mine", mine);

    return rc < 0 ? rc : syn_json_append_take(items, item, err);
}

static int
collect_trades(const struct syn_exchange *exchange, uint32_t from, uint32_t to,
               struct trade_row **ret_rows, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_market_trade *trades = NULL;
    SYN_SCOPED(syn_free_scope) struct trade_row *rows = NULL;
    size_t cap = 0, count = 0;

    trades = syn_calloc(SYN_EXCHANGE_HISTORY, sizeof(*trades));
    if (trades == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for trades");
    for (uint32_t class = from; class < to; class ++) {
        size_t got = syn_exchange_history(exchange, class, trades, SYN_EXCHANGE_HISTORY);

        if (!syn_grow((void *)&rows, &cap, count + got + 1, sizeof(*rows)))
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for trades");
        for (size_t i = 0; i < got; i++)
            rows[count++] = (struct trade_row){trades[i], class};
    }
    if (count > 1)
        qsort(rows, count, sizeof(*rows), newer);
    *ret_rows = SYN_TAKE(rows);
    *ret_count = count;
    return SYN_OK;
}

static int
view_trades(struct syn_server *server, struct syn_http_req *req, json_t **ret, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(req);
    const struct syn_exchange *exchange = exchange_of(server);
    bool mine = syn_json_bool(query, "mine", false);
    size_t limit = (size_t)syn_json_i64(query, "limit", 100);
    SYN_SCOPED(syn_free_scope) struct trade_row *rows = NULL;
    uint32_t from = 0, to = syn_exchange_classes(exchange), me = caller(server, req);
    struct market_class_name name;
    size_t count = 0;
    SYN_JSON(items);
    int rc = SYN_OK;

    if (syn_json_str(query, "class", "")[0] != '\0') {
        rc = query_class(server, req, &name, &from, err);
        to = from + 1;
    }
    items = json_array();
    if (rc == SYN_OK && items == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for trades");
    if (rc == SYN_OK)
        rc = collect_trades(exchange, from, to, &rows, &count, err);
    for (size_t i = 0; rc == SYN_OK && i < count && json_array_size(items) < limit; i++) {
        if (!mine ||
            (me != SYN_NO_INDEX && (rows[i].trade.buyer == me || rows[i].trade.seller == me)))
            rc = add_trade(exchange, &rows[i], me, items, err);
    }
    return rc < 0 ? rc : wrap_list_take(SYN_TAKE(items), ret, err);
}

static int
get_trades(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_view(ctx, req, view_trades, err);
}

static int
view_index(struct syn_server *server, struct syn_http_req *req, json_t **ret, struct syn_err *err)
{
    static const char *const bases[] = {
        [SYN_INDEX_NONE] = "none", [SYN_INDEX_TRADES] = "trades", [SYN_INDEX_QUOTES] = "quotes"};
    int64_t window_ms = syn_json_i64(syn_http_req_query_json(req), "window_ms", 0);
    struct syn_market_index index;
    struct market_class_name name;
    const char *item = NULL;
    int64_t list = 0;
    uint32_t class = 0;
    json_t *answer = NULL;
    bool listed;
    int rc = query_class(server, req, &name, &class, err);

    if (rc < 0)
        return rc;
    listed = srv_market_list_price(server, &name, &item, &list);
    index = syn_exchange_index(exchange_of(server), class, window_ms);
    rc = syn_json_pack(&answer, err, "{s:s, s:s, s:I, s:I, s:I, s:I}", "class", name.text, "basis",
                       bases[index.basis], "window_ms", (json_int_t)window_ms, "qty",
                       (json_int_t)index.qty, "count", (json_int_t)index.count, "ignored",
                       (json_int_t)index.ignored);
    if (rc == SYN_OK)
        rc = set_price(answer, "price", index.basis != SYN_INDEX_NONE, index.price, err);
    if (rc == SYN_OK)
        rc = set_price(answer, "list_price", listed, list, err);
    if (rc < 0)
        json_decref(answer);
    else
        *ret = answer;
    return rc;
}

static int
get_index(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return reply_view(ctx, req, view_index, err);
}

/* --- offers ----------------------------------------------------------------------------------- */

/* Who issued it, or nobody: units that somebody holds and sells again. */
static int
add_offer(const struct syn_server *server, const struct market_class_name *name,
          const struct syn_order_view *view, json_t *items, struct syn_err *err)
{
    const struct syn_exchange *exchange = exchange_of(server);
    const char *account =
        syn_exchange_account_name(exchange, syn_exchange_owner(exchange, view->owner));
    bool issued = srv_market_issued(server->market, account, name->text) > 0;
    char price[SYN_FORMAT_MAX];
    const char *list_item = NULL;
    int64_t list = 0;
    bool listed = srv_market_list_price(server, name, &list_item, &list);
    json_t *item = NULL;
    int rc = syn_json_pack(&item, err, "{s:s, s:s, s:I, s:b, s:s?, s:s?}", "class", name->text,
                           "price", syn_format_amount(view->price, price), "qty",
                           (json_int_t)view->qty, "whole", view->aon ? 1 : 0, "provider",
                           issued ? account : NULL, "list_item", listed ? list_item : NULL);

    if (rc == SYN_OK)
        rc = set_price(item, "list_price", listed, list, err);
    if (rc < 0) {
        json_decref(item);
        return rc;
    }
    return syn_json_append_take(items, item, err);
}

static int
view_offers(struct syn_server *server, struct syn_http_req *req, json_t **ret, struct syn_err *err)
{
    const struct syn_exchange *exchange = exchange_of(server);
    const json_t *query = syn_http_req_query_json(req);
    size_t limit = (size_t)syn_json_i64(query, "limit", 100);
    uint32_t from = 0, to = syn_exchange_classes(exchange);
    struct market_class_name name;
    struct syn_order_view view;
    SYN_JSON(items);
    int rc = SYN_OK;

    if (syn_json_str(query, "class", "")[0] != '\0') {
        rc = query_class(server, req, &name, &from, err);
        to = from + 1;
    }
    items = json_array();
    if (rc == SYN_OK && items == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for offers");
    for (uint32_t class = from; rc == SYN_OK && class < to; class ++) {
        size_t count = 0;
        uint64_t cursor = 0;

        rc = srv_market_class_parse(syn_exchange_class_name(exchange, class), &name, err);
        while (rc == SYN_OK && count < limit && json_array_size(items) < OFFERS_MAX &&
               syn_books_next(syn_exchange_books(exchange), class, SYN_SELL, &cursor, &view)) {
            rc = add_offer(server, &name, &view, items, err);
            count++;
        }
    }
    return rc < 0 ? rc : wrap_list_take(SYN_TAKE(items), ret, err);
}

/* What providers are called. Not under the lock: it is in the store. */
static int
name_providers(struct syn_server *server, json_t *items, struct syn_err *err)
{
    SYN_JSON(names);
    size_t i;
    json_t *item;

    names = json_object();
    if (names == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for offers");
    json_array_foreach (items, i, item) {
        const char *id = syn_json_str(item, "provider", NULL);
        char key[SRV_KEY_MAX];
        int rc = SYN_OK;
        SYN_JSON(account);

        if (id != NULL && json_object_get(names, id) == NULL) {
            rc = srv_load(server, srv_key(key, "account", id, NULL), &account, NULL, err);
            if (rc >= 0)
                rc = syn_json_set_str(names, id, syn_json_str(account, "name", id), err);
        }
        if (rc == SYN_OK)
            rc = syn_json_set_str(item, "provider_name",
                                  id != NULL ? syn_json_str(names, id, id) : NULL, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
get_offers(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_JSON(answer);
    int rc = srv_market_enter(server->market, err);

    if (rc < 0)
        return rc;
    rc = view_offers(server, req, &answer, err);
    srv_market_leave(server->market);
    if (rc == SYN_OK)
        rc = name_providers(server, json_object_get(answer, "items"), err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- holdings --------------------------------------------------------------------------------- */

static int
view_holdings(struct syn_server *server, struct syn_http_req *req, json_t **ret,
              struct syn_err *err)
{
    const struct syn_exchange *exchange = exchange_of(server);
    const char *account = srv_identity(req)->account;
    uint32_t me = caller(server, req);
    SYN_JSON(items);
    int rc = SYN_OK;

    items = json_array();
    if (items == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for holdings");
    for (uint32_t class = 0; rc == SYN_OK && class < syn_exchange_classes(exchange); class ++) {
        const char *name = syn_exchange_class_name(exchange, class);
        struct syn_balance units = syn_exchange_capacity(exchange, me, class);
        int64_t issued = srv_market_issued(server->market, account, name);
        int64_t in_use = srv_market_in_use(server->market, account, name);
        json_t *item = NULL, *sellers = NULL;

        if (units.free == 0 && units.held == 0 && issued == 0 && in_use == 0)
            continue;
        /* What is issued and not here is somebody else's now. */
        rc = srv_market_sellers(server, me, class, &sellers, err);
        if (rc == SYN_OK)
            rc = syn_json_pack(&item, err, "{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "class", name,
                               "free", (json_int_t)units.free, "held", (json_int_t)units.held,
                               "in_use", (json_int_t)in_use, "issued", (json_int_t)issued, "sold",
                               (json_int_t)SYN_MAX(issued - units.free - units.held, 0), "of",
                               sellers);
        if (rc == SYN_OK)
            rc = syn_json_append_take(items, item, err);
    }
    return rc < 0 ? rc : wrap_list_take(SYN_TAKE(items), ret, err);
}

static int
get_holdings(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_JSON(answer);
    size_t i;
    json_t *item;
    int rc = srv_market_enter(server->market, err);

    if (rc < 0)
        return rc;
    rc = view_holdings(server, req, &answer, err);
    srv_market_leave(server->market);
    json_array_foreach (json_object_get(answer, "items"), i, item)
        if (rc == SYN_OK)
            rc = name_providers(server, json_object_get(item, "of"), err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- reservations ----------------------------------------------------------------------------- */

struct listing {
    struct syn_server *server;
    const char *job;
};

static int
list_reservation(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    char doc_key[SRV_KEY_MAX];
    SYN_JSON(reservation);
    int rc;

    (void)doc;
    rc = srv_need(listing->server, srv_key(doc_key, "reservation", strrchr(key, '/') + 1, NULL),
                  "reservation", &reservation, NULL, err);
    if (rc < 0 ||
        (listing->job != NULL &&
         !syn_str_eq(syn_json_str(syn_document_spec(reservation), "job", ""), listing->job)))
        return rc;
    return syn_json_append_take(items, SYN_TAKE(reservation), err);
}

static int
list_reservations(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct listing listing = {ctx, syn_json_str(syn_http_req_query_json(req), "job", NULL)};
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req,
                          srv_key(prefix, "reservation-by", srv_identity(req)->account, ""), true,
                          list_reservation, &listing, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define CLASS_FIELD(required_)                                                        \
    {                                                                                 \
        .name = "class", .kind = SYN_FIELD_STR, .min = 1, .max = SYN_MARKET_NAME_MAX, \
        .required = (required_), .help = "kind/model/region/duration"                 \
    }

static const struct syn_field book_fields[] = {
    CLASS_FIELD(true),
    {.name = "depth",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = 1000,
     .fallback = "10",
     .help = "Price levels a side at most"},
};
static const struct syn_schema book_schema = SYN_SCHEMA("MarketBookQuery", book_fields);

static const struct syn_field quote_fields[] = {
    CLASS_FIELD(true),
    {.name = "side",
     .kind = SYN_FIELD_STR,
     .choices = "buy|sell",
     .fallback = "\"buy\"",
     .help = "What to do"},
    {.name = "qty",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = SYN_ORDER_QTY_MAX,
     .required = true,
     .help = "Units"},
};
static const struct syn_schema quote_schema = SYN_SCHEMA("MarketQuoteQuery", quote_fields);

static const struct syn_field trades_fields[] = {
    CLASS_FIELD(false),
    SRV_LIMIT_FIELD("How many at most; a class remembers its last 256"),
    {.name = "mine", .kind = SYN_FIELD_BOOL, .fallback = "false", .help = "Only the account's own"},
};
static const struct syn_schema trades_schema = SYN_SCHEMA("MarketTradesQuery", trades_fields);

static const struct syn_field index_fields[] = {
    CLASS_FIELD(true),
    {.name = "window_ms",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = INT64_C(366) * 24 * 3600 * 1000,
     .fallback = "3600000",
     .help = "How far back trades count"},
};
static const struct syn_schema index_schema = SYN_SCHEMA("MarketIndexQuery", index_fields);

static const struct syn_field offers_fields[] = {
    CLASS_FIELD(false),
    SRV_LIMIT_FIELD("How many of a class at most"),
};
static const struct syn_schema offers_schema = SYN_SCHEMA("MarketOffersQuery", offers_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/market/classes", get_classes, NULL, "market.classes",
             "What is traded, and what could be"),
    SRV_READ("/v1/market/book", get_book, &book_schema, "market.book",
             "What is bid and asked, by price"),
    SRV_READ("/v1/market/quote", get_quote, &quote_schema, "market.quote",
             "What so many units would cost or bring now"),
    SRV_READ("/v1/market/trades", get_trades, &trades_schema, "market.trades",
             "Trades, newest first"),
    SRV_READ("/v1/market/index", get_index, &index_schema, "market.index",
             "A class's price, and what it rests on"),
    SRV_READ("/v1/market/offers", get_offers, &offers_schema, "market.offers",
             "What is for sale, best first, beside the price book's prices"),
    SRV_READ("/v1/market/holdings", get_holdings, NULL, "market.holdings",
             "Units that the account holds, offers and has sold"),
    SRV_READ("/v1/market/reservations", list_reservations, &srv_list_query, "market.reservations",
             "Units that jobs of the account have begun, newest first"),
};

const struct srv_routes srv_market_view_routes = {rows, SYN_LEN(rows)};
