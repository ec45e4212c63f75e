/* The driver of instances that are forked from zygotes (zygote.h): isolation `namespace`. It keeps
 * one zygote for each account and interpreter in use, started with the first instance and ended
 * after a while without any.
 *
 * What it takes is a Python program as functions have it: `PYTHON -B PROGRAM`, where PROGRAM is a
 * file shown inside that has main(begun, door), with /synor/code and perhaps /synor/layer, on the
 * account's network. Everything else is UNSUPPORTED. Instances have loopback alone; what comes to
 * their port at their address comes to a socket that is made there and handed in.
 *
 * They end with the process that has the driver: whoever adopts a folder finds its end. */
#ifndef SYNOR_RUNTIME_FORKED_H
#define SYNOR_RUNTIME_FORKED_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/runtime/runtime_ops.h>

#define SYN_FORKED_ZYGOTES_MAX   32
#define SYN_FORKED_INSTANCES_MAX 256

struct syn_forked;
struct syn_net;

struct syn_forked_options {
    const char *root;    /* absolute, private to this driver */
    const char *python;  /* what the trial is made with; NULL: /usr/bin/python3 */
    struct syn_net *net; /* borrowed, outlives the driver; NULL: no instance can be made */
    int64_t idle_ms;     /* a zygote without instances ends after that; 0: 15 min */
};

/** What there is now. */
struct syn_forked_state {
    int zygotes, instances;
    int64_t zygote_bytes; /* memory of the zygotes, of instances only what they share with them */
};

/** Owner: *ret is the caller's, until syn_forked_free(). Returns 0; INVALID, NOMEM, IO, LIMIT. */
SYN_MUST int syn_forked_new(const struct syn_forked_options *options, struct syn_forked **ret,
                            struct syn_err *err);
/** End all instances, which are written down as lost, and all zygotes. NULL is fine. Returns NULL.
 */
struct syn_forked *syn_forked_free(struct syn_forked *forked);
/** The driver. Its `warm` does nothing: a zygote has a child ready by itself. */
struct syn_runtime syn_forked_runtime(struct syn_forked *forked);
void syn_forked_look(struct syn_forked *forked, struct syn_forked_state *ret);

#endif
