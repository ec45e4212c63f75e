/* NVIDIA's management library, loaded at run time: nothing of it is needed to build, and a node
 * without GPUs never sees it. Only entry points whose names carry their version are called. */
#include "probe_priv.h"

#include <dlfcn.h>

#include <synor/base/str.h>

#define NVML_SUCCESS 0

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
    };

    for (size_t i = 0; i < SYN_LEN(symbols); i++) {
        *symbols[i].slot = dlsym(library, symbols[i].name);
        if (!*symbols[i].slot)
            return false;
    }
    return true;
}

static size_t
read_devices(const struct nvml *nvml, struct syn_gpu *out, size_t max)
{
    unsigned count = 0;
    size_t stored = 0;

    if (nvml->count(&count) != NVML_SUCCESS)
        return 0;
    for (unsigned i = 0; i < count && stored < max; i++) {
        struct syn_gpu *gpu = &out[stored];
        struct nvml_memory memory = {0};
        void *device = NULL;

        *gpu = (struct syn_gpu){0};
        if (nvml->handle(i, &device) != NVML_SUCCESS ||
            nvml->name(device, gpu->model, sizeof(gpu->model)) != NVML_SUCCESS ||
            nvml->memory(device, &memory) != NVML_SUCCESS)
            continue;
        (void)nvml->uuid(device, gpu->uuid, sizeof(gpu->uuid));
        gpu->vram_bytes = (int64_t)memory.total;
        stored++;
    }
    return stored;
}

int
syn_nvml_read(const char *library, struct syn_gpu *out, size_t max, size_t *ret_count, char *driver,
              size_t driver_cap, struct syn_err *err)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    struct nvml nvml;
    int rc;

    if (!handle)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s is not installed", library);
    if (!load(handle, &nvml)) {
        (void)dlclose(handle);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s lacks a function: too old", library);
    }
    rc = nvml.init();
    if (rc != NVML_SUCCESS) {
        (void)dlclose(handle);
        return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                        "%s answers with error %d: is the kernel driver loaded?", library, rc);
    }
    (void)syn_str_copy(driver, driver_cap, "unknown");
    (void)nvml.driver(driver, (unsigned)driver_cap);
    *ret_count = read_devices(&nvml, out, max);
    (void)nvml.shutdown();
    (void)dlclose(handle);
    return SYN_OK;
}
