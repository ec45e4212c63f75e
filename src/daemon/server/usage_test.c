/* Usage and settlement: reports that come twice, in the wrong order, after a restart, while a run
 * is being settled and afterwards. Whatever the order, a sample that was answered for is paid once,
 * one that was not is not paid, and no money is made or lost. The test is the node's agent. */
#include "usage_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/market/meter.h>
#include <synor/orchestration/document.h>

/* Take the instance of the job's newest attempt as ours, and say that it runs. */
static void
take_up(struct run *run)
{
    char path[128];

    for (int i = 0; i < 3000; i++) {
        SYN_JSON(job);

        (void)snprintf(path, sizeof(path), "/v1/training/%s", run->job);
        must(run->tenant, "GET", path, NULL, &job);
        if (syn_str_eq(syn_document_state(job), "starting")) {
            (void)syn_str_copy(
                run->instance, sizeof(run->instance),
                json_string_value(json_array_get(syn_json_at(job, "status.instances"), 0)));
            break;
        }
        (void)usleep(10000);
    }
    run_take(run);
}

/* `offer` is what the node asks before the job comes, `capacity` what it says that it has, or NULL;
 * `wants` more of the job. */
static void
run_init_at(struct run *run, struct house *house, const char *name, uint8_t seed, const char *offer,
            const char *capacity, const char *wants)
{
    char cid[SYN_CID_TEXT_MAX];
    char text[640];
    char more[192];
    SYN_JSON(job);

    run_join(run, house, name, seed, offer);
    (void)snprintf(text, sizeof(text), "/v1/nodes/%s/heartbeat", run->node);
    if (capacity != NULL)
        must(run->agent, "POST", text, capacity, NULL);
    store_source(run->tenant, cid);
    (void)snprintf(more, sizeof(more), ",'region':'%s'%s", name, wants);
    job_body(text, sizeof(text), cid, "job", more);
    must(run->tenant, "POST", "/v1/training", text, &job);
    (void)syn_str_copy(run->job, sizeof(run->job), syn_document_id(job));
    take_up(run);
}

static void
run_init(struct run *run, struct house *house, const char *name, uint8_t seed)
{
    run_init_at(run, house, name, seed, NULL, NULL, "");
}

/* The bill of the job's newest run, once it is there. */
static json_t *
await_bill(const struct run *run, int64_t number)
{
    char path[128];

    for (int i = 0; i < 3000; i++) {
        json_t *bill = NULL;

        (void)snprintf(path, sizeof(path), "/v1/bills/%s", run->job);
        if (call(run->tenant, "GET", path, NULL, NULL, &bill) == SYN_OK &&
            syn_json_i64(syn_document_spec(bill), "run", 0) == number)
            return bill;
        json_decref(bill);
        (void)usleep(10000);
    }
    fail_msg("the run was never billed");
    return NULL;
}

/* The last sample in the bill's evidence, all of whose samples follow each other. */
static int64_t
evidence_seq(const struct run *run, const json_t *bill)
{
    char path[128];
    int64_t seq = 0;
    size_t i;
    json_t *row;
    SYN_JSON(evidence);

    (void)snprintf(path, sizeof(path), "/v1/bills/%s/evidence", syn_document_id(bill));
    must(run->tenant, "GET", path, NULL, &evidence);
    json_array_foreach (json_object_get(evidence, "reports"), i, row) {
        const json_t *samples = json_object_get(row, "samples");
        size_t count = json_array_size(samples);

        assert_int_equal(syn_json_i64(json_array_get(samples, 0), "seq", 0), seq + 1);
        seq = syn_json_i64(json_array_get(samples, count - 1), "seq", 0);
    }
    return seq;
}

/* The bill is right: it recomputes from the evidence, who is to be paid was, and nothing is lost.
 */
static void
check_bill(const struct run *run, const json_t *bill)
{
    const json_t *status = json_object_get(bill, "status");
    char path[128];
    SYN_JSON(verdict);

    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", syn_document_id(bill));
    must(run->tenant, "GET", path, NULL, &verdict);
    assert_true(syn_json_bool(verdict, "agrees", false));
    assert_true(syn_json_bool(verdict, "signatures_ok", false));
    assert_int_equal(syn_document_amount(status, "charge") + syn_document_amount(status, "refund"),
                     syn_document_amount(status, "escrow"));
    assert_int_equal(evidence_seq(run, bill), metered(run));
    assert_int_equal(ledger_sum(run->house), 0);
}

static int64_t
paid(const struct run *run)
{
    char account[96];

    (void)snprintf(account, sizeof(account), "paid-%s", run->name);
    return balance_of(run->house->client, account, "balance");
}

static void
twice_is_once(void **state)
{
    struct run run;
    SYN_JSON(bill);

    run_init(&run, *state, "twice", 1);
    for (int i = 0; i < 3; i++)
        sent(&run, 1, 5, SYN_OK, 5);
    sent(&run, 2, 4, SYN_OK, 5); /* a part of what came */
    sent(&run, 6, 9, SYN_OK, 9);
    sent(&run, 1, 5, SYN_OK, 9);
    end(&run, 9);
    bill = await_bill(&run, 1);
    check_bill(&run, bill);
    assert_int_equal(paid(&run),
                     syn_document_amount(json_object_get(bill, "status"), "provider_amount"));
    run_fini(&run);
}

static void
order_does_not_matter(void **state)
{
    struct run run;
    SYN_JSON(bill);

    run_init(&run, *state, "order", 2);
    sent(&run, 4, 6, SYN_E_CONFLICT, 0); /* nothing before it */
    sent(&run, 1, 3, SYN_OK, 3);
    sent(&run, 7, 9, SYN_E_CONFLICT, 3); /* a gap */
    sent(&run, 2, 6, SYN_E_CONFLICT, 3); /* an overlap: all or nothing */
    sent(&run, 4, 6, SYN_OK, 6);
    sent(&run, 7, 9, SYN_OK, 9);
    end(&run, 9);
    bill = await_bill(&run, 1);
    check_bill(&run, bill);
    run_fini(&run);
}

/* An agent that starts anew begins at the beginning, asks, and goes on; so after the server's own
 * restart, in the middle of a run and before its bill. */
static void
restarts_lose_nothing(void **state)
{
    struct house *house = *state;
    struct run run;
    SYN_JSON(bill);

    run_init(&run, house, "restart", 3);
    sent(&run, 1, 5, SYN_OK, 5);
    for (int i = 0; i < 2; i++) {
        run.tenant = syn_client_free(run.tenant);
        run.agent = syn_client_free(run.agent);
        house_close(house);
        house_open(house);
        run.tenant = tenant(house, "restart", "tenant");
        await_token(run.tenant);
        run.agent = client_of(house, run.agent_token);
        sent(&run, 1, 5, SYN_OK, i == 0 ? 5 : 8);
        sent(&run, 1, 8, i == 0 ? SYN_E_CONFLICT : SYN_OK, i == 0 ? 5 : 8);
        assert_int_equal(ask(&run, run.agent), i == 0 ? 5 : 8);
        if (i == 0)
            sent(&run, 6, 8, SYN_OK, 8);
    }
    end(&run, 8);
    bill = await_bill(&run, 1);
    check_bill(&run, bill);
    run_fini(&run);
}

static void
late_is_not_paid(void **state)
{
    struct run run;
    char path[128];
    char old[SYN_ID_MAX];
    char old_lease[SYN_DIGEST_MAX];
    struct run again; /* the same, with the instance of the next run */
    int64_t begun_ms;
    int64_t before;
    SYN_JSON(bill);
    SYN_JSON(second);

    run_init(&run, *state, "late", 4);
    sent(&run, 1, 5, SYN_OK, 5);
    end(&run, 5);
    bill = await_bill(&run, 1);
    check_bill(&run, bill);
    before = paid(&run);
    sent(&run, 6, 9, SYN_E_PRECONDITION, 5);
    sent(&run, 1, 5, SYN_OK, 5); /* told again that it has them: harmless */
    assert_int_equal(paid(&run), before);
    /* Nor does it count for the run after: that has an escrow of its own. */
    (void)syn_str_copy(old, sizeof(old), run.instance);
    memcpy(old_lease, run.lease, sizeof(old_lease));
    begun_ms = run.begun_ms;
    (void)snprintf(path, sizeof(path), "/v1/training/%s/resume", run.job);
    must(run.tenant, "POST", path, "{}", NULL);
    take_up(&run);
    assert_string_not_equal(run.instance, old);
    again = run;
    (void)syn_str_copy(run.instance, sizeof(run.instance), old);
    memcpy(run.lease, old_lease, sizeof(run.lease));
    run.begun_ms = begun_ms;
    assert_int_equal(send_as(&run, run.agent, 6, 9, NULL), SYN_E_PRECONDITION);
    sent(&again, 1, 2, SYN_OK, 2);
    end(&again, 2);
    second = await_bill(&again, 2);
    check_bill(&again, second);
    check_bill(&run, bill); /* the first one is what it was */
    run_fini(&run);
}

/* A report between what a settlement reads and its write: the settlement starts over and has it. */
static void
report_within_a_settlement(void **state)
{
    struct house *house = *state;
    struct run run;
    char key[SRV_KEY_MAX];
    int64_t before;
    SYN_JSON(job);
    SYN_JSON(instances);
    SYN_JSON(bill);
    struct syn_err err;

    run_init(&run, house, "within", 5);
    sent(&run, 1, 5, SYN_OK, 5);
    before = ledger_sum(house);
    assert_done(
        srv_need(house->server, srv_key(key, "training", run.job, NULL), "job", &job, NULL, &err),
        &err);
    assert_done(srv_instances_of(house->server, run.job, &instances, &err), &err);
    for (int i = 0; i < 3; i++) {
        SRV_TXN(txn);

        assert_done(srv_settle(house->server, &txn, job, instances, "bill-within", &err), &err);
        sent(&run, 6 + i, 6 + i, SYN_OK, 6 + i);
        assert_int_equal(srv_txn_commit(house->server, &txn, NULL, &err), SYN_STORE_CONFLICT);
    }
    {
        SRV_TXN(txn);

        assert_done(srv_settle(house->server, &txn, job, instances, "bill-within", &err), &err);
        assert_done(srv_txn_commit(house->server, &txn, NULL, &err), &err);
    }
    sent(&run, 9, 9, SYN_E_PRECONDITION, 8);
    { /* and a run is settled once */
        SRV_TXN(txn);

        assert_true(srv_settle(house->server, &txn, job, instances, "bill-within", &err) < 0 ||
                    srv_txn_commit(house->server, &txn, NULL, &err) != SYN_OK);
    }
    must(run.tenant, "GET", "/v1/bills/bill-within", NULL, &bill);
    check_bill(&run, bill);
    assert_int_equal(evidence_seq(&run, bill), 8);
    assert_int_equal(ledger_sum(house), before);
    run_fini(&run);
}

/* --- all at once ------------------------------------------------------------------------------ */

struct sender {
    const struct run *run;
    pthread_t thread;
    uint64_t random;
    int64_t confirmed; /* the furthest that the server answered for */
    bool refused;      /* it said that the run is settled */
};

/* An agent that restarts all the time: it sends from anywhere, twice, and out of order. */
static void *
send_wildly(void *arg)
{
    struct sender *sender = arg;
    struct syn_client *agent = client_of(sender->run->house, sender->run->agent_token);
    int64_t known = 0;

    for (int i = 0; i < 2000 && !sender->refused; i++) {
        int64_t back = (int64_t)(syn_test_random(&sender->random) % 3);
        int64_t first = SYN_MAX(known + 1 - back, 1);
        int64_t last = first + (int64_t)(syn_test_random(&sender->random) % 4);
        int64_t seq;
        int rc = send_as(sender->run, agent, first, last, &seq);

        if (rc == SYN_OK)
            sender->confirmed = SYN_MAX(sender->confirmed, seq);
        sender->refused = rc == SYN_E_PRECONDITION;
        assert_true(rc == SYN_OK || rc == SYN_E_CONFLICT || sender->refused);
        known = rc == SYN_OK ? seq : ask(sender->run, agent);
    }
    (void)syn_client_free(agent);
    return NULL;
}

static void
senders_race_the_settlement(void **state)
{
    static const char *const names[] = {"race-a", "race-b", "race-c", "race-d"};

    for (size_t round = 0; round < SYN_LEN(names); round++) {
        struct run run;
        struct sender senders[4];
        int64_t confirmed = 0;
        SYN_JSON(bill);

        run_init(&run, *state, names[round], (uint8_t)(10 + round));
        for (size_t i = 0; i < SYN_LEN(senders); i++) {
            senders[i] = (struct sender){.run = &run, .random = 7 * round + i + 1};
            assert_int_equal(pthread_create(&senders[i].thread, NULL, send_wildly, &senders[i]), 0);
        }
        for (int i = 0; i < 10000 && metered(&run) < 20; i++)
            (void)usleep(1000);
        assert_true(metered(&run) >= 20);
        end(&run, 20); /* known already: it is settled at once, while they go on */
        bill = await_bill(&run, 1);
        for (size_t i = 0; i < SYN_LEN(senders); i++) {
            assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
            confirmed = SYN_MAX(confirmed, senders[i].confirmed);
        }
        check_bill(&run, bill);
        assert_int_equal(confirmed,
                         metered(&run)); /* nobody was told more, or less, than is paid */
        assert_int_equal(paid(&run),
                         syn_document_amount(json_object_get(bill, "status"), "provider_amount"));
        run_fini(&run);
    }
}

/* The line of `item` in a bill; there is just one. */
static const json_t *
line_of(const json_t *bill, const char *item)
{
    const json_t *found = NULL, *line;
    size_t i;

    json_array_foreach (syn_json_at(bill, "status.lines"), i, line) {
        if (!syn_str_eq(syn_json_str(line, "item", ""), item))
            continue;
        assert_null(found);
        found = line;
    }
    assert_non_null(found);
    return found;
}

/* Rewrite what the instance was leased for, behind everybody's back; NULL takes the lease away. */
static void
alter_lease(const struct run *run, const char *price)
{
    struct syn_server *server = run->house->server;
    char key[SRV_KEY_MAX];
    int64_t revision;
    SRV_TXN(txn);
    SYN_JSON(doc);
    json_t *spec;

    assert_int_equal(
        srv_load(server, srv_key(key, "instance", run->instance, NULL), &doc, &revision, NULL),
        SYN_OK);
    spec = syn_document_spec(doc);
    if (price != NULL)
        assert_int_equal(
            syn_json_set_str(syn_json_at(spec, "lease.price.cpu"), "price", price, NULL), SYN_OK);
    else
        assert_int_equal(json_object_del(spec, "lease"), 0);
    assert_int_equal(srv_txn_replace(&txn, key, revision, doc, NULL), SYN_OK);
    assert_int_equal(srv_txn_commit(server, &txn, NULL, NULL), SYN_OK);
}

/* Does checking the bill now name `field`? */
static void
expect_difference(const struct run *run, const json_t *bill, const char *field)
{
    char path[128];
    SYN_JSON(verdict);
    const json_t *row;
    size_t i;

    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", syn_document_id(bill));
    must(run->tenant, "GET", path, NULL, &verdict);
    assert_false(syn_json_bool(verdict, "agrees", true));
    json_array_foreach (json_object_get(verdict, "differences"), i, row)
        if (syn_str_eq(syn_json_str(row, "field", ""), field))
            return;
    fail_msg("%s was not named", field);
}

/* What the node asked when the job was placed is what is paid, whatever it asks afterwards and
 * whoever rewrites it. */
static void
offers_become_leases(void **state)
{
    struct house *house = *state;
    struct run run;
    char path[128], good[SYN_DIGEST_MAX];
    SYN_JSON(bill);
    SYN_JSON(evidence);

    run_init_at(&run, house, "lease", 20, "{'offer':{'cpu_core_hour':'3','scratch_gib_hour':'0'}}",
                NULL, "");
    sent(&run, 1, 3, SYN_OK, 3);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s", run.node);
    must(house->client, "PATCH", path, "{'offer':{'cpu_core_hour':'5'}}", NULL);
    memcpy(good, run.lease, sizeof(good));
    run.lease[0] = run.lease[0] == '0' ? '1' : '0';
    sent(&run, 4, 6, SYN_E_INVALID, 3);
    memcpy(run.lease, good, sizeof(good));
    sent(&run, 4, 6, SYN_OK, 6);
    end(&run, 6);
    bill = await_bill(&run, 1);
    check_bill(&run, bill);
    assert_string_equal(syn_json_str(line_of(bill, "cpu"), "price", ""), "3");
    assert_string_equal(syn_json_str(line_of(bill, "memory"), "price", ""), "0.005");
    assert_string_equal(syn_json_str(line_of(bill, "scratch"), "price", ""), "0");
    assert_string_equal(syn_json_str(line_of(bill, "scratch"), "amount", ""), "0");
    (void)snprintf(path, sizeof(path), "/v1/bills/%s/evidence", syn_document_id(bill));
    must(run.tenant, "GET", path, NULL, &evidence);
    assert_true(json_is_object(json_object_get(json_object_get(evidence, "leases"), run.instance)));
    (void)snprintf(path, sizeof(path), "leases.%s", run.instance);
    alter_lease(&run, "30");
    expect_difference(&run, bill, path);
    alter_lease(&run, "3");
    check_bill(&run, bill);
    alter_lease(&run, NULL);
    expect_difference(&run, bill, path);
    run_fini(&run);
}

/* Nobody's card: the node says that it has one, and shares it. */
static void
a_part_of_a_card_is_billed_as_such(void **state)
{
    struct run run;
    const json_t *resources, *line, *part = NULL;
    char path[128];
    size_t i;
    SYN_JSON(instance);
    SYN_JSON(bill);

    (void)state;
    run_init_at(&run, *state, "share", 21, NULL,
                "{'capacity':{'cpu_millicores':8000,'memory_bytes':85899345920,'scratch_bytes':"
                "85899345920,'gpus':[{'model':'h100','count':1,'vram_bytes':85899345920,"
                "'sharing':'time-slice'}]}}",
                ",'gpu_share':0.25,'gpu_memory_bytes':'10gb'");
    (void)snprintf(path, sizeof(path), "/v1/instances/%s", run.instance);
    must(run.agent, "GET", path, NULL, &instance);
    resources = syn_json_at(instance, "spec.resources");
    assert_int_equal(syn_json_i64(resources, "gpus", 0), 1);
    assert_int_equal(syn_json_i64(resources, "gpu_permille", 0), 250);
    assert_int_equal(syn_json_i64(resources, "gpu_share_mib", 0), 10240);
    assert_string_equal(syn_json_str(resources, "gpu_sharing", ""), "time-slice");
    assert_int_equal(json_array_size(json_object_get(resources, "gpu_cards")), 1);
    run.reserved.gpu_permille = 0; /* as if the card were its own */
    sent(&run, 1, 2, SYN_E_INVALID, 0);
    run.reserved.gpu_permille = 250;
    sent(&run, 1, 2, SYN_OK, 2);
    end(&run, 2);
    bill = await_bill(&run, 1);
    json_array_foreach (syn_json_at(bill, "status.lines"), i, line)
        if (syn_str_eq(syn_json_str(line, "item", ""), "gpu:h100"))
            part = line;
    assert_non_null(part);
    assert_string_equal(syn_json_str(part, "unit", ""), "gpu-part-hour");
    assert_string_equal(syn_json_str(part, "quantity", ""), "5000"); /* 250 x 2 x 10 ms */
    assert_string_equal(syn_json_str(part, "price", ""), "4");
    run_fini(&run);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(twice_is_once, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(order_does_not_matter, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(restarts_lose_nothing, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(late_is_not_paid, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(offers_become_leases, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(a_part_of_a_card_is_billed_as_such, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(report_within_a_settlement, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(senders_race_the_settlement, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
