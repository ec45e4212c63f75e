/* What the service commands share. */
#ifndef SYN_CLI_SERVICE_PRIV_H
#define SYN_CLI_SERVICE_PRIV_H

#include "cli_priv.h"

/** Show how the service comes to what is wanted of it, then how it stands. `stopped`: until it has
 * stopped, with its bill. Returns the exit status: 0 when it is as wanted, else 1. */
int syn_cli_service_wait(struct syn_cli *cli, const char *id, bool stopped);
/** What stands in a service's document, for people. */
void syn_cli_service_show(const struct syn_cli *cli, const json_t *service);

#endif
