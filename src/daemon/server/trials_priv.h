/* What canaries have answered, beside what the versions that work have. */
#ifndef SYN_DAEMON_SERVER_TRIALS_PRIV_H
#define SYN_DAEMON_SERVER_TRIALS_PRIV_H

#include <synor/infra/balancer.h>
#include <synor/workload/service_control.h>

#include "server_priv.h"

struct srv_trials;

SYN_MUST int srv_trials_new(struct srv_trials **ret, struct syn_err *err);
struct srv_trials *srv_trials_free(struct srv_trials *trials);
/** What the balancer has counted of the service's replicas now; `ret` is what has come since the
 *  stage began, as far as this server saw it, by SYN_SERVICE_NEW and OLD. False: it is in no stage
 *  in which that is asked for. Thread: one. */
bool srv_trials_take(struct srv_trials *trials, const json_t *service,
                     const struct syn_balancer_server_counts *counts, size_t count,
                     struct syn_service_answers ret[SYN_SERVICE_SIDES]);
/** Is it in such a stage? */
bool srv_trials_wants(const json_t *service);
void srv_trials_forget(struct srv_trials *trials, const char *service);

#endif
