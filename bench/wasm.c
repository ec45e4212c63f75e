/* Guests of WebAssembly: what a call with an instance of its own costs, beside the cheapest other
 * way to a clean slate, a fork; and how late a guest that does not stop is stopped. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/wasm/wasm.h>

#define ROUNDS  11
#define CALLS   2000
#define FORKS   200
#define RUNAWAY 10

static const char hello[] =
    "(module (import \"synor\" \"response_write\" (func $write (param i32 i32)))"
    "(memory (export \"memory\") 2) (data (i32.const 0) \"hello, world\\n\")"
    "(func (export \"synor_handle\") (result i32) (call $write (i32.const 0) (i32.const 13))"
    " (i32.const 0)))";
static const char command[] =
    "(module (import \"wasi_snapshot_preview1\" \"fd_write\""
    " (func $write (param i32 i32 i32 i32) (result i32)))"
    "(memory (export \"memory\") 2) (data (i32.const 100) \"hello, world\\n\")"
    "(data (i32.const 0) \"\\64\\00\\00\\00\\0d\\00\\00\\00\")"
    "(func (export \"_start\") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1)"
    " (i32.const 16)))))";
static const char endless[] = "(module (memory (export \"memory\") 1)"
                              "(func (export \"synor_handle\") (result i32)"
                              " (loop $l (br $l)) (i32.const 0)))";

static int
on_head(void *ctx, int status, const struct syn_wasm_header *headers SYN_UNUSED,
        size_t count SYN_UNUSED, struct syn_err *err SYN_UNUSED)
{
    *(size_t *)ctx += status == 200;
    return SYN_OK;
}

static int
on_body(void *ctx, const void *bytes SYN_UNUSED, size_t size, struct syn_err *err SYN_UNUSED)
{
    *(size_t *)ctx += size;
    return SYN_OK;
}

static void
on_log(void *ctx SYN_UNUSED, enum syn_wasm_level level SYN_UNUSED, const char *line SYN_UNUSED,
       size_t size SYN_UNUSED)
{
}

static const struct syn_wasm_sink sink = {on_head, on_body, on_log};

static int
by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static int64_t
quantile(int64_t *values, size_t count, size_t of_1000)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[SYN_MIN(count - 1, count * of_1000 / 1000)];
}

static struct syn_wasm_outcome
call(struct syn_wasm_module *module, int64_t span_ns)
{
    const struct syn_wasm_request request = {.method = {"GET", 3}, .path = {"/", 1}};
    const struct syn_wasm_limits limits = {
        .memory_bytes = 128 << 20,
        .table_elements = 10000,
        .fuel = UINT64_MAX / 2,
        .deadline_ns = syn_clock_ns() + span_ns,
        .response_bytes = 1 << 20,
        .log_bytes = 1 << 16,
    };
    struct syn_wasm_outcome out;
    struct syn_err err;
    size_t got = 0;

    if (syn_wasm_call(module, &request, &limits, &sink, &got, &out, &err) < 0) {
        (void)fprintf(stderr, "bench_wasm: %s\n", err.msg);
        exit(1);
    }
    if (out.end == SYN_WASM_DONE && got != 14) {
        (void)fprintf(stderr, "bench_wasm: a wrong answer\n");
        exit(1);
    }
    return out;
}

static struct syn_wasm_module *
compile(struct syn_wasm *wasm, const char *source)
{
    struct syn_wasm_module *module = NULL;
    struct syn_err err;

    if (syn_wasm_compile(wasm, source, strlen(source), &module, &err) < 0) {
        (void)fprintf(stderr, "bench_wasm: %s\n", err.msg);
        exit(1);
    }
    return module;
}

static int64_t
cpu_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct figures {
    int64_t p50_ns, p99_ns, cpu_ns;
};

static struct figures
calls(struct syn_wasm_module *module)
{
    static int64_t times[CALLS];
    struct figures ret;
    int64_t cpu = cpu_ns();

    for (size_t i = 0; i < CALLS; i++) {
        int64_t began = syn_clock_ns();

        (void)call(module, 1000000000);
        times[i] = syn_clock_ns() - began;
    }
    ret.cpu_ns = (cpu_ns() - cpu) / CALLS;
    ret.p50_ns = quantile(times, CALLS, 500);
    ret.p99_ns = quantile(times, CALLS, 990);
    return ret;
}

static int64_t
forks(void)
{
    int64_t times[FORKS];

    for (size_t i = 0; i < FORKS; i++) {
        int64_t began = syn_clock_ns();
        pid_t pid = fork();
        int status;

        if (pid == 0)
            _exit(0);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
        times[i] = syn_clock_ns() - began;
    }
    return quantile(times, FORKS, 500);
}

/* A process of the size that we have before the engine is there forks when it is asked to. */
static int
start_forker(void)
{
    int pair[2];
    char word;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    if (fork() != 0) {
        (void)close(pair[1]);
        return pair[0];
    }
    (void)close(pair[0]);
    while (read(pair[1], &word, 1) == 1) {
        int64_t median = forks();

        if (write(pair[1], &median, sizeof(median)) != (ssize_t)sizeof(median))
            break;
    }
    _exit(0);
}

static int64_t
ask_forker(int forker)
{
    int64_t median;

    if (write(forker, "f", 1) != 1 ||
        read(forker, &median, sizeof(median)) != (ssize_t)sizeof(median)) {
        (void)fprintf(stderr, "bench_wasm: the process that forks is gone\n");
        exit(1);
    }
    return median;
}

/* Median of the rounds, which are interleaved. */
static void
line(const char *name, int64_t *ours, int64_t *theirs, int64_t goal_ns)
{
    int64_t mine = quantile(ours, ROUNDS, 500), other = quantile(theirs, ROUNDS, 500);
    int64_t ratio = mine * 1000 / SYN_MAX(other, 1);

    printf("%s\t%" PRId64 ".%02" PRId64 "\tus\tfork\t%" PRId64 ".%02" PRId64 "\t%" PRId64
           ".%03" PRId64 "\t<= %" PRId64 " us\t%s\n",
           name, mine / 1000, mine % 1000 / 10, other / 1000, other % 1000 / 10, ratio / 1000,
           ratio % 1000, goal_ns / 1000, mine <= goal_ns ? "ok" : "short");
    (void)fprintf(stderr, "%s: %" PRId64 " to %" PRId64 " ns\n", name, ours[0], ours[ROUNDS - 1]);
}

static void
runaway(struct syn_wasm_module *module)
{
    int64_t late[RUNAWAY], worst;

    for (size_t i = 0; i < RUNAWAY; i++) {
        int64_t began = syn_clock_ns();

        (void)call(module, 20000000);
        late[i] = syn_clock_ns() - began - 20000000;
    }
    worst = quantile(late, RUNAWAY, 1000);
    printf("wasm_runaway_late\t%" PRId64 ".%02" PRId64 "\tms\tits deadline\t0\t\t<= 10 ms\t%s\n",
           worst / 1000000, worst % 1000000 / 10000, worst <= 10000000 ? "ok" : "short");
}

int
main(void)
{
    static int64_t p50[ROUNDS], p99[ROUNDS], cpu[ROUNDS], wasi[ROUNDS], fork_ns[ROUNDS];
    const struct syn_wasm_options options = {0};
    struct syn_wasm_module *own, *wasi_module, *loop;
    struct syn_wasm *wasm = NULL;
    struct syn_err err;
    int forker = start_forker();

    if (syn_wasm_open(&options, &wasm, &err) < 0) {
        (void)fprintf(stderr, "bench_wasm: %s\n", err.msg);
        return 1;
    }
    own = compile(wasm, hello);
    wasi_module = compile(wasm, command);
    loop = compile(wasm, endless);
    (void)calls(own);
    for (size_t i = 0; i < ROUNDS; i++) {
        struct figures figures = calls(own);

        p50[i] = figures.p50_ns;
        p99[i] = figures.p99_ns;
        cpu[i] = figures.cpu_ns;
        wasi[i] = calls(wasi_module).p50_ns;
        fork_ns[i] = ask_forker(forker);
    }
    line("wasm_call_p50", p50, fork_ns, 30000);
    line("wasm_call_p99", p99, fork_ns, 100000);
    line("wasm_call_cpu", cpu, fork_ns, 30000);
    line("wasm_command_p50", wasi, fork_ns, 30000);
    runaway(loop);
    (void)syn_wasm_module_close(own);
    (void)syn_wasm_module_close(wasi_module);
    (void)syn_wasm_module_close(loop);
    (void)syn_wasm_close(wasm);
    (void)close(forker);
    while (waitpid(-1, NULL, 0) < 0 && errno == EINTR)
        continue;
    return 0;
}
