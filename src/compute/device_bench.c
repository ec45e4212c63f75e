/* Every figure is the median of rounds whose length is found first, by doubling the work until a
 * round takes ROUND_NS. On the host's cores a kernel is a function on one of them, so as many
 * queues run at once as the device has cores; everywhere else one launch fills the device. */
#include <synor/device_bench.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/compute/driver.h>

#include "bench_kernels_priv.h"
#include "driver/host_queue_priv.h"

#define ROUNDS      7
#define ROUND_NS    INT64_C(20000000)
#define WAIT_NS     INT64_C(30000000000)
#define COPY_BYTES  (UINT64_C(16) << 20)
#define TRIAD_ITEMS (UINT32_C(16) << 20) /* 192 MiB in three arrays: no cache holds that */
#define LANE_MIN    (UINT32_C(1) << 20)
#define QUEUES_MAX  256
#define GROUP       64
#define GROUPS_MAX  65535U

struct bench {
    struct syn_registry *registry;
    size_t index;
    struct syn_dev *dev;
    struct syn_dev_program *program; /* NULL: no kernels for this device */
    bool native;
    unsigned lanes; /* queues used at once */
    struct syn_dev_queue *queues[QUEUES_MAX];
    struct syn_dev_event *events[QUEUES_MAX];
    struct syn_dev_buf *bufs[3];
    uint32_t lane_items; /* of a triad, in one lane */
    void *host;          /* what copies read and write */
};

/* One lane's part of a round. */
typedef int (*give_fn)(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err);

static void
bench_fini(struct bench *b)
{
    for (unsigned i = 0; i < b->lanes; i++) {
        b->queues[i] = syn_dev_queue_destroy(b->queues[i]);
        b->events[i] = syn_dev_event_destroy(b->events[i]);
    }
    for (size_t i = 0; i < SYN_LEN(b->bufs); i++)
        b->bufs[i] = syn_dev_free(b->bufs[i]);
    b->program = syn_dev_program_free(b->program);
    b->dev = syn_dev_close(b->dev);
}

static int
make_lanes(struct bench *b, struct syn_err *err)
{
    unsigned lanes = b->native ? SYN_MAX(b->dev->info.units, 1U) : 1;
    int rc = SYN_OK;

    lanes = SYN_MIN(lanes, (unsigned)QUEUES_MAX);
    while (rc == SYN_OK && b->lanes < lanes) {
        rc = syn_dev_queue_create(b->dev, 0, &b->queues[b->lanes], err);
        rc = rc != SYN_OK ? rc : syn_dev_event_create(b->dev, &b->events[b->lanes], err);
        b->lanes++;
    }
    return rc;
}

static int
bench_init(struct bench *b, struct syn_err *err)
{
    struct syn_dev_source source;
    int rc = syn_dev_open(b->registry, b->index, &b->dev, err);

    if (rc < 0)
        return rc;
    if (syn_bench_source(b->dev, &source)) {
        b->native = source.format == SYN_FORMAT_NATIVE;
        rc = syn_dev_compile(b->dev, &source, &b->program, err);
    }
    rc = rc < 0 ? rc : make_lanes(b, err);
    b->lane_items = SYN_MAX(TRIAD_ITEMS / SYN_MAX(b->lanes, 1U), LANE_MIN);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(b->bufs); i++)
        rc = syn_dev_alloc(b->dev, (uint64_t)b->lane_items * b->lanes * sizeof(float), &b->bufs[i],
                           err);
    if (rc == SYN_DRV_FULL)
        rc = SYN_FAIL(err, SYN_E_NOSPACE, "%s has no room for the benchmark", b->dev->info.id);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(b->bufs); i++) {
        const struct syn_dev_cmd cmd = {.queue = b->queues[0], .signal = b->events[0]};

        rc = syn_dev_fill(b->bufs[i], 0, b->bufs[i]->bytes, 0, &cmd, err);
        rc = rc < 0 ? rc : syn_dev_event_wait(b->events[0], WAIT_NS, err);
    }
    return rc == SYN_DRV_PENDING ? SYN_FAIL(err, SYN_E_TIMEOUT, "a fill does not end") : rc;
}

/* `last` of a round signals the lane's event. */
static int
launch(const struct bench *b, unsigned lane, const struct syn_dev_launch *what, uint32_t items,
       bool last, struct syn_err *err)
{
    const struct syn_dev_cmd cmd = {.queue = b->queues[lane],
                                    .signal = last ? b->events[lane] : NULL};
    unsigned most = b->dev->info.group_max, group = most > 0 && most < GROUP ? most : GROUP;
    struct syn_dev_launch own = *what;

    own.program = b->program;
    /* What has more items than every interface has groups for does several of them each; where a
     * group is one item, that does them all. */
    own.groups[0] = group == 1 ? 1 : SYN_MIN((items + group - 1) / group, GROUPS_MAX);
    own.group[0] = group;
    own.groups[1] = own.groups[2] = own.group[1] = own.group[2] = 1;
    return syn_dev_launch(b->dev, &own, &cmd, err);
}

static int
give_empty(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    const struct syn_dev_launch what = {.kernel = "empty"};

    (void)amount;
    return launch(b, lane, &what, 1, true, err);
}

static int
give_triad(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    const uint32_t n = b->lane_items;
    const uint64_t at = (uint64_t)lane * n * sizeof(float);
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF, .buf = b->bufs[0], .offset = at},
        {.kind = SYN_ARG_BUF, .buf = b->bufs[1], .offset = at},
        {.kind = SYN_ARG_BUF, .buf = b->bufs[2], .offset = at},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
    };
    const struct syn_dev_launch what = {
        .kernel = "triad", .args = args, .args_count = SYN_LEN(args)};
    int rc = SYN_OK;

    for (uint32_t i = 0; rc == SYN_OK && i < amount; i++)
        rc = launch(b, lane, &what, n, i == amount - 1, err);
    return rc;
}

/* Items of an arithmetic launch that is no function of the host's. */
#define FMA_ITEMS (UINT32_C(1) << 17)

static uint64_t
fma_flops(const struct bench *b, bool fp64, uint32_t rounds)
{
    uint64_t width =
        b->native ? syn_bench_native_width(fp64) : (uint64_t)FMA_ITEMS * SYN_BENCH_CHAINS;

    return 2 * width * rounds;
}

static int
give_fma(const struct bench *b, unsigned lane, bool fp64, uint32_t amount, struct syn_err *err)
{
    const uint32_t n = FMA_ITEMS, rounds = b->native ? amount * 1000 : amount * 16;
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF, .buf = b->bufs[0], .offset = lane * UINT64_C(4096)},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &rounds, .bytes = sizeof(rounds)},
    };
    const struct syn_dev_launch what = {
        .kernel = fp64 ? "fma64" : "fma32", .args = args, .args_count = SYN_LEN(args)};

    return launch(b, lane, &what, n, true, err);
}

static int
give_fma32(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    return give_fma(b, lane, false, amount, err);
}

static int
give_fma64(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    return give_fma(b, lane, true, amount, err);
}

static int
give_copy(const struct bench *b, bool write, uint64_t bytes, uint32_t amount, struct syn_err *err)
{
    const struct syn_dev_cmd cmd = {.queue = b->queues[0], .signal = b->events[0]};
    int rc = SYN_OK;

    for (uint32_t i = 0; rc == SYN_OK && i < amount; i++) {
        if (i > 0)
            rc = syn_dev_event_wait(b->events[0], WAIT_NS, err);
        if (rc == SYN_OK)
            rc = write ? syn_dev_write(b->bufs[0], 0, b->host, bytes, &cmd, err)
                       : syn_dev_read(b->host, b->bufs[0], 0, bytes, &cmd, err);
    }
    return rc;
}

static int
give_write(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    return lane > 0 ? SYN_OK : give_copy(b, true, COPY_BYTES, amount, err);
}

static int
give_read(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    return lane > 0 ? SYN_OK : give_copy(b, false, COPY_BYTES, amount, err);
}

static int
give_small(const struct bench *b, unsigned lane, uint32_t amount, struct syn_err *err)
{
    (void)amount;
    return lane > 0 ? SYN_OK : give_copy(b, true, 4, 1, err);
}

/* Run one round on all lanes; its time. */
static int
time_round(const struct bench *b, give_fn give, uint32_t amount, int64_t *ret_ns,
           struct syn_err *err)
{
    int64_t start = syn_clock_ns();
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < b->lanes; i++)
        rc = give(b, i, amount, err);
    for (unsigned i = 0; rc == SYN_OK && i < b->lanes; i++)
        rc = syn_dev_event_wait(b->events[i], WAIT_NS, err);
    if (rc == SYN_DRV_PENDING)
        rc = SYN_FAIL(err, SYN_E_TIMEOUT, "%s: a command does not end", b->dev->info.id);
    if (rc == SYN_OK)
        *ret_ns = SYN_MAX(syn_clock_ns() - start, INT64_C(1));
    return rc;
}

static int
by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* Median and best of the rounds; with `grow` the work is doubled first until a round is long
 * enough. */
static int
measure(const struct bench *b, give_fn give, bool grow, uint32_t *ret_amount, int64_t *ret_median,
        int64_t *ret_best, struct syn_err *err)
{
    int64_t times[ROUNDS] = {0}, ns = 0;
    uint32_t amount = 1;
    int rc = time_round(b, give, amount, &ns, err); /* also warms up */

    while (rc == SYN_OK && grow && ns < ROUND_NS && amount < (UINT32_C(1) << 20)) {
        amount *= 2;
        rc = time_round(b, give, amount, &ns, err);
    }
    for (int i = 0; rc == SYN_OK && i < ROUNDS; i++)
        rc = time_round(b, give, amount, &times[i], err);
    if (rc < 0)
        return rc;
    qsort(times, ROUNDS, sizeof(*times), by_size);
    *ret_amount = amount;
    *ret_median = times[ROUNDS / 2];
    *ret_best = times[0];
    return SYN_OK;
}

static const struct {
    const char *name, *unit;
    give_fn give;
    bool grow;
    bool kernel; /* needs kernels */
} items[] = {
    [SYN_BENCH_LAUNCH] = {"launch", "ns", give_empty, false, true},
    [SYN_BENCH_WRITE] = {"write", "MB/s", give_write, true, false},
    [SYN_BENCH_READ] = {"read", "MB/s", give_read, true, false},
    [SYN_BENCH_WRITE_LATENCY] = {"write-latency", "ns", give_small, false, false},
    [SYN_BENCH_MEMORY] = {"memory", "MB/s", give_triad, true, true},
    [SYN_BENCH_FP32] = {"fp32", "MFLOPS", give_fma32, true, true},
    [SYN_BENCH_FP64] = {"fp64", "MFLOPS", give_fma64, true, true},
};

/* What a round of `amount` comes to: bytes, or operations. */
static syn_u128
work_of(const struct bench *b, enum syn_bench_item item, uint32_t amount)
{
    syn_u128 lanes = (syn_u128)b->lanes, n = (syn_u128)amount;

    switch (item) {
    case SYN_BENCH_WRITE:
    case SYN_BENCH_READ:
        return n * COPY_BYTES;
    case SYN_BENCH_MEMORY:
        return n * lanes * b->lane_items * 3 * sizeof(float);
    case SYN_BENCH_FP32:
    case SYN_BENCH_FP64:
        return lanes * fma_flops(b, item == SYN_BENCH_FP64, amount * (b->native ? 1000U : 16U));
    case SYN_BENCH_LAUNCH:
    case SYN_BENCH_WRITE_LATENCY:
    case SYN_BENCH_ITEMS:
        break;
    }
    return 0;
}

/* A generic profile is of one core at 1 GHz: times cores and clock. */
static uint64_t
scaled(const struct syn_device_info *info, const struct syn_profile *profile, uint64_t rate)
{
    if (strcmp(profile->vendor, "generic") != 0)
        return rate;
    return (uint64_t)((syn_u128)rate * info->units * info->clock_mhz / 1000);
}

static uint64_t
rated_of(const struct bench *b, enum syn_bench_item item)
{
    const struct syn_profile *p = syn_registry_profile(b->registry, b->index);
    const struct syn_device_info *info = &b->dev->info;

    if (!p)
        return item == SYN_BENCH_MEMORY ? info->memory_mb_s : 0;
    switch (item) {
    case SYN_BENCH_WRITE:
    case SYN_BENCH_READ:
        return p->host.mb_s;
    case SYN_BENCH_LAUNCH:
        return p->launch_ns;
    case SYN_BENCH_WRITE_LATENCY:
        return p->host.latency_ns;
    case SYN_BENCH_MEMORY:
        return p->memory_mb_s > 0 ? p->memory_mb_s : info->memory_mb_s;
    case SYN_BENCH_FP32:
    case SYN_BENCH_FP64: {
        enum syn_dtype dtype = item == SYN_BENCH_FP32 ? SYN_DTYPE_FP32 : SYN_DTYPE_FP64;

        return scaled(info, p, p->vector_m[dtype] > 0 ? p->vector_m[dtype] : p->flops_m[dtype]);
    }
    case SYN_BENCH_ITEMS:
        break;
    }
    return 0;
}

static uint64_t
rate_of(syn_u128 work, int64_t ns)
{
    return (uint64_t)(work * 1000 / (uint64_t)ns);
}

static void
tell_links(const struct bench *b, enum syn_bench_item item, uint32_t amount, int64_t ns)
{
    unsigned node = b->dev->node;

    if (item == SYN_BENCH_WRITE_LATENCY)
        syn_registry_link_measured(b->registry, SYN_NODE_HOST, node, 4, ns);
    if (item == SYN_BENCH_WRITE)
        syn_registry_link_measured(b->registry, SYN_NODE_HOST, node, COPY_BYTES, ns / amount);
    if (item == SYN_BENCH_READ)
        syn_registry_link_measured(b->registry, node, SYN_NODE_HOST, COPY_BYTES, ns / amount);
}

static int
run_item(const struct bench *b, enum syn_bench_item item, struct syn_bench_figure *ret,
         struct syn_err *err)
{
    int64_t median = 0, best = 0;
    uint32_t amount = 0;
    syn_u128 work;
    int rc;

    *ret = (struct syn_bench_figure){0};
    ret->rated = rated_of(b, item);
    if (items[item].kernel && !b->program) {
        (void)snprintf(ret->why, sizeof(ret->why), "no kernel in a form that %s takes",
                       b->dev->info.driver);
        return SYN_OK;
    }
    if (item == SYN_BENCH_FP64 && !(b->dev->info.dtypes & SYN_BIT(SYN_DTYPE_FP64))) {
        (void)snprintf(ret->why, sizeof(ret->why), "it does not compute with fp64");
        return SYN_OK;
    }
    rc = measure(b, items[item].give, items[item].grow, &amount, &median, &best, err);
    if (rc < 0) {
        (void)syn_str_copy(ret->why, sizeof(ret->why), err->msg);
        return rc == SYN_E_UNAVAILABLE ? rc : SYN_OK;
    }
    work = work_of(b, item, amount);
    ret->measured = true;
    ret->rounds = ROUNDS;
    ret->value = work > 0 ? rate_of(work, median) : (uint64_t)median;
    ret->best = work > 0 ? rate_of(work, best) : (uint64_t)best;
    tell_links(b, item, amount, median);
    return SYN_OK;
}

int
syn_device_bench(struct syn_registry *registry, size_t index, struct syn_bench_figure *ret,
                 struct syn_err *err)
{
    struct syn_bench_figure figures[SYN_BENCH_ITEMS];
    struct bench b = {.registry = registry, .index = index};
    struct syn_err own = {0};
    int rc;

    err = err ? err : &own;
    if (syn_registry_device(registry, index)->modelled)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s is modelled: there is nothing to measure",
                        syn_registry_device(registry, index)->id);
    rc = bench_init(&b, err);
    if (rc == SYN_OK)
        rc = syn_dev_host_alloc(b.dev, COPY_BYTES, &b.host, err);
    if (rc == SYN_DRV_FULL)
        rc = SYN_FAIL(err, SYN_E_NOSPACE, "%s has no host memory to give", b.dev->info.id);
    if (rc == SYN_OK) {
        memset(b.host, 1, COPY_BYTES);
        for (unsigned i = 0; rc == SYN_OK && i < SYN_BENCH_ITEMS; i++)
            rc = run_item(&b, (enum syn_bench_item)i, &figures[i], err);
        for (unsigned i = 0; i < b.lanes; i++)
            b.queues[i] = syn_dev_queue_destroy(b.queues[i]);
        syn_dev_host_free(b.dev, b.host);
    }
    bench_fini(&b);
    if (rc == SYN_OK)
        memcpy(ret, figures, sizeof(figures));
    return rc;
}

const char *
syn_bench_name(enum syn_bench_item item)
{
    assert(item < SYN_BENCH_ITEMS);
    return items[item].name;
}

const char *
syn_bench_unit(enum syn_bench_item item)
{
    assert(item < SYN_BENCH_ITEMS);
    return items[item].unit;
}
