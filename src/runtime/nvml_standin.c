/* For tests: the management library of a machine with two GPUs, one of which fell off the bus. */
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

static char first_device;

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
    *ret = 2;
    return 0;
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned index, void **ret)
{
    *ret = &first_device;
    return index == 0 ? 0 : 15; /* GPU_IS_LOST */
}

int
nvmlDeviceGetName(void *device, char *out, unsigned cap)
{
    (void)device;
    (void)snprintf(out, cap, "NVIDIA H100 80GB HBM3");
    return 0;
}

int
nvmlDeviceGetUUID(void *device, char *out, unsigned cap)
{
    (void)device;
    (void)snprintf(out, cap, "GPU-0");
    return 0;
}

int
nvmlDeviceGetMemoryInfo(void *device, unsigned long long *ret)
{
    (void)device;
    ret[0] = 85899345920ULL;
    return 0;
}
