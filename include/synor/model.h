/* Learnt execution times: per kernel, size of its data and class of worker.
 *
 * Three sources, the better before the worse: samples of that very size; samples of other sizes of
 * the same kernel, by interpolation between neighbours and a bounded power law outside; a prior
 * that the caller computed from a profile. An entry's syn_estimate is the table that strategies
 * scan: its address is fixed until the model is freed, its values are refined by every sample.
 *
 * Thread: syn_model_entry() and the text functions by one thread at a time; syn_model_record() one
 * at a time for one entry; estimates may be read meanwhile. Pure: no clock, no I/O. */
#ifndef SYNOR_MODEL_H
#define SYNOR_MODEL_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/strategy.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_MODEL_KERNELS_MAX 4096U
#define SYN_MODEL_ENTRIES_MAX 65536U /* sizes of all kernels */
#define SYN_MODEL_NAME_MAX    63U
#define SYN_MODEL_TEXT_MAX    ((size_t)64 << 20)
#define SYN_MODEL_NS_MAX      UINT64_C(1000000000000000) /* of one sample: 11 days */

struct syn_model;
struct syn_model_entry;

/** Where an estimate comes from. */
enum syn_model_source {
    SYN_MODEL_NONE,       /* nothing is known: the estimate is SYN_UNKNOWN_NS */
    SYN_MODEL_PRIOR,      /* the caller's, from a profile */
    SYN_MODEL_REGRESSION, /* other sizes of this kernel */
    SYN_MODEL_HISTORY,    /* this size */
    SYN_MODEL_IMPOSSIBLE, /* no implementation: SYN_NEVER */
};

/** An estimate with what it rests on. */
struct syn_model_answer {
    uint64_t ns;
    uint64_t low_ns;  /* half of the runs lie between these two, as far as the samples tell; of a */
    uint64_t high_ns; /* prior: all that is known is a factor of two either way */
    uint32_t samples;
    enum syn_model_source source;
};

/** A model of `class_count` classes by name, as in the platform; names are copied. INVALID, NOMEM.
 */
SYN_MUST SYN_API int syn_model_new(const char *const *class_names, uint32_t class_count,
                                   struct syn_model **ret_model, struct syn_err *err);
SYN_API struct syn_model *syn_model_free(struct syn_model *model);
SYN_API void syn_model_free_scope(struct syn_model **slot);

/** The entry of `kernel` (a name of printable ASCII without blanks) at `size` (any measure that
 * the time grows with, the bytes or the operations) and `footprint` (a hash that tells apart calls
 * of one size; 0 if none differ), made if it is not there. Borrowed; fixed until the model is
 * freed. Returns 0; INVALID, NOMEM, CONFLICT (the table is full). */
SYN_MUST SYN_API int syn_model_entry(struct syn_model *model, const char *kernel, uint64_t size,
                                     uint64_t footprint, struct syn_model_entry **ret_entry,
                                     struct syn_err *err);
/** The table for syn_ready.cost. */
SYN_API const struct syn_estimate *syn_model_estimate(const struct syn_model_entry *entry);
/** Set what a profile says; SYN_NEVER: no implementation for this class. */
SYN_API void syn_model_prior(struct syn_model_entry *entry, uint32_t class_id, uint64_t ns);
/** A run took `ns`. Outliers are bounded, not dropped: what stays slow is believed in time. */
SYN_API void syn_model_record(struct syn_model_entry *entry, uint32_t class_id, uint64_t ns);
SYN_API void syn_model_ask(const struct syn_model_entry *entry, uint32_t class_id,
                           struct syn_model_answer *ret_answer);

/** Append the model as text: what was learnt, not the priors. The buffer remembers a failure. */
SYN_API void syn_model_write(const struct syn_model *model, struct syn_buf *out);
/** Take what `text` learnt into `model`: entries that it has already learn from whichever has more
 * samples, classes that it has not are left out. Returns 0; CORRUPT names the line and leaves the
 * lines before it taken; INVALID (a version of the future, or too long), NOMEM, CONFLICT. */
SYN_MUST SYN_API int syn_model_read(struct syn_model *model, const char *text, size_t len,
                                    struct syn_err *err);

#ifdef __cplusplus
}
#endif
#endif
