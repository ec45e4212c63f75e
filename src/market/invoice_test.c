#include <synor/market/invoice.h>

#include "exact_priv.h"
#include "market_test_priv.h"

static struct syn_err err;

#define T0 INT64_C(1764000000000)

static const struct syn_invoice_terms terms = {.id = "bill-1",
                                               .ref = "train-x.1",
                                               .tenant = "alice",
                                               .transaction = "settle:train-x.1",
                                               .escrow = 10 * SYN_SYNOR};

static struct syn_usage_sum
usage_of(const struct syn_capacity *capacity, int64_t span_ms)
{
    struct syn_usage_sum usage = {0};

    assert_done(syn_usage_add_capacity(&usage, capacity, span_ms, &err), &err);
    return usage;
}

static struct syn_invoice *
build(const struct syn_invoice_terms *t, const struct syn_invoice_usage *usages, size_t count)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_invoice *invoice = NULL;

    assert_done(syn_invoice_build(t, usages, count, book, &invoice, &err), &err);
    return invoice;
}

/* What must hold of every invoice. */
static void
check_sums(const struct syn_invoice *invoice)
{
    int64_t lines = 0, amounts = 0, charges = 0, providers = 0, protocols = 0;

    for (size_t i = 0; i < invoice->line_count; i++)
        lines += invoice->lines[i].amount;
    for (size_t i = 0; i < invoice->payee_count; i++) {
        const struct syn_invoice_payee *payee = &invoice->payees[i];

        amounts += payee->amount;
        charges += payee->charge;
        providers += payee->provider_amount;
        protocols += payee->protocol_amount;
        assert_int_equal(payee->provider_amount + payee->protocol_amount, payee->charge);
        assert_true(payee->charge <= payee->amount);
    }
    assert_int_equal(lines, invoice->total);
    assert_int_equal(amounts, invoice->total);
    assert_int_equal(charges, invoice->charge);
    assert_int_equal(providers, invoice->provider_amount);
    assert_int_equal(protocols, invoice->protocol_amount);
    assert_int_equal(invoice->charge, SYN_MIN(invoice->total, invoice->escrow));
    assert_int_equal(providers + protocols + invoice->refund, invoice->escrow);
}

/* ---- the worked example of docs/money.md ---- */

static void
doc_says(const char *doc, const char *what, int64_t amount)
{
    char number[SYN_FORMAT_MAX], needle[2 * SYN_FORMAT_MAX];

    (void)snprintf(needle, sizeof(needle), "| %s | %s |", what, syn_format_amount(amount, number));
    if (!strstr(doc, needle))
        fail_msg("docs/money.md has no row '%s'", needle);
}

static void
worked_example(void **state)
{
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    const struct syn_usage_sum usage = usage_of(&capacity, 1207501);
    const struct syn_invoice_usage input = {"bob", &usage, NULL};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = build(&terms, &input, 1);
    SYN_SCOPED(syn_free_scope) char *doc = NULL;
    size_t len;

    (void)state;
    assert_int_equal(invoice->line_count, 3);
    assert_int_equal(invoice->lines[0].amount, 10062508); /* cpu     10062508.33 */
    assert_int_equal(invoice->lines[1].amount, 5031254);  /* memory   5031254.17 */
    assert_int_equal(invoice->lines[2].amount, 1341668);  /* scratch  1341667.78, the largest */
    assert_int_equal(invoice->total, 16435430);           /* of 16435430.28 */
    assert_int_equal(invoice->provider_amount, 13970115); /* of 13970115.5 */
    assert_int_equal(invoice->protocol_amount, 2465315);
    assert_int_equal(invoice->refund, INT64_C(9983564570));
    check_sums(invoice);

    doc = test_read("docs/money.md", &len);
    doc_says(doc, "cpu", invoice->lines[0].amount);
    doc_says(doc, "memory", invoice->lines[1].amount);
    doc_says(doc, "scratch", invoice->lines[2].amount);
    doc_says(doc, "total", invoice->total);
    doc_says(doc, "provider", invoice->provider_amount);
    doc_says(doc, "protocol", invoice->protocol_amount);
    doc_says(doc, "refund", invoice->refund);
}

/* ---- arithmetic ---- */

/* The floor is taken once, of the whole sum: three thirds make one. */
static void
rounded_once(void **state)
{
    struct syn_usage_sum usage = {0};
    const struct syn_invoice_usage inputs[] = {
        {"a", &usage, NULL}, {"b", &usage, NULL}, {"c", &usage, NULL}};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;

    (void)state;
    /* one core-ms costs 2e7 * 1000 / 3.6e9 = 5.5555... */
    assert_done(syn_usage_add(&usage, "cpu", SYN_MEASURE_MILLICORE_MS, 60, &err), &err);
    invoice = build(&terms, inputs, 3); /* 3 * 0.33333... */
    assert_int_equal(invoice->total, 1);
    assert_int_equal(invoice->lines[0].amount, 1);
    assert_int_equal(invoice->lines[1].amount, 0);
    check_sums(invoice);
}

static void
nothing_used_nothing_charged(void **state)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = build(&terms, NULL, 0);

    (void)state;
    assert_int_equal(invoice->line_count, 0);
    assert_int_equal(invoice->total, 0);
    assert_int_equal(invoice->refund, 10 * SYN_SYNOR);
    check_sums(invoice);
}

static void
escrow_caps_the_charge(void **state)
{
    const struct syn_capacity small = test_capacity(1000, 1, 1), large = test_capacity(3000, 1, 1);
    const struct syn_usage_sum few = usage_of(&small, 1800000), many = usage_of(&large, 3600000);
    const struct syn_invoice_usage inputs[] = {
        {"p-1", &few, NULL}, {"p-2", &many, NULL}, {"p-1", &few, NULL}};
    struct syn_invoice_terms tight = terms;
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;

    (void)state;
    tight.escrow = 1000001;
    invoice = build(&tight, inputs, 3);
    assert_int_equal(invoice->total, 26000000 + 66000000);
    assert_int_equal(invoice->charge, 1000001);
    assert_int_equal(invoice->refund, 0);
    assert_int_equal(invoice->payee_count, 2);
    assert_int_equal(invoice->payees[0].amount, 26000000);
    assert_int_equal(invoice->payees[0].charge, 282609); /* 282608.978 */
    assert_int_equal(invoice->payees[1].charge, 717392); /* 717392.022 */
    check_sums(invoice);
}

static void
classes_have_their_own_shares(void **state)
{
    struct syn_usage_sum usage = {0};
    const struct syn_invoice_usage input = {"bob", &usage, NULL};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;

    (void)state;
    assert_done(syn_usage_add(&usage, "egress", SYN_MEASURE_BYTE, SYN_GB_BYTES, &err), &err);
    assert_done(syn_usage_add(&usage, "gpu:h100", SYN_MEASURE_GPU_MS, SYN_HOUR_MS, &err), &err);
    assert_done(syn_usage_add(&usage, "ingress", SYN_MEASURE_BYTE, 12345, &err), &err);
    assert_done(syn_usage_add(&usage, "storage:hot", SYN_MEASURE_BYTE_MS,
                              (syn_u128)SYN_GB_BYTES * SYN_MONTH_MS, &err),
                &err);
    invoice = build(&terms, &input, 1);
    assert_int_equal(invoice->total, 4150000000);
    assert_int_equal(invoice->line_count, 4);
    assert_int_equal(invoice->payee_count, 3);
    assert_string_equal(invoice->payees[0].share, "compute");
    assert_int_equal(invoice->payees[0].provider_amount, 3400000000);
    assert_string_equal(invoice->payees[1].share, "network");
    assert_int_equal(invoice->payees[1].provider_amount, 37500000);
    assert_string_equal(invoice->payees[2].share, "storage");
    assert_int_equal(invoice->payees[2].provider_amount, 80000000);
    check_sums(invoice);
}

/* As many as a ledger transaction pays, each with charges of three classes. */
static void
many_providers_are_paid(void **state)
{
    static char names[SYN_INVOICE_PROVIDERS_MAX][16];
    static struct syn_usage_sum usages[SYN_INVOICE_PROVIDERS_MAX];
    static struct syn_invoice_usage inputs[SYN_INVOICE_PROVIDERS_MAX];
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL, *back = NULL;
    struct syn_invoice_terms t = terms;
    SYN_JSON(doc);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(inputs); i++) {
        const struct syn_capacity capacity = test_capacity((int64_t)i + 1, 3, 1);

        (void)snprintf(names[i], sizeof(names[i]), "acct-%zu", i);
        usages[i] = usage_of(&capacity, 1000 + (int64_t)i);
        assert_done(syn_usage_add(&usages[i], "egress", SYN_MEASURE_BYTE, 12345678 + i, &err),
                    &err);
        assert_done(syn_usage_add(&usages[i], "storage:hot", SYN_MEASURE_BYTE_MS,
                                  (syn_u128)SYN_GB_BYTES * SYN_HOUR_MS, &err),
                    &err);
        inputs[i] = (struct syn_invoice_usage){names[i], &usages[i], NULL};
    }
    t.escrow = SYN_SYNOR / 10; /* it is too little, so what there is is divided among all */
    invoice = build(&t, inputs, SYN_LEN(inputs));
    assert_int_equal(invoice->payee_count, 3 * SYN_INVOICE_PROVIDERS_MAX);
    assert_int_equal(invoice->charge, t.escrow);
    check_sums(invoice);
    assert_done(syn_invoice_encode(invoice, &doc, &err), &err);
    assert_done(syn_invoice_decode(doc, &back, &err), &err);
    assert_int_equal(back->payee_count, invoice->payee_count);
    check_sums(back);
}

/* Cut the usage of two providers at random: neither total nor any line moves. */
static void
cutting_changes_nothing(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    uint64_t random = 31337;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        const struct syn_capacity capacity =
            test_capacity((int64_t)(syn_test_random(&random) % 8000) + 1,
                          (int64_t)(syn_test_random(&random) % 32), (int64_t)(round % 5));
        int64_t span = (int64_t)(syn_test_random(&random) % 5000000) + 2, left = span;
        const struct syn_usage_sum whole = usage_of(&capacity, span);
        struct syn_usage_sum parts[8] = {0};
        struct syn_invoice_usage inputs[8];
        int64_t total, cut_total;
        struct syn_invoice_usage one = {"bob", &whole, NULL};

        for (size_t i = 0; i < 8; i++) {
            int64_t part =
                i == 7 ? left : (int64_t)(syn_test_random(&random) % (uint64_t)(left + 1));

            parts[i] = usage_of(&capacity, part);
            inputs[i] = (struct syn_invoice_usage){"bob", &parts[i], NULL};
            left -= part;
        }
        assert_done(syn_invoice_total(&one, 1, book, &total, &err), &err);
        assert_done(syn_invoice_total(inputs, 8, book, &cut_total, &err), &err);
        assert_int_equal(total, cut_total);
        /* Divided among providers the lines differ, the total still does not. */
        for (size_t i = 0; i < 8; i++)
            inputs[i].provider = i % 2 ? "bob" : "carol";
        assert_done(syn_invoice_total(inputs, 8, book, &cut_total, &err), &err);
        assert_int_equal(total, cut_total);
    }
}

static void
random_invoices_add_up(void **state)
{
    static const char *const providers[] = {"p-1", "p-2", "p-3", "p-4", "p-5"};
    uint64_t random = 4711;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
        struct syn_usage_sum usages[5];
        struct syn_invoice_usage inputs[5];
        struct syn_invoice_terms t = terms;

        for (size_t i = 0; i < 5; i++) {
            const struct syn_capacity capacity =
                test_capacity((int64_t)(syn_test_random(&random) % 900) + 1, (int64_t)i, 1);

            usages[i] = usage_of(&capacity, (int64_t)(syn_test_random(&random) % 99999));
            inputs[i] = (struct syn_invoice_usage){providers[i], &usages[i], NULL};
        }
        t.escrow = (int64_t)(syn_test_random(&random) % 3000000) + 1;
        invoice = build(&t, inputs, 5);
        check_sums(invoice);
    }
}

static void
building_refuses(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_invoice_terms bad = terms;
    struct syn_usage_sum usage = {0};
    struct syn_invoice_usage input = {"bob", &usage, NULL};
    struct syn_invoice *invoice = NULL;

    (void)state;
    bad.escrow = 0;
    assert_code(syn_invoice_build(&bad, NULL, 0, book, &invoice, &err), SYN_E_INVALID, &err);
    bad.escrow = SYN_AMOUNT_MAX + 1;
    assert_code(syn_invoice_build(&bad, NULL, 0, book, &invoice, &err), SYN_E_INVALID, &err);
    bad = terms;
    bad.tenant = "";
    assert_code(syn_invoice_build(&bad, NULL, 0, book, &invoice, &err), SYN_E_INVALID, &err);
    assert_code(syn_invoice_build(&terms, &input, SYN_INVOICE_USAGES_MAX + 1, book, &invoice, &err),
                SYN_E_LIMIT, &err);

    assert_done(syn_usage_add(&usage, "cpu", SYN_MEASURE_MILLICORE_MS, SYN_EXACT_MAX, &err), &err);
    assert_code(syn_invoice_build(&terms, &input, 1, book, &invoice, &err), SYN_E_LIMIT, &err);
    usage.items[0].quantity = SYN_EXACT_MAX / 20000000; /* the product fits, the charge does not */
    assert_code(syn_invoice_build(&terms, &input, 1, book, &invoice, &err), SYN_E_LIMIT, &err);
    usage.items[0].quantity = 1;
    usage.items[0].measure = SYN_MEASURE_BYTE;
    assert_code(syn_invoice_build(&terms, &input, 1, book, &invoice, &err), SYN_E_INVALID, &err);
    (void)syn_str_copy(usage.items[0].item, SYN_ITEM_MAX, "gpu:b200");
    assert_code(syn_invoice_build(&terms, &input, 1, book, &invoice, &err), SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, "gpu:b200"));
    assert_null(invoice);
}

/* ---- documents ---- */

static struct syn_invoice *
sample_invoice(void)
{
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    const struct syn_usage_sum usage = usage_of(&capacity, 5000);
    const struct syn_invoice_usage inputs[] = {{"bob", &usage, NULL}, {"carol", &usage, NULL}};

    return build(&terms, inputs, 2);
}

static void
documents_round_trip(void **state)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = sample_invoice();
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *again = NULL;
    SYN_JSON(doc);
    SYN_JSON(doc_again);

    (void)state;
    assert_done(syn_invoice_encode(invoice, &doc, &err), &err);
    assert_done(syn_invoice_decode(doc, &again, &err), &err);
    assert_done(syn_invoice_encode(again, &doc_again, &err), &err);
    assert_true(json_equal(doc, doc_again));
    assert_string_equal(syn_json_str(doc, "refund", ""), "9.999863889");
}

/* Put `value` at a dotted path; numbers index lists. */
static void
tamper(json_t *doc, const char *path, const char *value)
{
    json_t *at = doc, *fresh = NULL;
    char step[64];
    size_t len;

    if (value)
        assert_done(syn_json_parse(value, strlen(value), &fresh, &err), &err);
    while ((len = strcspn(path, ".")) < strlen(path)) {
        assert_true(len < sizeof(step));
        memcpy(step, path, len);
        step[len] = '\0';
        at = json_is_array(at) ? json_array_get(at, (size_t)(step[0] - '0'))
                               : json_object_get(at, step);
        assert_non_null(at);
        path += len + 1;
    }
    assert_int_equal(fresh ? json_object_set_new(at, path, fresh) : json_object_del(at, path), 0);
}

static void
decoding_is_strict(void **state)
{
    static const struct {
        const char *path, *value; /* NULL: taken away */
    } rows[] = {
        {"version", "2"},
        {"version", NULL},
        {"vat", "\"1\""},
        {"id", "\"no blanks\""},
        {"total", "5"},
        {"total", "\"-5\""},
        {"total", NULL},
        {"lines", "{}"},
        {"lines.0.unit", "\"core-day\""},
        {"lines.0.per", "3600"},
        {"lines.0.measure", "\"byte\""},
        {"lines.0.quantity", "\"-1\""},
        {"lines.0.quantity", "\"340282366920938463463374607431768211456\""},
        {"lines.0.quantity", "5"},
        {"lines.0.discount", "\"1\""},
        {"lines.0.provider", NULL},
        {"payees.0.provider_bps", "10001"},
        {"payees.0.charge", NULL},
        {"payees.0.tip", "\"1\""},
    };
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = sample_invoice();

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *again = NULL;
        SYN_JSON(doc);

        assert_done(syn_invoice_encode(invoice, &doc, &err), &err);
        tamper(doc, rows[i].path, rows[i].value);
        if (syn_invoice_decode(doc, &again, &err) != SYN_E_INVALID)
            fail_msg("row %zu (%s) was taken", i, rows[i].path);
    }
}

/* ---- verification ---- */

/* A job of two instances on nodes of two providers, as the server stored it. */
struct story {
    struct syn_pricebook *book;
    struct syn_report *reports[3];
    struct syn_invoice_report evidence[3];
    struct syn_invoice *invoice;
    struct syn_invoice_entry entries[5];
    struct syn_invoice_settlement settlement;
    struct syn_lease lease; /* inst-1's, when there is one */
    struct syn_invoice_lease leases[1];
    size_t lease_count;
};

static struct syn_report *
story_report(const char *instance, int64_t first, unsigned count)
{
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    struct syn_report *report = NULL;

    assert_done(syn_report_new("node-1", instance, "key-1", &report, &err), &err);
    for (unsigned i = 0; i < count; i++) {
        int64_t from = T0 + (first + i) * 1001;
        struct syn_sample sample = test_sample(first + i, from, from + 1001, &capacity);

        assert_done(syn_report_add(report, &sample, &err), &err);
    }
    return report;
}

static void
story_begin(struct story *story)
{
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    const struct syn_usage_sum first = usage_of(&capacity, 5005),
                               second = usage_of(&capacity, 2002);
    const struct syn_invoice_usage inputs[] = {{"bob", &first, NULL}, {"carol", &second, NULL}};

    memset(story, 0, sizeof(*story));
    story->book = test_book();
    story->reports[0] = story_report("inst-1", 1, 3);
    story->reports[1] = story_report("inst-2", 1, 2);
    story->reports[2] = story_report("inst-1", 4, 2);
    for (size_t i = 0; i < 3; i++)
        story->evidence[i] =
            (struct syn_invoice_report){i == 1 ? "carol" : "bob", story->reports[i], true};
    assert_done(syn_invoice_build(&terms, inputs, 2, story->book, &story->invoice, &err), &err);
    story->entries[0] = (struct syn_invoice_entry){"escrow:train-x.1", -terms.escrow};
    story->entries[1] =
        (struct syn_invoice_entry){"bob", story->invoice->payees[0].provider_amount};
    story->entries[2] =
        (struct syn_invoice_entry){"carol", story->invoice->payees[1].provider_amount};
    story->entries[3] =
        (struct syn_invoice_entry){"system:protocol", story->invoice->protocol_amount};
    story->entries[4] = (struct syn_invoice_entry){"alice", story->invoice->refund};
    story->settlement = (struct syn_invoice_settlement){
        terms.transaction, terms.ref,      "settle", "escrow:train-x.1",
        "system:protocol", story->entries, 5};
}

static void
story_end(struct story *story)
{
    for (size_t i = 0; i < 3; i++)
        syn_report_free(story->reports[i]);
    syn_invoice_free(story->invoice);
    syn_pricebook_free(story->book);
}

static json_t *
story_verify(const struct story *story, bool settled)
{
    const struct syn_invoice_evidence evidence = {.reports = story->evidence,
                                                  .report_count = 3,
                                                  .leases = story->leases,
                                                  .lease_count = story->lease_count,
                                                  .settlement =
                                                      settled ? &story->settlement : NULL};
    json_t *result = NULL;

    assert_done(syn_invoice_verify(story->invoice, &evidence, story->book, &result, &err), &err);
    return result;
}

static bool
names_field(const json_t *result, const char *field)
{
    size_t i;
    json_t *item;

    json_array_foreach (json_object_get(result, "differences"), i, item) {
        if (syn_str_eq(syn_json_str(item, "field", ""), field))
            return true;
    }
    return false;
}

static void
expect_field(const json_t *result, const char *field)
{
    assert_false(syn_json_bool(result, "agrees", true));
    if (!names_field(result, field))
        fail_msg("%s was not named", field);
}

static void
truth_agrees(void **state)
{
    struct story story;
    SYN_JSON(result);

    (void)state;
    story_begin(&story);
    result = story_verify(&story, true);
    assert_int_equal(json_array_size(json_object_get(result, "differences")), 0);
    assert_true(syn_json_bool(result, "agrees", false));
    assert_true(syn_json_bool(result, "signatures_ok", false));
    assert_int_equal(syn_json_i64(result, "samples", 0), 7);
    assert_true(json_is_object(json_object_get(result, "recomputed")));
    story_end(&story);
}

static void
changed_invoices_are_named(void **state)
{
    static const struct {
        const char *path, *value, *field;
    } rows[] = {
        {"total", "\"5\"", "total"},
        {"charge", "\"5\"", "charge"},
        {"refund", "\"5\"", "refund"},
        {"provider_amount", "\"5\"", "provider_amount"},
        {"protocol_amount", "\"5\"", "protocol_amount"},
        {"book", "\"other\"", "book"},
        {"escrow", "\"11\"", "transaction.entries.escrow:train-x.1"},
        {"tenant", "\"mallory\"", "transaction.entries.mallory"},
        {"ref", "\"train-y\"", "transaction.ref"},
        {"transaction", "\"other\"", "transaction.id"},
        {"lines.0.amount", "\"5\"", "lines.bob/cpu.amount"},
        {"lines.0.price", "\"5\"", "lines.bob/cpu.price"},
        {"lines.0.quantity", "\"5\"", "lines.bob/cpu.quantity"},
        {"lines.0.item", "\"vram\"", "lines.bob/vram"},
        {"lines.0.item", "\"vram\"", "lines.bob/cpu"},
        {"lines.0.item", "\"memory\"", "lines.bob/memory@0.005"},
        {"payees.1.provider_bps", "9000", "payees.carol/compute.provider_bps"},
        {"payees.1.provider", "\"mallory\"", "payees.mallory/compute"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct story story;
        SYN_JSON(doc);
        SYN_JSON(result);

        story_begin(&story);
        assert_done(syn_invoice_encode(story.invoice, &doc, &err), &err);
        tamper(doc, rows[i].path, rows[i].value);
        syn_invoice_free(SYN_TAKE(story.invoice));
        assert_done(syn_invoice_decode(doc, &story.invoice, &err), &err);
        result = story_verify(&story, true);
        expect_field(result, rows[i].field);
        story_end(&story);
    }
}

static void
changed_ledger_is_named(void **state)
{
    struct story story;
    json_t *result;

    (void)state;
    story_begin(&story);
    result = story_verify(&story, false);
    expect_field(result, "transaction");
    json_decref(result);

    story.entries[1].amount++;
    story.entries[4].amount--;
    result = story_verify(&story, true);
    expect_field(result, "transaction.entries.bob");
    expect_field(result, "transaction.entries.alice");
    assert_int_equal(json_array_size(json_object_get(result, "differences")), 2);
    json_decref(result);

    story.settlement.kind = "refund";
    story.settlement.count = 0;
    result = story_verify(&story, true);
    expect_field(result, "transaction.kind");
    expect_field(result, "transaction.entries.escrow:train-x.1");
    json_decref(result);
    story_end(&story);
}

static void
changed_samples_are_named(void **state)
{
    struct story story;
    json_t *result;

    (void)state;
    story_begin(&story);
    story.evidence[1].signature_ok = false;
    result = story_verify(&story, true);
    expect_field(result, "signatures.inst-2");
    assert_false(syn_json_bool(result, "signatures_ok", true));
    assert_int_equal(json_array_size(json_object_get(result, "differences")), 1);
    json_decref(result);
    story.evidence[1].signature_ok = true;

    story.evidence[2].provider = "carol";
    result = story_verify(&story, true);
    expect_field(result, "providers.inst-1");
    json_decref(result);
    story.evidence[2].provider = "bob";

    story.reports[0]->samples[1].reserved.cpu_millicores++;
    result = story_verify(&story, true);
    expect_field(result, "lines.bob/cpu.quantity");
    json_decref(result);
    story.reports[0]->samples[1].reserved.cpu_millicores--;

    story.evidence[2].report = story.reports[0]; /* the same report twice, the later one never */
    result = story_verify(&story, true);
    expect_field(result, "samples.inst-1");
    expect_field(result, "lines.bob/cpu.quantity");
    json_decref(result);
    story_end(&story);
}

static void
unpriced_samples_are_named(void **state)
{
    struct story story;
    SYN_JSON(result);

    (void)state;
    story_begin(&story);
    story.reports[0]->samples[1].reserved.gpus = 1;
    (void)syn_str_copy(story.reports[0]->samples[1].reserved.gpu_model, SYN_GPU_MODEL_MAX, "b200");
    result = story_verify(&story, true);
    expect_field(result, "recomputed");
    assert_true(json_is_null(json_object_get(result, "recomputed")));
    story_end(&story);
}

/* ---- leases ---- */

static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char other_digest[] =
    "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

static struct syn_lease
lease_of(int64_t cpu, int64_t memory)
{
    struct syn_lease lease = {.kind = "on-demand", .max_price = SYN_LEASE_NO_MAX};

    assert_done(syn_lease_set(&lease, "cpu", "core-hour", cpu, &err), &err);
    if (memory >= 0)
        assert_done(syn_lease_set(&lease, "memory", "gb-hour", memory, &err), &err);
    return lease;
}

/* One provider, three instances: two at one price of CPU, one at the book's; memory at the book's
 * but once. A line for each price, in order, each exact. */
static void
each_price_has_its_line(void **state)
{
    const struct syn_capacity capacity = test_capacity(1000, 1, 0);
    const struct syn_usage_sum usage = usage_of(&capacity, SYN_HOUR_MS);
    const struct syn_lease cheap = lease_of(SYN_SYNOR / 100, -1),
                           dear = lease_of(SYN_SYNOR / 100, SYN_SYNOR);
    const struct syn_invoice_usage inputs[] = {
        {"bob", &usage, NULL}, {"bob", &usage, &dear}, {"bob", &usage, &cheap}};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = build(&terms, inputs, 3);
    static const struct {
        const char *item;
        int64_t price, amount;
    } rows[] = {
        {"cpu", SYN_SYNOR / 100, 2 * SYN_SYNOR / 100},
        {"cpu", SYN_SYNOR / 50, SYN_SYNOR / 50},
        {"memory", SYN_SYNOR / 200, 2 * SYN_SYNOR / 200},
        {"memory", SYN_SYNOR, SYN_SYNOR},
    };

    (void)state;
    assert_int_equal(invoice->line_count, SYN_LEN(rows));
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        assert_string_equal(invoice->lines[i].item, rows[i].item);
        assert_int_equal(invoice->lines[i].price, rows[i].price);
        assert_int_equal(invoice->lines[i].amount, rows[i].amount);
    }
    assert_int_equal(invoice->payee_count, 1);
    check_sums(invoice);
}

/* Random leases, intervals cut anywhere: the total is that of the whole, and what an independent
 * sum of quantities times prices makes it; every base unit goes somewhere. */
static void
cutting_leased_time_changes_nothing(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    uint64_t random = 271828;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
        const struct syn_capacity capacity =
            test_capacity((int64_t)(syn_test_random(&random) % 8000) + 1, 0, 0);
        struct syn_lease leases[2];
        struct syn_usage_sum whole[2], parts[8];
        struct syn_invoice_usage wholes[2], cut[8];
        struct syn_invoice_terms t = terms;
        int64_t total;
        syn_u128 exact = 0, cost;

        for (size_t i = 0; i < 2; i++) {
            int64_t price = (int64_t)(syn_test_random(&random) % (uint64_t)SYN_SYNOR);
            int64_t span = (int64_t)(syn_test_random(&random) % 5000000) + 2, left = span;

            leases[i] = lease_of(price, -1);
            whole[i] = usage_of(&capacity, span);
            wholes[i] = (struct syn_invoice_usage){"bob", &whole[i], &leases[i]};
            assert_true(syn_exact_mul(whole[i].items[0].quantity, (syn_u128)price, &cost));
            assert_true(syn_exact_add(exact, cost, &exact));
            for (size_t k = i; k < 8; k += 2) {
                int64_t part =
                    k > 5 ? left : (int64_t)(syn_test_random(&random) % (uint64_t)(left + 1));

                parts[k] = usage_of(&capacity, part);
                cut[k] = (struct syn_invoice_usage){"bob", &parts[k], &leases[i]};
                left -= part;
            }
        }
        t.escrow = (int64_t)(syn_test_random(&random) % (uint64_t)SYN_SYNOR) + 1;
        assert_done(syn_invoice_total(wholes, 2, book, &total, &err), &err);
        assert_int_equal(total, (int64_t)(exact / (1000 * (syn_u128)SYN_HOUR_MS)));
        assert_done(syn_invoice_build(&t, cut, 8, book, &invoice, &err), &err);
        assert_int_equal(invoice->total, total);
        check_sums(invoice);
    }
}

static void
leases_that_do_not_fit_are_refused(void **state)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = test_book();
    struct syn_lease lease = {.count = 0};
    struct syn_usage_sum usage = {0};
    struct syn_invoice_usage input = {"bob", &usage, &lease};
    int64_t total;

    (void)state;
    assert_done(syn_usage_add(&usage, "cpu", SYN_MEASURE_MILLICORE_MS, 60, &err), &err);
    assert_done(syn_lease_set(&lease, "cpu", "gb-hour", 1, &err), &err);
    assert_code(syn_invoice_total(&input, 1, book, &total, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "millicore-ms"));
    /* What the book does not have has no share, whatever a lease says. */
    memset(&lease, 0, sizeof(lease));
    memset(&usage, 0, sizeof(usage));
    assert_done(syn_usage_add(&usage, "gpu:b200", SYN_MEASURE_GPU_MS, 60, &err), &err);
    assert_done(syn_lease_set(&lease, "gpu:b200", "gpu-hour", 1, &err), &err);
    assert_code(syn_invoice_total(&input, 1, book, &total, &err), SYN_E_NOTFOUND, &err);
}

/* inst-1 has a lease that its node signed for, and was billed by it. */
static void
story_lease(struct story *story)
{
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    const struct syn_usage_sum first = usage_of(&capacity, 5005),
                               second = usage_of(&capacity, 2002);
    const struct syn_invoice_usage inputs[] = {{"bob", &first, &story->lease},
                                               {"carol", &second, NULL}};

    story->lease = lease_of(SYN_SYNOR / 100, SYN_SYNOR / 1000);
    story->leases[0] = (struct syn_invoice_lease){"inst-1", digest, &story->lease};
    story->lease_count = 1;
    assert_done(syn_report_set_lease(story->reports[0], digest, &err), &err);
    assert_done(syn_report_set_lease(story->reports[2], digest, &err), &err);
    story->invoice = syn_invoice_free(story->invoice);
    assert_done(syn_invoice_build(&terms, inputs, 2, story->book, &story->invoice, &err), &err);
    story->entries[1].amount = story->invoice->payees[0].provider_amount;
    story->entries[2].amount = story->invoice->payees[1].provider_amount;
    story->entries[3].amount = story->invoice->protocol_amount;
    story->entries[4].amount = story->invoice->refund;
}

static void
leased_truth_agrees(void **state)
{
    struct story story;
    SYN_JSON(result);

    (void)state;
    story_begin(&story);
    story_lease(&story);
    result = story_verify(&story, true);
    assert_int_equal(json_array_size(json_object_get(result, "differences")), 0);
    story_end(&story);
}

/* Whoever changes a lease afterwards, in whatever way, is found out. */
static void
changed_leases_are_named(void **state)
{
    static const char *const ways[] = {"altered", "taken away", "unsigned", "invented", "raised"};

    (void)state;
    for (size_t way = 0; way < SYN_LEN(ways); way++) {
        struct story story;
        SYN_JSON(result);

        story_begin(&story);
        if (way != 3)
            story_lease(&story);
        if (way == 0 || way == 4)
            story.leases[0].digest = other_digest; /* of what it says now */
        if (way == 1)
            story.lease_count = 0;
        if (way == 2)
            assert_done(syn_report_set_lease(story.reports[2], "", &err), &err);
        if (way == 3) {
            story.lease = lease_of(1, 1);
            story.leases[0] = (struct syn_invoice_lease){"inst-1", digest, &story.lease};
            story.lease_count = 1;
        }
        if (way == 4)
            assert_done(syn_lease_set(&story.lease, "cpu", "core-hour", SYN_SYNOR, &err), &err);
        result = story_verify(&story, true);
        expect_field(result, "leases.inst-1");
        if (way == 1 || way == 3 || way == 4)
            expect_field(result, "lines.bob/cpu.price");
        story_end(&story);
    }
}

static void
reports_name_leases_well(void **state)
{
    struct syn_report *report = story_report("inst-1", 1, 1);
    struct syn_report *again = NULL;
    SYN_BUF(bare);
    SYN_BUF(named);
    SYN_JSON(doc);

    (void)state;
    assert_done(syn_report_payload(report, &bare, &err), &err);
    assert_null(strstr(syn_buf_text(&bare), "lease")); /* as before there were any */
    assert_code(syn_report_set_lease(report, "abc", &err), SYN_E_INVALID, &err);
    assert_code(
        syn_report_set_lease(
            report, "G123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", &err),
        SYN_E_INVALID, &err);
    assert_done(syn_report_set_lease(report, digest, &err), &err);
    assert_done(syn_report_payload(report, &named, &err), &err);
    assert_non_null(strstr(syn_buf_text(&named), digest)); /* it is signed */
    assert_done(syn_report_set_signature(report, "s", &err), &err);
    assert_done(syn_report_encode(report, &doc, &err), &err);
    assert_done(syn_report_decode(doc, &again, &err), &err);
    assert_string_equal(again->lease, digest);
    syn_report_free(again);
    syn_report_free(report);
}

/* ---- allocation failures ---- */

static int
sweep_scenario(void *arg, struct syn_err *e)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *again = NULL;
    const struct story *story = arg;
    const struct syn_capacity capacity = test_capacity(1500, 3, 4);
    struct syn_usage_sum usage = {0};
    const struct syn_invoice_usage input = {"bob", &usage, NULL};
    const struct syn_invoice_evidence evidence = {
        .reports = story->evidence, .report_count = 3, .settlement = &story->settlement};
    SYN_JSON(doc);
    SYN_JSON(result);
    int rc = syn_usage_add_capacity(&usage, &capacity, 5000, e);

    if (rc == 0)
        rc = syn_invoice_build(&terms, &input, 1, story->book, &invoice, e);
    if (rc == 0)
        rc = syn_invoice_encode(invoice, &doc, e);
    if (rc == 0)
        rc = syn_invoice_decode(doc, &again, e);
    if (rc == 0) /* of the wrong invoice: differences need memory too */
        rc = syn_invoice_verify(again, &evidence, story->book, &result, e);
    return rc;
}

static void
out_of_memory_anywhere(void **state)
{
    struct story story;

    (void)state;
    story_begin(&story);
    assert_true(syn_test_sweep_alloc(sweep_scenario, &story) > 100);
    story_end(&story);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example),
        cmocka_unit_test(rounded_once),
        cmocka_unit_test(nothing_used_nothing_charged),
        cmocka_unit_test(escrow_caps_the_charge),
        cmocka_unit_test(many_providers_are_paid),
        cmocka_unit_test(classes_have_their_own_shares),
        cmocka_unit_test(cutting_changes_nothing),
        cmocka_unit_test(random_invoices_add_up),
        cmocka_unit_test(building_refuses),
        cmocka_unit_test(documents_round_trip),
        cmocka_unit_test(decoding_is_strict),
        cmocka_unit_test(truth_agrees),
        cmocka_unit_test(changed_invoices_are_named),
        cmocka_unit_test(changed_ledger_is_named),
        cmocka_unit_test(changed_samples_are_named),
        cmocka_unit_test(unpriced_samples_are_named),
        cmocka_unit_test(each_price_has_its_line),
        cmocka_unit_test(cutting_leased_time_changes_nothing),
        cmocka_unit_test(leases_that_do_not_fit_are_refused),
        cmocka_unit_test(leased_truth_agrees),
        cmocka_unit_test(changed_leases_are_named),
        cmocka_unit_test(reports_name_leases_well),
        cmocka_unit_test(out_of_memory_anywhere),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("invoice", tests, NULL, NULL);
}
