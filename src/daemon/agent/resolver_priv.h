/* The name server of a node's instances: it answers at the gateway of each account's bridge, where
 * only that account's instances can ask, and so knows whose question it is.
 *
 *   instance --UDP, TCP 53--> gateway (a door) --- synor: names.c
 *                                              `-- others: the node's resolvers (forward.c)
 *
 * One thread with a loop has all sockets. Another one (follow.c) follows what the server says of
 * services, of those accounts that have a door. */
#ifndef SYN_AGENT_RESOLVER_PRIV_H
#define SYN_AGENT_RESOLVER_PRIV_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <synor/base/loop.h>
#include <synor/client.h>

#include "names_priv.h"

#define AGT_DNS_QUERY_MAX       1500 /* bytes of a question */
#define AGT_DNS_ADDRESS_MAX     48
#define AGT_DNS_UPSTREAMS_MAX   3 /* as in resolv.conf */
#define AGT_DNS_FLIGHTS_MAX     512
#define AGT_DNS_FLIGHTS_OF_DOOR 128
#define AGT_DNS_CONNS_MAX       128
#define AGT_DNS_CONNS_OF_DOOR   32
#define AGT_DNS_TICK_MS         500
#define AGT_DNS_IDLE_MS         10000 /* of a connection */
#define AGT_DNS_FLIGHT_MS       2000  /* then the next resolver is asked */
#define AGT_DNS_KNOWN_MS        2000  /* that a start waits for its account's names */

/** What becomes of names that are not ours. */
enum agt_dns_others { AGT_DNS_FORWARD, AGT_DNS_REFUSE };

/** Where and whom to ask: one of the node's resolvers. */
struct agt_upstream {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct agt_door;
struct agt_conn;
struct agt_flight;

/** Who gets an answer: a datagram's sender, or a connection. */
struct agt_dns_client {
    struct agt_door *door;
    struct agt_conn *conn; /* NULL: by UDP */
    struct sockaddr_storage addr;
    socklen_t len;
};

struct agt_resolver {
    struct agt_names *names;
    enum agt_dns_others others;
    const char *resolv_conf; /* of the node; NULL: it has no resolvers */
    uint16_t port, upstream_port;
    int64_t flight_ms;
    struct syn_loop *loop;
    pthread_t thread;
    bool started;

    /* The loop's: */
    struct syn_watch *tick;
    struct agt_conn *conns;
    struct agt_flight *flights;
    unsigned conns_count, flights_count;
    struct agt_upstream upstreams[AGT_DNS_UPSTREAMS_MAX];
    size_t upstreams_count;
    int64_t upstreams_stamp; /* of the file that they are from */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct agt_door *doors;
    uint64_t generation;       /* counts changes of the doors */
    uint64_t known;            /* the names of the doors of that generation are */
    struct syn_client *client; /* that follows; NULL: nobody */
    bool stop;
};

/** Belongs to the loop, but for `asker`, `users` and `since`: under the lock. */
struct agt_door {
    struct agt_resolver *resolver;
    struct agt_door *next;
    char gateway[AGT_DNS_ADDRESS_MAX];
    struct agt_asker asker;
    unsigned users;
    uint64_t since; /* the generation that it came with */
    bool heard;     /* the loop knows it */
    int udp, tcp;
    struct syn_watch *udp_watch, *tcp_watch;
    unsigned conns_count, flights_count;
};

/** A number that is 0 is the usual one. */
struct agt_resolver_options {
    struct agt_names *names; /* outlive it, as `resolv_conf` does */
    enum agt_dns_others others;
    const char *resolv_conf; /* of the node; NULL: it has no resolvers */
    uint16_t port, upstream_port;
    int64_t tick_ms, flight_ms;
};
/** Owner: the caller. Starts a thread. */
SYN_MUST int agt_resolver_new(const struct agt_resolver_options *options, struct agt_resolver **ret,
                              struct syn_err *err);
struct agt_resolver *agt_resolver_free(struct agt_resolver *resolver);

/** Answer at `gateway` (IPv4) from now on, to `asker`; once for each instance behind it. When this
 *  returns, questions are heard. Thread: any. Returns 0; CONFLICT when another program has the
 *  port; NOMEM, IO, LIMIT. */
SYN_MUST int agt_resolver_enter(struct agt_resolver *resolver, const char *gateway,
                                const struct agt_asker *asker, struct syn_err *err);
/** One of the instances behind it is gone; with the last one the door is shut soon. */
void agt_resolver_leave(struct agt_resolver *resolver, const char *gateway);
/** Wait until the names of its account are known, `ms` at most. False when they are not. */
bool agt_resolver_await(struct agt_resolver *resolver, const char *gateway, int64_t ms);
/** What the doors of this generation need is known. */
void agt_resolver_known(struct agt_resolver *resolver, uint64_t generation);

/** Send a whole message to who asked. On the loop. */
void agt_resolver_send(const struct agt_dns_client *client, const uint8_t *data, size_t len);
/** Answer a question with a code and nothing else. On the loop. */
void agt_resolver_say(const struct agt_dns_client *client, const struct syn_dns_query *query,
                      enum syn_dns_code code);

/* --- forward.c: names that are others'. On the loop. --- */

/** Ask the node's resolvers, and answer sooner or later. `data` is the whole question. */
void agt_forward(const struct agt_dns_client *client, const struct syn_dns_query *query,
                 const uint8_t *data, size_t len);
/** Ask the next one where an answer is overdue. */
void agt_forward_tick(struct agt_resolver *resolver);
/** Forget what was asked for `conn`, or with `conn` NULL for anybody behind `door`. */
void agt_forward_drop(struct agt_resolver *resolver, const struct agt_door *door,
                      const struct agt_conn *conn);

/* --- follow.c --- */

struct syn_agent;
struct agt_follower;
/** Follow the services of the accounts that have a door. Starts a thread. */
SYN_MUST int agt_follower_new(struct syn_agent *agent, struct agt_resolver *resolver,
                              struct agt_follower **ret, struct syn_err *err);
struct agt_follower *agt_follower_free(struct agt_follower *follower);

#endif
