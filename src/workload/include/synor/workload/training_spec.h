/* What a tenant asks for when training: the shape of the spec, its defaults, its cross-field rules,
 * and a quick way to read a spec that passed them. */
#ifndef SYNOR_WORKLOAD_TRAINING_SPEC_H
#define SYNOR_WORKLOAD_TRAINING_SPEC_H

#include <synor/base/schema.h>
#include <synor/workload/card.h>

#define SYN_TRAINING_WORKERS_MAX         SYN_PLACE_GANG_MAX
#define SYN_TRAINING_ARGS_MAX            256
#define SYN_TRAINING_ARG_BYTES_MAX       4096
#define SYN_TRAINING_ENV_MAX             64
#define SYN_TRAINING_ENV_BYTES_MAX       32768
#define SYN_TRAINING_HYPERPARAMETERS_MAX 256
#define SYN_TRAINING_RETRIES_MAX         10

/** The spec of POST /v1/training; max_budget is decimal text in documents. */
extern const struct syn_schema syn_training_spec_schema;

/**
 * The model file (model.yaml): name, source, entry, args, hyperparameters, include, exclude,
 * framework, framework_version. `source`, `include` and `exclude` say what to pack and are used
 * where the folder is; the rest is laid under the spec by syn_training_model_merge(). The client
 * sends it as JSON.
 */
extern const struct syn_schema syn_training_model_schema;

/**
 * Check a spec in place: units become integers, defaults are filled in, amounts become decimal
 * text. What passed passes again unchanged. `synor://` references are only checked for their form.
 *
 * Returns 0; SYN_E_INVALID naming the key, the value and what is allowed; SYN_E_NOMEM. On failure
 * `spec` may be half converted.
 */
SYN_MUST int syn_training_spec_check(json_t *spec, struct syn_err *err);

/**
 * Check a model file and lay it under `spec`: entry, args, framework and framework_version where
 * the spec has none, hyperparameters key by key where the spec has none. *ret_name (may be NULL) is
 * the model's name, borrowed from `model`, or NULL. Call before syn_training_spec_check().
 */
SYN_MUST int syn_training_model_merge(json_t *model, json_t *spec, const char **ret_name,
                                      struct syn_err *err);

/** A checked spec, read. All pointers are borrowed from the JSON. */
struct syn_training_spec {
    const char *framework;
    const char *framework_version;
    const char *image;
    const char *source;
    const char *entry;
    json_t *args;
    const char *dataset;
    json_t *hyperparameters;
    struct syn_amounts amounts; /* per worker */
    int64_t gpus;
    int64_t gpus_max;
    const char *gpu_model;
    int64_t vram_min_bytes;
    struct syn_card card; /* the part of one that it has */
    uint32_t workers;
    const char *distributed;
    int64_t max_budget;
    int64_t max_price;    /* an hour, one worker, base units; 0: none */
    uint32_t policy;      /* enum syn_fleet_policy */
    bool spot;            /* at spot prices; gives way to who pays more */
    const char *reserved; /* class of the units that it takes its processors from; "": none */
    int64_t notice_ms;    /* before that */
    int64_t priority;
    const char *region;
    int64_t bandwidth_bps;   /* per worker */
    uint32_t gpu_capability; /* 80 means 8.0; 0: any */
    const json_t *labels;    /* selectors, all of them */
    const char *latency_to;  /* a region, or "" */
    int64_t latency_max_ms;  /* 0: any */
    const char *group;       /* "": none */
    const json_t *affinity;  /* {group, domain}, or NULL */
    const json_t *anti_affinity;
    const char *spread; /* a domain, or "" */
    enum syn_isolation isolation;
    int64_t stop_grace_ms;
    int64_t time_limit_ms; /* 0: none */
    int64_t retries_max;
    json_t *env;
};

/** Read a spec that syn_training_spec_check() passed; anything else is a bug. */
void syn_training_spec_read(const json_t *spec, struct syn_training_spec *ret);
/** What all its workers together hold of an account's quota, at least. */
struct syn_holding syn_training_holding(const struct syn_training_spec *spec);
/** The same, with parts of cards as the nodes here have them. */
struct syn_holding syn_training_holding_on(const struct syn_training_spec *spec,
                                           const struct syn_cluster *cluster);
/** What comes before it, and what gives way to it: its priority; of spot work, what it bids, below
 *  all others. */
int64_t syn_training_priority(const struct syn_training_spec *spec);
/** The gang it asks for, for the account whose groups it names. Text is borrowed from `spec` and
 *  `account`. */
struct syn_place_request syn_training_place_request(const struct syn_training_spec *spec,
                                                    const char *account);
/** Units of a class that a job takes its processors from. Text is borrowed. */
struct syn_training_units {
    const char *good;
    int64_t have;    /* that the account holds and nobody has begun; with those that the job uses */
    int64_t unit_ms; /* how long one lasts */
    int64_t until_ms;           /* when those are over that it uses; 0: it uses none */
    const char *const *sellers; /* who owe such units */
    size_t sellers_count;
};

/** Have it in units that the account holds, when the spec takes reserved ones. `units`: NULL, none
 * were looked for. Text is borrowed from it. */
void syn_training_take_units(const struct syn_training_spec *spec,
                             const struct syn_training_units *units,
                             struct syn_place_request *request);
/** Say that the account holds fewer units than the request takes: a row of `why`, a sentence of
 * `fix`; nothing when it holds them, or takes none. */
SYN_MUST int syn_training_units_explain(const struct syn_training_spec *spec,
                                        const struct syn_training_units *units, json_t *why,
                                        json_t *fix, struct syn_err *err);

#endif
