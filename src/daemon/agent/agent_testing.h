/* What the agent's tests share: an agent without threads of its own, an instance in its table, and
 * a server that remembers what it was told and cuts off the answer it is told to cut off. */
#ifndef SYN_AGENT_TESTING_H
#define SYN_AGENT_TESTING_H

#include <synor/base/test.h>

#include "agent_priv.h"

#define FAKE_BYTES_MAX   262144
#define FAKE_FILES_MAX   64
#define FAKE_COMMITS_MAX 16
#define FAKE_TOLD_MAX    1024

/** When the answer to a request is cut off: before the request counts, or after. AWAY: to all. */
enum fake_fault { FAKE_NONE, FAKE_BEFORE, FAKE_AFTER, FAKE_AWAY };

/** The server's memory, under the lock; a test may look while nothing is asked. */
struct fake {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener;
    int stop[2];
    char path[108];

    int requests; /* so far */
    int fail_at;  /* cut off the answer to this one, counted from 1; 0: none */
    enum fake_fault fault;
    int settled; /* the run counts no usage any more: PRECONDITION */

    /* The next so many requests whose last word begins with `refuse` count for nothing, and get
     * this instead. */
    int refusals;
    const char *refuse;
    int refuse_status;
    const char *refuse_body;
    /* The next so many such requests count, and are answered so late. */
    int lates;
    const char *late;
    int late_ms;

    char logs[FAKE_BYTES_MAX], progress[FAKE_BYTES_MAX];
    int64_t logs_len, progress_len;
    int64_t usage_seq; /* of the last sample */
    int64_t usage_samples;
    int64_t egress_bytes;   /* of all of them */
    int64_t usage_peaks[8]; /* of memory, of the first samples */
    json_t *status;         /* the newest status report */
    int status_count;
    char told[FAKE_TOLD_MAX]; /* all of them: "state/reason state/reason " */

    /* The open upload, and what was committed. */
    char files[FAKE_FILES_MAX][64];
    int64_t sizes[FAKE_FILES_MAX];
    int files_count;
    int uploads_open;
    char commits[FAKE_COMMITS_MAX][512]; /* "name=size name=size " */
    int commits_count;
    char announced[FAKE_COMMITS_MAX][32]; /* "checkpoints" or "result" */
    int announced_count;

    struct syn_content *content; /* what /v1/content gives; NULL: nothing */
    int64_t car_cut;             /* give only so many bytes of a CAR; 0: all */
};

/** One agent, one instance "inst-1", one server. */
struct bench {
    struct syn_agent agent;
    struct agt_instance instance;
    struct syn_instance_paths paths;
    char texts[5][AGT_PATH_MAX];
    struct fake fake;
};

/** Let so much time pass for every bench. */
void bench_pass_ms(int64_t ms);
/** Calls fail at once when the server is away: the agent counts as stopping. */
struct bench *bench_open(void);
void bench_close(struct bench *bench);
/** Write a file below the bench's data folder. */
void bench_put(const struct bench *bench, const char *name, const char *data, size_t len);
/** A path below the data folder; good for the next three calls. */
const char *bench_path(const struct bench *bench, const char *name);
/** How many requests it had since it counts. */
int fake_requests(struct fake *fake);
/** Start counting anew, and cut off request `at`. */
void fake_fail(struct fake *fake, int at, enum fake_fault fault);
/** Refuse the next `count` requests for `last`. */
void fake_refuse(struct fake *fake, const char *last, int count, int status, const char *body);
/** Answer the next `count` requests for `last` by `ms` too late. */
void fake_dawdle(struct fake *fake, const char *last, int count, int ms);

#endif
