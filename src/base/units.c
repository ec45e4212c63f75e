#include <synor/base/units.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <synor/base/date.h>

/* A decimal number scaled by 10^9, exactly: "1.5" -> 1500000000. `*ret_rest` is what follows. */
#define SCALE INT64_C(1000000000)

static bool
scan_decimal(const char *text, syn_u128 *ret_scaled, const char **ret_rest)
{
    syn_u128 value = 0;
    int64_t unit = SCALE;
    size_t whole = strspn(text, "0123456789");
    size_t fraction = 0;

    if (whole == 0 || whole > 19)
        return false;
    for (size_t i = 0; i < whole; i++)
        value = value * 10 + (unsigned)(text[i] - '0');
    value *= (syn_u128)SCALE;
    text += whole;
    if (*text == '.') {
        text++;
        fraction = strspn(text, "0123456789");
        if (fraction == 0)
            return false;
        for (size_t i = 0; i < fraction; i++) {
            unit /= 10;
            if (unit == 0 && text[i] != '0')
                return false; /* more than nine decimals that count */
            value += (uint64_t)(unit * (text[i] - '0'));
        }
        text += fraction;
    }
    *ret_scaled = value;
    *ret_rest = text;
    return true;
}

/* scaled * factor / 10^9 when that is a whole number within int64_t. */
static bool
scale_exact(syn_u128 scaled, int64_t factor, int64_t *ret)
{
    uint64_t times = (uint64_t)factor;
    syn_u128 product = scaled * times;

    if (times != 0 && product / times != scaled)
        return false;
    if (product % (syn_u128)SCALE != 0 || product / (syn_u128)SCALE > (syn_u128)INT64_MAX)
        return false;
    *ret = (int64_t)(product / (syn_u128)SCALE);
    return true;
}

struct unit {
    const char *name;
    int64_t factor;
};

/* The unit that `text` spells completely, or NULL. */
static const struct unit *
find_unit(const struct unit *units, size_t count, const char *text, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(units[i].name) == len && strncasecmp(units[i].name, text, len) == 0)
            return &units[i];
    }
    return NULL;
}

int
syn_parse_bytes(const char *text, const char *what, int64_t *ret, struct syn_err *err)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", INT64_C(1) << 10},
        {"kb", INT64_C(1) << 10},
        {"kib", INT64_C(1) << 10},
        {"m", INT64_C(1) << 20},
        {"mb", INT64_C(1) << 20},
        {"mib", INT64_C(1) << 20},
        {"g", INT64_C(1) << 30},
        {"gb", INT64_C(1) << 30},
        {"gib", INT64_C(1) << 30},
        {"t", INT64_C(1) << 40},
        {"tb", INT64_C(1) << 40},
        {"tib", INT64_C(1) << 40},
    };
    const struct unit *unit = NULL;
    const char *rest;
    syn_u128 scaled;

    if (scan_decimal(text, &scaled, &rest))
        unit = find_unit(units, SYN_LEN(units), rest, strlen(rest));
    if (unit == NULL || !scale_exact(scaled, unit->factor, ret))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected a size in whole bytes such as 512mb or 4gb, got \"%.60s\"",
                        what, text);
    return SYN_OK;
}

int
syn_parse_rate(const char *text, const char *what, int64_t *ret_bps, struct syn_err *err)
{
    static const struct unit units[] = {
        {"", 1},        {"bit", 1},        {"k", 1000},       {"kbit", 1000},
        {"m", 1000000}, {"mbit", 1000000}, {"g", 1000000000}, {"gbit", 1000000000},
    };
    const struct unit *unit = NULL;
    const char *rest;
    syn_u128 scaled;

    if (scan_decimal(text, &scaled, &rest))
        unit = find_unit(units, SYN_LEN(units), rest, strlen(rest));
    if (unit == NULL || !scale_exact(scaled, unit->factor, ret_bps))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected whole bits a second such as 100mbit or 2.5gbit, got "
                        "\"%.60s\"",
                        what, text);
    return SYN_OK;
}

int
syn_parse_duration_ms(const char *text, const char *what, int64_t *ret, struct syn_err *err)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    const char *at = text;
    int64_t total = 0;
    bool bare = true;

    do {
        const struct unit *unit = NULL;
        const char *rest;
        syn_u128 scaled;
        int64_t part;
        size_t len;

        if (!scan_decimal(at, &scaled, &rest))
            goto fail;
        len = strcspn(rest, "0123456789");
        if (len == 0 && bare)
            unit = &units[1];
        else
            unit = find_unit(units, SYN_LEN(units), rest, len);
        if (unit == NULL || !scale_exact(scaled, unit->factor, &part) ||
            __builtin_add_overflow(total, part, &total))
            goto fail;
        bare = false;
        at = rest + len;
    } while (*at != '\0');
    *ret = total;
    return SYN_OK;
fail:
    return SYN_FAIL(err, SYN_E_INVALID,
                    "%s: expected a duration such as 250ms, 30s, 5m, 1h30m or 7d, got \"%.60s\"",
                    what, text);
}

int
syn_parse_cpus(const char *text, const char *what, int64_t *ret_millicores, struct syn_err *err)
{
    const char *rest;
    syn_u128 scaled;

    if (!scan_decimal(text, &scaled, &rest) || (rest[0] != '\0' && strcmp(rest, "m") != 0) ||
        !scale_exact(scaled, rest[0] == 'm' ? 1 : 1000, ret_millicores))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected cores such as 2, 0.5 or 250m, got \"%.60s\"", what, text);
    return SYN_OK;
}

int
syn_parse_amount(const char *text, const char *what, int64_t *ret, struct syn_err *err)
{
    const char *rest;
    syn_u128 scaled;

    if (!scan_decimal(text, &scaled, &rest) || *rest != '\0')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: expected an amount in SYNOR with at most 9 decimals, got \"%.60s\"",
                        what, text);
    if (scaled > (syn_u128)SYN_AMOUNT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: \"%.60s\" is more than 4000000000 SYNOR", what,
                        text);
    *ret = (int64_t)scaled;
    return SYN_OK;
}

const char *
syn_format_bytes(int64_t bytes, char *out)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t i = 0;

    /* 1023.95 and more would round to "1024.0" of the smaller unit. */
    while ((value >= (i == 0 ? 1024 : 1023.95) || value <= (i == 0 ? -1024 : -1023.95)) &&
           i + 1 < SYN_LEN(names)) {
        value /= 1024;
        i++;
    }
    if (i == 0 || value == (double)(int64_t)value)
        (void)snprintf(out, SYN_FORMAT_MAX, "%lld %s", (long long)value, names[i]);
    else
        (void)snprintf(out, SYN_FORMAT_MAX, "%.1f %s", value, names[i]);
    return out;
}

const char *
syn_format_rate(int64_t bps, char *out)
{
    static const char *const names[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
    double value = (double)bps;
    size_t i = 0;

    while (value >= 1000 && i + 1 < SYN_LEN(names)) {
        value /= 1000;
        i++;
    }
    if (value == (double)(int64_t)value)
        (void)snprintf(out, SYN_FORMAT_MAX, "%lld %s", (long long)value, names[i]);
    else
        (void)snprintf(out, SYN_FORMAT_MAX, "%.1f %s", value, names[i]);
    return out;
}

const char *
syn_format_duration(int64_t ms, char *out)
{
    const char *sign = ms < 0 ? "-" : "";
    uint64_t left = ms < 0 ? (uint64_t)0 - (uint64_t)ms : (uint64_t)ms;
    uint64_t seconds = left / 1000;

    if (left < 1000)
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%llums", sign, (unsigned long long)left);
    else if (seconds < 60)
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%llu.%llus", sign, (unsigned long long)seconds,
                       (unsigned long long)(left % 1000 / 100));
    else if (seconds < 3600)
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%llum%02llus", sign,
                       (unsigned long long)(seconds / 60), (unsigned long long)(seconds % 60));
    else if (seconds < 86400)
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%lluh%02llum", sign,
                       (unsigned long long)(seconds / 3600),
                       (unsigned long long)(seconds % 3600 / 60));
    else
        (void)snprintf(out, SYN_FORMAT_MAX, "%s%llud%02lluh", sign,
                       (unsigned long long)(seconds / 86400),
                       (unsigned long long)(seconds % 86400 / 3600));
    return out;
}

/* value / scale, which is 10^decimals, exactly, without zeros at the end. */
static const char *
format_decimal(int64_t value, uint64_t scale, int decimals, char *out)
{
    uint64_t left = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    int len = snprintf(out, SYN_FORMAT_MAX, "%s%llu", value < 0 ? "-" : "",
                       (unsigned long long)(left / scale));

    if (left % scale != 0) {
        len += snprintf(out + len, (size_t)(SYN_FORMAT_MAX - len), ".%0*llu", decimals,
                        (unsigned long long)(left % scale));
        while (out[len - 1] == '0')
            out[--len] = '\0';
    }
    return out;
}

const char *
syn_format_amount(int64_t amount, char *out)
{
    return format_decimal(amount, (uint64_t)SYN_SYNOR, 9, out);
}

const char *
syn_format_cpus(int64_t millicores, char *out)
{
    return format_decimal(millicores, 1000, 3, out);
}

#define TIME_MAX_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

const char *
syn_format_time(int64_t unix_ms, char *out)
{
    int64_t ms = unix_ms < 0 ? 0 : SYN_MIN(unix_ms, TIME_MAX_MS);
    int64_t day_ms = ms % 86400000;
    struct syn_date date = syn_date_of_days(ms / 86400000);

    (void)snprintf(out, SYN_FORMAT_MAX, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ",
                   (long long)date.year, date.month, date.day, (int)(day_ms / 3600000),
                   (int)(day_ms / 60000 % 60), (int)(day_ms / 1000 % 60), (int)(day_ms % 1000));
    return out;
}

/* Exactly `width` digits at *at, moved past; -1 when they are not there. */
static int
take_digits(const char **at, int width)
{
    int value = 0;

    for (int i = 0; i < width; i++) {
        char c = (*at)[i];

        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    *at += width;
    return value;
}

static bool
take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static bool
take_offset(const char **at, int *ret_minutes)
{
    int sign = **at == '-' ? -1 : 1;
    int hours;
    int minutes;

    *ret_minutes = 0;
    if (take_char(at, 'Z'))
        return true;
    if (**at != '+' && **at != '-')
        return false;
    (*at)++;
    hours = take_digits(at, 2);
    if (hours < 0 || hours > 23 || !take_char(at, ':'))
        return false;
    minutes = take_digits(at, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

/* ".123456789" cut to milliseconds; absent is 0; -1 when malformed. */
static int
take_fraction(const char **at)
{
    size_t digits;
    int ms = 0;

    if (**at != '.')
        return 0;
    (*at)++;
    digits = strspn(*at, "0123456789");
    if (digits < 1 || digits > 9)
        return -1;
    for (size_t i = 0; i < 3; i++)
        ms = ms * 10 + (i < digits ? (*at)[i] - '0' : 0);
    *at += digits;
    return ms;
}

int
syn_parse_time(const char *text, int64_t *ret_unix_ms, struct syn_err *err)
{
    const char *at = text;
    int part[6]; /* year month day hour minute second */
    static const char after[] = "--T::";
    int ms;
    int offset;
    int64_t value;

    for (int i = 0; i < 6; i++) {
        part[i] = take_digits(&at, i == 0 ? 4 : 2);
        if (part[i] < 0 || (i < 5 && !take_char(&at, after[i])))
            goto fail;
    }
    ms = take_fraction(&at);
    if (ms < 0 || !take_offset(&at, &offset) || *at != '\0')
        goto fail;
    if (part[0] < 1970 || part[1] < 1 || part[1] > 12 || part[2] < 1 ||
        part[2] > syn_date_month_days(part[0], part[1]) || part[3] > 23 || part[4] > 59 ||
        part[5] > 59)
        goto fail;
    value = syn_date_days(part[0], part[1], part[2]) * 86400000 + part[3] * INT64_C(3600000) +
            part[4] * INT64_C(60000) + part[5] * INT64_C(1000) + ms - offset * INT64_C(60000);
    if (value < 0 || value > TIME_MAX_MS)
        goto fail;
    *ret_unix_ms = value;
    return SYN_OK;
fail:
    return SYN_FAIL(err, SYN_E_INVALID,
                    "expected a time such as 2026-11-23T19:58:57Z, got \"%.60s\"", text);
}
