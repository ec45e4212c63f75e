/* Two messages of one field each: by hand they are shorter than what would generate them. */
#include <synor/infra/grpc_health.h>

#include <string.h>

#include <synor/base/varint.h>

enum wire { WIRE_VARINT, WIRE_EIGHT, WIRE_BYTES, WIRE_FOUR = 5 };

#define KEY(field, wire) ((unsigned char)((field) << 3U | (wire)))
#define STATUS_FIELD     1U

void
syn_grpc_health_ask(const char *service, struct syn_buf *out)
{
    const unsigned char key = KEY(1U, WIRE_BYTES);
    unsigned char len[SYN_VARINT_MAX];
    size_t bytes = strlen(service);

    assert(bytes <= SYN_GRPC_HEALTH_SERVICE_MAX);
    if (bytes == 0) /* what has its default is left out */
        return;
    syn_buf_add(out, &key, 1);
    syn_buf_add(out, len, syn_varint_encode(bytes, len));
    syn_buf_add(out, service, bytes);
}

/* How many bytes a field's value takes; 0: it is cut short, or none. */
static size_t
value_len(unsigned wire, const uint8_t *data, size_t len, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t used;

    switch (wire) {
    case WIRE_VARINT:
        used = syn_varint_decode(data, len, ret_number);
        return used;
    case WIRE_EIGHT:
        return len >= 8 ? 8 : 0;
    case WIRE_FOUR:
        return len >= 4 ? 4 : 0;
    case WIRE_BYTES:
        used = syn_varint_decode(data, len, &number);
        return used > 0 && number <= len - used ? used + (size_t)number : 0;
    default:
        return 0;
    }
}

int
syn_grpc_health_read(const void *data, size_t len, enum syn_grpc_health *ret, struct syn_err *err)
{
    const uint8_t *bytes = data;
    uint64_t status = SYN_GRPC_HEALTH_UNKNOWN; /* also where nothing is said */
    size_t at = 0;

    while (at < len) {
        uint64_t key = 0, number = 0;
        size_t used = syn_varint_decode(bytes + at, len - at, &key);
        size_t value =
            used > 0 ? value_len(key & 7U, bytes + at + used, len - at - used, &number) : 0;

        if (used == 0 || value == 0 || key >> 3U == 0)
            return SYN_FAIL(err, SYN_E_CORRUPT, "that is no answer about health");
        if (key == KEY(STATUS_FIELD, WIRE_VARINT))
            status = number;
        at += used + value;
    }
    *ret = status <= SYN_GRPC_HEALTH_SERVICE_UNKNOWN ? (enum syn_grpc_health)status
                                                     : SYN_GRPC_HEALTH_UNKNOWN;
    return SYN_OK;
}

const char *
syn_grpc_health_name(enum syn_grpc_health health)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

    assert((unsigned)health < SYN_LEN(names));
    return names[health];
}
