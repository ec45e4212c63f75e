/* Scratch space with a hard limit: a sparse ext4 image on a loop device. See scratch.c. */
#ifndef SYNOR_RUNTIME_SCRATCH_PRIV_H
#define SYNOR_RUNTIME_SCRATCH_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_SCRATCH_BYTES_MIN ((int64_t)1 << 20)
#define SYN_SCRATCH_BYTES_MAX ((int64_t)16 << 40)

struct syn_scratch_usage {
    int64_t used_bytes;
    int64_t free_bytes; /* for the instance's user */
    int64_t free_files; /* how many more there may be */
};

/** Copy the template for `bytes` (made by mkfs.ext4 when missing, kept in `cache`) to `image`.
 *  Returns 0; UNSUPPORTED without mkfs.ext4; NOSPACE, IO. */
SYN_MUST int syn_scratch_create(const char *cache, int64_t bytes, const char *image,
                                struct syn_err *err);
/** Make such an image by itself, with a journal whatever its size: for what must outlive a crash of
 *  the machine. It is there whole or not at all, but not on the disk yet. */
SYN_MUST int syn_scratch_make(const char *image, int64_t bytes, struct syn_err *err);
/** How large the file of such an image is. */
int64_t syn_scratch_image_bytes(int64_t bytes);
/** Make the file of such an image so large, and what is in it. It is mounted nowhere, and was
 *  unmounted in peace; or an earlier try was `broken_off` in the middle. Not on the disk yet.
 *  UNSUPPORTED without resize2fs. */
SYN_MUST int syn_scratch_grow(const char *image, int64_t file_bytes, bool broken_off,
                              struct syn_err *err);
/** The same as syn_scratch_create() into an empty file that is open already. */
SYN_MUST int syn_scratch_fill(const char *cache, int64_t bytes, int image, struct syn_err *err);
/** Mount the open `image`, nosuid and nodev, nowhere yet: *ret_mount, the caller's, is for
 *  syn_scratch_place() and as a folder for openat(2). When it is closed unplaced, mount and loop
 *  device are gone. Blocks: some ms, for the kernel's own sake. */
SYN_MUST int syn_scratch_attach(int image, int *ret_mount, struct syn_err *err);
/** Put such a mount on the folder `at`. */
SYN_MUST int syn_scratch_place(int mounted, const char *at, struct syn_err *err);
/** Mount `image` on the folder `at`: both of the above. */
SYN_MUST int syn_scratch_mount(const char *image, const char *at, struct syn_err *err);
/** From here on a job's fsync reaches the host's disk. Blocks: one fsync. */
void syn_scratch_harden(const char *at);
/** Unmount whatever is on `at`, however deep. Nothing mounted is fine. */
SYN_MUST int syn_scratch_unmount(const char *at, struct syn_err *err);
SYN_MUST int syn_scratch_usage_read(const char *at, struct syn_scratch_usage *ret,
                                    struct syn_err *err);

#endif
