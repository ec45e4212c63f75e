/* A container runtime behind the Kubernetes Container Runtime Interface, v1: containerd, CRI-O. */
#ifndef SYNOR_RUNTIME_CRI_PRIV_H
#define SYNOR_RUNTIME_CRI_PRIV_H

#include <cri.pb-c.h>

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_CRI_ID_MAX 96
#define SYN_CRI_LABEL  "synor.instance" /* on every pod of ours: the instance's name */
#define SYN_CRI_ROOT   "io.synor.root"  /* the same: which platform's, by its driver's folder */
#define SYN_CRI_KUBE   "io.kubernetes.pod.uid" /* on every pod of a kubelet's */

struct syn_cri;

enum syn_cri_state { SYN_CRI_CREATED, SYN_CRI_RUNNING, SYN_CRI_EXITED, SYN_CRI_UNKNOWN };

struct syn_cri_status {
    enum syn_cri_state state;
    int pid; /* of its first process, on this machine; 0: not told, or gone */
    int exit_code;
    bool out_of_memory;
};

/** A client; nothing is connected yet. `address` as of grpc.h. */
SYN_MUST int syn_cri_open(const char *address, struct syn_cri **ret_cri, struct syn_err *err);
/** From now on only pods with this SYN_CRI_ROOT are ours. Before, all with SYN_CRI_LABEL are, as
 *  nobody else makes pods there. `root` is kept: it must outlive the client. */
void syn_cri_root_watch(struct syn_cri *cri, const char *root);
struct syn_cri *syn_cri_close(struct syn_cri *cri);
void syn_cri_scope(struct syn_cri **slot);

/** "containerd 1.6.20" into out[cap]; UNAVAILABLE when nobody answers. */
SYN_MUST int syn_cri_version(struct syn_cri *cri, char *out, size_t cap, struct syn_err *err);
/** The same as it was answered; UNSUPPORTED of one that speaks no CRI v1.
 *  Owner: the caller, until syn_message_free(). */
SYN_MUST int syn_cri_ask_version(struct syn_cri *cri, Cri__VersionResponse **ret,
                                 struct syn_err *err);
/** What the runtime tells people of itself: texts by name, most of them JSON.
 *  Owner: the caller, until syn_message_free(). */
SYN_MUST int syn_cri_info(struct syn_cri *cri, Cri__StatusResponse **ret, struct syn_err *err);
/** Of such a list, the text of `key`, or "". Borrowed. */
const char *syn_cri_entry(Cri__Label *const *list, size_t count, const char *key);
SYN_MUST int syn_cri_run_pod(struct syn_cri *cri, const Cri__RunPodSandboxRequest *request,
                             char ret_id[SYN_CRI_ID_MAX], struct syn_err *err);
SYN_MUST int syn_cri_create(struct syn_cri *cri, const Cri__CreateContainerRequest *request,
                            char ret_id[SYN_CRI_ID_MAX], struct syn_err *err);
SYN_MUST int syn_cri_start(struct syn_cri *cri, const char *container, struct syn_err *err);
/** Kill it. One that has ended is fine. */
SYN_MUST int syn_cri_stop(struct syn_cri *cri, const char *container, struct syn_err *err);
SYN_MUST int syn_cri_status(struct syn_cri *cri, const char *container, struct syn_cri_status *ret,
                            struct syn_err *err);
/** Stop and remove it with all that is in it. One that is not there is fine. */
SYN_MUST int syn_cri_remove_pod(struct syn_cri *cri, const char *pod, struct syn_err *err);
/** Remove every pod of the instance `name`: one whose supervisor was killed while it made it. */
SYN_MUST int syn_cri_remove_pods(struct syn_cri *cri, const char *name, struct syn_err *err);
/** Remove the pods of ours that `keep` does not claim. All are tried; the first error. */
SYN_MUST int syn_cri_sweep(struct syn_cri *cri, bool (*keep)(void *arg, const char *name),
                           void *arg, struct syn_err *err);
/** How many pods there are of ours. */
SYN_MUST int syn_cri_count_pods(struct syn_cri *cri, size_t *ret_count, struct syn_err *err);
/** How many pods there are that a kubelet has made. */
SYN_MUST int syn_cri_count_kubelets(struct syn_cri *cri, size_t *ret_count, struct syn_err *err);
/** NOTFOUND when the runtime has no image of that name. */
SYN_MUST int syn_cri_has_image(struct syn_cri *cri, const char *name, struct syn_err *err);

#endif
