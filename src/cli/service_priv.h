/* What the service commands share. */
#ifndef SYN_CLI_SERVICE_PRIV_H
#define SYN_CLI_SERVICE_PRIV_H

#include "workload_priv.h"

/** Waited for are "running", which is the version that is wanted, with all its replicas, or one
 * that waits to be promoted, and "stopped", which is with its bill. The exit status is 0 when it
 * came to that, 4 when its budget stopped it, else 1. */
extern const struct syn_cli_workload syn_cli_service_workload;
/** The same as "running", of an update that is not to be done. */
#define SYN_CLI_SERVICE_ABORTED "aborted"
/** The service that a command is about. */
extern const struct syn_cli_operand syn_cli_service_operand[1];

/** What --autoscale... says, laid over spec.autoscale. */
SYN_MUST int syn_cli_service_autoscale(const struct syn_cli *cli, json_t *spec,
                                       struct syn_err *err);

/** What --health-check and the others say, laid over spec.health, spec.liveness, spec.startup. */
SYN_MUST int syn_cli_service_checks(const struct syn_cli *cli, json_t *spec, struct syn_err *err);
void syn_cli_service_checks_blame(const struct syn_cli *cli, struct syn_err *err);
/** What --tmpfs, --secret-file say, laid over spec.mounts. */
SYN_MUST int syn_cli_service_mounts(const struct syn_cli *cli, json_t *spec, struct syn_err *err);
/** Each --mesh-route, as spec.mesh.routes; none: an empty list. */
#define SYN_CLI_ROUTE_NUMBER_MAX 100000 /* what it may be the server says */
SYN_MUST int syn_cli_service_routes(const struct syn_cli *cli, json_t *mesh, struct syn_err *err);
/** A route in the option's words, each after a comma. */
void syn_cli_service_route_say(const json_t *route, struct syn_buf *out);
/** Who gave an option is told of the mount, not of the key that it became. */
void syn_cli_service_mounts_blame(struct syn_err *err);

#endif
