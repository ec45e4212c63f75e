/* The manager against plain arrays: random tensors on nodes that are far too small for them,
 * brought hither and thither, written, divided, gathered, lost. What a task finds is compared with
 * the array, byte for byte. */
#include "memory_suite.h"

#include "../stress_suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ITEMS       120
#define PARTS_MAX   4
#define EXTENT_MAX  7 /* elements along a dimension */
#define SPAN_MAX    5600
#define DEPTH_MAX   3
#define ROUNDS      12000
#define HANDS       4
#define HAND_ROUNDS 1200
#define HAND_TRIES  20

/* A tensor, and what it must contain. */
struct item {
    struct syn_tensor *tensor; /* NULL: none */
    struct syn_shape shape;
    unsigned char *want; /* elements in the order of their indexes */
    unsigned char *mine; /* of a wrapped one, or NULL */
    struct item *parts;  /* NULL: not divided */
    size_t parts_count;
    unsigned dim;
    bool written, lost;
};

struct world {
    struct mrig *rig;
    uint64_t random;
    struct item items[ITEMS];
    bool tight;    /* the host's memory is limited too: NOSPACE is an answer */
    bool may_lose; /* devices get lost */
    bool shared;   /* other threads use the same nodes */
    uint64_t compared, refused, lost;
};

static uint64_t
below(struct world *w, uint64_t limit)
{
    return (syn_test_random(&w->random) >> 20) % limit;
}

static uint64_t
element_bytes(const struct item *item)
{
    return syn_dtype_info(item->shape.dtype)->bits / 8;
}

static uint64_t
item_bytes(const struct item *item)
{
    return syn_shape_count(&item->shape) * element_bytes(item);
}

static void
random_bytes(struct world *w, unsigned char *to, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        to[i] = (unsigned char)below(w, 256);
}

/* A leaf below `item`: what can be used. */
static struct item *
leaf_of(struct world *w, struct item *item)
{
    while (item->parts)
        item = &item->parts[below(w, item->parts_count)];
    return item;
}

static struct item *
any_item(struct world *w)
{
    struct item *item = &w->items[below(w, ITEMS)];

    return item->tensor ? item : NULL;
}

static unsigned
any_node(struct world *w)
{
    return (unsigned)below(w, w->rig->nodes);
}

/* ---- making and ending ---- */

static void
random_shape(struct world *w, struct syn_shape *shape)
{
    static const enum syn_dtype dtypes[] = {SYN_DTYPE_UINT8, SYN_DTYPE_FP16, SYN_DTYPE_UINT32,
                                            SYN_DTYPE_C128};
    uint64_t stride = 1;

    *shape = (struct syn_shape){.dtype = dtypes[below(w, SYN_LEN(dtypes))],
                                .layout = (enum syn_layout)below(w, 3),
                                .dims = 1 + (unsigned)below(w, 3)};
    if (below(w, 12) == 0)
        shape->dims = 0;
    for (unsigned d = 0; d < shape->dims; d++)
        shape->sizes[d] = 1 + below(w, EXTENT_MAX);
    if (shape->layout != SYN_LAYOUT_STRIDED)
        return;
    for (unsigned i = 0; i < shape->dims; i++) {
        unsigned d = below(w, 2) == 0 ? i : shape->dims - 1 - i;

        if (shape->strides[d] != 0) /* the other end has been given: take any that is left */
            for (d = 0; shape->strides[d] != 0; d++)
                ;
        shape->strides[d] = stride + below(w, 3);
        stride = shape->strides[d] * shape->sizes[d];
    }
}

static void
make(struct world *w, struct item *item)
{
    struct syn_err err = {0};
    int rc;

    do {
        random_shape(w, &item->shape);
        assert_done(syn_shape_complete(&item->shape, &err), &err);
    } while (syn_shape_span(&item->shape) > SPAN_MAX); /* three fit on every node */
    item->want = malloc(item_bytes(item) + 1);
    if (below(w, 3) == 0) {
        uint64_t span = syn_shape_span(&item->shape);

        item->mine = malloc(span);
        memset(item->mine, 0x11, span);
        memset(item->want, 0x11, item_bytes(item));
        item->written = true;
        rc = syn_tensor_wrap(w->rig->memory, &item->shape, item->mine, &item->tensor, &err);
    } else {
        rc = syn_tensor_new(w->rig->memory, &item->shape, &item->tensor, &err);
    }
    assert_done(rc, &err);
    syn_tensor_set_user(item->tensor, item);
}

static void
forget_parts(struct item *item)
{
    for (size_t i = 0; i < item->parts_count; i++) {
        if (item->parts[i].parts)
            forget_parts(&item->parts[i]);
        free(item->parts[i].want);
    }
    free(item->parts);
    item->parts = NULL;
    item->parts_count = 0;
}

/* Where an element of a part is among the whole's, in the order of indexes. */
static uint64_t
place_in_whole(const struct item *whole, const struct item *part, uint64_t start, uint64_t index)
{
    uint64_t at[SYN_DIMS_MAX] = {0}, place = 0;

    for (unsigned d = whole->shape.dims; d-- > 0;) {
        at[d] = index % part->shape.sizes[d] + (d == whole->dim ? start : 0);
        index /= part->shape.sizes[d];
    }
    for (unsigned d = 0; d < whole->shape.dims; d++)
        place = place * whole->shape.sizes[d] + at[d];
    return place;
}

/* Move the content between a whole and its parts. */
static void
transfer(struct item *whole, bool down)
{
    uint64_t bytes = element_bytes(whole), start = 0;

    for (size_t i = 0; i < whole->parts_count; i++) {
        struct item *part = &whole->parts[i];

        for (uint64_t k = 0; k < syn_shape_count(&part->shape); k++) {
            unsigned char *in_whole = whole->want + place_in_whole(whole, part, start, k) * bytes;

            memcpy(down ? part->want + k * bytes : in_whole,
                   down ? in_whole : part->want + k * bytes, bytes);
        }
        start += part->shape.sizes[whole->dim];
    }
}

static void
divide(struct world *w, struct item *item, unsigned depth)
{
    struct syn_tensor *parts[PARTS_MAX];
    struct syn_err err = {0};

    if (item->shape.dims == 0 || depth > DEPTH_MAX)
        return;
    item->dim = (unsigned)below(w, item->shape.dims);
    item->parts_count = 1 + below(w, SYN_MIN(item->shape.sizes[item->dim], (uint64_t)PARTS_MAX));
    item->parts_count = SYN_MIN(item->parts_count, item->shape.sizes[item->dim]);
    assert_done(syn_tensor_divide(item->tensor, item->dim, item->parts_count, parts, &err), &err);
    assert_code(syn_tensor_divide(item->tensor, item->dim, 1, parts + 1, &err), SYN_E_CONFLICT,
                &err);
    assert_code(mrig_hold(w->rig, 0, item->tensor, SYN_WRITE, &err), SYN_E_INVALID, &err);
    item->parts = calloc(item->parts_count, sizeof(*item->parts));
    for (size_t i = 0; i < item->parts_count; i++) {
        item->parts[i] = (struct item){.tensor = parts[i],
                                       .shape = *syn_tensor_shape(parts[i]),
                                       .written = item->written,
                                       .lost = item->lost};
        item->parts[i].want = malloc(item_bytes(&item->parts[i]) + 1);
        syn_tensor_set_user(parts[i], &item->parts[i]);
    }
    transfer(item, true);
}

static bool
refused(struct world *w, int rc)
{
    w->refused += rc == SYN_E_NOSPACE ? 1 : 0;
    return w->tight && rc == SYN_E_NOSPACE;
}

static bool
put_anew(struct world *w, struct item *item)
{
    unsigned char *old = item->want;
    struct syn_err err = {0};
    int rc;

    item->want = malloc(item_bytes(item) + 1);
    random_bytes(w, item->want, item_bytes(item));
    rc = mrig_put(w->rig, any_node(w), item->tensor, item->want, &err);
    if (refused(w, rc)) {
        free(item->want);
        item->want = old;
        return false;
    }
    assert_done(rc, &err);
    free(old);
    item->written = true;
    return true;
}

/* Make it whole again. What was never written, beside what was, is written first: else nobody knows
 * what the whole has there. */
static void
gather(struct world *w, struct item *item)
{
    struct syn_err err = {0};
    bool any = false, lost = false;
    int rc;

    for (size_t i = 0; i < item->parts_count; i++) {
        if (item->parts[i].parts)
            gather(w, &item->parts[i]);
        if (item->parts[i].parts)
            return; /* refused */
        any |= item->parts[i].written;
        lost |= item->parts[i].lost;
    }
    for (size_t i = 0; i < item->parts_count && any; i++) {
        struct item *part = &item->parts[i];

        if (!part->written && !part->lost && !put_anew(w, part))
            return;
    }
    rc = syn_tensor_gather(item->tensor, &err);
    if (refused(w, rc))
        return;
    if (lost) {
        assert_code(rc, SYN_E_UNAVAILABLE, &err);
        return;
    }
    assert_done(rc, &err);
    transfer(item, false);
    forget_parts(item);
    item->written = any;
    item->lost = false;
}

static bool
any_lost(const struct item *item)
{
    bool lost = item->lost;

    for (size_t i = 0; i < item->parts_count; i++)
        lost |= any_lost(&item->parts[i]);
    return lost;
}

/* What is home must be what the tensor had. Gaps are the caller's and untouched. */
static void
check_mine(struct world *w, const struct item *item)
{
    uint64_t bytes = element_bytes(item), span = syn_shape_span(&item->shape);
    unsigned char *expected = malloc(span);

    memset(expected, 0x11, span);
    for (uint64_t i = 0; i < syn_shape_count(&item->shape); i++) {
        uint64_t rest = i, offset = 0;

        for (unsigned d = item->shape.dims; d-- > 0;) {
            offset += rest % item->shape.sizes[d] * item->shape.strides[d];
            rest /= item->shape.sizes[d];
        }
        memcpy(expected + offset * bytes, item->want + i * bytes, bytes);
    }
    assert_memory_equal(item->mine, expected, span);
    w->compared++;
    free(expected);
}

static void
end(struct world *w, struct item *item)
{
    struct syn_err err = {0};
    bool lost = any_lost(item), whole;
    int rc;

    if (item->parts && below(w, 3) > 0)
        gather(w, item);
    whole = !item->parts;
    rc = syn_tensor_free(item->tensor, &err);
    if (lost && item->mine && rc < 0)
        assert_code(rc, SYN_E_UNAVAILABLE, &err);
    else
        assert_done(rc, &err);
    if (item->mine && whole && item->written)
        check_mine(w, item);
    forget_parts(item);
    free(item->want);
    free(item->mine);
    *item = (struct item){0};
}

/* ---- tasks ---- */

/* How it lies there is one of the ways that were foretold. */
static void
check_way(unsigned node, const struct item *item)
{
    const struct syn_shape *ways[SYN_TENSOR_WAYS_MAX];
    unsigned count = syn_tensor_ways(item->tensor, ways);
    struct syn_tensor_place place;
    bool known = false;

    syn_tensor_at(item->tensor, node, &place);
    for (unsigned i = 0; i < count; i++)
        known |= syn_shape_same_places(ways[i], place.shape);
    assert_true(known);
    assert_true(count == 1 || syn_tensor_shape(item->tensor)->layout == SYN_LAYOUT_STRIDED);
}

static void
compare(struct world *w, unsigned node, const struct item *item)
{
    unsigned char *got = malloc(item_bytes(item) + 1);
    struct syn_err err = {0};

    check_way(node, item);
    assert_done(mrig_read(w->rig, node, item->tensor, got, &err), &err);
    if (memcmp(got, item->want, item_bytes(item)) != 0)
        fail_msg("tensor %llu is stale on node %u (valid: %llx)",
                 (unsigned long long)syn_tensor_number(item->tensor), node,
                 (unsigned long long)syn_tensor_replicas(item->tensor)->valid);
    w->compared++;
    free(got);
}

/* A task on up to three tensors, some read, some written; one in eight fails. */
static void
run_task(struct world *w)
{
    struct syn_memory_use uses[4];
    struct item *items[4];
    unsigned node = any_node(w);
    size_t count = 0, want = 1 + below(w, 3);
    bool ok = below(w, 8) > 0, readable = true, lost = false;
    struct syn_err err = {0};
    int rc;

    for (size_t i = 0; i < want; i++) {
        struct item *item = any_item(w);
        bool again = false;

        if (!item)
            continue;
        item = leaf_of(w, item);
        for (size_t k = 0; k < count; k++)
            again |= items[k] == item;
        if (again)
            continue;
        items[count] = item;
        uses[count].tensor = item->tensor;
        uses[count].access = below(w, 2) > 0 ? SYN_READ : (enum syn_access)(2 + below(w, 2));
        if (uses[count].access & SYN_READ) {
            readable &= item->written;
            lost |= item->lost;
        }
        count++;
    }
    rc = mrig_acquire(w->rig, node, uses, count, &err);
    if (refused(w, rc))
        return;
    if (!readable) {
        if (rc != SYN_E_INVALID && !(lost && rc == SYN_E_UNAVAILABLE))
            fail_msg("reading what is not there: %d %s", rc, err.msg);
        return;
    }
    assert_done(rc, &err);
    for (size_t i = 0; i < count; i++) {
        if (uses[i].access & SYN_READ)
            compare(w, node, items[i]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t others = syn_tensor_replicas(items[i]->tensor)->valid & ~(UINT64_C(1) << node);

        if (!(uses[i].access & SYN_WRITE))
            continue;
        if (ok)
            random_bytes(w, items[i]->want, item_bytes(items[i]));
        /* One that fails leaves rubbish behind. */
        assert_done(mrig_write(w->rig, node, items[i]->tensor,
                               ok ? items[i]->want : (const unsigned char[8192]){0}, &err),
                    &err);
        items[i]->written = ok || others != 0;
        items[i]->lost = !ok && others == 0 && items[i]->lost;
    }
    syn_memory_release(w->rig->memory, node, uses, count, ok);
    /* Where others use the nodes, it may have had to make room already. */
    for (size_t i = 0; i < count && !w->shared; i++) {
        if (uses[i].access & SYN_WRITE && ok)
            assert_int_equal(syn_tensor_replicas(items[i]->tensor)->valid, UINT64_C(1) << node);
    }
}

static void
on_gone(void *arg, struct syn_tensor *tensor)
{
    struct world *w = arg;
    struct item *item = syn_tensor_user(tensor);

    assert_true(item->written);
    assert_int_equal(syn_tensor_replicas(tensor)->valid, 0);
    item->written = false;
    item->lost = true;
    w->lost++;
}

static void
one_round(struct world *w)
{
    struct item *item = &w->items[below(w, ITEMS)];
    unsigned depth = 0;

    if (!item->tensor) {
        make(w, item);
        return;
    }
    switch (below(w, 24)) {
    case 0:
        end(w, item);
        break;
    case 1:
    case 2: {
        struct item *leaf = item;

        for (; leaf->parts; depth++)
            leaf = &leaf->parts[below(w, leaf->parts_count)];
        divide(w, leaf, depth);
        break;
    }
    case 3:
        if (item->parts)
            gather(w, item);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        syn_memory_prefetch(w->rig->memory, any_node(w), leaf_of(w, item)->tensor);
        break;
    case 8:
        if (w->may_lose && below(w, 15) == 0) /* some thirty times a world */
            syn_memory_lost(w->rig->memory, 1 + (unsigned)below(w, w->rig->nodes - 1), on_gone, w);
        break;
    default:
        run_task(w);
        break;
    }
}

static void
world_end(struct world *w)
{
    for (size_t i = 0; i < ITEMS; i++) {
        if (w->items[i].tensor)
            end(w, &w->items[i]);
    }
}

/* What main() was asked for. */
static const char *driver_name, *driver_library;

static int
open_rig(struct mrig *rig, const uint64_t *limits, size_t count, struct syn_err *err)
{
    if (driver_library)
        return mrig_init_driver(rig, driver_name, driver_library, limits, count, err);
    if (driver_name)
        return mrig_init(rig, driver_name, NULL, limits, count, err);
    return mrig_init(rig, "cpu,modelled", "h100-sxm,h100-sxm,rtx-4090", limits, count, err);
}

/* Who frees a tensor does not wait for its last transfer; this does, ten seconds at most. */
static void
stats_at_rest(struct syn_memory *memory, struct syn_memory_stats *ret_stats)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    syn_memory_stats(memory, ret_stats);
    for (unsigned i = 0; ret_stats->tensors > 0 && i < 10000; i++) {
        (void)nanosleep(&pause, NULL);
        syn_memory_stats(memory, ret_stats);
    }
}

static void
run_world(const uint64_t *limits, size_t count, bool tight, bool may_lose, uint64_t rounds,
          uint64_t seed)
{
    SYN_SCOPED(mrig_fini) struct mrig rig = {0};
    struct world w = {.rig = &rig, .random = seed, .tight = tight, .may_lose = may_lose};
    struct syn_memory_stats stats;
    struct syn_err err = {0};

    assert_done(open_rig(&rig, limits, count, &err), &err);
    if (rig.nodes == 1) {
        print_message("# no %s here\n", driver_name);
        skip();
    }
    for (uint64_t i = 0; i < rounds; i++)
        one_round(&w);
    world_end(&w);
    stats_at_rest(rig.memory, &stats);
    print_message("# %llu compared, %llu copies, %llu prefetches, %llu evictions, %llu waits, "
                  "%llu refused, %llu lost\n",
                  (unsigned long long)w.compared, (unsigned long long)stats.copies,
                  (unsigned long long)stats.prefetches, (unsigned long long)stats.evictions,
                  (unsigned long long)stats.waits, (unsigned long long)w.refused,
                  (unsigned long long)w.lost);
    if (rounds == ROUNDS) { /* else there may be too few of them */
        assert_true(w.compared > rounds / 8);
        assert_true(stats.copies > 0 && stats.prefetches > 0 && stats.waits > 0);
        assert_true(limits[1] == 0 || stats.evictions > 0);
        assert_true(!may_lose || w.lost > 0);
        assert_true(!tight || w.refused > 0);
    }
    assert_int_equal(stats.tensors, 0);
    for (unsigned n = 0; n < rig.nodes; n++) {
        assert_int_equal(stats.node_bytes[n], 0);
        assert_true(n >= count || limits[n] == 0 || stats.node_peak_bytes[n] <= limits[n]);
    }
}

static void
test_roomy(void **state)
{
    static const uint64_t limits[] = {0, 0, 0, 0};

    (void)state;
    run_world(limits, SYN_LEN(limits), false, true, ROUNDS, mrig_seed());
}

static void
test_small_devices(void **state)
{
    static const uint64_t limits[] = {0, 17000, 17000, 17000};

    (void)state;
    run_world(limits, SYN_LEN(limits), false, true, ROUNDS, mrig_seed());
}

static void
test_small_everything(void **state)
{
    static const uint64_t limits[] = {7000, 17000, 17000, 17000};

    (void)state;
    run_world(limits, SYN_LEN(limits), true, true, ROUNDS, mrig_seed());
}

/* Several threads, each with tensors of its own, on the same small nodes. */

struct hand {
    struct world world;
    pthread_t thread;
};

static void *
hand_run(void *arg)
{
    struct hand *hand = arg;

    for (uint64_t i = 0; i < HAND_ROUNDS; i++)
        one_round(&hand->world);
    world_end(&hand->world);
    return NULL;
}

/* The same manager, queues and events of its own. */
static void
share_rig(struct mrig *mine, const struct mrig *rig)
{
    struct syn_err err = {0};

    *mine = (struct mrig){.nodes = rig->nodes, .memory = rig->memory};
    for (size_t d = 0; d < rig->devs_count; d++) {
        struct syn_dev *dev = rig->devs[d];

        if (dev->node != SYN_NODE_HOST)
            assert_done(syn_dev_event_create(dev, &mine->events[dev->node], &err), &err);
    }
}

/* Were they in each other's way? */
static bool
run_hands(const uint64_t *limits, size_t count, bool tight, uint64_t seed)
{
    SYN_SCOPED(mrig_fini) struct mrig rig = {0};
    static struct mrig rigs[HANDS];
    static struct hand hands[HANDS];
    struct syn_memory_stats stats;
    struct syn_err err = {0};

    assert_done(open_rig(&rig, limits, count, &err), &err);
    if (rig.nodes == 1)
        skip();
    for (size_t i = 0; i < HANDS; i++) {
        share_rig(&rigs[i], &rig);
        hands[i].world = (struct world){
            .rig = &rigs[i], .random = seed + i * 7919, .tight = tight, .shared = true};
        assert_int_equal(pthread_create(&hands[i].thread, NULL, hand_run, &hands[i]), 0);
    }
    for (size_t i = 0; i < HANDS; i++) {
        assert_int_equal(pthread_join(hands[i].thread, NULL), 0);
        assert_true(hands[i].world.compared > 0);
        rigs[i].memory = NULL;
        mrig_fini(&rigs[i]);
    }
    stats_at_rest(rig.memory, &stats);
    assert_int_equal(stats.tensors, 0);
    for (unsigned n = 0; n < rig.nodes; n++)
        assert_true(limits[n] == 0 || stats.node_peak_bytes[n] <= limits[n]);
    return stats.evictions > 0 && stats.waits > 0;
}

/* On a busy machine threads may run one after the other, and find all that was begun done. */
static void
run_hands_until_they_meet(const uint64_t *limits, size_t count, bool tight)
{
    bool met = false;

    for (uint64_t i = 0; i < HAND_TRIES && !met; i++)
        met = run_hands(limits, count, tight, mrig_seed() + i);
    assert_true(met);
}

static void
test_threads(void **state)
{
    static const uint64_t limits[] = {0, 40000, 30000, 20000};

    (void)state;
    run_hands_until_they_meet(limits, SYN_LEN(limits), false);
}

static void
test_threads_and_small_host(void **state)
{
    static const uint64_t limits[] = {30000, 40000, 30000, 20000};

    (void)state;
    run_hands_until_they_meet(limits, SYN_LEN(limits), true);
}

/* ---- the same with threads held up, see stress_suite.h ---- */

static void
stress_one(uint64_t seed)
{
    const uint64_t limits[] = {seed % 3 == 0 ? 7000 : 0, 17000, 17000, seed % 2 == 0 ? 17000 : 0};

    run_world(limits, SYN_LEN(limits), limits[0] != 0, true, ROUNDS / 16, seed);
}

static void
stress_several(uint64_t seed)
{
    const uint64_t limits[] = {seed % 3 == 0 ? 30000 : 0, 40000, 30000, 20000};

    (void)run_hands(limits, SYN_LEN(limits), limits[0] != 0, seed);
}

static const struct syn_stress_case stress[] = {
    {"one", stress_one},
    {"several", stress_several},
};

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roomy),
        cmocka_unit_test(test_small_devices),
        cmocka_unit_test(test_small_everything),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_and_small_host),
    };

    if (syn_stress_wanted(argc, argv))
        return syn_stress_run("memory", stress, SYN_LEN(stress));
    driver_name = argc > 1 ? argv[1] : NULL;
    driver_library = argc > 2 ? argv[2] : NULL;
    return cmocka_run_group_tests_name("memory-random", tests, NULL, NULL);
}
