#include <synor/base/test.h>

#include <string.h>

#include <synor/profile.h>

#define HEAD "[a]\ntitle = A\nvendor = V\nkind = gpu\nsource = S\n"

static void
test_builtin_table(void **state)
{
    static const char *const wanted[] = {
        "h100-sxm",     "h200-sxm",      "a100-sxm-40",     "a100-sxm-80",    "rtx-4090",
        "l40s",         "mi300x",        "max-1550",        "m1-gpu",         "tpu-v2",
        "tpu-v3",       "tpu-v4",        "tpu-v5e",         "tpu-v5p",        "edge-tpu",
        "m1-ane",       "intel-npu-4",   "hexagon-x-elite", "groq-lpu",       "alveo-u280",
        "agilex-7",     "ti-c7x-tda4vm", "adi-sharc-21369", "cpu-x86-avx512", "cpu-arm-sve",
        "cpu-riscv-rvv"};
    const struct syn_profiles *profiles = syn_profiles_builtin();

    (void)state;
    assert_non_null(profiles);
    for (size_t i = 0; i < SYN_LEN(wanted); i++) {
        if (!syn_profiles_find(profiles, wanted[i]))
            fail_msg("no profile %s", wanted[i]);
    }
    assert_null(syn_profiles_find(profiles, "h1000"));
    assert_ptr_equal(profiles, syn_profiles_builtin());
}

/* Each profile of the table: a rate of some sort, sources, and figures in a believable order. */
static void
test_builtin_figures(void **state)
{
    const struct syn_profiles *profiles = syn_profiles_builtin();

    (void)state;
    for (size_t i = 0; i < syn_profiles_count(profiles); i++) {
        const struct syn_profile *p = syn_profiles_at(profiles, i);
        uint64_t rates = p->unstated_m;

        for (unsigned k = 0; k < SYN_DTYPES; k++) {
            rates |= p->flops_m[k];
            if (p->vector_m[k] > p->flops_m[k])
                fail_msg("%s: %s is faster without matrix units", p->name, syn_dtype_name(k));
        }
        if (rates == 0 || p->operations == 0 || p->formats == 0 || p->sources_count == 0)
            fail_msg("%s: a rate, operations, programs or sources are missing", p->name);
        if (p->tdp_mw > 0 && p->idle_mw > p->tdp_mw)
            fail_msg("%s: more power idle than at work", p->name);
        if (p->flops_m[SYN_DTYPE_FP64] > 0 && p->flops_m[SYN_DTYPE_FP32] > 0)
            assert_true(p->flops_m[SYN_DTYPE_FP64] <= p->flops_m[SYN_DTYPE_FP32]);
    }
}

static void
test_h100_as_published(void **state)
{
    const struct syn_profile *p = syn_profiles_find(syn_profiles_builtin(), "h100-sxm");

    (void)state;
    assert_int_equal(p->kind, SYN_KIND_GPU);
    assert_int_equal(p->flops_m[SYN_DTYPE_FP16], 989400000);
    assert_int_equal(p->flops_m[SYN_DTYPE_FP8E4M3], 1978900000);
    assert_int_equal(p->flops_m[SYN_DTYPE_FP8E5M2], 1978900000);
    assert_int_equal(p->flops_m[SYN_DTYPE_UINT8], 1978900000);
    assert_int_equal(p->flops_m[SYN_DTYPE_INT4], 0);
    assert_int_equal(p->vector_m[SYN_DTYPE_FP64], 33500000);
    assert_int_equal(p->memory_bytes, 80000000000);
    assert_int_equal(p->memory_mb_s, 3352000);
    assert_int_equal(p->tdp_mw, 700000);
    assert_int_equal(p->idle_mw, 0); /* not published */
    assert_string_equal(p->peer.name, "NVLink 4");
}

static void
test_matching(void **state)
{
    static const struct {
        enum syn_kind kind;
        const char *device, *profile;
    } rows[] = {
        {SYN_KIND_GPU, "NVIDIA H100 80GB HBM3", "h100-sxm"},
        {SYN_KIND_GPU, "NVIDIA H100 PCIe", "h100-pcie"},
        {SYN_KIND_GPU, "NVIDIA H200", "h200-sxm"},
        {SYN_KIND_GPU, "NVIDIA A100-SXM4-80GB", "a100-sxm-80"},
        {SYN_KIND_GPU, "Apple M1", "m1-gpu"},
        {SYN_KIND_GPU, "Apple M1 Max", "m1-max-gpu"},
        {SYN_KIND_CPU, "NVIDIA H200", NULL},
        {SYN_KIND_GPU, "NVIDIA T1000", NULL},
        {SYN_KIND_GPU, "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const struct syn_profile *found =
            syn_profiles_match(syn_profiles_builtin(), rows[i].kind, rows[i].device);

        if (rows[i].profile) {
            assert_non_null(found);
            assert_string_equal(found->name, rows[i].profile);
        } else {
            assert_null(found);
        }
    }
}

static void
test_refused(void **state)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"title = A\n", "before the first"},
        {"[A]\n", "a name is"},
        {"[a]\n[b]\n", "profile a has no title"},
        {HEAD HEAD, "line 6: a is there twice"},
        {"[a]\ntitle = A\nvendor = V\nkind = gpu\n", "no source"},
        {"[a]\ntitle = A\nvendor = V\nsource = S\n", "no kind"},
        {HEAD "kind = gpu\n", "kind is there twice"},
        {HEAD "fp32 = 1T/s\nfp32 = 1T/s\n", "fp32 is there twice"},
        {HEAD "fp32 =\n", "leave out"},
        {HEAD "fp32 = fast\n", "no number"},
        {HEAD "fp32 = 1.T/s\n", "no number"},
        {HEAD "fp32 = 1234567890123456G/s\n", "no number"},
        {HEAD "fp32 = 1T\n", "must end in /s"},
        {HEAD "fp32 = 1.2345678T/sec\n", "must end in /s"},
        {HEAD "fp32 = 0.5K/s\n", "finer"},
        {HEAD "fp32 = 0T/s\n", "out of range"},
        {HEAD "memory = 999999999999999PB\n", "too large"},
        {HEAD "fp31 = 1T/s\n", "unknown key fp31"},
        {HEAD "kindly = cpu\n", "unknown key"},
        {HEAD "numbers = fp32 fp33\n", "unknown word fp33"},
        {HEAD "year = 0\n", "year"},
        {HEAD "nonsense\n", "neither"},
        {HEAD "title2\xff = x\n", "UTF-8"},
        {"[a]\ntitle = A\nvendor = V\nkind = cat\n", "no kind of processor cat"},
        {HEAD "source = 2\nsource = 3\nsource = 4\nsource = 5\nsource = 6\nsource = 7\n",
         "more than 6 sources"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_profiles *profiles = NULL;
        struct syn_err err = {0};

        assert_code(syn_profiles_parse(rows[i].text, strlen(rows[i].text), &profiles, &err),
                    SYN_E_INVALID, &err);
        assert_null(profiles);
        if (!strstr(err.msg, rows[i].part))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, rows[i].part);
    }
}

static void
test_limits(void **state)
{
    static char text[SYN_PROFILE_BYTES_MAX + 1];
    SYN_SCOPED(syn_profiles_free_scope) struct syn_profiles *profiles = NULL;
    struct syn_err err = {0};
    size_t len = 0;

    (void)state;
    memset(text, '\n', sizeof(text));
    assert_code(syn_profiles_parse(text, sizeof(text), &profiles, &err), SYN_E_TOOBIG, &err);
    assert_done(syn_profiles_parse(text, sizeof(text) - 1, &profiles, &err), &err);
    assert_int_equal(syn_profiles_count(profiles), 0);
    profiles = syn_profiles_free(profiles);
    for (int i = 0; i <= SYN_PROFILES_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "[n%d]\ntitle=A\nvendor=V\nkind=cpu\nsource=S\n", i);
    assert_code(syn_profiles_parse(text, len, &profiles, &err), SYN_E_TOOBIG, &err);
    memset(text, 'x', 600);
    assert_code(syn_profiles_parse(text, 600, &profiles, &err), SYN_E_INVALID, &err);
}

static int
parse_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_profiles_free_scope) struct syn_profiles *profiles = NULL;

    (void)arg;
    return syn_profiles_parse(HEAD, strlen(HEAD), &profiles, err);
}

static void
test_short_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(parse_scenario, NULL) > 0);
}

static void
test_assumptions(void **state)
{
    const struct syn_profiles *profiles = syn_profiles_builtin();
    struct syn_profile whole;
    unsigned bits;

    (void)state;
    bits = syn_profile_assume(syn_profiles_find(profiles, "h100-sxm"), &whole);
    assert_int_equal(bits, SYN_ASSUMED_RATE | SYN_ASSUMED_LAUNCH | SYN_ASSUMED_HOST_LINK |
                               SYN_ASSUMED_PEER_LINK | SYN_ASSUMED_IDLE);
    assert_int_equal(whole.flops_m[SYN_DTYPE_INT4], 0); /* Hopper has none */
    assert_int_equal(whole.flops_m[SYN_DTYPE_C64], 66900000);
    assert_int_equal(whole.flops_m[SYN_DTYPE_INT32], 66900000);
    assert_int_equal(whole.host.mb_s, 64000);
    /* A TPU's fp32 is taken to run at a quarter of the rate of its bf16. */
    (void)syn_profile_assume(syn_profiles_find(profiles, "tpu-v4"), &whole);
    assert_int_equal(whole.flops_m[SYN_DTYPE_FP32], 68750000);
    assert_int_equal(whole.flops_m[SYN_DTYPE_FP64], 0);
    /* The Neural Engine's rate has no stated format; the one it computes in gets it. */
    (void)syn_profile_assume(syn_profiles_find(profiles, "m1-ane"), &whole);
    assert_int_equal(whole.flops_m[SYN_DTYPE_FP16], 11000000);
    for (size_t i = 0; i < syn_profiles_count(profiles); i++) {
        const struct syn_profile *p = syn_profiles_at(profiles, i);

        (void)syn_profile_assume(p, &whole);
        for (unsigned k = 0; k < SYN_DTYPES; k++) {
            if ((whole.flops_m[k] > 0) != ((p->dtypes & SYN_BIT(k)) != 0))
                fail_msg("%s: %s is computed with and has no rate, or the reverse", p->name,
                         syn_dtype_name(k));
        }
    }
}

static void
test_roofline(void **state)
{
    struct syn_profile whole;
    struct syn_work work = {.dtype = SYN_DTYPE_FP64};
    struct syn_profile_link link = {.mb_s = 1000, .latency_ns = 7};
    int64_t ns;

    (void)state;
    (void)syn_profile_assume(syn_profiles_find(syn_profiles_builtin(), "a100-sxm-40"), &whole);
    whole.launch_ns = 5000;
    whole.idle_mw = 100000;
    assert_int_equal(syn_profile_work_ns(&whole, &work), 5000);
    work.flops = UINT64_C(9700000000000); /* a second on its vector units */
    assert_int_equal(syn_profile_work_ns(&whole, &work), 1000005000);
    work.matrix = true; /* 19.5 TFLOPS */
    assert_int_equal(syn_profile_work_ns(&whole, &work), 497435898 + 5000);
    work.read_bytes = UINT64_C(1555000000000) / 2;
    work.written_bytes = work.read_bytes; /* a second of traffic is longer */
    ns = syn_profile_work_ns(&whole, &work);
    assert_int_equal(ns, 1000005000);
    /* A second at 400 W, and 5 us at 100 W. */
    assert_int_equal(syn_profile_work_uj(&whole, &work, ns), 400000000 + 500);
    assert_int_equal(syn_profile_power_mw(&whole, 0), 100000);
    assert_int_equal(syn_profile_power_mw(&whole, 500), 250000);
    assert_int_equal(syn_profile_power_mw(&whole, 1000), 400000);
    work.dtype = SYN_DTYPE_FP8E4M3; /* it has none */
    assert_int_equal(syn_profile_work_ns(&whole, &work), INT64_MAX);
    assert_int_equal(syn_profile_link_ns(&link, 1000000), 1000007);
    assert_int_equal(syn_profile_link_ns(&link, 1), 8);
    assert_int_equal(syn_profile_link_ns(&link, UINT64_MAX), INT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin_table),     cmocka_unit_test(test_builtin_figures),
        cmocka_unit_test(test_h100_as_published), cmocka_unit_test(test_matching),
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_limits),
        cmocka_unit_test(test_short_memory),      cmocka_unit_test(test_assumptions),
        cmocka_unit_test(test_roofline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
