/* Files that only their owner may read: created whole or not at all, refused when others could read
 * them. */
#ifndef SYNOR_INFRA_SECRET_FILE_H
#define SYNOR_INFRA_SECRET_FILE_H

#include <synor/base/buf.h>

#define SYN_SECRET_FILE_BYTES_MAX ((size_t)64 << 10)

/** Create `path` with mode 0600 and this content, durable on return; never a partial file. Blocks:
 * yes. Returns 0; EXISTS when there is a file; IO, NOSPACE. */
SYN_MUST int syn_secret_file_create(const char *path, const void *data, size_t len,
                                    struct syn_err *err);
/** Append the content of `path` to `out`. Blocks: yes. The caller wipes it.
 *  Returns 0; NOTFOUND; FORBIDDEN when group or others have any right to it; TOOBIG; IO. */
SYN_MUST int syn_secret_file_read(const char *path, struct syn_buf *out, struct syn_err *err);

#endif
