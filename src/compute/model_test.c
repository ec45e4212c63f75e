#include <synor/base/test.h>
#include <synor/model.h>

#include <math.h>
#include <string.h>

static const char *const names[] = {"cpu", "modelled big gpu"};

static struct syn_model *
model_of(void)
{
    struct syn_model *model = NULL;
    struct syn_err err = {0};

    assert_done(syn_model_new(names, 2, &model, &err), &err);
    return model;
}

static struct syn_model_entry *
entry_of(struct syn_model *model, const char *kernel, uint64_t size)
{
    struct syn_model_entry *entry = NULL;
    struct syn_err err = {0};

    assert_done(syn_model_entry(model, kernel, size, 0, &entry, &err), &err);
    return entry;
}

static void
test_sources(void **state)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = model_of();
    struct syn_model_entry *entry = entry_of(model, "gemm", 100);
    struct syn_model_answer answer;

    (void)state;
    syn_model_ask(entry, 0, &answer);
    assert_int_equal(answer.source, SYN_MODEL_NONE);
    assert_true(syn_model_estimate(entry)->ns[5] == SYN_NEVER); /* no such class */
    syn_model_prior(entry, 0, 777);
    syn_model_prior(entry, 1, SYN_NEVER);
    syn_model_ask(entry, 0, &answer);
    assert_int_equal(answer.source, SYN_MODEL_PRIOR);
    assert_int_equal(answer.ns, 777);
    syn_model_ask(entry, 1, &answer);
    assert_int_equal(answer.source, SYN_MODEL_IMPOSSIBLE);
    syn_model_record(entry_of(model, "gemm", 200), 0, 3000);
    syn_model_ask(entry, 0, &answer);
    assert_int_equal(answer.source, SYN_MODEL_REGRESSION);
    syn_model_record(entry, 0, 500);
    syn_model_ask(entry, 0, &answer);
    assert_int_equal(answer.source, SYN_MODEL_HISTORY);
    assert_int_equal(answer.ns, 500);
    assert_ptr_equal(entry, entry_of(model, "gemm", 100));
}

/* Two outliers in ten, cold and preempted, move nothing; a lasting change is followed. */
static void
test_outliers(void **state)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = model_of();
    struct syn_model_entry *entry = entry_of(model, "axpy", 1);
    struct syn_model_answer answer;
    uint64_t seed = 4711;

    (void)state;
    for (int i = 0; i < 10; i++)
        syn_model_record(entry, 0, i == 0 || i == 6 ? 900000 : 990 + syn_test_random(&seed) % 21);
    syn_model_ask(entry, 0, &answer);
    assert_in_range(answer.ns, 970, 1030);
    for (int i = 0; i < 200; i++)
        syn_model_record(entry, 0, i % 20 == 0 ? 900000 : 990 + syn_test_random(&seed) % 21);
    syn_model_ask(entry, 0, &answer);
    assert_in_range(answer.ns, 950, 1100);
    for (int i = 0; i < 200; i++)
        syn_model_record(entry, 0, 3000);
    syn_model_ask(entry, 0, &answer);
    assert_in_range(answer.ns, 2900, 3010);
}

static void
test_regression(void **state)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = model_of();
    struct syn_model_answer answer;

    (void)state;
    for (uint64_t n = 64; n <= 512; n *= 2)
        syn_model_record(entry_of(model, "cube", n), 0, n * n * n);
    syn_model_ask(entry_of(model, "cube", 200), 0, &answer);
    assert_in_range(answer.ns, 7900000, 8100000);
    syn_model_ask(entry_of(model, "cube", 1024), 0, &answer);
    assert_in_range(answer.ns, UINT64_C(1060000000), UINT64_C(1090000000));
    /* Falling with size: the exponent stays at 0, so far out it is the nearest. */
    syn_model_record(entry_of(model, "odd", 10), 0, 1000);
    syn_model_record(entry_of(model, "odd", 100), 0, 100);
    syn_model_ask(entry_of(model, "odd", 1000000), 0, &answer);
    assert_int_equal(answer.ns, 100);
    /* Sizes that were made before anything was measured are told. */
    {
        struct syn_model_entry *early = entry_of(model, "late", 10);

        syn_model_record(entry_of(model, "late", 20), 0, 400);
        syn_model_ask(early, 0, &answer);
        assert_int_equal(answer.ns, 200);
    }
}

enum { ENTRIES = 120, SIZES = 40 };

struct sizes {
    struct syn_model *model;
    struct syn_model_entry *entries[ENTRIES];
    uint64_t sizes[ENTRIES], seed, others;
};

static unsigned
any(struct sizes *of)
{
    return (unsigned)(syn_test_random(&of->seed) % ENTRIES);
}

/* What an unmeasured size was told is what a new one of that size finds when it looks by itself. */
static void
measure_and_compare(struct sizes *of)
{
    struct syn_model_entry *fresh = NULL;
    struct syn_model_answer told, found;
    struct syn_err err;
    unsigned one = any(of);

    syn_model_ask(of->entries[one], 0, &told);
    if (told.samples == 0)
        syn_model_record(of->entries[one], 0, 1000 + syn_test_random(&of->seed) % 100000);
    one = any(of);
    syn_model_ask(of->entries[one], 0, &told);
    if (told.source != SYN_MODEL_REGRESSION)
        return;
    assert_done(
        syn_model_entry(of->model, "k", of->sizes[one], ENTRIES + of->others++, &fresh, &err),
        &err);
    syn_model_ask(fresh, 0, &found);
    assert_int_equal(told.ns, found.ns);
}

static void
make_entry(struct sizes *of, unsigned at)
{
    struct syn_err err;

    of->sizes[at] = 1 + syn_test_random(&of->seed) % SIZES;
    assert_done(syn_model_entry(of->model, "k", of->sizes[at], at, &of->entries[at], &err), &err);
}

/* In whatever order sizes are measured. */
static void
test_told(void **state)
{
    struct sizes of = {.seed = 1};

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        of.model = model_of();
        for (unsigned i = 0; i < ENTRIES; i++)
            make_entry(&of, i);
        for (unsigned i = 0; i < ENTRIES; i++)
            measure_and_compare(&of);
        of.model = syn_model_free(of.model);
    }
}

static void
test_text(void **state)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = model_of();
    SYN_SCOPED(syn_model_free_scope) struct syn_model *other = NULL;
    static const char *const swapped[] = {"modelled big gpu", "other"};
    struct syn_model_answer answer;
    struct syn_err err = {0};
    SYN_BUF(text);
    SYN_BUF(again);

    (void)state;
    for (int i = 0; i < 20; i++) {
        syn_model_record(entry_of(model, "gemm", 0xabc), 0, 1000);
        syn_model_record(entry_of(model, "gemm", 0xabc), 1, 50);
    }
    syn_model_write(model, &text);
    assert_done(syn_buf_ok(&text, &err), &err);
    assert_done(syn_model_new(swapped, 2, &other, &err), &err);
    assert_done(syn_model_read(other, text.data, text.len, &err), &err);
    syn_model_ask(entry_of(other, "gemm", 0xabc), 0, &answer);
    assert_int_equal(answer.ns, 50); /* by the class's name */
    assert_int_equal(answer.samples, 20);
    syn_model_ask(entry_of(other, "gemm", 0xabc), 1, &answer);
    assert_int_equal(answer.source, SYN_MODEL_NONE);
    assert_done(syn_model_read(model, text.data, text.len, &err), &err);
    syn_model_write(model, &again);
    assert_string_equal(syn_buf_text(&text), syn_buf_text(&again));
}

static void
test_refused(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"", SYN_E_CORRUPT},
        {"synor-model 1", SYN_E_CORRUPT},
        {"synor-model 2\n", SYN_E_INVALID},
        {"other\n", SYN_E_CORRUPT},
        {"synor-model 1\nclass 1 x\n", SYN_E_CORRUPT},
        {"synor-model 1\ntime 0 1 1 1\n", SYN_E_CORRUPT},
        {"synor-model 1\nclass 0 cpu\nentry k 1 0\ntime 1 1 1 1\n", SYN_E_CORRUPT},
        {"synor-model 1\nclass 0 cpu\nentry k 1 0\ntime 0 0 1 1\n", SYN_E_CORRUPT},
        {"synor-model 1\nclass 0 cpu\nentry k 1 0\ntime 0 1 -1 1\n", SYN_E_CORRUPT},
        {"synor-model 1\nentry k 11111111111111111 0\n", SYN_E_CORRUPT},
        {"synor-model 1\nentry \tk 1 0\n", SYN_E_CORRUPT},
    };
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = model_of();
    struct syn_model_entry *entry = NULL;
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        assert_code(syn_model_read(model, cases[i].text, strlen(cases[i].text), &err),
                    cases[i].code, &err);
    assert_code(syn_model_entry(model, "two words", 1, 0, &entry, &err), SYN_E_INVALID, &err);
    assert_code(syn_model_entry(model, "", 1, 0, &entry, &err), SYN_E_INVALID, &err);
}

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = NULL;
    struct syn_model_entry *entry = NULL;
    SYN_BUF(text);
    int rc = syn_model_new(names, 2, &model, err);

    (void)arg;
    for (uint64_t size = 1; size < 6 && rc == 0; size++)
        rc = syn_model_entry(model, "k", size, 0, &entry, err);
    if (rc < 0)
        return rc;
    syn_model_record(entry, 0, 100);
    syn_model_write(model, &text);
    rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_model_read(model, text.data, text.len, err);
}

static void
test_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, NULL) > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),    cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_regression), cmocka_unit_test(test_told),
        cmocka_unit_test(test_text),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests_name("compute/model", tests, NULL, NULL);
}
