/* Being within an instance: what exec, cp and port-forward share. */
#ifndef SYN_CLI_SESSION_PRIV_H
#define SYN_CLI_SESSION_PRIV_H

#include <synor/client/session.h>

#include "workload_priv.h"

/** The instance that `name` means: a service's or job's (the first that runs, or number `replica`
 *  where that is not negative), or an instance's own id. Into out[SYN_ID_MAX]. */
SYN_MUST int syn_cli_instance_find(struct syn_cli *cli, const struct syn_cli_workload *kind,
                                   const char *name, int64_t replica, char *out,
                                   struct syn_err *err);

/** A session and the connection that it is. */
struct syn_cli_session {
    struct syn_client *client;
    struct syn_session *link;
};

/** Begin one: `ask` is as of POST /v1/instances/ID/sessions. */
SYN_MUST int syn_cli_session_open(struct syn_cli *cli, const char *instance, const json_t *ask,
                                  struct syn_cli_session *ret, struct syn_err *err);
void syn_cli_session_close(struct syn_cli_session *session);
/** What to run. The caller owns *ret. */
SYN_MUST int syn_cli_session_ask(const char *const *argv, size_t count, json_t **ret,
                                 struct syn_err *err);
/** What the last frame says. */
void syn_cli_session_exit(const struct syn_frame *frame, int *ret_code, char *message, size_t cap);
/** Run a program with nothing to read and nothing to show; *ret_code is its exit code. */
SYN_MUST int syn_cli_session_test(struct syn_cli *cli, const char *instance,
                                  const char *const *argv, size_t count, int *ret_code,
                                  struct syn_err *err);

#endif
