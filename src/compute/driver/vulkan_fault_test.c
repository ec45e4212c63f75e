/* What the Vulkan driver makes of calls that fail, each in turn, and of texts and binaries that are
 * none. The machine's own loader is asked through one that fails on demand (vulkan_faulty.c). */
#include <synor/base/test.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <synor/compute/driver.h>

#include "driver_suite.h"
#include "drivers_priv.h"
#include "vulkan_priv.h"

#define N       64
#define BIG     ((size_t)9 << 20) /* more than the staging memory holds, twice */
#define WAIT_NS INT64_C(60000000000)

static const char *library;
static struct syn_driver *driver;
static void (*arm)(uint64_t nth, int result);
static uint64_t (*calls)(void);
static int64_t (*live)(void);

#define NEEDS_DEVICE \
    (void)state;     \
    if (!driver)     \
        skip();

/* One device and what a computation has there. */
struct rig {
    struct syn_dev *dev;
    struct syn_dev_queue *queue;
    struct syn_dev_event *event;
    struct syn_dev_program *program;
    struct syn_dev_buf *buf;
    void *host;
};

static void
rig_fini(struct rig *rig)
{
    if (rig->host)
        syn_dev_host_free(rig->dev, SYN_TAKE(rig->host));
    rig->queue = syn_dev_queue_destroy(rig->queue);
    rig->program = syn_dev_program_free(rig->program);
    rig->event = syn_dev_event_destroy(rig->event);
    rig->buf = syn_dev_free(rig->buf);
    rig->dev = syn_dev_close(rig->dev);
}

static int
compile(struct rig *rig, enum syn_format format, const void *text, size_t len, const char *options,
        struct syn_err *err)
{
    const struct syn_dev_source source = {
        .format = format, .name = "text", .text = text, .len = len, .options = options};

    rig->program = syn_dev_program_free(rig->program);
    return syn_dev_compile(rig->dev, &source, &rig->program, err);
}

static int
rig_init(struct rig *rig, size_t bytes, struct syn_err *err)
{
    int rc = syn_dev_open_in(driver, 0, &rig->dev, err);

    rc = rc != SYN_OK ? rc : syn_dev_queue_create(rig->dev, 0, &rig->queue, err);
    rc = rc != SYN_OK ? rc : syn_dev_event_create(rig->dev, &rig->event, err);
    rc = rc != SYN_OK
             ? rc
             : compile(rig, SYN_FORMAT_GLSL, syn_suite_glsl, strlen(syn_suite_glsl), NULL, err);
    rc = rc != SYN_OK ? rc : syn_dev_alloc(rig->dev, bytes, &rig->buf, err);
    return rc != SYN_OK ? rc : syn_dev_host_alloc(rig->dev, N * sizeof(int32_t), &rig->host, err);
}

static int
launch(const struct rig *rig, const char *kernel, const struct syn_dev_arg *args, size_t count,
       struct syn_err *err)
{
    const struct syn_dev_launch what = {.program = rig->program,
                                        .kernel = kernel,
                                        .groups = {1, 1, 1},
                                        .group = {N, 1, 1},
                                        .args = args,
                                        .args_count = count};
    const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    int rc = syn_dev_launch(rig->dev, &what, &cmd, err);

    return rc < 0 ? rc : syn_dev_event_wait(rig->event, WAIT_NS, err);
}

/* Launch and bring what is in the buffer to the pinned memory. */
static void
launch_and_read(const struct rig *rig, const char *kernel, const struct syn_dev_arg *args,
                size_t count)
{
    const struct syn_dev_cmd cmd = {.queue = rig->queue, .signal = rig->event};
    struct syn_err err = {0};

    assert_done(launch(rig, kernel, args, count, &err), &err);
    assert_done(syn_dev_read(rig->host, rig->buf, 0, rig->buf->bytes, &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig->event, WAIT_NS, &err), &err);
}

/* A launch, a read to pinned memory and one to memory that is not; the whole goes through two
 * submissions at least. */
static int
once(struct syn_err *err)
{
    const uint32_t n = N;
    const int32_t first = 5;
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &first, .bytes = sizeof(first)},
    };
    struct syn_dev_span span;
    int32_t out[N] = {0};
    const int32_t *pinned = NULL;
    int rc = rig_init(&rig, sizeof(out), err);

    if (rc != SYN_OK)
        return rc;
    args[0].buf = rig.buf;
    rc = launch(&rig, "iota", args, SYN_LEN(args), err);
    for (int i = 0; rc == SYN_OK && i < 2; i++) {
        const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};

        rc = syn_dev_read(i == 0 ? rig.host : out, rig.buf, 0, sizeof(out), &cmd, err);
        rc = rc < 0 ? rc : syn_dev_event_wait(rig.event, WAIT_NS, err);
    }
    if (rc == SYN_OK && rig.dev->info.caps & SYN_CAP_TIMES)
        rc = syn_dev_event_span(rig.event, &span, err);
    pinned = rig.host;
    if (rc == SYN_OK && (pinned[N - 1] != 5 + N - 1 || memcmp(pinned, out, sizeof(out)) != 0))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "wrong result");
    return rc;
}

static void
sweep(int result, int want)
{
    struct syn_err err = {0};
    uint64_t total, heard = 0;

    arm(0, 0);
    assert_done(once(&err), &err);
    total = calls();
    assert_true(total > 30);
    for (uint64_t nth = 1; nth <= total; nth++) {
        int64_t before = syn_mem_live(), objects = live();
        int rc;

        memset(&err, 0, sizeof(err));
        arm(nth, result);
        rc = once(&err);
        arm(0, 0);
        heard += rc == want ? 1 : 0;
        /* One wait is repeated, and a queue without memory is one without memory. */
        if (rc != want && rc != SYN_OK && rc != SYN_E_NOMEM)
            fail_msg("call %llu of %llu answers %d: %d %s", (unsigned long long)nth,
                     (unsigned long long)total, result, rc, err.msg);
        if (rc < 0)
            assert_true(err.msg[0] != '\0');
        assert_int_equal(syn_mem_live(), before);
        assert_int_equal(live(), objects);
    }
    if (heard < total - 8)
        fail_msg("%llu of %llu failures were heard of", (unsigned long long)heard,
                 (unsigned long long)total);
    assert_done(once(&err), &err);
}

static void
test_ordinary_errors(void **state)
{
    NEEDS_DEVICE
    sweep(VK_ERROR_INITIALIZATION_FAILED, SYN_E_IO);
}

static void
test_losses(void **state)
{
    NEEDS_DEVICE
    sweep(VK_ERROR_DEVICE_LOST, SYN_E_UNAVAILABLE);
}

static void
test_full(void **state)
{
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_buf *buf = NULL;
    void *host = NULL;
    struct syn_err err = {0};

    NEEDS_DEVICE
    assert_done(rig_init(&rig, N, &err), &err);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        int64_t objects = live();

        arm(nth, nth == 1 ? VK_ERROR_TOO_MANY_OBJECTS : VK_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_int_equal(syn_dev_alloc(rig.dev, 64, &buf, &err), SYN_DRV_FULL);
        arm(nth, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_int_equal(syn_dev_host_alloc(rig.dev, 64, &host, &err), SYN_DRV_FULL);
        arm(0, 0);
        assert_int_equal(live(), objects);
    }
    arm(1, VK_ERROR_OUT_OF_HOST_MEMORY);
    assert_code(syn_dev_alloc(rig.dev, 64, &buf, &err), SYN_E_NOMEM, &err);
    arm(0, 0);
}

struct opening {
    int result, want;
};

/* Open the driver where the first call that can fail does. */
static void
open_failing(const struct opening *opening)
{
    const struct syn_driver_options options = {.library = library};
    struct syn_driver *other = NULL;
    struct syn_err err = {0};
    int64_t before = syn_mem_live();

    arm(1, opening->result);
    assert_int_equal(syn_driver_vulkan.open(&options, &other, &err), opening->want);
    arm(0, 0);
    assert_true(err.msg[0] != '\0');
    assert_int_equal(syn_mem_live(), before);
}

static void
test_opening(void **state)
{
    /* The instance is there: what comes first is asking it for devices. */
    static const struct opening rows[] = {
        {VK_ERROR_INITIALIZATION_FAILED, SYN_DRV_ABSENT},
        {VK_ERROR_LAYER_NOT_PRESENT, SYN_E_IO},
    };
    const struct syn_driver_options nowhere = {.library = "/nowhere/lib.so"};
    struct syn_driver *other = NULL;
    struct syn_err err = {0};

    assert_int_equal(syn_driver_vulkan.open(&nowhere, &other, &err), SYN_DRV_ABSENT);
    assert_non_null(strstr(err.msg, "/nowhere/lib.so"));
    NEEDS_DEVICE
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        open_failing(&rows[i]);
}

/* Compiling for the first time, which the suite's sweep does once only: what was made is kept. */
static int
open_and_compile(void *arg, struct syn_err *err)
{
    static const char text[] = "KERNEL nothing() {}";
    const struct syn_driver_options options = {.library = library};
    const struct syn_dev_source source = {.format = SYN_FORMAT_GLSL,
                                          .name = "nothing",
                                          .text = text,
                                          .len = sizeof(text) - 1,
                                          .options = "-DA=1 -DB"};
    struct syn_driver *own = NULL;
    struct syn_dev *dev = NULL;
    struct syn_dev_program *program = NULL;
    int rc = syn_driver_vulkan.open(&options, &own, err);

    (void)arg;
    rc = rc < 0 ? rc : syn_dev_open_in(own, 0, &dev, err);
    rc = rc < 0 ? rc : syn_dev_compile(dev, &source, &program, err);
    program = syn_dev_program_free(program);
    dev = syn_dev_close(dev);
    if (own)
        own->ops->close(own);
    return rc;
}

static void
test_short_of_memory(void **state)
{
    NEEDS_DEVICE
    assert_true(syn_test_sweep_alloc(open_and_compile, NULL) > 8);
}

static void
test_texts(void **state)
{
    static const struct {
        const char *text, *options, *says;
    } rows[] = {
        {"void main() {}", NULL, "no kernels"},
        {"KERNEL x(", NULL, "do not end"},
        {"KERNEL x() {}", "-O3", "-O3"},
        {"KERNEL x() {}", "-D", "-D"},
        {"KERNEL x() {}", "-DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA -DA",
         "only 16"},
        {"KERNEL x()\n{\n    nonsense;\n}\n", NULL, "3: 'nonsense'"}, /* the text's own line */
    };
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_err err = {0};

    NEEDS_DEVICE
    assert_done(rig_init(&rig, N, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_code(compile(&rig, SYN_FORMAT_GLSL, rows[i].text, strlen(rows[i].text),
                            rows[i].options, &err),
                    SYN_E_INVALID, &err);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("row %zu: %s", i, err.msg);
    }
}

/* What the driver makes of a text is SPIR-V like any other: its entry is `main`. */
static void
test_spirv(void **state)
{
    const struct syn_dev_source source = {.name = "text"};
    const char *cursor = syn_suite_glsl, *end = cursor + strlen(cursor);
    const int32_t first = -3;
    const uint32_t n = N;
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF},
        {.kind = SYN_ARG_VALUE, .value = &n, .bytes = sizeof(n)},
        {.kind = SYN_ARG_VALUE, .value = &first, .bytes = sizeof(first)},
    };
    struct syn_vk_signature kernel = {0};
    const int32_t *out = NULL;
    struct syn_err err = {0};
    SYN_BUF(text);
    SYN_BUF(spirv);

    NEEDS_DEVICE
    assert_done(rig_init(&rig, N * sizeof(int32_t), &err), &err);
    while (kernel.name_len == 0 || strncmp(kernel.name, "iota", kernel.name_len) != 0)
        assert_done(syn_vk_text_next(&cursor, end, &kernel, &err), &err);
    syn_vk_text_write(&text, syn_suite_glsl, strlen(syn_suite_glsl), &kernel);
    assert_done(syn_vk_compiler_run(&SYN_CONTAINER(driver, struct syn_vk_driver, base)->compiler,
                                    &source, &text, &spirv, &err),
                &err);
    assert_done(compile(&rig, SYN_FORMAT_SPIRV, spirv.data, spirv.len, NULL, &err), &err);
    args[0].buf = rig.buf;
    assert_code(launch(&rig, "iota", args, SYN_LEN(args), &err), SYN_E_NOTFOUND, &err);
    launch_and_read(&rig, "main", args, SYN_LEN(args));
    out = rig.host;
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(out[i], i - 3);
}

static void
test_broken_spirv(void **state)
{
    static const uint32_t head[] = {SPIRV_MAGIC, 0x10500, 0, 1, 0};
    static const struct {
        uint32_t words[8];
        size_t count;
        const char *says;
    } rows[] = {
        {{0}, 0, "whole words"},
        {{2 << 16 | SPIRV_CAPABILITY, 6}, 2, "OpenCL"},
        {{2 << 16 | SPIRV_CAPABILITY, 1, 2 << 16 | SPIRV_CAPABILITY, 12}, /* atomics of 64 bits */
         4,
         "capability 12 of SPIR-V is not enabled"},
        {{2 << 16 | SPIRV_CAPABILITY, 5345}, 2, "capability 5345"}, /* Vulkan's memory model */
        {{9 << 16 | SPIRV_CAPABILITY, 1}, 2, "ends in an instruction"},
        {{SPIRV_CAPABILITY, 1}, 2, "ends in an instruction"},
    };
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_err err = {0};

    NEEDS_DEVICE
    assert_done(rig_init(&rig, N, &err), &err);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        uint32_t words[SYN_LEN(head) + 8];
        size_t bytes = (SYN_LEN(head) + rows[i].count) * 4;

        memcpy(words, head, sizeof(head));
        memcpy(words + SYN_LEN(head), rows[i].words, sizeof(rows[i].words));
        assert_code(
            compile(&rig, SYN_FORMAT_SPIRV, words, rows[i].count == 0 ? 7 : bytes, NULL, &err),
            SYN_E_INVALID, &err);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("row %zu: %s", i, err.msg);
    }
    assert_code(compile(&rig, SYN_FORMAT_SPIRV, "\7\2#\3 not this order.....", 24, NULL, &err),
                SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "byte order"));
}

/* What a device does with subgroups may be asked for; the bits are Vulkan's. */
static void
test_subgroups(void **state)
{
    static const struct {
        const char *extension, *uses;
    } rows[] = {
        {"basic", "subgroupBarrier()"},
        {"vote", "subgroupAll(true)"},
        {"arithmetic", "subgroupAdd(1)"},
        {"ballot", "subgroupBallot(true)"},
        {"shuffle", "subgroupShuffle(1, 0)"},
        {"shuffle_relative", "subgroupShuffleUp(1, 1)"},
        {"clustered", "subgroupClusteredAdd(1, 2)"},
        {"quad", "subgroupQuadSwapVertical(1)"},
    };
    const struct syn_vk_card *card = NULL;
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_err err = {0};

    NEEDS_DEVICE
    card = &SYN_CONTAINER(driver, struct syn_vk_driver, base)->cards[0];
    assert_done(rig_init(&rig, N, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(rows); i++) {
        bool has = card->properties_11.subgroup_operations & SYN_BIT(i);
        int rc;
        SYN_BUF(text);

        syn_buf_addf(&text, "#extension GL_KHR_shader_subgroup_%s : require\nKERNEL x() { %s; }\n",
                     rows[i].extension, rows[i].uses);
        rc = compile(&rig, SYN_FORMAT_GLSL, syn_buf_text(&text), text.len, NULL, &err);
        if (rc != (has ? SYN_OK : SYN_E_INVALID))
            fail_msg("%s: %d %s", rows[i].extension, rc, err.msg);
        if (!has)
            assert_non_null(strstr(err.msg, "the device lacks"));
    }
}

static void
test_launches(void **state)
{
    static const char text[] =
        "layout(constant_id = 3) const uint bytes = 4;\n"
        "layout(constant_id = 4) const uint more = 4;\n"
        "shared uint mine[bytes / 4];\n"
        "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer words { uint at; };\n"
        "KERNEL reverse(words y) {\n"
        "    uint i = gl_LocalInvocationID.x, n = gl_WorkGroupSize.x;\n"
        "    mine[i] = i + more;\n"
        "    barrier();\n"
        "    (y + i).at = mine[n - 1 - i];\n"
        "}\n";
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_LOCAL, .bytes = N * sizeof(uint32_t)},
        {.kind = SYN_ARG_BUF},
        {.kind = SYN_ARG_LOCAL, .bytes = 1000},
        {.kind = SYN_ARG_VALUE, .value = &(const uint32_t){1}, .bytes = 4},
    };
    struct syn_dev_arg many[SYN_VK_LOCALS_MAX + 2];
    const uint32_t *out = NULL;
    struct syn_err err = {0};

    NEEDS_DEVICE
    assert_done(rig_init(&rig, N * sizeof(uint32_t), &err), &err);
    assert_done(compile(&rig, SYN_FORMAT_GLSL, text, sizeof(text) - 1, NULL, &err), &err);
    args[1].buf = rig.buf;
    launch_and_read(&rig, "reverse", args, 3);
    out = rig.host;
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(out[i], 1000 + N - 1 - i);
    assert_code(launch(&rig, "reverse", args, 4, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "takes 1 arguments, not 2"));
    for (size_t i = 0; i < SYN_LEN(many); i++)
        many[i] = args[0];
    many[SYN_VK_LOCALS_MAX] = args[1];
    assert_done(launch(&rig, "reverse", many, SYN_VK_LOCALS_MAX + 1, &err), &err);
    many[SYN_VK_LOCALS_MAX] = many[0];
    many[SYN_VK_LOCALS_MAX + 1] = args[1];
    assert_code(launch(&rig, "reverse", many, SYN_LEN(many), &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "more than 8 arguments"));
    args[0].bytes = args[2].bytes = rig.dev->info.local_bytes;
    assert_code(launch(&rig, "reverse", args, 3, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "memory that a group shares: the device has"));
}

/* What aligns in Vulkan's layouts otherwise than in C's, behind what ends off a multiple of 8. */
static void
test_arguments(void **state)
{
    static const char text[] =
        "layout(buffer_reference, scalar, buffer_reference_align = 4) buffer words { uint at; };\n"
        "struct trio { uint16_t a; uint8_t b; uint c; };\n"
        "KERNEL lay(uint8_t a, vec2 b, uint c, uvec3 d, trio e, u64vec4 f, uint16_t g, words y)\n"
        "{\n"
        "    if (gl_GlobalInvocationID.x > 0)\n"
        "        return;\n"
        "    (y + 0).at = uint(a);\n"
        "    (y + 1).at = uint(b.x); (y + 2).at = uint(b.y);\n"
        "    (y + 3).at = c;\n"
        "    (y + 4).at = d.x; (y + 5).at = d.y; (y + 6).at = d.z;\n"
        "    (y + 7).at = uint(e.a); (y + 8).at = uint(e.b); (y + 9).at = e.c;\n"
        "    (y + 10).at = uint(f.x); (y + 11).at = uint(f.w);\n"
        "    (y + 12).at = uint(g);\n"
        "}\n";
    const struct {
        uint16_t a;
        uint8_t b;
        uint32_t c;
    } trio = {8, 9, 10};
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_VALUE, .value = &(const uint8_t){1}, .bytes = 1},
        {.kind = SYN_ARG_VALUE, .value = (const float[]){2, 3}, .bytes = 8},
        {.kind = SYN_ARG_VALUE, .value = &(const uint32_t){4}, .bytes = 4},
        {.kind = SYN_ARG_VALUE, .value = (const uint32_t[]){5, 6, 7}, .bytes = 12},
        {.kind = SYN_ARG_VALUE, .value = &trio, .bytes = sizeof(trio)},
        {.kind = SYN_ARG_VALUE, .value = (const uint64_t[]){11, 0, 0, 12}, .bytes = 32},
        {.kind = SYN_ARG_VALUE, .value = &(const uint16_t){13}, .bytes = 2},
        {.kind = SYN_ARG_BUF},
    };
    const struct syn_vk_card *card = NULL;
    const uint32_t *out = NULL;
    struct syn_err err = {0};

    NEEDS_DEVICE
    card = &SYN_CONTAINER(driver, struct syn_vk_driver, base)->cards[0];
    if (!(card->features_12.has[VK_FEATURE_STORAGE8] &&
          card->features_11.has[VK_FEATURE_STORAGE16]))
        skip();
    assert_done(rig_init(&rig, N * sizeof(uint32_t), &err), &err);
    assert_done(compile(&rig, SYN_FORMAT_GLSL, text, sizeof(text) - 1, NULL, &err), &err);
    args[SYN_LEN(args) - 1].buf = rig.buf;
    launch_and_read(&rig, "lay", args, SYN_LEN(args));
    out = rig.host;
    for (uint32_t i = 0; i < 13; i++)
        assert_int_equal(out[i], i + 1);
}

/* A counter of so few bits that it begins anew in every other command. */
static void
test_times_across_the_counters_end(void **state)
{
    struct syn_vk_card *card = NULL;
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    uint32_t bits;
    int64_t longest_ns;
    struct syn_err err = {0};

    NEEDS_DEVICE
    card = &SYN_CONTAINER(driver, struct syn_vk_driver, base)->cards[0];
    bits = card->timestamp_bits;
    if (bits == 0)
        skip();
    assert_done(rig_init(&rig, N * sizeof(uint32_t), &err), &err);
    card->timestamp_bits = 8;
    longest_ns = (int64_t)(256 * (double)card->properties.limits.timestamp_ns) + 1;
    for (int i = 0; i < 64; i++) {
        const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};
        struct syn_dev_span span = {0};

        assert_done(syn_dev_fill(rig.buf, 0, rig.buf->bytes, 1, &cmd, &err), &err);
        assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
        assert_done(syn_dev_event_span(rig.event, &span, &err), &err);
        assert_in_range(span.end_ns - span.start_ns, 0, longest_ns);
    }
    card->timestamp_bits = bits;
}

/* A program that ignores its children's ends learns why nothing compiles. */
static void
test_children_that_nobody_hears_of(void **state)
{
    static const char text[] = "KERNEL unheard() {}";
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_err err = {0};
    void (*before)(int) = SIG_DFL;
    int rc;

    NEEDS_DEVICE
    if (SYN_CONTAINER(driver, struct syn_vk_driver, base)->compiler.library)
        skip(); /* no child is started */
    assert_done(rig_init(&rig, N, &err), &err);
    before = signal(SIGCHLD, SIG_IGN);
    rc = compile(&rig, SYN_FORMAT_GLSL, text, sizeof(text) - 1, NULL, &err);
    assert_true(signal(SIGCHLD, before) == SIG_IGN);
    assert_code(rc, SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "SIGCHLD"));
    assert_done(compile(&rig, SYN_FORMAT_GLSL, text, sizeof(text) - 1, NULL, &err), &err);
}

/* Copies of more than the staging memory, of rows that end anywhere in it, there and back. */
static void
test_large_copies(void **state)
{
    SYN_SCOPED(rig_fini) struct rig rig = {0};
    struct syn_dev_copy copy = {.row_bytes = 1000003, .rows = 3, .slices = 3};
    SYN_SCOPED(syn_free_scope) char *from = syn_alloc(BIG);
    SYN_SCOPED(syn_free_scope) char *to = syn_calloc(1, BIG);
    struct syn_dev_cmd cmd;
    struct syn_err err = {0};

    NEEDS_DEVICE
    assert_true(from && to);
    assert_done(rig_init(&rig, BIG, &err), &err);
    for (size_t i = 0; i < BIG; i++)
        from[i] = (char)(i % 251);
    cmd = (struct syn_dev_cmd){.queue = rig.queue};
    copy.src = (struct syn_dev_place){.host = from, .row_pitch = 1000003, .slice_pitch = 3000009};
    copy.dst = (struct syn_dev_place){.buf = rig.buf, .row_pitch = 1000010, .slice_pitch = 3000031};
    assert_done(syn_dev_copy(rig.dev, &copy, &cmd, &err), &err);
    cmd.signal = rig.event;
    copy.src = copy.dst;
    copy.dst = (struct syn_dev_place){.host = to, .row_pitch = 1000003, .slice_pitch = 3000009};
    assert_done(syn_dev_copy(rig.dev, &copy, &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
    assert_memory_equal(to, from, (size_t)9 * 1000003);
}

static bool
has_loader(void)
{
    return dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL) != NULL;
}

static int
open_driver(void **state)
{
    /* Before there is an instance: it is made once. */
    static const struct opening rows[] = {
        {VK_ERROR_INCOMPATIBLE_DRIVER, SYN_DRV_ABSENT},
        {VK_ERROR_OUT_OF_HOST_MEMORY, SYN_E_NOMEM},
    };
    const struct syn_driver_options options = {.library = library};
    struct syn_err err = {0};
    int rc;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows) && has_loader(); i++)
        open_failing(&rows[i]);
    rc = syn_driver_vulkan.open(&options, &driver, &err);
    if (rc == SYN_DRV_ABSENT)
        print_message("# skipped: %s\n", err.msg);
    else if (rc < 0)
        print_error("%s\n", err.msg);
    return rc < 0 ? -1 : 0;
}

static int
close_driver(void **state)
{
    (void)state;
    if (driver)
        driver->ops->close(driver);
    driver = NULL;
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_errors),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_spirv),
        cmocka_unit_test(test_broken_spirv),
        cmocka_unit_test(test_subgroups),
        cmocka_unit_test(test_launches),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_times_across_the_counters_end),
        cmocka_unit_test(test_children_that_nobody_hears_of),
        cmocka_unit_test(test_large_copies),
    };
    void *handle = NULL;

    if (argc != 2)
        return 2;
    library = argv[1];
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return 2;
    *(void **)&arm = dlsym(handle, "faulty_arm");
    *(void **)&calls = dlsym(handle, "faulty_calls");
    *(void **)&live = dlsym(handle, "faulty_live");
    return arm && calls && live ? cmocka_run_group_tests(tests, open_driver, close_driver) : 2;
}
