/* Exact arithmetic on unsigned 128-bit integers: quantities, and their products with prices. */
#ifndef SYNOR_MARKET_EXACT_PRIV_H
#define SYNOR_MARKET_EXACT_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_EXACT_TEXT_MAX 40 /* 39 digits and the terminator */
#define SYN_EXACT_MAX      (~(syn_u128)0)

/* False, and *ret untouched, when the result needs more than 128 bits. */
SYN_MUST bool syn_exact_add(syn_u128 a, syn_u128 b, syn_u128 *ret);
SYN_MUST bool syn_exact_mul(syn_u128 a, syn_u128 b, syn_u128 *ret);
SYN_MUST bool syn_exact_lcm(syn_u128 a, syn_u128 b, syn_u128 *ret);

syn_u128 syn_exact_gcd(syn_u128 a, syn_u128 b);
/** floor(a * b / c) through a 256-bit product; SYN_EXACT_MAX when it is larger. c > 0. */
syn_u128 syn_exact_muldiv(syn_u128 a, syn_u128 b, syn_u128 c);

/** Decimal text into out[SYN_EXACT_TEXT_MAX]; returns out. */
const char *syn_exact_format(syn_u128 value, char *out);
/** Decimal digits only, no leading zero. INVALID names `what`. */
SYN_MUST int syn_exact_parse(const char *text, const char *what, syn_u128 *ret,
                             struct syn_err *err);

#endif
