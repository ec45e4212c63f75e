/* What the files of autoscaling share. */
#ifndef SYN_ORCHESTRATION_AUTOSCALE_PRIV_H
#define SYN_ORCHESTRATION_AUTOSCALE_PRIV_H

#include <synor/orchestration/autoscale.h>

/** Sums and slopes stay within this, so that differences of two fit int64_t. */
#define AUTOSCALE_SUM_MAX (INT64_MAX / 4)

#endif
