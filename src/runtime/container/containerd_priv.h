/* A containerd of our own: its configuration, its process, the images that it needs. */
#ifndef SYNOR_RUNTIME_CONTAINERD_PRIV_H
#define SYNOR_RUNTIME_CONTAINERD_PRIV_H

#include <synor/runtime/container.h>

#include "foreign_priv.h"
#include "image_priv.h"

#define SYN_CONTAINERD_OWN "unix:%s/containerd/sock" /* of the driver's folder */

struct syn_containerd;

/** Options are borrowed until it is freed. `address`: of one that is there, "unix:..."; NULL: our
 *  own, which is not started yet. */
SYN_MUST int syn_containerd_new(const struct syn_container_options *options, const char *address,
                                struct syn_containerd **ret_containerd, struct syn_err *err);
/** End the process too when `end`. NULL is fine. Returns NULL. */
struct syn_containerd *syn_containerd_free(struct syn_containerd *containerd, bool end);
/** It runs, answers and has what every pod needs; from then on a thread starts it anew when it
 *  ends, or looks for one that is not ours. Blocks: up to seconds when it has to be started, or is
 *  away. Thread: any.
 *  Returns 0; UNSUPPORTED when it is not installed, or cannot be used; UNAVAILABLE with its last
 *  words. */
SYN_MUST int syn_containerd_ensure(struct syn_containerd *containerd, struct syn_err *err);
/** "unix:...", and the folder of links from a pod's name to its instance. Borrowed. */
const char *syn_containerd_address(const struct syn_containerd *containerd);
const char *syn_containerd_pods(const struct syn_containerd *containerd);
/** What is known of it; of our own, before it runs too. Thread: any. */
void syn_containerd_facts(struct syn_containerd *containerd, struct syn_cri_facts *ret);
/** One that is not ours does not answer, or cannot be used any more: `err` says why. Thread: any.
 *  Blocks: no. */
bool syn_containerd_away(struct syn_containerd *containerd, struct syn_err *err);
/** The path of an installed program. False when there is none. */
bool syn_container_find(const char *name, char *out, size_t cap);
/** Give it an image unless it has it. */
SYN_MUST int syn_containerd_image(struct syn_containerd *containerd,
                                  const struct syn_pod_image *image, struct syn_err *err);

#endif
