/* Structured logs, one event a line: `ts=... level=info event=job.started job=train-x node=n1`.
 * Libraries log at debug only; the function that decides what happens next logs once. */
#ifndef SYNOR_BASE_LOG_H
#define SYNOR_BASE_LOG_H

#include <synor/base/core.h>
#include <synor/base/err.h>

/** Longest line, its end included. A longer one is cut inside a value, which then ends in "...". */
#define SYN_LOG_LINE_MAX 4096

enum syn_log_level { SYN_LOG_DEBUG, SYN_LOG_INFO, SYN_LOG_WARN, SYN_LOG_ERROR };

/** Where lines go (fd, not owned; default 2), from which level (default info), as logfmt (default)
 * or JSON with string values. Not thread-safe: call early; the others are for any thread and keep
 * errno. */
void syn_log_setup(int fd, enum syn_log_level min, bool json);
/** "debug", "info", "warn", "error"; info for NULL and everything else. */
enum syn_log_level syn_log_level_of(const char *name);
/** `format` yields logfmt pairs ("job=%s code=%d"); a value with blanks must be given by
 * syn_log_kv. */
void syn_log(enum syn_log_level level, const char *event, const char *format, ...) SYN_PRINTF(3, 4);
/** Pairs of (const char *key, const char *value), NULL-ended; values are quoted as needed. */
void syn_log_kv(enum syn_log_level level, const char *event, ...) __attribute__((sentinel));
/** One line for an error: code, message, where. */
void syn_log_err(enum syn_log_level level, const char *event, const struct syn_err *err);

#endif
