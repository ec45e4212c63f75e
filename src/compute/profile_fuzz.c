/* Profiles from strangers: what parses can be found by its name, keeps to the limits and can be
 * estimated with. */
#include <stdlib.h>

#include <synor/profile.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct syn_profiles *profiles, const struct syn_profile *profile)
{
    struct syn_work work = {.flops = UINT64_MAX, .read_bytes = 1, .written_bytes = 1};
    struct syn_profile whole, again;

    if (syn_profiles_find(profiles, profile->name) != profile || profile->sources_count == 0)
        abort();
    (void)syn_profile_assume(profile, &whole);
    if (syn_profile_assume(&whole, &again) & ~(unsigned)SYN_ASSUMED_RATE)
        abort(); /* nothing is left to assume */
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        int64_t ns;

        work.dtype = (enum syn_dtype)i;
        ns = syn_profile_work_ns(&whole, &work);
        if (ns < 0 || syn_profile_work_uj(&whole, &work, ns) < 0)
            abort();
    }
    if (syn_profile_link_ns(&whole.host, UINT64_MAX) < 0 ||
        syn_profile_power_mw(&whole, 1000) < syn_profile_power_mw(&whole, 0))
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_profiles_free_scope) struct syn_profiles *profiles = NULL;
    struct syn_err err = {0};

    if (syn_profiles_parse((const char *)data, size, &profiles, &err) < 0) {
        if (err.msg[0] == '\0')
            abort();
        return 0;
    }
    if (syn_profiles_count(profiles) > SYN_PROFILES_MAX)
        abort();
    for (size_t i = 0; i < syn_profiles_count(profiles); i++)
        check(profiles, syn_profiles_at(profiles, i));
    return 0;
}
