/* Volumes are paid for: for the size that they had and as long as they had it, to who provides
 * their node, period by period, and what becomes of those that nobody pays for. */
#include "usage_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "bills_priv.h"
#include "volumes_priv.h"

#define GIB    "1073741824"
#define HOURS  (INT64_C(3600) * 1000)
#define HOUR_1 INT64_C(1000000) /* what a GiB costs an hour, base units */

static json_t *
volume_of(const struct run *run, const char *name)
{
    char path[128];
    json_t *volume = NULL;

    (void)snprintf(path, sizeof(path), "/v1/volumes/%s", name);
    must(run->tenant, "GET", path, NULL, &volume);
    return volume;
}

static int64_t
cost_of(const json_t *volume, const char *what)
{
    return syn_document_amount(json_object_get(volume, "cost"), what);
}

/* Let it have been so for `ms` longer: what is counted, and the billing period. */
static void
age(const struct run *run, const json_t *volume, int64_t ms)
{
    struct syn_server *server = run->house->server;
    const char *id = syn_json_str(volume, "id", "");
    SYN_SCOPED(srv_period_fini) struct srv_period period = {.doc = NULL};
    char key[SRV_KEY_MAX];
    int64_t revision;
    struct syn_err err;
    SRV_TXN(txn);
    SYN_JSON(meter);

    assert_done(srv_load(server, srv_key(key, "volume-meter", id, NULL), &meter, &revision, &err),
                &err);
    assert_done(syn_json_set_i64(meter, "since_ms", syn_json_i64(meter, "since_ms", 0) - ms, &err),
                &err);
    assert_done(srv_txn_replace(&txn, key, revision, meter, &err), &err);
    assert_done(srv_period_load(server, id, 1, &period, &err), &err);
    assert_done(syn_json_set_i64(period.doc, "window_since_ms", period.window_since_ms - ms, &err),
                &err);
    assert_done(srv_txn_replace(&txn, period.key, period.revision, period.doc, &err), &err);
    assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
}

static void
sweep(const struct run *run, int64_t later_ms)
{
    struct syn_server *server = run->house->server;
    struct syn_err err;

    assert_done(srv_sweep(server, syn_wall_ms(server->world) + later_ms, &err), &err);
}

/* The account has nothing more. */
static void
spend_all(const struct run *run)
{
    char body[128], amount[SYN_FORMAT_MAX];

    (void)snprintf(body, sizeof(body), "{'to':'paid-%s','amount':'%s'}", run->name,
                   syn_format_amount(balance_of(run->tenant, run->name, "balance"), amount));
    must(run->tenant, "POST", "/v1/transfers", body, NULL);
    assert_int_equal(balance_of(run->tenant, run->name, "balance"), 0);
}

static void
give(const struct run *run, const char *amount)
{
    char path[96], body[64];

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", run->name);
    (void)snprintf(body, sizeof(body), "{'amount':'%s'}", amount);
    must(run->house->client, "POST", path, body, NULL);
}

/* The account's bills, newest first; each of them verifies. */
static json_t *
bills(const struct run *run)
{
    json_t *list = NULL;
    const json_t *bill;
    size_t i;

    must(run->tenant, "GET", "/v1/bills", NULL, &list);
    json_array_foreach (json_object_get(list, "items"), i, bill) {
        char path[128];
        SYN_JSON(verdict);

        (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", syn_document_id(bill));
        must(run->tenant, "GET", path, NULL, &verdict);
        assert_true(syn_json_bool(verdict, "agrees", false));
    }
    return list;
}

static int64_t
sum_of(const json_t *list, const char *what)
{
    const json_t *bill;
    int64_t sum = 0;
    size_t i;

    json_array_foreach (json_object_get(list, "items"), i, bill)
        sum += syn_document_amount(syn_document_status(bill), what);
    return sum;
}

static void
make(const struct run *run, const char *name, const char *size)
{
    char body[160];

    (void)snprintf(body, sizeof(body), "{'name':'%s','size_bytes':%s,'node':'%s'}", name, size,
                   run->name);
    must(run->tenant, "POST", "/v1/volumes", body, NULL);
}

/* --- the cases -------------------------------------------------------------------------------- */

static void
the_price_is_told_first(void **state)
{
    struct run run;
    SYN_JSON(plan);
    SYN_JSON(dear);
    SYN_JSON(list);

    run_join(&run, *state, "plan", 41, NULL);
    must(run.tenant, "POST", "/v1/volumes?plan=true",
         "{'name':'v','size_bytes':" GIB ",'node':'plan'}", &plan);
    assert_int_equal(cost_of(plan, "rate_hour"), HOUR_1);
    assert_int_equal(cost_of(plan, "rate_month"), 730 * HOUR_1);
    assert_int_equal(cost_of(plan, "locked"), 24 * HOUR_1);
    assert_true(json_is_null(json_object_get(plan, "refused")));
    must(run.tenant, "GET", "/v1/volumes", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    /* Even where it is on no node yet. */
    must(run.tenant, "POST", "/v1/volumes?plan=true", "{'name':'v','size_bytes':16000000000000}",
         &dear);
    assert_string_equal(syn_json_str(json_object_get(dear, "refused"), "code", ""),
                        "insufficient-funds");
    assert_int_equal(call(run.tenant, "POST", "/v1/volumes",
                          "{'name':'v','size_bytes':16000000000000}", NULL, NULL),
                     SYN_E_FUNDS);
    run_fini(&run);
}

static void
the_same_request_makes_one(void **state)
{
    static const char body[] = "{'name':'v','size_bytes':" GIB ",'node':'once'}";
    struct run run;
    SYN_JSON(first);
    SYN_JSON(again);

    run_join(&run, *state, "once", 42, NULL);
    assert_int_equal(call(run.tenant, "POST", "/v1/volumes", body, "volume-key", &first), SYN_OK);
    assert_int_equal(call(run.tenant, "POST", "/v1/volumes", body, "volume-key", &again), SYN_OK);
    assert_true(json_equal(first, again));
    assert_int_equal(balance_of(run.tenant, "once", "held"), 24 * HOUR_1);
    assert_int_equal(call(run.tenant, "POST", "/v1/volumes", body, "another-key", NULL),
                     SYN_E_EXISTS);
    run_fini(&run);
}

/* A day and an hour of one GiB, in two bills, and what they cost goes to the provider. */
static void
time_is_charged_by_the_period(void **state)
{
    struct run run;
    int64_t before, cost;
    SYN_JSON(volume);
    SYN_JSON(list);

    run_join(&run, *state, "term", 43, NULL);
    before = balance_of(run.tenant, "term", "balance");
    make(&run, "v", GIB);
    volume = volume_of(&run, "v");
    age(&run, volume, 24 * HOURS - 60000);
    sweep(&run, 0); /* not over yet; but hardly anything is left */
    assert_int_equal(
        balance_of(run.tenant, "term", "balance") + balance_of(run.tenant, "term", "held"), before);
    age(&run, volume, 60000);
    sweep(&run, 0);
    age(&run, volume, HOURS);
    must(run.tenant, "DELETE", "/v1/volumes/v", NULL, NULL);
    list = bills(&run);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 2);
    cost = before - balance_of(run.tenant, "term", "balance");
    assert_int_equal(balance_of(run.tenant, "term", "held"), 0);
    assert_true(cost >= 25 * HOUR_1 && cost < 26 * HOUR_1);
    assert_int_equal(sum_of(list, "charge"), cost);
    assert_int_equal(balance_of(run.house->client, "paid-term", "balance"),
                     sum_of(list, "provider_amount"));
    assert_true(sum_of(list, "provider_amount") > 0);
    assert_int_equal(ledger_sum(run.house), 0);
    run_fini(&run);
}

/* Where nobody pays it is counted on and kept for a week; money that comes pays what is owed. */
static void
what_is_owed_is_paid_when_money_comes(void **state)
{
    struct run run;
    int64_t before;
    SYN_JSON(volume);
    SYN_JSON(poor);
    SYN_JSON(rich);
    SYN_JSON(list);

    run_join(&run, *state, "owes", 44, NULL);
    make(&run, "v", GIB);
    volume = volume_of(&run, "v");
    spend_all(&run);
    age(&run, volume, 25 * HOURS);
    sweep(&run, 0);
    poor = volume_of(&run, "v");
    assert_non_null(json_object_get(json_object_get(poor, "cost"), "removed_at"));
    sweep(&run, SRV_VOLUME_KEPT_MS - HOURS);
    give(&run, "1");
    before = balance_of(run.tenant, "owes", "balance") + 24 * HOUR_1;
    sweep(&run, 0);
    rich = volume_of(&run, "v");
    assert_null(json_object_get(json_object_get(rich, "cost"), "removed_at"));
    must(run.tenant, "DELETE", "/v1/volumes/v", NULL, NULL);
    list = bills(&run);
    assert_true(sum_of(list, "charge") >= 25 * HOUR_1);
    assert_int_equal(balance_of(run.tenant, "owes", "balance"), before - sum_of(list, "charge"));
    assert_int_equal(ledger_sum(run.house), 0);
    run_fini(&run);
}

/* Ten hours of one GiB and ten of two are thirty of one. */
static void
each_size_is_charged_for_its_time(void **state)
{
    struct run run;
    SYN_JSON(volume);
    SYN_JSON(plan);
    SYN_JSON(larger);
    SYN_JSON(list);

    run_join(&run, *state, "size", 47, NULL);
    make(&run, "v", GIB);
    volume = volume_of(&run, "v");
    age(&run, volume, 10 * HOURS);
    must(run.tenant, "PATCH", "/v1/volumes/v?plan=true", "{'size_bytes':2147483648}", &plan);
    assert_int_equal(cost_of(plan, "rate_hour"), 2 * HOUR_1);
    must(run.tenant, "PATCH", "/v1/volumes/v", "{'size_bytes':2147483648}", &larger);
    assert_int_equal(syn_json_i64(larger, "size_bytes", 0), 2147483648);
    must(run.tenant, "PATCH", "/v1/volumes/v", "{'size_bytes':2147483648}", NULL);
    assert_int_equal(
        call(run.tenant, "PATCH", "/v1/volumes/v", "{'size_bytes':1073741824}", NULL, NULL),
        SYN_E_INVALID);
    assert_int_equal(
        call(run.tenant, "PATCH", "/v1/volumes/v", "{'size_bytes':17592186044416}", NULL, NULL),
        SYN_E_NOSPACE);
    age(&run, volume, 10 * HOURS);
    must(run.tenant, "DELETE", "/v1/volumes/v", NULL, NULL);
    list = bills(&run);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 1);
    assert_true(sum_of(list, "charge") >= 30 * HOUR_1 && sum_of(list, "charge") < 31 * HOUR_1);
    assert_int_equal(ledger_sum(run.house), 0);
    run_fini(&run);
}

static void
nobody_pays_for_ever(void **state)
{
    struct run run;
    char path[128];
    SYN_JSON(volume);
    SYN_JSON(list);
    SYN_JSON(gone);

    run_join(&run, *state, "gone", 45, NULL);
    make(&run, "v", GIB);
    volume = volume_of(&run, "v");
    spend_all(&run);
    age(&run, volume, 25 * HOURS);
    sweep(&run, 0);
    sweep(&run, SRV_VOLUME_KEPT_MS + HOURS);
    assert_int_equal(call(run.tenant, "GET", "/v1/volumes/v", NULL, NULL, NULL), SYN_E_NOTFOUND);
    list = bills(&run); /* all that was locked, no more */
    assert_int_equal(sum_of(list, "charge"), 24 * HOUR_1);
    assert_true(sum_of(list, "total") >= 25 * HOUR_1);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/volumes", run.node);
    must(run.agent, "GET", path, NULL, &gone);
    assert_int_equal(json_array_size(json_object_get(gone, "gone")), 1);
    run_fini(&run);
}

/* One that was made before volumes had a price is charged from the first look on. */
static void
old_volumes_are_charged_from_now_on(void **state)
{
    struct run run;
    struct syn_server *server;
    char key[SRV_KEY_MAX];
    struct syn_err err;
    SYN_JSON(volume);

    run_join(&run, *state, "aged", 46, NULL);
    server = run.house->server;
    {
        SRV_TXN(txn);
        SYN_JSON(doc);

        assert_done(syn_json_pack(&doc, &err, "{s:s, s:s, s:I, s:s, s:b, s:s, s:i}", "id",
                                  "vol-aged", "name", "v", "size_bytes", (json_int_t)1073741824,
                                  "node", run.node, "shared", 0, "created_at",
                                  "2026-01-01T00:00:00.000Z", "revision", 0),
                    &err);
        {
            SYN_JSON(account);

            must(run.tenant, "GET", "/v1/accounts/me", NULL, &account);
            (void)srv_key(key, "volume", syn_document_id(account), "v");
        }
        assert_done(srv_txn_put(&txn, key, doc, &err), &err);
        assert_done(srv_txn_commit(server, &txn, NULL, &err), &err);
    }
    sweep(&run, 0);
    volume = volume_of(&run, "v");
    /* And for the moments that had passed by then. */
    assert_true(cost_of(volume, "locked") >= 24 * HOUR_1 &&
                cost_of(volume, "locked") < 25 * HOUR_1);
    assert_true(cost_of(volume, "spent") < HOUR_1);
    run_fini(&run);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_price_is_told_first),
        cmocka_unit_test(the_same_request_makes_one),
        cmocka_unit_test(time_is_charged_by_the_period),
        cmocka_unit_test(what_is_owed_is_paid_when_money_comes),
        cmocka_unit_test(each_size_is_charged_for_its_time),
        cmocka_unit_test(nobody_pays_for_ever),
        cmocka_unit_test(old_volumes_are_charged_from_now_on),
    };

    return cmocka_run_group_tests_name("volumes", tests, house_setup, house_teardown);
}
