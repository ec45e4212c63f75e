#include <synor/graph_file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/test.h>

#define PRODUCT                                                                             \
    "{\"version\": 1, \"tensors\": {"                                                       \
    "\"a\": {\"dtype\": \"fp32\", \"shape\": [3, 4], \"init\": \"ones\"},"                  \
    "\"b\": {\"dtype\": \"fp32\", \"shape\": [4, 2], \"layout\": \"columns\", \"init\": "   \
    "\"iota\"},"                                                                            \
    "\"c\": {\"dtype\": \"fp32\", \"shape\": [3, 2]},"                                      \
    "\"s\": {\"dtype\": \"fp32\", \"shape\": []}},"                                         \
    "\"tasks\": ["                                                                          \
    "{\"name\": \"product\", \"kernel\": \"gemm\","                                         \
    " \"args\": {\"a\": \"a\", \"b\": \"b\", \"c\": \"c\"}, \"params\": {\"alpha\": 0.5}}," \
    "{\"kernel\": \"reduce\", \"args\": {\"x\": \"c\", \"out\": \"s\"},"                    \
    " \"after\": [\"product\"], \"priority\": -3, \"repeat\": 7}]}"

static void
test_what_is_written_is_there(void **state)
{
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *file = NULL;
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_graph_file_parse(PRODUCT, strlen(PRODUCT), &file, &err), &err);
    assert_int_equal(file->tensors_count, 4);
    assert_string_equal(file->tensors[1].name, "b");
    assert_int_equal(file->tensors[1].shape.dtype, SYN_DTYPE_FP32);
    assert_int_equal(file->tensors[1].shape.layout, SYN_LAYOUT_COLUMNS);
    assert_int_equal(file->tensors[1].shape.strides[0], 1);
    assert_int_equal(file->tensors[1].shape.strides[1], 4);
    assert_int_equal(file->tensors[0].shape.strides[0], 4);
    assert_int_equal(file->tensors[0].init, SYN_GRAPH_INIT_ONES);
    assert_int_equal(file->tensors[2].init, SYN_GRAPH_INIT_NONE);
    assert_int_equal(file->tensors[3].shape.dims, 0);
    assert_int_equal(file->tasks_count, 2);
    assert_string_equal(file->tasks[0].name, "product");
    assert_ptr_equal(file->tasks[0].call.kernel, syn_kernel_find("gemm"));
    assert_true(file->tasks[0].call.params[0] == 0.5 && file->tasks[0].call.params[1] == 0);
    assert_int_equal(file->tasks[0].repeat, 1);
    assert_string_equal(file->tasks[1].name, "task1");
    assert_int_equal(file->tasks[1].tensors[0], 2);
    assert_int_equal(file->tasks[1].tensors[1], 3);
    assert_int_equal(file->tasks[1].after_count, 1);
    assert_int_equal(file->tasks[1].after[0], 0);
    assert_int_equal(file->tasks[1].priority, -3);
    assert_int_equal(file->tasks[1].repeat, 7);
}

/* The whole way, on the CPU: contents, calls in order, a result that can be worked out by hand. */
static void
test_it_can_be_run(void **state)
{
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *file = NULL;
    float data[4][16] = {{0}};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_graph_file_parse(PRODUCT, strlen(PRODUCT), &file, &err), &err);
    for (uint32_t i = 0; i < file->tensors_count; i++) {
        if (file->tensors[i].init != SYN_GRAPH_INIT_NONE)
            syn_graph_tensor_fill(&file->tensors[i], data[i]);
    }
    for (uint32_t i = 0; i < file->tasks_count; i++) {
        struct syn_kernel_call call = file->tasks[i].call;

        for (unsigned k = 0; k < call.kernel->operands_count; k++)
            call.operands[k].data = data[file->tasks[i].tensors[k]];
        assert_done(call.kernel->impls[0].run(&call, NULL, NULL, &err), &err);
    }
    /* b is 0 1, 2 3, 4 5, 6 7: its columns' sums are 12 and 16. */
    assert_true(data[2][0] == 6 && data[2][1] == 8 && data[2][5] == 8);
    assert_true(data[3][0] == 3 * 14);
}

static void
test_round_trip(void **state)
{
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *file = NULL;
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *again = NULL;
    SYN_JSON(doc);
    SYN_JSON(doc_again);
    SYN_BUF(text);
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_graph_file_parse(PRODUCT, strlen(PRODUCT), &file, &err), &err);
    assert_done(syn_graph_file_json(file, &doc, &err), &err);
    assert_done(syn_json_write_pretty(doc, &text, &err), &err);
    assert_done(syn_graph_file_parse(syn_buf_text(&text), text.len, &again, &err), &err);
    assert_done(syn_graph_file_json(again, &doc_again, &err), &err);
    assert_true(json_equal(doc, doc_again));
}

/* ---- what is refused ---- */

#define TENSORS(text) "{\"version\":1,\"tensors\":{" text "},\"tasks\":[{}]}"
#define TASKS(text)                                                                           \
    "{\"version\":1,\"tensors\":{\"a\":{\"dtype\":\"fp32\",\"shape\":[4],\"init\":\"ones\"}," \
    "\"b\":{\"dtype\":\"fp32\",\"shape\":[4]}},\"tasks\":[" text "]}"

/* clang-format off */
static const struct {
    const char *text, *says;
} bad[] = {
    {"", "version: missing"},
    {"[]", "object"},
    {"{\"version\":2,\"tensors\":{},\"tasks\":[]}", "version: "},
    {"{\"version\":1,\"tasks\":[]}", "tensors: missing"},
    {"{\"version\":1,\"tensors\":{},\"tasks\":[]}", "tensors: 1 to 4096"},
    {"{\"version\":1,\"tensors\":{},\"task\":[]}", "task"},
    {TENSORS("\"a b\":{}"), "tensors: a name is printable ASCII without blanks"},
    {TENSORS("\"\":{}"), "tensors: a name has 1 to 63 characters"},
    {TENSORS("\"a\":1"), "tensors.a: expected an object"},
    {TENSORS("\"a\":{\"shape\":[1]}"), "tensors.a.dtype: missing"},
    {TENSORS("\"a\":{\"dtype\":\"fp31\",\"shape\":[1]}"), "tensors.a.dtype: no number format is called fp31"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\"}"), "tensors.a.shape: missing"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1,0]}"), "tensors.a.shape[1]: expected a whole number from 1 on"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1,2.5]}"), "tensors.a.shape[1]: expected a whole number"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1,1,1,1,1,1,1,1,1]}"), "tensors.a.shape: at most 8 entries"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[4294967296,1073741824]}"), "tensors.a.shape: more than 2^62 bytes"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"layout\":\"tiles\"}"), "tensors.a.layout: expected rows or columns"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":\"twos\"}"), "tensors.a.init: expected zeros, ones"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":7}"), "tensors.a.init: expected zeros, ones"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":{}}"), "tensors.a.init: expected random or file"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":{\"random\":1,\"file\":\"x\"}}"), "tensors.a.init: expected random or file"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":{\"random\":-1}}"), "tensors.a.init.random"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"init\":{\"file\":\"\"}}"), "tensors.a.init.file: a path has 1 to 1023 bytes"},
    {TENSORS("\"a\":{\"dtype\":\"bf16\",\"shape\":[1],\"init\":\"ones\"}"), "tensors.a.init: bf16 can only be zeros or a file's"},
    {TENSORS("\"a\":{\"dtype\":\"fp32\",\"shape\":[1],\"inti\":\"ones\"}"), "inti"},
    {TASKS(""), "tasks: 1 to 65536"},
    {TASKS("7"), "tasks[0]: expected an object"},
    {TASKS("{}"), "tasks[0].kernel: missing"},
    {TASKS("{\"kernel\":\"gemv\",\"args\":{}}"), "tasks[0].kernel: no kernel is called gemv; there are: "},
    {TASKS("{\"kernel\":\"sort\"}"), "tasks[0].args: missing"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{}}"), "tasks[0].args.x: missing"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"y\":\"a\"}}"), "tasks[0].args: kernel sort: no operand y; it has x"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"q\"}}"), "tasks[0].args.x: no tensor is called q"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":1}}"), "tasks[0].args.x: expected a tensor's name"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"b\"}}"), "tasks[0].args.x: nothing was written to b before it is read"},
    {TASKS("{\"kernel\":\"axpy\",\"args\":{\"x\":\"a\",\"y\":\"a\"}}"), "tasks[0].args.y: a is written and used twice"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"params\":{\"z\":1}}"), "tasks[0].params: kernel sort: no parameter z"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"params\":[]}"), "tasks[0].params: expected an object"},
    {TASKS("{\"kernel\":\"reduce\",\"args\":{\"x\":\"a\",\"out\":\"b\"}}"), "tasks[0]: kernel reduce: out has 4 elements"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"after\":[\"later\"]}"), "tasks[0].after[0]: no task before it is called later"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"after\":[1]}"), "tasks[0].after[0]"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"after\":\"x\"}"), "tasks[0].after: expected a list"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"priority\":8}"), "tasks[0].priority"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"repeat\":0}"), "tasks[0].repeat"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"name\":\"task1\"},{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"}}"), "tasks[1].name: task1 is another task's"},
    {TASKS("{\"kernel\":\"sort\",\"args\":{\"x\":\"a\"},\"when\":1}"), "when"},
};
/* clang-format on */

static void
test_what_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(bad); i++) {
        struct syn_graph_file *file = NULL;
        struct syn_err err = {0};
        int rc = syn_graph_file_parse(bad[i].text, strlen(bad[i].text), &file, &err);

        if (rc != SYN_E_INVALID || !strstr(err.msg, bad[i].says))
            fail_msg("%s\n%d \"%s\", want \"%s\"", bad[i].text, rc, err.msg, bad[i].says);
        assert_null(file);
    }
}

/* ---- contents ---- */

static void
fill(enum syn_dtype dtype, enum syn_graph_init init, uint64_t seed, void *data)
{
    const struct syn_graph_tensor tensor = {
        .shape = {.dtype = dtype, .dims = 2, .sizes = {2, 3}, .strides = {1, 2}},
        .init = init,
        .seed = seed,
    };

    syn_graph_tensor_fill(&tensor, data);
}

static void
test_contents(void **state)
{
    int16_t small[6];
    double real[6], other[6];
    float complex[12];

    (void)state;
    fill(SYN_DTYPE_INT16, SYN_GRAPH_INIT_IOTA, 0, small);
    assert_int_equal(small[0], 0); /* in columns: 0 3, 1 4, 2 5 */
    assert_int_equal(small[1], 3);
    assert_int_equal(small[5], 5);
    fill(SYN_DTYPE_C64, SYN_GRAPH_INIT_ONES, 0, complex);
    for (int i = 0; i < 12; i++)
        assert_true(complex[i] == (i % 2 == 0 ? 1 : 0));
    fill(SYN_DTYPE_C64, SYN_GRAPH_INIT_RANDOM, 0, complex);
    assert_true(complex[1] != 0 && complex[0] != complex[1]);
    fill(SYN_DTYPE_FP64, SYN_GRAPH_INIT_RANDOM, 1, real);
    fill(SYN_DTYPE_FP64, SYN_GRAPH_INIT_RANDOM, 2, other);
    for (int i = 0; i < 6; i++)
        assert_true(real[i] >= -1 && real[i] <= 1 && real[i] != other[i]);
    fill(SYN_DTYPE_FP64, SYN_GRAPH_INIT_RANDOM, 1, other);
    assert_memory_equal(real, other, sizeof(real));
    fill(SYN_DTYPE_INT16, SYN_GRAPH_INIT_RANDOM, 1, small);
    for (int i = 0; i < 6; i++)
        assert_true(small[i] >= -100 && small[i] <= 100);
    fill(SYN_DTYPE_BF16, SYN_GRAPH_INIT_ZEROS, 0, small);
    assert_int_equal(small[5], 0);
}

static int
memory_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *file = NULL;
    SYN_JSON(doc);
    int rc = syn_graph_file_parse(PRODUCT, strlen(PRODUCT), &file, err);

    (void)arg;
    return rc < 0 ? rc : syn_graph_file_json(file, &doc, err);
}

static void
test_memory_may_be_short(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(memory_scenario, NULL) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_there),
        cmocka_unit_test(test_it_can_be_run),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_memory_may_be_short),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("graph_file", tests, NULL, NULL);
}
