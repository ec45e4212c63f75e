/* Random histories of runs, reports, settlements, transfers and crashes, over the documents that a
 * server keeps and nothing else: every event reads them afresh, computes, and writes all of its
 * changes or, when it is cut off, none. After each event the money adds up; at the end every charge
 * is what an independent sum of the accepted samples, at the price that was agreed when the run
 * began, makes it, and the ledger replays. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/chain/ledger.h>
#include <synor/market/invoice.h>

#define RUNS     6
#define RANKS    2
#define EVENTS   400
#define SUPPLY   INT64_C(100000000000)
#define BOOK_CPU INT64_C(20000000) /* an hour of a core */

static struct syn_err err;

static const char book_text[] =
    "{\"version\":1,\"id\":\"b\",\"currency\":\"SYNOR\",\"gb_bytes\":1073741824,"
    "\"month_hours\":730,\"units\":{\"core-hour\":{\"measure\":\"millicore-ms\","
    "\"per\":3600000000},\"gb-hour\":{\"measure\":\"byte-ms\",\"per\":3865470566400000}},"
    "\"shares\":{\"compute\":{\"provider_bps\":8500,\"protocol_bps\":1500}},\"items\":["
    "{\"id\":\"cpu\",\"title\":\"t\",\"unit\":\"core-hour\",\"price\":\"0.02\","
    "\"share\":\"compute\"},"
    "{\"id\":\"memory\",\"title\":\"t\",\"unit\":\"gb-hour\",\"price\":\"0.005\","
    "\"share\":\"compute\"},"
    "{\"id\":\"scratch\",\"title\":\"t\",\"unit\":\"gb-hour\",\"price\":\"0.001\","
    "\"share\":\"compute\"}]}";

/* Where an event is cut off. */
enum crash { CRASH_NOT, CRASH_BEFORE_WRITE, CRASH_BEFORE_ANSWER };

struct rank {
    json_t *meter;                 /* the document; NULL before the first report */
    json_t *reports;               /* as they came, those that were accepted */
    json_t *lease;                 /* what its node asked when the run began; NULL: the book's */
    int64_t cpu_price;             /* the same, in the test's own books */
    syn_u128 cpu, memory, scratch; /* the test's own sums of what was accepted */
};

struct run {
    char ref[32];
    bool opened, settled;
    int64_t escrow, charge;
    struct rank ranks[RANKS];
};

struct shop {
    struct syn_pricebook *book;
    json_t *accounts; /* name -> document */
    json_t *txs;      /* documents, in order */
    int64_t seq;
    struct run runs[RUNS];
    uint64_t random;
    unsigned settled, late, repeated, refused, cut; /* what has happened, so that it has */
};

static int64_t
draw(struct shop *shop, int64_t below)
{
    return (int64_t)(syn_test_random(&shop->random) % (uint64_t)below);
}

static enum crash
draw_crash(struct shop *shop)
{
    int64_t dice = draw(shop, 6);

    shop->cut += dice < 2;
    return dice == 0 ? CRASH_BEFORE_WRITE : dice == 1 ? CRASH_BEFORE_ANSWER : CRASH_NOT;
}

static struct syn_ledger_account
account_of(const struct shop *shop, const char *name)
{
    const json_t *doc = json_object_get(shop->accounts, name);
    struct syn_ledger_account account = {0};

    if (doc != NULL)
        assert_done(syn_ledger_account_decode(doc, &account, &err), &err);
    else
        assert_true(syn_str_copy(account.name, sizeof(account.name), name));
    return account;
}

/* Post one transaction over the documents, as a server does. Returns what the ledger says. */
static int
post(struct shop *shop, const struct syn_ledger_tx *tx, enum crash crash)
{
    SYN_SCOPED(syn_ledger_free_scope) struct syn_ledger *book = NULL;
    struct syn_ledger_receipt receipt;
    json_t *doc = NULL;
    int rc;

    assert_done(syn_ledger_new(&book, &err), &err);
    for (size_t i = 0; i < tx->count; i++) {
        struct syn_ledger_account account = account_of(shop, tx->entries[i].account);

        assert_done(syn_ledger_load(book, &account, &err), &err);
    }
    rc = syn_ledger_post(book, tx, &receipt, &err);
    if (rc != SYN_OK || crash == CRASH_BEFORE_WRITE)
        return rc;
    for (size_t i = 0; i < receipt.count; i++) {
        assert_done(syn_ledger_account_encode(&receipt.accounts[i], &doc, &err), &err);
        assert_int_equal(json_object_set_new(shop->accounts, receipt.accounts[i].name, doc), 0);
    }
    assert_done(syn_ledger_tx_encode(tx, &doc, &err), &err);
    assert_int_equal(json_array_append_new(shop->txs, doc), 0);
    shop->seq = tx->seq;
    return SYN_OK;
}

static struct syn_ledger_head
head_of(const struct shop *shop, const char *ref, char id[32])
{
    (void)snprintf(id, 32, "tx-%lld", (long long)shop->seq + 1);
    return (struct syn_ledger_head){.id = id, .seq = shop->seq + 1, .ref = ref};
}

/* --- events ----------------------------------------------------------------------------------- */

/* Its node asks something else than the book, in two of three cases: dearer, cheaper or nothing. */
static void
agree(struct shop *shop, struct rank *rank)
{
    struct syn_lease lease = {.kind = "on-demand", .max_price = SYN_LEASE_NO_MAX};

    rank->cpu_price = BOOK_CPU;
    if (draw(shop, 3) == 0)
        return;
    rank->cpu_price = draw(shop, 4) == 0 ? 0 : draw(shop, 3 * BOOK_CPU);
    assert_done(syn_lease_set(&lease, "cpu", "core-hour", rank->cpu_price, &err), &err);
    assert_done(syn_lease_encode(&lease, &rank->lease, &err), &err);
}

static void
open_run(struct shop *shop, struct run *run, enum crash crash)
{
    int64_t have = account_of(shop, "alice").balance;
    char id[32];
    struct syn_ledger_head head = head_of(shop, run->ref, id);
    struct syn_ledger_tx tx;
    int64_t amount = 1 + draw(shop, 30000000);

    if (run->opened || amount > have)
        return;
    assert_done(syn_ledger_build_escrow(&head, "alice", amount, &tx, &err), &err);
    assert_done(post(shop, &tx, crash), &err);
    if (crash == CRASH_BEFORE_WRITE)
        return;
    run->opened = true;
    run->escrow = amount;
    for (size_t i = 0; i < RANKS; i++)
        agree(shop, &run->ranks[i]);
}

static struct syn_meter
meter_of(const struct run *run, size_t rank)
{
    struct syn_meter meter;
    char name[48];

    (void)snprintf(name, sizeof(name), "inst-%s-%zu", run->ref, rank);
    if (run->ranks[rank].meter != NULL)
        assert_done(syn_meter_decode(run->ranks[rank].meter, &meter, &err), &err);
    else
        assert_done(syn_meter_init(&meter, name, &err), &err);
    return meter;
}

/* A report that begins at `first`, at the time that would follow. */
static struct syn_report *
make_report(struct shop *shop, const struct syn_meter *meter, int64_t first, int64_t count)
{
    struct syn_report *report;
    int64_t at = meter->to_ms;

    assert_done(syn_report_new("node-1", meter->instance, "key-1", &report, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        struct syn_sample sample = {.seq = first + i, .from_ms = at};

        at += 1 + draw(shop, 60000);
        sample.to_ms = at;
        sample.reserved.cpu_millicores = draw(shop, 4000);
        sample.reserved.memory_bytes = draw(shop, INT64_C(1) << 33);
        sample.reserved.scratch_bytes = draw(shop, INT64_C(1) << 35);
        assert_done(syn_report_add(report, &sample, &err), &err);
    }
    assert_done(syn_report_set_signature(report, "aa", &err), &err);
    return report;
}

static syn_u128
product(int64_t a, int64_t b)
{
    return (syn_u128)a * (syn_u128)b;
}

/* The test's own books. */
static void
sum_up(struct rank *rank, const struct syn_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct syn_sample *sample = &report->samples[i];
        int64_t ms = sample->to_ms - sample->from_ms;

        rank->cpu += product(ms, sample->reserved.cpu_millicores);
        rank->memory += product(ms, sample->reserved.memory_bytes);
        rank->scratch += product(ms, sample->reserved.scratch_bytes);
    }
}

/* As the server takes a report: not once the run is settled, nothing twice, all of it or nothing.
 */
static void
take_report(struct shop *shop, struct run *run, size_t which, const struct syn_report *report,
            enum crash crash)
{
    struct rank *rank = &run->ranks[which];
    struct syn_meter meter = meter_of(run, which);
    json_t *doc = NULL;

    if (meter.seq >= report->samples[report->count - 1].seq) {
        shop->repeated++;
        return;
    }
    if (run->settled || !run->opened) {
        shop->late += run->settled;
        return;
    }
    if (syn_meter_accept(&meter, report, true, &err) < 0) {
        shop->refused++;
        return;
    }
    if (crash == CRASH_BEFORE_WRITE)
        return;
    assert_done(syn_meter_encode(&meter, &doc, &err), &err);
    json_decref(rank->meter);
    rank->meter = doc;
    assert_done(syn_report_encode(report, &doc, &err), &err);
    assert_int_equal(json_array_append_new(rank->reports, doc), 0);
    sum_up(rank, report);
}

static void
send_report(struct shop *shop, struct run *run, enum crash crash)
{
    size_t which = (size_t)draw(shop, RANKS);
    struct syn_meter meter = meter_of(run, which);
    int64_t shift = draw(shop, 5) - 2; /* early, right, or with a gap */
    int64_t first = SYN_MAX(meter.seq + 1 + shift, 1);
    struct syn_report *report = make_report(shop, &meter, first, 1 + draw(shop, 4));

    take_report(shop, run, which, report, crash);
    if (crash == CRASH_BEFORE_ANSWER) /* nobody heard that it was taken: it comes again */
        take_report(shop, run, which, report, CRASH_NOT);
    (void)syn_report_free(report);
}

static const struct syn_lease *
lease_of(const struct rank *rank, struct syn_lease *lease)
{
    if (rank->lease == NULL)
        return NULL;
    assert_done(syn_lease_decode(rank->lease, lease, &err), &err);
    return lease;
}

/* One attempt to settle; everything that it needs is read from documents. */
static int
settle_once(struct shop *shop, struct run *run, enum crash crash, int64_t *ret_charge)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    struct syn_ledger_slice slices[SYN_INVOICE_PAYEES_MAX];
    struct syn_meter first = meter_of(run, 0);
    struct syn_meter second = meter_of(run, 1);
    struct syn_lease leases[RANKS];
    const struct syn_invoice_usage usages[RANKS] = {
        {"bob", &first.usage, lease_of(&run->ranks[0], &leases[0])},
        {"alice", &second.usage, lease_of(&run->ranks[1], &leases[1])}};
    char escrow[SYN_LEDGER_ACCOUNT_MAX];
    char id[32];
    struct syn_ledger_head head = head_of(shop, run->ref, id);
    struct syn_invoice_terms terms = {
        .id = "bill-1", .ref = run->ref, .tenant = "alice", .transaction = id};
    struct syn_ledger_settlement settlement = {.tenant = "alice", .slices = slices};
    struct syn_ledger_tx tx;
    int rc = syn_ledger_escrow_name(run->ref, escrow, &err);

    terms.escrow = account_of(shop, escrow).balance;
    if (rc == SYN_OK)
        rc = syn_invoice_build(&terms, usages, RANKS, shop->book, &invoice, &err);
    if (rc < 0)
        return rc;
    assert(invoice != NULL);
    settlement.escrow = invoice->escrow;
    *ret_charge = 0;
    for (size_t i = 0; i < invoice->payee_count; i++) {
        if (invoice->payees[i].charge == 0)
            continue;
        slices[settlement.count++] =
            (struct syn_ledger_slice){invoice->payees[i].provider, invoice->payees[i].charge,
                                      invoice->payees[i].provider_bps};
        *ret_charge += invoice->payees[i].charge;
    }
    rc = syn_ledger_build_settle(&head, &settlement, &tx, &err);
    return rc < 0 ? rc : post(shop, &tx, crash);
}

static void
settle_run(struct shop *shop, struct run *run, enum crash crash)
{
    int64_t charge = 0;
    size_t before = json_array_size(shop->txs);

    if (!run->opened)
        return;
    if (run->settled) { /* whoever did not hear of it tries again: nothing moves */
        assert_true(settle_once(shop, run, CRASH_NOT, &charge) < 0);
        assert_int_equal(json_array_size(shop->txs), before);
        return;
    }
    assert_done(settle_once(shop, run, crash, &charge), &err);
    if (crash == CRASH_BEFORE_WRITE)
        return;
    run->settled = true;
    run->charge = charge;
    shop->settled++;
    if (crash == CRASH_BEFORE_ANSWER)
        settle_run(shop, run, CRASH_NOT);
}

static void
transfer(struct shop *shop, enum crash crash)
{
    static const char *const names[] = {"alice", "bob", "carol"};
    const char *from = names[draw(shop, 3)];
    const char *to = names[draw(shop, 3)];
    char id[32];
    struct syn_ledger_head head = head_of(shop, NULL, id);
    struct syn_ledger_tx tx;
    int rc;

    if (syn_str_eq(from, to))
        return;
    assert_done(syn_ledger_build_transfer(&head, from, to, 1 + draw(shop, 20000000), &tx, &err),
                &err);
    rc = post(shop, &tx, crash);
    assert_true(rc == SYN_OK || rc == SYN_E_FUNDS);
}

/* --- what must hold --------------------------------------------------------------------------- */

static void
check_money(const struct shop *shop)
{
    const char *name;
    json_t *doc;
    int64_t sum = 0;

    json_object_foreach (shop->accounts, name, doc) {
        struct syn_ledger_account account = account_of(shop, name);

        assert_true(account.balance >= 0 || syn_str_eq(name, SYN_LEDGER_MINT));
        sum += account.balance;
    }
    assert_int_equal(sum, 0);
    assert_int_equal(account_of(shop, SYN_LEDGER_MINT).balance, -SUPPLY);
    for (size_t i = 0; i < RUNS; i++) {
        const struct run *run = &shop->runs[i];
        char escrow[SYN_LEDGER_ACCOUNT_MAX];

        assert_done(syn_ledger_escrow_name(run->ref, escrow, &err), &err);
        assert_int_equal(account_of(shop, escrow).balance,
                         run->opened && !run->settled ? run->escrow : 0);
    }
}

/* floor(sum of quantity x price / per), over the denominator 125 x per(gb-hour); a core-hour's goes
 * into it 2^27 times. */
static int64_t
exact_total(const struct run *run)
{
    const syn_u128 per = (syn_u128)3865470566400000 * 125;
    syn_u128 sum = 0;

    for (size_t i = 0; i < RANKS; i++) {
        const struct rank *rank = &run->ranks[i];
        syn_u128 price = product(rank->cpu_price, INT64_C(1) << 27);

        sum += rank->cpu * price + rank->memory * 5000000 * 125 + rank->scratch * 1000000 * 125;
    }
    return (int64_t)(sum / per);
}

static void
check_history(const struct shop *shop)
{
    SYN_SCOPED(syn_ledger_audit_free_scope) struct syn_ledger_audit *audit = NULL;
    SYN_JSON(findings);
    const char *name;
    size_t i;
    json_t *doc;

    for (i = 0; i < RUNS; i++) {
        const struct run *run = &shop->runs[i];

        if (run->settled)
            assert_int_equal(run->charge, SYN_MIN(exact_total(run), run->escrow));
    }
    assert_done(syn_ledger_audit_new(&audit, &err), &err);
    json_array_foreach (shop->txs, i, doc) {
        struct syn_ledger_tx tx;

        assert_done(syn_ledger_tx_decode(doc, &tx, &err), &err);
        assert_done(syn_ledger_audit_tx(audit, &tx, &err), &err);
    }
    json_object_foreach (shop->accounts, name, doc) {
        struct syn_ledger_account account = account_of(shop, name);

        assert_done(syn_ledger_audit_account(audit, &account, &err), &err);
    }
    assert_done(syn_ledger_audit_finish(audit, &findings, &err), &err);
    assert_int_equal(json_array_size(findings), 0);
}

static void
meter_again(struct syn_meter *meter, const json_t *doc)
{
    struct syn_report *report;

    assert_done(syn_report_decode(doc, &report, &err), &err);
    assert_done(syn_meter_accept(meter, report, true, &err), &err);
    (void)syn_report_free(report);
}

/* The evidence that was kept meters to what was charged for. */
static void
check_evidence(const struct run *run, size_t which)
{
    struct syn_meter stored = meter_of(run, which);
    struct syn_meter again;
    size_t i;
    json_t *doc;

    assert_done(syn_meter_init(&again, stored.instance, &err), &err);
    json_array_foreach (run->ranks[which].reports, i, doc)
        meter_again(&again, doc);
    assert_int_equal(again.seq, stored.seq);
    assert_int_equal(again.to_ms, stored.to_ms);
}

/* --- histories -------------------------------------------------------------------------------- */

static void
shop_open(struct shop *shop)
{
    char id[32];
    struct syn_ledger_head head;
    struct syn_ledger_tx tx;

    assert_done(syn_pricebook_parse(book_text, sizeof(book_text) - 1, &shop->book, &err), &err);
    shop->accounts = json_object();
    shop->txs = json_array();
    head = head_of(shop, NULL, id);
    assert_done(syn_ledger_build_mint(&head, "alice", SUPPLY, &tx, &err), &err);
    assert_done(post(shop, &tx, CRASH_NOT), &err);
    for (size_t i = 0; i < RUNS; i++) {
        (void)snprintf(shop->runs[i].ref, sizeof(shop->runs[i].ref), "train-%zu", i);
        for (size_t j = 0; j < RANKS; j++)
            shop->runs[i].ranks[j].reports = json_array();
    }
}

static void
shop_close(struct shop *shop)
{
    for (size_t i = 0; i < RUNS; i++) {
        for (size_t j = 0; j < RANKS; j++) {
            json_decref(shop->runs[i].ranks[j].meter);
            json_decref(shop->runs[i].ranks[j].reports);
            json_decref(shop->runs[i].ranks[j].lease);
        }
    }
    json_decref(shop->accounts);
    json_decref(shop->txs);
    syn_pricebook_free(shop->book);
}

static void
one_event(struct shop *shop)
{
    struct run *run = &shop->runs[draw(shop, RUNS)];
    enum crash crash = draw_crash(shop);
    int64_t dice = draw(shop, 20);

    if (dice == 0)
        settle_run(shop, run, crash);
    else if (dice <= 2)
        transfer(shop, crash);
    else if (dice <= 4)
        open_run(shop, run, crash);
    else
        send_report(shop, run, crash);
}

static void
histories_conserve_money(void **state)
{
    unsigned settled = 0, late = 0, repeated = 0, refused = 0, cut = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct shop shop = {.random = seed * 7919};

        shop_open(&shop);
        for (unsigned i = 0; i < EVENTS; i++) {
            one_event(&shop);
            check_money(&shop);
        }
        check_history(&shop);
        for (size_t i = 0; i < (size_t)RUNS * RANKS; i++)
            check_evidence(&shop.runs[i / RANKS], i % RANKS);
        settled += shop.settled;
        late += shop.late;
        repeated += shop.repeated;
        refused += shop.refused;
        cut += shop.cut;
        shop_close(&shop);
    }
    print_message("# %u settled, %u late, %u repeated, %u refused, %u cut off\n", settled, late,
                  repeated, refused, cut);
    assert_true(settled > 100 && late > 100 && repeated > 100 && refused > 100 && cut > 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_conserve_money),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
