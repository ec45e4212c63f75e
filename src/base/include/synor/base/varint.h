/* Numbers as bytes, unsigned LEB128: seven bits each, the lowest first, the eighth says that more
 * follow. One number has one spelling, the shortest. Inline: logs and parsers do little else. */
#ifndef SYNOR_BASE_VARINT_H
#define SYNOR_BASE_VARINT_H

#include <synor/base/core.h>

#define SYN_VARINT_MAX 10

/** Read one from the start of `data`. Returns the bytes used, 0 when it is malformed, cut short,
 * longer than it need be, or over 64 bits. */
static inline size_t
syn_varint_decode(const void *data, size_t len, uint64_t *ret_value)
{
    const uint8_t *bytes = data;
    uint64_t value = 0;

    for (size_t i = 0; i < len && i < SYN_VARINT_MAX; i++) {
        uint64_t part = bytes[i] & 0x7fU;

        if (i == SYN_VARINT_MAX - 1 && part > 1)
            return 0;
        value |= part << (7 * i);
        if ((bytes[i] & 0x80U) == 0) {
            if (part == 0 && i > 0)
                return 0;
            *ret_value = value;
            return i + 1;
        }
    }
    return 0;
}

/** Write `value` into SYN_VARINT_MAX bytes at `out`; returns the bytes used. */
static inline size_t
syn_varint_encode(uint64_t value, void *out)
{
    uint8_t *bytes = out;
    size_t used = 0;

    while (value >= 0x80) {
        bytes[used++] = (uint8_t)(value | 0x80U);
        value >>= 7;
    }
    bytes[used++] = (uint8_t)value;
    return used;
}

#endif
