#include "full_priv.h"

#include <sys/statvfs.h>

#include "scratch_priv.h"

#define ROOM_BYTES  ((int64_t)64 * 1024)
#define RECENT_MS   5000  /* a few looks: what was full longer ago ended nobody now */
#define LAST_OUTPUT 16384 /* how far from the end of its output the words count as last ones */

void
syn_full_init(struct syn_full *full)
{
    *full = (struct syn_full){.bytes_free_least = INT64_MAX};
}

void
syn_full_look(struct syn_full *full, const char *scratch, int64_t now_ms)
{
    struct syn_scratch_usage usage;

    if (syn_scratch_usage_read(scratch, &usage, NULL) < 0)
        return;
    full->bytes_free_least = SYN_MIN(full->bytes_free_least, usage.free_bytes);
    if (usage.free_bytes < ROOM_BYTES)
        full->seen_bytes_ms = now_ms;
    if (usage.free_files == 0)
        full->seen_files_ms = now_ms;
}

static bool
shm_is_full(int pid)
{
    struct statvfs fs;
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/root/dev/shm", pid);
    return pid > 0 && statvfs(path, &fs) == 0 && (int64_t)(fs.f_bavail * fs.f_frsize) < ROOM_BYTES;
}

void
syn_full_hear(struct syn_full *full, const struct syn_logger *logger, const char *scratch, int pid,
              int64_t now_ms)
{
    if (logger->nospace_at == full->heard)
        return;
    full->heard = logger->nospace_at;
    full->shm = shm_is_full(pid);
    syn_full_look(full, scratch, now_ms);
}

static bool
recent(int64_t seen_ms, int64_t now_ms)
{
    return seen_ms > 0 && now_ms - seen_ms <= RECENT_MS;
}

enum syn_full_verdict
syn_full_judge(const struct syn_full *full, const struct syn_logger *logger, bool failed,
               int64_t now_ms)
{
    bool said =
        logger->nospace_at > 0 && logger->fed_bytes - logger->nospace_at <= LAST_OUTPUT && failed;

    if (recent(full->seen_bytes_ms, now_ms))
        return SYN_FULL_BYTES;
    if (recent(full->seen_files_ms, now_ms))
        return SYN_FULL_FILES;
    if (said)
        return full->shm ? SYN_FULL_SHM : SYN_FULL_WORDS;
    return SYN_FULL_NO;
}
