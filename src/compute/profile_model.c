/* Estimates from a profile: a roofline for time, a straight line between idle and design power for
 * energy. Integers throughout, rounded up, saturating. */
#include <synor/profile.h>

/* What is assumed where a maker publishes nothing: at the slow and hungry end of what is measured
 * on such devices, so that a plan does not count on what may not be there. docs/devices.md lists
 * these. */
static const struct {
    uint64_t memory_bytes, memory_mb_s, launch_ns, host_mb_s, host_latency_ns, tdp_mw;
    unsigned idle_permille;
} assumed[] = {
    [SYN_KIND_CPU] = {UINT64_C(1) << 30, 10000, 200, 10000, 100, 10000, 300},
    [SYN_KIND_GPU] = {UINT64_C(1) << 30, 50000, 8000, 12000, 10000, 300000, 200},
    [SYN_KIND_TPU] = {UINT64_C(1) << 30, 50000, 20000, 12000, 10000, 250000, 300},
    [SYN_KIND_NPU] = {UINT64_C(1) << 30, 30000, 100000, 8000, 20000, 10000, 200},
    [SYN_KIND_LPU] = {UINT64_C(1) << 28, 1000000, 10000, 12000, 10000, 300000, 300},
    [SYN_KIND_FPGA] = {UINT64_C(1) << 30, 20000, 50000, 8000, 20000, 100000, 400},
    [SYN_KIND_DSP] = {UINT64_C(1) << 20, 1000, 10000, 500, 10000, 5000, 300},
    [SYN_KIND_WEBGPU] = {UINT64_C(1) << 30, 30000, 50000, 8000, 50000, 100000, 200},
    [SYN_KIND_WASM] = {UINT64_C(1) << 30, 5000, 1000, 5000, 100, 10000, 300},
};
static_assert(SYN_LEN(assumed) == SYN_KINDS, "a row for each kind");

/* From the widest to the narrowest: a format without a rate is taken to be no faster than the next
 * wider one that has one. */
static const enum syn_dtype float_chain[] = {SYN_DTYPE_FP64,   SYN_DTYPE_FP32, SYN_DTYPE_TF32,
                                             SYN_DTYPE_BF16,   SYN_DTYPE_FP16, SYN_DTYPE_FP8E4M3,
                                             SYN_DTYPE_FP8E5M2};
static const enum syn_dtype int_chain[] = {SYN_DTYPE_INT64,  SYN_DTYPE_UINT64, SYN_DTYPE_INT32,
                                           SYN_DTYPE_UINT32, SYN_DTYPE_INT16,  SYN_DTYPE_INT8,
                                           SYN_DTYPE_UINT8,  SYN_DTYPE_INT4};

static unsigned
bits_of(enum syn_dtype dtype)
{
    return syn_dtype_info(dtype)->bits;
}

static uint64_t
quartered(uint64_t rate, unsigned times_as_wide)
{
    return rate / times_as_wide / times_as_wide;
}

/* Fill the missing rates of one chain. A format below a rated one gets the rate of the next wider
 * one; one above all rated ones, a quarter of the next narrower one for every doubling of the
 * width, as the size of a multiplier goes with the square. */
static bool
assume_chain(struct syn_profile *p, const enum syn_dtype *chain, size_t count)
{
    uint64_t rates[8] = {0};
    bool filled = false;
    size_t first = count;

    assert(count <= SYN_LEN(rates));
    for (size_t i = 0; i < count; i++) {
        rates[i] = p->flops_m[chain[i]];
        if (rates[i] > 0 && first == count)
            first = i;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t rate = p->flops_m[chain[i]];

        if (rate > 0 || !(p->dtypes & SYN_BIT(chain[i])))
            continue;
        if (i > first) {
            for (size_t k = i; rate == 0; k--)
                rate = rates[k - 1];
        } else if (first < count) {
            rate = quartered(rates[first], bits_of(chain[i]) / bits_of(chain[first]));
        } else {
            rate = p->unstated_m;
        }
        p->flops_m[chain[i]] = rate;
        filled = filled || rate > 0;
    }
    return filled;
}

/* The slowest rate of all that are known: what is left to say of a format in a chain without one.
 */
static uint64_t
slowest(const struct syn_profile *p)
{
    uint64_t rate = p->unstated_m;

    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        if (p->flops_m[i] > 0 && (rate == 0 || p->flops_m[i] < rate))
            rate = p->flops_m[i];
    }
    return rate;
}

/* What the vector units do to integers of 16 bits and more, no matrix unit helps with: those are
 * not faster than fp32, where that is known. */
static void
cap_integers(const struct syn_profile *rated, struct syn_profile *p)
{
    static const enum syn_dtype wide[] = {SYN_DTYPE_INT16, SYN_DTYPE_INT32, SYN_DTYPE_UINT32,
                                          SYN_DTYPE_INT64, SYN_DTYPE_UINT64};
    uint64_t cap =
        p->vector_m[SYN_DTYPE_FP32] > 0 ? p->vector_m[SYN_DTYPE_FP32] : p->flops_m[SYN_DTYPE_FP32];

    for (size_t i = 0; cap > 0 && i < SYN_LEN(wide); i++) {
        if (rated->flops_m[wide[i]] == 0)
            p->flops_m[wide[i]] = SYN_MIN(p->flops_m[wide[i]], cap);
    }
}

static bool
assume_rates(struct syn_profile *p)
{
    const struct syn_profile rated = *p;
    bool filled = assume_chain(p, float_chain, SYN_LEN(float_chain));
    uint64_t rest;

    filled = assume_chain(p, int_chain, SYN_LEN(int_chain)) || filled;
    cap_integers(&rated, p);
    rest = slowest(p);
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        uint64_t rate = rest;

        if (p->flops_m[i] > 0 || !(p->dtypes & SYN_BIT(i)))
            continue;
        if (i == SYN_DTYPE_C64 && p->flops_m[SYN_DTYPE_FP32] > 0)
            rate = p->flops_m[SYN_DTYPE_FP32];
        if (i == SYN_DTYPE_C128 && p->flops_m[SYN_DTYPE_FP64] > 0)
            rate = p->flops_m[SYN_DTYPE_FP64];
        p->flops_m[i] = rate;
        filled = filled || rate > 0;
    }
    return filled;
}

/* Fill *field if it is 0. */
static unsigned
fill(uint64_t *field, uint64_t value, enum syn_assumed bit)
{
    if (*field > 0)
        return 0;
    *field = value;
    return bit;
}

unsigned
syn_profile_assume(const struct syn_profile *profile, struct syn_profile *ret)
{
    unsigned bits = 0;

    assert(profile->kind < SYN_KINDS);
    *ret = *profile;
    if (assume_rates(ret))
        bits |= SYN_ASSUMED_RATE;
    bits |= fill(&ret->memory_bytes,
                 ret->local_bytes > 0 ? ret->local_bytes : assumed[ret->kind].memory_bytes,
                 SYN_ASSUMED_MEMORY);
    bits |= fill(&ret->memory_mb_s, assumed[ret->kind].memory_mb_s, SYN_ASSUMED_MEMORY_RATE);
    bits |= fill(&ret->launch_ns, assumed[ret->kind].launch_ns, SYN_ASSUMED_LAUNCH);
    bits |= fill(&ret->host.mb_s, assumed[ret->kind].host_mb_s, SYN_ASSUMED_HOST_LINK);
    bits |= fill(&ret->host.latency_ns, assumed[ret->kind].host_latency_ns, SYN_ASSUMED_HOST_LINK);
    bits |= fill(&ret->peer.mb_s, ret->host.mb_s, SYN_ASSUMED_PEER_LINK);
    bits |= fill(&ret->peer.latency_ns, ret->host.latency_ns, SYN_ASSUMED_PEER_LINK);
    bits |= fill(&ret->tdp_mw, assumed[ret->kind].tdp_mw, SYN_ASSUMED_TDP);
    bits |= fill(&ret->idle_mw, ret->tdp_mw * assumed[ret->kind].idle_permille / 1000,
                 SYN_ASSUMED_IDLE);
    return bits;
}

static int64_t
saturate(syn_u128 value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* `amount` at `rate` times 10^6 a second, in ns, rounded up. */
static syn_u128
ns_at(syn_u128 amount, uint64_t rate)
{
    return (amount * 1000 + rate - 1) / rate;
}

static uint64_t
rate_of(const struct syn_profile *profile, const struct syn_work *work)
{
    assert(work->dtype < SYN_DTYPES);
    if (!work->matrix && profile->vector_m[work->dtype] > 0)
        return profile->vector_m[work->dtype];
    return profile->flops_m[work->dtype];
}

/* How long arithmetic or memory is busy; UINT64_MAX-like when the format is not there. */
static syn_u128
busy_ns(const struct syn_profile *profile, const struct syn_work *work)
{
    uint64_t rate = rate_of(profile, work);
    syn_u128 bytes = (syn_u128)work->read_bytes + work->written_bytes;
    syn_u128 compute = 0, traffic;

    assert(profile->memory_mb_s > 0); /* a profile without holes */
    if (work->flops > 0 && rate == 0)
        return INT64_MAX;
    if (work->flops > 0)
        compute = ns_at(work->flops, rate);
    traffic = ns_at(bytes, profile->memory_mb_s);
    return SYN_MAX(compute, traffic);
}

int64_t
syn_profile_work_ns(const struct syn_profile *profile, const struct syn_work *work)
{
    return saturate(busy_ns(profile, work) + profile->launch_ns);
}

int64_t
syn_profile_link_ns(const struct syn_profile_link *link, uint64_t bytes)
{
    assert(link->mb_s > 0);
    return saturate(ns_at(bytes, link->mb_s) + link->latency_ns);
}

int64_t
syn_profile_work_uj(const struct syn_profile *profile, const struct syn_work *work, int64_t ns)
{
    syn_u128 busy = busy_ns(profile, work), idle_part, busy_part;
    uint64_t above = profile->tdp_mw > profile->idle_mw ? profile->tdp_mw - profile->idle_mw : 0;

    assert(ns >= 0);
    busy = SYN_MIN(busy, (syn_u128)ns);
    idle_part = (syn_u128)profile->idle_mw * (syn_u128)ns;
    busy_part = (syn_u128)above * busy;
    return saturate((idle_part + busy_part) / 1000000); /* mW * ns = 10^-6 uJ */
}

int64_t
syn_profile_power_mw(const struct syn_profile *profile, unsigned load_permille)
{
    uint64_t above = profile->tdp_mw > profile->idle_mw ? profile->tdp_mw - profile->idle_mw : 0;

    assert(load_permille <= 1000);
    return saturate(profile->idle_mw + (syn_u128)above * load_permille / 1000);
}
