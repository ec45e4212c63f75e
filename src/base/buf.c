#include <synor/base/buf.h>

#include <synor/base/mem.h>

void
syn_buf_fini(struct syn_buf *buf)
{
    syn_free(buf->data);
    *buf = (struct syn_buf)SYN_BUF_INIT;
}

void
syn_buf_clear(struct syn_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

char *
syn_buf_reserve(struct syn_buf *buf, size_t len)
{
    if (buf->failed || len > SIZE_MAX - buf->len - 1 ||
        !syn_grow((void *)&buf->data, &buf->cap, buf->len + len + 1, 1)) {
        buf->failed = true;
        return NULL;
    }
    return buf->data + buf->len;
}

void
syn_buf_add(struct syn_buf *buf, const void *data, size_t len)
{
    char *room = syn_buf_reserve(buf, len);

    if (room == NULL)
        return;
    if (len > 0)
        memcpy(room, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void
syn_buf_adds(struct syn_buf *buf, const char *text)
{
    syn_buf_add(buf, text, strlen(text));
}

void
syn_buf_addc(struct syn_buf *buf, char c)
{
    syn_buf_add(buf, &c, 1);
}

void
syn_buf_addv(struct syn_buf *buf, const char *format, va_list args)
{
    va_list again;
    int need;
    char *room;

    va_copy(again, args);
    need = vsnprintf(NULL, 0, format, args);
    room = need < 0 ? NULL : syn_buf_reserve(buf, (size_t)need);
    if (room == NULL) {
        buf->failed = true;
    } else {
        (void)vsnprintf(room, (size_t)need + 1, format, again);
        buf->len += (size_t)need;
    }
    va_end(again);
}

void
syn_buf_addf(struct syn_buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    syn_buf_addv(buf, format, args);
    va_end(args);
}

void
syn_buf_consume(struct syn_buf *buf, size_t len)
{
    assert(len <= buf->len);
    if (buf->data == NULL)
        return;
    memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
    buf->data[buf->len] = '\0';
}

int
syn_buf_ok(const struct syn_buf *buf, struct syn_err *err)
{
    if (buf->failed)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a buffer of more than %zu bytes",
                        buf->len);
    return SYN_OK;
}

int
syn_buf_take(struct syn_buf *buf, char **ret_text, size_t *ret_len, struct syn_err *err)
{
    int rc;

    if (syn_buf_reserve(buf, 0) != NULL)
        buf->data[buf->len] = '\0';
    rc = syn_buf_ok(buf, err);
    if (rc < 0) {
        syn_buf_fini(buf);
        return rc;
    }
    if (ret_len != NULL)
        *ret_len = buf->len;
    *ret_text = SYN_TAKE(buf->data);
    syn_buf_fini(buf);
    return SYN_OK;
}

const char *
syn_buf_text(const struct syn_buf *buf)
{
    return buf->data != NULL && buf->len > 0 ? buf->data : "";
}
