/* The host's cores as one device. Its memory is the host's; kernels are functions of the process.
 * Workers call kernels directly and do not come through here: this is the same device for those who
 * treat all devices alike (memory manager, bench, tests). */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/compute/cpu.h>

#include "../topology_priv.h"
#include "drivers_priv.h"
#include "host_queue_priv.h"

#define RAPL "class/powercap"

struct cpu_driver {
    struct syn_driver base;
    char *sysfs;
};

static const char *
sysfs_of(const struct syn_driver *driver)
{
    return ((const struct cpu_driver *)driver)->sysfs;
}

static int
cpu_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
         struct syn_err *err)
{
    struct cpu_driver *cpu = syn_calloc(1, sizeof(*cpu));
    struct utsname names = {0};

    if (cpu)
        cpu->sysfs = syn_strdup(options->sysfs);
    if (!cpu || !cpu->sysfs) {
        syn_free(cpu);
        return SYN_FAIL(err, SYN_E_NOMEM, "cpu driver");
    }
    (void)uname(&names);
    cpu->base.ops = &syn_driver_cpu;
    cpu->base.devices = 1;
    (void)snprintf(cpu->base.version, sizeof(cpu->base.version), "%.32s %.64s", names.sysname,
                   names.release);
    *ret_driver = &cpu->base;
    return SYN_OK;
}

static void
cpu_close(struct syn_driver *driver)
{
    struct cpu_driver *cpu = SYN_CONTAINER(driver, struct cpu_driver, base);

    syn_free(cpu->sysfs);
    syn_free(cpu);
}

/* The value of the first line "key : value" of /proc/cpuinfo. */
static bool
cpuinfo(const char *key, char *out, size_t cap)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[512];
    bool found = false;

    while (file && !found && fgets(line, sizeof(line), file)) {
        char *value = strchr(line, ':');

        if (!value || strncmp(line, key, strlen(key)) != 0 || !strchr("\t :", line[strlen(key)]))
            continue;
        value[1 + strcspn(value + 1, "\n")] = '\0';
        value += strspn(value, ": \t");
        (void)syn_str_copy(out, cap, value);
        found = true;
    }
    if (file)
        (void)fclose(file);
    return found;
}

static unsigned
clock_mhz(const char *sysfs)
{
    char text[32];
    uint64_t khz = syn_sysfs_number(sysfs, 0, "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");

    if (khz > 0)
        return (unsigned)(khz / 1000);
    return cpuinfo("cpu MHz", text, sizeof(text)) ? (unsigned)strtoull(text, NULL, 10) : 0;
}

/* Cores this process may use. */
static unsigned
usable_cores(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    online = sysconf(_SC_NPROCESSORS_ONLN); /* more than a set holds */
    return online > 0 ? (unsigned)online : 1;
}

static const char *
generic_profile(uint32_t features)
{
    if (features & (SYN_BIT(SYN_CPU_AMX_BF16) | SYN_BIT(SYN_CPU_AMX_INT8)))
        return "cpu-x86-amx";
    if (features & SYN_BIT(SYN_CPU_AVX512F))
        return "cpu-x86-avx512";
    if (features & SYN_BIT(SYN_CPU_AVX2))
        return "cpu-x86-avx2";
    if (features & SYN_BIT(SYN_CPU_SVE))
        return "cpu-arm-sve";
    if (features & SYN_BIT(SYN_CPU_NEON))
        return "cpu-arm-neon";
    return features & SYN_BIT(SYN_CPU_RVV) ? "cpu-riscv-rvv" : "";
}

static void
describe_features(struct syn_device_info *ret)
{
    uint32_t features = syn_cpu_features();
    size_t len = 0;

    for (unsigned i = 0; i < SYN_CPU_FEATURES; i++) {
        if (features & SYN_BIT(i))
            len +=
                (size_t)snprintf(ret->features + len, sizeof(ret->features) - len, "%s%s",
                                 len > 0 ? " " : "", syn_cpu_feature_name((enum syn_cpu_feature)i));
    }
    (void)syn_str_copy(ret->profile, sizeof(ret->profile), generic_profile(features));
}

/* What RAPL counts, summed over the packages; -1 without it. */
static int64_t
rapl_uj(const char *sysfs)
{
    int64_t sum = -1;

    for (unsigned i = 0; i < 64; i++) {
        uint64_t uj = syn_sysfs_number(sysfs, UINT64_MAX, RAPL "/intel-rapl:%u/energy_uj", i);

        if (uj == UINT64_MAX)
            break;
        sum = (sum < 0 ? 0 : sum) + (int64_t)uj;
    }
    return sum;
}

static int
cpu_describe(struct syn_driver *driver, unsigned index, struct syn_device_info *ret,
             struct syn_err *err)
{
    struct utsname names = {0};
    int64_t bytes = syn_mem_of_machine("MemTotal");

    (void)index;
    (void)err;
    (void)uname(&names);
    *ret = (struct syn_device_info){.kind = SYN_KIND_CPU, .numa_node = -1};
    if (!cpuinfo("model name", ret->model, sizeof(ret->model)))
        (void)snprintf(ret->model, sizeof(ret->model), "%s processor", names.machine);
    if (!cpuinfo("vendor_id", ret->vendor, sizeof(ret->vendor)))
        (void)snprintf(ret->vendor, sizeof(ret->vendor), "%s", names.machine);
    (void)syn_str_copy(ret->version, sizeof(ret->version), driver->version);
    describe_features(ret);
    ret->units = usable_cores();
    ret->clock_mhz = clock_mhz(sysfs_of(driver));
    ret->memory_bytes = bytes > 0 ? (uint64_t)bytes : 0;
    ret->group_max = 1024;
    ret->queues_max = 1024;
    ret->caps =
        SYN_CAP_HOST_SHARED | SYN_CAP_HOST_WRAP | SYN_CAP_TIMES | SYN_CAP_OVERLAP | SYN_CAP_NOTIFY;
    if (rapl_uj(sysfs_of(driver)) >= 0)
        ret->caps |= SYN_CAP_POWER;
    ret->dtypes = (UINT32_C(1) << SYN_DTYPES) - 1; /* C computes with all of them, if slowly */
    ret->formats = SYN_BIT(SYN_FORMAT_NATIVE);
    return SYN_OK;
}

static int
cpu_dev_open(struct syn_driver *driver, unsigned index, struct syn_dev **ret_dev,
             struct syn_err *err)
{
    struct syn_dev *dev = syn_calloc(1, sizeof(*dev));

    (void)driver;
    (void)index;
    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    *ret_dev = dev;
    return SYN_OK;
}

static void
cpu_dev_close(struct syn_dev *dev)
{
    syn_free(dev);
}

static int
cpu_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                 struct syn_err *err)
{
    return syn_host_queue_create(dev, flags, NULL, ret_queue, err);
}

static int
cpu_health(struct syn_dev *dev, struct syn_device_health *ret, struct syn_err *err)
{
    double load = 0;

    (void)err;
    ret->state = SYN_DEVICE_OK;
    ret->memory_free_bytes = syn_mem_of_machine("MemAvailable");
    if (getloadavg(&load, 1) == 1 && dev->info.units > 0)
        ret->load_permille = (int)SYN_MIN(load * 1000 / dev->info.units, 1000.0);
    return SYN_OK;
}

static int
cpu_power(struct syn_dev *dev, struct syn_device_power *ret, struct syn_err *err)
{
    int64_t uj = rapl_uj(sysfs_of(dev->driver));

    if (uj < 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the machine does not count its energy");
    ret->source = SYN_POWER_MEASURED;
    ret->total_uj = uj;
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_cpu = {
    .version = SYN_DRIVER_VERSION,
    .name = "cpu",
    .kinds = SYN_BIT(SYN_KIND_CPU),
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .dev_open = cpu_dev_open,
    .dev_close = cpu_dev_close,
    .alloc = syn_host_alloc,
    .free = syn_host_free,
    .queue_create = cpu_queue_create,
    .queue_destroy = syn_host_queue_destroy,
    .queue_clear = syn_host_queue_clear,
    .event_create = syn_host_event_create,
    .event_destroy = syn_host_event_destroy,
    .event_poll = syn_host_event_poll,
    .event_wait = syn_host_event_wait,
    .event_span = syn_host_event_span,
    .copy = syn_host_copy,
    .fill = syn_host_fill,
    .compile = syn_host_compile,
    .program_free = syn_host_program_free,
    .launch = syn_host_launch,
    .health = cpu_health,
    .host_wrap = syn_host_wrap,
    .event_notify = syn_host_event_notify,
    .power = cpu_power,
};
