/* What schedules say of a function at a time: how many instances are to be ready, and when it is
 * called next. */
#include <synor/workload/function_spec.h>

#include <synor/base/cron.h>
#include <synor/base/str.h>

/* False: never, or nobody here knows. */
static bool
next_of(const json_t *row, const struct syn_zone_source *zones, int64_t after_ms, int64_t *ret)
{
    const struct syn_zone *zone = zones->find(zones->self, syn_json_str(row, "zone", "UTC"));
    struct syn_cron cron;

    return zone != NULL && syn_cron_parse(syn_json_str(row, "cron", ""), &cron, NULL) == SYN_OK &&
           syn_cron_next(&cron, zone, after_ms, ret) == SYN_OK;
}

int64_t
syn_function_warmup_at(const json_t *spec, const struct syn_zone_source *zones, int64_t at_ms,
                       int64_t *ret_until_ms)
{
    int64_t instances = 0;
    const json_t *row;
    size_t i;

    *ret_until_ms = INT64_MAX;
    json_array_foreach (json_object_get(spec, "warmup"), i, row) {
        int64_t for_ms = syn_json_i64(row, "for_ms", 0), begin_ms, next_ms;

        if (next_of(row, zones, at_ms, &next_ms))
            *ret_until_ms = SYN_MIN(*ret_until_ms, next_ms);
        if (!next_of(row, zones, at_ms - for_ms, &begin_ms) || begin_ms > at_ms)
            continue;
        *ret_until_ms = SYN_MIN(*ret_until_ms, begin_ms + for_ms);
        instances = SYN_MAX(instances, syn_json_i64(row, "instances", 1));
    }
    return instances;
}

int64_t
syn_function_warmup_next(const json_t *warmup, const struct syn_zone_source *zones,
                         int64_t after_ms)
{
    int64_t next_ms = 0;

    return next_of(warmup, zones, after_ms, &next_ms) ? next_ms : 0;
}

int64_t
syn_function_fire(const json_t *spec, const struct syn_zone_source *zones, int64_t after_ms)
{
    int64_t first_ms = 0;
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(spec, "triggers"), i, row) {
        int64_t next_ms;

        if (syn_str_eq(syn_json_str(row, "type", ""), "schedule") &&
            next_of(row, zones, after_ms, &next_ms) && (first_ms == 0 || next_ms < first_ms))
            first_ms = next_ms;
    }
    return first_ms;
}
