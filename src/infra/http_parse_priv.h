/* HTTP/1.1 on the wire: heads, chunked bodies, percent-encoding, query strings. Pure functions over
 * bytes.
 *
 * The parser is strict on purpose. Whatever two implementations might read differently (bare LF,
 * folded lines, blanks before a colon, repeated or odd Content-Length, Transfer-Encoding beside it,
 * anything but "chunked") is refused: request smuggling lives in leniency. */
#ifndef SYNOR_INFRA_HTTP_PARSE_PRIV_H
#define SYNOR_INFRA_HTTP_PARSE_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/infra/http_req.h>
#include <synor/infra/http_server.h>

struct http_pair {
    char *name;
    char *value;
};

/** A parsed head; every text points into the buffer it was parsed from, zero-terminated in place.
 */
struct http_head {
    char *method;
    char *target; /* path and query as sent */
    size_t target_len;
    struct http_pair headers[SYN_HTTP_HEADERS_MAX]; /* names in lower case */
    unsigned header_count;
    int64_t content_length; /* -1: none */
    bool chunked;
    bool keep_alive;
    bool minor_zero; /* HTTP/1.0 */
    bool expects_continue;
};

/** Look for the end of a head in data[0..len), having searched data[0..*scanned) before.
 *  Returns the head's length with its empty line, or 0 when it is not complete. */
size_t http_head_end(const char *data, size_t len, size_t *scanned);

/** Parse data[0..len), which ends with the empty line. The buffer is changed.
 *  Returns 0; INVALID; LIMIT for too many headers; UNSUPPORTED for a version or transfer coding. */
SYN_MUST int http_head_parse(char *data, size_t len, struct http_head *ret_head,
                             struct syn_err *err);

/** The same of an answer, whose first line has a status; method and target are not set. */
SYN_MUST int http_answer_parse(char *data, size_t len, struct http_head *ret_head, int *ret_status,
                               struct syn_err *err);

/** A value by lower-case name, or NULL. */
const char *http_head_find(const struct http_head *head, const char *name);

/** Decode percent-encoding in place. Returns the new length, or -1 when it is malformed or decodes
 * to a control character or invalid UTF-8. `plus` reads '+' as a blank. */
ptrdiff_t http_percent_decode(char *text, size_t len, bool plus);

/** Split "a=1&b=2" in place into decoded pairs.
 *  Returns 0; INVALID for malformed, empty or repeated names; LIMIT behind SYN_HTTP_QUERY_MAX. */
SYN_MUST int http_query_parse(char *text, struct http_pair *ret_pairs, unsigned *ret_count,
                              struct syn_err *err);

/** Decode a path in place into segments ("/" has none). Texts point into `path`.
 *  Returns 0; INVALID for empty, dot or malformed segments, encoded slashes, too many segments. */
SYN_MUST int http_path_split(char *path, size_t len, char **ret_segments, unsigned *ret_count,
                             struct syn_err *err);

enum http_chunk_state {
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER, /* at the start of a line behind the last chunk */
    HTTP_CHUNK_END_LF,
    HTTP_CHUNK_DONE,
};

struct http_chunked {
    enum http_chunk_state state;
    uint64_t left;   /* bytes of this chunk */
    unsigned digits; /* of the size read so far */
};

/** Advance over data[0..len). *ret_used bytes were consumed; *ret_data and *ret_len are one span of
 * content among them (may be empty). Call again until nothing is used or the state is DONE. Chunk
 * extensions and trailers are refused: nothing here gives them meaning. Returns 0; INVALID. */
SYN_MUST int http_chunked_feed(struct http_chunked *chunked, const char *data, size_t len,
                               size_t *ret_used, const char **ret_data, size_t *ret_len,
                               struct syn_err *err);

#endif
