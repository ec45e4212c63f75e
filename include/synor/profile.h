/* Capability profiles: what a model of processor can do, as data with sources, and the arithmetic
 * that turns work into time and energy on it. Everything here is pure: no clock, no I/O, no thread.
 *
 * The table is data/profiles.conf, part of the library; a program may parse further ones. A figure
 * is the vendor's, dense (never "with sparsity"), and 0 where the vendor publishes none: unknown is
 * never guessed. What an estimate needs and the vendor keeps to himself is assumed by kind, by
 * syn_profile_assume(), which says what it assumed. */
#ifndef SYNOR_PROFILE_H
#define SYNOR_PROFILE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/kind.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_PROFILE_NAME_MAX    32  /* bytes of a name, its zero included */
#define SYN_PROFILE_TEXT_MAX    96  /* of a title, a vendor, a link's name */
#define SYN_PROFILE_SOURCE_MAX  256 /* of a source */
#define SYN_PROFILE_SOURCES_MAX 6
#define SYN_PROFILES_MAX        512               /* profiles of one table */
#define SYN_PROFILE_BYTES_MAX   ((size_t)1 << 20) /* of a table's text */

/** What a processor's instructions or compiler can be asked for. */
enum syn_operation {
    SYN_OPERATION_ELEMENTWISE,
    SYN_OPERATION_GEMM,
    SYN_OPERATION_CONV,
    SYN_OPERATION_REDUCE,
    SYN_OPERATION_STENCIL,
    SYN_OPERATION_SORT,
    SYN_OPERATION_FFT,
    SYN_OPERATION_GATHER, /* indexed loads: embeddings, sparse */
    SYN_OPERATIONS
};

/** In which form a processor, or the stack in front of it, takes a program. */
enum syn_format {
    SYN_FORMAT_NATIVE,   /* a function of this process */
    SYN_FORMAT_PTX,      /* NVIDIA's virtual instructions, text */
    SYN_FORMAT_CUDA_C,   /* compiled at run time */
    SYN_FORMAT_HIP_C,    /* compiled at run time */
    SYN_FORMAT_OPENCL_C, /* compiled at run time */
    SYN_FORMAT_SPIRV,    /* of the interface in front: OpenCL's for one, Vulkan's for another */
    SYN_FORMAT_WGSL,
    SYN_FORMAT_MSL,
    SYN_FORMAT_CODE_OBJECT, /* the driver's own binary: cubin, hsaco, zebin */
    SYN_FORMAT_STABLEHLO,
    SYN_FORMAT_TFLITE,
    SYN_FORMAT_ONNX,
    SYN_FORMAT_COREML,
    SYN_FORMAT_OPENVINO,
    SYN_FORMAT_BITSTREAM,
    SYN_FORMAT_WASM,
    SYN_FORMAT_GLSL, /* compute shaders as text, compiled at run time: docs/kernels.md */
    SYN_FORMATS
};

/** How a processor is attached to another one or to its host. */
struct syn_profile_link {
    char name[SYN_PROFILE_TEXT_MAX]; /* "PCIe 5.0 x16"; "" : none or unknown */
    uint64_t mb_s;                   /* 10^6 bytes a second in one direction */
    uint64_t latency_ns;
};

/** One model. 0 and "" are "not published". */
struct syn_profile {
    char name[SYN_PROFILE_NAME_MAX];  /* "h100-sxm": how it is asked for */
    char title[SYN_PROFILE_TEXT_MAX]; /* "NVIDIA H100 SXM5 80 GB" */
    char vendor[SYN_PROFILE_TEXT_MAX];
    char match[SYN_PROFILE_TEXT_MAX]; /* what a driver's name of the device contains */
    enum syn_kind kind;
    unsigned year;
    unsigned units; /* multiprocessors, compute units, cores */
    unsigned clock_mhz;
    uint64_t flops_m[SYN_DTYPES];  /* 10^6 operations a second, dense, with matrix units if any */
    uint64_t vector_m[SYN_DTYPES]; /* the same without matrix units, where rated apart */
    uint64_t unstated_m;           /* a rate whose number format the vendor does not state */
    uint64_t memory_bytes;
    uint64_t memory_mb_s; /* 10^6 bytes a second */
    uint64_t local_bytes; /* on chip and software managed, of the whole processor */
    struct syn_profile_link host;
    struct syn_profile_link peer;
    uint64_t launch_ns;
    uint64_t tdp_mw;
    uint64_t idle_mw;
    uint32_t dtypes;     /* number formats that it computes with */
    uint32_t operations; /* SYN_BIT(SYN_OPERATION_x) */
    uint32_t formats;    /* SYN_BIT(SYN_FORMAT_x) */
    uint64_t alloc_max_bytes;
    unsigned group_max; /* work items of one group */
    unsigned queues_max;
    unsigned sources_count;
    char sources[SYN_PROFILE_SOURCES_MAX][SYN_PROFILE_SOURCE_MAX];
};

struct syn_profiles;

/** The library's own table. Static; any thread. NULL only when memory is short. */
SYN_API const struct syn_profiles *syn_profiles_builtin(void);
/** Parse a table. INVALID names line and field; TOOBIG. */
SYN_API SYN_MUST int syn_profiles_parse(const char *data, size_t len,
                                        struct syn_profiles **ret_profiles, struct syn_err *err);
SYN_API struct syn_profiles *syn_profiles_free(struct syn_profiles *profiles);
SYN_API void syn_profiles_free_scope(struct syn_profiles **slot);
SYN_API size_t syn_profiles_count(const struct syn_profiles *profiles);
/** In the table's order; borrowed until the table is freed. `index` < count. */
SYN_API const struct syn_profile *syn_profiles_at(const struct syn_profiles *profiles,
                                                  size_t index);
/** By name, or NULL. */
SYN_API const struct syn_profile *syn_profiles_find(const struct syn_profiles *profiles,
                                                    const char *name);
/** The profile whose `match` is the longest one that `device_name` contains, of that kind, or NULL.
 */
SYN_API const struct syn_profile *syn_profiles_match(const struct syn_profiles *profiles,
                                                     enum syn_kind kind, const char *device_name);

SYN_API const char *syn_operation_name(enum syn_operation operation);
SYN_API bool syn_operation_parse(const char *name, enum syn_operation *ret_operation);
SYN_API const char *syn_format_name(enum syn_format format);
SYN_API bool syn_format_parse(const char *name, enum syn_format *ret_format);

/** What a call of a kernel costs, by count: the hint that models and modelled devices go by. */
struct syn_work {
    uint64_t flops; /* operations of `dtype` */
    uint64_t read_bytes;
    uint64_t written_bytes;
    enum syn_dtype dtype;
    bool matrix; /* matrix units can do it */
};

/** Which fields syn_profile_assume() filled. */
enum syn_assumed {
    SYN_ASSUMED_RATE = 1 << 0, /* of some number format, from a wider one */
    SYN_ASSUMED_MEMORY = 1 << 1,
    SYN_ASSUMED_MEMORY_RATE = 1 << 2,
    SYN_ASSUMED_LAUNCH = 1 << 3,
    SYN_ASSUMED_HOST_LINK = 1 << 4,
    SYN_ASSUMED_PEER_LINK = 1 << 5,
    SYN_ASSUMED_TDP = 1 << 6,
    SYN_ASSUMED_IDLE = 1 << 7,
};

/** Copy `profile` to *ret with every figure that an estimate needs filled in, unknown ones by the
 * rules of docs/devices.md (by kind, always pessimistic); the result is the set of what was
 * assumed. A number format that the processor lacks keeps 0. */
SYN_API unsigned syn_profile_assume(const struct syn_profile *profile, struct syn_profile *ret);

/* Estimates take a profile without holes (syn_profile_assume); results saturate at INT64_MAX. */

/** Roofline: launch + the longer of arithmetic and memory traffic. INT64_MAX when the processor
 * cannot compute with `work->dtype`. */
SYN_API int64_t syn_profile_work_ns(const struct syn_profile *profile, const struct syn_work *work);
/** latency + bytes over the rate, rounded up. */
SYN_API int64_t syn_profile_link_ns(const struct syn_profile_link *link, uint64_t bytes);
/** Energy of `work` that takes `ns`: idle power all the time, and what lies between idle and the
 * design power in the share of time that arithmetic or memory is busy. */
SYN_API int64_t syn_profile_work_uj(const struct syn_profile *profile, const struct syn_work *work,
                                    int64_t ns);
/** Power in mW at a load of 0 .. 1000 thousandths. */
SYN_API int64_t syn_profile_power_mw(const struct syn_profile *profile, unsigned load_permille);

#ifdef __cplusplus
}
#endif
#endif
