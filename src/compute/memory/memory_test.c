/* The coherence protocol, one step at a time, on modelled devices. */
#include "memory_suite.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N     1024
#define BYTES (N * sizeof(uint32_t))

static const struct syn_shape line = {.dtype = SYN_DTYPE_UINT32, .dims = 1, .sizes = {N}};

#define RIG(...)                                                                      \
    static const uint64_t limits[] = {__VA_ARGS__};                                   \
    SYN_SCOPED(mrig_fini) struct mrig rig = {0};                                      \
    struct syn_err err = {0};                                                         \
                                                                                      \
    (void)state;                                                                      \
    assert_done(mrig_init(&rig, "cpu,modelled", "h100-sxm,h100-sxm,rtx-4090", limits, \
                          SYN_LEN(limits), &err),                                     \
                &err)

static void
pattern(uint32_t *to, uint32_t salt)
{
    for (uint32_t i = 0; i < N; i++)
        to[i] = i * UINT32_C(2654435761) + salt;
}

static void
expect(struct mrig *rig, unsigned node, struct syn_tensor *tensor, uint32_t salt)
{
    uint32_t want[N], got[N] = {0};
    struct syn_err err = {0};

    pattern(want, salt);
    assert_done(mrig_get(rig, node, tensor, got, &err), &err);
    assert_memory_equal(got, want, sizeof(want));
}

static void
put(struct mrig *rig, unsigned node, struct syn_tensor *tensor, uint32_t salt)
{
    uint32_t from[N];
    struct syn_err err = {0};

    pattern(from, salt);
    assert_done(mrig_put(rig, node, tensor, from, &err), &err);
}

static uint64_t
valid(const struct syn_tensor *tensor)
{
    return syn_tensor_replicas(tensor)->valid;
}

static struct syn_tensor *
make(struct mrig *rig)
{
    struct syn_tensor *tensor = NULL;
    struct syn_err err = {0};

    assert_done(syn_tensor_new(rig->memory, &line, &tensor, &err), &err);
    return tensor;
}

static struct syn_memory_stats
stats(struct mrig *rig)
{
    struct syn_memory_stats now;

    syn_memory_stats(rig->memory, &now);
    return now;
}

static void
test_protocol(void **state)
{
    struct syn_tensor *tensor = NULL;
    struct syn_tensor_place place = {0};
    RIG(0);

    tensor = make(&rig);
    assert_int_equal(syn_tensor_replicas(tensor)->bytes, BYTES);
    assert_int_equal(valid(tensor), 0);
    assert_code(mrig_hold(&rig, 0, tensor, SYN_READ, &err), SYN_E_INVALID, &err);
    assert_code(mrig_hold(&rig, 1, tensor, SYN_UPDATE, &err), SYN_E_INVALID, &err);
    put(&rig, 0, tensor, 1); /* modified on the host */
    assert_int_equal(valid(tensor), 1);
    expect(&rig, 1, tensor, 1); /* shared */
    expect(&rig, 2, tensor, 1);
    assert_int_equal(valid(tensor), 7);
    put(&rig, 2, tensor, 2); /* modified there, invalid elsewhere */
    assert_int_equal(valid(tensor), 4);
    assert_done(mrig_hold(&rig, 2, tensor, SYN_UPDATE, &err), &err); /* silently */
    syn_tensor_at(tensor, 2, &place);
    assert_non_null(place.buf);
    assert_null(place.host);
    assert_ptr_equal(place.shape, syn_tensor_shape(tensor));
    mrig_release(&rig, 2, tensor, SYN_UPDATE, true);
    assert_int_equal(valid(tensor), 4);
    expect(&rig, 0, tensor, 2);
    expect(&rig, 3, tensor, 2);
    assert_int_equal(stats(&rig).evictions, 0);
    assert_int_equal(stats(&rig).tensors, 1);
    assert_done(syn_tensor_free(tensor, &err), &err);
    assert_int_equal(stats(&rig).tensors, 0);
    for (unsigned n = 0; n < rig.nodes; n++)
        assert_int_equal(stats(&rig).node_bytes[n], 0);
}

static void
test_failed_writers(void **state)
{
    struct syn_tensor *tensor = NULL;
    RIG(0);

    tensor = make(&rig);
    put(&rig, 1, tensor, 1);
    expect(&rig, 2, tensor, 1);
    /* What others have stays good until the writer is done, and after he failed. */
    assert_done(mrig_hold(&rig, 1, tensor, SYN_UPDATE, &err), &err);
    syn_memory_prefetch(rig.memory, 3, tensor); /* not while somebody writes */
    assert_int_equal(valid(tensor), 6);
    mrig_release(&rig, 1, tensor, SYN_UPDATE, false);
    assert_int_equal(valid(tensor), 4);
    assert_done(mrig_hold(&rig, 3, tensor, SYN_WRITE, &err), &err);
    mrig_release(&rig, 3, tensor, SYN_WRITE, false);
    expect(&rig, 3, tensor, 1);
    /* The only one: nothing is left. */
    put(&rig, 2, tensor, 2);
    assert_done(mrig_hold(&rig, 2, tensor, SYN_UPDATE, &err), &err);
    mrig_release(&rig, 2, tensor, SYN_UPDATE, false);
    assert_int_equal(valid(tensor), 0);
    assert_code(mrig_hold(&rig, 2, tensor, SYN_READ, &err), SYN_E_INVALID, &err);
    put(&rig, 2, tensor, 3);
    expect(&rig, 0, tensor, 3);
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* One tensor several times in one list, in any order. */
static void
test_several_uses(void **state)
{
    static const enum syn_access orders[][3] = {
        {SYN_READ, SYN_WRITE, SYN_READ},      {SYN_WRITE, SYN_READ, SYN_READ},
        {SYN_UPDATE, SYN_UPDATE, SYN_READ},   {SYN_READ, SYN_READ, SYN_READ},
        {SYN_COMMUTE, SYN_WRITE, SYN_REDUCE},
    };
    RIG(0);

    for (size_t i = 0; i < SYN_LEN(orders) * 4; i++) {
        struct syn_tensor *tensor = make(&rig);
        struct syn_memory_use uses[3];
        unsigned node = i & 1 ? 2 : 1; /* where it is, or not */

        put(&rig, 1, tensor, (uint32_t)i);
        if (i & 2)
            expect(&rig, 0, tensor, (uint32_t)i);
        for (size_t k = 0; k < 3; k++)
            uses[k] = (struct syn_memory_use){tensor, orders[i / 4][k]};
        assert_done(mrig_acquire(&rig, node, uses, 3, &err), &err);
        syn_memory_release(rig.memory, node, uses, 3, true);
        if (orders[i / 4][2] != SYN_READ || orders[i / 4][0] != SYN_READ ||
            orders[i / 4][1] != SYN_READ)
            assert_int_equal(valid(tensor), 1 << node);
        expect(&rig, node, tensor, (uint32_t)i);
        expect(&rig, 0, tensor, (uint32_t)i);
        assert_done(mrig_acquire(&rig, node, uses, 3, &err), &err);
        syn_memory_release(rig.memory, node, uses, 3, false);
        assert_true(valid(tensor) != 0);
        expect(&rig, 3, tensor, (uint32_t)i);
        assert_done(syn_tensor_free(tensor, &err), &err);
    }
}

static void
test_wrapped(void **state)
{
    uint32_t mine[N], want[N];
    struct syn_tensor *tensor = NULL;
    struct syn_tensor_place place = {0};
    RIG(0);

    pattern(mine, 7);
    assert_code(syn_tensor_wrap(rig.memory, &line, NULL, &tensor, &err), SYN_E_INVALID, &err);
    assert_done(syn_tensor_wrap(rig.memory, &line, mine, &tensor, &err), &err);
    assert_int_equal(valid(tensor), 1);
    assert_int_equal(stats(&rig).node_bytes[0], 0); /* the caller's */
    assert_done(mrig_hold(&rig, 0, tensor, SYN_READ, &err), &err);
    syn_tensor_at(tensor, 0, &place);
    assert_ptr_equal(place.host, mine);
    mrig_release(&rig, 0, tensor, SYN_READ, true);
    expect(&rig, 2, tensor, 7);
    put(&rig, 2, tensor, 8);
    assert_int_equal(valid(tensor), 4);
    assert_done(syn_tensor_free(tensor, &err), &err);
    pattern(want, 8);
    assert_memory_equal(mine, want, sizeof(want));
}

static void
test_eviction(void **state)
{
    enum { TENSORS = 24 };
    struct syn_tensor *tensors[TENSORS];
    RIG(0, 4 * BYTES, 2 * BYTES);

    for (uint32_t i = 0; i < TENSORS; i++) {
        tensors[i] = make(&rig);
        put(&rig, 1, tensors[i], i);
        assert_true(stats(&rig).node_bytes[1] <= 4 * BYTES);
    }
    assert_int_equal(stats(&rig).evictions, TENSORS - 4);
    assert_int_equal(stats(&rig).written_back_bytes, (TENSORS - 4) * BYTES);
    for (uint32_t i = 0; i < TENSORS; i++)
        expect(&rig, 2, tensors[i], i);
    assert_true(stats(&rig).node_peak_bytes[1] <= 4 * BYTES);
    assert_true(stats(&rig).node_peak_bytes[2] <= 2 * BYTES);
    /* All of it was on the host when it left node 2: nothing more was written back. */
    assert_int_equal(stats(&rig).written_back_bytes, (TENSORS - 4) * BYTES);
    for (uint32_t i = 0; i < TENSORS; i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
}

static void
test_no_space(void **state)
{
    struct syn_tensor *tensors[4] = {0};
    struct syn_memory_use uses[4];
    struct syn_shape big = {.dtype = SYN_DTYPE_UINT32, .dims = 1, .sizes = {UINT64_C(3) * N}};
    struct syn_tensor *large = NULL;
    RIG(3 * BYTES, 2 * BYTES);

    for (size_t i = 0; i < 4; i++) {
        tensors[i] = make(&rig);
        uses[i] = (struct syn_memory_use){tensors[i], SYN_WRITE};
    }
    /* Larger than the node; more than the node at once. */
    assert_done(syn_tensor_new(rig.memory, &big, &large, &err), &err);
    assert_code(mrig_hold(&rig, 1, large, SYN_WRITE, &err), SYN_E_NOSPACE, &err);
    assert_code(mrig_acquire(&rig, 1, uses, 3, &err), SYN_E_NOSPACE, &err);
    assert_int_equal(stats(&rig).node_bytes[1], 0);
    assert_done(syn_tensor_free(large, &err), &err);
    /* The host is full of what is nowhere else. */
    for (uint32_t i = 0; i < 3; i++)
        put(&rig, 0, tensors[i], i);
    assert_code(mrig_hold(&rig, 0, tensors[3], SYN_WRITE, &err), SYN_E_NOSPACE, &err);
    put(&rig, 1, tensors[3], 3);
    assert_code(mrig_hold(&rig, 0, tensors[3], SYN_READ, &err), SYN_E_NOSPACE, &err);
    /* With one of them elsewhere too it fits. */
    expect(&rig, 2, tensors[0], 0);
    expect(&rig, 0, tensors[3], 3);
    for (uint32_t i = 0; i < 4; i++)
        expect(&rig, 2, tensors[i], i);
    for (size_t i = 0; i < 4; i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
}

/* ---- who waits ---- */

struct waiter {
    struct syn_memory_request request;
    _Atomic int calls, code;
};

static void
waiter_ready(struct syn_memory_request *request, int code, const struct syn_err *why)
{
    struct waiter *waiter = request->user;

    assert((code < 0) == (why != NULL));

    atomic_store(&waiter->code, code);
    atomic_fetch_add(&waiter->calls, 1);
}

static void
waiter_init(struct waiter *waiter)
{
    *waiter = (struct waiter){.request = {.ready = waiter_ready}};
    waiter->request.user = waiter;
}

static int
waiter_wait(struct waiter *waiter)
{
    while (atomic_load(&waiter->calls) == 0)
        (void)usleep(100);
    assert_int_equal(atomic_load(&waiter->calls), 1);
    return atomic_load(&waiter->code);
}

/* Room that others hold is waited for, in order. */
static void
test_waiting_for_room(void **state)
{
    enum { WAITERS = 4 };
    struct syn_tensor *tensors[WAITERS + 1];
    struct syn_memory_use uses[WAITERS + 1];
    struct waiter waiters[WAITERS];
    RIG(0, BYTES);

    for (uint32_t i = 0; i <= WAITERS; i++) {
        tensors[i] = make(&rig);
        put(&rig, 0, tensors[i], i);
        uses[i] = (struct syn_memory_use){tensors[i], SYN_READ};
    }
    assert_done(mrig_acquire(&rig, 1, uses + WAITERS, 1, &err), &err);
    for (unsigned i = 0; i < WAITERS; i++) {
        struct syn_memory_use use = uses[i];

        waiter_init(&waiters[i]);
        assert_int_equal(syn_memory_acquire(rig.memory, 1, &use, 1, &waiters[i].request, &err),
                         SYN_MEMORY_PENDING);
        memset(&use, 0, sizeof(use)); /* it was copied */
    }
    (void)usleep(20000);
    for (unsigned i = 0; i < WAITERS; i++)
        assert_int_equal(atomic_load(&waiters[i].calls), 0);
    syn_memory_prefetch(rig.memory, 1, tensors[0]); /* a hint that finds no room */
    syn_memory_release(rig.memory, 1, uses + WAITERS, 1, true);
    for (unsigned i = 0; i < WAITERS; i++) {
        assert_int_equal(waiter_wait(&waiters[i]), 0);
        for (unsigned k = i + 1; k < WAITERS; k++)
            assert_int_equal(atomic_load(&waiters[k].calls), 0);
        assert_int_equal(stats(&rig).node_bytes[1], BYTES);
        syn_memory_release(rig.memory, 1, uses + i, 1, true);
    }
    for (uint32_t i = 0; i <= WAITERS; i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
}

/* Two that each hold what the other needs would wait for ever. */
static void
test_no_deadlock(void **state)
{
    enum { ROUNDS = 200 };
    struct syn_tensor *tensors[4];
    struct syn_memory_use uses[2][2];
    struct waiter waiters[2];
    RIG(0, 2 * BYTES);

    for (uint32_t i = 0; i < 4; i++) {
        tensors[i] = make(&rig);
        put(&rig, 0, tensors[i], i);
        uses[i / 2][i % 2] = (struct syn_memory_use){tensors[i], SYN_READ};
    }
    for (int round = 0; round < ROUNDS; round++) {
        int rc[2];

        for (unsigned i = 0; i < 2; i++) {
            waiter_init(&waiters[i]);
            rc[i] = syn_memory_acquire(rig.memory, 1, uses[i], 2, &waiters[i].request, &err);
            assert_true(rc[i] >= 0);
        }
        for (unsigned i = 0; i < 2; i++) {
            if (rc[i] == SYN_MEMORY_PENDING)
                assert_int_equal(waiter_wait(&waiters[i]), 0);
            syn_memory_release(rig.memory, 1, uses[i], 2, true);
        }
    }
    for (uint32_t i = 0; i < 4; i++)
        assert_done(syn_tensor_free(tensors[i], &err), &err);
}

/* Many who want a tensor at once share one copy; a prefetch is joined. */
static void
test_joining(void **state)
{
    enum { WAITERS = 16 };
    const struct syn_shape large = {.dtype = SYN_DTYPE_UINT8, .dims = 1, .sizes = {8 << 20}};
    struct syn_tensor *tensor = NULL;
    struct syn_memory_use use = {NULL, SYN_WRITE};
    struct waiter waiters[WAITERS];
    int rc[WAITERS];
    RIG(0);

    assert_done(syn_tensor_new(rig.memory, &large, &tensor, &err), &err);
    use.tensor = tensor;
    assert_done(mrig_acquire(&rig, 0, &use, 1, &err), &err);
    syn_memory_release(rig.memory, 0, &use, 1, true);
    use.access = SYN_READ;
    syn_memory_prefetch(rig.memory, 2, tensor);
    for (int i = 0; i < WAITERS; i++) {
        waiter_init(&waiters[i]);
        rc[i] = syn_memory_acquire(rig.memory, 2, &use, 1, &waiters[i].request, &err);
        assert_true(rc[i] >= 0);
    }
    for (int i = 0; i < WAITERS; i++) {
        if (rc[i] == SYN_MEMORY_PENDING)
            assert_int_equal(waiter_wait(&waiters[i]), 0);
        syn_memory_release(rig.memory, 2, &use, 1, true);
    }
    assert_int_equal(stats(&rig).copies, 1);
    assert_int_equal(stats(&rig).prefetches, 1);
    /* A writer waits for what reads his tensor; freeing does not. */
    syn_memory_prefetch(rig.memory, 1, tensor);
    use.access = SYN_UPDATE;
    assert_done(mrig_acquire(&rig, 2, &use, 1, &err), &err);
    assert_int_equal(stats(&rig).copies, 2);
    syn_memory_release(rig.memory, 2, &use, 1, true);
    assert_int_equal(valid(tensor), 4);
    syn_memory_prefetch(rig.memory, 3, tensor); /* two hops */
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* ---- where copies go ---- */

static void
test_paths(void **state)
{
    struct syn_tensor *tensor = NULL;
    RIG(0);

    tensor = make(&rig);
    put(&rig, 1, tensor, 1);
    expect(&rig, 2, tensor, 1); /* joined by NVLink */
    assert_int_equal(valid(tensor), 6);
    assert_int_equal(stats(&rig).copies, 1);
    expect(&rig, 3, tensor, 1); /* not joined: over the host, which keeps a copy */
    assert_int_equal(valid(tensor), 15);
    assert_int_equal(stats(&rig).copies, 3);
    assert_int_equal(syn_registry_link(rig.registry, 1, 3).path, SYN_LINK_STAGED);
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* Copies tell the registry how long they took. */
static void
test_links_are_measured(void **state)
{
    const struct syn_shape large = {.dtype = SYN_DTYPE_UINT8, .dims = 1, .sizes = {1 << 20}};
    struct syn_tensor *tensor = NULL;
    RIG(0);

    assert_int_equal(syn_registry_link(rig.registry, 0, 1).source, SYN_LINK_RATED);
    assert_done(syn_tensor_new(rig.memory, &large, &tensor, &err), &err);
    assert_done(mrig_hold(&rig, 0, tensor, SYN_WRITE, &err), &err);
    mrig_release(&rig, 0, tensor, SYN_WRITE, true);
    assert_done(mrig_hold(&rig, 1, tensor, SYN_READ, &err), &err);
    mrig_release(&rig, 1, tensor, SYN_READ, true);
    assert_int_equal(syn_registry_link(rig.registry, 0, 1).source, SYN_LINK_MEASURED);
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* What was used last stays; what others have goes before what nobody has. */
static void
test_who_is_evicted(void **state)
{
    struct syn_tensor *old = NULL, *used = NULL, *clean = NULL, *next = NULL;
    RIG(0, 3 * BYTES);

    old = make(&rig);
    used = make(&rig);
    clean = make(&rig);
    next = make(&rig);
    put(&rig, 1, old, 1);
    put(&rig, 1, used, 2);
    put(&rig, 0, clean, 3);
    expect(&rig, 1, clean, 3);
    put(&rig, 1, next, 4); /* all were used since: the clean one goes */
    assert_int_equal(valid(clean), 1);
    assert_int_equal(valid(old) & valid(used) & valid(next), 2);
    assert_int_equal(stats(&rig).written_back_bytes, 0);
    expect(&rig, 1, used, 2);
    put(&rig, 1, clean, 5); /* of those that nobody else has, the one not used lately */
    assert_int_equal(valid(old), 1);
    assert_int_equal(valid(used), 2);
    assert_int_equal(stats(&rig).written_back_bytes, BYTES);
    assert_done(syn_tensor_free(old, &err), &err);
    assert_done(syn_tensor_free(used, &err), &err);
    assert_done(syn_tensor_free(clean, &err), &err);
    assert_done(syn_tensor_free(next, &err), &err);
}

/* ---- loss ---- */

static void
count_gone(void *arg, struct syn_tensor *tensor)
{
    (void)tensor;
    ++*(int *)arg;
}

static void
test_loss(void **state)
{
    struct syn_tensor *only = NULL, *shared = NULL, *held = NULL, *fresh = NULL;
    uint32_t mine[N] = {0};
    struct syn_tensor *wrapped = NULL;
    struct syn_dev *dev = NULL;
    int gone = 0;
    RIG(0);

    only = make(&rig);
    shared = make(&rig);
    held = make(&rig);
    fresh = make(&rig);
    put(&rig, 1, only, 1);
    put(&rig, 1, shared, 2);
    expect(&rig, 2, shared, 2);
    put(&rig, 0, held, 3);
    assert_done(syn_tensor_wrap(rig.memory, &line, mine, &wrapped, &err), &err);
    put(&rig, 1, wrapped, 4);
    assert_done(mrig_hold(&rig, 1, held, SYN_UPDATE, &err), &err); /* a task at work */
    for (size_t i = 0; i < rig.devs_count; i++)
        dev = rig.devs[i]->node == 1 ? rig.devs[i] : dev;
    assert_non_null(dev);
    atomic_store(&dev->lost, true);
    /* Before anybody tells the manager it goes around the device. */
    expect(&rig, 3, shared, 2);
    assert_code(mrig_hold(&rig, 2, only, SYN_READ, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(mrig_hold(&rig, 1, fresh, SYN_WRITE, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(mrig_hold(&rig, 1, shared, SYN_UPDATE, &err), SYN_E_UNAVAILABLE, &err);
    syn_memory_lost(rig.memory, 1, count_gone, &gone);
    assert_int_equal(gone, 2);
    assert_int_equal(valid(only), 0);
    assert_int_equal(valid(shared) & 2, 0);
    assert_int_equal(valid(held), 1); /* the writer's fallback */
    assert_code(mrig_hold(&rig, 2, only, SYN_READ, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(syn_tensor_free(wrapped, &err), SYN_E_UNAVAILABLE, &err);
    assert_done(syn_dev_reset(dev, &err), &err);
    assert_code(mrig_hold(&rig, 1, held, SYN_READ, &err), SYN_E_UNAVAILABLE, &err);
    mrig_release(&rig, 1, held, SYN_UPDATE, true); /* whatever the task believes */
    expect(&rig, 0, held, 3);
    expect(&rig, 1, held, 3);
    put(&rig, 1, only, 5);
    expect(&rig, 0, only, 5);
    assert_done(syn_tensor_free(only, &err), &err);
    assert_done(syn_tensor_free(shared, &err), &err);
    assert_done(syn_tensor_free(held, &err), &err);
    assert_done(syn_tensor_free(fresh, &err), &err);
}

/* ---- parts ---- */

static void
test_parts(void **state)
{
    const struct syn_shape square = {.dtype = SYN_DTYPE_UINT32, .dims = 2, .sizes = {32, 32}};
    struct syn_tensor *tensor = NULL, *parts[4], *more[2];
    struct syn_tensor_place whole = {0}, place = {0};
    uint32_t all[N], column[N / 4];
    struct syn_memory_stats before;
    RIG(0);

    assert_done(syn_tensor_new(rig.memory, &square, &tensor, &err), &err);
    assert_code(syn_tensor_gather(tensor, &err), SYN_E_INVALID, &err);
    assert_code(syn_tensor_divide(tensor, 2, 2, parts, &err), SYN_E_INVALID, &err);
    assert_code(syn_tensor_divide(tensor, 0, 33, parts, &err), SYN_E_INVALID, &err);
    assert_code(syn_tensor_divide(tensor, 0, 0, parts, &err), SYN_E_INVALID, &err);
    put(&rig, 1, tensor, 1);
    assert_done(mrig_hold(&rig, 1, tensor, SYN_READ, &err), &err);
    assert_code(syn_tensor_divide(tensor, 0, 2, parts, &err), SYN_E_CONFLICT, &err);
    syn_tensor_at(tensor, 1, &whole);
    mrig_release(&rig, 1, tensor, SYN_READ, true);
    before = stats(&rig);
    assert_done(syn_tensor_divide(tensor, 1, 4, parts, &err), &err);
    assert_ptr_equal(syn_tensor_whole(parts[2]), tensor);
    assert_int_equal(valid(tensor), 0);
    assert_int_equal(valid(parts[2]), 2);
    /* Columns: they share the whole's buffer there, and lie packed elsewhere. */
    assert_done(mrig_hold(&rig, 1, parts[2], SYN_READ, &err), &err);
    syn_tensor_at(parts[2], 1, &place);
    assert_ptr_equal(place.buf, whole.buf);
    assert_int_equal(place.offset, 16 * sizeof(uint32_t));
    assert_int_equal(place.shape->strides[0], 32);
    assert_int_equal(place.shape->sizes[1], 8);
    mrig_release(&rig, 1, parts[2], SYN_READ, true);
    assert_done(mrig_hold(&rig, 0, parts[2], SYN_READ, &err), &err);
    syn_tensor_at(parts[2], 0, &place);
    assert_int_equal(place.shape->strides[0], 8);
    assert_int_equal(place.shape->layout, SYN_LAYOUT_ROWS);
    mrig_release(&rig, 0, parts[2], SYN_READ, true);
    assert_int_equal(stats(&rig).copies, before.copies + 1);
    /* Parts of parts, within a packed one. */
    pattern(all, 9);
    memcpy(column, all, sizeof(column));
    assert_done(mrig_put(&rig, 2, parts[0], column, &err), &err);
    assert_done(syn_tensor_divide(parts[0], 0, 2, more, &err), &err);
    assert_code(syn_tensor_gather(tensor, &err), SYN_E_CONFLICT, &err);
    assert_done(mrig_hold(&rig, 2, more[1], SYN_READ, &err), &err);
    syn_tensor_at(more[1], 2, &place);
    assert_int_equal(place.offset, sizeof(uint32_t) * 16 * 8);
    mrig_release(&rig, 2, more[1], SYN_READ, true);
    assert_done(syn_tensor_gather(parts[0], &err), &err);
    assert_int_equal(valid(parts[0]), 4);
    /* Most of it is on node 1: one part goes back there. */
    before = stats(&rig);
    assert_done(syn_tensor_gather(tensor, &err), &err);
    assert_int_equal(valid(tensor), 2);
    assert_int_equal(stats(&rig).copies, before.copies + 1);
    assert_done(mrig_get(&rig, 0, tensor, all, &err), &err);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t from = i % 32 < 8 ? i / 32 * 8 + i % 32 : i, salt = i % 32 < 8 ? 9 : 1;

        assert_int_equal(all[i], from * UINT32_C(2654435761) + salt);
    }
    /* Freed as it is, divided and divided again. */
    assert_done(syn_tensor_divide(tensor, 0, 4, parts, &err), &err);
    assert_done(syn_tensor_divide(parts[3], 1, 2, more, &err), &err);
    assert_done(syn_tensor_free(tensor, &err), &err);
    assert_int_equal(stats(&rig).tensors, 0);
}

/* One part comes to the block that another is being written in, a column of the same rows: each
 * finds its own. */
static void
test_parts_beside_each_other(void **state)
{
    enum { TIMES = 100, HALF = N / 2 };
    const struct syn_shape square = {.dtype = SYN_DTYPE_UINT32, .dims = 2, .sizes = {32, 32}};
    struct syn_tensor *tensor = NULL, *parts[2];
    uint32_t want[N], got[HALF];
    RIG(0);

    assert_done(syn_tensor_new(rig.memory, &square, &tensor, &err), &err);
    put(&rig, 1, tensor, 1);
    assert_done(syn_tensor_divide(tensor, 1, 2, parts, &err), &err);
    for (uint32_t i = 0; i < TIMES; i++) {
        pattern(want, i);
        assert_done(mrig_put(&rig, 0, parts[1], want + HALF, &err), &err);
        syn_memory_prefetch(rig.memory, 1, parts[1]);
        assert_done(mrig_put(&rig, 1, parts[0], want, &err), &err);
        assert_done(mrig_get(&rig, 1, parts[1], got, &err), &err);
        assert_memory_equal(got, want + HALF, sizeof(got));
        assert_done(mrig_get(&rig, 1, parts[0], got, &err), &err);
        assert_memory_equal(got, want, sizeof(got));
    }
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* Columns of a wrapped tensor with gaps; one of them is in rows besides. */
static struct syn_tensor *
wrap_in_parts(struct mrig *rig, uint32_t *mine, struct syn_tensor **ret_parts)
{
    const struct syn_shape cut = {.dtype = SYN_DTYPE_UINT32,
                                  .layout = SYN_LAYOUT_STRIDED,
                                  .dims = 2,
                                  .sizes = {4, 8},
                                  .strides = {10, 1}};
    struct syn_tensor *tensor = NULL, *more[2];
    uint32_t salt[8];
    struct syn_err err = {0};

    for (uint32_t i = 0; i < 40; i++)
        mine[i] = i;
    for (uint32_t i = 0; i < 8; i++)
        salt[i] = 1000 + i;
    assert_done(syn_tensor_wrap(rig->memory, &cut, mine, &tensor, &err), &err);
    assert_done(syn_tensor_divide(tensor, 1, 4, ret_parts, &err), &err);
    assert_done(syn_tensor_divide(ret_parts[2], 0, 2, more, &err), &err);
    assert_done(mrig_put(rig, 1, ret_parts[0], salt, &err), &err);
    assert_done(mrig_put(rig, 2, ret_parts[1], salt, &err), &err);
    assert_done(mrig_put(rig, 3, more[1], salt, &err), &err);
    return tensor;
}

static void
expect_home(const uint32_t *mine, bool lost)
{
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t row = i / 10, column = i % 10, want = i;

        if (column < 4)
            want = 1000 + row * 2 + column % 2;
        else if (column < 6 && row >= 2)
            want = 1000 + (row - 2) * 2 + column % 2;
        if (column >= 2 || !lost) /* else nobody knows */
            assert_int_equal(mine[i], want);
    }
}

/* Where the device has no room for the whole, and will have none before who gathers goes on. */
static void
test_gathering_waits_for_nobody(void **state)
{
    enum { PARTS = 4, HELD = 7, PART = N / PARTS };
    struct syn_shape small = line;
    struct syn_tensor *tensor = NULL, *held[HELD + 1] = {NULL}, *parts[PARTS];
    uint32_t want[N], got[N];
    RIG(0, 8 * BYTES);

    pattern(want, 7);
    tensor = make(&rig);
    assert_done(syn_tensor_divide(tensor, 0, PARTS, parts, &err), &err);
    for (unsigned i = 0; i < PARTS; i++)
        assert_done(mrig_put(&rig, i + 1 < PARTS ? 1 : 0, parts[i], want + (size_t)i * PART, &err),
                    &err);
    small.sizes[0] = PART;
    for (unsigned i = 0; i <= HELD; i++) {
        assert_done(syn_tensor_new(rig.memory, i < HELD ? &line : &small, &held[i], &err), &err);
        assert_done(mrig_hold(&rig, 1, held[i], SYN_WRITE, &err), &err);
    }
    assert_done(syn_tensor_gather(tensor, &err), &err);
    assert_done(mrig_get(&rig, 0, tensor, got, &err), &err);
    assert_memory_equal(got, want, sizeof(want));
    for (unsigned i = 0; i <= HELD; i++) {
        mrig_release(&rig, 1, held[i], SYN_WRITE, true);
        assert_done(syn_tensor_free(held[i], &err), &err);
    }
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* A wrapped tensor comes home from all its parts that are left, whatever became of the others. */
static void
test_parts_come_home(void **state)
{
    struct syn_tensor *tensor = NULL, *parts[4];
    uint32_t mine[40];
    int gone = 0;
    RIG(0);

    tensor = wrap_in_parts(&rig, mine, parts);
    assert_done(syn_tensor_free(tensor, &err), &err);
    expect_home(mine, false);
    tensor = wrap_in_parts(&rig, mine, parts);
    syn_memory_lost(rig.memory, 1, count_gone, &gone);
    assert_int_equal(gone, 1);
    assert_code(syn_tensor_gather(tensor, &err), SYN_E_CONFLICT, &err);
    assert_done(syn_tensor_gather(parts[2], &err), &err);
    assert_code(syn_tensor_gather(tensor, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(syn_tensor_free(tensor, &err), SYN_E_UNAVAILABLE, &err);
    expect_home(mine, true);
}

/* Who has freed a tensor is not told of its loss, though it is still on its way somewhere. */
static void
test_loss_after_end(void **state)
{
    int gone = 0;
    RIG(0);

    for (int i = 0; i < 300; i++) {
        struct syn_tensor *tensor = make(&rig);

        put(&rig, 1, tensor, 1);
        syn_memory_prefetch(rig.memory, 2, tensor);
        assert_done(syn_tensor_free(tensor, &err), &err);
        syn_memory_lost(rig.memory, 1, count_gone, &gone);
    }
    assert_int_equal(gone, 0);
}

static void
test_half_bytes(void **state)
{
    struct syn_shape rows = {.dtype = SYN_DTYPE_INT4, .dims = 2, .sizes = {6, 8}};
    struct syn_tensor *tensor = NULL, *parts[4];
    RIG(0);

    assert_done(syn_tensor_new(rig.memory, &rows, &tensor, &err), &err);
    assert_int_equal(syn_tensor_replicas(tensor)->bytes, 24);
    assert_code(syn_tensor_divide(tensor, 1, 3, parts, &err), SYN_E_INVALID, &err);
    assert_done(syn_tensor_divide(tensor, 1, 4, parts, &err), &err);
    assert_done(syn_tensor_gather(tensor, &err), &err);
    assert_done(syn_tensor_divide(tensor, 0, 3, parts, &err), &err);
    assert_int_equal(syn_tensor_replicas(parts[1])->bytes, 8);
    assert_done(syn_tensor_free(tensor, &err), &err);
    rows.sizes[1] = 7;
    assert_done(syn_tensor_new(rig.memory, &rows, &tensor, &err), &err);
    assert_code(syn_tensor_divide(tensor, 0, 2, parts, &err), SYN_E_INVALID, &err);
    assert_done(syn_tensor_free(tensor, &err), &err);
}

/* ---- what happens all the time ---- */

static void
test_resident(void **state)
{
    enum { BATCHES = 20, ROUNDS = 100000 };
    struct syn_memory_use uses[3];
    uint64_t allocations;
    double best = 1e9;
    RIG(0);

    for (uint32_t i = 0; i < 3; i++) {
        uses[i] = (struct syn_memory_use){make(&rig), i == 2 ? SYN_UPDATE : SYN_READ};
        put(&rig, 1, uses[i].tensor, i);
    }
    allocations = syn_mem_fault_count();
    for (int batch = 0; batch < BATCHES; batch++) {
        struct timespec start, end;
        double ns;

        (void)clock_gettime(CLOCK_MONOTONIC, &start);
        for (int i = 0; i < ROUNDS; i++) {
            assert(syn_memory_acquire(rig.memory, 1, uses, 3, NULL, NULL) == SYN_OK);
            syn_memory_release(rig.memory, 1, uses, 3, true);
        }
        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
        best = SYN_MIN(best, ns / ROUNDS);
    }
    print_message("# %.1f ns for three uses, acquired and released\n", best);
    assert_int_equal(syn_mem_fault_count(), allocations);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(valid(uses[i].tensor), 2);
        expect(&rig, 0, uses[i].tensor, i);
        assert_done(syn_tensor_free(uses[i].tensor, &err), &err);
    }
}

static void
test_options(void **state)
{
    struct syn_memory *memory = NULL;
    struct syn_memory_options options = {0};
    struct syn_memory_use use = {NULL, SYN_WRITE};
    struct syn_memory_request request = {0};
    struct syn_tensor *tensor = NULL;
    struct syn_dev *wrong = NULL;
    RIG(0);

    /* Without devices: the host's memory alone. */
    assert_done(syn_memory_open(&options, &memory, &err), &err);
    assert_null(syn_memory_close(memory));
    assert_null(syn_memory_close(NULL));
    /* A node that belongs to nobody: device 3 alone. */
    options.devs = &rig.devs[rig.devs_count - 1];
    options.devs_count = 1;
    assert_int_equal(rig.devs[rig.devs_count - 1]->node, 3);
    assert_done(syn_memory_open(&options, &memory, &err), &err);
    assert_done(syn_tensor_new(memory, &line, &tensor, &err), &err);
    use.tensor = tensor;
    assert_code(syn_memory_acquire(memory, 2, &use, 1, &request, &err), SYN_E_INVALID, &err);
    syn_memory_prefetch(memory, 2, tensor);
    assert_done(syn_memory_acquire(memory, 3, &use, 1, &request, &err), &err);
    syn_memory_release(memory, 3, &use, 1, true);
    syn_memory_prefetch(memory, 2, tensor);
    assert_int_equal(valid(tensor), 8);
    assert_done(syn_tensor_free(tensor, &err), &err);
    assert_null(syn_memory_close(memory));
    options.devs = &wrong;
    options.devs_count = 1;
    for (size_t i = 0; i < rig.devs_count; i++) {
        unsigned node = rig.devs[i]->node;

        wrong = rig.devs[i];
        wrong->node = node == 0 ? 1 : 0;
        assert_code(syn_memory_open(&options, &memory, &err), SYN_E_INVALID, &err);
        wrong->node = SYN_NODES_MAX;
        assert_code(syn_memory_open(&options, &memory, &err), SYN_E_INVALID, &err);
        wrong->node = node;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_failed_writers),
        cmocka_unit_test(test_several_uses),
        cmocka_unit_test(test_wrapped),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_who_is_evicted),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_waiting_for_room),
        cmocka_unit_test(test_no_deadlock),
        cmocka_unit_test(test_joining),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_links_are_measured),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_parts_beside_each_other),
        cmocka_unit_test(test_gathering_waits_for_nobody),
        cmocka_unit_test(test_parts_come_home),
        cmocka_unit_test(test_loss_after_end),
        cmocka_unit_test(test_half_bytes),
        cmocka_unit_test(test_resident),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
