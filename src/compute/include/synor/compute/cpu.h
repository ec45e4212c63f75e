/* What the cores of this machine can do beyond their base instructions, as far as kernels care:
 * both the processor and the operating system have to allow it. */
#ifndef SYNOR_COMPUTE_CPU_H
#define SYNOR_COMPUTE_CPU_H

#include <synor/base/core.h>

enum syn_cpu_feature {
    SYN_CPU_AVX2, /* with FMA */
    SYN_CPU_AVX512F,
    SYN_CPU_AVX512BW,
    SYN_CPU_AVX512VNNI,
    SYN_CPU_AVX512BF16,
    SYN_CPU_AVX512FP16,
    SYN_CPU_AMX_BF16, /* with AMX-TILE; the process has asked for the state */
    SYN_CPU_AMX_INT8,
    SYN_CPU_NEON,
    SYN_CPU_SVE,
    SYN_CPU_SVE2,
    SYN_CPU_ARM_BF16,
    SYN_CPU_ARM_I8MM,
    SYN_CPU_RVV,
    SYN_CPU_FEATURES
};
static_assert(SYN_CPU_FEATURES <= 32, "a set is 32 bits");

/** SYN_BIT(SYN_CPU_x) of what can be used. Found out once; any thread. */
uint32_t syn_cpu_features(void);
/** "avx512f"; static. */
const char *syn_cpu_feature_name(enum syn_cpu_feature feature);
/** Bytes of a vector register: 64 with AVX-512, 32 with AVX2, what SVE or V has; 16 otherwise. */
unsigned syn_cpu_vector_bytes(void);

#endif
