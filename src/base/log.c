/* A line is built on the stack and leaves in one write(2): logging takes no memory and no lock, and
 * lines of different threads do not mix. Both forms share one quoting, a subset of JSON's that
 * logfmt readers know, so no value can start a second line or reach the terminal's controls. */
#include <synor/base/log.h>

#include <errno.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/base/world.h>

/* Kept free for what ends a line that was cut: ..."}\n */
#define LINE_TAIL 8

struct line {
    size_t len;
    bool cut;
    char data[SYN_LOG_LINE_MAX];
};

static struct {
    int fd;
    enum syn_log_level min;
    bool json;
} log_to = {.fd = STDERR_FILENO, .min = SYN_LOG_INFO, .json = false};

static const char *const level_names[] = {
    [SYN_LOG_DEBUG] = "debug",
    [SYN_LOG_INFO] = "info",
    [SYN_LOG_WARN] = "warn",
    [SYN_LOG_ERROR] = "error",
};

enum syn_log_level
syn_log_level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (unsigned i = 0; i < SYN_LEN(names); i++)
        if (syn_str_eq(names[i], name))
            return (enum syn_log_level)i;
    return SYN_LOG_INFO;
}

void
syn_log_setup(int fd, enum syn_log_level min, bool json)
{
    log_to.fd = fd;
    log_to.min = min;
    log_to.json = json;
}

static size_t
line_room(const struct line *line)
{
    size_t limit = sizeof(line->data) - LINE_TAIL;

    return line->len < limit ? limit - line->len : 0;
}

/* All of `text` or nothing, and nothing more once a piece did not fit. */
static void
line_add(struct line *line, const char *text, size_t len)
{
    if (line->cut || len > line_room(line)) {
        line->cut = true;
        return;
    }
    memcpy(line->data + line->len, text, len);
    line->len += len;
}

static void
line_end(struct line *line, const char *text)
{
    size_t len = strlen(text);

    assert(len <= sizeof(line->data) - line->len);
    memcpy(line->data + line->len, text, len);
    line->len += len;
}

/* A character that may stand as it is between quotes. C1 controls drive terminals too. */
static bool
is_harmless(const char *text, size_t len)
{
    unsigned char c = (unsigned char)text[0];

    if (len == 1)
        return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
    return !(c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

static void
line_add_escape(struct line *line, const char *text, size_t len)
{
    char escape[8];
    unsigned char c = (unsigned char)text[len - 1]; /* of U+0080..U+009F the code point itself */

    switch (c) {
    case '"':
    case '\\':
        escape[0] = '\\';
        escape[1] = (char)c;
        line_add(line, escape, 2);
        break;
    case '\n':
        line_add(line, "\\n", 2);
        break;
    case '\r':
        line_add(line, "\\r", 2);
        break;
    case '\t':
        line_add(line, "\\t", 2);
        break;
    default:
        line_add(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
        break;
    }
}

static void
line_add_quoted(struct line *line, const char *text, size_t len)
{
    line_add(line, "\"", 1);
    if (line->cut)
        return;
    while (len > 0 && !line->cut) {
        size_t step = syn_utf8_len(text, len);

        if (step == 0) {
            line_add(line, "\\ufffd", 6);
            step = 1;
        } else if (is_harmless(text, step)) {
            line_add(line, text, step);
        } else {
            line_add_escape(line, text, step);
        }
        text += step;
        len -= step;
    }
    line_end(line, line->cut ? "...\"" : "\"");
}

static bool
is_bare(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] == '"' || text[i] == '\\' || text[i] == '=' ||
            (unsigned char)text[i] >= 0x7f)
            return false;
    return len > 0;
}

static void
line_add_pair(struct line *line, const char *key, size_t key_len, const char *value, size_t len)
{
    /* A pair whose key might not fit, every byte escaped, is left out whole. */
    if (line->cut || key_len * 6 + 8 > line_room(line)) {
        line->cut = true;
        return;
    }
    if (log_to.json) {
        line_add(line, line->len == 0 ? "{" : ",", 1);
        line_add_quoted(line, key, key_len);
        line_add(line, ":", 1);
        line_add_quoted(line, value, len);
        return;
    }
    if (line->len > 0)
        line_add(line, " ", 1);
    line_add(line, key, key_len);
    line_add(line, "=", 1);
    if (is_bare(value, len) && len <= line_room(line))
        line_add(line, value, len);
    else
        line_add_quoted(line, value, len);
}

static void
line_add_text(struct line *line, const char *key, const char *value)
{
    if (value == NULL)
        value = "";
    line_add_pair(line, key, strlen(key), value, strlen(value));
}

static void
line_start(struct line *line, enum syn_log_level level, const char *event)
{
    char ts[SYN_FORMAT_MAX];

    line->len = 0;
    line->cut = false;
    line_add_text(line, "ts", syn_format_time(syn_wall_ms(syn_world_system()), ts));
    line_add_text(line, "level", level_names[level]);
    line_add_text(line, "event", event);
}

static void
line_send(struct line *line)
{
    const char *data = line->data;

    line_end(line, log_to.json ? "}\n" : "\n");
    while (line->len > 0) {
        ssize_t done = write(log_to.fd, data, line->len);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break; /* nowhere to tell it */
        data += done;
        line->len -= (size_t)done;
    }
}

/* Length of "key=" at `text`, without the sign, or 0. */
static size_t
key_at(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");

    return text[len] == '=' ? len : 0;
}

/* Take the formatted pairs apart and quote them anew. A word that starts no pair belongs to the
 * value before it, so that a stray blank costs nothing. */
static void
line_add_pairs(struct line *line, const char *text)
{
    while (*text != '\0') {
        size_t key_len = key_at(text);
        const char *value = key_len > 0 ? text + key_len + 1 : text;
        const char *end = value;

        while (*end != '\0' && !(*end == ' ' && key_at(end + 1) > 0))
            end++;
        if (key_len > 0)
            line_add_pair(line, text, key_len, value, (size_t)(end - value));
        else
            line_add_pair(line, "text", 4, value, (size_t)(end - value));
        text = *end == ' ' ? end + 1 : end;
    }
}

void
syn_log(enum syn_log_level level, const char *event, const char *format, ...)
{
    int saved_errno = errno;
    char text[SYN_LOG_LINE_MAX];
    struct line line;
    va_list args;

    if (level < log_to.min)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    line_start(&line, level, event);
    line_add_pairs(&line, text);
    line_send(&line);
    errno = saved_errno;
}

void
syn_log_kv(enum syn_log_level level, const char *event, ...)
{
    int saved_errno = errno;
    struct line line;
    va_list args;

    if (level < log_to.min)
        return;
    line_start(&line, level, event);
    va_start(args, event);
    for (const char *key = va_arg(args, const char *); key != NULL;
         key = va_arg(args, const char *))
        line_add_text(&line, key, va_arg(args, const char *));
    va_end(args);
    line_send(&line);
    errno = saved_errno;
}

void
syn_log_err(enum syn_log_level level, const char *event, const struct syn_err *err)
{
    char at[256];

    (void)snprintf(at, sizeof(at), "%s:%d", err->file != NULL ? err->file : "?", err->line);
    syn_log_kv(level, event, "code", syn_err_info(err->code)->wire, "message", err->msg, "at", at,
               NULL);
}
