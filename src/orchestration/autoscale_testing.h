/* A service under recorded load, second by second, and two scalers to choose its replicas: ours and
 * the rule of Kubernetes' HorizontalPodAutoscaler. For the test and the benchmark. */
#ifndef SYN_ORCHESTRATION_AUTOSCALE_TESTING_H
#define SYN_ORCHESTRATION_AUTOSCALE_TESTING_H

#include <synor/orchestration/autoscale.h>

#define LOAD_MAX       4096
#define LOAD_EVERY_S   10
#define REPLICA_RPS    20 /* what one replica answers */
#define REPLICA_START  10 /* seconds from the decision to the first answer */
#define REPLICA_TARGET 70 /* percent of it that is aimed at */

/** Requests a second, for each LOAD_EVERY_S seconds. */
struct load {
    uint32_t rates[LOAD_MAX];
    size_t count;
};
/** False: no such file, or none of loads. */
bool load_read(const char *path, struct load *ret);

/** What a scaler sees when it is asked, over the time since it was asked last. */
struct load_seen {
    int64_t now_ms;
    uint32_t current, ready;
    int64_t cpu;      /* thousandths of a ready replica's */
    int64_t requests; /* a second, thousandths, of all */
};

struct load_scaler {
    const char *name;
    int64_t every_s;
    uint32_t (*decide)(void *self, const struct load_seen *seen);
    void *self;
};

struct load_result {
    uint64_t requests;
    uint64_t late;            /* waited for a second or more */
    uint64_t replica_seconds; /* that lived */
    uint64_t wanted_mseconds; /* thousandths: that the load needs at the target */
    uint64_t over_mseconds;   /* more than that */
    uint32_t changes;
};
/** Replicas that were too many, in thousandths of those needed; late ones in a million. */
uint64_t load_over(const struct load_result *result);
uint64_t load_late(const struct load_result *result);

struct load_result load_run(const struct load *load, const struct load_scaler *scaler,
                            uint64_t seed);

/** Ours. `kind` is CPU or REQUESTS. */
struct load_ours {
    struct syn_autoscale_rule rule;
    struct syn_autoscale_state state;
};
void load_ours_init(struct load_ours *ours, enum syn_autoscale_kind kind);
uint32_t load_ours_decide(void *self, const struct load_seen *seen);

/** Kubernetes' (autoscaling/v2 with its defaults): looks every 15 s, 10 % tolerance, at most the
 *  larger of 4 pods and 100 % more in 15 s, downwards the most of 300 s. */
struct load_hpa {
    bool by_cpu;
    uint32_t min, max;
    uint32_t needed[64];
    int64_t at_ms[64];
    size_t next;
};
void load_hpa_init(struct load_hpa *hpa, bool by_cpu);
uint32_t load_hpa_decide(void *self, const struct load_seen *seen);

#endif
