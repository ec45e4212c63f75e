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
        if (is_partitioned(nvml, device)) {
            list->partitioned++;
            continue;
        }
        gpu->vram_bytes = (int64_t)memory.total;
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
