/* market: placing, changing, cancelling and listing orders of the spot market. */
#include <stdio.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"

#define ORDER_ID_PREFIX "order-"

static const struct syn_cli_operand place_operands[] = {
    {"CLASS", SYN_CLI_TEXT, true, false, "kind/model/region/duration; see `synor market classes`"},
    {"QTY", SYN_CLI_INT, true, false, "Units"},
};

/* "order-0000000042" as people write it: 42. */
static const char *
number_of(const json_t *order)
{
    const char *id = syn_json_str(order, "id", "?");

    if (!syn_str_starts(id, ORDER_ID_PREFIX))
        return id;
    id += sizeof(ORDER_ID_PREFIX) - 1;
    while (id[0] == '0' && id[1] != '\0')
        id++;
    return id;
}

/* --- buying and selling ----------------------------------------------------------------------- */

/* "2h" is from now, anything else a time. */
static int
set_end(const struct syn_cli *cli, json_t *body, struct syn_err *err)
{
    const char *text = syn_cli_text(cli, "good-till", NULL);
    int64_t ms;

    if (text == NULL)
        return SYN_OK;
    if (syn_parse_duration_ms(text, "good-till", &ms, NULL) == SYN_OK)
        return syn_json_set_i64(body, "ttl_ms", ms, err);
    if (syn_parse_time(text, &ms, NULL) < 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--good-till: expected a duration (2h) or a time "
                        "(2027-01-31T18:00:00Z), got \"%.60s\"",
                        text);
    return syn_json_set_str(body, "until", text, err);
}

static int
make_body(const struct syn_cli *cli, const char *side, json_t **ret, struct syn_err *err)
{
    bool market = syn_cli_has(cli, "market");
    char price[SYN_FORMAT_MAX];
    int64_t qty = 0;
    SYN_JSON(body);
    int rc = syn_parse_i64(syn_cli_operand(cli, 1), 1, INT64_C(1) << 48, "QTY", &qty, err);

    if (rc == SYN_OK && market == syn_cli_has(cli, "price"))
        rc = SYN_FAIL(err, SYN_E_INVALID, "expected either --price SYNOR or --market");
    if (rc == SYN_OK && market && syn_cli_has(cli, "type"))
        rc = SYN_FAIL(err, SYN_E_INVALID, "--market is a type of order itself: leave --type out");
    if (rc == SYN_OK)
        rc = syn_json_pack(&body, err, "{s:s, s:s, s:I, s:s, s:s}", "class",
                           syn_cli_operand(cli, 0), "side", side, "qty", (json_int_t)qty, "type",
                           market ? "market" : syn_cli_text(cli, "type", "limit"), "stp",
                           syn_cli_text(cli, "stp", "newer"));
    if (rc == SYN_OK && !market)
        rc = syn_json_set_str(body, "price",
                              syn_format_amount(syn_cli_number(cli, "price", 0), price), err);
    if (rc == SYN_OK)
        rc = set_end(cli, body, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(body);
    return rc;
}

static void
say_plan(const struct syn_cli *cli, const json_t *plan)
{
    bool buy = syn_str_eq(syn_json_str(plan, "side", ""), "buy");
    int64_t trades = syn_json_i64(plan, "trades", 0);
    int64_t rests = syn_json_i64(plan, "rests", 0), drops = syn_json_i64(plan, "drops", 0);

    syn_cli_say(cli, "Plan: %s %lld of %s", buy ? "buy" : "sell",
                (long long)syn_json_i64(plan, "qty", 0), syn_json_str(plan, "class", "?"));
    if (trades > 0)
        syn_cli_say(cli, "  trades now   %lld for %s SYNOR, the last at %s", (long long)trades,
                    syn_json_str(plan, buy ? "cost" : "proceeds", "0"),
                    syn_json_str(plan, "worst_price", "?"));
    else
        syn_cli_say(cli, "  trades now   nothing");
    if (rests > 0 && buy)
        syn_cli_say(cli, "  rests        %lld, holding %s SYNOR", (long long)rests,
                    syn_json_str(plan, "held", "0"));
    else if (rests > 0)
        syn_cli_say(cli, "  rests        %lld", (long long)rests);
    if (drops > 0)
        syn_cli_say(cli, "  dropped      %lld that cannot trade now", (long long)drops);
    syn_cli_say(cli, "  fee          %s SYNOR", syn_json_str(plan, "fee", "0"));
    syn_cli_say(cli, "  balance      %s SYNOR, then %s", syn_json_str(plan, "balance", "?"),
                syn_json_str(plan, "balance_after", "?"));
}

static void
say_order(const struct syn_cli *cli, const json_t *order)
{
    const json_t *spec = json_object_get(order, "spec"), *status = json_object_get(order, "status");
    const char *state = syn_json_str(status, "state", "?");
    int64_t traded = syn_json_i64(status, "traded", 0);
    bool buy = syn_str_eq(syn_json_str(spec, "side", ""), "buy");

    syn_cli_say(cli, "Order %s: %s. %s", number_of(order), state,
                syn_json_str(status, "message", ""));
    if (traded > 0)
        syn_cli_say(cli, "  traded  %lld of %lld for %s SYNOR", (long long)traded,
                    (long long)syn_json_i64(spec, "qty", 0), syn_json_str(status, "paid", "?"));
    if (syn_str_eq(state, "open"))
        syn_cli_say(cli, "  left    %lld at %s SYNOR", (long long)syn_json_i64(status, "left", 0),
                    syn_json_str(spec, "price", "?"));
    if (syn_str_eq(state, "open"))
        syn_cli_say(cli, "\nNext: synor market cancel %s  (or: synor market orders)",
                    number_of(order));
    else if (traded > 0)
        syn_cli_say(cli, "\nNext: %s", buy ? "synor market holdings" : "synor account balance");
}

/* Print the answer, or say it. */
static int
show_order(struct syn_cli *cli, json_t **order)
{
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(*order));
    say_order(cli, *order);
    return 0;
}

/* What a plan that is refused says, as an error. */
static int
fail_refused(const struct syn_cli *cli, const json_t *refused)
{
    const struct syn_err_info *info = syn_err_info_by_wire(syn_json_str(refused, "code", ""));
    struct syn_err err = {0};

    (void)SYN_FAIL(&err, info != NULL ? info->code : SYN_E_INTERNAL, "%s",
                   syn_json_str(refused, "message", "the order would be refused"));
    return syn_cli_fail(cli, &err);
}

/* The plan is shown and asked about; where nobody can be asked, it is not asked for. */
static int
place(struct syn_cli *cli, const char *side)
{
    bool only = syn_cli_has(cli, "plan");
    const json_t *refused;
    SYN_JSON(body);
    SYN_JSON(plan);
    SYN_JSON(order);
    struct syn_err err = {0};
    int rc = make_body(cli, side, &body, &err);

    if (rc == SYN_OK && (only || !cli->json))
        rc = syn_cli_call(cli, "POST", "/v1/market/orders?plan=true", body, &plan, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    refused = json_object_get(plan, "refused");
    if (only && cli->json) {
        const struct syn_err_info *info = syn_err_info_by_wire(syn_json_str(refused, "code", ""));
        int status = json_is_object(refused) && info != NULL ? info->exit : 0;
        int printed = syn_cli_print_json_take(cli, SYN_TAKE(plan));

        return printed != 0 ? printed : status;
    }
    if (only && json_is_object(refused))
        return fail_refused(cli, refused);
    if (plan != NULL && !json_is_object(refused)) {
        say_plan(cli, plan);
        if (only) {
            syn_cli_say(cli, "\nNothing was placed. Next: the same without --plan");
            return 0;
        }
        if (!syn_cli_confirm(cli, "Place it?")) {
            syn_cli_note(cli, "Nothing was placed.");
            return 1;
        }
    }
    rc = syn_cli_call(cli, "POST", "/v1/market/orders", body, &order, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_order(cli, &order);
}

static int
run_buy(struct syn_cli *cli)
{
    return place(cli, "buy");
}

static int
run_sell(struct syn_cli *cli)
{
    return place(cli, "sell");
}

#define STP_OPTION                                                                             \
    {                                                                                          \
        "stp", 0, "WHICH", SYN_CLI_TEXT, 0, 0, false, false, "newer|older|both|less", "newer", \
            "Which gives way when it meets an order of your own"                               \
    }

static const struct syn_cli_option place_options[] = {
    {"price", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, NULL,
     "For one unit: at most when buying, at least when selling"},
    {"market", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Trade now at whatever price there is; drop the rest"},
    {"type", 0, "TYPE", SYN_CLI_TEXT, 0, 0, false, false, "limit|ioc|fok|aon", "limit",
     "What cannot trade at once rests (limit) or is dropped (ioc). Or nothing trades unless all "
     "does: at once (fok), or whenever it can (aon)"},
    {"good-till", 0, "WHEN", SYN_CLI_TEXT, 0, 0, false, false, NULL, "until canceled",
     "When it ends by itself: in 2h, or at 2027-01-31T18:00:00Z"},
    STP_OPTION,
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show what it would do now, and place nothing"},
};

const struct syn_cli_command syn_cli_market_buy = {
    .path = "market buy",
    .summary = "Buy units of a class",
    .detail =
        "What the order could cost at most leaves your balance while it rests, and counts as held; "
        "you pay what the other side asked, never more than your price. What you bought is yours: "
        "see `synor market holdings`, and sell it again if you like. Nothing is charged for "
        "trading.",
    .examples = "synor market buy cpu/x86-avx2/local/hour 8 --price 0.02\n"
                "  bid 0.02 SYNOR for each of 8 core-hours\n"
                "synor market buy gpu/h100/eu-west/hour 1 --market --plan\n"
                "  say what one would cost now\n",
    .options = place_options,
    .option_count = SYN_LEN(place_options),
    .operands = place_operands,
    .operand_count = 2,
    .run = run_buy};

const struct syn_cli_command syn_cli_market_sell = {
    .path = "market sell",
    .summary = "Sell units of a class: of your nodes, or that you hold",
    .detail = "Units that the account holds are sold first. A provider also sells what its nodes "
              "have: as many units, over all durations of the same processors, as there are "
              "processors that are not sold or offered already. When its nodes have less than it "
              "offers, its newest offers are canceled. An operator sells for the provider of the "
              "local node with `--account provider`.",
    .examples = "synor market sell cpu/x86-avx2/local/hour 16 --price 0.015 --account provider\n"
                "  offer 16 cores of the local node for an hour each\n",
    .options = place_options,
    .option_count = SYN_LEN(place_options),
    .operands = place_operands,
    .operand_count = 2,
    .run = run_sell};

/* --- changing --------------------------------------------------------------------------------- */

static void
order_path(const char *id, struct syn_buf *out)
{
    syn_buf_adds(out, "/v1/market/orders/");
    syn_cli_escape(out, id);
}

static int
run_amend(struct syn_cli *cli)
{
    char price[SYN_FORMAT_MAX];
    SYN_BUF(path);
    SYN_JSON(body);
    SYN_JSON(order);
    struct syn_err err = {0};
    int rc = SYN_OK;

    body = json_pack("{s:s}", "stp", syn_cli_text(cli, "stp", "newer"));
    if (body == NULL)
        rc = SYN_FAIL(&err, SYN_E_NOMEM, "no memory for a request");
    if (rc == SYN_OK && !syn_cli_has(cli, "price") && !syn_cli_has(cli, "qty"))
        rc = SYN_FAIL(&err, SYN_E_INVALID, "expected --price, --qty, or both");
    if (rc == SYN_OK && syn_cli_has(cli, "price"))
        rc = syn_json_set_str(body, "price",
                              syn_format_amount(syn_cli_number(cli, "price", 0), price), &err);
    if (rc == SYN_OK && syn_cli_has(cli, "qty"))
        rc = syn_json_set_i64(body, "qty", syn_cli_number(cli, "qty", 0), &err);
    order_path(syn_cli_operand(cli, 0), &path);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "PATCH", syn_buf_text(&path), body, &order, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_order(cli, &order);
}

static const struct syn_cli_operand order_operand[] = {
    {"ORDER", SYN_CLI_TEXT, true, false, "Its number; see `synor market orders`"},
};

static const struct syn_cli_option amend_options[] = {
    {"price", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, NULL, "For one unit"},
    {"qty", 0, "N", SYN_CLI_INT, 1, INT64_C(1) << 48, false, false, NULL, NULL,
     "Units that are to be left of it"},
    STP_OPTION,
};

const struct syn_cli_command syn_cli_market_amend = {
    .path = "market amend",
    .summary = "Change the price or quantity of an order that rests",
    .detail = "Fewer units at the same price keep the order's place in the queue. Another price, "
              "or more units, is a new arrival under the same number.",
    .examples = "synor market amend 42 --qty 3\n  leave 3 units of order 42\n",
    .options = amend_options,
    .option_count = SYN_LEN(amend_options),
    .operands = order_operand,
    .operand_count = 1,
    .run = run_amend};

/* Cancel one; its document is appended. */
static int
cancel_one(struct syn_cli *cli, const char *id, json_t *done, struct syn_err *err)
{
    SYN_BUF(path);
    json_t *order = NULL;
    int rc;

    order_path(id, &path);
    rc = syn_cli_call(cli, "DELETE", syn_buf_text(&path), NULL, &order, err);
    if (rc < 0)
        return rc;
    if (!cli->json)
        syn_cli_say(cli, "Order %s: %s.", number_of(order),
                    syn_json_str(json_object_get(order, "status"), "state", "?"));
    return syn_json_append_take(done, order, err);
}

static int
cancel_all(struct syn_cli *cli, json_t *done, struct syn_err *err)
{
    SYN_BUF(path);
    SYN_JSON(items);
    size_t i;
    json_t *order;
    int rc;

    syn_buf_adds(&path, "/v1/market/orders?state=open");
    if (syn_cli_has(cli, "class")) {
        syn_buf_adds(&path, "&class=");
        syn_cli_escape(&path, syn_cli_text(cli, "class", ""));
    }
    rc = syn_cli_list(cli, syn_buf_text(&path), &items, err);
    json_array_foreach (items, i, order) {
        if (rc == SYN_OK)
            rc = cancel_one(cli, syn_json_str(order, "id", ""), done, err);
        if (rc == SYN_E_CONFLICT) /* it traded meanwhile */
            rc = SYN_OK;
    }
    return rc;
}

static int
run_cancel(struct syn_cli *cli)
{
    bool all = syn_cli_has(cli, "all");
    SYN_JSON(done);
    struct syn_err err = {0};
    int rc = SYN_OK;

    done = json_array();
    if (done == NULL)
        rc = SYN_FAIL(&err, SYN_E_NOMEM, "no memory for a list");
    if (rc == SYN_OK && all == (cli->line.operand_count > 0))
        rc = SYN_FAIL(&err, SYN_E_INVALID, "expected the numbers of orders, or --all");
    if (rc == SYN_OK && !all && syn_cli_has(cli, "class"))
        rc = SYN_FAIL(&err, SYN_E_INVALID, "--class goes with --all");
    if (rc == SYN_OK && all && !syn_cli_confirm(cli, "Cancel all your open orders?")) {
        syn_cli_note(cli, "Nothing was canceled.");
        return 1;
    }
    for (size_t i = 0; rc == SYN_OK && i < cli->line.operand_count; i++)
        rc = cancel_one(cli, syn_cli_operand(cli, i), done, &err);
    if (rc == SYN_OK && all)
        rc = cancel_all(cli, done, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", done, "next"));
    if (json_array_size(done) == 0)
        syn_cli_say(cli, "No open orders.");
    return 0;
}

static const struct syn_cli_operand orders_operand[] = {
    {"ORDER", SYN_CLI_TEXT, false, true, "Numbers; see `synor market orders`"},
};

static const struct syn_cli_option cancel_options[] = {
    {"all", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "All your open orders"},
    {"class", 0, "CLASS", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "With --all: only those of this class"},
};

const struct syn_cli_command syn_cli_market_cancel = {
    .path = "market cancel",
    .summary = "Cancel what is left of orders",
    .detail = "What they held is free at once. What has traded stays.",
    .options = cancel_options,
    .option_count = SYN_LEN(cancel_options),
    .operands = orders_operand,
    .operand_count = 1,
    .run = run_cancel};

/* --- listing ---------------------------------------------------------------------------------- */

static void
order_cells(struct syn_cli_table_out *rows, const json_t *order)
{
    const json_t *spec = json_object_get(order, "spec"), *status = json_object_get(order, "status");

    syn_cli_cell(rows, "%s", number_of(order));
    syn_cli_cell(rows, "%s", syn_json_str(spec, "class", ""));
    syn_cli_cell(rows, "%s", syn_json_str(spec, "side", ""));
    syn_cli_cell(rows, "%s", syn_json_str(spec, "type", ""));
    syn_cli_cell(rows, "%s", syn_json_str(spec, "price", "any"));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(spec, "qty", 0));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(status, "traded", 0));
    syn_cli_cell(rows, "%s", syn_json_str(status, "paid", "0"));
    syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "reason", ""));
    syn_cli_cell(rows, "%s", syn_json_str(order, "created_at", ""));
}

static const struct syn_cli_view order_view = {
    .kind = "order",
    .titles = "ORDER|CLASS|SIDE|TYPE|>PRICE|>UNITS|>TRADED|>PAID|STATE|REASON|WHEN",
    .empty = "No such orders. Place one: synor market buy CLASS QTY --price SYNOR",
    .cells = order_cells,
    .newest_first = true,
    .own = true};

static int
run_orders(struct syn_cli *cli)
{
    const char *state = syn_cli_text(cli, "state", "open");
    bool any = syn_str_eq(state, "any");
    SYN_BUF(path);

    if (syn_cli_has(cli, "watch"))
        return syn_cli_watch(cli, &order_view, NULL, any ? NULL : state);
    syn_buf_addf(&path, "/v1/market/orders?limit=1000%s%s", any ? "" : "&state=", any ? "" : state);
    if (syn_cli_has(cli, "class")) {
        syn_buf_adds(&path, "&class=");
        syn_cli_escape(&path, syn_cli_text(cli, "class", ""));
    }
    if (syn_cli_has(cli, "all"))
        syn_buf_adds(&path, "&all=true");
    return syn_cli_show_list(cli, &order_view, syn_buf_text(&path));
}

static const struct syn_cli_option orders_options[] = {
    {"state", 0, "STATE", SYN_CLI_TEXT, 0, 0, false, false,
     "open|filled|canceled|expired|dropped|any", "open", "Only those in this state"},
    {"class", 0, "CLASS", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Only those of this class"},
    {"all", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Everybody's (operators only)"},
    SYN_CLI_WATCH_OPTION,
};

const struct syn_cli_command syn_cli_market_orders = {.path = "market orders",
                                                      .summary = "List your orders, newest first",
                                                      .detail = SYN_CLI_WATCH_DETAIL
                                                      " It watches your own, whatever their class.",
                                                      .options = orders_options,
                                                      .option_count = SYN_LEN(orders_options),
                                                      .run = run_orders};
