/* How instances of functions came (function_starts.c). */
#ifndef SYN_SERVER_FUNCTION_STARTS_PRIV_H
#define SYN_SERVER_FUNCTION_STARTS_PRIV_H

#include "function_priv.h"

/** Is it a row of a report's `starts`? INVALID. */
SYN_MUST int srv_starts_check(const json_t *row, struct syn_err *err);
/** Add it to a minute's document. */
SYN_MUST int srv_starts_add(json_t *minute, const json_t *row, struct syn_err *err);
/** Add the `starts` of one version to those of sums; NULL is none. */
SYN_MUST int srv_starts_sum(json_t *sums, const json_t *starts, struct syn_err *err);
/** Say means instead of sums. */
SYN_MUST int srv_starts_means(json_t *sums, struct syn_err *err);

SYN_MUST int srv_starts_metrics_open(struct syn_server *server, struct syn_err *err);
/** Count a row that was checked. */
void srv_starts_metrics_add(struct syn_server *server, const json_t *function, const json_t *row);

#endif
