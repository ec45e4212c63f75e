/* Volumes: file systems of a fixed size that outlive the instances that use them.
 *
 * A volume is a folder: `disk.img`, an ext4 image with a journal, and `data`, where it is mounted
 * while somebody uses it. Several instances of one node may use it at once. */
#ifndef SYNOR_RUNTIME_VOLUME_H
#define SYNOR_RUNTIME_VOLUME_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_VOLUME_BYTES_MIN (INT64_C(16) << 20)
#define SYN_VOLUME_BYTES_MAX (INT64_C(16) << 40)

struct syn_volume_usage {
    int64_t size_bytes; /* of the file on the host's disk, if all of it were written */
    int64_t disk_bytes; /* what of it has been */
    int64_t used_bytes; /* by files, when it is mounted; else -1 */
};

/** Have the volume at `dir` (absolute), of so many bytes, mounted: made when it is not there,
 *  durable before this returns. Its path goes to out[cap]. One at a time for each volume.
 *  Blocks: tens of ms. Returns 0; CONFLICT while an instance that is not cleared away has it
 * mounted; UNSUPPORTED without mkfs.ext4; INVALID, NOSPACE, IO. */
SYN_MUST int syn_volume_open(const char *dir, int64_t bytes, char *out, size_t cap,
                             struct syn_err *err);
/** Unmount it, when no instance has it any more; all that was written is on the disk then. It may
 * be closed already, or not be there. Returns 0; CONFLICT while somebody is in it; IO. */
SYN_MUST int syn_volume_close(const char *dir, struct syn_err *err);
/** Returns 0; NOTFOUND, IO. */
SYN_MUST int syn_volume_usage(const char *dir, struct syn_volume_usage *ret, struct syn_err *err);
/** Unmount it and remove all of it. */
SYN_MUST int syn_volume_destroy(const char *dir, struct syn_err *err);

#endif
