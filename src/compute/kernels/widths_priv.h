/* Functions with vectors, one set for each width and number format:
 *
 *     #define SYN_BODY "axpy_body_priv.h"
 *     #include "widths_priv.h"
 *
 * The body is included once for every pair, with
 *
 *     T           float, double, and with SYN_BODY_INTEGERS also uint32_t, uint64_t
 *     FLOATING    1 for the first two, else 0
 *     SIGNED      what numbers are compared as: T, or the signed integer
 *     VEC_BYTES   16, 32, 64
 *     LANES       numbers in a vector
 *     TARGET      attributes of every function
 *     NAME(x)     the function's name for this pair
 *     vec, ivec   VEC_BYTES of T, at any address of a T; of signed integers as wide
 *
 * and SYN_WIDTHS_OF(x, T) afterwards is a row of pointers by enum SYN_WIDTH_x, for
 * syn_vector_width() to choose from. Integers are unsigned, for sums that wrap. No header guard:
 * that is the point. */
#ifndef SYN_COMPUTE_WIDTHS_PRIV_H
#define SYN_COMPUTE_WIDTHS_PRIV_H

#include "kernels_priv.h"

#define SYN_JOIN4_(a, b, c, d) a##_##b##_##c
#define SYN_JOIN4(a, b, c, d)  SYN_JOIN4_(a, b, c, d)
#define NAME(x)                SYN_JOIN4(x, T, VEC_BYTES, )
#define LANES                  (VEC_BYTES / sizeof(T))
#define vec                    NAME(vec)
#define ivec                   NAME(ivec)

/* The address sanitizer's frames are not aligned to wide vectors. */
#define SYN_VECTORS __attribute__((no_sanitize_address))

#if defined(__x86_64__)
#define SYN_WIDTHS_OF(x, T)                                           \
    {                                                                 \
        [SYN_WIDTH_16] = x##_##T##_16, [SYN_WIDTH_32] = x##_##T##_32, \
        [SYN_WIDTH_64] = x##_##T##_64                                 \
    }
#else
#define SYN_WIDTHS_OF(x, T)           \
    {                                 \
        [SYN_WIDTH_16] = x##_##T##_16 \
    }
#endif
#endif

#define VEC_BYTES 16
#define TARGET    SYN_VECTORS
#include "formats_priv.h"
#undef TARGET
#undef VEC_BYTES

#if defined(__x86_64__)
#define VEC_BYTES 32
#define TARGET    SYN_VECTORS __attribute__((target("avx2,fma")))
#include "formats_priv.h"
#undef TARGET
#undef VEC_BYTES

#define VEC_BYTES 64
#define TARGET    SYN_VECTORS __attribute__((target("avx512f")))
#include "formats_priv.h"
#undef TARGET
#undef VEC_BYTES
#endif

#undef SYN_BODY
