/* Every kernel against a plain reference, on whatever runs it: random calls with a printed seed. */
#ifndef SYN_COMPUTE_KERNELS_SUITE_H
#define SYN_COMPUTE_KERNELS_SUITE_H

#include <synor/base/test.h>

#include <synor/kernel.h>

/* A call with its memory, and what it has to give. */
struct syn_trial {
    struct syn_kernel_call call; /* operands point to `shapes` and `data` */
    struct syn_shape shapes[SYN_OPERANDS_MAX];
    uint64_t bytes[SYN_OPERANDS_MAX];
    void *before[SYN_OPERANDS_MAX]; /* what was in data */
    void *data[SYN_OPERANDS_MAX];
    /* Of the written operand, element by element in the order of rows; pairs of them if complex. */
    unsigned written;
    double *want, *slack; /* floats: value and how far off it may be; NAN wants one */
    int64_t *whole;       /* integers */
};

/* What runs calls. */
struct syn_trial_way {
    const char *name;
    void *arg;
    /* Can it run this one? NULL: all. */
    bool (*can)(void *arg, const struct syn_kernel_call *call);
    /* Bring the operands' memory there, run calls whose operands begin `offsets` bytes into them,
     * and bring it back. */
    void (*begin)(void *arg, struct syn_trial *trial);
    void (*run)(void *arg, struct syn_trial *trial, const struct syn_kernel_call *call,
                const uint64_t offsets[]);
    void (*end)(void *arg, struct syn_trial *trial);
};

/* Rounds of random calls of one kernel, whole and in pieces by each of its splits. `large`: some
 * are big enough to be divided among workers. Returns how many calls were run. */
unsigned syn_trials(const struct syn_trial_way *way, const char *kernel, unsigned rounds,
                    bool large);
/* The seed: SYNOR_TEST_SEED or the clock; printed. */
uint64_t syn_trials_seed(void);

/* One random call, ready to run; for other tests. */
void syn_trial_make(struct syn_trial *trial, const char *kernel, uint64_t *random, bool large);
void syn_trial_check(const struct syn_trial *trial, const char *where);
void syn_trial_fini(struct syn_trial *trial);

#endif
