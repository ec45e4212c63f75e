/* The arithmetic of an update: how many replicas may be started and which may go, so that never
 * fewer take traffic than was promised. Numbers alone, no documents. */
#ifndef SYN_WORKLOAD_SERVICE_ROLLOUT_PRIV_H
#define SYN_WORKLOAD_SERVICE_ROLLOUT_PRIV_H

#include <synor/base/core.h>

/* Whose a replica is. */
enum rollout_group {
    ROLLOUT_NEW,   /* of the version that is wanted, and may stay where it is */
    ROLLOUT_BASE,  /* of the one that works, beside which the new one is tried */
    ROLLOUT_OTHER, /* of any other, or must leave its node: it goes */
};

/* A replica that lives. */
struct rollout_replica {
    int64_t serial;
    enum rollout_group group;
    bool ready;    /* it is well */
    bool idle;     /* though it is, it takes no traffic: it is kept, or is not to have any yet */
    bool stopping; /* was asked to */
    bool stop;     /* decided: ask it to stop now */
};

/* What becomes of the base. */
enum rollout_base {
    ROLLOUT_GOES,  /* as the new ones become ready */
    ROLLOUT_STAYS, /* what there is of it; nothing of it is replaced */
    ROLLOUT_WHOLE, /* all that is wanted; the new ones come besides */
};

struct rollout_pace {
    uint32_t want;
    uint32_t surge;       /* so many more than that may live while the base goes */
    uint32_t unavailable; /* so many fewer may take traffic during an update */
    uint32_t fresh;       /* so many of the new ones there are to be; `want` while the base goes */
    uint32_t done;        /* new ones that ended and get no successor */
    uint32_t done_well;   /* of them, those that did what they were to do */
    enum rollout_base base;
};

/* What is to be done, and what there is once `stop` is done. Whoever is stopping is in none but the
 * last. */
struct rollout {
    uint32_t create;      /* so many of the wanted version are to be started */
    uint32_t create_base; /* and so many of the one that works */
    uint32_t current;     /* live, new */
    uint32_t base;        /* live, of a base that does not go */
    uint32_t old;         /* live, others */
    uint32_t ready;       /* take traffic, of all */
    uint32_t updated;     /* are well, new */
    uint32_t stopping;    /* on their way out */
};

/* Decide, setting `stop` of those that go. Deciding again with that done and nothing else changed
 * gives nothing. */
struct rollout rollout_decide(struct rollout_replica *replicas, size_t count,
                              const struct rollout_pace *pace);
/* When the next replica may be started after so many failures, the last at `last_ms`. */
int64_t rollout_retry_at(uint32_t failures, uint32_t want, int64_t last_ms);

#define ROLLOUT_WEIGHT_MAX 256 /* of a balancer's server */

/* Weights with which `fresh` servers of one kind get `percent` (1 .. 99) of what comes, `old`
 * others the rest: exactly where whole numbers of 1 .. 256 can say it, else as near as they can.
 * Both counts are at least 1. */
void rollout_weights(uint32_t percent, uint32_t fresh, uint32_t old, uint32_t *ret_fresh,
                     uint32_t *ret_old);

#endif
