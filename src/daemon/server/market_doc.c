/* Orders as documents: the resource that is listed, watched, and looked up when the order has long
 * ended. "order/ID", and "order-of/ACCOUNT/ID" for lists.
 *
 * The exchange says what rests; a document says beside it what the order was and became. Both are
 * written in the transaction that logs what happened. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "market_priv.h"

#define ID_PREFIX "order-"

static const char *const type_names[SYN_ORDER_KINDS] = {
    [SYN_ORDER_LIMIT] = "limit", [SYN_ORDER_IOC] = "ioc",       [SYN_ORDER_FOK] = "fok",
    [SYN_ORDER_AON] = "aon",     [SYN_ORDER_MARKET] = "market",
};

static const char *const stp_names[SYN_STPS] = {
    [SYN_STP_TAKER] = "newer",
    [SYN_STP_MAKER] = "older",
    [SYN_STP_BOTH] = "both",
    [SYN_STP_LESS] = "less",
};

/* How an order ended that was not filled. */
static const struct {
    const char *state;
    const char *reason;
    const char *message;
} ends[MARKET_WHYS] = {
    [MARKET_WHY_NONE] = {"canceled", "unknown", "It left the book."},
    [MARKET_WHY_ASKED] = {"canceled", "asked", "Canceled by its owner."},
    [MARKET_WHY_OWN] = {"canceled", "own-order", "It met another order of its own account."},
    [MARKET_WHY_EXPIRED] = {"expired", "good-till", "Its time was up."},
    [MARKET_WHY_CAPACITY] = {"canceled", "capacity",
                             "The provider's nodes no longer have what it offered."},
    [MARKET_WHY_REST] = {"dropped", "immediate", "What it could not trade at once was dropped."},
    [MARKET_WHY_WHOLE] = {"dropped", "not-whole", "Not all of it could be traded at once."},
};

const char *
srv_market_type_name(unsigned kind)
{
    assert(kind < SYN_ORDER_KINDS);
    return type_names[kind];
}

static int
find(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (syn_str_eq(names[i], name))
            return (int)i;
    }
    return -1;
}

int
srv_market_type_find(const char *name)
{
    return find(type_names, SYN_LEN(type_names), name);
}

int
srv_market_stp_find(const char *name)
{
    return find(stp_names, SYN_LEN(stp_names), name);
}

const char *
srv_market_order_id(uint64_t id, char *out)
{
    (void)snprintf(out, MARKET_ORDER_ID_MAX, ID_PREFIX "%010" PRIu64, id);
    return out;
}

int
srv_market_order_number(const char *text, uint64_t *ret, struct syn_err *err)
{
    const char *digits = syn_str_starts(text, ID_PREFIX) ? text + sizeof(ID_PREFIX) - 1 : text;

    while (digits[0] == '0' && digits[1] != '\0')
        digits++;
    if (syn_parse_u64(digits, 1, UINT64_MAX, "order", ret, NULL) < 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no order %.60s", text);
    return SYN_OK;
}

/* --- documents -------------------------------------------------------------------------------- */

static int
make(struct market_work *work, const struct market_touch *touch, const char *id, json_t **ret_doc,
     struct syn_err *err)
{
    const struct syn_market_event *placed = &work->placed;
    const char *account = syn_exchange_account_name(work->exchange, touch->account);
    const struct syn_document_new new_doc = {"order", id, id, account,
                                             syn_wall_ms(work->server->world)};
    json_t *spec = NULL;
    SYN_JSON(doc);
    int rc =
        syn_json_pack(&spec, err, "{s:s, s:s, s:s, s:I, s:s}", "class",
                      syn_exchange_class_name(work->exchange, touch->class), "side",
                      placed->side == SYN_BUY ? "buy" : "sell", "type", type_names[placed->order],
                      "qty", (json_int_t)placed->qty, "stp", stp_names[placed->stp]);

    assert(placed->id == touch->id);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(spec, "price", placed->price, err);
    if (rc == SYN_OK && placed->order == SYN_ORDER_MARKET)
        rc = syn_json_set_take(spec, "price", json_null(), err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(spec, "until",
                                   placed->at_ms > 0 ? placed->at_ms : SYN_DOCUMENT_NONE, err);
    if (rc < 0) {
        json_decref(spec);
        return rc;
    }
    rc = syn_document_make_take(&new_doc, spec, &doc, err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

/* What is asked for from now on. */
static int
set_spec(json_t *doc, const struct market_touch *touch, int64_t traded_before, struct syn_err *err)
{
    json_t *spec = syn_document_spec(doc);
    int64_t qty = syn_json_i64(spec, "qty", 0) - touch->lost;
    int rc = SYN_OK;

    if (touch->replaced) {
        qty = traded_before + touch->qty - touch->lost;
        rc = syn_document_set_amount(spec, "price", touch->price, err);
    }
    if (rc == SYN_OK && (touch->replaced || touch->lost > 0))
        rc = syn_document_bump(doc, err);
    return rc < 0 ? rc : syn_json_set_i64(spec, "qty", qty, err);
}

/* What the order became. */
static int
set_state(json_t *doc, const struct market_touch *touch, bool rests, int64_t traded,
          struct syn_err *err)
{
    const json_t *spec = syn_document_spec(doc);
    bool aon = syn_str_eq(syn_json_str(spec, "type", ""), "aon");

    if (rests && aon)
        return syn_document_set_state(doc, "open", "waiting", "Waits until all of it trades.", err);
    if (rests)
        return syn_document_set_state(doc, "open", "resting", "Rests in the book.", err);
    if (traded > 0 && traded >= syn_json_i64(spec, "qty", 0))
        return syn_document_set_state(doc, "filled", "traded", "All of it was traded.", err);
    return syn_document_set_state(doc, ends[touch->why].state, ends[touch->why].reason,
                                  ends[touch->why].message, err);
}

int
srv_market_doc(struct market_work *work, const struct market_touch *touch, json_t **ret_doc,
               struct syn_err *err)
{
    const struct syn_books *books = syn_exchange_books(work->exchange);
    struct syn_order_view view = {0};
    bool rests = syn_books_find(books, touch->id, &view);
    char id[MARKET_ORDER_ID_MAX];
    char key[SRV_KEY_MAX];
    json_t *status;
    int64_t traded = 0, paid = 0, held;
    SYN_JSON(doc);
    int rc = srv_load(work->server, srv_key(key, "order", srv_market_order_id(touch->id, id), NULL),
                      &doc, NULL, err);

    if (rc == SRV_ABSENT)
        rc = make(work, touch, id, &doc, err);
    if (rc < 0)
        return rc;
    status = syn_document_status(doc);
    traded = SYN_MAX(syn_json_i64(status, "traded", 0), 0);
    paid = syn_json_i64(status, "traded", 0) > 0 ? syn_document_amount(status, "paid") : 0;
    rc = set_spec(doc, touch, traded, err);
    traded += touch->traded;
    paid = SYN_MIN(paid, SYN_AMOUNT_MAX - touch->paid) + touch->paid; /* more cannot be told */
    held = rests && view.side == SYN_BUY ? view.price * view.qty : 0;
    if (rc == SYN_OK)
        rc = set_state(doc, touch, rests, traded, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "traded", traded, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(status, "left", view.qty, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "paid", paid, err);
    if (rc == SYN_OK)
        rc = syn_document_set_amount(status, "held", held, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(
            status, "ended_at", rests ? SYN_DOCUMENT_NONE : syn_wall_ms(work->server->world), err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}
