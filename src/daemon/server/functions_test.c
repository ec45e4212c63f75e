/* Functions over their routes, with a gateway that is played: it reads what there is to serve, and
 * reports what it would have seen. */
#include "server_testing.h"

#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_prewarm_priv.h"
#include "usage_testing.h"

#define WAITS 500 /* of 10 ms */

static struct syn_client *
with_money(struct house *house, const char *account)
{
    struct syn_client *client = tenant(house, account, "tenant");
    char path[128];

    await_token(client);
    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", account);
    must(house->client, "POST", path, "{'amount':'5'}", NULL);
    return client;
}

static void
deploy(struct syn_client *client, const char *name, const char *more, char *ret_id)
{
    char cid[SYN_CID_TEXT_MAX], body[1024];
    SYN_JSON(answer);

    store_source(client, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'%s','spec':{'runtime':'wasm','code':'synor://%s'%s}}", name, cid,
                   more);
    must(client, "POST", "/v1/functions", body, &answer);
    assert_true(syn_str_copy(ret_id, SYN_ID_MAX, syn_json_str(answer, "id", "")));
}

static void
await_state(struct syn_client *client, const char *name, const char *state)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/functions/%s", name);
    for (int i = 0; i < WAITS; i++) {
        SYN_JSON(function);

        must(client, "GET", path, NULL, &function);
        if (syn_str_eq(syn_document_state(function), state))
            return;
        (void)usleep(10000);
    }
    fail_msg("%s is never %s", name, state);
}

static void
report(struct house *house, const char *boot, int seq, const char *what)
{
    char body[2048];

    (void)snprintf(body, sizeof(body), "{'boot':'%s','seq':%d,'listen':'127.0.0.1:9080'%s}", boot,
                   seq, what);
    must(house->client, "POST", "/v1/function-gateway/report", body, NULL);
}

static void
version_is(struct house *house, const char *id, int version, const char *state)
{
    char what[256], boot[64];

    (void)snprintf(what, sizeof(what),
                   ",'versions':[{'function':'%s','version':%d,'state':'%s','message':'it says'}]",
                   id, version, state);
    (void)snprintf(boot, sizeof(boot), "v-%s-%d", id, version);
    report(house, boot, 1, what);
}

#define HISTOGRAM "[0,0,0,10,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"

static void
called(struct house *house, const char *boot, int seq, const char *id)
{
    char what[1024];

    (void)snprintf(what, sizeof(what),
                   ",'usage':[{'function':'%s','version':1,'node':'','trigger':'http','count':10,"
                   "'errors':1,'throttled':2,'byte_ms':'13421772800000','duration_us_sum':5000,"
                   "'duration_histogram':" HISTOGRAM ",'cold':0}],"
                   "'invocations':[{'id':'a%d','function':'%s','version':1,'status':'error'}],"
                   "'logs':[{'function':'%s','version':1,'at':1000,'line':'hello'}]",
                   id, seq, id, id);
    report(house, boot, seq, what);
}

static int64_t
metric(struct syn_client *client, const char *name, const char *which)
{
    char path[128];
    SYN_JSON(metrics);

    (void)snprintf(path, sizeof(path), "/v1/functions/%s/metrics", name);
    must(client, "GET", path, NULL, &metrics);
    return syn_json_i64(metrics, which, -1);
}

/* The only series of a family in the server's own metrics. */
static int64_t
counter(struct house *house, const char *family)
{
    const char *at;
    int64_t value = -1;
    SYN_BUF(text);
    struct syn_err err;

    assert_done(syn_metrics_write(house->server->metrics, &text, &err), &err);
    at = strstr(syn_buf_text(&text), family);
    while (at != NULL && at[strlen(family)] != '{')
        at = strstr(at + 1, family);
    if (at != NULL && (at = strstr(at, "} ")) != NULL) {
        char digits[24];

        (void)snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(at + 2, "\n"), at + 2);
        assert_done(syn_parse_i64(digits, 0, INT64_MAX, "counter", &value, &err), &err);
    }
    return value;
}

static void
a_module_from_deploy_to_bill(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "first");
    char id[SYN_ID_MAX];
    SYN_JSON(function);
    SYN_JSON(bill);
    SYN_JSON(verified);
    SYN_JSON(invocations);
    int64_t sum = ledger_sum(house);

    deploy(client, "hello", ",'triggers':[{'type':'http','path':'/hello/{x}'}]", id);
    version_is(house, id, 1, "ready");
    await_state(client, "hello", "active");
    must(client, "GET", "/v1/functions/hello", NULL, &function);
    assert_string_equal(json_string_value(json_array_get(syn_json_at(function, "status.urls"), 0)),
                        "http://127.0.0.1:9080/hello/{x}");
    called(house, "boot", 1, id);
    called(house, "boot", 1, id); /* the answer was lost: it is sent again */
    called(house, "boot", 2, id);
    assert_int_equal(metric(client, "hello", "count"), 20);
    assert_int_equal(metric(client, "hello", "errors"), 2);
    assert_int_equal(metric(client, "hello", "p50_us"), 800);
    assert_int_equal(counter(house, "synor_function_calls_total"), 20);
    must(client, "GET", "/v1/functions/hello/invocations", NULL, &invocations);
    assert_int_equal(json_array_size(json_object_get(invocations, "items")), 2);
    must(client, "DELETE", "/v1/functions/hello", NULL, NULL);
    for (int i = 0; i < WAITS; i++) {
        if (call(client, "GET", "/v1/functions/hello", NULL, NULL, NULL) == SYN_E_NOTFOUND)
            break;
        (void)usleep(10000);
    }
    {
        char path[128];

        (void)snprintf(path, sizeof(path), "/v1/bills/bill-%s-1", id + strlen("fn-"));
        must(client, "GET", path, NULL, &bill);
        /* 20 calls and requests, and 25 GB-seconds, of the book's prices. */
        assert_string_equal(syn_json_str(syn_document_status(bill), "total", ""), "0.000256");
        (void)snprintf(path, sizeof(path), "/v1/bills/bill-%s-1/verify", id + strlen("fn-"));
        must(client, "GET", path, NULL, &verified);
        assert_true(syn_json_bool(verified, "agrees", false));
    }
    assert_int_equal(ledger_sum(house), sum);
    (void)syn_client_free(client);
}

static void
a_module_that_does_not_compile(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "bad");
    char id[SYN_ID_MAX];
    SYN_JSON(function);

    deploy(client, "bad", "", id);
    version_is(house, id, 1, "failed");
    await_state(client, "bad", "failed");
    must(client, "GET", "/v1/functions/bad", NULL, &function);
    assert_non_null(strstr(syn_json_str(syn_document_status(function), "message", ""), "it says"));
    (void)syn_client_free(client);
}

static void
a_plan_needs_no_code(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "plans");
    SYN_JSON(plan);
    SYN_JSON(other);

    must(client, "POST", "/v1/functions?plan=true",
         "{'name':'p','spec':{'runtime':'wasm','code':'synor://source'}}", &plan);
    assert_true(json_is_null(json_object_get(plan, "refused")));
    assert_non_null(syn_json_at(plan, "price.million_calls"));
    must(client, "POST", "/v1/functions?plan=true",
         "{'name':'p','spec':{'runtime':'wasm','code':'synor://nothing'}}", &other);
    assert_true(json_is_object(json_object_get(other, "refused")));
    assert_int_equal(call(client, "GET", "/v1/functions/p", NULL, NULL, NULL), SYN_E_NOTFOUND);
    (void)syn_client_free(client);
}

static void
it_is_explained(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "asks");
    char id[SYN_ID_MAX];
    SYN_JSON(answer);
    SYN_JSON(later);

    deploy(client, "why", "", id);
    must(client, "GET", "/v1/functions/why/explain", NULL, &answer);
    assert_string_equal(syn_json_str(answer, "reason", ""), "created");
    assert_true(json_array_size(json_object_get(answer, "why")) >= 2);
    version_is(house, id, 1, "failed");
    await_state(client, "why", "failed");
    must(client, "GET", "/v1/functions/why/explain", NULL, &later);
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(later, "fix"), 0)), "logs why"));
    (void)syn_client_free(client);
}

static void
routes_are_ones_own(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "mine"), *other = with_money(house, "theirs");
    char id[SYN_ID_MAX], cid[SYN_CID_TEXT_MAX], body[512];

    deploy(client, "a", ",'triggers':[{'type':'http','path':'/r/{a}','methods':['GET']}]", id);
    store_source(other, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'b','spec':{'runtime':'wasm','code':'synor://%s','triggers':[{'type':"
                   "'http','path':'/r/{b}'}]}}",
                   cid);
    assert_int_equal(call(other, "POST", "/v1/functions", body, NULL, NULL), SYN_E_CONFLICT);
    /* Given up, they are free. */
    must(client, "PATCH", "/v1/functions/a", "{'spec':{'triggers':null}}", NULL);
    must(other, "POST", "/v1/functions", body, NULL);
    assert_int_equal(call(other, "GET", "/v1/functions/a", NULL, NULL, NULL), SYN_E_NOTFOUND);
    (void)syn_client_free(client);
    (void)syn_client_free(other);
}

static void
what_is_refused(void **state)
{
    struct house *house = *state;
    struct syn_client *client = tenant(house, "poor", "tenant");
    char cid[SYN_CID_TEXT_MAX], body[512];

    await_token(client);
    store_source(client, cid);
    (void)snprintf(body, sizeof(body), "{'name':'p','spec':{'runtime':'wasm','code':'synor://%s'}}",
                   cid);
    assert_int_equal(call(client, "POST", "/v1/functions", body, NULL, NULL), SYN_E_FUNDS);
    must(house->client, "POST", "/v1/accounts/poor/faucet", "{'amount':'1'}", NULL);
    (void)snprintf(
        body, sizeof(body),
        "{'name':'p','spec':{'runtime':'wasm','code':'synor://%s','secrets':{'A':'no'}}}", cid);
    assert_int_equal(call(client, "POST", "/v1/functions", body, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(client, "POST", "/v1/functions",
                          "{'name':'p','spec':{'runtime':'wasm','code':'synor://nothing'}}", NULL,
                          NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(
        call(client, "POST", "/v1/function-gateway/report", "{'boot':'x','seq':1}", NULL, NULL),
        SYN_E_FORBIDDEN);
    (void)syn_client_free(client);
}

static void
a_process_has_a_pool_that_nobody_sees(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "pool");
    char cid[SYN_CID_TEXT_MAX], body[512], path[128];
    SYN_JSON(answer);
    SYN_JSON(list);
    const char *id;

    store_source(client, cid);
    (void)snprintf(
        body, sizeof(body),
        "{'name':'py','spec':{'runtime':'python3','handler':'run.main','code':'synor://%s'}}", cid);
    must(client, "POST", "/v1/functions", body, &answer);
    id = syn_json_str(answer, "id", "") + strlen("fn-");
    (void)snprintf(path, sizeof(path), "/v1/services/svc-%s01", id);
    for (int i = 0; i < WAITS; i++) {
        if (call(client, "GET", path, NULL, NULL, NULL) == SYN_OK)
            break;
        (void)usleep(10000);
    }
    must(client, "GET", path, NULL, NULL);
    must(client, "GET", "/v1/services", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    /* What nobody pays for nobody changes. */
    assert_int_equal(call(client, "PATCH", path, "{'spec':{'replicas':9}}", NULL, NULL),
                     SYN_E_CONFLICT);
    (void)snprintf(body, sizeof(body), "{'name':'svc-%s01','spec':{'image':'synor://%s'}}", id,
                   cid);
    assert_int_equal(call(client, "POST", "/v1/services", body, NULL, NULL), SYN_E_CONFLICT);
    must(client, "DELETE", "/v1/functions/py", NULL, NULL);
    for (int i = 0; i < WAITS; i++) {
        if (call(client, "GET", "/v1/functions/py", NULL, NULL, NULL) == SYN_E_NOTFOUND)
            break;
        (void)usleep(10000);
    }
    assert_int_equal(call(client, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(balance_of(client, "pool", "held"), 0);
    (void)syn_client_free(client);
}

static int64_t
used(struct house *house, const char *id, int64_t at_ms, const char *provider, const char *item)
{
    int64_t quantity = 0;
    struct syn_err err;
    const json_t *row;
    size_t i;
    SYN_JSON(all);

    assert_done(srv_calls_read(house->server, id, at_ms, &all, &err), &err);
    json_array_foreach (json_object_get(all, provider), i, row)
        if (syn_str_eq(syn_json_str(row, "item", ""), item))
            quantity += strtoll(syn_json_str(row, "quantity", "0"), NULL, 10);
    return quantity;
}

/* GPUs of instances are paid for by the ms, and said before. */
static void
gpus_are_paid_for(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "gpus");
    char cid[SYN_CID_TEXT_MAX], body[512];
    int64_t now_ms = syn_wall_ms(house->server->world), before;
    struct srv_kept kept = {0};
    struct syn_err err;
    bool changed;
    SRV_TXN(txn);
    SYN_JSON(plan);
    SYN_JSON(all);

    store_source(client, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'g','spec':{'runtime':'python3','code':'synor://%s','gpus':2,"
                   "'gpu_model':'h100','warmup':[{'cron':'@daily','for_ms':'1h','instances':3}]}}",
                   cid);
    must(client, "POST", "/v1/functions?plan=true", body, &plan);
    assert_int_equal(
        syn_document_amount(json_array_get(json_object_get(plan, "warmups"), 0), "cost"),
        3 * (8 * SYN_SYNOR + SYN_SYNOR / 800)); /* of each two cards, and an eighth of a GB */
    assert_true(json_is_null(json_object_get(plan, "refused")));
    assert_int_equal(syn_document_amount(json_object_get(plan, "price"), "gpu_hour"),
                     8 * SYN_SYNOR);
    (void)snprintf(body, sizeof(body),
                   "{'name':'g','spec':{'runtime':'python3','code':'synor://%s','gpus':1,"
                   "'gpu_model':'abacus'}}",
                   cid);
    assert_int_equal(call(client, "POST", "/v1/functions", body, NULL, NULL), SYN_E_NOTFOUND);

    assert_done(syn_json_pack(&all, &err, "{s:{}, s:{}, s:{s:{s:i, s:i}}}", "always", "warm",
                              "cards", "alice", "h100", 3, "rtx4090", 1),
                &err);
    kept.always = json_object_get(all, "always");
    kept.warm = json_object_get(all, "warm");
    kept.cards = json_object_get(all, "cards");
    assert_done(srv_calls_keep(house->server, &txn, "fn-gpus", &kept, &changed, &err), &err);
    assert_true(changed);
    assert_done(srv_txn_commit(house->server, &txn, NULL, &err), &err);
    now_ms += SYN_HOUR_MS;
    before = used(house, "fn-gpus", now_ms, "alice", "gpu:h100");
    assert_true(before > 0 && before <= 3 * SYN_HOUR_MS);
    assert_int_equal(used(house, "fn-gpus", now_ms + 1000, "alice", "gpu:h100") - before, 3000);
    assert_int_equal(used(house, "fn-gpus", now_ms, "alice", "gpu:rtx4090") * 3, before);
    (void)syn_client_free(client);
}

/* The first replica of the pool of the function's first version. */
static void
pool_instance(struct syn_client *client, const char *id, char *ret)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/services/svc-%s01", id + strlen("fn-"));
    ret[0] = '\0';
    for (int i = 0; i < WAITS && ret[0] == '\0'; i++) {
        const json_t *first;
        SYN_JSON(pool);

        if (call(client, "GET", path, NULL, NULL, &pool) == SYN_OK) {
            first = json_array_get(syn_json_at(pool, "status.endpoints"), 0);
            (void)syn_str_copy(ret, SYN_ID_MAX, syn_json_str(first, "instance", ""));
        }
        (void)usleep(10000);
    }
    assert_true(ret[0] != '\0');
}

/* From when an instance is ready until it is not, whoever called it. Nobody's cards: the node says
 * that it has some. */
static void
cards_of_ready_instances_are_noted(void **state)
{
    struct house *house = *state;
    struct run run;
    char cid[SYN_CID_TEXT_MAX], text[512], id[SYN_ID_MAX], instance[SYN_ID_MAX],
        provider[SYN_ID_MAX];
    struct syn_err err;
    int64_t now_ms, hour;
    SYN_JSON(function);

    run_join(&run, house, "carded", 41, NULL);
    (void)snprintf(text, sizeof(text), "/v1/nodes/%s/heartbeat", run.node);
    must(run.agent, "POST", text,
         "{'capacity':{'cpu_millicores':8000,'memory_bytes':85899345920,'scratch_bytes':"
         "85899345920,'gpus':[{'model':'h100','count':2,'vram_bytes':85899345920}]}}",
         NULL);
    store_source(run.tenant, cid);
    (void)snprintf(text, sizeof(text),
                   "{'name':'g','spec':{'runtime':'python3','code':'synor://%s','gpus':2,"
                   "'gpu_model':'h100','min_instances':1}}",
                   cid);
    must(run.tenant, "POST", "/v1/functions", text, &function);
    (void)syn_str_copy(id, sizeof(id), syn_document_id(function));
    assert_done(srv_node_provider(house->server, run.node, provider, &err), &err);
    pool_instance(run.tenant, id, instance);
    now_ms = syn_wall_ms(house->server->world);
    assert_int_equal(used(house, id, now_ms + SYN_HOUR_MS, provider, "gpu:h100"), 0);
    (void)snprintf(text, sizeof(text), "/v1/instances/%s/status", instance);
    must(house->client, "POST", text,
         "{'state':'running','reason':'running','message':'m','address':'10.128.0.2','port':8080,"
         "'health':{'ready':true,'message':'m'}}",
         NULL);
    for (int i = 0; i < WAITS && used(house, id, now_ms + SYN_HOUR_MS, provider, "gpu:h100") == 0;
         i++)
        (void)usleep(10000);
    now_ms = syn_wall_ms(house->server->world);
    hour = used(house, id, now_ms + SYN_HOUR_MS, provider, "gpu:h100");
    assert_true(hour >= 2 * SYN_HOUR_MS);
    assert_int_equal(used(house, id, now_ms + SYN_HOUR_MS + 1000, provider, "gpu:h100") - hour,
                     2000);
    assert_true(used(house, id, now_ms + SYN_HOUR_MS, provider, "function:provisioned") > 0);
    /* Once it is not ready nothing is added. */
    must(house->client, "POST", text,
         "{'state':'running','reason':'running','message':'m','address':'10.128.0.2','port':8080,"
         "'health':{'ready':false,'message':'m'}}",
         NULL);
    for (int i = 0; i < WAITS; i++) {
        now_ms = syn_wall_ms(house->server->world);
        hour = used(house, id, now_ms + SYN_HOUR_MS, provider, "gpu:h100");
        if (hour < SYN_HOUR_MS)
            break;
        (void)usleep(10000);
    }
    assert_true(hour < SYN_HOUR_MS);
    assert_int_equal(used(house, id, now_ms + 2 * SYN_HOUR_MS, provider, "gpu:h100"), hour);
    (void)snprintf(text, sizeof(text), "/v1/nodes/%s/drain", run.node); /* nobody serves others */
    must(house->client, "POST", text, "{'on':true}", NULL);
    run_fini(&run);
}

/* {state, peak}; NULL: nothing was learnt. Owner: the caller. */
static json_t *
learnt(struct house *house, const char *id)
{
    char key[SRV_KEY_MAX];
    json_t *doc = NULL;
    struct syn_err err;
    int rc = srv_load(house->server, srv_key(key, "function-prewarm", id, NULL), &doc, NULL, &err);

    assert_true(rc == SYN_OK || rc == SRV_ABSENT);
    return doc;
}

/* As it is in the store, but it answers: there is no node here. */
static void
look(struct house *house, const char *id, struct srv_prewarm *ret)
{
    char key[SRV_KEY_MAX];
    struct syn_err err;
    SYN_JSON(function);

    assert_done(srv_need(house->server, srv_key(key, "function", id, NULL), "function", &function,
                         NULL, &err),
                &err);
    assert_done(syn_json_set_str(syn_document_status(function), "state", "active", &err), &err);
    assert_done(syn_json_set_i64(syn_document_status(function), "active", 1, &err), &err);
    assert_done(
        srv_prewarm_look(house->server, function, syn_wall_ms(house->server->world), ret, &err),
        &err);
}

static void
it_learns_when_it_is_called(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "learns");
    char cid[SYN_CID_TEXT_MAX], body[1024], id[SYN_ID_MAX];
    struct srv_prewarm prewarm;
    SYN_JSON(answer);
    SYN_JSON(first);
    SYN_JSON(second);
    SYN_JSON(metrics);

    store_source(client, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'py','spec':{'runtime':'python3','code':'synor://%s','idle_ms':60000,"
                   "'warmup':[{'cron':'* * * * * *','for_ms':'1h','instances':3}],'triggers':"
                   "[{'type':'schedule','cron':'0 0 1 1 *'}]}}",
                   cid);
    must(client, "POST", "/v1/functions", body, &answer);
    (void)snprintf(id, sizeof(id), "%s", syn_json_str(answer, "id", ""));
    for (int i = 0; i < WAITS && (look(house, id, &prewarm), !prewarm.has_pool); i++)
        (void)usleep(10000);
    assert_true(prewarm.has_pool && prewarm.predicts);
    assert_true(prewarm.paid == 3 && prewarm.least == 3 && prewarm.idle_ms == 60000);
    assert_null(learnt(house, id));
    (void)snprintf(body, sizeof(body),
                   ",'loads':[{'function':'%s','version':1,'running':2,"
                   "'waiting':5}]",
                   id);
    report(house, "learn", 1, body);
    (void)snprintf(
        body, sizeof(body),
        ",'usage':[{'function':'%s','version':1,'node':'','trigger':'schedule','count':7,"
        "'errors':0,'throttled':0,'byte_ms':'0','duration_us_sum':7000,'duration_histogram'"
        ":" HISTOGRAM ",'cold':1}],'starts':[{'function':'%s','version':1,'way':'cold','count':2,"
        "'waited':1,'stages':{'create':{'count':2,'us':3000000},'wait':{'count':2,'us':9000000}}}]",
        id, id);
    report(house, "learn", 2, body);
    first = learnt(house, id);
    assert_int_equal(syn_json_i64(json_object_get(first, "state"), "start_us", 0), 1500000);
    assert_int_equal(syn_json_i64(json_object_get(first, "state"), "calls", 0), 1);
    assert_int_equal(syn_json_i64(json_object_get(first, "state"), "scheduled", 0), 1);
    assert_int_equal(syn_json_i64(json_object_get(first, "state"), "burst", 0), 7);
    report(house, "learn", 2, body); /* its answer was lost */
    second = learnt(house, id);
    assert_true(json_equal(first, second));
    must(client, "GET", "/v1/functions/py/metrics", NULL, &metrics);
    assert_int_equal(syn_json_i64(syn_json_at(metrics, "starts.cold"), "waited", 0), 1);
    assert_int_equal(syn_json_i64(syn_json_at(metrics, "starts.cold.stages.create"), "mean_us", 0),
                     1500000);
    assert_int_equal(counter(house, "synor_function_starts_total"), 2);
    must(client, "PATCH", "/v1/functions/py", "{'spec':{'prewarm':'off','warmup':[]}}", NULL);
    look(house, id, &prewarm);
    assert_true(!prewarm.predicts && prewarm.least == 0 && prewarm.idle_ms == 60000);
    must(client, "DELETE", "/v1/functions/py", NULL, NULL);
    for (int i = 0; i < WAITS; i++) {
        if (call(client, "GET", "/v1/functions/py", NULL, NULL, NULL) == SYN_E_NOTFOUND)
            break;
        (void)usleep(10000);
    }
    assert_null(learnt(house, id));
    (void)syn_client_free(client);
}

static void
starts_that_are_none(void **state)
{
    static const char *const rows[] = {"'way':'hot','count':1,'waited':0",
                                       "'way':'cold','count':-1,'waited':0",
                                       "'way':'cold','count':1,'waited':0,'stages':{'nap':{}}",
                                       "'way':'cold','count':1,'waited':0,'stages':{'wait':{}}"};
    struct house *house = *state;
    struct syn_client *client = with_money(house, "odd");
    char id[SYN_ID_MAX], body[512];

    deploy(client, "odd", "", id);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        (void)snprintf(body, sizeof(body),
                       "{'boot':'odd','seq':1,'starts':[{'function':'%s','version':1,%s}]}", id,
                       rows[i]);
        assert_int_equal(
            call(house->client, "POST", "/v1/function-gateway/report", body, NULL, NULL),
            SYN_E_INVALID);
    }
    (void)syn_client_free(client);
}

/* What the gateway was told of keys. */
struct told {
    struct house *house;
    struct syn_client *client; /* the tenant's */
    bool synced, snapshot_has, put, gone;
};

static int
hear(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct told *told = arg;
    const char *id;
    SYN_JSON(doc);

    assert_done(syn_json_parse_object(event->data, event->len, &doc, err), err);
    id = syn_json_str(doc, "id", "");
    if (syn_str_eq(event->name, "synced")) {
        told->synced = true;
        must(told->client, "POST", "/v1/function-keys", "{'name':'later','rate_per_second':5}",
             NULL);
    }
    if (strchr(id, '/') == NULL || !syn_str_ends(id, told->synced ? "/later" : "/ci"))
        return SYN_OK;
    if (syn_str_eq(event->name, "delete")) {
        told->gone = true;
        return SYN_CLIENT_STOP;
    }
    assert_string_equal(event->name, "put");
    assert_int_equal(strlen(syn_json_str(doc, "digest", "")), 64);
    assert_null(strstr(syn_json_str(doc, "digest", ""), "sk-"));
    assert_int_equal(syn_json_i64(doc, "burst", 0), told->synced ? 5 : 20);
    *(told->synced ? &told->put : &told->snapshot_has) = true;
    if (told->synced)
        must(told->client, "DELETE", "/v1/function-keys/later", NULL, NULL);
    return SYN_OK;
}

static void
keys_are_made_told_and_removed(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "keeper"), *other = with_money(house, "nosy");
    struct told told = {.house = house, .client = client};
    char id[SYN_ID_MAX];
    const json_t *item;
    struct syn_err err;
    SYN_JSON(made);
    SYN_JSON(list);
    SYN_JSON(theirs);

    deploy(client, "shut", ",'triggers':[{'type':'http','path':'/shut','auth':'key'}]", id);
    must(client, "POST", "/v1/function-keys",
         "{'name':'ci','functions':['shut'],'rate_per_second':10,'burst':20,'ttl_ms':'30d'}",
         &made);
    assert_true(syn_str_starts(syn_json_str(made, "key", ""), "sk-"));
    assert_int_equal(strlen(syn_json_str(made, "key", "")), 3 + 64);
    assert_non_null(syn_json_str(made, "expires_at", NULL));
    must(client, "GET", "/v1/function-keys", NULL, &list);
    item = json_array_get(json_object_get(list, "items"), 0);
    assert_string_equal(syn_json_str(item, "name", ""), "ci");
    assert_null(json_object_get(item, "key"));
    assert_null(json_object_get(item, "digest"));
    must(other, "GET", "/v1/function-keys", NULL, &theirs);
    assert_int_equal(json_array_size(json_object_get(theirs, "items")), 0);
    assert_int_equal(call(other, "DELETE", "/v1/function-keys/ci", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_done(syn_client_follow(house->client, "/v1/function-gateway", NULL, hear, &told, &err),
                &err);
    assert_true(told.snapshot_has && told.put && told.gone);
    must(client, "DELETE", "/v1/function-keys/ci", NULL, NULL);
    assert_int_equal(call(client, "DELETE", "/v1/function-keys/ci", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    (void)syn_client_free(client);
    (void)syn_client_free(other);
}

static void
keys_that_are_refused(void **state)
{
    static const struct {
        const char *body;
        int code;
    } rows[] = {
        {"{'name':'Not A Name'}", SYN_E_INVALID},
        {"{'name':'k','functions':['none-such']}", SYN_E_NOTFOUND},
        {"{'name':'k','functions':['../x']}", SYN_E_NOTFOUND},
        {"{'name':'k','functions':[]}", SYN_E_INVALID},
        {"{'name':'k','rate_per_second':0}", SYN_E_INVALID},
        {"{'name':'k','rate_per_second':1000001}", SYN_E_INVALID},
        {"{'name':'k','burst':5}", SYN_E_INVALID},
        {"{'name':'k','key':'sk-mine'}", SYN_E_INVALID},
        {"{'name':'twice'}", SYN_E_EXISTS},
    };
    struct house *house = *state;
    struct syn_client *client = tenant(house, "wants", "tenant");
    struct syn_client *reader = tenant(house, "wants", "read");

    await_token(client);
    await_token(reader);
    must(client, "POST", "/v1/function-keys", "{'name':'twice'}", NULL);
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(call(client, "POST", "/v1/function-keys", rows[i].body, NULL, NULL),
                         rows[i].code);
    assert_int_equal(call(reader, "POST", "/v1/function-keys", "{'name':'r'}", NULL, NULL),
                     SYN_E_FORBIDDEN);
    must(reader, "GET", "/v1/function-keys", NULL, NULL);
    (void)syn_client_free(client);
    (void)syn_client_free(reader);
}

static void
expired_keys_go_after_a_day(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "brief");
    const int64_t day_ms = INT64_C(24) * 3600 * 1000;
    int64_t now_ms = syn_wall_ms(syn_world_system());
    unsigned removed = 0;
    struct syn_err err;
    SYN_JSON(list);

    must(client, "POST", "/v1/function-keys", "{'name':'short','ttl_ms':1000}", NULL);
    must(client, "POST", "/v1/function-keys", "{'name':'long','ttl_ms':'365d'}", NULL);
    must(client, "POST", "/v1/function-keys", "{'name':'endless'}", NULL);
    assert_done(srv_functions_sweep(house->server, now_ms + day_ms, &removed, &err), &err);
    assert_int_equal(call(client, "POST", "/v1/function-keys", "{'name':'short'}", NULL, NULL),
                     SYN_E_EXISTS);
    assert_done(srv_functions_sweep(house->server, now_ms + day_ms + 9000, &removed, &err), &err);
    must(client, "GET", "/v1/function-keys", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 2);
    (void)syn_client_free(client);
}

static void
tokens_and_issuers(void **state)
{
    static const struct {
        const char *method, *path, *body;
        int code;
    } rows[] = {
        {"POST", "/v1/function-tokens", "{'function':'none-such'}", SYN_E_NOTFOUND},
        {"POST", "/v1/function-tokens", "{'ttl_ms':'91d'}", SYN_E_INVALID},
        {"POST", "/v1/function-tokens", "{'ttl_ms':1500}", SYN_E_INVALID},
        {"POST", "/v1/function-tokens", "{'subject':'a b'}", SYN_E_INVALID},
        {"PUT", "/v1/function-issuers/x", "{'issuer':'synor','keys':'{}'}", SYN_E_INVALID},
        {"PUT", "/v1/function-issuers/x", "{'issuer':'a','keys':'{}'}", SYN_E_INVALID},
        {"PUT", "/v1/function-issuers/X", "{'issuer':'a','keys':'{}'}", SYN_E_INVALID},
        {"DELETE", "/v1/function-issuers/x", NULL, SYN_E_NOTFOUND},
    };
    struct house *house = *state;
    struct syn_client *client = with_money(house, "issuing"), *other = with_money(house, "nosier");
    SYN_JSON(keys);
    SYN_JSON(token);
    SYN_JSON(rotated);
    SYN_JSON(list);
    SYN_JSON(theirs);

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        int rc = call(client, rows[i].method, rows[i].path, rows[i].body, NULL, NULL);

        if (rc != rows[i].code)
            fail_msg("%s %s: %d", rows[i].path, rows[i].body, rc);
    }
    must(client, "GET", "/v1/function-tokens/keys", NULL, &keys);
    assert_int_equal(json_array_size(json_object_get(keys, "keys")), 0);
    must(client, "POST", "/v1/function-tokens", "{'subject':'ada'}", &token);
    assert_string_equal(syn_json_str(token, "subject", ""), "ada");
    must(client, "POST", "/v1/function-tokens/rotate", NULL, &rotated);
    assert_null(syn_json_at(rotated, "sealed"));
    assert_string_not_equal(
        syn_json_str(json_array_get(json_object_get(rotated, "keys"), 0), "kid", ""),
        syn_json_str(token, "key_id", ""));
    must(client, "PUT", "/v1/function-issuers/ours",
         "{'issuer':'https://id.example','keys':'{\\'kty\\':\\'OKP\\',\\'crv\\':\\'Ed25519\\',"
         "\\'kid\\':\\'one\\',\\'x\\':\\'11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\\'}'}",
         NULL);
    must(client, "GET", "/v1/function-issuers", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 1);
    must(other, "GET", "/v1/function-issuers", NULL, &theirs);
    assert_int_equal(json_array_size(json_object_get(theirs, "items")), 0);
    assert_int_equal(call(other, "DELETE", "/v1/function-issuers/ours", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    must(client, "DELETE", "/v1/function-issuers/ours", NULL, NULL);
    (void)syn_client_free(client);
    (void)syn_client_free(other);
}

/* What a spec names has to be there, and stays while it does. */
static void
what_a_spec_rests_on(void **state)
{
    static const struct {
        const char *spec;
        int code;
    } rows[] = {
        {"'triggers':[{'type':'http','path':'/rest','hmac':{'secret':'none'}}]", SYN_E_NOTFOUND},
        {"'triggers':[{'type':'queue','queue':'none'}]", SYN_E_NOTFOUND},
        {"'destinations':{'success':'https://a.example/','secret':'none'}", SYN_E_NOTFOUND},
        {"'destinations':{'success':'http://a.example/'}", SYN_E_INVALID},
        {"'destinations':{'success':'https://me:pw@a.example/'}", SYN_E_INVALID},
        {"'triggers':[{'type':'queue','queue':'there'}]", SYN_OK},
        {"'destinations':{'failure':'https://a.example/x','secret':'there'}", SYN_OK},
        {"'suspended':true", SYN_OK}, /* though its queue is gone */
    };
    struct house *house = *state;
    struct syn_client *client = with_money(house, "resting");
    char body[256], id[SYN_ID_MAX];

    deploy(client, "rest", "", id);
    must(client, "PUT", "/v1/secrets/there", "{'value':'sesame'}", NULL);
    must(client, "PUT", "/v1/queues/there", "{}", NULL);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (i + 1 == SYN_LEN(rows))
            must(client, "DELETE", "/v1/queues/there", NULL, NULL);
        (void)snprintf(body, sizeof(body), "{'spec':{%s}}", rows[i].spec);
        if (call(client, "PATCH", "/v1/functions/rest", body, NULL, NULL) != rows[i].code)
            fail_msg("%s", rows[i].spec);
    }
    assert_int_equal(call(client, "DELETE", "/v1/secrets/there", NULL, NULL, NULL), SYN_E_CONFLICT);
    must(client, "PATCH", "/v1/functions/rest", "{'spec':{'destinations':null}}", NULL);
    must(client, "DELETE", "/v1/secrets/there", NULL, NULL);
    (void)syn_client_free(client);
}

static void
a_restart_goes_on(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_money(house, "again");
    char token[SYN_TOKEN_LEN + 1], id[SYN_ID_MAX], py[SYN_ID_MAX], cid[SYN_CID_TEXT_MAX], body[512];
    SYN_JSON(answer);
    SYN_JSON(before);
    SYN_JSON(after);

    store_source(client, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'py','spec':{'runtime':'python3','code':'synor://%s'}}", cid);
    must(client, "POST", "/v1/functions", body, &answer);
    (void)snprintf(py, sizeof(py), "%s", syn_json_str(answer, "id", ""));
    called(house, "boot-py", 1, py);
    before = learnt(house, py);
    assert_int_equal(syn_json_i64(json_object_get(before, "state"), "calls", 0), 1);
    deploy(client, "going", "", id);
    called(house, "boot-again", 1, id);
    must(client, "DELETE", "/v1/functions/going", NULL, NULL);
    (void)syn_client_free(client);
    house_close(house);
    house_open(house);
    after = learnt(house, py);
    assert_true(json_equal(before, after));
    new_token(house->client, "again", "tenant", "", token);
    client = client_of(house, token);
    await_token(client);
    for (int i = 0; i < WAITS; i++) {
        if (call(client, "GET", "/v1/functions/going", NULL, NULL, NULL) == SYN_E_NOTFOUND)
            break;
        (void)usleep(10000);
    }
    assert_int_equal(call(client, "GET", "/v1/functions/going", NULL, NULL, NULL), SYN_E_NOTFOUND);
    (void)syn_client_free(client);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_from_deploy_to_bill),
        cmocka_unit_test(a_module_that_does_not_compile),
        cmocka_unit_test(a_plan_needs_no_code),
        cmocka_unit_test(it_is_explained),
        cmocka_unit_test(routes_are_ones_own),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_process_has_a_pool_that_nobody_sees),
        cmocka_unit_test(gpus_are_paid_for),
        cmocka_unit_test(cards_of_ready_instances_are_noted),
        cmocka_unit_test(it_learns_when_it_is_called),
        cmocka_unit_test(starts_that_are_none),
        cmocka_unit_test(keys_are_made_told_and_removed),
        cmocka_unit_test(keys_that_are_refused),
        cmocka_unit_test(expired_keys_go_after_a_day),
        cmocka_unit_test(tokens_and_issuers),
        cmocka_unit_test(what_a_spec_rests_on),
        cmocka_unit_test(a_restart_goes_on),
    };

    return cmocka_run_group_tests(tests, house_setup, house_teardown);
}
