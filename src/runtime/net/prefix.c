#include "prefix_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#define BITS_MAX(family) ((family) == AF_INET ? 32u : 128u)

size_t
syn_addr_size(const struct syn_addr *addr)
{
    return addr->family == AF_INET ? 4 : 16;
}

bool
syn_addr_eq(const struct syn_addr *a, const struct syn_addr *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

int
syn_addr_parse(const char *text, const char *what, struct syn_addr *ret, struct syn_err *err)
{
    struct syn_addr addr = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};

    if (inet_pton(addr.family, text, addr.bytes) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected an address like 10.1.2.3 or fd00::1: %s",
                        what, text);
    *ret = addr;
    return SYN_OK;
}

int
syn_prefix_parse(const char *text, const char *what, struct syn_prefix *ret, struct syn_err *err)
{
    char host[SYN_ADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : sizeof(host);
    struct syn_prefix prefix = {0};
    uint64_t bits = 0;

    if (len >= sizeof(host))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected a form like 10.1.2.0/24: %s", what, text);
    memcpy(host, text, len);
    host[len] = '\0';
    if (syn_addr_parse(host, what, &prefix.addr, err) < 0 ||
        syn_parse_u64(slash + 1, 0, BITS_MAX(prefix.addr.family), what, &bits, err) < 0)
        return SYN_E_INVALID;
    prefix.len = (uint8_t)bits;
    *ret = prefix;
    return SYN_OK;
}

const char *
syn_addr_format(const struct syn_addr *addr, char *out)
{
    if (addr->family == 0 || !inet_ntop(addr->family, addr->bytes, out, SYN_ADDR_TEXT_MAX))
        out[0] = '\0';
    return out;
}

const char *
syn_prefix_format(const struct syn_prefix *prefix, char *out)
{
    char addr[SYN_ADDR_TEXT_MAX];

    (void)snprintf(out, SYN_PREFIX_TEXT_MAX, "%s/%u", syn_addr_format(&prefix->addr, addr),
                   prefix->len);
    return out;
}

static bool
bit_at(const struct syn_addr *addr, unsigned bit)
{
    return (addr->bytes[bit / 8] >> (7 - bit % 8)) & 1;
}

bool
syn_prefix_is_network(const struct syn_prefix *prefix)
{
    for (unsigned bit = prefix->len; bit < BITS_MAX(prefix->addr.family); bit++) {
        if (bit_at(&prefix->addr, bit))
            return false;
    }
    return true;
}

bool
syn_prefix_overlap(const struct syn_prefix *a, const struct syn_prefix *b)
{
    unsigned len = SYN_MIN(a->len, b->len);

    if (a->addr.family != b->addr.family)
        return false;
    for (unsigned bit = 0; bit < len; bit++) {
        if (bit_at(&a->addr, bit) != bit_at(&b->addr, bit))
            return false;
    }
    return true;
}

struct syn_addr
syn_prefix_at(const struct syn_prefix *network, uint64_t offset)
{
    struct syn_addr addr = network->addr;

    for (size_t i = syn_addr_size(&addr); i-- > 0 && offset > 0; offset >>= 8) {
        offset += addr.bytes[i];
        addr.bytes[i] = (uint8_t)offset;
    }
    return addr;
}

bool
syn_addr_is_loopback(const struct syn_addr *addr)
{
    static const uint8_t loopback6[16] = {[15] = 1};

    return addr->family == AF_INET ? addr->bytes[0] == 127
                                   : memcmp(addr->bytes, loopback6, sizeof(loopback6)) == 0;
}
