/* The commands that every kind of workload has: looking at what there is, and steering one. */
#include <synor/base/str.h>

#include "function_kind_priv.h"
#include "service_priv.h"
#include "train_priv.h"
#include "workload_priv.h"

/* Those whose ids tell them; a name alone, or any other id, is a training job's. */
static const struct syn_cli_workload *const by_id[] = {&syn_cli_service_workload,
                                                       &syn_cli_function_workload};

const struct syn_cli_workload *
syn_cli_workload_of(const struct syn_cli *cli)
{
    const char *operand = syn_cli_operand(cli, 0);

    if (cli->line.command->workload != NULL)
        return cli->line.command->workload;
    for (size_t i = 0; i < SYN_LEN(by_id); i++)
        if (syn_str_starts(operand, by_id[i]->id_prefix))
            return by_id[i];
    return &syn_cli_train_workload;
}

void
syn_cli_workload_path(const struct syn_cli *cli, const char *tail, struct syn_buf *out)
{
    syn_buf_addf(out, "%s/", syn_cli_workload_of(cli)->route);
    syn_cli_escape(out, syn_cli_operand(cli, 0));
    syn_buf_adds(out, tail);
}

int
syn_cli_workload_call(struct syn_cli *cli, const char *method, const char *tail, const json_t *body,
                      json_t **ret, struct syn_err *err)
{
    SYN_BUF(path);
    int rc;

    syn_cli_workload_path(cli, tail, &path);
    rc = syn_buf_ok(&path, err);
    return rc < 0 ? rc : syn_cli_call(cli, method, syn_buf_text(&path), body, ret, err);
}

/* --- looking --------------------------------------------------------------------------------- */

int
syn_cli_workload_list(struct syn_cli *cli)
{
    const struct syn_cli_workload *kind = syn_cli_workload_of(cli);
    const char *state = syn_cli_text(cli, "state", NULL);
    SYN_BUF(path);

    if (syn_cli_has(cli, "watch"))
        return syn_cli_watch(cli, kind->list, NULL, state);
    syn_buf_adds(&path, kind->route);
    if (state != NULL)
        syn_buf_addf(&path, "?state=%s", state);
    return syn_cli_show_list(cli, kind->list, syn_buf_text(&path));
}

int
syn_cli_workload_get(struct syn_cli *cli)
{
    const struct syn_cli_workload *kind = syn_cli_workload_of(cli);
    bool wait = syn_cli_has(cli, "wait");
    bool watch = syn_cli_has(cli, "watch");
    SYN_JSON(workload);
    struct syn_err err;

    if (wait && watch) {
        (void)SYN_FAIL(&err, SYN_E_INVALID, "%s", kind->wait_or_watch);
        return syn_cli_fail(cli, &err);
    }
    if (syn_cli_workload_call(cli, "GET", "", NULL, &workload, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (wait)
        return syn_cli_workload_wait(cli, syn_json_str(workload, "id", "?"), kind->wanted);
    if (watch)
        return syn_cli_watch(cli, kind->one, syn_json_str(workload, "id", "?"), NULL);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(workload));
    kind->show(cli, workload);
    return 0;
}

bool
syn_cli_workload_items(struct syn_cli *cli, const char *tail, const char *titles,
                       json_t **ret_items, struct syn_cli_table_out **ret_rows, int *ret_status)
{
    SYN_JSON(answer);
    struct syn_err err;

    if (syn_cli_workload_call(cli, "GET", tail, NULL, &answer, &err) < 0) {
        *ret_status = syn_cli_fail(cli, &err);
        return false;
    }
    if (cli->json) {
        *ret_status = syn_cli_print_json_take(cli, SYN_TAKE(answer));
        return false;
    }
    if (syn_cli_rows_new(titles, ret_rows, &err) < 0) {
        *ret_status = syn_cli_fail(cli, &err);
        return false;
    }
    *ret_items = json_incref(json_object_get(answer, "items"));
    return true;
}

int
syn_cli_workload_events(struct syn_cli *cli)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    size_t i;
    json_t *item;
    int status;

    if (!syn_cli_workload_items(cli, "/events", "WHEN|EVENT|REASON|MESSAGE", &items, &rows,
                                &status))
        return status;
    json_array_foreach (items, i, item) {
        syn_cli_cell(rows, "%s", syn_json_str(item, "at", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "type", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "reason", ""));
        syn_cli_cell(rows, "%s", syn_json_str(item, "message", ""));
    }
    return syn_cli_rows_print(cli, rows, "No events yet.");
}

/* --- steering -------------------------------------------------------------------------------- */

bool
syn_cli_workload_confirm(const struct syn_cli *cli, const char *question)
{
    if (syn_cli_confirm(cli, question))
        return true;
    syn_cli_note(cli, "Nothing was changed.");
    return false;
}

int
syn_cli_workload_change(struct syn_cli *cli, const char *method, const char *tail,
                        const json_t *body, const char *wanted)
{
    SYN_JSON(workload);
    struct syn_err err;
    const json_t *status;
    const char *state;
    bool stops;

    if (syn_cli_workload_call(cli, method, tail, body, &workload, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "wait"))
        return syn_cli_workload_wait(cli, syn_json_str(workload, "id", "?"), wanted);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(workload));
    status = json_object_get(workload, "status");
    state = syn_json_str(status, "state", "?");
    stops = syn_str_eq(wanted, "stopped") && !syn_str_eq(state, wanted); /* asked, not done yet */
    syn_cli_say(cli, "%s  %s%s: %s", syn_json_str(workload, syn_cli_workload_of(cli)->label, "?"),
                stops ? "is being stopped; now " : "", state,
                syn_json_str(status, "message", syn_json_str(status, "reason", "?")));
    return 0;
}

int
syn_cli_workload_delete(struct syn_cli *cli)
{
    struct syn_err err;

    if (!syn_cli_workload_confirm(cli, syn_cli_workload_of(cli)->forget))
        return 1;
    if (syn_cli_workload_call(cli, "DELETE", "", NULL, NULL, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(
            cli, json_pack("{s:s, s:b}", "id", syn_cli_operand(cli, 0), "deleted", 1));
    syn_cli_say(cli, "%s is deleted.", syn_cli_operand(cli, 0));
    return 0;
}
