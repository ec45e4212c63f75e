#include "grpc_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include <synor/base/str.h>

/* --- addresses -------------------------------------------------------------------------------- */

static int
parse_unix(const char *path, struct grpc_address *ret, struct syn_err *err)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};

    if (path[0] != '/' || !syn_str_copy(where.sun_path, sizeof(where.sun_path), path))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "address unix:%s: expected an absolute path of at most %zu bytes", path,
                        sizeof(where.sun_path) - 1);
    memcpy(&ret->where, &where, sizeof(where));
    ret->len = sizeof(where);
    return SYN_OK;
}

static int
parse_tcp(const char *text, struct grpc_address *ret, struct syn_err *err)
{
    char host[INET6_ADDRSTRLEN + 2];
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    size_t len = colon == NULL ? 0 : (size_t)(colon - text);

    if (len == 0 || len >= sizeof(host))
        return SYN_FAIL(err, SYN_E_INVALID, "address tcp:%s: expected NUMBER:PORT", text);
    if (syn_parse_u64(colon + 1, 1, 65535, "port", &port, err) < 0)
        return SYN_E_INVALID;
    memcpy(host, text, len);
    host[len] = '\0';
    four.sin_port = six.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
        memcpy(&ret->where, &four, sizeof(four));
        ret->len = sizeof(four);
        return SYN_OK;
    }
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &six.sin6_addr) == 1) {
            memcpy(&ret->where, &six, sizeof(six));
            ret->len = sizeof(six);
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_INVALID, "address tcp:%s: expected a number such as 127.0.0.1 first",
                    text);
}

int
grpc_address_parse(const char *text, struct grpc_address *ret, struct syn_err *err)
{
    struct grpc_address address = {0};
    int rc;

    if (text == NULL)
        text = "";
    if (syn_str_starts(text, "unix:"))
        rc = parse_unix(text + strlen("unix:"), &address, err);
    else if (syn_str_starts(text, "tcp:"))
        rc = parse_tcp(text + strlen("tcp:"), &address, err);
    else
        rc = SYN_FAIL(err, SYN_E_INVALID, "address %s: expected unix:/PATH or tcp:NUMBER:PORT",
                      text);
    if (rc == SYN_OK)
        *ret = address;
    return rc;
}

/* --- frames ----------------------------------------------------------------------------------- */

void
grpc_frame_head(size_t len, uint8_t ret[GRPC_FRAME_HEAD])
{
    assert(len <= UINT32_MAX);
    ret[0] = 0;
    for (unsigned i = 0; i < 4; i++)
        ret[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}

int
grpc_frame_next(const void *data, size_t len, size_t max, size_t *ret_len, struct syn_err *err)
{
    const uint8_t *head = data;
    size_t size = 0;

    if (len > 0 && head[0] > 1)
        return SYN_FAIL(err, SYN_E_CORRUPT, "a message begins with %u", (unsigned)head[0]);
    if (len > 0 && head[0] == 1)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "a message is compressed, which was not agreed");
    if (len < GRPC_FRAME_HEAD)
        return GRPC_FRAME_MORE;
    for (unsigned i = 1; i < GRPC_FRAME_HEAD; i++)
        size = size << 8 | head[i];
    if (size > max)
        return SYN_FAIL(err, SYN_E_TOOBIG, "a message of %zu bytes: at most %zu are taken", size,
                        max);
    if (len - GRPC_FRAME_HEAD < size)
        return GRPC_FRAME_MORE;
    *ret_len = size;
    return SYN_OK;
}

/* --- statuses --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int code;
} statuses[] = {
    {"OK", SYN_OK},
    {"CANCELLED", SYN_E_CANCELED},
    {"UNKNOWN", SYN_E_IO},
    {"INVALID_ARGUMENT", SYN_E_INVALID},
    {"DEADLINE_EXCEEDED", SYN_E_TIMEOUT},
    {"NOT_FOUND", SYN_E_NOTFOUND},
    {"ALREADY_EXISTS", SYN_E_EXISTS},
    {"PERMISSION_DENIED", SYN_E_FORBIDDEN},
    {"RESOURCE_EXHAUSTED", SYN_E_LIMIT},
    {"FAILED_PRECONDITION", SYN_E_CONFLICT},
    {"ABORTED", SYN_E_CONFLICT},
    {"OUT_OF_RANGE", SYN_E_INVALID},
    {"UNIMPLEMENTED", SYN_E_UNSUPPORTED},
    {"INTERNAL", SYN_E_IO},
    {"UNAVAILABLE", SYN_E_UNAVAILABLE},
    {"DATA_LOSS", SYN_E_CORRUPT},
    {"UNAUTHENTICATED", SYN_E_UNAUTHENTICATED},
};

int
grpc_status_parse(const char *text, size_t len)
{
    char copy[4];
    uint64_t value = 0;

    if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return syn_parse_u64(copy, 0, SYN_LEN(statuses) - 1, "status", &value, NULL) < 0 ? -1
                                                                                     : (int)value;
}

int
grpc_status_code(int status)
{
    assert(status > 0 && (size_t)status < SYN_LEN(statuses));
    return statuses[status].code;
}

const char *
grpc_status_name(int status)
{
    assert(status >= 0 && (size_t)status < SYN_LEN(statuses));
    return statuses[status].name;
}

/* One byte of the text at *at, which moves on. */
static char
decode_one(const char **at, const char *end)
{
    const char *c = *at;
    int high, low;

    if (*c == '%' && end - c >= 3 && (high = syn_hex_digit(c[1])) >= 0 &&
        (low = syn_hex_digit(c[2])) >= 0) {
        *at = c + 3;
        return (char)(high << 4 | low);
    }
    *at = c + 1;
    return *c;
}

void
grpc_message_decode(const char *text, size_t len, char ret[GRPC_MESSAGE_MAX])
{
    static const char cut[] = "...";
    const size_t room = GRPC_MESSAGE_MAX - 1;
    const char *end = text + len;
    size_t count = 0, skip = 0, at = 0;

    for (const char *c = text; c < end; count++)
        (void)decode_one(&c, end);
    if (count > room) {
        memcpy(ret, cut, sizeof(cut) - 1);
        at = sizeof(cut) - 1;
        skip = count - (room - at);
    }
    count = 0;
    for (const char *c = text; c < end; count++) {
        char byte = decode_one(&c, end);

        if (byte == '\0')
            byte = ' ';

        if (count >= skip)
            ret[at++] = byte;
    }
    assert(at <= room);
    ret[at] = '\0';
}
