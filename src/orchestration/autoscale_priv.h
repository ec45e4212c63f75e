/* What the files of autoscaling share. */
#ifndef SYN_ORCHESTRATION_AUTOSCALE_PRIV_H
#define SYN_ORCHESTRATION_AUTOSCALE_PRIV_H

#include <synor/orchestration/autoscale.h>

/** Sums and slopes stay within this, so that differences of two fit int64_t. */
#define AUTOSCALE_SUM_MAX (INT64_MAX / 4)

#define AUTOSCALE_KEY_MAX (SYN_AUTOSCALE_NAME_MAX + 16)
/* "cpu", "custom:NAME": a metric's name in the state and as people write it. */
const char *autoscale_key(const struct syn_autoscale_metric *metric, char out[AUTOSCALE_KEY_MAX]);

#endif
