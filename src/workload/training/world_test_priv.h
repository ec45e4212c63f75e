/* A small world for tests of the controller: documents, nodes, agents and a clock, all in memory.
 */
#ifndef SYN_WORKLOAD_TRAINING_WORLD_TEST_PRIV_H
#define SYN_WORKLOAD_TRAINING_WORLD_TEST_PRIV_H

#include <synor/base/test.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/training_control.h>

#define WORLD_NODES  3
#define WORLD_NOW_MS INT64_C(1795460000000)
#define WORLD_SPEC_SMALL \
    "{\"source\":\"synor://code\",\"entry\":\"train.py\",\"max_budget\":\"10\"}"

struct world {
    json_t *job;
    json_t *instances; /* array of documents */
    json_t *nodes[WORLD_NODES];
    bool node_there[WORLD_NODES];
    struct syn_cluster *cluster;
    json_t *events; /* every event so far */
    json_t *progress;
    char progress_instance[SYN_ID_MAX];
    json_t *checkpoint;
    struct syn_quota quota; /* of the job's account; none at first */
    int64_t spent;
    int64_t now_ms;
    unsigned settled; /* how many bills were written */
    unsigned steps;
};

struct world *world_new(const char *spec_text);
void world_free(struct world *world);
/* One step, effects applied; then a second one, which must have none. Fails the test otherwise.
 * Returns true when something was written. */
bool world_step(struct world *world);
/* What the step looks at now. */
struct syn_training_view world_view(const struct world *world);
/* Node `index` reports `state`; "gone" removes it. */
void world_node(struct world *world, unsigned index, const char *state);
/* The node asks prices of its own, and lets spot work have its cores for so much of them. */
void world_price(struct world *world, unsigned index, int spot_floor_percent);
/* The instance of `rank` of the newest attempt. */
json_t *world_instance(const struct world *world, unsigned rank);
/* What the agent of that instance reports. `exit_code` < 0: none. */
void world_report(struct world *world, json_t *instance, const char *state, const char *reason,
                  int exit_code);
/* Every rank of the newest attempt. */
void world_report_all(struct world *world, const char *state, const char *reason, int exit_code);
void world_expect(const struct world *world, const char *state, const char *reason);
const char *world_message(const struct world *world);
unsigned world_events(const struct world *world, const char *type);

#endif
