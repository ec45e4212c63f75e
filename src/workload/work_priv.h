/* What the documents of every kind of workload share. */
#ifndef SYN_WORKLOAD_WORK_PRIV_H
#define SYN_WORKLOAD_WORK_PRIV_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <synor/base/json.h>
#include <synor/orchestration/place.h>

struct syn_pricebook;

/* The part of its id that is its own: "train-k3j5h2a9b1" -> "k3j5h2a9b1". Borrowed from it. */
const char *work_own_part(const json_t *doc);
/* The number of its run; 0 before the first. */
int64_t work_run(const json_t *doc);

/* Check the variables of a spec's `env`. `reserved`: names, besides SYNOR_*, that the platform
 * sets, count of them. INVALID with the name, or with how many bytes there are and may be. */
SYN_MUST int work_check_env(json_t *env, const char *const *reserved, size_t count,
                            size_t bytes_max, struct syn_err *err);

/* Check the variables of `env` that are set to secrets: {VARIABLE: NAME}. As work_check_env(). */
SYN_MUST int work_check_secrets(json_t *secrets, const json_t *env, const char *const *reserved,
                                size_t count, size_t bytes_max, struct syn_err *err);

/* Check the image of a spec: synor://NAME, synor://CID, or a reference to a registry. INVALID. */
SYN_MUST int work_check_image(const char *image, struct syn_err *err);

/* Append an event to those of a step; `instance` may be NULL. A message is cut at some 400 bytes.
 */
SYN_MUST int work_event(json_t *events, const char *type, const char *reason, const char *instance,
                        struct syn_err *err, const char *format, va_list args) SYN_PRINTF(6, 0);

/* Set "rate_hour" to a price an hour, and "rate_month" to the same for a month: null without a
 * price, or past the largest amount. */
SYN_MUST int work_set_rates(json_t *obj, bool priced, int64_t rate_hour, struct syn_err *err);

#define WORK_ALTERNATIVES_MAX 16

/* Where a plan would put something. */
struct work_placed {
    struct syn_cluster *cluster;
    const struct syn_pricebook *book;
    const struct syn_place_request *request; /* how many, and of what */
    const struct syn_placement *placement;
    uint32_t slots;    /* of the placement, which are filled; 0: nothing has room */
    const char *count; /* what the members are called: "workers" */
};

/* Set "alternatives" to the other nodes where some of it would fit now, the cheapest first, at most
 * WORK_ALTERNATIVES_MAX: [{node, COUNT, region, rate_hour|null, rate_month|null}], rates for one
 * member. */
SYN_MUST int work_alternatives(const struct work_placed *placed, json_t *out, struct syn_err *err);

#endif
