/* What the files of the Vulkan driver share.
 *
 *     vulkan.c          the loader, devices, memory
 *     vulkan_queue.c    queues: a thread each that gathers commands into submissions
 *     vulkan_program.c  SPIR-V, GLSL, pipelines
 *     vulkan_compiler.c GLSL to SPIR-V
 *     vulkan_text.c     what is put around a text in GLSL; pure */
#ifndef SYN_COMPUTE_VULKAN_PRIV_H
#define SYN_COMPUTE_VULKAN_PRIV_H

#include <pthread.h>

#include <synor/base/buf.h>
#include <synor/compute/driver_ops.h>

#include "vulkan_api_priv.h"

#define SYN_VK_CARDS_MAX   32
#define SYN_VK_QUEUES_MAX  8  /* of the device that are used, side by side */
#define SYN_VK_KERNELS_MAX 32 /* of one program */
#define SYN_VK_LOCALS_MAX  8  /* arguments of memory that a group shares */
#define SYN_VK_ARG_ALIGN   8  /* of each of a kernel's arguments */

/* What GLSL is compiled with. */
struct syn_vk_compiler {
    struct shaderc_api api;
    void *library;                    /* shaderc's compiler, or NULL: */
    char program[256];                /* the path of a program, or "" */
    pthread_mutex_t lock;             /* guards what follows */
    struct syn_vk_compiled *compiled; /* what was made lately, the latest first */
    unsigned compiled_count;
};

/* A device as it is found, before it is opened. */
struct syn_vk_card {
    VkPhysicalDevice physical;
    struct VkPhysicalDeviceProperties2 properties;
    struct VkProperties11 properties_11;
    struct VkDriverProperties driver;
    struct VkMemoryProperties memory;
    struct VkFeatures2 features;
    struct VkFeatures11 features_11;
    struct VkFeatures12 features_12;
    char pci[16];
    uint32_t family, queues, timestamp_bits;
    uint64_t heap_bytes; /* the largest heap of the device's own */
};

struct syn_vk_driver {
    struct syn_driver base;
    struct vk_instance_api api;
    struct syn_vk_compiler compiler; /* without one GLSL is not taken */
    struct syn_vk_card cards[SYN_VK_CARDS_MAX];
};

/* One of the device's queues; several of ours share it. */
struct syn_vk_lane {
    VkQueue queue;
    pthread_mutex_t lock;
};

/* A buffer with memory of its own. */
struct syn_vk_block {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t address; /* the device's */
    char *host;       /* the host's; NULL: it does not reach it */
    uint64_t bytes;
};

struct syn_vk_pinned {
    struct syn_vk_pinned *next;
    struct syn_vk_block block;
};

struct syn_vk_dev {
    struct syn_dev base;
    struct syn_vk_driver *driver;
    const struct syn_vk_card *card;
    struct vk_device_api api;
    VkDevice device;
    VkPipelineLayout layout; /* of every kernel: the address of its arguments */
    struct syn_vk_lane lanes[SYN_VK_QUEUES_MAX];
    unsigned lanes_count;
    pthread_mutex_t lock; /* guards what follows */
    unsigned next_lane;
    uint64_t used_bytes;
    struct syn_vk_pinned *pinned;
};

struct syn_vk_buf {
    struct syn_dev_buf base;
    struct syn_vk_block block;
};

static inline struct syn_vk_dev *
syn_vk_dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct syn_vk_dev, base);
}

static inline const struct syn_vk_block *
syn_vk_block_of(struct syn_dev_buf *buf)
{
    return &SYN_CONTAINER(buf, struct syn_vk_buf, base)->block;
}

/* The error for a result of Vulkan's. */
int syn_vk_refuse(VkResult result, const char *what, struct syn_err *err);

/* Memory of the device's own, or, `host`, of the host's that the device reaches. 0, SYN_DRV_FULL,
 * errors. */
int syn_vk_block_make(struct syn_vk_dev *dev, uint64_t bytes, bool host, struct syn_vk_block *ret,
                      struct syn_err *err);
void syn_vk_block_drop(struct syn_vk_dev *dev, struct syn_vk_block *block);
/* The pinned memory that the host's `bytes` at `host` lie in, and where in it; NULL: none. Its
 * owner keeps it while commands use it. */
const struct syn_vk_block *syn_vk_pinned_find(struct syn_vk_dev *dev, const void *host,
                                              uint64_t bytes, uint64_t *ret_offset);

/* Queues and commands: vulkan_queue.c. */
int syn_vk_queue_create(struct syn_dev *dev, uint32_t flags, struct syn_dev_queue **ret_queue,
                        struct syn_err *err);
void syn_vk_queue_destroy(struct syn_dev_queue *queue);
void syn_vk_queue_clear(struct syn_dev_queue *queue);
int syn_vk_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                struct syn_err *err);
int syn_vk_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                const struct syn_dev_cmd *cmd, struct syn_err *err);
int syn_vk_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                  const struct syn_dev_cmd *cmd, struct syn_err *err);

/* Programs: vulkan_program.c. */
int syn_vk_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                   struct syn_dev_program **ret_program, struct syn_err *err);
void syn_vk_program_free(struct syn_dev_program *program);
/* The pipeline for a launch, made if there is none for its group yet. NOTFOUND: no such kernel;
 * INVALID: not with these arguments. */
int syn_vk_pipeline_get(struct syn_vk_dev *dev, const struct syn_dev_launch *launch,
                        VkPipeline *ret_pipeline, struct syn_err *err);

/* Compilers: vulkan_compiler.c. Compile the text of a shader, which was made of `source`; its
 * SPIR-V is appended to `out`. INVALID: it does not compile. Thread: any. */
void syn_vk_compiler_open(struct syn_vk_compiler *compiler);
void syn_vk_compiler_close(struct syn_vk_compiler *compiler);
bool syn_vk_compiler_works(const struct syn_vk_compiler *compiler);
int syn_vk_compiler_run(struct syn_vk_compiler *compiler, const struct syn_dev_source *source,
                        const struct syn_buf *text, struct syn_buf *out, struct syn_err *err);

/* Texts: vulkan_text.c. */

/* A kernel of a text: "KERNEL name(type name, ...)". */
struct syn_vk_signature {
    const char *name;
    size_t name_len;
    const char *params; /* what is between the parentheses */
    size_t params_len;
    unsigned params_count;
};

/* The next kernel of the text that ends at `end`, from *cursor on, which moves behind it. 0; 1:
 * there is no other; INVALID: it has no such form. */
int syn_vk_text_next(const char **cursor, const char *end, struct syn_vk_signature *ret,
                     struct syn_err *err);
/* A shader of the text in which this kernel is the program. */
void syn_vk_text_write(struct syn_buf *out, const char *text, size_t len,
                       const struct syn_vk_signature *kernel);
/* Where the argument behind one that ends at `end` lies among a kernel's arguments. */
static inline uint64_t
syn_vk_text_place(uint64_t end)
{
    return (end + SYN_VK_ARG_ALIGN - 1) / SYN_VK_ARG_ALIGN * SYN_VK_ARG_ALIGN;
}

#endif
