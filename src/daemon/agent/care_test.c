/* When a replica is told to be ready: what of it is not its program's. */
#include "agent_testing.h"

#include "mesh_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <synor/base/str.h>

#define WORD_MS  1000 /* so late it is told why one is not ready yet */
#define FIRST_MS 250  /* so long what only listens has more processor than it asked for */
#define ALONE_MS 5000 /* so late it is ready although the mesh does not have it */

/* A replica whose program is not asked anything, on a node with a mesh to which no service was
 * told. */
struct stage {
    struct bench *bench;
    struct agt_care *care;
};

static const struct syn_runtime_ops no_ops = {.version = 0}; /* nothing of it is called */

static void
begin(struct stage *stage, bool enters_mesh, int port)
{
    struct syn_err err;
    SYN_JSON(doc);

    stage->bench = bench_open();
    stage->bench->instance.enters_mesh = enters_mesh;
    stage->bench->instance.runtime.ops = &no_ops;
    assert_done(agt_mesh_new(&stage->bench->agent, &stage->bench->agent.mesh, &err), &err);
    assert_done(
        syn_json_pack(&doc, &err, "{s:{s:s, s:i}}", "spec", "workload", "service", "port", port),
        &err);
    assert_done(agt_care_new(&stage->bench->instance, doc, &stage->care, &err), &err);
}

static void
end(struct stage *stage)
{
    stage->care = agt_care_free(stage->care);
    stage->bench->agent.mesh = agt_mesh_free(stage->bench->agent.mesh);
    bench_close(stage->bench);
}

static bool
told_ready(const struct stage *stage)
{
    return syn_json_bool(json_object_get(stage->bench->fake.status, "health"), "ready", false);
}

static void
one_is_ready_when_the_mesh_has_it(void **state)
{
    struct stage stage;
    int64_t now_ms;

    (void)state;
    begin(&stage, true, 80);
    agt_care_turn(stage.care);
    assert_null(stage.bench->fake.status);
    now_ms = syn_mono_ms(stage.bench->agent.world);
    assert_in_range(agt_care_due_ms(stage.care), now_ms, now_ms + 100);
    bench_pass_ms(WORD_MS);
    agt_care_turn(stage.care);
    assert_false(told_ready(&stage));
    assert_non_null(
        strstr(syn_json_str(json_object_get(stage.bench->fake.status, "health"), "message", ""),
               "mesh does not have it yet"));
    bench_pass_ms(ALONE_MS - WORD_MS);
    agt_care_turn(stage.care);
    assert_true(told_ready(&stage));
    end(&stage);
}

/* Of another agent, or of a service that nobody calls. */
static void
others_do_not_wait(void **state)
{
    static const struct {
        bool enters_mesh;
        int port;
    } rows[] = {{false, 80}, {true, 0}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct stage stage;

        begin(&stage, rows[i].enters_mesh, rows[i].port);
        agt_care_turn(stage.care);
        assert_true(told_ready(&stage));
        end(&stage);
    }
}

/* --- whose program answers, sometime ---------------------------------------------------------- */

static const struct syn_net_place here = {.address4 = "127.0.0.1"};

static const struct syn_net_place *
place_of(const struct syn_instance *instance)
{
    (void)instance;
    return &here;
}

static int settled;

static int
count_settled(void *self, struct syn_instance *instance, struct syn_err *err)
{
    (void)self;
    (void)instance;
    (void)err;
    settled++;
    return SYN_OK;
}

/* Turns until its one check has gone round, which takes no time but the kernel's. Once it is ready
 * it is held to its processor, a moment later. */
static bool
is_ready_soon(const char *run, int port)
{
    static const struct syn_runtime_ops ops = {
        .version = 0, .place = place_of, .settle = count_settled};
    struct bench *bench = bench_open();
    struct agt_care *care = NULL;
    struct syn_err err;
    bool ready = false;
    SYN_JSON(doc);

    bench->instance.runtime.ops = &ops;
    bench->instance.handle = (struct syn_instance *)bench; /* any */
    (void)syn_str_copy(bench->instance.run, sizeof(bench->instance.run), run);
    assert_done(syn_json_pack(&doc, &err, "{s:{s:s, s:i, s:{s:s, s:s, s:i}}}", "spec", "workload",
                              "service", "port", port, "health", "kind", "http", "path", "/",
                              "timeout_ms", 60000),
                &err);
    assert_done(agt_care_new(&bench->instance, doc, &care, &err), &err);
    for (int i = 0; i < 100 && !ready; i++) {
        agt_care_turn(care);
        ready = bench->fake.status != NULL &&
                syn_json_bool(json_object_get(bench->fake.status, "health"), "ready", false);
        (void)usleep(1000);
    }
    assert_int_equal(settled, 0);
    bench_pass_ms(FIRST_MS);
    agt_care_turn(care);
    assert_int_equal(settled, ready ? 1 : 0);
    settled = 0;
    (void)agt_care_free(care);
    bench->instance.handle = NULL;
    bench_close(bench);
    return ready;
}

static void
what_was_made_ahead_is_ready_when_it_listens(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int deaf;

    (void)state;
    deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(deaf, (struct sockaddr *)&address, len), errno);
    assert_return_code(listen(deaf, 8), errno);
    assert_return_code(getsockname(deaf, (struct sockaddr *)&address, &len), errno);
    assert_true(is_ready_soon("spare-one", ntohs(address.sin_port)));
    assert_false(is_ready_soon("", ntohs(address.sin_port)));
    (void)close(deaf);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_ready_when_the_mesh_has_it),
        cmocka_unit_test(others_do_not_wait),
        cmocka_unit_test(what_was_made_ahead_is_ready_when_it_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
