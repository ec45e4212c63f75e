/* Functions as metrics: counters since this server started, from what the gateway reports. Who has
 * them all for longer asks for a function's own metrics, which are kept. */
#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/infra/metrics.h>

#include "function_starts_priv.h"

enum counter { CALLS, ERRORS, THROTTLED, COLD, SECONDS, COUNTERS };

static const struct syn_metric counters[COUNTERS] = {
    [CALLS] = {.name = "synor_function_calls_total",
               .help = "Calls of functions that ran",
               .type = SYN_METRIC_COUNTER,
               .labels = {"account", "function", "trigger"}},
    [ERRORS] = {.name = "synor_function_errors_total",
                .help = "Calls of functions that failed, or waited in vain",
                .type = SYN_METRIC_COUNTER,
                .labels = {"account", "function", "trigger"}},
    [THROTTLED] = {.name = "synor_function_throttled_total",
                   .help = "Calls of functions that were refused because too many wait",
                   .type = SYN_METRIC_COUNTER,
                   .labels = {"account", "function", "trigger"}},
    [COLD] = {.name = "synor_function_cold_starts_total",
              .help = "Calls of functions that had to wait for an instance to start",
              .type = SYN_METRIC_COUNTER,
              .labels = {"account", "function", "trigger"}},
    [SECONDS] = {.name = "synor_function_duration_seconds_total",
                 .help = "Time that calls of functions took, waiting not included",
                 .type = SYN_METRIC_COUNTER,
                 .labels = {"account", "function", "trigger"},
                 .scale = 1e-6},
};

int
srv_function_metrics_open(struct syn_server *server, struct syn_err *err)
{
    int rc = syn_metrics_add(server->metrics, counters, SYN_LEN(counters), err);

    return rc < 0 ? rc : srv_starts_metrics_open(server, err);
}

void
srv_function_metrics_add(struct syn_server *server, const json_t *function,
                         const struct srv_calls *calls)
{
    const char *const labels[] = {syn_json_str(function, "account", ""),
                                  syn_json_str(function, "name", ""), calls->trigger};
    const int64_t values[COUNTERS] = {[CALLS] = calls->count,
                                      [ERRORS] = calls->errors,
                                      [THROTTLED] = calls->throttled,
                                      [COLD] = calls->cold,
                                      [SECONDS] = calls->duration_us};

    for (unsigned i = 0; i < COUNTERS; i++) {
        struct syn_series *series;
        struct syn_err err = {0};

        if (values[i] == 0)
            continue;
        if (syn_metrics_series(server->metrics, &counters[i], labels, &series, &err) == SYN_OK)
            syn_series_add(series, values[i]);
        else
            syn_log_err(SYN_LOG_DEBUG, "functions.metric", &err);
    }
}
