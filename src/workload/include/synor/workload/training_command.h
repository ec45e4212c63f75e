/* From a job and a placement to instances: what each rank runs, with what environment and data. */
#ifndef SYNOR_WORKLOAD_TRAINING_COMMAND_H
#define SYNOR_WORKLOAD_TRAINING_COMMAND_H

#include <synor/base/world.h>
#include <synor/orchestration/place.h>

/** Where a program finds things inside its sandbox; docs/training-contract.md tells people. */
#define SYN_TRAINING_DIR_CODE        "/synor/code"
#define SYN_TRAINING_DIR_DATASET     "/synor/dataset"
#define SYN_TRAINING_DIR_CONFIG      "/synor/config"
#define SYN_TRAINING_DIR_CHECKPOINTS "/synor/checkpoints"
#define SYN_TRAINING_DIR_OUTPUT      "/synor/output"
#define SYN_TRAINING_DIR_SCRATCH     "/synor/scratch"
#define SYN_TRAINING_HYPERPARAMETERS SYN_TRAINING_DIR_CONFIG "/hyperparameters.json"
#define SYN_TRAINING_PROGRESS        SYN_TRAINING_DIR_SCRATCH "/progress.jsonl"
#define SYN_TRAINING_NOTICE          SYN_TRAINING_DIR_SCRATCH "/notice.json"
/** The interface of the ranks' own network inside a sandbox. */
#define SYN_TRAINING_INTERFACE "eth0"

#define SYN_TRAINING_MASTER_PORT 29500
#define SYN_TRAINING_PIDS        4096

/** "inst-JOB-RUN-ATTEMPT-RANK" and "bill-JOB-RUN": the same facts always give the same id. */
void syn_training_instance_id(const json_t *job, int64_t attempt, uint32_t rank,
                              char out[SYN_ID_MAX]);
void syn_training_bill_id(const json_t *job, char out[SYN_ID_MAX]);

/**
 * Make the instance document of `rank` for the job's current attempt (status.run, status.attempt),
 * assigned, desired running. `lease` is what it was agreed to cost, borrowed; NULL leaves it
 * to the price book.
 *
 * Owner: *ret is the caller's. Returns 0; SYN_E_NOMEM.
 */
SYN_MUST int syn_training_instance_make(const json_t *job, const struct syn_placement *placement,
                                        uint32_t rank, int64_t now_ms, const json_t *lease,
                                        json_t **ret, struct syn_err *err);

/** The hyperparameters the program is given: the spec's own, overlaid with its named options
 * (epochs, batch_size, ..., distributed when it is not none). */
SYN_MUST int syn_training_hyperparameters(const json_t *spec, json_t **ret, struct syn_err *err);

#endif
