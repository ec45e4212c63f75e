/* Tables for people: columns as wide as their widest cell, two blanks apart. */
#include "cli_priv.h"

#include <assert.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct syn_cli_table_out {
    char titles[SYN_CLI_COLUMNS_MAX][32];
    bool right[SYN_CLI_COLUMNS_MAX];
    bool restless[SYN_CLI_COLUMNS_MAX];
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

        for (; titles[0] == '>' || titles[0] == '~'; titles++, len--) {
            rows->right[rows->columns] |= titles[0] == '>';
            rows->restless[rows->columns] |= titles[0] == '~';
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

size_t
syn_cli_rows_count(const struct syn_cli_table_out *rows)
{
    assert(rows->failed || rows->count % rows->columns == 0); /* a cell for each title */
    return rows->count / rows->columns;
}

bool
syn_cli_rows_failed(const struct syn_cli_table_out *rows)
{
    return rows->failed;
}

static const char *
cell_at(const struct syn_cli_table_out *rows, size_t row, size_t column)
{
    return row == SIZE_MAX ? rows->titles[column] : rows->cells[row * rows->columns + column];
}

void
syn_cli_rows_fit(const struct syn_cli_table_out *rows, size_t *widths)
{
    for (size_t i = 0; i < rows->columns; i++) {
        widths[i] = SYN_MAX(widths[i], width_of(rows->titles[i]));
        for (size_t j = i; j < rows->count; j += rows->columns)
            widths[i] = SYN_MAX(widths[i], width_of(rows->cells[j]));
    }
}

static void
add_blanks(struct syn_buf *out, size_t count)
{
    for (; count > 0; count--)
        syn_buf_addc(out, ' ');
}

/* What a resource is called may hold anything; a row is one line. */
static void
add_plain(struct syn_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        bool control = (unsigned char)*text < 0x20 || *text == 0x7f;

        syn_buf_addc(out, (char)(control ? ' ' : *text));
    }
}

void
syn_cli_rows_line(const struct syn_cli_table_out *rows, size_t row, const size_t *widths,
                  struct syn_buf *out)
{
    for (size_t i = 0; i < rows->columns; i++) {
        const char *cell = cell_at(rows, row, i);
        size_t width = width_of(cell);
        size_t pad = widths[i] > width ? widths[i] - width : 0;

        add_blanks(out, i > 0 ? 2 : 0);
        add_blanks(out, rows->right[i] ? pad : 0);
        add_plain(out, cell);
        add_blanks(out, !rows->right[i] && i + 1 < rows->columns ? pad : 0);
    }
}

void
syn_cli_rows_news(const struct syn_cli_table_out *rows, size_t row, struct syn_buf *out)
{
    for (size_t i = 0; i < rows->columns; i++) {
        if (rows->restless[i])
            continue;
        syn_buf_adds(out, cell_at(rows, row, i));
        syn_buf_addc(out, '\n');
    }
}

int
syn_cli_rows_print(const struct syn_cli *cli, struct syn_cli_table_out *rows, const char *empty)
{
    size_t widths[SYN_CLI_COLUMNS_MAX] = {0};
    struct syn_err err;

    if (rows->failed) {
        (void)SYN_FAIL(&err, SYN_E_NOMEM, "no memory for a table");
        return syn_cli_fail(cli, &err);
    }
    if (syn_cli_rows_count(rows) == 0) {
        syn_cli_say(cli, "%s", empty);
        return 0;
    }
    syn_cli_rows_fit(rows, widths);
    for (size_t row = 0; row < syn_cli_rows_count(rows) + 1; row++) {
        SYN_BUF(line);

        syn_cli_rows_line(rows, row == 0 ? SIZE_MAX : row - 1, widths, &line);
        if (syn_buf_ok(&line, &err) < 0)
            return syn_cli_fail(cli, &err);
        (void)puts(syn_buf_text(&line));
    }
    return 0;
}

int
syn_cli_remove(struct syn_cli *cli, const struct syn_cli_removal *removal)
{
    struct syn_err err;

    if (!syn_cli_confirm(cli, removal->question)) {
        syn_cli_note(cli, "Nothing was removed.");
        return 1;
    }
    if (syn_cli_call(cli, "DELETE", removal->path, NULL, NULL, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:b}", "name", removal->name, "removed", 1));
    syn_cli_say(cli, "%s is forgotten%s", removal->name, removal->said);
    return 0;
}
