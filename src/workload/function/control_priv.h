/* What the step and the verbs of functions share. */
#ifndef SYN_WORKLOAD_FUNCTION_CONTROL_PRIV_H
#define SYN_WORKLOAD_FUNCTION_CONTROL_PRIV_H

#include <synor/workload/function_control.h>

/* All that comes goes to this one, and the one that was active is the previous. */
SYN_MUST int function_route_all(json_t *function, int64_t number, struct syn_err *err);
/* A part of it does, and the rest to the one that is active; there is none: all. */
SYN_MUST int function_route_part(json_t *function, int64_t number, int64_t percent,
                                 struct syn_err *err);

#endif
