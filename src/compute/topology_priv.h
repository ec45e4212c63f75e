/* Reading the machine's shape from sysfs. `root` is where sysfs is mounted: tests lay out their
 * own. What is missing there is unknown, never an error: containers hide much of it. */
#ifndef SYN_COMPUTE_TOPOLOGY_PRIV_H
#define SYN_COMPUTE_TOPOLOGY_PRIV_H

#include <synor/device.h>

/** The first line of a small file below `root`, without its end. False when it cannot be read. */
bool syn_sysfs_text(const char *root, char *out, size_t cap, const char *format, ...)
    SYN_PRINTF(4, 5);
/** A whole number in such a file ("12", "0x1002", "256K"); `otherwise` when there is none. */
uint64_t syn_sysfs_number(const char *root, uint64_t otherwise, const char *format, ...)
    SYN_PRINTF(3, 4);

/** Put the numbers of a list ("0-3,8") into ids[max], in order; returns how many it has, at most
 * `max`. Malformed text ends the list. */
unsigned syn_cpu_list_parse(const char *text, unsigned *ids, unsigned max);

/** NOMEM is the only error. */
SYN_MUST int syn_topology_read(const char *root, struct syn_topology *ret, struct syn_err *err);
void syn_topology_fini(struct syn_topology *topology);

/** Rated rate of a PCIe link in one direction, 10^6 bytes a second; 0 for an unknown generation. */
uint64_t syn_pcie_mb_s(unsigned gen, unsigned width);

#endif
