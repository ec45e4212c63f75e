/* Vulkan 1.2 with compute, through its loader. What is asked of a device is what lets kernels be
 * written as elsewhere: pointers (buffer device addresses), structures as C lays them out (scalar
 * block layout) and integers of 64 bits. A device without one of these is not listed; the reason
 * that no device is left says which.
 *
 * A driver of the loader's that is the host's own cores (lavapipe) is marked SYN_SHARE_HOST. */
#include <stdio.h>
#include <string.h>

#include <synor/base/loader.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "drivers_priv.h"
#include "host_queue_priv.h"
#include "vulkan_priv.h"

#define FAMILIES_MAX   16
#define EXTENSIONS_MAX 1024
#define LOADERS_MAX    4
#define PCI_EXTENSION  "VK_EXT_pci_bus_info"

static const char *
result_name(VkResult result)
{
    static const struct syn_code_name names[] = {
        {VK_ERROR_OUT_OF_HOST_MEMORY, "out of host memory"},
        {VK_ERROR_OUT_OF_DEVICE_MEMORY, "out of device memory"},
        {VK_ERROR_INITIALIZATION_FAILED, "initialisation failed"},
        {VK_ERROR_DEVICE_LOST, "device lost"},
        {VK_ERROR_MEMORY_MAP_FAILED, "mapping failed"},
        {VK_ERROR_LAYER_NOT_PRESENT, "layer not present"},
        {VK_ERROR_EXTENSION_NOT_PRESENT, "extension not present"},
        {VK_ERROR_FEATURE_NOT_PRESENT, "feature not present"},
        {VK_ERROR_INCOMPATIBLE_DRIVER, "incompatible driver"},
        {VK_ERROR_TOO_MANY_OBJECTS, "too many objects"},
        {VK_ERROR_INVALID_SHADER, "invalid shader"},
    };

    return syn_code_name(names, SYN_LEN(names), result, "error");
}

int
syn_vk_refuse(VkResult result, const char *what, struct syn_err *err)
{
    int mine = SYN_E_IO;

    if (result == VK_ERROR_DEVICE_LOST)
        mine = SYN_E_UNAVAILABLE;
    else if (result == VK_ERROR_OUT_OF_HOST_MEMORY)
        mine = SYN_E_NOMEM;
    return SYN_FAIL(err, mine, "vulkan: %s: %s (%d)", what, result_name(result), result);
}

/* Loading. */

typedef vk_function (*get_instance_fn)(VkInstance instance, const char *name);

static int
lacks(const char *name, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the Vulkan loader lacks %s: it is too old", name);
}

#define TAKE(get, of, name)                        \
    do {                                           \
        vk_function found = get(of, #name);        \
                                                   \
        if (!found)                                \
            return lacks(#name, err);              \
        memcpy(&api->name, &found, sizeof(found)); \
    } while (0)

static int
load_globals(get_instance_fn get, struct vk_instance_api *api, struct syn_err *err)
{
#define X(name, result, parameters) TAKE(get, NULL, name);
    VK_GLOBAL_FUNCTIONS(X)
#undef X
    return SYN_OK;
}

static int
load_instance(get_instance_fn get, VkInstance instance, struct vk_instance_api *api,
              struct syn_err *err)
{
#define X(name, result, parameters) TAKE(get, instance, name);
    VK_INSTANCE_FUNCTIONS(X)
#undef X
    return SYN_OK;
}

static int
load_device(const struct vk_instance_api *instance, VkDevice device, struct vk_device_api *api,
            struct syn_err *err)
{
    /* First what destroys it: the first of these. */
#define X(name, result, parameters) TAKE(instance->vkGetDeviceProcAddr, device, name);
    VK_DEVICE_FUNCTIONS(X)
#undef X
#define X(name, parameters, arguments) TAKE(instance->vkGetDeviceProcAddr, device, name);
    VK_DEVICE_CALLS(X)
#undef X
    return SYN_OK;
}

/* Cards. */

/* The queue family for compute: one that does nothing else if there is one, for it shares the
 * device with nobody's windows. */
static bool
find_family(const struct vk_instance_api *api, struct syn_vk_card *card)
{
    struct VkQueueFamily families[FAMILIES_MAX] = {0};
    uint32_t count = FAMILIES_MAX;
    bool found = false;

    api->vkGetPhysicalDeviceQueueFamilyProperties(card->physical, &count, families);
    for (uint32_t i = 0; i < SYN_MIN(count, (uint32_t)FAMILIES_MAX); i++) {
        if (!(families[i].flags & VK_QUEUE_COMPUTE) || families[i].count == 0 ||
            (found && families[i].flags & VK_QUEUE_GRAPHICS))
            continue;
        if (found && !(families[card->family].flags & VK_QUEUE_GRAPHICS))
            continue;
        card->family = i;
        card->queues = families[i].count;
        card->timestamp_bits = families[i].timestamp_bits;
        found = true;
    }
    return found;
}

static bool
has_extension(const struct vk_instance_api *api, VkPhysicalDevice physical, const char *name)
{
    uint32_t count = EXTENSIONS_MAX;
    SYN_SCOPED(syn_free_scope) struct VkExtension *all = syn_calloc(count, sizeof(*all));

    if (!all || api->vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all) < 0)
        return false; /* all that is lost is an address */
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0)
            return true;
    }
    return false;
}

static void
look_at(const struct vk_instance_api *api, struct syn_vk_card *card)
{
    struct VkPciBus pci = {.type = VK_TYPE_PCI_BUS};
    bool has_pci = has_extension(api, card->physical, PCI_EXTENSION);

    card->driver.type = VK_TYPE_DRIVER_PROPERTIES;
    card->driver.next = has_pci ? &pci : NULL;
    card->properties_11.type = VK_TYPE_PROPERTIES_1_1;
    card->properties_11.next = &card->driver;
    card->properties.type = VK_TYPE_PROPERTIES_2;
    card->properties.next = &card->properties_11;
    api->vkGetPhysicalDeviceProperties2(card->physical, &card->properties);
    card->driver.next = NULL;
    card->features_12.type = VK_TYPE_FEATURES_1_2;
    card->features_11.type = VK_TYPE_FEATURES_1_1;
    card->features_11.next = &card->features_12;
    card->features.type = VK_TYPE_FEATURES_2;
    card->features.next = &card->features_11;
    api->vkGetPhysicalDeviceFeatures2(card->physical, &card->features);
    api->vkGetPhysicalDeviceMemoryProperties(card->physical, &card->memory);
    for (uint32_t i = 0; i < card->memory.heaps_count; i++) {
        if (card->memory.heaps[i].flags & VK_MEMORY_DEVICE_LOCAL)
            card->heap_bytes = SYN_MAX(card->heap_bytes, card->memory.heaps[i].bytes);
    }
    if (has_pci)
        syn_pci_write(pci.domain, pci.bus, pci.device, pci.function, card->pci, sizeof(card->pci));
}

/* What a device lacks; NULL: nothing. */
static const char *
missing(const struct syn_vk_card *card)
{
    if (!card->features.has[VK_FEATURE_INT64])
        return "integers of 64 bits";
    if (!card->features_12.has[VK_FEATURE_ADDRESS])
        return "buffer device addresses";
    if (!card->features_12.has[VK_FEATURE_SCALAR_LAYOUT])
        return "scalar block layout";
    return card->heap_bytes == 0 ? "memory" : NULL;
}

static int
find_cards(struct syn_vk_driver *driver, VkInstance instance, struct syn_err *err)
{
    VkPhysicalDevice physical[SYN_VK_CARDS_MAX] = {0};
    uint32_t count = SYN_VK_CARDS_MAX;
    VkResult result = driver->api.vkEnumeratePhysicalDevices(instance, &count, physical);

    (void)SYN_FAIL(err, SYN_E_NOTFOUND, "the Vulkan loader knows no device");
    if (result != VK_SUCCESS && result != VK_INCOMPLETE &&
        result != VK_ERROR_INITIALIZATION_FAILED) /* a loader without drivers says so */
        return syn_vk_refuse(result, "vkEnumeratePhysicalDevices", err);
    for (uint32_t i = 0; result >= 0 && i < count; i++) {
        struct syn_vk_card *card = &driver->cards[driver->base.devices];
        struct VkPhysicalDeviceProperties2 brief = {.type = VK_TYPE_PROPERTIES_2};

        *card = (struct syn_vk_card){.physical = physical[i]};
        driver->api.vkGetPhysicalDeviceProperties2(physical[i], &brief);
        if (brief.api_version < VK_VERSION(1, 2)) {
            (void)SYN_FAIL(err, SYN_E_NOTFOUND, "%s is of Vulkan %u.%u, before 1.2", brief.name,
                           VK_MAJOR(brief.api_version), VK_MINOR(brief.api_version));
            continue;
        }
        look_at(&driver->api, card);
        if (!find_family(&driver->api, card) || missing(card))
            (void)SYN_FAIL(err, SYN_E_NOTFOUND, "%s lacks %s", brief.name,
                           missing(card) ? missing(card) : "compute");
        else
            driver->base.devices++;
    }
    return driver->base.devices > 0 ? SYN_OK : SYN_DRV_ABSENT;
}

static void
vk_close(struct syn_driver *base)
{
    struct syn_vk_driver *driver = SYN_CONTAINER(base, struct syn_vk_driver, base);

    syn_vk_compiler_close(&driver->compiler);
    syn_free(driver);
}

static VkResult
make_instance(const struct vk_instance_api *api, VkInstance *ret_instance)
{
    const struct VkApplicationInfo application = {
        .type = VK_TYPE_APPLICATION, .name = "synor", .api_version = VK_VERSION(1, 2)};
    const struct VkInstanceCreateInfo info = {.type = VK_TYPE_INSTANCE,
                                              .application = &application};

    return api->vkCreateInstance(&info, NULL, ret_instance);
}

/* The loader's instance, made on first use and kept to the end of the process: destroying it would
 * unload the makers' libraries, and see loader_priv.h for what comes of that. */
static VkResult
get_instance(get_instance_fn get, const struct vk_instance_api *api, VkInstance *ret_instance)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        get_instance_fn of;
        VkInstance instance;
    } kept[LOADERS_MAX];
    VkResult result = VK_SUCCESS;
    size_t i = 0;

    (void)pthread_mutex_lock(&lock);
    while (i < LOADERS_MAX && kept[i].of && kept[i].of != get)
        i++;
    if (i == LOADERS_MAX)
        result = VK_ERROR_TOO_MANY_OBJECTS;
    else if (!kept[i].of)
        result = make_instance(api, &kept[i].instance);
    if (result == VK_SUCCESS) {
        kept[i].of = get;
        *ret_instance = kept[i].instance;
    }
    (void)pthread_mutex_unlock(&lock);
    return result;
}

/* Find what there is. */
static int
begin(struct syn_vk_driver *driver, get_instance_fn get, struct syn_err *err)
{
    uint32_t version = 0;
    VkInstance instance = NULL;
    VkResult result;
    int rc = load_globals(get, &driver->api, err);

    if (rc < 0)
        return rc;
    if (driver->api.vkEnumerateInstanceVersion(&version) != VK_SUCCESS ||
        version < VK_VERSION(1, 2))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the Vulkan loader is of before 1.2");
    (void)snprintf(driver->base.version, sizeof(driver->base.version), "Vulkan %u.%u.%u",
                   VK_MAJOR(version), VK_MINOR(version), version & 0xfffU);
    result = get_instance(get, &driver->api, &instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        (void)SYN_FAIL(err, SYN_E_NOTFOUND, "the Vulkan loader finds no driver");
        return SYN_DRV_ABSENT;
    }
    if (result != VK_SUCCESS)
        return syn_vk_refuse(result, "vkCreateInstance", err);
    rc = load_instance(get, instance, &driver->api, err);
    return rc < 0 ? rc : find_cards(driver, instance, err);
}

static int
vk_open(const struct syn_driver_options *options, struct syn_driver **ret_driver,
        struct syn_err *err)
{
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so", NULL};
    static const struct syn_loader_row row = {"vkGetInstanceProcAddr", 0, false};
    struct syn_vk_driver *driver = syn_calloc(1, sizeof(*driver));
    get_instance_fn get = NULL;
    int rc;

    if (!driver)
        return SYN_FAIL(err, SYN_E_NOMEM, "vulkan driver");
    driver->base.ops = &syn_driver_vulkan;
    rc = syn_loader_open(options->library, names, &row, 1, &get, err);
    if (rc == SYN_E_NOTFOUND)
        rc = SYN_DRV_ABSENT;
    rc = rc != SYN_OK ? rc : begin(driver, get, err);
    if (rc != SYN_OK) {
        syn_free(driver);
        return rc;
    }
    syn_vk_compiler_open(&driver->compiler);
    *ret_driver = &driver->base;
    return SYN_OK;
}

/* Describing. */

static const char *
vendor_of(uint32_t id)
{
    static const struct syn_code_name names[] = {
        {0x1002, "AMD"},   {0x1010, "Imagination"}, {0x106b, "Apple"},  {0x10de, "NVIDIA"},
        {0x13b5, "Arm"},   {0x14e4, "Broadcom"},    {0x1af4, "virtio"}, {0x5143, "Qualcomm"},
        {0x8086, "Intel"}, {0x10005, "Mesa"},
    };

    return syn_code_name(names, SYN_LEN(names), id, "");
}

static uint32_t
dtypes_of(const struct syn_vk_card *card)
{
    uint32_t set = SYN_BIT(SYN_DTYPE_FP32) | SYN_BIT(SYN_DTYPE_INT32) | SYN_BIT(SYN_DTYPE_UINT32) |
                   SYN_BIT(SYN_DTYPE_INT64) | SYN_BIT(SYN_DTYPE_UINT64) | SYN_BIT(SYN_DTYPE_C64);

    if (card->features.has[VK_FEATURE_FLOAT64])
        set |= SYN_BIT(SYN_DTYPE_FP64) | SYN_BIT(SYN_DTYPE_C128);
    if (card->features.has[VK_FEATURE_INT16] && card->features_11.has[VK_FEATURE_STORAGE16])
        set |= SYN_BIT(SYN_DTYPE_INT16);
    if (card->features_12.has[VK_FEATURE_INT8] && card->features_12.has[VK_FEATURE_STORAGE8])
        set |= SYN_BIT(SYN_DTYPE_INT8) | SYN_BIT(SYN_DTYPE_UINT8);
    if (card->features_12.has[VK_FEATURE_FLOAT16] && card->features_11.has[VK_FEATURE_STORAGE16])
        set |= SYN_BIT(SYN_DTYPE_FP16);
    return set;
}

static int
vk_describe(struct syn_driver *base, unsigned index, struct syn_device_info *ret,
            struct syn_err *err)
{
    const struct syn_vk_driver *driver = SYN_CONTAINER(base, struct syn_vk_driver, base);
    const struct syn_vk_card *card = &driver->cards[index];
    const struct VkPhysicalDeviceProperties2 *has = &card->properties;

    (void)err;
    *ret = (struct syn_device_info){.numa_node = -1};
    ret->kind = has->device_type == VK_DEVICE_CPU ? SYN_KIND_CPU : SYN_KIND_GPU;
    ret->share = ret->kind == SYN_KIND_CPU ? SYN_SHARE_HOST : SYN_SHARE_WHOLE;
    (void)syn_str_copy(ret->model, sizeof(ret->model), has->name);
    (void)syn_str_copy(ret->vendor, sizeof(ret->vendor), vendor_of(has->vendor));
    (void)snprintf(ret->version, sizeof(ret->version), "%.40s %.60s, Vulkan %u.%u",
                   card->driver.name, card->driver.info, VK_MAJOR(has->api_version),
                   VK_MINOR(has->api_version));
    if (ret->kind == SYN_KIND_GPU) /* software has one for all machines */
        syn_uuid_write("GPU-", card->properties_11.device_uuid, ret->uuid, sizeof(ret->uuid));
    (void)syn_str_copy(ret->pci, sizeof(ret->pci), card->pci);
    ret->memory_bytes = card->heap_bytes;
    ret->alloc_max_bytes = card->properties_11.allocation_max;
    ret->local_bytes = has->limits.shared_bytes;
    ret->group_max = has->limits.group_items_max;
    ret->queues_max = 64;
    ret->caps = SYN_CAP_HOST_PINNED | SYN_CAP_NOTIFY;
    if (card->timestamp_bits > 0)
        ret->caps |= SYN_CAP_TIMES;
    if (card->queues > 1)
        ret->caps |= SYN_CAP_OVERLAP;
    ret->formats = SYN_BIT(SYN_FORMAT_SPIRV);
    if (syn_vk_compiler_works(&driver->compiler)) {
        ret->caps |= SYN_CAP_COMPILE;
        ret->formats |= SYN_BIT(SYN_FORMAT_GLSL);
    }
    ret->dtypes = dtypes_of(card);
    return SYN_OK;
}

/* Opening. */

/* The device with what kernels may use of it; everything else stays off. */
static VkResult
make_device(const struct syn_vk_dev *dev, VkDevice *ret_device)
{
    const struct syn_vk_card *card = dev->card;
    const float priorities[SYN_VK_QUEUES_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct VkDeviceQueueCreateInfo queues = {.type = VK_TYPE_DEVICE_QUEUE,
                                                   .family = card->family,
                                                   .count = dev->lanes_count,
                                                   .priorities = priorities};
    struct VkFeatures12 features_12 = {.type = VK_TYPE_FEATURES_1_2};
    struct VkFeatures11 features_11 = {.type = VK_TYPE_FEATURES_1_1, .next = &features_12};
    struct VkFeatures2 features = {.type = VK_TYPE_FEATURES_2, .next = &features_11};
    const struct VkDeviceCreateInfo info = {
        .type = VK_TYPE_DEVICE, .next = &features, .queues_count = 1, .queues = &queues};
    static const unsigned wanted[] = {VK_FEATURE_FLOAT64, VK_FEATURE_INT64, VK_FEATURE_INT16};
    static const unsigned wanted_12[] = {VK_FEATURE_STORAGE8, VK_FEATURE_FLOAT16, VK_FEATURE_INT8,
                                         VK_FEATURE_SCALAR_LAYOUT, VK_FEATURE_ADDRESS};

    for (size_t i = 0; i < SYN_LEN(wanted); i++)
        features.has[wanted[i]] = card->features.has[wanted[i]];
    features_11.has[VK_FEATURE_STORAGE16] = card->features_11.has[VK_FEATURE_STORAGE16];
    for (size_t i = 0; i < SYN_LEN(wanted_12); i++)
        features_12.has[wanted_12[i]] = card->features_12.has[wanted_12[i]];
    return dev->driver->api.vkCreateDevice(card->physical, &info, NULL, ret_device);
}

static int
vk_dev_open(struct syn_driver *base, unsigned index, struct syn_dev **ret_dev, struct syn_err *err)
{
    struct syn_vk_driver *driver = SYN_CONTAINER(base, struct syn_vk_driver, base);
    SYN_SCOPED(syn_free_scope) struct syn_vk_dev *dev = syn_calloc(1, sizeof(*dev));
    const struct VkPushConstantRange arguments = {VK_SHADER_STAGE_COMPUTE, 0, sizeof(uint64_t)};
    const struct VkPipelineLayoutCreateInfo layout = {
        .type = VK_TYPE_PIPELINE_LAYOUT, .ranges_count = 1, .ranges = &arguments};
    VkResult result;
    int rc;

    if (!dev)
        return SYN_FAIL(err, SYN_E_NOMEM, "device");
    dev->driver = driver;
    dev->card = &driver->cards[index];
    dev->lanes_count = SYN_MIN(dev->card->queues, (uint32_t)SYN_VK_QUEUES_MAX);
    result = make_device(dev, &dev->device);
    if (result != VK_SUCCESS)
        return syn_vk_refuse(result, "vkCreateDevice", err);
    rc = load_device(&driver->api, dev->device, &dev->api, err);
    if (rc == SYN_OK) {
        result = dev->api.vkCreatePipelineLayout(dev->device, &layout, NULL, &dev->layout);
        if (result != VK_SUCCESS)
            rc = syn_vk_refuse(result, "vkCreatePipelineLayout", err);
    }
    if (rc < 0) {
        if (dev->api.vkDestroyDevice)
            dev->api.vkDestroyDevice(dev->device, NULL);
        return rc;
    }
    for (unsigned i = 0; i < dev->lanes_count; i++) {
        dev->api.vkGetDeviceQueue(dev->device, dev->card->family, i, &dev->lanes[i].queue);
        (void)pthread_mutex_init(&dev->lanes[i].lock, NULL);
    }
    (void)pthread_mutex_init(&dev->lock, NULL);
    *ret_dev = &SYN_TAKE(dev)->base;
    return SYN_OK;
}

static void
vk_dev_close(struct syn_dev *base)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);

    assert(!dev->pinned && dev->used_bytes == 0);
    dev->api.vkDestroyPipelineLayout(dev->device, dev->layout, NULL);
    dev->api.vkDestroyDevice(dev->device, NULL);
    for (unsigned i = 0; i < dev->lanes_count; i++)
        (void)pthread_mutex_destroy(&dev->lanes[i].lock);
    (void)pthread_mutex_destroy(&dev->lock);
    syn_free(dev);
}

/* Memory. */

/* The type of memory among `types` that has all of `must` and most of `better`. */
static bool
find_type(const struct VkMemoryProperties *memory, uint32_t types, uint32_t must, uint32_t better,
          uint32_t *ret_type)
{
    int best = -1;

    for (uint32_t i = 0; i < memory->types_count; i++) {
        uint32_t flags = memory->types[i].flags;
        int score = __builtin_popcount(flags & better);

        if (types & SYN_BIT(i) && (flags & must) == must && score > best) {
            best = score;
            *ret_type = i;
        }
    }
    return best >= 0;
}

/* Take memory for the buffer and put it there. */
static VkResult
back(const struct syn_vk_dev *dev, struct syn_vk_block *block, bool host)
{
    const struct VkMemoryAllocateFlagsInfo flags = {.type = VK_TYPE_MEMORY_ALLOCATE_FLAGS,
                                                    .flags = VK_ALLOCATE_ADDRESS};
    struct VkMemoryAllocateInfo info = {.type = VK_TYPE_MEMORY_ALLOCATE, .next = &flags};
    struct VkMemoryRequirements needs = {0};
    VkResult result;
    uint32_t must = host ? VK_MEMORY_HOST_VISIBLE | VK_MEMORY_HOST_COHERENT : 0;

    dev->api.vkGetBufferMemoryRequirements(dev->device, block->buffer, &needs);
    if (!find_type(&dev->card->memory, needs.types, must,
                   host ? VK_MEMORY_HOST_CACHED : VK_MEMORY_DEVICE_LOCAL, &info.memory_type))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    info.bytes = needs.bytes;
    result = dev->api.vkAllocateMemory(dev->device, &info, NULL, &block->memory);
    if (result == VK_SUCCESS)
        result = dev->api.vkBindBufferMemory(dev->device, block->buffer, block->memory, 0);
    if (result == VK_SUCCESS && host)
        result = dev->api.vkMapMemory(dev->device, block->memory, 0, VK_WHOLE_SIZE, 0,
                                      (void **)&block->host);
    return result;
}

int
syn_vk_block_make(struct syn_vk_dev *dev, uint64_t bytes, bool host, struct syn_vk_block *ret,
                  struct syn_err *err)
{
    const struct VkBufferCreateInfo info = {
        .type = VK_TYPE_BUFFER,
        .bytes = (bytes + 3) / 4 * 4, /* fills write whole words */
        .usage =
            VK_BUFFER_TRANSFER_SRC | VK_BUFFER_TRANSFER_DST | VK_BUFFER_STORAGE | VK_BUFFER_ADDRESS,
    };
    struct VkBufferAddressInfo where = {.type = VK_TYPE_BUFFER_DEVICE_ADDRESS};
    struct syn_vk_block block = {.bytes = bytes};
    VkResult result = dev->api.vkCreateBuffer(dev->device, &info, NULL, &block.buffer);

    if (result == VK_SUCCESS)
        result = back(dev, &block, host);
    if (result != VK_SUCCESS) {
        syn_vk_block_drop(dev, &block);
        return result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_TOO_MANY_OBJECTS
                   ? SYN_DRV_FULL
                   : syn_vk_refuse(result, "allocating", err);
    }
    where.buffer = block.buffer;
    block.address = dev->api.vkGetBufferDeviceAddress(dev->device, &where);
    *ret = block;
    return SYN_OK;
}

void
syn_vk_block_drop(struct syn_vk_dev *dev, struct syn_vk_block *block)
{
    if (block->buffer)
        dev->api.vkDestroyBuffer(dev->device, block->buffer, NULL);
    if (block->memory)
        dev->api.vkFreeMemory(dev->device, block->memory, NULL); /* and its mapping */
    *block = (struct syn_vk_block){0};
}

static bool
take_room(struct syn_vk_dev *dev, uint64_t bytes)
{
    bool room;

    (void)pthread_mutex_lock(&dev->lock);
    room = bytes <= dev->card->heap_bytes && dev->used_bytes <= dev->card->heap_bytes - bytes;
    if (room)
        dev->used_bytes += bytes;
    (void)pthread_mutex_unlock(&dev->lock);
    return room;
}

static void
give_room(struct syn_vk_dev *dev, uint64_t bytes)
{
    (void)pthread_mutex_lock(&dev->lock);
    dev->used_bytes -= bytes;
    (void)pthread_mutex_unlock(&dev->lock);
}

/* Software allocates on first use only, so what was promised is counted here. */
static int
vk_alloc(struct syn_dev *base, uint64_t bytes, struct syn_dev_buf **ret_buf, struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    struct syn_vk_buf *buf = syn_calloc(1, sizeof(*buf));
    int rc = SYN_DRV_FULL;

    if (!buf)
        return SYN_FAIL(err, SYN_E_NOMEM, "buffer");
    if (take_room(dev, bytes)) {
        rc = syn_vk_block_make(dev, bytes, false, &buf->block, err);
        if (rc != SYN_OK)
            give_room(dev, bytes);
    }
    if (rc != SYN_OK) {
        syn_free(buf);
        return rc;
    }
    *ret_buf = &buf->base;
    return SYN_OK;
}

static void
vk_free(struct syn_dev_buf *base)
{
    struct syn_vk_buf *buf = SYN_CONTAINER(base, struct syn_vk_buf, base);
    struct syn_vk_dev *dev = syn_vk_dev_of(base->dev);

    syn_vk_block_drop(dev, &buf->block);
    give_room(dev, base->bytes);
    syn_free(buf);
}

static int
vk_host_alloc(struct syn_dev *base, uint64_t bytes, void **ret_host, struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    struct syn_vk_pinned *pinned = NULL;
    int rc;

    if (bytes > dev->card->properties_11.allocation_max)
        return SYN_DRV_FULL;
    pinned = syn_calloc(1, sizeof(*pinned));
    if (!pinned)
        return SYN_FAIL(err, SYN_E_NOMEM, "pinned memory");
    rc = syn_vk_block_make(dev, bytes, true, &pinned->block, err);
    if (rc != SYN_OK) {
        syn_free(pinned);
        return rc;
    }
    (void)pthread_mutex_lock(&dev->lock);
    pinned->next = dev->pinned;
    dev->pinned = pinned;
    (void)pthread_mutex_unlock(&dev->lock);
    *ret_host = pinned->block.host;
    return SYN_OK;
}

static void
vk_host_free(struct syn_dev *base, void *host)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    struct syn_vk_pinned **at = &dev->pinned, *pinned = NULL;

    (void)pthread_mutex_lock(&dev->lock);
    while (*at && (*at)->block.host != host)
        at = &(*at)->next;
    pinned = *at;
    if (pinned)
        *at = pinned->next;
    (void)pthread_mutex_unlock(&dev->lock);
    assert(pinned); /* not memory of this device's */
    syn_vk_block_drop(dev, &pinned->block);
    syn_free(pinned);
}

const struct syn_vk_block *
syn_vk_pinned_find(struct syn_vk_dev *dev, const void *host, uint64_t bytes, uint64_t *ret_offset)
{
    const struct syn_vk_block *found = NULL;
    uintptr_t at = (uintptr_t)host;

    (void)pthread_mutex_lock(&dev->lock);
    for (const struct syn_vk_pinned *p = dev->pinned; p && !found; p = p->next) {
        uintptr_t start = (uintptr_t)p->block.host;

        if (at >= start && at - start < p->block.bytes && bytes <= p->block.bytes - (at - start)) {
            found = &p->block;
            *ret_offset = at - start;
        }
    }
    (void)pthread_mutex_unlock(&dev->lock);
    return found;
}

static int
vk_health(struct syn_dev *base, struct syn_device_health *ret, struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);

    (void)err;
    ret->state = SYN_DEVICE_OK; /* one that was lost is not asked */
    (void)pthread_mutex_lock(&dev->lock);
    ret->memory_free_bytes = (int64_t)(dev->card->heap_bytes - dev->used_bytes);
    (void)pthread_mutex_unlock(&dev->lock);
    return SYN_OK;
}

const struct syn_driver_ops syn_driver_vulkan = {
    .version = SYN_DRIVER_VERSION,
    .name = "vulkan",
    .kinds = SYN_BIT(SYN_KIND_CPU) | SYN_BIT(SYN_KIND_GPU),
    .open = vk_open,
    .close = vk_close,
    .describe = vk_describe,
    .dev_open = vk_dev_open,
    .dev_close = vk_dev_close,
    .alloc = vk_alloc,
    .free = vk_free,
    .queue_create = syn_vk_queue_create,
    .queue_destroy = syn_vk_queue_destroy,
    .queue_clear = syn_vk_queue_clear,
    .event_create = syn_host_event_create,
    .event_destroy = syn_host_event_destroy,
    .event_poll = syn_host_event_poll,
    .event_wait = syn_host_event_wait,
    .event_span = syn_host_event_span,
    .copy = syn_vk_copy,
    .fill = syn_vk_fill,
    .compile = syn_vk_compile,
    .program_free = syn_vk_program_free,
    .launch = syn_vk_launch,
    .health = vk_health,
    .host_alloc = vk_host_alloc,
    .host_free = vk_host_free,
    .event_notify = syn_host_event_notify,
};
