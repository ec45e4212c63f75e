/* A schedule is six sets of small numbers. The next time is looked for in local time first, without
 * any zone: the next date whose month and day fit, then the next second of it. That local time is
 * carried over to UTC span by span, where a span has one offset:
 *
 *     local   01:30 ... 02:00 | 03:00 ...            a gap: what fits within it runs at its end
 *     local   02:30 ... 03:00 | 02:00 ... 03:00 ...  an overlap: its second pass runs nothing
 *
 * Both rules are for schedules of certain hours; one of every hour takes what fits in each span. */
#include <synor/base/cron.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <synor/base/date.h>
#include <synor/base/str.h>

#define DAY_S    INT64_C(86400)
#define YEAR_MAX 9999
#define MS_MAX   INT64_C(253402300799999) /* the end of that year */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field {
    const char *what;
    unsigned min, max;
    const char *const *names; /* the first is of `min` */
    size_t names_count;
} fields[FIELDS] = {
    [SECOND] = {"second", 0, 59, NULL, 0},
    [MINUTE] = {"minute", 0, 59, NULL, 0},
    [HOUR] = {"hour", 0, 23, NULL, 0},
    [DAY] = {"day of the month", 1, 31, NULL, 0},
    [MONTH] = {"month", 1, 12, month_names, SYN_LEN(month_names)},
    [WEEKDAY] = {"day of the week", 0, 7, day_names, SYN_LEN(day_names)},
};

/* ---- text ---- */

static int
fail_field(const struct field *field, const char *text, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID,
                    "schedule: %s \"%.40s\": expected %u to %u, ranges a-b, lists a,b, steps */n",
                    field->what, text, field->min, field->max);
}

static bool
take_value(const struct field *field, const char **at, unsigned *ret)
{
    unsigned value = 0;
    int digits = 0;

    for (size_t i = 0; i < field->names_count; i++)
        if (strncasecmp(*at, field->names[i], 3) == 0) {
            *at += 3;
            *ret = field->min + (unsigned)i;
            return true;
        }
    for (; **at >= '0' && **at <= '9' && digits < 3; (*at)++, digits++)
        value = value * 10 + (unsigned)(**at - '0');
    *ret = value;
    return digits > 0 && value >= field->min && value <= field->max;
}

/* One of a list, up to the comma. */
static bool
take_item(const struct field *field, const char **at, uint64_t *set)
{
    unsigned from = field->min, to = field->max, step = 1;
    bool open = **at == '*';

    if (open) {
        (*at)++;
    } else {
        if (!take_value(field, at, &from))
            return false;
        to = from;
        if (**at == '-') {
            (*at)++;
            if (!take_value(field, at, &to) || to < from)
                return false;
        } else if (**at == '/') {
            to = field->max; /* a/n: from a on */
        }
    }
    if (**at == '/') {
        const struct field steps = {NULL, 1, field->max, NULL, 0};

        (*at)++;
        if (!take_value(&steps, at, &step))
            return false;
    }
    for (unsigned i = from; i <= to; i += step)
        *set |= UINT64_C(1) << i;
    return true;
}

static int
parse_field(const struct field *field, const char *text, uint64_t *ret, struct syn_err *err)
{
    const char *at = text;

    *ret = 0;
    for (;;) {
        if (!take_item(field, &at, ret))
            return fail_field(field, text, err);
        if (*at == '\0')
            return SYN_OK;
        if (*at++ != ',')
            return fail_field(field, text, err);
    }
}

/* Cut the text into fields; returns how many there are, FIELDS + 1 when too many. */
static size_t
cut(char *text, char *ret[FIELDS])
{
    size_t count = 0;
    char *at = text;

    for (;;) {
        at += strspn(at, " \t");
        if (*at == '\0')
            return count;
        if (count == FIELDS)
            return FIELDS + 1;
        ret[count++] = at;
        at += strcspn(at, " \t");
        if (*at != '\0')
            *at++ = '\0';
    }
}

static bool
is_any(const char *text)
{
    return syn_str_eq(text, "*") || syn_str_eq(text, "?");
}

/* Is there a day, in any year, that the schedule names? */
static bool
possible(const struct syn_cron *cron)
{
    if (!cron->any_weekday || cron->last_day || cron->any_day)
        return true;
    for (int month = 1; month <= 12; month++)
        for (int day = 1; day <= syn_date_month_days(2000, month); day++)
            if ((cron->months >> month & 1) && (cron->days >> day & 1))
                return true;
    return false;
}

static int
parse_fields(char *const text[FIELDS], struct syn_cron *ret, struct syn_err *err)
{
    struct syn_cron cron = {.last_day = syn_str_eq(text[DAY], "L") || syn_str_eq(text[DAY], "l"),
                            .any_day = is_any(text[DAY]),
                            .any_weekday = is_any(text[WEEKDAY])};
    uint64_t sets[FIELDS] = {0};

    for (size_t i = 0; i < FIELDS; i++) {
        bool either = (i == DAY || i == WEEKDAY) && is_any(text[i]);
        int rc = SYN_OK;

        if (!(i == DAY && cron.last_day))
            rc = parse_field(&fields[i], either ? "*" : text[i], &sets[i], err);
        if (rc < 0)
            return rc;
    }
    cron.seconds = sets[SECOND];
    cron.minutes = sets[MINUTE];
    cron.hours = (uint32_t)sets[HOUR];
    cron.days = (uint32_t)sets[DAY];
    cron.months = (uint16_t)sets[MONTH];
    cron.weekdays = (uint8_t)((sets[WEEKDAY] & 0x7f) | (sets[WEEKDAY] >> 7 & 1));
    if (!possible(&cron))
        return SYN_FAIL(err, SYN_E_INVALID, "schedule: no month it names has day %.20s", text[DAY]);
    *ret = cron;
    return SYN_OK;
}

static const char *
macro(const char *text)
{
    static const struct {
        const char *name, *fields;
    } macros[] = {
        {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
        {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
    };

    for (size_t i = 0; i < SYN_LEN(macros); i++)
        if (syn_str_eq(text, macros[i].name))
            return macros[i].fields;
    return text;
}

int
syn_cron_parse(const char *text, struct syn_cron *ret, struct syn_err *err)
{
    static char zero[] = "0";
    char copy[SYN_CRON_TEXT_MAX];
    char *words[FIELDS];
    size_t count;

    if (!syn_str_copy(copy, sizeof(copy), macro(text)))
        return SYN_FAIL(err, SYN_E_INVALID, "schedule: longer than %d bytes",
                        SYN_CRON_TEXT_MAX - 1);
    count = cut(copy, words);
    if (count == FIELDS - 1) {
        memmove(words + 1, words, (FIELDS - 1) * sizeof(words[0]));
        words[SECOND] = zero;
        count++;
    }
    if (count != FIELDS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "schedule: expected [second] minute hour day month weekday, such as \"0 8 "
                        "* * mon-fri\", got \"%.60s\"",
                        text);
    return parse_fields(words, ret, err);
}

/* ---- local time ---- */

/* The lowest member of at least `from`; -1 without one. */
static int
member_from(uint64_t set, int from)
{
    uint64_t left = from > 63 ? 0 : set >> from << from;

    return left ? __builtin_ctzll(left) : -1;
}

static bool
day_fits(const struct syn_cron *cron, const struct syn_date *date, int64_t days)
{
    bool day = cron->last_day ? date->day == syn_date_month_days(date->year, date->month)
                              : (cron->days >> date->day & 1) != 0;
    bool weekday = cron->weekdays >> syn_date_weekday(days) & 1;

    if (cron->any_day || cron->any_weekday)
        return day && weekday; /* the one that is not restricted has all */
    return day || weekday;
}

/* The first second of a day, at least `from`, that fits; -1 without one. */
static int
second_of_day(const struct syn_cron *cron, int from)
{
    int hour = member_from(cron->hours, from / 3600);
    int minute, second;

    while (hour >= 0) {
        bool same_hour = hour == from / 3600;

        minute = member_from(cron->minutes, same_hour ? from / 60 % 60 : 0);
        while (minute >= 0) {
            bool same = same_hour && minute == from / 60 % 60;

            second = member_from(cron->seconds, same ? from % 60 : 0);
            if (second >= 0)
                return hour * 3600 + minute * 60 + second;
            minute = member_from(cron->minutes, minute + 1);
        }
        hour = member_from(cron->hours, hour + 1);
    }
    return -1;
}

/* The first local time, at least `from_s`, that fits; INT64_MAX when there is none. */
static int64_t
local_next(const struct syn_cron *cron, int64_t from_s)
{
    int64_t days = from_s / DAY_S - (from_s % DAY_S < 0);
    int from = (int)(from_s - days * DAY_S);

    for (;;) {
        struct syn_date date = syn_date_of_days(days);
        int second;

        if (date.year > YEAR_MAX)
            return INT64_MAX;
        if (!(cron->months >> date.month & 1)) {
            days += syn_date_month_days(date.year, date.month) - date.day + 1;
            from = 0;
            continue;
        }
        second = day_fits(cron, &date, days) ? second_of_day(cron, from) : -1;
        if (second >= 0)
            return days * DAY_S + second;
        days++;
        from = 0;
    }
}

/* ---- and UTC ---- */

#define EVERY_HOUR UINT32_C(0xffffff)

int
syn_cron_next(const struct syn_cron *cron, const struct syn_zone *zone, int64_t after_ms,
              int64_t *ret_ms)
{
    bool by_passing = cron->hours == EVERY_HOUR;
    int64_t at_s = after_ms < 0 ? 0 : SYN_MIN(after_ms, MS_MAX) / 1000 + 1;

    for (;;) {
        struct syn_zone_span span = syn_zone_at(zone, at_s);
        int64_t local_s = at_s + span.offset_s;
        int64_t fits_s;

        if (!by_passing && at_s == span.from_s &&
            local_next(cron, at_s + span.before_s) < at_s + span.offset_s) {
            *ret_ms = at_s * 1000; /* it falls into the gap that ends here */
            return SYN_OK;
        }
        if (!by_passing && span.from_s != INT64_MIN && span.before_s > span.offset_s)
            local_s = SYN_MAX(local_s, span.from_s + span.before_s); /* not again */
        fits_s = local_next(cron, local_s);
        if (fits_s == INT64_MAX)
            return SYN_CRON_NEVER;
        if (fits_s - span.offset_s < span.until_s) {
            *ret_ms = (fits_s - span.offset_s) * 1000;
            return SYN_OK;
        }
        at_s = span.until_s;
    }
}
