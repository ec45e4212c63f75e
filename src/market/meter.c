#include <synor/market/meter.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "exact_priv.h"

#define TIME_MAX_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

/* ---- capacity and usage ---- */

static int
check_range(int64_t value, int64_t max, const char *path, const char *key, struct syn_err *err)
{
    if (value < 0 || value > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: expected 0..%lld, got %lld", path, key,
                        (long long)max, (long long)value);
    return SYN_OK;
}

int
syn_capacity_check(const struct syn_capacity *capacity, const char *path, struct syn_err *err)
{
    int rc =
        check_range(capacity->cpu_millicores, SYN_CAPACITY_CPU_MAX, path, "cpu_millicores", err);

    if (rc == 0)
        rc = check_range(capacity->memory_bytes, SYN_CAPACITY_BYTES_MAX, path, "memory_bytes", err);
    if (rc == 0)
        rc = check_range(capacity->scratch_bytes, SYN_CAPACITY_BYTES_MAX, path, "scratch_bytes",
                         err);
    if (rc == 0)
        rc = check_range(capacity->gpus, SYN_CAPACITY_GPUS_MAX, path, "gpus", err);
    if (rc == 0)
        rc = check_range(capacity->gpu_permille, 1000, path, "gpu_permille", err);
    if (rc != 0)
        return rc;
    if ((capacity->gpus > 0) != (capacity->gpu_model[0] != '\0'))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: gpus and gpu_model go together", path);
    if (capacity->gpus > 0 && !syn_name_ok(capacity->gpu_model))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.gpu_model: '%.31s' must be of a-z 0-9 -", path,
                        capacity->gpu_model);
    if (capacity->gpu_permille > 0 && capacity->gpus != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.gpu_permille: a part is one of one card", path);
    return SYN_OK;
}

/* Where `item` stands or belongs. */
static size_t
usage_place(const struct syn_usage_sum *usage, const char *item)
{
    size_t at = 0;

    while (at < usage->count && strcmp(usage->items[at].item, item) < 0)
        at++;
    return at;
}

int
syn_usage_add(struct syn_usage_sum *usage, const char *item, enum syn_measure measure,
              syn_u128 quantity, struct syn_err *err)
{
    size_t at = usage_place(usage, item);
    struct syn_usage_item *slot = &usage->items[at];
    struct syn_usage_item fresh = {.measure = measure, .quantity = quantity};

    if (quantity == 0)
        return SYN_OK;
    if (at < usage->count && syn_str_eq(slot->item, item)) {
        if (slot->measure != measure)
            return SYN_FAIL(err, SYN_E_INVALID, "usage of %s: counted in %s, not in %s", item,
                            syn_measure_name(slot->measure), syn_measure_name(measure));
        if (!syn_exact_add(slot->quantity, quantity, &slot->quantity))
            return SYN_FAIL(err, SYN_E_LIMIT, "usage of %s: the sum passes 128 bits", item);
        return SYN_OK;
    }
    if (item[0] == '\0' || !syn_str_copy(fresh.item, sizeof(fresh.item), item))
        return SYN_FAIL(err, SYN_E_INVALID, "usage: the item '%.60s' is empty or too long", item);
    if (usage->count == SYN_USAGE_ITEMS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "usage: more than %d items", SYN_USAGE_ITEMS_MAX);
    memmove(slot + 1, slot, (usage->count - at) * sizeof(*slot));
    *slot = fresh;
    usage->count++;
    return SYN_OK;
}

static const struct syn_usage_item *
usage_find(const struct syn_usage_sum *usage, const char *item)
{
    size_t at = usage_place(usage, item);

    return at < usage->count && syn_str_eq(usage->items[at].item, item) ? &usage->items[at] : NULL;
}

int
syn_usage_since(const struct syn_usage_sum *now, const struct syn_usage_sum *before,
                struct syn_usage_sum *ret, struct syn_err *err)
{
    struct syn_usage_sum since = {0};
    size_t met = 0;
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < now->count; i++) {
        const struct syn_usage_item *item = &now->items[i];
        const struct syn_usage_item *old = usage_find(before, item->item);

        if (old && (old->measure != item->measure || old->quantity > item->quantity))
            return SYN_FAIL(err, SYN_E_INVALID, "usage of %s: there was more of it before",
                            item->item);
        met += old != NULL;
        rc = syn_usage_add(&since, item->item, item->measure,
                           item->quantity - (old ? old->quantity : 0), err);
    }
    if (rc == SYN_OK && met < before->count)
        return SYN_FAIL(err, SYN_E_INVALID, "usage: an item of before is missing");
    if (rc == SYN_OK)
        *ret = since;
    return rc;
}

int
syn_usage_add_capacity(struct syn_usage_sum *usage, const struct syn_capacity *capacity,
                       int64_t span_ms, struct syn_err *err)
{
    struct syn_usage_sum sum = *usage;
    syn_u128 span = (syn_u128)span_ms;
    char gpu[SYN_ITEM_MAX];
    int rc;

    assert(span_ms >= 0);
    static_assert(sizeof("gpu:") + SYN_GPU_MODEL_MAX <= SYN_ITEM_MAX, "room for the item");
    rc = syn_capacity_check(capacity, "capacity", err);
    if (rc == 0)
        rc = syn_usage_add(&sum, "cpu", SYN_MEASURE_MILLICORE_MS,
                           (syn_u128)capacity->cpu_millicores * span, err);
    if (rc == 0)
        rc = syn_usage_add(&sum, "memory", SYN_MEASURE_BYTE_MS,
                           (syn_u128)capacity->memory_bytes * span, err);
    if (rc == 0)
        rc = syn_usage_add(&sum, "scratch", SYN_MEASURE_BYTE_MS,
                           (syn_u128)capacity->scratch_bytes * span, err);
    if (rc == 0 && capacity->gpus > 0) {
        (void)snprintf(gpu, sizeof(gpu), "gpu:%s", capacity->gpu_model);
        rc = capacity->gpu_permille > 0
                 ? syn_usage_add(&sum, gpu, SYN_MEASURE_GPU_PERMILLE_MS,
                                 (syn_u128)capacity->gpu_permille * span, err)
                 : syn_usage_add(&sum, gpu, SYN_MEASURE_GPU_MS, (syn_u128)capacity->gpus * span,
                                 err);
    }
    if (rc == 0)
        *usage = sum;
    return rc;
}

/* ---- meters ---- */

static int
copy_name(char *dst, size_t cap, const char *text, const char *what, struct syn_err *err)
{
    if (!syn_name_ok(text) || !syn_str_copy(dst, cap, text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: '%.64s' is not a name of a-z 0-9 -", what, text);
    return SYN_OK;
}

int
syn_meter_init(struct syn_meter *meter, const char *instance, struct syn_err *err)
{
    struct syn_meter fresh = {0};
    int rc = copy_name(fresh.instance, sizeof(fresh.instance), instance, "instance", err);

    if (rc == 0)
        *meter = fresh;
    return rc;
}

static int
check_sample(const struct syn_sample *sample, struct syn_err *err)
{
    int rc;

    if (sample->seq < 1 || sample->seq > SYN_SAMPLE_SEQ_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "sample.seq: %lld is out of range",
                        (long long)sample->seq);
    if (sample->from_ms < 0 || sample->to_ms > TIME_MAX_MS || sample->from_ms >= sample->to_ms)
        return SYN_FAIL(err, SYN_E_INVALID, "sample %lld: [%lld, %lld) is not an interval",
                        (long long)sample->seq, (long long)sample->from_ms,
                        (long long)sample->to_ms);
    if (sample->to_ms - sample->from_ms > SYN_SAMPLE_SPAN_MAX_MS)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "sample %lld: covers %lld ms, at most %lld; cut it into several",
                        (long long)sample->seq, (long long)(sample->to_ms - sample->from_ms),
                        (long long)SYN_SAMPLE_SPAN_MAX_MS);
    rc = syn_capacity_check(&sample->reserved, "reserved", err);
    if (rc == 0)
        rc =
            check_range(sample->egress_bytes, SYN_SAMPLE_EGRESS_MAX, "sample", "egress_bytes", err);
    if (rc == 0)
        rc = check_range(sample->used.cpu_ms, INT64_MAX, "used", "cpu_ms", err);
    if (rc == 0)
        rc = check_range(sample->used.memory_peak_bytes, INT64_MAX, "used", "memory_peak_bytes",
                         err);
    if (rc == 0)
        rc = check_range(sample->used.scratch_used_bytes, INT64_MAX, "used", "scratch_used_bytes",
                         err);
    if (rc == 0)
        rc = check_range(sample->used.throttled_ms, INT64_MAX, "used", "throttled_ms", err);
    return rc < 0 ? syn_err_wrap(err, rc, "sample %lld", (long long)sample->seq) : SYN_OK;
}

/* Does `sample` continue a sequence that ended with `seq` at `to_ms`? */
static int
check_next(int64_t seq, int64_t to_ms, const struct syn_sample *sample, struct syn_err *err)
{
    if (sample->seq != seq + 1)
        return SYN_FAIL(err, SYN_E_CONFLICT, "sample %lld: expected sample %lld",
                        (long long)sample->seq, (long long)seq + 1);
    if (seq > 0 && sample->from_ms != to_ms)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "sample %lld: starts at %lld ms, sample %lld ended at "
                        "%lld ms: %s of %lld ms",
                        (long long)sample->seq, (long long)sample->from_ms, (long long)seq,
                        (long long)to_ms, sample->from_ms > to_ms ? "a gap" : "an overlap",
                        (long long)(sample->from_ms > to_ms ? sample->from_ms - to_ms
                                                            : to_ms - sample->from_ms));
    return SYN_OK;
}

/* Times add up, of sizes the largest counts. */
static int
add_observed(const struct syn_observed *used, struct syn_observed *total, struct syn_err *err)
{
    struct syn_observed next = {
        .memory_peak_bytes = SYN_MAX(total->memory_peak_bytes, used->memory_peak_bytes),
        .scratch_used_bytes = SYN_MAX(total->scratch_used_bytes, used->scratch_used_bytes),
    };

    if (__builtin_add_overflow(total->cpu_ms, used->cpu_ms, &next.cpu_ms) ||
        __builtin_add_overflow(total->throttled_ms, used->throttled_ms, &next.throttled_ms))
        return SYN_FAIL(err, SYN_E_LIMIT, "the CPU time used overflows");
    *total = next;
    return SYN_OK;
}

int
syn_meter_add(struct syn_meter *meter, const struct syn_sample *sample, struct syn_err *err)
{
    struct syn_observed used = meter->used;
    struct syn_usage_sum usage = meter->usage;
    int rc = check_sample(sample, err);

    if (rc == 0)
        rc = check_next(meter->seq, meter->to_ms, sample, err);
    if (rc == 0) {
        rc = add_observed(&sample->used, &used, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "sample %lld", (long long)sample->seq);
    }
    if (rc == 0)
        rc =
            syn_usage_add_capacity(&usage, &sample->reserved, sample->to_ms - sample->from_ms, err);
    if (rc == 0)
        rc = syn_usage_add(&usage, "egress", SYN_MEASURE_BYTE, (syn_u128)sample->egress_bytes, err);
    if (rc != 0)
        return rc;
    if (meter->seq == 0)
        meter->from_ms = sample->from_ms;
    meter->seq = sample->seq;
    meter->to_ms = sample->to_ms;
    meter->used = used;
    meter->usage = usage;
    return SYN_OK;
}

int
syn_meter_accept(struct syn_meter *meter, const struct syn_report *report, bool signature_ok,
                 struct syn_err *err)
{
    struct syn_meter next = *meter;

    if (!signature_ok)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "the usage report of %s is not signed by the key of node %s",
                        report->instance, report->node);
    if (!syn_str_eq(meter->instance, report->instance))
        return SYN_FAIL(err, SYN_E_CONFLICT, "a usage report of %s came for %s", report->instance,
                        meter->instance);
    for (size_t i = 0; i < report->count; i++) {
        int rc = syn_meter_add(&next, &report->samples[i], err);

        if (rc != 0)
            return syn_err_wrap(err, rc, "usage of %s", report->instance);
    }
    *meter = next;
    return SYN_OK;
}

/* ---- JSON ---- */

static int
get_text(const json_t *doc, const char *path, const char *key, char *out, size_t cap,
         struct syn_err *err)
{
    const char *text;
    int rc = syn_json_get_str(doc, path, key, &text, err);

    if (rc == 0 && !syn_str_copy(out, cap, text))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.%s: longer than %zu bytes", path, key, cap - 1);
    return rc;
}

/* `throttled_ms`, and `egress_bytes` of a sample, stand there when they are not zero: what was
 * signed before there was such a field keeps its bytes. */
static int
encode_observed(const struct syn_observed *used, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{s:I, s:I, s:I}", "cpu_ms", (json_int_t)used->cpu_ms,
                           "memory_peak_bytes", (json_int_t)used->memory_peak_bytes,
                           "scratch_used_bytes", (json_int_t)used->scratch_used_bytes);

    if (rc == 0 && used->throttled_ms != 0)
        rc = syn_json_set_i64(doc, "throttled_ms", used->throttled_ms, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
decode_observed(const json_t *doc, struct syn_observed *used, struct syn_err *err)
{
    static const char *const known[] = {"cpu_ms", "memory_peak_bytes", "scratch_used_bytes",
                                        "throttled_ms", NULL};
    json_t *obj;
    int rc = syn_json_get_obj(doc, "sample", "used", &obj, err);

    if (rc == 0)
        rc = syn_json_only_keys(obj, "used", known, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "used", "cpu_ms", 0, INT64_MAX, &used->cpu_ms, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "used", "memory_peak_bytes", 0, INT64_MAX,
                              &used->memory_peak_bytes, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "used", "scratch_used_bytes", 0, INT64_MAX,
                              &used->scratch_used_bytes, err);
    if (rc == 0 && json_object_get(obj, "throttled_ms"))
        rc = syn_json_get_i64(obj, "used", "throttled_ms", 1, INT64_MAX, &used->throttled_ms, err);
    return rc;
}

static int
decode_capacity(const json_t *doc, struct syn_capacity *capacity, struct syn_err *err)
{
    static const char *const known[] = {"cpu_millicores",
                                        "memory_bytes",
                                        "scratch_bytes",
                                        "gpu_model",
                                        "gpus",
                                        "gpu_permille",
                                        NULL};
    json_t *obj;
    int rc = syn_json_get_obj(doc, "sample", "reserved", &obj, err);

    if (rc == 0)
        rc = syn_json_only_keys(obj, "reserved", known, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "reserved", "cpu_millicores", 0, SYN_CAPACITY_CPU_MAX,
                              &capacity->cpu_millicores, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "reserved", "memory_bytes", 0, SYN_CAPACITY_BYTES_MAX,
                              &capacity->memory_bytes, err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "reserved", "scratch_bytes", 0, SYN_CAPACITY_BYTES_MAX,
                              &capacity->scratch_bytes, err);
    if (rc == 0)
        rc = get_text(obj, "reserved", "gpu_model", capacity->gpu_model,
                      sizeof(capacity->gpu_model), err);
    if (rc == 0)
        rc = syn_json_get_i64(obj, "reserved", "gpus", 0, SYN_CAPACITY_GPUS_MAX, &capacity->gpus,
                              err);
    if (rc == 0 && json_object_get(obj, "gpu_permille"))
        rc = syn_json_get_i64(obj, "reserved", "gpu_permille", 1, 1000, &capacity->gpu_permille,
                              err);
    return rc;
}

int
syn_sample_encode(const struct syn_sample *sample, json_t **ret, struct syn_err *err)
{
    const struct syn_capacity *reserved = &sample->reserved;
    SYN_JSON(doc);
    json_t *used = NULL;
    int rc = check_sample(sample, err);

    if (rc == 0)
        rc = syn_json_pack(&doc, err, "{s:I, s:I, s:I, s:{s:I, s:I, s:I, s:s, s:I}}", "seq",
                           (json_int_t)sample->seq, "from_ms", (json_int_t)sample->from_ms, "to_ms",
                           (json_int_t)sample->to_ms, "reserved", "cpu_millicores",
                           (json_int_t)reserved->cpu_millicores, "memory_bytes",
                           (json_int_t)reserved->memory_bytes, "scratch_bytes",
                           (json_int_t)reserved->scratch_bytes, "gpu_model", reserved->gpu_model,
                           "gpus", (json_int_t)reserved->gpus);
    if (rc == 0 && reserved->gpu_permille > 0) /* as throttled_ms */
        rc = syn_json_set_i64(json_object_get(doc, "reserved"), "gpu_permille",
                              reserved->gpu_permille, err);
    if (rc == 0)
        rc = encode_observed(&sample->used, &used, err);
    if (rc == 0)
        rc = syn_json_set_take(doc, "used", used, err);
    if (rc == 0 && sample->egress_bytes != 0)
        rc = syn_json_set_i64(doc, "egress_bytes", sample->egress_bytes, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

int
syn_sample_decode(const json_t *doc, struct syn_sample *ret_sample, struct syn_err *err)
{
    static const char *const known[] = {"seq",  "from_ms",      "to_ms", "reserved",
                                        "used", "egress_bytes", NULL};
    struct syn_sample sample = {0};
    int rc = syn_json_only_keys(doc, "sample", known, err);

    if (rc == 0)
        rc = syn_json_get_i64(doc, "sample", "seq", 1, SYN_SAMPLE_SEQ_MAX, &sample.seq, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "sample", "from_ms", 0, TIME_MAX_MS, &sample.from_ms, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "sample", "to_ms", 0, TIME_MAX_MS, &sample.to_ms, err);
    if (rc == 0)
        rc = decode_capacity(doc, &sample.reserved, err);
    if (rc == 0)
        rc = decode_observed(doc, &sample.used, err);
    if (rc == 0 && json_object_get(doc, "egress_bytes"))
        rc = syn_json_get_i64(doc, "sample", "egress_bytes", 1, SYN_SAMPLE_EGRESS_MAX,
                              &sample.egress_bytes, err);
    if (rc == 0)
        rc = check_sample(&sample, err);
    if (rc == 0)
        *ret_sample = sample;
    return rc;
}

int
syn_usage_encode(const struct syn_usage_sum *usage, json_t *array, struct syn_err *err)
{
    for (size_t i = 0; i < usage->count; i++) {
        char text[SYN_EXACT_TEXT_MAX];
        json_t *item = NULL;
        int rc = syn_json_pack(&item, err, "{s:s, s:s, s:s}", "item", usage->items[i].item,
                               "measure", syn_measure_name(usage->items[i].measure), "quantity",
                               syn_exact_format(usage->items[i].quantity, text));

        if (rc == 0)
            rc = syn_json_append_take(array, item, err);
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

static int
decode_usage_item(const json_t *doc, struct syn_usage_sum *usage, struct syn_err *err)
{
    static const char *const known[] = {"item", "measure", "quantity", NULL};
    const char *item, *measure_name, *text;
    enum syn_measure measure;
    syn_u128 quantity;
    size_t before = usage->count;
    int rc = syn_json_only_keys(doc, "usage[]", known, err);

    if (rc == 0)
        rc = syn_json_get_str(doc, "usage[]", "item", &item, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "usage[]", "measure", &measure_name, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "usage[]", "quantity", &text, err);
    if (rc == 0 && !syn_measure_find(measure_name, &measure))
        rc = SYN_FAIL(err, SYN_E_INVALID, "usage[].measure: '%.32s' is unknown", measure_name);
    if (rc == 0)
        rc = syn_exact_parse(text, "usage[].quantity", &quantity, err);
    if (rc == 0)
        rc = syn_usage_add(usage, item, measure, quantity, err);
    if (rc == 0 && usage->count == before)
        rc = SYN_FAIL(err, SYN_E_INVALID, "usage[]: %.48s stands twice or is zero", item);
    return rc;
}

int
syn_usage_decode(const json_t *array, struct syn_usage_sum *ret, struct syn_err *err)
{
    struct syn_usage_sum usage = {0};
    const json_t *item;
    size_t i;

    json_array_foreach (array, i, item) {
        int rc = decode_usage_item(item, &usage, err);

        if (rc != 0)
            return rc;
    }
    *ret = usage;
    return SYN_OK;
}

int
syn_meter_encode(const struct syn_meter *meter, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    json_t *used = NULL;
    int rc = syn_json_pack(&doc, err, "{s:s, s:I, s:I, s:I, s:[]}", "instance", meter->instance,
                           "seq", (json_int_t)meter->seq, "from_ms", (json_int_t)meter->from_ms,
                           "to_ms", (json_int_t)meter->to_ms, "usage");

    if (rc == 0)
        rc = syn_usage_encode(&meter->usage, json_object_get(doc, "usage"), err);
    if (rc == 0)
        rc = encode_observed(&meter->used, &used, err);
    if (rc == 0)
        rc = syn_json_set_take(doc, "used", used, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

int
syn_meter_decode(const json_t *doc, struct syn_meter *ret_meter, struct syn_err *err)
{
    static const char *const known[] = {"instance", "seq",  "from_ms", "to_ms",
                                        "usage",    "used", NULL};
    struct syn_meter meter = {0};
    json_t *usage;
    const char *instance;
    int rc = syn_json_only_keys(doc, "meter", known, err);

    if (rc == 0)
        rc = syn_json_get_str(doc, "meter", "instance", &instance, err);
    if (rc == 0)
        rc = syn_meter_init(&meter, instance, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "meter", "seq", 0, SYN_SAMPLE_SEQ_MAX, &meter.seq, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "meter", "from_ms", 0, TIME_MAX_MS, &meter.from_ms, err);
    if (rc == 0)
        rc = syn_json_get_i64(doc, "meter", "to_ms", meter.from_ms, TIME_MAX_MS, &meter.to_ms, err);
    if (rc == 0)
        rc = decode_observed(doc, &meter.used, err);
    if (rc == 0)
        rc = syn_json_get_arr(doc, "meter", "usage", &usage, err);
    if (rc == 0)
        rc = syn_usage_decode(usage, &meter.usage, err);
    if (rc == 0)
        *ret_meter = meter;
    return rc;
}

/* ---- reports ---- */

static int
copy_key_text(char *dst, size_t cap, const char *text, const char *what, struct syn_err *err)
{
    static const char set[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_:.-";

    if (text[0] == '\0' || strspn(text, set) != strlen(text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected letters, digits and + / = _ : . -", what);
    if (!syn_str_copy(dst, cap, text))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: longer than %zu bytes", what, cap - 1);
    return SYN_OK;
}

int
syn_report_new(const char *node, const char *instance, const char *key_id,
               struct syn_report **ret_report, struct syn_err *err)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = syn_calloc(1, sizeof(*report));
    int rc;

    if (!report)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a usage report");
    rc = copy_name(report->node, sizeof(report->node), node, "report.node", err);
    if (rc == 0)
        rc =
            copy_name(report->instance, sizeof(report->instance), instance, "report.instance", err);
    if (rc == 0)
        rc = copy_key_text(report->key_id, sizeof(report->key_id), key_id, "report.key_id", err);
    if (rc == 0)
        *ret_report = SYN_TAKE(report);
    return rc;
}

struct syn_report *
syn_report_free(struct syn_report *report)
{
    if (!report)
        return NULL;
    syn_free(report->samples);
    syn_free(report);
    return NULL;
}

void
syn_report_free_scope(struct syn_report **slot)
{
    *slot = syn_report_free(*slot);
}

int
syn_report_add(struct syn_report *report, const struct syn_sample *sample, struct syn_err *err)
{
    int rc = check_sample(sample, err);

    if (rc == 0 && report->count > 0) {
        const struct syn_sample *last = &report->samples[report->count - 1];

        rc = check_next(last->seq, last->to_ms, sample, err);
    }
    if (rc != 0)
        return rc;
    if (report->count == SYN_REPORT_SAMPLES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a usage report holds at most %d samples",
                        SYN_REPORT_SAMPLES_MAX);
    if (!syn_grow(&report->samples, &report->cap, report->count + 1, sizeof(report->samples[0])))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %zu samples", report->count + 1);
    report->samples[report->count++] = *sample;
    return SYN_OK;
}

int
syn_report_set_signature(struct syn_report *report, const char *signature, struct syn_err *err)
{
    return copy_key_text(report->signature, sizeof(report->signature), signature,
                         "report.signature", err);
}

int
syn_report_set_lease(struct syn_report *report, const char *digest, struct syn_err *err)
{
    size_t len = strlen(digest);

    if ((len != 0 && len != SYN_DIGEST_MAX - 1) || strspn(digest, "0123456789abcdef") != len)
        return SYN_FAIL(err, SYN_E_INVALID, "report.lease: expected %d lower-case hex digits",
                        SYN_DIGEST_MAX - 1);
    memcpy(report->lease, digest, len + 1);
    return SYN_OK;
}

/* Everything but the signature. */
static int
encode_body(const struct syn_report *report, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    json_t *samples;
    int rc = syn_json_pack(&doc, err, "{s:i, s:s, s:s, s:s, s:[]}", "version", SYN_REPORT_VERSION,
                           "node", report->node, "instance", report->instance, "key_id",
                           report->key_id, "samples");

    if (rc == 0 && report->lease[0] != '\0')
        rc = syn_json_set_str(doc, "lease", report->lease, err);
    if (rc != 0)
        return rc;
    samples = json_object_get(doc, "samples");
    for (size_t i = 0; i < report->count; i++) {
        json_t *sample = NULL;

        rc = syn_sample_encode(&report->samples[i], &sample, err);
        if (rc == 0)
            rc = syn_json_append_take(samples, sample, err);
        if (rc != 0)
            return rc;
    }
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}

int
syn_report_payload(const struct syn_report *report, struct syn_buf *out, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = encode_body(report, &doc, err);

    return rc != 0 ? rc : syn_json_write(doc, out, err);
}

int
syn_report_encode(const struct syn_report *report, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = encode_body(report, &doc, err);

    if (rc == 0)
        rc = syn_json_set_str(doc, "signature", report->signature, err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
decode_samples(const json_t *doc, struct syn_report *report, struct syn_err *err)
{
    json_t *samples, *item;
    size_t i;
    int rc = syn_json_get_arr(doc, "report", "samples", &samples, err);

    if (rc == 0 && json_array_size(samples) == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "report.samples: expected at least one sample");
    if (rc != 0)
        return rc;
    json_array_foreach (samples, i, item) {
        struct syn_sample sample;

        rc = syn_sample_decode(item, &sample, err);
        if (rc == 0)
            rc = syn_report_add(report, &sample, err);
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

int
syn_report_decode(const json_t *doc, struct syn_report **ret_report, struct syn_err *err)
{
    static const char *const known[] = {"version", "node",  "instance",  "key_id",
                                        "samples", "lease", "signature", NULL};
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    const char *node, *instance, *key_id, *signature, *lease = "";
    int64_t version;
    int rc = syn_json_get_i64(doc, "report", "version", SYN_REPORT_VERSION, SYN_REPORT_VERSION,
                              &version, err);

    if (rc == 0)
        rc = syn_json_only_keys(doc, "report", known, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "report", "node", &node, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "report", "instance", &instance, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "report", "key_id", &key_id, err);
    if (rc == 0)
        rc = syn_json_get_str(doc, "report", "signature", &signature, err);
    if (rc == 0)
        rc = syn_json_opt_str(doc, "report", "lease", &lease, err);
    if (rc == 0)
        rc = syn_report_new(node, instance, key_id, &report, err);
    if (rc == 0)
        rc = syn_report_set_signature(report, signature, err);
    if (rc == 0)
        rc = syn_report_set_lease(report, lease, err);
    if (rc == 0)
        rc = decode_samples(doc, report, err);
    if (rc == 0)
        *ret_report = SYN_TAKE(report);
    return rc;
}
