/* Quotas through the API: refused where it can never be, waiting where it cannot be now, and never
 * exceeded, however many ask at once. */
#include "server_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* Somebody with an account, a source to run, and a node that only his jobs are meant for. */
struct guest {
    struct house *house;
    struct syn_client *client;
    const char *name;
    char cid[SYN_CID_TEXT_MAX];
};

static void
guest_init(struct guest *guest, struct house *house, const char *name, uint8_t seed)
{
    struct joiner joiner;
    char path[128];

    *guest = (struct guest){.house = house, .name = name};
    guest->client = tenant(house, name, "tenant");
    await_token(guest->client);
    store_source(guest->client, guest->cid);
    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/faucet", name);
    must(house->client, "POST", path, "{'amount':'100'}", NULL);
    joiner_init(&joiner, house, "quota-prov");
    assert_int_equal(join_node_as(&joiner, name, seed, NULL), SYN_OK);
    joiner_fini(&joiner);
}

static void
guest_fini(struct guest *guest)
{
    guest->client = syn_client_free(guest->client);
}

static void
limit(const struct guest *guest, const char *body)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/accounts/%s/quota", guest->name);
    must(guest->house->client, "PUT", path, body, NULL);
}

/* Create a job in the guest's region. Returns the code; ret_id[SYN_ID_MAX] may be NULL. */
static int
create(const struct guest *guest, struct syn_client *client, const char *more, char *ret_id)
{
    char spec[256];
    char body[640];
    SYN_JSON(job);
    int rc;

    (void)snprintf(spec, sizeof(spec), ",'region':'%s'%s", guest->name, more);
    job_body(body, sizeof(body), guest->cid, "job", spec);
    rc = call(client, "POST", "/v1/training", body, NULL, &job);
    if (rc == SYN_OK && ret_id != NULL)
        (void)syn_str_copy(ret_id, SYN_ID_MAX, syn_document_id(job));
    return rc;
}

static void
await_job(const struct guest *guest, const char *id, const char *state, const char *reason)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/training/%s", id);
    for (int i = 0; i < 3000; i++) {
        SYN_JSON(job);

        must(guest->client, "GET", path, NULL, &job);
        if (syn_str_eq(syn_document_state(job), state) &&
            syn_str_eq(syn_json_str(syn_document_status(job), "reason", ""), reason))
            return;
        (void)usleep(10000);
    }
    fail_msg("%s never became %s, %s", id, state, reason);
}

static int64_t
held(const struct guest *guest, const char *what)
{
    char path[64];
    SYN_JSON(account);

    must(guest->client, "GET", "/v1/accounts/me", NULL, &account);
    (void)snprintf(path, sizeof(path), "status.usage.%s", what);
    return json_integer_value(syn_json_at(account, path));
}

static void
what_can_never_be_is_refused(void **state)
{
    struct guest guest;
    SYN_JSON(plan);
    char body[640];

    guest_init(&guest, *state, "never", 101);
    limit(&guest, "{'jobs':5,'cpu_millicores':'2','memory_bytes':'8gb','gpus':0}");
    assert_int_equal(create(&guest, guest.client, ",'cpu_millicores':2001", NULL), SYN_E_LIMIT);
    assert_int_equal(create(&guest, guest.client, ",'workers':3", NULL), SYN_E_LIMIT);
    assert_int_equal(create(&guest, guest.client, ",'memory_bytes':'9gb'", NULL), SYN_E_LIMIT);
    assert_int_equal(create(&guest, guest.client, ",'gpus':1", NULL), SYN_E_LIMIT);
    assert_non_null(
        strstr(syn_json_str(syn_client_error(guest.client), "message", ""), "quota of GPUs is 0"));
    assert_non_null(
        strstr(syn_json_str(syn_client_error(guest.client), "hint", ""), "synor account quota"));
    job_body(body, sizeof(body), guest.cid, "plan", ",'region':'never','workers':3");
    must(guest.client, "POST", "/v1/training?plan=true", body, &plan);
    assert_string_equal(syn_json_str(plan, "reason", ""), "quota");
    assert_false(syn_json_bool(plan, "placeable", true));
    assert_int_equal(create(&guest, guest.client, ",'workers':2", NULL), SYN_OK);
    guest_fini(&guest);
}

static void
what_cannot_be_now_waits(void **state)
{
    struct guest guest;
    char first[SYN_ID_MAX];
    char second[SYN_ID_MAX];
    char path[128];
    SYN_JSON(why);

    guest_init(&guest, *state, "waits", 102);
    limit(&guest, "{'cpu_millicores':1500}");
    assert_int_equal(create(&guest, guest.client, "", first), SYN_OK);
    await_job(&guest, first, "starting", "assigned");
    assert_int_equal(create(&guest, guest.client, "", second), SYN_OK);
    await_job(&guest, second, "pending", "quota");
    assert_int_equal(held(&guest, "jobs"), 1);
    assert_int_equal(held(&guest, "cpu_millicores"), 1000);
    (void)snprintf(path, sizeof(path), "/v1/training/%s/explain", second);
    must(guest.client, "GET", path, NULL, &why);
    assert_string_equal(
        syn_json_str(json_array_get(json_object_get(why, "why"), 1), "dimension", ""), "quota");
    limit(&guest, "{'cpu_millicores':2000}"); /* raised: it starts by itself */
    await_job(&guest, second, "starting", "assigned");
    limit(&guest, "{'cpu_millicores':0}"); /* lowered: what runs goes on */
    await_job(&guest, first, "starting", "assigned");
    assert_int_equal(held(&guest, "jobs"), 2);
    guest_fini(&guest);
}

struct rush {
    const struct guest *guest;
    struct syn_client *client;
    pthread_t thread;
    int made;
};

static void *
create_many(void *arg)
{
    struct rush *rush = arg;

    for (int i = 0; i < 5; i++)
        rush->made += create(rush->guest, rush->client, "", NULL) == SYN_OK;
    return NULL;
}

static size_t
starting_of(const struct guest *guest)
{
    SYN_JSON(list);
    size_t starting = 0, i;
    json_t *job;

    must(guest->client, "GET", "/v1/training", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 20);
    json_array_foreach (json_object_get(list, "items"), i, job)
        starting += syn_str_eq(syn_document_state(job), "starting");
    return starting;
}

/* Twenty jobs at once where three are allowed: three start, the others wait. */
static void
nobody_gets_past_it_in_a_rush(void **state)
{
    struct house *house = *state;
    struct guest guest;
    struct rush rushes[4];
    size_t i;

    guest_init(&guest, house, "rush", 103);
    limit(&guest, "{'jobs':3}");
    for (i = 0; i < SYN_LEN(rushes); i++) {
        char token[SYN_TOKEN_LEN + 1];

        new_token(house->client, "rush", "tenant", "", token);
        rushes[i] = (struct rush){.guest = &guest, .client = client_of(house, token)};
        await_token(rushes[i].client);
    }
    for (i = 0; i < SYN_LEN(rushes); i++)
        assert_int_equal(pthread_create(&rushes[i].thread, NULL, create_many, &rushes[i]), 0);
    for (i = 0; i < SYN_LEN(rushes); i++) {
        assert_int_equal(pthread_join(rushes[i].thread, NULL), 0);
        assert_int_equal(rushes[i].made, 5);
        (void)syn_client_free(rushes[i].client);
    }
    for (i = 0; i < 3000 && starting_of(&guest) < 3; i++)
        (void)usleep(10000);
    (void)usleep(300000); /* time for a fourth */
    assert_int_equal(starting_of(&guest), 3);
    assert_int_equal(held(&guest, "jobs"), 3);
    guest_fini(&guest);
}

/* Store a file of so many bytes; its CID into ret_cid. Returns the commit's code. */
static int
store(const struct guest *guest, char fill, size_t bytes, const char *commit, char *ret_cid)
{
    char text[4096];
    char id[SYN_ID_MAX];
    char path[128];
    SYN_JSON(answer);
    int rc;

    assert_true(bytes < sizeof(text));
    memset(text, fill, bytes);
    text[bytes] = '\0';
    new_upload(guest->client, "{'kind':'file'}", id);
    put_file(guest->client, id, "", text);
    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", id);
    rc = call(guest->client, "POST", path, commit, NULL, &answer);
    if (rc == SYN_OK)
        (void)syn_str_copy(ret_cid, SYN_CID_TEXT_MAX, syn_json_str(answer, "cid", ""));
    return rc;
}

static int
name(const struct guest *guest, struct syn_client *client, const char *what, const char *cid)
{
    char path[128];
    char body[192];

    (void)snprintf(path, sizeof(path), "/v1/names?name=%s", what);
    (void)snprintf(body, sizeof(body), "{'cid':'%s'}", cid);
    return call(client != NULL ? client : guest->client, "PUT", path, body, NULL, NULL);
}

static void
storage_is_what_names_and_pins_keep(void **state)
{
    struct guest guest;
    char a[SYN_CID_TEXT_MAX];
    char b[SYN_CID_TEXT_MAX];
    char c[SYN_CID_TEXT_MAX];
    char path[192];

    guest_init(&guest, *state, "stores", 104);
    limit(&guest, "{'storage_bytes':3000}");
    assert_int_equal(store(&guest, 'a', 2000, "{'name':'a'}", a), SYN_OK);
    assert_int_equal(held(&guest, "storage_bytes"), 2000);
    assert_int_equal(name(&guest, NULL, "again", a), SYN_OK); /* the same content counts once */
    assert_int_equal(held(&guest, "storage_bytes"), 2000);
    assert_int_equal(store(&guest, 'b', 1500, "{'name':'b'}", b), SYN_E_LIMIT);
    assert_int_equal(store(&guest, 'b', 1500, "{'pin':true}", b), SYN_E_LIMIT);
    assert_int_equal(store(&guest, 'b', 1500, "{}", b), SYN_OK); /* kept by nothing */
    assert_int_equal(name(&guest, NULL, "b", b), SYN_E_LIMIT);
    (void)snprintf(path, sizeof(path), "/v1/pins/%s", b);
    assert_int_equal(call(guest.client, "PUT", path, NULL, NULL, NULL), SYN_E_LIMIT);
    assert_int_equal(store(&guest, 'c', 1000, "{'pin':true}", c), SYN_OK);
    assert_int_equal(held(&guest, "storage_bytes"), 3000);
    must(guest.client, "DELETE", "/v1/names?name=again", NULL, NULL);
    assert_int_equal(name(&guest, NULL, "a", b), SYN_OK); /* what a name held before is let go */
    assert_int_equal(held(&guest, "storage_bytes"), 2500);
    guest_fini(&guest);
}

struct namer {
    const struct guest *guest;
    struct syn_client *client;
    char cid[SYN_CID_TEXT_MAX];
    char what[16];
    pthread_t thread;
    int code;
};

static void *
name_one(void *arg)
{
    struct namer *namer = arg;

    namer->code = name(namer->guest, namer->client, namer->what, namer->cid);
    return NULL;
}

/* Eight contents of 1000 bytes each are named at once where 3000 are allowed. */
static void
storage_is_not_exceeded_in_a_rush(void **state)
{
    struct house *house = *state;
    struct guest guest;
    struct namer namers[8];
    int named = 0;

    guest_init(&guest, house, "hoards", 105);
    limit(&guest, "{'storage_bytes':3500}");
    for (size_t i = 0; i < SYN_LEN(namers); i++) {
        char token[SYN_TOKEN_LEN + 1];

        new_token(house->client, "hoards", "tenant", "", token);
        namers[i] = (struct namer){.guest = &guest, .client = client_of(house, token)};
        await_token(namers[i].client);
        (void)snprintf(namers[i].what, sizeof(namers[i].what), "n%zu", i);
        assert_int_equal(store(&guest, (char)('k' + (int)i), 1000, "{}", namers[i].cid), SYN_OK);
    }
    for (size_t i = 0; i < SYN_LEN(namers); i++)
        assert_int_equal(pthread_create(&namers[i].thread, NULL, name_one, &namers[i]), 0);
    for (size_t i = 0; i < SYN_LEN(namers); i++) {
        assert_int_equal(pthread_join(namers[i].thread, NULL), 0);
        assert_true(namers[i].code == SYN_OK || namers[i].code == SYN_E_LIMIT);
        named += namers[i].code == SYN_OK;
        (void)syn_client_free(namers[i].client);
    }
    assert_int_equal(named, 3);
    assert_int_equal(held(&guest, "storage_bytes"), 3000);
    guest_fini(&guest);
}

static void
operators_set_it_with_care(void **state)
{
    static const char *const bad[] = {"{'jobs':-1}", "{'cpus':1}", "{'gpus':'many'}",
                                      "{'memory_bytes':'1.5.5gb'}"};
    struct guest guest;
    char revision[24];
    struct syn_call change = {
        .method = "PUT", .if_match = revision, .path = "/v1/accounts/careful/quota"};
    SYN_JSON(account);
    SYN_JSON(body);
    SYN_JSON(after);

    guest_init(&guest, *state, "careful", 106);
    assert_int_equal(call(guest.client, "PUT", "/v1/accounts/me/quota", "{'jobs':100}", NULL, NULL),
                     SYN_E_FORBIDDEN);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_int_equal(
            call(guest.house->client, "PUT", "/v1/accounts/careful/quota", bad[i], NULL, NULL),
            SYN_E_INVALID);
    must(guest.house->client, "GET", "/v1/accounts/careful", NULL, &account);
    (void)snprintf(revision, sizeof(revision), "%lld",
                   (long long)syn_json_i64(account, "revision", 0));
    body = json_pack("{s:i}", "jobs", 7);
    change.body = body;
    assert_int_equal(syn_client_call(guest.house->client, &change, &after, NULL), SYN_OK);
    assert_int_equal(json_integer_value(syn_json_at(after, "spec.quota.jobs")), 7);
    assert_int_equal(syn_json_i64(after, "generation", 0), 2);
    assert_int_equal(syn_client_call(guest.house->client, &change, NULL, NULL), SYN_E_PRECONDITION);
    guest_fini(&guest);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_can_never_be_is_refused, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_now_waits, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(nobody_gets_past_it_in_a_rush, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(storage_is_what_names_and_pins_keep, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(storage_is_not_exceeded_in_a_rush, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(operators_set_it_with_care, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
