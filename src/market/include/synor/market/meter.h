/* Metering: samples of one instance's reserved capacity over time, and their exact sums.
 *
 * The charge is for what was reserved, times how long, and for each byte that left the node; what
 * was observed in use is information. A sample covers [from_ms, to_ms). An instance's samples are
 * numbered 1, 2, 3, ... and touch: each starts where the one before ended. So nothing is charged
 * twice and nothing is left out, and a sample that came late, twice or never is seen by its number.
 *
 * Sums are 128-bit integers of capacity times milliseconds: no rounding, so cutting an interval
 * anywhere never changes the total. Rounding happens once, in the invoice.
 *
 * An agent sends samples in a *report* signed with its node's key. The bytes that are signed are
 * the canonical JSON of the report without its signature. Signing and checking stand elsewhere.
 * Pure. */
#ifndef SYNOR_MARKET_METER_H
#define SYNOR_MARKET_METER_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/market/pricebook.h>

#define SYN_SAMPLE_SPAN_MAX_MS SYN_HOUR_MS
#define SYN_SAMPLE_SEQ_MAX     (INT64_C(1) << 52)
#define SYN_REPORT_SAMPLES_MAX 4096
#define SYN_REPORT_VERSION     1
#define SYN_METER_NAME_MAX     64 /* with terminator; so are the next two */
#define SYN_KEY_ID_MAX         129
#define SYN_SIGNATURE_MAX      257
#define SYN_DIGEST_MAX         65 /* of a SHA-256 in hexadecimal */
#define SYN_USAGE_ITEMS_MAX    16 /* cpu, memory, scratch and GPU models of one instance */
#define SYN_CAPACITY_CPU_MAX   INT64_C(1000000000) /* a million cores */
#define SYN_CAPACITY_BYTES_MAX (INT64_C(1) << 60)
#define SYN_CAPACITY_GPUS_MAX  1024
#define SYN_SAMPLE_EGRESS_MAX  (INT64_C(1) << 52) /* an hour at ten terabit a second */
#define SYN_GPU_MODEL_MAX      32

/** What an instance has to itself, used or not. */
struct syn_capacity {
    int64_t cpu_millicores;
    int64_t memory_bytes;
    int64_t scratch_bytes;
    int64_t gpus;
    int64_t gpu_permille;              /* of the one card; 0: its cards are its own */
    char gpu_model[SYN_GPU_MODEL_MAX]; /* "h100"; "" exactly when gpus is 0 */
};

/** What was seen in use. */
struct syn_observed {
    int64_t cpu_ms;
    int64_t memory_peak_bytes;
    int64_t scratch_used_bytes;
    int64_t throttled_ms; /* held back by the CPU limit, on all CPUs together */
};

struct syn_sample {
    int64_t seq;
    int64_t from_ms; /* Unix time, included */
    int64_t to_ms;   /* excluded; at most SYN_SAMPLE_SPAN_MAX_MS later */
    struct syn_capacity reserved;
    struct syn_observed used;
    int64_t egress_bytes; /* left the node: charged by the byte; what came in is free */
};

/** Sums by item, sorted by item name. */
struct syn_usage_sum {
    size_t count;
    struct syn_usage_item {
        char item[SYN_ITEM_MAX];
        enum syn_measure measure;
        syn_u128 quantity; /* > 0 */
    } items[SYN_USAGE_ITEMS_MAX];
};

/** One instance's meter: a plain value; copy it to keep a state. */
struct syn_meter {
    char instance[SYN_METER_NAME_MAX];
    int64_t seq;     /* of the last sample; 0 before the first */
    int64_t from_ms; /* of the first sample */
    int64_t to_ms;   /* of the last sample */
    struct syn_usage_sum usage;
    struct syn_observed used; /* the times summed, of the others the maximum */
};

/** Samples as a node reports them. `samples` has `count` elements and belongs to the report. */
struct syn_report {
    char node[SYN_METER_NAME_MAX];
    char instance[SYN_METER_NAME_MAX];
    char key_id[SYN_KEY_ID_MAX];
    char lease[SYN_DIGEST_MAX];        /* of the lease it was served under; "" without one */
    char signature[SYN_SIGNATURE_MAX]; /* text; "" while unsigned */
    struct syn_sample *samples;
    size_t count, cap;
};

/* ---- capacity and usage ---- */

/** INVALID names `path` and the field. */
SYN_MUST int syn_capacity_check(const struct syn_capacity *capacity, const char *path,
                                struct syn_err *err);
/** Add `quantity` of `item`; 0 adds nothing. LIMIT when full or past 128 bits; INVALID when the
 *  item stands there in another measure. */
SYN_MUST int syn_usage_add(struct syn_usage_sum *usage, const char *item, enum syn_measure measure,
                           syn_u128 quantity, struct syn_err *err);
/** What came to `before` until it was `now`, into *ret. INVALID when an item has become less. */
SYN_MUST int syn_usage_since(const struct syn_usage_sum *now, const struct syn_usage_sum *before,
                             struct syn_usage_sum *ret, struct syn_err *err);
/** Append the items to `array`: {item, measure, quantity}, quantities as decimal text. */
SYN_MUST int syn_usage_encode(const struct syn_usage_sum *usage, json_t *array,
                              struct syn_err *err);
/** The same back. INVALID. */
SYN_MUST int syn_usage_decode(const json_t *array, struct syn_usage_sum *ret, struct syn_err *err);
/** Add what `capacity` amounts to over `span_ms` >= 0. */
SYN_MUST int syn_usage_add_capacity(struct syn_usage_sum *usage,
                                    const struct syn_capacity *capacity, int64_t span_ms,
                                    struct syn_err *err);

/* ---- meters ---- */

SYN_MUST int syn_meter_init(struct syn_meter *meter, const char *instance, struct syn_err *err);
/** Add the next sample. CONFLICT names its seq and what was expected; INVALID; LIMIT. On failure
 *  nothing changes. */
SYN_MUST int syn_meter_add(struct syn_meter *meter, const struct syn_sample *sample,
                           struct syn_err *err);
/** Add all samples of a report or none. UNAUTHENTICATED when its signature did not verify; CONFLICT
 *  when it is another instance's; then as syn_meter_add. */
SYN_MUST int syn_meter_accept(struct syn_meter *meter, const struct syn_report *report,
                              bool signature_ok, struct syn_err *err);
SYN_MUST int syn_meter_encode(const struct syn_meter *meter, json_t **ret, struct syn_err *err);
SYN_MUST int syn_meter_decode(const json_t *doc, struct syn_meter *ret_meter, struct syn_err *err);

/* ---- samples and reports ---- */

SYN_MUST int syn_sample_encode(const struct syn_sample *sample, json_t **ret, struct syn_err *err);
SYN_MUST int syn_sample_decode(const json_t *doc, struct syn_sample *ret_sample,
                               struct syn_err *err);

SYN_MUST int syn_report_new(const char *node, const char *instance, const char *key_id,
                            struct syn_report **ret_report, struct syn_err *err);
struct syn_report *syn_report_free(struct syn_report *report);
void syn_report_free_scope(struct syn_report **slot);
/** Append a sample that continues the last one; CONFLICT otherwise; LIMIT; NOMEM. */
SYN_MUST int syn_report_add(struct syn_report *report, const struct syn_sample *sample,
                            struct syn_err *err);
/** Name the lease by its digest, 64 lower-case hexadecimal digits, or "" for none. INVALID. */
SYN_MUST int syn_report_set_lease(struct syn_report *report, const char *digest,
                                  struct syn_err *err);
/** Append the bytes to sign to `out`. */
SYN_MUST int syn_report_payload(const struct syn_report *report, struct syn_buf *out,
                                struct syn_err *err);
/** Keep the signature, text of letters, digits and + / = _ : . -. */
SYN_MUST int syn_report_set_signature(struct syn_report *report, const char *signature,
                                      struct syn_err *err);
SYN_MUST int syn_report_encode(const struct syn_report *report, json_t **ret, struct syn_err *err);
/** Strict; the report must hold at least one sample and a signature. */
SYN_MUST int syn_report_decode(const json_t *doc, struct syn_report **ret_report,
                               struct syn_err *err);

#endif
