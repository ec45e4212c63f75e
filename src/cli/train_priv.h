/* What the training commands share. */
#ifndef SYN_CLI_TRAIN_PRIV_H
#define SYN_CLI_TRAIN_PRIV_H

#include "cli_priv.h"

/** Show the job's progress until it ends, then its summary. Returns 0 when it succeeded. */
int syn_cli_train_wait(struct syn_cli *cli, const char *id);
/** Read a whole file of at most `most` bytes. */
SYN_MUST int syn_cli_read_file(const char *path, size_t most, struct syn_buf *out, struct syn_err *err);

#endif
