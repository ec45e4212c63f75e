/* node: the machines that run instances. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

static const struct syn_cli_operand node_operand[] = {
    {"NODE", SYN_CLI_TEXT, true, false, "Name or id of the node"},
};

static int64_t
sum_gpus(const json_t *capacity)
{
    int64_t sum = 0;
    size_t i;
    json_t *gpu;

    json_array_foreach (json_object_get(capacity, "gpus"), i, gpu)
        sum += syn_json_i64(gpu, "count", 0);
    return sum;
}

/* Is what it takes first made by containerd? */
static bool
by_containerd(const json_t *status)
{
    const json_t *first = json_array_get(json_object_get(status, "sandboxes"), 0);

    return syn_str_eq(syn_json_str(first, "runtime", ""), "container");
}

static void
node_cells(struct syn_cli_table_out *rows, const json_t *node)
{
    const json_t *status = json_object_get(node, "status");
    const json_t *capacity = json_object_get(status, "capacity");
    bool drained = syn_json_bool(json_object_get(node, "spec"), "unschedulable", false);
    char text[SYN_FORMAT_MAX];

    syn_cli_cell(rows, "%s", syn_json_str(node, "name", ""));
    syn_cli_cell(rows, "%s", syn_json_str(node, "id", ""));
    syn_cli_cell(rows, "%s%s", syn_json_str(status, "state", ""), drained ? ", drained" : "");
    syn_cli_cell(rows, "%s", syn_format_cpus(syn_json_i64(capacity, "cpu_millicores", 0), text));
    syn_cli_cell(rows, "%s", syn_format_bytes(syn_json_i64(capacity, "memory_bytes", 0), text));
    syn_cli_cell(rows, "%lld", (long long)sum_gpus(capacity));
    syn_cli_cell(rows, "%s%s", syn_json_str(status, "default_isolation", "none"),
                 by_containerd(status) ? ", containerd" : "");
    syn_cli_cell(rows, "%s", syn_json_str(status, "last_seen_at", "never"));
}

static const struct syn_cli_view node_view = {
    .kind = "node",
    .titles = "NAME|ID|STATE|>CPU|>MEMORY|>GPUS|SANDBOX|~SEEN",
    .empty = "No nodes. Join one: synor agent --server URL --token T",
    .cells = node_cells};

static const struct syn_cli_option watch_options[] = {
    SYN_CLI_WATCH_OPTION,
    {"capacity", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "What is free of what there is, and what it costs an hour"},
};

/* Two ways to look, of which one is taken. */
static int
check_look(struct syn_cli *cli)
{
    struct syn_err err;

    if (!syn_cli_has(cli, "capacity") || !syn_cli_has(cli, "watch"))
        return SYN_OK;
    (void)SYN_FAIL(&err, SYN_E_INVALID, "--capacity is a look at one moment: leave out --watch");
    return syn_cli_fail(cli, &err);
}

static int
run_node_list(struct syn_cli *cli)
{
    int status = check_look(cli);

    if (status != 0)
        return status;
    if (syn_cli_has(cli, "capacity"))
        return syn_cli_show_capacity(cli, NULL);
    return syn_cli_has(cli, "watch") ? syn_cli_watch(cli, &node_view, NULL, NULL)
                                     : syn_cli_show_list(cli, &node_view, "/v1/nodes");
}

const struct syn_cli_command syn_cli_node_list = {
    .path = "node list",
    .summary = "List nodes with what they have",
    .detail = SYN_CLI_WATCH_DETAIL " That a node was seen again is no change that adds a row.",
    .options = watch_options,
    .option_count = SYN_LEN(watch_options),
    .run = run_node_list};

static int
show_node(struct syn_cli *cli, const char *method, const char *tail, const json_t *body)
{
    SYN_BUF(path);
    SYN_JSON(answer);
    struct syn_err err;

    syn_buf_adds(&path, "/v1/nodes/");
    syn_cli_escape(&path, syn_cli_operand(cli, 0));
    syn_buf_adds(&path, tail);
    if (syn_cli_call(cli, method, syn_buf_text(&path), body, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "capacity"))
        return syn_cli_show_capacity(cli, syn_json_str(answer, "id", "?"));
    if (syn_cli_has(cli, "watch"))
        return syn_cli_watch(cli, &node_view, syn_json_str(answer, "id", "?"), NULL);
    if (cli->json || body == NULL)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%s: %s", syn_json_str(answer, "name", "?"),
                syn_json_bool(json_object_get(answer, "spec"), "unschedulable", false)
                    ? "takes no new instances"
                    : "takes new instances");
    return 0;
}

static int
run_node_get(struct syn_cli *cli)
{
    int status = check_look(cli);

    if (status != 0)
        return status;
    return show_node(cli, "GET", "", NULL);
}

const struct syn_cli_command syn_cli_node_get = {.path = "node get",
                                                 .summary = "Show one node as its document",
                                                 .detail = SYN_CLI_WATCH_DETAIL,
                                                 .options = watch_options,
                                                 .option_count = SYN_LEN(watch_options),
                                                 .operands = node_operand,
                                                 .operand_count = 1,
                                                 .run = run_node_get};

static int
run_node_drain(struct syn_cli *cli)
{
    SYN_JSON(body);

    body = json_pack("{s:b, s:b}", "on", syn_cli_has(cli, "off") ? 0 : 1, "keep",
                     (int)syn_cli_has(cli, "keep"));
    return show_node(cli, "POST", "/drain", body);
}

static const struct syn_cli_option drain_options[] = {
    {"off", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Let it take instances again"},
    {"keep", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "What runs there stays there"},
};

const struct syn_cli_command syn_cli_node_drain = {
    .path = "node drain",
    .summary = "Place nothing new on a node, and move what runs there",
    .detail =
        "What runs there is stopped with its grace to save, and goes on elsewhere, as far as other "
        "nodes have room; what finds none goes on where it is, until there is.",
    .options = drain_options,
    .option_count = SYN_LEN(drain_options),
    .operands = node_operand,
    .operand_count = 1,
    .run = run_node_drain};
