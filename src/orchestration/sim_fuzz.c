#include <stdlib.h>
#include <string.h>

#include <synor/orchestration/sim.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says how it goes on: nodes and workload, parted by a '#' line, are read; what is
 * taken is run, where that cannot be long, and must come out with counts that agree. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_sim_free_scope) struct syn_sim *sim = NULL;
    struct syn_sim_options options = {.price_core = 1, .price_gib = 1, .price_card = 1000000};
    const char *text = (const char *)data + 1, *mark;
    SYN_JSON(report);

    if (size < 1)
        return 0;
    options.arrivals_percent = data[0] & 1 ? 100 : 0;
    options.policy = (enum syn_fleet_policy)(data[0] / 2 % SYN_FLEET_POLICIES);
    mark = memchr(text, '#', size - 1);
    if (mark == NULL)
        return 0;
    if (syn_sim_new(&options, &sim, NULL) != 0)
        abort();
    if (syn_sim_read_nodes(sim, "nodes", text, (size_t)(mark - text), NULL) != 0 ||
        syn_sim_read_workload(sim, "pods", mark + 1, size - 2 - (size_t)(mark - text), NULL) != 0)
        return 0;
    if (size > 1024 || syn_sim_run(sim, NULL) != 0)
        return 0;
    syn_sim_check(sim);
    if (syn_sim_report(sim, &report, NULL) != 0)
        abort();
    return 0;
}
