/* The drivers there are, and what several of them need. */
#ifndef SYN_COMPUTE_DRIVERS_PRIV_H
#define SYN_COMPUTE_DRIVERS_PRIV_H

#include <synor/compute/driver_ops.h>

extern const struct syn_driver_ops syn_driver_cpu;
extern const struct syn_driver_ops syn_driver_modelled;
extern const struct syn_driver_ops syn_driver_opencl;
extern const struct syn_driver_ops syn_driver_cuda;
extern const struct syn_driver_ops syn_driver_hip;
extern const struct syn_driver_ops syn_driver_levelzero;
extern const struct syn_driver_ops syn_driver_vulkan;

/** Split "a,b,,c" in place: the next part, or NULL at the end. Blanks around parts are cut. */
char *syn_list_next(char **cursor);

#endif
