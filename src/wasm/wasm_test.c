/* Real guests on the real Wasmtime; without it every case is skipped. */
#include <synor/wasm/wasm.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/buf.h>
#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/test.h>

#define INSTANCES 8

static struct syn_wasm *wasm;
static char missing[256];

/* Wasmtime's handlers, which cmocka puts its own in place of for every case. */
static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction handlers[SYN_LEN(signals)];

/* What a sink was told. */
struct answer {
    int heads, status, refuse;
    struct syn_buf headers, body, log;
    struct syn_wasm_outcome out;
    struct syn_err err;
    struct syn_wasm_module *again; /* called from within the body */
    int again_rc;
};

static int call(struct syn_wasm_module *module, const char *body, struct answer *answer);

static int
on_head(void *ctx, int status, const struct syn_wasm_header *headers, size_t count,
        struct syn_err *err SYN_UNUSED)
{
    struct answer *answer = ctx;

    answer->heads++;
    answer->status = status;
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&answer->headers, "%.*s=%.*s;", (int)headers[i].name.size, headers[i].name.at,
                     (int)headers[i].value.size, headers[i].value.at);
    return SYN_OK;
}

static int
on_body(void *ctx, const void *bytes, size_t size, struct syn_err *err)
{
    struct answer *answer = ctx;

    if (answer->refuse)
        return SYN_FAIL(err, answer->refuse, "nobody reads this");
    if (answer->again) {
        struct answer other = {0};

        answer->again_rc = call(answer->again, "", &other);
        syn_buf_fini(&other.body);
        syn_buf_fini(&other.headers);
    }
    syn_buf_add(&answer->body, bytes, size);
    return SYN_OK;
}

static void
on_log(void *ctx, enum syn_wasm_level level, const char *line, size_t size)
{
    struct answer *answer = ctx;

    syn_buf_addf(&answer->log, "%d:", (int)level);
    syn_buf_add(&answer->log, line, size);
    syn_buf_adds(&answer->log, "\n");
}

static const struct syn_wasm_sink sink = {on_head, on_body, on_log};

static void
answer_fini(struct answer *answer)
{
    syn_buf_fini(&answer->headers);
    syn_buf_fini(&answer->body);
    syn_buf_fini(&answer->log);
}

#define ANSWER(name) SYN_SCOPED(answer_fini) struct answer name = {0}

static struct syn_wasm_text
text(const char *word)
{
    return (struct syn_wasm_text){word, strlen(word)};
}

static struct syn_wasm_limits
generous(void)
{
    return (struct syn_wasm_limits){
        .memory_bytes = 1 << 20,
        .table_elements = 1000,
        .fuel = UINT64_C(1) << 40,
        .deadline_ns = syn_clock_ns() + INT64_C(60000000000),
        .response_bytes = 1 << 20,
        .log_bytes = 1000,
    };
}

static int
call_with(struct syn_wasm_module *module, const char *body, const struct syn_wasm_limits *limits,
          struct answer *answer)
{
    static const char *const environment[] = {"COLOUR=blue", "EMPTY=", NULL};
    const struct syn_wasm_header headers[] = {{text("Content-Type"), text("text/plain")},
                                              {text("X-Two"), text("2")}};
    const struct syn_wasm_request request = {
        .id = text("request-1"),
        .method = text("POST"),
        .path = text("/a/b"),
        .query = text("c=d"),
        .headers = headers,
        .header_count = SYN_LEN(headers),
        .body = text(body),
        .environment = environment,
    };

    return syn_wasm_call(module, &request, limits, &sink, answer, &answer->out, &answer->err);
}

static int
call(struct syn_wasm_module *module, const char *body, struct answer *answer)
{
    struct syn_wasm_limits limits = generous();

    return call_with(module, body, &limits, answer);
}

static struct syn_wasm_module *
compile(const char *source)
{
    struct syn_wasm_module *module = NULL;
    struct syn_err err;

    if (!wasm) {
        print_message("# %s\n", missing);
        skip();
    }
    for (size_t i = 0; i < SYN_LEN(signals); i++)
        (void)sigaction(signals[i], &handlers[i], NULL);
    if (syn_wasm_compile(wasm, source, strlen(source), &module, &err) < 0)
        fail_msg("%s", err.msg);
    return module;
}

static void
close_module(struct syn_wasm_module **slot)
{
    *slot = syn_wasm_module_close(*slot);
}

#define MODULE(name, source) SYN_SCOPED(close_module) struct syn_wasm_module *name = compile(source)

#define IMPORTS                                                                                \
    "(import \"synor\" \"request_get\" (func $get (param i32 i32 i32 i32) (result i32)))"      \
    "(import \"synor\" \"request_header\" (func $header_at (param i32 i32 i32) (result i32)))" \
    "(import \"synor\" \"request_header_named\""                                               \
    " (func $header_named (param i32 i32 i32 i32) (result i32)))"                              \
    "(import \"synor\" \"environment\" (func $env (param i32 i32 i32 i32) (result i32)))"      \
    "(import \"synor\" \"response_status\" (func $status (param i32) (result i32)))"           \
    "(import \"synor\" \"response_header\""                                                    \
    " (func $header (param i32 i32 i32 i32) (result i32)))"                                    \
    "(import \"synor\" \"response_write\" (func $write (param i32 i32)))"                      \
    "(import \"synor\" \"log\" (func $log (param i32 i32 i32)))"                               \
    "(import \"synor\" \"time_ms\" (func $time (result i64)))"                                 \
    "(import \"synor\" \"remaining_ms\" (func $remaining (result i64)))"                       \
    "(import \"synor\" \"random\" (func $random (param i32 i32) (result i32)))"                \
    "(memory (export \"memory\") 1)"
#define HANDLE(code) \
    "(module " IMPORTS "(func (export \"synor_handle\") (result i32) " code " (i32.const 0)))"
#define WITH(rest, code)                                                                        \
    "(module " IMPORTS rest "(func (export \"synor_handle\") (result i32) " code " (i32.const " \
    "0)))"

static void
a_request_is_answered(void **state SYN_UNUSED)
{
    MODULE(module,
           WITH("(data (i32.const 0) \"X-Kindvery\") (data (i32.const 16) \"hello\")",
                "(drop (call $status (i32.const 201)))"
                "(drop (call $header (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 4)))"
                "(call $write (i32.const 16) (i32.const 5))"
                /* too late */
                "(drop (call $status (i32.const 500)))"
                "(call $write (i32.const 18) (i32.const 3))"
                "(call $log (i32.const 1) (i32.const 16) (i32.const 5))"));
    ANSWER(answer);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DONE);
    assert_string_equal(answer.out.why, "");
    assert_int_equal(answer.heads, 1);
    assert_int_equal(answer.status, 201);
    assert_string_equal(syn_buf_text(&answer.headers), "X-Kind=very;");
    assert_string_equal(syn_buf_text(&answer.body), "hellollo");
    assert_string_equal(syn_buf_text(&answer.log), "1:hello\n");
    assert_true(answer.out.fuel_used > 0);
    assert_int_equal(answer.out.memory_bytes, 65536);
}

static void
an_answer_without_body_has_a_head(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(drop (call $status (i32.const 204)))"));
    ANSWER(answer);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    assert_int_equal(answer.heads, 1);
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body.len, 0);
}

/* Each part is written to the answer, as much of it as was given; sizes are those of the whole. */
static void
what_is_asked_can_be_read(void **state SYN_UNUSED)
{
    MODULE(
        module,
        WITH("(data (i32.const 0) \"x-twoCOLOURnone\")"
             "(func $show (param i32) (call $write (i32.const 100) (local.get 0))"
             " (call $write (i32.const 50) (i32.const 1)))",
             "(i32.store8 (i32.const 50) (i32.const 124))"
             "(call $show (call $get (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 99)))"
             "(call $show (call $get (i32.const 1) (i32.const 0) (i32.const 100) (i32.const 99)))"
             "(call $show (call $get (i32.const 2) (i32.const 0) (i32.const 100) (i32.const 99)))"
             "(call $show (call $get (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 99)))"
             /* the body from 2 on: 4 bytes of the 6 that it has */
             "(call $show (i32.sub (call $get (i32.const 4) (i32.const 2) (i32.const 100)"
             " (i32.const 4)) (i32.const 2)))"
             "(call $show (call $header_at (i32.const 1) (i32.const 100) (i32.const 99)))"
             "(call $show (call $header_named (i32.const 0) (i32.const 5) (i32.const 100)"
             " (i32.const 99)))"
             "(call $show (call $env (i32.const 5) (i32.const 6) (i32.const 100) (i32.const 99)))"
             "(if (i32.ne (call $env (i32.const 11) (i32.const 4) (i32.const 100) (i32.const 99))"
             " (i32.const -1)) (then unreachable))"
             "(if (i32.ne (call $header_at (i32.const 2) (i32.const 100) (i32.const 99))"
             " (i32.const -1)) (then unreachable))"
             "(if (i32.ne (call $get (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0))"
             " (i32.const -1)) (then unreachable))"));
    ANSWER(answer);

    assert_int_equal(call(module, "abcdef", &answer), SYN_OK);
    assert_string_equal(answer.out.why, "");
    assert_string_equal(syn_buf_text(&answer.body),
                        "request-1|POST|/a/b|c=d|cdef|X-Two: 2|2|blue|");
}

static void
nothing_is_left_for_the_next(void **state SYN_UNUSED)
{
    MODULE(module, WITH("(global $n (mut i32) (i32.const 48))",
                        "(global.set $n (i32.add (global.get $n) (i32.const 1)))"
                        "(i32.store8 (i32.const 0) (global.get $n))"
                        "(i32.store8 (i32.const 9) (i32.add (i32.load8_u (i32.const 9))"
                        " (i32.const 1)))"
                        "(i32.store8 (i32.const 1) (i32.add (i32.load8_u (i32.const 9))"
                        " (i32.const 48)))"
                        "(drop (memory.grow (i32.const 3)))"
                        "(call $write (i32.const 0) (i32.const 2))"));

    for (int i = 0; i < 3 * INSTANCES; i++) {
        ANSWER(answer);

        assert_int_equal(call(module, "", &answer), SYN_OK);
        assert_string_equal(syn_buf_text(&answer.body), "11");
        assert_int_equal(answer.out.memory_bytes, 4 * 65536);
    }
}

static void
clocks_and_random_bytes_are_there(void **state SYN_UNUSED)
{
    MODULE(module,
           HANDLE("(if (i64.lt_s (call $time) (i64.const 1700000000000)) (then unreachable))"
                  "(if (i64.lt_s (call $remaining) (i64.const 1)) (then unreachable))"
                  "(if (call $random (i32.const 0) (i32.const 64)) (then unreachable))"
                  "(if (i64.eq (i64.load (i32.const 0)) (i64.load (i32.const 8)))"
                  " (then unreachable))"
                  "(if (i32.eqz (call $random (i32.const 0) (i32.const 65537)))"
                  " (then unreachable))"));
    ANSWER(answer);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    /* The last one asks for more memory than the guest has. */
    assert_int_equal(answer.out.end, SYN_WASM_TRAPPED);
    assert_non_null(strstr(answer.out.why, "memory that the guest does not have"));
}

/* Bad guests, and what is said of them. */
static const struct {
    const char *source;
    enum syn_wasm_end end;
    const char *why;
} bad[] = {
    {HANDLE("(loop $l (br $l))"), SYN_WASM_DEADLINE, "time"},
    {HANDLE("unreachable"), SYN_WASM_TRAPPED, "unreachable"},
    {HANDLE("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), SYN_WASM_TRAPPED, "divide by zero"},
    {HANDLE("(drop (i32.load (i32.const 65536)))"), SYN_WASM_TRAPPED, "out of bounds"},
    {HANDLE("(drop (i32.load (i32.const -4)))"), SYN_WASM_TRAPPED, "out of bounds"},
    {WITH("(func $deep (call $deep) (call $deep))", "(call $deep)"), SYN_WASM_TRAPPED, "stack"},
    {HANDLE("(call $write (i32.const 65535) (i32.const 2))"), SYN_WASM_TRAPPED, "does not have"},
    {HANDLE("(call $write (i32.const -1) (i32.const -1))"), SYN_WASM_TRAPPED, "does not have"},
    {HANDLE("(drop (call $get (i32.const 4) (i32.const 0) (i32.const 65000) (i32.const 1000)))"),
     SYN_WASM_TRAPPED, "does not have"},
    {HANDLE("(loop $l (call $write (i32.const 0) (i32.const 65536)) (br $l))"), SYN_WASM_TOO_MUCH,
     "answered more"},
    {HANDLE("(return (i32.const 7))"), SYN_WASM_FAILED, "status 7"},
    {"(module (memory (export \"memory\") 17) (func (export \"synor_handle\") (result i32)"
     " (i32.const 0)))",
     SYN_WASM_MEMORY, "memory"},
};

static void
bad_guests_are_ended(void **state SYN_UNUSED)
{
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        MODULE(module, bad[i].source);
        struct syn_wasm_limits limits = generous();
        ANSWER(answer);

        if (bad[i].end == SYN_WASM_DEADLINE)
            limits.deadline_ns = syn_clock_ns() + INT64_C(20000000);
        assert_int_equal(call_with(module, "", &limits, &answer), SYN_OK);
        if (answer.out.end != bad[i].end || !strstr(answer.out.why, bad[i].why))
            fail_msg("%s: %s: %s", bad[i].source, syn_wasm_end_name(answer.out.end),
                     answer.out.why);
    }
}

static void
fuel_is_a_limit(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(loop $l (br $l))"));
    struct syn_wasm_limits limits = generous();
    ANSWER(answer);

    limits.fuel = 100000;
    assert_int_equal(call_with(module, "", &limits, &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_FUEL);
    assert_int_equal(answer.out.fuel_used, 100000);
    assert_int_equal(answer.heads, 0);
}

static void
memory_stops_growing(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1))"
                          " (i32.const -1))))"));
    ANSWER(answer);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DONE);
    assert_int_equal(answer.out.memory_bytes, 1 << 20);
}

static void
a_log_has_an_end(void **state SYN_UNUSED)
{
    MODULE(module,
           WITH("(data (i32.const 0) \"0123456789\\nabc\")",
                "(local $i i32) (loop $l (call $log (i32.const 9) (i32.const 0) (i32.const 14))"
                "(br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))"
                " (i32.const 1000))))"));
    ANSWER(answer);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DONE);
    assert_memory_equal(answer.log.data, "3:0123456789\n3:abc\n", 19);
    assert_true(answer.log.len < 1600);
    assert_true(answer.out.log_dropped_bytes > 10000);
}

static void
who_does_not_read_ends_it(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(loop $l (call $write (i32.const 0) (i32.const 1)) (br $l))"));
    ANSWER(answer);

    answer.refuse = SYN_E_CANCELED;
    assert_int_equal(call(module, "", &answer), SYN_E_CANCELED);
    assert_string_equal(answer.err.msg, "nobody reads this");
}

static void
one_too_many_is_busy(void **state SYN_UNUSED)
{
    struct syn_wasm_options options = {.instances_max = 1};
    struct syn_wasm *before = wasm;
    struct syn_err err;

    if (!wasm)
        skip();
    assert_int_equal(syn_wasm_open(&options, &wasm, &err), SYN_OK);
    {
        MODULE(module, HANDLE("(call $write (i32.const 0) (i32.const 1))"));
        ANSWER(answer);

        answer.again = module;
        assert_int_equal(call(module, "", &answer), SYN_OK);
        assert_int_equal(answer.out.end, SYN_WASM_DONE);
        assert_int_equal(answer.again_rc, SYN_E_LIMIT);
    }
    wasm = syn_wasm_close(wasm);
    wasm = before;
}

static void
modules_are_looked_at(void **state SYN_UNUSED)
{
    static const struct {
        const char *source, *why;
    } rows[] = {
        {"", "no valid WebAssembly"},
        {"(module", "no valid WebAssembly"},
        {"not a module", "no valid WebAssembly"},
        {"(module)", "synor_handle"},
        {"(module (func (export \"synor_handle\")))", "synor_handle"},
        {"(module (func (export \"_start\") (param i32)))", "synor_handle"},
        {"(module (func (export \"_start\")))", "\"memory\""},
        {"(module (memory 1) (func (export \"_start\")))", "\"memory\""},
        {"(module (import \"env\" \"fork\" (func)) (memory (export \"memory\") 1)"
         " (func (export \"_start\")))",
         "env::fork"},
        {"(module (import \"synor\" \"log\" (func (param i64))) (memory (export \"memory\") 1)"
         " (func (export \"_start\")))",
         "synor::log"},
        {"(module (memory (export \"memory\") 1 1 shared) (func (export \"_start\")))",
         "no valid WebAssembly"},
        {"(module (memory (export \"memory\") i64 1) (func (export \"_start\")))",
         "no valid WebAssembly"},
    };

    if (!wasm)
        skip();
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_wasm_module *module = NULL;
        struct syn_err err;

        if (syn_wasm_compile(wasm, rows[i].source, strlen(rows[i].source), &module, &err) !=
                SYN_E_INVALID ||
            !strstr(err.msg, rows[i].why))
            fail_msg("%s: %s", rows[i].source, err.msg);
    }
}

static void
a_compiled_module_is_kept(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(call $write (i32.const 0) (i32.const 3))"));
    char folder[] = "/tmp/synor-wasm-XXXXXX", path[64], nowhere[64];
    struct syn_wasm_module *again = NULL;
    struct syn_err err;
    ANSWER(answer);
    FILE *file;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/module", folder);
    assert_int_equal(syn_wasm_load(wasm, path, &again, &err), SYN_E_NOTFOUND);
    assert_int_equal(syn_wasm_save(module, path, &err), SYN_OK);
    assert_int_equal(syn_wasm_load(wasm, path, &again, &err), SYN_OK);
    assert_int_equal(call(again, "", &answer), SYN_OK);
    assert_int_equal(answer.body.len, 3);
    again = syn_wasm_module_close(again);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs("\177ELF and nothing", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(syn_wasm_load(wasm, path, &again, &err), SYN_E_INVALID);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(nowhere, sizeof(nowhere), "%s/none/module", folder);
    assert_int_equal(syn_wasm_save(module, nowhere, &err), SYN_E_NOTFOUND);
    assert_int_equal(rmdir(folder), 0);
}

#define WASI_IMPORTS                                                                             \
    "(import \"wasi_snapshot_preview1\" \"fd_write\""                                            \
    " (func $fd_write (param i32 i32 i32 i32) (result i32)))"                                    \
    "(import \"wasi_snapshot_preview1\" \"fd_read\""                                             \
    " (func $fd_read (param i32 i32 i32 i32) (result i32)))"                                     \
    "(import \"wasi_snapshot_preview1\" \"environ_get\" (func $env_get (param i32 i32) (result " \
    "i32)))"                                                                                     \
    "(import \"wasi_snapshot_preview1\" \"environ_sizes_get\""                                   \
    " (func $env_sizes (param i32 i32) (result i32)))"                                           \
    "(import \"wasi_snapshot_preview1\" \"fd_prestat_get\""                                      \
    " (func $prestat (param i32 i32) (result i32)))"                                             \
    "(import \"wasi_snapshot_preview1\" \"poll_oneoff\""                                         \
    " (func $poll (param i32 i32 i32 i32) (result i32)))"                                        \
    "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))"                 \
    "(memory (export \"memory\") 1)" /* the vector of 64 bytes at 100 */                         \
    "(data (i32.const 0) \"\\64\\00\\00\\00\\40\\00\\00\\00\")" /* write what is at 200, size    \
                                                                   bytes, to fd */               \
    "(func $put (param $fd i32) (param $size i32) (i32.store (i32.const 8) (i32.const 200))"     \
    " (i32.store (i32.const 12) (local.get $size))"                                              \
    " (if (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16))"           \
    " (then unreachable)))"
#define COMMAND(rest, code) "(module " WASI_IMPORTS rest "(func (export \"_start\") " code "))"

static void
a_command_is_a_cgi_program(void **state SYN_UNUSED)
{
    MODULE(module,
           COMMAND(
               "(data (i32.const 200) \"Status: 202 Yes\\r\\nX-A: b\\r\\n\\r\\nbody \")",
               "(call $put (i32.const 1) (i32.const 10))"
               "(i32.store (i32.const 8) (i32.const 210)) (i32.store (i32.const 12) (i32.const 22))"
               "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))"
               "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))"
               "(i32.store (i32.const 8) (i32.const 100))"
               "(i32.store (i32.const 12) (i32.load (i32.const 16)))"
               "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))"
               "(call $put (i32.const 2) (i32.const 6))"
               "(if (i32.ne (call $prestat (i32.const 3) (i32.const 300)) (i32.const 8))"
               " (then unreachable))"));
    ANSWER(answer);

    assert_int_equal(call(module, "given", &answer), SYN_OK);
    assert_string_equal(answer.out.why, "");
    assert_int_equal(answer.status, 202);
    assert_string_equal(syn_buf_text(&answer.headers), "X-A=b;");
    assert_string_equal(syn_buf_text(&answer.body), "body given");
    assert_string_equal(syn_buf_text(&answer.log), "3:Status\n");
}

static void
a_command_may_just_print(void **state SYN_UNUSED)
{
    MODULE(module, COMMAND("(data (i32.const 200) \"hello\\n\")",
                           "(call $put (i32.const 1) (i32.const 6)) (call $exit (i32.const 0))"));
    MODULE(failing, COMMAND("(data (i32.const 200) \"Conten\")",
                            "(call $put (i32.const 1) (i32.const 6)) (call $exit (i32.const 3))"));
    ANSWER(answer);
    ANSWER(failed);

    assert_int_equal(call(module, "", &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DONE);
    assert_int_equal(answer.status, 200);
    assert_string_equal(syn_buf_text(&answer.body), "hello\n");
    assert_int_equal(call(failing, "", &failed), SYN_OK);
    assert_int_equal(failed.out.end, SYN_WASM_FAILED);
    assert_int_equal(failed.out.status, 3);
}

static void
a_command_has_an_environment(void **state SYN_UNUSED)
{
    MODULE(module, COMMAND("", "(drop (call $env_sizes (i32.const 24) (i32.const 28)))"
                               "(drop (call $env_get (i32.const 1000) (i32.const 200)))"
                               "(call $put (i32.const 1) (i32.load (i32.const 28)))"));
    static const char *const names[] = {"COLOUR=blue",      "REQUEST_METHOD=POST",
                                        "PATH_INFO=/a/b",   "QUERY_STRING=c=d",
                                        "CONTENT_LENGTH=4", "CONTENT_TYPE=text/plain",
                                        "HTTP_X_TWO=2",     "SYNOR_REQUEST_ID=request-1"};
    ANSWER(answer);

    assert_int_equal(call(module, "four", &answer), SYN_OK);
    assert_string_equal(answer.out.why, "");
    for (size_t i = 0; i < SYN_LEN(names); i++)
        assert_non_null(memmem(answer.body.data, answer.body.len, names[i], strlen(names[i]) + 1));
}

static void
a_command_sleeps_as_long_as_it_may(void **state SYN_UNUSED)
{
    /* one subscription at 400: a relative wait of 10^15 ns, and one of 1 ms */
    MODULE(module, COMMAND("(data (i32.const 424) \"\\00\\80\\c6\\a4\\7e\\8d\\03\\00\")",
                           "(drop (call $poll (i32.const 400) (i32.const 500) (i32.const 1)"
                           " (i32.const 600)))"));
    MODULE(brief,
           COMMAND("(data (i32.const 424) \"\\40\\42\\0f\\00\")",
                   "(if (call $poll (i32.const 400) (i32.const 500) (i32.const 1)"
                   " (i32.const 600)) (then unreachable))"
                   "(if (i32.ne (i32.load (i32.const 600)) (i32.const 1)) (then unreachable))"));
    struct syn_wasm_limits limits = generous();
    int64_t began;
    ANSWER(answer);
    ANSWER(slept);

    limits.deadline_ns = syn_clock_ns() + INT64_C(20000000);
    assert_int_equal(call_with(module, "", &limits, &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DEADLINE);
    began = syn_clock_ns();
    assert_int_equal(call(brief, "", &slept), SYN_OK);
    assert_int_equal(slept.out.end, SYN_WASM_DONE);
    assert_true(syn_clock_ns() - began >= 1000000);
}

static void *
many_calls(void *arg)
{
    intptr_t wrong = 0;

    for (int i = 0; i < 100; i++) {
        ANSWER(answer);

        wrong += call(arg, "", &answer) != SYN_OK || answer.out.end != SYN_WASM_DONE ||
                 answer.body.len != 3;
    }
    return (void *)wrong;
}

static void
threads_call_side_by_side(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(call $write (i32.const 0) (i32.const 3))"));
    pthread_t threads[INSTANCES];

    for (size_t i = 0; i < SYN_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_calls, module), 0);
    for (size_t i = 0; i < SYN_LEN(threads); i++) {
        void *wrong = NULL;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

/* Two endless guests and one that ends, in turns on one thread; and one that is given up halfway.
 */
static void
runs_give_way(void **state SYN_UNUSED)
{
    MODULE(endless, HANDLE("(loop $l (br $l))"));
    MODULE(brief, HANDLE("(call $write (i32.const 0) (i32.const 3))"));
    const struct syn_wasm_request request = {.id = text("x")};
    struct syn_wasm_limits limits = generous(), soon = generous();
    struct syn_wasm_run *never = NULL, *late = NULL;
    struct syn_err err;
    ANSWER(answer);
    int rc;

    soon.deadline_ns = syn_clock_ns() + INT64_C(20000000);
    assert_int_equal(syn_wasm_begin(endless, &request, &limits, &sink, &answer, &never, &err), 0);
    assert_int_equal(syn_wasm_begin(endless, &request, &soon, &sink, &answer, &late, &err), 0);
    do {
        assert_int_equal(syn_wasm_step(never, &err), SYN_WASM_PENDING);
        assert_int_equal(syn_wasm_wake_ns(never), 0);
        rc = syn_wasm_step(late, &err);
    } while (rc == SYN_WASM_PENDING);
    assert_int_equal(rc, SYN_OK);
    assert_int_equal(syn_wasm_outcome(late)->end, SYN_WASM_DEADLINE);
    assert_int_equal(call(brief, "", &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DONE);
    late = syn_wasm_run_free(late);
    never = syn_wasm_run_free(never);
}

/* Time passes again for the first call after the ticker went to sleep. */
static void
an_idle_engine_wakes_up(void **state SYN_UNUSED)
{
    MODULE(module, HANDLE("(loop $l (br $l))"));
    struct syn_wasm_limits limits = generous();
    ANSWER(answer);

    (void)usleep(400000);
    limits.deadline_ns = syn_clock_ns() + INT64_C(10000000);
    assert_int_equal(call_with(module, "", &limits, &answer), SYN_OK);
    assert_int_equal(answer.out.end, SYN_WASM_DEADLINE);
}

static void
lack_of_memory_is_told(void **state SYN_UNUSED)
{
    const char *source = COMMAND("(data (i32.const 200) \"hello\\n\")",
                                 "(drop (call $env_sizes (i32.const 24) (i32.const 28)))"
                                 "(call $put (i32.const 2) (i32.const 5))"
                                 "(call $put (i32.const 1) (i32.const 6))");
    int failures = 0;

    if (!wasm)
        skip();
    for (uint64_t nth = 1;; nth++) {
        struct syn_wasm_module *module = NULL;
        struct syn_err err;
        ANSWER(answer);
        bool done;

        syn_mem_fault_arm(nth, true);
        done = syn_wasm_compile(wasm, source, strlen(source), &module, &err) == SYN_OK &&
               call(module, "", &answer) == SYN_OK && answer.out.end == SYN_WASM_DONE;
        syn_mem_fault_arm(0, false);
        module = syn_wasm_module_close(module);
        if (done && answer.body.len == 6 && answer.log.len == 8)
            break;
        failures++;
        assert_true(nth < 100);
    }
    assert_true(failures >= 3);
}

static void
another_library_is_refused(void **state SYN_UNUSED)
{
    struct syn_wasm_options options = {.library = "/nonexistent/libwasmtime.so"};
    struct syn_wasm *none = NULL;
    struct syn_err err;

    assert_int_equal(syn_wasm_open(&options, &none, &err), SYN_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "libwasmtime"));
    options.library = "libc.so.6";
    assert_int_equal(syn_wasm_open(&options, &none, &err), SYN_E_UNSUPPORTED);
    options = (struct syn_wasm_options){.instances_max = SYN_WASM_INSTANCES_MAX + 1};
    assert_int_equal(syn_wasm_open(&options, &none, &err), SYN_E_INVALID);
}

static int
open_engine(void **state SYN_UNUSED)
{
    struct syn_wasm_options options = {.instances_max = INSTANCES};
    struct syn_err err;
    int rc = syn_wasm_open(&options, &wasm, &err);

    if (rc < 0)
        (void)snprintf(missing, sizeof(missing), "%s", err.msg);
    for (size_t i = 0; i < SYN_LEN(signals); i++)
        (void)sigaction(signals[i], NULL, &handlers[i]);
    return rc == SYN_OK || rc == SYN_E_NOTFOUND ? 0 : -1;
}

static int
close_engine(void **state SYN_UNUSED)
{
    wasm = syn_wasm_close(wasm);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(an_answer_without_body_has_a_head),
        cmocka_unit_test(what_is_asked_can_be_read),
        cmocka_unit_test(nothing_is_left_for_the_next),
        cmocka_unit_test(clocks_and_random_bytes_are_there),
        cmocka_unit_test(bad_guests_are_ended),
        cmocka_unit_test(fuel_is_a_limit),
        cmocka_unit_test(memory_stops_growing),
        cmocka_unit_test(a_log_has_an_end),
        cmocka_unit_test(who_does_not_read_ends_it),
        cmocka_unit_test(one_too_many_is_busy),
        cmocka_unit_test(modules_are_looked_at),
        cmocka_unit_test(a_compiled_module_is_kept),
        cmocka_unit_test(a_command_is_a_cgi_program),
        cmocka_unit_test(a_command_may_just_print),
        cmocka_unit_test(a_command_has_an_environment),
        cmocka_unit_test(a_command_sleeps_as_long_as_it_may),
        cmocka_unit_test(threads_call_side_by_side),
        cmocka_unit_test(runs_give_way),
        cmocka_unit_test(an_idle_engine_wakes_up),
        cmocka_unit_test(lack_of_memory_is_told),
        cmocka_unit_test(another_library_is_refused),
    };

    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
