/* An instance as a controller's step sees it, of whatever kind of workload. */
#ifndef SYN_WORKLOAD_MEMBER_PRIV_H
#define SYN_WORKLOAD_MEMBER_PRIV_H

#include <synor/orchestration/cluster.h>
#include <synor/orchestration/life.h>

/** So long after an instance's end a bill waits for usage that its node still owes. */
#define MEMBER_USAGE_WAIT_MAX_MS (INT64_C(60) * 60 * 1000)
/** Instances of one workload that a step looks at. */
#define MEMBERS_MAX 4096

/* An instance, read. */
struct member {
    const json_t *given; /* the caller's document */
    json_t *doc;         /* our copy */
    json_t *spec;        /* of our copy */
    json_t *status;
    const char *id;
    const char *node;
    const char *reason;
    enum syn_instance_phase state;
    bool ended;
    int64_t run;
    int64_t attempt;
    int64_t rank;
};

/* Read a list of instance documents. Owner: *ret is the caller's to members_free(), also after a
 * failure. CORRUPT for what nobody here made; LIMIT, NOMEM. */
SYN_MUST int members_read(const json_t *instances, struct member **ret, size_t *ret_count,
                          struct syn_err *err);
void members_free(struct member *members, size_t count);
/* Is its document another one than was given? */
bool member_changed(const struct member *member);
/* The documents of those that changed, as a list. */
SYN_MUST int members_changed(const struct member *members, size_t count, json_t **ret,
                             struct syn_err *err);
/* Was it asked to stop? */
bool member_asked_to_stop(const struct member *member);
/* Ask an instance to stop; no-op when it was asked already with no longer grace. */
SYN_MUST int member_stop(struct member *member, const char *reason, int64_t grace_ms,
                         struct syn_err *err);
/* Its node is gone: it is lost, and ended. */
SYN_MUST int member_lose(struct member *member, int64_t now_ms, struct syn_err *err);
/* Has everything that it used been told? A node that is gone tells nothing more, and then the
 * tenant is charged for what is known. False with *ret_until_ms: wait no longer than that. */
bool member_usage_complete(const struct member *member, const struct syn_cluster *cluster,
                           int64_t now_ms, int64_t *ret_until_ms);

#endif
