/* What nodes are told of services: those of the accounts that they run instances of, as their
 * replicas become ready. */
#include "usage_testing.h"

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* One stream. */
struct listener {
    struct run *run;
    bool (*heard)(struct listener *listener, const char *event, const json_t *doc);
    unsigned services; /* of the snapshot */
    bool synced;
};

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct listener *listener = arg;
    SYN_JSON(doc);

    if (syn_json_parse_object(event->data, event->len, &doc, err) < 0)
        return SYN_E_CORRUPT;
    listener->services += !listener->synced && syn_str_eq(event->name, "service");
    if (syn_str_eq(event->name, "synced"))
        listener->synced = true;
    return listener->heard(listener, event->name, doc) ? SYN_CLIENT_STOP : SYN_OK;
}

static int
listen_to(struct listener *listener, const char *node)
{
    char path[128];
    struct syn_err err = {0};

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/services", node);
    return syn_client_follow(listener->run->agent, path, NULL, on_event, listener, &err);
}

/* A service of one replica, on the node of the same name. */
static void
service_init(struct run *run, struct house *house, const char *name, uint8_t seed)
{
    char cid[SYN_CID_TEXT_MAX], text[640];

    run_join(run, house, name, seed, NULL);
    store_source(run->tenant, cid);
    (void)snprintf(text, sizeof(text),
                   "{'name':'web','spec':{'image':'synor://%s','region':'%s','port':8080,"
                   "'cpu_millicores':100}}",
                   cid, name);
    run_serve(run, text);
}

static const json_t *
endpoint(const json_t *doc)
{
    return json_array_get(json_object_get(doc, "endpoints"), 0);
}

/* At `synced` the agent says that the replica is ready, and that is what is heard next. */
static bool
gets_ready(struct listener *listener, const char *event, const json_t *doc)
{
    char path[128];

    if (syn_str_eq(event, "synced")) {
        (void)snprintf(path, sizeof(path), "/v1/instances/%s/status", listener->run->instance);
        must(listener->run->house->client, "POST", path,
             "{'state':'running','reason':'running','message':'m','address':'10.128.0.2',"
             "'port':8080,'health':{'ready':true,'message':'m'}}",
             NULL);
        return false;
    }
    if (!syn_str_eq(event, "service"))
        return false;
    assert_string_equal(syn_json_str(doc, "name", ""), "web");
    assert_string_equal(syn_json_str(doc, "id", ""), listener->run->job);
    assert_string_equal(syn_json_str(doc, "account_name", ""), listener->run->name);
    assert_int_equal(syn_json_i64(doc, "port", 0), 8080);
    assert_null(json_object_get(doc, "spec")); /* nothing that names do not need */
    assert_string_equal(syn_json_str(endpoint(doc), "node", ""), listener->run->node);
    return listener->synced && syn_json_bool(endpoint(doc), "ready", false) &&
           syn_str_eq(syn_json_str(endpoint(doc), "address", ""), "10.128.0.2");
}

static bool
until_synced(struct listener *listener, const char *event, const json_t *doc)
{
    (void)event;
    (void)doc;
    return listener->synced;
}

static bool
knows_its_account(struct listener *listener, const char *event, const json_t *doc)
{
    if (!syn_str_eq(event, "instance"))
        return false;
    assert_string_equal(syn_json_str(doc, "account_name", ""), listener->run->name);
    return true;
}

static void
nodes_hear_of_their_accounts(void **state)
{
    struct house *house = *state;
    struct run here, there;
    struct listener listener = {.run = &here, .heard = gets_ready};
    struct listener stranger = {.run = &there, .heard = until_synced};
    char path[128];
    struct syn_err err = {0};

    service_init(&here, house, "here", 1);
    run_join(&there, house, "there", 2, NULL); /* nothing of anybody's runs there */
    assert_int_equal(listen_to(&listener, here.node), SYN_OK);
    assert_int_equal(listener.services, 1);
    assert_int_equal(listen_to(&stranger, there.node), SYN_OK);
    assert_int_equal(stranger.services, 0);
    assert_int_equal(listen_to(&stranger, here.node), SYN_E_FORBIDDEN);
    listener = (struct listener){.run = &here, .heard = knows_its_account};
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/instances", here.node);
    assert_done(syn_client_follow(here.agent, path, NULL, on_event, &listener, &err), &err);
    run_fini(&here);
    run_fini(&there);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_hear_of_their_accounts, house_setup, house_teardown),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
