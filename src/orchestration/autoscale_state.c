/* The state of an autoscaled service as a document, small: a number for each metric and each slot.
 */
#include <synor/base/str.h>

#include "autoscale_priv.h"

static int
write_level(const struct syn_autoscale_metric *metric, const struct syn_autoscale_level *level,
            json_t *levels, struct syn_err *err)
{
    char key[SYN_AUTOSCALE_KEY_MAX];
    json_t *row = NULL;
    int rc;

    if (!level->known)
        return SYN_OK;
    rc = syn_json_pack(&row, err, "[I, I]", (json_int_t)level->level, (json_int_t)level->slope);
    return rc < 0 ? rc : syn_json_set_take(levels, syn_autoscale_metric_key(metric, key), row, err);
}

static int
write_past(const struct syn_autoscale_past *past, json_t *doc, const char *key, struct syn_err *err)
{
    json_t *row = NULL;
    int rc;

    if (past->used == 0)
        return SYN_OK;
    rc = syn_json_pack(&row, err, "{s:I, s:[]}", "slot", (json_int_t)past->slot, "needed");
    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, key, row, err);
    for (uint32_t i = 0; i < past->used && rc == SYN_OK; i++)
        rc = syn_json_append_take(json_object_get(row, "needed"), json_integer(past->needed[i]),
                                  err);
    return rc;
}

int
syn_autoscale_state_write(const struct syn_autoscale_rule *rule,
                          const struct syn_autoscale_state *state, json_t **ret,
                          struct syn_err *err)
{
    SYN_JSON(doc);
    json_t *levels;
    int rc = syn_json_pack(&doc, err, "{s:I, s:I, s:I, s:{}, s:[I, I]}", "at",
                           (json_int_t)state->at_ms, "changed", (json_int_t)state->changed_ms,
                           "busy", (json_int_t)state->busy_ms, "levels", "period",
                           (json_int_t)state->period.from_ms, (json_int_t)state->period.replicas);

    levels = json_object_get(doc, "levels");
    for (size_t i = 0; i < rule->metrics_count && rc == SYN_OK; i++)
        rc = write_level(&rule->metrics[i], &state->levels[i], levels, err);
    if (rc == SYN_OK)
        rc = write_past(&state->up, doc, "up", err);
    if (rc == SYN_OK)
        rc = write_past(&state->down, doc, "down", err);
    if (rc == SYN_OK)
        rc = write_past(&state->hold, doc, "hold", err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* ---- reading: what is no number of ours is 0 ---- */

static int64_t
number_at(const json_t *array, size_t i, int64_t min, int64_t max)
{
    int64_t value = json_integer_value(json_array_get(array, i));

    return SYN_MAX(SYN_MIN(value, max), min);
}

static void
read_past(const json_t *doc, struct syn_autoscale_past *ret)
{
    const json_t *needed = json_object_get(doc, "needed");

    *ret = (struct syn_autoscale_past){.slot = syn_json_i64(doc, "slot", 0)};
    if (ret->slot <= 0)
        return;
    ret->used = (uint32_t)SYN_MIN(json_array_size(needed), (size_t)SYN_AUTOSCALE_SLOTS);
    for (uint32_t i = 0; i < ret->used; i++)
        ret->needed[i] = (uint32_t)number_at(needed, i, 0, SYN_AUTOSCALE_REPLICAS_MAX);
}

void
syn_autoscale_state_read(const struct syn_autoscale_rule *rule, const json_t *doc,
                         struct syn_autoscale_state *ret)
{
    const json_t *levels = json_object_get(doc, "levels");
    const json_t *period = json_object_get(doc, "period");

    *ret = (struct syn_autoscale_state){.at_ms = SYN_MAX(syn_json_i64(doc, "at", 0), 0),
                                        .changed_ms = SYN_MAX(syn_json_i64(doc, "changed", 0), 0),
                                        .busy_ms = SYN_MAX(syn_json_i64(doc, "busy", 0), 0)};
    for (size_t i = 0; i < rule->metrics_count; i++) {
        char key[SYN_AUTOSCALE_KEY_MAX];
        const json_t *row =
            json_object_get(levels, syn_autoscale_metric_key(&rule->metrics[i], key));

        if (json_array_size(row) == 2)
            ret->levels[i] = (struct syn_autoscale_level){
                .known = true,
                .level = number_at(row, 0, 0, AUTOSCALE_SUM_MAX),
                .slope = number_at(row, 1, -AUTOSCALE_SUM_MAX, AUTOSCALE_SUM_MAX)};
    }
    read_past(json_object_get(doc, "up"), &ret->up);
    read_past(json_object_get(doc, "down"), &ret->down);
    read_past(json_object_get(doc, "hold"), &ret->hold);
    ret->period.from_ms = number_at(period, 0, 0, INT64_MAX);
    ret->period.replicas = (uint32_t)number_at(period, 1, 0, SYN_AUTOSCALE_REPLICAS_MAX);
}
