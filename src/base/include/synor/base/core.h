/* Language helpers that every file uses: attributes, scope cleanup, ownership transfer. */
#ifndef SYNOR_BASE_CORE_H
#define SYNOR_BASE_CORE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The result must be looked at. */
#define SYN_MUST __attribute__((warn_unused_result))
/** printf-like: argument `f` is the format, the values start at `a`. */
#define SYN_PRINTF(f, a) __attribute__((format(printf, f, a)))
/** Call `fn(&variable)` when the variable leaves its scope. */
#define SYN_SCOPED(fn) __attribute__((cleanup(fn)))
/** Deliberately unused. */
#define SYN_UNUSED __attribute__((unused))
/** Visible from the shared library. */
#define SYN_API __attribute__((visibility("default")))

/** A thread's variable that is reached without a call, also from the shared library. */
#define SYN_TLS_FAST __attribute__((tls_model("initial-exec")))

/** Take the pointer out of `p` and leave NULL: the scope no longer owns it. */
#define SYN_TAKE(p)                     \
    __extension__({                     \
        __typeof__(p) syn_taken_ = (p); \
        (p) = NULL;                     \
        syn_taken_;                     \
    })

#define SYN_LEN(array)            (sizeof(array) / sizeof((array)[0]))
#define SYN_BIT(n)                (UINT32_C(1) << (n))
#define SYN_MIN(a, b)             ((a) < (b) ? (a) : (b))
#define SYN_MAX(a, b)             ((a) > (b) ? (a) : (b))
#define SYN_CONTAINER(p, type, m) ((type *)(void *)((char *)(p)-offsetof(type, m)))

/** 128-bit integers for exact products of usage and price. */
__extension__ typedef __int128 syn_i128;
__extension__ typedef unsigned __int128 syn_u128;

#endif
