/* node label, region latency: where nodes are, and how far from each other. */
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"

/* --- node label ------------------------------------------------------------------------------ */

static const struct syn_cli_operand label_operands[] = {
    {"NODE", SYN_CLI_TEXT, true, false, "Name or id of the node"},
    {"LABEL", SYN_CLI_TEXT, false, true, "key=value to set, key- to take away"},
};

static const struct syn_cli_option label_options[] = {
    {"zone", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Zone of its region: the label synor.io/zone"},
    {"rack", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Rack of its zone: the label synor.io/rack"},
};

/* One word: "key=value" goes into `set`, "key-" into `remove`. */
static int
take_label(const char *word, json_t *set, json_t *remove, struct syn_err *err)
{
    size_t key = strcspn(word, "="), len = strlen(word);
    char name[64];

    if (word[key] == '\0' && len > 1 && word[len - 1] == '-')
        return syn_json_append_take(remove, json_stringn(word, len - 1), err);
    if (word[key] == '\0' || key == 0 || key >= sizeof(name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.80s\": expected key=value, or key- to take it away", word);
    (void)snprintf(name, sizeof(name), "%.*s", (int)key, word);
    return syn_json_set_str(set, name, word + key + 1, err);
}

static size_t
operand_count(const struct syn_cli *cli)
{
    size_t count = 0;

    while (syn_cli_operand(cli, count) != NULL)
        count++;
    return count;
}

static int
make_labels(const struct syn_cli *cli, json_t **ret, struct syn_err *err)
{
    json_t *set, *remove;
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:{}, s:[]}", "set", "remove");

    set = json_object_get(body, "set");
    remove = json_object_get(body, "remove");
    for (size_t i = 1; rc == SYN_OK && i < operand_count(cli); i++)
        rc = take_label(syn_cli_operand(cli, i), set, remove, err);
    if (rc == SYN_OK && syn_cli_has(cli, "zone"))
        rc = syn_json_set_str(set, "synor.io/zone", syn_cli_text(cli, "zone", ""), err);
    if (rc == SYN_OK && syn_cli_has(cli, "rack"))
        rc = syn_json_set_str(set, "synor.io/rack", syn_cli_text(cli, "rack", ""), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(body);
    return rc;
}

static int
show_labels(struct syn_cli *cli, json_t *node)
{
    const char *key;
    json_t *value;

    if (cli->json)
        return syn_cli_print_json_take(cli, json_incref(node));
    syn_cli_say(cli, "%s", syn_json_str(node, "name", "?"));
    json_object_foreach (syn_json_at(node, "spec.labels"), key, value)
        syn_cli_say(cli, "  %s=%s", key, json_string_value(value));
    return 0;
}

static int
run_node_label(struct syn_cli *cli)
{
    bool change = operand_count(cli) > 1 || syn_cli_has(cli, "zone") || syn_cli_has(cli, "rack");
    SYN_BUF(path);
    SYN_JSON(body);
    SYN_JSON(node);
    struct syn_err err;
    int rc = make_labels(cli, &body, &err);

    syn_buf_adds(&path, "/v1/nodes/");
    syn_cli_escape(&path, syn_cli_operand(cli, 0));
    syn_buf_adds(&path, change ? "/labels" : "");
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, &err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, change ? "POST" : "GET", syn_buf_text(&path), change ? body : NULL,
                          &node, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_labels(cli, node);
}

const struct syn_cli_command syn_cli_node_label = {
    .path = "node label",
    .summary = "Show the labels of a node, or change them",
    .detail = "Its provider and the operator may. Jobs ask for labels with --label. What runs "
              "there stays, whatever the labels become.",
    .examples = "  synor node label node-a disk=nvme tier=gold\n"
                "  synor node label node-a --zone west-1 --rack r7\n"
                "  synor node label node-a tier-\n",
    .options = label_options,
    .option_count = SYN_LEN(label_options),
    .operands = label_operands,
    .operand_count = SYN_LEN(label_operands),
    .run = run_node_label};

/* --- region latency -------------------------------------------------------------------------- */

static void
distance_cells(struct syn_cli_table_out *rows, const json_t *row)
{
    int64_t us = syn_json_i64(row, "rtt_us", 0);

    syn_cli_cell(rows, "%s", syn_json_str(row, "from", ""));
    syn_cli_cell(rows, "%s", syn_json_str(row, "to", ""));
    syn_cli_cell(rows, "%lld.%03lld ms", (long long)(us / 1000), (long long)(us % 1000));
    syn_cli_cell(rows, "%s", syn_json_str(row, "source", ""));
}

static const struct syn_cli_view distance_view = {
    .kind = "distance",
    .titles = "FROM|TO|>ROUND TRIP|SOURCE",
    .empty = "Nothing is known. Nodes measure to the server by themselves, once it and they have "
             "a --region; or say it: synor region latency set A B 20ms",
    .cells = distance_cells};

static int
run_latency_list(struct syn_cli *cli)
{
    return syn_cli_show_list(cli, &distance_view, "/v1/regions/latency");
}

const struct syn_cli_command syn_cli_region_latency_list = {
    .path = "region latency list",
    .summary = "Show the round trips between regions that are known",
    .detail = "Each node measures its round trip to the server; of a region the median of its "
              "nodes counts, unless an operator said otherwise.",
    .run = run_latency_list};

static const struct syn_cli_operand distance_operands[] = {
    {"REGION", SYN_CLI_TEXT, true, false, "A region"},
    {"OTHER", SYN_CLI_TEXT, true, false, "Another one"},
    {"TIME", SYN_CLI_TEXT, true, false, "Round trip, as 20ms; `measured`: what nodes measure"},
};

static int
run_latency_set(struct syn_cli *cli)
{
    const char *time = syn_cli_operand(cli, 2);
    int64_t ms = 0;
    SYN_JSON(body);
    SYN_JSON(answer);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{s:s, s:s}", "from", syn_cli_operand(cli, 0), "to",
                           syn_cli_operand(cli, 1));

    if (rc == SYN_OK && !syn_str_eq(time, "measured")) {
        rc = syn_parse_duration_ms(time, "the round trip", &ms, &err);
        if (rc == SYN_OK && ms > 60000)
            rc = SYN_FAIL(&err, SYN_E_INVALID, "the round trip: at most 60s, got %.40s", time);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(body, "rtt_us", ms * 1000, &err);
    }
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "PUT", "/v1/regions/latency", body, &answer, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%s and %s: %s", syn_cli_operand(cli, 0), syn_cli_operand(cli, 1), time);
    return 0;
}

const struct syn_cli_command syn_cli_region_latency_set = {
    .path = "region latency set",
    .summary = "Say the round trip between two regions",
    .examples = "  synor region latency set eu-west us-east 85ms\n"
                "  synor region latency set eu-west us-east measured\n",
    .operands = distance_operands,
    .operand_count = SYN_LEN(distance_operands),
    .run = run_latency_set};
