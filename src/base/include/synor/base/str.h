/* Text without surprises: bounded copies, strict numbers, hexadecimal. */
#ifndef SYNOR_BASE_STR_H
#define SYNOR_BASE_STR_H

#include <synor/base/core.h>
#include <synor/base/err.h>

bool syn_str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool syn_str_starts(const char *text, const char *prefix);
bool syn_str_ends(const char *text, const char *suffix);
/** Copy with termination. False (and a truncated copy) when `text` does not fit. */
bool syn_str_copy(char *dst, size_t cap, const char *text);
/** Whole-string decimal, no sign, no blanks, no leading '+'. INVALID names `what` and the range. */
SYN_MUST int syn_parse_u64(const char *text, uint64_t min, uint64_t max, const char *what,
                           uint64_t *ret, struct syn_err *err);
SYN_MUST int syn_parse_i64(const char *text, int64_t min, int64_t max, const char *what,
                           int64_t *ret, struct syn_err *err);
/** A finite decimal number ("0.01", "1e-3") in [min, max]; locale independent. Never for money. */
SYN_MUST int syn_parse_double(const char *text, double min, double max, const char *what,
                              double *ret, struct syn_err *err);
/** Lower-case hex of `len` bytes into out[2*len+1]. */
void syn_hex_encode(const void *data, size_t len, char *out);
/** Exactly 2*len hex digits into out[len]; INVALID otherwise. */
SYN_MUST int syn_hex_decode(const char *text, void *out, size_t len, struct syn_err *err);
/** A DNS-label like name: [a-z0-9]([-a-z0-9]*[a-z0-9])?, at most 63 bytes. */
bool syn_name_ok(const char *name);
/** The digit's value, of either case; -1 for what is no hex digit. */
int syn_hex_digit(char c);
/** Valid UTF-8 without NUL, surrogates or overlong forms. */
bool syn_utf8_ok(const char *text, size_t len);
/** Bytes of the one such character that begins `text`, 1..4; 0 when none does. len > 0. */
size_t syn_utf8_len(const char *text, size_t len);
/** Edit distance, at most `cap`, which a text of more than 64 bytes always gives; for "did you
 * mean".
 */
unsigned syn_str_distance(const char *a, const char *b, unsigned cap);

#endif
