/* Life cycles as tables: the states, and which may follow which. */
#ifndef SYNOR_BASE_SM_H
#define SYNOR_BASE_SM_H

#include <synor/base/core.h>

struct syn_sm_state {
    const char *name;
    uint32_t next; /* SYN_BIT() of each state that may follow; 0 is terminal */
};

struct syn_sm {
    const char *name;
    const struct syn_sm_state *states;
    unsigned count; /* at most 32 */
};

bool syn_sm_may(const struct syn_sm *sm, unsigned from, unsigned to);
/** Assert the edge and return `to`. */
unsigned syn_sm_move(const struct syn_sm *sm, unsigned from, unsigned to);
bool syn_sm_terminal(const struct syn_sm *sm, unsigned state);
/** Index of the state named `name`, or -1. */
int syn_sm_find(const struct syn_sm *sm, const char *name);

#endif
