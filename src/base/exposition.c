/* A line is
 *
 *     # TYPE jobs_done counter
 *     jobs_waiting{queue="mail",pool="a\"b"} 12.5 1700000000000
 *
 * and what the series asks for is written like its beginning, so one reader of names and labels
 * serves both. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/exposition.h>
#include <synor/base/str.h>

#define NUMBER_MAX 64

struct cursor {
    const char *at, *end;
};

static void
skip_blanks(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t'))
        cursor->at++;
}

/* Is this the next byte? It is taken then. */
static bool
take(struct cursor *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool
is_name_byte(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!first && c >= '0' && c <= '9');
}

/* A name of a metric or a label. Its length; 0: there is none. */
static size_t
take_name(struct cursor *cursor, const char **ret)
{
    *ret = cursor->at;
    while (cursor->at < cursor->end && is_name_byte(*cursor->at, cursor->at == *ret))
        cursor->at++;
    return (size_t)(cursor->at - *ret);
}

/* A word up to a blank. */
static size_t
take_word(struct cursor *cursor, const char **ret)
{
    skip_blanks(cursor);
    *ret = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != ' ' && *cursor->at != '\t')
        cursor->at++;
    return (size_t)(cursor->at - *ret);
}

static bool
same(const char *text, size_t len, const char *other, size_t other_len)
{
    return len == other_len && memcmp(text, other, len) == 0;
}

/* --- labels ----------------------------------------------------------------------------------- */

/* One byte of a quoted value; -1: it ends here, or is broken. */
static int
value_byte(struct cursor *cursor)
{
    char c;

    if (cursor->at == cursor->end || *cursor->at == '"' || *cursor->at == '\n')
        return -1;
    c = *cursor->at++;
    if (c != '\\')
        return (unsigned char)c;
    if (cursor->at == cursor->end || strchr("n\"\\", *cursor->at) == NULL || *cursor->at == '\0')
        return -1;
    c = *cursor->at++;
    return c == 'n' ? '\n' : (unsigned char)c;
}

/* One label: its name, and its value, which must be a quoted one and is skipped or compared. */
struct label {
    const char *name;
    size_t name_len;
    struct cursor value; /* behind the quote, up to the line's end */
};

/* False: it is none. */
static bool
take_label(struct cursor *cursor, struct label *ret)
{
    skip_blanks(cursor);
    ret->name_len = take_name(cursor, &ret->name);
    skip_blanks(cursor);
    if (ret->name_len == 0 || memchr(ret->name, ':', ret->name_len) != NULL || !take(cursor, '='))
        return false;
    skip_blanks(cursor);
    if (!take(cursor, '"'))
        return false;
    ret->value = *cursor;
    while (value_byte(cursor) >= 0)
        continue;
    return take(cursor, '"');
}

typedef bool label_fn(void *arg, const struct label *label);

/* All labels in braces, if there are any; false: broken, or `each` does not want one. */
static bool
each_label(struct cursor *cursor, label_fn *each, void *arg)
{
    struct label label;

    skip_blanks(cursor);
    if (!take(cursor, '{'))
        return true;
    for (;;) {
        skip_blanks(cursor);
        if (take(cursor, '}'))
            return true; /* also behind a last comma */
        if (!take_label(cursor, &label) || !each(arg, &label))
            return false;
        skip_blanks(cursor);
        if (take(cursor, '}'))
            return true;
        if (!take(cursor, ','))
            return false;
    }
}

/* --- what is asked for ------------------------------------------------------------------------ */

struct reading {
    struct syn_series *series;
    size_t used;
};

static struct syn_series_part
keep(struct reading *reading, const char *bytes, size_t len)
{
    struct syn_series_part part = {(uint16_t)reading->used, (uint16_t)len};

    memcpy(reading->series->bytes + reading->used, bytes, len);
    reading->used += len;
    return part;
}

static bool
keep_label(void *arg, const struct label *label)
{
    struct reading *reading = arg;
    struct syn_series *series = reading->series;
    struct cursor value = label->value;
    struct syn_series_label *kept;
    int c;

    if (series->labels_count == SYN_SERIES_LABELS_MAX)
        return false;
    kept = &series->labels[series->labels_count++];
    kept->name = keep(reading, label->name, label->name_len);
    kept->value = keep(reading, "", 0);
    while ((c = value_byte(&value)) >= 0) {
        series->bytes[reading->used++] = (char)c;
        kept->value.len++;
    }
    return true;
}

int
syn_series_parse(const char *text, struct syn_series *ret, struct syn_err *err)
{
    struct cursor cursor = {text, text + strlen(text)};
    struct syn_series series = {.labels_count = 0};
    struct reading reading = {&series, 0};
    const char *name;
    size_t len;

    if (strlen(text) >= SYN_SERIES_TEXT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a series of more than %d bytes",
                        SYN_SERIES_TEXT_MAX - 1);
    len = take_name(&cursor, &name);
    series.name = keep(&reading, name, len);
    if (len == 0 || !each_label(&cursor, keep_label, &reading) || cursor.at != cursor.end)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "expected NAME or NAME{LABEL=\"VALUE\",...} with at most %d labels, got "
                        "\"%.80s\"",
                        SYN_SERIES_LABELS_MAX, text);
    *ret = series;
    return SYN_OK;
}

const char *
syn_series_name(const struct syn_series *series, char out[SYN_SERIES_TEXT_MAX])
{
    memcpy(out, series->bytes + series->name.at, series->name.len);
    out[series->name.len] = '\0';
    return out;
}

/* --- the text --------------------------------------------------------------------------------- */

struct match {
    const struct syn_series *series;
    unsigned found; /* bits of the labels that are there */
};

static bool
equals_value(const struct syn_series *series, struct syn_series_part want, struct cursor value)
{
    for (size_t i = 0; i < want.len; i++)
        if (value_byte(&value) != (unsigned char)series->bytes[want.at + i])
            return false;
    return value_byte(&value) < 0;
}

static bool
match_label(void *arg, const struct label *label)
{
    struct match *match = arg;

    for (size_t i = 0; i < match->series->labels_count; i++) {
        const struct syn_series_label *want = &match->series->labels[i];

        if (same(label->name, label->name_len, match->series->bytes + want->name.at,
                 want->name.len) &&
            equals_value(match->series, want->value, label->value))
            match->found |= 1U << i;
    }
    return true;
}

/* A number as Go writes them: "12.5", "1e-3", "+Inf", "NaN". False: it is none. */
static bool
take_number(struct cursor *cursor, double *ret)
{
    char text[NUMBER_MAX];
    const char *word;
    size_t len = take_word(cursor, &word);
    char *end;

    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, word, len);
    text[len] = '\0';
    if (strlen(text) != len)
        return false;
    *ret = strtod(text, &end);
    return *end == '\0';
}

/* "# TYPE NAME counter" of the series' name. */
static bool
says_counter(struct cursor cursor, const struct syn_series *series)
{
    const char *word;
    size_t len;

    (void)take(&cursor, '#');
    len = take_word(&cursor, &word);
    if (!same(word, len, "TYPE", 4))
        return false;
    len = take_word(&cursor, &word);
    if (!same(word, len, series->bytes + series->name.at, series->name.len))
        return false;
    len = take_word(&cursor, &word);
    return same(word, len, "counter", 7);
}

/* False: it is broken. */
static bool
read_line(struct cursor cursor, const struct syn_series *series, struct syn_series_value *value)
{
    struct match match = {series, 0};
    const char *name;
    double number;
    size_t len;

    skip_blanks(&cursor);
    if (cursor.at < cursor.end && *cursor.at == '#') {
        value->counter = value->counter || says_counter(cursor, series);
        return true;
    }
    len = take_name(&cursor, &name);
    if (!same(name, len, series->bytes + series->name.at, series->name.len))
        return true;
    if (!each_label(&cursor, match_label, &match) || !take_number(&cursor, &number))
        return false;
    if (match.found + 1U != 1U << series->labels_count || isnan(number) ||
        isnan(value->sum + number))
        return true;
    value->samples++;
    value->sum += number;
    return true;
}

int
syn_exposition_read(const char *text, size_t len, const struct syn_series *series,
                    struct syn_series_value *ret, struct syn_err *err)
{
    struct syn_series_value value = {0};
    const char *at = text, *end = text + len;

    if (len > SYN_EXPOSITION_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "metrics of more than %zu bytes",
                        SYN_EXPOSITION_BYTES_MAX);
    for (unsigned line = 1; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct cursor cursor = {at, newline != NULL ? newline : end};

        if (cursor.end > cursor.at && cursor.end[-1] == '\r')
            cursor.end--;
        if (!read_line(cursor, series, &value))
            return SYN_FAIL(err, SYN_E_INVALID, "line %u of the metrics is none of the text format",
                            line);
        at = newline != NULL ? newline + 1 : end;
    }
    *ret = value;
    return SYN_OK;
}
