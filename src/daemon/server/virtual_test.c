/* Virtual addresses: each service with a port has one, nobody else's, for as long as it is there.
 */
#include "mesh_priv.h"
#include "usage_testing.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_mesh.h>

#define SERVICES 24
#define ROOM     14 /* of a /28 */
#define STEPS    300

/* What there is by the model. */
struct model {
    struct syn_server *server;
    json_t *services[SERVICES]; /* NULL: it is deleted */
    char addresses[SERVICES][INET_ADDRSTRLEN];
    unsigned living;
};

static void
commit(struct model *model, struct srv_txn *txn)
{
    struct syn_err err = {0};

    if (txn->count > 0) /* who has an address keeps it: there is nothing to write */
        assert_done(srv_txn_commit(model->server, txn, NULL, &err), &err);
}

/* Deploy it, new or again. */
static void
deploy(struct model *model, size_t i)
{
    bool fresh = model->services[i] == NULL;
    char id[SYN_ID_MAX];
    struct syn_err err = {0};
    SRV_TXN(txn);
    int rc;

    (void)snprintf(id, sizeof(id), "svc-%zu", i);
    if (fresh)
        assert_done(syn_json_pack(&model->services[i], &err, "{s:s, s:{s:i}, s:{}}", "id", id,
                                  "spec", "port", 80, "status"),
                    &err);
    rc = srv_virtual_give(model->server, &txn, model->services[i], &err);
    if (fresh && model->living == ROOM) {
        assert_code(rc, SYN_E_LIMIT, &err);
        assert_non_null(strstr(err.msg, "--service-network"));
        json_decref(model->services[i]);
        model->services[i] = NULL;
        return;
    }
    assert_done(rc, &err);
    if (fresh) {
        (void)syn_str_copy(model->addresses[i], sizeof(model->addresses[i]),
                           syn_json_str(syn_document_status(model->services[i]), SRV_VIRTUAL, ""));
        model->living++;
    }
    commit(model, &txn);
}

static void
forget(struct model *model, size_t i)
{
    struct syn_err err = {0};
    SRV_TXN(txn);

    if (model->services[i] == NULL)
        return;
    assert_done(srv_virtual_take(&txn, model->services[i], &err), &err);
    commit(model, &txn);
    json_decref(model->services[i]);
    model->services[i] = NULL;
    model->living--;
}

/* Beside it is the one of IPv6 that follows from it. */
static void
check_six(const json_t *service)
{
    const json_t *status = syn_document_status(service);
    char want[SYN_MESH_SIZE6];

    assert_true(syn_mesh_address6(syn_json_str(status, SRV_VIRTUAL, ""), want));
    assert_string_equal(syn_json_str(status, SRV_VIRTUAL6, ""), want);
}

/* Everybody has what he had, of the network, and nobody else has it. */
static void
check(const struct model *model)
{
    for (size_t i = 0; i < SERVICES; i++) {
        const char *address;
        struct in_addr in;

        if (model->services[i] == NULL)
            continue;
        address = syn_json_str(syn_document_status(model->services[i]), SRV_VIRTUAL, "");
        assert_string_equal(address, model->addresses[i]);
        check_six(model->services[i]);
        assert_int_equal(inet_pton(AF_INET, address, &in), 1);
        assert_in_range(ntohl(in.s_addr), 0x0A7F0011, 0x0A7F001E);
        for (size_t j = 0; j < i; j++)
            assert_true(model->services[j] == NULL ||
                        !syn_str_eq(model->addresses[i], model->addresses[j]));
    }
}

static void
no_two_have_the_same(void **state)
{
    struct house *house = *state;
    struct model model = {.server = house->server};
    unsigned seed = 7;
    struct syn_err err = {0};

    assert_done(srv_network_parse("10.127.0.16/28", &house->server->services, &err), &err);
    for (unsigned step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand_r(&seed) % SERVICES;

        if (rand_r(&seed) % 3 > 0)
            deploy(&model, i);
        else
            forget(&model, i);
        check(&model);
    }
    for (size_t i = 0; i < SERVICES; i++)
        json_decref(model.services[i]);
}

/* An address goes with the port, and comes with it. */
static void
who_has_no_port_has_no_address(void **state)
{
    struct house *house = *state;
    struct syn_err err = {0};
    SYN_JSON(service);
    SRV_TXN(txn);

    assert_done(syn_json_pack(&service, &err, "{s:s, s:{s:i}, s:{}}", "id", "svc-a", "spec", "port",
                              0, "status"),
                &err);
    assert_done(srv_virtual_give(house->server, &txn, service, &err), &err);
    assert_null(json_object_get(syn_document_status(service), SRV_VIRTUAL));
    assert_done(syn_json_set_i64(syn_document_spec(service), "port", 80, &err), &err);
    assert_done(srv_virtual_give(house->server, &txn, service, &err), &err);
    assert_non_null(json_object_get(syn_document_status(service), SRV_VIRTUAL));
    assert_done(syn_json_set_i64(syn_document_spec(service), "port", 0, &err), &err);
    assert_done(srv_virtual_give(house->server, &txn, service, &err), &err);
    assert_null(json_object_get(syn_document_status(service), SRV_VIRTUAL));
    assert_null(json_object_get(syn_document_status(service), SRV_VIRTUAL6));
}

/* It is read as this; `base` 0: it is refused. */
static void
check_network(const char *text, uint32_t base, unsigned prefix)
{
    struct srv_network network = {0, 0};
    struct syn_err err = {0};
    int rc = srv_network_parse(text, &network, &err);

    if (base == 0) {
        assert_code(rc, SYN_E_INVALID, &err);
        assert_non_null(strstr(err.msg, "--service-network"));
        return;
    }
    assert_done(rc, &err);
    assert_int_equal(network.base, base);
    assert_int_equal(network.prefix, prefix);
}

static void
networks_are_checked(void **state)
{
    static const struct {
        const char *text;
        uint32_t base; /* 0: it is refused */
        unsigned prefix;
    } rows[] = {
        {"10.127.0.0/16", 0x0A7F0000, 16},
        {"172.20.0.0/30", 0xAC140000, 30},
        {"100.64.0.0/10", 0x64400000, 10},
        {"10.127.0.0", 0, 0},
        {"10.127.0.0/", 0, 0},
        {"10.127.0.0/7", 0, 0},
        {"10.127.0.0/31", 0, 0},
        {"10.127.0.0/16x", 0, 0},
        {"10.127.0.1/16", 0, 0},
        {"10.0.0.0/8", 0, 0},
        {"10.128.0.0/16", 0, 0},
        {"10.200.0.0/24", 0, 0},
        {"127.0.0.0/16", 0, 0},
        {"169.254.0.0/24", 0, 0},
        {"224.0.0.0/8", 0, 0},
        {"255.255.255.0/24", 0, 0},
        {"0.0.0.0/8", 0, 0},
        {"fd00::/64", 0, 0},
        {"", 0, 0},
        {"/16", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        check_network(rows[i].text, rows[i].base, rows[i].prefix);
}

static void
address_of(struct syn_client *client, char out[INET_ADDRSTRLEN])
{
    SYN_JSON(service);

    must(client, "GET", "/v1/services/web", NULL, &service);
    check_six(service);
    (void)syn_str_copy(out, INET_ADDRSTRLEN,
                       syn_json_str(syn_document_status(service), SRV_VIRTUAL, ""));
}

/* Over an update and a restart it stays; of a network that is given anew there is another one. */
static void
it_stays_with_the_service(void **state)
{
    struct house *house = *state;
    struct run run;
    char cid[SYN_CID_TEXT_MAX], text[512], was[INET_ADDRSTRLEN], now[INET_ADDRSTRLEN];
    struct syn_err err = {0};

    run_join(&run, house, "here", 1, NULL);
    store_source(run.tenant, cid);
    (void)snprintf(text, sizeof(text),
                   "{'name':'web','spec':{'image':'synor://%s','port':8080,'replicas':0}}", cid);
    must(run.tenant, "POST", "/v1/services", text, NULL);
    address_of(run.tenant, was);
    assert_true(syn_str_starts(was, "10.127."));
    must(run.tenant, "PATCH", "/v1/services/web", "{'spec':{'port':8081}}", NULL);
    address_of(run.tenant, now);
    assert_string_equal(now, was);
    house_close(house);
    house_open(house);
    address_of(run.tenant, now);
    assert_string_equal(now, was);
    assert_done(srv_virtual_open(house->server, "172.20.0.0/24", &err), &err);
    address_of(run.tenant, now);
    assert_true(syn_str_starts(now, "172.20.0."));
    run_fini(&run);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_two_have_the_same, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(who_has_no_port_has_no_address, house_setup,
                                        house_teardown),
        cmocka_unit_test(networks_are_checked),
        cmocka_unit_test_setup_teardown(it_stays_with_the_service, house_setup, house_teardown),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("virtual", tests, NULL, NULL);
}
