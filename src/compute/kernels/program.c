/* Programs of a device, and launches of calls.
 *
 * A program is found by its text and options; the first who wants it compiles it, under a lock of
 * its own, so that others can compile other programs meanwhile. What does not compile is remembered
 * with its reason; what failed for another reason is tried again by the next one.
 *
 * Native implementations all go through one entry of one program. A launch is asynchronous and may
 * never run (what it waits for fails), so its call cannot be a block that the entry frees; it
 * travels as arguments by value, which the queue copies and owns:
 *
 *     [head: kernel, function, parameters] [shape 0] ... [shape n-1] [operand 0] ... [operand n-1]
 *
 * where an operand is a buffer, or, in host memory, the pointer by value. */
#include <synor/compute/program.h>

#include <pthread.h>
#include <string.h>

#include <synor/base/mem.h>

#include "kernels_priv.h"

#define ENTRY "syn_native"

struct program {
    struct program *next;
    enum syn_format format;
    const char *source, *options; /* of static tables */
    pthread_mutex_t lock;         /* guards what follows; held while compiling */
    struct syn_dev_program *compiled;
    bool refused;
    struct syn_err err; /* if refused */
};

struct syn_programs {
    struct syn_dev *dev;
    pthread_mutex_t lock; /* guards the list; programs stay in it */
    struct program *list;
};

struct head {
    const struct syn_kernel *kernel;
    syn_kernel_fn *run;
    double params[SYN_KERNEL_PARAMS_MAX];
    uint32_t operands_count;
    uint32_t hosts; /* operands that are pointers by value */
};
static_assert(sizeof(struct head) <= SYN_DRV_VALUE_MAX, "a head is an argument");
static_assert(sizeof(struct syn_shape) <= SYN_DRV_VALUE_MAX, "a shape is an argument");
static_assert(1 + 2 * SYN_OPERANDS_MAX <= SYN_DRV_ARGS_MAX, "a call is a launch");
static_assert(SYN_LEN(((struct syn_kernel_launch *)0)->args) <= SYN_DRV_ARGS_MAX,
              "a plan is a launch");

int
syn_programs_new(struct syn_dev *dev, struct syn_programs **ret_programs, struct syn_err *err)
{
    struct syn_programs *programs = syn_calloc(1, sizeof(*programs));

    if (!programs)
        return SYN_FAIL(err, SYN_E_NOMEM, "programs of %s", dev->info.id);
    programs->dev = dev;
    (void)pthread_mutex_init(&programs->lock, NULL);
    *ret_programs = programs;
    return SYN_OK;
}

struct syn_programs *
syn_programs_free(struct syn_programs *programs)
{
    if (!programs)
        return NULL;
    while (programs->list) {
        struct program *program = programs->list;

        programs->list = program->next;
        (void)syn_dev_program_free(program->compiled);
        (void)pthread_mutex_destroy(&program->lock);
        syn_free(program);
    }
    (void)pthread_mutex_destroy(&programs->lock);
    syn_free(programs);
    return NULL;
}

void
syn_programs_free_scope(struct syn_programs **slot)
{
    *slot = syn_programs_free(*slot);
}

/* Native. */

static int
run_native(const struct syn_native_call *call, struct syn_err *err)
{
    const struct head *head = call->args[0];
    struct syn_kernel_call own = {.kernel = head->kernel};
    unsigned count = head->operands_count;

    assert(call->args_count == 1 + 2 * (size_t)count);
    memcpy(own.params, head->params, sizeof(own.params));
    for (unsigned i = 0; i < count; i++) {
        void *data = call->args[1 + count + i];

        own.operands[i].shape = call->args[1 + i];
        own.operands[i].data = head->hosts & SYN_BIT(i) ? *(void **)data : data;
    }
    return head->run(&own, NULL, NULL, err);
}

static const struct syn_native_entry native[] = {{ENTRY, run_native, NULL}};

/* Finding and compiling. */

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static struct program *
find_program(struct syn_programs *programs, const struct syn_kernel_impl *impl)
{
    struct program *program = programs->list;

    while (program &&
           !(program->format == impl->format && same_text(program->source, impl->source) &&
             same_text(program->options, impl->options)))
        program = program->next;
    return program;
}

/* The entry of the list, made if it is not there yet. NULL: NOMEM. */
static struct program *
program_of(struct syn_programs *programs, const struct syn_kernel_impl *impl)
{
    struct program *program = NULL;

    (void)pthread_mutex_lock(&programs->lock);
    program = find_program(programs, impl);
    if (!program) {
        program = syn_calloc(1, sizeof(*program));
        if (program) {
            program->format = impl->format;
            program->source = impl->source;
            program->options = impl->options;
            (void)pthread_mutex_init(&program->lock, NULL);
            program->next = programs->list;
            programs->list = program;
        }
    }
    (void)pthread_mutex_unlock(&programs->lock);
    return program;
}

/* The program's lock is held. */
static int
compile(struct syn_dev *dev, struct program *program, const char *name, struct syn_err *err)
{
    const bool is_native = program->format == SYN_FORMAT_NATIVE;
    const struct syn_dev_source source = {
        .format = program->format,
        .name = name,
        .text = program->source,
        .len = program->source ? strlen(program->source) : 0,
        .options = program->options,
        .entries = is_native ? native : NULL,
        .entries_count = is_native ? SYN_LEN(native) : 0,
    };
    struct syn_err why = {0};
    int rc = syn_dev_compile(dev, &source, &program->compiled, &why);

    program->refused = rc == SYN_E_INVALID;
    if (rc < 0)
        program->err = why;
    if (rc < 0 && err)
        *err = why;
    return rc;
}

/* The compiled program, which stays until the programs are freed. */
static int
get_program(struct syn_programs *programs, const struct syn_kernel *kernel,
            const struct syn_kernel_impl *impl, struct syn_dev_program **ret_program,
            struct syn_err *err)
{
    struct program *program = program_of(programs, impl);
    int rc = SYN_OK;

    if (!program)
        return SYN_FAIL(err, SYN_E_NOMEM, "kernel %s: a program", kernel->name);
    (void)pthread_mutex_lock(&program->lock);
    if (program->refused) {
        if (err)
            *err = program->err;
        rc = program->err.code;
    } else if (!program->compiled) {
        rc = compile(programs->dev, program, kernel->name, err);
    }
    if (rc == SYN_OK)
        *ret_program = program->compiled;
    (void)pthread_mutex_unlock(&program->lock);
    return rc < 0 ? syn_err_wrap(err, rc, "kernel %s", kernel->name) : SYN_OK;
}

int
syn_program_prepare(struct syn_programs *programs, const struct syn_kernel *kernel,
                    const struct syn_kernel_impl *impl, struct syn_err *err)
{
    struct syn_dev_program *program = NULL;

    return get_program(programs, kernel, impl, &program, err);
}

uint64_t
syn_program_scratch(const struct syn_programs *programs, const struct syn_kernel_impl *impl,
                    const struct syn_kernel_call *call)
{
    return impl->scratch ? impl->scratch(call, &programs->dev->info) : 0;
}

/* Launching. */

/* Bytes from the first element to the end of the last. */
static uint64_t
span_of(const struct syn_shape *shape)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < shape->dims; i++)
        last += (shape->sizes[i] - 1) * shape->strides[i];
    return syn_dtype_bytes(shape->dtype, last + 1);
}

static int
check_place(const struct syn_programs *programs, const struct syn_kernel_call *call,
            const struct syn_tensor_place *place, unsigned operand, bool is_native,
            struct syn_err *err)
{
    const char *name = call->kernel->operands[operand].name;
    const struct syn_shape *shape = call->operands[operand].shape;
    uint64_t span = span_of(shape), align = SYN_MAX(syn_dtype_info(shape->dtype)->bits / 8, 1U);

    if (!place->buf) {
        if (is_native && place->host)
            return SYN_OK;
        return SYN_FAIL(err, SYN_E_INVALID, "%s is not on %s", name, programs->dev->info.id);
    }
    if (place->buf->dev != programs->dev)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is not on %s", name, programs->dev->info.id);
    if (place->offset > place->buf->bytes || span > place->buf->bytes - place->offset)
        return SYN_FAIL(err, SYN_E_INVALID, "%s of %llu bytes leaves its buffer", name,
                        (unsigned long long)span);
    if (place->offset % align != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s begins in the middle of an element", name);
    return SYN_OK;
}

static int
launch_native(struct syn_programs *programs, const struct syn_kernel_impl *impl,
              const struct syn_kernel_call *call, const struct syn_tensor_place places[],
              struct syn_dev_launch *launch, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    unsigned count = call->kernel->operands_count;
    struct head head = {.kernel = call->kernel, .run = impl->run, .operands_count = count};
    struct syn_dev_arg args[1 + 2 * SYN_OPERANDS_MAX] = {
        {.kind = SYN_ARG_VALUE, .value = &head, .bytes = sizeof(head)}};
    int rc;

    memcpy(head.params, call->params, sizeof(head.params));
    for (unsigned i = 0; i < count; i++) {
        args[1 + i] = (struct syn_dev_arg){.kind = SYN_ARG_VALUE,
                                           .value = call->operands[i].shape,
                                           .bytes = sizeof(struct syn_shape)};
        args[1 + count + i] = (struct syn_dev_arg){
            .kind = SYN_ARG_BUF, .buf = places[i].buf, .offset = places[i].offset};
        if (!places[i].buf) {
            head.hosts |= SYN_BIT(i);
            args[1 + count + i] = (struct syn_dev_arg){
                .kind = SYN_ARG_VALUE, .value = &places[i].host, .bytes = sizeof(places[i].host)};
        }
    }
    launch->kernel = ENTRY;
    launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
    launch->group[0] = launch->group[1] = launch->group[2] = 1;
    launch->args = args;
    launch->args_count = 1 + 2 * (size_t)count;
    rc = syn_dev_launch(programs->dev, launch, cmd, err);
    launch->args = NULL; /* they end here */
    return rc;
}

/* Arguments of a planned launch as the driver takes them. `offsets` has room for those that are
 * passed by value. */
static int
take_args(const struct syn_kernel_launch *plan, const struct syn_kernel_call *call,
          const struct syn_tensor_place places[], struct syn_dev_buf *scratch,
          struct syn_dev_arg *args, uint64_t *offsets, struct syn_err *err)
{
    for (unsigned i = 0; i < plan->args_count; i++) {
        const struct syn_kernel_arg *arg = &plan->args[i];
        const struct syn_tensor_place *place = &places[arg->operand];

        switch (arg->kind) {
        case SYN_KERNEL_OPERAND:
            args[i] = (struct syn_dev_arg){.kind = SYN_ARG_BUF, .buf = place->buf};
            break;
        case SYN_KERNEL_OFFSET:
            offsets[i] =
                place->offset * 8 / syn_dtype_info(call->operands[arg->operand].shape->dtype)->bits;
            args[i] = (struct syn_dev_arg){
                .kind = SYN_ARG_VALUE, .value = &offsets[i], .bytes = sizeof(offsets[i])};
            break;
        case SYN_KERNEL_VALUE:
            args[i] = (struct syn_dev_arg){
                .kind = SYN_ARG_VALUE, .value = arg->value, .bytes = arg->bytes};
            break;
        case SYN_KERNEL_LOCAL:
            args[i] = (struct syn_dev_arg){.kind = SYN_ARG_LOCAL, .bytes = arg->bytes};
            break;
        case SYN_KERNEL_SCRATCH:
            if (!scratch || arg->bytes >= scratch->bytes)
                return SYN_FAIL(err, SYN_E_INVALID, "its scratch memory is missing");
            args[i] =
                (struct syn_dev_arg){.kind = SYN_ARG_BUF, .buf = scratch, .offset = arg->bytes};
            break;
        }
    }
    return SYN_OK;
}

/* What a launch of several steps goes by. */
struct steps {
    struct syn_programs *programs;
    const struct syn_kernel_impl *impl;
    const struct syn_kernel_call *call;
    const struct syn_tensor_place *places;
    struct syn_dev_buf *scratch;
    struct syn_dev_launch launch;
    struct syn_work work; /* of the call: each step is charged its share */
    unsigned count;
};

static int
give_step(struct steps *steps, unsigned step, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct syn_dev *dev = steps->programs->dev;
    struct syn_dev_cmd own = {.queue = cmd->queue};
    struct syn_dev_arg args[SYN_KERNEL_ARGS_MAX];
    uint64_t offsets[SYN_KERNEL_ARGS_MAX];
    struct syn_kernel_launch plan = {0};
    int rc = steps->impl->plan(steps->call, &dev->info, step, &plan, err);

    assert(plan.args_count <= SYN_KERNEL_ARGS_MAX);
    if (rc == SYN_OK)
        rc = take_args(&plan, steps->call, steps->places, steps->scratch, args, offsets, err);
    if (rc < 0)
        return rc;
    if (step == 0) {
        own.waits = cmd->waits;
        own.waits_count = cmd->waits_count;
    }
    if (step + 1 == steps->count)
        own.signal = cmd->signal;
    steps->launch.work = steps->work;
    steps->launch.work.flops /= steps->count;
    steps->launch.work.read_bytes /= steps->count;
    steps->launch.work.written_bytes /= steps->count;
    steps->launch.kernel = plan.entry;
    memcpy(steps->launch.groups, plan.groups, sizeof(plan.groups));
    memcpy(steps->launch.group, plan.group, sizeof(plan.group));
    steps->launch.args = args;
    steps->launch.args_count = plan.args_count;
    rc = syn_dev_launch(dev, &steps->launch, &own, err);
    steps->launch.args = NULL; /* they end here */
    return rc;
}

/* Wait until the queue has done what it was given, by a command of no effect. */
static void
drain(const struct steps *steps, struct syn_dev_queue *queue, struct syn_dev_event *event)
{
    const struct syn_tensor_place *place = &steps->places[0];
    const struct syn_dev_cmd cmd = {.queue = queue, .signal = event};
    char byte;

    if (syn_dev_read(&byte, place->buf, place->offset, 1, &cmd, NULL) == SYN_OK)
        (void)!syn_dev_event_wait(event, -1, NULL);
}

static int
launch_steps(struct steps *steps, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    struct syn_dev_event *event = NULL;
    int rc = SYN_OK;

    if (steps->count > 1)
        rc = syn_dev_event_create(steps->programs->dev, &event, err);
    for (unsigned step = 0; rc == SYN_OK && step < steps->count; step++) {
        rc = give_step(steps, step, cmd, err);
        if (rc < 0 && step > 0)
            drain(steps, cmd->queue, event);
    }
    (void)syn_dev_event_destroy(event);
    return rc;
}

int
syn_program_launch(struct syn_programs *programs, const struct syn_kernel_impl *impl,
                   const struct syn_kernel_call *call, const struct syn_tensor_place places[],
                   struct syn_dev_buf *scratch, const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct syn_kernel *kernel = call->kernel;
    bool is_native = impl->format == SYN_FORMAT_NATIVE;
    struct steps steps = {programs, impl, call, places, scratch, {0}, {0}, 1};
    int rc = get_program(programs, kernel, impl, &steps.launch.program, err);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; rc == SYN_OK && i < kernel->operands_count; i++)
        rc = check_place(programs, call, &places[i], i, is_native, err);
    if (rc == SYN_OK) {
        kernel->work(call, &steps.work);
        steps.launch.work = steps.work;
        if (impl->steps)
            steps.count = impl->steps(call, &programs->dev->info);
        assert(steps.count > 0);
        rc = is_native ? launch_native(programs, impl, call, places, &steps.launch, cmd, err)
                       : launch_steps(&steps, cmd, err);
    }
    return rc < 0 ? syn_err_wrap(err, rc, "kernel %s", kernel->name) : SYN_OK;
}
