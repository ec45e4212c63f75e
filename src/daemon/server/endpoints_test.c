/* What nodes are told of services: those of the accounts that they run instances of, as their
 * replicas become ready, and those of others that these may call; and who they may say they are. */
#include "loads_priv.h"
#include "usage_testing.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

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
    assert_true(syn_str_starts(syn_json_str(doc, "address", ""), "10.127."));
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

/* The image by a name of the account's. */
static void
keep_image(struct run *run)
{
    char cid[SYN_CID_TEXT_MAX], text[256];

    store_source(run->tenant, cid);
    (void)snprintf(text, sizeof(text), "{'cid':'%s'}", cid);
    must(run->tenant, "PUT", "/v1/names?name=web", text, NULL);
}

/* --- others' services ------------------------------------------------------------------------- */

static bool
until_told(struct listener *listener, const char *event, const json_t *doc)
{
    const json_t *mesh = json_object_get(doc, "mesh");

    if (!syn_str_eq(event, "service") || !syn_str_eq(syn_json_str(doc, "account_name", ""), "east"))
        return false;
    assert_string_equal(syn_json_str(mesh, "name", ""), "web.east.mesh");
    assert_non_null(strstr(syn_json_str(mesh, "identity", ""), "/account/east/service/web"));
    assert_string_equal(syn_json_str(mesh, "protocol", ""), "tcp");
    assert_int_equal(json_array_size(json_object_get(mesh, "allow")), 1);
    assert_int_equal(syn_json_i64(mesh, "retries", -1), 2);
    assert_null(json_object_get(mesh, "rate")); /* it was not said */
    return listener->synced;
}

static void
allow(struct run *run, const char *entries)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "{'spec':{'mesh':{'allow':%s,'retries':2}}}", entries);
    must(run->tenant, "PATCH", "/v1/services/web", text, NULL);
}

/* At `synced` it opens to us, and that is what is heard next. */
static bool
opens(struct listener *listener, const char *event, const json_t *doc)
{
    if (syn_str_eq(event, "synced")) {
        assert_int_equal(listener->services, 1); /* our own */
        must(listener->run->tenant, "POST", "/v1/services",
             "{'name':'quiet','spec':{'image':'synor://web','port':8080,'replicas':0}}", NULL);
        allow(listener->run, "['west/web']");
    }
    assert_string_not_equal(event, "gone"); /* of what we may not see, not even that */
    return until_told(listener, event, doc);
}

/* It is in the snapshot, and closes to us. */
static bool
closes(struct listener *listener, const char *event, const json_t *doc)
{
    if (syn_str_eq(event, "synced")) {
        assert_int_equal(listener->services, 2);
        allow(listener->run, "['own']");
    }
    return syn_str_eq(event, "gone") && syn_str_eq(syn_json_str(doc, "id", ""), listener->run->job);
}

static void
nodes_hear_of_what_their_accounts_may_call(void **state)
{
    struct house *house = *state;
    struct run here, there, nobody;
    struct listener listener = {.run = &here, .heard = opens};
    char path[128];
    struct syn_err err = {0};

    service_init(&here, house, "east", 3);
    keep_image(&here);
    service_init(&there, house, "west", 4);
    run_join(&nobody, house, "nobody", 5, NULL);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/services", there.node);
    assert_done(syn_client_follow(there.agent, path, NULL, on_event, &listener, &err), &err);
    listener = (struct listener){.run = &nobody, .heard = until_synced};
    assert_int_equal(listen_to(&listener, nobody.node), SYN_OK);
    assert_int_equal(listener.services, 0); /* it is open, but not to who is not there */
    listener = (struct listener){.run = &here, .heard = closes};
    assert_done(syn_client_follow(there.agent, path, NULL, on_event, &listener, &err), &err);
    listener = (struct listener){.run = &there, .heard = until_synced};
    assert_int_equal(listen_to(&listener, there.node), SYN_OK);
    assert_int_equal(listener.services, 1);
    run_fini(&here);
    run_fini(&there);
    run_fini(&nobody);
}

/* --- where meshes are ------------------------------------------------------------------------- */

/* At `synced` its mesh moves: the stream ends, and the next one knows where it is. */
static bool
moves(struct listener *listener, const char *event, const json_t *doc)
{
    char path[128];

    if (syn_str_eq(event, "synced")) {
        (void)snprintf(path, sizeof(path), "/v1/nodes/%s/heartbeat", listener->run->node);
        must(listener->run->house->client, "POST", path, "{'mesh':'127.0.0.1:4001'}", NULL);
        must(listener->run->house->client, "POST", path, "{}", NULL); /* of an agent that starts */
    }
    return syn_str_eq(event, "service") &&
           syn_str_eq(syn_json_str(endpoint(doc), "mesh", ""), "127.0.0.1:4001");
}

static void
nodes_hear_where_meshes_are(void **state)
{
    static const char *const bad[] = {"nowhere:80", "127.0.0.1",        "127.0.0.1:0",
                                      "::1:80",     "127.0.0.1:80 ssl", "127.0.0.01:80"};
    struct house *house = *state;
    struct run run;
    struct listener listener = {.run = &run, .heard = moves};
    char path[128], text[128];
    int rc = SYN_OK;

    service_init(&run, house, "moving", 6);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/heartbeat", run.node);
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        (void)snprintf(text, sizeof(text), "{'mesh':'%s'}", bad[i]);
        assert_int_equal(call(run.agent, "POST", path, text, NULL, NULL), SYN_E_INVALID);
    }
    do { /* it is ended when it is told wrong */
        rc = listen_to(&listener, run.node);
    } while (rc != SYN_OK);
    run_fini(&run);
}

/* --- identities ------------------------------------------------------------------------------- */

/* The code of asking for it, for a service or an account. */
static int
ask_identity(struct run *run, struct syn_client *client, const char *what, const char *id,
             json_t **ret)
{
    char path[128];
    SYN_BUF(key);
    SYN_BUF(csr);
    SYN_JSON(body);
    struct syn_err err = {0};

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/identities", run->node);
    assert_done(syn_tls_request_create(NULL, 0, &key, &csr, &err), &err);
    assert_done(syn_json_pack(&body, &err, "{s:s, s:s}", what, id, "csr", syn_buf_text(&csr)),
                &err);
    return call_json(client, "POST", path, body, ret);
}

static X509 *
cert_of(const json_t *answer, const char *key)
{
    const char *pem = syn_json_str(answer, key, "");
    BIO *bio = BIO_new_mem_buf(pem, (int)strlen(pem));
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free_all(bio);
    assert_non_null(cert);
    return cert;
}

static void
nodes_get_who_runs_there(void **state)
{
    struct house *house = *state;
    struct run here, there;
    struct syn_tls_look look;
    struct syn_err err = {0};
    const char *pem;
    SYN_JSON(answer);
    SYN_JSON(jobs);
    SYN_JSON(service);
    X509 *cert, *ca;

    service_init(&here, house, "who", 7);
    service_init(&there, house, "other", 8);
    assert_int_equal(ask_identity(&here, here.agent, "service", here.job, &answer), SYN_OK);
    cert = cert_of(answer, "certificate");
    ca = cert_of(answer, "ca");
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(ca)), 1);
    assert_int_equal(X509_check_host(cert, "web.who.mesh", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "v3.web.who.mesh", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "api.who.mesh", 0, 0, NULL), 0);
    X509_free(cert);
    X509_free(ca);
    pem = syn_json_str(answer, "certificate", "");
    assert_done(syn_tls_cert_look(pem, strlen(pem), &look, &err), &err);
    assert_in_range(look.until_ms - syn_wall_ms(syn_world_system()), INT64_C(3000) * 1000,
                    INT64_C(3600) * 1000);

    must(here.tenant, "GET", "/v1/services/web", NULL, &service);
    assert_int_equal(
        ask_identity(&here, here.agent, "account", syn_json_str(service, "account", ""), &jobs),
        SYN_OK);
    assert_string_equal(syn_json_str(jobs, "name", ""), "who.mesh");
    cert = cert_of(jobs, "certificate"); /* a service's name is none of a job's */
    assert_int_equal(X509_check_host(cert, "web.who.mesh", 0, 0, NULL), 0);
    X509_free(cert);

    /* Nobody is what he does not run, or what another node is. */
    assert_int_equal(ask_identity(&here, here.agent, "service", there.job, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(
        ask_identity(&there, there.agent, "account", syn_json_str(service, "account", ""), NULL),
        SYN_E_FORBIDDEN);
    assert_int_equal(ask_identity(&here, there.agent, "service", here.job, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(ask_identity(&here, here.tenant, "service", here.job, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(ask_identity(&here, here.agent, "name", "web", NULL), SYN_E_INVALID);
    must(here.tenant, "POST", "/v1/services/web/stop", NULL, NULL);
    end(&here, 0);
    assert_int_equal(ask_identity(&here, here.agent, "service", here.job, NULL), SYN_E_FORBIDDEN);
    run_fini(&here);
    run_fini(&there);
}

static unsigned
held(const struct run *run)
{
    struct syn_server *server = run->house->server;
    struct srv_loads_view view;

    srv_loads_look(server->loads, run->job, syn_wall_ms(server->world), &view);
    return view.sight.held;
}

static int
tell_held(const struct run *by, const char *node, const char *service, int count)
{
    char path[128], body[160];

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/held", node);
    (void)snprintf(body, sizeof(body), "{'services':[{'service':'%s','count':%d}]}", service,
                   count);
    return call(by->agent, "POST", path, body, NULL, NULL);
}

/* What waits at a node wakes what its instances may call, and may sleep. */
static void
nodes_tell_what_waits(void **state)
{
    struct house *house = *state;
    struct run here, there;

    service_init(&here, house, "hold", 11);
    run_join(&there, house, "else", 12, NULL);
    assert_int_equal(tell_held(&here, here.node, here.job, 2), SYN_OK);
    assert_int_equal(held(&here), 0); /* it never sleeps */
    must(here.tenant, "PATCH", "/v1/services/web",
         "{'spec':{'autoscale':{'min':0,'max':2,'metrics':[{'metric':'inflight','target':'10'}]}}}",
         NULL);
    assert_int_equal(tell_held(&there, there.node, here.job, 3), SYN_OK);
    assert_int_equal(held(&here), 0);
    assert_int_equal(tell_held(&there, here.node, here.job, 3), SYN_E_FORBIDDEN);
    assert_int_equal(tell_held(&here, here.node, "svc-none", 3), SYN_OK);
    assert_int_equal(tell_held(&here, here.node, here.job, -1), SYN_E_INVALID);
    assert_int_equal(tell_held(&here, here.node, here.job, 2), SYN_OK);
    assert_int_equal(held(&here), 2);
    assert_int_equal(tell_held(&here, here.node, here.job, 0), SYN_OK);
    assert_int_equal(held(&here), 0);
    run_fini(&here);
    run_fini(&there);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_hear_of_their_accounts, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(nodes_hear_of_what_their_accounts_may_call, house_setup,
                                        house_teardown),
        cmocka_unit_test_setup_teardown(nodes_hear_where_meshes_are, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(nodes_get_who_runs_there, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(nodes_tell_what_waits, house_setup, house_teardown),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
