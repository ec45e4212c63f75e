/* Pushes to registries that are kind, broken, and hostile. */
#include "oci_testing.h"

#include <string.h>

#include <synor/base/str.h>

#define STALL_MS 300
#define PIECE    30000

/* Pull a/b:1, so that there is something to push. */
static int
setup(void **state)
{
    struct oci_world *world;

    (void)oci_world_setup(state);
    world = *state;
    world->remote.piece_bytes = PIECE;
    assert_done(oci_world_pull(world, "a/b:1"), &world->err);
    return 0;
}

/* Push it as `rest` of the fake. `*ret` is the caller's. */
static int
push(struct oci_world *world, const char *rest, const char *from, json_t **ret)
{
    struct syn_image_ref ref;
    const struct syn_oci_target target = {.ref = &ref, .from = from};
    int rc;

    world->err = (struct syn_err){0};
    oci_world_ref(world, rest, &ref);
    fake_settle(world->fake);
    fake_settle(world->other);
    rc = syn_oci_push(&world->move, &world->remote, &target, world->made, ret, &world->err);
    fake_settle(world->fake);
    fake_settle(world->other);
    return rc;
}

/* It must not go; what it fails with. */
static int
refused(struct oci_world *world)
{
    SYN_JSON(pushed);

    return push(world, "new/one:1", NULL, &pushed);
}

/* It must go, and be there bit by bit, under its tag. */
static void
assert_pushed(struct oci_world *world, const char *rest)
{
    SYN_JSON(pushed);
    char path[512];

    assert_done(push(world, rest, NULL, &pushed), &world->err);
    assert_string_equal(syn_json_str(pushed, "digest", ""), world->image.manifest);
    assert_int_equal(world->last.bytes_done, 2 * OCI_LAYER_BYTES);
    (void)snprintf(path, sizeof(path), "/v2/%.*s/manifests/1", (int)strcspn(rest, ":"), rest);
    assert_non_null(fake_find(world->fake, path));
    for (size_t i = 0; i < 2; i++) {
        const struct fake_resource *layer;

        (void)snprintf(path, sizeof(path), "/v2/%.*s/blobs/%s", (int)strcspn(rest, ":"), rest,
                       world->image.layers[i]);
        layer = fake_find(world->fake, path);
        assert_non_null(layer);
        assert_int_equal(layer->len, OCI_LAYER_BYTES);
        assert_memory_equal(layer->body, world->image.blobs[i]->body, OCI_LAYER_BYTES);
    }
}

static void
test_push(void **state)
{
    struct oci_world *world = *state;
    SYN_JSON(again);

    assert_pushed(world, "new/one:1");
    /* 100,000 bytes are four pieces and an end; the configuration is one request. */
    assert_int_equal(world->fake->push_bodies, 2 * 5 + 1);
    /* What is there is not sent. */
    assert_done(push(world, "new/one:2", NULL, &again), &world->err);
    assert_int_equal(syn_json_i64(again, "layers_there", 0), 2);
    assert_int_equal(syn_json_i64(again, "bytes_sent", -1), 0);
    assert_int_equal(world->fake->push_bodies, 2 * 5 + 1);
    /* And it can be pulled. */
    assert_done(oci_world_pull(world, "new/one:2"), &world->err);
    assert_string_equal(syn_json_str(world->made, "digest", ""), world->image.manifest);
}

static void
test_in_one_request(void **state)
{
    struct oci_world *world = *state;

    world->remote.piece_bytes = 0;
    assert_pushed(world, "new/one:1");
    assert_int_equal(world->fake->push_bodies, 3);
}

static void
test_digest(void **state)
{
    struct oci_world *world = *state;
    char rest[128];
    SYN_JSON(pushed);
    SYN_JSON(none);

    (void)snprintf(rest, sizeof(rest), "new/one@%s", world->image.manifest);
    assert_done(push(world, rest, NULL, &pushed), &world->err);
    assert_int_equal(fake_seen(world->fake, "/v2/new/one/manifests/sha256:"), 1);
    (void)snprintf(rest, sizeof(rest), "new/one@%s", world->image.layers[0]);
    assert_code(push(world, rest, NULL, &none), SYN_E_INVALID, &world->err);
}

static void
test_mount(void **state)
{
    struct oci_world *world = *state;
    SYN_JSON(pushed);
    SYN_JSON(other);
    SYN_JSON(without);

    assert_done(push(world, "new/one:1", "a/b", &pushed), &world->err);
    assert_int_equal(syn_json_i64(pushed, "layers_mounted", 0), 2);
    assert_int_equal(world->fake->push_bodies, 0);
    /* From a repository that has nothing, or may not be looked at: sent. */
    assert_done(push(world, "new/two:1", "a/c", &other), &world->err);
    assert_int_equal(syn_json_i64(other, "layers_sent", 0), 2);
    world->fake->push_deed = FAKE_PUSH_NO_MOUNT;
    assert_done(push(world, "new/three:1", "a/b", &without), &world->err);
    assert_int_equal(syn_json_i64(without, "layers_sent", 0), 2);
}

/* --- what breaks ------------------------------------------------------------------------------ */

static void
test_goes_on_where_it_broke(void **state)
{
    struct oci_world *world = *state;

    world->fake->push_deed = FAKE_PUSH_BREAK_ONCE;
    assert_pushed(world, "new/one:1");
    /* Half a piece was there: 85,000 bytes are three more, and the end. */
    assert_int_equal(world->fake->push_bodies, 1 + 4 + 5 + 1);
    assert_int_equal(world->fake->upload_count, 3);
}

static void
test_forgotten(void **state)
{
    struct oci_world *world = *state;

    world->fake->push_deed = FAKE_PUSH_FORGET_ONCE;
    assert_pushed(world, "new/one:1");
    assert_int_equal(world->fake->upload_count, 4);
}

static void
test_busy(void **state)
{
    struct oci_world *world = *state;

    world->fake->push_status = 503;
    world->fake->push_fail_first = 2;
    assert_pushed(world, "new/one:1");
    world->fake->push_status = 429;
    world->fake->push_fail_first = 0;
    assert_code(push(world, "new/two:1", NULL, &(json_t *){NULL}), SYN_E_UNAVAILABLE, &world->err);
    assert_int_equal(fake_seen(world->fake, "/v2/new/two/blobs/uploads/"), 3); /* and no more */
}

static void
test_stalls(void **state)
{
    struct oci_world *world = *state;

    world->remote.stall_ms = STALL_MS;
    world->remote.tries_max = 1;
    world->fake->push_deed = FAKE_PUSH_STALL;
    assert_code(refused(world), SYN_E_TIMEOUT, &world->err);
    assert_null(fake_find(world->fake, "/v2/new/one/manifests/1"));
}

static void
test_canceled(void **state)
{
    struct oci_world *world = *state;
    atomic_bool cancel = true;

    world->remote.cancel = &cancel;
    assert_code(refused(world), SYN_E_CANCELED, &world->err);
}

/* --- what refuses, and what lies -------------------------------------------------------------- */

static void
test_refused(void **state)
{
    static const struct {
        int status;
        int code;
    } rows[] = {
        {403, SYN_E_FORBIDDEN},   {404, SYN_E_NOTFOUND},    {413, SYN_E_TOOBIG},
        {405, SYN_E_UNSUPPORTED}, {400, SYN_E_UNAVAILABLE},
    };
    struct oci_world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        world->fake->push_status = rows[i].status;
        assert_code(refused(world), rows[i].code, &world->err);
    }
    assert_null(fake_find(world->fake, "/v2/new/one/manifests/1"));
}

static void
test_lies(void **state)
{
    static const struct {
        enum fake_push_deed deed;
        int code;
    } rows[] = {
        {FAKE_PUSH_LOSE, SYN_E_UNAVAILABLE},
        {FAKE_PUSH_MORE, SYN_E_CORRUPT},
        {FAKE_PUSH_NOWHERE, SYN_E_CORRUPT},
    };
    struct oci_world *world = *state;

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        world->fake->push_deed = rows[i].deed;
        assert_code(refused(world), rows[i].code, &world->err);
    }
    assert_null(fake_find(world->fake, "/v2/new/one/manifests/1"));
    world->fake->push_deed = FAKE_PUSH_LIE;
    assert_code(refused(world), SYN_E_CORRUPT, &world->err);
}

/* --- who sees what ---------------------------------------------------------------------------- */

static void
lock(struct oci_world *world)
{
    world->fake->push_auth = true;
    (void)snprintf(world->fake->challenge, FAKE_TEXT_MAX,
                   "Bearer realm=\"http://%s/token\",service=\"r\"", world->fake->host);
    (void)syn_str_copy(world->fake->wants, FAKE_TEXT_MAX, "Bearer t0ken");
    (void)fake_add(world->fake, "/token", "{\"token\":\"t0ken\"}", 17);
    world->remote.auth = "dTpw";
}

static void
test_signing_in(void **state)
{
    struct oci_world *world = *state;
    SYN_JSON(pushed);

    lock(world);
    assert_done(push(world, "new/one:1", "a/b", &pushed), &world->err);
    /* Once, to send there and to read where layers may be taken from; the credentials nowhere else.
     */
    assert_int_equal(fake_seen(world->fake,
                               "/token?service=r&scope=repository%3Anew%2Fone%3Apull%2Cpush&"
                               "scope=repository%3Aa%2Fb%3Apull|Basic dTpw\n"),
                     1);
    assert_int_equal(fake_seen(world->fake, "dTpw"), 1);
    (void)syn_str_copy(world->fake->wants, FAKE_TEXT_MAX, "Bearer other");
    assert_code(refused(world), SYN_E_FORBIDDEN, &world->err);
    assert_null(strstr(world->err.msg, "dTpw"));
}

/* Where a session leads is not whom the credentials are for. */
static void
test_session_elsewhere(void **state)
{
    static const char *const rows[] = {"http://example.com", "ftp://127.0.0.1",
                                       "http://user:pw@127.0.0.1", "file://"};
    struct oci_world *world = *state;

    world->fake->push_deed = FAKE_PUSH_AWAY;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        (void)syn_str_copy(world->fake->away, sizeof(world->fake->away), rows[i]);
        assert_code(refused(world), SYN_E_FORBIDDEN, &world->err);
    }
    lock(world);
    (void)snprintf(world->fake->away, sizeof(world->fake->away), "http://%s", world->other->host);
    assert_code(refused(world), SYN_E_UNAVAILABLE, &world->err); /* it has no such session */
    assert_true(fake_seen(world->other, "/up/") > 0);
    assert_int_equal(fake_seen(world->other, "Bearer"), 0);
}

/* Mirrors are for reading, and private addresses for whom the platform says. */
static void
test_only_the_registry(void **state)
{
    struct oci_world *world = *state;

    oci_world_rules(world, "mirrors", world->fake->host, world->other->host);
    assert_pushed(world, "new/one:1");
    assert_int_equal(fake_seen(world->other, "/"), 0);
    world->remote.any_address = false;
    world->remote.rules = NULL;
    assert_code(push(world, "new/two:1", NULL, &(json_t *){NULL}), SYN_E_FORBIDDEN, &world->err);
    assert_int_equal(fake_seen(world->fake, "/v2/new/two"), 0);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, oci_world_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_push),
        TEST(test_in_one_request),
        TEST(test_digest),
        TEST(test_mount),
        TEST(test_goes_on_where_it_broke),
        TEST(test_forgotten),
        TEST(test_busy),
        TEST(test_stalls),
        TEST(test_canceled),
        TEST(test_refused),
        TEST(test_lies),
        TEST(test_signing_in),
        TEST(test_session_elsewhere),
        TEST(test_only_the_registry),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("infra/oci_push", tests, NULL, NULL);
}
