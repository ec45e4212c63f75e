#include <synor/orchestration/life.h>

#include <synor/base/buf.h>
#include <synor/base/str.h>
#include <synor/base/test.h>

/* Every state can be reached, and can reach an end. */
static void
check_graph(const struct syn_sm *sm)
{
    uint32_t reached = SYN_BIT(0), ends = 0;

    for (unsigned round = 0; round < sm->count; round++)
        for (unsigned from = 0; from < sm->count; from++) {
            if (reached & SYN_BIT(from))
                reached |= sm->states[from].next;
            if (syn_sm_terminal(sm, from) || (sm->states[from].next & ends))
                ends |= SYN_BIT(from);
        }
    assert_int_equal(reached, SYN_BIT(sm->count) - 1);
    assert_int_equal(ends, SYN_BIT(sm->count) - 1);
}

static void
test_every_state_is_reached_and_ends(void **state)
{
    (void)state;
    check_graph(&syn_job_life);
    check_graph(&syn_instance_life);
}

static void
check_reasons(const struct syn_sm *sm, const struct syn_reason *rows, size_t count)
{
    uint32_t seen = 0;

    for (size_t i = 0; i < count; i++) {
        assert_true(rows[i].state < sm->count);
        assert_true(rows[i].word[0] && rows[i].sentence[0] && rows[i].way_out);
        seen |= SYN_BIT(rows[i].state);
        for (size_t j = 0; j < i; j++)
            assert_false(rows[i].state == rows[j].state && syn_str_eq(rows[i].word, rows[j].word));
    }
    assert_int_equal(seen, SYN_BIT(sm->count) - 1);
}

static void
test_every_state_has_reasons(void **state)
{
    size_t count;
    const struct syn_reason *rows = syn_job_reasons(&count);

    (void)state;
    check_reasons(&syn_job_life, rows, count);
    rows = syn_instance_reasons(&count);
    check_reasons(&syn_instance_life, rows, count);
}

static void
test_words_are_found(void **state)
{
    (void)state;
    assert_int_equal(syn_job_state_find("stopping"), SYN_JOB_STOPPING);
    assert_int_equal(syn_job_state_find("exited"), -1);
    assert_int_equal(syn_instance_state_find("exited"), SYN_PHASE_EXITED);
    assert_non_null(syn_job_reason(SYN_JOB_FAILED, "oom-killed"));
    assert_null(syn_job_reason(SYN_JOB_STOPPED, "oom-killed"));
    assert_non_null(syn_instance_reason(SYN_PHASE_EXITED, "pids-limit"));
    assert_true(syn_instance_ended(SYN_PHASE_LOST));
    assert_false(syn_instance_ended(SYN_PHASE_STOPPING));
    assert_true(syn_sm_may(&syn_job_life, SYN_JOB_RUNNING, SYN_JOB_PENDING));
    assert_false(syn_sm_may(&syn_job_life, SYN_JOB_FAILED, SYN_JOB_PENDING));
}

/* The diagram and the reasons in docs/training.md are these tables, word for word. */
static void
diagram_write(struct syn_buf *out, const struct syn_sm *sm)
{
    syn_buf_addf(out, "stateDiagram-v2\n    [*] --> %s\n", sm->states[0].name);
    for (unsigned from = 0; from < sm->count; from++) {
        for (unsigned to = 0; to < sm->count; to++)
            if (syn_sm_may(sm, from, to))
                syn_buf_addf(out, "    %s --> %s\n", sm->states[from].name, sm->states[to].name);
        if (syn_sm_terminal(sm, from))
            syn_buf_addf(out, "    %s --> [*]\n", sm->states[from].name);
    }
}

static void
reasons_write(struct syn_buf *out, const struct syn_sm *sm, const struct syn_reason *rows,
              size_t count)
{
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(out, "| %s | `%s` | %s | %s |\n", sm->states[rows[i].state].name, rows[i].word,
                     rows[i].sentence, rows[i].way_out);
}

static void
check_documented(const char *page, const struct syn_buf *want)
{
    assert_false(want->failed);
    if (!strstr(page, want->data))
        fail_msg("docs/training.md does not hold this:\n%s", want->data);
}

static void
test_the_tables_are_documented(void **state)
{
    static char page[1 << 16];
    FILE *file = fopen(SYN_TEST_SOURCE_ROOT "/docs/training.md", "re");
    const struct syn_reason *rows;
    size_t count;
    SYN_BUF(want);

    (void)state;
    assert_non_null(file);
    page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
    (void)fclose(file);
    diagram_write(&want, &syn_job_life);
    check_documented(page, &want);
    syn_buf_clear(&want);
    diagram_write(&want, &syn_instance_life);
    check_documented(page, &want);
    syn_buf_clear(&want);
    rows = syn_job_reasons(&count);
    reasons_write(&want, &syn_job_life, rows, count);
    check_documented(page, &want);
    syn_buf_clear(&want);
    rows = syn_instance_reasons(&count);
    reasons_write(&want, &syn_instance_life, rows, count);
    check_documented(page, &want);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_is_reached_and_ends),
        cmocka_unit_test(test_every_state_has_reasons),
        cmocka_unit_test(test_words_are_found),
        cmocka_unit_test(test_the_tables_are_documented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
