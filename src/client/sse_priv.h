/* A push parser for text/event-stream, with limits. */
#ifndef SYNOR_CLIENT_SSE_PRIV_H
#define SYNOR_CLIENT_SSE_PRIV_H

#include <synor/base/buf.h>
#include <synor/client.h>

#define SSE_ID_MAX 256

typedef int (*sse_event_fn)(void *arg, const struct syn_event *event, struct syn_err *err);

struct sse_parser {
    struct syn_buf line; /* unfinished */
    struct syn_buf data;
    struct syn_buf name;
    char last_id[SSE_ID_MAX + 1];
    bool after_cr; /* a LF now belongs to the line that has ended */
    bool has_data;
    bool begun;       /* the byte order mark may only come first */
    int64_t retry_ms; /* what the server asks for; -1: nothing */
    sse_event_fn on_event;
    void *arg;
};

void sse_parser_init(struct sse_parser *parser, sse_event_fn on_event, void *arg);
void sse_parser_fini(struct sse_parser *parser);
/** Forget an unfinished event: a new connection starts. Keeps last_id. */
void sse_parser_restart(struct sse_parser *parser);
/** Returns 0; what on_event returned when it is not 0; TOOBIG behind SYN_CLIENT_EVENT_MAX; NOMEM.
 */
SYN_MUST int sse_parser_feed(struct sse_parser *parser, const char *data, size_t len,
                             struct syn_err *err);

#endif
