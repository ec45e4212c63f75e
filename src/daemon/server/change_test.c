/* srv_change() where others are faster: rivals that write between an attempt's reading and its
 * commit, as often as the test wants, and rivals on threads. */
#include "server_testing.h"

#include <synor/base/str.h>

#define KEY "test/counter"

/* Adds one to the counter; `rivals` others do the same while it is at it. */
struct adding {
    int rivals;
    int attempts;
    int code; /* what the attempt returns instead of 0 */
    json_t *seen;
};

static int
read_counter(struct syn_server *server, json_t **ret_doc, int64_t *ret_revision)
{
    int rc = srv_load(server, KEY, ret_doc, ret_revision, NULL);

    if (rc == SRV_ABSENT) {
        *ret_revision = 0;
        *ret_doc = json_pack("{s:i}", "count", 0);
    }
    return rc < 0 ? rc : SYN_OK;
}

static int64_t
count(struct house *house)
{
    int64_t revision;
    SYN_JSON(doc);

    assert_int_equal(read_counter(house->server, &doc, &revision), SYN_OK);
    return syn_json_i64(doc, "count", -1);
}

static int
add_one(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct adding *adding = arg;
    int64_t revision = 0;
    int rc;

    adding->attempts++;
    assert_int_equal(txn->count, 0); /* nothing of the attempt before */
    rc = read_counter(server, srv_again(&adding->seen), &revision);
    if (rc == SYN_OK && adding->rivals > 0) {
        struct adding rival = {0};

        adding->rivals--;
        rc = srv_change(server, "the counter", add_one, &rival, NULL, err);
        json_decref(rival.seen);
        assert_int_equal(rival.attempts, 1);
    }
    if (rc == SYN_OK)
        rc = syn_json_set_i64(adding->seen, "count", syn_json_i64(adding->seen, "count", 0) + 1,
                              err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, KEY, revision, adding->seen, err);
    if (rc == SYN_OK && adding->code < 0)
        return SYN_FAIL(err, adding->code, "as the test wants it");
    return rc < 0 ? rc : adding->code;
}

static void
change_starts_over_after_a_conflict(void **state)
{
    struct house *house = *state;
    struct adding adding = {.rivals = SRV_RETRIES_MAX - 1};
    int64_t before = count(house);
    int64_t written = 0;
    int64_t revision = -1;
    struct syn_err err;
    SYN_JSON(doc);

    assert_done(srv_change(house->server, "the counter", add_one, &adding, &written, &err), &err);
    json_decref(adding.seen);
    assert_int_equal(adding.attempts, SRV_RETRIES_MAX);
    assert_int_equal(count(house), before + SRV_RETRIES_MAX); /* the rivals' and its own, once */
    assert_int_equal(read_counter(house->server, &doc, &revision), SYN_OK);
    assert_int_equal(revision, written);
}

static void
change_gives_up_by_name(void **state)
{
    struct house *house = *state;
    struct adding adding = {.rivals = SRV_RETRIES_MAX};
    int64_t before = count(house);
    struct syn_err err;

    assert_code(srv_change(house->server, "the counter", add_one, &adding, NULL, &err),
                SYN_E_UNAVAILABLE, &err);
    json_decref(adding.seen);
    assert_non_null(strstr(err.msg, "the counter"));
    assert_int_equal(adding.attempts, SRV_RETRIES_MAX);
    assert_int_equal(count(house), before + SRV_RETRIES_MAX); /* the rivals' alone */
}

static void
change_writes_nothing_on_error_or_condition(void **state)
{
    static const int codes[] = {SYN_E_PRECONDITION, SYN_E_FUNDS, SRV_REPLAYED, 7};
    struct house *house = *state;
    int64_t before = count(house);

    for (size_t i = 0; i < SYN_LEN(codes); i++) {
        struct adding adding = {.code = codes[i]};
        struct syn_err err;

        assert_code(srv_change(house->server, "the counter", add_one, &adding, NULL, &err),
                    codes[i], &err);
        json_decref(adding.seen);
        assert_int_equal(adding.attempts, 1);
        assert_int_equal(count(house), before);
    }
}

#define ADDS 40

struct adder {
    struct house *house;
    pthread_t thread;
    int added;
    int conflicts;
};

static void *
add_many(void *arg)
{
    struct adder *adder = arg;

    for (int i = 0; i < ADDS; i++) {
        struct adding adding = {0};
        int rc = srv_change(adder->house->server, "the counter", add_one, &adding, NULL, NULL);

        json_decref(adding.seen);
        adder->added += rc == SYN_OK;
        adder->conflicts += adding.attempts - 1;
    }
    return NULL;
}

/* Every addition that was reported done is there, and none that was not. */
static void
changes_of_many_threads_add_up(void **state)
{
    struct house *house = *state;
    struct adder adders[8];
    int64_t before = count(house);
    int added = 0;
    int conflicts = 0;

    for (size_t i = 0; i < SYN_LEN(adders); i++) {
        adders[i] = (struct adder){.house = house};
        assert_int_equal(pthread_create(&adders[i].thread, NULL, add_many, &adders[i]), 0);
    }
    for (size_t i = 0; i < SYN_LEN(adders); i++) {
        assert_int_equal(pthread_join(adders[i].thread, NULL), 0);
        added += adders[i].added;
        conflicts += adders[i].conflicts;
    }
    print_message("# %d additions, %d conflicts\n", added, conflicts);
    assert_true(conflicts > 0); /* else this test has tested nothing */
    assert_int_equal(count(house), before + added);
}

/* The same through the API, on one node's document: each drain that was answered is counted. */
static void *
drain_many(void *arg)
{
    struct adder *adder = arg;
    struct syn_client *client = client_of(adder->house, NULL);

    for (int i = 0; i < ADDS; i++)
        adder->added +=
            call(client, "POST", "/v1/nodes/host/drain", "{'on':true}", NULL, NULL) == SYN_OK;
    (void)syn_client_free(client);
    return NULL;
}

static void
drains_are_all_counted(void **state)
{
    struct house *house = *state;
    struct joiner provider;
    struct adder adders[4];
    int64_t generation;
    int added = 0;
    SYN_JSON(before);
    SYN_JSON(after);

    joiner_init(&provider, house, "prov");
    assert_int_equal(join_node_as(&provider, "host", 1, NULL), SYN_OK);
    joiner_fini(&provider);
    must(house->client, "GET", "/v1/nodes/host", NULL, &before);
    generation = syn_json_i64(before, "generation", 0);
    for (size_t i = 0; i < SYN_LEN(adders); i++) {
        adders[i] = (struct adder){.house = house};
        assert_int_equal(pthread_create(&adders[i].thread, NULL, drain_many, &adders[i]), 0);
    }
    for (size_t i = 0; i < SYN_LEN(adders); i++) {
        assert_int_equal(pthread_join(adders[i].thread, NULL), 0);
        added += adders[i].added;
    }
    must(house->client, "GET", "/v1/nodes/host", NULL, &after);
    assert_true(added > 0);
    assert_int_equal(syn_json_i64(after, "generation", 0), generation + added);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(change_starts_over_after_a_conflict, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(change_gives_up_by_name, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(change_writes_nothing_on_error_or_condition, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(changes_of_many_threads_add_up, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(drains_are_all_counted, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
