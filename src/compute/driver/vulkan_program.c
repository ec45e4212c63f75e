/* Programs. A pipeline holds what a kernel is and how large its groups are, so there is one for
 * each size that a kernel is launched with; the first launch makes it, which is when the device's
 * own compiler runs. */
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "vulkan_priv.h"

#define CONSTANTS_MAX (3 + SYN_VK_LOCALS_MAX)

struct vk_pipeline {
    struct vk_pipeline *next;
    uint32_t constants[CONSTANTS_MAX]; /* the group's size, and the bytes of what it shares */
    VkPipeline pipeline;
};

struct vk_kernel {
    char name[SYN_DRV_NAME_MAX];
    char entry[SYN_DRV_NAME_MAX]; /* its name in the module */
    VkShaderModule module;
    int params; /* -1: nobody knows */
    struct vk_pipeline *pipelines;
};

struct vk_program {
    struct syn_dev_program base;
    pthread_mutex_t lock; /* guards the lists of pipelines; held while one is made */
    VkShaderModule modules[SYN_VK_KERNELS_MAX];
    unsigned modules_count, kernels_count;
    struct vk_kernel kernels[SYN_VK_KERNELS_MAX];
};

static struct vk_program *
program_of(struct syn_dev_program *base)
{
    return SYN_CONTAINER(base, struct vk_program, base);
}

/* SPIR-V. */

/* A device may do anything with a module that uses what it lacks or what was not asked of it when
 * it was opened (make_device), so only what is known to be there passes. */
static int
check_capability(const struct syn_vk_card *card, uint32_t capability, const char *name,
                 struct syn_err *err)
{
    uint32_t subgroups = card->properties_11.subgroup_operations;
    const struct {
        uint32_t capability;
        bool has;
        const char *what;
    } rows[] = {
        {0, true, "matrices"},
        {1, true, "shaders"},
        {11, card->features.has[VK_FEATURE_INT64], "integers of 64 bits"},
        {5347, card->features_12.has[VK_FEATURE_ADDRESS], "buffer device addresses"},
        {9, card->features_12.has[VK_FEATURE_FLOAT16], "fp16"},
        {10, card->features.has[VK_FEATURE_FLOAT64], "fp64"},
        {22, card->features.has[VK_FEATURE_INT16], "integers of 16 bits"},
        {39, card->features_12.has[VK_FEATURE_INT8], "integers of 8 bits"},
        {4433, card->features_11.has[VK_FEATURE_STORAGE16], "16 bits in memory"},
        {4448, card->features_12.has[VK_FEATURE_STORAGE8], "8 bits in memory"},
        {61, subgroups & SYN_BIT(0), "subgroups"},
        {62, subgroups & SYN_BIT(1), "votes of subgroups"},
        {63, subgroups & SYN_BIT(2), "arithmetic of subgroups"},
        {64, subgroups & SYN_BIT(3), "ballots of subgroups"},
        {65, subgroups & SYN_BIT(4), "shuffles of subgroups"},
        {66, subgroups & SYN_BIT(5), "relative shuffles of subgroups"},
        {67, subgroups & SYN_BIT(6), "clusters of subgroups"},
        {68, subgroups & SYN_BIT(7), "quads of subgroups"},
        {6, false, "kernels: it is SPIR-V for OpenCL"},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (rows[i].capability != capability)
            continue;
        if (!rows[i].has)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: the device lacks %s", name, rows[i].what);
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INVALID, "%s: capability %u of SPIR-V is not enabled by this driver",
                    name, capability);
}

static int
add_kernel(struct vk_program *program, const char *name, const char *entry, VkShaderModule module,
           int params, struct syn_err *err)
{
    struct vk_kernel *kernel = NULL;

    if (program->kernels_count == SYN_VK_KERNELS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a program has at most %d kernels", SYN_VK_KERNELS_MAX);
    kernel = &program->kernels[program->kernels_count];
    if (!syn_str_copy(kernel->name, sizeof(kernel->name), name) ||
        !syn_str_copy(kernel->entry, sizeof(kernel->entry), entry))
        return SYN_FAIL(err, SYN_E_INVALID, "a kernel's name has at most %d characters",
                        SYN_DRV_NAME_MAX - 1);
    kernel->module = module;
    kernel->params = params;
    program->kernels_count++;
    return SYN_OK;
}

/* The entries of the words, where `module` is not 0; the capabilities, where it is. */
static int
walk(const struct syn_vk_dev *dev, struct vk_program *program, const uint32_t *words, size_t count,
     VkShaderModule module, const char *name, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t at = SPIRV_HEADER_WORDS; rc == SYN_OK && at < count;) {
        size_t len = words[at] >> 16;
        uint32_t what = words[at] & 0xffffU;

        if (len == 0 || len > count - at)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: SPIR-V that ends in an instruction", name);
        if (!module && what == SPIRV_CAPABILITY && len >= 2)
            rc = check_capability(dev->card, words[at + 1], name, err);
        if (module && what == SPIRV_ENTRY_POINT && len > 3 &&
            words[at + 1] == SPIRV_MODEL_COMPUTE) {
            const char *entry = (const char *)&words[at + 3];

            if (strnlen(entry, 4 * (len - 3)) == 4 * (len - 3))
                return SYN_FAIL(err, SYN_E_INVALID, "%s: SPIR-V with a name without an end", name);
            rc = add_kernel(program, entry, entry, module, -1, err);
        }
        at += len;
    }
    return rc;
}

static int
add_module(struct syn_vk_dev *dev, struct vk_program *program, const uint32_t *words, size_t count,
           const char *name, VkShaderModule *ret_module, struct syn_err *err)
{
    const struct VkShaderModuleCreateInfo info = {
        .type = VK_TYPE_SHADER_MODULE, .bytes = 4 * count, .code = words};
    VkResult result;
    int rc;

    if (count <= SPIRV_HEADER_WORDS || words[0] != SPIRV_MAGIC)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is no SPIR-V of this machine's byte order", name);
    rc = walk(dev, program, words, count, 0, name, err);
    if (rc < 0)
        return rc;
    assert(program->modules_count < SYN_VK_KERNELS_MAX);
    result = dev->api.vkCreateShaderModule(dev->device, &info, NULL, ret_module);
    if (result == VK_ERROR_INVALID_SHADER)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: the device refuses the SPIR-V", name);
    if (result != VK_SUCCESS)
        return syn_vk_refuse(result, "vkCreateShaderModule", err);
    program->modules[program->modules_count++] = *ret_module;
    return SYN_OK;
}

static int
compile_spirv(struct syn_vk_dev *dev, struct vk_program *program,
              const struct syn_dev_source *source, struct syn_err *err)
{
    size_t count = source->len / 4;
    SYN_SCOPED(syn_free_scope) uint32_t *words = NULL; /* aligned, which the text need not be */
    VkShaderModule module = 0;
    int rc;

    if (source->len % 4 != 0 || count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: SPIR-V is whole words", source->name);
    words = syn_alloc(source->len);
    if (!words)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    memcpy(words, source->text, source->len);
    rc = add_module(dev, program, words, count, source->name, &module, err);
    return rc < 0 ? rc : walk(dev, program, words, count, module, source->name, err);
}

/* GLSL. */

static int
compile_kernel(struct syn_vk_dev *dev, struct vk_program *program,
               const struct syn_dev_source *source, const struct syn_vk_signature *kernel,
               struct syn_err *err)
{
    char name[SYN_DRV_NAME_MAX];
    VkShaderModule module = 0;
    SYN_BUF(text);
    SYN_BUF(spirv);
    int rc;

    (void)snprintf(name, sizeof(name), "%.*s", (int)kernel->name_len, kernel->name);
    syn_vk_text_write(&text, source->text, source->len, kernel);
    rc = syn_buf_ok(&text, err);
    rc = rc < 0 ? rc : syn_vk_compiler_run(&dev->driver->compiler, source, &text, &spirv, err);
    rc = rc < 0 ? rc
                : add_module(dev, program, (const uint32_t *)(const void *)syn_buf_text(&spirv),
                             spirv.len / 4, source->name, &module, err);
    return rc < 0 ? rc : add_kernel(program, name, "main", module, (int)kernel->params_count, err);
}

static int
compile_glsl(struct syn_vk_dev *dev, struct vk_program *program,
             const struct syn_dev_source *source, struct syn_err *err)
{
    const char *cursor = source->text, *end = source->text + source->len;
    int rc = SYN_OK;

    while (rc == SYN_OK) {
        struct syn_vk_signature kernel = {0};

        rc = syn_vk_text_next(&cursor, end, &kernel, err);
        if (rc == SYN_OK && program->kernels_count == SYN_VK_KERNELS_MAX)
            rc = SYN_FAIL(err, SYN_E_INVALID, "%s: more than %d kernels", source->name,
                          SYN_VK_KERNELS_MAX);
        rc = rc != SYN_OK ? rc : compile_kernel(dev, program, source, &kernel, err);
    }
    return SYN_MIN(rc, 0);
}

int
syn_vk_compile(struct syn_dev *base, const struct syn_dev_source *source,
               struct syn_dev_program **ret_program, struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    struct vk_program *program = syn_calloc(1, sizeof(*program));
    int rc;

    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    (void)pthread_mutex_init(&program->lock, NULL);
    program->base.dev = base;
    if (source->format == SYN_FORMAT_SPIRV)
        rc = compile_spirv(dev, program, source, err);
    else
        rc = compile_glsl(dev, program, source, err);
    if (rc == SYN_OK && program->kernels_count == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s has no kernels", source->name);
    if (rc < 0) {
        syn_vk_program_free(&program->base);
        return rc;
    }
    *ret_program = &program->base;
    return SYN_OK;
}

void
syn_vk_program_free(struct syn_dev_program *base)
{
    struct vk_program *program = program_of(base);
    const struct syn_vk_dev *dev = syn_vk_dev_of(base->dev);

    for (unsigned i = 0; i < program->kernels_count; i++) {
        while (program->kernels[i].pipelines) {
            struct vk_pipeline *pipeline = program->kernels[i].pipelines;

            program->kernels[i].pipelines = pipeline->next;
            dev->api.vkDestroyPipeline(dev->device, pipeline->pipeline, NULL);
            syn_free(pipeline);
        }
    }
    for (unsigned i = 0; i < program->modules_count; i++)
        dev->api.vkDestroyShaderModule(dev->device, program->modules[i], NULL);
    (void)pthread_mutex_destroy(&program->lock);
    syn_free(program);
}

/* Pipelines. */

static struct vk_kernel *
find_kernel(struct vk_program *program, const char *name)
{
    for (unsigned i = 0; i < program->kernels_count; i++) {
        if (strcmp(program->kernels[i].name, name) == 0)
            return &program->kernels[i];
    }
    return NULL;
}

static int
make_pipeline(struct syn_vk_dev *dev, const struct vk_kernel *kernel, struct vk_pipeline *pipeline,
              struct syn_err *err)
{
    struct VkSpecializationEntry entries[CONSTANTS_MAX];
    const struct VkSpecialization constants = {.count = CONSTANTS_MAX,
                                               .entries = entries,
                                               .bytes = sizeof(pipeline->constants),
                                               .data = pipeline->constants};
    const struct VkComputePipelineCreateInfo info = {
        .type = VK_TYPE_COMPUTE_PIPELINE,
        .stage = {.type = VK_TYPE_SHADER_STAGE,
                  .stage = VK_SHADER_STAGE_COMPUTE,
                  .module = kernel->module,
                  .name = kernel->entry,
                  .specialization = &constants},
        .layout = dev->layout,
        .base_index = -1,
    };
    VkResult result;

    for (uint32_t i = 0; i < CONSTANTS_MAX; i++)
        entries[i] =
            (struct VkSpecializationEntry){i, i * (uint32_t)sizeof(uint32_t), sizeof(uint32_t)};
    result = dev->api.vkCreateComputePipelines(dev->device, 0, 1, &info, NULL, &pipeline->pipeline);
    return result == VK_SUCCESS ? SYN_OK : syn_vk_refuse(result, "vkCreateComputePipelines", err);
}

/* The constants of a launch: INVALID where they are too many or too large. */
static int
take_constants(const struct syn_vk_dev *dev, const struct vk_kernel *kernel,
               const struct syn_dev_launch *launch, uint32_t constants[CONSTANTS_MAX],
               struct syn_err *err)
{
    uint32_t shared_max = dev->card->properties.limits.shared_bytes;
    uint64_t shared = 0;
    unsigned locals = 0;
    int values = 0;

    memset(constants, 0, CONSTANTS_MAX * sizeof(constants[0]));
    for (int i = 0; i < 3; i++)
        constants[i] = launch->group[i];
    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];

        if (arg->kind != SYN_ARG_LOCAL) {
            values++;
            continue;
        }
        shared += arg->bytes;
        if (locals == SYN_VK_LOCALS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s: more than %d arguments of memory that a group shares",
                            kernel->name, SYN_VK_LOCALS_MAX);
        if (shared > shared_max)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s: %llu bytes of memory that a group shares: the device has %u",
                            kernel->name, (unsigned long long)shared, shared_max);
        constants[3 + locals++] = (uint32_t)arg->bytes;
    }
    if (kernel->params >= 0 && values != kernel->params)
        return SYN_FAIL(err, SYN_E_INVALID, "%s takes %d arguments, not %d", kernel->name,
                        kernel->params, values);
    return SYN_OK;
}

int
syn_vk_pipeline_get(struct syn_vk_dev *dev, const struct syn_dev_launch *launch,
                    VkPipeline *ret_pipeline, struct syn_err *err)
{
    struct vk_program *program = program_of(launch->program);
    struct vk_kernel *kernel = find_kernel(program, launch->kernel);
    struct vk_pipeline *pipeline = NULL;
    uint32_t constants[CONSTANTS_MAX];
    int rc;

    if (!kernel)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s: the program has no kernel %s", dev->base.info.id,
                        launch->kernel);
    rc = take_constants(dev, kernel, launch, constants, err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&program->lock);
    pipeline = kernel->pipelines;
    while (pipeline && memcmp(pipeline->constants, constants, sizeof(constants)) != 0)
        pipeline = pipeline->next;
    if (!pipeline) {
        pipeline = syn_calloc(1, sizeof(*pipeline));
        if (!pipeline) {
            rc = SYN_FAIL(err, SYN_E_NOMEM, "pipeline");
        } else {
            memcpy(pipeline->constants, constants, sizeof(constants));
            rc = make_pipeline(dev, kernel, pipeline, err);
        }
        if (rc < 0) {
            syn_free(pipeline);
        } else {
            pipeline->next = kernel->pipelines;
            kernel->pipelines = pipeline;
        }
    }
    if (rc == SYN_OK)
        *ret_pipeline = pipeline->pipeline;
    (void)pthread_mutex_unlock(&program->lock);
    return rc;
}
