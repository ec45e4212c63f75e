/* The balancer while it is open: what balancer.c keeps and balancer_read.c reads. */
#ifndef SYNOR_INFRA_BALANCER_LIVE_PRIV_H
#define SYNOR_INFRA_BALANCER_LIVE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "balancer_priv.h"

#define LB_OLD_MAX 16 /* processes that end what they had; one more and the oldest ends now */

/* What a backend counted. Its counts are base + seen. */
struct lb_tally {
    unsigned slot;
    unsigned born;                /* the generation of the process in which it got it */
    uint64_t base[LB_COUNTERS];   /* in processes and sections before */
    uint64_t offset[LB_COUNTERS]; /* of its section, when it got it */
    uint64_t seen[LB_COUNTERS];   /* in its section since, at the last reading */
    uint64_t now[LB_FIELDS];      /* gauges at the last reading */
};

struct syn_balancer {
    pthread_mutex_t lock;
    pthread_t thread;
    int wake, dir, lock_file;
    char *path, *program;
    struct lb_setup setup;
    struct lb_model *model; /* what runs, or (`adrift`) what is wanted */
    struct syn_map *tallies;
    struct lb_process now, old[LB_OLD_MAX];
    struct lb_wire
        *old_wire[LB_OLD_MAX]; /* NULL: it was replaced before our time, or has nothing */
    size_t old_count;
    struct lb_sockets *sockets; /* what `now` listens on, held; NULL: nothing is */
    unsigned generation;
    bool stopping, adrift, begun; /* begun: a table was set */
    bool ours;                    /* `now` was started by us, and not found */
    int64_t started_ms, retry_ms, backoff_ms;
    uint64_t reloads, restarts, changes;
    atomic_int pid;
};

void lb_lock(struct syn_balancer *balancer);
void lb_unlock(struct syn_balancer *balancer);
/** To the process that serves. */
SYN_MUST int lb_connect(const struct syn_balancer *balancer, struct lb_wire **ret,
                        struct syn_err *err);
SYN_MUST int lb_show_stat(struct lb_wire *wire, const char *command, struct lb_stat **ret,
                          size_t *ret_count, struct syn_err *err);
/** Bring the tallies up to date. */
SYN_MUST int lb_read_counts(struct syn_balancer *balancer, struct lb_wire *wire,
                            struct syn_err *err);
/** Does anybody wait for a first server there, or may somebody come to? */
bool lb_may_wait(const struct syn_balancer *balancer, struct lb_wire *wire);
/** Which section of a process that was found is whose, into process->marks. CORRUPT: it does not
 *  say; UNAVAILABLE: it was told to end. */
SYN_MUST int lb_learn_marks(struct lb_process *process, struct lb_wire *wire, struct syn_err *err);
/** The process takes no connections any more; what it has goes on as before. */
SYN_MUST int lb_shut_doors(struct lb_wire *wire, struct syn_err *err);
/** Processes that were replaced while somebody waited hear of these changes as well. */
void lb_tell_lingering(struct syn_balancer *balancer, const struct lb_change *change);
/** Who waits there hears of the servers that there are; where nobody does any more, the process is
 *  told to end. Returns whether there is one left where somebody waits. */
bool lb_let_on(struct syn_balancer *balancer);
/** One number of "show info". */
SYN_MUST int lb_ask_info(struct lb_wire *wire, const char *label, uint64_t *ret,
                         struct syn_err *err);

#endif
