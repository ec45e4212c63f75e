/* A graph captured once and run often: heat that spreads along a rod, in blocks.
 *
 * A step reads one array and writes the other, block by block; a block needs its neighbours. Two
 * steps, there and back, are captured; running them again infers nothing and allocates nothing.
 *
 *     graph [STEPS] */
#include <stdio.h>
#include <stdlib.h>

#include <synor/graph.h>

#define CELLS     4096
#define BLOCKS    16
#define BLOCK     (CELLS / BLOCKS)
#define STEPS_MAX 1000000

struct block {
    const double *from; /* the whole rod */
    double *to;
    size_t first;
};

static double
spread(const double *rod, size_t i)
{
    double left = i > 0 ? rod[i - 1] : rod[i], right = i + 1 < CELLS ? rod[i + 1] : rod[i];

    return rod[i] + 0.25 * (left - 2 * rod[i] + right);
}

static int
step(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    const struct block *block = arg;

    (void)worker;
    (void)at;
    for (size_t i = block->first; i < block->first + BLOCK; i++)
        block->to[i] = spread(block->from, i);
    return 0;
}

/* Capture one step from `from` to `to`: a block reads three blocks and writes one. */
static int
capture(struct syn_graph *graph, struct block *blocks, struct syn_data *const *from,
        struct syn_data *const *to, struct syn_err *err)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        struct syn_use uses[4] = {{to[i], SYN_WRITE}, {from[i], SYN_READ}};
        uint16_t count = 2;

        if (i > 0)
            uses[count++] = (struct syn_use){from[i - 1], SYN_READ};
        if (i + 1 < BLOCKS)
            uses[count++] = (struct syn_use){from[i + 1], SYN_READ};
        if (syn_graph_add(graph,
                          &(struct syn_task_spec){
                              .run = step, .arg = &blocks[i], .uses = uses, .uses_count = count},
                          err) < 0)
            return err->code;
    }
    return 0;
}

static double rods[2][CELLS], expected[2][CELLS];
static struct block blocks[2][BLOCKS];
static struct syn_data *handles[2][BLOCKS];

/* Make the handles, capture both steps, run them `steps` times. */
static int
simulate(struct syn_runtime *runtime, struct syn_graph *graph, long steps, struct syn_err *err)
{
    for (size_t r = 0; r < 2; r++)
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[r][i] = (struct block){rods[r], rods[1 - r], i * BLOCK};
            if (syn_data_new(runtime, &rods[r][i * BLOCK], BLOCK * sizeof(double), &handles[r][i],
                             err) < 0)
                return err->code;
        }
    for (size_t r = 0; r < 2; r++)
        if (capture(graph, blocks[r], handles[r], handles[1 - r], err) < 0)
            return err->code;
    for (long i = 0; i < steps; i++)
        if (syn_graph_run(graph, err) < 0)
            return err->code;
    return 0;
}

int
main(int argc, char **argv)
{
    long steps = argc > 1 ? strtol(argv[1], NULL, 10) : 500;
    struct syn_runtime *runtime;
    struct syn_graph *graph = NULL;
    struct syn_err err;
    int rc;

    if (steps < 1 || steps > STEPS_MAX) {
        (void)fprintf(stderr, "usage: graph [1..%d]\n", STEPS_MAX);
        return 2;
    }
    rods[0][CELLS / 2] = expected[0][CELLS / 2] = 1000;
    if (syn_runtime_new(NULL, &runtime, &err) < 0) {
        (void)fprintf(stderr, "graph: %s\n", err.msg);
        return 1;
    }
    rc = syn_graph_new(runtime, &graph, &err);
    if (rc == 0)
        rc = simulate(runtime, graph, steps, &err);
    if (rc < 0)
        (void)fprintf(stderr, "graph: %s\n", err.msg);
    else
        (void)printf("%zu tasks, run %ld times: %.6f in the middle\n", syn_graph_count(graph),
                     steps, rods[0][CELLS / 2]);
    syn_graph_free(graph);
    for (size_t i = 0; i < BLOCKS; i++) {
        syn_data_free(handles[0][i]);
        syn_data_free(handles[1][i]);
    }
    syn_runtime_free(runtime);

    /* The same by one loop must give the same, bit by bit: a task graph changes no result. */
    for (long i = 0; i < 2 * steps; i++)
        for (size_t j = 0; j < CELLS; j++)
            expected[1 - i % 2][j] = spread(expected[i % 2], j);
    for (size_t j = 0; j < CELLS && rc == 0; j++)
        if (rods[0][j] != expected[0][j])
            rc = -1;
    return rc == 0 ? 0 : 1;
}
