/* mesh authority: who signs the identities of the mesh, and the change to another. */
#include <synor/base/str.h>

#include "cli_priv.h"
#include "commands_priv.h"

#define PATH "/v1/mesh/authorities"

/* What it does, and until when. */
static void
authority_cells(struct syn_cli_table_out *rows, const json_t *row)
{
    const char *state = syn_json_str(row, "state", ""), *gone = syn_json_str(row, "gone_at", NULL);

    syn_cli_cell(rows, "%.16s", syn_json_str(row, "fingerprint", ""));
    if (syn_str_eq(state, "next"))
        syn_cli_cell(rows, "is believed; signs from %s", syn_json_str(row, "signs_at", ""));
    else if (syn_str_eq(state, "last"))
        syn_cli_cell(rows, "is still believed");
    else
        syn_cli_cell(rows, "signs");
    syn_cli_cell(rows, "%s", gone != NULL ? gone : syn_json_str(row, "until", ""));
}

static const struct syn_cli_view authority_view = {.kind = "authority",
                                                   .titles = "AUTHORITY|STATE|UNTIL",
                                                   .empty = "There is none.",
                                                   .cells = authority_cells};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_show_list(cli, &authority_view, PATH);
}

const struct syn_cli_command syn_cli_mesh_authority_list = {
    .path = "mesh authority list",
    .summary = "Show which authorities of the mesh are believed",
    .detail = "More than one is while it is rotated. For operators.",
    .run = run_list};

/* When the first of them is gone. */
static const char *
over_at(const json_t *answer)
{
    return syn_json_str(json_array_get(json_object_get(answer, "items"), 0), "gone_at", "?");
}

static int
run_rotate(struct syn_cli *cli)
{
    SYN_JSON(answer);
    struct syn_err err;
    const json_t *items, *last;

    if (!syn_cli_confirm(cli, "Change to another authority of the mesh?")) {
        syn_cli_note(cli, "Nothing was changed.");
        return 1;
    }
    if (syn_cli_call(cli, "POST", PATH, NULL, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    items = json_object_get(answer, "items");
    last = json_array_get(items, json_array_size(items) - 1);
    syn_cli_say(cli, "%.16s is believed from now on", syn_json_str(last, "fingerprint", "?"));
    syn_cli_say(cli, "  signs from  %s", syn_json_str(last, "signs_at", "?"));
    syn_cli_say(cli, "  alone from  %s: the key before is removed then", over_at(answer));
    return 0;
}

const struct syn_cli_command syn_cli_mesh_authority_rotate = {
    .path = "mesh authority rotate",
    .summary = "Change to another authority of the mesh, without losing a call",
    .detail = "A new one is made. Nodes believe both of them when they renew their certificates; "
              "after 65 minutes, when all have, it signs, and after 65 more, when nothing that "
              "the old one signed holds any more, that is removed. For operators.",
    .examples = "  synor mesh authority rotate --yes\n"
                "  synor mesh authority list\n",
    .run = run_rotate};
