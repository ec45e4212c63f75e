/* What the library's kernels share: checks, walks over strided elements, forking over a range, the
 * arguments of launches. */
#ifndef SYN_COMPUTE_KERNELS_PRIV_H
#define SYN_COMPUTE_KERNELS_PRIV_H

#include <math.h>

#include <synor/kernel.h>

extern const struct syn_kernel syn_kernel_gemm;
extern const struct syn_kernel syn_kernel_axpy;
extern const struct syn_kernel syn_kernel_reduce;
extern const struct syn_kernel syn_kernel_stencil;
extern const struct syn_kernel syn_kernel_sort;
extern const struct syn_kernel syn_kernel_fft;
extern const struct syn_kernel syn_kernel_conv2d;
extern const struct syn_kernel syn_kernel_dot;
extern const struct syn_kernel syn_kernel_neutral;
extern const struct syn_kernel syn_kernel_combine;

/* What reduces how: parameter `what` of reduce, neutral and combine. */
enum { SYN_WHAT_SUM, SYN_WHAT_LEAST, SYN_WHAT_MOST, SYN_WHAT_PRODUCT };

/* Texts for compilers: text/prelude.cl and one more, joined by the build. */
extern const char syn_text_gemm[];
extern const char syn_text_axpy[];
extern const char syn_text_reduce[];
extern const char syn_text_stencil[];
extern const char syn_text_sort[];
extern const char syn_text_fft[];
extern const char syn_text_conv2d[];
extern const char syn_text_dot[];
extern const char syn_text_neutral[];
extern const char syn_text_combine[];

#define SYN_FLOATS (SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_FP64))
#define SYN_REALS  (SYN_FLOATS | SYN_BIT(SYN_DTYPE_INT32) | SYN_BIT(SYN_DTYPE_INT64))

/* Kinds that a driver of OpenCL C may answer with; those behind CUDA and HIP. */
#define SYN_OPENCL_KINDS \
    (SYN_BIT(SYN_KIND_CPU) | SYN_BIT(SYN_KIND_GPU) | SYN_BIT(SYN_KIND_DSP) | SYN_BIT(SYN_KIND_FPGA))
#define SYN_CUDA_KINDS SYN_BIT(SYN_KIND_GPU)
/* Those behind Vulkan. */
#define SYN_GLSL_KINDS (SYN_BIT(SYN_KIND_CPU) | SYN_BIT(SYN_KIND_GPU))

/* The same compiled, of the names and number formats that the build has; without a compiler none.
 */
#define SYN_WASM_TEXTS(name, a, b) \
    extern const char syn_wasm_##name##_SYN_DTYPE_##a[], syn_wasm_##name##_SYN_DTYPE_##b[];
SYN_WASM_TEXTS(gemm, FP32, FP64)
SYN_WASM_TEXTS(axpy, FP32, FP64)
SYN_WASM_TEXTS(axpy, INT32, INT64)
SYN_WASM_TEXTS(reduce, FP32, FP64)
SYN_WASM_TEXTS(reduce, INT32, INT64)
SYN_WASM_TEXTS(stencil, FP32, FP64)
SYN_WASM_TEXTS(sort, FP32, FP64)
SYN_WASM_TEXTS(sort, INT32, INT64)
SYN_WASM_TEXTS(fft, C64, C128)
SYN_WASM_TEXTS(conv2d, FP32, FP64)
SYN_WASM_TEXTS(dot, FP32, FP64)
SYN_WASM_TEXTS(dot, INT32, INT64)
SYN_WASM_TEXTS(neutral, FP32, FP64)
SYN_WASM_TEXTS(neutral, INT32, INT64)
SYN_WASM_TEXTS(combine, FP32, FP64)
SYN_WASM_TEXTS(combine, INT32, INT64)

/* One row. */
#define SYN_ROW(format_, kinds_, dtype_, source_, options_, ...)                      \
    {                                                                                 \
        .format = SYN_FORMAT_##format_, .kinds = (kinds_), .dtypes = SYN_BIT(dtype_), \
        .source = (source_), .options = (options_), __VA_ARGS__                       \
    }
#ifdef SYN_WASM_KERNELS
#define SYN_WASM_ROW(dtype, name, ...) \
    , SYN_ROW(WASM, SYN_BIT(SYN_KIND_WASM), dtype, syn_wasm_##name##_##dtype, NULL, __VA_ARGS__)
#else
#define SYN_WASM_ROW(dtype, name, ...)
#endif
/* The rows of one number format: the same text in each dialect. `...`: steps, plan and so on. */
#define SYN_COMPILED(dtype, name, options, ...)                                           \
    SYN_ROW(CUDA_C, SYN_CUDA_KINDS, dtype, syn_text_##name, options, __VA_ARGS__),        \
        SYN_ROW(HIP_C, SYN_CUDA_KINDS, dtype, syn_text_##name, options, __VA_ARGS__),     \
        SYN_ROW(GLSL, SYN_GLSL_KINDS, dtype, syn_text_##name, options, __VA_ARGS__),      \
        SYN_ROW(OPENCL_C, SYN_OPENCL_KINDS, dtype, syn_text_##name, options, __VA_ARGS__) \
            SYN_WASM_ROW(dtype, name, __VA_ARGS__)
#define SYN_NATIVE(run_)                                                            \
    {                                                                               \
        .format = SYN_FORMAT_NATIVE, .kinds = SYN_BIT(SYN_KIND_CPU), .run = (run_), \
    }

/* ROW(dtype, options) for each number format of a kind; `sign`, i or u, is how the text takes
 * integers. */
#define SYN_FLOATING(type) "-DFLOATING -DELEM=" #type
#define SYN_FLOAT_ROWS(ROW) \
    ROW(SYN_DTYPE_FP32, SYN_FLOATING(float)), ROW(SYN_DTYPE_FP64, SYN_FLOATING(double))
#define SYN_REAL_ROWS(ROW, sign)                                     \
    SYN_FLOAT_ROWS(ROW), ROW(SYN_DTYPE_INT32, "-DELEM=" #sign "32"), \
        ROW(SYN_DTYPE_INT64, "-DELEM=" #sign "64")

/* A field of a kernel that is the list of the same name, and how long that is. */
#define SYN_LISTED(list) .list##_count = SYN_LEN(list), .list = (list)

/* Numbers. Products that do not fit stay at the top: they are costs of what nobody can run. */
uint64_t syn_mul_sat(uint64_t a, uint64_t b);

static inline uint64_t
syn_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline const struct syn_shape *
syn_shape_of(const struct syn_kernel_call *call, unsigned operand)
{
    return call->operands[operand].shape;
}

/* Elements of a shape; no need for the memory manager's functions. */
uint64_t syn_elements(const struct syn_shape *shape);
uint64_t syn_operand_bytes(const struct syn_kernel_call *call, unsigned operand);

/* Checks of a call. Messages begin with the operand's name. */
int syn_check_dtype(const struct syn_kernel_call *call, unsigned operand, uint32_t dtypes,
                    struct syn_err *err);
int syn_check_like(const struct syn_kernel_call *call, unsigned operand, unsigned as,
                   struct syn_err *err); /* the same number format */
int syn_check_same(const struct syn_kernel_call *call, unsigned operand, unsigned as,
                   struct syn_err *err); /* number format and sizes */
int syn_check_size(const struct syn_kernel_call *call, unsigned operand, unsigned dim,
                   uint64_t want, struct syn_err *err);
/* From dimension `from` on, elements lie packed in rows. */
int syn_check_packed(const struct syn_kernel_call *call, unsigned operand, unsigned from,
                     struct syn_err *err);
/* A parameter between two bounds. */
int syn_check_param(const struct syn_kernel_call *call, unsigned param, double min, double max,
                    struct syn_err *err);

/* Elements of one or two tensors of the same sizes, in any order that is good for both: the fewest
 * dimensions, the innermost with the smallest strides. */
struct syn_nest {
    unsigned dims; /* at least 1 */
    uint64_t sizes[SYN_DIMS_MAX];
    uint64_t strides[2][SYN_DIMS_MAX];
    uint64_t count;
};
/* `second` NULL: alone. The order follows the last one given, which is the one written. */
void syn_nest_make(struct syn_nest *ret_nest, const struct syn_shape *first,
                   const struct syn_shape *second);
/* Call `row` for the elements begin .. end - 1 in rows: where each begins (elements from the first
 * one, in both tensors), and how many. */
void syn_nest_walk(const struct syn_nest *nest, uint64_t begin, uint64_t end,
                   void (*row)(void *arg, uint64_t first, uint64_t second, uint64_t count),
                   void *arg);

/* Call `run` for parts of begin .. end - 1 that are together all of it, at the same time where
 * workers have nothing better to do, each not much below `grain`. Without a worker: one call. */
typedef void syn_range_fn(void *arg, uint64_t begin, uint64_t end);
void syn_range_run(struct syn_worker *worker, struct syn_fork *at, uint64_t count, uint64_t grain,
                   syn_range_fn *run, void *arg);

/* Launches. Arguments are added in order. */
void syn_launch_begin(struct syn_kernel_launch *launch, const char *entry);
void syn_launch_operand(struct syn_kernel_launch *launch, unsigned operand); /* and its offset */
void syn_launch_scratch(struct syn_kernel_launch *launch, uint64_t at_bytes);
void syn_launch_local(struct syn_kernel_launch *launch, uint64_t bytes);
void syn_launch_value(struct syn_kernel_launch *launch, const void *value, size_t bytes);
void syn_launch_u64(struct syn_kernel_launch *launch, uint64_t value);
void syn_launch_u32(struct syn_kernel_launch *launch, uint32_t value);
/* `quad` in the text. */
void syn_launch_quad(struct syn_kernel_launch *launch, const uint64_t values[4]);
/* `real`: a parameter in the number format of the call, `elem` in the text. */
void syn_launch_elem(struct syn_kernel_launch *launch, enum syn_dtype dtype, double value);
/* The sizes and strides of a nest of at most four dimensions: sizes, first's, second's. */
#define SYN_NEST_QUAD 4
void syn_launch_nest(struct syn_kernel_launch *launch, const struct syn_nest *nest, bool two);

#define SYN_GRID_MAX UINT64_C(65535) /* what every interface takes in every direction */
/* Groups of a launch along a direction: enough for `items`, at most `max`. */
uint64_t syn_groups(uint64_t items, uint64_t group, uint64_t max);
/* The same where items take turns (EACH in the text): a group that is one item has many of them. */
uint64_t syn_turns(const struct syn_device_info *device, uint64_t items, uint64_t group,
                   uint64_t max);
/* Are its groups one item, whose text is the one that comes ALONE? */
bool syn_is_alone(const struct syn_device_info *device);
/* The largest power of two that is at most `want` and that groups of this device may have. */
unsigned syn_group_size(const struct syn_device_info *device, unsigned want);

/* 0, 1, 2: vectors of 16, 32 and 64 bytes, the widest that these kernels have code for here. */
enum { SYN_WIDTH_16, SYN_WIDTH_32, SYN_WIDTH_64, SYN_WIDTHS };
unsigned syn_vector_width(void);
/* Tests: use no wider ones from now on. */
void syn_vector_width_limit(unsigned width);

#endif
