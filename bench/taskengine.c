/* What a task costs where a device is chosen and its data kept coherent, what priorities cost the
 * others, and how much memory records take. README.md says how each figure is meant. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <synor/engine.h>

enum {
    ROUNDS = 11,
    DECISIONS = 100000, /* a round */
    REPLAYED = 5000,    /* calls of a graph */
    REPLAYS = 20, /* a round: the kernel counts what runs on another core by its ticks of ms */
    TENSORS = 64,
    CANDIDATES = 8,
    REDUCING = 2000,     /* calls of a round */
    DOT_LENGTH = 65536,  /* some 10 us each */
    FLAT_TASKS = 200000, /* a round of the cost of priorities */
    URGENT_EVERY = 100,
    MANY = 100000000,   /* tasks after which memory has to be what it was */
    IN_FLIGHT = 400000, /* tasks, to see what one takes */
    AT_ONCE = 20000,    /* of many */
    HANDLES = 400000,
};

static struct syn_err error;

static void
must(int rc)
{
    if (rc >= 0)
        return;
    (void)fprintf(stderr, "bench-taskengine: %s\n", error.msg);
    exit(1);
}

static double
cpu_s(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static double
now_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}

/* ---- device choice ---- */

static int
run_nothing(const struct syn_kernel_call *call, struct syn_worker *worker, struct syn_fork *at,
            struct syn_err *err)
{
    (void)call;
    (void)worker;
    (void)at;
    (void)err;
    return SYN_OK;
}

/* So little that the CPU is always soonest; the devices are weighed all the same. */
static void
little_work(const struct syn_kernel_call *call, struct syn_work *ret_work)
{
    (void)call;
    *ret_work = (struct syn_work){.flops = 1, .dtype = SYN_DTYPE_FP32};
}

static const struct syn_kernel_operand operands[] = {
    {"a", SYN_READ, 1, 1}, {"b", SYN_READ, 1, 1}, {"c", SYN_UPDATE, 1, 1}};
static const struct syn_kernel_impl impls[] = {
    {.format = SYN_FORMAT_NATIVE, .kinds = UINT32_MAX, .run = run_nothing}};
static const struct syn_kernel nothing = {.name = "nothing",
                                          .summary = "does nothing with three tensors",
                                          .operands_count = 3,
                                          .operands = operands,
                                          .impls_count = 1,
                                          .impls = impls,
                                          .work = little_work};

static struct syn_task_call
nth_call(struct syn_tensor **tensors, unsigned i)
{
    unsigned c = i % TENSORS;

    return (struct syn_task_call){
        .kernel = &nothing,
        .tensors = {tensors[(c + 7) % TENSORS], tensors[(c + 19) % TENSORS], tensors[c]},
        .pieces = SYN_PIECES_ONE};
}

static void
submit_calls(struct syn_engine *engine, struct syn_tensor **tensors, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct syn_task_call call = nth_call(tensors, i);

        must(syn_engine_submit(engine, &call, NULL, &error));
    }
}

static double
decide(struct syn_engine *engine, struct syn_tensor **tensors)
{
    double begun = cpu_s();

    submit_calls(engine, tensors, DECISIONS);
    must(syn_engine_wait(engine, &error));
    return (cpu_s() - begun) * 1e9 / DECISIONS;
}

static struct syn_engine *
open_candidates(const char *strategy, struct syn_tensor **tensors)
{
    const struct syn_engine_options options = {
        .modelled = "h100-sxm,h100-sxm,rtx-4090,rtx-4090,mi300x,mi300x,l40s",
        .strategy = strategy,
        .runtime = {.workers = 1},
    };
    const struct syn_shape shape = {.dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {1024}};
    struct syn_engine *engine;

    must(syn_engine_open(&options, &engine, &error));
    if (syn_engine_workers(engine) < CANDIDATES)
        (void)fprintf(stderr, "only %u candidates\n", syn_engine_workers(engine));
    for (unsigned i = 0; i < TENSORS; i++) {
        void *data;

        must(syn_tensor_new(syn_engine_memory(engine), &shape, &tensors[i], &error));
        must(syn_engine_map(engine, tensors[i], SYN_WRITE, &data, &error));
        memset(data, 0, 4096);
        syn_engine_unmap(engine, tensors[i]);
    }
    return engine;
}

static void
close_candidates(struct syn_engine *engine, struct syn_tensor **tensors)
{
    for (unsigned i = 0; i < TENSORS; i++)
        must(syn_tensor_free(tensors[i], &error));
    (void)syn_engine_close(engine);
}

static void
measure_decision(void)
{
    struct syn_tensor *tensors[TENSORS];
    struct syn_engine *engine = open_candidates(NULL, tensors);
    double ns[ROUNDS];

    (void)decide(engine, tensors);
    for (unsigned i = 0; i < ROUNDS; i++)
        ns[i] = decide(engine, tensors);
    close_candidates(engine, tensors);
    {
        double ours = median(ns, ROUNDS);

        printf(
            "decision_ns\t%.0f\tns of CPU a task\tStarPU dmda (published)\t4750\t%.3f\t0.063\t%s\n",
            ours, ours / 4750, ours <= 300 ? "ok" : "short");
    }
}

/* ---- the same calls, captured ---- */

static double
replay(struct syn_engine_graph *graph)
{
    double begun = cpu_s();

    for (unsigned i = 0; i < REPLAYS; i++)
        must(syn_engine_graph_run(graph, &error));
    return (cpu_s() - begun) * 1e9 / REPLAYED / REPLAYS;
}

static double
submitted(struct syn_engine *engine, struct syn_tensor **tensors)
{
    double begun = cpu_s();

    for (unsigned i = 0; i < REPLAYS; i++) {
        submit_calls(engine, tensors, REPLAYED);
        must(syn_engine_wait(engine, &error));
    }
    return (cpu_s() - begun) * 1e9 / REPLAYED / REPLAYS;
}

/* Beside the same calls submitted, in turns. With a strategy that plans, its plan is in it. */
static void
measure_replay_by(const char *strategy, const char *name)
{
    struct syn_tensor *tensors[TENSORS];
    struct syn_engine *engine = open_candidates(strategy, tensors);
    struct syn_engine_graph *graph;
    double ns[ROUNDS], beside[ROUNDS];

    must(syn_engine_graph_new(engine, &graph, &error));
    for (unsigned i = 0; i < REPLAYED; i++) {
        const struct syn_engine_step step = {.call = nth_call(tensors, i)};

        must(syn_engine_graph_add(graph, &step, &error));
    }
    (void)replay(graph);
    (void)submitted(engine, tensors);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ns[i] = replay(graph);
        beside[i] = submitted(engine, tensors);
    }
    graph = syn_engine_graph_free(graph);
    close_candidates(engine, tensors);
    {
        double ours = median(ns, ROUNDS), theirs = median(beside, ROUNDS);

        printf("%s\t%.0f\tns of CPU a call\tthe same calls submitted\t%.0f\t%.3f\t1.000\t%s\n",
               name, ours, theirs, ours / theirs, ours <= theirs ? "ok" : "short");
    }
}

static void
measure_replay(void)
{
    measure_replay_by("dmda", "replay_ns");
    measure_replay_by("heft", "replay_planned_ns");
}

/* ---- reducing beside commuting ---- */

static struct syn_tensor *
zeros(struct syn_engine *engine, uint64_t count)
{
    const struct syn_shape shape = {.dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {count}};
    struct syn_tensor *tensor;
    void *data;

    must(syn_tensor_new(syn_engine_memory(engine), &shape, &tensor, &error));
    must(syn_engine_map(engine, tensor, SYN_WRITE, &data, &error));
    memset(data, 0, count * sizeof(float));
    syn_engine_unmap(engine, tensor);
    return tensor;
}

/* Dot products onto one sum: seconds until it is there. */
static double
dots(struct syn_engine *engine, const struct syn_kernel *kernel, struct syn_tensor **tensors)
{
    const struct syn_task_call call = {.kernel = kernel,
                                       .tensors = {tensors[0], tensors[1], tensors[2]},
                                       .pieces = SYN_PIECES_ONE};
    double begun = now_s();

    for (unsigned i = 0; i < REDUCING; i++)
        must(syn_engine_submit(engine, &call, NULL, &error));
    must(syn_engine_wait(engine, &error));
    return now_s() - begun;
}

/* The same kernel, once with its operator and once without. */
static void
measure_reduce(void)
{
    const struct syn_engine_options options = {.devices = "cpu0", .runtime = {.workers = 2}};
    const struct syn_kernel *reducing = syn_kernel_find("dot");
    struct syn_kernel commuting = *reducing;
    struct syn_engine *engine;
    struct syn_tensor *tensors[3];
    double ratios[ROUNDS], ours[ROUNDS], theirs[ROUNDS];

    memset(commuting.reductions, 0, sizeof(commuting.reductions));
    commuting.name = "dot-commuting";
    must(syn_engine_open(&options, &engine, &error));
    for (unsigned i = 0; i < 3; i++)
        tensors[i] = zeros(engine, i < 2 ? DOT_LENGTH : 1);
    (void)dots(engine, reducing, tensors);
    (void)dots(engine, &commuting, tensors);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ours[i] = dots(engine, reducing, tensors) * 1e9 / REDUCING;
        theirs[i] = dots(engine, &commuting, tensors) * 1e9 / REDUCING;
        ratios[i] = ours[i] / theirs[i];
    }
    for (unsigned i = 0; i < 3; i++)
        must(syn_tensor_free(tensors[i], &error));
    engine = syn_engine_close(engine);
    {
        double ratio = median(ratios, ROUNDS);

        printf("reduce_vs_commute\t%.0f\tns a call\tthe same calls, commuting\t%.0f\t%.3f\t1.000\t"
               "%s\n",
               median(ours, ROUNDS), median(theirs, ROUNDS), ratio, ratio <= 1 ? "ok" : "short");
    }
}

/* ---- what priorities cost the rest ---- */

static void
work_a_little(void *arg)
{
    double until = now_s() + 1e-6;

    (void)arg;
    while (now_s() < until)
        ;
}

static double
flat(struct syn_runtime *runtime, bool urgent)
{
    double begun = now_s();

    for (unsigned i = 0; i < FLAT_TASKS; i++) {
        if (urgent && i % URGENT_EVERY == 0)
            must(syn_submit_urgent(runtime, work_a_little, NULL, 5, &error));
        else
            must(syn_submit(runtime, work_a_little, NULL, &error));
    }
    syn_runtime_wait(runtime);
    return now_s() - begun;
}

static void
measure_priorities(void)
{
    const struct syn_runtime_options options = {.no_workers = true, .guests = 1};
    struct syn_runtime *runtime;
    double ratios[ROUNDS];

    must(syn_runtime_new(&options, &runtime, &error));
    (void)flat(runtime, true);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double without = flat(runtime, false);

        ratios[i] = flat(runtime, true) / without;
    }
    runtime = syn_runtime_free(runtime);
    {
        double ratio = median(ratios, ROUNDS);

        printf("priority_cost\t%.4f\tx\tno priorities\t1.0000\t%.4f\t1.030\t%s\n", ratio, ratio,
               ratio <= 1.03 ? "ok" : "short");
    }
}

/* ---- memory ---- */

static long
resident_kb(void)
{
    char line[128] = "";
    long resident = 0;
    FILE *file;

    (void)malloc_trim(0); /* what was freed is not there */
    file = fopen("/proc/self/statm", "r");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    if (file != NULL)
        (void)fclose(file);
    /* The second number, in pages. */
    for (const char *c = line + strcspn(line, " ") + (line[0] != '\0'); *c >= '0' && *c <= '9'; c++)
        resident = resident * 10 + (*c - '0');
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int
do_nothing(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    (void)worker;
    (void)at;
    (void)arg;
    return SYN_OK;
}

static void
submit_some(struct syn_runtime *runtime, struct syn_data **data, long count)
{
    for (long i = 0; i < count; i++) {
        const struct syn_use uses[] = {{data[i % TENSORS], SYN_UPDATE},
                                       {data[(i + 7) % TENSORS], SYN_READ},
                                       {data[(i + 19) % TENSORS], SYN_READ}};
        const struct syn_task_spec spec = {.run = do_nothing, .uses = uses, .uses_count = 3};

        must(syn_task_submit(runtime, &spec, NULL, &error));
    }
}

static void
submit_many(struct syn_runtime *runtime, struct syn_data **data, long count)
{
    for (long done = 0; done < count; done += AT_ONCE) {
        submit_some(runtime, data, AT_ONCE);
        syn_runtime_wait(runtime);
    }
}

/* What a process has more of after it has made so many, each. */
static double
each_bytes(long before_kb, long count)
{
    return (double)(resident_kb() - before_kb) * 1024 / (double)count;
}

static void
print_bytes(const char *name, double bytes, unsigned goal, bool fine)
{
    printf("%s\t%.0f\tB\tgoal\t%u\t%.3f\t1.000\t%s\n", name, bytes, goal, bytes / goal,
           fine && bytes < goal + 0.5 ? "ok" : "short");
}

/* Tasks under way: nobody works on them before the wait. */
static double
task_bytes(struct syn_runtime *runtime, struct syn_data **data)
{
    long before = resident_kb();
    double bytes;

    submit_some(runtime, data, IN_FLIGHT);
    bytes = each_bytes(before, IN_FLIGHT);
    syn_runtime_wait(runtime);
    return bytes;
}

static bool
memory_is_flat(struct syn_runtime *runtime, struct syn_data **data)
{
    long before = resident_kb(), after;

    submit_many(runtime, data, MANY);
    after = resident_kb();
    (void)fprintf(stderr, "%d tasks on three pieces of data each: %ld KiB before, %ld KiB after\n",
                  MANY, before, after);
    return after <= before + 64;
}

static void
measure_core(void)
{
    const struct syn_runtime_options options = {.no_workers = true, .guests = 1};
    static struct syn_data *data[HANDLES];
    struct syn_runtime *runtime;
    double handle, task;
    long before;

    must(syn_runtime_new(&options, &runtime, &error));
    memset(data, 1, sizeof(data)); /* our own pages are there already */
    before = resident_kb();
    for (unsigned i = 0; i < HANDLES; i++)
        must(syn_data_new(runtime, NULL, 8, &data[i], &error));
    handle = each_bytes(before, HANDLES);
    task = task_bytes(runtime, data);
    print_bytes("task_bytes", task, 192, memory_is_flat(runtime, data));
    print_bytes("handle_bytes", handle, 128, true);
    for (unsigned i = 0; i < HANDLES; i++)
        data[i] = syn_data_free(data[i]);
    runtime = syn_runtime_free(runtime);
}

/* Calls that wait for a map. */
static double
call_bytes(struct syn_engine *engine, struct syn_tensor **tensors)
{
    long before;
    double bytes;
    void *data;

    for (unsigned i = 0; i < TENSORS; i++)
        must(syn_engine_map(engine, tensors[i], SYN_WRITE, &data, &error));
    before = resident_kb();
    submit_calls(engine, tensors, IN_FLIGHT);
    bytes = each_bytes(before, IN_FLIGHT);
    for (unsigned i = 0; i < TENSORS; i++)
        syn_engine_unmap(engine, tensors[i]);
    must(syn_engine_wait(engine, &error));
    return bytes;
}

static void
measure_calls(void)
{
    const struct syn_engine_options options = {.modelled = "h100-sxm", .runtime = {.workers = 1}};
    const struct syn_shape shape = {.dtype = SYN_DTYPE_FP32, .dims = 1, .sizes = {1}};
    static struct syn_tensor *tensors[HANDLES];
    struct syn_engine *engine;
    double tensor;
    long before;

    must(syn_engine_open(&options, &engine, &error));
    memset(tensors, 1, sizeof(tensors));
    before = resident_kb();
    for (unsigned i = 0; i < HANDLES; i++)
        must(syn_tensor_new(syn_engine_memory(engine), &shape, &tensors[i], &error));
    tensor = each_bytes(before, HANDLES);
    (void)fprintf(stderr, "engine: %.0f B a call under way, %.0f B a tensor without content\n",
                  call_bytes(engine, tensors), tensor);
    for (unsigned i = 0; i < HANDLES; i++)
        must(syn_tensor_free(tensors[i], &error));
    engine = syn_engine_close(engine);
}

static void
measure_memory(void)
{
    measure_core();
    measure_calls();
}

static const struct {
    const char *name;
    void (*measure)(void);
} figures[] = {
    {"memory", measure_memory}, {"decision", measure_decision},     {"replay", measure_replay},
    {"reduce", measure_reduce}, {"priorities", measure_priorities},
};

/* Of those named, or of all. */
static bool
is_wanted(const char *name, char **names)
{
    for (char **at = names; *at != NULL; at++) {
        if (strcmp(*at, name) == 0)
            return true;
    }
    return *names == NULL;
}

static bool
is_figure(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(figures); i++) {
        if (strcmp(figures[i].name, name) == 0)
            return true;
    }
    return false;
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!is_figure(argv[i])) {
            (void)fprintf(stderr, "bench_taskengine: there is no figure %s, but:", argv[i]);
            for (size_t k = 0; k < SYN_LEN(figures); k++)
                (void)fprintf(stderr, " %s", figures[k].name);
            (void)fputs("\n", stderr);
            return 2;
        }
    }
    for (size_t i = 0; i < SYN_LEN(figures); i++) {
        if (is_wanted(figures[i].name, argv + 1))
            figures[i].measure();
    }
    return 0;
}
