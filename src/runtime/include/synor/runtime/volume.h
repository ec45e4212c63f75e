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

#define SYN_VOLUME_MOUNTED 1

struct syn_volume_usage {
    int64_t size_bytes; /* of the file on the host's disk, if all of it were written */
    int64_t disk_bytes; /* what of it has been */
    int64_t used_bytes; /* by files, when it is mounted; else -1 */
};

/** Have the volume at `dir` (absolute), of so many bytes, mounted: made when it is not there,
 *  durable before this returns. Its path goes to out[cap]. One at a time for each volume.
 *  Blocks: tens of ms. Returns 0; CONFLICT while an instance that is not cleared away has it
 * mounted, or syn_volume_grow() has to complete it; UNSUPPORTED without mkfs.ext4; INVALID,
 * NOSPACE, IO. */
SYN_MUST int syn_volume_open(const char *dir, int64_t bytes, char *out, size_t cap,
                             struct syn_err *err);
/** What the file of a volume of so many bytes takes of the host's disk when it is full. */
int64_t syn_volume_disk_bytes(int64_t bytes);
/** Make it hold so many bytes, where it is there and holds fewer; what a crash broke off in the
 *  middle is completed. Blocks: tens of ms for each 10 GiB; after such a crash as long as it takes
 *  to look through it. Returns 0; SYN_VOLUME_MOUNTED: it must be closed first; CONFLICT,
 *  UNSUPPORTED (without resize2fs), NOSPACE, IO. */
SYN_MUST int syn_volume_grow(const char *dir, int64_t bytes, struct syn_err *err);
/** Unmount it, when no instance has it any more; all that was written is on the disk then. It may
 * be closed already, or not be there. Returns 0; CONFLICT while somebody is in it; IO. */
SYN_MUST int syn_volume_close(const char *dir, struct syn_err *err);
/** Returns 0; NOTFOUND, IO. */
SYN_MUST int syn_volume_usage(const char *dir, struct syn_volume_usage *ret, struct syn_err *err);
/** Unmount it and remove all of it. */
SYN_MUST int syn_volume_destroy(const char *dir, struct syn_err *err);

#endif
