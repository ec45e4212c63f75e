#include <synor/base/sm.h>

#include <string.h>

bool
syn_sm_may(const struct syn_sm *sm, unsigned from, unsigned to)
{
    assert(from < sm->count && to < sm->count);
    return (sm->states[from].next & SYN_BIT(to)) != 0;
}

unsigned
syn_sm_move(const struct syn_sm *sm, unsigned from, unsigned to)
{
    assert(syn_sm_may(sm, from, to));
    return to;
}

bool
syn_sm_terminal(const struct syn_sm *sm, unsigned state)
{
    assert(state < sm->count);
    return sm->states[state].next == 0;
}

int
syn_sm_find(const struct syn_sm *sm, const char *name)
{
    for (unsigned i = 0; name != NULL && i < sm->count; i++) {
        if (strcmp(sm->states[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}
