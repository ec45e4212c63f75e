/* Joining: a token lets somebody ask, only the key lets a node in. Every case is a request that was
 * right but for one thing. */
#include "server_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/daemon/join.h>

static int
post(struct joiner *joiner, const json_t *request, json_t **ret)
{
    return call_json(joiner->client, "POST", "/v1/nodes", request, ret);
}

/* So many nodes does the operator see. */
static size_t
nodes(struct house *house)
{
    SYN_JSON(list);

    must(house->client, "GET", "/v1/nodes", NULL, &list);
    return json_array_size(json_object_get(list, "items"));
}

static void
right_key_joins_and_may_report(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    struct syn_client *agent;
    char path[128];
    SYN_JSON(answer);

    joiner_init(&joiner, house, "prov-right");
    assert_int_equal(join_node_as(&joiner, "right", 1, &answer), SYN_OK);
    agent = client_of(house, syn_json_str(answer, "token", ""));
    await_token(agent);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/heartbeat",
                   syn_json_str(json_object_get(answer, "node"), "id", ""));
    must(agent, "POST", path, "{}", NULL);
    (void)syn_client_free(agent);
    joiner_fini(&joiner);
}

/* A node has one agent: the token of the one before ends when it joins again. The join token may be
 * revoked meanwhile: it is not what the node's token comes from. */
static void
rejoin_ends_the_token_before(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    struct syn_client *agents[2];
    char path[128];
    uint8_t digest[SYN_SHA256_LEN];
    char id[2 * SYN_SHA256_LEN + 1];

    joiner_init(&joiner, house, "prov-again");
    for (size_t i = 0; i < SYN_LEN(agents); i++) {
        SYN_JSON(answer);

        assert_int_equal(join_node_as(&joiner, "again", 21, &answer), SYN_OK);
        agents[i] = client_of(house, syn_json_str(answer, "token", ""));
        await_token(agents[i]);
        (void)snprintf(path, sizeof(path), "/v1/nodes/%s/heartbeat",
                       syn_json_str(json_object_get(answer, "node"), "id", ""));
    }
    await_refusal(agents[0]);
    syn_sha256(joiner.token, strlen(joiner.token), digest);
    syn_hex_encode(digest, sizeof(digest), id);
    revoke_token(house->client, "prov-again", id);
    await_refusal(joiner.client);
    must(agents[1], "POST", path, "{}", NULL);
    (void)syn_client_free(agents[0]);
    (void)syn_client_free(agents[1]);
    joiner_fini(&joiner);
}

/* Join with a region, or NULL; the node's region afterwards must be `want`. */
static void
join_from(struct joiner *joiner, const char *region, const char *want)
{
    SYN_JSON(answer);
    SYN_JSON(request);

    request = joiner_request(joiner, "moving", 22);
    if (region != NULL)
        assert_int_equal(syn_json_set_str(request, "region", region, NULL), SYN_OK);
    else
        assert_int_equal(json_object_del(request, "region"), 0);
    joiner_sign(request, 22, joiner->house->server->cluster, joiner->token);
    assert_int_equal(post(joiner, request, &answer), SYN_OK);
    assert_string_equal(syn_json_str(syn_json_at(answer, "node.spec"), "region", "?"), want);
}

/* A node says where it stands when it was moved, and need not say it again. */
static void
region_is_local_until_said_and_moves_with_the_node(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    SYN_JSON(request);

    joiner_init(&joiner, house, "prov-moves");
    join_from(&joiner, NULL, "local");
    join_from(&joiner, "west", "west");
    join_from(&joiner, NULL, "west");
    request = joiner_request(&joiner, "moving", 22);
    assert_int_equal(syn_json_set_str(request, "region", "EU West!", NULL), SYN_OK);
    joiner_sign(request, 22, house->server->cluster, joiner.token);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_INVALID);
    joiner_fini(&joiner);
}

/* The token's owner names a key that is another's, and signs with its own, or not at all. */
static void
wrong_key_is_refused(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    size_t before = nodes(house);
    SYN_JSON(request);

    joiner_init(&joiner, house, "prov-wrong");
    request = joiner_request(&joiner, "wrong", 2);
    joiner_sign(request, 3, house->server->cluster, joiner.token);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(json_object_del(request, "signature"), 0);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_INVALID);
    assert_int_equal(nodes(house), before);
    joiner_sign(request, 2, house->server->cluster, joiner.token); /* refusals spend nothing */
    assert_int_equal(post(&joiner, request, NULL), SYN_OK);
    joiner_fini(&joiner);
}

/* A key_id that is not the public key's would let one node's samples pass under another's name. */
static void
key_id_must_be_the_keys(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    struct syn_key *other = joiner_key(5);
    SYN_JSON(request);

    joiner_init(&joiner, house, "prov-id");
    request = joiner_request(&joiner, "id", 4);
    assert_int_equal(syn_json_set_str(request, "key_id", syn_key_id(other), NULL), SYN_OK);
    joiner_sign(request, 4, house->server->cluster, joiner.token);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_INVALID);
    (void)syn_key_free(other);
    joiner_fini(&joiner);
}

/* Whatever is changed after signing is noticed, and so is what is added. */
static void
tampered_request_is_refused(void **state)
{
    static const char *const changes[] = {
        "{\"name\":\"evil\"}",
        "{\"region\":\"elsewhere\"}",
        "{\"boot_id\":\"c\"}",
        "{\"default_isolation\":\"runc\"}",
        "{\"capacity\":{\"cpu_millicores\":1,\"memory_bytes\":1,\"scratch_bytes\":1,\"gpus\":[]}}",
        "{\"checks\":[]}",
    };
    struct house *house = *state;
    struct joiner joiner;
    size_t before = nodes(house);

    joiner_init(&joiner, house, "prov-tamper");
    for (size_t i = 0; i < SYN_LEN(changes); i++) {
        SYN_JSON(request);
        SYN_JSON(change);

        request = joiner_request(&joiner, "tampered", 6);
        assert_int_equal(syn_json_parse(changes[i], strlen(changes[i]), &change, NULL), SYN_OK);
        assert_int_equal(json_object_update(request, change), 0);
        assert_int_equal(post(&joiner, request, NULL), SYN_E_FORBIDDEN);
    }
    for (size_t digit = 0; digit < 128; digit += 9) { /* of the signature */
        char hex[129];
        SYN_JSON(request);

        request = joiner_request(&joiner, "tampered", 6);
        (void)syn_str_copy(hex, sizeof(hex), syn_json_str(request, "signature", ""));
        hex[digit] = hex[digit] == '0' ? '1' : '0';
        assert_int_equal(syn_json_set_str(request, "signature", hex, NULL), SYN_OK);
        assert_int_equal(post(&joiner, request, NULL), SYN_E_FORBIDDEN);
    }
    assert_int_equal(nodes(house), before);
    joiner_fini(&joiner);
}

/* A request that was heard on the way gives nobody a second token, now or after a restart. */
static void
replay_is_refused(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    SYN_JSON(request);

    joiner_init(&joiner, house, "prov-replay");
    request = joiner_request(&joiner, "replayed", 7);
    assert_int_equal(post(&joiner, request, NULL), SYN_OK);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_PRECONDITION);
    joiner_fini(&joiner);
    house_close(house);
    house_open(house);
    joiner.client = client_of(house, joiner.token);
    assert_int_equal(post(&joiner, request, NULL), SYN_E_PRECONDITION);
    joiner_fini(&joiner);
}

struct racer {
    struct joiner *joiner;
    const json_t *request;
    pthread_t thread;
    int code;
};

static void *
race(void *arg)
{
    struct racer *racer = arg;
    struct syn_client *client = client_of(racer->joiner->house, racer->joiner->token);
    SYN_JSON(mine);

    mine = json_deep_copy(racer->request);
    racer->code = call_json(client, "POST", "/v1/nodes", mine, NULL);
    (void)syn_client_free(client);
    return NULL;
}

/* Of eight copies that arrive at once, one is served. */
static void
replay_at_once_is_refused(void **state)
{
    struct house *house = *state;
    struct joiner joiner;
    struct racer racers[8];
    int served = 0;
    SYN_JSON(request);

    joiner_init(&joiner, house, "prov-race");
    request = joiner_request(&joiner, "raced", 8);
    for (size_t i = 0; i < SYN_LEN(racers); i++) {
        racers[i] = (struct racer){.joiner = &joiner, .request = request};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < SYN_LEN(racers); i++) {
        assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
        assert_true(racers[i].code == SYN_OK || racers[i].code == SYN_E_PRECONDITION);
        served += racers[i].code == SYN_OK;
    }
    assert_int_equal(served, 1);
    joiner_fini(&joiner);
}

/* A server between the node and us has a join token of its own. It can pass our challenge on and
 * have it signed, but for the token that the node gave it. */
static void
relayed_request_is_refused(void **state)
{
    struct house *house = *state;
    struct joiner relay;
    struct joiner victim;
    SYN_JSON(request);

    joiner_init(&relay, house, "prov-relay");
    joiner_init(&victim, house, "prov-victim");
    request = joiner_request(&relay, "relayed", 9);
    joiner_sign(request, 9, house->server->cluster, victim.token);
    assert_int_equal(post(&relay, request, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(post(&victim, request, NULL), SYN_E_FORBIDDEN); /* not its challenge */
    joiner_sign(request, 9, "cluster-another", relay.token);
    assert_int_equal(post(&relay, request, NULL), SYN_E_FORBIDDEN);
    joiner_fini(&relay);
    joiner_fini(&victim);
}

static int64_t late_ms;

static int64_t
late_wall_ms(void *self)
{
    (void)self;
    return late_ms;
}

/* Challenges are ours, whole, and fresh. */
static void
challenge_must_be_ours_and_fresh(void **state)
{
    struct house *house = *state;
    const struct srv_identity who = {.account = "acct-a", .token = "00"};
    const struct srv_identity others[] = {{.account = "acct-b", .token = "00"},
                                          {.account = "acct-a", .token = "01"},
                                          {.account = "acct-a"}};
    const struct syn_world_ops ops = {.version = SYN_WORLD_VERSION, .wall_ms = late_wall_ms};
    const struct syn_world world = {&ops, NULL};
    struct syn_server later = {.world = &world};
    char good[SRV_CHALLENGE_SIZE];
    char bad[SRV_CHALLENGE_SIZE];
    int64_t expires_ms;
    struct syn_err err;

    assert_done(srv_challenge_make(house->server, &who, good, &expires_ms, &err), &err);
    assert_int_equal(strlen(good), SRV_CHALLENGE_SIZE - 1);
    assert_done(srv_challenge_check(house->server, &who, good, &err), &err);
    for (size_t i = 0; i < strlen(good); i++) {
        (void)syn_str_copy(bad, sizeof(bad), good);
        bad[i] = bad[i] == 'a' ? 'b' : 'a';
        assert_code(srv_challenge_check(house->server, &who, bad, &err), SYN_E_FORBIDDEN, &err);
    }
    assert_code(srv_challenge_check(house->server, &who, "abc", &err), SYN_E_INVALID, &err);
    assert_code(srv_challenge_check(house->server, &who, "", &err), SYN_E_INVALID, &err);
    for (size_t i = 0; i < SYN_LEN(others); i++)
        assert_code(srv_challenge_check(house->server, &others[i], good, &err), SYN_E_FORBIDDEN,
                    &err);
    memcpy(later.challenge_key, house->server->challenge_key, sizeof(later.challenge_key));
    late_ms = expires_ms;
    assert_done(srv_challenge_check(&later, &who, good, &err), &err);
    late_ms = expires_ms + 1;
    assert_code(srv_challenge_check(&later, &who, good, &err), SYN_E_PRECONDITION, &err);
    later.challenge_key[0] ^= 1; /* another platform's */
    late_ms = expires_ms;
    assert_code(srv_challenge_check(&later, &who, good, &err), SYN_E_FORBIDDEN, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(right_key_joins_and_may_report, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(rejoin_ends_the_token_before, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(region_is_local_until_said_and_moves_with_the_node,
                                        house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(wrong_key_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(key_id_must_be_the_keys, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(tampered_request_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(replay_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(replay_at_once_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(relayed_request_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(challenge_must_be_ours_and_fresh, house_setup,
                                        house_teardown),
    };

    return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}
