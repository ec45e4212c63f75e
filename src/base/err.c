#include <synor/base/err.h>

#include <errno.h>

#include <synor/base/str.h>

static const struct syn_err_info rows[] = {
#define SYN_ERROR(symbol, number, wire, http, exit, text) \
    {SYN_E_##symbol, #symbol, wire, http, exit, text},
#include <synor/base/errors.def>
#undef SYN_ERROR
};

const struct syn_err_info *
syn_err_table(size_t *ret_count)
{
    *ret_count = SYN_LEN(rows);
    return rows;
}

const struct syn_err_info *
syn_err_info(int code)
{
    const struct syn_err_info *internal = &rows[0];

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (rows[i].code == code)
            return &rows[i];
        if (rows[i].code == SYN_E_INTERNAL)
            internal = &rows[i];
    }
    return internal;
}

const struct syn_err_info *
syn_err_info_by_wire(const char *wire)
{
    for (size_t i = 0; wire != NULL && i < SYN_LEN(rows); i++) {
        if (strcmp(rows[i].wire, wire) == 0)
            return &rows[i];
    }
    return NULL;
}

int
syn_err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOMEM:
        return SYN_E_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return SYN_E_NOSPACE;
    case ENOENT:
    case ESRCH:
        return SYN_E_NOTFOUND;
    case EEXIST:
        return SYN_E_EXISTS;
    case EACCES:
    case EPERM:
        return SYN_E_FORBIDDEN;
    case ETIMEDOUT:
        return SYN_E_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return SYN_E_UNAVAILABLE;
    case ENOSYS:
    case EOPNOTSUPP:
        return SYN_E_UNSUPPORTED;
    case EFBIG:
    case ENAMETOOLONG:
        return SYN_E_TOOBIG;
    default:
        return SYN_E_IO;
    }
}

/* Messages quote what strangers sent, cut at any byte, and go into JSON, logs and terminals: what
 * is no character there becomes '?'. */
static void
clean(char *at)
{
    size_t left = strlen(at);

    while (left > 0) {
        unsigned char c = (unsigned char)*at;
        size_t step = syn_utf8_len(at, left);

        if (step == 0 || c < 0x20 || c == 0x7f) {
            *at = '?';
            step = 1;
        }
        at += step;
        left -= step;
    }
}

int
syn_err_set(struct syn_err *err, int code, int sys, const char *file, int line, const char *format,
            ...)
{
    va_list args;
    size_t len;

    assert(code < 0);
    if (err == NULL)
        return code;
    err->code = code;
    err->sys = sys;
    err->file = file;
    err->line = line;
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof(err->msg), format, args);
    va_end(args);
    len = strlen(err->msg);
    if (sys != 0) {
        const char *text = strerrordesc_np(sys);

        (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s",
                       text != NULL ? text : "unknown system error");
    }
    clean(err->msg);
    return code;
}

int
syn_err_wrap(struct syn_err *err, int code, const char *format, ...)
{
    char inner[sizeof(err->msg)];
    va_list args;
    size_t len;

    assert(code < 0);
    if (err == NULL)
        return code;
    err->code = code;
    memcpy(inner, err->msg, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    va_start(args, format);
    (void)vsnprintf(err->msg, sizeof(err->msg), format, args);
    va_end(args);
    len = strlen(err->msg);
    (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", inner);
    clean(err->msg);
    return code;
}
