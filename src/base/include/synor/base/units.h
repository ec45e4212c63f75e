/* Units people write and read: bytes, durations, CPU, SYNOR amounts. Parsers are exact: a value
 * that is not a whole number of the base unit is refused, never rounded. */
#ifndef SYNOR_BASE_UNITS_H
#define SYNOR_BASE_UNITS_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** 1 SYNOR in base units. Amounts are int64_t base units everywhere. */
#define SYN_SYNOR INT64_C(1000000000)
/** Largest amount anyone may name: 4,000,000,000 SYNOR. The sum of two fits int64_t. */
#define SYN_AMOUNT_MAX (INT64_C(4000000000) * SYN_SYNOR)
#define SYN_FORMAT_MAX 48

/** "512", "64kb", "4gb", "4GiB", "1.5gb": k/m/g/t and kb/kib/... all mean powers of 1024, as docker
 * does. */
SYN_MUST int syn_parse_bytes(const char *text, const char *what, int64_t *ret, struct syn_err *err);
/** "250ms", "30s", "5m", "2h", "7d", or a chain "1h30m"; a bare number is seconds. */
SYN_MUST int syn_parse_duration_ms(const char *text, const char *what, int64_t *ret,
                                   struct syn_err *err);
/** "2" cores, "0.5", "250m" -> millicores. */
SYN_MUST int syn_parse_cpus(const char *text, const char *what, int64_t *ret_millicores,
                            struct syn_err *err);
/** "100mbit", "1gbit", "2.5gbit", "64kbit"; a bare number is bits a second; k, m and g are powers
 * of 1000. */
SYN_MUST int syn_parse_rate(const char *text, const char *what, int64_t *ret_bps,
                            struct syn_err *err);
/** "10", "0.000000001" SYNOR -> base units; at most 9 decimals, 0 .. SYN_AMOUNT_MAX. */
SYN_MUST int syn_parse_amount(const char *text, const char *what, int64_t *ret,
                              struct syn_err *err);

/** A share of an amount: floor(amount * bps / 10000); amount >= 0, 0 <= bps <= 10000. Exact. */
static inline int64_t
syn_amount_share(int64_t amount, int64_t bps)
{
    assert(amount >= 0 && bps >= 0 && bps <= 10000);
    return (int64_t)((syn_i128)amount * bps / 10000);
}

/** The word for so many: "worker" for 1, else "workers". */
static inline const char *
syn_plural(int64_t count, const char *one, const char *many)
{
    return count == 1 ? one : many;
}

/** Each writes into out[SYN_FORMAT_MAX] and returns out. */
const char *syn_format_bytes(int64_t bytes, char *out); /* "1.5 GiB" */
const char *syn_format_duration(int64_t ms, char *out); /* "1h02m", "3.2s", "15ms" */
const char *syn_format_amount(int64_t amount,
                              char *out);            /* "10.5", "-0.000000001": exact, no unit */
const char *syn_format_rate(int64_t bps, char *out); /* "2.5 Gbit/s" */
const char *syn_format_cpus(int64_t millicores, char *out); /* "2", "0.5" */
/** "2026-11-23T19:58:57.123Z"; ms since the epoch, years 1970..9999. */
const char *syn_format_time(int64_t unix_ms, char *out);
/** The inverse, also without fraction or with 1..9 digits of it; only Z or +-hh:mm offsets. */
SYN_MUST int syn_parse_time(const char *text, int64_t *ret_unix_ms, struct syn_err *err);

#endif
