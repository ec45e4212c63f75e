#include "driver_suite.h"

#include <synor/base/test.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>

#define GROUP      64
#define WAIT_NS    INT64_C(120000000000) /* a compiler may be at work on a busy machine */
#define BOX_BYTES  (64 << 10)
#define BOX_ROUNDS 300
#define BOX_BATCH  8
#define THREADS    4

/* What the tests share: one open driver. Each test opens what else it needs. */
static struct {
    const struct syn_driver_case *with;
    struct syn_driver *driver;
} suite;

/* One device with a queue, an event and the kernels. */
struct rig {
    struct syn_dev *dev;
    struct syn_dev_queue *queue;
    struct syn_dev_event *event;
    struct syn_dev_program *program;
    struct syn_dev_buf *bufs[2];
};

static void
rig_fini(struct rig *rig)
{
    rig->queue = syn_dev_queue_destroy(rig->queue); /* what it holds still needs the program */
    rig->program = syn_dev_program_free(rig->program);
    rig->event = syn_dev_event_destroy(rig->event);
    for (size_t i = 0; i < SYN_LEN(rig->bufs); i++)
        rig->bufs[i] = syn_dev_free(rig->bufs[i]);
    rig->dev = syn_dev_close(rig->dev);
}

static int
rig_init(struct rig *rig, unsigned index, struct syn_err *err)
{
    int rc = syn_dev_open_in(suite.driver, index, &rig->dev, err);

    rc = rc < 0 ? rc : syn_dev_queue_create(rig->dev, 0, &rig->queue, err);
    rc = rc < 0 ? rc : syn_dev_event_create(rig->dev, &rig->event, err);
    return rc < 0 ? rc : syn_dev_compile(rig->dev, &suite.with->source, &rig->program, err);
}

#define RIG(name)                               \
    SYN_SCOPED(rig_fini) struct rig name = {0}; \
    struct syn_err err = {0};                   \
                                                \
    (void)state;                                \
    if (!suite.driver)                          \
        skip();                                 \
    assert_done(rig_init(&name, 0, &err), &err)

static struct syn_dev_cmd
cmd_of(const struct rig *rig)
{
    return (struct syn_dev_cmd){.queue = rig->queue, .signal = rig->event};
}

/* Give nothing more and wait for the last command. */
static int
settle(const struct rig *rig, struct syn_err *err)
{
    int rc = syn_dev_event_wait(rig->event, WAIT_NS, err);

    return rc == SYN_DRV_PENDING ? SYN_FAIL(err, SYN_E_TIMEOUT, "the command never ends") : rc;
}

static int
write_now(const struct rig *rig, struct syn_dev_buf *buf, const void *from, uint64_t bytes,
          struct syn_err *err)
{
    const struct syn_dev_cmd cmd = cmd_of(rig);
    int rc = syn_dev_write(buf, 0, from, bytes, &cmd, err);

    return rc < 0 ? rc : settle(rig, err);
}

static int
read_now(const struct rig *rig, void *to, struct syn_dev_buf *buf, uint64_t bytes,
         struct syn_err *err)
{
    const struct syn_dev_cmd cmd = cmd_of(rig);
    int rc = syn_dev_read(to, buf, 0, bytes, &cmd, err);

    return rc < 0 ? rc : settle(rig, err);
}

static struct syn_dev_launch
launch_over(const struct rig *rig, const char *kernel, uint32_t n)
{
    const unsigned most = rig->dev->info.group_max, group = most > 0 && most < GROUP ? most : GROUP;

    return (struct syn_dev_launch){
        .program = rig->program,
        .kernel = kernel,
        .groups = {(n + group - 1) / group, 1, 1},
        .group = {group, 1, 1},
    };
}

static int
run_axpy(const struct rig *rig, float a, struct syn_dev_buf *x, struct syn_dev_buf *y, uint32_t n,
         struct syn_err *err)
{
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_VALUE, .value = &a, .bytes = sizeof(a)},
        {.kind = SYN_ARG_BUF, .buf = x},
        {.kind = SYN_ARG_BUF, .buf = y},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
    };
    struct syn_dev_launch launch = launch_over(rig, "axpy", n);
    const struct syn_dev_cmd cmd = cmd_of(rig);

    launch.args = args;
    launch.args_count = SYN_LEN(args);
    launch.work =
        (struct syn_work){2 * (uint64_t)n, 8 * (uint64_t)n, 4 * (uint64_t)n, SYN_DTYPE_FP32, false};
    return syn_dev_launch(rig->dev, &launch, &cmd, err);
}

static int
run_iota(const struct rig *rig, struct syn_dev_buf *y, uint32_t n, int32_t first,
         const struct syn_dev_cmd *cmd, struct syn_err *err)
{
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF, .buf = y},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &first, .bytes = sizeof(first)},
    };
    struct syn_dev_launch launch = launch_over(rig, "iota", n);

    launch.args = args;
    launch.args_count = SYN_LEN(args);
    return syn_dev_launch(rig->dev, &launch, cmd, err);
}

static void
test_description(void **state)
{
    struct syn_err err = {0};

    (void)state;
    if (!suite.driver) {
        skip();
        return; /* for the analyzer */
    }
    assert_int_equal(suite.with->ops->version, SYN_DRIVER_VERSION);
    assert_true(suite.driver->devices > 0);
    for (unsigned i = 0; i < suite.driver->devices; i++) {
        SYN_SCOPED(syn_dev_close_scope) struct syn_dev *dev = NULL;
        const struct syn_driver_ops *ops = suite.with->ops;

        assert_done(syn_dev_open_in(suite.driver, i, &dev, &err), &err);
        assert_true(dev->info.kind < SYN_KINDS);
        assert_true(ops->kinds & SYN_BIT(dev->info.kind));
        assert_int_equal(dev->info.index, i);
        assert_string_equal(dev->info.driver, ops->name);
        assert_true(dev->info.model[0] != '\0' && dev->info.version[0] != '\0');
        assert_true(dev->info.memory_bytes > 0 && dev->info.queues_max > 0);
        assert_true(dev->info.formats & SYN_BIT(suite.with->source.format));
        assert_true(dev->info.dtypes & SYN_BIT(SYN_DTYPE_FP32));
        assert_int_equal(dev->info.modelled,
                         ops == suite.with->ops && strcmp(ops->name, "modelled") == 0);
        /* A capability and its operation come together. */
        assert_true(!(dev->info.caps & SYN_CAP_PEER_COPY) || (ops->can_peer && ops->peer_copy));
        assert_true(!(dev->info.caps & SYN_CAP_HOST_PINNED) || (ops->host_alloc && ops->host_free));
        assert_true(!(dev->info.caps & SYN_CAP_HOST_REGISTER) ||
                    (ops->host_register && ops->host_unregister));
        assert_true(!(dev->info.caps & SYN_CAP_HOST_WRAP) || ops->host_wrap);
        assert_true(!(dev->info.caps & SYN_CAP_NOTIFY) || ops->event_notify);
        assert_true(!(dev->info.caps & SYN_CAP_POWER) || ops->power);
        assert_true(!(dev->info.caps & SYN_CAP_RESET) || ops->reset);
    }
    {
        struct syn_dev *none = NULL;

        assert_code(syn_dev_open_in(suite.driver, suite.driver->devices, &none, &err),
                    SYN_E_NOTFOUND, &err);
        assert_null(none);
    }
}

static void
test_buffers(void **state)
{
    struct syn_dev_buf *buf = NULL;
    RIG(rig);

    assert_code(syn_dev_alloc(rig.dev, 0, &buf, &err), SYN_E_INVALID, &err);
    for (uint64_t bytes = 1; bytes <= (1 << 20); bytes = bytes * 7 + 1) {
        assert_done(syn_dev_alloc(rig.dev, bytes, &buf, &err), &err);
        assert_int_equal(buf->bytes, bytes);
        assert_ptr_equal(buf->dev, rig.dev);
        assert_int_equal(buf->host != NULL, (rig.dev->info.caps & SYN_CAP_HOST_SHARED) != 0);
        if (buf->host)
            assert_int_equal((uintptr_t)buf->host % 64, 0);
        buf = syn_dev_free(buf);
    }
    /* More than any device has: no room, or over its stated limit, or no host memory. */
    for (uint64_t bytes = UINT64_C(1) << 60; bytes != 0; bytes <<= 1) {
        int rc = syn_dev_alloc(rig.dev, bytes, &buf, &err);

        if (rc != SYN_DRV_FULL && rc != SYN_E_INVALID && rc != SYN_E_NOMEM)
            fail_msg("2^60 bytes and more: %d %s", rc, err.msg);
        assert_null(buf);
    }
}

static void
test_kernels(void **state)
{
    enum { N = 1000 };
    static float x[N], y[N], out[N];
    RIG(rig);

    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
        y[i] = (float)(N - i);
    }
    assert_done(syn_dev_alloc(rig.dev, sizeof(x), &rig.bufs[0], &err), &err);
    assert_done(syn_dev_alloc(rig.dev, sizeof(y), &rig.bufs[1], &err), &err);
    assert_done(write_now(&rig, rig.bufs[0], x, sizeof(x), &err), &err);
    assert_done(write_now(&rig, rig.bufs[1], y, sizeof(y), &err), &err);
    /* All but the last: work items behind the end must not write. */
    assert_done(run_axpy(&rig, 0.5F, rig.bufs[0], rig.bufs[1], N - 1, &err), &err);
    assert_done(settle(&rig, &err), &err);
    assert_done(read_now(&rig, out, rig.bufs[1], sizeof(out), &err), &err);
    for (int i = 0; i < N; i++) {
        float want = i < N - 1 ? y[i] + 0.5F * x[i] : y[i];

        if (out[i] != want)
            fail_msg("y[%d] = %g, want %g", i, (double)out[i], (double)want);
    }
}

static void
test_offset_arguments(void **state)
{
    enum { N = 64, AT = 256 };
    int32_t out[AT + N];
    const uint32_t n = N;
    const int32_t first = 7;
    struct syn_dev_arg args[3] = {
        {.kind = SYN_ARG_BUF, .offset = AT * sizeof(int32_t)},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &first, .bytes = sizeof(first)},
    };
    struct syn_dev_launch launch;
    struct syn_dev_cmd cmd;
    int rc;
    RIG(rig);

    cmd = cmd_of(&rig);
    launch = launch_over(&rig, "iota", N);
    launch.args = args;
    launch.args_count = SYN_LEN(args);
    assert_done(syn_dev_alloc(rig.dev, sizeof(out), &rig.bufs[0], &err), &err);
    args[0].buf = rig.bufs[0];
    assert_done(syn_dev_fill(rig.bufs[0], 0, sizeof(out), 0xff, &cmd, &err), &err);
    assert_done(settle(&rig, &err), &err);
    rc = syn_dev_launch(rig.dev, &launch, &cmd, &err);
    if (rc == SYN_E_UNSUPPORTED) /* said in one sentence, and nothing ran */
        return;
    assert_done(rc, &err);
    assert_done(settle(&rig, &err), &err);
    assert_done(read_now(&rig, out, rig.bufs[0], sizeof(out), &err), &err);
    for (int i = 0; i < AT + N; i++)
        assert_int_equal(out[i], i < AT ? -1 : first + i - AT);
}

static void
test_bad_programs(void **state)
{
    struct syn_dev_program *program = NULL;
    struct syn_dev_launch launch;
    struct syn_dev_cmd cmd;
    const char *nothing = "nothing";
    RIG(rig);

    if (suite.with->broken.text || suite.with->broken.entries) {
        assert_code(syn_dev_compile(rig.dev, &suite.with->broken, &program, &err), SYN_E_INVALID,
                    &err);
        assert_null(program);
    }
    cmd = cmd_of(&rig);
    launch = launch_over(&rig, nothing, 1);
    assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, nothing));
    launch.kernel = "iota";
    launch.groups[1] = 0;
    assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_INVALID, &err);
    launch.groups[1] = 1;
    if (rig.dev->info.group_max > 0) {
        launch.group[0] = rig.dev->info.group_max + 1;
        assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_INVALID, &err);
    }
    /* Nothing of this was a command: the event is as it was. */
    assert_done(syn_dev_event_poll(rig.event, &err), &err);
}

static void
test_bad_copies(void **state)
{
    char host[64] = {0};
    struct syn_dev_buf *buf = NULL;
    struct syn_dev_copy copy = {.row_bytes = 8, .rows = 4, .slices = 2};
    struct syn_dev_cmd cmd;
    RIG(rig);

    cmd = cmd_of(&rig);
    assert_done(syn_dev_alloc(rig.dev, sizeof(host), &buf, &err), &err);
    assert_code(syn_dev_write(buf, 1, host, sizeof(host), &cmd, &err), SYN_E_INVALID, &err);
    assert_code(syn_dev_write(buf, UINT64_MAX, host, 2, &cmd, &err), SYN_E_INVALID, &err);
    assert_code(syn_dev_read(host, buf, 0, sizeof(host) + 1, &cmd, &err), SYN_E_INVALID, &err);
    assert_code(syn_dev_read(NULL, buf, 0, 1, &cmd, &err), SYN_E_INVALID, &err);
    assert_code(syn_dev_read(host, buf, 0, 0, &cmd, &err), SYN_E_INVALID, &err);
    assert_code(syn_dev_fill(buf, 60, 5, 0, &cmd, &err), SYN_E_INVALID, &err);
    copy.dst = (struct syn_dev_place){.buf = buf, .row_pitch = 8, .slice_pitch = 32};
    copy.src = (struct syn_dev_place){.host = host, .row_pitch = 7, .slice_pitch = 32};
    assert_code(syn_dev_copy(rig.dev, &copy, &cmd, &err), SYN_E_INVALID, &err);
    copy.src.row_pitch = 8;
    copy.dst.slice_pitch = 31;
    assert_code(syn_dev_copy(rig.dev, &copy, &cmd, &err), SYN_E_INVALID, &err);
    copy.dst.slice_pitch = 32;
    copy.dst.offset = 1;
    assert_code(syn_dev_copy(rig.dev, &copy, &cmd, &err), SYN_E_INVALID, &err);
    copy.dst.offset = 0;
    copy.rows = UINT64_MAX;
    assert_code(syn_dev_copy(rig.dev, &copy, &cmd, &err), SYN_E_INVALID, &err);
    copy.rows = 4;
    assert_done(syn_dev_copy(rig.dev, &copy, &cmd, &err), &err);
    assert_done(settle(&rig, &err), &err);
    buf = syn_dev_free(buf);
}

/* Random boxes against a mirror in plain memory. */

struct boxes {
    char *mirror[2];
    char *staging[BOX_BATCH]; /* host sides of what is under way */
    char *want[BOX_BATCH];    /* what a read has to give, or NULL */
    struct syn_dev_copy box[BOX_BATCH];
    uint64_t random;
};

static void
boxes_fini(struct boxes *b)
{
    for (int i = 0; i < 2; i++)
        free(b->mirror[i]);
    for (int i = 0; i < BOX_BATCH; i++) {
        free(b->staging[i]);
        free(b->want[i]);
    }
}

static uint64_t
below(struct boxes *b, uint64_t limit)
{
    return syn_test_random(&b->random) % limit;
}

/* A random box that fits into BOX_BYTES; one in three is a plain copy. */
static void
random_place(struct boxes *b, const struct syn_dev_copy *copy, struct syn_dev_place *place)
{
    uint64_t end;

    place->row_pitch = copy->row_bytes + below(b, 40);
    place->slice_pitch = place->row_pitch * copy->rows + below(b, 100);
    end = (copy->slices - 1) * place->slice_pitch + copy->rows * place->row_pitch;
    assert(end <= BOX_BYTES);
    place->offset = below(b, BOX_BYTES - end + 1);
}

static void
box_copy(char *dst, const char *src, const struct syn_dev_copy *copy)
{
    for (uint64_t s = 0; s < copy->slices; s++) {
        for (uint64_t r = 0; r < copy->rows; r++)
            memcpy(dst + copy->dst.offset + s * copy->dst.slice_pitch + r * copy->dst.row_pitch,
                   src + copy->src.offset + s * copy->src.slice_pitch + r * copy->src.row_pitch,
                   copy->row_bytes);
    }
}

static void
box_round(struct boxes *b, const struct rig *rig, int slot)
{
    const struct syn_dev_cmd cmd = cmd_of(rig);
    struct syn_dev_copy *copy = &b->box[slot];
    unsigned which = (unsigned)below(b, 2), what = (unsigned)below(b, 4);
    bool plain = below(b, 3) == 0;
    struct syn_err err = {0};
    int rc;

    *copy = (struct syn_dev_copy){.row_bytes = 1 + below(b, 300),
                                  .rows = plain ? 1 : 1 + below(b, 12),
                                  .slices = plain ? 1 : 1 + below(b, 5)};
    random_place(b, copy, &copy->dst);
    random_place(b, copy, &copy->src);
    free(b->want[slot]);
    b->want[slot] = NULL;
    if (what == 0) { /* write */
        for (int i = 0; i < BOX_BYTES; i++)
            b->staging[slot][i] = (char)(i + slot + (int)which * 3);
        copy->dst.buf = rig->bufs[which];
        copy->src.host = b->staging[slot];
        box_copy(b->mirror[which], b->staging[slot], copy);
        rc = syn_dev_copy(rig->dev, copy, &cmd, &err);
    } else if (what == 1) { /* read */
        copy->src.buf = rig->bufs[which];
        copy->dst.host = b->staging[slot];
        b->want[slot] = malloc(BOX_BYTES);
        memcpy(b->want[slot], b->staging[slot], BOX_BYTES);
        box_copy(b->want[slot], b->mirror[which], copy);
        rc = syn_dev_copy(rig->dev, copy, &cmd, &err);
    } else if (what == 2) { /* from one buffer to the other */
        copy->dst.buf = rig->bufs[which];
        copy->src.buf = rig->bufs[1 - which];
        box_copy(b->mirror[which], b->mirror[1 - which], copy);
        rc = syn_dev_copy(rig->dev, copy, &cmd, &err);
    } else {
        uint8_t value = (uint8_t)below(b, 256);

        memset(b->mirror[which] + copy->dst.offset, value, copy->row_bytes);
        rc = syn_dev_fill(rig->bufs[which], copy->dst.offset, copy->row_bytes, value, &cmd, &err);
    }
    assert_done(rc, &err);
    /* The event is taken by this command: wait now and then only, with a marker of its own. */
    assert_done(settle(rig, &err), &err);
}

static void
boxes_check(struct boxes *b, const struct rig *rig)
{
    static char out[BOX_BYTES];
    struct syn_err err = {0};

    for (int i = 0; i < BOX_BATCH; i++) {
        if (b->want[i] && memcmp(b->want[i], b->staging[i], BOX_BYTES) != 0)
            fail_msg("a read of %llu x %llu x %llu gave other bytes",
                     (unsigned long long)b->box[i].row_bytes, (unsigned long long)b->box[i].rows,
                     (unsigned long long)b->box[i].slices);
    }
    for (int i = 0; i < 2; i++) {
        assert_done(read_now(rig, out, rig->bufs[i], BOX_BYTES, &err), &err);
        assert_memory_equal(out, b->mirror[i], BOX_BYTES);
    }
}

static void
test_random_boxes(void **state)
{
    SYN_SCOPED(boxes_fini) struct boxes b = {.random = (uint64_t)time(NULL) | 1};
    const char *given = getenv("SYNOR_TEST_SEED");
    RIG(rig);

    if (given)
        b.random = strtoull(given, NULL, 10);
    print_message("# seed %llu (SYNOR_TEST_SEED)\n", (unsigned long long)b.random);
    for (int i = 0; i < BOX_BATCH; i++) {
        b.staging[i] = calloc(1, BOX_BYTES);
        assert_non_null(b.staging[i]);
    }
    for (int i = 0; i < 2; i++) {
        b.mirror[i] = calloc(1, BOX_BYTES);
        assert_non_null(b.mirror[i]);
        assert_done(syn_dev_alloc(rig.dev, BOX_BYTES, &rig.bufs[i], &err), &err);
        assert_done(write_now(&rig, rig.bufs[i], b.mirror[i], BOX_BYTES, &err), &err);
    }
    for (int round = 0; round < BOX_ROUNDS; round++) {
        box_round(&b, &rig, round % BOX_BATCH);
        if (round % BOX_BATCH == BOX_BATCH - 1)
            boxes_check(&b, &rig);
    }
}

/* Commands of one queue run in order, without anybody waiting between them. */
static void
test_order_in_a_queue(void **state)
{
    enum { N = 256, TIMES = 100 };
    static int32_t out[TIMES][N];
    struct syn_dev_buf *buf = NULL;
    struct syn_dev_cmd quiet, last;
    RIG(rig);

    quiet = (struct syn_dev_cmd){.queue = rig.queue};
    last = cmd_of(&rig);
    assert_done(syn_dev_alloc(rig.dev, sizeof(out[0]), &buf, &err), &err);
    for (int t = 0; t < TIMES; t++) {
        assert_done(run_iota(&rig, buf, N, t * 1000, &quiet, &err), &err);
        assert_done(
            syn_dev_read(out[t], buf, 0, sizeof(out[0]), t == TIMES - 1 ? &last : &quiet, &err),
            &err);
    }
    assert_done(settle(&rig, &err), &err);
    for (int t = 0; t < TIMES; t++) {
        for (int i = 0; i < N; i++)
            assert_int_equal(out[t][i], t * 1000 + i);
    }
    buf = syn_dev_free(buf);
}

/* A chain that hops between two queues, held together by events alone. */
static void
test_order_across_queues(void **state)
{
    enum { N = 256, TIMES = 40 };
    static int32_t out[TIMES][N];
    struct syn_dev_event *events[2 * TIMES] = {0};
    struct syn_dev_queue *other = NULL;
    struct syn_dev_buf *buf = NULL;
    RIG(rig);

    assert_done(syn_dev_queue_create(rig.dev, SYN_QUEUE_URGENT, &other, &err), &err);
    assert_done(syn_dev_alloc(rig.dev, sizeof(out[0]), &buf, &err), &err);
    for (int t = 0; t < 2 * TIMES; t++) {
        struct syn_dev_cmd cmd = {.queue = t % 2 == 0 ? rig.queue : other};

        assert_done(syn_dev_event_create(rig.dev, &events[t], &err), &err);
        cmd.signal = events[t];
        cmd.waits = t > 0 ? &events[t - 1] : NULL;
        cmd.waits_count = t > 0 ? 1 : 0;
        if (t % 2 == 0)
            assert_done(run_iota(&rig, buf, N, t, &cmd, &err), &err);
        else
            assert_done(syn_dev_read(out[t / 2], buf, 0, sizeof(out[0]), &cmd, &err), &err);
    }
    assert_done(syn_dev_event_wait(events[2 * TIMES - 1], WAIT_NS, &err), &err);
    for (int t = 0; t < TIMES; t++) {
        for (int i = 0; i < N; i++)
            assert_int_equal(out[t][i], 2 * t + i);
    }
    other = syn_dev_queue_destroy(other);
    for (int t = 0; t < 2 * TIMES; t++) {
        assert_done(syn_dev_event_wait(events[t], WAIT_NS, &err), &err);
        events[t] = syn_dev_event_destroy(events[t]);
    }
    buf = syn_dev_free(buf);
}

static void
test_spans(void **state)
{
    enum { N = 1 << 16, TIMES = 10 };
    struct syn_dev_span span = {0};
    struct syn_dev_cmd cmd;
    int64_t end = INT64_MIN;
    RIG(rig);

    cmd = cmd_of(&rig);
    if (!(rig.dev->info.caps & SYN_CAP_TIMES)) {
        assert_code(syn_dev_event_span(rig.event, &span, &err), SYN_E_UNSUPPORTED, &err);
        return;
    }
    for (int i = 0; i < 2; i++) {
        assert_done(syn_dev_alloc(rig.dev, N * sizeof(float), &rig.bufs[i], &err), &err);
        assert_done(syn_dev_fill(rig.bufs[i], 0, N * sizeof(float), 0, &cmd, &err), &err);
        assert_done(settle(&rig, &err), &err);
    }
    for (int t = 0; t < TIMES; t++) {
        assert_done(run_axpy(&rig, 2, rig.bufs[0], rig.bufs[1], N, &err), &err);
        assert_done(settle(&rig, &err), &err);
        assert_done(syn_dev_event_span(rig.event, &span, &err), &err);
        assert_true(span.end_ns > span.start_ns);
        assert_true(span.start_ns >= end); /* in order on one queue */
        assert_int_equal(span.modelled, rig.dev->info.modelled);
        end = span.end_ns;
    }
}

static void
test_waiting(void **state)
{
    struct syn_dev_event *fresh = NULL;
    RIG(rig);

    assert_done(syn_dev_event_create(rig.dev, &fresh, &err), &err);
    assert_done(syn_dev_event_poll(fresh, &err), &err);
    assert_done(syn_dev_event_wait(fresh, 0, &err), &err);
    assert_done(syn_dev_event_wait(fresh, 1000, &err), &err);
    assert_done(syn_dev_event_wait(fresh, -1, &err), &err);
    fresh = syn_dev_event_destroy(fresh);
}

static void
count_up(void *arg)
{
    (void)atomic_fetch_add((_Atomic int *)arg, 1);
}

static void
test_notify(void **state)
{
    _Atomic int calls = 0;
    struct syn_dev_buf *buf = NULL;
    struct syn_dev_cmd cmd;
    RIG(rig);

    cmd = cmd_of(&rig);
    if (!(rig.dev->info.caps & SYN_CAP_NOTIFY)) {
        assert_code(syn_dev_event_notify(rig.event, count_up, &calls, &err), SYN_E_UNSUPPORTED,
                    &err);
        return;
    }
    assert_done(syn_dev_event_notify(rig.event, count_up, &calls, &err), &err);
    assert_int_equal(atomic_load(&calls), 1); /* done already: at once */
    assert_done(syn_dev_alloc(rig.dev, 1 << 20, &buf, &err), &err);
    for (int i = 0; i < 20; i++) {
        assert_done(syn_dev_fill(buf, 0, 1 << 20, (uint8_t)i, &cmd, &err), &err);
        assert_done(syn_dev_event_notify(rig.event, count_up, &calls, &err), &err);
        assert_done(settle(&rig, &err), &err);
        for (int ms = 0; atomic_load(&calls) < 2 + i && ms < 60000; ms++) {
            const struct timespec nap = {0, 1000000};

            (void)nanosleep(&nap, NULL);
        }
        assert_int_equal(atomic_load(&calls), 2 + i);
    }
    buf = syn_dev_free(buf);
}

static void
test_failing_kernel(void **state)
{
    struct syn_dev_event *event = NULL;
    struct syn_dev_buf *buf = NULL;
    struct syn_dev_launch launch;
    struct syn_dev_cmd cmd, next;
    RIG(rig);

    if (suite.with->fails == 0)
        return;
    cmd = cmd_of(&rig);
    launch = launch_over(&rig, "fail", 1);
    assert_done(syn_dev_event_create(rig.dev, &event, &err), &err);
    next = (struct syn_dev_cmd){.queue = rig.queue, .signal = event};
    assert_done(syn_dev_alloc(rig.dev, 64, &buf, &err), &err);
    assert_done(syn_dev_launch(rig.dev, &launch, &cmd, &err), &err);
    assert_done(syn_dev_fill(buf, 0, 64, 1, &next, &err), &err);
    assert_code(settle(&rig, &err), suite.with->fails, &err);
    assert_code(syn_dev_event_wait(event, WAIT_NS, &err), SYN_E_CANCELED, &err);
    /* Who waits for a failed command on another queue does not run either. */
    syn_dev_queue_clear(rig.queue);
    next.waits = &rig.event;
    next.waits_count = 1;
    assert_done(syn_dev_fill(buf, 0, 64, 1, &next, &err), &err);
    assert_code(syn_dev_event_wait(event, WAIT_NS, &err), SYN_E_CANCELED, &err);
    syn_dev_queue_clear(rig.queue);
    next.waits_count = 0;
    assert_done(syn_dev_fill(buf, 0, 64, 1, &next, &err), &err);
    assert_done(syn_dev_event_wait(event, WAIT_NS, &err), &err);
    event = syn_dev_event_destroy(event);
    buf = syn_dev_free(buf);
}

static void
test_host_memory(void **state)
{
    static char from[4096], to[4096];
    char *pinned = NULL, *own = NULL;
    struct syn_dev_buf *buf = NULL;
    RIG(rig);

    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (char)(i * 7);
    assert_done(syn_dev_alloc(rig.dev, sizeof(from), &buf, &err), &err);
    assert_done(syn_dev_host_alloc(rig.dev, sizeof(from), (void **)&pinned, &err), &err);
    memcpy(pinned, from, sizeof(from));
    assert_done(write_now(&rig, buf, pinned, sizeof(from), &err), &err);
    memset(pinned, 0, sizeof(from));
    assert_done(read_now(&rig, pinned, buf, sizeof(from), &err), &err);
    assert_memory_equal(pinned, from, sizeof(from));
    syn_dev_host_free(rig.dev, pinned);
    buf = syn_dev_free(buf);

    own = aligned_alloc(4096, sizeof(from));
    assert_non_null(own);
    assert_done(syn_dev_host_register(rig.dev, own, sizeof(from), &err), &err);
    syn_dev_host_unregister(rig.dev, own);
    memcpy(own, from, sizeof(from));
    if (rig.dev->info.caps & SYN_CAP_HOST_WRAP) {
        assert_done(syn_dev_wrap(rig.dev, own, sizeof(from), &buf, &err), &err);
        assert_true(buf->wrapped);
        assert_done(read_now(&rig, to, buf, sizeof(to), &err), &err);
        assert_memory_equal(to, from, sizeof(from));
        buf = syn_dev_free(buf);
    } else {
        assert_code(syn_dev_wrap(rig.dev, own, sizeof(from), &buf, &err), SYN_E_UNSUPPORTED, &err);
    }
    free(own);
}

static void
test_peers(void **state)
{
    static char from[5000], to[5000];
    SYN_SCOPED(rig_fini) struct rig second = {0};
    struct syn_dev_copy copy = {.row_bytes = sizeof(from), .rows = 1, .slices = 1};
    struct syn_dev_cmd cmd;
    RIG(rig);

    if (suite.driver->devices < 2)
        return;
    assert_done(rig_init(&second, 1, &err), &err);
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (char)(i * 11);
    assert_done(syn_dev_alloc(rig.dev, sizeof(from), &rig.bufs[0], &err), &err);
    assert_done(syn_dev_alloc(second.dev, sizeof(from), &second.bufs[1], &err), &err);
    assert_done(write_now(&rig, rig.bufs[0], from, sizeof(from), &err), &err);
    copy.src.buf = rig.bufs[0];
    copy.dst.buf = second.bufs[1];
    cmd = cmd_of(&rig);
    if (!syn_dev_can_peer(rig.dev, second.dev)) {
        assert_code(syn_dev_copy(rig.dev, &copy, &cmd, &err), SYN_E_UNSUPPORTED, &err);
        return;
    }
    assert_done(syn_dev_copy(rig.dev, &copy, &cmd, &err), &err);
    assert_done(settle(&rig, &err), &err);
    assert_done(read_now(&second, to, second.bufs[1], sizeof(to), &err), &err);
    assert_memory_equal(to, from, sizeof(from));
}

static void
test_health_and_power(void **state)
{
    struct syn_device_health health = {0};
    struct syn_device_power power = {0};
    RIG(rig);

    assert_done(syn_dev_health(rig.dev, &health, &err), &err);
    assert_int_not_equal(health.state, SYN_DEVICE_LOST);
    if (rig.dev->info.caps & SYN_CAP_POWER) {
        assert_done(syn_dev_power(rig.dev, &power, &err), &err);
        assert_int_not_equal(power.source, SYN_POWER_UNKNOWN);
        assert_true(power.now_mw >= 0 || power.total_uj >= 0);
        assert_int_equal(power.source == SYN_POWER_MODELLED, rig.dev->info.modelled);
    } else {
        assert_code(syn_dev_power(rig.dev, &power, &err), SYN_E_UNSUPPORTED, &err);
    }
    if (rig.dev->info.caps & SYN_CAP_RESET) {
        syn_dev_fault_arm(rig.dev, SYN_DEV_FAULT_LOST, 1);
        assert_code(syn_dev_health(rig.dev, &health, &err), SYN_E_UNAVAILABLE, &err);
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 0);
        rig.program = syn_dev_program_free(rig.program);
        rig.queue = syn_dev_queue_destroy(rig.queue);
        rig.event = syn_dev_event_destroy(rig.event);
        assert_done(syn_dev_reset(rig.dev, &err), &err);
        assert_done(syn_dev_health(rig.dev, &health, &err), &err);
    }
}

/* The whole life of a small computation, for the sweeps. */
static int
compute_once(void *arg, struct syn_err *err)
{
    enum { N = 100 };
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    float x[N], y[N];
    int rc = rig_init(&rig, 0, err);

    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    rc = rc != SYN_OK ? rc : syn_dev_alloc(rig.dev, sizeof(x), &rig.bufs[0], err);
    rc = rc != SYN_OK ? rc : syn_dev_alloc(rig.dev, sizeof(x), &rig.bufs[1], err);
    rc = rc != SYN_OK ? rc : write_now(&rig, rig.bufs[0], x, sizeof(x), err);
    rc = rc != SYN_OK ? rc : write_now(&rig, rig.bufs[1], x, sizeof(x), err);
    rc = rc != SYN_OK ? rc : run_axpy(&rig, 1, rig.bufs[0], rig.bufs[1], N, err);
    rc = rc != SYN_OK ? rc : settle(&rig, err);
    rc = rc != SYN_OK ? rc : read_now(&rig, y, rig.bufs[1], sizeof(y), err);
    if (rc == SYN_OK && (y[N - 1] < 2 * (N - 1) || y[N - 1] > 2 * (N - 1)))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "a wrong result");
    if (arg)
        *(bool *)arg = rig.dev && atomic_load(&rig.dev->lost);
    return rc;
}

static void
test_short_of_memory(void **state)
{
    (void)state;
    if (!suite.driver)
        skip();
    assert_true(syn_test_sweep_alloc(compute_once, NULL) > 0);
}

static void
sweep_faults(enum syn_dev_fault fault, int want)
{
    uint64_t calls, struck = 0;
    struct syn_err err = {0};
    bool lost = false;

    syn_dev_fault_arm(NULL, fault, UINT64_MAX);
    assert_done(compute_once(&lost, &err), &err);
    calls = syn_dev_fault_count();
    assert_true(calls > 0);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        int64_t before = syn_mem_live();
        int rc;

        syn_dev_fault_arm(NULL, fault, nth);
        rc = compute_once(&lost, &err);
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 0);
        if (rc != want && !(rc == SYN_OK && nth == calls)) /* the last wait's result is not used */
            fail_msg("call %llu of %llu failed, and the result was %d: %s", (unsigned long long)nth,
                     (unsigned long long)calls, rc, err.msg);
        struck += rc == want ? 1 : 0;
        assert_int_equal(lost, fault == SYN_DEV_FAULT_LOST);
        assert_int_equal(syn_mem_live(), before);
    }
    assert_true(struck >= calls - 1);
}

static void
test_faults(void **state)
{
    struct syn_err err = {0};

    (void)state;
    if (!suite.driver)
        skip();
    sweep_faults(SYN_DEV_FAULT_IO, SYN_E_IO);
    sweep_faults(SYN_DEV_FAULT_LOST, SYN_E_UNAVAILABLE);
    sweep_faults(SYN_DEV_FAULT_FULL, SYN_DRV_FULL);
    assert_done(compute_once(NULL, &err), &err); /* nothing of it is left */
}

/* Several threads, each with its own queue and buffers, on one device. */

struct hand {
    struct syn_dev *dev;
    struct syn_dev_program *program;
    int32_t number;
    int rc;
    struct syn_err err;
};

static void *
hand_work(void *arg)
{
    enum { N = 500, TIMES = 20 };
    struct hand *hand = arg;
    struct rig rig = {.dev = hand->dev, .program = hand->program};
    struct syn_dev_buf *buf = NULL;
    int32_t out[N];
    int rc = syn_dev_queue_create(rig.dev, 0, &rig.queue, &hand->err);

    rc = rc != SYN_OK ? rc : syn_dev_event_create(rig.dev, &rig.event, &hand->err);
    rc = rc != SYN_OK ? rc : syn_dev_alloc(rig.dev, sizeof(out), &buf, &hand->err);
    for (int t = 0; rc == SYN_OK && t < TIMES; t++) {
        struct syn_dev_cmd cmd = {.queue = rig.queue};
        int32_t first = hand->number * 100000 + t;

        rc = run_iota(&rig, buf, N, first, &cmd, &hand->err);
        rc = rc != SYN_OK ? rc : read_now(&rig, out, buf, sizeof(out), &hand->err);
        for (int i = 0; rc == SYN_OK && i < N; i++) {
            if (out[i] != first + i)
                rc = SYN_FAIL(&hand->err, SYN_E_CORRUPT, "y[%d] = %d, want %d", i, out[i],
                              first + i);
        }
    }
    buf = syn_dev_free(buf);
    rig.queue = syn_dev_queue_destroy(rig.queue);
    rig.event = syn_dev_event_destroy(rig.event);
    hand->rc = rc;
    return NULL;
}

static void
test_threads(void **state)
{
    struct hand hands[THREADS];
    pthread_t threads[THREADS];
    RIG(rig);

    if (suite.with->one_thread != NULL && rig.dev->info.kind == SYN_KIND_CPU) {
        print_message("# skipped: %s\n", suite.with->one_thread);
        skip();
    }
    for (int i = 0; i < THREADS; i++) {
        hands[i] = (struct hand){.dev = rig.dev, .program = rig.program, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, hand_work, &hands[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_done(hands[i].rc, &hands[i].err);
    }
}

static int
open_driver(void **state)
{
    struct syn_driver_options options = suite.with->options;
    struct syn_err err = {0};
    int rc;

    (void)state;
    if (!options.profiles)
        options.profiles = syn_profiles_builtin();
    if (!options.sysfs)
        options.sysfs = "/sys";
    rc = suite.with->ops->open(&options, &suite.driver, &err);
    if (rc == SYN_DRV_ABSENT)
        print_message("# skipped: %s\n", err.msg);
    else if (rc < 0)
        print_error("%s: %s\n", suite.with->ops->name, err.msg);
    return rc < 0 ? -1 : 0;
}

static int
close_driver(void **state)
{
    (void)state;
    if (suite.driver)
        suite.with->ops->close(suite.driver);
    suite.driver = NULL;
    return 0;
}

int
syn_driver_suite_run(const struct syn_driver_case *with)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_offset_arguments),
        cmocka_unit_test(test_bad_programs),
        cmocka_unit_test(test_bad_copies),
        cmocka_unit_test(test_random_boxes),
        cmocka_unit_test(test_order_in_a_queue),
        cmocka_unit_test(test_order_across_queues),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_notify),
        cmocka_unit_test(test_failing_kernel),
        cmocka_unit_test(test_host_memory),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_health_and_power),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_threads),
    };

    suite.with = with;
    return cmocka_run_group_tests(tests, open_driver, close_driver);
}
