#include <synor/market/meter.h>

#include <synor/market/lease.h>

#include "exact_priv.h"
#include "market_test_priv.h"

static struct syn_err err;

#define T0 INT64_C(1764000000000)

static syn_u128
quantity(const struct syn_usage_sum *usage, const char *item)
{
    for (size_t i = 0; i < usage->count; i++) {
        if (syn_str_eq(usage->items[i].item, item))
            return usage->items[i].quantity;
    }
    return 0;
}

static void
sums_are_capacity_times_time(void **state)
{
    struct syn_capacity capacity = test_capacity(1500, 2, 4);
    struct syn_sample first = test_sample(1, T0, T0 + 1000, &capacity), second;
    struct syn_meter meter;

    (void)state;
    capacity.gpus = 2;
    (void)syn_str_copy(capacity.gpu_model, sizeof(capacity.gpu_model), "h100");
    second = test_sample(2, T0 + 1000, T0 + 1500, &capacity); /* resized: GPUs were added */
    first.used = (struct syn_observed){700, 123, 9, 30};
    second.used = (struct syn_observed){200, 99, 10, 4};
    assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
    assert_done(syn_meter_add(&meter, &first, &err), &err);
    assert_done(syn_meter_add(&meter, &second, &err), &err);
    assert_true(quantity(&meter.usage, "cpu") == (syn_u128)1500 * 1500);
    assert_true(quantity(&meter.usage, "memory") == (syn_u128)2 * SYN_GB_BYTES * 1500);
    assert_true(quantity(&meter.usage, "scratch") == (syn_u128)4 * SYN_GB_BYTES * 1500);
    assert_true(quantity(&meter.usage, "gpu:h100") == (syn_u128)2 * 500);
    assert_int_equal(meter.usage.count, 4);
    assert_int_equal(meter.from_ms, T0);
    assert_int_equal(meter.to_ms, T0 + 1500);
    assert_int_equal(meter.used.cpu_ms, 900);
    assert_int_equal(meter.used.memory_peak_bytes, 123);
    assert_int_equal(meter.used.scratch_used_bytes, 10);
    assert_int_equal(meter.used.throttled_ms, 34);
}

/* A part of a card adds up to what it is of it, however the time is cut, at the card's price. */
static void
parts_of_cards_are_counted_as_such(void **state)
{
    struct syn_capacity capacity = test_capacity(1000, 1, 1);
    struct syn_sample first, second, decoded;
    struct syn_meter meter;
    struct syn_lease lease = {.count = 0};
    struct syn_lease_price price;
    SYN_JSON(doc);

    (void)state;
    capacity.gpus = 1;
    capacity.gpu_permille = 125;
    (void)syn_str_copy(capacity.gpu_model, sizeof(capacity.gpu_model), "h100");
    first = test_sample(1, T0, T0 + 7, &capacity);
    second = test_sample(2, T0 + 7, T0 + 1000, &capacity);
    assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
    assert_done(syn_meter_add(&meter, &first, &err), &err);
    assert_done(syn_sample_encode(&second, &doc, &err), &err);
    assert_done(syn_sample_decode(doc, &decoded, &err), &err);
    assert_int_equal(decoded.reserved.gpu_permille, 125);
    assert_done(syn_meter_add(&meter, &decoded, &err), &err);
    assert_true(quantity(&meter.usage, "gpu:h100") == (syn_u128)125 * 1000);
    assert_done(syn_lease_set(&lease, "gpu:h100", "gpu-hour", 40, &err), &err);
    assert_done(syn_lease_get(&lease, NULL, "gpu:h100", SYN_MEASURE_GPU_PERMILLE_MS, &price, &err),
                &err);
    assert_string_equal(price.unit->name, "gpu-part-hour");
    assert_int_equal(price.price, 40);
    assert_code(syn_lease_get(&lease, NULL, "gpu:h100", SYN_MEASURE_BYTE_MS, &price, &err),
                SYN_E_INVALID, &err);
    second.reserved.gpus = 2;
    assert_code(syn_sample_encode(&second, &doc, &err), SYN_E_INVALID, &err);
    second.reserved.gpus = 1;
    second.reserved.gpu_permille = 1001;
    assert_code(syn_sample_encode(&second, &doc, &err), SYN_E_INVALID, &err);
}

static void
sequence_is_kept(void **state)
{
    static const struct {
        int64_t seq, from, to; /* after a first sample of [0, 1000) */
        int code;
        const char *says;
    } rows[] = {
        {2, 1000, 2000, SYN_OK, NULL},
        {2, 1000, 1000 + SYN_HOUR_MS, SYN_OK, NULL},
        {1, 0, 1000, SYN_E_CONFLICT, "sample 1: expected sample 2"},
        {3, 1000, 2000, SYN_E_CONFLICT, "sample 3: expected sample 2"},
        {2, 1001, 2000, SYN_E_CONFLICT, "sample 2: starts at"},
        {2, 1001, 2000, SYN_E_CONFLICT, "a gap of 1 ms"},
        {2, 900, 2000, SYN_E_CONFLICT, "an overlap of 100 ms"},
        {2, 1000, 1001 + SYN_HOUR_MS, SYN_E_INVALID, "sample 2: covers"},
        {2, 1000, 1000, SYN_E_INVALID, "sample 2"},
        {2, 1000, 999, SYN_E_INVALID, "sample 2"},
        {0, 1000, 2000, SYN_E_INVALID, "seq"},
        {-1, 1000, 2000, SYN_E_INVALID, "seq"},
        {INT64_MAX, 1000, 2000, SYN_E_INVALID, "seq"},
        {2, -1, 2000, SYN_E_INVALID, "sample 2"},
        {2, 1000, INT64_MAX, SYN_E_INVALID, "sample 2"},
    };
    struct syn_capacity capacity = test_capacity(1000, 1, 1);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_sample first = test_sample(1, 0, 1000, &capacity),
                          next = test_sample(rows[i].seq, rows[i].from, rows[i].to, &capacity);
        struct syn_meter meter, before;

        assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
        assert_done(syn_meter_add(&meter, &first, &err), &err);
        before = meter;
        assert_code(syn_meter_add(&meter, &next, &err), rows[i].code, &err);
        if (rows[i].code == SYN_OK)
            continue;
        if (!strstr(err.msg, rows[i].says))
            fail_msg("row %zu says '%s', not '%s'", i, err.msg, rows[i].says);
        assert_memory_equal(&meter, &before, sizeof(meter));
    }
}

static void
capacity_is_checked(void **state)
{
    const struct syn_capacity bad[] = {
        {.cpu_millicores = -1},
        {.cpu_millicores = SYN_CAPACITY_CPU_MAX + 1},
        {.memory_bytes = INT64_MAX},
        {.scratch_bytes = -5},
        {.gpus = 1},
        {.gpu_model = "h100"},
        {.gpus = 1, .gpu_model = "H 100"},
        {.gpus = SYN_CAPACITY_GPUS_MAX + 1, .gpu_model = "h100"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_sample sample = test_sample(1, T0, T0 + 5, &bad[i]);
        struct syn_meter meter;
        json_t *doc;

        assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
        assert_code(syn_meter_add(&meter, &sample, &err), SYN_E_INVALID, &err);
        assert_code(syn_sample_encode(&sample, &doc, &err), SYN_E_INVALID, &err);
    }
}

static void
usage_has_limits(void **state)
{
    struct syn_usage_sum usage = {0};
    char item[SYN_ITEM_MAX + 1];

    (void)state;
    assert_done(syn_usage_add(&usage, "a", SYN_MEASURE_MS, SYN_EXACT_MAX, &err), &err);
    assert_code(syn_usage_add(&usage, "a", SYN_MEASURE_MS, 1, &err), SYN_E_LIMIT, &err);
    assert_code(syn_usage_add(&usage, "a", SYN_MEASURE_BYTE, 1, &err), SYN_E_INVALID, &err);
    assert_code(syn_usage_add(&usage, "", SYN_MEASURE_BYTE, 1, &err), SYN_E_INVALID, &err);
    memset(item, 'x', sizeof(item));
    item[SYN_ITEM_MAX] = '\0';
    assert_code(syn_usage_add(&usage, item, SYN_MEASURE_BYTE, 1, &err), SYN_E_INVALID, &err);
    for (unsigned i = 1; i < SYN_USAGE_ITEMS_MAX; i++) {
        (void)snprintf(item, sizeof(item), "item-%u", i);
        assert_done(syn_usage_add(&usage, item, SYN_MEASURE_MS, i, &err), &err);
    }
    assert_code(syn_usage_add(&usage, "one-more", SYN_MEASURE_MS, 1, &err), SYN_E_LIMIT, &err);
    assert_done(syn_usage_add(&usage, "one-more", SYN_MEASURE_MS, 0, &err), &err);
    for (size_t i = 1; i < usage.count; i++)
        assert_true(strcmp(usage.items[i - 1].item, usage.items[i].item) < 0);
}

/* Meter [T0, T0 + span) in pieces of at most `step_max` ms. */
static void
meter_in_pieces(struct syn_meter *meter, const struct syn_capacity *capacity, int64_t span,
                uint64_t step_max, uint64_t *random)
{
    int64_t at = T0, seq = 0;

    assert_done(syn_meter_init(meter, "inst-1", &err), &err);
    while (at < T0 + span) {
        uint64_t left = (uint64_t)(T0 + span - at);
        uint64_t step = syn_test_random(random) % SYN_MIN(left, step_max) + 1;
        struct syn_sample part = test_sample(++seq, at, at + (int64_t)step, capacity);

        assert_done(syn_meter_add(meter, &part, &err), &err);
        at = part.to_ms;
    }
}

/* However an interval is cut, the sums are the same. */
static void
cutting_changes_nothing(void **state)
{
    uint64_t random = 2026;

    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct syn_capacity capacity =
            test_capacity((int64_t)(syn_test_random(&random) % 64000) + 1,
                          (int64_t)(syn_test_random(&random) % 512), 3);
        int64_t span = (int64_t)(syn_test_random(&random) % (uint64_t)SYN_HOUR_MS) + 1;
        struct syn_sample whole = test_sample(1, T0, T0 + span, &capacity);
        struct syn_meter one, many;

        assert_done(syn_meter_init(&one, "inst-1", &err), &err);
        assert_done(syn_meter_add(&one, &whole, &err), &err);
        meter_in_pieces(&many, &capacity, span, round % 2 ? 3600000 : 30000, &random);
        assert_memory_equal(&one.usage, &many.usage, sizeof(one.usage));
    }
}

/* ---- documents ---- */

#define USED "\"used\":{\"cpu_ms\":1,\"memory_peak_bytes\":2,\"scratch_used_bytes\":3}"
#define THROTTLED(ms)                                                          \
    "\"used\":{\"cpu_ms\":1,\"memory_peak_bytes\":2,\"scratch_used_bytes\":3," \
    "\"throttled_ms\":" ms "}"
#define RESERVED                                                                    \
    "\"reserved\":{\"cpu_millicores\":1000,\"memory_bytes\":5,\"scratch_bytes\":6," \
    "\"gpu_model\":\"\",\"gpus\":0}"
#define SAMPLE(seq, from, to, rest) \
    "{\"seq\":" seq ",\"from_ms\":" from ",\"to_ms\":" to "," rest "}"
#define REPORT(samples, signature)                                                             \
    "{\"version\":1,\"node\":\"node-1\",\"instance\":\"inst-1\",\"key_id\":\"k\",\"samples\":" \
    "[" samples "],\"signature\":\"" signature "\"}"
#define S1 SAMPLE("1", "0", "10", RESERVED "," USED)
#define S2 SAMPLE("2", "10", "20", RESERVED "," USED)

static const struct {
    const char *text;
    int code;
    const char *says;
} reports[] = {
    {REPORT(S1, "ab"), SYN_OK, NULL},
    {REPORT(S1 "," S2, "ab"), SYN_OK, NULL},
    {REPORT(S2, "ab"), SYN_OK, NULL}, /* a later part of the sequence */
    {REPORT(S2 "," S1, "ab"), SYN_E_CONFLICT, "sample 1"},
    {REPORT(S1 "," S1, "ab"), SYN_E_CONFLICT, "sample 1"},
    {REPORT(SAMPLE("1", "0", "10", RESERVED "," THROTTLED("4")), "ab"), SYN_OK, NULL},
    {REPORT(SAMPLE("1", "0", "10", RESERVED "," THROTTLED("0")), "ab"), SYN_E_INVALID,
     "throttled_ms"}, /* one way to write it: what is signed is compared by bytes */
    {REPORT(SAMPLE("1", "0", "10", RESERVED "," THROTTLED("-1")), "ab"), SYN_E_INVALID,
     "throttled_ms"},
    {REPORT("", "ab"), SYN_E_INVALID, "samples"},
    {REPORT(S1, ""), SYN_E_INVALID, "signature"},
    {REPORT(S1, "a b"), SYN_E_INVALID, "signature"},
    {REPORT("1", "ab"), SYN_E_INVALID, ""},
    {REPORT(SAMPLE("1", "0", "10", RESERVED), "ab"), SYN_E_INVALID, "used"},
    {REPORT(SAMPLE("1", "0", "10", USED), "ab"), SYN_E_INVALID, "reserved"},
    {REPORT(SAMPLE("1", "0", "10", RESERVED "," USED ",\"x\":1"), "ab"), SYN_E_INVALID, "x"},
    {REPORT(SAMPLE("1.0", "0", "10", RESERVED "," USED), "ab"), SYN_E_INVALID, "seq"},
    {REPORT(SAMPLE("9223372036854775807", "0", "10", RESERVED "," USED), "ab"), SYN_E_INVALID,
     "seq"},
    {"{\"version\":2}", SYN_E_INVALID, "version"},
    {"[]", SYN_E_INVALID, ""},
};

static void
check_report(const char *text, int code, const char *says)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    SYN_JSON(doc);
    SYN_JSON(again);

    assert_done(syn_json_parse(text, strlen(text), &doc, &err), &err);
    assert_code(syn_report_decode(doc, &report, &err), code, &err);
    if (code != SYN_OK && !strstr(err.msg, says))
        fail_msg("%s says '%s', not '%s'", text, err.msg, says);
    if (code != SYN_OK)
        return;
    assert_done(syn_report_encode(report, &again, &err), &err);
    assert_true(json_equal(doc, again));
}

static void
reports_are_strict(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(reports); i++)
        check_report(reports[i].text, reports[i].code, reports[i].says);
}

static struct syn_report *
make_report(int64_t first, unsigned count)
{
    struct syn_capacity capacity = test_capacity(2000, 2, 4);
    struct syn_report *report = NULL;

    assert_done(syn_report_new("node-1", "inst-1", "key-1", &report, &err), &err);
    for (unsigned i = 0; i < count; i++) {
        struct syn_sample sample =
            test_sample(first + i, T0 + (first + i) * 1000, T0 + (first + i + 1) * 1000, &capacity);

        assert_done(syn_report_add(report, &sample, &err), &err);
    }
    return report;
}

static void
payload_is_what_is_signed(void **state)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = make_report(1, 1);
    SYN_BUF(before);
    SYN_BUF(after);

    (void)state;
    assert_done(syn_report_payload(report, &before, &err), &err);
    assert_done(syn_report_set_signature(report, "c2lnbmF0dXJl", &err), &err);
    assert_done(syn_report_payload(report, &after, &err), &err);
    assert_string_equal(syn_buf_text(&before), syn_buf_text(&after));
    assert_string_equal(
        syn_buf_text(&before),
        "{\"instance\":\"inst-1\",\"key_id\":\"key-1\",\"node\":\"node-1\",\"samples\":[{"
        "\"from_ms\":1764000001000,\"reserved\":{\"cpu_millicores\":2000,\"gpu_model\":\"\","
        "\"gpus\":0,\"memory_bytes\":2147483648,\"scratch_bytes\":4294967296},\"seq\":1,"
        "\"to_ms\":1764000002000,\"used\":{\"cpu_ms\":0,\"memory_peak_bytes\":0,"
        "\"scratch_used_bytes\":0}}],\"version\":1}");
}

static void
reports_are_accepted_whole(void **state)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *first = make_report(1, 3);
    SYN_SCOPED(syn_report_free_scope) struct syn_report *second = make_report(4, 2);
    struct syn_meter meter, before, other;

    (void)state;
    assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
    assert_done(syn_meter_init(&other, "inst-2", &err), &err);
    assert_code(syn_meter_accept(&meter, first, false, &err), SYN_E_UNAUTHENTICATED, &err);
    assert_code(syn_meter_accept(&meter, second, true, &err), SYN_E_CONFLICT, &err);
    assert_code(syn_meter_accept(&other, first, true, &err), SYN_E_CONFLICT, &err);
    assert_int_equal(meter.seq, 0);
    assert_done(syn_meter_accept(&meter, first, true, &err), &err);
    assert_int_equal(meter.seq, 3);
    assert_code(syn_meter_accept(&meter, first, true, &err), SYN_E_CONFLICT, &err);
    second->samples[1].from_ms++; /* the second of two is wrong: the first is not taken either */
    before = meter;
    assert_code(syn_meter_accept(&meter, second, true, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "sample 5"));
    assert_memory_equal(&meter, &before, sizeof(meter));
}

static void
meters_survive_as_documents(void **state)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = make_report(1, 3);
    struct syn_meter meter, again;
    SYN_JSON(doc);
    SYN_JSON(empty);

    (void)state;
    assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
    assert_done(syn_meter_encode(&meter, &empty, &err), &err);
    assert_done(syn_meter_decode(empty, &again, &err), &err);
    assert_memory_equal(&meter, &again, sizeof(meter));
    assert_done(syn_meter_accept(&meter, report, true, &err), &err);
    assert_done(syn_meter_encode(&meter, &doc, &err), &err);
    assert_done(syn_meter_decode(doc, &again, &err), &err);
    assert_memory_equal(&meter, &again, sizeof(meter));
    assert_done(syn_json_append_take(json_object_get(doc, "usage"),
                                     json_incref(json_array_get(json_object_get(doc, "usage"), 0)),
                                     &err),
                &err);
    assert_code(syn_meter_decode(doc, &again, &err), SYN_E_INVALID, &err);
}

static void
report_limit(void **state)
{
    SYN_SCOPED(syn_report_free_scope)
    struct syn_report *report = make_report(1, SYN_REPORT_SAMPLES_MAX);
    const struct syn_sample *last = &report->samples[report->count - 1];
    struct syn_capacity capacity = test_capacity(1, 1, 1);
    struct syn_sample sample =
        test_sample(last->seq + 1, last->to_ms, last->to_ms + 1000, &capacity);

    (void)state;
    assert_code(syn_report_add(report, &sample, &err), SYN_E_LIMIT, &err);
}

static int
sweep_scenario(void *arg, struct syn_err *e)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    SYN_SCOPED(syn_report_free_scope) struct syn_report *again = NULL;
    struct syn_capacity capacity = test_capacity(2000, 2, 4);
    struct syn_sample sample = test_sample(1, T0, T0 + 1000, &capacity);
    struct syn_meter meter, meter_again;
    SYN_BUF(payload);
    SYN_JSON(doc);
    SYN_JSON(meter_doc);
    int rc = syn_report_new("node-1", "inst-1", "key-1", &report, e);

    (void)arg;
    if (rc == 0)
        rc = syn_report_add(report, &sample, e);
    if (rc == 0)
        rc = syn_report_payload(report, &payload, e);
    if (rc == 0)
        rc = syn_report_set_signature(report, "sig", e);
    if (rc == 0)
        rc = syn_report_encode(report, &doc, e);
    if (rc == 0)
        rc = syn_report_decode(doc, &again, e);
    if (rc == 0)
        rc = syn_meter_init(&meter, "inst-1", e);
    if (rc == 0)
        rc = syn_meter_accept(&meter, again, true, e);
    if (rc == 0)
        rc = syn_meter_encode(&meter, &meter_doc, e);
    if (rc == 0)
        rc = syn_meter_decode(meter_doc, &meter_again, e);
    return rc;
}

static void
out_of_memory_anywhere(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(sweep_scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_capacity_times_time),
        cmocka_unit_test(parts_of_cards_are_counted_as_such),
        cmocka_unit_test(sequence_is_kept),
        cmocka_unit_test(capacity_is_checked),
        cmocka_unit_test(usage_has_limits),
        cmocka_unit_test(cutting_changes_nothing),
        cmocka_unit_test(reports_are_strict),
        cmocka_unit_test(payload_is_what_is_signed),
        cmocka_unit_test(reports_are_accepted_whole),
        cmocka_unit_test(meters_survive_as_documents),
        cmocka_unit_test(report_limit),
        cmocka_unit_test(out_of_memory_anywhere),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
