/* The container driver: an instance is a pod of a container runtime that speaks the Kubernetes
 * Container Runtime Interface. It supervises a containerd of its own, with root, state and socket
 * below its folder, or uses one that is there already. */
#ifndef SYNOR_RUNTIME_CONTAINER_H
#define SYNOR_RUNTIME_CONTAINER_H

#include <synor/base/buf.h>
#include <synor/runtime/runtime_ops.h>

struct syn_container;

struct syn_container_options {
    const char *root;    /* absolute, private */
    const char *address; /* of a containerd that is there, "unix:/run/x.sock"; NULL: our own */
    /** The supervisor as a program, which is our CNI plugin too: the bytes of syn_pod_program. */
    const void *pod_program;
    size_t pod_program_len;
    /** What holds a pod open, as a static program: the bytes of syn_pause_program. */
    const void *pause_program;
    size_t pause_program_len;
    /** NULL-ended command of the supervisor where its bytes may not be executed; the instance
     *  folder is appended. NULL: {"/proc/self/exe", "pod"}. */
    const char *const *pod_argv;
    /** The node's networks, or NULL: there are none. Borrowed: they outlive the driver. */
    struct syn_net *net;
};

/** What of a container runtime is here, without starting anything. */
struct syn_container_report {
    bool found;       /* containerd, its shim and runc are there */
    char version[64]; /* containerd's */
    char classes[64]; /* "runc", "runc gvisor kata": whose shims are there */
    char detail[256]; /* what is missing */
};

void syn_container_look(struct syn_container_report *ret);
/** Is `name` one of its runtime classes? */
bool syn_container_has_class(const struct syn_container_report *report, const char *name);

/** Owner: *ret_container is the caller's; options are copied, the images borrowed.
 *  Blocks: of a containerd that is there already it asks what that has.
 *  Returns 0; INVALID, NOMEM, IO; of one that is there already UNSUPPORTED with what it lacks, and
 *  UNAVAILABLE when it does not answer. */
SYN_MUST int syn_container_new(const struct syn_container_options *options,
                               struct syn_container **ret_container, struct syn_err *err);
/** Instances go on, and our containerd with them; without any it ends. NULL is fine. Returns NULL.
 */
struct syn_container *syn_container_free(struct syn_container *container);
/** Remove every pod that none of the folders in `instances` stands for: what an agent left that was
 *  killed between the two. Call it first. Returns 0; the first error, after all was tried. */
SYN_MUST int syn_container_sweep(struct syn_container *container, struct syn_err *err);
/** What it runs things by now: as syn_container_look(), or what a containerd that is there already
 *  has for us. Thread: any. */
void syn_container_classes(const struct syn_container *container, struct syn_container_report *ret);
/** A containerd that is there already does not answer just now, or cannot be used any more; `err`
 *  says why. Thread: any. Blocks: no. */
bool syn_container_away(const struct syn_container *container, struct syn_err *err);
/** "unix:PATH" of what an operator says: unix:///PATH, or a socket's path. INVALID. */
SYN_MUST int syn_container_parse(const char *text, char *out, size_t cap, struct syn_err *err);
/** What a containerd that is there already has to be configured with, for `root`: TOML with its
 *  explanations. `config`: the text of its configuration; "": it has none.
 *  Returns 0; UNSUPPORTED of a configuration that it does not know; NOMEM. */
SYN_MUST int syn_container_config(const char *root, const char *config, struct syn_buf *out,
                                  struct syn_err *err);
/** The driver's face. Borrowed: valid until syn_container_free(). Thread: any one at a time per
 * instance. */
struct syn_runtime syn_container_runtime(struct syn_container *container);
/** Where the runtime listens, "unix:...". Borrowed. */
const char *syn_container_address(const struct syn_container *container);

/** The supervisor's main(), see shim.h. */
int syn_pod_main(int argc, char **argv);

/* The programs' bytes; whoever uses them links pod_program_dep. */
extern const char syn_pod_program[];
extern const size_t syn_pod_program_len;
extern const char syn_pause_program[];
extern const size_t syn_pause_program_len;

#endif
