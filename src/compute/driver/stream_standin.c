/* For tests: libcuda with NVRTC and NVML, or with -DSTANDIN_HIP libamdhip64 with HIPRTC, of a
 * machine with two devices. It computes on the host, at once, and is stricter than the real ones:
 * calls before initialisation or without a current context are refused, memory outside allocations
 * and objects freed twice abort, and so does whatever is left at the end of the process.
 *
 * standin_fail(nth, code) makes the nth call from now answer with `code`; a call that frees does so
 * all the same. standin_calls() counts. An event's first look after it was recorded finds it not
 * ready. */
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stream_standin_priv.h"

#define DEVICE_BYTES ((size_t)256 << 20)
#define BLOCKS_MAX   4096

struct block {
    char *at;
    size_t bytes;
    int device; /* -1: pinned host memory, -2: registered host memory */
};

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

void standin_fail(uint64_t nth, int code);
uint64_t standin_calls(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block blocks[BLOCKS_MAX];
static size_t used[DEVICES];
static int initialised, live; /* contexts, streams, events, modules, programs */
static uint64_t fail_in, calls;
static int fail_code;
static struct function *functions; /* made once for each name, kept to the end */
static __thread int current = -1;

EXPORT void
standin_fail(uint64_t nth, int code)
{
    (void)pthread_mutex_lock(&lock);
    fail_in = nth;
    fail_code = code;
    calls = 0;
    (void)pthread_mutex_unlock(&lock);
}

EXPORT uint64_t
standin_calls(void)
{
    return calls;
}

static void
die(const char *what)
{
    (void)fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

/* What every call starts with; the answer is 0 or the code to give. The lock is held from here to
 * standin_leave(). */
int
standin_enter(int needs_context)
{
    (void)pthread_mutex_lock(&lock);
    calls++;
    if (fail_in > 0 && --fail_in == 0)
        return fail_code;
    if (!initialised)
        return 3;
    return needs_context && current < 0 ? 201 : 0;
}

int
standin_leave(int code)
{
    (void)pthread_mutex_unlock(&lock);
    return code;
}

void
standin_count(int by)
{
    live += by;
    if (live < 0)
        die("an object was destroyed twice");
}

__attribute__((destructor)) static void
look_back(void)
{
    while (functions) {
        struct function *function = functions;

        functions = function->next;
        free(function);
    }
    if (live != 0) {
        (void)fprintf(stderr, "stand-in: %d objects are left\n", live);
        _Exit(1);
    }
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (blocks[i].at) {
            (void)fprintf(stderr, "stand-in: memory is left (device %d)\n", blocks[i].device);
            _Exit(1);
        }
    }
}

/* Memory. */

static struct block *
free_slot(void)
{
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (!blocks[i].at)
            return &blocks[i];
    }
    die("too many blocks");
    return NULL;
}

static struct block *
block_of(const void *at, size_t bytes, int of_device)
{
    for (int i = 0; i < BLOCKS_MAX; i++) {
        struct block *b = &blocks[i];

        if (b->at && (const char *)at >= b->at && (const char *)at + bytes <= b->at + b->bytes &&
            (of_device ? b->device >= 0 : b->device < 0))
            return b;
    }
    return NULL;
}

static char *
device_memory(uint64_t at, size_t bytes)
{
    char *pointer = (char *)(uintptr_t)at;

    if (!block_of(pointer, bytes, 1))
        die("an address outside of device memory");
    return pointer;
}

static int
make_block(void **ret, size_t bytes, int device)
{
    struct block *b = free_slot();

    if (bytes == 0)
        return 1;
    if (bytes > DEVICE_BYTES || (device >= 0 && used[device] > DEVICE_BYTES - bytes))
        return 2;
    b->at = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!b->at)
        return 2;
    memset(b->at, 0xa5, bytes);
    b->bytes = bytes;
    b->device = device;
    if (device >= 0)
        used[device] += bytes;
    *ret = b->at;
    return 0;
}

static void
drop_block(void *at, int of_device)
{
    struct block *b = block_of(at, 1, of_device); /* not one that ends here */

    if (!b || b->at != at)
        die("memory that is not there is freed");
    if (b->device >= 0)
        used[b->device] -= b->bytes;
    if (b->device != -2)
        free(b->at);
    *b = (struct block){0};
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
    return standin_leave(code);
}

EXPORT int NAME(cuMemFree_v2, hipFree)(uint64_t at);
EXPORT int
NAME(cuMemFree_v2, hipFree)(uint64_t at)
{
    int code = standin_enter(0);

    drop_block((void *)(uintptr_t)at, 1);
    return standin_leave(code);
}

EXPORT int NAME(cuMemGetInfo_v2, hipMemGetInfo)(size_t *ret_free, size_t *ret_total);
EXPORT int
NAME(cuMemGetInfo_v2, hipMemGetInfo)(size_t *ret_free, size_t *ret_total)
{
    int code = standin_enter(1);

    if (code == 0) {
        *ret_free = DEVICE_BYTES - used[current];
        *ret_total = DEVICE_BYTES;
    }
    return standin_leave(code);
}

EXPORT int NAME(cuMemHostAlloc, hipHostMalloc)(void **ret, size_t bytes, unsigned flags);
EXPORT int
NAME(cuMemHostAlloc, hipHostMalloc)(void **ret, size_t bytes, unsigned flags)
{
    int code = standin_enter(1);

    (void)flags;
    return standin_leave(code ? code : make_block(ret, bytes, -1));
}

EXPORT int NAME(cuMemFreeHost, hipHostFree)(void *at);
EXPORT int
NAME(cuMemFreeHost, hipHostFree)(void *at)
{
    int code = standin_enter(0);

    drop_block(at, 0);
    return standin_leave(code);
}

EXPORT int NAME(cuMemHostRegister_v2, hipHostRegister)(void *at, size_t bytes, unsigned flags);
EXPORT int
NAME(cuMemHostRegister_v2, hipHostRegister)(void *at, size_t bytes, unsigned flags)
{
    int code = standin_enter(1);

    (void)flags;
    if (code == 0 && block_of(at, bytes, 0))
        code = 712; /* registered already */
    if (code == 0)
        *free_slot() = (struct block){at, bytes, -2};
    return standin_leave(code);
}

EXPORT int NAME(cuMemHostUnregister, hipHostUnregister)(void *at);
EXPORT int
NAME(cuMemHostUnregister, hipHostUnregister)(void *at)
{
    int code = standin_enter(0);

    drop_block(at, 0);
    return standin_leave(code);
}

/* Devices and contexts. */

EXPORT int NAME(cuInit, hipInit)(unsigned flags);
EXPORT int
NAME(cuInit, hipInit)(unsigned flags)
{
    (void)pthread_mutex_lock(&lock);
    initialised = 1;
    (void)flags;
    return standin_leave(0);
}

EXPORT int NAME(cuDeviceGetCount, hipGetDeviceCount)(int *ret);
EXPORT int
NAME(cuDeviceGetCount, hipGetDeviceCount)(int *ret)
{
    int code = standin_enter(0);

    *ret = getenv("STANDIN_NO_DEVICE") ? 0 : DEVICES;
    return standin_leave(code);
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

    if (code == 0 && (ordinal < 0 || ordinal >= DEVICES))
        code = 101;
    *ret = ordinal;
    return standin_leave(code);
}

EXPORT int NAME(cuDeviceGetName, hipDeviceGetName)(char *out, int cap, int device);
EXPORT int
NAME(cuDeviceGetName, hipDeviceGetName)(char *out, int cap, int device)
{
    int code = standin_enter(0);

    (void)snprintf(out, (size_t)cap, "%s",
                   device == 0 ? NAME("NVIDIA H100 80GB HBM3", "AMD Instinct MI300X")
                               : NAME("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "AMD Instinct MI300A"));
    return standin_leave(code);
}

EXPORT int NAME(cuDeviceGetUuid_v2, hipDeviceGetUuid)(unsigned char *out, int device);
EXPORT int
NAME(cuDeviceGetUuid_v2, hipDeviceGetUuid)(unsigned char *out, int device)
{
    int code = standin_enter(0);

    memset(out, 0x11 * (device + 1), 16);
    return standin_leave(code);
}

EXPORT int NAME(cuDeviceTotalMem_v2, hipDeviceTotalMem)(size_t *ret, int device);
EXPORT int
NAME(cuDeviceTotalMem_v2, hipDeviceTotalMem)(size_t *ret, int device)
{
    int code = standin_enter(0);

    (void)device;
    *ret = DEVICE_BYTES;
    return standin_leave(code);
}

EXPORT int NAME(cuDeviceGetPCIBusId, hipDeviceGetPCIBusId)(char *out, int cap, int device);
EXPORT int
NAME(cuDeviceGetPCIBusId, hipDeviceGetPCIBusId)(char *out, int cap, int device)
{
    int code = standin_enter(0);

    (void)snprintf(out, (size_t)cap, "0000:%02x:00.0", 0x3bU + (unsigned)device);
    return standin_leave(code);
}

EXPORT int NAME(cuCtxGetStreamPriorityRange, hipDeviceGetStreamPriorityRange)(int *least,
                                                                              int *greatest);
EXPORT int
NAME(cuCtxGetStreamPriorityRange, hipDeviceGetStreamPriorityRange)(int *least, int *greatest)
{
    int code = standin_enter(1);

    *least = 0;
    *greatest = -5;
    return standin_leave(code);
}

EXPORT int NAME(cuDeviceCanAccessPeer, hipDeviceCanAccessPeer)(int *ret, int device, int peer);
EXPORT int
NAME(cuDeviceCanAccessPeer, hipDeviceCanAccessPeer)(int *ret, int device, int peer)
{
    int code = standin_enter(0);

    *ret = device != peer;
    return standin_leave(code);
}

#ifdef STANDIN_HIP
EXPORT int hipSetDevice(uintptr_t device);
EXPORT int hipDeviceReset(void);

EXPORT int
hipSetDevice(uintptr_t device)
{
    int code = standin_enter(0);

    if (code == 0 && (int)device >= DEVICES)
        code = 101;
    if (code == 0)
        current = (int)device;
    return standin_leave(code);
}

EXPORT int
hipDeviceReset(void)
{
    int code = standin_enter(1);

    return standin_leave(code);
}
#else
char standin_contexts[DEVICES];

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
    return standin_leave(code);
}

EXPORT int
cuDevicePrimaryCtxRetain(uintptr_t *ret, int device)
{
    int code = standin_enter(0);

    if (code == 0) {
        *ret = (uintptr_t)&standin_contexts[device];
        standin_count(1);
    }
    return standin_leave(code);
}

EXPORT int
cuDevicePrimaryCtxRelease_v2(int device)
{
    int code = standin_enter(0);

    (void)device;
    standin_count(-1);
    return standin_leave(code);
}

EXPORT int
cuDevicePrimaryCtxReset_v2(int device)
{
    int code = standin_enter(0);

    (void)device;
    return standin_leave(code);
}

EXPORT int
cuCtxSetCurrent(uintptr_t ctx)
{
    int code = standin_enter(0);

    if (code == 0 &&
        (ctx < (uintptr_t)standin_contexts || ctx >= (uintptr_t)(standin_contexts + DEVICES)))
        code = 201;
    if (code == 0)
        current = (int)(ctx - (uintptr_t)standin_contexts);
    return standin_leave(code);
}
#endif

EXPORT int NAME(cuCtxEnablePeerAccess, hipDeviceEnablePeerAccess)(uintptr_t peer, unsigned flags);
EXPORT int
NAME(cuCtxEnablePeerAccess, hipDeviceEnablePeerAccess)(uintptr_t peer, unsigned flags)
{
    static int enabled[DEVICES];
    int code = standin_enter(1);

    (void)peer;
    (void)flags;
    if (code == 0)
        code = enabled[current]++ ? 704 : 0;
    return standin_leave(code);
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
    return standin_leave(code);
}

EXPORT int NAME(cuStreamDestroy_v2, hipStreamDestroy)(void *stream);
EXPORT int
NAME(cuStreamDestroy_v2, hipStreamDestroy)(void *stream)
{
    int code = standin_enter(0);

    free(stream);
    standin_count(-1);
    return standin_leave(code);
}

EXPORT int NAME(cuStreamSynchronize, hipStreamSynchronize)(void *stream);
EXPORT int
NAME(cuStreamSynchronize, hipStreamSynchronize)(void *stream)
{
    (void)stream;
    return standin_leave(standin_enter(1));
}

EXPORT int NAME(cuStreamWaitEvent, hipStreamWaitEvent)(void *stream, void *event, unsigned flags);
EXPORT int
NAME(cuStreamWaitEvent, hipStreamWaitEvent)(void *stream, void *event, unsigned flags)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0 && (flags != 0 || !((struct event *)event)->recorded))
        code = 1;
    return standin_leave(code);
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
    return standin_leave(code);
}

EXPORT int NAME(cuEventDestroy_v2, hipEventDestroy)(void *event);
EXPORT int
NAME(cuEventDestroy_v2, hipEventDestroy)(void *event)
{
    int code = standin_enter(0);

    free(event);
    standin_count(-1);
    return standin_leave(code);
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
    return standin_leave(code);
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
    return standin_leave(code);
}

EXPORT int NAME(cuEventSynchronize, hipEventSynchronize)(void *event);
EXPORT int
NAME(cuEventSynchronize, hipEventSynchronize)(void *event)
{
    int code = standin_enter(1);

    ((struct event *)event)->looked = 1;
    return standin_leave(code);
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
    return standin_leave(code);
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
        memcpy(device_memory(dst, bytes), src, bytes);
    return standin_leave(code);
}

EXPORT int NAME(cuMemcpyDtoHAsync_v2, hipMemcpyDtoHAsync)(void *dst, uint64_t src, size_t bytes,
                                                          void *stream);
EXPORT int
NAME(cuMemcpyDtoHAsync_v2, hipMemcpyDtoHAsync)(void *dst, uint64_t src, size_t bytes, void *stream)
{
    int code = standin_enter(1);

    (void)stream;
    if (code == 0)
        memcpy(dst, device_memory(src, bytes), bytes);
    return standin_leave(code);
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
        memmove(device_memory(dst, bytes), device_memory(src, bytes), bytes);
    return standin_leave(code);
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
        memcpy(device_memory(dst, bytes), device_memory(src, bytes), bytes);
    return standin_leave(code);
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
        memset(device_memory(at, bytes), value, bytes);
    return standin_leave(code);
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
        (void)device_memory((uint64_t)(uintptr_t)src, (height - 1) * src_pitch + width);
    if (code == 0 && kind != 2)
        (void)device_memory((uint64_t)(uintptr_t)dst, (height - 1) * dst_pitch + width);
    if (code == 0)
        copy_rows(dst, dst_pitch, src, src_pitch, width, height);
    return standin_leave(code);
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
        copy_rows(c->dst_type == 1
                      ? c->dst_host
                      : device_memory(c->dst_device, (c->height - 1) * c->dst_pitch + c->width),
                  c->dst_pitch,
                  c->src_type == 1
                      ? c->src_host
                      : device_memory(c->src_device, (c->height - 1) * c->src_pitch + c->width),
                  c->src_pitch, c->width, c->height);
    return standin_leave(code);
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
    return standin_leave(code);
}

EXPORT int NAME(cuModuleUnload, hipModuleUnload)(void *module);
EXPORT int
NAME(cuModuleUnload, hipModuleUnload)(void *module)
{
    int code = standin_enter(0);

    free(((struct module *)module)->text);
    free(module);
    standin_count(-1);
    return standin_leave(code);
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
    return standin_leave(code);
}

static void
run_axpy(void **params, uint64_t threads)
{
    float a = *(float *)params[0];
    unsigned n = *(unsigned *)params[3];
    const float *x = (float *)(void *)device_memory(*(uint64_t *)params[1], n * sizeof(*x));
    float *y = (float *)(void *)device_memory(*(uint64_t *)params[2], n * sizeof(*y));

    for (uint64_t i = 0; i < threads && i < n; i++)
        y[i] += a * x[i];
}

static void
run_iota(void **params, uint64_t threads)
{
    unsigned n = *(unsigned *)params[1];
    int *y = (int *)(void *)device_memory(*(uint64_t *)params[0], n * sizeof(*y));

    for (uint64_t i = 0; i < threads && i < n; i++)
        y[i] = *(int *)params[2] + (int)i;
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
        run_axpy(params, threads);
    else if (code == 0 && strcmp(f->name, "iota") == 0)
        run_iota(params, threads);
    return standin_leave(code);
}
