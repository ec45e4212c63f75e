#include <stdio.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "opencl_priv.h"

/* Commands. One of ours may be several of OpenCL's: the first takes the waits, the last the
 * signal. */

struct pieces {
    const struct syn_dev_cmd *cmd;
    const struct cl_api *api;
    cl_command_queue queue;
    cl_event waits[SYN_DRV_WAITS_MAX];
    cl_uint waits_count;
    cl_event first, last;
};

static void
pieces_begin(struct pieces *p, const struct syn_dev_cmd *cmd)
{
    *p = (struct pieces){.cmd = cmd};
    p->api = ocl_dev_of(cmd->queue->dev)->api;
    p->queue = SYN_CONTAINER(cmd->queue, struct ocl_queue, base)->queue;
    for (size_t i = 0; i < cmd->waits_count; i++) {
        const struct ocl_event *event = SYN_CONTAINER(cmd->waits[i], struct ocl_event, base);

        if (event->last)
            p->waits[p->waits_count++] = event->last;
    }
}

/* The list of waits as the interface wants it: none is NULL. */
static const cl_event *
pieces_waits(const struct pieces *p)
{
    return p->waits_count > 0 ? p->waits : NULL;
}

/* A piece was given and has this event; the next one waits for nothing, the queue is in order. */
static void
pieces_next(struct pieces *p, cl_event event)
{
    if (p->last && p->last != p->first)
        (void)p->api->clReleaseEvent(p->last);
    if (!p->first)
        p->first = event;
    p->last = event;
    p->waits_count = 0;
}

/* All pieces are given, or one was refused with `code`. */
static int
pieces_end(struct pieces *p, cl_int code, const char *what, struct syn_err *err)
{
    struct ocl_event pair = {.first = p->first, .last = p->last};
    struct ocl_event *signal =
        p->cmd->signal ? SYN_CONTAINER(p->cmd->signal, struct ocl_event, base) : NULL;

    if (code == CL_SUCCESS)
        code = p->api->clFlush(p->queue);
    if (code == CL_SUCCESS && signal) {
        ocl_event_drop(p->api, signal);
        signal->first = pair.first;
        signal->last = pair.last;
        return SYN_OK;
    }
    if (code != CL_SUCCESS && p->first) /* nobody may reuse what is half under way */
        (void)p->api->clFinish(p->queue);
    ocl_event_drop(p->api, &pair);
    return code == CL_SUCCESS ? SYN_OK : ocl_refuse(code, what, err);
}

static void *
host_at(const struct syn_dev_place *place)
{
    return (char *)place->host + place->offset;
}

static cl_int
copy_plain(const struct pieces *p, const struct syn_dev_copy *copy, cl_event *ret)
{
    const struct syn_dev_place *dst = &copy->dst, *src = &copy->src;
    const struct cl_api *api = p->api;
    size_t bytes = copy->row_bytes;

    if (!src->buf)
        return api->clEnqueueWriteBuffer(p->queue, ocl_mem_of(dst->buf), 0, dst->offset, bytes,
                                         host_at(src), p->waits_count, pieces_waits(p), ret);
    if (!dst->buf)
        return api->clEnqueueReadBuffer(p->queue, ocl_mem_of(src->buf), 0, src->offset, bytes,
                                        host_at(dst), p->waits_count, pieces_waits(p), ret);
    return api->clEnqueueCopyBuffer(p->queue, ocl_mem_of(src->buf), ocl_mem_of(dst->buf),
                                    src->offset, dst->offset, bytes, p->waits_count,
                                    pieces_waits(p), ret);
}

static cl_int
copy_slice(const struct pieces *p, const struct syn_dev_copy *copy, cl_event *ret)
{
    const struct syn_dev_place *dst = &copy->dst, *src = &copy->src;
    const struct cl_api *api = p->api;
    const size_t region[3] = {copy->row_bytes, copy->rows, 1}, zero[3] = {0};
    const size_t from[3] = {src->offset, 0, 0}, to[3] = {dst->offset, 0, 0};

    if (!src->buf)
        return api->clEnqueueWriteBufferRect(p->queue, ocl_mem_of(dst->buf), 0, to, zero, region,
                                             dst->row_pitch, 0, src->row_pitch, 0, host_at(src),
                                             p->waits_count, pieces_waits(p), ret);
    if (!dst->buf)
        return api->clEnqueueReadBufferRect(p->queue, ocl_mem_of(src->buf), 0, from, zero, region,
                                            src->row_pitch, 0, dst->row_pitch, 0, host_at(dst),
                                            p->waits_count, pieces_waits(p), ret);
    return api->clEnqueueCopyBufferRect(p->queue, ocl_mem_of(src->buf), ocl_mem_of(dst->buf), from,
                                        to, region, src->row_pitch, 0, dst->row_pitch, 0,
                                        p->waits_count, pieces_waits(p), ret);
}

/* Slice by slice: the interface takes only slice pitches that are multiples of the row pitch. */
int
ocl_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
         struct syn_err *err)
{
    struct syn_dev_copy slice = *copy;
    struct pieces p;
    cl_int code = CL_SUCCESS;

    (void)dev;
    pieces_begin(&p, cmd);
    for (uint64_t i = 0; code == CL_SUCCESS && i < copy->slices; i++) {
        cl_event event = NULL;

        code = copy->rows == 1 ? copy_plain(&p, &slice, &event) : copy_slice(&p, &slice, &event);
        if (code == CL_SUCCESS)
            pieces_next(&p, event);
        slice.dst.offset += copy->dst.slice_pitch;
        slice.src.offset += copy->src.slice_pitch;
    }
    return pieces_end(&p, code, "copy", err);
}

int
ocl_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
         const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct pieces p;
    cl_event event = NULL;
    cl_int code;

    pieces_begin(&p, cmd);
    code = p.api->clEnqueueFillBuffer(p.queue, ocl_mem_of(buf), &value, sizeof(value), offset,
                                      bytes, p.waits_count, pieces_waits(&p), &event);
    if (code == CL_SUCCESS)
        pieces_next(&p, event);
    return pieces_end(&p, code, "fill", err);
}

/* Programs. */

static int
build_failed(const struct ocl_dev *dev, cl_program program, const struct syn_dev_source *source,
             cl_int code, struct syn_err *err)
{
    char log[2048] = "";
    size_t len = 0;

    if (code != CL_BUILD_PROGRAM_FAILURE)
        return ocl_refuse(code, "clBuildProgram", err);
    /* A log longer than this is refused whole: then its length is all there is. */
    if (dev->api->clGetProgramBuildInfo(program, dev->id, CL_BUILD_LOG, sizeof(log) - 1, log,
                                        &len) != CL_SUCCESS)
        (void)snprintf(log, sizeof(log), "a log of %zu bytes", len);
    return SYN_FAIL(err, SYN_E_INVALID, "%s does not compile: %s", source->name, log);
}

int
ocl_compile(struct syn_dev *base, const struct syn_dev_source *source,
            struct syn_dev_program **ret_program, struct syn_err *err)
{
    struct ocl_dev *dev = ocl_dev_of(base);
    struct ocl_program *program = syn_calloc(1, sizeof(*program));
    const char *text = source->text;
    cl_int code = CL_SUCCESS;
    int rc = SYN_OK;

    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "program");
    if (source->format == SYN_FORMAT_SPIRV)
        program->program = dev->api->clCreateProgramWithIL(dev->context, text, source->len, &code);
    else
        program->program =
            dev->api->clCreateProgramWithSource(dev->context, 1, &text, &source->len, &code);
    if (!program->program) {
        syn_free(program);
        return ocl_refuse(code, "creating a program", err);
    }
    code = dev->api->clBuildProgram(program->program, 1, &dev->id, source->options, NULL, NULL);
    if (code != CL_SUCCESS) {
        rc = build_failed(dev, program->program, source, code, err);
        (void)dev->api->clReleaseProgram(program->program);
        syn_free(program);
        return rc;
    }
    (void)pthread_mutex_init(&program->lock, NULL);
    *ret_program = &program->base;
    return SYN_OK;
}

void
ocl_program_free(struct syn_dev_program *base)
{
    struct ocl_program *program = SYN_CONTAINER(base, struct ocl_program, base);
    const struct cl_api *api = ocl_dev_of(base->dev)->api;

    while (program->kernels) {
        struct ocl_kernel *kernel = program->kernels;

        program->kernels = kernel->next;
        (void)api->clReleaseKernel(kernel->kernel);
        syn_free(kernel);
    }
    (void)api->clReleaseProgram(program->program);
    (void)pthread_mutex_destroy(&program->lock);
    syn_free(program);
}

/* The program's lock is held. */
static int
kernel_get(const struct ocl_dev *dev, struct ocl_program *program, const char *name,
           cl_kernel *ret_kernel, struct syn_err *err)
{
    struct ocl_kernel *kernel = program->kernels;
    cl_int code = CL_SUCCESS;

    while (kernel && strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    if (kernel) {
        *ret_kernel = kernel->kernel;
        return SYN_OK;
    }
    kernel = syn_calloc(1, sizeof(*kernel));
    if (!kernel)
        return SYN_FAIL(err, SYN_E_NOMEM, "kernel");
    kernel->kernel = NULL;
    if (syn_str_copy(kernel->name, sizeof(kernel->name), name))
        kernel->kernel = dev->api->clCreateKernel(program->program, name, &code);
    else
        code = CL_INVALID_KERNEL_NAME;
    if (!kernel->kernel) {
        syn_free(kernel);
        return code == CL_INVALID_KERNEL_NAME
                   ? SYN_FAIL(err, SYN_E_NOTFOUND, "the program has no kernel %s", name)
                   : ocl_refuse(code, "clCreateKernel", err);
    }
    kernel->next = program->kernels;
    program->kernels = kernel;
    *ret_kernel = kernel->kernel;
    return SYN_OK;
}

/* An argument that starts inside its buffer is a buffer of its own for the time of the launch. */
static int
sub_buffer(const struct ocl_dev *dev, const struct syn_dev_arg *arg, cl_mem *ret_mem,
           struct syn_err *err)
{
    const struct cl_region region = {arg->offset, arg->buf->bytes - arg->offset};
    cl_int code = CL_MISALIGNED_SUB_BUFFER_OFFSET;
    cl_mem mem = NULL;

    if (dev->align == 0 || arg->offset % dev->align == 0)
        mem = dev->api->clCreateSubBuffer(ocl_mem_of(arg->buf), CL_MEM_READ_WRITE, CL_BUFFER_REGION,
                                          &region, &code);
    if (mem) {
        *ret_mem = mem;
        return SYN_OK;
    }
    if (code == CL_MISALIGNED_SUB_BUFFER_OFFSET)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "%s: an argument must start at a multiple of %zu bytes, not at %llu",
                        dev->base.info.id, dev->align, (unsigned long long)arg->offset);
    return ocl_refuse(code, "clCreateSubBuffer", err);
}

/* Set the arguments; subs[] gets what has to be released after the launch. */
static int
set_args(const struct ocl_dev *dev, cl_kernel kernel, const struct syn_dev_launch *launch,
         cl_mem *subs, struct syn_err *err)
{
    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];
        const void *value = arg->kind == SYN_ARG_VALUE ? arg->value : NULL;
        size_t bytes = arg->bytes;
        cl_mem mem = NULL;
        cl_int code;

        if (arg->kind == SYN_ARG_BUF) {
            if (arg->offset > 0) {
                int rc = sub_buffer(dev, arg, &subs[i], err);

                if (rc < 0)
                    return rc;
            }
            mem = subs[i] ? subs[i] : ocl_mem_of(arg->buf);
            value = &mem;
            bytes = sizeof(cl_mem); /* NOLINT(bugprone-sizeof-expression): a handle */
        }
        code = dev->api->clSetKernelArg(kernel, (cl_uint)i, bytes, value);
        if (code != CL_SUCCESS) {
            int rc = ocl_refuse(code, "clSetKernelArg", err);

            return syn_err_wrap(err, rc, "%s: argument %zu", launch->kernel, i);
        }
    }
    return SYN_OK;
}

static int
launch_locked(const struct ocl_dev *dev, struct ocl_program *program,
              const struct syn_dev_launch *launch, const struct syn_dev_cmd *cmd,
              struct syn_err *err)
{
    size_t global[3], local[3];
    cl_mem subs[SYN_DRV_ARGS_MAX] = {0};
    cl_kernel kernel = NULL;
    cl_event event = NULL;
    struct pieces p;
    int rc = kernel_get(dev, program, launch->kernel, &kernel, err);

    rc = rc < 0 ? rc : set_args(dev, kernel, launch, subs, err);
    if (rc == SYN_OK) {
        cl_int code;

        for (int i = 0; i < 3; i++) {
            local[i] = launch->group[i];
            global[i] = launch->groups[i] * launch->group[i];
        }
        pieces_begin(&p, cmd);
        code = p.api->clEnqueueNDRangeKernel(p.queue, kernel, 3, NULL, global, local, p.waits_count,
                                             pieces_waits(&p), &event);
        if (code == CL_SUCCESS)
            pieces_next(&p, event);
        rc = pieces_end(&p, code, launch->kernel, err);
    }
    for (size_t i = 0; i < launch->args_count; i++) {
        if (subs[i]) /* lives on until the launch is done */
            (void)dev->api->clReleaseMemObject(subs[i]);
    }
    return rc;
}

int
ocl_launch(struct syn_dev *base, const struct syn_dev_launch *launch, const struct syn_dev_cmd *cmd,
           struct syn_err *err)
{
    struct ocl_program *program = SYN_CONTAINER(launch->program, struct ocl_program, base);
    int rc;

    (void)pthread_mutex_lock(&program->lock);
    rc = launch_locked(ocl_dev_of(base), program, launch, cmd, err);
    (void)pthread_mutex_unlock(&program->lock);
    return rc;
}
