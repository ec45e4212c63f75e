#include "server_testing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/join.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>

static void *
house_main(void *arg)
{
    struct house *house = arg;
    struct syn_err err = {0};
    struct syn_server_options options = {.data_dir = house->dir, .publish = "none"};

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

struct syn_client *
client_of(const struct house *house, const char *token)
{
    struct syn_client_options options = {.target = syn_server_socket(house->server),
                                         .token = token};
    struct syn_client *client;
    struct syn_err err = {0};

    assert_int_equal(syn_client_new(&options, &client, &err), SYN_OK);
    return client;
}

void
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

void
house_close(struct house *house)
{
    house->client = syn_client_free(house->client);
    assert_int_equal(syn_loop_post(house->loop, stop_loop, house->loop, NULL, NULL), SYN_OK);
    assert_int_equal(pthread_join(house->thread, NULL), 0);
}

int
house_setup(void **state)
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

int
house_teardown(void **state)
{
    struct house *house = *state;

    house_close(house);
    free(house);
    return 0;
}

/* One call; the body is JSON text with ' for ". Returns the code, *ret_answer may be NULL. */
int
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

void
must(struct syn_client *client, const char *method, const char *path, const char *body,
     json_t **ret_answer)
{
    assert_int_equal(call(client, method, path, body, NULL, ret_answer), SYN_OK);
}

int
call_json(struct syn_client *client, const char *method, const char *path, const json_t *body,
          json_t **ret_answer)
{
    struct syn_call request = {.method = method, .path = path, .body = body};
    struct syn_err err = {0};
    int rc = syn_client_call(client, &request, ret_answer, &err);

    if (rc == SYN_E_INTERNAL || rc == SYN_E_UNAVAILABLE)
        print_message("# %s %s: %s\n", method, path, err.msg);
    return rc;
}

/* --- accounts --------------------------------------------------------------------------------- */

void
new_token(struct syn_client *client, const char *account, const char *scopes, const char *more,
          char *ret_token)
{
    char path[128];
    char body[256];
    SYN_JSON(token);

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/tokens", account);
    (void)snprintf(body, sizeof(body), "{'name':'t','scopes':['%s']%s}", scopes, more);
    must(client, "POST", path, body, &token);
    assert_true(syn_str_copy(ret_token, SYN_TOKEN_LEN + 1, syn_json_str(token, "token", "")));
}

struct syn_client *
tenant(struct house *house, const char *name, const char *scope)
{
    char body[96];
    char token[SYN_TOKEN_LEN + 1];

    (void)snprintf(body, sizeof(body), "{'name':'%s'}", name);
    (void)call(house->client, "POST", "/v1/accounts", body, NULL, NULL);
    new_token(house->client, name, scope, "", token);
    return client_of(house, token);
}

void
await_token(struct syn_client *client)
{
    for (int i = 0; i < 3000; i++) {
        if (call(client, "GET", "/v1/prices", NULL, NULL, NULL) != SYN_E_UNAUTHENTICATED)
            return;
        (void)usleep(10000);
    }
    fail_msg("the token was never accepted");
}

void
await_refusal(struct syn_client *client)
{
    for (int i = 0; i < 3000; i++) {
        if (call(client, "GET", "/v1/prices", NULL, NULL, NULL) == SYN_E_UNAUTHENTICATED)
            return;
        (void)usleep(10000);
    }
    fail_msg("the token was accepted for ever");
}

void
revoke_token(struct syn_client *client, const char *account, const char *id)
{
    char path[192];

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/tokens/%s", account, id);
    must(client, "DELETE", path, NULL, NULL);
}

/* --- nodes ------------------------------------------------------------------------------------ */

void
joiner_init(struct joiner *joiner, struct house *house, const char *account)
{
    char body[96];

    joiner->house = house;
    (void)snprintf(body, sizeof(body), "{'name':'%s'}", account);
    (void)call(house->client, "POST", "/v1/accounts", body, NULL, NULL);
    new_token(house->client, account, "join", "", joiner->token);
    joiner->client = client_of(house, joiner->token);
    await_token(joiner->client);
}

void
joiner_fini(struct joiner *joiner)
{
    joiner->client = syn_client_free(joiner->client);
}

struct syn_key *
joiner_key(uint8_t seed)
{
    uint8_t seeds[32];
    struct syn_key *key;
    struct syn_err err;

    memset(seeds, seed, sizeof(seeds));
    assert_done(syn_key_from_seed(seeds, &key, &err), &err);
    return key;
}

void
joiner_sign(json_t *request, uint8_t seed, const char *cluster, const char *token)
{
    uint8_t digest[SYN_SHA256_LEN];
    uint8_t signature[SYN_SIGNATURE_LEN];
    char token_hex[2 * SYN_SHA256_LEN + 1];
    char hex[2 * SYN_SIGNATURE_LEN + 1];
    const struct syn_join join = {cluster, syn_json_str(request, "challenge", ""), token_hex};
    struct syn_key *key = joiner_key(seed);
    struct syn_err err;
    SYN_BUF(payload);

    syn_sha256(token, strlen(token), digest);
    syn_hex_encode(digest, sizeof(digest), token_hex);
    assert_done(syn_join_payload(&join, request, &payload, &err), &err);
    syn_key_sign(key, payload.data, payload.len, signature);
    syn_hex_encode(signature, sizeof(signature), hex);
    assert_done(syn_json_set_str(request, "signature", hex, &err), &err);
    (void)syn_key_free(key);
}

json_t *
joiner_request(struct joiner *joiner, const char *name, uint8_t seed)
{
    char hex[2 * SYN_SIGN_PUBLIC_LEN + 1];
    struct syn_key *key = joiner_key(seed);
    json_t *request;
    SYN_JSON(challenge);

    must(joiner->client, "POST", "/v1/challenges", NULL, &challenge);
    syn_hex_encode(syn_key_public(key), SYN_SIGN_PUBLIC_LEN, hex);
    request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I, s:[]}, s:[{s:s, s:s, s:s, "
                        "s:s}], s:s, s:s, s:s}",
                        "name", name, "region", name, "key_id", syn_key_id(key), "public_key", hex,
                        "challenge", syn_json_str(challenge, "challenge", ""), "capacity",
                        "cpu_millicores", (json_int_t)640000, "memory_bytes", (json_int_t)1 << 40,
                        "scratch_bytes", (json_int_t)10 << 40, "gpus", "sandboxes", "name",
                        "gvisor", "version", "1", "platform", "p", "state", "ready",
                        "default_isolation", "gvisor", "agent_version", "1", "boot_id", "b");
    assert_non_null(request);
    (void)syn_key_free(key);
    joiner_sign(request, seed, syn_json_str(challenge, "cluster", ""), joiner->token);
    return request;
}

int
join_node_as(struct joiner *joiner, const char *name, uint8_t seed, json_t **ret)
{
    SYN_JSON(request);

    request = joiner_request(joiner, name, seed);
    return call_json(joiner->client, "POST", "/v1/nodes", request, ret);
}

/* --- content ---------------------------------------------------------------------------------- */

void
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

void
new_upload(struct syn_client *client, const char *body, char *ret_id)
{
    SYN_JSON(upload);

    must(client, "POST", "/v1/uploads", body, &upload);
    (void)syn_str_copy(ret_id, SYN_ID_MAX, syn_json_str(upload, "id", ""));
}

/* The CID of a folder with one program in it. */
void
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

int64_t
balance_of(struct syn_client *client, const char *account, const char *field)
{
    char path[96];
    SYN_JSON(doc);

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s", account);
    must(client, "GET", path, NULL, &doc);
    return syn_document_amount(syn_document_status(doc), field);
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

int64_t
ledger_sum(struct house *house)
{
    int64_t sum = 0;

    assert_int_equal(srv_each(house->server, "balance/", add_balance, &sum, NULL), SYN_OK);
    return sum;
}

void
job_body(char *out, size_t cap, const char *cid, const char *name, const char *more)
{
    (void)snprintf(out, cap,
                   "{'name':'%s','spec':{'source':'synor://%s','entry':'main.sh','framework':"
                   "'custom','max_budget':'1'%s}}",
                   name, cid, more);
}
