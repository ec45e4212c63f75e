/* One text for OpenCL C, CUDA C and HIP C: what the three call differently has one name here. Number
 * formats come from the compiler's options: ELEM or REAL, and FLOATING where ELEM is. */
#ifdef __OPENCL_VERSION__
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#define KERNEL                    kernel void
#define DEVICE                    static inline __attribute__((unused))
#define GLOBAL                    global
#define SHARED(type, name, count) local type name[count]
#define BARRIER()                 barrier(CLK_LOCAL_MEM_FENCE)
#define ITEM(d)                   ((u32)get_local_id(d))
#define ITEMS(d)                  ((u32)get_local_size(d))
#define GROUP(d)                  ((u64)get_group_id(d))
#define GROUPS(d)                 ((u64)get_num_groups(d))
typedef int i32;
typedef long i64;
typedef uint u32;
typedef ulong u64;
typedef ulong4 quad;
#else
#define KERNEL                    extern "C" __global__ void
#define DEVICE                    static __device__ inline __attribute__((unused))
#define GLOBAL
#define SHARED(type, name, count) __shared__ type name[count]
#define BARRIER()                 __syncthreads()
#define ITEM(d)                   ((u32)threadIdx.AXIS_##d)
#define ITEMS(d)                  ((u32)blockDim.AXIS_##d)
#define GROUP(d)                  ((u64)blockIdx.AXIS_##d)
#define GROUPS(d)                 ((u64)gridDim.AXIS_##d)
#define AXIS_0                    x
#define AXIS_1                    y
#define AXIS_2                    z
typedef int i32;
typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef ulonglong4 quad;
#endif

/* Is it no number at all? */
#ifdef FLOATING
#define ODD(x) ((x) != (x))
#else
#define ODD(x) 0
#endif

/* For every i below `count`, each by one item of the launch's first direction. */
#define EACH(i, count) \
    u64 i = GROUP(0) * ITEMS(0) + ITEM(0); i < (count); i += GROUPS(0) * ITEMS(0)

/* Where element `i` lies, of a nest of `sizes` with `strides`. */
DEVICE u64
place(u64 i, quad sizes, quad strides)
{
    u64 at = i % sizes.w * strides.w;

    if (i < sizes.w)
        return at;
    i /= sizes.w;
    at += i % sizes.z * strides.z;
    i /= sizes.z;
    at += i % sizes.y * strides.y;
    i /= sizes.y;
    return at + i * strides.x;
}

