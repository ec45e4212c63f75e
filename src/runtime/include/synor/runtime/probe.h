/* What this machine can run, found by trying, each finding with the way to get what is missing. */
#ifndef SYNOR_RUNTIME_PROBE_H
#define SYNOR_RUNTIME_PROBE_H

#include <synor/base/json.h>
#include <synor/runtime/native.h>

#define SYN_PROBE_FACTS_MAX 32

enum syn_probe_state {
    SYN_PROBE_OK,
    SYN_PROBE_LIMITED, /* usable with less, or unproven */
    SYN_PROBE_BROKEN,  /* there, but does not work */
    SYN_PROBE_MISSING,
};

struct syn_probe_fact {
    const char *id;   /* "kvm": static */
    const char *name; /* "Virtual machines (KVM)": static */
    enum syn_probe_state state;
    char detail[320];
    char fix[160]; /* a command or a sentence; "" when nothing is to be done */
};

struct syn_probe {
    struct syn_probe_fact facts[SYN_PROBE_FACTS_MAX];
    size_t count;
};

/** Look at everything. Blocks: up to about 10 s the first time; sandbox trials are kept. Never
 * fails: what cannot be found out is said in the fact. */
void syn_probe_run(struct syn_native *native, struct syn_probe *ret);
/** "ok", "limited", "broken", "missing". */
const char *syn_probe_state_name(enum syn_probe_state state);
/** NULL when there is none of that id. */
const struct syn_probe_fact *syn_probe_find(const struct syn_probe *probe, const char *id);
/** [{id, name, state, detail, fix}]. Owner: the caller's reference. */
SYN_MUST int syn_probe_json(const struct syn_probe *probe, json_t **ret, struct syn_err *err);

#endif
