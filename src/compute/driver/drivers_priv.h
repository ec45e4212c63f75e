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
extern const struct syn_driver_ops syn_driver_wasm;

/** Split "a,b,,c" in place: the next part, or NULL at the end. Blanks around parts are cut. */
char *syn_list_next(char **cursor);

/* What vendors number, in words: names.c. */
struct syn_code_name {
    int64_t code;
    const char *name;
};

const char *syn_code_name(const struct syn_code_name *names, size_t count, int64_t code,
                          const char *otherwise);
/** "22222222-2222-2222-2222-222222222222", behind the prefix. */
void syn_uuid_write(const char *prefix, const uint8_t uuid[16], char *out, size_t cap);
/** "0000:3b:00.0", as sysfs has it. */
void syn_pci_write(uint32_t domain, uint32_t bus, uint32_t device, uint32_t function, char *out,
                   size_t cap);

#endif
