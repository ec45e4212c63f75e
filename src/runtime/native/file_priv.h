/* Small files and folders, the way a supervisor needs them: bounded reads, atomic durable writes,
 * removal that never leaves the folder, and process identity that survives pid reuse. */
#ifndef SYNOR_RUNTIME_FILE_PRIV_H
#define SYNOR_RUNTIME_FILE_PRIV_H

#include <sys/types.h>

#include <synor/base/buf.h>
#include <synor/base/json.h>

#define SYN_PATH_MAX 4096

/** Close `*fd` unless it is -1. For SYN_SCOPED. */
void syn_fd_scope(int *fd);
#define SYN_FD(name) SYN_SCOPED(syn_fd_scope) int name = -1

/** The descriptor out of `*fd`, which keeps -1: the scope no longer owns it. */
SYN_MUST int syn_fd_take(int *fd);
/** The number at `text`, blanks before it skipped, in base 10 or 16; `ret_end` (may be NULL) is
 * where it ends. False when there is none or it does not fit. For text of the kernel's. */
SYN_MUST bool syn_scan_u64(const char *text, int base, uint64_t *ret, const char **ret_end);

/** Write "format" into out[cap]; INVALID when it does not fit. */
SYN_MUST int syn_path_format(char *out, size_t cap, struct syn_err *err, const char *format, ...)
    SYN_PRINTF(4, 5);
/** Append the file at dirfd/path to `out`; TOOBIG over `max` bytes. */
SYN_MUST int syn_file_read(int dirfd, const char *path, size_t max, struct syn_buf *out,
                           struct syn_err *err);
/** Write path.tmp and rename it: readers see the old or the new content, never a part. `durable`
 *  ones also survive a power cut from the return on (fsync of file and folder). */
SYN_MUST int syn_file_write_atomic(int dirfd, const char *path, const void *data, size_t len,
                                   bool durable, struct syn_err *err);
/** A plain file of that content; not durable. */
SYN_MUST int syn_file_write(int dirfd, const char *path, const void *data, size_t len,
                            struct syn_err *err);
SYN_MUST int syn_file_write_json(int dirfd, const char *path, const json_t *value, bool durable,
                                 struct syn_err *err);
/** Make an existing file durable as it is. */
void syn_file_sync(int dirfd, const char *path);
SYN_MUST int syn_file_read_json(int dirfd, const char *path, json_t **ret, struct syn_err *err);
/** write(2) until all of it is out. */
SYN_MUST int syn_fd_write_all(int fd, const void *data, size_t len, struct syn_err *err);
/** mkdir -p below dirfd; `path` relative or absolute. Existing folders are fine. */
SYN_MUST int syn_dir_make(int dirfd, const char *path, mode_t mode, struct syn_err *err);
/** rm -rf, never following a link, never crossing into a mount. A missing path is fine. */
SYN_MUST int syn_dir_remove(int dirfd, const char *path, struct syn_err *err);

/** Lock the whole open file until it is closed. False when somebody else has it. */
SYN_MUST bool syn_lock_take(int fd);
/** Does somebody else hold it? Asks without taking, so two askers never meet. */
bool syn_lock_held(int fd);
/** The kernel's start time of `pid` in clock ticks, or 0 when there is no such living process. */
uint64_t syn_proc_start_ticks(pid_t pid);
/** Take the ended process off our hands if it is a child of ours and has that start time: a daemon
 * that is a child subreaper inherits every supervisor. */
void syn_proc_reap(pid_t pid, uint64_t start_ticks);
/** This boot's identity into out[40]; "" when unknown. */
void syn_boot_id(char *out);

#endif
