/* The body of a model, for the files of the room. */
#ifndef SYNOR_COMPUTE_MODEL_PRIV_H
#define SYNOR_COMPUTE_MODEL_PRIV_H

#include <synor/base/map.h>
#include <synor/model.h>

#define MODEL_WINDOW 16 /* samples kept as they are; from then on an average runs */

/* What was seen of one size on one class. */
struct model_cell {
    uint64_t prior_ns; /* 0: none */
    uint64_t count;    /* samples, also those before it was read from text */
    double mean_ns;    /* robust; 0 before the first sample */
    double spread;     /* mean distance from it, relative */
    float window[MODEL_WINDOW];
    float told;    /* mean_ns when other sizes were last told of it */
    double log_ns; /* of that */
    double weight; /* with which it is among the kernel's sums */
};

/* Weighted sums of logarithms of sizes and times. */
struct model_sums {
    double sum, x, y, xx, xy;
};

struct syn_model_entry {
    struct syn_estimate estimate; /* first: what strategies point at */
    struct syn_model *model;
    struct model_kernel *kernel;
    uint64_t size, footprint;
    double log_size;
    struct syn_model_entry *next, *prev; /* of the kernel; no smaller, no larger */
    uint64_t settled; /* bits of classes: with all the samples that a window has */
    struct model_cell cells[];
};

struct model_kernel {
    char name[SYN_MODEL_NAME_MAX + 1];
    struct syn_model_entry *entries, *last; /* by size, of one size the newest first */
    struct model_sums sums[];               /* of each class */
};

struct syn_model {
    uint32_t class_count;
    char class_names[SYN_CLASSES_MAX][sizeof(((struct syn_worker_class *)0)->name)];
    struct syn_map *kernels; /* name: struct model_kernel */
    struct syn_map *entries; /* "name size footprint": struct syn_model_entry */
};

/** Is what it takes there known well? Any thread may ask. */
static inline bool
syn_model_is_settled(const struct syn_model_entry *entry, uint32_t class_id)
{
    return (__atomic_load_n(&entry->settled, __ATOMIC_RELAXED) >> class_id & 1) != 0;
}

/** Make `cell` what text says it is, unless it knows more already, and publish it. */
void model_adopt(struct syn_model_entry *entry, uint32_t class_id, uint64_t count, double mean_ns,
                 double spread);

#endif
