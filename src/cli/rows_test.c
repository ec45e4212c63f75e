/* Tables: what is printed, as a person sees it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/test.h>

#include "cli_priv.h"

/* Let descriptor `fd` lead to `file`; returns what undoes it. */
static int
redirect(int fd, int file)
{
    int saved = dup(fd);

    assert_true(saved >= 0 && dup2(file, fd) == fd);
    return saved;
}

static void
restore(int fd, int saved)
{
    assert_int_equal(dup2(saved, fd), fd);
    (void)close(saved);
}

/* The exit status; what `rows` print is in `out`. */
static int
print(struct syn_cli_table_out *rows, char *out, size_t cap)
{
    const struct syn_cli cli = {.json = false};
    FILE *file = tmpfile();
    FILE *rest = tmpfile();
    int saved_out;
    int saved_err;
    int status;
    size_t got;

    assert_non_null(file);
    assert_non_null(rest);
    (void)fflush(stdout);
    saved_out = redirect(STDOUT_FILENO, fileno(file));
    saved_err = redirect(STDERR_FILENO, fileno(rest));
    status = syn_cli_rows_print(&cli, rows, "Nothing.");
    (void)fflush(stdout);
    restore(STDOUT_FILENO, saved_out);
    restore(STDERR_FILENO, saved_err);
    rewind(file);
    got = fread(out, 1, cap - 1, file);
    out[got] = '\0';
    (void)fclose(file);
    (void)fclose(rest);
    return status;
}

static void
test_columns(void **state)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char out[512];
    struct syn_err err;

    (void)state;
    assert_done(syn_cli_rows_new("NAME|>SIZE|WHAT", &rows, &err), &err);
    syn_cli_cell(rows, "long-name");
    syn_cli_cell(rows, "%d", 5);
    syn_cli_cell(rows, "x");
    syn_cli_cell(rows, "\xc3\xa4"); /* one column wide, two bytes long */
    syn_cli_cell(rows, "%d", 12345);
    syn_cli_cell(rows, "y");
    assert_int_equal(print(rows, out, sizeof(out)), 0);
    assert_string_equal(out, "NAME        SIZE  WHAT\n"
                             "long-name      5  x\n"
                             "\xc3\xa4          12345  y\n");
}

static void
test_empty(void **state)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char out[512];
    struct syn_err err;

    (void)state;
    assert_done(syn_cli_rows_new("A|B", &rows, &err), &err);
    assert_int_equal(print(rows, out, sizeof(out)), 0);
    assert_string_equal(out, "Nothing.\n");
}

/* A table that ran out of memory says so instead of showing less. */
static int
fill(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char out[64];
    int rc = syn_cli_rows_new("A", &rows, err);

    (void)arg;
    if (rc < 0)
        return rc;
    syn_cli_cell(rows, "%s", "cell");
    return print(rows, out, sizeof(out)) == 0 ? SYN_OK
                                              : SYN_FAIL(err, SYN_E_NOMEM, "the table said so");
}

static void
test_short_of_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(fill, NULL) >= 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_short_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
