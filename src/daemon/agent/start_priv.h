/* How an instance of a function came to be, and how long each stage of that took: told to the
 * server once, with its being ready. One that an earlier agent brought up tells nothing. */
#ifndef SYN_AGENT_START_PRIV_H
#define SYN_AGENT_START_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include <synor/base/json.h>

struct agt_instance;
struct agt_wish;

enum agt_way {
    AGT_WAY_COLD,     /* a sandbox and a program of its own */
    AGT_WAY_POOL,     /* an interpreter that was started for nobody yet */
    AGT_WAY_ZYGOTE,   /* forked from an interpreter that runs */
    AGT_WAY_SNAPSHOT, /* restored as it was once ready */
    AGT_WAYS
};

/* In the order that they are gone through. */
enum agt_stage {
    AGT_STAGE_SCHEDULE,   /* the server wants it -> the agent has it */
    AGT_STAGE_FETCH,      /* code, layer, image */
    AGT_STAGE_CREATE,     /* a sandbox is made, until its program runs; or one is taken */
    AGT_STAGE_RESTORE,    /* of a snapshot */
    AGT_STAGE_INITIALISE, /* its program runs -> it is ready for the first time */
    AGT_STAGES
};

#define AGT_START_NOTE_MAX 160
#define AGT_START_CANNOT   1 /* not in this way, here and now */

/** Of an instance; its own thread's, or whose turn it is. */
struct agt_start {
    bool kept; /* there is something to tell */
    enum agt_way way;
    bool gone_through[AGT_STAGES];
    int64_t stages_us[AGT_STAGES];
    int64_t since_us; /* when the last stage ended */
    char note[AGT_START_NOTE_MAX];
};

/** It is brought up from here on; nothing happens with one that is no function's. */
void agt_start_begin(struct agt_instance *instance, const json_t *doc);
/** It came this way. */
void agt_start_way(struct agt_instance *instance, enum agt_way way);
/** This stage took so long, in all if it is said again; less than nothing is nothing. */
void agt_start_stage(struct agt_instance *instance, enum agt_stage stage, int64_t us);
/** This stage lasted from the end of the one before until now. */
void agt_start_lap(struct agt_instance *instance, enum agt_stage stage);
/** Why it came in another way than was asked for: a sentence for people. */
void agt_start_note(struct agt_instance *instance, const char *note);

/**
 * Have the program of `wish` run, in the way that the document's `start` asks for, or else cold.
 * Blocks: as long as that takes. Returns as syn_runtime_ops.prepare and start.
 */
SYN_MUST int agt_start_program(struct agt_instance *instance, const json_t *doc,
                               struct agt_wish *wish, struct syn_err *err);

/** How an instance of a function is to start, by its document; "" of what is of no function. */
const char *agt_start_wanted(const json_t *doc);
/** Add what is to be told to a report that it is ready: "start". Nothing where that is known. */
SYN_MUST int agt_start_report(struct agt_instance *instance, json_t *body, struct syn_err *err);
/** The server knows. */
void agt_start_told(struct agt_instance *instance);

#endif
