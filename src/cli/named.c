#include "named_priv.h"

#include <stdio.h>

int
syn_cli_named_path(const struct syn_cli *cli, const struct syn_cli_named *named, const char *rest,
                   struct syn_buf *out, struct syn_err *err)
{
    syn_buf_addf(out, "%s/", named->route);
    syn_cli_escape(out, syn_cli_operand(cli, 0));
    syn_buf_adds(out, rest);
    return syn_buf_ok(out, err);
}

int
syn_cli_named_call(struct syn_cli *cli, const struct syn_cli_named *named, const char *method,
                   const char *rest, const json_t *body, json_t **ret, struct syn_err *err)
{
    SYN_BUF(path);
    int rc = syn_cli_named_path(cli, named, rest, &path, err);

    return rc < 0 ? rc : syn_cli_call(cli, method, syn_buf_text(&path), body, ret, err);
}

int
syn_cli_named_list(struct syn_cli *cli, const struct syn_cli_named *named)
{
    return syn_cli_show_list(cli, named->view, named->route);
}

int
syn_cli_named_get(struct syn_cli *cli, const struct syn_cli_named *named)
{
    json_t *thing = NULL;
    struct syn_err err;
    int rc = syn_cli_named_call(cli, named, "GET", "", NULL, &thing, &err);

    return rc < 0 ? syn_cli_fail(cli, &err) : named->show_take(cli, thing);
}

int
syn_cli_named_rm(struct syn_cli *cli, const struct syn_cli_named *named, const char *query,
                 const char *also)
{
    const char *name = syn_cli_operand(cli, 0);
    char question[160];
    SYN_BUF(path);
    struct syn_err err;

    if (syn_cli_named_path(cli, named, query, &path, &err) < 0)
        return syn_cli_fail(cli, &err);
    (void)snprintf(question, sizeof(question), "%s %.63s%s?", named->removal, name, also);
    return syn_cli_remove(cli, &(struct syn_cli_removal){syn_buf_text(&path), name, question, ""});
}
