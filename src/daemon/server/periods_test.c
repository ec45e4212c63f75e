/* Billing periods of a service: whatever comes when, each period's bill verifies by itself, all of
 * them together cost what everything costs uncut, and no sample is in two or in none. */
#include "usage_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/market/invoice.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>

#include "bills_priv.h"

#define LONG  "2678400000" /* a period that does not end within the test */
#define SHORT "1000"

/* A service of one replica that runs on the node of the same name. */
static void
service_init(struct run *run, struct house *house, const char *name, uint8_t seed,
             const char *period_ms)
{
    char cid[SYN_CID_TEXT_MAX], text[640];

    run_join(run, house, name, seed, NULL);
    store_source(run->tenant, cid);
    (void)snprintf(text, sizeof(text),
                   "{'name':'web','spec':{'image':'synor://%s','region':'%s','cpu_millicores':333,"
                   "'memory_bytes':100000007,'billing_period_ms':%s}}",
                   cid, name, period_ms);
    run_serve(run, text);
    run_take(run);
}

static json_t *
service_of(const struct run *run)
{
    json_t *service = NULL;

    must(run->tenant, "GET", "/v1/services/web", NULL, &service);
    return service;
}

/* Build what ends the period, for the caller to write or to lose. */
static void
build_renewal(const struct run *run, struct srv_txn *txn)
{
    struct syn_server *server = run->house->server;
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    char id[SYN_ID_MAX];
    struct syn_err err;
    SYN_JSON(service);
    SYN_JSON(instances);

    service = service_of(run);
    assert_done(srv_instances_of(server, run->job, &instances, &err), &err);
    assert_done(srv_period_load(server, run->job, 1, &period, &err), &err);
    syn_service_bill_id(service, period.number, id);
    assert_done(srv_renew(server, txn, service, instances,
                          &(struct srv_renewal){id, SYN_SYNOR, true}, &err),
                &err);
}

/* The controller steps meanwhile, and may have been faster. */
static void
renew(const struct run *run)
{
    for (int i = 0; i < 100; i++) {
        struct syn_err err;
        SRV_TXN(txn);
        int rc;

        build_renewal(run, &txn);
        rc = srv_txn_commit(run->house->server, &txn, NULL, &err);
        if (rc == SYN_OK)
            return;
        assert_int_equal(rc, SYN_STORE_CONFLICT);
    }
    fail_msg("the period was never billed");
}

static json_t *
bill_of(const struct run *run, int64_t period)
{
    char id[SYN_ID_MAX], path[128];
    json_t *bill = NULL;
    SYN_JSON(service);

    service = service_of(run);
    syn_service_bill_id(service, period, id);
    (void)snprintf(path, sizeof(path), "/v1/bills/%s", id);
    for (int i = 0; i < 3000; i++) {
        if (call(run->tenant, "GET", path, NULL, NULL, &bill) == SYN_OK)
            return bill;
        (void)usleep(10000);
    }
    fail_msg("%s is not there", id);
    return NULL;
}

static bool
agrees(const struct run *run, const json_t *bill, const char *field)
{
    char path[128];
    const json_t *row;
    size_t i;
    SYN_JSON(verdict);

    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", syn_document_id(bill));
    must(run->tenant, "GET", path, NULL, &verdict);
    if (field == NULL) {
        if (!syn_json_bool(verdict, "agrees", false))
            print_message("%s\n", json_dumps(json_object_get(verdict, "differences"), 0));
        return syn_json_bool(verdict, "agrees", false) &&
               syn_json_bool(verdict, "signatures_ok", false);
    }
    json_array_foreach (json_object_get(verdict, "differences"), i, row)
        if (syn_str_eq(syn_json_str(row, "field", ""), field))
            return false;
    return true;
}

/* The bill of the period is right, and has just these samples of the one instance. */
static int64_t
check_period(const struct run *run, int64_t period, int64_t after, int64_t last)
{
    const json_t *rows, *status;
    SYN_JSON(bill);

    bill = bill_of(run, period);
    rows = json_object_get(syn_document_spec(bill), "instances");
    status = syn_document_status(bill);
    assert_true(agrees(run, bill, NULL));
    assert_int_equal(json_array_size(rows), last > after);
    if (last > after) {
        assert_int_equal(syn_json_i64(json_array_get(rows, 0), "after_seq", -1), after);
        assert_int_equal(syn_json_i64(json_array_get(rows, 0), "last_seq", -1), last);
    }
    assert_int_equal(syn_document_amount(status, "charge") + syn_document_amount(status, "refund"),
                     syn_document_amount(status, "escrow"));
    assert_int_equal(ledger_sum(run->house), 0);
    return syn_document_amount(status, "charge");
}

/* What everything that was metered costs in one piece. */
static int64_t
uncut(const struct run *run)
{
    struct syn_server *server = run->house->server;
    struct syn_meter meter;
    struct syn_lease lease;
    char key[SRV_KEY_MAX];
    int64_t revision, total;
    bool leased;
    struct syn_err err;
    SYN_JSON(instance);

    assert_done(
        srv_load(server, srv_key(key, "instance", run->instance, NULL), &instance, &revision, &err),
        &err);
    assert_done(srv_lease_of(instance, &lease, &leased, &err), &err);
    assert_done(srv_meter_load(server, run->instance, &meter, &revision, &err), &err);
    assert_done(syn_invoice_total(&(struct syn_invoice_usage){"any", &meter.usage, &lease}, 1,
                                  server->prices, &total, &err),
                &err);
    return total;
}

/* The service is stopped, and its last sample was `last`. */
static void
finish(const struct run *run, int64_t last)
{
    must(run->tenant, "POST", "/v1/services/web/stop", "{}", NULL);
    end(run, last);
    for (int i = 0; i < 3000; i++) {
        SYN_JSON(service);

        service = service_of(run);
        if (json_is_string(syn_json_at(service, "status.bill")))
            return;
        (void)usleep(10000);
    }
    fail_msg("the service was never billed");
}

static void
periods_add_up(void **state)
{
    struct run run;
    int64_t charged = 0, before;

    service_init(&run, *state, "adds", 1, LONG);
    before = balance_of(run.house->client, "adds", "balance");
    run.egress_bytes = 777;
    for (int64_t period = 1; period <= 6; period++) {
        sent(&run, 3 * period - 2, 3 * period, SYN_OK, 3 * period);
        sent(&run, 3 * period - 2, 3 * period, SYN_OK, 3 * period); /* again: harmless */
        renew(&run);
        charged += check_period(&run, period, 3 * period - 3, 3 * period);
        assert_true(balance_of(run.house->client, "adds", "balance") <=
                    before + 10 * SYN_SYNOR - charged);
    }
    sent(&run, 19, 20, SYN_OK, 20);
    finish(&run, 20);
    charged += check_period(&run, 7, 18, 20);
    assert_int_equal(charged, uncut(&run));
    assert_int_equal(balance_of(run.house->client, "adds", "balance"), 10 * SYN_SYNOR - charged);
    sent(&run, 21, 22, SYN_E_PRECONDITION, 20);     /* the run is over */
    for (int64_t period = 1; period <= 7; period++) /* each still verifies by itself */
        (void)check_period(&run, period, 3 * period - 3, period == 7 ? 20 : 3 * period);
    run_fini(&run);
}

/* The server dies before the one write of a rollover, or right after it; a report comes in between:
 * nothing is lost and nothing counted twice. */
static void
dying_in_a_rollover_loses_nothing(void **state)
{
    struct house *house = *state;
    struct run run;
    int64_t charged = 0, revision, after;
    struct syn_err err;

    service_init(&run, house, "dies", 2, LONG);
    sent(&run, 1, 4, SYN_OK, 4);
    { /* before: building writes nothing ahead */
        SRV_TXN(txn);

        assert_int_equal(pthread_mutex_lock(&house->lock), 0);
        assert_done(syn_store_revision(house->server->store, &revision, &err), &err);
        assert_int_equal(pthread_mutex_unlock(&house->lock), 0);
        build_renewal(&run, &txn);
        sent(&run, 5, 6, SYN_OK, 6);
        assert_int_equal(srv_txn_commit(house->server, &txn, NULL, &err), SYN_STORE_CONFLICT);
        assert_done(syn_store_revision(house->server->store, &after, &err), &err);
        assert_true(after > revision);
    }
    for (int64_t period = 1; period <= 3; period++) {
        if (period != 2)
            renew(&run);
        run.tenant = syn_client_free(run.tenant);
        run.agent = syn_client_free(run.agent);
        house_close(house);
        house_open(house);
        run.tenant = tenant(house, "dies", "tenant");
        await_token(run.tenant);
        run.agent = client_of(house, run.agent_token);
        if (period == 2)
            renew(&run);
        charged += check_period(&run, period, period == 1 ? 0 : 4 + period, 5 + period);
        assert_int_equal(ask(&run, run.agent), 5 + period);
        sent(&run, 6 + period, 6 + period, SYN_OK, 6 + period);
    }
    finish(&run, 9);
    charged += check_period(&run, 4, 8, 9);
    assert_int_equal(charged, uncut(&run));
    assert_int_equal(balance_of(house->client, "dies", "balance"), 10 * SYN_SYNOR - charged);
    run_fini(&run);
}

/* By itself, while samples go on coming. */
static void
controller_bills_period_by_period(void **state)
{
    struct run run;
    int64_t seq = 0, charged = 0, periods = 0;

    service_init(&run, *state, "self", 3, SHORT);
    for (int i = 0; i < 6000 && periods < 3; i++) {
        SYN_JSON(service);

        seq++;
        sent(&run, seq, seq, SYN_OK, seq);
        (void)usleep(SAMPLE_MS * 1000);
        service = service_of(&run);
        periods = syn_json_i64(syn_json_at(service, "status.period"), "number", 1) - 1;
    }
    assert_true(periods >= 3);
    finish(&run, seq);
    for (int64_t period = 1; period <= periods; period++) {
        SYN_JSON(bill);

        bill = bill_of(&run, period);
        assert_true(agrees(&run, bill, NULL));
        charged += syn_document_amount(syn_document_status(bill), "charge");
    }
    { /* by the service's name: the newest; another period may have ended before the stop */
        SYN_JSON(bill);

        must(run.tenant, "GET", "/v1/bills/web", NULL, &bill);
        assert_true(agrees(&run, bill, NULL));
        periods = syn_json_i64(syn_json_at(bill, "spec.period"), "number", 0) - periods;
        assert_true(periods == 1 || periods == 2);
        if (periods == 1)
            charged += syn_document_amount(syn_document_status(bill), "charge");
    }
    if (periods == 1)
        assert_int_equal(charged, uncut(&run));
    assert_int_equal(balance_of(run.house->client, "self", "balance"),
                     10 * SYN_SYNOR - uncut(&run));
    run_fini(&run);
}

static void
turn(const struct run *run, const char *item, bool on)
{
    struct syn_err err;
    SRV_TXN(txn);

    assert_done(srv_network_set(run->house->server, &txn, run->job, item, on, &err), &err);
    assert_done(srv_txn_commit(run->house->server, &txn, NULL, &err), &err);
}

static const json_t *
line_of(const json_t *bill, const char *item)
{
    const json_t *line;
    size_t i;

    json_array_foreach (syn_json_at(bill, "status.lines"), i, line)
        if (syn_str_eq(syn_json_str(line, "item", ""), item))
            return line;
    return NULL;
}

/* The load balancer by the ms that it was there, egress by the byte; of both the node's or the
 * platform's part is 75 %. What is left on ends with the run. */
static void
network_is_billed(void **state)
{
    struct run run;
    int64_t first, second;
    SYN_JSON(one);
    SYN_JSON(two);

    service_init(&run, *state, "nets", 4, LONG);
    turn(&run, "lb", true);
    turn(&run, "lb", true); /* again: nothing */
    turn(&run, "static-ip", true);
    (void)usleep(50000);
    turn(&run, "static-ip", false);
    run.egress_bytes = INT64_C(1) << 30;
    sent(&run, 1, 2, SYN_OK, 2);
    renew(&run);
    (void)usleep(50000);
    sent(&run, 3, 3, SYN_OK, 3);
    finish(&run, 3); /* the balancer is on still */
    (void)check_period(&run, 1, 0, 2);
    (void)check_period(&run, 2, 2, 3);
    one = bill_of(&run, 1);
    two = bill_of(&run, 2);
    assert_string_equal(syn_json_str(line_of(one, "egress"), "quantity", ""), "2147483648");
    assert_string_equal(syn_json_str(line_of(one, "egress"), "share", ""), "network");
    assert_string_equal(syn_json_str(line_of(two, "egress"), "quantity", ""), "1073741824");
    assert_non_null(line_of(one, "static-ip"));
    assert_null(line_of(two, "static-ip"));
    first = syn_json_i64(syn_json_at(one, "spec.network.until"), "lb", 0);
    second = syn_json_i64(syn_json_at(two, "spec.network.until"), "lb", 0);
    assert_true(first >= 50 && second >= first + 50);
    assert_int_equal(syn_json_i64(syn_json_at(two, "spec.network.before"), "lb", 0), first);
    {
        SYN_JSON(totals);
        struct syn_err err;

        (void)usleep(20000);
        assert_done(srv_count_read(run.house->server, run.job,
                                   syn_wall_ms(run.house->server->world), &totals, &err),
                    &err);
        assert_int_equal(syn_json_i64(totals, "lb", 0), second); /* it was turned off */
    }
    { /* the next run begins where this one ended: it does not pay for it again */
        SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
        struct syn_err err;
        SRV_TXN(txn);

        assert_done(srv_period_begin(run.house->server, &txn, run.job, 2, &err), &err);
        assert_done(srv_txn_commit(run.house->server, &txn, NULL, &err), &err);
        assert_done(srv_period_load(run.house->server, run.job, 2, &period, &err), &err);
        assert_int_equal(syn_json_i64(json_object_get(period.doc, "network"), "lb", 0), second);
    }
    run_fini(&run);
}

/* Rewrite a part of a stored bill behind everybody's back. */
static void
alter(const struct run *run, int64_t period, const char *at, const char *name, json_t *value)
{
    struct syn_server *server = run->house->server;
    char key[SRV_KEY_MAX];
    int64_t revision;
    SRV_TXN(txn);
    SYN_JSON(bill);
    SYN_JSON(doc);
    struct syn_err err;

    bill = bill_of(run, period);
    assert_done(
        srv_load(server, srv_key(key, "bill", syn_document_id(bill), NULL), &doc, &revision, &err),
        &err);
    assert_done(syn_json_set_take(syn_json_at(doc, at), name, value, &err), &err);
    assert_done(srv_txn_replace(&txn, key, revision, doc, &err), &err);
    assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
}

static void
seams_are_checked(void **state)
{
    struct run run;
    char field[128];
    json_t *rows = NULL;
    SYN_JSON(bill);

    service_init(&run, *state, "seam", 5, LONG);
    sent(&run, 1, 3, SYN_OK, 3);
    renew(&run);
    sent(&run, 4, 5, SYN_OK, 5);
    renew(&run);
    sent(&run, 6, 6, SYN_OK, 6);
    finish(&run, 6);
    bill = bill_of(&run, 2);
    alter(&run, 2, "status", "carried", json_string("1/3600000"));
    assert_false(agrees(&run, bill, "carried"));
    alter(&run, 2, "status", "carried",
          json_incref(json_object_get(syn_document_status(bill), "carried")));
    assert_true(agrees(&run, bill, NULL));
    rows = json_pack("[{s:s, s:i, s:I, s:i}]", "instance", run.instance, "after_seq", 4, "after_ms",
                     (json_int_t)run.begun_ms + (json_int_t)4 * SAMPLE_MS, "last_seq", 5);
    alter(&run, 2, "spec", "instances", rows);
    (void)snprintf(field, sizeof(field), "samples.%s", run.instance);
    assert_false(agrees(&run, bill, field)); /* a sample is in no bill */
    run_fini(&run);
}

/* A bill pays as many providers as a run can have been with: all of them at once, or none. */
static void
many_providers_are_paid_at_once(void **state)
{
    enum { PROVIDERS = SYN_INVOICE_PROVIDERS_MAX, CLASSES = 3, CHARGE = 1000 };
    static struct syn_ledger_slice slices[CLASSES * PROVIDERS];
    static char names[PROVIDERS][32];
    static struct syn_ledger_tx tx;
    struct house *house = *state;
    struct syn_server *server = house->server;
    const int64_t escrow = (int64_t)CLASSES * PROVIDERS * CHARGE + 77;
    const struct syn_ledger_settlement settlement = {escrow, "many", slices, SYN_LEN(slices)};
    struct srv_ledger_place place;
    int64_t balance = -1, sum = ledger_sum(house);
    struct syn_err err;

    { /* whose money it is is nobody's */
        SRV_TXN(txn);

        assert_done(srv_ledger_next(server, &place, &err), &err);
        assert_done(
            syn_ledger_build_mint(&(struct syn_ledger_head){place.id, place.seq, 1, "", "many"},
                                  "many", escrow, &tx, &err),
            &err);
        assert_done(srv_ledger_add(server, &txn, &place, &tx, &err), &err);
        assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
    }
    {
        SRV_TXN(txn);

        assert_done(srv_escrow_lock(server, &txn,
                                    &(struct srv_lock){"many", "svc-many.1", escrow, 0, "many"},
                                    &err),
                    &err);
        assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
    }
    for (size_t i = 0; i < SYN_LEN(slices); i++) {
        (void)snprintf(names[i % PROVIDERS], sizeof(names[0]), "acct-many-%zu", i % PROVIDERS);
        slices[i] = (struct syn_ledger_slice){names[i % PROVIDERS], CHARGE, 8500};
    }
    {
        SRV_TXN(txn);

        assert_done(srv_ledger_next(server, &place, &err), &err);
        assert_done(syn_ledger_build_settle(
                        &(struct syn_ledger_head){place.id, place.seq, 1, "svc-many.1", "many"},
                        &settlement, &tx, &err),
                    &err);
        assert_done(srv_ledger_add(server, &txn, &place, &tx, &err), &err);
        assert_done(srv_balance(server, names[7], &balance, &err), &err);
        assert_int_equal(balance, 0);
        assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
    }
    for (size_t i = 0; i < PROVIDERS; i++) {
        assert_done(srv_balance(server, names[i], &balance, &err), &err);
        assert_int_equal(balance, CLASSES * CHARGE * 85 / 100);
    }
    assert_done(srv_balance(server, "escrow:svc-many.1", &balance, &err), &err);
    assert_int_equal(balance, 0);
    assert_int_equal(ledger_sum(house), sum);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(periods_add_up, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(dying_in_a_rollover_loses_nothing, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(controller_bills_period_by_period, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(network_is_billed, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(seams_are_checked, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(many_providers_are_paid_at_once, house_setup,
                                        house_teardown),
    };

    return cmocka_run_group_tests_name("periods", tests, NULL, NULL);
}
