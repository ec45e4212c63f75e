#include <synor/base/str.h>

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool
syn_str_eq(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

bool
syn_str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
syn_str_ends(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t want = strlen(suffix);

    return len >= want && strcmp(text + len - want, suffix) == 0;
}

bool
syn_str_copy(char *dst, size_t cap, const char *text)
{
    size_t len = strlen(text);
    bool fits = len < cap;

    assert(cap > 0);
    if (!fits)
        len = cap - 1;
    memmove(dst, text, len);
    dst[len] = '\0';
    return fits;
}

/* Digits only. Returns false on anything else or on overflow. */
static bool
digits_to_u64(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        unsigned digit;

        if (*text < '0' || *text > '9')
            return false;
        digit = (unsigned)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

int
syn_parse_u64(const char *text, uint64_t min, uint64_t max, const char *what, uint64_t *ret,
              struct syn_err *err)
{
    uint64_t value;

    if (!digits_to_u64(text, &value) || value < min || value > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a whole number %llu..%llu, got \"%.60s\"",
                        what, (unsigned long long)min, (unsigned long long)max, text);
    *ret = value;
    return SYN_OK;
}

int
syn_parse_i64(const char *text, int64_t min, int64_t max, const char *what, int64_t *ret,
              struct syn_err *err)
{
    bool negative = text[0] == '-';
    uint64_t magnitude;
    int64_t value = 0;
    bool ok = digits_to_u64(text + (negative ? 1 : 0), &magnitude) &&
              magnitude <= (uint64_t)INT64_MAX + (negative ? 1U : 0U);

    if (ok && negative)
        value = magnitude == 0 ? 0 : -(int64_t)(magnitude - 1) - 1;
    else if (ok)
        value = (int64_t)magnitude;
    if (!ok || value < min || value > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a whole number %lld..%lld, got \"%.60s\"",
                        what, (long long)min, (long long)max, text);
    *ret = value;
    return SYN_OK;
}

/* [-]digits[.digits][e[+-]digits] and nothing else: no hex, no inf, no locale. */
static bool
decimal_shape(const char *text)
{
    size_t digits;

    if (*text == '-')
        text++;
    digits = strspn(text, "0123456789");
    text += digits;
    if (*text == '.') {
        size_t more = strspn(text + 1, "0123456789");

        digits += more;
        text += 1 + more;
    }
    if (digits == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-')
            text++;
        digits = strspn(text, "0123456789");
        if (digits == 0)
            return false;
        text += digits;
    }
    return *text == '\0';
}

int
syn_parse_double(const char *text, double min, double max, const char *what, double *ret,
                 struct syn_err *err)
{
    static _Thread_local locale_t plain;
    double value = 0;
    bool ok = decimal_shape(text);

    if (plain == (locale_t)0)
        plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0)
        return SYN_FAIL(err, SYN_E_NOMEM, "%s: no memory to read a number", what);
    if (ok)
        value = strtod_l(text, NULL, plain);
    if (!ok || !isfinite(value) || value < min || value > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a number %g..%g, got \"%.60s\"", what,
                        min, max, text);
    *ret = value;
    return SYN_OK;
}

void
syn_hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

int
syn_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int
syn_hex_decode(const char *text, void *out, size_t len, struct syn_err *err)
{
    uint8_t *bytes = out;

    if (strlen(text) != 2 * len)
        return SYN_FAIL(err, SYN_E_INVALID, "expected %zu hexadecimal digits, got %zu characters",
                        2 * len, strlen(text));
    for (size_t i = 0; i < 2 * len; i++) {
        if (syn_hex_digit(text[i]) < 0)
            return SYN_FAIL(err, SYN_E_INVALID, "character %zu is no hexadecimal digit", i + 1);
    }
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((unsigned)syn_hex_digit(text[2 * i]) << 4 |
                             (unsigned)syn_hex_digit(text[2 * i + 1]));
    return SYN_OK;
}

static bool
label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool
syn_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > 63 || !label_char(name[0]) || !label_char(name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!label_char(name[i]) && name[i] != '-')
            return false;
    }
    return true;
}

/* Table 3-7 of the Unicode Standard. */
size_t
syn_utf8_len(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t len;

    if (at[0] >= 0x01 && at[0] <= 0x7f)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        len = 2;
    else if (at[0] >= 0xe0 && at[0] <= 0xef)
        len = 3;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        len = 4;
    else
        return 0;
    if (len > left)
        return 0;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    }
    return len;
}

bool
syn_utf8_ok(const char *text, size_t len)
{
    while (len > 0) {
        size_t step = syn_utf8_len(text, len);

        if (step == 0)
            return false;
        text += step;
        len -= step;
    }
    return true;
}

#define DISTANCE_LENGTH_MAX 64

unsigned
syn_str_distance(const char *a, const char *b, unsigned cap)
{
    unsigned row[DISTANCE_LENGTH_MAX + 1];
    size_t la = strlen(a);
    size_t lb = strlen(b);

    if (la > DISTANCE_LENGTH_MAX || lb > DISTANCE_LENGTH_MAX)
        return cap;
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);

            diagonal = row[j];
            row[j] = SYN_MIN(change, SYN_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return SYN_MIN(row[lb], cap);
}
