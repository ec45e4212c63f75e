/* node price: what a node's provider asks; node list --capacity: how much there is of what, and
 * what it costs. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

static const struct syn_cli_operand node_operand[] = {
    {"NODE", SYN_CLI_TEXT, true, false, "Name or id of the node"},
};

/* ---- capacity ---- */

/* The plain resources of a row of GET /v1/capacity. */
static const struct plain {
    const char *key;
    const char *what;
    const char *per;
    const char *(*format)(int64_t value, char *out);
} plains[] = {
    {"cpu_millicores", "cpu", "core", syn_format_cpus},
    {"memory_bytes", "memory", "GiB", syn_format_bytes},
    {"scratch_bytes", "scratch", "GiB", syn_format_bytes},
};

static const char *
format_count(int64_t value, char *out)
{
    (void)snprintf(out, SYN_FORMAT_MAX, "%lld", (long long)value);
    return out;
}

/* What every line of one node begins with. */
struct heading {
    const char *node;
    const char *region;
    const char *state;
};

static void
room_row(struct syn_cli_table_out *rows, const struct heading *heading, const char *what,
         const struct plain *plain, const json_t *room, const char *note)
{
    char a[SYN_FORMAT_MAX];
    char b[SYN_FORMAT_MAX];
    const char *price = syn_json_str(room, "price_hour", NULL);

    syn_cli_cell(rows, "%s", heading->node);
    syn_cli_cell(rows, "%s", heading->region);
    syn_cli_cell(rows, "%s", heading->state);
    syn_cli_cell(rows, "%s", what);
    syn_cli_cell(rows, "%s", plain->format(syn_json_i64(room, "free", 0), a));
    syn_cli_cell(rows, "%s", plain->format(syn_json_i64(room, "capacity", 0), b));
    syn_cli_cell(rows, "%s", price != NULL ? price : "");
    syn_cli_cell(rows, "%s", price != NULL ? plain->per : "");
    syn_cli_cell(rows, "%s", note);
}

static void
capacity_rows(struct syn_cli_table_out *rows, const struct heading *heading, const json_t *row)
{
    static const struct plain card = {NULL, NULL, "GPU", format_count};
    const json_t *modelled = json_object_get(row, "modelled");
    char what[64];
    char note[64] = "";
    size_t i;
    const json_t *group;

    if (json_array_size(modelled) > 0)
        (void)snprintf(note, sizeof(note), "modelled: %.40s",
                       json_string_value(json_array_get(modelled, 0)));
    for (i = 0; i < SYN_LEN(plains); i++)
        room_row(rows, heading, plains[i].what, &plains[i], json_object_get(row, plains[i].key),
                 i == 0 ? note : "");
    json_array_foreach (json_object_get(row, "gpus"), i, group) {
        (void)snprintf(what, sizeof(what), "gpu %.40s", syn_json_str(group, "model", "?"));
        room_row(rows, heading, what, &card, group, "");
    }
}

static const char *
state_words(const json_t *row, char out[32])
{
    (void)snprintf(out, 32, "%.15s%s", syn_json_str(row, "state", "?"),
                   syn_json_bool(row, "drained", false) ? ", drained" : "");
    return out;
}

static void
say_total(const struct syn_cli *cli, const json_t *total)
{
    const json_t *nodes = json_object_get(total, "nodes");

    syn_cli_say(cli,
                "\n%lld ready, %lld drained, %lld away; totals are of the ready ones. Prices are "
                "in SYNOR.",
                (long long)syn_json_i64(nodes, "ready", 0),
                (long long)syn_json_i64(nodes, "drained", 0),
                (long long)syn_json_i64(nodes, "away", 0));
}

/* Leave the rows of the node `id` alone, and no total. */
static int
only_node(json_t *answer, const char *id, struct syn_err *err)
{
    json_t *nodes = json_object_get(answer, "nodes");

    for (size_t i = json_array_size(nodes); i > 0; i--)
        if (!syn_str_eq(syn_json_str(json_array_get(nodes, i - 1), "id", ""), id))
            (void)json_array_remove(nodes, i - 1);
    (void)json_object_del(answer, "total");
    return json_array_size(nodes) > 0 ? SYN_OK
                                      : SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %s", id);
}

int
syn_cli_show_capacity(struct syn_cli *cli, const char *id)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(answer);
    struct syn_err err;
    const json_t *total;
    size_t i;
    const json_t *row;
    char state[32];
    int rc = syn_cli_call(cli, "GET", "/v1/capacity", NULL, &answer, &err);

    if (rc == SYN_OK && id != NULL)
        rc = only_node(answer, id, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    if (syn_cli_rows_new("NODE|REGION|STATE|WHAT|>FREE|>OF|>AN HOUR|PER|NOTE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (json_object_get(answer, "nodes"), i, row) {
        const struct heading heading = {syn_json_str(row, "name", "?"),
                                        syn_json_str(row, "region", ""), state_words(row, state)};

        capacity_rows(rows, &heading, row);
    }
    total = json_object_get(answer, "total");
    if (total != NULL && json_array_size(json_object_get(answer, "nodes")) > 0)
        capacity_rows(rows, &(struct heading){"total", "", "ready"}, total);
    if (syn_cli_rows_print(cli, rows, "No nodes. Join one: synor agent --server URL --token T") !=
        0)
        return 1;
    if (total != NULL && syn_cli_rows_count(rows) > 0)
        say_total(cli, total);
    return 0;
}

/* ---- prices ---- */

/* The plain prices of an offer, and the option, unit and item of each. */
static const struct {
    const char *option;
    const char *key;
    const char *item;
    const char *unit;
} prices[] = {
    {"cpu", "cpu_core_hour", "cpu", "core-hour"},
    {"memory", "memory_gib_hour", "memory", "GiB-hour"},
    {"scratch", "scratch_gib_hour", "scratch", "GiB-hour"},
};

/* What the price book says, or NULL. */
static const char *
book_price(const json_t *book, const char *item)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(book, "items"), i, row)
        if (syn_str_eq(syn_json_str(row, "id", ""), item))
            return syn_json_str(row, "price", NULL);
    return NULL;
}

static int
add_price(json_t *list, const char *item, const char *unit, const char *asked, const char *book,
          struct syn_err *err)
{
    char text[SYN_FORMAT_MAX];
    int64_t amount;
    json_t *row = NULL;
    int rc = SYN_OK;

    if (book != NULL) { /* the book writes 0.50, everything else 0.5 */
        rc = syn_parse_amount(book, item, &amount, err);
        book = rc == SYN_OK ? syn_format_amount(amount, text) : book;
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&row, err, "{s:s, s:s, s:s?, s:s?, s:b}", "item", item, "unit", unit,
                           "price", asked != NULL ? asked : book, "book", book, "offered",
                           asked != NULL);
    return rc < 0 ? rc : syn_json_append_take(list, row, err);
}

/* {"id", "name", "prices": [{"item", "unit", "price", "book", "offered"}]} */
static int
price_list(const json_t *node, const json_t *book, json_t **ret, struct syn_err *err)
{
    const json_t *offer = json_object_get(json_object_get(node, "spec"), "offer");
    const json_t *capacity = json_object_get(json_object_get(node, "status"), "capacity");
    SYN_JSON(doc);
    json_t *list;
    size_t i;
    const json_t *group;
    int rc = syn_json_pack(&doc, err, "{s:s, s:s, s:[], s:I}", "id", syn_json_str(node, "id", "?"),
                           "name", syn_json_str(node, "name", "?"), "prices", "spot_floor_percent",
                           (json_int_t)syn_json_i64(offer, "spot_floor_percent", 100));

    list = json_object_get(doc, "prices");
    for (i = 0; rc == SYN_OK && i < SYN_LEN(prices); i++)
        rc = add_price(list, prices[i].item, prices[i].unit,
                       syn_json_str(offer, prices[i].key, NULL), book_price(book, prices[i].item),
                       err);
    json_array_foreach (json_object_get(capacity, "gpus"), i, group) {
        const char *model = syn_json_str(group, "model", "?");
        char item[64];

        (void)snprintf(item, sizeof(item), "gpu:%.40s", model);
        if (rc == SYN_OK)
            rc = add_price(list, item, "GPU-hour",
                           syn_json_str(json_object_get(offer, "gpu_hour"), model, NULL),
                           book_price(book, item), err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
show_prices(struct syn_cli *cli, const json_t *node)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(book);
    SYN_JSON(list);
    struct syn_err err;
    size_t i;
    const json_t *row;
    int rc = syn_cli_call(cli, "GET", "/v1/prices", NULL, &book, &err);

    if (rc == SYN_OK)
        rc = price_list(node, book, &list, &err);
    if (rc == SYN_OK && cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(list));
    if (rc == SYN_OK)
        rc = syn_cli_rows_new("ITEM|UNIT|>SYNOR|>PRICE BOOK|FROM", &rows, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (json_object_get(list, "prices"), i, row) {
        syn_cli_cell(rows, "%s", syn_json_str(row, "item", ""));
        syn_cli_cell(rows, "%s", syn_json_str(row, "unit", ""));
        syn_cli_cell(rows, "%s", syn_json_str(row, "price", "none"));
        syn_cli_cell(rows, "%s", syn_json_str(row, "book", "none"));
        syn_cli_cell(rows, "%s",
                     syn_json_bool(row, "offered", false) ? "the node's offer" : "the price book");
    }
    rc = syn_cli_rows_print(cli, rows, "");
    if (rc == 0 && syn_json_i64(list, "spot_floor_percent", 100) < 100)
        syn_cli_say(
            cli, "\nSpot work pays for processors what the market asks, at least %lld %% of this.",
            (long long)syn_json_i64(list, "spot_floor_percent", 100));
    return rc;
}

static int
put_model(json_t *models, const char *given, struct syn_err *err)
{
    const char *equals = strchr(given, '=');
    char model[64];
    int64_t price;
    int rc;

    if (equals == NULL || equals == given || (size_t)(equals - given) >= sizeof(model))
        return SYN_FAIL(err, SYN_E_INVALID, "--gpu: expected MODEL=PRICE, got \"%.80s\"", given);
    (void)snprintf(model, sizeof(model), "%.*s", (int)(equals - given), given);
    rc = syn_parse_amount(equals + 1, "--gpu", &price, err);
    return rc < 0 ? rc : syn_json_set_str(models, model, equals + 1, err);
}

/* The body of the change; *ret_any is false when no option asks for one. */
static int
price_body(const struct syn_cli *cli, json_t **ret, bool *ret_any, struct syn_err *err)
{
    SYN_JSON(body);
    const struct syn_cli_value *value;
    json_t *offer;
    json_t *models;
    size_t cursor = 0;
    int rc = syn_json_pack(&body, err, "{s:{s:{}}, s:b}", "offer", "gpu_hour", "reset_offer",
                           (int)syn_cli_has(cli, "default"));

    if (rc < 0)
        return rc;
    offer = json_object_get(body, "offer");
    models = json_object_get(offer, "gpu_hour");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(prices); i++)
        if (syn_cli_has(cli, prices[i].option))
            rc = syn_json_set_str(offer, prices[i].key, syn_cli_text(cli, prices[i].option, ""),
                                  err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "gpu", &cursor)) != NULL)
        rc = put_model(models, value->text, err);
    if (rc < 0)
        return rc;
    if (json_object_size(models) == 0)
        (void)json_object_del(offer, "gpu_hour");
    if (syn_cli_has(cli, "spot-floor"))
        rc = syn_json_set_i64(offer, "spot_floor_percent", syn_cli_number(cli, "spot-floor", 100),
                              err);
    if (rc < 0)
        return rc;
    *ret_any = json_object_size(offer) > 0 || syn_cli_has(cli, "default");
    if (json_object_size(offer) == 0)
        (void)json_object_del(body, "offer");
    *ret = SYN_TAKE(body);
    return SYN_OK;
}

static int
run_node_price(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(body);
    SYN_JSON(node);
    struct syn_err err;
    bool change = false;
    int rc = price_body(cli, &body, &change, &err);

    syn_buf_adds(&path, "/v1/nodes/");
    syn_cli_escape(&path, syn_cli_operand(cli, 0));
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, change ? "PATCH" : "GET", syn_buf_text(&path), change ? body : NULL,
                          &node, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (change)
        syn_cli_note(cli, "%s asks this from now on; what runs there keeps its lease.",
                     syn_json_str(node, "name", "?"));
    return show_prices(cli, node);
}

static const struct syn_cli_option price_options[] = {
    {"cpu", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, NULL, "An hour of a core"},
    {"memory", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, NULL,
     "An hour of a GiB of memory"},
    {"scratch", 0, "SYNOR", SYN_CLI_AMOUNT, 0, 0, false, false, NULL, NULL,
     "An hour of a GiB of scratch space"},
    {"gpu", 0, "MODEL=SYNOR", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL,
     "An hour of a GPU of this model; may be given again"},
    {"spot-floor", 0, "PERCENT", SYN_CLI_INT, 0, 100, false, false, NULL, "100",
     "Spot work pays for processors no less than so much of their price; 100 is no discount"},
    {"default", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "First take every price back to the price book's"},
};

const struct syn_cli_command syn_cli_node_price = {
    .path = "node price",
    .summary = "Show what a node asks for its capacity, or change it",
    .detail = "What its provider does not price costs what the price book says. A change is for "
              "what is placed from then on: what runs keeps the lease that it was placed under.",
    .examples = "  synor node price node-a\n"
                "  synor node price node-a --cpu 0.015 --gpu h100=3.2\n"
                "  synor node price node-a --spot-floor 30\n"
                "  synor node price node-a --default\n",
    .options = price_options,
    .option_count = SYN_LEN(price_options),
    .operands = node_operand,
    .operand_count = 1,
    .run = run_node_price};
