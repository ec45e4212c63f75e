/* One line of progress on standard error. On a terminal it is rewritten in place; elsewhere a line
 * is printed now and then, so that a log of a long upload stays short. */
#include "cli_priv.h"

#include <unistd.h>

#include <synor/base/world.h>

#define TTY_EVERY_MS   100
#define PLAIN_EVERY_MS 2000
#define BAR_COLUMNS    24

void
syn_cli_progress_init(struct syn_cli_progress *progress, const struct syn_cli *cli,
                      const char *label, int64_t total, bool bytes)
{
    int64_t now = syn_mono_ms(syn_world_system());

    *progress = (struct syn_cli_progress){.cli = cli,
                                          .label = label,
                                          .total = total,
                                          .bytes = bytes,
                                          .started_ms = now,
                                          .shown_ms = now};
}

static void
draw_bar(struct syn_buf *out, int64_t done, int64_t total)
{
    int64_t filled = total > 0 ? (int64_t)((double)BAR_COLUMNS * (double)done / (double)total) : 0;

    syn_buf_adds(out, " [");
    for (int64_t i = 0; i < BAR_COLUMNS; i++)
        syn_buf_addc(out, (char)(i < filled ? '=' : i == filled ? '>' : ' '));
    syn_buf_addc(out, ']');
}

static void
draw(struct syn_cli_progress *progress, int64_t done, const char *detail, bool last)
{
    int64_t elapsed = syn_mono_ms(syn_world_system()) - progress->started_ms;
    char a[SYN_FORMAT_MAX];
    char b[SYN_FORMAT_MAX];
    SYN_BUF(out);

    if (progress->cli->err_tty)
        syn_buf_adds(&out, "\r\033[K");
    syn_buf_adds(&out, progress->label);
    if (progress->total > 0) {
        if (progress->cli->err_tty)
            draw_bar(&out, done, progress->total);
        syn_buf_addf(
            &out, " %3d %%",
            (int)(100.0 * (double)SYN_MIN(done, progress->total) / (double)progress->total));
    }
    if (progress->bytes) {
        syn_buf_addf(&out, "  %s", syn_format_bytes(done, a));
        if (elapsed > 0)
            syn_buf_addf(&out, "  %s/s",
                         syn_format_bytes((int64_t)((double)done * 1000.0 / (double)elapsed), b));
    }
    if (detail != NULL && detail[0] != '\0')
        syn_buf_addf(&out, "  %s", detail);
    if (!progress->cli->err_tty || last)
        syn_buf_addc(&out, '\n');
    fputs(syn_buf_text(&out), stderr);
    fflush(stderr);
    progress->drawn = true;
}

void
syn_cli_progress_show(struct syn_cli_progress *progress, int64_t done, const char *detail)
{
    int64_t now = syn_mono_ms(syn_world_system());
    int64_t every = progress->cli->err_tty ? TTY_EVERY_MS : PLAIN_EVERY_MS;

    if (progress->cli->quiet || now - progress->shown_ms < every)
        return;
    progress->shown_ms = now;
    draw(progress, done, detail, false);
}

void
syn_cli_progress_done(struct syn_cli_progress *progress, int64_t done, const char *detail)
{
    progress->total = done; /* what was announced was an estimate */
    if (!progress->cli->quiet)
        draw(progress, done, detail, true);
}
