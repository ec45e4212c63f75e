#include <synor/base/map.h>
#include <synor/base/test.h>

#include <synor/base/str.h>

static unsigned freed;

static void
count_free(void *value)
{
    freed++;
    syn_free(value);
}

static void *
boxed(int number)
{
    int *box = syn_alloc(sizeof(*box));

    assert_non_null(box);
    *box = number;
    return box;
}

static void
test_basics(void **state)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *map = NULL;
    struct syn_err err = {0};
    int one = 1;
    int two = 2;

    (void)state;
    assert_done(syn_map_new(NULL, &map, &err), &err);
    assert_int_equal(syn_map_count(map), 0);
    assert_null(syn_map_find(map, "a"));
    assert_false(syn_map_remove(map, "a"));
    assert_null(syn_map_steal(map, "a"));
    assert_done(syn_map_put_take(map, "a", &one, &err), &err);
    assert_done(syn_map_put_take(map, "", &two, &err), &err);
    assert_ptr_equal(syn_map_find(map, "a"), &one);
    assert_ptr_equal(syn_map_find(map, ""), &two);
    assert_done(syn_map_put_take(map, "a", &two, &err), &err);
    assert_ptr_equal(syn_map_find(map, "a"), &two);
    assert_int_equal(syn_map_count(map), 2);
    assert_ptr_equal(syn_map_steal(map, "a"), &two);
    assert_null(syn_map_find(map, "a"));
    assert_true(syn_map_remove(map, ""));
    assert_int_equal(syn_map_count(map), 0);
    assert_null(syn_map_free(NULL));
}

/* The map frees what it owns exactly once: replaced, removed, left at the end, and refused. */
static void
test_ownership(void **state)
{
    struct syn_map *map = NULL;
    struct syn_err err = {0};
    void *same;
    void *stolen;

    (void)state;
    freed = 0;
    assert_done(syn_map_new(count_free, &map, &err), &err);
    assert_done(syn_map_put_take(map, "a", boxed(1), &err), &err);
    assert_done(syn_map_put_take(map, "a", boxed(2), &err), &err);
    assert_int_equal(freed, 1);
    same = syn_map_find(map, "a");
    assert_done(syn_map_put_take(map, "a", same, &err), &err);
    assert_int_equal(freed, 1);
    assert_done(syn_map_put_take(map, "b", boxed(3), &err), &err);
    assert_done(syn_map_put_take(map, "none", NULL, &err), &err);
    stolen = syn_map_steal(map, "b");
    assert_int_equal(freed, 1);
    count_free(stolen);
    assert_true(syn_map_remove(map, "a"));
    assert_int_equal(freed, 3);
    assert_true(syn_map_remove(map, "none"));
    assert_int_equal(freed, 3);
    assert_done(syn_map_put_take(map, "c", boxed(4), &err), &err);
    assert_null(syn_map_free(map));
    assert_int_equal(freed, 4);
}

static void
test_keys_are_copied(void **state)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *map = NULL;
    struct syn_err err = {0};
    char key[] = "node-1";
    int value;

    (void)state;
    assert_done(syn_map_new(NULL, &map, &err), &err);
    assert_done(syn_map_put_take(map, key, &value, &err), &err);
    key[0] = 'X';
    assert_ptr_equal(syn_map_find(map, "node-1"), &value);
    assert_null(syn_map_find(map, key));
}

static void
test_removing_while_walking(void **state)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *map = NULL;
    struct syn_err err = {0};
    const char *key;
    void *value;
    size_t cursor = 0;
    int next = 0;

    (void)state;
    assert_done(syn_map_new(count_free, &map, &err), &err);
    for (int i = 0; i < 100; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "k%d", i);
        assert_done(syn_map_put_take(map, name, boxed(i), &err), &err);
    }
    while (syn_map_next(map, &cursor, &key, &value)) {
        assert_int_equal(*(int *)value, next);
        if (next++ % 2 == 0)
            assert_true(syn_map_remove(map, key));
    }
    assert_int_equal(next, 100);
    assert_int_equal(syn_map_count(map), 50);
    cursor = 0;
    for (int i = 1; i < 100; i += 2) {
        assert_true(syn_map_next(map, &cursor, NULL, &value));
        assert_int_equal(*(int *)value, i);
    }
    assert_false(syn_map_next(map, &cursor, &key, &value));
}

/* --- against a reference: an array in insertion order ---------------------------------------- */

#define KEYS 60

struct model {
    struct syn_map *map;
    struct {
        char key[16];
        int value;
    } items[KEYS];
    size_t count;
};

static size_t
model_find(const struct model *model, const char *key)
{
    size_t i = 0;

    while (i < model->count && strcmp(model->items[i].key, key) != 0)
        i++;
    return i;
}

static void
model_drop(struct model *model, size_t i)
{
    memmove(&model->items[i], &model->items[i + 1],
            (model->count - i - 1) * sizeof(model->items[0]));
    model->count--;
}

static void
model_check(const struct model *model)
{
    size_t cursor = 0;
    const char *key;
    void *value;

    assert_int_equal(syn_map_count(model->map), model->count);
    for (size_t i = 0; i < model->count; i++) {
        assert_true(syn_map_next(model->map, &cursor, &key, &value));
        assert_string_equal(key, model->items[i].key);
        assert_int_equal(*(int *)value, model->items[i].value);
        assert_ptr_equal(syn_map_find(model->map, key), value);
    }
    assert_false(syn_map_next(model->map, &cursor, &key, &value));
}

static void
model_step(struct model *model, uint64_t *seed, int step)
{
    uint64_t draw = syn_test_random(seed);
    struct syn_err err = {0};
    char key[16];
    size_t at;

    (void)snprintf(key, sizeof(key), "key%u", (unsigned)(draw % KEYS));
    at = model_find(model, key);
    if ((draw >> 32) % 5 < 3) { /* put more often than removed, so that it fills up */
        assert_done(syn_map_put_take(model->map, key, boxed(step), &err), &err);
        if (at == model->count)
            (void)syn_str_copy(model->items[model->count++].key, 16, key);
        model->items[at].value = step;
    } else if ((draw >> 40) % 2 == 0) {
        assert_int_equal(syn_map_remove(model->map, key), at < model->count);
        if (at < model->count)
            model_drop(model, at);
    } else {
        int *value = syn_map_steal(model->map, key);

        assert_int_equal(value != NULL, at < model->count);
        if (value != NULL) {
            assert_int_equal(*value, model->items[at].value);
            model_drop(model, at);
        }
        syn_free(value);
    }
}

static void
test_model(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 5; first++) {
        struct model model = {0};
        struct syn_err err = {0};
        uint64_t seed = first;
        int64_t before = syn_mem_live();

        assert_done(syn_map_new(syn_free, &model.map, &err), &err);
        for (int step = 0; step < 4000; step++) {
            model_step(&model, &seed, step);
            if (step % 16 == 0)
                model_check(&model);
        }
        model_check(&model);
        (void)syn_map_free(model.map);
        assert_int_equal(syn_mem_live(), before);
    }
}

/* A queue that never holds more than one entry must not grow with the number of its steps. */
static void
test_churn_is_bounded(void **state)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *map = NULL;
    struct syn_err err = {0};
    int value;

    (void)state;
    assert_done(syn_map_new(NULL, &map, &err), &err);
    syn_mem_fault_arm(0, false);
    for (int i = 0; i < 10000; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "%d", i);
        assert_done(syn_map_put_take(map, key, &value, &err), &err);
        assert_true(syn_map_remove(map, key));
    }
    /* One block a key, one index for every seven entries or so, and the entries once. */
    assert_in_range(syn_mem_fault_count(), 10000, 12000);
}

static int
fill(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *map = NULL;
    int rc = syn_map_new(syn_free, &map, err);

    (void)arg;
    for (int i = 0; rc == 0 && i < 40; i++) {
        char key[16];
        void *value = syn_alloc(8);

        (void)snprintf(key, sizeof(key), "k%d", i);
        if (value == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "value %d", i);
        rc = syn_map_put_take(map, key, value, err);
        /* A map that could not take one entry still has all the others. */
        for (int j = 0; j < i; j++) {
            (void)snprintf(key, sizeof(key), "k%d", j);
            assert_non_null(syn_map_find(map, key));
        }
        if (rc == 0 && i % 3 == 0)
            assert_true(syn_map_count(map) == (size_t)i + 1);
    }
    return rc;
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(fill, NULL) >= 80);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basics),          cmocka_unit_test(test_ownership),
        cmocka_unit_test(test_keys_are_copied), cmocka_unit_test(test_removing_while_walking),
        cmocka_unit_test(test_model),           cmocka_unit_test(test_churn_is_bounded),
        cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
