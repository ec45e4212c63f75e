/* Numbers as bytes: seven bits each, lowest first, the eighth says that more follow. */
#ifndef SYN_MARKET_VARINT_PRIV_H
#define SYN_MARKET_VARINT_PRIV_H

#include <synor/base/buf.h>

#define VARINT_MAX 10

static inline char *
varint_put(char *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (char)(unsigned char)(value | 0x80);
        value >>= 7;
    }
    *out++ = (char)(unsigned char)value;
    return out;
}

/* False when it is cut off, past 64 bits, or longer than it need be. */
static inline bool
varint_get(const unsigned char *data, size_t len, size_t *at, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = *at;

    for (unsigned shift = 0; i < len; shift += 7, i++) {
        uint64_t bits = data[i] & 0x7F;

        if (shift == 63 && bits > 1)
            return false;
        value |= bits << shift;
        if (data[i] < 0x80) {
            if (bits == 0 && shift > 0)
                return false;
            *at = i + 1;
            *ret = value;
            return true;
        }
        if (shift == 63)
            return false;
    }
    return false;
}

#endif
