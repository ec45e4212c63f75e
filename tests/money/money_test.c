/* Market and ledger together, as the server joins them: escrow, meter, invoice, settlement, and the
 * verification of what came out. The two layers do not know each other; here they must agree. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/chain/ledger.h>
#include <synor/market/invoice.h>

#define PROVIDERS 3

static struct syn_err err;

static const char *const providers[PROVIDERS] = {"alice", "bob", "carol"}; /* alice is the tenant */

static const char book_text[] =
    "{\"version\":1,\"id\":\"b\",\"currency\":\"SYNOR\",\"gb_bytes\":1073741824,"
    "\"month_hours\":730,\"units\":{\"core-hour\":{\"measure\":\"millicore-ms\","
    "\"per\":3600000000},\"gb-hour\":{\"measure\":\"byte-ms\",\"per\":3865470566400000}},"
    "\"shares\":{\"compute\":{\"provider_bps\":8500,\"protocol_bps\":1500},"
    "\"storage\":{\"provider_bps\":8000,\"protocol_bps\":2000}},\"items\":["
    "{\"id\":\"cpu\",\"title\":\"t\",\"unit\":\"core-hour\",\"price\":\"0.02\","
    "\"share\":\"compute\"},"
    "{\"id\":\"memory\",\"title\":\"t\",\"unit\":\"gb-hour\",\"price\":\"0.005\","
    "\"share\":\"compute\"},"
    "{\"id\":\"scratch\",\"title\":\"t\",\"unit\":\"gb-hour\",\"price\":\"0.001\","
    "\"share\":\"storage\"}]}";

/* One run of three instances, each on another provider's node. */
struct run {
    struct syn_pricebook *book;
    struct syn_ledger *ledger;
    struct syn_report *reports[PROVIDERS];
    struct syn_meter meters[PROVIDERS];
    struct syn_ledger_tx settle;
    int64_t seq;
};

static void
post(struct run *run, const struct syn_ledger_tx *tx)
{
    struct syn_ledger_receipt receipt;

    assert_done(syn_ledger_post(run->ledger, tx, &receipt, &err), &err);
    assert_true(syn_ledger_sum(run->ledger) == 0);
}

static struct syn_ledger_head
next_head(struct run *run, const char *id)
{
    return (struct syn_ledger_head){.id = id, .seq = ++run->seq, .ref = "run-1"};
}

static void
open_ledger(struct run *run, int64_t escrow)
{
    static const char *const names[] = {SYN_LEDGER_MINT, SYN_LEDGER_PROTOCOL, "alice", "bob",
                                        "carol",         "escrow:run-1"};
    struct syn_ledger_head mint = next_head(run, "mint"), fund = next_head(run, "fund");
    struct syn_ledger_tx tx;

    assert_done(syn_ledger_new(&run->ledger, &err), &err);
    for (size_t i = 0; i < SYN_LEN(names); i++) {
        struct syn_ledger_account account = {0};

        assert_true(syn_str_copy(account.name, sizeof(account.name), names[i]));
        assert_done(syn_ledger_load(run->ledger, &account, &err), &err);
    }
    assert_done(syn_ledger_build_mint(&mint, "alice", escrow, &tx, &err), &err);
    post(run, &tx);
    assert_done(syn_ledger_build_escrow(&fund, "alice", escrow, &tx, &err), &err);
    post(run, &tx);
}

static void
meter_instance(struct run *run, size_t which, uint64_t *random)
{
    int64_t at = 0, count = (int64_t)(syn_test_random(random) % 20) + 1;
    struct syn_report **report = &run->reports[which];
    char instance[16];

    (void)snprintf(instance, sizeof(instance), "inst-%zu", which);
    assert_done(syn_report_new("node-1", instance, "key-1", report, &err), &err);
    for (int64_t seq = 1; seq <= count; seq++) {
        struct syn_sample sample = {.seq = seq, .from_ms = at};

        at += (int64_t)(syn_test_random(random) % 60000) + 1;
        sample.to_ms = at;
        sample.reserved.cpu_millicores = (int64_t)(syn_test_random(random) % 4000);
        sample.reserved.memory_bytes = (int64_t)(syn_test_random(random) % (UINT64_C(1) << 33));
        sample.reserved.scratch_bytes = (int64_t)(syn_test_random(random) % (UINT64_C(1) << 35));
        assert_done(syn_report_add(*report, &sample, &err), &err);
    }
    assert_done(syn_meter_init(&run->meters[which], instance, &err), &err);
    assert_done(syn_meter_accept(&run->meters[which], *report, true, &err), &err);
}

static void
settle(struct run *run, const struct syn_invoice *invoice)
{
    struct syn_ledger_slice slices[SYN_INVOICE_PAYEES_MAX];
    struct syn_ledger_settlement settlement = {invoice->escrow, invoice->tenant, slices,
                                               invoice->payee_count};
    struct syn_ledger_head head = next_head(run, invoice->transaction);

    for (size_t i = 0; i < invoice->payee_count; i++)
        slices[i] =
            (struct syn_ledger_slice){invoice->payees[i].provider, invoice->payees[i].charge,
                                      invoice->payees[i].provider_bps};
    assert_done(syn_ledger_build_settle(&head, &settlement, &run->settle, &err), &err);
    post(run, &run->settle);
    assert_int_equal(syn_ledger_find(run->ledger, SYN_LEDGER_PROTOCOL)->balance,
                     invoice->protocol_amount);
    assert_int_equal(syn_ledger_find(run->ledger, "escrow:run-1")->balance, 0);
}

static void
verify(const struct run *run, const struct syn_invoice *invoice)
{
    struct syn_invoice_entry entries[SYN_LEDGER_ENTRIES_MAX];
    struct syn_invoice_report reports[PROVIDERS];
    const struct syn_invoice_settlement settlement = {
        run->settle.id,   run->settle.ref,     syn_ledger_kind_name(run->settle.kind),
        "escrow:run-1",   SYN_LEDGER_PROTOCOL, entries,
        run->settle.count};
    const struct syn_invoice_evidence evidence = {
        .reports = reports, .report_count = PROVIDERS, .settlement = &settlement};
    SYN_JSON(result);

    for (size_t i = 0; i < run->settle.count; i++)
        entries[i] = (struct syn_invoice_entry){run->settle.entries[i].account,
                                                run->settle.entries[i].amount};
    for (size_t i = 0; i < PROVIDERS; i++)
        reports[i] = (struct syn_invoice_report){providers[i], run->reports[i], true};
    assert_done(syn_invoice_verify(invoice, &evidence, run->book, &result, &err), &err);
    if (!syn_json_bool(result, "agrees", false)) {
        SYN_BUF(text);

        assert_done(syn_json_write(result, &text, &err), &err);
        fail_msg("%s", syn_buf_text(&text));
    }
}

static void
run_once(uint64_t *random)
{
    struct run run = {0};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    struct syn_invoice_usage usages[PROVIDERS];
    /* Small enough that the escrow caps about half of the runs. */
    int64_t escrow = (int64_t)(syn_test_random(random) % 60000000) + 1;
    const struct syn_invoice_terms terms = {.id = "bill-1",
                                            .ref = "run-1",
                                            .tenant = "alice",
                                            .transaction = "settle:run-1",
                                            .escrow = escrow};

    assert_done(syn_pricebook_parse(book_text, sizeof(book_text) - 1, &run.book, &err), &err);
    open_ledger(&run, escrow);
    for (size_t i = 0; i < PROVIDERS; i++) {
        meter_instance(&run, i, random);
        usages[i] = (struct syn_invoice_usage){providers[i], &run.meters[i].usage, NULL};
    }
    assert_done(syn_invoice_build(&terms, usages, PROVIDERS, run.book, &invoice, &err), &err);
    settle(&run, invoice);
    verify(&run, invoice);
    for (size_t i = 0; i < PROVIDERS; i++)
        syn_report_free(run.reports[i]);
    syn_ledger_free(run.ledger);
    syn_pricebook_free(run.book);
}

static void
invoices_settle_and_verify(void **state)
{
    uint64_t random = 20261123;

    (void)state;
    for (unsigned round = 0; round < 300; round++)
        run_once(&random);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invoices_settle_and_verify),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("money", tests, NULL, NULL);
}
