/* What every strategy must do, as one set of tests, and what each does in its own way, as data. */
#ifndef SYN_COMPUTE_STRATEGY_SUITE_H
#define SYN_COMPUTE_STRATEGY_SUITE_H

#include <synor/strategy.h>

/** In which order one worker gets what waits for it. */
enum syn_suite_order {
    SYN_SUITE_PRIORITY, /* the highest priority first, then who came first */
    SYN_SUITE_NEWEST,   /* the highest priority first, then who came last */
    SYN_SUITE_DUE,      /* the sooner due first, then what is not due, by priority */
    SYN_SUITE_FIFO,     /* who came first */
};

/** Of two classes, one of which is faster, which gets a task when both are idle. */
enum syn_suite_choice {
    SYN_SUITE_ANY,       /* does not look at time */
    SYN_SUITE_FASTER,    /* the faster */
    SYN_SUITE_EFFICIENT, /* what takes less energy, if it is hardly slower */
    SYN_SUITE_CHEAPER,   /* what costs less, if it is hardly slower */
};

struct syn_strategy_case {
    const char *name;
    enum syn_suite_order order;
    enum syn_suite_choice choice;
    bool helps; /* an idle worker takes what waits for another, when that is worth while */
};

/** Run the suite; the result is main()'s. */
int syn_strategy_suite_run(const struct syn_strategy_case *strategy);

#endif
