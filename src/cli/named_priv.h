/* Things of an account that have a name and a route of their own: secrets, certificates, volumes,
 * queues. The name is the first operand of the command. */
#ifndef SYN_CLI_NAMED_PRIV_H
#define SYN_CLI_NAMED_PRIV_H

#include "cli_priv.h"

struct syn_cli_named {
    const char *route; /* "/v1/volumes" */
    const struct syn_cli_view *view;
    /* Show one, as JSON or for people. Returns the exit status. NULL: nobody shows one. */
    int (*show_take)(struct syn_cli *cli, json_t *thing_take);
    const char *removal; /* asked before one goes, up to its name: "Forget the secret" */
};

/** "ROUTE/NAME" and `rest`, appended to `out`. */
SYN_MUST int syn_cli_named_path(const struct syn_cli *cli, const struct syn_cli_named *named,
                                const char *rest, struct syn_buf *out, struct syn_err *err);
/** Call the API about it; as syn_cli_call(). */
SYN_MUST int syn_cli_named_call(struct syn_cli *cli, const struct syn_cli_named *named,
                                const char *method, const char *rest, const json_t *body,
                                json_t **ret, struct syn_err *err);
/* Whole commands. They return the exit status. */
int syn_cli_named_list(struct syn_cli *cli, const struct syn_cli_named *named);
int syn_cli_named_get(struct syn_cli *cli, const struct syn_cli_named *named);
/** `query` ("" or "?...") is the request's; `also` is asked for after the name. */
int syn_cli_named_rm(struct syn_cli *cli, const struct syn_cli_named *named, const char *query,
                     const char *also);

#endif
