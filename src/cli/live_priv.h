/* A table that goes on: redrawn in place on a terminal, elsewhere a row for each change. */
#ifndef SYN_CLI_LIVE_PRIV_H
#define SYN_CLI_LIVE_PRIV_H

#include "cli_priv.h"

/** Embedded; zero-initialise with `cli`. */
struct syn_cli_live {
    const struct syn_cli *cli;
    size_t widths[SYN_CLI_COLUMNS_MAX]; /* of the rows so far: what is appended stays in line */
    size_t drawn;                       /* lines that the next drawing replaces */
    bool titled;
};

/** Draw all rows over what was drawn before, as much of them as a screen of this size holds. */
SYN_MUST int syn_cli_live_draw(struct syn_cli_live *live, const struct syn_cli_table_out *rows,
                               size_t columns, size_t lines, struct syn_err *err);
/** The same in the terminal's own size. */
SYN_MUST int syn_cli_live_redraw(struct syn_cli_live *live, const struct syn_cli_table_out *rows,
                                 struct syn_err *err);
/** Append the rows, under the titles when these are the first. */
SYN_MUST int syn_cli_live_append(struct syn_cli_live *live, const struct syn_cli_table_out *rows,
                                 struct syn_err *err);

#endif
