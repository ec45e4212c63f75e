/* The parts of Vulkan 1.2 and of shaderc that the driver uses, by their specifications. Handles
 * that are not dispatchable are 64 bits everywhere; structures are extensible by `next`. Only the
 * fields that are used have names, the others are counted: `unused`. */
#ifndef SYN_COMPUTE_VULKAN_API_PRIV_H
#define SYN_COMPUTE_VULKAN_API_PRIV_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t VkResult;
typedef uint32_t VkBool32;
typedef struct VkInstance_ *VkInstance;
typedef struct VkPhysicalDevice_ *VkPhysicalDevice;
typedef struct VkDevice_ *VkDevice;
typedef struct VkQueue_ *VkQueue;
typedef struct VkCommandBuffer_ *VkCommandBuffer;
typedef uint64_t VkBuffer;
typedef uint64_t VkDeviceMemory;
typedef uint64_t VkFence;
typedef uint64_t VkCommandPool;
typedef uint64_t VkQueryPool;
typedef uint64_t VkShaderModule;
typedef uint64_t VkPipelineLayout;
typedef uint64_t VkPipeline;
typedef void (*vk_function)(void);

#define VK_SUCCESS                     0
#define VK_INCOMPLETE                  5
#define VK_ERROR_OUT_OF_HOST_MEMORY    (-1)
#define VK_ERROR_OUT_OF_DEVICE_MEMORY  (-2)
#define VK_ERROR_INITIALIZATION_FAILED (-3)
#define VK_ERROR_DEVICE_LOST           (-4)
#define VK_ERROR_MEMORY_MAP_FAILED     (-5)
#define VK_ERROR_LAYER_NOT_PRESENT     (-6)
#define VK_ERROR_EXTENSION_NOT_PRESENT (-7)
#define VK_ERROR_FEATURE_NOT_PRESENT   (-8)
#define VK_ERROR_INCOMPATIBLE_DRIVER   (-9)
#define VK_ERROR_TOO_MANY_OBJECTS      (-10)
#define VK_ERROR_INVALID_SHADER        (-1000012000)

#define VK_VERSION(major, minor) ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12)
#define VK_MAJOR(version)        ((version) >> 22 & 0x7f)
#define VK_MINOR(version)        ((version) >> 12 & 0x3ff)

/* What a structure is. */
enum {
    VK_TYPE_APPLICATION = 0,
    VK_TYPE_INSTANCE = 1,
    VK_TYPE_DEVICE_QUEUE = 2,
    VK_TYPE_DEVICE = 3,
    VK_TYPE_SUBMIT = 4,
    VK_TYPE_MEMORY_ALLOCATE = 5,
    VK_TYPE_FENCE = 8,
    VK_TYPE_QUERY_POOL = 11,
    VK_TYPE_BUFFER = 12,
    VK_TYPE_SHADER_MODULE = 16,
    VK_TYPE_SHADER_STAGE = 18,
    VK_TYPE_COMPUTE_PIPELINE = 29,
    VK_TYPE_PIPELINE_LAYOUT = 30,
    VK_TYPE_COMMAND_POOL = 39,
    VK_TYPE_COMMAND_BUFFER_ALLOCATE = 40,
    VK_TYPE_COMMAND_BUFFER_BEGIN = 42,
    VK_TYPE_MEMORY_BARRIER = 46,
    VK_TYPE_FEATURES_1_1 = 49,
    VK_TYPE_PROPERTIES_1_1 = 50,
    VK_TYPE_FEATURES_1_2 = 51,
    VK_TYPE_FEATURES_2 = 1000059000,
    VK_TYPE_PROPERTIES_2 = 1000059001,
    VK_TYPE_MEMORY_ALLOCATE_FLAGS = 1000060000,
    VK_TYPE_DRIVER_PROPERTIES = 1000196000,
    VK_TYPE_PCI_BUS = 1000212000,
    VK_TYPE_BUFFER_DEVICE_ADDRESS = 1000244001,
};

#define VK_DEVICE_CPU 4

#define VK_QUEUE_GRAPHICS 1u
#define VK_QUEUE_COMPUTE  2u

#define VK_MEMORY_DEVICE_LOCAL  1u
#define VK_MEMORY_HOST_VISIBLE  2u
#define VK_MEMORY_HOST_COHERENT 4u
#define VK_MEMORY_HOST_CACHED   8u

#define VK_BUFFER_TRANSFER_SRC   0x1u
#define VK_BUFFER_TRANSFER_DST   0x2u
#define VK_BUFFER_STORAGE        0x20u
#define VK_BUFFER_ADDRESS        0x20000u
#define VK_ALLOCATE_ADDRESS      2u
#define VK_WHOLE_SIZE            UINT64_MAX
#define VK_POOL_TRANSIENT        1u
#define VK_BEGIN_ONCE            1u
#define VK_QUERY_TIMESTAMP       2
#define VK_QUERY_64              1u
#define VK_QUERY_WAIT            2u
#define VK_STAGE_BOTTOM          0x2000u
#define VK_STAGE_HOST            0x4000u
#define VK_STAGE_ALL             0x10000u
#define VK_ACCESS_HOST_READ      0x2000u
#define VK_ACCESS_MEMORY_READ    0x8000u
#define VK_ACCESS_MEMORY_WRITE   0x10000u
#define VK_SHADER_STAGE_COMPUTE  0x20u
#define VK_BIND_POINT_COMPUTE    1
#define VK_FEATURES_COUNT        55
#define VK_FEATURES_1_1_COUNT    12
#define VK_FEATURES_1_2_COUNT    47
#define VK_FEATURE_FLOAT64       39 /* of VkFeatures2 */
#define VK_FEATURE_INT64         40
#define VK_FEATURE_INT16         41
#define VK_FEATURE_STORAGE16     0 /* of VkFeatures11 */
#define VK_FEATURE_STORAGE8      2 /* of VkFeatures12 */
#define VK_FEATURE_FLOAT16       7
#define VK_FEATURE_INT8          8
#define VK_FEATURE_SCALAR_LAYOUT 31
#define VK_FEATURE_ADDRESS       38

struct VkApplicationInfo {
    uint32_t type;
    const void *next;
    const char *name;
    uint32_t version;
    const char *engine;
    uint32_t engine_version, api_version;
};

struct VkInstanceCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    const struct VkApplicationInfo *application;
    uint32_t layers_count;
    const char *const *layers;
    uint32_t extensions_count;
    const char *const *extensions;
};

struct VkPhysicalDeviceLimits {
    uint32_t unused_1[9], allocations_max;
    uint32_t unused_2;
    uint64_t unused_3[2];
    uint32_t unused_4[38];
    uint32_t shared_bytes, groups_max[3], group_items_max, group_max[3];
    uint32_t unused_5[44];
    float timestamp_ns;
    uint32_t unused_6[12];
    uint64_t unused_7[3];
};

struct VkPhysicalDeviceProperties2 {
    uint32_t type;
    void *next;
    uint32_t api_version, driver_version, vendor, device;
    int32_t device_type;
    char name[256];
    uint8_t cache_uuid[16];
    struct VkPhysicalDeviceLimits limits;
    VkBool32 sparse[5];
};

struct VkProperties11 {
    uint32_t type;
    void *next;
    uint8_t device_uuid[16], driver_uuid[16], device_luid[8];
    uint32_t unused[4];
    uint32_t subgroup_operations; /* bits: basic, vote, arithmetic, ballot, shuffle, ... */
    uint32_t unused_too[6];
    uint64_t allocation_max;
};

struct VkDriverProperties {
    uint32_t type;
    void *next;
    int32_t id;
    char name[256], info[256];
    uint8_t conformance[4];
};

struct VkPciBus {
    uint32_t type;
    void *next;
    uint32_t domain, bus, device, function;
};

struct VkFeatures2 {
    uint32_t type;
    void *next;
    VkBool32 has[VK_FEATURES_COUNT];
};

struct VkFeatures11 {
    uint32_t type;
    void *next;
    VkBool32 has[VK_FEATURES_1_1_COUNT];
};

struct VkFeatures12 {
    uint32_t type;
    void *next;
    VkBool32 has[VK_FEATURES_1_2_COUNT];
};

struct VkMemoryProperties {
    uint32_t types_count;
    struct {
        uint32_t flags, heap;
    } types[32];
    uint32_t heaps_count;
    struct {
        uint64_t bytes;
        uint32_t flags;
    } heaps[16];
};

struct VkQueueFamily {
    uint32_t flags, count, timestamp_bits;
    uint32_t granularity[3];
};

struct VkExtension {
    char name[256];
    uint32_t version;
};

struct VkDeviceQueueCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags, family, count;
    const float *priorities;
};

struct VkDeviceCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    uint32_t queues_count;
    const struct VkDeviceQueueCreateInfo *queues;
    uint32_t layers_count;
    const char *const *layers;
    uint32_t extensions_count;
    const char *const *extensions;
    const void *features;
};

struct VkSubmitInfo {
    uint32_t type;
    const void *next;
    uint32_t waits_count;
    const uint64_t *waits;
    const uint32_t *stages;
    uint32_t buffers_count;
    const VkCommandBuffer *buffers;
    uint32_t signals_count;
    const uint64_t *signals;
};

/* Fences, shader modules and whatever else has no more than flags. */
struct VkPlainCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
};

struct VkMemoryAllocateInfo {
    uint32_t type;
    const void *next;
    uint64_t bytes;
    uint32_t memory_type;
};

struct VkMemoryAllocateFlagsInfo {
    uint32_t type;
    const void *next;
    uint32_t flags, device_mask;
};

struct VkBufferCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    uint64_t bytes;
    uint32_t usage;
    int32_t sharing;
    uint32_t families_count;
    const uint32_t *families;
};

struct VkBufferAddressInfo {
    uint32_t type;
    const void *next;
    VkBuffer buffer;
};

struct VkMemoryRequirements {
    uint64_t bytes, align;
    uint32_t types;
};

struct VkCommandPoolCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags, family;
};

struct VkCommandBufferAllocateInfo {
    uint32_t type;
    const void *next;
    VkCommandPool pool;
    int32_t level;
    uint32_t count;
};

struct VkCommandBufferBeginInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    const void *inheritance;
};

struct VkBufferCopy {
    uint64_t from, to, bytes;
};

struct VkMemoryBarrier {
    uint32_t type;
    const void *next;
    uint32_t from, to;
};

struct VkQueryPoolCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    int32_t query_type;
    uint32_t count, statistics;
};

struct VkShaderModuleCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    size_t bytes;
    const uint32_t *code;
};

struct VkPushConstantRange {
    uint32_t stages, offset, bytes;
};

struct VkPipelineLayoutCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    uint32_t sets_count;
    const uint64_t *sets;
    uint32_t ranges_count;
    const struct VkPushConstantRange *ranges;
};

struct VkSpecializationEntry {
    uint32_t id, offset;
    size_t bytes;
};

struct VkSpecialization {
    uint32_t count;
    const struct VkSpecializationEntry *entries;
    size_t bytes;
    const void *data;
};

struct VkShaderStage {
    uint32_t type;
    const void *next;
    uint32_t flags, stage;
    VkShaderModule module;
    const char *name;
    const struct VkSpecialization *specialization;
};

struct VkComputePipelineCreateInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    struct VkShaderStage stage;
    VkPipelineLayout layout;
    VkPipeline base;
    int32_t base_index;
};

/* X(name, result, parameters): before there is an instance. */
#define VK_GLOBAL_FUNCTIONS(X)                                    \
    X(vkEnumerateInstanceVersion, VkResult, (uint32_t * version)) \
    X(vkCreateInstance, VkResult,                                 \
      (const struct VkInstanceCreateInfo *info, const void *allocator, VkInstance *instance))

/* Of an instance. */
#define VK_INSTANCE_FUNCTIONS(X)                                                                \
    X(vkEnumeratePhysicalDevices, VkResult,                                                     \
      (VkInstance instance, uint32_t * count, VkPhysicalDevice * devices))                      \
    X(vkGetPhysicalDeviceProperties2, void,                                                     \
      (VkPhysicalDevice device, struct VkPhysicalDeviceProperties2 * properties))               \
    X(vkGetPhysicalDeviceFeatures2, void,                                                       \
      (VkPhysicalDevice device, struct VkFeatures2 * features))                                 \
    X(vkGetPhysicalDeviceMemoryProperties, void,                                                \
      (VkPhysicalDevice device, struct VkMemoryProperties * properties))                        \
    X(vkGetPhysicalDeviceQueueFamilyProperties, void,                                           \
      (VkPhysicalDevice device, uint32_t * count, struct VkQueueFamily * families))             \
    X(vkEnumerateDeviceExtensionProperties, VkResult,                                           \
      (VkPhysicalDevice device, const char *layer, uint32_t *count,                             \
       struct VkExtension *extensions))                                                         \
    X(vkCreateDevice, VkResult,                                                                 \
      (VkPhysicalDevice physical, const struct VkDeviceCreateInfo *info, const void *allocator, \
       VkDevice *device))                                                                       \
    X(vkGetDeviceProcAddr, vk_function, (VkDevice device, const char *name))

/* Of a device. X(name, parameters, arguments): those that can fail ... */
#define VK_DEVICE_CALLS(X)                                                                         \
    X(vkQueueSubmit,                                                                               \
      (VkQueue queue, uint32_t count, const struct VkSubmitInfo *submits, VkFence fence),          \
      (queue, count, submits, fence))                                                              \
    X(vkCreateFence,                                                                               \
      (VkDevice device, const struct VkPlainCreateInfo *info, const void *allocator,               \
       VkFence *fence),                                                                            \
      (device, info, allocator, fence))                                                            \
    X(vkResetFences, (VkDevice device, uint32_t count, const VkFence *fences),                     \
      (device, count, fences))                                                                     \
    X(vkWaitForFences,                                                                             \
      (VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all, uint64_t timeout_ns), \
      (device, count, fences, all, timeout_ns))                                                    \
    X(vkAllocateMemory,                                                                            \
      (VkDevice device, const struct VkMemoryAllocateInfo *info, const void *allocator,            \
       VkDeviceMemory *memory),                                                                    \
      (device, info, allocator, memory))                                                           \
    X(vkMapMemory,                                                                                 \
      (VkDevice device, VkDeviceMemory memory, uint64_t offset, uint64_t bytes, uint32_t flags,    \
       void **host),                                                                               \
      (device, memory, offset, bytes, flags, host))                                                \
    X(vkCreateBuffer,                                                                              \
      (VkDevice device, const struct VkBufferCreateInfo *info, const void *allocator,              \
       VkBuffer *buffer),                                                                          \
      (device, info, allocator, buffer))                                                           \
    X(vkBindBufferMemory,                                                                          \
      (VkDevice device, VkBuffer buffer, VkDeviceMemory memory, uint64_t offset),                  \
      (device, buffer, memory, offset))                                                            \
    X(vkCreateCommandPool,                                                                         \
      (VkDevice device, const struct VkCommandPoolCreateInfo *info, const void *allocator,         \
       VkCommandPool *pool),                                                                       \
      (device, info, allocator, pool))                                                             \
    X(vkResetCommandPool, (VkDevice device, VkCommandPool pool, uint32_t flags),                   \
      (device, pool, flags))                                                                       \
    X(vkAllocateCommandBuffers,                                                                    \
      (VkDevice device, const struct VkCommandBufferAllocateInfo *info, VkCommandBuffer *buffer),  \
      (device, info, buffer))                                                                      \
    X(vkBeginCommandBuffer, (VkCommandBuffer buffer, const struct VkCommandBufferBeginInfo *info), \
      (buffer, info))                                                                              \
    X(vkEndCommandBuffer, (VkCommandBuffer buffer), (buffer))                                      \
    X(vkCreateQueryPool,                                                                           \
      (VkDevice device, const struct VkQueryPoolCreateInfo *info, const void *allocator,           \
       VkQueryPool *pool),                                                                         \
      (device, info, allocator, pool))                                                             \
    /* NOLINTNEXTLINE(readability-function-size): the specification's */                           \
    X(vkGetQueryPoolResults,                                                                       \
      (VkDevice device, VkQueryPool pool, uint32_t first, uint32_t count, size_t bytes,            \
       void *results, uint64_t stride, uint32_t flags),                                            \
      (device, pool, first, count, bytes, results, stride, flags))                                 \
    X(vkCreateShaderModule,                                                                        \
      (VkDevice device, const struct VkShaderModuleCreateInfo *info, const void *allocator,        \
       VkShaderModule *module),                                                                    \
      (device, info, allocator, module))                                                           \
    X(vkCreatePipelineLayout,                                                                      \
      (VkDevice device, const struct VkPipelineLayoutCreateInfo *info, const void *allocator,      \
       VkPipelineLayout *layout),                                                                  \
      (device, info, allocator, layout))                                                           \
    X(vkCreateComputePipelines,                                                                    \
      (VkDevice device, uint64_t cache, uint32_t count,                                            \
       const struct VkComputePipelineCreateInfo *infos, const void *allocator,                     \
       VkPipeline *pipelines),                                                                     \
      (device, cache, count, infos, allocator, pipelines))

/* ... and those that cannot: X(name, result, parameters). */
#define VK_DEVICE_FUNCTIONS(X)                                                                     \
    X(vkDestroyDevice, void, (VkDevice device, const void *allocator))                             \
    X(vkGetDeviceQueue, void, (VkDevice device, uint32_t family, uint32_t index, VkQueue * queue)) \
    X(vkDestroyFence, void, (VkDevice device, VkFence fence, const void *allocator))               \
    X(vkFreeMemory, void, (VkDevice device, VkDeviceMemory memory, const void *allocator))         \
    X(vkDestroyBuffer, void, (VkDevice device, VkBuffer buffer, const void *allocator))            \
    X(vkGetBufferMemoryRequirements, void,                                                         \
      (VkDevice device, VkBuffer buffer, struct VkMemoryRequirements * ret))                       \
    X(vkGetBufferDeviceAddress, uint64_t,                                                          \
      (VkDevice device, const struct VkBufferAddressInfo *info))                                   \
    X(vkDestroyCommandPool, void, (VkDevice device, VkCommandPool pool, const void *allocator))    \
    X(vkCmdCopyBuffer, void,                                                                       \
      (VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t count,                       \
       const struct VkBufferCopy *regions))                                                        \
    X(vkCmdFillBuffer, void,                                                                       \
      (VkCommandBuffer commands, VkBuffer buffer, uint64_t offset, uint64_t bytes,                 \
       uint32_t value))                                                                            \
    X(vkCmdPipelineBarrier, void,                                                                  \
      (VkCommandBuffer commands, uint32_t from, uint32_t to, uint32_t flags,                       \
       uint32_t memory_count, const struct VkMemoryBarrier *memory, uint32_t buffers_count,        \
       const void *buffers, uint32_t images_count, const void *images))                            \
    X(vkCmdBindPipeline, void,                                                                     \
      (VkCommandBuffer commands, int32_t bind_point, VkPipeline pipeline))                         \
    X(vkCmdPushConstants, void,                                                                    \
      (VkCommandBuffer commands, VkPipelineLayout layout, uint32_t stages, uint32_t offset,        \
       uint32_t bytes, const void *values))                                                        \
    X(vkCmdDispatch, void, (VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z))         \
    X(vkDestroyQueryPool, void, (VkDevice device, VkQueryPool pool, const void *allocator))        \
    X(vkCmdResetQueryPool, void,                                                                   \
      (VkCommandBuffer commands, VkQueryPool pool, uint32_t first, uint32_t count))                \
    X(vkCmdWriteTimestamp, void,                                                                   \
      (VkCommandBuffer commands, uint32_t stage, VkQueryPool pool, uint32_t query))                \
    X(vkDestroyShaderModule, void,                                                                 \
      (VkDevice device, VkShaderModule module, const void *allocator))                             \
    X(vkDestroyPipelineLayout, void,                                                               \
      (VkDevice device, VkPipelineLayout layout, const void *allocator))                           \
    X(vkDestroyPipeline, void, (VkDevice device, VkPipeline pipeline, const void *allocator))

struct vk_instance_api {
#define X(name, result, parameters) result(*name) parameters;
    VK_GLOBAL_FUNCTIONS(X)
    VK_INSTANCE_FUNCTIONS(X)
#undef X
};

struct vk_device_api {
#define X(name, parameters, arguments) VkResult(*name) parameters;
    VK_DEVICE_CALLS(X)
#undef X
#define X(name, result, parameters) result(*name) parameters;
    VK_DEVICE_FUNCTIONS(X)
#undef X
};

/* shaderc: GLSL to SPIR-V. X(member, result, parameters, symbol) */
#define SHADERC_COMPUTE     2
#define SHADERC_FOR_VULKAN  0
#define SHADERC_PERFORMANCE 2
#define SHADERC_FUNCTIONS(X)                                                           \
    X(compiler_new, void *, (void), "shaderc_compiler_initialize")                     \
    X(compiler_free, void, (void *), "shaderc_compiler_release")                       \
    X(options_new, void *, (void), "shaderc_compile_options_initialize")               \
    X(options_free, void, (void *), "shaderc_compile_options_release")                 \
    X(define, void, (void *, const char *, size_t, const char *, size_t),              \
      "shaderc_compile_options_add_macro_definition")                                  \
    X(optimize, void, (void *, int), "shaderc_compile_options_set_optimization_level") \
    X(target, void, (void *, int, uint32_t), "shaderc_compile_options_set_target_env") \
    X(compile, void *,                                                                 \
      (void *, const char *, size_t, int, const char *, const char *, const void *),   \
      "shaderc_compile_into_spv")                                                      \
    X(status, int, (void *), "shaderc_result_get_compilation_status")                  \
    X(message, const char *, (void *), "shaderc_result_get_error_message")             \
    X(bytes, const char *, (void *), "shaderc_result_get_bytes")                       \
    X(length, size_t, (void *), "shaderc_result_get_length")                           \
    X(result_free, void, (void *), "shaderc_result_release")

struct shaderc_api {
#define X(member, result, parameters, symbol) result(*member) parameters;
    SHADERC_FUNCTIONS(X)
#undef X
};

/* SPIR-V, as far as it is looked into. */
#define SPIRV_MAGIC         0x07230203u
#define SPIRV_HEADER_WORDS  5
#define SPIRV_ENTRY_POINT   15
#define SPIRV_CAPABILITY    17
#define SPIRV_MODEL_COMPUTE 5

#endif
