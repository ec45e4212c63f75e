/* How fast the placement core decides, and how well beside a scan of all nodes.
 *
 *     bench_placementrate NODES_CSV PODS_CSV [rates|scan|gang] [COPIES] [SEED]
 *
 * The node list is taken COPIES times (1, 8 and 82 for 1.2k, 9.7k and 99k nodes); pods are drawn
 * from the pod list until they ask for 130 % of the cards, or CALLS_MAX were. One line of JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/fleet.h>

#define CALLS_MAX  1000000
#define PODS_MAX   20000
#define FIELDS_MAX 16
#define GANG       1024
#define COPIES_MAX 1000

struct run {
    struct syn_fleet *fleet;
    struct syn_fleet_ask *asks;
    size_t count;
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

static unsigned
split(char *line, char separator, const char **fields)
{
    unsigned count = 0;

    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at && count < FIELDS_MAX;) {
        char *end = strchr(at, separator);

        if (end)
            *end++ = '\0';
        fields[count++] = at;
        at = end;
    }
    while (count < FIELDS_MAX)
        fields[count++] = "";
    return count;
}

static int64_t
amount(const char *text)
{
    int64_t value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    return value;
}

static int
model_of(struct run *run, const char *name, uint32_t *ret, struct syn_err *err)
{
    const struct syn_fleet_model model = {
        .name = name, .modes = SYN_BIT(SYN_FLEET_MPS) | SYN_BIT(SYN_FLEET_TIME_SLICE)};

    return syn_fleet_model_add(run->fleet, &model, ret, err);
}

/* sn,cpu_milli,memory_mib,gpu,model */
static int
read_nodes(struct run *run, const char *path, int copies, struct syn_err *err)
{
    char line[512], name[SYN_FLEET_NAME_MAX];
    const char *fields[FIELDS_MAX];
    FILE *file = fopen(path, "r");
    int rc = SYN_OK;

    if (!file)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    for (bool head = true; rc == SYN_OK && fgets(line, sizeof(line), file); head = false) {
        struct syn_fleet_node node = {.name = name, .idle_mw = 120000};
        uint32_t model = 0, number;

        (void)split(line, ',', fields);
        node.capacity[SYN_FLEET_CPU] = amount(fields[1]);
        node.capacity[SYN_FLEET_MEMORY] = amount(fields[2]) << 20;
        node.cards = (uint32_t)amount(fields[3]);
        if (!head && node.cards > 0)
            rc = model_of(run, fields[4], &model, err);
        memset(node.models, (int)model, sizeof(node.models));
        for (int copy = 0; copy < copies && !head && rc == SYN_OK; copy++) {
            (void)snprintf(name, sizeof(name), "%.40s-%d", fields[0], copy);
            rc = syn_fleet_put_node(run->fleet, &node, &number, err);
            run->cards += node.cards;
        }
    }
    (void)fclose(file);
    return rc;
}

/* name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec */
static int
read_pods(struct run *run, const char *path, struct syn_err *err)
{
    char line[512], models[512];
    const char *fields[FIELDS_MAX], *names[FIELDS_MAX];
    FILE *file = fopen(path, "r");
    int rc = SYN_OK;

    if (!file)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    run->asks = syn_calloc(PODS_MAX, sizeof(*run->asks));
    if (!run->asks)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "reading pods: out of memory");
    for (bool head = true; rc == SYN_OK && run->count < PODS_MAX && fgets(line, sizeof(line), file);
         head = false) {
        struct syn_fleet_ask *ask = &run->asks[run->count];
        int64_t milli;

        (void)split(line, ',', fields);
        if (head)
            continue;
        ask->policy = SYN_FLEET_FRAGMENTATION;
        ask->need[SYN_FLEET_CPU] = amount(fields[1]);
        ask->need[SYN_FLEET_MEMORY] = amount(fields[2]) << 20;
        ask->cards = (uint32_t)amount(fields[3]);
        milli = amount(fields[4]);
        if (ask->cards == 1 && milli < SYN_FLEET_WHOLE) {
            ask->mode = SYN_FLEET_SHARED;
            ask->share = (uint32_t)milli;
        }
        (void)snprintf(models, sizeof(models), "%s", fields[5]);
        (void)split(models, '|', names);
        for (unsigned i = 0; ask->cards > 0 && i < FIELDS_MAX && rc == SYN_OK; i++) {
            uint32_t model;

            if (!*names[i])
                continue;
            rc = model_of(run, names[i], &model, err);
            ask->models |= rc == SYN_OK ? UINT64_C(1) << model : 0;
        }
        run->count++;
    }
    (void)fclose(file);
    if (rc == SYN_OK && run->count == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: no pods", path);
    return rc;
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

int
main(int argc, char **argv)
{
    struct run run = {.random = 42};
    struct syn_fleet_options options = {.learn = true};
    const char *what = argc > 3 ? argv[3] : "rates";
    uint64_t copies = 1;
    struct syn_err err;
    int rc;

    if (argc < 3 || argc > 6 ||
        (!syn_str_eq(what, "rates") && !syn_str_eq(what, "scan") && !syn_str_eq(what, "gang")) ||
        (argc > 4 && syn_parse_u64(argv[4], 1, COPIES_MAX, "COPIES", &copies, &err) < 0) ||
        (argc > 5 && syn_parse_u64(argv[5], 1, UINT64_MAX, "SEED", &run.random, &err) < 0)) {
        (void)fputs("usage: bench_placementrate NODES_CSV PODS_CSV [rates|scan|gang] [COPIES] "
                    "[SEED]\n"
                    "       COPIES from 1 to 1000, SEED from 1\n",
                    stderr);
        return 2;
    }
    options.scan = syn_str_eq(what, "scan");
    rc = syn_fleet_new(&options, &run.fleet, &err);
    if (rc == SYN_OK)
        rc = read_nodes(&run, argv[1], (int)copies, &err);
    if (rc == SYN_OK)
        rc = read_pods(&run, argv[2], &err);
    if (rc == SYN_OK)
        rc = syn_str_eq(what, "gang") ? gang(&run, &err) : rates(&run, &err);
    syn_fleet_free(run.fleet);
    syn_free(run.asks);
    if (rc < 0)
        (void)fprintf(stderr, "bench_placementrate: %s\n", err.msg);
    return rc < 0;
}
