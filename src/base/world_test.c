#include <synor/base/test.h>
#include <synor/base/world.h>

#include <time.h>

#include <synor/base/str.h>

static int64_t
fixed_wall_ms(void *self)
{
    return *(int64_t *)self;
}

static int64_t
fixed_mono_ns(void *self)
{
    return *(int64_t *)self * 1000000 + 999999;
}

/* Bytes that count up from zero, over every value that one byte has. */
static void
counting_random(void *self, void *out, size_t len)
{
    static uint8_t next;

    (void)self;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = next++;
}

static const struct syn_world_ops fixed_ops = {
    .version = SYN_WORLD_VERSION,
    .wall_ms = fixed_wall_ms,
    .mono_ns = fixed_mono_ns,
    .random = counting_random,
};

static void
test_another_world(void **state)
{
    int64_t now = 1795463937123;
    const struct syn_world world = {&fixed_ops, &now};
    char id[SYN_ID_MAX];

    (void)state;
    assert_true(syn_wall_ms(&world) == now);
    assert_true(syn_mono_ms(&world) == now);
    assert_ptr_equal(syn_make_id(&world, "train", id), id);
    assert_string_equal(id, "train-abcdefghij");
    (void)syn_make_id(&world, "train", id);
    (void)syn_make_id(&world, "train", id);
    (void)syn_make_id(&world, "a", id);
    assert_string_equal(id, "a-67abcdefgh");
}

static void
test_system_clocks(void **state)
{
    const struct syn_world *world = syn_world_system();
    int64_t wall = (int64_t)time(NULL) * 1000;
    int64_t last = syn_mono_ms(world);

    (void)state;
    assert_true(syn_wall_ms(world) - wall < 60000 && syn_wall_ms(world) - wall > -60000);
    for (unsigned i = 0; i < 1000; i++) {
        int64_t now = syn_mono_ms(world);

        assert_true(now >= last);
        last = now;
    }
}

/* Ten thousand identifiers: shape, and no two alike (50 bits: a chance of 5 in 10^8). */
static int
compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void
test_identifiers(void **state)
{
    static char ids[10000][SYN_ID_MAX];
    char longest[SYN_ID_MAX + 20];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(ids); i++) {
        (void)syn_make_id(syn_world_system(), "node", ids[i]);
        assert_int_equal(strlen(ids[i]), strlen("node-") + 10);
        assert_true(syn_str_starts(ids[i], "node-") && syn_name_ok(ids[i]));
        assert_int_equal(strspn(ids[i] + 5, "abcdefghijklmnopqrstuvwxyz234567"), 10);
    }
    qsort(ids, SYN_LEN(ids), sizeof(ids[0]), compare);
    for (size_t i = 1; i < SYN_LEN(ids); i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
    memset(longest, 'p', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(strlen(syn_make_id(syn_world_system(), longest, ids[0])), SYN_ID_MAX - 1);
}

static void
test_random_is_not_constant(void **state)
{
    uint8_t a[300] = {0};
    uint8_t b[300] = {0};
    const struct syn_world *world = syn_world_system();
    unsigned zeros = 0;

    (void)state;
    world->ops->random(world->self, a, sizeof(a)); /* more than getrandom() gives at once surely */
    world->ops->random(world->self, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    assert_in_range(zeros, 0, 20);
    world->ops->random(world->self, a, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_world),
        cmocka_unit_test(test_system_clocks),
        cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_random_is_not_constant),
    };

    return cmocka_run_group_tests_name("world", tests, NULL, NULL);
}
