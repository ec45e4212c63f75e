/* What would make a request fit: each way is tried on the real arithmetic before it is offered, so
 * no advice is given that would not help.
 *
 *   1. wait        it fits once running work has ended
 *   2. one change  the mildest value of one option, the others kept
 *   3. cluster     a silent or drained node comes back
 *   4. together    several options at once, to what the closest node has free
 *   5. join        a node that is large enough; always true, always last */
#include <synor/orchestration/place.h>

#include "cluster_priv.h"
#include "place_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>

struct fixer {
    const struct syn_cluster *cluster;
    const struct syn_place_request *request;
    json_t *fix;
    unsigned request_changes; /* ways found that change one option */
};

static int fix_add(struct fixer *fixer, struct syn_err *err, const char *format, ...)
    SYN_PRINTF(3, 4);

static int
fix_add(struct fixer *fixer, struct syn_err *err, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return syn_json_append_take(fixer->fix, json_string(text), err);
}

static bool
fits(const struct fixer *fixer, const struct syn_place_request *request)
{
    bool fit;

    if (!tie_any(fixer->request))
        return fit_gang(fixer->cluster, request, fit_now);
    tie_look(fixer->cluster, request); /* another request, other ties */
    fit = fit_gang(fixer->cluster, request, fit_now);
    tie_look(fixer->cluster, fixer->request);
    return fit;
}

/* The largest value of *slot (a field of `trial`) in 1..*slot-1 with which it fits, or 0. */
static int64_t
largest(const struct fixer *fixer, const struct syn_place_request *trial, int64_t *slot)
{
    int64_t low = 0, high = *slot;

    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        *slot = middle;
        if (fits(fixer, trial))
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Rounded down to what a person would write, as long as something is left. */
static int64_t
rounded(int64_t value, int64_t step)
{
    return value > step ? value - value % step : value;
}

/* `--memory 3gb` takes whole units: write sizes in MiB, or bytes when smaller. */
static const char *
size_option(int64_t bytes, char *out)
{
    const int64_t mib = INT64_C(1) << 20;

    if (bytes >= mib)
        (void)snprintf(out, SYN_FORMAT_MAX, "%lldmb", (long long)(bytes / mib));
    else
        (void)snprintf(out, SYN_FORMAT_MAX, "%lldb", (long long)bytes);
    return out;
}

static int
fix_amounts(struct fixer *fixer, struct syn_err *err)
{
    const int64_t mib = INT64_C(1) << 20;
    struct syn_place_request trial = *fixer->request;
    char text[SYN_FORMAT_MAX];
    int64_t value = largest(fixer, &trial, &trial.amounts.cpu_millicores);
    int rc = SYN_OK;

    if (value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for fewer CPUs a worker: --cpus %s",
                     syn_format_cpus(rounded(value, 100), text));
    trial = *fixer->request;
    value = largest(fixer, &trial, &trial.amounts.memory_bytes);
    if (rc == SYN_OK && value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less memory a worker: --memory %s",
                     size_option(rounded(value, mib), text));
    trial = *fixer->request;
    value = largest(fixer, &trial, &trial.amounts.scratch_bytes);
    if (rc == SYN_OK && value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less scratch space a worker: --scratch %s",
                     size_option(rounded(value, mib), text));
    trial = *fixer->request;
    value = largest(fixer, &trial, &trial.bandwidth_bps);
    if (rc == SYN_OK && value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less bandwidth a worker: --bandwidth %lldmbit",
                     (long long)SYN_MAX(value / 1000000, INT64_C(1)));
    return rc;
}

/* A model with which it fits, "" when none is there. */
static const char *
fitting_model(const struct fixer *fixer)
{
    struct syn_place_request trial = *fixer->request;

    for (size_t i = 0; i < syn_cluster_count(fixer->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(fixer->cluster, i);

        for (unsigned g = 0; g < node->gpus_count; g++) {
            trial.gpu_model = node->gpus[g].model;
            if (fits(fixer, &trial))
                return node->gpus[g].model;
        }
    }
    return "";
}

/* Another partition with which it fits, the first that a node has; "" when there is none. */
static const char *
fitting_part(const struct fixer *fixer)
{
    struct syn_place_request trial = *fixer->request;

    for (size_t i = 0; i < syn_cluster_count(fixer->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(fixer->cluster, i);

        for (unsigned g = 0; g < node->gpus_count; g++)
            for (unsigned c = 0; c < node->gpus[g].cuts_count; c++) {
                trial.mig = node->gpus[g].cuts[c].name;
                if (fits(fixer, &trial))
                    return trial.mig;
            }
    }
    return "";
}

static int
fix_part(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    int64_t low = 0, high = trial.gpu_share, value;
    const char *other = fit_text(trial.mig) ? fitting_part(fixer) : "";
    char text[SYN_FORMAT_MAX];
    int rc = SYN_OK;

    if (!fit_part(&trial) || fits(fixer, &trial))
        return SYN_OK;
    while (high - low > 1) {
        trial.gpu_share = (uint32_t)((low + high) / 2);
        if (fits(fixer, &trial))
            low = trial.gpu_share;
        else
            high = trial.gpu_share;
    }
    if (low > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less of the GPU's time: --gpu-share 0.%03lld",
                     (long long)low);
    trial = *fixer->request;
    value = largest(fixer, &trial, &trial.gpu_share_bytes);
    if (rc == SYN_OK && value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less of the GPU's memory: --gpu-memory %s",
                     size_option(rounded(value, INT64_C(1) << 20), text));
    if (rc == SYN_OK && *other && ++fixer->request_changes)
        rc = fix_add(fixer, err, "take a partition that is free: --mig %s", other);
    trial = *fixer->request;
    trial.gpu_share = 0;
    trial.gpu_share_bytes = 0;
    trial.mig = NULL;
    if (rc == SYN_OK && fits(fixer, &trial) && ++fixer->request_changes)
        rc = fix_add(fixer, err, "take a whole GPU: --gpus 1, without %s",
                     fit_text(fixer->request->mig) ? "--mig" : "--gpu-share");
    return rc;
}

static int
fix_gpus(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    const char *model;
    char text[SYN_FORMAT_MAX];
    int64_t value;
    int rc = fix_part(fixer, err);

    if (rc < 0 || trial.gpus == 0)
        return rc;
    do {
        trial.gpus--;
    } while (trial.gpus > 0 && !fits(fixer, &trial));
    if (!fit_part(&trial) && fits(fixer, &trial) && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for fewer GPUs a worker: --gpus %lld", (long long)trial.gpus);
    trial = *fixer->request;
    model = trial.gpu_model && *trial.gpu_model ? fitting_model(fixer) : "";
    if (rc == SYN_OK && *model && ++fixer->request_changes)
        rc = fix_add(fixer, err, "take another GPU model: --gpu-type %s", model);
    value = largest(fixer, &trial, &trial.vram_min_bytes);
    if (rc == SYN_OK && value > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "ask for less memory a GPU: --min-vram %s",
                     size_option(rounded(value, INT64_C(1) << 20), text));
    trial = *fixer->request;
    trial.capability = 0;
    if (rc == SYN_OK && fixer->request->capability && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc = fix_add(fixer, err, "take older GPUs: leave out --gpu-capability %u.%u",
                     fixer->request->capability / 10, fixer->request->capability % 10);
    return rc;
}

/* How a node comes to have a sandbox. */
static const char *
sandbox_source(enum syn_isolation isolation)
{
    if (isolation == SYN_ISOLATION_KATA)
        return "install containerd and containerd-shim-kata-v2, and start it with "
               "--runtime container";
    if (isolation == SYN_ISOLATION_NAMESPACE)
        return "start it anew with --allow-namespace-sandbox; synor doctor says what else it lacks";
    return isolation == SYN_ISOLATION_RUNC ? "apt install runc, and start it anew"
                                           : "apt install runsc, and start it anew";
}

static int
fix_isolation(struct fixer *fixer, struct syn_err *err)
{
    int rc = fix_add(fixer, err, "take the isolation that is there: --isolation auto");

    return rc < 0 ? rc
                  : fix_add(fixer, err, "have a node make it: %s",
                            sandbox_source(fixer->request->isolation));
}

static int
fix_choices(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    int rc = SYN_OK;

    trial.region = NULL;
    if (fixer->request->region && *fixer->request->region && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc =
            fix_add(fixer, err, "leave out --region %s: it fits elsewhere", fixer->request->region);
    trial = *fixer->request;
    trial.isolation = SYN_ISOLATION_AUTO;
    if (rc == SYN_OK && fixer->request->isolation != SYN_ISOLATION_AUTO && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc = fix_isolation(fixer, err);
    trial = *fixer->request;
    trial.networks = false;
    if (rc == SYN_OK && fixer->request->networks && fits(fixer, &trial) && ++fixer->request_changes)
        rc = fix_add(fixer, err,
                     "have a node make networks: apt install nftables, and start it anew as root");
    trial = *fixer->request;
    trial.labels[0] = NULL;
    if (rc == SYN_OK && fixer->request->labels[0] && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc = fix_add(fixer, err, "leave out --label: it fits on other nodes");
    trial = *fixer->request;
    trial.count = fit_most(fixer->cluster, &trial, fit_now);
    if (rc == SYN_OK && trial.count > 0 && ++fixer->request_changes)
        rc = fix_add(fixer, err, "start fewer workers: --workers %u", trial.count);
    return rc;
}

/* How a machine gets a framework for its own Python. */
static const char *
framework_source(const char *name)
{
    if (syn_str_eq(name, "pytorch"))
        return "apt install python3-torch";
    if (syn_str_eq(name, "onnx"))
        return "apt install python3-onnx, or /usr/bin/python3 -m pip install "
               "--break-system-packages onnxruntime";
    return syn_str_eq(name, "jax")
               ? "/usr/bin/python3 -m pip install --break-system-packages jax"
               : "/usr/bin/python3 -m pip install --break-system-packages tensorflow";
}

/* How a machine gets an interpreter that functions can be run by. */
static const struct {
    const char *language;
    const char *runtime; /* of any version */
    const char *package;
} interpreters[] = {
    {"python", "python3", "python3"},
    {"node", "node", "nodejs"},
    {"ruby", "ruby", "ruby"},
    {"java", "java", "default-jre-headless"},
};

static int
fix_runtime(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    size_t at = 0;
    int rc = SYN_OK;

    while (at + 1 < SYN_LEN(interpreters) &&
           !syn_str_eq(trial.framework, interpreters[at].language))
        at++;
    trial.framework_version = NULL;
    if (fits(fixer, &trial))
        rc = fix_add(fixer, err, "take the version that is there: --runtime %s",
                     interpreters[at].runtime);
    trial.framework = NULL;
    if (rc < 0 || !fits(fixer, &trial) || !++fixer->request_changes)
        return rc;
    rc =
        fix_add(fixer, err, "install it on a node, which tells of it by itself: apt-get install %s",
                interpreters[at].package);
    return rc < 0 ? rc : fix_add(fixer, err, "bring it in an image: --runtime custom:IMAGE");
}

static int
fix_framework(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    const char *name = trial.framework;
    int rc = SYN_OK;

    trial.framework_version = NULL;
    if (!name || !*name || fits(fixer, fixer->request))
        return SYN_OK;
    if (syn_node_is_language(name))
        return fix_runtime(fixer, err);
    if (fits(fixer, &trial))
        rc = fix_add(fixer, err, "take the version that is there: --framework %s", name);
    trial.framework = NULL;
    if (rc < 0 || !fits(fixer, &trial) || !++fixer->request_changes)
        return rc;
    if (!fixer->request->framework_version || !*fixer->request->framework_version)
        rc = fix_add(fixer, err, "install it on a node, which tells of it by itself: %s",
                     framework_source(name));
    if (rc == SYN_OK)
        rc = fix_add(fixer, err, "bring it in an image: --image synor://NAME");
    if (rc == SYN_OK)
        rc = fix_add(fixer, err, "if the program does without it: --framework custom");
    return rc;
}

/* Distances, and where others run. */
static int
fix_ties(struct fixer *fixer, struct syn_err *err)
{
    const struct syn_place_request *request = fixer->request;
    struct syn_place_request trial = *request;
    int64_t nearest = -1;
    int rc = SYN_OK;

    trial.rtt_max_us = 0;
    if (request->rtt_max_us > 0 && fits(fixer, &trial)) {
        for (size_t i = 0; i < syn_cluster_count(fixer->cluster); i++) {
            const struct syn_node_view *node = syn_cluster_at(fixer->cluster, i);

            if (node->near_us >= 0 && (nearest < 0 || node->near_us < nearest) &&
                fit_units(node, &trial, fit_now) > 0)
                nearest = node->near_us;
        }
        trial.rtt_max_us = (nearest + 999) / 1000 * 1000;
        if (nearest >= 0 && fits(fixer, &trial) && ++fixer->request_changes)
            rc = fix_add(fixer, err, "allow a longer round trip: --latency-to %s:%lld",
                         request->near, (long long)(trial.rtt_max_us / 1000));
        else if (nearest < 0)
            rc = fix_add(fixer, err,
                         "nobody has said how far its nodes are from %s: synor node latency",
                         request->near);
    }
    trial = *request;
    trial.with.group = NULL;
    if (rc == SYN_OK && fit_text(request->with.group) && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc = fix_add(fixer, err, "leave out --affinity group=%s: it fits elsewhere",
                     request->with.group);
    trial = *request;
    trial.apart.group = NULL;
    if (rc == SYN_OK && fit_text(request->apart.group) && fits(fixer, &trial) &&
        ++fixer->request_changes)
        rc = fix_add(fixer, err, "leave out --anti-affinity group=%s: it fits beside them",
                     request->apart.group);
    trial = *request;
    trial.even = 0;
    if (rc == SYN_OK && request->even > 0 && fits(fixer, &trial) && ++fixer->request_changes)
        rc = fix_add(fixer, err, "leave out --spread: it fits where more of the group are");
    return rc;
}

static int
fix_wait(struct fixer *fixer, struct syn_err *err)
{
    if (!fit_gang(fixer->cluster, fixer->request, (struct fit_view){.empty = true}))
        return SYN_OK;
    return fix_add(fixer, err, "wait: it fits once running work has ended, and starts by itself");
}

static int
fix_nodes(struct fixer *fixer, struct syn_err *err)
{
    int rc = SYN_OK;

    if (!fit_gang(fixer->cluster, fixer->request, (struct fit_view){.open = true}))
        return SYN_OK;
    for (size_t i = 0; i < syn_cluster_count(fixer->cluster) && rc == SYN_OK; i++) {
        const struct syn_node_view *node = syn_cluster_at(fixer->cluster, i);

        if (json_array_size(fixer->fix) >= SYN_PLACE_ROWS_MAX || node->state == SYN_NODE_LEFT ||
            syn_node_view_open(node) ||
            fit_units(node, fixer->request, (struct fit_view){.open = true}) == 0)
            continue;
        if (node->state == SYN_NODE_SILENT)
            rc = fix_add(fixer, err, "bring %s back: its agent does not report", node->id);
        else
            rc = fix_add(fixer, err, "let %s take work again: synor node drain %s --off", node->id,
                         node->id);
    }
    return rc;
}

/* The open node with the fewest things missing; NULL when none is open. */
static const struct syn_node_view *
closest(const struct fixer *fixer, uint32_t units)
{
    const struct syn_node_view *best = NULL;
    int best_lacks = DIMS + 1;

    for (size_t i = 0; i < syn_cluster_count(fixer->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(fixer->cluster, i);
        uint32_t bits = fit_lacks(node, fixer->request, units, fit_now);
        int lacks = __builtin_popcount(bits);

        if (!(bits & SYN_BIT(DIM_NODE)) && lacks < best_lacks) {
            best = node;
            best_lacks = lacks;
        }
    }
    return best;
}

/* Bring every amount down to what `units` members can have there. */
static void
lower_to(struct syn_place_request *trial, const struct syn_node_view *node, int64_t units)
{
    const struct syn_amounts *has = &node->capacity, *used = &node->used;
    struct syn_amounts *need = &trial->amounts;
    int64_t room = SYN_MAX(0, has->cpu_millicores - used->cpu_millicores) / units;

    if (need->cpu_millicores > room)
        need->cpu_millicores = rounded(room, 100);
    room = SYN_MAX(0, has->memory_bytes - used->memory_bytes) / units;
    if (need->memory_bytes > room)
        need->memory_bytes = rounded(room, INT64_C(1) << 20);
    room = SYN_MAX(0, has->scratch_bytes - used->scratch_bytes) / units;
    if (need->scratch_bytes > room)
        need->scratch_bytes = rounded(room, INT64_C(1) << 20);
    while (trial->gpus > 0 && fit_lacks(node, trial, (uint32_t)units, fit_now) & SYN_BIT(DIM_GPUS))
        trial->gpus--;
    if (trial->gpus == 0)
        trial->gpu_model = NULL;
    if (trial->region && *trial->region && !syn_str_eq(trial->region, node->region))
        trial->region = NULL;
    if (syn_node_view_sandbox(node, trial->isolation, trial->gpus > 0) == SYN_ISOLATION_AUTO)
        trial->isolation = SYN_ISOLATION_AUTO;
    if (!syn_node_view_framework(node, trial->framework, trial->framework_version))
        trial->framework = NULL;
}

static int
fix_together(struct fixer *fixer, struct syn_err *err)
{
    const struct syn_place_request *request = fixer->request;
    struct syn_place_request trial = *request;
    uint32_t units = request->one_node ? request->count : 1;
    const struct syn_node_view *node = closest(fixer, units);
    SYN_BUF(options);
    char text[SYN_FORMAT_MAX];
    int rc;

    if (fixer->request_changes > 0 || !node || fit_part(request))
        return SYN_OK;
    lower_to(&trial, node, units);
    if (trial.amounts.cpu_millicores == 0 || trial.amounts.memory_bytes == 0 ||
        !fits(fixer, &trial))
        return SYN_OK;
    if (trial.gpus != request->gpus)
        syn_buf_addf(&options, " --gpus %lld", (long long)trial.gpus);
    if (trial.amounts.cpu_millicores != request->amounts.cpu_millicores)
        syn_buf_addf(&options, " --cpus %s", syn_format_cpus(trial.amounts.cpu_millicores, text));
    if (trial.amounts.memory_bytes != request->amounts.memory_bytes)
        syn_buf_addf(&options, " --memory %s", size_option(trial.amounts.memory_bytes, text));
    if (trial.amounts.scratch_bytes != request->amounts.scratch_bytes)
        syn_buf_addf(&options, " --scratch %s", size_option(trial.amounts.scratch_bytes, text));
    if (trial.isolation != request->isolation)
        syn_buf_adds(&options, " --isolation auto");
    if (trial.framework != request->framework && syn_node_is_language(request->framework))
        syn_buf_addf(&options, " --runtime custom:IMAGE, with %s", request->framework);
    else if (trial.framework != request->framework)
        syn_buf_addf(&options, " --framework custom, or an image with %s", request->framework);
    if (trial.region != request->region)
        syn_buf_addf(&options, ", without --region %s", request->region);
    rc = syn_buf_ok(&options, err);
    if (rc < 0)
        return rc;
    return fix_add(fixer, err, "%s comes closest; ask together for%s", node->id,
                   syn_buf_text(&options));
}

/* The lowest ceiling under which it fits. Fitting grows with the ceiling, so bisection finds it. */
static int
fix_price(struct fixer *fixer, struct syn_err *err)
{
    struct syn_place_request trial = *fixer->request;
    int64_t low = trial.price_max, high = SYN_AMOUNT_MAX;
    char text[SYN_FORMAT_MAX];

    trial.price_max = high;
    if (low == 0 || !fits(fixer, &trial))
        return SYN_OK;
    while (high - low > 1) {
        trial.price_max = low + (high - low) / 2;
        if (fits(fixer, &trial))
            high = trial.price_max;
        else
            low = trial.price_max;
    }
    fixer->request_changes++;
    return fix_add(fixer, err, "pay up to %s SYNOR an hour for a worker: --max-price %s",
                   syn_format_amount(high, text), text);
}

static int
fix_join(struct fixer *fixer, struct syn_err *err)
{
    const struct syn_place_request *request = fixer->request;
    int64_t units = request->one_node ? request->count : 1;
    char cpus[SYN_FORMAT_MAX], memory[SYN_FORMAT_MAX], scratch[SYN_FORMAT_MAX], gpus[96] = "";
    bool model = request->gpu_model && *request->gpu_model;

    if (request->gpus > 0)
        (void)snprintf(gpus, sizeof(gpus), ", %lld %s%s", (long long)request->gpus * units,
                       model ? "x " : syn_plural(request->gpus * units, "GPU", "GPUs"),
                       model ? request->gpu_model : "");
    return fix_add(fixer, err,
                   "join a node with at least %s %s, %s of memory, %s of scratch space%s free: "
                   "synor agent --server URL --token TOKEN",
                   syn_format_cpus(request->amounts.cpu_millicores * units, cpus),
                   request->amounts.cpu_millicores * units == 1000 ? "CPU" : "CPUs",
                   syn_format_bytes(request->amounts.memory_bytes * units, memory),
                   syn_format_bytes(request->amounts.scratch_bytes * units, scratch), gpus);
}

int
syn_place_explain(const struct syn_cluster *cluster, const struct syn_place_request *request,
                  json_t **ret_why, json_t **ret_fix, struct syn_err *err)
{
    struct fixer fixer = {.cluster = cluster, .request = request};
    int (*const ways[])(struct fixer *, struct syn_err *) = {
        fix_wait,    fix_price, fix_framework, fix_gpus,     fix_amounts,
        fix_choices, fix_ties,  fix_nodes,     fix_together, fix_join};
    SYN_JSON(why);
    SYN_JSON(fix);
    int rc = place_check(request, err);

    if (rc < 0)
        return rc;
    why = json_array();
    fix = json_array();
    if (!why || !fix)
        return SYN_FAIL(err, SYN_E_NOMEM, "explaining a placement: out of memory");
    fixer.fix = fix;
    tie_look(cluster, request);
    if (request->good) {
        rc = keep_row(cluster, request, why, err);
    } else if (!fit_gang(cluster, request, fit_now)) {
        rc = place_rows(cluster, request, why, err);
        for (size_t i = 0; i < SYN_LEN(ways) && rc == SYN_OK; i++)
            rc = ways[i](&fixer, err);
    }
    if (rc < 0)
        return rc;
    *ret_why = SYN_TAKE(why);
    *ret_fix = SYN_TAKE(fix);
    return SYN_OK;
}
