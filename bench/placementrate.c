/* How fast the placement core decides, and how well beside a scan of all nodes.
 *
 *     bench_placementrate NODES_CSV PODS_CSV [rates|scan|gang|queue] [COPIES] [SEED]
 *
 * The node list is taken COPIES times (1, 8 and 82 for 1.2k, 9.7k and 99k nodes); pods are drawn
 * from the pod list until they ask for 130 % of the cards, or CALLS_MAX were. One line of JSON. */
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/trace.h>

#include "bench_file.h"

#define CALLS_MAX     1000000
#define QUEUE_WAITING 10000
#define QUEUE_ENDS    2000
#define QUEUE_CALLS   2000000
#define GANG          1024
#define COPIES_MAX    1000

struct run {
    struct syn_fleet *fleet;
    struct syn_fleet_ask *asks;
    size_t asks_cap;
    size_t count;
    uint64_t copies;
    int64_t cards;
    uint64_t random;
};

static double
clock_us(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* xorshift64*. */
static uint64_t
draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static int
on_model(void *arg, const char *name, bool asked, uint32_t *ret, struct syn_err *err)
{
    const struct run *run = arg;
    const struct syn_fleet_model model = {
        .name = name, .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE)};

    (void)asked;
    return syn_fleet_model_add(run->fleet, &model, ret, err);
}

/* As often as COPIES says. */
static int
on_node(void *arg, struct syn_fleet_node *node, struct syn_err *err)
{
    struct run *run = arg;
    char name[SYN_FLEET_NAME_MAX];
    const char *given = node->name;
    int rc = SYN_OK;

    node->idle_mw = 120000;
    node->name = name;
    for (unsigned copy = 0; copy < run->copies && rc == SYN_OK; copy++) {
        uint32_t number;

        (void)snprintf(name, sizeof(name), "%.40s-%u", given, copy);
        rc = syn_fleet_put_node(run->fleet, node, &number, err);
        run->cards += node->cards;
    }
    return rc;
}

static int
on_pod(void *arg, const struct syn_trace_pod *pod, struct syn_err *err)
{
    struct run *run = arg;

    if (!syn_grow(&run->asks, &run->asks_cap, run->count + 1, sizeof(*run->asks)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory");
    run->asks[run->count] = pod->ask;
    run->asks[run->count++].policy = SYN_FLEET_FRAGMENTATION;
    return SYN_OK;
}

static int
read_lists(struct run *run, const char *nodes, const char *pods, struct syn_err *err)
{
    const struct syn_trace_sink sink = {run, on_model, on_node, on_pod};
    SYN_BUF(text);
    int rc = bench_read_file(nodes, &text, err);

    rc = rc < 0 ? rc : syn_trace_read_nodes(&sink, nodes, syn_buf_text(&text), text.len, err);
    syn_buf_clear(&text);
    rc = rc < 0 ? rc : bench_read_file(pods, &text, err);
    return rc < 0 ? rc
                  : syn_trace_read_pods(&sink, false, pods, syn_buf_text(&text), text.len, err);
}

static int
by_size(const void *a, const void *b)
{
    const float *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Draw pods and place them; the time of each call in `took`. */
static int
fill(struct run *run, float *took, size_t *ret_calls, struct syn_err *err)
{
    int64_t asked = 0;
    size_t calls = 0;
    int rc = SYN_OK;

    while (asked < run->cards * SYN_FLEET_WHOLE * 13 / 10 && calls < CALLS_MAX && rc >= 0) {
        struct syn_fleet_request request = {.key = calls, .members = 1};
        struct syn_fleet_slot slot;
        double start;

        request.ask = run->asks[draw(&run->random) % run->count];
        asked += request.ask.mode == SYN_FLEET_CARDS ? request.ask.cards * SYN_FLEET_WHOLE
                                                     : request.ask.share;
        start = clock_us(CLOCK_MONOTONIC);
        rc = syn_fleet_try(run->fleet, &request, &slot, err);
        took[calls++] = (float)(clock_us(CLOCK_MONOTONIC) - start);
    }
    *ret_calls = calls;
    return rc < 0 ? rc : SYN_OK;
}

static int
rates(struct run *run, struct syn_err *err)
{
    float *took = syn_alloc(CALLS_MAX * sizeof(*took));
    struct syn_fleet_totals totals;
    size_t calls = 0;
    double start = clock_us(CLOCK_THREAD_CPUTIME_ID), spent;
    int rc =
        took ? fill(run, took, &calls, err) : SYN_FAIL(err, SYN_E_NOMEM, "timing: out of memory");

    spent = clock_us(CLOCK_THREAD_CPUTIME_ID) - start;
    if (rc == SYN_OK) {
        qsort(took, calls, sizeof(*took), by_size);
        syn_fleet_total(run->fleet, &totals);
        (void)printf("{\"nodes\": %u, \"calls\": %zu, \"rate\": %.0f, \"p50_us\": %.2f, "
                     "\"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.0f, "
                     "\"allocation\": %.3f, \"buckets\": %u}\n",
                     totals.nodes, calls, (double)calls / spent * 1e6, (double)took[calls / 2],
                     (double)took[calls * 99 / 100], (double)took[calls * 999 / 1000],
                     (double)took[calls - 1],
                     (double)totals.milli_used / ((double)totals.cards * 10), totals.buckets);
    }
    syn_free(took);
    return rc;
}

/* A gang of whole cards, on a fleet that is half full. */
static int
gang(struct run *run, struct syn_err *err)
{
    struct syn_fleet_request request = {
        .key = CALLS_MAX + 1, .members = GANG, .ask = {.cards = 1, .policy = SYN_FLEET_BALANCED}};
    SYN_SCOPED(syn_free_scope) struct syn_fleet_slot *slots = syn_calloc(GANG, sizeof(*slots));
    SYN_SCOPED(syn_free_scope) float *took = syn_alloc(CALLS_MAX * sizeof(*took));
    int64_t all = run->cards;
    size_t calls;
    double start, worst = 0, sum = 0;
    int rc = SYN_OK;

    if (!slots || !took)
        return SYN_FAIL(err, SYN_E_NOMEM, "timing: out of memory");
    run->cards = all * 4 / 10;
    rc = fill(run, took, &calls, err);
    request.ask.need[SYN_FLEET_CPU] = 8000;
    for (int i = 0; i < 9 && rc == SYN_OK; i++) {
        start = clock_us(CLOCK_MONOTONIC);
        rc = syn_fleet_try(run->fleet, &request, slots, err);
        start = clock_us(CLOCK_MONOTONIC) - start;
        worst = SYN_MAX(worst, start);
        sum += start;
        if (rc == SYN_OK)
            rc = syn_fleet_end(run->fleet, request.key, err);
    }
    if (rc == SYN_FLEET_FULL)
        return SYN_FAIL(err, SYN_E_UNPLACEABLE, "the gang does not fit");
    if (rc == SYN_OK)
        (void)printf("{\"members\": %d, \"mean_us\": %.0f, \"worst_us\": %.0f}\n", GANG, sum / 9,
                     worst);
    return rc;
}

/* Submit pods until so many wait, then end what runs, the oldest first, and submit as many. */
static int
queue(struct run *run, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) uint64_t *running = syn_calloc(QUEUE_CALLS, sizeof(*running));
    struct syn_fleet_totals totals = {0};
    size_t first = 0, last = 0;
    double start = 0;
    int rc = SYN_OK, ends = 0;

    if (!running)
        return SYN_FAIL(err, SYN_E_NOMEM, "timing: out of memory");
    for (uint64_t key = 0; key < QUEUE_CALLS && ends < QUEUE_ENDS && rc >= 0; key++) {
        struct syn_fleet_request request = {.key = key, .members = 1};
        struct syn_fleet_effect effect;

        request.ask = run->asks[draw(&run->random) % run->count];
        rc = syn_fleet_submit(run->fleet, &request, err);
        if (start == 0 && key % 1000 == 0) {
            syn_fleet_total(run->fleet, &totals);
            if (totals.pending >= QUEUE_WAITING)
                start = clock_us(CLOCK_THREAD_CPUTIME_ID);
        }
        if (start > 0 && rc >= 0 && first < last) {
            rc = syn_fleet_end(run->fleet, running[first++], err);
            ends++;
        }
        while (syn_fleet_next(run->fleet, &effect))
            if (effect.type == SYN_FLEET_PLACED)
                running[last++] = effect.key;
    }
    if (rc < 0 || ends < QUEUE_ENDS)
        return rc < 0 ? rc : SYN_FAIL(err, SYN_E_INVALID, "the queue does not fill");
    start = clock_us(CLOCK_THREAD_CPUTIME_ID) - start;
    (void)printf("{\"nodes\": %u, \"waiting\": %u, \"us\": %.2f}\n", totals.nodes, totals.pending,
                 start / QUEUE_ENDS);
    return SYN_OK;
}

int
main(int argc, char **argv)
{
    struct run run = {.random = 42, .copies = 1};
    struct syn_fleet_options options = {.learn = true};
    const char *what = argc > 3 ? argv[3] : "rates";
    struct syn_err err;
    int rc;

    if (argc < 3 || argc > 6 ||
        (!syn_str_eq(what, "rates") && !syn_str_eq(what, "scan") && !syn_str_eq(what, "gang") &&
         !syn_str_eq(what, "queue")) ||
        (argc > 4 && syn_parse_u64(argv[4], 1, COPIES_MAX, "COPIES", &run.copies, &err) < 0) ||
        (argc > 5 && syn_parse_u64(argv[5], 1, UINT64_MAX, "SEED", &run.random, &err) < 0)) {
        (void)fputs(
            "usage: bench_placementrate NODES_CSV PODS_CSV [rates|scan|gang|queue] [COPIES] "
            "[SEED]\n"
            "       COPIES from 1 to 1000, SEED from 1\n",
            stderr);
        return 2;
    }
    options.scan = syn_str_eq(what, "scan");
    rc = syn_fleet_new(&options, &run.fleet, &err);
    if (rc == SYN_OK)
        rc = read_lists(&run, argv[1], argv[2], &err);
    if (rc == SYN_OK)
        rc = syn_str_eq(what, "gang")    ? gang(&run, &err)
             : syn_str_eq(what, "queue") ? queue(&run, &err)
                                         : rates(&run, &err);
    syn_fleet_free(run.fleet);
    syn_free(run.asks);
    if (rc < 0)
        (void)fprintf(stderr, "bench_placementrate: %s\n", err.msg);
    return rc < 0;
}
