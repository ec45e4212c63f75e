/* Did the program end because its scratch space was full? */
#ifndef SYNOR_RUNTIME_FULL_PRIV_H
#define SYNOR_RUNTIME_FULL_PRIV_H

#include <synor/base/core.h>

#include "logger_priv.h"

/* The kernel tells nobody but the program that a write met ENOSPC, and afterwards there is often
 * room again: programs remove what they could not finish, and one large fallocate(2) fails without
 * filling anything. So two witnesses are heard: the file system, looked at every second, at the end
 * and when the words fall; and the program, whose last output carries the kernel's words in nearly
 * every language's error. What neither has seen is not claimed. */
struct syn_full {
    int64_t bytes_free_least; /* INT64_MAX before the first look */
    int64_t seen_bytes_ms;    /* monotonic: when there was last no room for data; 0: never */
    int64_t seen_files_ms;    /* when there was none for one more file */
    int64_t heard;            /* logger's mark when the words were last looked into */
    bool shm;                 /* when they fell, /dev/shm was what was full */
};

enum syn_full_verdict {
    SYN_FULL_NO,
    SYN_FULL_BYTES,
    SYN_FULL_FILES,
    SYN_FULL_WORDS, /* the program says so; the file system had room when it was looked at */
    SYN_FULL_SHM,   /* not the scratch space: the shared memory */
};

void syn_full_init(struct syn_full *full);
/** Look at the scratch space mounted at `scratch`. */
void syn_full_look(struct syn_full *full, const char *scratch, int64_t now_ms);
/** After output was fed to `logger`: if the words were among it, look at once, also at the shared
 *  memory of the process `pid` (0: it cannot be looked at). */
void syn_full_hear(struct syn_full *full, const struct syn_logger *logger, const char *scratch,
                   int pid, int64_t now_ms);
/** What ended a program that has just `failed`; one that has not is only judged by what is full. */
enum syn_full_verdict syn_full_judge(const struct syn_full *full, const struct syn_logger *logger,
                                     bool failed, int64_t now_ms);

#endif
