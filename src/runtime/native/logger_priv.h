/* Program output into a log file, a record a line, within a size. */
#ifndef SYNOR_RUNTIME_LOGGER_PRIV_H
#define SYNOR_RUNTIME_LOGGER_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/runtime/runtime_ops.h>

enum syn_logger_stream { SYN_LOGGER_STDOUT, SYN_LOGGER_STDERR, SYN_LOGGER_STREAMS };

struct syn_logger {
    int fd; /* not owned; O_APPEND */
    int64_t size_bytes, max_bytes;
    bool truncated;     /* the mark is written: nothing follows */
    int64_t fed_bytes;  /* of lines so far, whether written or not */
    int64_t nospace_at; /* fed_bytes behind the last line that speaks of ENOSPC; 0: none did */
    struct {
        size_t len;
        char line[SYN_INSTANCE_LOG_LINE_MAX];
    } streams[SYN_LOGGER_STREAMS];
    size_t out_len;
    char out[65536];
};

void syn_logger_init(struct syn_logger *logger, int fd, int64_t size_bytes, int64_t max_bytes);
/** Take output as it was read. Records reach the file before this returns; what the disk refuses
 *  is dropped, as nobody could be told. */
void syn_logger_feed(struct syn_logger *logger, enum syn_logger_stream stream, const char *data,
                     size_t len, int64_t now_ms);
/** Write unfinished last lines. */
void syn_logger_finish(struct syn_logger *logger, int64_t now_ms);

#endif
