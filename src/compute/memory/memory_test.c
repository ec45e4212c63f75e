/* The coherence protocol, one step at a time, on modelled devices. */
#include "memory_suite.h"

#include <string.h>

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
    struct syn_shape big = {.dtype = SYN_DTYPE_UINT32, .dims = 1, .sizes = {3 * N}};
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol),     cmocka_unit_test(test_failed_writers),
        cmocka_unit_test(test_several_uses), cmocka_unit_test(test_wrapped),
        cmocka_unit_test(test_eviction),     cmocka_unit_test(test_no_space),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
