/* Everything that can fail fails once: each driver call, each allocation, each device. Whatever it
 * was, the code is the right one, the same thing works when it is tried again, nobody reads what is
 * stale, and nothing is left behind. */
#include "memory_suite.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N       256
#define BYTES   (N * sizeof(uint32_t))
#define TENSORS 5
#define PARTS   4

/* One tensor and what it has: `salt`, or nothing. */
struct thing {
    struct syn_tensor *tensor;
    size_t count; /* elements */
    uint32_t salt;
    bool written;
};

struct scene {
    struct mrig *rig;
    int first; /* the first failure */
    struct syn_err why;
    unsigned failures;
};

static void
on_gone(void *arg, struct syn_tensor *tensor)
{
    struct thing *thing = syn_tensor_user(tensor);

    (void)arg;
    thing->written = false;
}

/* After a failure: a device that is lost is told of and comes back. */
static void
recover(struct scene *scene, int rc, const struct syn_err *err)
{
    struct mrig *rig = scene->rig;
    struct syn_err why = {0};

    if (scene->failures++ == 0) {
        scene->first = rc;
        scene->why = *err;
    }
    for (size_t i = 0; i < rig->devs_count; i++) {
        struct syn_dev *dev = rig->devs[i];

        if (!atomic_load(&dev->lost))
            continue;
        syn_memory_lost(rig->memory, dev->node, on_gone, NULL);
        assert_done(syn_dev_reset(dev, &why), &why);
    }
}

static uint32_t
value(uint32_t salt, size_t i)
{
    return salt * 2654435761U + (uint32_t)i;
}

static int
put_once(struct scene *scene, unsigned node, struct thing *thing, struct syn_err *err)
{
    uint32_t from[N];
    bool others;
    int rc = mrig_hold(scene->rig, node, thing->tensor, SYN_WRITE, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < thing->count; i++)
        from[i] = value(thing->salt + 1, i);
    others = syn_tensor_replicas(thing->tensor)->valid & ~(UINT64_C(1) << node);
    rc = mrig_write(scene->rig, node, thing->tensor, from, err);
    mrig_release(scene->rig, node, thing->tensor, SYN_WRITE, rc == SYN_OK);
    if (rc == SYN_OK)
        thing->salt++;
    thing->written = rc == SYN_OK || (thing->written && others);
    return rc;
}

static void
put(struct scene *scene, unsigned node, struct thing *thing)
{
    struct syn_err err = {0};
    int rc = put_once(scene, node, thing, &err);

    if (rc == SYN_OK)
        return;
    recover(scene, rc, &err);
    assert_done(put_once(scene, node, thing, &err), &err);
}

static int
get_once(struct scene *scene, unsigned node, struct thing *thing, struct syn_err *err)
{
    uint32_t got[N];
    int rc = mrig_get(scene->rig, node, thing->tensor, got, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < thing->count; i++) {
        if (got[i] != value(thing->salt, i))
            fail_msg("stale: [%zu] is %u", i, got[i]);
    }
    return SYN_OK;
}

static void
get(struct scene *scene, unsigned node, struct thing *thing)
{
    struct syn_err err = {0};
    int rc = SYN_OK;

    if (!thing->written)
        put(scene, node, thing);
    rc = get_once(scene, node, thing, &err);
    if (rc == SYN_OK)
        return;
    recover(scene, rc, &err);
    if (!thing->written)
        put(scene, node, thing);
    assert_done(get_once(scene, node, thing, &err), &err);
}

static void
make(struct scene *scene, struct thing *thing, uint32_t *mine)
{
    const struct syn_shape shape = {.dtype = SYN_DTYPE_UINT32, .dims = 2, .sizes = {N / 16, 16}};
    struct syn_memory *memory = scene->rig->memory;
    struct syn_err err = {0};

    for (int tries = 0; tries < 2 && !thing->tensor; tries++) {
        int rc = mine ? syn_tensor_wrap(memory, &shape, mine, &thing->tensor, &err)
                      : syn_tensor_new(memory, &shape, &thing->tensor, &err);

        if (rc < 0)
            recover(scene, rc, &err);
    }
    if (!thing->tensor) {
        fail_msg("%s", err.msg);
        return; /* for the analyzer */
    }
    thing->count = N;
    thing->written = mine != NULL;
    for (size_t i = 0; mine && i < N; i++)
        mine[i] = value(thing->salt, i);
    syn_tensor_set_user(thing->tensor, thing);
}

/* Columns are written on three nodes and put together; the whole is then what they were. */
static void
divide(struct scene *scene, struct thing *thing)
{
    struct syn_tensor *tensors[PARTS] = {0};
    struct thing parts[PARTS];
    uint32_t got[N];
    struct syn_err err = {0};
    int rc = syn_tensor_divide(thing->tensor, 1, PARTS, tensors, &err);

    if (rc < 0) {
        recover(scene, rc, &err);
        assert_done(syn_tensor_divide(thing->tensor, 1, PARTS, tensors, &err), &err);
    }
    for (unsigned i = 0; i < PARTS; i++) {
        parts[i] = (struct thing){tensors[i], N / PARTS, i * 10, thing->written};
        syn_tensor_set_user(tensors[i], &parts[i]);
        put(scene, i % scene->rig->nodes, &parts[i]);
    }
    for (int tries = 0; (rc = syn_tensor_gather(thing->tensor, &err)) < 0; tries++) {
        assert_true(tries < 2);
        recover(scene, rc, &err);
        for (unsigned i = 0; i < PARTS; i++)
            get(scene, 1, &parts[i]);
    }
    rc = mrig_get(scene->rig, 0, thing->tensor, got, &err);
    if (rc < 0) {
        recover(scene, rc, &err);
        rc = mrig_get(scene->rig, 0, thing->tensor, got, &err);
    }
    /* With its device the whole may be lost, and that is told. */
    for (size_t i = 0; rc == SYN_OK && i < N; i++)
        assert_int_equal(got[i], value(parts[i % 16 / 4].salt, i / 16 * 4 + i % 4));
    if (rc < 0)
        assert_code(rc, SYN_E_UNAVAILABLE, &err);
    thing->written = false; /* none of the pattern */
}

static void
play(struct scene *scene, struct thing *things, uint32_t *mine)
{
    struct syn_memory *memory = scene->rig->memory;

    for (unsigned i = 0; i < TENSORS; i++) {
        make(scene, &things[i], i == TENSORS - 1 ? mine : NULL);
        put(scene, 1 + i % 2, &things[i]);
    }
    for (unsigned i = 0; i < TENSORS; i++) {
        syn_memory_prefetch(memory, 3, things[(i + 2) % TENSORS].tensor);
        get(scene, 3, &things[i]); /* staged */
        get(scene, 2, &things[i]); /* from the other one, or the host */
    }
    divide(scene, &things[1]);
    put(scene, 0, &things[1]);
    for (unsigned i = 0; i < TENSORS; i++)
        get(scene, 1, &things[i]); /* room for two: the others are written back */
    put(scene, 2, &things[TENSORS - 1]);
}

/* A whole life of a manager. Returns the first failure. */
static int
live(void *arg, struct syn_err *err)
{
    static const uint64_t limits[] = {0, 2 * BYTES, 3 * BYTES, 2 * BYTES};
    struct mrig *rig = arg;
    const struct syn_memory_options options = {.devs = rig->devs,
                                               .devs_count = rig->devs_count,
                                               .registry = rig->registry,
                                               .node_bytes = limits,
                                               .node_bytes_count = SYN_LEN(limits)};
    struct scene scene = {.rig = rig};
    struct thing things[TENSORS] = {0};
    uint32_t mine[N];
    int rc = syn_memory_open(&options, &rig->memory, err);

    if (rc < 0) {
        scene.first = rc;
        scene.why = *err;
        assert_done(syn_memory_open(&options, &rig->memory, err), err);
    }
    play(&scene, things, mine);
    for (unsigned i = 0; i < TENSORS; i++) {
        bool written = things[i].written && i == TENSORS - 1;
        struct syn_err why = {0};

        rc = syn_tensor_free(things[i].tensor, &why);
        if (rc < 0) {
            recover(&scene, rc, &why);
        } else if (written) {
            for (size_t k = 0; k < N; k++)
                assert_int_equal(mine[k], value(things[i].salt, k));
        }
    }
    rig->memory = syn_memory_close(rig->memory);
    for (size_t i = 0; i < rig->devs_count; i++) {
        unsigned node = rig->devs[i]->node;

        atomic_store(&rig->devs[i]->lost, false); /* one that was lost unnoticed */
        rig->queues[node] = syn_dev_queue_destroy(rig->queues[node]); /* and what it still frees */
    }
    if (scene.first < 0 && err)
        *err = scene.why;
    return scene.first;
}

static void
sweep(struct mrig *rig, enum syn_dev_fault fault, int want)
{
    struct syn_err err = {0};
    uint64_t calls, failed = 0;

    syn_dev_fault_arm(NULL, fault, UINT64_MAX);
    assert_done(live(rig, &err), &err);
    calls = syn_dev_fault_count();
    assert_true(calls > 5);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        int64_t before = syn_mem_live();
        int rc;

        syn_dev_fault_arm(NULL, fault, nth);
        rc = live(rig, &err);
        syn_dev_fault_arm(NULL, fault, 0);
        if (rc != SYN_OK && rc != want)
            fail_msg("call %llu of %llu failed, and the first failure was %d: %s",
                     (unsigned long long)nth, (unsigned long long)calls, rc, err.msg);
        failed += rc == want ? 1 : 0;
        assert_int_equal(syn_mem_live(), before);
    }
    print_message("# %llu calls, %llu failures seen\n", (unsigned long long)calls,
                  (unsigned long long)failed);
    assert_true(failed > 0);
    assert_done(live(rig, &err), &err);
}

static int
open_rig(void **state)
{
    static struct mrig rig;
    struct syn_err err = {0};

    assert_done(mrig_init(&rig, "modelled", "h100-sxm,h100-sxm,rtx-4090", NULL, 0, &err), &err);
    rig.memory = syn_memory_close(rig.memory); /* each life has its own */
    *state = &rig;
    return 0;
}

static int
close_rig(void **state)
{
    mrig_fini(*state);
    return 0;
}

static void
test_io(void **state)
{
    sweep(*state, SYN_DEV_FAULT_IO, SYN_E_IO);
}

static void
test_lost(void **state)
{
    sweep(*state, SYN_DEV_FAULT_LOST, SYN_E_UNAVAILABLE);
}

static void
test_full(void **state)
{
    sweep(*state, SYN_DEV_FAULT_FULL, SYN_E_NOSPACE);
}

static void
test_short_of_memory(void **state)
{
    assert_true(syn_test_sweep_alloc(live, *state) > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_short_of_memory),
    };

    return cmocka_run_group_tests_name("memory-faults", tests, open_rig, close_rig);
}
