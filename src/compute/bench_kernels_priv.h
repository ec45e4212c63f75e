/* The kernels of the device benchmark, for every form of program that a driver takes:
 *
 *     empty()
 *     triad(buf y, buf x, buf z, uint32 n)      y[i] = x[i] + 3 * z[i], fp32
 *     fma32(buf out, uint32 n, uint32 rounds)   SYN_BENCH_CHAINS * rounds multiply-adds an item
 *     fma64(buf out, uint32 n, uint32 rounds)
 */
#ifndef SYN_COMPUTE_BENCH_KERNELS_PRIV_H
#define SYN_COMPUTE_BENCH_KERNELS_PRIV_H

#include <synor/compute/driver_ops.h>

#define SYN_BENCH_CHAINS 8 /* independent multiply-adds of one item, in source kernels */

/** The source for the first of the device's formats that there is one for; false: none. */
bool syn_bench_source(const struct syn_dev *dev, struct syn_dev_source *ret);
/** Multiply-adds that one item of the native fma32 (or fma64) does in a round. */
uint64_t syn_bench_native_width(bool fp64);

#endif
