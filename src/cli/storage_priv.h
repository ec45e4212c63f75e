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
    bool tar;   /* as one tar archive */
    bool force; /* replace a file */
};
/** Write content to a file, folder or standard output, whole or not at all. */
SYN_MUST int syn_cli_fetch(struct syn_cli *cli, const struct syn_cli_fetch *fetch,
                           struct syn_err *err);

/** The route of stored content, `what` behind it. */
void syn_cli_content_path(const char *cid, const char *what, struct syn_buf *out);
/** The name of one item of a folder's list. CORRUPT when it would lead elsewhere. */
SYN_MUST int syn_cli_entry_name(const json_t *entry, const char **ret, struct syn_err *err);
/** Write the stored folder to `fd` as a tar archive; *ret_bytes is what its files have. */
SYN_MUST int syn_cli_tar(struct syn_cli *cli, const char *cid, int fd,
                         struct syn_cli_progress *progress, int64_t *ret_bytes,
                         struct syn_err *err);

#endif
