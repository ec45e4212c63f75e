#include <synor/infra/http_answer.h>

#include "http_parse_priv.h"

size_t
syn_http_answer_end(const char *data, size_t len, size_t *scanned)
{
    return http_head_end(data, len, scanned);
}

int
syn_http_answer_parse(char *data, size_t len, struct syn_http_answer *ret, struct syn_err *err)
{
    struct http_head head;
    int rc = http_answer_parse(data, len, &head, &ret->status, err);

    if (rc < 0)
        return rc;
    ret->header_count = head.header_count;
    for (unsigned i = 0; i < head.header_count; i++) {
        ret->headers[i].name = head.headers[i].name;
        ret->headers[i].value = head.headers[i].value;
        for (char *at = head.headers[i].value; *at != '\0'; at++) {
            if (*at == '\t') /* means the same, and can be sent on */
                *at = ' ';
        }
    }
    ret->content_length = head.content_length;
    ret->chunked = head.chunked;
    ret->keep_alive = head.keep_alive;
    return SYN_OK;
}

int
syn_http_chunks_feed(struct syn_http_chunks *chunks, const char *data, size_t len, size_t *ret_used,
                     const char **ret_data, size_t *ret_len, struct syn_err *err)
{
    struct http_chunked chunked = {(enum http_chunk_state)chunks->state, chunks->left,
                                   chunks->digits};
    int rc = http_chunked_feed(&chunked, data, len, ret_used, ret_data, ret_len, err);

    *chunks = (struct syn_http_chunks){(int)chunked.state, chunked.left, chunked.digits};
    return rc == SYN_OK && chunked.state == HTTP_CHUNK_DONE ? SYN_HTTP_CHUNKS_END : rc;
}
