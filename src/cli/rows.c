/* Tables for people: columns as wide as their widest cell, two blanks apart. */
#include "cli_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct syn_cli_table_out {
    char titles[SYN_CLI_COLUMNS_MAX][32];
    bool right[SYN_CLI_COLUMNS_MAX];
    size_t columns;
    char **cells;
    size_t count;
    size_t cap;
    bool failed;
};

int
syn_cli_rows_new(const char *titles, struct syn_cli_table_out **ret, struct syn_err *err)
{
    struct syn_cli_table_out *rows = syn_calloc(1, sizeof(*rows));

    if (rows == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a table");
    while (*titles != '\0' && rows->columns < SYN_CLI_COLUMNS_MAX) {
        size_t len = strcspn(titles, "|");

        rows->right[rows->columns] = titles[0] == '>';
        if (titles[0] == '>') {
            titles++;
            len--;
        }
        (void)snprintf(rows->titles[rows->columns], sizeof(rows->titles[0]), "%.*s", (int)len,
                       titles);
        rows->columns++;
        titles += len;
        if (*titles == '|')
            titles++;
    }
    *ret = rows;
    return SYN_OK;
}

struct syn_cli_table_out *
syn_cli_rows_free(struct syn_cli_table_out *rows)
{
    if (rows == NULL)
        return NULL;
    for (size_t i = 0; i < rows->count; i++)
        syn_free(rows->cells[i]);
    syn_free((void *)rows->cells);
    syn_free(rows);
    return NULL;
}

void
syn_cli_rows_free_scope(struct syn_cli_table_out **slot)
{
    *slot = syn_cli_rows_free(*slot);
}

void
syn_cli_cell(struct syn_cli_table_out *rows, const char *format, ...)
{
    SYN_BUF(text);
    va_list args;
    char *taken = NULL;

    va_start(args, format);
    syn_buf_addv(&text, format, args);
    va_end(args);
    if (!syn_grow((void *)&rows->cells, &rows->cap, rows->count + 1, sizeof(*rows->cells)) ||
        syn_buf_take(&text, &taken, NULL, NULL) < 0) {
        rows->failed = true;
        return;
    }
    rows->cells[rows->count++] = taken;
}

/* Columns a terminal uses for UTF-8 text: continuation bytes take none. */
static size_t
width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void
print_row(const struct syn_cli_table_out *rows, const size_t *widths, const char *const *cells)
{
    for (size_t i = 0; i < rows->columns; i++) {
        size_t pad = widths[i] - width_of(cells[i]);

        if (i > 0)
            fputs("  ", stdout);
        if (rows->right[i])
            printf("%*s", (int)pad, "");
        fputs(cells[i], stdout);
        if (!rows->right[i] && i + 1 < rows->columns)
            printf("%*s", (int)pad, "");
    }
    putchar('\n');
}

int
syn_cli_rows_print(const struct syn_cli *cli, struct syn_cli_table_out *rows, const char *empty)
{
    size_t widths[SYN_CLI_COLUMNS_MAX];
    const char *titles[SYN_CLI_COLUMNS_MAX];
    struct syn_err err;

    if (rows->failed) {
        (void)SYN_FAIL(&err, SYN_E_NOMEM, "no memory for a table");
        return syn_cli_fail(cli, &err);
    }
    if (rows->count < rows->columns) {
        syn_cli_say(cli, "%s", empty);
        return 0;
    }
    for (size_t i = 0; i < rows->columns; i++) {
        titles[i] = rows->titles[i];
        widths[i] = width_of(titles[i]);
        for (size_t j = i; j < rows->count; j += rows->columns)
            widths[i] = SYN_MAX(widths[i], width_of(rows->cells[j]));
    }
    print_row(rows, widths, titles);
    for (size_t j = 0; j + rows->columns <= rows->count; j += rows->columns)
        print_row(rows, widths, (const char *const *)&rows->cells[j]);
    return 0;
}
