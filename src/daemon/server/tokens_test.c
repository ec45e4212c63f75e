/* Tokens made with tokens: they may do no more, end no later, and go with the one they come from.
 */
#include "server_testing.h"

#include <unistd.h>

#include <synor/base/str.h>

/* A token of somebody, and a client that carries it. */
struct bearer {
    struct syn_client *client;
    char text[SYN_TOKEN_LEN + 1];
    char id[2 * SYN_SHA256_LEN + 1];
    int64_t expires_ms; /* 0: never */
};

/* Make a token through `maker` and put it on. `body`: with ' for ". Returns the code. */
static int
bear(struct house *house, struct syn_client *maker, const char *account, const char *body,
     struct bearer *ret)
{
    char path[128];
    SYN_JSON(answer);
    int rc;

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/tokens", account);
    rc = call(maker, "POST", path, body, NULL, &answer);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(ret->text, sizeof(ret->text), syn_json_str(answer, "token", ""));
    (void)syn_str_copy(ret->id, sizeof(ret->id), syn_json_str(answer, "id", ""));
    ret->expires_ms = 0;
    if (json_is_string(json_object_get(answer, "expires_at")))
        assert_int_equal(
            syn_parse_time(syn_json_str(answer, "expires_at", ""), &ret->expires_ms, NULL), SYN_OK);
    ret->client = client_of(house, ret->text);
    await_token(ret->client);
    return SYN_OK;
}

static void
drop(struct bearer *bearer)
{
    bearer->client = syn_client_free(bearer->client);
}

static void
account(struct house *house, const char *name)
{
    char body[96];

    (void)snprintf(body, sizeof(body), "{'name':'%s'}", name);
    must(house->client, "POST", "/v1/accounts", body, NULL);
}

static size_t
count_tokens(struct house *house, const char *name)
{
    char path[128];
    SYN_JSON(list);

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/tokens", name);
    must(house->client, "GET", path, NULL, &list);
    return json_array_size(json_object_get(list, "items"));
}

static void
scopes_do_not_widen(void **state)
{
    static const struct {
        const char *held, *asked;
        int code;
    } rows[] = {
        {"'tenant'", "'read'", SYN_OK},
        {"'tenant'", "'tenant'", SYN_OK},
        {"'tenant'", "'join'", SYN_E_FORBIDDEN},
        {"'tenant'", "'operator'", SYN_E_FORBIDDEN},
        {"'tenant'", "'tenant','node:node-1'", SYN_E_FORBIDDEN},
        {"'read'", "'read'", SYN_E_FORBIDDEN}, /* it may not make anything */
        {"'tenant','join'", "'join'", SYN_OK},
        {"'operator'", "'join'", SYN_OK},
        {"'operator'", "'operator','tenant'", SYN_OK},
    };
    struct house *house = *state;

    account(house, "scopes");
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct bearer held = {0};
        struct bearer made = {0};
        char body[128];
        int rc;

        (void)snprintf(body, sizeof(body), "{'scopes':[%s]}", rows[i].held);
        assert_int_equal(bear(house, house->client, "scopes", body, &held), SYN_OK);
        (void)snprintf(body, sizeof(body), "{'scopes':[%s]}", rows[i].asked);
        rc = bear(house, held.client, "me", body, &made);
        if (rc != rows[i].code)
            fail_msg("%s with %s: %d", rows[i].asked, rows[i].held, rc);
        if (rc == SYN_OK)
            drop(&made);
        drop(&held);
    }
}

static void
ttl_is_inherited(void **state)
{
    struct house *house = *state;
    struct bearer held = {0};
    struct bearer made = {0};
    struct bearer last = {0};

    account(house, "ttl");
    assert_int_equal(
        bear(house, house->client, "ttl", "{'scopes':['tenant'],'ttl_ms':3600000}", &held), SYN_OK);
    assert_true(held.expires_ms > syn_wall_ms(house->server->world));
    assert_int_equal(bear(house, held.client, "me", "{'scopes':['tenant']}", &made), SYN_OK);
    assert_int_equal(made.expires_ms, held.expires_ms);
    drop(&made);
    assert_int_equal(
        bear(house, held.client, "me", "{'scopes':['tenant'],'ttl_ms':7200000}", &made),
        SYN_E_FORBIDDEN);
    assert_int_equal(
        bear(house, held.client, "me", "{'scopes':['tenant'],'ttl_ms':1800000}", &made), SYN_OK);
    assert_true(made.expires_ms < held.expires_ms);
    assert_int_equal(bear(house, made.client, "me", "{'scopes':['read'],'ttl_ms':3000000}", &last),
                     SYN_E_FORBIDDEN); /* in time for the first, too late for its own maker */
    drop(&made);
    drop(&held);
    /* One without an end is made by one without an end alone. */
    assert_int_equal(bear(house, house->client, "ttl", "{'scopes':['tenant']}", &held), SYN_OK);
    assert_int_equal(held.expires_ms, 0);
    assert_int_equal(bear(house, held.client, "me", "{'scopes':['tenant']}", &made), SYN_OK);
    assert_int_equal(made.expires_ms, 0);
    drop(&made);
    drop(&held);
}

static void
revocation_takes_all_that_come_from_it(void **state)
{
    struct house *house = *state;
    struct bearer row[4] = {0};
    struct bearer side = {0};

    account(house, "row");
    assert_int_equal(bear(house, house->client, "row", "{'scopes':['tenant']}", &side), SYN_OK);
    for (size_t i = 0; i < SYN_LEN(row); i++)
        assert_int_equal(bear(house, i == 0 ? house->client : row[i - 1].client,
                              i == 0 ? "row" : "me", "{'scopes':['tenant']}", &row[i]),
                         SYN_OK);
    assert_int_equal(count_tokens(house, "row"), 5);
    revoke_token(row[3].client, "me", row[1].id); /* one that comes from it may do it */
    for (size_t i = 1; i < SYN_LEN(row); i++)
        await_refusal(row[i].client);
    must(row[0].client, "GET", "/v1/prices", NULL, NULL);
    must(side.client, "GET", "/v1/prices", NULL, NULL);
    assert_int_equal(count_tokens(house, "row"), 2); /* nothing is left of the others */
    for (size_t i = 0; i < SYN_LEN(row); i++)
        drop(&row[i]);
    drop(&side);
}

/* A crash right after the revocation: what comes from the token is void all the same, also for a
 * server that starts then, and the sweeper removes it. */
static void
revocation_survives_a_crash(void **state)
{
    struct house *house = *state;
    struct bearer held = {0};
    struct bearer made = {0};
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SRV_TXN(txn);

    account(house, "crash");
    assert_int_equal(bear(house, house->client, "crash", "{'scopes':['tenant']}", &held), SYN_OK);
    assert_int_equal(bear(house, held.client, "me", "{'scopes':['tenant']}", &made), SYN_OK);
    assert_int_equal(
        srv_load(house->server, srv_key(key, "token", held.id, NULL), &doc, NULL, NULL), SYN_OK);
    assert_int_equal(srv_token_forget(&txn, held.id, doc, NULL), SYN_OK);
    assert_int_equal(srv_txn_commit(house->server, &txn, NULL, NULL), SYN_OK);
    drop(&held);
    drop(&made);
    house_close(house);
    house_open(house);
    made.client = client_of(house, made.text);
    assert_int_equal(call(made.client, "GET", "/v1/prices", NULL, NULL, NULL),
                     SYN_E_UNAUTHENTICATED);
    assert_int_equal(srv_sweep(house->server, syn_wall_ms(house->server->world), NULL), SYN_OK);
    assert_int_equal(count_tokens(house, "crash"), 0);
    drop(&made);
}

/* An operator's token makes tokens for others. They go with it, but for those that are to stand by
 * themselves; who sits at the machine makes only such. */
static void
independent_tokens_stay(void **state)
{
    struct house *house = *state;
    struct bearer boss = {0};
    struct bearer bound = {0};
    struct bearer loose = {0};
    struct bearer none = {0};

    account(house, "boss");
    account(house, "staff");
    assert_int_equal(bear(house, house->client, "boss", "{'scopes':['operator']}", &boss), SYN_OK);
    assert_int_equal(bear(house, boss.client, "staff", "{'scopes':['tenant']}", &bound), SYN_OK);
    assert_int_equal(
        bear(house, boss.client, "staff", "{'scopes':['tenant'],'independent':true}", &loose),
        SYN_OK);
    assert_int_equal(
        bear(house, loose.client, "me", "{'scopes':['read'],'independent':true}", &none),
        SYN_E_FORBIDDEN);
    revoke_token(house->client, "boss", boss.id);
    await_refusal(bound.client);
    must(loose.client, "GET", "/v1/prices", NULL, NULL);
    drop(&boss);
    drop(&bound);
    drop(&loose);
}

static void
rows_have_an_end(void **state)
{
    struct house *house = *state;
    struct bearer row[SYN_TOKEN_ROW_MAX + 1] = {0};
    size_t made = 0;
    int rc = SYN_OK;

    account(house, "long");
    while (rc == SYN_OK && made < SYN_LEN(row)) {
        rc = bear(house, made == 0 ? house->client : row[made - 1].client,
                  made == 0 ? "long" : "me", "{'scopes':['tenant']}", &row[made]);
        made += rc == SYN_OK;
    }
    assert_int_equal(rc, SYN_E_LIMIT);
    assert_int_equal(made, SYN_TOKEN_ROW_MAX);
    for (size_t i = 0; i < made; i++)
        drop(&row[i]);
}

/* --- open streams ----------------------------------------------------------------------------- */

struct watcher {
    struct syn_client *client;
    pthread_t thread;
    atomic_bool synced;
    atomic_bool ended;
};

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct watcher *watcher = arg;

    (void)err;
    if (syn_str_eq(event->name, "synced"))
        atomic_store(&watcher->synced, true);
    return SYN_OK;
}

static void *
watch(void *arg)
{
    struct watcher *watcher = arg;

    (void)!syn_client_follow(watcher->client, "/v1/watch?kind=training", NULL, on_event, watcher,
                             NULL);
    atomic_store(&watcher->ended, true);
    return NULL;
}

static void
await_flag(const atomic_bool *flag, const char *what)
{
    for (int i = 0; i < 3000 && !atomic_load(flag); i++)
        (void)usleep(10000);
    if (!atomic_load(flag))
        fail_msg("%s", what);
}

/* A stream that was open when its token went does not go on. */
static void
streams_end_with_their_token(void **state)
{
    struct house *house = *state;
    struct bearer held = {0};
    struct bearer other = {0};
    struct watcher watchers[2] = {0};

    account(house, "stream");
    assert_int_equal(bear(house, house->client, "stream", "{'scopes':['read']}", &held), SYN_OK);
    assert_int_equal(bear(house, house->client, "stream", "{'scopes':['read']}", &other), SYN_OK);
    watchers[0].client = held.client;
    watchers[1].client = other.client;
    for (size_t i = 0; i < SYN_LEN(watchers); i++) {
        assert_int_equal(pthread_create(&watchers[i].thread, NULL, watch, &watchers[i]), 0);
        await_flag(&watchers[i].synced, "the stream never began");
    }
    revoke_token(house->client, "stream", held.id);
    await_flag(&watchers[0].ended, "the stream goes on");
    assert_false(atomic_load(&watchers[1].ended));
    syn_client_cancel(other.client);
    for (size_t i = 0; i < SYN_LEN(watchers); i++)
        assert_int_equal(pthread_join(watchers[i].thread, NULL), 0);
    drop(&held);
    drop(&other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scopes_do_not_widen, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(ttl_is_inherited, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(revocation_takes_all_that_come_from_it, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(revocation_survives_a_crash, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(independent_tokens_stay, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(rows_have_an_end, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(streams_end_with_their_token, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
