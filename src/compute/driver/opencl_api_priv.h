/* The part of the OpenCL 1.2 interface that the driver uses, by its specification: an installable
 * client driver's types are opaque pointers and integers of fixed width. */
#ifndef SYN_COMPUTE_OPENCL_API_PRIV_H
#define SYN_COMPUTE_OPENCL_API_PRIV_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef struct cl_platform *cl_platform_id;
typedef struct cl_device *cl_device_id;
typedef struct cl_context_ *cl_context;
typedef struct cl_queue_ *cl_command_queue;
typedef struct cl_mem_ *cl_mem;
typedef struct cl_program_ *cl_program;
typedef struct cl_kernel_ *cl_kernel;
typedef struct cl_event_ *cl_event;

#define CL_SUCCESS                      0
#define CL_DEVICE_NOT_FOUND             (-1)
#define CL_DEVICE_NOT_AVAILABLE         (-2)
#define CL_MEM_OBJECT_ALLOCATION_FAILED (-4)
#define CL_OUT_OF_RESOURCES             (-5)
#define CL_OUT_OF_HOST_MEMORY           (-6)
#define CL_BUILD_PROGRAM_FAILURE        (-11)
#define CL_MISALIGNED_SUB_BUFFER_OFFSET (-13)
#define CL_EVENTS_IN_WAIT_LIST_FAILED   (-14)
#define CL_INVALID_KERNEL_NAME          (-46)
#define CL_INVALID_BUFFER_SIZE          (-61)
#define CL_PLATFORM_NOT_FOUND           (-1001)

#define CL_DEVICE_TYPE_CPU         (1u << 1)
#define CL_DEVICE_TYPE_GPU         (1u << 2)
#define CL_DEVICE_TYPE_ACCELERATOR (1u << 3)
#define CL_DEVICE_TYPE_ALL         0xffffffffu

#define CL_PLATFORM_VERSION 0x0901
#define CL_PLATFORM_NAME    0x0902

#define CL_DEVICE_TYPE_              0x1000
#define CL_DEVICE_MAX_COMPUTE_UNITS  0x1002
#define CL_DEVICE_MAX_GROUP_SIZE     0x1004
#define CL_DEVICE_MAX_CLOCK          0x100c
#define CL_DEVICE_MAX_ALLOC          0x1010
#define CL_DEVICE_BASE_ADDR_ALIGN    0x1019
#define CL_DEVICE_GLOBAL_MEM         0x101f
#define CL_DEVICE_LOCAL_MEM          0x1023
#define CL_DEVICE_AVAILABLE          0x1027
#define CL_DEVICE_COMPILER_AVAILABLE 0x1028
#define CL_DEVICE_NAME               0x102b
#define CL_DEVICE_VENDOR             0x102c
#define CL_DRIVER_VERSION            0x102d
#define CL_DEVICE_EXTENSIONS         0x1030
#define CL_DEVICE_DOUBLE_CONFIG      0x1032

#define CL_QUEUE_PROFILING  (1u << 1)
#define CL_MEM_READ_WRITE   (1u << 0)
#define CL_MEM_ALLOC_HOST   (1u << 4)
#define CL_BUFFER_REGION    0x1220
#define CL_MAP_READ         (1u << 0)
#define CL_MAP_WRITE        (1u << 1)
#define CL_BUILD_LOG        0x1183
#define CL_EXECUTION_STATUS 0x11d3
#define CL_COMPLETE         0
#define CL_COMMAND_START    0x1282
#define CL_COMMAND_END      0x1283

struct cl_region {
    size_t origin, size;
};

typedef void (*cl_event_fn)(cl_event event, cl_int status, void *arg);

/* X(name, result, arguments, optional) */
#define CL_FUNCTIONS(X)                                                                            \
    X(clGetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *), false)                     \
    X(clGetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *), false)       \
    X(clGetDeviceIDs, cl_int, (cl_platform_id, cl_ulong, cl_uint, cl_device_id *, cl_uint *),      \
      false)                                                                                       \
    X(clGetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *), false)           \
    X(clCreateContext, cl_context,                                                                 \
      (const intptr_t *, cl_uint, const cl_device_id *,                                            \
       void (*)(const char *, const void *, size_t, void *), void *, cl_int *),                    \
      false)                                                                                       \
    X(clReleaseContext, cl_int, (cl_context), false)                                               \
    X(clCreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_ulong, cl_int *),      \
      false)                                                                                       \
    X(clReleaseCommandQueue, cl_int, (cl_command_queue), false)                                    \
    X(clCreateBuffer, cl_mem, (cl_context, cl_ulong, size_t, void *, cl_int *), false)             \
    X(clCreateSubBuffer, cl_mem, (cl_mem, cl_ulong, cl_uint, const void *, cl_int *), false)       \
    X(clReleaseMemObject, cl_int, (cl_mem), false)                                                 \
    X(clEnqueueReadBuffer, cl_int,                                                                 \
      (cl_command_queue, cl_mem, cl_uint, size_t, size_t, void *, cl_uint, const cl_event *,       \
       cl_event *),                                                                                \
      false)                                                                                       \
    X(clEnqueueWriteBuffer, cl_int,                                                                \
      (cl_command_queue, cl_mem, cl_uint, size_t, size_t, const void *, cl_uint, const cl_event *, \
       cl_event *),                                                                                \
      false)                                                                                       \
    X(clEnqueueCopyBuffer, cl_int,                                                                 \
      (cl_command_queue, cl_mem, cl_mem, size_t, size_t, size_t, cl_uint, const cl_event *,        \
       cl_event *),                                                                                \
      false)                                                                                       \
    X(clEnqueueReadBufferRect, cl_int,                                                             \
      (cl_command_queue, cl_mem, cl_uint, const size_t *, const size_t *, const size_t *, size_t,  \
       size_t, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *),                     \
      false)                                                                                       \
    X(clEnqueueWriteBufferRect, cl_int,                                                            \
      (cl_command_queue, cl_mem, cl_uint, const size_t *, const size_t *, const size_t *, size_t,  \
       size_t, size_t, size_t, const void *, cl_uint, const cl_event *, cl_event *),               \
      false)                                                                                       \
    X(clEnqueueCopyBufferRect, cl_int,                                                             \
      (cl_command_queue, cl_mem, cl_mem, const size_t *, const size_t *, const size_t *, size_t,   \
       size_t, size_t, size_t, cl_uint, const cl_event *, cl_event *),                             \
      false)                                                                                       \
    X(clEnqueueFillBuffer, cl_int,                                                                 \
      (cl_command_queue, cl_mem, const void *, size_t, size_t, size_t, cl_uint, const cl_event *,  \
       cl_event *),                                                                                \
      false)                                                                                       \
    X(clEnqueueMapBuffer, void *,                                                                  \
      (cl_command_queue, cl_mem, cl_uint, cl_ulong, size_t, size_t, cl_uint, const cl_event *,     \
       cl_event *, cl_int *),                                                                      \
      false)                                                                                       \
    X(clEnqueueUnmapMemObject, cl_int,                                                             \
      (cl_command_queue, cl_mem, void *, cl_uint, const cl_event *, cl_event *), false)            \
    X(clCreateProgramWithSource, cl_program,                                                       \
      (cl_context, cl_uint, const char **, const size_t *, cl_int *), false)                       \
    X(clCreateProgramWithIL, cl_program, (cl_context, const void *, size_t, cl_int *), true)       \
    X(clBuildProgram, cl_int,                                                                      \
      (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *),      \
       void *),                                                                                    \
      false)                                                                                       \
    X(clGetProgramBuildInfo, cl_int,                                                               \
      (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *), false)                        \
    X(clReleaseProgram, cl_int, (cl_program), false)                                               \
    X(clCreateKernel, cl_kernel, (cl_program, const char *, cl_int *), false)                      \
    X(clReleaseKernel, cl_int, (cl_kernel), false)                                                 \
    X(clSetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *), false)                   \
    X(clEnqueueNDRangeKernel, cl_int,                                                              \
      (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *,       \
       cl_uint, const cl_event *, cl_event *),                                                     \
      false)                                                                                       \
    X(clFlush, cl_int, (cl_command_queue), false)                                                  \
    X(clFinish, cl_int, (cl_command_queue), false)                                                 \
    X(clGetEventInfo, cl_int, (cl_event, cl_uint, size_t, void *, size_t *), false)                \
    X(clWaitForEvents, cl_int, (cl_uint, const cl_event *), false)                                 \
    X(clReleaseEvent, cl_int, (cl_event), false)                                                   \
    X(clGetEventProfilingInfo, cl_int, (cl_event, cl_uint, size_t, void *, size_t *), false)       \
    X(clSetEventCallback, cl_int, (cl_event, cl_int, cl_event_fn, void *), false)

struct cl_api {
#define X(name, result, arguments, optional) result(*name) arguments;
    CL_FUNCTIONS(X)
#undef X
};

#endif
