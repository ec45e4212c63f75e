/* A containerd of our own: its configuration, its process, the images that it needs. */
#ifndef SYNOR_RUNTIME_CONTAINERD_PRIV_H
#define SYNOR_RUNTIME_CONTAINERD_PRIV_H

#include <synor/runtime/container.h>

#include "image_priv.h"

struct syn_containerd;

/** Options are borrowed until it is freed. Nothing is started yet. */
SYN_MUST int syn_containerd_new(const struct syn_container_options *options,
                                struct syn_containerd **ret_containerd, struct syn_err *err);
/** End the process too when `end`. NULL is fine. Returns NULL. */
struct syn_containerd *syn_containerd_free(struct syn_containerd *containerd, bool end);
/** It runs, answers and has what every pod needs; from then on a thread starts it anew when it
 *  ends. Blocks: up to seconds when it has to be started. Thread: any.
 *  Returns 0; UNSUPPORTED when it is not installed; UNAVAILABLE with its last words. */
SYN_MUST int syn_containerd_ensure(struct syn_containerd *containerd, struct syn_err *err);
/** "unix:...", and the folder of links from a pod's name to its instance. Borrowed. */
const char *syn_containerd_address(const struct syn_containerd *containerd);
const char *syn_containerd_pods(const struct syn_containerd *containerd);
/** Its folder of what runs now; of a containerd that is not ours, where it is by default. */
const char *syn_containerd_state(const struct syn_containerd *containerd);
/** The same for the folders of runc's and runsc's state. */
const char *syn_containerd_tools(const struct syn_containerd *containerd);
/** The path of an installed program. False when there is none. */
bool syn_container_find(const char *name, char *out, size_t cap);
/** Give it an image unless it has it. */
SYN_MUST int syn_containerd_image(struct syn_containerd *containerd,
                                  const struct syn_pod_image *image, struct syn_err *err);

#endif
