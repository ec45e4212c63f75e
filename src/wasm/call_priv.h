/* One call of a guest, as its host functions see it. */
#ifndef SYN_WASM_CALL_PRIV_H
#define SYN_WASM_CALL_PRIV_H

#include <synor/base/buf.h>
#include <synor/wasm/wasm.h>

#include "wasmtime_priv.h"

struct wasm_call {
    const struct wt_api *api;
    const struct syn_wasm_request *request;
    const struct syn_wasm_limits *limits;
    const struct syn_wasm_sink *sink;
    void *ctx;
    struct syn_err *err; /* of the step under way */
    struct syn_wasm_outcome *out;
    int64_t wake_ns; /* the guest sleeps until then; 0: it does not */

    struct wt_memory memory;
    bool memory_known;
    bool ended;    /* by a host function: out->end, and for a sink's failure rc, say how */
    int rc;        /* what the sink returned */
    size_t asked;  /* bytes of the body that WASI has read */
    int64_t wrote; /* bytes of the answer's body */
    int64_t logged;

    int status;
    size_t header_count, header_bytes;
    struct syn_buf cgi; /* a command's output until its head is known */
    bool cgi_known;
    struct syn_buf line; /* a command's errors until the end of the line */
    struct syn_buf environment;
    size_t environment_count;

    struct syn_wasm_header headers[SYN_WASM_HEADERS_MAX];
    char header_text[SYN_WASM_HEADER_BYTES_MAX];
};

/** What a host function is: `signature` has a letter for each parameter and, after the colon, for
 * each result: i is 32 bits, I is 64. */
struct wasm_host_row {
    const char *name;
    const char *signature;
    wt_host_fn *fn;
    wt_wait_fn *wait; /* instead of fn, where the guest may have to wait */
};

/** Our contract, module "synor". */
extern const struct wasm_host_row wasm_own_rows[];
extern const size_t wasm_own_row_count;
/** WASI preview 1, module "wasi_snapshot_preview1". */
extern const struct wasm_host_row wasm_wasi_rows[];
extern const size_t wasm_wasi_row_count;

/** The call that `caller` belongs to; `env` is the struct wt_api. */
struct wasm_call *wasm_call_of(void *env, struct wt_caller *caller);
/** The guest's memory from `at` on, or NULL if not all of `size` bytes are there. Valid until the
 * guest runs again. */
void *wasm_guest(struct wasm_call *call, struct wt_caller *caller, uint32_t at, uint32_t size);
/** A trap for memory that is not there. */
struct wt_trap *wasm_bad_memory(struct wasm_call *call);
/** A trap that ends the guest so. */
struct wt_trap *wasm_end(struct wasm_call *call, enum syn_wasm_end end);

/** False: it is no status, or the head was sent. */
bool wasm_set_status(struct wasm_call *call, int status);
/** False: no header's name or value, one too many, or the head was sent. Copied. */
bool wasm_add_header(struct wasm_call *call, struct syn_wasm_text name, struct syn_wasm_text value);
/** NULL, or the trap that ends the guest: too much, or the sink does not want it. */
struct wt_trap *wasm_write(struct wasm_call *call, const void *bytes, size_t size);
/** Send the head if it was not. Negative: what the sink returned. */
SYN_MUST int wasm_send_head(struct wasm_call *call);
/** Log lines, cut at line ends and SYN_WASM_LOG_LINE_MAX, up to the limit. */
void wasm_log(struct wasm_call *call, enum syn_wasm_level level, const char *text, size_t size);

/** WASI: what a command wrote and was not passed on yet. Negative: what the sink returned. */
SYN_MUST int wasm_wasi_finish(struct wasm_call *call);

#endif
