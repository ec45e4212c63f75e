/* Offers and capacity: who may say what a node asks, what may be said, and what it adds up to. */
#include "server_testing.h"

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* A node with two kinds of cards, one of which the price book does not know. */
struct owned {
    struct house *house;
    struct syn_client *provider; /* with a tenant's token of the provider's account */
    struct syn_client *agent;
    char path[128]; /* of the node */
    char id[SYN_ID_MAX];
};

#define CAPACITY                                                                               \
    "{'capacity':{'cpu_millicores':8000,'memory_bytes':8589934592,'scratch_bytes':4294967296," \
    "'gpus':[{'model':'h100','count':2,'vram_bytes':85899345920},"                             \
    "{'model':'abacus','count':1,'vram_bytes':1073741824}]}}"

static void
owned_init(struct owned *owned, struct house *house, const char *name, uint8_t seed)
{
    struct joiner joiner;
    char account[64], path[160];
    SYN_JSON(joined);

    *owned = (struct owned){.house = house};
    (void)snprintf(account, sizeof(account), "owner-%s", name);
    joiner_init(&joiner, house, account);
    assert_int_equal(join_node_as(&joiner, name, seed, &joined), SYN_OK);
    joiner_fini(&joiner);
    (void)syn_str_copy(owned->id, sizeof(owned->id),
                       syn_json_str(json_object_get(joined, "node"), "id", ""));
    (void)snprintf(owned->path, sizeof(owned->path), "/v1/nodes/%s", owned->id);
    owned->agent = client_of(house, syn_json_str(joined, "token", ""));
    await_token(owned->agent);
    owned->provider = tenant(house, account, "tenant");
    await_token(owned->provider);
    (void)snprintf(path, sizeof(path), "%s/heartbeat", owned->path);
    must(owned->agent, "POST", path, CAPACITY, NULL);
}

static void
owned_fini(struct owned *owned)
{
    (void)syn_client_free(owned->provider);
    (void)syn_client_free(owned->agent);
}

/* The node's offer as its document has it: canonical text, "" without one. */
static void
expect_offer(const struct owned *owned, const char *want)
{
    SYN_JSON(node);
    SYN_BUF(text);
    const json_t *offer;

    must(owned->provider, "GET", owned->path, NULL, &node);
    offer = json_object_get(syn_document_spec(node), "offer");
    if (offer != NULL)
        assert_int_equal(syn_json_write(offer, &text, NULL), SYN_OK);
    assert_string_equal(syn_buf_text(&text), want);
}

static void
providers_price_their_own(void **state)
{
    struct owned mine, other;
    char path[160];
    const char *one = "{'offer':{'cpu_core_hour':'1'}}";

    (void)state;
    owned_init(&mine, *state, "mine", 1);
    owned_init(&other, *state, "other", 2);
    expect_offer(&mine, "");
    must(mine.provider, "PATCH", mine.path,
         "{'offer':{'cpu_core_hour':'0.010','gpu_hour':{'h100':'3.50'}}}", NULL);
    expect_offer(&mine, "{\"cpu_core_hour\":\"0.01\",\"gpu_hour\":{\"h100\":\"3.5\"}}");
    must(mine.provider, "PATCH", mine.path, "{'offer':{'memory_gib_hour':'0'}}", NULL);
    expect_offer(&mine, "{\"cpu_core_hour\":\"0.01\",\"gpu_hour\":{\"h100\":\"3.5\"},"
                        "\"memory_gib_hour\":\"0\"}");
    /* What the agent reports is another matter. */
    (void)snprintf(path, sizeof(path), "%s/heartbeat", mine.path);
    must(mine.agent, "POST", path, CAPACITY, NULL);
    must(mine.provider, "PATCH", mine.path, "{'reset_offer':true,'offer':{'scratch_gib_hour':'2'}}",
         NULL);
    expect_offer(&mine, "{\"scratch_gib_hour\":\"2\"}");
    /* Nobody else, but an operator. */
    assert_int_equal(call(other.provider, "PATCH", mine.path, one, NULL, NULL), SYN_E_FORBIDDEN);
    assert_int_equal(call(mine.agent, "PATCH", mine.path, one, NULL, NULL), SYN_E_FORBIDDEN);
    (void)snprintf(path, sizeof(path), "%s/labels", mine.path);
    must(mine.provider, "POST", path, "{'set':{'disk':'ssd','synor.io/zone':'z1'}}", NULL);
    assert_int_equal(call(other.provider, "POST", path, "{'set':{'a':'b'}}", NULL, NULL),
                     SYN_E_FORBIDDEN);
    assert_int_equal(call(mine.provider, "POST", path, "{'set':{'synor.io/node':'b'}}", NULL, NULL),
                     SYN_E_INVALID);
    assert_int_equal(call(mine.provider, "POST", path, "{}", NULL, NULL), SYN_E_INVALID);
    must(mine.provider, "POST", path, "{'remove':['disk'],'set':{'tier':'gold'}}", NULL);
    {
        SYN_JSON(node);

        must(mine.provider, "GET", mine.path, NULL, &node);
        assert_string_equal(syn_json_str(syn_json_at(node, "spec.labels"), "tier", ""), "gold");
        assert_string_equal(syn_json_str(syn_json_at(node, "spec.labels"), "synor.io/zone", ""),
                            "z1");
        assert_null(json_object_get(syn_json_at(node, "spec.labels"), "disk"));
    }
    expect_offer(&mine, "{\"scratch_gib_hour\":\"2\"}");
    must(mine.house->client, "PATCH", mine.path, "{'reset_offer':true}", NULL);
    expect_offer(&mine, "");
    assert_int_equal(call(mine.provider, "PATCH", "/v1/nodes/nobody", one, NULL, NULL),
                     SYN_E_NOTFOUND);
    owned_fini(&mine);
    owned_fini(&other);
}

static void
bad_prices_change_nothing(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{'offer':{}}",
        "{'reset_offer':false}",
        "{'price':'1'}",
        "{'offer':{'gpu':'1'}}",
        "{'offer':{'cpu_core_hour':1}}",
        "{'offer':{'cpu_core_hour':'-1'}}",
        "{'offer':{'cpu_core_hour':'1e3'}}",
        "{'offer':{'cpu_core_hour':'0.0000000001'}}",
        "{'offer':{'cpu_core_hour':'10000.000000001'}}",
        "{'offer':{'cpu_core_hour':'99999999999999999999'}}",
        "{'offer':{'memory_gib_hour':'lots'}}",
        "{'offer':{'gpu_hour':{'h100':'-1'}}}",
        "{'offer':{'gpu_hour':{'h100':''}}}",
        "{'offer':{'gpu_hour':{'h100':'10001'}}}",
        "{'offer':{'gpu_hour':{'h100':4}}}",
        "{'offer':{'gpu_hour':{'b200':'1'}}}",
        "{'offer':{'gpu_hour':{'abacus':'1'}}}", /* there, and without a price */
        "{'offer':{'scratch_gib_hour':'1','gpu_hour':{'b200':'1'}}}",
    };
    struct owned mine;

    owned_init(&mine, *state, "strict", 3);
    must(mine.provider, "PATCH", mine.path, "{'offer':{'cpu_core_hour':'1'}}", NULL);
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        if (call(mine.provider, "PATCH", mine.path, bad[i], NULL, NULL) != SYN_E_INVALID)
            fail_msg("%s was not refused", bad[i]);
    expect_offer(&mine, "{\"cpu_core_hour\":\"1\"}");
    owned_fini(&mine);
}

/* "nodes.0.cpu_millicores.price_hour" and so on: text, or a number as text. */
static const char *
at(const json_t *doc, const char *path, char out[32])
{
    const json_t *value = syn_json_at(doc, path);

    if (json_is_integer(value))
        (void)snprintf(out, 32, "%lld", (long long)json_integer_value(value));
    else
        (void)snprintf(out, 32, "%.31s", json_is_string(value) ? json_string_value(value) : "none");
    return out;
}

static const json_t *
node_of(const json_t *capacity, const char *id)
{
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(capacity, "nodes"), i, row)
        if (syn_str_eq(syn_json_str(row, "id", ""), id))
            return row;
    fail_msg("%s is not listed", id);
    return NULL;
}

static int64_t
total(const json_t *capacity, const char *path)
{
    return json_integer_value(syn_json_at(json_object_get(capacity, "total"), path));
}

static void
capacity_adds_up(void **state)
{
    struct owned one, two;
    char text[32], path[160];
    const json_t *row;
    int64_t ready, cpu;
    SYN_JSON(before);
    SYN_JSON(capacity);
    SYN_JSON(after);

    must(((struct house *)*state)->client, "GET", "/v1/capacity", NULL, &before);
    ready = total(before, "nodes.ready");
    cpu = total(before, "cpu_millicores.capacity");
    owned_init(&one, *state, "one", 4);
    owned_init(&two, *state, "two", 5);
    must(one.provider, "PATCH", one.path, "{'offer':{'cpu_core_hour':'1'}}", NULL);
    must(two.provider, "GET", "/v1/capacity", NULL, &capacity);
    row = node_of(capacity, one.id);
    assert_string_equal(at(row, "cpu_millicores.price_hour", text), "1");
    assert_string_equal(at(row, "cpu_millicores.free", text), "8000");
    assert_string_equal(at(row, "memory_bytes.price_hour", text), "0.005");
    assert_true(syn_json_bool(row, "offer", false));
    assert_int_equal(json_array_size(json_object_get(row, "gpus")), 1); /* the one with a price */
    row = json_array_get(json_object_get(row, "gpus"), 0);
    assert_string_equal(at(row, "model", text), "h100");
    assert_string_equal(at(row, "price_hour", text), "4");
    assert_string_equal(at(node_of(capacity, two.id), "cpu_millicores.price_hour", text), "0.02");
    assert_int_equal(total(capacity, "nodes.ready") - ready, 2);
    assert_int_equal(total(capacity, "cpu_millicores.capacity") - cpu, 16000);
    assert_string_equal(at(capacity, "total.cpu_millicores.price_hour", text), "none");
    row = json_array_get(syn_json_at(capacity, "total.gpus"), 0);
    assert_string_equal(at(row, "model", text), "h100");
    assert_true(syn_json_i64(row, "capacity", 0) >= 4);
    (void)snprintf(path, sizeof(path), "%s/drain", two.path);
    must(one.house->client, "POST", path, "{'on':true}", NULL);
    must(two.provider, "GET", "/v1/capacity", NULL, &after);
    assert_int_equal(total(after, "nodes.drained") - total(capacity, "nodes.drained"), 1);
    assert_int_equal(total(after, "cpu_millicores.capacity") - cpu, 8000);
    owned_fini(&one);
    owned_fini(&two);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(providers_price_their_own, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(bad_prices_change_nothing, house_setup, house_teardown),
        cmocka_unit_test_setup_teardown(capacity_adds_up, house_setup, house_teardown),
    };

    return cmocka_run_group_tests_name("offers", tests, NULL, NULL);
}
