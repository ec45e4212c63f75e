#include "logger_priv.h"

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "file_priv.h"

#define HEAD_MAX 64

static void
flush(struct syn_logger *logger)
{
    (void)!syn_fd_write_all(logger->fd, logger->out, logger->out_len, NULL);
    logger->out_len = 0;
}

static void
put(struct syn_logger *logger, const char *stream, char flag, const char *text, size_t len,
    int64_t now_ms)
{
    char time[SYN_FORMAT_MAX], head[HEAD_MAX];
    int head_len =
        snprintf(head, sizeof(head), "%s %s %c ", syn_format_time(now_ms, time), stream, flag);
    size_t total = (size_t)head_len + len + 1;

    assert(total <= sizeof(logger->out));
    if (logger->out_len + total > sizeof(logger->out))
        flush(logger);
    memcpy(logger->out + logger->out_len, head, (size_t)head_len);
    memcpy(logger->out + logger->out_len + head_len, text, len);
    logger->out_len += total;
    logger->out[logger->out_len - 1] = '\n';
    logger->size_bytes += (int64_t)total;
}

/* The kernel's words as libc and most languages print them, with either first letter, and the
 * name that Node.js prints. */
static bool
speaks_of_nospace(const char *text, size_t len)
{
    static const char *const words[] = {"o space left on device", "ENOSPC"};

    for (size_t i = 0; i < SYN_LEN(words); i++) {
        if (memmem(text, len, words[i], strlen(words[i])))
            return true;
    }
    return false;
}

static void
record(struct syn_logger *logger, enum syn_logger_stream stream, char flag, int64_t now_ms)
{
    static const char *const names[] = {"stdout", "stderr"};
    char mark[128];
    int len;

    logger->fed_bytes += (int64_t)logger->streams[stream].len + 1;
    if (speaks_of_nospace(logger->streams[stream].line, logger->streams[stream].len))
        logger->nospace_at = logger->fed_bytes;
    if (!logger->truncated &&
        logger->size_bytes + (int64_t)logger->streams[stream].len + (int64_t)2 * HEAD_MAX >
            logger->max_bytes) {
        logger->truncated = true;
        len = snprintf(mark, sizeof(mark),
                       "log truncated: the limit of %lld bytes is reached, later output is dropped",
                       (long long)logger->max_bytes);
        put(logger, "synor", 'F', mark, (size_t)len, now_ms);
    }
    if (!logger->truncated)
        put(logger, names[stream], flag, logger->streams[stream].line, logger->streams[stream].len,
            now_ms);
    logger->streams[stream].len = 0;
}

void
syn_logger_init(struct syn_logger *logger, int fd, int64_t size_bytes, int64_t max_bytes)
{
    logger->fd = fd;
    logger->size_bytes = size_bytes;
    logger->max_bytes = max_bytes;
    logger->truncated = false;
    logger->fed_bytes = 0;
    logger->nospace_at = 0;
    logger->out_len = 0;
    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++)
        logger->streams[i].len = 0;
}

void
syn_logger_feed(struct syn_logger *logger, enum syn_logger_stream stream, const char *data,
                size_t len, int64_t now_ms)
{
    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        size_t have = newline ? (size_t)(newline - data) : len;
        size_t room = SYN_INSTANCE_LOG_LINE_MAX - logger->streams[stream].len;
        size_t part = SYN_MIN(have, room);

        memcpy(logger->streams[stream].line + logger->streams[stream].len, data, part);
        logger->streams[stream].len += part;
        data += part;
        len -= part;
        if (newline && part == have) {
            record(logger, stream, 'F', now_ms);
            data++;
            len--;
        } else if (part == room) {
            record(logger, stream, 'P', now_ms);
        }
    }
    flush(logger);
}

void
syn_logger_finish(struct syn_logger *logger, int64_t now_ms)
{
    for (unsigned i = 0; i < SYN_LOGGER_STREAMS; i++) {
        if (logger->streams[i].len > 0)
            record(logger, (enum syn_logger_stream)i, 'F', now_ms);
    }
    flush(logger);
}
