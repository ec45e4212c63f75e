/* Errors as values. A function that can fail returns int and takes `struct syn_err *err` last (may
 * be NULL): 0 done; < 0 a SYN_E_* to forward unchanged; > 0 a condition its header names. */
#ifndef SYNOR_BASE_ERR_H
#define SYNOR_BASE_ERR_H

#include <stdarg.h>

#include <synor/base/core.h>

#ifdef __cplusplus
extern "C" {
#endif

enum syn_errc {
    SYN_OK = 0,
#define SYN_ERROR(symbol, number, wire, http, exit, text) SYN_E_##symbol = -(number),
#include <synor/base/errors.def>
#undef SYN_ERROR
};

/** Why a call failed. Lives on the caller's stack; never allocates. */
struct syn_err {
    int code;         /* enum syn_errc */
    int sys;          /* errno, or 0 */
    int line;         /* where it was raised */
    const char *file; /* static string */
    char msg[232];    /* "outer: inner", truncated at the end; printable UTF-8 whatever went in */
};

/** One row of errors.def. All strings are static. */
struct syn_err_info {
    int code;
    const char *symbol; /* "NOMEM" */
    const char *wire;   /* "out-of-memory" */
    int http;
    int exit;
    const char *text;
};

/** Fill `err` (may be NULL) and return `code`: `return SYN_FAIL(err, SYN_E_INVALID, "bad %s", x);`
 */
#define SYN_FAIL(err, code, ...) \
    SYN_FAILED(syn_err_set((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__))
/** The same with an errno value kept beside; ENOSPC, EDQUOT and ENOMEM choose their own code. */
#define SYN_FAIL_SYS(err, errnum, ...) \
    SYN_FAILED(                        \
        syn_err_set((err), syn_err_from_errno(errnum), (errnum), __FILE__, __LINE__, __VA_ARGS__))
/* Tells the analyzer what syn_err_set() asserts: the result is negative. */
#ifdef __clang_analyzer__
#define SYN_FAILED(call)             \
    __extension__({                  \
        int syn_failed_ = (call);    \
        if (syn_failed_ >= 0)        \
            __builtin_unreachable(); \
        syn_failed_;                 \
    })
#else
#define SYN_FAILED(call) (call)
#endif

/** Fill `err` (may be NULL). Returns `code`, which must be < 0. With `sys` != 0 its text is added.
 */
SYN_API int syn_err_set(struct syn_err *err, int code, int sys, const char *file, int line,
                        const char *format, ...) SYN_PRINTF(6, 7);
/** Put "format: " before the message of `err` (may be NULL). Returns `code` unchanged. */
SYN_API int syn_err_wrap(struct syn_err *err, int code, const char *format, ...) SYN_PRINTF(3, 4);
/** Map an errno to a SYN_E_* code: ENOSPC/EDQUOT -> NOSPACE, ENOMEM -> NOMEM, ENOENT -> NOTFOUND,
 * ... */
SYN_API int syn_err_from_errno(int errnum);
/** The row of `code`; unknown codes give INTERNAL's row. Never NULL. */
SYN_API const struct syn_err_info *syn_err_info(int code);
/** The row with this wire name, or NULL. */
SYN_API const struct syn_err_info *syn_err_info_by_wire(const char *wire);
/** Rows in number order; `*ret_count` of them. */
SYN_API const struct syn_err_info *syn_err_table(size_t *ret_count);

#ifdef __cplusplus
}
#endif
#endif
