/* Sockets in network namespaces, for tests: whoever calls stays where it is. */
#ifndef SYNOR_RUNTIME_NET_TESTING_H
#define SYNOR_RUNTIME_NET_TESTING_H

#include <sys/socket.h>

#include <synor/base/core.h>
#include <synor/runtime/net.h>

#define NET_WAIT_MS 10000
#define NET_DGRAM   1000 /* bytes */

#define NET_SIX      "fd53:796e:6f72::/96"
#define NET_SERVICE6 "fd53:796e:6f72::a7f:1"

/** A socket in `netns` (NULL: the caller's own). Owner: the caller closes it. */
SYN_MUST int net_socket_in(const char *netns, int family, int type);
/** One that is bound, and of a stream listens. */
SYN_MUST int net_bound(const char *netns, const char *address, uint16_t port, int type);
/** A connection from `netns`, or -1 with errno. */
SYN_MUST int net_dial(const char *netns, const char *address, uint16_t port);
/** One that is begun and not waited for. */
SYN_MUST int net_begin(const char *netns, const char *address, uint16_t port);
/** Is a connection from there accepted? That it is refused has to be said by a packet: a time-out
 *  fails the test. */
bool net_reaches(const char *netns, const char *address, uint16_t port);
/** `count` datagrams of NET_DGRAM bytes. */
void net_send_dgrams(int fd, const char *address, uint16_t port, unsigned count);
void net_recv_dgrams(int fd, unsigned count, struct sockaddr_storage *ret_from);

/** NET_SERVICE6, port 80, leads from there to port 7080 here, which is told of it as its own
 * address and of the caller's; other ports, addresses and the gateway lead nowhere. */
void net_check_diverted6(const struct syn_net_place *place);
/** Remove a local route of NET_SIX. */
void net_forget_services6(void);

/** As syn_net_attach() and syn_net_detach(), which must succeed. */
struct syn_net_place net_attach(struct syn_net *net, const char *id, const char *account,
                                bool guarded);
void net_detach(struct syn_net *net, const char *id);

/** How often `word` is in the rule set here, by the tool that people use; our interfaces here. */
unsigned net_count_rules(const char *word);
unsigned net_count_links(void);

#endif
