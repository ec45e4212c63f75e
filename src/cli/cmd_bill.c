/* bill: what a run cost and why, and the proof of it. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

static const struct syn_cli_operand bill_operand[] = {
    {"BILL", SYN_CLI_TEXT, true, false,
     "Id of the bill, or the job, service or volume it is about"},
};

/* Which period of a service; a job has one bill a run. */
static void
period_cell(struct syn_cli_table_out *rows, const json_t *period)
{
    if (period == NULL)
        syn_cli_cell(rows, "-");
    else
        syn_cli_cell(rows, "%lld", (long long)syn_json_i64(period, "number", 1));
}

static void
bill_cells(struct syn_cli_table_out *rows, const json_t *bill)
{
    const json_t *status = json_object_get(bill, "status");

    syn_cli_cell(rows, "%s", syn_json_str(bill, "id", ""));
    syn_cli_cell(rows, "%s", syn_json_str(json_object_get(bill, "spec"), "job", ""));
    period_cell(rows, syn_json_at(bill, "spec.period"));
    syn_cli_cell(rows, "%s", syn_json_str(status, "state", ""));
    syn_cli_cell(rows, "%s", syn_json_str(status, "charge", "0"));
    syn_cli_cell(rows, "%s", syn_json_str(status, "refund", "0"));
    syn_cli_cell(rows, "%s", syn_json_str(bill, "created_at", ""));
}

static const struct syn_cli_view bill_view = {
    .kind = "bill",
    .titles = "BILL|JOB|>PERIOD|STATE|>CHARGE|>REFUND|WHEN",
    .empty = "No bills yet: one is written when a run ends.",
    .cells = bill_cells,
    .newest_first = true,
    .own = true};

static const struct syn_cli_option list_options[] = {
    {"of", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "all",
     "Only those of this job, service or volume; not with --watch"},
    SYN_CLI_WATCH_OPTION,
};

static int
run_bill_list(struct syn_cli *cli)
{
    const char *of = syn_cli_text(cli, "of", NULL);
    struct syn_err err;
    SYN_BUF(path);

    if (syn_cli_has(cli, "watch") && of != NULL) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "--watch shows all bills: leave --of out");
        return syn_cli_fail(cli, &err);
    }
    if (syn_cli_has(cli, "watch"))
        return syn_cli_watch(cli, &bill_view, NULL, NULL);
    syn_buf_adds(&path, "/v1/bills");
    if (of != NULL) {
        syn_buf_adds(&path, "?job=");
        syn_cli_escape(&path, of);
    }
    return syn_cli_show_list(cli, &bill_view, syn_buf_text(&path));
}

const struct syn_cli_command syn_cli_bill_list = {.path = "bill list",
                                                  .summary = "List bills, newest first",
                                                  .detail = SYN_CLI_WATCH_DETAIL,
                                                  .options = list_options,
                                                  .option_count = SYN_LEN(list_options),
                                                  .run = run_bill_list};

/* A quantity is counted in a small measure (millicore-ms) and priced by a large unit (core-hour);
 * people read the latter. The exact integers stand in the document (--json). */
static void
quantity_cell(struct syn_cli_table_out *rows, const json_t *line)
{
    double quantity = 0;
    int64_t per = syn_json_i64(line, "per", 1);

    if (syn_parse_double(syn_json_str(line, "quantity", "0"), 0, 1e300, "quantity", &quantity,
                         NULL) < 0)
        quantity = 0;
    syn_cli_cell(rows, "%.6f", quantity / (double)SYN_MAX(per, 1));
}

static int
show_bill(struct syn_cli *cli, const json_t *bill)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const json_t *spec = json_object_get(bill, "spec");
    const json_t *status = json_object_get(bill, "status");
    const json_t *period = json_object_get(spec, "period");
    const char *volume = syn_json_str(spec, "volume", NULL);
    struct syn_err err;
    size_t i;
    json_t *line;

    if (volume != NULL)
        syn_cli_say(cli, "Bill %s  volume %s  %s", syn_json_str(bill, "id", "?"), volume,
                    syn_json_str(status, "state", "?"));
    else
        syn_cli_say(cli, "Bill %s  job %s  run %lld  %s", syn_json_str(bill, "id", "?"),
                    syn_json_str(spec, "job", "?"), (long long)syn_json_i64(spec, "run", 1),
                    syn_json_str(status, "state", "?"));
    if (period != NULL)
        syn_cli_say(cli, "period    %lld, from %s to %s%s",
                    (long long)syn_json_i64(period, "number", 1),
                    syn_json_str(period, "since", "?"), syn_json_str(period, "until", "?"),
                    syn_json_str(status, "rest", NULL) == NULL ? ", the last one"
                    : volume != NULL                           ? "; the volume is kept"
                                                               : "; the service runs on");
    if (syn_cli_rows_new("ITEM|>QUANTITY|UNIT|>PRICE|>AMOUNT", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (json_object_get(status, "lines"), i, line) {
        syn_cli_cell(rows, "%s", syn_json_str(line, "item", ""));
        quantity_cell(rows, line);
        syn_cli_cell(rows, "%s", syn_json_str(line, "unit", ""));
        syn_cli_cell(rows, "%s", syn_json_str(line, "price", ""));
        syn_cli_cell(rows, "%s", syn_json_str(line, "amount", ""));
    }
    if (syn_cli_rows_print(cli, rows, "Nothing was used.") != 0)
        return 1;
    syn_cli_say(cli, "metered   %s SYNOR", syn_json_str(status, "total", "0"));
    syn_cli_say(cli, "charged   %s SYNOR: provider %s, protocol %s",
                syn_json_str(status, "charge", "0"), syn_json_str(status, "provider_amount", "0"),
                syn_json_str(status, "protocol_amount", "0"));
    syn_cli_say(cli, "escrow    %s SYNOR, refunded %s", syn_json_str(status, "escrow", "0"),
                syn_json_str(status, "refund", "0"));
    syn_cli_say(cli, "\nProve it: synor bill verify %s", syn_json_str(bill, "id", "?"));
    return 0;
}

static int
run_bill_show(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(bill);
    struct syn_err err;

    syn_buf_adds(&path, "/v1/bills/");
    syn_cli_escape(&path, syn_cli_operand(cli, 0));
    if (syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &bill, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(bill));
    return show_bill(cli, bill);
}

const struct syn_cli_command syn_cli_bill_show = {.path = "bill show",
                                                  .summary = "Show a bill line by line",
                                                  .operands = bill_operand,
                                                  .operand_count = 1,
                                                  .run = run_bill_show};

static int
run_bill_verify(struct syn_cli *cli)
{
    SYN_BUF(path);
    SYN_JSON(answer);
    struct syn_err err;
    size_t i;
    json_t *difference;
    bool agrees;

    syn_buf_adds(&path, "/v1/bills/");
    syn_cli_escape(&path, syn_cli_operand(cli, 0));
    syn_buf_adds(&path, "/verify");
    if (syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    agrees = syn_json_bool(answer, "agrees", false);
    if (cli->json) {
        int status = syn_cli_print_json_take(cli, SYN_TAKE(answer));

        return status != 0 ? status : agrees ? 0 : 1;
    }
    syn_cli_say(cli, "%s: recomputed from %lld signed samples, %s",
                agrees ? "The bill agrees" : "The bill does NOT agree",
                (long long)syn_json_i64(answer, "samples", 0),
                syn_json_bool(answer, "signatures_ok", false) ? "every signature good"
                                                              : "NOT every signature good");
    json_array_foreach (json_object_get(answer, "differences"), i, difference)
        syn_cli_say(cli, "  %s: %s", syn_json_str(difference, "field", "?"),
                    syn_json_str(difference, "message", "?"));
    return agrees ? 0 : 1;
}

const struct syn_cli_command syn_cli_bill_verify = {
    .path = "bill verify",
    .summary = "Recompute a bill from the signed usage samples and the ledger",
    .detail =
        "Checks every sample's signature and sequence, recomputes the charges from the leases that "
        "the samples were signed for and the price book, and compares them with the bill and with "
        "the ledger's settlement; that of a service's period also with the period before it, whose "
        "last samples and rest of a base unit it must go on from. Exit status 1 when anything "
        "differs.",
    .operands = bill_operand,
    .operand_count = 1,
    .run = run_bill_verify};
