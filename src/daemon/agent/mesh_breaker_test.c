/* Circuit breakers through minutes of a made-up service: who is out, on trial, and in again. */
#include "mesh_priv.h"

#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define PERCENT 50
#define MAX     4

struct world {
    struct agt_breakers *breakers;
    struct syn_balancer_server_counts counts[MAX];
    unsigned bad[MAX]; /* percent of its answers that are errors */
    size_t count;
    int64_t now_ms;
    unsigned changes;
};

static void
world_init(struct world *world, size_t count)
{
    struct syn_err err = {0};

    *world = (struct world){.count = count, .now_ms = 1000000};
    assert_done(agt_breakers_new(&world->breakers, &err), &err);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(world->counts[i].server, sizeof(world->counts[i].server), "s%zu", i);
}

static void
world_fini(struct world *world)
{
    world->breakers = agt_breakers_free(world->breakers);
}

/* As the proxy would have it: '-' in, 'o' out, 't' on trial. */
static const char *
shown(const struct world *world)
{
    static char text[MAX + 1];
    struct syn_balancer_server servers[MAX];

    for (size_t i = 0; i < world->count; i++)
        servers[i] = (struct syn_balancer_server){.id = world->counts[i].server, .weight = 8};
    agt_breakers_lay(world->breakers, "b", servers, world->count);
    for (size_t i = 0; i < world->count; i++)
        text[i] = (char)(servers[i].state == SYN_BALANCER_OFF ? 'o'
                         : servers[i].weight == 1             ? 't'
                                                              : '-');
    text[world->count] = '\0';
    return text;
}

/* A second, in which each that is in answers `each` requests, and one on trial a tenth of that. */
static void
pass(struct world *world, unsigned each)
{
    struct syn_err err = {0};
    char now[MAX + 1];
    int rc;

    (void)syn_str_copy(now, sizeof(now), shown(world));
    for (size_t i = 0; i < world->count; i++) {
        unsigned answers = now[i] == 'o' ? 0 : now[i] == 't' ? each / 10 : each;

        world->counts[i].answers += answers;
        world->counts[i].errors += answers * world->bad[i] / 100;
    }
    world->now_ms += 1000;
    rc = agt_breakers_see(world->breakers, "b", PERCENT, world->counts, world->count, world->now_ms,
                          &err);
    assert_true(rc == SYN_OK || rc == AGT_BREAKERS_CHANGED);
    world->changes += rc == AGT_BREAKERS_CHANGED;
}

static unsigned
seconds_until(struct world *world, const char *wanted)
{
    unsigned seconds = 0;

    for (; !syn_str_eq(shown(world), wanted); seconds++) {
        if (seconds == 300)
            fail_msg("never %s, but %s", wanted, shown(world));
        pass(world, 20);
    }
    return seconds;
}

/* Out when too much of it fails, longer each time, and in again when it is well. */
static void
test_round(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 3);
    for (unsigned i = 0; i < 30; i++)
        pass(&world, 20);
    assert_int_equal(world.changes, 0);
    world.bad[1] = 40;
    for (unsigned i = 0; i < 30; i++)
        pass(&world, 20);
    assert_string_equal(shown(&world), "---");
    world.bad[1] = 100;
    assert_in_range(seconds_until(&world, "-o-"), 1, 6);
    assert_int_equal(seconds_until(&world, "-t-"), 5);
    assert_in_range(seconds_until(&world, "-o-"), 2, 4);
    assert_int_equal(seconds_until(&world, "-t-"), 10);
    (void)seconds_until(&world, "-o-");
    world.bad[1] = 0;
    assert_int_equal(seconds_until(&world, "-t-"), 20);
    assert_in_range(seconds_until(&world, "---"), 2, 4);
    /* What it was before is forgotten. */
    for (unsigned i = 0; i < 5; i++)
        pass(&world, 20);
    world.bad[1] = 100;
    (void)seconds_until(&world, "-o-");
    assert_int_equal(seconds_until(&world, "-t-"), 5);
    world_fini(&world);
}

/* Never more than a half, and the worst of them; one alone never. */
static void
test_limit(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 4);
    world.bad[0] = 60;
    world.bad[1] = 100;
    world.bad[2] = 70;
    world.bad[3] = 100;
    assert_in_range(seconds_until(&world, "-o-o"), 1, 2);
    pass(&world, 20);
    assert_string_equal(shown(&world), "-o-o");
    world.count = 2; /* the others have gone */
    pass(&world, 20);
    assert_string_equal(shown(&world), "-o");
    world.counts[0] = world.counts[1];
    world.count = 1;
    world.bad[0] = 100;
    for (unsigned i = 0; i < 20; i++)
        pass(&world, 20);
    assert_string_equal(shown(&world), "-");
    world_fini(&world);
}

/* Few answers say nothing, nor does what was before, nor a counter that begins anew. */
static void
test_counting(void **state)
{
    struct world world;

    (void)state;
    world_init(&world, 2);
    world.counts[0].answers = world.counts[0].errors = 1000;
    pass(&world, 0);
    world.bad[0] = 100;
    for (unsigned i = 0; i < 4; i++)
        pass(&world, 2);
    assert_string_equal(shown(&world), "--");
    for (unsigned i = 0; i < 12; i++) /* it is quiet, and what was is forgotten */
        pass(&world, 0);
    for (unsigned i = 0; i < 4; i++)
        pass(&world, 2);
    assert_string_equal(shown(&world), "--");
    world.counts[0].answers = world.counts[0].errors = 9;
    pass(&world, 0);
    assert_string_equal(shown(&world), "--");
    pass(&world, 2);
    assert_string_equal(shown(&world), "o-");
    assert_false(agt_breakers_keep(world.breakers)); /* it was seen */
    assert_true(agt_breakers_keep(world.breakers));
    assert_string_equal(shown(&world), "--");
    world_fini(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_limit),
                                       cmocka_unit_test(test_counting)};

    return cmocka_run_group_tests_name("agent/mesh_breaker", tests, NULL, NULL);
}
