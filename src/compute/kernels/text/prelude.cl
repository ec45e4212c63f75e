/* One text for OpenCL C, CUDA C, HIP C, GLSL and, as C, WebAssembly: what the five call differently has
 * one name here. The number format comes from the compiler's options: ELEM, and FLOATING where it is one of fractions.
 *
 *     READS x, WRITES y      elements in the device's memory; x + n is n elements on
 *     AT(x, i)               one of them
 *     SHARED(name, count)    outside of functions: elements that a group shares ...
 *     USES(name);            ... in every kernel that does
 *     AS(type, value)        a conversion
 *
 * GLSL is the poorest: it knows no pointers but references that are indexed by such a macro, takes no
 * truth for a number nor a number for truth, and has in, out, all and the like for words of its own.
 * There, a kernel is a function whose arguments the driver hands over (docs/kernels.md). In WebAssembly
 * a group is one item, which comes ALONE: nobody is waited for. */
#ifdef __OPENCL_VERSION__
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#define KERNEL      kernel void
#define DEVICE      static inline __attribute__((unused))
#define GLOBAL      global
#define USES(name)  local ELEM name[name##_count]
#define BARRIER()   barrier(CLK_LOCAL_MEM_FENCE)
#define ITEM(d)     ((u32)get_local_id(d))
#define ITEMS(d)    ((u32)get_local_size(d))
#define GROUP(d)    ((u64)get_group_id(d))
#define GROUPS(d)   ((u64)get_num_groups(d))
typedef int i32;
typedef long i64;
typedef uint u32;
typedef ulong u64;
typedef ulong4 quad;
#elif defined(VULKAN)
#define DEVICE
#define READS               elements
#define WRITES              elements
#define AT(x, i)            ((x) + (i)).at
#define SHARED(name, count) shared ELEM name[count];
#define USES(name)
#define BARRIER()           barrier()
#define AS(type, value)     type(value)
#define ITEM(d)             gl_LocalInvocationID[d]
#define ITEMS(d)            gl_WorkGroupSize[d]
#define GROUP(d)            u64(gl_WorkGroupID[d])
#define GROUPS(d)           u64(gl_NumWorkGroups[d])
#define i32                 int
#define i64                 int64_t
#define u32                 uint
#define u64                 uint64_t
#define quad                u64vec4
#define ODD_ONE(x)          isnan(x)
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer elements { ELEM at; };
#elif defined(__wasm__)
#define ALONE
#define KERNEL    __attribute__((visibility("default"))) void
#define DEVICE    static inline __attribute__((unused))
#define GLOBAL
#define USES(name) ELEM name[name##_count]
#define BARRIER() ((void)0)
#define ITEM(d)   0u
#define ITEMS(d)  1u
#define GROUP(d)  (((const u64 *)SYN_WASM_GRID)[d]) /* where the driver says which one it is ... */
#define GROUPS(d) (((const u64 *)SYN_WASM_GRID)[3 + (d)]) /* ... and of how many */
#define bool      _Bool
#define false     0
typedef int i32;
typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct {
    u64 x, y, z, w;
} quad;
#else
#define KERNEL      extern "C" __global__ void
#define DEVICE      static __device__ inline __attribute__((unused))
#define GLOBAL
#define USES(name)  __shared__ ELEM name[name##_count]
#define BARRIER()   __syncthreads()
#define ITEM(d)     ((u32)threadIdx.AXIS_##d)
#define ITEMS(d)    ((u32)blockDim.AXIS_##d)
#define GROUP(d)    ((u64)blockIdx.AXIS_##d)
#define GROUPS(d)   ((u64)gridDim.AXIS_##d)
#define AXIS_0      x
#define AXIS_1      y
#define AXIS_2      z
typedef int i32;
typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef ulonglong4 quad;
#endif

#ifndef VULKAN
#define READS               GLOBAL const ELEM *
#define WRITES              GLOBAL ELEM *
#define AT(x, i)            ((x)[i])
#define SHARED(name, count) enum { name##_count = (count) };
#define AS(type, value)     ((type)(value))
#define ODD_ONE(x)          ((x) != (x))
#endif

/* Is it no number at all? */
#ifdef FLOATING
#define ODD(x) ODD_ONE(x)
#else
#define ODD(x) false
#endif

/* For every i below `count`, each by one item of the launch's first direction: in turns, so that
 * neighbours are at work side by side, or, ALONE, one after the other. */
#ifdef ALONE
#define EACH(i, count) \
    u64 i = GROUP(0) * (count) / GROUPS(0), i##_end = (GROUP(0) + 1) * (count) / GROUPS(0); \
    i < i##_end; i++
#else
#define EACH(i, count) \
    u64 i = GROUP(0) * ITEMS(0) + ITEM(0); i < (count); i += GROUPS(0) * ITEMS(0)
#endif

/* Where element `i` lies, of a nest of `sizes` with `strides`. */
DEVICE u64
place(u64 i, quad sizes, quad strides)
{
    u64 at;

    if (i < sizes.w)
        return i * strides.w;
    at = i % sizes.w * strides.w;
    i /= sizes.w;
    at += i % sizes.z * strides.z;
    i /= sizes.z;
    at += i % sizes.y * strides.y;
    i /= sizes.y;
    return at + i * strides.x;
}

