/* Decomposition: a ready call divided into pieces that run at the same time.
 *
 * What the call writes is divided (synor/tensor.h), so that every piece owns its part wherever it
 * runs; nobody else uses those tensors now, since the call is what is ready to write them. What it
 * only reads may be read by others at the same time, so that stays whole, and a piece is shown a
 * part of it. When the last piece has ended the parts are gathered and the call is over.
 *
 *     C = A B, by rows        C -> C0 C1 C2 (parts)        A: rows of each piece shown; B: whole
 *
 * Refused: dividing what is read too, which would move less to a device but serialise readers. */
#include <string.h>

#include <synor/base/mem.h>

#include "engine_priv.h"

#define PIECE_NS   300000 /* a piece that lasts less is not worth its overhead */
#define PIECES_MAX 64

struct syn_engine_split {
    struct syn_engine_task *whole;
    const struct syn_kernel_split *rule;
    unsigned count;
    uint64_t size;               /* along the cut */
    _Atomic unsigned left, done; /* pieces: not over; that ran well */
    _Atomic int code;
    struct syn_tensor *parts[SYN_OPERANDS_MAX][PIECES_MAX];
    uint64_t first[PIECES_MAX], sizes[PIECES_MAX];         /* of each piece, along the cut */
    struct syn_shape shapes[SYN_OPERANDS_MAX][PIECES_MAX]; /* of what is shown in part */
    struct syn_engine_task *pieces[PIECES_MAX];
};

/* And what is reduced on is neither divided nor everybody's: each piece adds to its seat's share of
 * the sum, all of it or a part. */
static bool
is_written(const struct syn_engine_task *call, unsigned operand)
{
    return (call->access[operand] & SYN_WRITE) != 0 &&
           (call->reduces & SYN_BIT(call->use_of[operand])) == 0;
}

void
syn_engine_piece_cut(const struct syn_engine_task *piece, unsigned operand, struct syn_shape *shape,
                     uint64_t *ret_offset)
{
    const struct syn_engine_split *split = piece->split;
    int8_t dim = split->rule->dim[operand];

    *ret_offset = 0;
    if (dim < 0 || is_written(split->whole, operand))
        return;
    shape->layout = SYN_LAYOUT_STRIDED;
    shape->sizes[dim] = split->sizes[piece->piece];
    *ret_offset = syn_dtype_bytes(shape->dtype, split->first[piece->piece] * shape->strides[dim]);
}

const struct syn_shape *
syn_engine_piece_shape(const struct syn_engine_task *piece, unsigned operand,
                       const struct syn_shape *base, uint64_t *ret_offset)
{
    struct syn_shape *shape = &piece->split->shapes[operand][piece->piece];

    *shape = *base;
    syn_engine_piece_cut(piece, operand, shape, ret_offset);
    return shape;
}

/* ---- whether, and into how many ---- */

/* Else pieces would write the same. */
static bool
cuts_what_is_written(const struct syn_engine_task *call, const struct syn_kernel_split *rule,
                     uint64_t *ret_size)
{
    for (unsigned i = 0; i < call->operands_count; i++) {
        if (is_written(call, i) && rule->dim[i] < 0)
            return false;
        if (rule->dim[i] >= 0)
            *ret_size = syn_tensor_shape(syn_engine_tensor(call, i))->sizes[rule->dim[i]];
    }
    return true;
}

/* As many as there are workers for, but none shorter than PIECE_NS; 1 while nobody knows how long
 * it takes. */
static unsigned
pieces_that_pay(const struct syn_engine_task *call)
{
    const struct syn_engine *engine = call->engine;
    uint64_t best = SYN_NEVER;
    unsigned able = 0;

    if (atomic_load_explicit(&engine->queued, memory_order_relaxed) >= engine->seats_count ||
        call->ready.affinity != SYN_NO_WORKER)
        return 1;
    for (unsigned i = 0; i < engine->seats_count; i++) {
        uint64_t ns = syn_engine_cost(call, engine->seats[i].class_id);

        if (ns == SYN_NEVER || atomic_load_explicit(&engine->seats[i].lost, memory_order_relaxed))
            continue;
        able++;
        best = SYN_MIN(best, ns);
    }
    return best == SYN_NEVER ? 1 : (unsigned)SYN_MIN(able, best / PIECE_NS);
}

static unsigned
choose(const struct syn_engine_task *call, const struct syn_kernel_split **ret_rule,
       uint64_t *ret_size)
{
    unsigned count = call->pieces != SYN_PIECES_AUTO ? call->pieces : pieces_that_pay(call);
    struct syn_kernel_call seen;

    if (count < 2 || call->uses_count < call->operands_count)
        return 1; /* a tensor that is used twice cannot be divided for one of the uses */
    count = SYN_MIN(count, PIECES_MAX);
    syn_engine_call_of(call, NULL, &seen);
    for (unsigned i = 0; i < call->kernel->splits_count; i++) {
        uint64_t most = syn_kernel_pieces(&seen, i);

        if (most < 2 || !cuts_what_is_written(call, &call->kernel->splits[i], ret_size))
            continue;
        *ret_rule = &call->kernel->splits[i];
        return (unsigned)SYN_MIN(count, most);
    }
    return 1;
}

/* ---- making pieces ---- */

static SYN_MUST int
make_piece(struct syn_engine_split *split, unsigned index, struct syn_err *err)
{
    struct syn_engine_task *whole = split->whole, *piece = NULL;
    struct syn_tensor *tensors[SYN_OPERANDS_MAX];
    int rc = syn_engine_record_new(whole->engine, whole->kernel, &piece, err);

    if (rc < 0)
        return rc;
    piece->pieces = SYN_PIECES_ONE;
    piece->split = split;
    piece->piece = index;
    memcpy(piece->params, whole->params, whole->kernel->params_count * sizeof(whole->params[0]));
    for (unsigned i = 0; i < whole->operands_count; i++)
        tensors[i] = is_written(whole, i) ? split->parts[i][index] : syn_engine_tensor(whole, i);
    piece->ready.priority = whole->ready.priority;
    piece->ready.deadline_ns = whole->ready.deadline_ns;
    piece->ready.index = SYN_NO_INDEX;
    piece->ready.origin = SYN_NO_WORKER;
    piece->ready.affinity = whole->ready.affinity;
    if (syn_trace_on(whole->engine->trace))
        syn_engine_trace_piece(whole, piece);
    split->pieces[index] = piece;
    rc = syn_engine_record_fill(piece, tensors, err);
    piece->reduces &= whole->reduces; /* its tensors are used once each, as the whole's */
    if (rc == SYN_OK && !syn_engine_possible(piece))
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: nobody can run a piece of it",
                      piece->kernel->name);
    return rc;
}

/* The parts of what is written; on failure what was divided is whole again. */
static SYN_MUST int
divide_written(struct syn_engine_split *split, struct syn_err *err)
{
    struct syn_engine_task *whole = split->whole;
    int rc = SYN_OK;

    for (unsigned i = 0; rc == SYN_OK && i < whole->operands_count; i++) {
        if (!is_written(whole, i))
            continue;
        rc = syn_tensor_divide(syn_engine_tensor(whole, i), (unsigned)split->rule->dim[i],
                               split->count, split->parts[i], err);
        if (rc < 0)
            split->parts[i][0] = NULL;
    }
    return rc;
}

/* What cannot be gathered loses its content: nobody could use it else. */
static SYN_MUST int
gather(struct syn_engine_split *split, struct syn_err *err)
{
    struct syn_engine_task *whole = split->whole;
    int rc = SYN_OK;

    for (unsigned i = 0; i < whole->operands_count; i++) {
        struct syn_err one;
        int failed;

        if (!is_written(whole, i) || split->parts[i][0] == NULL)
            continue;
        failed = syn_tensor_gather(syn_engine_tensor(whole, i), &one);
        if (failed < 0)
            syn_tensor_abandon(syn_engine_tensor(whole, i));
        if (failed < 0 && rc == SYN_OK) {
            rc = failed;
            *err = one;
        }
    }
    return rc;
}

/* A piece failed. What was written is as before if none did anything and all that they had is still
 * somewhere; else it has no content, rather than some of both. */
static SYN_MUST int
gather_failed(struct syn_engine_split *split, struct syn_err *err)
{
    struct syn_engine_task *whole = split->whole;
    bool as_before = atomic_load(&split->done) == 0;

    for (unsigned i = 0; i < whole->operands_count; i++) {
        for (unsigned j = 0; is_written(whole, i) && j < split->count; j++)
            as_before = as_before && syn_tensor_replicas(split->parts[i][j])->valid != 0;
    }
    if (as_before)
        return gather(split, err);
    for (unsigned i = 0; i < whole->operands_count; i++) {
        if (is_written(whole, i))
            syn_tensor_abandon(syn_engine_tensor(whole, i));
    }
    return SYN_OK;
}

static SYN_MUST int
undo(struct syn_engine_split *split, struct syn_err *err)
{
    int rc;

    for (unsigned i = 0; i < split->count; i++) {
        if (split->pieces[i] != NULL)
            syn_engine_record_free(split->pieces[i]);
    }
    rc = gather(split, err);
    syn_free(split);
    return rc;
}

/* It does not run in pieces. False: it can run whole. */
static bool
give_up(struct syn_engine_split *split, int code)
{
    struct syn_engine_task *whole = split->whole;
    struct syn_engine_outcome outcome = {.code = code};
    struct syn_err err;
    int rc = undo(split, &err);

    if (rc == SYN_OK && code == SYN_OK)
        return false;
    if (code < 0)
        (void)SYN_FAIL(&err, code, "%s", syn_err_info(code)->wire);
    else
        outcome.code = rc;
    syn_engine_end(whole, NULL, &outcome, &err);
    return true;
}

static SYN_MUST int
make_all(struct syn_engine_split *split, struct syn_err *err)
{
    uint64_t first = 0;
    int rc = divide_written(split, err);

    for (unsigned j = 0; rc == SYN_OK && j < split->count; j++) {
        split->first[j] = first;
        split->sizes[j] = split->size / split->count + (j < split->size % split->count);
        first += split->sizes[j];
        rc = make_piece(split, j, err);
    }
    return rc;
}

bool
syn_engine_divide(struct syn_engine_task *call)
{
    const struct syn_kernel_split *rule = NULL;
    struct syn_engine_split *split;
    struct syn_err err;
    uint64_t size = 0;
    unsigned count = choose(call, &rule, &size);
    int rc;

    if (count < 2)
        return false;
    split = syn_calloc(1, sizeof(*split));
    if (split == NULL)
        return false; /* whole it can run all the same */
    split->whole = call;
    split->rule = rule;
    split->count = count;
    split->size = size;
    atomic_init(&split->left, count);
    if (make_all(split, &err) < 0)
        return give_up(split, SYN_OK);
    rc = syn_engine_begin(call);
    if (rc < 0)
        return give_up(split, rc); /* cancelled meanwhile */
    syn_spin_lock(&call->engine->lock);
    call->engine->stats.divided++;
    syn_spin_unlock(&call->engine->lock);
    for (unsigned i = 0; i < count; i++)
        syn_engine_push(split->pieces[i]); /* with the last one it may all be over */
    return true;
}

void
syn_engine_piece_end(struct syn_engine_task *piece, struct syn_worker *worker, int code)
{
    struct syn_engine_split *split = piece->split;
    struct syn_engine_task *whole = split->whole;
    struct syn_engine_outcome outcome = {0};
    struct syn_err err = {0};
    int none = 0;

    if (code < 0)
        (void)atomic_compare_exchange_strong(&split->code, &none, code);
    else
        (void)atomic_fetch_add_explicit(&split->done, 1, memory_order_relaxed);
    syn_engine_record_free(piece);
    if (atomic_fetch_sub_explicit(&split->left, 1, memory_order_acq_rel) != 1)
        return;
    SYN_PERTURB();
    outcome.code = atomic_load(&split->code) < 0 ? gather_failed(split, &err) : gather(split, &err);
    if (atomic_load(&split->code) < 0) {
        /* What other pieces have added cannot be taken out again. */
        if (whole->reduces != 0 && atomic_load(&split->done) > 0)
            syn_engine_spoil_sums(whole, atomic_load(&split->code));
        outcome.code = atomic_load(&split->code);
        (void)SYN_FAIL(&err, outcome.code, "a piece of it ended with %s",
                       syn_err_info(outcome.code)->wire);
    }
    syn_free(split);
    syn_engine_end(whole, worker, &outcome, &err);
}
