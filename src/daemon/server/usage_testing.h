/* What tests of metering are: a tenant's workload on a node whose agent is the test. Whatever goes
 * wrong here fails the test. */
#ifndef SYN_USAGE_TESTING_H
#define SYN_USAGE_TESTING_H

#include <synor/market/meter.h>

#include "server_testing.h"

#define SAMPLE_MS 10

/** One job of one rank, or service of one replica, on a node of its own, and the agent of that
 * node.
 */
struct run {
    struct house *house;
    struct syn_client *tenant;
    struct syn_client *agent;
    char agent_token[SYN_TOKEN_LEN + 1];
    struct syn_key *key;
    const char *name; /* of tenant and node; the provider's is "paid-NAME" */
    char node[SYN_ID_MAX];
    char job[SYN_ID_MAX];
    char instance[SYN_ID_MAX];
    char lease[SYN_DIGEST_MAX]; /* what reports are signed for */
    struct syn_capacity reserved;
    int64_t begun_ms;
    int64_t egress_bytes; /* of each sample */
};

/** A tenant `name` with 10 SYNOR, and a node of that name. `offer` is what it asks, or NULL. */
void run_join(struct run *run, struct house *house, const char *name, uint8_t seed,
              const char *offer);
/** The tenant deploys the service "web" of one replica by this request, with ' for ", and
 * `instance` is that replica. */
void run_serve(struct run *run, const char *body);
void run_fini(struct run *run);
/** Take `instance` as ours, and say that it runs. */
void run_take(struct run *run);
/** The signed report of samples first..last: the same every time it is made. */
json_t *run_report(const struct run *run, int64_t first, int64_t last);
/** Send samples first..last. Returns the code; *ret_seq (may be NULL) is how far the server says to
 *  have come. */
int send_as(const struct run *run, struct syn_client *agent, int64_t first, int64_t last,
            int64_t *ret_seq);
/** Send them, expect the code, and that the meter stands at `meter_after` then. */
void sent(const struct run *run, int64_t first, int64_t last, int code, int64_t meter_after);
/** How far the server says to have come. */
int64_t ask(const struct run *run, struct syn_client *agent);
/** How far it has. */
int64_t metered(const struct run *run);
/** The agent says that the program ended; `last` is the last sample that there will be. */
void end(const struct run *run, int64_t last);

#endif
