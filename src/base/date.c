#include <synor/base/date.h>

/* Howard Hinnant's "chrono-compatible low-level date algorithms": years are counted from March, so
 * that the leap day is the last of one. */
int64_t
syn_date_days(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

struct syn_date
syn_date_of_days(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct syn_date date = {.day = (int)(doy - (153 * mp + 2) / 5 + 1),
                            .month = (int)(mp < 10 ? mp + 3 : mp - 9)};

    date.year = yoe + era * 400 + (date.month <= 2 ? 1 : 0);
    return date;
}

int
syn_date_month_days(int64_t year, int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    assert(month >= 1 && month <= 12);
    return month == 2 && leap ? 29 : days[month - 1];
}

int
syn_date_weekday(int64_t days)
{
    int64_t since = (days + 4) % 7; /* 1970-01-01 was a Thursday */

    return (int)(since < 0 ? since + 7 : since);
}
