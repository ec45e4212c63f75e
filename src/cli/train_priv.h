/* What the training commands share. */
#ifndef SYN_CLI_TRAIN_PRIV_H
#define SYN_CLI_TRAIN_PRIV_H

#include "cli_priv.h"

/** Show the job's progress until it ends, then its summary. Returns the exit status: 0 when it
 * succeeded or ended in the state `wanted`, 4 when its budget stopped it, else 1. */
int syn_cli_train_wait(struct syn_cli *cli, const char *id, const char *wanted);
/** What stands in a job's document, for people. */
void syn_cli_train_show(const struct syn_cli *cli, const json_t *job);
/** "/v1/training/JOB" or "/v1/services/SERVICE" + tail for the first operand, as the command is
 * about. */
void syn_cli_workload_path(const struct syn_cli *cli, const char *tail, struct syn_buf *out);

/** --env NAME=VALUE, as often as given, into the spec. */
SYN_MUST int syn_cli_env(const struct syn_cli *cli, json_t *spec, struct syn_err *err);

#endif
