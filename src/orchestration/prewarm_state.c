/* What is known of a function's calls as a document: numbers in short lists. */
#include <synor/base/str.h>
#include <synor/orchestration/prewarm.h>

static int
write_list(json_t *doc, const char *key, const uint32_t *values, size_t count, struct syn_err *err)
{
    json_t *list = json_array();
    int rc = syn_json_set_take(doc, key, list, err);

    while (count > 0 && values[count - 1] == 0)
        count--;
    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        rc = syn_json_append_take(list, json_integer(values[i]), err);
    return rc;
}

static void
read_list(const json_t *doc, const char *key, uint32_t *ret, size_t count, uint32_t max)
{
    const json_t *list = json_object_get(doc, key);

    for (size_t i = 0; i < count; i++) {
        json_int_t value = json_integer_value(json_array_get(list, i));

        ret[i] = (uint32_t)SYN_MAX(SYN_MIN(value, (json_int_t)max), 0);
    }
}

int
syn_prewarm_state_write(const struct syn_prewarm_state *state, json_t **ret, struct syn_err *err)
{
    json_t *recent;
    SYN_JSON(doc);
    int rc =
        syn_json_pack(&doc, err, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:[]}", "last_ms",
                      (json_int_t)state->last_ms, "start_us", (json_int_t)state->start_us, "calls",
                      (json_int_t)state->calls, "scheduled", (json_int_t)state->scheduled,
                      "burst_ms", (json_int_t)state->burst_ms, "burst", (json_int_t)state->burst,
                      "minute", (json_int_t)state->minute, "recent_ms");

    recent = json_object_get(doc, "recent_ms");
    for (size_t i = 0; i < SYN_PREWARM_RECENT && state->recent_ms[i] > 0 && rc == SYN_OK; i++)
        rc = syn_json_append_take(recent, json_integer(state->recent_ms[i]), err);
    if (rc == SYN_OK)
        rc = write_list(doc, "bins", state->bins, SYN_PREWARM_BINS, err);
    if (rc == SYN_OK)
        rc = write_list(doc, "bursts", state->bursts, SYN_PREWARM_BURSTS, err);
    if (rc == SYN_OK)
        rc = write_list(doc, "peaks", state->peaks, SYN_PREWARM_MINUTES, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

#define MS_MAX (INT64_C(1) << 50)

static int64_t
number(const json_t *doc, const char *key, int64_t max)
{
    return SYN_MAX(SYN_MIN(syn_json_i64(doc, key, 0), max), 0);
}

void
syn_prewarm_state_read(const json_t *doc, struct syn_prewarm_state *ret)
{
    *ret = (struct syn_prewarm_state){
        .last_ms = number(doc, "last_ms", MS_MAX),
        .start_us = number(doc, "start_us", MS_MAX),
        .calls = (uint32_t)number(doc, "calls", INT32_MAX),
        .scheduled = (uint32_t)number(doc, "scheduled", INT32_MAX),
        .burst_ms = number(doc, "burst_ms", MS_MAX),
        .burst = (uint32_t)number(doc, "burst", INT32_MAX),
        .minute = number(doc, "minute", MS_MAX),
    };
    for (size_t i = 0; i < SYN_PREWARM_RECENT; i++)
        ret->recent_ms[i] = SYN_MAX(
            SYN_MIN(json_integer_value(json_array_get(json_object_get(doc, "recent_ms"), i)),
                    MS_MAX),
            0);
    read_list(doc, "bins", ret->bins, SYN_PREWARM_BINS, 65535);
    read_list(doc, "bursts", ret->bursts, SYN_PREWARM_BURSTS, 65535);
    read_list(doc, "peaks", ret->peaks, SYN_PREWARM_MINUTES, 100000);
    for (size_t i = 0; i < SYN_PREWARM_BINS; i++)
        ret->pauses += ret->bins[i];
}
