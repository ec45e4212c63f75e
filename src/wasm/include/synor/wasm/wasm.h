/* WebAssembly guests: a module is compiled once, and each call of it gets an instance of its own
 * that is dropped when the call ends, so nothing of one call is there for the next.
 *
 * The engine is Wasmtime 48 (LTS), loaded at run time: without it everything else works, and
 * syn_wasm_open() says what is missing. A guest can do what the rows of host.c and wasi.c
 * list and nothing else: no files, no network, no threads. Two contracts: ours (module "synor", a
 * function `synor_handle`), and WASI preview 1 as a CGI-like command (`_start`).
 *
 * Limits are always on: memory, tables, fuel (a count of instructions, exact), time, what it
 * answers and logs. Wasmtime interrupts code, not host calls, so each of ours ends by itself.
 *
 * Memory: each instance has 4 GiB of addresses and a guard behind them, reserved at
 * syn_wasm_open(); only what a guest touches is there. Signals: Wasmtime handles SIGSEGV, SIGILL,
 * SIGFPE and SIGBUS of its own code, and passes the others on. */
#ifndef SYNOR_WASM_WASM_H
#define SYNOR_WASM_WASM_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** Instances at a time, unless said otherwise. */
#define SYN_WASM_INSTANCES 256
/** Most that options may ask for: 4 TiB of addresses. */
#define SYN_WASM_INSTANCES_MAX 1000
/** Bytes of a module. */
#define SYN_WASM_MODULE_MAX (INT64_C(64) << 20)
/** The stack of a guest, of its own, and what the host's functions and the sink have of it more. */
#define SYN_WASM_STACK_BYTES      (512 << 10)
#define SYN_WASM_HOST_STACK_BYTES (256 << 10)
/** Headers of a request or an answer, and bytes of all their names and values. */
#define SYN_WASM_HEADERS_MAX      64
#define SYN_WASM_HEADER_BYTES_MAX (16 << 10)
/** Bytes of one line in the log; what is longer is cut into several. */
#define SYN_WASM_LOG_LINE_MAX 4096
/** How long a guest runs before it gives way: between nothing and this. */
#define SYN_WASM_TICK_NS INT64_C(1000000)
/** The guest gave way before its end. */
#define SYN_WASM_PENDING 1

struct syn_wasm;
struct syn_wasm_module;
struct syn_wasm_run;

struct syn_wasm_options {
    const char *library;    /* path of libwasmtime.so, or NULL: where scripts/setup puts it */
    uint32_t instances_max; /* 0: SYN_WASM_INSTANCES */
};

/** Text that need not end in NUL. */
struct syn_wasm_text {
    const char *at;
    size_t size;
};

struct syn_wasm_header {
    struct syn_wasm_text name, value;
};

/** What is asked of a guest. Borrowed for the call. */
struct syn_wasm_request {
    struct syn_wasm_text id, method, path, query; /* query without its '?' */
    const struct syn_wasm_header *headers;
    size_t header_count;
    struct syn_wasm_text body;
    const char *const *environment; /* "NAME=value", NULL-ended; may be NULL */
};

struct syn_wasm_limits {
    int64_t memory_bytes;   /* of all its memories: whole 64 KiB pages count */
    int64_t table_elements; /* of each table */
    uint64_t fuel;          /* instructions, about */
    int64_t deadline_ns;    /* on syn_clock_ns() */
    int64_t response_bytes; /* of the body */
    int64_t log_bytes;      /* what is more is dropped, and told in the outcome */
};

enum syn_wasm_level { SYN_WASM_DEBUG, SYN_WASM_INFO, SYN_WASM_WARNING, SYN_WASM_ERROR };

/** Where an answer goes. Called on the thread of the step, within it; a negative result ends the
 * guest and is returned from the step. */
struct syn_wasm_sink {
    /** Once, before the first body(), or at the end if there is no body. Borrowed for the call. */
    int (*head)(void *ctx, int status, const struct syn_wasm_header *headers, size_t count,
                struct syn_err *err);
    int (*body)(void *ctx, const void *bytes, size_t size, struct syn_err *err);
    /** One line without its end; UTF-8 is not promised. */
    void (*log)(void *ctx, enum syn_wasm_level level, const char *line, size_t size);
};

enum syn_wasm_end {
    SYN_WASM_DONE,     /* answered */
    SYN_WASM_FAILED,   /* said so itself: a result, or an exit status, other than 0 */
    SYN_WASM_TRAPPED,  /* did what is not allowed: `why` has the trap and the guest's stack */
    SYN_WASM_DEADLINE, /* time is up */
    SYN_WASM_FUEL,     /* fuel is used up */
    SYN_WASM_MEMORY,   /* its memory at the start is more than it may have */
    SYN_WASM_TOO_MUCH, /* answered more than it may */
};

/** How a call ended. */
struct syn_wasm_outcome {
    enum syn_wasm_end end;
    int status;           /* FAILED: the result or exit status */
    bool head_sent;       /* the sink has seen head() */
    int64_t create_ns;    /* instance made */
    int64_t run_ns;       /* guest's code, host calls included */
    int64_t memory_bytes; /* of its first memory at the end; it never shrinks */
    uint64_t fuel_used;
    int64_t log_dropped_bytes;
    char why[1024]; /* for people; "" when DONE */
};

/** The name of `end` as records have it: "done", "failed", ... Static. */
const char *syn_wasm_end_name(enum syn_wasm_end end);

/**
 * Load Wasmtime and reserve the instances' addresses.
 *
 * Owner: the caller. Thread: any.
 * Returns 0; SYN_E_NOTFOUND (the library is not there: where it was looked for is said);
 * SYN_E_UNSUPPORTED (another version of it, or not so many addresses); SYN_E_NOMEM.
 */
SYN_MUST int syn_wasm_open(const struct syn_wasm_options *options, struct syn_wasm **ret_wasm,
                           struct syn_err *err);
/** All modules must be closed. Returns NULL. */
struct syn_wasm *syn_wasm_close(struct syn_wasm *wasm);

/**
 * Compile a module (binary, or its text form) and tie its imports. Takes about a second a MB.
 *
 * Owner: the caller. Thread: any; the module may be called from many threads at a time.
 * Returns 0; SYN_E_INVALID (no valid module, or it wants what it cannot have: which import);
 * SYN_E_TOOBIG; SYN_E_NOMEM.
 */
SYN_MUST int syn_wasm_compile(struct syn_wasm *wasm, const void *bytes, size_t size,
                              struct syn_wasm_module **ret_module, struct syn_err *err);
/**
 * Write the compiled module to the new file `path`, whole or not at all. It is machine code: who
 * can change the file can do anything, so it belongs where only we can write.
 *
 * Returns 0; SYN_E_IO, SYN_E_NOSPACE, SYN_E_NOMEM.
 */
SYN_MUST int syn_wasm_save(const struct syn_wasm_module *module, const char *path,
                           struct syn_err *err);
/**
 * Map back what syn_wasm_save() wrote.
 *
 * Returns 0; SYN_E_NOTFOUND; SYN_E_INVALID (written by another version, for another processor, or
 * no such file): compile anew.
 */
SYN_MUST int syn_wasm_load(struct syn_wasm *wasm, const char *path,
                           struct syn_wasm_module **ret_module, struct syn_err *err);
struct syn_wasm_module *syn_wasm_module_close(struct syn_wasm_module *module);

/**
 * Begin to answer one request with a fresh instance; nothing runs yet.
 *
 * Owner: the caller, of *ret_run. `request` with what it points to, `sink` and `ctx` are kept until
 * syn_wasm_run_free(); `limits` are copied.
 * Returns 0; SYN_E_LIMIT (instances_max are under way); SYN_E_NOMEM.
 */
SYN_MUST int syn_wasm_begin(struct syn_wasm_module *module, const struct syn_wasm_request *request,
                            const struct syn_wasm_limits *limits, const struct syn_wasm_sink *sink,
                            void *ctx, struct syn_wasm_run **ret_run, struct syn_err *err);
/**
 * Let the guest run on, for SYN_WASM_TICK_NS at most. Not again after another result than PENDING.
 *
 * Thread: any, one at a time; which may change from step to step. Blocks: no longer than that, and
 * than the sink does.
 * Returns 0, however the guest ended; SYN_WASM_PENDING; what the sink returned; SYN_E_NOMEM.
 */
SYN_MUST int syn_wasm_step(struct syn_wasm_run *run, struct syn_err *err);
/** After SYN_WASM_PENDING: when, on syn_clock_ns(), the next step is of use; 0: at once. */
int64_t syn_wasm_wake_ns(const struct syn_wasm_run *run);
/** After syn_wasm_step() returned 0. Borrowed until syn_wasm_run_free(). */
const struct syn_wasm_outcome *syn_wasm_outcome(const struct syn_wasm_run *run);
/** End the guest wherever it is, and forget it. Returns NULL. */
struct syn_wasm_run *syn_wasm_run_free(struct syn_wasm_run *run);

/** All steps of a run at once, on this thread. Blocks until the guest has ended, at most 10 ms
 * longer than the deadline. Returns as syn_wasm_begin() and syn_wasm_step(), but not PENDING. */
SYN_MUST int syn_wasm_call(struct syn_wasm_module *module, const struct syn_wasm_request *request,
                           const struct syn_wasm_limits *limits, const struct syn_wasm_sink *sink,
                           void *ctx, struct syn_wasm_outcome *ret_outcome, struct syn_err *err);

#endif
