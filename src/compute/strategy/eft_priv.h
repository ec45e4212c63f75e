/* The engine of heft, latency, energy and cost: earliest finish time by a policy of a few numbers.
 */
#ifndef SYNOR_COMPUTE_EFT_PRIV_H
#define SYNOR_COMPUTE_EFT_PRIV_H

#include "strategy_priv.h"

enum eft_rank {
    EFT_PRIORITY, /* the program's priorities */
    EFT_MEAN,     /* longest way to the end, tasks at their mean over the classes */
    EFT_LEAST,    /* the same with every task on its fastest class */
    EFT_WEIGHTED, /* the same with the mean over workers' speeds */
    EFT_SIDES,    /* the same with every task on its side, if there are sides */
    EFT_DEADLINE, /* the sooner due, the sooner */
};

/* What to save where the time does not matter. */
enum eft_thrift { EFT_NOTHING, EFT_ENERGY, EFT_PRICE };

#define EFT_MIX 8U

struct eft_policy {
    enum eft_rank rank;
    uint32_t move_permille; /* transfers weigh so much more than the time that they cost */
    uint32_t drag_permille; /* those of what the task writes, which leaves where it was, so much
                               more again: a copy that is only read serves whoever comes next */
    uint32_t pace_permille; /* of the bound: end then, and until then choose what is cheap */
    uint32_t
        stretch_permille; /* pace: what comes after a task takes so much of its least; 0: 1000 */
    uint32_t energy_permille; /* ns a uJ, in thousandths */
    uint32_t price_permille;  /* ns a unit of price, in thousandths */
    enum eft_thrift thrift;
    uint32_t slack_permille; /* thrift: how much later than the soonest is still in time */
    bool fifo_wait;          /* count all that waits as before the task, not what ranks higher */
    bool stay;               /* do not steal */
    uint8_t near;            /* of so many at the queue's head take the first whose data are here */
    /* By the graph's index; graph() copies them; NULL: none. */
    const uint8_t *sides; /* the class that a task goes to, and no other takes it */
    /* The same, counted from graph(). */
    const uint64_t *dues; /* when a task should have ended, instead of what the pace says */
    const uint64_t *ends; /* until when its worker may take for it, by a slower power state */
    uint8_t states[SYN_CLASSES_MAX];
    uint8_t mix[SYN_CLASSES_MAX]; /* so many of EFT_MIX tasks run in the next slower state */
};

/** Opened with opts->extra pointing at a struct eft_policy, which is copied. */
extern const struct syn_strategy_ops eft_ops;

/** Another policy for an instance that holds tasks; each keeps its queue. */
void eft_retune(void *self, const struct eft_policy *policy, const struct syn_graph_view *graph,
                uint64_t now_ns);

#endif
