/* Which instances of a function should be ready before it is called: a pure function of when it was
 * called lately and when its schedules call it next. Whole numbers only; docs/adr/0055 has the
 * sources and what was refused.
 *
 * A function sleeps between calls. Each such pause is noted: in a histogram of 64 bins, each 19 %
 * wider than the one before, and the last eight as they were. From those it follows how the next
 * one will go. In every bin an instance that is ready costs idle time, of all pauses that reach it,
 * and saves a cold start for each that ends in it; `worth` says how much idle time a cold start is
 * worth, and the set of bins that is worth most is found exactly: bin after bin, with what a start
 * costs between them. So one rule gives how long an instance is kept, when one is started ahead,
 * and that neither is worth it.
 *
 *     call                keep            asleep          ready ahead     call
 *      |#############################|...................|###############|
 *
 * What comes as a clock does (eight pauses that agree) is expected to the second, schedules at the
 * moment that they name. Counts fade: what a function did a hundred calls ago says little. */
#ifndef SYNOR_ORCHESTRATION_PREWARM_H
#define SYNOR_ORCHESTRATION_PREWARM_H

#include <synor/base/json.h>

#define SYN_PREWARM_BINS      64
#define SYN_PREWARM_RECENT    8
#define SYN_PREWARM_BURSTS    8 /* 1, 2, 4, ... calls at once */
#define SYN_PREWARM_MINUTES   4
#define SYN_PREWARM_AHEAD_MAX 8 /* instances that are started for calls that nobody made yet */
#define SYN_PREWARM_WHY_MAX   240
/** Shorter pauses are none; so long an instance stays in any case. */
#define SYN_PREWARM_PAUSE_MIN_MS INT64_C(1000)
#define SYN_PREWARM_SETTLE_MS    INT64_C(10000)
/** A schedule's call comes within that, or the instance goes. */
#define SYN_PREWARM_LATE_MS INT64_C(30000)
/** So many pauses must be known before they decide. */
#define SYN_PREWARM_PAUSES_MIN 5

/** What is known of a function's calls. All zero: nothing yet. */
struct syn_prewarm_state {
    int64_t last_ms;           /* when the last call ended; 0: there was none */
    int64_t start_us;          /* what the start of an instance takes, averaged; 0: not known */
    uint32_t calls, scheduled; /* that ended a pause, and of them those of schedules */
    uint32_t pauses;           /* weight of all bins */
    uint32_t bins[SYN_PREWARM_BINS];
    int64_t recent_ms[SYN_PREWARM_RECENT]; /* newest first; 0: none */
    int64_t burst_ms;                      /* when the last pause ended */
    uint32_t burst;                        /* calls at once in the moments after it */
    uint32_t bursts[SYN_PREWARM_BURSTS];   /* weights of those before */
    int64_t minute;                        /* of peaks[0] */
    uint32_t peaks[SYN_PREWARM_MINUTES];   /* calls at once, newest minute first */
};

/** Calls that were seen. */
struct syn_prewarm_calls {
    int64_t begun_ms, ended_ms; /* the first of them, and the last or now */
    uint32_t peak;              /* at once */
    bool scheduled;             /* all of them are schedules' */
};

/** Note them. Times that go back are left out. */
void syn_prewarm_note(struct syn_prewarm_state *state, const struct syn_prewarm_calls *calls);
/** An instance took so long to start. */
void syn_prewarm_started(struct syn_prewarm_state *state, int64_t us);

struct syn_prewarm_rule {
    int64_t idle_ms; /* its owner's: an instance is kept so long while nothing is known, and a cold
                        start is worth twice that of idle time */
    uint32_t concurrency, instances_max;
    int64_t fire_ms; /* when a schedule calls it next, from SYN_PREWARM_LATE_MS ago on; 0: never */
};

enum syn_prewarm_reason {
    SYN_PREWARM_UNKNOWN,   /* too little is known */
    SYN_PREWARM_HISTOGRAM, /* by the pauses until now */
    SYN_PREWARM_REGULAR,   /* it comes as a clock does */
    SYN_PREWARM_SCHEDULE,  /* schedules alone call it */
};
const char *syn_prewarm_reason_name(unsigned reason);

struct syn_prewarm_plan {
    enum syn_prewarm_reason reason;
    uint32_t least;     /* instances that should be ready now */
    int64_t idle_ms;    /* so long after the last call they go, but for `least` */
    uint32_t ahead;     /* instances that are started ahead */
    int64_t expects_ms; /* the next call; 0: it says nothing */
    bool by_schedule;   /* that is a schedule's */
    int64_t ready_ms;   /* they are started then; 0: none are */
    uint32_t covered;   /* thousandths of pauses that end while an instance is ready */
    int64_t wake_at_ms; /* decide again then; INT64_MAX: when it is called */
    char why[SYN_PREWARM_WHY_MAX];
};

void syn_prewarm_decide(const struct syn_prewarm_rule *rule, const struct syn_prewarm_state *state,
                        int64_t now_ms, struct syn_prewarm_plan *ret);

/** The state as a document, and back; what is no state is nothing yet. Owner: the caller. */
SYN_MUST int syn_prewarm_state_write(const struct syn_prewarm_state *state, json_t **ret,
                                     struct syn_err *err);
void syn_prewarm_state_read(const json_t *doc, struct syn_prewarm_state *ret);

#endif
