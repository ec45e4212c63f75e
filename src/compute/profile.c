#include "profile_priv.h"

#include <pthread.h>
#include <string.h>

#include <synor/base/mem.h>

extern const char syn_profiles_conf[];
extern const size_t syn_profiles_conf_len;

static const char *const operations[] = {
    [SYN_OPERATION_ELEMENTWISE] = "elementwise",
    [SYN_OPERATION_GEMM] = "gemm",
    [SYN_OPERATION_CONV] = "conv",
    [SYN_OPERATION_REDUCE] = "reduce",
    [SYN_OPERATION_STENCIL] = "stencil",
    [SYN_OPERATION_SORT] = "sort",
    [SYN_OPERATION_FFT] = "fft",
    [SYN_OPERATION_GATHER] = "gather",
};
static_assert(SYN_LEN(operations) == SYN_OPERATIONS, "a name each");

static const char *const formats[] = {
    [SYN_FORMAT_NATIVE] = "native",
    [SYN_FORMAT_PTX] = "ptx",
    [SYN_FORMAT_CUDA_C] = "cuda-c",
    [SYN_FORMAT_HIP_C] = "hip-c",
    [SYN_FORMAT_OPENCL_C] = "opencl-c",
    [SYN_FORMAT_SPIRV] = "spirv",
    [SYN_FORMAT_WGSL] = "wgsl",
    [SYN_FORMAT_MSL] = "msl",
    [SYN_FORMAT_CODE_OBJECT] = "code-object",
    [SYN_FORMAT_STABLEHLO] = "stablehlo",
    [SYN_FORMAT_TFLITE] = "tflite",
    [SYN_FORMAT_ONNX] = "onnx",
    [SYN_FORMAT_COREML] = "coreml",
    [SYN_FORMAT_OPENVINO] = "openvino",
    [SYN_FORMAT_BITSTREAM] = "bitstream",
    [SYN_FORMAT_WASM] = "wasm",
    [SYN_FORMAT_GLSL] = "glsl",
};
static_assert(SYN_LEN(formats) == SYN_FORMATS, "a name each");

static pthread_mutex_t builtin_lock = PTHREAD_MUTEX_INITIALIZER;
static struct syn_profiles *builtin; /* made on first use, kept to the end of the process */

/* The index of `name` among `count` names, or `count`. */
static unsigned
index_of(const char *const *names, unsigned count, const char *name)
{
    unsigned i = 0;

    while (i < count && strcmp(names[i], name) != 0)
        i++;
    return i;
}

const struct syn_profiles *
syn_profiles_builtin(void)
{
    const struct syn_profiles *profiles = NULL;
    struct syn_err err = {0};
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&builtin_lock);
    if (!builtin)
        rc = syn_profiles_parse(syn_profiles_conf, syn_profiles_conf_len, &builtin, &err);
    profiles = builtin;
    (void)pthread_mutex_unlock(&builtin_lock);
    assert(rc == SYN_OK || rc == SYN_E_NOMEM); /* a test keeps the table parseable */
    return profiles;
}

struct syn_profiles *
syn_profiles_free(struct syn_profiles *profiles)
{
    if (profiles) {
        syn_free(profiles->items);
        syn_free(profiles);
    }
    return NULL;
}

void
syn_profiles_free_scope(struct syn_profiles **slot)
{
    *slot = syn_profiles_free(*slot);
}

size_t
syn_profiles_count(const struct syn_profiles *profiles)
{
    return profiles->count;
}

const struct syn_profile *
syn_profiles_at(const struct syn_profiles *profiles, size_t index)
{
    assert(index < profiles->count);
    return &profiles->items[index];
}

const struct syn_profile *
syn_profiles_find(const struct syn_profiles *profiles, const char *name)
{
    for (size_t i = 0; i < profiles->count; i++) {
        if (strcmp(profiles->items[i].name, name) == 0)
            return &profiles->items[i];
    }
    return NULL;
}

const struct syn_profile *
syn_profiles_match(const struct syn_profiles *profiles, enum syn_kind kind, const char *device_name)
{
    const struct syn_profile *best = NULL;

    for (size_t i = 0; i < profiles->count; i++) {
        const struct syn_profile *item = &profiles->items[i];

        if (item->kind == kind && item->match[0] != '\0' && strstr(device_name, item->match) &&
            (!best || strlen(item->match) > strlen(best->match)))
            best = item;
    }
    return best;
}

const char *
syn_operation_name(enum syn_operation operation)
{
    assert(operation < SYN_OPERATIONS);
    return operations[operation];
}

bool
syn_operation_parse(const char *name, enum syn_operation *ret_operation)
{
    unsigned i = index_of(operations, SYN_OPERATIONS, name);

    if (i < SYN_OPERATIONS)
        *ret_operation = (enum syn_operation)i;
    return i < SYN_OPERATIONS;
}

const char *
syn_format_name(enum syn_format format)
{
    assert(format < SYN_FORMATS);
    return formats[format];
}

bool
syn_format_parse(const char *name, enum syn_format *ret_format)
{
    unsigned i = index_of(formats, SYN_FORMATS, name);

    if (i < SYN_FORMATS)
        *ret_format = (enum syn_format)i;
    return i < SYN_FORMATS;
}
