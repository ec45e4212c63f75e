/* Is a replica well? What checks said, when the next one is due, and what follows: numbers and
 * times alone. The checks themselves are probe.c's. */
#ifndef SYN_AGENT_HEALTH_PRIV_H
#define SYN_AGENT_HEALTH_PRIV_H

#include <synor/base/core.h>

/** While it starts, checks begin this far apart and slow down to the interval: each waits for a
 *  sixteenth of the time since the start. */
#define AGT_HEALTH_FIRST_MS INT64_C(10)

struct agt_health_rules {
    bool checked; /* false: it is well while it runs */
    int64_t interval_ms;
    int64_t healthy;   /* so many answers in a row: ready */
    int64_t unhealthy; /* so many failures in a row: not ready */
    int64_t lost;      /* so many failures in a row: to be ended; 0: however many */
    int64_t start_ms;  /* time to become ready first; 0: as long as it takes */
};

struct agt_health {
    struct agt_health_rules rules;
    int64_t since_ms;       /* when it started */
    int64_t due_ms;         /* of the next check */
    int64_t pause_ms;       /* between checks while it starts */
    int64_t passed, failed; /* in a row */
    bool ready;
    bool began; /* it was ready once */
};

/** It has started at `now_ms`. */
void agt_health_init(struct agt_health *health, const struct agt_health_rules *rules,
                     int64_t now_ms);
/** Is a check due? */
bool agt_health_due(const struct agt_health *health, int64_t now_ms);
/** A check has ended at `now_ms`. True when `ready` changed. */
bool agt_health_take(struct agt_health *health, bool passed, int64_t now_ms);
/** Must it be ended? It did not become ready in its time, or has failed for long. */
bool agt_health_lost(const struct agt_health *health, int64_t now_ms);

#endif
