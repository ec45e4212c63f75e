/* A growable byte buffer. Appending never fails at once: the first shortage is remembered and
 * syn_buf_ok() / syn_buf_take() report it, so writers stay one line a step. */
#ifndef SYNOR_BASE_BUF_H
#define SYNOR_BASE_BUF_H

#include <stdarg.h>

#include <synor/base/core.h>
#include <synor/base/err.h>

#ifdef __cplusplus
extern "C" {
#endif

struct syn_buf {
    char *data; /* zero-terminated once anything was appended */
    size_t len;
    size_t cap;
    bool failed;
};

#define SYN_BUF_INIT      \
    {                     \
        NULL, 0, 0, false \
    }
/** `SYN_BUF(out);` declares a buffer that is released with its scope. */
#define SYN_BUF(name) SYN_SCOPED(syn_buf_fini) struct syn_buf name = SYN_BUF_INIT

SYN_API void syn_buf_fini(struct syn_buf *buf);
/** Forget the content, keep the memory and the `failed` flag cleared. */
SYN_API void syn_buf_clear(struct syn_buf *buf);
SYN_API void syn_buf_add(struct syn_buf *buf, const void *data, size_t len);
SYN_API void syn_buf_adds(struct syn_buf *buf, const char *text);
SYN_API void syn_buf_addc(struct syn_buf *buf, char c);
SYN_API void syn_buf_addf(struct syn_buf *buf, const char *format, ...) SYN_PRINTF(2, 3);
SYN_API void syn_buf_addv(struct syn_buf *buf, const char *format, va_list args) SYN_PRINTF(2, 0);
/** Room for `len` more bytes at data+len, or NULL (and failed). The caller raises `len` itself. */
SYN_API char *syn_buf_reserve(struct syn_buf *buf, size_t len);
/** Drop the first `len` bytes. */
SYN_API void syn_buf_consume(struct syn_buf *buf, size_t len);
/** 0, or SYN_E_NOMEM if any append since the last clear failed. */
SYN_API SYN_MUST int syn_buf_ok(const struct syn_buf *buf, struct syn_err *err);
/** Hand the zero-terminated text to the caller (syn_free, or libc's free in a program that has only
 * libsynor); the buffer is empty afterwards, also on failure. */
SYN_API SYN_MUST int syn_buf_take(struct syn_buf *buf, char **ret_text, size_t *ret_len,
                                  struct syn_err *err);
/** The text, "" when nothing was appended. Borrowed until the next change. */
SYN_API const char *syn_buf_text(const struct syn_buf *buf);

#ifdef __cplusplus
}
#endif
#endif
