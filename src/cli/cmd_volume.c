/* compute volume: what services of the account keep on a node. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"
#include "workload_priv.h"

static const struct syn_cli_operand volume_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name of the volume: a-z 0-9 -"},
};

static const struct syn_cli_named volumes;

/* Where it is: chosen with it, or by the first replica that has it. */
static const char *
place_of(const json_t *volume)
{
    const char *node = syn_json_str(volume, "node", "");

    return node[0] != '\0' ? syn_json_str(volume, "node_name", node) : "";
}

static void
show_cost(struct syn_cli *cli, const json_t *cost)
{
    const char *until = syn_json_str(cost, "removed_at", NULL);

    syn_cli_say(cli, "  price       %s SYNOR an hour, %s a month, used or not",
                syn_json_str(cost, "rate_hour", "?"), syn_json_str(cost, "rate_month", "?"));
    syn_cli_say(cli, "  cost        %s SYNOR of this period so far, %s are locked for it",
                syn_json_str(cost, "spent", "?"), syn_json_str(cost, "locked", "?"));
    if (until != NULL)
        syn_cli_say(cli, "  unpaid      the account has no money for it: it is kept until %s",
                    until);
}

static int
show_take(struct syn_cli *cli, json_t *volume_take)
{
    int64_t used = syn_json_i64(volume_take, "used_bytes", -1);
    const char *place = place_of(volume_take);
    char size[SYN_FORMAT_MAX], has[SYN_FORMAT_MAX];
    const json_t *service;
    size_t i;

    if (cli->json)
        return syn_cli_print_json_take(cli, volume_take);
    syn_cli_say(cli, "%s  %s%s", syn_json_str(volume_take, "name", "?"),
                syn_format_bytes(syn_json_i64(volume_take, "size_bytes", 0), size),
                syn_json_bool(volume_take, "shared", false) ? ", shared" : "");
    if (syn_json_bool(volume_take, "grows", false))
        syn_cli_say(cli, "  size        it grows to that with the next replica that starts");
    syn_cli_say(cli, "  id          %s", syn_json_str(volume_take, "id", "?"));
    syn_cli_say(cli, "  node        %s",
                place[0] != '\0' ? place : "none yet: that of the first replica with it");
    if (used >= 0)
        syn_cli_say(cli, "  used        %s", syn_format_bytes(used, has));
    show_cost(cli, json_object_get(volume_take, "cost"));
    json_array_foreach (json_object_get(volume_take, "used_by"), i, service)
        syn_cli_say(cli, "  used by     %s", json_string_value(service));
    json_decref(volume_take);
    return 0;
}

/* --- create ----------------------------------------------------------------------------------- */

static const struct syn_cli_option create_options[] = {
    {"size", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "10gb", "What it holds, no more"},
    {"node", 0, "NODE", SYN_CLI_TEXT, 0, 0, false, false, NULL, "that of the first replica",
     "The node that it is on, by id or name"},
    {"shared", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Several replicas, and services, may write to it at once"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Say what it would cost; make nothing"},
};

static const struct syn_cli_spec_key numbers[] = {{"size", "size_bytes"}};

static int
make_body(const struct syn_cli *cli, json_t **ret, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s*, s:b}", "name", syn_cli_operand(cli, 0), "node",
                           syn_cli_text(cli, "node", NULL), "shared",
                           syn_cli_has(cli, "shared") ? 1 : 0);

    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), body, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(body);
    return rc;
}

static void
show_plan(const struct syn_cli *cli, const json_t *plan)
{
    const json_t *cost = json_object_get(plan, "cost");
    bool placed = *syn_json_str(plan, "node", "") != '\0';

    syn_cli_note(cli, "Price: %s SYNOR an hour, %s a month, used or not, from %s on.",
                 syn_json_str(cost, "rate_hour", "?"), syn_json_str(cost, "rate_month", "?"),
                 placed ? "now" : "when it has its node");
    if (placed)
        syn_cli_note(cli, "%s SYNOR are locked to begin with.", syn_json_str(cost, "locked", "?"));
}

static const struct syn_cli_plan_view plan_view = {
    .show = show_plan, .question = "Make it?", .declined = "Nothing was made."};

static int
run_create(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(plan);
    json_t *volume = NULL;
    struct syn_err err;
    int status;
    int rc = make_body(cli, &body, &err);

    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/volumes?plan=true", body, &plan, &err);
    if (rc == SYN_OK && !syn_cli_plan_agreed(cli, &plan_view, plan, &status))
        return status;
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/volumes", body, &volume, &err);
    if (rc < 0)
        syn_cli_spec_blame(cli, "body.", numbers, SYN_LEN(numbers), &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, volume);
}

const struct syn_cli_command syn_cli_volume_create = {
    .path = "compute volume create",
    .summary = "Make a volume, which outlives the replicas that use it",
    .detail = "It is on one node, where replicas with it run from then on: the one that is named, "
              "or that of the first replica. It stays until it is removed by hand, and is paid "
              "for as long as it has a node. Plan and price are shown first.",
    .examples = "  synor compute volume create data --size 20gb\n"
                "  synor compute service deploy --name db --image db:1 --volume "
                "data:/var/lib/db\n",
    .operands = volume_operand,
    .operand_count = SYN_LEN(volume_operand),
    .options = create_options,
    .option_count = SYN_LEN(create_options),
    .run = run_create};

/* --- resize ----------------------------------------------------------------------------------- */

static const struct syn_cli_option resize_options[] = {
    {"size", 0, "SIZE", SYN_CLI_BYTES, 0, 0, true, false, NULL, NULL,
     "What it is to hold, no less than now"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Say what it would cost; change nothing"},
};

static void
show_resizing(const struct syn_cli *cli, const json_t *plan)
{
    const json_t *cost = json_object_get(plan, "cost");

    syn_cli_note(cli, "Price: %s SYNOR an hour, %s a month, used or not.",
                 syn_json_str(cost, "rate_hour", "?"), syn_json_str(cost, "rate_month", "?"));
}

static const struct syn_cli_plan_view resize_view = {
    .show = show_resizing, .question = "Resize it?", .declined = "It stays as it is."};

static int
run_resize(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(plan);
    json_t *volume = NULL;
    struct syn_err err;
    int status;
    int rc = syn_json_pack(&body, &err, "{}");

    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), body, &err);
    if (rc == SYN_OK)
        rc = syn_cli_named_call(cli, &volumes, "PATCH", "?plan=true", body, &plan, &err);
    if (rc == SYN_OK && !syn_cli_plan_agreed(cli, &resize_view, plan, &status))
        return status;
    if (rc == SYN_OK)
        rc = syn_cli_named_call(cli, &volumes, "PATCH", "", body, &volume, &err);
    if (rc < 0)
        syn_cli_spec_blame(cli, "body.", numbers, SYN_LEN(numbers), &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, volume);
}

const struct syn_cli_command syn_cli_volume_resize = {
    .path = "compute volume resize",
    .summary = "Let a volume hold more; it never holds less",
    .detail = "It is made larger when the next replica that has it starts, while no other one has "
              "it: synor compute service restart does that at once. It costs what the new size "
              "does from now on.",
    .examples = "  synor compute volume resize data --size 40gb\n",
    .operands = volume_operand,
    .operand_count = SYN_LEN(volume_operand),
    .options = resize_options,
    .option_count = SYN_LEN(resize_options),
    .run = run_resize};

/* --- list, get, rm ---------------------------------------------------------------------------- */

static void
volume_cells(struct syn_cli_table_out *rows, const json_t *volume)
{
    int64_t used = syn_json_i64(volume, "used_bytes", -1);
    char size[SYN_FORMAT_MAX], has[SYN_FORMAT_MAX];

    syn_cli_cell(rows, "%s", syn_json_str(volume, "name", ""));
    syn_cli_cell(rows, "%s", syn_format_bytes(syn_json_i64(volume, "size_bytes", 0), size));
    syn_cli_cell(rows, "%s", used >= 0 ? syn_format_bytes(used, has) : "");
    syn_cli_cell(rows, "%s", place_of(volume));
    syn_cli_cell(rows, "%s", syn_json_bool(volume, "shared", false) ? "yes" : "no");
    syn_cli_cell(rows, "%zu", json_array_size(json_object_get(volume, "used_by")));
}

static const struct syn_cli_view volume_view = {
    .kind = "volume",
    .titles = "NAME|>SIZE|>USED|NODE|SHARED|>SERVICES",
    .empty = "No volumes yet: synor compute volume create NAME",
    .cells = volume_cells};

static const struct syn_cli_named volumes = {.route = "/v1/volumes",
                                             .view = &volume_view,
                                             .show_take = show_take,
                                             .removal = "Remove the volume"};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &volumes);
}

const struct syn_cli_command syn_cli_volume_list = {.path = "compute volume list",
                                                    .summary =
                                                        "List volumes: how large, how full, where",
                                                    .run = run_list};

static int
run_get(struct syn_cli *cli)
{
    return syn_cli_named_get(cli, &volumes);
}

const struct syn_cli_command syn_cli_volume_get = {
    .path = "compute volume get",
    .summary = "Show a volume: where it is, how full, used by whom",
    .operands = volume_operand,
    .operand_count = SYN_LEN(volume_operand),
    .run = run_get};

static int
run_rm(struct syn_cli *cli)
{
    return syn_cli_named_rm(cli, &volumes, "", " and all that is on it");
}

const struct syn_cli_command syn_cli_volume_rm = {
    .path = "compute volume rm",
    .summary = "Remove a volume that no service uses, and all that is on it",
    .operands = volume_operand,
    .operand_count = SYN_LEN(volume_operand),
    .run = run_rm};
