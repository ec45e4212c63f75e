/* compute function key: keys with which others call functions whose routes ask for one. */
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"
#include "workload_priv.h"

#define RATE_MAX 1000000

static const struct syn_cli_operand key_operand[] = {
    {"NAME", SYN_CLI_TEXT, true, false, "Name of the key: a-z 0-9 -"},
};

/* --- create ----------------------------------------------------------------------------------- */

/* clang-format off */
static const struct syn_cli_option create_options[] = {
    {"function", 0, "FUNCTION", SYN_CLI_TEXT, 0, 0, false, true, NULL, "all of the account", "Name of one that it may call; may be given again"},
    {"rate", 0, "N", SYN_CLI_INT, 1, RATE_MAX, false, false, NULL, "any number", "Calls of each function a second; more are refused with 429"},
    {"burst", 0, "N", SYN_CLI_INT, 1, RATE_MAX, false, false, NULL, "the rate", "Calls of each function at once, after some rest"},
    {"ttl", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "until it is removed", "How long it is valid: 12h, 30d"},
};
/* clang-format on */

static const struct syn_cli_spec_key numbers[] = {
    {"rate", "rate_per_second"}, {"burst", "burst"}, {"ttl", "ttl_ms"}};
static const struct syn_cli_spec_key blamed[] = {
    {"function", "functions"}, {"rate", "rate_per_second"}, {"burst", "burst"}, {"ttl", "ttl_ms"}};

static int
run_create(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(key);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{s:s}", "name", syn_cli_operand(cli, 0));

    if (rc == SYN_OK)
        rc = syn_cli_spec_words(cli, "function", "functions", body, &err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), body, &err);
    if (rc == SYN_OK) {
        rc = syn_cli_call(cli, "POST", "/v1/function-keys", body, &key, &err);
        if (rc < 0)
            syn_cli_spec_blame(cli, "", blamed, SYN_LEN(blamed), &err);
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(key));
    syn_cli_say(cli, "%s", syn_json_str(key, "key", "?"));
    syn_cli_note(cli, "This is shown once; keep it safe.");
    return 0;
}

const struct syn_cli_command syn_cli_function_key_create = {
    .path = "compute function key create",
    .summary = "Make a key that functions are called with",
    .detail = "It counts where a route asks for one, --trigger http:/path,auth=key, and comes with "
              "a request as x-api-key: KEY or Authorization: Bearer KEY. The function is told its "
              "name, as x-synor-key, and not the key. Each function has its own count of --rate.",
    .examples = "  synor compute function deploy --name hello --runtime wasm --code hello.wat \\\n"
                "    --trigger http:/hello,auth=key\n"
                "  synor compute function key create ci --function hello --rate 10 --ttl 30d\n"
                "  curl -H \"x-api-key: $KEY\" http://127.0.0.1:9080/hello\n",
    .operands = key_operand,
    .operand_count = SYN_LEN(key_operand),
    .options = create_options,
    .option_count = SYN_LEN(create_options),
    .run = run_create};

/* --- list, rm --------------------------------------------------------------------------------- */

static void
key_cells(struct syn_cli_table_out *rows, const json_t *key)
{
    const json_t *functions = json_object_get(key, "functions"), *name;
    long long rate = (long long)syn_json_i64(key, "rate_per_second", 0);
    SYN_BUF(text);
    size_t i;

    json_array_foreach (functions, i, name)
        syn_buf_addf(&text, "%s%s", i > 0 ? "," : "", json_string_value(name));
    syn_cli_cell(rows, "%s", syn_json_str(key, "name", ""));
    syn_cli_cell(rows, "%s", text.len > 0 ? syn_buf_text(&text) : "all");
    if (rate > 0)
        syn_cli_cell(rows, "%lld/s", rate);
    else
        syn_cli_cell(rows, "any");
    if (rate > 0)
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(key, "burst", 0));
    else
        syn_cli_cell(rows, "-");
    syn_cli_cell(rows, "%s%s", syn_json_str(key, "expires_at", "never"),
                 syn_json_bool(key, "expired", false) ? " (expired)" : "");
    syn_cli_cell(rows, "%s", syn_json_str(key, "created_at", ""));
}

static const struct syn_cli_view key_view = {
    .kind = "function-key",
    .titles = "NAME|FUNCTIONS|>RATE|>BURST|EXPIRES|CREATED",
    .empty = "No keys yet: synor compute function key create NAME",
    .cells = key_cells};

static const struct syn_cli_named keys = {
    .route = "/v1/function-keys", .view = &key_view, .removal = "Remove the key"};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &keys);
}

const struct syn_cli_command syn_cli_function_key_list = {
    .path = "compute function key list",
    .summary = "List keys that functions are called with; their texts are never shown again",
    .run = run_list};

static int
run_rm(struct syn_cli *cli)
{
    return syn_cli_named_rm(cli, &keys, "", "");
}

const struct syn_cli_command syn_cli_function_key_rm = {
    .path = "compute function key rm",
    .summary = "Remove a key; who has it calls no more",
    .operands = key_operand,
    .operand_count = SYN_LEN(key_operand),
    .run = run_rm};
