/* Calls that add to the same tensor at the same time, wherever they run: each worker adds to a copy
 * of its own, and the copies are put together when somebody reads.
 *
 * A dot product, in pieces, by the library's kernel and sum; and which letters turn up in a text,
 * by a kernel and an operator of the program's own: sets, joined by "or". Exits with 0 when both
 * results are those of plain loops.
 *
 *     reduce [PIECES] */
#include <stdio.h>
#include <stdlib.h>

#include <synor/engine.h>

#define N          65536
#define LINES      64
#define PIECES_MAX 64

static struct syn_err error;

static void
must(int rc)
{
    if (rc >= 0)
        return;
    (void)fprintf(stderr, "reduce: %s\n", error.msg);
    exit(1);
}

/* ---- an operator: two kernels, here for cores; each could have text for devices as well ---- */

static int
run_empty(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
          struct syn_err *err)
{
    (void)worker;
    (void)at;
    (void)err;
    *(int64_t *)call->operands[0].data = 0;
    return 0;
}

static int
run_join(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    (void)worker;
    (void)at;
    (void)err;
    *(int64_t *)call->operands[1].data |= *(const int64_t *)call->operands[0].data;
    return 0;
}

/* Which letters the text has, added to a set. */
static int
run_look(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
         struct syn_err *err)
{
    const int64_t *text = call->operands[0].data;
    int64_t *set = call->operands[1].data;

    (void)worker;
    (void)at;
    (void)err;
    for (uint64_t i = 0; i < call->operands[0].shape->sizes[0]; i++)
        *set |= (int64_t)1 << text[i * call->operands[0].shape->strides[0]];
    return 0;
}

static void
work_of(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    *ret_work = (struct syn_work){.read_bytes = syn_shape_span(call->operands[0].shape),
                                  .written_bytes = sizeof(int64_t),
                                  .dtype = SYN_DTYPE_INT64};
}

static const struct syn_kernel_impl empty_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = SYN_BIT(SYN_KIND_CPU), .run = run_empty}};
static const struct syn_kernel_impl join_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = SYN_BIT(SYN_KIND_CPU), .run = run_join}};
static const struct syn_kernel_impl look_impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = SYN_BIT(SYN_KIND_CPU), .run = run_look}};
static const struct syn_kernel_operand empty_operands[] = {{"set", SYN_WRITE, 0, 0}};
static const struct syn_kernel_operand join_operands[] = {{"part", SYN_READ, 0, 0},
                                                          {"into", SYN_UPDATE, 0, 0}};
static const struct syn_kernel_operand look_operands[] = {{"text", SYN_READ, 1, 1},
                                                          {"set", SYN_REDUCE, 0, 0}};

static const struct syn_kernel empty = {.name = "set-empty",
                                        .operands_count = 1,
                                        .operands = empty_operands,
                                        .impls_count = 1,
                                        .impls = empty_impls,
                                        .work = work_of};
static const struct syn_kernel join = {.name = "set-join",
                                       .operands_count = 2,
                                       .operands = join_operands,
                                       .impls_count = 1,
                                       .impls = join_impls,
                                       .work = work_of};
static const struct syn_kernel_reduction unite = {.init = &empty, .merge = &join};
static const struct syn_kernel look = {.name = "set-look",
                                       .operands_count = 2,
                                       .operands = look_operands,
                                       .impls_count = 1,
                                       .impls = look_impls,
                                       .work = work_of,
                                       .reductions = {NULL, &unite}};

/* ---- the two of them ---- */

static struct syn_tensor *
wrap(struct syn_engine *engine, int64_t *values, uint64_t count)
{
    const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64, .dims = count > 1, .sizes = {count}};
    struct syn_tensor *tensor = NULL;

    must(syn_tensor_wrap(syn_engine_memory(engine), &shape, values, &tensor, &error));
    return tensor;
}

static bool
multiply(struct syn_engine *engine, unsigned pieces)
{
    static int64_t x[N], y[N];
    int64_t dot = 1, want = 1;
    struct syn_task_call call = {.kernel = syn_kernel_find("dot"), .pieces = pieces};

    for (int64_t i = 0; i < N; i++) {
        x[i] = i % 97;
        y[i] = i % 89 - 44;
        want += x[i] * y[i];
    }
    call.tensors[0] = wrap(engine, x, N);
    call.tensors[1] = wrap(engine, y, N);
    call.tensors[2] = wrap(engine, &dot, 1);
    must(syn_engine_submit(engine, &call, NULL, &error));
    must(syn_engine_wait(engine, &error));
    for (int i = 0; i < 3; i++)
        must(syn_tensor_free(call.tensors[i], &error));
    printf("dot product %lld\n", (long long)dot);
    return dot == want;
}

static bool
look_at_lines(struct syn_engine *engine)
{
    static int64_t text[N];
    struct syn_tensor *lines[LINES], *letters;
    int64_t set = 0, want = 0;

    letters = wrap(engine, &set, 1);
    for (int64_t i = 0; i < N; i++) {
        text[i] = i * i % 61 % 26;
        want |= (int64_t)1 << text[i];
    }
    for (size_t i = 0; i < LINES; i++) {
        lines[i] = wrap(engine, text + i * (N / LINES), N / LINES);
        must(syn_engine_submit(
            engine, &(struct syn_task_call){.kernel = &look, .tensors = {lines[i], letters}}, NULL,
            &error));
    }
    must(syn_engine_wait(engine, &error));
    for (int i = 0; i < LINES; i++)
        must(syn_tensor_free(lines[i], &error));
    must(syn_tensor_free(letters, &error));
    printf("letters %llx\n", (unsigned long long)set);
    return set == want;
}

int
main(int argc, char **argv)
{
    unsigned pieces = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 8;
    struct syn_engine *engine = NULL;
    struct syn_engine_stats stats;
    bool right;

    if (pieces < 1 || pieces > PIECES_MAX)
        return 2;
    must(syn_kernel_check(&look, &error));
    must(syn_engine_open(NULL, &engine, &error));
    right = multiply(engine, pieces);
    right = look_at_lines(engine) && right;
    syn_engine_stats(engine, &stats);
    printf("%llu copies put together\n", (unsigned long long)stats.merged);
    engine = syn_engine_close(engine);
    return right ? 0 : 1;
}
