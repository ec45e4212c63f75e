/* Commands and programs of Level Zero. An immediate list runs what it is given as it comes, side by
 * side: a barrier before each command is what makes a queue of it, and carries the command's waits.
 */
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "levelzero_priv.h"

struct ze_kernel_entry {
    struct ze_kernel_entry *next;
    void *kernel;
    char name[SYN_DRV_NAME_MAX];
};

struct ze_program {
    struct syn_dev_program base;
    void *module;
    pthread_mutex_t lock; /* guards the list; arguments are set and the kernel is given under it */
    struct ze_kernel_entry *kernels;
};

static void *
list_of(const struct syn_dev_cmd *cmd)
{
    return SYN_CONTAINER(cmd->queue, struct syn_ze_queue, base)->list;
}

static char *
address_of(const struct syn_dev_place *place)
{
    char *at = place->buf ? SYN_CONTAINER(place->buf, struct syn_ze_buf, base)->at : place->host;

    return at + place->offset;
}

/* What the last piece of a command signals; NULL: nothing. */
static void *
end_of(const struct syn_dev_cmd *cmd)
{
    return cmd->signal ? syn_ze_event_of(cmd->signal)->end : NULL;
}

/* Make an event that was signalled one that is not. */
static ze_result
renew(const struct ze_api *api, struct syn_ze_event *event)
{
    ze_result result = ZE_SUCCESS;

    if (event->touched) {
        result = api->event_reset(event->start);
        if (result == ZE_SUCCESS)
            result = api->event_reset(event->end);
    }
    event->touched = true;
    return result;
}

/* What goes before the command itself: everything before it, its waits, the start of its span. */
static ze_result
begin(const struct syn_ze_dev *dev, const struct syn_dev_cmd *cmd)
{
    struct syn_ze_event *signal = cmd->signal ? syn_ze_event_of(cmd->signal) : NULL;
    void *waits[SYN_DRV_WAITS_MAX];
    uint32_t count = 0;
    ze_result result = signal ? renew(dev->api, signal) : ZE_SUCCESS;

    for (size_t i = 0; i < cmd->waits_count; i++) {
        const struct syn_ze_event *event = syn_ze_event_of(cmd->waits[i]);

        if (event->used)
            waits[count++] = event->end;
    }
    if (result == ZE_SUCCESS)
        result = dev->api->barrier(list_of(cmd), signal ? signal->start : NULL, count,
                                   count > 0 ? waits : NULL);
    return result;
}

int
syn_ze_mark(const struct syn_ze_dev *dev, const struct syn_ze_queue *queue,
            struct syn_dev_event *event, struct syn_err *err)
{
    struct syn_ze_event *mine = syn_ze_event_of(event);
    ze_result result = renew(dev->api, mine);

    if (result == ZE_SUCCESS)
        result = dev->api->barrier(queue->list, mine->end, 0, NULL);
    mine->used = result == ZE_SUCCESS;
    return result == ZE_SUCCESS ? SYN_OK : syn_ze_refuse(result, "a mark", err);
}

/* What goes behind a command. One that was refused half way signals nothing, so nobody may wait for
 * its event: it counts as one that no command was given. What of it is under way is waited for, for
 * nobody else would. */
static int
finish(const struct syn_ze_dev *dev, const struct syn_dev_cmd *cmd, ze_result result,
       const char *what, struct syn_err *err)
{
    const struct syn_ze_queue *queue = SYN_CONTAINER(cmd->queue, struct syn_ze_queue, base);

    if (cmd->signal)
        syn_ze_event_of(cmd->signal)->used = result == ZE_SUCCESS;
    if (result == ZE_SUCCESS)
        return SYN_OK;
    if (syn_ze_mark(dev, queue, queue->drained, NULL) == SYN_OK)
        (void)dev->api->event_wait(syn_ze_event_of(queue->drained)->end, UINT64_MAX);
    return syn_ze_refuse(result, what, err);
}

/* Can the rows of a slice be one command? */
static bool
is_region(const struct syn_dev_copy *copy)
{
    return copy->rows > 1 && copy->row_bytes <= UINT32_MAX && copy->rows <= UINT32_MAX &&
           copy->dst.row_pitch <= UINT32_MAX && copy->src.row_pitch <= UINT32_MAX;
}

/* Copy box by box or row by row; the last one signals. */
static ze_result
copy_pieces(const struct syn_ze_dev *dev, const struct syn_dev_copy *copy,
            const struct syn_dev_cmd *cmd)
{
    const struct ze_region box = {
        .width = (uint32_t)copy->row_bytes, .height = (uint32_t)copy->rows, .depth = 1};
    bool region = is_region(copy);
    uint64_t per_slice = region ? 1 : copy->rows, count = copy->slices * per_slice;
    ze_result result = ZE_SUCCESS;

    for (uint64_t i = 0; result == ZE_SUCCESS && i < count; i++) {
        uint64_t slice = i / per_slice, row = i % per_slice;
        char *to = address_of(&copy->dst);
        const char *from = address_of(&copy->src);
        void *signal = i + 1 == count ? end_of(cmd) : NULL;

        to += slice * copy->dst.slice_pitch + row * copy->dst.row_pitch;
        from += slice * copy->src.slice_pitch + row * copy->src.row_pitch;
        if (i + 1 == count && count > 1) /* the signal is of all of them */
            result = dev->api->barrier(list_of(cmd), NULL, 0, NULL);
        if (result == ZE_SUCCESS && region)
            result = dev->api->copy_region(list_of(cmd), to, &box, (uint32_t)copy->dst.row_pitch, 0,
                                           from, &box, (uint32_t)copy->src.row_pitch, 0, signal, 0,
                                           NULL);
        else if (result == ZE_SUCCESS)
            result = dev->api->copy(list_of(cmd), to, from, copy->row_bytes, signal, 0, NULL);
    }
    return result;
}

int
syn_ze_copy(struct syn_dev *base, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
            struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    ze_result result = begin(dev, cmd);

    if (result == ZE_SUCCESS)
        result = copy_pieces(dev, copy, cmd);
    return finish(dev, cmd, result, "copy", err);
}

bool
syn_ze_can_peer(struct syn_dev *base, struct syn_dev *other_base)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base), *other = syn_ze_dev_of(other_base);
    uint8_t yes = 0;

    return dev->card != other->card && dev->card->context == other->card->context &&
           dev->api->can_peer(dev->card->device, other->card->device, &yes) == ZE_SUCCESS && yes;
}

int
syn_ze_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                 struct syn_err *err)
{
    return syn_ze_copy(cmd->queue->dev, copy, cmd, err);
}

int
syn_ze_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
            const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(buf->dev);
    const struct syn_dev_place place = {.buf = buf, .offset = offset};
    ze_result result = begin(dev, cmd);

    if (result == ZE_SUCCESS)
        result = dev->api->fill(list_of(cmd), address_of(&place), &value, sizeof(value), bytes,
                                end_of(cmd), 0, NULL);
    return finish(dev, cmd, result, "fill", err);
}

/* Programs. */

/* What ocloc left, by the end of its name; NULL: nothing. */
static const uint8_t *
output_of(uint32_t count, uint8_t **outputs, const uint64_t *bytes, char **names, const char *end,
          uint64_t *ret_bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        if (syn_str_ends(names[i], end)) {
            *ret_bytes = bytes[i];
            return outputs[i];
        }
    }
    return NULL;
}

/* OpenCL C to SPIR-V, for the device by its number. */
static int
compile_text(const struct syn_ze_dev *dev, const struct syn_dev_source *source, uint8_t **ret_spirv,
             uint64_t *ret_bytes, struct syn_err *err)
{
    char device[16];
    const char *argv[] = {"ocloc",     "compile",  "-file",
                          "text.cl",   "-device",  device,
                          "-spv_only", "-options", source->options ? source->options : ""};
    const uint8_t *text = (const uint8_t *)source->text, *found = NULL;
    const uint64_t text_bytes = source->len;
    const char *text_name = "text.cl";
    uint32_t count = 0;
    uint8_t **outputs = NULL;
    uint64_t *bytes = NULL, found_bytes = 0;
    char **names = NULL;
    int code, rc = SYN_OK;

    (void)snprintf(device, sizeof(device), "0x%x", dev->card->properties.device);
    code = dev->ocloc->invoke(SYN_LEN(argv), argv, 1, &text, &text_bytes, &text_name, 0, NULL, NULL,
                              NULL, &count, &outputs, &bytes, &names);
    if (code == 0)
        found = output_of(count, outputs, bytes, names, ".spv", &found_bytes);
    if (found) {
        *ret_spirv = syn_alloc(found_bytes);
        if (!*ret_spirv)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "program");
        else
            memcpy(*ret_spirv, found, found_bytes);
        *ret_bytes = found_bytes;
    } else {
        found = output_of(count, outputs, bytes, names, "stdout.log", &found_bytes);
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s does not compile (%d): %.*s", source->name, code,
                      found ? (int)SYN_MIN(found_bytes, UINT64_C(2000)) : 0,
                      found ? (const char *)found : "");
    }
    if (outputs)
        (void)dev->ocloc->free(&count, &outputs, &bytes, &names);
    return rc;
}

static int
build_failed(const struct syn_ze_dev *dev, void *log, const struct syn_dev_source *source,
             ze_result result, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *text = NULL;
    size_t bytes = 0;

    if (result != ZE_MODULE_BUILD_FAILURE && result != ZE_MODULE_LINK_FAILURE &&
        result != ZE_INVALID_NATIVE_BINARY)
        return syn_ze_refuse(result, "zeModuleCreate", err);
    if (log && dev->api->log_text(log, &bytes, NULL) == ZE_SUCCESS && bytes > 0)
        text = syn_calloc(bytes + 1, 1);
    if (text && dev->api->log_text(log, &bytes, text) == ZE_SUCCESS)
        return SYN_FAIL(err, SYN_E_INVALID, "%s cannot be built: %s", source->name, text);
    return SYN_FAIL(err, SYN_E_INVALID, "%s cannot be built: %s", source->name,
                    result == ZE_INVALID_NATIVE_BINARY ? "it is not for this device" : "no reason");
}

int
syn_ze_compile(struct syn_dev *base, const struct syn_dev_source *source,
               struct syn_dev_program **ret_program, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    bool is_text = source->format == SYN_FORMAT_OPENCL_C;
    SYN_SCOPED(syn_free_scope) struct ze_program *program = syn_calloc(1, sizeof(*program));
    SYN_SCOPED(syn_free_scope) uint8_t *spirv = NULL;
    struct ze_module_desc desc = {
        .type = ZE_TYPE_MODULE,
        .format = source->format == SYN_FORMAT_CODE_OBJECT ? ZE_NATIVE : ZE_SPIRV,
        .bytes = source->len,
        .input = (const uint8_t *)source->text,
        .flags = is_text ? NULL : source->options, /* a text's are ocloc's */
    };
    uint64_t bytes = 0;
    void *log = NULL;
    ze_result result;
    int rc = SYN_OK;

    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    if (is_text) {
        rc = compile_text(dev, source, &spirv, &bytes, err);
        desc.bytes = bytes;
        desc.input = spirv;
    }
    if (rc < 0)
        return rc;
    result = dev->api->module_create(dev->card->context, dev->card->device, &desc, &program->module,
                                     &log);
    if (result != ZE_SUCCESS)
        rc = build_failed(dev, log, source, result, err);
    if (log)
        (void)dev->api->log_destroy(log);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_init(&program->lock, NULL);
    *ret_program = &SYN_TAKE(program)->base;
    return SYN_OK;
}

void
syn_ze_program_free(struct syn_dev_program *base)
{
    struct ze_program *program = SYN_CONTAINER(base, struct ze_program, base);
    const struct ze_api *api = syn_ze_dev_of(base->dev)->api;

    while (program->kernels) {
        struct ze_kernel_entry *entry = program->kernels;

        program->kernels = entry->next;
        (void)api->kernel_destroy(entry->kernel);
        syn_free(entry);
    }
    (void)api->module_destroy(program->module);
    (void)pthread_mutex_destroy(&program->lock);
    syn_free(program);
}

/* The program's lock is held. */
static int
kernel_get(const struct syn_ze_dev *dev, struct ze_program *program, const char *name,
           void **ret_kernel, struct syn_err *err)
{
    const struct ze_kernel_desc desc = {.type = ZE_TYPE_KERNEL, .name = name};
    struct ze_kernel_entry *entry = program->kernels;
    ze_result result = ZE_INVALID_KERNEL_NAME;

    while (entry && strcmp(entry->name, name) != 0)
        entry = entry->next;
    if (entry) {
        *ret_kernel = entry->kernel;
        return SYN_OK;
    }
    entry = syn_calloc(1, sizeof(*entry));
    if (!entry)
        return SYN_FAIL(err, SYN_E_NOMEM, "kernel");
    if (syn_str_copy(entry->name, sizeof(entry->name), name))
        result = dev->api->kernel_create(program->module, &desc, &entry->kernel);
    if (result != ZE_SUCCESS) {
        syn_free(entry);
        return result == ZE_INVALID_KERNEL_NAME
                   ? SYN_FAIL(err, SYN_E_NOTFOUND, "%s: the program has no kernel %s",
                              dev->base.info.id, name)
                   : syn_ze_refuse(result, "zeKernelCreate", err);
    }
    entry->next = program->kernels;
    program->kernels = entry;
    *ret_kernel = entry->kernel;
    return SYN_OK;
}

static int
set_args(const struct syn_ze_dev *dev, void *kernel, const struct syn_dev_launch *launch,
         struct syn_err *err)
{
    ze_result result =
        dev->api->kernel_group(kernel, launch->group[0], launch->group[1], launch->group[2]);

    if (result != ZE_SUCCESS)
        return syn_ze_refuse(result, launch->kernel, err);
    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];
        const struct syn_dev_place place = {.buf = arg->buf, .offset = arg->offset};
        const void *value = arg->kind == SYN_ARG_VALUE ? arg->value : NULL;
        size_t bytes = arg->bytes;
        char *address = NULL;

        if (arg->kind == SYN_ARG_BUF) {
            address = address_of(&place);
            value = &address;
            bytes = sizeof(address); /* NOLINT(bugprone-sizeof-expression): an address */
        }
        result = dev->api->kernel_argument(kernel, (uint32_t)i, bytes, value);
        if (result == ZE_INVALID_ARGUMENT_INDEX || result == ZE_INVALID_ARGUMENT_SIZE)
            return SYN_FAIL(err, SYN_E_INVALID, "%s: argument %zu: %s", launch->kernel, i,
                            result == ZE_INVALID_ARGUMENT_INDEX ? "there is none" : "its size");
        if (result != ZE_SUCCESS)
            return syn_ze_refuse(result, launch->kernel, err);
    }
    return SYN_OK;
}

int
syn_ze_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
              const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct syn_ze_dev *dev = syn_ze_dev_of(base);
    struct ze_program *program = SYN_CONTAINER(launch->program, struct ze_program, base);
    const struct ze_group_count groups = {(uint32_t)launch->groups[0], (uint32_t)launch->groups[1],
                                          (uint32_t)launch->groups[2]};
    void *kernel = NULL;
    int rc;

    (void)pthread_mutex_lock(&program->lock);
    rc = kernel_get(dev, program, launch->kernel, &kernel, err);
    rc = rc < 0 ? rc : set_args(dev, kernel, launch, err);
    if (rc == SYN_OK) {
        ze_result result = begin(dev, cmd);

        if (result == ZE_SUCCESS)
            result = dev->api->launch(list_of(cmd), kernel, &groups, end_of(cmd), 0, NULL);
        rc = finish(dev, cmd, result, launch->kernel, err);
    }
    (void)pthread_mutex_unlock(&program->lock);
    return rc;
}
