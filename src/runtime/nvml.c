/* NVIDIA's management library, loaded at run time: nothing of it is needed to build, and a node
 * without GPUs never sees it. Only entry points whose names carry their version are called. */
#include <synor/runtime/gpu.h>

#include <dlfcn.h>

#include <synor/base/str.h>

#define NVML_SUCCESS 0
#define NVML_MIG_ON  1
#define LIBRARY      "libnvidia-ml.so.1"

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_place {
    void *device;
    unsigned id, profile, start, size;
};

struct nvml_shape {
    unsigned counts[6];
    unsigned slices, compute_slices;
    unsigned long long memory_mib;
};

struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    int (*driver)(char *, unsigned);
    int (*count)(unsigned *);
    int (*handle)(unsigned, void **);
    int (*name)(void *, char *, unsigned);
    int (*uuid)(void *, char *, unsigned);
    int (*memory)(void *, struct nvml_memory *);
    int (*minor)(void *, unsigned *);
    int (*mig)(void *, unsigned *, unsigned *); /* NULL before driver 450 */
    int (*capability)(void *, int *, int *);    /* NULL before driver 410 */

    /* Partitions; any NULL before driver 450. */
    int (*parts_max)(void *, unsigned *);
    int (*part)(void *, unsigned, void **);
    int (*part_instance)(void *, unsigned *);
    int (*part_compute)(void *, unsigned *);
    int (*part_shape)(void *, struct nvml_shape *);
    int (*instance)(void *, unsigned, void **);
    int (*place)(void *, struct nvml_place *);
};

static bool
load(void *library, struct nvml *ret)
{
    const struct {
        const char *name;
        void **slot;
    } symbols[] = {
        {"nvmlInit_v2", (void **)&ret->init},
        {"nvmlShutdown", (void **)&ret->shutdown},
        {"nvmlSystemGetDriverVersion", (void **)&ret->driver},
        {"nvmlDeviceGetCount_v2", (void **)&ret->count},
        {"nvmlDeviceGetHandleByIndex_v2", (void **)&ret->handle},
        {"nvmlDeviceGetName", (void **)&ret->name},
        {"nvmlDeviceGetUUID", (void **)&ret->uuid},
        {"nvmlDeviceGetMemoryInfo", (void **)&ret->memory},
        {"nvmlDeviceGetMinorNumber", (void **)&ret->minor},
    };

    for (size_t i = 0; i < SYN_LEN(symbols); i++) {
        *symbols[i].slot = dlsym(library, symbols[i].name);
        if (!*symbols[i].slot)
            return false;
    }
    *(void **)&ret->parts_max = dlsym(library, "nvmlDeviceGetMaxMigDeviceCount");
    *(void **)&ret->part = dlsym(library, "nvmlDeviceGetMigDeviceHandleByIndex");
    *(void **)&ret->part_instance = dlsym(library, "nvmlDeviceGetGpuInstanceId");
    *(void **)&ret->part_compute = dlsym(library, "nvmlDeviceGetComputeInstanceId");
    *(void **)&ret->part_shape = dlsym(library, "nvmlDeviceGetAttributes_v2");
    *(void **)&ret->instance = dlsym(library, "nvmlDeviceGetGpuInstanceById");
    *(void **)&ret->place = dlsym(library, "nvmlGpuInstanceGetInfo");
    *(void **)&ret->mig = dlsym(library, "nvmlDeviceGetMigMode");
    *(void **)&ret->capability = dlsym(library, "nvmlDeviceGetCudaComputeCapability");
    return true;
}

static bool
is_partitioned(const struct nvml *nvml, void *device)
{
    unsigned now = 0, later = 0;

    return nvml->mig && nvml->mig(device, &now, &later) == NVML_SUCCESS && now == NVML_MIG_ON;
}

/* "9.0" is 90; 0 when it does not say. */
static int
capability_of(const struct nvml *nvml, void *device)
{
    int major = 0, minor = 0;

    if (!nvml->capability || nvml->capability(device, &major, &minor) != NVML_SUCCESS ||
        major < 1 || major > 99 || minor < 0 || minor > 9)
        return 0;
    return major * 10 + minor;
}

/* What the driver calls it: slices of compute, and GB, of which the eighths that it has are
 * rounded. It has less than those: some is the driver's own. */
static bool
part_name(const struct nvml_shape *shape, int64_t vram_bytes, char *out, size_t cap)
{
    int64_t mib = (int64_t)shape->memory_mib, all = vram_bytes >> 20;
    int64_t eighths = (mib * SYN_GPU_EIGHTHS + all - 1) / SYN_MAX(all, 1);
    int64_t gb = (all + 1023) / 1024;

    if (all <= 0 || mib <= 0 || eighths > SYN_GPU_EIGHTHS || shape->slices > 7)
        return false;
    gb = (eighths * gb * 2 + SYN_GPU_EIGHTHS) / (INT64_C(2) * SYN_GPU_EIGHTHS);
    (void)snprintf(out, cap, "%ug.%ugb", shape->slices, (unsigned)gb);
    return true;
}

/* False for what cannot be given: no partition, or one that is cut further. */
static bool
read_part(const struct nvml *nvml, void *device, unsigned index, int64_t vram_bytes,
          struct syn_gpu_part *ret)
{
    struct nvml_place place = {0};
    struct nvml_shape shape = {0};
    unsigned instance = 0, compute = 0;
    void *part = NULL, *whole = NULL;

    *ret = (struct syn_gpu_part){0};
    if (nvml->part(device, index, &part) != NVML_SUCCESS ||
        nvml->uuid(part, ret->uuid, sizeof(ret->uuid)) != NVML_SUCCESS ||
        nvml->part_instance(part, &instance) != NVML_SUCCESS ||
        nvml->part_compute(part, &compute) != NVML_SUCCESS ||
        nvml->part_shape(part, &shape) != NVML_SUCCESS ||
        nvml->instance(device, instance, &whole) != NVML_SUCCESS ||
        nvml->place(whole, &place) != NVML_SUCCESS || shape.compute_slices != shape.slices ||
        place.size < 1 || place.size > SYN_GPU_EIGHTHS ||
        place.start > SYN_GPU_EIGHTHS - place.size ||
        !part_name(&shape, vram_bytes, ret->name, sizeof(ret->name)))
        return false;
    ret->start = (int)place.start;
    ret->eighths = (int)place.size;
    ret->slices = (int)shape.slices;
    ret->instance = (int)instance;
    ret->compute = (int)compute;
    return true;
}

static void
read_parts(const struct nvml *nvml, void *device, struct syn_gpu *gpu)
{
    unsigned count = 0;

    if (!nvml->parts_max || !nvml->part || !nvml->part_instance || !nvml->part_compute ||
        !nvml->part_shape || !nvml->instance || !nvml->place ||
        nvml->parts_max(device, &count) != NVML_SUCCESS)
        return;
    for (unsigned i = 0; i < count && gpu->parts_count < SYN_GPU_PARTS_MAX; i++) {
        struct syn_gpu_part part;
        size_t at = gpu->parts_count;

        if (!read_part(nvml, device, i, gpu->vram_bytes, &part))
            continue;
        for (; at > 0 && gpu->parts[at - 1].start > part.start; at--)
            gpu->parts[at] = gpu->parts[at - 1];
        gpu->parts[at] = part;
        gpu->parts_count++;
    }
}

static void
read_devices(const struct nvml *nvml, struct syn_gpu_list *list)
{
    unsigned count = 0;

    if (nvml->count(&count) != NVML_SUCCESS)
        return;
    for (unsigned i = 0; i < count && list->count < SYN_GPUS_MAX; i++) {
        struct syn_gpu *gpu = &list->gpus[list->count];
        struct nvml_memory memory = {0};
        unsigned minor = 0;
        void *device = NULL;

        *gpu = (struct syn_gpu){.minor = -1};
        if (nvml->handle(i, &device) != NVML_SUCCESS ||
            nvml->name(device, gpu->name, sizeof(gpu->name)) != NVML_SUCCESS ||
            nvml->uuid(device, gpu->uuid, sizeof(gpu->uuid)) != NVML_SUCCESS ||
            nvml->memory(device, &memory) != NVML_SUCCESS)
            continue; /* fell off the bus */
        gpu->vram_bytes = (int64_t)memory.total;
        if (is_partitioned(nvml, device)) {
            read_parts(nvml, device, gpu);
            if (gpu->parts_count == 0) {
                list->partitioned++;
                continue;
            }
        }
        gpu->capability = capability_of(nvml, device);
        if (nvml->minor(device, &minor) == NVML_SUCCESS && minor <= INT16_MAX)
            gpu->minor = (int)minor;
        list->count++;
    }
}

int
syn_gpu_list_read(const char *library, struct syn_gpu_list *ret, struct syn_err *err)
{
    const char *name = library ? library : LIBRARY;
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    struct nvml nvml;
    int rc;

    if (!handle)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s is not installed", name);
    if (!load(handle, &nvml)) {
        (void)dlclose(handle);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s lacks a function: too old", name);
    }
    rc = nvml.init();
    if (rc != NVML_SUCCESS) {
        (void)dlclose(handle);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                        "%s answers with error %d: is the kernel driver loaded?", name, rc);
    }
    *ret = (struct syn_gpu_list){.driver = "unknown"};
    (void)nvml.driver(ret->driver, sizeof(ret->driver));
    read_devices(&nvml, ret);
    (void)nvml.shutdown();
    (void)dlclose(handle);
    return SYN_OK;
}
