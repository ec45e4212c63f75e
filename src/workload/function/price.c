#include <synor/workload/function_spec.h>

#define MS_NS INT64_C(1000000)

int64_t
syn_function_billed_ms(int64_t duration_ns)
{
    if (duration_ns <= MS_NS)
        return 1;
    return duration_ns / MS_NS + (duration_ns % MS_NS != 0 ? 1 : 0);
}
