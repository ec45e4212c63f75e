/* Calls of kernels captured once and run often, on whatever processors there are, with other
 * parameters and other data from run to run: y += a x, z += y.
 *
 * Running again checks nothing, infers nothing, and lets the strategy see the whole. Exits with 0
 * when the result is that of a plain loop, bit by bit.
 *
 *     replay [RUNS] */
#include <stdio.h>
#include <stdlib.h>

#include <synor/engine.h>

#define N        4096
#define RUNS_MAX 1000000

static struct syn_err error;

static void
must(int rc)
{
    if (rc >= 0)
        return;
    (void)fprintf(stderr, "replay: %s\n", error.msg);
    exit(1);
}

static struct syn_tensor *
wrap(struct syn_engine *engine, double *values)
{
    const struct syn_shape shape = {.dtype = SYN_DTYPE_FP64, .dims = 1, .sizes = {N}};
    struct syn_tensor *tensor = NULL;

    must(syn_tensor_wrap(syn_engine_memory(engine), &shape, values, &tensor, &error));
    return tensor;
}

static void
add(struct syn_engine_graph *graph, struct syn_tensor *x, struct syn_tensor *y)
{
    const struct syn_engine_step step = {
        .call = {.kernel = syn_kernel_find("axpy"), .tensors = {x, y}}};

    must(syn_engine_graph_add(graph, &step, &error));
}

int
main(int argc, char **argv)
{
    static double x[2][N], y[N], z[N], want_y[N], want_z[N];
    long runs = argc > 1 ? strtol(argv[1], NULL, 10) : 20;
    struct syn_tensor *tx[2], *ty, *tz;
    struct syn_engine_graph *graph;
    struct syn_engine *engine;
    long wrong = 0;

    if (runs < 1 || runs > RUNS_MAX)
        return 2;
    must(syn_engine_open(NULL, &engine, &error));
    for (int i = 0; i < N; i++) {
        x[0][i] = i;
        x[1][i] = N - i;
    }
    tx[0] = wrap(engine, x[0]);
    tx[1] = wrap(engine, x[1]);
    ty = wrap(engine, y);
    tz = wrap(engine, z);
    must(syn_engine_graph_new(engine, &graph, &error));
    add(graph, tx[0], ty); /* call 0 */
    add(graph, ty, tz);
    for (long run = 0; run < runs; run++) {
        const double a = 1.0 / (double)(1 << run % 8); /* exact */

        must(syn_engine_graph_set_params(graph, 0, &a, 1, &error));
        must(syn_engine_graph_run(graph, &error));
        for (int i = 0; i < N; i++) {
            want_y[i] += a * x[run % 2][i];
            want_z[i] += want_y[i];
        }
        must(syn_engine_graph_rebind(graph, tx[run % 2], tx[1 - run % 2], &error));
    }
    graph = syn_engine_graph_free(graph);
    for (int i = 0; i < 2; i++)
        must(syn_tensor_free(tx[i], &error));
    must(syn_tensor_free(ty, &error)); /* what it holds comes back to the host */
    must(syn_tensor_free(tz, &error));
    (void)syn_engine_close(engine);
    for (int i = 0; i < N; i++)
        wrong += y[i] != want_y[i] || z[i] != want_z[i];
    printf("%ld runs of 2 calls, %ld of %d results wrong\n", runs, wrong, N);
    return wrong == 0 ? 0 : 1;
}
