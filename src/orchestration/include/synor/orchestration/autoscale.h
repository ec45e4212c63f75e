/* How many replicas a service should have: a pure function of what was asked for (the rule), what
 * is seen now, and a small state that the last decision left. Whole numbers only, so that the same
 * inputs give the same decision on every machine; docs/autoscaling.md has the formula. */
#ifndef SYNOR_ORCHESTRATION_AUTOSCALE_H
#define SYNOR_ORCHESTRATION_AUTOSCALE_H

#include <synor/base/cron.h>
#include <synor/base/json.h>

#define SYN_AUTOSCALE_METRICS_MAX  8
#define SYN_AUTOSCALE_WINDOWS_MAX  16
#define SYN_AUTOSCALE_REPLICAS_MAX 10000
#define SYN_AUTOSCALE_SLOTS        16 /* parts of a stabilisation window */
#define SYN_AUTOSCALE_NAME_MAX     64 /* bytes of a custom metric's name, with the NUL */
#define SYN_AUTOSCALE_WHY_MAX      400
/** The largest target or sample, thousandths. */
#define SYN_AUTOSCALE_VALUE_MAX INT64_C(1000000000000000)
/** No sample, no total. */
#define SYN_AUTOSCALE_UNKNOWN INT64_C(-1)
/** What was wanted is not taken away for so long, or the downward window where that is shorter. */
#define SYN_AUTOSCALE_HOLD_MS INT64_C(30000)
/** Knowing nothing new for so long, a replica counts as silent. */
#define SYN_AUTOSCALE_FRESH_MS INT64_C(30000)

/** What is measured; in thousandths of its unit. */
enum syn_autoscale_kind {
    SYN_AUTOSCALE_CPU,      /* of what a replica asked for */
    SYN_AUTOSCALE_MEMORY,   /* of what a replica asked for */
    SYN_AUTOSCALE_REQUESTS, /* a second */
    SYN_AUTOSCALE_INFLIGHT, /* at once; by Little's law requests a second times their time */
    SYN_AUTOSCALE_QUEUE,    /* items that wait */
    SYN_AUTOSCALE_CUSTOM,   /* a number of its own */
    SYN_AUTOSCALE_KINDS,
};
/** "cpu", ...; NULL from SYN_AUTOSCALE_KINDS on. */
const char *syn_autoscale_kind_name(unsigned kind);

#define SYN_AUTOSCALE_KEY_MAX (SYN_AUTOSCALE_NAME_MAX + 16)

struct syn_autoscale_metric {
    enum syn_autoscale_kind kind;
    char name[SYN_AUTOSCALE_NAME_MAX]; /* of a custom one; else "" */
    int64_t target;                    /* of one replica, thousandths; > 0 */
};

/** Its name as people write it and the state has it: "cpu", "custom:NAME". */
const char *syn_autoscale_metric_key(const struct syn_autoscale_metric *metric,
                                     char out[SYN_AUTOSCALE_KEY_MAX]);

/** Bounds of a time: from each moment that `from` names, for so long (of time that passes). Of
 *  several that hold the highest counts. */
struct syn_autoscale_window {
    struct syn_cron from;
    const struct syn_zone *zone;
    int64_t for_ms;
    uint32_t min, max;
};

/** How fast it goes in one direction. */
struct syn_autoscale_pace {
    int64_t stabilise_ms; /* what was needed at any time of the last so long is needed still */
    int64_t cool_ms;      /* after any change, none in this direction for so long */
    int64_t period_ms;    /* in each, the larger of the two next steps; 0: at once */
    uint32_t count;
    uint32_t percent;
};

struct syn_autoscale_rule {
    uint32_t min, max;
    struct syn_autoscale_metric metrics[SYN_AUTOSCALE_METRICS_MAX];
    size_t metrics_count;
    const struct syn_autoscale_window *windows;
    size_t windows_count;
    int64_t tolerance;  /* thousandths: so near the target nothing changes */
    int64_t every_ms;   /* between two looks */
    int64_t average_ms; /* samples are averaged over about so long */
    int64_t lead_ms;    /* a replica takes so long to come: so far ahead is looked */
    int64_t idle_ms;    /* with min 0: without demand for so long, none is needed */
    struct syn_autoscale_pace up, down;
};

/** All but metrics and bounds as docs/autoscaling.md says. */
struct syn_autoscale_rule syn_autoscale_rule_default(void);
/** May the rule be? INVALID says what is wrong, after `path`. */
SYN_MUST int syn_autoscale_rule_check(const struct syn_autoscale_rule *rule, const char *path,
                                      struct syn_err *err);

/** A replica that lives and was not asked to stop. */
struct syn_autoscale_sample {
    bool ready;                                /* takes traffic */
    int64_t at_ms;                             /* when it was taken */
    int64_t values[SYN_AUTOSCALE_METRICS_MAX]; /* as the rule's metrics; or UNKNOWN */
};

struct syn_autoscale_now {
    int64_t now_ms;
    uint32_t current; /* so many are wanted until now */
    const struct syn_autoscale_sample *samples;
    size_t count;
    int64_t totals[SYN_AUTOSCALE_METRICS_MAX]; /* of the whole service, where one number says it
                                                  (the gateway's, a queue's); else UNKNOWN */
    uint32_t held;                             /* requests that wait because there is no replica */
};

/** What one decision leaves to the next. All zero: nothing yet. */
struct syn_autoscale_state {
    int64_t at_ms;      /* of the last look */
    int64_t changed_ms; /* of the last change; 0: none yet */
    int64_t busy_ms;    /* when there was demand last */
    struct syn_autoscale_level {
        bool known;
        int64_t level; /* averaged sum, thousandths */
        int64_t slope; /* of it, thousandths an hour */
    } levels[SYN_AUTOSCALE_METRICS_MAX];
    struct syn_autoscale_past {
        int64_t slot;                         /* number of the newest; 0: nothing yet */
        uint32_t needed[SYN_AUTOSCALE_SLOTS]; /* newest first */
        uint32_t used;
    } up, down, hold; /* the least that was wanted, the most that was needed and wanted */
    struct syn_autoscale_period {
        int64_t from_ms;
        uint32_t replicas; /* when it began */
    } period;
};

enum syn_autoscale_reason {
    SYN_AUTOSCALE_WAITING, /* it is not time to look yet: all stays */
    SYN_AUTOSCALE_STEADY,  /* near enough to the target */
    SYN_AUTOSCALE_LOAD,    /* as many as the load needs */
    SYN_AUTOSCALE_AT_MIN,  /* the load needs fewer */
    SYN_AUTOSCALE_AT_MAX,  /* the load needs more */
    SYN_AUTOSCALE_BOUNDS,  /* bounds have changed: a window began or ended, or the rule is new */
    SYN_AUTOSCALE_HELD,    /* requests wait at the door */
    SYN_AUTOSCALE_IDLE,    /* no demand for long: none */
    SYN_AUTOSCALE_STABILISING, /* the load of a moment ago needs what there is */
    SYN_AUTOSCALE_COOLING,     /* the last change is too near */
    SYN_AUTOSCALE_STEPPING,    /* as far as one step may go */
    SYN_AUTOSCALE_BLIND,       /* a metric is not known: nothing goes */
    SYN_AUTOSCALE_REASONS,
};
const char *syn_autoscale_reason_name(unsigned reason);

struct syn_autoscale_decision {
    uint32_t replicas;
    enum syn_autoscale_reason reason;
    int64_t wake_at_ms; /* look again then */
    uint32_t min, max;  /* bounds that hold now */
    char why[SYN_AUTOSCALE_WHY_MAX];
};

/** Decide, and bring the state forward. Deciding again at the same time with the decision applied
 *  changes nothing. The rule must have passed the check. */
void syn_autoscale_decide(const struct syn_autoscale_rule *rule,
                          const struct syn_autoscale_now *now, struct syn_autoscale_state *state,
                          struct syn_autoscale_decision *ret);

/** The state as a document. What is known of a metric stands under its name, so that a changed rule
 *  keeps what it still has. Owner: *ret is the caller's. */
SYN_MUST int syn_autoscale_state_write(const struct syn_autoscale_rule *rule,
                                       const struct syn_autoscale_state *state, json_t **ret,
                                       struct syn_err *err);
/** The inverse; NULL, and what is no state, is nothing yet. */
void syn_autoscale_state_read(const struct syn_autoscale_rule *rule, const json_t *doc,
                              struct syn_autoscale_state *ret);

/* --- as people write them (autoscale_text.c) ---------------------------------------------------
 */

/** "cpu=70%", "memory=80%", "requests=50", "inflight=8", "queue=100", "custom:NAME=2.5": a target
 *  of one replica. INVALID. */
SYN_MUST int syn_autoscale_parse_metric(const char *text, struct syn_autoscale_metric *ret,
                                        struct syn_err *err);
/** A target alone: "70%", "0.7" and "2.5" in thousandths; positive. INVALID names `what`. */
SYN_MUST int syn_autoscale_parse_target(const char *text, const char *what, int64_t *ret,
                                        struct syn_err *err);
/** A value of the kind for people: "70%", "2.5"; into out[SYN_FORMAT_MAX]. */
const char *syn_autoscale_format(enum syn_autoscale_kind kind, int64_t value, char *out);

#endif
