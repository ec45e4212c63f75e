#include <synor/orchestration/power.h>

#include <synor/base/str.h>
#include <synor/profile.h>

#define SPEED_ONE_M    125000 /* 10^6 operations a second in half precision: a speed of one */
#define CONTEXT_TENTHS 1      /* of what lies between idle and busy power: a context, no work */
#define SPEED_SLOW     500    /* of a card that nobody knows, or rates: that of a T4 */
#define MW_MAX         100000000

/* Price books name what is sold, profiles what was built. Where one word sells several builds, the
 * one that is built most. */
static const struct {
    const char *model, *profile;
} builds[] = {
    {"rtx4090", "rtx-4090"}, {"a100-80gb", "a100-sxm-80"}, {"a100-40gb", "a100-sxm-40"},
    {"a100", "a100-sxm-80"}, {"h100", "h100-sxm"},         {"h200", "h200-sxm"},
};

static const struct syn_profile *
profile_of(const char *named, const char *model)
{
    const struct syn_profiles *profiles = syn_profiles_builtin();
    const struct syn_profile *found = NULL;

    if (!profiles)
        return NULL;
    if (named && *named)
        found = syn_profiles_find(profiles, named);
    for (size_t i = 0; i < SYN_LEN(builds) && !found; i++)
        if (syn_str_eq(builds[i].model, model))
            found = syn_profiles_find(profiles, builds[i].profile);
    if (!found)
        found = syn_profiles_find(profiles, model);
    return found && found->kind == SYN_KIND_GPU ? found : NULL;
}

/* Cards whose vendor's driver cuts them into eighths. */
static enum syn_fleet_geometry
geometry_of(const char *profile)
{
    static const char *const eighths[] = {"a100-", "h100-", "h200-", "b200"};

    for (size_t i = 0; i < SYN_LEN(eighths); i++)
        if (syn_str_starts(profile, eighths[i]))
            return SYN_FLEET_EIGHTHS;
    return SYN_FLEET_UNDIVIDED;
}

int
syn_power_card(const char *profile, const char *model, struct syn_fleet_model *ret,
               struct syn_err *err)
{
    static const struct syn_profile unknown = {.kind = SYN_KIND_GPU};
    const struct syn_profile *found = profile_of(profile, model);
    struct syn_profile full;
    uint64_t idle, busy, speed;

    if (!syn_profiles_builtin())
        return SYN_FAIL(err, SYN_E_NOMEM, "reading the capability profiles: out of memory");
    (void)syn_profile_assume(found ? found : &unknown, &full);
    busy = SYN_MIN(full.tdp_mw, (uint64_t)MW_MAX);
    idle = SYN_MIN(full.idle_mw, busy);
    speed = full.flops_m[SYN_DTYPE_FP16] / SPEED_ONE_M;
    ret->idle_mw = (uint32_t)idle;
    ret->context_mw = (uint32_t)(idle + (busy - idle) * CONTEXT_TENTHS / 10);
    ret->busy_mw = (uint32_t)busy;
    ret->speed = (uint32_t)(speed > 0 ? SYN_MIN(speed, UINT64_C(1000000)) : SPEED_SLOW);
    ret->geometry = found ? geometry_of(found->name) : SYN_FLEET_UNDIVIDED;
    return found ? SYN_OK : SYN_POWER_UNKNOWN;
}

uint32_t
syn_power_cores(int64_t millicores)
{
    static const struct syn_profile core = {.kind = SYN_KIND_CPU};
    struct syn_profile full;
    int64_t mw;

    (void)syn_profile_assume(&core, &full);
    mw = SYN_MIN(millicores, SYN_FLEET_QUANTITY_MAX) / 1000 * (int64_t)full.idle_mw;
    return (uint32_t)SYN_MIN(mw, (int64_t)MW_MAX);
}
