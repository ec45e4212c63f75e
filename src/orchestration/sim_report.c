/* What came of a simulation, as a document. Rates and shares are numbers of the unit in their name;
 * null is what there is no figure for. */
#include <inttypes.h>
#include <math.h>

#include <synor/base/mem.h>

#include "sim_priv.h"

/* As published for the trace: for each node and each ask of the mix, the free part of cards that it
 * cannot use: all when it does not fit, else what is left of cards that are too full for it. */
static int64_t
unusable(const struct syn_sim *sim, uint32_t index, const struct syn_fleet_ask *ask)
{
    const struct sim_node *node = &sim->nodes[index];
    int64_t all = 0, too_full = 0,
            least = ask->mode == SYN_FLEET_CARDS ? SYN_FLEET_WHOLE : ask->share;
    uint32_t good = 0, cards = node->spec.cards;

    for (uint32_t i = 0; i < cards; i++) {
        int64_t rest = SYN_FLEET_WHOLE - node->used[i];

        all += rest;
        if (rest >= least)
            good++;
        else
            too_full += rest;
    }
    if (all == 0)
        return 0;
    if (ask->mode == SYN_FLEET_CARDS && ask->cards == 0)
        return all;
    if (good < SYN_MAX(ask->cards, 1) ||
        (ask->models != 0 && (ask->models >> node->spec.models[0] & 1) == 0) ||
        syn_fleet_node_free(sim->fleet, index, SYN_FLEET_CPU) < ask->need[SYN_FLEET_CPU] ||
        syn_fleet_node_free(sim->fleet, index, SYN_FLEET_MEMORY) < ask->need[SYN_FLEET_MEMORY])
        return all;
    return too_full;
}

double
sim_stranded(const struct syn_sim *sim)
{
    uint32_t every = sim->pods_count / SIM_MIX + 1, asks = 0;
    uint32_t step = sim->nodes_count / SIM_SAMPLE + 1;
    double lost = 0, all = 0;

    for (uint32_t n = 0; n < sim->nodes_count; n += step)
        for (uint32_t i = 0; !sim->nodes[n].down && i < sim->nodes[n].spec.cards; i++)
            all += SYN_FLEET_WHOLE - sim->nodes[n].used[i];
    for (uint32_t p = 0; p < sim->pods_count; p += every) {
        asks++;
        for (uint32_t n = 0; n < sim->nodes_count; n += step)
            if (!sim->nodes[n].down)
                lost += (double)unusable(sim, n, &sim->pods[p].ask);
    }
    return all > 0 ? 100 * lost / all / asks : 0;
}

static int
ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The smallest wait that so many percent of all do not exceed. */
static int64_t
rank(const int64_t *sorted, uint64_t count, unsigned percent)
{
    return sorted[(count * percent + 99) / 100 - 1];
}

static int
add_waits(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    int64_t *sorted;
    json_t *waits = NULL;
    double sum = 0;
    int rc;

    if (sim->placed == 0 || sim->options.arrivals_percent > 0)
        return syn_json_set_take(made, "wait_ms", json_null(), err);
    sorted = syn_calloc((size_t)sim->placed, sizeof(*sorted));
    if (sorted == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the waits");
    memcpy(sorted, sim->waits_ms, (size_t)sim->placed * sizeof(*sorted));
    qsort(sorted, (size_t)sim->placed, sizeof(*sorted), ascending);
    for (uint64_t i = 0; i < sim->placed; i++)
        sum += (double)sorted[i];
    rc = syn_json_pack(
        &waits, err, "{s:I, s:I, s:I, s:I}", "mean", (json_int_t)(sum / (double)sim->placed), "p50",
        (json_int_t)rank(sorted, sim->placed, 50), "p99", (json_int_t)rank(sorted, sim->placed, 99),
        "max", (json_int_t)sorted[sim->placed - 1]);
    syn_free(sorted);
    return rc < 0 ? rc : syn_json_set_take(made, "wait_ms", waits, err);
}

/* Two places after the point are what these are known to. */
static double
percent(double part, double whole)
{
    return whole > 0 ? round(part / whole * 10000) / 100 : 0;
}

/* A figure, or null where there is none. */
static int
set_figure(json_t *obj, const char *key, bool known, double value, struct syn_err *err)
{
    return syn_json_set_take(obj, key, known ? json_real(value) : json_null(), err);
}

static int
add_allocation(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    double all = (double)sim->cards * SYN_FLEET_WHOLE;
    double ran_ms = (double)(sim->now_ms - sim->begun_ms);
    double came_ms = (double)(sim->last_ms - sim->begun_ms);
    double mean = sim->stranded_count > 0 ? sim->stranded_sum / sim->stranded_count : 0;
    json_t *fragmentation = NULL;
    SYN_JSON(allocation);
    int rc = syn_json_pack(&allocation, err, "{s:f, s:f, s:f}", "asked_percent",
                           percent((double)sim->milli_asked, all), "end_percent",
                           percent((double)sim->milli_used, all), "peak_percent",
                           percent((double)sim->milli_peak, all));

    rc = rc < 0 ? rc
                : set_figure(allocation, "mean_percent", ran_ms > 0,
                             percent((double)sim->used_milli_ms, all * ran_ms), err);
    rc = rc < 0 ? rc
                : set_figure(allocation, "arriving_percent", came_ms > 0,
                             percent((double)sim->arriving_milli_ms, all * came_ms), err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "allocation", SYN_TAKE(allocation), err);
    rc = rc < 0
             ? rc
             : syn_json_pack(&fragmentation, err, "{s:f, s:f}", "end_percent",
                             percent(sim_stranded(sim), 100), "mean_percent", percent(mean, 100));
    return rc < 0 ? rc : syn_json_set_take(made, "fragmentation", fragmentation, err);
}

/* In SYNOR, as base units can be more than a JSON integer holds. */
static int
add_money(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    bool timed = sim->options.arrivals_percent == 0;
    double rated = (double)sim->cost_hour_ms / (double)SIM_HOUR_MS / 1e9;
    double paid =
        ((double)sim->spot.paid + (double)sim->spot.noticed_hour / (double)SIM_HOUR_MS) / 1e9;
    double ran_ms = (double)(sim->now_ms - sim->begun_ms);
    json_t *cost = NULL;
    SYN_JSON(energy);
    int rc = syn_json_pack(&energy, err, "{s:f}", "end_watts", round((double)sim->power_mw / 1e3));

    rc =
        rc < 0 ? rc : set_figure(energy, "joules", timed, round((double)sim->energy_uj / 1e6), err);
    rc = rc < 0 ? rc
                : set_figure(energy, "mean_watts", ran_ms > 0,
                             round((double)sim->energy_uj / 1e3 / ran_ms), err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "energy", SYN_TAKE(energy), err);
    if (!timed)
        return rc < 0 ? rc : syn_json_set_take(made, "cost_synor", json_null(), err);
    rc = rc < 0 ? rc
                : syn_json_pack(&cost, err, "{s:f, s:f, s:f}", "total", rated + paid, "listed",
                                rated, "spot", paid);
    return rc < 0 ? rc : syn_json_set_take(made, "cost_synor", cost, err);
}

static int
good_json(const struct syn_sim *sim, uint32_t model, json_t **ret, struct syn_err *err)
{
    const struct sim_good *good = &sim->spot.goods[model];
    struct syn_market_index index =
        syn_exchange_index(sim->spot.exchange, good->class, INT64_MAX / 4);
    double card = SYN_FLEET_WHOLE / 1e9;

    SYN_JSON(made);
    int rc = syn_json_pack(&made, err, "{s:s, s:I, s:f, s:f, s:f, s:f}", "class",
                           syn_exchange_class_name(sim->spot.exchange, good->class), "cards",
                           (json_int_t)good->cards, "list", (double)good->list * card, "end",
                           (double)good->ask * card, "lowest", (double)good->lowest * card,
                           "highest", (double)good->highest * card);

    rc = rc < 0 ? rc
                : set_figure(made, "index", index.basis == SYN_INDEX_TRADES,
                             (double)index.price * card, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

static int
add_spot(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    SYN_JSON(spot);
    SYN_JSON(goods);
    int rc;

    if (!sim->options.spot)
        return syn_json_set_take(made, "spot", json_null(), err);
    rc = syn_json_pack(&spot, err, "{s:I, s:I, s:I, s:I, s:I, s:I}", "hours_bought",
                       (json_int_t)sim->spot.leases, "refused", (json_int_t)sim->spot.refused,
                       "notices", (json_int_t)sim->spot.noticed, "interrupted",
                       (json_int_t)sim->spot.interrupted, "resumed", (json_int_t)sim->spot.resumed,
                       "priced_out", (json_int_t)sim->priced_out);
    rc = rc < 0 ? rc
                : set_figure(spot, "interruption_ms", sim->spot.resumed > 0,
                             round((double)sim->spot.out_ms / (double)sim->spot.resumed), err);
    rc = rc < 0 ? rc : syn_json_pack(&goods, err, "[]");
    for (uint32_t i = 0; rc == SYN_OK && i < sim->models_count; i++) {
        json_t *one = NULL;

        if (sim->spot.goods[i].cards == 0)
            continue;
        rc = good_json(sim, i, &one, err);
        rc = rc < 0 ? rc : syn_json_append_take(goods, one, err);
    }
    rc = rc < 0 ? rc : syn_json_set_take(spot, "prices_card_hour", SYN_TAKE(goods), err);
    return rc < 0 ? rc : syn_json_set_take(made, "spot", SYN_TAKE(spot), err);
}

static int
add_failures(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    json_t *failures = NULL;
    int rc;

    if (sim->options.mtbf_ms == 0)
        return syn_json_set_take(made, "failures", json_null(), err);
    rc = syn_json_pack(
        &failures, err, "{s:I, s:I, s:f}", "nodes", (json_int_t)sim->failures, "restarts",
        (json_int_t)sim->restarts, "lost_card_hours",
        percent((double)sim->lost_milli_ms / (double)SIM_HOUR_MS, SYN_FLEET_WHOLE * 100));
    return rc < 0 ? rc : syn_json_set_take(made, "failures", failures, err);
}

static int
add_decisions(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    bool timed = sim->options.world != NULL && sim->decisions_ns > 0;
    SYN_JSON(decisions);
    int rc = syn_json_pack(&decisions, err, "{s:I}", "count", (json_int_t)sim->decisions);

    rc = rc < 0 ? rc
                : set_figure(
                      decisions, "per_second", timed,
                      round((double)sim->decisions * 1e9 / (double)SYN_MAX(sim->decisions_ns, 1)),
                      err);
    rc = rc < 0 ? rc
                : set_figure(decisions, "changes_ms", timed, round((double)sim->changes_ns / 1e6),
                             err);
    return rc < 0 ? rc : syn_json_set_take(made, "decisions", SYN_TAKE(decisions), err);
}

/* --- what waits ------------------------------------------------------------------------------ */

/* Those that ask for the same. */
struct sim_alike {
    uint32_t run; /* the first of them */
    uint32_t count;
};

static int
most_first(const void *a, const void *b)
{
    const struct sim_alike *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->run > y->run) - (x->run < y->run);
}

/* What waits for room, by what it asks for, the most first; of very many kinds, the first. */
static size_t
count_alike(const struct syn_sim *sim, struct sim_alike alike[SIM_ALIKE])
{
    size_t count = 0;

    for (uint32_t i = 0; i < sim->runs_count; i++) {
        size_t at = 0;

        if (sim->runs[i].state != SIM_QUEUED)
            continue;
        while (at < count &&
               memcmp(&sim->pods[sim->runs[alike[at].run].pod].ask,
                      &sim->pods[sim->runs[i].pod].ask, sizeof(struct syn_fleet_ask)) != 0)
            at++;
        if (at == SIM_ALIKE)
            continue;
        if (at == count)
            alike[count++] = (struct sim_alike){.run = i};
        alike[at].count++;
    }
    qsort(alike, count, sizeof(*alike), most_first);
    return count;
}

/* As a workload has it: models joined by bars, nothing for any. */
static void
name_models(const struct syn_sim *sim, uint64_t models, struct syn_buf *out)
{
    for (uint32_t i = 0; i < sim->models_count; i++)
        if ((models >> i & 1) != 0)
            syn_buf_addf(out, "%s%s", out->len > 0 ? "|" : "", sim->model_names[i]);
}

static int
alike_json(const struct syn_sim *sim, const struct sim_alike *alike, json_t **ret,
           struct syn_err *err)
{
    const struct syn_fleet_ask *ask = &sim->pods[sim->runs[alike->run].pod].ask;
    int64_t milli = ask->cards == 0 ? 0 : sim_milli(ask) / (int64_t)ask->cards;
    const char *why;
    SYN_JSON(said);
    SYN_BUF(models);
    int rc = syn_fleet_explain(sim->fleet, alike->run, &said, err);

    name_models(sim, ask->models, &models);
    rc = rc < 0 ? rc : syn_buf_ok(&models, err);
    if (rc < 0)
        return rc;
    why = syn_json_str(json_array_get(json_object_get(said, "why"), 0), "message", "");
    return syn_json_pack(
        ret, err, "{s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "pods", (json_int_t)alike->count,
        "cpu_milli", (json_int_t)ask->need[SYN_FLEET_CPU], "memory_mib",
        (json_int_t)(ask->need[SYN_FLEET_MEMORY] >> 20), "num_gpu", (json_int_t)ask->cards,
        "gpu_milli", (json_int_t)milli, "gpu_spec", syn_buf_text(&models), "why", why);
}

static int
add_waiting(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    struct sim_alike alike[SIM_ALIKE];
    size_t count = count_alike(sim, alike);
    SYN_JSON(list);
    int rc = syn_json_pack(&list, err, "[]");

    for (size_t i = 0; rc == SYN_OK && i < SYN_MIN(count, SIM_ALIKE_TOLD); i++) {
        json_t *one = NULL;

        rc = alike_json(sim, &alike[i], &one, err);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    return rc < 0 ? rc : syn_json_set_take(made, "waiting_for", SYN_TAKE(list), err);
}

static int
add_curve(const struct syn_sim *sim, json_t *made, struct syn_err *err)
{
    SYN_JSON(curve);
    int rc = syn_json_pack(&curve, err, "[]");

    for (uint32_t i = 0; rc == SYN_OK && i < sim->points_count; i++) {
        json_t *point = NULL;

        rc = syn_json_pack(&point, err, "[f, f]", percent(sim->points[i].asked_percent, 100),
                           percent(sim->points[i].given_percent, 100));
        rc = rc < 0 ? rc : syn_json_append_take(curve, point, err);
    }
    return rc < 0 ? rc : syn_json_set_take(made, "curve", SYN_TAKE(curve), err);
}

int
syn_sim_report(const struct syn_sim *sim, json_t **ret, struct syn_err *err)
{
    struct syn_fleet_totals totals;
    bool by_times = sim->options.arrivals_percent == 0;
    SYN_JSON(made);
    int rc;

    syn_fleet_total(sim->fleet, &totals);
    rc = syn_json_pack(
        &made, err, "{s:s, s:I, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "policy",
        syn_fleet_policy_name(sim->options.policy), "seed", (json_int_t)sim->options.seed, "learn",
        sim->options.learn, "mode", by_times ? "times" : "arrivals", "nodes",
        (json_int_t)sim->nodes_count, "nodes_used", (json_int_t)totals.nodes_used, "cards",
        (json_int_t)sim->cards, "arrived", (json_int_t)sim->arrived, "placed",
        (json_int_t)sim->placed, "refused", (json_int_t)sim->turned_away, "finished",
        (json_int_t)sim->finished, "waiting", (json_int_t)sim->queued + sim->priced_out,
        "duration_ms", (json_int_t)(sim->now_ms - sim->begun_ms));
    rc = rc < 0 ? rc : add_allocation(sim, made, err);
    rc = rc < 0 ? rc : add_waits(sim, made, err);
    rc = rc < 0 ? rc : add_money(sim, made, err);
    rc = rc < 0 ? rc : add_failures(sim, made, err);
    rc = rc < 0 ? rc : add_spot(sim, made, err);
    rc = rc < 0 ? rc : add_waiting(sim, made, err);
    rc = rc < 0 ? rc : add_decisions(sim, made, err);
    rc = rc < 0 ? rc : add_curve(sim, made, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}
