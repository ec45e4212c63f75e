/* What the training commands share. */
#ifndef SYN_CLI_TRAIN_PRIV_H
#define SYN_CLI_TRAIN_PRIV_H

#include "workload_priv.h"

/** Waited for is the end. The exit status is 0 when it succeeded or ended in the state that was
 * wanted, 4 when its budget stopped it, else 1. */
extern const struct syn_cli_workload syn_cli_train_workload;
/** The job that a command is about. */
extern const struct syn_cli_operand syn_cli_job_operand[1];

#endif
