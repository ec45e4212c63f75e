/* Snapshots of functions on this node: made of the first instance's like, and started from. */
#ifndef SYN_AGENT_SAVED_PRIV_H
#define SYN_AGENT_SAVED_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <synor/base/err.h>
#include <synor/base/json.h>
#include <synor/infra/cid.h>

struct syn_agent;
struct agt_instance;
struct agt_saving;
struct agt_wish;

#define AGT_SAVED_SEEN 16

/** What the agent remembers of snapshots; under its lock. */
struct agt_saved {
    bool making; /* one at a time */
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
struct agt_saving *agt_saving_free(struct agt_saving *saving);
/** Write the manifest of the files in FOLDER/image. */
SYN_MUST int agt_saved_seal(const char *folder, const char *sandbox, struct syn_err *err);
/** Are the files in FOLDER/image what the manifest says? CORRUPT, NOTFOUND, IO. */
SYN_MUST int agt_saved_verify(const char *folder, const char *sandbox, struct syn_err *err);

#endif
