/* The server as its clients see it: a real one over a temporary folder, spoken to by the client
 * over its socket, from several threads at once where money is concerned. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "server_testing.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* --- uploads ---------------------------------------------------------------------------------- */

/* The commit follows the path of a file upload: a link there would read any file of the machine. */
static void
test_file_upload_refuses_link(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX];
    char path[128];

    new_upload(house->client, "{'kind':'file'}", id);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/link", id);
    assert_int_equal(call(house->client, "PUT", path, "{'target':'/etc/passwd'}", NULL, NULL),
                     SYN_E_INVALID);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    assert_int_not_equal(call(house->client, "POST", path, "{}", NULL, NULL), SYN_OK);
}

static void
test_commit_again_answers_again(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX];
    char path[128];
    SYN_JSON(first);
    SYN_JSON(second);

    new_upload(house->client, "{'kind':'folder','key':'k'}", id);
    put_file(house->client, id, "a", "a");
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    must(house->client, "POST", path, "{'name':'things/a'}", &first);
    must(house->client, "POST", path, "{'name':'things/a'}", &second);
    assert_true(json_equal(first, second));
    new_upload(house->client, "{'kind':'folder','key':'k'}", path);
    assert_string_not_equal(path, id);
}

/* What the disk has no room for is refused before it comes, and fills nothing. */
static void
test_more_than_the_disk_is_refused(void **state)
{
    struct house *house = *state;
    const int64_t size = INT64_C(1) << 42;
    char id[SYN_ID_MAX], url[160];
    struct syn_transfer transfer = {.path = url, .fd = memfd_create("body", MFD_CLOEXEC), .len = 1};
    struct statvfs fs;
    SYN_JSON(upload);

    assert_int_equal(statvfs(house->dir, &fs), 0);
    if (fs.f_bavail > (uint64_t)size / fs.f_frsize)
        skip();
    assert_int_equal(ftruncate(transfer.fd, 1), 0);
    new_upload(house->client, "{'kind':'file'}", id);
    (void)snprintf(url, sizeof(url), "/v1/uploads/%s/data?offset=0&size=%lld", id, (long long)size);
    assert_int_equal(syn_client_upload(house->client, &transfer, NULL, NULL), SYN_E_NOSPACE);
    (void)snprintf(url, sizeof(url), "/v1/uploads/%s", id);
    must(house->client, "GET", url, NULL, &upload);
    assert_int_equal(json_array_size(json_object_get(upload, "files")), 0);
    must(house->client, "DELETE", url, NULL, NULL);
    (void)close(transfer.fd);
}

static void
test_sweep_removes_what_is_old(void **state)
{
    struct house *house = *state;
    int64_t now = syn_wall_ms(house->server->world);
    char id[SYN_ID_MAX];
    char path[160];
    SYN_JSON(answer);

    new_upload(house->client, "{'kind':'folder','key':'old'}", id);
    assert_int_equal(call(house->client, "POST", "/v1/accounts/me/faucet", "{'amount':'1'}",
                          "key-of-a-faucet", NULL),
                     SYN_OK);
    assert_int_equal(srv_sweep(house->server, now, NULL), SYN_OK);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s", id);
    must(house->client, "GET", path, NULL, NULL);
    assert_int_equal(srv_sweep(house->server, now + 8 * DAY_MS, NULL), SYN_OK);
    assert_int_equal(call(house->client, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    (void)snprintf(path, sizeof(path), "%s/server/uploads/%s", house->dir, id);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "idem/%s/key-of-a-faucet", house->server->operator_id);
    assert_int_equal(srv_load(house->server, path, &answer, NULL, NULL), SRV_ABSENT);
}

/* That a challenge was spent is remembered for as long as it could be spent again. */
static void
test_sweep_forgets_spent_challenges(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    char key[SRV_KEY_MAX];
    SYN_JSON(request);
    SYN_JSON(spent);
    SYN_JSON(gone);

    joiner_init(&joiner, house, "prov-sweep");
    request = joiner_request(&joiner, "swept", 77);
    assert_int_equal(call_json(joiner.client, "POST", "/v1/nodes", request, NULL), SYN_OK);
    (void)srv_key(key, "challenge", syn_json_str(request, "challenge", "?"), NULL);
    assert_int_equal(srv_sweep(house->server, syn_wall_ms(house->server->world), NULL), SYN_OK);
    assert_int_equal(srv_load(house->server, key, &spent, NULL, NULL), SYN_OK);
    assert_int_equal(srv_sweep(house->server,
                               syn_wall_ms(house->server->world) + SRV_CHALLENGE_TTL_MS + 1, NULL),
                     SYN_OK);
    assert_int_equal(srv_load(house->server, key, &gone, NULL, NULL), SRV_ABSENT);
    joiner_fini(&joiner);
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* A join token of one provider must not open another one's node. */
static void
test_rejoin_needs_owner_and_key(void **state)
{
    struct house *house = *state;
    struct joiner mine;
    struct joiner other;
    const char *id;
    SYN_JSON(node);
    SYN_JSON(twin);
    SYN_JSON(found);
    char path[96];

    joiner_init(&mine, house, "prov-a");
    joiner_init(&other, house, "prov-b");
    assert_int_equal(join_node_as(&mine, "host", 1, &node), SYN_OK);
    assert_int_equal(join_node_as(&other, "host", 1, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(join_node_as(&mine, "host", 1, NULL), SYN_OK);
    id = syn_json_str(json_object_get(node, "node"), "id", "");
    assert_int_equal(join_node_as(&other, id, 2, &twin), SYN_OK); /* named like its id */
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s", id);
    must(house->client, "GET", path, NULL, &found);
    assert_string_equal(syn_json_str(found, "id", ""), id);
    joiner_fini(&mine);
    joiner_fini(&other);
}

/* A card that nobody could be billed for is not given away, and keeps nobody from joining. */
static void
test_unpriced_gpus_are_set_apart(void **state)
{
    struct house *house = *state;
    struct joiner provider;
    const json_t *capacity;
    json_t *gpus;
    SYN_JSON(request);
    SYN_JSON(answer);

    joiner_init(&provider, house, "prov-gpu");
    request = joiner_request(&provider, "cards", 88);
    gpus =
        json_pack("[{s:s, s:i, s:I}, {s:s, s:i, s:i}]", "model", "h100", "count", 2, "vram_bytes",
                  (json_int_t)80 << 30, "model", "unheard-of", "count", 1, "vram_bytes", 1 << 30);
    assert_int_equal(json_object_set_new(json_object_get(request, "capacity"), "gpus", gpus), 0);
    joiner_sign(request, 88, house->server->cluster, provider.token);
    assert_int_equal(call_json(provider.client, "POST", "/v1/nodes", request, &answer), SYN_OK);
    capacity = syn_json_at(answer, "node.status.capacity");
    assert_int_equal(json_array_size(json_object_get(capacity, "gpus")), 1);
    assert_int_equal(json_array_size(json_object_get(capacity, "gpus_unpriced")), 1);
    assert_string_equal(
        syn_json_str(json_array_get(json_object_get(capacity, "gpus_unpriced"), 0), "model", ""),
        "unheard-of");
    joiner_fini(&provider);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void
test_unpriced_gpu_is_refused(void **state)
{
    struct house *house = *state;
    char cid[SYN_CID_TEXT_MAX];
    char body[512];

    store_source(house->client, cid);
    job_body(body, sizeof(body), cid, "g", ",'gpus':1,'gpu_model':'voodoo2'");
    assert_int_equal(call(house->client, "POST", "/v1/training", body, NULL, NULL), SYN_E_INVALID);
    job_body(body, sizeof(body), cid, "g", ",'gpus':1,'gpu_model':'h100'");
    assert_int_equal(call(house->client, "POST", "/v1/training", body, NULL, NULL), SYN_OK);
}

static void
test_tenants_do_not_see_each_other(void **state)
{
    static const char *const routes[][2] = {
        {"training", ""},      {"training", "/explain"}, {"training", "/events"},
        {"training", "/logs"}, {"training", "/metrics"}, {"training", "/checkpoints"},
        {"bills", ""},         {"bills", "/evidence"},
    };
    struct house *house = *state;
    struct syn_client *other = tenant(house, "eve", "tenant");
    char cid[SYN_CID_TEXT_MAX];
    char upload[SYN_ID_MAX];
    char path[128];
    char body[512];
    SYN_JSON(job);

    await_token(other);
    store_source(house->client, cid);
    new_upload(house->client, "{'kind':'folder'}", upload);
    job_body(body, sizeof(body), cid, "secret", "");
    must(house->client, "POST", "/v1/training", body, &job);
    for (size_t i = 0; i < SYN_LEN(routes); i++) {
        (void)snprintf(path, sizeof(path), "/v1/%s/%s%s", routes[i][0], syn_document_id(job),
                       routes[i][1]);
        assert_int_equal(call(other, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    }
    (void)snprintf(path, sizeof(path), "/v1/training/%s/stop", syn_document_id(job));
    assert_int_equal(call(other, "POST", path, "{}", NULL, NULL), SYN_E_NOTFOUND);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s", upload);
    assert_int_equal(call(other, "DELETE", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(other, "GET", "/v1/accounts/operator", NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_int_equal(call(other, "POST", "/v1/transfers",
                          "{'from':'operator','to':'eve','amount':'1'}", NULL, NULL),
                     SYN_E_NOTFOUND);
    (void)syn_client_free(other);
}

/* A plan names what creating the job would be refused with, and nothing else is done. */
static void
test_plans_foresee_refusals(void **state)
{
    static const struct {
        const char *more, *code, *pull;
    } rows[] = {
        {"", NULL, NULL},
        {",'max_budget':'5'", NULL, NULL},
        {",'max_budget':'5.000000001'", "insufficient-funds", NULL},
        {",'gpus':1,'gpu_model':'voodoo2'", "invalid", NULL},
        {",'dataset':'synor://no/such'", "not-found", NULL},
        {",'image':'synor://no/such'", "not-found", NULL},
        {",'image':'nginx:1.25'", NULL, "docker.io/library/nginx:1.25"},
        {",'image':'host'", NULL, NULL},
        {",'cpu_millicores':2001", "limit-exceeded", NULL},
    };
    struct house *house = *state;
    struct syn_client *planner = tenant(house, "planner", "tenant");
    SYN_JSON(service);
    SYN_JSON(list);

    await_token(planner);
    must(house->client, "POST", "/v1/accounts/planner/faucet", "{'amount':'5'}", NULL);
    must(house->client, "PUT", "/v1/accounts/planner/quota", "{'cpu_millicores':2000}", NULL);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char body[512];
        const json_t *refused;
        SYN_JSON(plan);

        (void)snprintf(body, sizeof(body),
                       "{'name':'p','spec':{'source':'synor://not-there-yet','entry':'main.sh',"
                       "'framework':'custom'%s%s}}",
                       strstr(rows[i].more, "max_budget") != NULL ? "" : ",'max_budget':'1'",
                       rows[i].more);
        must(planner, "POST", "/v1/training?plan=true", body, &plan);
        refused = json_object_get(plan, "refused");
        assert_non_null(refused);
        if (rows[i].code == NULL)
            assert_true(json_is_null(refused));
        else
            assert_string_equal(syn_json_str(refused, "code", ""), rows[i].code);
        assert_string_equal(syn_json_str(json_object_get(plan, "pull"), "image", "-"),
                            rows[i].pull != NULL ? rows[i].pull : "-");
    }
    must(planner, "POST", "/v1/services?plan=true",
         "{'name':'p','spec':{'image':'nginx:1.25','cpu_millicores':100}}", &service);
    assert_true(json_is_null(json_object_get(service, "refused")));
    assert_string_equal(syn_json_str(json_object_get(service, "pull"), "image", ""),
                        "docker.io/library/nginx:1.25");
    must(planner, "GET", "/v1/training", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    (void)syn_client_free(planner);
}

/* "Not yet" is said of a job that there is, and of no other. */
static void
test_bills_that_are_not_there(void **state)
{
    static const struct {
        const char *path, *says;
    } rows[] = {
        {"/v1/bills/waits/verify", "yet"},    {"/v1/bills/nothing/verify", "no job"},
        {"/v1/bills/nothing", "no job"},      {"/v1/bills/nothing/evidence", "no job"},
        {"/v1/bills/bill-none", "bill-none"}, {"/v1/bills/bill-none/verify", "bill-none"},
    };
    struct house *house = *state;
    struct syn_client *other = tenant(house, "stranger", "tenant");
    char cid[SYN_CID_TEXT_MAX];
    char path[128];
    char body[512];
    SYN_JSON(job);

    await_token(other);
    store_source(house->client, cid);
    job_body(body, sizeof(body), cid, "waits", ",'region':'nowhere'");
    must(house->client, "POST", "/v1/training", body, &job);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const json_t *said;

        assert_int_equal(call(house->client, "GET", rows[i].path, NULL, NULL, NULL),
                         SYN_E_NOTFOUND);
        said = syn_client_error(house->client);
        assert_non_null(strstr(syn_json_str(said, "message", ""), rows[i].says));
        assert_int_equal(strstr(rows[i].says, "yet") == NULL,
                         strstr(syn_json_str(said, "message", ""), " yet") == NULL);
    }
    (void)snprintf(path, sizeof(path), "/v1/bills/%s/verify", syn_document_id(job));
    assert_int_equal(call(other, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    assert_null(strstr(syn_json_str(syn_client_error(other), "message", ""), " yet"));
    (void)syn_client_free(other);
}

struct planting {
    const char *cid;
    bool settled;
};

/* An instance that was given this checkpoint, on its node's list until its run is settled. */
static int
plant_instance(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct planting *planting = arg;
    SYN_JSON(doc);
    int rc = syn_json_pack(
        &doc, err, "{s:s, s:s, s:{s:s, s:s, s:s, s:{s:i, s:i, s:i}}, s:{s:s}}", "id",
        "inst-planted", "account", "acct-none", "spec", "job", "train-none", "node", "node-none",
        "checkpoint_cid", planting->cid, "resources", "cpu_millicores", 1000, "memory_bytes", 1024,
        "scratch_bytes", 1024, "status", "state", planting->settled ? "exited" : "running");

    (void)server;
    if (rc == SYN_OK)
        rc = srv_txn_put(txn, "instance/inst-planted", doc, err);
    if (rc == SYN_OK)
        rc = planting->settled
                 ? srv_txn_delete(txn, "instance-on/node-none/inst-planted", err)
                 : srv_txn_put_text(txn, "instance-on/node-none/inst-planted", "inst-planted", err);
    return rc;
}

/* A job's older checkpoint, that no checkpoint document names any more, may still be fetched. */
static void
test_gc_keeps_what_instances_were_given(void **state)
{
    struct house *house = *state;
    char cid[SYN_CID_TEXT_MAX];
    char id[SYN_ID_MAX];
    char path[128];
    struct planting planting = {.cid = cid};
    struct syn_err err;
    SYN_JSON(stored);

    new_upload(house->client, "{'kind':'folder'}", id);
    put_file(house->client, id, "checkpoint", "of step 1");
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    must(house->client, "POST", path, "{}", &stored);
    (void)syn_str_copy(cid, sizeof(cid), syn_json_str(stored, "cid", ""));
    (void)snprintf(path, sizeof(path), "/v1/content/%s", cid);
    assert_done(srv_change(house->server, "instance", plant_instance, &planting, NULL, &err), &err);
    (void)usleep(2000); /* what was put in this very millisecond is new */
    must(house->client, "POST", "/v1/content/gc", "{'grace_ms':0}", NULL);
    must(house->client, "GET", path, NULL, NULL);

    planting.settled = true;
    assert_done(srv_change(house->server, "instance", plant_instance, &planting, NULL, &err), &err);
    must(house->client, "POST", "/v1/content/gc", "{'grace_ms':0}", NULL);
    assert_int_equal(call(house->client, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);

    planting.settled = false; /* gone already: that keeps gc from nothing */
    assert_done(srv_change(house->server, "instance", plant_instance, &planting, NULL, &err), &err);
    must(house->client, "POST", "/v1/content/gc", "{'grace_ms':0}", NULL);
}

/* --- money ------------------------------------------------------------------------------------ */

struct rush {
    struct house *house;
    char cid[SYN_CID_TEXT_MAX];
    char key[32];
    char body[256];
    int made;
};

static void *
same_key(void *arg)
{
    struct rush *rush = arg;
    struct syn_client *client = client_of(rush->house, NULL);
    SYN_JSON(answer);

    rush->made = call(client, "POST", "/v1/transfers",
                      "{'to':'provider','amount':'1','memo':'once'}", rush->key, &answer);
    (void)syn_client_free(client);
    return NULL;
}

/* Eight clients send one request with one key at the same moment: it happens once. */
static void
test_one_key_moves_money_once(void **state)
{
    struct house *house = *state;
    int64_t before = balance_of(house->client, "provider", "balance");

    for (int round = 0; round < 5; round++) {
        struct rush rushes[8];
        pthread_t threads[SYN_LEN(rushes)];

        for (size_t i = 0; i < SYN_LEN(rushes); i++) {
            rushes[i] = (struct rush){.house = house};
            (void)snprintf(rushes[i].key, sizeof(rushes[i].key), "round-key-%d", round);
            assert_int_equal(pthread_create(&threads[i], NULL, same_key, &rushes[i]), 0);
        }
        for (size_t i = 0; i < SYN_LEN(rushes); i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(rushes[i].made, SYN_OK);
        }
        assert_int_equal(balance_of(house->client, "provider", "balance"),
                         before + (round + 1) * SYN_SYNOR);
    }
}

static void *
spend(void *arg)
{
    struct rush *rush = arg;
    struct syn_client *client = client_of(rush->house, NULL);

    for (int i = 0; i < 5; i++) {
        char body[512];
        char path[128];
        SYN_JSON(job);

        job_body(body, sizeof(body), rush->cid, "rush", "");
        if (call(client, "POST", "/v1/training", body, NULL, &job) < 0)
            continue;
        rush->made++;
        (void)call(client, "POST", "/v1/transfers", "{'to':'provider','amount':'0.000000001'}",
                   NULL, NULL);
        (void)snprintf(path, sizeof(path), "/v1/training/%s/stop", syn_document_id(job));
        (void)call(client, "POST", path, "{}", NULL, NULL);
        (void)snprintf(path, sizeof(path), "/v1/training/%s/resume", syn_document_id(job));
        for (int tries = 0; tries < 50; tries++) { /* until the stop is through and billed */
            if (call(client, "POST", path, "{}", NULL, NULL) == SYN_OK)
                break;
            (void)usleep(2000);
        }
    }
    (void)syn_client_free(client);
    return NULL;
}

static void
test_ledger_sums_to_zero_under_conflicts(void **state)
{
    struct house *house = *state;
    struct rush rushes[4];
    pthread_t threads[SYN_LEN(rushes)];
    int made = 0;

    for (size_t i = 0; i < SYN_LEN(rushes); i++) {
        rushes[i] = (struct rush){.house = house};
        store_source(house->client, rushes[i].cid);
    }
    for (size_t i = 0; i < SYN_LEN(rushes); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend, &rushes[i]), 0);
    for (size_t i = 0; i < SYN_LEN(rushes); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        made += rushes[i].made;
    }
    assert_true(made > 0);
    assert_int_equal(ledger_sum(house), 0);
    house_close(house); /* and again from what is on the disk */
    house_open(house);
    assert_int_equal(ledger_sum(house), 0);
}

/* --- 64 ranks --------------------------------------------------------------------------------- */

/* A gang of the largest size is written in one transaction. */
static void
test_largest_gang_is_placed(void **state)
{
    struct house *house = *state;
    struct joiner provider;
    char cid[SYN_CID_TEXT_MAX];
    char path[128];
    char body[640];
    SYN_JSON(job);

    joiner_init(&provider, house, "big");
    assert_int_equal(join_node_as(&provider, "big", 9, NULL), SYN_OK);
    store_source(house->client, cid);
    job_body(body, sizeof(body), cid, "gang", ",'workers':64");
    must(house->client, "POST", "/v1/training", body, &job);
    (void)snprintf(path, sizeof(path), "/v1/training/%s", syn_document_id(job));
    for (int i = 0; i < 3000; i++) {
        SYN_JSON(now);

        must(house->client, "GET", path, NULL, &now);
        if (syn_str_eq(syn_document_state(now), "starting")) {
            assert_int_equal(json_array_size(syn_json_at(now, "status.instances")), 64);
            joiner_fini(&provider);
            return;
        }
        (void)usleep(10000);
    }
    fail_msg("the gang was never placed");
}

/* A state that nothing can be in is a slip of whoever asks, and no empty list. */
static void
test_unknown_state_is_refused(void **state)
{
    static const char *const kinds[] = {"training", "services"};
    struct house *house = *state;
    char path[64];

    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        SYN_JSON(list);

        (void)snprintf(path, sizeof(path), "/v1/%s?state=stopping", kinds[i]);
        must(house->client, "GET", path, NULL, &list);
        (void)snprintf(path, sizeof(path), "/v1/%s?state=dancing", kinds[i]);
        assert_int_equal(call(house->client, "GET", path, NULL, NULL, NULL), SYN_E_INVALID);
    }
}

/* Other tests' jobs come and go in the house. */
static size_t
count_wide(struct house *house)
{
    SYN_JSON(list);
    size_t count = 0, i;
    json_t *job;

    must(house->client, "GET", "/v1/training?state=starting", NULL, &list);
    json_array_foreach (json_object_get(list, "items"), i, job)
        count += syn_str_eq(syn_json_str(job, "name", ""), "wide");
    return count;
}

/* Two jobs that wait for the same room and are looked at in one round: one gets it. */
static void
test_room_is_given_once(void **state)
{
    struct house *house = *state;
    struct joiner provider;
    char cid[SYN_CID_TEXT_MAX];
    char body[640];
    SYN_JSON(node);

    joiner_init(&provider, house, "narrow");
    assert_int_equal(join_node_as(&provider, "narrow", 10, &node), SYN_OK);
    must(house->client, "POST", "/v1/nodes/narrow/drain", "{'on':true}", NULL);
    store_source(house->client, cid);
    for (int i = 0; i < 6; i++) { /* each takes more than half of the node */
        job_body(body, sizeof(body), cid, "wide", ",'region':'narrow','cpu_millicores':400000");
        must(house->client, "POST", "/v1/training", body, NULL);
    }
    (void)usleep(200000);
    must(house->client, "POST", "/v1/nodes/narrow/drain", "{'on':false}", NULL);
    for (int i = 0; i < 3000 && count_wide(house) == 0; i++)
        (void)usleep(10000);
    (void)usleep(200000); /* time for a second */
    assert_int_equal(count_wide(house), 1);
    joiner_fini(&provider);
}

/* The gateway of functions would not come to listen there, though everything else does. */
static void
test_too_long_a_folder_is_refused(void **state)
{
    char dir[128] = "/tmp/";
    struct syn_server_options options = {.data_dir = dir, .publish = "none"};
    struct syn_server *server = NULL;
    struct syn_err err;

    (void)state;
    memset(dir + 5, 'x', 81);
    assert_code(syn_server_new(&options, &server, &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "at most 85 bytes"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file_upload_refuses_link, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_commit_again_answers_again, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_more_than_the_disk_is_refused, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_sweep_removes_what_is_old, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_sweep_forgets_spent_challenges, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_rejoin_needs_owner_and_key, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_unpriced_gpus_are_set_apart, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_unpriced_gpu_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_tenants_do_not_see_each_other, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_plans_foresee_refusals, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_bills_that_are_not_there, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_gc_keeps_what_instances_were_given, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_one_key_moves_money_once, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_ledger_sums_to_zero_under_conflicts, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_state_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_room_is_given_once, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(test_largest_gang_is_placed, house_setup, house_teardown),
        cmocka_unit_test(test_too_long_a_folder_is_refused),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
