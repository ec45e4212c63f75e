#include <synor/compute/cpu.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) || defined(__riscv)
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

static const char *const names[] = {
    [SYN_CPU_AVX2] = "avx2",
    [SYN_CPU_AVX512F] = "avx512f",
    [SYN_CPU_AVX512BW] = "avx512bw",
    [SYN_CPU_AVX512VNNI] = "avx512vnni",
    [SYN_CPU_AVX512BF16] = "avx512bf16",
    [SYN_CPU_AVX512FP16] = "avx512fp16",
    [SYN_CPU_AMX_BF16] = "amx-bf16",
    [SYN_CPU_AMX_INT8] = "amx-int8",
    [SYN_CPU_NEON] = "neon",
    [SYN_CPU_SVE] = "sve",
    [SYN_CPU_SVE2] = "sve2",
    [SYN_CPU_ARM_BF16] = "bf16",
    [SYN_CPU_ARM_I8MM] = "i8mm",
    [SYN_CPU_RVV] = "rvv",
};
static_assert(SYN_LEN(names) == SYN_CPU_FEATURES, "a name each");

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t found;
static unsigned vector_bytes = 16;

#if defined(__x86_64__)

#define XCR0_AVX    UINT64_C(0x6)
#define XCR0_AVX512 UINT64_C(0xe6)
#define XCR0_AMX    UINT64_C(0x60000)

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILEDATA   18

/* Which register states the operating system saves. */
static uint64_t
read_xcr0(void)
{
    uint32_t low = 0, high = 0;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* The tiles' state is 8 KiB a thread, which Linux gives only to those who ask. */
static bool
ask_for_tiles(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) == 0;
}

static uint32_t
bit_if(bool have, enum syn_cpu_feature feature)
{
    return have ? SYN_BIT(feature) : 0;
}

static uint32_t
detect_avx512(uint32_t b, uint32_t c, uint32_t d)
{
    uint32_t a1 = 0, b1 = 0, c1 = 0, d1 = 0, set = 0;

    if (!(b & SYN_BIT(16)))
        return 0;
    set = SYN_BIT(SYN_CPU_AVX512F);
    set |= bit_if(b & SYN_BIT(30), SYN_CPU_AVX512BW);
    set |= bit_if(c & SYN_BIT(11), SYN_CPU_AVX512VNNI);
    set |= bit_if(d & SYN_BIT(23), SYN_CPU_AVX512FP16);
    if (__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1))
        set |= bit_if(a1 & SYN_BIT(5), SYN_CPU_AVX512BF16);
    return set;
}

static uint32_t
detect(void)
{
    uint32_t a = 0, b = 0, c = 0, d = 0, set = 0;
    uint64_t saved;
    bool fma;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & SYN_BIT(27))) /* OSXSAVE */
        return 0;
    fma = c & SYN_BIT(12);
    saved = read_xcr0();
    if ((saved & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    set |= bit_if(fma && b & SYN_BIT(5), SYN_CPU_AVX2);
    if ((saved & XCR0_AVX512) == XCR0_AVX512)
        set |= detect_avx512(b, c, d);
    if ((saved & XCR0_AMX) == XCR0_AMX && d & SYN_BIT(24) && ask_for_tiles()) {
        set |= bit_if(d & SYN_BIT(22), SYN_CPU_AMX_BF16);
        set |= bit_if(d & SYN_BIT(25), SYN_CPU_AMX_INT8);
    }
    if (set & SYN_BIT(SYN_CPU_AVX512F))
        vector_bytes = 64;
    else if (set & SYN_BIT(SYN_CPU_AVX2))
        vector_bytes = 32;
    return set;
}

#elif defined(__aarch64__)

/* Bits of AT_HWCAP and AT_HWCAP2 as the kernel documents them (arm64 ELF hwcaps). */
#define HWCAP_ASIMD_BIT 1
#define HWCAP_SVE_BIT   22
#define HWCAP2_SVE2_BIT 1
#define HWCAP2_I8MM_BIT 13
#define HWCAP2_BF16_BIT 14
#define SVE_GET_VL      51
#define SVE_VL_MASK     0xffff

static uint32_t
detect(void)
{
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    uint32_t set = 0;

    set |= one >> HWCAP_ASIMD_BIT & 1 ? SYN_BIT(SYN_CPU_NEON) : 0;
    set |= one >> HWCAP_SVE_BIT & 1 ? SYN_BIT(SYN_CPU_SVE) : 0;
    set |= two >> HWCAP2_SVE2_BIT & 1 ? SYN_BIT(SYN_CPU_SVE2) : 0;
    set |= two >> HWCAP2_BF16_BIT & 1 ? SYN_BIT(SYN_CPU_ARM_BF16) : 0;
    set |= two >> HWCAP2_I8MM_BIT & 1 ? SYN_BIT(SYN_CPU_ARM_I8MM) : 0;
    if (set & SYN_BIT(SYN_CPU_SVE)) {
        int len = prctl(SVE_GET_VL, 0, 0, 0, 0);

        if (len > 0)
            vector_bytes = (unsigned)len & SVE_VL_MASK;
    }
    return set;
}

#elif defined(__riscv)

static uint32_t
detect(void)
{
    unsigned long bits = getauxval(AT_HWCAP);

    if (!(bits >> ('V' - 'A') & 1))
        return 0;
#if defined(__riscv_vector)
    __asm__ volatile("csrr %0, vlenb" : "=r"(bits));
    vector_bytes = (unsigned)bits;
#endif
    return SYN_BIT(SYN_CPU_RVV);
}

#else

static uint32_t
detect(void)
{
    return 0;
}

#endif

static void
detect_once(void)
{
    found = detect();
}

uint32_t
syn_cpu_features(void)
{
    (void)pthread_once(&once, detect_once);
    return found;
}

unsigned
syn_cpu_vector_bytes(void)
{
    (void)pthread_once(&once, detect_once);
    return vector_bytes;
}

const char *
syn_cpu_feature_name(enum syn_cpu_feature feature)
{
    assert(feature < SYN_CPU_FEATURES);
    return names[feature];
}
