/* The native driver's parts: native.c prepares and answers, sandbox.c finds what works here. */
#ifndef SYNOR_RUNTIME_NATIVE_PRIV_H
#define SYNOR_RUNTIME_NATIVE_PRIV_H

#include <pthread.h>

#include <synor/runtime/native.h>

#include "plan_priv.h"

#define SYN_SHIM_ARGV_MAX 8

/** One way to run an instance. */
struct syn_sandbox_choice {
    bool gvisor;
    char tool[SYN_INSTANCE_PATH_MAX];
    char platform[16];
    char version[64];
};

/** How one sandbox did when it was tried. */
struct syn_sandbox_trial {
    bool found; /* its program is there */
    bool works; /* it ran /bin/true */
    struct syn_sandbox_choice choice;
    char detail[256]; /* why not; or how long it took */
};

struct syn_native {
    char root[SYN_INSTANCE_PATH_MAX];
    char cache[SYN_INSTANCE_PATH_MAX];
    char runc[SYN_INSTANCE_PATH_MAX], runsc[SYN_INSTANCE_PATH_MAX];
    char *shim_argv[SYN_SHIM_ARGV_MAX + 1];
    enum syn_sandbox wanted;
    pthread_mutex_t lock; /* guards what follows */
    bool chosen;
    struct syn_sandbox_choice choice;
    char detail[320];
};

/** Prepare with a given sandbox. Owner: *ret_instance is the caller's. */
SYN_MUST int syn_native_prepare_with(const struct syn_native *native,
                                     const struct syn_sandbox_choice *choice,
                                     const struct syn_instance_spec *spec,
                                     struct syn_instance **ret_instance, struct syn_err *err);
/** Really run /bin/true; or take the kept result of the same program. Never fails: it tells. */
void syn_sandbox_try(const struct syn_native *native, bool gvisor, struct syn_sandbox_trial *ret);
/** The best that works, kept in `native`. UNSUPPORTED with every reason when none does. */
SYN_MUST int syn_sandbox_choose(struct syn_native *native, struct syn_sandbox_choice *ret,
                                struct syn_err *err);

#endif
