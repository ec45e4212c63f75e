/* What is shown of a plan before a workload is made of it. */
#include "workload_priv.h"

void
syn_cli_plan_why(const struct syn_cli *cli, const json_t *plan)
{
    size_t i;
    json_t *row;

    json_array_foreach (json_object_get(plan, "why"), i, row)
        syn_cli_note(cli, "  %s", syn_json_str(row, "message", "?"));
    syn_cli_note(cli, "What would help:");
    json_array_foreach (json_object_get(plan, "fix"), i, row)
        syn_cli_note(cli, "  %s", json_string_value(row));
}

const char *
syn_cli_plan_pull(const json_t *plan)
{
    return syn_json_str(json_object_get(plan, "pull"), "image", NULL);
}

/* What the server would refuse it with, or SYN_OK. */
static int
refusal_of(const json_t *plan, struct syn_err *err)
{
    const json_t *refused = json_object_get(plan, "refused");
    const struct syn_err_info *info;

    if (!json_is_object(refused))
        return SYN_OK;
    info = syn_err_info_by_wire(syn_json_str(refused, "code", ""));
    return SYN_FAIL(err, info != NULL ? info->code : SYN_E_INVALID, "%s",
                    syn_json_str(refused, "message", "the server refuses it"));
}

/* --plan: that is all. Returns the exit status. */
static int
end_with_plan(struct syn_cli *cli, const struct syn_cli_plan_view *view, json_t *plan)
{
    struct syn_err err;
    int refusal = refusal_of(plan, &err);
    int status = 0;

    if (!syn_json_bool(plan, "placeable", true)) /* not all need a place */
        status = syn_err_info(SYN_E_UNPLACEABLE)->exit;
    else if (refusal < 0)
        status = syn_err_info(refusal)->exit;
    if (cli->json)
        return syn_cli_print_json_take(cli, json_incref(plan)) != 0 ? 1 : status;
    view->show(cli, plan);
    if (syn_cli_plan_pull(plan) != NULL)
        syn_cli_note(cli, "%s is not here; it would be pulled first.", syn_cli_plan_pull(plan));
    if (refusal < 0)
        syn_cli_note(cli, "It would be refused: %s.", err.msg);
    return status;
}

bool
syn_cli_plan_agreed(struct syn_cli *cli, const struct syn_cli_plan_view *view, json_t *plan,
                    int *ret_status)
{
    struct syn_err err;

    if (syn_cli_has(cli, "plan")) {
        *ret_status = end_with_plan(cli, view, plan);
        return false;
    }
    view->show(cli, plan);
    if (refusal_of(plan, &err) < 0) { /* before anything is uploaded for nothing */
        *ret_status = syn_cli_fail(cli, &err);
        return false;
    }
    if (syn_cli_confirm(cli, view->question))
        return true;
    syn_cli_note(cli, "%s", view->declined);
    *ret_status = 1;
    return false;
}
