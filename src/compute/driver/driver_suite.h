/* What every driver must do, as one set of tests. A driver's own test file says how to open it and
 * gives the suite's kernels in a form that it takes. */
#ifndef SYN_COMPUTE_DRIVER_SUITE_H
#define SYN_COMPUTE_DRIVER_SUITE_H

#include <synor/compute/driver.h>

/** The kernels, in the driver's form:
 *
 *     axpy(float a, buf x, buf y, uint32 n)     y[i] += a * x[i] for i < n
 *     iota(buf y, uint32 n, int32 first)        y[i] = first + i for i < n
 *
 * and, only where it `fails`, fail(): its end is that error. */
struct syn_driver_case {
    const struct syn_driver_ops *ops;
    struct syn_driver_options options; /* `profiles` and `sysfs` are filled in */
    struct syn_dev_source source;
    struct syn_dev_source broken; /* does not compile; no text and no entries: left out */
    int fails;
    const char *one_thread; /* why threads cannot share a device in software, or NULL: they can */
};

/** The kernels as functions, for drivers that take SYN_FORMAT_NATIVE. */
extern const struct syn_native_entry syn_suite_entries[];
extern const size_t syn_suite_entries_count;

/** The kernels in OpenCL C, in GLSL as the driver takes it, in CUDA C or HIP C, and in the text
 * format of WebAssembly. */
extern const char syn_suite_opencl[];
extern const char syn_suite_glsl[];
extern const char syn_suite_cuda[];
extern const char syn_suite_wasm[];

/** Run the suite; the result is main()'s. Where the driver is absent, every test is skipped and the
 * reason printed. */
int syn_driver_suite_run(const struct syn_driver_case *driver);

#endif
