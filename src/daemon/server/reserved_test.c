/* Units that were bought, used by jobs: a real server and a real agent, whose programs run in
 * nobody's process. What was sold is for its holder alone, and lent to spot work until the holder
 * comes. */
#include "market_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/daemon/agent.h>
#include <synor/orchestration/document.h>

#include "pretend_testing.h"

#define WAIT_STEPS 6000 /* of 10 ms */
#define HOURS      "cpu/pretend/local/hour"

struct scene {
    struct house *house;
    struct pretend *pretend;
    struct syn_agent *agent;
    struct syn_client *seller, *ann, *bob;
    char cid[SYN_CID_TEXT_MAX];
    int64_t cores;
};

static void
start_agent(struct scene *scene)
{
    static const char *const argv[] = {
        "/bin/sh", "-c",
        "echo '{\"items\":[{\"id\":\"cpu0\",\"kind\":\"cpu\",\"profile\":\"cpu-pretend\"}]}'",
        NULL};
    struct syn_runtime runtime = pretend_runtime(scene->pretend);
    struct syn_agent_options options = {.data_dir = scene->house->dir,
                                        .server = syn_server_socket(scene->house->server),
                                        .token = syn_server_join_token(scene->house->server),
                                        .name = "here",
                                        .devices_argv = argv,
                                        .runtime = &runtime};
    struct syn_err err;

    assert_done(syn_agent_new(&options, &scene->agent, &err), &err);
    assert_done(syn_agent_start(scene->agent, &err), &err);
}

static struct syn_client *
with_money(struct house *house, const char *name)
{
    struct syn_client *client = tenant(house, name, "tenant");
    char path[96];

    await_token(client);
    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", name);
    must(house->client, "POST", path, "{'amount':'100'}", NULL);
    return client;
}

/* Until the node is there and has told what its cores are. */
static void
await_node(struct scene *scene)
{
    for (int i = 0; i < WAIT_STEPS; i++) {
        struct syn_err err;
        MARKET_SUPPLY(supply);

        assert_done(srv_market_supply_read(scene->house->server, &supply, &err), &err);
        scene->cores = srv_market_supply_of(&supply, NULL, "cpu/pretend/local");
        if (scene->cores > 0)
            return;
        (void)usleep(10000);
    }
    fail_msg("no node has told of its cores");
}

static void
scene_open(struct scene *scene, struct house *house)
{
    *scene = (struct scene){.house = house, .pretend = pretend_new()};
    start_agent(scene);
    await_node(scene);
    scene->seller = tenant(house, "provider", "tenant");
    await_token(scene->seller);
    scene->ann = with_money(house, "ann");
    scene->bob = with_money(house, "bob");
    store_source(house->client, scene->cid);
}

static void
scene_close(struct scene *scene)
{
    scene->agent = syn_agent_free(scene->agent);
    (void)syn_client_free(scene->seller);
    (void)syn_client_free(scene->ann);
    (void)syn_client_free(scene->bob);
    (void)pretend_free(scene->pretend);
}

/* --- what they do ----------------------------------------------------------------------------- */

static int
order(struct syn_client *client, const char *side, int64_t qty, const char *price)
{
    char body[256];
    int rc;

    (void)snprintf(body, sizeof(body), "{'class':'" HOURS "','side':'%s','qty':%lld,'price':'%s'}",
                   side, (long long)qty, price);
    rc = call(client, "POST", "/v1/market/orders", body, NULL, NULL);
    if (rc < 0)
        print_message("# %s %lld: %s\n", side, (long long)qty, message_of(client));
    return rc;
}

/* A job with all the node's cores; its id into out. */
static void
create(struct scene *scene, struct syn_client *client, const char *name, const char *more,
       char out[SYN_ID_MAX])
{
    char body[768], spec[384];
    SYN_JSON(job);

    (void)snprintf(spec, sizeof(spec),
                   ",'args':['forever'],'stop_grace_ms':500,'cpu_millicores':%lld,"
                   "'memory_bytes':16777216,'scratch_bytes':16777216%s",
                   (long long)scene->cores * 1000, more);
    job_body(body, sizeof(body), scene->cid, name, spec);
    must(client, "POST", "/v1/training", body, &job);
    (void)syn_str_copy(out, SYN_ID_MAX, syn_document_id(job));
}

static json_t *
job_of(struct syn_client *client, const char *id)
{
    char path[96];
    json_t *job = NULL;

    (void)snprintf(path, sizeof(path), "/v1/training/%s", id);
    must(client, "GET", path, NULL, &job);
    return job;
}

/* Until the job is in this state, for this reason (NULL: any). */
static void
await(struct syn_client *client, const char *id, const char *state, const char *reason)
{
    char last[160] = "";

    for (int i = 0; i < WAIT_STEPS; i++) {
        SYN_JSON(job);
        const char *why;

        job = job_of(client, id);
        why = syn_json_str(syn_document_status(job), "reason", "");
        if (syn_str_eq(syn_document_state(job), state) &&
            (reason == NULL || syn_str_eq(why, reason)))
            return;
        (void)snprintf(last, sizeof(last), "%s %s: %.90s", syn_document_state(job), why,
                       syn_json_str(syn_document_status(job), "message", ""));
        (void)usleep(10000);
    }
    fail_msg("%s: waited for %s %s, it is %s", id, state, reason != NULL ? reason : "", last);
}

static void
stop(struct syn_client *client, const char *id)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "/v1/training/%s/stop", id);
    must(client, "POST", path, "{}", NULL);
    await(client, id, "stopped", NULL);
}

/* "FREE IN_USE" */
static void
expect_units(struct syn_client *client, int64_t free_units, int64_t in_use)
{
    int64_t is_free = 0, is_in_use = 0;

    for (int i = 0; i < WAIT_STEPS; i++) {
        SYN_JSON(answer);
        size_t at;
        json_t *item;

        is_free = is_in_use = 0;
        must(client, "GET", "/v1/market/holdings", NULL, &answer);
        json_array_foreach (json_object_get(answer, "items"), at, item) {
            is_free = syn_json_i64(item, "free", -1);
            is_in_use = syn_json_i64(item, "in_use", -1);
        }
        if (is_free == free_units && is_in_use == in_use)
            return;
        (void)usleep(10000);
    }
    fail_msg("%lld free, %lld in use; expected %lld, %lld", (long long)is_free,
             (long long)is_in_use, (long long)free_units, (long long)in_use);
}

/* Its account's list has the document, and nobody else's has. */
static void
listed(struct scene *scene, const char *job, const json_t *doc)
{
    char path[128];
    SYN_JSON(own);
    SYN_JSON(other);

    (void)snprintf(path, sizeof(path), "/v1/market/reservations?job=%s", job);
    must(scene->ann, "GET", path, NULL, &own);
    assert_int_equal(json_array_size(json_object_get(own, "items")), 1);
    assert_string_equal(syn_document_id(json_array_get(json_object_get(own, "items"), 0)),
                        syn_document_id(doc));
    must(scene->bob, "GET", "/v1/market/reservations", NULL, &other);
    assert_int_equal(json_array_size(json_object_get(other, "items")), 0);
}

static void
expect_reservation(struct scene *scene, const char *job, const char *state, const char *reason)
{
    char prefix[SRV_KEY_MAX], key[SRV_KEY_MAX];
    struct syn_store_range range = {.prefix = srv_key(prefix, "reservation-of", job, "")};
    struct syn_store_page page = {0};
    struct syn_err err;
    SYN_JSON(doc);

    assert_done(syn_store_list(scene->house->server->store, &range, &page, &err), &err);
    assert_int_equal(page.count, 1);
    (void)srv_key(key, "reservation", strrchr(page.docs[0]->key, '/') + 1, NULL);
    syn_store_page_fini(&page);
    assert_done(srv_load(scene->house->server, key, &doc, NULL, &err), &err);
    assert_string_equal(syn_document_state(doc), state);
    assert_string_equal(syn_json_str(syn_document_status(doc), "reason", ""), reason);
    assert_int_equal(syn_document_amount(syn_document_status(doc), "paid"),
                     scene->cores * SYN_SYNOR / 100);
    listed(scene, job, doc);
}

/* The bill has the cores at nothing. */
static void
expect_bill(struct syn_client *client, const char *id)
{
    char path[96];
    SYN_JSON(bill);
    SYN_JSON(proof);
    size_t i;
    json_t *line;
    bool found = false;

    for (int t = 0; t < WAIT_STEPS; t++) {
        SYN_JSON(job);

        job = job_of(client, id);
        if (json_is_string(syn_json_at(job, "status.bill")))
            break;
        (void)usleep(10000);
    }
    (void)snprintf(path, sizeof(path), "/v1/bills/%s", id);
    must(client, "GET", path, NULL, &bill);
    json_array_foreach (json_object_get(syn_document_status(bill), "lines"), i, line) {
        if (!syn_str_eq(syn_json_str(line, "item", ""), "cpu"))
            continue;
        assert_string_equal(syn_json_str(line, "price", "?"), "0");
        assert_string_equal(syn_json_str(line, "amount", "?"), "0");
        found = true;
    }
    assert_true(found);
    assert_int_equal(json_array_size(syn_json_at(bill, "spec.reserved")), 1);
    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", id);
    must(client, "GET", path, NULL, &proof);
    assert_true(syn_json_bool(proof, "agrees", false));
}

/* --- cases ------------------------------------------------------------------------------------ */

static void
test_holders_have_what_they_bought(void **state)
{
    struct scene scene;
    char held[SYN_ID_MAX], other[SYN_ID_MAX], later[SYN_ID_MAX];
    const char *kind;
    SYN_JSON(job);
    SYN_JSON(instance);
    char path[128];

    scene_open(&scene, *state);
    assert_int_equal(order(scene.seller, "sell", scene.cores, "0.01"), SYN_OK);
    assert_int_equal(order(scene.ann, "buy", scene.cores, "0.01"), SYN_OK);
    expect_units(scene.ann, scene.cores, 0);
    check_market(scene.house);

    /* What was sold is nobody else's, */
    create(&scene, scene.bob, "other", "", other);
    await(scene.bob, other, "pending", "insufficient-cpu");
    /* but its holder's, at no price. */
    create(&scene, scene.ann, "held", ",'reserved':'" HOURS "'", held);
    await(scene.ann, held, "running", NULL);
    expect_units(scene.ann, 0, scene.cores);
    expect_reservation(&scene, held, "in-use", "begun");
    check_market(scene.house);
    job = job_of(scene.ann, held);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s",
                   json_string_value(json_array_get(syn_json_at(job, "status.instances"), 0)));
    must(scene.house->client, "GET", path, NULL, &instance);
    kind = syn_json_str(syn_json_at(instance, "spec.lease.terms"), "kind", "");
    assert_string_equal(kind, "reserved");
    assert_string_equal(syn_json_str(syn_json_at(instance, "spec.lease.price.cpu"), "price", ""),
                        "0");
    /* The processors are given away, and cannot be sold again. */
    assert_int_equal(order(scene.seller, "sell", 1, "0.01"), SYN_E_FUNDS);
    create(&scene, scene.ann, "later", ",'reserved':'" HOURS "'", later);
    await(scene.ann, later, "pending", "no-units");

    stop(scene.ann, held);
    expect_bill(scene.ann, held);
    expect_units(scene.ann, 0, 0);
    expect_reservation(&scene, held, "ended", "over");
    await(scene.bob, other, "running", NULL);
    /* What a job has is not for sale either. */
    assert_int_equal(order(scene.seller, "sell", 1, "0.01"), SYN_E_FUNDS);
    assert_non_null(strstr(message_of(scene.seller), "free of jobs"));
    stop(scene.ann, later);
    stop(scene.bob, other);
    assert_int_equal(order(scene.seller, "sell", 1, "0.01"), SYN_OK);
    check_market(scene.house);
    scene_close(&scene);
}

static void
test_idle_units_are_lent(void **state)
{
    struct scene scene;
    char held[SYN_ID_MAX], spot[SYN_ID_MAX], other[SYN_ID_MAX];

    scene_open(&scene, *state);
    assert_int_equal(order(scene.seller, "sell", scene.cores, "0.01"), SYN_OK);
    assert_int_equal(order(scene.ann, "buy", scene.cores, "0.01"), SYN_OK);
    create(&scene, scene.bob, "spot", ",'spot':true,'max_price':'50','notice_ms':500", spot);
    await(scene.bob, spot, "running", NULL);
    /* Nothing pushes it out that holds no units, whatever its priority. */
    create(&scene, scene.bob, "other", ",'priority':1000", other);
    await(scene.bob, other, "pending", "insufficient-cpu");
    /* A server that comes back lends as before. */
    scene.agent = syn_agent_free(scene.agent);
    scene.seller = syn_client_free(scene.seller);
    scene.ann = syn_client_free(scene.ann);
    scene.bob = syn_client_free(scene.bob);
    house_close(scene.house);
    house_open(scene.house);
    start_agent(&scene);
    scene.ann = tenant(scene.house, "ann", "tenant");
    scene.bob = tenant(scene.house, "bob", "tenant");
    await_token(scene.ann);
    await_token(scene.bob);
    await(scene.bob, spot, "running", NULL);
    await(scene.bob, other, "pending", "insufficient-cpu");

    create(&scene, scene.ann, "held", ",'reserved':'" HOURS "'", held);
    await(scene.ann, held, "running", NULL);
    await(scene.bob, spot, "pending", "preempted");
    await(scene.bob, other, "pending", NULL);
    expect_units(scene.ann, 0, scene.cores);
    check_market(scene.house);
    stop(scene.ann, held);
    await(scene.bob, other, "running", NULL); /* before spot work */
    stop(scene.bob, spot);
    stop(scene.bob, other);
    scene_close(&scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_holders_have_what_they_bought, fresh_house, end_house),
        cmocka_unit_test_setup_teardown(test_idle_units_are_lent, fresh_house, end_house),
    };

    return cmocka_run_group_tests_name("reserved", tests, NULL, NULL);
}
