/* The part of Level Zero 1.0 (and of its management, Sysman, and of ocloc, the offline compiler)
 * that the driver uses, by their specifications. Handles are opaque pointers; results are
 * non-negative numbers, 0 is done. Only the fields that are used have names. */
#ifndef SYN_COMPUTE_LEVELZERO_API_PRIV_H
#define SYN_COMPUTE_LEVELZERO_API_PRIV_H

#include <stddef.h>
#include <stdint.h>

typedef int ze_result;

#define ZE_SUCCESS                0
#define ZE_NOT_READY              1
#define ZE_DEVICE_LOST            0x70000001
#define ZE_OUT_OF_HOST_MEMORY     0x70000002
#define ZE_OUT_OF_DEVICE_MEMORY   0x70000003
#define ZE_MODULE_BUILD_FAILURE   0x70000004
#define ZE_MODULE_LINK_FAILURE    0x70000005
#define ZE_REQUIRES_RESET         0x70000006
#define ZE_LOW_POWER              0x70000007
#define ZE_NO_PERMISSION          0x70010000
#define ZE_NOT_AVAILABLE          0x70010001
#define ZE_UNINITIALIZED          0x78000001
#define ZE_UNSUPPORTED_FEATURE    0x78000003
#define ZE_INVALID_ARGUMENT       0x78000004
#define ZE_UNSUPPORTED_SIZE       0x78000009
#define ZE_INVALID_NATIVE_BINARY  0x7800000f
#define ZE_INVALID_KERNEL_NAME    0x78000011
#define ZE_INVALID_ARGUMENT_INDEX 0x78000015
#define ZE_INVALID_ARGUMENT_SIZE  0x78000016

/* What a structure is. */
enum {
    ZE_TYPE_COMPUTE_PROPERTIES = 0x4,
    ZE_TYPE_MODULE_PROPERTIES = 0x5,
    ZE_TYPE_GROUP_PROPERTIES = 0x6,
    ZE_TYPE_MEMORY_PROPERTIES = 0x7,
    ZE_TYPE_CONTEXT = 0xd,
    ZE_TYPE_QUEUE = 0xe,
    ZE_TYPE_EVENT_POOL = 0x10,
    ZE_TYPE_EVENT = 0x11,
    ZE_TYPE_DEVICE_MEMORY = 0x15,
    ZE_TYPE_HOST_MEMORY = 0x16,
    ZE_TYPE_MODULE = 0x1b,
    ZE_TYPE_KERNEL = 0x1d,
    ZE_TYPE_PCI = 0x10008,
    ZE_TYPE_DEVICE_PROPERTIES = 0x20006, /* 1.2: the timer in ticks a second */
    ZES_TYPE_MEMORY_STATE = 0x1e,
};

#define ZE_DEVICE_GPU  1
#define ZE_DEVICE_CPU  2
#define ZE_DEVICE_FPGA 3
#define ZE_DEVICE_VPU  5 /* what is sold as NPU */

#define ZE_GROUP_COMPUTE     1u /* flags of a group of queues */
#define ZE_MODULE_FP16       1u /* flags of modules */
#define ZE_MODULE_FP64       2u
#define ZE_POOL_HOST_VISIBLE 1u
#define ZE_POOL_TIMESTAMP    4u
#define ZE_SCOPE_HOST        4u
#define ZE_QUEUE_ASYNC       2
#define ZE_PRIORITY_HIGH     2
#define ZE_SPIRV             0
#define ZE_NATIVE            1

#define ZES_MEMORY_OK       1 /* the worse the higher */
#define ZES_MEMORY_DEGRADED 2
#define ZES_MEMORY_CRITICAL 3
#define ZES_MEMORY_REPLACE  4

struct ze_device_properties {
    uint32_t type;
    void *next;
    uint32_t device_type, vendor, device, flags, subdevice;
    uint32_t clock_mhz;
    uint64_t alloc_max;
    uint32_t contexts_max, priority_max;
    uint32_t threads_per_unit, simd_width, units_per_subslice, subslices_per_slice, slices;
    uint64_t timer; /* ticks a second */
    uint32_t timestamp_bits, kernel_timestamp_bits;
    uint8_t uuid[16];
    char name[256];
};

struct ze_compute_properties {
    uint32_t type;
    void *next;
    uint32_t group_items_max, group_max[3], groups_max[3], shared_bytes;
    uint32_t subgroups, subgroup_sizes[8];
};

struct ze_module_properties {
    uint32_t type;
    void *next;
    uint32_t spirv_version, flags, fp16, fp32, fp64, arguments_max, printf_bytes;
    uint8_t native[16];
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the specification's */
struct ze_memory_properties {
    uint32_t type;
    void *next;
    uint32_t flags, clock_mhz, bus_bits;
    uint64_t bytes;
    char name[256];
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the specification's */
struct ze_group_properties {
    uint32_t type;
    void *next;
    uint32_t flags;
    size_t fill_max; /* bytes of a pattern */
    uint32_t queues;
};

struct ze_pci_properties {
    uint32_t type;
    void *next;
    uint32_t domain, bus, device, function;
    int32_t generation, width;
    int64_t bandwidth;
};

/* Contexts, and memory of the host's. */
struct ze_plain_desc {
    uint32_t type;
    const void *next;
    uint32_t flags;
};

struct ze_device_memory_desc {
    uint32_t type;
    const void *next;
    uint32_t flags, ordinal;
};

struct ze_queue_desc {
    uint32_t type;
    const void *next;
    uint32_t ordinal, index, flags;
    int32_t mode, priority;
};

struct ze_event_pool_desc {
    uint32_t type;
    const void *next;
    uint32_t flags, count;
};

struct ze_event_desc {
    uint32_t type;
    const void *next;
    uint32_t index, signal, wait;
};

struct ze_timestamp {
    struct {
        uint64_t start, end;
    } global, context;
};

struct ze_module_desc {
    uint32_t type;
    const void *next;
    int32_t format;
    size_t bytes;
    const uint8_t *input;
    const char *flags;
    const void *constants;
};

struct ze_kernel_desc {
    uint32_t type;
    const void *next;
    uint32_t flags;
    const char *name;
};

struct ze_group_count {
    uint32_t x, y, z;
};

struct ze_region {
    uint32_t x, y, z, width, height, depth;
};

struct zes_energy {
    uint64_t uj, timestamp_us;
};

struct zes_sustained_limit {
    uint8_t enabled;
    int32_t mw, interval_ms;
};

struct zes_memory_state {
    uint32_t type;
    const void *next;
    int32_t health;
    uint64_t free, size;
};

/* X(member, parameters, symbol, optional) */
#define ZE_FUNCTIONS(X)                                                                           \
    X(init, (uint32_t flags), "zeInit", false)                                                    \
    X(driver_get, (uint32_t * count, void **drivers), "zeDriverGet", false)                       \
    X(driver_version, (void *driver, uint32_t *version), "zeDriverGetApiVersion", false)          \
    X(device_get, (void *driver, uint32_t *count, void **devices), "zeDeviceGet", false)          \
    X(properties, (void *device, struct ze_device_properties *ret), "zeDeviceGetProperties",      \
      false)                                                                                      \
    X(compute, (void *device, struct ze_compute_properties *ret), "zeDeviceGetComputeProperties", \
      false)                                                                                      \
    X(modules, (void *device, struct ze_module_properties *ret), "zeDeviceGetModuleProperties",   \
      false)                                                                                      \
    X(memories, (void *device, uint32_t *count, struct ze_memory_properties *ret),                \
      "zeDeviceGetMemoryProperties", false)                                                       \
    X(groups, (void *device, uint32_t *count, struct ze_group_properties *ret),                   \
      "zeDeviceGetCommandQueueGroupProperties", false)                                            \
    X(can_peer, (void *device, void *peer, uint8_t *ret), "zeDeviceCanAccessPeer", false)         \
    X(status, (void *device), "zeDeviceGetStatus", false)                                         \
    X(pci, (void *device, struct ze_pci_properties *ret), "zeDevicePciGetPropertiesExt", true)    \
    X(context_create, (void *driver, const struct ze_plain_desc *desc, void **ret),               \
      "zeContextCreate", false)                                                                   \
    X(context_destroy, (void *context), "zeContextDestroy", false)                                \
    X(alloc,                                                                                      \
      (void *context, const struct ze_device_memory_desc *desc, size_t bytes, size_t align,       \
       void *device, void **ret),                                                                 \
      "zeMemAllocDevice", false)                                                                  \
    X(host_alloc,                                                                                 \
      (void *context, const struct ze_plain_desc *desc, size_t bytes, size_t align, void **ret),  \
      "zeMemAllocHost", false)                                                                    \
    X(free, (void *context, void *memory), "zeMemFree", false)                                    \
    X(list_create, (void *context, void *device, const struct ze_queue_desc *desc, void **ret),   \
      "zeCommandListCreateImmediate", false)                                                      \
    X(list_destroy, (void *list), "zeCommandListDestroy", false)                                  \
    X(copy,                                                                                       \
      (void *list, void *to, const void *from, size_t bytes, void *signal, uint32_t waits_count,  \
       void **waits),                                                                             \
      "zeCommandListAppendMemoryCopy", false)                                                     \
    X(copy_region,                                                                                \
      (void *list, void *to, const struct ze_region *to_region, uint32_t to_pitch,                \
       uint32_t to_slice, const void *from, const struct ze_region *from_region,                  \
       uint32_t from_pitch, uint32_t from_slice, void *signal, uint32_t waits_count,              \
       void **waits),                                                                             \
      "zeCommandListAppendMemoryCopyRegion", false)                                               \
    X(fill,                                                                                       \
      (void *list, void *to, const void *pattern, size_t pattern_bytes, size_t bytes,             \
       void *signal, uint32_t waits_count, void **waits),                                         \
      "zeCommandListAppendMemoryFill", false)                                                     \
    X(launch,                                                                                     \
      (void *list, void *kernel, const struct ze_group_count *groups, void *signal,               \
       uint32_t waits_count, void **waits),                                                       \
      "zeCommandListAppendLaunchKernel", false)                                                   \
    X(barrier, (void *list, void *signal, uint32_t waits_count, void **waits),                    \
      "zeCommandListAppendBarrier", false)                                                        \
    X(pool_create,                                                                                \
      (void *context, const struct ze_event_pool_desc *desc, uint32_t count, void **devices,      \
       void **ret),                                                                               \
      "zeEventPoolCreate", false)                                                                 \
    X(pool_destroy, (void *pool), "zeEventPoolDestroy", false)                                    \
    X(event_create, (void *pool, const struct ze_event_desc *desc, void **ret), "zeEventCreate",  \
      false)                                                                                      \
    X(event_destroy, (void *event), "zeEventDestroy", false)                                      \
    X(event_status, (void *event), "zeEventQueryStatus", false)                                   \
    X(event_wait, (void *event, uint64_t timeout_ns), "zeEventHostSynchronize", false)            \
    X(event_reset, (void *event), "zeEventHostReset", false)                                      \
    X(event_times, (void *event, struct ze_timestamp *ret), "zeEventQueryKernelTimestamp", false) \
    X(module_create,                                                                              \
      (void *context, void *device, const struct ze_module_desc *desc, void **ret, void **log),   \
      "zeModuleCreate", false)                                                                    \
    X(module_destroy, (void *module), "zeModuleDestroy", false)                                   \
    X(log_text, (void *log, size_t *bytes, char *ret), "zeModuleBuildLogGetString", false)        \
    X(log_destroy, (void *log), "zeModuleBuildLogDestroy", false)                                 \
    X(kernel_create, (void *module, const struct ze_kernel_desc *desc, void **ret),               \
      "zeKernelCreate", false)                                                                    \
    X(kernel_destroy, (void *kernel), "zeKernelDestroy", false)                                   \
    X(kernel_group, (void *kernel, uint32_t x, uint32_t y, uint32_t z), "zeKernelSetGroupSize",   \
      false)                                                                                      \
    X(kernel_argument, (void *kernel, uint32_t index, size_t bytes, const void *value),           \
      "zeKernelSetArgumentValue", false)                                                          \
    /* Sysman, of which a device's handle is its own where ZES_ENABLE_SYSMAN was set. */          \
    X(temperatures, (void *device, uint32_t *count, void **ret),                                  \
      "zesDeviceEnumTemperatureSensors", true)                                                    \
    X(temperature, (void *sensor, double *ret), "zesTemperatureGetState", true)                   \
    X(domains, (void *device, uint32_t *count, void **ret), "zesDeviceEnumPowerDomains", true)    \
    X(energy, (void *domain, struct zes_energy *ret), "zesPowerGetEnergyCounter", true)           \
    X(limits, (void *domain, struct zes_sustained_limit *sustained, void *burst, void *peak),     \
      "zesPowerGetLimits", true)                                                                  \
    X(memory_modules, (void *device, uint32_t *count, void **ret), "zesDeviceEnumMemoryModules",  \
      true)                                                                                       \
    X(memory_state, (void *memory, struct zes_memory_state *ret), "zesMemoryGetState", true)

struct ze_api {
#define X(member, parameters, symbol, optional) ze_result(*member) parameters;
    ZE_FUNCTIONS(X)
#undef X
};

/* ocloc: OpenCL C to SPIR-V. X(member, parameters, symbol) */
#define OCLOC_FUNCTIONS(X)                                                                 \
    X(invoke,                                                                              \
      (unsigned argc, const char **argv, uint32_t sources_count, const uint8_t **sources,  \
       const uint64_t *sources_bytes, const char **sources_names, uint32_t headers_count,  \
       const uint8_t **headers, const uint64_t *headers_bytes, const char **headers_names, \
       uint32_t *outputs_count, uint8_t ***outputs, uint64_t **outputs_bytes,              \
       char ***outputs_names),                                                             \
      "oclocInvoke")                                                                       \
    X(free,                                                                                \
      (uint32_t * outputs_count, uint8_t * **outputs, uint64_t * *outputs_bytes,           \
       char ***outputs_names),                                                             \
      "oclocFreeOutput")

struct ocloc_api {
#define X(member, parameters, symbol) int(*member) parameters;
    OCLOC_FUNCTIONS(X)
#undef X
};

#endif
