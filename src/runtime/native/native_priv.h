/* The native driver's parts: native.c prepares and answers, sandbox.c finds what works here. */
#ifndef SYNOR_RUNTIME_NATIVE_PRIV_H
#define SYNOR_RUNTIME_NATIVE_PRIV_H

#include <pthread.h>

#include <synor/base/json.h>
#include <synor/runtime/native.h>

#include "plan_priv.h"
#include "spare_priv.h"
#include "supervisor_priv.h"

/** One way to run an instance. */
struct syn_sandbox_choice {
    bool gvisor;
    char tool[SYN_INSTANCE_PATH_MAX];
    char platform[16];
    /** A container runtime's, for ../container: its address, its runtime class, and who writes what
     *  it is asked for in place of an OCI bundle. */
    const char *runtime, *handler;
    int (*furnish)(void *arg, const struct syn_instance_spec *spec, const struct syn_plan *plan,
                   const json_t *bundle, struct syn_err *err);
    void *arg;
};

struct syn_native {
    char root[SYN_INSTANCE_PATH_MAX];
    char cache[SYN_INSTANCE_PATH_MAX];
    char runc[SYN_INSTANCE_PATH_MAX], runsc[SYN_INSTANCE_PATH_MAX];
    char keeper[SYN_INSTANCE_PATH_MAX]; /* the runsc for what is saved and restored; "": none */
    struct syn_net *net;                /* borrowed; NULL: none */
    struct syn_supervisor supervisor;
    struct syn_spare spare;
    enum syn_sandbox wanted;
    pthread_mutex_t lock; /* guards what follows */
    bool tried[2];        /* by [gvisor] */
    struct syn_sandbox_report reports[2];
    char detail[600];
};

/** Prepare with a given sandbox. Owner: *ret_instance is the caller's. */
SYN_MUST int syn_native_prepare_with(struct syn_native *native,
                                     const struct syn_sandbox_choice *choice,
                                     const struct syn_instance_spec *spec,
                                     struct syn_instance **ret_instance, struct syn_err *err);
/** The sandbox for `isolation` ("auto", "gvisor", "runc" or NULL), one that can pass `devices` on
 *  if there are some. INVALID for other words; UNSUPPORTED with every reason when what is asked for
 *  does not work here. */
SYN_MUST int syn_sandbox_choose(struct syn_native *native, const char *isolation, bool devices,
                                struct syn_sandbox_choice *ret, struct syn_err *err);
/** The sandbox for what is saved and restored. UNSUPPORTED, with the reason. */
SYN_MUST int syn_sandbox_choose_keeper(struct syn_native *native, const char *isolation,
                                       struct syn_sandbox_choice *ret, struct syn_err *err);

#endif
