/* What the commands of the platform itself share. */
#ifndef SYN_CLI_PLATFORM_PRIV_H
#define SYN_CLI_PLATFORM_PRIV_H

#include "cli_priv.h"

/** Ask for /v1/status, at once and only once. Returns 0; UNAVAILABLE when nothing answers; ... */
SYN_MUST int syn_cli_probe(const struct syn_cli *cli, json_t **ret_status, struct syn_err *err);

/** The same of the platform in cli->home, whatever --server says. */
SYN_MUST int syn_cli_probe_home(const struct syn_cli *cli, json_t **ret_status,
                                struct syn_err *err);
/** Run up or server in this process, or detached from it. Returns the exit status. */
int syn_cli_start(struct syn_cli *cli, const struct syn_cli_up *up, bool detach);

#endif
