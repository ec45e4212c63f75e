#include <synor/base/buf.h>
#include <synor/base/test.h>

static void
test_append(void **state)
{
    SYN_BUF(buf);
    struct syn_err err = {0};

    (void)state;
    assert_string_equal(syn_buf_text(&buf), "");
    syn_buf_adds(&buf, "");
    assert_non_null(buf.data);
    assert_string_equal(buf.data, "");
    syn_buf_addc(&buf, 'a');
    syn_buf_adds(&buf, "bc");
    syn_buf_addf(&buf, "%d-%s", 42, "x");
    syn_buf_add(&buf, "\0z", 2);
    syn_buf_add(&buf, NULL, 0);
    assert_int_equal(buf.len, 9);
    assert_memory_equal(buf.data, "abc42-x\0z", 10);
    assert_done(syn_buf_ok(&buf, &err), &err);
    syn_buf_clear(&buf);
    assert_string_equal(syn_buf_text(&buf), "");
    assert_int_equal(buf.len, 0);
}

static void
test_consume(void **state)
{
    SYN_BUF(buf);

    (void)state;
    syn_buf_consume(&buf, 0);
    syn_buf_adds(&buf, "abcdef");
    syn_buf_consume(&buf, 0);
    assert_string_equal(syn_buf_text(&buf), "abcdef");
    syn_buf_consume(&buf, 2);
    assert_string_equal(syn_buf_text(&buf), "cdef");
    syn_buf_consume(&buf, 4);
    assert_string_equal(syn_buf_text(&buf), "");
    syn_buf_adds(&buf, "g");
    assert_string_equal(syn_buf_text(&buf), "g");
}

static void
test_take(void **state)
{
    SYN_BUF(buf);
    struct syn_err err = {0};
    char *text = NULL;
    size_t len = 99;
    char *room;

    (void)state;
    assert_done(syn_buf_take(&buf, &text, &len, &err), &err);
    assert_string_equal(text, "");
    assert_int_equal(len, 0);
    syn_free(text);
    room = syn_buf_reserve(&buf, 4);
    assert_non_null(room);
    memset(room, 'w', 4);
    buf.len += 3;
    assert_done(syn_buf_take(&buf, &text, NULL, &err), &err);
    assert_string_equal(text, "www");
    assert_null(buf.data);
    assert_int_equal(buf.len + buf.cap, 0);
    syn_free(text);
}

/* Long enough to grow many times, and to hold one formatted text larger than any growth step. */
static void
test_growth(void **state)
{
    SYN_BUF(buf);
    struct syn_err err = {0};

    (void)state;
    for (unsigned i = 0; i < 5000; i++)
        syn_buf_addf(&buf, "%04u", i);
    syn_buf_addf(&buf, "%100000d", 7);
    assert_done(syn_buf_ok(&buf, &err), &err);
    assert_int_equal(buf.len, 120000);
    assert_memory_equal(buf.data + 17284, "4321", 4);
    assert_int_equal(buf.data[119999], '7');
    assert_int_equal(buf.data[120000], '\0');
}

/* The first shortage is remembered: nothing is appended after a hole, and clearing forgets it. */
static void
test_shortage_is_remembered(void **state)
{
    SYN_BUF(buf);
    struct syn_err err = {0};
    char *text = NULL;

    (void)state;
    syn_buf_adds(&buf, "kept");
    syn_mem_fault_arm(1, false);
    syn_buf_addf(&buf, "%1000d", 1);
    syn_mem_fault_arm(0, false);
    syn_buf_adds(&buf, "more");
    assert_string_equal(syn_buf_text(&buf), "kept");
    assert_null(syn_buf_reserve(&buf, 1));
    assert_code(syn_buf_ok(&buf, &err), SYN_E_NOMEM, &err);
    syn_buf_clear(&buf);
    assert_done(syn_buf_ok(&buf, &err), &err);
    assert_null(syn_buf_reserve(&buf, SIZE_MAX - 1));
    assert_code(syn_buf_take(&buf, &text, NULL, &err), SYN_E_NOMEM, &err);
    assert_null(text);
    syn_buf_adds(&buf, "again");
    assert_string_equal(syn_buf_text(&buf), "again");
}

static int
build(void *arg, struct syn_err *err)
{
    SYN_BUF(buf);
    char *text = NULL;
    int rc;

    (void)arg;
    for (unsigned i = 0; i < 100; i++)
        syn_buf_addf(&buf, "%u,", i);
    rc = syn_buf_take(&buf, &text, NULL, err);
    syn_free(text);
    return rc;
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(build, NULL) >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append), cmocka_unit_test(test_consume),
        cmocka_unit_test(test_take),   cmocka_unit_test(test_growth),
        cmocka_unit_test(test_sweep),  cmocka_unit_test(test_shortage_is_remembered),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
