/* Schedules as cron writes them, with seconds and in a time zone: which times they name.
 *
 *     [second] minute hour day-of-month month day-of-week
 *
 * Five fields begin at second 0. A field is a list of values, ranges `a-b`, `*` and steps `/n`;
 * months and days of the week may be named (jan, mon; 0 and 7 are Sunday); `L` is the last day of
 * the month; `?` is `*`. When both days are restricted either is enough, as in every cron.
 * @hourly, @daily, @weekly, @monthly and @yearly are what they say.
 *
 * When clocks change: a schedule of certain hours runs once for each time it names. What falls into
 * the hour that is left out runs when clocks have gone forward, once; what falls into the hour that
 * comes twice runs the first time. A schedule of every hour goes by the time that passes: it leaves
 * nothing out, and runs in both. */
#ifndef SYNOR_BASE_CRON_H
#define SYNOR_BASE_CRON_H

#include <synor/base/zone.h>

#define SYN_CRON_TEXT_MAX 256

/** One bit a value. */
struct syn_cron {
    uint64_t seconds, minutes;
    uint32_t hours;
    uint32_t days;   /* bits 1..31 */
    uint16_t months; /* bits 1..12 */
    uint8_t weekdays;
    bool last_day;
    bool any_day, any_weekday; /* not restricted */
};

/** There is no such time, up to the year 9999. */
#define SYN_CRON_NEVER 1

/** INVALID names the field and what it may be; so for a date that never comes (February 30). */
SYN_MUST int syn_cron_parse(const char *text, struct syn_cron *ret, struct syn_err *err);
/** The first time after `after_ms`. Returns 0 or SYN_CRON_NEVER. */
int syn_cron_next(const struct syn_cron *cron, const struct syn_zone *zone, int64_t after_ms,
                  int64_t *ret_ms);

#endif
