/* The embedded engine of the store: one SQLite file, one process. */
#ifndef SYNOR_INFRA_STORE_SQLITE_H
#define SYNOR_INFRA_STORE_SQLITE_H

#include <synor/base/world.h>
#include <synor/infra/store.h>

struct syn_store_sqlite_options {
    const char *path; /* the file; PATH-wal, PATH-shm and PATH.lock stand beside it */
    const struct syn_world
        *world;             /* clock of the leases; NULL: the machine's. Outlives the store */
    const char *vfs;        /* name of a registered SQLite VFS; NULL: the default */
    int64_t lease_grace_ms; /* at opening, no lease has less time left than this (or its ttl) */
    int64_t history_max;    /* revisions of history kept; 0: SYN_STORE_HISTORY */
    int64_t wal_bytes_max;  /* checkpoint when the WAL is longer; 0: 8 MiB */
};

/**
 * Open the store at options->path, made (mode 0600) when it is not there; its folder must exist.
 *
 * Returns 0; SYN_E_CONFLICT when another process has it (the message names the pid); UNSUPPORTED
 * when a newer version wrote it; CORRUPT when it is damaged or no store (nothing is changed then);
 * INVALID, NOTFOUND, NOMEM, NOSPACE, IO.
 */
SYN_MUST int syn_store_sqlite_open(const struct syn_store_sqlite_options *options,
                                   struct syn_store **ret_store, struct syn_err *err);

#endif
