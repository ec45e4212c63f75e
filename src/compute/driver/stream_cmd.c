/* Commands and programs of CUDA and HIP. Copies from memory that is not pinned are done by the
 * vendor through a buffer of its own and may return late: who wants overlap pins. */
#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "stream_priv.h"

#define OPTIONS_MAX      16
#define JIT_ERROR_LOG    5 /* of module_load's options */
#define JIT_ERROR_LENGTH 6

static void *
stream_of(const struct syn_dev_cmd *cmd)
{
    return SYN_CONTAINER(cmd->queue, struct stream_queue, base)->stream;
}

static uint64_t
address_of(const struct syn_dev_place *place)
{
    if (!place->buf)
        return (uint64_t)(uintptr_t)place->host + place->offset;
    return SYN_CONTAINER(place->buf, struct stream_buf, base)->at + place->offset;
}

/* What goes before the command itself: its waits and the start of its span. */
static int
begin(const struct stream_dev *dev, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    int rc = syn_stream_enter(dev, err), code = STREAM_OK;

    for (size_t i = 0; rc == SYN_OK && code == STREAM_OK && i < cmd->waits_count; i++) {
        const struct stream_event *event = SYN_CONTAINER(cmd->waits[i], struct stream_event, base);

        if (event->used)
            code = dev->api->stream_wait(stream_of(cmd), event->end, 0);
    }
    if (rc == SYN_OK && code == STREAM_OK && cmd->signal)
        code = dev->api->event_record(SYN_CONTAINER(cmd->signal, struct stream_event, base)->start,
                                      stream_of(cmd));
    if (rc == SYN_OK && code != STREAM_OK)
        rc = syn_stream_refuse(dev->vendor, code, "waiting for events", err);
    return rc;
}

/* What goes behind it: its signal, unless it was refused with `code`. */
static int
finish(const struct stream_dev *dev, const struct syn_dev_cmd *cmd, int code, const char *what,
       struct syn_err *err)
{
    struct stream_event *signal =
        cmd->signal ? SYN_CONTAINER(cmd->signal, struct stream_event, base) : NULL;

    if (code == STREAM_OK && signal) {
        code = dev->api->event_record(signal->end, stream_of(cmd));
        signal->used = signal->used || code == STREAM_OK;
    }
    return code == STREAM_OK ? SYN_OK : syn_stream_refuse(dev->vendor, code, what, err);
}

static int
copy_rows(const struct stream_dev *dev, const struct syn_dev_copy *copy, void *stream)
{
    const struct syn_dev_place *dst = &copy->dst, *src = &copy->src;
    const struct stream_api *api = dev->api;
    uint64_t to = address_of(dst), from = address_of(src);
    size_t bytes = copy->row_bytes;

    if (copy->rows > 1)
        return dev->vendor->copy_2d(api, to, !dst->buf, dst->row_pitch, from, !src->buf,
                                    src->row_pitch, bytes, copy->rows, stream);
    if (!src->buf)
        return api->to_device(to, (const void *)(uintptr_t)from, bytes, stream);
    if (!dst->buf)
        return api->from_device((void *)(uintptr_t)to, from, bytes, stream);
    return api->within(to, from, bytes, stream);
}

int
syn_stream_copy(struct syn_dev *base, const struct syn_dev_copy *copy,
                const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(base);
    struct syn_dev_copy slice = *copy;
    int rc = begin(dev, cmd, err), code = STREAM_OK;

    if (rc < 0)
        return rc;
    for (uint64_t i = 0; code == STREAM_OK && i < copy->slices; i++) {
        code = copy_rows(dev, &slice, stream_of(cmd));
        slice.dst.offset += copy->dst.slice_pitch;
        slice.src.offset += copy->src.slice_pitch;
    }
    return finish(dev, cmd, code, "copy", err);
}

bool
syn_stream_can_peer(struct syn_dev *base, struct syn_dev *other_base)
{
    const struct stream_dev *dev = stream_dev_of(base), *other = stream_dev_of(other_base);
    int yes = 0;

    if (dev->device == other->device ||
        dev->api->can_peer(&yes, dev->device, other->device) != STREAM_OK || !yes)
        return false;
    if (dev->api->current(dev->current) != STREAM_OK)
        return false;
    yes = dev->api->enable_peer(other->current, 0);
    return yes == STREAM_OK || yes == STREAM_PEER_ENABLED;
}

int
syn_stream_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                     struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(cmd->queue->dev);
    const struct stream_dev *dst = stream_dev_of(copy->dst.buf->dev);
    const struct stream_dev *src = stream_dev_of(copy->src.buf->dev);
    int rc = begin(dev, cmd, err), code = STREAM_OK;

    if (rc < 0)
        return rc;
    for (uint64_t i = 0; code == STREAM_OK && i < copy->slices * copy->rows; i++) {
        uint64_t slice = i / copy->rows, row = i % copy->rows;

        code = dev->api->peer(
            address_of(&copy->dst) + slice * copy->dst.slice_pitch + row * copy->dst.row_pitch,
            dst->current,
            address_of(&copy->src) + slice * copy->src.slice_pitch + row * copy->src.row_pitch,
            src->current, copy->row_bytes, stream_of(cmd));
    }
    return finish(dev, cmd, code, "peer copy", err);
}

int
syn_stream_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(buf->dev);
    uint64_t at = SYN_CONTAINER(buf, struct stream_buf, base)->at;
    int rc = begin(dev, cmd, err), code;

    if (rc < 0)
        return rc;
    code = dev->api->fill(at + offset, value, bytes, stream_of(cmd));
    return finish(dev, cmd, code, "fill", err);
}

/* Programs. */

/* Load PTX or a code object. PTX has to end in a zero, which `image` has behind its `len` bytes. */
static int
load_image(const struct stream_dev *dev, const char *image, const char *name, void **ret_module,
           struct syn_err *err)
{
    static const int keys[] = {JIT_ERROR_LOG, JIT_ERROR_LENGTH};
    char log[1024] = "";
    void *values[] = {log, (void *)(uintptr_t)(sizeof(log) - 1)};
    int code =
        dev->api->module_load(ret_module, image, dev->vendor->image_options ? 2 : 0, keys, values);

    if (code == STREAM_OK)
        return SYN_OK;
    if (code == 200 || code == 209 || code == 218 || code == 222)
        return SYN_FAIL(err, SYN_E_INVALID, "%s cannot be loaded (%d): %s", name, code,
                        log[0] != '\0' ? log : "no reason was given");
    return syn_stream_refuse(dev->vendor, code, "loading a program", err);
}

/* The options for the run-time compiler; `text` keeps what they point to. */
static int
split_options(const struct stream_dev *dev, const struct syn_dev_source *source, char *text,
              size_t cap, const char **options)
{
    char *cursor = NULL, *part = NULL;
    size_t used = 0;
    int count = 0;

    if (dev->vendor->arch(dev, text, cap)) {
        options[count++] = text;
        used = strlen(text) + 1;
    }
    if (!source->options || !syn_str_copy(text + used, cap - used, source->options))
        return source->options ? -1 : count;
    cursor = text + used;
    while ((part = strsep(&cursor, " "))) {
        if (*part == '\0')
            continue;
        if (count == OPTIONS_MAX)
            return -1;
        options[count++] = part;
    }
    return count;
}

static int
rtc_failed(const struct stream_dev *dev, void *program, const struct syn_dev_source *source,
           int code, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *log = NULL;
    size_t size = 0;

    if (dev->rtc->log_size(program, &size) == 0 && size > 0)
        log = syn_calloc(size + 1, 1);
    if (log && dev->rtc->log(program, log) == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s does not compile: %s", source->name, log);
    return SYN_FAIL(err, SYN_E_INVALID, "%s does not compile (%d)", source->name, code);
}

/* Compile source to an image with a zero behind it. */
static int
compile_source(const struct stream_dev *dev, const struct syn_dev_source *source, char **ret_image,
               struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) char *image = NULL;
    const char *options[OPTIONS_MAX] = {0};
    char text[1024];
    void *program = NULL;
    size_t size = 0;
    int count = split_options(dev, source, text, sizeof(text), options), code, rc = SYN_OK;

    if (count < 0)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: too many options", source->name);
    if (dev->rtc->create(&program, source->text, source->name, 0, NULL, NULL) != 0)
        return SYN_FAIL(err, SYN_E_IO, "%s: the compiler refuses the program", source->name);
    code = dev->rtc->compile(program, count, options);
    if (code != 0)
        rc = rtc_failed(dev, program, source, code, err);
    if (rc == SYN_OK && dev->rtc->code_size(program, &size) != 0)
        rc = SYN_FAIL(err, SYN_E_IO, "%s: the compiler made nothing", source->name);
    if (rc == SYN_OK) {
        image = syn_calloc(size + 1, 1);
        if (!image)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "program");
        else if (dev->rtc->code(program, image) != 0)
            rc = SYN_FAIL(err, SYN_E_IO, "%s: the compiler gives nothing", source->name);
    }
    (void)dev->rtc->destroy(&program);
    if (rc == SYN_OK)
        *ret_image = SYN_TAKE(image);
    return rc;
}

int
syn_stream_compile(struct syn_dev *base, const struct syn_dev_source *source,
                   struct syn_dev_program **ret_program, struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(base);
    SYN_SCOPED(syn_free_scope) struct stream_program *program = syn_calloc(1, sizeof(*program));
    SYN_SCOPED(syn_free_scope) char *text = NULL;
    SYN_SCOPED(syn_free_scope) char *image = NULL;
    struct syn_dev_source own = *source;
    int rc;

    text = syn_alloc(source->len + 1);
    if (!program || !text)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    memcpy(text, source->text, source->len);
    text[source->len] = '\0';
    own.text = text;
    rc = syn_stream_enter(dev, err);
    if (rc == SYN_OK && source->format == dev->vendor->source)
        rc = compile_source(dev, &own, &image, err);
    rc = rc < 0 ? rc : load_image(dev, image ? image : text, source->name, &program->module, err);
    if (rc == SYN_OK)
        *ret_program = &SYN_TAKE(program)->base;
    return rc;
}

void
syn_stream_program_free(struct syn_dev_program *base)
{
    struct stream_program *program = SYN_CONTAINER(base, struct stream_program, base);
    const struct stream_dev *dev = stream_dev_of(base->dev);

    (void)dev->api->current(dev->current);
    (void)dev->api->module_unload(program->module);
    syn_free(program);
}

int
syn_stream_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
                  const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct stream_dev *dev = stream_dev_of(base);
    const struct stream_program *program =
        SYN_CONTAINER(launch->program, struct stream_program, base);
    uint64_t pointers[SYN_DRV_ARGS_MAX];
    void *params[SYN_DRV_ARGS_MAX], *function = NULL;
    unsigned local = 0;
    size_t count = 0;
    int rc = syn_stream_enter(dev, err), code;

    if (rc < 0)
        return rc;
    code = dev->api->module_function(&function, program->module, launch->kernel);
    if (code == STREAM_NOT_FOUND)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s: the program has no kernel %s", base->info.id,
                        launch->kernel);
    if (code != STREAM_OK)
        return syn_stream_refuse(dev->vendor, code, "finding a kernel", err);
    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];

        if (arg->kind == SYN_ARG_LOCAL) { /* no parameter: the kernel's dynamic shared memory */
            local += (unsigned)arg->bytes;
            continue;
        }
        if (arg->kind == SYN_ARG_BUF) {
            const struct syn_dev_place place = {.buf = arg->buf, .offset = arg->offset};

            pointers[i] = address_of(&place);
            params[count++] = &pointers[i];
        } else {
            params[count++] = (void *)(uintptr_t)arg->value; /* is only read */
        }
    }
    rc = begin(dev, cmd, err);
    if (rc < 0)
        return rc;
    code = dev->api->launch(function, (unsigned)launch->groups[0], (unsigned)launch->groups[1],
                            (unsigned)launch->groups[2], launch->group[0], launch->group[1],
                            launch->group[2], local, stream_of(cmd), params, NULL);
    return finish(dev, cmd, code, launch->kernel, err);
}
