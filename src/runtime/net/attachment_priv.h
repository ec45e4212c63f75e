/* What is written down about one attachment: the checked spec and where it lies in the pool. */
#ifndef SYNOR_RUNTIME_ATTACHMENT_PRIV_H
#define SYNOR_RUNTIME_ATTACHMENT_PRIV_H

#include <synor/base/buf.h>
#include <synor/runtime/net.h>

#include "prefix_priv.h"

#define SYN_ATTACHMENT_BYTES_MAX  ((size_t)65536) /* of a record file */
#define SYN_ATTACHMENT_NUMBER_MAX 0xffffffu

struct syn_attachment_port {
    enum syn_net_protocol protocol;
    struct syn_addr host; /* family 0: every address of the node */
    uint16_t host_port, port;
};

struct syn_attachment_rule {
    bool allow;
    enum syn_net_protocol protocol;
    struct syn_prefix prefix; /* family 0: everywhere */
    uint16_t port_first, port_last;
};

/** Plain values: copy freely. */
struct syn_attachment {
    char id[SYN_NET_ID_MAX + 1];
    char account[SYN_NET_ACCOUNT_MAX + 1];
    uint32_t number; /* its address is so many behind the pool's first */
    struct syn_attachment_port ports[SYN_NET_PORTS_MAX];
    size_t ports_count;
    struct syn_attachment_rule rules[SYN_NET_RULES_MAX];
    size_t rules_count;
    bool closed, guarded;
    bool apart; /* the network is its own, though the account may have another one */
    int64_t receive_bits_s, send_bits_s, connections_max;
};

/** Check every field, name the first bad one. Pure. */
SYN_MUST int syn_attachment_make(const struct syn_net_spec *spec, uint32_t number,
                                 struct syn_attachment *ret, struct syn_err *err);
/** One JSON object, always the same bytes for the same attachment. Pure. */
SYN_MUST int syn_attachment_format(const struct syn_attachment *attachment, struct syn_buf *out,
                                   struct syn_err *err);
/** The inverse. INVALID, TOOBIG, NOMEM. Pure. */
SYN_MUST int syn_attachment_parse(const char *data, size_t len, struct syn_attachment *ret,
                                  struct syn_err *err);
/** Would a packet not know which of the two it is for? Then *ret_port is the one. Pure. */
bool syn_attachment_clash(const struct syn_attachment *a, const struct syn_attachment *b,
                          const struct syn_attachment_port **ret_port);
/** Of letters, digits, '-', '_' and '.', none of these first, at most `max` bytes: fit for a file's
 *  name. */
bool syn_attachment_name_ok(const char *name, size_t max);
/** "tcp", "udp", "any". */
const char *syn_net_protocol_name(enum syn_net_protocol protocol);

#endif
