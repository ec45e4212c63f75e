/* For tests: an SQLite VFS over the machine's own that fails the Nth write, sync or truncate. */
#ifndef SYN_INFRA_STORE_FAULT_H
#define SYN_INFRA_STORE_FAULT_H

#include <synor/base/core.h>

/** Register it, once; returns its name. */
const char *syn_store_fault_vfs(void);
/** Fail the `nth` call from now (1: the next) with `code` (SQLITE_FULL, SQLITE_IOERR_FSYNC, ...),
 *  once or from then on; a failing write leaves half of its bytes. 0 disarms. */
void syn_store_fault_arm(unsigned nth, int code, bool sticky);
/** Calls that failed since it was armed. */
unsigned syn_store_fault_hits(void);
/** Syncs that reached the disk since the process began. */
unsigned syn_store_fault_syncs(void);

#endif
