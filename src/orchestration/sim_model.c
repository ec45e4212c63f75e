/* What a simulation knows of cards by their names. */
#include <synor/base/str.h>
#include <synor/orchestration/sim.h>

/* Power as the vendors give it, and speed by half-precision rates, A10 being 1000. The openb trace
 * hides two names: G2 is taken for an A10, G3 for an A100. */
static const struct {
    const char *name;
    uint32_t idle_w, context_w, busy_w, speed;
} rows[] = {
    {"T4", 10, 26, 70, 520},        {"P100", 28, 36, 250, 170},  {"V100M16", 37, 52, 300, 1000},
    {"V100M32", 38, 54, 300, 1000}, {"A10", 16, 55, 150, 1000},  {"G2", 16, 55, 150, 1000},
    {"G3", 48, 85, 400, 2500},      {"A100", 48, 85, 400, 2500}, {"H100", 70, 120, 700, 7900}};

bool
syn_sim_model(const char *name, struct syn_fleet_model *ret)
{
    *ret = (struct syn_fleet_model){.name = name,
                                    .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE),
                                    .idle_mw = 20000,
                                    .context_mw = 50000,
                                    .busy_mw = 250000,
                                    .speed = 1000};
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        if (syn_str_eq(rows[i].name, name)) {
            ret->idle_mw = rows[i].idle_w * 1000;
            ret->context_mw = rows[i].context_w * 1000;
            ret->busy_mw = rows[i].busy_w * 1000;
            ret->speed = rows[i].speed;
            return true;
        }
    return false;
}
