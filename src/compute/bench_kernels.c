#include "bench_kernels_priv.h"

#include <string.h>

#include <synor/compute/cpu.h>

/* bench_kernels.wat, by the build. */
extern const char syn_bench_wasm[];
extern const size_t syn_bench_wasm_len;

static const char opencl_c[] =
    "kernel void empty(void) {}\n"
    "kernel void triad(global float *y, global const float *x, global const float *z, uint n)\n"
    "{ for (size_t i = get_global_id(0); i < n; i += get_global_size(0))\n"
    "    y[i] = x[i] + 3.0f * z[i]; }\n"
    "#define FMA(T, NAME) kernel void NAME(global T *out, uint n, uint rounds) {\\\n"
    "  size_t g = get_global_id(0); T m = (T)0.999, c = (T)0.001; T a[8];\\\n"
    "  for (int k = 0; k < 8; k++) a[k] = (T)(g + k);\\\n"
    "  for (uint r = 0; r < rounds; r++) for (int k = 0; k < 8; k++) a[k] = fma(a[k], m, c);\\\n"
    "  T s = 0; for (int k = 0; k < 8; k++) s += a[k]; if (g < n) out[g] = s; }\n"
    "FMA(float, fma32)\n"
    "#ifdef cl_khr_fp64\n"
    "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
    "FMA(double, fma64)\n"
    "#endif\n";

/* Every kernel that is marked is compiled, so those of fp64 are in a text of their own. */
#define GLSL_FP32                                                                                 \
    "#define REFERENCE(T, NAME, BYTES) \\\n"                                                      \
    "  layout(buffer_reference, scalar, buffer_reference_align = BYTES) buffer NAME { T at; };\n" \
    "REFERENCE(float, floats, 4)\n"                                                               \
    "KERNEL empty() {}\n"                                                                         \
    "KERNEL triad(floats y, floats x, floats z, uint n)\n"                                        \
    "{ for (uint i = gl_GlobalInvocationID.x; i < n; i += gl_NumWorkGroups.x * "                  \
    "gl_WorkGroupSize.x)\n"                                                                       \
    "    (y + i).at = (x + i).at + 3.0 * (z + i).at; }\n"                                         \
    "#define FMA(T) uint g = gl_GlobalInvocationID.x; T m = T(0.999), c = T(0.001); T a[8]; \\\n" \
    "  for (uint k = 0; k < 8; k++) a[k] = T(g + k); \\\n"                                        \
    "  for (uint r = 0; r < rounds; r++) \\\n"                                                    \
    "    for (uint k = 0; k < 8; k++) a[k] = fma(a[k], m, c); \\\n"                               \
    "  T s = T(0); for (uint k = 0; k < 8; k++) s += a[k]; if (g < n) (y + g).at = s;\n"          \
    "KERNEL fma32(floats y, uint n, uint rounds) { FMA(float) }\n"
#define GLSL_FP64                     \
    "REFERENCE(double, doubles, 8)\n" \
    "KERNEL fma64(doubles y, uint n, uint rounds) { FMA(double) }\n"
static const char glsl[] = GLSL_FP32;
static const char glsl_fp64[] = GLSL_FP32 GLSL_FP64;

/* CUDA C and HIP C. */
static const char cuda_c[] =
    "extern \"C\" __global__ void empty() {}\n"
    "extern \"C\" __global__ void triad(float *y, const float *x, const float *z, unsigned n)\n"
    "{ for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * "
    "blockDim.x)\n"
    "    y[i] = x[i] + 3.0f * z[i]; }\n"
    "template <typename T> __device__ void chains(T *out, unsigned n, unsigned rounds) {\n"
    "  unsigned g = blockIdx.x * blockDim.x + threadIdx.x; T m = (T)0.999, c = (T)0.001; T a[8];\n"
    "  for (int k = 0; k < 8; k++) a[k] = (T)(g + k);\n"
    "  for (unsigned r = 0; r < rounds; r++)\n"
    "#pragma unroll\n"
    "    for (int k = 0; k < 8; k++) a[k] = a[k] * m + c;\n"
    "  T s = 0; for (int k = 0; k < 8; k++) s += a[k]; if (g < n) out[g] = s; }\n"
    "extern \"C\" __global__ void fma32(float *out, unsigned n, unsigned rounds)\n"
    "{ chains<float>(out, n, rounds); }\n"
    "extern \"C\" __global__ void fma64(double *out, unsigned n, unsigned rounds)\n"
    "{ chains<double>(out, n, rounds); }\n";

static int
native_empty(const struct syn_native_call *call, struct syn_err *err)
{
    (void)call;
    (void)err;
    return SYN_OK;
}

static uint32_t
arg_u32(const struct syn_native_call *call, size_t index)
{
    uint32_t value;

    memcpy(&value, call->args[index], sizeof(value));
    return value;
}

static int
native_triad(const struct syn_native_call *call, struct syn_err *err)
{
    float *restrict y = call->args[0];
    const float *restrict x = call->args[1], *restrict z = call->args[2];
    uint32_t n = arg_u32(call, 3);

    (void)err;
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] + 3.0F * z[i];
    return SYN_OK;
}

/* The widest vectors that there are, in enough chains to fill two pipes of five cycles. */
#define CHAINS 10
/* The address sanitizer's frames are not aligned to such vectors. */
#define UNCHECKED __attribute__((no_sanitize_address))

#define FMA_BODY(type, bytes)                                                              \
    {                                                                                      \
        typedef type vec __attribute__((vector_size(bytes)));                              \
        enum { LANES = (bytes) / sizeof(type) };                                           \
        vec a[CHAINS], m, c, s = {0};                                                      \
                                                                                           \
        for (int l = 0; l < LANES; l++) {                                                  \
            m[l] = (type)0.999;                                                            \
            c[l] = (type)0.001;                                                            \
            for (int k = 0; k < CHAINS; k++)                                               \
                a[k][l] = (type)(l + k);                                                   \
        }                                                                                  \
        for (uint32_t r = 0; r < rounds; r++) {                                            \
            _Pragma("GCC unroll 10") for (int k = 0; k < CHAINS; k++) a[k] = a[k] * m + c; \
        }                                                                                  \
        for (int k = 0; k < CHAINS; k++)                                                   \
            s += a[k];                                                                     \
        *out = s[0];                                                                       \
    }

#if defined(__x86_64__)
UNCHECKED __attribute__((target("avx512f"))) static void
fma32_64(float *out, uint32_t rounds) FMA_BODY(float, 64)

    UNCHECKED __attribute__((target("avx512f"))) static void fma64_64(double *out, uint32_t rounds)
        FMA_BODY(double, 64)

            UNCHECKED
    __attribute__((target("avx2,fma"))) static void fma32_32(float *out, uint32_t rounds)
        FMA_BODY(float, 32)

            UNCHECKED
    __attribute__((target("avx2,fma"))) static void fma64_32(double *out, uint32_t rounds)
        FMA_BODY(double, 32)
#endif

            static void fma32_16(float *out, uint32_t rounds) FMA_BODY(float, 16)

                static void fma64_16(double *out, uint32_t rounds) FMA_BODY(double, 16)

    /* Bytes of the vectors that the functions above use here. */
    static unsigned used_bytes(void)
{
#if defined(__x86_64__)
    unsigned bytes = syn_cpu_vector_bytes();

    return bytes >= 64 ? 64 : bytes >= 32 ? 32 : 16;
#else
    return 16;
#endif
}

static int
native_fma32(const struct syn_native_call *call, struct syn_err *err)
{
    uint32_t rounds = arg_u32(call, 2);

    (void)err;
#if defined(__x86_64__)
    if (used_bytes() == 64)
        fma32_64(call->args[0], rounds);
    else if (used_bytes() == 32)
        fma32_32(call->args[0], rounds);
    else
#endif
        fma32_16(call->args[0], rounds);
    return SYN_OK;
}

static int
native_fma64(const struct syn_native_call *call, struct syn_err *err)
{
    uint32_t rounds = arg_u32(call, 2);

    (void)err;
#if defined(__x86_64__)
    if (used_bytes() == 64)
        fma64_64(call->args[0], rounds);
    else if (used_bytes() == 32)
        fma64_32(call->args[0], rounds);
    else
#endif
        fma64_16(call->args[0], rounds);
    return SYN_OK;
}

static const struct syn_native_entry native[] = {
    {"empty", native_empty, NULL},
    {"triad", native_triad, NULL},
    {"fma32", native_fma32, NULL},
    {"fma64", native_fma64, NULL},
};

uint64_t
syn_bench_native_width(bool fp64)
{
    return (uint64_t)CHAINS * used_bytes() / (fp64 ? 8 : 4);
}

bool
syn_bench_source(const struct syn_dev *dev, struct syn_dev_source *ret)
{
    static const struct {
        enum syn_format format;
        uint32_t dtypes; /* that the device must have */
        const char *text;
        size_t len;
    } texts[] = {
        {SYN_FORMAT_CUDA_C, 0, cuda_c, sizeof(cuda_c) - 1},
        {SYN_FORMAT_HIP_C, 0, cuda_c, sizeof(cuda_c) - 1},
        {SYN_FORMAT_OPENCL_C, 0, opencl_c, sizeof(opencl_c) - 1},
        {SYN_FORMAT_GLSL, SYN_BIT(SYN_DTYPE_FP64), glsl_fp64, sizeof(glsl_fp64) - 1},
        {SYN_FORMAT_GLSL, 0, glsl, sizeof(glsl) - 1},
    };

    *ret = (struct syn_dev_source){.name = "bench"};
    if (dev->info.formats & SYN_BIT(SYN_FORMAT_NATIVE)) {
        ret->format = SYN_FORMAT_NATIVE;
        ret->entries = native;
        ret->entries_count = SYN_LEN(native);
        return true;
    }
    if (dev->info.formats & SYN_BIT(SYN_FORMAT_WASM)) {
        ret->format = SYN_FORMAT_WASM;
        ret->text = syn_bench_wasm;
        ret->len = syn_bench_wasm_len;
        return true;
    }
    for (size_t i = 0; i < SYN_LEN(texts); i++) {
        if (dev->info.formats & SYN_BIT(texts[i].format) &&
            (dev->info.dtypes & texts[i].dtypes) == texts[i].dtypes) {
            ret->format = texts[i].format;
            ret->text = texts[i].text;
            ret->len = texts[i].len;
            return true;
        }
    }
    return false;
}
