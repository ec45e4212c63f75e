/* What the CUDA and HIP drivers share. HIP is CUDA's driver interface with other names: the same
 * calls, the same error numbers, and on 64-bit machines the same way to pass arguments (a device
 * pointer is a 64-bit number here and a `void *` there; a context here is a device number there).
 * So one table of functions is filled from either library, and one engine runs on it; what differs
 * is in struct syn_stream_vendor. */
#ifndef SYN_COMPUTE_STREAM_PRIV_H
#define SYN_COMPUTE_STREAM_PRIV_H

#include <pthread.h>

#include <synor/base/loader.h>
#include <synor/compute/driver_ops.h>

#define STREAM_DEVICES_MAX 64

/* Codes, the same in both. */
#define STREAM_OK            0
#define STREAM_OUT_OF_MEMORY 2
#define STREAM_NO_DEVICE     100
#define STREAM_NOT_FOUND     500
#define STREAM_NOT_READY     600
#define STREAM_PEER_ENABLED  704

#define STREAM_NON_BLOCKING  1u
#define STREAM_EVENT_SLEEPS  1u /* waiting for it does not spin */
#define STREAM_HOST_PORTABLE 1u

/* X(member, arguments, CUDA's name, HIP's name, optional) */
#define STREAM_FUNCTIONS(X)                                                                        \
    X(init, (unsigned), "cuInit", "hipInit", false)                                                \
    X(count, (int *), "cuDeviceGetCount", "hipGetDeviceCount", false)                              \
    X(version, (int *), "cuDriverGetVersion", "hipDriverGetVersion", false)                        \
    X(device, (int *, int), "cuDeviceGet", "hipDeviceGet", false)                                  \
    X(name, (char *, int, int), "cuDeviceGetName", "hipDeviceGetName", false)                      \
    X(uuid, (unsigned char *, int), "cuDeviceGetUuid_v2", "hipDeviceGetUuid", true)                \
    X(total, (size_t *, int), "cuDeviceTotalMem_v2", "hipDeviceTotalMem", false)                   \
    X(pci, (char *, int, int), "cuDeviceGetPCIBusId", "hipDeviceGetPCIBusId", false)               \
    X(attribute, (int *, int, int), "cuDeviceGetAttribute", NULL, false)                           \
    X(retain, (uintptr_t *, int), "cuDevicePrimaryCtxRetain", NULL, false)                         \
    X(release, (int), "cuDevicePrimaryCtxRelease_v2", NULL, false)                                 \
    X(reset, (int), "cuDevicePrimaryCtxReset_v2", NULL, false)                                     \
    X(reset_current, (void), NULL, "hipDeviceReset", false)                                        \
    X(current, (uintptr_t), "cuCtxSetCurrent", "hipSetDevice", false)                              \
    X(priorities, (int *, int *), "cuCtxGetStreamPriorityRange",                                   \
      "hipDeviceGetStreamPriorityRange", false)                                                    \
    X(mem_info, (size_t *, size_t *), "cuMemGetInfo_v2", "hipMemGetInfo", false)                   \
    X(mem_alloc, (uint64_t *, size_t), "cuMemAlloc_v2", "hipMalloc", false)                        \
    X(mem_free, (uint64_t), "cuMemFree_v2", "hipFree", false)                                      \
    X(host_alloc, (void **, size_t, unsigned), "cuMemHostAlloc", "hipHostMalloc", false)           \
    X(host_free, (void *), "cuMemFreeHost", "hipHostFree", false)                                  \
    X(host_register, (void *, size_t, unsigned), "cuMemHostRegister_v2", "hipHostRegister", false) \
    X(host_unregister, (void *), "cuMemHostUnregister", "hipHostUnregister", false)                \
    X(to_device, (uint64_t, const void *, size_t, void *), "cuMemcpyHtoDAsync_v2",                 \
      "hipMemcpyHtoDAsync", false)                                                                 \
    X(from_device, (void *, uint64_t, size_t, void *), "cuMemcpyDtoHAsync_v2",                     \
      "hipMemcpyDtoHAsync", false)                                                                 \
    X(within, (uint64_t, uint64_t, size_t, void *), "cuMemcpyDtoDAsync_v2", "hipMemcpyDtoDAsync",  \
      false)                                                                                       \
    X(peer, (uint64_t, uintptr_t, uint64_t, uintptr_t, size_t, void *), "cuMemcpyPeerAsync",       \
      "hipMemcpyPeerAsync", false)                                                                 \
    X(copy_2d_cuda, (const void *, void *), "cuMemcpy2DAsync_v2", NULL, false)                     \
    X(copy_2d_hip, (void *, size_t, const void *, size_t, size_t, size_t, int, void *), NULL,      \
      "hipMemcpy2DAsync", false)                                                                   \
    X(fill, (uint64_t, unsigned char, size_t, void *), "cuMemsetD8Async", "hipMemsetD8Async",      \
      false)                                                                                       \
    X(can_peer, (int *, int, int), "cuDeviceCanAccessPeer", "hipDeviceCanAccessPeer", false)       \
    X(enable_peer, (uintptr_t, unsigned), "cuCtxEnablePeerAccess", "hipDeviceEnablePeerAccess",    \
      false)                                                                                       \
    X(stream_create, (void **, unsigned, int), "cuStreamCreateWithPriority",                       \
      "hipStreamCreateWithPriority", false)                                                        \
    X(stream_destroy, (void *), "cuStreamDestroy_v2", "hipStreamDestroy", false)                   \
    X(stream_sync, (void *), "cuStreamSynchronize", "hipStreamSynchronize", false)                 \
    X(stream_wait, (void *, void *, unsigned), "cuStreamWaitEvent", "hipStreamWaitEvent", false)   \
    X(event_create, (void **, unsigned), "cuEventCreate", "hipEventCreateWithFlags", false)        \
    X(event_destroy, (void *), "cuEventDestroy_v2", "hipEventDestroy", false)                      \
    X(event_record, (void *, void *), "cuEventRecord", "hipEventRecord", false)                    \
    X(event_query, (void *), "cuEventQuery", "hipEventQuery", false)                               \
    X(event_sync, (void *), "cuEventSynchronize", "hipEventSynchronize", false)                    \
    X(event_elapsed, (float *, void *, void *), "cuEventElapsedTime", "hipEventElapsedTime",       \
      false)                                                                                       \
    X(module_load, (void **, const void *, unsigned, const int *, void **), "cuModuleLoadDataEx",  \
      "hipModuleLoadDataEx", false)                                                                \
    X(module_unload, (void *), "cuModuleUnload", "hipModuleUnload", false)                         \
    X(module_function, (void **, void *, const char *), "cuModuleGetFunction",                     \
      "hipModuleGetFunction", false)                                                               \
    X(launch,                                                                                      \
      (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,       \
       void **, void **),                                                                          \
      "cuLaunchKernel", "hipModuleLaunchKernel", false)

struct stream_api {
#define X(member, arguments, cuda, hip, optional) int(*member) arguments;
    STREAM_FUNCTIONS(X)
#undef X
};

/* The run-time compilers, alike as well: nvrtc*, hiprtc*. */
#define RTC_FUNCTIONS(X)                                                                    \
    X(create,                                                                               \
      (void **, const char *, const char *, int, const char *const *, const char *const *), \
      "CreateProgram")                                                                      \
    X(compile, (void *, int, const char *const *), "CompileProgram")                        \
    X(log_size, (void *, size_t *), "GetProgramLogSize")                                    \
    X(log, (void *, char *), "GetProgramLog")                                               \
    X(destroy, (void **), "DestroyProgram")

struct rtc_api {
#define X(member, arguments, name) int(*member) arguments;
    RTC_FUNCTIONS(X)
#undef X
    int (*code_size)(void *, size_t *); /* PTX of NVRTC, a code object of HIPRTC */
    int (*code)(void *, char *);
};

struct stream_dev;

/* What differs. */
struct syn_stream_vendor {
    const char *name;       /* "cuda" */
    enum syn_format source; /* what its run-time compiler takes */
    unsigned image_options; /* 1: module_load takes an error log's buffer */
    /* Copy `rows` of `width` bytes; a side without a buffer is a host pointer. */
    int (*copy_2d)(const struct stream_api *api, uint64_t dst, bool dst_host, size_t dst_pitch,
                   uint64_t src, bool src_host, size_t src_pitch, size_t width, size_t rows,
                   void *stream);
    /* The compiler's option that names the device's architecture; false: it needs none. */
    bool (*arch)(const struct stream_dev *dev, char *out, size_t cap);
};

struct stream_driver {
    struct syn_driver base;
    const struct syn_stream_vendor *vendor;
    struct stream_api api;
    struct rtc_api rtc; /* `create` NULL: there is none */
    int devices[STREAM_DEVICES_MAX];
};

struct stream_dev {
    struct syn_dev base;
    const struct syn_stream_vendor *vendor;
    const struct stream_api *api;
    const struct rtc_api *rtc;
    int device;
    uintptr_t current;   /* the context, or the device's number */
    void *epoch;         /* the event that spans count from */
    int least, greatest; /* priorities */
};

struct stream_buf {
    struct syn_dev_buf base;
    uint64_t at;
};

struct stream_queue {
    struct syn_dev_queue base;
    void *stream;
};

struct stream_event {
    struct syn_dev_event base;
    void *start, *end;
    bool used; /* a command signals it */
};

struct stream_program {
    struct syn_dev_program base;
    void *module;
};

static inline struct stream_dev *
stream_dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct stream_dev, base);
}

static inline struct stream_driver *
stream_driver_of(struct syn_driver *driver)
{
    return SYN_CONTAINER(driver, struct stream_driver, base);
}

/* Make the device's context this thread's. */
int syn_stream_enter(const struct stream_dev *dev, struct syn_err *err);
/* The error for a code of the vendor's. */
int syn_stream_refuse(const struct syn_stream_vendor *vendor, int code, const char *what,
                      struct syn_err *err);
/* Rest of a driver's `open` once `api` is filled: initialise and count. */
int syn_stream_count(struct stream_driver *driver, struct syn_err *err);
/* Load the run-time compiler with this prefix; without one, sources are not taken. */
void syn_stream_rtc_load(struct rtc_api *rtc, const char *only, const char *const *names,
                         const char *prefix, const char *code);
/* What both can say of a device. */
int syn_stream_describe(struct stream_driver *driver, unsigned index, struct syn_device_info *ret,
                        struct syn_err *err);
/* Common rows of struct syn_driver_ops. */
void syn_stream_close(struct syn_driver *driver);
int syn_stream_dev_open(struct syn_driver *driver, unsigned index, struct syn_dev **ret_dev,
                        struct syn_err *err);
void syn_stream_dev_close(struct syn_dev *dev);
int syn_stream_alloc(struct syn_dev *dev, uint64_t bytes, struct syn_dev_buf **ret_buf,
                     struct syn_err *err);
void syn_stream_free(struct syn_dev_buf *buf);
int syn_stream_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                            struct syn_err *err);
void syn_stream_queue_destroy(struct syn_dev_queue *queue);
void syn_stream_queue_clear(struct syn_dev_queue *queue);
int syn_stream_event_create(struct syn_dev *dev, struct syn_dev_event **ret_event,
                            struct syn_err *err);
void syn_stream_event_destroy(struct syn_dev_event *event);
int syn_stream_event_poll(struct syn_dev_event *event, struct syn_err *err);
int syn_stream_event_wait(struct syn_dev_event *event, int64_t timeout_ns, struct syn_err *err);
int syn_stream_event_span(struct syn_dev_event *event, struct syn_dev_span *ret,
                          struct syn_err *err);
int syn_stream_copy(struct syn_dev *dev, const struct syn_dev_copy *copy,
                    const struct syn_dev_cmd *cmd, struct syn_err *err);
int syn_stream_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                    const struct syn_dev_cmd *cmd, struct syn_err *err);
int syn_stream_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                       struct syn_dev_program **ret_program, struct syn_err *err);
void syn_stream_program_free(struct syn_dev_program *program);
int syn_stream_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                      const struct syn_dev_cmd *cmd, struct syn_err *err);
int syn_stream_health(struct syn_dev *dev, struct syn_device_health *ret, struct syn_err *err);
bool syn_stream_can_peer(struct syn_dev *dev, struct syn_dev *other);
int syn_stream_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                         struct syn_err *err);
int syn_stream_host_alloc(struct syn_dev *dev, uint64_t bytes, void **ret_host,
                          struct syn_err *err);
void syn_stream_host_free(struct syn_dev *dev, void *host);
int syn_stream_host_register(struct syn_dev *dev, void *host, uint64_t bytes, struct syn_err *err);
void syn_stream_host_unregister(struct syn_dev *dev, void *host);
int syn_stream_reset(struct syn_dev *dev, struct syn_err *err);

#define SYN_STREAM_OPS                                                                             \
    .close = syn_stream_close, .dev_open = syn_stream_dev_open, .dev_close = syn_stream_dev_close, \
    .alloc = syn_stream_alloc, .free = syn_stream_free, .queue_create = syn_stream_queue_create,   \
    .queue_destroy = syn_stream_queue_destroy, .queue_clear = syn_stream_queue_clear,              \
    .event_create = syn_stream_event_create, .event_destroy = syn_stream_event_destroy,            \
    .event_poll = syn_stream_event_poll, .event_wait = syn_stream_event_wait,                      \
    .event_span = syn_stream_event_span, .copy = syn_stream_copy, .fill = syn_stream_fill,         \
    .compile = syn_stream_compile, .program_free = syn_stream_program_free,                        \
    .launch = syn_stream_launch, .can_peer = syn_stream_can_peer,                                  \
    .peer_copy = syn_stream_peer_copy, .host_alloc = syn_stream_host_alloc,                        \
    .host_free = syn_stream_host_free, .host_register = syn_stream_host_register,                  \
    .host_unregister = syn_stream_host_unregister, .reset = syn_stream_reset

#endif
