#include "memory_priv.h"

#include <synor/base/test.h>

#include <string.h>

static const struct {
    const char *text;
    struct syn_shape shape;
    const char *wrong; /* in the message; NULL: fine */
    uint64_t count, span;
    uint64_t strides[SYN_DIMS_MAX];
} cases[] = {
    {"a number", {.dtype = SYN_DTYPE_FP64}, NULL, 1, 8, {0}},
    {"rows", {.dtype = SYN_DTYPE_FP32, .dims = 3, .sizes = {2, 3, 4}}, NULL, 24, 96, {12, 4, 1}},
    {"columns",
     {.dtype = SYN_DTYPE_FP32, .layout = SYN_LAYOUT_COLUMNS, .dims = 3, .sizes = {2, 3, 4}},
     NULL,
     24,
     96,
     {1, 2, 6}},
    {"pitch",
     {.dtype = SYN_DTYPE_INT16,
      .layout = SYN_LAYOUT_STRIDED,
      .dims = 2,
      .sizes = {3, 5},
      .strides = {8, 1}},
     NULL,
     15,
     42,
     {8, 1}},
    {"a dimension of one has any stride",
     {.dtype = SYN_DTYPE_INT8,
      .layout = SYN_LAYOUT_STRIDED,
      .dims = 2,
      .sizes = {1, 5},
      .strides = {0, 2}},
     NULL,
     5,
     9,
     {0, 2}},
    {"half bytes", {.dtype = SYN_DTYPE_INT4, .dims = 2, .sizes = {3, 3}}, NULL, 9, 5, {3, 1}},
    {"half bytes in rows",
     {.dtype = SYN_DTYPE_INT4,
      .layout = SYN_LAYOUT_STRIDED,
      .dims = 2,
      .sizes = {3, 3},
      .strides = {4, 1}},
     NULL,
     9,
     6,
     {4, 1}},
    {"half bytes, odd rows",
     {.dtype = SYN_DTYPE_INT4,
      .layout = SYN_LAYOUT_STRIDED,
      .dims = 2,
      .sizes = {3, 3},
      .strides = {5, 1}},
     "strides[0]",
     0,
     0,
     {0}},
    {"format", {.dtype = (enum syn_dtype)99}, "dtype", 0, 0, {0}},
    {"layout", {.layout = (enum syn_layout)3}, "layout", 0, 0, {0}},
    {"dimensions", {.dims = 9}, "dims", 0, 0, {0}},
    {"nothing", {.dims = 2, .sizes = {3, 0}}, "sizes[1]", 0, 0, {0}},
    {"too large", {.dims = 2, .sizes = {1 << 30, UINT64_C(1) << 31}}, "sizes[1]", 0, 0, {0}},
    {"far too large", {.dims = 1, .sizes = {UINT64_MAX}}, "sizes[0]", 0, 0, {0}},
    {"on one another",
     {.layout = SYN_LAYOUT_STRIDED, .dims = 2, .sizes = {3, 4}, .strides = {3, 1}},
     "strides[0]",
     0,
     0,
     {0}},
    {"a stride of nothing",
     {.layout = SYN_LAYOUT_STRIDED, .dims = 1, .sizes = {3}, .strides = {0}},
     "strides[0]",
     0,
     0,
     {0}},
    {"interleaved",
     {.layout = SYN_LAYOUT_STRIDED, .dims = 2, .sizes = {3, 2}, .strides = {2, 3}},
     "strides[1]",
     0,
     0,
     {0}},
    {"a span too large",
     {.layout = SYN_LAYOUT_STRIDED, .dims = 2, .sizes = {3, 2}, .strides = {1, UINT64_C(1) << 62}},
     "strides",
     0,
     0,
     {0}},
};

static void
check_case(size_t i)
{
    struct syn_shape shape = cases[i].shape;
    struct syn_err err = {0};
    int rc = syn_shape_complete(&shape, &err);

    print_message("# %s\n", cases[i].text);
    if (cases[i].wrong) {
        assert_code(rc, SYN_E_INVALID, &err);
        assert_int_equal(strncmp(err.msg, cases[i].wrong, strlen(cases[i].wrong)), 0);
        return;
    }
    assert_done(rc, &err);
    assert_int_equal(syn_shape_count(&shape), cases[i].count);
    assert_int_equal(syn_shape_span(&shape), cases[i].span);
    assert_memory_equal(shape.strides, cases[i].strides, sizeof(shape.strides));
}

static void
test_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        check_case(i);
}

static void
test_pack(void **state)
{
    struct syn_shape shape = {.dtype = SYN_DTYPE_FP32,
                              .layout = SYN_LAYOUT_STRIDED,
                              .dims = 3,
                              .sizes = {2, 3, 4},
                              .strides = {5, 100, 1}};
    struct syn_shape packed;
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_shape_complete(&shape, &err), &err);
    syn_shape_pack(&shape, &packed);
    assert_int_equal(packed.layout, SYN_LAYOUT_STRIDED);
    assert_int_equal(packed.strides[0], 4);
    assert_int_equal(packed.strides[1], 8);
    assert_int_equal(packed.strides[2], 1);
    assert_int_equal(syn_shape_span(&packed), 96);
    /* A piece of rows, packed, is rows. */
    shape = (struct syn_shape){.dtype = SYN_DTYPE_FP32, .dims = 2, .sizes = {6, 8}};
    assert_done(syn_shape_complete(&shape, &err), &err);
    shape.sizes[1] = 2;
    syn_shape_label(&shape);
    assert_int_equal(shape.layout, SYN_LAYOUT_STRIDED);
    syn_shape_pack(&shape, &packed);
    assert_int_equal(packed.layout, SYN_LAYOUT_ROWS);
    assert_int_equal(packed.strides[0], 2);
    shape.sizes[1] = 1; /* a column lies as a column, one of six in a row of eight */
    syn_shape_pack(&shape, &packed);
    assert_int_equal(packed.strides[0], 1);
}

/* As few and as long rows as can be. */
static void
test_boxes(void **state)
{
    struct syn_shape whole = {.dtype = SYN_DTYPE_FP32, .dims = 4, .sizes = {4, 6, 8, 10}};
    struct syn_shape part, packed;
    struct syn_box box;
    struct syn_err err = {0};
    static float from[4 * 6 * 8 * 10], to[4 * 6 * 8 * 10], back[4 * 6 * 8 * 10];

    (void)state;
    assert_done(syn_shape_complete(&whole, &err), &err);
    syn_box_plan(&whole, &whole, &box);
    assert_int_equal(box.dims, 0);
    assert_int_equal(box.row_bytes, sizeof(from));
    for (unsigned cut = 0; cut < 4; cut++) {
        static const unsigned dims[] = {0, 1, 1, 1};

        part = whole;
        part.sizes[cut] /= 2;
        syn_shape_pack(&part, &packed);
        syn_box_plan(&packed, &part, &box);
        assert_int_equal(box.dims, dims[cut]);
    }
    part = whole;
    part.sizes[1] = 3;
    part.sizes[2] = 3;
    part.sizes[3] = 7;
    syn_shape_pack(&part, &packed);
    syn_box_plan(&packed, &part, &box);
    assert_int_equal(box.dims, 3);
    assert_int_equal(box.row_bytes, 28);
    /* There and back again: only the box is touched. */
    for (size_t i = 0; i < SYN_LEN(from); i++)
        from[i] = (float)i;
    syn_box_copy(&box, (char *)to, (const char *)from);
    for (size_t i = 0, at[4] = {0}; i < syn_shape_count(&part); i++) {
        size_t rest = i;

        for (unsigned d = 4; d-- > 0; rest /= part.sizes[d])
            at[d] = rest % part.sizes[d];
        assert_true(to[i] == (float)(at[0] * 480 + at[1] * 80 + at[2] * 10 + at[3]));
    }
    syn_box_plan(&part, &packed, &box);
    syn_box_copy(&box, (char *)back, (const char *)to);
    for (size_t i = 0; i < SYN_LEN(back); i++) {
        bool inside = i / 80 % 6 < 3 && i / 10 % 8 < 3 && i % 10 < 7;

        assert_true(inside ? back[i] == (float)i : back[i] == 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_boxes),
    };

    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
