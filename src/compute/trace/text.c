/* Text for JSON, XML and DOT. What is not UTF-8, or what the format has no way to say, becomes
 * U+FFFD, the sign for "there was something". */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "trace_priv.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* Append `text` character by character; `special` appends what needs care and says so. */
static void
escape(struct syn_buf *out, const char *text, bool (*special)(struct syn_buf *out, const char *c))
{
    size_t len = strlen(text);

    for (size_t at = 0, bytes; at < len; at += bytes) {
        bytes = syn_utf8_len(text + at, len - at);
        if (bytes == 0) {
            syn_buf_adds(out, REPLACEMENT);
            bytes = 1;
        } else if (!special(out, text + at)) {
            syn_buf_add(out, text + at, bytes);
        }
    }
}

static bool
json_special(struct syn_buf *out, const char *c)
{
    if (*c == '"' || *c == '\\')
        syn_buf_addf(out, "\\%c", *c);
    else if ((unsigned char)*c < 0x20)
        syn_buf_addf(out, "\\u%04x", (unsigned)*c);
    else
        return false;
    return true;
}

void
trace_json(struct syn_buf *out, const char *text)
{
    syn_buf_addc(out, '"');
    escape(out, text, json_special);
    syn_buf_addc(out, '"');
}

static bool
xml_special(struct syn_buf *out, const char *c)
{
    /* XML 1.0 has no way to write these, not even as references: controls, U+FFFE, U+FFFF. */
    bool impossible = ((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f ||
                      strncmp(c, "\xef\xbf\xbe", 3) == 0 || strncmp(c, "\xef\xbf\xbf", 3) == 0;

    if (impossible)
        syn_buf_adds(out, REPLACEMENT);
    else if (*c == '&')
        syn_buf_adds(out, "&amp;");
    else if (*c == '<')
        syn_buf_adds(out, "&lt;");
    else if (*c == '>')
        syn_buf_adds(out, "&gt;");
    else if (*c == '"')
        syn_buf_adds(out, "&quot;");
    else
        return false;
    return true;
}

void
trace_xml(struct syn_buf *out, const char *text)
{
    escape(out, text, xml_special);
}

static bool
dot_special(struct syn_buf *out, const char *c)
{
    if (*c == '"' || *c == '\\')
        syn_buf_addf(out, "\\%c", *c);
    else if (*c == '\n')
        syn_buf_adds(out, "\\n");
    else if ((unsigned char)*c < 0x20 || *c == 0x7f)
        syn_buf_adds(out, REPLACEMENT);
    else
        return false;
    return true;
}

void
trace_dot(struct syn_buf *out, const char *text)
{
    escape(out, text, dot_special);
}

static bool
plain_special(struct syn_buf *out, const char *c)
{
    if ((unsigned char)*c >= 0x20 && *c != 0x7f)
        return false;
    syn_buf_adds(out, REPLACEMENT);
    return true;
}

void
trace_plain(struct syn_buf *out, const char *text, unsigned width)
{
    unsigned written = 0;

    escape(out, text, plain_special);
    for (size_t len = strlen(text), at = 0, bytes; at < len; at += bytes, written++) {
        bytes = syn_utf8_len(text + at, len - at);
        bytes = bytes == 0 ? 1 : bytes;
    }
    for (bool some = false; width != 0 && (!some || written < width); written++) {
        syn_buf_addc(out, ' ');
        some = true;
    }
}

void
trace_us(struct syn_buf *out, uint64_t ns)
{
    syn_buf_addf(out, "%" PRIu64 ".%03" PRIu64, ns / 1000, ns % 1000);
}

/* No printf of a double anywhere: its point is the locale's. */
const char *
trace_time(uint64_t ns, char *out)
{
    if (ns < 1000)
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 " ns", ns);
    else if (ns < 1000000)
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%02" PRIu64 " us", ns / 1000,
                       ns % 1000 / 10);
    else if (ns < 1000000000)
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%02" PRIu64 " ms", ns / 1000000,
                       ns % 1000000 / 10000);
    else
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%03" PRIu64 " s", ns / 1000000000,
                       ns % 1000000000 / 1000000);
    return out;
}

const char *
trace_bytes(uint64_t bytes, char *out)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t value = bytes; /* in 1024ths of the unit */
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 " B", bytes);
        return out;
    }
    while (value >= UINT64_C(1024) * 1024) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%" PRIu64 " %s", value / 1024,
                   value % 1024 * 10 / 1024, units[unit]);
    return out;
}

const char *
trace_joules(uint64_t uj, char *out)
{
    if (uj < 1000000)
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%03" PRIu64 " mJ", uj / 1000, uj % 1000);
    else
        (void)snprintf(out, TRACE_LABEL_MAX, "%" PRIu64 ".%03" PRIu64 " J", uj / 1000000,
                       uj % 1000000 / 1000);
    return out;
}
