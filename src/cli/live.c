#include "live_priv.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <synor/base/str.h>

#define COLUMNS 80 /* of a terminal that does not say */
#define LINES   24
#define TITLES  SIZE_MAX /* as a row */

/* The line, cut to so many columns; it may hold UTF-8. */
static void
add_cut(struct syn_buf *out, const struct syn_buf *line, size_t columns)
{
    const char *text = syn_buf_text(line);
    size_t width = 0;
    size_t len = 0;

    while (len < line->len) {
        width += ((unsigned char)text[len] & 0xc0) != 0x80;
        if (width > columns)
            break;
        len++;
    }
    syn_buf_add(out, text, len);
    syn_buf_addc(out, '\n');
}

static int
put_out(const struct syn_buf *out, struct syn_err *err)
{
    int rc = syn_buf_ok(out, err);

    if (rc < 0)
        return rc;
    if (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout) != 0)
        return SYN_FAIL_SYS(err, errno, "writing to standard output");
    return SYN_OK;
}

int
syn_cli_live_draw(struct syn_cli_live *live, const struct syn_cli_table_out *rows, size_t columns,
                  size_t lines, struct syn_err *err)
{
    size_t count = syn_cli_rows_count(rows);
    size_t room = lines > 3 ? lines - 2 : 1; /* the titles, and where the cursor stands */
    size_t shown = count <= room ? count : room > 1 ? room - 1 : 1;
    size_t widths[SYN_CLI_COLUMNS_MAX] = {0};
    SYN_BUF(out);

    syn_cli_rows_fit(rows, widths);
    if (live->drawn > 0)
        syn_buf_addf(&out, "\033[%zuA\r\033[J", live->drawn);
    for (size_t i = 0; i < shown + 1; i++) {
        SYN_BUF(line);

        syn_cli_rows_line(rows, i == 0 ? TITLES : i - 1, widths, &line);
        if (syn_buf_ok(&line, err) < 0)
            return SYN_E_NOMEM;
        add_cut(&out, &line, columns);
    }
    if (shown < count)
        syn_buf_addf(&out, "... and %zu more\n", count - shown);
    live->drawn = shown + 1 + (shown < count);
    return put_out(&out, err);
}

int
syn_cli_live_redraw(struct syn_cli_live *live, const struct syn_cli_table_out *rows,
                    struct syn_err *err)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_col = COLUMNS, .ws_row = LINES};
    return syn_cli_live_draw(live, rows, size.ws_col, size.ws_row, err);
}

int
syn_cli_live_append(struct syn_cli_live *live, const struct syn_cli_table_out *rows,
                    struct syn_err *err)
{
    size_t count = syn_cli_rows_count(rows);
    SYN_BUF(out);

    if (count == 0)
        return SYN_OK;
    syn_cli_rows_fit(rows, live->widths);
    for (size_t i = live->titled ? 1 : 0; i < count + 1; i++) {
        syn_cli_rows_line(rows, i == 0 ? TITLES : i - 1, live->widths, &out);
        syn_buf_addc(&out, '\n');
    }
    live->titled = true;
    return put_out(&out, err);
}
