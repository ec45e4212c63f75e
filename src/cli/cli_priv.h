/* What the commands share: one invocation's context, access to its values, and output. */
#ifndef SYN_CLI_PRIV_H
#define SYN_CLI_PRIV_H

#include <synor/base/json.h>
#include <synor/base/units.h>
#include <synor/base/world.h>
#include <synor/cli/cli.h>
#include <synor/client.h>

#include "command.h"

struct syn_cli {
    struct syn_cli_line line;
    const struct syn_cli_host *host;
    struct syn_client *client; /* opened by the first request */
    char home[512];            /* SYNOR_HOME or ~/.synor, absolute */
    char key[SYN_ID_MAX];      /* idempotency keys of this invocation start so */
    const char *acting;        /* see syn_cli_act_for() */
    unsigned calls;
    bool at_home; /* speak to the platform of `home`, whatever SYNOR_SERVER says */
    bool patient; /* a call may take long; set before the first one */
    bool json;
    bool json_lines; /* each document on one line */
    bool quiet;
    bool yes;
    bool out_tty; /* standard output is a terminal */
    bool err_tty;
    bool color;
    int argc;
    char **argv;
};

/* --- values ---------------------------------------------------------------------------------- */

bool syn_cli_has(const struct syn_cli *cli, const char *option);
/** The last value's text, or `otherwise`. */
const char *syn_cli_text(const struct syn_cli *cli, const char *option, const char *otherwise);
int64_t syn_cli_number(const struct syn_cli *cli, const char *option, int64_t otherwise);
double syn_cli_real(const struct syn_cli *cli, const char *option, double otherwise);
/** The next occurrence of a repeatable option: start with *cursor = 0; NULL at the end. */
const struct syn_cli_value *syn_cli_next(const struct syn_cli *cli, const char *option,
                                         size_t *cursor);
/** Operand `index`, or NULL. */
const char *syn_cli_operand(const struct syn_cli *cli, size_t index);

/* --- results --------------------------------------------------------------------------------- */

/** Print the error (to standard error; as JSON on standard output with --json) and return its exit
 * status. */
int syn_cli_fail(const struct syn_cli *cli, const struct syn_err *err);
/** Print `value` as JSON, owned by the callee; on one line with `json_lines`. Returns the exit
 * status. */
int syn_cli_print_json_take(const struct syn_cli *cli, json_t *value);
/** A line for people on standard output; nothing with --json. */
void syn_cli_say(const struct syn_cli *cli, const char *format, ...) SYN_PRINTF(2, 3);
/** A remark on standard error; nothing with --quiet. */
void syn_cli_note(const struct syn_cli *cli, const char *format, ...) SYN_PRINTF(2, 3);
/** Ask "question [y/N]". True at once with --yes or when no terminal can be asked. */
bool syn_cli_confirm(const struct syn_cli *cli, const char *question);
/** SIGINT or SIGTERM came: loops end at the next turn. */
bool syn_cli_interrupted(void);
/** Have SIGINT and SIGTERM cancel the client's running call; NULL: no longer. */
void syn_cli_cancel_on_signal(struct syn_client *client);
/** Let SIGINT, SIGTERM and SIGPIPE do what they do by default again. */
void syn_cli_signals_reset(void);
/** Read a whole file of at most `most` bytes. */
SYN_MUST int syn_cli_read_file(const char *path, size_t most, struct syn_buf *out,
                               struct syn_err *err);
/** Write a whole file: whoever looks sees the old one or the new one. What is no file (a pipe, a
 * terminal, a link) is written to as it is. */
SYN_MUST int syn_cli_write_file(const char *path, const struct syn_buf *content,
                                struct syn_err *err);
/** `path` as it is seen from the root folder. INVALID when longer than `cap`. */
SYN_MUST int syn_cli_absolute(const char *path, char *out, size_t cap, struct syn_err *err);

/* --- requests -------------------------------------------------------------------------------- */

/** One API call with a JSON body (may be NULL, borrowed) and a JSON answer (owned by the caller;
 * ret may be NULL). */
SYN_MUST int syn_cli_call(struct syn_cli *cli, const char *method, const char *path,
                          const json_t *body, json_t **ret, struct syn_err *err);
/** PUT what was read at `revision`; PRECONDITION when it has changed since. */
SYN_MUST int syn_cli_replace(struct syn_cli *cli, const char *path, const json_t *body,
                             int64_t revision, json_t **ret, struct syn_err *err);
/** GET every page of a list; *ret is the array of items. */
SYN_MUST int syn_cli_list(struct syn_cli *cli, const char *path, json_t **ret_items,
                          struct syn_err *err);
/** The client, opened on first use: --server, SYNOR_SERVER, or the socket in SYNOR_HOME. */
SYN_MUST int syn_cli_client(struct syn_cli *cli, struct syn_client **ret, struct syn_err *err);
/** Make the next calls for this account (borrowed) instead of one's own or --account's. */
void syn_cli_act_for(struct syn_cli *cli, const char *account);
/** A client of one's own, for looking whether something is there. `answer_ms` 0: the default. */
SYN_MUST int syn_cli_connect(const struct syn_cli *cli, unsigned retries_max, int64_t answer_ms,
                             struct syn_client **ret, struct syn_err *err);
/** Wait a little before the server is asked again. False when it was away for longer than
 * `away_max_ms` since `*since_ms` (0: it was there until now, and is set), or on a signal. */
bool syn_cli_away(const struct syn_cli *cli, int64_t away_max_ms, int64_t *since_ms);
/** While something is followed the server may be away for so long, being restarted. */
#define SYN_CLI_AWAY_MAX_MS (INT64_C(120) * 1000)
/** What a command ends with that a signal ended: as a shell says SIGINT. */
#define SYN_CLI_INTERRUPTED 130
/** Say how to start the platform when `rc` means that the local one is not there. Returns rc. */
int syn_cli_unreachable(const struct syn_cli *cli, int rc, struct syn_err *err);
/** Append `text` percent-encoded for a path segment or query value. */
void syn_cli_escape(struct syn_buf *out, const char *text);

/** For syn_client_read(): write what comes to standard output. */
SYN_MUST int syn_cli_to_stdout(void *arg, const void *data, size_t len, struct syn_err *err);

/* --- content --------------------------------------------------------------------------------- */

struct syn_cli_upload {
    const char *path;      /* file or folder */
    const char *name;      /* or NULL */
    const json_t *include; /* list of globs, or NULL for all */
    const json_t *exclude; /* list of globs, or NULL */
    bool pin;
};
/** Upload with progress and resumption; *ret is the commit's answer {cid,size_bytes,name}. */
SYN_MUST int syn_cli_upload(struct syn_cli *cli, const struct syn_cli_upload *upload, json_t **ret,
                            struct syn_err *err);

/* --- tables and progress --------------------------------------------------------------------- */

#define SYN_CLI_COLUMNS_MAX 12

struct syn_cli_table_out; /* rows are kept until printed, so that columns fit */

/** `titles` is "ID|STATE|>SIZE|~SEEN": '>' aligns right; '~' is a column that changes so often that
 * it is no news. */
SYN_MUST int syn_cli_rows_new(const char *titles, struct syn_cli_table_out **ret,
                              struct syn_err *err);
struct syn_cli_table_out *syn_cli_rows_free(struct syn_cli_table_out *rows);
void syn_cli_rows_free_scope(struct syn_cli_table_out **slot);
/** Set the next cell of the current row; a full row starts the next. */
void syn_cli_cell(struct syn_cli_table_out *rows, const char *format, ...) SYN_PRINTF(2, 3);
/** Print to standard output; `empty` is said when there is no row. Returns the exit status. */
int syn_cli_rows_print(const struct syn_cli *cli, struct syn_cli_table_out *rows,
                       const char *empty);

/** How many rows are full. */
size_t syn_cli_rows_count(const struct syn_cli_table_out *rows);
/** Did a cell find no memory? */
bool syn_cli_rows_failed(const struct syn_cli_table_out *rows);
/** Widen widths[SYN_CLI_COLUMNS_MAX] to what titles and cells need. */
void syn_cli_rows_fit(const struct syn_cli_table_out *rows, size_t *widths);
/** Append one row (SIZE_MAX: the titles) as a line without its end. */
void syn_cli_rows_line(const struct syn_cli_table_out *rows, size_t row, const size_t *widths,
                       struct syn_buf *out);
/** Append what of a row is news when it is different. */
void syn_cli_rows_news(const struct syn_cli_table_out *rows, size_t row, struct syn_buf *out);

/* --- resources that change -------------------------------------------------------------------- */

/** How resources of a kind are shown: in lists, and while they are watched. */
struct syn_cli_view {
    const char *kind;   /* of GET /v1/watch */
    const char *titles; /* as syn_cli_rows_new() takes them */
    const char *empty;  /* what is said when there are none */
    void (*cells)(struct syn_cli_table_out *rows, const json_t *resource);
    bool newest_first;
    bool own; /* only those of the account that the caller acts for */
};

#define SYN_CLI_WATCH_OPTION                                            \
    {                                                                   \
        "watch", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, \
            "Go on with every change until interrupted"                 \
    }

#define SYN_CLI_WATCH_DETAIL                                                                    \
    "With --watch first what there is, then every change as it comes: on a terminal the table " \
    "is drawn anew, elsewhere a row is added, and with --json each is one document on one "     \
    "line. A restart of the server is waited for. Ctrl-C ends it, with exit status 130."

/** What is to be forgotten for good: asked about, said when it is done. */
struct syn_cli_removal {
    const char *path; /* of the API */
    const char *name; /* what people call it */
    const char *question;
    const char *said; /* after "NAME is forgotten" */
};
/** Ask, DELETE it and say so. Returns the exit status. */
int syn_cli_remove(struct syn_cli *cli, const struct syn_cli_removal *removal);

/** GET every page of the list at `path` and show it. Returns the exit status. */
int syn_cli_show_list(struct syn_cli *cli, const struct syn_cli_view *view, const char *path);
/** Show the resources as they are, then every change as it comes: the table redrawn on a terminal,
 * rows appended elsewhere, a document a line with --json. `id` is the only one, or NULL; `state`
 * the only state, or NULL. Returns the exit status: it ends with a signal, an error, or when the
 * only one is gone. */
int syn_cli_watch(struct syn_cli *cli, const struct syn_cli_view *view, const char *id,
                  const char *state);

/** One progress line on standard error, rewritten in place on a terminal, at most every 100 ms (2 s
 * without a terminal). */
struct syn_cli_progress {
    const struct syn_cli *cli;
    const char *label;
    int64_t total;
    int64_t started_ms;
    int64_t shown_ms;
    bool bytes; /* counts are bytes */
    bool drawn;
};
void syn_cli_progress_init(struct syn_cli_progress *progress, const struct syn_cli *cli,
                           const char *label, int64_t total, bool bytes);
void syn_cli_progress_show(struct syn_cli_progress *progress, int64_t done, const char *detail);
/** Leave the final line standing. */
void syn_cli_progress_done(struct syn_cli_progress *progress, int64_t done, const char *detail);

#endif
