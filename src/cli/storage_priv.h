/* What the storage commands share. */
#ifndef SYN_CLI_STORAGE_PRIV_H
#define SYN_CLI_STORAGE_PRIV_H

#include "cli_priv.h"

struct syn_cli_fetch {
    const char *cid;
    const char *dest; /* "-" is standard output */
    int64_t size_bytes;
    bool folder;
    bool car;   /* as one CAR file */
    bool force; /* replace a file */
};
/** Write content to a file, folder or standard output, whole or not at all. */
SYN_MUST int syn_cli_fetch(struct syn_cli *cli, const struct syn_cli_fetch *fetch,
                           struct syn_err *err);

#endif
