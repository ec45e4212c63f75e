/* The built-in strategies by name. */
#include <string.h>

#include "eft_priv.h"

static const struct syn_strategy_ops *const table[] = {
    &strategy_heft, &strategy_steal,       &strategy_eager, &strategy_latency, &strategy_energy,
    &strategy_cost, &strategy_round_robin, &strategy_dmda,  &strategy_dmdas,   &strategy_heteroprio,
};

const struct syn_strategy_ops *
syn_strategy_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(table); i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

const struct syn_strategy_ops *const *
syn_strategies(size_t *ret_count)
{
    *ret_count = SYN_LEN(table);
    return table;
}
