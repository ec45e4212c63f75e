/* What a device does, measured, beside what it is rated at. A second or two a device. */
#ifndef SYNOR_DEVICE_BENCH_H
#define SYNOR_DEVICE_BENCH_H

#include <synor/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum syn_bench_item {
    SYN_BENCH_LAUNCH,        /* ns from giving an empty kernel to knowing it done; less is better */
    SYN_BENCH_WRITE,         /* MB/s from the host's memory to the device's */
    SYN_BENCH_READ,          /* MB/s back */
    SYN_BENCH_WRITE_LATENCY, /* ns of a copy of 4 bytes to the device */
    SYN_BENCH_MEMORY,        /* MB/s of a triad in the device's memory */
    SYN_BENCH_FP32,          /* 10^6 multiplications and additions a second, vector units */
    SYN_BENCH_FP64,
    SYN_BENCH_ITEMS
};

struct syn_bench_figure {
    uint64_t value; /* median of `rounds` */
    uint64_t best;
    uint64_t rated; /* 0: no profile, or not published */
    unsigned rounds;
    bool measured; /* false: this device or driver cannot run it; `why` says so */
    char why[96];
};

/** Measure device `index`; ret[SYN_BENCH_ITEMS] in that order. What was measured of links is told
 * to the registry. Blocks. Returns 0 also when single items could not run; UNSUPPORTED for a
 * modelled device; UNAVAILABLE when the device is lost on the way; NOSPACE. */
SYN_API SYN_MUST int syn_device_bench(struct syn_registry *registry, size_t index,
                                      struct syn_bench_figure *ret, struct syn_err *err);
SYN_API const char *syn_bench_name(enum syn_bench_item item); /* "write" */
SYN_API const char *syn_bench_unit(enum syn_bench_item item); /* "MB/s" */

#ifdef __cplusplus
}
#endif
#endif
