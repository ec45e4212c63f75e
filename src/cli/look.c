#include <poll.h>

#include <synor/base/str.h>

#include "live_priv.h"

#define LOOK_MS 1000

static int
look_once(struct syn_cli_look *look, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_cli *cli = look->cli;
    SYN_JSON(now);
    int rc = syn_cli_call(cli, "GET", look->path, NULL, &now, err);

    if (rc < 0)
        return rc;
    (void)json_object_del(now, "at"); /* the time of looking is no news */
    if (look->before != NULL && json_equal(look->before, now))
        return SYN_OK;
    if (cli->json) {
        rc = syn_cli_print_json_take(cli, json_incref(now)) == 0
                 ? SYN_OK
                 : SYN_FAIL(err, SYN_E_IO, "writing to standard output");
    } else {
        rc = look->rows(look->before, now, cli->out_tty, &rows, err);
        if (rc == SYN_OK)
            rc = cli->out_tty ? syn_cli_live_redraw(&look->live, rows, err)
                              : syn_cli_live_append(&look->live, rows, err);
    }
    json_decref(look->before);
    look->before = SYN_TAKE(now);
    return rc;
}

int
syn_cli_look_on(struct syn_cli_look *look)
{
    struct syn_err err = {0};
    int64_t away_since = 0;
    int rc = SYN_OK;

    look->cli->json_lines = true;
    look->live.cli = look->cli;
    while (rc == SYN_OK && !syn_cli_interrupted()) {
        rc = look_once(look, &err);
        if (rc == SYN_OK) {
            away_since = 0;
            (void)poll(NULL, 0, LOOK_MS);
        } else if (look->before != NULL && (rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
                   syn_cli_away(look->cli, SYN_CLI_AWAY_MAX_MS, &away_since)) {
            rc = SYN_OK;
        }
    }
    json_decref(look->before);
    if (syn_cli_interrupted())
        return SYN_CLI_INTERRUPTED;
    return rc < 0 ? syn_cli_fail(look->cli, &err) : 0;
}
