/* For tests: libcuda with NVRTC and NVML, or with -DSTANDIN_HIP libamdhip64 with HIPRTC, of a
 * machine with two devices. It computes on the host, at once, and is stricter than the real ones:
 * calls before initialisation or without a current context are refused, and see standin_priv.h. A
 * call that frees does so also when it fails. An event's first look after it was recorded finds it
 * not ready. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stream_standin_priv.h"

struct event {
    struct timespec at;
    int recorded, looked;
};

struct module {
    char *text;
};

struct function {
    struct function *next;
    char name[64];
};

static int initialised;
static struct function *functions; /* made once for each name, kept to the end */
static __thread int current = -1;

/* What every call starts with; the answer is 0 or the code to give. */
int
standin_enter(int needs_context)
{
    int code = standin_begin();

    if (code == 0 && !initialised)
        code = 3;
    return code == 0 && needs_context && current < 0 ? 201 : code;
}

__attribute__((destructor)) static void
free_functions(void)
{
    while (functions) {
        struct function *function = functions;

        functions = function->next;
        free(function);
    }
}

/* Memory. */

static int
make_block(void **ret, size_t bytes, int device)
{
    int made = standin_block_make(ret, bytes, device);

    return made == STANDIN_NOTHING ? 1 : made == STANDIN_FULL ? 2 : 0;
}

EXPORT int NAME(cuMemAlloc_v2, hipMalloc)(uint64_t *ret, size_t bytes);
EXPORT int
NAME(cuMemAlloc_v2, hipMalloc)(uint64_t *ret, size_t bytes)
{
    void *at = NULL;
    int code = standin_enter(1);

    if (code == 0)
        code = make_block(&at, bytes, current);
    if (code == 0)
        *ret = (uint64_t)(uintptr_t)at;
    return standin_end(code);
}

EXPORT int NAME(cuMemFree_v2, hipFree)(uint64_t at);
EXPORT int
NAME(cuMemFree_v2, hipFree)(uint64_t at)
{
    int code = standin_enter(0);

    standin_block_drop((void *)(uintptr_t)at, 1);
    return standin_end(code);
}

EXPORT int NAME(cuMemGetInfo_v2, hipMemGetInfo)(size_t *ret_free, size_t *ret_total);
EXPORT int
NAME(cuMemGetInfo_v2, hipMemGetInfo)(size_t *ret_free, size_t *ret_total)
{
    int code = standin_enter(1);

    if (code == 0) {
        *ret_free = STANDIN_DEVICE_BYTES - standin_used(current);
        *ret_total = STANDIN_DEVICE_BYTES;
    }
    return standin_end(code);
}

EXPORT int NAME(cuMemHostAlloc, hipHostMalloc)(void **ret, size_t bytes, unsigned flags);
EXPORT int
NAME(cuMemHostAlloc, hipHostMalloc)(void **ret, size_t bytes, unsigned flags)
{
    int code = standin_enter(1);

    (void)flags;
    return standin_end(code ? code : make_block(ret, bytes, STANDIN_PINNED));
}

EXPORT int NAME(cuMemFreeHost, hipHostFree)(void *at);
EXPORT int
NAME(cuMemFreeHost, hipHostFree)(void *at)
{
    int code = standin_enter(0);

    standin_block_drop(at, 0);
    return standin_end(code);
}

EXPORT int NAME(cuMemHostRegister_v2, hipHostRegister)(void *at, size_t bytes, unsigned flags);
EXPORT int
NAME(cuMemHostRegister_v2, hipHostRegister)(void *at, size_t bytes, unsigned flags)
{
    int code = standin_enter(1);

    (void)flags;
    if (code == 0 && standin_is_memory(at, bytes, 0))
        code = 712; /* registered already */
    if (code == 0)
        standin_block_watch(at, bytes, STANDIN_REGISTERED);
    return standin_end(code);
}

EXPORT int NAME(cuMemHostUnregister, hipHostUnregister)(void *at);
EXPORT int
NAME(cuMemHostUnregister, hipHostUnregister)(void *at)
{
    int code = standin_enter(0);

    standin_block_drop(at, 0);
    return standin_end(code);
}

/* Devices and contexts. */

EXPORT int NAME(cuInit, hipInit)(unsigned flags);
EXPORT int
NAME(cuInit, hipInit)(unsigned flags)
{
    int code = standin_begin();

    (void)flags;
    if (code == 0)
        initialised = 1;
    return standin_end(code);
}

EXPORT int NAME(cuDeviceGetCount, hipGetDeviceCount)(int *ret);
EXPORT int
NAME(cuDeviceGetCount, hipGetDeviceCount)(int *ret)
{
    int code = standin_enter(0);

    *ret = getenv("STANDIN_NO_DEVICE") ? 0 : STANDIN_DEVICES;
    return standin_end(code);
}

EXPORT int NAME(cuDriverGetVersion, hipDriverGetVersion)(int *ret);
EXPORT int
NAME(cuDriverGetVersion, hipDriverGetVersion)(int *ret)
{
    *ret = NAME(12040, 60032830);
    return 0;
}

EXPORT int NAME(cuDeviceGet, hipDeviceGet)(int *ret, int ordinal);
EXPORT int
NAME(cuDeviceGet, hipDeviceGet)(int *ret, int ordinal)
{
    int code = standin_enter(0);

    if (code == 0 && (ordinal < 0 || ordinal >= STANDIN_DEVICES))
        code = 101;
    *ret = ordinal;
    return standin_end(code);
}

EXPORT int NAME(cuDeviceGetName, hipDeviceGetName)(char *out, int cap, int device);
EXPORT int
NAME(cuDeviceGetName, hipDeviceGetName)(char *out, int cap, int device)
{
    int code = standin_enter(0);

    (void)snprintf(out, (size_t)cap, "%s",
                   device == 0 ? NAME("NVIDIA H100 80GB HBM3", "AMD Instinct MI300X")
                               : NAME("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "AMD Instinct MI300A"));
    return standin_end(code);
}

EXPORT int NAME(cuDeviceGetUuid_v2, hipDeviceGetUuid)(unsigned char *out, int device);
EXPORT int
NAME(cuDeviceGetUuid_v2, hipDeviceGetUuid)(unsigned char *out, int device)
{
    int code = standin_enter(0);

    memset(out, 0x11 * (device + 1), 16);
    return standin_end(code);
}

EXPORT int NAME(cuDeviceTotalMem_v2, hipDeviceTotalMem)(size_t *ret, int device);
EXPORT int
NAME(cuDeviceTotalMem_v2, hipDeviceTotalMem)(size_t *ret, int device)
{
    int code = standin_enter(0);

    (void)device;
    *ret = STANDIN_DEVICE_BYTES;
    return standin_end(code);
}

EXPORT int NAME(cuDeviceGetPCIBusId, hipDeviceGetPCIBusId)(char *out, int cap, int device);
EXPORT int
NAME(cuDeviceGetPCIBusId, hipDeviceGetPCIBusId)(char *out, int cap, int device)
{
    int code = standin_enter(0);

    (void)snprintf(out, (size_t)cap, "0000:%02x:00.0", 0x3bU + (unsigned)device);
    return standin_end(code);
}

EXPORT int NAME(cuCtxGetStreamPriorityRange, hipDeviceGetStreamPriorityRange)(int *least,
                                                                              int *greatest);
EXPORT int
NAME(cuCtxGetStreamPriorityRange, hipDeviceGetStreamPriorityRange)(int *least, int *greatest)
{
    int code = standin_enter(1);

    *least = 0;
    *greatest = -5;
    return standin_end(code);
}

EXPORT int NAME(cuDeviceCanAccessPeer, hipDeviceCanAccessPeer)(int *ret, int device, int peer);
EXPORT int
NAME(cuDeviceCanAccessPeer, hipDeviceCanAccessPeer)(int *ret, int device, int peer)
{
    int code = standin_enter(0);

    *ret = device != peer;
    return standin_end(code);
}

#ifdef STANDIN_HIP
EXPORT int hipSetDevice(uintptr_t device);
EXPORT int hipDeviceReset(void);

EXPORT int
hipSetDevice(uintptr_t device)
{
    int code = standin_enter(0);

    if (code == 0 && (int)device >= STANDIN_DEVICES)
        code = 101;
    if (code == 0)
        current = (int)device;
    return standin_end(code);
}

EXPORT int
hipDeviceReset(void)
{
    int code = standin_enter(1);

    return standin_end(code);
}
#else
char standin_contexts[STANDIN_DEVICES];

EXPORT int cuDeviceGetAttribute(int *ret, int which, int device);
EXPORT int cuDevicePrimaryCtxRetain(uintptr_t *ret, int device);
EXPORT int cuDevicePrimaryCtxRelease_v2(int device);
EXPORT int cuDevicePrimaryCtxReset_v2(int device);
EXPORT int cuCtxSetCurrent(uintptr_t ctx);

EXPORT int
cuDeviceGetAttribute(int *ret, int which, int device)
{
    static const struct {
        int which, value;
    } rows[] = {{1, 1024},     {8, 49152}, {13, 1980000}, {16, 132},
                {36, 2619000}, {37, 5120}, {75, 9},       {76, 0}};
    int code = standin_enter(0);

    (void)device;
    *ret = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        *ret = rows[i].which == which ? rows[i].value : *ret;
    return standin_end(code);
}

EXPORT int
cuDevicePrimaryCtxRetain(uintptr_t *ret, int device)
{
    int code = standin_enter(0);

    if (code == 0) {
        *ret = (uintptr_t)&standin_contexts[device];
        standin_count(1);
    }
    return standin_end(code);
}

EXPORT int
cuDevicePrimaryCtxRelease_v2(int device)
{
    int code = standin_enter(0);

    (void)device;
    standin_count(-1);
    return standin_end(code);
}

EXPORT int
cuDevicePrimaryCtxReset_v2(int device)
{
    int code = standin_enter(0);

    (void)device;
    return standin_end(code);
}

EXPORT int
cuCtxSetCurrent(uintptr_t ctx)
{
    int code = standin_enter(0);

    if (code == 0 && (ctx < (uintptr_t)standin_contexts ||
                      ctx >= (uintptr_t)(standin_contexts + STANDIN_DEVICES)))
        code = 201;
    if (code == 0)
        current = (int)(ctx - (uintptr_t)standin_contexts);
    return standin_end(code);
}
#endif

EXPORT int NAME(cuCtxEnablePeerAccess, hipDeviceEnablePeerAccess)(uintptr_t peer, unsigned flags);
EXPORT int
NAME(cuCtxEnablePeerAccess, hipDeviceEnablePeerAccess)(uintptr_t peer, unsigned flags)
{
    static int enabled[STANDIN_DEVICES];
    int code = standin_enter(1);

    (void)peer;
    (void)flags;
    if (code == 0)
        code = enabled[current]++ ? 704 : 0;
    return standin_end(code);
}

/* Streams and events. */

EXPORT int NAME(cuStreamCreateWithPriority, hipStreamCreateWithPriority)(void **ret, unsigned flags,
                                                                         int priority);
EXPORT int
NAME(cuStreamCreateWithPriority, hipStreamCreateWithPriority)(void **ret, unsigned flags,
                                                              int priority)
{
    int code = standin_enter(1);

    if (code == 0 && (flags != 1 || priority > 0 || priority < -5))
        code = 1;
    if (code == 0) {
        *ret = malloc(1);
        standin_count(1);
    }
    return standin_end(code);
}

EXPORT int NAME(cuStreamDestroy_v2, hipStreamDestroy)(void *stream);
EXPORT int
NAME(cuStreamDestroy_v2, hipStreamDestroy)(void *stream)
{
    int code = standin_enter(0);

    free(stream);
    standin_count(-1);
    return standin_end(code);
}

EXPORT int NAME(cuStreamSynchronize, hipStreamSynchronize)(void *stream);
EXPORT int
NAME(cuStreamSynchronize, hipStreamSynchronize)(void *stream)
{
    (void)stream;
    return standin_end(standin_enter(1));
}

EXPORT int NAME(cuStreamWaitEvent, hipStreamWaitEvent)(void *stream, void *event, unsigned flags);
EXPORT int
NAME(cuStreamWaitEvent, hipStreamWaitEvent)(void *stream, void *event, unsigned flags)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 && (flags != 0 || !((struct event *)event)->recorded))
        code = 1;
    return standin_end(code);
}

EXPORT int NAME(cuEventCreate, hipEventCreateWithFlags)(void **ret, unsigned flags);
EXPORT int
NAME(cuEventCreate, hipEventCreateWithFlags)(void **ret, unsigned flags)
{
    int code = standin_enter(1);

    if (code == 0 && flags > 1)
        code = 1;
    if (code == 0) {
        *ret = calloc(1, sizeof(struct event));
        standin_count(1);
    }
    return standin_end(code);
}

EXPORT int NAME(cuEventDestroy_v2, hipEventDestroy)(void *event);
EXPORT int
NAME(cuEventDestroy_v2, hipEventDestroy)(void *event)
{
    int code = standin_enter(0);

    free(event);
    standin_count(-1);
    return standin_end(code);
}

EXPORT int NAME(cuEventRecord, hipEventRecord)(void *event, void *stream);
EXPORT int
NAME(cuEventRecord, hipEventRecord)(void *event, void *stream)
{
    struct event *e = event;
    int code = standin_enter(1);

    (void)stream;
    if (code == 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &e->at);
        e->recorded = 1;
        e->looked = 0;
    }
    return standin_end(code);
}

EXPORT int NAME(cuEventQuery, hipEventQuery)(void *event);
EXPORT int
NAME(cuEventQuery, hipEventQuery)(void *event)
{
    struct event *e = event;
    int code = standin_enter(1);

    if (code == 0 && e->recorded && !e->looked) {
        e->looked = 1;
        code = 600;
    }
    return standin_end(code);
}

EXPORT int NAME(cuEventSynchronize, hipEventSynchronize)(void *event);
EXPORT int
NAME(cuEventSynchronize, hipEventSynchronize)(void *event)
{
    int code = standin_enter(1);

    ((struct event *)event)->looked = 1;
    return standin_end(code);
}

EXPORT int NAME(cuEventElapsedTime, hipEventElapsedTime)(float *ret_ms, void *start, void *end);
EXPORT int
NAME(cuEventElapsedTime, hipEventElapsedTime)(float *ret_ms, void *start, void *end)
{
    const struct event *a = start, *b = end;
    int code = standin_enter(1);

    if (code == 0 && (!a->recorded || !b->recorded))
        code = 400;
    *ret_ms = (float)((double)(b->at.tv_sec - a->at.tv_sec) * 1e3 +
                      (double)(b->at.tv_nsec - a->at.tv_nsec) / 1e6);
    return standin_end(code);
}

/* Copies. */

EXPORT int NAME(cuMemcpyHtoDAsync_v2, hipMemcpyHtoDAsync)(uint64_t dst, const void *src,
                                                          size_t bytes, void *stream);
EXPORT int
NAME(cuMemcpyHtoDAsync_v2, hipMemcpyHtoDAsync)(uint64_t dst, const void *src, size_t bytes,
                                               void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0)
        memcpy(standin_device_memory(dst, bytes), src, bytes);
    return standin_end(code);
}

EXPORT int NAME(cuMemcpyDtoHAsync_v2, hipMemcpyDtoHAsync)(void *dst, uint64_t src, size_t bytes,
                                                          void *stream);
EXPORT int
NAME(cuMemcpyDtoHAsync_v2, hipMemcpyDtoHAsync)(void *dst, uint64_t src, size_t bytes, void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0)
        memcpy(dst, standin_device_memory(src, bytes), bytes);
    return standin_end(code);
}

EXPORT int NAME(cuMemcpyDtoDAsync_v2, hipMemcpyDtoDAsync)(uint64_t dst, uint64_t src, size_t bytes,
                                                          void *stream);
EXPORT int
NAME(cuMemcpyDtoDAsync_v2, hipMemcpyDtoDAsync)(uint64_t dst, uint64_t src, size_t bytes,
                                               void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0)
        memmove(standin_device_memory(dst, bytes), standin_device_memory(src, bytes), bytes);
    return standin_end(code);
}

EXPORT int NAME(cuMemcpyPeerAsync, hipMemcpyPeerAsync)(uint64_t dst, context dst_context,
                                                       uint64_t src, context src_context,
                                                       size_t bytes, void *stream);
EXPORT int
NAME(cuMemcpyPeerAsync, hipMemcpyPeerAsync)(uint64_t dst, context dst_context, uint64_t src,
                                            context src_context, size_t bytes, void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 && dst_context == src_context)
        code = 1;
    if (code == 0)
        memcpy(standin_device_memory(dst, bytes), standin_device_memory(src, bytes), bytes);
    return standin_end(code);
}

EXPORT int NAME(cuMemsetD8Async, hipMemsetD8Async)(uint64_t at, unsigned char value, size_t bytes,
                                                   void *stream);
EXPORT int
NAME(cuMemsetD8Async, hipMemsetD8Async)(uint64_t at, unsigned char value, size_t bytes,
                                        void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0)
        memset(standin_device_memory(at, bytes), value, bytes);
    return standin_end(code);
}

static void
copy_rows(char *dst, size_t dst_pitch, const char *src, size_t src_pitch, size_t width,
          size_t height)
{
    for (size_t i = 0; i < height; i++)
        memmove(dst + i * dst_pitch, src + i * src_pitch, width);
}

#ifdef STANDIN_HIP
/* NOLINTNEXTLINE(readability-function-size): the vendor's */
EXPORT int hipMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch,
                            size_t width, size_t height, int kind, void *stream);
EXPORT int
/* NOLINTNEXTLINE(readability-function-size): the vendor's */
hipMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                 size_t height, int kind, void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 && (width > dst_pitch || width > src_pitch || kind < 1 || kind > 3))
        code = 1;
    if (code == 0 && kind != 1)
        (void)standin_device_memory((uint64_t)(uintptr_t)src, (height - 1) * src_pitch + width);
    if (code == 0 && kind != 2)
        (void)standin_device_memory((uint64_t)(uintptr_t)dst, (height - 1) * dst_pitch + width);
    if (code == 0)
        copy_rows(dst, dst_pitch, src, src_pitch, width, height);
    return standin_end(code);
}
#else
struct memcpy_2d {
    size_t src_x, src_y;
    int src_type;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch;
    size_t dst_x, dst_y;
    int dst_type;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch;
    size_t width, height;
};

EXPORT int cuMemcpy2DAsync_v2(const struct memcpy_2d *c, void *stream);
EXPORT int
cuMemcpy2DAsync_v2(const struct memcpy_2d *c, void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 &&
        (c->width > c->dst_pitch || c->width > c->src_pitch || c->src_x || c->src_y || c->dst_x ||
         c->dst_y || c->src_type < 1 || c->src_type > 2 || c->dst_type < 1 || c->dst_type > 2))
        code = 1;
    if (code == 0)
        copy_rows(
            c->dst_type == 1
                ? c->dst_host
                : standin_device_memory(c->dst_device, (c->height - 1) * c->dst_pitch + c->width),
            c->dst_pitch,
            c->src_type == 1
                ? c->src_host
                : standin_device_memory(c->src_device, (c->height - 1) * c->src_pitch + c->width),
            c->src_pitch, c->width, c->height);
    return standin_end(code);
}
#endif

/* Modules and launches: an image is text that names its kernels. */

EXPORT int NAME(cuModuleLoadDataEx, hipModuleLoadDataEx)(void **ret, const void *image,
                                                         unsigned count, const int *keys,
                                                         void **values);
EXPORT int
NAME(cuModuleLoadDataEx, hipModuleLoadDataEx)(void **ret, const void *image, unsigned count,
                                              const int *keys, void **values)
{
    struct module *module = NULL;
    int code = standin_enter(1);

    if (code == 0 && strncmp(image, "IMAGE", 5) != 0) {
        code = 218;
        for (unsigned i = 0; i < count; i++) {
            if (keys[i] == 5)
                (void)snprintf(values[i], 64, "ptxas: line 1: syntax error");
        }
    }
    if (code == 0) {
        module = malloc(sizeof(*module));
        module->text = strdup(image);
        standin_count(1);
        *ret = module;
    }
    return standin_end(code);
}

EXPORT int NAME(cuModuleUnload, hipModuleUnload)(void *module);
EXPORT int
NAME(cuModuleUnload, hipModuleUnload)(void *module)
{
    int code = standin_enter(0);

    free(((struct module *)module)->text);
    free(module);
    standin_count(-1);
    return standin_end(code);
}

EXPORT int NAME(cuModuleGetFunction, hipModuleGetFunction)(void **ret, void *module,
                                                           const char *name);
EXPORT int
NAME(cuModuleGetFunction, hipModuleGetFunction)(void **ret, void *module, const char *name)
{
    struct function *function = NULL;
    char wanted[80];
    int code = standin_enter(1);

    (void)snprintf(wanted, sizeof(wanted), "void %.60s(", name);
    if (code == 0 && !strstr(((struct module *)module)->text, wanted))
        code = 500;
    for (function = functions; code == 0 && function; function = function->next) {
        if (strcmp(function->name, name) == 0)
            break;
    }
    if (code == 0 && !function) {
        function = calloc(1, sizeof(*function));
        (void)snprintf(function->name, sizeof(function->name), "%s", name);
        function->next = functions;
        functions = function;
    }
    if (code == 0)
        *ret = function;
    return standin_end(code);
}

/* NOLINTNEXTLINE(readability-function-size): the vendor's */
EXPORT int NAME(cuLaunchKernel, hipModuleLaunchKernel)(void *function, unsigned gx, unsigned gy,
                                                       unsigned gz, unsigned bx, unsigned by,
                                                       unsigned bz, unsigned shared, void *stream,
                                                       void **params, void **extra);
EXPORT int
/* NOLINTNEXTLINE(readability-function-size): the vendor's */
NAME(cuLaunchKernel, hipModuleLaunchKernel)(void *function, unsigned gx, unsigned gy, unsigned gz,
                                            unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                            void *stream, void **params, void **extra)
{
    const struct function *f = function;
    uint64_t threads = (uint64_t)gx * bx;
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 && (gy != 1 || gz != 1 || by != 1 || bz != 1 || shared != 0 || extra))
        code = 1;
    if (code == 0 && strcmp(f->name, "axpy") == 0)
        standin_axpy(*(float *)params[0], *(uint64_t *)params[1], *(uint64_t *)params[2],
                     *(unsigned *)params[3], threads);
    else if (code == 0 && strcmp(f->name, "iota") == 0)
        standin_iota(*(uint64_t *)params[0], *(unsigned *)params[1], *(int *)params[2], threads);
    return standin_end(code);
}
