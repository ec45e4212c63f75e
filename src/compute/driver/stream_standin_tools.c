/* For tests: the run-time compiler and the management library of the stand-in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_standin_priv.h"

/* The run-time compiler: a program compiles unless it says "nonsense". */

struct program {
    char *source;
};

EXPORT int RTC(CreateProgram)(void **ret, const char *source, const char *name, int headers,
                              const char *const *texts, const char *const *names);
EXPORT int
RTC(CreateProgram)(void **ret, const char *source, const char *name, int headers,
                   const char *const *texts, const char *const *names)
{
    struct program *program = NULL;
    int code = standin_enter(0);

    (void)name;
    (void)texts;
    (void)names;
    if (code == 0 && headers == 0) {
        program = malloc(sizeof(*program));
        program->source = strdup(source);
        standin_count(1);
        *ret = program;
    }
    return standin_end(code);
}

EXPORT int RTC(DestroyProgram)(void **program);
EXPORT int
RTC(DestroyProgram)(void **program)
{
    int code = standin_enter(0);

    free(((struct program *)*program)->source);
    free(*program);
    *program = NULL;
    standin_count(-1);
    return standin_end(code);
}

EXPORT int RTC(CompileProgram)(void *program, int count, const char *const *options);
EXPORT int
RTC(CompileProgram)(void *program, int count, const char *const *options)
{
    int code = standin_enter(0);

#ifdef STANDIN_HIP
    (void)options;
    (void)count;
#else
    if (code == 0 && (count < 1 || strcmp(options[0], "--gpu-architecture=compute_90") != 0))
        code = 5;
#endif
    if (code == 0 && strstr(((struct program *)program)->source, "nonsense"))
        code = 6;
    return standin_end(code);
}

static const char said[] = "error: identifier \"nonsense\" is undefined";

EXPORT int RTC(GetProgramLogSize)(void *program, size_t *ret);
EXPORT int
RTC(GetProgramLogSize)(void *program, size_t *ret)
{
    (void)program;
    *ret = sizeof(said);
    return standin_end(standin_enter(0));
}

EXPORT int RTC(GetProgramLog)(void *program, char *out);
EXPORT int
RTC(GetProgramLog)(void *program, char *out)
{
    (void)program;
    memcpy(out, said, sizeof(said));
    return standin_end(standin_enter(0));
}

#ifdef STANDIN_HIP
#define CODE_SIZE hiprtcGetCodeSize
#define CODE      hiprtcGetCode
#else
#define CODE_SIZE nvrtcGetPTXSize
#define CODE      nvrtcGetPTX
#endif

EXPORT int CODE_SIZE(void *program, size_t *ret);
EXPORT int CODE(void *program, char *out);

EXPORT int
CODE_SIZE(void *program, size_t *ret)
{
    *ret = strlen(((struct program *)program)->source) + 6;
    return standin_end(standin_enter(0));
}

EXPORT int
CODE(void *program, char *out)
{
    const char *source = ((struct program *)program)->source;

    (void)snprintf(out, strlen(source) + 6, "IMAGE%s", source);
    return standin_end(standin_enter(0));
}

#ifndef STANDIN_HIP
/* The management library. */
EXPORT int nvmlInit_v2(void);
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **ret);
EXPORT int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *ret);
EXPORT int nvmlDeviceGetUtilizationRates(void *handle, unsigned *ret);
EXPORT int nvmlDeviceGetPowerUsage(void *handle, unsigned *ret);
EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *ret);
EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *ret);
EXPORT int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter,
                                       unsigned long long *ret);
EXPORT int nvmlDeviceGetCurrPcieLinkGeneration(void *handle, unsigned *ret);
EXPORT int nvmlDeviceGetCurrPcieLinkWidth(void *handle, unsigned *ret);

EXPORT int
nvmlInit_v2(void)
{
    return 0;
}

EXPORT int
nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **ret)
{
    *ret = &standin_contexts[strcmp(pci, "0000:3b:00.0") == 0 ? 0 : 1];
    return 0;
}

EXPORT int
nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *ret)
{
    (void)handle;
    *ret = 41;
    return sensor == 0 ? 0 : 2;
}

EXPORT int
nvmlDeviceGetUtilizationRates(void *handle, unsigned *ret)
{
    (void)handle;
    ret[0] = 7;
    ret[1] = 3;
    return 0;
}

EXPORT int
nvmlDeviceGetPowerUsage(void *handle, unsigned *ret)
{
    (void)handle;
    *ret = 120500;
    return 0;
}

EXPORT int
nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *ret)
{
    (void)handle;
    *ret = 700000;
    return 0;
}

EXPORT int
nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *ret)
{
    (void)handle;
    *ret = 5000;
    return 0;
}

EXPORT int
nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *ret)
{
    (void)counter;
    *ret = handle == &standin_contexts[1] && type == 1 ? 2 : 0;
    return 0;
}

EXPORT int
nvmlDeviceGetCurrPcieLinkGeneration(void *handle, unsigned *ret)
{
    (void)handle;
    *ret = 5;
    return 0;
}

EXPORT int
nvmlDeviceGetCurrPcieLinkWidth(void *handle, unsigned *ret)
{
    (void)handle;
    *ret = 16;
    return 0;
}
#endif
