/* What every driver must do, as cmocka tests that know nothing of the driver. */
#ifndef SYNOR_RUNTIME_RUNTIME_SUITE_H
#define SYNOR_RUNTIME_RUNTIME_SUITE_H

#include <synor/runtime/runtime_ops.h>

/** How the suite meets one driver. */
struct syn_runtime_suite {
    struct syn_runtime runtime;
    const char *dir;    /* private folder for instances */
    bool kernel_shared; /* the program's system calls reach the host's kernel, behind a filter */
    bool networks;      /* it has been given some */
    bool snapshots;     /* it can save and restore instances here */
    bool loose_end; /* of a program's last moments it may miss output and limits that were met */
    /** Make the same driver anew, as a restarted agent would. Owned by `arg`. */
    struct syn_runtime (*reopen)(void *arg);
    void *arg;
    /** Kill the instance's supervisor the hard way; false when the driver has none. */
    bool (*kill_supervisor)(const char *instance_dir);
    /** Leave in a prepared folder what a supervisor leaves that dies before the start is decided;
     *  false when the driver has none. */
    bool (*cut_start)(const char *instance_dir);
    /** Append a line to `out` for each thing of `dir` that is still in the system. */
    void (*leftovers)(const char *dir, char *out, size_t cap);
};

/** Run it; returns the number of failed tests. */
int syn_runtime_suite_run(const char *name, const struct syn_runtime_suite *suite);

#endif
