/* The counters of one attachment, read from the kernel. */
#ifndef SYNOR_RUNTIME_NET_METER_PRIV_H
#define SYNOR_RUNTIME_NET_METER_PRIV_H

#include <synor/runtime/net.h>

/** `fd`: a NETLINK_NETFILTER socket of the node's namespace. Returns 0; NOTFOUND when there is no
 *  such attachment; IO. Blocks: four small questions. */
SYN_MUST int syn_meter_read(int fd, const char *table, uint32_t number,
                            struct syn_net_usage *ret_usage, struct syn_err *err);

/** The same for whoever knows no more than the name of its port. */
SYN_MUST int syn_meter_read_port(int fd, const char *port, struct syn_net_usage *ret_usage,
                                 struct syn_err *err);

typedef void (*syn_meter_fn)(void *arg, char kind, uint32_t number, int64_t bytes);
/** Every counter of the table: kind 'e', 'n', 'a', 'r' and whose it is. Returns 0; NOTFOUND without
 *  such a table; IO. */
SYN_MUST int syn_meter_each(int fd, const char *table, syn_meter_fn fn, void *arg,
                            struct syn_err *err);

/** Are both tables of that name there? */
bool syn_meter_tables(int fd, const char *table);

/** Add `bytes` where `kind` belongs. */
void syn_meter_take(struct syn_net_usage *usage, char kind, int64_t bytes);

#endif
