/* What modules may be, on the installed Wasmtime, and what becomes of a device whose kernel
 * trapped. */
#include <string.h>

#include <synor/base/test.h>
#include <synor/compute/driver.h>

#include "drivers_priv.h"

#define WAIT_NS INT64_C(60000000000)

struct rig {
    struct syn_driver *driver;
    struct syn_dev *dev;
    struct syn_dev_queue *queue;
    struct syn_dev_event *event;
    struct syn_dev_buf *buf;
};

static void
rig_fini(struct rig *rig)
{
    rig->queue = syn_dev_queue_destroy(rig->queue);
    rig->event = syn_dev_event_destroy(rig->event);
    rig->buf = syn_dev_free(rig->buf);
    rig->dev = syn_dev_close(rig->dev);
    if (rig->driver)
        rig->driver->ops->close(rig->driver);
}

/* 0; SYN_DRV_ABSENT; errors. */
static int
rig_init(struct rig *rig, struct syn_err *err)
{
    const struct syn_driver_options options = {.sysfs = "/sys"};
    int rc = syn_driver_wasm.open(&options, &rig->driver, err);

    rc = rc != SYN_OK ? rc : syn_dev_open_in(rig->driver, 0, &rig->dev, err);
    rc = rc != SYN_OK ? rc : syn_dev_queue_create(rig->dev, 0, &rig->queue, err);
    rc = rc != SYN_OK ? rc : syn_dev_event_create(rig->dev, &rig->event, err);
    return rc != SYN_OK ? rc : syn_dev_alloc(rig->dev, 256, &rig->buf, err);
}

#define RIG(name)                                        \
    SYN_SCOPED(rig_fini) struct rig name = {0};          \
    struct syn_err err = {0};                            \
    int found = rig_init(&name, &err);                   \
                                                         \
    (void)state;                                         \
    if (found == SYN_DRV_ABSENT) {                       \
        print_message("# skipped: wasm: %s\n", err.msg); \
        skip();                                          \
        return; /* for the analyzer */                   \
    }                                                    \
    assert_done(found, &err)

static int
compile(const struct rig *rig, const char *text, size_t len, struct syn_dev_program **ret_program,
        struct syn_err *err)
{
    const struct syn_dev_source source = {
        .format = SYN_FORMAT_WASM, .name = "trial", .text = text, .len = len};

    return syn_dev_compile(rig->dev, &source, ret_program, err);
}

static void
test_refused_modules(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"(module (import \"env\" \"memory\" (memory 1)) (data (i32.const 0) \"x\"))", "data"},
        {"(module (import \"env\" \"print\" (func (param i32))))", "first is print"},
        {"(module (import \"env\" \"memory\" (memory 1)) (import \"env\" \"more\" (memory 1)))",
         "2 imports"},
        {"(module (import \"env\" \"memory\" (memory 65537)) (func (export \"f\")))", "trial"},
        {"(module (import \"env\" \"memory\" (memory 1 2)) (func (export \"f\")))",
         "instantiating"},
        {"(module (func (export \"f\") (result i32) (i32.const 0)))", "f returns something"},
        {"(module (func (export \"f\") (param v128)))", "parameter 0 is no number"},
        {"(module (func $f (export \"f\") unreachable) (start $f))", "instantiating"},
        {"(module)", "no kernels"},
        {"(module", "trial"},
        {"", "trial"},
    };
    RIG(rig);

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_dev_program *program = NULL;
        int rc = compile(&rig, rows[i].text, strlen(rows[i].text), &program, &err);

        assert_code(rc, SYN_E_INVALID, &err);
        if (!strstr(err.msg, rows[i].why))
            fail_msg("%s: %s", rows[i].text, err.msg);
    }
}

/* An empty module, and the same in the binary format. */
static void
test_formats(void **state)
{
    static const char text[] = "(module (func (export \"nothing\")))";
    static const char binary[] = "\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\7\x0b\1\7nothing\0\0\x0a\4\1"
                                 "\2\0\x0b";
    struct syn_dev_program *program = NULL;
    RIG(rig);

    for (int i = 0; i < 2; i++) {
        struct syn_dev_launch launch = {
            .kernel = "nothing", .groups = {2, 2, 2}, .group = {1, 1, 1}};
        const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};

        assert_done(compile(&rig, i == 0 ? text : binary,
                            i == 0 ? sizeof(text) - 1 : sizeof(binary) - 1, &program, &err),
                    &err);
        launch.program = program;
        assert_done(syn_dev_launch(rig.dev, &launch, &cmd, &err), &err);
        assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
        program = syn_dev_program_free(program);
    }
}

/* Every way a value goes: a number of its size, or an address of a copy. */
static void
test_arguments(void **state)
{
    static const char text[] =
        "(module (import \"env\" \"memory\" (memory 1))\n"
        " (func (export \"put\") (param $to i32) (param $a f32) (param $b f64) (param $c i64)\n"
        "  (param $d i32)\n"
        "  (f32.store (local.get $to) (local.get $a))\n"
        "  (f64.store offset=8 (local.get $to) (local.get $b))\n"
        "  (i64.store offset=16 (local.get $to) (local.get $c))\n"
        "  (memory.copy (i32.add (local.get $to) (i32.const 24)) (local.get $d)\n"
        "   (i32.const 24))))";
    const float a = 1.5F;
    const double b = -2.25;
    const uint64_t c = UINT64_C(0x123456789abcdef0), d[3] = {7, 8, 9};
    struct syn_dev_program *program = NULL;
    uint64_t got[6];
    float first;
    double second;
    RIG(rig);
    struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_BUF, .buf = rig.buf, .offset = 64},
        {.kind = SYN_ARG_VALUE, .value = &a, .bytes = sizeof(a)},
        {.kind = SYN_ARG_VALUE, .value = &b, .bytes = sizeof(b)},
        {.kind = SYN_ARG_VALUE, .value = &c, .bytes = sizeof(c)},
        {.kind = SYN_ARG_VALUE, .value = d, .bytes = sizeof(d)},
    };
    struct syn_dev_launch launch = {.kernel = "put",
                                    .groups = {1, 1, 1},
                                    .group = {1, 1, 1},
                                    .args = args,
                                    .args_count = SYN_LEN(args)};
    const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};

    assert_done(compile(&rig, text, sizeof(text) - 1, &program, &err), &err);
    launch.program = program;
    assert_done(syn_dev_launch(rig.dev, &launch, &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
    assert_done(syn_dev_read(got, rig.buf, 64, sizeof(got), &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
    memcpy(&first, &got[0], sizeof(first));
    memcpy(&second, &got[1], sizeof(second));
    assert_true(first == a && second == b);
    assert_int_equal(got[2], c);
    assert_memory_equal(got + 3, d, sizeof(d));
    /* Not what the function takes. */
    args[1].bytes = 8;
    args[1].value = &c;
    assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "argument 1 is not for an f32"));
    launch.args_count = 4;
    assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_INVALID, &err);
    launch.group[0] = 2;
    assert_code(syn_dev_launch(rig.dev, &launch, &cmd, &err), SYN_E_INVALID, &err);
    program = syn_dev_program_free(program);
}

/* What a trap leaves is gone: here a global that counts calls, as a stack pointer would be. Memory
 * that is not there, and a stack without an end, are traps too, and the process lives. */
static void
test_traps(void **state)
{
    static const char text[] =
        "(module (import \"env\" \"memory\" (memory 1)) (global $depth (mut i32) (i32.const 0))\n"
        " (func $deep (export \"deep\") (call $deep) (call $deep))\n"
        " (func (export \"beyond\") (i32.store (i32.const -4) (i32.const 1)))\n"
        " (func (export \"enter\") (param $fails i32) (param $to i32)\n"
        "  (global.set $depth (i32.add (global.get $depth) (i32.const 1)))\n"
        "  (if (local.get $fails) (then unreachable))\n"
        "  (i32.store (local.get $to) (global.get $depth))))";
    static const char *const broken[] = {"deep", "beyond", "enter"};
    struct syn_dev_program *program = NULL;
    uint32_t fails = 1, depth = 0;
    RIG(rig);
    const struct syn_dev_arg args[] = {
        {.kind = SYN_ARG_VALUE, .value = &fails, .bytes = sizeof(fails)},
        {.kind = SYN_ARG_BUF, .buf = rig.buf},
    };
    struct syn_dev_launch launch = {.groups = {1, 1, 1}, .group = {1, 1, 1}, .args = args};
    const struct syn_dev_cmd cmd = {.queue = rig.queue, .signal = rig.event};

    assert_done(compile(&rig, text, sizeof(text) - 1, &program, &err), &err);
    launch.program = program;
    for (size_t i = 0; i < SYN_LEN(broken); i++) {
        launch.kernel = broken[i];
        launch.args_count = i == 2 ? SYN_LEN(args) : 0;
        assert_done(syn_dev_launch(rig.dev, &launch, &cmd, &err), &err);
        assert_code(syn_dev_event_wait(rig.event, WAIT_NS, &err), SYN_E_IO, &err);
        assert_non_null(strstr(err.msg, broken[i]));
        syn_dev_queue_clear(rig.queue);
    }
    fails = 0;
    assert_done(syn_dev_launch(rig.dev, &launch, &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
    assert_done(syn_dev_read(&depth, rig.buf, 0, sizeof(depth), &cmd, &err), &err);
    assert_done(syn_dev_event_wait(rig.event, WAIT_NS, &err), &err);
    assert_int_equal(depth, 1);
    program = syn_dev_program_free(program);
}

/* Buffers of every size come and go, and the heap is whole again. */
static void
test_heap(void **state)
{
    struct syn_dev_buf *bufs[64] = {NULL};
    struct syn_device_health before, after;
    uint64_t random = 1;
    RIG(rig);

    assert_done(syn_dev_health(rig.dev, &before, &err), &err);
    for (int round = 0; round < 4000; round++) {
        size_t i = syn_test_random(&random) % SYN_LEN(bufs);

        if (bufs[i])
            bufs[i] = syn_dev_free(bufs[i]);
        else
            assert_done(
                syn_dev_alloc(rig.dev, 1 + syn_test_random(&random) % 200000, &bufs[i], &err),
                &err);
    }
    for (size_t i = 0; i < SYN_LEN(bufs); i++)
        bufs[i] = syn_dev_free(bufs[i]);
    assert_done(syn_dev_health(rig.dev, &after, &err), &err);
    assert_int_equal(before.memory_free_bytes, after.memory_free_bytes);
    assert_done(syn_dev_alloc(rig.dev, rig.dev->info.memory_bytes - 256, &bufs[0], &err), &err);
    assert_int_equal(syn_dev_alloc(rig.dev, 1, &bufs[1], &err), SYN_DRV_FULL);
    bufs[0] = syn_dev_free(bufs[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_modules),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_traps),
        cmocka_unit_test(test_heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
