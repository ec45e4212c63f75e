/* What a decision costs: push, pop and done of one task, eight groups of workers to choose from.
 *
 * A machine of eight devices, each with a memory of its own, runs tasks of three uses, WAITING of
 * which wait at any time; who ends first asks next. The clock is simulated and the strategy's calls
 * are all that is done but for keeping that clock, which is measured without them and taken off.
 * CPU time of the process, the least of ROUNDS. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/strategy.h>

#include "taskplan_priv.h"

#define GROUPS  8U
#define WAITING 64U
#define TASKS   512U
#define KERNELS 4U
#define HANDLES 64U
#define CALLS   200000U
#define ROUNDS  7

struct desk {
    struct syn_worker_class classes[2];
    struct syn_worker_desc workers[GROUPS];
    struct syn_link_desc links[2 * GROUPS];
    struct syn_platform platform;
    struct syn_estimate costs[KERNELS];
    struct syn_replicas data[HANDLES];
    struct syn_data_use uses[TASKS][3];
    struct syn_ready tasks[TASKS];
};

static void
fill_desk(struct desk *desk)
{
    for (uint32_t i = 0; i < 2; i++)
        desk->classes[i] = (struct syn_worker_class){.name = "modelled"};
    for (uint16_t i = 0; i < GROUPS; i++)
        desk->workers[i] = (struct syn_worker_desc){i % 2, i, i, i};
    for (uint16_t i = 1; i < GROUPS; i++) {
        desk->links[2 * i - 2] = (struct syn_link_desc){0, i, 0, 1000, 10000000000};
        desk->links[2 * i - 1] = (struct syn_link_desc){i, 0, 0, 1000, 10000000000};
    }
    for (uint32_t i = 0; i < KERNELS; i++)
        desk->costs[i] = (struct syn_estimate){{40000 + 9000 * i, 30000 + 17000 * i}};
    for (uint32_t i = 0; i < HANDLES; i++)
        desk->data[i] = (struct syn_replicas){1 | UINT64_C(1) << i % GROUPS, 1 << 16};
    for (uint32_t i = 0; i < TASKS; i++) {
        for (uint32_t u = 0; u < 3; u++)
            desk->uses[i][u] =
                (struct syn_data_use){&desk->data[(i * 7 + u * 13) % HANDLES],
                                      (i * 7 + u * 13) % HANDLES, u == 2 ? SYN_UPDATE : SYN_READ};
        desk->tasks[i] = (struct syn_ready){.cost = &desk->costs[i % KERNELS],
                                            .accesses = desk->uses[i],
                                            .priority = (int32_t)(i * 31 % 100),
                                            .index = SYN_NO_INDEX,
                                            .access_count = 3,
                                            .access_stride = sizeof(struct syn_data_use),
                                            .affinity = SYN_NO_WORKER,
                                            .origin = SYN_NO_WORKER};
    }
    desk->platform = (struct syn_platform){.class_count = 2,
                                           .worker_count = GROUPS,
                                           .node_count = GROUPS,
                                           .link_count = 2 * (GROUPS - 1),
                                           .classes = desk->classes,
                                           .workers = desk->workers,
                                           .links = desk->links};
}

static double
cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Who ends first. */
static uint32_t
first_free(const uint64_t *free_ns)
{
    uint32_t best = 0;

    for (uint32_t w = 1; w < GROUPS; w++)
        if (free_ns[w] < free_ns[best])
            best = w;
    return best;
}

/* One round: ns a task. Without ops: of keeping the clock alone. A task that ended comes again. */
static double
round_ns(struct desk *desk, const struct syn_strategy_ops *ops, void *self)
{
    uint64_t free_ns[GROUPS] = {0}, now_ns = 0;
    struct syn_ready *runs[GROUPS] = {NULL}, *idle[TASKS];
    struct syn_place place;
    struct syn_err err = {0};
    uint32_t count = TASKS;
    double begin;

    for (uint32_t i = 0; i < TASKS; i++)
        idle[i] = &desk->tasks[TASKS - 1 - i];
    begin = cpu_ns();
    for (uint32_t call = 0; call < CALLS; call++) {
        uint32_t worker = first_free(free_ns);
        struct syn_ready *ready = idle[--count];
        struct syn_pop pop = {.ready = call < WAITING ? NULL : ready};

        now_ns = free_ns[worker];
        if (ops != NULL && runs[worker] != NULL)
            ops->done(self, worker, runs[worker], 30000, now_ns);
        if (runs[worker] != NULL)
            idle[count++] = runs[worker];
        if (ops != NULL && ops->push(self, ready, now_ns, &place, &err) < 0)
            bench_die(ops->name, &err);
        if (ops != NULL && call >= WAITING)
            ops->pop(self, worker, now_ns, &pop);
        runs[worker] = pop.ready;
        free_ns[worker] = now_ns + 1000 + (pop.ready == NULL ? 0 : pop.ready->cost->ns[worker % 2]);
        if (count == 0)
            bench_die(ops == NULL ? "clock" : ops->name, NULL); /* it gives nothing back */
    }
    begin = cpu_ns() - begin;
    /* What still waits goes, so that the next round begins as this one did. */
    for (uint32_t i = 0; i < TASKS && ops != NULL; i++)
        (void)ops->cancel(self, &desk->tasks[i]);
    return begin / CALLS;
}

static double
least_ns(struct desk *desk, const struct syn_strategy_ops *ops)
{
    const struct syn_strategy_opts opts = {0};
    struct syn_err err = {0};
    void *self = NULL;
    double least = 0;

    if (ops != NULL && ops->open(&desk->platform, &opts, &self, &err) < 0)
        bench_die(ops->name, &err);
    for (int i = 0; i < ROUNDS; i++) {
        double ns = round_ns(desk, ops, self);

        if (i == 0 || ns < least)
            least = ns;
    }
    if (ops != NULL)
        ops->close(self);
    return least;
}

void
bench_cost(void)
{
    static const char *const names[] = {"heft", "latency", "steal", "eager"};
    struct desk *desk = syn_calloc(1, sizeof(*desk));
    double clock;

    if (desk == NULL) {
        bench_die("decision_ns", NULL);
        return;
    }
    fill_desk(desk);
    clock = least_ns(desk, NULL);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        double ns = least_ns(desk, syn_strategy_find(names[i])) - clock;

        (void)printf("decision_ns_%s\t%.0f\tns\tgoal\t200\t%.3f\t200\t%s\n", names[i], ns, ns,
                     ns <= 200 ? "ok" : "short");
    }
    syn_free(desk);
}
