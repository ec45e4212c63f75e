/* One check of a replica, by TCP, HTTP, gRPC or a program within it, without waiting: begun, looked
 * after from a loop, over by its deadline. Or one question, whose whole answer is wanted. */
#ifndef SYN_AGENT_PROBE_PRIV_H
#define SYN_AGENT_PROBE_PRIV_H

#include <synor/base/buf.h>
#include <synor/infra/grpc.h>
#include <synor/runtime/exec.h>

#define AGT_PROBE_REQUEST_MAX 3072
#define AGT_PROBE_WORDS_MAX   120 /* of what a program printed that are kept */
#define AGT_PROBE_ANSWER_MAX  256 /* of an answer that is read: the status line is at its front */
#define AGT_PROBE_MESSAGE_MAX 200
#define AGT_PROBE_WHOLE_MAX   ((size_t)1 << 20) /* of an answer that is wanted as a whole */

enum agt_probe_state { AGT_PROBE_NONE, AGT_PROBE_RUNS, AGT_PROBE_PASSED, AGT_PROBE_FAILED };

struct agt_probe_target {
    const char *address; /* numeric, of either family */
    uint16_t port;
    const char *path;    /* NULL: that it can be connected to is enough */
    const char *host;    /* of the request; NULL: the address */
    const char *headers; /* more lines of the request, each with its line end; NULL: none */
    /** Ask by gRPC how this service of it is, "" for all of it; NULL: not by gRPC. */
    const char *grpc_service;
    /** Where the whole answer goes, as it came; it is asked for by HTTP/1.0, so that it comes in
     * one piece. NULL: its status is enough. */
    struct syn_buf *whole;
    /** NULL-ended: a program that is run within `instance` instead; status 0 is well. */
    const char *const *argv;
    const struct syn_runtime *runtime;
    struct syn_instance *instance;
};

struct agt_probe {
    int fd; /* to poll; -1: none; a program's belongs to `exec` */
    struct syn_exec *exec;
    int words_fd; /* what it prints */
    char words[AGT_PROBE_WORDS_MAX];
    size_t words_len;
    short events;
    int64_t deadline_ms;
    char request[AGT_PROBE_REQUEST_MAX];
    size_t request_len, sent; /* 0: TCP alone */
    char answer[AGT_PROBE_ANSWER_MAX];
    size_t answer_len;
    struct syn_buf *whole;
    bool by_grpc;          /* `request` is the message: */
    struct syn_grpc *grpc; /* has `fd` from when it is connected */
    struct syn_grpc_call *call;
    char message[AGT_PROBE_MESSAGE_MAX]; /* what came of it, for people */
};

#define AGT_PROBE_INIT           \
    {                            \
        .fd = -1, .words_fd = -1 \
    }

/** Begin. It may be over at once. Thread: one. */
enum agt_probe_state agt_probe_begin(struct agt_probe *probe, const struct agt_probe_target *target,
                                     int64_t now_ms, int64_t timeout_ms);
/** Look after it: its descriptor is ready, or time has passed. */
enum agt_probe_state agt_probe_turn(struct agt_probe *probe, int64_t now_ms);
/** Give it up. */
void agt_probe_end(struct agt_probe *probe);
/** The status that an HTTP answer's beginning tells: 100..999; 0: more is needed; -1: it is none.
 */
int agt_probe_status(const char *answer, size_t len);

#endif
