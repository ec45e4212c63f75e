/* Routes of orders: placing, planning, changing, cancelling, listing them. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

/* A condition of attempts: what nodes have must be known first. Looking at all nodes takes its
 * time, and most orders need it not: buying what is traded, and selling what one holds. */
#define LOOK_FIRST 2

/* --- placing ---------------------------------------------------------------------------------- */

/* An order as somebody asks for it. */
struct placing {
    struct market_class_name class;
    struct market_supply supply; /* read when it is needed */
    const char *account;         /* borrowed from who asks */
    enum syn_side side;
    unsigned type; /* enum syn_order_kind */
    unsigned stp;
    int64_t price; /* 0: none */
    int64_t qty;
    int64_t until_ms; /* 0: none */
    /* What it takes, beyond what the account has in the market. */
    int64_t money;
    int64_t units;
};

static void
placing_fini(struct placing *placing)
{
    srv_market_supply_fini(&placing->supply);
}

static int
read_end(struct syn_server *server, const json_t *body, int64_t *ret_until_ms, struct syn_err *err)
{
    const char *until = syn_json_str(body, "until", "");
    int64_t ttl_ms = syn_json_i64(body, "ttl_ms", 0);
    int64_t now_ms = syn_wall_ms(server->world);
    int rc = SYN_OK;

    *ret_until_ms = 0;
    if (until[0] != '\0' && ttl_ms != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "until and ttl_ms: one of them is enough");
    if (ttl_ms != 0)
        *ret_until_ms = now_ms + ttl_ms;
    else if (until[0] != '\0')
        rc = syn_parse_time(until, ret_until_ms, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "until");
    if (*ret_until_ms != 0 && *ret_until_ms <= now_ms)
        return SYN_FAIL(err, SYN_E_INVALID, "until: that time is past");
    return SYN_OK;
}

static int
read_placing(struct syn_server *server, struct syn_http_req *req, struct placing *ret,
             struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    const char *price = syn_json_str(body, "price", NULL);
    int rc = srv_market_class_parse(syn_json_str(body, "class", ""), &ret->class, err);

    ret->account = srv_identity(req)->account;
    ret->side = syn_str_eq(syn_json_str(body, "side", ""), "buy") ? SYN_BUY : SYN_SELL;
    ret->type = (unsigned)srv_market_type_find(syn_json_str(body, "type", ""));
    ret->stp = (unsigned)srv_market_stp_find(syn_json_str(body, "stp", ""));
    ret->qty = syn_json_i64(body, "qty", 0);
    assert(ret->type < SYN_ORDER_KINDS && ret->stp < SYN_STPS); /* the schema names the same */
    if (rc == SYN_OK && (price == NULL) != (ret->type == SYN_ORDER_MARKET))
        rc = SYN_FAIL(err, SYN_E_INVALID,
                      price == NULL ? "price: an order of type %s needs one"
                                    : "price: an order of type %s takes none",
                      srv_market_type_name(ret->type));
    if (rc == SYN_OK && price != NULL)
        rc = syn_parse_amount(price, "price", &ret->price, err);
    if (rc == SYN_OK)
        rc = read_end(server, body, &ret->until_ms, err);
    if (rc == SYN_OK && ret->until_ms != 0 && ret->type != SYN_ORDER_LIMIT &&
        ret->type != SYN_ORDER_AON)
        rc = SYN_FAIL(err, SYN_E_INVALID, "until: an order of type %s never rests",
                      srv_market_type_name(ret->type));
    return rc;
}

/* Price times quantity, which no account could pay when it is more than there is. */
static int
cost_of(int64_t price, int64_t qty, int64_t *ret_cost, struct syn_err *err)
{
    syn_i128 cost = (syn_i128)price * qty;

    if (cost > SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_FUNDS, "the order takes more SYNOR than there are");
    *ret_cost = (int64_t)cost;
    return SYN_OK;
}

/* What a provider's nodes can give beyond what it has promised; a clear word when that is less.
 * LOOK_FIRST. */
static int
check_units(const struct srv_market *market, const struct placing *placing, int64_t have,
            struct syn_err *err)
{
    int64_t promised = srv_market_committed(market, placing->account, placing->class.triple);
    int64_t processors;

    if (placing->units <= 0)
        return SYN_OK;
    if (placing->supply.counts == NULL)
        return LOOK_FIRST;
    processors = srv_market_supply_of(&placing->supply, placing->account, placing->class.triple);
    if (placing->units <= processors - promised)
        return SYN_OK;
    if (processors == 0)
        return SYN_FAIL(err, SYN_E_FUNDS,
                        "the account holds %" PRId64 " free %s of %s, not %" PRId64
                        ", and has no node with %s that is free of jobs",
                        have, syn_plural(have, "unit", "units"), placing->class.text,
                        have + placing->units, placing->class.triple);
    return SYN_FAIL(err, SYN_E_FUNDS,
                    "the account's nodes have %" PRId64 " of %s free of jobs, %" PRId64
                    " of them offered or sold already; this takes %" PRId64 " more",
                    processors, placing->class.triple, promised, placing->units);
}

/* What the order takes that is not in the market yet, and whether the account has it. Under the
 * lock; nothing changes. LOOK_FIRST. */
static int
assess(struct syn_server *server, struct placing *placing, struct syn_err *err)
{
    const struct srv_market *market = server->market;
    const struct syn_exchange *exchange = market->exchange;
    uint32_t class = syn_exchange_find_class(exchange, placing->class.text);
    uint32_t account = syn_exchange_find_account(exchange, placing->account);
    struct syn_market_ask ask = {placing->qty, 0};
    int64_t cost = 0, have;
    int rc = SYN_OK;

    if (class == SYN_NO_INDEX && placing->supply.counts == NULL)
        return LOOK_FIRST;
    if (class == SYN_NO_INDEX &&
        srv_market_supply_of(&placing->supply, NULL, placing->class.triple) == 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no market in %s: no node here has %s",
                        placing->class.text, placing->class.triple);
    if (placing->side == SYN_SELL) {
        have = syn_exchange_capacity(exchange, account, class).free;
        placing->units = placing->qty - have;
        return check_units(market, placing, have, err);
    }
    if (placing->type == SYN_ORDER_MARKET)
        cost = (int64_t)SYN_MIN(syn_exchange_quote(exchange, account, class, SYN_BUY, ask).cost,
                                (syn_u128)SYN_AMOUNT_MAX);
    else
        rc = cost_of(placing->price, placing->qty, &cost, err);
    placing->money = cost - syn_exchange_money(exchange, account).free;
    if (rc == SYN_OK && placing->money > 0)
        rc = srv_market_afford(server, placing->account, placing->money, err);
    return rc;
}

static int
place(struct market_work *work, void *arg, struct syn_err *err)
{
    struct placing *placing = arg;
    struct syn_market_event event = {.kind = SYN_EVENT_ORDER,
                                     .side = (uint8_t)placing->side,
                                     .order = (uint8_t)placing->type,
                                     .stp = (uint8_t)placing->stp,
                                     .price = placing->price,
                                     .qty = placing->qty,
                                     .at_ms = placing->until_ms};
    struct syn_market_outcome outcome;
    int rc = assess(work->server, placing, err);

    if (rc == SYN_OK)
        rc = srv_market_account(work, placing->account, &event.account, err);
    if (rc == SYN_OK)
        rc = srv_market_class(work, placing->class.text, &event.class, err);
    if (rc == SYN_OK && placing->side == SYN_BUY)
        rc = srv_market_deposit(work, event.account, placing->money, err);
    if (rc == SYN_OK && placing->side == SYN_SELL)
        rc = srv_market_grant(work, event.account, event.class, placing->units, err);
    if (rc == SYN_OK)
        rc = srv_market_apply(work, &event, &outcome, err);
    if (rc == SYN_OK)
        (void)snprintf(work->memo, sizeof(work->memo), "order %" PRIu64 ": %s %" PRId64 " of %s",
                       outcome.id, placing->side == SYN_BUY ? "buy" : "sell", placing->qty,
                       placing->class.text);
    return rc;
}

/* Look at the nodes if the order will need it. What else is wrong with it is for later to say. */
static int
look_if_needed(struct syn_server *server, struct placing *placing, struct syn_err *err)
{
    int rc = srv_market_enter(server->market, err);
    bool look;

    if (rc < 0)
        return rc;
    look = assess(server, placing, NULL) == LOOK_FIRST;
    srv_market_leave(server->market);
    return look ? srv_market_supply_read(server, &placing->supply, err) : SYN_OK;
}

/* Run it; look at the nodes when it turns out to need that. */
static int
run_looking(struct syn_server *server, struct syn_http_req *req, market_attempt_fn attempt,
            void *arg, struct market_supply *supply, json_t **ret_order, struct syn_err *err)
{
    int rc = srv_market_run(server, req, attempt, arg, ret_order, err);

    if (rc != LOOK_FIRST)
        return rc;
    rc = srv_market_supply_read(server, supply, err);
    return rc < 0 ? rc : srv_market_run(server, req, attempt, arg, ret_order, err);
}

static void
hint_of(struct syn_http_req *req, const struct placing *placing, int rc)
{
    if (rc == SYN_E_NOTFOUND)
        syn_http_error_hint(req, "synor market classes names what can be traded");
    else if (rc == SYN_E_FUNDS && placing->side == SYN_SELL)
        syn_http_error_hint(req, "synor market holdings says what the account has");
    else if (rc == SYN_E_FUNDS)
        syn_http_error_hint(req, "synor account balance says what the account has");
}

/* --- planning --------------------------------------------------------------------------------- */

/* What the order would do now. Under the lock; nothing changes. */
static int
make_plan(struct syn_server *server, struct placing *placing, json_t **ret_plan,
          struct syn_err *err)
{
    const struct syn_exchange *exchange = server->market->exchange;
    uint32_t class = syn_exchange_find_class(exchange, placing->class.text);
    const struct syn_market_ask ask = {placing->qty, placing->price};
    struct syn_market_quote quote = syn_exchange_quote(
        exchange, syn_exchange_find_account(exchange, placing->account), class, placing->side, ask);
    bool whole = placing->type == SYN_ORDER_FOK || placing->type == SYN_ORDER_AON;
    bool rests = placing->type == SYN_ORDER_LIMIT || placing->type == SYN_ORDER_AON;
    int64_t sign = placing->side == SYN_BUY ? 1 : -1;
    int64_t cost, hold, left, balance = 0;
    json_t *plan = NULL;
    int rc = srv_balance(server, placing->account, &balance, err);

    if (whole && quote.qty < placing->qty)
        quote = (struct syn_market_quote){0};
    cost = (int64_t)SYN_MIN(quote.cost, (syn_u128)SYN_AMOUNT_MAX);
    left = rests ? placing->qty - quote.qty : 0;
    hold = placing->side == SYN_BUY ? left * placing->price : 0;
    if (rc == SYN_OK)
        rc =
            syn_json_pack(&plan, err, "{s:b, s:s, s:s, s:I, s:I, s:I, s:I}", "plan", 1, "class",
                          placing->class.text, "side", placing->side == SYN_BUY ? "buy" : "sell",
                          "qty", (json_int_t)placing->qty, "trades", (json_int_t)quote.qty, "rests",
                          (json_int_t)left, "drops", (json_int_t)(placing->qty - quote.qty - left));
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, placing->side == SYN_BUY ? "cost" : "proceeds", cost,
                                     err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "worst_price", quote.worst, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "held", hold, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "fee", 0, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "balance", balance, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(plan, "balance_after", balance - sign * cost - hold, err);
    *ret_plan = plan;
    return rc;
}

/* The plan stands without the amounts that an order which is refused would not have. */
static int
reply_plan(struct syn_server *server, struct syn_http_req *req, struct placing *placing,
           struct syn_err *err)
{
    struct syn_err why = {0};
    json_t *refused = NULL;
    SYN_JSON(plan);
    int refusal = SYN_OK;
    int rc = srv_market_enter(server->market, err);

    if (rc < 0)
        return rc;
    refusal = assess(server, placing, &why);
    if (refusal == SYN_OK)
        rc = make_plan(server, placing, &plan, err);
    else
        rc = syn_json_pack(&plan, err, "{s:b, s:s, s:s, s:I}", "plan", 1, "class",
                           placing->class.text, "side", placing->side == SYN_BUY ? "buy" : "sell",
                           "qty", (json_int_t)placing->qty);
    srv_market_leave(server->market);
    if (rc == SYN_OK && refusal != SYN_OK)
        rc = syn_json_pack(&refused, err, "{s:s, s:s}", "code", syn_err_info(refusal)->wire,
                           "message", why.msg);
    if (rc == SYN_OK)
        rc = syn_json_set_take(plan, "refused", refusal != SYN_OK ? refused : json_null(), err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, plan, err);
}

static int
post_order(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(placing_fini) struct placing placing = {.account = ""};
    SYN_JSON(order);
    bool plan = syn_json_bool(syn_http_req_query_json(req), "plan", false);
    int rc = read_placing(server, req, &placing, err);
    bool sells = placing.side == SYN_SELL && !plan;

    if (sells) /* what nodes have free must stay so until it is offered */
        srv_market_promise(server);
    if (rc == SYN_OK)
        rc = look_if_needed(server, &placing, err);
    if (rc == SYN_OK && !plan)
        rc = run_looking(server, req, place, &placing, &placing.supply, &order, err);
    if (sells)
        srv_market_promised(server);
    if (rc == SYN_OK && plan)
        return reply_plan(server, req, &placing, err);
    hint_of(req, &placing, rc);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    return syn_http_reply_json(req, 201, order, err);
}

/* --- changing --------------------------------------------------------------------------------- */

/* A change of the order that the request names. */
struct amending {
    struct syn_http_req *req;
    struct market_supply supply;
    uint64_t id;
    int64_t price; /* 0: as it is */
    int64_t qty;   /* that is left of it from now on; 0: as it is */
    unsigned stp;
};

static void
amending_fini(struct amending *amending)
{
    srv_market_supply_fini(&amending->supply);
}

/* The order, if it rests and the caller may touch it. */
static int
find_order(const struct market_work *work, const struct amending *amending,
           struct syn_order_view *ret_view, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(amending->req);
    char id[MARKET_ORDER_ID_MAX];
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc =
        srv_load(work->server, srv_key(key, "order", srv_market_order_id(amending->id, id), NULL),
                 &doc, NULL, err);

    if (rc < 0)
        return rc;
    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no order %" PRIu64, amending->id);
    rc = srv_own(who, doc, "order", id, err);
    if (rc < 0)
        return rc;
    if (!syn_books_find(syn_exchange_books(work->exchange), amending->id, ret_view))
        return SYN_FAIL(err, SYN_E_CONFLICT, "order %" PRIu64 " does not rest any more: it is %s",
                        amending->id, syn_document_state(doc));
    return SYN_OK;
}

/* Bring in what the order takes more than it holds. */
static int
cover(struct market_work *work, const struct amending *amending, const struct syn_order_view *view,
      uint32_t account, struct syn_err *err)
{
    struct placing placing = {.account = syn_exchange_account_name(work->exchange, account),
                              .supply = amending->supply};
    int64_t cost = 0, have;
    int rc;

    if (view->side == SYN_BUY) {
        rc = cost_of(amending->price, amending->qty, &cost, err);
        cost -= view->price * view->qty + syn_exchange_money(work->exchange, account).free;
        return rc < 0 ? rc : srv_market_deposit(work, account, cost, err);
    }
    rc = srv_market_class_parse(syn_exchange_class_name(work->exchange, view->book), &placing.class,
                                err);
    have = syn_exchange_capacity(work->exchange, account, view->book).free;
    placing.units = amending->qty - view->qty - have;
    if (rc == SYN_OK)
        rc = check_units(work->market, &placing, have, err);
    return rc != SYN_OK ? rc : srv_market_grant(work, account, view->book, placing.units, err);
}

static int
amend(struct market_work *work, void *arg, struct syn_err *err)
{
    struct amending *amending = arg;
    struct syn_market_event event = {.kind = SYN_EVENT_REPLACE, .id = amending->id};
    struct syn_market_outcome outcome;
    struct syn_order_view view = {0};
    int rc = find_order(work, amending, &view, err);

    if (rc < 0)
        return rc;
    event.account = syn_exchange_owner(work->exchange, view.owner);
    if (amending->price == 0)
        amending->price = view.price;
    if (amending->qty == 0)
        amending->qty = view.qty;
    if (amending->price == view.price && amending->qty <= view.qty) {
        event.kind = SYN_EVENT_REDUCE;
        event.qty = view.qty - amending->qty;
        if (event.qty == 0)
            return SYN_FAIL(err, SYN_E_INVALID, "the order has this price and quantity already");
    } else {
        event.price = amending->price;
        event.qty = amending->qty;
        event.stp = (uint8_t)amending->stp;
        rc = cover(work, amending, &view, event.account, err);
    }
    (void)snprintf(work->memo, sizeof(work->memo), "order %" PRIu64 ": changed", amending->id);
    return rc != SYN_OK ? rc : srv_market_apply(work, &event, &outcome, err);
}

static int
cancel(struct market_work *work, void *arg, struct syn_err *err)
{
    const struct amending *amending = arg;
    struct syn_market_event event = {.kind = SYN_EVENT_CANCEL, .id = amending->id};
    struct syn_market_outcome outcome;
    struct syn_order_view view = {0};
    int rc = find_order(work, amending, &view, err);

    if (rc < 0)
        return rc;
    event.account = syn_exchange_owner(work->exchange, view.owner);
    (void)snprintf(work->memo, sizeof(work->memo), "order %" PRIu64 ": canceled", amending->id);
    return srv_market_apply(work, &event, &outcome, err);
}

static int
change_order(struct syn_server *server, struct amending *amending, market_attempt_fn attempt,
             struct syn_err *err)
{
    SYN_JSON(order);
    int rc = srv_market_order_number(syn_http_req_param(amending->req, "id"), &amending->id, err);

    srv_market_promise(server);
    if (rc == SYN_OK)
        rc = run_looking(server, amending->req, attempt, amending, &amending->supply, &order, err);
    srv_market_promised(server);
    if (rc != SYN_OK)
        return rc == SRV_REPLAYED ? SYN_OK : rc;
    return syn_http_reply_json(amending->req, 200, order, err);
}

static int
patch_order(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const json_t *body = syn_http_req_json(req);
    const char *price = syn_json_str(body, "price", NULL);
    SYN_SCOPED(amending_fini)
    struct amending amending = {.req = req,
                                .qty = syn_json_i64(body, "qty", 0),
                                .stp =
                                    (unsigned)srv_market_stp_find(syn_json_str(body, "stp", ""))};
    int rc = SYN_OK;

    if (price != NULL)
        rc = syn_parse_amount(price, "price", &amending.price, err);
    else if (amending.qty == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "expected a price, a qty, or both");
    return rc < 0 ? rc : change_order(server, &amending, amend, err);
}

static int
delete_order(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct amending amending = {.req = req};

    return change_order(ctx, &amending, cancel, err);
}

/* --- asking ----------------------------------------------------------------------------------- */

static int
get_order(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *text = syn_http_req_param(req, "id");
    char id[MARKET_ORDER_ID_MAX];
    char key[SRV_KEY_MAX];
    uint64_t number;
    SYN_JSON(doc);
    int rc = srv_market_order_number(text, &number, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "order", srv_market_order_id(number, id), NULL), "order",
                      &doc, NULL, err);
    if (rc == SYN_OK)
        rc = srv_own(srv_identity(req), doc, "order", id, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct listing {
    struct syn_server *server;
    const char *state; /* NULL: any */
    const char *class;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    char order_key[SRV_KEY_MAX];
    SYN_JSON(order);
    int rc = srv_need(listing->server, srv_key(order_key, "order", strrchr(key, '/') + 1, NULL),
                      "order", &order, NULL, err);

    (void)doc;
    if (rc < 0)
        return rc;
    if ((listing->state != NULL && !syn_str_eq(listing->state, syn_document_state(order))) ||
        (listing->class != NULL &&
         !syn_str_eq(listing->class, syn_json_str(syn_document_spec(order), "class", ""))))
        return SYN_OK;
    return syn_json_append_take(items, SYN_TAKE(order), err);
}

static int
list_orders(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(req);
    const json_t *query = syn_http_req_query_json(req);
    struct listing listing = {ctx, syn_json_str(query, "state", NULL),
                              syn_json_str(query, "class", NULL)};
    bool all = syn_json_bool(query, "all", false);
    bool open = listing.state != NULL && syn_str_eq(listing.state, "open");
    char prefix[SRV_KEY_MAX];

    if (all && !who->is_operator)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "all: only an operator sees everybody's orders");
    /* Of the open ones there is a list of its own: most orders have ended. */
    if (all)
        (void)snprintf(prefix, sizeof(prefix), "%s", open ? "order-open/" : "order/");
    else
        (void)srv_key(prefix, open ? "order-open" : "order-of", who->account, "");
    return srv_reply_list(ctx, req, prefix, true, list_item, &listing, err);
}

/* --- table ------------------------------------------------------------------------------------ */

#define STP_FIELD                                                                 \
    {                                                                             \
        .name = "stp", .kind = SYN_FIELD_STR, .choices = "newer|older|both|less", \
        .fallback = "\"newer\"",                                                  \
        .help = "Which gives way when it meets an order of its own account"       \
    }

static const struct syn_field place_fields[] = {
    {.name = "class",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_MARKET_NAME_MAX,
     .required = true,
     .help = "kind/model/region/duration"},
    {.name = "side",
     .kind = SYN_FIELD_STR,
     .choices = "buy|sell",
     .required = true,
     .help = "What to do"},
    {.name = "qty",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = SYN_ORDER_QTY_MAX,
     .required = true,
     .help = "Units"},
    {.name = "price",
     .kind = SYN_FIELD_AMOUNT,
     .min = 1,
     .max = SYN_AMOUNT_MAX,
     .help = "SYNOR a unit, at most (buy) or at least (sell); not of type market"},
    {.name = "type",
     .kind = SYN_FIELD_STR,
     .choices = "limit|ioc|fok|aon|market",
     .fallback = "\"limit\"",
     .help = "What becomes of what it cannot trade at once"},
    {.name = "until",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 40,
     .help = "When it ends by itself, RFC 3339"},
    {.name = "ttl_ms",
     .kind = SYN_FIELD_MS,
     .min = 1,
     .max = INT64_C(366) * 24 * 3600 * 1000,
     .help = "The same, from now"},
    STP_FIELD,
};
static const struct syn_schema place_schema = SYN_SCHEMA("OrderCreate", place_fields);

static const struct syn_field amend_fields[] = {
    {.name = "price",
     .kind = SYN_FIELD_AMOUNT,
     .min = 1,
     .max = SYN_AMOUNT_MAX,
     .help = "SYNOR a unit"},
    {.name = "qty",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = SYN_ORDER_QTY_MAX,
     .help = "Units that are to be left; fewer keep the order's place"},
    STP_FIELD,
};
static const struct syn_schema amend_schema = SYN_SCHEMA("OrderChange", amend_fields);

static const struct syn_field list_fields[] = {
    SRV_LIMIT_FIELD("How many at most"),
    SRV_AFTER_FIELD,
    {.name = "state",
     .kind = SYN_FIELD_STR,
     .choices = "open|filled|canceled|expired|dropped",
     .help = "Only those in this state"},
    {.name = "class",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_MARKET_NAME_MAX,
     .help = "Only those of this class"},
    {.name = "all",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "Everybody's (operators only)"},
};
static const struct syn_schema list_schema = SYN_SCHEMA("OrderListQuery", list_fields);

static const struct syn_field plan_fields[] = {
    SRV_PLAN_FIELD("Answer with what it would do; place nothing"),
};
static const struct syn_schema plan_schema = SYN_SCHEMA("OrderPlanQuery", plan_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/market/orders",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = list_orders,
     .query = &list_schema,
     .name = "market.orders",
     .summary = "The account's orders, newest first"},
    {.method = "POST",
     .pattern = "/v1/market/orders",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = post_order,
     .body = &place_schema,
     .query = &plan_schema,
     .name = "market.order",
     .summary = "Place an order, or plan one"},
    {.method = "GET",
     .pattern = "/v1/market/orders/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_READ,
     .handler = get_order,
     .name = "market.orders.get",
     .summary = "One order, by its id or number"},
    {.method = "PATCH",
     .pattern = "/v1/market/orders/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = patch_order,
     .body = &amend_schema,
     .name = "market.orders.change",
     .summary = "Another price or quantity; fewer units alone keep its place"},
    {.method = "DELETE",
     .pattern = "/v1/market/orders/{id}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_order,
     .name = "market.orders.cancel",
     .summary = "Cancel what is left of it"},
};

const struct srv_routes srv_market_order_routes = {rows, SYN_LEN(rows)};
