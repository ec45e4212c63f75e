/* A file of lines that whoever writes them never waits for: they go into a buffer, and a thread of
 * its own writes that. What finds the buffer full is dropped and counted, and the next line that
 * is written says how many there were. */
#ifndef SYNOR_INFRA_LINE_LOG_H
#define SYNOR_INFRA_LINE_LOG_H

#include <stdint.h>

#include <synor/base/err.h>

#define SYN_LINE_LOG_BUFFER ((size_t)4 << 20) /* bytes that wait to be written */

struct syn_line_log;

struct syn_line_log_options {
    const char *path;   /* "-": standard output */
    int64_t rotate_max; /* bytes; a file that is longer becomes PATH.1; 0: never */
    unsigned kept;      /* PATH.1 .. PATH.KEPT */
    size_t buffer;      /* 0: SYN_LINE_LOG_BUFFER */
};

/** Open the file (mode 0640, appended to) and start the thread. Returns 0; what open(2) says. */
SYN_MUST int syn_line_log_new(const struct syn_line_log_options *options, struct syn_line_log **ret,
                              struct syn_err *err);
/** Write what waits, and close. NULL is fine. Returns NULL. Blocks for that. */
struct syn_line_log *syn_line_log_free(struct syn_line_log *log);

/** Add a line, which ends with a newline. False: it was dropped. Thread: any. Blocks: no. */
bool syn_line_log_add(struct syn_line_log *log, const char *line, size_t len);
/** Open the path anew: whoever rotates it has renamed the file. That is also seen by itself, within
 * a second of the next line. Thread: any. */
void syn_line_log_reopen(struct syn_line_log *log);
/** Lines that were dropped, or could not be written, so far. Thread: any. */
uint64_t syn_line_log_lost(struct syn_line_log *log);

#endif
