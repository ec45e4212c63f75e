#include <synor/base/test.h>

#include <string.h>

#include <synor/kind.h>

static void
test_kinds(void **state)
{
    enum syn_kind kind = SYN_KIND_CPU;

    (void)state;
    for (unsigned i = 0; i < SYN_KINDS; i++) {
        assert_true(syn_kind_parse(syn_kind_name((enum syn_kind)i), &kind));
        assert_int_equal(kind, i);
        assert_true(strlen(syn_kind_text(kind)) > 0);
    }
    kind = SYN_KIND_DSP;
    assert_false(syn_kind_parse("GPU", &kind));
    assert_false(syn_kind_parse("", &kind));
    assert_int_equal(kind, SYN_KIND_DSP);
}

static void
test_dtypes(void **state)
{
    static const struct {
        enum syn_dtype dtype;
        uint64_t count, bytes;
    } rows[] = {
        {SYN_DTYPE_FP64, 3, 24},
        {SYN_DTYPE_TF32, 1, 4},
        {SYN_DTYPE_BF16, 5, 10},
        {SYN_DTYPE_FP8E5M2, 0, 0},
        {SYN_DTYPE_INT4, 1, 1},
        {SYN_DTYPE_INT4, 4, 2},
        {SYN_DTYPE_INT4, 5, 3},
        {SYN_DTYPE_C128, 2, 32},
        {SYN_DTYPE_INT8, INT64_MAX, INT64_MAX},
        {SYN_DTYPE_INT8, (uint64_t)INT64_MAX + 1, UINT64_MAX},
        {SYN_DTYPE_C128, UINT64_MAX, UINT64_MAX},
        {SYN_DTYPE_INT4, UINT64_MAX, UINT64_MAX},
    };
    enum syn_dtype dtype = SYN_DTYPE_FP64;

    (void)state;
    for (unsigned i = 0; i < SYN_DTYPES; i++) {
        assert_true(syn_dtype_parse(syn_dtype_name((enum syn_dtype)i), &dtype));
        assert_int_equal(dtype, i);
        assert_true(syn_dtype_info(dtype)->bits >= 4);
    }
    assert_false(syn_dtype_parse("fp8", &dtype)); /* a column, no type */
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_true(syn_dtype_bytes(rows[i].dtype, rows[i].count) == rows[i].bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_dtypes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
