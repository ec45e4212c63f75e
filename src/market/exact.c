#include "exact_priv.h"

bool
syn_exact_add(syn_u128 a, syn_u128 b, syn_u128 *ret)
{
    if (a > SYN_EXACT_MAX - b)
        return false;
    *ret = a + b;
    return true;
}

bool
syn_exact_mul(syn_u128 a, syn_u128 b, syn_u128 *ret)
{
    if (b != 0 && a > SYN_EXACT_MAX / b)
        return false;
    *ret = a * b;
    return true;
}

syn_u128
syn_exact_gcd(syn_u128 a, syn_u128 b)
{
    while (b != 0) {
        syn_u128 rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

bool
syn_exact_lcm(syn_u128 a, syn_u128 b, syn_u128 *ret)
{
    assert(a > 0 && b > 0);
    return syn_exact_mul(a / syn_exact_gcd(a, b), b, ret);
}

/* The product's bits enter from the top, as in long division: with q and r the quotient and rest so
 * far, each bit of b doubles a*b's prefix and may add a. r stays below c, and doubling or adding
 * past 128 bits is seen before it happens. */
syn_u128
syn_exact_muldiv(syn_u128 a, syn_u128 b, syn_u128 c)
{
    syn_u128 whole = a / c, part = a % c, quotient = 0, rest = 0, product;

    assert(c > 0);
    if (!syn_exact_mul(whole, b, &product)) /* a = whole * c + part */
        return SYN_EXACT_MAX;
    for (int bit = 127; bit >= 0; bit--) {
        bool carry = rest >= c - rest; /* 2 * rest >= c */

        quotient = quotient * 2 + carry;
        rest = carry ? rest - (c - rest) : rest * 2;
        if ((b >> bit & 1) != 0) {
            carry = rest >= c - part;
            quotient += carry;
            rest = carry ? rest - (c - part) : rest + part;
        }
    }
    return syn_exact_add(product, quotient, &product) ? product : SYN_EXACT_MAX;
}

const char *
syn_exact_format(syn_u128 value, char *out)
{
    char digits[SYN_EXACT_TEXT_MAX];
    size_t at = sizeof(digits);

    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value != 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return out;
}

int
syn_exact_parse(const char *text, const char *what, syn_u128 *ret, struct syn_err *err)
{
    syn_u128 value = 0;
    size_t len = strnlen(text, SYN_EXACT_TEXT_MAX);

    if (len == 0 || len == SYN_EXACT_TEXT_MAX || (text[0] == '0' && len > 1))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: '%.48s' is not a whole number", what, text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || !syn_exact_mul(value, 10, &value) ||
            !syn_exact_add(value, (syn_u128)(text[i] - '0'), &value))
            return SYN_FAIL(err, SYN_E_INVALID, "%s: '%.48s' is not a whole number below 2^128",
                            what, text);
    }
    *ret = value;
    return SYN_OK;
}
