/* For tests: a Vulkan loader that is the machine's own, except that
 *
 *     faulty_arm(nth, result)   makes the nth call from now that can fail answer with `result`
 *     faulty_calls()            counts such calls
 *     faulty_live()             counts objects that were made and not destroyed
 *
 * A wait that is to fail waits all the same: what it waits for uses what the caller frees next. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "vulkan_api_priv.h"

#define EXPORT __attribute__((visibility("default")))

typedef vk_function (*get_fn)(void *of, const char *name);

EXPORT void faulty_arm(uint64_t nth, int result);
EXPORT uint64_t faulty_calls(void);
EXPORT int64_t faulty_live(void);
EXPORT vk_function vkGetInstanceProcAddr(VkInstance instance, const char *name);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t fail_in, calls;
static int fail_result;
static int64_t live;
static get_fn get_instance, get_device;

void
faulty_arm(uint64_t nth, int result)
{
    (void)pthread_mutex_lock(&lock);
    fail_in = nth;
    fail_result = result;
    calls = 0;
    (void)pthread_mutex_unlock(&lock);
}

uint64_t
faulty_calls(void)
{
    uint64_t count;

    (void)pthread_mutex_lock(&lock);
    count = calls;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

int64_t
faulty_live(void)
{
    int64_t count;

    (void)pthread_mutex_lock(&lock);
    count = live;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

/* What this call has to answer with; 0: what the real one does. */
static int
strike(void)
{
    int result = 0;

    (void)pthread_mutex_lock(&lock);
    calls++;
    if (fail_in > 0 && --fail_in == 0)
        result = fail_result;
    (void)pthread_mutex_unlock(&lock);
    return result;
}

static void
tally(int by)
{
    (void)pthread_mutex_lock(&lock);
    live += by;
    (void)pthread_mutex_unlock(&lock);
}

static int
makes(const char *name)
{
    return strncmp(name, "vkCreate", 8) == 0 || strcmp(name, "vkAllocateMemory") == 0;
}

/* The real ones, and what stands before them. */

static struct vk_instance_api upper;
static struct vk_device_api real;

#define X(name, parameters, arguments)                              \
    static VkResult faulty_##name parameters                        \
    {                                                               \
        VkResult result = strike();                                 \
                                                                    \
        if (result == 0 || strcmp(#name, "vkWaitForFences") == 0) { \
            VkResult answer = real.name arguments;                  \
                                                                    \
            result = result == 0 ? answer : result;                 \
            if (answer == 0 && makes(#name))                        \
                tally(1);                                           \
        }                                                           \
        return result;                                              \
    }
VK_DEVICE_CALLS(X)
#undef X

#define DESTROYERS(X)          \
    X(vkDestroyFence)          \
    X(vkFreeMemory)            \
    X(vkDestroyBuffer)         \
    X(vkDestroyCommandPool)    \
    X(vkDestroyQueryPool)      \
    X(vkDestroyShaderModule)   \
    X(vkDestroyPipelineLayout) \
    X(vkDestroyPipeline)

#define X(name)                                                                        \
    static void faulty_##name(VkDevice device, uint64_t object, const void *allocator) \
    {                                                                                  \
        tally(-1);                                                                     \
        real.name(device, object, allocator);                                          \
    }
DESTROYERS(X)
#undef X

static VkResult
faulty_vkCreateInstance(const struct VkInstanceCreateInfo *info, const void *allocator,
                        VkInstance *instance)
{
    VkResult result = strike();

    return result ? result : upper.vkCreateInstance(info, allocator, instance);
}

static VkResult
faulty_vkEnumeratePhysicalDevices(VkInstance instance, uint32_t *found, VkPhysicalDevice *devices)
{
    VkResult result = strike();

    return result ? result : upper.vkEnumeratePhysicalDevices(instance, found, devices);
}

static VkResult
faulty_vkCreateDevice(VkPhysicalDevice physical, const struct VkDeviceCreateInfo *info,
                      const void *allocator, VkDevice *device)
{
    VkResult result = strike();

    if (result == 0)
        result = upper.vkCreateDevice(physical, info, allocator, device);
    if (result == 0)
        tally(1);
    return result;
}

static void
faulty_vkDestroyDevice(VkDevice device, const void *allocator)
{
    tally(-1);
    real.vkDestroyDevice(device, allocator);
}

/* Keep the real one in `slot` and give the other. */
static vk_function
replace(void *slot, vk_function found, vk_function with)
{
    memcpy(slot, &found, sizeof(found));
    return with;
}

static vk_function
faulty_vkGetDeviceProcAddr(VkDevice device, const char *name)
{
    vk_function found = get_device(device, name);

#define X(mine, parameters, arguments)     \
    if (found && strcmp(name, #mine) == 0) \
        return replace(&real.mine, found, (vk_function)faulty_##mine);
    VK_DEVICE_CALLS(X)
#undef X
#define X(mine)                            \
    if (found && strcmp(name, #mine) == 0) \
        return replace(&real.mine, found, (vk_function)faulty_##mine);
    DESTROYERS(X)
    X(vkDestroyDevice)
#undef X
    return found;
}

vk_function
vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    vk_function found = NULL;

    if (!get_instance) {
        void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);

        if (library)
            *(void **)&get_instance = dlsym(library, "vkGetInstanceProcAddr");
    }
    if (get_instance)
        found = get_instance(instance, name);
#define X(mine)                            \
    if (found && strcmp(name, #mine) == 0) \
        return replace(&upper.mine, found, (vk_function)faulty_##mine);
    X(vkCreateInstance)
    X(vkEnumeratePhysicalDevices)
    X(vkCreateDevice)
#undef X
    if (found && strcmp(name, "vkGetDeviceProcAddr") == 0)
        return replace(&get_device, found, (vk_function)faulty_vkGetDeviceProcAddr);
    return found;
}
