/* For tests: the management library of a machine with five GPUs, one of which fell off the bus and
 * one of which is cut into slices: 3g.40gb, 1g.10gb, 1g.20gb, and a 2g.20gb of which only half
 * is anybody's. */
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int nvmlInit_v2(void);
EXPORT int nvmlShutdown(void);
EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned cap);
EXPORT int nvmlDeviceGetCount_v2(unsigned *ret);
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **ret);
EXPORT int nvmlDeviceGetName(void *device, char *out, unsigned cap);
EXPORT int nvmlDeviceGetUUID(void *device, char *out, unsigned cap);
EXPORT int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *ret);
EXPORT int nvmlDeviceGetMinorNumber(void *device, unsigned *ret);
EXPORT int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *later);
EXPORT int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *ret);
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **ret);
EXPORT int nvmlDeviceGetGpuInstanceId(void *part, unsigned *ret);
EXPORT int nvmlDeviceGetComputeInstanceId(void *part, unsigned *ret);
EXPORT int nvmlDeviceGetAttributes_v2(void *part, void *ret);
EXPORT int nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **ret);
EXPORT int nvmlGpuInstanceGetInfo(void *instance, void *ret);

#define NOT_SUPPORTED 3
#define NOT_FOUND     6
#define GPU_IS_LOST   15

static const struct card {
    const char *name, *uuid;
    unsigned long long bytes;
    unsigned minor;
    int lost, has_mig;
    unsigned mig;
} cards[] = {
    {"NVIDIA H100 80GB HBM3", "GPU-0", 85899345920ULL, 1, 0, 1, 0},
    {"NVIDIA H100 80GB HBM3", "GPU-1", 85899345920ULL, 0, 1, 1, 0},
    {"NVIDIA A100-SXM4-80GB", "GPU-2", 85899345920ULL, 2, 0, 1, 1},
    {"NVIDIA GeForce RTX 4090", "GPU-3", 25757220864ULL, 3, 0, 0, 0},
    {"NVIDIA H100 80GB HBM3", "GPU-4", 85899345920ULL, 4, 0, 1, 0},
};

/* Begins as a card does, so that one can be asked for its UUID as well. */
static const struct part {
    const char *name, *uuid;
    unsigned id, start, size, slices, compute_slices;
    unsigned long long mib;
} parts[] = {
    {"", "MIG-c", 5, 4, 2, 1, 1, 19968},
    {"", "MIG-a", 2, 0, 4, 3, 3, 40448},
    {"", "MIG-b", 9, 6, 1, 1, 1, 9728},
    {"", "MIG-d", 7, 7, 1, 2, 1, 9728},
};

#define COUNT (sizeof(cards) / sizeof(cards[0]))

int
nvmlInit_v2(void)
{
    return 0;
}

int
nvmlShutdown(void)
{
    return 0;
}

int
nvmlSystemGetDriverVersion(char *out, unsigned cap)
{
    (void)snprintf(out, cap, "550.1");
    return 0;
}

int
nvmlDeviceGetCount_v2(unsigned *ret)
{
    *ret = COUNT;
    return 0;
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned index, void **ret)
{
    memcpy(ret, &(const void *){&cards[index]}, sizeof(*ret));
    return cards[index].lost ? GPU_IS_LOST : 0;
}

int
nvmlDeviceGetName(void *device, char *out, unsigned cap)
{
    (void)snprintf(out, cap, "%s", ((const struct card *)device)->name);
    return 0;
}

int
nvmlDeviceGetUUID(void *device, char *out, unsigned cap)
{
    (void)snprintf(out, cap, "%s", ((const struct card *)device)->uuid);
    return 0;
}

int
nvmlDeviceGetMemoryInfo(void *device, unsigned long long *ret)
{
    ret[0] = ((const struct card *)device)->bytes;
    return 0;
}

int
nvmlDeviceGetMinorNumber(void *device, unsigned *ret)
{
    *ret = ((const struct card *)device)->minor;
    return 0;
}

/* Of the last word of the name; the RTX 4090 does not say. */
int
nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    const char *name = ((const struct card *)device)->name;

    if (strstr(name, "RTX"))
        return NOT_SUPPORTED;
    *major = strstr(name, "H100") ? 9 : 8;
    *minor = 0;
    return 0;
}

int
nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *later)
{
    *now = *later = ((const struct card *)device)->mig;
    return ((const struct card *)device)->has_mig ? 0 : NOT_SUPPORTED;
}

int
nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *ret)
{
    *ret = ((const struct card *)device)->mig ? 7 : 0;
    return 0;
}

int
nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **ret)
{
    (void)device;
    if (index >= sizeof(parts) / sizeof(parts[0]))
        return NOT_FOUND;
    memcpy(ret, &(const void *){&parts[index]}, sizeof(*ret));
    return 0;
}

int
nvmlDeviceGetGpuInstanceId(void *part, unsigned *ret)
{
    *ret = ((const struct part *)part)->id;
    return 0;
}

int
nvmlDeviceGetComputeInstanceId(void *part, unsigned *ret)
{
    (void)part;
    *ret = 0;
    return 0;
}

int
nvmlDeviceGetAttributes_v2(void *part, void *ret)
{
    const struct part *of = part;
    unsigned head[8] = {[6] = of->slices, [7] = of->compute_slices};

    memcpy(ret, head, sizeof(head));
    memcpy((char *)ret + sizeof(head), &of->mib, sizeof(of->mib));
    return 0;
}

int
nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **ret)
{
    (void)device;
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].id == id) {
            memcpy(ret, &(const void *){&parts[i]}, sizeof(*ret));
            return 0;
        }
    return NOT_FOUND;
}

int
nvmlGpuInstanceGetInfo(void *instance, void *ret)
{
    const struct part *of = instance;
    unsigned tail[4] = {of->id, 0, of->start, of->size};

    memcpy((char *)ret + sizeof(void *), tail, sizeof(tail));
    return 0;
}
