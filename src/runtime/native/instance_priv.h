/* An instance folder, opened: what native.c and the sandbox probe share. */
#ifndef SYNOR_RUNTIME_INSTANCE_PRIV_H
#define SYNOR_RUNTIME_INSTANCE_PRIV_H

#include "plan_priv.h"

struct syn_supervisor;

struct syn_instance {
    int dir;
    char dir_path[SYN_INSTANCE_PATH_MAX];
    struct syn_plan plan;
    struct syn_instance_paths paths;
    char path_texts[5][SYN_INSTANCE_PATH_MAX + 32];
};

/** Open a prepared folder. Owner: *ret_instance is the caller's, until syn_instance_close(). */
SYN_MUST int syn_instance_open(const char *dir, struct syn_instance **ret_instance,
                               struct syn_err *err);
struct syn_instance *syn_instance_close(struct syn_instance *instance);
void syn_instance_close_scope(struct syn_instance **slot);
/** Start a supervisor over the folder and wait for its word. */
SYN_MUST int syn_instance_start(struct syn_instance *instance,
                                const struct syn_supervisor *supervisor, struct syn_err *err);
/** Have its supervisor, which made its sandbox, start it, and wait for its word. */
SYN_MUST int syn_instance_go_on(struct syn_instance *instance, struct syn_err *err);
/** One request to the supervisor. CONFLICT when nobody listens. */
SYN_MUST int syn_instance_request(struct syn_instance *instance, const char *request,
                                  struct syn_err *err);
/** The state by the files and locks; concludes "lost" when the supervisor is gone without result.
 */
SYN_MUST int syn_instance_poll(struct syn_instance *instance,
                               struct syn_instance_status *ret_status, struct syn_err *err);
SYN_MUST int syn_instance_exit_fd(struct syn_instance *instance, int *ret_fd, struct syn_err *err);
/** Mount the scratch space again after a reboot. Mounted already is fine. */
SYN_MUST int syn_instance_remount(struct syn_instance *instance, struct syn_err *err);
/** Its supervisor's pid; 0 when there is none. */
pid_t syn_instance_supervisor(const struct syn_instance *instance);
/** End its supervisor, if it lives. */
void syn_instance_end_supervisor(int dir);
/** See runtime_ops.h. `net` (may be NULL) is where its network is taken from. */
SYN_MUST int syn_instance_destroy(const char *dir, struct syn_net *net, struct syn_err *err);

#endif
