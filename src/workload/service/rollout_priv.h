/* The arithmetic of an update: how many replicas may be started and which may go, so that never
 * fewer are ready than was promised. Numbers alone, no documents. */
#ifndef SYN_WORKLOAD_SERVICE_ROLLOUT_PRIV_H
#define SYN_WORKLOAD_SERVICE_ROLLOUT_PRIV_H

#include <synor/base/core.h>

/* A replica that lives. */
struct rollout_replica {
    int64_t serial;
    bool current;  /* of the version that is wanted, and may stay where it is */
    bool ready;    /* takes traffic */
    bool stopping; /* was asked to */
    bool stop;     /* decided: ask it to stop now */
};

struct rollout_pace {
    uint32_t want;
    uint32_t surge;       /* so many more than that may live during an update */
    uint32_t unavailable; /* so many fewer may be ready during one */
};

/* What is to be done, and what there is once `stop` is done. */
struct rollout {
    uint32_t create;   /* so many of the wanted version are to be started */
    uint32_t current;  /* live, of the wanted version, not stopping */
    uint32_t old;      /* live, others, not stopping */
    uint32_t ready;    /* of both */
    uint32_t updated;  /* ready, of the wanted version */
    uint32_t stopping; /* on their way out */
};

/* Decide, setting `stop` of those that go. Deciding again with that done and nothing else changed
 * gives nothing. */
struct rollout rollout_decide(struct rollout_replica *replicas, size_t count,
                              const struct rollout_pace *pace);
/* When the next replica may be started after so many failures, the last at `last_ms`. */
int64_t rollout_retry_at(uint32_t failures, uint32_t want, int64_t last_ms);

#endif
