/* sim: a cluster that is not there, under a workload. Asks no platform. */
#include <inttypes.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

#define FILE_BYTES_MAX ((size_t)256 << 20)
#define HOUR_MS        INT64_C(3600000)
#define NOTICE_MS      INT64_C(120000)
#define MADE           "gen:"

static const struct syn_cli_option options[] = {
    {"nodes", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "The machines, as CSV (-: standard input); or gen:N, so many made up"},
    {"workload", 0, "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL,
     "Who asks for what, as CSV (-: standard input); or gen:N, so many made up"},
    {"policy", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false,
     "balanced|binpack|spread|fragmentation|latency|energy|price", "balanced",
     "How the node is chosen"},
    {"seed", 0, "N", SYN_CLI_INT, 0, 0, false, false, NULL, "0",
     "Decides between equals, and whatever is drawn at random"},
    {"arrivals", 0, "PERCENT", SYN_CLI_INT, 1, 1000, false, false, NULL, "the workload's times",
     "Arrivals in random order until so much of the GPUs is asked for; nobody leaves"},
    {"learn", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "The scheduler is told nothing of the workload beforehand"},
    {"failures", 0, "HOURS", SYN_CLI_INT, 1, 1000000, false, false, NULL, "none",
     "Each node fails at random, after so many hours in the mean"},
    {"repair", 0, "TIME", SYN_CLI_DURATION, 1, INT64_C(3600000000), false, false, NULL, "1h",
     "A node that failed is back after so long in the mean"},
    {"spot", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "GPUs are bought by the hour on the exchange; who is outbid waits"},
    {"notice", 0, "TIME", SYN_CLI_DURATION, 0, HOUR_MS, false, false, NULL, "2m",
     "With --spot: who is outbid goes on for so long"},
    {"plot", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "Write allocation over arrivals as a picture (SVG)"},
};

/* --- what is asked for ----------------------------------------------------------------------- */

static int
check_options(const struct syn_cli *cli, struct syn_err *err)
{
    if (syn_str_eq(syn_cli_text(cli, "nodes", ""), "-") &&
        syn_str_eq(syn_cli_text(cli, "workload", ""), "-"))
        return SYN_FAIL(err, SYN_E_INVALID, "workload: standard input is the nodes");
    if (syn_cli_has(cli, "notice") && !syn_cli_has(cli, "spot"))
        return SYN_FAIL(err, SYN_E_INVALID, "notice: without --spot nobody is outbid");
    if (syn_cli_has(cli, "repair") && !syn_cli_has(cli, "failures"))
        return SYN_FAIL(err, SYN_E_INVALID, "repair: without --failures nothing fails");
    return SYN_OK;
}

static int
read_input(const struct syn_cli *cli, const char *option, struct syn_buf *text,
           struct syn_cli_input *ret, struct syn_err *err)
{
    const char *path = syn_cli_text(cli, option, "");
    int rc;

    ret->name = path;
    if (syn_str_starts(path, MADE))
        return syn_parse_u64(path + strlen(MADE), 1, UINT32_MAX, option, &ret->count, err);
    rc = syn_cli_read_file(syn_str_eq(path, "-") ? "/dev/stdin" : path, FILE_BYTES_MAX, text, err);
    ret->text = syn_buf_text(text);
    ret->len = text->len;
    return rc;
}

/* --- telling --------------------------------------------------------------------------------- */

static double
real(const json_t *obj, const char *dotted)
{
    return json_number_value(syn_json_at(obj, dotted));
}

static int64_t
whole(const json_t *obj, const char *dotted)
{
    return (int64_t)json_integer_value(syn_json_at(obj, dotted));
}

static void
row(struct syn_cli_table_out *rows, const char *what)
{
    syn_cli_cell(rows, "%s", what);
}

static void
add_time(struct syn_cli_table_out *rows, const char *what, int64_t ms)
{
    row(rows, what);
    if (ms < 1000)
        syn_cli_cell(rows, "%" PRId64 " ms", ms);
    else if (ms < HOUR_MS)
        syn_cli_cell(rows, "%.1f s", (double)ms / 1e3);
    else
        syn_cli_cell(rows, "%.1f h", (double)ms / (double)HOUR_MS);
}

static void
add_percent(struct syn_cli_table_out *rows, const json_t *report, const char *what,
            const char *dotted)
{
    if (!json_is_number(syn_json_at(report, dotted)))
        return;
    row(rows, what);
    syn_cli_cell(rows, "%.2f %%", real(report, dotted));
}

static void
add_counts(struct syn_cli_table_out *rows, const json_t *report)
{
    static const struct {
        const char *what, *dotted;
    } counts[] = {{"nodes", "nodes"},
                  {"GPUs", "cards"},
                  {"arrivals", "arrived"},
                  {"placed", "placed"},
                  {"refused", "refused"},
                  {"finished", "finished"},
                  {"waiting at the end", "waiting"},
                  {"failed nodes", "failures.nodes"},
                  {"restarts after failures", "failures.restarts"},
                  {"spot hours bought", "spot.hours_bought"},
                  {"spot notices", "spot.notices"},
                  {"spot interruptions", "spot.interrupted"},
                  {"resumed", "spot.resumed"}};

    for (size_t i = 0; i < SYN_LEN(counts); i++) {
        if (!json_is_integer(syn_json_at(report, counts[i].dotted)))
            continue;
        row(rows, counts[i].what);
        syn_cli_cell(rows, "%" PRId64, whole(report, counts[i].dotted));
    }
}

static void
add_figures(struct syn_cli_table_out *rows, const json_t *report)
{
    add_percent(rows, report, "asked for", "allocation.asked_percent");
    add_percent(rows, report, "allocation at the end", "allocation.end_percent");
    add_percent(rows, report, "allocation, mean", "allocation.mean_percent");
    add_percent(rows, report, "allocation, mean until the last arrival",
                "allocation.arriving_percent");
    add_percent(rows, report, "allocation, peak", "allocation.peak_percent");
    add_percent(rows, report, "fragmentation at the end", "fragmentation.end_percent");
    add_percent(rows, report, "fragmentation, mean", "fragmentation.mean_percent");
    if (json_is_number(syn_json_at(report, "failures.lost_card_hours"))) {
        row(rows, "work lost by failures");
        syn_cli_cell(rows, "%.1f GPU h", real(report, "failures.lost_card_hours"));
    }
    if (json_is_object(json_object_get(report, "wait_ms"))) {
        add_time(rows, "wait, mean", whole(report, "wait_ms.mean"));
        add_time(rows, "wait, p50", whole(report, "wait_ms.p50"));
        add_time(rows, "wait, p99", whole(report, "wait_ms.p99"));
        add_time(rows, "simulated", whole(report, "duration_ms"));
    }
    if (json_is_number(syn_json_at(report, "energy.joules"))) {
        row(rows, "energy");
        syn_cli_cell(rows, "%.6g J", real(report, "energy.joules"));
    }
    if (json_is_number(syn_json_at(report, "energy.mean_watts"))) {
        row(rows, "power, mean");
        syn_cli_cell(rows, "%.1f kW", real(report, "energy.mean_watts") / 1e3);
    }
    row(rows, "power at the end");
    syn_cli_cell(rows, "%.1f kW", real(report, "energy.end_watts") / 1e3);
    if (json_is_number(syn_json_at(report, "cost_synor.total"))) {
        row(rows, "cost");
        syn_cli_cell(rows, "%.2f SYNOR", real(report, "cost_synor.total"));
    }
    row(rows, "decisions");
    syn_cli_cell(rows, "%.0f/s", real(report, "decisions.per_second"));
}

static int
tell_waiting(const struct syn_cli *cli, const json_t *report)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const json_t *list = json_object_get(report, "waiting_for"), *one;
    struct syn_err err;
    size_t i;

    if (json_array_size(list) == 0)
        return 0;
    if (syn_cli_rows_new(">WAITING|>CPU|>MEMORY|>GPUS|MODELS|WHY", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (list, i, one) {
        double cards = real(one, "num_gpu") * real(one, "gpu_milli") / 1000;

        syn_cli_cell(rows, "%" PRId64, whole(one, "pods"));
        syn_cli_cell(rows, "%g", real(one, "cpu_milli") / 1000);
        syn_cli_cell(rows, "%.1f GiB", real(one, "memory_mib") / 1024);
        syn_cli_cell(rows, "%g", cards);
        syn_cli_cell(rows, "%s", syn_json_str(one, "gpu_spec", ""));
        syn_cli_cell(rows, "%s", syn_json_str(one, "why", ""));
    }
    syn_cli_say(cli, "%s", "");
    return syn_cli_rows_print(cli, rows, "");
}

static int
tell_prices(const struct syn_cli *cli, const json_t *report)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *prices = NULL;
    const json_t *list = syn_json_at(report, "spot.prices_card_hour"), *one;
    struct syn_err err;
    size_t i;

    if (!json_is_array(list))
        return 0;
    if (syn_cli_rows_new("CLASS|>GPUS|>LIST|>LOWEST|>HIGHEST|>END", &prices, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (list, i, one) {
        syn_cli_cell(prices, "%s", syn_json_str(one, "class", ""));
        syn_cli_cell(prices, "%" PRId64, whole(one, "cards"));
        syn_cli_cell(prices, "%.3f", real(one, "list"));
        syn_cli_cell(prices, "%.3f", real(one, "lowest"));
        syn_cli_cell(prices, "%.3f", real(one, "highest"));
        syn_cli_cell(prices, "%.3f", real(one, "end"));
    }
    syn_cli_say(cli, "%s", "");
    return syn_cli_rows_print(cli, prices, "No GPU is for sale.");
}

static int
tell(const struct syn_cli *cli, const json_t *report)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;
    int status;

    if (syn_cli_rows_new("FIGURE|>VALUE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    add_counts(rows, report);
    add_figures(rows, report);
    status = syn_cli_rows_print(cli, rows, "");
    status = status != 0 ? status : tell_waiting(cli, report);
    return status != 0 ? status : tell_prices(cli, report);
}

static void
on_progress(void *arg, int64_t done, int64_t total)
{
    struct syn_cli_progress *progress = arg;

    progress->total = total;
    syn_cli_progress_show(progress, done, NULL);
}

static int
run_sim(struct syn_cli *cli)
{
    struct syn_cli_progress progress;
    struct syn_cli_sim what = {
        .policy = syn_cli_text(cli, "policy", "balanced"),
        .seed = (uint64_t)syn_cli_number(cli, "seed", 0),
        .arrivals_percent = (uint32_t)syn_cli_number(cli, "arrivals", 0),
        .mtbf_ms = syn_cli_number(cli, "failures", 0) * HOUR_MS,
        .repair_ms = syn_cli_number(cli, "repair", HOUR_MS),
        .notice_ms = syn_cli_number(cli, "notice", NOTICE_MS),
        .learn = syn_cli_has(cli, "learn"),
        .spot = syn_cli_has(cli, "spot"),
        .progress = on_progress,
        .progress_arg = &progress,
    };
    const char *picture = syn_cli_text(cli, "plot", NULL);
    SYN_BUF(nodes);
    SYN_BUF(workload);
    SYN_BUF(plot);
    SYN_JSON(report);
    struct syn_err err;
    int rc;

    if (cli->host->simulate == NULL) {
        (void)SYN_FAIL(&err, SYN_E_UNSUPPORTED, "this program has no simulator in it");
        return syn_cli_fail(cli, &err);
    }
    syn_cli_signals_reset(); /* nothing is half done when it ends at once */
    rc = check_options(cli, &err);
    rc = rc < 0 ? rc : read_input(cli, "nodes", &nodes, &what.nodes, &err);
    rc = rc < 0 ? rc : read_input(cli, "workload", &workload, &what.workload, &err);
    syn_cli_progress_init(&progress, cli, "Simulating", 0, false);
    rc = rc < 0 ? rc : cli->host->simulate(&what, &report, picture != NULL ? &plot : NULL, &err);
    if (rc == SYN_OK && progress.drawn)
        syn_cli_progress_done(&progress, progress.total, NULL);
    if (rc == SYN_OK && picture != NULL)
        rc = syn_cli_write_file(picture, &plot, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    return cli->json ? syn_cli_print_json_take(cli, SYN_TAKE(report)) : tell(cli, report);
}

const struct syn_cli_command syn_cli_sim_command = {
    .path = "sim",
    .summary = "Simulate a cluster under a workload: allocation, wait, power, cost",
    .detail =
        "Runs the scheduler and the market that the platform runs, on machines and a workload "
        "from files, or made up from the seed. No platform has to run.\n\n"
        "FILE is comma-separated, with a line of names first: sn, cpu_milli, memory_mib, gpu and "
        "model for machines; cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec, creation_time, "
        "deletion_time and scheduled_time, in seconds, for a workload. What is wrong in it is "
        "named by line and field, and nothing is written.\n\n"
        "With --arrivals pods come in random order and never leave; what does not fit is refused. "
        "Without it they come, run and leave at the workload's times; what does not fit waits. "
        "--failures and --spot need times. docs/sim.md explains every figure.",
    .examples = "synor sim --nodes nodes.csv --workload pods.csv --arrivals 130 --plot out.svg\n"
                "  how full the cluster gets\n"
                "synor sim --nodes gen:1000 --workload gen:20000 --failures 500 --spot\n"
                "  a made-up cluster with failures and spot prices\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .run = run_sim,
};
