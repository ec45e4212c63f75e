#include "memory_priv.h"

#include <synor/base/mem.h>

int
syn_tensor_join(struct syn_tensor *tensor, bool home, struct syn_err *err)
{
    (void)tensor;
    (void)home;
    return SYN_FAIL(err, SYN_E_UNSUPPORTED, "not divided");
}
