/* Billing in periods: wherever a run is cut into periods, they cost together what it costs uncut;
 * each is verified by its own samples. */
#include <synor/market/invoice.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "exact_priv.h"
#include "market_test_priv.h"

#define T0        INT64_C(1764000000000)
#define SAMPLE_MS INT64_C(997)

static struct syn_err err;

static struct syn_invoice_terms
terms_of(const struct syn_invoice *before)
{
    struct syn_invoice_terms terms = {.id = "bill-1",
                                      .ref = "svc-x.1",
                                      .tenant = "alice",
                                      .transaction = "tx-1",
                                      .escrow = SYN_AMOUNT_MAX,
                                      .goes_on = true};

    if (before)
        terms.carried = before->rest;
    return terms;
}

/* Whatever can be measured, in odd quantities. */
static void
use_something(struct syn_usage_sum *usage, uint64_t *random)
{
    const struct syn_capacity capacity = {
        .cpu_millicores = (int64_t)(syn_test_random(random) % 7000) + 1,
        .memory_bytes = (int64_t)(syn_test_random(random) % 9000000000),
        .scratch_bytes = (int64_t)(syn_test_random(random) % 5)};

    assert_done(
        syn_usage_add_capacity(usage, &capacity, (int64_t)(syn_test_random(random) % 90000), &err),
        &err);
    assert_done(
        syn_usage_add(usage, "egress", SYN_MEASURE_BYTE, syn_test_random(random) % 100000000, &err),
        &err);
    assert_done(syn_usage_add(usage, "lb", SYN_MEASURE_MS, syn_test_random(random) % 90000, &err),
                &err);
    assert_done(
        syn_usage_add(usage, "static-ip", SYN_MEASURE_MS, syn_test_random(random) % 90000, &err),
        &err);
}

static void
add_all(struct syn_usage_sum *sum, const struct syn_usage_sum *more)
{
    for (size_t i = 0; i < more->count; i++)
        assert_done(syn_usage_add(sum, more->items[i].item, more->items[i].measure,
                                  more->items[i].quantity, &err),
                    &err);
}

static void
check_amounts(const struct syn_invoice *invoice)
{
    int64_t lines = 0, payees = 0;

    for (size_t i = 0; i < invoice->line_count; i++)
        lines += invoice->lines[i].amount;
    for (size_t i = 0; i < invoice->payee_count; i++)
        payees += invoice->payees[i].charge;
    assert_int_equal(lines, invoice->total);
    assert_int_equal(payees, invoice->charge);
    assert_int_equal(invoice->provider_amount + invoice->protocol_amount + invoice->refund,
                     invoice->escrow);
}

static struct syn_invoice *
reread(struct syn_invoice *invoice)
{
    struct syn_invoice *again = NULL;
    SYN_JSON(doc);
    SYN_JSON(other);

    assert_done(syn_invoice_encode(invoice, &doc, &err), &err);
    assert_done(syn_invoice_decode(doc, &again, &err), &err);
    assert_done(syn_invoice_encode(again, &other, &err), &err);
    assert_true(json_equal(doc, other));
    (void)syn_invoice_free(invoice);
    return again;
}

/* Two providers' next period, after the one that is billed: its bill, and what they used in it into
 * `all`. */
static struct syn_invoice *
next_period(struct syn_invoice *before, struct syn_usage_sum all[2],
            const struct syn_pricebook *book, uint64_t *random)
{
    struct syn_usage_sum part[2] = {{0}, {0}};
    const struct syn_invoice_usage rows[] = {{"bob", &part[0], NULL}, {"carol", &part[1], NULL}};
    const struct syn_invoice_terms terms = terms_of(before);
    struct syn_invoice *now = NULL;

    for (size_t k = 0; k < 2; k++) {
        if (syn_test_random(random) % 5 != 0) /* and some in which one used nothing */
            use_something(&part[k], random);
        add_all(&all[k], &part[k]);
    }
    assert_done(syn_invoice_build(&terms, rows, 2, book, &now, &err), &err);
    check_amounts(now);
    assert_true(now->rest.num < now->rest.den);
    (void)syn_invoice_free(before);
    return reread(now);
}

static void
cutting_into_periods_changes_nothing(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    uint64_t random = 2026;
    unsigned carried = 0;

    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *before = NULL;
        struct syn_usage_sum all[2] = {{0}, {0}};
        const struct syn_invoice_usage whole[] = {{"bob", &all[0], NULL}, {"carol", &all[1], NULL}};
        size_t periods = syn_test_random(&random) % 9 + 1;
        int64_t total = 0, uncut;

        for (size_t i = 0; i < periods; i++) {
            before = next_period(before, all, book, &random);
            carried += before->carried.num != 0;
            total += before->total;
        }
        assert_done(syn_invoice_total(whole, 2, book, &uncut, &err), &err);
        assert_int_equal(total, uncut);
    }
    assert_true(carried > 100); /* there was something to carry */
}

static void
rests_are_strict(void **state)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "/",
                                      "1/",
                                      "/2",
                                      "2/2",
                                      "3/2",
                                      "2/4",
                                      "0/2",
                                      "1/0",
                                      "-1/2",
                                      "1/2/3",
                                      "01/2",
                                      "1/340282366920938463463374607431768211456",
                                      "11111111111111111111111111111111111111111111111/2"};
    struct syn_invoice_rest rest = {7, 9};
    char text[SYN_INVOICE_REST_MAX];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        if (syn_invoice_rest_parse(bad[i], "rest", &rest, &err) != SYN_E_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    assert_true(rest.num == 7 && rest.den == 9);
    assert_done(syn_invoice_rest_parse("5/18", "rest", &rest, &err), &err);
    assert_string_equal(syn_invoice_rest_format(&rest, text), "5/18");
    assert_done(syn_invoice_rest_parse("0/1", "rest", &rest, &err), &err);
    assert_string_equal(syn_invoice_rest_format(&(struct syn_invoice_rest){0}, text), "0/1");
}

static void
whole_rests_are_refused(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_invoice_terms terms = terms_of(NULL);
    struct syn_invoice *invoice = NULL;

    (void)state;
    terms.carried = (struct syn_invoice_rest){3, 2};
    assert_code(syn_invoice_build(&terms, NULL, 0, book, &invoice, &err), SYN_E_INVALID, &err);
    terms.carried = (struct syn_invoice_rest){1, SYN_EXACT_MAX};
    {
        struct syn_usage_sum usage = {0};
        const struct syn_invoice_usage row = {"bob", &usage, NULL};

        assert_done(syn_usage_add(&usage, "lb", SYN_MEASURE_MS, 1, &err), &err);
        assert_code(syn_invoice_build(&terms, &row, 1, book, &invoice, &err), SYN_E_LIMIT, &err);
    }
}

static void
usage_since_is_the_difference(void **state)
{
    uint64_t random = 5;
    struct syn_usage_sum before = {0}, later, more = {0}, since, other = {0};

    (void)state;
    use_something(&before, &random);
    use_something(&more, &random);
    later = before;
    add_all(&later, &more);
    assert_done(syn_usage_since(&later, &before, &since, &err), &err);
    assert_memory_equal(&since, &more, sizeof(since));
    assert_done(syn_usage_since(&later, &later, &since, &err), &err);
    assert_int_equal(since.count, 0);
    assert_code(syn_usage_since(&before, &later, &since, &err), SYN_E_INVALID, &err);
    assert_done(syn_usage_add(&other, "lb", SYN_MEASURE_BYTE, 1, &err), &err);
    assert_code(syn_usage_since(&later, &other, &since, &err), SYN_E_INVALID, &err);
    assert_done(syn_usage_since(&later, &(struct syn_usage_sum){0}, &since, &err), &err);
    assert_code(syn_usage_since(&(struct syn_usage_sum){0}, &more, &since, &err), SYN_E_INVALID,
                &err);
}

/* ---- egress ---- */

static void
egress_is_metered_by_the_byte(void **state)
{
    const struct syn_capacity capacity = test_capacity(1000, 1, 0);
    struct syn_sample sample = test_sample(1, T0, T0 + 1000, &capacity), again;
    struct syn_meter meter, copy;
    SYN_JSON(quiet);
    SYN_JSON(loud);

    (void)state;
    assert_done(syn_sample_encode(&sample, &quiet, &err), &err);
    assert_null(json_object_get(quiet, "egress_bytes")); /* signed as before there was any */
    sample.egress_bytes = 12345;
    assert_done(syn_sample_encode(&sample, &loud, &err), &err);
    assert_done(syn_sample_decode(loud, &again, &err), &err);
    assert_int_equal(again.egress_bytes, 12345);
    assert_done(syn_meter_init(&meter, "inst-1", &err), &err);
    assert_done(syn_meter_add(&meter, &sample, &err), &err);
    assert_string_equal(meter.usage.items[1].item, "egress");
    assert_true(meter.usage.items[1].quantity == 12345);
    copy = meter;
    again = test_sample(2, T0 + 1000, T0 + 2000, &capacity);
    again.egress_bytes = -1;
    assert_code(syn_meter_add(&meter, &again, &err), SYN_E_INVALID, &err);
    again.egress_bytes = SYN_SAMPLE_EGRESS_MAX + 1;
    assert_code(syn_meter_add(&meter, &again, &err), SYN_E_INVALID, &err);
    assert_memory_equal(&copy, &meter, sizeof(meter));
    assert_int_equal(json_object_set_new(loud, "egress_bytes", json_integer(0)), 0);
    assert_code(syn_sample_decode(loud, &again, &err), SYN_E_INVALID, &err);
}

/* ---- verification ---- */

static struct syn_report *
report_of(int64_t first, int64_t last)
{
    const struct syn_capacity capacity = test_capacity(700, 1, 1);
    struct syn_report *report = NULL;

    assert_done(syn_report_new("node-1", "inst-1", "key-1", &report, &err), &err);
    for (int64_t seq = first; seq <= last; seq++) {
        struct syn_sample sample =
            test_sample(seq, T0 + (seq - 1) * 997, T0 + seq * 997, &capacity);

        sample.egress_bytes = 31;
        assert_done(syn_report_add(report, &sample, &err), &err);
    }
    return report;
}

/* Does checking samples 4 to 6 against the span find something about them? */
static bool
span_doubted(int64_t after_seq, int64_t after_ms, int64_t last_seq, bool by_charge)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = report_of(4, 6);
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    const struct syn_capacity capacity = test_capacity(700, 1, 1);
    struct syn_usage_sum usage = {0}, network = {0};
    const struct syn_invoice_usage rows[] = {{"bob", &usage, NULL}, {"house", &network, NULL}};
    const struct syn_invoice_report evidence = {"bob", report, true};
    const struct syn_invoice_span span = {"inst-1", after_seq, after_ms, last_seq};
    const struct syn_invoice_terms terms = terms_of(NULL);
    SYN_JSON(result);
    const json_t *row;
    size_t i;
    bool doubted = false, charge = false;

    assert_done(syn_usage_add_capacity(&usage, &capacity, 3 * SAMPLE_MS, &err), &err);
    assert_done(syn_usage_add(&usage, "egress", SYN_MEASURE_BYTE, INT64_C(93), &err), &err);
    assert_done(syn_usage_add(&network, "lb", SYN_MEASURE_MS, 3000, &err), &err);
    assert_done(syn_invoice_build(&terms, rows, 2, book, &invoice, &err), &err);
    assert_done(syn_invoice_verify(invoice,
                                   &(struct syn_invoice_evidence){.reports = &evidence,
                                                                  .report_count = 1,
                                                                  .spans = &span,
                                                                  .span_count = 1,
                                                                  .others = &rows[1],
                                                                  .other_count = 1},
                                   book, &result, &err),
                &err);
    json_array_foreach (json_object_get(result, "differences"), i, row) {
        const char *field = syn_json_str(row, "field", "");

        doubted = doubted || syn_str_eq(field, "samples.inst-1");
        charge = charge || syn_str_eq(field, "charge");
    }
    assert_int_equal(charge, by_charge);
    return doubted;
}

static void
spans_must_be_filled(void **state)
{
    (void)state;
    assert_false(span_doubted(3, T0 + 3 * SAMPLE_MS, 6, false));
    assert_true(span_doubted(3, T0 + 3 * SAMPLE_MS, 7, false));    /* one is missing at the end */
    assert_true(span_doubted(3, T0 + 3 * SAMPLE_MS, 5, false));    /* one is another period's */
    assert_true(span_doubted(2, T0 + 2 * SAMPLE_MS, 6, true));     /* one is missing at the start */
    assert_true(span_doubted(3, T0 + 3 * SAMPLE_MS - 1, 6, true)); /* a gap in time */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cutting_into_periods_changes_nothing),
        cmocka_unit_test(rests_are_strict),
        cmocka_unit_test(whole_rests_are_refused),
        cmocka_unit_test(usage_since_is_the_difference),
        cmocka_unit_test(egress_is_metered_by_the_byte),
        cmocka_unit_test(spans_must_be_filled),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
