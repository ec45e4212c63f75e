/* Kernels: named functions on tensors with an implementation for some kinds of processor.
 *
 * A kernel is a static table: what it takes, how to check a call, what a call costs, how a call
 * divides into smaller ones, and its implementations, of which the library picks one that a device
 * can run. A native implementation is a C function; the others are source text that the device's
 * driver compiles, with a function that says how to launch it for a given call.
 *
 * The library has gemm, axpy, reduce, stencil, sort, fft, conv2d, dot, neutral and combine; a
 * program adds its own by handing its table to whoever takes a `struct syn_kernel`. */
#ifndef SYNOR_KERNEL_H
#define SYNOR_KERNEL_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/device.h>
#include <synor/fork.h>
#include <synor/profile.h>
#include <synor/task.h>
#include <synor/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_OPERANDS_MAX      8
#define SYN_KERNEL_PARAMS_MAX 8
#define SYN_KERNEL_ARGS_MAX   32 /* arguments of a compiled kernel */
#define SYN_KERNEL_IMPLS_MAX  32
#define SYN_KERNEL_SPLITS_MAX 4
#define SYN_KERNEL_NAME_MAX   64
#define SYN_KERNEL_VALUE_MAX  32 /* bytes of an argument by value */

struct syn_kernel;

/** One tensor of a call. */
struct syn_operand {
    const struct syn_shape *shape; /* complete */
    void *data;                    /* its first element, for a native implementation; else NULL */
};

/** One call, as checks and implementations see it. Valid for the time of the call. Operands that
 * are written share no memory with others. */
struct syn_kernel_call {
    const struct syn_kernel *kernel;
    struct syn_operand operands[SYN_OPERANDS_MAX];
    double params[SYN_KERNEL_PARAMS_MAX]; /* by the kernel's table; whole ones are exact */
};

/** A native implementation. `worker` and `at` allow forking (synor/fork.h); NULL where the call
 * runs on a device's queue. Everything it needs but memory for results it has on its stack; scratch
 * it allocates itself: NOMEM. */
typedef int syn_kernel_fn(const struct syn_kernel_call *call, struct syn_worker *worker,
                          struct syn_fork *at, struct syn_err *err);

/** Not every interface can point into the middle of a buffer, and operands may begin there: an
 * operand is a pointer and a number of elements to go on from it. */
enum syn_kernel_arg_kind {
    SYN_KERNEL_OPERAND, /* a pointer at or before the operand's first element */
    SYN_KERNEL_OFFSET,  /* elements from there to the first one: 64 bits, unsigned */
    SYN_KERNEL_VALUE,   /* `bytes` at `value` */
    SYN_KERNEL_LOCAL,   /* `bytes` that a group of work items shares */
    SYN_KERNEL_SCRATCH, /* a pointer into the call's scratch memory, from `bytes` on */
};

struct syn_kernel_arg {
    enum syn_kernel_arg_kind kind;
    unsigned operand;
    uint64_t bytes;
    unsigned char value[SYN_KERNEL_VALUE_MAX];
};

/** One launch of a compiled implementation. */
struct syn_kernel_launch {
    const char *entry;  /* function of the program; static */
    uint64_t groups[3]; /* each at least 1 */
    unsigned group[3];  /* work items of one; each at least 1 */
    unsigned args_count;
    struct syn_kernel_arg args[SYN_KERNEL_ARGS_MAX];
};

struct syn_kernel_impl {
    enum syn_format format;
    uint32_t kinds;  /* SYN_BIT(SYN_KIND_x) that it is for */
    uint32_t dtypes; /* SYN_BIT(SYN_DTYPE_x) of the first operand; 0: all that check lets through */

    /** SYN_FORMAT_NATIVE. */
    syn_kernel_fn *run;

    /** Other formats: text and the compiler's options, which name the build of it: equal texts and
     * options are compiled once a device. */
    const char *source;
    const char *options;
    /** Launches of this call, done in order; at least 1. NULL: one. */
    unsigned (*steps)(const struct syn_kernel_call *call, const struct syn_device_info *device);
    /** Describe launch `step`. */
    int (*plan)(const struct syn_kernel_call *call, const struct syn_device_info *device,
                unsigned step, struct syn_kernel_launch *ret_launch, struct syn_err *err);
    /** Bytes of device memory that the launches share; NULL: none. */
    uint64_t (*scratch)(const struct syn_kernel_call *call, const struct syn_device_info *device);

    /** Can it do this call on this device (number formats, strides, limits)? NULL: every call that
     * the kernel's own check lets through. */
    bool (*fits)(const struct syn_kernel_call *call, const struct syn_device_info *device);
};

/** How calls reduce on a tensor side by side (SYN_REDUCE): each worker adds to a copy of its own,
 * and the copies are put together when somebody reads. Two ordinary kernels do that, wherever they
 * have implementations; both are given the same parameters. What they do is associative and
 * commutative, as far as the program cares: how many copies there are is chance. Compared by its
 * address. */
struct syn_kernel_reduction {
    const struct syn_kernel *init;  /* one operand, WRITE: the neutral element everywhere */
    const struct syn_kernel *merge; /* a copy, READ; what it is put into, UPDATE */
    const double *params;           /* NULL: the kernels' defaults */
    unsigned params_count;
};

/* The library's, of fp32, fp64, int32 and int64; of whole numbers, sums and products wrap. */
/** The sum. */
SYN_API extern const struct syn_kernel_reduction syn_reduction_sum;
/** The product. */
SYN_API extern const struct syn_kernel_reduction syn_reduction_product;
/** The least; what is no number (NaN) is the least. */
SYN_API extern const struct syn_kernel_reduction syn_reduction_least;
/** The most; what is no number (NaN) is the most. */
SYN_API extern const struct syn_kernel_reduction syn_reduction_most;

/** What a kernel takes. */
struct syn_kernel_operand {
    const char *name;
    uint8_t access; /* enum syn_access */
    uint8_t dims_min, dims_max;
};

struct syn_kernel_param {
    const char *name;
    double value; /* when a call leaves it out; NAN: must be given */
    bool whole;   /* an integer */
};

/** A way to divide one call into several: which dimension of each operand is cut. A call may be
 * divided into at most size / grain pieces; the pieces in any order, or at the same time, are the
 * call. */
struct syn_kernel_split {
    int8_t dim[SYN_OPERANDS_MAX]; /* < 0: every piece gets all of it, to read or to reduce on */
    uint32_t grain;               /* elements along the cut dimension that a piece has at least */
    bool (*applies)(const struct syn_kernel_call *call); /* to this one; NULL: to every call */
};
#define SYN_SPLIT_WHOLE ((int8_t)-1)

/** A kernel. Static, or outliving everything that is submitted on it. */
struct syn_kernel {
    const char *name; /* the key of learnt times: printable ASCII without blanks */
    const char *summary;
    enum syn_operation operation;
    unsigned operands_count, params_count, splits_count, impls_count;
    const struct syn_kernel_operand *operands;
    const struct syn_kernel_param *params;
    const struct syn_kernel_split *splits;
    const struct syn_kernel_impl *impls;
    /** Do shapes, number formats and parameters fit together? INVALID names the operand. NULL: yes.
     */
    int (*check)(const struct syn_kernel_call *call, struct syn_err *err);
    /** What the call costs. Required. */
    void (*work)(const struct syn_kernel_call *call, struct syn_work *ret_work);
    /** What this call does with an operand, where that depends on parameters. NULL: as in the
     * table. */
    enum syn_access (*access)(const struct syn_kernel_call *call, unsigned operand);
    /** By operand: how calls reduce on it, where it is REDUCE. NULL: they commute. */
    const struct syn_kernel_reduction *reductions[SYN_OPERANDS_MAX];
};

/** The library's own, or NULL. */
SYN_API const struct syn_kernel *syn_kernel_find(const char *name);
SYN_API const struct syn_kernel *const *syn_kernels(size_t *ret_count);

/** Is the table one that can be used? INVALID names the field. */
SYN_MUST SYN_API int syn_kernel_check(const struct syn_kernel *kernel, struct syn_err *err);

/** Begin a call: no operands yet, every parameter as the table has it. */
SYN_API void syn_kernel_call_init(struct syn_kernel_call *ret_call,
                                  const struct syn_kernel *kernel);
/** Set a parameter by its name. INVALID names those that there are. */
SYN_MUST SYN_API int syn_kernel_set(struct syn_kernel_call *call, const char *param, double value,
                                    struct syn_err *err);
/** The index of an operand by its name. INVALID names those that there are. */
SYN_MUST SYN_API int syn_kernel_operand_find(const struct syn_kernel *kernel, const char *name,
                                             unsigned *ret_operand, struct syn_err *err);
/** Check a call: dimensions and parameters by the table, then the kernel's own check. */
SYN_MUST SYN_API int syn_kernel_check_call(const struct syn_kernel_call *call, struct syn_err *err);
/** What a checked call does with an operand. */
SYN_API enum syn_access syn_kernel_access(const struct syn_kernel_call *call, unsigned operand);
/** Pieces that a checked call can be divided into by split `split` at most; 1: it cannot. */
SYN_API uint64_t syn_kernel_pieces(const struct syn_kernel_call *call, unsigned split);
/** The first implementation that fits this call on this device, which has to know the number format
 * that the call computes with; or NULL. `call` NULL: that could fit some call. A modelled device
 * runs what is native for the CPU. */
SYN_API const struct syn_kernel_impl *syn_kernel_pick(const struct syn_kernel *kernel,
                                                      const struct syn_kernel_call *call,
                                                      const struct syn_device_info *device);

#ifdef __cplusplus
}
#endif
#endif
