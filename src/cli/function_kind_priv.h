/* What the function commands share. */
#ifndef SYN_CLI_FUNCTION_KIND_PRIV_H
#define SYN_CLI_FUNCTION_KIND_PRIV_H

#include "workload_priv.h"

/** Waited for are "active", which is the version that was deployed last, ready and with its part of
 * what comes, and "suspended". The exit status is 0 when it came to that, 4 when it is suspended
 * for want of funds or budget, else 1. */
extern const struct syn_cli_workload syn_cli_function_workload;
/** What a call goes through, in that order. */
#define SYN_CLI_FUNCTION_STAGES 7
extern const char *const syn_cli_function_stages[SYN_CLI_FUNCTION_STAGES];
/** The function that a command is about. */
extern const struct syn_cli_operand syn_cli_function_operand[1];

/** What the options of `deploy` say: all of a spec but where the code is. */
SYN_MUST int syn_cli_function_spec(const struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** Let an error speak of the option, not of the key that it became. */
void syn_cli_function_blame(const struct syn_cli *cli, struct syn_err *err);
/** Is the code where --code says, and of a kind that the runtime takes? Before a plan is asked for:
 * what cannot be uploaded need not be priced. */
SYN_MUST int syn_cli_function_code_check(const struct syn_cli *cli, struct syn_err *err);
/** Pull the image of a registry that a runtime custom:IMAGE names: it stays what it was then. */
SYN_MUST int syn_cli_function_image(struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** Upload --code and install --dependencies: what the spec says of them then. */
SYN_MUST int syn_cli_function_code(struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** --trigger, or another option that takes such words, appended to the list `triggers`. */
SYN_MUST int syn_cli_function_triggers(const struct syn_cli *cli, const char *option,
                                       json_t *triggers, struct syn_err *err);

#endif
