/* Files of an instance folder that only this driver has, and what its supervisor is made of. */
#ifndef SYNOR_RUNTIME_POD_PRIV_H
#define SYNOR_RUNTIME_POD_PRIV_H

#include "../native/shim_priv.h"

#define SYN_FILE_POD       "pod.pb"       /* a RunPodSandboxRequest */
#define SYN_FILE_CONTAINER "container.pb" /* a ContainerConfig */
#define SYN_FILE_SECCOMP   "seccomp.json"
#define SYN_FILE_OUTPUT    "output" /* what the runtime logs */

#define SYN_POD_PAUSE_PIDS 1 /* what holds the pod open */

extern const struct syn_shim_engine syn_shim_pod;

/** A CNI plugin's main(); see cni.c. */
int syn_cni_main(const char *command, const char *type);

#endif
