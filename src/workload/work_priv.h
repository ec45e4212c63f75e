/* What the documents of every kind of workload share. */
#ifndef SYN_WORKLOAD_WORK_PRIV_H
#define SYN_WORKLOAD_WORK_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include <synor/base/json.h>

/* The part of its id that is its own: "train-k3j5h2a9b1" -> "k3j5h2a9b1". Borrowed from it. */
const char *work_own_part(const json_t *doc);
/* The number of its run; 0 before the first. */
int64_t work_run(const json_t *doc);

/* Check the variables of a spec's `env`. `reserved`: names, besides SYNOR_*, that the platform
 * sets, count of them. INVALID with the name, or with how many bytes there are and may be. */
SYN_MUST int work_check_env(json_t *env, const char *const *reserved, size_t count,
                            size_t bytes_max, struct syn_err *err);

/* Check the image of a spec: synor://NAME, synor://CID, or a reference to a registry. INVALID. */
SYN_MUST int work_check_image(const char *image, struct syn_err *err);

/* Set "rate_hour" to a price an hour, and "rate_month" to the same for a month: null without a
 * price, or past the largest amount. */
SYN_MUST int work_set_rates(json_t *obj, bool priced, int64_t rate_hour, struct syn_err *err);

#endif
