/* market: what is traded, bid, asked, and held. */
#include <stdio.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "live_priv.h"

static const struct syn_cli_operand class_operand[] = {
    {"CLASS", SYN_CLI_TEXT, true, false, "kind/model/region/duration; see `synor market classes`"},
};

static const struct syn_cli_operand class_maybe[] = {
    {"CLASS", SYN_CLI_TEXT, false, false, "Only of this one; without it, of all"},
};

/* "/v1/market/WHAT?class=CLASS&"; parameters may follow. */
static void
path_of(const struct syn_cli *cli, const char *what, struct syn_buf *out)
{
    const char *class = syn_cli_operand(cli, 0);

    syn_buf_addf(out, "/v1/market/%s?", what);
    if (class != NULL) {
        syn_buf_adds(out, "class=");
        syn_cli_escape(out, class);
        syn_buf_addc(out, '&');
    }
}

/* --- once ----------------------------------------------------------------------------------- */

/* The answer of one GET, as JSON or as rows. */
static int
show_once(struct syn_cli *cli, const char *path,
          int (*make)(const json_t *before, const json_t *now, bool whole,
                      struct syn_cli_table_out **ret, struct syn_err *err),
          const char *empty)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(answer);
    struct syn_err err = {0};

    if (syn_cli_call(cli, "GET", path, NULL, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    if (make(NULL, answer, true, &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_rows_print(cli, rows, empty);
}

/* --- classes ---------------------------------------------------------------------------------- */

static int
run_classes(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    bool all = syn_cli_has(cli, "all");
    size_t closed = 0, i;
    SYN_JSON(items);
    json_t *item;
    struct syn_err err = {0};
    int status;

    if (syn_cli_list(cli, "/v1/market/classes", &items, &err) < 0 ||
        syn_cli_rows_new("CLASS|>BID|>UNITS|>ASK|>UNITS|>LAST|>ORDERS", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    json_array_foreach (items, i, item) {
        if (!syn_json_bool(item, "open", false) && !all) {
            closed++;
            continue;
        }
        syn_cli_cell(rows, "%s", syn_json_str(item, "class", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "bid", "-"));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "bid_qty", 0));
        syn_cli_cell(rows, "%s", syn_json_str(item, "ask", "-"));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "ask_qty", 0));
        syn_cli_cell(rows, "%s", syn_json_str(item, "last", "-"));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "orders", 0));
    }
    status = syn_cli_rows_print(cli, rows, "Nothing is traded yet.");
    if (status == 0 && closed > 0)
        syn_cli_say(cli,
                    "\n%zu more could be, with what nodes here have: synor market classes "
                    "--all",
                    closed);
    return status;
}

static const struct syn_cli_option classes_options[] = {
    {"all", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Also those that nodes here could serve and nobody trades yet"},
};

const struct syn_cli_command syn_cli_market_classes = {
    .path = "market classes",
    .summary = "List what is traded, with the best prices",
    .detail = "A class is kind/model/region/duration. One unit of it is the right to one "
              "processor of that kind and model in that region for that duration; of cores, one "
              "core. Prices are SYNOR a unit.",
    .options = classes_options,
    .option_count = SYN_LEN(classes_options),
    .run = run_classes};

/* --- books ------------------------------------------------------------------------------------ */

static void
level_cells(struct syn_cli_table_out *rows, const char *side, const json_t *level)
{
    syn_cli_cell(rows, "%s", side);
    syn_cli_cell(rows, "%s", syn_json_str(level, "price", ""));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(level, "qty", 0));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(level, "orders", 0));
}

/* From the dearest that is asked down to the cheapest that is bid. Without a terminal every change
 * shows the book again. */
static int
book_rows(const json_t *before, const json_t *book, bool whole, struct syn_cli_table_out **ret,
          struct syn_err *err)
{
    const json_t *bids = json_object_get(book, "bids"), *asks = json_object_get(book, "asks");
    struct syn_cli_table_out *rows;
    int rc = syn_cli_rows_new("SIDE|>PRICE|>UNITS|>ORDERS", &rows, err);

    (void)before;
    (void)whole;
    if (rc < 0)
        return rc;
    for (size_t i = json_array_size(asks); i > 0; i--)
        level_cells(rows, "ask", json_array_get(asks, i - 1));
    for (size_t i = 0; i < json_array_size(bids); i++)
        level_cells(rows, "bid", json_array_get(bids, i));
    *ret = rows;
    return SYN_OK;
}

static int
run_book(struct syn_cli *cli)
{
    struct syn_cli_look look = {.cli = cli, .rows = book_rows};
    SYN_BUF(path);

    path_of(cli, "book", &path);
    syn_buf_addf(&path, "depth=%lld", (long long)syn_cli_number(cli, "depth", 10));
    look.path = syn_buf_text(&path);
    return syn_cli_has(cli, "watch")
               ? syn_cli_look_on(&look)
               : show_once(cli, look.path, book_rows, "Nobody bids or asks there now.");
}

static const struct syn_cli_option book_options[] = {
    {"depth", 0, "N", SYN_CLI_INT, 1, 1000, false, false, NULL, "10", "Prices of a side at most"},
    SYN_CLI_LOOK_OPTION,
};

const struct syn_cli_command syn_cli_market_book = {.path = "market book",
                                                    .summary = "Show what is bid and asked",
                                                    .detail = SYN_CLI_LOOK_DETAIL,
                                                    .options = book_options,
                                                    .option_count = SYN_LEN(book_options),
                                                    .operands = class_operand,
                                                    .operand_count = 1,
                                                    .run = run_book};

static int
run_quote(struct syn_cli *cli)
{
    bool sell = syn_cli_has(cli, "sell");
    int64_t qty = 0, available;
    SYN_BUF(path);
    SYN_JSON(quote);
    struct syn_err err = {0};
    int rc = syn_parse_i64(syn_cli_operand(cli, 1), 1, INT64_C(1) << 48, "QTY", &qty, &err);

    path_of(cli, "quote", &path);
    syn_buf_addf(&path, "side=%s&qty=%lld", sell ? "sell" : "buy", (long long)qty);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &quote, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(quote));
    available = syn_json_i64(quote, "available", 0);
    if (available == 0) {
        syn_cli_say(cli, "Nobody %s %s now.", sell ? "bids for" : "offers",
                    syn_json_str(quote, "class", "?"));
        return 0;
    }
    syn_cli_say(cli, "%lld of %lld units %s %s SYNOR now: %s on average, the last at %s.",
                (long long)available, (long long)qty, sell ? "bring" : "cost",
                syn_json_str(quote, "total", "?"), syn_json_str(quote, "average_price", "?"),
                syn_json_str(quote, "worst_price", "?"));
    syn_cli_say(cli, "\nNext: synor market %s %s %lld --price %s", sell ? "sell" : "buy",
                syn_json_str(quote, "class", "?"), (long long)available,
                syn_json_str(quote, "worst_price", "?"));
    return 0;
}

static const struct syn_cli_operand quote_operands[] = {
    {"CLASS", SYN_CLI_TEXT, true, false, "kind/model/region/duration; see `synor market classes`"},
    {"QTY", SYN_CLI_INT, true, false, "Units"},
};

static const struct syn_cli_option quote_options[] = {
    {"sell", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "What they would bring, instead of what they would cost"},
};

const struct syn_cli_command syn_cli_market_quote = {.path = "market quote",
                                                     .summary =
                                                         "Say what so many units would cost now",
                                                     .options = quote_options,
                                                     .option_count = SYN_LEN(quote_options),
                                                     .operands = quote_operands,
                                                     .operand_count = 2,
                                                     .run = run_quote};

/* --- trades and the index --------------------------------------------------------------------- */

static bool
is_known(const json_t *before, const json_t *trade)
{
    size_t i;
    json_t *known;

    json_array_foreach (json_object_get(before, "items"), i, known) {
        if (syn_json_i64(known, "number", 0) == syn_json_i64(trade, "number", -1) &&
            syn_str_eq(syn_json_str(known, "class", ""), syn_json_str(trade, "class", "?")))
            return true;
    }
    return false;
}

static int
trade_rows(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
           struct syn_err *err)
{
    const json_t *items = json_object_get(now, "items");
    struct syn_cli_table_out *rows;
    int rc = syn_cli_rows_new("WHEN|CLASS|>PRICE|>UNITS|TAKER|YOURS", &rows, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < json_array_size(items); i++) {
        /* What is appended goes on from the oldest. */
        const json_t *trade = json_array_get(items, whole ? i : json_array_size(items) - 1 - i);

        if (!whole && is_known(before, trade))
            continue;
        syn_cli_cell(rows, "%s", syn_json_str(trade, "at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(trade, "class", ""));
        syn_cli_cell(rows, "%s", syn_json_str(trade, "price", ""));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(trade, "qty", 0));
        syn_cli_cell(rows, "%s", syn_json_str(trade, "taker", ""));
        syn_cli_cell(rows, "%s", syn_json_str(trade, "mine", "-"));
    }
    *ret = rows;
    return SYN_OK;
}

static int
run_trades(struct syn_cli *cli)
{
    struct syn_cli_look look = {.cli = cli, .rows = trade_rows};
    SYN_BUF(path);

    path_of(cli, "trades", &path);
    syn_buf_addf(&path, "limit=%lld&mine=%s", (long long)syn_cli_number(cli, "limit", 100),
                 syn_cli_has(cli, "mine") ? "true" : "false");
    look.path = syn_buf_text(&path);
    return syn_cli_has(cli, "watch") ? syn_cli_look_on(&look)
                                     : show_once(cli, look.path, trade_rows, "No trades yet.");
}

static const struct syn_cli_option trades_options[] = {
    {"limit", 0, "N", SYN_CLI_INT, 1, 1000, false, false, NULL, "100", "How many at most"},
    {"mine", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Only your own"},
    SYN_CLI_LOOK_OPTION,
};

const struct syn_cli_command syn_cli_market_trades = {
    .path = "market trades",
    .summary = "List trades, newest first",
    .detail = "Of each class the last 256 are remembered. Who traded is told only of your own: "
              "whether you bought or sold. " SYN_CLI_LOOK_DETAIL,
    .options = trades_options,
    .option_count = SYN_LEN(trades_options),
    .operands = class_maybe,
    .operand_count = 1,
    .run = run_trades};

static int
run_index(struct syn_cli *cli)
{
    char window[SYN_FORMAT_MAX];
    const char *basis;
    SYN_BUF(path);
    SYN_JSON(index);
    struct syn_err err = {0};

    path_of(cli, "index", &path);
    syn_buf_addf(&path, "window_ms=%lld", (long long)syn_cli_number(cli, "window", 3600000));
    if (syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &index, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(index));
    basis = syn_json_str(index, "basis", "none");
    if (syn_str_eq(basis, "trades"))
        syn_cli_say(cli, "%s SYNOR a unit: the mean of %lld trades of %lld units in the last %s.",
                    syn_json_str(index, "price", "?"), (long long)syn_json_i64(index, "count", 0),
                    (long long)syn_json_i64(index, "qty", 0),
                    syn_format_duration(syn_json_i64(index, "window_ms", 0), window));
    else if (syn_str_eq(basis, "quotes"))
        syn_cli_say(cli, "%s SYNOR a unit: the mean of %lld quotes; nothing traded in the last %s.",
                    syn_json_str(index, "price", "?"), (long long)syn_json_i64(index, "count", 0),
                    syn_format_duration(syn_json_i64(index, "window_ms", 0), window));
    else
        syn_cli_say(cli, "No price: nobody trades or quotes there.");
    if (syn_json_str(index, "list_price", NULL) != NULL)
        syn_cli_say(cli, "The price book's: %s SYNOR.", syn_json_str(index, "list_price", "?"));
    return 0;
}

static const struct syn_cli_option index_options[] = {
    {"window", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1h",
     "How far back trades count"},
};

const struct syn_cli_command syn_cli_market_index = {
    .path = "market index",
    .summary = "Say a class's price, and what it rests on",
    .options = index_options,
    .option_count = SYN_LEN(index_options),
    .operands = class_operand,
    .operand_count = 1,
    .run = run_index};

/* --- offers and holdings ---------------------------------------------------------------------- */

static int
offer_rows(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
           struct syn_err *err)
{
    struct syn_cli_table_out *rows;
    size_t i;
    json_t *offer;
    int rc = syn_cli_rows_new("CLASS|>PRICE|>UNITS|SELLER|>LIST PRICE", &rows, err);

    (void)before;
    (void)whole;
    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(now, "items"), i, offer) {
        syn_cli_cell(rows, "%s", syn_json_str(offer, "class", ""));
        syn_cli_cell(rows, "%s", syn_json_str(offer, "price", ""));
        syn_cli_cell(rows, "%lld%s", (long long)syn_json_i64(offer, "qty", 0),
                     syn_json_bool(offer, "whole", false) ? ", whole" : "");
        syn_cli_cell(rows, "%s", syn_json_str(offer, "provider_name", "resale"));
        syn_cli_cell(rows, "%s", syn_json_str(offer, "list_price", "-"));
    }
    *ret = rows;
    return SYN_OK;
}

static int
run_offers(struct syn_cli *cli)
{
    SYN_BUF(path);

    path_of(cli, "offers", &path);
    syn_buf_adds(&path, "limit=1000");
    return show_once(cli, syn_buf_text(&path), offer_rows,
                     "Nothing is for sale. A provider offers with: synor market sell CLASS QTY "
                     "--price SYNOR");
}

const struct syn_cli_command syn_cli_market_offers = {
    .path = "market offers",
    .summary = "List what is for sale, cheapest first",
    .detail = "SELLER is the provider whose nodes serve it, or `resale` for units that somebody "
              "bought and sells again. LIST PRICE is what the price book asks for as much.",
    .operands = class_maybe,
    .operand_count = 1,
    .run = run_offers};

/* "prov 5, other 3 (gone)" into out. */
static void
sellers_text(const json_t *of, char *out, size_t cap)
{
    size_t i, len = 0;
    const json_t *row;

    out[0] = '\0';
    json_array_foreach (of, i, row) {
        bool gone = json_is_string(json_object_get(row, "gone_since"));
        int more = snprintf(out + len, cap - len, "%s%s %lld%s", i > 0 ? ", " : "",
                            syn_json_str(row, "provider_name", "?"),
                            (long long)syn_json_i64(row, "units", 0), gone ? " (gone)" : "");

        if (more < 0 || (size_t)more >= cap - len) {
            (void)snprintf(out + cap - 4, 4, "...");
            return;
        }
        len += (size_t)more;
    }
}

static int
holding_rows(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
             struct syn_err *err)
{
    struct syn_cli_table_out *rows;
    size_t i;
    json_t *item;
    int rc = syn_cli_rows_new("CLASS|>FREE|>OFFERED|>IN USE|>SOLD|OF", &rows, err);

    (void)before;
    (void)whole;
    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(now, "items"), i, item) {
        char of[96];

        sellers_text(json_object_get(item, "of"), of, sizeof(of));
        syn_cli_cell(rows, "%s", syn_json_str(item, "class", ""));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "free", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "held", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "in_use", 0));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(item, "sold", 0));
        syn_cli_cell(rows, "%s", of);
    }
    *ret = rows;
    return SYN_OK;
}

static int
reservation_rows(const json_t *before, const json_t *now, bool whole,
                 struct syn_cli_table_out **ret, struct syn_err *err)
{
    struct syn_cli_table_out *rows;
    size_t i;
    json_t *item;
    int rc = syn_cli_rows_new("RESERVATION|STATE|JOB|CLASS|>UNITS|SELLER|UNTIL|>PAID|>REFUND",
                              &rows, err);

    (void)before;
    (void)whole;
    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(now, "items"), i, item) {
        const json_t *spec = json_object_get(item, "spec");
        const json_t *status = json_object_get(item, "status");

        syn_cli_cell(rows, "%s", syn_json_str(item, "id", ""));
        syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
        syn_cli_cell(rows, "%s", syn_json_str(spec, "job", ""));
        syn_cli_cell(rows, "%s", syn_json_str(spec, "class", ""));
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(spec, "units", 0));
        syn_cli_cell(rows, "%s", syn_json_str(spec, "provider", ""));
        syn_cli_cell(rows, "%s", syn_json_str(status, "until", ""));
        syn_cli_cell(rows, "%s", syn_json_str(status, "paid", "0"));
        syn_cli_cell(rows, "%s", syn_json_str(status, "refund", "0"));
    }
    *ret = rows;
    return SYN_OK;
}

static int
run_reservations(struct syn_cli *cli)
{
    return show_once(cli, "/v1/market/reservations?limit=1000", reservation_rows,
                     "No job has begun units. One does with: synor compute train create --reserved "
                     "CLASS");
}

const struct syn_cli_command syn_cli_market_reservations = {
    .path = "market reservations",
    .summary = "List the units that your jobs have begun, newest first",
    .detail = "UNTIL is when they are over, unless more begin by then. PAID is what they cost you "
              "on the market, REFUND what a seller paid back whose node was lost. Units that no "
              "job has begun are in `synor market holdings`.",
    .run = run_reservations};

static int
run_holdings(struct syn_cli *cli)
{
    return show_once(cli, "/v1/market/holdings", holding_rows,
                     "No units. See what is for sale: synor market offers");
}

const struct syn_cli_command syn_cli_market_holdings = {
    .path = "market holdings",
    .summary = "List the units that you hold, offer and have sold",
    .detail = "FREE can be sold or, later, used. OFFERED stands in sell orders. SOLD is what a "
              "provider has issued and others hold. OF says whose your units are; \"gone\" is a "
              "seller whose nodes take no work: after a day it pays back what you gave. What your "
              "buy orders hold of your money is in "
              "`synor account balance`.",
    .run = run_holdings};
