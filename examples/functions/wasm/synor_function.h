/* What a function of WebAssembly may call, and what it has to have, to be deployed with
 *
 *     synor compute function deploy --name NAME --runtime wasm --code MODULE.wasm
 *
 * Build it without a C library:
 *
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o hello.wasm hello.c
 *
 * or with one (wasi-libc; no main, so -mexec-model=reactor). The module exports its memory as
 * "memory", as every linker does, and synor_handle(). Each call gets an instance of its own, with
 * memory as the module has it in the beginning: what one call leaves behind no other sees. An
 * `_initialize` is not called.
 *
 * Every function returns at once. Memory that is not the guest's ends the call. Names and values
 * are UTF-8 or ASCII without a zero at the end; sizes are in bytes. */
#ifndef SYNOR_FUNCTION_H
#define SYNOR_FUNCTION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYNOR_IMPORT(name) __attribute__((import_module("synor"), import_name(name)))
/** Before the definition of synor_handle(). */
#define SYNOR_EXPORT __attribute__((export_name("synor_handle"), used))

/** Parts of the request, for synor_request_get(). */
enum {
    SYNOR_ID,     /* of the invocation */
    SYNOR_METHOD, /* "GET"; of triggers other than http "POST" */
    SYNOR_PATH,   /* "/api/7" */
    SYNOR_QUERY,  /* what follows '?', without it */
    SYNOR_BODY
};

enum { SYNOR_DEBUG, SYNOR_INFO, SYNOR_WARNING, SYNOR_ERROR };

/** Answer the request. Yours. Returns 0; with anything else the call has failed, and the client
 * gets a 500 unless the answer has begun. */
int32_t synor_handle(void);

/** Copy up to `cap` bytes of a part, from byte `from` on, to `at`. Returns the bytes that the whole
 * part has, so ask with a `cap` of 0 for its size; -1: there is no such part. */
SYNOR_IMPORT("request_get")
int32_t synor_request_get(int32_t part, uint32_t from, void *at, uint32_t cap);
/** Copy up to `cap` bytes of header number `index`, as "name: value". Returns the bytes that it
 * has; -1: there are not so many. */
SYNOR_IMPORT("request_header")
int32_t synor_request_header(uint32_t index, void *at, uint32_t cap);
/** Copy up to `cap` bytes of the value of the first header of this name, whose case does not
 * matter. Returns the bytes that it has; -1: there is none. */
SYNOR_IMPORT("request_header_named")
int32_t synor_request_header_named(const char *name, uint32_t name_size, void *at, uint32_t cap);
/** Likewise of an environment variable: --env, --secret. */
SYNOR_IMPORT("environment")
int32_t synor_environment(const char *name, uint32_t name_size, void *at, uint32_t cap);

/** Answer with this status, 200 to 599; without it 200. Returns 0; -1: wrong, or it is too late,
 * since something was written. */
SYNOR_IMPORT("response_status") int32_t synor_response_status(int32_t status);
/** Add a header to the answer. Returns 0; -1: not what a header may be, too many, or too late. */
SYNOR_IMPORT("response_header")
int32_t synor_response_header(const char *name, uint32_t name_size, const char *value,
                              uint32_t value_size);
/** Append to the answer's body; the first call sends status and headers off. More than the function
 * may answer (--max-response) ends the call. */
SYNOR_IMPORT("response_write") void synor_response_write(const void *at, uint32_t size);

/** Append a line, or several, to the function's log. */
SYNOR_IMPORT("log") void synor_log(int32_t level, const char *text, uint32_t size);
/** Milliseconds since 1970. */
SYNOR_IMPORT("time_ms") int64_t synor_time_ms(void);
/** Milliseconds until the call is ended (--timeout). */
SYNOR_IMPORT("remaining_ms") int64_t synor_remaining_ms(void);
/** Fill memory with random bytes. Returns 0; -1: more than 65,536 were asked for. */
SYNOR_IMPORT("random") int32_t synor_random(void *at, uint32_t size);

#ifdef __cplusplus
}
#endif
#endif
