/* Queues: what was acknowledged to the sender is received until it is acknowledged by a receiver,
 * over restarts, with many of both. */
#include "server_testing.h"

#include <string.h>
#include <unistd.h>

#include <synor/base/str.h>

static struct syn_client *
with_queue(struct house *house, const char *account, const char *body)
{
    struct syn_client *client = tenant(house, account, "tenant");

    await_token(client);
    must(client, "PUT", "/v1/queues/q", body, NULL);
    return client;
}

static void
send(struct syn_client *client, const char *queue, const char *body)
{
    char path[128], text[256];

    (void)snprintf(path, sizeof(path), "/v1/queues/%s/messages", queue);
    (void)snprintf(text, sizeof(text), "{'messages':[{'body':'%s'}]}", body);
    must(client, "POST", path, text, NULL);
}

/* The first message that is received, its body into `body` (16 bytes), its receipt into `receipt`;
 * "" if there is none. */
static void
receive(struct syn_client *client, const char *queue, char *body, char *receipt)
{
    char path[128];
    const json_t *item;
    SYN_JSON(answer);

    (void)snprintf(path, sizeof(path), "/v1/queues/%s/receive", queue);
    must(client, "POST", path, "{}", &answer);
    item = json_array_get(json_object_get(answer, "items"), 0);
    assert_true(syn_str_copy(body, 16, syn_json_str(item, "body", "")));
    assert_true(syn_str_copy(receipt, 64, syn_json_str(item, "receipt", "")));
}

static bool
acknowledge(struct syn_client *client, const char *receipt)
{
    char text[128];
    SYN_JSON(answer);

    (void)snprintf(text, sizeof(text), "{'receipts':['%s']}", receipt);
    must(client, "POST", "/v1/queues/q/acknowledge", text, &answer);
    return json_array_size(json_object_get(answer, "done")) == 1;
}

static int64_t
messages(struct syn_client *client, const char *path, const char *what)
{
    SYN_JSON(queue);

    must(client, "GET", path, NULL, &queue);
    return syn_json_i64(queue, what, -1);
}

static void
a_message_goes_its_way(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "way", "{}");
    char body[16], receipt[64], other[64];

    send(client, "q", "one");
    send(client, "q", "two");
    assert_int_equal(messages(client, "/v1/queues/q", "ready"), 2);
    receive(client, "q", body, receipt);
    assert_string_equal(body, "one");
    assert_int_equal(messages(client, "/v1/queues/q", "ready"), 1);
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 2);
    receive(client, "q", body, other);
    assert_string_equal(body, "two");
    receive(client, "q", body, other);
    assert_string_equal(body, "");
    assert_true(acknowledge(client, receipt));
    assert_false(acknowledge(client, receipt));
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 1);
    (void)syn_client_free(client);
}

static void
it_survives_a_restart(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "queues", "{}");
    char token[SYN_TOKEN_LEN + 1], body[16], receipt[64];

    send(client, "q", "kept");
    send(client, "q", "held");
    receive(client, "q", body, receipt);
    (void)syn_client_free(client);
    house_close(house);
    house_open(house);
    new_token(house->client, "queues", "tenant", "", token);
    client = client_of(house, token);
    await_token(client);
    assert_true(acknowledge(client, receipt));
    receive(client, "q", body, receipt);
    assert_string_equal(body, "held");
    (void)syn_client_free(client);
}

/* Received again when its time is over; the first receipt is void then. */
static void
who_is_late_loses_it(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "late", "{'visibility_ms':50}");
    char body[16] = "", first[64], second[64];

    send(client, "q", "slow");
    receive(client, "q", body, first);
    for (body[0] = '\0'; body[0] == '\0'; (void)usleep(10000))
        receive(client, "q", body, second);
    assert_string_not_equal(first, second);
    assert_false(acknowledge(client, first));
    (void)syn_client_free(client);
}

static void
release_waits(void **state)
{
    struct house *house = *state;
    struct syn_client *client =
        with_queue(house, "release", "{'backoff_ms':'1h','backoff_max_ms':'2h'}");
    char body[16], receipt[64], text[160];
    SYN_JSON(answer);
    SYN_JSON(seen);
    const json_t *item;

    send(client, "q", "again");
    receive(client, "q", body, receipt);
    (void)snprintf(text, sizeof(text), "{'receipts':['%s'],'delay_ms':0}", receipt);
    must(client, "POST", "/v1/queues/q/release", text, NULL);
    receive(client, "q", body, receipt);
    assert_string_equal(body, "again");
    (void)snprintf(text, sizeof(text), "{'receipts':['%s']}", receipt);
    must(client, "POST", "/v1/queues/q/release", text, &answer);
    assert_int_equal(json_array_size(json_object_get(answer, "done")), 1);
    receive(client, "q", body, receipt);
    assert_string_equal(body, "");
    must(client, "GET", "/v1/queues/q/messages", NULL, &seen);
    item = json_array_get(json_object_get(seen, "items"), 0);
    assert_int_equal(syn_json_i64(item, "receives", 0), 2);
    /* Twice an hour: it was received twice. */
    assert_true(syn_json_i64(item, "ready_ms", 0) - syn_json_i64(item, "sent_ms", 0) >= 7200000);
    (void)syn_client_free(client);
}

static void
dead_letters_are_kept(void **state)
{
    struct house *house = *state;
    struct syn_client *client = tenant(house, "dead", "tenant");
    char body[16], receipt[64];
    SYN_JSON(answer);

    await_token(client);
    must(client, "PUT", "/v1/queues/dead", "{}", NULL);
    must(client, "PUT", "/v1/queues/q", "{'visibility_ms':1,'receives_max':2,'dead_letter':'dead'}",
         NULL);
    send(client, "q", "poison");
    do {
        receive(client, "q", body, receipt);
        (void)usleep(2000);
    } while (messages(client, "/v1/queues/dead", "messages") == 0);
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 0);
    must(client, "POST", "/v1/queues/dead/receive", "{'max':10}", &answer);
    assert_string_equal(
        syn_json_str(json_array_get(json_object_get(answer, "items"), 0), "from", ""), "q");
    assert_int_equal(call(client, "DELETE", "/v1/queues/dead?force=true", NULL, NULL, NULL),
                     SYN_E_CONFLICT);
    must(client, "DELETE", "/v1/queues/q", NULL, NULL);
    must(client, "DELETE", "/v1/queues/dead?force=true", NULL, NULL);
    (void)syn_client_free(client);
}

static void
old_ones_go(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "old", "{}");
    char body[16], receipt[64];

    for (int i = 0; i < 250; i++)
        send(client, "q", "old");
    must(client, "PUT", "/v1/queues/q", "{'retention_ms':1000}", NULL);
    (void)usleep(1100000);
    send(client, "q", "new");
    receive(client, "q", body, receipt);
    assert_string_equal(body, "new");
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 1);
    (void)syn_client_free(client);
}

static void
a_batch_is_taken_whole(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "batch", "{}");
    SYN_JSON(answer);
    SYN_JSON(first);
    SYN_JSON(again);
    const char *body = "{'messages':[{'body':'a','attributes':{'k':'v'}},{'body':''},"
                       "{'body':'c','delay_ms':'1h'}]}";

    assert_int_equal(call(client, "POST", "/v1/queues/q/messages",
                          "{'messages':[{'body':'a'},{'body':1}]}", NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 0);
    assert_true(call(client, "POST", "/v1/queues/q/messages", body, "batch-of-three", &first) >= 0);
    /* Sent again with the same key: the same messages. */
    assert_true(call(client, "POST", "/v1/queues/q/messages", body, "batch-of-three", &again) >= 0);
    assert_true(json_equal(first, again));
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 3);
    assert_int_equal(messages(client, "/v1/queues/q", "ready"), 2);
    must(client, "POST", "/v1/queues/q/receive", "{'max':100}", &answer);
    assert_int_equal(json_array_size(json_object_get(answer, "items")), 2);
    assert_string_equal(
        syn_json_str(
            json_object_get(json_array_get(json_object_get(answer, "items"), 0), "attributes"), "k",
            ""),
        "v");
    must(client, "DELETE", "/v1/queues/q/messages", NULL, NULL);
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 0);
    (void)syn_client_free(client);
}

static void
wrong_rules_are_refused(void **state)
{
    static const char *const bodies[] = {
        "{'visibility_ms':0}",
        "{'visibility_ms':'13h'}",
        "{'receives_max':3}",
        "{'dead_letter':'x'}",
        "{'receives_max':3,'dead_letter':'q'}",
        "{'receives_max':3,'dead_letter':'Not A Name'}",
        "{'backoff_ms':10,'backoff_max_ms':5}",
        "{'colour':'blue'}",
    };
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "wrong", "{}");
    struct syn_client *other = tenant(house, "others", "tenant");

    for (size_t i = 0; i < SYN_LEN(bodies); i++)
        assert_int_equal(call(client, "PUT", "/v1/queues/q", bodies[i], NULL, NULL), SYN_E_INVALID);
    assert_int_equal(call(client, "PUT", "/v1/queues/q",
                          "{'receives_max':3,'dead_letter':'nowhere'}", NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(call(client, "PUT", "/v1/queues/Q", "{}", NULL, NULL), SYN_E_INVALID);
    assert_int_equal(
        call(client, "POST", "/v1/queues/q/acknowledge", "{'receipts':['x']}", NULL, NULL),
        SYN_E_INVALID);
    assert_int_equal(
        call(client, "POST", "/v1/queues/none/messages", "{'messages':[{'body':'a'}]}", NULL, NULL),
        SYN_E_NOTFOUND);
    await_token(other);
    assert_int_equal(call(other, "GET", "/v1/queues/q", NULL, NULL, NULL), SYN_E_NOTFOUND);
    (void)syn_client_free(other);
    (void)syn_client_free(client);
}

/* --- many of both ----------------------------------------------------------------------------- */

#define HANDS 4
#define EACH  25

struct hand {
    struct house *house;
    struct syn_client *client;
    pthread_t thread;
    int number;
    unsigned *seen; /* how often each message was acknowledged; under `lock` */
    pthread_mutex_t *lock;
    int *done;
};

static void *
send_many(void *arg)
{
    struct hand *hand = arg;

    for (int i = 0; i < EACH; i++) {
        char body[16];

        (void)snprintf(body, sizeof(body), "%d", hand->number * EACH + i);
        send(hand->client, "q", body);
    }
    return NULL;
}

static size_t
number_of(const char *text)
{
    uint64_t number = 0;

    assert_int_equal(syn_parse_u64(text, 0, HANDS * EACH - 1, "body", &number, NULL), SYN_OK);
    return (size_t)number;
}

static void *
receive_many(void *arg)
{
    struct hand *hand = arg;
    bool over = false;

    while (!over) {
        char body[16], receipt[64];

        receive(hand->client, "q", body, receipt);
        (void)pthread_mutex_lock(hand->lock);
        if (body[0] != '\0' && acknowledge(hand->client, receipt)) {
            hand->seen[number_of(body)]++;
            ++*hand->done;
        }
        over = *hand->done == HANDS * EACH;
        (void)pthread_mutex_unlock(hand->lock);
    }
    return NULL;
}

static void
each_is_acknowledged_once(void **state)
{
    struct house *house = *state;
    struct syn_client *client = with_queue(house, "many", "{'visibility_ms':'10m'}");
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    unsigned seen[HANDS * EACH] = {0};
    struct hand hands[2 * HANDS];
    char token[SYN_TOKEN_LEN + 1];
    int done = 0;

    new_token(house->client, "many", "tenant", "", token);
    for (int i = 0; i < 2 * HANDS; i++) {
        hands[i] = (struct hand){.house = house,
                                 .client = client_of(house, token),
                                 .number = i,
                                 .seen = seen,
                                 .lock = &lock,
                                 .done = &done};
        await_token(hands[i].client);
    }
    for (int i = 0; i < 2 * HANDS; i++)
        assert_int_equal(
            pthread_create(&hands[i].thread, NULL, i < HANDS ? send_many : receive_many, &hands[i]),
            0);
    for (int i = 0; i < 2 * HANDS; i++) {
        assert_int_equal(pthread_join(hands[i].thread, NULL), 0);
        (void)syn_client_free(hands[i].client);
    }
    for (size_t i = 0; i < SYN_LEN(seen); i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(messages(client, "/v1/queues/q", "messages"), 0);
    (void)syn_client_free(client);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, house_setup, house_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_message_goes_its_way),    CASE(it_survives_a_restart),
        CASE(who_is_late_loses_it),      CASE(release_waits),
        CASE(dead_letters_are_kept),     CASE(old_ones_go),
        CASE(a_batch_is_taken_whole),    CASE(wrong_rules_are_refused),
        CASE(each_is_acknowledged_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
