/* The live table, byte for byte as a terminal or a file gets it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/test.h>

#include "live_priv.h"

/* Standard output, from capture() to captured(). */
struct capture {
    FILE *file;
    int saved;
};

static void
capture(struct capture *capture)
{
    capture->file = tmpfile();
    assert_non_null(capture->file);
    (void)fflush(stdout);
    capture->saved = dup(STDOUT_FILENO);
    assert_int_equal(dup2(fileno(capture->file), STDOUT_FILENO), STDOUT_FILENO);
}

static void
captured(struct capture *capture, char *out, size_t cap)
{
    (void)fflush(stdout);
    assert_int_equal(dup2(capture->saved, STDOUT_FILENO), STDOUT_FILENO);
    (void)close(capture->saved);
    rewind(capture->file);
    out[fread(out, 1, cap - 1, capture->file)] = '\0';
    (void)fclose(capture->file);
}

/* A table of pairs; ends with NULL. */
static struct syn_cli_table_out *
table(const char *titles, const char *const *cells)
{
    struct syn_cli_table_out *rows;
    struct syn_err err;

    assert_done(syn_cli_rows_new(titles, &rows, &err), &err);
    for (; *cells != NULL; cells++)
        syn_cli_cell(rows, "%s", *cells);
    return rows;
}

static void
drawn_over_what_was_drawn(void **state)
{
    static const struct {
        const char *cells[9];
        size_t columns, lines;
        const char *want;
    } rows[] = {
        {{"a", "ready", NULL}, 80, 24, "NAME  STATE\na     ready\n"},
        {{"a", "ready", "b", "new", NULL},
         80,
         24,
         "\033[2A\r\033[JNAME  STATE\na     ready\nb     new\n"},
        {{"\xc3\xa4\xc3\xb6\xc3\xbc-long", "x", NULL},
         6,
         24,
         "\033[3A\r\033[JNAME  \n\xc3\xa4\xc3\xb6\xc3\xbc-lo\n"},
        {{"a", "1", "b", "2", "c", "3", "d", "4", NULL},
         80,
         5,
         "\033[2A\r\033[JNAME  STATE\na     1\nb     2\n... and 2 more\n"},
        {{NULL}, 80, 24, "\033[4A\r\033[JNAME  STATE\n"},
        {{"line\nbreak", "\033[31m", NULL},
         80,
         24,
         "\033[1A\r\033[JNAME        STATE\nline break   [31m\n"},
    };
    struct syn_cli_live live = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *made = NULL;
        struct capture file;
        struct syn_err err = {0};
        char out[512];
        int rc;

        made = table("NAME|STATE", rows[i].cells);
        capture(&file);
        rc = syn_cli_live_draw(&live, made, rows[i].columns, rows[i].lines, &err);
        captured(&file, out, sizeof(out));
        assert_done(rc, &err);
        assert_string_equal(out, rows[i].want);
    }
}

static void
appended_in_line(void **state)
{
    static const char *const cells[][3] = {
        {"long-name", "1", NULL}, {"b", "22", NULL}, {"longer-name-yet", "333", NULL}};
    struct syn_cli_live live = {0};
    struct capture file;
    char out[512];
    int rc = SYN_OK;
    struct syn_err err = {0};

    (void)state;
    capture(&file);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(cells); i++) {
        SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *made = NULL;

        made = table("NAME|>SIZE", cells[i]);
        rc = syn_cli_live_append(&live, made, &err);
    }
    captured(&file, out, sizeof(out));
    assert_done(rc, &err);
    assert_string_equal(out, "NAME       SIZE\n"
                             "long-name     1\n"
                             "b            22\n"
                             "longer-name-yet   333\n");
}

static void
restless_columns_are_no_news(void **state)
{
    static const char *const cells[] = {"a", "1", "x", "a", "2", "x", "a", "2", "y", NULL};
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *made = NULL;
    SYN_BUF(first);
    SYN_BUF(second);
    SYN_BUF(third);

    (void)state;
    made = table("NAME|>~SEEN|STATE", cells);
    syn_cli_rows_news(made, 0, &first);
    syn_cli_rows_news(made, 1, &second);
    syn_cli_rows_news(made, 2, &third);
    assert_string_equal(syn_buf_text(&first), syn_buf_text(&second));
    assert_string_not_equal(syn_buf_text(&second), syn_buf_text(&third));
}

/* Every allocation of both ways to show a table fails once. */
static int
show_both(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_cli_live live = {0};
    struct capture file;
    char out[256];
    int rc = syn_cli_rows_new("A|B", &rows, err);

    (void)arg;
    if (rc < 0)
        return rc;
    syn_cli_cell(rows, "cell");
    syn_cli_cell(rows, "cell");
    if (syn_cli_rows_failed(rows))
        return SYN_FAIL(err, SYN_E_NOMEM, "the table said so");
    capture(&file);
    rc = syn_cli_live_draw(&live, rows, 80, 24, err);
    if (rc == SYN_OK)
        rc = syn_cli_live_append(&live, rows, err);
    captured(&file, out, sizeof(out));
    return rc;
}

static void
short_of_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(show_both, NULL) >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_over_what_was_drawn),
        cmocka_unit_test(appended_in_line),
        cmocka_unit_test(restless_columns_are_no_news),
        cmocka_unit_test(short_of_memory),
    };

    return cmocka_run_group_tests_name("live", tests, NULL, NULL);
}
