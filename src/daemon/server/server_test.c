/* The server as its clients see it: a real one over a temporary folder, spoken to by the client
 * over its socket, from several threads at once where money is concerned. */
#include <synor/base/test.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/client.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct house {
    const char *dir;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready;
    struct syn_loop *loop;
    struct syn_server *server;
    struct syn_client *client; /* the operator's */
};

static void *
house_main(void *arg)
{
    struct house *house = arg;
    struct syn_err err = {0};
    struct syn_server_options options = {.data_dir = house->dir};

    assert_int_equal(syn_loop_new(&house->loop, &err), SYN_OK);
    options.loop = house->loop;
    if (syn_server_new(&options, &house->server, &err) < 0)
        fail_msg("%s", err.msg);
    (void)pthread_mutex_lock(&house->lock);
    house->ready = true;
    (void)pthread_cond_broadcast(&house->changed);
    (void)pthread_mutex_unlock(&house->lock);
    assert_int_equal(syn_loop_run(house->loop, &err), SYN_OK);
    house->server = syn_server_free(house->server);
    house->loop = syn_loop_free(house->loop);
    return NULL;
}

static struct syn_client *
client_of(const struct house *house, const char *token)
{
    struct syn_client_options options = {.target = syn_server_socket(house->server),
                                         .token = token};
    struct syn_client *client;
    struct syn_err err = {0};

    assert_int_equal(syn_client_new(&options, &client, &err), SYN_OK);
    return client;
}

static void
house_open(struct house *house)
{
    house->ready = false;
    assert_int_equal(pthread_create(&house->thread, NULL, house_main, house), 0);
    (void)pthread_mutex_lock(&house->lock);
    while (!house->ready)
        (void)pthread_cond_wait(&house->changed, &house->lock);
    (void)pthread_mutex_unlock(&house->lock);
    house->client = client_of(house, NULL);
}

static void
stop_loop(void *loop)
{
    syn_loop_stop(loop);
}

static void
house_close(struct house *house)
{
    house->client = syn_client_free(house->client);
    assert_int_equal(syn_loop_post(house->loop, stop_loop, house->loop, NULL, NULL), SYN_OK);
    assert_int_equal(pthread_join(house->thread, NULL), 0);
}

static int
setup(void **state)
{
    struct house *house = calloc(1, sizeof(*house));

    assert_non_null(house);
    syn_json_init();
    (void)pthread_mutex_init(&house->lock, NULL);
    (void)pthread_cond_init(&house->changed, NULL);
    house->dir = syn_test_dir();
    house_open(house);
    *state = house;
    return 0;
}

static int
teardown(void **state)
{
    struct house *house = *state;

    house_close(house);
    free(house);
    return 0;
}

/* One call; the body is JSON text with ' for ". Returns the code, *ret_answer may be NULL. */
static int
call(struct syn_client *client, const char *method, const char *path, const char *body,
     const char *key, json_t **ret_answer)
{
    struct syn_call request = {.method = method, .path = path, .idempotency_key = key};
    char text[1024];
    struct syn_err err = {0};
    SYN_JSON(doc);
    int rc;

    if (body != NULL) {
        (void)snprintf(text, sizeof(text), "%s", body);
        for (char *c = text; *c != '\0'; c++)
            *c = (char)(*c == '\'' ? '"' : *c);
        assert_int_equal(syn_json_parse(text, strlen(text), &doc, &err), SYN_OK);
        request.body = doc;
    }
    rc = syn_client_call(client, &request, ret_answer, &err);
    if (rc == SYN_E_INTERNAL || rc == SYN_E_UNAVAILABLE)
        print_message("# %s %s: %s\n", method, path, err.msg);
    return rc;
}

static void
must(struct syn_client *client, const char *method, const char *path, const char *body,
     json_t **ret_answer)
{
    assert_int_equal(call(client, method, path, body, NULL, ret_answer), SYN_OK);
}

/* A new account with a token of these scopes. */
static struct syn_client *
tenant(struct house *house, const char *name, const char *scope)
{
    char path[128];
    char body[96];
    SYN_JSON(token);

    (void)snprintf(body, sizeof(body), "{'name':'%s'}", name);
    (void)call(house->client, "POST", "/v1/accounts", body, NULL, NULL);
    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/tokens", name);
    (void)snprintf(body, sizeof(body), "{'name':'t','scopes':['%s']}", scope);
    must(house->client, "POST", path, body, &token);
    return client_of(house, syn_json_str(token, "token", ""));
}

/* The loop hears of a new token a moment later. */
static void
await_token(struct syn_client *client)
{
    for (int i = 0; i < 500; i++) {
        if (call(client, "GET", "/v1/prices", NULL, NULL, NULL) != SYN_E_UNAUTHENTICATED)
            return;
        (void)usleep(10000);
    }
    fail_msg("the token was never accepted");
}

static void
put_file(struct syn_client *client, const char *upload, const char *path, const char *text)
{
    char url[256];
    int fd = memfd_create("body", MFD_CLOEXEC);
    struct syn_transfer transfer = {.path = url, .fd = fd, .len = (int64_t)strlen(text)};

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)snprintf(url, sizeof(url), "/v1/uploads/%s/data?offset=0&path=%s", upload, path);
    assert_int_equal(syn_client_upload(client, &transfer, NULL, NULL), SYN_OK);
    (void)close(fd);
}

static void
new_upload(struct syn_client *client, const char *body, char *ret_id)
{
    SYN_JSON(upload);

    must(client, "POST", "/v1/uploads", body, &upload);
    (void)syn_str_copy(ret_id, SYN_ID_MAX, syn_json_str(upload, "id", ""));
}

/* The CID of a folder with one program in it. */
static void
store_source(struct syn_client *client, char *ret_cid)
{
    char id[SYN_ID_MAX];
    char path[128];
    SYN_JSON(answer);

    new_upload(client, "{'kind':'folder'}", id);
    put_file(client, id, "main.sh", "#!/bin/sh\n");
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    must(client, "POST", path, "{}", &answer);
    (void)syn_str_copy(ret_cid, SYN_CID_TEXT_MAX, syn_json_str(answer, "cid", ""));
}

static int64_t
balance_of(struct syn_client *client, const char *account, const char *field)
{
    char path[96];
    SYN_JSON(doc);

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s", account);
    must(client, "GET", path, NULL, &doc);
    return syn_document_amount(syn_document_status(doc), field);
}

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

/* --- nodes ------------------------------------------------------------------------------------ */

#define PUBLIC                                                                           \
    "'public_key':'%064d','capacity':{'cpu_millicores':1000,'memory_bytes':1073741824,"  \
    "'scratch_bytes':1073741824,'gpus':[]},'sandboxes':[],'default_isolation':'gvisor'," \
    "'agent_version':'1','boot_id':'b'}"

static int
join_as(struct syn_client *client, const char *name, const char *key_id, int key, json_t **ret)
{
    char body[512];

    (void)snprintf(body, sizeof(body), "{'name':'%s','key_id':'%s'," PUBLIC, name, key_id, key);
    return call(client, "POST", "/v1/nodes", body, NULL, ret);
}

/* A join token of one provider must not open another one's node. */
static void
test_rejoin_needs_owner_and_key(void **state)
{
    struct house *house = *state;
    struct syn_client *mine = tenant(house, "prov-a", "join");
    struct syn_client *other = tenant(house, "prov-b", "join");
    const char *id;
    SYN_JSON(node);
    SYN_JSON(twin);
    SYN_JSON(found);
    char path[96];

    await_token(mine);
    await_token(other);
    assert_int_equal(join_as(mine, "host", "key-1", 1, &node), SYN_OK);
    assert_int_equal(join_as(other, "host", "key-1", 1, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(join_as(mine, "host", "key-1", 2, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(join_as(mine, "host", "key-1", 1, NULL), SYN_OK);
    id = syn_json_str(json_object_get(node, "node"), "id", "");
    assert_int_equal(join_as(other, id, "key-2", 3, &twin), SYN_OK); /* named like its id */
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s", id);
    must(house->client, "GET", path, NULL, &found);
    assert_string_equal(syn_json_str(found, "id", ""), id);
    (void)syn_client_free(mine);
    (void)syn_client_free(other);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void
job_body(char *out, size_t cap, const char *cid, const char *name, const char *more)
{
    (void)snprintf(out, cap,
                   "{'name':'%s','spec':{'source':'synor://%s','entry':'main.sh','framework':"
                   "'custom','max_budget':'1'%s}}",
                   name, cid, more);
}

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

static int
add_balance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    int64_t *sum = arg;
    struct syn_ledger_account account;
    int rc = syn_ledger_account_decode(doc, &account, err);

    (void)key;
    (void)revision;
    if (rc == SYN_OK)
        *sum += account.balance;
    return rc;
}

static int64_t
ledger_sum(struct house *house)
{
    int64_t sum = 0;

    assert_int_equal(srv_each(house->server, "balance/", add_balance, &sum, NULL), SYN_OK);
    return sum;
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
    struct syn_client *provider = tenant(house, "big", "join");
    char cid[SYN_CID_TEXT_MAX];
    char path[128];
    char body[640];
    SYN_JSON(job);

    await_token(provider);
    must(provider, "POST", "/v1/nodes",
         "{'name':'big','key_id':'big-key','public_key':"
         "'0000000000000000000000000000000000000000000000000000000000000009','capacity':{"
         "'cpu_millicores':640000,'memory_bytes':1099511627776,'scratch_bytes':10995116277760,"
         "'gpus':[]},'sandboxes':[{'name':'gvisor','version':'1','platform':'p','state':'ready'}],"
         "'default_isolation':'gvisor','agent_version':'1','boot_id':'b'}",
         NULL);
    store_source(house->client, cid);
    job_body(body, sizeof(body), cid, "gang", ",'workers':64");
    must(house->client, "POST", "/v1/training", body, &job);
    (void)snprintf(path, sizeof(path), "/v1/training/%s", syn_document_id(job));
    for (int i = 0; i < 500; i++) {
        SYN_JSON(now);

        must(house->client, "GET", path, NULL, &now);
        if (syn_str_eq(syn_document_state(now), "starting")) {
            assert_int_equal(json_array_size(syn_json_at(now, "status.instances")), 64);
            (void)syn_client_free(provider);
            return;
        }
        (void)usleep(10000);
    }
    fail_msg("the gang was never placed");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file_upload_refuses_link, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_again_answers_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep_removes_what_is_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rejoin_needs_owner_and_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unpriced_gpu_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tenants_do_not_see_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_key_moves_money_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ledger_sums_to_zero_under_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_largest_gang_is_placed, setup, teardown),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
