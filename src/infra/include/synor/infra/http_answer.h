/* HTTP/1.1 answers on the wire, read by a client: pure functions over bytes of whom nobody trusts.
 * As strict as the server's parser: what two implementations might read differently is refused, as
 * are extensions of chunks and trailers. */
#ifndef SYNOR_INFRA_HTTP_ANSWER_H
#define SYNOR_INFRA_HTTP_ANSWER_H

#include <synor/infra/http_req.h>

/** A parsed head. Texts point into the bytes that it was parsed from. */
struct syn_http_answer {
    int status;
    unsigned header_count;
    struct {
        const char *name; /* lower case */
        const char *value;
    } headers[SYN_HTTP_HEADERS_MAX];
    int64_t content_length; /* -1: none was given */
    bool chunked;
    bool keep_alive;
};

/** Where a chunked body is. Zero-initialised. */
struct syn_http_chunks {
    int state;
    uint64_t left;
    unsigned digits;
};

/** Look for the end of a head in data[0..len), of which *scanned bytes were searched before.
 * Returns the head's length with its empty line, or 0: it is not complete. */
size_t syn_http_answer_end(const char *data, size_t len, size_t *scanned);
/** Parse data[0..len), which ends with the empty line and is changed. Returns 0; INVALID; LIMIT:
 * too many headers; UNSUPPORTED: a version or transfer coding. */
SYN_MUST int syn_http_answer_parse(char *data, size_t len, struct syn_http_answer *ret,
                                   struct syn_err *err);
/** That was the last of the body. */
#define SYN_HTTP_CHUNKS_END 1
/** Advance over data[0..len): *ret_used bytes were consumed, *ret_data and *ret_len are one span of
 * content among them (may be empty). Call again until nothing is left. Returns 0;
 * SYN_HTTP_CHUNKS_END; INVALID. */
SYN_MUST int syn_http_chunks_feed(struct syn_http_chunks *chunks, const char *data, size_t len,
                                  size_t *ret_used, const char **ret_data, size_t *ret_len,
                                  struct syn_err *err);

#endif
