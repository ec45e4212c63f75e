/* Images as clients of the API see them: pulled, listed, kept, forgotten, refused. */
#include <synor/base/str.h>
#include <synor/infra/oci_layout.h>
#include <synor/infra/registry_testing.h>

#include "server_testing.h"

#define AT_ONCE 4 /* pulls of one account */

struct rig {
    struct house *house;
    struct fake *fake;
    struct fake_image image;
};

static int
setup(void **state)
{
    struct rig *rig = syn_calloc(1, sizeof(*rig));
    void *house;

    assert_non_null(rig);
    assert_int_equal(house_setup(&house), 0);
    rig->house = house;
    rig->fake = fake_new();
    fake_image(rig->fake, "team/web", 2, 5000, syn_oci_architecture(), &rig->image);
    *state = rig;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *rig = *state;
    void *house = rig->house;

    (void)fake_free(rig->fake);
    syn_free(rig);
    return house_teardown(&house);
}

/* Ask for something and see it to its end; its document. */
static void
see(struct syn_client *client, const char *route, const char *body, json_t **ret)
{
    json_t *pull = NULL;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s?wait_ms=500", route);
    must(client, "POST", path, body, &pull);
    while (syn_str_eq(syn_json_str(pull, "state", ""), "running")) {
        (void)snprintf(path, sizeof(path), "/v1/images/pulls/%s?wait_ms=1000",
                       syn_json_str(pull, "id", "?"));
        json_decref(pull);
        must(client, "GET", path, NULL, &pull);
    }
    *ret = pull;
}

static void
fetch(struct syn_client *client, const char *body, json_t **ret)
{
    see(client, "/v1/images", body, ret);
}

static void
pull_web(struct rig *rig, struct syn_client *client, json_t **ret)
{
    char body[256];

    (void)snprintf(body, sizeof(body), "{'ref':'%s/team/web:1'}", rig->fake->host);
    fake_settle(rig->fake);
    fetch(client, body, ret);
    fake_settle(rig->fake);
}

static void
test_pulled_and_forgotten(void **state)
{
    struct rig *rig = *state;
    struct syn_client *client = rig->house->client;
    char path[256], cid[SYN_CID_TEXT_MAX], ref[SYN_IMAGE_REF_MAX];
    struct syn_err err = {0};
    SYN_JSON(pull);
    SYN_JSON(again);
    SYN_JSON(found);
    SYN_JSON(list);
    const json_t *image;

    pull_web(rig, client, &pull);
    assert_string_equal(syn_json_str(pull, "state", ""), "done");
    image = json_object_get(pull, "image");
    assert_string_equal(syn_json_str(image, "digest", ""), rig->image.manifest);
    assert_string_equal(syn_json_str(image, "source", ""), "registry");
    (void)snprintf(path, sizeof(path), "/v1/images/lookup?name=%s/team/web%%3A1", rig->fake->host);
    must(client, "GET", path, NULL, &found);
    assert_string_equal(syn_json_str(found, "cid", "?"), syn_json_str(image, "cid", ""));
    /* Again: its layers are there. */
    pull_web(rig, client, &again);
    assert_int_equal(rig->image.blobs[0]->asked, 1);
    must(client, "GET", "/v1/images", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 1);
    /* Workloads find it by its reference, also by the digest that it has, and by no other. */
    (void)snprintf(ref, sizeof(ref), "%s/team/web:1@%s", rig->fake->host, rig->image.manifest);
    assert_done(
        srv_image_resolve(rig->house->server, rig->house->server->operator_id, ref, cid, &err),
        &err);
    assert_string_equal(cid, syn_json_str(image, "cid", ""));
    ref[strlen(ref) - 1] ^= 1;
    assert_code(
        srv_image_resolve(rig->house->server, rig->house->server->operator_id, ref, cid, &err),
        SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, "image pull"));
    /* What nobody else names goes with it. */
    must(client, "POST", "/v1/content/gc", "{'grace_ms':0}", NULL);
    (void)snprintf(path, sizeof(path), "/v1/content/%s", syn_json_str(image, "cid", ""));
    must(client, "GET", path, NULL, NULL);
    (void)snprintf(path, sizeof(path), "/v1/images?name=%s/team/web%%3A1", rig->fake->host);
    must(client, "DELETE", path, NULL, NULL);
    assert_int_equal(call(client, "DELETE", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    must(client, "POST", "/v1/content/gc", "{'grace_ms':0}", NULL);
    (void)snprintf(path, sizeof(path), "/v1/content/%s", syn_json_str(image, "cid", ""));
    assert_int_equal(call(client, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
}

static void
test_accounts_are_apart(void **state)
{
    struct rig *rig = *state;
    struct syn_client *one = tenant(rig->house, "one", "tenant");
    char path[128];
    SYN_JSON(pull);
    SYN_JSON(list);

    pull_web(rig, rig->house->client, &pull);
    (void)snprintf(path, sizeof(path), "/v1/images/pulls/%s", syn_json_str(pull, "id", "?"));
    assert_int_equal(call(one, "GET", path, NULL, NULL, NULL), SYN_E_NOTFOUND);
    must(one, "GET", "/v1/images", NULL, &list);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    json_decref(pull);
    pull = NULL;
    /* And what only this machine can reach is not a tenant's. */
    pull_web(rig, one, &pull);
    assert_string_equal(syn_json_str(json_object_get(pull, "error"), "code", ""), "forbidden");
    one = syn_client_free(one);
}

static void
test_quota(void **state)
{
    struct rig *rig = *state;
    struct syn_client *client = rig->house->client;
    SYN_JSON(pull);

    must(client, "PUT", "/v1/accounts/me/quota", "{'storage_bytes':5000}", NULL);
    pull_web(rig, client, &pull);
    assert_string_equal(syn_json_str(json_object_get(pull, "error"), "code", ""), "limit-exceeded");
    assert_int_equal(fake_seen(rig->fake, "/blobs/"), 0);
}

static void
test_taken_in(void **state)
{
    struct rig *rig = *state;
    struct syn_client *client = rig->house->client;
    char body[512], cid[SYN_CID_TEXT_MAX];
    struct syn_err err = {0};
    SYN_JSON(pull);
    SYN_JSON(taken);
    SYN_JSON(bad);

    pull_web(rig, client, &pull);
    (void)snprintf(body, sizeof(body), "{'cid':'%s','name':'images/web'}",
                   syn_json_str(json_object_get(pull, "image"), "cid", ""));
    fetch(client, body, &taken);
    assert_string_equal(syn_json_str(json_object_get(taken, "image"), "ref", ""),
                        "synor://images/web");
    assert_done(srv_image_resolve(rig->house->server, rig->house->server->operator_id,
                                  "synor://images/web", cid, &err),
                &err);
    assert_string_equal(cid, syn_json_str(json_object_get(taken, "image"), "cid", ""));
    store_source(client, cid);
    (void)snprintf(body, sizeof(body), "{'cid':'%s','name':'images/x'}", cid);
    fetch(client, body, &bad);
    assert_string_equal(syn_json_str(json_object_get(bad, "error"), "code", ""), "invalid");
}

/* Under the name that it was pulled by, and as content alone; and what another account has not. */
static void
test_sent(void **state)
{
    struct rig *rig = *state;
    struct syn_client *client = rig->house->client;
    char body[512];
    SYN_JSON(pull);
    SYN_JSON(sent);
    SYN_JSON(again);

    pull_web(rig, client, &pull);
    (void)snprintf(body, sizeof(body), "{'image':'%s/team/web:1','ref':'%s/team/new:1'}",
                   rig->fake->host, rig->fake->host);
    see(client, "/v1/images/pushes", body, &sent);
    assert_string_equal(syn_json_str(sent, "state", ""), "done");
    assert_int_equal(syn_json_i64(json_object_get(sent, "image"), "layers_mounted", 0), 2);
    (void)snprintf(body, sizeof(body), "{'image':'%s','ref':'%s/team/cid:1'}",
                   syn_json_str(json_object_get(pull, "image"), "cid", ""), rig->fake->host);
    see(client, "/v1/images/pushes", body, &again);
    assert_int_equal(syn_json_i64(json_object_get(again, "image"), "layers_sent", 0), 2);
    assert_non_null(fake_find(rig->fake, "/v2/team/cid/manifests/1"));
    assert_int_equal(call(client, "POST", "/v1/images/pushes",
                          "{'image':'images/none','ref':'127.0.0.1:1/x:1'}", NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(
        call(client, "POST", "/v1/images/pushes", "{'image':'images/none','ref':'A'}", NULL, NULL),
        SYN_E_INVALID);
}

static void
test_bad_requests(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "{'ref':'A'}",
        "{'ref':'a','name':'b'}",
        "{'ref':'a','cid':'b','name':'c'}",
        "{'name':'a'}",
        "{'cid':'a'}",
        "{'cid':'a','name':'A'}",
        "{'ref':'a','credentials':{'auth':'a b'}}",
        "{'ref':'a','credentials':{'username':'a:b'}}",
        "{'ref':'a','credentials':{'token':'b'}}",
    };
    struct rig *rig = *state;

    for (size_t i = 0; i < SYN_LEN(bodies); i++)
        assert_int_equal(call(rig->house->client, "POST", "/v1/images", bodies[i], NULL, NULL),
                         SYN_E_INVALID);
    assert_int_equal(call(rig->house->client, "POST", "/v1/images",
                          "{'cid':'no/such','name':'images/x'}", NULL, NULL),
                     SYN_E_NOTFOUND);
    assert_int_equal(call(rig->house->client, "GET", "/v1/images/pulls/x", NULL, NULL, NULL),
                     SYN_E_NOTFOUND);
}

/* A server that ended in the middle asks for what it does not have, and no more. */
static void
test_goes_on(void **state)
{
    struct rig *rig = *state;
    struct house *house = rig->house;
    struct fake_image image; /* which no test has had yet */
    char body[256], path[128];
    SYN_JSON(pulled);
    json_t *pull = NULL;

    fake_image(rig->fake, "team/cut", 2, 6000, syn_oci_architecture(), &image);
    image.blobs[1]->status = 503; /* until the server has ended */
    (void)syn_str_copy(image.blobs[1]->headers, FAKE_TEXT_MAX, "Retry-After: 30\r\n");
    fake_settle(rig->fake);
    (void)snprintf(body, sizeof(body), "{'ref':'%s/team/cut:1'}", rig->fake->host);
    must(house->client, "POST", "/v1/images", body, &pull);
    (void)snprintf(path, sizeof(path), "/v1/images/pulls/%s?wait_ms=50",
                   syn_json_str(pull, "id", "?"));
    while (syn_json_i64(pull, "layers_done", 0) < 1 &&
           syn_str_eq(syn_json_str(pull, "state", ""), "running")) {
        json_decref(pull);
        must(house->client, "GET", path, NULL, &pull);
    }
    json_decref(pull);
    house_close(house);
    image.blobs[1]->status = 0;
    fake_settle(rig->fake);
    house_open(house);
    fetch(house->client, body, &pulled);
    assert_string_equal(syn_json_str(pulled, "state", ""), "done");
    assert_int_equal(image.blobs[0]->asked, 1);
}

/* So many at once, and a server that stops waits for none of them. */
static void
test_limit_and_stop(void **state)
{
    struct rig *rig = *state;
    struct house *house = rig->house;
    char body[256];

    rig->image.tag->deed = FAKE_SILENT;
    fake_settle(rig->fake);
    (void)snprintf(body, sizeof(body), "{'ref':'%s/team/web:1'}", rig->fake->host);
    for (int i = 0; i < AT_ONCE; i++)
        must(house->client, "POST", "/v1/images", body, NULL);
    assert_int_equal(call(house->client, "POST", "/v1/images", body, NULL, NULL), SYN_E_LIMIT);
    house_close(house);
    house_open(house);
    must(house->client, "GET", "/v1/images", NULL, NULL);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pulled_and_forgotten),
        TEST(test_accounts_are_apart),

        TEST(test_taken_in),
        TEST(test_sent),
        TEST(test_bad_requests),
        TEST(test_goes_on),
        TEST(test_limit_and_stop),
        TEST(test_quota), /* last: it stays in the folder */
    };

    syn_json_init();
    return cmocka_run_group_tests_name("daemon/images", tests, NULL, NULL);
}
