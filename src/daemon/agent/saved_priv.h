/* Snapshots of functions on this node: made of the first instance's like, and started from. */
#ifndef SYN_AGENT_SAVED_PRIV_H
#define SYN_AGENT_SAVED_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/base/world.h>
#include <synor/infra/cid.h>
#include <synor/runtime/runtime_ops.h>

struct syn_agent;
struct agt_instance;
struct agt_saving;
struct agt_wish;

#define AGT_SAVED_SEEN  16
#define AGT_SAVED_HOST  "function" /* what programs are called that go on from snapshots */
#define AGT_SPARES_MAX  4          /* sandboxes that wait, some 35 MB each */
#define AGT_SAVINGS_MAX 8          /* snapshots that wait to be made; more are made another time */

/** A sandbox that was made ahead for a snapshot. */
struct agt_spare {
    char key[SYN_CID_TEXT_MAX];
    char id[SYN_ID_MAX];
    struct syn_runtime runtime;
    struct syn_instance *handle;
    int64_t made_ms;
};

/** What the agent remembers of snapshots; under its lock. */
struct agt_saved {
    bool making; /* one at a time; the others wait */
    struct agt_saving *waiting[AGT_SAVINGS_MAX];
    size_t waiting_count;
    struct agt_spare spares[AGT_SPARES_MAX]; /* see spare.c */
    size_t spares_count;
    unsigned next;
    struct agt_saved_row {
        char key[SYN_CID_TEXT_MAX];
        int64_t changed_ns[2]; /* its files were right when these were their times of change */
        int64_t not_before_ms; /* it failed: until then it is not tried again, */
        char why[128];         /* and how */
    } rows[AGT_SAVED_SEEN];
};

/**
 * The name of the snapshot that an instance of this wish can go on from: it changes with the
 * account, the version, its code, environment and secrets, the sandbox, the processor and the
 * node's own files. Pure but for the last two. Into out[SYN_CID_TEXT_MAX].
 */
SYN_MUST int agt_saved_key(const json_t *doc, const struct agt_wish *wish, const char *sandbox,
                           char *out, struct syn_err *err);
/**
 * Start the instance from its snapshot. Where there is none yet, one is made once the instance is
 * ready. Returns 0; AGT_START_CANNOT with a note, and nothing left of the try; < 0.
 */
SYN_MUST int agt_saved_start(struct agt_instance *instance, const json_t *doc,
                             struct agt_wish *wish, struct syn_err *err);
/** The instance is ready: make the snapshot for those after it, by a thread of its own. */
void agt_saved_ready(struct agt_instance *instance);
/** It ended before it was ever ready: what it went on from is of no use. */
void agt_saved_failed(struct agt_instance *instance, const char *why);
/** Whatever was begun of an instance goes, so that it can start in another way: AGT_START_CANNOT.
 */
SYN_MUST int agt_saved_clear(struct agt_instance *instance, struct syn_err *err);
/** The word for what goes on: its environment. */
SYN_MUST int agt_saved_word(const struct agt_wish *wish, struct syn_buf *out, struct syn_err *err);
#define AGT_SAVED_WORD_MAX 100
/** Does a program wait to be saved, or for its owner? What it says instead, if anything, into
 *  why[AGT_SAVED_WORD_MAX]. */
bool agt_saved_waits(const struct syn_instance_paths *paths, char *why);
struct agt_saving *agt_saving_free(struct agt_saving *saving);
/** Write the manifest of the files in FOLDER/image, a snapshot of an instance of `service`. */
SYN_MUST int agt_saved_seal(const char *folder, const char *sandbox, const char *service,
                            struct syn_err *err);
/** Does its manifest say so? */
bool agt_saved_is_of(const char *folder, const char *service);
/** Are the files in FOLDER/image what the manifest says? CORRUPT, NOTFOUND, IO. */
SYN_MUST int agt_saved_verify(const char *folder, const char *sandbox, struct syn_err *err);

/** As what the next agent finds of it: set instance->run. Under the lock. */
void agt_spare_recall(struct agt_instance *instance);
/** Is this the sandbox that an instance took? For what else has its name. */
bool agt_spare_is_ours(struct syn_agent *agent, const char *id);
/** End those that nobody came for in a while, or all. Blocks. */
void agt_spares_rest(struct syn_agent *agent, bool all);
/** End what an earlier agent made ahead and no instance took. Once all instances are known. */
void agt_spares_sweep(struct syn_agent *agent);

#endif
