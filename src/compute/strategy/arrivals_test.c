/* Transfers are counted once, wait for one another on a link, and end with what is written. */
#include <synor/base/test.h>

#include "arrivals_priv.h"

#define NODES 3U
#define TILE  1000000U /* bytes: 1 ms on a link */

/* A host and two devices on one bus. */
static const struct syn_worker_class classes[2] = {{.name = "core"}, {.name = "device"}};
static const struct syn_worker_desc workers[NODES] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 2, 2}};
static const struct syn_link_desc links[] = {
    {0, 1, 1, 0, 1000000000},
    {1, 0, 2, 0, 1000000000},
    {0, 2, 1, 0, 1000000000},
    {2, 0, 2, 0, 1000000000},
};
static const struct syn_platform platform = {
    .class_count = 2,
    .worker_count = NODES,
    .node_count = NODES,
    .link_count = SYN_LEN(links),
    .classes = classes,
    .workers = workers,
    .links = links,
};

struct rig {
    struct topology topology;
    struct arrivals arrivals;
    struct syn_replicas data[3];
    struct syn_data_use uses[3];
    struct syn_ready task;
    uint64_t moves[NODES], theres[NODES];
};

static void
rig_init(struct rig *rig, uint32_t handles)
{
    struct syn_err err = {0};

    *rig = (struct rig){0};
    assert_done(topology_init(&rig->topology, &platform, &err), &err);
    arrivals_init(&rig->arrivals, &rig->topology, handles);
    for (uint32_t i = 0; i < SYN_LEN(rig->data); i++) {
        rig->data[i] = (struct syn_replicas){1, TILE};
        rig->uses[i] = (struct syn_data_use){&rig->data[i], i, SYN_READ};
    }
    rig->task = (struct syn_ready){
        .accesses = rig->uses, .access_count = 1, .access_stride = sizeof(struct syn_data_use)};
}

static void
rig_fini(struct rig *rig)
{
    arrivals_fini(&rig->arrivals);
    topology_fini(&rig->topology);
}

/* The group of a node: there is one worker on each. */
static void
expect(struct rig *rig, uint32_t node, uint64_t now_ns, uint64_t move_ns, uint64_t there_ns)
{
    uint32_t group = rig->topology.group_of[node];

    arrivals_look(&rig->arrivals, &rig->task, now_ns, rig->moves, rig->theres);
    assert_in_range(rig->moves[group], move_ns - move_ns / 100, move_ns + move_ns / 100);
    assert_in_range(rig->theres[group], there_ns - there_ns / 100, there_ns + there_ns / 100);
}

static void
test_once(void **state)
{
    SYN_SCOPED(rig_fini) struct rig rig;

    (void)state;
    rig_init(&rig, 3);
    assert_true(arrivals_known(&rig.arrivals));
    expect(&rig, 0, 100, 0, 100);
    expect(&rig, 1, 0, 1000000, 1000000);
    arrivals_note(&rig.arrivals, &rig.task, 1, 0);
    expect(&rig, 1, 0, 0, 1000000);              /* on its way: to be waited for, not to be paid */
    expect(&rig, 2, 0, 1000000, 2000000);        /* behind it on the bus */
    expect(&rig, 1, 7000000, 0, 7000000);        /* overdue, yet no reason to send it again */
    expect(&rig, 1, 9500000, 1000000, 10500000); /* it came, and was evicted */
    rig.data[0].valid = 3;
    expect(&rig, 1, 500000, 0, 500000);
}

static void
test_written(void **state)
{
    SYN_SCOPED(rig_fini) struct rig rig;

    (void)state;
    rig_init(&rig, 3);
    arrivals_note(&rig.arrivals, &rig.task, 1, 0);
    rig.uses[0].mode = SYN_UPDATE;
    arrivals_note(&rig.arrivals, &rig.task, 2, 0);
    rig.data[0].valid = 1U << 2;
    rig.uses[0].mode = SYN_READ;
    expect(&rig, 2, 0, 0, 0);
    /* Over the host, and what was once sent to node 1 is of no use. */
    expect(&rig, 1, 0, 2000000, 4000000);
}

/* Handles beyond what is kept track of cost what they cost; of too many none is. */
static void
test_limits(void **state)
{
    SYN_SCOPED(rig_fini) struct rig rig;

    (void)state;
    rig_init(&rig, 1);
    rig.uses[0].handle = 1;
    arrivals_note(&rig.arrivals, &rig.task, 1, 0);
    expect(&rig, 1, 0, 1000000, 1000000);
    arrivals_fini(&rig.arrivals);
    arrivals_init(&rig.arrivals, &rig.topology, UINT32_MAX);
    assert_false(arrivals_known(&rig.arrivals));
    syn_mem_fault_arm(1, true);
    arrivals_init(&rig.arrivals, &rig.topology, 1);
    syn_mem_fault_arm(0, false);
    assert_false(arrivals_known(&rig.arrivals));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests_name("compute/arrivals", tests, NULL, NULL);
}
