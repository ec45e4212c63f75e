/* `synor sim`: the simulator with the product's prices and the machine's clock. */
#include <synor/base/world.h>
#include <synor/daemon/daemon.h>
#include <synor/market/pricebook.h>
#include <synor/orchestration/sim.h>

extern const char syn_builtin_pricebook[];
extern const size_t syn_builtin_pricebook_len;

static int
set_prices(struct syn_sim_options *options, struct syn_err *err)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = NULL;
    const struct {
        const char *item;
        enum syn_measure measure;
        int64_t *price;
    } rows[] = {{"cpu", SYN_MEASURE_MILLICORE_MS, &options->price_core},
                {"memory", SYN_MEASURE_BYTE_MS, &options->price_gib},
                {"gpu:a100-80gb", SYN_MEASURE_GPU_MS, &options->price_card}};
    int rc = syn_pricebook_parse(syn_builtin_pricebook, syn_builtin_pricebook_len, &book, err);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(rows); i++) {
        const struct syn_price *price = NULL;

        rc = syn_pricebook_get(book, rows[i].item, rows[i].measure, &price, err);
        if (rc == SYN_OK)
            *rows[i].price = price->price;
    }
    return rc;
}

int
syn_daemon_simulate(const struct syn_daemon_sim *given, json_t **ret, struct syn_buf *plot,
                    struct syn_err *err)
{
    struct syn_sim_options options = {.seed = given->seed,
                                      .learn = given->learn,
                                      .arrivals_percent = given->arrivals_percent,
                                      .mtbf_ms = given->mtbf_ms,
                                      .repair_ms = given->repair_ms,
                                      .notice_ms = given->notice_ms,
                                      .spot = given->spot,
                                      .progress = given->progress,
                                      .progress_arg = given->progress_arg,
                                      .world = syn_world_system()};
    SYN_SCOPED(syn_sim_free_scope) struct syn_sim *sim = NULL;
    int policy = syn_fleet_policy_find(given->policy);
    int rc;

    if (policy < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "policy: there is no '%.40s'", given->policy);
    options.policy = (enum syn_fleet_policy)policy;
    rc = set_prices(&options, err);
    rc = rc < 0 ? rc : syn_sim_new(&options, &sim, err);
    if (rc == SYN_OK && given->nodes.text != NULL)
        rc = syn_sim_read_nodes(sim, given->nodes.name, given->nodes.text, given->nodes.len, err);
    else if (rc == SYN_OK)
        rc = syn_sim_make_nodes(sim, given->nodes.count, err);
    if (rc == SYN_OK && given->workload.text != NULL)
        rc = syn_sim_read_workload(sim, given->workload.name, given->workload.text,
                                   given->workload.len, err);
    else if (rc == SYN_OK)
        rc = syn_sim_make_workload(sim, given->workload.count, err);
    rc = rc < 0 ? rc : syn_sim_run(sim, err);
    if (rc == SYN_OK && plot != NULL)
        rc = syn_sim_plot(sim, plot, err);
    return rc < 0 ? rc : syn_sim_report(sim, ret, err);
}
