/* compute devices: the processors of this machine, what they are rated at and what they do. Looks
 * at the machine itself; no platform has to run. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/device_bench.h>
#include <synor/device_json.h>

#include "cli_priv.h"
#include "commands_priv.h"

#define RATE_MAX 24

static const struct syn_cli_option options[] = {
    {"drivers", 0, "LIST", SYN_CLI_TEXT, 0, 0, false, false, NULL, "all",
     "Only ask these drivers: cpu,opencl"},
    {"modelled", 0, "LIST", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Add a modelled device for each of these profiles; it is no capacity"},
    {"timeout", 0, "TIME", SYN_CLI_DURATION, 1, SYN_PROBE_MS_MAX, false, false, NULL, "5s",
     "How long a driver may take to answer before it is left alone"},
};

static int
open_registry(const struct syn_cli *cli, struct syn_registry **ret, struct syn_err *err)
{
    const struct syn_registry_options how = {
        .drivers = syn_cli_text(cli, "drivers", NULL),
        .modelled = syn_cli_text(cli, "modelled", NULL),
        .probe_ms = syn_cli_number(cli, "timeout", 0),
    };

    return syn_registry_open(&how, ret, err);
}

/* "989.4 T", "1978.9 T", "2 P" as "2.0 P": a rate of 10^6 a second, without loss up to five digits;
 * "-" when unknown. */
static const char *
format_rate(uint64_t rate_m, char *out)
{
    static const char prefixes[] = "MGTPE";
    uint64_t value = rate_m * 10;
    size_t i = 0;

    if (rate_m == 0)
        return "-";
    while (prefixes[i + 1] != '\0' && (value >= 100000 || (value >= 10000 && value % 1000 == 0))) {
        value = (value + 500) / 1000;
        i++;
    }
    (void)snprintf(out, RATE_MAX, "%llu.%llu %c", (unsigned long long)(value / 10),
                   (unsigned long long)(value % 10), prefixes[i]);
    return out;
}

/* Bytes for people, or "-". */
static const char *
format_bytes(uint64_t bytes, char *out)
{
    if (bytes == 0)
        return "-";
    return syn_format_bytes((int64_t)SYN_MIN(bytes, (uint64_t)INT64_MAX), out);
}

static const char *
note_of(const struct syn_device_info *info)
{
    if (info->modelled)
        return "modelled: no capacity";
    switch (info->share) {
    case SYN_SHARE_SLICE:
        return "slice of a device";
    case SYN_SHARE_SERVED:
        return "shared through a server";
    case SYN_SHARE_HOST:
        return "the host's own cores";
    case SYN_SHARE_WHOLE:
        break;
    }
    return "";
}

/* --- list ------------------------------------------------------------------------------------ */

static void
say_drivers(const struct syn_cli *cli, const struct syn_registry *registry)
{
    for (size_t i = 0; i < syn_registry_drivers_count(registry); i++) {
        const struct syn_driver_report *report = syn_registry_driver(registry, i);

        if (report->state != SYN_DRIVER_READY && report->state != SYN_DRIVER_SKIPPED &&
            !syn_str_eq(report->name, "modelled"))
            syn_cli_note(cli, "%s: %s: %s", report->name, syn_driver_state_name(report->state),
                         report->reason);
    }
}

/* {"items", "next"}, as every list; drivers, nodes and links are told by `describe`. */
static int
list_json(const struct syn_cli *cli, struct syn_registry *registry)
{
    SYN_JSON(items);
    struct syn_err err;

    items = json_array();
    for (size_t i = 0; i < syn_registry_count(registry); i++) {
        json_t *device = NULL;

        if (syn_device_json(registry, i, false, &device, &err) < 0 ||
            syn_json_append_take(items, device, &err) < 0)
            return syn_cli_fail(cli, &err);
    }
    return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
}

static int
run_list(struct syn_cli *cli)
{
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;

    if (open_registry(cli, &registry, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json) {
        say_drivers(cli, registry);
        return list_json(cli, registry);
    }
    if (syn_cli_rows_new("ID|KIND|MODEL|>UNITS|>MEMORY|PROFILE|NOTE", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    for (size_t i = 0; i < syn_registry_count(registry); i++) {
        const struct syn_device_info *info = syn_registry_device(registry, i);
        char bytes[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%s", info->id);
        syn_cli_cell(rows, "%s", syn_kind_name(info->kind));
        syn_cli_cell(rows, "%s", info->model);
        if (info->units > 0)
            syn_cli_cell(rows, "%u", info->units);
        else
            syn_cli_cell(rows, "-");
        syn_cli_cell(rows, "%s", format_bytes(info->memory_bytes, bytes));
        syn_cli_cell(rows, "%s", info->profile[0] != '\0' ? info->profile : "-");
        syn_cli_cell(rows, "%s", note_of(info));
    }
    say_drivers(cli, registry);
    return syn_cli_rows_print(cli, rows, "No device.");
}

const struct syn_cli_command syn_cli_devices_list = {
    .path = "compute devices list",
    .summary = "List the processors of this machine",
    .detail = "Asks every driver at the same time and waits for each only so long: what a broken "
              "installation does not answer is said on standard error.",
    .examples = "synor compute devices list\n"
                "  what there is, and what is missing on standard error\n"
                "synor compute devices list --modelled h100-sxm,tpu-v4\n"
                "  with two devices made from capability profiles\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .run = run_list,
};

/* --- describe -------------------------------------------------------------------------------- */

static const struct syn_cli_operand device_operand[] = {
    {"DEVICE", SYN_CLI_TEXT, false, false, "Id of a device; all of them and the machine without"},
};

static int
describe_all(const struct syn_cli *cli, struct syn_registry *registry)
{
    SYN_JSON(answer);
    SYN_JSON(topology);
    json_t *devices = NULL;
    struct syn_err err;

    if (syn_registry_json(registry, &answer, &err) < 0 ||
        syn_topology_json(syn_registry_topology(registry), &topology, &err) < 0 ||
        syn_json_set_take(answer, "topology", SYN_TAKE(topology), &err) < 0)
        return syn_cli_fail(cli, &err);
    devices = json_object_get(answer, "devices");
    for (size_t i = 0; i < syn_registry_count(registry); i++) {
        json_t *device = NULL;

        if (syn_device_json(registry, i, true, &device, &err) < 0)
            return syn_cli_fail(cli, &err);
        if (json_array_set_new(devices, i, device) != 0) {
            (void)SYN_FAIL(&err, SYN_E_NOMEM, "document");
            return syn_cli_fail(cli, &err);
        }
    }
    return syn_cli_print_json_take(cli, SYN_TAKE(answer));
}

static int
run_describe(struct syn_cli *cli)
{
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    SYN_JSON(answer);
    const char *id = syn_cli_operand(cli, 0);
    struct syn_err err;
    size_t index = 0;

    if (open_registry(cli, &registry, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (!id)
        return describe_all(cli, registry);
    if (syn_registry_find(registry, id, &index, &err) < 0 ||
        syn_device_json(registry, index, true, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_print_json_take(cli, SYN_TAKE(answer));
}

const struct syn_cli_command syn_cli_devices_describe = {
    .path = "compute devices describe",
    .summary = "Show a device, or the whole machine, in full",
    .detail =
        "Prints JSON. Without DEVICE also the drivers, the memory nodes and the links between "
        "them, and the topology: cores, NUMA nodes, shared caches, accelerators on PCIe. What "
        "nobody "
        "knows is left out.",
    .examples = "synor compute devices describe cpu0\n"
                "  features, formats, state and load of the host's cores\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .operands = device_operand,
    .operand_count = SYN_LEN(device_operand),
    .run = run_describe,
};

/* --- profiles -------------------------------------------------------------------------------- */

static const struct syn_cli_operand profile_operand[] = {
    {"PROFILE", SYN_CLI_TEXT, false, false, "Show this one in full, with its sources"},
};

static int
list_profiles(const struct syn_cli *cli, const struct syn_profiles *profiles)
{
    static const enum syn_dtype shown[] = {SYN_DTYPE_FP64, SYN_DTYPE_FP32, SYN_DTYPE_BF16,
                                           SYN_DTYPE_FP8E4M3, SYN_DTYPE_INT8};
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;

    if (syn_cli_rows_new("PROFILE|KIND|>FP64/s|>FP32/s|>BF16/s|>FP8/s|>INT8/s|>MEMORY|>B/s|>W",
                         &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    for (size_t i = 0; i < syn_profiles_count(profiles); i++) {
        const struct syn_profile *p = syn_profiles_at(profiles, i);
        char text[RATE_MAX], bytes[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%s", p->name);
        syn_cli_cell(rows, "%s", syn_kind_name(p->kind));
        for (size_t k = 0; k < SYN_LEN(shown); k++)
            syn_cli_cell(rows, "%s", format_rate(p->flops_m[shown[k]], text));
        syn_cli_cell(rows, "%s", format_bytes(p->memory_bytes, bytes));
        syn_cli_cell(rows, "%s", format_rate(p->memory_mb_s, text));
        if (p->tdp_mw > 0)
            syn_cli_cell(rows, "%llu", (unsigned long long)(p->tdp_mw / 1000));
        else
            syn_cli_cell(rows, "-");
    }
    return syn_cli_rows_print(cli, rows, "No profile.");
}

static int
run_profiles(struct syn_cli *cli)
{
    const struct syn_profiles *profiles = syn_profiles_builtin();
    const char *name = syn_cli_operand(cli, 0);
    const struct syn_profile *profile = NULL;
    SYN_JSON(list);
    SYN_JSON(one);
    struct syn_err err;

    if (!profiles) {
        (void)SYN_FAIL(&err, SYN_E_NOMEM, "profiles");
        return syn_cli_fail(cli, &err);
    }
    if (name) {
        profile = syn_profiles_find(profiles, name);
        if (!profile)
            (void)SYN_FAIL(&err, SYN_E_NOTFOUND,
                           "no capability profile is called %s; see: synor compute devices "
                           "profiles",
                           name);
        if (!profile || syn_profile_json(profile, &one, &err) < 0)
            return syn_cli_fail(cli, &err);
        return syn_cli_print_json_take(cli, SYN_TAKE(one));
    }
    if (!cli->json)
        return list_profiles(cli, profiles);
    list = json_array();
    for (size_t i = 0; i < syn_profiles_count(profiles); i++) {
        json_t *made = NULL;

        if (syn_profile_json(syn_profiles_at(profiles, i), &made, &err) < 0 ||
            syn_json_append_take(list, made, &err) < 0)
            return syn_cli_fail(cli, &err);
    }
    return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", list, "next"));
}

const struct syn_cli_command syn_cli_devices_profiles = {
    .path = "compute devices profiles",
    .summary = "List what models of processors are rated at",
    .detail = "The figures are their makers', dense, with sources; \"-\" is not published. What "
              "an estimate assumes in its place is under estimates_use.",
    .examples = "synor compute devices profiles h100-sxm\n"
                "  one profile in full, with its sources\n",
    .operands = profile_operand,
    .operand_count = SYN_LEN(profile_operand),
    .run = run_profiles,
};

/* --- bench ----------------------------------------------------------------------------------- */

static const struct syn_cli_operand bench_operand[] = {
    {"DEVICE", SYN_CLI_TEXT, false, true, "Ids of devices; all without"},
};

static const char *
format_figure(enum syn_bench_item item, uint64_t value, char *out)
{
    char rate[RATE_MAX];

    if (value == 0)
        return "-";
    if (syn_str_eq(syn_bench_unit(item), "ns")) {
        (void)snprintf(out, SYN_FORMAT_MAX, "%llu.%llu us", (unsigned long long)(value / 1000),
                       (unsigned long long)(value / 100 % 10));
    } else {
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%s", format_rate(value, rate),
                       syn_str_eq(syn_bench_unit(item), "MB/s") ? "B/s" : "FLOPS");
    }
    return out;
}

static int
figure_json(const struct syn_bench_figure *figure, enum syn_bench_item item, json_t **ret,
            struct syn_err *err)
{
    SYN_JSON(made);
    int rc = syn_json_pack(&made, err, "{s:s, s:s, s:b}", "item", syn_bench_name(item), "unit",
                           syn_bench_unit(item), "measured", figure->measured);

    if (rc == SYN_OK && figure->measured) {
        rc = syn_json_set_i64(made, "median", (int64_t)figure->value, err);
        rc = rc < 0 ? rc : syn_json_set_i64(made, "best", (int64_t)figure->best, err);
        rc = rc < 0 ? rc : syn_json_set_i64(made, "rounds", figure->rounds, err);
    } else if (rc == SYN_OK) {
        rc = syn_json_set_str(made, "why", figure->why, err);
    }
    if (rc == SYN_OK && figure->rated > 0)
        rc = syn_json_set_i64(made, "rated", (int64_t)figure->rated, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

static void
figure_rows(struct syn_cli_table_out *rows, const char *id, const struct syn_bench_figure *figures)
{
    for (unsigned i = 0; i < SYN_BENCH_ITEMS; i++) {
        enum syn_bench_item item = (enum syn_bench_item)i;
        const struct syn_bench_figure *figure = &figures[i];
        char text[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%s", id);
        syn_cli_cell(rows, "%s", syn_bench_name(item));
        syn_cli_cell(rows, "%s", figure->measured ? format_figure(item, figure->value, text) : "-");
        syn_cli_cell(rows, "%s", figure->measured ? format_figure(item, figure->best, text) : "-");
        syn_cli_cell(rows, "%s", format_figure(item, figure->rated, text));
        if (figure->measured && figure->rated > 0)
            syn_cli_cell(rows, "%llu %%",
                         (unsigned long long)(figure->value * 100 / figure->rated));
        else
            syn_cli_cell(rows, "%s", figure->measured ? "" : figure->why);
    }
}

static int
bench_one(const struct syn_cli *cli, struct syn_registry *registry, size_t index,
          struct syn_cli_table_out *rows, json_t *items, struct syn_err *err)
{
    const struct syn_device_info *info = syn_registry_device(registry, index);
    struct syn_bench_figure figures[SYN_BENCH_ITEMS];
    SYN_JSON(list);
    SYN_JSON(one);
    int rc;

    syn_cli_note(cli, "measuring %s (%s)", info->id, info->model);
    rc = syn_device_bench(registry, index, figures, err);
    if (rc < 0)
        return rc;
    figure_rows(rows, info->id, figures);
    list = json_array();
    for (unsigned i = 0; rc == SYN_OK && i < SYN_BENCH_ITEMS; i++) {
        json_t *made = NULL;

        rc = figure_json(&figures[i], (enum syn_bench_item)i, &made, err);
        rc = rc < 0 ? rc : syn_json_append_take(list, made, err);
    }
    rc = rc < 0 ? rc
                : syn_json_pack(&one, err, "{s:s, s:s, s:O}", "id", info->id, "model", info->model,
                                "figures", list);
    return rc < 0 ? rc : syn_json_append_take(items, SYN_TAKE(one), err);
}

static int
run_bench(struct syn_cli *cli)
{
    SYN_SCOPED(syn_registry_close_scope) struct syn_registry *registry = NULL;
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    struct syn_err err;
    int rc;

    if (open_registry(cli, &registry, &err) < 0 ||
        syn_cli_rows_new("DEVICE|WHAT|>MEDIAN|>BEST|>RATED|>OF RATED", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    items = json_array();
    rc = SYN_OK;
    for (size_t i = 0; rc == SYN_OK && i < cli->line.operand_count; i++) {
        size_t index = 0;

        rc = syn_registry_find(registry, syn_cli_operand(cli, i), &index, &err);
        rc = rc < 0 ? rc : bench_one(cli, registry, index, rows, items, &err);
    }
    for (size_t i = 0; rc == SYN_OK && cli->line.operand_count == 0 &&
                       i < syn_registry_count(registry) && !syn_cli_interrupted();
         i++) {
        if (!syn_registry_device(registry, i)->modelled)
            rc = bench_one(cli, registry, i, rows, items, &err);
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    return syn_cli_rows_print(cli, rows, "Nothing to measure.");
}

const struct syn_cli_command syn_cli_devices_bench = {
    .path = "compute devices bench",
    .summary = "Measure devices and hold them against their ratings",
    .detail = "A few seconds a device: what a launch and a small copy take, copies both ways, "
              "memory by a triad, and arithmetic of the vector units. Medians of several rounds; "
              "other work on the machine lowers them. The rating of generic cores is that of "
              "their instruction set, times cores and nominal clock, which a boost exceeds.",
    .examples = "synor compute devices bench cpu0\n"
                "  the host's cores alone\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .operands = bench_operand,
    .operand_count = SYN_LEN(bench_operand),
    .run = run_bench,
};
