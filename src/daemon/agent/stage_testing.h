/* A runtime driver for tests that does as it is told: one instance, no sandbox, no process. */
#ifndef SYN_STAGE_TESTING_H
#define SYN_STAGE_TESTING_H

#include <pthread.h>

#include <synor/runtime/runtime_ops.h>

/** The next so many calls of one kind fail with this code. */
struct stage_trouble {
    int times, rc;
};

/** Under `lock` while an instance lives. */
struct stage {
    pthread_mutex_t lock;
    struct stage_trouble prepare, start, adopt, poll, exit_fd, stop, destroy;
    bool ends_at_once;  /* start() leaves it ended as `end` says */
    bool ends_if_asked; /* stop() too */
    struct syn_instance_status end;
    struct syn_instance_status status; /* the truth */
    int ended;                         /* readable once it has ended */
    const struct syn_instance_paths *paths;
    char calls[256];  /* what was asked, repetitions once: "prepare start " */
    int64_t grace_ms; /* of the newest stop() */
    int handles;      /* that are open */
};

extern struct stage stage;
extern const struct syn_runtime_ops stage_ops;

/** One that completes. */
void stage_open(const struct syn_instance_paths *paths);
void stage_close(void);
/** Its program ends now, as `stage.end` says. */
void stage_end(void);
/** Was that call, or sequence of calls, made? */
bool stage_was_asked(const char *calls);
/** "prepare:1:no-space adopt:4:out-of-memory": what fails, how often, and how. */
void stage_suffer(const char *troubles);

#endif
