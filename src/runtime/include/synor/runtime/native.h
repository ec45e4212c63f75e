/* The native driver: one OCI bundle an instance, run by gVisor where it works, else by runc. */
#ifndef SYNOR_RUNTIME_NATIVE_H
#define SYNOR_RUNTIME_NATIVE_H

#include <synor/runtime/runtime_ops.h>

struct syn_native;

enum syn_sandbox {
    SYN_SANDBOX_AUTO, /* gVisor where it works, else runc */
    SYN_SANDBOX_GVISOR,
    SYN_SANDBOX_RUNC,
};

struct syn_native_options {
    const char *root; /* absolute, private: templates, probe results, group networks */
    /** The supervisor as a program: the bytes in <synor/runtime/shim.h>. NULL: there are none. */
    const void *shim_image;
    size_t shim_image_len;
    /** NULL-ended command of the supervisor where that is not given or may not be executed; the
     *  instance folder is appended. NULL: {"/proc/self/exe", "shim"}. */
    const char *const *shim_argv;
    enum syn_sandbox sandbox;
    const char *runc;  /* absolute path, or NULL: found in PATH */
    const char *runsc; /* the same; this one is then used for snapshots, too */
    /** The node's networks, or NULL: there are none. Borrowed: they outlive the driver. */
    struct syn_net *net;
};

/** How one sandbox does on this machine. */
struct syn_sandbox_report {
    const char *name; /* "gvisor", "runc" */
    bool found;       /* its program is there */
    bool works;       /* it ran /bin/true, limits and all */
    bool gpus;        /* it can pass NVIDIA GPUs on */
    char version[64];
    char platform[16]; /* gVisor's: "systrap", "ptrace" */
    char detail[256];  /* how long that took, or why not */
    /** gVisor's: version of the program that can save and restore, "" when there is none. It may be
     * another one than the rest is about. */
    char snapshots[64];
};

/** Owner: *ret_native is the caller's; options are copied. Returns 0; INVALID, NOMEM, IO. */
SYN_MUST int syn_native_new(const struct syn_native_options *options,
                            struct syn_native **ret_native, struct syn_err *err);
/** Instances go on. NULL is fine. Returns NULL. */
struct syn_native *syn_native_free(struct syn_native *native);
/** Remove what an earlier process left half done under `root` when it was killed: trials of
 *  sandboxes with all that runs and is mounted in them, half-made templates. Call it first, while
 *  nobody else uses the root. Returns 0; the first error, after everything was tried. */
SYN_MUST int syn_native_sweep(struct syn_native *native, struct syn_err *err);
/** Try `sandbox` (not AUTO), or take the kept result of the same program. Blocks: seconds at worst.
 */
void syn_native_try(struct syn_native *native, enum syn_sandbox sandbox,
                    struct syn_sandbox_report *ret);
/** The driver's face. Borrowed: valid until syn_native_free(). Thread: any one at a time per
 * instance. */
struct syn_runtime syn_native_runtime(struct syn_native *native);

#endif
