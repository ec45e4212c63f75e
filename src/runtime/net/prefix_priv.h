/* IP addresses and networks of both families, as values. Pure. */
#ifndef SYNOR_RUNTIME_PREFIX_PRIV_H
#define SYNOR_RUNTIME_PREFIX_PRIV_H

#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_ADDR_TEXT_MAX   46 /* with the NUL */
#define SYN_PREFIX_TEXT_MAX 50

struct syn_addr {
    int family;        /* AF_INET, AF_INET6; 0: none */
    uint8_t bytes[16]; /* network order; what the family does not use is 0 */
};

/** A network ("10.1.0.0/16"), or an address in one ("10.1.2.3/24"). */
struct syn_prefix {
    struct syn_addr addr;
    uint8_t len;
};

/** 4 or 16. */
size_t syn_addr_size(const struct syn_addr *addr);
bool syn_addr_eq(const struct syn_addr *a, const struct syn_addr *b);
/** INVALID names `what`. */
SYN_MUST int syn_addr_parse(const char *text, const char *what, struct syn_addr *ret,
                            struct syn_err *err);
/** "a.b.c.d/len" or IPv6, without zone. */
SYN_MUST int syn_prefix_parse(const char *text, const char *what, struct syn_prefix *ret,
                              struct syn_err *err);
/** Into out[SYN_ADDR_TEXT_MAX]. Returns out; "" for none. */
const char *syn_addr_format(const struct syn_addr *addr, char *out);
/** Into out[SYN_PREFIX_TEXT_MAX]. Returns out. */
const char *syn_prefix_format(const struct syn_prefix *prefix, char *out);
/** Are the bits behind `len` zero? */
bool syn_prefix_is_network(const struct syn_prefix *prefix);
/** Do they share an address? */
bool syn_prefix_overlap(const struct syn_prefix *a, const struct syn_prefix *b);
/** The address that lies `offset` behind the network's first. */
struct syn_addr syn_prefix_at(const struct syn_prefix *network, uint64_t offset);
/** 127.0.0.0/8, ::1. */
bool syn_addr_is_loopback(const struct syn_addr *addr);

#endif
