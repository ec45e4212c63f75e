#include "sse_priv.h"

#include <synor/base/str.h>

#define RETRY_MS_MAX 60000

void
sse_parser_init(struct sse_parser *parser, sse_event_fn on_event, void *arg)
{
    memset(parser, 0, sizeof(*parser));
    parser->on_event = on_event;
    parser->arg = arg;
    parser->retry_ms = -1;
}

void
sse_parser_fini(struct sse_parser *parser)
{
    syn_buf_fini(&parser->line);
    syn_buf_fini(&parser->data);
    syn_buf_fini(&parser->name);
}

void
sse_parser_restart(struct sse_parser *parser)
{
    syn_buf_clear(&parser->line);
    syn_buf_clear(&parser->data);
    syn_buf_clear(&parser->name);
    parser->after_cr = false;
    parser->has_data = false;
    parser->begun = false;
}

/* An empty line: hand the event over, if it has data. */
static int
dispatch(struct sse_parser *parser, struct syn_err *err)
{
    int rc = SYN_OK;

    if (parser->has_data) {
        struct syn_event event = {parser->last_id,
                                  parser->name.len > 0 ? syn_buf_text(&parser->name) : "message",
                                  syn_buf_text(&parser->data), parser->data.len};

        rc = syn_buf_ok(&parser->data, err);
        if (rc == SYN_OK)
            rc = syn_buf_ok(&parser->name, err);
        if (rc == SYN_OK)
            rc = parser->on_event(parser->arg, &event, err);
    }
    syn_buf_clear(&parser->data);
    syn_buf_clear(&parser->name);
    parser->has_data = false;
    return rc;
}

static int
field(struct sse_parser *parser, const char *name, const char *value, size_t len,
      struct syn_err *err)
{
    int64_t retry = 0;

    if (strcmp(name, "data") == 0) {
        if (parser->data.len + len + 1 > SYN_CLIENT_EVENT_MAX)
            return SYN_FAIL(err, SYN_E_TOOBIG, "an event has more than %zu bytes",
                            SYN_CLIENT_EVENT_MAX);
        if (parser->has_data)
            syn_buf_addc(&parser->data, '\n');
        syn_buf_add(&parser->data, value, len);
        parser->has_data = true;
        return syn_buf_ok(&parser->data, err);
    }
    if (strcmp(name, "event") == 0) {
        syn_buf_clear(&parser->name);
        syn_buf_add(&parser->name, value, len);
        return syn_buf_ok(&parser->name, err);
    }
    if (strcmp(name, "id") == 0 && len <= SSE_ID_MAX && memchr(value, '\0', len) == NULL) {
        memcpy(parser->last_id, value, len);
        parser->last_id[len] = '\0';
    }
    if (strcmp(name, "retry") == 0 &&
        syn_parse_i64(value, 0, RETRY_MS_MAX, "retry", &retry, NULL) == SYN_OK)
        parser->retry_ms = retry;
    return SYN_OK; /* unknown fields are ignored, as the standard says */
}

static int
line_done(struct sse_parser *parser, struct syn_err *err)
{
    char *text;
    char *colon;
    size_t len;
    int rc = syn_buf_ok(&parser->line, err);

    if (rc < 0)
        return rc;
    if (parser->line.len == 0)
        return dispatch(parser, err);
    text = parser->line.data;
    len = parser->line.len;
    colon = memchr(text, ':', len);
    if (colon == NULL) {
        rc = field(parser, text, "", 0, err);
    } else if (colon != text) { /* a line that starts with a colon is a comment */
        char *value = colon + 1;

        *colon = '\0';
        if (value < text + len && *value == ' ')
            value++;
        rc = field(parser, text, value, (size_t)(text + len - value), err);
    }
    syn_buf_clear(&parser->line);
    return rc;
}

int
sse_parser_feed(struct sse_parser *parser, const char *data, size_t len, struct syn_err *err)
{
    const char *end = data + len;

    while (data < end) {
        size_t span;
        int rc;

        if (parser->after_cr && *data == '\n') {
            parser->after_cr = false;
            data++;
            continue;
        }
        parser->after_cr = false;
        span = 0;
        while (data + span < end && data[span] != '\n' && data[span] != '\r')
            span++;
        if (parser->line.len + span > SYN_CLIENT_EVENT_MAX + 16)
            return SYN_FAIL(err, SYN_E_TOOBIG, "an event has more than %zu bytes",
                            SYN_CLIENT_EVENT_MAX);
        syn_buf_add(&parser->line, data, span);
        data += span;
        if (data == end)
            break;
        parser->after_cr = *data == '\r';
        data++;
        if (!parser->begun && parser->line.len >= 3 &&
            memcmp(parser->line.data, "\xEF\xBB\xBF", 3) == 0)
            syn_buf_consume(&parser->line, 3);
        parser->begun = true;
        rc = line_done(parser, err);
        if (rc != SYN_OK) {
            syn_buf_clear(&parser->line);
            return rc;
        }
    }
    return syn_buf_ok(&parser->line, err);
}
