/* What a heartbeat tells of calls: a row for each pair that has been used. */
#include "mesh_priv.h"

#define CALLS_MAX 512 /* as the server takes them */

static int
report_pair(const struct agt_mesh_pair *pair, const struct syn_balancer_counts *counts,
            json_t *list, struct syn_err *err)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"route", pair->route},
        {"requests", counts->requests},
        {"errors", counts->answers[5] + counts->connect_errors + counts->response_errors},
        {"retries", counts->retries},
        {"open", counts->open},
        {"servers", pair->servers},
        {"out", pair->servers - SYN_MIN(pair->servers, counts->servers_up)},
        {"mean_ms", counts->total_ms},
    };
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:s, s:s}", "caller", pair->caller, "callee", pair->callee);

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(classes); i++)
        rc = syn_json_set_i64(row, classes[i], (int64_t)counts->answers[i], err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(numbers); i++)
        rc = syn_json_set_i64(row, numbers[i].key, (int64_t)numbers[i].value, err);
    if (rc < 0) {
        json_decref(row);
        return rc;
    }
    return syn_json_append_take(list, row, err);
}

int
agt_mesh_report(const struct agt_mesh_table *table, const struct syn_balancer_stats *stats,
                json_t *list, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *by_backend = NULL;
    int rc = syn_map_new(NULL, &by_backend, err);

    for (size_t i = 0; rc == SYN_OK && i < stats->count; i++)
        rc = syn_map_put_take(by_backend, stats->backends[i].backend, &stats->backends[i], err);
    for (size_t i = 0; rc == SYN_OK && i < table->pair_count; i++) {
        const struct agt_mesh_pair *pair = &table->pairs[i];
        const struct syn_balancer_counts *counts = syn_map_find(by_backend, pair->backend);

        if (counts != NULL && counts->requests > 0 && json_array_size(list) < CALLS_MAX)
            rc = report_pair(pair, counts, list, err);
    }
    return rc;
}
