/* For tests: the management library of a machine with five GPUs, one of which fell off the bus and
 * one of which is cut into slices. */
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

#define NOT_SUPPORTED 3
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
