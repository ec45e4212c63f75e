/* GET /v1/watch from outside: what each kind tells, to whom, and a snapshot that is larger than
 * what is queued for a client. The changes are made from inside the callback: what is heard next is
 * their doing. */
#include "server_testing.h"

#include <poll.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* One stream, and what it has told. */
struct listener {
    struct house *house;
    struct syn_client *client;
    /* Called at `synced`: make the change that `heard` waits for. NULL: the snapshot is all. */
    void (*change)(struct listener *listener);
    bool (*heard)(const struct listener *listener, const char *event, const json_t *doc);
    unsigned puts, gone; /* of the snapshot, and behind it */
    unsigned puts_before;
    bool synced;
    bool slow; /* read nothing for a moment */
    char name[SYN_ID_MAX];
};

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct listener *listener = arg;
    SYN_JSON(doc);

    if (listener->slow && listener->puts == 1)
        (void)poll(NULL, 0, 300);
    if (syn_json_parse_object(event->data, event->len, &doc, err) < 0)
        return SYN_E_CORRUPT;
    listener->puts += syn_str_eq(event->name, "put");
    listener->gone += syn_str_eq(event->name, "delete");
    if (syn_str_eq(event->name, "synced")) {
        listener->synced = true;
        listener->puts_before = listener->puts;
        if (listener->change == NULL)
            return SYN_CLIENT_STOP;
        listener->change(listener);
        return SYN_OK;
    }
    return listener->synced && listener->heard(listener, event->name, doc) ? SYN_CLIENT_STOP
                                                                           : SYN_OK;
}

/* Returns the code. */
static int
listen_to(struct listener *listener, const char *query)
{
    char path[256];
    struct syn_err err = {0};

    (void)snprintf(path, sizeof(path), "/v1/watch?%s", query);
    return syn_client_follow(listener->client, path, NULL, on_event, listener, &err);
}

/* How many there are to see. */
static unsigned
snapshot(struct house *house, struct syn_client *client, const char *query)
{
    struct listener listener = {.house = house, .client = client};

    assert_int_equal(listen_to(&listener, query), SYN_OK);
    assert_true(listener.synced);
    return listener.puts;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void
drain(struct listener *listener)
{
    must(listener->house->client, "POST", "/v1/nodes/here/drain", "{'on':true}", NULL);
}

static bool
is_drained(const struct listener *listener, const char *event, const json_t *doc)
{
    (void)listener;
    assert_string_equal(event, "put");
    assert_string_equal(syn_json_str(doc, "kind", ""), "node");
    return json_is_true(syn_json_at(doc, "spec.unschedulable"));
}

static void
nodes_are_told_to_everybody(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    struct syn_client *reader = tenant(house, "reader", "read");
    struct listener listener = {
        .house = house, .client = reader, .change = drain, .heard = is_drained};

    joiner_init(&joiner, house, "landlord");
    assert_int_equal(join_node_as(&joiner, "here", 1, NULL), SYN_OK);
    assert_int_equal(join_node_as(&joiner, "there", 2, NULL), SYN_OK);
    await_token(reader);
    assert_int_equal(snapshot(house, reader, "kind=node"), 2);
    assert_int_equal(snapshot(house, reader, "kind=node&account=me"), 0);
    assert_int_equal(listen_to(&listener, "kind=node"), SYN_OK);
    joiner_fini(&joiner);
    (void)syn_client_free(reader);
}

/* --- accounts --------------------------------------------------------------------------------- */

static void
give(struct listener *listener)
{
    must(listener->house->client, "POST", "/v1/accounts/poor/faucet", "{'amount':'5'}", NULL);
    must(listener->house->client, "POST", "/v1/accounts/rich/faucet", "{'amount':'7'}", NULL);
}

static bool
has_seven(const struct listener *listener, const char *event, const json_t *doc)
{
    (void)listener;
    assert_string_equal(event, "put");
    assert_string_equal(syn_json_str(doc, "name", ""), "rich"); /* never the other's */
    assert_null(syn_json_at(doc, "status.usage"));
    return syn_str_eq(json_string_value(syn_json_at(doc, "status.balance")), "7");
}

static void
lock_budget(struct listener *listener)
{
    char cid[SYN_CID_TEXT_MAX];
    char body[512];
    struct syn_client *rich = tenant(listener->house, "rich", "tenant");

    await_token(rich); /* the listener's own client is listening */
    store_source(rich, cid);
    job_body(body, sizeof(body), cid, "one", "");
    must(rich, "POST", "/v1/training", body, NULL);
    (void)syn_client_free(rich);
}

static bool
holds_one(const struct listener *listener, const char *event, const json_t *doc)
{
    (void)listener;
    assert_string_equal(event, "put");
    return syn_str_eq(json_string_value(syn_json_at(doc, "status.held")), "1") &&
           syn_str_eq(json_string_value(syn_json_at(doc, "status.balance")), "6");
}

static void
an_account_is_told_when_its_money_moves(void **state)
{
    struct house *house = *state;
    struct syn_client *poor = tenant(house, "poor", "tenant");
    struct syn_client *rich = tenant(house, "rich", "tenant");
    struct listener listener = {.house = house, .client = rich, .change = give, .heard = has_seven};
    char query[128];
    SYN_JSON(account);

    await_token(rich);
    await_token(poor);
    assert_int_equal(snapshot(house, rich, "kind=account"), 1);
    assert_true(snapshot(house, house->client, "kind=account") >= 3);
    assert_int_equal(listen_to(&listener, "kind=account"), SYN_OK);

    must(rich, "GET", "/v1/accounts/me", NULL, &account);
    (void)snprintf(query, sizeof(query), "kind=account&id=%s", syn_document_id(account));
    assert_int_equal(snapshot(house, poor, query), 0);
    assert_int_equal(snapshot(house, house->client, query), 1);
    listener = (struct listener){
        .house = house, .client = rich, .change = lock_budget, .heard = holds_one};
    assert_int_equal(listen_to(&listener, query), SYN_OK);
    (void)syn_client_free(rich);
    (void)syn_client_free(poor);
}

/* --- jobs and bills --------------------------------------------------------------------------- */

static void
make_job(struct house *house, struct syn_client *client, const char *account, const char *name)
{
    char cid[SYN_CID_TEXT_MAX];
    char path[96];
    char body[512];

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", account);
    must(house->client, "POST", path, "{'amount':'9'}", NULL);
    store_source(client, cid);
    job_body(body, sizeof(body), cid, name, ",'region':'nowhere'"); /* so that it waits */
    must(client, "POST", "/v1/training", body, NULL);
}

static void
end_job(struct syn_client *client, const char *name)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "/v1/training/%s/stop", name);
    must(client, "POST", path, "{}", NULL);
    (void)snprintf(path, sizeof(path), "/v1/training/%s", name);
    for (int i = 0; i < 1000; i++) {
        SYN_JSON(job);

        must(client, "GET", path, NULL, &job);
        if (srv_job_ended(job)) {
            must(client, "DELETE", path, NULL, NULL);
            return;
        }
        (void)poll(NULL, 0, 10);
    }
    fail_msg("%s never ends", name);
}

static void
end_both(struct listener *listener)
{
    struct syn_client *other = tenant(listener->house, "other", "tenant");
    struct syn_client *mine = tenant(listener->house, "mine", "tenant");

    await_token(other);
    await_token(mine);
    end_job(other, "theirs");
    end_job(mine, "ours");
    (void)syn_client_free(mine);
    (void)syn_client_free(other);
}

static bool
is_gone(const struct listener *listener, const char *event, const json_t *doc)
{
    if (syn_str_eq(event, "put")) {
        assert_string_equal(syn_json_str(doc, "name", ""), "ours");
        return false;
    }
    assert_string_equal(syn_json_str(doc, "id", ""), listener->name);
    return true;
}

static void
jobs_and_bills_are_their_owners(void **state)
{
    struct house *house = *state;
    struct syn_client *other = tenant(house, "other", "tenant");
    struct syn_client *mine = tenant(house, "mine", "tenant");
    struct listener listener = {
        .house = house, .client = mine, .change = end_both, .heard = is_gone};
    unsigned jobs;
    unsigned bills;
    SYN_JSON(job);

    await_token(mine);
    await_token(other);
    jobs = snapshot(house, house->client, "kind=training"); /* of the tests before */
    bills = snapshot(house, house->client, "kind=bill");
    make_job(house, other, "other", "theirs");
    make_job(house, mine, "mine", "ours");
    assert_int_equal(snapshot(house, mine, "kind=training"), 1);
    assert_int_equal(snapshot(house, house->client, "kind=training"), jobs + 2);
    assert_int_equal(snapshot(house, house->client, "kind=training&account=me"), 0);
    assert_int_equal(snapshot(house, house->client, "kind=training&account=other"), 1);
    assert_int_equal(snapshot(house, mine, "kind=bill"), 0);

    must(mine, "GET", "/v1/training/ours", NULL, &job);
    (void)syn_str_copy(listener.name, sizeof(listener.name), syn_document_id(job));
    assert_int_equal(listen_to(&listener, "kind=training"), SYN_OK);
    assert_int_equal(listener.gone, 1);

    assert_int_equal(snapshot(house, mine, "kind=bill"), 1);
    assert_int_equal(snapshot(house, other, "kind=bill"), 1);
    assert_int_equal(snapshot(house, house->client, "kind=bill"), bills + 2);
    (void)syn_client_free(mine);
    (void)syn_client_free(other);
}

static void
what_cannot_be_watched_is_refused(void **state)
{
    static const struct {
        const char *query;
        int code;
    } rows[] = {
        {"kind=training&account=operator", SYN_E_NOTFOUND}, /* somebody else's */
        {"kind=training&account=nobody", SYN_E_NOTFOUND},
        {"kind=training&id=../node", SYN_E_INVALID},
        {"kind=token", SYN_E_INVALID},
        {"", SYN_E_INVALID},
    };
    struct house *house = *state;
    struct syn_client *mine = tenant(house, "mine", "tenant");

    await_token(mine);
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct listener listener = {.house = house, .client = mine};

        assert_int_equal(listen_to(&listener, rows[i].query), rows[i].code);
        assert_int_equal(listener.puts, 0);
    }
    (void)syn_client_free(mine);
}

/* --- a large snapshot ------------------------------------------------------------------------- */

#define MANY     3000
#define PAD_SIZE 1500 /* so that all of them are several times what is queued for a stream */

struct batch {
    unsigned from, to;
};

static int
put_batch(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct batch *batch = arg;
    char pad[PAD_SIZE + 1];
    int rc = SYN_OK;

    (void)server;
    memset(pad, 'x', PAD_SIZE);
    pad[PAD_SIZE] = '\0';
    for (unsigned i = batch->from; rc == SYN_OK && i < batch->to; i++) {
        char key[SRV_KEY_MAX];
        SYN_JSON(doc);

        (void)snprintf(key, sizeof(key), "bill/bill-%06u", i);
        rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:i}", "id", key + 5, "account", "acct-x",
                           "pad", pad, "revision", 0);
        if (rc == SYN_OK)
            rc = srv_txn_put(txn, key, doc, err);
    }
    return rc;
}

static void
put_bills(struct house *house, unsigned from, unsigned to)
{
    struct syn_err err = {0};

    for (unsigned i = from; i < to; i += 100) {
        struct batch batch = {i, SYN_MIN(i + 100, to)};

        assert_done(srv_change(house->server, "bills", put_batch, &batch, NULL, &err), &err);
    }
}

static void
put_one_more(struct listener *listener)
{
    put_bills(listener->house, MANY, MANY + 1);
}

static bool
is_one_more(const struct listener *listener, const char *event, const json_t *doc)
{
    (void)listener;
    (void)event;
    return syn_str_eq(syn_json_str(doc, "id", ""), "bill-003000");
}

static void
a_large_snapshot_waits_for_its_reader(void **state)
{
    struct house *house = *state;
    struct listener listener = {.house = house,
                                .client = house->client,
                                .change = put_one_more,
                                .heard = is_one_more,
                                .slow = true};

    unsigned before = snapshot(house, house->client, "kind=bill"); /* of the tests before */

    put_bills(house, 0, MANY);
    assert_int_equal(listen_to(&listener, "kind=bill"), SYN_OK);
    assert_int_equal(listener.puts_before, before + MANY); /* each once: the stream was never cut */
    assert_int_equal(listener.puts, before + MANY + 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_are_told_to_everybody, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(an_account_is_told_when_its_money_moves, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(jobs_and_bills_are_their_owners, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_watched_is_refused, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(a_large_snapshot_waits_for_its_reader, house_setup,
                                        house_teardown),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
