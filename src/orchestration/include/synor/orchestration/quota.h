/* What an account may hold at once, and whether one thing more still fits: a decision and its
 * words. Compute is held by live instances, storage by what the account keeps. */
#ifndef SYNOR_ORCHESTRATION_QUOTA_H
#define SYNOR_ORCHESTRATION_QUOTA_H

#include <synor/base/json.h>

/** One row a dimension: symbol, key in documents, words, option of `synor account quota`. */
#define SYN_QUOTA_TABLE(X)                          \
    X(JOBS, "jobs", "running jobs", "--jobs")       \
    X(CPU, "cpu_millicores", "CPUs", "--cpus")      \
    X(MEMORY, "memory_bytes", "memory", "--memory") \
    X(GPUS, "gpus", "GPUs", "--gpus")               \
    X(STORAGE, "storage_bytes", "storage", "--storage")

enum syn_quota_dim {
#define SYN_QUOTA_ROW(symbol, key, words, option) SYN_QUOTA_##symbol,
    SYN_QUOTA_TABLE(SYN_QUOTA_ROW)
#undef SYN_QUOTA_ROW
        SYN_QUOTA_COUNT
};

#define SYN_QUOTA_NONE INT64_C(-1)

/** The limits of one account. A value. */
struct syn_quota {
    int64_t limits[SYN_QUOTA_COUNT]; /* SYN_QUOTA_NONE: there is none */
};

/** GPUs are counted in parts of one: who has a quarter of a card holds a quarter. In documents they
 *  are numbers of GPUs. */
#define SYN_QUOTA_GPU INT64_C(1000)

/** What an account holds, or what is asked for on top of it. A value; nothing in it is negative. */
struct syn_holding {
    int64_t amounts[SYN_QUOTA_COUNT];
};

/** Read limits: {"jobs": 2, ...}, of GPUs whole ones; a key that is missing or null is no limit,
 * and so is `obj` NULL. INVALID for what is no number of 0 or more. */
SYN_MUST int syn_quota_read(const json_t *obj, struct syn_quota *ret, struct syn_err *err);
/** Is there any limit? */
bool syn_quota_any(const struct syn_quota *quota);
/** A holding as a document, by the same keys. Owner: *ret is the caller's. */
SYN_MUST int syn_holding_encode(const struct syn_holding *holding, json_t **ret,
                                struct syn_err *err);

/** The first dimension in which `ask` on top of `held` is over its limit; SYN_QUOTA_COUNT when it
 *  fits. */
enum syn_quota_dim syn_quota_over(const struct syn_quota *quota, const struct syn_holding *held,
                                  const struct syn_holding *ask);
/** How much more the account may take of `dim`; INT64_MAX without a limit. */
int64_t syn_quota_room(const struct syn_quota *quota, const struct syn_holding *held,
                       enum syn_quota_dim dim);
/** One sentence on `dim`, which is over its limit: "the account's quota is 2 CPUs; 1.5 are held and
 *  1 is asked for". Cut at `cap`. */
void syn_quota_say(const struct syn_quota *quota, const struct syn_holding *held,
                   const struct syn_holding *ask, enum syn_quota_dim dim, char *out, size_t cap);
/** Append, for every dimension over its limit, a row {dimension: "quota", node: null, need, have,
 *  message} to `why`, and what would help to `fix`. Nothing is appended when it fits.
 *  Returns 0; SYN_E_NOMEM. */
SYN_MUST int syn_quota_explain(const struct syn_quota *quota, const struct syn_holding *held,
                               const struct syn_holding *ask, const char *account, json_t *why,
                               json_t *fix, struct syn_err *err);

#endif
