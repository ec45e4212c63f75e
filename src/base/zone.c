/* A zone is what has been decided (a list of transitions, oldest first) and what holds after the
 * last of them (a rule, or that the last offset stays). A zoneinfo file has both: the list in its
 * 64-bit block, the rule as text after it.
 *
 *     ----|----|----|----|- - - - |- - - - |- - -
 *          transitions     last     rule, year by year
 *
 * glibc's own tzset() was refused: it belongs to the process, reads files when it likes, and one
 * thread at a time can ask about one zone. */
#include <synor/base/zone.h>

#include <stdio.h>
#include <string.h>

#include <synor/base/date.h>
#include <synor/base/mem.h>

#define DAY_S          INT64_C(86400)
#define OFFSET_MAX_S   (26 * 3600) /* RFC 8536: -25:59:59 to +25:59:59 */
#define RULE_HOURS_MAX 167         /* a rule's hour may lie a week off its day */
#define TIME_S_MAX \
    INT64_C(253402300799) /* the year 9999 ends; a later time has the offset of then */
#define NEAR_MAX 8        /* transitions of a rule in four years */

enum day_kind { DAY_OF_YEAR, DAY_NO_LEAP, DAY_OF_WEEK };

/* When the offset changes in a year: at a local time of one day. */
struct turn {
    enum day_kind kind;
    int month, week, day;
    int32_t time_s;
};

struct rule {
    bool changes; /* has summer time */
    int32_t standard_s, summer_s;
    struct turn to_summer, to_standard;
};

struct transition {
    int64_t at_s;
    int32_t offset_s;
};

struct syn_zone {
    int32_t first_s; /* before all transitions */
    bool ruled;
    struct rule rule;
    size_t count;
    struct transition list[];
};

const struct syn_zone *
syn_zone_utc(void)
{
    static const struct syn_zone utc;

    return &utc;
}

struct syn_zone *
syn_zone_free(struct syn_zone *zone)
{
    syn_free(zone);
    return NULL;
}

void
syn_zone_free_scope(struct syn_zone **slot)
{
    *slot = syn_zone_free(*slot);
}

bool
syn_zone_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len >= SYN_ZONE_NAME_MAX || *name == '/' || strstr(name, "..") != NULL)
        return false;
    for (const char *at = name; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
              (*at >= '0' && *at <= '9') || strchr("/_-+", *at)))
            return false;
    return true;
}

/* ---- the rule's text ---- */

/* Digits at *at, moved past: `max` at most, -1 without one. */
static int
take_number(const char **at, int max)
{
    int value = 0;
    const char *start = *at;

    for (; **at >= '0' && **at <= '9'; (*at)++) {
        value = value * 10 + (**at - '0');
        if (value > max)
            return -1;
    }
    return *at > start ? value : -1;
}

static bool
take_name(const char **at)
{
    const char *start = *at;
    size_t len;

    if (**at == '<') {
        len = strcspn(*at, ">");
        if ((*at)[len] != '>' || len < 4)
            return false;
        *at += len + 1;
        return true;
    }
    while ((**at >= 'a' && **at <= 'z') || (**at >= 'A' && **at <= 'Z'))
        (*at)++;
    return *at - start >= 3;
}

/* [+-]hh[:mm[:ss]], in seconds. */
static bool
take_clock(const char **at, int hours_max, int32_t *ret)
{
    int sign = **at == '-' ? -1 : 1;
    int part[3] = {0};

    if (**at == '-' || **at == '+')
        (*at)++;
    for (int i = 0; i < 3; i++) {
        if (i > 0 && **at != ':')
            break;
        if (i > 0)
            (*at)++;
        part[i] = take_number(at, i == 0 ? hours_max : 59);
        if (part[i] < 0)
            return false;
    }
    *ret = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return true;
}

static bool
take_turn_day(const char **at, struct turn *turn)
{
    if (**at == 'M') {
        (*at)++;
        turn->kind = DAY_OF_WEEK;
        turn->month = take_number(at, 12);
        if (turn->month < 1 || *(*at)++ != '.')
            return false;
        turn->week = take_number(at, 5);
        if (turn->week < 1 || *(*at)++ != '.')
            return false;
        turn->day = take_number(at, 6);
        return turn->day >= 0;
    }
    turn->kind = **at == 'J' ? DAY_NO_LEAP : DAY_OF_YEAR;
    if (**at == 'J')
        (*at)++;
    turn->day = take_number(at, 365);
    return turn->day >= (turn->kind == DAY_NO_LEAP ? 1 : 0);
}

static bool
take_turn(const char **at, struct turn *turn)
{
    turn->time_s = 2 * 3600;
    if (*(*at)++ != ',' || !take_turn_day(at, turn))
        return false;
    if (**at != '/')
        return true;
    (*at)++;
    return take_clock(at, RULE_HOURS_MAX, &turn->time_s);
}

/* POSIX counts west of Greenwich as positive; everybody else, and we, east. */
static bool
rule_parse(const char *text, struct rule *ret)
{
    const char *at = text;
    struct rule rule = {0};
    int32_t west;

    if (!take_name(&at) || !take_clock(&at, 24, &west))
        return false;
    rule.standard_s = -west;
    if (*at != '\0') {
        rule.changes = true;
        if (!take_name(&at))
            return false;
        west -= 3600; /* where it is not said */
        if (*at != ',' && !take_clock(&at, 24, &west))
            return false;
        rule.summer_s = -west;
        if (!take_turn(&at, &rule.to_summer) || !take_turn(&at, &rule.to_standard) || *at != '\0')
            return false;
    }
    *ret = rule;
    return true;
}

/* ---- the rule's times ---- */

static int64_t
turn_day(const struct turn *turn, int64_t year)
{
    int64_t first = syn_date_days(year, 1, 1);
    int64_t day;
    int length;

    if (turn->kind == DAY_OF_YEAR)
        return first + turn->day;
    if (turn->kind == DAY_NO_LEAP) /* February 29 is never counted */
        return first + turn->day - 1 +
               (turn->day >= 60 && syn_date_month_days(year, 2) == 29 ? 1 : 0);
    first = syn_date_days(year, turn->month, 1);
    length = syn_date_month_days(year, turn->month);
    day = (turn->day - syn_date_weekday(first) + 7) % 7 + (turn->week - 1) * 7;
    return first + (day < length ? day : day - 7); /* week 5 is the last there is */
}

static void
insert_turn(struct transition *near, size_t *count, struct transition one)
{
    size_t i = (*count)++;

    for (; i > 0 && near[i - 1].at_s > one.at_s; i--)
        near[i] = near[i - 1];
    near[i] = one;
}

static struct syn_zone_span
rule_at(const struct rule *rule, int64_t unix_s)
{
    struct syn_zone_span span = {INT64_MIN, INT64_MAX, rule->standard_s, rule->standard_s};
    struct transition near[NEAR_MAX];
    size_t count = 0;
    int64_t year;

    if (!rule->changes)
        return span;
    year = syn_date_of_days(unix_s / DAY_S - (unix_s % DAY_S < 0)).year;
    for (int64_t y = year - 2; y <= year + 1; y++) {
        insert_turn(near, &count,
                    (struct transition){turn_day(&rule->to_summer, y) * DAY_S +
                                            rule->to_summer.time_s - rule->standard_s,
                                        rule->summer_s});
        insert_turn(near, &count,
                    (struct transition){turn_day(&rule->to_standard, y) * DAY_S +
                                            rule->to_standard.time_s - rule->summer_s,
                                        rule->standard_s});
    }
    for (size_t i = 0; i < count; i++) {
        if (near[i].at_s > unix_s) {
            span.until_s = near[i].at_s;
            break;
        }
        span.before_s = i > 0 ? near[i - 1].offset_s : near[i].offset_s;
        span.from_s = near[i].at_s;
        span.offset_s = near[i].offset_s;
    }
    return span;
}

/* The list's span, and after its end the rule's: never from before the end. */
struct syn_zone_span
syn_zone_at(const struct syn_zone *zone, int64_t unix_s)
{
    int64_t at_s = SYN_MIN(unix_s, TIME_S_MAX);
    struct syn_zone_span span = {INT64_MIN, INT64_MAX, zone->first_s, zone->first_s};
    struct syn_zone_span ruled;
    size_t low = 0, high = zone->count; /* list[low - 1].at_s <= at_s < list[high].at_s */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (zone->list[middle].at_s <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        span.from_s = zone->list[low - 1].at_s;
        span.offset_s = zone->list[low - 1].offset_s;
        span.before_s = low > 1 ? zone->list[low - 2].offset_s : zone->first_s;
    }
    if (low < zone->count) {
        span.until_s = zone->list[low].at_s;
        return span;
    }
    if (!zone->ruled)
        return span;
    ruled = rule_at(&zone->rule, at_s);
    if (ruled.from_s > span.from_s)
        return ruled;
    span.until_s = ruled.until_s; /* the list ends within this span of the rule */
    return span;
}

/* ---- the file ---- */

static struct syn_zone *
zone_new(size_t count, struct syn_err *err)
{
    struct syn_zone *zone = syn_calloc(1, sizeof(*zone) + count * sizeof(zone->list[0]));

    if (zone == NULL) {
        (void)SYN_FAIL(err, SYN_E_NOMEM, "reading a time zone: out of memory");
        return NULL;
    }
    zone->count = count;
    return zone;
}

int
syn_zone_rule(const char *text, struct syn_zone **ret, struct syn_err *err)
{
    struct rule rule;
    struct syn_zone *zone;

    if (!rule_parse(text, &rule))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.60s\" is no rule of a time zone", text);
    zone = zone_new(0, err);
    if (zone == NULL)
        return SYN_E_NOMEM;
    zone->ruled = true;
    zone->rule = rule;
    zone->first_s = rule.standard_s;
    *ret = zone;
    return SYN_OK;
}

/* A TZif header: what its block has how many of. */
struct header {
    uint32_t isut, isstd, leaps, times, types, chars;
};

#define HEADER_BYTES 44

static uint32_t
be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t
be64(const uint8_t *at)
{
    return (int64_t)((uint64_t)be32(at) << 32 | be32(at + 4));
}

static bool
read_header(const uint8_t *at, size_t len, struct header *ret)
{
    if (len < HEADER_BYTES || memcmp(at, "TZif", 4) != 0 || at[4] < '2')
        return false;
    *ret = (struct header){be32(at + 20), be32(at + 24), be32(at + 28),
                           be32(at + 32), be32(at + 36), be32(at + 40)};
    return ret->isut <= SYN_ZONE_BYTES_MAX && ret->isstd <= SYN_ZONE_BYTES_MAX &&
           ret->leaps == 0 && /* "right/": its seconds are not Unix time's */
           ret->times <= SYN_ZONE_TRANSITIONS_MAX && ret->types >= 1 && ret->types <= 256 &&
           ret->chars <= SYN_ZONE_BYTES_MAX;
}

/* Bytes of the block after the header, whose times have `width` bytes. */
static size_t
block_bytes(const struct header *header, size_t width)
{
    return header->times * (width + 1) + (size_t)header->types * 6 + header->chars + header->isstd +
           header->isut;
}

static bool
read_block(const uint8_t *block, const struct header *header, struct syn_zone *zone)
{
    const uint8_t *kinds = block + (size_t)header->times * 8;
    const uint8_t *types = kinds + header->times;

    for (uint32_t i = 0; i < header->types; i++) {
        int32_t offset = (int32_t)be32(types + (size_t)i * 6);

        if (offset <= -OFFSET_MAX_S || offset >= OFFSET_MAX_S)
            return false;
    }
    zone->first_s = (int32_t)be32(types);
    for (uint32_t i = 0; i < header->times; i++) {
        struct transition *one = &zone->list[i];

        if (kinds[i] >= header->types)
            return false;
        one->at_s = be64(block + (size_t)i * 8);
        one->offset_s = (int32_t)be32(types + (size_t)kinds[i] * 6);
        if (i > 0 && one->at_s <= one[-1].at_s)
            return false;
    }
    return true;
}

/* "\nRULE\n" after the block; an empty one says that the last offset stays. */
static bool
read_footer(const uint8_t *at, size_t len, struct syn_zone *zone)
{
    char text[128];
    const uint8_t *end;

    if (len < 2 || at[0] != '\n')
        return false;
    end = memchr(at + 1, '\n', len - 1);
    if (end == NULL || (size_t)(end - at) > sizeof(text))
        return false;
    memcpy(text, at + 1, (size_t)(end - at) - 1);
    text[end - at - 1] = '\0';
    zone->ruled = text[0] != '\0';
    return !zone->ruled ||
           (strlen(text) == (size_t)(end - at) - 1 && rule_parse(text, &zone->rule));
}

int
syn_zone_read(const void *bytes, size_t len, struct syn_zone **ret, struct syn_err *err)
{
    const uint8_t *at = bytes;
    size_t left = len;
    struct header header;
    SYN_SCOPED(syn_zone_free_scope) struct syn_zone *zone = NULL;

    if (len > SYN_ZONE_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a time zone of %zu bytes; at most %d", len,
                        SYN_ZONE_BYTES_MAX);
    for (size_t width = 4; width <= 8; width += 4) { /* an old block, then the one that counts */
        size_t block;

        if (!read_header(at, left, &header))
            goto fail;
        block = block_bytes(&header, width);
        at += HEADER_BYTES;
        left -= HEADER_BYTES;
        if (block > left)
            goto fail;
        if (width == 8) {
            zone = zone_new(header.times, err);
            if (zone == NULL)
                return SYN_E_NOMEM;
            if (!read_block(at, &header, zone))
                goto fail;
        }
        at += block;
        left -= block;
    }
    if (!read_footer(at, left, zone))
        goto fail;
    *ret = SYN_TAKE(zone);
    return SYN_OK;
fail:
    return SYN_FAIL(err, SYN_E_INVALID, "this is no zoneinfo file of version 2 or later");
}
