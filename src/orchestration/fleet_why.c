#include "fleet_priv.h"
int
syn_fleet_explain(struct syn_fleet *fleet, uint64_t key, json_t **ret, struct syn_err *err)
{
    (void)fleet;
    (void)key;
    (void)ret;
    return SYN_FAIL(err, SYN_E_NOTFOUND, "none");
}
