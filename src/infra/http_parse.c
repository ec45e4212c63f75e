#include "http_parse_priv.h"

#include <synor/base/str.h>

/* RFC 9110 token characters. */
static bool
is_token(unsigned char c)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";

    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr(extra, c) != NULL);
}

/* What a header's value may hold: no controls but the tab. */
static bool
is_field(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7F);
}

size_t
http_head_end(const char *data, size_t len, size_t *scanned)
{
    size_t from = *scanned > 3 ? *scanned - 3 : 0;
    const char *end = len < 4 ? NULL : memmem(data + from, len - from, "\r\n\r\n", 4);

    *scanned = len;
    return end == NULL ? 0 : (size_t)(end - data) + 4;
}

const char *
http_head_find(const struct http_head *head, const char *name)
{
    for (unsigned i = 0; i < head->header_count; i++) {
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    }
    return NULL;
}

/* "GET /path HTTP/1.1": exactly one blank between the parts. */
static int
parse_request_line(char *line, size_t len, struct http_head *head, struct syn_err *err)
{
    char *method_end = memchr(line, ' ', len);
    char *target;
    char *target_end;
    const char *version;

    if (method_end == NULL || method_end == line || method_end - line > 16)
        return SYN_FAIL(err, SYN_E_INVALID, "malformed request line");
    for (const char *at = line; at < method_end; at++) {
        if (*at < 'A' || *at > 'Z')
            return SYN_FAIL(err, SYN_E_INVALID, "malformed method");
    }
    target = method_end + 1;
    target_end = memchr(target, ' ', len - (size_t)(target - line));
    if (target_end == NULL || target_end == target)
        return SYN_FAIL(err, SYN_E_INVALID, "malformed request line");
    version = target_end + 1;
    if (line + len - version != 8 || memcmp(version, "HTTP/", 5) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "malformed request line");
    if (memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1'))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    head->minor_zero = version[7] == '0';
    if (target_end - target > SYN_HTTP_TARGET_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the request target is longer than %d bytes",
                        SYN_HTTP_TARGET_MAX);
    for (const char *at = target; at < target_end; at++) {
        if (*at <= 0x20 || *at >= 0x7F || *at == '#')
            return SYN_FAIL(err, SYN_E_INVALID, "the request target holds a raw byte 0x%02x",
                            (unsigned)(unsigned char)*at);
    }
    if (*target != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "the request target must start with /");
    *method_end = '\0';
    *target_end = '\0';
    head->method = line;
    head->target = target;
    head->target_len = (size_t)(target_end - target);
    return SYN_OK;
}

/* "Name: value" without folding; the name becomes lower case, the value loses its outer blanks. */
static int
parse_field(char *line, size_t len, struct http_pair *ret, struct syn_err *err)
{
    char *colon = memchr(line, ':', len);
    char *value;
    char *end = line + len;

    if (colon == NULL || colon == line)
        return SYN_FAIL(err, SYN_E_INVALID, "malformed header line");
    for (char *at = line; at < colon; at++) {
        if (!is_token((unsigned char)*at))
            return SYN_FAIL(err, SYN_E_INVALID, "malformed header name");
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + ('a' - 'A'));
    }
    *colon = '\0';
    value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    for (const char *at = value; at < end; at++) {
        if (!is_field((unsigned char)*at))
            return SYN_FAIL(err, SYN_E_INVALID, "control character in header %s", line);
    }
    *end = '\0';
    ret->name = line;
    ret->value = value;
    return SYN_OK;
}

/* One item of a comma list, compared without case. */
static bool
list_has(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != '\0') {
        size_t item = strcspn(list, ", \t");

        if (item == len && strncasecmp(list, word, len) == 0)
            return true;
        list += item;
        list += strspn(list, ", \t");
    }
    return false;
}

/* The headers that steer the connection itself. */
static int
interpret_field(struct http_head *head, const struct http_pair *pair, struct syn_err *err)
{
    uint64_t length = 0;

    if (strcmp(pair->name, "content-length") == 0) {
        if (head->content_length >= 0)
            return SYN_FAIL(err, SYN_E_INVALID, "repeated Content-Length");
        if (syn_parse_u64(pair->value, 0, INT64_MAX, "Content-Length", &length, err) < 0)
            return SYN_E_INVALID;
        head->content_length = (int64_t)length;
    } else if (strcmp(pair->name, "transfer-encoding") == 0) {
        if (head->chunked)
            return SYN_FAIL(err, SYN_E_INVALID, "repeated Transfer-Encoding");
        if (strcasecmp(pair->value, "chunked") != 0)
            return SYN_FAIL(err, SYN_E_UNSUPPORTED, "only Transfer-Encoding: chunked is taken");
        head->chunked = true;
    } else if (strcmp(pair->name, "connection") == 0) {
        if (list_has(pair->value, "close"))
            head->keep_alive = false;
        else if (head->minor_zero && list_has(pair->value, "keep-alive"))
            head->keep_alive = true;
    }
    return SYN_OK;
}

/* Those that only a request has. */
static int
interpret_asked(struct http_head *head, const struct http_pair *pair, bool *seen_host,
                struct syn_err *err)
{
    if (strcmp(pair->name, "expect") == 0) {
        if (strcasecmp(pair->value, "100-continue") != 0)
            return SYN_FAIL(err, SYN_E_INVALID, "only Expect: 100-continue is known");
        head->expects_continue = !head->minor_zero;
    } else if (strcmp(pair->name, "authorization") == 0) {
        if (http_head_find(head, "authorization") != NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "repeated Authorization");
    } else if (strcmp(pair->name, "host") == 0) {
        if (*seen_host)
            return SYN_FAIL(err, SYN_E_INVALID, "repeated Host");
        *seen_host = true;
    }
    return SYN_OK;
}

static int
parse_fields(char *at, char *end, struct http_head *head, bool asked, struct syn_err *err)
{
    bool seen_host = !asked;
    int rc;

    while (at < end) {
        char *eol = memchr(at, '\n', (size_t)(end - at));
        struct http_pair *pair = &head->headers[head->header_count];

        if (eol == NULL || eol == at || eol[-1] != '\r')
            return SYN_FAIL(err, SYN_E_INVALID, "a header line must end in CR LF");
        if (eol - at == 1)
            break;
        if (head->header_count == SYN_HTTP_HEADERS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %d headers", SYN_HTTP_HEADERS_MAX);
        rc = parse_field(at, (size_t)(eol - 1 - at), pair, err);
        if (rc == SYN_OK)
            rc = interpret_field(head, pair, err);
        if (rc == SYN_OK && asked)
            rc = interpret_asked(head, pair, &seen_host, err);
        if (rc < 0)
            return rc;
        head->header_count++;
        at = eol + 1;
    }
    if (!seen_host && !head->minor_zero)
        return SYN_FAIL(err, SYN_E_INVALID, "no Host header");
    if (head->chunked && (head->content_length >= 0 || head->minor_zero))
        return SYN_FAIL(err, SYN_E_INVALID, "Transfer-Encoding beside Content-Length or HTTP/1.0");
    return SYN_OK;
}

static void
head_init(struct http_head *head)
{
    head->header_count = 0;
    head->content_length = -1;
    head->chunked = false;
    head->expects_continue = false;
}

int
http_head_parse(char *data, size_t len, struct http_head *ret_head, struct syn_err *err)
{
    char *eol = memchr(data, '\n', len);
    int rc;

    assert(len >= 4);
    head_init(ret_head);
    if (memchr(data, '\0', len) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "zero byte in the request head");
    if (eol == NULL || eol == data || eol[-1] != '\r')
        return SYN_FAIL(err, SYN_E_INVALID, "the request line must end in CR LF");
    rc = parse_request_line(data, (size_t)(eol - 1 - data), ret_head, err);
    if (rc < 0)
        return rc;
    ret_head->keep_alive = !ret_head->minor_zero;
    return parse_fields(eol + 1, data + len, ret_head, true, err);
}

int
http_answer_parse(char *data, size_t len, struct http_head *ret_head, int *ret_status,
                  struct syn_err *err)
{
    const char *eol = memchr(data, '\n', len);
    size_t line = eol == NULL ? 0 : (size_t)(eol - data);

    head_init(ret_head);
    ret_head->method = ret_head->target = NULL;
    ret_head->target_len = 0;
    if (memchr(data, '\0', len) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "zero byte in the answer's head");
    /* "HTTP/1.1 200 OK": the blank before an empty reason is left out by some. */
    if (line < 13 || data[line - 1] != '\r' || memcmp(data, "HTTP/", 5) != 0 || data[8] != ' ' ||
        (data[12] != ' ' && data[12] != '\r'))
        return SYN_FAIL(err, SYN_E_INVALID, "malformed status line");
    if (memcmp(data, "HTTP/1.", 7) != 0 || (data[7] != '0' && data[7] != '1'))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "an answer of another version than HTTP/1.1");
    *ret_status = 0;
    for (int i = 9; i < 12; i++) {
        if (data[i] < '0' || data[i] > '9')
            return SYN_FAIL(err, SYN_E_INVALID, "malformed status");
        *ret_status = *ret_status * 10 + (data[i] - '0');
    }
    if (*ret_status < 100)
        return SYN_FAIL(err, SYN_E_INVALID, "status %d", *ret_status);
    ret_head->minor_zero = data[7] == '0';
    ret_head->keep_alive = !ret_head->minor_zero;
    return parse_fields(data + line + 1, data + len, ret_head, false, err);
}

ptrdiff_t
http_percent_decode(char *text, size_t len, bool plus)
{
    size_t n = 0;
    bool plain = true;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = len - i > 2 ? syn_hex_digit(text[i + 1]) : -1;
            int low = len - i > 2 ? syn_hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7F)
            return -1;
        plain = plain && (unsigned char)c < 0x80;
        text[n++] = c;
    }
    return plain || syn_utf8_ok(text, n) ? (ptrdiff_t)n : -1;
}

int
http_query_parse(char *text, struct http_pair *ret_pairs, unsigned *ret_count, struct syn_err *err)
{
    unsigned count = 0;

    if (*text == '\0') {
        *ret_count = 0;
        return SYN_OK;
    }
    for (char *at = text; at != NULL;) {
        char *next = strchr(at, '&');
        char *value;
        ptrdiff_t len;

        if (next != NULL)
            *next++ = '\0';
        value = strchr(at, '=');
        if (value != NULL)
            *value++ = '\0';
        else
            value = at + strlen(at);
        if (count == SYN_HTTP_QUERY_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %d query parameters", SYN_HTTP_QUERY_MAX);
        len = http_percent_decode(at, strlen(at), true);
        if (len <= 0)
            return SYN_FAIL(err, SYN_E_INVALID, "query parameter %u: %s", count + 1,
                            len == 0 ? "no name" : "malformed percent-encoding");
        at[len] = '\0';
        len = http_percent_decode(value, strlen(value), true);
        if (len < 0)
            return SYN_FAIL(err, SYN_E_INVALID, "query parameter %s: malformed percent-encoding",
                            at);
        value[len] = '\0';
        for (unsigned i = 0; i < count; i++) {
            if (strcmp(ret_pairs[i].name, at) == 0)
                return SYN_FAIL(err, SYN_E_INVALID, "query parameter %s is repeated", at);
        }
        ret_pairs[count++] = (struct http_pair){at, value};
        at = next;
    }
    *ret_count = count;
    return SYN_OK;
}

static int
decode_segment(char *segment, size_t len, struct syn_err *err)
{
    ptrdiff_t decoded = http_percent_decode(segment, len, false);

    if (decoded < 0)
        return SYN_FAIL(err, SYN_E_INVALID, "malformed percent-encoding in the path");
    segment[decoded] = '\0';
    if (memchr(segment, '/', (size_t)decoded) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "an encoded slash in the path");
    if (strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "a dot segment in the path");
    return SYN_OK;
}

int
http_path_split(char *path, size_t len, char **ret_segments, unsigned *ret_count,
                struct syn_err *err)
{
    char *end = path + len;
    char *at = path + 1;
    unsigned count = 0;
    int rc;

    assert(len > 0 && path[0] == '/');
    while (at < end) {
        char *slash = memchr(at, '/', (size_t)(end - at));
        char *stop = slash == NULL ? end : slash;

        if (stop == at || stop + 1 == end)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "an empty segment in the path; leave out the slash");
        if (count == SYN_HTTP_SEGMENTS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "more than %d segments in the path",
                            SYN_HTTP_SEGMENTS_MAX);
        rc = decode_segment(at, (size_t)(stop - at), err);
        if (rc < 0)
            return rc;
        ret_segments[count++] = at;
        at = stop + 1;
    }
    *ret_count = count;
    return SYN_OK;
}

/* --- chunked bodies -----------------------------------------------------------------------------
 */

#define CHUNK_DIGITS_MAX 15

/* One byte of framing. */
static int
chunk_step(struct http_chunked *chunked, char c, struct syn_err *err)
{
    int digit;

    switch (chunked->state) {
    case HTTP_CHUNK_SIZE:
        digit = syn_hex_digit(c);
        if (digit >= 0 && chunked->digits < CHUNK_DIGITS_MAX) {
            chunked->left = chunked->left << 4 | (uint64_t)digit;
            chunked->digits++;
            return SYN_OK;
        }
        if (c != '\r' || chunked->digits == 0)
            break;
        chunked->state = HTTP_CHUNK_SIZE_LF;
        return SYN_OK;
    case HTTP_CHUNK_SIZE_LF:
        if (c != '\n')
            break;
        chunked->state = chunked->left == 0 ? HTTP_CHUNK_TRAILER : HTTP_CHUNK_DATA;
        chunked->digits = 0;
        return SYN_OK;
    case HTTP_CHUNK_DATA_CR:
    case HTTP_CHUNK_TRAILER:
        if (c != '\r')
            break;
        chunked->state =
            chunked->state == HTTP_CHUNK_TRAILER ? HTTP_CHUNK_END_LF : HTTP_CHUNK_DATA_LF;
        return SYN_OK;
    case HTTP_CHUNK_DATA_LF:
    case HTTP_CHUNK_END_LF:
        if (c != '\n')
            break;
        chunked->state = chunked->state == HTTP_CHUNK_END_LF ? HTTP_CHUNK_DONE : HTTP_CHUNK_SIZE;
        return SYN_OK;
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_DONE:
        break;
    }
    return SYN_FAIL(err, SYN_E_INVALID, "malformed chunked body");
}

int
http_chunked_feed(struct http_chunked *chunked, const char *data, size_t len, size_t *ret_used,
                  const char **ret_data, size_t *ret_len, struct syn_err *err)
{
    size_t used = 0;

    *ret_data = data;
    *ret_len = 0;
    while (used < len && chunked->state != HTTP_CHUNK_DONE) {
        if (chunked->state == HTTP_CHUNK_DATA) {
            size_t span = SYN_MIN(len - used, chunked->left);

            *ret_data = data + used;
            *ret_len = span;
            used += span;
            chunked->left -= span;
            if (chunked->left == 0)
                chunked->state = HTTP_CHUNK_DATA_CR;
            break;
        }

        int rc = chunk_step(chunked, data[used], err);

        if (rc < 0)
            return rc;
        used++;
    }
    *ret_used = used;
    return SYN_OK;
}
