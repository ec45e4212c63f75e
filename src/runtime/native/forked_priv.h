/* The parts of the driver of forked instances: forked.c answers, forked_keep.c has the zygotes,
 * forked_start.c brings one up, forked_watch.c is the thread that sees to those that run. */
#ifndef SYNOR_RUNTIME_FORKED_PRIV_H
#define SYNOR_RUNTIME_FORKED_PRIV_H

#include <pthread.h>

#include <synor/runtime/forked.h>
#include <synor/runtime/zygote.h>

#include "cgroup_priv.h"
#include "file_priv.h"
#include "instance_priv.h"
#include "logger_priv.h"
#include "plan_priv.h"

#define FORKED_NEVER  INT64_MAX
#define FORKED_ID_MAX 64

/* --- zygotes (forked_keep.c) ------------------------------------------------------------------ */

struct forked_zygote {
    char account[SYN_NET_ACCOUNT_MAX + 1]; /* "": the slot is free */
    char python[SYN_INSTANCE_PATH_MAX];
    char program[SYN_INSTANCE_PATH_MAX]; /* of the host: content, so its path says what it is */
    struct syn_zygote *zygote;           /* NULL: being started, */
    bool dead;                           /* or to be forgotten with its last user */
    unsigned users;
    int64_t idle_since_ms; /* without users */
};

struct forked_keep {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char root[SYN_INSTANCE_PATH_MAX];
    int64_t idle_ms;
    struct forked_zygote rows[SYN_FORKED_ZYGOTES_MAX];
};

/** Have the zygote for this, started if there is none. Until forked_keep_give(); `dead`: it has
 *  ended, nobody is to have it again. Blocks: a start, 100 ms. Returns 0; LIMIT; as
 *  syn_zygote_open(). */
SYN_MUST int forked_keep_take(struct forked_keep *keep, const char *account, const char *python,
                              const char *program, struct forked_zygote **ret, struct syn_err *err);
void forked_keep_give(struct forked_keep *keep, struct forked_zygote *zygote, bool dead);
/** End those that were idle for long; `all`: every one that has no user. Returns when the next one
 *  will have been. */
int64_t forked_keep_rest(struct forked_keep *keep, bool all);
void forked_keep_look(struct forked_keep *keep, struct syn_forked_state *ret);

/* --- instances -------------------------------------------------------------------------------- */

enum forked_phase { FORKED_PREPARED, FORKED_STARTS, FORKED_RUNS, FORKED_CONCLUDES };

/** One from prepare() to its end; its folder says everything from then on. */
struct forked_row {
    uint64_t serial;
    enum forked_phase phase;
    char dir[SYN_INSTANCE_PATH_MAX];
    char id[FORKED_ID_MAX]; /* unique on the machine */
    struct syn_plan plan;
    /* What a start needs. */
    char python[SYN_INSTANCE_PATH_MAX], program[SYN_INSTANCE_PATH_MAX];
    char code[SYN_INSTANCE_PATH_MAX], layer[SYN_INSTANCE_PATH_MAX]; /* layer "": none */
    char account[SYN_NET_ACCOUNT_MAX + 1];
    char **env; /* NULL-ended, ours; NULL once it was given */
    uint16_t port;
    /* While it runs. */
    struct forked_zygote *zygote;
    pid_t pid;
    int dirfd, pidfd, ended, log_fd, usage_fd; /* ended: an eventfd */
    int pipes[SYN_LOGGER_STREAMS];
    struct syn_logger logger;
    bool gone; /* its first process has ended; how is told in a moment */
    bool lost;
    int status; /* of waitpid(2) */
    int64_t wall_base_ms, mono_base_ms, started_ms, ended_ms;
    int64_t read_at_ms; /* its pipes are not looked at before */
    int64_t sample_at_ms, kill_at_ms, limit_at_ms, hold_at_ms, gone_at_ms; /* monotonic */
    bool stopped, over_time, killed;
    struct syn_usage_sample usage; /* the last one written */
    int64_t cpu_ms_total, throttled_ms_total;
    struct syn_net_usage traffic;
};

struct syn_forked {
    char root[SYN_INSTANCE_PATH_MAX];
    char python[SYN_INSTANCE_PATH_MAX];
    struct syn_net *net;
    struct syn_cgroup_layout layout;
    struct forked_keep keep;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct forked_row *rows[SYN_FORKED_INSTANCES_MAX]; /* under the lock, as all in them that may
                                                          be asked while they run */
    size_t count;
    uint64_t serial;
    int news; /* an eventfd: look again */
    bool stop, started;
    pthread_t thread;
    bool tried;
    char version[64], detail[SYN_EXIT_MESSAGE_MAX];
};

/** The row of a folder, NULL: none. Under the lock. */
struct forked_row *forked_row_find(const struct syn_forked *forked, const char *dir);
struct forked_row *forked_row_free(struct forked_row *row);
/** Under the lock; who frees it is the caller. */
void forked_row_remove(struct syn_forked *forked, const struct forked_row *row);
void forked_wake(struct syn_forked *forked);
/** Now, as its own clock has it, which never jumps. */
int64_t forked_wall_ms(const struct forked_row *row);
int64_t forked_mono_ms(void);

/** Have its zygote fork it. Not under the lock. */
SYN_MUST int forked_start(struct syn_forked *forked, struct forked_row *row, struct syn_err *err);
/** A socket that listens at `port` in the network namespace of that path. Blocks: no. */
SYN_MUST int forked_door(const char *netns, uint16_t port, int *ret_fd, struct syn_err *err);

void *forked_watch_main(void *arg);
/** It has ended, or is ended: kill what is left, write its last words and its result. Not under the
 *  lock; its phase is FORKED_CONCLUDES. */
void forked_conclude(struct syn_forked *forked, struct forked_row *row);

#endif
