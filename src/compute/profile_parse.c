/* The table's text: lines of `[name]`, `key = value`, `# comment`. One row of `fields` says how a
 * key is read and where it goes; a rate's key is the column of dtypes.def, so it fills every number
 * format of that column. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "profile_priv.h"

#define LINE_MAX_BYTES 512
#define DIGITS_MAX     15 /* 10^15 and its scale fit 128 bits */

enum value {
    VALUE_TEXT,
    VALUE_KIND,
    VALUE_COUNT,
    VALUE_HZ,
    VALUE_OPS,
    VALUE_BYTES,
    VALUE_BYTES_S,
    VALUE_NS,
    VALUE_MW,
    VALUE_NUMBERS,
    VALUE_OPERATIONS,
    VALUE_FORMATS,
    VALUE_SOURCE,
};

struct field {
    const char *key;
    enum value value;
    size_t offset;
};

#define FIELD(key, value, member)                        \
    {                                                    \
        key, value, offsetof(struct syn_profile, member) \
    }

static const struct field fields[] = {
    FIELD("title", VALUE_TEXT, title),
    FIELD("vendor", VALUE_TEXT, vendor),
    FIELD("match", VALUE_TEXT, match),
    FIELD("host.link", VALUE_TEXT, host.name),
    FIELD("peer.link", VALUE_TEXT, peer.name),
    FIELD("kind", VALUE_KIND, kind),
    FIELD("year", VALUE_COUNT, year),
    FIELD("units", VALUE_COUNT, units),
    FIELD("group.max", VALUE_COUNT, group_max),
    FIELD("queues.max", VALUE_COUNT, queues_max),
    FIELD("clock", VALUE_HZ, clock_mhz),
    FIELD("unstated", VALUE_OPS, unstated_m),
    FIELD("memory", VALUE_BYTES, memory_bytes),
    FIELD("local", VALUE_BYTES, local_bytes),
    FIELD("alloc.max", VALUE_BYTES, alloc_max_bytes),
    FIELD("memory.rate", VALUE_BYTES_S, memory_mb_s),
    FIELD("host.rate", VALUE_BYTES_S, host.mb_s),
    FIELD("peer.rate", VALUE_BYTES_S, peer.mb_s),
    FIELD("host.latency", VALUE_NS, host.latency_ns),
    FIELD("peer.latency", VALUE_NS, peer.latency_ns),
    FIELD("launch", VALUE_NS, launch_ns),
    FIELD("tdp", VALUE_MW, tdp_mw),
    FIELD("idle", VALUE_MW, idle_mw),
    FIELD("numbers", VALUE_NUMBERS, dtypes),
    FIELD("operations", VALUE_OPERATIONS, operations),
    FIELD("programs", VALUE_FORMATS, formats),
    FIELD("source", VALUE_SOURCE, sources),
};

/* How a quantity's unit is written and what the integer in the profile counts. */
static const struct {
    const char *unit;
    uint64_t numerator, denominator; /* base units -> integer: x * numerator / denominator */
} units[] = {
    [VALUE_HZ] = {"Hz", 1, 1000000},   [VALUE_OPS] = {"/s", 1, 1000000},
    [VALUE_BYTES] = {"B", 1, 1},       [VALUE_BYTES_S] = {"B/s", 1, 1000000},
    [VALUE_NS] = {"s", 1000000000, 1}, [VALUE_MW] = {"W", 1000, 1},
};

struct parser {
    struct syn_profiles *profiles;
    struct syn_profile *now; /* being filled, or NULL before the first one */
    bool kind_seen;
    uint64_t seen; /* fields of `now` that were there already */
    unsigned line;
    struct syn_err *err;
};
static_assert(SYN_LEN(fields) + (size_t)2 * SYN_DTYPES <= 64, "`seen` has a bit for each key");

static const struct {
    const char *prefix;
    uint64_t numerator, denominator;
} scales[] = {
    {"Ki", UINT64_C(1) << 10, 1},
    {"Mi", UINT64_C(1) << 20, 1},
    {"Gi", UINT64_C(1) << 30, 1},
    {"Ti", UINT64_C(1) << 40, 1},
    {"K", 1000, 1},
    {"M", 1000000, 1},
    {"G", 1000000000, 1},
    {"T", 1000000000000, 1},
    {"P", 1000000000000000, 1},
    {"m", 1, 1000},
    {"u", 1, 1000000},
    {"n", 1, 1000000000},
    {"", 1, 1},
};

/* "33.5T/s" -> digits 335, decimals 1, and the rest of the text. False when it is no number. */
static bool
scan_number(const char *text, uint64_t *ret_digits, unsigned *ret_decimals, const char **ret_rest)
{
    unsigned count = 0, decimals = 0;
    bool point = false;

    *ret_digits = 0;
    for (;; text++) {
        if (*text == '.' && !point && count > 0) {
            point = true;
        } else if (*text >= '0' && *text <= '9') {
            if (++count > DIGITS_MAX)
                return false;
            *ret_digits = *ret_digits * 10 + (uint64_t)(*text - '0');
            decimals += point ? 1 : 0;
        } else {
            break;
        }
    }
    *ret_decimals = decimals;
    *ret_rest = text;
    return count > 0 && (!point || decimals > 0);
}

static syn_u128
power_of_ten(unsigned exponent)
{
    syn_u128 power = 1;

    while (exponent-- > 0)
        power *= 10;
    return power;
}

/* A quantity in the integer's units, exactly. The factors are at most 10^15 each. */
static int
parse_quantity(struct parser *p, const char *key, enum value value, const char *text, uint64_t *ret)
{
    uint64_t digits = 0;
    unsigned decimals = 0;
    const char *rest = NULL;
    syn_u128 above, below;
    size_t scale = 0;

    if (!scan_number(text, &digits, &decimals, &rest))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: no number: %s", p->line, key, text);
    while (scale < SYN_LEN(scales)) {
        size_t len = strlen(scales[scale].prefix);

        if (strncmp(rest, scales[scale].prefix, len) == 0 &&
            strcmp(rest + len, units[value].unit) == 0)
            break;
        scale++;
    }
    if (scale == SYN_LEN(scales))
        return SYN_FAIL(p->err, SYN_E_INVALID,
                        "line %u: %s: %s must end in %s, with or without K M G T P Ki Mi Gi Ti",
                        p->line, key, text, units[value].unit);
    /* Digits and scale are at most 10^15 each; cut at 2^64 * 10^6 the product with the unit's
     * factor, at most 10^9, fits 128 bits, and so does the divisor, at most 10^30. */
    above = (syn_u128)digits * scales[scale].numerator;
    if (above > (syn_u128)UINT64_MAX * 1000000)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: %s is too large", p->line, key, text);
    above *= units[value].numerator;
    below = power_of_ten(decimals) * scales[scale].denominator * units[value].denominator;
    if (above % below != 0)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: %s is finer than the profile can hold",
                        p->line, key, text);
    above /= below;
    if (above == 0 || above > INT64_MAX || (value == VALUE_HZ && above > UINT32_MAX))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: %s is out of range", p->line, key,
                        text);
    *ret = (uint64_t)above;
    return SYN_OK;
}

static bool
word_bit(enum value value, const char *word, uint32_t *ret)
{
    enum syn_dtype dtype;
    enum syn_operation operation;
    enum syn_format format;

    if (value == VALUE_NUMBERS && syn_dtype_parse(word, &dtype))
        *ret |= SYN_BIT(dtype);
    else if (value == VALUE_OPERATIONS && syn_operation_parse(word, &operation))
        *ret |= SYN_BIT(operation);
    else if (value == VALUE_FORMATS && syn_format_parse(word, &format))
        *ret |= SYN_BIT(format);
    else
        return false;
    return true;
}

static int
parse_words(struct parser *p, const char *key, enum value value, const char *text, uint32_t *ret)
{
    char word[32];

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (len >= sizeof(word))
            return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: unknown word %.40s", p->line, key,
                            text);
        memcpy(word, text, len);
        word[len] = '\0';
        if (len > 0 && !word_bit(value, word, ret))
            return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s: unknown word %s", p->line, key,
                            word);
        text += len + (text[len] == ' ' ? 1 : 0);
    }
    return SYN_OK;
}

static int
parse_text(struct parser *p, const char *key, const char *text, size_t cap, char *ret)
{
    if (!syn_str_copy(ret, cap, text))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s is longer than %zu bytes", p->line, key,
                        cap - 1);
    return SYN_OK;
}

static int
parse_source(struct parser *p, const char *text)
{
    if (p->now->sources_count == SYN_PROFILE_SOURCES_MAX)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: more than %d sources", p->line,
                        SYN_PROFILE_SOURCES_MAX);
    return parse_text(p, "source", text, SYN_PROFILE_SOURCE_MAX,
                      p->now->sources[p->now->sources_count++]);
}

static int
parse_kind(struct parser *p, const char *text)
{
    if (!syn_kind_parse(text, &p->now->kind))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: there is no kind of processor %s", p->line,
                        text);
    p->kind_seen = true;
    return SYN_OK;
}

static int
parse_value(struct parser *p, const struct field *field, const char *text)
{
    char *place = (char *)p->now + field->offset;
    uint64_t number = 0;
    int rc;

    switch (field->value) {
    case VALUE_TEXT:
        return parse_text(p, field->key, text, SYN_PROFILE_TEXT_MAX, place);
    case VALUE_SOURCE:
        return parse_source(p, text);
    case VALUE_KIND:
        return parse_kind(p, text);
    case VALUE_NUMBERS:
    case VALUE_OPERATIONS:
    case VALUE_FORMATS:
        return parse_words(p, field->key, field->value, text, (uint32_t *)(void *)place);
    case VALUE_COUNT:
        rc = syn_parse_u64(text, 1, 1000000, field->key, &number, p->err);
        if (rc < 0)
            return syn_err_wrap(p->err, rc, "line %u", p->line);
        *(unsigned *)(void *)place = (unsigned)number;
        return SYN_OK;
    case VALUE_HZ:
    case VALUE_OPS:
    case VALUE_BYTES:
    case VALUE_BYTES_S:
    case VALUE_NS:
    case VALUE_MW:
        break;
    }
    rc = parse_quantity(p, field->key, field->value, text, &number);
    if (rc < 0)
        return rc;
    if (field->value == VALUE_HZ)
        *(unsigned *)(void *)place = (unsigned)number;
    else
        *(uint64_t *)(void *)place = number;
    return SYN_OK;
}

static int
mark_seen(struct parser *p, size_t bit, const char *key)
{
    if (p->seen & (UINT64_C(1) << bit))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s is there twice", p->line, key);
    p->seen |= UINT64_C(1) << bit;
    return SYN_OK;
}

/* "fp16 = 989.4T/s", "vector.fp16 = ...". Sets *ret_known. */
static int
parse_rate(struct parser *p, const char *key, const char *text, bool *ret_known)
{
    bool vector = syn_str_starts(key, "vector.");
    const char *column = vector ? key + strlen("vector.") : key;
    uint64_t *rates = vector ? p->now->vector_m : p->now->flops_m;
    uint64_t rate = 0;
    int rc;

    *ret_known = false;
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        const struct syn_dtype_info *info = syn_dtype_info((enum syn_dtype)i);

        /* A complex number's rate is that of its parts, but only where it is among the numbers. */
        if (!info->column || strcmp(info->column, column) != 0 || info->family == SYN_DTYPE_COMPLEX)
            continue;
        if (!*ret_known) {
            rc = mark_seen(p, SYN_LEN(fields) + i + (vector ? SYN_DTYPES : 0), key);
            rc = rc < 0 ? rc : parse_quantity(p, key, VALUE_OPS, text, &rate);
            if (rc < 0)
                return rc;
        }
        *ret_known = true;
        rates[i] = rate;
    }
    return SYN_OK;
}

static int
parse_pair(struct parser *p, const char *key, const char *text)
{
    bool known = false;
    int rc;

    if (!p->now)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s before the first [name]", p->line, key);
    if (text[0] == '\0')
        return SYN_FAIL(p->err, SYN_E_INVALID,
                        "line %u: %s has no value: leave out what is not published", p->line, key);
    for (size_t i = 0; i < SYN_LEN(fields); i++) {
        if (strcmp(fields[i].key, key) != 0)
            continue;
        rc = fields[i].value == VALUE_SOURCE ? SYN_OK : mark_seen(p, i, key);
        return rc < 0 ? rc : parse_value(p, &fields[i], text);
    }
    rc = parse_rate(p, key, text, &known);
    if (rc == SYN_OK && !known)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: unknown key %s", p->line, key);
    return rc;
}

/* Derive what follows from the rates, and see that nothing needed is missing. */
static int
finish_profile(struct parser *p)
{
    struct syn_profile *now = p->now;
    const char *missing = NULL;

    if (!now)
        return SYN_OK;
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        if (now->flops_m[i] > 0)
            now->dtypes |= SYN_BIT(i);
    }
    if (now->title[0] == '\0')
        missing = "title";
    else if (now->vendor[0] == '\0')
        missing = "vendor";
    else if (!p->kind_seen)
        missing = "kind";
    else if (now->sources_count == 0)
        missing = "source";
    if (missing)
        return SYN_FAIL(p->err, SYN_E_INVALID, "profile %s has no %s", now->name, missing);
    p->now = NULL;
    return SYN_OK;
}

static int
open_profile(struct parser *p, const char *name)
{
    struct syn_profiles *profiles = p->profiles;
    int rc = finish_profile(p);

    if (rc < 0)
        return rc;
    if (!syn_name_ok(name) || strlen(name) >= SYN_PROFILE_NAME_MAX)
        return SYN_FAIL(p->err, SYN_E_INVALID,
                        "line %u: a name is a-z, 0-9 and -, up to %d bytes, not %s", p->line,
                        SYN_PROFILE_NAME_MAX - 1, name);
    if (syn_profiles_find(profiles, name))
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: %s is there twice", p->line, name);
    if (profiles->count == SYN_PROFILES_MAX)
        return SYN_FAIL(p->err, SYN_E_TOOBIG, "line %u: more than %d profiles", p->line,
                        SYN_PROFILES_MAX);
    if (!syn_grow(&profiles->items, &profiles->cap, profiles->count + 1, sizeof(*profiles->items)))
        return SYN_FAIL(p->err, SYN_E_NOMEM, "profiles");
    p->now = &profiles->items[profiles->count++];
    *p->now = (struct syn_profile){0};
    p->seen = 0;
    p->kind_seen = false;
    return parse_text(p, "name", name, sizeof(p->now->name), p->now->name);
}

/* Cut blanks off both ends, in place. */
static char *
trim(char *text)
{
    size_t len;

    while (*text == ' ' || *text == '\t')
        text++;
    len = strlen(text);
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        text[--len] = '\0';
    return text;
}

static int
parse_line(struct parser *p, char *line)
{
    char *text = trim(line), *equals;
    size_t len = strlen(text);

    if (len == 0 || text[0] == '#')
        return SYN_OK;
    if (text[0] == '[' && text[len - 1] == ']') {
        text[len - 1] = '\0';
        return open_profile(p, text + 1);
    }
    equals = strchr(text, '=');
    if (!equals)
        return SYN_FAIL(p->err, SYN_E_INVALID, "line %u: neither [name] nor key = value", p->line);
    *equals = '\0';
    return parse_pair(p, trim(text), trim(equals + 1));
}

static int
parse_all(struct parser *p, const char *data, size_t len)
{
    char line[LINE_MAX_BYTES];
    int rc = SYN_OK;

    while (rc == SYN_OK && len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t size = end ? (size_t)(end - data) : len;

        p->line++;
        if (size >= sizeof(line))
            return SYN_FAIL(p->err, SYN_E_INVALID, "line %u is longer than %d bytes", p->line,
                            LINE_MAX_BYTES - 1);
        if (memchr(data, '\0', size) || !syn_utf8_ok(data, size))
            return SYN_FAIL(p->err, SYN_E_INVALID, "line %u is not UTF-8 text", p->line);
        memcpy(line, data, size);
        line[size] = '\0';
        rc = parse_line(p, line);
        size += end ? 1 : 0;
        data += size;
        len -= size;
    }
    return rc < 0 ? rc : finish_profile(p);
}

int
syn_profiles_parse(const char *data, size_t len, struct syn_profiles **ret_profiles,
                   struct syn_err *err)
{
    SYN_SCOPED(syn_profiles_free_scope) struct syn_profiles *profiles = NULL;
    struct parser p = {.err = err};
    int rc;

    if (len > SYN_PROFILE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "profiles: more than %zu bytes", SYN_PROFILE_BYTES_MAX);
    profiles = syn_calloc(1, sizeof(*profiles));
    if (!profiles)
        return SYN_FAIL(err, SYN_E_NOMEM, "profiles");
    p.profiles = profiles;
    rc = parse_all(&p, data, len);
    if (rc < 0)
        return syn_err_wrap(err, rc, "profiles");
    *ret_profiles = SYN_TAKE(profiles);
    return SYN_OK;
}
