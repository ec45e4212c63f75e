#include <synor/base/mem.h>
#include <synor/base/test.h>

static void
test_blocks(void **state)
{
    int64_t before = syn_mem_live();
    void *a = syn_alloc(0);
    void *b = syn_alloc(0);
    uint8_t *c = syn_calloc(7, 3);
    char *d = NULL;

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    for (size_t i = 0; i < 21; i++)
        assert_int_equal(c[i], 0);
    assert_int_equal(syn_mem_live() - before, 3);
    d = syn_realloc(d, 4);
    assert_non_null(d);
    memcpy(d, "abc", 4);
    assert_int_equal(syn_mem_live() - before, 4);
    d = syn_realloc(d, 4096);
    assert_non_null(d);
    assert_string_equal(d, "abc");
    assert_int_equal(syn_mem_live() - before, 4);
    syn_free(a);
    syn_free(b);
    syn_free(c);
    syn_free(d);
    syn_free(NULL);
    assert_int_equal(syn_mem_live(), before);
}

static void
test_text(void **state)
{
    char *whole = syn_strdup("abc");
    char *part = syn_strndup("abcdef", 2);
    char *none = syn_strndup("abc", 0);
    char *with_zero = syn_strndup("a\0b", 3);

    (void)state;
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(none, "");
    assert_memory_equal(with_zero, "a\0b", 4);
    syn_free(whole);
    syn_free(part);
    syn_free(none);
    syn_free(with_zero);
}

static void
test_sizes_that_overflow(void **state)
{
    volatile size_t huge = SIZE_MAX / 2; /* volatile: compilers refuse the sum where they see it */
    int *items = NULL;
    size_t cap = 0;

    (void)state;
    assert_null(syn_calloc(huge, 3));
    assert_false(syn_grow((void *)&items, &cap, huge, sizeof(*items)));
    assert_false(syn_grow((void *)&items, &cap, SIZE_MAX, 1));
    assert_false(syn_grow((void *)&items, &cap, 1, 0));
    assert_null(items);
    assert_int_equal(cap, 0);
}

static void
test_grow(void **state)
{
    int *items = NULL;
    size_t cap = 0;
    unsigned steps = 0;

    (void)state;
    assert_true(syn_grow((void *)&items, &cap, 0, sizeof(*items)));
    assert_null(items);
    for (size_t i = 0; i < 1000; i++) {
        size_t was = cap;

        assert_true(syn_grow((void *)&items, &cap, i + 1, sizeof(*items)));
        steps += cap != was;
        items[i] = (int)i;
    }
    assert_in_range(steps, 1, 8); /* doubles */
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    syn_mem_fault_arm(1, false);
    assert_false(syn_grow((void *)&items, &cap, cap + 1, sizeof(*items)));
    syn_mem_fault_arm(0, false);
    assert_int_equal(items[999], 999);
    syn_free(items);
}

static void
test_scope(void **state)
{
    int64_t before = syn_mem_live();

    (void)state;
    {
        SYN_SCOPED(syn_free_scope) char *text = syn_strdup("gone with its scope");
        SYN_SCOPED(syn_free_scope) char *nothing = NULL;

        assert_non_null(text);
        assert_null(nothing);
    }
    assert_int_equal(syn_mem_live(), before);
}

/* The n-th allocation fails, once or from then on; counting starts at the arming. */
static void
test_faults(void **state)
{
    int64_t before = syn_mem_live();
    char *kept = NULL;
    void *block;

    (void)state;
    syn_mem_fault_arm(2, false);
    kept = syn_strdup("kept");
    assert_non_null(kept);
    assert_null(syn_realloc(kept, 100));
    assert_string_equal(kept, "kept");
    block = syn_alloc(1);
    assert_non_null(block);
    syn_free(block);
    assert_int_equal(syn_mem_fault_count(), 3);

    syn_mem_fault_arm(1, true);
    for (unsigned i = 0; i < 5; i++) {
        assert_null(syn_alloc(1));
        assert_null(syn_calloc(1, 1));
        assert_null(syn_strdup("x"));
    }
    assert_int_equal(syn_mem_fault_count(), 15);
    syn_mem_fault_arm(0, false);
    block = syn_alloc(1);
    assert_non_null(block);
    syn_free(block);
    syn_free(kept);
    assert_int_equal(syn_mem_live(), before);
}

static void
test_of_machine(void **state)
{
    int64_t all = syn_mem_of_machine("MemTotal"), left = syn_mem_of_machine("MemAvailable");

    (void)state;
    assert_true(left > 0 && left <= all);
    assert_int_equal(syn_mem_of_machine("Mem"), -1); /* a line is named in full */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),     cmocka_unit_test(test_text),
        cmocka_unit_test(test_grow),       cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_scope),      cmocka_unit_test(test_faults),
        cmocka_unit_test(test_of_machine),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
