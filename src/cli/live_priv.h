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

/** A view that is looked at again and again: of what is no document, so that a watch of the
 * platform cannot tell of it. Embedded; zero-initialise with the first three. */
struct syn_cli_look {
    struct syn_cli *cli;
    const char *path;
    /** Rows of what is news, or the `whole`; `before` is NULL at first. */
    int (*rows)(const json_t *before, const json_t *now, bool whole, struct syn_cli_table_out **ret,
                struct syn_err *err);
    struct syn_cli_live live;
    json_t *before;
};
/** Look every second until interrupted. Returns the exit status. */
int syn_cli_look_on(struct syn_cli_look *look);

#define SYN_CLI_LOOK_OPTION                                             \
    {                                                                   \
        "watch", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, \
            "Look again every second until interrupted"                 \
    }
#define SYN_CLI_LOOK_DETAIL                                                                       \
    "With --watch the server is asked every second, and what is new is shown: on a terminal the " \
    "table is drawn anew, elsewhere rows are added, and with --json each answer is one document " \
    "on one line. Ctrl-C ends it, with exit status 130."

#endif
