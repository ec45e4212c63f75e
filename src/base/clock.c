#include <synor/base/clock.h>

#define S_NS  INT64_C(1000000000)
#define MS_NS INT64_C(1000000)

int64_t
syn_clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * S_NS + now.tv_nsec;
}

struct timespec
syn_clock_in_ms(int64_t ms)
{
    int64_t then = syn_clock_ns() + ms * MS_NS;

    return (struct timespec){.tv_sec = (time_t)(then / S_NS), .tv_nsec = (long)(then % S_NS)};
}
