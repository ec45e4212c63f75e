/* Calls that the server makes, with a gateway that is played on its socket: it answers as the path
 * or the body asks. */
#include "server_testing.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/loop.h>
#include <synor/base/str.h>
#include <synor/infra/http_pass.h>
#include <synor/orchestration/document.h>

#include "function_calls_priv.h"

#define WAITS 3000 /* of 10 ms */

/* The played gateway. */
struct gateway {
    pthread_t thread;
    struct syn_loop *loop;
    struct syn_http_server *http;
    atomic_int calls, status; /* what it answers with */
    atomic_int scheduled;
    pthread_mutex_t lock;
    char events[4096]; /* bodies of storage and the ledger, a line each; under `lock` */
    char dir[SRV_PATH_MAX], socket[SRV_PATH_MAX + 32];
};

static struct gateway played = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int
answer(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct gateway *gateway = ctx;
    const char *trigger = syn_http_req_header(req, "x-synor-trigger");
    int status = atomic_load(&gateway->status);
    size_t len;
    const char *body = syn_http_req_body(req, &len);
    int rc = SYN_OK;

    atomic_fetch_add(&gateway->calls, 1);
    if (syn_str_eq(trigger, "schedule"))
        atomic_fetch_add(&gateway->scheduled, 1);
    if (syn_str_eq(trigger, "storage") || syn_str_eq(trigger, "ledger")) {
        size_t at;

        (void)pthread_mutex_lock(&gateway->lock);
        at = strlen(gateway->events);
        (void)snprintf(gateway->events + at, sizeof(gateway->events) - at, "%s %.*s\n", trigger,
                       (int)len, body);
        (void)pthread_mutex_unlock(&gateway->lock);
    }
    if (status >= 500)
        rc = syn_http_reply_header(req, "x-synor-error", "Asked", err);
    if (rc == SYN_OK && syn_str_eq(trigger, "queue") && strstr(body, "\"bad\"") != NULL) {
        SYN_JSON(event);
        char text[256];

        rc = syn_json_parse(body, len, &event, err);
        (void)snprintf(
            text, sizeof(text), "{\"failed\":[\"%s\"]}",
            syn_json_str(json_array_get(json_object_get(event, "messages"), 0), "id", ""));
        return rc < 0 ? rc
                      : syn_http_reply_bytes(req, 200, "application/json", text, strlen(text), err);
    }
    return rc < 0 ? rc : syn_http_reply_bytes(req, status, "text/plain", body, len, err);
}

static const struct syn_http_route played_row = {.method = "ANY",
                                                 .pattern = "/",
                                                 .kind = SYN_HTTP_LOOP,
                                                 .body_max = 1 << 20,
                                                 .handler = answer,
                                                 .name = "played",
                                                 .summary = "Answers"};

static void *
serve(void *arg)
{
    struct gateway *gateway = arg;
    struct syn_err err;

    (void)!syn_loop_run(gateway->loop, &err);
    return NULL;
}

static void
stop(void *arg)
{
    syn_loop_stop(arg);
}

static void
gateway_open(struct house *house)
{
    struct syn_http_options options = {0};
    struct syn_err err;

    atomic_store(&played.status, 200);
    played.events[0] = '\0';
    (void)snprintf(played.dir, sizeof(played.dir), "%s/function", house->dir);
    (void)snprintf(played.socket, sizeof(played.socket), "%s/gateway.sock", played.dir);
    (void)mkdir(played.dir, 0700);
    assert_done(syn_loop_new(&played.loop, &err), &err);
    options.loop = played.loop;
    assert_done(syn_http_server_new(&options, &played.http, &err), &err);
    assert_done(syn_http_server_catch(played.http, &played_row, NULL, &played, &err), &err);
    assert_done(syn_http_listen_unix(played.http, played.socket, 0600, &err), &err);
    assert_int_equal(pthread_create(&played.thread, NULL, serve, &played), 0);
}

static void
gateway_close(void)
{
    struct syn_err err;

    assert_done(syn_loop_post(played.loop, stop, played.loop, NULL, &err), &err);
    assert_int_equal(pthread_join(played.thread, NULL), 0);
    played.http = syn_http_server_free(played.http);
    played.loop = syn_loop_free(played.loop);
    (void)unlink(played.socket);
}

/* An active function of an account of its own; the rest of its spec is `more`. */
static struct syn_client *
with_function(struct house *house, const char *account, const char *more, char *ret_id)
{
    struct syn_client *client = tenant(house, account, "tenant");
    char cid[SYN_CID_TEXT_MAX], body[1024];
    SYN_JSON(answered);

    await_token(client);
    (void)snprintf(body, sizeof(body), "/v1/accounts/%s/faucet", account);
    must(house->client, "POST", body, "{'amount':'5'}", NULL);
    store_source(client, cid);
    (void)snprintf(body, sizeof(body),
                   "{'name':'f','spec':{'runtime':'wasm','code':'synor://%s'%s}}", cid, more);
    must(client, "POST", "/v1/functions", body, &answered);
    assert_true(syn_str_copy(ret_id, SYN_ID_MAX, syn_json_str(answered, "id", "")));
    (void)snprintf(body, sizeof(body),
                   "{'boot':'%s','seq':1,'versions':[{'function':'%s','version':1,'state':'ready',"
                   "'message':''}]}",
                   account, ret_id);
    must(house->client, "POST", "/v1/function-gateway/report", body, NULL);
    for (int i = 0; i < WAITS; i++) {
        SYN_JSON(function);

        must(client, "GET", "/v1/functions/f", NULL, &function);
        if (syn_str_eq(syn_document_state(function), "active"))
            return client;
        (void)usleep(10000);
    }
    fail_msg("it is never active");
    return NULL;
}

static void
ask(struct syn_client *client, const char *body, char *ret_path)
{
    SYN_JSON(answered);

    must(client, "POST", "/v1/functions/f/invoke?async=true", body, &answered);
    (void)snprintf(ret_path, 256, "/v1/functions/f/invocations/%s",
                   syn_json_str(answered, "invocation", "?"));
}

/* Until the call has been tried so often; its record is the caller's. */
static json_t *
tried(struct syn_client *client, const char *path, const char *state, int64_t attempts)
{
    for (int i = 0; i < WAITS; i++) {
        json_t *record;

        must(client, "GET", path, NULL, &record);
        if (syn_str_eq(syn_json_str(record, "state", ""), state) &&
            syn_json_i64(record, "attempts", -1) >= attempts)
            return record;
        json_decref(record);
        (void)usleep(10000);
    }
    fail_msg("%s is never %s", path, state);
    return NULL;
}

static void
a_call_is_kept_and_made(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], path[256];
    struct syn_client *client = with_function(house, "kept", "", id);
    SYN_JSON(early);
    SYN_JSON(record);

    /* Nobody is there yet: that is no attempt. */
    ask(client, "{'a':1}", path);
    early = tried(client, path, "queued", 0);
    gateway_open(house);
    record = tried(client, path, "succeeded", 1);
    assert_string_equal(syn_json_str(record, "result", ""), "{\"a\":1}");
    assert_int_equal(syn_json_i64(record, "http_status", 0), 200);
    gateway_close();
    (void)syn_client_free(client);
}

static void
one_that_fails_is_made_again_later(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], path[256];
    struct syn_client *client = with_function(house, "fails", "", id);
    SYN_JSON(record);

    gateway_open(house);
    atomic_store(&played.status, 500);
    ask(client, "{}", path);
    record = tried(client, path, "queued", 1);
    assert_string_equal(syn_json_str(record, "message", ""), "Asked");
    gateway_close();
    (void)syn_client_free(client);
}

/* Until the queue has a message; its body is the caller's. */
static json_t *
await_told(struct syn_client *client, const char *queue)
{
    char path[128];
    struct syn_err err;
    json_t *body = NULL;
    SYN_BUF(text);

    (void)snprintf(path, sizeof(path), "/v1/queues/%s/messages", queue);
    for (int i = 0; i < WAITS && text.len == 0; i++) {
        SYN_JSON(list);

        (void)usleep(10000);
        must(client, "GET", path, NULL, &list);
        syn_buf_adds(&text,
                     syn_json_str(json_array_get(json_object_get(list, "items"), 0), "body", ""));
    }
    assert_done(syn_json_parse(syn_buf_text(&text), text.len, &body, &err), &err);
    return body;
}

/* One that was given up, which takes too long to wait for. */
static int
give_up(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    return srv_destination_tell(server, txn, arg, err);
}

static void
what_came_of_it_is_told(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], path[256];
    struct syn_client *client = with_function(
        house, "told", ",'destinations':{'success':'queue:good','failure':'queue:bad'}", id);
    SYN_JSON(untold);
    SYN_JSON(record);
    SYN_JSON(message);
    SYN_JSON(many);
    SYN_JSON(cut);
    SYN_JSON(failed);
    struct syn_err err;

    gateway_open(house);
    /* Nobody is there to be told: the call ends all the same, and its record says so. */
    ask(client, "{'a':1}", path);
    untold = tried(client, path, "succeeded", 1);
    assert_string_equal(syn_json_str(untold, "destination", ""), "queue:good");
    assert_string_equal(syn_json_str(untold, "destination_error", ""), "there is no queue good");
    must(client, "PUT", "/v1/queues/good", "{}", NULL);
    ask(client, "{'a':2}", path);
    record = tried(client, path, "succeeded", 1);
    assert_null(json_object_get(record, "destination_error"));
    message = await_told(client, "good");
    assert_string_equal(syn_json_str(message, "invocation", ""), strrchr(path, '/') + 1);
    assert_string_equal(syn_json_str(message, "function", ""), id);
    assert_string_equal(syn_json_str(message, "name", ""), "f");
    assert_string_equal(syn_json_str(message, "trigger", ""), "invoke");
    assert_string_equal(syn_json_str(message, "state", ""), "succeeded");
    assert_string_equal(syn_json_str(message, "result", ""), "{\"a\":2}");
    /* A result that no message takes is in the record alone: quotes take two bytes there. */
    must(client, "DELETE", "/v1/queues/good/messages", NULL, NULL);
    many = json_array();
    for (int i = 0; i < 13500; i++)
        assert_int_equal(json_array_append_new(many, json_string("")), 0);
    assert_int_equal(call_json(client, "POST", "/v1/functions/f/invoke?async=true", many, NULL),
                     SYN_OK);
    cut = await_told(client, "good");
    assert_true(syn_json_bool(cut, "result_cut", false));
    assert_null(json_object_get(cut, "result"));
    must(client, "PUT", "/v1/queues/bad", "{}", NULL);
    assert_done(syn_json_set_str(record, "state", "failed", &err), &err);
    assert_done(srv_change(house->server, "a call", give_up, record, NULL, &err), &err);
    failed = await_told(client, "bad");
    assert_string_equal(syn_json_str(failed, "state", ""), "failed");
    gateway_close();
    (void)syn_client_free(client);
}

static void
one_that_is_suspended_waits(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], path[256];
    struct syn_client *client = with_function(house, "unpaid", "", id);
    int before;
    SYN_JSON(record);

    gateway_open(house);
    atomic_store(&played.status, 402); /* the gateway's own, without a way */
    before = atomic_load(&played.calls);
    ask(client, "{}", path);
    for (int i = 0; i < WAITS && atomic_load(&played.calls) == before; i++)
        (void)usleep(10000);
    atomic_store(&played.status, 200);
    record = tried(client, path, "succeeded", 1);
    assert_int_equal(syn_json_i64(record, "http_status", 0), 200);
    gateway_close();
    (void)syn_client_free(client);
}

static void
it_is_waited_for(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX];
    struct syn_client *client = with_function(house, "sync", "", id);
    SYN_JSON(answered);

    assert_int_equal(call(client, "POST", "/v1/functions/f/invoke", "{'b':2}", NULL, NULL),
                     SYN_E_UNAVAILABLE);
    gateway_open(house);
    must(client, "POST", "/v1/functions/f/invoke?path=/x%3Fy=1", "{'b':2}", &answered);
    assert_int_equal(syn_json_i64(answered, "b", 0), 2);
    assert_int_equal(call(client, "POST", "/v1/functions/f/invoke?path=x", "{}", NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(call(client, "POST", "/v1/functions/g/invoke", "{}", NULL, NULL),
                     SYN_E_NOTFOUND);
    gateway_close();
    (void)syn_client_free(client);
}

static int64_t
messages_left(struct syn_client *client)
{
    SYN_JSON(queue);

    must(client, "GET", "/v1/queues/jobs", NULL, &queue);
    return syn_json_i64(queue, "messages", -1);
}

static void
await_messages(struct syn_client *client, int64_t left)
{
    for (int i = 0; i < WAITS && messages_left(client) != left; i++)
        (void)usleep(10000);
    assert_int_equal(messages_left(client), left);
}

static void
messages_are_taken_or_stay(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX];
    struct syn_client *client = with_function(house, "queue", "", id);

    must(client, "PUT", "/v1/queues/jobs", "{'backoff_ms':60000}", NULL);
    must(client, "PATCH", "/v1/functions/f",
         "{'spec':{'triggers':[{'type':'queue','queue':'jobs','batch':2}]}}", NULL);
    must(client, "POST", "/v1/queues/jobs/messages",
         "{'messages':[{'body':'1'},{'body':'2'},{'body':'3'}]}", NULL);
    gateway_open(house);
    await_messages(client, 0);
    /* Of these two the first is named as failed: it stays for later. */
    must(client, "POST", "/v1/queues/jobs/messages",
         "{'messages':[{'body':'bad'},{'body':'good'}]}", NULL);
    await_messages(client, 1);
    gateway_close();
    (void)syn_client_free(client);
}

static void
a_schedule_calls(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX];
    struct syn_client *client =
        with_function(house, "clock", ",'triggers':[{'type':'schedule','cron':'* * * * * *'}]", id);

    gateway_open(house);
    atomic_store(&played.scheduled, 0);
    for (int i = 0; i < WAITS && atomic_load(&played.scheduled) < 2; i++)
        (void)usleep(10000);
    assert_true(atomic_load(&played.scheduled) >= 2);
    must(client, "PATCH", "/v1/functions/f", "{'spec':{'suspended':true}}", NULL);
    gateway_close();
    (void)syn_client_free(client);
}

/* Until the function was called with `text` in what happened so often. */
static void
await_events(const char *text, int count)
{
    char seen[sizeof(played.events)];
    int found = 0;

    for (int i = 0; i < WAITS && found < count; i++) {
        (void)usleep(10000);
        (void)pthread_mutex_lock(&played.lock);
        memcpy(seen, played.events, sizeof(seen));
        (void)pthread_mutex_unlock(&played.lock);
        found = 0;
        for (const char *at = seen; (at = strstr(at, text)) != NULL; at++)
            found++;
    }
    if (found != count)
        fail_msg("%d of \"%s\" in:\n%s", found, text, seen);
}

static void
put_name(struct syn_client *client, const char *name, const char *cid)
{
    char path[128], body[SYN_CID_TEXT_MAX + 32];

    (void)snprintf(path, sizeof(path), "/v1/names?name=%s", name);
    (void)snprintf(body, sizeof(body), "{'cid':'%s'}", cid);
    must(client, "PUT", path, body, NULL);
}

static void
names_call(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], cid[SYN_CID_TEXT_MAX], want[512];
    struct syn_client *client =
        with_function(house, "names",
                      ",'triggers':[{'type':'storage','prefix':'in/'},"
                      "{'type':'storage','prefix':'in/a','events':['put']},"
                      "{'type':'storage','prefix':'once/','events':['delete']}]",
                      id);

    store_source(client, cid);
    put_name(client, "other/a", cid);
    put_name(client, "once/a", cid);
    put_name(client, "in/a", cid); /* two triggers fit, and it is called once */
    must(client, "DELETE", "/v1/names?name=in/a", NULL, NULL);
    must(client, "DELETE", "/v1/names?name=once/a", NULL, NULL);
    assert_int_equal(call(client, "DELETE", "/v1/names?name=once/a", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
    gateway_open(house);
    await_events("storage ", 3);
    (void)snprintf(want, sizeof(want), "\"cid\":\"%s\",\"event\":\"put\",\"name\":\"in/a\"}", cid);
    await_events(want, 1);
    await_events("\"event\":\"delete\",\"name\":\"in/a\"}", 1);
    await_events("\"event\":\"delete\",\"name\":\"once/a\"}", 1);
    /* What it listens to no more calls it no more. */
    must(client, "PATCH", "/v1/functions/f",
         "{'spec':{'triggers':[{'type':'storage','prefix':'in/','events':['delete']}]}}", NULL);
    put_name(client, "in/b", cid);
    must(client, "DELETE", "/v1/names?name=in/b", NULL, NULL);
    await_events("\"event\":\"delete\",\"name\":\"in/b\"}", 1);
    await_events("storage ", 4);
    must(client, "DELETE", "/v1/functions/f", NULL, NULL);
    put_name(client, "in/c", cid);
    gateway_close();
    (void)syn_client_free(client);
}

static void
money_calls(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], token[SYN_TOKEN_LEN + 1];
    struct syn_client *client = with_function(
        house, "money", ",'triggers':[{'type':'ledger','events':['transfer','settle']}]", id);

    gateway_open(house);
    must(house->client, "POST", "/v1/accounts/money/faucet", "{'amount':'1'}", NULL);
    must(client, "POST", "/v1/transfers",
         "{'from':'money','to':'kept','amount':'0.25','memo':'first'}", NULL);
    await_events("\"amount\":\"-0.25\"", 1);
    await_events("\"memo\":\"first\"", 1);
    gateway_close();
    /* Nobody is there, and the server starts anew: nothing is lost, or told again as new. */
    must(client, "POST", "/v1/transfers",
         "{'from':'money','to':'kept','amount':'0.5','memo':'second'}", NULL);
    (void)syn_client_free(client);
    house_close(house);
    house_open(house);
    gateway_open(house);
    new_token(house->client, "money", "tenant", "", token);
    client = client_of(house, token);
    await_token(client);
    await_events("\"memo\":\"second\"", 1);
    await_events("ledger ", 1);
    gateway_close();
    (void)syn_client_free(client);
}

static void
all_that_the_ledger_has_may_call(void **state)
{
    static const char before[] = ",'triggers':[{'type':'ledger','events':[";
    char more[256], id[SYN_ID_MAX];
    size_t at = (size_t)snprintf(more, sizeof(more), "%s", before);
    struct syn_client *client;

    for (int kind = 0; kind <= SYN_LEDGER_KIND_REFUND; kind++)
        at += (size_t)snprintf(more + at, sizeof(more) - at, "%s'%s'", kind > 0 ? "," : "",
                               syn_ledger_kind_name((enum syn_ledger_kind)kind));
    (void)snprintf(more + at, sizeof(more) - at, "]}]");
    client = with_function(*state, "kinds", more, id);
    gateway_open(*state);
    must(((struct house *)*state)->client, "POST", "/v1/accounts/kinds/faucet", "{'amount':'1'}",
         NULL);
    await_events("\"amount\":\"1\"", 1);
    await_events("\"event\":\"mint\"", 1); /* what was before it is nothing to it */
    gateway_close();
    (void)syn_client_free(client);
}

static void
what_is_kept_survives_a_restart(void **state)
{
    struct house *house = *state;
    char id[SYN_ID_MAX], path[256], token[SYN_TOKEN_LEN + 1];
    struct syn_client *client = with_function(house, "restart", "", id);
    SYN_JSON(record);

    ask(client, "{'c':3}", path);
    (void)syn_client_free(client);
    house_close(house);
    house_open(house);
    gateway_open(house);
    new_token(house->client, "restart", "tenant", "", token);
    client = client_of(house, token);
    await_token(client);
    record = tried(client, path, "succeeded", 1);
    assert_string_equal(syn_json_str(record, "result", ""), "{\"c\":3}");
    gateway_close();
    (void)syn_client_free(client);
}

/* How long a webhook waits, and when it is given up. */
static void
webhooks_are_tried_again(void **state)
{
    int64_t sum_ms = 0, wait_ms;

    (void)state;
    for (int64_t made = 1; (wait_ms = srv_webhook_wait(made, SYN_OK, 500, 0)) >= 0; made++) {
        assert_true(made < 10 && wait_ms >= 1000);
        assert_int_equal(srv_webhook_wait(made, SYN_E_TIMEOUT, 0, 0), wait_ms);
        sum_ms += wait_ms;
    }
    assert_true(sum_ms > 3600000 &&
                sum_ms < 24 * INT64_C(3600000)); /* while its call is on record */
    assert_int_equal(srv_webhook_wait(1, SYN_OK, 204, 0), -1);
    assert_int_equal(srv_webhook_wait(1, SYN_OK, 307, 0), -1);
    assert_int_equal(srv_webhook_wait(1, SYN_OK, 410, 0), -1);
    assert_true(srv_webhook_wait(1, SYN_OK, 404, 0) > 0);
    assert_int_equal(srv_webhook_wait(1, SYN_E_FORBIDDEN, 0, 0), -1);
    /* It may ask for more time, and not for all of it. */
    assert_int_equal(srv_webhook_wait(1, SYN_OK, 429, 30000), 30000);
    assert_int_equal(srv_webhook_wait(1, SYN_OK, 503, INT64_MAX / 2), 3600000);
    assert_int_equal(srv_webhook_wait(4, SYN_OK, 503, 1), srv_webhook_wait(4, SYN_OK, 500, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(webhooks_are_tried_again),
        cmocka_unit_test(a_call_is_kept_and_made),
        cmocka_unit_test(one_that_fails_is_made_again_later),
        cmocka_unit_test(what_came_of_it_is_told),
        cmocka_unit_test(one_that_is_suspended_waits),
        cmocka_unit_test(it_is_waited_for),
        cmocka_unit_test(messages_are_taken_or_stay),
        cmocka_unit_test(a_schedule_calls),
        cmocka_unit_test(names_call),
        cmocka_unit_test(money_calls),
        cmocka_unit_test(all_that_the_ledger_has_may_call),
        cmocka_unit_test(what_is_kept_survives_a_restart),
    };

    return cmocka_run_group_tests(tests, house_setup, house_teardown);
}
