/* What stands before and behind a balancer in its tests and its benchmark: servers, clients. */
#ifndef SYNOR_INFRA_BALANCER_TESTING_H
#define SYNOR_INFRA_BALANCER_TESTING_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/buf.h>

#define ORIGIN_OPEN_MAX 4096
#define ORIGIN_REQUEST  4096

/** A server: one thread, HTTP/1.1, keep-alive. Its answer is its name and the request's head;
 *  "Upgrade: websocket" is answered by 101 and then by what comes. */
struct origin {
    pthread_t thread;
    int listener, wake;
    unsigned port;
    char name[16], address[32];
    atomic_uint requests; /* health checks are not counted */
    atomic_uint checks;
    atomic_int health,
        status;        /* what /health and everything else are answered with; 0: broken off */
    atomic_bool brief; /* the answer is its name alone */
    atomic_bool stopping;
};

void origin_start(struct origin *origin, const char *name);
void origin_stop(struct origin *origin);

/** A port of the loopback on which nobody listens, nor on the next one, and that is given to no
 *  client and to no other test. */
unsigned free_port(void);
/** Connect, ask, read everything: the whole answer. Empty: refused, or broken off at once. */
void ask(unsigned port, const char *host, const char *path, const char *headers,
         struct syn_buf *out);
/** The same from an address of the loopback, which may be ::1, as `load_start_from` does. */
void ask_from(const char *source, unsigned port, const char *host, const char *path,
              const char *headers, struct syn_buf *out);

/** Clients that ask without a pause, each over a connection that is kept. */
struct load {
    pthread_t threads[8];
    const char *source; /* NULL: any address */
    unsigned count, port;
    atomic_uint done, failed;
    atomic_bool stopping;
    pthread_mutex_t lock;
    char failure[256]; /* the first */
};

void load_start(struct load *load, unsigned port, unsigned clients);
void load_start_from(struct load *load, const char *source, unsigned port, unsigned clients);
void load_stop(struct load *load);

#define WAIT_MAX 3000 /* times 10 ms */
#define wait_until(condition)                  \
    do {                                       \
        unsigned left_ = WAIT_MAX;             \
        while (!(condition) && left_-- > 0)    \
            (void)poll(NULL, 0, 10);           \
        if (!(condition))                      \
            fail_msg("never: %s", #condition); \
    } while (0)

#endif
