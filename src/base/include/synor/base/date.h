/* Days of the civil calendar (Gregorian, also before it was), without clock, zone or text. */
#ifndef SYNOR_BASE_DATE_H
#define SYNOR_BASE_DATE_H

#include <synor/base/core.h>

struct syn_date {
    int64_t year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
};

/** Days from 1970-01-01 to a date that there is. */
int64_t syn_date_days(int64_t year, int month, int day);
/** The inverse. */
struct syn_date syn_date_of_days(int64_t days);
/** Days of a month, 28..31. */
int syn_date_month_days(int64_t year, int month);
/** 0 is Sunday. */
int syn_date_weekday(int64_t days);

#endif
